//! Room in the queue of a sink that must not lose a record.
//!
//! A record is made when a request is over, where nobody can wait any more. So a request takes a place in the queue once its caller is
//! known and before it does anything, and the place is given back when its record was written: what is under way and what is queued
//! together are never more than the queue holds.
//!
//! Strangers take none: whoever is refused before that has half of the places at most, for records that are made already.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::telemetry::AuditMetrics;

/// The places of one sink.
#[derive(Debug, Clone)]
pub struct Room {
    sink: Arc<str>,
    places: Arc<Semaphore>,
    /// Places that only callers who are known have.
    kept: usize,
}

/// A place in each of the sinks that hold requests up. Dropped without a record, it gives the places back.
#[derive(Debug, Default)]
pub(super) struct Places(Vec<OwnedSemaphorePermit>);

/// No place became free in time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the audit sink `{sink}` had no room for {} ms", waited.as_millis())]
pub struct NoRoom {
    /// Its name.
    pub sink: String,
    /// How long was waited.
    pub waited: Duration,
}

impl Room {
    /// So many places.
    pub(super) fn new(sink: &str, places: usize) -> Self {
        let count = places.min(Semaphore::MAX_PERMITS);
        Self { sink: sink.into(), places: Arc::new(Semaphore::new(count)), kept: count / 2 }
    }

    /// The name of the sink, if all its places are taken.
    pub fn is_full(&self) -> Option<&str> {
        (self.places.available_permits() == 0).then_some(&*self.sink)
    }

    /// A place for the record of a request that has taken none. Half of the places are kept from these.
    pub(super) fn take_late(&self) -> bool {
        self.place_of_stranger().map(OwnedSemaphorePermit::forget).is_some()
    }

    fn place_of_stranger(&self) -> Option<OwnedSemaphorePermit> {
        let is_open = self.places.available_permits() > self.kept;
        is_open.then(|| Arc::clone(&self.places).try_acquire_owned().ok()).flatten()
    }

    /// Places are free again.
    pub(super) fn give_back(&self, places: usize) {
        self.places.add_permits(places);
    }
}

impl Places {
    /// Takes a place in each room, waiting for them together at most so long.
    pub(super) async fn take(rooms: &[Room], wait: Duration, metrics: &AuditMetrics) -> Result<Self, NoRoom> {
        let mut places = Vec::with_capacity(rooms.len());
        let mut deadline = None;
        for room in rooms {
            let place = match Arc::clone(&room.places).try_acquire_owned() {
                Ok(place) => place,
                Err(_) => {
                    let deadline = *deadline.get_or_insert_with(|| {
                        metrics.waited();
                        Instant::now() + wait
                    });
                    let place = timeout_at(deadline, Arc::clone(&room.places).acquire_owned()).await;
                    let no_room = || NoRoom { sink: room.sink.to_string(), waited: wait };
                    place.map_err(|_| no_room())?.map_err(|_| no_room())?
                }
            };
            places.push(place);
        }
        Ok(Self(places))
    }

    /// Takes a place in each room for a request whose caller is not known, among those that are not kept for callers. Waits for none.
    pub(super) fn take_as_stranger(rooms: &[Room]) -> Result<Self, NoRoom> {
        let place = |room: &Room| {
            let no_room = || NoRoom { sink: room.sink.to_string(), waited: Duration::ZERO };
            room.place_of_stranger().ok_or_else(no_room)
        };
        rooms.iter().map(place).collect::<Result<_, _>>().map(Self)
    }

    /// Whether a record with these places fits everywhere.
    pub(super) fn are_taken(&self) -> bool {
        !self.0.is_empty()
    }

    /// The record was given to the sinks: who writes it gives the places back.
    pub(super) fn hand_over(self) {
        self.0.into_iter().for_each(OwnedSemaphorePermit::forget);
    }
}

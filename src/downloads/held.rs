//! How many bytes of objects may lie in memory until their verdicts, all downloads together.
//!
//! A client that does not take its object keeps the room after the verdict too, so each principal has half of it at most.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What places are counted in.
const UNIT: u64 = 1024;
/// How long a request waits for its place. As long as one waits for an inspector by default.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// The room for objects that are held.
#[derive(Debug, Clone)]
pub struct HeldBytes {
    room: Arc<Semaphore>,
    shares: Arc<Shares>,
    limit: u64,
    longest_wait: Duration,
}

/// The room of each principal that holds something, or waits for it.
#[derive(Debug)]
struct Shares {
    places: usize,
    held: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// What is kept of one principal; forgotten with the last of its objects.
#[derive(Debug)]
struct Share {
    shares: Arc<Shares>,
    principal: String,
    room: Option<Arc<Semaphore>>,
}

/// The room of one object.
#[derive(Debug)]
pub struct Place {
    _room: OwnedSemaphorePermit,
    _own: OwnedSemaphorePermit,
    // Behind the places in it, which must have come back before.
    _share: Share,
}

/// There was no room in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no room to hold an object until its verdict in {} s, of {limit} bytes in all", .wait.as_secs())]
pub struct NoRoom {
    limit: u64,
    wait: Duration,
}

/// An object in memory, with its place: that comes back when the last byte has left, not when it was handed on.
struct HeldObject {
    bytes: Vec<u8>,
    _place: Place,
}

impl HeldBytes {
    /// Room for so many bytes.
    pub fn new(limit: u64) -> Self {
        let places = usize::try_from(limit.div_ceil(UNIT)).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let shares = Shares { places: places.div_ceil(2), held: Mutex::default() };
        Self { room: Arc::new(Semaphore::new(places)), shares: Arc::new(shares), limit, longest_wait: LONGEST_WAIT }
    }

    /// The largest object there can be room for.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Waits for room, in turn.
    ///
    /// # Errors
    /// [`NoRoom`] if there is none in time.
    pub async fn take(&self, principal: &str, length: u64) -> Result<Place, NoRoom> {
        let no_room = NoRoom { limit: self.limit, wait: self.longest_wait };
        tokio::time::timeout(self.longest_wait, self.wait(principal, length)).await.ok().flatten().ok_or(no_room)
    }

    async fn wait(&self, principal: &str, length: u64) -> Option<Place> {
        let places = u32::try_from(length.div_ceil(UNIT)).ok()?;
        let share = Shares::of(&self.shares, principal);
        // An object larger than the share is the only one of its principal.
        let own = places.min(u32::try_from(self.shares.places).unwrap_or(u32::MAX));
        let _own = Arc::clone(share.room.as_ref()?).acquire_many_owned(own).await.ok()?;
        let _room = Arc::clone(&self.room).acquire_many_owned(places).await.ok()?;
        Some(Place { _room, _own, _share: share })
    }
}

impl Shares {
    fn of(this: &Arc<Self>, principal: &str) -> Share {
        let mut held = this.held();
        let room = held.entry(principal.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(this.places)));
        Share { shares: Arc::clone(this), principal: principal.to_owned(), room: Some(Arc::clone(room)) }
    }

    fn held(&self) -> MutexGuard<'_, HashMap<String, Arc<Semaphore>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = self.shares.held();
        self.room = None;
        if held.get(&self.principal).is_some_and(|room| Arc::strong_count(room) == 1) {
            held.remove(&self.principal);
        }
    }
}

impl Place {
    /// Ties an object to it.
    pub fn keep(self, bytes: Vec<u8>) -> Bytes {
        Bytes::from_owner(HeldObject { bytes, _place: self })
    }
}

impl AsRef<[u8]> for HeldObject {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn room_comes_back_with_the_last_piece_of_an_object() {
        let held = HeldBytes::new(10 * UNIT);
        let mut first = held.take("a", 9 * UNIT).await.unwrap().keep(vec![1; 9 * 1024]);
        let second = held.take("b", UNIT).await.unwrap();
        assert!(held.take("c", 1).now_or_never().is_none(), "a byte takes a whole place");
        let piece = first.split_to(10);
        drop(first);
        assert!(held.take("c", 2 * UNIT).now_or_never().is_none());
        drop((piece, second));
        assert!(held.take("a", 10 * UNIT).now_or_never().is_some());
    }

    #[tokio::test]
    async fn there_is_room_for_an_object_of_just_the_limit() {
        let held = HeldBytes::new(2 * UNIT + 1);
        assert!(held.take("a", held.limit()).now_or_never().is_some_and(|place| place.is_ok()));
    }

    #[tokio::test]
    async fn who_finds_no_room_is_told_so_in_time() {
        let longest_wait = Duration::from_millis(10);
        let held = HeldBytes { longest_wait, ..HeldBytes::new(2 * UNIT) };
        let _place = held.take("a", 2 * UNIT).await.unwrap();
        assert_eq!(held.take("a", 1).await.unwrap_err(), NoRoom { limit: 2 * UNIT, wait: longest_wait });
        assert!(held.take("a", 0).await.is_ok(), "nothing needs no room");
    }

    #[tokio::test]
    async fn l08_one_principal_leaves_room_for_others() {
        let held = HeldBytes::new(10 * UNIT);
        let first = held.take("a", 3 * UNIT).await.unwrap();
        assert!(held.take("a", 3 * UNIT).now_or_never().is_none(), "half of it is its share");
        let others = [held.take("b", 5 * UNIT).await.unwrap(), held.take("a", 2 * UNIT).await.unwrap()];
        drop(others);
        assert!(held.take("b", 8 * UNIT).now_or_never().is_none(), "there is no more");
        drop(first);
        let large = held.take("b", 8 * UNIT).await.unwrap();
        assert!(held.take("b", 1).now_or_never().is_none(), "an object larger than the share is the only one");
        drop(large);
        assert!(held.shares.held().is_empty(), "nobody who holds nothing is remembered");
    }
}

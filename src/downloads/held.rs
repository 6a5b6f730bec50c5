//! How many bytes of objects may lie in memory until their verdicts, all downloads together.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What places are counted in.
const UNIT: u64 = 1024;
/// How long a request waits for its place. As long as one waits for an inspector by default.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// The room for objects that are held.
#[derive(Debug)]
pub struct HeldBytes {
    room: Arc<Semaphore>,
    limit: u64,
    longest_wait: Duration,
}

/// The room of one object.
#[derive(Debug)]
pub struct Place {
    _room: OwnedSemaphorePermit,
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
        let places = usize::try_from(limit / UNIT).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self { room: Arc::new(Semaphore::new(places)), limit, longest_wait: LONGEST_WAIT }
    }

    /// The largest object there can be room for.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Waits for room, in turn.
    ///
    /// # Errors
    /// [`NoRoom`] if there is none in time.
    pub async fn take(&self, length: u64) -> Result<Place, NoRoom> {
        let no_room = NoRoom { limit: self.limit, wait: self.longest_wait };
        let places = u32::try_from(length.div_ceil(UNIT)).map_err(|_| no_room)?;
        let room = Arc::clone(&self.room).acquire_many_owned(places);
        let place = tokio::time::timeout(self.longest_wait, room).await;
        place.map_err(|_| no_room)?.map(|room| Place { _room: room }).map_err(|_| no_room)
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
        let mut first = held.take(9 * UNIT).await.unwrap().keep(vec![1; 9 * 1024]);
        let second = held.take(UNIT).await.unwrap();
        assert!(held.take(1).now_or_never().is_none(), "a byte takes a whole place");
        let piece = first.split_to(10);
        drop(first);
        assert!(held.take(2 * UNIT).now_or_never().is_none());
        drop((piece, second));
        assert!(held.take(10 * UNIT).now_or_never().is_some());
    }

    #[tokio::test]
    async fn who_finds_no_room_is_told_so_in_time() {
        let longest_wait = Duration::from_millis(10);
        let held = HeldBytes { longest_wait, ..HeldBytes::new(2 * UNIT) };
        let _place = held.take(2 * UNIT).await.unwrap();
        assert_eq!(held.take(1).await.unwrap_err(), NoRoom { limit: 2 * UNIT, wait: longest_wait });
        assert!(held.take(0).await.is_ok(), "nothing needs no room");
    }
}

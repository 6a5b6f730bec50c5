//! The places for requests to one store, and the queue before them: bounded in length and in time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Places for requests to one store.
#[derive(Debug)]
pub struct Slots {
    places: Arc<Semaphore>,
    limit: usize,
    waiting: AtomicUsize,
    max_waiting: usize,
    longest_wait: Duration,
}

/// One in the queue; leaves it when dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Slots {
    /// So many places, and a queue of this length and time.
    pub fn new(limit: usize, max_waiting: usize, longest_wait: Duration) -> Self {
        let places = Arc::new(Semaphore::new(limit));
        Self { places, limit, waiting: AtomicUsize::new(0), max_waiting, longest_wait }
    }

    /// Takes a place. `None` if there is none in time, or too many wait for one already.
    pub async fn take(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Some(place);
        }
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let queue = Waiting(&self.waiting);
        if before >= self.max_waiting {
            return None;
        }
        let place = tokio::time::timeout(self.longest_wait, Arc::clone(&self.places).acquire_owned()).await;
        drop(queue);
        place.ok()?.ok()
    }

    /// Places that are taken.
    pub fn taken(&self) -> usize {
        self.limit.saturating_sub(self.places.available_permits())
    }

    /// Requests that wait for a place.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn l08_the_queue_is_bounded_and_those_in_it_come_first() {
        let slots = Slots::new(1, 2, Duration::from_secs(60));
        let place = slots.take().await.unwrap();
        let (mut first, mut second) = (Box::pin(slots.take()), Box::pin(slots.take()));
        assert!((&mut first).now_or_never().is_none() && (&mut second).now_or_never().is_none(), "both wait");
        assert_eq!((slots.taken(), slots.waiting()), (1, 2));
        assert!(slots.take().await.is_none(), "at once");
        assert_eq!(slots.waiting(), 2, "who was turned away does not count");
        drop(place);
        let place = first.await.unwrap();
        // A client that leaves the queue makes room in it.
        drop(second);
        assert_eq!(slots.waiting(), 0);
        drop(place);
        assert!(slots.take().await.is_some());
        assert_eq!(slots.taken(), 0);
    }

    #[tokio::test]
    async fn nobody_waits_longer_than_allowed() {
        let slots = Slots::new(1, 2, Duration::from_millis(1));
        let _place = slots.take().await.unwrap();
        assert!(slots.take().await.is_none());
        assert_eq!(slots.waiting(), 0);
    }
}

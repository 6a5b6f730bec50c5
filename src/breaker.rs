//! Stops asking a store or a scanner that fails again and again, so that those who ask are told at once and its connections are free.
//!
//! Counts failures in a row; what is one, its user knows. Any answer ends the row. While open, one request in each pause goes through as a
//! probe, whatever became of the one before: so a probe that takes an hour, or whose client leaves, holds nobody up. The time is passed in.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// When to stop asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerSettings {
    /// Failures in a row; 0 never stops.
    pub failures: u32,
    /// Time between two probes.
    pub pause: Duration,
}

/// The state of one store or scanner.
#[derive(Debug)]
pub struct Breaker {
    settings: BreakerSettings,
    failures: AtomicU32,
    trips: AtomicU64,
    /// What is read for every request. Changed only under the lock of `next_probe`.
    open: AtomicBool,
    next_probe: Mutex<Option<Instant>>,
}

impl Breaker {
    /// Closed: requests go through.
    pub fn new(settings: BreakerSettings) -> Self {
        Self {
            settings,
            failures: AtomicU32::new(0),
            trips: AtomicU64::new(0),
            open: AtomicBool::new(false),
            next_probe: Mutex::new(None),
        }
    }

    /// Whether a request may go through; if it is open, this one may be the probe.
    ///
    /// # Errors
    /// The time until the next probe.
    pub fn admit(&self, now: impl FnOnce() -> Instant) -> Result<(), Duration> {
        if !self.is_open() {
            return Ok(());
        }
        let now = now();
        let mut next_probe = self.next_probe.lock().unwrap_or_else(PoisonError::into_inner);
        match *next_probe {
            Some(at) if at > now => Err(at - now),
            Some(_) => {
                *next_probe = Some(now + self.settings.pause);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Whether a request would be refused now; makes no probe of it.
    ///
    /// # Errors
    /// The time until the next probe.
    pub fn check(&self, now: impl FnOnce() -> Instant) -> Result<(), Duration> {
        if !self.is_open() {
            return Ok(());
        }
        let now = now();
        let next_probe = *self.next_probe.lock().unwrap_or_else(PoisonError::into_inner);
        next_probe.filter(|at| *at > now).map_or(Ok(()), |at| Err(at - now))
    }

    /// There was an answer. Returns whether it was open before.
    pub fn note_answer(&self) -> bool {
        // Nothing is written in the usual case, so that requests do not contend.
        if self.failures.load(Ordering::Relaxed) == 0 && !self.is_open() {
            return false;
        }
        let mut next_probe = self.next_probe.lock().unwrap_or_else(PoisonError::into_inner);
        self.failures.store(0, Ordering::Relaxed);
        *next_probe = None;
        self.open.swap(false, Ordering::Relaxed)
    }

    /// There was a failure. Returns whether it is open from now on.
    pub fn note_failure(&self, now: Instant) -> bool {
        if self.settings.failures == 0 {
            return false;
        }
        let mut next_probe = self.next_probe.lock().unwrap_or_else(PoisonError::into_inner);
        let failures = self.failures.load(Ordering::Relaxed).saturating_add(1);
        self.failures.store(failures, Ordering::Relaxed);
        if failures < self.settings.failures || self.is_open() {
            return false;
        }
        *next_probe = Some(now + self.settings.pause);
        self.open.store(true, Ordering::Relaxed);
        self.trips.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// Whether only probes go through.
    pub fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    /// How often it has opened.
    pub fn trips(&self) -> u64 {
        self.trips.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAUSE: Duration = Duration::from_secs(5);

    fn breaker(failures: u32) -> (Breaker, Instant) {
        (Breaker::new(BreakerSettings { failures, pause: PAUSE }), Instant::now())
    }

    #[test]
    fn it_opens_after_failures_in_a_row_and_not_before() {
        let (breaker, now) = breaker(3);
        for _ in 0..10 {
            assert!(!breaker.note_failure(now) && !breaker.note_failure(now));
            assert_eq!(breaker.admit(|| now), Ok(()));
            breaker.note_answer();
        }
        assert!(!breaker.note_failure(now) && !breaker.note_failure(now) && breaker.note_failure(now));
        assert_eq!((breaker.admit(|| now), breaker.check(|| now)), (Err(PAUSE), Err(PAUSE)));
        assert!(!breaker.note_failure(now), "those that were under way do not open it again");
        assert_eq!(breaker.trips(), 1);
    }

    #[test]
    fn one_probe_goes_through_in_each_pause_and_an_answer_closes() {
        let (breaker, start) = breaker(1);
        breaker.note_failure(start);
        let later = start + PAUSE;
        assert_eq!(breaker.check(|| later), Ok(()), "to look is no probe");
        assert_eq!(breaker.admit(|| later), Ok(()));
        assert_eq!(breaker.admit(|| later), Err(PAUSE));
        // Nobody says what became of the probe: its client left.
        assert_eq!(breaker.admit(|| later + PAUSE), Ok(()));
        assert!(!breaker.note_failure(later + PAUSE), "it was open all the time");
        assert!(breaker.admit(|| later + PAUSE).is_err());
        assert!(breaker.note_answer());
        assert!((0..10).all(|_| breaker.admit(|| later + PAUSE).is_ok()));
        assert_eq!((breaker.is_open(), breaker.trips()), (false, 1));
    }

    #[test]
    fn zero_failures_never_open_it() {
        let (breaker, now) = breaker(0);
        assert!((0..1000).all(|_| !breaker.note_failure(now)));
        assert_eq!(breaker.admit(|| now), Ok(()));
    }

    proptest! {
        #[test]
        fn it_is_open_exactly_after_so_many_failures_without_an_answer(
            most in 1_u32..5,
            story in proptest::collection::vec(any::<bool>(), 0..60),
        ) {
            let (breaker, now) = breaker(most);
            let mut row = 0;
            for failed in story {
                if failed {
                    breaker.note_failure(now);
                    row += 1;
                } else {
                    breaker.note_answer();
                    row = 0;
                }
                prop_assert_eq!(breaker.is_open(), row >= most);
                prop_assert_eq!(breaker.admit(|| now).is_err(), row >= most);
            }
        }
    }
}

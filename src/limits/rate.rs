//! Rates as pure arithmetic: the generic cell rate algorithm, a token bucket that is kept as one instant.
//!
//! A [`Bucket`] remembers when it will be full again. Taking from it moves this instant into the future; requests are refused when it
//! would lie further away than a burst is worth, bytes are let through and then waited for. The time is passed in, as nanoseconds since
//! an instant of the caller's choice. Every division rounds against the caller, so that never more passes than
//! `burst + rate * time`. A time that runs backwards, as seen by two threads, only makes it stricter.
//! Source: ITU-T I.371, annex A (virtual scheduling).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::rules::settings::RequestRate;

const SECOND: u64 = 1_000_000_000;

/// Nanoseconds since an instant of the caller's choice.
pub type Nanos = u64;

/// What was taken of one thing, as the instant at which nothing of it is left. The default is a full bucket.
#[derive(Debug, Default)]
pub struct Bucket(AtomicU64);

impl Bucket {
    /// Takes one request.
    ///
    /// # Errors
    /// How long it takes until there is one. Nothing is taken then.
    pub fn take(&self, rate: RequestRate, now: Nanos) -> Result<(), Duration> {
        let (interval, tolerance) = (interval(rate), tolerance(rate));
        let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
            let full_at = full_at.max(now);
            (full_at - now <= tolerance).then(|| full_at.saturating_add(interval))
        });
        taken.map(drop).map_err(|full_at| Duration::from_nanos(full_at.saturating_sub(now).saturating_sub(tolerance)))
    }

    /// Puts back a request that was taken and then not made.
    pub fn put_back(&self, rate: RequestRate) {
        self.pass(|full_at| full_at.saturating_sub(interval(rate)));
    }

    /// Takes so many bytes, whatever is left.
    pub fn charge(&self, bytes: u64, per_second: u64, now: Nanos) {
        let cost = cost(bytes, per_second);
        self.pass(|full_at| full_at.max(now).saturating_add(cost));
    }

    /// How long it takes until everything that was taken is made up for.
    pub fn debt(&self, now: Nanos) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed).saturating_sub(now))
    }

    /// Whether the bucket is full: as if nothing had ever been taken.
    pub fn is_full(&self, now: Nanos) -> bool {
        self.0.load(Ordering::Relaxed) <= now
    }

    fn pass(&self, change: impl Fn(u64) -> u64) {
        self.0.update(Ordering::Relaxed, Ordering::Relaxed, change);
    }
}

fn interval(rate: RequestRate) -> u64 {
    SECOND.div_ceil(u64::from(rate.per_second.get()))
}

/// How far in the future a bucket may be full again for one more request to be taken.
fn tolerance(rate: RequestRate) -> u64 {
    interval(rate).saturating_mul(u64::from(rate.burst.get()) - 1)
}

fn cost(bytes: u64, per_second: u64) -> u64 {
    let nanos = (u128::from(bytes) * u128::from(SECOND)).div_ceil(u128::from(per_second.max(1)));
    u64::try_from(nanos).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use proptest::prelude::*;

    use super::*;

    fn rate(per_second: u32, burst: u32) -> RequestRate {
        RequestRate { per_second: NonZeroU32::new(per_second).unwrap(), burst: NonZeroU32::new(burst).unwrap() }
    }

    #[test]
    fn a_burst_passes_at_once_and_then_the_rate() {
        let (bucket, rate) = (Bucket::default(), rate(10, 3));
        for _ in 0..3 {
            assert_eq!(bucket.take(rate, 0), Ok(()));
        }
        assert_eq!(bucket.take(rate, 0), Err(Duration::from_millis(100)));
        assert_eq!(bucket.take(rate, SECOND / 10 - 1), Err(Duration::from_nanos(1)));
        assert_eq!(bucket.take(rate, SECOND / 10), Ok(()));
        assert_eq!(bucket.take(rate, SECOND / 10), Err(Duration::from_millis(100)));
    }

    #[test]
    fn what_was_put_back_can_be_taken_again_and_no_more() {
        let (bucket, rate) = (Bucket::default(), rate(1, 1));
        assert_eq!(bucket.take(rate, 0), Ok(()));
        bucket.put_back(rate);
        assert!(bucket.is_full(0));
        assert_eq!(bucket.take(rate, 0), Ok(()));
        assert!(bucket.take(rate, 0).is_err());
    }

    #[test]
    fn bytes_are_let_through_and_make_a_debt() {
        let bucket = Bucket::default();
        bucket.charge(3000, 1000, 0);
        assert_eq!(bucket.debt(0), Duration::from_secs(3));
        assert_eq!(bucket.debt(2 * SECOND), Duration::from_secs(1));
        bucket.charge(1, 1000, 10 * SECOND);
        assert_eq!(bucket.debt(10 * SECOND), Duration::from_millis(1));
    }

    #[test]
    fn l06_amounts_at_every_edge_neither_panic_nor_wrap() {
        for now in [0, 1, u64::MAX - 1, u64::MAX] {
            for (per_second, burst) in [(1, 1), (1, u32::MAX), (u32::MAX, 1), (u32::MAX, u32::MAX)] {
                let bucket = Bucket::default();
                assert_eq!(bucket.take(rate(per_second, burst), now), Ok(()));
                bucket.charge(u64::MAX, 1, now);
                assert!(bucket.debt(now) <= Duration::from_nanos(u64::MAX));
                bucket.put_back(rate(per_second, burst));
            }
        }
        let bucket = Bucket::default();
        bucket.charge(u64::MAX, u64::MAX, 0);
        assert_eq!(bucket.debt(0), Duration::from_secs(1));
    }

    proptest! {
        #[test]
        fn l08_never_more_than_the_burst_and_the_rate_pass_in_any_span(
            per_second in 1_u32..5_000,
            burst in 1_u32..200,
            steps in proptest::collection::vec((0_u64..200_000_000, 1_usize..60), 1..60),
        ) {
            let (bucket, rate) = (Bucket::default(), rate(per_second, burst));
            let mut now = 0;
            let mut admitted: Vec<u64> = Vec::new();
            for (pause, tries) in steps {
                now += pause;
                admitted.extend((0..tries).filter(|_| bucket.take(rate, now).is_ok()).map(|_| now));
            }
            for (first, start) in admitted.iter().enumerate() {
                for (last, end) in admitted.iter().enumerate().skip(first) {
                    let most = u128::from(burst) + u128::from(end - start) * u128::from(per_second) / u128::from(SECOND);
                    prop_assert!((last - first + 1) as u128 <= most);
                }
            }
        }

        #[test]
        fn who_waits_as_told_is_admitted(per_second in 1_u32..5_000, burst in 1_u32..20, tries in 1_usize..100) {
            let (bucket, rate) = (Bucket::default(), rate(per_second, burst));
            let mut now = 0;
            for _ in 0..tries {
                if let Err(wait) = bucket.take(rate, now) {
                    prop_assert!(!wait.is_zero());
                    now += u64::try_from(wait.as_nanos()).unwrap();
                    prop_assert_eq!(bucket.take(rate, now), Ok(()));
                }
            }
        }

        #[test]
        fn bytes_that_are_waited_for_keep_their_rate(
            per_second in 1_000_u64..1_000_000,
            pieces in proptest::collection::vec(1_u64..500_000, 1..100),
        ) {
            let bucket = Bucket::default();
            let (mut now, mut total) = (0_u64, 0_u64);
            for piece in &pieces {
                now += u64::try_from(bucket.debt(now).as_nanos()).unwrap();
                bucket.charge(*piece, per_second, now);
                total += piece;
            }
            let largest = pieces.iter().max().copied().unwrap_or_default();
            let allowed = u128::from(largest) + u128::from(now) * u128::from(per_second) / u128::from(SECOND);
            prop_assert!(u128::from(total) <= allowed, "{} in {} ns", total, now);
        }
    }
}

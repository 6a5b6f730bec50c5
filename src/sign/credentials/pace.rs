//! When credentials are renewed: pure numbers, the time and the chance passed in.

use std::time::Duration;

/// How often files are read again. A mounted secret that is rotated is in use one minute later.
const READ_EVERY: Duration = Duration::from_secs(60);
/// How often others are asked again for credentials that have no end.
const ASK_EVERY: Duration = Duration::from_secs(15 * 60);
/// How long before their end credentials are renewed, if they last long enough for that.
const AHEAD: Duration = Duration::from_secs(5 * 60);
/// Shorter lives than this are renewed when a third of them is left.
const LONG_LIFE: Duration = Duration::from_secs(15 * 60);
/// How soon after a failure it is tried again at first, and at last.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Never sooner, whatever comes: a platform is not asked in a loop.
const SHORTEST: Duration = Duration::from_secs(1);

/// How long until credentials are renewed that were loaded just now and end in `left`, if they end. `cheap` says that those without an end
/// come out of files. `chance` is between 0 and 1, so that many gateways do not ask at once.
pub(super) fn after_success(left: Option<Duration>, cheap: bool, chance: f64) -> Duration {
    let Some(left) = left else { return if cheap { READ_EVERY } else { ASK_EVERY } };
    let ahead =
        if left >= LONG_LIFE { AHEAD + AHEAD.mul_f64(chance / 5.0) } else { (left / 3).mul_f64(1.0 + chance / 4.0) };
    left.saturating_sub(ahead).max(SHORTEST)
}

/// How long until it is tried again after so many failures in a row, at least one.
pub(super) fn after_failure(failures: u32, chance: f64) -> Duration {
    let (first, last) = RETRY;
    let wait = first.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(last);
    wait.mul_f64(0.8 + chance * 0.4)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn credentials_are_renewed_five_minutes_ahead_or_a_third_of_a_short_life() {
        for chance in [0.0, 0.5, 1.0] {
            let wait = |left: u32| after_success(Some(left * SECOND), false, chance);
            assert!((54 * 60 * SECOND..=55 * 60 * SECOND).contains(&wait(3600)), "{:?}", wait(3600));
            assert!((5 * SECOND..=6 * SECOND).contains(&wait(9)), "{:?}", wait(9));
            assert!(wait(600) < 400 * SECOND + SECOND && wait(600) > 340 * SECOND, "{:?}", wait(600));
            assert_eq!(wait(1), SECOND, "not in a loop");
            assert_eq!(wait(0), SECOND, "not in a loop");
        }
    }

    #[test]
    fn files_are_read_every_minute_and_nobody_is_asked_that_often() {
        assert_eq!(after_success(None, true, 0.0), READ_EVERY);
        assert_eq!(after_success(Some(3600 * SECOND), true, 0.0), 3300 * SECOND);
        assert_eq!(after_success(None, false, 0.0), ASK_EVERY);
    }

    #[test]
    fn failures_are_followed_by_longer_and_longer_pauses() {
        let waits: Vec<_> = [1, 2, 3, 6, 100].into_iter().map(|failures| after_failure(failures, 0.5)).collect();
        assert_eq!(waits, [SECOND, 2 * SECOND, 4 * SECOND, 30 * SECOND, 30 * SECOND]);
        assert!(after_failure(1, 0.0) < after_failure(1, 1.0));
    }
}

//! Says something at most once in a while, so that what an attacker or an outage repeats does not fill the log.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// How often the same warning is written.
pub const USUAL: Duration = Duration::from_secs(10);

/// Lets the first of many through, and then one each interval with the number that was held back.
#[derive(Debug)]
pub struct Seldom {
    interval: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last: Option<Instant>,
    held_back: u64,
}

impl Default for Seldom {
    fn default() -> Self {
        Self::every(USUAL)
    }
}

impl Seldom {
    /// At most once an interval.
    pub const fn every(interval: Duration) -> Self {
        Self { interval, state: Mutex::new(State { last: None, held_back: 0 }) }
    }

    /// Whether to say it now; then how many were held back since it was said last.
    pub fn now(&self) -> Option<u64> {
        self.at(Instant::now())
    }

    fn at(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.last.is_some_and(|last| now.saturating_duration_since(last) < self.interval) {
            state.held_back += 1;
            return None;
        }
        state.last = Some(now);
        Some(std::mem::take(&mut state.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_the_first_is_said_and_then_one_each_interval() {
        let (seldom, start) = (Seldom::every(Duration::from_secs(10)), Instant::now());
        let after = |seconds| seldom.at(start + Duration::from_secs(seconds));
        assert_eq!([0, 1, 9, 10, 11, 30].map(after), [Some(0), None, None, Some(2), None, Some(1)]);
    }
}

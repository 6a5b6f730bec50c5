//! The counters of the last ten minutes, so that a page that is opened shows what was before.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::telemetry::Totals;

/// Time between two samples.
const EVERY: Duration = Duration::from_secs(5);
/// Ten minutes.
const MAX_SAMPLES: usize = 121;

#[derive(Debug)]
pub(super) struct History {
    start: Instant,
    samples: Mutex<VecDeque<Sample>>,
}

/// Counters since the start, at one moment.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Sample {
    /// Milliseconds since the first.
    at_ms: u64,
    requests: u64,
    refused: u64,
    bytes_in: u64,
    bytes_out: u64,
}

impl Default for History {
    fn default() -> Self {
        Self { start: Instant::now(), samples: Mutex::default() }
    }
}

impl History {
    pub(super) async fn keep(&self, totals: impl Fn() -> Totals) {
        let mut ticks = tokio::time::interval(EVERY);
        loop {
            ticks.tick().await;
            self.add(&totals());
        }
    }

    fn add(&self, totals: &Totals) {
        let sample = Sample {
            at_ms: u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX),
            requests: totals.requests,
            refused: totals.refused,
            bytes_in: totals.bytes_in,
            bytes_out: totals.bytes_out,
        };
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        samples.push_back(sample);
        if samples.len() > MAX_SAMPLES {
            samples.pop_front();
        }
    }

    pub(super) fn samples(&self) -> Vec<Sample> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_ten_minutes_are_kept() {
        let history = History::default();
        for requests in 0..500 {
            history.add(&Totals { requests, ..Totals::default() });
        }
        let samples = history.samples();
        assert_eq!((samples.len(), samples[0].requests, samples[120].requests), (121, 379, 499));
    }
}

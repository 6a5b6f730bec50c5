//! How large a step is worth taking: a sixteenth of what has flowed, but for the first 512 KiB.
//!
//! A peer that takes nothing lets the kernels swallow some hundred KiB before it shows; until then steps are the least.
//! From there on they are in proportion to the flow, so that whoever stalls later holds a part of what was worth it. A lone
//! transfer is at full size after 5 MiB and about 150 steps.

use std::time::{Duration, Instant};

use super::{LEAST, MOST};

const PART: u64 = 16;
/// What flows before steps grow. Two kernels take about 450 KiB with the limits we set (`TCP_NOTSENT_LOWAT`).
const YOUNG: u64 = 512 * 1024;

/// Time without movement after which a flow begins anew. Longer than the pauses of a healthy one: a full round trip
/// to a far store, or a scheduler under load.
const STANDSTILL: Duration = Duration::from_millis(250);

/// The size of the steps of one direction of one connection.
#[derive(Debug, Default)]
pub(super) struct Growth {
    flowed: u64,
    /// Since when the next step waits for whoever takes the bytes.
    since: Option<Instant>,
}

impl Growth {
    /// Bytes of the next step: a power of two from [`LEAST`] to `most`, which is at least [`LEAST`].
    pub(super) fn step(&self, most: usize) -> usize {
        let grown = usize::try_from(self.flowed.saturating_sub(YOUNG) / PART).unwrap_or(MOST).clamp(LEAST, MOST);
        let size = grown.min(most);
        1 << size.ilog2()
    }

    /// Bytes moved.
    pub(super) fn moved(&mut self, bytes: usize) {
        self.flowed = self.flowed.saturating_add(bytes as u64);
    }

    /// The taker is waited for from now on, if it was not before.
    pub(super) fn wait_for_taker(&mut self, now: impl FnOnce() -> Instant) {
        self.since.get_or_insert_with(now);
    }

    /// The taker came. Returns to the smallest step if it took too long.
    pub(super) fn taken(&mut self, now: impl FnOnce() -> Instant) {
        if self.since.take().is_some_and(|since| now().saturating_duration_since(since) >= STANDSTILL) {
            self.flowed = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_grow_with_the_flow_up_to_what_is_allowed_and_are_powers_of_two() {
        let mut growth = Growth::default();
        assert_eq!(growth.step(MOST), LEAST);
        growth.moved(512 * 1024);
        assert_eq!(growth.step(MOST), LEAST);
        growth.moved(16 * 100 * 1024);
        assert_eq!(growth.step(MOST), 64 * 1024);
        assert_eq!(growth.step(40 * 1024), 32 * 1024);
        growth.moved(1 << 40);
        assert_eq!(growth.step(MOST), MOST);
        assert_eq!(growth.step(LEAST), LEAST);
    }

    #[test]
    fn a_taker_that_stood_still_begins_small_again_and_a_giver_that_pauses_does_not() {
        let start = Instant::now();
        let mut growth = Growth::default();
        growth.moved(1 << 30);
        growth.wait_for_taker(|| start);
        growth.taken(|| start + STANDSTILL / 2);
        assert_eq!(growth.step(MOST), MOST);
        growth.taken(|| start + 10 * STANDSTILL);
        assert_eq!(growth.step(MOST), MOST, "nobody waited for the taker");
        growth.wait_for_taker(|| start);
        growth.wait_for_taker(|| start + STANDSTILL);
        growth.taken(|| start + STANDSTILL);
        assert_eq!(growth.step(MOST), LEAST);
    }
}

//! The bytes that all connections together may hold beyond the little that each is entitled to.
//!
//! What one connection may hold is a fixed share of what is still free. So a few may hold much, many hold little, a
//! newcomer always finds something, and nobody needs to be counted. Only atomics, and none for small requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a connection may read at once, or have queued, however little is free: hyper's first buffer.
pub const LEAST: usize = 8 * 1024;
/// What is worth having: hyper reads 408 KiB at most, and larger reads save nothing measurable.
pub const MOST: usize = 512 * 1024;

/// A connection may take this part of what is free: with `n` of them that hold all they may, `1 / (1 + n / 8)` stays free.
const SHARE: usize = 8;

/// The ceiling and what is held under it.
#[derive(Debug)]
pub struct Budget {
    ceiling: usize,
    held: AtomicUsize,
}

impl Budget {
    /// A budget of so many bytes.
    pub fn new(ceiling: usize) -> Arc<Self> {
        Arc::new(Self { ceiling, held: AtomicUsize::new(0) })
    }

    /// What a connection may hold more at this moment, from [`LEAST`] to [`MOST`] bytes.
    pub fn allowance(&self) -> usize {
        (self.ceiling.saturating_sub(self.held()) / SHARE).clamp(LEAST, MOST)
    }

    /// Bytes held now. Above the ceiling only by what connections hold of their least.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// The configured ceiling in bytes.
    pub fn ceiling(&self) -> usize {
        self.ceiling
    }

    pub(super) fn take(&self, bytes: usize) {
        // A number that others act upon, but that orders nothing.
        self.held.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn give_back(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// What one holder has taken out of a budget; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Charge {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Charge {
    pub(super) fn new(budget: Arc<Budget>) -> Self {
        Self { budget, bytes: 0 }
    }

    /// The holder holds this much now.
    pub(super) fn set(&mut self, bytes: usize) {
        match bytes.checked_sub(self.bytes) {
            Some(0) => {}
            Some(more) => self.budget.take(more),
            None => self.budget.give_back(self.bytes - bytes),
        }
        self.bytes = bytes;
    }

    pub(super) fn budget(&self) -> &Budget {
        &self.budget
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn one_holder_may_have_much_and_a_thousand_stay_below_the_ceiling() {
        let budget = Budget::new(16 * MIB);
        assert_eq!(budget.allowance(), MOST);
        let holders: Vec<_> = (0..1000)
            .map(|_| {
                let mut charge = Charge::new(Arc::clone(&budget));
                let allowed = budget.allowance();
                charge.set(if allowed > LEAST { allowed } else { 0 });
                charge
            })
            .collect();
        assert!(budget.held() <= 16 * MIB, "{}", budget.held());
        assert!(budget.held() > 15 * MIB, "what is there is used: {}", budget.held());
        assert_eq!(budget.allowance(), LEAST);
        drop(holders);
        assert_eq!((budget.held(), budget.allowance()), (0, MOST));
    }

    proptest! {
        #[test]
        fn whatever_is_taken_comes_back(steps in prop::collection::vec((0..4_usize, 0..2 * MIB), 0..50)) {
            let budget = Budget::new(MIB);
            let mut charges: Vec<_> = (0..4).map(|_| Charge::new(Arc::clone(&budget))).collect();
            for (holder, bytes) in steps {
                charges[holder].set(bytes);
                prop_assert_eq!(budget.held(), charges.iter().map(|charge| charge.bytes).sum::<usize>());
                prop_assert!((LEAST..=MOST).contains(&budget.allowance()));
            }
            drop(charges);
            prop_assert_eq!(budget.held(), 0);
        }
    }
}

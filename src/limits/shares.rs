//! How many of a store's places one principal may hold, so that it cannot take all of them.
//!
//! Counts only while something is held: a principal without a place costs no memory.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};

use crate::base::PrincipalId;

/// The shares of the principals in a number of places.
#[derive(Debug)]
pub struct Shares {
    limit: usize,
    held: Mutex<HashMap<PrincipalId, usize>>,
}

/// One place, held by a principal; given back when it is dropped.
#[derive(Debug)]
pub struct Share {
    shares: Arc<Shares>,
    principal: PrincipalId,
}

impl Shares {
    /// `percent` of these places to each principal, rounded up, at least one. `None` if that is all of them: then nobody is counted.
    pub fn new(places: usize, percent: usize) -> Option<Arc<Self>> {
        let limit = places.saturating_mul(percent).div_ceil(100).max(1);
        (limit < places).then(|| Arc::new(Self { limit, held: Mutex::default() }))
    }

    /// Most places of one principal.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// One more place for a principal, unless it has its share.
    pub fn take(self: &Arc<Self>, principal: &PrincipalId) -> Option<Share> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.entry(principal.clone()).or_default();
        if *count >= self.limit {
            return None;
        }
        *count += 1;
        Some(Share { shares: Arc::clone(self), principal: principal.clone() })
    }

    /// Principals that hold something.
    pub fn holders(&self) -> usize {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = self.shares.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut count) = held.entry(self.principal.clone()) {
            if *count.get() > 1 {
                *count.get_mut() -= 1;
            } else {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn l08_nobody_ever_holds_more_than_the_share_and_everything_comes_back(
            story in proptest::collection::vec((0_usize..4, any::<bool>()), 0..200),
        ) {
            let shares = Shares::new(6, 50).unwrap();
            let names: Vec<_> = (0..4).map(|number| PrincipalId::new(format!("token:{number}"))).collect();
            let mut held: Vec<Vec<Share>> = (0..4).map(|_| Vec::new()).collect();
            for (who, takes) in story {
                if takes {
                    let before = held[who].len();
                    held[who].extend(shares.take(&names[who]));
                    prop_assert_eq!(held[who].len(), (before + 1).min(3));
                } else {
                    held[who].pop();
                }
                prop_assert_eq!(shares.holders(), held.iter().filter(|held| !held.is_empty()).count());
            }
            drop(held);
            prop_assert_eq!(shares.holders(), 0);
        }
    }

    #[test]
    fn l08_a_principal_gets_its_share_and_the_others_get_theirs() {
        let shares = Shares::new(5, 50).unwrap();
        let (a, b) = (PrincipalId::new("token:a"), PrincipalId::new("token:b"));
        let mut held: Vec<_> = std::iter::from_fn(|| shares.take(&a)).collect();
        assert_eq!((held.len(), shares.limit()), (3, 3));
        assert!(shares.take(&b).is_some());
        held.pop();
        assert!(shares.take(&a).is_some() && shares.take(&b).is_some());
        drop(held);
        assert_eq!(shares.holders(), 0, "nobody who holds nothing is remembered");
    }

    #[test]
    fn a_share_is_at_least_one_place_and_nobody_is_counted_where_it_is_all() {
        assert_eq!(Shares::new(10, 1).map(|shares| shares.limit()), Some(1));
        assert_eq!(Shares::new(512, 50).map(|shares| shares.limit()), Some(256));
        assert!(Shares::new(1, 50).is_none() && Shares::new(4, 100).is_none() && Shares::new(0, 50).is_none());
    }
}

//! What was taken by whom: one account for each principal, address, or rule, in a table of bounded size.
//!
//! When the table is full, an account makes room that is like new: nobody uses it, and everything taken from it has been made up for. To
//! forget it changes no later decision, so nobody escapes a limit by making the gateway forget. If no such account is found, the newcomer
//! gets no account of its own: all of these share one (see `Limiter`), which is stricter than the limit, never laxer. It takes as many
//! principals with open debts as the table has places to get there, and a debt of requests lasts seconds.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;

use crate::limits::rate::{Bucket, Nanos};

/// So many requests can look something up at a time.
const SHARDS: usize = 16;
/// Accounts that are looked at to make room. Those that must stay are put to the front, so that the next search sees others.
const TRIES: usize = 8;

/// What one holder has taken.
#[derive(Debug, Default)]
pub struct Account {
    /// Requests.
    pub requests: Bucket,
    /// Bytes from the client.
    pub upload: Bucket,
    /// Bytes to the client.
    pub download: Bucket,
    in_flight: AtomicU32,
}

/// A place among the requests in flight of an account; given back when it is dropped.
#[derive(Debug)]
pub struct InFlight(Arc<Account>);

impl Account {
    /// A place among at most `limit` requests in flight.
    pub fn enter(self: &Arc<Self>, limit: u32) -> Option<InFlight> {
        let below = |count: u32| (count < limit).then(|| count + 1);
        let entered = self.in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, below);
        entered.ok().map(|_| InFlight(Arc::clone(self)))
    }

    /// Requests in flight that hold a place.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    fn is_like_new(&self, now: Nanos) -> bool {
        [&self.requests, &self.upload, &self.download].iter().all(|bucket| bucket.is_full(now))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Accounts by holder.
#[derive(Debug)]
pub struct Accounts<K: Hash + Eq> {
    shards: Vec<Mutex<LruCache<K, Arc<Account>>>>,
    hasher: RandomState,
    most_in_shard: usize,
}

impl<K: Hash + Eq + Clone> Accounts<K> {
    /// A table of at most so many accounts, and at least one in each of its 16 parts.
    pub fn new(most: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::new(LruCache::unbounded())).collect();
        Self { shards, hasher: RandomState::new(), most_in_shard: (most / SHARDS).max(1) }
    }

    /// The account of a holder, opened if need be. `None` if there is no room for it.
    pub fn of(&self, key: &K, now: Nanos) -> Option<Arc<Account>> {
        let shard = usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or_default();
        let mut shard = self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(account) = shard.get(key) {
            return Some(Arc::clone(account));
        }
        if shard.len() >= self.most_in_shard && !make_room(&mut shard, now) {
            return None;
        }
        let account = Arc::<Account>::default();
        shard.put(key.clone(), Arc::clone(&account));
        Some(account)
    }

    /// Accounts in the table.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }

    /// Whether nobody has an account.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn make_room<K: Hash + Eq + Clone>(shard: &mut LruCache<K, Arc<Account>>, now: Nanos) -> bool {
    for _ in 0..TRIES {
        let Some((key, account)) = shard.peek_lru() else { return false };
        // Whoever uses an account holds it, and can get hold of it only under the lock that we have.
        if Arc::strong_count(account) == 1 && account.is_like_new(now) {
            shard.pop_lru();
            return true;
        }
        let key = key.clone();
        shard.promote(&key);
    }
    false
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use proptest::prelude::*;

    use super::*;
    use crate::rules::settings::RequestRate;

    const ONE: NonZeroU32 = NonZeroU32::new(1).unwrap();
    const ONE_PER_SECOND: RequestRate = RequestRate { per_second: ONE, burst: ONE };
    const SECOND: Nanos = 1_000_000_000;

    #[test]
    fn l08_l09_the_table_stays_bounded_for_any_number_of_principals() {
        let accounts = Accounts::new(65_536);
        for number in 0..200_000_u64 {
            // Ten microseconds between two principals: all of them owe when the table is full, and later some no longer do.
            let now = number * 10_000;
            if let Some(account) = accounts.of(&number, now) {
                account.requests.take(ONE_PER_SECOND, now).unwrap();
            }
        }
        assert!(accounts.len() <= 65_536, "{}", accounts.len());
    }

    #[test]
    fn l08_no_debt_is_forgotten_whoever_else_comes() {
        let accounts = Accounts::new(64);
        accounts.of(&0, 0).unwrap().requests.take(ONE_PER_SECOND, 0).unwrap();
        let opened = (1..10_000).filter(|number| {
            let account = accounts.of(number, 0);
            account.is_some_and(|account| account.requests.take(ONE_PER_SECOND, 0).is_ok())
        });
        assert!(opened.count() < 64);
        assert!(accounts.of(&0, 0).unwrap().requests.take(ONE_PER_SECOND, 0).is_err(), "it still owes");
        // A second later all debts are made up for, and newcomers find room.
        let opened = (10_000..10_064).filter(|number| accounts.of(number, SECOND).is_some()).count();
        assert_eq!(opened, 64);
        assert!(accounts.len() <= 64);
    }

    #[test]
    fn l08_an_account_in_use_is_not_forgotten_and_does_not_stop_the_search() {
        let accounts = Accounts::new(16 * 100);
        let held: Vec<_> = (0..6).filter_map(|number| accounts.of(&number, 0)).collect();
        let places: Vec<_> = held.iter().filter_map(|account| account.enter(1)).collect();
        drop(held);
        for number in 100..20_000 {
            assert!(accounts.of(&number, 0).is_some(), "{number}");
        }
        for number in 0..6 {
            assert_eq!(accounts.of(&number, 0).unwrap().in_flight(), 1);
        }
        drop(places);
        assert!((0..6).all(|number| accounts.of(&number, 0).unwrap().in_flight() == 0));
    }

    #[test]
    fn places_in_flight_come_back_however_they_end() {
        let account = Arc::<Account>::default();
        let first = account.enter(2).unwrap();
        let second = account.enter(2).unwrap();
        assert!(account.enter(2).is_none());
        drop(first);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _third = account.enter(2).unwrap();
            panic!("as the test asked")
        }));
        assert!(panicked.is_err());
        assert_eq!(account.in_flight(), 1);
        drop(second);
        assert_eq!(account.in_flight(), 0);
    }

    proptest! {
        #[test]
        fn places_in_flight_are_as_many_as_are_held_and_never_more_than_the_limit(
            limit in 0_u32..6,
            story in proptest::collection::vec(proptest::option::of(0_usize..6), 0..200),
        ) {
            let account = Arc::<Account>::default();
            let mut held = Vec::new();
            for leaves in story {
                match leaves {
                    Some(position) if position < held.len() => drop(held.swap_remove(position)),
                    _ => held.extend(account.enter(limit)),
                }
                prop_assert_eq!(account.in_flight() as usize, held.len());
                prop_assert!(account.in_flight() <= limit);
            }
            drop(held);
            prop_assert_eq!(account.in_flight(), 0);
        }
    }
}

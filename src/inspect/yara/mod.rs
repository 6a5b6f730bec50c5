//! Matches rules of YARA, with YARA-X, in this process.
//!
//! Objects are looked at in overlapping blocks while they pass, each by one of a few threads that keep the scanners. YARA-X cannot tell
//! everything of blocks: rules that need more ([`needs`]) are refused when they are read, unless objects are held whole up to a size.
//! Modules are not built in. Without the feature `yara` this module has no rules, and so no inspector.

#[cfg(not(feature = "yara"))]
mod absent;
#[cfg(feature = "yara")]
mod compile;
#[cfg(feature = "yara")]
mod layers;
#[cfg(feature = "yara")]
mod look;
#[cfg(feature = "yara")]
mod needs;
#[cfg(feature = "yara")]
mod pool;
#[cfg(all(test, feature = "yara"))]
mod tests;
#[cfg(feature = "yara")]
mod worker;

use std::sync::Arc;
use std::time::Duration;

#[cfg(not(feature = "yara"))]
pub use absent::RuleSet;
#[cfg(not(feature = "yara"))]
use absent::start;
#[cfg(feature = "yara")]
pub use compile::RuleSet;
#[cfg(feature = "yara")]
use look::start;

use crate::inspect::unpack::Limits;
use crate::inspect::{BuildError, Inspector};

/// Whether this build can match rules of YARA.
pub const IS_BUILT_IN: bool = cfg!(feature = "yara");

/// What it is configured with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The rules.
    pub rules: RuleSet,
    /// Matches of rules with one of these tags do not count.
    pub ignore_tags: Vec<String>,
    /// Threads that match.
    pub threads: usize,
    /// Longest time that matching one object may take, with all that is packed in it.
    pub deadline: Duration,
    /// How far archives and encodings are read through, if they are.
    pub unpack: Option<Limits>,
}

/// The text of a rule file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The file, for messages.
    pub origin: String,
    /// What it holds.
    pub text: String,
}

/// What is wrong with a rule file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleProblem {
    /// Position of the file among the sources.
    pub source: usize,
    /// What is wrong, with file and line.
    pub message: String,
    /// What to do.
    pub help: String,
}

/// Makes the inspector of this name, with its threads. They end when nobody looks through it any more.
///
/// # Errors
/// [`BuildError`] if the threads cannot be started.
pub fn build(name: &str, settings: &Settings) -> Result<Arc<dyn Inspector>, BuildError> {
    let problem = |error| format!("its threads cannot be started: {error}");
    start(settings).map_err(|error| BuildError { inspector: name.to_owned(), problem: problem(error) })
}

//! What to look for in the bytes of an object, and what was found.
//!
//! An [`Inspector`] looks at one kind of thing: it asks a scanner, matches patterns, knows file types. It sees the object as a stream of
//! pieces and comes to a [`Verdict`]. What a verdict leads to is the choice of the rule ([`InspectionTerms`]); that no object becomes
//! visible before it is the work of `body`. Knows no S3, no caller, no store.

pub mod clamd;
pub mod content;
pub mod file_type;
pub mod hook;
pub mod icap;
pub mod inspection;
pub mod kinds;
pub mod memory;
mod outside;
pub mod patterns;
pub mod queue;
pub mod registry;
pub mod settings;
pub mod subject;
pub mod terms;
mod trial;
pub mod unpack;
pub mod verdict;
pub mod yara;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

pub use content::{Content, Feed};
pub use inspection::{Inspection, Outcome};
pub use memory::{Flight, KnownBy, Memory, MemorySettings, ObjectId, Turn};
pub use registry::{Busy, Inspectors};
pub use settings::{InspectionLimits, InspectorSettings, KindSettings, LoadSettings};
pub use subject::{Circumstances, Direction, Regards, Subject};
pub use terms::{
    Action, Actions, DownloadTerms, InspectionTerms, InspectorId, Mark, MultipartInspection, QuarantinePlace, Ranges,
};
pub use verdict::{Finding, Verdict, VerdictState};

#[cfg(test)]
pub(crate) use registry::tests as scripted;

/// One look at one object.
pub type Look = Pin<Box<dyn Future<Output = Verdict> + Send>>;

/// A question whether an inspector can work.
pub type Checkup = Pin<Box<dyn Future<Output = Result<Health, String>> + Send>>;

/// Looks for one kind of thing in objects. Shared by all requests.
///
/// How many looks there are at a time, how long one may take and what happens when it fails again and again is seen to outside.
pub trait Inspector: Send + Sync + fmt::Debug {
    /// Looks at one object. The future is polled together with the upload, so it must not block; it may come to its verdict before the
    /// content has ended, and must not say [`Verdict::Clean`] before that. Content that breaks off has no verdict: whatever the future
    /// says then is not heard.
    fn look(self: Arc<Self>, subject: Arc<Subject>, content: Content) -> Look;

    /// Whether it can work: asks its scanner, if it has one. Asked at start and every few seconds.
    fn check(self: Arc<Self>) -> Checkup {
        Box::pin(async { Ok(Health::default()) })
    }

    /// Most looks at a time that it can take now, if it knows: the queue gives no more places than these.
    fn max_looks(&self) -> Option<usize> {
        None
    }

    /// Of which circumstances its verdicts may depend: those that it shows to somebody whose ways are not known. A verdict that is remembered
    /// counts under the same only. Of the id of the request nothing may depend.
    fn regards(&self) -> Regards {
        Regards::Object
    }

    /// What its verdicts depend on, beside the signatures of [`Health`]: a digest of everything that was configured.
    fn digest(&self) -> String;
}

/// What a scanner says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// Version of scanner and signatures, such as `ClamAV 1.4.6/27100/Sat …` or an ISTag: a verdict is as old as these. Empty if there is
    /// none.
    pub version: String,
    /// When the signatures were made, in seconds since 1970, if the scanner tells.
    pub signatures_made: Option<u64>,
    /// What an operator should know of the scanner's own settings: limits that let objects pass unseen.
    pub warnings: Vec<String>,
}

/// Why an inspector could not be made.
#[derive(Debug, thiserror::Error)]
#[error("inspector `{inspector}`: {problem}")]
pub struct BuildError {
    /// Its name.
    pub inspector: String,
    /// What is wrong, and what to do.
    pub problem: String,
}

//! What an inspector came to.

use std::time::Duration;

/// What one inspector says of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Looked at as a whole, and nothing was found.
    Clean,
    /// Something was found.
    Matched {
        /// What: the name of a signature, a pattern, a rule, a file type. For the operator; clients never see it.
        name: String,
    },
    /// It could not be looked at as a whole: too large for the scanner, encrypted, nested too deep.
    NotScannable {
        /// Why, for the operator.
        reason: String,
    },
    /// The inspector failed: not reachable, no verdict in time, an answer that means nothing.
    Error {
        /// Why, for the operator.
        reason: String,
    },
}

/// A verdict without its details: what rules act on, a label of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum VerdictState {
    /// Nothing was found.
    Clean,
    /// Something was found.
    Matched,
    /// It could not be looked at as a whole.
    NotScannable,
    /// The inspector failed.
    Error,
}

impl Verdict {
    /// Its state.
    pub fn state(&self) -> VerdictState {
        match self {
            Self::Clean => VerdictState::Clean,
            Self::Matched { .. } => VerdictState::Matched,
            Self::NotScannable { .. } => VerdictState::NotScannable,
            Self::Error { .. } => VerdictState::Error,
        }
    }

    /// A match of this name.
    pub fn matched(name: impl Into<String>) -> Self {
        Self::Matched { name: name.into() }
    }

    /// Not scannable for this reason.
    pub fn not_scannable(reason: impl Into<String>) -> Self {
        Self::NotScannable { reason: reason.into() }
    }

    /// A failure with this reason.
    pub fn error(reason: impl Into<String>) -> Self {
        Self::Error { reason: reason.into() }
    }

    /// Name or reason; empty if clean.
    pub fn detail(&self) -> &str {
        match self {
            Self::Clean => "",
            Self::Matched { name } => name,
            Self::NotScannable { reason } | Self::Error { reason } => reason,
        }
    }
}

impl VerdictState {
    /// The word in audit records, metrics, tags and metadata.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Matched => "matched",
            Self::NotScannable => "not_scannable",
            Self::Error => "error",
        }
    }
}

/// A verdict, whose it is, and what it took: one line of the audit record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Name of the inspector.
    pub inspector: String,
    /// What it said.
    pub verdict: Verdict,
    /// Bytes it was given.
    pub bytes: u64,
    /// Time from its first byte to its verdict.
    pub time: Duration,
    /// Whether the verdict is remembered from an earlier look at the same object.
    pub remembered: bool,
}

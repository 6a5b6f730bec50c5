//! What inspectors are configured with, resolved and validated by `config`.

use std::path::Path;
use std::time::Duration;

use crate::inspect::{MemorySettings, clamd, hook, icap, kinds, patterns, yara};

/// One inspector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InspectorSettings {
    /// Unique name; rules, metrics and audit records use it.
    pub name: String,
    /// What it looks for, and how.
    pub kind: KindSettings,
    /// How much it may be asked.
    pub load: LoadSettings,
    /// Whether the gateway is not ready while it cannot work.
    pub required: bool,
}

/// What inspected downloads may cost, all together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InspectionLimits {
    /// Bytes of objects that lie in memory until their verdicts.
    pub held: u64,
    /// How much is remembered of what was found.
    pub memory: MemorySettings,
}

/// What an inspector looks for, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KindSettings {
    /// Asks clamd.
    Clamd(clamd::Settings),
    /// Asks an ICAP server.
    Icap(icap::Settings),
    /// Matches literals and regular expressions.
    Patterns(patterns::Settings),
    /// Matches rules of YARA.
    Yara(yara::Settings),
    /// Knows types of files.
    FileType(kinds::Settings),
    /// Asks a program of the operator over HTTP.
    Http(hook::Settings),
}

impl KindSettings {
    /// A file that is read when the inspector is made, and not with the configuration.
    pub fn ca_file(&self) -> Option<&Path> {
        match self {
            Self::Icap(settings) => settings.ca_file.as_deref(),
            Self::Http(settings) => settings.ca_file.as_deref(),
            Self::Clamd(_) | Self::Patterns(_) | Self::Yara(_) | Self::FileType(_) => None,
        }
    }
}

/// How much an inspector may be asked, and how long it is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadSettings {
    /// Most looks at a time.
    pub max_scans: usize,
    /// Most requests that wait for one of them to end.
    pub max_waiting: usize,
    /// The part of both that one principal may hold, in percent.
    pub principal_share: u8,
    /// How long a request waits for its turn.
    pub queue_timeout: Duration,
    /// How long the inspector may keep an object waiting: to take the next piece, and to give the verdict after the last.
    pub timeout: Duration,
    /// Failures in a row after which it is not asked for a while; 0 asks it always.
    pub breaker_failures: u32,
    /// How long until it is asked again.
    pub breaker_pause: Duration,
}

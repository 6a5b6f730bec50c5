//! The part of the file that is about inspection: `inspectors`, and `inspect` of a rule.

mod clamd;
mod file_type;
mod http;
mod icap;
mod limits;
mod patterns;
mod yara;

use schemars::JsonSchema;
use serde::Deserialize;

pub use clamd::{RawClamd, RawProbe};
pub use file_type::RawFileType;
pub use http::{RawHttp, RawShown};
pub use icap::RawIcap;
pub use limits::RawInspectionLimits;
pub use patterns::RawPatterns;
pub use yara::RawYara;

use super::forms::OneOrMany;
use super::raw::RawBreaker;

/// One inspector: exactly one of `patterns`, `file_type`, `clamd`, `icap`, `yara` and `http`, and how much it may be asked.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawInspector {
    /// Literals and regular expressions, matched in this process.
    pub patterns: Option<RawPatterns>,
    /// Types of files, by their bytes.
    pub file_type: Option<RawFileType>,
    /// clamd, the daemon of ClamAV.
    pub clamd: Option<RawClamd>,
    /// An ICAP server (RFC 3507).
    pub icap: Option<RawIcap>,
    /// Rule files of YARA, matched in this process. Needs a build with the feature `yara`.
    pub yara: Option<RawYara>,
    /// A program of yours, asked over HTTP.
    pub http: Option<RawHttp>,
    /// Most objects it looks at at a time, 1 to 10000; default 16.
    pub max_scans: Option<u64>,
    /// Most requests that wait for their turn, 0 to 100000; default 128. More get `SlowDown` at once.
    pub max_waiting: Option<u64>,
    /// The part of `max_scans` and `max_waiting` that one principal may hold, in percent, 1 to 100; default 50. It is rounded up, and at
    /// least one.
    pub principal_share: Option<u64>,
    /// How long a request waits for its turn, then it gets `SlowDown`; default `10s`.
    pub queue_timeout: Option<String>,
    /// How long it may keep an object waiting: until it takes the next piece, and from the last byte to the verdict; default `60s`. Then
    /// the verdict is `error`.
    pub timeout: Option<String>,
    /// When to stop asking it for a while: the verdict is `error` at once. Counted are verdicts `error` in a row.
    pub breaker: RawBreaker,
    /// Whether `/readyz` says that the gateway is not ready while this inspector cannot work; default true.
    pub required: Option<bool>,
}

/// What a rule wants inspected, and what the verdicts lead to.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawInspect {
    /// Names of inspectors; all of them look. Required.
    pub with: Option<OneOrMany>,
    /// Whether written objects are looked at; default true.
    pub uploads: Option<bool>,
    /// What happens to an object in which something was found; default `refuse`.
    pub matched: Option<RawAction>,
    /// What happens to an object that could not be looked at as a whole: too large for the scanner, encrypted, nested too deep; default
    /// `refuse`.
    pub not_scannable: Option<RawAction>,
    /// What happens to an object when the inspector failed; default `refuse`.
    pub error: Option<RawAction>,
    /// Where `quarantine` puts objects: `bucket` or `bucket/prefix/`, a bucket of this file at the same store, outside of the rule's
    /// `where`. Its own rules say who may read there; do not let clients write there. Needed if an action is `quarantine`.
    pub quarantine: Option<String>,
    /// How `mark` marks an object: `tag:NAME` or `metadata:x-amz-meta-NAME`; the value is `matched`, `not_scannable` or `error`. Default
    /// `tag:countersign-verdict`.
    pub mark: Option<String>,
    /// Multipart uploads: `staged` (default: parts go to a hidden key, the whole object is looked at when it is completed, then copied to
    /// its place), `per_part` (each part by itself; what lies across the border of two parts is not found) or `deny`.
    pub multipart: Option<RawMultipart>,
    /// Whether objects are looked at when they are read; default: no.
    pub downloads: Option<RawDownloads>,
}

/// How long what waits for its verdict is kept.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawStaging {
    /// A hidden object that nobody completes or whose completion failed, `1s` to `720h`; default `24h`.
    pub keep_objects: Option<String>,
    /// A multipart upload at a hidden key that nobody completes, `1s` to `720h`; default `168h`.
    pub keep_uploads: Option<String>,
}

/// What a verdict leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawAction {
    /// Stored as if nothing had been found.
    Allow,
    /// Stored, with a mark.
    Mark,
    /// Stored in the quarantine instead; the client gets an error.
    Quarantine,
    /// Not stored; the client gets an error.
    Refuse,
}

/// What happens to multipart uploads under inspection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawMultipart {
    /// Looked at as a whole at the end.
    Staged,
    /// Looked at part by part.
    PerPart,
    /// Refused.
    Deny,
}

/// How objects are looked at when they are read.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawDownloads {
    /// Objects up to this size are held in memory until the verdict, and refused cleanly; larger ones are cut before their last bytes.
    /// `0` to `64MiB`; default `1MiB`.
    pub hold: Option<String>,
    /// A request for a part of an object without a verdict: `scan` (default: the whole object is looked at first) or `refuse`.
    pub ranges: Option<RawRanges>,
    /// The largest object that is looked at for a request for a part of it, while the client waits; `0B` to `5TiB`, default `1GiB`. A part of
    /// a larger one is refused until the object was read as a whole.
    pub scan_up_to: Option<String>,
}

/// What happens to a request for a part of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawRanges {
    /// The whole object is looked at first.
    Scan,
    /// Refused.
    Refuse,
}

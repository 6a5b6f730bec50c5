//! The configuration: a YAML file, read once, checked completely, and turned into the `Settings` of every module.
//!
//! Modules never see YAML, and nothing here runs anything. The way of a file: `node` (text → tree with places) → `de` (tree →
//! the structs of `raw`) → `resolve` (structs → settings) with every problem on the way collected in `problem`. `raw` is the
//! manual of the keys.

mod de;
mod forms;
mod load;
mod mask;
mod node;
mod outline;
mod path;
mod problem;
mod raw;
mod raw_admin;
mod raw_audit;
mod raw_cors;
mod raw_identity;
mod raw_inspect;
mod raw_output;
mod raw_reload;
mod raw_signing;
mod raw_sts;
mod raw_tracing;
mod reads;
mod reference;
mod resolve;
mod schema;
mod suggest;

#[cfg(test)]
mod tests;

pub use load::{Loaded, MapReferences, References, SystemReferences, load_file, load_recorded, load_text};
pub use outline::Outline;
pub use problem::{Problem, Problems};
pub use reads::{Reads, Thing};
pub use reference::reference;
pub use schema::schema;

use ipnet::IpNet;

use crate::audit::AuditSettings;
use crate::cors::CorsRules;
use crate::inspect::{InspectionLimits, InspectorSettings};
use crate::limits::LimitSettings;
use crate::multipart::staged::sweep::SweepSettings;
use crate::post::PostSettings;
use crate::rules::RuleSettings;
use crate::s3::Buckets;
use crate::sts::StsSettings;
use crate::upstream::UpstreamSettings;
use crate::{auth, edge};

/// A configuration that was checked completely.
#[derive(Debug, Clone)]
pub struct Config {
    /// Listeners and connection limits.
    pub edge: edge::Settings,
    /// Who can authenticate.
    pub auth: auth::Settings,
    /// Which requests for STS are answered; `None` if none is.
    pub sts: Option<StsSettings>,
    /// Public buckets; their routes are positions in `upstreams`.
    pub buckets: Buckets,
    /// Which pages of other origins may talk to them.
    pub cors: CorsRules,
    /// What looks into the bytes of objects, in the order of [`crate::inspect::InspectorId`].
    pub inspectors: Vec<InspectorSettings>,
    /// Rules, in the order of the file.
    pub rules: Vec<RuleSettings>,
    /// Stores, in the order of [`crate::base::RouteId`].
    pub upstreams: Vec<UpstreamSettings>,
    /// What inspected downloads may cost.
    pub inspection: InspectionLimits,
    /// What callers may do at a time; the limits of rules are in their terms.
    pub limits: LimitSettings,
    /// How long hidden objects are kept.
    pub sweeping: SweepSettings,
    /// Where audit records go.
    pub audit: AuditSettings,
    /// Traces of requests; `None` if they have none.
    pub tracing: Option<TracingSettings>,
    /// What the log shows.
    pub log: LogSettings,
    /// When the configuration is read again.
    pub reload: ReloadSettings,
    /// The file itself, as it may be shown.
    pub source: Source,
}

/// A configuration file as it may be shown: no secret in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Source {
    /// Its name, or what stands for it.
    pub name: String,
    /// SHA-256 of the file in hex.
    pub digest: String,
    /// Its lines, with `…` for whatever may be secret.
    pub text: String,
}

/// When the configuration is read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReloadSettings {
    /// When a file changes.
    pub watch: bool,
}

/// Traces of requests.
#[derive(Debug, Clone)]
pub struct TracingSettings {
    /// Whose traces are continued.
    pub accept: AcceptTraces,
    /// Whether stores are told.
    pub propagate: bool,
    /// Where spans go.
    pub otlp: Option<OtlpSettings>,
}

/// Whose traces are continued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AcceptTraces {
    /// Those of all clients.
    Any,
    /// Nobody's.
    None,
    /// Those of clients in these networks.
    From(Vec<IpNet>),
}

/// Where spans go.
#[derive(Debug, Clone)]
pub struct OtlpSettings {
    /// The collector.
    pub post: PostSettings,
    /// The part of new traces that is sent, above 0 and up to 1.
    pub sample: f64,
}

/// What the log shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogSettings {
    /// How much.
    pub level: LogLevel,
    /// In which form.
    pub format: LogFormat,
}

/// How much the log shows; each level includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Failures of the gateway.
    Error,
    /// What an operator should look at.
    Warn,
    /// Starts and stops.
    Info,
    /// Refusals too. The audit records have them at every level.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// The word of the configuration, which filters of `tracing` understand too.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// The form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, else JSON.
    Auto,
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

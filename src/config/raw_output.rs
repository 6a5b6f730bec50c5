//! What the gateway logs, as the configuration file has it.
//!
//! Part of the user manual that `raw` is.

use schemars::JsonSchema;
use serde::Deserialize;

/// What the log shows.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawLog {
    /// `error`, `warn`, `info` (default), `debug` or `trace`.
    pub level: Option<RawLevel>,
    /// `text`, `json`, or `auto` (default): text on a terminal, else JSON.
    pub format: Option<RawFormat>,
}

/// How much the log shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RawLevel {
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

/// The form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RawFormat {
    /// Text on a terminal, else JSON.
    Auto,
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

//! `clamd` of an inspector.

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::forms::OneOrMany;

/// clamd, the daemon of ClamAV. See `docs/SCANNERS.md` for what its own limits let pass.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawClamd {
    /// Where it listens, such as `tcp://127.0.0.1:3310` or `unix:/run/clamav/clamd.ctl`. Of several the first that works is asked. Required.
    pub addresses: Option<OneOrMany>,
    /// Largest object that is sent, `1KiB` to `4GiB`; default `25MiB`, as clamd's StreamMaxLength in Debian. Must not be more than any of
    /// StreamMaxLength, MaxFileSize and MaxScanSize in its clamd.conf. Larger objects are `not_scannable`.
    pub max_size: Option<String>,
    /// Longest time to connect, and to answer when its health is asked for; default `2s`.
    pub connect_timeout: Option<String>,
    /// Beginnings of names that mean `not_scannable` instead of `matched`; default `[Heuristics.Limits.Exceeded, Heuristics.Encrypted.]`.
    pub not_scannable: Option<OneOrMany>,
    /// What is found out about its limits, at the start and with each new version of its signatures: `basic` (default: an object of
    /// `max_size` must be looked at, else clamd is not used; a warning if it calls archives over its limits or encrypted ones clean),
    /// `strict` (it is not used then either) or `none`.
    pub probe: Option<RawProbe>,
}

/// What is found out about the limits of clamd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawProbe {
    /// Nothing.
    None,
    /// Whether objects of the largest size are looked at; the rest is worth a warning.
    Basic,
    /// All of it, and all of it must be right.
    Strict,
}

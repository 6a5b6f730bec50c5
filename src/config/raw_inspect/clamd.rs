//! `clamd` of an inspector.

use schemars::JsonSchema;
use serde::Deserialize;

/// clamd, the daemon of ClamAV.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawClamd {}

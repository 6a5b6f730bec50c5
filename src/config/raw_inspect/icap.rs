//! `icap` of an inspector.

use schemars::JsonSchema;
use serde::Deserialize;

/// An ICAP server.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawIcap {}

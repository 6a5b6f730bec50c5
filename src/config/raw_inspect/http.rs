//! `http` of an inspector.

use schemars::JsonSchema;
use serde::Deserialize;

/// A program of yours.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawHttp {}

//! `patterns` of an inspector.

use schemars::JsonSchema;
use serde::Deserialize;

/// Literals and regular expressions.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawPatterns {}

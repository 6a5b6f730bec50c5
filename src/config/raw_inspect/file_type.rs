//! `file_type` of an inspector.

use schemars::JsonSchema;
use serde::Deserialize;

/// Types of files.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawFileType {}

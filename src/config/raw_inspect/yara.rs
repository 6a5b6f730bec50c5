//! `yara` of an inspector.

use schemars::JsonSchema;
use serde::Deserialize;

/// Rule files of YARA.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawYara {}

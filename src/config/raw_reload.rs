//! When the configuration is read again, as the file has it. Part of the user manual that `raw` is.

use schemars::JsonSchema;
use serde::Deserialize;

/// When the configuration is read again.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawReload {
    /// Whether a change of this file, or of a file that it refers to, is put to use by itself; default true. SIGHUP and the admin listener
    /// do it in any case.
    pub watch: Option<bool>,
}

//! `limits.inspection`: what inspected downloads may cost.

use schemars::JsonSchema;
use serde::Deserialize;

/// What inspected downloads may cost, all together.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawInspectionLimits {
    /// Bytes of objects that lie in memory until their verdicts (`inspect.downloads.hold`), `0B` to `64GiB`; default `64MiB`. More wait for
    /// 10 s, then get `SlowDown`; an object that is larger than this is not held but cut.
    pub held: Option<String>,
    /// Verdicts about objects of stores that are remembered, 0 to 10000000; default 50000. Each takes about 400 bytes. 0 remembers none:
    /// every read is inspected.
    pub verdicts: Option<u64>,
    /// How long a verdict is remembered, `1s` to `24h`; default `1h`. New signatures and another configuration end it at once.
    pub remember: Option<String>,
}

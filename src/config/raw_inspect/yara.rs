//! `yara` of an inspector.

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::forms::OneOrMany;

/// Rule files of YARA, compiled when the gateway starts and matched by YARA-X. A rule that matches is the verdict `matched` with its name;
/// private rules do not count, global ones do. There are no modules: `import` is a mistake, and so is `include`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawYara {
    /// Rule files, with absolute paths. `files`, `folder` or both.
    pub files: Option<OneOrMany>,
    /// A folder; every `.yar` and `.yara` file directly in it is a rule file, in the order of their names.
    pub folder: Option<String>,
    /// Objects are held in memory up to this size if a rule needs to see them whole (`filesize`, `uint16(…)` and its like, `fullword`,
    /// `^`, `$`, `\b`, patterns that can match more than 64 KiB), and larger ones are `not_scannable`. Without it such rules are a mistake.
    /// `1B` to `256MiB`, for each of the `max_scans` objects at a time.
    pub whole_up_to: Option<String>,
    /// Tags of rules whose matches do not count.
    pub ignore_tags: Option<OneOrMany>,
    /// Whether gzip (also as `Content-Encoding`) and zip (also Office documents) are read through, as by `patterns`;
    /// default true. Each object that comes out is matched by itself. With `false` archives are matched as they are,
    /// and only encoded content is not scannable.
    pub unpack: Option<bool>,
    /// Most bytes that may come out of one object, `1MiB` to `1TiB`; default `1GiB`. 250 times its size is the most in
    /// any case.
    pub max_unpacked: Option<String>,
    /// Most archives inside archives, 1 to 8; default 2.
    pub max_depth: Option<u64>,
    /// Most entries of the archives of one object, 1 to 1000000; default 10000.
    pub max_entries: Option<u64>,
    /// Threads that match, 1 to 256; default: as many as there are processors.
    pub threads: Option<u64>,
    /// How long matching one object may take, `1s` to `1h`, with all that is packed in it, the times between its pieces
    /// not counted; default `30s`. Then it is `not_scannable`.
    pub deadline: Option<String>,
}

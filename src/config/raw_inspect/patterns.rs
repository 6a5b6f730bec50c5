//! `patterns` of an inspector.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::forms::OneOrMany;

/// Literals and regular expressions, matched while the bytes pass; no server is asked. The verdict names the match as `set.pattern`,
/// `literals.NAME`, `regexes.NAME` or `files.NAME.LINE`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawPatterns {
    /// Sets that are built in: `eicar` (the test file of virus scanners), `private-keys` (PEM, OpenSSH, PGP, PuTTY, age), `access-keys`
    /// (AWS, GitHub, GitLab, Slack, Google, Azure, Stripe and others), `card-numbers` (payment cards, with their check digit).
    pub sets: Option<OneOrMany>,
    /// Texts by name, 1 to 4096 bytes each.
    pub literals: Option<BTreeMap<String, String>>,
    /// Regular expressions by name, in the syntax of the Rust crate `regex`, over bytes. Every one needs a longest match, of at most 4096
    /// bytes: `{1,200}` in place of `+`.
    pub regexes: Option<BTreeMap<String, String>>,
    /// Lists by name: absolute paths of files with one literal a line, at most 100000 lines and 4 MiB.
    pub files: Option<BTreeMap<String, String>>,
    /// Whether `literals` and `files` match ASCII letters in upper and lower case alike; default false. For expressions write `(?i)`.
    pub ignore_case: Option<bool>,
    /// How many different matches it takes, 1 to 1000; default 1. For lists that mean something only together.
    pub count: Option<u64>,
    /// Whether gzip (also as `Content-Encoding`) and zip (also Office documents) are read through; default true. Then what is encrypted,
    /// broken, over the limits below, or packed in another way (7z, RAR, xz, bzip2, zstd, Brotli) is not scannable. With `false` archives are
    /// searched as they are, and only encoded content is not scannable.
    pub unpack: Option<bool>,
    /// Most bytes that may come out of one object, `1MiB` to `1TiB`; default `1GiB`. 250 times its size is the most in any case.
    pub max_unpacked: Option<String>,
    /// Most archives inside archives, 1 to 8; default 2.
    pub max_depth: Option<u64>,
    /// Most entries of the archives of one object, 1 to 1000000; default 10000.
    pub max_entries: Option<u64>,
}

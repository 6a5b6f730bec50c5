//! `file_type` of an inspector.

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::forms::OneOrMany;

/// Types of files, by their first bytes (8 KiB) and by the end of a zip. The verdict names a match as `file_type.CLASS`,
/// `file_type.TYPE`, `file_type.not-allowed.TYPE`, `file_type.not-declared.TYPE`, `file_type.wrong-extension.TYPE` or
/// `file_type.polyglot.TYPE`. Encoded content is not scannable.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawFileType {
    /// The only media types there may be: `image/png`, `image/*`. Both what is declared and what the bytes show must be one of them; bytes
    /// that show nothing count as what is declared. Default: all.
    pub allow: Option<OneOrMany>,
    /// Media types, and classes: `active-content` (HTML, SVG, XML, MHTML), `executables` (programs and scripts), `archives`, `macros` (Office
    /// documents with VBA), `encrypted-archives` (zip, and Office documents with a password). What is declared, what the bytes show and the
    /// extension of the key are held against them.
    pub deny: Option<OneOrMany>,
    /// Whether the bytes must fit the declared type, and no other as well; default true.
    pub match_declared: Option<bool>,
    /// Whether the declared type and the bytes must fit the extension of the key, if that is a known one; default true.
    pub match_extension: Option<bool>,
}

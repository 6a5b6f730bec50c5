//! `http` of an inspector.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

/// A program of yours. It gets one `POST` for each object and answers `200` with `content-type: application/json` and a text of at most
/// 16 KiB such as `{"verdict": "matched", "name": "…"}`; the verdict is `clean`, `matched`, `not_scannable` or `error`, the last two with
/// a `reason`. Everything else is an `error`, and so is `clean` before it has got the whole object.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawHttp {
    /// Where the requests go, such as `https://scanner.example.com/scan`, or `env:NAME`. Redirects are not followed. Required.
    pub url: Option<String>,
    /// What it gets to see: `body` (default: the bytes as the body of the request, and the metadata, JSON in base64url, in the header
    /// `countersign-subject`) or `metadata` (as the body; then it answers before the bytes come).
    pub send: Option<RawShown>,
    /// Headers of every request, such as `authorization`; the values as `env:NAME` or `file:/path`.
    pub headers: BTreeMap<String, String>,
    /// PEM file of the certificate authorities to trust instead of the system's.
    pub ca_file: Option<String>,
    /// Larger objects are `not_scannable`, and it is not asked; default: no limit. Only with `send: body`.
    pub max_size: Option<String>,
}

/// What a program gets to see of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawShown {
    /// The bytes, and the metadata in a header.
    Body,
    /// The metadata alone.
    Metadata,
}

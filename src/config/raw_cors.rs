//! The part of the file that is about browsers: `cors` of a bucket.

use schemars::JsonSchema;
use serde::Deserialize;

use super::forms::OneOrMany;

/// Pages of other origins that a browser lets talk to a bucket. It grants no right: every request still needs a credential and a rule.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawCorsRule {
    /// Origins, as browsers write them: `https://app.example.com`, with a port if it is not the usual one; one `*` may stand in each
    /// (`https://*.example.com`, `http://localhost:*`). `*` alone is every origin but `null`. Required.
    pub origins: Option<OneOrMany>,
    /// Methods out of GET, HEAD, PUT, POST and DELETE. Required.
    pub methods: Option<OneOrMany>,
    /// Headers that a page may send, one `*` in each at most; default `*`. What the gateway does with a header is decided elsewhere.
    pub headers: Option<OneOrMany>,
    /// Headers of an answer that a page may read besides ETag, checksums, request id, version id, Content-Range and their like.
    pub expose: Option<OneOrMany>,
    /// How long a browser may remember the answer to its question, `0s` to `24h`; default `5m`.
    pub max_age: Option<String>,
}

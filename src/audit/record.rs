//! The fields of an audit record. Order and names are part of the interface; see `docs/OPERATIONS.md`.

use serde::Serialize;

use crate::audit::batch::BatchRecord;

/// One request, as it is written down.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Record {
    /// When the head of the request was complete, RFC 3339 in UTC.
    pub time: String,
    /// Also in the answer, as `x-amz-request-id`.
    pub request_id: String,
    /// Trace of which the request is a part (W3C Trace Context), 32 hexadecimal digits; left out if none was accepted or begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// Address of the client.
    pub client: String,
    /// Whether the client spoke TLS.
    pub tls: bool,
    /// HTTP method.
    pub method: String,
    /// Who asked; `null` if that was not established.
    pub principal: Option<String>,
    /// How it was established: `app_token`, `jwt`, `access_key`, `session`, `listener` or `certificate`.
    pub scheme: Option<&'static str>,
    /// The access key id of a signed request, whether it was accepted or not, or the one that STS gave out; other records do not have the
    /// field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_key_id: Option<String>,
    /// S3 operation; `null` if none was recognised.
    pub operation: Option<&'static str>,
    /// Public bucket name; of a request that was not understood, what it has in this place.
    pub bucket: Option<String>,
    /// Public key, or the prefix of a listing.
    pub key: Option<String>,
    /// What a copy reads, as `bucket/key` in public terms; left out of other records.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The objects of a DeleteObjects; other records do not have the field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<Box<BatchRecord>>,
    /// What the inspectors of the object came to; only of requests whose object was inspected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inspection: Option<Vec<FindingRecord>>,
    /// What that led to: `allow`, `mark`, `quarantine` or `refuse`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inspection_action: Option<&'static str>,
    /// What the rules said; `null` if they were not asked.
    pub decision: Option<Decision>,
    /// The rule that decided.
    pub rule: Option<String>,
    /// How the request ended.
    pub outcome: Outcome,
    /// S3 error code of a refusal.
    pub code: Option<&'static str>,
    /// Why, in words for the operator, at most 256 characters.
    pub reason: Option<String>,
    /// HTTP status of the answer; `null` if none was sent.
    pub status: Option<u16>,
    /// Body bytes taken from the client.
    pub bytes_in: u64,
    /// Body bytes given to the client.
    pub bytes_out: u64,
    /// Name of the upstream asked.
    pub upstream: Option<String>,
    /// Its HTTP status.
    pub upstream_status: Option<u16>,
    /// Milliseconds from asking it to the head of its answer.
    pub upstream_ms: Option<f64>,
    /// Milliseconds from the head of the request to its end.
    pub duration_ms: f64,
    /// What only the access log format has.
    #[serde(skip)]
    pub web: Option<Box<WebFacts>>,
}

/// What the access log format has of a request and records do not. Only kept if a sink writes that format.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WebFacts {
    /// Path of the target as it was sent, without the query.
    pub path: String,
    /// `HTTP/1.1` or `HTTP/2`.
    pub version: &'static str,
    /// Host that the client wrote.
    pub host: Option<String>,
    /// Page that the client comes from.
    pub referer: Option<String>,
    /// What the client calls itself.
    pub user_agent: Option<String>,
    /// Version of the object that was asked for.
    pub version_id: Option<String>,
    /// Whether the signature stands in the query.
    pub presigned: bool,
}

/// The verdict of one inspector.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct FindingRecord {
    /// Its name.
    pub inspector: String,
    /// `clean`, `matched`, `not_scannable` or `error`.
    pub verdict: &'static str,
    /// What it found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Why it has no verdict.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Bytes it was given.
    pub bytes: u64,
    /// Milliseconds from the first of them to the verdict.
    pub ms: f64,
    /// Whether the verdict is of an earlier look at the same object; left out if not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub remembered: bool,
}

/// What a record says of an inspection.
#[derive(Debug, Clone, PartialEq)]
pub struct InspectionNote {
    /// The verdicts.
    pub findings: Vec<FindingRecord>,
    /// What they led to.
    pub action: &'static str,
}

/// What the rules said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// A rule allows it.
    Allow,
    /// A rule denies it, or none allows it.
    Deny,
}

impl Decision {
    /// The word in records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Answered as asked, to the last byte.
    Ok,
    /// Answered, but some objects of the request were not deleted.
    Partial,
    /// Answered with an error.
    Refused,
    /// The answer broke off: the store failed in the middle of it, or the gateway panicked.
    Failed,
    /// The client went away before the end.
    #[default]
    Aborted,
}

impl Outcome {
    /// The word in records and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Partial => "partial",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Aborted => "aborted",
        }
    }
}

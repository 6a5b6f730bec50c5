//! The span of a request, out of its record.
//!
//! Names are those of the semantic conventions of OpenTelemetry (HTTP servers, calls of AWS services); what they have no name for begins
//! with `countersign.`. Keys of objects and principals are in it, as in the record; queries and headers are not.

use crate::audit::record::{Outcome, Record};
use crate::telemetry::trace::Attribute;

/// Its name, what is known of it, and what failed.
pub(super) fn of(record: &Record) -> (String, Vec<Attribute>, Option<String>) {
    let mut attributes: Vec<Attribute> = vec![
        ("http.request.method", record.method.as_str().into()),
        ("url.scheme", if record.tls { "https" } else { "http" }.into()),
        ("client.address", record.client.as_str().into()),
        ("aws.request_id", record.request_id.as_str().into()),
        ("http.request.body.size", record.bytes_in.into()),
        ("http.response.body.size", record.bytes_out.into()),
        ("countersign.outcome", record.outcome.as_str().into()),
    ];
    if let Some(operation) = record.operation {
        attributes.extend([
            ("rpc.system", "aws-api".into()),
            ("rpc.service", "S3".into()),
            ("rpc.method", operation.into()),
        ]);
    }
    let texts = [
        ("aws.s3.bucket", record.bucket.as_deref()),
        ("aws.s3.key", record.key.as_deref()),
        ("enduser.id", record.principal.as_deref()),
        ("countersign.rule", record.rule.as_deref()),
        ("countersign.upstream", record.upstream.as_deref()),
        ("error.type", record.code),
    ];
    attributes.extend(texts.into_iter().filter_map(|(name, text)| Some((name, text?.into()))));
    if let Some(status) = record.status {
        attributes.push(("http.response.status_code", u64::from(status).into()));
    }
    // A refusal is an error of the client; the conventions leave the span of a server without one then.
    let is_ours = record.outcome == Outcome::Failed || record.status.is_some_and(|status| status >= 500);
    let error = is_ours.then(|| record.reason.clone().or(record.code.map(str::to_owned)).unwrap_or_default());
    let name = record.operation.map_or_else(|| record.method.clone(), |operation| format!("S3/{operation}"));
    (name, attributes, error)
}

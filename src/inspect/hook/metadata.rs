//! What a program is told about an object: JSON, so that a key of any characters is data and nothing else.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;
use serde::Serialize;

use crate::inspect::Subject;

#[derive(Serialize)]
struct Metadata<'a> {
    request_id: &'a str,
    principal: &'a str,
    bucket: &'a str,
    key: &'a str,
    media_type: Option<&'a str>,
    content_encoding: Option<&'a str>,
    length: Option<u64>,
    direction: &'static str,
}

/// The metadata as a JSON text.
pub(super) fn json(subject: &Subject) -> String {
    let metadata = Metadata {
        request_id: &subject.request_id,
        principal: &subject.principal,
        bucket: &subject.bucket,
        key: &subject.key,
        media_type: subject.media_type.as_deref(),
        content_encoding: subject.content_encoding.as_deref(),
        length: subject.length,
        direction: subject.direction.as_str(),
    };
    serde_json::to_string(&metadata).expect("texts and numbers can be written as JSON")
}

/// The same as the value of a header: base64url without padding.
pub(super) fn header(subject: &Subject) -> HeaderValue {
    HeaderValue::try_from(URL_SAFE_NO_PAD.encode(json(subject))).expect("base64url is letters, digits, `-` and `_`")
}

//! The store's answer in the client's terms.
//!
//! Success passes through an allow-list of headers, the body untouched. An error is never passed on: it names the store's bucket,
//! endpoint or account, so its code is read and a text of our own is written. What blames the gateway's own credentials or settings is
//! the gateway's fault, never a 403 for the client, but where a lock on the object is the likelier reason.

use std::time::Duration;

use http::header::CONTENT_LENGTH;
use http::response::Parts;
use http::{HeaderValue, Method, StatusCode};

use crate::bounded::collect;
use crate::respond::body::{AnswerBody, Reply, Source};
use crate::respond::headers::{into_client, protect_object};
use crate::respond::refusal::{Refusal, RefusalKind};
use crate::s3::serving::serving;
use crate::s3::xml::Element;
use crate::s3::{Operation, S3Call, S3ErrorCode};
use crate::upstream::{ReplyBody, UpstreamReply};

/// Largest error document read. Real ones have about 500 bytes.
const MAX_ERROR_BYTES: usize = 64 * 1024;
/// Longest time for an error document, which follows its head at once.
const ERROR_TIME: Duration = Duration::from_secs(10);

/// Passes on an answer to a forwarded call.
///
/// # Errors
/// [`Refusal`] if the store answered with an error, in the client's terms.
pub async fn relay(reply: UpstreamReply, call: &S3Call, region: &str) -> Result<Reply, Refusal> {
    let status = reply.head.status;
    if !(status.is_success() || status == StatusCode::NOT_MODIFIED) {
        // Boxed, because every request has room for what it awaits.
        return Err(Box::pin(read_error(reply, call)).await);
    }
    Ok(compose(reply.head, Source::Store(Box::new(reply.body)), call, region))
}

/// A store's answer of success with this body, which has the length that the answer declares.
pub fn compose(head: Parts, body: Source, call: &S3Call, region: &str) -> Reply {
    let status = head.status;
    let mut headers = into_client(head.headers);
    match call.operation {
        Operation::GetObject | Operation::HeadObject | Operation::GetObjectTorrent => protect_object(&mut headers),
        Operation::HeadBucket => {
            // The region that clients sign for is the one the gateway is configured with, whatever the store says.
            if let Ok(value) = HeaderValue::from_str(region) {
                headers.insert("x-amz-bucket-region", value);
            }
        }
        _ => {}
    }
    if status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED {
        headers.remove(CONTENT_LENGTH);
    }
    let mut answer = Reply::new(AnswerBody::new(body));
    *answer.status_mut() = status;
    *answer.headers_mut() = headers;
    answer
}

/// Reads a store's error answer to a call.
pub async fn read_error(reply: UpstreamReply, call: &S3Call) -> Refusal {
    let (status, code, reason) = read(reply).await;
    if is_of_a_lock(status, code.as_deref(), call) {
        // A 502 would be tried again and again, and blame the gateway.
        let message = "The store does not allow this; the object may be locked.";
        return Refusal::new(S3ErrorCode::AccessDenied, RefusalKind::Upstream, message, reason);
    }
    translate(status, code.as_deref(), call, reason)
}

/// Reads a store's error answer to what it is asked before a call is carried out. It says nothing of what would become of the call.
pub async fn read_error_before(reply: UpstreamReply, call: &S3Call) -> Refusal {
    let (status, code, reason) = read(reply).await;
    translate(status, code.as_deref(), call, reason)
}

/// Status, code and reason of a store's error.
async fn read(reply: UpstreamReply) -> (StatusCode, Option<String>, String) {
    let (status, upstream) = (reply.head.status, reply.upstream);
    let code = read_code(reply.body).await;
    if let Some(code) = &code {
        reply.credentials.note_rejection(code);
    }
    let reason = format!("upstream `{upstream}` answered {status} {}", code.as_deref().unwrap_or("without a code"));
    (status, code, reason)
}

/// Whether a store refuses a call because of a lock on the object. It has no other code for that than for a credential without the right
/// to the operation; a lock is the likelier of the two, where there can be one.
fn is_of_a_lock(status: StatusCode, code: Option<&str>, call: &S3Call) -> bool {
    let may_meet_a_lock = match call.operation {
        Operation::DeleteObject => call.parameter("versionId").is_some(),
        Operation::PutObjectRetention | Operation::PutObjectLegalHold => true,
        _ => false,
    };
    may_meet_a_lock && status == StatusCode::FORBIDDEN && code == Some(S3ErrorCode::AccessDenied.as_str())
}

/// Reads an error document that stood in an answer with status 200.
pub fn error_in_success(root: &Element, call: &S3Call) -> Refusal {
    let code = plain_code(root);
    let status =
        code.as_deref().and_then(S3ErrorCode::named).map_or(StatusCode::INTERNAL_SERVER_ERROR, S3ErrorCode::status);
    let reason = format!("the store answered 200 with the error {}", code.as_deref().unwrap_or("without a code"));
    translate(status, code.as_deref(), call, reason)
}

async fn read_code(body: ReplyBody) -> Option<String> {
    let document = tokio::time::timeout(ERROR_TIME, collect(body, MAX_ERROR_BYTES)).await.ok()?.ok()?;
    plain_code(&Element::parse(std::str::from_utf8(&document).ok()?).ok()?)
}

fn plain_code(root: &Element) -> Option<String> {
    // The code goes into log and audit record: a plain word, or nothing.
    let code = root.text_of("Code");
    let plain = !code.is_empty() && code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (root.name == "Error" && plain).then(|| code.to_owned())
}

fn translate(status: StatusCode, code: Option<&str>, call: &S3Call, reason: String) -> Refusal {
    use S3ErrorCode as Code;
    let upstream = |code: S3ErrorCode, message: &str| Refusal::new(code, RefusalKind::Upstream, message, &reason);
    let not_ours = "The store refused the gateway. Ask the operator, with the request id.";
    match (status.as_u16(), code.and_then(Code::named)) {
        // Only for the status that goes with it, and for calls that are about such things.
        (_, Some(code)) if code.is_about_settings() && code.status() == status && is_about_settings(call) => {
            upstream(code, &format!("The store says {}.", code.as_str()))
        }
        (412, _) => upstream(Code::PreconditionFailed, "A condition of the request does not hold."),
        (416, _) => upstream(Code::InvalidRange, "The range is outside of the object."),
        (404, Some(Code::NoSuchBucket)) => upstream(Code::NoSuchBucket, "The bucket does not exist."),
        (404, Some(Code::NoSuchVersion)) => upstream(Code::NoSuchVersion, "The version does not exist."),
        (404, Some(Code::NoSuchUpload)) => upstream(Code::NoSuchUpload, "The upload does not exist."),
        (404, _) if call.resource.key().is_some() => upstream(Code::NoSuchKey, "The key does not exist."),
        (404, _) => upstream(Code::NoSuchBucket, "The bucket does not exist."),
        (409, _) => {
            upstream(Code::ConditionalRequestConflict, "Another request on this key was in the way. Try again.")
        }
        (405, _) => {
            upstream(Code::MethodNotAllowed, "The store does not allow this here, for example on a delete marker.")
        }
        (403, Some(Code::InvalidObjectState)) => upstream(Code::InvalidObjectState, "The object is archived."),
        (
            400,
            Some(
                code @ (Code::BadDigest
                | Code::InvalidDigest
                | Code::IncompleteBody
                | Code::EntityTooLarge
                | Code::EntityTooSmall
                | Code::InvalidPart),
            ),
        ) => upstream(code, "The store did not accept the object."),
        (
            400,
            Some(
                code @ (Code::InvalidArgument
                | Code::InvalidRequest
                | Code::InvalidTag
                | Code::KeyTooLongError
                | Code::MetadataTooLarge),
            ),
        ) => upstream(code, "The store did not accept the request."),
        // A HEAD has no document that tells more.
        (400, None) if call.operation.spec().method == Method::HEAD.as_str() => {
            upstream(Code::InvalidRequest, "The store did not accept the request.")
        }
        (501, _) => upstream(Code::NotImplemented, "The store does not support this."),
        (503 | 429, _) => upstream(Code::SlowDown, "The store is busy. Try again, more slowly."),
        (500 | 502 | 504, _) => upstream(Code::BadGateway, "The store failed. Try again."),
        // 401 and 403: the gateway's credentials. 3xx: a wrong region or endpoint. Others: nothing a client could understand.
        _ => upstream(Code::BadGateway, not_ours),
    }
}

fn is_about_settings(call: &S3Call) -> bool {
    serving(call.operation).mapping().is_some()
}

#[cfg(test)]
#[path = "relay_tests.rs"]
mod tests;

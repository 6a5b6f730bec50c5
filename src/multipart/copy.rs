//! CopyObject and UploadPartCopy: no byte passes the gateway, so what is copied is looked at first. The one exception is `copied_part`.
//!
//! The source was authorised as a read of its own. Its head at the store tells size, type and headers, its first bytes are compared with
//! the type where the rule wants that, and the copy is pinned to the ETag that was looked at. A copy keeps what the rule of its target
//! says as an upload does; it carries tags along only for callers who may read and write them.

use http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_TYPE, ETAG, EXPIRES,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::audit::Ticket;
use crate::body::Fault;
use crate::bounded;
use crate::inspect::file_type::{self, WINDOW};
use crate::limits::declared_type;
use crate::multipart::calls::{self, CHECKSUMS, client};
use crate::multipart::copied_part::{self, CopiedPart};
use crate::multipart::{Carrier, note_of, staged};
use crate::respond::store_answer::bad_answer;
use crate::respond::{Refusal, RefusalKind, Reply, relay};
use crate::s3::headers::HeaderError;
use crate::s3::xml::{Element, XmlWriter};
use crate::s3::{CopySource, IdentifyError, OddKeys, S3Call, S3ErrorCode};

const METADATA_DIRECTIVE: HeaderName = HeaderName::from_static("x-amz-metadata-directive");
const TAGGING_DIRECTIVE: HeaderName = HeaderName::from_static("x-amz-tagging-directive");
const SOURCE_IF_MATCH: HeaderName = HeaderName::from_static("x-amz-copy-source-if-match");

/// Headers that make up the metadata of an object, beside `x-amz-meta-*`.
const METADATA: [HeaderName; 6] =
    [CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_TYPE, EXPIRES];

/// CopyObject.
///
/// # Errors
/// [`Refusal`] if the source is not there, the copy would not keep the terms of the rule, or the store fails.
pub async fn object(carrier: &Carrier, resource: &str, ticket: &mut Ticket) -> Result<Reply, Refusal> {
    let (admission, call) = (&carrier.admission, carrier.admission.permit().call());
    let source = source_of(call)?;
    let found = look(carrier, source, ticket).await?;
    let mut headers = call.headers.pass.clone();
    if keeps(call, &TAGGING_DIRECTIVE) && !admission.permit().may_copy_tags() {
        if found.tags > 0 {
            let message = "The source has tags, which may not be copied. Send x-amz-tagging-directive: REPLACE.";
            return Err(client_denied(message));
        }
        // The pin does not cover tags: some may be there by the time of the copy.
        headers.insert(TAGGING_DIRECTIVE, HeaderValue::from_static("REPLACE"));
    }
    let set = &admission.terms().set_headers;
    let mut object = if keeps(call, &METADATA_DIRECTIVE) { found.metadata()? } else { metadata_of(&headers) };
    object.extend(set.iter().filter(|(name, _)| is_metadata(name)).cloned());
    let rule_changes_metadata = set.iter().any(|(name, _)| is_metadata(name));
    remove_metadata(&mut headers);
    // The pin does not cover metadata, so where the rule looks at it the store is told what was looked at.
    if !keeps(call, &METADATA_DIRECTIVE) || rule_changes_metadata || admission.terms().look_at_metadata() {
        headers.insert(METADATA_DIRECTIVE, HeaderValue::from_static("REPLACE"));
        headers.extend(object.clone());
    }
    headers.extend(set.iter().filter(|(name, _)| !is_metadata(name)).cloned());
    admission.check_copy(found.length, &with_rest(object, &headers))?;
    if admission.terms().check_bytes {
        let declared = declared_type(if rule_changes_metadata { &headers } else { found.or_given(call, &headers) });
        check_first_bytes(carrier, source, &found, (0, found.length), declared, ticket).await?;
    }
    pin(&mut headers, &found);
    if admission.terms().inspection.as_ref().is_some_and(|terms| terms.uploads) {
        ticket.forget_upstream();
        return staged::copy(carrier, source, headers, resource, ticket).await;
    }
    let outbound = carrier.signer.prepare_copy(admission, &carrier.bucket, None, source, &[], headers)?;
    ticket.forget_upstream();
    let render = |_: &S3Call, root: &Element| render("CopyObjectResult", root);
    calls::finish_late(carrier, outbound, resource, render, ticket).await
}

/// UploadPartCopy.
///
/// # Errors
/// [`Refusal`] as for [`object`], or if the upload is not one of this caller.
pub async fn part(carrier: &Carrier, resource: &str, ticket: &mut Ticket) -> Result<Reply, Refusal> {
    let (admission, call) = (&carrier.admission, carrier.admission.permit().call());
    let number = calls::part_number(call)?;
    let seal = calls::open(carrier)?;
    let hidden = carrier.for_upload(&seal)?.hidden;
    let source = source_of(call)?;
    if source.bucket.odd_keys == OddKeys::Refuse && has_escape(source.key.as_str()) {
        let message = "A key with percent escapes in its name cannot be the source of a part here.";
        return Err(client(S3ErrorCode::InvalidArgument, message));
    }
    let found = look(carrier, source, ticket).await?;
    let (first, end) = match source.range {
        None => (0, found.length),
        Some((first, last)) if last < found.length => (first, last + 1),
        Some(_) => {
            return Err(client(S3ErrorCode::InvalidArgument, "The range goes beyond the end of the source."));
        }
    };
    admission.check_copied_part(end - first)?;
    let is_inspected = admission.terms().inspection.as_ref().is_some_and(|terms| terms.uploads);
    // What goes to a hidden key is looked at as a whole, when all parts are there.
    if is_inspected && hidden.is_none() {
        let part = CopiedPart { number, seal, etag: found.etag, within: (first, end) };
        return copied_part::store(carrier, part, resource, ticket).await;
    }
    if number == 1 && admission.terms().check_bytes {
        check_first_bytes(carrier, source, &found, (first, end), seal.media_type.clone(), ticket).await?;
    }
    let mut headers = call.headers.pass.clone();
    pin(&mut headers, &found);
    let query = calls::part_query(number, seal.upload_id);
    let outbound = carrier.signer.prepare_copy(admission, &carrier.bucket, hidden.as_ref(), source, &query, headers)?;
    ticket.forget_upstream();
    let render = |_: &S3Call, root: &Element| render("CopyPartResult", root);
    calls::finish_late(carrier, outbound, resource, render, ticket).await
}

/// What the store says of the source.
struct Found {
    length: u64,
    etag: HeaderValue,
    tags: u64,
    headers: HeaderMap,
}

impl Found {
    /// Its metadata as headers of a new object.
    fn metadata(&self) -> Result<HeaderMap, Refusal> {
        let metadata = metadata_of(&self.headers);
        match metadata.iter().find(|(_, value)| value.to_str().is_err()) {
            Some((name, _)) => Err(IdentifyError::from(HeaderError::NotText(name.clone())).into()),
            None => Ok(metadata),
        }
    }

    fn or_given<'a>(&'a self, call: &S3Call, given: &'a HeaderMap) -> &'a HeaderMap {
        if keeps(call, &METADATA_DIRECTIVE) { &self.headers } else { given }
    }
}

pub(super) fn source_of(call: &S3Call) -> Result<&CopySource, Refusal> {
    let source = call.source.as_ref().ok_or_else(|| {
        Refusal::new(S3ErrorCode::InternalError, RefusalKind::Internal, "The gateway failed.", "a copy without source")
    })?;
    let same_store = call.resource.bucket().is_some_and(|bucket| bucket.route == source.bucket.route);
    if same_store {
        return Ok(source);
    }
    let message = "Source and target lie at different stores. Download and upload instead.";
    Err(client(S3ErrorCode::NotImplemented, message))
}

/// Asks for the head of the source.
async fn look(carrier: &Carrier, source: &CopySource, ticket: &mut Ticket) -> Result<Found, Refusal> {
    let outbound = carrier.signer.prepare_source(&carrier.admission, source, None)?;
    let reply = carrier.upstreams.send(outbound).await?;
    note_of(&reply).note_on(ticket);
    if reply.head.status == StatusCode::NOT_MODIFIED {
        let message = "A condition on the source does not hold.";
        return Err(Refusal::new(S3ErrorCode::PreconditionFailed, RefusalKind::Upstream, message, message));
    }
    if !reply.head.status.is_success() {
        return Err(relay::read_error(reply, carrier.admission.permit().call()).await);
    }
    let headers = reply.head.headers;
    let number = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok()?.parse().ok());
    Ok(Found {
        length: number(&CONTENT_LENGTH).ok_or_else(|| bad_answer(&"a source without length"))?,
        etag: headers.get(ETAG).cloned().ok_or_else(|| bad_answer(&"a source without ETag"))?,
        tags: number(&HeaderName::from_static("x-amz-tagging-count")).unwrap_or(0),
        headers,
    })
}

/// Compares the first bytes of the new object with its type. `within` are its first byte in the source, and the one behind its last.
async fn check_first_bytes(
    carrier: &Carrier,
    source: &CopySource,
    found: &Found,
    within: (u64, u64),
    declared: Option<String>,
    ticket: &mut Ticket,
) -> Result<(), Refusal> {
    let (first, end) = within;
    let last = end.min(first.saturating_add(WINDOW as u64)).saturating_sub(1);
    let mut bytes = bytes::Bytes::new();
    if end > first {
        let outbound = carrier.signer.prepare_source(&carrier.admission, source, Some(((first, last), &found.etag)))?;
        let reply = carrier.upstreams.send(outbound).await?;
        note_of(&reply).note_on(ticket);
        if reply.head.status != StatusCode::PARTIAL_CONTENT && !(first == 0 && reply.head.status.is_success()) {
            return Err(relay::read_error(reply, carrier.admission.permit().call()).await);
        }
        bytes = bounded::collect(reply.body, WINDOW).await.map_err(|error| bad_answer(&error))?;
    }
    file_type::check(declared.as_deref(), &bytes).map_err(|error| Fault::from(error).into())
}

/// Whether a key reads differently when it is decoded once more. Ceph RGW 16 does that to the source of a part, and so would read another
/// key than the one that was authorised.
fn has_escape(key: &str) -> bool {
    let is_hex = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_hexdigit);
    let bytes = key.as_bytes();
    (0..bytes.len()).any(|at| bytes[at] == b'%' && is_hex(bytes.get(at + 1)) && is_hex(bytes.get(at + 2)))
}

/// Whether a directive leaves things as the source has them: `COPY`, or nothing said.
fn keeps(call: &S3Call, directive: &HeaderName) -> bool {
    call.headers.pass.get(directive).is_none_or(|value| value == "COPY")
}

/// What was looked at is what is copied. A condition of the client's own held when it was looked at, and must not widen this one (`*`).
fn pin(headers: &mut HeaderMap, found: &Found) {
    headers.insert(SOURCE_IF_MATCH, found.etag.clone());
}

fn is_metadata(name: &HeaderName) -> bool {
    METADATA.contains(name) || name.as_str().starts_with("x-amz-meta-")
}

pub(super) fn metadata_of(headers: &HeaderMap) -> HeaderMap {
    let metadata = headers.iter().filter(|(name, _)| is_metadata(name));
    metadata.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Stores differ in what they do with metadata that comes beside the directive `COPY`: some merge it.
fn remove_metadata(headers: &mut HeaderMap) {
    let names: Vec<_> = headers.keys().filter(|name| is_metadata(name)).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// The headers that the terms of a rule are held against: metadata, and what else the request sets.
fn with_rest(object: HeaderMap, headers: &HeaderMap) -> HeaderMap {
    let mut all = headers.clone();
    all.extend(object);
    all
}

fn client_denied(message: &str) -> Refusal {
    Refusal::new(S3ErrorCode::AccessDenied, RefusalKind::Denied, message, message)
}

fn render(name: &'static str, root: &Element) -> String {
    let mut xml = XmlWriter::new(name, true);
    xml.copy(root, &["LastModified", "ETag", "ChecksumType"]).copy(root, &CHECKSUMS);
    xml.finish()
}

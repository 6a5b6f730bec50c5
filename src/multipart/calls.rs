//! Multipart uploads of clients, under sealed upload ids.
//!
//! Create seals the store's upload id for the caller, the key and the rule. Every later call opens it, so that nobody touches the upload
//! of another, and no state is kept. Complete reads the sizes of the parts from the store and holds their sum to the rule; the ETags that
//! the client names pin the parts that were counted.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_ENCODING;

use crate::audit::Ticket;
use crate::base::encoding::encode_path;
use crate::inspect::MultipartInspection;
use crate::limits::{BodyTerms, LimitError, declared_type};
use crate::multipart::Carrier;
use crate::multipart::staged::{self, StoredPart};
use crate::respond::late::{self, Finished};
use crate::respond::store_answer::bad_answer;
use crate::respond::{Refusal, RefusalKind, Reply, headers, local};
use crate::rules::{Permit, UploadSeal};
use crate::s3::complete_upload::{self, CompletedPart, parse_part_number};
use crate::s3::xml::{Element, XmlWriter};
use crate::s3::{S3Call, S3ErrorCode, StagingKey};
use crate::sign::{MultipartStep, Outbound};

/// Most parts asked for at a time, as S3 has it.
const PAGE: u32 = 1000;

/// CreateMultipartUpload.
///
/// # Errors
/// [`Refusal`] if the rule takes no multipart uploads, a header cannot be kept until the end, or the store fails.
pub async fn create(carrier: &Carrier, ticket: &mut Ticket) -> Result<Reply, Refusal> {
    let staging = staged::begin(carrier)?;
    let hidden = staging.as_ref().and_then(|staged| StagingKey::new(&staged.id));
    let carrier = &Carrier { hidden, ..carrier.clone() };
    let (head, root) = carrier.send_for_document(MultipartStep::Create, ticket).await?;
    let permit = carrier.admission.permit();
    let seal = UploadSeal {
        upload_id: root.text_of("UploadId").to_owned(),
        rule: Some(permit.rule().to_string()),
        media_type: declared_type(&permit.call().headers.pass),
        content_encoding: encoding_of_parts(permit),
        inspection: carrier.staging.digest_of(permit),
        staging,
    };
    if seal.upload_id.is_empty() {
        return Err(bad_answer(&"no UploadId"));
    }
    if let Err(refusal) = staged::note_key(carrier).await {
        drop(carrier.send(MultipartStep::Abort { upload_id: &seal.upload_id }).await);
        return Err(refusal);
    }
    let sealed =
        seal.seal(&carrier.sealer()?, permit).ok_or_else(|| bad_answer(&"no random bytes to seal the upload id"))?;
    let mut xml = XmlWriter::new("InitiateMultipartUploadResult", true);
    name(&mut xml, permit.call());
    xml.text("UploadId", &sealed);
    Ok(document(xml, &head.headers))
}

/// The encoding that inspectors of single parts are told. Else it is left out: a staged object says it itself, and ids stay short.
fn encoding_of_parts(permit: &Permit) -> Option<String> {
    let terms = permit.terms().inspection.as_ref()?;
    let by_parts = terms.uploads && terms.multipart == MultipartInspection::PerPart;
    let encoding = permit.call().headers.pass.get(CONTENT_ENCODING).filter(|_| by_parts)?;
    encoding.to_str().ok().map(str::to_owned)
}

/// Opens the upload id of a call that adds to the upload.
///
/// # Errors
/// [`Refusal`] if it is not of an upload that this caller began for this key.
pub fn open(carrier: &Carrier) -> Result<UploadSeal, Refusal> {
    let permit = carrier.admission.permit();
    let sealed = permit.call().parameter("uploadId").unwrap_or_default();
    Ok(UploadSeal::open(sealed, &carrier.sealer()?, permit, carrier.staging.digest_of(permit))?)
}

/// Opens the upload id of a call that adds nothing; it may come from a list.
fn open_any(carrier: &Carrier) -> Result<UploadSeal, Refusal> {
    let permit = carrier.admission.permit();
    let sealed = permit.call().parameter("uploadId").unwrap_or_default();
    Ok(UploadSeal::open_any(sealed, &carrier.sealer()?, permit, carrier.staging.digest_of(permit))?)
}

/// How a part goes to the store.
#[derive(Debug)]
pub struct PartPlan {
    /// What its body must keep to.
    pub terms: BodyTerms,
    /// Its query in the store's terms.
    pub query: Vec<(String, String)>,
    /// The hidden key that it goes to, if it does.
    pub hidden: Option<StagingKey>,
    /// `Content-Encoding` of the object that it is a part of.
    pub content_encoding: Option<String>,
}

/// How the part of an UploadPart goes to the store.
///
/// # Errors
/// [`Refusal`] if the upload id or the part number is not acceptable, or the part has no length.
pub fn part(carrier: &Carrier) -> Result<PartPlan, Refusal> {
    let number = part_number(carrier.admission.permit().call())?;
    if carrier.admission.upload().length.is_none() {
        return Err(client(S3ErrorCode::MissingContentLength, "The length of a part must be declared."));
    }
    let seal = open(carrier)?;
    let hidden = carrier.for_upload(&seal)?.hidden;
    let mut terms = carrier.admission.body_terms();
    if number == 1 && carrier.admission.terms().check_bytes {
        terms.check_type = Some(seal.media_type);
    }
    let content_encoding = seal.content_encoding;
    Ok(PartPlan { terms, query: part_query(number, seal.upload_id), hidden, content_encoding })
}

/// The number of the part that a call writes.
///
/// # Errors
/// [`Refusal`] if it is not one.
pub fn part_number(call: &S3Call) -> Result<u32, Refusal> {
    parse_part_number(call.parameter("partNumber").unwrap_or_default())
        .ok_or_else(|| client(S3ErrorCode::InvalidArgument, "The part number must be a number from 1 to 10000."))
}

/// The query of a part in the store's terms.
pub fn part_query(number: u32, upload_id: String) -> Vec<(String, String)> {
    vec![("partNumber".to_owned(), number.to_string()), ("uploadId".to_owned(), upload_id)]
}

/// AbortMultipartUpload.
///
/// # Errors
/// [`Refusal`] if the upload id is not acceptable or the store fails.
pub async fn abort(carrier: &Carrier, ticket: &mut Ticket) -> Result<Reply, Refusal> {
    let seal = open_any(carrier)?;
    let carrier = &carrier.for_upload(&seal)?;
    let reply = carrier.send(MultipartStep::Abort { upload_id: &seal.upload_id }).await?;
    ticket.note_upstream(&reply.upstream, reply.head.status.as_u16(), reply.first_byte);
    let object_removed = staged::forget(carrier).await?;
    if !reply.head.status.is_success() && !object_removed {
        return Err(crate::respond::relay::read_error(reply, carrier.admission.permit().call()).await);
    }
    let mut answer = local::empty();
    *answer.status_mut() = http::StatusCode::NO_CONTENT;
    Ok(answer)
}

/// ListParts.
///
/// # Errors
/// [`Refusal`] if a parameter is not acceptable or the store fails.
pub async fn list(carrier: &Carrier, ticket: &mut Ticket) -> Result<Reply, Refusal> {
    let call = carrier.admission.permit().call();
    let number = |parameter: &str, default: u32| match call.parameter(parameter).filter(|text| !text.is_empty()) {
        None => Ok(default),
        Some(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().map_err(|_| bad_number(parameter)),
        Some(_) => Err(bad_number(parameter)),
    };
    let (after, max_parts) = (number("part-number-marker", 0)?, number("max-parts", PAGE)?.min(PAGE));
    let seal = open_any(carrier)?;
    let carrier = &carrier.for_upload(&seal)?;
    let (head, root) =
        carrier.send_for_document(MultipartStep::List { upload_id: &seal.upload_id, after, max_parts }, ticket).await?;
    let mut xml = XmlWriter::new("ListPartsResult", true);
    name(&mut xml, call);
    xml.text("UploadId", call.parameter("uploadId").unwrap_or_default());
    xml.copy(&root, &["StorageClass", "ChecksumAlgorithm", "ChecksumType"]);
    xml.copy(&root, &["PartNumberMarker", "NextPartNumberMarker", "MaxParts", "IsTruncated"]);
    for part in root.children_named("Part") {
        xml.open("Part").copy(part, &["PartNumber", "LastModified", "ETag", "Size"]).copy(part, &CHECKSUMS).close();
    }
    Ok(document(xml, &head.headers))
}

/// Checksums in documents about objects and parts.
pub(super) const CHECKSUMS: [&str; 5] =
    ["ChecksumCRC32", "ChecksumCRC32C", "ChecksumCRC64NVME", "ChecksumSHA1", "ChecksumSHA256"];

/// CompleteMultipartUpload; `body` is the client's list of parts, `resource` the path for an error that comes late.
///
/// # Errors
/// [`Refusal`] if the list or the sum of the sizes is not acceptable, or the store fails. An upload whose sum is too large is removed.
pub async fn complete(carrier: &Carrier, body: &Bytes, resource: &str, ticket: &mut Ticket) -> Result<Reply, Refusal> {
    let seal = open(carrier)?;
    let parts = complete_upload::parse(body)?;
    if seal.staging.is_some() {
        return staged::complete(carrier.for_upload(&seal)?, seal, parts, resource, ticket).await;
    }
    if let Err(refusal) = check_parts(carrier, &seal, &parts, ticket).await {
        if refusal.code == S3ErrorCode::EntityTooLarge {
            drop(carrier.send(MultipartStep::Abort { upload_id: &seal.upload_id }).await);
        }
        return Err(refusal);
    }
    let step = MultipartStep::Complete { upload_id: &seal.upload_id, document: complete_upload::render(&parts) };
    let outbound = carrier.prepare(step)?;
    let render = |call: &S3Call, root: &Element| {
        let mut xml = XmlWriter::new("CompleteMultipartUploadResult", true);
        xml.text("Location", &location(call));
        name(&mut xml, call);
        xml.copy(root, &["ETag", "ChecksumType"]).copy(root, &CHECKSUMS);
        xml.finish()
    };
    finish_late(carrier, outbound, resource, render, ticket).await
}

/// Sends the last request of a call, which a store may take minutes for, and answers with the document made of its answer.
///
/// # Errors
/// [`Refusal`] if the store refuses or fails before the answer had to begin.
pub async fn finish_late(
    carrier: &Carrier,
    outbound: Outbound,
    resource: &str,
    render: fn(&S3Call, &Element) -> String,
    ticket: &mut Ticket,
) -> Result<Reply, Refusal> {
    let carrier = carrier.clone();
    let work = async move {
        let (upstream, outcome) = carrier.fetch_document(outbound).await;
        let call = carrier.admission.permit().call();
        let outcome = outcome.map(|(head, root)| (for_document(&head.headers), render(call, &root)));
        Finished { outcome, upstream, inspection: None }
    };
    late::answer(Box::pin(work), resource.to_owned(), ticket).await
}

/// Holds what the parts are to the rule, as far as it wants anything of them.
async fn check_parts(
    carrier: &Carrier,
    seal: &UploadSeal,
    parts: &[CompletedPart],
    ticket: &mut Ticket,
) -> Result<(), Refusal> {
    let terms = carrier.admission.terms();
    check_first(carrier, parts)?;
    if terms.min_size == 0 && terms.max_size.is_none() {
        return Ok(());
    }
    let stored = stored_parts(carrier, seal, Some(ticket)).await?;
    hold_to_terms(carrier, parts, &stored).map(drop)
}

/// The first bytes of the object were checked in part 1, so it must begin with that one.
fn check_first(carrier: &Carrier, parts: &[CompletedPart]) -> Result<(), Refusal> {
    if carrier.admission.terms().check_bytes && parts.first().is_some_and(|part| part.number != 1) {
        return Err(client(S3ErrorCode::InvalidPart, "The object must begin with part 1, whose type is checked."));
    }
    Ok(())
}

/// Holds the parts of an object to the rule, and gives them as the store has them.
///
/// # Errors
/// [`Refusal`] if one is not there, or their sum is not acceptable.
pub(super) fn hold_to_terms(
    carrier: &Carrier,
    parts: &[CompletedPart],
    stored: &BTreeMap<u32, StoredPart>,
) -> Result<Vec<StoredPart>, Refusal> {
    check_first(carrier, parts)?;
    let missing = || client(S3ErrorCode::InvalidPart, "A part was not uploaded, or has another ETag.");
    let find = |part: &CompletedPart| stored.get(&part.number).filter(|known| known.etag == part.etag).cloned();
    let found = parts.iter().map(find).collect::<Option<Vec<_>>>().ok_or_else(missing)?;
    let length = found.iter().fold(0u64, |sum, part| sum.saturating_add(part.size));
    check_sum(carrier, length).map(|()| found)
}

/// Holds an object that another attempt put together to the rule, and to the list that the client names now. `known` are the parts that it
/// was made of; empty if that cannot be told.
///
/// # Errors
/// [`Refusal`] if it was made of others, or its size is not acceptable.
pub(super) fn check_resumed(
    carrier: &Carrier,
    parts: &[CompletedPart],
    known: &[StoredPart],
    length: u64,
) -> Result<(), Refusal> {
    check_first(carrier, parts)?;
    if !known.is_empty() && !known.iter().map(|part| &part.etag).eq(parts.iter().map(|part| &part.etag)) {
        return Err(client(S3ErrorCode::InvalidPart, "The upload was completed with other parts."));
    }
    check_sum(carrier, length)
}

/// Holds the size of an object to the rule.
fn check_sum(carrier: &Carrier, length: u64) -> Result<(), Refusal> {
    let terms = carrier.admission.terms();
    match terms.max_size {
        Some(max) if length > max => Err(LimitError::TooLarge { length, max }.into()),
        _ if length < terms.min_size => Err(LimitError::TooSmall { length, min: terms.min_size }.into()),
        _ => Ok(()),
    }
}

/// Every part at the store, by number.
///
/// # Errors
/// [`Refusal`] if the store does not tell.
pub(super) async fn stored_parts(
    carrier: &Carrier,
    seal: &UploadSeal,
    mut ticket: Option<&mut Ticket>,
) -> Result<BTreeMap<u32, StoredPart>, Refusal> {
    let mut stored = BTreeMap::new();
    let mut after = 0;
    loop {
        let step = MultipartStep::List { upload_id: &seal.upload_id, after, max_parts: PAGE };
        let (upstream, outcome) = carrier.fetch_document(carrier.prepare(step)?).await;
        if let (Some(ticket), Some(upstream)) = (ticket.as_deref_mut(), upstream) {
            upstream.note_on(ticket);
        }
        let (_, root) = outcome?;
        for part in root.children_named("Part") {
            let number =
                parse_part_number(part.text_of("PartNumber")).ok_or_else(|| bad_answer(&"a part without number"))?;
            let size = part.text_of("Size").parse().map_err(|_| bad_answer(&"a part without size"))?;
            let etag = part.text_of("ETag").trim_matches('"').to_owned();
            stored.insert(number, StoredPart { etag, size });
        }
        let last = stored.last_key_value().map_or(0, |(number, _)| *number);
        // A store that says there is more but gives nothing new would keep us here.
        if root.text_of("IsTruncated") != "true" || last <= after {
            return Ok(stored);
        }
        after = last;
    }
}

/// Where the object is for the client: the path, since the host that it used must not come back in an answer (E10).
pub(super) fn location(call: &S3Call) -> String {
    let (bucket, key) = (call.resource.bucket(), call.resource.key());
    let (bucket, key) = (bucket.map_or("", |bucket| bucket.name.as_str()), key.map_or("", |key| key.as_str()));
    encode_path(&format!("/{bucket}/{key}"))
}

pub(super) fn name(xml: &mut XmlWriter, call: &S3Call) {
    xml.text("Bucket", call.resource.bucket().map_or("", |bucket| bucket.name.as_str()));
    xml.text("Key", call.resource.key().map_or("", |key| key.as_str()));
}

fn document(xml: XmlWriter, upstream: &HeaderMap) -> Reply {
    let mut reply = local::document(xml.finish());
    reply.headers_mut().extend(for_document(upstream));
    reply
}

/// The headers that go with a document of our own.
pub fn for_document(upstream: &HeaderMap) -> HeaderMap {
    let mut passed = headers::for_client(upstream);
    passed.remove(http::header::CONTENT_LENGTH);
    passed.remove(http::header::CONTENT_TYPE);
    passed
}

pub(super) fn client(code: S3ErrorCode, message: &str) -> Refusal {
    Refusal::new(code, RefusalKind::Client, message, message)
}

fn bad_number(parameter: &str) -> Refusal {
    client(S3ErrorCode::InvalidArgument, &format!("{parameter} must be a number."))
}

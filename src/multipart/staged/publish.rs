//! Copies a hidden object to its place, by the store itself.
//!
//! Part by part where the store gives the copied parts the digests of the parts that came in: then the object has the ETag that clients
//! compute from their parts (AWS, Ceph RGW). SeaweedFS 4.48 gives other digests, and keeps ETag and checksums in one CopyObject, which AWS
//! does not. So the first copied part tells which way to go. Probed: `tests/it/staged.rs`.

use bytes::Bytes;
use http::header::IF_NONE_MATCH;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::complete::Marking;
use super::hidden::{Found, Hidden, Record, StoredPart, UnfinishedCopy};
use super::internal;
use crate::base::encoding::encode_query;
use crate::inspect::Mark;
use crate::multipart::calls::CHECKSUMS;
use crate::multipart::copy::metadata_of;
use crate::multipart::unknown_length::etag_of_parts;
use crate::multipart::{Carrier, note_of};
use crate::respond::late::UpstreamNote;
use crate::respond::store_answer::bad_answer;
use crate::respond::{Refusal, RefusalKind, relay};
use crate::s3::complete_upload::{self, CompletedPart};
use crate::s3::xml::Element;
use crate::s3::{Bucket, ObjectKey, S3ErrorCode};
use crate::sign::staged::{conditions, copy_source};
use crate::sign::{Place, StagedRequest};

/// Largest object that one CopyObject copies, as S3 has it.
const MAX_COPY_BYTES: u64 = 5 << 30;
/// Bytes of a part where the object's own parts are not known.
const PIECE_BYTES: u64 = 1 << 30;
/// Most tags of an object, as S3 has it.
const MAX_TAGS: usize = 10;

const SOURCE: HeaderName = HeaderName::from_static("x-amz-copy-source");
const SOURCE_RANGE: HeaderName = HeaderName::from_static("x-amz-copy-source-range");
const SOURCE_IF_MATCH: HeaderName = HeaderName::from_static("x-amz-copy-source-if-match");
const METADATA_DIRECTIVE: HeaderName = HeaderName::from_static("x-amz-metadata-directive");
const TAGGING_DIRECTIVE: HeaderName = HeaderName::from_static("x-amz-tagging-directive");
const TAGGING: HeaderName = HeaderName::from_static("x-amz-tagging");

/// What the object is to be at its place.
pub struct Goal<'a> {
    /// The parts that it is made of, if they are known.
    pub parts: Option<&'a [StoredPart]>,
    /// Headers that it has there alone, or there too.
    pub kept: &'a [(String, String)],
    /// What it is marked with.
    pub mark: Option<Marking<'a>>,
}

/// An object at its place.
#[derive(Debug, Default)]
pub struct Published {
    pub headers: HeaderMap,
    pub etag: String,
    pub checksums: Vec<(&'static str, String)>,
    pub last_modified: String,
}

/// A copy, ready to be made in either way.
pub(super) struct Copy<'a> {
    pub hidden: &'a Hidden<'a>,
    pub found: &'a Found,
    pub to: Place<'a>,
    /// The metadata of the new object.
    pub metadata: HeaderMap,
    /// Whether that is other metadata than the hidden object's.
    pub is_new_metadata: bool,
    /// Its tags, if they are not simply those of the hidden object.
    pub tags: Option<String>,
    /// Other headers of it.
    pub headers: HeaderMap,
    /// Conditions on what it replaces.
    pub conditions: HeaderMap,
}

/// Copies a hidden object to the key of the call.
///
/// # Errors
/// [`Refusal`] if a condition does not hold, or the store fails.
pub async fn publish(
    hidden: &Hidden<'_>,
    found: &Found,
    goal: Goal<'_>,
    upstream: &mut Option<UpstreamNote>,
) -> Result<Published, Refusal> {
    let carrier = hidden.carrier;
    let conditions = conditions(&carrier.admission.permit().call().headers.pass);
    let _alone = match conditions.is_empty() {
        true => None,
        false => Some(carrier.staging.alone_at(carrier.bucket.route, path_of(carrier)).await),
    };
    check_conditions(carrier, &conditions).await?;
    let mut metadata = metadata_of(&found.headers);
    metadata.retain_text();
    let (mut tags, mut marks_metadata) = (None, false);
    match goal.mark {
        // At the hidden object, so that no reader ever sees the object without its mark.
        Some((Mark::Tag(name), state)) => {
            let mut all = if found.has_tags() { hidden.tags().await? } else { Vec::new() };
            all.retain(|(key, _)| key != name);
            all.push((name.clone(), state.as_str().to_owned()));
            if all.len() > MAX_TAGS {
                return Err(Refusal::new(
                    S3ErrorCode::InvalidTag,
                    RefusalKind::Blocked,
                    "The object has too many tags to be marked.",
                    "no room for the tag that marks the object",
                ));
            }
            hidden.set_tags(&all).await?;
            tags = Some(all);
        }
        Some((Mark::Metadata(name), state)) => {
            metadata.insert(name.clone(), HeaderValue::from_static(state.as_str()));
            marks_metadata = true;
        }
        None => {}
    }
    let in_parts = goal.parts.is_some() && tags.is_none() || found.length > MAX_COPY_BYTES;
    if in_parts && tags.is_none() && found.has_tags() {
        tags = Some(hidden.tags().await?);
    }
    let copy = Copy {
        hidden,
        found,
        to: Place::Target(&carrier.admission, &carrier.bucket),
        metadata,
        is_new_metadata: marks_metadata,
        tags: tags.as_deref().map(encode_tags),
        headers: kept_headers(goal.kept)?,
        conditions,
    };
    copy.make(goal.parts.filter(|_| in_parts), upstream).await
}

/// Where the object of the call goes, in upstream terms.
fn path_of(carrier: &Carrier) -> String {
    let key = carrier.admission.permit().call().resource.key().map_or("", ObjectKey::as_str);
    format!("{}/{}{key}", carrier.bucket.upstream_bucket, carrier.bucket.upstream_prefix)
}

trait RetainText {
    fn retain_text(&mut self);
}

impl RetainText for HeaderMap {
    /// Leaves out values that could not be signed. The gateway takes none from clients.
    fn retain_text(&mut self) {
        let odd: Vec<_> =
            self.iter().filter(|(_, value)| value.to_str().is_err()).map(|(name, _)| name.clone()).collect();
        for name in odd {
            self.remove(name);
        }
    }
}

fn encode_tags(tags: &[(String, String)]) -> String {
    let pairs: Vec<_> =
        tags.iter().map(|(key, value)| format!("{}={}", encode_query(key), encode_query(value))).collect();
    pairs.join("&")
}

fn add_tags(headers: &mut HeaderMap, tags: &str) -> Result<(), Refusal> {
    if !tags.is_empty() {
        headers.insert(TAGGING, HeaderValue::from_str(tags).map_err(|error| bad_answer(&error))?);
    }
    Ok(())
}

fn kept_headers(kept: &[(String, String)]) -> Result<HeaderMap, Refusal> {
    let header = |(name, value): &(String, String)| {
        Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(value).ok()?))
    };
    kept.iter().map(header).collect::<Option<HeaderMap>>().ok_or_else(|| internal("a sealed header that is none"))
}

/// Asks whether the conditions on what is replaced hold. The store is told them again with the last request; Ceph RGW 16 looks at them in a
/// PutObject only, so that there nothing but this question keeps them, between copies of one gateway.
async fn check_conditions(carrier: &Carrier, conditions: &HeaderMap) -> Result<(), Refusal> {
    if conditions.is_empty() {
        return Ok(());
    }
    let wants_none = conditions.contains_key(IF_NONE_MATCH);
    let headers = if wants_none { HeaderMap::new() } else { conditions.clone() };
    let request = StagedRequest { method: Method::HEAD, headers, ..StagedRequest::default() };
    let place = Place::Target(&carrier.admission, &carrier.bucket);
    let reply = carrier.upstreams.send(carrier.signer.prepare_staged(place, request)?).await?;
    match (reply.head.status, wants_none) {
        (StatusCode::NOT_FOUND, true) | (StatusCode::OK, false) => Ok(()),
        (StatusCode::OK, true) => {
            let message = "A condition of the request does not hold.";
            Err(Refusal::new(
                S3ErrorCode::PreconditionFailed,
                RefusalKind::Upstream,
                message,
                "there is an object already",
            ))
        }
        _ => Err(relay::read_error(reply, carrier.admission.permit().call()).await),
    }
}

impl Copy<'_> {
    /// Makes the copy in the parts given if the store keeps their digests, else in one piece, if it is not too large for that.
    pub async fn make(
        &self,
        parts: Option<&[StoredPart]>,
        upstream: &mut Option<UpstreamNote>,
    ) -> Result<Published, Refusal> {
        let fits = |parts: &&[StoredPart]| parts.iter().map(|part| part.size).sum::<u64>() == self.found.length;
        let exact = self.found.length <= MAX_COPY_BYTES;
        let keeps = !exact || self.hidden.carrier.staging.keeps_digests(self.hidden.carrier.bucket.route);
        let mut differs = false;
        if let Some(parts) = parts.filter(fits).filter(|_| keeps && self.found.length > 0) {
            match self.by_parts(parts, exact, upstream).await? {
                Some(published) => return Ok(published),
                None => differs = true,
            }
        }
        if self.found.length <= MAX_COPY_BYTES {
            self.hidden.check_unchanged(self.found).await?;
            if differs && !self.is_encrypted() {
                self.hidden.carrier.staging.note_other_digests(self.hidden.carrier.bucket.route);
            }
            return self.whole(upstream).await;
        }
        let pieces = pieces(self.found.length);
        self.by_parts(&pieces, false, upstream).await?.ok_or_else(|| bad_answer(&"a copy in parts came to nothing"))
    }

    /// Stores give encrypted parts other digests, whatever they do with those of others.
    fn is_encrypted(&self) -> bool {
        let mut kept = self.headers.keys();
        self.found.is_encrypted() || kept.any(|name| name.as_str().starts_with("x-amz-server-side-encryption"))
    }

    async fn whole(&self, upstream: &mut Option<UpstreamNote>) -> Result<Published, Refusal> {
        let mut headers = self.headers.clone();
        // They say how a checksum is to be made; a copy keeps the one that is there.
        headers.remove("x-amz-checksum-algorithm");
        headers.remove("x-amz-checksum-type");
        headers.extend(self.conditions.clone());
        if self.is_new_metadata {
            headers.insert(METADATA_DIRECTIVE, HeaderValue::from_static("REPLACE"));
            headers.extend(self.metadata.clone());
        }
        if let (true, Some(tags)) = (self.is_new_metadata, &self.tags) {
            headers.insert(TAGGING_DIRECTIVE, HeaderValue::from_static("REPLACE"));
            add_tags(&mut headers, tags)?;
        }
        self.add_source(&mut headers)?;
        let request = StagedRequest { method: Method::PUT, headers, takes_long: true, ..StagedRequest::default() };
        let (head, root) = self.send(request, upstream).await?;
        let etag = root.text_of("ETag").to_owned();
        Ok(self.published(head, &root, etag))
    }

    /// Copies part by part. `None` if the copy would have another ETag, or could not be completed with its checksums, and that matters.
    async fn by_parts(
        &self,
        parts: &[StoredPart],
        exact: bool,
        upstream: &mut Option<UpstreamNote>,
    ) -> Result<Option<Published>, Refusal> {
        let mut headers = self.headers.clone();
        headers.extend(self.metadata.clone());
        if let Some(tags) = &self.tags {
            add_tags(&mut headers, tags)?;
        }
        let request =
            StagedRequest { method: Method::POST, query: &[("uploads", "")], headers, ..StagedRequest::default() };
        let (_, root) = self.send(request, upstream).await?;
        let upload_id = root.text_of("UploadId").to_owned();
        if upload_id.is_empty() {
            return Err(bad_answer(&"no UploadId"));
        }
        let (bucket, copy) = self.unfinished(upload_id)?;
        let noted = match self.to {
            Place::Target(..) => self.hidden.note(&Record { parts: parts.to_vec(), copy: Some(copy.clone()) }).await,
            // Only an object above 5 GiB goes into the quarantine in parts.
            _ => Ok(()),
        };
        let copied = match noted {
            Ok(()) => self.fill(&copy.upload_id, parts, exact, upstream).await,
            Err(refusal) => Err(refusal),
        };
        if !matches!(copied, Ok(Some(_))) {
            copy.abort(&self.hidden.carrier.signer, &self.hidden.carrier.upstreams, bucket).await;
        }
        copied
    }

    async fn fill(
        &self,
        upload_id: &str,
        parts: &[StoredPart],
        exact: bool,
        upstream: &mut Option<UpstreamNote>,
    ) -> Result<Option<Published>, Refusal> {
        let (mut first, mut list) = (0, Vec::with_capacity(parts.len()));
        for (number, part) in (1..).zip(parts) {
            let copied = self.copy_part(upload_id, number, (first, part.size)).await?;
            let wants_checksum = self.headers.contains_key("x-amz-checksum-algorithm");
            if exact && (copied.etag != part.etag || wants_checksum && copied.checksums.is_empty()) {
                return Ok(None);
            }
            first += part.size;
            list.push(copied);
        }
        if !exact {
            // No digest tells that these are the bytes that were looked at.
            self.hidden.check_unchanged(self.found).await?;
        }
        let etags: Vec<_> = list.iter().map(|part| part.etag.clone()).collect();
        let request = StagedRequest {
            method: Method::POST,
            query: &[("uploadId", upload_id)],
            headers: self.conditions.clone(),
            body: Bytes::from(complete_upload::render(&list)),
            takes_long: true,
        };
        let (head, root) = self.send(request, upstream).await?;
        let etag = Some(root.text_of("ETag").to_owned()).filter(|etag| !etag.is_empty());
        let etag = etag.or_else(|| etag_of_parts(&etags)).unwrap_or_default();
        Ok(Some(self.published(head, &root, etag)))
    }

    async fn copy_part(
        &self,
        upload_id: &str,
        number: u32,
        (first, size): (u64, u64),
    ) -> Result<CompletedPart, Refusal> {
        let mut headers = HeaderMap::new();
        self.add_source(&mut headers)?;
        let range = format!("bytes={first}-{}", first + size - 1);
        headers.insert(SOURCE_RANGE, HeaderValue::from_str(&range).map_err(|error| bad_answer(&error))?);
        let (number_text, query) = (number.to_string(), ("uploadId", upload_id));
        let query = [("partNumber", number_text.as_str()), query];
        let request =
            StagedRequest { method: Method::PUT, query: &query, headers, takes_long: true, ..StagedRequest::default() };
        let (_, root) = self.send(request, &mut None).await?;
        let checksum = |name: &&'static str| root.child(name).map(|found| (*name, found.text.clone()));
        Ok(CompletedPart {
            number,
            etag: root.text_of("ETag").trim_matches('"').to_owned(),
            checksums: CHECKSUMS.iter().filter_map(checksum).collect(),
        })
    }

    /// This copy as it is written down, and its bucket.
    fn unfinished(&self, upload_id: String) -> Result<(&Bucket, UnfinishedCopy), Refusal> {
        let (bucket, key) = match self.to {
            Place::Target(admission, bucket) => {
                (bucket, admission.permit().call().resource.key().map(ObjectKey::as_str))
            }
            Place::Quarantine(bucket, key) => (bucket, Some(key)),
            Place::Hidden(..) | Place::Staging(_) | Place::Noted(..) => return Err(internal("a copy to a hidden key")),
        };
        let key = key.ok_or_else(|| internal("a copy without a key"))?;
        Ok((bucket, UnfinishedCopy { key: format!("{}{key}", bucket.upstream_prefix), upload_id }))
    }

    fn add_source(&self, headers: &mut HeaderMap) -> Result<(), Refusal> {
        let source = copy_source(&self.hidden.carrier.bucket, self.hidden.key);
        headers.insert(SOURCE, HeaderValue::from_str(&source).map_err(|error| bad_answer(&error))?);
        headers.insert(SOURCE_IF_MATCH, self.found.etag.clone());
        Ok(())
    }

    async fn send(
        &self,
        request: StagedRequest<'_>,
        upstream: &mut Option<UpstreamNote>,
    ) -> Result<(HeaderMap, Element), Refusal> {
        let carrier = self.hidden.carrier;
        let reply = carrier.upstreams.send(carrier.signer.prepare_staged(self.to, request)?).await?;
        *upstream = Some(note_of(&reply));
        let (head, root) = carrier.read_document(reply).await?;
        Ok((head.headers, root))
    }

    fn published(&self, headers: HeaderMap, root: &Element, etag: String) -> Published {
        let element = |name: &'static str| root.child(name).map(|found| (name, found.text.clone()));
        let mut checksums: Vec<_> = ["ChecksumType"].into_iter().chain(CHECKSUMS).filter_map(element).collect();
        if checksums.is_empty() && etag.trim_matches('"') == self.found.plain_etag() {
            // Some stores leave them out of their answer; the bytes and their parts are the same.
            checksums = checksums_of(&self.found.headers);
        }
        let etag = format!("\"{}\"", etag.trim_matches('"'));
        Published { headers, etag, checksums, last_modified: root.text_of("LastModified").to_owned() }
    }
}

impl Carrier {
    /// Sends a request about a staged object whose answer is a document.
    pub(super) async fn staged_document(
        &self,
        place: Place<'_>,
        request: StagedRequest<'_>,
    ) -> Result<(HeaderMap, Element), Refusal> {
        let reply = self.upstreams.send(self.signer.prepare_staged(place, request)?).await?;
        let (head, root) = self.read_document(reply).await?;
        Ok((head.headers, root))
    }
}

/// The checksums that headers tell, as elements of a document.
pub fn checksums_of(headers: &HeaderMap) -> Vec<(&'static str, String)> {
    let header = |element: &'static str| {
        let name = format!("x-amz-checksum-{}", element.strip_prefix("Checksum")?.to_ascii_lowercase());
        Some((element, headers.get(name)?.to_str().ok()?.to_owned()))
    };
    ["ChecksumType"].into_iter().chain(CHECKSUMS).filter_map(header).collect()
}

/// Pieces of an object whose own parts are not known.
fn pieces(length: u64) -> Vec<StoredPart> {
    let (mut left, mut pieces) = (length, Vec::new());
    while left > 0 {
        let size = left.min(PIECE_BYTES);
        pieces.push(StoredPart { etag: String::new(), size });
        left -= size;
    }
    pieces
}

//! A hidden object: what the store says of it, what the gateway writes down beside it, and its end.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_MATCH, RANGE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde::{Deserialize, Serialize};

use super::internal;
use crate::bounded;
use crate::multipart::{Carrier, MAX_ANSWER_BYTES};
use crate::respond::store_answer::bad_answer;
use crate::respond::{Refusal, relay};
use crate::s3::checksum::{RunningDigest, to_base64};
use crate::s3::listing::{ListEntry, ListKind, ListPage};
use crate::s3::{Bucket, StagingKey};
use crate::sign::{Place, Signer, StagedRequest};
use crate::upstream::{UpstreamReply, Upstreams};

/// Largest record of parts: 10,000 of them take about 900 KB.
const MAX_RECORD_BYTES: usize = 2 * 1024 * 1024;

const VERSION: &str = "x-amz-version-id";

/// What the record of parts is sealed for.
const PURPOSE: &str = "countersign staged parts v1";

/// A part as the store has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredPart {
    /// ETag without quotes.
    pub etag: String,
    /// Bytes.
    pub size: u64,
}

/// What is written down beside a hidden object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The parts that it is made of; empty if they are not known. Written before it is put together.
    pub parts: Vec<StoredPart>,
    /// A copy to its place that was begun. Written before anything is copied, since nobody else would find its parts.
    pub copy: Option<UnfinishedCopy>,
}

/// A record as it is written: with the key that the object is for.
#[derive(Serialize)]
struct Written<'a> {
    key: Option<String>,
    #[serde(flatten)]
    record: &'a Record,
}

/// The one thing in a record that lists need.
#[derive(Deserialize)]
struct Meant {
    #[serde(default)]
    key: Option<String>,
}

/// A multipart upload at the place of an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnfinishedCopy {
    /// The key in upstream terms.
    pub key: String,
    /// The store's upload id.
    pub upload_id: String,
}

impl Record {
    /// Reads the record of a hidden object; `None` if there is none that opens.
    pub async fn read(signer: &Signer, upstreams: &Upstreams, bucket: &Bucket, key: &StagingKey) -> Option<Self> {
        serde_json::from_str(&Self::text(signer, upstreams, bucket, key).await.ok()??).ok()
    }

    /// The key, in upstream terms, that a hidden object is for; `None` if that was not written down, or is gone.
    ///
    /// # Errors
    /// [`Refusal`] if the store does not tell.
    pub async fn key_of(
        signer: &Signer,
        upstreams: &Upstreams,
        bucket: &Bucket,
        key: &StagingKey,
    ) -> Result<Option<String>, Refusal> {
        let text = Self::text(signer, upstreams, bucket, key).await?;
        Ok(text.and_then(|text| serde_json::from_str::<Meant>(&text).ok()?.key))
    }

    /// What is written in the record of a hidden object; `None` if there is none that opens.
    async fn text(
        signer: &Signer,
        upstreams: &Upstreams,
        bucket: &Bucket,
        key: &StagingKey,
    ) -> Result<Option<String>, Refusal> {
        let place_of_record = key.parts();
        let place = Place::Hidden(bucket, &place_of_record);
        let reply = upstreams.send(signer.prepare_staged(place, StagedRequest::default())?).await?;
        let sealed = match reply.head.status {
            StatusCode::OK => bounded::collect(reply.body, MAX_RECORD_BYTES).await,
            StatusCode::NOT_FOUND => return Ok(None),
            status => return Err(bad_answer(&format!("{status} to the record of an upload"))),
        };
        let sealed = sealed.map_err(|error| bad_answer(&error))?;
        let sealer = signer.sealer(bucket, PURPOSE)?;
        Ok(std::str::from_utf8(&sealed).ok().and_then(|sealed| sealer.open(key.as_str(), sealed)))
    }
}

impl UnfinishedCopy {
    /// Removes its parts. One that was completed is not there any more.
    pub async fn abort(&self, signer: &Signer, upstreams: &Upstreams, bucket: &Bucket) {
        let query = [("uploadId", self.upload_id.as_str())];
        let request = StagedRequest { method: Method::DELETE, query: &query, ..StagedRequest::default() };
        let aborted = match signer.prepare_staged(Place::Noted(bucket, &self.key), request) {
            Ok(outbound) => upstreams.send(outbound).await.map(|reply| reply.head.status),
            Err(_) => return,
        };
        if !aborted.is_ok_and(|status| status.is_success() || status == StatusCode::NOT_FOUND) {
            tracing::warn!(bucket = %bucket.upstream_bucket, "the store kept the parts of a copy that was given up");
        }
    }
}

/// A hidden object.
pub struct Hidden<'a> {
    pub carrier: &'a Carrier,
    pub key: &'a StagingKey,
}

/// What the store says of a hidden object.
#[derive(Debug)]
pub struct Found {
    pub length: u64,
    pub etag: HeaderValue,
    pub headers: HeaderMap,
}

impl Found {
    fn read(headers: HeaderMap) -> Result<Self, Refusal> {
        let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        Ok(Self {
            length: length.ok_or_else(|| bad_answer(&"a hidden object without length"))?,
            etag: headers.get(ETAG).cloned().ok_or_else(|| bad_answer(&"a hidden object without ETag"))?,
            headers,
        })
    }

    /// ETag without quotes.
    pub fn plain_etag(&self) -> &str {
        self.etag.to_str().unwrap_or_default().trim_matches('"')
    }

    /// Whether the bucket keeps versions, so that a plain removal would leave one.
    pub fn has_version(&self) -> bool {
        self.headers.contains_key(VERSION)
    }

    fn is(&self, other: &Self) -> bool {
        let version = |found: &Self| found.headers.get(VERSION).cloned();
        self.length == other.length && self.etag == other.etag && version(self) == version(other)
    }

    /// Whether it is encrypted in a way that its headers tell. Then its digests say nothing of those that the store gives to others.
    pub fn is_encrypted(&self) -> bool {
        self.headers.keys().any(|name| name.as_str().starts_with("x-amz-server-side-encryption"))
    }

    /// Whether it has tags, as far as the store tells.
    pub fn has_tags(&self) -> bool {
        self.headers.get("x-amz-tagging-count").is_some_and(|count| count != "0")
    }
}

impl<'a> Hidden<'a> {
    pub fn of(carrier: &'a Carrier) -> Result<Self, Refusal> {
        let key = carrier.hidden.as_ref().ok_or_else(|| internal("a staged upload without a hidden key"))?;
        Ok(Self { carrier, key })
    }

    fn bucket(&self) -> &Bucket {
        &self.carrier.bucket
    }

    /// What the store says of it; `None` if it is not there.
    pub async fn head(&self) -> Result<Option<Found>, Refusal> {
        let reply = self.send(self.key, request(Method::HEAD, with_checksums())).await?;
        match reply.head.status {
            StatusCode::OK => Found::read(reply.head.headers).map(Some),
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(self.error(reply).await),
        }
    }

    /// Its bytes, if it is still this object.
    pub async fn read(&self, found: &Found) -> Result<UpstreamReply, Refusal> {
        let headers = HeaderMap::from_iter([(IF_MATCH, found.etag.clone())]);
        let reply = self.send(self.key, request(Method::GET, headers)).await?;
        if reply.head.status != StatusCode::OK {
            return Err(self.error(reply).await);
        }
        match Found::read(reply.head.headers.clone())? {
            same if same.length == found.length && same.etag == found.etag => Ok(reply),
            _ => Err(bad_answer(&"another object than its head")),
        }
    }

    /// Its first bytes, if it is still this object.
    pub async fn first_bytes(&self, found: &Found, most: usize) -> Result<Bytes, Refusal> {
        let Some(last) = found.length.min(most as u64).checked_sub(1) else { return Ok(Bytes::new()) };
        let range = HeaderValue::from_str(&format!("bytes=0-{last}")).map_err(|error| bad_answer(&error))?;
        let headers = HeaderMap::from_iter([(IF_MATCH, found.etag.clone()), (RANGE, range)]);
        let reply = self.send(self.key, request(Method::GET, headers)).await?;
        if !reply.head.status.is_success() {
            return Err(self.error(reply).await);
        }
        bounded::collect(reply.body, most).await.map_err(|error| bad_answer(&error))
    }

    /// Asks whether it is still this object: Ceph RGW 16 overlooks the condition on the source of a copy.
    ///
    /// # Errors
    /// [`Refusal`] if it is not. Another attempt looks at what is there then.
    pub async fn check_unchanged(&self, found: &Found) -> Result<(), Refusal> {
        match self.head().await? {
            Some(now) if now.is(found) => Ok(()),
            _ => Err(bad_answer(&"the hidden object is not the one that was looked at")),
        }
    }

    /// Its tags, as an encoded query.
    pub async fn tags(&self) -> Result<Vec<(String, String)>, Refusal> {
        let place = Place::Hidden(self.bucket(), self.key);
        let request = StagedRequest { query: &[("tagging", "")], ..StagedRequest::default() };
        let (_, root) = self.carrier.staged_document(place, request).await?;
        let tags = root.child("TagSet").into_iter().flat_map(|set| set.children_named("Tag"));
        Ok(tags.map(|tag| (tag.text_of("Key").to_owned(), tag.text_of("Value").to_owned())).collect())
    }

    /// Gives it these tags instead of what it has.
    pub async fn set_tags(&self, tags: &[(String, String)]) -> Result<(), Refusal> {
        let document = crate::s3::tagging::render(tags);
        let mut digest = RunningDigest::md5();
        digest.update(document.as_bytes());
        let md5 = to_base64(&digest.finish(16));
        let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/xml"))]);
        headers.insert("content-md5", HeaderValue::from_str(&md5).map_err(|error| bad_answer(&error))?);
        let request = StagedRequest {
            method: Method::PUT,
            query: &[("tagging", "")],
            headers,
            body: Bytes::from(document),
            ..StagedRequest::default()
        };
        self.expect_success(self.key, request).await
    }

    /// Writes down what nobody can ask for afterwards, sealed for this key.
    pub async fn note(&self, record: &Record) -> Result<(), Refusal> {
        let key = self.carrier.admission.permit().call().resource.key();
        let key = key.map(|key| format!("{}{}", self.bucket().upstream_prefix, key.as_str()));
        let text = serde_json::to_string(&Written { key, record }).map_err(|error| internal(&error.to_string()))?;
        let sealer = self.carrier.signer.sealer(self.bucket(), PURPOSE)?;
        let sealed = sealer.seal(self.key.as_str(), &text).ok_or_else(|| internal("no random bytes"))?;
        let body = Bytes::from(sealed);
        let request = StagedRequest { method: Method::PUT, body, ..StagedRequest::default() };
        self.expect_success(&self.key.parts(), request).await
    }

    /// What was written down. Nothing, if that cannot be told: then the object is copied in other pieces, and has another ETag on some stores.
    pub async fn record(&self) -> Record {
        Record::read(&self.carrier.signer, &self.carrier.upstreams, self.bucket(), self.key).await.unwrap_or_default()
    }

    /// Removes the parts of a copy to its place that another attempt began.
    pub async fn abandon(&self, copy: &UnfinishedCopy) {
        copy.abort(&self.carrier.signer, &self.carrier.upstreams, self.bucket()).await;
    }

    /// Removes it and what was written down beside it: every version that the store lists, or, where there are none, by its name. What fails is
    /// left for the sweeper. `found` is what the store said of it, if it was there.
    pub async fn remove(&self, found: Option<&Found>) {
        let removed = match found.map(Found::has_version) {
            Some(false) => self.remove_plainly().await,
            told => self.remove_versions(told.is_some()).await,
        };
        if let Err(refusal) = removed {
            tracing::warn!(key = self.key.as_str(), bucket = %self.bucket().name, reason = %refusal.reason, "a hidden object was left");
        }
    }

    async fn remove_plainly(&self) -> Result<(), Refusal> {
        for key in [self.key, &self.key.parts()] {
            self.delete(key, None).await?;
        }
        Ok(())
    }

    /// The name of the hidden object is the beginning of that of the record.
    async fn remove_versions(&self, told: bool) -> Result<(), Refusal> {
        let query = [("versions", ""), ("prefix", self.key.as_str())];
        let request = StagedRequest { query: &query, ..StagedRequest::default() };
        let outbound = self.carrier.signer.prepare_staged(Place::Staging(self.bucket()), request)?;
        let reply = self.carrier.upstreams.send(outbound).await?;
        if reply.head.status != StatusCode::OK {
            return Err(self.error(reply).await);
        }
        let document = bounded::collect(reply.body, MAX_ANSWER_BYTES).await.map_err(|error| bad_answer(&error))?;
        let text = std::str::from_utf8(&document).map_err(|error| bad_answer(&error))?;
        let page = ListPage::parse(ListKind::Versions, text, "").map_err(|error| bad_answer(&error))?;
        let versions = told || has_versions(&page.entries);
        for entry in page.entries {
            if let Some(key) = StagingKey::listed(&entry.key) {
                self.delete(&key, version_of(&entry, versions)).await?;
            }
        }
        Ok(())
    }

    async fn delete(&self, key: &StagingKey, version: Option<&str>) -> Result<(), Refusal> {
        let query: Vec<_> = version.map(|version| ("versionId", version)).into_iter().collect();
        let request = StagedRequest { method: Method::DELETE, query: &query, ..StagedRequest::default() };
        let reply = self.send(key, request).await?;
        if reply.head.status.is_success() || reply.head.status == StatusCode::NOT_FOUND {
            return Ok(());
        }
        Err(self.error(reply).await)
    }

    async fn expect_success(&self, key: &StagingKey, request: StagedRequest<'_>) -> Result<(), Refusal> {
        let reply = self.send(key, request).await?;
        if !reply.head.status.is_success() {
            return Err(self.error(reply).await);
        }
        // Read to the end, so that the connection can be used again.
        bounded::collect(reply.body, MAX_ANSWER_BYTES).await.map_err(|error| bad_answer(&error))?;
        Ok(())
    }

    async fn send(&self, key: &StagingKey, request: StagedRequest<'_>) -> Result<UpstreamReply, Refusal> {
        let outbound = self.carrier.signer.prepare_staged(Place::Hidden(self.bucket(), key), request)?;
        Ok(self.carrier.upstreams.send(outbound).await?)
    }

    async fn error(&self, reply: UpstreamReply) -> Refusal {
        relay::read_error(reply, self.carrier.admission.permit().call()).await
    }
}

/// Whether a bucket keeps versions, or did, as far as a list tells. Then a plain removal leaves a marker behind.
pub fn has_versions(entries: &[ListEntry]) -> bool {
    entries.iter().any(|entry| entry.element == "DeleteMarker" || entry.id.as_deref().is_some_and(|id| id != "null"))
}

/// The version that the removal of an entry must name. In a bucket that never kept versions the one there is has the name `null` and is
/// removed plainly; where versions are suspended that is one like the others.
pub fn version_of(entry: &ListEntry, versions: bool) -> Option<&str> {
    entry.id.as_deref().filter(|version| versions || *version != "null")
}

fn request(method: Method, headers: HeaderMap) -> StagedRequest<'static> {
    StagedRequest { method, headers, ..StagedRequest::default() }
}

fn with_checksums() -> HeaderMap {
    HeaderMap::from_iter([(HeaderName::from_static("x-amz-checksum-mode"), HeaderValue::from_static("ENABLED"))])
}

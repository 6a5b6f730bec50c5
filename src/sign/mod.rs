//! Turns an admitted call into the request for the store, signed with the gateway's own credentials.
//!
//! Nothing of the client's request is copied as a whole: path and query are written anew from decoded values, headers come from the
//! sorted list. The canonical form that is signed is what is sent.

pub mod administration;
pub mod copy;
pub mod credentials;
mod document;
mod download;
pub mod multipart;
pub mod outbound;
pub mod payload;
pub mod route;
pub mod staged;

use std::borrow::Cow;
use std::num::NonZeroUsize;
use std::sync::Arc;

use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};

use crate::base::{Clock, RouteId, Sealer};
use crate::body::{ChunkEncode, UploadBody};
use crate::limits::Admission;
use crate::rules::Terms;
use crate::s3::checksum::{RunningDigest, to_base64};
use crate::s3::{BodyFraming, Bucket, Operation, Resource, S3Call, StagingKey, UploadHead};
use crate::sigv4::canonical::canonical_query;
use crate::sigv4::chunk::EMPTY_SHA256;
use crate::sigv4::{AmzDate, CanonicalRequest, ChunkSigner, KeyCache, SigningKey, sign_request};

use outbound::Destination;

pub use credentials::{CredentialStore, Unusable};
pub use multipart::MultipartStep;
pub use outbound::{Outbound, OutboundBody};
pub use payload::PayloadPlan;
pub use route::Route;
pub use staged::{Place, StagedRequest};

const AMZ_DATE: HeaderName = HeaderName::from_static("x-amz-date");
const AMZ_CONTENT_SHA256: HeaderName = HeaderName::from_static("x-amz-content-sha256");
const AMZ_SECURITY_TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

/// Derived keys that are kept: one for each upstream and day is enough; more only while credentials rotate.
const KEY_CACHE: NonZeroUsize = NonZeroUsize::new(64).expect("not zero");

/// Signs requests for every upstream.
pub struct Signer {
    routes: Vec<Route>,
    keys: KeyCache,
    clock: Arc<dyn Clock>,
}

/// Why a request could not be signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The upstream's credentials could not be loaded yet.
    #[error("no credentials for upstream `{0}` could be loaded")]
    NoCredentials(String),
    /// The upstream's credentials have come to their end, and there are no new ones.
    #[error("the credentials for upstream `{0}` have expired and could not be renewed")]
    Expired(String),
    /// A header value that cannot be sent. Values were checked before, so this is a fault of the gateway.
    #[error("the header `{0}` cannot be sent")]
    Header(HeaderName),
}

/// What is to be sent, before it is signed.
struct Draft<'a> {
    method: Method,
    bucket: &'a Bucket,
    key: Option<&'a str>,
    query: String,
    headers: HeaderMap,
}

/// What a chain of chunk signatures begins with.
struct Seed {
    key: SigningKey,
    date: AmzDate,
    signature: String,
}

impl Signer {
    /// A signer for upstreams, in the order of their [`RouteId`]s.
    pub fn new(routes: Vec<Route>, clock: Arc<dyn Clock>) -> Self {
        Self { routes, keys: KeyCache::new(KEY_CACHE), clock }
    }

    /// The upstream of an identifier.
    pub fn route(&self, id: RouteId) -> &Route {
        &self.routes[id.0]
    }

    /// Prepares a call that is forwarded as it is: same operation, same key behind the bucket's prefix. An upload comes with its length.
    /// The query is the call's own, in upstream terms.
    ///
    /// # Errors
    /// [`SignError`] if the upstream has no credentials.
    pub fn prepare(
        &self,
        admission: &Admission,
        bucket: &Bucket,
        query: &[(String, String)],
        body: Option<(Box<UploadBody>, u64)>,
    ) -> Result<Outbound, SignError> {
        self.prepare_instead(admission, bucket, None, query, body)
    }

    /// As [`Signer::prepare`], at a hidden key instead of the call's own if there is one. What must not stand there is left out.
    ///
    /// # Errors
    /// As [`Signer::prepare`].
    pub fn prepare_instead(
        &self,
        admission: &Admission,
        bucket: &Bucket,
        hidden: Option<&StagingKey>,
        query: &[(String, String)],
        body: Option<(Box<UploadBody>, u64)>,
    ) -> Result<Outbound, SignError> {
        let call = admission.permit().call();
        let key = key_instead(call, hidden);
        let draft = Draft {
            method: Method::from_bytes(call.operation.spec().method.as_bytes())
                .expect("a method of the operation table"),
            bucket,
            key: key.as_deref(),
            query: canonical_query(query.iter().map(|(name, value)| (name.as_str(), value.as_str()))),
            headers: headers_instead(object_headers(call, admission.terms())?, hidden),
        };
        match body {
            None => self.sign_empty(draft),
            Some((body, length)) => self.sign_upload(draft, admission.upload(), body, length),
        }
    }

    /// Seals and opens what clients carry for the gateway, with a key that every replica has: see `credentials/sealing`.
    ///
    /// # Errors
    /// [`SignError`] if the upstream has no credentials.
    pub fn sealer(&self, bucket: &Bucket, purpose: &str) -> Result<Sealer, SignError> {
        let route = self.route(bucket.route);
        route.credentials.sealer(purpose).ok_or_else(|| SignError::NoCredentials(route.name.clone()))
    }

    /// Prepares one listing of keys under a prefix in upstream terms.
    ///
    /// # Errors
    /// [`SignError`] if the upstream has no credentials.
    pub fn prepare_listing(&self, bucket: &Bucket, parameters: &[(&str, String)]) -> Result<Outbound, SignError> {
        let query = canonical_query(parameters.iter().map(|(name, value)| (*name, value.as_str())));
        self.sign_empty(Draft { method: Method::GET, bucket, key: None, query, headers: HeaderMap::new() })
    }

    fn sign_empty(&self, draft: Draft<'_>) -> Result<Outbound, SignError> {
        let (request, _) = self.sign(draft, EMPTY_SHA256.into())?;
        Ok(Outbound::empty(request))
    }

    fn sign_upload(
        &self,
        mut draft: Draft<'_>,
        head: &UploadHead,
        mut body: Box<UploadBody>,
        length: u64,
    ) -> Result<Outbound, SignError> {
        let route = self.route(draft.bucket.route);
        let plan = PayloadPlan::choose(route, head, length);
        if let PayloadPlan::Framed(framer) = plan {
            draft.headers.insert("x-amz-decoded-content-length", HeaderValue::from(length));
            if let Some(algorithm) = framer.trailer {
                draft.headers.insert("x-amz-trailer", HeaderValue::from_static(algorithm.header_name()));
            }
        }
        // The checksum behind no bytes goes in front: there is nothing to frame, and it has been verified.
        if let (PayloadPlan::Empty, BodyFraming::AwsChunked { trailer: Some(algorithm), .. }) = (plan, head.framing) {
            let value = to_base64(&RunningDigest::new(algorithm).finish(algorithm.value_length()));
            let value = HeaderValue::from_str(&value).map_err(|_| SignError::Header(algorithm.header()))?;
            draft.headers.insert(algorithm.header(), value);
        }
        draft.headers.insert(CONTENT_LENGTH, HeaderValue::from(plan.body_length(length)));
        let (request, seed) = self.sign(draft, plan.content_sha256())?;
        if let PayloadPlan::Framed(framer) = plan {
            let signer = framer.signed.then(|| ChunkSigner::new(seed.key, &seed.date, seed.signature));
            body.frame(ChunkEncode::new(signer, framer.trailer, length));
        }
        Ok(Outbound::upload(request, body))
    }

    fn sign(&self, draft: Draft<'_>, payload: Cow<'static, str>) -> Result<(Request<Destination>, Seed), SignError> {
        let route = self.route(draft.bucket.route);
        let now = self.clock.now();
        let credentials = route.credentials.usable(now).map_err(|problem| match problem {
            Unusable::Missing => SignError::NoCredentials(route.name.clone()),
            Unusable::Expired => SignError::Expired(route.name.clone()),
        })?;
        let date = AmzDate::new(now);
        let (host, path) = route.address(&draft.bucket.upstream_bucket, draft.key);
        let mut headers = draft.headers;
        let mut set = |name: HeaderName, value: &str| {
            let value = HeaderValue::from_str(value).map_err(|_| SignError::Header(name.clone()))?;
            headers.insert(name, value);
            Ok::<_, SignError>(())
        };
        set(HOST, &host)?;
        set(AMZ_DATE, &date.timestamp)?;
        set(AMZ_CONTENT_SHA256, &payload)?;
        if let Some(token) = credentials.session_token() {
            set(AMZ_SECURITY_TOKEN, token)?;
        }
        let key = self.keys.get(credentials.access_key_id(), credentials.secret_access_key(), &route.region, &date);
        let signed = {
            let signed_headers = headers_to_sign(&headers)?;
            let request = CanonicalRequest {
                method: draft.method.as_str(),
                path: &path,
                query: &draft.query,
                headers: &signed_headers,
                payload: &payload,
            };
            sign_request(&request, credentials.access_key_id(), &key, &date)
        };
        let mut authorization =
            HeaderValue::try_from(signed.authorization).map_err(|_| SignError::Header(AUTHORIZATION))?;
        authorization.set_sensitive(true);
        headers.insert(AUTHORIZATION, authorization);
        let target = if draft.query.is_empty() { path } else { [&path, "?", &draft.query].concat() };
        let credentials = Arc::clone(&route.credentials);
        let mut request = Request::new(Destination { route: draft.bucket.route, credentials });
        *request.method_mut() = draft.method;
        *request.uri_mut() = Uri::try_from(target).expect("percent-encoded path and query, built above");
        *request.headers_mut() = headers;
        Ok((request, Seed { key, date, signature: signed.signature }))
    }
}

/// The key of a call in upstream terms.
fn upstream_key(call: &S3Call) -> Option<Cow<'_, str>> {
    match &call.resource {
        Resource::Object(bucket, key) if bucket.upstream_prefix.is_empty() => Some(Cow::Borrowed(key.as_str())),
        Resource::Object(bucket, key) => Some(Cow::Owned([&bucket.upstream_prefix, key.as_str()].concat())),
        Resource::Bucket(_) | Resource::Service => None,
    }
}

/// The key of a call, or the hidden one that stands for it, in upstream terms.
fn key_instead<'a>(call: &'a S3Call, hidden: Option<&'a StagingKey>) -> Option<Cow<'a, str>> {
    hidden.map_or_else(|| upstream_key(call), |hidden| Some(Cow::Borrowed(hidden.as_str())))
}

fn headers_instead(headers: HeaderMap, hidden: Option<&StagingKey>) -> HeaderMap {
    if hidden.is_some() { staged::split(headers).0 } else { headers }
}

/// Host and everything that means something to S3. What a proxy on the way may change is left out.
fn headers_to_sign(headers: &HeaderMap) -> Result<Vec<(&str, &str)>, SignError> {
    let signed =
        |name: &str| name == "host" || name == "content-type" || name == "content-md5" || name.starts_with("x-amz-");
    let mut chosen = Vec::with_capacity(headers.len());
    for (name, value) in headers.iter().filter(|(name, _)| signed(name.as_str())) {
        chosen.push((name.as_str(), value.to_str().map_err(|_| SignError::Header(name.clone()))?));
    }
    chosen.sort_unstable();
    Ok(chosen)
}

/// The client's headers for the store, and those the rule sets on writes.
fn object_headers(call: &S3Call, terms: &Terms) -> Result<HeaderMap, SignError> {
    let mut headers = call.headers.pass.clone();
    if let Some(upload) = &call.upload {
        headers.remove(CONTENT_ENCODING);
        if let Some(encoding) = &upload.content_encoding {
            let value = HeaderValue::from_str(encoding).map_err(|_| SignError::Header(CONTENT_ENCODING))?;
            headers.insert(CONTENT_ENCODING, value);
        }
    }
    if matches!(call.operation, Operation::PutObject | Operation::CreateMultipartUpload) {
        for (name, value) in &terms.set_headers {
            headers.insert(name.clone(), value.clone());
        }
    }
    headers.remove(CONTENT_LENGTH);
    Ok(headers)
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("routes", &self.routes.len()).finish_non_exhaustive()
    }
}

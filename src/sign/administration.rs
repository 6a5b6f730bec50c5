//! Requests about buckets that carry a small document, and the one that asks a store for its buckets.

use std::collections::VecDeque;

use aws_lc_rs::digest;
use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::base::RouteId;
use crate::limits::Admission;
use crate::s3::checksum::{RunningDigest, to_base64};
use crate::s3::{Bucket, OddKeys};
use crate::sign::{Draft, Outbound, SignError, Signer, upstream_key};
use crate::sigv4::canonical::canonical_query;

impl Signer {
    /// Prepares a forwarded call whose document was read and checked. Its digests are made anew, because it may have been written anew.
    ///
    /// # Errors
    /// [`SignError`] if the upstream has no credentials.
    pub fn prepare_administration(
        &self,
        admission: &Admission,
        bucket: &Bucket,
        document: Vec<u8>,
    ) -> Result<Outbound, SignError> {
        let call = admission.permit().call();
        let mut headers = call.headers.pass.clone();
        headers.insert(CONTENT_LENGTH, HeaderValue::from(document.len()));
        headers.remove("content-md5");
        if !document.is_empty() {
            let mut md5 = RunningDigest::md5();
            md5.update(&document);
            let name = HeaderName::from_static("content-md5");
            let value = HeaderValue::from_str(&to_base64(&md5.finish(16)));
            headers.insert(name.clone(), value.map_err(|_| SignError::Header(name))?);
        }
        let key = upstream_key(call);
        let draft = Draft {
            method: Method::from_bytes(call.operation.spec().method.as_bytes())
                .expect("a method of the operation table"),
            bucket,
            key: key.as_deref(),
            query: canonical_query(call.query.iter().map(|(name, value)| (name.as_str(), value.as_str()))),
            headers,
        };
        let sha256 = hex::encode(digest::digest(&digest::SHA256, &document));
        let (request, _) = self.sign(draft, sha256.into())?;
        let pieces = if document.is_empty() { VecDeque::new() } else { VecDeque::from([Bytes::from(document)]) };
        Ok(Outbound::buffered(request, pieces))
    }

    /// Prepares the question for the setting that an admitted call changes: the same sub-resource, read.
    ///
    /// # Errors
    /// [`SignError`] if the upstream has no credentials.
    pub fn prepare_question(&self, admission: &Admission, bucket: &Bucket) -> Result<Outbound, SignError> {
        let call = admission.permit().call();
        let key = upstream_key(call);
        let query = canonical_query(call.query.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        self.sign_empty(Draft { method: Method::GET, bucket, key: key.as_deref(), query, headers: HeaderMap::new() })
    }

    /// Prepares the request for the buckets of a store.
    ///
    /// # Errors
    /// [`SignError`] if the upstream has no credentials.
    pub fn prepare_list_buckets(&self, route: RouteId) -> Result<Outbound, SignError> {
        // An address without a bucket is the store's own.
        let store = Bucket {
            name: String::new(),
            route,
            upstream_bucket: String::new(),
            upstream_prefix: String::new(),
            odd_keys: OddKeys::Refuse,
            passed_through: false,
        };
        let draft =
            Draft { method: Method::GET, bucket: &store, key: None, query: String::new(), headers: HeaderMap::new() };
        self.sign_empty(draft)
    }
}

//! The requests of a read whose object must be looked at first: the object as a whole, and then what the client asked for.

use http::header::IF_MATCH;
use http::{HeaderMap, HeaderValue, Method};

use crate::limits::Admission;
use crate::s3::Bucket;
use crate::sign::copy::CONDITIONS;
use crate::sign::{Draft, Outbound, SignError, Signer, object_headers, upstream_key};
use crate::sigv4::canonical::canonical_query;

/// Headers about the key that decrypts an object.
const CUSTOMER_KEY: &str = "x-amz-server-side-encryption-customer-";

impl Signer {
    /// Prepares a look (`GET`, `HEAD`) at the whole object of an admitted read if its ETag is still this: no range, no part, nothing overridden.
    ///
    /// # Errors
    /// [`SignError`] if the upstream has no credentials.
    pub fn prepare_whole(
        &self,
        method: Method,
        admission: &Admission,
        bucket: &Bucket,
        etag: &HeaderValue,
    ) -> Result<Outbound, SignError> {
        let call = admission.permit().call();
        let asked = call.headers.pass.iter().filter(|(name, _)| name.as_str().starts_with(CUSTOMER_KEY));
        let mut headers: HeaderMap = asked.map(|(name, value)| (name.clone(), value.clone())).collect();
        headers.insert(IF_MATCH, etag.clone());
        let query = canonical_query(call.parameter("versionId").map(|version| ("versionId", version)));
        self.sign_empty(Draft { method, bucket, key: upstream_key(call).as_deref(), query, headers })
    }

    /// Prepares an admitted read as it is, if the ETag is still this. The conditions of the client held for that ETag when it was looked at.
    ///
    /// # Errors
    /// [`SignError`] if the upstream has no credentials.
    pub fn prepare_pinned(
        &self,
        admission: &Admission,
        bucket: &Bucket,
        etag: &HeaderValue,
    ) -> Result<Outbound, SignError> {
        let call = admission.permit().call();
        let mut headers = object_headers(call, admission.terms())?;
        CONDITIONS.iter().for_each(|name| drop(headers.remove(name)));
        headers.insert(IF_MATCH, etag.clone());
        let query = canonical_query(call.query.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        self.sign_empty(Draft { method: Method::GET, bucket, key: upstream_key(call).as_deref(), query, headers })
    }
}

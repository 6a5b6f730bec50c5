//! Requests whose body is an XML document that the gateway has written anew: DeleteObjects, PutObjectTagging.

use std::collections::VecDeque;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Method};

use crate::limits::Admission;
use crate::s3::checksum::{RunningDigest, to_base64};
use crate::s3::{Bucket, ChecksumAlgorithm};
use crate::sign::{Draft, Outbound, SignError, Signer, object_headers, upstream_key};
use crate::sigv4::canonical::canonical_query;

impl Signer {
    /// Prepares an admitted call with a document of the gateway's own as its body. Stores want the MD5 of such bodies, and the signature
    /// covers their SHA-256.
    ///
    /// # Errors
    /// [`SignError`] if the upstream has no credentials.
    pub fn prepare_document(
        &self,
        admission: &Admission,
        bucket: &Bucket,
        document: String,
    ) -> Result<Outbound, SignError> {
        let call = admission.permit().call();
        let spec = call.operation.spec();
        let (key, document) = (upstream_key(call), Bytes::from(document));
        let mut headers = object_headers(call, admission.terms())?;
        headers.insert(CONTENT_LENGTH, HeaderValue::from(document.len()));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        let md5 = to_base64(&finished(RunningDigest::md5(), &document, 16));
        headers.insert("content-md5", HeaderValue::from_str(&md5).expect("base64"));
        let draft = Draft {
            method: Method::from_bytes(spec.method.as_bytes()).expect("a method of the operation table"),
            bucket,
            key: key.as_deref(),
            query: canonical_query(call.query.iter().map(|(name, value)| (name.as_str(), value.as_str()))),
            headers,
        };
        let sha256 = finished(RunningDigest::new(ChecksumAlgorithm::Sha256), &document, 32);
        let (request, _) = self.sign(draft, hex::encode(sha256).into())?;
        Ok(Outbound::buffered(request, VecDeque::from([document])))
    }
}

fn finished(mut digest: RunningDigest, bytes: &[u8], value_length: usize) -> Vec<u8> {
    digest.update(bytes);
    digest.finish(value_length)
}

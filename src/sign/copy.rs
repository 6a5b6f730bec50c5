//! The requests of a copy: looking at the source, and copying it.

use http::header::{IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_UNMODIFIED_SINCE, RANGE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::base::encoding::encode_path;
use crate::body::UploadBody;
use crate::limits::Admission;
use crate::s3::{Bucket, CopySource, StagingKey, UploadHead};
use crate::sign::{Draft, Outbound, SignError, Signer, key_instead, upstream_key};
use crate::sigv4::canonical::canonical_query;

/// Headers about the key that decrypts the source, and what they are called in a request that reads it.
const SOURCE_KEY: (&str, &str) =
    ("x-amz-copy-source-server-side-encryption-customer-", "x-amz-server-side-encryption-customer-");
/// The same for the conditions on the source.
const SOURCE_CONDITION: (&str, &str) = ("x-amz-copy-source-if-", "if-");

pub(in crate::sign) const CONDITIONS: [HeaderName; 4] =
    [IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE];

impl Signer {
    /// Prepares a look at the source of an admitted copy: its head under the conditions of the copy (Ceph RGW 16 overlooks them in the
    /// copy itself), or its first to last of some bytes if its ETag is still this.
    ///
    /// # Errors
    /// [`SignError`] if the upstream has no credentials.
    pub fn prepare_source(
        &self,
        admission: &Admission,
        source: &CopySource,
        bytes: Option<((u64, u64), &HeaderValue)>,
    ) -> Result<Outbound, SignError> {
        let mut headers = HeaderMap::new();
        for (name, value) in &admission.permit().call().headers.pass {
            let renamed = [SOURCE_KEY, SOURCE_CONDITION].into_iter().find_map(|(long, short)| {
                let rest = name.as_str().strip_prefix(long)?;
                HeaderName::from_bytes(format!("{short}{rest}").as_bytes()).ok()
            });
            if let Some(name) = renamed {
                headers.insert(name, value.clone());
            }
        }
        let mut method = Method::HEAD;
        if let Some(((first, last), etag)) = bytes {
            method = Method::GET;
            CONDITIONS.iter().for_each(|name| drop(headers.remove(name)));
            set(&mut headers, RANGE, &format!("bytes={first}-{last}"))?;
            headers.insert(IF_MATCH, etag.clone());
        }
        let key = format!("{}{}", source.bucket.upstream_prefix, source.key.as_str());
        let query = canonical_query(source.version_id.as_deref().map(|version| ("versionId", version)));
        self.sign_empty(Draft { method, bucket: &source.bucket, key: Some(&key), query, headers })
    }

    /// Prepares the copy itself, with the headers of the new object or part, and the query in the store's terms.
    ///
    /// # Errors
    /// [`SignError`] if the upstream has no credentials.
    pub fn prepare_copy(
        &self,
        admission: &Admission,
        bucket: &Bucket,
        hidden: Option<&StagingKey>,
        source: &CopySource,
        query: &[(String, String)],
        mut headers: HeaderMap,
    ) -> Result<Outbound, SignError> {
        let key = key_instead(admission.permit().call(), hidden);
        set(&mut headers, HeaderName::from_static("x-amz-copy-source"), &source_in_upstream_terms(source))?;
        if let Some((first, last)) = source.range {
            let range = format!("bytes={first}-{last}");
            set(&mut headers, HeaderName::from_static("x-amz-copy-source-range"), &range)?;
        }
        let query = canonical_query(query.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        // A PUT without a length is an upload of unknown length to some stores.
        headers.insert(http::header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        let outbound = self.sign_empty(Draft { method: Method::PUT, bucket, key: key.as_deref(), query, headers })?;
        Ok(outbound.taking_long())
    }

    /// Prepares a part of an admitted copy whose bytes pass the gateway, with the query in the store's terms. `head` says what they are.
    ///
    /// # Errors
    /// [`SignError`] if the upstream has no credentials.
    pub fn prepare_copied_part(
        &self,
        admission: &Admission,
        bucket: &Bucket,
        query: &[(String, String)],
        head: &UploadHead,
        (body, length): (Box<UploadBody>, u64),
    ) -> Result<Outbound, SignError> {
        let call = admission.permit().call();
        let key = upstream_key(call);
        let of_the_part = call.headers.pass.iter().filter(|(name, _)| !is_about_the_source(name));
        let headers = of_the_part.map(|(name, value)| (name.clone(), value.clone())).collect();
        let query = canonical_query(query.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let draft = Draft { method: Method::PUT, bucket, key: key.as_deref(), query, headers };
        self.sign_upload(draft, head, body, length)
    }
}

/// Whether a header is about the source of a copy, not about what is made.
fn is_about_the_source(name: &HeaderName) -> bool {
    name.as_str().starts_with("x-amz-copy-source")
}

/// Encoded once, from the decoded key: the one spelling that every store reads as this key.
fn source_in_upstream_terms(source: &CopySource) -> String {
    let CopySource { bucket, key, version_id, .. } = source;
    let path = encode_path(&format!("/{}/{}{}", bucket.upstream_bucket, bucket.upstream_prefix, key.as_str()));
    match version_id {
        Some(version) => format!("{path}?versionId={version}"),
        None => path,
    }
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) -> Result<(), SignError> {
    let value = HeaderValue::from_str(value).map_err(|_| SignError::Header(name.clone()))?;
    headers.insert(name, value);
    Ok(())
}

//! One upstream as the signer sees it: how it is addressed, with which credentials, in which payload form.

use std::sync::Arc;

use crate::base::encoding::encode_path;
use crate::sign::credentials::CredentialStore;

/// One upstream as the signer sees it.
#[derive(Debug)]
pub struct Route {
    /// Name in logs.
    pub name: String,
    /// `host[:port]` of the endpoint, the port only if it is not the scheme's own.
    pub authority: String,
    /// Signing region.
    pub region: String,
    /// Whether the bucket stands in the host name.
    pub virtual_host: bool,
    /// Whether the signature covers the bytes of an upload.
    pub signed_payload: bool,
    /// Whether the store takes checksum trailers.
    pub trailers: bool,
    /// The gateway's credentials there.
    pub credentials: Arc<CredentialStore>,
}

impl Route {
    /// Host header and percent-encoded path of a bucket or key; without a bucket of the store itself.
    pub fn address(&self, bucket: &str, key: Option<&str>) -> (String, String) {
        if bucket.is_empty() {
            return (self.authority.clone(), "/".to_owned());
        }
        let key = key.map(encode_path);
        match (self.virtual_host, key) {
            (true, key) => (format!("{bucket}.{}", self.authority), ["/", &key.unwrap_or_default()].concat()),
            (false, Some(key)) => (self.authority.clone(), ["/", &encode_path(bucket), "/", &key].concat()),
            (false, None) => (self.authority.clone(), ["/", &encode_path(bucket)].concat()),
        }
    }
}

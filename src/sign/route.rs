//! One upstream as the signer sees it: how it is addressed, with which credentials, in which payload form.

use std::borrow::Cow;
use std::sync::Arc;

use crate::base::encoding::push_path;
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
    pub fn address(&self, bucket: &str, key: Option<&str>) -> (Cow<'_, str>, String) {
        let mut path = String::with_capacity("//".len() + bucket.len() + key.map_or(0, str::len));
        path.push('/');
        if bucket.is_empty() {
            return (Cow::Borrowed(&self.authority), path);
        }
        let host = match self.virtual_host {
            true => Cow::Owned(format!("{bucket}.{}", self.authority)),
            false => {
                push_path(&mut path, bucket);
                path.extend(key.map(|_| '/'));
                Cow::Borrowed(self.authority.as_str())
            }
        };
        push_path(&mut path, key.unwrap_or_default());
        (host, path)
    }
}

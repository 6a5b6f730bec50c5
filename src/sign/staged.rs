//! The requests about an object that waits at a hidden key for its verdict, and those that bring it to where it belongs.

use std::borrow::Cow;
use std::collections::VecDeque;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, IF_MATCH, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::base::encoding::encode_path;
use crate::limits::Admission;
use crate::s3::{Bucket, StagingKey};
use crate::sign::{Draft, Outbound, SignError, Signer, object_headers, upstream_key};
use crate::sigv4::canonical::canonical_query;

/// What a request is about. No key of a client's choice but the admitted one.
#[derive(Debug, Clone, Copy)]
pub enum Place<'a> {
    /// A hidden object.
    Hidden(&'a Bucket, &'a StagingKey),
    /// All hidden objects of a bucket of a store.
    Staging(&'a Bucket),
    /// The key of an admitted call.
    Target(&'a Admission, &'a Bucket),
    /// A key of the gateway's own making in the quarantine.
    Quarantine(&'a Bucket, &'a str),
    /// A key that the gateway has written down itself, in upstream terms.
    Noted(&'a Bucket, &'a str),
}

/// A request, before it is signed.
#[derive(Debug, Default)]
pub struct StagedRequest<'a> {
    /// Its method.
    pub method: Method,
    /// Its query, in upstream terms.
    pub query: &'a [(&'a str, &'a str)],
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// Whether the store may work on it for minutes.
    pub takes_long: bool,
}

impl Signer {
    /// Prepares a request about a hidden object or the place it goes to.
    ///
    /// # Errors
    /// [`SignError`] if the upstream has no credentials.
    pub fn prepare_staged(&self, place: Place<'_>, request: StagedRequest<'_>) -> Result<Outbound, SignError> {
        let StagedRequest { method, query, mut headers, body, takes_long } = request;
        let (bucket, key) = match place {
            Place::Hidden(bucket, key) => (bucket, Some(Cow::Borrowed(key.as_str()))),
            Place::Staging(bucket) => (bucket, None),
            Place::Target(admission, bucket) => (bucket, upstream_key(admission.permit().call())),
            Place::Quarantine(bucket, key) => (bucket, Some(format!("{}{key}", bucket.upstream_prefix).into())),
            Place::Noted(bucket, key) => (bucket, Some(Cow::Borrowed(key))),
        };
        let query = canonical_query(query.iter().copied());
        let draft = |headers| Draft { method: method.clone(), bucket, key: key.as_deref(), query, headers };
        let outbound = if matches!(method, Method::PUT | Method::POST) {
            // A PUT without a length is an upload of unknown length to some stores.
            headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
            let pieces = if body.is_empty() { VecDeque::new() } else { VecDeque::from([body]) };
            let (request, _) = self.sign(draft(headers), super::multipart::sha256(&pieces).into())?;
            if pieces.is_empty() { Outbound::empty(request) } else { Outbound::buffered(request, pieces) }
        } else {
            self.sign_empty(draft(headers))?
        };
        Ok(if takes_long { outbound.taking_long() } else { outbound })
    }
}

/// A hidden object as the source of a copy.
pub fn copy_source(bucket: &Bucket, key: &StagingKey) -> String {
    encode_path(&format!("/{}/{}", bucket.upstream_bucket, key.as_str()))
}

/// Splits the headers of a new object: those that it has at its hidden key too, and those for its final place alone. Conditions belong to
/// neither: they are about the object that is replaced, when it is.
pub fn split(headers: HeaderMap) -> (HeaderMap, HeaderMap) {
    let (mut hidden, mut last) = (HeaderMap::new(), HeaderMap::new());
    for (name, value) in &headers {
        if *name == IF_MATCH || *name == IF_NONE_MATCH {
            continue;
        }
        let side = if is_for_the_end(name) { &mut last } else { &mut hidden };
        side.insert(name.clone(), value.clone());
    }
    (hidden, last)
}

/// The headers of the object that an admitted call makes that it gets at its final place, alone or once more.
///
/// # Errors
/// [`SignError`] if one cannot be sent.
pub fn kept_headers(admission: &Admission) -> Result<HeaderMap, SignError> {
    Ok(divide(object_headers(admission.permit().call(), admission.terms())?).1)
}

/// As [`split`], with those headers on both sides that are to be said twice.
pub fn divide(headers: HeaderMap) -> (HeaderMap, HeaderMap) {
    let (hidden, mut last) = split(headers);
    last.extend(hidden.iter().filter(|(name, _)| is_for_both(name)).map(|(name, value)| (name.clone(), value.clone())));
    (hidden, last)
}

/// Whether a header must not stand at a hidden key: nobody could remove or read the object there, or somebody could who must not. A copy
/// carries none of them along.
fn is_for_the_end(name: &HeaderName) -> bool {
    let name = name.as_str();
    name == "x-amz-acl"
        || name == "x-amz-storage-class"
        || name == "x-amz-website-redirect-location"
        || name.starts_with("x-amz-grant-")
        || name.starts_with("x-amz-object-lock-")
}

/// Whether a header is to be said twice, because a copy does not carry it along.
fn is_for_both(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.starts_with("x-amz-server-side-encryption")
        || matches!(name, "x-amz-checksum-algorithm" | "x-amz-checksum-type")
}

/// The conditions of a request on the object that it replaces.
pub fn conditions(headers: &HeaderMap) -> HeaderMap {
    let condition = |name: HeaderName| headers.get(&name).map(|value| (name, value.clone()));
    [IF_MATCH, IF_NONE_MATCH].into_iter().filter_map(condition).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_locks_or_opens_an_object_is_kept_for_its_place() {
        let header = |name: &'static str| (HeaderName::from_static(name), HeaderValue::from_static("x"));
        let names = |headers: &HeaderMap| {
            let mut names: Vec<_> = headers.keys().map(|name| name.as_str().to_owned()).collect();
            names.sort();
            names
        };
        let (hidden, last) = divide(HeaderMap::from_iter([
            header("content-type"),
            header("x-amz-meta-a"),
            header("x-amz-tagging"),
            header("if-none-match"),
            header("if-match"),
            header("x-amz-acl"),
            header("x-amz-grant-read"),
            header("x-amz-object-lock-mode"),
            header("x-amz-storage-class"),
            header("x-amz-website-redirect-location"),
            header("x-amz-server-side-encryption"),
            header("x-amz-checksum-algorithm"),
        ]));
        let both = ["x-amz-checksum-algorithm", "x-amz-server-side-encryption"];
        assert_eq!(names(&hidden), ["content-type", both[0], "x-amz-meta-a", both[1], "x-amz-tagging"]);
        let kept = ["x-amz-acl", both[0], "x-amz-grant-read", "x-amz-object-lock-mode", both[1]];
        assert_eq!(names(&last), [&kept[..], &["x-amz-storage-class", "x-amz-website-redirect-location"]].concat());
    }
}

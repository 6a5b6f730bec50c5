//! A presigned URL as a request: what it says of the body, and the request without the credential.
//!
//! Nothing of the credential goes on to the stages behind, and so to a store. Values that SDKs have put into the query instead of a
//! header become that header, and meet every rule about it.

use http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, EXPIRES};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};

use crate::auth::error::SignatureError;
use crate::auth::sigv4::{Payload, content_sha256};
use crate::sigv4::{ContentSha256, FormFault, PresignedQuery};

const CONTENT_SHA256: &str = "x-amz-content-sha256";

/// Headers that say what others make of an object. Who holds a presigned URL may add them only if the deciding rule lists them under
/// `headers.allow`; a content type is judged by its own terms.
pub const REPRESENTATION: [HeaderName; 5] =
    [CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, EXPIRES];

/// A request that came by a presigned URL.
#[derive(Debug)]
pub struct PresignedRequest {
    /// The request as it would be with its credential in a header: without the parameters of the signature, and with the headers that
    /// the URL has values for.
    pub head: Box<Parts>,
    /// Headers about the object that the signature does not cover. Who holds the URL has added them.
    pub added: Vec<HeaderName>,
}

/// What stands for the body in the canonical request: the signed value of `x-amz-content-sha256`, in query or header.
///
/// # Errors
/// [`SignatureError`] if the two differ, or if the value is none.
pub(in crate::auth) fn payload<'a>(
    query: &'a PresignedQuery,
    headers: &'a HeaderMap,
) -> Result<Payload<'a>, SignatureError> {
    let header = content_sha256(headers)?;
    let in_query = query.headers.iter().find(|(name, _)| name == CONTENT_SHA256);
    let in_query = in_query.map(|(_, value)| Payload::parse(value)).transpose()?;
    match (in_query, header) {
        (Some(signed), Some(sent)) if signed.text != sent.text => Err(SignatureError::Query(FormFault::Contradiction)),
        (Some(signed), _) => Ok(signed),
        (None, Some(sent)) if query.signed.signed_headers.covers(CONTENT_SHA256) => Ok(sent),
        (None, _) => Ok(Payload::UNSIGNED),
    }
}

/// The request without its credential.
///
/// # Errors
/// [`SignatureError::Query`] if a parameter stands for no header, or for one that has another value; [`SignatureError::NotSigned`] if a
/// header that nobody signed says that the body has a frame.
pub(in crate::auth) fn without_credential(
    query: &PresignedQuery,
    head: &Parts,
) -> Result<PresignedRequest, SignatureError> {
    let covered = |name: &HeaderName| query.signed.signed_headers.covers(name.as_str());
    let mut plain = head.clone();
    let content_sha256 = HeaderName::from_static(CONTENT_SHA256);
    if !covered(&content_sha256) {
        // It would choose the reader of the body (H03).
        let value = plain.headers.remove(&content_sha256);
        let says = value.as_ref().and_then(|value| ContentSha256::parse(value.to_str().ok()?));
        if says.is_some_and(ContentSha256::is_streaming) {
            return Err(SignatureError::NotSigned(content_sha256));
        }
    }
    for (name, value) in &query.headers {
        add_header(&mut plain.headers, name, value)?;
    }
    let added = REPRESENTATION.into_iter().filter(|name| head.headers.contains_key(name) && !covered(name)).collect();
    plain.uri = with_query(&head.uri, &query.rest)?;
    Ok(PresignedRequest { head: Box::new(plain), added })
}

fn add_header(headers: &mut HeaderMap, name: &str, value: &str) -> Result<(), SignatureError> {
    let fault = |_| SignatureError::Query(FormFault::Parameter);
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| fault(()))?;
    let value = HeaderValue::from_str(value).map_err(|_| fault(()))?;
    let mut sent = headers.get_all(&name).iter();
    if sent.any(|sent| *sent != value) {
        return Err(SignatureError::Query(FormFault::Contradiction));
    }
    headers.insert(name, value);
    Ok(())
}

fn with_query(uri: &Uri, query: &str) -> Result<Uri, SignatureError> {
    let fault = || SignatureError::Query(FormFault::Parameter);
    let target = if query.is_empty() { uri.path().to_owned() } else { [uri.path(), "?", query].concat() };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(target).map_err(|_| fault())?);
    Uri::from_parts(parts).map_err(|_| fault())
}

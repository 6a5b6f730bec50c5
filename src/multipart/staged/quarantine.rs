//! Where refused objects are kept for those who look into them, with what is known of them.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::complete::terms;
use super::hidden::{Found, Hidden};
use super::internal;
use super::publish::Copy;
use crate::base::encoding::{encode_path, encode_query};
use crate::base::{Clock, SystemClock, clock};
use crate::inspect::Outcome;
use crate::respond::Refusal;
use crate::s3::OddKeys;
use crate::s3::names::{MAX_KEY_BYTES, check_text};
use crate::sign::Place;

/// Longest text in the metadata, before each byte may be escaped as three: S3 takes 2 KiB of metadata in all.
const MAX_TEXT_BYTES: usize = 160;

/// Copies a hidden object into the quarantine of its rule.
///
/// # Errors
/// [`Refusal`] if the store fails. Then the hidden object is still there.
pub async fn keep(hidden: &Hidden<'_>, found: &Found, outcome: &Outcome, request_id: &str) -> Result<(), Refusal> {
    let carrier = hidden.carrier;
    let place = terms(carrier)?.quarantine.as_ref().ok_or_else(|| internal("a rule without quarantine"))?;
    let bucket = carrier.quarantine.as_ref().filter(|bucket| bucket.route == carrier.bucket.route);
    let bucket = bucket.ok_or_else(|| internal("the quarantine is not at the store of the object"))?;
    let permit = carrier.admission.permit();
    let (source, key) = (&carrier.bucket.name, permit.call().resource.key().map_or("", |key| key.as_str()));
    let now = clock::rfc3339_millis(SystemClock.now());
    let room = MAX_KEY_BYTES.saturating_sub(bucket.upstream_prefix.len());
    // The client knows all of it but this: who may read somewhere in the bucket does not find what was taken away by its name.
    let unknown = uuid::Uuid::new_v4().simple();
    let at = key_in(&format!("{}{}/{request_id}-{unknown}/{source}/", place.prefix, &now[..10]), key, room);
    let mut metadata = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"))]);
    let name = outcome.cause().map_or("", |finding| finding.verdict.detail());
    // Encoded where they hold a client's choice, since headers take no other letters than those of ASCII.
    let encoded = |text: &str| encode_path(cut(text, MAX_TEXT_BYTES));
    for (what, value) in [
        ("verdict", outcome.state.as_str().to_owned()),
        ("name", encoded(name)),
        ("principal", encoded(permit.caller().principal().as_str())),
        ("bucket", source.clone()),
        ("key", encoded(key)),
        ("time", now),
    ] {
        let header = HeaderName::from_bytes(format!("x-amz-meta-countersign-{what}").as_bytes());
        if let (Ok(header), Ok(value)) = (header, HeaderValue::from_str(&value)) {
            metadata.insert(header, value);
        }
    }
    let copy = Copy {
        hidden,
        found,
        to: Place::Quarantine(bucket, &at),
        metadata,
        is_new_metadata: true,
        tags: Some(String::new()),
        headers: HeaderMap::new(),
        conditions: HeaderMap::new(),
    };
    copy.make(None, &mut None).await?;
    tracing::info!(request_id, bucket = %bucket.name, key = %at, "an object was put into the quarantine");
    Ok(())
}

/// The key in the quarantine. One that a store might read differently is written in a form that means nothing to it: `..` would lead out
/// of the quarantine, and what ends with a slash is a folder to some.
fn key_in(folder: &str, key: &str, room: usize) -> String {
    let plain = cut(&format!("{folder}{key}"), room).to_owned();
    if !plain.ends_with('/') && check_text(&plain, OddKeys::Refuse).is_ok() {
        return plain;
    }
    cut(&format!("{folder}{}", encode_query(key).replace('.', "%2E")), room).to_owned()
}

/// The beginning of a text, in whole characters.
fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

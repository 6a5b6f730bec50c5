//! Reads an object of the store through the inspectors.

use std::sync::Arc;

use http::header::CONTENT_ENCODING;
use http_body::Body;

use super::complete::terms;
use super::hidden::{Found, Hidden};
use crate::inspect::{Direction, Outcome, Subject};
use crate::limits::declared_type;
use crate::multipart::Carrier;
use crate::respond::Refusal;
use crate::respond::store_answer::bad_answer;
use crate::respond::withheld::look_through;

/// Looks at a hidden object under the rule of its call.
///
/// # Errors
/// [`Refusal`] if there is no place at an inspector, or the store does not give all bytes.
pub async fn at(hidden: &Hidden<'_>, found: &Found, request_id: &str) -> Result<Arc<Outcome>, Refusal> {
    let carrier = hidden.carrier;
    // The place first: meanwhile no connection of the store waits.
    let inspection = carrier.staging.inspectors.open(terms(carrier)?, subject(carrier, request_id, found)).await?;
    let body = hidden.read(found).await?.body;
    // An object of declared length ends with it, or with an error: then nothing was looked at.
    if body.size_hint().exact() != Some(found.length) {
        return Err(bad_answer(&format!("not an object of {} bytes", found.length)));
    }
    look_through(body, inspection).await.map_err(|error| bad_answer(&error))
}

/// The object as inspectors are told of it.
fn subject(carrier: &Carrier, request_id: &str, found: &Found) -> Subject {
    let permit = carrier.admission.permit();
    let resource = &permit.call().resource;
    let encoding = found.headers.get(CONTENT_ENCODING).and_then(|value| value.to_str().ok());
    Subject {
        request_id: request_id.to_owned(),
        principal: permit.caller().principal().as_str().to_owned(),
        bucket: resource.bucket().map(|bucket| bucket.name.clone()).unwrap_or_default(),
        key: resource.key().map(|key| key.as_str().to_owned()).unwrap_or_default(),
        media_type: declared_type(&found.headers),
        content_encoding: encoding.map(str::to_owned),
        length: Some(found.length),
        direction: Direction::Upload,
    }
}

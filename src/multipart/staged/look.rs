//! Reads an object of the store through the inspectors.

use std::future::poll_fn;
use std::sync::Arc;

use http::header::CONTENT_ENCODING;
use http_body_util::BodyExt;

use super::complete::terms;
use super::hidden::{Found, Hidden};
use crate::inspect::{Direction, Inspection, Outcome, Subject};
use crate::limits::declared_type;
use crate::multipart::{Carrier, bad_answer};
use crate::respond::Refusal;
use crate::upstream::ReplyBody;

/// Looks at a hidden object under the rule of its call.
///
/// # Errors
/// [`Refusal`] if there is no place at an inspector, or the store does not give all bytes.
pub async fn at(hidden: &Hidden<'_>, found: &Found, request_id: &str) -> Result<Arc<Outcome>, Refusal> {
    let carrier = hidden.carrier;
    // The place first: meanwhile no connection of the store waits.
    let inspection = carrier.staging.inspectors.open(terms(carrier)?, subject(carrier, request_id, found)).await?;
    let reply = hidden.read(found).await?;
    through(inspection, reply.body, found.length).await
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

/// Shows the inspectors `length` bytes, and waits for what they come to. Not one more piece is in memory than the slowest of them has.
///
/// # Errors
/// [`Refusal`] if the store does not give all bytes: then nothing was looked at.
async fn through(mut inspection: Inspection, mut body: ReplyBody, length: u64) -> Result<Arc<Outcome>, Refusal> {
    let mut seen: u64 = 0;
    loop {
        poll_fn(|context| inspection.poll_ready(context)).await;
        if let Some(outcome) = inspection.outcome_now() {
            return Ok(Arc::clone(outcome));
        }
        let Some(frame) = body.frame().await else { break };
        let Ok(bytes) = frame.map_err(|error| bad_answer(&error))?.into_data() else { continue };
        seen += bytes.len() as u64;
        inspection.push(&bytes);
    }
    if seen != length {
        return Err(bad_answer(&format!("an object of {length} bytes ended after {seen}")));
    }
    inspection.end();
    Ok(poll_fn(|context| inspection.poll_outcome(context)).await)
}

//! A store's answer of success that is read whole before it means anything: how much, for how long, and what becomes of one that is
//! something else than what was asked for.

use std::fmt::Display;
use std::time::Duration;

use bytes::Bytes;

use crate::bounded;
use crate::respond::refusal::{Refusal, RefusalKind};
use crate::respond::relay::error_in_success;
use crate::s3::xml::Element;
use crate::s3::{S3Call, S3ErrorCode};
use crate::upstream::ReplyBody;

/// Collects an answer of at most so many bytes, which follow their head within this time.
///
/// # Errors
/// [`Refusal`] if there are more, or they do not come.
pub async fn collect(body: ReplyBody, limit: usize, time: Duration) -> Result<Bytes, Refusal> {
    let collected = tokio::time::timeout(time, bounded::collect(body, limit)).await;
    collected.map_err(|error| bad_answer(&error))?.map_err(|error| bad_answer(&error))
}

/// Collects an answer that is a document. An error may stand in a 200, when the store had already begun to answer.
///
/// # Errors
/// As [`collect`]; [`Refusal`] if it is an error to the call, or no document.
pub async fn read_document(body: ReplyBody, limit: usize, time: Duration, call: &S3Call) -> Result<Element, Refusal> {
    let document = collect(body, limit, time).await?;
    let text = std::str::from_utf8(&document).map_err(|error| bad_answer(&error))?;
    let root = Element::parse(text.trim_start()).map_err(|error| bad_answer(&error))?;
    if root.name == "Error" { Err(error_in_success(&root, call)) } else { Ok(root) }
}

/// The refusal of a call to which the store answered with something else; `error` says with what.
pub fn bad_answer(error: &dyn Display) -> Refusal {
    let message = "The store answered with something else than it was asked for.";
    Refusal::new(S3ErrorCode::BadGateway, RefusalKind::Upstream, message, error)
}

//! Reads an object of the store through the inspectors.

use std::future::poll_fn;
use std::sync::Arc;

use http_body_util::BodyExt;

use crate::inspect::{Inspection, Outcome};
use crate::multipart::bad_answer;
use crate::respond::Refusal;
use crate::upstream::ReplyBody;

/// Shows the inspectors `length` bytes, and waits for what they come to. Not one more piece is in memory than the slowest of them has.
///
/// # Errors
/// [`Refusal`] if the store does not give all bytes: then nothing was looked at.
pub async fn through(mut inspection: Inspection, mut body: ReplyBody, length: u64) -> Result<Arc<Outcome>, Refusal> {
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

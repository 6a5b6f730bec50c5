//! An object in one piece whose verdict decides where it goes, or with which mark: stored at a hidden key while it is looked at, then copied.

use std::sync::Arc;

use http::header::ETAG;
use http::{HeaderMap, HeaderValue};

use super::complete::{gone, settle};
use super::hidden::Hidden;
use super::{Done, Seat, Way, internal, kept, wait};
use crate::audit::Ticket;
use crate::inspect::Outcome;
use crate::multipart::{Carrier, calls};
use crate::respond::late::UpstreamNote;
use crate::respond::{Refusal, Reply, local};
use crate::sign::staged::kept_headers;

const VERSION: &str = "x-amz-version-id";

/// How a PutObject begins: at a hidden key, if its rule marks objects or has a quarantine. Then its way from there has its place before the
/// first byte, so that nothing is stored in vain.
///
/// # Errors
/// [`Refusal`] if a header cannot be kept until the end, or there is no place.
pub fn begin_put(carrier: Carrier) -> Result<(Carrier, Option<Seat>), Refusal> {
    let terms = carrier.admission.terms().inspection.as_ref();
    if !terms.is_some_and(|terms| terms.needs_staging()) {
        return Ok((carrier, None));
    }
    kept(kept_headers(&carrier.admission)?)?;
    let seat = carrier.staging.places.take(carrier.principal())?;
    Ok((carrier.with_hidden_key(), Some(seat)))
}

/// Brings an object to its place that was stored at a hidden key and has its verdicts. `stored` is the answer to that; an object that went
/// to its place at once is done.
///
/// # Errors
/// [`Refusal`] if the object is not accepted there, or the store fails.
pub async fn finish_put(
    carrier: Carrier,
    seat: Option<Seat>,
    outcome: Option<Arc<Outcome>>,
    stored: Reply,
    ticket: &mut Ticket,
) -> Result<Reply, Refusal> {
    let Some(key) = carrier.hidden.clone() else { return Ok(stored) };
    let mut headers = calls::for_document(stored.headers());
    headers.remove(VERSION);
    drop(stored);
    let outcome = outcome.ok_or_else(|| internal("a hidden object without verdicts"))?;
    let seen = {
        let (staging, request_id) = (Arc::clone(&carrier.staging), ticket.request_id().to_owned());
        let principal = carrier.principal().to_owned();
        let way = Way { key, request_id: request_id.clone(), principal, asked: None, seat };
        staging.run(way, async move {
            let mut upstream = None;
            let outcome = publish(&carrier, &outcome, &request_id, &mut upstream).await;
            Done { outcome: outcome.map(|headers| (headers, String::new())), inspection: None, upstream }
        })?
    };
    let finished = wait(seen).await;
    if let Some(upstream) = &finished.upstream {
        upstream.note_on(ticket);
    }
    headers.extend(finished.outcome?.0);
    let mut reply = local::empty();
    *reply.headers_mut() = headers;
    Ok(reply)
}

/// What of the headers is the final object's own.
async fn publish(
    carrier: &Carrier,
    outcome: &Arc<Outcome>,
    request_id: &str,
    upstream: &mut Option<UpstreamNote>,
) -> Result<HeaderMap, Refusal> {
    let hidden = Hidden::of(carrier)?;
    let found = hidden.head().await?.ok_or_else(gone)?;
    let kept = kept(kept_headers(&carrier.admission)?)?;
    let settled = settle(&hidden, &found, outcome, None, &kept, request_id, upstream).await;
    // Nobody comes back for it, whatever that came to: the client would send the object again.
    hidden.remove(Some(&found)).await;
    let published = settled?;
    let mut headers = HeaderMap::new();
    if let Some(version) = published.headers.get(VERSION) {
        headers.insert(VERSION, version.clone());
    }
    if let Ok(etag) = HeaderValue::from_str(&published.etag) {
        headers.insert(ETAG, etag);
    }
    Ok(headers)
}

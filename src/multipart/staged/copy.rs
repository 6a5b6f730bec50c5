//! CopyObject into a place where objects are inspected: copied to a hidden key, looked at there, then brought to its place.
//!
//! The source itself may be replaced between a look at it and its copy, and Ceph RGW 16 overlooks the condition that should forbid that.
//! Nobody replaces the hidden object.

use std::sync::Arc;

use http::HeaderMap;

use super::complete::{gone, settle};
use super::hidden::{Found, Hidden};
use super::publish::Published;
use super::{Done, Way, internal, kept, look, wait};
use crate::audit::Ticket;
use crate::body::Fault;
use crate::inspect::file_type::{self, WINDOW};
use crate::limits::declared_type;
use crate::multipart::Carrier;
use crate::multipart::calls::for_document;
use crate::respond::late;
use crate::respond::{Refusal, Reply};
use crate::s3::CopySource;
use crate::s3::xml::XmlWriter;
use crate::sign::Outbound;
use crate::sign::staged::divide;

/// Copies a source that was authorised and held to the terms; `headers` are those of the new object.
///
/// # Errors
/// [`Refusal`] if the content is not acceptable, or the store fails.
pub async fn copy(
    carrier: &Carrier,
    source: &CopySource,
    headers: HeaderMap,
    resource: &str,
    ticket: &mut Ticket,
) -> Result<Reply, Refusal> {
    let carrier = carrier.with_hidden_key();
    let key = carrier.hidden.clone().ok_or_else(|| internal("no hidden key"))?;
    let (hidden_headers, last) = divide(headers);
    let kept = kept(last)?;
    let outbound = carrier.signer.prepare_copy(
        &carrier.admission,
        &carrier.bucket,
        carrier.hidden.as_ref(),
        source,
        &[],
        hidden_headers,
    )?;
    let seen = {
        let (staging, request_id) = (Arc::clone(&carrier.staging), ticket.request_id().to_owned());
        let principal = carrier.principal().to_owned();
        let way = Way { key, request_id: request_id.clone(), principal, asked: None, seat: None };
        staging.run(way, async move {
            let mut done = Done { outcome: Err(internal("not run")), inspection: None, upstream: None };
            let published = publish(&carrier, outbound, &kept, &request_id, &mut done).await;
            done.outcome = published.map(|published| (for_document(&published.headers), document(&published)));
            done
        })?
    };
    late::answer(Box::pin(wait(seen)), resource.to_owned(), ticket).await
}

async fn publish(
    carrier: &Carrier,
    outbound: Outbound,
    kept: &[(String, String)],
    request_id: &str,
    done: &mut Done,
) -> Result<Published, Refusal> {
    let (upstream, copied) = carrier.fetch_document(outbound).await;
    done.upstream = upstream;
    copied?;
    let hidden = Hidden::of(carrier)?;
    let found = hidden.head().await?.ok_or_else(gone)?;
    let settled = look_and_settle(&hidden, &found, kept, request_id, done).await;
    // Nobody comes back for it, whatever that came to: the client would begin another copy.
    hidden.remove(Some(&found)).await;
    settled
}

async fn look_and_settle(
    hidden: &Hidden<'_>,
    found: &Found,
    kept: &[(String, String)],
    request_id: &str,
    done: &mut Done,
) -> Result<Published, Refusal> {
    check_again(hidden, found).await?;
    let outcome = look::at(hidden, found, request_id).await?;
    done.inspection = Some(Arc::clone(&outcome));
    settle(hidden, found, &outcome, None, kept, request_id, &mut done.upstream).await
}

/// Holds what was copied to the terms once more: on a store that overlooks the pin it may be another object than the one that was looked at.
async fn check_again(hidden: &Hidden<'_>, found: &Found) -> Result<(), Refusal> {
    let admission = &hidden.carrier.admission;
    admission.check_copied_part(found.length)?;
    if admission.terms().check_bytes {
        let first = hidden.first_bytes(found, WINDOW).await?;
        file_type::check(declared_type(&found.headers).as_deref(), &first).map_err(Fault::from)?;
    }
    Ok(())
}

fn document(published: &Published) -> String {
    let mut xml = XmlWriter::new("CopyObjectResult", true);
    if !published.last_modified.is_empty() {
        xml.text("LastModified", &published.last_modified);
    }
    xml.text("ETag", &published.etag);
    for (element, value) in &published.checksums {
        xml.text(element, value);
    }
    xml.finish()
}

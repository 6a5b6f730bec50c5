//! Calls whose body or answer is an XML document: batch deletes, tags, attributes.
//!
//! What a client sends was read strictly and is written anew; what the store answers is read whole, within a bound, and written anew in
//! public terms. Nothing of either document is passed on as it came.

pub mod attributes;
pub mod delete_objects;
pub mod tagging;

use std::time::Duration;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG};
use http::response::Parts;
use http::{HeaderMap, StatusCode};

use crate::audit::Ticket;
use crate::limits::Admission;
use crate::respond::store_answer::{bad_answer, read_document};
use crate::respond::{Refusal, Reply, headers, local, relay};
use crate::s3::Bucket;
use crate::s3::xml::Element;
use crate::sign::{Outbound, Signer};
use crate::upstream::{UpstreamReply, Upstreams};

/// Longest time for a document behind its head.
const ANSWER_TIME: Duration = Duration::from_secs(120);

/// One admitted call on its way to the store and back.
#[derive(Debug, Clone, Copy)]
pub struct Errand<'a> {
    /// Signs the request.
    pub signer: &'a Signer,
    /// Sends it.
    pub upstreams: &'a Upstreams,
    /// The admitted call.
    pub admission: &'a Admission,
    /// Where it goes.
    pub bucket: &'a Bucket,
}

impl Errand<'_> {
    /// Prepares the call as it is, without a body.
    fn prepare(&self) -> Result<Outbound, Refusal> {
        let query = &self.admission.permit().call().query;
        Ok(self.signer.prepare(self.admission, self.bucket, query, None)?)
    }

    /// Sends a request; an error of the store is a refusal.
    async fn send(&self, outbound: Outbound, ticket: &mut Ticket) -> Result<UpstreamReply, Refusal> {
        let reply = self.upstreams.send(outbound).await?;
        ticket.note_upstream(&reply.upstream, reply.head.status.as_u16(), reply.first_byte);
        if reply.head.status.is_success() {
            return Ok(reply);
        }
        Err(relay::read_error(reply, self.admission.permit().call()).await)
    }

    /// Sends a request whose answer is a document of at most `limit` bytes. An error may stand in a 200.
    async fn send_for_document(
        &self,
        outbound: Outbound,
        limit: usize,
        ticket: &mut Ticket,
    ) -> Result<(Parts, Element), Refusal> {
        let reply = self.send(outbound, ticket).await?;
        self.read_document(reply, limit).await
    }

    async fn read_document(&self, reply: UpstreamReply, limit: usize) -> Result<(Parts, Element), Refusal> {
        if reply.head.status != StatusCode::OK {
            return Err(bad_answer(&reply.head.status));
        }
        let (head, call) = (reply.head, self.admission.permit().call());
        Ok((head, read_document(reply.body, limit, ANSWER_TIME, call).await?))
    }
}

/// An answer of ours with the headers of the store's that are about the object.
fn answer(xml: String, upstream: &HeaderMap) -> Reply {
    let mut reply = if xml.is_empty() { local::empty() } else { local::document(xml) };
    let mut passed = headers::for_client(upstream);
    for name in [CONTENT_LENGTH, CONTENT_TYPE, ETAG] {
        passed.remove(name);
    }
    reply.headers_mut().extend(passed);
    reply
}

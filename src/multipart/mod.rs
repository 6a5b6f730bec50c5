//! Objects that reach the store by more than one request: multipart uploads of clients, uploads whose length nobody declared, copies.

pub mod calls;
mod copied_part;
pub mod copy;
pub mod staged;
pub mod unknown_length;

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::response::Parts;

use crate::audit::Ticket;
use crate::base::Sealer;
use crate::limits::Admission;
use crate::multipart::staged::Staging;
use crate::respond::late::UpstreamNote;
use crate::respond::store_answer::read_document;
use crate::respond::{Refusal, relay};
use crate::rules::UploadSeal;
use crate::s3::xml::Element;
use crate::s3::{Bucket, StagingKey};
use crate::sign::{MultipartStep, Outbound, Signer};
use crate::upstream::{UpstreamReply, Upstreams};

/// Largest document read from a store. A page of 1,000 parts has about 300 KB.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;
/// Longest time for it behind its head. S3 sends blanks for minutes while it puts a large object together.
const ANSWER_TIME: Duration = Duration::from_secs(600);

/// What carries out the requests of one admitted call.
#[derive(Clone)]
pub struct Carrier {
    /// Signs the requests.
    pub signer: Arc<Signer>,
    /// Sends them.
    pub upstreams: Arc<Upstreams>,
    /// The admitted call.
    pub admission: Arc<Admission>,
    /// Where it goes.
    pub bucket: Arc<Bucket>,
    /// The hidden key that stands for the call's own until the verdict.
    pub hidden: Option<StagingKey>,
    /// What is on its way from hidden keys.
    pub staging: Arc<Staging>,
    /// The bucket of the rule's quarantine.
    pub quarantine: Option<Arc<Bucket>>,
}

impl Carrier {
    async fn send(&self, step: MultipartStep<'_>) -> Result<UpstreamReply, Refusal> {
        Ok(self.upstreams.send(self.prepare(step)?).await?)
    }

    fn prepare(&self, step: MultipartStep<'_>) -> Result<Outbound, Refusal> {
        Ok(self.signer.prepare_step(&self.admission, &self.bucket, self.hidden.as_ref(), step)?)
    }

    /// Sends a request whose answer is a document. An error may stand in a 200, when the store had already begun to answer.
    async fn send_for_document(
        &self,
        step: MultipartStep<'_>,
        ticket: &mut Ticket,
    ) -> Result<(Parts, Element), Refusal> {
        let outbound = self.prepare(step)?;
        let (upstream, outcome) = self.fetch_document(outbound).await;
        if let Some(upstream) = upstream {
            upstream.note_on(ticket);
        }
        outcome
    }

    /// As [`Carrier::send_for_document`], for a prepared request, and with what the audit record wants to know.
    async fn fetch_document(&self, outbound: Outbound) -> (Option<UpstreamNote>, Result<(Parts, Element), Refusal>) {
        match self.upstreams.send(outbound).await {
            Ok(reply) => (Some(note_of(&reply)), self.read_document(reply).await),
            Err(error) => (None, Err(error.into())),
        }
    }

    async fn read_document(&self, reply: UpstreamReply) -> Result<(Parts, Element), Refusal> {
        if reply.head.status != StatusCode::OK {
            return Err(relay::read_error(reply, self.admission.permit().call()).await);
        }
        let (head, call) = (reply.head, self.admission.permit().call());
        Ok((head, read_document(reply.body, MAX_ANSWER_BYTES, ANSWER_TIME, call).await?))
    }

    /// Seals and opens upload ids. The key comes from the upstream's secret, so every replica with the same secret has it.
    fn sealer(&self) -> Result<Sealer, Refusal> {
        Ok(self.signer.sealer(&self.bucket, UploadSeal::PURPOSE)?)
    }
}

fn note_of(reply: &UpstreamReply) -> UpstreamNote {
    UpstreamNote { name: reply.upstream.to_string(), status: reply.head.status.as_u16(), first_byte: reply.first_byte }
}

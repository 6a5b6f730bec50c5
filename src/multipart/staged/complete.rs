//! CompleteMultipartUpload of an upload whose parts are hidden: put together, looked at, brought to its place.
//!
//! Each step finds out from the store how far the one before came, so any number of attempts, by any number of gateways, comes to the same.

use std::sync::Arc;

use super::hidden::{Found, Hidden, Record, StoredPart};
use super::publish::{self, Goal};
use super::{Done, Way, internal, look, quarantine, wait};
use crate::audit::Ticket;
use crate::body::Fault;
use crate::inspect::{Action, InspectionTerms, Mark, Outcome, VerdictState};
use crate::multipart::Carrier;
use crate::multipart::calls;
use crate::respond::late::{self, UpstreamNote};
use crate::respond::{Refusal, RefusalKind, Reply};
use crate::rules::UploadSeal;
use crate::s3::S3ErrorCode;
use crate::s3::checksum::{ChecksumAlgorithm, RunningDigest};
use crate::s3::complete_upload::{self, CompletedPart};
use crate::s3::xml::XmlWriter;
use crate::sign::MultipartStep;

/// CompleteMultipartUpload; `parts` is the client's list, `resource` the path for an error that comes late.
///
/// # Errors
/// [`Refusal`] if the list, the sizes or the content are not acceptable, or the store fails.
pub async fn complete(
    carrier: Carrier,
    seal: UploadSeal,
    parts: Vec<CompletedPart>,
    resource: &str,
    ticket: &mut Ticket,
) -> Result<Reply, Refusal> {
    let key = carrier.hidden.clone().ok_or_else(|| internal("a staged upload without a hidden key"))?;
    let seen = {
        let staging = Arc::clone(&carrier.staging);
        let request_id = ticket.request_id().to_owned();
        let mut asked = RunningDigest::new(ChecksumAlgorithm::Sha256);
        asked.update(complete_upload::render(&parts).as_bytes());
        let asked = Some(asked.finish(ChecksumAlgorithm::Sha256.value_length()));
        let principal = carrier.principal().to_owned();
        let way = Way { key, request_id: request_id.clone(), principal, asked, seat: None };
        let completion = Completion { carrier, seal, parts, request_id };
        staging.run(way, async move { completion.run().await })?
    };
    late::answer(Box::pin(wait(seen)), resource.to_owned(), ticket).await
}

struct Completion {
    carrier: Carrier,
    seal: UploadSeal,
    parts: Vec<CompletedPart>,
    request_id: String,
}

impl Completion {
    async fn run(&self) -> Done {
        let mut done = Done { outcome: Err(internal("not run")), inspection: None, upstream: None };
        done.outcome = match self.publish(&mut done).await {
            Ok(published) => Ok((calls::for_document(&published.headers), self.document(&published))),
            Err(refusal) => Err(refusal),
        };
        done
    }

    async fn publish(&self, done: &mut Done) -> Result<publish::Published, Refusal> {
        let hidden = Hidden::of(&self.carrier)?;
        let parts = self.assemble(&hidden).await?;
        let found = hidden.head().await?.ok_or_else(gone)?;
        let outcome = look::at(&hidden, &found, &self.request_id).await?;
        done.inspection = Some(Arc::clone(&outcome));
        let staged = self.seal.staging.as_ref().ok_or_else(|| internal("a staged upload without its seal"))?;
        let (parts, kept) = (parts.as_deref(), &staged.headers);
        let settled = settle(&hidden, &found, &outcome, parts, kept, &self.request_id, &mut done.upstream).await;
        // After a failure of the store the next attempt needs it. So it does if no inspector could look: nothing is wrong with it that
        // anybody knows of, and it may have taken hours to come.
        let is_over = settled.as_ref().err().is_none_or(|refusal| refusal.kind == RefusalKind::Blocked);
        if is_over && !outcome.is_undecided() {
            hidden.remove(Some(&found)).await;
        }
        settled
    }

    /// Puts the hidden object together, unless that was done before. Gives the parts that it is made of, if they can be told.
    async fn assemble(&self, hidden: &Hidden<'_>) -> Result<Option<Vec<StoredPart>>, Refusal> {
        if let Some(found) = hidden.head().await? {
            let record = hidden.record().await;
            calls::check_resumed(&self.carrier, &self.parts, &record.parts, found.length)?;
            if let Some(copy) = &record.copy {
                hidden.abandon(copy).await;
            }
            return Ok(Some(record.parts).filter(|parts| !parts.is_empty()));
        }
        let stored = calls::stored_parts(&self.carrier, &self.seal, None).await?;
        let parts = calls::hold_to_terms(&self.carrier, &self.parts, &stored);
        if parts.as_ref().is_err_and(|refusal| refusal.code == S3ErrorCode::EntityTooLarge) {
            drop(self.carrier.send(MultipartStep::Abort { upload_id: &self.seal.upload_id }).await);
            hidden.remove(None).await;
        }
        let parts = parts?;
        hidden.note(&Record { parts: parts.clone(), copy: None }).await?;
        let document = complete_upload::render(&self.parts);
        let step = MultipartStep::Complete { upload_id: &self.seal.upload_id, document };
        let outbound = self.carrier.prepare(step)?;
        match self.carrier.fetch_document(outbound).await {
            (_, Ok(_)) => Ok(Some(parts)),
            // The answer of the store may be lost although it did what was asked.
            (_, Err(refusal)) => match hidden.head().await {
                Ok(Some(_)) => Ok(Some(parts)),
                // It may still be at it. What was written down is for the next attempt.
                Ok(None) | Err(_) => Err(refusal),
            },
        }
    }

    fn document(&self, published: &publish::Published) -> String {
        let call = self.carrier.admission.permit().call();
        let mut xml = XmlWriter::new("CompleteMultipartUploadResult", true);
        xml.text("Location", &calls::location(call));
        calls::name(&mut xml, call);
        xml.text("ETag", &published.etag);
        for (element, value) in &published.checksums {
            xml.text(element, value);
        }
        xml.finish()
    }
}

/// Brings a hidden object to where its verdict leads it. It stays at its hidden key; when to remove it is the caller's to know.
///
/// # Errors
/// [`Refusal`], blocked if its verdict does not lead to its place, or it has no room for its mark; of another kind if the store fails.
pub(super) async fn settle(
    hidden: &Hidden<'_>,
    found: &Found,
    outcome: &Arc<Outcome>,
    parts: Option<&[StoredPart]>,
    kept: &[(String, String)],
    request_id: &str,
    upstream: &mut Option<UpstreamNote>,
) -> Result<publish::Published, Refusal> {
    let carrier = hidden.carrier;
    let refused = || Refusal::from(Fault::Inspection(Arc::clone(outcome)));
    match outcome.action {
        Action::Refuse => Err(refused()),
        Action::Quarantine => {
            quarantine::keep(hidden, found, outcome, request_id).await?;
            Err(refused())
        }
        Action::Mark => {
            let mark = Some((&terms(carrier)?.mark, outcome.state));
            publish::publish(hidden, found, Goal { parts, kept, mark }, upstream).await
        }
        Action::Allow => publish::publish(hidden, found, Goal { parts, kept, mark: None }, upstream).await,
    }
}

/// A mark, and the state that it says.
pub(super) type Marking<'a> = (&'a Mark, VerdictState);

pub(super) fn terms(carrier: &Carrier) -> Result<&InspectionTerms, Refusal> {
    carrier.admission.terms().inspection.as_deref().ok_or_else(|| internal("a staged object without inspection"))
}

pub(super) fn gone() -> Refusal {
    let message = "The upload does not exist.";
    Refusal::new(S3ErrorCode::NoSuchUpload, RefusalKind::Upstream, message, "the hidden object is gone")
}

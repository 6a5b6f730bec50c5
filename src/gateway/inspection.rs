//! Inspection of what is uploaded: which objects, by whom, and what the audit record says of it.

use std::sync::Arc;

use super::{Gateway, Remains, internal};
use crate::audit::Ticket;
use crate::body::{Destination, Fault, UploadBody};
use crate::downloads::Reader;
use crate::inspect::{Circumstances, Direction, Inspection, KnownBy, ObjectId, Subject};
use crate::limits::Admission;
use crate::multipart::Carrier;
use crate::respond::{Refusal, Reply, inspected};
use crate::s3::{Bucket, Operation};
use crate::upstream::UpstreamReply;

impl Gateway {
    /// The bucket where the rule of a call has its quarantine.
    pub(super) fn quarantine_of(&self, admission: &Admission) -> Option<Arc<Bucket>> {
        self.buckets.get(&admission.terms().inspection.as_ref()?.quarantine.as_ref()?.bucket)
    }

    /// Begins to inspect an upload, if its rule wants that; nothing of the body is read yet. Without a place at an inspector, or if one rests
    /// that must not, the request is refused by its head. `content_encoding` is that of the object, which a part does not say itself.
    ///
    /// # Errors
    /// [`Refusal`] if there is no place, or the outcome is there already.
    pub(super) async fn open_inspection(
        &self,
        admission: &Admission,
        destination: Destination,
        content_encoding: Option<String>,
        ticket: &mut Ticket,
    ) -> Result<Option<(Inspection, Destination)>, Refusal> {
        let Some(terms) = admission.terms().inspection.as_ref().filter(|terms| terms.uploads) else { return Ok(None) };
        let subject = subject(admission, content_encoding, ticket);
        // Boxed, since few requests go this way and all would carry the room for it.
        let inspection = Box::pin(self.inspectors.open(terms, subject)).await?;
        match inspection.outcome_now().filter(|outcome| !destination.takes(outcome.action)) {
            Some(outcome) => {
                ticket.note_inspection(inspected::note_of(outcome));
                Err(Fault::Inspection(Arc::clone(outcome)).into())
            }
            None => Ok(Some((inspection, destination))),
        }
    }

    /// What the verdict about a written object depends on, if it could be remembered for its readers.
    pub(super) fn upload_digest(&self, admission: &Admission) -> Option<String> {
        let terms = admission.terms();
        let inspection =
            terms.inspection.as_ref().filter(|inspection| inspection.uploads && !inspection.needs_staging())?;
        // With headers of the rule it is not stored as it was looked at.
        let as_it_is = admission.permit().call().operation == Operation::PutObject && terms.set_headers.is_empty();
        let resource = &admission.permit().call().resource;
        let circumstances = Circumstances {
            principal: admission.permit().caller().principal().as_str(),
            bucket: resource.bucket().map_or("", |bucket| &bucket.name),
            key: resource.key().map_or("", |key| key.as_str()),
            // So an inspector that regards the direction looks again when the object is read.
            direction: Direction::Upload,
        };
        as_it_is.then(|| self.inspectors.version_digest(inspection, &circumstances))
    }

    /// Remembers what was found in an object that is stored now, if the store keeps versions: of others it does not tell the time of
    /// modification, and the ETag is not enough.
    pub(super) fn remember_upload(&self, carrier: &Carrier, digest: &str, reply: &UpstreamReply, remains: &Remains) {
        let call = carrier.admission.permit().call();
        let text = |name: &str| reply.head.headers.get(name).and_then(|value| value.to_str().ok());
        let outcome = remains.upload.as_ref().and_then(|upload| upload.outcome());
        let length = call.upload.as_ref().and_then(|upload| upload.length);
        let version_id = text("x-amz-version-id").filter(|version| *version != "null");
        let (Some(outcome), Some(length), Some(etag), Some(key), true) = (
            outcome,
            length,
            text("etag"),
            call.resource.key(),
            version_id.is_some() && reply.head.status.is_success(),
        ) else {
            return;
        };
        let Bucket { route, upstream_bucket, upstream_prefix, .. } = carrier.bucket.as_ref();
        let object = ObjectId::new(&KnownBy {
            upstream: &self.signer.route(*route).name,
            bucket: upstream_bucket,
            key: &format!("{upstream_prefix}{}", key.as_str()),
            etag,
            version_id,
            last_modified: None,
            length,
            digest,
        });
        self.verdicts.keep(object, outcome);
    }

    /// Gives out an object that its rule wants looked at before.
    pub(super) async fn inspected_download(&self, carrier: &Carrier, ticket: &mut Ticket) -> Result<Reply, Refusal> {
        let terms = carrier.admission.terms().inspection.as_deref();
        let Some((terms, ways)) = terms.and_then(|terms| Some((terms, terms.downloads?))) else {
            return Err(internal("a download without its terms"));
        };
        let reader = Reader {
            signer: &self.signer,
            upstreams: &self.upstreams,
            admission: &carrier.admission,
            bucket: &carrier.bucket,
            inspectors: &self.inspectors,
            memory: &self.verdicts,
            held: &self.held,
            terms,
            ways,
        };
        reader.get(ticket).await
    }
}

/// Whether an object is looked at when it is read.
pub(super) fn is_inspected(admission: &Admission) -> bool {
    admission.terms().inspection.as_ref().is_some_and(|terms| terms.downloads.is_some())
}

/// Shows an upload to its inspectors. What they come to is in the audit record, however the upload ends.
pub(super) fn inspect(
    body: &mut UploadBody,
    (inspection, destination): (Inspection, Destination),
    ticket: &mut Ticket,
) {
    body.inspect(inspection, destination);
    let watch = Arc::clone(body.watch());
    ticket.expect_inspection(Arc::new(move || watch.outcome().map(|outcome| inspected::note_of(outcome))));
}

fn subject(admission: &Admission, content_encoding: Option<String>, ticket: &Ticket) -> Subject {
    let (permit, upload) = (admission.permit(), admission.upload());
    let resource = &permit.call().resource;
    Subject {
        request_id: ticket.request_id().to_owned(),
        principal: permit.caller().principal().as_str().to_owned(),
        bucket: resource.bucket().map(|bucket| bucket.name.clone()).unwrap_or_default(),
        key: resource.key().map(|key| key.as_str().to_owned()).unwrap_or_default(),
        media_type: upload.media_type.as_ref().map(|media_type| media_type.as_str().to_owned()),
        content_encoding: content_encoding.or_else(|| upload.content_encoding.clone()),
        length: upload.length,
        direction: Direction::Upload,
    }
}

//! Inspection of what is uploaded: which objects, by whom, and what the audit record says of it.

use std::sync::Arc;

use super::Gateway;
use crate::audit::Ticket;
use crate::body::{Destination, Fault, UploadBody};
use crate::inspect::{Direction, Inspection, InspectionTerms, MultipartInspection, Subject};
use crate::limits::Admission;
use crate::respond::{Refusal, RefusalKind, inspected};
use crate::s3::{Bucket, Operation, S3ErrorCode};

impl Gateway {
    /// The bucket where the rule of a call has its quarantine.
    pub(super) fn quarantine_of(&self, admission: &Admission) -> Option<Arc<Bucket>> {
        self.buckets.get(&admission.terms().inspection.as_ref()?.quarantine.as_ref()?.bucket)
    }

    /// Begins to inspect an upload, if its rule wants that; nothing of the body is read yet. Without a place at an inspector, or if one rests
    /// that must not, the request is refused by its head.
    ///
    /// # Errors
    /// [`Refusal`] if there is no place, or the outcome is there already.
    pub(super) async fn open_inspection(
        &self,
        admission: &Admission,
        ticket: &mut Ticket,
    ) -> Result<Option<Inspection>, Refusal> {
        let Some(terms) = admission.terms().inspection.as_ref().filter(|terms| terms.uploads) else { return Ok(None) };
        let subject = subject(admission, ticket);
        // Boxed, since few requests go this way and all would carry the room for it.
        let inspection = Box::pin(self.inspectors.open(terms, subject)).await?;
        match inspection.outcome_now().filter(|outcome| !Destination::Final.takes(outcome.action)) {
            Some(outcome) => {
                ticket.note_inspection(inspected::note_of(outcome));
                Err(Fault::Inspection(Arc::clone(outcome)).into())
            }
            None => Ok(Some(inspection)),
        }
    }
}

/// Shows an upload to its inspectors. What they come to is in the audit record, however the upload ends.
pub(super) fn inspect(body: &mut UploadBody, inspection: Inspection, ticket: &mut Ticket) {
    body.inspect(inspection, Destination::Final);
    let watch = Arc::clone(body.watch());
    ticket.expect_inspection(Arc::new(move || watch.outcome().map(|outcome| inspected::note_of(outcome))));
}

/// Refuses what would store bytes that no inspector has seen.
///
/// # Errors
/// [`Refusal`] if the rule wants them seen.
pub(super) fn check_served(admission: &Admission) -> Result<(), Refusal> {
    let Some(terms) = admission.terms().inspection.as_ref().filter(|terms| terms.uploads) else { return Ok(()) };
    let operation = admission.permit().call().operation;
    let served = match operation {
        Operation::PutObject => !terms.needs_staging(),
        Operation::CopyObject => false,
        Operation::UploadPartCopy => !is_per_part(terms),
        _ => true,
    };
    if served {
        return Ok(());
    }
    let message = "This operation is not served where objects are inspected.";
    let reason = format!("{} cannot be inspected as the rule wants", operation.name());
    Err(Refusal::new(S3ErrorCode::NotImplemented, RefusalKind::Denied, message, reason))
}

fn is_per_part(terms: &InspectionTerms) -> bool {
    terms.multipart == MultipartInspection::PerPart
}

fn subject(admission: &Admission, ticket: &Ticket) -> Subject {
    let (permit, upload) = (admission.permit(), admission.upload());
    let resource = &permit.call().resource;
    Subject {
        request_id: ticket.request_id().to_owned(),
        principal: permit.caller().principal().as_str().to_owned(),
        bucket: resource.bucket().map(|bucket| bucket.name.clone()).unwrap_or_default(),
        key: resource.key().map(|key| key.as_str().to_owned()).unwrap_or_default(),
        media_type: upload.media_type.as_ref().map(|media_type| media_type.as_str().to_owned()),
        content_encoding: upload.content_encoding.clone(),
        length: upload.length,
        direction: Direction::Upload,
    }
}

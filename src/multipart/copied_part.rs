//! UploadPartCopy where each part has its own verdict: the source is read through the inspectors, and what they have seen is the part.
//!
//! A part that is copied inside the store cannot be read before the object is there, and the source could be replaced between a look at it
//! and its copy. So the bytes pass the gateway like those of an upload, and the last of them waits for the verdict. Nor is a source left
//! out because it lies where inspection is required today: nobody can tell under which rule, or past which gateway, it was stored.

use http::header::{CONTENT_LENGTH, ETAG};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::{BodyExt, Empty};

use crate::audit::Ticket;
use crate::base::{Clock, SystemClock, clock};
use crate::body::{Destination, Fault, StoreSource, UploadBody};
use crate::bounded;
use crate::inspect::{Direction, Subject};
use crate::multipart::calls::{self, for_document};
use crate::multipart::copy::source_of;
use crate::multipart::{Carrier, MAX_ANSWER_BYTES, note_of, staged};
use crate::respond::late::{self, Finished};
use crate::respond::store_answer::bad_answer;
use crate::respond::{Refusal, Reply, relay};
use crate::rules::UploadSeal;
use crate::s3::UploadHead;
use crate::s3::xml::XmlWriter;

/// A part that is made of a piece of another object.
pub(super) struct CopiedPart {
    pub number: u32,
    /// The upload that it belongs to.
    pub seal: UploadSeal,
    /// ETag of the source that was authorised.
    pub etag: HeaderValue,
    /// Its first byte in the source, and the one behind its last.
    pub within: (u64, u64),
}

/// Stores the part, if the inspectors allow it.
///
/// # Errors
/// [`Refusal`] if the content is not acceptable, or the store fails.
pub(super) async fn store(
    carrier: &Carrier,
    part: CopiedPart,
    resource: &str,
    ticket: &mut Ticket,
) -> Result<Reply, Refusal> {
    ticket.forget_upstream();
    let (carrier, request_id) = (carrier.clone(), ticket.request_id().to_owned());
    let work = async move {
        let mut finished = Finished { outcome: Ok(Default::default()), upstream: None, inspection: None };
        finished.outcome = part.run(&carrier, request_id, &mut finished).await;
        finished
    };
    late::answer(Box::pin(work), resource.to_owned(), ticket).await
}

impl CopiedPart {
    async fn run(
        self,
        carrier: &Carrier,
        request_id: String,
        finished: &mut Finished,
    ) -> Result<(HeaderMap, String), Refusal> {
        let (admission, length) = (&carrier.admission, self.within.1 - self.within.0);
        let terms = admission.terms().inspection.as_deref().ok_or_else(|| bad_answer(&"a part without inspection"))?;
        // The place first: meanwhile no connection of the store waits.
        let subject = self.subject(carrier, request_id, length);
        let inspection = carrier.staging.inspectors().open(terms, subject).await?;
        if let Some(outcome) = inspection.outcome_now().filter(|outcome| !Destination::Final.takes(outcome.action)) {
            finished.inspection = Some(outcome.clone());
            return Err(Fault::Inspection(outcome.clone()).into());
        }
        // Nobody declared a digest of the bytes.
        let head = UploadHead::plain(Some(length));
        let mut body_terms = admission.body_terms();
        if self.number == 1 && admission.terms().check_bytes {
            body_terms.check_type = Some(self.seal.media_type.clone());
        }
        let mut body = Box::new(UploadBody::of_store(&head, body_terms, self.read(carrier, length).await?));
        body.inspect(inspection, Destination::Final);
        let watch = body.watch().clone();
        let stored = async {
            body.prime().await?;
            let query = calls::part_query(self.number, self.seal.upload_id);
            let body = (body, length);
            Ok(carrier.signer.prepare_copied_part(admission, &carrier.bucket, &query, &head, body)?)
        };
        let sent = match stored.await {
            Ok(outbound) => carrier.upstreams.send(outbound).await.map_err(Refusal::from),
            Err(refusal) => Err(refusal),
        };
        finished.inspection = watch.outcome().cloned();
        let reply = sent?;
        finished.upstream = Some(note_of(&reply));
        if !reply.head.status.is_success() {
            return Err(relay::read_error(reply, admission.permit().call()).await);
        }
        let headers = reply.head.headers;
        // Read to the end, so that the connection can be used again.
        bounded::collect(reply.body, MAX_ANSWER_BYTES).await.map_err(|error| bad_answer(&error))?;
        let document = document(&headers)?;
        let mut headers = for_document(&headers);
        headers.remove(ETAG);
        Ok((headers, document))
    }

    /// The part as inspectors are told of it: like one that a client uploads.
    fn subject(&self, carrier: &Carrier, request_id: String, length: u64) -> Subject {
        let permit = carrier.admission.permit();
        let resource = &permit.call().resource;
        Subject {
            request_id,
            principal: permit.caller().principal().as_str().to_owned(),
            bucket: resource.bucket().map(|bucket| bucket.name.clone()).unwrap_or_default(),
            key: resource.key().map(|key| key.as_str().to_owned()).unwrap_or_default(),
            media_type: self.seal.media_type.clone(),
            content_encoding: self.seal.content_encoding.clone(),
            length: Some(length),
            direction: Direction::Upload,
        }
    }

    /// The bytes of the source, if it is still the object that was authorised.
    async fn read(&self, carrier: &Carrier, length: u64) -> Result<StoreSource, Refusal> {
        let Some(last) = self.within.1.checked_sub(1).filter(|_| length > 0) else {
            return Ok(Box::pin(Empty::new().map_err(|never| match never {})));
        };
        let call = carrier.admission.permit().call();
        let piece = Some(((self.within.0, last), &self.etag));
        let outbound = carrier.signer.prepare_source(&carrier.admission, source_of(call)?, piece)?;
        let reply = carrier.upstreams.send(outbound).await?;
        let whole = self.within.0 == 0 && reply.head.status == StatusCode::OK;
        if reply.head.status != StatusCode::PARTIAL_CONTENT && !whole {
            return Err(relay::read_error(reply, call).await);
        }
        let headers = &reply.head.headers;
        let told = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        if told != Some(length) || headers.get(ETAG) != Some(&self.etag) {
            return Err(bad_answer(&"another source than its head"));
        }
        Ok(Box::pin(reply.body.map_err(|error| {
            tracing::debug!(%error, "the source of a copied part broke off");
            Fault::SourceGone
        })))
    }
}

fn document(stored: &HeaderMap) -> Result<String, Refusal> {
    let etag = stored.get(ETAG).and_then(|value| value.to_str().ok());
    let mut xml = XmlWriter::new("CopyPartResult", true);
    xml.text("LastModified", &clock::rfc3339_millis(SystemClock.now()));
    xml.text("ETag", etag.ok_or_else(|| bad_answer(&"a part without ETag"))?);
    for (element, value) in staged::checksums_of(stored).iter().filter(|(element, _)| *element != "ChecksumType") {
        xml.text(element, value);
    }
    Ok(xml.finish())
}

//! Answers that a store takes long for: CompleteMultipartUpload, CopyObject, UploadPartCopy.
//!
//! An answer that comes soon has the status it deserves. Later than that the client, and every proxy on the way, must hear something: as
//! S3 does, a 200 begins, blanks follow one another, and what it came to stands at the end, an `<Error>` included. SDKs read it so.
//! Source: S3 API reference, CompleteMultipartUpload and CopyObject ("a 200 OK response can contain … an error").

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use tokio::time::{Instant, Sleep};

use crate::audit::Ticket;
use crate::inspect::Outcome;
use crate::respond::body::{AnswerBody, Reply, Source};
use crate::respond::inspected::note_of;
use crate::respond::local;
use crate::respond::refusal::Refusal;

/// How long a true status is waited for. Clients give up after a minute at the earliest.
const GRACE: Duration = Duration::from_secs(5);
/// Time between two blanks.
const BLANK_INTERVAL: Duration = Duration::from_secs(10);

const DECLARATION: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

/// What a slow request came to.
pub struct Finished {
    /// The headers for the client and the document, or why there is none.
    pub outcome: Result<(HeaderMap, String), Refusal>,
    /// What the store answered, if it did.
    pub upstream: Option<UpstreamNote>,
    /// What the inspectors of the object came to, if they were asked.
    pub inspection: Option<Arc<Outcome>>,
}

impl Finished {
    fn note_on(&self, ticket: &mut Ticket) {
        if let Some(upstream) = &self.upstream {
            upstream.note_on(ticket);
        }
        if let Some(outcome) = &self.inspection {
            ticket.note_inspection(note_of(outcome));
        }
    }
}

/// What the audit record says of a store's answer.
#[derive(Debug, Clone)]
pub struct UpstreamNote {
    /// Name of the upstream.
    pub name: String,
    /// Its status.
    pub status: u16,
    /// Time to its head.
    pub first_byte: Duration,
}

impl UpstreamNote {
    /// Writes it down.
    pub fn note_on(&self, ticket: &mut Ticket) {
        ticket.note_upstream(&self.name, self.status, self.first_byte);
    }
}

/// The work towards a document.
pub type Work = Pin<Box<dyn Future<Output = Finished> + Send>>;

/// Waits for a document, and answers with it, or with the beginning of an answer that ends with it.
///
/// `resource` is the path for an error document.
///
/// # Errors
/// [`Refusal`] if the work was refused before the answer had to begin.
pub async fn answer(mut work: Work, resource: String, ticket: &mut Ticket) -> Result<Reply, Refusal> {
    let Ok(finished) = tokio::time::timeout(GRACE, &mut work).await else {
        let late = LateBody::new(work, resource, BLANK_INTERVAL);
        let mut reply = Reply::new(AnswerBody::new(Source::Late(Box::new(late))));
        reply.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("application/xml"));
        return Ok(reply);
    };
    finished.note_on(ticket);
    let (headers, document) = finished.outcome?;
    let mut reply = local::document(document);
    reply.headers_mut().extend(headers);
    Ok(reply)
}

/// The body of an answer that has begun before its end is known.
pub struct LateBody {
    /// `None` when everything was given.
    work: Option<Work>,
    resource: String,
    blank_interval: Duration,
    pause: Option<Pin<Box<Sleep>>>,
    begun: bool,
}

impl LateBody {
    fn new(work: Work, resource: String, blank_interval: Duration) -> Self {
        Self { work: Some(work), resource, blank_interval, pause: None, begun: false }
    }

    /// The next text: the XML declaration first (nothing may stand before it), then blanks, then the rest of the document.
    pub fn poll_text(&mut self, context: &mut Context<'_>, ticket: Option<&mut Ticket>) -> Poll<Option<Bytes>> {
        let Some(work) = &mut self.work else { return Poll::Ready(None) };
        if !self.begun {
            self.begun = true;
            return Poll::Ready(Some(Bytes::from_static(DECLARATION.as_bytes())));
        }
        if let Poll::Ready(finished) = work.as_mut().poll(context) {
            self.work = None;
            return Poll::Ready(Some(self.ending(finished, ticket)));
        }
        let interval = self.blank_interval;
        let pause = self.pause.get_or_insert_with(|| Box::pin(tokio::time::sleep(interval)));
        if pause.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        pause.as_mut().reset(Instant::now() + interval);
        Poll::Ready(Some(Bytes::from_static(b"\n")))
    }

    /// Whether everything was given.
    pub fn is_end(&self) -> bool {
        self.work.is_none()
    }

    fn ending(&self, finished: Finished, ticket: Option<&mut Ticket>) -> Bytes {
        let request_id = ticket.as_ref().map_or(String::new(), |ticket| ticket.request_id().to_owned());
        let document = match &finished.outcome {
            Ok((_, document)) => document.clone(),
            Err(refusal) => refusal.document(&self.resource, &request_id),
        };
        if let Some(ticket) = ticket {
            finished.note_on(ticket);
            if let Err(refusal) = &finished.outcome {
                ticket.note_refusal(refusal.kind.as_str(), refusal.code.as_str(), refusal.reason.clone());
                tracing::warn!(%request_id, code = refusal.code.as_str(), reason = %refusal.reason, "request failed after its answer had begun");
            }
        }
        let rest = document.strip_prefix(DECLARATION).map(str::to_owned);
        Bytes::from(rest.unwrap_or(document))
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use tokio::sync::oneshot;

    use super::*;
    use crate::respond::RefusalKind;
    use crate::s3::S3ErrorCode;
    use crate::s3::xml::XmlWriter;

    const INTERVAL: Duration = Duration::from_millis(5);

    /// Work that ends when it is told to.
    fn late(outcome: Result<String, Refusal>) -> (LateBody, oneshot::Sender<()>) {
        let (end, ended) = oneshot::channel();
        let work = async move {
            ended.await.unwrap();
            Finished { outcome: outcome.map(|document| (HeaderMap::new(), document)), upstream: None, inspection: None }
        };
        (LateBody::new(Box::pin(work), "/b/k".into(), INTERVAL), end)
    }

    fn document() -> String {
        let mut xml = XmlWriter::new("CopyObjectResult", true);
        xml.text("ETag", "e");
        xml.finish()
    }

    /// Reads until there were three blanks, then lets the work end and reads the rest.
    async fn read(outcome: Result<String, Refusal>) -> String {
        let (body, end) = late(outcome);
        let mut body = AnswerBody::new(Source::Late(Box::new(body)));
        let mut text = Vec::new();
        while text.iter().filter(|byte| **byte == b'\n').count() < 4 {
            text.extend_from_slice(&body.frame().await.unwrap().unwrap().into_data().unwrap());
        }
        end.send(()).unwrap();
        text.extend_from_slice(&body.collect().await.unwrap().to_bytes());
        String::from_utf8(text).unwrap()
    }

    #[tokio::test]
    async fn g04_blanks_come_until_the_document_does() {
        let text = read(Ok(document())).await;
        assert!(text.starts_with(&format!("{DECLARATION}\n\n\n")), "{text}");
        assert_eq!(text.replace('\n', ""), document().replace('\n', ""));
    }

    #[tokio::test]
    async fn g04_a_late_error_stands_at_the_end_of_the_answer() {
        let refusal =
            Refusal::new(S3ErrorCode::BadGateway, RefusalKind::Upstream, "The store failed. Try again.", "why");
        let text = read(Err(refusal)).await;
        assert!(text.starts_with(&format!("{DECLARATION}\n\n\n")) && text.contains("\n<Error>"), "{text}");
        assert!(text.contains("<Resource>/b/k</Resource>") && !text.contains("why"), "{text}");
    }
}

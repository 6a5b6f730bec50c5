//! The ticket of a request: opened with its arrival, closed exactly once, dropping included.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Version;
use http::header::{HOST, REFERER, USER_AGENT};
use http::request::Parts;

use crate::arrival::{Arrival, ConnectionFacts, Reach, UnreadableHead};
use crate::audit::batch::BatchRecord;
use crate::audit::entry::Entry;
use crate::audit::record::{Decision, InspectionNote, Outcome, Record, WebFacts};
use crate::audit::room::{NoRoom, Places, Room};
use crate::audit::sink::AuditSink;
use crate::audit::spans;
use crate::base::{Clock, PrincipalId, RequestId, RuleId, clock};
use crate::s3::{Resource, S3Call};
use crate::telemetry::Metrics;
use crate::telemetry::trace::RequestTrace;

/// Opens tickets.
#[derive(Clone)]
pub struct Auditor {
    sink: Arc<dyn AuditSink>,
    rooms: Arc<[Room]>,
    wait: Duration,
    wants_web_facts: bool,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
}

impl Auditor {
    /// An auditor that writes to a sink and counts in metrics. A request waits at most `wait` for room in the sink.
    pub fn new(sink: Arc<dyn AuditSink>, wait: Duration, metrics: Metrics, clock: Arc<dyn Clock>) -> Self {
        let (rooms, wants_web_facts) = (sink.rooms().into(), sink.wants_web_facts());
        Self { sink, rooms, wait, wants_web_facts, metrics: Arc::new(metrics), clock }
    }

    /// Opens the ticket of a request.
    pub fn open(&self, arrival: &Arrival) -> Ticket {
        let mut ticket = self.ticket(&arrival.request_id, &arrival.connection, arrival.received);
        ticket.record.method = arrival.head.method.as_str().to_owned();
        if self.wants_web_facts {
            ticket.record.web = Some(Box::new(web_facts(&arrival.head)));
        }
        ticket
    }

    /// Whether a request must take a place for its record before it begins.
    pub fn holds_up(&self) -> bool {
        !self.rooms.is_empty()
    }

    /// Takes a place for the record in every sink that must not lose one, so that the request may do something.
    ///
    /// # Errors
    /// [`NoRoom`] if there was none in time. The request must be refused; its own record is lost where there still is no room.
    pub async fn make_room(&self, ticket: &mut Ticket) -> Result<(), NoRoom> {
        ticket.places = Places::take(&self.rooms, self.wait, self.metrics.audits()).await?;
        Ok(())
    }

    /// Takes a place for the record of a request that is answered although its caller is not known, if one is free at once.
    ///
    /// # Errors
    /// [`NoRoom`] if there is none, or only those that are kept for callers. The request must be refused.
    pub fn make_room_for_stranger(&self, ticket: &mut Ticket) -> Result<(), NoRoom> {
        ticket.places = Places::take_as_stranger(&self.rooms)?;
        Ok(())
    }

    /// Sinks at which requests wait now, one line each.
    pub fn not_ready(&self) -> Vec<String> {
        let full = self.rooms.iter().filter_map(Room::is_full);
        full.map(|sink| format!("the audit sink `{sink}` has no room, requests wait for it")).collect()
    }

    /// Writes down that a head could not be read. Of its bytes nothing is kept: what is in them is not known.
    pub fn record_unreadable(&self, head: &UnreadableHead) {
        let mut ticket = self.ticket(&head.request_id, &head.connection, head.received);
        let (status, code) = match head.too_large {
            true => (431, "RequestHeaderSectionTooLarge"),
            false => (400, "InvalidRequest"),
        };
        ticket.note_refusal("client", code, head.reason.clone());
        ticket.note_status(status);
        ticket.finished();
    }

    fn ticket(&self, request_id: &RequestId, connection: &ConnectionFacts, received: Instant) -> Ticket {
        self.metrics.requests().started();
        let record = Record {
            time: clock::rfc3339_millis(self.clock.now()),
            request_id: request_id.as_str().to_owned(),
            client: client_text(connection),
            tls: connection.tls,
            ..Record::default()
        };
        Ticket {
            record,
            bytes_in: None,
            inspection: None,
            client_gone: false,
            received,
            places: Places::default(),
            trace: None,
            sink: Arc::clone(&self.sink),
            metrics: Arc::clone(&self.metrics),
        }
    }
}

/// What of a head goes into access logs. Long texts are cut: a client may send 64 KiB of them.
fn web_facts(head: &Parts) -> WebFacts {
    let header = |name| {
        let value = String::from_utf8_lossy(head.headers.get(name)?.as_bytes()).into_owned();
        Some(cut(value, MAX_NAME_BYTES))
    };
    let query = head.uri.query().unwrap_or_default();
    let parameter = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    WebFacts {
        path: cut(head.uri.path().to_owned(), 4 * MAX_NAME_BYTES),
        version: if head.version == Version::HTTP_2 { "HTTP/2" } else { "HTTP/1.1" },
        host: head.uri.authority().map(|authority| authority.to_string()).or_else(|| header(HOST)),
        referer: header(REFERER),
        user_agent: header(USER_AGENT),
        version_id: parameter("versionId").map(|id| cut(id.to_owned(), MAX_NAME_BYTES)),
        presigned: parameter("X-Amz-Signature").is_some(),
    }
}

fn cut(mut text: String, bytes: usize) -> String {
    text.truncate(text.floor_char_boundary(bytes));
    text
}

/// Where the client is, as records say it.
fn client_text(connection: &ConnectionFacts) -> String {
    match connection.reach {
        Reach::Unix => "unix".to_owned(),
        Reach::Loopback | Reach::Network => address_text(connection.peer.ip().to_canonical()),
    }
}

/// As `to_string`, which goes through the formatter with padding, at a tenth of the instructions.
fn address_text(address: IpAddr) -> String {
    let IpAddr::V4(address) = address else { return address.to_string() };
    let mut text = String::with_capacity(15);
    for (position, octet) in address.octets().into_iter().enumerate() {
        if position > 0 {
            text.push('.');
        }
        let digit = |value: u8| char::from(b'0' + value);
        if octet >= 100 {
            text.push(digit(octet / 100));
        }
        if octet >= 10 {
            text.push(digit(octet / 10 % 10));
        }
        text.push(digit(octet % 10));
    }
    text
}

/// A reason may quote a parameter or header name, of which the client can make up 7 KiB.
const MAX_REASON_CHARACTERS: usize = 256;
/// The longest key of S3. Names that were not accepted may be longer.
const MAX_NAME_BYTES: usize = 1024;

/// How many body bytes came in, asked when the ticket closes.
pub type BytesIn = Arc<dyn Fn() -> u64 + Send + Sync>;
/// What an inspection came to, asked when the ticket closes.
pub type Inspected = Arc<dyn Fn() -> Option<InspectionNote> + Send + Sync>;

/// Collects what is known of a request. The record is written when the ticket is dropped.
pub struct Ticket {
    record: Record,
    bytes_in: Option<BytesIn>,
    inspection: Option<Inspected>,
    client_gone: bool,
    received: Instant,
    places: Places,
    trace: Option<Arc<RequestTrace>>,
    sink: Arc<dyn AuditSink>,
    metrics: Arc<Metrics>,
}

impl Ticket {
    /// The trace of which the request is a part, which ends with the record.
    pub fn follow(&mut self, trace: &Arc<RequestTrace>) {
        self.record.trace_id = Some(trace.id());
        self.trace = Some(Arc::clone(trace));
    }

    /// The id of that trace.
    pub fn trace_id(&self) -> Option<&str> {
        self.record.trace_id.as_deref()
    }

    /// Who asks.
    pub fn note_caller(&mut self, principal: &PrincipalId, scheme: &'static str) {
        self.record.principal = Some(principal.as_str().to_owned());
        self.record.scheme = Some(scheme);
    }

    /// Which key a request claims to be signed with.
    pub fn note_access_key(&mut self, id: &str) {
        self.record.access_key_id = Some(id.to_owned());
    }

    /// What is asked for.
    pub fn note_call(&mut self, call: &S3Call) {
        self.record.operation = Some(call.operation.name());
        self.record.bucket = call.resource.bucket().map(|bucket| bucket.name.clone());
        self.record.key = match &call.resource {
            Resource::Object(_, key) => Some(key.as_str().to_owned()),
            Resource::Bucket(_) | Resource::Service => call.parameter("prefix").map(str::to_owned),
        };
        self.record.source = call.source.as_ref().map(|source| match &source.version_id {
            Some(version) => format!("{}/{}?versionId={version}", source.bucket.name, source.key.as_str()),
            None => format!("{}/{}", source.bucket.name, source.key.as_str()),
        });
    }

    /// What is asked for, if it is no operation of S3 or has another name than the operation that it becomes.
    pub fn note_operation(&mut self, name: &'static str) {
        self.record.operation = Some(name);
    }

    /// What of a request that was not understood can be named all the same. Bucket and key are the client's words, decoded once.
    pub fn note_unidentified(&mut self, operation: Option<&'static str>, bucket: Option<&str>, key: Option<&str>) {
        let cut = |name: &str| name[..name.floor_char_boundary(MAX_NAME_BYTES)].to_owned();
        self.record.operation = operation;
        self.record.bucket = bucket.map(cut);
        self.record.key = key.map(cut);
    }

    /// What the rules said.
    pub fn note_decision(&mut self, decision: Decision, rule: Option<&RuleId>) {
        self.record.decision = Some(decision);
        self.record.rule = rule.map(|rule| rule.as_str().to_owned());
    }

    /// What became of the objects of a request about many; the last word counts.
    pub fn note_batch(&mut self, batch: BatchRecord) {
        self.record.batch = Some(Box::new(batch));
    }

    /// Where the count of body bytes from the client is found at the end.
    pub fn note_upload(&mut self, bytes_in: BytesIn) {
        self.bytes_in = Some(bytes_in);
    }

    /// What the inspection of the object came to.
    pub fn note_inspection(&mut self, note: InspectionNote) {
        self.record.inspection = Some(note.findings);
        self.record.inspection_action = Some(note.action);
    }

    /// Where that is found at the end.
    pub fn expect_inspection(&mut self, inspected: Inspected) {
        self.inspection = Some(inspected);
    }

    /// What a store answered.
    pub fn note_upstream(&mut self, name: &str, status: u16, first_byte: Duration) {
        self.metrics.stores().answered(first_byte);
        self.record.upstream = Some(name.to_owned());
        self.record.upstream_status = Some(status);
        self.record.upstream_ms = Some(milliseconds(first_byte));
    }

    /// That what was noted of a store's answer was only the beginning: another request follows, which may have no answer.
    pub fn forget_upstream(&mut self) {
        self.record.upstream_status = None;
        self.record.upstream_ms = None;
    }

    /// The request's id.
    pub fn request_id(&self) -> &str {
        &self.record.request_id
    }

    /// That the request is refused, and why.
    pub fn note_refusal(&mut self, kind: &'static str, code: &'static str, reason: String) {
        self.metrics.requests().refused(kind, code);
        self.record.code = Some(code);
        self.note_reason(reason);
    }

    /// That the client ended the connection in the middle of its body. It may have kept its other direction open, so it is answered.
    pub fn note_client_gone(&mut self) {
        self.client_gone = true;
    }

    /// The status of the answer; from here on an end without [`Ticket::finished`] is the client's doing.
    pub fn note_status(&mut self, status: u16) {
        self.record.status = Some(status);
    }

    /// Body bytes given to the client.
    pub fn count_out(&mut self, bytes: usize) {
        self.record.bytes_out += bytes as u64;
    }

    /// The answer was given to its last byte.
    pub fn finished(&mut self) {
        self.record.outcome = match self.record.code {
            _ if self.client_gone => Outcome::Aborted,
            Some(_) => Outcome::Refused,
            None if self.record.batch.as_ref().is_some_and(|batch| !batch.is_complete()) => Outcome::Partial,
            None => Outcome::Ok,
        };
    }

    /// The answer broke off on the store's side.
    pub fn failed(&mut self, reason: String) {
        self.record.outcome = Outcome::Failed;
        self.note_reason(reason);
    }

    fn note_reason(&mut self, mut reason: String) {
        if let Some((end, _)) = reason.char_indices().nth(MAX_REASON_CHARACTERS) {
            reason.truncate(end);
        }
        self.record.reason = Some(reason);
    }

    /// The handler panicked before the request had an end; the edge answers for it.
    fn panicked(&mut self) {
        self.failed("the gateway panicked".to_owned());
        self.record.status.get_or_insert(500);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if std::thread::panicking() && self.record.outcome == Outcome::Aborted {
            self.panicked();
        }
        if let Some(note) = self.inspection.take().and_then(|inspected| inspected()) {
            self.note_inspection(note);
        }
        let duration = self.received.elapsed();
        let record = &mut self.record;
        record.duration_ms = milliseconds(duration);
        record.bytes_in = self.bytes_in.as_ref().map_or(0, |count| count());
        let operation = record.operation.unwrap_or("unknown");
        self.metrics.requests().ended(operation, record.outcome.as_str(), duration, record.bytes_in, record.bytes_out);
        let places = std::mem::take(&mut self.places);
        self.sink.accept(&Entry::new(record).with_places(places.are_taken()));
        places.hand_over();
        if let Some(trace) = &self.trace {
            let (name, attributes, error) = spans::of(record);
            trace.finish(name, attributes, error);
        }
    }
}

/// Milliseconds with three digits behind the point.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1_000_000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::audit::sink::InMemory;

    fn ticket(sink: &Arc<InMemory>) -> Ticket {
        Ticket {
            record: Record::default(),
            bytes_in: None,
            inspection: None,
            client_gone: false,
            received: Instant::now(),
            places: Places::default(),
            trace: None,
            sink: Arc::<InMemory>::clone(sink),
            metrics: Arc::new(Metrics::new().unwrap()),
        }
    }

    fn recorded(story: impl FnOnce(Ticket)) -> Record {
        let sink = Arc::new(InMemory::default());
        let _may_panic = catch_unwind(AssertUnwindSafe(|| story(ticket(&sink))));
        sink.records().remove(0)
    }

    #[test]
    fn l10_a_panic_is_recorded_as_a_failure_of_the_gateway() {
        let panicked = recorded(|_ticket| panic!("as the test asked"));
        assert_eq!((panicked.outcome, panicked.status), (Outcome::Failed, Some(500)));
        assert_eq!(panicked.reason.as_deref(), Some("the gateway panicked"));
        let begun = recorded(|mut ticket| {
            ticket.note_status(200);
            panic!("in the middle of the answer")
        });
        assert_eq!((begun.outcome, begun.status), (Outcome::Failed, Some(200)));
        let done = recorded(|mut ticket| {
            ticket.finished();
            panic!("behind the last byte")
        });
        assert_eq!((done.outcome, done.reason), (Outcome::Ok, None));
        let dropped = recorded(drop);
        assert_eq!((dropped.outcome, dropped.status, dropped.reason), (Outcome::Aborted, None, None));
    }

    #[test]
    fn addresses_are_written_as_the_library_writes_them() {
        for address in ["0.0.0.0", "1.20.255.100", "192.0.2.9", "::1", "2001:db8::7"] {
            assert_eq!(address_text(address.parse().unwrap()), address);
        }
    }

    #[test]
    fn l10_a_reason_is_cut_to_256_characters() {
        let reason = |text: String| {
            let refused = recorded(|mut ticket| ticket.note_refusal("client", "InvalidArgument", text.clone()));
            let failed = recorded(|mut ticket| ticket.failed(text));
            assert_eq!(refused.reason, failed.reason);
            refused.reason.unwrap()
        };
        assert_eq!(reason("ü".repeat(256)), "ü".repeat(256));
        assert_eq!(reason("ü".repeat(257)), "ü".repeat(256));
        assert_eq!(reason("x".repeat(7000)).len(), 256);
    }

    #[test]
    fn l10_a_name_that_was_not_accepted_is_cut_between_characters() {
        let long = format!("x{}", "ü".repeat(600));
        let record = recorded(|mut ticket| ticket.note_unidentified(None, Some("b"), Some(&long)));
        assert_eq!(record.key.as_deref(), Some(&long[..1023]));
        assert_eq!((record.operation, record.bucket.as_deref()), (None, Some("b")));
    }
}

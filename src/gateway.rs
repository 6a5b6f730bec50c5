//! The story of one request. Everything else in the crate is a stage of it.
//!
//! Each stage takes what the stage before produced, so that none can be left out: `Arrival → Claim → Caller → S3Call → Permit → Admission →
//! Outbound → UpstreamReply → Reply`. Whatever stops it is a [`Refusal`].

mod browsers;
mod carry_out;
mod failures;
mod inspection;
mod pages;
mod sts;

use std::net::IpAddr;
use std::sync::Arc;

use http::request::Parts;
use http::{HeaderName, HeaderValue};
use hyper::body::Incoming;
use tokio::time::Instant;

use browsers::{FormFile, form_delimiter};

use crate::arrival::{Arrival, ConnectionFacts, Framing};
use crate::audit::record::Decision;
use crate::audit::{Auditor, NoRoom, Ticket};
use crate::auth::{AuthError, Authenticated, Authenticators, Caller, Claim};
use crate::base::{RequestId, RouteId, UtcInstant};
use crate::body::{BodyLimits, Fault, UploadWatch, linger};
use crate::cors::{CorsRules, Preflight};
use crate::documents::delete_objects;
use crate::downloads::held::HeldBytes;
use crate::inspect::{Inspectors, Memory, Outcome};
use crate::limits::meter::Direction;
use crate::limits::{Admission, Limiter, Meter, Passage};
use crate::multipart::Carrier;
use crate::multipart::staged::Staging;
use crate::respond::{Refusal, RefusalKind, Reply, local};
use crate::rules::{BatchScope, Denied, Permit, RuleSet, Scope};
use crate::s3::addressing::locate_path;
use crate::s3::{self, Buckets, IdentifyError, Operation, S3Call, S3ErrorCode, identify};
use crate::sign::Signer;
use crate::sigv4::ChunkCheck;
use crate::sts::StsSettings;
use crate::telemetry::trace::{self, RequestTrace, Tracer};
use crate::upstream::Upstreams;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amz-request-id");

/// Everything one configuration made, shared by all requests.
pub struct Gateway {
    /// Turns credentials into callers.
    pub authenticators: Authenticators,
    /// The public buckets.
    pub buckets: Buckets,
    /// Which pages of other origins may talk to them.
    pub cors: CorsRules,
    /// Who may do what.
    pub rules: RuleSet,
    /// How much a caller may do at a time.
    pub limiter: Arc<Limiter>,
    /// Signs with the gateway's own credentials.
    pub signer: Arc<Signer>,
    /// The stores.
    pub upstreams: Arc<Upstreams>,
    /// Which requests for STS are answered; `None` if none is.
    pub sts: Option<StsSettings>,
    /// What looks into the bytes of objects.
    pub inspectors: Arc<Inspectors>,
    /// What they found in objects of the stores.
    pub verdicts: Arc<Memory>,
    /// Room for objects that are read, until their verdicts.
    pub held: HeldBytes,
    /// What is on its way from hidden keys.
    pub staging: Arc<Staging>,
    /// Limits on how a client sends a body.
    pub body_limits: BodyLimits,
    /// Writes down what happened.
    pub auditor: Auditor,
    /// Begins traces; `None` if requests have none.
    pub tracer: Option<Tracer>,
    /// When the configuration was loaded.
    pub since: UtcInstant,
}

/// What is left of a request's body, and what its upload did, for the answer to know how to end the connection; and what the request
/// holds until the end of its answer.
struct Remains {
    unread: Option<Incoming>,
    upload: Option<Arc<UploadWatch>>,
    passage: Option<Passage>,
    /// The store that the request is carried to, once that is permitted.
    store: Option<RouteId>,
    /// The file of a browser form, whose fields were read.
    form: Option<Box<FormFile>>,
    /// Whether something of the body was read although nobody was permitted yet.
    polled: bool,
    /// Checks the chunks of the body, if the client signed them.
    chunks: Option<ChunkCheck>,
}

impl Remains {
    /// What the inspectors of the upload came to.
    fn outcome(&self) -> Option<Arc<Outcome>> {
        self.upload.as_ref().and_then(|upload| upload.outcome().cloned())
    }

    /// Counts what the client sends, if a rate is set for it.
    fn upload_meter(&self) -> Option<Meter> {
        self.passage.as_ref().and_then(|passage| passage.meter(Direction::Upload))
    }
}

impl Gateway {
    /// Serves one request, whatever it is. Its audit record is written when the last byte of the answer is gone.
    pub async fn serve(&self, arrival: Arrival) -> Reply {
        let mut ticket = Box::new(self.auditor.open(&arrival));
        let Arrival { request_id, connection, framing, head, body, .. } = arrival;
        let unread = Some(body);
        let mut remains =
            Remains { unread, upload: None, passage: None, store: None, form: None, polled: false, chunks: None };
        let outcome = match Preflight::of(&head) {
            Some(asked) => self.preflight(asked, &head, framing, remains.unread.as_ref(), &mut ticket),
            None => match self.begin_trace(&head, &connection, &mut ticket) {
                None => self.carry(&head, framing, &connection, &mut remains, &mut ticket).await,
                Some(trace) => {
                    Box::pin(trace.scope(self.carry(&head, framing, &connection, &mut remains, &mut ticket))).await
                }
            },
        };
        self.finish(outcome, &head, &request_id, remains, ticket)
    }

    /// Waits for room in an audit that must not lose a record. The caller is known by then, since strangers could hold every place with
    /// forms that they never finish; no store was asked for anything.
    async fn make_room(&self, ticket: &mut Ticket) -> Result<(), NoRoom> {
        if self.auditor.holds_up() {
            Box::pin(self.auditor.make_room(ticket)).await?;
        }
        Ok(())
    }

    /// The trace that the request is a part of, if requests have any.
    fn begin_trace(
        &self,
        head: &Parts,
        connection: &ConnectionFacts,
        ticket: &mut Ticket,
    ) -> Option<Arc<RequestTrace>> {
        let trace = self.tracer.as_ref()?.begin(&head.headers, connection.peer.ip());
        ticket.follow(&trace);
        Some(trace)
    }

    async fn carry(
        &self,
        head: &Parts,
        framing: Framing,
        connection: &ConnectionFacts,
        remains: &mut Remains,
        ticket: &mut Ticket,
    ) -> Result<Reply, Refusal> {
        check_framing(framing)?;
        if let Some(vouched) = &connection.vouched {
            pages::refuse_pages(head, vouched, self.buckets.domains())?;
        }
        if let Some(delimiter) = form_delimiter(head) {
            return Box::pin(self.post_form(delimiter, head, connection, remains, ticket)).await;
        }
        if let Some(asked) = self.asks_sts(head) {
            s3::identify::check_hop(head)?;
            return Ok(Box::pin(self.answer_sts(asked, head, connection, remains, ticket)).await);
        }
        let Authenticated { caller, chunks, presigned } = self.authenticate(head, connection, ticket).await?;
        remains.chunks = chunks;
        let head = presigned.as_ref().map_or(head, |request| &request.head);
        ticket.note_caller(caller.principal(), caller.scheme().as_str());
        self.make_room(ticket).await?;
        // In a block, which ends before anything is waited for: what lives across that is kept and copied with every request.
        let permit = {
            // Not by `map_err` and its like, each of which copies the call.
            let mut call = match identify(head, &self.buckets) {
                Ok(call) => call,
                Err(error) => {
                    note_unidentified(ticket, head, &self.buckets, &error);
                    return Err(self.hide_bucket(error, &caller).into());
                }
            };
            if let Some(presigned) = &presigned {
                call.headers.need_allow(&presigned.added);
            }
            ticket.note_call(&call);
            if call.operation == Operation::DeleteObjects {
                call = Box::pin(self.complete(call, &caller, remains, ticket)).await?;
            }
            self.rules.authorise(caller, call, &self.buckets).inspect_err(|denied| note_denial(ticket, denied))?
        };
        ticket.note_decision(Decision::Allow, Some(permit.rule()));
        check_clear_text(connection, permit.call())?;
        self.enter(&permit, remains)?;
        let admission = Admission::admit(permit)?;
        self.answer(admission, head.uri.path(), remains, ticket).await
    }

    /// Takes a place among the requests of the caller and of the store that the call is carried to.
    fn enter(&self, permit: &Permit, remains: &mut Remains) -> Result<(), Refusal> {
        remains.store = self.store_of(permit);
        remains.passage = Some(self.limiter.enter(permit, remains.store, Instant::now().into_std())?);
        Ok(())
    }

    /// The store that a call is carried to. The list of buckets is that of the pass-through mapping's.
    fn store_of(&self, permit: &Permit) -> Option<RouteId> {
        match permit.call().resource.bucket() {
            Some(bucket) => Some(bucket.route),
            None => self.buckets.pass_through().map(|mapping| mapping.route),
        }
    }

    /// Establishes who asks. Failures are counted for the address, as far as they are its own.
    async fn authenticate(
        &self,
        head: &Parts,
        connection: &ConnectionFacts,
        ticket: &mut Ticket,
    ) -> Result<Authenticated, Refusal> {
        let begun = trace::clock();
        let outcome = match Claim::of(head, connection) {
            Ok(claim) => {
                if let Some(id) = claim.access_key_id() {
                    ticket.note_access_key(id);
                }
                self.authenticators.authenticate(claim, head, connection).await
            }
            Err(error) => Err(error),
        };
        if let Some(begun) = begun {
            trace::note("authenticate", begun.elapsed(), Vec::new);
        }
        outcome.map_err(|error| self.refuse_caller(error, connection.peer.ip()))
    }

    fn refuse_caller(&self, error: AuthError, peer: IpAddr) -> Refusal {
        if !error.counts_as_failure() {
            return error.into();
        }
        match self.limiter.note_failed_authentication(peer, Instant::now().into_std()) {
            Ok(()) => error.into(),
            Err(limited) => {
                let reason = format!("{limited}: {error}");
                Refusal { reason, ..limited.into() }
            }
        }
    }

    /// Reads what a DeleteObjects deletes, since the rules decide about each object. Nothing is read of a caller who may not delete
    /// anything in the bucket.
    async fn complete(
        &self,
        mut call: S3Call,
        caller: &Caller,
        remains: &mut Remains,
        ticket: &mut Ticket,
    ) -> Result<S3Call, Refusal> {
        if let (Operation::DeleteObjects, Some(bucket)) = (call.operation, call.resource.bucket()) {
            self.rules.admit_batch(caller, bucket).inspect_err(|denied| note_denial(ticket, denied))?;
            let limit = s3::delete_objects::MAX_DOCUMENT_BYTES;
            let body = self.read_document(call.document.as_ref(), limit, remains, ticket).await?;
            call.batch = Some(Arc::new(s3::delete_objects::parse(&body, bucket)?));
        }
        Ok(call)
    }

    /// For a caller without any right in it, a bucket that exists is like one that does not. A copy has two.
    fn hide_bucket(&self, error: IdentifyError, caller: &Caller) -> IdentifyError {
        match error {
            IdentifyError::Within(bucket, error) if self.rules.shows(caller, &bucket) => {
                self.hide_bucket(*error, caller)
            }
            IdentifyError::Within(bucket, _) => IdentifyError::UnknownBucket(bucket.name.clone()),
            other => other,
        }
    }

    /// Answers an admitted call: from what the gateway knows, by listing what is permitted, or by forwarding.
    async fn answer(
        &self,
        admission: Admission,
        resource: &str,
        remains: &mut Remains,
        ticket: &mut Ticket,
    ) -> Result<Reply, Refusal> {
        let permit = admission.permit();
        match (permit.scope(), permit.call().resource.bucket()) {
            // Boxed like all that is not on the way of every object: the future of a request is copied and kept at its full size.
            (Scope::Buckets(visible), _) => Box::pin(self.list_buckets(permit, visible, ticket)).await,
            (Scope::Listing(scope), Some(bucket)) => Box::pin(self.list(permit, scope, bucket, ticket)).await,
            (Scope::Batch(scope), Some(bucket)) => {
                note_verdicts(ticket, scope);
                Box::pin(delete_objects::delete(&self.errand(&admission, bucket), scope, ticket)).await
            }
            (Scope::Whole, Some(bucket))
                if permit.call().operation == Operation::GetBucketLocation && !bucket.passed_through =>
            {
                Ok(local::bucket_location(&self.signer.route(bucket.route).region))
            }
            (Scope::Whole, Some(bucket)) => {
                let carrier = Carrier {
                    signer: Arc::clone(&self.signer),
                    upstreams: Arc::clone(&self.upstreams),
                    bucket: Arc::clone(bucket),
                    hidden: None,
                    staging: Arc::clone(&self.staging),
                    quarantine: self.quarantine_of(&admission),
                    admission: Arc::new(admission),
                };
                self.carry_out(carrier, resource, remains, ticket).await
            }
            (Scope::Whole | Scope::Listing(_) | Scope::Batch(_), None) => Err(internal("a permit without a bucket")),
        }
    }

    fn finish(
        &self,
        outcome: Result<Reply, Refusal>,
        head: &Parts,
        request_id: &RequestId,
        mut remains: Remains,
        mut ticket: Box<Ticket>,
    ) -> Reply {
        let passage = remains.passage.take();
        let mut reply = match outcome {
            Ok(reply) => reply,
            Err(refusal) => {
                ticket.note_refusal(refusal.kind.as_str(), refusal.code.as_str(), refusal.reason.clone());
                let store = remains.store.map(|route| self.upstreams.get(route));
                failures::note(&refusal, request_id, ticket.trace_id(), store);
                if remains.upload.as_ref().is_some_and(|upload| upload.fault() == Some(&Fault::ClientGone)) {
                    ticket.note_client_gone();
                }
                let close = self.end_body(&mut remains, head);
                refusal.render(
                    head.uri.path(),
                    request_id,
                    head.method == http::Method::HEAD,
                    close && head.version < http::Version::HTTP_2,
                )
            }
        };
        if let Ok(value) = HeaderValue::from_str(request_id.as_str()) {
            reply.headers_mut().insert(REQUEST_ID, value);
        }
        self.cors.decorate(head, &self.buckets, reply.headers_mut());
        ticket.note_status(reply.status().as_u16());
        reply.map(|body| body.with_ticket(ticket).with_passage(passage))
    }

    /// Sees to what a refused client still sends. Returns whether the connection must end, because a part of the body is unread.
    fn end_body(&self, remains: &mut Remains, head: &Parts) -> bool {
        let Some(body) = remains.unread.take() else {
            return remains.upload.as_ref().is_some_and(|upload| !upload.is_complete());
        };
        if http_body::Body::is_end_stream(&body) {
            return false;
        }
        // A client that waits for 100 must not get it now: polling the body would send it.
        if remains.polled || !head.headers.contains_key(http::header::EXPECT) {
            linger(body, self.body_limits.linger);
        }
        true
    }
}

fn check_framing(framing: Framing) -> Result<(), Refusal> {
    match framing {
        Framing::Clear => Ok(()),
        Framing::Ambiguous(rule) => {
            let message = "The request is framed in a way that can be read twofold.";
            Err(Refusal::new(S3ErrorCode::InvalidRequest, RefusalKind::Client, message, rule))
        }
        Framing::Unplaced(fault) => {
            let message = "The proxy does not say in a readable way for whom it speaks.";
            Err(Refusal::new(S3ErrorCode::InvalidRequest, RefusalKind::Client, message, fault))
        }
        Framing::Oversized(oversize) => Err(oversize.into()),
        Framing::Lapsed(lapse) => Err(lapse.into()),
    }
}

/// A key that the client sends along to encrypt its object is a secret: in clear text it is refused whatever the rules say (C07).
fn check_clear_text(connection: &ConnectionFacts, call: &S3Call) -> Result<(), Refusal> {
    let has_key = call.headers.needs_allow.iter().any(|name| name.as_str().ends_with("-customer-key"));
    if connection.tls || !has_key {
        return Ok(());
    }
    let message = "An encryption key of the client is accepted over TLS only.";
    Err(Refusal::new(S3ErrorCode::InvalidRequest, RefusalKind::Client, message, "SSE-C over clear text"))
}

/// For the operator, what of a request that was not understood can be named all the same.
fn note_unidentified(ticket: &mut Ticket, head: &Parts, buckets: &Buckets, error: &IdentifyError) {
    let cause = match error {
        IdentifyError::Within(_, cause) => cause,
        other => other,
    };
    let operation = match cause {
        IdentifyError::NotServed(name) | IdentifyError::NotServedHere(name) => Some(*name),
        _ => None,
    };
    // The query has no part in it, and may be what could not be read.
    let target = locate_path(head, buckets.domains()).ok();
    let bucket = target.as_ref().map(|target| target.bucket.as_str()).filter(|bucket| !bucket.is_empty());
    ticket.note_unidentified(operation, bucket, target.as_ref().and_then(|target| target.key.as_deref()));
}

fn note_denial(ticket: &mut Ticket, denied: &Denied) {
    let rule = match denied {
        Denied::ByRule { rule, .. }
        | Denied::Header { rule, .. }
        | Denied::ResponseOverride { rule, .. }
        | Denied::Uninspected { rule, .. } => Some(rule),
        Denied::NoRule { .. } | Denied::List(_) => None,
    };
    ticket.note_decision(Decision::Deny, rule);
}

/// Of a batch of which nothing is permitted, the record says that it was refused, though each object has its own error in a 200.
fn note_verdicts(ticket: &mut Ticket, scope: &BatchScope) {
    if let (None, Some(denied)) = (scope.rule(), scope.denial()) {
        note_denial(ticket, denied);
        let reason = format!("none of the objects may be deleted, the first because {denied}");
        ticket.note_refusal(RefusalKind::Denied.as_str(), S3ErrorCode::AccessDenied.as_str(), reason);
    }
}

fn internal(reason: &str) -> Refusal {
    Refusal::new(S3ErrorCode::InternalError, RefusalKind::Internal, "The gateway failed.", reason)
}

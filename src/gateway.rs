//! The story of one request. Everything else in the crate is a stage of it.
//!
//! Each stage takes what the stage before produced, so that none can be left out: `Arrival → Claim → Caller → S3Call → Permit → Admission
//! → Outbound → UpstreamReply → Reply`. Whatever stops it is a [`Refusal`].

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;
use http::request::Parts;
use hyper::body::Incoming;

use crate::arrival::{Arrival, Framing};
use crate::audit::record::Decision;
use crate::audit::{Auditor, Ticket};
use crate::auth::{Authenticators, Caller, Claim};
use crate::base::{RequestId, UtcInstant};
use crate::body::{BodyLimits, Fault, UploadBody, UploadWatch, linger};
use crate::bounded::{self, CollectError};
use crate::limits::{Admission, BodyTerms};
use crate::listing;
use crate::multipart::{Carrier, calls, unknown_length};
use crate::respond::{Refusal, RefusalKind, Reply, local, relay};
use crate::rules::{Denied, RuleSet, Scope};
use crate::s3::complete_upload::MAX_DOCUMENT_BYTES;
use crate::s3::target::Target;
use crate::s3::{Bucket, Buckets, IdentifyError, Operation, S3Call, S3ErrorCode, identify};
use crate::sign::Signer;
use crate::upstream::Upstreams;

/// Everything one configuration made, shared by all requests.
pub struct Gateway {
    /// Turns credentials into callers.
    pub authenticators: Authenticators,
    /// The public buckets.
    pub buckets: Buckets,
    /// Who may do what.
    pub rules: RuleSet,
    /// Signs with the gateway's own credentials.
    pub signer: Arc<Signer>,
    /// The stores.
    pub upstreams: Arc<Upstreams>,
    /// Limits on how a client sends a body.
    pub body_limits: BodyLimits,
    /// Writes down what happened.
    pub auditor: Auditor,
    /// When the configuration was loaded.
    pub since: UtcInstant,
}

/// What is left of a request's body, and what its upload did, for the answer to know how to end the connection.
struct Remains {
    unread: Option<Incoming>,
    upload: Option<Arc<UploadWatch>>,
}

impl Gateway {
    /// Serves one request, whatever it is. Its audit record is written when the last byte of the answer is gone.
    pub async fn serve(&self, arrival: Arrival) -> Reply {
        let mut ticket = self.auditor.open(&arrival);
        let Arrival { request_id, connection, framing, head, body, .. } = arrival;
        let mut remains = Remains { unread: Some(body), upload: None };
        let outcome = self.carry(&head, framing, connection.peer.ip(), &mut remains, &mut ticket).await;
        self.finish(outcome, &head, &request_id, remains, ticket)
    }

    async fn carry(
        &self,
        head: &Parts,
        framing: Framing,
        peer: IpAddr,
        remains: &mut Remains,
        ticket: &mut Ticket,
    ) -> Result<Reply, Refusal> {
        check_framing(framing)?;
        let claim = Claim::parse(head)?;
        let caller = self.authenticators.authenticate(claim, peer).await?;
        ticket.note_caller(caller.principal(), caller.scheme().as_str());
        let call = identify(head, &self.buckets)
            .inspect_err(|error| note_unidentified(ticket, head, error))
            .map_err(|error| self.hide_bucket(error, &caller))?;
        ticket.note_call(&call);
        let permit =
            self.rules.authorise(caller, call, &self.buckets).inspect_err(|denied| note_denial(ticket, denied))?;
        ticket.note_decision(Decision::Allow, Some(permit.rule()));
        let admission = Admission::admit(permit)?;
        self.answer(admission, remains, ticket).await
    }

    /// For a caller without any right in it, a bucket that exists is like one that does not.
    fn hide_bucket(&self, error: IdentifyError, caller: &Caller) -> IdentifyError {
        match error {
            IdentifyError::Within(bucket, error) if self.rules.shows(caller, &bucket) => *error,
            IdentifyError::Within(bucket, _) => IdentifyError::UnknownBucket(bucket.name.clone()),
            other => other,
        }
    }

    /// Answers an admitted call: from what the gateway knows, by listing what is permitted, or by forwarding.
    async fn answer(&self, admission: Admission, remains: &mut Remains, ticket: &mut Ticket) -> Result<Reply, Refusal> {
        let permit = admission.permit();
        match (permit.scope(), permit.call().resource.bucket()) {
            (Scope::Buckets(visible), _) => {
                let region = |bucket: &Bucket| self.signer.route(bucket.route).region.clone();
                local::list_buckets(permit.caller(), permit.call(), visible, region, self.since)
            }
            (Scope::Listing(scope), Some(bucket)) => {
                // Boxed like all that is not on the way of every object: the future of a request is copied and kept at its full size.
                let page = Box::pin(listing::collect(
                    scope,
                    permit.call(),
                    bucket,
                    permit.caller(),
                    &self.signer,
                    &self.upstreams,
                    ticket,
                ));
                Ok(local::document(page.await?))
            }
            (Scope::Whole, Some(bucket)) if permit.call().operation == Operation::GetBucketLocation => {
                Ok(local::bucket_location(&self.signer.route(bucket.route).region))
            }
            (Scope::Whole, Some(bucket)) => {
                let carrier = Carrier {
                    signer: Arc::clone(&self.signer),
                    upstreams: Arc::clone(&self.upstreams),
                    bucket: Arc::clone(bucket),
                    admission: Arc::new(admission),
                };
                self.carry_out(carrier, remains, ticket).await
            }
            (Scope::Whole | Scope::Listing(_), None) => Err(internal("a permit without a bucket")),
        }
    }

    /// Carries out a call on a bucket or key: forwards it, or does what a part of an object needs.
    async fn carry_out(&self, carrier: Carrier, remains: &mut Remains, ticket: &mut Ticket) -> Result<Reply, Refusal> {
        let (admission, call) = (Arc::clone(&carrier.admission), carrier.admission.permit().call());
        match call.operation {
            Operation::CreateMultipartUpload => Box::pin(calls::create(&carrier, ticket)).await,
            Operation::UploadPart => {
                let (terms, query) = calls::part(&carrier)?;
                self.forward(&carrier, terms, &query, remains, ticket).await
            }
            Operation::CompleteMultipartUpload => {
                let body = Box::pin(self.collect(remains)).await?;
                Box::pin(calls::complete(&carrier, &body, ticket)).await
            }
            Operation::AbortMultipartUpload => Box::pin(calls::abort(&carrier, ticket)).await,
            Operation::ListParts => Box::pin(calls::list(&carrier, ticket)).await,
            _ if has_unknown_length(call) => {
                let slot = unknown_length::reserve(&self.upstreams, &carrier.bucket)?;
                let body = self.attach(&admission, admission.body_terms(), remains, ticket).await?;
                Box::pin(unknown_length::store(carrier, body, slot, ticket)).await
            }
            _ => self.forward(&carrier, admission.body_terms(), &call.query, remains, ticket).await,
        }
    }

    async fn forward(
        &self,
        carrier: &Carrier,
        terms: BodyTerms,
        query: &[(String, String)],
        remains: &mut Remains,
        ticket: &mut Ticket,
    ) -> Result<Reply, Refusal> {
        let (admission, bucket) = (&carrier.admission, &carrier.bucket);
        let call = admission.permit().call();
        let body = match call.upload.as_ref().and_then(|upload| upload.length) {
            Some(length) => Some((self.attach(admission, terms, remains, ticket).await?, length)),
            None => None,
        };
        let outbound = self.signer.prepare(admission, bucket, query, body)?;
        let reply = self.upstreams.send(outbound).await?;
        ticket.note_upstream(&reply.upstream, reply.head.status.as_u16(), reply.first_byte);
        relay::relay(reply, call, &self.signer.route(bucket.route).region).await
    }

    /// Collects the document of a caller who is already known and permitted, never past a limit.
    async fn collect(&self, remains: &mut Remains) -> Result<Bytes, Refusal> {
        let body = remains.unread.take().ok_or_else(|| internal("the body was taken twice"))?;
        let collected = tokio::time::timeout(self.body_limits.idle, bounded::collect(body, MAX_DOCUMENT_BYTES)).await;
        match collected {
            Err(_) => Err(Fault::ClientIdle { seconds: self.body_limits.idle.as_secs() }.into()),
            Ok(Ok(document)) => Ok(document),
            Ok(Err(CollectError::TooLong(limit))) => {
                let message = "The document is longer than any list of parts.";
                Err(Refusal::new(
                    S3ErrorCode::MalformedXML,
                    RefusalKind::Client,
                    message,
                    format!("over {limit} bytes"),
                ))
            }
            Ok(Err(CollectError::Body(_))) => Err(Fault::ClientGone.into()),
        }
    }

    /// Puts the stages on the body of an upload. This is the first moment at which the body is polled.
    async fn attach(
        &self,
        admission: &Admission,
        terms: BodyTerms,
        remains: &mut Remains,
        ticket: &mut Ticket,
    ) -> Result<UploadBody, Refusal> {
        let source = remains.unread.take().ok_or_else(|| internal("the body was taken twice"))?;
        let mut body = UploadBody::attach(admission.upload(), terms, source, self.body_limits);
        let watch = Arc::clone(body.watch());
        remains.upload = Some(Arc::clone(&watch));
        ticket.note_upload(Arc::new(move || watch.client_bytes()));
        body.prime().await?;
        Ok(body)
    }

    fn finish(
        &self,
        outcome: Result<Reply, Refusal>,
        head: &Parts,
        request_id: &RequestId,
        remains: Remains,
        mut ticket: Ticket,
    ) -> Reply {
        let mut reply = match outcome {
            Ok(reply) => reply,
            Err(refusal) => {
                ticket.note_refusal(refusal.kind.as_str(), refusal.code.as_str(), refusal.reason.clone());
                log_refusal(&refusal, request_id);
                if remains.upload.as_ref().is_some_and(|upload| upload.fault() == Some(&Fault::ClientGone)) {
                    ticket.note_client_gone();
                }
                let close = self.end_body(remains, head);
                refusal.render(
                    head.uri.path(),
                    request_id,
                    head.method == http::Method::HEAD,
                    close && head.version < http::Version::HTTP_2,
                )
            }
        };
        if let Ok(value) = HeaderValue::from_str(request_id.as_str()) {
            reply.headers_mut().insert("x-amz-request-id", value);
        }
        ticket.note_status(reply.status().as_u16());
        reply.map(|body| body.with_ticket(ticket))
    }

    /// Sees to what a refused client still sends. Returns whether the connection must end, because a part of the body is unread.
    fn end_body(&self, remains: Remains, head: &Parts) -> bool {
        let Some(body) = remains.unread else {
            return remains.upload.is_some_and(|upload| !upload.is_complete());
        };
        if http_body::Body::is_end_stream(&body) {
            return false;
        }
        // A client that waits for 100 must not get it now: polling the body would send it.
        if !head.headers.contains_key(http::header::EXPECT) {
            linger(body, self.body_limits.linger);
        }
        true
    }
}

fn has_unknown_length(call: &S3Call) -> bool {
    call.upload.as_ref().is_some_and(|upload| upload.length.is_none())
}

fn check_framing(framing: Framing) -> Result<(), Refusal> {
    match framing {
        Framing::Clear => Ok(()),
        Framing::Ambiguous(rule) => {
            let message = "The request is framed in a way that can be read twofold.";
            Err(Refusal::new(S3ErrorCode::InvalidRequest, RefusalKind::Client, message, rule))
        }
        Framing::Oversized(oversize) => Err(oversize.into()),
    }
}

/// For the operator, what of a request that was not understood can be named all the same.
fn note_unidentified(ticket: &mut Ticket, head: &Parts, error: &IdentifyError) {
    let cause = match error {
        IdentifyError::Within(_, cause) => cause,
        other => other,
    };
    let operation = match cause {
        IdentifyError::NotServed(name) => Some(*name),
        _ => None,
    };
    // The query has no part in it, and may be what could not be read.
    let target = Target::parse(head.uri.path(), None).ok();
    let bucket = target.as_ref().map(|target| target.bucket.as_str()).filter(|bucket| !bucket.is_empty());
    ticket.note_unidentified(operation, bucket, target.as_ref().and_then(|target| target.key.as_deref()));
}

fn note_denial(ticket: &mut Ticket, denied: &Denied) {
    let rule = match denied {
        Denied::ByRule { rule, .. } | Denied::Header { rule, .. } | Denied::ResponseOverride { rule, .. } => Some(rule),
        Denied::NoRule { .. } | Denied::List(_) => None,
    };
    ticket.note_decision(Decision::Deny, rule);
}

fn internal(reason: &str) -> Refusal {
    Refusal::new(S3ErrorCode::InternalError, RefusalKind::Internal, "The gateway failed.", reason)
}

/// Errors are logged once, here. What the operator must act on is louder than what a client did.
fn log_refusal(refusal: &Refusal, request_id: &RequestId) {
    let (code, kind, reason) = (refusal.code.as_str(), refusal.kind.as_str(), refusal.reason.as_str());
    match refusal.kind {
        RefusalKind::Internal => tracing::error!(%request_id, code, kind, reason, "request failed"),
        RefusalKind::Upstream if refusal.status.is_server_error() => {
            tracing::warn!(%request_id, code, kind, reason, "request failed")
        }
        _ => tracing::debug!(%request_id, code, kind, reason, "request refused"),
    }
}

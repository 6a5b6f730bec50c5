//! Makes an [`Arrival`] of what hyper delivers, and answers itself only for a handler that panicked.
//!
//! Everything else, ambiguous and oversized heads included, is the handler's to refuse, so that it appears in the
//! audit. No protocol is ever switched: the hooks for it are taken out of the request.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderName};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use tokio::sync::Notify;

use super::Handler;
use super::body::EdgeBody;
use super::detach::detach;
use super::drain::Stop;
use super::forwarded;
use super::listener::{Exchanged, Manner};
use super::peer::Peer;
use super::settings::ConnectionLimits;
use super::streams::OpenStream;
use crate::arrival::{Arrival, ConnectionFacts, Framing, Lapse, Oversize};
use crate::base::RequestId;
use crate::flow::Budget;

/// What all requests of all connections share.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) limits: ConnectionLimits,
    pub(super) budget: Arc<Budget>,
    pub(super) stop: Stop,
}

/// A connection, as far as its requests have to do with it.
#[derive(Debug)]
pub(super) struct Line<H> {
    /// What has been so since its beginning.
    pub(super) facts: ConnectionFacts,
    /// What its listener wants, and who answers. Asked for each request: a connection can be older than the last reload by days.
    pub(super) manner: Exchanged<H>,
    /// The proxy that has begun it with a PROXY header.
    pub(super) proxy: Option<SocketAddr>,
    /// The client of a TLS connection, who may be let in no more after a while.
    pub(super) peer: Option<Peer>,
    ended: Notify,
}

impl<H> Line<H> {
    /// A connection about which TLS has said nothing yet.
    pub(super) fn new(facts: ConnectionFacts, manner: Exchanged<H>, proxy: Option<SocketAddr>) -> Self {
        Self { facts, manner, proxy, peer: None, ended: Notify::new() }
    }

    /// Completes when a request was refused because nothing more is served here.
    pub(super) async fn ended(&self) {
        self.ended.notified().await;
    }

    /// The facts about one request, by what the listener wants now: who reaches it, and for whom a proxy speaks.
    fn judge(&self, manner: &Manner<H>, head: &Parts, framing: Framing) -> (ConnectionFacts, Framing) {
        let mut facts = self.facts.clone();
        facts.vouched = facts.vouched.or_else(|| manner.identity.clone());
        let is_welcome = manner.lets_in(self.proxy.map(|proxy| proxy.ip()));
        let lapse = match manner.lapse_of(self.peer.as_ref()) {
            None if !is_welcome => Some(Lapse::Proxy),
            lapse => lapse,
        };
        if lapse.is_some() {
            self.ended.notify_one();
        }
        let framing = match lapse {
            Some(lapse) if framing == Framing::Clear => Framing::Lapsed(lapse),
            _ => framing,
        };
        if !is_welcome {
            // Whom it has named is not known any more.
            facts.peer = self.proxy.unwrap_or(facts.peer);
            return (facts, framing);
        }
        let Some(settings) = &manner.forwarded else { return (facts, framing) };
        match forwarded::client(facts.peer, &head.headers, settings) {
            Ok(peer) => (ConnectionFacts { peer, ..facts }, framing),
            Err(fault) if framing == Framing::Clear => (facts, Framing::Unplaced(fault)),
            Err(_) => (facts, framing),
        }
    }
}

impl Service {
    /// Answers one request. `stream` is the HTTP/2 stream it came on.
    pub(super) fn answer<H: Handler>(
        self: Arc<Self>,
        request: Request<Incoming>,
        line: &Line<H>,
        framing: Framing,
        stream: Option<OpenStream>,
    ) -> impl Future<Output = Result<Response<EdgeBody<H::Body>>, Infallible>> + Send + use<H> {
        let received = Instant::now();
        let (mut head, body) = request.into_parts();
        head.extensions.remove::<OnUpgrade>();
        let (handler, (connection, framing)) = {
            let manner = line.manner.load();
            (manner.handler.clone(), line.judge(&manner, &head, framing))
        };
        let mut facts = AnswerFacts::of(&head, framing);
        let framing = match oversize(&head, &self.limits) {
            Some(oversize) if framing == Framing::Clear => Framing::Oversized(oversize),
            _ => framing,
        };
        detach(&mut head, http_body::Body::size_hint(&body).exact());
        let request_id = RequestId::generate();
        let arrival =
            Arrival { request_id: request_id.clone(), received, connection, framing, head: Box::new(head), body };
        // Takes along as little as possible: hyper copies the future of each request, and each open request keeps it.
        async move {
            let response = match AssertUnwindSafe(call(&handler, arrival)).catch_unwind().await {
                Ok(response) => response.map(|body| EdgeBody::handler(body, Arc::clone(&self.budget))),
                Err(_panic) => {
                    // The panic hook has told what happened; this tells to whom.
                    tracing::error!(request_id = %request_id, "request handler panicked");
                    facts.close = true;
                    own_response(&request_id)
                }
            };
            // A client that is told does not use the connection again, so it loses no request when the connection is closed.
            facts.close |= self.stop.is_leaving();
            let response = facts.fit(response, &request_id);
            Ok(match stream {
                Some(stream) => response.map(|body| body.on_stream(stream)),
                None => response,
            })
        }
    }
}

// A function of its own, so that a panic before the first await is caught as well. Boxed where it is made: the future of a handler has
// several KiB, and hyper copies what it is given, and keeps room for it for as long as the connection lives.
async fn call<H: Handler>(handler: &H, arrival: Arrival) -> Response<H::Body> {
    Box::pin(handler.handle(arrival)).await
}

/// What of the request decides how its answer may look.
struct AnswerFacts {
    connect: bool,
    http1: bool,
    /// Whether nothing may follow on the connection.
    close: bool,
}

impl AnswerFacts {
    fn of(head: &Parts, framing: Framing) -> Self {
        Self {
            connect: head.method == Method::CONNECT,
            http1: head.version < Version::HTTP_2,
            close: framing != Framing::Clear,
        }
    }

    /// Replaces an answer that would make hyper switch protocols, and closes where nobody knows what follows.
    fn fit<B>(&self, mut response: Response<EdgeBody<B>>, request_id: &RequestId) -> Response<EdgeBody<B>> {
        let status = response.status();
        if status.is_informational() || (self.connect && status.is_success()) {
            tracing::error!(request_id = %request_id, %status, "handler gave an answer that would end HTTP");
            response = own_response(request_id);
        }
        if self.close && self.http1 {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// What of a head is larger than allowed.
fn oversize(head: &Parts, limits: &ConnectionLimits) -> Option<Oversize> {
    let authority = head.uri.authority().filter(|_| head.version < Version::HTTP_2);
    let target_bytes =
        head.uri.path_and_query().map_or(0, |path| path.as_str().len()) + authority.map_or(0, |a| a.as_str().len());
    if target_bytes > limits.max_target_bytes {
        return Some(Oversize::Target);
    }
    (head.headers.len() > limits.max_headers).then_some(Oversize::Fields)
}

/// The answer in place of a handler's that panicked, or that cannot be sent.
fn own_response<B>(request_id: &RequestId) -> Response<EdgeBody<B>> {
    const REQUEST_ID: HeaderName = HeaderName::from_static("x-amz-request-id");
    // Nothing of it comes from the client, so nothing has to be escaped.
    let xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <Error><Code>InternalError</Code><Message>An internal error occurred. Please try again.</Message>\
         <RequestId>{request_id}</RequestId></Error>"
    );
    let mut response = Response::new(EdgeBody::own(xml));
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    if let Ok(id) = HeaderValue::from_str(request_id.as_str()) {
        headers.insert(REQUEST_ID, id);
    }
    response
}

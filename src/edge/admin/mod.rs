//! The admin listener: is it alive, is it ready, what does it count, and the operator's page.
//!
//! Probes are for everybody who reaches it; whatever shows requests or changes something has to pass `gate` first. What is shown is told
//! by [`AdminState`]. No path of it exists on the data listeners, where such names are bucket names. HTTP/1.1 only.
//! Source: `docs/THREATS.md` A12, L14; `docs/CONSOLE.md`.

mod access;
mod attempts;
mod gate;
mod places;

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY, RETRY_AFTER,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::drain::{Stop, reap};
use super::listener::{Exchanged, Listener, Listeners, next_connection};
use super::rate_guard::{Pace, RateGuard};
use super::stream::Stream;
use super::tls::Secured;
use crate::bounded;

pub use access::{Access, AdminToken, MetricsAccess};

use attempts::Attempts;
use gate::{Gate, Peer, Refused, Wanted};
use places::{Place, Places};

/// Probes, scrapers and operators need a few; the rest is for what only waits. They share nothing with the data connections, so these cannot
/// lock them out.
const MAX_CONNECTIONS: usize = 256;
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_HEAD_BYTES: usize = 8 * 1024;
/// A question to the rules has a few hundred bytes.
const MAX_BODY_BYTES: usize = 16 * 1024;
const PACE: Pace = Pace { idle_timeout: Duration::from_secs(10), min_rate: 1024, window: Duration::from_secs(10) };

/// The body of an answer.
pub type AdminBody = UnsyncBoxBody<Bytes, Infallible>;

/// A request for the operator's page that may be answered.
#[derive(Debug, Clone)]
pub struct AdminRequest {
    /// `GET`, `HEAD` or `POST`; a `POST` came from no other site.
    pub method: Method,
    /// The path as it was sent.
    pub path: String,
    /// The whole body.
    pub body: Bytes,
    /// Who asks, for the log.
    pub who: String,
    /// Whether the gateway has been told to stop.
    pub stopping: bool,
}

/// What the admin listener tells about.
pub trait AdminState: Send + Sync + 'static {
    /// Why requests should not be sent here now, one line each; empty when ready. Must be quick.
    fn not_ready(&self) -> Vec<String>;
    /// What an operator should know although requests are served, one line each. Must be quick.
    fn notes(&self) -> Vec<String>;
    /// All metrics in the Prometheus text format. Must be quick.
    fn metrics(&self) -> String;
    /// Who may ask for more than that; asked for each request, so that it can change.
    fn access(&self) -> Arc<Access>;
    /// Answers `/` and everything below `/api/`.
    fn console(&self, request: AdminRequest) -> BoxFuture<'_, Response<AdminBody>>;
    /// A request was not let through, or a connection made room for another; `reason` is a fixed word.
    fn refused(&self, reason: &'static str);
}

/// Serves until the future is dropped.
pub(super) async fn serve(listener: Listener<()>, state: Arc<dyn AdminState>, stop: Stop) {
    let manner = Arc::clone(&listener.manner);
    let mut listeners = Listeners::new(vec![listener]);
    let places = Places::new(MAX_CONNECTIONS);
    let admin = Arc::new(Admin { state, stop, manner, attempts: Attempts::default() });
    let mut connections = JoinSet::new();
    loop {
        let accepted = next_connection(&mut listeners).await;
        let address = accepted.facts.peer.ip();
        let place = loop {
            match places.take(address, Instant::now()) {
                Ok(place) => break place,
                Err(wait) => sleep(wait).await,
            }
        };
        if place.is_of_another() {
            admin.state.refused("crowded");
        }
        reap(&mut connections);
        let (admin, place) = (Arc::clone(&admin), Arc::new(place));
        connections.spawn(async move {
            let peer = Peer { address, certificate: None, tls: None };
            tokio::select! {
                () = place.is_lost() => tracing::debug!(peer = %address, "admin connection cut to make room"),
                () = serve_connection(accepted.stream, peer, admin, &place) => {}
            }
        });
    }
}

async fn serve_connection(stream: Stream, mut peer: Peer, admin: Arc<Admin>, place: &Arc<Place>) {
    let stream = RateGuard::new(stream, PACE);
    let tls = admin.manner.load().tls.clone();
    let Some(tls) = tls else { return serve_http(stream, peer, admin, place).await };
    let outcome = timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await;
    drop(tls);
    match outcome {
        Ok(Ok(Secured { stream, certificate, peer: client, .. })) => {
            peer.certificate = certificate.map(|certificate| certificate.subject);
            peer.tls = Some(client);
            serve_http(stream, peer, admin, place).await;
        }
        Ok(Err(error)) => tracing::debug!(peer = %peer.address, %error, "TLS handshake of an admin connection failed"),
        Err(_elapsed) => tracing::debug!(peer = %peer.address, "TLS handshake of an admin connection took too long"),
    }
}

async fn serve_http(stream: impl AsyncRead + AsyncWrite + Unpin, peer: Peer, admin: Arc<Admin>, place: &Arc<Place>) {
    let peer = Arc::new(peer);
    let answer = move |request: Request<Incoming>| {
        let (admin, peer, place) = (Arc::clone(&admin), Arc::clone(&peer), Arc::clone(place));
        async move {
            place.asked();
            Ok::<_, Infallible>(admin.answer(request, &peer, &place).await)
        }
    };
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_header_size(MAX_HEAD_BYTES);
    let connection = pin!(builder.serve_connection(TokioIo::new(stream), service_fn(answer)));
    if let Err(error) = connection.await {
        tracing::debug!(%error, "admin connection ended with an error");
    }
}

/// What all connections share.
struct Admin {
    state: Arc<dyn AdminState>,
    stop: Stop,
    /// Its TLS, which can change.
    manner: Exchanged<()>,
    attempts: Attempts,
}

impl Admin {
    async fn answer(&self, request: Request<Incoming>, peer: &Peer, place: &Arc<Place>) -> Response<AdminBody> {
        let (head, body) = request.into_parts();
        let lapse = self.manner.load().lapse_of(peer.tls.as_ref());
        let answer = match lapse {
            None => self.route(&head, body, peer, place).await,
            Some(lapse) => Err(Refused::Lapsed(lapse)),
        };
        guarded(match answer {
            Ok(response) => response,
            Err(refused) => {
                self.state.refused(refused.word());
                if refused.is_worth_a_warning() {
                    tracing::warn!(peer = %peer.address, path = head.uri.path(), reason = %refused, "admin request refused");
                }
                refusal(&refused)
            }
        })
    }

    async fn route(
        &self,
        head: &Parts,
        body: Incoming,
        peer: &Peer,
        place: &Arc<Place>,
    ) -> Result<Response<AdminBody>, Refused> {
        let Some(wanted) = Wanted::of(head.uri.path()) else {
            return Ok(text(StatusCode::NOT_FOUND, "not found\n"));
        };
        let is_read = head.method == Method::GET || head.method == Method::HEAD;
        let is_change = head.method == Method::POST && wanted == Wanted::Api;
        if !is_read && !is_change {
            return Ok(wrong_method(if wanted == Wanted::Api { "GET, HEAD, POST" } else { "GET, HEAD" }));
        }
        let access = self.state.access();
        let gate = Gate { access: &access, attempts: &self.attempts, now: Instant::now() };
        match wanted {
            Wanted::Health => Ok(text(StatusCode::OK, "ok\n")),
            // Reasons name stores and issuers.
            Wanted::Readiness => Ok(self.readiness(gate.may_read(head, peer))),
            Wanted::Metrics => {
                gate.check_metrics(head, peer)?;
                Ok(metrics(self.state.metrics()))
            }
            Wanted::Page | Wanted::Api => {
                let who = gate.check(wanted, head, peer)?;
                // Not waited for where nobody was identified: whoever asks for the page may be a stranger.
                let body = if is_change { read(body).await? } else { Bytes::new() };
                let served = (wanted == Wanted::Api).then(|| place.serve());
                let request = AdminRequest {
                    method: head.method.clone(),
                    path: head.uri.path().to_owned(),
                    body,
                    who,
                    stopping: self.stop.is_leaving(),
                };
                let answer = self.state.console(request).await;
                Ok(match served {
                    Some(served) => answer.map(|body| served.until_sent(body)),
                    None => answer,
                })
            }
        }
    }

    fn readiness(&self, with_reasons: bool) -> Response<AdminBody> {
        let mut reasons = self.state.not_ready();
        if self.stop.is_leaving() {
            reasons.insert(0, "shutting down".to_owned());
        }
        let (status, word) = match reasons.is_empty() {
            true => (StatusCode::OK, "ready"),
            false => (StatusCode::SERVICE_UNAVAILABLE, "not ready"),
        };
        let mut lines = match with_reasons {
            true => [reasons, self.state.notes().into_iter().map(|note| format!("note: {note}")).collect()].concat(),
            false => Vec::new(),
        };
        if status == StatusCode::OK || !with_reasons {
            lines.insert(0, word.to_owned());
        }
        text(status, lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect::<String>())
    }
}

async fn read(body: Incoming) -> Result<Bytes, Refused> {
    match timeout(BODY_TIMEOUT, bounded::collect(body, MAX_BODY_BYTES)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(bounded::CollectError::TooLong(_))) => Err(Refused::TooLong),
        Ok(Err(bounded::CollectError::Body(_))) | Err(_) => Err(Refused::BrokenBody),
    }
}

fn refusal(refused: &Refused) -> Response<AdminBody> {
    let mut response = text(refused.status(), format!("{refused}\n"));
    if refused.status() == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if let Refused::Lapsed(_) = refused {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if let Some(wait) = refused.retry_after() {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(wait.as_secs()));
    }
    response
}

fn wrong_method(allowed: &'static str) -> Response<AdminBody> {
    let mut refusal = text(StatusCode::METHOD_NOT_ALLOWED, format!("only {allowed}\n"));
    refusal.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    refusal
}

fn metrics(rendered: String) -> Response<AdminBody> {
    let mut response = text(StatusCode::OK, rendered);
    let format = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, format);
    response
}

fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<AdminBody> {
    let mut response = Response::new(Full::new(text.into()).boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// What keeps other pages out, on every answer: not framed, not embedded, not kept, not guessed at. The page has a policy of its own.
fn guarded(mut response: Response<AdminBody>) -> Response<AdminBody> {
    const SAME_ORIGIN: HeaderValue = HeaderValue::from_static("same-origin");
    let headers = response.headers_mut();
    let strict = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(strict);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(HeaderName::from_static("cross-origin-opener-policy"), SAME_ORIGIN);
    headers.insert(HeaderName::from_static("cross-origin-resource-policy"), SAME_ORIGIN);
    response
}

//! The admin listener: is it alive, is it ready, what does it count.
//!
//! Clear text, no authentication, and therefore nothing here that changes anything or tells a secret. No path of
//! it exists on the data listeners, where such names are bucket names.
//! Source: `docs/THREATS.md` A12, L14.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::drain::{Stop, reap};
use super::listener::{Listener, Listeners, next_connection};
use super::rate_guard::{Pace, RateGuard};
use super::stream::Stream;

/// Probes and scrapers; they share nothing with the data connections, so these cannot lock them out.
const MAX_CONNECTIONS: usize = 64;
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_HEAD_BYTES: usize = 8 * 1024;
const PACE: Pace = Pace { idle_timeout: Duration::from_secs(10), min_rate: 1024, window: Duration::from_secs(10) };

/// What the admin listener tells about.
pub trait AdminState: Send + Sync + 'static {
    /// Why requests should not be sent here now, one line each; empty when ready. Must be quick.
    fn not_ready(&self) -> Vec<String>;
    /// What an operator should know although requests are served, one line each. Must be quick.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }
    /// All metrics in the Prometheus text format. Must be quick.
    fn metrics(&self) -> String;
}

/// Serves until the future is dropped.
pub(super) async fn serve(listener: TcpListener, state: Arc<dyn AdminState>, stop: Stop) {
    let mut listeners = Listeners::new(vec![Listener::tcp(listener, None)]);
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    while let Ok(slot) = slots.clone().acquire_owned().await {
        let accepted = next_connection(&mut listeners).await;
        reap(&mut connections);
        let (state, stop) = (state.clone(), stop.clone());
        connections.spawn(async move {
            serve_connection(accepted.stream, state, stop).await;
            drop(slot);
        });
    }
}

fn serve_connection(stream: Stream, state: Arc<dyn AdminState>, stop: Stop) -> impl Future<Output = ()> {
    let answer = move |request: Request<_>| {
        let stopping = stop.is_leaving();
        std::future::ready(Ok::<_, Infallible>(answer(&request, state.as_ref(), stopping)))
    };
    async move {
        let io = TokioIo::new(RateGuard::new(stream, PACE));
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_header_size(MAX_HEAD_BYTES);
        let connection = pin!(builder.serve_connection(io, service_fn(answer)));
        if let Err(error) = connection.await {
            tracing::debug!(%error, "admin connection ended with an error");
        }
    }
}

fn answer<B>(request: &Request<B>, state: &dyn AdminState, stopping: bool) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut refusal = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refusal;
    }
    match request.uri().path() {
        "/healthz" => text(StatusCode::OK, "ok\n"),
        "/readyz" => readiness(state, stopping),
        "/metrics" => {
            let mut metrics = text(StatusCode::OK, state.metrics());
            let format = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
            metrics.headers_mut().insert(CONTENT_TYPE, format);
            metrics
        }
        _ => text(StatusCode::NOT_FOUND, "not found\n"),
    }
}

fn readiness(state: &dyn AdminState, stopping: bool) -> Response<Full<Bytes>> {
    let mut reasons = state.not_ready();
    if stopping {
        reasons.insert(0, "shutting down".to_owned());
    }
    let status = match reasons.is_empty() {
        true => {
            reasons.push("ready".to_owned());
            StatusCode::OK
        }
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    reasons.extend(state.notes().into_iter().map(|note| format!("note: {note}")));
    let lines: String = reasons.iter().flat_map(|reason| [reason.as_str(), "\n"]).collect();
    text(status, lines)
}

fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

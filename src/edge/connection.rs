//! Serves one connection from its first byte to its last: TLS, then HTTP/1.1 or HTTP/2 as ALPN says.
//!
//! Every limit of hyper is set here on purpose, also where our value is hyper's default. Clear text is HTTP/1.1
//! only: `auto` detection in hyper-util waits for ever for the first bytes.
//! Source: `docs/DEFAULTS.md`; `docs/THREATS.md` K05, K12, K13, K15.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::Handler;
use super::drain::Stop;
use super::framing;
use super::listener::{Accepted, Manner};
use super::monitor::Monitor;
use super::proxy_header::{self, ProxyHeaderError};
use super::rate_guard::{Pace, RateGuard};
use super::service::{Line, Service};
use super::settings::ConnectionLimits;
use super::stream::Stream;
use super::streams::{Judgement, Streams};
use super::tls::{Protocol, Secured, Tls};
use super::wire_guard::{Verdicts, WireGuard};
use crate::arrival::{ConnectionFacts, UnreadableHead, Vouched};
use crate::base::RequestId;
use crate::flow::{Collect, MeteredReads, ReadAhead};

/// hyper's own value (408 KiB). Smaller buffers bound the memory of a stalled connection, but 64 KiB costs 1.5 times
/// the CPU per GiB; the head has its own limit (`max_header_size`), so this bounds body buffers only.
const H1_MAX_BUF_BYTES: usize = 8192 + 4096 * 100;

/// What one stream may send before we read it. An upload of 1 MiB per round trip is 10 MB/s at 100 ms.
const H2_STREAM_WINDOW: u32 = 1 << 20;
/// What all streams of a connection may send before we read it; hyper's 1 MiB would let one upload stop all others.
const H2_CONNECTION_WINDOW: u32 = 8 << 20;
/// Bytes that one stream may have buffered for sending.
const H2_MAX_SEND_BUF_BYTES: usize = 256 * 1024;
/// A ping after this much silence of the connection, so that a client that is gone frees its streams.
const H2_PING_INTERVAL: Duration = Duration::from_secs(20);
const H2_PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Streams that a client may open and reset before we saw them (rapid reset, CVE-2023-44487).
const H2_MAX_PENDING_RESETS: usize = 20;
/// Streams that a client may make us reset (CVE-2025-8671); hyper's default is 1024.
const H2_MAX_LOCAL_RESETS: usize = 128;

/// Serves the connection until it ends. Dropping the future cuts it.
pub(super) async fn serve<H: Handler>(accepted: Accepted<H>, service: Arc<Service>, mut stop: Stop, monitor: Monitor) {
    let Accepted { mut stream, mut facts, manner: current } = accepted;
    // For its beginning; each request asks again.
    let manner = current.load_full();
    let proxy = (!manner.proxies.is_empty()).then_some(facts.peer);
    if proxy.is_some() {
        // Boxed, here and below: a future has room for its largest branch, for as long as the connection lives.
        let client = tokio::select! {
            // As in a handshake: nothing is in flight yet.
            _ = stop.requested() => return,
            client = Box::pin(proxied(&mut stream, &manner, &facts, &service.limits)) => client,
        };
        match client {
            Ok(client) => facts.peer = client,
            Err(error) => {
                tracing::debug!(peer = %facts.peer, %error, "connection without a usable PROXY header");
                return monitor.handshake_failed();
            }
        }
    }
    let tls = manner.tls.clone();
    // It has a whole configuration, which would be kept for as long as the connection lives.
    drop(manner);
    let line = Line::new(facts, current, proxy);
    let stream = RateGuard::new(stream, Pace::of(&service.limits));
    match tls {
        None => serve_http1(stream, service, line, stop, &monitor).await,
        Some(tls) => Box::pin(serve_tls(stream, tls, service, line, stop, &monitor)).await,
    }
}

/// Whom a proxy has opened the connection for; itself, if it says so.
async fn proxied<H>(
    stream: &mut Stream,
    manner: &Manner<H>,
    facts: &ConnectionFacts,
    limits: &ConnectionLimits,
) -> Result<SocketAddr, NotProxied> {
    if !manner.lets_in(Some(facts.peer.ip())) {
        return Err(NotProxied::Stranger);
    }
    let header = timeout(limits.handshake_timeout, proxy_header::read(stream)).await.map_err(|_| NotProxied::Late)?;
    Ok(header?.unwrap_or(facts.peer))
}

/// Why a connection is not served where proxies have to say for whom they speak.
#[derive(Debug, thiserror::Error)]
enum NotProxied {
    #[error("only configured proxies may connect here")]
    Stranger,
    #[error("the PROXY header took too long")]
    Late,
    #[error(transparent)]
    Header(#[from] ProxyHeaderError),
}

async fn serve_tls<H: Handler>(
    stream: RateGuard<Stream>,
    tls: Arc<Tls>,
    service: Arc<Service>,
    mut line: Line<H>,
    mut stop: Stop,
    monitor: &Monitor,
) {
    let peer = line.facts.peer;
    let handshake = Box::pin(timeout(service.limits.handshake_timeout, tls.accept(ReadAhead::new(stream))));
    let Secured { stream, protocol, certificate, peer: client } = tokio::select! {
        // Nothing is in flight yet, so nothing is lost.
        _ = stop.requested() => return,
        outcome = handshake => match outcome {
            Ok(Ok(accepted)) => accepted,
            Ok(Err(error)) => {
                tracing::debug!(%peer, %error, "TLS handshake failed");
                return monitor.handshake_failed();
            }
            Err(_elapsed) => {
                tracing::debug!(%peer, "TLS handshake took too long");
                return monitor.handshake_failed();
            }
        },
    };
    // Keys and lists of revoked certificates, which the connection would keep beyond a reload.
    drop(tls);
    if let Some(certificate) = certificate {
        line.facts.vouched = Some(Arc::new(Vouched::Certificate(certificate)));
    }
    line.peer = Some(client);
    match protocol {
        Protocol::Http1 => {
            let mut stream = Collect::new(stream);
            stream.set_budget(Arc::clone(&service.budget));
            serve_http1(stream, service, line, stop, monitor).await
        }
        Protocol::Http2 => Box::pin(serve_http2(stream, service, line, stop, monitor)).await,
    }
}

async fn serve_http1<H, IO>(stream: IO, service: Arc<Service>, line: Line<H>, mut stop: Stop, monitor: &Monitor)
where
    H: Handler,
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let verdicts = Arc::new(Verdicts::default());
    let stream = MeteredReads::new(stream, Arc::clone(&service.budget));
    let io = TokioIo::new(WireGuard::new(stream, verdicts.clone(), &service.limits));
    let builder = http1_builder(&service.limits);
    // Not `with_upgrades`: no bytes are ever passed through.
    let (facts, manner) = (line.facts.clone(), Arc::clone(&line.manner));
    let mut connection = pin!(builder.serve_connection(
        io,
        service_fn(move |request| service.clone().answer(request, &line, verdicts.next(), None)),
    ));
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        _ = stop.requested() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Some(head) = outcome.as_ref().err().and_then(|error| unreadable(error, &facts)) {
        manner.load().handler.unreadable(head);
    }
    note_end(outcome, &facts, monitor);
}

/// hyper answers such heads by itself (400 or 431, no body), and no request comes of them.
fn unreadable(error: &hyper::Error, connection: &ConnectionFacts) -> Option<UnreadableHead> {
    error.is_parse().then(|| UnreadableHead {
        request_id: RequestId::generate(),
        received: std::time::Instant::now(),
        connection: connection.clone(),
        too_large: error.is_parse_too_large(),
        reason: error.to_string(),
    })
}

/// Most header fields of a head, unless hyper is told otherwise.
const HYPER_MAX_HEADERS: usize = 100;

fn http1_builder(limits: &ConnectionLimits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // Runs from the end of the last answer, so it bounds idle keep-alive connections too.
        .header_read_timeout(limits.head_timeout)
        .max_header_size(limits.max_head_bytes)
        .max_buf_size(H1_MAX_BUF_BYTES)
        .keep_alive(true)
        // A client that ends its side gives up: the handler is dropped and the upstream freed.
        .half_close(false)
        .pipeline_flush(false);
    // Told its own number, hyper 1.12 writes a table of that size for each head.
    if limits.max_headers != HYPER_MAX_HEADERS {
        builder.max_headers(limits.max_headers);
    }
    builder
}

async fn serve_http2<H, IO>(stream: IO, service: Arc<Service>, line: Line<H>, mut stop: Stop, monitor: &Monitor)
where
    H: Handler,
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits = service.limits.clone();
    let streams = Streams::new();
    let opened = streams.clone();
    let (facts, line) = (line.facts.clone(), Arc::new(line));
    let told = Arc::clone(&line);
    let builder = http2_builder(&limits);
    let mut connection = pin!(builder.serve_connection(
        TokioIo::new(stream),
        service_fn(move |request| {
            let (head, body) = request.into_parts();
            let framing = framing::of_h2(&head);
            let request = http::Request::from_parts(head, body);
            service.clone().answer(request, &line, framing, Some(opened.open()))
        }),
    ));
    let mut end = pin!(end_of_patience(&streams, &limits));
    let mut leaving = false;
    let outcome = loop {
        tokio::select! {
            outcome = connection.as_mut() => break outcome,
            _ = stop.requested(), if !leaving => {
                connection.as_mut().graceful_shutdown();
                leaving = true;
            }
            // HTTP/1.1 has `connection: close` for it.
            () = told.ended(), if !leaving => {
                connection.as_mut().graceful_shutdown();
                leaving = true;
            }
            judgement = end.as_mut() => match judgement {
                // The client is told first. If it does not go within another idle time, it is cut.
                Judgement::Idle(_) if !leaving => {
                    connection.as_mut().graceful_shutdown();
                    leaving = true;
                    end.set(end_of_patience(&streams, &limits));
                }
                _ => {
                    tracing::debug!(peer = %facts.peer, ?judgement, "HTTP/2 connection cut");
                    return monitor.stalled();
                }
            },
        }
    };
    note_end(outcome, &facts, monitor);
}

/// Waits until the connection has been idle or stalled for too long, counted from now at the earliest.
async fn end_of_patience(streams: &Streams, limits: &ConnectionLimits) -> Judgement {
    let shortest = limits.head_timeout.min(limits.body_idle_timeout);
    let mut ticks = interval((shortest / 4).clamp(Duration::from_millis(10), Duration::from_secs(5)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let start = Instant::now();
    loop {
        let now = ticks.tick().await;
        match streams.judge(now, limits.head_timeout, limits.body_idle_timeout) {
            Judgement::Busy => {}
            Judgement::Idle(_) if now - start < limits.head_timeout => {}
            judgement => return judgement,
        }
    }
}

fn http2_builder(limits: &ConnectionLimits) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.h2_max_streams)
        .max_header_list_size(u32::try_from(limits.max_head_bytes).unwrap_or(u32::MAX))
        .initial_stream_window_size(H2_STREAM_WINDOW)
        .initial_connection_window_size(H2_CONNECTION_WINDOW)
        .max_send_buf_size(H2_MAX_SEND_BUF_BYTES)
        .keep_alive_interval(H2_PING_INTERVAL)
        .keep_alive_timeout(H2_PING_TIMEOUT)
        .max_pending_accept_reset_streams(H2_MAX_PENDING_RESETS)
        .max_local_error_reset_streams(H2_MAX_LOCAL_RESETS);
    builder
}

fn note_end(outcome: hyper::Result<()>, facts: &ConnectionFacts, monitor: &Monitor) {
    if let Err(error) = outcome {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        // Clients that leave in the middle are everyday; the requests concerned are in the audit.
        tracing::debug!(peer = %facts.peer, %error, ?cause, "connection ended with an error");
        if super::rate_guard::is_too_slow(&error) {
            monitor.stalled();
        }
        if error.is_parse() {
            monitor.unreadable_head();
        }
    }
}

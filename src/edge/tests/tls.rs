//! TLS, ALPN and what is different on HTTP/2.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Uri, Version};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::world::{Admin, Event, Probe, World, limits, settings, soon};
use crate::arrival::{Framing, Oversize};
use crate::edge::{BindError, ConnectionLimits, Edge, Inherited, TlsError, TlsSettings};
use crate::flow::Budget;

/// Long enough for a busy machine to do everything else in time.
const SHORT: Duration = Duration::from_millis(500);

/// A self-signed certificate for `localhost` in files.
struct Identity {
    directory: TempDir,
    certificate: CertificateDer<'static>,
}

impl Identity {
    fn new() -> Self {
        let identity = Self { directory: tempfile::tempdir().unwrap(), certificate: CertificateDer::from(vec![]) };
        Self { certificate: identity.renew(), ..identity }
    }

    /// Writes another certificate and key into the same files.
    fn renew(&self) -> CertificateDer<'static> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let TlsSettings { certificate, key, .. } = self.settings();
        std::fs::write(certificate, made.cert.pem()).unwrap();
        std::fs::write(key, made.signing_key.serialize_pem()).unwrap();
        made.cert.der().clone()
    }

    fn settings(&self) -> TlsSettings {
        TlsSettings { certificate: self.path("cert.pem"), key: self.path("key.pem"), client: None }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

async fn connect(world: &World, trusted: &CertificateDer<'static>, alpn: &[&str]) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(world.address()).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    soon("TLS handshake", TlsConnector::from(Arc::new(config)).connect(name, stream)).await.unwrap()
}

struct Http2 {
    world: World,
    send: SendRequest<Full<Bytes>>,
    connection: JoinHandle<hyper::Result<()>>,
}

impl Http2 {
    async fn start(limits: ConnectionLimits) -> Self {
        let identity = Identity::new();
        let world = World::start_tls(limits, identity.settings()).await;
        let (send, connection) = Self::handshake(&world, &identity).await;
        Self { world, send, connection }
    }

    async fn connect(world: &World, identity: &Identity) -> SendRequest<Full<Bytes>> {
        Self::handshake(world, identity).await.0
    }

    async fn handshake(
        world: &World,
        identity: &Identity,
    ) -> (SendRequest<Full<Bytes>>, JoinHandle<hyper::Result<()>>) {
        let stream = connect(world, &identity.certificate, &["h2", "http/1.1"]).await;
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
        let io = TokioIo::new(stream);
        let builder = http2::Builder::new(TokioExecutor::new()).timer(TokioTimer::new()).clone();
        let (send, connection) = builder.handshake(io).await.unwrap();
        (send, tokio::spawn(connection))
    }

    async fn get(&mut self, target: &str) -> hyper::Result<Response<Incoming>> {
        self.request(Request::get(format!("https://localhost{target}"))).await
    }

    async fn request(&mut self, head: http::request::Builder) -> hyper::Result<Response<Incoming>> {
        let request = head.body(Full::default()).unwrap();
        soon("h2 answer", self.send.send_request(request)).await
    }
}

async fn text(response: Response<Incoming>) -> String {
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

#[tokio::test]
async fn alpn_chooses_the_http_version_and_no_alpn_is_http1() {
    let identity = Identity::new();
    let mut world = World::start_tls(limits(), identity.settings()).await;
    for alpn in [&["http/1.1"] as &[&str], &[]] {
        let mut stream = connect(&world, &identity.certificate, alpn).await;
        stream.write_all(b"GET /one HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        soon("answer", stream.read_to_string(&mut answer)).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        world.arrival_of("/one").await;
        world.event().await;
    }
    let mut send = Http2::connect(&world, &identity).await;
    let request = Request::put("https://localhost/two").body(Full::from(vec![0; 3 << 20])).unwrap();
    let response = soon("h2 answer", send.send_request(request)).await.unwrap();
    assert_eq!((response.version(), response.status()), (Version::HTTP_2, StatusCode::OK));
    let arrived = Event::Arrived(Method::PUT, "https://localhost/two".to_owned(), Framing::Clear);
    assert_eq!(world.event().await, arrived);
    assert_eq!(world.event().await, Event::BodyRead(Ok(3 << 20)));
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes().len(), 3 << 20);
}

#[tokio::test]
async fn k07_ambiguous_framing_is_found_inside_tls_too() {
    let identity = Identity::new();
    let mut world = World::start_tls(limits(), identity.settings()).await;
    let mut stream = connect(&world, &identity.certificate, &["http/1.1"]).await;
    let head = b"PUT /k HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n";
    stream.write_all(head).await.unwrap();
    let Event::Arrived(_, _, Framing::Ambiguous(_)) = world.event().await else { panic!("must be ambiguous") };
}

#[tokio::test]
async fn a_large_upload_over_tls_arrives_whole() {
    let identity = Identity::new();
    let mut world = World::start_tls(limits(), identity.settings()).await;
    let mut stream = connect(&world, &identity.certificate, &["http/1.1"]).await;
    let content: Vec<u8> = (0..5_000_000_u32).map(|n| (n / 7) as u8).collect();
    let head = "PUT /k HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000000\r\nConnection: close\r\n\r\n";
    let (mut read, mut write) = tokio::io::split(&mut stream);
    let mut answer = Vec::new();
    let (sent, received) = soon("echo", async {
        let send = async {
            write.write_all(head.as_bytes()).await?;
            write.write_all(&content).await?;
            write.flush().await
        };
        tokio::join!(send, read.read_to_end(&mut answer))
    })
    .await;
    sent.unwrap();
    received.unwrap();
    assert!(answer.ends_with(&content));
    world.event().await;
    assert_eq!(world.event().await, Event::BodyRead(Ok(content.len())));
}

#[tokio::test]
async fn k13_a_slow_handshake_is_cut() {
    let mut short = limits();
    short.handshake_timeout = SHORT;
    let world = World::start_tls(short, Identity::new().settings()).await;
    let mut silent = world.connect().await;
    assert_eq!(silent.rest().await, "");
    let mut clear_text = world.connect().await;
    clear_text.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert!(!clear_text.rest().await.contains("HTTP"));
    assert_eq!(world.monitor.failed_handshakes(), 2);
}

#[tokio::test]
async fn certificates_are_replaced_without_a_restart_and_kept_if_the_new_ones_are_bad() {
    let identity = Identity::new();
    let world = World::start_tls(limits(), identity.settings()).await;
    connect(&world, &identity.certificate, &[]).await;
    let renewed = identity.renew();
    world.certificates.reload().unwrap();
    connect(&world, &renewed, &[]).await;

    std::fs::write(identity.path("key.pem"), "").unwrap();
    let error = world.certificates.reload().unwrap_err();
    assert!(matches!(error, BindError::Tls { source, .. } if matches!(*source, TlsError::NoKey(_))));
    connect(&world, &renewed, &[]).await;
}

#[tokio::test]
async fn a_tls_error_names_the_file() {
    let (identity, other) = (Identity::new(), Identity::new());
    let bind = |tls| Edge::bind(settings(limits(), Some(tls)), Probe::unheard(), Budget::new(0), Inherited::none());
    let error = |tls| match bind(tls) {
        Err(BindError::Tls { source, .. }) => source.to_string(),
        other => panic!("{other:?}"),
    };
    let TlsSettings { certificate, key, .. } = identity.settings();
    let missing = TlsSettings { certificate: identity.path("missing.pem"), key: key.clone(), client: None };
    assert!(error(missing).contains("missing.pem"));
    let no_certificate = TlsSettings { certificate: key.clone(), key: key.clone(), client: None };
    assert!(error(no_certificate).ends_with("key.pem has no certificate"));
    let no_key = TlsSettings { certificate: certificate.clone(), key: certificate.clone(), client: None };
    assert!(error(no_key).ends_with("cert.pem has no private key"));
    let not_a_pair = TlsSettings { certificate, key: other.settings().key, client: None };
    assert!(error(not_a_pair).contains("cert.pem with key"));
}

#[tokio::test]
async fn k11_http2_heads_are_checked_for_a_second_reading() {
    let mut h2 = Http2::start(limits()).await;
    for (head, rule) in [
        (Request::get("https://localhost/k").header("host", "other"), Some("`:authority` differs from Host")),
        (Request::get("https://localhost/k").header("host", "LOCALHOST"), None),
        (
            Request::get("https://localhost/k").header("host", "localhost").header("host", "localhost"),
            Some("several Host"),
        ),
        (
            Request::get("https://localhost/k").header("content-length", "0").header("content-length", "0"),
            Some("several Content-Length"),
        ),
        (
            Request::get("https://localhost/k").header("content-length", "00"),
            Some("Content-Length is not a plain decimal number"),
        ),
        (Request::get("https://localhost/k"), None),
    ] {
        let shown = format!("{head:?}");
        h2.request(head).await.unwrap();
        let framing = rule.map_or(Framing::Clear, Framing::Ambiguous);
        let arrived = Event::Arrived(Method::GET, "https://localhost/k".to_owned(), framing);
        assert_eq!(h2.world.event().await, arrived, "{shown}");
        if rule.is_none() {
            h2.world.event().await;
        }
    }
}

#[tokio::test]
async fn k05_connect_on_http2_is_ambiguous_and_opens_no_tunnel() {
    let mut h2 = Http2::start(limits()).await;
    let refused = h2.request(Request::connect("localhost:443")).await.unwrap();
    assert_eq!(refused.status(), StatusCode::INTERNAL_SERVER_ERROR, "the test handler says 200");
    let Event::Arrived(Method::CONNECT, _, Framing::Ambiguous(rule)) = h2.world.event().await else {
        panic!("CONNECT must arrive as ambiguous");
    };
    assert!(rule.starts_with("CONNECT"));
}

#[tokio::test]
async fn k15_http2_limits_of_the_head_are_answered_on_the_stream() {
    let mut small = limits();
    small.max_head_bytes = 8 * 1024;
    let mut h2 = Http2::start(small.clone()).await;
    let long_target = format!("/{}", "k".repeat(limits().max_target_bytes));
    let too_long = h2.get(&long_target).await.unwrap();
    assert_eq!(too_long.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let Event::Arrived(_, _, Framing::Oversized(Oversize::Target)) = h2.world.event().await else {
        panic!("a long target must arrive as oversized");
    };
    let many = (0..=limits().max_headers)
        .fold(Request::get("https://localhost/k"), |head, n| head.header(format!("x-amz-meta-{n}"), "v"));
    assert_eq!(h2.request(many).await.unwrap().status(), StatusCode::PAYLOAD_TOO_LARGE);
    let Event::Arrived(_, _, Framing::Oversized(Oversize::Fields)) = h2.world.event().await else {
        panic!("many fields must arrive as oversized");
    };
    let long = Request::get("https://localhost/k").header("x-amz-meta-a", "a".repeat(small.max_head_bytes));
    assert_eq!(h2.request(long).await.unwrap().status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    assert_eq!(h2.world.events_so_far(), []);
    assert_eq!(h2.get("/k").await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn l07_a_panic_on_http2_leaves_the_other_streams_alone() {
    let mut h2 = Http2::start(limits()).await;
    let mut other = h2.send.clone();
    let waiting = tokio::spawn(async move {
        other.send_request(Request::get("https://localhost/wait").body(Full::default()).unwrap()).await
    });
    h2.world.arrival_of("https://localhost/wait").await;
    let panicked = h2.get("/panic").await.unwrap();
    assert_eq!(panicked.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert!(text(panicked).await.contains("<Code>InternalError</Code>"));
    h2.world.go_on();
    assert_eq!(text(soon("answer", waiting).await.unwrap().unwrap()).await, "waited");
}

#[tokio::test]
async fn k12_a_stream_whose_client_takes_nothing_costs_the_connection_and_no_other() {
    let mut short = limits();
    short.body_idle_timeout = SHORT;
    let identity = Identity::new();
    let mut world = World::start_tls(short, identity.settings()).await;
    let mut standing = Http2::connect(&world, &identity).await;
    let mut other = Http2::connect(&world, &identity).await;
    let endless = || Request::get("https://localhost/endless").body(Full::default()).unwrap();
    let response = soon("head", standing.send_request(endless())).await.unwrap();
    world.arrival_of("https://localhost/endless").await;

    // The other reads all the time, far longer than the limit.
    let mut moving = soon("head", other.send_request(endless())).await.unwrap().into_body();
    world.arrival_of("https://localhost/endless").await;
    let dropped = soon("cut", async {
        loop {
            tokio::select! {
                event = world.event() => return event,
                frame = moving.frame() => assert!(frame.unwrap().is_ok()),
            }
        }
    })
    .await;
    assert_eq!(dropped, Event::Dropped);
    assert_eq!(world.monitor.stalled_connections(), 1);
    assert!(response.into_body().collect().await.is_err());
    assert!(soon("frame", moving.frame()).await.unwrap().is_ok());
}

#[tokio::test]
async fn k13_an_http2_connection_without_streams_is_ended() {
    let mut short = limits();
    short.head_timeout = SHORT;
    let mut h2 = Http2::start(short.clone()).await;
    assert_eq!(h2.get("/k").await.unwrap().status(), StatusCode::OK);
    let end = soon("end of the idle connection", h2.connection).await.unwrap();
    assert!(end.is_ok(), "the client was told: {end:?}");
    assert_eq!(h2.world.monitor.stalled_connections(), 0);

    // A client that chooses h2 and then says nothing.
    let identity = Identity::new();
    let world = World::start_tls(short, identity.settings()).await;
    let mut silent = connect(&world, &identity.certificate, &["h2"]).await;
    soon("end of the silent connection", silent.read_to_end(&mut Vec::new())).await.ok();
    assert_eq!(world.monitor.stalled_connections(), 1);
}

#[tokio::test]
async fn a_drain_lets_http2_streams_finish_and_cuts_at_the_deadline() {
    let mut h2 = Http2::start(limits()).await;
    let pending = h2.send.send_request(Request::get("https://localhost/wait").body(Full::default()).unwrap());
    h2.world.arrival_of("https://localhost/wait").await;
    h2.world.request_stop();
    h2.world.go_on();
    assert_eq!(text(soon("answer", pending).await.unwrap()).await, "waited");
    let report = h2.world.end().await;
    assert_eq!((report.open, report.cut), (1, 0));

    let identity = Identity::new();
    let mut short = settings(limits(), Some(identity.settings()));
    short.drain_timeout = SHORT;
    let mut world = World::start_with(short, Admin::default()).await;
    let mut send = Http2::connect(&world, &identity).await;
    let pending = send.send_request(Request::get("https://localhost/wait").body(Full::default()).unwrap());
    world.arrival_of("https://localhost/wait").await;
    world.request_stop();
    assert_eq!(world.event().await, Event::Dropped);
    assert!(soon("end", pending).await.is_err());
    let report = world.end().await;
    assert_eq!((report.open, report.cut), (1, 1));
}

#[tokio::test]
async fn l07_a_panic_in_the_body_of_an_answer_ends_its_http2_stream_only() {
    let mut h2 = Http2::start(limits()).await;
    let get = |path: &str| Request::get(format!("https://localhost{path}")).body(Full::default()).unwrap();
    let pending = h2.send.send_request(get("/wait"));
    h2.world.arrival_of("https://localhost/wait").await;
    let broken = soon("head", h2.send.send_request(get("/panic-late"))).await.unwrap();
    assert!(soon("end of the stream", broken.into_body().collect()).await.is_err());
    h2.world.go_on();
    assert_eq!(text(soon("answer", pending).await.unwrap()).await, "waited");
    assert_eq!(soon("answer", h2.send.send_request(get("/"))).await.unwrap().status(), 200);
}

#[tokio::test]
async fn k06_http2_is_not_spoken_in_clear_text() {
    let world = World::start(limits()).await;
    let stream = TcpStream::connect(world.address()).await.unwrap();
    let builder = http2::Builder::new(TokioExecutor::new());
    let (mut send, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(async { connection.await.ok() });
    let request = Request::get(Uri::from_static("http://h/")).body(Empty::<Bytes>::new()).unwrap();
    assert!(soon("refusal", send.send_request(request)).await.is_err());
}

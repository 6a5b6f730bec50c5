//! TLS towards clients: HTTP/2 and HTTP/1.1 as ALPN says, refusals in the middle of an upload, and what is no TLS of ours.

use std::convert::Infallible;
use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{Request, StatusCode, Version};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::support::certs::{Authority, provider};
use super::support::{Answer, Client, Gateway, Recorder, Response, Setup, Store, StoreKind, eventually, pattern, raw};

type AnyBody = BoxBody<Bytes, Infallible>;

/// One connection that requests can be sent on.
enum Connection {
    Http1(http1::SendRequest<AnyBody>),
    Http2(http2::SendRequest<AnyBody>),
}

async fn handshake(gateway: &Gateway, config: rustls::ClientConfig) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(gateway.address).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// Connects with these protocols on offer.
async fn connect(gateway: &Gateway, authority: &Authority, protocols: &[&str]) -> Connection {
    let stream = handshake(gateway, authority.client(protocols)).await.unwrap();
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        return Connection::Http2(sender);
    }
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    Connection::Http1(sender)
}

/// A request for a client; the body is given apart.
fn request(client: &Client, method: &str, target: &str, headers: &[(&str, &str)], body: AnyBody) -> Request<AnyBody> {
    let mut request = Request::builder().method(method).header("authorization", format!("Bearer {}", client.token));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.uri(format!("https://{}{target}", client.address)).body(body).unwrap()
}

fn whole(body: impl Into<Bytes>) -> AnyBody {
    Full::new(body.into()).boxed()
}

/// In pieces, without telling anybody how long it is.
fn pieces(body: &[u8]) -> AnyBody {
    let frames: Vec<_> = body.chunks(50_000).map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece)))).collect();
    BodyExt::boxed(StreamBody::new(stream::iter(frames)))
}

impl Connection {
    async fn send(&mut self, mut request: Request<AnyBody>) -> hyper::Result<(Version, Response)> {
        let response = match self {
            Self::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Self::Http1(sender) => {
                sender.ready().await?;
                let host = request.uri().authority().unwrap().to_string();
                request.headers_mut().insert("host", host.parse().unwrap());
                *request.uri_mut() = request.uri().path_and_query().unwrap().as_str().parse().unwrap();
                sender.send_request(request).await?
            }
        };
        let (head, body) = response.into_parts();
        let body = body.collect().await?.to_bytes().to_vec();
        Ok((head.version, Response { status: head.status, headers: head.headers, body }))
    }
}

async fn gateway_before(setup: Setup) -> (Gateway, Authority) {
    let authority = Authority::new();
    let identity = authority.vouch_for(&["127.0.0.1"]);
    (setup.tls(&identity).start().await, authority)
}

#[tokio::test]
async fn objects_go_through_whatever_http_is_chosen_by_alpn() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let (gateway, authority) = gateway_before(store.setup()).await;
        let body = pattern((10 << 20) + 3);
        for (offered, chosen) in [
            (&["h2", "http/1.1"][..], Version::HTTP_2),
            (&["http/1.1", "h2"], Version::HTTP_2),
            (&["h2"], Version::HTTP_2),
            (&["http/1.1"], Version::HTTP_11),
            (&[], Version::HTTP_11),
        ] {
            store.remove("a/x").await;
            let mut connection = connect(&gateway, &authority, offered).await;
            let put = request(&gateway.a, "PUT", "/bkt/a/x", &[], whole(body.clone()));
            let (version, put) = connection.send(put).await.unwrap();
            assert_eq!((version, put.status), (chosen, StatusCode::OK), "{kind:?} {offered:?}: {}", put.text());
            assert!(store.read("a/x").await.unwrap() == body, "{kind:?} {offered:?}");
            let get = request(&gateway.a, "GET", "/bkt/a/x", &[], whole(""));
            let (version, got) = connection.send(get).await.unwrap();
            assert!((version, got.status) == (chosen, StatusCode::OK) && got.body == body, "{kind:?} {offered:?}");
        }
        assert!(gateway.records().iter().all(|record| record.tls));
    }
}

const PICTURES: &str = "
  - { name: small, who: { tokens: [a] }, where: bkt/a/, what: [read, write], limits: { max_size: 80MiB } }
  - { name: pictures, who: { tokens: [a] }, where: bkt/pictures/, what: write, content: { types: [image/png], check_bytes: true } }";

#[tokio::test]
async fn k20_a_refusal_in_the_middle_of_an_upload_arrives_whole() {
    let recorder = Recorder::start(Answer::ok()).await;
    let (gateway, authority) = gateway_before(Setup::before(&recorder).rules(PICTURES)).await;
    let unknown = gateway.client("csn_nobody");
    let (large, small) = (Bytes::from(pattern(64 << 20)), Bytes::from(pattern(4 << 20)));
    let png = ("content-type", "image/png");
    for protocol in ["h2", "http/1.1"] {
        for attempt in 0..5 {
            let mut connection = connect(&gateway, &authority, &[protocol]).await;
            for (client, target, header, body, status, code) in [
                (&unknown, "/bkt/a/x", png, &large, 401, "InvalidToken"),
                (&gateway.a, "/bkt/b/x", png, &large, 403, "AccessDenied"),
                (&gateway.a, "/bkt/pictures/x", ("content-type", "text/html"), &large, 403, "AccessDenied"),
                (&gateway.a, "/bkt/pictures/x", png, &large, 403, "AccessDenied"),
                (&gateway.a, "/bkt/a/x", ("x-amz-checksum-crc32", "AAAAAA=="), &small, 400, "BadDigest"),
            ] {
                if protocol == "http/1.1" {
                    // A refusal ends such a connection, because nobody knows where the next request would begin.
                    connection = connect(&gateway, &authority, &[protocol]).await;
                }
                let upload = request(client, "PUT", target, &[header], whole(body.clone()));
                let (_, refused) = connection.send(upload).await.unwrap();
                assert_eq!(refused.outcome(), (status, code.to_owned()), "{protocol} {attempt} {target}");
                assert_eq!(refused.element("RequestId"), refused.header("x-amz-request-id"));
            }
            if protocol == "h2" {
                let small = request(&gateway.a, "PUT", "/bkt/a/small", &[], whole("small"));
                assert_eq!(connection.send(small).await.unwrap().1.status, 200, "the connection goes on");
            }
        }
    }
    let stored = recorder.requests().into_iter().filter(|request| request.complete).count();
    assert_eq!(stored, 5, "only the small ones");
}

#[tokio::test]
async fn answers_on_http2_have_no_header_of_a_connection() {
    let headers = "etag: \"e\"\r\nconnection: keep-alive\r\nkeep-alive: timeout=5\r\n";
    let recorder = Recorder::start(Answer::status(200, headers, "body")).await;
    let (gateway, authority) = gateway_before(Setup::before(&recorder)).await;
    let mut connection = connect(&gateway, &authority, &["h2"]).await;
    for (target, status) in [("/bkt/a/x", 200), ("/bkt/b/x", 403), ("/bkt/a/x?annotation", 501), ("/", 200)] {
        let (version, answer) = connection.send(request(&gateway.a, "GET", target, &[], whole(""))).await.unwrap();
        assert_eq!((version, answer.status.as_u16()), (Version::HTTP_2, status), "{target}");
        for name in ["connection", "keep-alive", "transfer-encoding", "upgrade", "proxy-connection"] {
            assert_eq!(answer.header(name), "", "{name} of {target}");
        }
    }
}

#[tokio::test]
async fn e09_e10_the_authority_of_an_http2_request_names_the_bucket_as_a_host_does() {
    let authority = Authority::new();
    let recorder = Recorder::start(Answer::ok()).await;
    let setup = Setup::before(&recorder).top("domains: gw.example").tls(&authority.vouch_for(&["127.0.0.1"]));
    let gateway = setup.start().await;
    let mut connection = connect(&gateway, &authority, &["h2"]).await;
    for (target, host, status) in [
        ("https://bkt.gw.example/a/x", None, 200),
        ("https://BKT.gw.example:8443/a/x", None, 200),
        ("https://gw.example/bkt/a/x", None, 200),
        ("https://elsewhere.example/bkt/a/x", None, 200),
        ("https://bkt.gw.example/a/x", Some("bkt.gw.example"), 200),
        ("https://other.gw.example/bkt/a/x", None, 403),
        ("https://bkt.gw.example/bkt/a/x", None, 403),
        ("https://u:p@bkt.gw.example/a/x", None, 400),
        ("https://bkt.gw.example./a/x", None, 400),
        ("https://bkt.gw.example/a/x", Some("gw.example"), 400),
    ] {
        let headers: Vec<_> = host.map(|host| ("host", host)).into_iter().collect();
        let mut asked = request(&gateway.a, "GET", "/", &headers, whole(""));
        *asked.uri_mut() = target.parse().unwrap();
        let before = recorder.requests().len();
        let (version, reply) = connection.send(asked).await.unwrap();
        assert_eq!((version, reply.status.as_u16()), (Version::HTTP_2, status), "{target} {host:?}");
        if status == 200 {
            let sent = recorder.requests().pop().unwrap();
            assert_eq!(
                (sent.request_line(), sent.header("host")),
                ("GET /up-bkt/a/x".into(), recorder.address.to_string())
            );
        } else {
            assert_eq!(recorder.requests().len(), before, "{target} {host:?}");
        }
    }
}

#[tokio::test]
async fn an_http2_upload_of_undeclared_length_is_stored_whole() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let (gateway, authority) = gateway_before(store.setup()).await;
        let mut connection = connect(&gateway, &authority, &["h2"]).await;
        for size in [0, 5, 12 << 20] {
            let body = pattern(size);
            let upload = request(&gateway.a, "PUT", "/bkt/a/x", &[], pieces(&body));
            let (_, put) = connection.send(upload).await.unwrap();
            assert_eq!(put.status, 200, "{kind:?} {size}: {}", put.text());
            assert!(store.read("a/x").await.unwrap() == body, "{kind:?} {size}");
        }
    }
}

#[tokio::test]
async fn an_http2_upload_of_undeclared_length_is_refused_where_none_is_taken() {
    let recorder = Recorder::start(Answer::ok()).await;
    let (gateway, authority) = gateway_before(Setup::before(&recorder).upstream("unknown_length_uploads: 0")).await;
    let mut connection = connect(&gateway, &authority, &["h2"]).await;
    let upload = request(&gateway.a, "PUT", "/bkt/a/x", &[], pieces(&pattern(1 << 20)));
    assert_eq!(connection.send(upload).await.unwrap().1.outcome(), (411, "MissingContentLength".into()));
    assert!(recorder.is_silent());
    let declared = request(&gateway.a, "PUT", "/bkt/a/x", &[("content-length", "5")], pieces(b"hello"));
    assert_eq!(connection.send(declared).await.unwrap().1.status, 200);
}

#[tokio::test]
async fn k11_a_declared_length_that_is_not_that_of_the_data_commits_nothing() {
    let recorder = Recorder::start(Answer::ok()).await;
    let (gateway, authority) = gateway_before(Setup::before(&recorder)).await;
    let body = pattern(100_000);
    for declared in ["0", "99999", "100001", "1000000"] {
        let mut connection = connect(&gateway, &authority, &["h2"]).await;
        let upload = request(&gateway.a, "PUT", "/bkt/a/x", &[("content-length", declared)], pieces(&body));
        if let Ok((_, answer)) = connection.send(upload).await {
            assert!(answer.status.is_client_error(), "{declared}: {}", answer.text());
        }
    }
    assert!(recorder.nothing_committed(), "{:?}", recorder.requests());
    let mut connection = connect(&gateway, &authority, &["h2"]).await;
    let upload = request(&gateway.a, "PUT", "/bkt/a/x", &[("content-length", "100000")], pieces(&body));
    assert_eq!(connection.send(upload).await.unwrap().1.status, 200);
}

#[tokio::test]
async fn k11_a_host_beside_another_authority_is_refused() {
    let recorder = Recorder::start(Answer::ok()).await;
    let (gateway, authority) = gateway_before(Setup::before(&recorder)).await;
    let mut connection = connect(&gateway, &authority, &["h2"]).await;
    for host in ["elsewhere.example", "127.0.0.1"] {
        let asked = request(&gateway.a, "GET", "/bkt/a/x", &[("host", host)], whole(""));
        assert_eq!(connection.send(asked).await.unwrap().1.status, 400, "{host}");
    }
    assert!(recorder.is_silent());
    let same = gateway.address.to_string();
    let asked = request(&gateway.a, "GET", "/bkt/a/x", &[("host", &same)], whole(""));
    assert_eq!(connection.send(asked).await.unwrap().1.status, 200);
}

#[tokio::test]
async fn many_streams_of_one_connection_carry_their_own_objects() {
    let Some(store) = Store::get(StoreKind::SeaweedFs).await else { return };
    let (gateway, authority) = gateway_before(store.setup()).await;
    let Connection::Http2(sender) = connect(&gateway, &authority, &["h2"]).await else { panic!("HTTP/2 was offered") };
    let mut streams = tokio::task::JoinSet::new();
    for number in 0..60_usize {
        let (mut connection, client) = (Connection::Http2(sender.clone()), gateway.a.clone());
        streams.spawn(async move {
            let body = pattern(100_000 + number * 7919);
            let target = format!("/bkt/a/{number}");
            let (_, put) = connection.send(request(&client, "PUT", &target, &[], whole(body.clone()))).await.unwrap();
            assert_eq!(put.status, 200, "{number}: {}", put.text());
            let (_, got) = connection.send(request(&client, "GET", &target, &[], whole(""))).await.unwrap();
            assert!(got.status == 200 && got.body == body, "{number}");
            let (_, refused) = connection.send(request(&client, "GET", "/bkt/b/x", &[], whole(""))).await.unwrap();
            assert_eq!(refused.status, 403);
        });
    }
    while let Some(done) = streams.join_next().await {
        done.unwrap();
    }
    assert_eq!(gateway.records().len(), 3 * 60);
}

#[tokio::test]
async fn k23_what_is_no_tls_gets_no_answer_and_harms_nobody() {
    let recorder = Recorder::start(Answer::ok()).await;
    let (gateway, authority) = gateway_before(Setup::before(&recorder)).await;
    let plain = format!(
        "GET /bkt/a/x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
        gateway.a.token
    );
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for bytes in [plain.as_bytes(), preface.as_bytes(), &[0; 100], &[0x16, 3, 1, 0xff, 0xff], b"\r\n"] {
        let answer = raw::exchange(gateway.address, bytes).await;
        assert!(!answer.contains("HTTP/") && answer.len() < 10, "{answer:?}");
    }
    assert!(recorder.is_silent() && gateway.records().is_empty());
    let mut connection = connect(&gateway, &authority, &["h2"]).await;
    let asked = request(&gateway.a, "GET", "/bkt/a/x", &[], whole(""));
    assert_eq!(connection.send(asked).await.unwrap().1.status, 200);
}

/// A ClientHello of this version, without the extension by which TLS 1.3 names others.
fn client_hello(version: [u8; 2]) -> Vec<u8> {
    let mut hello = vec![version[0], version[1]];
    hello.extend([7; 32]);
    // No session; the cipher suites of every age that a server could agree to; no compression.
    hello.extend([0, 0, 10, 0xc0, 0x2b, 0xc0, 0x2f, 0xc0, 0x09, 0xc0, 0x13, 0x00, 0x2f, 1, 0]);
    let groups = [0, 10, 0, 4, 0, 2, 0, 23];
    let points = [0, 11, 0, 2, 1, 0];
    let signatures = [0, 13, 0, 8, 0, 6, 4, 3, 4, 1, 2, 1];
    hello.extend(u16::try_from(groups.len() + points.len() + signatures.len()).unwrap().to_be_bytes());
    hello.extend(groups.iter().chain(&points).chain(&signatures));
    let length = u16::try_from(hello.len()).unwrap();
    let mut record = vec![0x16, 3, 1];
    record.extend((length + 4).to_be_bytes());
    record.extend([1, 0]);
    record.extend(length.to_be_bytes());
    record.extend(hello);
    record
}

#[tokio::test]
async fn k23_tls_before_1_2_is_refused() {
    let recorder = Recorder::start(Answer::ok()).await;
    let (gateway, authority) = gateway_before(Setup::before(&recorder)).await;
    const PROTOCOL_VERSION: u8 = 70;
    for (name, version) in [("SSL 3.0", [3, 0]), ("TLS 1.0", [3, 1]), ("TLS 1.1", [3, 2]), ("TLS 1.2", [3, 3])] {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        stream.write_all(&client_hello(version)).await.unwrap();
        let mut record = [0; 7];
        stream.read_exact(&mut record).await.unwrap();
        if version == [3, 3] {
            assert_eq!((record[0], record[5]), (0x16, 2), "{name} gets a ServerHello: {record:?}");
        } else {
            assert_eq!((record[0], record[6]), (0x15, PROTOCOL_VERSION), "{name} gets an alert: {record:?}");
        }
    }
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut roots = rustls::RootCertStore::empty();
        let authority_file = std::fs::read(authority.file()).unwrap();
        roots.add(rustls_pki_types::pem::PemObject::from_pem_slice(&authority_file).unwrap()).unwrap();
        let config =
            rustls::ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[version]).unwrap();
        let config = config.with_root_certificates(roots).with_no_client_auth();
        assert!(handshake(&gateway, config).await.is_ok(), "{version:?}");
    }
}

#[tokio::test]
async fn k23_sessions_are_resumed_and_early_data_is_not_offered() {
    let recorder = Recorder::start(Answer::ok()).await;
    let (gateway, authority) = gateway_before(Setup::before(&recorder)).await;
    let mut config = authority.client(&["http/1.1"]);
    config.enable_early_data = true;
    let (config, address) = (Arc::new(config), gateway.address);
    let get = format!(
        "GET /bkt/a/x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
        gateway.a.token
    );
    let visit = move || {
        let mut connection =
            rustls::ClientConnection::new(Arc::clone(&config), ServerName::try_from("127.0.0.1").unwrap()).unwrap();
        let offered = connection.early_data().is_some();
        let mut stream = rustls::StreamOwned::new(connection, std::net::TcpStream::connect(address).unwrap());
        stream.write_all(get.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        (stream.conn.handshake_kind() == Some(rustls::HandshakeKind::Resumed), offered)
    };
    let visits = tokio::task::spawn_blocking(move || [visit(), visit(), visit()]).await.unwrap();
    assert_eq!(visits, [(false, false), (true, false), (true, false)]);
}

#[tokio::test]
async fn a_client_that_resets_a_stream_ends_its_upload_and_not_the_connection() {
    let recorder = Recorder::start(Answer::ok()).await;
    let (gateway, authority) = gateway_before(Setup::before(&recorder)).await;
    let Connection::Http2(mut sender) = connect(&gateway, &authority, &["h2"]).await else {
        panic!("HTTP/2 was offered")
    };
    let endless = stream::unfold((), |()| async {
        tokio::task::yield_now().await;
        Some((Ok(Frame::data(Bytes::from_static(&[7; 16 * 1024]))), ()))
    });
    let upload = request(
        &gateway.a,
        "PUT",
        "/bkt/a/x",
        &[("content-length", "100000000")],
        BodyExt::boxed(StreamBody::new(endless)),
    );
    let sending = tokio::spawn(sender.send_request(upload));
    eventually("the store sees a part of the upload", || {
        recorder.requests().first().is_some_and(|request| !request.body.is_empty())
    })
    .await;
    sending.abort();
    let record = gateway.record(1).await;
    assert_eq!(record.outcome, countersign::audit::record::Outcome::Aborted, "{record:?}");
    assert!(recorder.nothing_committed());
    let mut connection = Connection::Http2(sender);
    let asked = request(&gateway.a, "GET", "/bkt/a/x", &[], whole(""));
    assert_eq!(connection.send(asked).await.unwrap().1.status, 200);
}

#[tokio::test]
async fn a_stop_lets_streams_in_flight_finish() {
    let recorder = Recorder::start(Answer::ok()).await;
    let (gateway, authority) = gateway_before(Setup::before(&recorder).upstream("payload: unsigned")).await;
    let mut connection = connect(&gateway, &authority, &["h2"]).await;
    let Connection::Http2(sender) = &connection else { panic!("HTTP/2 was offered") };
    let mut uploading = Connection::Http2(sender.clone());
    let (body, rest) = tokio::sync::mpsc::channel(1);
    let pieces = stream::unfold(rest, |mut rest| async {
        let piece: Bytes = rest.recv().await?;
        Some((Ok(Frame::data(piece)), rest))
    });
    let pieces = BodyExt::boxed(StreamBody::new(pieces));
    let upload = request(&gateway.a, "PUT", "/bkt/a/x", &[("content-length", "200000")], pieces);
    let upload = tokio::spawn(async move { uploading.send(upload).await });
    for _ in 0..2 {
        body.send(Bytes::from_static(&[7; 50_000])).await.unwrap();
    }
    eventually("the store sees a part of the upload", || {
        recorder.requests().first().is_some_and(|request| !request.body.is_empty())
    })
    .await;
    let client = gateway.a.clone();
    let stopping = tokio::spawn(gateway.stop());
    let refused = async {
        // Until it has heard that it is to leave, a client may ask for more.
        while connection.send(request(&client, "GET", "/bkt/a/y", &[], whole(""))).await.is_ok() {}
    };
    tokio::time::timeout(Duration::from_secs(10), refused).await.expect("no new streams after a while");
    assert!(!stopping.is_finished());
    for _ in 0..2 {
        body.send(Bytes::from_static(&[7; 50_000])).await.unwrap();
    }
    drop(body);
    assert_eq!(upload.await.unwrap().unwrap().1.status, 200);
    stopping.await.unwrap();
    assert_eq!(recorder.requests()[0].body.len(), 200_000);
}

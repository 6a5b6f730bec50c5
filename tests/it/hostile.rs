//! Requests that no client library sends: two readings of one head, framing that lies, names that mean something else to the store.
//!
//! What is refused must never reach the store; what is odd but legal must reach it in the one canonical form.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::oidc::OwnIssuer;
use super::support::{Answer, Gateway, Recorder, Setup, raw};

/// A gateway before a recorder, and raw bytes for it.
pub struct Wire {
    pub gateway: Gateway,
    pub recorder: Recorder,
}

/// What came back.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub text: String,
    /// Whether the gateway ended the connection by itself.
    pub closed: bool,
}

impl Reply {
    /// How many answers came.
    pub fn answers(&self) -> Vec<u16> {
        self.text.match_indices("HTTP/1.1 ").map(|(at, _)| raw::status(&self.text[at..])).collect()
    }
}

impl Wire {
    pub async fn start() -> Self {
        let recorder = Recorder::start(Answer::ok()).await;
        Self { gateway: Setup::before(&recorder).start().await, recorder }
    }

    pub async fn with_rules(rules: &str) -> Self {
        let recorder = Recorder::start(Answer::ok()).await;
        Self { gateway: Setup::before(&recorder).rules(rules).start().await, recorder }
    }

    /// A head with the credential of `a`; `fields` end in CRLF each.
    pub fn head(&self, line: &str, fields: &str) -> String {
        format!("{line} HTTP/1.1\r\nhost: gw\r\nauthorization: Bearer {}\r\n{fields}\r\n", self.gateway.a.token)
    }

    /// Sends bytes and reads until the gateway closes, or is silent for a second.
    pub async fn ask(&self, request: impl AsRef<[u8]>) -> Reply {
        let mut stream = TcpStream::connect(self.gateway.address).await.unwrap();
        // The gateway may refuse and close before it has read everything.
        let _may_be_refused = stream.write_all(request.as_ref()).await;
        let (mut answer, mut buffer) = (Vec::new(), vec![0; 16 * 1024]);
        let closed = loop {
            match tokio::time::timeout(Duration::from_secs(1), stream.read(&mut buffer)).await {
                Err(_) => break false,
                Ok(Ok(0) | Err(_)) => break true,
                Ok(Ok(length)) => answer.extend_from_slice(&buffer[..length]),
            }
        };
        let text = String::from_utf8_lossy(&answer).into_owned();
        Reply { status: raw::status(&text), text, closed }
    }

    /// Sends one request that the gateway closes behind.
    pub async fn once(&self, line: &str, fields: &str) -> Reply {
        self.ask(self.head(line, &format!("connection: close\r\n{fields}"))).await
    }
}

const SMUGGLED: &str = "GET /bkt/a/smuggled HTTP/1.1\r\nhost: gw\r\n\r\n";

#[tokio::test]
async fn k01_k02_k03_framing_with_two_readings_is_refused_and_nothing_behind_it_is_read() {
    let wire = Wire::start().await;
    let (chunked, length) = ("transfer-encoding: chunked\r\n", "content-length: 5\r\n");
    let mut cases = vec![
        format!("{length}{chunked}"),
        format!("{chunked}{length}"),
        format!("{chunked}content-length: 0\r\n"),
        format!("{chunked}{chunked}"),
        format!("{length}{length}"),
        format!("{length}content-length: 6\r\n"),
        "transfer-encoding : chunked\r\n".to_owned(),
        "x: y\r\n folded\r\ncontent-length: 5\r\n".to_owned(),
        "content-length: 5\nx: y\r\n".to_owned(),
        "host: other\r\ncontent-length: 5\r\n".to_owned(),
    ];
    let codings = [
        "chunked, identity",
        "identity, chunked",
        "gzip, chunked",
        "xchunked",
        "chunked, chunked",
        "chunked\t",
        " chunked",
        "\x0bchunked",
        "identity",
        "",
    ];
    cases.extend(codings.map(|value| format!("transfer-encoding: {value}\r\n")));
    let lengths = ["+5", "5 ", "5,5", "5, 6", "0x5", "-1", "05", "", "18446744073709551616", "5.0", "５"];
    cases.extend(lengths.map(|value| format!("content-length: {value}\r\n")));
    for fields in cases {
        for body in ["0\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n", "hello"] {
            let token = format!("authorization: Bearer {}\r\n", wire.gateway.a.token);
            let smuggled = SMUGGLED.replace("\r\n\r\n", &format!("\r\n{token}\r\n"));
            let reply = wire.ask(wire.head("PUT /bkt/a/x", &fields) + body + &smuggled).await;
            assert!(reply.closed && reply.answers() == [400], "{fields:?} {body:?}: {reply:?}");
            assert!(wire.recorder.is_silent(), "{fields:?} {body:?}");
        }
    }
    let in_10 = wire.head("PUT /bkt/a/x", chunked).replace("HTTP/1.1", "HTTP/1.0") + "0\r\n\r\n";
    let reply = wire.ask(in_10).await;
    assert!(reply.closed && reply.answers() == [400] && wire.recorder.is_silent(), "{reply:?}");
    // The neighbours with one reading.
    for (fields, body) in [(length, "hello"), (chunked, "5\r\nhello\r\n0\r\n\r\n")] {
        let reply = wire.ask(wire.head("PUT /bkt/a/x", fields) + body).await;
        assert_eq!((reply.status, reply.closed), (200, false), "{fields}");
    }
    for request in wire.recorder.requests() {
        assert!(request.complete && request.header("transfer-encoding").is_empty());
    }
}

#[tokio::test]
async fn k10_requests_in_one_segment_are_each_on_their_own() {
    let wire = Wire::start().await;
    let good = wire.head("GET /bkt/a/x", "");
    let nobody = "GET /bkt/a/x HTTP/1.1\r\nhost: gw\r\n\r\n";
    let reply = wire.ask(format!("{nobody}{good}")).await;
    assert_eq!(reply.answers(), [401, 200]);
    let reply = wire.ask(format!("{good}{nobody}{good}")).await;
    assert_eq!(reply.answers(), [200, 401, 200]);
    assert_eq!(wire.recorder.requests().len(), 3);
}

#[tokio::test]
async fn k04_k10_the_unread_body_of_a_refused_request_is_never_read_as_a_request() {
    let wire = Wire::start().await;
    let inside = wire.head("GET /bkt/a/inside", "");
    let length = format!("content-length: {}\r\n", inside.len());
    let chunked = format!("{:x}\r\n{inside}\r\n0\r\n\r\n", inside.len());
    for line in ["PUT /bkt/b/x", "PUT /bkt/a/x?acl", "PUT /bkt/a/../x", "PUT /other/x", "POST /bkt?delete"] {
        for (fields, body) in [(&length, &inside), (&"transfer-encoding: chunked\r\n".to_owned(), &chunked)] {
            let reply = wire.ask(wire.head(line, fields) + body).await;
            assert!(reply.closed && reply.answers().len() == 1 && reply.status >= 400, "{line}: {reply:?}");
        }
    }
    for method in ["GET", "HEAD", "DELETE"] {
        let reply = wire.ask(wire.head(&format!("{method} /bkt/a/x"), &length) + &inside).await;
        assert!(reply.closed && reply.answers() == [400], "{method}: {reply:?}");
        // Without a body it is a request.
        let before = wire.recorder.requests().len();
        assert_eq!(wire.once(&format!("{method} /bkt/a/x"), "content-length: 0\r\n").await.status, 200, "{method}");
        assert_eq!(wire.recorder.requests().len(), before + 1);
    }
    assert!(wire.recorder.requests().iter().all(|request| !request.head.contains("inside")));
}

#[tokio::test]
async fn k05_k06_nothing_but_http_1_requests_is_understood() {
    let wire = Wire::start().await;
    let token = &wire.gateway.a.token;
    for request in [
        "GET /bkt/a/x\r\n\r\n".to_owned(),
        format!("GET /bkt/a/x HTTP/1.2\r\nhost: gw\r\nauthorization: Bearer {token}\r\n\r\n"),
        format!("GET /bkt/a/x HTTP/2.0\r\nhost: gw\r\nauthorization: Bearer {token}\r\n\r\n"),
        format!("GET  /bkt/a/x HTTP/1.1\r\nhost: gw\r\nauthorization: Bearer {token}\r\n\r\n"),
        format!("GET /bkt/a/x HTTP/1.1\r\nauthorization: Bearer {token}\r\n\r\n"),
        format!("GET /bkt/a/x HTTP/1.1\r\nhost:\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n"),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        "\x16\x03\x01\x02\0\x01\0\x01".to_owned(),
    ] {
        let reply = wire.ask(request.clone() + "\r\n\r\n").await;
        assert!(reply.closed && (reply.status == 400 || reply.text.is_empty()), "{request:?}: {reply:?}");
    }
    assert!(wire.recorder.is_silent());
    for upgrade in ["websocket", "h2c", "TLS/1.0"] {
        let reply =
            wire.ask(wire.head("GET /bkt/a/x", &format!("connection: upgrade\r\nupgrade: {upgrade}\r\n"))).await;
        assert_eq!(reply.answers(), [200], "{upgrade}");
    }
    for request in wire.recorder.requests() {
        assert!(request.header("upgrade").is_empty() && request.header("connection").is_empty());
    }
}

#[tokio::test]
async fn k16_connection_names_no_header_of_the_message() {
    let wire = Wire::start().await;
    let sha = "x-amz-content-sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\r\n";
    for named in [
        "close, x-amz-content-sha256",
        "authorization",
        "x-amz-copy-source, host",
        "content-length",
        "x-forwarded-for",
        "keep-alive, X-AMZ-META-A",
        "host",
        "transfer-encoding",
        "\"close\"",
    ] {
        let fields =
            format!("connection: close\r\nconnection: {named}\r\ncontent-length: 0\r\n{sha}x-amz-meta-a: 1\r\n");
        let reply = wire.ask(wire.head("PUT /bkt/a/x", &fields)).await;
        assert_eq!(reply.status, 400, "{named}: {reply:?}");
    }
    assert!(wire.recorder.is_silent());
    let hop_by_hop = "connection: keep-alive, te\r\nte: trailers\r\nkeep-alive: timeout=9\r\nproxy-connection: x\r\n\
        trailer: x-amz-meta-b\r\nvia: 1.1 x\r\nmax-forwards: 1\r\n";
    assert_eq!(wire.ask(wire.head("GET /bkt/a/x", hop_by_hop)).await.status, 200);
    let sent = wire.recorder.only();
    for name in ["connection", "te", "keep-alive", "proxy-connection", "trailer", "via", "max-forwards"] {
        assert_eq!(sent.header(name), "", "{name}");
    }
}

#[tokio::test]
async fn k09_trailers_of_http_are_never_merged_into_the_head() {
    let wire = Wire::start().await;
    let framed = "5\r\nhello\r\n0\r\n\r\n";
    let fields = "transfer-encoding: chunked\r\nx-amz-content-sha256: STREAMING-UNSIGNED-PAYLOAD-TRAILER\r\nx-amz-decoded-content-length: 5\r\n";
    let trailers = format!(
        "content-length: 1\r\ntransfer-encoding: x\r\nauthorization: Bearer {}\r\nx-amz-copy-source: /bkt/b/x\r\nx-amz-acl: public-read\r\n",
        wire.gateway.b.token
    );
    let body = format!("{:x}\r\n{framed}\r\n0\r\n{trailers}\r\n", framed.len());
    let reply = wire.ask(wire.head("PUT /bkt/a/x", fields) + &body).await;
    assert_eq!(reply.answers(), [200], "{reply:?}");
    let sent = wire.recorder.only();
    assert!(sent.complete && !sent.head.contains("copy-source") && !sent.head.contains("acl"), "{}", sent.head);
    assert_eq!(sent.header("x-amz-decoded-content-length"), "5");
    assert_eq!(wire.gateway.record(1).await.principal.as_deref(), Some("token:a"));
    let many: String = (0..10_000).map(|n| format!("x-{n}: y\r\n")).collect();
    let body = format!("{:x}\r\n{framed}\r\n0\r\n{many}\r\n", framed.len());
    let reply = wire.ask(wire.head("PUT /bkt/a/x", fields) + &body).await;
    assert!(reply.closed && reply.status != 200, "{reply:?}");
    assert_eq!(wire.recorder.requests().iter().filter(|request| request.complete).count(), 1);
}

#[tokio::test]
async fn h03_h04_h05_framing_of_the_object_that_lies_is_never_committed() {
    let wire = Wire::start().await;
    let streaming = "x-amz-content-sha256: STREAMING-UNSIGNED-PAYLOAD-TRAILER\r\n";
    let framed = "5\r\nhello\r\n0\r\n\r\n";
    let hash = "x-amz-content-sha256: 2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824\r\n";
    let declared = |length: &str| format!("{streaming}x-amz-decoded-content-length: {length}\r\n");
    let mut cases = vec![
        (streaming.to_owned(), framed),
        (declared("5"), "hello"),
        (declared("5") + "x-amz-decoded-content-length: 5\r\n", framed),
        (format!("{streaming}{}", declared("5")), framed),
        (hash.to_owned(), framed),
        (hash.to_owned() + "x-amz-decoded-content-length: 5\r\n", "hello"),
        (hash.to_owned() + "content-encoding: aws-chunked\r\n", "hello"),
        ("content-encoding: gzip, AWS-Chunked\r\n".to_owned(), framed),
        (
            "x-amz-content-sha256: STREAMING-AWS4-HMAC-SHA256-PAYLOAD\r\nx-amz-decoded-content-length: 5\r\n"
                .to_owned(),
            framed,
        ),
        ("x-amz-content-sha256: UNKNOWN\r\n".to_owned(), "hello"),
        (declared("5") + "x-amz-trailer: x-amz-meta-a\r\n", framed),
        (declared("5") + "x-amz-trailer: content-length\r\n", framed),
        (declared("5") + "x-amz-trailer: x-amz-checksum-crc32, x-amz-checksum-crc32c\r\n", framed),
        (declared("5"), "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n"),
    ];
    for length in ["4", "6", "0", "-5", "+5", "5, 5", "5.0", "0x5", "9223372036854775808", "18446744073709551616"] {
        cases.push((declared(length), framed));
    }
    for body in [
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "-1\r\nhello\r\n0\r\n\r\n",
        "\r\nhello\r\n0\r\n\r\n",
        "FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n",
        "5\nhello\n0\n\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhello\r\n",
        "5\r\nhello\r\n0\r",
        "5\r\nhello\r\n0\r\n\r",
        "5\r\nhello\r\n0\r\n\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\n\r\nmore",
        "4\r\nhello\r\n0\r\n\r\n",
        "6\r\nhello\r\n0\r\n\r\n",
    ] {
        cases.push((declared("5"), body));
    }
    for (fields, body) in &cases {
        let fields = format!("connection: close\r\ncontent-length: {}\r\n{fields}", body.len());
        let reply = wire.ask(wire.head("PUT /bkt/a/x", &fields) + body).await;
        assert!(matches!(reply.status, 400 | 411 | 501), "{fields} {body:?}: {reply:?}");
        assert!(wire.recorder.nothing_committed(), "{fields} {body:?}");
    }
    for (fields, body, encoding) in [
        (declared("5"), framed, ""),
        (declared("5") + "content-encoding: aws-chunked\r\n", "3;x=y\r\nhel\r\n02\r\nlo\r\n0\r\n\r\n", ""),
        (declared("5") + "content-encoding: aws-chunked,gzip\r\n", framed, "gzip"),
        (hash.to_owned(), "hello", ""),
    ] {
        let fields = format!("connection: close\r\ncontent-length: {}\r\n{fields}", body.len());
        assert_eq!(wire.ask(wire.head("PUT /bkt/a/x", &fields) + body).await.status, 200, "{fields}");
        assert_eq!(wire.recorder.requests().pop().unwrap().header("content-encoding"), encoding, "{fields}");
    }
}

#[tokio::test]
async fn e01_e02_e08_names_that_read_as_something_else_are_refused() {
    let wire = Wire::start().await;
    let keys = [
        "a/../b/secret",
        "a/%2e%2e/b/secret",
        "a/%2E./b",
        "a/..%2fb",
        "a/.%2e%2fb",
        "a/%5c..%5cb",
        "a/..%c0%af",
        "a/./x",
        "a/%2e/x",
        "a/..",
        "a/.",
        "a//x",
        "%2fa/x",
        "/a/x",
        "a/x%00",
        "a/x%0a",
        "a/x%0d%0a",
        "a/x%7f",
        "a/x%1b",
        "a/x%c2%85",
        "a/x%ff",
        "a/%",
        "a/%2",
        "a/%zz",
        "a/x%u0041",
        "a/é",
        "a/．．/b",
        "a/\"x\"",
        "a/<x>",
        "a/a|b",
        "a/a\\b",
        "a/{x}",
        "a/[x]",
        "a/x y",
        "a/x#y",
        "a/^`",
    ];
    for key in keys {
        for method in ["GET", "PUT", "HEAD", "DELETE"] {
            let reply = wire.once(&format!("{method} /bkt/{key}"), "content-length: 0\r\n").await;
            assert_eq!(reply.status, 400, "{method} {key}: {reply:?}");
        }
    }
    let long = format!("a/{}", "x".repeat(1023));
    assert!(wire.once(&format!("GET /bkt/{long}"), "").await.text.contains("KeyTooLongError"));
    for bucket in [
        "..",
        ".",
        "%2e%2e",
        "bkt%2fa",
        "bkt%00",
        "BKT",
        "bkt.",
        "bkt%20",
        "192.168.0.1",
        ".minio.sys",
        "up-bkt",
        "xn--bkt",
        "arn:aws:s3:::bkt",
        "x",
    ] {
        for path in ["?list-type=2", "/?list-type=2", "/a/x"] {
            let reply = wire.once(&format!("GET /{bucket}{path}"), "").await;
            assert!(reply.status == 403 && reply.text.contains("<Code>AccessDenied<"), "{bucket}{path}: {reply:?}");
        }
    }
    assert_eq!(wire.once("GET //a/x", "").await.status, 400);
    // E04: where the prefix of the rule ends.
    for key in ["a", "ab/x", "A/x", "b/x", "%41/x", "a%252fx", "á/x"] {
        let key = key.replace('á', "%C3%A1");
        assert_eq!(wire.once(&format!("GET /bkt/{key}"), "").await.status, 403, "{key}");
    }
    assert!(wire.recorder.is_silent());
}

#[tokio::test]
async fn e01_e05_e07_odd_but_legal_names_reach_the_store_encoded_exactly_once() {
    let wire = Wire::start().await;
    let longest = "x".repeat(1022);
    for (sent, canonical) in [
        ("a/%252e%252e/b", "a/%252e%252e/b"),
        ("a/..;/b", "a/..%3B/b"),
        ("a/%ef%bc%8e%ef%bc%8e/b", "a/%EF%BC%8E%EF%BC%8E/b"),
        ("a%2fx", "a/x"),
        ("%61/x", "a/x"),
        ("a/x+y", "a/x%2By"),
        ("a/x%20y", "a/x%20y"),
        ("a/x%2By", "a/x%2By"),
        ("a/%7e~", "a/~~"),
        ("a/%c3%bc", "a/%C3%BC"),
        ("a/u%cc%88", "a/u%CC%88"),
        ("a/x.", "a/x."),
        ("a/x%20", "a/x%20"),
        ("a/x/", "a/x/"),
        ("a/", "a/"),
        ("a/CON", "a/CON"),
        ("a/...", "a/..."),
        ("a/!$&'()*+,;=:@", "a/%21%24%26%27%28%29%2A%2B%2C%3B%3D%3A%40"),
        ("a/%3Facl", "a/%3Facl"),
        ("a/%23", "a/%23"),
        ("a/%2525", "a/%2525"),
        (&format!("a/{longest}"), &format!("a/{longest}")),
    ] {
        for method in ["GET", "PUT", "HEAD", "DELETE"] {
            let reply = wire.once(&format!("{method} /bkt/{sent}"), "content-length: 0\r\n").await;
            assert_eq!(reply.status, 200, "{method} {sent}: {reply:?}");
            let line = wire.recorder.requests().pop().unwrap().request_line();
            assert_eq!(line, format!("{method} /up-bkt/{canonical}"), "{sent}");
        }
    }
}

#[tokio::test]
async fn e09_e10_no_header_chooses_where_a_request_goes() {
    let wire = Wire::start().await;
    let elsewhere =
        "x-forwarded-host: evil\r\nx-original-url: /bkt/b/x\r\nx-rewrite-url: /bkt/b/x\r\nforwarded: host=evil\r\n";
    let request = wire.head("GET /bkt/a/x", elsewhere);
    for host in ["gw", "169.254.169.254", "localhost:9000", "bkt.gw.example", "[::1]:80"] {
        let reply = wire.ask(request.replace("host: gw", &format!("host: {host}"))).await;
        assert_eq!(reply.status, 200, "{host}: {reply:?}");
    }
    let absolute = wire.head("GET http://169.254.169.254/bkt/a/x", "").replace("host: gw", "host: 169.254.169.254");
    assert_eq!(wire.ask(absolute).await.status, 200);
    for request in wire.recorder.requests() {
        assert_eq!(request.header("host"), wire.recorder.address.to_string());
        assert_eq!(request.request_line(), "GET /up-bkt/a/x");
    }
    let before = wire.recorder.requests().len();
    for host in ["gw@evil", "gw/evil", "gw#evil", "gw evil", "gw\tevil", "gw\\evil", "gw?x", "gw\u{e9}", "gw, evil"] {
        let reply = wire.ask(request.replace("host: gw", &format!("host: {host}"))).await;
        assert!(reply.status == 400 && reply.closed, "{host}: {reply:?}");
    }
    for target in ["http://other/bkt/a/x", "http://gw@other/bkt/a/x", "http://gw:80/bkt/a/x", "ftp://gw/bkt/a/x"] {
        let reply = wire.ask(wire.head(&format!("GET {target}"), "")).await;
        assert!(reply.status == 400 && reply.closed, "{target}: {reply:?}");
    }
    assert_eq!(wire.recorder.requests().len(), before);
}

#[tokio::test]
async fn e03_bytes_are_compared_and_nothing_is_normalised() {
    let rules = "
  - { name: r, who: { tokens: [a] }, where: \"bkt/\u{e9}/\", what: [read, write] }";
    let wire = Wire::with_rules(rules).await;
    assert_eq!(wire.once("GET /bkt/%C3%A9/x", "").await.status, 200, "as the rule has it");
    let before = wire.recorder.requests().len();
    // Decomposed, with a joiner of no width, with an override of direction, in capitals, in full width.
    for other in ["e%CC%81", "%C3%A9%E2%80%8D", "%E2%80%AE%C3%A9", "%C3%89", "%E2%80%8B%C3%A9", "%C3%A9%EF%BC%8F"] {
        for line in ["GET", "PUT", "HEAD"].map(|method| format!("{method} /bkt/{other}/x")) {
            assert_eq!(wire.once(&line, "content-length: 0\r\n").await.status, 403, "{line}");
        }
        let listing = wire.once(&format!("GET /bkt?list-type=2&prefix={other}/"), "").await;
        assert_eq!(listing.status, 403, "{other}");
    }
    assert_eq!(wire.recorder.requests().len(), before);
}

#[tokio::test]
async fn k26_a_line_of_the_proxy_protocol_is_no_request() {
    let wire = Wire::start().await;
    let good = wire.head("GET /bkt/a/x", "");
    let binary = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01\0\x50\0\x50";
    for line in [
        b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n".to_vec(),
        b"PROXY UNKNOWN\r\n".to_vec(),
        b"PROXY TCP4 broken\r\n".to_vec(),
        binary.to_vec(),
    ] {
        let reply = wire.ask([line.as_slice(), good.as_bytes()].concat()).await;
        assert!(reply.closed && (reply.status == 400 || reply.text.is_empty()), "{line:?}: {reply:?}");
    }
    assert!(wire.recorder.is_silent());
}

#[tokio::test]
async fn k17_a_gateway_before_itself_ends_at_the_second_hop() {
    let recorder = Recorder::start(Answer::ok()).await;
    let inner = Setup::before(&recorder).start().await;
    let outer = Setup::new(&format!("http://{}", inner.address), "A", "S", "bkt").start().await;
    for method in ["GET", "PUT", "HEAD", "DELETE"] {
        let answer = outer.a.send(method, "/bkt/a/x", &[], "").await;
        assert_eq!(answer.status, 502, "{method}: {}", answer.text());
    }
    assert_eq!((inner.records().len(), recorder.requests().len()), (4, 0));
}

#[tokio::test]
async fn l06_numbers_at_every_edge_are_answered_and_never_a_fault() {
    let wire = Wire::start().await;
    let numbers = [
        "0",
        "1",
        "-1",
        "01",
        "1.0",
        "%201",
        "1e3",
        "0x1",
        "10000",
        "10001",
        "2147483647",
        "2147483648",
        "4294967296",
        "9007199254740993",
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551616",
        "99999999999999999999999",
        "\u{661}",
    ];
    for number in numbers {
        let number = number.replace('\u{661}', "%D9%A1");
        let literal = number.replace("%20", " ").replace("%D9%A1", "\u{661}");
        let mut replies = Vec::new();
        for target in [
            format!("GET /bkt/a/x?partNumber={number}"),
            format!("PUT /bkt/a/x?partNumber={number}&uploadId=x"),
            format!("GET /bkt?list-type=2&prefix=a/&max-keys={number}"),
            format!("GET /bkt/a/x?uploadId=x&max-parts={number}&part-number-marker={number}"),
        ] {
            replies.push((target.clone(), wire.once(&target, "content-length: 0\r\n").await));
        }
        for name in ["content-length", "x-amz-decoded-content-length", "range", "content-md5", "x-amz-checksum-crc32"] {
            let value = if name == "range" { format!("bytes={literal}-{literal}") } else { literal.clone() };
            let length = if name == "content-length" { "" } else { "content-length: 0\r\n" };
            let method = if name == "range" { "GET" } else { "PUT" };
            // A body that is declared and does not come is waited for.
            let plausible =
                name == "content-length" && literal.bytes().all(|byte| byte.is_ascii_digit()) && literal != "0";
            if !plausible {
                let reply = wire.once(&format!("{method} /bkt/a/x"), &format!("{length}{name}: {value}\r\n")).await;
                replies.push((format!("{name}: {value}"), reply));
            }
        }
        for (asked, reply) in replies {
            // 502 for a listing: the recorder answers with no document.
            let is_answer =
                matches!(reply.status, 200..=499 | 501) || (asked.contains("max-keys") && reply.status == 502);
            assert!(is_answer, "{asked}: {reply:?}");
        }
    }
}

#[tokio::test]
async fn k16_k19_preflights_and_sts_are_held_to_expect_and_connection_too() {
    let (recorder, issuer) = (Recorder::start(Answer::ok()).await, OwnIssuer::start().await);
    let mut setup = Setup::before(&recorder).issuers(&issuer.entry()).top("sts: { enabled: true }");
    setup.bucket_settings = ", cors: [{ origins: [\"https://a.example\"], methods: [GET] }]".to_owned();
    let wire = Wire { gateway: setup.start().await, recorder };
    let preflight =
        "OPTIONS /bkt/a/x HTTP/1.1\r\nhost: gw\r\norigin: https://a.example\r\naccess-control-request-method: GET\r\n";
    let sts = "POST / HTTP/1.1\r\nhost: gw\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: 8\r\n";
    let asked = "GET /?Action=GetCallerIdentity&Version=2011-06-15 HTTP/1.1\r\nhost: gw\r\n";
    for (start, body, without) in [(preflight, "", 200), (sts, "Action=x", 400), (asked, "", 403)] {
        for (field, status) in [
            ("", without),
            ("connection: keep-alive, te\r\n", without),
            ("expect: 200-ok\r\n", 417),
            ("connection: authorization\r\n", 400),
            ("connection: keep-alive, x-amz-content-sha256\r\n", 400),
        ] {
            let reply = wire.ask(format!("{start}{field}\r\n{body}")).await;
            assert_eq!(reply.answers(), [status], "{start}{field}");
            let named = field.contains("authorization") || field.contains("sha256");
            assert_eq!(reply.text.contains("Connection header"), named, "{reply:?}");
        }
    }
    assert!(wire.recorder.is_silent());
}

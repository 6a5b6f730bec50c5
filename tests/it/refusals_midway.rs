//! K18–K20: a client whose upload is refused, before its first byte or in the middle of it, gets to see why.

use std::process::Command;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::oidc::OwnIssuer;
use super::support::recorder::response;
use super::support::{Answer, Gateway, Recorder, Setup, pattern, raw};

/// Far more than sockets and lingering take.
const MUCH: usize = 200 << 20;
/// More than sockets take, less than is read of a refused upload.
const LITTLE: usize = 3 << 20;
const TRIES: usize = 100;

const TYPED: &str =
    "\n  - { name: t, who: { tokens: [a] }, where: bkt/a/, what: write, content: { check_bytes: true } }";

/// How the client goes on after the bytes for which it is refused.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Client {
    /// Writes until it cannot, then reads.
    WritesThenReads,
    /// Reads while it writes.
    DoesBoth,
    /// Reads only if every byte could be written, as simple clients do.
    NeedsAllWritten,
}

/// Sends a head and a body that begins with `first`, or as much as is taken. Whether the answer was read whole, and is the expected one.
async fn sees_refusal(gateway: &Gateway, head: &str, first: &[u8], client: Client, expected: (u16, &str)) -> bool {
    let length = if client == Client::NeedsAllWritten { LITTLE } else { MUCH };
    let (mut reader, mut writer) = TcpStream::connect(gateway.address).await.unwrap().into_split();
    let framing =
        if head.contains("transfer-encoding") { String::new() } else { format!("content-length: {length}\r\n") };
    let head = format!("{head}{framing}\r\n");
    let opening = [head.as_bytes(), first].concat();
    let mut left = length - first.len();
    let writing = async move {
        let piece = vec![b'x'; 256 * 1024];
        let mut sent = writer.write_all(&opening).await;
        while sent.is_ok() && left > 0 {
            let next = left.min(piece.len());
            sent = writer.write_all(&piece[..next]).await;
            left -= next;
        }
        (writer, sent.is_ok())
    };
    let answer = if client == Client::DoesBoth {
        let writing = tokio::spawn(writing);
        let answer = raw::read_answer(&mut reader).await;
        writing.abort();
        answer
    } else {
        let (_open, all_written) = writing.await;
        if all_written != (client == Client::NeedsAllWritten) {
            return false;
        }
        raw::read_answer(&mut reader).await
    };
    let (status, code) = expected;
    let whole = answer.ends_with("</Error>") || answer.ends_with("</ErrorResponse>");
    raw::status(&answer) == status && answer.contains(&format!("<Code>{code}</Code>")) && whole
}

/// Lets a hundred clients of each kind run into a refusal of an upload.
async fn check(gateway: &Gateway, headers: &str, first: &[u8], status: u16, code: &str) {
    let token = &gateway.a.token;
    let head = format!("PUT /bkt/a/x HTTP/1.1\r\nhost: gw\r\nauthorization: Bearer {token}\r\n{headers}");
    check_head(gateway, &head, first, status, code).await;
}

/// Lets a hundred clients of each kind run into a refusal. The head is without its last line, and without its length if it has one.
async fn check_head(gateway: &Gateway, headers: &str, first: &[u8], status: u16, code: &str) {
    for client in [Client::WritesThenReads, Client::DoesBoth, Client::NeedsAllWritten] {
        let mut seen = 0;
        for _ in 0..TRIES {
            seen += usize::from(sees_refusal(gateway, headers, first, client, (status, code)).await);
        }
        assert!(seen >= TRIES - 1, "{client:?} {code}: {seen} of {TRIES} saw the refusal");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn k20_a_client_in_mid_upload_sees_that_it_lied_about_the_size() {
    let recorder = Recorder::start(Answer::ok()).await;
    let gateway = Setup::before(&recorder).start().await;
    let headers =
        "x-amz-content-sha256: STREAMING-UNSIGNED-PAYLOAD-TRAILER\r\nx-amz-decoded-content-length: 1000000\r\n";
    check(&gateway, headers, format!("{MUCH:x}\r\n").as_bytes(), 400, "IncompleteBody").await;
    assert!(recorder.nothing_committed());
}

#[tokio::test(flavor = "multi_thread")]
async fn k20_a_client_of_sts_in_mid_body_sees_why_it_is_refused() {
    let recorder = Recorder::start(Answer::ok()).await;
    let issuer = OwnIssuer::start().await;
    let setup = Setup::before(&recorder).issuers(&issuer.entry()).top("sts: { enabled: true }");
    let gateway = setup.start().await;
    let form = "host: gw\r\ncontent-type: application/x-www-form-urlencoded\r\n";
    let (declared, chunked) = (format!("POST / HTTP/1.1\r\n{form}"), format!("{form}transfer-encoding: chunked\r\n"));
    check_head(&gateway, &declared, b"Action=", 400, "ValidationError").await;
    check_head(&gateway, &format!("POST / HTTP/1.1\r\n{chunked}"), b"c800000\r\n", 400, "ValidationError").await;
    for start in ["POST /?a=b HTTP/1.1\r\n", "GET /?Action=GetCallerIdentity HTTP/1.1\r\n"] {
        check_head(&gateway, &format!("{start}{form}"), b"", 400, "MalformedQueryString").await;
    }
    assert!(recorder.is_silent());
}

#[tokio::test(flavor = "multi_thread")]
async fn k20_a_client_in_mid_upload_sees_that_the_bytes_do_not_fit_the_type() {
    let recorder = Recorder::start(Answer::ok()).await;
    let gateway = Setup::before(&recorder).rules(TYPED).start().await;
    check(&gateway, "content-type: image/png\r\n", b"<html><script>", 403, "AccessDenied").await;
    assert!(recorder.is_silent());
}

#[tokio::test(flavor = "multi_thread")]
async fn k20_a_client_in_mid_upload_sees_an_early_refusal_of_the_store() {
    let body = "<Error><Code>SlowDown</Code></Error>";
    for answer in [
        Answer::Early(response(503, "", body)),
        Answer::EarlyThenStall(response(503, "", body)),
        Answer::EarlyThenClose(response(503, "", body)),
    ] {
        let recorder = Recorder::start(answer).await;
        let gateway = Setup::before(&recorder).start().await;
        check(&gateway, "", b"", 503, "SlowDown").await;
        assert!(recorder.nothing_committed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn k20_a_client_that_is_refused_from_its_head_sees_it_too() {
    let recorder = Recorder::start(Answer::ok()).await;
    let rules = "\n  - { name: t, who: { tokens: [a] }, where: bkt/a/, what: write, limits: { max_size: 1MiB } }";
    let gateway = Setup::before(&recorder).rules(rules).start().await;
    check(&gateway, "", b"", 400, "EntityTooLarge").await;
    assert!(recorder.is_silent());
}

/// Sends a head that expects a 100 and gives what comes back before any byte of the body.
async fn expect(gateway: &Gateway, target: &str, token: &str, headers: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let head = format!(
        "PUT {target} HTTP/1.1\r\nhost: gw\r\nauthorization: Bearer {token}\r\nexpect: 100-continue\r\ncontent-length: 5\r\n{headers}\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut buffer = vec![0; 16 * 1024];
    let length = stream.read(&mut buffer).await.unwrap();
    (stream, String::from_utf8_lossy(&buffer[..length]).into_owned())
}

#[tokio::test]
async fn k18_a_refused_request_gets_its_status_and_no_100() {
    let recorder = Recorder::start(Answer::ok()).await;
    let rules = "
  - { name: small, who: { tokens: [a] }, where: bkt/a/, what: write, limits: { max_size: 4B } }
  - { name: typed, who: { tokens: [a] }, where: bkt/t/, what: write, content: { types: text/plain } }";
    let gateway = Setup::before(&recorder).rules(rules).start().await;
    let token = gateway.a.token.clone();
    for (target, token, headers, status) in [
        ("/bkt/a/x", token.as_str(), "", 400),
        ("/bkt/t/x", &token, "", 403),
        ("/bkt/t/x", &token, "content-type: image/png\r\n", 403),
        ("/bkt/b/x", &token, "", 403),
        ("/bkt/a/x", "wrong-token", "", 401),
        ("/other/a/x", &token, "", 403),
        ("/bkt/a/x?annotation&annotationName=n", &token, "", 501),
        ("/bkt/a/x", &token, "x-amz-copy-source: /bkt/b/x\r\n", 400),
        ("/bkt/a/x", &token, "expect: 200-ok\r\n", 417),
    ] {
        let (mut stream, first) = expect(&gateway, target, token, headers).await;
        assert_eq!(raw::status(&first), status, "{target} {headers}: {first}");
        assert!(!first.contains(" 100 "), "{first}");
        // The body was never sent, so nothing may follow on this connection.
        assert_eq!(stream.read(&mut [0; 16]).await.unwrap_or(0), 0, "{target} {headers}");
    }
    assert!(recorder.is_silent());
}

#[tokio::test]
async fn k19_a_good_request_gets_a_100_and_works() {
    let recorder = Recorder::start(Answer::ok()).await;
    let gateway = Setup::before(&recorder).start().await;
    let (mut stream, first) = expect(&gateway, "/bkt/a/x", &gateway.a.token, "").await;
    assert_eq!(first.as_bytes(), raw::CONTINUE);
    assert!(recorder.is_silent(), "the store hears of it with the first byte");
    stream.write_all(b"hello").await.unwrap();
    assert_eq!(raw::status(&raw::read_answer(&mut stream).await), 200);
    // The client sends without waiting.
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let head = format!(
        "PUT /bkt/a/x HTTP/1.1\r\nhost: gw\r\nauthorization: Bearer {}\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\nhello",
        gateway.a.token
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(raw::status(&raw::read_answer(&mut stream).await), 200);
    let requests = recorder.requests();
    assert_eq!(requests.len(), 2);
    for request in requests {
        assert!(request.complete && request.header("expect").is_empty());
    }
}

#[tokio::test]
async fn k18_curl_sends_no_body_for_a_refused_upload() {
    if Command::new("curl").arg("--version").output().is_err() {
        return super::support::store::missing("curl");
    }
    let recorder = Recorder::start(Answer::ok()).await;
    let gateway = Setup::before(&recorder).start().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), pattern(3 << 20)).unwrap();
    for (key, expected) in [("a/x", format!("200 {}", 3 << 20)), ("b/x", "403 0".to_owned())] {
        let mut curl = Command::new("curl");
        curl.args([
            "-sS",
            "--noproxy",
            "*",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code} %{size_upload}",
            "--max-time",
            "20",
        ])
        .args(["--expect100-timeout", "15", "-H", &format!("authorization: Bearer {}", gateway.a.token)])
        .args(["-H", "expect: 100-continue", "-T"])
        .arg(file.path())
        .arg(format!("http://{}/bkt/{key}", gateway.address));
        let output = tokio::task::spawn_blocking(move || curl.output().unwrap()).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert!(recorder.only().complete);
}

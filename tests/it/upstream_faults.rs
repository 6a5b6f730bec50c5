//! Stores that answer early, stall, break off or close, and clients that go away: nobody hangs, nothing is stored by half, nothing is
//! sent twice.

use std::time::{Duration, Instant};

use countersign::audit::Outcome;
use countersign::s3::checksum::{RunningDigest, to_base64};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::support::recorder::response;
use super::support::{Answer, Gateway, Recorder, Setup, eventually, pattern, raw};

const SHORT: &str = "timeouts: { connect: 1s, first_byte: 1s, idle: 1s }";
/// More than sockets, hyper and the lingering take together.
const LARGE: usize = 20 << 20;

async fn before(recorder: &Recorder) -> Gateway {
    Setup::before(recorder).upstream(SHORT).start().await
}

/// The head of a PUT; `headers` end in CRLF each.
fn put_head(gateway: &Gateway, length: usize, headers: &str) -> String {
    let token = &gateway.a.token;
    format!(
        "PUT /bkt/a/x HTTP/1.1\r\nhost: gw\r\nauthorization: Bearer {token}\r\ncontent-length: {length}\r\n{headers}\r\n"
    )
}

/// Sends a whole PUT and reads at the same time. Status and code of the answer.
async fn put(gateway: &Gateway, length: usize, headers: &str) -> (u16, String) {
    let (mut reader, mut writer) = TcpStream::connect(gateway.address).await.unwrap().into_split();
    let head = put_head(gateway, length, headers);
    let writing = tokio::spawn(async move {
        // May be cut by a refusal.
        let _may_be_refused = writer.write_all(head.as_bytes()).await;
        let _may_be_refused = writer.write_all(&pattern(length)).await;
        writer
    });
    let answer = raw::read_answer(&mut reader).await;
    writing.abort();
    let code = answer.split("<Code>").nth(1).and_then(|rest| rest.split("</Code>").next()).unwrap_or_default();
    (raw::status(&answer), code.to_owned())
}

/// Sends a request whose body, if it is a PUT, is `abc`. The status of the answer.
async fn send_small(gateway: &Gateway, method: &str, headers: &str) -> u16 {
    let body = match method {
        "PUT" if headers.contains("chunked") => "3\r\nabc\r\n0\r\n\r\n",
        "PUT" => "abc",
        _ => "",
    };
    let (token, headers) = (&gateway.a.token, format!("{headers}\r\n").trim_start().to_owned());
    let request =
        format!("{method} /bkt/a/second HTTP/1.1\r\nhost: gw\r\nauthorization: Bearer {token}\r\n{headers}\r\n{body}");
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    raw::status(&raw::read_answer(&mut stream).await)
}

fn outcome(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

fn is_put(request: &super::support::recorder::Recorded) -> bool {
    request.head.starts_with("PUT ")
}

fn puts(recorder: &Recorder) -> usize {
    recorder.requests().iter().filter(|request| is_put(request)).count()
}

#[tokio::test]
async fn k21_h19_an_early_refusal_of_the_store_reaches_the_client_whatever_the_store_does_next() {
    for (status, code, seen) in [
        (403, "AccessDenied", outcome(502, "BadGateway")),
        (403, "SignatureDoesNotMatch", outcome(502, "BadGateway")),
        (412, "PreconditionFailed", outcome(412, "PreconditionFailed")),
        (503, "SlowDown", outcome(503, "SlowDown")),
    ] {
        let bytes = response(status, "", &format!("<Error><Code>{code}</Code></Error>"));
        for answer in
            [Answer::Early(bytes.clone()), Answer::EarlyThenStall(bytes.clone()), Answer::EarlyThenClose(bytes)]
        {
            for length in [100_000, LARGE] {
                let recorder = Recorder::start(answer.clone()).await;
                let gateway = before(&recorder).await;
                assert_eq!(put(&gateway, length, "").await, seen, "{answer:?} {length}");
                assert_eq!(puts(&recorder), 1, "{answer:?} {length}");
                assert!(length < LARGE || recorder.nothing_committed(), "{answer:?}");
                // The first connection may still hold bytes of the upload, and the store may take them for a request.
                recorder.answer(Answer::ok());
                assert_eq!(gateway.a.get("/bkt/a/x").await.status, 200, "{answer:?} {length}");
                assert_eq!(recorder.accepted(), 2, "{answer:?} {length}");
            }
        }
    }
}

#[tokio::test]
async fn a_connection_whose_request_the_store_has_read_is_used_again() {
    let recorder = Recorder::start(Answer::ok()).await;
    let gateway = before(&recorder).await;
    for status in [200, 404, 412, 416, 304] {
        recorder.answer(Answer::status(status, "", ""));
        gateway.a.get("/bkt/a/x").await;
    }
    recorder.answer(Answer::ok());
    for length in [0, 1, LARGE] {
        assert_eq!(put(&gateway, length, "").await, outcome(200, ""));
    }
    assert_eq!(recorder.accepted(), 1);
}

#[tokio::test]
async fn k21_an_early_success_counts_only_after_the_last_byte_was_taken() {
    let success = response(200, "etag: \"e\"\r\n", "");
    let recorder = Recorder::start(Answer::Early(success.clone())).await;
    let gateway = before(&recorder).await;
    for length in [1, LARGE] {
        assert_eq!(put(&gateway, length, "").await, outcome(200, ""), "{length}");
        let arrived = || recorder.requests().pop().is_some_and(|request| request.complete);
        eventually("the store has taken everything", arrived).await;
        assert_eq!(recorder.requests().pop().unwrap().header("x-amz-decoded-content-length"), length.to_string());
    }
    for answer in [Answer::EarlyThenStall(success.clone()), Answer::EarlyThenClose(success.clone())] {
        recorder.answer(answer.clone());
        let (status, _) = put(&gateway, LARGE, "").await;
        assert!(matches!(status, 502 | 504), "{answer:?} {status}");
        assert!(!recorder.requests().pop().unwrap().complete);
    }
    recorder.answer(Answer::Early(success));
    let wrong = format!("content-md5: {}\r\n", to_base64(&[7; 16]));
    assert_eq!(put(&gateway, LARGE, &wrong).await, outcome(400, "BadDigest"));
    assert!(!recorder.requests().pop().unwrap().complete);
    let mut digest = RunningDigest::md5();
    digest.update(&pattern(LARGE));
    let right = format!("content-md5: {}\r\n", to_base64(&digest.finish(16)));
    assert_eq!(put(&gateway, LARGE, &right).await, outcome(200, ""));
}

#[tokio::test]
async fn h17_a_store_that_closes_in_the_middle_of_an_upload_is_a_502_and_never_asked_twice() {
    let recorder = Recorder::start(Answer::ok()).await;
    let gateway = before(&recorder).await;
    // Once on a new connection, once on one that has been used.
    for taken in [0, 1, 1_000_000] {
        recorder.answer(Answer::CloseAfter(taken));
        let before = puts(&recorder);
        assert_eq!(put(&gateway, LARGE, "").await, outcome(502, "BadGateway"), "{taken}");
        assert_eq!(puts(&recorder), before + 1, "{taken}");
        recorder.answer(Answer::ok());
        assert_eq!(put(&gateway, LARGE, "").await, outcome(200, ""), "{taken}");
    }
}

#[tokio::test]
async fn a_store_that_stalls_or_is_silent_is_a_504_in_time() {
    for answer in [Answer::Stall, Answer::Silence] {
        let recorder = Recorder::start(answer.clone()).await;
        let gateway = before(&recorder).await;
        for length in [1, 100_000, LARGE] {
            let start = Instant::now();
            assert_eq!(put(&gateway, length, "").await, outcome(504, "GatewayTimeout"), "{answer:?} {length}");
            // The defaults are a minute.
            assert!(start.elapsed() < Duration::from_secs(20), "{answer:?} {length}: {:?}", start.elapsed());
        }
        assert_eq!(gateway.a.get("/bkt/a/x").await.outcome(), outcome(504, "GatewayTimeout"), "{answer:?}");
        assert_eq!(gateway.a.get("/bkt?list-type=2").await.outcome(), outcome(504, "GatewayTimeout"), "{answer:?}");
        assert_eq!(gateway.a.delete("/bkt/a/x").await.outcome(), outcome(504, "GatewayTimeout"), "{answer:?}");
    }
}

#[tokio::test]
async fn a_slow_client_is_not_taken_for_a_store_that_stalls() {
    let recorder = Recorder::start(Answer::ok()).await;
    let gateway = before(&recorder).await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(put_head(&gateway, 3, "").as_bytes()).await.unwrap();
    for byte in [b"1", b"2", b"3"] {
        // Longer than every limit towards the store.
        tokio::time::sleep(Duration::from_millis(1200)).await;
        stream.write_all(byte).await.unwrap();
    }
    assert_eq!(raw::status(&raw::read_answer(&mut stream).await), 200);
}

#[tokio::test]
async fn an_unreachable_store_is_a_502() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let gateway = Setup::new(&endpoint, "A", "S", "up-bkt").upstream(SHORT).start().await;
    assert_eq!(gateway.a.get("/bkt/a/x").await.outcome(), outcome(502, "BadGateway"));
    assert_eq!(put(&gateway, 100_000, "").await, outcome(502, "BadGateway"));
    let record = gateway.record(2).await;
    assert_eq!((record.outcome, record.upstream_status), (Outcome::Refused, None));
}

#[tokio::test]
async fn g05_an_answer_that_breaks_off_never_looks_whole() {
    let counted = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly a part".to_owned();
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n10\r\nonly a part, yet".to_owned();
    let without_end = format!("{chunked}\r\n");
    for bytes in [counted, chunked, without_end] {
        let recorder = Recorder::start(Answer::EarlyThenClose(bytes.clone())).await;
        let gateway = before(&recorder).await;
        let request = format!("GET /bkt/a/x HTTP/1.1\r\nhost: gw\r\nauthorization: Bearer {}\r\n\r\n", gateway.a.token);
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        // Until the end of the connection, however it comes.
        let mut answer = Vec::new();
        let _may_be_reset = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.contains("content-length: 100") || answer.contains("transfer-encoding: chunked"), "{answer}");
        assert!(!answer.contains("\r\n0\r\n"), "{bytes}: {answer}");
        let record = gateway.record(1).await;
        assert_eq!((record.outcome, record.status), (Outcome::Failed, Some(200)), "{bytes}");
    }
    let whole = Recorder::start(Answer::EarlyThenClose(response(200, "", "whole"))).await;
    let gateway = before(&whole).await;
    assert_eq!(gateway.a.get("/bkt/a/x").await.body, b"whole");
    assert_eq!(gateway.record(1).await.outcome, Outcome::Ok);
}

#[tokio::test]
async fn an_answer_that_stalls_is_broken_off_in_time() {
    let recorder = Recorder::start(Answer::status(200, "", "")).await;
    let gateway = before(&recorder).await;
    recorder.answer(Answer::Bytes("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly a part".to_owned()));
    let request = format!("GET /bkt/a/x HTTP/1.1\r\nhost: gw\r\nauthorization: Bearer {}\r\n\r\n", gateway.a.token);
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    assert!(raw::read_answer(&mut stream).await.ends_with("only a part"));
    assert_eq!(gateway.record(1).await.outcome, Outcome::Failed);
}

#[tokio::test]
async fn k14_a_connection_that_the_store_closed_while_idle_costs_no_request() {
    let recorder = Recorder::start(Answer::ThenClose(response(200, "", "kept"))).await;
    let gateway = before(&recorder).await;
    for round in 0..20 {
        assert_eq!(gateway.a.get("/bkt/a/x").await.body, b"kept", "{round}");
        eventually("the store has closed", || recorder.open() == 0).await;
        assert_eq!(put(&gateway, 100_000, "").await, outcome(200, ""), "{round}");
        eventually("the store has closed", || recorder.open() == 0).await;
    }
    assert_eq!((recorder.requests().len(), puts(&recorder)), (40, 20));
}

#[tokio::test]
async fn k14_h17_what_meets_a_closing_connection_is_sent_again_only_if_it_does_no_harm_twice() {
    let recorder = Recorder::start(Answer::ok()).await;
    let gateway = before(&recorder).await;
    // A body of unknown length that is one part goes to the store from memory.
    let chunked = "transfer-encoding: chunked";
    for (method, headers, again) in [
        ("GET", "", true),
        ("HEAD", "", true),
        ("DELETE", "", true),
        ("DELETE", "if-match: \"e\"", false),
        ("PUT", "content-length: 3", false),
        ("PUT", chunked, false),
        ("PUT", &format!("{chunked}\r\nif-none-match: *"), false),
        ("PUT", &format!("{chunked}\r\nif-match: \"e\""), false),
    ] {
        recorder.answer(Answer::ThenCloseOnReuse(response(200, "", "")));
        gateway.a.get("/bkt/a/first").await;
        let (requests, accepted) = (recorder.requests().len(), recorder.accepted());
        let answer = send_small(&gateway, method, headers).await;
        assert_eq!(answer, if again { 200 } else { 502 }, "{method} {headers}");
        assert_eq!(recorder.requests().len() - requests, if again { 2 } else { 1 }, "{method} {headers}");
        assert_eq!(recorder.accepted() - accepted, usize::from(again), "{method} {headers}");
    }
    // A store that closes every time is not asked for ever.
    recorder.answer(Answer::CloseAfter(0));
    let requests = recorder.requests().len();
    assert_eq!(gateway.a.get("/bkt/a/x").await.outcome(), outcome(502, "BadGateway"));
    assert!(recorder.requests().len() - requests <= 2);
}

/// Lets a client begin a request, waits for `begun`, and lets it go away. The store must hear of it within two seconds.
async fn leave(recorder: &Recorder, request: &[u8], reset: bool, begun: impl Fn() -> bool) -> Gateway {
    let gateway = Setup::before(recorder).upstream("max_connections: 1").start().await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let request = String::from_utf8_lossy(request).replace("TOKEN", &gateway.a.token);
    stream.write_all(request.as_bytes()).await.unwrap();
    eventually("the store has seen the request", begun).await;
    if reset {
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
    drop(stream);
    let gone = Instant::now();
    eventually("the connection to the store ends", || recorder.open() == 0).await;
    assert!(gone.elapsed() < Duration::from_secs(2), "{:?}", gone.elapsed());
    gateway
}

#[tokio::test]
async fn k22_a_client_that_leaves_takes_its_request_to_the_store_with_it() {
    let head = "HTTP/1.1\r\nhost: gw\r\nauthorization: Bearer TOKEN\r\n";
    let part = "x".repeat(1 << 20);
    let in_put = format!("PUT /bkt/a/x {head}content-length: 10000000\r\n\r\n{part}");
    let after_put = format!("PUT /bkt/a/x {head}content-length: 5\r\n\r\nhello");
    let get = format!("GET /bkt/a/x {head}\r\n");
    let endless = Answer::Bytes(format!("HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n{part}"));
    for reset in [false, true] {
        for (name, request, answer) in [
            ("in the middle of a PUT", &in_put, Answer::ok()),
            ("while the store thinks about a PUT", &after_put, Answer::Silence),
            ("while the store thinks about a GET", &get, Answer::Silence),
            ("in the middle of a GET", &get, endless.clone()),
        ] {
            let recorder = Recorder::start(answer).await;
            let begun = || {
                let requests = recorder.requests();
                let request = requests.first();
                request.is_some_and(|request| request.complete || request.body.len() > 100_000)
            };
            let gateway = leave(&recorder, request.as_bytes(), reset, begun).await;
            // Its place among the connections is free again.
            recorder.answer(Answer::ok());
            assert_eq!(gateway.a.get("/bkt/a/y").await.status, 200, "{name}, reset: {reset}");
            gateway.record(2).await;
            let record = gateway.records().into_iter().find(|record| record.key.as_deref() == Some("a/x")).unwrap();
            assert_eq!(record.outcome, Outcome::Aborted, "{name}, reset: {reset}: {record:?}");
            assert_eq!(record.principal.as_deref(), Some("token:a"), "{name}");
            if name.contains("middle of a PUT") {
                assert!(recorder.nothing_committed(), "{name}");
                assert!(record.bytes_in > 100_000 && record.bytes_in <= 1 << 20, "{}", record.bytes_in);
            }
        }
    }
}

#[tokio::test]
async fn h11_an_upload_that_is_broken_off_ends_in_a_reset_at_the_store() {
    let recorder = Recorder::start(Answer::ok()).await;
    for (upstream, headers) in [
        ("payload: signed", format!("content-md5: {}\r\n", to_base64(&[7; 16]))),
        ("payload: unsigned", format!("x-amz-checksum-crc32: {}\r\n", to_base64(&[7; 4]))),
    ] {
        let gateway = Setup::before(&recorder).upstream(upstream).start().await;
        assert_eq!(put(&gateway, LARGE, &headers).await, outcome(400, "BadDigest"), "{upstream}");
        eventually("the connection to the store ends", || recorder.open() == 0).await;
        let request = recorder.requests().pop().unwrap();
        assert!(request.reset && !request.complete && !request.body.is_empty(), "{upstream}");
    }
}

#[tokio::test]
async fn h09_an_upload_of_one_piece_has_passed_every_check_before_the_store_hears_of_it() {
    let recorder = Recorder::start(Answer::ok()).await;
    let gateway = before(&recorder).await;
    let send = async |headers: &str| {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        let head = put_head(&gateway, 5, &format!("expect: 100-continue\r\n{headers}"));
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut interim = [0; raw::CONTINUE.len()];
        stream.read_exact(&mut interim).await.unwrap();
        assert_eq!(interim, raw::CONTINUE);
        stream.write_all(b"hello").await.unwrap();
        raw::status(&raw::read_answer(&mut stream).await)
    };
    for wrong in [
        "content-md5: AAAAAAAAAAAAAAAAAAAAAA==\r\n",
        "x-amz-checksum-crc32: AAAAAA==\r\n",
        &format!("x-amz-content-sha256: {}\r\n", "0".repeat(64)),
    ] {
        assert_eq!(send(wrong).await, 400, "{wrong}");
        assert_eq!(recorder.accepted(), 0, "{wrong}");
    }
    assert_eq!(send("content-md5: XUFAKrxLKna5cZ2REBfFkg==\r\n").await, 200);
    assert!(recorder.only().complete);
}

//! Answers of a store that can be read in two ways, or that no store should send: what the client gets has one reading, and no byte of
//! one answer ever becomes part of another.

use std::time::{Duration, Instant};

use countersign::audit::Outcome;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::recorder::response;
use super::support::{Answer, Gateway, Recorder, Setup, raw};

/// Sends a request without a body and reads until the gateway closes, or is silent for a second.
async fn ask(gateway: &Gateway, method: &str) -> String {
    let head = format!(
        "{method} /bkt/a/x HTTP/1.1\r\nhost: gw\r\nconnection: close\r\nauthorization: Bearer {}\r\n\r\n",
        gateway.a.token
    );
    raw::exchange(gateway.address, head.as_bytes()).await
}

/// Whether a text is one answer with one reading.
fn has_one_reading(answer: &str) -> bool {
    let (head, _) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let head = head.to_ascii_lowercase();
    let lengths = head.matches("\r\ncontent-length:").count();
    let codings = head.matches("\r\ntransfer-encoding:").count();
    answer.matches("HTTP/1.1 ").count() == 1 && lengths + codings <= 1
}

async fn before(answer: &str) -> (Recorder, Gateway) {
    let recorder = Recorder::start(Answer::Bytes(answer.to_owned())).await;
    let gateway = Setup::before(&recorder).upstream("timeouts: { first_byte: 2s, idle: 2s }").start().await;
    (recorder, gateway)
}

#[tokio::test]
async fn g06_an_answer_with_two_framings_has_one_reading_and_ends_its_connection() {
    let chunked = "5\r\nhello\r\n0\r\n\r\n";
    for (fields, body) in [
        ("content-length: 3\r\ntransfer-encoding: chunked\r\n", chunked),
        ("transfer-encoding: chunked\r\ncontent-length: 3\r\n", chunked),
        ("content-length: 5\r\ncontent-length: 6\r\n", "hello!"),
        ("content-length: 5, 6\r\n", "hello!"),
        ("content-length: +5\r\n", "hello"),
        ("content-length: -1\r\n", "hello"),
        ("content-length: 18446744073709551616\r\n", "hello"),
        ("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", chunked),
        ("transfer-encoding: xchunked\r\n", chunked),
        ("transfer-encoding: chunked, identity\r\n", chunked),
    ] {
        let (recorder, gateway) = before(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n{body}")).await;
        let answer = ask(&gateway, "GET").await;
        assert!(has_one_reading(&answer), "{fields}: {answer}");
        let status = raw::status(&answer);
        // Refused, or never more than the store's own bytes; a client that reads on gets nothing.
        assert!(status == 502 || status == 200, "{fields}: {answer}");
        recorder.answer(Answer::status(200, "", "second"));
        assert_eq!(gateway.a.get("/bkt/a/y").await.body, b"second", "{fields}");
        assert_eq!(recorder.accepted(), 2, "{fields}: the connection is used again");
    }
}

#[tokio::test]
async fn g06_bytes_behind_an_answer_never_become_the_next_answer() {
    let smuggled = response(200, "", "smuggled");
    for first in [
        response(200, "", "first") + &smuggled,
        response(200, "", "") + &smuggled,
        response(404, "", "<Error><Code>NoSuchKey</Code></Error>") + &smuggled,
        format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n0\r\n\r\n{smuggled}"),
        format!("HTTP/1.1 204 No Content\r\ncontent-length: {}\r\n\r\n{smuggled}", smuggled.len()),
        format!("HTTP/1.1 304 Not Modified\r\ncontent-length: {}\r\n\r\n{smuggled}", smuggled.len()),
    ] {
        for method in ["GET", "HEAD", "DELETE"] {
            let (recorder, gateway) = before(&first).await;
            for _ in 0..5 {
                recorder.answer(Answer::Bytes(first.clone()));
                let answer = ask(&gateway, method).await;
                assert!(!answer.contains("smuggled") && has_one_reading(&answer), "{method} {first}: {answer}");
                recorder.answer(Answer::status(200, "", "second"));
                assert_eq!(gateway.a.get("/bkt/a/y").await.body, b"second", "{method} {first}");
            }
        }
    }
}

#[tokio::test]
async fn g06_interim_answers_are_taken_for_what_they_are_and_no_protocol_is_switched() {
    let last = response(200, "", "whole");
    let (_recorder, gateway) =
        before(&format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n{last}")).await;
    let answer = ask(&gateway, "GET").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("whole") && !answer.contains("link"), "{answer}");

    let switching = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nraw bytes";
    let (recorder, gateway) = before(switching).await;
    let answer = ask(&gateway, "GET").await;
    assert!(answer.starts_with("HTTP/1.1 502") && has_one_reading(&answer), "{answer}");
    assert!(!answer.contains("raw bytes") && !answer.contains("websocket"), "{answer}");
    recorder.answer(Answer::status(200, "", "second"));
    assert_eq!(gateway.a.get("/bkt/a/y").await.body, b"second");
    assert_eq!(recorder.accepted(), 2);
}

#[tokio::test]
async fn g06_endless_interim_answers_end_in_time() {
    let many = "HTTP/1.1 100 Continue\r\n\r\n".repeat(200_000);
    let (_recorder, gateway) = before(&many).await;
    let start = Instant::now();
    let answer = ask(&gateway, "GET").await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 50"), "{answer}");
    let answer = gateway.a.get("/bkt/a/x").await;
    assert!(answer.status == 502 || answer.status == 504, "{answer:?}");
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn g06_heads_beyond_every_measure_are_a_502() {
    let many: String = (0..101).map(|n| format!("x-amz-meta-{n}: y\r\n")).collect();
    let long = format!("x-amz-meta-a: {}\r\n", "y".repeat(1 << 20));
    for fields in [many, long, "x-amz-meta-a: y\r\n".repeat(100_000)] {
        let (_recorder, gateway) = before(&format!("HTTP/1.1 200 OK\r\n{fields}content-length: 5\r\n\r\nhello")).await;
        let answer = gateway.a.get("/bkt/a/x").await;
        assert_eq!(answer.outcome(), (502, "BadGateway".to_owned()), "{} bytes of fields", fields.len());
        assert_eq!(gateway.record(1).await.outcome, Outcome::Refused);
    }
}

#[tokio::test]
async fn g05_g06_chunks_that_lie_break_the_answer_off_and_trailers_are_dropped() {
    for body in [
        "5\r\nhello\r\nXYZ\r\n",
        "5\r\nhello\r\n-1\r\n",
        "5\r\nhelloEXTRA\r\n0\r\n\r\n",
        "5\r\nhello\r\nFFFFFFFFFFFFFFFFF\r\nx\r\n0\r\n\r\n",
        "5\r\nhello\r\n10000000000000000\r\n",
    ] {
        let (recorder, gateway) = before(&format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{body}")).await;
        let answer = ask(&gateway, "GET").await;
        assert!(!answer.ends_with("0\r\n\r\n") && !answer.contains("EXTRA"), "{body}: {answer}");
        assert_ne!(gateway.record(1).await.outcome, Outcome::Ok, "{body}");
        recorder.answer(Answer::status(200, "", "second"));
        assert_eq!(gateway.a.get("/bkt/a/y").await.body, b"second", "{body}");
        assert_eq!(recorder.accepted(), 2, "{body}");
    }
    let trailers = "5\r\nhello\r\n0\r\nset-cookie: a=b\r\nx-amz-meta-a: c\r\n\r\n";
    let (_recorder, gateway) =
        before(&format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: set-cookie\r\n\r\n{trailers}"))
            .await;
    let answer = ask(&gateway, "GET").await;
    assert!(answer.ends_with("5\r\nhello\r\n0\r\n\r\n") && !answer.contains("set-cookie"), "{answer}");
}

#[tokio::test]
async fn g06_answers_that_have_no_body_have_none_for_the_client() {
    for (method, status, fields) in [
        ("HEAD", "200 OK", "content-length: 5\r\n"),
        ("HEAD", "200 OK", "transfer-encoding: chunked\r\n"),
        ("GET", "304 Not Modified", "content-length: 5\r\netag: \"e\"\r\n"),
        ("DELETE", "204 No Content", "content-length: 5\r\n"),
        ("DELETE", "204 No Content", "transfer-encoding: chunked\r\n"),
    ] {
        let (_recorder, gateway) = before(&format!("HTTP/1.1 {status}\r\n{fields}\r\n")).await;
        let answer = ask(&gateway, method).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {}", &status[..3])), "{method} {fields}: {answer}");
        assert!(answer.ends_with("\r\n\r\n") && has_one_reading(&answer), "{method} {fields}: {answer}");
    }
}

#[tokio::test]
async fn g02_line_ends_and_controls_in_answers_of_a_store_never_reach_a_client() {
    for value in ["a\rset-cookie: b", "a\nset-cookie: b", "a\0b", "a\r\n folded", "a\x1b[31m", "a\x7fb"] {
        for name in ["x-amz-meta-a", "content-disposition", "etag", "x-amz-version-id"] {
            let (_recorder, gateway) =
                before(&format!("HTTP/1.1 200 OK\r\n{name}: {value}\r\ncontent-length: 5\r\n\r\nhello")).await;
            let answer = ask(&gateway, "GET").await;
            let (head, _) = answer.split_once("\r\n\r\n").unwrap();
            assert!(!head.to_ascii_lowercase().contains("\r\nset-cookie"), "{name} {value:?}: {answer:?}");
            let stray = head.replace("\r\n", "").chars().find(|character| character.is_control());
            assert!(stray.is_none(), "{name} {value:?}: {answer:?}");
            assert!(has_one_reading(&answer), "{name} {value:?}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn g07_what_a_store_nominates_as_hop_by_hop_is_not_passed_on() {
    let fields = "connection: x-amz-meta-a, keep-alive\r\nkeep-alive: timeout=5\r\nx-amz-meta-a: 1\r\nvia: 1.1 inside\r\n\
        strict-transport-security: max-age=1\r\naccess-control-allow-origin: *\r\nx-amz-bucket-region: inside\r\nproxy-authenticate: x\r\n";
    let (_recorder, gateway) = before(&response(200, fields, "hello")).await;
    let answer = gateway.a.get("/bkt/a/x").await;
    assert_eq!(answer.status, 200);
    for name in [
        "keep-alive",
        "via",
        "strict-transport-security",
        "access-control-allow-origin",
        "x-amz-bucket-region",
        "proxy-authenticate",
        "connection",
    ] {
        assert_eq!(answer.header(name), "", "{name}");
    }
}

#[tokio::test]
async fn g08_no_origin_is_ever_told_that_it_may_read() {
    let recorder = Recorder::start(Answer::ok()).await;
    let gateway = Setup::before(&recorder).start().await;
    for origin in ["https://evil.example", "null"] {
        let headers = [("origin", origin), ("access-control-request-method", "GET")];
        let preflight = gateway.a.send_plain("OPTIONS", "/bkt/a/x", &headers, "").await;
        let asked = gateway.a.send("GET", "/bkt/a/x", &headers, "").await;
        for answer in [preflight, asked] {
            let told = answer.headers.keys().find(|name| name.as_str().starts_with("access-control-"));
            assert!(told.is_none(), "{origin}: {told:?}");
        }
    }
    // Whether a key exists cannot be asked for without a credential.
    let preflight = async |key: &str| {
        let answer = gateway.a.send_plain("OPTIONS", key, &[("origin", "null")], "").await;
        (answer.outcome(), answer.text().replace(&answer.element("RequestId"), "").replace(key, ""))
    };
    assert_eq!(preflight("/bkt/a/there").await, preflight("/bkt/a/nowhere").await);
    assert_eq!(recorder.requests().len(), 2);
}

#[tokio::test]
async fn g10_ranges_go_to_the_store_as_they_are_or_not_at_all() {
    let recorder = Recorder::start(Answer::ok()).await;
    let gateway = Setup::before(&recorder).start().await;
    for range in ["bytes=0-0", "bytes=0-", "bytes=-5", "bytes=9-99999999999"] {
        gateway.a.send("GET", "/bkt/a/x", &[("range", range)], "").await;
        assert_eq!(recorder.requests().pop().unwrap().header("range"), range);
    }
    let before = recorder.requests().len();
    let ranges = |count| format!("bytes={}", vec!["0-1"; count].join(","));
    for range in [ranges(1000), ranges(2), "bytes=5-2".to_owned(), "bytes=0-\u{e9}".to_owned()] {
        let range = range.as_str();
        let answer = gateway.a.send("GET", "/bkt/a/x", &[("range", range)], "").await;
        assert_eq!(answer.outcome(), (400, "InvalidArgument".to_owned()), "{range}");
    }
    let twice = gateway.a.send("GET", "/bkt/a/x", &[("range", "bytes=0-1"), ("range", "bytes=2-3")], "").await;
    assert_eq!(twice.status, 400);
    assert_eq!(recorder.requests().len(), before);
}

#[tokio::test]
async fn g12_a_shared_cache_keeps_nothing_unless_the_object_says_so() {
    let recorder = Recorder::start(Answer::status(200, "etag: \"e\"\r\n", "x")).await;
    let gateway = Setup::before(&recorder).start().await;
    let got = gateway.a.get("/bkt/a/x").await;
    assert_eq!((got.header("cache-control"), got.header("vary")), ("private", "Authorization"));
    recorder.answer(Answer::status(200, "cache-control: public, max-age=9\r\n", "x"));
    let got = gateway.a.get("/bkt/a/x").await;
    assert_eq!((got.header("cache-control"), got.header("vary")), ("public, max-age=9", "Authorization"));
}

#[tokio::test]
async fn g05_a_long_download_that_breaks_off_is_broken_off_for_the_client_too() {
    // Closed in the middle after more than the gateway reads ahead.
    let part = "x".repeat(3 << 20);
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 10000000\r\n\r\n{part}");
    let recorder = Recorder::start(Answer::ThenClose(answer)).await;
    let gateway = Setup::before(&recorder).start().await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let head = format!("GET /bkt/a/x HTTP/1.1\r\nhost: gw\r\nauthorization: Bearer {}\r\n\r\n", gateway.a.token);
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut got = Vec::new();
    let _may_be_reset = stream.read_to_end(&mut got).await;
    let head_end = got.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    assert!(String::from_utf8_lossy(&got[..head_end]).contains("content-length: 10000000"));
    assert!(got.len() - head_end < 10_000_000);
    let record = gateway.record(1).await;
    assert_eq!((record.outcome, record.status), (Outcome::Failed, Some(200)));
}

//! The hook against real HTTP servers: one of hyper that does as it should, and sockets that do not.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::inspect::{Direction, Feed, content};

const LIMIT: Duration = Duration::from_secs(20);

fn settings(port: u16, send: Shown) -> Settings {
    Settings {
        tls: false,
        host: "127.0.0.1".to_owned(),
        port,
        path: PathAndQuery::from_static("/scan"),
        ca_file: None,
        send,
        headers: vec![(http::header::AUTHORIZATION, Secret::new("Bearer s3cret"))],
        max_size: None,
    }
}

fn subject(key: &str, length: Option<u64>) -> Subject {
    Subject {
        request_id: "4f3a".to_owned(),
        principal: "token:ci".to_owned(),
        bucket: "team-data".to_owned(),
        key: key.to_owned(),
        media_type: Some("text/plain".to_owned()),
        content_encoding: None,
        length,
        direction: Direction::Upload,
    }
}

/// One look at an object of these pieces, fed to its end.
async fn look(settings: &Settings, subject: Subject, pieces: Vec<Bytes>) -> Verdict {
    let (feed, content) = content::channel();
    let look = build("hook", settings).unwrap().look(Arc::new(subject), content);
    let both = async { tokio::join!(look, feed.all(pieces)).0 };
    tokio::time::timeout(LIMIT, both).await.expect("a verdict in time")
}

/// What a program got.
#[derive(Debug, Clone, Default)]
struct Got {
    method: String,
    target: String,
    headers: HeaderMap,
    body: Vec<u8>,
    complete: bool,
}

/// A program that answers every request with the same text when it has read all of it.
async fn program(answer: Value) -> (u16, Arc<Mutex<Vec<Got>>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let requests = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&requests);
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let (seen, answer) = (Arc::clone(&seen), answer.clone());
            let serve = service_fn(move |request| take(request, Arc::clone(&seen), answer.to_string()));
            tokio::spawn(
                async move { drop(http1::Builder::new().serve_connection(TokioIo::new(socket), serve).await) },
            );
        }
    });
    (port, requests)
}

async fn take(
    request: Request<Incoming>,
    seen: Arc<Mutex<Vec<Got>>>,
    answer: String,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (head, mut body) = request.into_parts();
    let (method, target) = (head.method.to_string(), head.uri.to_string());
    let mut got = Got { method, target, headers: head.headers, ..Got::default() };
    let ended = loop {
        match body.frame().await {
            Some(Ok(frame)) => got.body.extend_from_slice(frame.data_ref().unwrap()),
            Some(Err(error)) => break Err(error),
            None => break Ok(()),
        }
    };
    got.complete = ended.is_ok();
    seen.lock().unwrap().push(got);
    ended?;
    let json = "application/json; charset=utf-8";
    Ok(Response::builder().header("content-type", json).body(Full::from(answer)).unwrap())
}

/// A program that reads `wait_for` and then writes these bytes and closes; it takes one connection.
async fn rude_program(wait_for: &'static [u8], answer: Vec<u8>) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        read_up_to(&mut socket, wait_for).await;
        drop(socket.write_all(&answer).await);
    });
    port
}

async fn read_up_to(socket: &mut TcpStream, wanted: &[u8]) {
    let mut read = Vec::new();
    while !read.windows(wanted.len()).any(|window| window == wanted) {
        if socket.read_buf(&mut read).await.unwrap() == 0 {
            return;
        }
    }
}

fn http_answer(head: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn subject_of(got: &Got) -> Value {
    let text = got.headers["countersign-subject"].to_str().unwrap();
    let json = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).unwrap();
    serde_json::from_slice(&json).unwrap()
}

#[tokio::test]
async fn the_whole_object_arrives_with_its_metadata() {
    let (port, requests) = program(json!({ "verdict": "clean" })).await;
    let pieces = vec![Bytes::from(vec![7; 70_000]), Bytes::from_static(b"x"), Bytes::from(vec![9; 30_000])];
    let whole: Vec<u8> = pieces.concat();
    for length in [Some(whole.len() as u64), None] {
        assert_eq!(look(&settings(port, Shown::Body), subject("a/b", length), pieces.clone()).await, Verdict::Clean);
        let got = requests.lock().unwrap().pop().unwrap();
        assert_eq!((got.method.as_str(), got.target.as_str(), got.body == whole), ("POST", "/scan", true));
        assert_eq!(got.headers["host"], format!("127.0.0.1:{port}"));
        assert_eq!(got.headers["authorization"], "Bearer s3cret");
        assert_eq!(got.headers["content-type"], "application/octet-stream");
        assert_eq!(got.headers.contains_key("content-length"), length.is_some());
        assert_eq!(got.headers.contains_key("transfer-encoding"), length.is_none());
        let expected = json!({
            "request_id": "4f3a", "principal": "token:ci", "bucket": "team-data", "key": "a/b", "media_type": "text/plain",
            "content_encoding": null, "length": length, "direction": "upload",
        });
        assert_eq!(subject_of(&got), expected);
    }
}

#[tokio::test]
async fn empty_and_tiny_objects_are_shown_too() {
    let (port, requests) = program(json!({ "verdict": "clean" })).await;
    for bytes in ["", "x", "xy"] {
        for length in [Some(bytes.len() as u64), None] {
            let verdict = look(&settings(port, Shown::Body), subject("k", length), vec![Bytes::from(bytes)]).await;
            assert_eq!(verdict, Verdict::Clean, "{bytes:?} {length:?}");
            assert_eq!(requests.lock().unwrap().pop().unwrap().body, bytes.as_bytes());
        }
    }
}

#[tokio::test]
async fn e12_a_key_of_any_characters_is_data() {
    let (port, requests) = program(json!({ "verdict": "clean" })).await;
    for key in [
        "a/\n2026 INFO admin",
        "a\r\nx-evil: 1\r\n\r\n",
        "a/$(reboot)",
        "a/{\"x\":",
        "é\u{0}\u{7f}\u{2028}",
        &"k".repeat(1024),
    ] {
        for send in [Shown::Body, Shown::Metadata] {
            assert_eq!(
                look(&settings(port, send), subject(key, Some(1)), vec![Bytes::from("x")]).await,
                Verdict::Clean
            );
            let got = requests.lock().unwrap().pop().unwrap();
            let told = if send == Shown::Body { subject_of(&got) } else { serde_json::from_slice(&got.body).unwrap() };
            assert_eq!(told["key"], key);
            assert!(!got.headers.contains_key("x-evil"));
        }
    }
}

#[tokio::test]
async fn each_verdict_is_taken_over() {
    for (answer, verdict) in [
        (json!({ "verdict": "matched", "name": "Eicar" }), Verdict::matched("Eicar")),
        (json!({ "verdict": "not_scannable", "reason": "encrypted" }), Verdict::not_scannable("encrypted")),
        (json!({ "verdict": "error", "reason": "no licence" }), Verdict::error("no licence")),
    ] {
        let (port, _) = program(answer).await;
        for send in [Shown::Body, Shown::Metadata] {
            assert_eq!(look(&settings(port, send), subject("k", None), vec![Bytes::from("x")]).await, verdict);
        }
    }
}

#[tokio::test]
async fn metadata_go_out_before_the_bytes_and_clean_waits_for_the_end() {
    let (port, requests) = program(json!({ "verdict": "clean" })).await;
    let (mut feed, content) = content::channel();
    let hook = build("hook", &settings(port, Shown::Metadata)).unwrap();
    let mut look = tokio::spawn(hook.look(Arc::new(subject("k", Some(2))), content));
    put(&mut feed, b"ab").await;
    // The second piece is taken when the first was read, which is after the answer.
    std::future::poll_fn(|context| feed.poll_ready(context)).await;
    let got = requests.lock().unwrap().pop().unwrap();
    assert_eq!(got.headers["content-type"], "application/json");
    assert!(!got.headers.contains_key("countersign-subject"));
    assert!(futures_util::FutureExt::now_or_never(&mut look).is_none(), "a verdict before the end");
    feed.end();
    assert_eq!(tokio::time::timeout(LIMIT, look).await.unwrap().unwrap(), Verdict::Clean);
}

async fn put(feed: &mut Feed, bytes: &'static [u8]) {
    std::future::poll_fn(|context| feed.poll_ready(context)).await;
    feed.push(Bytes::from_static(bytes));
}

const JSON_OK: &str = "200 OK\r\ncontent-type: application/json";

#[tokio::test]
async fn h12_a_match_counts_before_the_object_has_ended_and_clean_does_not() {
    for (answer, expected) in [
        (r#"{"verdict":"matched","name":"Early"}"#, "Matched { name: \"Early\" }"),
        (r#"{"verdict":"not_scannable","reason":"zip"}"#, "NotScannable { reason: \"zip\" }"),
        (r#"{"verdict":"clean"}"#, "Error { reason: \"answer `clean` before the object had ended\" }"),
    ] {
        for length in [Some(1 << 20), None] {
            let port = rude_program(b"first piece", http_answer(JSON_OK, answer)).await;
            let (mut feed, content) = content::channel();
            let hook = build("hook", &settings(port, Shown::Body)).unwrap();
            let look = tokio::spawn(hook.look(Arc::new(subject("k", length)), content));
            put(&mut feed, b"first piece").await;
            let verdict = tokio::time::timeout(LIMIT, look).await.unwrap().unwrap();
            assert_eq!(format!("{verdict:?}"), expected);
        }
    }
}

#[tokio::test]
async fn h12_an_early_answer_is_read_although_the_program_takes_no_more() {
    for round in 0..20 {
        let answer = http_answer(JSON_OK, r#"{"verdict":"matched","name":"Early"}"#);
        let port = rude_program(b"\r\n\r\n", answer).await;
        let pieces = vec![Bytes::from(vec![0; 64 << 10]); 64];
        let verdict = look(&settings(port, Shown::Body), subject("k", Some(4 << 20)), pieces).await;
        assert_eq!(verdict, Verdict::matched("Early"), "round {round}");
    }
}

#[tokio::test]
async fn h12_whatever_is_no_verdict_is_an_error() {
    const CLEAN: &str = r#"{"verdict":"clean"}"#;
    let long = format!("{CLEAN}{}", " ".repeat(16 << 10));
    for (answer, reason) in [
        (http_answer("500 Oh\r\ncontent-type: application/json", CLEAN), "status 500"),
        (http_answer("201 Created\r\ncontent-type: application/json", CLEAN), "status 201"),
        (b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(), "status 204"),
        (http_answer("302 Found\r\nlocation: /other\r\ncontent-type: application/json", CLEAN), "status 302"),
        (http_answer("401 No\r\ncontent-type: application/json", CLEAN), "status 401"),
        (http_answer("200 OK", CLEAN), "not declared"),
        (http_answer("200 OK\r\ncontent-type: text/html", CLEAN), "not declared"),
        (http_answer("200 OK\r\ncontent-type: application/json\r\ncontent-type: text/html", CLEAN), "not declared"),
        (http_answer("200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip", CLEAN), "content encoding"),
        (http_answer(JSON_OK, ""), "not a verdict"),
        (http_answer(JSON_OK, "clean"), "not a verdict"),
        (http_answer(JSON_OK, r#"{"verdict":"clean","infected":true}"#), "not a verdict"),
        (http_answer(JSON_OK, &long), "longer than 16384 bytes"),
        (http_answer(&format!("{JSON_OK}\r\nx: {}", "y".repeat(20_000)), CLEAN), "HTTP"),
        (format!("HTTP/1.1 {JSON_OK}\r\ncontent-length: 40\r\n\r\n{CLEAN}").into_bytes(), "broke off"),
        (
            format!("HTTP/1.1 {JSON_OK}\r\ntransfer-encoding: chunked\r\n\r\n13\r\n{CLEAN}\r\n").into_bytes(),
            "broke off",
        ),
        (b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n".to_vec(), ""),
        (b"SSH-2.0-OpenSSH_9.9\r\n".to_vec(), "HTTP"),
        (Vec::new(), "HTTP"),
    ] {
        let shown = String::from_utf8_lossy(&answer[..answer.len().min(200)]).into_owned();
        let port = rude_program(b"the end", answer).await;
        let verdict = look(&settings(port, Shown::Body), subject("k", Some(7)), vec![Bytes::from("the end")]).await;
        let Verdict::Error { reason: found } = verdict else { panic!("{verdict:?} after {shown}") };
        assert!(found.contains(reason), "`{found}` after {shown}");
        assert!(!found.contains("s3cret"));
    }
}

#[tokio::test]
async fn a_good_answer_over_the_same_socket_is_a_verdict() {
    let answer = http_answer(JSON_OK, r#"{"verdict":"clean"}"#);
    let port = rude_program(b"the end", answer).await;
    let verdict = look(&settings(port, Shown::Body), subject("k", Some(7)), vec![Bytes::from("the end")]).await;
    assert_eq!(verdict, Verdict::Clean);
}

#[tokio::test]
async fn larger_objects_than_the_limit_are_not_scannable() {
    let (port, requests) = program(json!({ "verdict": "clean" })).await;
    let settings = Settings { max_size: Some(100_000), ..settings(port, Shown::Body) };
    let pieces = |bytes: usize| vec![Bytes::from(vec![0; 50_000]), Bytes::from(vec![0; bytes - 50_000])];
    assert_eq!(look(&settings, subject("k", None), pieces(100_000)).await, Verdict::Clean);
    assert_eq!(look(&settings, subject("k", Some(100_000)), pieces(100_000)).await, Verdict::Clean);
    requests.lock().unwrap().clear();
    let too_large = Verdict::not_scannable("larger than 100000 bytes, the max_size of this inspector");
    assert_eq!(look(&settings, subject("k", Some(100_001)), pieces(100_001)).await, too_large);
    assert!(requests.lock().unwrap().is_empty(), "not asked about an object that is declared too large");
    assert_eq!(look(&settings, subject("k", None), pieces(100_001)).await, too_large);
    assert!(requests.lock().unwrap().iter().all(|got| !got.complete));
}

#[tokio::test]
async fn h12_an_object_that_breaks_off_never_reaches_the_program_as_a_whole() {
    for length in [Some(3), None] {
        let (port, requests) = program(json!({ "verdict": "clean" })).await;
        let (mut feed, content) = content::channel();
        let hook = build("hook", &settings(port, Shown::Body)).unwrap();
        let look = tokio::spawn(hook.look(Arc::new(subject("k", length)), content));
        put(&mut feed, b"abc").await;
        std::future::poll_fn(|context| feed.poll_ready(context)).await;
        drop(feed);
        let verdict = tokio::time::timeout(LIMIT, look).await.unwrap().unwrap();
        assert!(matches!(verdict, Verdict::Error { .. }), "{verdict:?}");
        let seen = async {
            while requests.lock().unwrap().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LIMIT, seen).await.unwrap();
        assert!(!requests.lock().unwrap()[0].complete);
    }
}

#[tokio::test]
async fn a_length_that_is_not_the_declared_one_is_an_error() {
    for length in [2, 4] {
        let (port, requests) = program(json!({ "verdict": "clean" })).await;
        let pieces = vec![Bytes::from("a"), Bytes::from("bc")];
        let verdict = look(&settings(port, Shown::Body), subject("k", Some(length)), pieces).await;
        assert!(matches!(verdict, Verdict::Error { .. }), "{verdict:?}");
        assert!(requests.lock().unwrap().iter().all(|got| !got.complete));
    }
}

#[tokio::test]
async fn a_program_that_is_not_there_is_an_error_and_fails_its_checkup() {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let settings = settings(socket.local_addr().unwrap().port(), Shown::Body);
    let verdict = look(&settings, subject("k", Some(1)), vec![Bytes::from("x")]).await;
    assert!(matches!(&verdict, Verdict::Error { reason } if reason.contains("cannot connect")), "{verdict:?}");
    assert!(build("hook", &settings).unwrap().check().await.unwrap_err().contains("cannot connect"));
    let (port, _) = program(json!({})).await;
    assert_eq!(build("hook", &Settings { port, ..settings }).unwrap().check().await, Ok(Health::default()));
}

#[test]
fn the_digest_depends_on_all_that_an_answer_may_depend_on_and_shows_no_secret() {
    let one = settings(1, Shown::Body);
    let hook = build("hook", &one).unwrap();
    assert!(!format!("{one:?} {hook:?} {}", hook.digest()).contains("s3cret"));
    assert_eq!(hook.digest(), digest_of(&one));
    let with = |name: http::HeaderName, value: &str| vec![(name, Secret::new(value))];
    for other in [
        Settings { headers: Vec::new(), ..one.clone() },
        Settings { headers: with(http::header::AUTHORIZATION, "Bearer other"), ..one.clone() },
        Settings { headers: with(http::header::COOKIE, "Bearer s3cret"), ..one.clone() },
        Settings { ca_file: Some("other.pem".into()), ..one.clone() },
        Settings { port: 2, ..one.clone() },
        Settings { send: Shown::Metadata, ..one.clone() },
        Settings { max_size: Some(1), ..one.clone() },
        Settings { path: PathAndQuery::from_static("/"), ..one },
    ] {
        assert_ne!(hook.digest(), digest_of(&other), "{other:?}");
    }
}

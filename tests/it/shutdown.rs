//! The end of the program: requests in flight may finish until the deadline, and nobody else is let in.

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::process::Served;
use super::support::{Answer, Recorder, Setup, eventually};

const HALF: usize = 500_000;

/// An upload of which the store has seen a part.
async fn half_an_upload(served: &Served, recorder: &Recorder) -> TcpStream {
    let mut stream = TcpStream::connect(served.a.address).await.unwrap();
    let head = format!(
        "PUT /bkt/a/x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n",
        served.a.token,
        2 * HALF
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&[7; HALF]).await.unwrap();
    eventually("the store sees a part of the upload", || {
        recorder.requests().first().is_some_and(|request| !request.body.is_empty())
    })
    .await;
    stream
}

async fn until_nobody_is_let_in(served: &Served) {
    for _ in 0..1000 {
        if TcpStream::connect(served.a.address).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("new connections are accepted 10 s after the signal");
}

fn setup(recorder: &Recorder, drain: &str) -> Setup {
    Setup::before(recorder).upstream("payload: unsigned").limits(&format!("{{ timeouts: {{ drain: {drain} }} }}"))
}

#[tokio::test]
async fn sigterm_lets_an_upload_in_flight_finish_and_nobody_else_in() {
    for signal in ["TERM", "INT"] {
        let recorder = Recorder::start(Answer::ok()).await;
        let mut served = Served::start(&setup(&recorder, "30s"), "", &[]).await;
        // Idle connections have nothing to finish.
        let mut idle = TcpStream::connect(served.a.address).await.unwrap();
        let mut stream = half_an_upload(&served, &recorder).await;
        served.process.signal(signal);
        until_nobody_is_let_in(&served).await;
        let readiness = served.ask_admin("/readyz").await;
        assert_eq!((readiness.status.as_u16(), readiness.text().contains("shutting down")), (503, true), "{signal}");
        assert_eq!(served.ask_admin("/healthz").await.status, 200, "{signal}");
        let ended = tokio::time::timeout(Duration::from_secs(5), idle.read(&mut [0; 16])).await;
        assert!(matches!(ended, Ok(Ok(0) | Err(_))), "{signal}: an idle connection stays: {ended:?}");
        assert!(!served.process.has_ended(), "{signal}");

        stream.write_all(&[7; HALF]).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{signal}: {answer}");
        assert_eq!(served.process.end().await.code(), Some(0), "{signal}: {}", served.process.stderr.text());
        let stored = recorder.only();
        assert!(stored.complete && stored.body.len() == 2 * HALF, "{signal}");
        let records = served.process.stdout.json();
        assert_eq!(records.len(), 1, "{signal}: {records:?}");
        assert_eq!(
            (&records[0]["outcome"], &records[0]["bytes_in"]),
            (&"ok".into(), &Value::from(2 * HALF)),
            "{signal}"
        );
        assert!(served.process.stderr.text().contains("cut: 0"), "{}", served.process.stderr.text());
    }
}

#[tokio::test]
async fn what_is_not_done_at_the_drain_deadline_is_cut_and_commits_nothing() {
    let recorder = Recorder::start(Answer::ok()).await;
    let mut served = Served::start(&setup(&recorder, "300ms"), "", &[]).await;
    let mut stream = half_an_upload(&served, &recorder).await;
    let signalled = Instant::now();
    served.process.signal("TERM");
    assert_eq!(served.process.end().await.code(), Some(0));
    let took = signalled.elapsed();
    assert!(took >= Duration::from_millis(300) && took < Duration::from_secs(10), "{took:?}");
    assert!(recorder.nothing_committed());
    let mut answer = String::new();
    let ended = stream.read_to_string(&mut answer).await;
    assert!(ended.is_err() || answer.is_empty(), "an answer to half an upload: {answer}");
    let records = served.process.stdout.json();
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!((&records[0]["outcome"], &records[0]["operation"]), (&"aborted".into(), &"PutObject".into()));
    assert!(served.process.stderr.text().contains("cut: 1"), "{}", served.process.stderr.text());
}

#[tokio::test]
async fn a_download_in_flight_is_finished_too() {
    let body = "x".repeat(8 << 20);
    let recorder = Recorder::start(Answer::status(200, "etag: \"e\"\r\n", &body)).await;
    let mut served = Served::start(&setup(&recorder, "30s"), "", &[]).await;
    let mut stream = TcpStream::connect(served.a.address).await.unwrap();
    let head = format!("GET /bkt/a/x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n", served.a.token);
    stream.write_all(head.as_bytes()).await.unwrap();
    // The answer has begun, and is too large for the buffers of the kernel.
    let mut answer = vec![0; 1000];
    stream.read_exact(&mut answer).await.unwrap();
    served.process.signal("TERM");
    until_nobody_is_let_in(&served).await;
    stream.read_to_end(&mut answer).await.unwrap();
    let head = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    assert_eq!(answer.len() - head, body.len());
    assert_eq!(served.process.end().await.code(), Some(0));
    assert_eq!(served.process.stdout.json()[0]["outcome"], "ok");
}

#[tokio::test]
async fn the_end_does_not_wait_when_there_is_nothing_in_flight() {
    let recorder = Recorder::start(Answer::ok()).await;
    let mut served = Served::start(&setup(&recorder, "30s"), "", &[]).await;
    assert_eq!(served.a.get("/bkt/a/x").await.status, 200);
    let kept = TcpStream::connect(served.a.address).await.unwrap();
    served.process.signal("TERM");
    let signalled = Instant::now();
    assert_eq!(served.process.end().await.code(), Some(0));
    assert!(signalled.elapsed() < Duration::from_secs(10), "{:?}", signalled.elapsed());
    drop(kept);
}

//! How much a caller may do at a time: requests, bytes, places. Whoever is over it is told to slow down, and nobody else notices.

use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::support::recorder::response;
use super::support::{Answer, Client, Gateway, Recorder, Response, Setup, Store, StoreKind, eventually, pattern, raw};

fn slow_down(answer: &Response) -> bool {
    let seconds: u64 = answer.header("retry-after").parse().unwrap_or_default();
    answer.outcome() == (503, "SlowDown".to_owned()) && seconds >= 1
}

/// Many requests at once.
async fn flood(client: &Client, target: &str, count: usize) -> Vec<Response> {
    let mut flood = JoinSet::new();
    for _ in 0..count {
        let (client, target) = (client.clone(), target.to_owned());
        flood.spawn(async move { client.get(&target).await });
    }
    flood.join_all().await
}

/// Requests to a store that does not answer, of which it has seen `seen` in all.
async fn hang(client: &Client, recorder: &Recorder, count: usize, seen: usize) -> JoinSet<Response> {
    let mut hanging = JoinSet::new();
    for _ in 0..count {
        let client = client.clone();
        hanging.spawn(async move { client.get("/bkt/a/slow").await });
    }
    eventually("the store has the requests", || recorder.requests().len() >= seen).await;
    hanging
}

async fn metric(gateway: &Gateway, line: &str) -> bool {
    gateway.ask_admin("/metrics").await.text().lines().any(|found| found == line)
}

const BOTH: &str = "
  - { name: a, who: { tokens: [a] }, where: bkt/a/, what: [read, write] }
  - { name: b, who: { tokens: [b] }, where: bkt/, what: [read, write] }";

#[tokio::test]
async fn l08_one_principal_s_flood_is_told_to_slow_down_and_another_goes_on() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        store.put("a/x", b"x").await;
        let limits = "{ per_principal: { request_rate: 1, request_burst: 10 } }";
        let gateway = store.setup().rules(BOTH).limits(limits).start().await;
        let started = Instant::now();
        let other = async {
            for number in 0..5 {
                let body = pattern(10_000 + number);
                let target = format!("/bkt/b/{number}");
                assert_eq!(gateway.b.put(&target, &[], body.clone()).await.status, 200, "{kind:?}");
                assert!(gateway.b.get(&target).await.body == body, "{kind:?}");
            }
        };
        let (answers, ()) = tokio::join!(flood(&gateway.a, "/bkt/a/x", 100), other);
        let passed = answers.iter().filter(|answer| answer.status == 200).count();
        let most = 10 + usize::try_from(started.elapsed().as_secs()).unwrap() + 1;
        assert!((10..=most).contains(&passed), "{kind:?}: {passed} passed, at most {most} may");
        assert!(answers.iter().all(|answer| answer.status == 200 || slow_down(answer)), "{kind:?}");
    }
}

#[tokio::test]
async fn l08_a_limited_request_never_reaches_the_store_and_is_on_record() {
    let recorder = Recorder::start(Answer::ok()).await;
    let limits = "{ per_principal: { request_rate: 1, request_burst: 2 } }";
    let gateway = Setup::before(&recorder).limits(limits).start().await;
    assert!(gateway.a.get("/bkt/a/x").await.status == 200 && gateway.a.get("/bkt/a/x").await.status == 200);
    assert!(slow_down(&gateway.a.put("/bkt/a/x", &[], "body").await));
    assert_eq!(recorder.requests().len(), 2);
    let record = gateway.record(3).await;
    assert_eq!((record.code, record.principal.as_deref()), (Some("SlowDown"), Some("token:a")));
    assert_eq!(record.reason.as_deref(), Some("more than 1 requests in a second of the principal"));
    assert!(metric(&gateway, "countersign_refusals_total{code=\"SlowDown\",kind=\"limited\"} 1").await);
    assert!(metric(&gateway, "countersign_limited_total 1").await);
    assert!(metric(&gateway, "countersign_limit_accounts 1").await);
    // What is not permitted costs no budget, and is not limited.
    for _ in 0..5 {
        assert_eq!(gateway.b.get("/bkt/a/x").await.status, 403);
    }
    assert_eq!(gateway.b.get("/bkt/b/x").await.status, 200);
}

#[tokio::test]
async fn a_rule_limits_each_principal_and_all_together() {
    let recorder = Recorder::start(Answer::ok()).await;
    let rules = "
  - { name: each, who: anyone, where: bkt/each/, what: read, limits: { per_principal: { request_rate: 1, request_burst: 1 } } }
  - { name: all, who: anyone, where: bkt/all/, what: read, limits: { together: { request_rate: 1, request_burst: 1 } } }
  - { name: free, who: anyone, where: bkt/, what: read }";
    let gateway = Setup::before(&recorder).rules(rules).start().await;
    let (a, b) = (&gateway.a, &gateway.b);
    assert_eq!(a.get("/bkt/each/x").await.status, 200);
    assert!(slow_down(&a.get("/bkt/each/x").await));
    assert_eq!(b.get("/bkt/each/x").await.status, 200);
    assert_eq!(a.get("/bkt/all/x").await.status, 200);
    assert!(slow_down(&b.get("/bkt/all/x").await));
    let record = gateway.record(5).await;
    assert_eq!(record.rule.as_deref(), Some("all"));
    assert_eq!(record.reason.as_deref(), Some("more than 1 requests in a second of all principals under rule `all`"));
    assert!(flood(a, "/bkt/x", 20).await.iter().all(|answer| answer.status == 200));
}

#[tokio::test]
async fn l08_requests_in_flight_are_limited_until_their_answers_end() {
    let recorder = Recorder::start(Answer::Silence).await;
    let gateway = Setup::before(&recorder).limits("{ per_principal: { requests_in_flight: 2 } }").start().await;
    let mut hanging = hang(&gateway.a, &recorder, 2, 2).await;
    recorder.answer(Answer::ok());
    assert!(slow_down(&gateway.a.get("/bkt/a/x").await));
    assert_eq!(gateway.b.get("/bkt/b/x").await.status, 200);
    // The clients go away.
    hanging.shutdown().await;
    gateway.record(4).await;
    assert_eq!(gateway.a.get("/bkt/a/x").await.status, 200);

    // An answer that is not read to its end still holds its place.
    let endless = format!("HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n{}", "x".repeat(100_000));
    recorder.answer(Answer::Bytes(endless));
    let request = format!("GET /bkt/a/x HTTP/1.1\r\nhost: gw\r\nauthorization: Bearer {}\r\n\r\n", gateway.a.token);
    let mut streams = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.read_exact(&mut [0; 10_000]).await.unwrap();
        streams.push(stream);
    }
    assert!(slow_down(&gateway.a.get("/bkt/a/x").await));
    drop(streams);
    recorder.answer(Answer::ok());
    gateway.record(8).await;
    assert_eq!(gateway.a.get("/bkt/a/x").await.status, 200);
}

#[tokio::test]
async fn k22_l08_every_place_comes_back_after_a_thousand_clients_that_reset() {
    const BATCH: usize = 4;
    let recorder = Recorder::start(Answer::Silence).await;
    // Two batches of room: a batch may begin while the one before is being cleared away.
    let gateway = Setup::before(&recorder)
        .upstream("max_connections: 8")
        .upstream("principal_share: 100")
        .upstream("unknown_length_uploads: 8")
        .upstream("breaker: { failures: 1 }")
        .limits("{ per_principal: { requests_in_flight: 8, upload_rate: 1GiB, download_rate: 1GiB } }")
        .start()
        .await;
    let head = format!("HTTP/1.1\r\nhost: gw\r\nauthorization: Bearer {}\r\n", gateway.a.token);
    let endless = Answer::Bytes(format!("HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n{}", "x".repeat(10_000)));
    let expects = "expect: 100-continue\r\n\r\n";
    // Three that the store has when the client resets, and two of whose body the gateway has nothing yet.
    let kinds = [
        (format!("GET /bkt/a/x {head}\r\n"), Answer::Silence, true),
        (format!("GET /bkt/a/x {head}\r\n"), endless, true),
        (format!("PUT /bkt/a/x {head}content-length: 5\r\n\r\nhello"), Answer::Silence, true),
        (format!("PUT /bkt/a/x {head}content-length: 1000\r\n{expects}"), Answer::ok(), false),
        (format!("PUT /bkt/a/x {head}transfer-encoding: chunked\r\n{expects}"), Answer::ok(), false),
    ];
    for round in 0..250 {
        let (request, answer, reaches_store) = &kinds[round % kinds.len()];
        recorder.answer(answer.clone());
        let seen = recorder.requests().len();
        let mut streams = Vec::new();
        for _ in 0..BATCH {
            let mut stream = TcpStream::connect(gateway.address).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            streams.push(stream);
        }
        if *reaches_store {
            eventually("the store has all of them", || recorder.requests().len() == seen + BATCH).await;
        }
        for mut stream in streams {
            if !reaches_store {
                stream.read_exact(&mut [0; raw::CONTINUE.len()]).await.unwrap();
            }
            SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        }
        eventually("their records", || gateway.records().len() == (round + 1) * BATCH).await;
    }
    eventually("no request is left at the store", || recorder.open() == 0).await;
    recorder.answer(Answer::ok());
    let gauge = "countersign_upstream_requests{state=\"in_flight\",upstream=\"store\"} 0";
    for line in [gauge, "countersign_requests_in_flight 0", "countersign_upstream_trips_total{upstream=\"store\"} 0"] {
        assert!(metric(&gateway, line).await, "{line}");
    }
    // All eight places are there again, for both kinds.
    let hung = {
        recorder.answer(Answer::Silence);
        let seen = recorder.requests().len();
        hang(&gateway.a, &recorder, 8, seen + 8).await
    };
    drop(hung);
    assert!(gateway.records().iter().all(|record| record.code != Some("SlowDown")));
}

#[tokio::test]
async fn bytes_keep_their_rate_and_waiting_for_it_is_nobody_s_slowness() {
    const SIZE: usize = 640 << 10;
    let object = String::from_utf8(vec![b'x'; SIZE]).unwrap();
    let recorder = Recorder::start(Answer::status(200, "etag: \"e\"\r\n", &object)).await;
    // Pieces of up to 400 KiB make waits of seconds, above every time limit; what is left then takes most of a second at least.
    let gateway = Setup::before(&recorder)
        .upstream("timeouts: { idle: 1s }")
        .limits("{ timeouts: { body_idle: 1s }, body_rate_window: 1s, min_body_rate: 1MiB, per_principal: { upload_rate: 128KiB, download_rate: 128KiB } }")
        .start()
        .await;
    let least = Duration::from_millis(800);
    let (started, body) = (Instant::now(), pattern(SIZE));
    let (upload, other) =
        tokio::join!(async { (gateway.a.put("/bkt/a/y", &[], body).await.status, started.elapsed()) }, async {
            (gateway.b.put("/bkt/b/z", &[], "small").await.status, started.elapsed())
        },);
    assert_eq!((upload.0.as_u16(), other.0.as_u16()), (200, 200));
    assert!(upload.1 >= least && other.1 < upload.1, "{:?}, and the other principal's {:?}", upload.1, other.1);
    assert!(recorder.requests().iter().all(|request| request.complete), "the store has all of it");
    let started = Instant::now();
    let download = gateway.a.get("/bkt/a/x").await;
    assert_eq!((download.status.as_u16(), download.body.len()), (200, SIZE));
    assert!(started.elapsed() >= least, "download: {:?}", started.elapsed());
    assert!(gateway.records().iter().all(|record| record.code.is_none()), "{:?}", gateway.records());
}

#[tokio::test]
async fn k21_an_early_refusal_of_the_store_is_not_held_up_by_a_rate() {
    let recorder = Recorder::start(Answer::Early(response(412, "", ""))).await;
    let limits = "{ per_principal: { upload_rate: 128KiB } }";
    let gateway = Setup::before(&recorder).limits(limits).start().await;
    // The whole upload would take half a minute; what is left of it is within what is read of a refused upload.
    let put = gateway.a.put("/bkt/a/x", &[], pattern(4_000_000));
    let answer = tokio::time::timeout(Duration::from_secs(20), put).await.expect("at once");
    assert_eq!(answer.outcome(), (412, "PreconditionFailed".to_owned()));
    assert!(recorder.nothing_committed());
}

#[tokio::test]
async fn a10_failed_authentications_are_limited_and_a_good_credential_never_is() {
    let recorder = Recorder::start(Answer::ok()).await;
    let limits = "{ failed_authentications: { rate: 1, burst: 3 } }";
    let gateway = Setup::before(&recorder).limits(limits).start().await;
    let started = Instant::now();
    let mut refused = Vec::new();
    for number in 0..40 {
        let header = match number % 4 {
            0 => ("authorization", format!("Bearer csn_{number:043}")),
            1 => ("authorization", "Bearer not-a-token".to_owned()),
            2 => ("authorization", "Basic dXNlcjpwYXNz".to_owned()),
            _ => ("x-none", String::new()),
        };
        refused.push(gateway.a.send_plain("GET", "/bkt/a/x", &[(header.0, &header.1)], "").await);
    }
    let told = refused.iter().filter(|answer| !slow_down(answer)).count();
    let most = 3 + usize::try_from(started.elapsed().as_secs()).unwrap() + 1;
    assert!((3..=most).contains(&told), "{told} of at most {most}");
    assert!(refused[..3].iter().all(|answer| matches!(answer.status.as_u16(), 401 | 501)));
    assert_eq!(gateway.a.get("/bkt/a/x").await.status, 200, "whatever others of the same address did");
    assert_eq!(recorder.requests().len(), 1);
    let limited = gateway.records().into_iter().find(|record| record.code == Some("SlowDown")).unwrap();
    assert_eq!((limited.status, limited.principal), (Some(503), None));
    let reason = limited.reason.unwrap();
    assert!(reason.starts_with("too many failed authentications from this address: "), "{reason}");
}

#[tokio::test]
async fn l08_one_principal_holds_half_of_a_store_s_connections_at_most() {
    let recorder = Recorder::start(Answer::Silence).await;
    let gateway = Setup::before(&recorder).upstream("max_connections: 4").start().await;
    let hanging = hang(&gateway.a, &recorder, 2, 2).await;
    recorder.answer(Answer::ok());
    assert!(slow_down(&gateway.a.get("/bkt/a/x").await));
    assert_eq!(gateway.b.get("/bkt/b/x").await.status, 200);
    assert_eq!(recorder.requests().len(), 3);
    drop(hanging);
    gateway.record(4).await;
    assert_eq!(gateway.a.get("/bkt/a/x").await.status, 200);
}

/// The head of an upload without a length, with a first piece.
async fn open_upload(gateway: &Gateway, client: &Client, key: &str) -> TcpStream {
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let token = &client.token;
    let head = format!(
        "PUT /bkt/{key} HTTP/1.1\r\nhost: gw\r\nauthorization: Bearer {token}\r\ntransfer-encoding: chunked\r\nexpect: 100-continue\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn l08_one_principal_holds_half_of_the_uploads_of_unknown_length_at_most() {
    let recorder = Recorder::start(Answer::ok()).await;
    let gateway = Setup::before(&recorder).start().await;
    let mut mine = Vec::new();
    for key in ["a/1", "a/2"] {
        let mut stream = open_upload(&gateway, &gateway.a, key).await;
        let mut interim = [0; raw::CONTINUE.len()];
        stream.read_exact(&mut interim).await.unwrap();
        assert_eq!(interim, raw::CONTINUE, "it has its place and is waited for");
        mine.push(stream);
    }
    let mut third = open_upload(&gateway, &gateway.a, "a/3").await;
    let refused = raw::read_answer(&mut third).await;
    assert!(raw::status(&refused) == 503 && refused.contains("SlowDown") && refused.contains("retry-after: 1"));
    let mut other = open_upload(&gateway, &gateway.b, "b/1").await;
    other.write_all(b"5\r\nhello\r\n0\r\n\r\n").await.unwrap();
    assert_eq!(raw::status(&raw::read_answer(&mut other).await), 200);
    for stream in &mut mine {
        stream.write_all(b"5\r\nhello\r\n0\r\n\r\n").await.unwrap();
        assert_eq!(raw::status(&raw::read_answer(stream).await), 200);
    }
    let mut again = open_upload(&gateway, &gateway.a, "a/3").await;
    again.write_all(b"5\r\nhello\r\n0\r\n\r\n").await.unwrap();
    assert_eq!(raw::status(&raw::read_answer(&mut again).await), 200);
}

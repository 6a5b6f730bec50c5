//! Stores that fail, stall or are full: told to their own clients at once, and to nobody else.

use std::time::Duration;

use socket2::SockRef;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::support::recorder::response;
use super::support::{Answer, Gateway, Recorder, Response, Setup, eventually};

/// A gateway before two stores: `bkt` is in the first, `two` in the second, and every caller may use both.
async fn before_two(first: &Recorder, second: &Recorder, settings: &[&str]) -> Gateway {
    let mut setup = Setup::before(first).rules(
        "
  - { name: one, who: anyone, where: bkt, what: [read, write] }
  - { name: two, who: anyone, where: two, what: [read, write] }",
    );
    for setting in settings {
        setup = setup.upstream(setting);
    }
    let credentials = setup.credentials.clone();
    let other = format!("endpoint: {}\n    region: us-east-1\n    credentials: {credentials}", second.endpoint());
    // Behind the settings of the first store; its bucket ends, and another begins.
    setup = setup.upstream(&format!("timeouts: {{ connect: 30s }}\n  other:\n    {other}"));
    setup.bucket_settings = " }\n  two: { upstream: other, bucket: up-two".to_owned();
    setup.start().await
}

async fn metric(gateway: &Gateway, name: &str) -> String {
    let text = gateway.ask_admin("/metrics").await.text();
    let found = text.lines().find_map(|line| line.strip_prefix(&format!("{name}{{upstream=\"store\"}} ")));
    found.unwrap_or_default().to_owned()
}

/// Asks until the answer has a status; until then it must be 503, because the store rests.
async fn until(gateway: &Gateway, status: u16) {
    let asking = async {
        loop {
            match gateway.a.get("/bkt/a/x").await.status.as_u16() {
                503 => tokio::time::sleep(Duration::from_millis(10)).await,
                found => return found,
            }
        }
    };
    let found = tokio::time::timeout(Duration::from_secs(30), asking).await;
    assert_eq!(found.ok(), Some(status));
}

fn unavailable(answer: &Response) -> bool {
    let seconds: u64 = answer.header("retry-after").parse().unwrap_or_default();
    answer.outcome() == (503, "ServiceUnavailable".to_owned()) && seconds >= 1
}

#[tokio::test]
async fn l08_a_store_that_stalls_leaves_another_store_and_the_rest_alone() {
    let (stalls, works) = (Recorder::start(Answer::Silence).await, Recorder::start(Answer::ok()).await);
    let settings = ["max_connections: 4", "max_waiting: 3", "principal_share: 100"];
    let gateway = before_two(&stalls, &works, &settings).await;
    let mut hanging = JoinSet::new();
    for _ in 0..4 + 3 {
        let client = gateway.a.clone();
        hanging.spawn(async move { client.get("/bkt/x").await });
    }
    eventually("every connection of the first store is taken", || stalls.requests().len() == 4).await;
    let queue = "countersign_upstream_requests{state=\"waiting\",upstream=\"store\"} 3";
    let full = async { while !gateway.ask_admin("/metrics").await.text().contains(queue) {} };
    tokio::time::timeout(Duration::from_secs(30), full).await.expect("the queue is full");
    // The queue is full: whoever comes now is told so while the others are still waiting.
    for client in [&gateway.a, &gateway.b] {
        let refused = client.get("/bkt/x").await;
        assert_eq!(refused.outcome(), (503, "SlowDown".to_owned()));
        assert_eq!(refused.header("retry-after"), "2");
    }
    for number in 0..20 {
        for client in [&gateway.a, &gateway.b] {
            assert_eq!(client.get(&format!("/two/{number}")).await.status, 200);
            assert_eq!(client.put(&format!("/two/{number}"), &[], "body").await.status, 200);
        }
    }
    assert_eq!(gateway.a.get("/").await.status, 200, "what needs no store is answered");
    assert_eq!((stalls.requests().len(), works.requests().len()), (4, 80));
    assert!(hanging.try_join_next().is_none(), "none of the others was answered before all this");
}

#[tokio::test]
async fn l08_a_store_that_fails_again_and_again_is_not_asked_until_it_answers() {
    let recorder = Recorder::start(Answer::Silence).await;
    let gateway = Setup::before(&recorder)
        .upstream("timeouts: { first_byte: 100ms }")
        .upstream("breaker: { failures: 3, pause: 300ms }")
        .start()
        .await;
    for _ in 0..3 {
        assert_eq!(gateway.a.get("/bkt/a/x").await.outcome(), (504, "GatewayTimeout".to_owned()));
    }
    let (asked, connected) = (recorder.requests().len(), recorder.accepted());
    assert!(unavailable(&gateway.a.get("/bkt/a/x").await) && unavailable(&gateway.b.put("/bkt/b/x", &[], "x").await));
    assert_eq!((recorder.requests().len(), recorder.accepted()), (asked, connected), "it is left in peace");
    assert_eq!(metric(&gateway, "countersign_upstream_resting").await, "1");
    assert_eq!(gateway.ask_admin("/readyz").await.status, 200, "other stores may be well");
    let record = gateway.record(5).await;
    assert!(record.reason.as_deref().is_some_and(|reason| reason.contains("not asked for")), "{record:?}");
    // A probe that fails keeps it so.
    until(&gateway, 504).await;
    assert!(unavailable(&gateway.a.get("/bkt/a/x").await));
    recorder.answer(Answer::ok());
    until(&gateway, 200).await;
    for _ in 0..10 {
        assert_eq!(gateway.b.get("/bkt/b/x").await.status, 200);
    }
    assert_eq!(metric(&gateway, "countersign_upstream_resting").await, "0");
    assert_eq!(metric(&gateway, "countersign_upstream_trips_total").await, "1");
}

#[tokio::test]
async fn refused_connections_and_errors_of_proxies_count_too() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let recorder = Recorder::start(Answer::status(503, "content-type: text/html\r\n", "<h1>no backend</h1>")).await;
    let mut dead = Setup::before(&recorder).upstream("breaker: { failures: 2, pause: 1h }");
    dead.endpoint = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let gateway = dead.start().await;
    for _ in 0..2 {
        assert_eq!(gateway.a.get("/bkt/a/x").await.outcome(), (502, "BadGateway".to_owned()));
    }
    assert!(unavailable(&gateway.a.get("/bkt/a/x").await));

    let proxied = Setup::before(&recorder).upstream("breaker: { failures: 2, pause: 1h }").start().await;
    for _ in 0..2 {
        assert_eq!(proxied.a.get("/bkt/a/x").await.outcome(), (503, "SlowDown".to_owned()));
    }
    assert!(unavailable(&proxied.a.get("/bkt/a/x").await));
    assert_eq!(recorder.requests().len(), 2);
}

#[tokio::test]
async fn l08_what_a_client_can_cause_never_opens_the_breaker() {
    let recorder = Recorder::start(Answer::ok()).await;
    let gateway = Setup::before(&recorder).upstream("breaker: { failures: 1, pause: 1h }").start().await;
    let still_asked = async |what: &str| {
        recorder.answer(Answer::ok());
        assert_eq!(gateway.b.get("/bkt/b/x").await.status, 200, "{what}");
    };
    let wrong = [("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==")];
    assert_eq!(gateway.a.put("/bkt/a/x", &wrong, "body").await.status, 400);
    still_asked("a digest that does not fit").await;
    for (status, code) in [(404, "NoSuchKey"), (403, "AccessDenied"), (500, "InternalError"), (503, "SlowDown")] {
        recorder.answer(Answer::error(status, code));
        gateway.a.get("/bkt/a/x").await;
        still_asked(code).await;
    }
    recorder.answer(Answer::status(500, "content-type: text/plain\r\n", "a request of a client made it fall over"));
    gateway.a.get("/bkt/a/x").await;
    still_asked("an error without a document").await;
    recorder.answer(Answer::CloseAfter(0));
    assert_eq!(gateway.a.get("/bkt/a/x").await.status, 502);
    still_asked("a connection that the store closed").await;
    for answer in [Answer::Silence, Answer::Stall] {
        let records = gateway.records().len();
        recorder.answer(answer.clone());
        let seen = recorder.requests().len();
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        let head = format!(
            "PUT /bkt/a/x HTTP/1.1\r\nhost: gw\r\nauthorization: Bearer {}\r\ncontent-length: 5\r\n\r\nhello",
            gateway.a.token
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        eventually("the store has it", || recorder.requests().len() > seen).await;
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        drop(stream);
        gateway.record(records + 1).await;
        still_asked("a client that left").await;
    }
    recorder.answer(Answer::Early(response(403, "", "")));
    gateway.a.put("/bkt/a/x", &[], vec![0; 1 << 20]).await;
    still_asked("an upload that the store refused").await;
    assert_eq!(metric(&gateway, "countersign_upstream_trips_total").await, "0");
}

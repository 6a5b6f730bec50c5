//! K01–K07 on a real listener: what arrives at the handler as clear, as ambiguous, or not at all.

use http::Method;

use super::world::{Event, World, limits};
use crate::arrival::Framing;

/// What must happen to a head that can be read in two ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// The handler sees it, marked with a rule that contains this text.
    Ambiguous(&'static str),
    /// hyper answers with this status.
    Refused(&'static str),
    /// hyper closes without an answer.
    Closed,
}

use Expected::{Ambiguous, Closed, Refused};

const BAD: Expected = Refused("400");

/// A PUT with these bytes between Host and the end of the head.
fn put(fields: &str) -> String {
    format!("PUT /b/k HTTP/1.1\r\nHost: h\r\n{fields}\r\n\r\n")
}

async fn check(raw: &str, expected: Expected) {
    let mut world = World::start(limits()).await;
    let mut client = world.connect().await;
    client.send(raw).await;
    // For heads of which hyper waits for more.
    tokio::io::AsyncWriteExt::shutdown(&mut client.0).await.unwrap();
    let answer = client.rest().await;
    let framings: Vec<Framing> = world
        .events_so_far()
        .into_iter()
        .filter_map(|event| match event {
            Event::Arrived(_, _, framing) => Some(framing),
            Event::BodyRead(_) | Event::Dropped | Event::Unreadable(_) => None,
        })
        .collect();
    match expected {
        Ambiguous(rule) => {
            assert!(
                matches!(framings[..], [Framing::Ambiguous(found)] if found.contains(rule)),
                "{raw:?}: {framings:?}"
            );
            assert!(answer.to_ascii_lowercase().contains("connection: close"), "{raw:?}: {answer}");
            assert_eq!(answer.matches("HTTP/1.").count(), 1, "{raw:?}: {answer}");
        }
        Refused(status) => {
            assert_eq!(framings, [], "{raw:?}");
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{raw:?}: {answer}");
        }
        Closed => assert_eq!((framings, answer.as_str()), (vec![], ""), "{raw:?}"),
    }
}

#[tokio::test]
async fn k01_content_length_beside_transfer_encoding_is_ambiguous_in_both_orders() {
    let together = Ambiguous("Content-Length together with Transfer-Encoding");
    let chunks = "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";
    check(&(put("Content-Length: 13\r\nTransfer-Encoding: chunked") + chunks), together).await;
    check(&(put("Transfer-Encoding: chunked\r\nContent-Length: 13") + chunks), together).await;
    check(&(put("Transfer-Encoding: chunked\r\nX-A: b\r\ncontent-LENGTH: 0") + chunks), together).await;
}

#[tokio::test]
async fn k02_only_one_exact_chunked_is_clear() {
    let not_exact = Ambiguous("not exactly `chunked`");
    for (value, expected) in [
        ("gzip, chunked", not_exact),
        ("identity, chunked", not_exact),
        ("chunked, chunked", not_exact),
        ("chunked\t", not_exact),
        ("chunked ", not_exact),
        (" chunked", not_exact),
        ("\tchunked", not_exact),
        (", chunked", not_exact),
        ("chunked, identity", BAD),
        ("xchunked", BAD),
        ("chunked;q=1", BAD),
        ("identity", BAD),
        ("", BAD),
        ("\x0bchunked", BAD),
    ] {
        check(&(put(&format!("Transfer-Encoding: {value}")) + "0\r\n\r\n"), expected).await;
    }
    let two = put("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked") + "0\r\n\r\n";
    check(&two, Ambiguous("several Transfer-Encoding")).await;
    check("PUT / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", BAD).await;
    check(&(put("Transfer-Encoding : chunked") + "0\r\n\r\n"), BAD).await;
}

#[tokio::test]
async fn k03_only_one_plain_decimal_content_length_is_clear() {
    let not_plain = Ambiguous("not a plain decimal");
    for (value, expected) in [
        ("5 ", not_plain),
        (" 5", not_plain),
        ("5\t", not_plain),
        ("05", not_plain),
        ("00", not_plain),
        ("+5", BAD),
        ("-1", BAD),
        ("0x5", BAD),
        ("5,5", BAD),
        ("5, 6", BAD),
        ("", BAD),
        ("5.0", BAD),
        ("18446744073709551616", BAD),
    ] {
        check(&(put(&format!("Content-Length: {value}")) + "hello"), expected).await;
    }
    check(&(put("Content-Length: 5\r\nContent-Length: 5") + "hello"), Ambiguous("several Content-Length")).await;
    check(&(put("Content-Length: 5\r\nContent-Length: 6") + "hello"), BAD).await;
}

#[tokio::test]
async fn k04_a_body_is_framed_whatever_the_method() {
    let mut world = World::start(limits()).await;
    let mut client = world.connect().await;
    for method in [Method::GET, Method::HEAD, Method::DELETE, Method::PUT, Method::POST] {
        for (fields, body) in [
            ("Content-Length: 22", "GET /not-a-request HTT"),
            ("Transfer-Encoding: chunked", "16\r\nGET /not-a-request HTT\r\n0\r\n\r\n"),
        ] {
            client.send(format!("{method} /first HTTP/1.1\r\nHost: h\r\n{fields}\r\n\r\n{body}")).await;
            assert_eq!(world.event().await, Event::Arrived(method.clone(), "/first".to_owned(), Framing::Clear));
            assert_eq!(world.event().await, Event::BodyRead(Ok(22)));
        }
    }
}

#[tokio::test]
async fn k05_no_protocol_is_ever_switched() {
    let mut world = World::start(limits()).await;
    let mut client = world.connect().await;
    for upgrade in ["websocket", "h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__", "TLS/1.0"] {
        let head = format!("GET /up HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: {upgrade}\r\n\r\n");
        client.send(head + "GET /next HTTP/1.1\r\nHost: h\r\n\r\n").await;
        for target in ["/up", "/next"] {
            assert!(client.response().await.0.starts_with("HTTP/1.1 200"));
            world.arrival_of(target).await;
            assert_eq!(world.event().await, Event::BodyRead(Ok(0)));
        }
    }
    client.send("GET /switch HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").await;
    assert!(client.response().await.0.starts_with("HTTP/1.1 500"), "not even if the handler would");
}

#[tokio::test]
async fn k05_connect_is_ambiguous_and_opens_no_tunnel() {
    let mut world = World::start(limits()).await;
    let mut client = world.connect().await;
    client.send("CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n\r\nGET /tunnelled HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let answer = client.rest().await;
    assert!(answer.starts_with("HTTP/1.1 500"), "the test handler says 200: {answer}");
    let Event::Arrived(Method::CONNECT, _, Framing::Ambiguous(rule)) = world.event().await else {
        panic!("CONNECT must arrive as ambiguous");
    };
    assert!(rule.starts_with("CONNECT"));
    assert!(!world.events_so_far().iter().any(|event| matches!(event, Event::Arrived(..))));
}

#[tokio::test]
async fn k06_only_http_1_0_and_1_1_are_served() {
    for (raw, expected) in [
        ("GET /\r\n", BAD),
        ("GET / HTTP/1.2\r\nHost: h\r\n\r\n", BAD),
        ("GET / HTTP/2.0\r\nHost: h\r\n\r\n", BAD),
        ("GET / http/1.1\r\nHost: h\r\n\r\n", BAD),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Closed),
    ] {
        check(raw, expected).await;
    }
    let mut world = World::start(limits()).await;
    let mut client = world.connect().await;
    client.send("GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").await;
    assert!(client.response().await.0.starts_with("HTTP/1.0 200"));
    client.send("GET /b HTTP/1.0\r\n\r\n").await;
    assert!(client.rest().await.starts_with("HTTP/1.0 200"));
    world.arrival_of("/a").await;
    assert_eq!(world.event().await, Event::BodyRead(Ok(0)));
    world.arrival_of("/b").await;
}

#[tokio::test]
async fn k07_malformed_lines_are_refused_or_ambiguous() {
    for (fields, expected) in [
        ("X-A: b\r\n folded", BAD),
        (" X-A: b", BAD),
        ("X-A: a\rb", BAD),
        ("X-A: a\0b", BAD),
        ("X-A : b", BAD),
        (": b", BAD),
        ("X A: b", BAD),
        ("X(A): b", BAD),
        ("X-\u{e9}: b", BAD),
        ("no colon", BAD),
        ("X-A: b\nX-C: d", Ambiguous("bare line feed")),
    ] {
        check(&put(fields), expected).await;
    }
    for (raw, expected) in [
        ("GET / HTTP/1.1\nHost: h\n\n", Ambiguous("bare line feed")),
        ("GET / HTTP/1.1\r\nHost: h\r\n\n", Ambiguous("bare line feed")),
        ("\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", Ambiguous("bare line feed")),
        ("\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", Ambiguous("several empty lines")),
        ("GET  / HTTP/1.1\r\nHost: h\r\n\r\n", BAD),
        ("GET / HTTP/1.1 \r\nHost: h\r\n\r\n", BAD),
        ("GET\t/ HTTP/1.1\r\nHost: h\r\n\r\n", BAD),
        ("GET / HTTP/1.1\r\n\r\n", Ambiguous("no Host")),
        ("GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n", Ambiguous("several Host")),
        ("GET / HTTP/1.0\r\nHost: h\r\nHost: i\r\n\r\n", Ambiguous("several Host")),
        ("GET http://other/ HTTP/1.1\r\nHost: h\r\n\r\n", Ambiguous("differs from Host")),
        ("GET http://h:80/ HTTP/1.1\r\nHost: h\r\n\r\n", Ambiguous("differs from Host")),
        ("GET http://u@h/ HTTP/1.1\r\nHost: h\r\n\r\n", Ambiguous("differs from Host")),
        ("GET h HTTP/1.1\r\nHost: h\r\n\r\n", Ambiguous("neither a path")),
        ("GET * HTTP/1.1\r\nHost: h\r\n\r\n", Ambiguous("neither a path")),
        ("GET /k#f HTTP/1.1\r\nHost: h\r\n\r\n", Ambiguous("fragment")),
    ] {
        check(raw, expected).await;
    }
}

#[tokio::test]
async fn k10_pipelined_requests_keep_their_bodies_and_their_verdicts_apart() {
    let mut world = World::start(limits()).await;
    let mut client = world.connect().await;
    let good = "PUT /good HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello";
    let chunked = "PUT /chunked HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let absolute = "GET http://h/absolute HTTP/1.1\r\nHost: h\r\n\r\n";
    let bad = "PUT /bad HTTP/1.1\r\nHost: h\r\nHost: i\r\nContent-Length: 0\r\n\r\n";
    client.send([good, chunked, absolute, good, bad, good].concat()).await;
    for (method, target, body) in [
        (Method::PUT, "/good", 5),
        (Method::PUT, "/chunked", 3),
        (Method::GET, "http://h/absolute", 0),
        (Method::PUT, "/good", 5),
    ] {
        assert_eq!(world.event().await, Event::Arrived(method, target.to_owned(), Framing::Clear));
        assert_eq!(world.event().await, Event::BodyRead(Ok(body)));
    }
    let ambiguous = Framing::Ambiguous("several Host");
    assert_eq!(world.event().await, Event::Arrived(Method::PUT, "/bad".to_owned(), ambiguous));
    let answers = client.rest().await;
    assert_eq!(answers.matches("HTTP/1.1 ").count(), 5, "nothing after the ambiguous one: {answers}");
    assert_eq!(world.events_so_far(), []);
}

#[tokio::test]
async fn a_head_in_single_bytes_has_the_same_verdict() {
    let mut world = World::start(limits()).await;
    let mut client = world.connect().await;
    client.0.set_nodelay(true).unwrap();
    for byte in "PUT /k HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nokGET /k HTTP/1.1\r\n\r\n".bytes() {
        client.send([byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(world.event().await, Event::Arrived(Method::PUT, "/k".to_owned(), Framing::Clear));
    assert_eq!(world.event().await, Event::BodyRead(Ok(2)));
    assert_eq!(world.event().await, Event::Arrived(Method::GET, "/k".to_owned(), Framing::Ambiguous("no Host")));
}

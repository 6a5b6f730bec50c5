//! What a connection may cost, and that one that costs more does not harm another.

use std::time::Duration;

use http::Method;
use tokio::io::AsyncReadExt;
use tokio::time::Instant;

use super::world::{Event, RawClient, World, limits, soon};
use crate::arrival::{Framing, Oversize};

/// Long enough for a busy machine to do everything else in time.
const SHORT: Duration = Duration::from_millis(500);

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
}

#[tokio::test]
async fn k13_a_slow_head_and_an_idle_connection_are_cut() {
    let mut short = limits();
    short.head_timeout = SHORT;
    let world = World::start(short).await;
    let start = Instant::now();
    let (mut silent, mut slow, mut idle) = (world.connect().await, world.connect().await, world.connect().await);
    slow.send("GET / HTTP/1.1\r\nHo").await;
    idle.send(get("/")).await;
    assert!(idle.response().await.0.starts_with("HTTP/1.1 200"));
    for client in [&mut silent, &mut slow, &mut idle] {
        assert_eq!(client.rest().await, "");
    }
    assert!(start.elapsed() >= SHORT);
}

#[tokio::test]
async fn k13_connections_beyond_the_cap_wait_until_one_ends() {
    let mut one = limits();
    one.max_connections = 1;
    let world = World::start(one).await;
    let mut first = world.connect().await;
    first.send(get("/")).await;
    first.response().await;
    let mut second = world.connect().await;
    second.send(get("/")).await;
    for _ in 0..20 {
        first.send(get("/")).await;
        first.response().await;
    }
    assert_eq!((world.monitor.accepted_connections(), world.monitor.open_connections()), (1, 1));
    drop(first);
    assert!(second.response().await.0.starts_with("HTTP/1.1 200"));
    assert_eq!((world.monitor.accepted_connections(), world.monitor.open_connections()), (2, 1));
}

#[tokio::test]
async fn k15_a_target_that_is_too_long_is_marked_and_the_longest_is_served() {
    let mut world = World::start(limits()).await;
    let mut client = world.connect().await;
    let longest = format!("/{}", "k".repeat(limits().max_target_bytes - 1));
    client.send(get(&longest)).await;
    assert!(client.response().await.0.starts_with("HTTP/1.1 200"));
    world.arrival_of(&longest).await;
    let longer = longest + "k";
    client.send(get(&longer)).await;
    let (head, _) = client.response().await;
    // It has one reading, so another request may follow.
    assert!(head.starts_with("HTTP/1.1 413") && !head.contains("connection: close"), "{head}");
    let oversized = Event::Arrived(Method::GET, longer, Framing::Oversized(Oversize::Target));
    assert_eq!(world.events_so_far(), [Event::BodyRead(Ok(0)), oversized]);
    // Two readings weigh more.
    client.send(format!("GET /{} HTTP/1.1\r\n\r\n", "k".repeat(limits().max_target_bytes))).await;
    assert!(client.rest().await.starts_with("HTTP/1.1 400"));
}

#[tokio::test]
async fn k15_too_many_fields_and_a_head_that_is_too_long_are_431() {
    let mut world = World::start(limits()).await;
    let long = format!("X-A: {}\r\n", "a".repeat(limits().max_head_bytes));
    for fields in ["X-A: b\r\n".repeat(limits().max_headers), long] {
        let mut client = world.connect().await;
        client.send(format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n")).await;
        assert!(client.rest().await.starts_with("HTTP/1.1 431"));
    }
    for _ in 0..2 {
        assert_eq!(world.event().await, Event::Unreadable(true));
    }
    assert_eq!(world.events_so_far(), []);
    let both_counted = async {
        while world.monitor.unreadable_heads() < 2 {
            tokio::task::yield_now().await;
        }
    };
    soon("the count of two unreadable heads", both_counted).await;

    let mut many = limits();
    many.max_headers = 150;
    let world = World::start(many).await;
    let mut client = world.connect().await;
    client.send(format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "X-A: b\r\n".repeat(149))).await;
    assert!(client.response().await.0.starts_with("HTTP/1.1 200"), "more than hyper's default");

    // Of its default hyper is not told, and has to have the same.
    let mut default = limits();
    default.max_headers = 100;
    let world = World::start(default).await;
    for (fields, status) in [(99, 200), (100, 431)] {
        let mut client = world.connect().await;
        client.send(format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "X-A: b\r\n".repeat(fields))).await;
        assert!(client.response().await.0.starts_with(&format!("HTTP/1.1 {status}")), "{fields} fields and Host");
    }
}

#[tokio::test]
async fn k13_a_reader_that_stands_is_cut_and_others_are_unharmed() {
    let mut short = limits();
    short.body_idle_timeout = SHORT;
    let mut world = World::start(short).await;
    let mut standing = world.connect().await;
    standing.send(get("/endless")).await;
    world.arrival_of("/endless").await;
    let mut other = world.connect().await;
    // Only a cut ends the body, so this proves that it comes; the other is served before and after.
    other.send(get("/other")).await;
    other.response().await;
    world.arrival_of("/other").await;
    assert_eq!(world.event().await, Event::BodyRead(Ok(0)));
    assert_eq!(world.event().await, Event::Dropped);
    other.send(get("/other")).await;
    assert!(other.response().await.0.starts_with("HTTP/1.1 200"));
    let reset = soon("end", standing.0.read_to_end(&mut Vec::new())).await;
    assert!(reset.is_err() || world.monitor.stalled_connections() == 1);
}

#[tokio::test]
async fn l07_a_panic_in_the_body_of_an_answer_ends_its_connection_only() {
    let mut few = limits();
    few.max_connections = 2;
    let mut world = World::start(few).await;
    let mut other = world.connect().await;
    other.send(get("/wait")).await;
    world.arrival_of("/wait").await;
    // The place of a connection that ended so must be free for the next.
    for _ in 0..5 {
        let mut client = world.connect().await;
        client.send(get("/panic-late")).await;
        world.arrival_of("/panic-late").await;
        let answer = client.rest().await;
        assert!(answer.starts_with("HTTP/1.1 200") && !answer.ends_with("0\r\n\r\n"), "a whole answer: {answer}");
    }
    world.go_on();
    assert!(other.response().await.1.ends_with("waited"));
}

#[tokio::test]
async fn l07_a_panic_is_a_500_for_its_request_only() {
    let mut one = limits();
    one.max_connections = 1;
    let world = World::start(one).await;
    for _ in 0..3 {
        let mut client = world.connect().await;
        client.send(get("/panic")).await;
        let answer = client.rest().await;
        assert!(answer.starts_with("HTTP/1.1 500") && answer.contains("<Code>InternalError</Code>"), "{answer}");
    }
    let mut client = world.connect().await;
    client.send(get("/")).await;
    assert!(client.response().await.0.starts_with("HTTP/1.1 200"), "the slot was given back");
}

#[tokio::test]
async fn k20_a_refused_upload_is_read_for_a_while_so_that_the_refusal_arrives() {
    // More than the kernel's buffers hold, so that the client is still writing when it is refused.
    let upload = 24 << 20;
    let mut patient = limits();
    patient.linger_bytes = upload as u64;
    let world = World::start(patient).await;
    for _ in 0..5 {
        let mut client = world.connect().await;
        client.send(format!("PUT /refuse HTTP/1.1\r\nHost: h\r\nContent-Length: {upload}\r\n\r\n")).await;
        client.send(vec![0; upload]).await;
        let answer = client.rest().await;
        assert!(answer.starts_with("HTTP/1.1 403") && answer.ends_with("refused"), "{answer}");
    }
}

#[tokio::test]
async fn the_courtesy_of_reading_a_refused_upload_ends() {
    let mut short = limits();
    short.linger_timeout = SHORT;
    let world = World::start(short).await;
    let mut client = world.connect().await;
    client.send("PUT /refuse HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n").await;
    assert!(client.rest().await.starts_with("HTTP/1.1 403"));
    // The client keeps its side open; the slot must come back all the same.
    soon("end of the lingering", async {
        while world.monitor.open_connections() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a12_admin_paths_exist_on_the_admin_listener_only() {
    let mut world = World::start(limits()).await;
    for path in ["/healthz", "/readyz", "/metrics"] {
        let mut data = world.connect().await;
        data.send(get(path)).await;
        data.response().await;
        world.arrival_of(path).await;
        world.event().await;
        let mut admin = RawClient::to(world.addresses.admin).await;
        admin.send(get(path)).await;
        assert!(admin.response().await.0.starts_with("HTTP/1.1 200"), "{path}");
    }
    assert_eq!(world.events_so_far(), []);
}

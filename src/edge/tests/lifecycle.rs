//! Binding, readiness and the end.

use std::time::Duration;

use tokio::net::TcpStream;

use super::world::{Admin, Event, Probe, RawClient, World, limits, settings, soon};
use crate::edge::{BindError, DrainReport, Edge, Inherited, ListenAddress};
use crate::flow::Budget;

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
}

#[tokio::test]
async fn a_drain_lets_requests_in_flight_finish_and_idle_connections_go() {
    let mut world = World::start(limits()).await;
    let (mut busy, mut idle, mut silent) = (world.connect().await, world.connect().await, world.connect().await);
    idle.send(get("/")).await;
    idle.response().await;
    world.arrival_of("/").await;
    world.event().await;
    busy.send(get("/wait")).await;
    world.arrival_of("/wait").await;

    world.request_stop();
    assert_eq!((idle.rest().await, silent.rest().await), (String::new(), String::new()));
    assert!(TcpStream::connect(world.address()).await.is_err(), "nobody listens any more");
    world.go_on();
    let answer = busy.rest().await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("waited"), "{answer}");
    assert_eq!(world.end().await, DrainReport { open: 3, cut: 0, at_once: false });
}

#[tokio::test]
async fn a_drain_cuts_at_its_deadline() {
    let mut short = settings(limits(), None);
    short.drain_timeout = Duration::from_millis(200);
    let mut world = World::start_with(short, Admin::default()).await;
    let mut busy = world.connect().await;
    busy.send(get("/wait")).await;
    world.arrival_of("/wait").await;
    world.request_stop();
    assert_eq!(world.event().await, Event::Dropped);
    assert_eq!(busy.rest().await, "");
    assert_eq!(world.end().await, DrainReport { open: 1, cut: 1, at_once: false });
}

/// Waits until the edge says that it leaves.
async fn until_not_ready(world: &World) {
    soon("not ready", async {
        loop {
            let mut admin = RawClient::to(world.addresses.admin).await;
            admin.send(get("/readyz")).await;
            let (head, body) = admin.response().await;
            if head.starts_with("HTTP/1.1 503") {
                return assert_eq!(body, "shutting down\n");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn an_edge_that_leaves_says_so_first_and_serves_on_closing_each_connection_after_its_answer() {
    let mut slow = settings(limits(), None);
    slow.drain_delay = Duration::from_secs(3600);
    let mut world = World::start_with(slow, Admin::default()).await;
    let mut kept = world.connect().await;
    kept.send(get("/")).await;
    assert!(!kept.response().await.0.contains("connection: close"));

    world.request_stop();
    until_not_ready(&world).await;
    for mut client in [kept, world.connect().await] {
        client.send(get("/")).await;
        let answer = client.rest().await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close"), "{answer}");
    }
    world.hurry();
    assert_eq!(world.end().await, DrainReport { open: 0, cut: 0, at_once: true });
}

#[tokio::test]
async fn a_second_signal_cuts_at_once() {
    for delay in [Duration::ZERO, Duration::from_secs(3600)] {
        let mut patient = settings(limits(), None);
        (patient.drain_delay, patient.drain_timeout) = (delay, Duration::from_secs(3600));
        let mut world = World::start_with(patient, Admin::default()).await;
        let mut busy = world.connect().await;
        busy.send(get("/wait")).await;
        world.arrival_of("/wait").await;
        world.request_stop();
        until_not_ready(&world).await;
        world.hurry();
        assert_eq!(world.event().await, Event::Dropped);
        assert_eq!(busy.rest().await, "");
        assert_eq!(world.end().await, DrainReport { open: 1, cut: 1, at_once: true });
    }
}

#[tokio::test]
async fn readiness_has_a_line_per_reason_and_ends_with_the_drain() {
    let reasons = vec!["upstream `main` unreachable".to_owned(), "no key set for issuer `corp`".to_owned()];
    let world =
        World::start_with(settings(limits(), None), Admin { not_ready: reasons.clone(), ..Admin::default() }).await;
    let mut admin = RawClient::to(world.addresses.admin).await;
    admin.send(get("/readyz")).await;
    let (head, body) = admin.response().await;
    assert!(head.starts_with("HTTP/1.1 503"), "{head}");
    assert_eq!(body.lines().collect::<Vec<_>>(), reasons);

    let mut world = World::start(limits()).await;
    let mut busy = world.connect().await;
    busy.send(get("/wait")).await;
    world.arrival_of("/wait").await;
    world.request_stop();
    until_not_ready(&world).await;
    world.go_on();
    world.end().await;
}

#[tokio::test]
async fn admin_answers_get_and_head_and_404_elsewhere() {
    let world = World::start(limits()).await;
    let mut admin = RawClient::to(world.addresses.admin).await;
    admin.send(get("/metrics")).await;
    assert_eq!(admin.response().await.1, "countersign_up 1\n");
    admin.send(get("/debug/pprof")).await;
    assert!(admin.response().await.0.starts_with("HTTP/1.1 404"));
    for method in ["POST", "PUT", "DELETE"] {
        admin.send(format!("{method} /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")).await;
        assert!(admin.response().await.0.starts_with("HTTP/1.1 405"));
    }
    admin.send("HEAD /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
    let head = admin.rest().await;
    assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
}

#[tokio::test]
async fn binding_says_which_address_it_cannot_have() {
    let taken = World::start(limits()).await;
    let mut second = settings(limits(), None);
    second.listeners[0].address = ListenAddress::Tcp(taken.address());
    let bind = |settings| Edge::bind(settings, Probe::unheard(), Budget::new(0), Inherited::none());
    let Err(BindError::Address { address, .. }) = bind(second) else { panic!("the address is taken") };
    assert_eq!(address, ListenAddress::Tcp(taken.address()));
    let mut none = settings(limits(), None);
    none.listeners.clear();
    assert!(matches!(bind(none), Err(BindError::NoListener)));
}

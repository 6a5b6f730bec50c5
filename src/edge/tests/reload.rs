//! What a reload changes for connections that are open: whom a listener believes, and whom it lets in.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use http::Method;
use ipnet::IpNet;

use super::world::{Admin, Event, RawClient, World, limits, settings, soon};
use crate::arrival::{Framing, Lapse};
use crate::edge::{
    ClientTlsSettings, ForwardedHeader, ForwardedSettings, ListenAddress, ListenerSettings, TlsSettings, UnixSettings,
};

fn networks(list: &[&str]) -> Vec<IpNet> {
    list.iter().map(|network| network.parse().unwrap()).collect()
}

fn forwarded(from: &[&str]) -> Option<ForwardedSettings> {
    Some(ForwardedSettings { from: networks(from), header: ForwardedHeader::XForwardedFor })
}

async fn world(change: impl FnOnce(&mut ListenerSettings)) -> World {
    let mut settings = settings(limits(), None);
    change(&mut settings.listeners[0]);
    World::start_with(settings, Admin::default()).await
}

fn reload(world: &World, change: impl FnOnce(&mut ListenerSettings)) {
    world.certificates.reload_with(|settings| change(&mut settings.listeners[0])).unwrap();
}

const WHO: &str = "GET /who HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n";

async fn who(client: &mut RawClient) -> String {
    client.send(WHO).await;
    client.response().await.1
}

#[tokio::test]
async fn a16_a_proxy_is_believed_on_open_connections_for_as_long_as_it_is_configured() {
    let world = world(|listener| listener.forwarded = forwarded(&["127.0.0.1/32"])).await;
    let mut kept = world.connect().await;
    assert_eq!(who(&mut kept).await, "192.0.2.7 nobody");
    reload(&world, |listener| listener.forwarded = forwarded(&["10.0.0.0/8"]));
    assert_eq!(who(&mut kept).await, "127.0.0.1 nobody", "another proxy is trusted now");
    reload(&world, |listener| listener.forwarded = forwarded(&["127.0.0.0/8"]));
    assert_eq!(who(&mut kept).await, "192.0.2.7 nobody");
    reload(&world, |listener| listener.forwarded = None);
    assert_eq!(who(&mut kept).await, "127.0.0.1 nobody", "no proxy is");
}

#[tokio::test]
async fn a15_an_open_connection_is_of_whom_its_listener_says_now() {
    let world = world(|listener| listener.identity = Some("orders".to_owned())).await;
    let mut kept = world.connect().await;
    assert_eq!(who(&mut kept).await, "127.0.0.1 orders");
    reload(&world, |listener| listener.identity = Some("billing".to_owned()));
    assert_eq!(who(&mut kept).await, "127.0.0.1 billing");
    reload(&world, |listener| listener.identity = None);
    assert_eq!(who(&mut kept).await, "127.0.0.1 nobody");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a15_a_request_is_of_whom_the_configuration_says_that_answers_it() {
    let world = Arc::new(world(|_| {}).await);
    let mut kept = world.connect().await;
    let changed = Arc::clone(&world);
    let names: [Arc<str>; 2] = ["orders".into(), "billing".into()];
    changed.certificates.identify(&names[1], &changed.certificates.probe.of(&names[1]));
    // The other half of `wanted` is gone when the test ends, however it does.
    let wanted = Arc::new(());
    let is_wanted = Arc::clone(&wanted);
    let reloads = std::thread::spawn(move || {
        let wanted = || Arc::strong_count(&is_wanted) > 1;
        let exchange = |name: &Arc<str>| changed.certificates.identify(name, &changed.certificates.probe.of(name));
        names.iter().cycle().take_while(|_| wanted()).map(exchange).count()
    });
    let mut told = BTreeSet::new();
    for _ in 0..2000 {
        kept.send("GET /whose HTTP/1.1\r\nHost: h\r\n\r\n").await;
        told.insert(kept.response().await.1);
    }
    drop(wanted);
    let count = reloads.join().unwrap();
    assert!(count > 2000, "{count} reloads");
    assert_eq!(Vec::from_iter(told), ["billing billing", "orders orders"]);
}

#[tokio::test]
async fn l09_open_connections_do_not_keep_the_configuration_that_they_began_under() {
    let mut settings = settings(limits(), None);
    // A second one, which the next configuration does not have any more.
    settings.listeners.push(settings.listeners[0].clone());
    let world = World::start_with(settings, Admin::default()).await;
    let name: Arc<str> = "before".into();
    world.certificates.identify("orders", &world.certificates.probe.of(&name));
    let mut kept = Vec::new();
    for address in &world.addresses.data {
        let mut client = RawClient::to(*address).await;
        assert!(who(&mut client).await.starts_with("127.0.0.1"));
        kept.push(client);
    }
    assert!(Arc::strong_count(&name) > 1);
    world.certificates.reload_with(|settings| drop(settings.listeners.pop())).unwrap();
    // The tasks of the two answers may not have ended yet.
    let forgotten = async {
        while Arc::strong_count(&name) > 1 {
            tokio::task::yield_now().await;
        }
    };
    soon("that nobody keeps the old configuration", forgotten).await;
    for mut client in kept {
        assert!(who(&mut client).await.starts_with("127.0.0.1"), "a connection had to end for it");
    }
}

#[tokio::test]
async fn a15_a_listener_that_waits_for_a_restart_has_no_name_that_is_gone_or_belongs_to_fewer_now() {
    let tls = |client| {
        let [certificate, key] = ["cert.pem", "key.pem"].map(PathBuf::from);
        Some(TlsSettings { certificate, key, client })
    };
    let required = ClientTlsSettings { ca: "ca.pem".into(), crls: Vec::new(), require: true, identity: false };
    let elsewhere = || ListenerSettings::new(ListenAddress::Tcp("127.0.0.1:1".parse().unwrap()), None);
    let socket = ListenAddress::Unix(UnixSettings { path: "/run/tools".into(), mode: 0o600 });
    let named = |listener| ListenerSettings { identity: Some("tools".to_owned()), ..listener };
    for (what, after, expected) in [
        ("nobody has the name", elsewhere(), "nobody"),
        ("another port", named(elsewhere()), "tools"),
        ("another port with TLS", named(ListenerSettings { tls: tls(None), ..elsewhere() }), "tools"),
        ("clients with certificates", named(ListenerSettings { tls: tls(Some(required)), ..elsewhere() }), "nobody"),
        ("behind a proxy", named(ListenerSettings { proxies: networks(&["127.0.0.1/32"]), ..elsewhere() }), "nobody"),
        ("a socket", named(ListenerSettings::new(socket, None)), "nobody"),
    ] {
        let world = world(|listener| listener.identity = Some("tools".to_owned())).await;
        let mut kept = world.connect().await;
        reload(&world, |listener| *listener = after);
        assert_eq!(who(&mut kept).await, format!("127.0.0.1 {expected}"), "{what}");
        assert_eq!(who(&mut world.connect().await).await, format!("127.0.0.1 {expected}"), "{what}");
        reload(&world, |listener| listener.identity = Some("tools".to_owned()));
        assert_eq!(who(&mut kept).await, "127.0.0.1 tools", "it is as it was at the start: {what}");
    }
}

#[tokio::test]
async fn a15_a16_a_listener_that_waits_for_tls_believes_what_it_did() {
    let world = world(|listener| listener.forwarded = forwarded(&["127.0.0.1/32"])).await;
    let mut kept = world.connect().await;
    reload(&world, |listener| {
        let [certificate, key, ca] = ["cert.pem", "key.pem", "ca.pem"].map(PathBuf::from);
        let client = Some(ClientTlsSettings { ca, crls: Vec::new(), require: true, identity: false });
        listener.tls = Some(TlsSettings { certificate, key, client });
        listener.identity = Some("orders".to_owned());
        listener.forwarded = None;
    });
    // No certificate was shown, so nobody is whom it was to be needed for.
    assert_eq!(who(&mut kept).await, "192.0.2.7 nobody");
    assert_eq!(who(&mut world.connect().await).await, "192.0.2.7 nobody");
}

#[tokio::test]
async fn k26_a_connection_of_a_proxy_that_is_none_any_more_ends_with_its_next_request() {
    for (after, goes_on) in [(&["127.0.0.0/8"][..], true), (&["10.0.0.0/8"], false), (&[], false)] {
        let mut world = world(|listener| listener.proxies = networks(&["127.0.0.1/32"])).await;
        let mut kept = world.connect().await;
        kept.send("PROXY TCP4 192.0.2.7 10.0.0.1 4096 443\r\n").await;
        assert_eq!(who(&mut kept).await, "192.0.2.7 nobody");
        world.arrival_of("/who").await;
        // One that is under way goes on.
        let mut busy = world.connect().await;
        busy.send("PROXY TCP4 192.0.2.7 10.0.0.1 4096 443\r\nGET /wait HTTP/1.1\r\nHost: h\r\n\r\n").await;
        world.arrival_of("/wait").await;

        reload(&world, |listener| listener.proxies = networks(after));
        world.go_on();
        assert_eq!(busy.response().await.1, "waited");
        if goes_on {
            assert_eq!(who(&mut kept).await, "192.0.2.7 nobody");
            continue;
        }
        kept.send(WHO).await;
        let answer = kept.rest().await;
        assert!(answer.contains("connection: close") && !answer.contains("192.0.2.7"), "{answer}");
        let lapsed = Event::Arrived(Method::GET, "/who".to_owned(), Framing::Lapsed(Lapse::Proxy));
        assert_eq!(soon("the refused request", world.event()).await, lapsed);
    }
}

#[tokio::test]
async fn k26_where_proxies_are_wanted_now_a_connection_without_their_header_ends() {
    let mut world = world(|_| {}).await;
    let mut kept = world.connect().await;
    assert_eq!(who(&mut kept).await, "127.0.0.1 nobody");
    world.arrival_of("/who").await;
    // From an address of a proxy too: who speaks through it is not known.
    reload(&world, |listener| listener.proxies = networks(&["127.0.0.1/32"]));
    kept.send(WHO).await;
    assert!(kept.rest().await.contains("connection: close"));
    let lapsed = Event::Arrived(Method::GET, "/who".to_owned(), Framing::Lapsed(Lapse::Proxy));
    assert_eq!(world.event().await, lapsed);
}

//! More connections than the admin listener has places for: probes are answered all the same.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::admin::{SECRET, tokens};
use super::world::{Admin, World, limits, settings, soon};

const FLOODER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);
/// About a second is meant; the rest is for a machine that does other work.
const IN_TIME: Duration = Duration::from_secs(5);

async fn connect(from: Ipv4Addr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((IpAddr::V4(from), 0).into())?;
    socket.connect(to).await
}

/// Connections from one address that send this and no more, or at each answer once more, each opened anew when it is closed.
fn flood(to: SocketAddr, from: Ipv4Addr, connections: usize, sends: &'static str, again: bool) -> JoinSet<()> {
    let mut all = JoinSet::new();
    for _ in 0..connections {
        all.spawn(async move {
            loop {
                let Ok(mut stream) = connect(from, to).await else {
                    sleep(Duration::from_millis(50)).await;
                    continue;
                };
                let _may_be_closed = stream.write_all(sends.as_bytes()).await;
                let mut answer = [0; 1024];
                while stream.read(&mut answer).await.is_ok_and(|bytes| bytes > 0) {
                    if again {
                        let _may_be_closed = stream.write_all(sends.as_bytes()).await;
                    }
                }
                sleep(Duration::from_millis(10)).await;
            }
        });
    }
    all
}

/// How long the slowest of ten probes took. Of the flooder's own address one may be displaced, and comes again.
async fn slowest_probe(world: &World, from: Ipv4Addr) -> Duration {
    let mut slowest = Duration::ZERO;
    for path in ["/healthz", "/readyz", "/metrics"].into_iter().cycle().take(10) {
        let start = Instant::now();
        loop {
            let answer = probe(world, from, path).await;
            if answer.as_ref().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")) {
                break;
            }
            assert_eq!(from, FLOODER, "{path}: {answer:?}");
            println!("a probe of the flooder's address was displaced");
        }
        slowest = slowest.max(start.elapsed());
        sleep(Duration::from_millis(20)).await;
    }
    slowest
}

async fn probe(world: &World, from: Ipv4Addr, path: &str) -> std::io::Result<String> {
    let mut stream = connect(from, world.addresses.admin).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l14_a_flood_of_connections_does_not_delay_probes() {
    for (sends, again) in [
        ("", false),
        ("GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Unfinished: ", false),
        // The page is for everybody, also where tokens are configured.
        ("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n", false),
        ("POST /api/explain HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n", false),
        ("GET /nothing HTTP/1.1\r\nHost: h\r\n\r\n", false),
        ("GET /nothing HTTP/1.1\r\nHost: h\r\n\r\n", true),
    ] {
        let world = World::start_with(settings(limits(), None), Admin { access: tokens(), ..Admin::default() }).await;
        let attack = flood(world.addresses.admin, FLOODER, 500, sends, again);
        sleep(Duration::from_millis(500)).await;
        for from in [Ipv4Addr::LOCALHOST, FLOODER] {
            let slowest = soon("answers to probes", slowest_probe(&world, from)).await;
            println!("500 connections that send {sends:?}, again: {again}: slowest probe from {from} took {slowest:?}");
            assert!(slowest < IN_TIME, "from {from} against {sends:?}: {slowest:?}");
        }
        drop(attack);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l14_a_flood_from_the_operators_own_address_does_not_cut_what_the_operator_watches() {
    let access = tokens();
    let admin = Admin { access, watched: Some(Arc::default()), ..Admin::default() };
    let more = admin.watched.clone().unwrap();
    let world = World::start_with(settings(limits(), None), admin).await;
    let mut watcher = connect(FLOODER, world.addresses.admin).await.unwrap();
    let request = format!("GET /api/events HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {SECRET}\r\n\r\n");
    watcher.write_all(request.as_bytes()).await.unwrap();
    let mut answer = [0; 1024];
    assert!(soon("a head", watcher.read(&mut answer)).await.unwrap() > 0);
    let attack = flood(world.addresses.admin, FLOODER, 400, "", false);
    soon("answers to probes", slowest_probe(&world, FLOODER)).await;
    more.notify_one();
    assert!(soon("an event", watcher.read(&mut answer)).await.is_ok_and(|bytes| bytes > 0));
    drop(attack);
}

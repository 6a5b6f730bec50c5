//! Memory of uploads under inspection: a piece for each inspector and the byte that is held back, wherever an upload waits, and however
//! many there are. `make bench` measures 200 uploads of a gibibyte each with the optimised program; see docs/PERFORMANCE.md.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::memory::{
    STALLED, bottomless_store, kib_each, peak_kib, pss_kib, send, settled_kib, setup_before, stuck_store,
};
use super::support::Setup;
use super::support::process::Served;
use scanner::Manner;

// Also used by the program of `make bench`, which needs more of it.
#[allow(dead_code)]
#[path = "../../bench/src/scanner.rs"]
mod scanner;

const MIB: u64 = 1 << 20;
/// What 200 uploads of any size may take, the program and its code included.
const MOST_KIB: u64 = 256 * 1024;

async fn scanner(manner: Manner) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(scanner::serve(listener, manner));
    address
}

/// Everything is looked at for patterns, and by a scanner.
async fn start(store: SocketAddr, scanner: SocketAddr) -> Served {
    let load = format!("max_scans: {}, principal_share: 100, timeout: 10m", 2 * STALLED);
    let inspectors = format!(
        "inspectors:
  eicar: {{ patterns: {{ sets: [eicar] }}, {load} }}
  clam: {{ clamd: {{ addresses: \"tcp://{scanner}\", probe: none, max_size: 4GiB }}, {load} }}"
    );
    let rules = "
  - { name: all, who: { tokens: [a] }, where: bkt/a/, what: [read, write], limits: { max_size: 50GiB }, inspect: { with: [eicar, clam] } }";
    let setup: Setup = setup_before(store).rules(rules).top(&inspectors);
    let setup = setup.upstream("payload: unsigned").upstream("checksum: header").upstream("principal_share: 100");
    Served::start(&setup.upstream(&format!("max_connections: {}", 2 * STALLED)), "", &[]).await
}

fn check(what: &str, each: u64, most: u64, served: &Served) {
    let peak = peak_kib(served);
    println!("{what}: {each} KiB for each of {STALLED} inspected uploads, peak of {peak} KiB");
    assert!(each < most, "{what}: {each} KiB for each");
    assert!(peak < MOST_KIB, "{what}: peak of {peak} KiB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l09_uploads_that_a_scanner_does_not_take_stay_with_their_clients() {
    let served = start(bottomless_store().await.0, scanner(Manner::Stuck).await).await;
    let head = format!("PUT /bkt/a/x HTTP/1.1\r\nContent-Length: {}\r\n", 1024 * MIB);
    let each = kib_each(&served, STALLED, &head, true).await;
    check("a scanner takes nothing", each, 500, &served);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l09_inspected_uploads_that_a_store_does_not_take_stay_with_their_clients() {
    let served = start(stuck_store().await, scanner(Manner::Takes).await).await;
    let head = format!("PUT /bkt/a/x HTTP/1.1\r\nContent-Length: {}\r\n", 1024 * MIB);
    let each = kib_each(&served, STALLED, &head, true).await;
    check("a store takes nothing", each, 500, &served);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l09_uploads_that_wait_for_their_verdict_hold_little() {
    const LENGTH: u64 = MIB;
    let (store, received) = bottomless_store().await;
    let served = start(store, scanner(Manner::Silent).await).await;
    let before = pss_kib(&served);
    let mut clients = JoinSet::new();
    for number in 0..STALLED {
        let token = &served.a.token;
        let head = format!(
            "PUT /bkt/a/{number} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: {LENGTH}\r\n\r\n"
        );
        let address = served.a.address;
        clients.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.write_all(&vec![0x5a; LENGTH as usize]).await.unwrap();
            stream
        });
    }
    let open = clients.join_all().await;
    // Everything but the byte of each upload that waits for the verdict.
    let all = STALLED as u64 * (LENGTH - 1);
    super::support::eventually("the store has all but the last bytes", || received.load(Ordering::Relaxed) >= all)
        .await;
    let each = settled_kib(&served).await.saturating_sub(before) / STALLED as u64;
    check("no verdict", each, 300, &served);
    assert_eq!(received.load(Ordering::Relaxed), all, "the last bytes wait for the verdict");
    drop(open);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l09_many_inspected_uploads_at_a_time_go_through_little_memory() {
    const LENGTH: u64 = 4 * MIB;
    let (store, received) = bottomless_store().await;
    let served = start(store, scanner(Manner::Takes).await).await;
    let before = pss_kib(&served);
    let mut uploads = JoinSet::new();
    for _ in 0..STALLED {
        let client = served.a.clone();
        uploads.spawn(async move { send(&client, LENGTH, true).await });
    }
    for status in uploads.join_all().await {
        assert_eq!(status, 200);
    }
    assert_eq!(received.load(Ordering::Relaxed), STALLED as u64 * LENGTH);
    let each = peak_kib(&served).saturating_sub(before) / STALLED as u64;
    check("everything flows", each, 900, &served);
}

//! Memory of uploads under inspection: a piece for each inspector and the byte that is held back, wherever an upload waits, and however
//! many there are. `make bench` measures 200 uploads of a gibibyte each with the optimised program; see docs/PERFORMANCE.md.

use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::memory::{
    STALLED, bottomless_store, kib_each, peak_kib, pss_kib, send, settled_kib, setup_before, stuck_store,
};
use super::scanners::objects::{gzip, zip, zip_of_copies};
use super::support::process::Served;
use super::support::{Answer, Recorder, Setup};
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
    println!("{what}: {each} KiB for each inspected upload, peak of {peak} KiB");
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

/// A gzip in which there is the same gzip: as in "Zip Files All The Way Down" (Russ Cox, 2010), blocks that are stored as they are, and blocks
/// that repeat the last 17, 18 or 20 bytes. Its check sum, which stands in it twice, is the solution of 32 linear equations over GF(2).
const QUINE: &str = "1f8b08080000000000037100001100eeff1f8b08080000000000037100001100eeff820a200400000500faff820a20040000\
    0500faff000500faff001400ebff820a200400000500faff000500faff001400ebff428821c400001400ebff428821c40000\
    1400ebff428821c400001400ebff428821c400001400ebff428821c400000000ffff000000ffff001200edff428821c40000\
    0000ffff000000ffff001200edff8289204400010000ffff6b7ceb62c80000008289204400010000ffff6b7ceb62c8000000";

/// 16 archives in an archive, five times, with 4 MiB of zeros in each of the last: 4 TiB, the way of 42.zip.
fn like_42_zip() -> Vec<u8> {
    (0..5).fold(vec![0; 4 << 20], |inner, _| zip_of_copies(&inner, 16))
}

/// A tar archive of a million empty files, in members of gzip that are all the same: one is made.
fn tar_of_a_million() -> Vec<u8> {
    const FILES: usize = 2048;
    let mut archive = Vec::with_capacity(FILES * 512);
    for number in 0..FILES {
        let mut head = [0; 512];
        let name = format!("{number:x}-{:x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        for (at, text) in
            [(0, name.as_str()), (100, "0000644\0"), (124, "00000000000\0"), (148, "        "), (257, "ustar")]
        {
            head[at..at + text.len()].copy_from_slice(text.as_bytes());
        }
        let sum: u32 = head.iter().map(|byte| u32::from(*byte)).sum();
        head[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        archive.extend(head);
    }
    gzip(&archive).repeat(1_000_000_usize.div_ceil(FILES))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h15_fifty_bombs_at_a_time_are_refused_through_little_memory() {
    const BOMBS: usize = 50;
    let quine = hex::decode(QUINE).unwrap();
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(&quine[..]).read_to_end(&mut unpacked).unwrap();
    assert_eq!(unpacked, quine);
    let zeros = gzip(&vec![0; 32 << 20]);
    let bombs = [
        ("zeros", zeros.clone()),
        ("zeros in a zip", zip(&zeros)),
        ("like 42.zip", like_42_zip()),
        ("a gzip that holds itself", quine),
        ("a tar of a million files", tar_of_a_million()),
    ];
    let bombs = bombs.map(|(what, bomb)| (what, Bytes::from(bomb)));

    let recorder = Recorder::start(Answer::ok()).await;
    let inspectors = format!(
        "inspectors: {{ words: {{ patterns: {{ sets: [eicar], max_depth: 8, max_unpacked: 32MiB }}, \
         max_scans: {BOMBS}, principal_share: 100, timeout: 10m }} }}"
    );
    let rules = "
  - { name: all, who: { tokens: [a] }, where: bkt/a/, what: [write], inspect: { with: [words] } }";
    let setup = Setup::before(&recorder).rules(rules).top(&inspectors);
    let setup = setup.upstream("principal_share: 100").upstream(&format!("max_connections: {BOMBS}"));
    let served = Served::start(&setup, "", &[]).await;
    let before = pss_kib(&served);
    let mut uploads = JoinSet::new();
    for (what, bomb) in bombs.iter().cycle().take(BOMBS).cloned() {
        let client = served.a.clone();
        uploads.spawn(async move {
            let refused = client.put("/bkt/a/x", &[], bomb).await;
            assert_eq!(refused.outcome(), (403, "ContentNotScannable".to_owned()), "{what}: {}", refused.text());
        });
    }
    uploads.join_all().await;
    assert!(recorder.nothing_committed());
    let each = peak_kib(&served).saturating_sub(before) / BOMBS as u64;
    check(&format!("{BOMBS} bombs"), each, 1000, &served);
}

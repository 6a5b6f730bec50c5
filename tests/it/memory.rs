//! Memory while large objects go through: a matter of buffers, not of sizes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::Request;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::support::post::{KEY_ID, PostForm, SECRET};
use super::support::process::Served;
use super::support::{Client, Setup, Store, StoreKind};

const GIB: u64 = 1 << 30;
const PIECE: &[u8] = &[0x5a; 64 * 1024];
const MOST_KIB: u64 = 64 * 1024;

/// A store that forgets what it is sent, counts it, and gives a gibibyte to whoever asks.
pub async fn bottomless_store() -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, received) = (listener.local_addr().unwrap(), Arc::new(AtomicU64::new(0)));
    let count = Arc::clone(&received);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, Arc::clone(&count)));
        }
    });
    (address, received)
}

async fn serve(mut stream: TcpStream, received: Arc<AtomicU64>) -> std::io::Result<()> {
    let mut buffer = vec![0; 256 * 1024];
    let mut head = Vec::new();
    let end = loop {
        let length = stream.read(&mut buffer).await?;
        head.extend_from_slice(&buffer[..length]);
        if let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let text = String::from_utf8_lossy(&head[..end]).to_lowercase();
    if text.starts_with("get") {
        let answer = format!("HTTP/1.1 200 OK\r\netag: \"e\"\r\ncontent-length: {GIB}\r\n\r\n");
        stream.write_all(answer.as_bytes()).await?;
        for _ in 0..GIB / PIECE.len() as u64 {
            stream.write_all(PIECE).await?;
        }
        return Ok(());
    }
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let mut missing = length.trim().parse::<u64>().unwrap() - (head.len() - end) as u64;
    received.fetch_add((head.len() - end) as u64, Ordering::Relaxed);
    while missing > 0 {
        let length = stream.read(&mut buffer).await? as u64;
        assert!(length > 0, "the upload was cut");
        received.fetch_add(length, Ordering::Relaxed);
        missing -= length;
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\netag: \"e\"\r\ncontent-length: 0\r\n\r\n").await
}

/// Uploads a gibibyte that is made on the way.
async fn upload(client: &Client) -> http::StatusCode {
    send(client, GIB, true).await
}

pub async fn send(client: &Client, length: u64, declared: bool) -> http::StatusCode {
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(TcpStream::connect(client.address).await.unwrap())).await.unwrap();
    tokio::spawn(connection);
    let pieces =
        (0..length / PIECE.len() as u64).map(|_| Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(PIECE))));
    let mut request = Request::put("/bkt/a/large").header("host", "x");
    if declared {
        request = request.header("content-length", length);
    }
    request = request.header("authorization", format!("Bearer {}", client.token));
    sender.send_request(request.body(StreamBody::new(stream::iter(pieces))).unwrap()).await.unwrap().status()
}

/// Downloads it and counts.
async fn download(client: &Client) -> u64 {
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(TcpStream::connect(client.address).await.unwrap())).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("/bkt/a/large").header("host", "x");
    let request = request.header("authorization", format!("Bearer {}", client.token)).body(Empty::<Bytes>::new());
    let mut body = sender.send_request(request.unwrap()).await.unwrap().into_body();
    let mut count = 0;
    while let Some(frame) = body.frame().await {
        count += frame.unwrap().data_ref().map_or(0, Bytes::len) as u64;
    }
    count
}

/// The most memory that the process had at any time.
pub fn peak_kib(served: &Served) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", served.process.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

pub fn setup_before(store: SocketAddr) -> Setup {
    Setup::new(&format!("http://{store}"), "BOTTOMLESS-KEY-ID", "bottomless-secret-of-the-test", "up-bkt")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l09_a_gibibyte_goes_through_little_memory_in_either_direction() {
    for payload in ["unsigned", "signed"] {
        let (store, received) = bottomless_store().await;
        let setup = setup_before(store).upstream(&format!("payload: {payload}")).upstream("checksum: header");
        let served = Served::start(&setup, "", &[]).await;
        assert_eq!(upload(&served.a).await, 200, "{payload}");
        assert!((GIB..GIB + GIB / 100).contains(&received.load(Ordering::Relaxed)), "{payload}");
        let after_upload = peak_kib(&served);
        assert_eq!(download(&served.a).await, GIB, "{payload}");
        let at_the_end = peak_kib(&served);
        println!("{payload}: peak of {after_upload} KiB after an upload, {at_the_end} KiB after a download");
        assert!(after_upload.max(at_the_end) < MOST_KIB, "{payload}: {after_upload} KiB, {at_the_end} KiB");
        let records = served.records(2).await;
        assert_eq!((&records[0]["bytes_in"], &records[1]["bytes_out"]), (&GIB.into(), &GIB.into()));
    }
}

#[tokio::test]
async fn l09_an_upload_of_undeclared_length_takes_a_part_of_memory() {
    let Some(store) = Store::get(StoreKind::SeaweedFs).await else { return };
    let served = Served::start(&store.setup(), "", &[]).await;
    let length = 200 << 20;
    assert_eq!(send(&served.a, length, false).await, 200);
    let head = store.head("a/large").await;
    assert_eq!(head.header("content-length"), length.to_string());
    let peak = peak_kib(&served);
    println!("undeclared length: peak of {peak} KiB");
    assert!(peak < MOST_KIB, "{peak} KiB");
}

/// Sends a form with a file of so many bytes, which are made on the way.
async fn post(address: SocketAddr, form: &PostForm, length: u64) -> http::StatusCode {
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(TcpStream::connect(address).await.unwrap())).await.unwrap();
    tokio::spawn(connection);
    let (before, behind) = (Bytes::from(form.preamble()), Bytes::from(form.end.clone()));
    let mut request = Request::post("/bkt").header("host", "x").header("content-type", form.content_type());
    if form.declared {
        request = request.header("content-length", before.len() as u64 + length + behind.len() as u64);
    }
    let file = std::iter::repeat_n(Bytes::from_static(PIECE), (length / PIECE.len() as u64) as usize);
    let pieces =
        std::iter::once(before).chain(file).chain([behind]).map(|piece| Ok::<_, std::io::Error>(Frame::data(piece)));
    sender.send_request(request.body(StreamBody::new(stream::iter(pieces))).unwrap()).await.unwrap().status()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f11_a_form_with_a_large_file_goes_through_little_memory() {
    let rules = "\n  - { name: web, who: { keys: [web] }, where: bkt/a/, what: write }";
    let length = 200 << 20;
    let (bottomless, received) = bottomless_store().await;
    let store = Store::get(StoreKind::SeaweedFs).await;
    let forms = [PostForm::to("a/large"), PostForm::to("a/large").chunked()];
    for (form, setup) in forms.iter().zip([Some(setup_before(bottomless)), store.as_ref().map(Store::setup)]) {
        let Some(setup) = setup else { continue };
        let setup = setup.rules(rules).access_key("web", KEY_ID, SECRET);
        let served = Served::start(&setup, "", &[("KEY_0", SECRET)]).await;
        assert_eq!(post(served.a.address, form, length).await, 204, "{}", form.declared);
        let peak = peak_kib(&served);
        println!("a form, declared length {}: peak of {peak} KiB", form.declared);
        assert!(peak < MOST_KIB, "{} {peak} KiB", form.declared);
    }
    assert!(received.load(Ordering::Relaxed) >= length);
    if let Some(store) = store {
        assert_eq!(store.head("a/large").await.header("content-length"), length.to_string());
    }
}

/// A store that reads the head of a request and then nothing.
pub async fn stuck_store() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            open.push(stream);
        }
    });
    address
}

/// What the process holds now; shared pages count by their share.
pub fn pss_kib(served: &Served) -> u64 {
    let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", served.process.id())).unwrap();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Opens transfers, each of which writes a head and then a body until the gateway takes no more of it.
async fn open_stalled(served: &Served, count: usize, head: &str, body: bool) -> Vec<TcpStream> {
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..count {
        let head = format!("{head}Host: x\r\nAuthorization: Bearer {}\r\n\r\n", served.a.token);
        let address = served.a.address;
        clients.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(head.as_bytes()).await.unwrap();
            if body {
                while let Ok(Ok(_)) = tokio::time::timeout(Duration::from_secs(1), stream.write(PIECE)).await {}
            } else {
                // The answer has begun; nothing more of it is ever read.
                tokio::time::timeout(Duration::from_secs(60), stream.readable()).await.unwrap().unwrap();
            }
            stream
        });
    }
    clients.join_all().await
}

/// KiB of the gateway for each stalled transfer, once nothing changes any more.
pub async fn kib_each(served: &Served, count: usize, head: &str, body: bool) -> u64 {
    let before = pss_kib(served);
    let open = open_stalled(served, count, head, body).await;
    let held = settled_kib(served).await;
    drop(open);
    held.saturating_sub(before) / count as u64
}

/// What the process holds when that no longer changes.
pub async fn settled_kib(served: &Served) -> u64 {
    let (mut held, deadline) = (0, tokio::time::Instant::now() + Duration::from_secs(60));
    loop {
        let now = pss_kib(served);
        if held == now || tokio::time::Instant::now() > deadline {
            return held;
        }
        held = now;
        tokio::time::timeout(Duration::from_secs(1), std::future::pending::<()>()).await.unwrap_err();
    }
}

pub const STALLED: usize = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l09_uploads_that_a_store_does_not_take_stay_with_their_clients() {
    // Before reads and queues were bounded it was 1.9 MiB with signed chunks and 1.6 MiB without. A signed chunk waits for its hash.
    for (payload, most) in [("unsigned", 200), ("signed", 350)] {
        let setup =
            setup_before(stuck_store().await).upstream(&format!("payload: {payload}")).upstream("checksum: header");
        let served = Served::start(&setup, "", &[]).await;
        let each =
            kib_each(&served, STALLED, &format!("PUT /bkt/a/x HTTP/1.1\r\nContent-Length: {GIB}\r\n"), true).await;
        println!("{payload}: {each} KiB for each of {STALLED} uploads to a store that takes nothing");
        assert!(each < most, "{payload}: {each} KiB");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l09_downloads_that_a_client_does_not_take_stay_with_the_store() {
    let served = Served::start(&setup_before(bottomless_store().await.0), "", &[]).await;
    let each = kib_each(&served, STALLED, "GET /bkt/a/x HTTP/1.1\r\n", false).await;
    println!("{each} KiB for each of {STALLED} downloads that are not taken");
    assert!(each < 200, "{each} KiB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l09_a_budget_of_nothing_still_lets_transfers_through() {
    let (store, received) = bottomless_store().await;
    let served = Served::start(&setup_before(store).limits("{ buffers: 0B }"), "", &[]).await;
    let length = 32 << 20;
    assert_eq!(send(&served.a, length, true).await, 200);
    assert!(received.load(Ordering::Relaxed) >= length);
}

#[tokio::test]
async fn a10_wrong_tokens_leave_nothing_behind() {
    const LEAST: u64 = 500;
    let served = Served::start(&setup_before(stuck_store().await), "", &[]).await;
    let stream = TcpStream::connect(served.a.address).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut before = 0;
    for number in 0..10_000 {
        if number == LEAST {
            before = peak_kib(&served);
        }
        let token = format!("Bearer csn_{number:043}");
        let request = Request::get("/bkt/a/x").header("host", "x").header("authorization", token);
        sender.ready().await.unwrap();
        let answer = sender.send_request(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), 401);
        answer.into_body().collect().await.unwrap();
    }
    let grown = peak_kib(&served).saturating_sub(before);
    assert!(grown < 4 * 1024, "{grown} KiB for wrong tokens");
}

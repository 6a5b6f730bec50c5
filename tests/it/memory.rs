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

use super::support::process::Served;
use super::support::{Client, Setup, Store, StoreKind};

const GIB: u64 = 1 << 30;
const PIECE: &[u8] = &[0x5a; 64 * 1024];
const MOST_KIB: u64 = 64 * 1024;

/// A store that forgets what it is sent, counts it, and gives a gibibyte to whoever asks.
async fn bottomless_store() -> (SocketAddr, Arc<AtomicU64>) {
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

async fn send(client: &Client, length: u64, declared: bool) -> http::StatusCode {
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
fn peak_kib(served: &Served) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", served.process.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn setup_before(store: SocketAddr) -> Setup {
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

/// A store that reads the head of a request and then nothing.
async fn stuck_store() -> SocketAddr {
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

#[tokio::test]
async fn l09_uploads_that_a_store_does_not_take_stay_with_their_clients() {
    const UPLOADS: u64 = 100;
    // Measured: 1.9 MiB with signed chunks, 1.6 MiB without. It is what hyper reads ahead (408 KiB), the piece held back, the piece
    // in the stages, and what hyper keeps for the store (408 KiB).
    const MOST_KIB_EACH: u64 = 3 * 1024;
    let served = Served::start(&setup_before(stuck_store().await), "", &[]).await;
    let at_start = peak_kib(&served);
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..UPLOADS {
        let client = served.a.clone();
        clients.spawn(async move {
            let mut stream = TcpStream::connect(client.address).await.unwrap();
            let head = format!(
                "PUT /bkt/a/x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Length: {GIB}\r\n\r\n",
                client.token
            );
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut sent = 0;
            // Until the gateway takes no more.
            while let Ok(written) = tokio::time::timeout(Duration::from_millis(500), stream.write(PIECE)).await {
                sent += written.unwrap();
            }
            (stream, sent)
        });
    }
    let mut open = Vec::new();
    while let Some(done) = clients.join_next().await {
        open.push(done.unwrap());
    }
    let sent: usize = open.iter().map(|(_, sent)| sent).sum();
    let each = (peak_kib(&served) - at_start) / UPLOADS;
    println!("{each} KiB for each stuck upload; its client could send {} KiB", sent as u64 / UPLOADS / 1024);
    assert!(sent as u64 / UPLOADS >= 128 * 1024, "the uploads have begun");
    assert!(each < MOST_KIB_EACH, "{each} KiB for each of {UPLOADS} uploads");
}

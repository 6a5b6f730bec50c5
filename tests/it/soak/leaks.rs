//! What the gateway holds: memory, descriptors, requests, connections, places for uploads.

use std::fmt;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use super::super::support::process::Served;
use super::super::support::raw;
use super::faults::FaultProxy;

/// Places at the store, and for uploads of unknown length; in the configuration of the run.
pub const CONNECTIONS: usize = 12;
pub const UNKNOWN_LENGTHS: usize = 2;
/// How long an unused connection is kept; in the configuration of the run.
pub const POOL_IDLE: Duration = Duration::from_secs(2);
/// How long anything may take to be given back.
const PATIENCE: Duration = Duration::from_secs(40);

/// A reading of the process.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    pub resident_kib: u64,
    pub peak_kib: u64,
    pub descriptors: usize,
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { resident_kib, peak_kib, descriptors } = self;
        write!(f, "{resident_kib} KiB resident ({peak_kib} KiB at most), {descriptors} descriptors")
    }
}

impl Reading {
    pub fn of(served: &Served) -> Self {
        let folder = format!("/proc/{}", served.process.id());
        let status = std::fs::read_to_string(format!("{folder}/status")).unwrap();
        let kib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().trim_end_matches(" kB").parse().unwrap()
        };
        let descriptors = std::fs::read_dir(format!("{folder}/fd")).unwrap().count();
        Self { resident_kib: kib("VmRSS:"), peak_kib: kib("VmHWM:"), descriptors }
    }
}

/// The sum of a metric over its labels.
pub async fn metric(served: &Served, name: &str) -> f64 {
    let text = served.ask_admin("/metrics").await.text();
    let of_name = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
    text.lines().filter(of_name).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// Waits until no request and no connection of a client is left.
pub async fn until_idle(served: &Served) -> Result<(), String> {
    let end = Instant::now() + PATIENCE;
    loop {
        let requests = metric(served, "countersign_requests_in_flight").await;
        let connections = metric(served, "countersign_connections_open").await;
        if requests + connections == 0.0 {
            return Ok(());
        }
        if Instant::now() > end {
            return Err(format!("{requests} requests in flight, {connections} connections of clients"));
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until the process has no more descriptors, and the store no more connections, than after a single request.
pub async fn until_few_connections(served: &Served, store: &FaultProxy, before: Reading) -> Result<(), String> {
    let end = Instant::now() + PATIENCE;
    loop {
        // What was unused for too long is closed when the pool is used.
        sleep(POOL_IDLE + Duration::from_millis(200)).await;
        let answer = served.a.get("/bkt/a/warm").await;
        if answer.status != 200 {
            return Err(format!("a read after the storm: {:?}", answer.outcome()));
        }
        let now = Reading::of(served);
        // The connection of the read may still be there.
        if store.open() <= 1 && now.descriptors <= before.descriptors + 1 {
            return Ok(());
        }
        if Instant::now() > end {
            return Err(format!("{} connections to the store, {now}, before: {before}", store.open()));
        }
    }
}

/// Takes every place for requests to the store, and every place for uploads of unknown length. All must be had, and not one more. A place
/// that leaked is missing each time; an upload that a busy machine lets idle is not.
pub async fn check_places(served: &Served) -> Result<(), String> {
    let mut finding = take_every_place(served).await;
    for _ in 0..2 {
        if finding.is_ok() {
            break;
        }
        finding = take_every_place(served).await;
    }
    finding
}

async fn take_every_place(served: &Served) -> Result<(), String> {
    let declared = format!("Content-Length: {}\r\n", 2 * BODY.len());
    let half = |n: usize| (format!("a/warm-declared-{n}"), declared.as_str(), BODY.to_vec(), BODY.to_vec());
    take_all(served, (0..CONNECTIONS).map(half), "GET", "/bkt/a/warm").await?;
    let chunk = [format!("{:x}\r\n", BODY.len()).as_bytes(), BODY, b"\r\n"].concat();
    let chunked = "Transfer-Encoding: chunked\r\n";
    let half = |n: usize| (format!("a/warm-unknown-{n}"), chunked, chunk.clone(), b"0\r\n\r\n".to_vec());
    take_all(served, (0..UNKNOWN_LENGTHS).map(half), "PUT", "/bkt/a/warm-one-more").await
}

const BODY: &[u8] = &[7; 50_000];

/// Begins uploads; waits until another request is told that no place is left; ends the uploads.
async fn take_all<'a>(
    served: &Served,
    uploads: impl Iterator<Item = (String, &'a str, Vec<u8>, Vec<u8>)>,
    method: &str,
    target: &str,
) -> Result<(), String> {
    let mut open = Vec::new();
    for (key, framing, begin, end) in uploads {
        let mut stream = TcpStream::connect(served.a.address).await.unwrap();
        let token = &served.a.token;
        let head = format!(
            "PUT /bkt/{key} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nAuthorization: Bearer {token}\r\n{framing}\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        // The place for an unknown length is taken before the body is asked for.
        let mut interim = vec![0; raw::CONTINUE.len()];
        let read = tokio::time::timeout(PATIENCE, stream.read_exact(&mut interim)).await;
        if !matches!(read, Ok(Ok(_))) || interim != raw::CONTINUE {
            return Err(format!("a place is missing for {key}: {}", String::from_utf8_lossy(&interim)));
        }
        stream.write_all(&begin).await.unwrap();
        open.push((stream, end));
    }
    let end = Instant::now() + Duration::from_secs(6);
    loop {
        let another = if method == "GET" { served.a.get(target).await } else { put_unknown(served, target).await };
        match another.outcome() {
            (503, code) if code == "SlowDown" => break,
            (200, _) if Instant::now() < end => {}
            other => return Err(format!("{method} {target} beside {} uploads: {other:?}", open.len())),
        }
    }
    for (mut stream, end) in open {
        // If it was refused, the answer says why.
        drop(stream.write_all(&end).await);
        let answer = raw::read_answer(&mut stream).await;
        if raw::status(&answer) != 200 {
            return Err(format!("a place is missing: {answer}"));
        }
    }
    Ok(())
}

async fn put_unknown(served: &Served, target: &str) -> super::super::support::Response {
    let mut wire = super::wire::Wire::new('a', served.a.address, &served.a.token);
    let payload = super::wire::Payload::Chunked(vec![bytes::Bytes::from_static(BODY)]);
    let ask = super::wire::Ask {
        operation: "PutObject",
        method: "PUT",
        target: target.to_owned(),
        key: None,
        headers: Vec::new(),
        payload,
    };
    match wire.send(ask).await {
        super::wire::Seen::Whole(answer) => answer,
        broken => panic!("without faults: {broken:?}"),
    }
}

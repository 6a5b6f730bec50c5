//! The load: kept-alive small requests, one large transfer, new TLS connections, transfers that stall.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls_pki_types::ServerName;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use super::wire::{Wire, length};

/// Where requests go and what they are.
#[derive(Clone)]
pub struct Target {
    /// Address of the server.
    pub address: SocketAddr,
    /// TLS to it, if any.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// `GET` or `PUT`.
    pub method: String,
    /// Path of the object.
    pub path: String,
    /// Bytes of the object.
    pub size: u64,
    /// The header lines of the credential, CRLF behind each.
    pub credential: String,
}

/// What a run of requests came to.
#[derive(Debug, Default, Clone)]
pub struct Outcome {
    /// Requests answered 200.
    pub requests: u64,
    /// How long it took.
    pub elapsed: Duration,
    /// Time of each request, if it was asked for.
    pub latencies: Vec<Duration>,
    /// How the last of many new connections began.
    pub beginning: String,
}

/// When a run ends.
#[derive(Clone, Copy)]
pub enum Until {
    /// After this time.
    Elapsed(Duration),
    /// After so many requests of each connection.
    Requests(u64),
}

impl Target {
    /// Opens a connection. `small_buffers` keeps what the kernel holds of a stalled transfer small.
    pub async fn connect(&self, small_buffers: bool) -> io::Result<Wire> {
        let socket = if self.address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if small_buffers {
            socket.set_send_buffer_size(32 * 1024)?;
            socket.set_recv_buffer_size(32 * 1024)?;
        }
        let stream = socket.connect(self.address).await?;
        stream.set_nodelay(true)?;
        self.shake_hands(stream).await
    }

    async fn shake_hands(&self, stream: TcpStream) -> io::Result<Wire> {
        let Some(config) = &self.tls else { return Ok(Wire::plain(stream)) };
        let name = ServerName::from(self.address.ip());
        let connector = TlsConnector::from(Arc::clone(config));
        let stream = connector.connect_with(name, stream, |tls| tls.set_buffer_limit(Some(256 * 1024))).await?;
        Ok(Wire::tls(stream.into()))
    }

    fn head(&self) -> String {
        let body = if self.method == "PUT" {
            format!("Content-Type: application/octet-stream\r\nContent-Length: {}\r\n", self.size)
        } else {
            String::new()
        };
        format!(
            "{} {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: bench\r\nAccept: */*\r\n{}{body}\r\n",
            self.method, self.path, self.address, self.credential
        )
    }

    fn body(&self) -> u64 {
        if self.method == "PUT" { self.size } else { 0 }
    }
}

/// One request on an open connection.
pub async fn exchange(wire: &mut Wire, target: &Target, head: &str) -> io::Result<()> {
    wire.send(head.as_bytes(), target.body()).await?;
    let answer = wire.read_head().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
    if !answer.starts_with("HTTP/1.1 200 ") {
        return Err(io::Error::other(answer));
    }
    wire.discard(length(&answer)).await
}

/// Runs requests over so many kept-alive connections.
pub async fn requests(target: &Target, connections: usize, until: Until, latencies: bool) -> io::Result<Outcome> {
    let mut wires = Vec::new();
    for _ in 0..connections {
        wires.push(target.connect(false).await?);
    }
    let start = Instant::now();
    let mut running = JoinSet::new();
    for wire in wires {
        running.spawn(keep_asking(wire, target.clone(), until, latencies));
    }
    let mut all = Outcome::default();
    while let Some(done) = running.join_next().await {
        let one = done.map_err(io::Error::other)??;
        all.requests += one.requests;
        all.latencies.extend(one.latencies);
    }
    all.elapsed = start.elapsed();
    Ok(all)
}

async fn keep_asking(mut wire: Wire, target: Target, until: Until, latencies: bool) -> io::Result<Outcome> {
    let (head, start, mut outcome) = (target.head(), Instant::now(), Outcome::default());
    let mut now = start;
    loop {
        match until {
            Until::Elapsed(limit) if now - start >= limit => break,
            Until::Requests(count) if outcome.requests >= count => break,
            _ => {}
        }
        exchange(&mut wire, &target, &head).await?;
        outcome.requests += 1;
        let before = std::mem::replace(&mut now, Instant::now());
        if latencies {
            outcome.latencies.push(now - before);
        }
    }
    Ok(outcome)
}

/// One request on each of many new connections, `at_once` of them at a time.
pub async fn new_connections(target: &Target, at_once: usize, limit: Duration) -> io::Result<Outcome> {
    let start = Instant::now();
    let mut running = JoinSet::new();
    for _ in 0..at_once {
        let target = target.clone();
        running.spawn(async move {
            let (head, mut count, mut beginning) = (target.head(), 0, String::new());
            while start.elapsed() < limit {
                let mut wire = target.connect(false).await?;
                exchange(&mut wire, &target, &head).await?;
                count += 1;
                beginning = wire.beginning();
            }
            io::Result::Ok((count, beginning))
        });
    }
    let mut all = Outcome::default();
    while let Some(done) = running.join_next().await {
        let (count, beginning) = done.map_err(io::Error::other)??;
        all.requests += count;
        all.beginning = beginning;
    }
    all.elapsed = start.elapsed();
    Ok(all)
}

/// How a transfer stalls.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Stall {
    /// The client sends what it can, the upstream takes nothing.
    Upstream,
    /// The client sends 64 KiB of its upload and no more.
    Sender,
    /// The client reads the head of a download and no more.
    Reader,
}

/// Begins so many transfers and lets them stall; they last until the result is dropped.
pub async fn stalled(target: &Target, count: usize, how: Stall) -> io::Result<Vec<Wire>> {
    const ENOUGH: Duration = Duration::from_millis(500);
    let mut running = JoinSet::new();
    let mut wires = Vec::with_capacity(count);
    for number in 0..count {
        let target = target.clone();
        running.spawn(async move {
            let mut wire = target.connect(true).await?;
            let head = target.head();
            match how {
                Stall::Sender => wire.send(head.as_bytes(), 64 * 1024).await?,
                Stall::Reader => {
                    wire.send(head.as_bytes(), 0).await?;
                    wire.read_head().await?;
                }
                Stall::Upstream => {
                    // Until nobody has taken a byte for a while.
                    wire.send(head.as_bytes(), 0).await?;
                    let mut sending = std::pin::pin!(wire.send(b"", target.size));
                    drop(tokio::time::timeout(ENOUGH * 4, &mut sending).await);
                }
            }
            io::Result::Ok(wire)
        });
        // Not all at once: a backlog that overflows is another measurement.
        if number % 50 == 49 {
            while let Some(done) = running.join_next().await {
                wires.push(done.map_err(io::Error::other)??);
            }
        }
    }
    while let Some(done) = running.join_next().await {
        wires.push(done.map_err(io::Error::other)??);
    }
    tokio::time::sleep(ENOUGH).await;
    Ok(wires)
}

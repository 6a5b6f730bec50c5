//! A clamd that takes everything and keeps its verdict to itself until the test wants it. A fake, because no real one hangs on demand.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A running one; it ends when this is dropped.
pub struct SlowClamd {
    pub address: SocketAddr,
    verdicts: watch::Sender<bool>,
    counts: Arc<Counts>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Counts {
    waiting: AtomicUsize,
    left: AtomicUsize,
    chunks: AtomicUsize,
}

impl SlowClamd {
    /// Starts one without verdicts.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (verdicts, wanted) = watch::channel(false);
        let counts = Arc::new(Counts::default());
        let shared = Arc::clone(&counts);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                drop(tokio::spawn(serve(stream, wanted.clone(), Arc::clone(&shared))));
            }
        });
        Self { address, verdicts, counts, task }
    }

    /// As an inspector of the configuration, with these keys.
    pub fn inspector(&self, keys: &str) -> String {
        format!(
            "inspectors: {{ words: {{ clamd: {{ addresses: 'tcp://{}', probe: none }}, required: false, {keys} }} }}",
            self.address
        )
    }

    /// Gives its verdicts from now on: everything is clean.
    pub fn speak(&self) {
        self.verdicts.send_replace(true);
    }

    /// Keeps them to itself again.
    pub fn be_silent(&self) {
        self.verdicts.send_replace(false);
    }

    /// Objects that it has taken whole and not said anything of.
    pub fn waiting(&self) -> usize {
        self.counts.waiting.load(Ordering::SeqCst)
    }

    /// Pieces in which all objects came.
    pub fn chunks(&self) -> usize {
        self.counts.chunks.load(Ordering::SeqCst)
    }

    /// Objects in whose course, or before whose verdict, the other side left.
    pub fn left(&self) -> usize {
        self.counts.left.load(Ordering::SeqCst)
    }
}

impl Drop for SlowClamd {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, mut wanted: watch::Receiver<bool>, counts: Arc<Counts>) {
    let mut command = Vec::new();
    while command.last() != Some(&0) {
        match stream.read_u8().await {
            Ok(byte) => command.push(byte),
            Err(_) => return,
        }
    }
    if command != b"zINSTREAM\0" {
        let answer: &[u8] = if command == b"zPING\0" { b"PONG\0" } else { b"ClamAV 1.4.6\0" };
        drop(stream.write_all(answer).await);
        return;
    }
    loop {
        let Ok(length) = stream.read_u32().await else {
            counts.left.fetch_add(1, Ordering::SeqCst);
            return;
        };
        if length == 0 {
            break;
        }
        counts.chunks.fetch_add(1, Ordering::SeqCst);
        let mut chunk = vec![0; length as usize];
        if stream.read_exact(&mut chunk).await.is_err() {
            counts.left.fetch_add(1, Ordering::SeqCst);
            return;
        }
    }
    counts.waiting.fetch_add(1, Ordering::SeqCst);
    let spoken = async { wanted.wait_for(|wanted| *wanted).await.is_ok() };
    tokio::select! {
        _ = spoken => drop(stream.write_all(b"stream: OK\0").await),
        _ = stream.read_u8() => drop(counts.left.fetch_add(1, Ordering::SeqCst)),
    }
    counts.waiting.fetch_sub(1, Ordering::SeqCst);
}

//! The upstream: swallows uploads, makes downloads out of nothing, and checks signatures, as cheaply as it can.
//!
//! The last segment of the path says what to do: a number is the size of an object to GET; `stall` is an upload whose body is never
//! read. `GET /-/counts` tells how many requests came, how many were signed, how many signatures were checked and how many were wrong.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};

use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::signature;
use super::wire::{Wire, field, length};

/// One of so many signatures is checked: enough to notice, too few to cost.
const CHECK_EVERY: u64 = 64;
/// What the kernel keeps for a stalled upload, so that a thousand of them fit.
const STALLED_BUFFER: usize = 32 * 1024;

#[derive(Default)]
struct Counts {
    requests: AtomicU64,
    signed: AtomicU64,
    checked: AtomicU64,
    wrong: AtomicU64,
}

static COUNTS: LazyLock<Counts> = LazyLock::new(Counts::default);

/// Serves a listener for ever.
pub async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>) {
    let tls = tls.map(Arc::new);
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let tls = tls.clone();
        tokio::spawn(async move {
            // However a connection ends, its end is the client's affair.
            drop(converse(stream, tls.as_deref()).await);
        });
    }
}

async fn converse(stream: TcpStream, tls: Option<&TlsAcceptor>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = socket2::SockRef::from(&stream).try_clone()?;
    let mut wire = match tls {
        Some(tls) => {
            let accepted = tls.accept_with(stream, |tls| tls.set_buffer_limit(Some(256 * 1024))).await?;
            Wire::tls(accepted.into())
        }
        None => Wire::plain(stream),
    };
    while let Some(head) = wire.read_head().await? {
        let mut words = head.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let path = target.split('?').next().unwrap_or_default();
        let what = path.rsplit('/').next().unwrap_or_default();
        if path == "/-/counts" {
            let counts =
                [&COUNTS.requests, &COUNTS.signed, &COUNTS.checked, &COUNTS.wrong].map(|count| count.load(Relaxed));
            let text = format!("{counts:?}");
            wire.send(format!("HTTP/1.1 200 OK\r\nx-counts: {text}\r\ncontent-length: 0\r\n\r\n").as_bytes(), 0)
                .await?;
            continue;
        }
        count(&head, method, target);
        if what == "stall" {
            socket.set_recv_buffer_size(STALLED_BUFFER)?;
            std::future::pending::<()>().await;
        }
        wire.discard(length(&head)).await?;
        let size = if method == "GET" { what.parse().unwrap_or(0) } else { 0 };
        wire.send(answer(size).as_bytes(), size).await?;
    }
    Ok(())
}

/// The fields that S3 sends, about 450 bytes.
fn answer(size: u64) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nx-amz-id-2: 3ZLp0yKqL7m9h1Y2v5Rj8mJtN6qXk4sWc1bTz0oEuHgFdSaPiUyTrEwQlKjHgFdS\r\n\
         x-amz-request-id: 7A9F1C0B2D3E4F56\r\nDate: Sun, 22 Nov 2026 08:00:00 GMT\r\n\
         Last-Modified: Sat, 21 Nov 2026 08:00:00 GMT\r\nETag: \"9a0364b9e99bb480dd25e1f0284c8555\"\r\n\
         x-amz-server-side-encryption: AES256\r\nAccept-Ranges: bytes\r\nContent-Type: application/octet-stream\r\n\
         Content-Length: {size}\r\nServer: AmazonS3\r\n\r\n"
    )
}

fn count(head: &str, method: &str, target: &str) {
    let number = COUNTS.requests.fetch_add(1, Relaxed);
    let authorization = field(head, "authorization").unwrap_or_default();
    if !authorization.starts_with("AWS4-HMAC-SHA256 ") {
        return;
    }
    COUNTS.signed.fetch_add(1, Relaxed);
    if number.is_multiple_of(CHECK_EVERY) {
        COUNTS.checked.fetch_add(1, Relaxed);
        if !signature::is_right(head, method, target, authorization) {
            COUNTS.wrong.fetch_add(1, Relaxed);
        }
    }
}

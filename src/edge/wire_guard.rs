//! Stands between the socket and hyper on HTTP/1.1 connections: watches what is read, and closes politely.
//!
//! What is read goes through [`Scanner`]; its verdicts wait in [`Verdicts`] until hyper delivers the request.
//! Closing while the client still sends would make the kernel answer with a reset, which can destroy the refusal
//! before the client has read it; so after our last byte a bounded rest of the upload is read and thrown away.
//!
//! Changes no byte. HTTP/2 needs neither: its framing has one reading, and a refused stream does not end the connection.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::framing::Scanner;
use super::settings::ConnectionLimits;
use crate::arrival::Framing;

/// Verdicts on the heads of one connection, in order. The scanner is ahead of hyper by what hyper has buffered.
///
/// A counter is enough: ambiguous heads come last, because the scan ends with the first one.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    clear_heads: AtomicUsize,
    broken: OnceLock<&'static str>,
}

impl Verdicts {
    /// The verdict on the request that hyper delivers now.
    ///
    /// A request of which the scanner saw no end is ambiguous by that very fact.
    pub(super) fn next(&self) -> Framing {
        // One task reads and serves a connection, so nothing is ordered by these atomics.
        let one_less = |clear: usize| clear.checked_sub(1);
        match self.clear_heads.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less) {
            Ok(_) => Framing::Clear,
            Err(_) => Framing::Ambiguous(self.broken.get().copied().unwrap_or("head ends where none was expected")),
        }
    }

    fn note(&self, scanner: &mut Scanner, bytes: &[u8]) {
        let clear = scanner.feed(bytes);
        self.clear_heads.fetch_add(clear, Ordering::Relaxed);
        if let Some(rule) = scanner.broken() {
            self.broken.get_or_init(|| rule);
        }
    }
}

/// The stream that hyper reads from and writes to.
#[derive(Debug)]
pub(super) struct WireGuard<IO> {
    inner: IO,
    scanner: Scanner,
    verdicts: Arc<Verdicts>,
    linger_bytes: u64,
    linger_timeout: Duration,
    closing: Closing,
}

#[derive(Debug)]
enum Closing {
    /// Both directions are open.
    Open,
    /// Our direction is closed; the client's rest is read until it ends, or one of these does.
    Lingering {
        bytes_left: u64,
        deadline: Pin<Box<Sleep>>,
    },
    Closed,
}

impl<IO> WireGuard<IO> {
    pub(super) fn new(inner: IO, verdicts: Arc<Verdicts>, limits: &ConnectionLimits) -> Self {
        Self {
            inner,
            scanner: Scanner::new(limits.max_head_bytes),
            verdicts,
            linger_bytes: limits.linger_bytes,
            linger_timeout: limits.linger_timeout,
            closing: Closing::Open,
        }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for WireGuard<IO> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let filled_before = buf.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
        this.verdicts.note(&mut this.scanner, &buf.filled()[filled_before..]);
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WireGuard<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if matches!(this.closing, Closing::Open) {
            ready!(Pin::new(&mut this.inner).poll_shutdown(cx))?;
            this.closing = match this.scanner.is_between_messages() {
                true => Closing::Closed,
                false => {
                    Closing::Lingering { bytes_left: this.linger_bytes, deadline: Box::pin(sleep(this.linger_timeout)) }
                }
            };
        }
        if let Closing::Lingering { bytes_left, deadline } = &mut this.closing {
            ready!(poll_linger(&mut this.inner, bytes_left, deadline.as_mut(), cx));
            this.closing = Closing::Closed;
        }
        Poll::Ready(Ok(()))
    }
}

/// Reads and discards until the client ends, `bytes_left` is used up or the deadline passes.
fn poll_linger<IO: AsyncRead + Unpin>(
    io: &mut IO,
    bytes_left: &mut u64,
    deadline: Pin<&mut Sleep>,
    cx: &mut Context<'_>,
) -> Poll<()> {
    if deadline.poll(cx).is_ready() {
        return Poll::Ready(());
    }
    let mut scratch = [MaybeUninit::uninit(); 16 * 1024];
    while *bytes_left > 0 {
        let mut unread = ReadBuf::uninit(&mut scratch);
        match ready!(Pin::new(&mut *io).poll_read(cx, &mut unread)) {
            Ok(()) if !unread.filled().is_empty() => {
                *bytes_left = bytes_left.saturating_sub(unread.filled().len() as u64);
            }
            Ok(()) | Err(_) => break,
        }
    }
    Poll::Ready(())
}

//! Fewer and larger reads for TLS: a buffer between the socket and rustls, and one round after rustls.
//!
//! What rustls queues for sending is bounded here too, as large as the flow is.
//!
//! rustls asks the socket for 4 KiB first and hands out at most one record (16 KiB) at a time. Reading ahead
//! divides the system calls by four; collecting records saves another 5 % of the CPU of an upload (0.67 → 0.63
//! s/GiB). Clear-text connections need neither, because hyper reads up to 400 KiB itself.
//! Source: reads counted with strace: 16,400 instead of 66,000 for each GiB.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::BufMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::budget::Budget;
use super::growth::Growth;

/// First read of an idle connection: a request head, usually.
const SMALL: usize = 8 * 1024;
/// Read of a connection on which data flows: four records.
const LARGE: usize = 64 * 1024;
/// What rustls may hold for sending while data flows: fewer and larger writes, up to a quarter less CPU where much is sent.
const MOST_UNSENT: usize = 256 * 1024;

/// Reads more from the socket than it was asked for. Holds no memory while nothing arrives.
#[derive(Debug)]
pub struct ReadAhead<IO> {
    inner: IO,
    buffer: Vec<u8>,
    /// Bytes of `buffer` already handed out.
    taken: usize,
    growth: Growth,
    /// The last read brought little: a request head, or the end of a body.
    little: bool,
}

impl<IO> ReadAhead<IO> {
    /// Wraps a socket.
    pub fn new(inner: IO) -> Self {
        Self { inner, buffer: Vec::new(), taken: 0, growth: Growth::default(), little: true }
    }

    /// The socket.
    pub fn get_ref(&self) -> &IO {
        &self.inner
    }
}

impl<IO: AsyncRead + Unpin> ReadAhead<IO> {
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let now = Instant::now();
        self.growth.taken(|| now);
        let amount = if self.little { SMALL } else { self.growth.step(LARGE) };
        let mut buffer = Vec::with_capacity(amount);
        let bytes = ready!(pin!(self.inner.read_buf(&mut (&mut buffer).limit(amount))).poll(cx))?;
        self.growth.moved(bytes);
        self.growth.wait_for_taker(|| now);
        self.little = bytes < SMALL;
        self.buffer = buffer;
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for ReadAhead<IO> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.taken == this.buffer.len() {
            ready!(this.poll_fill(cx))?;
        }
        let waiting = &this.buffer[this.taken..];
        let now = waiting.len().min(buf.remaining());
        buf.put_slice(&waiting[..now]);
        this.taken += now;
        if this.taken == this.buffer.len() {
            // It may be long until somebody asks for more.
            (this.buffer, this.taken) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }
}

/// A TLS stream whose queue of unsent bytes can be bounded.
pub trait SendQueue {
    /// Bounds what is taken for sending before the socket takes it.
    fn set_most_unsent(&mut self, bytes: usize);
}

impl<IO> SendQueue for tokio_rustls::server::TlsStream<IO> {
    fn set_most_unsent(&mut self, bytes: usize) {
        self.get_mut().1.set_buffer_limit(Some(bytes));
    }
}

impl<IO> SendQueue for tokio_rustls::client::TlsStream<IO> {
    fn set_most_unsent(&mut self, bytes: usize) {
        self.get_mut().1.set_buffer_limit(Some(bytes));
    }
}

/// Fills the reader's buffer from several reads, as long as they give something at once. Queues for sending what the flow is worth.
#[derive(Debug)]
pub struct Collect<IO> {
    inner: IO,
    writes: Growth,
    budget: Option<Arc<Budget>>,
    /// The end, or an error, that came after bytes; the next read reports it.
    pending_end: Option<io::Result<()>>,
}

impl<IO> Collect<IO> {
    /// Wraps a TLS stream.
    pub fn new(inner: IO) -> Self {
        Self { inner, writes: Growth::default(), budget: None, pending_end: None }
    }

    /// Holds the queue to what the budget allows.
    pub fn set_budget(&mut self, budget: Arc<Budget>) {
        self.budget = Some(budget);
    }

    /// The TLS stream.
    pub fn get_ref(&self) -> &IO {
        &self.inner
    }
}

impl<IO: SendQueue> Collect<IO> {
    fn bound_queue(&mut self) {
        let allowed = self.budget.as_ref().map_or(MOST_UNSENT, |budget| budget.allowance().min(MOST_UNSENT));
        self.inner.set_most_unsent(self.writes.step(allowed));
    }

    fn note(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &written {
            Poll::Ready(Ok(bytes)) => {
                self.writes.taken(Instant::now);
                self.writes.moved(*bytes);
            }
            Poll::Pending => self.writes.wait_for_taker(Instant::now),
            Poll::Ready(Err(_)) => {}
        }
        written
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Collect<IO> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(end) = this.pending_end.take() {
            return Poll::Ready(end);
        }
        let start = buf.filled().len();
        while buf.remaining() > 0 {
            let before = buf.filled().len();
            let something_read = before > start;
            match Pin::new(&mut this.inner).poll_read(cx, buf) {
                Poll::Ready(Ok(())) if buf.filled().len() > before => {}
                Poll::Ready(end) if something_read => {
                    this.pending_end = Some(end);
                    break;
                }
                Poll::Pending if something_read => break,
                nothing_yet => return nothing_yet,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for ReadAhead<IO> {
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

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl<IO: AsyncWrite + SendQueue + Unpin> AsyncWrite for Collect<IO> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.bound_queue();
        let written = Pin::new(&mut this.inner).poll_write(cx, buf);
        this.note(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.bound_queue();
        let written = Pin::new(&mut this.inner).poll_write_vectored(cx, bufs);
        this.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// Gives one scripted piece per read; notes how much each read asked for.
    struct Script {
        pieces: VecDeque<io::Result<Vec<u8>>>,
        asked: Vec<usize>,
    }

    impl Script {
        fn new(pieces: Vec<io::Result<Vec<u8>>>) -> Self {
            Self { pieces: pieces.into(), asked: Vec::new() }
        }
    }

    impl AsyncRead for Script {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            self.asked.push(buf.remaining());
            match self.pieces.pop_front() {
                None => Poll::Pending,
                Some(Err(error)) => Poll::Ready(Err(error)),
                Some(Ok(piece)) => {
                    buf.put_slice(&piece);
                    Poll::Ready(Ok(()))
                }
            }
        }
    }

    /// One read of up to `room` bytes; `None` when it would wait.
    fn read_once<IO: AsyncRead + Unpin>(io: &mut IO, room: usize) -> Option<io::Result<Vec<u8>>> {
        let mut space = vec![0; room];
        let mut buf = ReadBuf::new(&mut space);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        match Pin::new(io).poll_read(&mut cx, &mut buf) {
            Poll::Pending => None,
            Poll::Ready(outcome) => Some(outcome.map(|()| buf.filled().to_vec())),
        }
    }

    fn reset() -> io::Error {
        io::ErrorKind::ConnectionReset.into()
    }

    #[test]
    fn reading_ahead_grows_with_the_flow_and_keeps_nothing_while_waiting() {
        let pieces: Vec<_> = (0..400).map(|_| Ok(vec![1; SMALL])).chain([Ok(vec![3; 10])]).collect();
        let mut io = ReadAhead::new(Script::new(pieces));
        let mut total = 0;
        while let Some(read) = read_once(&mut io, 5000) {
            total += read.unwrap().len();
        }
        assert_eq!(total, 400 * SMALL + 10);
        let asked = &io.inner.asked;
        assert!(asked[..400].is_sorted(), "{asked:?}");
        assert_eq!((asked[0], asked[64], asked[399], asked[401]), (SMALL, SMALL, LARGE, SMALL));
        assert_eq!(io.buffer.capacity(), 0);
    }

    #[test]
    fn collecting_stops_at_a_full_buffer_at_a_wait_and_at_the_end() {
        let mut io = Collect::new(Script::new(vec![Ok(vec![1; 4]), Ok(vec![2; 4]), Ok(vec![3; 4]), Ok(vec![])]));
        assert_eq!(read_once(&mut io, 8).unwrap().unwrap(), [1, 1, 1, 1, 2, 2, 2, 2]);
        assert_eq!(read_once(&mut io, 8).unwrap().unwrap(), [3; 4]);
        assert!(read_once(&mut io, 8).unwrap().unwrap().is_empty(), "the end, not forgotten");
        assert!(read_once(&mut io, 8).is_none());
    }

    #[test]
    fn an_error_after_bytes_is_reported_after_them() {
        let mut io = Collect::new(Script::new(vec![Ok(vec![1; 4]), Err(reset())]));
        assert_eq!(read_once(&mut io, 8).unwrap().unwrap(), [1; 4]);
        assert_eq!(read_once(&mut io, 8).unwrap().unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        let mut io = Collect::new(Script::new(vec![Err(reset())]));
        assert!(read_once(&mut io, 8).unwrap().is_err());
    }
}

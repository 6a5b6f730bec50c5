//! Decides how much one read of hyper gives, and so how large hyper makes its next buffer.
//!
//! hyper doubles its buffer when a read fills it, halves it after two reads of less than half, and keeps the last one
//! for as long as the connection lives; that one is charged to the budget.
//! Source: `ReadStrategy` in hyper 1.12, `src/proto/h1/io.rs`.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf, Take};

use super::budget::{Budget, Charge, LEAST};
use super::growth::Growth;

/// A stream of which hyper reads as much as flow and budget allow. Writing passes.
#[derive(Debug)]
pub struct MeteredReads<IO> {
    inner: Take<IO>,
    growth: Growth,
    /// For the buffer that hyper offered last.
    charge: Charge,
}

impl<IO: AsyncRead> MeteredReads<IO> {
    /// Wraps a stream.
    pub fn new(inner: IO, budget: Arc<Budget>) -> Self {
        Self { inner: inner.take(0), growth: Growth::default(), charge: Charge::new(budget) }
    }
}

/// Bytes to put into a buffer with so much room when steps are `step` bytes.
///
/// A buffer of the right size is left one byte short of full, because hyper would double it otherwise.
fn amount(room: usize, step: usize) -> usize {
    match room {
        room if room > step => step,
        room if room > step / 2 => (room - 1).max(1),
        room => room,
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for MeteredReads<IO> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // Asked at most once, and only if something was read or waits: most calls only learn that nothing is there.
        let mut asked = None;
        let mut now = || *asked.get_or_insert_with(Instant::now);
        this.growth.taken(&mut now);
        let room = buf.remaining();
        // What fits into the least buffer is everybody's own.
        this.charge.set(if room > LEAST { room } else { 0 });
        let amount = amount(room, this.growth.step(this.charge.budget().allowance()));
        this.inner.set_limit(amount as u64);
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
        this.growth.moved(buf.filled().len() - before);
        this.growth.wait_for_taker(&mut now);
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for MeteredReads<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(self.inner.get_mut()).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.inner.get_mut()).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.get_ref().is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.inner.get_mut()).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.inner.get_mut()).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Empty};
    use hyper::client::conn::http1;
    use hyper_util::rt::TokioIo;
    use tokio::io::AsyncReadExt;

    use super::*;
    use crate::flow::MOST;

    const MIB: usize = 1 << 20;

    #[test]
    fn a_buffer_is_filled_only_if_hyper_shall_double_it() {
        assert_eq!(amount(8 * 1024, 64 * 1024), 8 * 1024);
        assert_eq!(amount(32 * 1024, 64 * 1024), 32 * 1024);
        assert_eq!(amount(64 * 1024, 64 * 1024), 64 * 1024 - 1);
        assert_eq!(amount(512 * 1024, 64 * 1024), 64 * 1024);
        assert_eq!(amount(1, LEAST), 1);
    }

    /// The answer of a store, without end, counted by the reads it is taken with.
    struct Endless {
        head: &'static [u8],
        asked: bool,
        reads: Arc<std::sync::Mutex<Vec<usize>>>,
    }

    impl AsyncRead for Endless {
        fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            if !self.asked {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if !self.head.is_empty() {
                buf.put_slice(std::mem::take(&mut self.head));
                return Poll::Ready(Ok(()));
            }
            self.reads.lock().unwrap().push(buf.remaining());
            let room = buf.remaining();
            buf.put_slice(&vec![7; room]);
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Endless {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            self.asked = true;
            Poll::Ready(Ok(buf.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// The sizes of the reads with which hyper takes the first `length` bytes of a body.
    async fn reads_of(length: usize, budget: &Arc<Budget>) -> Vec<usize> {
        let reads = Arc::default();
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n";
        let stream = MeteredReads::new(Endless { head, asked: false, reads: Arc::clone(&reads) }, Arc::clone(budget));
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        let request = http::Request::get("/").body(Empty::<bytes::Bytes>::new()).unwrap();
        let mut body = sender.send_request(request).await.unwrap().into_body();
        let mut seen = 0;
        while seen < length {
            seen += body.frame().await.unwrap().unwrap().into_data().unwrap().len();
        }
        connection.abort();
        drop(body);
        reads.lock().unwrap().clone()
    }

    #[tokio::test]
    async fn a_lone_transfer_is_at_full_size_after_five_mebibytes() {
        let budget = Budget::new(16 * MIB);
        let reads = reads_of(32 * MIB, &budget).await;
        assert!(reads[..8].iter().all(|read| *read <= LEAST), "{reads:?}");
        let mut total = 0;
        let first_large = reads.iter().position(|read| {
            total += read;
            *read >= 256 * 1024 - 1
        });
        assert!(first_large.is_some_and(|index| index < 200), "{reads:?}");
        assert!(total <= 6 * MIB, "{total}");
        assert!(reads.last().is_some_and(|read| *read > 400 * 1024), "{reads:?}");
    }

    #[tokio::test]
    async fn without_a_budget_reads_stay_small() {
        let reads = reads_of(4 * MIB, &Budget::new(0)).await;
        assert!(reads.iter().all(|read| *read <= LEAST), "{reads:?}");
        assert!(reads.len() < 4 * MIB / (LEAST / 2), "and are not smaller than that");
    }

    #[tokio::test]
    async fn the_buffer_that_hyper_keeps_is_charged_until_the_connection_ends() {
        let budget = Budget::new(16 * MIB);
        let mut stream = MeteredReads::new(&[7; MIB][..], Arc::clone(&budget));
        let mut buffer = vec![0; 64 * 1024];
        assert_eq!(stream.read(&mut buffer).await.unwrap(), LEAST);
        assert_eq!(budget.held(), buffer.len());
        assert_eq!(stream.read(&mut buffer[..LEAST]).await.unwrap(), LEAST - 1);
        assert_eq!(budget.held(), 0, "the least is free");
        assert_eq!(stream.read(&mut buffer[..LEAST + 1]).await.unwrap(), LEAST);
        drop(stream);
        assert_eq!(budget.held(), 0);
        assert_eq!(budget.allowance(), MOST);
    }
}

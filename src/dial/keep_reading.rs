//! Lets an early answer of a server be read although the server no longer takes our body.
//!
//! A store that refuses an upload, or a scanner that has seen enough, answers and closes while we still write. The write then fails first,
//! and hyper gives up the connection with the unread answer in it (seen in 2 of 3 tries with hyper 1.12). Here a failed write only ends
//! writing: the reader gets the answer, or the end of the stream.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream whose writing can die without taking the reading with it.
#[derive(Debug)]
pub struct KeepReading<S> {
    inner: S,
    write_side_dead: bool,
}

impl<S> KeepReading<S> {
    /// Wraps a stream.
    pub fn new(inner: S) -> Self {
        Self { inner, write_side_dead: false }
    }

    fn after_write(&mut self, written: Poll<io::Result<usize>>, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Err(error)) if is_closed_by_peer(&error) => {
                self.write_side_dead = true;
                // The reader must look once more: the answer may be there already.
                context.waker().wake_by_ref();
                Poll::Pending
            }
            other => other,
        }
    }
}

fn is_closed_by_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
    matches!(error.kind(), BrokenPipe | ConnectionReset | ConnectionAborted)
}

impl<S: AsyncRead + Unpin> AsyncRead for KeepReading<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for KeepReading<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.write_side_dead {
            return Poll::Pending;
        }
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.after_write(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.write_side_dead {
            return Poll::Pending;
        }
        let written = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        self.after_write(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.inner).poll_flush(context) {
            Poll::Ready(Err(error)) if is_closed_by_peer(&error) => {
                self.write_side_dead = true;
                Poll::Ready(Ok(()))
            }
            other => other,
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.write_side_dead {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

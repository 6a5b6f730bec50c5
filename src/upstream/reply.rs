//! The answer of a store: head, streaming body, and the connection it comes on.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::response::Parts;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep};

use crate::sign::CredentialStore;
use crate::upstream::pool::{Connection, Pool};

/// An answer of a store.
#[derive(Debug)]
pub struct UpstreamReply {
    /// Status and headers.
    pub head: Parts,
    /// Its body.
    pub body: ReplyBody,
    /// Name of the upstream.
    pub upstream: Arc<str>,
    /// Where the credentials come from that the request was signed with.
    pub credentials: Arc<CredentialStore>,
    /// Time from sending to the head.
    pub first_byte: Duration,
}

/// Why the body of an answer ended early.
#[derive(Debug, thiserror::Error)]
pub enum ReplyError {
    /// The connection broke.
    #[error("the connection to the store broke in the middle of an answer")]
    Broken(#[source] hyper::Error),
    /// Nothing came for too long.
    #[error("the store sent nothing for {} s", .0.as_secs())]
    Idle(Duration),
}

/// The body of an answer. Read to its end, it gives its connection back to the pool; dropped before, it closes it.
#[derive(Debug)]
pub struct ReplyBody {
    incoming: Incoming,
    lease: Option<Lease>,
    idle_timeout: Duration,
    idle: Option<Pin<Box<Sleep>>>,
    waiting: bool,
}

/// A connection in use, its slot, and where it goes back to.
#[derive(Debug)]
pub struct Lease {
    connection: Connection,
    pool: Arc<Pool>,
    reusable: bool,
    _slot: OwnedSemaphorePermit,
}

impl Lease {
    /// Takes a connection and its slot; `reusable` is false if something of the request is still unsent.
    pub fn new(connection: Connection, pool: Arc<Pool>, slot: OwnedSemaphorePermit, reusable: bool) -> Self {
        Self { connection, pool, reusable, _slot: slot }
    }
}

impl ReplyBody {
    /// A body on a leased connection.
    pub fn new(incoming: Incoming, lease: Lease, idle_timeout: Duration) -> Self {
        let mut body = Self { incoming, lease: Some(lease), idle_timeout, idle: None, waiting: false };
        if body.incoming.is_end_stream() {
            body.give_back();
        }
        body
    }

    fn give_back(&mut self) {
        if let Some(lease) = self.lease.take().filter(|lease| lease.reusable) {
            lease.pool.put(lease.connection);
        }
    }

    /// The store's time runs from the moment it is waited for: not while the client takes its time, or a rate is kept.
    fn poll_idle(&mut self, context: &mut Context<'_>) -> Poll<ReplyError> {
        let timeout = self.idle_timeout;
        let idle = match &mut self.idle {
            Some(idle) if self.waiting => idle,
            Some(idle) => {
                idle.as_mut().reset(Instant::now() + timeout);
                idle
            }
            None => self.idle.insert(Box::pin(tokio::time::sleep(timeout))),
        };
        self.waiting = true;
        ready!(idle.as_mut().poll(context));
        Poll::Ready(ReplyError::Idle(timeout))
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = ReplyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ReplyError>>> {
        let this = &mut *self;
        let frame = match Pin::new(&mut this.incoming).poll_frame(context) {
            Poll::Ready(frame) => frame,
            Poll::Pending => return this.poll_idle(context).map(|error| Some(Err(error))),
        };
        this.waiting = false;
        match frame {
            // Trailers of a store mean nothing to S3 clients.
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    if this.incoming.is_end_stream() {
                        this.give_back();
                    }
                    Poll::Ready(Some(Ok(Frame::data(data))))
                }
                Err(_) => {
                    this.give_back();
                    Poll::Ready(None)
                }
            },
            Some(Err(error)) => {
                this.lease = None;
                Poll::Ready(Some(Err(ReplyError::Broken(error))))
            }
            None => {
                this.give_back();
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use http_body_util::{BodyExt, Empty};
    use hyper::client::conn::http1;
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_store_s_time_runs_only_while_it_is_waited_for() {
        let (ours, mut store) = tokio::io::duplex(10_000);
        let (mut sender, connection) = http1::handshake(TokioIo::new(ours)).await.unwrap();
        tokio::spawn(connection);
        let request = http::Request::get("/").header("host", "x").body(Empty::<Bytes>::new()).unwrap();
        let answered = async {
            store.read_exact(&mut [0; 10]).await.unwrap();
            store.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n").await.unwrap();
        };
        let (response, ()) = tokio::join!(sender.send_request(request), answered);
        let incoming = response.unwrap().into_body();
        let idle_timeout = Duration::from_millis(50);
        let mut body = ReplyBody { incoming, lease: None, idle_timeout, idle: None, waiting: false };
        for _ in 0..3 {
            assert!(body.frame().now_or_never().is_none(), "the store is waited for");
            store.write_all(b"piece").await.unwrap();
            assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "piece");
            // The client takes its time for the piece.
            tokio::time::sleep(2 * idle_timeout).await;
        }
        assert!(matches!(body.frame().await, Some(Err(ReplyError::Idle(_)))));
    }
}

//! The bytes of an object on their way to one inspector: one piece at a time, and a clear end.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_channel::mpsc;
use futures_util::StreamExt;
use futures_util::stream::Stream;

enum Piece {
    Bytes(Bytes),
    End,
}

/// The inspector's end.
pub struct Content {
    pieces: mpsc::Receiver<Piece>,
    ended: bool,
    awaited: Arc<AtomicBool>,
}

/// The end of the object did not come: the upload broke off, or another inspector refused it. Nobody waits for a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the object broke off")]
pub struct BrokenOff;

/// The end where pieces are put in.
#[derive(Debug)]
pub struct Feed {
    pieces: mpsc::Sender<Piece>,
    awaited: Arc<AtomicBool>,
}

/// A feed and the content that comes out of it. Between them is one piece at most.
pub fn channel() -> (Feed, Content) {
    let (sender, receiver) = mpsc::channel(0);
    let awaited = Arc::new(AtomicBool::new(false));
    (Feed { pieces: sender, awaited: Arc::clone(&awaited) }, Content { pieces: receiver, ended: false, awaited })
}

impl Content {
    /// The next piece, never empty; `None` behind the last byte.
    ///
    /// # Errors
    /// [`BrokenOff`] if the rest will not come.
    pub async fn next(&mut self) -> Result<Option<Bytes>, BrokenOff> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    /// As [`Content::next`].
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BrokenOff>> {
        if self.ended {
            return Poll::Ready(Ok(None));
        }
        let next = self.pieces.poll_next_unpin(context);
        self.awaited.store(next.is_pending(), Ordering::Relaxed);
        match ready!(next) {
            Some(Piece::Bytes(bytes)) => Poll::Ready(Ok(Some(bytes))),
            Some(Piece::End) => {
                self.ended = true;
                Poll::Ready(Ok(None))
            }
            None => Poll::Ready(Err(BrokenOff)),
        }
    }
}

impl Content {
    /// Whether the next piece was asked for and has not come. What fails then may have failed because it waited too long for us.
    pub fn is_awaited(&self) -> bool {
        self.awaited.load(Ordering::Relaxed)
    }
}

impl Feed {
    /// As [`Content::is_awaited`].
    pub fn is_awaited(&self) -> bool {
        self.awaited.load(Ordering::Relaxed)
    }

    /// Ready when a piece can be put in, or the inspector wants no more.
    pub fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.pieces.poll_ready(context).map(drop)
    }

    /// Puts a piece in; to be called when ready. An empty one is left out, and nothing happens if the inspector wants no more.
    pub fn push(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            drop(self.pieces.try_send(Piece::Bytes(bytes)));
        }
    }

    /// Says that the last byte was put in; to be called when ready. A feed that is dropped without it has broken off.
    pub fn end(&mut self) {
        drop(self.pieces.try_send(Piece::End));
    }

    /// Feeds a whole object: for tests, and for files.
    pub async fn all(mut self, pieces: impl IntoIterator<Item = Bytes>) {
        for bytes in pieces {
            std::future::poll_fn(|context| self.poll_ready(context)).await;
            self.push(bytes);
        }
        std::future::poll_fn(|context| self.poll_ready(context)).await;
        self.end();
    }
}

// So that a piece of `Content` can be used as a stream of an HTTP body.
impl Stream for Content {
    type Item = Result<Bytes, BrokenOff>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Content::poll_next(&mut self, context).map(Result::transpose)
    }
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Content")
    }
}

impl std::fmt::Debug for Piece {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Piece")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_put_in_comes_out_and_ends() {
        let (feed, mut content) = channel();
        let pieces = [Bytes::from_static(b"a"), Bytes::new(), Bytes::from_static(b"bc")];
        let read = async {
            let mut all = Vec::new();
            while let Some(bytes) = content.next().await.unwrap() {
                all.push(bytes);
            }
            assert_eq!(content.next().await, Ok(None));
            all
        };
        let ((), all) = tokio::join!(feed.all(pieces), read);
        assert_eq!(all, ["a", "bc"]);
    }

    #[tokio::test]
    async fn it_is_known_who_waits_for_whom() {
        let (mut feed, mut content) = channel();
        assert!(!feed.is_awaited(), "nobody has asked yet");
        assert_eq!(futures_util::FutureExt::now_or_never(content.next()), None);
        assert!(feed.is_awaited() && content.is_awaited());
        feed.push(Bytes::from_static(b"a"));
        assert_eq!(content.next().await, Ok(Some(Bytes::from_static(b"a"))));
        assert!(!feed.is_awaited() && !content.is_awaited());
    }

    #[tokio::test]
    async fn a_feed_without_its_end_has_broken_off() {
        let (mut feed, mut content) = channel();
        feed.push(Bytes::from_static(b"a"));
        drop(feed);
        assert_eq!(content.next().await, Ok(Some(Bytes::from_static(b"a"))));
        assert_eq!(content.next().await, Err(BrokenOff));
    }

    #[tokio::test]
    async fn there_is_one_piece_between_them() {
        let (mut feed, mut content) = channel();
        std::future::poll_fn(|context| feed.poll_ready(context)).await;
        feed.push(Bytes::from_static(b"a"));
        let waits = futures_util::FutureExt::now_or_never(std::future::poll_fn(|context| feed.poll_ready(context)));
        assert_eq!(waits, None);
        assert_eq!(content.next().await, Ok(Some(Bytes::from_static(b"a"))));
        std::future::poll_fn(|context| feed.poll_ready(context)).await;
    }
}

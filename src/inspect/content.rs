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
    signs: Arc<Signs>,
}

/// The end of the object did not come: the upload broke off, or another inspector refused it. Nobody waits for a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the object broke off")]
pub struct BrokenOff;

/// The end where pieces are put in.
#[derive(Debug)]
pub struct Feed {
    pieces: mpsc::Sender<Piece>,
    signs: Arc<Signs>,
}

/// What each end knows of the other, beside the pieces.
#[derive(Debug, Default)]
struct Signs {
    awaited: AtomicBool,
    given_up: AtomicBool,
}

/// Does something when it is dropped if the look was given up meanwhile, see [`Content::on_given_up`].
pub struct OnGivenUp<F: FnMut()> {
    signs: Arc<Signs>,
    then: F,
}

/// A feed and the content that comes out of it. Between them is one piece at most.
pub fn channel() -> (Feed, Content) {
    let (sender, receiver) = mpsc::channel(0);
    let signs = Arc::new(Signs::default());
    (Feed { pieces: sender, signs: Arc::clone(&signs) }, Content { pieces: receiver, ended: false, signs })
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
        self.signs.awaited.store(next.is_pending(), Ordering::Relaxed);
        match ready!(next) {
            Some(Piece::Bytes(bytes)) => Poll::Ready(Ok(Some(bytes))),
            Some(Piece::End) => {
                self.ended = true;
                Poll::Ready(Ok(None))
            }
            None => Poll::Ready(Err(BrokenOff)),
        }
    }

    /// Whether the next piece was asked for and has not come. What fails then may have failed because it waited too long for us.
    pub fn is_awaited(&self) -> bool {
        self.signs.awaited.load(Ordering::Relaxed)
    }

    /// Does this if the look is given up before the guard is dropped: the scanner that was asked stood still for too long. A client that
    /// goes away, or another inspector that refuses the object, ends a look as well, and says nothing of the scanner.
    pub fn on_given_up<F: FnMut()>(&self, then: F) -> OnGivenUp<F> {
        OnGivenUp { signs: Arc::clone(&self.signs), then }
    }
}

impl<F: FnMut()> Drop for OnGivenUp<F> {
    fn drop(&mut self) {
        if self.signs.given_up.load(Ordering::Relaxed) {
            (self.then)();
        }
    }
}

impl Feed {
    /// As [`Content::is_awaited`].
    pub fn is_awaited(&self) -> bool {
        self.signs.awaited.load(Ordering::Relaxed)
    }

    /// Says that the inspector is not waited for any longer; to be called before its look is dropped.
    pub fn give_up(&self) {
        self.signs.given_up.store(true, Ordering::Relaxed);
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

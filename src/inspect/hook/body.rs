//! The body of a request to a program: the metadata, or the object on its way.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::inspect::Content;

/// What is known of an object that is being sent.
#[derive(Debug, Default)]
pub(super) struct Progress {
    ended: AtomicBool,
    too_large: AtomicBool,
}

/// Why a body ends before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum BodyError {
    /// The object broke off.
    #[error("the object broke off")]
    BrokenOff,
    /// The object is larger than the inspector's limit.
    #[error("the object is too large")]
    TooLarge,
    /// The object is not as long as declared.
    #[error("the object has another length than declared")]
    OtherLength,
}

/// The body of one request.
#[derive(Debug)]
pub(super) enum HookBody {
    /// The metadata.
    Text(Option<Bytes>),
    /// The object.
    Object(ObjectBody),
}

/// An object that is sent while it comes.
///
/// Of an object of declared length the last byte is sent when its end is known. So nobody gets the whole of a request that breaks off,
/// and whoever has got the whole knows all there is.
#[derive(Debug)]
pub(super) struct ObjectBody {
    content: Content,
    length: Option<u64>,
    limit: Option<u64>,
    taken: u64,
    last: Option<Bytes>,
    progress: Arc<Progress>,
}

impl Progress {
    /// Notes that the object has ended.
    pub(super) fn set_ended(&self) {
        self.ended.store(true, Ordering::Release);
    }

    /// Whether the end of the object was seen, and all before it sent or about to be.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Whether the object turned out larger than the limit.
    pub(super) fn is_too_large(&self) -> bool {
        self.too_large.load(Ordering::Acquire)
    }
}

impl HookBody {
    /// An object of declared or unknown length, of at most `limit` bytes.
    pub(super) fn object(content: Content, length: Option<u64>, limit: Option<u64>, progress: Arc<Progress>) -> Self {
        Self::Object(ObjectBody { content, length, limit, taken: 0, last: None, progress })
    }
}

impl ObjectBody {
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        loop {
            if self.progress.has_ended() {
                return Poll::Ready(None);
            }
            let next = ready!(self.content.poll_next(context));
            let piece = match next {
                Err(_) => return Poll::Ready(Some(Err(BodyError::BrokenOff))),
                Ok(None) if self.length.is_some_and(|length| length != self.taken) => {
                    return Poll::Ready(Some(Err(BodyError::OtherLength)));
                }
                Ok(None) => {
                    self.progress.set_ended();
                    return Poll::Ready(self.last.take().map(Ok));
                }
                Ok(Some(piece)) => piece,
            };
            if let Some(piece) = self.take(piece).transpose() {
                return Poll::Ready(Some(piece));
            }
        }
    }

    /// Counts a piece, and keeps the last byte of a declared length back. `None` if there is nothing else in it.
    fn take(&mut self, mut piece: Bytes) -> Result<Option<Bytes>, BodyError> {
        self.taken += piece.len() as u64;
        if self.limit.is_some_and(|limit| self.taken > limit) {
            self.progress.too_large.store(true, Ordering::Release);
            return Err(BodyError::TooLarge);
        }
        match self.length {
            Some(length) if self.taken > length => return Err(BodyError::OtherLength),
            Some(length) if self.taken == length => self.last = Some(piece.split_off(piece.len() - 1)),
            _ => {}
        }
        Ok((!piece.is_empty()).then_some(piece))
    }
}

impl Body for HookBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Text(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Self::Object(object) => object.poll_piece(context).map(|piece| piece.map(|piece| piece.map(Frame::data))),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Text(text) => SizeHint::with_exact(text.as_ref().map_or(0, Bytes::len) as u64),
            Self::Object(object) => object.length.map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}

//! Where the bytes of an upload come from: the request of a client or, for a part that is copied through the inspectors, an answer of the
//! store.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame};
use hyper::body::Incoming;

use crate::body::{Fault, LingerLimits, linger};

/// Bytes that the store gives. It keeps its own time limits, and says in its own terms how it failed.
pub type StoreSource = Pin<Box<dyn Body<Data = Bytes, Error = Fault> + Send + Sync>>;

/// Where the bytes of an upload come from.
pub enum Source {
    /// The request of a client, whose patience is limited.
    Client(Incoming),
    /// An answer of the store.
    Store(StoreSource),
}

impl Source {
    /// The next frame; `None` behind the last.
    pub(super) fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        match self {
            Self::Client(body) => {
                Pin::new(body).poll_frame(context).map(|frame| frame.map(|frame| frame.map_err(|_| Fault::ClientGone)))
            }
            Self::Store(body) => body.as_mut().poll_frame(context),
        }
    }

    /// Whether it is a client that is waited for.
    pub(super) fn is_client(&self) -> bool {
        matches!(self, Self::Client(_))
    }

    /// Ends it early. A client may still be sending, so that it would not hear an answer; a store's connection is closed.
    pub(super) fn leave(self, limits: LingerLimits) {
        match self {
            Self::Client(body) => linger(body, limits),
            Self::Store(_) => {}
        }
    }
}

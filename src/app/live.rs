//! The generation in use, for the edge and for everybody else.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::generation::Generation;
use crate::arrival::{Arrival, UnreadableHead};
use crate::edge::Handler;
use crate::respond::{AnswerBody, Reply};

/// The generation in use, for whoever asks about it. Requests have theirs from the edge.
pub(super) struct Live {
    current: ArcSwap<Generation>,
}

impl Live {
    pub(super) fn new(first: Arc<Generation>) -> Self {
        Self { current: ArcSwap::new(first) }
    }

    /// Tells of another one. Gives the one before.
    pub(super) fn replace(&self, next: Arc<Generation>) -> Arc<Generation> {
        self.current.swap(next)
    }

    pub(super) fn current(&self) -> Arc<Generation> {
        self.current.load_full()
    }
}

/// A generation as the edge sees it. Requests keep the one they began with.
#[derive(Clone)]
pub(super) struct Serve(pub(super) Arc<Generation>);

impl Handler for Serve {
    type Body = AnswerBody;

    // Inlined, so that the future is written where it stays instead of being copied there.
    #[inline]
    fn handle(&self, arrival: Arrival) -> impl Future<Output = Reply> + Send {
        self.0.gateway.serve(arrival)
    }

    fn unreadable(&self, head: UnreadableHead) {
        self.0.gateway.auditor.record_unreadable(&head);
    }
}

//! The generation that new requests are served by.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::generation::Generation;
use crate::arrival::{Arrival, UnreadableHead};
use crate::edge::Handler;
use crate::respond::{AnswerBody, Reply};

/// The generation in use. Requests keep the one they began with.
pub(super) struct Live {
    current: ArcSwap<Generation>,
}

impl Live {
    pub(super) fn new(first: Generation) -> Self {
        Self { current: ArcSwap::from_pointee(first) }
    }

    /// Serves later requests with another one. Gives the one before.
    pub(super) fn replace(&self, next: Arc<Generation>) -> Arc<Generation> {
        self.current.swap(next)
    }

    pub(super) fn current(&self) -> Arc<Generation> {
        self.current.load_full()
    }
}

/// The gateway as the edge sees it.
#[derive(Clone)]
pub(super) struct Serve(pub(super) Arc<Live>);

impl Handler for Serve {
    type Body = AnswerBody;

    // Inlined, so that the future is written where it stays instead of being copied there.
    #[inline]
    fn handle(&self, arrival: Arrival) -> impl Future<Output = Reply> + Send {
        let generation = self.0.current();
        async move { generation.gateway.serve(arrival).await }
    }

    fn unreadable(&self, head: UnreadableHead) {
        self.0.current().gateway.auditor.record_unreadable(&head);
    }
}

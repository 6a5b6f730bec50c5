//! Counts of what happens at the edge, for whoever writes the metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Reads the counters of one [`super::Edge`]; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Monitor(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    open: AtomicU64,
    accepted: AtomicU64,
    handshakes_failed: AtomicU64,
    stalled: AtomicU64,
    unreadable: AtomicU64,
}

impl Monitor {
    /// Data connections that are open now.
    pub fn open_connections(&self) -> u64 {
        self.0.open.load(Ordering::Relaxed)
    }

    /// Data connections accepted since the start.
    pub fn accepted_connections(&self) -> u64 {
        self.0.accepted.load(Ordering::Relaxed)
    }

    /// TLS handshakes that failed or took too long.
    pub fn failed_handshakes(&self) -> u64 {
        self.0.handshakes_failed.load(Ordering::Relaxed)
    }

    /// Connections that were cut because the client did not take its bytes, or left HTTP/2 idle without leaving.
    pub fn stalled_connections(&self) -> u64 {
        self.0.stalled.load(Ordering::Relaxed)
    }

    /// HTTP/1.1 heads that hyper could not read or found too large: answered, if at all, without the handler.
    pub fn unreadable_heads(&self) -> u64 {
        self.0.unreadable.load(Ordering::Relaxed)
    }

    /// Counts a connection as open until the result is dropped.
    pub(super) fn opened(&self) -> OpenConnection {
        self.0.accepted.fetch_add(1, Ordering::Relaxed);
        self.0.open.fetch_add(1, Ordering::Relaxed);
        OpenConnection(self.clone())
    }

    pub(super) fn handshake_failed(&self) {
        self.0.handshakes_failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn stalled(&self) {
        self.0.stalled.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn unreadable_head(&self) {
        self.0.unreadable.fetch_add(1, Ordering::Relaxed);
    }
}

/// A connection that is counted as open.
#[derive(Debug)]
pub(super) struct OpenConnection(Monitor);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

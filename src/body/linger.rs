//! Reads on for a while after an upload was refused, so that the client gets to see the refusal.
//!
//! A client that still sends when we close gets a reset, and the reset can overtake the answer. Bounded in bytes and time.

use std::pin::Pin;
use std::time::Duration;

use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;

/// How much of a refused upload is still read.
#[derive(Debug, Clone, Copy)]
pub struct LingerLimits {
    /// Most bytes.
    pub bytes: u64,
    /// Most time.
    pub time: Duration,
}

/// Reads and throws away what the client still sends, in a task of its own.
pub fn linger(body: Incoming, limits: LingerLimits) {
    if body.is_end_stream() {
        return;
    }
    // Without a runtime the process is ending, and so is the connection.
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
    drop(runtime.spawn(async move {
        let drained = tokio::time::timeout(limits.time, drain(body, limits.bytes)).await;
        tracing::trace!(in_time = drained.is_ok(), "read the rest of a refused upload");
    }));
}

async fn drain(mut body: Incoming, limit: u64) {
    let mut seen = 0;
    while let Some(Ok(frame)) = Pin::new(&mut body).frame().await {
        seen += frame.data_ref().map_or(0, |data| data.len() as u64);
        if seen > limit {
            return;
        }
    }
}

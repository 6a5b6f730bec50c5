//! Why a store gave no usable answer.

use std::time::Duration;

use crate::body::Fault;
use crate::upstream::pool::OpenError;

/// Why a store gave no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// Every connection slot stayed taken for as long as a connect may take, or too many requests wait already.
    #[error("upstream `{upstream}`: all {limit} connections are busy, and {waiting} requests wait for one")]
    Busy {
        /// Name of the upstream.
        upstream: String,
        /// Most connections.
        limit: usize,
        /// Length of the queue.
        waiting: usize,
    },
    /// The store failed again and again, and is not asked for a while.
    #[error("upstream `{upstream}`: not asked for {} ms more, after failures in a row", .wait.as_millis())]
    Resting {
        /// Name of the upstream.
        upstream: String,
        /// Time until it is asked again.
        wait: Duration,
    },
    /// No connection.
    #[error("upstream `{upstream}`: cannot connect: {source}")]
    Connect {
        /// Name of the upstream.
        upstream: String,
        /// Why.
        source: OpenError,
    },
    /// The connection broke before an answer came.
    #[error("upstream `{upstream}`: the connection broke before an answer: {source}")]
    Broken {
        /// Name of the upstream.
        upstream: String,
        /// Why.
        source: hyper::Error,
    },
    /// No answer in time.
    #[error("upstream `{upstream}`: no answer within {seconds} s")]
    NoAnswer {
        /// Name of the upstream.
        upstream: String,
        /// The limit.
        seconds: u64,
    },
    /// The store stopped taking the body of an upload.
    #[error("upstream `{upstream}`: took no byte for {seconds} s")]
    Stalled {
        /// Name of the upstream.
        upstream: String,
        /// The limit.
        seconds: u64,
    },
    /// The upload itself was broken off; not the store's doing.
    #[error("upload broken off: {0}")]
    Upload(Fault),
}

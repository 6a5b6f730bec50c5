//! Why a store gave no usable answer.

use crate::body::Fault;
use crate::upstream::pool::OpenError;

/// Why a store gave no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// Every connection slot stayed taken for as long as a connect may take.
    #[error("upstream `{upstream}`: all {limit} connections are busy")]
    Busy {
        /// Name of the upstream.
        upstream: String,
        /// Most connections.
        limit: usize,
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

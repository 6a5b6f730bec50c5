//! One request as it came off the wire, before anybody has looked at it.
//!
//! Decides nothing. The target is kept exactly as the client sent it (hyper does not change path
//! and query bytes), because signatures cover those bytes and rules read what is decoded from them.

use std::net::SocketAddr;
use std::time::Instant;

use http::request::Parts;
use hyper::body::Incoming;

use crate::base::RequestId;

/// A request head, the body that belongs to it (not polled yet) and what is known of the connection.
#[derive(Debug)]
pub struct Arrival {
    /// Name of this request in the answer, the log and the audit record.
    pub request_id: RequestId,
    /// When the head was complete; start of every duration in the audit record.
    pub received: Instant,
    /// Where the connection comes from.
    pub connection: ConnectionFacts,
    /// What the edge has to say against the head.
    pub framing: Framing,
    /// Method, target, version and headers.
    pub head: Box<Parts>,
    /// The body. Polling it makes hyper answer `Expect: 100-continue`, so nobody does before the request is permitted.
    pub body: Incoming,
}

/// A head that HTTP could not read: there is no request, and it was answered, if at all, with a bare status.
#[derive(Debug)]
pub struct UnreadableHead {
    /// Name of it in the audit record only; the answer was not ours to write.
    pub request_id: RequestId,
    /// When reading it failed.
    pub received: Instant,
    /// Where the connection comes from.
    pub connection: ConnectionFacts,
    /// Whether it was too large; otherwise it was malformed.
    pub too_large: bool,
    /// What was wrong with it.
    pub reason: String,
}

/// What every request of one connection has in common.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionFacts {
    /// Address of the client's end of the connection.
    pub peer: SocketAddr,
    /// Whether the client speaks TLS to us.
    pub tls: bool,
}

/// Whether the head of a request was framed in a way that two parsers could read differently, or is larger than allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Framing {
    /// One reading only.
    #[default]
    Clear,
    /// Two readings; the text says which rule of RFC 9112 was broken.
    Ambiguous(&'static str),
    /// One reading, but more of it than the limits allow.
    Oversized(Oversize),
}

/// What of a head is larger than the limits allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Oversize {
    /// Path and query together.
    #[error("the request target is longer than this server accepts")]
    Target,
    /// The number of header fields. On HTTP/2 only: on HTTP/1.1 hyper counts, and answers by itself.
    #[error("the request has more header fields than this server accepts")]
    Fields,
}

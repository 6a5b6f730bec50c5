//! One request as it came off the wire, before anybody has looked at it.
//!
//! Decides nothing. The target is kept exactly as the client sent it (hyper does not change path
//! and query bytes), because signatures cover those bytes and rules read what is decoded from them.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use http::request::Parts;
use hyper::body::Incoming;

use crate::base::{RequestId, UtcInstant};

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
#[derive(Debug, Clone)]
pub struct ConnectionFacts {
    /// Address of the client: the other end of the connection, or whom a configured proxy speaks for. A loopback address for a Unix socket.
    pub peer: SocketAddr,
    /// How near the other end is, whoever it speaks for.
    pub reach: Reach,
    /// Whether the client speaks TLS to us.
    pub tls: bool,
    /// Who the connection itself says the client is; `None` if requests have to say it.
    pub vouched: Option<Arc<Vouched>>,
}

impl ConnectionFacts {
    /// A TCP connection that says nothing of who the client is.
    pub fn tcp(peer: SocketAddr, tls: bool) -> Self {
        let reach = if peer.ip().to_canonical().is_loopback() { Reach::Loopback } else { Reach::Network };
        Self { peer, reach, tls, vouched: None }
    }

    /// A connection to a Unix socket that says nothing of who the client is.
    pub fn unix(tls: bool) -> Self {
        Self { peer: (Ipv4Addr::LOCALHOST, 0).into(), reach: Reach::Unix, tls, vouched: None }
    }
}

/// How near the other end of a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// A Unix socket of this machine.
    Unix,
    /// A loopback address.
    Loopback,
    /// Another address.
    Network,
}

impl Reach {
    /// Whether nobody on a network can read or change what passes.
    pub fn is_local(self) -> bool {
        matches!(self, Self::Unix | Self::Loopback)
    }
}

/// Who the client is without a word in its requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Vouched {
    /// Whoever reaches the listener; the configured name of its identity.
    Listener(String),
    /// The holder of the key of this certificate, which an authority of the listener has signed.
    Certificate(ClientCertificate),
}

/// What a client certificate says, read once for each connection. Chain, times and revocation were checked in the handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Subject in the form of RFC 4514: `CN=etl,O=Example`.
    pub subject: String,
    /// DNS names of the subject alternative name, as they stand there.
    pub dns_names: Vec<String>,
    /// URIs of the subject alternative name, as they stand there.
    pub uris: Vec<String>,
    /// The certificate is good up to and including this instant.
    pub not_after: UtcInstant,
    /// Whether it may sign certificates or lists of revoked ones: never the certificate of a workload.
    pub may_sign: bool,
    /// Whether its key may make signatures; a certificate without key usages does not say.
    pub signs: bool,
}

/// Whether the head of a request was framed in a way that two parsers could read differently, or may not be served for another reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Framing {
    /// One reading only.
    #[default]
    Clear,
    /// Two readings; the text says which rule of RFC 9112 was broken.
    Ambiguous(&'static str),
    /// One reading, but more of it than the limits allow.
    Oversized(Oversize),
    /// One reading, but a configured proxy does not say for whom it speaks; the text says what is wrong with its header.
    Unplaced(&'static str),
    /// One reading, but the connection is served no more.
    Lapsed(Lapse),
}

/// Why a client that was let in once is let in no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Lapse {
    /// Its certificate is over its time.
    #[error("the client certificate has expired")]
    Expired,
    /// The TLS of the listener is another since, and the client would not get in: its certificate was revoked, its authority removed, or
    /// it has none and needs one now; or a list of revoked certificates is over its time.
    #[error("the TLS configuration of the listener no longer accepts this client")]
    Refused,
    /// The connection was begun by a proxy that is none any more, or without the PROXY header that is wanted now.
    #[error("the listener no longer accepts connections that begin as this one did")]
    Proxy,
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

//! Where the gateway listens and what a connection may cost.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::admin::Access;

/// Listeners and connection limits.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Data listeners; at least one.
    pub listeners: Vec<ListenerSettings>,
    /// Admin listener: health, metrics and the operator's page.
    pub admin: SocketAddr,
    /// TLS of the admin listener, or clear text. Certificates of clients are those of operators, and never required: probes have none.
    pub admin_tls: Option<TlsSettings>,
    /// Who may ask the admin listener.
    pub admin_access: Arc<Access>,
    /// What a connection may cost.
    pub limits: ConnectionLimits,
    /// How long connections are still let in after SIGTERM, while `/readyz` says 503 already.
    pub drain_delay: Duration,
    /// How long requests in flight may go on after the listeners were closed.
    pub drain_timeout: Duration,
}

/// One data listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerSettings {
    /// Where it listens.
    pub address: ListenAddress,
    /// TLS, or clear-text HTTP/1.1.
    pub tls: Option<TlsSettings>,
    /// Name of the identity that every request has which arrives here. On loopback addresses and Unix sockets only.
    pub identity: Option<String>,
    /// Proxies that begin each connection with a PROXY protocol header; nobody else may connect then. Empty: the protocol is not spoken.
    pub proxies: Vec<IpNet>,
    /// Proxies that say in a header for whom they speak.
    pub forwarded: Option<ForwardedSettings>,
}

impl ListenerSettings {
    /// A clear-text listener, or one with TLS, that believes nobody.
    pub fn new(address: ListenAddress, tls: Option<TlsSettings>) -> Self {
        Self { address, tls, identity: None, proxies: Vec::new(), forwarded: None }
    }

    /// Whether whoever reaches a listener at `other` reaches this one too. Both have an identity, so they are on loopback addresses, of which
    /// every program of a network namespace reaches all or none, or on Unix sockets.
    pub(super) fn is_open_to_all_of(&self, other: &ListenAddress) -> bool {
        let wants_certificate =
            self.tls.as_ref().and_then(|tls| tls.client.as_ref()).is_some_and(|client| client.require);
        if wants_certificate || !self.proxies.is_empty() {
            return false;
        }
        match (&self.address, other) {
            (ListenAddress::Tcp(_), ListenAddress::Tcp(_)) => true,
            // To connect is to write.
            (ListenAddress::Unix(own), ListenAddress::Unix(other)) => {
                own.path == other.path && other.mode & !own.mode & 0o222 == 0
            }
            // A sandbox may reach the one and not the other, either way.
            (ListenAddress::Tcp(_), ListenAddress::Unix(_)) | (ListenAddress::Unix(_), ListenAddress::Tcp(_)) => false,
        }
    }
}

/// Where a listener is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    /// IP address and port; port 0 takes a free one.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(UnixSettings),
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(socket) => write!(f, "unix:{}", socket.path.display()),
        }
    }
}

/// A Unix socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnixSettings {
    /// Absolute path, at most [`UnixSettings::MAX_PATH_BYTES`].
    pub path: PathBuf,
    /// Permissions: who may connect needs to write.
    pub mode: u32,
}

impl UnixSettings {
    /// Linux takes 107; the rest is for the name under which the socket is made.
    pub const MAX_PATH_BYTES: usize = 90;
}

/// Which proxies are believed when they say in a header for whom they speak.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardedSettings {
    /// Their networks; never empty.
    pub from: Vec<IpNet>,
    /// The header.
    pub header: ForwardedHeader,
}

/// A header in which proxies name the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`: addresses, the last added by the nearest proxy.
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// Certificate and key of a TLS listener, and what it wants of its clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSettings {
    /// PEM file with the certificate chain, leaf first.
    pub certificate: PathBuf,
    /// PEM file with the private key.
    pub key: PathBuf,
    /// Certificates of clients; `None` if they are not asked for one.
    pub client: Option<ClientTlsSettings>,
}

/// What certificates of clients must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientTlsSettings {
    /// PEM file with the authorities that sign them.
    pub ca: PathBuf,
    /// PEM files with lists of revoked ones. If there are any, every certificate must be under one, and none may be over its time.
    pub crls: Vec<PathBuf>,
    /// Whether a client without certificate is refused in the handshake.
    pub require: bool,
    /// Whether the certificate says who the caller is; otherwise it only opens the door.
    pub identity: bool,
}

/// Limits of one connection, and of all together. Reasons: `docs/DEFAULTS.md`.
#[derive(Debug, Clone)]
pub struct ConnectionLimits {
    /// Connections at a time; further ones wait in the backlog.
    pub max_connections: usize,
    /// Longest TLS handshake.
    pub handshake_timeout: Duration,
    /// Longest time for a complete request head, also while idle between requests.
    pub head_timeout: Duration,
    /// Largest request head in bytes.
    pub max_head_bytes: usize,
    /// Most header fields.
    pub max_headers: usize,
    /// Longest request target in bytes.
    pub max_target_bytes: usize,
    /// Longest time without one byte of a body from a client, or to it.
    pub body_idle_timeout: Duration,
    /// Lowest average rate in bytes per second of a body, from a client or to it, over `body_rate_window`.
    pub min_body_rate: u64,
    /// Time over which the lowest rate is measured.
    pub body_rate_window: Duration,
    /// Bytes of a refused upload that are still read, so that the client sees the refusal instead of a reset.
    pub linger_bytes: u64,
    /// Time for the same.
    pub linger_timeout: Duration,
    /// Bytes of bodies that all connections together may hold beyond their least.
    pub buffer_bytes: usize,
    /// HTTP/2: streams at a time on one connection.
    pub h2_max_streams: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a15_a_socket_is_open_to_all_of_another_at_its_place_that_is_open_to_no_more() {
        let socket = |path: &str, mode| {
            ListenerSettings::new(ListenAddress::Unix(UnixSettings { path: path.into(), mode }), None)
        };
        let is_open = |new: &ListenerSettings, old: &ListenerSettings| new.is_open_to_all_of(&old.address);
        assert!(is_open(&socket("/a", 0o660), &socket("/a", 0o600)));
        assert!(is_open(&socket("/a", 0o660), &socket("/a", 0o664)), "to read opens no socket");
        assert!(!is_open(&socket("/a", 0o600), &socket("/a", 0o660)), "a group could");
        assert!(!is_open(&socket("/b", 0o600), &socket("/a", 0o600)), "another folder");
        let loopback = ListenerSettings::new(ListenAddress::Tcp("127.0.0.1:80".parse().unwrap()), None);
        assert!(!is_open(&loopback, &socket("/a", 0o600)) && !is_open(&socket("/a", 0o666), &loopback));
    }
}

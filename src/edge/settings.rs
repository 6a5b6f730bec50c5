//! Where the gateway listens and what a connection may cost.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::admin::{Access, AdminTlsSettings};

/// Listeners and connection limits.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Data listeners; at least one.
    pub listeners: Vec<ListenerSettings>,
    /// Admin listener: health, metrics and the operator's page.
    pub admin: SocketAddr,
    /// TLS of the admin listener, or clear text.
    pub admin_tls: Option<AdminTlsSettings>,
    /// Who may ask the admin listener.
    pub admin_access: Arc<Access>,
    /// What a connection may cost.
    pub limits: ConnectionLimits,
    /// How long requests in flight may go on after SIGTERM.
    pub drain_timeout: Duration,
}

/// One data listener.
#[derive(Debug, Clone)]
pub struct ListenerSettings {
    /// Address to bind; port 0 takes a free one.
    pub address: SocketAddr,
    /// TLS, or clear-text HTTP/1.1.
    pub tls: Option<TlsSettings>,
}

/// Certificate and key of a TLS listener.
#[derive(Debug, Clone)]
pub struct TlsSettings {
    /// PEM file with the certificate chain, leaf first.
    pub certificate: PathBuf,
    /// PEM file with the private key.
    pub key: PathBuf,
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

//! One S3 store that the gateway forwards to.

use std::path::PathBuf;
use std::time::Duration;

use crate::breaker::BreakerSettings;
pub use crate::sign::credentials::CredentialSettings;

/// One upstream, as resolved from the configuration.
#[derive(Debug, Clone)]
pub struct UpstreamSettings {
    /// Name in buckets, logs and metrics.
    pub name: String,
    /// Whether TLS is spoken to it.
    pub tls: bool,
    /// Host name or address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Signing region.
    pub region: String,
    /// How a bucket is named in a request.
    pub addressing: Addressing,
    /// PEM file of certificate authorities, instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Where the credentials come from.
    pub credentials: CredentialSettings,
    /// How the signature covers an object's bytes.
    pub payload: PayloadMode,
    /// How a checksum of an object's bytes reaches the store.
    pub checksum: ChecksumMode,
    /// Most requests at a time; more wait for `connect_timeout`, then get `SlowDown`.
    pub max_connections: usize,
    /// Most requests that wait; more get `SlowDown` at once.
    pub max_waiting: usize,
    /// The part of `max_connections` and `unknown_length_uploads` that one principal may hold, in percent.
    pub principal_share: usize,
    /// Most uploads of unknown length at a time; none waits.
    pub unknown_length_uploads: usize,
    /// When to stop asking it for a while.
    pub breaker: BreakerSettings,
    /// Longest time for DNS, TCP and TLS together.
    pub connect_timeout: Duration,
    /// Longest time from the last request byte to the response head.
    pub first_byte_timeout: Duration,
    /// Longest time without any progress in a body, in either direction.
    pub idle_timeout: Duration,
    /// How long an unused connection is kept. Below the store's own limit, or a request meets a closing connection.
    pub pool_idle_timeout: Duration,
}

impl UpstreamSettings {
    /// Whether connections made for one can serve the other. What is only signed or counted elsewhere may differ.
    pub fn connects_like(&self, other: &Self) -> bool {
        let Self {
            name: _,
            tls: _,
            host: _,
            port: _,
            region: _,
            addressing: _,
            ca_file,
            credentials: _,
            payload: _,
            checksum: _,
            max_connections,
            max_waiting,
            principal_share: _,
            unknown_length_uploads,
            breaker,
            connect_timeout,
            first_byte_timeout,
            idle_timeout,
            pool_idle_timeout,
        } = self;
        self.is_store_of(other)
            && ca_file == &other.ca_file
            && (*max_connections, *max_waiting) == (other.max_connections, other.max_waiting)
            && (*unknown_length_uploads, *breaker) == (other.unknown_length_uploads, other.breaker)
            && (*connect_timeout, *first_byte_timeout) == (other.connect_timeout, other.first_byte_timeout)
            && (*idle_timeout, *pool_idle_timeout) == (other.idle_timeout, other.pool_idle_timeout)
    }

    /// Whether the other names the same store, by the same name.
    pub fn is_store_of(&self, other: &Self) -> bool {
        (&self.name, self.tls, &self.host, self.port) == (&other.name, other.tls, &other.host, other.port)
    }
}

/// How a bucket is named in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addressing {
    /// `https://host/bucket/key`.
    Path,
    /// `https://bucket.host/key`.
    VirtualHost,
}

/// How the signature covers an object's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayloadMode {
    /// `UNSIGNED-PAYLOAD`: TLS protects the bytes. The default over TLS.
    Unsigned,
    /// The client's own SHA-256 when it declared one, else signed `aws-chunked`. The default over plain HTTP.
    Signed,
}

/// How a checksum of an object's bytes reaches the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChecksumMode {
    /// The client's checksum as a header; if it sent none, CRC-64/NVME computed by the gateway as a trailer. Default over TLS.
    Trailer,
    /// Only what the client declared, as a header. For stores without trailers (Ceph before 19). Default over plain HTTP, where
    /// signed chunks already carry a SHA-256 of every byte.
    Header,
}

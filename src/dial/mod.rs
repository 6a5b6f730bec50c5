//! Opens outbound connections: name resolution, TCP and TLS, each within one deadline.
//!
//! Knows no pools, and of HTTP only the headers that all requests to servers of the operator's choice carry. TLS trusts the system's
//! authorities or one file of them; there is no way to switch certificate validation off, and proxies named in the environment are not used.

mod address;
pub mod datagram;
mod head;
mod keep_reading;
pub mod local;
mod stream;
mod tls;

pub use address::AddressClass;
pub use head::head_to;
pub use keep_reading::KeepReading;
pub use stream::Stream;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls_pki_types::{DnsName, ServerName};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use crate::flow::{Collect, ReadAhead};

/// Where to connect to and how.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Host name or address; an IPv6 address with or without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Whether TLS is spoken.
    pub tls: bool,
    /// PEM file of certificate authorities, instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Longest time for name resolution, TCP and TLS together.
    pub connect_timeout: Duration,
    /// Which addresses the host may have.
    pub addresses: AddressPolicy,
}

/// Which addresses a host may resolve to. Looked at for every connection, so that a later answer of the name server counts too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressPolicy {
    /// All.
    Any,
    /// None that is link-local (cloud metadata services), unspecified or multicast; none that is loopback, unless the host was
    /// written as a loopback address. Private networks are allowed.
    Guarded,
}

/// Opens connections to one host. Cheap to clone.
#[derive(Clone)]
pub struct Dialer {
    host: Host,
    port: u16,
    tls: Option<TlsTarget>,
    trust: Trust,
    connect_timeout: Duration,
    addresses: AddressPolicy,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    Name(Arc<str>),
    Address(IpAddr),
}

#[derive(Clone)]
struct TlsTarget {
    config: Arc<ClientConfig>,
    server_name: ServerName<'static>,
}

/// What TLS connections trust; the configuration is built on first need and then shared.
#[derive(Clone, Default)]
struct Trust {
    ca_file: Option<PathBuf>,
    config: Option<Arc<ClientConfig>>,
}

/// A step of opening a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Asking the name server.
    Resolve,
    /// TCP handshake.
    Connect,
    /// TLS handshake.
    Tls,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resolve => "name resolution",
            Self::Connect => "TCP connect",
            Self::Tls => "TLS handshake",
        })
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The host is neither a name nor an address.
    #[error("`{host}` is neither a host name nor an IP address")]
    BadHost {
        /// The host as configured.
        host: String,
    },
    /// The file of certificate authorities cannot be used.
    #[error("certificate authorities of {}: {problem}", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: rustls_pki_types::pem::Error,
    },
    /// No certificate authority to trust was found.
    #[error("no usable certificate authority was found")]
    NoAuthorities,
    /// The TLS library refused its configuration.
    #[error("TLS configuration: {0}")]
    TlsConfig(#[source] rustls::Error),
    /// The name server knows no address.
    #[error("cannot resolve {host}: {source}")]
    Resolve {
        /// The host.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// The host has only addresses that must not be connected to.
    #[error("{host} has the {class} address {address}, which is not allowed")]
    AddressRefused {
        /// The host.
        host: String,
        /// The last refused address.
        address: IpAddr,
        /// Why it is refused.
        class: AddressClass,
    },
    /// No address accepted a TCP connection; the last failure.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// The last address tried.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// The TLS handshake failed; most often the certificate is not trusted or for another name.
    #[error("TLS handshake with {host}: {source}")]
    Tls {
        /// The host.
        host: String,
        /// What the TLS library said.
        source: io::Error,
    },
    /// Time was over.
    #[error("{step} with {host} was not done after {} ms", after.as_millis())]
    Timeout {
        /// The host.
        host: String,
        /// The step that was under way.
        step: Step,
        /// The time allowed for the whole.
        after: Duration,
    },
}

impl Dialer {
    /// Prepares connections; reads the certificate authorities if TLS is asked for.
    ///
    /// # Errors
    /// [`DialError::BadHost`], [`DialError::CaFile`], [`DialError::NoAuthorities`] or [`DialError::TlsConfig`].
    pub fn new(settings: Settings) -> Result<Self, DialError> {
        let Settings { host, port, tls, ca_file, connect_timeout, addresses } = settings;
        Self::build(&host, port, tls, Trust { ca_file, config: None }, connect_timeout, addresses)
    }

    /// A dialer to another host with the same trust, time limit and address policy. Does not read the authorities again.
    ///
    /// # Errors
    /// As [`Dialer::new`].
    pub fn retarget(&self, host: &str, port: u16, tls: bool) -> Result<Self, DialError> {
        Self::build(host, port, tls, self.trust.clone(), self.connect_timeout, self.addresses)
    }

    fn build(
        host: &str,
        port: u16,
        tls: bool,
        mut trust: Trust,
        connect_timeout: Duration,
        addresses: AddressPolicy,
    ) -> Result<Self, DialError> {
        let host = Host::parse(host)?;
        let tls =
            if tls { Some(TlsTarget { config: trust.config()?, server_name: host.server_name()? }) } else { None };
        Ok(Self { host, port, tls, trust, connect_timeout, addresses })
    }

    /// Opens a connection: every address of the host in turn until one answers, then TLS if asked for.
    ///
    /// # Errors
    /// One of the connecting variants of [`DialError`]. After a failed TLS handshake no other address is tried.
    pub async fn connect(&self) -> Result<Stream, DialError> {
        let deadline = Instant::now() + self.connect_timeout;
        let addresses = timeout_at(deadline, self.resolve()).await.map_err(|_| self.late(Step::Resolve))??;
        let socket = self.connect_any(&addresses, deadline).await?;
        let Some(TlsTarget { config, server_name }) = &self.tls else {
            return Ok(Stream::Plain(socket));
        };
        let handshake = TlsConnector::from(Arc::clone(config)).connect(server_name.clone(), ReadAhead::new(socket));
        let stream = timeout_at(deadline, handshake)
            .await
            .map_err(|_| self.late(Step::Tls))?
            .map_err(|source| DialError::Tls { host: self.host.to_string(), source })?;
        Ok(Stream::Tls(Box::new(Collect::new(stream))))
    }

    /// The addresses that may be connected to; at least one.
    async fn resolve(&self) -> Result<Vec<SocketAddr>, DialError> {
        let found: Vec<SocketAddr> = match &self.host {
            Host::Address(address) => vec![SocketAddr::new(*address, self.port)],
            Host::Name(name) => lookup_host((name.as_ref(), self.port))
                .await
                .map_err(|source| DialError::Resolve { host: name.to_string(), source })?
                .collect(),
        };
        let mut allowed = Vec::with_capacity(found.len());
        let mut refused = None;
        for address in found {
            match self.refusal_of(address.ip()) {
                None => allowed.push(address),
                Some(class) => refused = Some((address.ip(), class)),
            }
        }
        let host = || self.host.to_string();
        match (allowed.is_empty(), refused) {
            (false, _) => Ok(allowed),
            (true, Some((address, class))) => Err(DialError::AddressRefused { host: host(), address, class }),
            (true, None) => Err(DialError::Resolve { host: host(), source: io::Error::from(io::ErrorKind::NotFound) }),
        }
    }

    /// Why the policy refuses an address; `None` if it does not.
    fn refusal_of(&self, address: IpAddr) -> Option<AddressClass> {
        if self.addresses == AddressPolicy::Any {
            return None;
        }
        let class = address::class_of(address)?;
        let asked_for = class == AddressClass::Loopback && self.host == Host::Address(address);
        (!asked_for).then_some(class)
    }

    async fn connect_any(&self, addresses: &[SocketAddr], deadline: Instant) -> Result<TcpStream, DialError> {
        let mut last = self.late(Step::Connect);
        for (index, address) in addresses.iter().enumerate() {
            // An address that swallows packets may use only its share of the time, or the others are never tried.
            let left = deadline.saturating_duration_since(Instant::now());
            let waiting = u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
            let attempt = timeout_at(Instant::now() + left / waiting, TcpStream::connect(address)).await;
            last = match attempt {
                Ok(Ok(socket)) => match socket.set_nodelay(true) {
                    Ok(()) => return Ok(socket),
                    Err(source) => DialError::Connect { address: *address, source },
                },
                Ok(Err(source)) => DialError::Connect { address: *address, source },
                Err(_) => self.late(Step::Connect),
            };
        }
        Err(last)
    }

    fn late(&self, step: Step) -> DialError {
        DialError::Timeout { host: self.host.to_string(), step, after: self.connect_timeout }
    }
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dialer({}:{}, tls: {})", self.host, self.port, self.tls.is_some())
    }
}

impl Host {
    fn parse(text: &str) -> Result<Self, DialError> {
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Ok(Self::Address(address));
        }
        // The resolver also reads `127.1`, `0x7f000001` and `2130706433` as addresses; as host names they are refused.
        let last_label = text.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
        let numeric = last_label.starts_with(|c: char| c.is_ascii_digit())
            && (last_label.chars().all(|c| c.is_ascii_digit())
                || last_label.starts_with("0x")
                || last_label.starts_with("0X"));
        if numeric || DnsName::try_from(text).is_err() {
            return Err(DialError::BadHost { host: text.to_owned() });
        }
        Ok(Self::Name(text.into()))
    }

    fn server_name(&self) -> Result<ServerName<'static>, DialError> {
        match self {
            Self::Address(address) => Ok(ServerName::IpAddress((*address).into())),
            Self::Name(name) => {
                ServerName::try_from(name.to_string()).map_err(|_| DialError::BadHost { host: name.to_string() })
            }
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(address) => write!(f, "{address}"),
        }
    }
}

impl Trust {
    fn config(&mut self) -> Result<Arc<ClientConfig>, DialError> {
        let config = match &self.config {
            Some(config) => Arc::clone(config),
            None => Arc::new(tls::client_config(self.ca_file.as_deref())?),
        };
        self.config = Some(Arc::clone(&config));
        Ok(config)
    }
}

#[cfg(test)]
mod tests;

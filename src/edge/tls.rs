//! TLS of the data listeners: versions, certificates, resumption and the choice of the HTTP version.
//!
//! The crypto provider is named explicitly, so that no other crate's default can change it. TLS 1.2 and 1.3,
//! server-side session tickets, no early data (0-RTT can be replayed, and uploads must not be).
//! Source: `docs/THREATS.md` K23.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::settings::TlsSettings;

/// What rustls may hold for sending: fewer and larger writes, up to a quarter less CPU where much is sent.
const SEND_BUFFER_BYTES: usize = 256 * 1024;

/// Why a listener has no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file could not be read, or is no PEM.
    #[error("cannot read {path}: {source}", path = .path.display())]
    Unreadable {
        /// Certificate or key file.
        path: PathBuf,
        /// What the operating system or the PEM parser says.
        source: pem::Error,
    },
    /// The file is PEM, but has no certificate.
    #[error("{path} has no certificate", path = .0.display())]
    NoCertificate(PathBuf),
    /// The file is PEM, but has no private key.
    #[error("{path} has no private key", path = .0.display())]
    NoKey(PathBuf),
    /// Certificate and key do not belong together, or are of a kind that is not supported.
    #[error("certificate {certificate} with key {key}: {source}", certificate = .certificate.display(), key = .key.display())]
    Unusable {
        /// Certificate file.
        certificate: PathBuf,
        /// Key file.
        key: PathBuf,
        /// What rustls says.
        source: rustls::Error,
    },
    /// A certificate of an authority cannot be used to verify clients.
    #[error("{path}: {source}", path = .path.display())]
    Authorities {
        /// File of the authorities.
        path: PathBuf,
        /// What rustls says.
        source: rustls::Error,
    },
    /// The crypto library has no random numbers, or not the cipher suites of the TLS versions.
    #[error("TLS cannot be set up: {0}")]
    Provider(rustls::Error),
}

/// Which HTTP the client chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// Chosen by ALPN, or no ALPN at all.
    Http1,
    /// Chosen by ALPN.
    Http2,
}

/// The TLS side of one listener; its certificate can be replaced while it serves.
#[derive(Debug)]
pub(super) struct Tls {
    settings: ArcSwap<TlsSettings>,
    config: ArcSwap<ServerConfig>,
}

impl Tls {
    /// Reads certificate and key.
    pub(super) fn load(settings: &TlsSettings) -> Result<Self, TlsError> {
        let config = ArcSwap::from_pointee(server_config(settings)?);
        Ok(Self { settings: ArcSwap::from_pointee(settings.clone()), config })
    }

    /// Reads the files again; the configuration takes effect with [`Tls::replace`].
    pub(super) fn read_again(&self) -> Result<ServerConfig, TlsError> {
        server_config(&self.settings.load())
    }

    /// Reads the files of other settings; they take effect with [`Tls::change`].
    pub(super) fn prepare(settings: &TlsSettings) -> Result<ServerConfig, TlsError> {
        server_config(settings)
    }

    /// As [`Tls::replace`], with the settings that the configuration was made of.
    pub(super) fn change(&self, settings: TlsSettings, config: ServerConfig) {
        self.settings.store(Arc::new(settings));
        self.replace(config);
    }

    /// Serves later connections with this configuration. The ticket keys change too, so nothing is resumed across it.
    pub(super) fn replace(&self, config: ServerConfig) {
        self.config.store(Arc::new(config));
    }

    /// Does the handshake, without a time limit of its own.
    pub(super) async fn accept<IO>(&self, stream: IO) -> io::Result<(TlsStream<IO>, Protocol)>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let acceptor = TlsAcceptor::from(self.config.load_full());
        let stream = acceptor.accept_with(stream, |tls| tls.set_buffer_limit(Some(SEND_BUFFER_BYTES))).await?;
        let protocol = match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => Protocol::Http2,
            _ => Protocol::Http1,
        };
        Ok((stream, protocol))
    }
}

fn server_config(settings: &TlsSettings) -> Result<ServerConfig, TlsError> {
    let chain = read_chain(&settings.certificate)?;
    let key = read_key(&settings.key)?;
    let unusable =
        |source| TlsError::Unusable { certificate: settings.certificate.clone(), key: settings.key.clone(), source };
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(TlsError::Provider)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(unusable)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = aws_lc_rs::Ticketer::new().map_err(TlsError::Provider)?;
    config.max_early_data_size = 0;
    Ok(config)
}

pub(super) fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unreadable = |source| TlsError::Unreadable { path: path.to_owned(), source };
    let chain: Vec<_> =
        CertificateDer::pem_file_iter(path).map_err(unreadable)?.collect::<Result<_, _>>().map_err(unreadable)?;
    match chain.is_empty() {
        true => Err(TlsError::NoCertificate(path.to_owned())),
        false => Ok(chain),
    }
}

pub(super) fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|source| match source {
        pem::Error::NoItemsFound => TlsError::NoKey(path.to_owned()),
        source => TlsError::Unreadable { path: path.to_owned(), source },
    })
}

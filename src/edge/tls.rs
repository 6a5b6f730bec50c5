//! TLS of the data listeners: versions, certificates, resumption and the choice of the HTTP version.
//!
//! The crypto provider is named explicitly, so that no other crate's default can change it. TLS 1.2 and 1.3,
//! server-side session tickets, no early data (0-RTT can be replayed, and uploads must not be).
//! Where clients have certificates, they are checked against the authorities and the lists of revoked ones of the listener. All this is
//! one configuration of rustls, and a reload replaces it as a whole: sessions of before are not resumed, or a revoked certificate would
//! live on in them. Source: `docs/THREATS.md` K23.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::aws_lc_rs;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::certificate;
use super::settings::{ClientTlsSettings, TlsSettings};
use crate::arrival::ClientCertificate;
use crate::base::{Clock, SystemClock, UtcInstant};

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
    /// The file is PEM, but has no list of revoked certificates.
    #[error("{path} has no certificate revocation list", path = .0.display())]
    NoCrl(PathBuf),
    /// Authorities or lists of revoked certificates cannot be used for clients.
    #[error("client certificates by {ca}: {source}", ca = .ca.display())]
    Clients {
        /// File with the authorities.
        ca: PathBuf,
        /// What rustls says.
        source: VerifierBuilderError,
    },
    /// An authority for clients is none that rustls can use.
    #[error("{path} has an authority that cannot be used: {source}", path = .path.display())]
    Authority {
        /// The file.
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
pub(super) struct Tls(ArcSwap<Serving>);

/// What later connections are served with. Together, so that no certificate is taken for an identity under authorities of another time.
#[derive(Debug)]
struct Serving {
    settings: TlsSettings,
    config: Arc<ServerConfig>,
    expiry: Option<UtcInstant>,
}

impl Serving {
    fn new(settings: TlsSettings, Ready { config, expiry }: Ready) -> Self {
        Self { settings, config: Arc::new(config), expiry }
    }
}

/// What was read of the files of a listener.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) config: ServerConfig,
    /// When the listener's own certificate ends.
    pub(super) expiry: Option<UtcInstant>,
}

impl Tls {
    /// Reads certificate and key.
    pub(super) fn load(settings: &TlsSettings) -> Result<Self, TlsError> {
        Ok(Self(ArcSwap::from_pointee(Serving::new(settings.clone(), server_config(settings)?))))
    }

    /// When the certificate ends that later connections are shown; `None` if it cannot be read.
    pub(super) fn expiry(&self) -> Option<UtcInstant> {
        self.0.load().expiry
    }

    /// Reads the files again; the configuration takes effect with [`Tls::replace`].
    pub(super) fn read_again(&self) -> Result<Ready, TlsError> {
        server_config(&self.0.load().settings)
    }

    /// Reads the files of other settings; they take effect with [`Tls::change`].
    pub(super) fn prepare(settings: &TlsSettings) -> Result<Ready, TlsError> {
        server_config(settings)
    }

    /// Serves later connections with this configuration. The ticket keys change too, so nothing is resumed across it.
    pub(super) fn replace(&self, ready: Ready) {
        let settings = self.0.load().settings.clone();
        self.change(settings, ready);
    }

    /// As [`Tls::replace`], with the settings that the configuration was made of.
    pub(super) fn change(&self, settings: TlsSettings, ready: Ready) {
        self.0.store(Arc::new(Serving::new(settings, ready)));
    }

    /// Does the handshake, without a time limit of its own. The certificate is there if it says who the caller is.
    ///
    /// # Errors
    /// Those of the handshake, and a certificate that cannot be read or is over its time: in a resumed session nobody has checked it again.
    pub(super) async fn accept<IO>(
        &self,
        stream: IO,
    ) -> io::Result<(TlsStream<IO>, Protocol, Option<ClientCertificate>)>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let serving = self.0.load_full();
        let acceptor = TlsAcceptor::from(Arc::clone(&serving.config));
        let stream = acceptor.accept_with(stream, |tls| tls.set_buffer_limit(Some(SEND_BUFFER_BYTES))).await?;
        let protocol = match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => Protocol::Http2,
            _ => Protocol::Http1,
        };
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let certificate = shown.map(|shown| {
            let read = certificate::read(shown).ok_or("the client certificate cannot be read")?;
            if SystemClock.now() > read.not_after { Err("the client certificate has expired") } else { Ok(read) }
        });
        let certificate = certificate.transpose().map_err(io::Error::other)?;
        let identifies = serving.settings.client.as_ref().is_some_and(|client| client.identity);
        Ok((stream, protocol, certificate.filter(|_| identifies)))
    }
}

fn server_config(settings: &TlsSettings) -> Result<Ready, TlsError> {
    let chain = read_chain(&settings.certificate)?;
    let expiry = chain.first().and_then(certificate::expiry);
    let key = read_key(&settings.key)?;
    let unusable =
        |source| TlsError::Unusable { certificate: settings.certificate.clone(), key: settings.key.clone(), source };
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(TlsError::Provider)?
        .with_client_cert_verifier(client_verifier(settings.client.as_ref())?)
        .with_single_cert(chain, key)
        .map_err(unusable)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = aws_lc_rs::Ticketer::new().map_err(TlsError::Provider)?;
    config.max_early_data_size = 0;
    Ok(Ready { config, expiry })
}

/// Asks clients for certificates, if the listener wants them.
///
/// With lists of revoked certificates the whole chain is looked up in them. A certificate under none of them is refused, and so is
/// everything under a list that is over its time: a list that nobody renews says nothing of what was revoked since.
fn client_verifier(settings: Option<&ClientTlsSettings>) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let Some(settings) = settings else { return Ok(WebPkiClientVerifier::no_client_auth()) };
    let mut roots = RootCertStore::empty();
    for authority in read_chain(&settings.ca)? {
        roots.add(authority).map_err(|source| TlsError::Authority { path: settings.ca.clone(), source })?;
    }
    let mut lists = Vec::new();
    for path in &settings.crls {
        lists.extend(read_crls(path)?);
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).with_crls(lists);
    builder = builder.enforce_revocation_expiration();
    if !settings.require {
        builder = builder.allow_unauthenticated();
    }
    builder.build().map_err(|source| TlsError::Clients { ca: settings.ca.clone(), source })
}

fn read_crls(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let unreadable = |source| TlsError::Unreadable { path: path.to_owned(), source };
    let lists = CertificateRevocationListDer::pem_file_iter(path).map_err(unreadable)?;
    let lists: Vec<_> = lists.collect::<Result<_, _>>().map_err(unreadable)?;
    if lists.is_empty() { Err(TlsError::NoCrl(path.to_owned())) } else { Ok(lists) }
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

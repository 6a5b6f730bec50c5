//! TLS of the listeners: versions, certificates, resumption and the choice of the HTTP version.
//!
//! The crypto provider is named explicitly, so that no other crate's default can change it. TLS 1.2 and 1.3,
//! server-side session tickets, no early data (0-RTT can be replayed, and uploads must not be).
//! Where clients have certificates, they are checked against the authorities and the lists of revoked ones of the listener. All this is
//! one value, and a reload puts another in its place: sessions of before are not resumed, or a revoked certificate would
//! live on in them, and connections of before are checked again (`peer`). Where there are lists no session is resumed at all: nobody looks
//! into a list then, and a list ends by time as well. Source: `docs/THREATS.md` K23.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::certificate;
use super::peer::Peer;
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

/// What a listener is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// HTTP/2 or HTTP/1.1; sessions are resumed unless there are lists of revoked certificates.
    Data,
    /// HTTP/1.1, and every connection is verified by the authorities of now.
    Admin,
}

/// The TLS side of one listener, as its files were when they were read. A reload puts the next one in its place.
#[derive(Debug)]
pub(super) struct Tls {
    purpose: Purpose,
    settings: TlsSettings,
    loaded: Loaded,
    /// How many were before it at this listener.
    generation: u64,
}

/// What is read from the files.
#[derive(Debug)]
struct Loaded {
    config: Arc<ServerConfig>,
    /// When the listener's own certificate ends.
    expiry: Option<UtcInstant>,
    clients: Option<Clients>,
}

/// What checks certificates of clients, if they are asked for.
#[derive(Debug)]
struct Clients {
    verifier: Arc<dyn ClientCertVerifier>,
    /// When the first of its lists of revoked certificates is over its time, in seconds since 1970; the greatest number without lists.
    lists_end: i64,
}

/// A connection behind its handshake.
pub(super) struct Secured<IO> {
    pub(super) stream: TlsStream<IO>,
    pub(super) protocol: Protocol,
    /// There if it says who the caller is.
    pub(super) certificate: Option<ClientCertificate>,
    pub(super) peer: Peer,
}

impl Tls {
    /// Reads certificate and key.
    pub(super) fn load(settings: &TlsSettings, purpose: Purpose) -> Result<Self, TlsError> {
        Ok(Self { purpose, settings: settings.clone(), loaded: Loaded::read(settings, purpose)?, generation: 0 })
    }

    /// The one that follows it, with the files of these settings as they are now. Its ticket keys are others, so no session is resumed across.
    pub(super) fn next(&self, settings: &TlsSettings) -> Result<Self, TlsError> {
        Ok(Self { generation: self.generation + 1, ..Self::load(settings, self.purpose)? })
    }

    /// The same with its own settings.
    pub(super) fn renewed(&self) -> Result<Self, TlsError> {
        self.next(&self.settings)
    }

    /// When the certificate ends that connections are shown; `None` if it cannot be read.
    pub(super) fn expiry(&self) -> Option<UtcInstant> {
        self.loaded.expiry
    }

    /// Another number than that of any before it at this listener.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether one of its lists of revoked certificates is over its time at this second since 1970.
    pub(super) fn has_old_lists(&self, second: i64) -> bool {
        self.loaded.clients.as_ref().is_some_and(|clients| clients.lists_end < i64::MAX && second >= clients.lists_end)
    }

    /// Does the handshake, without a time limit of its own.
    ///
    /// # Errors
    /// Those of the handshake, and a certificate that cannot be read or is over its time: in a resumed session nobody has checked it again.
    pub(super) async fn accept<IO>(&self, stream: IO) -> io::Result<Secured<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.loaded.config));
        let stream = acceptor.accept_with(stream, |tls| tls.set_buffer_limit(Some(SEND_BUFFER_BYTES))).await?;
        let protocol = match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => Protocol::Http2,
            _ => Protocol::Http1,
        };
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let certificate = chain.first().map(|shown| {
            let read = certificate::read(shown).ok_or("the client certificate cannot be read")?;
            if SystemClock.now() > read.not_after { Err("the client certificate has expired") } else { Ok(read) }
        });
        let certificate = certificate.transpose().map_err(io::Error::other)?;
        let identifies = self.identifies();
        let peer = Peer {
            chain: chain.to_vec(),
            not_after: certificate.as_ref().map(|certificate| certificate.not_after),
            identifies,
            generation: AtomicU64::new(self.generation),
            checked: AtomicI64::new(i64::MIN),
        };
        Ok(Secured { stream, protocol, certificate: certificate.filter(|_| identifies), peer })
    }

    /// Checks again a client that an earlier one has let in, as of a second since 1970.
    ///
    /// # Errors
    /// Why this one would refuse it, or take it for somebody else.
    pub(super) fn would_let_in(&self, peer: &Peer, second: i64) -> Result<(), rustls::Error> {
        let clients = self.loaded.clients.as_ref();
        let Some((own, between)) = peer.chain.split_first() else {
            let needed = clients.is_some_and(|clients| clients.verifier.client_auth_mandatory());
            return if needed { Err(rustls::Error::NoCertificatesPresented) } else { Ok(()) };
        };
        if self.identifies() != peer.identifies {
            return Err(rustls::Error::General("whether certificates name the caller was changed".to_owned()));
        }
        // Without authorities the door is open, and the certificate is none that anybody asks for.
        if let Some(clients) = clients {
            let now = u64::try_from(second).unwrap_or_default();
            let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
            clients.verifier.verify_client_cert(own, between, now)?;
        }
        Ok(())
    }

    fn identifies(&self) -> bool {
        self.settings.client.as_ref().is_some_and(|client| client.identity)
    }
}

impl Loaded {
    fn read(settings: &TlsSettings, purpose: Purpose) -> Result<Self, TlsError> {
        let clients = settings.client.as_ref().map(client_verifier).transpose()?;
        let verifier = clients.as_ref().map(|clients| Arc::clone(&clients.verifier));
        let chain = read_chain(&settings.certificate)?;
        let expiry = chain.first().and_then(certificate::expiry);
        let config = Arc::new(server_config(settings, chain, verifier, purpose)?);
        Ok(Self { config, expiry, clients })
    }
}

fn server_config(
    settings: &TlsSettings,
    chain: Vec<CertificateDer<'static>>,
    clients: Option<Arc<dyn ClientCertVerifier>>,
    purpose: Purpose,
) -> Result<ServerConfig, TlsError> {
    let key = read_key(&settings.key)?;
    let unusable =
        |source| TlsError::Unusable { certificate: settings.certificate.clone(), key: settings.key.clone(), source };
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(TlsError::Provider)?
        .with_client_cert_verifier(clients.unwrap_or_else(WebPkiClientVerifier::no_client_auth))
        .with_single_cert(chain, key)
        .map_err(unusable)?;
    config.alpn_protocols = match purpose {
        Purpose::Data => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        Purpose::Admin => vec![b"http/1.1".to_vec()],
    };
    if purpose == Purpose::Admin || settings.client.as_ref().is_some_and(|client| !client.crls.is_empty()) {
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    } else {
        config.ticketer = aws_lc_rs::Ticketer::new().map_err(TlsError::Provider)?;
    }
    config.max_early_data_size = 0;
    Ok(config)
}

/// Checks the certificates of clients.
///
/// With lists of revoked certificates the whole chain is looked up in them. A certificate under none of them is refused, and so is
/// everything under a list that is over its time: a list that nobody renews says nothing of what was revoked since.
fn client_verifier(settings: &ClientTlsSettings) -> Result<Clients, TlsError> {
    let mut roots = RootCertStore::empty();
    for authority in read_chain(&settings.ca)? {
        roots.add(authority).map_err(|source| TlsError::Authority { path: settings.ca.clone(), source })?;
    }
    let mut lists = Vec::new();
    for path in &settings.crls {
        lists.extend(read_crls(path)?);
    }
    let lists_end = lists.iter().map(certificate::list_end).min().unwrap_or(i64::MAX);
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).with_crls(lists);
    builder = builder.enforce_revocation_expiration();
    if !settings.require {
        builder = builder.allow_unauthenticated();
    }
    let verifier = builder.build().map_err(|source| TlsError::Clients { ca: settings.ca.clone(), source })?;
    Ok(Clients { verifier, lists_end })
}

fn read_crls(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let unreadable = |source| TlsError::Unreadable { path: path.to_owned(), source };
    let lists = CertificateRevocationListDer::pem_file_iter(path).map_err(unreadable)?;
    let lists: Vec<_> = lists.collect::<Result<_, _>>().map_err(unreadable)?;
    if lists.is_empty() { Err(TlsError::NoCrl(path.to_owned())) } else { Ok(lists) }
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unreadable = |source| TlsError::Unreadable { path: path.to_owned(), source };
    let chain: Vec<_> =
        CertificateDer::pem_file_iter(path).map_err(unreadable)?.collect::<Result<_, _>>().map_err(unreadable)?;
    match chain.is_empty() {
        true => Err(TlsError::NoCertificate(path.to_owned())),
        false => Ok(chain),
    }
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|source| match source {
        pem::Error::NoItemsFound => TlsError::NoKey(path.to_owned()),
        source => TlsError::Unreadable { path: path.to_owned(), source },
    })
}

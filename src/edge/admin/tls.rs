//! TLS of the admin listener, with client certificates where they are configured.
//!
//! A client without a certificate is let in as far as health: kubelets have none. One whose certificate is not of the configured
//! authorities does not get past the handshake. Nothing is resumed, so that every connection is verified by the authorities of now.

use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::aws_lc_rs;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::access::AdminTlsSettings;
use crate::base::UtcInstant;
use crate::edge::certificate;
use crate::edge::tls::{Ready, TlsError, read_chain, read_key};

/// The TLS side of the admin listener; its files can be read again while it serves.
#[derive(Debug)]
pub(in crate::edge) struct AdminTls {
    serving: ArcSwap<Serving>,
}

#[derive(Debug)]
struct Serving {
    config: Arc<ServerConfig>,
    expiry: Option<UtcInstant>,
}

impl From<Ready> for Serving {
    fn from(Ready { config, expiry }: Ready) -> Self {
        Self { config: Arc::new(config), expiry }
    }
}

impl AdminTls {
    /// Reads certificates and key.
    pub(in crate::edge) fn load(settings: &AdminTlsSettings) -> Result<Self, TlsError> {
        Ok(Self { serving: ArcSwap::from_pointee(server_config(settings)?.into()) })
    }

    /// When the certificate ends that later connections are shown; `None` if it cannot be read.
    pub(in crate::edge) fn expiry(&self) -> Option<UtcInstant> {
        self.serving.load().expiry
    }

    /// Reads the files of other settings; they take effect with [`AdminTls::change`].
    pub(in crate::edge) fn prepare(settings: &AdminTlsSettings) -> Result<Ready, TlsError> {
        server_config(settings)
    }

    /// Serves later connections with this configuration.
    pub(in crate::edge) fn change(&self, ready: Ready) {
        self.serving.store(Arc::new(ready.into()));
    }

    /// Does the handshake, without a time limit of its own. Gives the subject of the client's certificate if it showed one.
    pub(super) async fn accept<IO>(&self, stream: IO) -> io::Result<(TlsStream<IO>, Option<String>)>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let config = Arc::clone(&self.serving.load().config);
        let stream = TlsAcceptor::from(config).accept(stream).await?;
        let subject = stream.get_ref().1.peer_certificates().and_then(<[_]>::first).map(subject);
        Ok((stream, subject))
    }
}

fn subject(certificate: &CertificateDer<'_>) -> String {
    let parsed = X509Certificate::from_der(certificate);
    let text = parsed.map_or_else(|_| "(unreadable)".to_owned(), |(_, found)| found.subject().to_string());
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

fn server_config(settings: &AdminTlsSettings) -> Result<Ready, TlsError> {
    let unusable =
        |source| TlsError::Unusable { certificate: settings.certificate.clone(), key: settings.key.clone(), source };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(TlsError::Provider)?;
    let builder = match &settings.client_ca {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let bad = |source| TlsError::Authority { path: file.clone(), source };
            let mut roots = RootCertStore::empty();
            for certificate in read_chain(file)? {
                roots.add(certificate).map_err(bad)?;
            }
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).allow_unauthenticated().build();
            builder.with_client_cert_verifier(verifier.map_err(|error| bad(rustls::Error::General(error.to_string())))?)
        }
    };
    let chain = read_chain(&settings.certificate)?;
    let expiry = chain.first().and_then(certificate::expiry);
    let mut config = builder.with_single_cert(chain, read_key(&settings.key)?).map_err(unusable)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(Ready { config, expiry })
}

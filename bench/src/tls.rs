//! Certificates for one run, and what both ends make of them.

use std::error::Error;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use rcgen::{CertificateParams, IsCa, KeyPair};
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::version::TLS12;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// Writes `ca.pem`, `server.pem` and `server.key` (ECDSA P-256, for 127.0.0.1) into a folder.
pub fn write_certificates(folder: &Path) -> Result<(), Box<dyn Error>> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, "authority of a measurement");
    let authority = rcgen::CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()])?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, "server of a measurement");
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &authority)?;
    std::fs::write(folder.join("ca.pem"), authority.pem())?;
    std::fs::write(folder.join("server.pem"), certificate.pem())?;
    let key_file = folder.join("server.key");
    std::fs::write(&key_file, key.serialize_pem())?;
    // A gateway refuses a key that everybody can read.
    std::fs::set_permissions(&key_file, std::fs::Permissions::from_mode(0o600))?;
    Ok(())
}

/// The server's side, with the certificate of a folder.
pub fn server(folder: &Path) -> Result<TlsAcceptor, Box<dyn Error>> {
    let chain = CertificateDer::pem_file_iter(folder.join("server.pem"))?.collect::<Result<_, _>>()?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(folder.join("server.key"))?)?;
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// How a client's side begins connections.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Sessions {
    /// TLS 1.3, or 1.2 if the server does not know that; sessions are resumed.
    Resumed,
    /// The same, each with a whole handshake.
    Fresh,
    /// TLS 1.2, resumed: without a key exchange of its own.
    Tls12,
}

/// The client's side, which trusts the authority of a folder and speaks HTTP/1.1.
pub fn client(folder: &Path, sessions: Sessions) -> Result<Arc<ClientConfig>, Box<dyn Error>> {
    let versions = match sessions {
        Sessions::Tls12 => &[&TLS12][..],
        Sessions::Resumed | Sessions::Fresh => rustls::DEFAULT_VERSIONS,
    };
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(folder.join("ca.pem"))?)?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(versions)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    if sessions == Sessions::Fresh {
        config.resumption = Resumption::disabled();
    }
    Ok(Arc::new(config))
}

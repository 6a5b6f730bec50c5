//! The client side of TLS: which authorities are trusted, and nothing that could trust more.

use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::{self, PemObject};

use crate::dial::DialError;

// Sessions kept for resumption. One host needs a few; rustls keeps several TLS 1.3 tickets for each server name.
const RESUMABLE_SESSIONS: usize = 64;

/// A configuration that trusts the authorities of a file, or those of the system.
///
/// # Errors
/// If the file cannot be read or holds no usable certificate; if the system has none.
pub(super) fn client_config(ca_file: Option<&Path>) -> Result<ClientConfig, DialError> {
    let roots = match ca_file {
        Some(path) => roots_of_file(path)?,
        None => roots_of_system()?,
    };
    // Named explicitly: the process default is whatever another library installed first.
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(DialError::TlsConfig)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::in_memory_sessions(RESUMABLE_SESSIONS);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Every certificate of a PEM file. One that cannot be used is an error, because the operator chose it.
fn roots_of_file(path: &Path) -> Result<RootCertStore, DialError> {
    let bad = |problem: pem::Error| DialError::CaFile { path: path.to_owned(), problem };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(bad)? {
        roots.add(certificate.map_err(bad)?).map_err(DialError::TlsConfig)?;
    }
    if roots.is_empty() { Err(bad(pem::Error::NoItemsFound)) } else { Ok(roots) }
}

/// The authorities of the system. Some of them are always odd, so unusable ones are passed over.
fn roots_of_system() -> Result<RootCertStore, DialError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() { Err(DialError::NoAuthorities) } else { Ok(roots) }
}

//! Certificates: an authority made for one test, and what it vouches for.

use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair, KeyUsagePurpose,
    SanType,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;

use super::Setup;

/// An authority with its files.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

/// Files of a server.
pub struct Identity {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = named("authority of a test");
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join("ca.pem"), &issuer.pem());
        Self { issuer, folder }
    }

    /// The file with its certificate.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A certificate for names or addresses.
    pub fn vouch_for(&self, names: &[&str]) -> Identity {
        self.sign(CertificateParams::new(owned(names)).unwrap(), names[0])
    }

    /// A certificate that is valid from the beginning of one year to the beginning of another.
    pub fn vouch_for_time(&self, names: &[&str], (from, to): (i32, i32)) -> Identity {
        let mut params = CertificateParams::new(owned(names)).unwrap();
        (params.not_before, params.not_after) = (rcgen::date_time_ymd(from, 1, 1), rcgen::date_time_ymd(to, 1, 1));
        self.sign(params, &format!("{}-{from}", names[0]))
    }

    /// A certificate for a text that looks like an address, but is a DNS name.
    pub fn vouch_for_name(&self, name: &str) -> Identity {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names = vec![SanType::DnsName(name.try_into().unwrap())];
        self.sign(params, &format!("{name}-as-name"))
    }

    /// A certificate for a client, with what `change` puts into it.
    pub fn vouch_for_client(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        change(&mut params);
        self.sign(params, name)
    }

    /// A client that trusts this authority, offers these protocols and shows a certificate.
    pub fn client_with(&self, protocols: &[&str], identity: &Identity) -> rustls::ClientConfig {
        let chain = CertificateDer::pem_file_iter(&identity.certificate).unwrap().map(Result::unwrap).collect();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let mut config = rustls::ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(&identity.key).unwrap())
            .unwrap();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        config
    }

    /// The authority's own certificate, used by a server.
    pub fn as_a_server(&self) -> Identity {
        let identity = Identity { certificate: self.file(), key: self.folder.path().join("ca.key") };
        write(&identity.key, &self.issuer.key().serialize_pem());
        identity
    }

    fn sign(&self, mut params: CertificateParams, name: &str) -> Identity {
        // OpenSSL takes a certificate for self-signed whose name is that of its authority.
        params.distinguished_name = named(name);
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let file = |ending: &str| self.folder.path().join(format!("{name}.{ending}"));
        let identity = Identity { certificate: file("crt"), key: file("key") };
        write(&identity.certificate, &certificate.pem());
        write(&identity.key, &key.serialize_pem());
        identity
    }

    /// A client that trusts this authority and offers these protocols.
    pub fn client(&self, protocols: &[&str]) -> rustls::ClientConfig {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let mut config = rustls::ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        config
    }
}

impl Identity {
    /// What a TLS server of ours needs to be this one.
    pub fn server(&self) -> rustls::ServerConfig {
        let chain = CertificateDer::pem_file_iter(&self.certificate).unwrap().map(Result::unwrap).collect();
        rustls::ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, PrivateKeyDer::from_pem_file(&self.key).unwrap())
            .unwrap()
    }
}

impl Setup {
    /// With TLS on the data listener.
    pub fn tls(mut self, identity: &Identity) -> Self {
        let (certificate, key) = (&identity.certificate, &identity.key);
        self.tls = Some(format!("{{ certificate: {}, key: {} }}", certificate.display(), key.display()));
        self.files.extend([certificate.clone(), key.clone()]);
        self
    }

    /// With certificates of clients, signed by an authority; `more` is put into the mapping `client`.
    pub fn client_certificates(mut self, authority: &Authority, more: &str) -> Self {
        let tls = self.tls.take().unwrap();
        let open = tls.strip_suffix('}').unwrap();
        self.tls = Some(format!("{open}, client: {{ ca: {}{more} }} }}", authority.file().display()));
        self.files.push(authority.file());
        self
    }

    /// With an authority that the gateway trusts at its store, and no other.
    pub fn store_authority(mut self, authority: &Authority) -> Self {
        self.files.push(authority.file());
        self.upstream(&format!("ca_file: {}", authority.file().display()))
    }
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

pub fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Writes a file that only its owner may read.
pub fn write(path: &Path, text: &str) {
    use std::io::Write as _;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

//! Files with certificates and keys: that they are what they should be. They are read again by whoever uses them.

use std::path::{Path as FilePath, PathBuf};

use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use super::super::forms::OneOrMany;
use super::super::path::Path;
use super::super::raw::RawTls;
use super::super::raw_identity::RawClientTls;
use super::clients::{check_texts, text_path};
use super::desk::Desk;
use super::values::absolute;
use crate::edge;

/// A PEM file of certificate authorities.
pub fn authorities(desk: &mut Desk<'_>, path: &Path, text: Option<&String>) -> Option<PathBuf> {
    let file = absolute(desk, path, text?)?;
    read_certificates(desk, path, &file)?;
    Some(file)
}

/// Certificate and key of a listener: both there, and made for each other.
pub fn tls(desk: &mut Desk<'_>, path: &Path, raw: &RawTls) -> Option<edge::TlsSettings> {
    let settings = pair(desk, path, raw.certificate.as_ref(), raw.key.as_ref());
    // Not asking clients because `client` has a problem would let in everybody.
    let client = match &raw.client {
        Some(raw) => Some(client(desk, &path.key("client"), raw)?),
        None => None,
    };
    Some(edge::TlsSettings { client, ..settings? })
}

/// The same, of keys wherever they are written.
pub fn pair(
    desk: &mut Desk<'_>,
    path: &Path,
    certificate: Option<&String>,
    key: Option<&String>,
) -> Option<edge::TlsSettings> {
    let (certificate_path, key_path) = (path.key("certificate"), path.key("key"));
    let certificate = desk.required(path, "certificate", certificate, "name the PEM file with the certificate chain");
    let key = desk.required(path, "key", key, "name the PEM file with the private key");
    let certificate = certificate.and_then(|text| absolute(desk, &certificate_path, text));
    let key = key.and_then(|text| absolute(desk, &key_path, text));
    let chain = certificate.as_ref().and_then(|file| read_certificates(desk, &certificate_path, file));
    let private = key.as_ref().and_then(|file| read_key(desk, &key_path, file));
    check_pair(desk, &key_path, chain?, private?)?;
    Some(edge::TlsSettings { certificate: certificate?, key: key?, client: None })
}

/// What certificates of clients must be.
fn client(desk: &mut Desk<'_>, path: &Path, raw: &RawClientTls) -> Option<edge::ClientTlsSettings> {
    let help = "name the PEM file with the authorities that sign certificates of clients";
    let ca = desk.required(path, "ca", raw.ca.as_ref(), help);
    let ca = authorities(desk, &path.key("ca"), ca);
    let crls = lists(desk, &path.key("crls"), raw.crls.as_ref());
    let (require, identity) = (raw.require.unwrap_or(true), raw.identity.unwrap_or(false));
    Some(edge::ClientTlsSettings { ca: ca?, crls: crls?, require, identity })
}

/// PEM files with lists of revoked certificates, if there are any.
pub fn lists(desk: &mut Desk<'_>, path: &Path, list: Option<&OneOrMany>) -> Option<Vec<PathBuf>> {
    let Some(list) = list else { return Some(Vec::new()) };
    check_texts(desk, path, list, "name a PEM file with a list of revoked certificates, or remove the key");
    let mut files = Some(Vec::new());
    for (position, text) in list.texts().iter().enumerate().filter(|(_, text)| !text.is_empty()) {
        let file = revoked(desk, &text_path(path, list, position), text);
        files = files.zip(file).map(|(mut files, file)| {
            files.push(file);
            files
        });
    }
    files
}

/// A PEM file with lists of revoked certificates.
fn revoked(desk: &mut Desk<'_>, path: &Path, text: &str) -> Option<PathBuf> {
    let file = absolute(desk, path, text)?;
    let content = desk.read_file(path, &file)?;
    let lists: Option<Vec<_>> =
        CertificateRevocationListDer::pem_slice_iter(content.as_bytes()).map(Result::ok).collect();
    if lists.is_none_or(|lists| lists.is_empty()) {
        desk.report(
            path,
            format!("{} holds no PEM list of revoked certificates", file.display()),
            "the file must have -----BEGIN X509 CRL----- blocks (`openssl crl -inform DER -in list.crl` makes them)",
        );
        return None;
    }
    Some(file)
}

fn read_certificates(desk: &mut Desk<'_>, path: &Path, file: &FilePath) -> Option<Vec<CertificateDer<'static>>> {
    let text = desk.read_file(path, file)?;
    let certificates: Option<Vec<_>> = CertificateDer::pem_slice_iter(text.as_bytes()).map(Result::ok).collect();
    let found = certificates.filter(|found| !found.is_empty());
    if found.is_none() {
        desk.report(
            path,
            format!("{} holds no PEM certificate", file.display()),
            "the file must have -----BEGIN CERTIFICATE----- blocks, and nothing broken",
        );
    }
    found
}

fn read_key(desk: &mut Desk<'_>, path: &Path, file: &FilePath) -> Option<PrivateKeyDer<'static>> {
    let text = desk.read_secret_file(path, file)?;
    let key = PrivateKeyDer::from_pem_slice(text.as_bytes()).ok();
    if key.is_none() {
        desk.report(
            path,
            format!("{} holds no PEM private key", file.display()),
            "the file must have a -----BEGIN PRIVATE KEY----- block that is not encrypted",
        );
    }
    key
}

fn check_pair(
    desk: &mut Desk<'_>,
    path: &Path,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Option<()> {
    match CertifiedKey::from_der(chain, key, &rustls::crypto::aws_lc_rs::default_provider()) {
        Ok(_) => Some(()),
        Err(error) => {
            desk.report(
                path,
                format!("certificate and key cannot be used together: {error}"),
                "give the key that the first certificate of the chain was made for",
            );
            None
        }
    }
}

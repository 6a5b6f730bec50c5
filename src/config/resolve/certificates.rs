//! `clients.certificates`: whose client certificates are known, and by which of their names.

use super::super::path::Path;
use super::super::raw::RawConfig;
use super::super::raw_identity::{RawCertificate, RawCertificateMatch, RawSpiffe};
use super::clients::{KnownClient, KnownClients, attributes, check_attribute_name, plain_attributes};
use super::desk::Desk;
use super::values::check_name;
use crate::auth::certificates::{PathPattern, is_trust_domain};
use crate::auth::{Attributes, CertificateMatch, CertificateSettings};
use crate::rules::settings::Client;

/// Attributes that a SPIFFE id gives whatever its path is.
const TRUST_DOMAIN: &str = "trust_domain";

/// The certificates of the file.
pub fn certificates(
    desk: &mut Desk<'_>,
    path: &Path,
    config: &RawConfig,
    known: &mut KnownClients,
) -> Vec<CertificateSettings> {
    let raw = config.clients.certificates.as_deref().unwrap_or_default();
    check_listeners(desk, path, config);
    let mut certificates: Vec<CertificateSettings> = Vec::new();
    for (position, raw) in raw.iter().enumerate() {
        let path = path.item(position);
        known.complete &= !desk.is_blurred(&path) && !desk.is_blurred(&path.key("attributes"));
        let Some(certificate) = certificate(desk, &path, raw, known) else {
            known.complete = false;
            continue;
        };
        if let Some(other) = certificates.iter().find(|other| other.matches == certificate.matches) {
            let help = "a certificate must fit one entry alone; join the two";
            desk.report(&path.key("match"), format!("`{}` is about the same certificates", other.name), help);
        }
        certificates.push(certificate);
    }
    certificates
}

/// Certificates that nobody asks for, or that mean nobody, are a mistake.
fn check_listeners(desk: &mut Desk<'_>, path: &Path, config: &RawConfig) {
    let known = config.clients.certificates.as_ref().is_some_and(|all| !all.is_empty());
    let listen = Path::top().key("listen");
    let mut asked = false;
    for (position, listener) in config.listen.iter().flatten().enumerate() {
        let client = listener.tls.as_ref().and_then(|tls| tls.client.as_ref());
        let identity = client.is_some_and(|client| client.identity == Some(true));
        asked |= identity;
        let path = listen.item(position).key("tls").key("client").key("identity");
        if identity && !known && !desk.is_blurred(&Path::top().key("clients")) {
            let help = "add `clients.certificates`, or remove `identity`";
            desk.report_key(&path, "no certificate is known", help);
        }
        if identity && listener.identity.is_some() {
            let help = "remove one of the two `identity`";
            desk.report_key(&path, "the listener says already who the caller is", help);
        }
    }
    if known && !asked && !desk.is_blurred(&listen) {
        let help = "add `tls: { client: { ca: /path, identity: true } }` to a listener, or remove the key";
        desk.report_key(path, "no listener takes a certificate for the caller", help);
    }
}

fn certificate(
    desk: &mut Desk<'_>,
    path: &Path,
    raw: &RawCertificate,
    known: &mut KnownClients,
) -> Option<CertificateSettings> {
    let name = desk.required(path, "name", raw.name.as_ref(), "give it a name for rules and audit records");
    let name = name.filter(|name| check_name(desk, &path.key("name"), name)).cloned();
    let help = "write one of `{ dns: … }`, `{ uri: … }`, `{ spiffe: { trust_domain: …, path: … } }`, `{ subject: … }`";
    let matches = desk.required(path, "match", raw.matches.as_ref(), help);
    let matches = matches.and_then(|raw| matching(desk, &path.key("match"), raw, help));
    let attributes = attributes(desk, &path.key("attributes"), &raw.attributes);
    let (name, matches) = (name?, matches?);
    if let CertificateMatch::Spiffe { path: pattern, .. } = &matches {
        let of_path = pattern.attributes().chain([TRUST_DOMAIN]);
        for twice in of_path.filter(|name| attributes.contains_key(*name)) {
            let help = "remove it, or give the part of the path another name";
            desk.report_key(&path.key("attributes").key(twice), "the SPIFFE id gives this attribute", help);
        }
    }
    known.add(desk, &path.key("name"), client(&name, &matches, &attributes));
    Some(CertificateSettings { name, matches, attributes })
}

fn matching(desk: &mut Desk<'_>, path: &Path, raw: &RawCertificateMatch, help: &str) -> Option<CertificateMatch> {
    let RawCertificateMatch { subject, dns, uri, spiffe } = raw;
    let check = |desk: &mut Desk<'_>, key: &str, text: &String| {
        let good = !text.is_empty() && !text.chars().any(char::is_control);
        if !good {
            desk.report(&path.key(key), "this is no name of a certificate", "write it as the certificate has it");
        }
        good.then(|| text.clone())
    };
    match (subject, dns, uri, spiffe) {
        (Some(subject), None, None, None) => check(desk, "subject", subject).map(CertificateMatch::Subject),
        (None, Some(dns), None, None) => check(desk, "dns", dns).map(CertificateMatch::Dns),
        (None, None, Some(uri), None) if uri.to_ascii_lowercase().starts_with("spiffe:") => {
            let help = "write `spiffe: { trust_domain: …, path: … }`, which checks what such a certificate must be";
            desk.report(&path.key("uri"), "this is a SPIFFE id", help);
            None
        }
        (None, None, Some(uri), None) => check(desk, "uri", uri).map(CertificateMatch::Uri),
        (None, None, None, Some(raw)) => spiffe_match(desk, &path.key("spiffe"), raw),
        _ if desk.is_blurred(path) => None,
        _ => {
            desk.report(path, "there must be exactly one key here", help);
            None
        }
    }
}

fn spiffe_match(desk: &mut Desk<'_>, path: &Path, raw: &RawSpiffe) -> Option<CertificateMatch> {
    let help = "write the name of the trust domain in lower case, such as example.org";
    let trust_domain = desk.required(path, "trust_domain", raw.trust_domain.as_ref(), help);
    let good = trust_domain.filter(|text| is_trust_domain(text));
    if trust_domain.is_some() && good.is_none() {
        desk.report(&path.key("trust_domain"), "this is no trust domain", help);
    }
    let help = "write segments behind slashes, such as /ns/{namespace}/sa/{service_account}; each attribute once";
    let text = desk.required(path, "path", raw.path.as_ref(), help);
    let pattern = text.and_then(|text| PathPattern::parse(text));
    if text.is_some() && pattern.is_none() {
        desk.report(&path.key("path"), "this is no path of a SPIFFE id", help);
    }
    let pattern = pattern?;
    for name in pattern.attributes() {
        check_attribute_name(
            desk,
            &path.key("path"),
            name,
            &["token", "key", "issuer", "listener", "certificate", TRUST_DOMAIN],
        );
    }
    Some(CertificateMatch::Spiffe { trust_domain: good?.clone(), path: pattern })
}

fn client(name: &str, matches: &CertificateMatch, attributes: &Attributes) -> KnownClient {
    let mut plain = plain_attributes(attributes);
    let mut all: std::collections::BTreeSet<String> = attributes.keys().cloned().collect();
    let mut own = vec!["certificate".to_owned()];
    if let CertificateMatch::Spiffe { path, .. } = matches {
        own.extend(path.attributes().chain([TRUST_DOMAIN]).map(str::to_owned));
    }
    plain.extend(own.iter().cloned());
    all.extend(own);
    KnownClient { client: Client::Certificate(name.to_owned()), attributes: all, plain }
}

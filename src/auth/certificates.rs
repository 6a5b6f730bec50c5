//! Client certificates as callers: the entries of the configuration, and which of them a certificate fits.
//!
//! The handshake has shown that the client holds the key, and that an authority of the listener vouches for the names. Which names mean whom
//! is said here. Exactly one entry must fit: none is a stranger, and of two nobody could tell which one an operator had in mind.
//! Source: SPIFFE, "X.509-SVID" §2, §3, §4.3 and "SPIFFE-ID" §2.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use crate::arrival::ClientCertificate;
use crate::auth::error::{AuthError, CertificateFault, InvalidReason, SetupError};
use crate::auth::names::Names;
use crate::auth::settings::{CertificateMatch, CertificateSettings};
use crate::auth::{Attributes, Caller, Scheme};
use crate::base::{PrincipalId, UtcInstant};

/// Attribute with the name of the entry.
pub(in crate::auth) const NAME_ATTRIBUTE: &str = "certificate";
/// Attribute with the trust domain of a SPIFFE id.
pub(in crate::auth) const TRUST_DOMAIN: &str = "trust_domain";

/// Longest SPIFFE id, and longest name of a trust domain, in bytes.
const MAX_ID_BYTES: usize = 2048;
const MAX_DOMAIN_BYTES: usize = 255;

/// All configured entries.
#[derive(Debug)]
pub(in crate::auth) struct Certificates(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    name: String,
    matches: CertificateMatch,
    principal: PrincipalId,
    attributes: Arc<Attributes>,
}

impl Certificates {
    /// Takes the configured entries.
    ///
    /// # Errors
    /// The [`SetupError`]s of names.
    pub(in crate::auth) fn new(settings: Vec<CertificateSettings>) -> Result<Self, SetupError> {
        let mut names = Names::default();
        let mut entries = Vec::with_capacity(settings.len());
        for CertificateSettings { name, matches, mut attributes } in settings {
            names.take(&name, NAME_ATTRIBUTE, &mut attributes)?;
            let principal = PrincipalId::new(format!("certificate:{name}"));
            entries.push(Entry { name, matches, principal, attributes: attributes.into() });
        }
        Ok(Self(entries))
    }

    /// The caller that a certificate stands for.
    ///
    /// # Errors
    /// [`AuthError::Expired`], since a connection may outlive the certificate that it began with; [`CertificateFault`].
    pub(in crate::auth) fn authenticate(
        &self,
        certificate: &ClientCertificate,
        address: IpAddr,
        now: UtcInstant,
    ) -> Result<Caller, AuthError> {
        let refused = |fault| AuthError::Invalid(InvalidReason::Certificate(fault));
        if now > certificate.not_after {
            return Err(AuthError::Expired);
        }
        if certificate.may_sign {
            return Err(refused(CertificateFault::MaySign));
        }
        let id = spiffe_id(certificate).map_err(refused)?;
        let mut fitting = self.0.iter().filter_map(|entry| Some((entry, entry.fits(certificate, id.as_ref())?)));
        let (entry, fit) = fitting.next().ok_or_else(|| refused(CertificateFault::Unknown))?;
        if fitting.next().is_some() {
            return Err(refused(CertificateFault::Ambiguous));
        }
        let (principal, attributes) = match fit {
            Fit::Entry => (entry.principal.clone(), Arc::clone(&entry.attributes)),
            Fit::Spiffe(id, parts) => {
                let mut attributes = (*entry.attributes).clone();
                attributes.insert(TRUST_DOMAIN.to_owned(), vec![id.trust_domain.to_owned()]);
                attributes.extend(parts.into_iter().map(|(name, value)| (name, vec![value])));
                (PrincipalId::new(id.text), Arc::new(attributes))
            }
        };
        Ok(Caller::new(
            principal,
            Scheme::Certificate,
            entry.name.clone(),
            attributes,
            address,
            Some(certificate.not_after),
        ))
    }
}

/// How a certificate fits an entry.
enum Fit<'a> {
    /// As the one that it names.
    Entry,
    /// As one of many, which the SPIFFE id names; with the attributes that the path gives.
    Spiffe(&'a SpiffeId<'a>, Vec<(String, String)>),
}

impl Entry {
    fn fits<'a>(&self, certificate: &ClientCertificate, id: Option<&'a SpiffeId<'a>>) -> Option<Fit<'a>> {
        let fits = match &self.matches {
            CertificateMatch::Subject(subject) => *subject == certificate.subject,
            CertificateMatch::Dns(name) => certificate.dns_names.iter().any(|dns| dns.eq_ignore_ascii_case(name)),
            CertificateMatch::Uri(uri) => certificate.uris.contains(uri),
            CertificateMatch::Spiffe { trust_domain, path } => {
                let id = id.filter(|id| id.trust_domain == trust_domain)?;
                return Some(Fit::Spiffe(id, path.parts_of(&id.path)?));
            }
        };
        fits.then_some(Fit::Entry)
    }
}

/// A well-formed SPIFFE id.
#[derive(Debug, PartialEq, Eq)]
struct SpiffeId<'a> {
    text: &'a str,
    trust_domain: &'a str,
    path: Vec<&'a str>,
}

/// The SPIFFE id of a certificate; `None` if it has none.
///
/// # Errors
/// [`CertificateFault`] if it has one beside other URIs, one that is malformed, or one without a path, which is that of a trust domain.
fn spiffe_id(certificate: &ClientCertificate) -> Result<Option<SpiffeId<'_>>, CertificateFault> {
    let is_spiffe = |uri: &String| uri.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("spiffe:"));
    if !certificate.uris.iter().any(is_spiffe) {
        return Ok(None);
    }
    let [uri] = &certificate.uris[..] else { return Err(CertificateFault::SeveralUris) };
    if !certificate.signs {
        return Err(CertificateFault::Usage);
    }
    parse_spiffe_id(uri).map(Some).ok_or(CertificateFault::SpiffeId)
}

fn parse_spiffe_id(text: &str) -> Option<SpiffeId<'_>> {
    let (trust_domain, path) = text.strip_prefix("spiffe://")?.split_once('/')?;
    let path: Vec<&str> = path.split('/').collect();
    (text.len() <= MAX_ID_BYTES && is_trust_domain(trust_domain) && path.iter().all(|part| is_path_segment(part)))
        .then_some(SpiffeId { text, trust_domain, path })
}

/// Whether a text can be the name of a trust domain.
pub fn is_trust_domain(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'_');
    (1..=MAX_DOMAIN_BYTES).contains(&text.len()) && text.bytes().all(plain)
}

/// Whether a text can stand between two slashes of a SPIFFE id.
fn is_path_segment(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    !text.is_empty() && text != "." && text != ".." && text.bytes().all(plain)
}

/// Paths of SPIFFE ids: `/ns/{namespace}/sa/{service_account}`. A part in braces is any one segment, and an attribute; the others are
/// themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPattern(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Attribute(String),
}

impl PathPattern {
    /// Reads a pattern; `None` if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let part = |text: &str| match text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            Some(name) => is_path_segment(name).then(|| Part::Attribute(name.to_owned())),
            None => is_path_segment(text).then(|| Part::Literal(text.to_owned())),
        };
        let pattern = Self(text.strip_prefix('/')?.split('/').map(part).collect::<Option<_>>()?);
        let mut names = HashSet::new();
        let once = pattern.attributes().all(|name| names.insert(name));
        drop(names);
        once.then_some(pattern)
    }

    /// The attributes that it gives.
    pub fn attributes(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Attribute(name) => Some(name.as_str()),
            Part::Literal(_) => None,
        })
    }

    /// The attributes of a path that fits.
    fn parts_of(&self, path: &[&str]) -> Option<Vec<(String, String)>> {
        if path.len() != self.0.len() {
            return None;
        }
        let mut attributes = Vec::new();
        for (part, text) in self.0.iter().zip(path) {
            match part {
                Part::Literal(literal) if literal != text => return None,
                Part::Literal(_) => {}
                Part::Attribute(name) => attributes.push((name.clone(), (*text).to_owned())),
            }
        }
        Some(attributes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn certificate(subject: &str, dns_names: &[&str], uris: &[&str]) -> ClientCertificate {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        ClientCertificate {
            subject: subject.to_owned(),
            dns_names: owned(dns_names),
            uris: owned(uris),
            not_after: UtcInstant::from_second(NOW).unwrap(),
            may_sign: false,
            signs: true,
        }
    }

    fn certificates() -> Certificates {
        let entry = |name: &str, matches| CertificateSettings {
            name: name.to_owned(),
            matches,
            attributes: [("team".to_owned(), vec!["red".to_owned()])].into(),
        };
        let spiffe = |path: &str| CertificateMatch::Spiffe {
            trust_domain: "example.org".to_owned(),
            path: PathPattern::parse(path).unwrap(),
        };
        Certificates::new(vec![
            entry("subject", CertificateMatch::Subject("CN=etl,O=Example".to_owned())),
            entry("dns", CertificateMatch::Dns("etl.example.com".to_owned())),
            entry("uri", CertificateMatch::Uri("urn:example:etl".to_owned())),
            entry("pods", spiffe("/ns/{namespace}/sa/{service_account}")),
            entry("one", spiffe("/job/etl")),
        ])
        .unwrap()
    }

    fn who(certificate: &ClientCertificate) -> Result<String, AuthError> {
        who_at(certificate, NOW).map(|caller| caller.principal().to_string())
    }

    fn who_at(certificate: &ClientCertificate, now: i64) -> Result<Caller, AuthError> {
        certificates().authenticate(certificate, [192, 0, 2, 1].into(), UtcInstant::from_second(now).unwrap())
    }

    fn fault(certificate: &ClientCertificate) -> CertificateFault {
        match who(certificate) {
            Err(AuthError::Invalid(InvalidReason::Certificate(fault))) => fault,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_kind_of_name_leads_to_its_entry() {
        assert_eq!(who(&certificate("CN=etl,O=Example", &[], &[])).unwrap(), "certificate:subject");
        assert_eq!(who(&certificate("", &["a.b", "ETL.example.com"], &[])).unwrap(), "certificate:dns");
        assert_eq!(who(&certificate("", &[], &["urn:x", "urn:example:etl"])).unwrap(), "certificate:uri");
        let id = "spiffe://example.org/ns/shop/sa/orders";
        let caller = who_at(&certificate("", &[], &[id]), NOW).unwrap();
        assert_eq!(
            (caller.principal().as_str(), caller.source_name(), caller.scheme().as_str()),
            (id, "pods", "certificate")
        );
        let expected = [
            ("certificate", "pods"),
            ("namespace", "shop"),
            ("service_account", "orders"),
            ("team", "red"),
            ("trust_domain", "example.org"),
        ];
        let expected: Attributes = expected.map(|(name, value)| (name.to_owned(), vec![value.to_owned()])).into();
        assert_eq!(*caller.attributes(), expected);
        assert_eq!(
            who(&certificate("", &[], &["spiffe://example.org/job/etl"])).unwrap(),
            "spiffe://example.org/job/etl"
        );
    }

    #[test]
    fn a_stranger_and_one_with_two_names_are_nobody() {
        assert_eq!(fault(&certificate("", &[], &[])), CertificateFault::Unknown);
        assert_eq!(
            fault(&certificate("CN=etl", &["example.com", "x.etl.example.com"], &[])),
            CertificateFault::Unknown
        );
        assert_eq!(fault(&certificate("O=Example,CN=etl", &[], &[])), CertificateFault::Unknown);
        assert_eq!(fault(&certificate("CN=etl,O=Example", &["etl.example.com"], &[])), CertificateFault::Ambiguous);
        for other in ["spiffe://other.org/ns/a/sa/b", "spiffe://example.org/ns/a", "spiffe://example.org/ns/a/sa/b/c"] {
            assert_eq!(fault(&certificate("", &[], &[other])), CertificateFault::Unknown, "{other}");
        }
    }

    #[test]
    fn a_spiffe_id_is_the_only_uri_and_well_formed() {
        let id = "spiffe://example.org/ns/shop/sa/orders";
        assert_eq!(fault(&certificate("", &[], &[id, "urn:example:etl"])), CertificateFault::SeveralUris);
        assert_eq!(fault(&certificate("", &["etl.example.com"], &[id, id])), CertificateFault::SeveralUris);
        for malformed in [
            "spiffe://example.org",
            "spiffe://example.org/",
            "spiffe://example.org/ns//sa/b",
            "spiffe://example.org/ns/./sa/b",
            "spiffe://example.org/ns/../sa/b",
            "spiffe://example.org/ns/a%2fb/sa/b",
            "spiffe://example.org/ns/a/sa/b?x",
            "spiffe://example.org/ns/a/sa/b#x",
            "spiffe://Example.org/ns/a/sa/b",
            "spiffe://example.org:80/ns/a/sa/b",
            "spiffe://u@example.org/ns/a/sa/b",
            "SPIFFE://example.org/ns/a/sa/b",
            "spiffe:/ns/a/sa/b",
            "spiffe:///ns/a/sa/b",
        ] {
            assert_eq!(fault(&certificate("", &[], &[malformed])), CertificateFault::SpiffeId, "{malformed}");
        }
        let long = format!("spiffe://example.org/ns/{}/sa/b", "a".repeat(MAX_ID_BYTES));
        assert_eq!(fault(&certificate("", &[], &[&long])), CertificateFault::SpiffeId);
        let no_signatures = ClientCertificate { signs: false, ..certificate("", &[], &[id]) };
        assert_eq!(fault(&no_signatures), CertificateFault::Usage);
    }

    #[test]
    fn an_authority_is_no_client_and_time_ends_on_an_open_connection_too() {
        let good = certificate("CN=etl,O=Example", &[], &[]);
        assert_eq!(fault(&ClientCertificate { may_sign: true, ..good.clone() }), CertificateFault::MaySign);
        assert!(who_at(&good, NOW).is_ok());
        assert_eq!(who_at(&good, NOW + 1).unwrap_err(), AuthError::Expired);
    }

    #[test]
    fn patterns_have_segments_and_each_attribute_once() {
        for good in ["/a", "/ns/{namespace}/sa/{service_account}", "/{x}/{y}", "/a.b-c_D"] {
            assert!(PathPattern::parse(good).is_some(), "{good}");
        }
        for bad in ["", "/", "a", "/a/", "//a", "/*", "/{}", "/{a}/{a}", "/{a b}", "/a{b}", "/..", "/{a", "/a%20"] {
            assert!(PathPattern::parse(bad).is_none(), "{bad}");
        }
    }
}

//! What a client certificate says, read once for each connection; and when any certificate or list ends.
//!
//! rustls has checked chain, times, usage and revocation before; here is only read who it is for. A part that cannot be read makes the
//! whole certificate unreadable: what was left out could have been what a rule denies.
//! Source: RFC 5280 §4.1.2.6 and §4.2.1, RFC 4514.

use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

use crate::arrival::ClientCertificate;
use crate::base::UtcInstant;

/// Types of names that RFC 4514 has a word for, and the one that people write for mail addresses.
const WORDS: &[(&str, &str)] = &[
    ("2.5.4.3", "CN"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "STREET"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("2.5.4.5", "serialNumber"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
];

/// Longest name or list of names; a certificate of a client has a few hundred bytes of them.
const MAX_NAMES_BYTES: usize = 16 * 1024;

/// Reads a certificate; `None` if something of it has no clear reading.
pub(super) fn read(der: &CertificateDer<'_>) -> Option<ClientCertificate> {
    let (rest, certificate) = X509Certificate::from_der(der).ok()?;
    if !rest.is_empty() {
        return None;
    }
    let (mut dns_names, mut uris) = (Vec::new(), Vec::new());
    for extension in certificate.extensions() {
        let names = match extension.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(names) => names,
            ParsedExtension::ParseError { .. } => return None,
            _ => continue,
        };
        for name in &names.general_names {
            match name {
                GeneralName::DNSName(name) => dns_names.push(plain(name)?),
                GeneralName::URI(uri) => uris.push(plain(uri)?),
                GeneralName::Invalid(..) => return None,
                _ => {}
            }
        }
    }
    let usage = certificate.key_usage().ok()?.map(|usage| usage.value);
    let may_sign = certificate.is_ca() || usage.is_some_and(|usage| usage.key_cert_sign() || usage.crl_sign());
    let read = ClientCertificate {
        subject: subject(certificate.subject())?,
        dns_names,
        uris,
        not_after: UtcInstant::from_second(certificate.validity().not_after.timestamp()).ok()?,
        may_sign,
        signs: usage.is_none_or(|usage| usage.digital_signature()),
    };
    let names = read.dns_names.iter().chain(&read.uris).map(String::len).sum::<usize>() + read.subject.len();
    (names <= MAX_NAMES_BYTES).then_some(read)
}

/// When a certificate ends; `None` if it cannot be read.
pub(super) fn expiry(der: &CertificateDer<'_>) -> Option<UtcInstant> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    UtcInstant::from_second(certificate.validity().not_after.timestamp()).ok()
}

/// From when on a list of revoked certificates is over its time, in seconds since 1970; the beginning if that cannot be read.
pub(super) fn list_end(der: &CertificateRevocationListDer<'_>) -> i64 {
    let list = CertificateRevocationList::from_der(der).ok();
    list.and_then(|(_, list)| list.next_update()).map_or(0, |end| end.timestamp())
}

/// Names of DNS and URIs are ASCII. They end up in records.
fn plain(text: &str) -> Option<String> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())).then(|| text.to_owned())
}

/// The subject as RFC 4514 writes it: the last part first, commas between.
fn subject(name: &X509Name<'_>) -> Option<String> {
    let parts: Option<Vec<String>> = name
        .iter_rdn()
        .map(|rdn| rdn.iter().map(attribute).collect::<Option<Vec<_>>>().map(|all| all.join("+")))
        .collect();
    let mut parts = parts?;
    parts.reverse();
    Some(parts.join(","))
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> Option<String> {
    let oid = attribute.attr_type().to_id_string();
    let word = WORDS.iter().find(|(known, _)| *known == oid).map_or(oid.as_str(), |(_, word)| word);
    let value = attribute.as_str().ok()?;
    Some(format!("{word}={}", escaped(value)))
}

/// A value with everything escaped that would look like the next one (RFC 4514 §2.4).
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let last = value.chars().count().saturating_sub(1);
    for (position, character) in value.chars().enumerate() {
        let at_the_edge = (position == 0 && matches!(character, ' ' | '#')) || (position == last && character == ' ');
        if character.is_control() {
            let mut bytes = [0; 4];
            let encoded = character.encode_utf8(&mut bytes).as_bytes();
            text.extend(encoded.iter().map(|byte| format!("\\{byte:02X}")));
            continue;
        }
        if at_the_edge || matches!(character, '"' | '+' | ',' | ';' | '<' | '>' | '\\') {
            text.push('\\');
        }
        text.push(character);
    }
    text
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, KeyUsagePurpose, SanType};

    use super::*;

    fn made(change: impl FnOnce(&mut CertificateParams)) -> Option<ClientCertificate> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = DistinguishedName::new();
        change(&mut params);
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        read(certificate.der())
    }

    #[test]
    fn names_and_usages_are_read_as_they_stand() {
        let read = made(|params| {
            params.distinguished_name.push(DnType::OrganizationName, "Example, Inc.");
            params.distinguished_name.push(DnType::CommonName, " etl+\"x\" ");
            params.subject_alt_names = vec![
                SanType::DnsName("etl.example.com".try_into().unwrap()),
                SanType::URI("spiffe://example.org/ns/a/sa/b".try_into().unwrap()),
                SanType::Rfc822Name("etl@example.com".try_into().unwrap()),
            ];
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            params.not_after = rcgen::date_time_ymd(2040, 1, 1);
        })
        .unwrap();
        assert_eq!(read.subject, "CN=\\ etl\\+\\\"x\\\"\\ ,O=Example\\, Inc.");
        assert_eq!(read.dns_names, ["etl.example.com"]);
        assert_eq!(read.uris, ["spiffe://example.org/ns/a/sa/b"]);
        assert_eq!((read.may_sign, read.signs), (false, true));
        assert_eq!(read.not_after.to_string(), "2040-01-01T00:00:00Z");
    }

    #[test]
    fn a_certificate_that_may_sign_others_says_so() {
        let usages = |usages: &[KeyUsagePurpose]| {
            let read = made(|params| params.key_usages = usages.to_vec()).unwrap();
            (read.may_sign, read.signs)
        };
        assert_eq!(usages(&[]), (false, true));
        assert_eq!(usages(&[KeyUsagePurpose::KeyEncipherment]), (false, false));
        assert_eq!(usages(&[KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign]), (true, true));
        assert_eq!(usages(&[KeyUsagePurpose::CrlSign]), (true, false));
        let authority = made(|params| params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained));
        assert!(authority.unwrap().may_sign);
    }

    #[test]
    fn what_has_no_clear_reading_is_not_read() {
        assert_eq!(read(&CertificateDer::from(vec![])), None);
        let good = rcgen::generate_simple_self_signed(["a".to_owned()]).unwrap();
        let mut longer = good.cert.der().to_vec();
        assert!(read(&CertificateDer::from(longer.clone())).is_some());
        longer.push(0);
        assert_eq!(read(&CertificateDer::from(longer)), None);
        assert_eq!(plain("a b"), None);
        assert_eq!(plain("a\nb"), None);
        assert_eq!(plain(""), None);
    }
}

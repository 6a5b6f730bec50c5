//! Callers that nobody authenticated, for `countersign explain`: what would the rules say to such a one?
//!
//! Not part of serving. A caller from here must never meet a request of the network: `tests/tidy.rs` finds these functions named anywhere
//! but where questions are explained.

use std::net::IpAddr;

use crate::arrival::ClientCertificate;
use crate::auth::access_keys::NAME_ATTRIBUTE as KEY_ATTRIBUTE;
use crate::auth::app_token::NAME_ATTRIBUTE;
use crate::auth::certificates::{Certificates, NAME_ATTRIBUTE as CERTIFICATE_ATTRIBUTE, TRUST_DOMAIN};
use crate::auth::jwt::claims::MAX_PRINCIPAL_BYTES;
use crate::auth::jwt::{ISSUER, SUBJECT};
use crate::auth::listeners::NAME_ATTRIBUTE as LISTENER_ATTRIBUTE;
use crate::auth::{
    AccessKeySettings, Attributes, Caller, CertificateMatch, CertificateSettings, IssuerSettings, ListenerIdentity,
    Scheme, TokenSettings,
};
use crate::base::{PrincipalId, UtcInstant};

/// Why there can be no such caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HypotheticalError {
    /// A subject that no accepted token can have.
    #[error("a subject has 1 to {MAX_PRINCIPAL_BYTES} bytes and no control characters")]
    Subject,
    /// An attribute that the gateway sets itself.
    #[error("the attribute `{0}` is set by the gateway")]
    Own(String),
    /// An attribute that no token of the issuer, or no certificate of the entry, can give.
    #[error("`{issuer}` gives no attribute `{name}`; it gives: {known}")]
    Unknown {
        /// Configured name of the issuer or entry.
        issuer: String,
        /// The attribute.
        name: String,
        /// The attributes that there are.
        known: String,
    },
    /// A SPIFFE id that is nobody here, with what would be said to its certificate.
    #[error("{0}")]
    SpiffeId(String),
}

/// The caller that would show the secret of this token; nobody has shown it.
pub fn hypothetical_token(token: &TokenSettings, address: IpAddr) -> Caller {
    let mut attributes = token.attributes.clone();
    attributes.insert(NAME_ATTRIBUTE.to_owned(), vec![token.name.clone()]);
    let principal = PrincipalId::new(format!("token:{}", token.name));
    Caller::new(principal, Scheme::AppToken, token.name.clone(), attributes, address, token.expires)
}

/// The caller that would sign with this access key, its body too; nobody has.
pub fn hypothetical_key(key: &AccessKeySettings, address: IpAddr) -> Caller {
    let mut attributes = key.attributes.clone();
    attributes.insert(KEY_ATTRIBUTE.to_owned(), vec![key.name.clone()]);
    let principal = PrincipalId::new(format!("key:{}", key.name));
    Caller::new(principal, Scheme::AccessKey, key.name.clone(), attributes, address, key.expires).signing_body(true)
}

/// The caller that would reach this listener; nobody has.
pub fn hypothetical_listener(listener: &ListenerIdentity, address: IpAddr) -> Caller {
    let mut attributes = listener.attributes.clone();
    attributes.insert(LISTENER_ATTRIBUTE.to_owned(), vec![listener.name.clone()]);
    let principal = PrincipalId::new(format!("listener:{}", listener.name));
    Caller::new(principal, Scheme::Listener, listener.name.clone(), attributes, address, None)
}

/// The caller that would show a certificate of this entry; nobody has. `given` are the parts of a SPIFFE id that are attributes.
///
/// # Errors
/// [`HypotheticalError::Unknown`] for an attribute that no such certificate gives.
pub fn hypothetical_certificate(
    certificate: &CertificateSettings,
    given: &Attributes,
    address: IpAddr,
) -> Result<Caller, HypotheticalError> {
    let CertificateSettings { name, matches, attributes } = certificate;
    let mut attributes = attributes.clone();
    attributes.insert(CERTIFICATE_ATTRIBUTE.to_owned(), vec![name.clone()]);
    let mut parts: Vec<&str> = Vec::new();
    if let CertificateMatch::Spiffe { trust_domain, path } = matches {
        attributes.insert(TRUST_DOMAIN.to_owned(), vec![trust_domain.clone()]);
        parts.extend(path.attributes());
    }
    for (attribute, values) in given {
        if !parts.contains(&attribute.as_str()) {
            let (issuer, name) = (name.clone(), attribute.clone());
            return Err(HypotheticalError::Unknown { issuer, name, known: parts.join(", ") });
        }
        attributes.insert(attribute.clone(), values.clone());
    }
    let principal = PrincipalId::new(format!("certificate:{name}"));
    Ok(Caller::new(principal, Scheme::Certificate, name.clone(), attributes, address, None))
}

/// The caller that would show a certificate with this SPIFFE id and no other name; nobody has.
///
/// # Errors
/// [`HypotheticalError::SpiffeId`] if such a certificate is nobody's.
pub fn hypothetical_spiffe(
    certificates: &[CertificateSettings],
    id: &str,
    address: IpAddr,
) -> Result<Caller, HypotheticalError> {
    let end_of_time = UtcInstant::MAX;
    let shown = ClientCertificate {
        subject: String::new(),
        dns_names: Vec::new(),
        uris: vec![id.to_owned()],
        not_after: end_of_time,
        may_sign: false,
        signs: true,
    };
    let certificates = Certificates::new(certificates.to_vec());
    let certificates = certificates.map_err(|error| HypotheticalError::SpiffeId(error.to_string()))?;
    let caller = certificates.authenticate(&shown, address, end_of_time);
    let caller = caller.map_err(|error| HypotheticalError::SpiffeId(error.to_string()))?;
    let (principal, source) = (caller.principal().clone(), caller.source_name().to_owned());
    Ok(Caller::new(principal, Scheme::Certificate, source, caller.attributes().clone(), address, None))
}

/// The caller that would show a token of this issuer with this subject and these attributes; nobody has shown one.
///
/// What the subject says is known without being given: `issuer`, and each attribute made of the claim that names the principal.
///
/// # Errors
/// [`HypotheticalError`] if no token of the issuer could make such a caller.
pub fn hypothetical_subject(
    issuer: &IssuerSettings,
    subject: &str,
    given: &Attributes,
    address: IpAddr,
) -> Result<Caller, HypotheticalError> {
    if subject.is_empty() || subject.len() > MAX_PRINCIPAL_BYTES || subject.chars().any(char::is_control) {
        return Err(HypotheticalError::Subject);
    }
    let own = |claim: &str| (claim == issuer.principal_claim).then(|| vec![subject.to_owned()]);
    let mut attributes = Attributes::from([(ISSUER.to_owned(), vec![issuer.name.clone()])]);
    attributes.extend(own(SUBJECT).map(|values| (SUBJECT.to_owned(), values)));
    attributes
        .extend(issuer.attributes.iter().filter_map(|(name, claim)| own(claim).map(|values| (name.clone(), values))));
    for (name, values) in given {
        if name == ISSUER {
            return Err(HypotheticalError::Own(name.clone()));
        }
        if name != SUBJECT && !issuer.attributes.contains_key(name) {
            let known: Vec<&str> = [SUBJECT].into_iter().chain(issuer.attributes.keys().map(String::as_str)).collect();
            return Err(HypotheticalError::Unknown {
                issuer: issuer.name.clone(),
                name: name.clone(),
                known: known.join(", "),
            });
        }
        attributes.insert(name.clone(), values.clone());
    }
    let principal = PrincipalId::new(format!("{}:{subject}", issuer.name));
    Ok(Caller::new(principal, Scheme::Jwt, issuer.name.clone(), attributes, address, None))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::Ipv4Addr;

    use super::*;
    use crate::auth::KeySource;

    fn issuer() -> IssuerSettings {
        IssuerSettings {
            name: "corp".to_owned(),
            issuer: "https://idp.example.com/".to_owned(),
            audiences: vec!["s3".to_owned()],
            algorithms: vec![jsonwebtoken::Algorithm::RS256],
            keys: KeySource::Discovery,
            jwks_hosts: Vec::new(),
            jwks_token: None,
            ca_file: None,
            required: true,
            token_types: Vec::new(),
            required_claims: BTreeMap::new(),
            principal_claim: "email".to_owned(),
            attributes: [("mail", "email"), ("groups", "groups")].map(|(a, b)| (a.to_owned(), b.to_owned())).into(),
            leeway: std::time::Duration::from_secs(30),
        }
    }

    fn subject(subject: &str, given: &[(&str, &str)]) -> Result<Caller, HypotheticalError> {
        let given = given.iter().map(|(name, value)| ((*name).to_owned(), vec![(*value).to_owned()])).collect();
        hypothetical_subject(&issuer(), subject, &given, Ipv4Addr::LOCALHOST.into())
    }

    #[test]
    fn a_subject_has_what_its_token_would_give() {
        let caller = subject("a@b.c", &[("groups", "red")]).unwrap();
        assert_eq!((caller.principal().as_str(), caller.source_name()), ("corp:a@b.c", "corp"));
        let expected = [("groups", "red"), ("issuer", "corp"), ("mail", "a@b.c")];
        let expected: Attributes = expected.map(|(name, value)| (name.to_owned(), vec![value.to_owned()])).into();
        assert_eq!(*caller.attributes(), expected, "`sub` is another claim than the principal, and was not given");
    }

    #[test]
    fn a_subject_that_no_token_can_have_is_refused() {
        assert_eq!(subject("", &[]).unwrap_err(), HypotheticalError::Subject);
        assert_eq!(subject("a\nb", &[]).unwrap_err(), HypotheticalError::Subject);
        assert_eq!(subject("a", &[("issuer", "x")]).unwrap_err(), HypotheticalError::Own("issuer".to_owned()));
        let unknown = subject("a", &[("team", "x")]).unwrap_err();
        assert_eq!(unknown.to_string(), "`corp` gives no attribute `team`; it gives: sub, groups, mail");
    }
}

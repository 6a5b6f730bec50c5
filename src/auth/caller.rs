//! The authenticated caller: evidence that `auth` said yes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::base::{PrincipalId, UtcInstant};

/// Attributes of a principal: name → values. They come from the configuration or from verified claims, never from headers.
pub type Attributes = BTreeMap<String, Vec<String>>;

/// How the caller proved who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// A static app token.
    AppToken,
    /// A JWT of a configured issuer.
    Jwt,
    /// A request signed with an access key of the gateway's own.
    AccessKey,
    /// A request signed with the keys of a session, which STS gave for a JWT of a configured issuer.
    Session,
    /// A listener that only one application can reach.
    Listener,
    /// A client certificate.
    Certificate,
}

impl Scheme {
    /// Name in audit records and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AppToken => "app_token",
            Self::Jwt => "jwt",
            Self::AccessKey => "access_key",
            Self::Session => "session",
            Self::Listener => "listener",
            Self::Certificate => "certificate",
        }
    }
}

/// An authenticated caller. Only `auth` makes one.
#[derive(Debug, Clone)]
pub struct Caller {
    principal: PrincipalId,
    scheme: Scheme,
    source_name: String,
    attributes: Arc<Attributes>,
    address: IpAddr,
    expires: Option<UtcInstant>,
    signs_body: bool,
}

impl Caller {
    /// Made by an authentication scheme after its checks; `source_name` is the token's or issuer's configured name.
    pub(in crate::auth) fn new(
        principal: PrincipalId,
        scheme: Scheme,
        source_name: String,
        attributes: impl Into<Arc<Attributes>>,
        address: IpAddr,
        expires: Option<UtcInstant>,
    ) -> Self {
        Self { principal, scheme, source_name, attributes: attributes.into(), address, expires, signs_body: false }
    }

    /// The same caller, with a credential that covers the body of its request.
    pub(in crate::auth) fn signing_body(self, signs_body: bool) -> Self {
        Self { signs_body, ..self }
    }

    /// Whether the signature of the request covers its body: by a hash of it, or chunk by chunk.
    pub fn signs_body(&self) -> bool {
        self.signs_body
    }

    /// Who it is, as written in audit records.
    pub fn principal(&self) -> &PrincipalId {
        &self.principal
    }

    /// How it was proven.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Configured name of the token, key, issuer, listener or certificate behind the caller.
    pub fn source_name(&self) -> &str {
        &self.source_name
    }

    /// Attributes for rules and prefix templates.
    pub fn attributes(&self) -> &Attributes {
        &self.attributes
    }

    /// Network address the request came from.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// When the credential ends, if it does.
    pub fn expires(&self) -> Option<UtcInstant> {
        self.expires
    }

    /// A caller for tests of later stages.
    #[cfg(test)]
    pub(crate) fn for_test(scheme: Scheme, source_name: &str, attributes: &[(&str, &[&str])]) -> Self {
        let attributes: Attributes = attributes
            .iter()
            .map(|(name, values)| ((*name).to_owned(), values.iter().map(|v| (*v).to_owned()).collect()))
            .collect();
        let principal = PrincipalId::new(format!("{}:{source_name}", scheme.as_str()));
        Self::new(principal, scheme, source_name.to_owned(), attributes, IpAddr::from([127, 0, 0, 1]), None)
    }
}

//! What authentication is configured with: app tokens by digest and token issuers.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jsonwebtoken::Algorithm;

use crate::auth::Attributes;
use crate::base::UtcInstant;

/// Everything that can authenticate. At least one token or issuer, checked by `config`.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// App tokens.
    pub tokens: Vec<TokenSettings>,
    /// JWT issuers.
    pub issuers: Vec<IssuerSettings>,
}

/// One app token.
#[derive(Debug, Clone)]
pub struct TokenSettings {
    /// Name of the token in rules and audit records; never the secret.
    pub name: String,
    /// SHA-256 of the secret.
    pub digest: [u8; 32],
    /// The token is refused from this instant on.
    pub expires: Option<UtcInstant>,
    /// Attributes of the principal, for rules and prefix templates.
    pub attributes: Attributes,
}

/// One issuer of JWTs.
#[derive(Debug, Clone)]
pub struct IssuerSettings {
    /// Name of the issuer in rules and audit records.
    pub name: String,
    /// The exact `iss` value.
    pub issuer: String,
    /// Accepted `aud` values; a token must carry one of them. Never empty.
    pub audiences: Vec<String>,
    /// Accepted signature algorithms; never empty, asymmetric only.
    pub algorithms: Vec<Algorithm>,
    /// Where the keys come from.
    pub keys: KeySource,
    /// Hosts besides the issuer's own that the discovery document's `jwks_uri` may name.
    pub jwks_hosts: Vec<String>,
    /// PEM file of certificate authorities for fetching, instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Whether `/readyz` waits for the keys of this issuer.
    pub required: bool,
    /// Accepted `typ` header values in lower case, without `application/`; empty accepts any of `jwt`, `at+jwt` and absence.
    pub token_types: Vec<String>,
    /// Claims that must be present with one of the values (Cognito: `token_use: [access]`).
    pub required_claims: BTreeMap<String, Vec<String>>,
    /// Claim that names the principal; `sub` by default.
    pub principal_claim: String,
    /// Attribute name → claim name. `sub` is always an attribute.
    pub attributes: BTreeMap<String, String>,
    /// Tolerated clock difference, at most 60 s.
    pub leeway: std::time::Duration,
}

/// Where an issuer's key set is read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// `{issuer}/.well-known/openid-configuration`, then its `jwks_uri`.
    Discovery,
    /// A JWKS document at this URL.
    Url(String),
    /// A JWKS document in this file.
    File(PathBuf),
}

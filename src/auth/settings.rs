//! What authentication is configured with: app tokens by digest, access keys, token issuers, listeners and client certificates.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use jsonwebtoken::Algorithm;

use crate::auth::Attributes;
use crate::auth::certificates::PathPattern;
use crate::auth::session_token::RingKey;
use crate::base::{Secret, UtcInstant};

/// Everything that can authenticate; at least one of them, checked by `config`.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// App tokens.
    pub tokens: Vec<TokenSettings>,
    /// JWT issuers.
    pub issuers: Vec<IssuerSettings>,
    /// Access keys of the gateway's own.
    pub access_keys: Vec<AccessKeySettings>,
    /// Identities of listeners.
    pub listeners: Vec<ListenerIdentity>,
    /// Client certificates.
    pub certificates: Vec<CertificateSettings>,
    /// What a signed request must keep to.
    pub signing: SigningSettings,
    /// Sessions that STS gives out; `None` if it is not enabled.
    pub sessions: Option<SessionSettings>,
}

/// Sessions: access keys for a while.
#[derive(Debug, Clone)]
pub struct SessionSettings {
    /// The first seals, all open; empty for one that is made at the start and known to this process alone.
    pub keys: Vec<RingKey>,
    /// Longest session, and how long one lasts that nobody asked to be shorter. At most [`SessionSettings::LONGEST`].
    pub lifetime: Duration,
}

impl SessionSettings {
    /// As in AWS.
    pub const SHORTEST: Duration = Duration::from_secs(15 * 60);
    /// As in AWS.
    pub const LONGEST: Duration = Duration::from_secs(12 * 3600);
}

/// One access key of the gateway's own, for clients that sign with SigV4.
#[derive(Debug, Clone)]
pub struct AccessKeySettings {
    /// Name of the key in rules and audit records.
    pub name: String,
    /// Access key id, as clients send it.
    pub id: String,
    /// Secret access key. It is needed as it is: signatures are made with it, not with a hash of it.
    pub secret: Secret,
    /// The key is refused from this instant on.
    pub expires: Option<UtcInstant>,
    /// Attributes of the principal, for rules and prefix templates.
    pub attributes: Attributes,
}

/// Client certificates that are known.
#[derive(Debug, Clone)]
pub struct CertificateSettings {
    /// Name in rules and audit records.
    pub name: String,
    /// Which certificates.
    pub matches: CertificateMatch,
    /// Attributes of the principal, for rules and prefix templates.
    pub attributes: Attributes,
}

/// Which certificates an entry is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateMatch {
    /// The one with this subject, in the form of RFC 4514.
    Subject(String),
    /// The one with this among its DNS names.
    Dns(String),
    /// The one with this among its URIs.
    Uri(String),
    /// Those with a SPIFFE id of this trust domain whose path fits. The principal is the SPIFFE id.
    Spiffe {
        /// Name of the trust domain.
        trust_domain: String,
        /// Paths that fit, and attributes in them.
        path: PathPattern,
    },
}

/// Who everybody is that reaches a listener.
#[derive(Debug, Clone)]
pub struct ListenerIdentity {
    /// Name of the identity in rules and audit records, and of the listener that has it.
    pub name: String,
    /// Access key id that SDKs may sign with there; their signatures are not looked at.
    pub placeholder: String,
    /// Attributes of the principal, for rules and prefix templates.
    pub attributes: Attributes,
}

/// What a signed request must keep to.
#[derive(Debug, Clone)]
pub struct SigningSettings {
    /// Accepted regions of the credential scope; empty accepts every region. The first is the one that refused clients are told.
    pub regions: Vec<String>,
    /// Most that the clock of a client may differ, at most [`SigningSettings::MAX_SKEW`].
    pub clock_skew: Duration,
    /// Longest accepted `X-Amz-Expires`, at most [`SigningSettings::MAX_PRESIGNED`].
    pub presigned_expiry: Duration,
    /// Where a body may come under no signature of its own.
    pub unsigned_payload: UnsignedPayload,
    /// The host that clients sign, if something before the gateway sends another in `Host`.
    pub host: Option<String>,
}

impl SigningSettings {
    /// As in S3.
    pub const MAX_SKEW: Duration = Duration::from_secs(15 * 60);
    /// As in S3: seven days.
    pub const MAX_PRESIGNED: Duration = Duration::from_secs(7 * 24 * 3600);
}

impl Default for SigningSettings {
    fn default() -> Self {
        Self {
            regions: vec!["us-east-1".to_owned()],
            clock_skew: Self::MAX_SKEW,
            presigned_expiry: Self::MAX_PRESIGNED,
            unsigned_payload: UnsignedPayload::Loopback,
            host: None,
        }
    }
}

/// Where the body of a request signed in its header may come without a signature that covers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnsignedPayload {
    /// Over TLS only.
    Tls,
    /// Over TLS, and in clear text from a loopback address.
    Loopback,
    /// Anywhere.
    Anywhere,
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
    /// File with a token that is shown, as a bearer token, where the key set is fetched from a URL. Read again for each fetch.
    pub jwks_token: Option<PathBuf>,
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
    /// Attribute name → claim: a name, or a path that begins with `/`. `sub` is always an attribute.
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

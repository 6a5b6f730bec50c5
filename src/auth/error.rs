//! Why a caller was not authenticated, and why authentication could not be set up.
//!
//! No variant holds any part of a presented credential: errors are logged.

use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;

use crate::auth::key_fetch::KeyFetchError;
use crate::auth::post_policy::PolicyError;
use crate::auth::session_token::SessionFault;
use crate::dial::DialError;
use crate::sigv4::FormFault;

/// Why a request has no [`Caller`](crate::auth::Caller).
///
/// The client may learn the variant but not what is inside it, or the reasons become an oracle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// No credential was presented.
    #[error("no credential was presented")]
    Missing,
    /// More than one credential was presented; a cache or log could go by one and we by the other.
    #[error("more than one credential was presented")]
    Several,
    /// A credential beside a connection that says by itself who the caller is.
    #[error("the connection says who the caller is, and the request shows a credential that is no placeholder")]
    BesideConnection,
    /// The `Authorization` header does not have the form of a credential.
    #[error("the authorization header is malformed")]
    Malformed,
    /// The credential is of a kind that is not accepted.
    #[error("credentials of the kind {0} are not accepted")]
    Unsupported(CredentialKind),
    /// The credential was read and refused.
    #[error("the credential was refused: {0}")]
    Invalid(InvalidReason),
    /// The credential is genuine, but its time is over.
    #[error("the credential has expired")]
    Expired,
    /// A signed request was not accepted.
    #[error("the signed request was refused: {0}")]
    Signature(#[from] SignatureError),
    /// The policy of a browser form was not accepted.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// A token cannot be checked now, because its issuer's keys are missing or too old.
    #[error("there are no usable keys of issuer `{issuer}`")]
    KeysUnavailable {
        /// Configured name of the issuer.
        issuer: String,
    },
}

impl AuthError {
    /// Whether it counts as a failed authentication of the address: not what the gateway itself lacks, nor a region that clients are
    /// told and then sign for, before anything of the credential was looked at.
    pub fn counts_as_failure(&self) -> bool {
        !matches!(self, Self::KeysUnavailable { .. } | Self::Signature(SignatureError::Region { .. }))
    }
}

/// A kind of credential that is recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialKind {
    /// `Authorization: AWS4-ECDSA-P256-SHA256 …`.
    SigV4aHeader,
    /// `Authorization: AWS key:signature`.
    SigV2Header,
    /// `Signature` and `AWSAccessKeyId` in the query.
    PresignedV2,
    /// `Signature` and `AWSAccessKeyId` in a browser form.
    FormV2,
    /// `Authorization: Basic …`.
    Basic,
    /// Another authentication scheme.
    Other,
}

impl std::fmt::Display for CredentialKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::SigV4aHeader => "SigV4A header",
            Self::SigV2Header => "SigV2 header",
            Self::PresignedV2 => "SigV2 query",
            Self::FormV2 => "SigV2 form",
            Self::Basic => "basic",
            Self::Other => "other",
        })
    }
}

/// Why a credential that was read is not accepted. For the operator only.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidReason {
    /// No app token has this digest, and the text is not a JWT either.
    #[error("unknown token")]
    UnknownToken,
    /// Longer than any accepted token.
    #[error("longer than {limit_bytes} bytes")]
    TooLarge {
        /// The limit.
        limit_bytes: usize,
    },
    /// Not three parts of strict base64url, or header or claims are not strict JSON objects.
    #[error("not a well-formed JWT: {0}")]
    NotAJwt(JwtFault),
    /// `iss` is not that of a configured issuer.
    #[error("unknown issuer")]
    UnknownIssuer,
    /// `alg` is not in the issuer's list.
    #[error("signature algorithm not in the list of issuer `{issuer}`")]
    AlgorithmNotAllowed {
        /// Configured name of the issuer.
        issuer: String,
    },
    /// `typ` is not an accepted token type.
    #[error("token type not accepted from issuer `{issuer}`")]
    WrongTokenType {
        /// Configured name of the issuer.
        issuer: String,
    },
    /// No key of the issuer has this `kid`, or none fits a token without one.
    #[error("issuer `{issuer}` has no key for this token")]
    UnknownKey {
        /// Configured name of the issuer.
        issuer: String,
    },
    /// The key exists, but must not be used for this: its `alg` or type differs, or several keys would do.
    #[error("key of issuer `{issuer}` does not fit the token: {fault}")]
    UnsuitableKey {
        /// Configured name of the issuer.
        issuer: String,
        /// What does not fit.
        fault: KeyMisfit,
    },
    /// The signature is not by the issuer's key.
    #[error("signature does not verify with the key of issuer `{issuer}`")]
    BadSignature {
        /// Configured name of the issuer.
        issuer: String,
    },
    /// A claim is missing, or has a value that is not accepted.
    #[error("claim `{claim}` of a token from issuer `{issuer}`: {fault}")]
    Claim {
        /// Configured name of the issuer.
        issuer: String,
        /// Name of the claim, from the configuration or the standard.
        claim: String,
        /// What is wrong with it.
        fault: ClaimFault,
    },
    /// A client certificate that is good for the listener, but is nobody here.
    #[error("client certificate: {0}")]
    Certificate(CertificateFault),
    /// A connection came over a listener whose identity is not configured any more.
    #[error("the listener has no identity `{name}` any more")]
    NoListener {
        /// Configured name of the identity.
        name: String,
    },
    /// A session token does not stand for a session any more, or none could be made.
    #[error(transparent)]
    Session(#[from] SessionFault),
}

/// Why a client certificate that the listener accepts is no caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateFault {
    /// No entry of the configuration fits.
    #[error("no entry of `clients.certificates` fits it")]
    Unknown,
    /// Several entries fit.
    #[error("more than one entry of `clients.certificates` fits it")]
    Ambiguous,
    /// It may sign other certificates.
    #[error("it is that of an authority")]
    MaySign,
    /// A SPIFFE id beside another URI.
    #[error("it has a SPIFFE id and another URI")]
    SeveralUris,
    /// A SPIFFE id that is none, or that of a trust domain.
    #[error("its SPIFFE id is malformed, or has no path")]
    SpiffeId,
    /// A SPIFFE id, and key usages without digital signatures.
    #[error("it has a SPIFFE id, and its key is not for digital signatures")]
    Usage,
}

/// In what way a text is not a JWT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JwtFault {
    /// Other than two dots.
    #[error("not three parts")]
    Parts,
    /// Padding, line breaks, characters of another alphabet, or spare bits that are not zero.
    #[error("not strict base64url")]
    Encoding,
    /// Not JSON, not an object, deeper than 16 levels, or a name appears twice.
    #[error("not a strict JSON object")]
    Json,
    /// A header parameter changes how the token is to be read: `crit`, `zip` or `b64`.
    #[error("the header has an extension that is not supported")]
    Extension,
    /// A header parameter has the wrong type or is too long.
    #[error("a header parameter has the wrong type")]
    Header,
}

/// Why a key is not used for a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyMisfit {
    /// Type, curve or `alg` of the key differ from the token's `alg`.
    #[error("it is for another algorithm")]
    Algorithm,
    /// The token has no `kid` and several keys fit.
    #[error("the token names no key and several fit")]
    Ambiguous,
}

/// What is wrong with a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClaimFault {
    /// Not there.
    #[error("missing")]
    Missing,
    /// Another JSON type than expected, or a number that cannot be kept exactly.
    #[error("has an unusable type")]
    Type,
    /// A time outside the years 1970 to 9999.
    #[error("not a usable time")]
    Time,
    /// Empty, too long, or with control characters.
    #[error("has an unusable text")]
    Text,
    /// None of its values is accepted.
    #[error("has no accepted value")]
    Value,
    /// In the future.
    #[error("lies in the future")]
    Future,
}

/// Why a request that is signed with SigV4, in its header or its query, was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The `Authorization` header cannot be read.
    #[error("the authorization header: {0}")]
    Header(FormFault),
    /// The query of a presigned URL cannot be read.
    #[error("the query: {0}")]
    Query(FormFault),
    /// The day of the scope is not that of the request.
    #[error("the day of the scope is not that of the request")]
    OtherDay,
    /// The scope is for a region that is not accepted.
    #[error("the region of the scope is not accepted, expected is `{expected}`")]
    Region {
        /// One that is.
        expected: String,
    },
    /// No date, two, or one that cannot be read.
    #[error("there is no x-amz-date or Date that can be read")]
    Date,
    /// The host is missing, doubled, or differs from the target.
    #[error("the Host header is missing, doubled, or differs from the target")]
    Host,
    /// No `x-amz-content-sha256`.
    #[error("x-amz-content-sha256 is missing")]
    NoPayloadHash,
    /// `x-amz-content-sha256` twice, or with a value that is not known.
    #[error("x-amz-content-sha256 is neither 64 hex digits nor a known word")]
    PayloadHash,
    /// The date is outside the allowed skew. The clock of the client is the usual cause.
    #[error("the time of the request differs by {skew_secs} s, at most {limit_secs} s are allowed")]
    Skewed {
        /// How much older the request is than now; negative if it is from the future.
        skew_secs: i64,
        /// The limit.
        limit_secs: u64,
    },
    /// A presigned URL that is good in the future only.
    #[error("the presigned URL is not valid yet")]
    NotYet,
    /// A presigned URL whose time is over.
    #[error("the presigned URL has expired")]
    Over,
    /// A presigned URL with a longer life than the configuration allows.
    #[error("the presigned URL lives longer than {limit_secs} s")]
    LivesTooLong {
        /// The limit.
        limit_secs: u64,
    },
    /// The signature is not that of the request.
    #[error("the signature does not fit the request")]
    Mismatch,
    /// A signed header is not there any more.
    #[error("the signed header `{0}` is not in the request")]
    HeaderGone(HeaderName),
    /// A header that must be signed is not.
    #[error("the header `{0}` is not signed")]
    NotSigned(HeaderName),
    /// A body that the signature does not cover, in clear text.
    #[error("the payload is not signed, and the connection is not encrypted")]
    UnsignedPayload,
    /// No key has this access key id.
    #[error("unknown access key id")]
    UnknownKey,
    /// The access key has ended.
    #[error("the access key has expired")]
    KeyExpired,
    /// A presigned URL or a form with a JWT as its session token, which is the secret as well.
    #[error("a JWT is the session token of a presigned URL or a form")]
    JwtHandedOut,
    /// A session token that does not go with the access key.
    #[error("the session token does not go with the access key")]
    Token,
}

/// Why authentication cannot be set up from the settings.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// Nothing that could ever authenticate anybody.
    #[error("no app token, access key, issuer, identity of a listener or client certificate is configured")]
    Nothing,
    /// A name that cannot stand in a principal's name, or an issuer's that begins those of callers of another kind.
    #[error("`{name}` cannot be the name of a client or an issuer")]
    BadName {
        /// The name.
        name: String,
    },
    /// Two tokens, two access keys or two issuers of one name.
    #[error("`{name}` is configured twice")]
    DuplicateName {
        /// The name.
        name: String,
    },
    /// Two app tokens with one secret.
    #[error("tokens `{first}` and `{second}` have the same secret")]
    DuplicateSecret {
        /// Name of one token.
        first: String,
        /// Name of the other.
        second: String,
    },
    /// Two access keys with one id.
    #[error("access keys `{first}` and `{second}` have the same id")]
    DuplicateKeyId {
        /// Name of one key.
        first: String,
        /// Name of the other.
        second: String,
    },
    /// The secret is the empty text, or the digest that of it.
    #[error("the secret of `{name}` is empty")]
    EmptySecret {
        /// Name of the token or access key.
        name: String,
    },
    /// An attribute that is set automatically cannot be configured to be something else.
    #[error("`{attribute}` of `{name}` is set automatically and cannot be configured")]
    ReservedAttribute {
        /// Name of the token or issuer.
        name: String,
        /// Name of the attribute.
        attribute: String,
    },
    /// Two issuers with the same `iss` value.
    #[error("issuers `{first}` and `{second}` have the same `issuer` value")]
    DuplicateIssuer {
        /// Name of one issuer.
        first: String,
        /// Name of the other.
        second: String,
    },
    /// A list or text that must not be empty is.
    #[error("`{field}` of issuer `{name}` is empty")]
    Empty {
        /// Name of the issuer.
        name: String,
        /// The setting.
        field: &'static str,
    },
    /// A symmetric algorithm: whoever can check a token could also make one.
    #[error("issuer `{name}` allows {algorithm:?}, but only asymmetric algorithms may be allowed")]
    SymmetricAlgorithm {
        /// Name of the issuer.
        name: String,
        /// The algorithm.
        algorithm: jsonwebtoken::Algorithm,
    },
    /// More tolerance than is good for expiry.
    #[error("leeway of issuer `{name}` is {} s, at most {} s allowed", leeway.as_secs(), limit.as_secs())]
    Leeway {
        /// Name of the issuer.
        name: String,
        /// The configured leeway.
        leeway: Duration,
        /// The limit.
        limit: Duration,
    },
    /// The URL of the keys cannot be used.
    #[error("keys of issuer `{name}`: {problem}")]
    KeyUrl {
        /// Name of the issuer.
        name: String,
        /// What is wrong with the URL.
        problem: UrlFault,
    },
    /// The key file cannot be used.
    #[error("keys of issuer `{name}` in {}: {problem}", path.display())]
    KeyFile {
        /// Name of the issuer.
        name: String,
        /// The file.
        path: PathBuf,
        /// What is wrong with the file.
        problem: KeyFetchError,
    },
    /// Connections to the issuer cannot be prepared.
    #[error("keys of issuer `{name}`: {problem}")]
    Dial {
        /// Name of the issuer.
        name: String,
        /// What is missing.
        problem: DialError,
    },
}

/// Why a URL is not fetched from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlFault {
    /// Not an absolute URL with a host.
    #[error("not an absolute URL")]
    Syntax,
    /// Neither `https`, nor `http` to a loopback address.
    #[error("not https (http is accepted only for a loopback address such as 127.0.0.1)")]
    Scheme,
    /// Has a user name, or, for discovery, a query.
    #[error("has a user name, a query or a fragment")]
    Extra,
}

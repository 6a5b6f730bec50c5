//! Which credential a request presents: exactly one, or it is refused.
//!
//! Looks at the `Authorization` header and at the names in the query, nowhere else: a token in `?access_token=` or a cookie
//! would end up in logs and referrers, so it counts as no credential. Checks the form of a credential, not its truth.
//! Source: RFC 9110 §11.4, RFC 6750 §2.1, and the places where SigV2 and SigV4 put their signatures.

use std::sync::Arc;

use http::HeaderValue;
use http::header::AUTHORIZATION;
use http::request::Parts;
use percent_encoding::percent_decode_str;

use crate::arrival::{ConnectionFacts, Vouched};
use crate::auth::access_keys::printable_id;
use crate::auth::error::{AuthError, CredentialKind, InvalidReason, SignatureError};
use crate::base::Secret;
use crate::sigv4::{PresignedQuery, SignedHead};

/// Longest accepted bearer token in bytes.
pub const MAX_TOKEN_BYTES: usize = 8192;

/// The one credential of a request, not yet checked.
#[derive(Debug, Clone)]
pub enum Claim {
    /// `Authorization: Bearer …`: an app token or a JWT.
    Bearer(Secret),
    /// `Authorization: AWS4-HMAC-SHA256 …`: a signature over the request.
    SigV4Header(SignedHead),
    /// `X-Amz-Signature` and its like: a presigned URL.
    Presigned(Box<PresignedQuery>),
    /// The connection says who it is, and not the request.
    Vouched {
        /// What the connection says.
        by: Arc<Vouched>,
        /// The signature that an SDK makes all the same: with a placeholder, or it is a second credential.
        shown: Option<Box<Claim>>,
    },
}

impl Claim {
    /// The access key id of a signature, for the audit record. Whoever sent it has shown nothing yet.
    pub fn access_key_id(&self) -> Option<&str> {
        match self {
            Self::Bearer(_) => None,
            Self::SigV4Header(signed) => printable_id(&signed.credential.access_key_id),
            Self::Presigned(query) => printable_id(&query.signed.credential.access_key_id),
            Self::Vouched { shown, .. } => shown.as_ref().and_then(|shown| shown.access_key_id()),
        }
    }
}

/// Where in a query there is a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InQuery {
    Presigned,
    PresignedV2,
}

impl Claim {
    /// Reads which credential a request presents that came over `connection`.
    ///
    /// # Errors
    /// Those of [`Self::parse`]; [`AuthError::BesideConnection`] for a credential beside that of the connection.
    pub fn of(head: &Parts, connection: &ConnectionFacts) -> Result<Self, AuthError> {
        let Some(by) = &connection.vouched else { return Self::parse(head) };
        let shown = match (Self::parse(head), &**by) {
            (Err(AuthError::Missing), _) => None,
            (Ok(shown @ (Self::SigV4Header(_) | Self::Presigned(_))), Vouched::Listener(_)) => Some(Box::new(shown)),
            (Ok(_), _) => return Err(AuthError::BesideConnection),
            (Err(error), _) => return Err(error),
        };
        Ok(Self::Vouched { by: Arc::clone(by), shown })
    }

    /// Reads which credential a request presents.
    ///
    /// # Errors
    /// [`AuthError::Missing`], [`AuthError::Several`], [`AuthError::Malformed`], [`AuthError::Unsupported`],
    /// [`InvalidReason::TooLarge`], or the form of a signature that cannot be read.
    pub fn parse(head: &Parts) -> Result<Self, AuthError> {
        let in_query = credential_in_query(head.uri.query().unwrap_or_default())?;
        let mut headers = head.headers.get_all(AUTHORIZATION).iter();
        match (headers.next(), headers.next(), in_query) {
            (None, _, None) => Err(AuthError::Missing),
            (None, _, Some(InQuery::PresignedV2)) => Err(AuthError::Unsupported(CredentialKind::PresignedV2)),
            (None, _, Some(InQuery::Presigned)) => match PresignedQuery::parse(head.uri.query().unwrap_or_default()) {
                Ok(query) => Ok(Self::Presigned(Box::new(query))),
                Err(fault) => Err(SignatureError::Query(fault).into()),
            },
            (Some(header), None, None) => from_header(header),
            (Some(_), Some(_), _) | (Some(_), _, Some(_)) => Err(AuthError::Several),
        }
    }
}

/// The kind of credential in a query, if there is one.
///
/// Names are compared after one percent-decoding and without regard to case: a store behind us could read
/// `x-amz-signatur%65` as a signature, and refusing more than AWS would is safe.
fn credential_in_query(query: &str) -> Result<Option<InQuery>, AuthError> {
    let mut found = None;
    if query.is_empty() {
        return Ok(found);
    }
    for pair in query.split('&') {
        let name = pair.split_once('=').map_or(pair, |(name, _)| name);
        let name = percent_decode_str(name).decode_utf8_lossy().to_ascii_lowercase();
        let kind = match name.as_str() {
            "x-amz-signature" | "x-amz-credential" | "x-amz-algorithm" | "x-amz-security-token" => InQuery::Presigned,
            "signature" | "awsaccesskeyid" => InQuery::PresignedV2,
            _ => continue,
        };
        if found.is_some_and(|earlier| earlier != kind) {
            return Err(AuthError::Several);
        }
        found = Some(kind);
    }
    Ok(found)
}

fn from_header(header: &HeaderValue) -> Result<Claim, AuthError> {
    let text = header.to_str().map_err(|_| AuthError::Malformed)?;
    let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
    if scheme.is_empty() || !scheme.bytes().all(is_token_byte) {
        return Err(AuthError::Malformed);
    }
    if scheme.eq_ignore_ascii_case("bearer") {
        return bearer(rest.trim_start_matches(' '));
    }
    match scheme.to_ascii_lowercase().as_str() {
        "aws4-hmac-sha256" => match SignedHead::parse(rest) {
            Ok(signed) => Ok(Claim::SigV4Header(signed)),
            Err(fault) => Err(SignatureError::Header(fault).into()),
        },
        "aws4-ecdsa-p256-sha256" => Err(AuthError::Unsupported(CredentialKind::SigV4aHeader)),
        "aws" => Err(AuthError::Unsupported(CredentialKind::SigV2Header)),
        "basic" => Err(AuthError::Unsupported(CredentialKind::Basic)),
        _ => Err(AuthError::Unsupported(CredentialKind::Other)),
    }
}

/// A `b64token`: at least one character of the base64 and base64url alphabets, `.` or `~`, then any number of `=`.
fn bearer(token: &str) -> Result<Claim, AuthError> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(AuthError::Invalid(InvalidReason::TooLarge { limit_bytes: MAX_TOKEN_BYTES }));
    }
    let body = token.trim_end_matches('=');
    if body.is_empty()
        || !body.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'+' | b'/'))
    {
        return Err(AuthError::Malformed);
    }
    Ok(Claim::Bearer(Secret::new(token)))
}

/// `tchar` of RFC 9110 §5.6.2.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    /// The accepted token, or the refusal.
    fn parse(uri: &str, authorization: &[&[u8]]) -> Result<String, AuthError> {
        let mut request = Request::builder().uri(uri);
        for value in authorization {
            request = request.header(AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        Claim::parse(&head).map(|claim| match claim {
            Claim::Bearer(secret) => secret.expose().to_owned(),
            Claim::SigV4Header(signed) => format!("header {}", signed.credential.access_key_id),
            Claim::Presigned(query) => format!("query {}", query.signed.credential.access_key_id),
            Claim::Vouched { .. } => unreachable!("nothing is known of a connection"),
        })
    }

    fn parse_header(value: &str) -> Result<String, AuthError> {
        parse("/bucket/key?list-type=2", &[value.as_bytes()])
    }

    #[test]
    fn a07_one_well_formed_bearer_token_is_a_claim() {
        for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
            assert_eq!(parse_header(&format!("{scheme} aZ09-._~+/==")), Ok("aZ09-._~+/==".to_owned()), "{scheme}");
        }
        assert_eq!(parse_header("Bearer  x"), Ok("x".to_owned()), "RFC 9110 allows several spaces");
    }

    #[test]
    fn a07_malformed_credentials_are_refused() {
        for value in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer   ",
            "Bearer \t",
            "Bearer\tx",
            "Bearer \tx",
            "Bearer x\t",
            "Bearer a b",
            "Bearer x ",
            "Bearer a,b",
            "Bearer a, Bearer b",
            "Bearer =",
            "Bearer ==",
            "Bearer a=b",
            "Bearer \"a\"",
            "Bearer a;b",
            "Bearer a%41",
            " Bearer x",
            ",Bearer x",
            "Bearer:x",
            "Bearer, x",
        ] {
            assert_eq!(parse_header(value), Err(AuthError::Malformed), "{value:?}");
        }
        assert_eq!(parse("/", &[b"Bearer \xc3\xa9"]), Err(AuthError::Malformed), "not ASCII");
    }

    #[test]
    fn a07_recognised_but_unsupported_kinds_are_named() {
        let cases = [
            ("AWS4-ECDSA-P256-SHA256 Credential=AK", CredentialKind::SigV4aHeader),
            ("AWS AK:c2ln", CredentialKind::SigV2Header),
            ("Basic dTpw", CredentialKind::Basic),
            ("Negotiate YII", CredentialKind::Other),
            ("BearerX x", CredentialKind::Other),
            ("x", CredentialKind::Other),
        ];
        for (value, kind) in cases {
            assert_eq!(parse_header(value), Err(AuthError::Unsupported(kind)), "{value}");
        }
        let query = "/b/k?AWSAccessKeyId=AK&Expires=1&Signature=x";
        assert_eq!(parse(query, &[]), Err(AuthError::Unsupported(CredentialKind::PresignedV2)));
    }

    const SIGNED: &str = "AWS4-HMAC-SHA256 Credential=AK/20260101/eu/s3/aws4_request, SignedHeaders=host, Signature=00";
    const PRESIGNED: &str = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AK%2F20260101%2Feu%2Fs3%2Faws4_request&\
                             X-Amz-Date=20260101T000000Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Signature=00";

    #[test]
    fn a01_a02_signatures_are_claims_wherever_they_stand() {
        assert_eq!(parse_header(SIGNED), Ok("header AK".to_owned()));
        assert_eq!(parse_header(&SIGNED.replace("AWS4-HMAC", "aws4-hmac")), Ok("header AK".to_owned()));
        assert_eq!(parse(&format!("/b/k?acl&{PRESIGNED}"), &[]), Ok("query AK".to_owned()));
        assert_eq!(parse(&format!("/b/k?{PRESIGNED}"), &[SIGNED.as_bytes()]), Err(AuthError::Several));
        assert_eq!(parse("/", &[SIGNED.as_bytes(), SIGNED.as_bytes()]), Err(AuthError::Several));
    }

    #[test]
    fn b15_b20_a_signature_that_is_not_whole_is_no_other_credential() {
        for header in ["AWS4-HMAC-SHA256", "AWS4-HMAC-SHA256 ", "AWS4-HMAC-SHA256 x", "aws4-hmac-sha256 Signature=00"] {
            let refused = parse_header(header);
            assert!(matches!(refused, Err(AuthError::Signature(SignatureError::Header(_)))), "{header}: {refused:?}");
        }
        for query in [
            "X-Amz-Signature=00",
            "x-amz-security-token",
            "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AK&X-Amz-Signature=00",
            &PRESIGNED.to_ascii_lowercase(),
            &PRESIGNED.replace("X-Amz-Signature=00", "x-amz-signature=00"),
            &format!("{PRESIGNED}&X-Amz-Signature=00"),
            &format!("{PRESIGNED}&X-Amz-Signatur%65=00"),
        ] {
            let refused = parse(&format!("/b/k?{query}"), &[]);
            assert!(matches!(refused, Err(AuthError::Signature(SignatureError::Query(_)))), "{query}: {refused:?}");
        }
    }

    #[test]
    fn a08_nothing_that_is_looked_at_is_missing() {
        assert_eq!(parse("/", &[]), Err(AuthError::Missing));
        assert_eq!(parse("/minio/health?list-type=2&prefix=Signature", &[]), Err(AuthError::Missing));
    }

    #[test]
    fn a05_a_header_and_query_credentials_are_several() {
        for query in [
            "X-Amz-Signature=00",
            "x-amz-signature=00",
            "X-Amz-Signatur%65=00",
            "%58-Amz-Credential=a",
            "X-Amz-Algorithm",
            "a=b&X-Amz-Security-Token=x",
            "Signature=x&AWSAccessKeyId=AK",
            "AWSAccessKeyId=AK",
            "sign%61ture=",
            "&&Signature=x&&",
        ] {
            for header in ["Bearer x", "AWS4-HMAC-SHA256 x", "", "Bearer"] {
                let result = parse(&format!("/b/k?{query}"), &[header.as_bytes()]);
                assert_eq!(result, Err(AuthError::Several), "{query} with {header:?}");
            }
        }
        for query in ["X-Amz-Signatures=0", "X-Amz-Signatur%2565=0", "prefix=X-Amz-Signature", "X-Amz-Date=1", "", "="]
        {
            assert_eq!(parse(&format!("/b/k?{query}"), &[b"Bearer x"]), Ok("x".to_owned()), "{query}");
        }
        let both = "/b/k?X-Amz-Signature=00&Signature=x";
        assert_eq!(parse(both, &[]), Err(AuthError::Several), "two kinds in one query");
    }

    #[test]
    fn a06_two_authorization_headers_are_several_in_any_order() {
        for pair in [
            ["Bearer a", "Bearer b"],
            ["Bearer a", "Bearer a"],
            ["Bearer a", "AWS4-HMAC-SHA256 x"],
            ["", "Bearer a"],
            ["Basic x", "Bearer a"],
        ] {
            assert_eq!(parse("/", &pair.map(str::as_bytes)), Err(AuthError::Several), "{pair:?}");
        }
        assert_eq!(parse("/", &[b"Bearer a", b"Bearer b", b"Bearer c"]), Err(AuthError::Several));
    }

    #[test]
    fn i13_tokens_end_at_eight_kib() {
        let longest = "a".repeat(MAX_TOKEN_BYTES);
        assert_eq!(parse_header(&format!("Bearer {longest}")), Ok(longest.clone()));
        let too_large = AuthError::Invalid(InvalidReason::TooLarge { limit_bytes: MAX_TOKEN_BYTES });
        assert_eq!(parse_header(&format!("Bearer {longest}a")), Err(too_large));
    }

    #[test]
    fn i17_tokens_in_query_and_cookie_are_not_looked_at() {
        assert_eq!(parse("/b/k?access_token=x&jwt=y&token=z", &[]), Err(AuthError::Missing));
        let request =
            Request::builder().uri("/").header("cookie", "jwt=x").header("x-forwarded-authorization", "Bearer x");
        let (head, ()) = request.body(()).unwrap().into_parts();
        assert!(matches!(Claim::parse(&head), Err(AuthError::Missing)));
    }
}

//! Refusals of signed requests, in the words of S3. SDKs act on some of them: on a skewed clock, on the region that is expected.
//!
//! Nothing here repeats what AWS adds for debugging, the canonical request and the string to sign: who forges a signature learns the code
//! and no more.

use crate::auth::SignatureError;
use crate::respond::refusal::{Refusal, RefusalKind, sentence};
use crate::s3::S3ErrorCode as Code;

impl From<SignatureError> for Refusal {
    fn from(error: SignatureError) -> Self {
        let refuse = |code, message: &str| Self::new(code, RefusalKind::Auth, message, &error);
        let in_words = |code| refuse(code, &sentence(&error.to_string()));
        match &error {
            SignatureError::Header(fault) => {
                let message = format!("The authorization header is malformed: {fault}.");
                refuse(Code::AuthorizationHeaderMalformed, &message)
            }
            SignatureError::Query(fault) => {
                refuse(Code::AuthorizationQueryParametersError, &sentence(&fault.to_string()))
            }
            SignatureError::OtherDay => in_words(Code::AuthorizationHeaderMalformed),
            SignatureError::Region { expected } => {
                let message =
                    format!("The authorization header is malformed; the region is wrong; expecting '{expected}'.");
                Self { region: Some(expected.clone()), ..refuse(Code::AuthorizationHeaderMalformed, &message) }
            }
            SignatureError::Date => {
                refuse(Code::AccessDenied, "AWS authentication requires a valid Date or x-amz-date header.")
            }
            SignatureError::Host => in_words(Code::InvalidRequest),
            SignatureError::NoPayloadHash => {
                refuse(Code::InvalidRequest, "Missing required header for this request: x-amz-content-sha256.")
            }
            SignatureError::PayloadHash => in_words(Code::InvalidArgument),
            SignatureError::Skewed { .. } => refuse(
                Code::RequestTimeTooSkewed,
                "The difference between the request time and the current time is too large.",
            ),
            SignatureError::NotYet => refuse(Code::AccessDenied, "Request is not valid yet"),
            SignatureError::Over => refuse(Code::AccessDenied, "Request has expired"),
            SignatureError::LivesTooLong { .. } => in_words(Code::AuthorizationQueryParametersError),
            SignatureError::Mismatch | SignatureError::HeaderGone(_) => refuse(
                Code::SignatureDoesNotMatch,
                "The request signature we calculated does not match the signature you provided. Check your key and signing method.",
            ),
            SignatureError::NotSigned(name) => refuse(
                Code::AccessDenied,
                &format!("There were headers present in the request which were not signed: {name}."),
            ),
            SignatureError::UnsignedPayload => refuse(
                Code::AccessDenied,
                "A payload that is not signed is accepted over TLS only. Use https, or sign the payload.",
            ),
            SignatureError::UnknownKey => {
                refuse(Code::InvalidAccessKeyId, "The access key id you provided does not exist in our records.")
            }
            SignatureError::KeyExpired => Self {
                status: http::StatusCode::BAD_REQUEST,
                ..refuse(Code::ExpiredToken, "The provided token has expired.")
            },
            SignatureError::JwtHandedOut => refuse(
                Code::AccessDenied,
                "A JWT must not stand in a URL or a form. Get keys for it with AssumeRoleWithWebIdentity, and sign with these.",
            ),
            SignatureError::Token => Self {
                status: http::StatusCode::FORBIDDEN,
                ..refuse(Code::InvalidToken, "The session token does not go with the access key.")
            },
        }
    }
}

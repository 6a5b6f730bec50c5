//! Why STS refuses, and what the client is told: the refusal table of this API. SDKs go by the code.
//!
//! Source: AWS STS API reference, "Common errors" and AssumeRoleWithWebIdentity; what botocore 1.43 tries again (`IDPCommunicationError`,
//! `Throttling`).

use http::StatusCode;

use crate::auth::{AuthError, InvalidReason, SessionFault, SignatureError};
use crate::limits::Limited;
use crate::respond::refusal::sentence;
use crate::respond::{Refusal, RefusalKind};
use crate::sigv4::FormFault;
use crate::sts::MAX_FORM_BYTES;
use crate::sts::form::FormError;

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StsError {
    /// The parameters cannot be read.
    #[error(transparent)]
    Form(#[from] FormError),
    /// The parameters are longer than any action's.
    #[error("the parameters have more than {MAX_FORM_BYTES} bytes")]
    TooLong,
    /// Parameters in body and query at once.
    #[error("there are parameters in the query and a body")]
    TwoPlaces,
    /// The body did not come to its end, or not in time.
    #[error("the body did not arrive")]
    NoBody,
    /// There is no `Action`.
    #[error("the parameter Action is missing")]
    NoAction,
    /// An action that is not served.
    #[error("the action is not served; there are AssumeRoleWithWebIdentity and GetCallerIdentity")]
    UnknownAction,
    /// Another version of the API, or none.
    #[error("the version is not 2011-06-15")]
    Version,
    /// A parameter that the action does not have.
    #[error("a parameter is not one of the action")]
    UnknownParameter,
    /// A parameter that the action needs.
    #[error("the parameter {0} is missing")]
    Missing(&'static str),
    /// A parameter with a value that it cannot have.
    #[error("the value of {0} is not acceptable")]
    Value(&'static str),
    /// `Policy` or `PolicyArns`: what narrows a session here are the rules.
    #[error("session policies are not supported; what a session may do is said by the rules of the gateway")]
    SessionPolicy,
    /// A credential beside the token that is the credential.
    #[error("AssumeRoleWithWebIdentity is not signed")]
    Signed,
    /// A role that is not in the list.
    #[error("the role is not configured")]
    Role,
    /// The caller is not known.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// Too many failures of this address.
    #[error("{limited}: {cause}")]
    Limited {
        /// The limit.
        limited: Limited,
        /// What the last failure was.
        cause: AuthError,
    },
    /// The caller asks for too much.
    #[error(transparent)]
    TooMuch(#[from] Limited),
    /// The record of the request would have no place, so it is not answered. The text says where.
    #[error("{0}")]
    NoRoom(String),
}

/// What the client gets to see of an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The word that SDKs go by.
    pub code: &'static str,
    /// HTTP status.
    pub status: StatusCode,
    /// What a person reads.
    pub message: String,
    /// Whose fault it is, for metrics.
    pub kind: RefusalKind,
}

impl StsError {
    /// The row of the table.
    pub fn told(&self, action: Option<&'static str>) -> Told {
        let client = |code| tell(code, 400, RefusalKind::Client, &sentence(&self.to_string()));
        match self {
            Self::Form(_) | Self::TwoPlaces => client("MalformedQueryString"),
            Self::TooLong | Self::Missing(_) | Self::Value(_) | Self::UnknownParameter | Self::Signed => {
                client("ValidationError")
            }
            Self::NoBody => tell("RequestTimeout", 408, RefusalKind::Client, "The body did not arrive."),
            Self::NoAction => client("MissingAction"),
            Self::UnknownAction => client("InvalidAction"),
            Self::Version => client("NoSuchVersion"),
            Self::SessionPolicy => client("MalformedPolicyDocument"),
            Self::Role => {
                let message = "Not authorized to perform sts:AssumeRoleWithWebIdentity.";
                tell("AccessDenied", 403, RefusalKind::Denied, message)
            }
            Self::Auth(error) if action == Some("AssumeRoleWithWebIdentity") => of_web_identity(error),
            Self::Auth(error) => of_signature(error),
            Self::Limited { .. } => throttled("Too many failed authentications. Try again, more slowly."),
            Self::TooMuch(_) => throttled("Too many requests. Try again, more slowly."),
            Self::NoRoom(_) => throttled("The gateway cannot take requests at the moment. Try again."),
        }
    }

    /// Seconds after which to try again, of a 503.
    pub fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Limited { limited, .. } | Self::TooMuch(limited) => Some(limited.retry_after()),
            Self::NoRoom(_) => Some(2),
            _ => None,
        }
    }
}

fn tell(code: &'static str, status: u16, kind: RefusalKind, message: &str) -> Told {
    let status = StatusCode::from_u16(status).expect("a literal of the table");
    Told { code, status, message: message.to_owned(), kind }
}

fn throttled(message: &str) -> Told {
    tell("Throttling", 503, RefusalKind::Limited, message)
}

/// A web identity token that is not accepted. Of the reasons the client learns no more than of a bearer token's.
fn of_web_identity(error: &AuthError) -> Told {
    let auth = |code, message| tell(code, 400, RefusalKind::Auth, message);
    match error {
        AuthError::Expired => auth("ExpiredTokenException", "The web identity token has expired."),
        AuthError::KeysUnavailable { .. } => {
            auth("IDPCommunicationError", "The token cannot be verified at the moment. Try again.")
        }
        AuthError::Invalid(InvalidReason::Session(SessionFault::TooLarge)) => {
            auth("PackedPolicyTooLarge", "The claims of the token make a session token that is too long.")
        }
        _ => auth("InvalidIdentityToken", "The web identity token was not accepted."),
    }
}

/// A signed request that is not accepted.
fn of_signature(error: &AuthError) -> Told {
    let auth = |code, message: &str| tell(code, 403, RefusalKind::Auth, message);
    let incomplete = |message| tell("IncompleteSignature", 400, RefusalKind::Auth, message);
    match error {
        AuthError::Missing => auth("MissingAuthenticationToken", "The request is not signed."),
        AuthError::Several | AuthError::BesideConnection => {
            tell("ValidationError", 400, RefusalKind::Auth, "Only one auth mechanism is allowed.")
        }
        AuthError::Malformed | AuthError::Unsupported(_) | AuthError::Policy(_) => {
            incomplete("Sign the request with SigV4, in its header.")
        }
        AuthError::Expired | AuthError::Signature(SignatureError::KeyExpired) => {
            auth("ExpiredToken", "The security token included in the request is expired.")
        }
        AuthError::Invalid(_) | AuthError::Signature(SignatureError::UnknownKey | SignatureError::Token) => {
            auth("InvalidClientTokenId", "The security token included in the request is invalid.")
        }
        AuthError::Signature(SignatureError::Header(FormFault::Service)) => {
            auth("SignatureDoesNotMatch", "Credential should be scoped to correct service: 'sts'.")
        }
        AuthError::Signature(SignatureError::Header(_) | SignatureError::Query(_)) => {
            incomplete("Sign the request with SigV4, in its header.")
        }
        AuthError::Signature(error) => auth("SignatureDoesNotMatch", &Refusal::from(error.clone()).message),
        AuthError::KeysUnavailable { .. } => {
            tell("ServiceUnavailable", 503, RefusalKind::Auth, "Tokens cannot be verified at the moment. Try again.")
        }
    }
}

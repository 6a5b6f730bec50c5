//! The part of the table of refusals that only browsers meet: forms, their policies, and preflight requests.

use crate::auth::PolicyError;
use crate::cors::CorsError;
use crate::respond::refusal::{Refusal, RefusalKind};
use crate::s3::S3ErrorCode;
use crate::s3::post_form::FormError;
use crate::s3::post_object::PostObjectError;

impl From<CorsError> for Refusal {
    fn from(error: CorsError) -> Self {
        match &error {
            CorsError::Unreadable(_) | CorsError::Body | CorsError::NoRules | CorsError::NotAllowed => {
                let message = "This CORS request is not allowed.";
                Self::new(S3ErrorCode::AccessForbidden, RefusalKind::Denied, message, &error)
            }
        }
    }
}

impl From<FormError> for Refusal {
    fn from(error: FormError) -> Self {
        let code = match &error {
            FormError::Boundary | FormError::Malformed(_) => S3ErrorCode::MalformedPOSTRequest,
            FormError::TooLong | FormError::TooMany => S3ErrorCode::MaxPostPreDataLengthExceeded,
            FormError::Doubled(_) => S3ErrorCode::InvalidArgument,
            FormError::NoFile => S3ErrorCode::IncorrectNumberOfFilesInPostRequest,
        };
        Self::client(code, &error)
    }
}

impl From<PostObjectError> for Refusal {
    fn from(error: PostObjectError) -> Self {
        let code = match &error {
            PostObjectError::NoKey => S3ErrorCode::UserKeyMustBeSpecified,
            PostObjectError::NoFilename
            | PostObjectError::Bucket
            | PostObjectError::Field(_)
            | PostObjectError::Both(..) => S3ErrorCode::InvalidArgument,
            PostObjectError::Tagging(error) => return error.clone().into(),
        };
        Self::client(code, &error)
    }
}

impl From<PolicyError> for Refusal {
    fn from(error: PolicyError) -> Self {
        match &error {
            PolicyError::Field(_) => Self::client(S3ErrorCode::InvalidArgument, &error),
            PolicyError::Document(_) => Self::client(S3ErrorCode::InvalidPolicyDocument, &error),
            PolicyError::Expired | PolicyError::Condition(_) | PolicyError::Uncovered(_) => {
                let message = format!("Invalid according to Policy: {error}");
                Self::new(S3ErrorCode::AccessDenied, RefusalKind::Denied, message, &error)
            }
        }
    }
}

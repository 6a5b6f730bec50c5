//! Holds a permitted call to the terms of its rule, as far as its head tells: sizes, types, names, headers.
//!
//! What only the body can tell is checked by `body` under the same terms. How much a caller does at a time is held to its limits by
//! [`Limiter`].

pub mod accounts;
pub mod limiter;
pub mod meter;
pub mod rate;
pub mod shares;

use std::sync::Arc;

use http::header::CONTENT_ENCODING;
use http::{HeaderMap, HeaderName};

use crate::rules::{Permit, Terms};
use crate::s3::upload::MediaType;
use crate::s3::{Operation, S3Call, UploadHead};

pub use limiter::{LimitSettings, Limited, Limiter, Passage, StoreShares};
pub use meter::Meter;
pub use shares::Share;

/// A permitted call within the terms of its rule. The next stages ask for it.
#[derive(Debug)]
pub struct Admission {
    permit: Permit,
}

/// Why a permitted call was not admitted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// The declared length is over the rule's maximum.
    #[error("the object has {length} bytes, the rule allows at most {max}")]
    TooLarge {
        /// Declared bytes.
        length: u64,
        /// Most bytes allowed.
        max: u64,
    },
    /// The declared length is under the rule's minimum.
    #[error("the object has {length} bytes, the rule wants at least {min}")]
    TooSmall {
        /// Declared bytes.
        length: u64,
        /// Fewest bytes allowed.
        min: u64,
    },
    /// The media type is not one the rule accepts.
    #[error("the content type {0} is not one of those the rule allows")]
    ContentType(String),
    /// The rule wants a media type and none is declared.
    #[error("the rule wants a content type and none is declared")]
    ContentTypeMissing,
    /// The rule compares the object's bytes with its type, and the object is encoded (`gzip`, `br`, …).
    #[error("the rule compares the content with its type and takes no content encoding, but {0} is declared")]
    ContentEncoding(String),
    /// The name's extension is not one the rule accepts.
    #[error("the file name extension is not one of those the rule allows")]
    Extension,
    /// The rule wants a signature that covers the bytes.
    #[error("the rule wants a signature that covers the payload")]
    PayloadNotSigned,
    /// A header that the rule requires is missing or has another value.
    #[error("the rule wants the header {0}, with its value if it names one")]
    HeaderMissing(HeaderName),
}

impl Admission {
    /// Checks a permitted call against the terms of its rule.
    ///
    /// # Errors
    /// [`LimitError`] with the first term that is not kept.
    pub fn admit(permit: Permit) -> Result<Self, LimitError> {
        let (call, terms) = (permit.call(), permit.terms());
        if call.upload.is_some() && terms.signed_payload && !permit.caller().signs_body() {
            return Err(LimitError::PayloadNotSigned);
        }
        // An undeclared length is held to the same limits while the bytes pass.
        if let Some(length) = call.upload.as_ref().and_then(|upload| upload.length) {
            check_length(length, &body_terms(&permit))?;
        }
        // The properties of an object are declared with its creation; its parts have none.
        if matches!(call.operation, Operation::PutObject | Operation::CreateMultipartUpload) {
            check_type(&call.headers.pass, terms)?;
            check_extension(call, terms)?;
            check_encoding(declared_encoding(call), terms)?;
            check_headers(&call.headers.pass, terms)?;
        }
        if call.operation == Operation::CopyObject {
            check_extension(call, terms)?;
        }
        Ok(Self { permit })
    }

    /// Holds the object that a copy would make to the terms: its length in bytes, and the headers it would have.
    ///
    /// # Errors
    /// [`LimitError`] with the first term that is not kept.
    pub fn check_copy(&self, length: u64, headers: &HeaderMap) -> Result<(), LimitError> {
        let terms = self.terms();
        check_length(length, &self.body_terms())?;
        check_type(headers, terms)?;
        check_encoding(headers.get(CONTENT_ENCODING).and_then(|value| value.to_str().ok()), terms)?;
        check_headers(headers, terms)
    }

    /// Holds a part that is copied to the terms: a part alone must not be larger than the object may be.
    ///
    /// # Errors
    /// [`LimitError`] if it is.
    pub fn check_copied_part(&self, length: u64) -> Result<(), LimitError> {
        check_length(length, &self.body_terms())
    }

    /// What the body of an upload must keep to.
    pub fn body_terms(&self) -> BodyTerms {
        body_terms(&self.permit)
    }

    /// What was permitted.
    pub fn permit(&self) -> &Permit {
        &self.permit
    }

    /// The terms it was permitted on.
    pub fn terms(&self) -> &Arc<Terms> {
        self.permit.terms()
    }

    /// What the head says of the upload.
    ///
    /// # Panics
    /// If the call carries no object; `gateway` asks only for those that do.
    pub fn upload(&self) -> &UploadHead {
        self.permit.call().upload.as_ref().expect("the operation has an object body, checked by gateway")
    }
}

/// What only the bytes of an upload can tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyTerms {
    /// Fewest bytes.
    pub min_size: u64,
    /// Most bytes.
    pub max_size: Option<u64>,
    /// The declared media type that the first bytes must fit, if they are to be compared; a type may also be missing.
    pub check_type: Option<Option<String>>,
}

/// A part may be smaller than the object must be; the sum is checked at the end. Its first bytes are the object's only in part 1, whose
/// declared type `multipart` knows.
fn body_terms(permit: &Permit) -> BodyTerms {
    let (call, terms) = (permit.call(), permit.terms());
    let is_part = matches!(call.operation, Operation::UploadPart | Operation::UploadPartCopy);
    BodyTerms {
        min_size: if is_part { 0 } else { terms.min_size },
        max_size: terms.max_size,
        check_type: (terms.check_bytes && !is_part).then(|| declared_type(&call.headers.pass)),
    }
}

/// The declared media type of an object, in lower case and without parameters.
pub fn declared_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(http::header::CONTENT_TYPE)?.to_str().ok()?;
    MediaType::parse(value).map(|media_type| media_type.as_str().to_owned())
}

fn check_type(headers: &HeaderMap, terms: &Terms) -> Result<(), LimitError> {
    if terms.content_types.is_empty() {
        return Ok(());
    }
    let declared = declared_type(headers).ok_or(LimitError::ContentTypeMissing)?;
    if terms.content_types.iter().any(|accepted| type_matches(accepted, &declared)) {
        Ok(())
    } else {
        Err(LimitError::ContentType(declared))
    }
}

fn check_extension(call: &S3Call, terms: &Terms) -> Result<(), LimitError> {
    let key = call.resource.key().map_or("", |key| key.as_str());
    if terms.extensions.is_empty() || extension(key).is_some_and(|extension| terms.extensions.contains(&extension)) {
        Ok(())
    } else {
        Err(LimitError::Extension)
    }
}

fn declared_encoding(call: &S3Call) -> Option<&str> {
    match &call.upload {
        // Without `aws-chunked`, which is framing.
        Some(upload) => upload.content_encoding.as_deref(),
        None => call.headers.pass.get(CONTENT_ENCODING).and_then(|value| value.to_str().ok()),
    }
}

/// A reader takes the encoding off before it looks at the bytes, so the bytes here would say nothing about what it sees.
fn check_encoding(declared: Option<&str>, terms: &Terms) -> Result<(), LimitError> {
    let mut codings = declared.unwrap_or_default().split(',').map(str::trim);
    match codings.find(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case("identity")) {
        Some(coding) if terms.check_bytes => Err(LimitError::ContentEncoding(coding.to_owned())),
        _ => Ok(()),
    }
}

fn check_headers(headers: &HeaderMap, terms: &Terms) -> Result<(), LimitError> {
    let missing = |(name, value): &&(HeaderName, Option<http::HeaderValue>)| match (headers.get(name), value) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(sent), Some(wanted)) => sent != wanted,
    };
    match terms.require_headers.iter().find(missing) {
        Some((name, _)) => Err(LimitError::HeaderMissing(name.clone())),
        None => Ok(()),
    }
}

fn check_length(length: u64, terms: &BodyTerms) -> Result<(), LimitError> {
    match terms.max_size {
        Some(max) if length > max => Err(LimitError::TooLarge { length, max }),
        _ if length < terms.min_size => Err(LimitError::TooSmall { length, min: terms.min_size }),
        _ => Ok(()),
    }
}

/// `image/*` and `*/*` stand for families.
fn type_matches(accepted: &str, declared: &str) -> bool {
    match accepted.strip_suffix("/*") {
        Some("*") => true,
        Some(kind) => declared.split_once('/').is_some_and(|(declared_kind, _)| declared_kind == kind),
        None => accepted == declared,
    }
}

/// What stands behind the last dot of the last segment, in lower case.
fn extension(key: &str) -> Option<String> {
    let name = key.rsplit('/').next()?;
    name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_ranges_match_their_family() {
        assert!(
            type_matches("image/*", "image/png")
                && type_matches("*/*", "a/b")
                && type_matches("text/plain", "text/plain")
        );
        assert!(!type_matches("image/*", "imagex/png") && !type_matches("text/plain", "text/html"));
    }

    #[test]
    fn the_extension_is_behind_the_last_dot_of_the_name() {
        assert_eq!(extension("a.b/photo.PNG").as_deref(), Some("png"));
        assert_eq!(extension("a/x.png.exe").as_deref(), Some("exe"));
        assert_eq!(extension("a.png/x"), None);
        assert_eq!(extension("a/x.").as_deref(), Some(""));
    }
}

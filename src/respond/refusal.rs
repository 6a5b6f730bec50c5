//! The one table of refusals: cause → S3 code, status, text for the client, kind for metrics.
//!
//! The client's text helps the client and says nothing of upstreams, rules or other callers; the operator finds the cause under the same
//! request id in the audit record and the log. Every failed authentication looks the same from outside.

use http::StatusCode;
use http::header::{ALLOW, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue};

use crate::arrival::{Lapse, Oversize};
use crate::audit::NoRoom;
use crate::auth::AuthError;
use crate::base::RequestId;
use crate::body::Fault;
use crate::inspect::Busy;
use crate::limits::{LimitError, Limited};
use crate::respond::body::{AnswerBody, Reply, Source};
use crate::rules::{Denied, SealError};
use crate::s3::addressing::AddressError;
use crate::s3::administration::AdministrationError;
use crate::s3::complete_upload::CompleteError;
use crate::s3::delete_objects::DeleteError;
use crate::s3::headers::HeaderError;
use crate::s3::listing::ListError;
use crate::s3::names::KeyError;
use crate::s3::range::RangeError;
use crate::s3::tagging::TaggingError;
use crate::s3::upload::UploadError;
use crate::s3::xml::XmlWriter;
use crate::s3::{IdentifyError, S3ErrorCode};
use crate::sign::SignError;
use crate::upstream::UpstreamError;

/// A refused request: everything the client, the metrics and the operator get to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// S3 error code.
    pub code: S3ErrorCode,
    /// HTTP status, usually the code's own.
    pub status: StatusCode,
    /// What the client reads.
    pub message: String,
    /// Whose fault it is.
    pub kind: RefusalKind,
    /// What the operator reads.
    pub reason: String,
    /// Seconds after which a 503 says to try again.
    pub retry_after: u64,
    /// The region that the client should have signed for. SDKs read it and sign again.
    pub region: Option<String>,
}

/// What a 503 says if nothing better is known.
const RETRY_AFTER_SECONDS: u64 = 2;

/// Whose fault a refusal is; a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefusalKind {
    /// The request is not right.
    Client,
    /// The caller is not known.
    Auth,
    /// The caller may not do this.
    Denied,
    /// Too much.
    Limited,
    /// The content is not acceptable.
    Blocked,
    /// The store failed, or answered with an error about the request.
    Upstream,
    /// The gateway failed.
    Internal,
}

impl RefusalKind {
    /// The word in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Auth => "auth",
            Self::Denied => "denied",
            Self::Limited => "limited",
            Self::Blocked => "blocked",
            Self::Upstream => "upstream",
            Self::Internal => "internal",
        }
    }
}

impl Refusal {
    /// A refusal with the code's own status.
    pub fn new(code: S3ErrorCode, kind: RefusalKind, message: impl Into<String>, reason: impl ToString) -> Self {
        let (status, reason) = (code.status(), reason.to_string());
        Self { code, status, message: message.into(), kind, reason, retry_after: RETRY_AFTER_SECONDS, region: None }
    }

    pub(in crate::respond) fn client(code: S3ErrorCode, error: &dyn std::fmt::Display) -> Self {
        Self::new(code, RefusalKind::Client, sentence(&error.to_string()), error)
    }

    /// The answer. `resource` is the path as the client sent it; `close` ends the connection behind it.
    pub fn render(&self, resource: &str, request_id: &RequestId, head_only: bool, close: bool) -> Reply {
        let document = self.document(resource, request_id.as_str());
        let length = document.len();
        let body =
            if head_only || self.status == StatusCode::NOT_MODIFIED { Vec::new() } else { document.into_bytes() };
        let mut reply = Reply::new(AnswerBody::new(Source::Full(body.into())));
        *reply.status_mut() = self.status;
        let headers = reply.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        if head_only {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        self.add_headers(headers, close);
        reply
    }

    /// The error document of S3.
    pub fn document(&self, resource: &str, request_id: &str) -> String {
        let mut xml = XmlWriter::new("Error", false);
        xml.text("Code", self.code.as_str())
            .text("Message", &self.message)
            .text("Resource", resource)
            .text("RequestId", request_id);
        if let Some(region) = &self.region {
            xml.text("Region", region);
        }
        xml.finish()
    }

    fn add_headers(&self, headers: &mut HeaderMap, close: bool) {
        if close {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = match self.code {
                S3ErrorCode::ExpiredToken => {
                    "Bearer realm=\"countersign\", error=\"invalid_token\", error_description=\"the token has expired\""
                }
                S3ErrorCode::InvalidToken => "Bearer realm=\"countersign\", error=\"invalid_token\"",
                _ => "Bearer realm=\"countersign\"",
            };
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if let Some(region) = self.region.as_deref().and_then(|region| HeaderValue::from_str(region).ok()) {
            headers.insert("x-amz-bucket-region", region);
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from(self.retry_after));
        }
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD, PUT, POST, DELETE"));
        }
    }
}

/// Error texts of stages are lower case without full stop; a client reads a sentence.
pub fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", characters.as_str())
}

/// The text behind every 403, so that nothing tells a missing bucket from a forbidden one.
const DENIED: &str = "Access Denied";

impl From<Oversize> for Refusal {
    fn from(error: Oversize) -> Self {
        match error {
            // S3 has no code of its own for it.
            Oversize::Target => {
                Self { status: StatusCode::URI_TOO_LONG, ..Self::client(S3ErrorCode::InvalidURI, &error) }
            }
            Oversize::Fields => Self::client(S3ErrorCode::RequestHeaderSectionTooLarge, &error),
        }
    }
}

impl From<AuthError> for Refusal {
    fn from(error: AuthError) -> Self {
        let auth = |code, message: &str| Self::new(code, RefusalKind::Auth, message, &error);
        match &error {
            AuthError::Missing => Self {
                status: StatusCode::UNAUTHORIZED,
                ..auth(
                    S3ErrorCode::AccessDenied,
                    "A credential is needed: Authorization: Bearer <token>, or a SigV4 signature.",
                )
            },
            AuthError::Several => auth(S3ErrorCode::InvalidArgument, "Only one auth mechanism is allowed."),
            AuthError::BesideConnection => auth(
                S3ErrorCode::InvalidArgument,
                "This connection says who the caller is. Use the placeholder of the listener as access key id, or no credential.",
            ),
            AuthError::Malformed => auth(S3ErrorCode::InvalidToken, "The credential could not be read."),
            AuthError::Unsupported(_) => auth(
                S3ErrorCode::NotImplemented,
                "This kind of credential is not accepted; use Authorization: Bearer <token>, or SigV4.",
            ),
            AuthError::Invalid(_) => auth(S3ErrorCode::InvalidToken, "The token was not accepted."),
            AuthError::Signature(error) => error.clone().into(),
            AuthError::Policy(error) => error.clone().into(),
            AuthError::Expired => auth(S3ErrorCode::ExpiredToken, "The token has expired."),
            AuthError::KeysUnavailable { .. } => {
                auth(S3ErrorCode::ServiceUnavailable, "Tokens cannot be verified at the moment. Try again.")
            }
        }
    }
}

impl From<Lapse> for Refusal {
    fn from(lapse: Lapse) -> Self {
        let (code, kind, message) = match lapse {
            Lapse::Expired => (S3ErrorCode::ExpiredToken, RefusalKind::Auth, "The client certificate has expired."),
            Lapse::Refused => (
                S3ErrorCode::InvalidToken,
                RefusalKind::Auth,
                "The client certificate is no longer accepted. Connect anew.",
            ),
            // Nothing is wrong with the request: SDKs send it again on a new connection, which may come another way.
            Lapse::Proxy => (
                S3ErrorCode::ServiceUnavailable,
                RefusalKind::Client,
                "The way of this connection is no longer accepted. Connect anew.",
            ),
        };
        Self::new(code, kind, message, lapse)
    }
}

impl From<IdentifyError> for Refusal {
    fn from(error: IdentifyError) -> Self {
        use S3ErrorCode as Code;
        match &error {
            IdentifyError::Address(AddressError::Target(_)) => Self::client(Code::InvalidURI, &error),
            IdentifyError::Address(AddressError::Host) | IdentifyError::UnexpectedBody(_) => {
                Self::client(Code::InvalidRequest, &error)
            }
            IdentifyError::NoBucket => Self::client(Code::InvalidBucketName, &error),
            IdentifyError::UnknownBucket(_) => Self::new(Code::AccessDenied, RefusalKind::Denied, DENIED, &error),
            IdentifyError::Within(_, error) => error.as_ref().clone().into(),
            IdentifyError::Key(KeyError::TooLong { .. }) => Self::client(Code::KeyTooLongError, &error),
            IdentifyError::Key(KeyError::Reserved) => {
                Self::new(Code::AccessDenied, RefusalKind::Denied, DENIED, &error)
            }
            IdentifyError::Key(_) => Self::client(Code::InvalidURI, &error),
            IdentifyError::Method(_) => Self::client(Code::MethodNotAllowed, &error),
            IdentifyError::UnknownParameter(_) => Self::client(Code::InvalidArgument, &error),
            IdentifyError::Headers(header) => Self::client(header_code(header), &error),
            IdentifyError::CopySource(_) => Self::client(Code::InvalidArgument, &error),
            IdentifyError::Upload(upload) => Self::client(upload_code(upload), &error),
            IdentifyError::Range(RangeError::NotOne | RangeError::PartNumber) => {
                Self::client(Code::InvalidArgument, &error)
            }
            IdentifyError::Range(RangeError::Both) | IdentifyError::NoDigest(_) => {
                Self::client(Code::InvalidRequest, &error)
            }
            IdentifyError::Attributes(_) | IdentifyError::EncodedDocument(_) => {
                Self::client(Code::InvalidArgument, &error)
            }
            IdentifyError::Expectation => Self::client(Code::ExpectationFailed, &error),
            IdentifyError::NotServed(_) | IdentifyError::NotServedHere(_) => Self::client(Code::NotImplemented, &error),
        }
    }
}

fn header_code(error: &HeaderError) -> S3ErrorCode {
    match error {
        HeaderError::Refused(_) | HeaderError::Duplicate(_) | HeaderError::NotText(_) => S3ErrorCode::InvalidArgument,
        HeaderError::ConnectionNamed(_) => S3ErrorCode::InvalidRequest,
        HeaderError::MetadataTooLarge(_) => S3ErrorCode::MetadataTooLarge,
    }
}

fn upload_code(error: &UploadError) -> S3ErrorCode {
    match error {
        UploadError::NoDecodedLength => S3ErrorCode::MissingContentLength,
        UploadError::BadDigest(_) => S3ErrorCode::InvalidDigest,
        UploadError::TooLong(_) => S3ErrorCode::EntityTooLarge,
        UploadError::SignedChunks => S3ErrorCode::NotImplemented,
        UploadError::BadLength(_)
        | UploadError::UnexpectedDecodedLength
        | UploadError::BadContentSha256
        | UploadError::SeveralChecksums
        | UploadError::BadTrailer
        | UploadError::BadContentType
        | UploadError::FramingContradiction
        | UploadError::BadTransferEncoding => S3ErrorCode::InvalidArgument,
    }
}

impl From<Denied> for Refusal {
    fn from(error: Denied) -> Self {
        let denied = |message: String| Self::new(S3ErrorCode::AccessDenied, RefusalKind::Denied, message, &error);
        match &error {
            Denied::ByRule { .. } | Denied::NoRule { .. } => denied(DENIED.to_owned()),
            Denied::Header { header, .. } => denied(format!("The header {header} is not allowed here.")),
            Denied::ResponseOverride { parameter, .. } => {
                denied(format!("The parameter {parameter} is not allowed here."))
            }
            Denied::Uninspected { .. } => denied(
                "What is read here is inspected, and this request would pass that by. A copy needs a target where it is inspected too."
                    .to_owned(),
            ),
            Denied::List(list) => match list {
                ListError::Max(_)
                | ListError::EncodingType
                | ListError::Prefix(_)
                | ListError::Delimiter(_)
                | ListError::StartAfter(..)
                | ListError::VersionMarker
                | ListError::UploadMarker
                | ListError::Token => Self::client(S3ErrorCode::InvalidArgument, &error),
            },
        }
    }
}

impl From<ListError> for Refusal {
    fn from(error: ListError) -> Self {
        Denied::List(error).into()
    }
}

impl From<LimitError> for Refusal {
    fn from(error: LimitError) -> Self {
        let refuse = |code, kind| Self::new(code, kind, sentence(&error.to_string()), &error);
        match &error {
            LimitError::TooLarge { .. } => refuse(S3ErrorCode::EntityTooLarge, RefusalKind::Limited),
            LimitError::TooSmall { .. } => refuse(S3ErrorCode::EntityTooSmall, RefusalKind::Limited),
            LimitError::ContentType(_)
            | LimitError::ContentTypeMissing
            | LimitError::ContentEncoding(_)
            | LimitError::Extension => refuse(S3ErrorCode::AccessDenied, RefusalKind::Blocked),
            LimitError::PayloadNotSigned | LimitError::HeaderMissing(_) => {
                refuse(S3ErrorCode::AccessDenied, RefusalKind::Denied)
            }
        }
    }
}

impl From<Limited> for Refusal {
    fn from(error: Limited) -> Self {
        let message = match &error {
            Limited::Requests { .. } => "Too many requests. Try again, more slowly.",
            Limited::InFlight { .. } | Limited::Share { .. } => "Too many requests at a time. Try again, with fewer.",
            Limited::Bytes { .. } => "Too many bytes under way. Try again, more slowly.",
            Limited::UnknownLengthShare { .. } => {
                "Too many uploads without a declared length are under way. Declare the length, or try again."
            }
            Limited::FailedAuthentications { .. } => "Too many failed authentications. Try again, more slowly.",
        };
        let retry_after = error.retry_after();
        Self { retry_after, ..Self::new(S3ErrorCode::SlowDown, RefusalKind::Limited, message, &error) }
    }
}

impl From<Busy> for Refusal {
    fn from(error: Busy) -> Self {
        let message = "Too many objects are inspected at a time. Try again, more slowly.";
        Self::new(S3ErrorCode::SlowDown, RefusalKind::Limited, message, error)
    }
}

impl From<NoRoom> for Refusal {
    fn from(error: NoRoom) -> Self {
        let message = "The gateway cannot take requests at the moment. Try again.";
        Self::new(S3ErrorCode::ServiceUnavailable, RefusalKind::Limited, message, error)
    }
}

impl From<CompleteError> for Refusal {
    fn from(error: CompleteError) -> Self {
        match &error {
            CompleteError::Order => Self::client(S3ErrorCode::InvalidPartOrder, &error),
            CompleteError::Xml(_)
            | CompleteError::NotText
            | CompleteError::Element(_)
            | CompleteError::Number
            | CompleteError::Count => Self::client(S3ErrorCode::MalformedXML, &error),
        }
    }
}

impl From<DeleteError> for Refusal {
    fn from(error: DeleteError) -> Self {
        match &error {
            DeleteError::Document(_) | DeleteError::Count | DeleteError::Key(_) | DeleteError::Doubled => {
                Self::client(S3ErrorCode::MalformedXML, &error)
            }
        }
    }
}

impl From<AdministrationError> for Refusal {
    fn from(error: AdministrationError) -> Self {
        match &error {
            AdministrationError::NotJson => Self::client(S3ErrorCode::MalformedPolicy, &error),
            AdministrationError::Location(_) => Self::client(S3ErrorCode::IllegalLocationConstraintException, &error),
            AdministrationError::Xml(_)
            | AdministrationError::NotText
            | AdministrationError::Root(_)
            | AdministrationError::Element(_) => Self::client(S3ErrorCode::MalformedXML, &error),
        }
    }
}

impl From<TaggingError> for Refusal {
    fn from(error: TaggingError) -> Self {
        match &error {
            TaggingError::Document(_) => Self::client(S3ErrorCode::MalformedXML, &error),
            TaggingError::Count | TaggingError::Length | TaggingError::Doubled => {
                Self::client(S3ErrorCode::InvalidTag, &error)
            }
        }
    }
}

impl From<SealError> for Refusal {
    fn from(error: SealError) -> Self {
        match error {
            SealError::Foreign | SealError::OtherRule => {
                Self::new(S3ErrorCode::NoSuchUpload, RefusalKind::Denied, "The upload does not exist.", error)
            }
            SealError::Listed => {
                let message = "An upload id out of a list is good for AbortMultipartUpload and ListParts only.";
                Self::new(S3ErrorCode::AccessDenied, RefusalKind::Denied, message, error)
            }
        }
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        use crate::body::DigestKind;
        let refuse = |code, kind| Self::new(code, kind, sentence(&fault.to_string()), &fault);
        match &fault {
            Fault::Incomplete { .. } | Fault::Overrun { .. } | Fault::ClientGone => {
                refuse(S3ErrorCode::IncompleteBody, RefusalKind::Client)
            }
            Fault::TooLarge { .. } => refuse(S3ErrorCode::EntityTooLarge, RefusalKind::Limited),
            Fault::TooSmall { .. } => refuse(S3ErrorCode::EntityTooSmall, RefusalKind::Limited),
            Fault::BadDigest(DigestKind::ContentSha256) => {
                refuse(S3ErrorCode::XAmzContentSHA256Mismatch, RefusalKind::Client)
            }
            Fault::BadDigest(_) => refuse(S3ErrorCode::BadDigest, RefusalKind::Client),
            Fault::Type(_) => refuse(S3ErrorCode::AccessDenied, RefusalKind::Blocked),
            Fault::Chunk(_) => refuse(S3ErrorCode::InvalidRequest, RefusalKind::Client),
            Fault::Form(_) => refuse(S3ErrorCode::MalformedPOSTRequest, RefusalKind::Client),
            Fault::ChunkSignature(_) => refuse(S3ErrorCode::SignatureDoesNotMatch, RefusalKind::Auth),
            Fault::ClientIdle { .. } | Fault::FieldsLate { .. } | Fault::ClientSlow { .. } => {
                refuse(S3ErrorCode::RequestTimeout, RefusalKind::Client)
            }
            Fault::Inspection(outcome) => outcome.as_ref().into(),
            Fault::Superseded | Fault::SourceGone => refuse(S3ErrorCode::BadGateway, RefusalKind::Upstream),
        }
    }
}

impl From<SignError> for Refusal {
    fn from(error: SignError) -> Self {
        match &error {
            SignError::NoCredentials(_) | SignError::Expired(_) => Self::new(
                S3ErrorCode::ServiceUnavailable,
                RefusalKind::Internal,
                "The store cannot be reached at the moment. Try again.",
                &error,
            ),
            SignError::Header(_) => Self::new(
                S3ErrorCode::InternalError,
                RefusalKind::Internal,
                "The request could not be forwarded.",
                &error,
            ),
        }
    }
}

impl From<UpstreamError> for Refusal {
    fn from(error: UpstreamError) -> Self {
        let store = |code, message: &str| Self::new(code, RefusalKind::Upstream, message, &error);
        match &error {
            UpstreamError::Upload(fault) => fault.clone().into(),
            UpstreamError::Busy { .. } => store(S3ErrorCode::SlowDown, "The store is busy. Try again, more slowly."),
            UpstreamError::Resting { wait, .. } => Self {
                retry_after: wait.as_secs() + 1,
                ..store(S3ErrorCode::ServiceUnavailable, "The store cannot be reached at the moment. Try again.")
            },
            UpstreamError::Connect { .. } => store(S3ErrorCode::BadGateway, "The store cannot be reached. Try again."),
            UpstreamError::Broken { .. } => {
                store(S3ErrorCode::BadGateway, "The store broke off the connection. Try again.")
            }
            UpstreamError::NoAnswer { .. } | UpstreamError::Stalled { .. } => {
                store(S3ErrorCode::GatewayTimeout, "The store did not answer in time. Try again.")
            }
        }
    }
}

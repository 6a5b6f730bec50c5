//! Which S3 operation a request is, and what it touches.
//!
//! One decision from method, target, exact query keys and telling headers over the table of operations. A request that fits no
//! operation, or fits one but carries a query key the operation does not know, is refused: stores answer such requests with the
//! plain object (`GET /bucket/key?unknown=`), so passing them on would widen a right.

use std::sync::Arc;

use http::request::Parts;

use crate::s3::addressing::{AddressError, locate};
use crate::s3::buckets::{Bucket, Buckets};
use crate::s3::copy_source::{self, CopySource, CopySourceError};
use crate::s3::delete_objects::DeleteRequest;
use crate::s3::headers::{HeaderError, SortedHeaders, check_connection};
use crate::s3::names::{KeyError, ObjectKey};
use crate::s3::object_attributes::{self, AttributesError};
use crate::s3::operation::{Body, Level, Operation, OperationSpec};
use crate::s3::post_object::PostObject;
use crate::s3::range::{self, RangeError};
use crate::s3::serving::{carries_document, serving};
use crate::s3::target::Target;
use crate::s3::upload::{BodyFraming, UploadError, UploadHead};

/// An S3 request as understood: one operation, what it touches, what it carries.
#[derive(Debug, Clone)]
pub struct S3Call {
    /// The operation.
    pub operation: Operation,
    /// What it touches.
    pub resource: Resource,
    /// Its query parameters, decoded, all known to the operation.
    pub query: Vec<(String, String)>,
    /// Its headers, sorted by what becomes of them.
    pub headers: SortedHeaders,
    /// What the head says of the object's bytes, if the operation carries any.
    pub upload: Option<UploadHead>,
    /// What a copy reads.
    pub source: Option<CopySource>,
    /// What the head says of an XML body, or of a policy.
    pub document: Option<UploadHead>,
    /// What a DeleteObjects deletes, once its body was read.
    pub batch: Option<Arc<DeleteRequest>>,
}

/// What an operation touches, in public terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    /// The list of buckets.
    Service,
    /// A bucket as a whole.
    Bucket(Arc<Bucket>),
    /// One key.
    Object(Arc<Bucket>, ObjectKey),
}

impl Resource {
    /// The bucket, if one is named.
    pub fn bucket(&self) -> Option<&Arc<Bucket>> {
        match self {
            Self::Service => None,
            Self::Bucket(bucket) | Self::Object(bucket, _) => Some(bucket),
        }
    }

    /// The key, if one is named.
    pub fn key(&self) -> Option<&ObjectKey> {
        match self {
            Self::Service | Self::Bucket(_) => None,
            Self::Object(_, key) => Some(key),
        }
    }
}

impl S3Call {
    /// The decoded value of a query parameter.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Why a request was not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentifyError {
    /// Host or target have no single reading.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The path names a key but no bucket (`//key`).
    #[error("the path has a key but no bucket")]
    NoBucket,
    /// The bucket is not one of the gateway's. Answered like a bucket the caller may not see.
    #[error("the bucket `{0}` is not configured")]
    UnknownBucket(String),
    /// The key is not acceptable.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A method S3 does not have for this kind of target.
    #[error("the method {0} does not go with this target")]
    Method(String),
    /// No operation has this set of query parameters.
    #[error("no S3 operation has the query parameter `{0}` here")]
    UnknownParameter(String),
    /// The headers are not acceptable.
    #[error(transparent)]
    Headers(#[from] HeaderError),
    /// What the head says of the body is not acceptable.
    #[error(transparent)]
    Upload(#[from] UploadError),
    /// The source of a copy is not acceptable.
    #[error(transparent)]
    CopySource(#[from] CopySourceError),
    /// What part of an object is asked for cannot be read.
    #[error(transparent)]
    Range(#[from] RangeError),
    /// Which attributes of an object are asked for cannot be read.
    #[error(transparent)]
    Attributes(#[from] AttributesError),
    /// A body that must have a digest came without.
    #[error("a Content-MD5 or x-amz-checksum header is missing, which {0} needs")]
    NoDigest(&'static str),
    /// A document in a content encoding, which would be another document once it was decoded.
    #[error("the body of {0} cannot have a content encoding")]
    EncodedDocument(&'static str),
    /// An operation without a body came with one.
    #[error("{0} takes no request body")]
    UnexpectedBody(&'static str),
    /// An expectation other than `100-continue`.
    #[error("only `Expect: 100-continue` is understood")]
    Expectation,
    /// Something about a bucket that exists. Whoever has no right there must not learn even that.
    #[error("{1}")]
    Within(Arc<Bucket>, Box<IdentifyError>),
    /// An operation of S3 that this gateway does not serve.
    #[error("{0} is not served by this gateway")]
    NotServed(&'static str),
    /// An operation that is not served for a bucket that is mapped like this one.
    #[error("{0} is not served for this bucket")]
    NotServedHere(&'static str),
}

/// The operations that a stage of their own serves. What becomes of the others stands in [`serving`].
pub const SERVED: &[Operation] = &[
    Operation::AbortMultipartUpload,
    Operation::CompleteMultipartUpload,
    Operation::CopyObject,
    Operation::CreateMultipartUpload,
    Operation::DeleteObject,
    Operation::DeleteObjectTagging,
    Operation::DeleteObjects,
    Operation::GetBucketLocation,
    Operation::GetObject,
    Operation::GetObjectAttributes,
    Operation::GetObjectTagging,
    Operation::HeadBucket,
    Operation::HeadObject,
    Operation::ListBuckets,
    Operation::ListMultipartUploads,
    Operation::ListObjectVersions,
    Operation::ListObjects,
    Operation::ListObjectsV2,
    Operation::ListParts,
    Operation::PutObject,
    Operation::PutObjectTagging,
    Operation::UploadPart,
    Operation::UploadPartCopy,
];

/// Understands a request head.
///
/// # Errors
/// [`IdentifyError`] if the request has no reading, or more than one, or is not served.
pub fn identify(head: &Parts, buckets: &Buckets) -> Result<S3Call, IdentifyError> {
    let Target { bucket, key, query } = locate(head, buckets.domains())?;
    check_expectation(head)?;
    let level = match (bucket.is_empty(), &key) {
        (true, None) => Level::Service,
        (true, Some(_)) => return Err(IdentifyError::NoBucket),
        (false, None) => Level::Bucket,
        (false, Some(_)) => Level::Object,
    };
    let has_header = |name: &str| head.headers.contains_key(name);
    let spec = find_operation(head.method.as_str(), level, &query, has_header)?;
    let query = check_query(spec, query)?;
    if !SERVED.contains(&spec.operation) && serving(spec.operation).mapping().is_none() {
        return Err(IdentifyError::NotServed(spec.name));
    }
    let bucket = find_bucket(buckets, bucket)?;
    let within = bucket.clone();
    understand(head, spec, query, bucket, key, buckets).map_err(|error| match within {
        Some(bucket) => IdentifyError::Within(bucket, Box::new(error)),
        None => error,
    })
}

/// Understands a browser form as the PutObject that it stands for. Of its head only version, expectation and `Connection` count; `length`
/// is that of the file.
///
/// # Errors
/// [`IdentifyError`] as for a PutObject with this key and these headers.
pub fn identify_form(
    head: &Parts,
    bucket: &str,
    object: PostObject,
    length: Option<u64>,
    buckets: &Buckets,
) -> Result<S3Call, IdentifyError> {
    check_hop(head)?;
    let mut put = http::Request::new(()).into_parts().0;
    (put.version, put.headers) = (head.version, object.headers);
    if let Some(length) = length {
        put.headers.insert(http::header::CONTENT_LENGTH, length.into());
    }
    let bucket = buckets.get(bucket).ok_or_else(|| IdentifyError::UnknownBucket(bucket.to_owned()))?;
    let (within, spec) = (Arc::clone(&bucket), Operation::PutObject.spec());
    let mut call = understand(&put, spec, Vec::new(), Some(bucket), Some(object.key), buckets)
        .map_err(|error| IdentifyError::Within(within, Box::new(error)))?;
    // Where nothing is declared nothing is empty: the form is framed in chunks.
    call.upload = call.upload.map(|upload| UploadHead { length, ..upload });
    Ok(call)
}

/// Reads what is left once operation and bucket are known.
fn understand(
    head: &Parts,
    spec: &OperationSpec,
    query: Vec<(String, String)>,
    bucket: Option<Arc<Bucket>>,
    key: Option<String>,
    buckets: &Buckets,
) -> Result<S3Call, IdentifyError> {
    if let (Some(bucket), Some(mapping)) = (&bucket, serving(spec.operation).mapping())
        && !mapping.fits(bucket)
    {
        return Err(IdentifyError::NotServedHere(spec.name));
    }
    let resource = match (bucket, key) {
        (None, _) => Resource::Service,
        (Some(bucket), None) => Resource::Bucket(bucket),
        (Some(bucket), Some(key)) => {
            let key = ObjectKey::check(key, &bucket.upstream_prefix, bucket.odd_keys)?;
            Resource::Object(bucket, key)
        }
    };
    let mut headers = SortedHeaders::sort(spec, &head.headers)?;
    let (mut upload, mut document) = (None, None);
    match spec.body {
        Body::Object => upload = Some(UploadHead::parse(&head.headers, head.version)?),
        Body::Xml if carries_document(spec) => document = Some(plain_document_head(head)?),
        Body::Xml if spec.has_checked_document() => document = Some(document_head(head, spec)?),
        Body::Xml => document = Some(part_list_head(head)?),
        Body::None => check_no_body(head, spec)?,
    }
    match spec.operation {
        Operation::GetObject | Operation::HeadObject => {
            range::drop_conditional(&head.headers, &mut headers.pass);
            let part_number = query.iter().find(|(name, _)| name == "partNumber").map(|(_, number)| number.as_str());
            range::check(&headers.pass, part_number)?;
        }
        Operation::GetObjectAttributes => object_attributes::check(&headers.pass)?,
        _ => {}
    }
    let copies = spec.required_headers.contains(&copy_source::HEADER);
    let source = copies.then(|| CopySource::parse(&head.headers, buckets)).transpose()?;
    Ok(S3Call { operation: spec.operation, resource, query, headers, upload, source, document, batch: None })
}

/// What the head says of a document: a digest of it at least, as S3 wants it for everything that deletes or configures.
fn document_head(head: &Parts, spec: &OperationSpec) -> Result<UploadHead, IdentifyError> {
    let document = UploadHead::parse(&head.headers, head.version)?;
    let trailing = matches!(document.framing, BodyFraming::AwsChunked { trailer: Some(_), .. });
    if document.sha256.is_none() && document.md5.is_none() && document.checksum.is_none() && !trailing {
        return Err(IdentifyError::NoDigest(spec.name));
    }
    if document.content_encoding.as_ref().is_some_and(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
        return Err(IdentifyError::EncodedDocument(spec.name));
    }
    Ok(document)
}

/// What the head says of a list of parts. A checksum beside it is that of the object, not of these bytes.
fn part_list_head(head: &Parts) -> Result<UploadHead, UploadError> {
    let list = UploadHead::parse(&head.headers, head.version)?;
    Ok(UploadHead { checksum: None, ..list })
}

/// The digests of a document, which is checked against them. Its bytes are the document: nothing frames or packs so little.
fn plain_document_head(head: &Parts) -> Result<UploadHead, UploadError> {
    let document = UploadHead::parse(&head.headers, head.version)?;
    match (document.framing, &document.content_encoding) {
        (BodyFraming::Plain, None) => Ok(document),
        _ => Err(UploadError::FramingContradiction),
    }
}

/// Finds the one operation that fits: the candidate with the most requirements met.
///
/// # Errors
/// [`IdentifyError::Method`] if no operation has this method on this level at all, [`IdentifyError::UnknownParameter`] if some
/// have it but none with these parameters.
pub fn find_operation(
    method: &str,
    level: Level,
    query: &[(String, String)],
    has_header: impl Fn(&str) -> bool,
) -> Result<&'static OperationSpec, IdentifyError> {
    let in_query = |(name, value): &(&str, Option<&str>)| {
        query.iter().any(|(sent, sent_value)| sent == name && value.is_none_or(|fixed| fixed == sent_value))
    };
    let same_method = Operation::on(level, method);
    if same_method.is_empty() {
        return Err(IdentifyError::Method(method.to_owned()));
    }
    same_method
        .iter()
        .copied()
        .filter(|spec| {
            spec.required_query.iter().all(in_query) && spec.required_headers.iter().all(|name| has_header(name))
        })
        .max_by_key(|spec| spec.required_query.len() + spec.required_headers.len())
        .ok_or_else(|| match query.first() {
            Some((name, _)) => IdentifyError::UnknownParameter(name.clone()),
            None => IdentifyError::Method(method.to_owned()),
        })
}

/// Refuses parameters the operation does not know. `x-id` is a hint of newer SDKs that repeats the operation's name.
fn check_query(spec: &OperationSpec, query: Vec<(String, String)>) -> Result<Vec<(String, String)>, IdentifyError> {
    let mut known = Vec::with_capacity(query.len());
    for (name, value) in query {
        if name == "x-id" && value == spec.name {
            continue;
        }
        let required = spec.required_query.iter().any(|(required, _)| *required == name);
        if !required && !spec.optional_query.contains(&name.as_str()) {
            return Err(IdentifyError::UnknownParameter(name));
        }
        known.push((name, value));
    }
    Ok(known)
}

fn find_bucket(buckets: &Buckets, name: String) -> Result<Option<Arc<Bucket>>, IdentifyError> {
    if name.is_empty() {
        return Ok(None);
    }
    buckets.get(&name).map(Some).ok_or(IdentifyError::UnknownBucket(name))
}

/// What a head says to the next hop alone. [`identify`] looks at it too; this is for requests that are not for S3.
///
/// # Errors
/// [`IdentifyError::Expectation`], or [`HeaderError::ConnectionNamed`] of a `Connection` that names a header of the message.
pub fn check_hop(head: &Parts) -> Result<(), IdentifyError> {
    check_expectation(head)?;
    Ok(check_connection(&head.headers)?)
}

fn check_expectation(head: &Parts) -> Result<(), IdentifyError> {
    let mut expectations = head.headers.get_all(http::header::EXPECT).iter();
    if expectations.all(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        Ok(())
    } else {
        Err(IdentifyError::Expectation)
    }
}

/// A body where the operation has none would be left on the connection for the next parser to read (K04).
fn check_no_body(head: &Parts, spec: &OperationSpec) -> Result<(), IdentifyError> {
    let length = head.headers.get(http::header::CONTENT_LENGTH);
    let empty = length.is_none_or(|value| value == "0") && !head.headers.contains_key(http::header::TRANSFER_ENCODING);
    if empty { Ok(()) } else { Err(IdentifyError::UnexpectedBody(spec.name)) }
}

#[cfg(test)]
#[path = "identify_tests.rs"]
mod tests;

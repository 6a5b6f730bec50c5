//! Answers that need no store: the list of buckets and a bucket's location.

use bytes::Bytes;
use http::HeaderValue;
use http::header::CONTENT_TYPE;

use crate::auth::Caller;
use crate::base::UtcInstant;
use crate::respond::body::{AnswerBody, Reply, Source};
use crate::respond::refusal::{Refusal, RefusalKind};
use crate::s3::xml::XmlWriter;
use crate::s3::{S3Call, S3ErrorCode};

/// Most buckets in one answer, as S3 has it.
const MAX_BUCKETS: usize = 10_000;

/// A 200 with an XML document.
pub fn document(xml: String) -> Reply {
    let mut reply = Reply::new(AnswerBody::new(Source::Full(Bytes::from(xml))));
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    reply
}

/// A 200 without a body.
pub fn empty() -> Reply {
    Reply::new(AnswerBody::new(Source::Full(Bytes::new())))
}

/// One bucket of a list of buckets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedBucket {
    /// Public name.
    pub name: String,
    /// When it was created, as S3 writes times.
    pub created: String,
    /// Region that clients sign for.
    pub region: String,
}

/// How S3 writes a time in a list of buckets.
pub fn creation_date(time: UtcInstant) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.000Z").to_string()
}

/// ListBuckets: the public buckets the caller may see, in order of their names.
///
/// # Errors
/// [`Refusal`] if `max-buckets` is not a number from 1 to 10,000.
pub fn list_buckets(caller: &Caller, call: &S3Call, buckets: &[ListedBucket]) -> Result<Reply, Refusal> {
    let parameter = |name: &str| call.parameter(name).filter(|value| !value.is_empty());
    let most = match parameter("max-buckets").map(str::parse::<usize>) {
        None => MAX_BUCKETS,
        Some(Ok(most @ 1..=MAX_BUCKETS)) => most,
        Some(_) => {
            let message = "max-buckets must be a number from 1 to 10000.";
            return Err(Refusal::new(S3ErrorCode::InvalidArgument, RefusalKind::Client, message, message));
        }
    };
    let wanted = |bucket: &&ListedBucket| {
        parameter("prefix").is_none_or(|prefix| bucket.name.starts_with(prefix))
            // The token is the last name of the page before: the caller has seen it.
            && parameter("continuation-token").is_none_or(|last| bucket.name.as_str() > last)
            && parameter("bucket-region").is_none_or(|asked| bucket.region == asked)
    };
    let mut listed: Vec<_> = buckets.iter().filter(wanted).take(most + 1).collect();
    let more = listed.len() > most;
    listed.truncate(most);
    let mut xml = XmlWriter::new("ListAllMyBucketsResult", true);
    let principal = caller.principal().as_str();
    xml.open("Owner").text("ID", principal).text("DisplayName", principal).close();
    xml.open("Buckets");
    for bucket in &listed {
        xml.open("Bucket").text("Name", &bucket.name).text("CreationDate", &bucket.created).close();
    }
    xml.close();
    if let Some(prefix) = parameter("prefix") {
        xml.text("Prefix", prefix);
    }
    if let Some(last) = listed.last().filter(|_| more) {
        xml.text("ContinuationToken", &last.name);
    }
    Ok(document(xml.finish()))
}

/// GetBucketLocation: the configured region; empty for `us-east-1`, as S3 has it.
pub fn bucket_location(region: &str) -> Reply {
    let constraint = if region == "us-east-1" { "" } else { region };
    let namespace = "http://s3.amazonaws.com/doc/2006-03-01/";
    let text = quick_xml::escape::escape(constraint);
    document(format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<LocationConstraint xmlns=\"{namespace}\">{text}</LocationConstraint>"
    ))
}

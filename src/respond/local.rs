//! Answers that need no store: the list of buckets and a bucket's location.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;
use http::header::CONTENT_TYPE;

use crate::auth::Caller;
use crate::base::UtcInstant;
use crate::respond::body::{AnswerBody, Reply, Source};
use crate::s3::Bucket;
use crate::s3::xml::XmlWriter;

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

/// ListBuckets: the public buckets the caller may see. `since` stands for their creation, which S3 clients expect and a gateway has not.
pub fn list_buckets(caller: &Caller, buckets: &[Arc<Bucket>], since: UtcInstant) -> Reply {
    let created = since.strftime("%Y-%m-%dT%H:%M:%S.000Z").to_string();
    let mut xml = XmlWriter::new("ListAllMyBucketsResult", true);
    let principal = caller.principal().as_str();
    xml.open("Owner").text("ID", principal).text("DisplayName", principal).close();
    xml.open("Buckets");
    for bucket in buckets {
        xml.open("Bucket").text("Name", &bucket.name).text("CreationDate", &created).close();
    }
    document(xml.finish())
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

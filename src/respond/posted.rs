//! The answer to a browser form, made of the store's answer to the PutObject that it became.
//!
//! Source: S3 API reference, "POST Object", for `success_action_status` and `success_action_redirect`.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, LOCATION};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::base::encoding::encode_path;
use crate::respond::body::{AnswerBody, Reply, Source};
use crate::s3::post_object::Success;
use crate::s3::xml::XmlWriter;

/// What was uploaded, in public terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posted {
    /// The answer that the form asked for.
    pub success: Success,
    /// The path that the form was sent to: of the bucket, in the style that the host says.
    pub path: String,
    /// Name of the bucket.
    pub bucket: String,
    /// The key.
    pub key: String,
}

impl Posted {
    /// The answer to the form. Host names are left out: which of them the client used is not to be believed.
    pub fn answer(&self, stored: &Reply) -> Reply {
        let mut headers = stored.headers().clone();
        headers.remove(CONTENT_LENGTH);
        headers.remove(CONTENT_TYPE);
        let etag = headers.get(ETAG).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        let location = format!("{}/{}", self.path.trim_end_matches('/'), encode_path(&self.key));
        match &self.success {
            Success::Empty(200) => with(StatusCode::OK, headers, Bytes::new()),
            Success::Empty(_) => with(StatusCode::NO_CONTENT, headers, Bytes::new()),
            Success::Created => {
                let mut xml = XmlWriter::new("PostResponse", false);
                xml.text("Location", &location).text("Bucket", &self.bucket).text("Key", &self.key).text("ETag", &etag);
                set_location(&mut headers, &location);
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
                with(StatusCode::CREATED, headers, Bytes::from(xml.finish()))
            }
            Success::Redirect(url) => {
                set_location(&mut headers, &url.with_upload(&self.bucket, &self.key, &etag));
                with(StatusCode::SEE_OTHER, headers, Bytes::new())
            }
        }
    }
}

fn set_location(headers: &mut HeaderMap, location: &str) {
    if let Ok(value) = HeaderValue::from_str(location) {
        headers.insert(LOCATION, value);
    }
}

fn with(status: StatusCode, headers: HeaderMap, body: Bytes) -> Reply {
    let mut reply = Reply::new(AnswerBody::new(Source::Full(body)));
    *reply.status_mut() = status;
    *reply.headers_mut() = headers;
    reply
}

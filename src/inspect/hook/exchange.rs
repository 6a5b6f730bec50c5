//! One request to a program and its answer, over a connection of its own.

use bytes::Bytes;
use futures_util::future::{Either, select};
use http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use crate::bounded::collect;
use crate::dial::{Dialer, KeepReading, head_to};
use crate::inspect::Subject;
use crate::inspect::hook::answer::{Answer, MAX_ANSWER_BYTES};
use crate::inspect::hook::body::HookBody;
use crate::inspect::hook::{HookError, Settings, metadata};

/// The metadata of an object whose bytes are the body.
pub(super) const SUBJECT: HeaderName = HeaderName::from_static("countersign-subject");

/// Most bytes that hyper keeps of either direction beside the piece that it sends; also the longest head of an answer.
const BUFFER_BYTES: usize = 16 * 1024;

/// Where requests go, and what all of them carry.
#[derive(Debug)]
pub(super) struct Target {
    dialer: Dialer,
    uri: Uri,
    /// Sensitive values are marked so, which keeps them out of `Debug`.
    headers: HeaderMap,
}

impl Target {
    /// Puts together what all requests carry.
    ///
    /// # Errors
    /// What cannot stand in a header, without its value.
    pub(super) fn new(settings: &Settings, dialer: Dialer) -> Result<Self, String> {
        let Settings { tls, host, port, path, .. } = settings;
        let mut headers = head_to(host, *port, *tls, &settings.headers)?;
        headers.entry(ACCEPT).or_insert(HeaderValue::from_static("application/json"));
        Ok(Self { dialer, uri: Uri::from(path.clone()), headers })
    }

    /// Opens connections to it.
    pub(super) fn dialer(&self) -> &Dialer {
        &self.dialer
    }

    /// A request with the object as its body.
    pub(super) fn with_object(&self, subject: &Subject, body: HookBody) -> Request<HookBody> {
        let mut request = self.request("application/octet-stream", body);
        request.headers_mut().insert(SUBJECT, metadata::header(subject));
        request
    }

    /// A request with the metadata as its body.
    pub(super) fn with_metadata(&self, subject: &Subject) -> Request<HookBody> {
        self.request("application/json", HookBody::Text(Some(Bytes::from(metadata::json(subject)))))
    }

    fn request(&self, content_type: &'static str, body: HookBody) -> Request<HookBody> {
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        request
    }
}

/// Sends a request and reads the answer, which may come before the request has ended.
///
/// # Errors
/// [`HookError`] for everything but one of the four verdicts.
pub(super) async fn exchange(target: &Target, request: Request<HookBody>) -> Result<Answer, HookError> {
    let stream = TokioIo::new(KeepReading::new(target.dialer.connect().await?));
    let (mut sender, connection) = http1::Builder::new().max_buf_size(BUFFER_BYTES).handshake(stream).await?;
    let exchange = async {
        let (head, body) = sender.send_request(request).await?.into_parts();
        check_head(head.status, &head.headers)?;
        Ok::<_, HookError>(Answer::parse(&collect(body, MAX_ANSWER_BYTES).await?)?)
    };
    // The connection has to be polled beside the exchange. It may end first; what it has read is then still delivered.
    match select(std::pin::pin!(exchange), std::pin::pin!(connection)).await {
        Either::Left((result, _)) => result,
        Either::Right((_, exchange)) => exchange.await,
    }
}

fn check_head(status: StatusCode, headers: &HeaderMap) -> Result<(), HookError> {
    if status != StatusCode::OK {
        return Err(HookError::Status(status));
    }
    if headers.get_all(CONTENT_ENCODING).iter().any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(HookError::Encoded);
    }
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let declared = types.next().and_then(|value| value.to_str().ok()).filter(|_| types.next().is_none());
    let essence = declared.and_then(|text| text.split(';').next()).map(str::trim);
    if essence.is_some_and(|essence| essence.eq_ignore_ascii_case("application/json")) {
        Ok(())
    } else {
        Err(HookError::ContentType)
    }
}

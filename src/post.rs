//! Posts to one address of the operator's choice, each time over a connection of its own.
//!
//! For what leaves the gateway beside requests: audit records, spans. Redirects are not followed, an answer is read up to a bound, and
//! everything happens within one time limit. Does not repeat anything: who calls knows what may come twice.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, select};
use http::header::CONTENT_TYPE;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use crate::base::Secret;
use crate::bounded::collect;
use crate::dial::{AddressPolicy, DialError, Dialer, KeepReading, Settings, head_to};

/// Longest answer that is read. Nothing in it matters but that it is one.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Where to post, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct PostSettings {
    /// Whether TLS is spoken.
    pub tls: bool,
    /// Host name or address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Path of the requests.
    pub path: PathAndQuery,
    /// PEM file of certificate authorities, instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Headers of every request, such as `authorization`. Their values can be header values.
    pub headers: Vec<(HeaderName, Secret)>,
    /// Longest time of one request, from name resolution to the end of the answer.
    pub timeout: Duration,
}

/// Why a post was not taken. The texts are for the operator.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// No connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The connection failed, or the answer is not HTTP.
    #[error("HTTP: {0}")]
    Http(#[from] hyper::Error),
    /// Any status but those of success; redirects, too.
    #[error("answer with status {0}")]
    Status(StatusCode),
    /// Too long or broken off.
    #[error("answer: {0}")]
    Body(#[from] crate::bounded::CollectError<hyper::Error>),
    /// Time was over.
    #[error("no answer after {} ms", .0.as_millis())]
    Timeout(Duration),
}

/// Posts to one address.
#[derive(Debug)]
pub struct Poster {
    dialer: Dialer,
    uri: Uri,
    /// Sensitive values are marked so, which keeps them out of `Debug`.
    headers: HeaderMap,
    timeout: Duration,
}

impl Poster {
    /// Puts together what all posts carry; reads the certificate authorities.
    ///
    /// # Errors
    /// What cannot be used, without the value of a header.
    pub fn new(settings: &PostSettings, content_type: &'static str) -> Result<Self, String> {
        let PostSettings { tls, host, port, path, ca_file, timeout, .. } = settings;
        let dialer = Dialer::new(Settings {
            host: host.clone(),
            port: *port,
            tls: *tls,
            ca_file: ca_file.clone(),
            connect_timeout: *timeout,
            addresses: AddressPolicy::Any,
        })
        .map_err(|error| error.to_string())?;
        let mut headers = head_to(host, *port, *tls, &settings.headers)?;
        headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static(content_type));
        Ok(Self { dialer, uri: Uri::from(path.clone()), headers, timeout: *timeout })
    }

    /// Posts a body. It was taken if the answer says so with a status of success.
    ///
    /// # Errors
    /// [`PostError`] for everything else.
    pub async fn post(&self, body: Bytes) -> Result<Bytes, PostError> {
        timeout(self.timeout, self.exchange(body)).await.map_err(|_| PostError::Timeout(self.timeout))?
    }

    async fn exchange(&self, body: Bytes) -> Result<Bytes, PostError> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        let stream = TokioIo::new(KeepReading::new(self.dialer.connect().await?));
        let (mut sender, connection) = http1::handshake(stream).await?;
        let exchange = async {
            let (head, body) = sender.send_request(request).await?.into_parts();
            if !head.status.is_success() {
                return Err(PostError::Status(head.status));
            }
            Ok::<_, PostError>(collect(body, MAX_ANSWER_BYTES).await?)
        };
        // The connection has to be polled beside the exchange. It may end first; what it has read is then still delivered.
        match select(std::pin::pin!(exchange), std::pin::pin!(connection)).await {
            Either::Left((result, _)) => result,
            Either::Right((_, exchange)) => exchange.await,
        }
    }
}

//! HTTP for the providers of AWS, over connections of our own.
//!
//! The client that they would bring takes proxies out of the environment, so that keys of a metadata service could pass through one; this
//! one takes none, follows no redirect, and reads no more than keys can have. Each request has its own connection: there are a few an hour.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use bytes::Bytes;
use http::header::HOST;
use http::{HeaderName, HeaderValue, Request, Response, Uri};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;

use crate::bounded::collect;
use crate::dial::{self, AddressPolicy, DialError, Dialer};

/// Largest accepted answer. Keys with their session token have about 2 KiB.
const MAX_ANSWER_BYTES: usize = 128 * 1024;
/// Bounds the head of an answer.
const READ_BUFFER_BYTES: usize = 64 * 1024;
/// Limits where the provider sets none.
const CONNECT_TIME: Duration = Duration::from_secs(5);
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// Asks for keys; remembers what came last, for the operator.
#[derive(Debug, Clone, Default)]
pub(super) struct KeyClient {
    ca_file: Option<PathBuf>,
    last: Arc<Mutex<Option<String>>>,
}

impl KeyClient {
    /// A client that trusts the authorities of this file instead of the system's.
    pub(super) fn new(ca_file: Option<PathBuf>) -> Self {
        Self { ca_file, last: Arc::default() }
    }

    /// The last request and what became of it. Never holds a header, a query or a body.
    pub(super) fn last(&self) -> Option<String> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl HttpClient for KeyClient {
    fn http_connector(&self, settings: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(Connector {
            client: self.clone(),
            connect_time: settings.connect_timeout().unwrap_or(CONNECT_TIME),
            answer_time: settings.read_timeout().unwrap_or(ANSWER_TIME),
        })
    }
}

#[derive(Debug, Clone)]
struct Connector {
    client: KeyClient,
    connect_time: Duration,
    answer_time: Duration,
}

/// Why a request had no answer.
#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error("not the address of a server")]
    Address,
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("a header that cannot be sent")]
    Header,
    #[error("the certificate authorities could not be read")]
    Authorities,
    #[error("the answer is cut or has more than {MAX_ANSWER_BYTES} bytes")]
    Answer,
    #[error("no answer after {} ms", .0.as_millis())]
    Late(Duration),
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let connector = self.clone();
        HttpConnectorFuture::new(async move {
            let place = place_of(&request);
            let outcome = connector.ask(request).await;
            let news = match &outcome {
                Ok(response) => format!("{place}: status {}", response.status().as_u16()),
                Err(error) => format!("{place}: {error}"),
            };
            *connector.client.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(news);
            match outcome {
                Ok(response) => HttpResponse::try_from(response.map(Into::into))
                    .map_err(|_| ConnectorError::io(AskError::Answer.into())),
                Err(error @ (AskError::Address | AskError::Header)) => Err(ConnectorError::user(error.into())),
                Err(error @ (AskError::Late(_) | AskError::Dial(DialError::Timeout { .. }))) => {
                    Err(ConnectorError::timeout(error.into()))
                }
                Err(error) => Err(ConnectorError::io(error.into())),
            }
        })
    }
}

impl Connector {
    async fn ask(&self, request: HttpRequest) -> Result<Response<Bytes>, AskError> {
        let (request, server) = self.prepare(&request)?;
        // Reads the certificate authorities, so not on a thread that serves requests.
        let dialer = tokio::task::spawn_blocking(move || Dialer::new(server));
        let dialer = dialer.await.map_err(|_| AskError::Authorities)??;
        let stream = dialer.connect().await?;
        let answer = async {
            let (mut sender, connection) =
                http1::Builder::new().max_buf_size(READ_BUFFER_BYTES).handshake(TokioIo::new(stream)).await?;
            // Ends with this request, however that ends.
            let mut tasks = JoinSet::new();
            tasks.spawn(connection);
            let (head, body) = sender.send_request(request).await?.into_parts();
            let body = collect(body, MAX_ANSWER_BYTES).await.map_err(|_| AskError::Answer)?;
            Ok(Response::from_parts(head, body))
        };
        tokio::time::timeout(self.answer_time, answer).await.map_err(|_| AskError::Late(self.answer_time))?
    }

    fn prepare(&self, asked: &HttpRequest) -> Result<(Request<Full<Bytes>>, dial::Settings), AskError> {
        let uri: Uri = asked.uri().parse().map_err(|_| AskError::Address)?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(AskError::Address),
        };
        let (host, authority) = uri.host().zip(uri.authority()).ok_or(AskError::Address)?;
        let server = dial::Settings {
            host: host.to_owned(),
            port: uri.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            tls,
            ca_file: self.client.ca_file.clone(),
            connect_timeout: self.connect_time,
            // Metadata services have link-local addresses.
            addresses: AddressPolicy::Any,
        };
        let body = Bytes::copy_from_slice(asked.body().bytes().unwrap_or_default());
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| AskError::Address)?;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = asked.method().parse().map_err(|_| AskError::Address)?;
        *request.uri_mut() = path.parse().map_err(|_| AskError::Address)?;
        for (name, value) in asked.headers().iter() {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| AskError::Header)?;
            request.headers_mut().append(name, HeaderValue::from_str(value).map_err(|_| AskError::Header)?);
        }
        request.headers_mut().insert(HOST, host);
        Ok((request, server))
    }
}

/// Method, server and path. What stands in a query is the business of those two.
fn place_of(request: &HttpRequest) -> String {
    let uri = request.uri().split(['?', '#']).next().unwrap_or_default();
    format!("{} {}", request.method(), super::process::plain(uri, 200))
}

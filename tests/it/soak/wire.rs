//! Sends requests on connections that may fail, and keeps a journal of what was sent and what was seen of the answers.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

use super::super::support::Response;

/// How long an answer is waited for. Longer than any time limit of the gateway.
const PATIENCE: Duration = Duration::from_secs(25);

/// A body as it is sent.
#[derive(Debug, Clone)]
pub enum Payload {
    /// With its length.
    Declared(Bytes),
    /// Without.
    Chunked(Vec<Bytes>),
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Declared(bytes.into())
    }
}

/// A request.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Name of the S3 operation, as the audit will have it.
    pub operation: &'static str,
    pub method: &'static str,
    /// Path and query.
    pub target: String,
    /// The key that the audit record will have.
    pub key: Option<String>,
    pub headers: Vec<(&'static str, String)>,
    pub payload: Payload,
}

/// What a client saw.
#[derive(Debug)]
pub enum Seen {
    /// An answer to its last byte.
    Whole(Response),
    /// No answer, or a part of one.
    Broken { status: Option<StatusCode>, body: Vec<u8> },
}

/// A line of the journal.
#[derive(Debug)]
pub struct Sent {
    /// Token of the client.
    pub tenant: char,
    pub operation: &'static str,
    pub key: Option<String>,
    /// Of the answer, if its head came.
    pub request_id: Option<String>,
    pub status: Option<u16>,
    /// S3 error code of a whole answer.
    pub code: Option<String>,
    /// Whether the answer came to its last byte.
    pub whole: bool,
}

/// A client with a connection that it keeps as long as it lasts.
pub struct Wire {
    pub tenant: char,
    address: SocketAddr,
    token: String,
    open: Option<Open>,
    pub journal: Vec<Sent>,
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

struct Open {
    sender: SendRequest<Body>,
    connection: AbortHandle,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// What came of an answer so far.
#[derive(Default)]
struct Progress {
    head: Option<(StatusCode, HeaderMap)>,
    body: Vec<u8>,
    whole: bool,
}

impl Wire {
    pub fn new(tenant: char, address: SocketAddr, token: &str) -> Self {
        Self { tenant, address, token: token.to_owned(), open: None, journal: Vec::new() }
    }

    /// Leaves the connection, if there is one.
    pub fn hang_up(&mut self) {
        self.open = None;
    }

    /// Sends a request once. Whatever happens is in the journal.
    pub async fn send(&mut self, ask: Ask) -> Seen {
        let mut progress = Progress::default();
        let Ask { operation, key, .. } = ask.clone();
        // The reason does not matter: without the last byte nothing is known.
        drop(tokio::time::timeout(PATIENCE, self.exchange(ask, &mut progress)).await);
        let seen = progress.into_seen();
        self.journal.push(Sent { tenant: self.tenant, operation, key, ..seen.1 });
        seen.0
    }

    async fn exchange(&mut self, ask: Ask, progress: &mut Progress) -> anyhow::Result<()> {
        let mut open = match self.open.take().filter(|open| !open.sender.is_closed()) {
            Some(open) => open,
            None => self.connect().await?,
        };
        open.sender.ready().await?;
        let mut request = Request::builder().method(ask.method).uri(ask.target).header("host", "soak");
        request = request.header("authorization", format!("Bearer {}", self.token));
        for (name, value) in ask.headers {
            request = request.header(name, value);
        }
        let answer = open.sender.send_request(request.body(ask.payload.into_body())?).await?;
        let (head, mut body) = answer.into_parts();
        progress.head = Some((head.status, head.headers));
        while let Some(frame) = body.frame().await {
            if let Ok(piece) = frame?.into_data() {
                progress.body.extend_from_slice(&piece);
            }
        }
        progress.whole = true;
        self.open = Some(open);
        Ok(())
    }

    async fn connect(&self) -> anyhow::Result<Open> {
        let stream = match TcpStream::connect(self.address).await {
            Ok(stream) => stream,
            Err(error) => {
                // Nobody listens for a while: thousands of vain attempts would prove no more.
                tokio::time::sleep(Duration::from_millis(50)).await;
                return Err(error.into());
            }
        };
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        Ok(Open { sender, connection: tokio::spawn(connection).abort_handle() })
    }
}

impl Payload {
    fn into_body(self) -> Body {
        match self {
            Self::Declared(bytes) => Full::new(bytes).boxed_unsync(),
            Self::Chunked(pieces) => {
                let frames = pieces.into_iter().map(|piece| Ok(Frame::data(piece)));
                StreamBody::new(stream::iter(frames)).boxed_unsync()
            }
        }
    }
}

impl Progress {
    fn into_seen(self) -> (Seen, Sent) {
        let header = |name: &str| {
            let (_, headers) = self.head.as_ref()?;
            Some(headers.get(name)?.to_str().ok()?.to_owned())
        };
        let mut sent = Sent {
            tenant: '?',
            operation: "",
            key: None,
            request_id: header("x-amz-request-id"),
            status: self.head.as_ref().map(|(status, _)| status.as_u16()),
            code: None,
            whole: self.whole,
        };
        let seen = match self.head {
            Some((status, headers)) if self.whole => {
                let response = Response { status, headers, body: self.body };
                sent.code = Some(response.code()).filter(|code| !code.is_empty() && is_error(&response));
                Seen::Whole(response)
            }
            head => Seen::Broken { status: head.map(|(status, _)| status), body: self.body },
        };
        (seen, sent)
    }
}

/// Whether an answer is an error document, late ones included.
pub fn is_error(response: &Response) -> bool {
    let starts = |text: &str| text.trim_start().starts_with("<Error>");
    let text = String::from_utf8_lossy(&response.body[..response.body.len().min(512)]).into_owned();
    starts(&text) || text.split_once("?>").is_some_and(|(_, rest)| starts(rest))
}

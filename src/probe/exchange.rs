//! One request to a store, signed with its credentials, on a connection of its own.

use std::sync::Arc;
use std::time::Duration;

use aws_credential_types::Credentials;
use bytes::{Bytes, BytesMut};
use futures_util::future::{Either, select};
use futures_util::stream;
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use crate::base::encoding::hex_sha256;
use crate::base::{Clock, Secret, SystemClock};
use crate::body::{ChunkEncode, Fault, Framer, Stage};
use crate::bounded;
use crate::dial::{DialError, Dialer};
use crate::s3::xml::Element;
use crate::sign::Route;
use crate::sigv4::canonical::canonical_query;
use crate::sigv4::{AmzDate, CanonicalRequest, ChunkSigner, SigningKey, sign_request};

/// Longest answer that is read; every object and list of the probe is small.
const MAX_ANSWER_BYTES: usize = 1 << 20;
/// A store that takes longer for a few bytes is not doing what was asked.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The bucket of a store that is probed.
pub struct Target {
    /// How the store is addressed.
    pub route: Route,
    /// Opens connections to it.
    pub dialer: Dialer,
    /// What requests are signed with.
    pub credentials: Arc<Credentials>,
    /// Name of the bucket in the store.
    pub bucket: String,
}

/// Why nothing was found out.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// No connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The connection broke.
    #[error("the store broke off the connection: {0}")]
    Broken(#[from] hyper::Error),
    /// No whole answer in time, or one that is too long.
    #[error("the store gave no whole answer within {} s", TIMEOUT.as_secs())]
    NoAnswer,
    /// The first, ordinary upload failed, so that nothing could be said of others.
    #[error("an ordinary upload failed with {0}; check the credential, the region, the addressing and the bucket")]
    Refused(String),
    /// A request could not be made.
    #[error("a request could not be made")]
    Request,
}

/// How the body of a request is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Payload {
    /// By its SHA-256.
    Hash,
    /// Not at all.
    Unsigned,
    /// In chunks.
    Framed(Framer),
}

/// A request.
pub(super) struct Ask<'a> {
    pub(super) method: &'static str,
    /// `None` for the bucket itself.
    pub(super) key: Option<&'a str>,
    pub(super) query: &'a [(&'a str, &'a str)],
    pub(super) headers: &'a [(&'a str, String)],
    pub(super) payload: Payload,
    pub(super) body: &'static [u8],
    /// What the trailer and the signatures of chunks are made of, if not of the body: for checks that must fail.
    pub(super) claimed: Option<&'static [u8]>,
    /// Whether `Content-Length` is sent.
    pub(super) declared: bool,
}

/// An answer.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    /// Status and error code, as in `501 NotImplemented`.
    pub(super) fn summary(&self) -> String {
        let document = std::str::from_utf8(&self.body).ok().and_then(|text| Element::parse(text).ok());
        let code = document.map(|root| root.text_of("Code").to_owned()).unwrap_or_default();
        // Not everything that answers is a store: only what looks like a code is shown.
        let plain = !code.is_empty() && code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if plain { format!("{} {code}", self.status.as_u16()) } else { self.status.as_u16().to_string() }
    }

    /// The document, if its root has this name.
    pub(super) fn document(&self, root: &str) -> Option<Element> {
        let text = std::str::from_utf8(&self.body).ok().filter(|_| self.status == StatusCode::OK)?;
        Element::parse(text).ok().filter(|element| element.name == root)
    }
}

impl Target {
    /// Sends a request.
    pub(super) async fn send(&self, ask: &Ask<'_>) -> Result<Answer, ProbeError> {
        tokio::time::timeout(TIMEOUT, self.exchange(ask)).await.map_err(|_| ProbeError::NoAnswer)?
    }

    async fn exchange(&self, ask: &Ask<'_>) -> Result<Answer, ProbeError> {
        let (head, body) = self.sign(ask)?;
        let body = if ask.declared {
            Full::new(body).map_err(|never| match never {}).boxed()
        } else {
            StreamBody::new(stream::iter([Ok::<_, hyper::Error>(Frame::data(body))])).boxed()
        };
        let stream = TokioIo::new(self.dialer.connect().await?);
        let (mut sender, connection) = http1::handshake(stream).await?;
        let exchange = async {
            let (head, body) = sender.send_request(head.map(|()| body)).await?.into_parts();
            let body = bounded::collect(body, MAX_ANSWER_BYTES).await.map_err(|_| ProbeError::NoAnswer)?;
            Ok(Answer { status: head.status, headers: head.headers, body })
        };
        // The connection has to be polled beside the exchange, and may end first with the answer in it.
        match select(std::pin::pin!(exchange), std::pin::pin!(connection)).await {
            Either::Left((answer, _)) => answer,
            Either::Right((_, exchange)) => exchange.await,
        }
    }

    /// The head and the body as they are sent.
    fn sign(&self, ask: &Ask<'_>) -> Result<(Request<()>, Bytes), ProbeError> {
        let date = AmzDate::new(SystemClock.now());
        let secret = Secret::new(self.credentials.secret_access_key());
        let key = SigningKey::derive(&secret, &self.route.region, &date);
        let (host, path) = self.route.address(&self.bucket, ask.key);
        let query = canonical_query(ask.query.iter().copied());
        let hash = |body: &[u8]| {
            let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, body);
            hex_sha256(digest.as_ref().try_into().expect("SHA-256 has 32 bytes"))
        };
        let payload = match ask.payload {
            Payload::Hash => hash(ask.body),
            Payload::Unsigned => "UNSIGNED-PAYLOAD".to_owned(),
            Payload::Framed(framer) => framer.content_sha256().to_owned(),
        };
        let mut headers: Vec<(&str, String)> = ask.headers.to_vec();
        headers.extend([
            ("host", host.clone().into_owned()),
            ("x-amz-content-sha256", payload.clone()),
            ("x-amz-date", date.timestamp.clone()),
        ]);
        if let Payload::Framed(framer) = ask.payload {
            headers.push(("content-encoding", "aws-chunked".to_owned()));
            headers.push(("x-amz-decoded-content-length", ask.body.len().to_string()));
            headers.extend(framer.trailer.map(|algorithm| ("x-amz-trailer", algorithm.header().to_string())));
        }
        headers.extend(self.credentials.session_token().map(|token| ("x-amz-security-token", token.to_owned())));
        headers.sort();
        let signed: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let request =
            CanonicalRequest { method: ask.method, path: &path, query: &query, headers: &signed, payload: &payload };
        let signature = sign_request(&request, self.credentials.access_key_id(), &key, &date);
        let body = match ask.payload {
            Payload::Framed(framer) => {
                let signer = framer.signed.then(|| ChunkSigner::new(key, &date, signature.signature.clone()));
                frame(framer, signer, ask)?
            }
            Payload::Hash | Payload::Unsigned => Bytes::from_static(ask.body),
        };
        let target = if query.is_empty() { path } else { [path.as_str(), "?", &query].concat() };
        let mut head = Request::builder().method(ask.method).uri(target);
        for (name, value) in &headers {
            let name = if *name == "host" {
                HOST
            } else {
                HeaderName::from_bytes(name.as_bytes()).map_err(|_| ProbeError::Request)?
            };
            head = head.header(name, HeaderValue::from_str(value).map_err(|_| ProbeError::Request)?);
        }
        let head = head.header(AUTHORIZATION, signature.authorization).body(()).map_err(|_| ProbeError::Request)?;
        Ok((head, body))
    }
}

/// The body in chunks. With claimed bytes signatures and trailer are made of these, and the real ones put in their place.
fn frame(framer: Framer, signer: Option<ChunkSigner>, ask: &Ask<'_>) -> Result<Bytes, ProbeError> {
    let claimed = ask.claimed.unwrap_or(ask.body);
    let mut stage = ChunkEncode::new(signer, framer.trailer, claimed.len() as u64);
    let mut framed = BytesMut::new();
    let mut emit = |piece: Bytes| {
        framed.extend_from_slice(if piece == claimed { ask.body } else { &piece });
        Ok::<_, Fault>(())
    };
    stage.push(Bytes::from_static(claimed), &mut emit).map_err(|_| ProbeError::Request)?;
    stage.finish(&mut emit).map_err(|_| ProbeError::Request)?;
    Ok(framed.freeze())
}

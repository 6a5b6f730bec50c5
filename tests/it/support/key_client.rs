//! A client with an access key that signs its uploads in every form of SigV4, and gives the signed body in parts that a test can forge.
//!
//! The signature of the request is that of the `aws-sigv4` crate, those of chunks are our own: the stores of the tests are asked whether
//! they take them.

use std::convert::Infallible;
use std::net::SocketAddr;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings, UriPathNormalizationMode,
    sign,
};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use countersign::base::{Clock, Secret, SystemClock};
use countersign::s3::checksum::{ChecksumAlgorithm, RunningDigest, to_base64};
use countersign::sigv4::{AmzDate, ChunkSigner, SigningKey};
use futures_util::stream;
use http::Request;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::Response;

/// What the signature says of the body, and how the object is wrapped in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The object, under its SHA-256.
    Hash,
    /// The object, and nothing said of it.
    Unsigned,
    /// Chunks, perhaps with a checksum behind them.
    UnsignedChunks(Option<ChecksumAlgorithm>),
    /// Signed chunks.
    SignedChunks,
    /// Signed chunks with a signed checksum behind them.
    SignedTrailer(ChecksumAlgorithm),
}

/// How HTTP says where the body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transfer {
    /// `Content-Length`.
    Length,
    /// `Transfer-Encoding: chunked`, or the end of an HTTP/2 stream.
    Chunked,
}

impl Transfer {
    pub const ALL: [Self; 2] = [Self::Length, Self::Chunked];
}

impl Form {
    /// Every form.
    pub fn all() -> Vec<Self> {
        let trailers = ChecksumAlgorithm::ALL.into_iter();
        let unsigned = trailers.clone().map(|algorithm| Self::UnsignedChunks(Some(algorithm)));
        [Self::Hash, Self::Unsigned, Self::UnsignedChunks(None), Self::SignedChunks]
            .into_iter()
            .chain(unsigned)
            .chain(trailers.map(Self::SignedTrailer))
            .collect()
    }

    /// Whether the object is wrapped in chunks.
    pub fn is_framed(self) -> bool {
        !matches!(self, Self::Hash | Self::Unsigned)
    }

    /// Whether a signature covers the body.
    pub fn is_signed(self) -> bool {
        matches!(self, Self::Hash | Self::SignedChunks | Self::SignedTrailer(_))
    }

    fn trailer(self) -> Option<ChecksumAlgorithm> {
        match self {
            Self::UnsignedChunks(trailer) => trailer,
            Self::SignedTrailer(algorithm) => Some(algorithm),
            Self::Hash | Self::Unsigned | Self::SignedChunks => None,
        }
    }
}

/// A client with an access key.
#[derive(Debug, Clone)]
pub struct KeyClient {
    pub address: SocketAddr,
    pub access_key: String,
    pub secret_key: String,
    /// Bytes of a chunk.
    pub chunk: usize,
}

/// A request with its signature.
#[derive(Debug, Clone)]
pub struct Signed {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    /// The body, in chunks; one if it is not framed.
    pub chunks: Vec<Vec<u8>>,
    /// The chunk without data and what follows it; empty if the body is not framed.
    pub end: Vec<u8>,
}

impl Signed {
    /// The bytes of the body.
    pub fn body(&self) -> Vec<u8> {
        [self.chunks.concat(), self.end.clone()].concat()
    }
}

impl KeyClient {
    /// A client of a server on this machine. Its chunks are as small as S3 allows, so that bodies have several.
    pub fn new(address: SocketAddr, access_key: &str, secret_key: &str) -> Self {
        Self { address, access_key: access_key.to_owned(), secret_key: secret_key.to_owned(), chunk: 8192 }
    }

    /// Signs a request; path and query are in the form that is sent.
    pub fn sign(&self, method: &str, target: &str, headers: &[(&str, &str)], object: &[u8], form: Form) -> Signed {
        let mut headers: Vec<(String, String)> =
            headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut add = |name: &str, value: String| headers.push((name.to_owned(), value));
        if form.is_framed() {
            add("x-amz-decoded-content-length", object.len().to_string());
            add("content-encoding", "aws-chunked".to_owned());
        }
        if let Some(algorithm) = form.trailer() {
            add("x-amz-trailer", algorithm.header_name().to_owned());
        }
        let payload = match form {
            Form::Hash => SignableBody::Bytes(object),
            Form::Unsigned => SignableBody::UnsignedPayload,
            Form::UnsignedChunks(_) => SignableBody::StreamingUnsignedPayloadTrailer,
            Form::SignedChunks => SignableBody::Precomputed("STREAMING-AWS4-HMAC-SHA256-PAYLOAD".to_owned()),
            Form::SignedTrailer(_) => {
                SignableBody::Precomputed("STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER".to_owned())
            }
        };
        let date = AmzDate::new(SystemClock.now());
        let seed = self.sign_head(method, target, &mut headers, payload, &date);
        let (chunks, end) = match form.is_framed() {
            false => (vec![object.to_vec()], Vec::new()),
            true => self.frame(object, form, &date, seed),
        };
        Signed { method: method.to_owned(), target: target.to_owned(), headers, chunks, end }
    }

    /// Adds the headers of the signature, and gives it.
    fn sign_head(
        &self,
        method: &str,
        target: &str,
        headers: &mut Vec<(String, String)>,
        payload: SignableBody<'_>,
        date: &AmzDate,
    ) -> String {
        let identity = Credentials::new(&self.access_key, &self.secret_key, None, None, "test").into();
        let mut settings = SigningSettings::default();
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region("us-east-1")
            .name("s3")
            .time(date.system_time())
            .settings(settings)
            .build()
            .unwrap()
            .into();
        let uri = format!("http://{}{target}", self.address);
        let pairs = headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let request = SignableRequest::new(method, &uri, pairs, payload).unwrap();
        let (instructions, seed) = sign(request, &params).unwrap().into_parts();
        let added: Vec<_> = instructions.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        headers.extend(added);
        seed
    }

    fn frame(&self, object: &[u8], form: Form, date: &AmzDate, seed: String) -> (Vec<Vec<u8>>, Vec<u8>) {
        let key = SigningKey::derive(&Secret::new(&self.secret_key), "us-east-1", date);
        let mut signer = form.is_signed().then(|| ChunkSigner::new(key, date, seed));
        let mut line = |data: &[u8]| {
            let hash = hex::encode(digest(ChecksumAlgorithm::Sha256, data));
            let signature = signer.as_mut().map(|signer| format!(";chunk-signature={}", signer.sign_chunk(&hash)));
            format!("{:x}{}\r\n", data.len(), signature.unwrap_or_default())
        };
        let chunks = object.chunks(self.chunk).map(|data| [line(data).as_bytes(), data, b"\r\n"].concat()).collect();
        let mut end = line(b"");
        if let Some(algorithm) = form.trailer() {
            let field = format!("{}:{}", algorithm.header_name(), to_base64(&digest(algorithm, object)));
            end.push_str(&format!("{field}\r\n"));
            if let Some(signer) = &mut signer {
                end.push_str(&format!("x-amz-trailer-signature:{}\r\n", signer.sign_trailer(&format!("{field}\n"))));
            }
        }
        end.push_str("\r\n");
        (chunks, end.into_bytes())
    }

    /// Signs and sends.
    pub async fn send(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        object: &[u8],
        form: Form,
        transfer: Transfer,
    ) -> Response {
        self.send_signed(&self.sign(method, target, headers, object, form), transfer).await
    }

    /// Sends a request that is already signed, on a connection of its own.
    pub async fn send_signed(&self, signed: &Signed, transfer: Transfer) -> Response {
        let stream = TcpStream::connect(self.address).await.unwrap();
        self.send_over(stream, false, signed, transfer).await
    }

    /// The same over a connection that is there, which speaks HTTP/2 or HTTP/1.1.
    pub async fn send_over(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        http2: bool,
        signed: &Signed,
        transfer: Transfer,
    ) -> Response {
        let mut request = Request::builder().method(signed.method.as_str());
        for (name, value) in &signed.headers {
            request = request.header(name, value);
        }
        // hyper says nothing of the length of an empty body, and some stores want to know it.
        if transfer == Transfer::Length && matches!(signed.method.as_str(), "PUT" | "POST") {
            request = request.header("content-length", signed.body().len());
        }
        let body = match transfer {
            Transfer::Length => Full::new(Bytes::from(signed.body())).boxed(),
            Transfer::Chunked => in_pieces(&signed.body()),
        };
        let response = if http2 {
            let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            let request = request.uri(format!("https://{}{}", self.address, signed.target)).body(body).unwrap();
            sender.send_request(request).await
        } else {
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            let request = request.uri(&signed.target).header("host", self.address.to_string()).body(body).unwrap();
            sender.send_request(request).await
        };
        let (head, body) = response.expect("an answer").into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes().to_vec();
        Response { status: head.status, headers: head.headers, body }
    }
}

/// In pieces that have nothing to do with the chunks, without telling anybody how long all of it is.
fn in_pieces(body: &[u8]) -> BoxBody<Bytes, Infallible> {
    let frames: Vec<_> = body.chunks(10_007).map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece)))).collect();
    BodyExt::boxed(StreamBody::new(stream::iter(frames)))
}

/// A checksum of some bytes.
pub fn digest(algorithm: ChecksumAlgorithm, data: &[u8]) -> Vec<u8> {
    let mut digest = RunningDigest::new(algorithm);
    digest.update(data);
    digest.finish(algorithm.value_length())
}

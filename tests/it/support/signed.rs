//! Requests signed with AWS' own signer, as an SDK would sign them, or forged.

use std::net::SocketAddr;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SignatureLocation, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use bytes::Bytes;

use super::{Client, Response};

/// An access key of the gateway, and where to use it.
#[derive(Clone)]
pub struct SignedClient {
    pub address: SocketAddr,
    pub id: String,
    pub secret: String,
    pub session_token: Option<String>,
    /// Value of `x-amz-content-sha256`; `None` takes that of the body.
    pub payload: Option<&'static str>,
    /// Seconds before now at which the request claims to be signed.
    pub age: i64,
}

/// A request that is signed and not sent yet.
#[derive(Clone, Debug)]
pub struct SignedRequest {
    pub method: String,
    pub target: String,
    /// Without those that a client adds by itself.
    pub headers: Vec<(String, String)>,
}

impl SignedClient {
    pub fn new(address: SocketAddr, id: &str, secret: &str) -> Self {
        let (id, secret) = (id.to_owned(), secret.to_owned());
        Self { address, id, secret, session_token: None, payload: None, age: 0 }
    }

    /// With another value of `x-amz-content-sha256`.
    pub fn payload(&self, payload: &'static str) -> Self {
        Self { payload: Some(payload), ..self.clone() }
    }

    /// Signs in the header.
    pub fn sign(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> SignedRequest {
        self.make(method, target, headers, body, None)
    }

    /// Makes a presigned URL that is good for so many seconds. `headers` are those that whoever uses it must send.
    pub fn presign(&self, method: &str, target: &str, headers: &[(&str, &str)], seconds: u64) -> SignedRequest {
        self.make(method, target, headers, b"", Some(seconds))
    }

    fn make(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
        expires: Option<u64>,
    ) -> SignedRequest {
        let identity = Credentials::new(&self.id, &self.secret, self.session_token.clone(), None, "test").into();
        let mut settings = SigningSettings::default();
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        if let Some(seconds) = expires {
            settings.signature_location = SignatureLocation::QueryParams;
            settings.payload_checksum_kind = PayloadChecksumKind::NoHeader;
            settings.expires_in = Some(Duration::from_secs(seconds));
        }
        let time = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(self.age);
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region("us-east-1")
            .name("s3")
            .time(time.into())
            .settings(settings)
            .build()
            .unwrap()
            .into();
        let uri = format!("http://{}{target}", self.address);
        let body = match (self.payload, expires) {
            (Some(payload), _) => SignableBody::Precomputed(payload.to_owned()),
            (None, Some(_)) => SignableBody::UnsignedPayload,
            (None, None) => SignableBody::Bytes(body),
        };
        let signable = SignableRequest::new(method, &uri, headers.iter().copied(), body).unwrap();
        let (instructions, _) = sign(signable, &params).unwrap().into_parts();
        let mut request = http::Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(()).unwrap();
        instructions.apply_to_request_http1x(&mut request);
        let headers = request.headers().iter();
        SignedRequest {
            method: method.to_owned(),
            target: request.uri().path_and_query().unwrap().to_string(),
            headers: headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect(),
        }
    }

    /// Sends a request as it is.
    pub async fn send(&self, request: &SignedRequest, body: impl Into<Bytes>) -> Response {
        let client = Client { address: self.address, token: String::new() };
        let headers: Vec<_> = request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        client.send_plain(&request.method, &request.target, &headers, body).await
    }

    /// Signs and sends.
    pub async fn ask(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        self.send(&self.sign(method, target, headers, body), body.to_vec()).await
    }
}

impl SignedRequest {
    /// With one header more, which nobody signed.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a signature that somebody made up.
    pub fn forged(mut self) -> Self {
        let zeros = "0".repeat(64);
        let forge = |text: &str, before: &str| match text.split_once(before) {
            Some((start, _)) => format!("{start}{before}{zeros}"),
            None => text.to_owned(),
        };
        self.target = forge(&self.target, "X-Amz-Signature=");
        for (_, value) in self.headers.iter_mut().filter(|(name, _)| name == "authorization") {
            *value = forge(value, "Signature=");
        }
        self
    }
}

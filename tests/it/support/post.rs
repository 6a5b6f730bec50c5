//! Browser forms as a server signs them and a browser sends them, and every way to spoil them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use countersign::base::{Clock, Secret, SystemClock};
use countersign::sigv4::{AmzDate, SigningKey};
use futures_util::stream;
use http::Request;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::{Gateway, Response};

/// The access key that signs the forms.
pub const KEY_ID: &str = "CSAKBROWSERFORMS0001";
pub const SECRET: &str = "secret-of-the-browser-forms-000000000001";

/// Pieces in which a form is sent.
const PIECE: usize = 100_000;

/// A form, ready to be sent or to be spoiled.
#[derive(Clone)]
pub struct PostForm {
    pub fields: Vec<(String, String)>,
    pub filename: String,
    pub file: Vec<u8>,
    pub boundary: String,
    /// What stands behind the file.
    pub end: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    /// Whether the length of the whole is declared.
    pub declared: bool,
}

impl PostForm {
    /// A form with these fields, signed now under a policy with these conditions besides those on the credential.
    pub fn signed(fields: &[(&str, &str)], conditions: &[Value]) -> Self {
        let timestamp = AmzDate::new(SystemClock.now()).timestamp;
        let credential = format!("{KEY_ID}/{}/us-east-1/s3/aws4_request", &timestamp[..8]);
        let of_credential = [
            ("x-amz-algorithm", "AWS4-HMAC-SHA256".to_owned()),
            ("x-amz-credential", credential),
            ("x-amz-date", timestamp.clone()),
        ];
        let mut all: Vec<Value> = conditions.to_vec();
        all.extend(of_credential.iter().map(|(name, value)| json!({ *name: value })));
        let expiration = (SystemClock.now() + std::time::Duration::from_secs(600)).to_string();
        let expiration = format!("{}Z", expiration.split('.').next().unwrap().trim_end_matches('Z'));
        let policy = json!({ "expiration": expiration, "conditions": all }).to_string();
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let credential = of_credential.into_iter().map(|(name, value)| (name.to_owned(), value));
        let mut form = Self {
            fields: fields.chain(credential).collect(),
            filename: "photo.png".to_owned(),
            file: b"content of the file".to_vec(),
            boundary: "----WebKitFormBoundaryA1b2C3d4E5f6G7h8".to_owned(),
            end: "\r\n------WebKitFormBoundaryA1b2C3d4E5f6G7h8--\r\n".to_owned(),
            target: "/bkt".to_owned(),
            headers: Vec::new(),
            declared: true,
        };
        form.sign(&policy, &timestamp);
        form
    }

    /// A form that uploads to a key below `a/`.
    pub fn to(key: &str) -> Self {
        Self::with(key, &[])
    }

    /// The same with further fields, each of which the policy names with its value.
    pub fn with(key: &str, fields: &[(&str, &str)]) -> Self {
        let mut conditions = vec![json!({ "bucket": "bkt" }), json!(["starts-with", "$key", "a/"])];
        conditions.extend(fields.iter().map(|(name, value)| json!({ *name: value })));
        Self::signed(&[&[("key", key)], fields].concat(), &conditions)
    }

    fn sign(&mut self, policy: &str, timestamp: &str) {
        let policy = STANDARD.encode(policy);
        let key = SigningKey::derive(&Secret::new(SECRET), "us-east-1", &AmzDate::parse(timestamp).unwrap());
        let signature = key.sign(&policy);
        self.fields.extend([("policy".to_owned(), policy), ("x-amz-signature".to_owned(), signature)]);
    }

    /// With another content.
    pub fn file(mut self, file: &[u8]) -> Self {
        self.file = file.to_vec();
        self
    }

    /// With a field that is changed, or added.
    pub fn field(mut self, name: &str, value: &str) -> Self {
        match self.fields.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value.to_owned(),
            None => self.fields.push((name.to_owned(), value.to_owned())),
        }
        self
    }

    /// With a further field, even if it is there.
    pub fn again(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Without a field.
    pub fn without(mut self, name: &str) -> Self {
        self.fields.retain(|(known, _)| known != name);
        self
    }

    /// With something else behind the file.
    pub fn end(mut self, end: &str) -> Self {
        self.end = end.replace("BOUNDARY", &self.boundary);
        self
    }

    /// To another target.
    pub fn target(mut self, target: &str) -> Self {
        self.target = target.to_owned();
        self
    }

    /// With a further header of the request.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Without a declared length.
    pub fn chunked(mut self) -> Self {
        self.declared = false;
        self
    }

    /// Everything before the content of the file.
    pub fn preamble(&self) -> Vec<u8> {
        let mut text = String::new();
        for (name, value) in &self.fields {
            text +=
                &format!("--{}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n", self.boundary);
        }
        text += &format!(
            "--{}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{}\"\r\nContent-Type: image/png\r\n\r\n",
            self.boundary, self.filename
        );
        text.into_bytes()
    }

    /// The whole body.
    pub fn body(&self) -> Vec<u8> {
        [self.preamble(), self.file.clone(), self.end.clone().into_bytes()].concat()
    }

    /// The media type of the whole.
    pub fn content_type(&self) -> String {
        format!("multipart/form-data; boundary={}", self.boundary)
    }

    /// Sends the form and reads the answer.
    pub async fn send(&self, gateway: &Gateway) -> Response {
        let stream = TcpStream::connect(gateway.address).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        let body = self.body();
        let mut request = Request::post(&self.target).header("content-type", self.content_type());
        if !self.headers.iter().any(|(name, _)| name == "host") {
            request = request.header("host", gateway.address.to_string());
        }
        if self.declared {
            request = request.header("content-length", body.len());
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let pieces: Vec<_> = body
            .chunks(PIECE)
            .map(|piece| Ok::<_, std::io::Error>(Frame::data(Bytes::copy_from_slice(piece))))
            .collect();
        let request = request.body(StreamBody::new(stream::iter(pieces))).unwrap();
        let (head, body) = sender.send_request(request).await.expect("an answer").into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes().to_vec();
        connection.abort();
        Response { status: head.status, headers: head.headers, body }
    }
}

//! A plain HTTP client that changes nothing of what it is told to send.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// A client with one token.
#[derive(Clone)]
pub struct Client {
    pub address: SocketAddr,
    pub token: String,
}

/// A whole answer.
#[derive(Debug)]
pub struct Response {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Response {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The S3 error code, or an empty text.
    pub fn code(&self) -> String {
        self.element("Code")
    }

    /// The text of the first element of a name.
    pub fn element(&self, name: &str) -> String {
        self.elements(name).into_iter().next().unwrap_or_default()
    }

    /// The texts of all elements of a name.
    pub fn elements(&self, name: &str) -> Vec<String> {
        let text = self.text();
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        text.split(&open).skip(1).filter_map(|rest| rest.split(&close).next().map(str::to_owned)).collect()
    }

    /// A header as text, or an empty text.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap_or(""))
    }

    /// Status and error code.
    pub fn outcome(&self) -> (u16, String) {
        (self.status.as_u16(), self.code())
    }
}

impl Client {
    /// Sends a request with the token, on a connection of its own.
    pub async fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Response {
        let authorization = format!("Bearer {}", self.token);
        let mut all = vec![("authorization", authorization.as_str())];
        all.extend(headers);
        self.send_plain(method, target, &all, body).await
    }

    /// Sends a request without the token.
    pub async fn send_plain(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Response {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(target);
        if !headers.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", self.address.to_string());
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = sender.send_request(request.body(Full::new(body.into())).unwrap()).await.expect("an answer");
        let (head, body) = response.into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes().to_vec();
        connection.abort();
        Response { status: head.status, headers: head.headers, body }
    }

    pub async fn get(&self, target: &str) -> Response {
        self.send("GET", target, &[], "").await
    }

    pub async fn put(&self, target: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Response {
        self.send("PUT", target, headers, body).await
    }

    pub async fn delete(&self, target: &str) -> Response {
        self.send("DELETE", target, &[], "").await
    }
}

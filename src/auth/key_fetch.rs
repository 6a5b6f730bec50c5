//! Fetches the key set of an issuer: OIDC discovery, a JWKS URL, or a file.
//!
//! A fetch goes where the configuration says and nowhere else: no redirects, no `jwks_uri` on a host that was not named, no
//! address of a metadata service, nothing in clear text beyond this machine. Size and time are bounded.
//! Source: OpenID Connect Discovery 1.0 §4.

use std::future::Future;
use std::io::Read;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, select};
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, HOST, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::auth::claim::MAX_TOKEN_BYTES;
use crate::auth::error::{SetupError, UrlFault};
use crate::auth::key_set::{KeySet, KeySetFault};
use crate::auth::settings::{IssuerSettings, KeySource};
use crate::auth::strict_json;
use crate::dial::{self, AddressPolicy, DialError, Dialer};

/// Largest accepted document in bytes. A key is about 500 bytes, with a certificate chain a few KiB.
pub(in crate::auth) const MAX_DOCUMENT_BYTES: usize = 1024 * 1024;

// Bounds the response head; the body is counted as it comes.
const READ_BUFFER_BYTES: usize = 64 * 1024;

/// Gives the current key set of an issuer.
pub(in crate::auth) trait KeySetSource: Send + Sync + 'static {
    /// Fetches it. Must come to an end by itself.
    fn fetch(&self) -> impl Future<Output = Result<KeySet, KeyFetchError>> + Send;
}

/// Where one issuer's keys come from.
#[derive(Debug, Clone)]
pub(in crate::auth) enum IssuerKeys {
    /// The discovery document, then the key set it names.
    Discovery(Discovery),
    /// The key set at a URL.
    Web(WebDocument),
    /// The key set in a file.
    File {
        /// The file.
        path: PathBuf,
        /// Longest time for reading it.
        time_limit: Duration,
    },
}

/// A discovery document and what it may say.
#[derive(Debug, Clone)]
pub(in crate::auth) struct Discovery {
    document: WebDocument,
    issuer: String,
    jwks_hosts: Vec<String>,
}

/// One URL and the way to it.
#[derive(Debug, Clone)]
pub(in crate::auth) struct WebDocument {
    url: FetchUrl,
    dialer: Dialer,
    time_limit: Duration,
    /// File with a token that is shown there.
    token: Option<PathBuf>,
}

/// A URL that may be fetched from: `https`, or `http` to a loopback address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::auth) struct FetchUrl {
    tls: bool,
    host: String,
    port: u16,
    authority: String,
    path: PathAndQuery,
}

/// Why a key set could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum KeyFetchError {
    /// No connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The connection failed or the answer was not HTTP.
    #[error("HTTP: {0}")]
    Http(#[from] hyper::Error),
    /// The answer was not 200; redirects are not followed.
    #[error("answer with status {0}")]
    Status(StatusCode),
    /// The answer is compressed, although that was not asked for.
    #[error("answer has a content encoding")]
    Encoded,
    /// The document is too large.
    #[error("document of more than {MAX_DOCUMENT_BYTES} bytes")]
    TooLarge,
    /// Not done in time.
    #[error("not done after {} ms", .0.as_millis())]
    Timeout(Duration),
    /// The document is not a key set.
    #[error(transparent)]
    KeySet(#[from] KeySetFault),
    /// The discovery document is not strict JSON with `issuer` and `jwks_uri`.
    #[error("not a discovery document")]
    Discovery,
    /// The discovery document is that of another issuer.
    #[error("discovery document of another issuer")]
    OtherIssuer,
    /// The `jwks_uri` is not a URL to fetch from.
    #[error("jwks_uri: {0}")]
    JwksUrl(UrlFault),
    /// The `jwks_uri` is on a host that is neither the issuer's nor listed in `jwks_hosts`.
    #[error("jwks_uri is on the host `{host}`, which is not the issuer's and not in jwks_hosts")]
    JwksHost {
        /// The host.
        host: String,
    },
    /// The file could not be read.
    #[error("reading the file: {0}")]
    File(#[from] std::io::Error),
    /// The token that is to be shown could not be read, or is none.
    #[error("reading the token to show: {0}")]
    Token(std::io::Error),
}

impl IssuerKeys {
    /// Prepares fetching; `time_limit` is for each document.
    ///
    /// # Errors
    /// [`SetupError::KeyUrl`] or [`SetupError::Dial`].
    pub(in crate::auth) fn new(settings: &IssuerSettings, time_limit: Duration) -> Result<Self, SetupError> {
        let name = || settings.name.clone();
        let web = |url: &str| {
            let url = FetchUrl::parse(url).map_err(|problem| SetupError::KeyUrl { name: name(), problem })?;
            WebDocument::new(url, settings.ca_file.clone(), time_limit)
                .map_err(|problem| SetupError::Dial { name: name(), problem })
        };
        let token = settings.jwks_token.clone();
        match &settings.keys {
            KeySource::File(path) => Ok(Self::File { path: path.clone(), time_limit }),
            // To this URL alone, which the configuration names: a discovery document could name any.
            KeySource::Url(url) => Ok(Self::Web(WebDocument { token, ..web(url)? })),
            KeySource::Discovery => {
                if settings.issuer.contains('?') {
                    return Err(SetupError::KeyUrl { name: name(), problem: UrlFault::Extra });
                }
                let base = settings.issuer.strip_suffix('/').unwrap_or(&settings.issuer);
                let document = web(&format!("{base}/.well-known/openid-configuration"))?;
                let (issuer, jwks_hosts) = (settings.issuer.clone(), settings.jwks_hosts.clone());
                Ok(Self::Discovery(Discovery { document, issuer, jwks_hosts }))
            }
        }
    }
}

impl KeySetSource for IssuerKeys {
    async fn fetch(&self) -> Result<KeySet, KeyFetchError> {
        let document = match self {
            Self::Discovery(discovery) => discovery.key_set_location().await?.get().await?,
            Self::Web(document) => document.get().await?,
            Self::File { path, time_limit } => {
                let path = path.clone();
                let reading = tokio::task::spawn_blocking(move || read_file(&path));
                let result = tokio::time::timeout(*time_limit, reading).await;
                result.map_err(|_| KeyFetchError::Timeout(*time_limit))?.map_err(std::io::Error::other)??
            }
        };
        Ok(KeySet::parse(&document)?)
    }
}

/// Reads a key file, never more than a key set may have.
///
/// # Errors
/// [`KeyFetchError::File`] or [`KeyFetchError::TooLarge`].
pub(in crate::auth) fn read_file(path: &Path) -> Result<Vec<u8>, KeyFetchError> {
    let mut document = Vec::new();
    let limit = MAX_DOCUMENT_BYTES as u64 + 1;
    std::fs::File::open(path)?.take(limit).read_to_end(&mut document)?;
    if document.len() > MAX_DOCUMENT_BYTES { Err(KeyFetchError::TooLarge) } else { Ok(document) }
}

/// The header that shows the token in a file.
fn bearer(path: &Path) -> std::io::Result<HeaderValue> {
    let limit = MAX_TOKEN_BYTES as u64 + 1;
    let mut text = Zeroizing::new(String::new());
    std::fs::File::open(path)?.take(limit).read_to_string(&mut text)?;
    let token = text.trim();
    let plain =
        !token.is_empty() && token.len() <= MAX_TOKEN_BYTES && token.bytes().all(|byte| byte.is_ascii_graphic());
    let value = Zeroizing::new(format!("Bearer {token}"));
    let mut value = HeaderValue::from_str(&value).ok().filter(|_| plain).ok_or(std::io::ErrorKind::InvalidData)?;
    value.set_sensitive(true);
    Ok(value)
}

impl Discovery {
    /// Fetches the discovery document and checks what it says.
    async fn key_set_location(&self) -> Result<WebDocument, KeyFetchError> {
        let document = strict_json::object(&self.document.get().await?).ok_or(KeyFetchError::Discovery)?;
        let text = |name: &str| document.get(name).and_then(Value::as_str).ok_or(KeyFetchError::Discovery);
        // Byte for byte: another issuer's document would bring keys for which it speaks, not this one.
        if text("issuer")? != self.issuer {
            return Err(KeyFetchError::OtherIssuer);
        }
        let url = FetchUrl::parse(text("jwks_uri")?).map_err(KeyFetchError::JwksUrl)?;
        let named = |host: &String| host.eq_ignore_ascii_case(&url.host);
        if !named(&self.document.url.host) && !self.jwks_hosts.iter().any(named) {
            return Err(KeyFetchError::JwksHost { host: url.host });
        }
        if self.document.url.tls && !url.tls {
            return Err(KeyFetchError::JwksUrl(UrlFault::Scheme));
        }
        let dialer = self.document.dialer.retarget(&url.host, url.port, url.tls)?;
        Ok(WebDocument { url, dialer, time_limit: self.document.time_limit, token: None })
    }
}

impl WebDocument {
    fn new(url: FetchUrl, ca_file: Option<PathBuf>, time_limit: Duration) -> Result<Self, DialError> {
        let dialer = Dialer::new(dial::Settings {
            host: url.host.clone(),
            port: url.port,
            tls: url.tls,
            ca_file,
            connect_timeout: time_limit,
            addresses: AddressPolicy::Guarded,
        })?;
        Ok(Self { url, dialer, time_limit, token: None })
    }

    /// Fetches the document within the time limit.
    async fn get(&self) -> Result<Vec<u8>, KeyFetchError> {
        let late = |_| KeyFetchError::Timeout(self.time_limit);
        tokio::time::timeout(self.time_limit, self.exchange()).await.map_err(late)?
    }

    /// One request over one connection, which ends with it.
    async fn exchange(&self) -> Result<Vec<u8>, KeyFetchError> {
        let mut request = self.url.request();
        if let Some(path) = self.token.clone() {
            // Read for each fetch: Kubernetes writes a new one every hour or so.
            let reading = tokio::task::spawn_blocking(move || bearer(&path)).await;
            let bearer = reading.map_err(std::io::Error::other).and_then(|read| read).map_err(KeyFetchError::Token)?;
            request.headers_mut().insert(AUTHORIZATION, bearer);
        }
        let stream = TokioIo::new(self.dialer.connect().await?);
        let (mut sender, connection) = http1::Builder::new().max_buf_size(READ_BUFFER_BYTES).handshake(stream).await?;
        let exchange = async {
            let response = sender.send_request(request).await?;
            let (head, body) = response.into_parts();
            check_head(head.status, &head.headers)?;
            read_body(body).await
        };
        // The connection has to be polled beside the exchange. It may end first; what it has read is then still delivered.
        match select(std::pin::pin!(exchange), std::pin::pin!(connection)).await {
            Either::Left((result, _)) => result,
            Either::Right((_, exchange)) => exchange.await,
        }
    }
}

fn check_head(status: StatusCode, headers: &HeaderMap) -> Result<(), KeyFetchError> {
    if status != StatusCode::OK {
        return Err(KeyFetchError::Status(status));
    }
    // Nothing is decompressed here, so a small answer cannot become a large one.
    if headers.get_all(CONTENT_ENCODING).iter().any(|coding| coding != "identity") {
        return Err(KeyFetchError::Encoded);
    }
    Ok(())
}

async fn read_body(mut body: Incoming) -> Result<Vec<u8>, KeyFetchError> {
    let mut document = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if document.len() + data.len() > MAX_DOCUMENT_BYTES {
            return Err(KeyFetchError::TooLarge);
        }
        document.extend_from_slice(&data);
    }
    Ok(document)
}

impl FetchUrl {
    /// Reads a URL and refuses what must not be fetched from.
    ///
    /// # Errors
    /// [`UrlFault`].
    pub(in crate::auth) fn parse(text: &str) -> Result<Self, UrlFault> {
        if text.contains('#') {
            return Err(UrlFault::Extra); // `Uri` would drop the fragment in silence
        }
        let uri: Uri = text.parse().map_err(|_| UrlFault::Syntax)?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(UrlFault::Syntax);
        };
        if authority.as_str().contains('@') {
            return Err(UrlFault::Extra);
        }
        let host = authority.host();
        let bare_host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        let port_text = authority.as_str().strip_prefix(host).ok_or(UrlFault::Syntax)?;
        if bare_host.is_empty() || (!port_text.is_empty() && authority.port_u16().is_none()) {
            return Err(UrlFault::Syntax);
        }
        let loopback = bare_host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        let (tls, default_port) = match scheme {
            "https" => (true, 443),
            "http" if loopback => (false, 80),
            _ => return Err(UrlFault::Scheme),
        };
        Ok(Self {
            tls,
            host: bare_host.to_owned(),
            port: authority.port_u16().unwrap_or(default_port),
            authority: authority.as_str().to_owned(),
            path: uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")),
        })
    }

    fn request(&self) -> Request<Empty<Bytes>> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = Uri::from(self.path.clone());
        let headers = request.headers_mut();
        let authority = self.authority.parse().expect("an authority has only characters that a header may have");
        headers.insert(HOST, authority);
        headers.insert(ACCEPT, http::HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT_ENCODING, http::HeaderValue::from_static("identity"));
        let agent = concat!("countersign/", env!("CARGO_PKG_VERSION"));
        headers.insert(USER_AGENT, http::HeaderValue::from_static(agent));
        request
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i11_only_https_and_loopback_http_are_fetched_from() {
        let parts = |text: &str| FetchUrl::parse(text).map(|url| (url.tls, url.host, url.port, url.path.to_string()));
        let cases = [
            ("https://idp.example", (true, "idp.example", 443, "/")),
            ("https://idp.example:8443/realms/a/?x=1", (true, "idp.example", 8443, "/realms/a/?x=1")),
            ("HTTPS://IDP.example/K", (true, "IDP.example", 443, "/K")),
            ("http://127.0.0.1:9400/jwks", (false, "127.0.0.1", 9400, "/jwks")),
            ("http://127.8.9.1/", (false, "127.8.9.1", 80, "/")),
            ("http://[::1]:80/", (false, "::1", 80, "/")),
            ("https://[2001:db8::1]/", (true, "2001:db8::1", 443, "/")),
        ];
        for (text, (tls, host, port, path)) in cases {
            assert_eq!(parts(text), Ok((tls, host.to_owned(), port, path.to_owned())), "{text}");
        }
        for (text, fault) in [
            ("http://idp.example/", UrlFault::Scheme),
            ("http://localhost:9400/", UrlFault::Scheme),
            ("http://127.0.0.1.evil.example/", UrlFault::Scheme),
            ("http://169.254.169.254/", UrlFault::Scheme),
            ("http://[::ffff:127.0.0.1]/", UrlFault::Scheme),
            ("ftp://idp.example/", UrlFault::Scheme),
            ("file:///etc/passwd", UrlFault::Syntax),
            ("file://host/etc/passwd", UrlFault::Scheme),
            ("/etc/passwd", UrlFault::Syntax),
            ("idp.example", UrlFault::Syntax),
            ("", UrlFault::Syntax),
            ("https://", UrlFault::Syntax),
            ("https:///path", UrlFault::Syntax),
            ("https://idp.example:/", UrlFault::Syntax),
            ("https://idp.example:70000/", UrlFault::Syntax),
            ("https://idp.example/a b", UrlFault::Syntax),
            ("https://user@idp.example/", UrlFault::Extra),
            ("https://idp.example@evil.example/", UrlFault::Extra),
            ("https://idp.example/#x", UrlFault::Extra),
        ] {
            assert_eq!(parts(text), Err(fault), "{text}");
        }
    }
}

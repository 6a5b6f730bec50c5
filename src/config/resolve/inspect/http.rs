//! `http` of an inspector.

use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue};

use super::super::super::path::Path;
use super::super::super::raw_inspect::{RawHttp, RawShown};
use super::super::desk::Desk;
use super::super::pem;
use super::super::values::{WebAddress, size};
use crate::base::Secret;
use crate::inspect::hook::{Settings, Shown};

/// Largest limit that means something: no S3 object is larger.
const MAX_SIZE: u64 = 5 << 40;

/// Headers that the gateway writes itself, or that would change what a request is.
const TAKEN: &[&str] = &[
    "accept",
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "countersign-subject",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];

/// Its settings; `None` if a problem was reported.
pub fn resolve(desk: &mut Desk<'_>, path: &Path, raw: &RawHttp) -> Option<Settings> {
    let address = url(desk, path, raw);
    let ca_path = path.key("ca_file");
    let ca_file = pem::authorities(desk, &ca_path, raw.ca_file.as_ref());
    let headers = headers(desk, &path.key("headers"), raw);
    let send = match raw.send {
        Some(RawShown::Body) | None => Shown::Body,
        Some(RawShown::Metadata) => Shown::Metadata,
    };
    let size_path = path.key("max_size");
    let max_size = raw.max_size.as_ref().map(|text| size(desk, &size_path, Some(text), MAX_SIZE, 1..=MAX_SIZE));
    if max_size.is_some() && send == Shown::Metadata {
        let help = "remove it; the program is told the length, if it was declared";
        desk.report_key(&size_path, "`max_size` does nothing with `send: metadata`", help);
    }
    let address = address?;
    if raw.ca_file.is_some() && !address.tls {
        desk.report(&ca_path, "`ca_file` does nothing over http", "use https, or remove `ca_file`");
    }
    if !raw.headers.is_empty() && !address.tls && !address.is_loopback() {
        let help = "use https; only to an address such as 127.0.0.1 they may go without";
        desk.report(&path.key("headers"), "the values of these headers would go over the network in clear text", help);
    }
    let path_text = if address.path.is_empty() { "/" } else { &address.path };
    Some(Settings {
        tls: address.tls,
        port: address.port,
        path: PathAndQuery::try_from(path_text).ok()?,
        host: address.host,
        ca_file,
        send,
        headers: headers?,
        max_size,
    })
}

fn url(desk: &mut Desk<'_>, path: &Path, raw: &RawHttp) -> Option<WebAddress> {
    let help = "write the address of your program, such as https://scanner.example.com/scan";
    let text = desk.required(path, "url", raw.url.as_ref(), help)?;
    let path = path.key("url");
    let text = match Desk::as_reference(text) {
        Some(reference) => desk.fetch(&path, &reference, false)?,
        None => text.clone(),
    };
    match WebAddress::parse(&text) {
        Ok(address) if address.path.is_empty() || PathAndQuery::try_from(address.path.as_str()).is_ok() => {
            Some(address)
        }
        Ok(_) => {
            desk.report(&path, "the address has a character that addresses do not have", help);
            None
        }
        Err(message) => {
            desk.report(&path, message, help);
            None
        }
    }
}

fn headers(desk: &mut Desk<'_>, path: &Path, raw: &RawHttp) -> Option<Vec<(HeaderName, Secret)>> {
    let mut headers: Vec<(HeaderName, Secret)> = Vec::new();
    let mut all_good = true;
    for (text, value) in &raw.headers {
        let path = path.key(text);
        let found = header(desk, &path, text, value);
        all_good &= found.is_some();
        let Some((name, value)) = found else { continue };
        if headers.iter().any(|(other, _)| *other == name) {
            desk.report_key(&path, format!("`{name}` is there twice"), "it is the same header in any case of letters");
        }
        headers.push((name, value));
    }
    all_good.then_some(headers)
}

fn header(desk: &mut Desk<'_>, path: &Path, text: &str, value: &str) -> Option<(HeaderName, Secret)> {
    let name = HeaderName::from_bytes(text.as_bytes()).ok();
    match &name {
        None => desk.report_key(path, "this is not the name of a header", "write a name such as `authorization`"),
        Some(name) if TAKEN.contains(&name.as_str()) => {
            desk.report_key(
                path,
                format!("`{name}` cannot be set"),
                "remove it; the gateway writes this header itself",
            );
        }
        Some(_) => {}
    }
    let reference = desk.secret_reference(path, value)?;
    let value = Secret::new(desk.fetch(path, &reference, true)?);
    if HeaderValue::try_from(value.expose()).is_err() {
        desk.report(
            path,
            "the value it refers to cannot stand in a header",
            "it must be one line of visible characters and blanks",
        );
        return None;
    }
    Some((name?, value))
}

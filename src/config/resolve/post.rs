//! What is said alike of every server that something is posted to: its address, and the headers it wants.

use std::collections::BTreeMap;

use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue};

use super::super::path::Path;
use super::desk::Desk;
use super::values::WebAddress;
use crate::base::Secret;

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

/// The address under a key, which may be a reference.
pub fn web_address(
    desk: &mut Desk<'_>,
    path: &Path,
    key: &str,
    text: Option<&String>,
    help: &str,
) -> Option<WebAddress> {
    let text = desk.required(path, key, text, help)?;
    let path = path.key(key);
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

/// The headers. Their values are secrets, which go in clear text to this machine only.
pub fn headers(
    desk: &mut Desk<'_>,
    path: &Path,
    raw: &BTreeMap<String, String>,
    address: Option<&WebAddress>,
) -> Option<Vec<(HeaderName, Secret)>> {
    let mut headers: Vec<(HeaderName, Secret)> = Vec::new();
    let mut all_good = true;
    for (text, value) in raw {
        let path = path.key(text);
        let found = header(desk, &path, text, value);
        all_good &= found.is_some();
        let Some((name, value)) = found else { continue };
        if headers.iter().any(|(other, _)| *other == name) {
            desk.report_key(&path, format!("`{name}` is there twice"), "it is the same header in any case of letters");
        }
        headers.push((name, value));
    }
    if !raw.is_empty() && address.is_some_and(|address| !address.tls && !address.is_loopback()) {
        let help = "use https; only to an address such as 127.0.0.1 they may go without";
        desk.report(path, "the values of these headers would go over the network in clear text", help);
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

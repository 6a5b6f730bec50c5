//! `http` of an inspector.

use http::uri::PathAndQuery;

use super::super::super::path::Path;
use super::super::super::raw_inspect::{RawHttp, RawShown};
use super::super::desk::Desk;
use super::super::pem;
use super::super::post::{headers, web_address};
use super::super::values::size;
use crate::inspect::hook::{Settings, Shown};

/// Largest limit that means something: no S3 object is larger.
const MAX_SIZE: u64 = 5 << 40;

/// Its settings; `None` if a problem was reported.
pub fn resolve(desk: &mut Desk<'_>, path: &Path, raw: &RawHttp) -> Option<Settings> {
    let help = "write the address of your program, such as https://scanner.example.com/scan";
    let address = web_address(desk, path, "url", raw.url.as_ref(), help);
    let ca_path = path.key("ca_file");
    let ca_file = pem::authorities(desk, &ca_path, raw.ca_file.as_ref());
    let headers = headers(desk, &path.key("headers"), &raw.headers, address.as_ref());
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

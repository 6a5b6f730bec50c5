//! `icap` of an inspector.

use std::time::Duration;

use super::super::super::path::Path;
use super::super::super::raw_inspect::RawIcap;
use super::super::desk::Desk;
use super::super::pem;
use super::super::values::{ANY_TIMEOUT, duration, size};
use super::clamd::{beginnings, probe};
use crate::base::authority::is_host;
use crate::inspect::icap::{Address, NOT_SCANNABLE, Settings};

const MAX_SIZE: u64 = 1 << 40;
const DEFAULT_SIZE: u64 = 25 << 20;

/// Its settings; `None` if a problem was reported.
pub fn resolve(desk: &mut Desk<'_>, path: &Path, raw: &RawIcap) -> Option<Settings> {
    let url = url(desk, path, raw);
    let ca_path = path.key("ca_file");
    let ca_file = pem::authorities(desk, &ca_path, raw.ca_file.as_ref());
    let max_size = size(desk, &path.key("max_size"), raw.max_size.as_ref(), DEFAULT_SIZE, 1024..=MAX_SIZE);
    let connect = path.key("connect_timeout");
    let connect_timeout = duration(desk, &connect, raw.connect_timeout.as_ref(), Duration::from_secs(2), ANY_TIMEOUT);
    let not_scannable = beginnings(desk, path, raw.not_scannable.as_ref(), NOT_SCANNABLE);
    let url = url?;
    if raw.ca_file.is_some() && !url.tls {
        desk.report(&ca_path, "`ca_file` does nothing over icap", "use icaps, or remove `ca_file`");
    }
    let trust_preview = raw.trust_preview.unwrap_or(false);
    Some(Settings {
        url,
        ca_file,
        max_size,
        connect_timeout,
        not_scannable,
        trust_preview,
        send_type: raw.send_type.unwrap_or(false),
        probe: probe(raw.probe),
    })
}

fn url(desk: &mut Desk<'_>, path: &Path, raw: &RawIcap) -> Option<Address> {
    const HELP: &str = "write icap://host:port/service, such as icap://127.0.0.1:1344/avscan, or icaps:// for TLS";
    let text = desk.required(path, "url", raw.url.as_ref(), HELP)?;
    let path = path.key("url");
    match text.parse::<Address>() {
        Ok(address) if is_host(&address.host) => return Some(address),
        Ok(_) => desk.report(&path, "this is not a host", HELP),
        Err(error) => desk.report(&path, error.to_string(), HELP),
    }
    None
}

//! `clamd` of an inspector.

use std::time::Duration;

use super::super::super::forms::OneOrMany;
use super::super::super::path::Path;
use super::super::super::raw_inspect::{RawClamd, RawProbe};
use super::super::clients::{check_texts, text_path};
use super::super::desk::Desk;
use super::super::values::{ANY_TIMEOUT, duration, size};
use crate::base::authority::is_host;
use crate::inspect::clamd::{Address, NOT_SCANNABLE, Probe, Settings};

/// clamd counts the bytes of a chunk in 32 bits, and takes nothing longer in all.
const MAX_SIZE: u64 = 4 << 30;
const DEFAULT_SIZE: u64 = 25 << 20;

/// Its settings; `None` if a problem was reported.
pub fn resolve(desk: &mut Desk<'_>, path: &Path, raw: &RawClamd) -> Option<Settings> {
    let addresses = addresses(desk, path, raw);
    let max_size = size(desk, &path.key("max_size"), raw.max_size.as_ref(), DEFAULT_SIZE, 1024..=MAX_SIZE);
    let connect = path.key("connect_timeout");
    let connect_timeout = duration(desk, &connect, raw.connect_timeout.as_ref(), Duration::from_secs(2), ANY_TIMEOUT);
    let not_scannable = beginnings(desk, path, raw.not_scannable.as_ref(), NOT_SCANNABLE);
    Some(Settings { addresses: addresses?, max_size, connect_timeout, not_scannable, probe: probe(raw.probe) })
}

/// What is found out about limits.
pub fn probe(raw: Option<RawProbe>) -> Probe {
    match raw {
        Some(RawProbe::None) => Probe::None,
        Some(RawProbe::Basic) | None => Probe::Basic,
        Some(RawProbe::Strict) => Probe::Strict,
    }
}

/// The beginnings of names under `not_scannable`.
pub fn beginnings(desk: &mut Desk<'_>, path: &Path, raw: Option<&OneOrMany>, default: [&str; 2]) -> Vec<String> {
    let Some(names) = raw else { return default.map(str::to_owned).to_vec() };
    // An empty beginning would be one of every name: nothing would ever be `matched`.
    let help = "write the beginning of a name, such as Heuristics.Encrypted.";
    check_texts(desk, &path.key("not_scannable"), names, help);
    names.texts().to_vec()
}

fn addresses(desk: &mut Desk<'_>, path: &Path, raw: &RawClamd) -> Option<Vec<Address>> {
    const HELP: &str =
        "write tcp://host:port or unix:/path, such as tcp://127.0.0.1:3310 or unix:/run/clamav/clamd.ctl";
    let written = desk.required(path, "addresses", raw.addresses.as_ref(), HELP)?;
    let path = path.key("addresses");
    check_texts(desk, &path, written, HELP);
    let mut found = Vec::new();
    for (position, text) in written.texts().iter().enumerate().filter(|(_, text)| !text.is_empty()) {
        let place = text_path(&path, written, position);
        match text.parse::<Address>() {
            Ok(Address::Tcp { host, .. }) if !is_host(&host) => desk.report(&place, "this is not a host", HELP),
            Ok(address) if found.contains(&address) => desk.report(&place, "this address is there twice", "remove one"),
            Ok(address) => found.push(address),
            Err(error) => desk.report(&place, error.to_string(), HELP),
        }
    }
    (!found.is_empty()).then_some(found)
}

//! `listen[].proxy_protocol` and `listen[].forwarded`: which proxies are believed when they say for whom they speak.

use std::net::IpAddr;

use ipnet::IpNet;

use super::super::forms::OneOrMany;
use super::super::path::Path;
use super::super::raw_identity::{RawForwardedHeader, RawListener};
use super::clients::{check_texts, text_path};
use super::desk::Desk;
use crate::edge::{ForwardedHeader, ForwardedSettings};

/// Proxies that speak the PROXY protocol; none if the key is not there.
pub fn proxy_protocol(desk: &mut Desk<'_>, listener: &Path, raw: &RawListener) -> Option<Vec<IpNet>> {
    let path = listener.key("proxy_protocol");
    let Some(proxies) = &raw.proxy_protocol else { return Some(Vec::new()) };
    check_place(desk, &path, raw);
    from(desk, &path, proxies.from.as_ref())
}

/// Proxies that are believed in a header.
pub fn forwarded(desk: &mut Desk<'_>, listener: &Path, raw: &RawListener) -> Option<Option<ForwardedSettings>> {
    let path = listener.key("forwarded");
    let Some(forwarded) = &raw.forwarded else { return Some(None) };
    check_place(desk, &path, raw);
    let header = match forwarded.header {
        Some(RawForwardedHeader::XForwardedFor) | None => ForwardedHeader::XForwardedFor,
        Some(RawForwardedHeader::Forwarded) => ForwardedHeader::Forwarded,
    };
    Some(Some(ForwardedSettings { from: from(desk, &path, forwarded.from.as_ref())?, header }))
}

fn check_place(desk: &mut Desk<'_>, path: &Path, raw: &RawListener) {
    if raw.address.as_ref().is_some_and(|address| address.starts_with("unix:")) {
        let help = "let the proxy connect to an IP address, or remove the key";
        desk.report_key(path, "nobody at a Unix socket has an address that could be the proxy's", help);
    }
    if raw.identity.is_some() {
        let help = "give the proxy a listener of its own";
        desk.report_key(path, "whoever is behind a proxy is not the application that the listener is for", help);
    }
}

fn from(desk: &mut Desk<'_>, path: &Path, list: Option<&OneOrMany>) -> Option<Vec<IpNet>> {
    const HELP: &str = "name the addresses of the proxies, such as 10.0.0.7 or 10.0.0.0/24";
    let list = desk.required(path, "from", list, HELP)?;
    let path = path.key("from");
    check_texts(desk, &path, list, HELP);
    let found = networks(desk, &path, list);
    if let Some(position) = found.iter().position(|network| network.prefix_len() == 0) {
        let help = "name the proxies alone; everybody could write what they like";
        desk.report(&text_path(&path, list, position), "this is everybody", help);
    }
    Some(found)
}

/// The networks of a list. Empty texts are reported elsewhere.
pub fn networks(desk: &mut Desk<'_>, path: &Path, list: &OneOrMany) -> Vec<IpNet> {
    let mut networks = Vec::new();
    for (position, text) in list.texts().iter().enumerate().filter(|(_, text)| !text.is_empty()) {
        let parsed = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
        let path = text_path(path, list, position);
        match parsed {
            Some(network) if network.trunc() == network => networks.push(network),
            Some(network) => {
                desk.report(&path, "the address has bits outside its network", format!("write {}", network.trunc()))
            }
            None => desk.report(&path, "this is not a network", "write it like 10.0.0.0/8, 192.0.2.1 or 2001:db8::/32"),
        }
    }
    networks
}

//! `admin`: where the admin listener is, and who may ask it for more than health.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use super::super::forms::OneOrMany;
use super::super::path::Path;
use super::super::raw::RawConfig;
use super::super::raw_admin::{RawAdminTls, RawAdminToken, RawMetricsAccess};
use super::clients::{check_texts, instant, text_path, token_digest};
use super::desk::Desk;
use super::pem;
use super::values::{check_name, socket_address};
use crate::auth::TokenSettings;
use crate::edge::{Access, AdminToken, ClientTlsSettings, ListenAddress, ListenerSettings, MetricsAccess, TlsSettings};

/// The admin address when none is written.
const DEFAULT_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9090);

/// The admin listener.
pub struct Admin {
    pub address: SocketAddr,
    pub tls: Option<TlsSettings>,
    pub access: Arc<Access>,
}

/// The admin listener beside the others.
pub fn admin(desk: &mut Desk<'_>, raw: &RawConfig, listeners: &[ListenerSettings]) -> Admin {
    let path = Path::top().key("admin");
    let raw = &raw.admin;
    let tls = raw.tls.as_ref().and_then(|raw| tls(desk, &path.key("tls"), raw));
    let metrics = match raw.metrics {
        None | Some(RawMetricsAccess::Open) => MetricsAccess::Open,
        Some(RawMetricsAccess::Protected) => MetricsAccess::Protected,
    };
    let access = Access {
        tokens: tokens(desk, &path, raw.tokens.as_deref()),
        client_certificates: tls.as_ref().is_some_and(|tls| tls.client.is_some()),
        hosts: hosts(desk, raw.hosts.as_ref()),
        metrics,
    };
    // Asked of what is written: a token with a problem is one that was meant to be there.
    let has_client_ca = raw.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
    let is_protected = has_client_ca || raw.tokens.as_ref().is_some_and(|tokens| !tokens.is_empty());
    let address = match &raw.address {
        None => DEFAULT_ADDRESS,
        Some(text) => address(desk, text, is_protected, listeners),
    };
    Admin { address, tls, access: Arc::new(access) }
}

fn address(desk: &mut Desk<'_>, text: &str, is_protected: bool, listeners: &[ListenerSettings]) -> SocketAddr {
    let path = Path::top().key("admin").key("address");
    let Some(address) = socket_address(desk, &path, text) else { return DEFAULT_ADDRESS };
    if !address.ip().is_loopback() && !is_protected {
        let help =
            "use 127.0.0.1 or [::1], or add `admin.tokens` (`countersign token` makes one) or `admin.tls.client_ca`";
        desk.report(&path, "the admin listener has no authentication and must not be reachable from outside", help);
    }
    if address.port() != 0 && listeners.iter().any(|listener| listener.address == ListenAddress::Tcp(address)) {
        desk.report(&path, format!("{address} is listened on twice"), "give the admin listener a port of its own");
    }
    address
}

fn tls(desk: &mut Desk<'_>, path: &Path, raw: &RawAdminTls) -> Option<TlsSettings> {
    let ca = raw.client_ca.as_ref().map(|text| pem::authorities(desk, &path.key("client_ca"), Some(text)));
    let crls = pem::lists(desk, &path.key("crls"), raw.crls.as_ref());
    if raw.crls.is_some() && raw.client_ca.is_none() {
        let help = "name the authorities that the lists are of as `client_ca`, or remove the key";
        desk.report(&path.key("crls"), "no certificate of a client is looked at here", help);
    }
    let pair = pem::pair(desk, path, raw.certificate.as_ref(), raw.key.as_ref())?;
    // Probes have no certificate; what operators may do with one is the gate's to say.
    let client = |ca| Some(ClientTlsSettings { ca, crls: crls?, require: false, identity: true });
    let client = ca.map_or(Some(None), |found| found.and_then(client).map(Some))?;
    Some(TlsSettings { client, ..pair })
}

fn tokens(desk: &mut Desk<'_>, path: &Path, raw: Option<&[RawAdminToken]>) -> Vec<AdminToken> {
    let path = path.key("tokens");
    let Some(raw) = raw else { return Vec::new() };
    if raw.is_empty() && !desk.is_blurred(&path) {
        desk.report(&path, "there is no token", "add one with `name` and `hash`, or remove the key");
    }
    let mut tokens: Vec<AdminToken> = Vec::new();
    for (position, raw) in raw.iter().enumerate() {
        let path = path.item(position);
        let name = desk.required(&path, "name", raw.name.as_ref(), "give the token a name for the log");
        let name = name.filter(|name| check_name(desk, &path.key("name"), name)).cloned();
        let digest = token_digest(desk, &path, raw.hash.as_ref());
        let expires = raw.expires.as_ref().map(|text| instant(desk, &path.key("expires"), text));
        let (Some(name), Some(digest)) = (name, digest) else { continue };
        let Some(expires) = expires.map_or(Some(None), |instant| instant.map(Some)) else { continue };
        if tokens.iter().any(|other| other.name == name) {
            desk.report(&path.key("name"), format!("there are two tokens `{name}`"), "give each a name of its own");
        }
        if let Some(other) = tokens.iter().find(|other| other.digest == digest) {
            let help = "make a token of its own for each; `countersign token` does";
            desk.report(&path.key("hash"), format!("the token `{}` has the same hash", other.name), help);
        }
        tokens.push(AdminToken { name, digest, expires });
    }
    tokens
}

/// A token that programs use for S3 must not open the page as well.
pub fn check_tokens_of_clients(desk: &mut Desk<'_>, access: &Access, clients: &[TokenSettings]) {
    for (position, token) in access.tokens.iter().enumerate() {
        if let Some(client) = clients.iter().find(|client| client.digest == token.digest) {
            let path = Path::top().key("admin").key("tokens").item(position).key("hash");
            let help = "make a token of its own for operators; `countersign token` does";
            desk.report(&path, format!("the token `{}` of a client has the same hash", client.name), help);
        }
    }
}

fn hosts(desk: &mut Desk<'_>, raw: Option<&OneOrMany>) -> Vec<String> {
    let Some(list) = raw else { return Vec::new() };
    let path = Path::top().key("admin").key("hosts");
    check_texts(desk, &path, list, "name a host, or remove the key");
    for (position, text) in list.texts().iter().enumerate().filter(|(_, text)| !text.is_empty()) {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.';
        if !text.bytes().all(plain) || text.starts_with('.') || text.ends_with('.') {
            let help = "write it in lower case and without port, such as countersign-admin.example.com";
            desk.report(&text_path(&path, list, position), "this is not a host name", help);
        }
    }
    list.texts().to_vec()
}

//! Where a listener is, and whom it is for: `listen[].address`, `mode` and `identity`.

use std::path::PathBuf;

use super::super::path::Path;
use super::super::raw::RawConfig;
use super::super::raw_identity::{RawIdentity, RawListener};
use super::clients::{KnownClient, KnownClients, attributes, plain_attributes};
use super::desk::Desk;
use super::values::{absolute, check_name, socket_address};
use crate::auth::{Attributes, ListenerIdentity};
use crate::edge::{ListenAddress, UnixSettings};
use crate::rules::settings::Client;

/// What SDKs are given as access key id where the listener says who they are.
const PLACEHOLDER: &str = "countersign";

/// The address of a listener.
pub fn address(desk: &mut Desk<'_>, path: &Path, raw: &RawListener) -> Option<ListenAddress> {
    let help = "write an IP address and a port, such as 127.0.0.1:8080, or unix:/path for a Unix socket";
    let text = desk.required(path, "address", raw.address.as_ref(), help)?;
    let address_path = path.key("address");
    let Some(socket) = text.strip_prefix("unix:") else {
        if raw.mode.is_some() {
            let help = "remove it; who reaches an IP address is for the network to say";
            desk.report_key(&path.key("mode"), "`mode` is for Unix sockets", help);
        }
        return socket_address(desk, &address_path, text).map(ListenAddress::Tcp);
    };
    let mode = mode(desk, &path.key("mode"), raw.mode.as_deref());
    let file = absolute(desk, &address_path, socket)?;
    let too_long = file.as_os_str().len() > UnixSettings::MAX_PATH_BYTES;
    if too_long || file.file_name().is_none() || socket.ends_with('/') {
        let help = "name a file in a folder that is there, such as unix:/run/countersign/s3.sock";
        let limit = UnixSettings::MAX_PATH_BYTES;
        desk.report(&address_path, format!("this is no path of a socket with at most {limit} bytes"), help);
        return None;
    }
    Some(ListenAddress::Unix(UnixSettings { path: PathBuf::from(socket), mode: mode? }))
}

fn mode(desk: &mut Desk<'_>, path: &Path, text: Option<&str>) -> Option<u32> {
    let text = text.unwrap_or("0600");
    let octal = (3..=4).contains(&text.len()) && text.bytes().all(|digit| matches!(digit, b'0'..=b'7'));
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| octal && *mode <= 0o777);
    if mode.is_none() {
        desk.report(path, "these are not permissions", "write three or four octal digits, such as \"0660\"");
    }
    mode
}

/// The name of the identity of a listener, if it has one.
pub fn name(desk: &mut Desk<'_>, path: &Path, raw: &RawListener, address: Option<&ListenAddress>) -> Option<String> {
    let identity = raw.identity.as_ref()?;
    let path = path.key("identity");
    if let Some(ListenAddress::Tcp(address)) = address
        && !address.ip().is_loopback()
    {
        let help =
            "listen on 127.0.0.1, [::1] or a Unix socket, or remove `identity` and let clients show a credential";
        desk.report_key(&path, "anybody on the network could reach this listener and be this principal", help);
    }
    identity.name.clone()
}

/// The identities of all listeners.
pub fn listeners(desk: &mut Desk<'_>, raw: &RawConfig, known: &mut KnownClients) -> Vec<ListenerIdentity> {
    let path = Path::top().key("listen");
    known.complete &= !desk.is_blurred(&path);
    let mut identities = Vec::new();
    for (position, raw) in raw.listen.iter().flatten().enumerate() {
        let path = path.item(position).key("identity");
        known.complete &= !desk.is_blurred(&path) && !desk.is_blurred(&path.key("attributes"));
        if let Some(raw) = &raw.identity {
            match identity(desk, &path, raw, known) {
                Some(identity) => identities.push(identity),
                None => known.complete = false,
            }
        }
    }
    identities
}

fn identity(desk: &mut Desk<'_>, path: &Path, raw: &RawIdentity, known: &mut KnownClients) -> Option<ListenerIdentity> {
    let name = desk.required(path, "name", raw.name.as_ref(), "give it a name for rules and audit records");
    let name = name.filter(|name| check_name(desk, &path.key("name"), name)).cloned();
    let placeholder = raw.placeholder.clone().unwrap_or_else(|| PLACEHOLDER.to_owned());
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if !(3..=128).contains(&placeholder.len()) || !placeholder.bytes().all(plain) {
        let help = "write 3 to 128 letters, digits, `-`, `_` or `.`, as SDKs accept for an access key id";
        desk.report(&path.key("placeholder"), "this cannot be an access key id", help);
    }
    let attributes = attributes(desk, &path.key("attributes"), &raw.attributes);
    let name = name?;
    known.add(desk, &path.key("name"), client(&name, &attributes));
    Some(ListenerIdentity { name, placeholder, attributes })
}

fn client(name: &str, attributes: &Attributes) -> KnownClient {
    let mut plain = plain_attributes(attributes);
    plain.insert("listener".to_owned());
    let attributes = attributes.keys().cloned().chain(["listener".to_owned()]).collect();
    KnownClient { client: Client::Listener(name.to_owned()), attributes, plain }
}

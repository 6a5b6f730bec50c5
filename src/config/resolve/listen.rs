//! `listen`, `admin` and `limits`: where the gateway listens and what a connection may cost.

use std::time::Duration;

use super::super::path::Path;
use super::super::raw::{RawConfig, RawLimits};
use super::super::raw_identity::RawListener;
use super::admin::admin;
use super::clients::{check_texts, text_path};
use super::desk::Desk;
use super::values::{ANY_TIMEOUT, count, duration, size};
use super::{identity, pem, proxies};
use crate::edge::{ConnectionLimits, ListenAddress, ListenerSettings, Settings};
use crate::s3::addressing::Domains;

/// The listeners with their limits.
pub fn edge(desk: &mut Desk<'_>, raw: &RawConfig) -> Settings {
    let listeners = listeners(desk, raw);
    let admin = admin(desk, raw, &listeners);
    let path = Path::top().key("limits").key("timeouts");
    let raw_times = &raw.limits.timeouts;
    let drain_timeout =
        duration(desk, &path.key("drain"), raw_times.drain.as_ref(), Duration::from_secs(30), ANY_TIMEOUT);
    let delays = Duration::ZERO..=Duration::from_secs(3600);
    let drain_delay = duration(desk, &path.key("drain_delay"), raw_times.drain_delay.as_ref(), Duration::ZERO, delays);
    Settings {
        listeners,
        admin: admin.address,
        admin_tls: admin.tls,
        admin_access: admin.access,
        limits: limits(desk, &raw.limits),
        drain_delay,
        drain_timeout,
    }
}

/// The domains below which host names begin with a bucket.
pub fn domains(desk: &mut Desk<'_>, raw: &RawConfig) -> Domains {
    const HELP: &str =
        "write a host name in lower case, without port and without a dot at the end, such as s3.example.com";
    let Some(list) = &raw.domains else { return Domains::default() };
    let path = Path::top().key("domains");
    check_texts(desk, &path, list, "name a domain, or remove the key");
    let mut domains: Vec<String> = Vec::new();
    for (position, text) in list.texts().iter().enumerate().filter(|(_, text)| !text.is_empty()) {
        let path = text_path(&path, list, position);
        if !is_domain(text) {
            desk.report(&path, "this is not a domain", HELP);
        } else if let Some(other) = domains.iter().find(|other| is_inside(other, text) || is_inside(text, other)) {
            let help = "a host name could be read in two ways; keep one of the two";
            desk.report(&path, format!("this is the same as the domain `{other}`, or one lies inside the other"), help);
        }
        domains.push(text.clone());
    }
    Domains::new(domains)
}

fn is_domain(text: &str) -> bool {
    let good_label = |label: &str| {
        let plain = label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        (1..=63).contains(&label.len()) && plain && !label.starts_with('-') && !label.ends_with('-')
    };
    // The last label of a name is never a number; that of an IPv4 address is.
    let is_number = text.rsplit('.').next().is_some_and(|label| label.bytes().all(|byte| byte.is_ascii_digit()));
    text.len() <= 189 && text.split('.').all(good_label) && !is_number
}

fn is_inside(outer: &str, inner: &str) -> bool {
    inner.strip_suffix(outer).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn listeners(desk: &mut Desk<'_>, raw: &RawConfig) -> Vec<ListenerSettings> {
    let help = "add `listen:` with `- address: 127.0.0.1:8080`";
    let path = Path::top().key("listen");
    let Some(raw) = desk.required(&Path::top(), "listen", raw.listen.as_ref(), help) else { return Vec::new() };
    if raw.is_empty() && !desk.is_blurred(&path) {
        desk.report(&path, "there is no address to listen on", help);
    }
    let mut listeners: Vec<ListenerSettings> = Vec::new();
    for (position, raw) in raw.iter().enumerate() {
        let path = path.item(position);
        let Some(listener) = listener(desk, &path, raw) else { continue };
        let any_port = matches!(&listener.address, ListenAddress::Tcp(address) if address.port() == 0);
        if !any_port && listeners.iter().any(|other| other.address == listener.address) {
            desk.report(
                &path.key("address"),
                format!("{} is listened on twice", listener.address),
                "remove one of the two",
            );
        }
        listeners.push(listener);
    }
    listeners
}

fn listener(desk: &mut Desk<'_>, path: &Path, raw: &RawListener) -> Option<ListenerSettings> {
    let address = identity::address(desk, path, raw);
    let name = identity::name(desk, path, raw, address.as_ref());
    let tls = match &raw.tls {
        // Serving clear text because `tls` has a problem would show tokens to the network.
        Some(raw) => Some(pem::tls(desk, &path.key("tls"), raw)?),
        None => None,
    };
    let proxies = proxies::proxy_protocol(desk, path, raw);
    let forwarded = proxies::forwarded(desk, path, raw);
    Some(ListenerSettings { address: address?, tls, identity: name, proxies: proxies?, forwarded: forwarded? })
}

fn limits(desk: &mut Desk<'_>, raw: &RawLimits) -> ConnectionLimits {
    const KIB: u64 = 1 << 10;
    let path = Path::top().key("limits");
    let times = path.key("timeouts");
    let seconds = Duration::from_secs;
    // hyper refuses a head buffer below 8 KiB.
    let max_head = size(desk, &path.key("max_head"), raw.max_head.as_ref(), 32 * KIB, 8 * KIB..=256 * KIB);
    let max_target = size(desk, &path.key("max_target"), raw.max_target.as_ref(), 8 * KIB, 2 * KIB..=64 * KIB);
    if max_target > max_head {
        let help = "the request target is a part of the head: raise `max_head` or lower `max_target`";
        desk.report(&path.key("max_target"), "`max_target` is larger than `max_head`", help);
    }
    let small = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    ConnectionLimits {
        max_connections: count(desk, &path.key("max_connections"), raw.max_connections, 4096, 1..=1_000_000),
        handshake_timeout: duration(
            desk,
            &times.key("handshake"),
            raw.timeouts.handshake.as_ref(),
            seconds(10),
            ANY_TIMEOUT,
        ),
        head_timeout: duration(desk, &times.key("head"), raw.timeouts.head.as_ref(), seconds(30), ANY_TIMEOUT),
        max_head_bytes: small(max_head),
        max_headers: count(desk, &path.key("max_headers"), raw.max_headers, 100, 16..=1000),
        max_target_bytes: small(max_target),
        body_idle_timeout: duration(
            desk,
            &times.key("body_idle"),
            raw.timeouts.body_idle.as_ref(),
            seconds(60),
            ANY_TIMEOUT,
        ),
        min_body_rate: size(desk, &path.key("min_body_rate"), raw.min_body_rate.as_ref(), KIB, 1..=KIB.pow(3)),
        body_rate_window: duration(
            desk,
            &path.key("body_rate_window"),
            raw.body_rate_window.as_ref(),
            seconds(30),
            seconds(1)..=seconds(3600),
        ),
        linger_bytes: size(desk, &path.key("linger"), raw.linger.as_ref(), 4 * KIB.pow(2), 0..=KIB.pow(3)),
        linger_timeout: duration(desk, &times.key("linger"), raw.timeouts.linger.as_ref(), seconds(5), ANY_TIMEOUT),
        buffer_bytes: small(size(
            desk,
            &path.key("buffers"),
            raw.buffers.as_ref(),
            16 * KIB.pow(2),
            0..=64 * KIB.pow(3),
        )),
        h2_max_streams: count(desk, &path.key("http2_max_streams"), raw.http2_max_streams, 100, 1..=10_000),
    }
}

//! Host and port as they stand together in addresses: `host`, `host:port`, `[address]`, `[address]:port` (RFC 3986, section 3.2).

use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr};

/// Takes host and port apart; an IPv6 address comes without its brackets. `None` if they cannot be told from each other.
pub fn split_port(authority: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (address, after) = rest.split_once(']')?;
        address.parse::<Ipv6Addr>().ok()?;
        return match after {
            "" => Some((address, None)),
            _ => after.strip_prefix(':').map(|port| (address, Some(port))),
        };
    }
    match authority.split_once(':') {
        Some((_, port)) if port.contains(':') => None,
        Some((host, port)) => Some((host, Some(port))),
        None => Some((authority, None)),
    }
}

/// A host as it stands before a port: an IPv6 address in brackets.
pub fn bracketed(host: &str) -> Cow<'_, str> {
    if host.contains(':') { format!("[{host}]").into() } else { host.into() }
}

/// The authority of `http` and `https` URLs, without the port that is the scheme's own.
pub fn authority_of(host: &str, port: u16, tls: bool) -> String {
    let host = bracketed(host);
    if port == if tls { 443 } else { 80 } { host.into_owned() } else { format!("{host}:{port}") }
}

/// Reads a port, 1 to 65535, written with nothing but digits.
pub fn parse_port(text: &str) -> Option<u16> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| is_number && *port != 0)
}

/// Whether a text is an IP address or a host name.
pub fn is_host(text: &str) -> bool {
    if text.parse::<IpAddr>().is_ok() {
        return true;
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // `127.1` and `0x7f000001` are addresses to some resolvers and names to others.
    let last = text.rsplit('.').next().unwrap_or_default();
    let number = last.bytes().all(|b| b.is_ascii_digit())
        || last.strip_prefix("0x").is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
    text.len() <= 253 && text.split('.').all(label) && !number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_have_brackets_and_ports_where_they_need_them() {
        for (host, port, tls, authority) in [
            ("x", 443, true, "x"),
            ("x", 80, false, "x"),
            ("x", 443, false, "x:443"),
            ("::1", 80, false, "[::1]"),
            ("::1", 80, true, "[::1]:80"),
        ] {
            assert_eq!(authority_of(host, port, tls), authority);
        }
    }

    #[test]
    fn host_and_port_are_told_apart_or_refused() {
        for (text, parts) in [
            ("x", Some(("x", None))),
            ("x:1", Some(("x", Some("1")))),
            ("x:", Some(("x", Some("")))),
            ("[::1]", Some(("::1", None))),
            ("[::1]:2", Some(("::1", Some("2")))),
            ("x:1:2", None),
            ("::1", None),
            ("[::1", None),
            ("[::1]2", None),
            ("[x]:1", None),
        ] {
            assert_eq!(split_port(text), parts, "{text}");
        }
        for (text, port) in
            [("1", Some(1)), ("65535", Some(65535)), ("0", None), ("65536", None), ("+1", None), ("", None)]
        {
            assert_eq!(parse_port(text), port, "{text}");
        }
    }
}

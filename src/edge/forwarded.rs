//! For whom a proxy speaks that has opened the connection itself: `X-Forwarded-For` or `Forwarded`, from configured proxies only.
//!
//! A proxy adds the address that it saw to the end of the list, and whoever came before could write anything into the beginning. So the
//! list is read from its end, past the proxies that are configured, to the first address that is not: what stands before it is never
//! looked at, what cannot be read on the way is refused. Source: RFC 7239; `docs/THREATS.md` A16.

use std::net::{IpAddr, SocketAddr};

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

use super::settings::{ForwardedHeader, ForwardedSettings};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Most proxies in a row.
const MAX_HOPS: usize = 32;

/// Why it is not known for whom a proxy speaks.
type Unreadable = &'static str;

/// The client of a request that came from `peer`.
///
/// `peer` itself if it is no configured proxy, or one that names nobody; then it speaks for itself, as in health checks.
pub(super) fn client(
    peer: SocketAddr,
    headers: &HeaderMap,
    settings: &ForwardedSettings,
) -> Result<SocketAddr, Unreadable> {
    let is_proxy = |address: IpAddr| settings.from.iter().any(|network: &IpNet| network.contains(&address));
    if !is_proxy(peer.ip().to_canonical()) {
        return Ok(peer);
    }
    let name = match settings.header {
        ForwardedHeader::XForwardedFor => &X_FORWARDED_FOR,
        ForwardedHeader::Forwarded => &FORWARDED,
    };
    let mut nearest = peer;
    let mut hops = 0;
    // Several lines are one list.
    for line in headers.get_all(name).iter().rev() {
        let line = line.to_str().map_err(|_| "a header of a proxy is no text")?;
        for element in elements(line)?.into_iter().rev() {
            hops += 1;
            if hops > MAX_HOPS {
                return Err("too many proxies in a row");
            }
            let text = match settings.header {
                ForwardedHeader::XForwardedFor => element.trim_matches(BLANKS).to_owned(),
                ForwardedHeader::Forwarded => forwarded_for(element)?,
            };
            nearest = node(&text).ok_or("a proxy names a client that is no address")?;
            if !is_proxy(nearest.ip()) {
                return Ok(nearest);
            }
        }
    }
    Ok(nearest)
}

const BLANKS: [char; 2] = [' ', '\t'];

/// The elements of a list. A comma inside quotes is none of the list's.
fn elements(line: &str) -> Result<Vec<&str>, Unreadable> {
    split(line, b',')
}

/// Splits outside of quoted text.
fn split(text: &str, separator: u8) -> Result<Vec<&str>, Unreadable> {
    let (mut parts, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (position, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if byte == separator && !quoted => {
                parts.push(&text[start..position]);
                start = position + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    if quoted { Err("a header of a proxy has an open quote") } else { Ok(parts) }
}

/// The value of `for` in an element of `Forwarded`: there once, in quotes or not.
fn forwarded_for(element: &str) -> Result<String, Unreadable> {
    const NOBODY: Unreadable = "a proxy does not say for whom it speaks";
    let mut found = None;
    for pair in split(element, b';')? {
        let (name, value) = pair.trim_matches(BLANKS).split_once('=').ok_or(NOBODY)?;
        if name.eq_ignore_ascii_case("for") && found.replace(value).is_some() {
            return Err("a proxy names two clients");
        }
    }
    let value = found.ok_or(NOBODY)?;
    match value.strip_prefix('"') {
        None => Ok(value.to_owned()),
        Some(rest) => {
            let inside = rest.strip_suffix('"').filter(|inside| !inside.contains(['"', '\\']));
            inside.map(str::to_owned).ok_or("a proxy names a client that is no address")
        }
    }
}

/// `address`, `address:port`, or IPv6 in brackets with or without a port. `unknown` and hidden names are nobody.
fn node(text: &str) -> Option<SocketAddr> {
    let bare = |text: &str| text.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, 0));
    let bracketed = || bare(text.strip_prefix('[')?.strip_suffix(']')?).filter(SocketAddr::is_ipv6);
    let found = bare(text).or_else(bracketed).or_else(|| text.parse().ok())?;
    Some(SocketAddr::new(found.ip().to_canonical(), found.port()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn settings(header: ForwardedHeader) -> ForwardedSettings {
        ForwardedSettings { from: ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().unwrap()).to_vec(), header }
    }

    fn of(peer: &str, header: ForwardedHeader, lines: &[&str]) -> Result<String, Unreadable> {
        let name = match header {
            ForwardedHeader::XForwardedFor => X_FORWARDED_FOR,
            ForwardedHeader::Forwarded => FORWARDED,
        };
        let lines = lines.iter().map(|line| (name.clone(), line.parse().unwrap()));
        let peer = SocketAddr::new(peer.parse().unwrap(), 9);
        client(peer, &lines.collect(), &settings(header)).map(|client| client.ip().to_string())
    }

    #[test]
    fn a16_the_last_address_that_is_no_proxy_is_the_client() {
        use ForwardedHeader::{Forwarded, XForwardedFor};
        for (header, lines, client) in [
            (XForwardedFor, &["192.0.2.7"][..], "192.0.2.7"),
            (XForwardedFor, &["127.0.0.1, 192.0.2.7"], "192.0.2.7"),
            (XForwardedFor, &["10.0.0.9, 192.0.2.7,10.0.0.2 , 10.0.0.3"], "192.0.2.7"),
            (XForwardedFor, &["not an address, 192.0.2.7"], "192.0.2.7"),
            (XForwardedFor, &["198.51.100.1", "192.0.2.7", "10.0.0.2"], "192.0.2.7"),
            (XForwardedFor, &["10.0.0.4, 10.0.0.3"], "10.0.0.4"),
            (XForwardedFor, &["2001:db8::7"], "2001:db8::7"),
            (XForwardedFor, &["192.0.2.7:4711"], "192.0.2.7"),
            (XForwardedFor, &["[2001:db8::7]:4711, fd00::1"], "2001:db8::7"),
            (XForwardedFor, &["::ffff:192.0.2.7"], "192.0.2.7"),
            (XForwardedFor, &[], "10.0.0.1"),
            (Forwarded, &["for=192.0.2.7;proto=https;by=10.0.0.1"], "192.0.2.7"),
            (Forwarded, &["for=127.0.0.1, For=\"192.0.2.7:99\", proto=http;for=10.0.0.5"], "192.0.2.7"),
            (Forwarded, &["for=\"[2001:db8::7]:4711\";by=\"a,b;c\""], "2001:db8::7"),
            (Forwarded, &["for=unknown, for=192.0.2.7"], "192.0.2.7"),
        ] {
            assert_eq!(of("10.0.0.1", header, lines), Ok(client.to_owned()), "{lines:?}");
        }
    }

    #[test]
    fn a16_nobody_else_is_believed() {
        for peer in ["192.0.2.1", "127.0.0.1", "11.0.0.1", "2001:db8::1"] {
            for lines in [&["127.0.0.1"][..], &["10.0.0.1"], &["garbage\""], &["198.51.100.1", ""]] {
                assert_eq!(of(peer, ForwardedHeader::XForwardedFor, lines), Ok(peer.to_owned()), "{lines:?}");
            }
        }
    }

    #[test]
    fn a16_what_cannot_be_read_before_the_client_is_found_is_refused() {
        use ForwardedHeader::{Forwarded, XForwardedFor};
        for (header, line) in [
            (XForwardedFor, ""),
            (XForwardedFor, "192.0.2.7,"),
            (XForwardedFor, "192.0.2.7, ,10.0.0.1"),
            (XForwardedFor, "192.0.2.7, unknown"),
            (XForwardedFor, "192.0.2.7 10.0.0.1"),
            (XForwardedFor, "192.0.2.07"),
            (XForwardedFor, "[192.0.2.7]"),
            (XForwardedFor, "192.0.2.7, \"10.0.0.1"),
            (XForwardedFor, "192.0.2.7, client.example.com"),
            (Forwarded, "192.0.2.7"),
            (Forwarded, "for=unknown"),
            (Forwarded, "for=_hidden"),
            (Forwarded, "proto=https"),
            (Forwarded, "for=192.0.2.7;for=10.0.0.1"),
            (Forwarded, "for=\"192.0.2.7"),
            (Forwarded, "for=\"192.0.2.7\\\"\""),
            (Forwarded, "for=192.0.2.7,"),
            (Forwarded, "for"),
        ] {
            assert!(of("10.0.0.1", header, &[line]).is_err(), "{line}");
        }
        let long = vec!["10.0.0.2"; MAX_HOPS + 1].join(",");
        assert!(of("10.0.0.1", XForwardedFor, &[&long]).is_err());
    }

    proptest! {
        #[test]
        fn a16_nothing_before_the_client_changes_who_it_is(before in "[ -~]{0,80}") {
            prop_assume!(before.matches('"').count() == 0);
            let line = format!("{before}, 192.0.2.7, 10.0.0.2");
            prop_assert_eq!(of("10.0.0.1", ForwardedHeader::XForwardedFor, &[&line]), Ok("192.0.2.7".to_owned()));
        }
    }
}

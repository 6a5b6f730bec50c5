//! Single values: names, quantities, paths, URLs.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::super::path::Path;
use super::desk::Desk;
use crate::base::authority::{is_host, parse_port, split_port};
use crate::base::{parse_duration, parse_size};

const KIB: u64 = 1 << 10;
const SECOND: Duration = Duration::from_secs(1);

/// Every time limit of the file lies in here; nothing useful is shorter or longer, and zero would mean "at once" to timers.
pub const ANY_TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(24 * 3600);

/// Whether a text can be a name: 1 to 64 ASCII letters, digits, `.`, `_` and `-`.
pub fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// Reports a text that cannot be a name.
pub fn check_name(desk: &mut Desk<'_>, path: &Path, text: &str) -> bool {
    let good = is_name(text);
    if !good {
        desk.report_key(path, "this cannot be a name", "a name has 1 to 64 letters, digits, `.`, `_` or `-`");
    }
    good
}

/// A size in bytes within a range.
pub fn size(desk: &mut Desk<'_>, path: &Path, text: Option<&String>, default: u64, range: RangeInclusive<u64>) -> u64 {
    let Some(text) = text else { return default };
    match parse_size(text) {
        Ok(size) if range.contains(&size) => return size,
        Ok(_) => desk.report(
            path,
            format!("`{text}` is out of range"),
            format!("write {} to {}", show_size(*range.start()), show_size(*range.end())),
        ),
        Err(error) => report_unit(desk, path, &error.to_string()),
    }
    default
}

/// A duration within a range.
pub fn duration(
    desk: &mut Desk<'_>,
    path: &Path,
    text: Option<&String>,
    default: Duration,
    range: RangeInclusive<Duration>,
) -> Duration {
    let Some(text) = text else { return default };
    match parse_duration(text) {
        Ok(duration) if range.contains(&duration) => return duration,
        Ok(_) => desk.report(
            path,
            format!("`{text}` is out of range"),
            format!("write {} to {}", show_duration(*range.start()), show_duration(*range.end())),
        ),
        Err(error) => report_unit(desk, path, &error.to_string()),
    }
    default
}

/// A whole number within a range.
pub fn count<T: TryFrom<u64>>(
    desk: &mut Desk<'_>,
    path: &Path,
    number: Option<u64>,
    default: T,
    range: RangeInclusive<u64>,
) -> T {
    let Some(number) = number else { return default };
    let fitting = Some(number).filter(|number| range.contains(number)).and_then(|number| T::try_from(number).ok());
    if fitting.is_none() {
        desk.report(path, format!("{number} is out of range"), format!("write {} to {}", range.start(), range.end()));
    }
    fitting.unwrap_or(default)
}

/// The texts of `base::UnitError` are "what is wrong; what to write".
fn report_unit(desk: &mut Desk<'_>, path: &Path, error: &str) {
    let (message, help) = error.split_once("; ").unwrap_or((error, "write a number and a unit"));
    desk.report(path, message, help);
}

fn show_size(bytes: u64) -> String {
    let units = [("TiB", KIB.pow(4)), ("GiB", KIB.pow(3)), ("MiB", KIB.pow(2)), ("KiB", KIB)];
    let fitting = units.iter().find(|(_, size)| bytes >= *size && bytes.is_multiple_of(*size));
    fitting.map_or_else(
        || if bytes == 0 { "0".to_owned() } else { format!("{bytes}B") },
        |(unit, size)| format!("{}{unit}", bytes / size),
    )
}

fn show_duration(duration: Duration) -> String {
    match duration.as_secs() {
        _ if duration < SECOND => format!("{}ms", duration.as_millis()),
        seconds if seconds >= 3600 && seconds.is_multiple_of(3600) => format!("{}h", seconds / 3600),
        seconds => format!("{seconds}s"),
    }
}

/// An IP address and port to listen on.
pub fn socket_address(desk: &mut Desk<'_>, path: &Path, text: &str) -> Option<SocketAddr> {
    let parsed = text.parse().ok();
    if parsed.is_none() {
        let help = "write an IP address and a port, such as 127.0.0.1:8080, 0.0.0.0:8443 or \"[::]:8443\"; a host name is not an address";
        desk.report(path, "this is not an address to listen on", help);
    }
    parsed
}

/// An absolute path of a file.
pub fn absolute(desk: &mut Desk<'_>, path: &Path, text: &str) -> Option<PathBuf> {
    let file = PathBuf::from(text);
    if file.is_absolute() {
        return Some(file);
    }
    desk.report(
        path,
        "the path is not absolute",
        "begin it with `/`; what a relative path means depends on where the gateway is started",
    );
    None
}

/// A web address, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebAddress {
    /// `https`, not `http`.
    pub tls: bool,
    /// Host name in lower case, or address without brackets.
    pub host: String,
    /// Port, the scheme's own if none was written.
    pub port: u16,
    /// Path; empty or begins with `/`.
    pub path: String,
}

impl WebAddress {
    /// Reads `http(s)://host[:port][/path]`.
    ///
    /// # Errors
    /// What is wrong, as a problem text. A query, a fragment and user information are refused: nothing here has a use for them.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (tls, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => return Err("the address does not begin with https:// or http://"),
        };
        if !rest.bytes().all(|b| b.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&b)) {
            return Err("the address has a character that addresses do not have");
        }
        if rest.contains(['?', '#']) {
            return Err("the address has a query or fragment");
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err("the address has a user name or password");
        }
        let (host, port) = split_port(authority).ok_or("the address has a broken port or IPv6 address")?;
        let port = match port {
            None => [80, 443][usize::from(tls)],
            Some(digits) => parse_port(digits).ok_or("the port is not a number from 1 to 65535")?,
        };
        if !is_host(host) {
            return Err("the address has no proper host name");
        }
        Ok(Self { tls, host: host.to_ascii_lowercase(), port, path: path.to_owned() })
    }

    /// Whether the host is written as a loopback address. A name such as `localhost` is not: it means what the resolver says.
    pub fn is_loopback(&self) -> bool {
        self.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_web_address_is_taken_apart() {
        for (text, tls, host, port, path) in [
            ("https://s3.example.com", true, "s3.example.com", 443, ""),
            ("http://127.0.0.1:9000/", false, "127.0.0.1", 9000, "/"),
            ("https://[::1]:8443/a/b", true, "::1", 8443, "/a/b"),
            ("https://S3.Example.com:443", true, "s3.example.com", 443, ""),
            ("http://minio", false, "minio", 80, ""),
        ] {
            let expected = WebAddress { tls, host: host.to_owned(), port, path: path.to_owned() };
            assert_eq!(WebAddress::parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn anything_else_is_not_a_web_address() {
        for text in [
            "",
            "s3.example.com",
            "HTTPS://x",
            "ftp://x",
            "https://",
            "https:///",
            "https://u:p@x",
            "https://x?q",
            "https://x#f",
            "https://x:",
            "https://x:0",
            "https://x:65536",
            "https://x:+1",
            "https://x:1:2",
            "https://[::1",
            "https://[x]",
            "https://::1",
            "https://a..b",
            "https://-a",
            "https://a b",
            "https://é",
            "https://127.1",
            "https://0x7f000001",
            "https://2130706433",
            "https://a.0x1",
            "https://x\\y",
            "https://x/{y}",
        ] {
            assert!(WebAddress::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_addresses_are_loopback() {
        for (text, loopback) in [
            ("http://127.0.0.1", true),
            ("http://127.9.9.9:1", true),
            ("http://[::1]", true),
            ("http://localhost", false),
            ("http://10.0.0.1", false),
        ] {
            assert_eq!(WebAddress::parse(text).map(|address| address.is_loopback()), Ok(loopback), "{text}");
        }
    }

    #[test]
    fn limits_are_shown_as_they_are_written() {
        assert_eq!([show_size(0), show_size(1), show_size(8 * KIB), show_size(5 << 40)], ["0", "1B", "8KiB", "5TiB"]);
        let shown = [1, 1500, 60_000, 86_400_000].map(|millis| show_duration(Duration::from_millis(millis)));
        assert_eq!(shown, ["1ms", "1s", "60s", "24h"]);
    }
}

//! Where an ICAP service is.

use std::fmt;
use std::str::FromStr;

use crate::base::authority::{bracketed, parse_port, split_port};

/// The port of RFC 3507; `icaps` has none of its own that everybody uses, 11344 is the most common.
const DEFAULT_PORT: u16 = 1344;
const DEFAULT_TLS_PORT: u16 = 11344;

/// `icap://host:port/service` or `icaps://…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Whether TLS is spoken.
    pub tls: bool,
    /// Host name, or address without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Path of the service, perhaps with a query; begins with `/`.
    pub service: String,
}

/// The text is no address of an ICAP service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not an address of an ICAP service")]
pub struct AddressError;

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (tls, rest) = match (text.strip_prefix("icap://"), text.strip_prefix("icaps://")) {
            (Some(rest), _) => (false, rest),
            (_, Some(rest)) => (true, rest),
            _ => return Err(AddressError),
        };
        let (authority, service) = rest.split_at(rest.find('/').ok_or(AddressError)?);
        let (host, port) = split_port(authority).ok_or(AddressError)?;
        let default = [DEFAULT_PORT, DEFAULT_TLS_PORT][usize::from(tls)];
        let port = port.map_or(Some(default), parse_port).ok_or(AddressError)?;
        // It becomes part of a request line.
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
        let in_path = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~/%?&=+,;:@!$'()*".contains(&byte);
        let good = !host.is_empty() && host.bytes().all(plain) && service.bytes().all(in_path) && service.len() <= 1024;
        let found = || Self { tls, host: host.to_ascii_lowercase(), port, service: service.to_owned() };
        good.then(found).ok_or(AddressError)
    }
}

impl Address {
    /// The value of `Host`.
    pub fn authority(&self) -> String {
        format!("{}:{}", bracketed(&self.host), self.port)
    }
}

impl fmt::Display for Address {
    // The scheme is what the server should read: it knows whether the connection has TLS.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", ["icap", "icaps"][usize::from(self.tls)], self.authority(), self.service)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown_alike() {
        for (text, shown) in [
            ("icap://127.0.0.1:1344/avscan", "icap://127.0.0.1:1344/avscan"),
            (
                "icap://Scanner/virus_scan?allow204=on&mode=simple",
                "icap://scanner:1344/virus_scan?allow204=on&mode=simple",
            ),
            ("icaps://[::1]/", "icaps://[::1]:11344/"),
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn anything_else_is_no_address() {
        for text in [
            "",
            "icap://x",
            "http://x/y",
            "icap:///y",
            "icap://x:/y",
            "icap://x:0/y",
            "icap://x:99999/y",
            "icap://u@x/y",
            "icap://x/a b",
            "icap://x/a#b",
            "icap://x/a\r\nB: c",
            "icap://[x]/y",
            "icap://[::1/y",
        ] {
            assert_eq!(text.parse::<Address>(), Err(AddressError), "{text}");
        }
    }
}

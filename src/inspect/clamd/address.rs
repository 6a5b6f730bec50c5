//! Where a clamd listens.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::base::authority::{parse_port, split_port};

/// The port of Debian's package and of most others.
const DEFAULT_PORT: u16 = 3310;

/// Where a clamd listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// `tcp://host:port`; clamd knows no TLS.
    Tcp {
        /// Host name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// `unix:/path` of a socket on this machine.
    Unix(PathBuf),
}

/// The text is no address of a clamd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not an address of clamd")]
pub struct AddressError;

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = PathBuf::from(path);
            return path.is_absolute().then_some(Self::Unix(path)).ok_or(AddressError);
        }
        let authority = text.strip_prefix("tcp://").ok_or(AddressError)?;
        let (host, port) = split_port(authority).ok_or(AddressError)?;
        let port = port.map_or(Some(DEFAULT_PORT), parse_port).ok_or(AddressError)?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
        let good = !host.is_empty() && host.bytes().all(plain);
        good.then(|| Self::Tcp { host: host.to_owned(), port }).ok_or(AddressError)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "tcp://[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "tcp://{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown_alike() {
        for (text, shown) in [
            ("tcp://127.0.0.1:3310", "tcp://127.0.0.1:3310"),
            ("tcp://clamav", "tcp://clamav:3310"),
            ("tcp://[::1]:99", "tcp://[::1]:99"),
            ("tcp://[::1]", "tcp://[::1]:3310"),
            ("unix:/run/clamav/clamd.ctl", "unix:/run/clamav/clamd.ctl"),
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn anything_else_is_no_address() {
        for text in [
            "",
            "127.0.0.1:3310",
            "http://x:1",
            "tcp://",
            "tcp://:1",
            "tcp://x:",
            "tcp://x:0",
            "tcp://x:65536",
            "tcp://x:+1",
            "tcp://x:1/",
            "tcp://x:1:2",
            "tcp://[::1",
            "tcp://[::1]1",
            "tcp://[x]:1",
            "tcp://a@b",
            "unix:",
            "unix:run/x",
            "unix://run",
        ] {
            // `unix://run` is the path `//run`, which is absolute and means the same as `/run`.
            assert_eq!(text.parse::<Address>().is_ok(), text == "unix://run", "{text}");
        }
    }
}

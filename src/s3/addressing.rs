//! Where a request points: the bucket in the path, or in the host name before one of the configured domains.
//!
//! The host decides about the style, and nothing else of the request does. It says which bucket is meant and is then forgotten: no URL
//! is ever made of it.

use http::Version;
use http::header::HOST;
use http::request::Parts;

use crate::s3::target::{Target, TargetError};

/// Domains below which a host name begins with a bucket: `bucket.s3.example.com`. Lower case, without port, none inside another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Domains(Vec<String>);

/// Why it cannot be said where a request points.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// The authority is missing, doubled, contradictory or not one host with at most a port.
    #[error("the Host header is missing, doubled, not a host name, or differs from the target")]
    Host,
    /// The target has no single reading.
    #[error(transparent)]
    Target(#[from] TargetError),
}

impl Domains {
    /// Takes domains as the configuration has checked them.
    pub fn new(domains: impl IntoIterator<Item = String>) -> Self {
        Self(domains.into_iter().collect())
    }

    /// Whether a host name of lower case letters is one of these domains, or lies below one.
    pub fn cover(&self, host: &str) -> bool {
        self.0.iter().any(|domain| host == domain) || self.bucket_of(host).is_some()
    }

    /// What stands before a domain in a host name of lower case letters, at the boundary of a label; `None` means path style.
    fn bucket_of<'a>(&self, host: &'a str) -> Option<&'a str> {
        self.0.iter().find_map(|domain| host.strip_suffix(domain.as_str())?.strip_suffix('.'))
    }
}

/// Reads the target of a request in the style that its host says.
///
/// # Errors
/// [`AddressError`] if host or target have no single reading.
pub fn locate(head: &Parts, domains: &Domains) -> Result<Target, AddressError> {
    read(head, domains, head.uri.query())
}

/// As [`locate`], without the query: for what is said of a request whose query could not be read.
///
/// # Errors
/// As [`locate`].
pub fn locate_path(head: &Parts, domains: &Domains) -> Result<Target, AddressError> {
    read(head, domains, None)
}

fn read(head: &Parts, domains: &Domains, query: Option<&str>) -> Result<Target, AddressError> {
    let host = host_of(head)?;
    let path = head.uri.path();
    if domains.0.is_empty() {
        return Ok(Target::parse(path, query)?);
    }
    let host = host.map(str::to_ascii_lowercase);
    match host.as_deref().and_then(|host| domains.bucket_of(host)) {
        Some(bucket) => Ok(Target::parse_in(bucket.to_owned(), path, query)?),
        None => Ok(Target::parse(path, query)?),
    }
}

/// The host that a request names, without its port. `None` only in HTTP/1.0.
///
/// hyper takes requests with two Host headers, or none, or an absolute target with another authority (hyper 1.12).
///
/// # Errors
/// [`AddressError::Host`] if it has no single reading.
pub fn host_of(head: &Parts) -> Result<Option<&str>, AddressError> {
    let mut hosts = head.headers.get_all(HOST).iter();
    let (first, second) = (hosts.next(), hosts.next());
    let target = head.uri.authority().map(http::uri::Authority::as_str);
    let named = match (first, second, target) {
        (_, Some(_), _) => return Err(AddressError::Host),
        (Some(host), None, target) => {
            let host = host.to_str().map_err(|_| AddressError::Host)?;
            if target.is_some_and(|target| !target.eq_ignore_ascii_case(host)) {
                return Err(AddressError::Host);
            }
            host
        }
        (None, None, Some(target)) if head.version == Version::HTTP_2 => target,
        (None, None, None) if head.version == Version::HTTP_10 => return Ok(None),
        (None, None, _) => return Err(AddressError::Host),
    };
    without_port(named).map(Some).ok_or(AddressError::Host)
}

/// The host of `host[:port]`. A dot at the end, user information and everything that is no host make it none.
fn without_port(authority: &str) -> Option<&str> {
    let end = match authority.strip_prefix('[') {
        Some(rest) => rest.find(']').map(|end| end + 2)?,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at(end);
    let good_port = match port.strip_prefix(':') {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.parse::<u16>().is_ok(),
        None => port.is_empty(),
    };
    (good_port && (is_name(host) || is_ipv6(host))).then_some(host)
}

/// A host name or an IPv4 address. The underscore is in names of containers.
fn is_name(host: &str) -> bool {
    let mut before = b'.';
    let no_empty_label = host.bytes().all(|byte| {
        let fits = match byte {
            b'.' => before != b'.',
            byte => byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'),
        };
        before = byte;
        fits
    });
    host.len() <= 253 && no_empty_label && before != b'.'
}

fn is_ipv6(host: &str) -> bool {
    let inside = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    inside.is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn located(host: &str, target: &str) -> Result<(String, Option<String>), AddressError> {
        let head = http::Request::builder().uri(target).header("host", host).body(()).unwrap().into_parts().0;
        let domains = Domains::new(["gw.example".to_owned(), "s3.corp".to_owned()]);
        locate(&head, &domains).map(|target| (target.bucket, target.key))
    }

    fn points_to(host: &str, target: &str, bucket: &str, key: Option<&str>) {
        assert_eq!(located(host, target), Ok((bucket.to_owned(), key.map(str::to_owned))), "{host} {target}");
    }

    #[test]
    fn e09_the_bucket_stands_before_a_configured_domain() {
        for host in ["bkt.gw.example", "BKT.GW.Example", "bkt.gw.example:8080", "bkt.s3.corp"] {
            points_to(host, "/a/x", "bkt", Some("a/x"));
            points_to(host, "/bkt/a/x", "bkt", Some("bkt/a/x"));
            points_to(host, "/", "bkt", None);
            points_to(host, "//a", "bkt", Some("/a"));
        }
        points_to("a.b.gw.example", "/x", "a.b", Some("x"));
        points_to("other.gw.example", "/bkt/a/x", "other", Some("bkt/a/x"));
    }

    #[test]
    fn e09_every_other_host_leaves_the_bucket_in_the_path() {
        for host in [
            "gw.example",
            "GW.EXAMPLE:80",
            "bkt.gw.example.evil",
            "evil-gw.example",
            "xgw.example",
            "example",
            "127.0.0.1:8080",
            "[::1]:8080",
            "localhost",
            "169.254.169.254",
            "s3_gw:8080",
            "gw",
        ] {
            points_to(host, "/bkt/a/x", "bkt", Some("a/x"));
            points_to(host, "/", "", None);
        }
    }

    #[test]
    fn e09_what_is_no_host_is_refused() {
        for host in [
            "",
            "bkt.gw.example.",
            "gw.example.",
            ".gw.example",
            "bkt..gw.example",
            "gw.example:",
            "gw.example:99999",
            "gw.example:8o",
            "gw.example:+80",
            "gw.example:80:80",
            "u@gw.example",
            "bkt@gw.example",
            "gw.example/",
            "gw.example#x",
            "gw example",
            "gw\texample",
            "bkt%2e.gw.example",
            "a,b",
            "[::1",
            "[::1]x",
            "[bkt].gw.example",
            "[gw.example]",
            "b\\kt.gw.example",
            "*.gw.example",
        ] {
            assert_eq!(located(host, "/bkt/a/x"), Err(AddressError::Host), "{host}");
        }
    }

    #[test]
    fn e09_the_authority_of_an_http2_request_says_the_same_as_a_host() {
        let authority = |version: Version, uri: &str, host: Option<&str>| {
            let mut request = http::Request::builder().version(version).uri(uri);
            if let Some(host) = host {
                request = request.header("host", host);
            }
            let domains = Domains::new(["gw.example".to_owned()]);
            locate(&request.body(()).unwrap().into_parts().0, &domains).map(|target| target.bucket)
        };
        assert_eq!(authority(Version::HTTP_2, "https://bkt.gw.example/x/y", None), Ok("bkt".to_owned()));
        assert_eq!(authority(Version::HTTP_2, "https://gw.example/x/y", None), Ok("x".to_owned()));
        for (version, uri, host) in [
            (Version::HTTP_2, "https://u@bkt.gw.example/x/y", None),
            (Version::HTTP_2, "https://bkt.gw.example/x/y", Some("gw.example")),
            (Version::HTTP_2, "/x/y", None),
            (Version::HTTP_11, "http://bkt.gw.example/x/y", None),
            (Version::HTTP_11, "http://bkt.gw.example/x/y", Some("gw.example")),
            (Version::HTTP_11, "/x/y", None),
        ] {
            assert_eq!(authority(version, uri, host), Err(AddressError::Host), "{version:?} {uri} {host:?}");
        }
        assert_eq!(authority(Version::HTTP_10, "/x/y", None), Ok("x".to_owned()));
        assert_eq!(
            authority(Version::HTTP_11, "http://bkt.gw.example/x/y", Some("BKT.gw.example")),
            Ok("bkt".to_owned())
        );
    }
}

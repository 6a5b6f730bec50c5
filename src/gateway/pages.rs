//! Where the connection says who the caller is, a page in a browser on the same machine could make requests in that name.
//!
//! A page of somebody else reaches `http://localhost:8080` as well as the application does, without any credential (CSRF), and if it makes
//! its own name point to 127.0.0.1, it may read the answers too (DNS rebinding). So no page is served there, and no made-up name.

use http::HeaderName;
use http::header::ORIGIN;
use http::request::Parts;

use crate::arrival::Vouched;
use crate::respond::{Refusal, RefusalKind};
use crate::s3::addressing::{Domains, host_of};
use crate::s3::{IdentifyError, S3ErrorCode};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Refuses what a page in a browser may have sent, and hosts that anybody can make point here.
///
/// A certificate is asked for by the gateway's own name, so the host is of no concern there.
pub(super) fn refuse_pages(head: &Parts, vouched: &Vouched, domains: &Domains) -> Result<(), Refusal> {
    let refuse = |reason: &str| {
        let message = "Pages of browsers are not served where the connection says who the caller is.";
        Err(Refusal::new(S3ErrorCode::AccessDenied, RefusalKind::Denied, message, reason))
    };
    // Browsers send the first with everything that could change something, the second with everything.
    if head.headers.contains_key(ORIGIN) {
        return refuse("a request with Origin where the connection says who the caller is");
    }
    // `none`: somebody has typed the address.
    if head.headers.get_all(SEC_FETCH_SITE).iter().any(|site| site != "none") {
        return refuse("a request of a page where the connection says who the caller is");
    }
    if let Vouched::Certificate(_) = vouched {
        return Ok(());
    }
    match host_of(head).map_err(IdentifyError::from)? {
        Some(host) if is_own(host, domains) => Ok(()),
        _ => {
            let message = "Use an IP address, localhost or a configured domain as host name here.";
            let reason = "a host name that anybody can make point to this machine";
            Err(Refusal::new(S3ErrorCode::AccessDenied, RefusalKind::Denied, message, reason))
        }
    }
}

/// Whether a host is one that no stranger can make point here. It comes without its port, as a plain host name or an address.
fn is_own(host: &str, domains: &Domains) -> bool {
    let host = host.to_ascii_lowercase();
    let is_address = host.starts_with('[') || host.parse::<std::net::Ipv4Addr>().is_ok();
    is_address || host == "localhost" || host.ends_with(".localhost") || domains.cover(&host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(host: &str, headers: &[(&str, &str)], vouched: &Vouched) -> bool {
        let mut request = http::Request::builder().uri("/bkt/key").header("host", host);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let domains = Domains::new(["s3.example.com".to_owned()]);
        refuse_pages(&request.body(()).unwrap().into_parts().0, vouched, &domains).is_err()
    }

    #[test]
    fn k23_only_hosts_that_nobody_can_point_here_are_served() {
        let listener = Vouched::Listener("app".to_owned());
        for own in [
            "127.0.0.1",
            "127.0.0.1:8080",
            "[::1]:8080",
            "localhost",
            "LOCALHOST:80",
            "b.localhost",
            "s3.example.com",
            "b.s3.example.com:8443",
            "10.0.0.7",
        ] {
            assert!(!refused(own, &[], &listener), "{own}");
        }
        for other in
            ["rebind.attacker.example", "localhost.attacker.example", "xs3.example.com", "127.0.0.1.nip.io", "1"]
        {
            assert!(refused(other, &[], &listener), "{other}");
        }
    }

    #[test]
    fn a15_no_page_borrows_what_a_connection_vouches_for() {
        let certificate = Vouched::Certificate(crate::arrival::ClientCertificate {
            subject: String::new(),
            dns_names: Vec::new(),
            uris: Vec::new(),
            not_after: crate::base::UtcInstant::MAX,
            may_sign: false,
            signs: true,
        });
        for vouched in [Vouched::Listener("app".to_owned()), certificate] {
            assert!(!refused("localhost", &[("sec-fetch-site", "none")], &vouched));
            for header in [
                ("origin", "https://attacker.example"),
                ("origin", "null"),
                ("origin", "http://localhost"),
                ("sec-fetch-site", "cross-site"),
                ("sec-fetch-site", "same-site"),
                ("sec-fetch-site", "same-origin"),
                ("sec-fetch-site", "x"),
            ] {
                assert!(refused("localhost", &[header], &vouched), "{header:?}");
            }
            assert!(refused("localhost", &[("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")], &vouched));
        }
    }
}

//! Lets a request of the admin listener through, or says why not.
//!
//! Three kinds of strangers: a page of another site in the operator's browser (host name, `Origin`, `Sec-Fetch-Site`, a header and a
//! content type that no form can send), somebody on the network (tokens, certificates), and somebody behind a proxy on the same machine.
//! A credential is never taken from a cookie or from the URL.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, ORIGIN};
use http::request::Parts;
use http::uri::Authority;
use http::{Method, StatusCode, Version};
use subtle::{ConditionallySelectable, ConstantTimeEq};

use super::access::{Access, MetricsAccess};
use super::attempts::Attempts;
use crate::arrival::Lapse;
use crate::base::{Clock, SystemClock};
use crate::edge::peer;

/// A header that a page of another site cannot send without asking first, and nothing here answers such a question.
const OWN_HEADER: HeaderName = HeaderName::from_static("x-countersign-console");
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FETCH_DESTINATION: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// Headers by which a proxy says that it is one, or for whom it speaks. No browser and no common client sends them by itself.
const OF_PROXIES: &[&str] = &[
    "via",
    // Of clients that take us for a proxy, passed on by one.
    "proxy-connection",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-remote-addr",
    "x-remote-ip",
    "x-proxyuser-ip",
    "x-rewrite-url",
    "true-client-ip",
    "proxy-client-ip",
    "wl-proxy-client-ip",
];

/// How the names begin of which one kind of proxy, load balancer or tunnel has several.
const FAMILIES_OF_PROXIES: &[&str] = &[
    "forwarded",
    "x-forwarded",
    "x-original-",
    "x-envoy-",
    "x-arr-",
    "x-azure-",
    "x-amzn-",
    "x-appengine-",
    "cf-",
    "cloudfront-",
    "fastly-",
    "fly-",
    "ngrok-",
    "tailscale-",
];

/// What a path stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Health,
    Readiness,
    Metrics,
    /// The page itself. Nothing in it is secret: it asks for the token.
    Page,
    Api,
}

impl Wanted {
    pub(super) fn of(path: &str) -> Option<Self> {
        match path {
            "/healthz" => Some(Self::Health),
            "/readyz" => Some(Self::Readiness),
            "/metrics" => Some(Self::Metrics),
            "/" => Some(Self::Page),
            _ => path.starts_with("/api/").then_some(Self::Api),
        }
    }
}

/// Who is at the other end.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) address: IpAddr,
    /// Subject of a certificate that was verified.
    pub(super) certificate: Option<String>,
    /// What TLS knows of it.
    pub(super) tls: Option<peer::Peer>,
}

/// Why a request is not let through. The text is for whoever sent it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error(
        "this host name is not one of the admin listener: use an IP address or localhost, or list the name in admin.hosts"
    )]
    Host,
    #[error("requests of other sites are not answered")]
    CrossSite,
    #[error("a query is not understood here, and never holds a credential")]
    Query,
    #[error("a POST needs `content-type: application/json` and `x-countersign-console: 1`")]
    NotOwn,
    #[error(
        "without admin.tokens or admin.tls.client_ca only connections from this machine are answered, and none by way of a proxy"
    )]
    NotLocal,
    #[error("a token of admin.tokens is needed, as `authorization: Bearer TOKEN`")]
    NoCredential,
    #[error("a client certificate of admin.tls.client_ca is needed")]
    NoCertificate,
    #[error("this is not a token of admin.tokens, or its time is over")]
    WrongToken,
    #[error("too many wrong tokens from this address")]
    TooMany(Duration),
    #[error("{0}; connect anew")]
    Lapsed(Lapse),
    #[error("the body is too long")]
    TooLong,
    #[error("the body did not come")]
    BrokenBody,
}

impl Refused {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Host => StatusCode::MISDIRECTED_REQUEST,
            Self::CrossSite | Self::NotLocal => StatusCode::FORBIDDEN,
            Self::Query | Self::BrokenBody => StatusCode::BAD_REQUEST,
            Self::NotOwn => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::NoCredential | Self::NoCertificate | Self::WrongToken | Self::Lapsed(_) => StatusCode::UNAUTHORIZED,
            Self::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
        }
    }

    /// The word in the metrics.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::CrossSite | Self::NotOwn => "cross_site",
            Self::Query | Self::TooLong | Self::BrokenBody => "malformed",
            Self::NotLocal => "not_local",
            Self::NoCredential | Self::NoCertificate => "no_credential",
            Self::WrongToken => "wrong_token",
            Self::TooMany(_) => "too_many",
            Self::Lapsed(_) => "lapsed",
        }
    }

    /// Whether somebody tried what operators should know of. Only what is rare by itself or is limited in number.
    pub(super) fn is_worth_a_warning(&self) -> bool {
        matches!(self, Self::WrongToken)
    }

    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooMany(wait) => Some(*wait + Duration::from_secs(1)),
            _ => None,
        }
    }
}

/// The checks, for one request.
#[derive(Clone, Copy)]
pub(super) struct Gate<'a> {
    pub(super) access: &'a Access,
    pub(super) attempts: &'a Attempts,
    pub(super) now: Instant,
}

impl Gate<'_> {
    /// Who asks for the page, or for something below `/api/`.
    pub(super) fn check(&self, wanted: Wanted, head: &Parts, peer: &Peer) -> Result<String, Refused> {
        self.check_host(head)?;
        if head.uri.query().is_some() {
            return Err(Refused::Query);
        }
        check_site(wanted, head)?;
        if head.method == Method::POST {
            check_own(head)?;
        }
        // The page asks for the token, so it must be had without one.
        let for_everybody = wanted == Wanted::Page && !self.access.tokens.is_empty();
        if for_everybody { Ok("nobody".to_owned()) } else { self.identify(head, peer) }
    }

    /// Whether the metrics may be read.
    pub(super) fn check_metrics(&self, head: &Parts, peer: &Peer) -> Result<(), Refused> {
        self.check_host(head)?;
        check_site(Wanted::Metrics, head)?;
        match self.access.metrics {
            MetricsAccess::Open => Ok(()),
            MetricsAccess::Protected => self.identify(head, peer).map(drop),
        }
    }

    /// Whether somebody who asks for readiness may read the reasons.
    pub(super) fn may_read(&self, head: &Parts, peer: &Peer) -> bool {
        if self.check_host(head).is_err() || check_site(Wanted::Readiness, head).is_err() {
            return false;
        }
        // A probe without a token is no attempt.
        let shows_one = head.headers.contains_key(AUTHORIZATION) || peer.certificate.is_some();
        let from_here = peer.address.is_loopback() && !is_forwarded(head);
        from_here || (shows_one && self.identify(head, peer).is_ok())
    }

    /// Against names that somebody lets point here (DNS rebinding): a browser sends the name it was told.
    fn check_host(&self, head: &Parts) -> Result<(), Refused> {
        // An absolute target would be a second host name.
        let absolute = head.uri.authority().is_some();
        let host = single(head, &HOST).and_then(|text| text.parse::<Authority>().ok()).ok_or(Refused::Host)?;
        let name = host.host().to_ascii_lowercase();
        let is_address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
        let is_ours = is_address || name == "localhost" || self.access.hosts.contains(&name);
        if absolute || !is_ours || host.as_str().contains('@') { Err(Refused::Host) } else { Ok(()) }
    }

    fn identify(&self, head: &Parts, peer: &Peer) -> Result<String, Refused> {
        if !self.access.wants_credentials() {
            let is_local = peer.address.is_loopback() && !is_forwarded(head);
            return if is_local { Ok("loopback".to_owned()) } else { Err(Refused::NotLocal) };
        }
        if let Some(subject) = peer.certificate.as_ref().filter(|_| self.access.client_certificates) {
            return Ok(format!("certificate:{subject}"));
        }
        if self.access.tokens.is_empty() {
            return Err(Refused::NoCertificate);
        }
        let mut shown = head.headers.get_all(AUTHORIZATION).iter();
        let Some(first) = shown.next() else { return Err(Refused::NoCredential) };
        let secret = first.to_str().ok().and_then(|text| text.strip_prefix("Bearer "));
        if let Some(name) = secret.filter(|_| shown.next().is_none()).and_then(|secret| self.token(secret)) {
            return Ok(format!("token:{name}"));
        }
        if let Some(wait) = self.attempts.must_wait(peer.address, self.now) {
            return Err(Refused::TooMany(wait));
        }
        self.attempts.failed(peer.address, self.now);
        Err(Refused::WrongToken)
    }

    /// The name of a token that is in time. Looks at all of them, and at all of their bytes.
    fn token(&self, secret: &str) -> Option<&str> {
        let presented = digest(&SHA256, secret.as_bytes());
        let found = self.access.tokens.iter().enumerate().fold(u64::MAX, |found, (position, token)| {
            u64::conditional_select(&found, &(position as u64), token.digest[..].ct_eq(presented.as_ref()))
        });
        let token = self.access.tokens.get(usize::try_from(found).ok()?)?;
        token.expires.is_none_or(|expires| SystemClock.now() < expires).then_some(token.name.as_str())
    }
}

/// A header that is there once, as text.
fn single<'a>(head: &'a Parts, name: &HeaderName) -> Option<&'a str> {
    let mut values = head.headers.get_all(name).iter();
    let first = values.next()?;
    if values.next().is_some() { None } else { first.to_str().ok() }
}

/// What browsers say of where a request comes from; other programs say nothing.
fn check_site(wanted: Wanted, head: &Parts) -> Result<(), Refused> {
    if head.headers.contains_key(ORIGIN) {
        let origin = single(head, &ORIGIN).and_then(|origin| origin.split_once("://"));
        let host = single(head, &HOST).unwrap_or_default();
        // One listener speaks one scheme, so a page of the other one at this host and port is none of another site.
        let same = origin.is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host));
        if !same {
            return Err(Refused::CrossSite);
        }
    }
    if !head.headers.contains_key(&FETCH_SITE) {
        return Ok(());
    }
    match single(head, &FETCH_SITE) {
        // `none` is the address bar.
        Some("same-origin" | "none") => Ok(()),
        // A link to the page is harmless. `same-site` is another port of this machine.
        Some(_) if wanted == Wanted::Page && single(head, &FETCH_DESTINATION) == Some("document") => Ok(()),
        _ => Err(Refused::CrossSite),
    }
}

/// What a form or a script of another site cannot send without a preflight request.
fn check_own(head: &Parts) -> Result<(), Refused> {
    let media_type = single(head, &CONTENT_TYPE).unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let good = media_type.eq_ignore_ascii_case("application/json") && single(head, &OWN_HEADER) == Some("1");
    if good { Ok(()) } else { Err(Refused::NotOwn) }
}

/// Whether the request came by way of a proxy, as far as it can be seen. One that says nothing looks like a client of this machine.
fn is_forwarded(head: &Parts) -> bool {
    let is_of_proxy = |name: &str| {
        OF_PROXIES.contains(&name) || FAMILIES_OF_PROXIES.iter().any(|beginning| name.starts_with(beginning))
    };
    // nginx, which says nothing unless it is told to, speaks HTTP/1.0 to what is behind it in most versions. Clients no longer do.
    head.version < Version::HTTP_11 || head.headers.keys().any(|name| is_of_proxy(name.as_str()))
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;

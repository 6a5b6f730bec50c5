//! Who gets past the gate of the admin listener, and who does not.

use http::Request;

use super::*;
use crate::edge::admin::access::AdminToken;

const SECRET: &str = "csn_secret-of-an-operator";

fn head(method: &str, path: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn token(name: &str, secret: &str) -> AdminToken {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, secret.as_bytes()).as_ref());
    AdminToken { name: name.to_owned(), digest: bytes, expires: None }
}

fn with_tokens() -> Access {
    Access { tokens: vec![token("other", "csn_other"), token("ops", SECRET)], ..Access::default() }
}

fn peer(address: &str) -> Peer {
    Peer { address: address.parse().unwrap(), certificate: None, tls: None }
}

fn check_by(access: &Access, peer: &Peer, head: &Parts) -> Result<String, Refused> {
    let attempts = Attempts::default();
    let gate = Gate { access, attempts: &attempts, now: Instant::now() };
    gate.check(Wanted::of(head.uri.path()).unwrap(), head, peer)
}

/// Asked from this machine, with nothing configured.
fn check(head: &Parts) -> Result<String, Refused> {
    check_by(&Access::default(), &peer("127.0.0.1"), head)
}

#[test]
fn l14_a_host_name_that_is_not_ours_is_refused() {
    let access = Access { hosts: vec!["gw-admin.example.com".to_owned()], ..Access::default() };
    let ask = |host: &str| check_by(&access, &peer("127.0.0.1"), &head("GET", "/api/status", &[("host", host)]));
    for host in [
        "127.0.0.1:9090",
        "localhost:9090",
        "LOCALHOST",
        "[::1]:9090",
        "192.0.2.7",
        "gw-admin.example.com",
        "GW-admin.example.com:1",
    ] {
        assert_eq!(ask(host), Ok("loopback".to_owned()), "{host}");
    }
    for host in [
        "evil.example.com",
        "evil.example.com:9090",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "127.0.0.1@evil.example",
        "evil.example@127.0.0.1",
        "localhost.",
        "x.gw-admin.example.com",
        "",
        "a b",
        "[::1",
    ] {
        assert_eq!(ask(host), Err(Refused::Host), "{host}");
    }
    assert_eq!(check(&head("GET", "/api/status", &[])), Err(Refused::Host));
    let twice = head("GET", "/api/status", &[("host", "127.0.0.1"), ("host", "evil.example")]);
    assert_eq!(check(&twice), Err(Refused::Host));
    let absolute = head("GET", "http://evil.example/api/status", &[("host", "127.0.0.1")]);
    assert_eq!(check(&absolute), Err(Refused::Host));
}

#[test]
fn l14_pages_of_other_sites_are_refused() {
    let ask =
        |path: &str, more: &[(&str, &str)]| check(&head("GET", path, &[&[("host", "localhost:9090")], more].concat()));
    for good in [
        &[("origin", "http://localhost:9090")][..],
        &[("origin", "https://LOCALHOST:9090")],
        &[("sec-fetch-site", "same-origin")],
        &[("sec-fetch-site", "none")],
    ] {
        assert!(ask("/api/status", good).is_ok(), "{good:?}");
    }
    for bad in [
        &[("origin", "http://evil.example")][..],
        &[("origin", "http://localhost:3000")],
        &[("origin", "http://localhost")],
        &[("origin", "null")],
        &[("origin", "http://localhost:9090"), ("origin", "http://evil.example")],
        &[("origin", "http://localhost:9090"), ("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site")],
        &[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "cross-site"), ("sec-fetch-dest", "document")],
    ] {
        assert_eq!(ask("/api/status", bad), Err(Refused::CrossSite), "{bad:?}");
    }
    // A link to the page opens it; a frame or an image of it does not.
    let link = [("sec-fetch-site", "cross-site"), ("sec-fetch-dest", "document")];
    assert!(ask("/", &link).is_ok());
    for destination in ["iframe", "image", "script", "empty"] {
        let embedded = [("sec-fetch-site", "cross-site"), ("sec-fetch-dest", destination)];
        assert_eq!(ask("/", &embedded), Err(Refused::CrossSite), "{destination}");
    }
    assert_eq!(ask("/api/status?token=x", &[]), Err(Refused::Query));
}

#[test]
fn l14_a_change_needs_what_no_form_can_send() {
    let host = ("host", "127.0.0.1:9090");
    let (json, own) = (("content-type", "application/json"), ("x-countersign-console", "1"));
    let ask = |headers: &[(&str, &str)]| check(&head("POST", "/api/reload", headers));
    assert!(ask(&[host, json, own]).is_ok());
    assert!(ask(&[host, ("content-type", "application/json; charset=utf-8"), own]).is_ok());
    for headers in [
        &[host, json][..],
        &[host, own],
        &[host, own, ("content-type", "text/plain")],
        &[host, own, ("content-type", "application/x-www-form-urlencoded")],
        &[host, own, ("content-type", "text/plain; application/json")],
        &[host, own, json, json],
        &[host, json, ("x-countersign-console", "0")],
    ] {
        assert_eq!(ask(headers), Err(Refused::NotOwn), "{headers:?}");
    }
}

#[test]
fn l14_without_credentials_only_this_machine_is_answered_and_no_proxy_on_it() {
    let plain = head("GET", "/", &[("host", "127.0.0.1")]);
    assert_eq!(check_by(&Access::default(), &peer("::1"), &plain), Ok("loopback".to_owned()));
    assert_eq!(check_by(&Access::default(), &peer("192.0.2.1"), &plain), Err(Refused::NotLocal));
    for header in [
        "forwarded",
        "forwarded-for",
        "via",
        "proxy-connection",
        "x-forwarded",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-forwarded-client-cert",
        "x-original-forwarded-for",
        "x-original-url",
        "x-original-uri",
        "x-rewrite-url",
        "x-real-ip",
        "x-client-ip",
        "x-cluster-client-ip",
        "x-remote-addr",
        "true-client-ip",
        "cf-connecting-ip",
        "cf-ray",
        "cloudfront-viewer-address",
        "fastly-client-ip",
        "fly-client-ip",
        "x-azure-clientip",
        "x-envoy-external-address",
        "x-amzn-trace-id",
        "x-arr-log-id",
        "x-appengine-user-ip",
        "proxy-client-ip",
        "wl-proxy-client-ip",
        "tailscale-user-login",
        "ngrok-trace-id",
    ] {
        let forwarded = head("GET", "/api/status", &[("host", "127.0.0.1"), (header, "127.0.0.1")]);
        assert_eq!(check(&forwarded), Err(Refused::NotLocal), "{header}");
    }
    // What browsers and other programs send by themselves is no sign of a proxy.
    let more = ["user-agent", "accept", "cache-control", "x-request-id", "traceparent", "priority", "dnt", "sec-gpc"];
    let headers: Vec<_> = [("host", "127.0.0.1")].into_iter().chain(more.map(|name| (name, "1"))).collect();
    assert_eq!(check(&head("GET", "/api/status", &headers)), Ok("loopback".to_owned()));
    // nginx names nobody unless it is told to, but speaks the old version.
    let mut old = head("GET", "/api/status", &[("host", "127.0.0.1:9090"), ("connection", "close")]);
    old.version = http::Version::HTTP_10;
    assert_eq!(check(&old), Err(Refused::NotLocal));
}

#[test]
fn l14_with_tokens_everybody_needs_one_of_them() {
    let ask = |path: &str, headers: &[(&str, &str)]| {
        let head = head("GET", path, &[&[("host", "127.0.0.1")], headers].concat());
        check_by(&with_tokens(), &peer("127.0.0.1"), &head)
    };
    let bearer = format!("Bearer {SECRET}");
    assert_eq!(ask("/api/status", &[("authorization", &bearer)]), Ok("token:ops".to_owned()));
    // The page itself asks for the token.
    assert_eq!(ask("/", &[]), Ok("nobody".to_owned()));
    assert_eq!(ask("/api/status", &[]), Err(Refused::NoCredential));
    assert_eq!(ask("/api/status", &[("cookie", SECRET)]), Err(Refused::NoCredential));
    for wrong in [
        "Bearer",
        "Bearer ",
        "Bearer csn_secret-of-an-operator ",
        "Bearer  csn_secret-of-an-operator",
        "Bearer csn_secret-of-an-operato",
        "bearer csn_secret-of-an-operator",
        "Basic csn_secret-of-an-operator",
        "csn_secret-of-an-operator",
    ] {
        assert_eq!(ask("/api/status", &[("authorization", wrong)]), Err(Refused::WrongToken), "{wrong}");
    }
    let twice = [("authorization", bearer.as_str()), ("authorization", bearer.as_str())];
    assert_eq!(ask("/api/status", &twice), Err(Refused::WrongToken));
}

#[test]
fn l14_a_token_whose_time_is_over_is_refused() {
    let mut access = with_tokens();
    let asked = head("GET", "/api/status", &[("host", "127.0.0.1"), ("authorization", &format!("Bearer {SECRET}"))]);
    access.tokens[1].expires = Some("2999-01-01T00:00:00Z".parse().unwrap());
    assert!(check_by(&access, &peer("127.0.0.1"), &asked).is_ok());
    access.tokens[1].expires = Some("2020-01-01T00:00:00Z".parse().unwrap());
    assert_eq!(check_by(&access, &peer("127.0.0.1"), &asked), Err(Refused::WrongToken));
}

#[test]
fn l14_a_certificate_opens_the_gate_only_where_it_is_configured() {
    let certified = Peer { certificate: Some("CN=alice".to_owned()), ..peer("192.0.2.1") };
    let asked = head("GET", "/api/status", &[("host", "192.0.2.9")]);
    let access = Access { client_certificates: true, ..Access::default() };
    assert_eq!(check_by(&access, &certified, &asked), Ok("certificate:CN=alice".to_owned()));
    assert_eq!(check_by(&access, &peer("127.0.0.1"), &asked), Err(Refused::NoCertificate));
    assert_eq!(check_by(&with_tokens(), &certified, &asked), Err(Refused::NoCredential));
    let both = Access { client_certificates: true, ..with_tokens() };
    assert!(check_by(&both, &certified, &asked).is_ok());
    assert_eq!(check_by(&both, &peer("127.0.0.1"), &asked), Err(Refused::NoCredential));
    let page = head("GET", "/", &[("host", "192.0.2.9")]);
    assert_eq!(check_by(&access, &peer("127.0.0.1"), &page), Err(Refused::NoCertificate));
}

#[test]
fn l14_wrong_tokens_are_limited_by_address() {
    let (access, attempts, now) = (with_tokens(), Attempts::default(), Instant::now());
    let gate = Gate { access: &access, attempts: &attempts, now };
    let with = |token: &str| {
        head("GET", "/api/status", &[("host", "127.0.0.1"), ("authorization", &format!("Bearer {token}"))])
    };
    for _ in 0..10 {
        assert_eq!(gate.check(Wanted::Api, &with("guess"), &peer("192.0.2.1")), Err(Refused::WrongToken));
    }
    assert!(matches!(gate.check(Wanted::Api, &with("guess"), &peer("192.0.2.1")), Err(Refused::TooMany(_))));
    assert_eq!(gate.check(Wanted::Api, &with("guess"), &peer("192.0.2.2")), Err(Refused::WrongToken));
    // Else whoever shares the operator's address could keep the operator out.
    assert!(gate.check(Wanted::Api, &with(SECRET), &peer("192.0.2.1")).is_ok());
    let later = Gate { now: now + Duration::from_secs(7), ..gate };
    assert_eq!(later.check(Wanted::Api, &with("guess"), &peer("192.0.2.1")), Err(Refused::WrongToken));
}

#[test]
fn metrics_are_open_until_they_are_protected() {
    let attempts = Attempts::default();
    let ask = |access: &Access, headers: &[(&str, &str)]| {
        let head = head("GET", "/metrics", &[&[("host", "10.0.0.1:9090")], headers].concat());
        Gate { access, attempts: &attempts, now: Instant::now() }.check_metrics(&head, &peer("10.0.0.2"))
    };
    assert_eq!(ask(&with_tokens(), &[]), Ok(()));
    let protected = Access { metrics: MetricsAccess::Protected, ..with_tokens() };
    assert_eq!(ask(&protected, &[]), Err(Refused::NoCredential));
    assert_eq!(ask(&protected, &[("authorization", &format!("Bearer {SECRET}"))]), Ok(()));
    assert_eq!(ask(&with_tokens(), &[("origin", "http://evil.example")]), Err(Refused::CrossSite));
    assert_eq!(ask(&with_tokens(), &[("host", "evil.example")]), Err(Refused::Host));
}

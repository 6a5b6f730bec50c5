//! Client certificates as callers, and as nothing but a door.

use std::sync::Arc;

use http_body_util::{BodyExt, Empty};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::SanType;
use rustls_pki_types::ServerName;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::support::certs::{Authority, Identity};
use super::support::{Answer, Client, Gateway, Recorder, Response, Setup, SignedClient};

const CERTIFICATES: &str = "
    - { name: etl, match: { dns: etl.example.com }, attributes: { area: etl } }
    - { name: pods, match: { spiffe: { trust_domain: example.org, path: \"/ns/{namespace}/sa/{service_account}\" } } }
    - { name: old, match: { subject: \"CN=old\" } }";

const RULES: &str = "
  - { name: own, who: { certificates: [etl] }, where: \"bkt/{area}/\", what: [read, write] }
  - { name: pods, who: { certificates: [pods], attributes: { namespace: shop } }, where: \"bkt/pods/{service_account}/\", what: read }
  - { name: old, who: { certificates: [old] }, where: bkt/old/, what: read }
  - { name: tenant-a, who: { tokens: [a], keys: [a] }, where: bkt/a/, what: [read, write] }";

struct World {
    authority: Authority,
    recorder: Recorder,
    gateway: Gateway,
}

impl World {
    /// `more` is put into `tls.client`.
    async fn new(more: &str) -> Self {
        let authority = Authority::new();
        let recorder = Recorder::start(Answer::ok()).await;
        let server = authority.vouch_for(&["127.0.0.1"]);
        let mut setup = Setup::before(&recorder).rules(RULES).tls(&server).client_certificates(&authority, more);
        if more.contains("identity") {
            setup.certificates = CERTIFICATES.to_owned();
        } else {
            setup = setup.rules(RULES.split_once("  - { name: tenant-a").map(|(_, rest)| rest).unwrap());
            setup.rules = format!("\n  - {{ name: tenant-a{}", setup.rules);
        }
        let gateway = setup.start().await;
        Self { authority, recorder, gateway }
    }

    fn dns(&self, name: &str) -> Identity {
        self.authority.vouch_for_client(name, |params| {
            params.subject_alt_names = vec![SanType::DnsName(name.try_into().unwrap())];
        })
    }

    fn uris(&self, name: &str, uris: &[&str]) -> Identity {
        self.authority.vouch_for_client(name, |params| {
            params.subject_alt_names = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
        })
    }

    async fn ask(&self, shown: Option<&Identity>, target: &str, headers: &[(&str, &str)]) -> Response {
        self.ask_over(shown, "http/1.1", target, headers).await
    }

    async fn ask_over(&self, shown: Option<&Identity>, alpn: &str, target: &str, headers: &[(&str, &str)]) -> Response {
        let config = match shown {
            Some(identity) => self.authority.client_with(&[alpn], identity),
            None => self.authority.client(&[alpn]),
        };
        let stream = TcpStream::connect(self.gateway.address).await.unwrap();
        let name = ServerName::from(self.gateway.address.ip());
        let stream = TokioIo::new(TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap());
        let mut request = http::Request::get(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = if alpn == "h2" {
            let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
            tokio::spawn(connection);
            let request = request.uri(format!("https://{}{target}", self.gateway.address));
            sender.send_request(request.body(Empty::<bytes::Bytes>::new()).unwrap()).await.unwrap()
        } else {
            let (mut sender, connection) = http1::handshake(stream).await.unwrap();
            tokio::spawn(connection);
            let request = request.header("host", self.gateway.address.to_string());
            sender.send_request(request.body(Empty::<bytes::Bytes>::new()).unwrap()).await.unwrap()
        };
        let (head, body) = answer.into_parts();
        Response { status: head.status, headers: head.headers, body: body.collect().await.unwrap().to_bytes().to_vec() }
    }
}

#[tokio::test]
async fn a_certificate_is_its_holder_on_both_versions_of_http() {
    let world = World::new(", identity: true").await;
    let etl = world.dns("etl.example.com");
    for alpn in ["http/1.1", "h2"] {
        assert_eq!(world.ask_over(Some(&etl), alpn, "/bkt/etl/x", &[]).await.status, 200, "{alpn}");
        assert_eq!(world.ask_over(Some(&etl), alpn, "/bkt/other/x", &[]).await.status, 403, "{alpn}");
    }
    let orders = world.uris("orders", &["spiffe://example.org/ns/shop/sa/orders"]);
    assert_eq!(world.ask(Some(&orders), "/bkt/pods/orders/x", &[]).await.status, 200);
    assert_eq!(world.ask(Some(&orders), "/bkt/pods/other/x", &[]).await.status, 403);
    let elsewhere = world.uris("elsewhere", &["spiffe://example.org/ns/bank/sa/orders"]);
    assert_eq!(world.ask(Some(&elsewhere), "/bkt/pods/orders/x", &[]).await.status, 403);
    let old = world.authority.vouch_for_client("old", |_| {});
    assert_eq!(world.ask(Some(&old), "/bkt/old/x", &[]).await.status, 200);
    let records = world.gateway.records();
    let who = |n: usize| (records[n].principal.as_deref().unwrap().to_owned(), records[n].scheme.unwrap());
    assert_eq!(who(0), ("certificate:etl".to_owned(), "certificate"));
    assert_eq!(who(4), ("spiffe://example.org/ns/shop/sa/orders".to_owned(), "certificate"));
    assert_eq!(world.recorder.requests().len(), 4);
}

#[tokio::test]
async fn a_certificate_that_is_nobody_here_is_refused() {
    let world = World::new(", identity: true").await;
    for (what, identity) in [
        ("no name", world.authority.vouch_for_client("stranger", |_| {})),
        ("another name", world.dns("x.etl.example.com")),
        (
            "two SPIFFE ids",
            world.uris("two", &["spiffe://example.org/ns/shop/sa/a", "spiffe://example.org/ns/shop/sa/b"]),
        ),
        ("a SPIFFE id and a URI", world.uris("uri", &["spiffe://example.org/ns/shop/sa/a", "urn:x"])),
        ("another trust domain", world.uris("other", &["spiffe://attacker.example/ns/shop/sa/orders"])),
        ("a path that climbs", world.uris("climbs", &["spiffe://example.org/ns/shop/sa/.."])),
        ("two entries fit", {
            world.authority.vouch_for_client("old", |params| {
                params.subject_alt_names = vec![SanType::DnsName("etl.example.com".try_into().unwrap())];
            })
        }),
    ] {
        let refused = world.ask(Some(&identity), "/bkt/etl/x", &[]).await;
        assert_eq!(refused.outcome(), (401, "InvalidToken".to_owned()), "{what}: {}", refused.text());
    }
    assert!(world.recorder.is_silent());
}

#[tokio::test]
async fn a05_a_credential_beside_a_certificate_that_names_the_caller_is_refused() {
    let world = World::new(", identity: true, require: false").await;
    let etl = world.dns("etl.example.com");
    let token = format!("Bearer {}", world.gateway.a.token);
    let key = SignedClient { address: world.gateway.address, ..world.gateway.key_a.clone() };
    let url = key.presign("GET", "/bkt/a/x", &[], 60).target;
    for (what, target, headers) in [
        ("a token", "/bkt/a/x", vec![("authorization", token.as_str())]),
        ("a wrong token", "/bkt/etl/x", vec![("authorization", "Bearer x")]),
        ("a URL", url.as_str(), vec![]),
        ("a session token", "/bkt/etl/x", vec![("x-amz-security-token", "x")]),
    ] {
        let refused = world.ask(Some(&etl), target, &headers).await;
        assert_eq!(refused.outcome(), (400, "InvalidArgument".to_owned()), "{what}: {}", refused.text());
    }
    let page = world.ask(Some(&etl), "/bkt/etl/x", &[("origin", "https://attacker.example")]).await;
    assert_eq!(page.outcome(), (403, "AccessDenied".to_owned()));
    assert!(world.recorder.is_silent());
    // Without a certificate the same token is the credential, and without both there is none.
    assert_eq!(world.ask(None, "/bkt/a/x", &[("authorization", token.as_str())]).await.status, 200);
    assert_eq!(world.ask(None, "/bkt/a/x", &[]).await.status, 401);
}

#[tokio::test]
async fn a_certificate_that_only_opens_the_door_names_nobody() {
    let world = World::new("").await;
    let etl = world.dns("etl.example.com");
    let token = format!("Bearer {}", world.gateway.a.token);
    assert_eq!(world.ask(Some(&etl), "/bkt/a/x", &[]).await.status, 401);
    assert_eq!(world.ask(Some(&etl), "/bkt/a/x", &[("authorization", token.as_str())]).await.status, 200);
    let record = world.gateway.record(2).await;
    assert_eq!(record.principal.as_deref(), Some("token:a"));
}

#[tokio::test]
async fn k23_a_reload_that_removes_the_authority_ends_open_connections_with_an_answer() {
    for more in [", identity: true", ""] {
        let (authority, recorder) = (Authority::new(), Recorder::start(Answer::ok()).await);
        let server = authority.vouch_for(&["127.0.0.1"]);
        let mut setup = Setup::before(&recorder).tls(&server).client_certificates(&authority, more);
        if !more.is_empty() {
            setup.certificates = CERTIFICATES.to_owned();
            setup = setup.rules(RULES);
        }
        let world = setup.start_reloadable().await;
        let identity = authority.vouch_for_client("etl", |params| {
            params.subject_alt_names = vec![SanType::DnsName("etl.example.com".try_into().unwrap())];
        });
        let token = format!("Bearer {}", world.gateway.a.token);
        let request = || {
            let request = http::Request::get("/bkt/etl/x").header("host", world.gateway.address.to_string());
            let request = if more.is_empty() { request.header("authorization", &token) } else { request };
            request.body(Empty::<bytes::Bytes>::new()).unwrap()
        };
        let stream = TcpStream::connect(world.gateway.address).await.unwrap();
        let name = ServerName::from(world.gateway.address.ip());
        let config = Arc::new(authority.client_with(&["http/1.1"], &identity));
        let stream = TokioIo::new(TlsConnector::from(config).connect(name, stream).await.unwrap());
        let (mut sender, connection) = http1::handshake(stream).await.unwrap();
        let connection = tokio::spawn(connection);
        let before = sender.send_request(request()).await.unwrap();
        assert_ne!(before.status(), 401, "{more}");
        drop(before.into_body().collect().await.unwrap());
        let asked = recorder.requests().len();

        let other = Authority::new();
        std::fs::copy(other.file(), authority.file()).unwrap();
        world.reload().await.unwrap();
        let (head, body) = sender.send_request(request()).await.unwrap().into_parts();
        let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        assert_eq!((head.status.as_u16(), &head.headers["connection"]), (401, &"close".parse().unwrap()), "{body}");
        assert!(body.contains("<Code>InvalidToken</Code><Message>The client certificate is no longer"), "{body}");
        tokio::time::timeout(std::time::Duration::from_secs(10), connection).await.unwrap().unwrap().unwrap();
        assert_eq!(recorder.requests().len(), asked);
    }
}

#[tokio::test]
async fn the_operators_page_offers_certificates_as_callers() {
    let world = World::new(", identity: true").await;
    let config: Value = serde_json::from_str(&world.gateway.ask_admin("/api/config").await.text()).unwrap();
    let principals = config["principals"].as_array().unwrap();
    for name in ["certificate:etl", "certificate:pods", "certificate:old", "token:a"] {
        assert!(principals.iter().any(|principal| principal == name), "{name}: {principals:?}");
    }
}

#[tokio::test]
async fn explain_takes_a_spiffe_id_as_records_have_it() {
    let world = World::new(", identity: true").await;
    let explain = async |who: &str, key: &str| {
        let admin = Client { address: world.gateway.admin, token: String::new() };
        let headers = [("content-type", "application/json"), ("x-countersign-console", "1")];
        let question = json!({ "as": who, "do": "GetObject", "on": format!("bkt/{key}") });
        let answer = admin.send_plain("POST", "/api/explain", &headers, question.to_string()).await;
        serde_json::from_slice::<Value>(&answer.body).unwrap()
    };
    let id = "spiffe://example.org/ns/shop/sa/orders";
    let orders = world.uris("orders", &[id]);
    for (number, (key, status, decision)) in
        [("pods/orders/x", 200, "allowed"), ("pods/other/x", 403, "denied")].into_iter().enumerate()
    {
        assert_eq!(world.ask(Some(&orders), &format!("/bkt/{key}"), &[]).await.status, status, "{key}");
        assert_eq!(world.gateway.record(number + 1).await.principal.as_deref(), Some(id));
        let report = &explain(id, key).await["report"];
        let parts = json!({ "certificate": ["pods"], "namespace": ["shop"], "service_account": ["orders"], "trust_domain": ["example.org"] });
        assert_eq!((&report["decision"], &report["caller"]["attributes"]), (&decision.into(), &parts), "{report:#}");
    }
    for (id, problem) in [
        ("spiffe://attacker.example/ns/shop/sa/orders", "no entry of `clients.certificates` fits it"),
        ("spiffe://example.org/ns/shop/sa/..", "its SPIFFE id is malformed"),
        ("spiffe:", "its SPIFFE id is malformed"),
    ] {
        let answer = explain(id, "pods/orders/x").await;
        assert!(answer["error"].as_str().is_some_and(|error| error.contains(problem)), "{id}: {answer}");
    }
}

//! The admin listener on the wire: methods, headers, bodies, TLS with client certificates.

use std::sync::Arc;

use http::Method;

use super::world::{Admin, Event, RawClient, World, limits, settings, soon};
use crate::arrival::Framing;
use crate::edge::{Access, AdminToken};

pub(super) const SECRET: &str = "csn_secret-of-an-operator";

pub(super) fn tokens() -> Arc<Access> {
    let mut digest = [0; 32];
    digest.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, SECRET.as_bytes()).as_ref());
    let token = AdminToken { name: "ops".to_owned(), digest, expires: None };
    Arc::new(Access { tokens: vec![token], ..Access::default() })
}

async fn world(access: Arc<Access>) -> (World, Arc<std::sync::Mutex<Vec<&'static str>>>) {
    let admin = Admin { access, ..Admin::default() };
    let refused = Arc::clone(&admin.refused);
    (World::start_with(settings(limits(), None), admin).await, refused)
}

async fn ask(world: &World, head: &str, body: &str) -> (String, String) {
    let mut client = RawClient::to(world.addresses.admin).await;
    let length = if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
    client.send(format!("{head}\r\n{length}\r\n{body}")).await;
    client.response().await
}

const HERE: &str = "host: 127.0.0.1";
const OWN: &str = "content-type: application/json\r\nx-countersign-console: 1";

#[tokio::test]
async fn l14_the_console_is_asked_only_by_whom_the_gate_lets_through() {
    let (world, refused) = world(tokens()).await;
    let (head, body) = ask(&world, &format!("GET /api/status HTTP/1.1\r\n{HERE}"), "").await;
    assert!(head.starts_with("HTTP/1.1 401") && head.contains("www-authenticate: Bearer"), "{head}");
    assert!(!body.contains("ops"), "{body}");
    let shown = format!("authorization: Bearer {SECRET}");
    let (head, body) = ask(&world, &format!("GET /api/status HTTP/1.1\r\n{HERE}\r\n{shown}"), "").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert_eq!(body, "GET /api/status by token:ops");
    let (_, body) = ask(&world, &format!("POST /api/reload HTTP/1.1\r\n{HERE}\r\n{shown}\r\n{OWN}"), "{}").await;
    assert_eq!(body, "POST /api/reload by token:ops");
    let (head, _) = ask(&world, &format!("POST /api/reload HTTP/1.1\r\n{HERE}\r\n{shown}"), "{}").await;
    assert!(head.starts_with("HTTP/1.1 415"), "{head}");
    assert_eq!(*refused.lock().unwrap(), ["no_credential", "cross_site"]);
}

#[tokio::test]
async fn l14_every_answer_keeps_other_pages_out() {
    let (world, _) = world(Arc::default()).await;
    for path in ["/", "/api/status", "/api/nothing", "/nothing", "/healthz", "/readyz", "/metrics"] {
        let (head, _) = ask(&world, &format!("GET {path} HTTP/1.1\r\n{HERE}"), "").await;
        for line in [
            "x-content-type-options: nosniff",
            "cache-control: no-store",
            "x-frame-options: DENY",
            "referrer-policy: no-referrer",
            "cross-origin-opener-policy: same-origin",
            "cross-origin-resource-policy: same-origin",
            "content-security-policy: default-src 'none'; frame-ancestors 'none'",
        ] {
            assert!(head.lines().any(|found| found == line), "{path} lacks {line} in\n{head}");
        }
        assert!(!head.contains("access-control-"), "{path}: {head}");
    }
}

#[tokio::test]
async fn l14_preflight_requests_and_other_methods_are_not_answered() {
    let (world, _) = world(Arc::default()).await;
    for (method, path, allowed) in [
        ("OPTIONS", "/api/reload", "GET, HEAD, POST"),
        ("PUT", "/api/reload", "GET, HEAD, POST"),
        ("TRACE", "/", "GET, HEAD"),
        ("POST", "/", "GET, HEAD"),
        ("POST", "/metrics", "GET, HEAD"),
    ] {
        let more = "origin: http://evil.example\r\naccess-control-request-method: POST";
        let (head, _) = ask(&world, &format!("{method} {path} HTTP/1.1\r\n{HERE}\r\n{more}"), "").await;
        assert!(head.starts_with("HTTP/1.1 405"), "{method} {path}: {head}");
        assert!(head.contains(&format!("allow: {allowed}\r\n")) && !head.contains("access-control"), "{head}");
    }
    let mut client = RawClient::to(world.addresses.admin).await;
    client.send(format!("HEAD /api/status HTTP/1.1\r\n{HERE}\r\nconnection: close\r\n\r\n")).await;
    let head = client.rest().await;
    assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
}

#[tokio::test]
async fn l14_a_body_is_small_or_refused() {
    let (world, _) = world(Arc::default()).await;
    let post = format!("POST /api/explain HTTP/1.1\r\n{HERE}\r\n{OWN}");
    assert!(ask(&world, &post, &"x".repeat(16 * 1024)).await.0.starts_with("HTTP/1.1 200"));
    let (head, _) = ask(&world, &post, &"x".repeat(16 * 1024 + 1)).await;
    assert!(head.starts_with("HTTP/1.1 413"), "{head}");
}

#[tokio::test]
async fn l14_reasons_are_for_this_machine_and_for_those_who_show_a_token() {
    let reasons = vec!["the key set of issuer `corp` could not be loaded".to_owned()];
    let admin = Admin { not_ready: reasons.clone(), access: tokens(), ..Admin::default() };
    let world = World::start_with(settings(limits(), None), admin).await;
    let (head, body) = ask(&world, &format!("GET /readyz HTTP/1.1\r\n{HERE}"), "").await;
    assert!(head.starts_with("HTTP/1.1 503") && body.contains(&reasons[0]), "{body}");
    // By way of a proxy the caller may be anybody.
    let (head, body) = ask(&world, &format!("GET /readyz HTTP/1.1\r\n{HERE}\r\nx-forwarded-for: 192.0.2.1"), "").await;
    assert!(head.starts_with("HTTP/1.1 503"), "{head}");
    assert_eq!(body, "not ready\n");
    // And so may a page whose name was made to point here, or one of another site.
    for head in ["host: evil.example", &format!("{HERE}\r\nsec-fetch-site: cross-site")] {
        assert_eq!(ask(&world, &format!("GET /readyz HTTP/1.1\r\n{head}"), "").await.1, "not ready\n", "{head}");
    }
    let shown =
        format!("GET /readyz HTTP/1.1\r\n{HERE}\r\nx-forwarded-for: 192.0.2.1\r\nauthorization: Bearer {SECRET}");
    assert!(ask(&world, &shown, "").await.1.contains(&reasons[0]));
}

#[tokio::test]
async fn a12_the_console_is_not_on_the_data_listeners() {
    let (mut world, _) = world(Arc::default()).await;
    for path in ["/api/status", "/api/events", "/api/reload"] {
        let mut client = world.connect().await;
        client.send(format!("GET {path} HTTP/1.1\r\n{HERE}\r\n\r\n")).await;
        let (head, body) = soon("an answer", client.response()).await;
        assert!(!body.contains("by loopback"), "{head}{body}");
        // It is the handler's, as every other path there.
        assert!(
            world.events_so_far().contains(&Event::Arrived(Method::GET, path.to_owned(), Framing::Clear)),
            "{path}"
        );
    }
}

//! Fetching key sets from issuers that misbehave.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::idp::{Answer, Idp, status};
use super::support::*;
use crate::auth::key_fetch::{IssuerKeys, KeyFetchError, KeySetSource, MAX_DOCUMENT_BYTES};
use crate::auth::{IssuerSettings, KeySetFault, KeySource, SetupError, UrlFault};
use crate::dial::DialError;

const TIME_LIMIT: Duration = Duration::from_millis(300);

/// Number of usable keys, or the failure.
async fn fetch(settings: &IssuerSettings) -> Result<usize, KeyFetchError> {
    IssuerKeys::new(settings, TIME_LIMIT).unwrap().fetch().await.map(|keys| keys.len())
}

fn from_url(idp: &Idp) -> IssuerSettings {
    IssuerSettings { keys: KeySource::Url(idp.url("/keys?v=1")), ..settings() }
}

fn two_keys() -> String {
    jwks(&[P256.jwk("a"), ED.jwk("b"), json!({"kty": "future"})])
}

/// Fetches from a URL that answers so.
async fn fetch_answer(answer: Answer) -> Result<usize, KeyFetchError> {
    let idp = Idp::start(move |_| answer.clone()).await;
    fetch(&from_url(&idp)).await
}

/// Discovers from an issuer whose document says so; `{idp}` is replaced by its address.
async fn discover(document: Value, jwks_hosts: &[&str]) -> (Result<usize, KeyFetchError>, Idp) {
    let idp = Idp::start(|_| Answer::Silence).await;
    let document = document.to_string().replace("{idp}", &idp.url(""));
    idp.behave(move |path| match path {
        "/.well-known/openid-configuration" => Answer::Json(document.clone()),
        "/jwks" => Answer::Json(two_keys()),
        _ => status("404 Not Found", ""),
    });
    let ca_file = NamedTempFile::new().unwrap();
    let authority = rcgen::generate_simple_self_signed(vec![]).unwrap();
    std::fs::write(ca_file.path(), authority.cert.pem()).unwrap();
    let jwks_hosts = jwks_hosts.iter().map(|host| (*host).to_owned()).collect();
    let settings =
        IssuerSettings { issuer: idp.url(""), jwks_hosts, ca_file: Some(ca_file.path().to_owned()), ..settings() };
    (fetch(&settings).await, idp)
}

#[tokio::test]
async fn keys_are_fetched_with_a_plain_request() {
    let idp = Idp::start(|_| Answer::Json(two_keys())).await;
    assert_eq!(fetch(&from_url(&idp)).await.unwrap(), 2);
    let heads = idp.requests();
    assert_eq!(heads.len(), 1);
    let mut lines: Vec<_> = heads[0].trim_end().split("\r\n").map(str::to_owned).collect();
    lines.sort();
    let agent = concat!("user-agent: countersign/", env!("CARGO_PKG_VERSION")).to_owned();
    let host = format!("host: 127.0.0.1:{}", idp.port);
    let expected = [
        "GET /keys?v=1 HTTP/1.1".to_owned(),
        "accept-encoding: identity".to_owned(),
        "accept: application/json".to_owned(),
        host,
        agent,
    ];
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn the_token_in_a_file_is_shown_as_it_is_at_the_moment_and_to_the_named_url_alone() {
    let idp = Idp::start(|_| Answer::Json(two_keys())).await;
    let file = NamedTempFile::new().unwrap();
    let settings = IssuerSettings { jwks_token: Some(file.path().to_owned()), ..from_url(&idp) };
    for unusable in ["", "\n", "two words", "a\u{fc}", &"x".repeat(8193)] {
        std::fs::write(file.path(), unusable).unwrap();
        assert!(matches!(fetch(&settings).await, Err(KeyFetchError::Token(_))), "{unusable:?}");
    }
    assert!(idp.requests().is_empty(), "without a token nobody is asked");
    for token in ["first", "second\n"] {
        std::fs::write(file.path(), token).unwrap();
        assert_eq!(fetch(&settings).await.unwrap(), 2);
        let shown = format!("authorization: Bearer {}\r\n", token.trim());
        assert!(idp.requests().last().unwrap().contains(&shown), "{:?}", idp.requests());
    }
    let base = idp.url("");
    idp.behave(move |path| match path {
        "/.well-known/openid-configuration" => {
            Answer::Json(json!({ "issuer": base, "jwks_uri": format!("{base}/jwks") }).to_string())
        }
        _ => Answer::Json(two_keys()),
    });
    let discovered = IssuerSettings { issuer: idp.url(""), keys: KeySource::Discovery, ..settings };
    assert_eq!(fetch(&discovered).await.unwrap(), 2);
    assert!(idp.requests()[2..].iter().all(|head| !head.contains("authorization")), "{:?}", idp.requests());
    drop(file);
}

#[tokio::test]
async fn keys_are_fetched_over_tls_from_a_trusted_server_only() {
    let (idp, ca_file) = Idp::start_tls(|_| Answer::Json(two_keys())).await;
    let (_, other_ca_file) = Idp::start_tls(|_| Answer::Silence).await;
    let url = format!("https://127.0.0.1:{}/keys", idp.port);
    let trusting = |ca_file: &NamedTempFile| {
        let ca_file = Some(ca_file.path().to_owned());
        IssuerSettings { keys: KeySource::Url(url.clone()), ca_file, ..settings() }
    };
    assert_eq!(fetch(&trusting(&ca_file)).await.unwrap(), 2);
    let refused = fetch(&trusting(&other_ca_file)).await.unwrap_err();
    assert!(matches!(refused, KeyFetchError::Dial(DialError::Tls { .. })), "{refused}");
}

#[tokio::test]
async fn discovery_leads_to_the_keys() {
    let (found, idp) = discover(json!({"issuer": "{idp}", "jwks_uri": "{idp}/jwks", "token_endpoint": 1}), &[]).await;
    assert_eq!(found.unwrap(), 2);
    assert_eq!(idp.requests().len(), 2);

    let slashed = Idp::start(|_| Answer::Silence).await;
    let issuer = slashed.url("/realm/");
    let document = json!({"issuer": issuer, "jwks_uri": slashed.url("/jwks")}).to_string();
    slashed.behave(move |path| match path {
        "/realm/.well-known/openid-configuration" => Answer::Json(document.clone()),
        _ => Answer::Json(two_keys()),
    });
    assert_eq!(fetch(&IssuerSettings { issuer, ..settings() }).await.unwrap(), 2);
}

#[tokio::test]
async fn i11_the_discovered_issuer_is_the_configured_one_byte_for_byte() {
    for name in ["{idp}/", "https://idp.example", "", "{idp} "] {
        let (found, idp) = discover(json!({"issuer": name, "jwks_uri": "{idp}/jwks"}), &[]).await;
        assert!(matches!(found, Err(KeyFetchError::OtherIssuer)), "{name}: {found:?}");
        assert_eq!(idp.requests().len(), 1, "no further request");
    }
}

#[tokio::test]
async fn i11_discovery_documents_are_strict() {
    for document in [
        json!({"issuer": "{idp}"}),
        json!({"jwks_uri": "{idp}/jwks"}),
        json!([]),
        json!({"issuer": ["{idp}"], "jwks_uri": "{idp}/jwks"}),
        json!({"issuer": "{idp}", "jwks_uri": null}),
    ] {
        let (found, _) = discover(document.clone(), &[]).await;
        assert!(matches!(found, Err(KeyFetchError::Discovery)), "{document}: {found:?}");
    }
    let idp = Idp::start(|_| Answer::Silence).await;
    let url = idp.url("");
    let twice = format!(r#"{{"issuer":"{url}","jwks_uri":"{url}/a","jwks_uri":"{url}/b"}}"#);
    idp.behave(move |_| Answer::Json(twice.clone()));
    let found = fetch(&IssuerSettings { issuer: url, ..settings() }).await;
    assert!(matches!(found, Err(KeyFetchError::Discovery)), "{found:?}");
}

#[tokio::test]
async fn i11_keys_come_from_the_issuers_host_or_a_listed_one() {
    let elsewhere = Idp::start(|_| Answer::Json(two_keys())).await;
    let url = format!("http://127.0.0.2:{}/jwks", elsewhere.port);
    let document = json!({"issuer": "{idp}", "jwks_uri": url});
    for hosts in [&[][..], &["127.0.0.3"], &["127.0.0.2.example"], &["0.0.2"]] {
        let (found, _) = discover(document.clone(), hosts).await;
        assert!(matches!(found, Err(KeyFetchError::JwksHost { .. })), "{hosts:?}: {found:?}");
    }
    assert_eq!(elsewhere.requests().len(), 0);
    let (found, _) = discover(document, &["keys.example", "127.0.0.2"]).await;
    assert_eq!(found.unwrap(), 2);
}

#[tokio::test]
async fn i11_odd_urls_of_keys_are_refused() {
    for (url, fault) in [
        ("http://idp.example/jwks", UrlFault::Scheme),
        ("http://169.254.169.254/latest", UrlFault::Scheme),
        ("file:///etc/passwd", UrlFault::Syntax),
        ("gopher://127.0.0.1/", UrlFault::Scheme),
        ("/jwks", UrlFault::Syntax),
        ("http://127.0.0.1@idp.example/", UrlFault::Extra),
    ] {
        let (found, _) =
            discover(json!({"issuer": "{idp}", "jwks_uri": url}), &["idp.example", "169.254.169.254"]).await;
        assert!(matches!(found, Err(KeyFetchError::JwksUrl(given)) if given == fault), "{url}: {found:?}");
    }
}

#[tokio::test]
async fn i11_listed_hosts_with_addresses_of_metadata_services_are_not_connected_to() {
    for host in ["169.254.169.254", "[fd00:ec2::254]", "[::ffff:169.254.169.254]", "localhost", "0.0.0.0"] {
        let bare = host.trim_matches(['[', ']']);
        let (found, _) =
            discover(json!({"issuer": "{idp}", "jwks_uri": format!("https://{host}/jwks")}), &[bare]).await;
        let refused = matches!(found, Err(KeyFetchError::Dial(DialError::AddressRefused { .. })));
        assert!(refused, "{host}: {found:?}");
    }
}

#[tokio::test]
async fn i11_discovery_over_tls_does_not_lead_to_clear_text() {
    let (idp, ca_file) = Idp::start_tls(|_| Answer::Silence).await;
    let issuer = format!("https://127.0.0.1:{}", idp.port);
    let in_clear = Idp::start(|_| Answer::Json(two_keys())).await;
    let document = json!({"issuer": issuer, "jwks_uri": in_clear.url("/jwks")}).to_string();
    idp.behave(move |_| Answer::Json(document.clone()));
    let found = fetch(&IssuerSettings { issuer, ca_file: Some(ca_file.path().to_owned()), ..settings() }).await;
    assert!(matches!(found, Err(KeyFetchError::JwksUrl(UrlFault::Scheme))), "{found:?}");
    assert_eq!(in_clear.requests().len(), 0);
}

#[tokio::test]
async fn i11_redirects_are_not_followed() {
    let target = Idp::start(|_| Answer::Json(two_keys())).await;
    for code in ["301 Moved", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let location = format!("location: {}\r\n", target.url("/jwks"));
        let found = fetch_answer(status(code, &location)).await;
        assert!(matches!(found, Err(KeyFetchError::Status(given)) if code.starts_with(given.as_str())), "{found:?}");
    }
    assert_eq!(target.requests().len(), 0);
}

#[tokio::test]
async fn only_status_200_counts() {
    for code in [
        "201 Created",
        "204 No Content",
        "206 Partial Content",
        "304 Not Modified",
        "404 Not Found",
        "500 Oops",
        "503 Later",
    ] {
        let found = fetch_answer(status(code, "")).await;
        assert!(matches!(found, Err(KeyFetchError::Status(_))), "{code}: {found:?}");
    }
}

#[tokio::test]
async fn i11_a_document_may_have_a_mebibyte() {
    let padded = |bytes: usize| {
        let document = two_keys();
        format!("{}{document}", " ".repeat(bytes - document.len()))
    };
    assert_eq!(fetch_answer(Answer::Json(padded(MAX_DOCUMENT_BYTES))).await.unwrap(), 2);
    let chunked = |bytes: usize| {
        let head = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{bytes:x}\r\n");
        Answer::Raw(format!("{head}{}\r\n0\r\n\r\n", padded(bytes)).into_bytes())
    };
    assert_eq!(fetch_answer(chunked(MAX_DOCUMENT_BYTES)).await.unwrap(), 2);
    for answer in [Answer::Json(padded(MAX_DOCUMENT_BYTES + 1)), chunked(MAX_DOCUMENT_BYTES + 1)] {
        let found = fetch_answer(answer).await;
        assert!(matches!(found, Err(KeyFetchError::TooLarge)), "{found:?}");
    }
}

#[tokio::test]
async fn i11_endless_answers_are_cut() {
    for head in [
        "HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n40000000\r\n",
        "HTTP/1.1 200 OK\r\n\r\n",
    ] {
        let idp = Idp::start(move |_| Answer::Endless(head)).await;
        let found = fetch(&from_url(&idp)).await;
        assert!(matches!(found, Err(KeyFetchError::TooLarge)), "{head}: {found:?}");
        // What the two sockets hold comes on top of what was read.
        assert!(idp.sent_bytes() < 16 * MAX_DOCUMENT_BYTES, "{}", idp.sent_bytes());
    }
    let endless_head = Idp::start(|_| Answer::Endless("HTTP/1.1 200 OK\r\nx-header: ")).await;
    let found = fetch(&from_url(&endless_head)).await;
    assert!(matches!(found, Err(KeyFetchError::Http(_))), "{found:?}");
}

#[tokio::test]
async fn i11_slow_answers_end_at_the_time_limit() {
    for answer in [
        Answer::Silence,
        Answer::Drip("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n"),
        Answer::Drip("HTTP/1.1 200 OK\r\nx-header: a"),
    ] {
        let began = Instant::now();
        let found = fetch_answer(answer).await;
        assert!(matches!(found, Err(KeyFetchError::Timeout(TIME_LIMIT))), "{found:?}");
        assert!(began.elapsed() < TIME_LIMIT * 10);
    }
}

#[tokio::test]
async fn i11_compressed_answers_are_refused_unread() {
    for coding in ["gzip", "br", "zstd", "identity, gzip", "GZIP"] {
        let body = two_keys();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-encoding: {coding}\r\ncontent-length: {}\r\n\r\n", body.len());
        let found = fetch_answer(Answer::Raw((head + &body).into_bytes())).await;
        assert!(matches!(found, Err(KeyFetchError::Encoded)), "{coding}: {found:?}");
    }
    let body = two_keys();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-encoding: identity\r\ncontent-length: {}\r\n\r\n", body.len());
    assert_eq!(fetch_answer(Answer::Raw((head + &body).into_bytes())).await.unwrap(), 2);
}

#[tokio::test]
async fn i11_cut_and_garbled_answers_are_failures() {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", two_keys().len() + 1);
    let truncated = Answer::Raw((head + &two_keys()).into_bytes());
    let cut_chunk =
        Answer::Raw(format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nfff\r\n{}", two_keys()).into_bytes());
    for answer in [truncated, cut_chunk, Answer::Raw(b"SSH-2.0-x\r\n".to_vec()), Answer::Raw(Vec::new())] {
        let found = fetch_answer(answer).await;
        assert!(matches!(found, Err(KeyFetchError::Http(_))), "{found:?}");
    }
}

#[tokio::test]
async fn i11_a_set_has_at_most_a_hundred_keys() {
    let keys = |count: usize| Answer::Json(jwks(&(0..count).map(|n| P256.jwk(&format!("k{n}"))).collect::<Vec<_>>()));
    assert_eq!(fetch_answer(keys(100)).await.unwrap(), 100);
    let found = fetch_answer(keys(101)).await;
    assert!(matches!(found, Err(KeyFetchError::KeySet(KeySetFault::TooManyKeys))), "{found:?}");
}

#[tokio::test]
async fn key_sets_are_strict_json_with_keys() {
    for document in [
        "",
        "[]",
        "{}",
        r#"{"keys":{}}"#,
        r#"{"keys":null}"#,
        r#"{"keys":[],"keys":[]}"#,
        "<html>",
        r#"{"keys":[{"kid":"a","kid":"b"}]}"#,
    ] {
        let found = fetch_answer(Answer::Json(document.to_owned())).await;
        assert!(matches!(found, Err(KeyFetchError::KeySet(KeySetFault::Syntax))), "{document}: {found:?}");
    }
    assert_eq!(fetch_answer(Answer::Json(r#"{"keys":[]}"#.to_owned())).await.unwrap(), 0);
    assert_eq!(fetch_answer(Answer::Json(r#"{"keys":[1,null,"x",[],{}]}"#.to_owned())).await.unwrap(), 0);
}

#[tokio::test]
async fn key_files_are_read_again_and_bounded() {
    let (settings, file) = with_keys(settings(), &[P256.jwk("a")]);
    let source = IssuerKeys::new(&settings, TIME_LIMIT).unwrap();
    assert_eq!(source.fetch().await.unwrap().len(), 1);
    std::fs::write(file.path(), two_keys()).unwrap();
    assert_eq!(source.fetch().await.unwrap().len(), 2);
    std::fs::write(file.path(), " ".repeat(MAX_DOCUMENT_BYTES + 1)).unwrap();
    assert!(matches!(source.fetch().await, Err(KeyFetchError::TooLarge)));
    drop(file);
    assert!(matches!(source.fetch().await, Err(KeyFetchError::File(_))));
    let endless = IssuerSettings { keys: KeySource::File("/dev/zero".into()), ..settings };
    assert!(matches!(fetch(&endless).await, Err(KeyFetchError::TooLarge)));
}

#[test]
fn i11_configured_urls_are_checked_at_start() {
    let fault = |issuer: &str, keys: KeySource| match IssuerKeys::new(
        &IssuerSettings { issuer: issuer.to_owned(), keys, ..settings() },
        TIME_LIMIT,
    ) {
        Err(SetupError::KeyUrl { problem, .. }) => Some(problem),
        Err(other) => panic!("{other}"),
        Ok(_) => None,
    };
    assert_eq!(fault("http://127.0.0.1:1", KeySource::Discovery), None);
    assert_eq!(fault("http://idp.example", KeySource::Discovery), Some(UrlFault::Scheme));
    assert_eq!(fault("http://127.0.0.1:1?tenant=a", KeySource::Discovery), Some(UrlFault::Extra));
    assert_eq!(fault("http://127.0.0.1:1#a", KeySource::Discovery), Some(UrlFault::Extra));
    assert_eq!(fault("kubernetes/serviceaccount", KeySource::Discovery), Some(UrlFault::Syntax));
    assert_eq!(fault("kubernetes/serviceaccount", KeySource::Url("http://127.0.0.1:1/".to_owned())), None);
    assert_eq!(fault("any", KeySource::Url("http://idp.example/".to_owned())), Some(UrlFault::Scheme));
}

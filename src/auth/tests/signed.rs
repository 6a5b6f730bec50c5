//! Signed requests as the gateway gets them, made with AWS' own signer and then spoiled in one way or another.

mod presigned;

use std::sync::Arc;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SignatureLocation,
    SigningSettings as AwsSettings, UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use http::{HeaderName, HeaderValue, Request};

use super::support::*;
use crate::arrival::ConnectionFacts;
use crate::auth::{
    AccessKeySettings, Attributes, AuthError, Authenticated, Authenticators, Claim, Settings, SignatureError,
    SigningSettings, UnsignedPayload,
};
use crate::base::{Secret, UtcInstant};
use crate::sigv4::{ChunkCheck, FormFault};

const ID: &str = "CSAKKNOWN";
const SECRET: &str = "a-secret-that-is-long-enough";
const SHA: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const PAYLOADS: [&str; 5] = [
    SHA,
    "UNSIGNED-PAYLOAD",
    "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
];

/// What a client signs.
struct Ask {
    method: &'static str,
    target: &'static str,
    headers: Vec<(&'static str, &'static str)>,
    payload: &'static str,
    /// Seconds before now.
    age: i64,
    region: &'static str,
    service: &'static str,
    id: &'static str,
    secret: &'static str,
    token: Option<&'static str>,
    /// Presigned for so many seconds.
    expires: Option<u64>,
}

fn get() -> Ask {
    Ask {
        method: "GET",
        target: "/bkt/a/x",
        headers: Vec::new(),
        payload: SHA,
        age: 0,
        region: "us-east-1",
        service: "s3",
        id: ID,
        secret: SECRET,
        token: None,
        expires: None,
    }
}

fn put() -> Ask {
    Ask { method: "PUT", headers: vec![("content-length", "5")], ..get() }
}

fn presigned(method: &'static str) -> Ask {
    Ask { method, payload: "UNSIGNED-PAYLOAD", expires: Some(60), ..get() }
}

impl Ask {
    fn sign(&self) -> Request<()> {
        let identity = Credentials::new(self.id, self.secret, self.token.map(str::to_owned), None, "test").into();
        let mut settings = AwsSettings::default();
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        if let Some(seconds) = self.expires {
            settings.signature_location = SignatureLocation::QueryParams;
            settings.payload_checksum_kind = PayloadChecksumKind::NoHeader;
            settings.expires_in = Some(Duration::from_secs(seconds));
        }
        let time = UtcInstant::from_second(NOW - self.age).unwrap();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(self.region)
            .name(self.service)
            .time(time.into())
            .settings(settings)
            .build()
            .unwrap()
            .into();
        let uri = format!("http://gw.example{}", self.target);
        let body = SignableBody::Precomputed(self.payload.to_owned());
        let signable = SignableRequest::new(self.method, &uri, self.headers.iter().copied(), body).unwrap();
        let (instructions, _) = sign(signable, &params).unwrap().into_parts();
        let mut request = Request::builder().method(self.method).uri(uri).header("host", "gw.example");
        for (name, value) in &self.headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(()).unwrap();
        instructions.apply_to_request_http1x(&mut request);
        // As it arrives: the target without the host.
        *request.uri_mut() = request.uri().path_and_query().unwrap().as_str().parse().unwrap();
        request
    }
}

fn authenticators(signing: SigningSettings) -> Authenticators {
    let key = |name: &str, id: &str, expires| AccessKeySettings {
        name: name.to_owned(),
        id: id.to_owned(),
        secret: Secret::new(SECRET),
        expires,
        attributes: Attributes::new(),
    };
    let over = UtcInstant::from_second(NOW - 1).unwrap();
    let access_keys = vec![key("known", ID, None), key("over", "CSAKOVER", Some(over))];
    let settings = Settings { access_keys, signing, ..Settings::default() };
    Authenticators::new(settings, Arc::new(TestClock)).unwrap()
}

async fn check_with(
    signing: SigningSettings,
    request: Request<()>,
    peer: [u8; 4],
    tls: bool,
) -> Result<Authenticated, AuthError> {
    let (head, ()) = request.into_parts();
    let connection = ConnectionFacts::tcp((peer, 1).into(), tls);
    authenticators(signing).authenticate(Claim::parse(&head)?, &head, &connection).await
}

async fn check(request: Request<()>) -> Result<Authenticated, AuthError> {
    check_with(SigningSettings::default(), request, [192, 0, 2, 1], true).await
}

async fn refusal(request: Request<()>) -> SignatureError {
    match check(request).await {
        Err(AuthError::Signature(error)) => error,
        other => panic!("{other:?}"),
    }
}

fn with_header(mut request: Request<()>, name: &'static str, value: &str) -> Request<()> {
    request.headers_mut().append(HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap());
    request
}

fn without_header(mut request: Request<()>, name: &str) -> Request<()> {
    request.headers_mut().remove(name).unwrap();
    request
}

fn edited(mut request: Request<()>, edit: impl Fn(String) -> String) -> Request<()> {
    *request.uri_mut() = edit(request.uri().to_string()).parse().unwrap();
    request
}

fn with_authorization(request: Request<()>, edit: impl Fn(String) -> String) -> Request<()> {
    let text = edit(request.headers()["authorization"].to_str().unwrap().to_owned());
    with_header(without_header(request, "authorization"), "authorization", &text)
}

#[tokio::test]
async fn b01_a_signed_request_gives_its_caller_in_every_form() {
    for payload in PAYLOADS {
        let authenticated = check(Ask { payload, ..put() }.sign()).await.unwrap();
        assert_eq!(authenticated.caller.principal().as_str(), "key:known", "{payload}");
        assert_eq!(authenticated.chunks.is_some(), payload.starts_with("STREAMING-AWS4"), "{payload}");
        assert!(authenticated.presigned.is_none());
    }
    for method in ["GET", "PUT", "HEAD", "DELETE"] {
        let authenticated = check(presigned(method).sign()).await.unwrap();
        assert_eq!(authenticated.caller.principal().as_str(), "key:known");
        let request = authenticated.presigned.unwrap();
        assert_eq!((request.head.uri.to_string().as_str(), request.added.len()), ("/bkt/a/x", 0));
    }
}

#[tokio::test]
async fn the_chunk_signer_begins_with_the_signature_of_the_request() {
    let request = Ask { payload: "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", ..put() }.sign();
    let authorization = request.headers()["authorization"].to_str().unwrap().to_owned();
    let seed = authorization.split("Signature=").nth(1).unwrap().to_owned();
    let Some(ChunkCheck::Chain(mut ours)) = check(request).await.unwrap().chunks else { panic!("no chain") };
    let date = crate::sigv4::AmzDate::new(UtcInstant::from_second(NOW).unwrap());
    let key = crate::sigv4::SigningKey::derive(&Secret::new(SECRET), "us-east-1", &date);
    let mut theirs = crate::sigv4::ChunkSigner::new(key, &date, seed);
    assert_eq!(ours.sign_chunk(SHA), theirs.sign_chunk(SHA));
}

#[tokio::test]
async fn a01_a02_a_forged_signature_is_refused_in_every_form() {
    for payload in PAYLOADS {
        for forged in ["0".repeat(64), "".to_owned(), "x".repeat(64), "0".repeat(63)] {
            let request = with_authorization(Ask { payload, ..put() }.sign(), |text| {
                let (fields, _) = text.split_once("Signature=").unwrap();
                format!("{fields}Signature={forged}")
            });
            assert_eq!(refusal(request).await, SignatureError::Mismatch, "{payload} {forged}");
        }
    }
    let request = edited(presigned("PUT").sign(), |uri| {
        let (rest, _) = uri.split_once("X-Amz-Signature=").unwrap();
        format!("{rest}X-Amz-Signature={}", "0".repeat(64))
    });
    assert_eq!(refusal(request).await, SignatureError::Mismatch);
    // Capital letters are other text.
    let capitals = with_authorization(get().sign(), |text| {
        let (fields, signature) = text.split_once("Signature=").unwrap();
        format!("{fields}Signature={}", signature.to_uppercase())
    });
    assert_eq!(refusal(capitals).await, SignatureError::Mismatch);
}

#[tokio::test]
async fn a09_unknown_keys_and_wrong_secrets_are_refused() {
    assert_eq!(refusal(Ask { id: "CSAKOTHER", ..get() }.sign()).await, SignatureError::UnknownKey);
    assert_eq!(refusal(Ask { id: "CSAKOTHER", ..presigned("GET") }.sign()).await, SignatureError::UnknownKey);
    assert_eq!(refusal(Ask { secret: "another", ..get() }.sign()).await, SignatureError::Mismatch);
    // What an unknown key is compared with is no secret.
    let nobody = Ask { id: "CSAKOTHER", secret: "nobody knows this, nor has to", ..get() };
    assert_eq!(refusal(nobody.sign()).await, SignatureError::UnknownKey);
    assert_eq!(refusal(Ask { id: "CSAKOVER", ..get() }.sign()).await, SignatureError::KeyExpired);
}

#[tokio::test]
async fn b06_the_scope_must_be_of_the_day_the_region_and_the_service() {
    let eu = Ask { region: "eu-central-1", ..get() };
    assert_eq!(refusal(eu.sign()).await, SignatureError::Region { expected: "us-east-1".to_owned() });
    let any = SigningSettings { regions: Vec::new(), ..SigningSettings::default() };
    assert!(check_with(any, eu.sign(), [192, 0, 2, 1], true).await.is_ok());
    for service in ["iam", "s3express", "sts"] {
        let header = refusal(Ask { service, ..get() }.sign()).await;
        assert_eq!(header, SignatureError::Header(FormFault::Service), "{service}");
        let query = refusal(Ask { service, ..presigned("GET") }.sign()).await;
        assert_eq!(query, SignatureError::Query(FormFault::Service), "{service}");
    }
    let day = crate::sigv4::AmzDate::new(UtcInstant::from_second(NOW).unwrap()).day().to_owned();
    let other = with_authorization(get().sign(), |text| text.replace(&day, "20200101"));
    assert_eq!(refusal(other).await, SignatureError::OtherDay);
    let other = edited(presigned("GET").sign(), |uri| uri.replace(&format!("%2F{day}%2F"), "%2F20200101%2F"));
    assert_eq!(refusal(other).await, SignatureError::OtherDay);
}

#[tokio::test]
async fn b07_clocks_may_differ_by_fifteen_minutes_and_no_more() {
    for age in [-900, -840, 0, 840, 900] {
        assert!(check(Ask { age, ..get() }.sign()).await.is_ok(), "{age}");
    }
    for age in [-315_360_000, -960, -901, 901, 960, 315_360_000] {
        let expected = SignatureError::Skewed { skew_secs: age, limit_secs: 900 };
        assert_eq!(refusal(Ask { age, ..get() }.sign()).await, expected);
    }
    let narrow = SigningSettings { clock_skew: Duration::from_secs(60), ..SigningSettings::default() };
    let late = check_with(narrow, Ask { age: 61, ..get() }.sign(), [192, 0, 2, 1], true).await;
    assert!(matches!(late, Err(AuthError::Signature(SignatureError::Skewed { .. }))));
    assert!(check(Ask { age: -840, ..presigned("GET") }.sign()).await.is_ok());
    assert_eq!(refusal(Ask { age: -901, ..presigned("GET") }.sign()).await, SignatureError::NotYet);
}

#[tokio::test]
async fn b08_one_date_counts_and_it_is_the_signed_one() {
    let old = Ask { age: 3600, ..get() }.sign();
    let moved = with_header(without_header(old, "x-amz-date"), "x-amz-date", "20200913T122640Z");
    assert!(matches!(
        refusal(moved).await,
        SignatureError::Mismatch | SignatureError::Skewed { .. } | SignatureError::OtherDay
    ));
    let unsigned_date = with_header(get().sign(), "date", "Tue, 01 Jan 2030 00:00:00 GMT");
    assert!(check(unsigned_date).await.is_ok(), "x-amz-date comes before Date");
    let twice = get().sign();
    let date = twice.headers()["x-amz-date"].to_str().unwrap().to_owned();
    assert_eq!(refusal(with_header(twice, "x-amz-date", &date)).await, SignatureError::Date);
    for wrong in ["2026-01-01T00:00:00Z", "", "now", "20260101"] {
        let request = with_header(without_header(get().sign(), "x-amz-date"), "x-amz-date", wrong);
        assert_eq!(refusal(request).await, SignatureError::Date, "{wrong}");
    }
    assert_eq!(refusal(without_header(get().sign(), "x-amz-date")).await, SignatureError::Date);
}

#[tokio::test]
async fn b08_a_request_with_date_alone_verifies() {
    use crate::sigv4::{AmzDate, Received, SignedHeaders, SigningKey, string_to_sign};
    let date = AmzDate::new(UtcInstant::from_second(NOW).unwrap());
    let names = "date;host;x-amz-content-sha256";
    for (written, fine) in [
        ("Sun, 22 Nov 2026 12:00:00 GMT", true),
        ("Sun, 22 Nov 2026 12:00:00 +0000", true),
        ("20261122T120000Z", true),
        ("Sun, 22 Nov 2026 12:00:01 GMT", false),
        ("Mon, 22 Nov 2026 12:00:00 GMT", false),
        ("1795348800", false),
    ] {
        let request = with_header(with_header(Request::new(()), "date", written), "x-amz-content-sha256", SHA);
        let request = with_header(edited(request, |_| "/bkt".to_owned()), "host", "gw.example");
        let headers = request.headers();
        let received = Received { method: "GET", path: "/bkt", query: "", host: "gw.example", headers };
        let hash = received.canonical_hash(&SignedHeaders::parse(names).unwrap(), SHA).unwrap();
        let key = SigningKey::derive(&Secret::new(SECRET), "us-east-1", &date);
        let signature = key.sign(&string_to_sign(&date, key.scope(), &hash));
        let credential = format!("{ID}/{}", key.scope());
        let authorization =
            format!("AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={signature}");
        let outcome = check(with_header(request, "authorization", &authorization)).await;
        assert_eq!(outcome.is_ok(), fine, "{written}: {:?}", outcome.err());
    }
}

#[tokio::test]
async fn b09_b10_the_host_is_the_one_that_was_sent() {
    let mut http2 = without_header(get().sign(), "host");
    *http2.version_mut() = http::Version::HTTP_2;
    let http2 = edited(http2, |uri| format!("http://gw.example{uri}"));
    assert!(check(http2).await.is_ok(), ":authority stands for Host");
    let both = edited(get().sign(), |uri| format!("http://other.example{uri}"));
    assert_eq!(refusal(both).await, SignatureError::Host);
    assert_eq!(refusal(with_header(get().sign(), "host", "gw.example")).await, SignatureError::Host);
    assert_eq!(refusal(without_header(get().sign(), "host")).await, SignatureError::Host);
    for other in ["gw.example:80", "GW.example", "gw.example.", "[::1]"] {
        let request = with_header(without_header(get().sign(), "host"), "host", other);
        assert_eq!(refusal(request).await, SignatureError::Mismatch, "{other}");
    }
    let proxied = || {
        let request = with_header(without_header(get().sign(), "host"), "host", "inside:8080");
        with_header(request, "x-forwarded-host", "gw.example")
    };
    assert_eq!(refusal(proxied()).await, SignatureError::Mismatch, "X-Forwarded-Host is not read");
    let configured = SigningSettings { host: Some("gw.example".to_owned()), ..SigningSettings::default() };
    assert!(check_with(configured, proxied(), [192, 0, 2, 1], true).await.is_ok());
}

#[tokio::test]
async fn b11_b12_b21_signed_headers_are_as_on_the_wire_and_unsigned_ones_may_come() {
    let headers = vec![
        ("content-length", "5"),
        ("connection", "keep-alive"),
        ("expect", "100-continue"),
        ("accept-encoding", "identity"),
        ("te", "trailers"),
        ("x-amz-meta-a", "a   b"),
    ];
    let ask = Ask { headers, ..put() };
    assert!(check(ask.sign()).await.is_ok());
    let names = ask.sign().headers()["authorization"].to_str().unwrap().to_owned();
    for name in ["connection", "expect", "te", "x-amz-meta-a"] {
        assert!(names.contains(name), "{name} is signed: {names}");
        let gone = SignatureError::HeaderGone(HeaderName::from_static(name));
        assert_eq!(refusal(without_header(ask.sign(), name)).await, gone);
        assert_eq!(refusal(with_header(ask.sign(), name, "x")).await, SignatureError::Mismatch, "{name} twice");
    }
    for (name, value) in [
        ("content-type", "text/plain"),
        ("amz-sdk-invocation-id", "1"),
        ("amz-sdk-request", "attempt=1"),
        ("x-amzn-trace-id", "1"),
        ("x-amz-user-agent", "sdk"),
        ("user-agent", "sdk"),
        ("x-forwarded-for", "192.0.2.7"),
    ] {
        assert!(check(with_header(put().sign(), name, value)).await.is_ok(), "{name}");
    }
}

#[tokio::test]
async fn c01_c02_c03_every_amz_header_must_be_signed() {
    let names = [
        "x-amz-copy-source",
        "x-amz-acl",
        "x-amz-grant-read",
        "x-amz-tagging",
        "x-amz-storage-class",
        "x-amz-website-redirect-location",
        "x-amz-server-side-encryption",
        "x-amz-server-side-encryption-customer-key",
        "x-amz-object-lock-mode",
        "x-amz-meta-a",
        "x-amz-metadata-directive",
        "x-amz-mfa",
        "x-amz-bypass-governance-retention",
        "x-amz-expected-bucket-owner",
        "x-amz-checksum-crc32",
        "x-amz-trailer",
        "x-amz-decoded-content-length",
        "x-amz-unheard-of",
    ];
    for name in names {
        for ask in [put(), presigned("PUT"), presigned("GET")] {
            let expected = SignatureError::NotSigned(HeaderName::from_static(name));
            assert_eq!(refusal(with_header(ask.sign(), name, "x")).await, expected);
        }
        for ask in [put(), presigned("PUT")] {
            let signed = Ask { headers: vec![("content-length", "5"), (name, "x")], ..ask };
            assert!(check(signed.sign()).await.is_ok(), "{name} is fine if it is signed");
        }
    }
    let token = refusal(with_header(put().sign(), "x-amz-security-token", "x")).await;
    assert_eq!(token, SignatureError::Token);
}

#[tokio::test]
async fn b17_a_session_token_beside_a_plain_key_is_refused() {
    assert_eq!(refusal(Ask { token: Some("t"), ..get() }.sign()).await, SignatureError::Token);
    assert_eq!(refusal(Ask { token: Some("t"), ..presigned("GET") }.sign()).await, SignatureError::Token);
    let twice = with_header(Ask { token: Some("t"), ..get() }.sign(), "x-amz-security-token", "t");
    assert_eq!(refusal(twice).await, SignatureError::Token);
}

#[tokio::test]
async fn strangers_do_not_push_keys_out_of_the_cache() {
    let any = SigningSettings { regions: Vec::new(), ..SigningSettings::default() };
    let gateway = authenticators(any);
    let ask = async |ask: Ask| {
        let (head, ()) = ask.sign().into_parts();
        let connection = ConnectionFacts::tcp(([192, 0, 2, 1], 1).into(), true);
        gateway.authenticate(Claim::parse(&head).unwrap(), &head, &connection).await.map(drop)
    };
    for region in ["a", "b", "c", "d"] {
        let forged = ask(Ask { region, secret: "another", ..get() }).await;
        assert_eq!(forged, Err(SignatureError::Mismatch.into()), "{region}");
    }
    assert_eq!(gateway.signatures.cached_keys(), 0);
    for _ in 0..2 {
        assert_eq!(ask(Ask { region: "a", ..get() }).await, Ok(()));
        assert_eq!(gateway.signatures.cached_keys(), 1);
    }
}

#[tokio::test]
async fn the_keys_of_jwts_are_not_kept() {
    let (issuer, _file) = with_keys(settings(), &[RSA.jwk("k1")]);
    let settings = Settings { issuers: vec![issuer], ..Settings::default() };
    let gateway = Authenticators::new(settings, Arc::new(TestClock)).unwrap();
    for number in 0..2 {
        let jwt: &str = Token::new().claim("number", number).sign(&RSA).leak();
        let (head, ()) = Ask { id: "jwt", secret: jwt, token: Some(jwt), ..get() }.sign().into_parts();
        let connection = ConnectionFacts::tcp(([192, 0, 2, 1], 1).into(), true);
        gateway.authenticate(Claim::parse(&head).unwrap(), &head, &connection).await.unwrap();
    }
    assert_eq!(gateway.signatures.cached_keys(), 0);
}

#[tokio::test]
async fn l01_no_debug_output_has_a_signature_or_a_session_token() {
    let token = "session-token-of-somebody";
    let ask = || Ask { token: Some(token), ..get() };
    for request in [ask().sign(), Ask { expires: Some(60), ..ask() }.sign()] {
        let sent = format!("{} {:?}", request.uri(), request.headers().get("authorization"));
        let (_, signature) = sent.split_once("Signature=").unwrap();
        let signature = &signature[..64];
        let claim = format!("{:?}", Claim::parse(&request.into_parts().0).unwrap());
        assert!(claim.contains(ID), "{claim}");
        assert!(!claim.contains(signature) && !claim.contains(token), "{claim}");
    }
    let request = Ask { payload: PAYLOADS[3], ..put() }.sign();
    let authorization = request.headers()["authorization"].to_str().unwrap().to_owned();
    let seed = authorization.split_once("Signature=").unwrap().1.to_owned();
    let authenticated = format!("{:?}", check(request).await.unwrap());
    assert!(!authenticated.contains(&seed), "{authenticated}");
}

#[tokio::test]
async fn b18_the_payload_hash_must_be_there_and_known() {
    assert_eq!(refusal(without_header(put().sign(), "x-amz-content-sha256")).await, SignatureError::NoPayloadHash);
    let twice = with_header(put().sign(), "x-amz-content-sha256", SHA);
    assert_eq!(refusal(twice).await, SignatureError::PayloadHash);
    for payload in ["", "x", &SHA[1..], "unsigned-payload", "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", "STREAMING-"] {
        let request =
            with_header(without_header(put().sign(), "x-amz-content-sha256"), "x-amz-content-sha256", payload);
        assert_eq!(refusal(request).await, SignatureError::PayloadHash, "{payload}");
    }
    for target in ["/bkt/a/x?X-Amz-Content-Sha256=unsigned-payload", "/bkt/a/x?X-Amz-Content-Sha256="] {
        let payload = target.split_once('=').unwrap().1;
        let refused = refusal(Ask { target, payload, ..presigned("PUT") }.sign()).await;
        assert_eq!(refused, SignatureError::PayloadHash, "{target}");
    }
    let capitals = "E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855";
    assert!(check(Ask { payload: capitals, ..put() }.sign()).await.is_ok());
}

#[tokio::test]
async fn b18_an_unsigned_body_is_accepted_where_nobody_can_change_it() {
    let far = [192, 0, 2, 1];
    let near = [127, 0, 0, 1];
    for payload in ["UNSIGNED-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"] {
        for (unsigned_payload, peer, tls, fine) in [
            (UnsignedPayload::Loopback, far, true, true),
            (UnsignedPayload::Loopback, far, false, false),
            (UnsignedPayload::Loopback, near, false, true),
            (UnsignedPayload::Tls, near, false, false),
            (UnsignedPayload::Tls, far, true, true),
            (UnsignedPayload::Anywhere, far, false, true),
        ] {
            let signing = SigningSettings { unsigned_payload, ..SigningSettings::default() };
            let outcome = check_with(signing, Ask { payload, ..put() }.sign(), peer, tls).await;
            let refused = matches!(outcome, Err(AuthError::Signature(SignatureError::UnsignedPayload)));
            assert_eq!((outcome.is_ok(), refused), (fine, !fine), "{unsigned_payload:?} {peer:?} {tls}");
        }
    }
    let signing = || SigningSettings { unsigned_payload: UnsignedPayload::Tls, ..SigningSettings::default() };
    let without_body = Ask { payload: "UNSIGNED-PAYLOAD", ..get() }.sign();
    assert!(check_with(signing(), without_body, far, false).await.is_ok(), "there is no body to change");
    let chunked = Ask { headers: vec![("transfer-encoding", "chunked")], payload: "UNSIGNED-PAYLOAD", ..put() };
    assert!(check_with(signing(), chunked.sign(), far, false).await.is_err());
    for payload in [SHA, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"] {
        assert!(check_with(signing(), Ask { payload, ..put() }.sign(), far, false).await.is_ok(), "{payload}");
    }
}

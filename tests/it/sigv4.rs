//! Requests signed with an access key of the gateway: what clients send, before real stores; what others make of it, before the recorder.

use std::process::Command;

use countersign::s3::Operation;
use countersign::s3::operation::{Body, Level, OperationSpec};
use serde_json::json;

use super::boto::{python, world};
use super::support::certs::Authority;
use super::support::raw::exchange;
use super::support::store::missing;
use super::support::{Answer, Gateway, Recorder, Setup, Store, StoreKind, pattern};

const RULES: &str = "
  - { name: own, who: { keys: [a] }, where: bkt/a/, what: [read, write, delete], limits: { max_size: 32MiB } }";

/// Every form of `x-amz-content-sha256` that is known.
const PAYLOADS: [&str; 5] = [
    "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
    "UNSIGNED-PAYLOAD",
    "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
];

async fn recorded() -> (Recorder, Gateway) {
    let recorder = Recorder::start(Answer::ok()).await;
    let gateway = Setup::before(&recorder).start().await;
    (recorder, gateway)
}

/// Runs a scenario of boto3 with an access key before each real store, in clear text and over TLS.
async fn boto_everywhere(scenario: &'static str) {
    let authority = Authority::new();
    let identity = authority.vouch_for(&["127.0.0.1"]);
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        for tls in [false, true] {
            let setup = store.setup().rules(RULES);
            let gateway = if tls { setup.tls(&identity).start().await } else { setup.start().await };
            let mut world = world(&gateway, tls.then_some(&authority));
            (world["id"], world["secret"]) = (json!(gateway.key_a.id), json!(gateway.key_a.secret));
            if python("boto.py", scenario, world).await {
                let records = gateway.records();
                assert!(!records.is_empty(), "{kind:?}");
                assert!(records.iter().all(|record| record.access_key_id.is_some()), "{kind:?}: {records:?}");
            }
        }
    }
}

#[tokio::test]
async fn boto3_with_a_key_puts_gets_lists_and_deletes() {
    boto_everywhere("objects").await;
}

#[tokio::test]
async fn boto3_with_a_key_transfers_large_files_in_parts() {
    boto_everywhere("transfers").await;
}

#[tokio::test]
async fn boto3_with_a_key_streams_large_files_with_every_checksum() {
    boto_everywhere("uploads").await;
}

#[tokio::test]
async fn boto3_with_a_key_deletes_in_batches() {
    boto_everywhere("batches").await;
}

#[tokio::test]
async fn b02_boto3_presigns_and_others_use_the_urls() {
    boto_everywhere("presigned").await;
}

#[tokio::test]
async fn a09_boto3_is_told_that_its_key_is_wrong_and_does_not_try_again() {
    boto_everywhere("keys").await;
}

#[tokio::test]
async fn b06_boto3_with_another_region_is_told_the_right_one_and_signs_again() {
    boto_everywhere("regions").await;
}

#[tokio::test]
async fn b09_curl_signs_what_it_uploads_and_downloads_with_http_1_and_http_2() {
    if Command::new("curl").arg("--version").output().is_err() {
        return missing("curl");
    }
    let authority = Authority::new();
    let identity = authority.vouch_for(&["127.0.0.1"]);
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let clear = store.setup().rules(RULES).start().await;
        curl_signs(&clear, None).await;
        let tls = store.setup().rules(RULES).tls(&identity).start().await;
        curl_signs(&tls, Some(&authority)).await;
    }
}

/// Over TLS curl speaks HTTP/2, where the host that is signed stands in `:authority`.
async fn curl_signs(gateway: &Gateway, authority: Option<&Authority>) {
    let folder = tempfile::tempdir().unwrap();
    let (file, copy) = (folder.path().join("file"), folder.path().join("copy"));
    std::fs::write(&file, pattern(100_000)).unwrap();
    let scheme = if authority.is_some() { "https" } else { "http" };
    let url = format!("{scheme}://{}/bkt/a/curl.bin", gateway.address);
    let user = format!("{}:{}", gateway.key_a.id, gateway.key_a.secret);
    // curl 7.88 does not send the hash by itself.
    let empty = "x-amz-content-sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let (file, copied) = (file.to_str().unwrap(), copy.to_str().unwrap());
    for arguments in [
        ["-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD", "-T", file],
        ["-H", empty, "-o", copied],
        ["-H", empty, "-X", "DELETE"],
    ] {
        let mut command = Command::new("curl");
        command.args(["-sS", "--noproxy", "*", "--max-time", "60", "--fail-with-body", "-w", "\nHTTP/%{http_version}"]);
        command.args(["--aws-sigv4", "aws:amz:us-east-1:s3", "--user", &user]).args(arguments).arg(&url);
        if let Some(authority) = authority {
            command.arg("--cacert").arg(authority.file());
        }
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}");
        assert!(text.ends_with(if authority.is_some() { "HTTP/2" } else { "HTTP/1.1" }), "{text}");
    }
    assert_eq!(std::fs::read(&copy).unwrap(), pattern(100_000));
}

/// A request that is this operation.
fn target(spec: &OperationSpec) -> String {
    let path = match spec.level {
        Level::Service => "/",
        Level::Bucket => "/bkt",
        Level::Object => "/bkt/a/x",
    };
    let query: Vec<_> =
        spec.required_query.iter().map(|(name, value)| format!("{name}={}", value.unwrap_or("1"))).collect();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{}", query.join("&")) }
}

#[tokio::test]
async fn a01_a02_a04_a_forged_signature_is_refused_for_every_operation_and_payload_and_the_store_hears_nothing() {
    let recorder = Recorder::start(Answer::ok()).await;
    let everything = "\n  - { name: all, who: anyone, where: \"*\", what: \"s3:*\" }\n  - { name: bkt, who: anyone, where: bkt, what: \"s3:*\" }";
    let gateway = Setup::before(&recorder).whole_store().rules(everything).start().await;
    let key = &gateway.key_a;
    let mut asked = 0;
    for spec in Operation::all().filter(|spec| !spec.shadowed) {
        let (target, method) = (target(spec), spec.method);
        let body: &[u8] = if spec.body == Body::None { b"" } else { b"hello" };
        let headers: Vec<_> = spec.required_headers.iter().map(|name| (*name, "/bkt/a/y")).collect();
        let in_header = PAYLOADS.map(|payload| key.payload(payload).sign(method, &target, &headers, body));
        let in_query = key.presign(method, &target, &headers, 60);
        for request in in_header.into_iter().chain([in_query]) {
            let answer = key.send(&request.clone().forged(), body.to_vec()).await;
            let code = if method == "HEAD" { "" } else { "SignatureDoesNotMatch" };
            assert_eq!(answer.outcome(), (403, code.to_owned()), "{} {request:?}", spec.name);
            asked += 1;
        }
    }
    assert!(asked > 500, "{asked}");
    assert!(recorder.is_silent(), "{:?}", recorder.requests());
    // That the genuine ones are understood is what makes the forged ones a test.
    let genuine = key.sign("PUT", "/bkt/a/x", &[], b"hello");
    assert_eq!(key.send(&genuine, "hello").await.status, 200);
    assert_eq!(recorder.only().request_line(), "PUT /up-bkt/a/x");
}

#[tokio::test]
async fn a01_a_payload_form_that_is_not_known_is_refused() {
    let (recorder, gateway) = recorded().await;
    for payload in ["STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", "streaming-unsigned-payload-trailer", "0"] {
        let answer = gateway.key_a.payload(payload).ask("PUT", "/bkt/a/x", &[], b"hello").await;
        assert_eq!(answer.outcome(), (400, "InvalidArgument".into()), "{payload}");
    }
    assert!(recorder.is_silent());
}

#[tokio::test]
async fn a03_a_signed_header_of_a_vendor_does_not_reach_the_store() {
    let (recorder, gateway) = recorded().await;
    let headers = [
        ("x-amz-meta-x-minio-extract", "true"),
        ("x-minio-extract", "true"),
        ("x-amz-meta-snowball-auto-extract", "true"),
    ];
    let forged = gateway.key_a.sign("PUT", "/bkt/a/x", &headers, b"hello").forged();
    assert_eq!(gateway.key_a.send(&forged, "hello").await.outcome(), (403, "SignatureDoesNotMatch".into()));
    assert_eq!(
        gateway.key_a.ask("PUT", "/bkt/a/x", &headers[..1], b"hello").await.outcome(),
        (400, "InvalidArgument".into())
    );
    assert!(recorder.is_silent());
    assert_eq!(gateway.key_a.ask("PUT", "/bkt/a/x", &headers[1..2], b"hello").await.status, 200);
    assert_eq!(recorder.only().header("x-minio-extract"), "");
}

#[tokio::test]
async fn a05_a06_two_credentials_are_refused_in_every_combination() {
    let (recorder, gateway) = recorded().await;
    let key = &gateway.key_a;
    let bearer = format!("Bearer {}", gateway.a.token);
    let (header, query) = (key.sign("GET", "/bkt/a/x", &[], b""), key.presign("GET", "/bkt/a/x", &[], 60));
    let signed = header.headers.iter().find(|(name, _)| name == "authorization").unwrap().1.clone();
    let version_2 = key.sign("GET", "/bkt/a/x?AWSAccessKeyId=a&Signature=b&Expires=1", &[], b"");
    for request in [
        query.clone().with("authorization", &signed),
        query.clone().with("authorization", &bearer),
        header.clone().with("authorization", &signed),
        header.clone().with("Authorization", &bearer),
        header.clone().forged().with("AUTHORIZATION", &signed),
        version_2,
    ] {
        let answer = key.send(&request, "").await;
        assert_eq!(answer.outcome(), (400, "InvalidArgument".into()), "{request:?}");
    }
    assert!(recorder.is_silent());
    assert_eq!((key.send(&header, "").await.status.as_u16(), key.send(&query, "").await.status.as_u16()), (200, 200));
}

#[tokio::test]
async fn c01_a_presigned_upload_does_not_become_a_copy() {
    let (recorder, gateway) = recorded().await;
    let url = gateway.key_a.presign("PUT", "/bkt/a/x", &[], 60);
    for source in ["/bkt/b/secret", "/bkt/a/y"] {
        let answer = gateway.key_a.send(&url.clone().with("x-amz-copy-source", source), "").await;
        assert_eq!(answer.outcome(), (403, "AccessDenied".into()), "{source}");
        assert!(answer.text().contains("not signed: x-amz-copy-source"), "{}", answer.text());
    }
    let header = gateway.key_a.sign("PUT", "/bkt/a/x", &[], b"").with("X-Amz-Copy-Source", "/bkt/a/y");
    assert_eq!(gateway.key_a.send(&header, "").await.outcome(), (403, "AccessDenied".into()));
    assert!(recorder.is_silent());
}

#[tokio::test]
async fn b16_values_in_a_presigned_query_meet_the_rules_about_headers() {
    let (recorder, gateway) = recorded().await;
    let key = &gateway.key_a;
    for (query, outcome) in [
        ("x-amz-acl=public-read", (403, "AccessDenied")),
        ("x-amz-storage-class=GLACIER", (403, "AccessDenied")),
        ("x-amz-copy-source=%2Fbkt%2Fb%2Fsecret", (403, "AccessDenied")),
        ("X-Amz-Expected-Bucket-Owner=1", (400, "InvalidArgument")),
        ("x-amz-unheard-of=1", (400, "InvalidArgument")),
    ] {
        let url = key.presign("PUT", &format!("/bkt/a/x?{query}"), &[], 60);
        assert_eq!(key.send(&url, "").await.outcome(), (outcome.0, outcome.1.to_owned()), "{query}");
    }
    assert!(recorder.is_silent());
    let url = key.presign("PUT", "/bkt/a/x?x-amz-meta-note=n%201&x-amz-acl=private&x-id=PutObject", &[], 60);
    let answer = key.send(&url, "hello").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let sent = recorder.only();
    assert_eq!((sent.request_line().as_str(), sent.header("x-amz-meta-note").as_str()), ("PUT /up-bkt/a/x", "n 1"));
}

#[tokio::test]
async fn c06_a_presigned_url_cannot_promise_signed_chunks() {
    let (recorder, gateway) = recorded().await;
    for payload in &PAYLOADS[3..] {
        let target = format!("/bkt/a/x?X-Amz-Content-Sha256={payload}&x-amz-decoded-content-length=5");
        let url = gateway.key_a.payload(payload).presign("PUT", &target, &[], 60);
        let answer = gateway.key_a.send(&url, "5;chunk-signature=0\r\nhello\r\n0\r\n\r\n").await;
        assert!(matches!(answer.status.as_u16(), 400 | 403 | 501), "{payload}: {}", answer.text());
    }
    assert!(recorder.nothing_committed(), "{:?}", recorder.requests());
}

#[tokio::test]
async fn b17_d28_d29_nothing_of_the_clients_credential_reaches_the_store() {
    let (recorder, gateway) = recorded().await;
    let key = &gateway.key_a;
    assert_eq!(
        key.send(&key.presign("GET", "/bkt/a/x?versionId=1", &[], 60), "").await.outcome(),
        (403, "AccessDenied".into())
    );
    assert!(recorder.is_silent(), "versions need a right of their own");
    assert_eq!(key.send(&key.presign("GET", "/bkt/a/x?x-id=GetObject", &[], 60), "").await.status, 200);
    assert_eq!(key.ask("GET", "/bkt/a/x", &[], b"").await.status, 200);
    for sent in recorder.requests() {
        assert_eq!(sent.request_line(), "GET /up-bkt/a/x");
        let text = format!("{sent:?}").to_lowercase();
        assert_eq!(text.matches("aws4-hmac-sha256").count(), 1, "{text}");
        assert!(text.contains("recorder-access-key") && !text.contains(&key.id.to_lowercase()), "{text}");
        assert!(!text.contains("x-amz-signature") && !text.contains("x-amz-security-token"), "{text}");
    }
}

#[tokio::test]
async fn b17_a_session_token_in_a_signed_header_of_a_presigned_url_is_refused() {
    let (recorder, gateway) = recorded().await;
    let url = gateway.key_a.presign("GET", "/bkt/a/x", &[("x-amz-security-token", "t")], 60);
    assert_eq!(gateway.key_a.send(&url, "").await.outcome(), (403, "InvalidToken".into()));
    assert!(recorder.is_silent());
}

#[tokio::test]
async fn a10_b06_who_is_told_the_region_has_not_failed_to_authenticate() {
    let recorder = Recorder::start(Answer::ok()).await;
    let setup = Setup::before(&recorder).signing("{ regions: eu-1 }");
    let gateway = setup.limits("{ failed_authentications: { rate: 1, burst: 1 } }").start().await;
    for _ in 0..5 {
        let told = gateway.key_a.ask("GET", "/bkt/a/x", &[], b"").await;
        assert_eq!(told.outcome(), (400, "AuthorizationHeaderMalformed".into()));
        assert_eq!(told.element("Region"), "eu-1");
    }
    assert!(recorder.is_silent());
}

#[tokio::test]
async fn b13_b19_a_body_that_does_not_fit_the_signed_hash_is_not_stored() {
    let (recorder, gateway) = recorded().await;
    let key = &gateway.key_a;
    let sha = PAYLOADS[0];
    let url = format!("/bkt/a/x?X-Amz-Content-Sha256={sha}");
    let in_query = key.payload(sha).presign("PUT", &url, &[], 60);
    let large = pattern(3 << 20);
    for (request, body) in [
        (key.payload(sha).sign("PUT", "/bkt/a/x", &[], b""), &b"hullo"[..]),
        (in_query.clone(), &b"hullo"[..]),
        (in_query.clone(), &large[..]),
        (key.payload(sha).sign("PUT", "/bkt/a/x", &[], b""), &large[..]),
    ] {
        let answer = key.send(&request, body.to_vec()).await;
        assert_eq!(answer.outcome(), (400, "XAmzContentSHA256Mismatch".into()), "{request:?}");
    }
    assert!(recorder.nothing_committed());
    assert_eq!(key.send(&in_query, "hello").await.status, 200);
}

#[tokio::test]
async fn b18_a_list_of_parts_must_fit_the_signed_hash() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let gateway = store.setup().rules(RULES).start().await;
        let key = &gateway.key_a;
        let begun = key.ask("POST", "/bkt/a/listed?uploads", &[], b"").await.element("UploadId");
        let id = countersign::base::encoding::encode_query(&begun);
        let part = key.ask("PUT", &format!("/bkt/a/listed?partNumber=1&uploadId={id}"), &[], b"hello").await;
        let list = |etag: &str| {
            format!(
                "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
            )
        };
        let (good, other) = (list(part.header("etag")), list("\"0\""));
        let target = format!("/bkt/a/listed?uploadId={id}");
        let signed = key.sign("POST", &target, &[], good.as_bytes());
        let refused = key.send(&signed, other).await;
        assert_eq!(refused.outcome(), (400, "XAmzContentSHA256Mismatch".into()), "{kind:?}");
        assert_eq!(store.read("a/listed").await, None, "{kind:?}");
        assert_eq!(key.send(&signed, good).await.status, 200, "{kind:?}");
    }
}

#[tokio::test]
async fn b19_a_wrong_signature_is_refused_by_the_head_alone() {
    let (recorder, gateway) = recorded().await;
    let forged = gateway.key_a.payload("UNSIGNED-PAYLOAD").sign("PUT", "/bkt/a/x", &[], b"").forged();
    let forged = forged.with("expect", "100-continue").with("content-length", "5368709120");
    let head: String = forged.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let text = format!("PUT {} HTTP/1.1\r\nhost: {}\r\n{head}\r\n", forged.target, gateway.address);
    let answer = exchange(gateway.address, text.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert!(recorder.is_silent());
    assert_eq!(gateway.record(1).await.bytes_in, 0);
}

#[tokio::test]
async fn b14_b15_a_presigned_url_is_good_for_one_request_and_for_its_time() {
    let (recorder, gateway) = recorded().await;
    let key = &gateway.key_a;
    let old = super::support::SignedClient { age: 120, ..key.clone() };
    let expired = key.send(&old.presign("GET", "/bkt/a/x", &[], 60), "").await;
    assert_eq!(expired.outcome(), (403, "AccessDenied".into()));
    assert!(expired.text().contains("Request has expired"), "{}", expired.text());
    let url = key.presign("GET", "/bkt/a/x", &[], 60);
    let other_method = super::support::signed::SignedRequest { method: "DELETE".into(), ..url.clone() };
    assert_eq!(key.send(&other_method, "").await.outcome(), (403, "SignatureDoesNotMatch".into()));
    for added in ["acl", "versionId=1", "response-content-type=text%2Fhtml", "partNumber=1", "X-Amz-Signature=0"] {
        let added_to =
            super::support::signed::SignedRequest { target: format!("{}&{added}", url.target), ..url.clone() };
        let status = key.send(&added_to, "").await.status.as_u16();
        assert!([400, 403].contains(&status), "{added}: {status}");
    }
    assert!(recorder.is_silent());
    let skewed = super::support::SignedClient { age: 960, ..key.clone() };
    assert_eq!(skewed.ask("GET", "/bkt/a/x", &[], b"").await.outcome(), (403, "RequestTimeTooSkewed".into()));
    let lower = Setup::before(&recorder).signing("{ presigned_expiry: 1m }").start().await;
    let longer = lower.key_a.presign("GET", "/bkt/a/x", &[], 61);
    assert_eq!(lower.key_a.send(&longer, "").await.outcome(), (400, "AuthorizationQueryParametersError".into()));
    assert!(recorder.is_silent());
    assert_eq!(lower.key_a.send(&lower.key_a.presign("GET", "/bkt/a/x", &[], 60), "").await.status, 200);
}

#[tokio::test]
async fn b18_unsigned_bodies_in_clear_text_are_refused_where_they_are_not_configured() {
    let recorder = Recorder::start(Answer::ok()).await;
    let strict = Setup::before(&recorder).signing("{ unsigned_payload: tls }").start().await;
    let refused = strict.key_a.payload("UNSIGNED-PAYLOAD").ask("PUT", "/bkt/a/x", &[], b"hello").await;
    assert_eq!(refused.outcome(), (403, "AccessDenied".into()));
    assert!(recorder.is_silent());
    assert_eq!(strict.key_a.ask("PUT", "/bkt/a/x", &[], b"hello").await.status, 200, "the hash is signed");
}

#[tokio::test]
async fn b22_a_rule_may_want_the_bytes_signed() {
    let recorder = Recorder::start(Answer::ok()).await;
    let rules = "
  - { name: own, who: { keys: [a], tokens: [a] }, where: bkt/a/, what: [read, write], content: { signed_payload: true } }";
    let gateway = Setup::before(&recorder).rules(rules).start().await;
    let key = &gateway.key_a;
    let unsigned = [
        key.payload("UNSIGNED-PAYLOAD").ask("PUT", "/bkt/a/x", &[], b"hello").await,
        key.payload("UNSIGNED-PAYLOAD").ask("PUT", "/bkt/a/x?partNumber=1&uploadId=1", &[], b"hello").await,
        key.send(&key.presign("PUT", "/bkt/a/x", &[], 60), "hello").await,
        gateway.a.put("/bkt/a/x", &[("x-amz-content-sha256", PAYLOADS[0])], "hello").await,
    ];
    for answer in unsigned {
        assert_eq!(answer.outcome(), (403, "AccessDenied".into()), "{}", answer.text());
    }
    assert!(recorder.is_silent());
    let in_query = format!("/bkt/a/x?X-Amz-Content-Sha256={}", PAYLOADS[0]);
    let presigned = key.payload(PAYLOADS[0]).presign("PUT", &in_query, &[], 60);
    assert_eq!(key.send(&presigned, "hello").await.status, 200);
    assert_eq!(key.ask("PUT", "/bkt/a/x", &[], b"hello").await.status, 200);
    assert_eq!(gateway.a.get("/bkt/a/x").await.status, 200, "only uploads have bytes to sign");
}

#[tokio::test]
async fn b22_a_signed_request_may_come_again_in_its_time() {
    let (recorder, gateway) = recorded().await;
    let request = gateway.key_a.sign("PUT", "/bkt/a/x", &[], b"hello");
    for _ in 0..2 {
        assert_eq!(gateway.key_a.send(&request, "hello").await.status, 200);
    }
    assert_eq!(recorder.requests().len(), 2, "SigV4 has no nonce; see docs/AUTHENTICATION.md");
}

#[tokio::test]
async fn c04_c05_headers_that_the_holder_of_a_url_adds_meet_the_rules() {
    let recorder = Recorder::start(Answer::ok()).await;
    let rules = "
  - name: images
    who: { keys: [a] }
    where: bkt/a/
    what: [read, write]
    content: { types: [image/png] }
    headers: { allow: [cache-control] }";
    let gateway = Setup::before(&recorder).rules(rules).start().await;
    let key = &gateway.key_a;
    let url = key.presign("PUT", "/bkt/a/x.png", &[], 60).with("content-type", "image/png");
    let html = key.presign("PUT", "/bkt/a/x.png", &[], 60).with("content-type", "text/html");
    assert_eq!(key.send(&html, "<html>").await.outcome(), (403, "AccessDenied".into()));
    for (name, value) in
        [("content-encoding", "gzip"), ("content-disposition", "inline"), ("content-language", "en"), ("expires", "0")]
    {
        let answer = key.send(&url.clone().with(name, value), "x").await;
        assert_eq!(answer.outcome(), (403, "AccessDenied".into()), "{name}");
        assert!(answer.text().contains(name), "{}", answer.text());
    }
    let chunked = key.send(&url.clone().with("content-encoding", "aws-chunked"), "5\r\nhello\r\n0\r\n\r\n").await;
    assert_eq!(chunked.outcome(), (400, "InvalidArgument".into()), "it must not switch the reader of the body");
    assert!(recorder.is_silent());
    let png = [&b"\x89PNG\r\n\x1a\n"[..], &[0; 64]].concat();
    let answer = key.send(&url.with("cache-control", "no-store"), png).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(recorder.only().header("cache-control"), "no-store", "the rule allows it");
}

#[tokio::test]
async fn e04_a_key_is_held_to_its_rules_like_every_caller() {
    let (recorder, gateway) = recorded().await;
    for (method, target) in [
        ("GET", "/bkt/b/x"),
        ("PUT", "/bkt/b/x"),
        ("DELETE", "/bkt/ab"),
        ("GET", "/other/x"),
        ("GET", "/bkt/a%2f..%2fb/x"),
    ] {
        let answer = gateway.key_a.ask(method, target, &[], b"").await;
        assert!([400, 403].contains(&answer.status.as_u16()), "{method} {target}: {}", answer.status);
    }
    let of_b = gateway.key_b.presign("GET", "/bkt/a/x", &[], 60);
    assert_eq!(gateway.key_b.send(&of_b, "").await.outcome(), (403, "AccessDenied".into()));
    assert!(recorder.is_silent());
    let mut other_encoding = gateway.key_a.sign("GET", "/bkt/a/x", &[], b"");
    other_encoding.target = "/bkt/%61%2fx".to_owned();
    assert_eq!(gateway.key_a.send(&other_encoding, "").await.status, 200, "the same key in another encoding");
    assert_eq!(recorder.only().request_line(), "GET /up-bkt/a/x");
}

#[tokio::test]
async fn l01_the_audit_names_the_key_and_never_a_secret_or_a_signature() {
    let (_recorder, gateway) = recorded().await;
    let key = &gateway.key_a;
    key.ask("GET", "/bkt/a/x", &[], b"").await;
    key.send(&key.presign("GET", "/bkt/a/x", &[], 60), "").await;
    let forged = key.presign("GET", "/bkt/a/x", &[], 60).forged();
    let answer = key.send(&forged, "").await;
    gateway.record(3).await;
    let records = gateway.records();
    for record in &records {
        assert_eq!(record.access_key_id.as_deref(), Some(key.id.as_str()));
        let text = serde_json::to_string(record).unwrap();
        assert!(
            !text.contains(&key.secret) && !text.contains("X-Amz-Signature") && !text.contains(&"0".repeat(64)),
            "{text}"
        );
    }
    let told: Vec<_> = records.iter().map(|record| (record.principal.as_deref(), record.scheme)).collect();
    assert_eq!(told, [(Some("key:a"), Some("access_key")), (Some("key:a"), Some("access_key")), (None, None)]);
    let words = answer.text();
    assert!(!words.contains("StringToSign") && !words.contains(&key.id), "{words}");
}

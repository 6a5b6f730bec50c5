//! L10, L01: every request leaves one record that says who, what, by which rule, how it ended and how much moved; none holds a secret.

use std::collections::HashSet;

use countersign::audit::{Decision, Outcome, Record};

use super::hostile::Wire;
use super::support::recorder::response;
use super::support::{Answer, Gateway, Recorder, Setup};

/// Principal, operation, key, decision and rule.
type Decided<'a> = (Option<&'a str>, Option<&'a str>, Option<&'a str>, Option<Decision>, Option<&'a str>);

/// What a record says of who, what and by which rule.
fn decision(record: &Record) -> Decided<'_> {
    (record.principal.as_deref(), record.operation, record.key.as_deref(), record.decision, record.rule.as_deref())
}

/// What a record says of how it ended.
fn end(record: &Record) -> (Outcome, Option<u16>, Option<&str>) {
    (record.outcome, record.status, record.code)
}

async fn start(answer: Answer) -> (Recorder, Gateway) {
    let recorder = Recorder::start(answer).await;
    let gateway = Setup::before(&recorder).start().await;
    (recorder, gateway)
}

const ALLOW: Option<Decision> = Some(Decision::Allow);
const DENY: Option<Decision> = Some(Decision::Deny);

#[tokio::test]
async fn l10_a_served_request_is_recorded_with_everything_known_of_it() {
    let (_recorder, gateway) = start(Answer::status(200, "", "0123456789")).await;
    let got = gateway.a.get("/bkt/a/%C3%BC%20%22x%22").await;
    let record = gateway.record(1).await;
    assert_eq!(decision(&record), (Some("token:a"), Some("GetObject"), Some("a/ü \"x\""), ALLOW, Some("tenant-a")));
    assert_eq!(end(&record), (Outcome::Ok, Some(200), None));
    assert_eq!((record.scheme, record.bucket.as_deref()), (Some("app_token"), Some("bkt")));
    assert_eq!((record.method.as_str(), record.client.as_str(), record.tls), ("GET", "127.0.0.1", false));
    assert_eq!((record.upstream.as_deref(), record.upstream_status), (Some("store"), Some(200)));
    assert_eq!((record.bytes_in, record.bytes_out, record.reason), (0, 10, None));
    assert_eq!(record.request_id, got.header("x-amz-request-id"));
    assert!(record.time.len() == "2026-01-01T00:00:00.000Z".len() && record.time.ends_with('Z'), "{}", record.time);
    assert!(record.upstream_ms.is_some_and(|ms| ms > 0.0 && ms <= record.duration_ms));
}

#[tokio::test]
async fn l10_each_operation_is_recorded_by_its_name() {
    let (recorder, gateway) = start(Answer::ok()).await;
    let listing = "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>";
    for (n, (method, target, operation, key, rule)) in [
        ("PUT", "/bkt/a/x", "PutObject", Some("a/x"), "tenant-a"),
        ("HEAD", "/bkt/a/x", "HeadObject", Some("a/x"), "tenant-a"),
        ("DELETE", "/bkt/a/x", "DeleteObject", Some("a/x"), "tenant-a"),
        ("HEAD", "/bkt", "HeadBucket", None, "tenant-a"),
        ("GET", "/bkt?location", "GetBucketLocation", None, "tenant-a"),
        ("GET", "/", "ListBuckets", None, "(visible buckets)"),
        ("GET", "/bkt?list-type=2&prefix=a/", "ListObjectsV2", Some("a/"), "tenant-a"),
    ]
    .into_iter()
    .enumerate()
    {
        if operation == "ListObjectsV2" {
            recorder.answer(Answer::status(200, "", listing));
        }
        gateway.a.send(method, target, &[], "").await;
        let record = gateway.record(n + 1).await;
        assert_eq!(decision(&record), (Some("token:a"), Some(operation), key, ALLOW, Some(rule)), "{target}");
        assert_eq!(end(&record), (Outcome::Ok, Some(200), None), "{target}");
        let asked = !matches!(operation, "ListBuckets" | "GetBucketLocation");
        assert_eq!(record.upstream.is_some(), asked, "{target}");
    }
}

#[tokio::test]
async fn l10_a_refused_request_is_recorded_with_who_asked_and_why_not() {
    let rules = "
  - { name: mine, who: { tokens: [a] }, where: bkt/a/, what: [read, write], limits: { max_size: 5B }, content: { types: text/plain, check_bytes: true } }
  - { name: never, effect: deny, who: anyone, where: bkt/a/no/, what: \"s3:*\" }";
    let wire = Wire::with_rules(rules).await;
    let text = "content-type: text/plain\r\n";
    let length = |length: usize| format!("{text}content-length: {length}\r\n");
    for (n, (line, fields, body, expected, seen, because)) in [
        (
            "GET /bkt/b/x",
            String::new(),
            "",
            (Some("GetObject"), Some("b/x"), DENY, None),
            (403, "AccessDenied"),
            "no rule allows s3:GetObject",
        ),
        (
            "GET /bkt/a/no/x",
            String::new(),
            "",
            (Some("GetObject"), Some("a/no/x"), DENY, Some("never")),
            (403, "AccessDenied"),
            "rule `never` denies",
        ),
        (
            "GET /other/a/x",
            String::new(),
            "",
            (None, Some("a/x"), None, None),
            (403, "AccessDenied"),
            "`other` is not configured",
        ),
        ("GET /bkt/a/../x", String::new(), "", (None, Some("a/../x"), None, None), (400, "InvalidURI"), "segment"),
        (
            "GET /bkt/a/x?annotation",
            String::new(),
            "",
            (Some("ListObjectAnnotations"), Some("a/x"), None, None),
            (501, "NotImplemented"),
            "ListObjectAnnotations",
        ),
        (
            "GET /bkt?list-type=2&prefix=b/",
            String::new(),
            "",
            (Some("ListObjectsV2"), Some("b/"), DENY, None),
            (403, "AccessDenied"),
            "s3:ListBucket",
        ),
        (
            "PUT /bkt/a/x",
            length(5) + "x-amz-acl: public-read\r\n",
            "hello",
            (Some("PutObject"), Some("a/x"), DENY, None),
            (403, "AccessDenied"),
            "s3:PutObjectAcl",
        ),
        (
            "PUT /bkt/a/x",
            length(5) + "x-amz-storage-class: G\r\n",
            "hello",
            (Some("PutObject"), Some("a/x"), DENY, Some("mine")),
            (403, "AccessDenied"),
            "x-amz-storage-class",
        ),
        (
            "PUT /bkt/a/x",
            length(6),
            "hello!",
            (Some("PutObject"), Some("a/x"), ALLOW, Some("mine")),
            (400, "EntityTooLarge"),
            "6 bytes",
        ),
        (
            "PUT /bkt/a/x",
            "content-length: 1\r\n".to_owned(),
            "x",
            (Some("PutObject"), Some("a/x"), ALLOW, Some("mine")),
            (403, "AccessDenied"),
            "content type",
        ),
        (
            "PUT /bkt/a/x",
            length(5),
            "<html",
            (Some("PutObject"), Some("a/x"), ALLOW, Some("mine")),
            (403, "AccessDenied"),
            "markup",
        ),
        (
            "PUT /bkt/a/x",
            length(5) + "content-md5: AAAAAAAAAAAAAAAAAAAAAA==\r\n",
            "hello",
            (Some("PutObject"), Some("a/x"), ALLOW, Some("mine")),
            (400, "BadDigest"),
            "Content-MD5",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let reply = wire.ask(wire.head(line, &format!("connection: close\r\n{fields}")) + body).await;
        let record = wire.gateway.record(n + 1).await;
        let (operation, key, verdict, rule) = expected;
        assert_eq!(decision(&record), (Some("token:a"), operation, key, verdict, rule), "{line}");
        assert_eq!(end(&record), (Outcome::Refused, Some(seen.0), Some(seen.1)), "{line}: {record:?}");
        assert!(record.reason.as_deref().is_some_and(|reason| reason.contains(because)), "{line}: {record:?}");
        assert!(reply.text.contains(&record.request_id), "{line}");
        assert_eq!((record.upstream, record.upstream_status), (None, None), "{line}");
    }
    assert!(wire.recorder.is_silent());
}

#[tokio::test]
async fn l10_who_is_not_known_is_not_named() {
    let wire = Wire::start().await;
    for (n, (credential, status, code, reason)) in [
        ("", 401, "AccessDenied", "no credential"),
        ("authorization: Bearer x\r\n", 401, "InvalidToken", "unknown token"),
        ("authorization: Bearer a b\r\n", 401, "InvalidToken", "malformed"),
        ("authorization: Basic dTpw\r\n", 501, "NotImplemented", "basic"),
        ("authorization: Bearer x\r\nauthorization: Bearer y\r\n", 400, "InvalidArgument", "more than one"),
        ("content-length: 1\r\ntransfer-encoding: chunked\r\n", 400, "InvalidRequest", "together"),
    ]
    .into_iter()
    .enumerate()
    {
        wire.ask(format!("GET /bkt/a/x HTTP/1.1\r\nhost: gw\r\nconnection: close\r\n{credential}\r\n")).await;
        let record = wire.gateway.record(n + 1).await;
        assert_eq!(decision(&record), (None, None, None, None, None), "{credential}");
        assert_eq!(end(&record), (Outcome::Refused, Some(status), Some(code)), "{credential}");
        assert!(record.reason.as_deref().is_some_and(|text| text.contains(reason)), "{credential}: {record:?}");
    }
}

#[tokio::test]
async fn l10_a_request_that_was_not_understood_is_recorded_with_what_its_target_says() {
    let wire = Wire::start().await;
    let long = "k".repeat(2000);
    for (n, (line, fields, operation, bucket, key)) in [
        ("POST /bkt/a/x?select&select-type=2", "", Some("SelectObjectContent"), Some("bkt"), Some("a/x")),
        ("GET /bkt?session", "", Some("CreateSession"), Some("bkt"), None),
        ("GET /other/a/%C3%BC", "", None, Some("other"), Some("a/ü")),
        ("GET /bkt/a/x?a=1&a=2", "", None, Some("bkt"), Some("a/x")),
        ("GET //a/x", "", None, None, Some("a/x")),
        ("GET /bkt/a/%zz", "", None, None, None),
        (&format!("GET /bkt/{long}"), "", None, Some("bkt"), Some(&long[..1024])),
        (&format!("GET /{long}"), "", None, Some(&long[..1024]), None),
    ]
    .into_iter()
    .enumerate()
    {
        wire.ask(wire.head(line, &format!("connection: close\r\n{fields}"))).await;
        let record = wire.gateway.record(n + 1).await;
        assert_eq!((record.operation, record.bucket.as_deref(), record.key.as_deref()), (operation, bucket, key));
        assert_eq!((record.outcome, record.decision), (Outcome::Refused, None), "{line}");
    }
    let metrics = wire.gateway.ask_admin("/metrics").await.text();
    assert!(metrics.contains("operation=\"SelectObjectContent\",outcome=\"refused\"") && !metrics.contains("other"));
}

#[tokio::test]
async fn l10_a_target_that_is_too_long_is_recorded() {
    let wire = Wire::start().await;
    let reply = wire.ask(wire.head(&format!("GET /bkt/a/{}", "k".repeat(8 << 10)), "connection: close\r\n")).await;
    assert!(reply.status == 414 && reply.text.contains("<Code>InvalidURI</Code>"), "{reply:?}");
    let record = wire.gateway.record(1).await;
    assert_eq!(end(&record), (Outcome::Refused, Some(414), Some("InvalidURI")));
    assert!(record.reason.is_some_and(|reason| reason.contains("longer")));
    assert!(reply.text.contains(&record.request_id) && wire.recorder.is_silent());
}

#[tokio::test]
async fn l10_a_head_that_nobody_can_read_is_recorded_without_its_words() {
    let wire = Wire::start().await;
    let token = &wire.gateway.a.token;
    let heads = [
        (wire.head("GET /bkt/a/x", &format!("x: {}\r\n", "y".repeat(64_000))), 431, "RequestHeaderSectionTooLarge"),
        (wire.head("GET /bkt/a/x", &"x: y\r\n".repeat(101)), 431, "RequestHeaderSectionTooLarge"),
        (wire.head("GET /bkt/a/x", "no colon\r\n"), 400, "InvalidRequest"),
        (format!("GET /bkt/a/{token} HTTP/9.9\r\n\r\n"), 400, "InvalidRequest"),
    ];
    for (n, (head, status, code)) in heads.into_iter().enumerate() {
        let reply = wire.ask(head).await;
        assert!(reply.closed && reply.status == status, "{reply:?}");
        let record = wire.gateway.record(n + 1).await;
        assert_eq!(end(&record), (Outcome::Refused, Some(status), Some(code)), "{record:?}");
        assert!(!record.request_id.is_empty() && record.client == "127.0.0.1");
        assert!(record.reason.as_deref().is_some_and(|reason| !reason.is_empty() && !reason.contains(token)));
        assert_eq!(decision(&record), (None, None, None, None, None));
    }
    assert!(wire.recorder.is_silent());
}

#[tokio::test]
async fn l10_a_reason_never_holds_more_than_a_line_of_what_the_client_sent() {
    let wire = Wire::start().await;
    let long = "k".repeat(7000);
    for (n, (line, fields)) in [
        (format!("GET /bkt/a/x?{long}"), String::new()),
        ("GET /bkt/a/x".to_owned(), format!("connection: {long}\r\n{long}: 1\r\n")),
    ]
    .into_iter()
    .enumerate()
    {
        wire.ask(wire.head(&line, &fields)).await;
        let record = wire.gateway.record(n + 1).await;
        assert!(record.reason.as_ref().is_some_and(|reason| reason.chars().count() == 256), "{record:?}");
    }
}

#[tokio::test]
async fn l10_an_error_of_the_store_is_recorded_on_both_sides() {
    let (recorder, gateway) = start(Answer::ok()).await;
    for (n, (status, code, seen)) in [
        (404, "NoSuchKey", (404, "NoSuchKey")),
        (403, "InvalidAccessKeyId", (502, "BadGateway")),
        (503, "SlowDown", (503, "SlowDown")),
        (412, "PreconditionFailed", (412, "PreconditionFailed")),
    ]
    .into_iter()
    .enumerate()
    {
        recorder.answer(Answer::error(status, code));
        gateway.a.get("/bkt/a/x").await;
        let record = gateway.record(n + 1).await;
        assert_eq!(end(&record), (Outcome::Refused, Some(seen.0), Some(seen.1)), "{code}");
        assert_eq!((record.decision, record.upstream_status), (ALLOW, Some(status)), "{code}");
        assert!(record.reason.is_some_and(|reason| reason.contains(code)), "{code}");
    }
    recorder.answer(Answer::EarlyThenClose("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\npart".to_owned()));
    let request = format!("GET /bkt/a/x HTTP/1.1\r\nhost: gw\r\nauthorization: Bearer {}\r\n\r\n", gateway.a.token);
    super::support::raw::exchange(gateway.address, request.as_bytes()).await;
    let record = gateway.record(5).await;
    assert_eq!(end(&record), (Outcome::Failed, Some(200), None));
    assert!(record.bytes_out <= 4 && record.reason.is_some_and(|reason| reason.contains("broke")));
}

#[tokio::test]
async fn l10_bytes_are_counted_as_they_passed() {
    let (recorder, gateway) = start(Answer::ok()).await;
    let framed = "3e8\r\n".to_owned() + &"x".repeat(1000) + "\r\n0\r\n\r\n";
    let streaming =
        [("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"), ("x-amz-decoded-content-length", "1000")];
    let wrong = [("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==")];
    let (plain, large) = ("x".repeat(1000), "x".repeat(3 << 20));
    for (n, (headers, key, body, bytes_in, error)) in [
        (&[][..], "a/x", &plain, 1000, false),
        (&streaming, "a/x", &framed, framed.len() as u64, false),
        (&[], "a/x", &large, 3 << 20, false),
        (&wrong, "a/x", &plain, 1000, true),
        // Nothing of a body is taken before the request is permitted.
        (&[], "b/x", &plain, 0, true),
    ]
    .into_iter()
    .enumerate()
    {
        gateway.a.put(&format!("/bkt/{key}"), headers, body.to_owned()).await;
        let record = gateway.record(n + 1).await;
        let bytes_out = if error { 100..1000 } else { 0..1 };
        assert!(record.bytes_in == bytes_in && bytes_out.contains(&record.bytes_out), "{n}: {record:?}");
    }
    for (n, size) in [0, 1, 1000, 3 << 20].into_iter().enumerate() {
        recorder.answer(Answer::status(200, "", &"x".repeat(size)));
        gateway.a.get("/bkt/a/x").await;
        let record = gateway.record(6 + n).await;
        assert_eq!((record.bytes_in, record.bytes_out, record.outcome), (0, size as u64, Outcome::Ok));
    }
    recorder.answer(Answer::Bytes(response(200, "", "x").trim_end_matches('x').to_owned()));
    gateway.a.send("HEAD", "/bkt/a/x", &[], "").await;
    let record = gateway.record(10).await;
    assert_eq!((record.bytes_out, record.outcome), (0, Outcome::Ok));
}

#[tokio::test]
async fn l10_there_is_exactly_one_record_for_each_request() {
    let wire = Wire::start().await;
    let good = wire.head("GET /bkt/a/x", "");
    let bad = wire.head("GET /bkt/b/x", "");
    let put = wire.head("PUT /bkt/a/x", "content-length: 5\r\n") + "hello";
    let reply = wire.ask(format!("{good}{bad}{put}{good}{put}{bad}")).await;
    assert_eq!(reply.answers(), [200, 403, 200, 200, 200, 403]);
    let mut clients = tokio::task::JoinSet::new();
    for n in 0..30 {
        let client = wire.gateway.a.clone();
        clients.spawn(async move { client.put(&format!("/bkt/{}/x", ["a", "b"][n % 2]), &[], "hello").await });
    }
    clients.join_all().await;
    wire.gateway.record(36).await;
    let records = wire.gateway.records();
    assert_eq!(records.len(), 36);
    assert_eq!(records.iter().filter(|record| record.outcome == Outcome::Ok).count(), 19);
    let ids: HashSet<_> = records.iter().map(|record| record.request_id.clone()).collect();
    assert_eq!(ids.len(), 36);
    for record in &records[..6] {
        assert!(reply.text.contains(&record.request_id));
    }
}

#[tokio::test]
async fn l01_e12_no_record_metric_or_answer_holds_a_secret() {
    const MARKER: &str = "MARKERSECRET";
    let recorder = Recorder::start(Answer::ok()).await;
    let mut setup = Setup::before(&recorder);
    setup.access_key = format!("{MARKER}ACCESSKEY");
    setup.secret_key = format!("{MARKER}-of-the-store");
    let gateway = setup.start().await;
    let jwt = format!("eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJ{MARKER}In0.{MARKER}");
    let bearer = format!("Bearer {}", gateway.a.token);
    let forms: Vec<Vec<(&str, String)>> = vec![
        vec![("authorization", bearer.clone())],
        vec![("authorization", format!("Bearer {MARKER}"))],
        vec![("authorization", format!("Bearer {jwt}"))],
        vec![("authorization", format!("Bearer {MARKER} {MARKER}"))],
        vec![("authorization", format!("Basic {MARKER}"))],
        vec![("authorization", MARKER.to_owned())],
        vec![(
            "authorization",
            format!("AWS4-HMAC-SHA256 Credential={MARKER}/x, SignedHeaders=host, Signature={MARKER}"),
        )],
        vec![("authorization", bearer.clone()), ("authorization", format!("Bearer {MARKER}"))],
        vec![
            ("authorization", bearer.clone()),
            ("cookie", MARKER.to_owned()),
            ("x-amz-security-token", MARKER.to_owned()),
        ],
        vec![("authorization", bearer.clone()), ("x-amz-server-side-encryption-customer-key", MARKER.to_owned())],
        vec![("authorization", bearer.clone()), ("x-amz-meta-a", MARKER.to_owned())],
        vec![("authorization", bearer.clone()), ("content-type", format!("a/b,{MARKER}"))],
        vec![("authorization", bearer), ("expect", MARKER.to_owned())],
    ];
    let signed = format!("X-Amz-Credential={MARKER}&X-Amz-Signature={MARKER}&X-Amz-Security-Token={MARKER}");
    let mut sent = 0;
    for answer in [
        Answer::ok(),
        Answer::error(403, "SignatureDoesNotMatch"),
        Answer::status(500, "", MARKER),
        Answer::CloseAfter(0),
    ] {
        recorder.answer(answer);
        for headers in &forms {
            let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            for (method, target) in [
                ("GET", "/bkt/a/x".to_owned()),
                ("PUT", "/bkt/a/x".to_owned()),
                ("GET", format!("/bkt/a/x?{signed}")),
                ("GET", format!("/bkt/a/x?response-content-type={MARKER}")),
                ("GET", format!("/bkt/a/x?versionId={MARKER}")),
                ("GET", format!("/bkt/a/x?access_token={MARKER}")),
                ("GET", format!("/bkt?list-type=2&continuation-token={MARKER}")),
            ] {
                let answer = gateway.a.send_plain(method, &target, &headers, "").await;
                sent += 1;
                // The path comes back in an error, the query and the headers never do.
                let text = format!("{:?}{}", answer.headers, answer.text());
                assert!(!text.contains(MARKER) && !text.contains(&gateway.a.token), "{headers:?} {target}: {text}");
            }
        }
    }
    gateway.record(sent).await;
    for record in gateway.records() {
        let line = serde_json::to_string(&record).unwrap();
        for secret in [MARKER, &gateway.a.token, &gateway.b.token] {
            assert!(!line.contains(secret), "{line}");
        }
        assert!(!line.contains('\n') && !format!("{record:?}").contains(MARKER));
    }
    let metrics = gateway.ask_admin("/metrics").await.text();
    assert!(metrics.contains("countersign_requests_total") && !metrics.contains(MARKER) && !metrics.contains("a/x"));
}

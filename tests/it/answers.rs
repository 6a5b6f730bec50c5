//! What a client gets to see, and what it does not.

use super::support::{Answer, Recorder, Setup};

#[tokio::test]
async fn g11_a_refusal_is_an_s3_error_in_the_clients_terms() {
    let recorder = Recorder::start(Answer::ok()).await;
    let gateway = Setup::before(&recorder).start().await;
    let refused = gateway.a.get("/bkt/b/se%20cret").await;
    assert_eq!(refused.outcome(), (403, "AccessDenied".into()));
    assert_eq!(refused.element("Resource"), "/bkt/b/se%20cret");
    assert_eq!(refused.element("RequestId"), refused.header("x-amz-request-id"));
    assert_eq!(refused.header("content-type"), "application/xml");
    let head = gateway.a.send("HEAD", "/bkt/b/secret", &[], "").await;
    assert_eq!((head.status.as_u16(), head.body.len()), (403, 0));
    assert!(recorder.is_silent());
}

#[tokio::test]
async fn e11_nothing_of_the_stores_own_errors_reaches_the_client() {
    let recorder = Recorder::start(Answer::ok()).await;
    let gateway = Setup::before(&recorder).start().await;
    for (status, code, seen) in [
        (403, "SignatureDoesNotMatch", (502, "BadGateway")),
        (403, "InvalidAccessKeyId", (502, "BadGateway")),
        (403, "AccessDenied", (502, "BadGateway")),
        (404, "NoSuchBucket", (404, "NoSuchBucket")),
        (404, "NoSuchKey", (404, "NoSuchKey")),
        (500, "InternalError", (502, "BadGateway")),
        (503, "SlowDown", (503, "SlowDown")),
        (400, "NoSuchWord<script>", (502, "BadGateway")),
    ] {
        recorder.answer(Answer::error(status, code));
        let answer = gateway.a.get("/bkt/a/x").await;
        assert_eq!(answer.outcome(), (seen.0, seen.1.to_owned()), "{status} {code}");
        let text = format!("{:?}{}", answer.headers, answer.text());
        for secret in
            ["store-internal-message", "store-host-id", "up-bkt", "RECORDER-ACCESS-KEY", &recorder.address.to_string()]
        {
            assert!(!text.contains(secret), "{secret}: {text}");
        }
    }
}

#[tokio::test]
async fn g03_a_redirect_is_neither_followed_nor_passed_on() {
    let elsewhere = Recorder::start(Answer::ok()).await;
    let recorder = Recorder::start(Answer::ok()).await;
    let gateway = Setup::before(&recorder).start().await;
    for status in [301, 302, 307, 308] {
        recorder.answer(Answer::status(status, &format!("location: {}/x\r\n", elsewhere.endpoint()), ""));
        let answer = gateway.a.put("/bkt/a/x", &[], "body").await;
        assert_eq!(answer.outcome(), (502, "BadGateway".into()));
        assert_eq!(answer.header("location"), "");
    }
    assert!(elsewhere.is_silent());
}

#[tokio::test]
async fn headers_of_objects_pass_and_the_stores_own_do_not() {
    let headers = "etag: \"e\"\r\nx-amz-meta-a: 1\r\nserver: Store/1\r\nset-cookie: s=1\r\nx-amz-id-2: inside\r\nalt-svc: h3\r\ncontent-type: text/html\r\n";
    let recorder = Recorder::start(Answer::status(200, headers, "body")).await;
    let gateway = Setup::before(&recorder).start().await;
    let got = gateway.a.get("/bkt/a/x").await;
    assert_eq!(
        (got.header("etag"), got.header("x-amz-meta-a"), got.header("content-type")),
        ("\"e\"", "1", "text/html")
    );
    assert_eq!(
        (got.header("x-content-type-options"), got.header("cache-control"), got.header("vary")),
        ("nosniff", "private", "Authorization")
    );
    for name in ["server", "set-cookie", "x-amz-id-2", "alt-svc"] {
        assert_eq!(got.header(name), "", "{name}");
    }
}

#[tokio::test]
async fn d28_exactly_the_gateways_own_credentials_reach_the_store() {
    let recorder = Recorder::start(Answer::ok()).await;
    let gateway = Setup::before(&recorder).start().await;
    let headers = [
        ("x-amz-security-token", "client-token"),
        ("cookie", "c=1"),
        ("proxy-authorization", "Basic x"),
        ("x-forwarded-for", "1.2.3.4"),
        ("userid", "root"),
        ("x-minio-source-etag", "e"),
        ("user-agent", "client/1"),
        ("x-amz-user-agent", "client/1"),
        ("content-type", "text/plain"),
    ];
    assert_eq!(gateway.a.put("/bkt/a/x", &headers, "body").await.status, 200);
    let sent = recorder.only();
    let mut names: Vec<_> =
        sent.head.lines().skip(1).map(|line| line.split(':').next().unwrap().to_lowercase()).collect();
    names.sort();
    assert_eq!(
        names,
        [
            "authorization",
            "content-length",
            "content-type",
            "host",
            "x-amz-content-sha256",
            "x-amz-date",
            "x-amz-decoded-content-length"
        ]
    );
    assert!(sent.header("authorization").starts_with("AWS4-HMAC-SHA256 Credential=RECORDER-ACCESS-KEY/"));
    assert_eq!(sent.request_line(), "PUT /up-bkt/a/x");
}

#[tokio::test]
async fn the_admin_listener_tells_health_readiness_and_metrics() {
    let recorder = Recorder::start(Answer::ok()).await;
    let gateway = Setup::before(&recorder).start().await;
    gateway.a.put("/bkt/a/x", &[], "body").await;
    gateway.a.get("/bkt/b/x").await;
    gateway.record(2).await;
    assert_eq!(gateway.ask_admin("/healthz").await.status, 200);
    assert_eq!(gateway.ask_admin("/readyz").await.status, 200);
    let metrics = gateway.ask_admin("/metrics").await.text();
    for line in [
        "countersign_requests_total{operation=\"PutObject\",outcome=\"ok\"} 1",
        "countersign_requests_total{operation=\"GetObject\",outcome=\"refused\"} 1",
        "countersign_refusals_total{code=\"AccessDenied\",kind=\"denied\"} 1",
        "countersign_requests_in_flight 0",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    // A12: on the data listener these are bucket names.
    for path in ["/healthz", "/readyz", "/metrics", "/minio/health/live", "/favicon.ico"] {
        assert!(matches!(gateway.a.get(path).await.status.as_u16(), 403 | 501), "{path}");
    }
}

#[tokio::test]
async fn readiness_waits_for_the_upstream_credentials() {
    let recorder = Recorder::start(Answer::ok()).await;
    let folder = tempfile::tempdir().unwrap();
    let (id, secret) = (folder.path().join("id"), folder.path().join("secret"));
    let mut setup = Setup::before(&recorder);
    setup.credentials =
        format!("{{ access_key_id: \"file:{}\", secret_access_key: \"file:{}\" }}", id.display(), secret.display());
    setup.files = vec![id.clone(), secret.clone()];
    let gateway = setup.start().await;
    let not_ready = gateway.ask_admin("/readyz").await;
    assert_eq!(not_ready.status, 503);
    assert!(not_ready.text().contains("credentials of upstream `store`"), "{}", not_ready.text());
    assert_eq!(gateway.a.get("/bkt/a/x").await.outcome(), (503, "ServiceUnavailable".into()));
    assert!(recorder.is_silent());
    std::fs::write(&id, "MOUNTED-LATER").unwrap();
    std::fs::write(&secret, "mounted-later-secret").unwrap();
    let started = std::time::Instant::now();
    while gateway.ask_admin("/readyz").await.status != 200 {
        assert!(started.elapsed().as_secs() < 30, "the credentials are not taken up");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(gateway.a.get("/bkt/a/x").await.status, 200);
    assert!(recorder.only().header("authorization").contains("Credential=MOUNTED-LATER/"));
}

#[tokio::test]
async fn virtual_host_addressing_puts_the_bucket_into_the_host() {
    let recorder = Recorder::start(Answer::ok()).await;
    let mut setup = Setup::before(&recorder).upstream("addressing: virtual-host");
    setup.endpoint = format!("http://localhost:{}", recorder.address.port());
    let gateway = setup.start().await;
    assert_eq!(gateway.a.put("/bkt/a/x", &[], "body").await.status, 200);
    let sent = recorder.only();
    assert_eq!(sent.request_line(), "PUT /a/x");
    assert_eq!(sent.header("host"), format!("up-bkt.localhost:{}", recorder.address.port()));
}

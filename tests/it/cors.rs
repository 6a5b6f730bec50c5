//! Browsers: preflight requests and the headers by which a page of another origin may read an answer.

use super::support::{Answer, Gateway, Recorder, Response, Setup, Store, StoreKind};

const CORS: &str = ", cors: [{ origins: [\"https://app.example\", \"https://*.pages.example\"], methods: [GET, PUT, POST], headers: [authorization, content-type, \"x-amz-*\"], expose: x-amz-meta-a, max_age: 10m }]";
const APP: &str = "https://app.example";

/// A gateway with CORS rules for `bkt`, none for `quiet`, in front of a store that has CORS headers of its own.
async fn with_cors(settings: &str) -> (Recorder, Gateway) {
    let headers = "etag: \"e\"\r\naccess-control-allow-origin: *\r\naccess-control-allow-credentials: true\r\naccess-control-expose-headers: x-store\r\nvary: X-Store\r\n";
    let recorder = Recorder::start(Answer::status(200, headers, "body")).await;
    let mut setup = Setup::before(&recorder).top("domains: gw.example");
    setup.bucket_settings = settings.to_owned();
    setup.buckets.push("quiet: { upstream: store, bucket: up-quiet }".to_owned());
    (recorder, setup.start().await)
}

async fn preflight(gateway: &Gateway, target: &str, headers: &[(&str, &str)]) -> Response {
    gateway.a.send_plain("OPTIONS", target, headers, "").await
}

/// Every CORS header of an answer, and what it varies by.
fn cors_headers(answer: &Response) -> Vec<(String, String)> {
    let mut found: Vec<_> = answer
        .headers
        .iter()
        .filter(|(name, _)| name.as_str().starts_with("access-control-") || *name == "vary")
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    found.sort();
    found
}

#[tokio::test]
async fn g08_a_preflight_request_is_answered_without_credential_and_store() {
    let (recorder, gateway) = with_cors(CORS).await;
    let asked = [
        ("origin", APP),
        ("access-control-request-method", "PUT"),
        ("access-control-request-headers", "authorization,content-type,x-amz-meta-a"),
    ];
    for (target, host) in [("/bkt/a/x", "gw"), ("/a/x", "bkt.gw.example"), ("/bkt/a/x?uploadId=1&partNumber=1", "gw")] {
        let allowed = preflight(&gateway, target, &[&asked[..], &[("host", host)]].concat()).await;
        assert_eq!((allowed.status.as_u16(), allowed.body.len()), (200, 0), "{target} {host}");
        let expected = [
            ("access-control-allow-headers", "authorization, content-type, x-amz-meta-a"),
            ("access-control-allow-methods", "GET, PUT, POST"),
            ("access-control-allow-origin", APP),
            ("access-control-max-age", "600"),
            ("vary", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"),
        ];
        assert_eq!(cors_headers(&allowed), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
    assert!(recorder.is_silent());
    let record = gateway.record(3).await;
    assert_eq!(
        (record.operation, record.bucket.as_deref(), record.key.as_deref()),
        (Some("Preflight"), Some("bkt"), Some("a/x"))
    );
    assert_eq!((record.status, record.principal), (Some(200), None));
}

#[tokio::test]
async fn g08_a_preflight_request_tells_nothing_of_buckets_and_keys() {
    let (recorder, gateway) = with_cors(CORS).await;
    let put = ("access-control-request-method", "PUT");
    let evil = ("origin", "https://evil.example");
    let mut answers = Vec::new();
    for (target, origin) in [
        ("/bkt/a/x", evil),
        ("/quiet/a/x", ("origin", APP)),
        ("/none/a/x", ("origin", APP)),
        ("/bkt/a/x", ("origin", "null")),
    ] {
        let refused = preflight(&gateway, target, &[origin, put]).await;
        assert_eq!(refused.outcome(), (403, "AccessForbidden".into()), "{target} {origin:?}");
        assert_eq!(cors_headers(&refused), [], "{target} {origin:?}");
        answers.push((refused.element("Message"), refused.headers.len()));
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
    let record = gateway.record(1).await;
    assert_eq!((record.code, record.status), (Some("AccessForbidden"), Some(403)));
    // What is no preflight request is a request without a credential.
    for headers in [&[put][..], &[("origin", APP)][..], &[][..]] {
        assert_eq!(
            preflight(&gateway, "/bkt/a/x", headers).await.outcome(),
            (401, "AccessDenied".into()),
            "{headers:?}"
        );
    }
    let with_body = gateway.a.send_plain("OPTIONS", "/bkt/a/x", &[("origin", APP), put], "body").await;
    assert_eq!(with_body.outcome(), (403, "AccessForbidden".into()));
    assert!(recorder.is_silent());
}

#[tokio::test]
async fn g08_an_answer_names_a_listed_origin_and_no_other() {
    let (_recorder, gateway) = with_cors(CORS).await;
    for (origin, named) in [
        (APP, APP),
        ("https://x.pages.example", "https://x.pages.example"),
        ("https://evil.example", ""),
        ("https://app.example.evil", ""),
        ("null", ""),
    ] {
        let got = gateway.a.send("GET", "/bkt/a/x", &[("origin", origin)], "").await;
        assert_eq!((got.status.as_u16(), got.header("access-control-allow-origin")), (200, named), "{origin}");
        assert_eq!(got.header("access-control-allow-credentials"), "");
        assert_eq!(got.headers.get_all("vary").iter().collect::<Vec<_>>(), ["Authorization", "Origin"]);
        assert_eq!(got.header("access-control-expose-headers").contains("x-amz-meta-a"), !named.is_empty(), "{origin}");
    }
    // G07: and nothing of what the store says of itself.
    let quiet = gateway.a.send("GET", "/bkt/a/x", &[], "").await;
    assert_eq!(cors_headers(&quiet), ["Authorization", "Origin"].map(|name| ("vary".to_owned(), name.to_owned())));
    let deleted = gateway.a.send("DELETE", "/bkt/a/x", &[("origin", APP)], "").await;
    assert_eq!(deleted.header("access-control-allow-origin"), "", "a method that is not listed");
}

#[tokio::test]
async fn a_page_can_read_why_it_was_refused() {
    let (_recorder, gateway) = with_cors(CORS).await;
    let page = [("origin", APP)];
    for (refused, outcome) in [
        (gateway.a.send("GET", "/bkt/b/x", &page, "").await, (403, "AccessDenied")),
        (gateway.a.send_plain("PUT", "/bkt/a/x", &page, "body").await, (401, "AccessDenied")),
        (gateway.client("wrong").send("GET", "/bkt/a/x", &page, "").await, (401, "InvalidToken")),
        (
            gateway.a.send("PUT", "/bkt/a/x", &[page[0], ("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==")], "body").await,
            (400, "BadDigest"),
        ),
        (gateway.a.send("GET", "/bkt/a/x?unknown", &page, "").await, (400, "InvalidArgument")),
    ] {
        assert_eq!(refused.outcome(), (outcome.0, outcome.1.to_owned()));
        assert_eq!(
            (refused.header("access-control-allow-origin"), refused.header("vary")),
            (APP, "Origin"),
            "{outcome:?}"
        );
        assert!(refused.header("access-control-expose-headers").contains("x-amz-request-id"), "{outcome:?}");
    }
    for target in ["/quiet/x", "/none/x"] {
        assert_eq!(cors_headers(&gateway.a.send("GET", target, &page, "").await), [], "{target}");
    }
}

#[tokio::test]
async fn every_origin_is_a_star_and_null_must_be_listed() {
    let (_recorder, gateway) = with_cors(", cors: [{ origins: \"*\", methods: GET }]").await;
    let origin = async |origin: &str| {
        let got = gateway.a.send("GET", "/bkt/a/x", &[("origin", origin)], "").await;
        assert_eq!(got.header("access-control-allow-credentials"), "");
        got.header("access-control-allow-origin").to_owned()
    };
    assert_eq!((origin("https://any.example").await, origin("null").await), ("*".to_owned(), String::new()));
}

#[tokio::test]
async fn real_stores_with_cors_of_their_own_are_not_asked() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let mut setup = store.setup();
        setup.bucket_settings = CORS.to_owned();
        let gateway = setup.start().await;
        let page = [("origin", APP)];
        let put = gateway.a.send("PUT", "/bkt/a/page", &page, "body").await;
        assert_eq!((put.status.as_u16(), put.header("access-control-allow-origin")), (200, APP), "{kind:?}");
        let got = gateway.a.send("GET", "/bkt/a/page", &[("origin", "https://evil.example")], "").await;
        assert_eq!((got.text().as_str(), got.header("access-control-allow-origin")), ("body", ""), "{kind:?}");
    }
}

//! Browser forms: stored as they are under policy and rules, and refused without a trace.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::boto::python;
use super::support::certs::Authority;
use super::support::h2_wire::{self as h2, Wire};
use super::support::post::{KEY_ID, PostForm, SECRET};
use super::support::{Answer, Gateway, Recorder, Setup, Store, StoreKind, pattern, raw};

const MIB: usize = 1 << 20;

const RULES: &str = "
  - { name: web, who: { keys: [web] }, where: bkt/a/, what: [write, tag] }
  - { name: read, who: { tokens: [a] }, where: bkt, what: read }";

fn with_key(setup: Setup, rules: &str) -> Setup {
    setup.rules(rules).access_key("web", KEY_ID, SECRET)
}

async fn before_recorder(rules: &str) -> (Recorder, Gateway) {
    let recorder = Recorder::start(Answer::ok()).await;
    let gateway = with_key(Setup::before(&recorder), rules).start().await;
    (recorder, gateway)
}

#[tokio::test]
async fn f01_files_of_every_size_are_stored_byte_for_byte() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let gateway = with_key(store.setup(), RULES).start().await;
        for size in [0, 1, 64 * 1024, 8 * MIB, 9 * MIB + 1] {
            for chunked in [false, true] {
                let fields = [("Content-Type", "image/png"), ("x-amz-meta-note", "n"), ("Cache-Control", "no-store")];
                let form = PostForm::with("a/${filename}", &fields).file(&pattern(size));
                let form = if chunked { form.chunked() } else { form };
                let posted = form.send(&gateway).await;
                assert_eq!((posted.status.as_u16(), posted.body.len()), (204, 0), "{kind:?} {size}: {}", posted.text());
                let got = gateway.a.get("/bkt/a/photo.png").await;
                assert!(got.body == form.file, "{kind:?} {size} {chunked}");
                assert_eq!(
                    (got.header("content-type"), got.header("x-amz-meta-note"), got.header("cache-control")),
                    ("image/png", "n", "no-store")
                );
                assert_eq!(got.header("etag"), posted.header("etag"), "{kind:?} {size}");
                store.remove("a/photo.png").await;
            }
        }
        assert!(store.uploads().await.is_empty(), "{kind:?}");
    }
}

#[tokio::test]
async fn f10_a_file_that_looks_like_boundaries_is_whole() {
    let Some(store) = Store::get(StoreKind::SeaweedFs).await else { return };
    let gateway = with_key(store.setup(), RULES).start().await;
    let like = "\r\n------WebKitFormBoundaryA1b2C3d4E5f6G7h\r\n--\r\n----\r";
    let file = like.repeat(5000).into_bytes();
    let form = PostForm::to("a/like").file(&file);
    for bare_end in [false, true] {
        // Without a declared length the line end behind the last boundary may be left out.
        let form = if bare_end { form.clone().chunked().end("\r\n--BOUNDARY--") } else { form.clone() };
        assert_eq!(form.send(&gateway).await.status, 204, "{bare_end}");
        assert!(store.read("a/like").await.unwrap() == file, "{bare_end}");
    }
    let declared = form.end("\r\n--BOUNDARY--").send(&gateway).await;
    assert_eq!(declared.outcome(), (400, "MalformedPOSTRequest".into()));
    // Byte by byte, as a slow line would bring it.
    let form = PostForm::to("a/slow").file(b"\r\n--x\r\r\n");
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (body, content_type) = (form.body(), form.content_type());
    let head = format!(
        "POST /bkt HTTP/1.1\r\nhost: gw\r\nconnection: close\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    for byte in body {
        stream.write_all(&[byte]).await.unwrap();
    }
    assert_eq!(raw::status(&raw::read_answer(&mut stream).await), 204);
    assert_eq!(store.read("a/slow").await.unwrap(), form.file);
}

#[tokio::test]
async fn a_success_is_answered_as_the_form_asks() {
    let Some(store) = Store::get(StoreKind::SeaweedFs).await else { return };
    let gateway = with_key(store.setup().top("domains: gw.example"), RULES).start().await;
    let with = async |name: &str, value: &str| PostForm::with("a/ü &", &[(name, value)]).send(&gateway).await;
    let ok = with("success_action_status", "200").await;
    assert_eq!((ok.status.as_u16(), ok.body.len()), (200, 0));
    let created = with("success_action_status", "201").await;
    assert_eq!((created.status.as_u16(), created.header("content-type")), (201, "application/xml"));
    let etag = created.header("etag").to_owned();
    assert!(!etag.is_empty());
    let elements = ["Location", "Bucket", "Key", "ETag"].map(|name| created.element(name));
    assert_eq!(elements, ["/bkt/a/%C3%BC%20%26", "bkt", "a/ü &amp;", &etag.replace('"', "&quot;")]);
    assert_eq!(created.header("location"), "/bkt/a/%C3%BC%20%26");
    let moved = with("success_action_redirect", "https://app.example/done?x=1").await;
    assert_eq!((moved.status.as_u16(), moved.body.len()), (303, 0));
    let expected =
        format!("https://app.example/done?x=1&bucket=bkt&key=a%2F%C3%BC%20%26&etag={}", etag.replace('"', "%22"));
    assert_eq!(moved.header("location"), expected);
    let by_host =
        PostForm::with("a/x", &[("success_action_status", "201")]).target("/").header("host", "bkt.gw.example");
    let by_host = by_host.send(&gateway).await;
    assert_eq!((by_host.status.as_u16(), by_host.element("Location").as_str()), (201, "/a/x"));
    let record = gateway.record(4).await;
    assert_eq!((record.operation, record.principal.as_deref()), (Some("PostObject"), Some("key:web")));
    assert_eq!(
        (record.bucket.as_deref(), record.key.as_deref(), record.rule.as_deref()),
        (Some("bkt"), Some("a/x"), Some("web"))
    );
    let form = PostForm::with("a/x", &[("success_action_status", "201")]);
    assert_eq!((record.bytes_in, record.access_key_id.as_deref()), (form.body().len() as u64, Some(KEY_ID)));
}

/// Sends forms that must be refused so, and nothing of them may reach the store.
async fn refused(gateway: &Gateway, recorder: &Recorder, forms: Vec<(PostForm, u16, &str)>) {
    for (number, (form, status, code)) in forms.into_iter().enumerate() {
        let posted = form.send(gateway).await;
        assert_eq!(posted.outcome(), (status, code.to_owned()), "form {number}: {}", posted.text());
        assert!(recorder.is_silent(), "form {number}");
    }
}

#[tokio::test]
async fn f01_f05_a_form_that_is_not_what_was_signed_is_refused() {
    let (recorder, gateway) = before_recorder(RULES).await;
    let form = || PostForm::with("a/x", &[("acl", "private"), ("Content-Type", "image/png")]);
    let policy = form().fields.iter().find(|(name, _)| name == "policy").unwrap().1.clone();
    let forms = vec![
        (form().field("key", "b/x"), 403, "AccessDenied"),
        (form().field("acl", "public-read"), 403, "AccessDenied"),
        (form().field("Content-Type", "text/html"), 403, "AccessDenied"),
        (form().without("acl"), 403, "AccessDenied"),
        (form().field("x-amz-meta-extra", "1"), 403, "AccessDenied"),
        (form().field("success_action_status", "200"), 403, "AccessDenied"),
        (form().field("tagging", "<Tagging><TagSet/></Tagging>"), 403, "AccessDenied"),
        (form().field("x-amz-signature", &"0".repeat(64)), 403, "SignatureDoesNotMatch"),
        (form().field("policy", &format!("{policy}\n")), 403, "SignatureDoesNotMatch"),
        (form().field("policy", ""), 403, "SignatureDoesNotMatch"),
        (form().field("x-amz-algorithm", "AWS4-HMAC-SHA1"), 400, "InvalidArgument"),
        (
            form().field("x-amz-credential", "CSAKUNKNOWN/20260101/us-east-1/s3/aws4_request"),
            400,
            "AuthorizationHeaderMalformed",
        ),
        (form().field("x-amz-date", "20260101T000000Z"), 400, "AuthorizationHeaderMalformed"),
        (form().field("x-amz-security-token", "t"), 403, "InvalidToken"),
        (form().without("policy"), 400, "InvalidArgument"),
        (form().without("x-amz-signature").without("x-amz-credential"), 401, "AccessDenied"),
        (form().field("signature", "x").field("AWSAccessKeyId", KEY_ID), 400, "InvalidArgument"),
        (
            form().without("x-amz-signature").without("x-amz-credential").field("AWSAccessKeyId", KEY_ID),
            501,
            "NotImplemented",
        ),
    ];
    refused(&gateway, &recorder, forms).await;
    // F13: a cookie is no credential.
    let cookie = form().without("x-amz-signature").without("x-amz-credential").header("cookie", "session=1");
    refused(&gateway, &recorder, vec![(cookie, 401, "AccessDenied")]).await;
    assert!(form().field("x-ignore-this", "1").send(&gateway).await.status == 204);
}

#[tokio::test]
async fn d30_the_bucket_is_that_of_the_url_and_the_key_that_of_the_form() {
    let (recorder, gateway) = before_recorder(RULES).await;
    let form = || PostForm::to("a/x");
    let of = |key: &str| {
        PostForm::signed(&[("key", key)], &[json!({ "bucket": "bkt" }), json!(["starts-with", "$key", ""])])
    };
    let forms = vec![
        (form().target("/bkt/a/x"), 405, "MethodNotAllowed"),
        (form().target("/"), 405, "MethodNotAllowed"),
        (form().target("/other"), 403, "AccessDenied"),
        (form().field("bucket", "other"), 400, "InvalidArgument"),
        (form().again("key", "a/y"), 400, "InvalidArgument"),
        (form().again("KEY", "a/y"), 400, "InvalidArgument"),
        (form().again("Policy", "x"), 400, "InvalidArgument"),
        (form().without("key"), 400, "UserKeyMustBeSpecified"),
        (of(""), 400, "UserKeyMustBeSpecified"),
        // F07
        (of("a/../b/x"), 400, "InvalidURI"),
        (of("a/\0"), 400, "InvalidURI"),
        (of(&format!("a/{}", "k".repeat(1023))), 400, "KeyTooLongError"),
        (of("/a/x"), 400, "InvalidURI"),
        // F06
        (of("b/x"), 403, "AccessDenied"),
        (form().header("x-amz-acl", "public-read"), 400, "InvalidArgument"),
        (form().header("authorization", &format!("Bearer {}", gateway.a.token)), 405, "MethodNotAllowed"),
    ];
    refused(&gateway, &recorder, forms).await;
    let mut traversal = PostForm::to("a/${filename}");
    traversal.filename = "../b/x".to_owned();
    assert_eq!(traversal.send(&gateway).await.status, 204);
    assert_eq!(recorder.only().request_line(), "PUT /up-bkt/a/x");
}

#[tokio::test]
async fn d30_k16_headers_of_a_form_that_would_be_forgotten_are_refused() {
    let (recorder, gateway) = before_recorder(RULES).await;
    let with = |name: &str, value: &str| (PostForm::to("a/x").header(name, value), 400, "InvalidArgument");
    let forms = vec![
        with("if-match", "*"),
        with("if-none-match", "*"),
        with("if-modified-since", "Sun, 22 Nov 2026 12:00:00 GMT"),
        with("if-unmodified-since", "Sun, 22 Nov 2026 12:00:00 GMT"),
        with("content-md5", "AAAAAAAAAAAAAAAAAAAAAA=="),
        with("content-encoding", "gzip"),
        with("content-disposition", "inline"),
        with("content-language", "en"),
        with("content-range", "bytes 0-1/2"),
        with("expires", "0"),
        with("range", "bytes=0-1"),
        (PostForm::to("a/x").header("connection", "close, content-type"), 400, "InvalidRequest"),
    ];
    refused(&gateway, &recorder, forms).await;
    let browser = PostForm::to("a/x")
        .header("cache-control", "max-age=0")
        .header("pragma", "no-cache")
        .header("connection", "keep-alive")
        .header("referer", "https://app.example/")
        .header("cookie", "session=1")
        .header("accept-language", "en");
    assert_eq!(browser.send(&gateway).await.status, 204);
}

#[tokio::test]
async fn d22_d23_d24_fields_need_the_rights_of_the_headers_that_they_stand_for() {
    let rules = "\n  - { name: web, who: { keys: [web] }, where: bkt/a/, what: write }";
    let (recorder, gateway) = before_recorder(rules).await;
    let tags = "<Tagging><TagSet><Tag><Key>k</Key><Value>v w</Value></Tag></TagSet></Tagging>";
    let with = |name: &str, value: &str| PostForm::with("a/x", &[(name, value)]);
    let forms = vec![
        (with("acl", "public-read"), 403, "AccessDenied"),
        (with("x-amz-grant-read", "uri=x"), 403, "AccessDenied"),
        (with("x-amz-website-redirect-location", "https://evil.example"), 403, "AccessDenied"),
        (with("tagging", tags), 403, "AccessDenied"),
        (with("tagging", "k=v"), 400, "MalformedXML"),
        (with("x-amz-copy-source", "bkt/b/secret"), 400, "InvalidArgument"),
        (with("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"), 400, "InvalidArgument"),
        (with("x-amz-unknown", "1"), 400, "InvalidArgument"),
        (with("content-encoding", "aws-chunked"), 400, "InvalidArgument"),
        (with("content-md5", "AAAAAAAAAAAAAAAAAAAAAA=="), 400, "BadDigest"),
        (with("x-amz-checksum-crc32", "AAAAAA=="), 400, "BadDigest"),
    ];
    refused(&gateway, &recorder, forms).await;
    let (recorder, gateway) = before_recorder(RULES).await;
    assert_eq!(with("tagging", tags).send(&gateway).await.status, 204);
    let sent = recorder.only();
    assert_eq!(sent.header("x-amz-tagging"), "k=v%20w");
    assert!(sent.header("authorization").contains("RECORDER-ACCESS-KEY") && !sent.head.contains("policy"));
}

#[tokio::test]
async fn f10_f04_forms_that_are_too_much_or_have_two_readings_are_refused() {
    let (recorder, gateway) = before_recorder(RULES).await;
    let form = || PostForm::to("a/x");
    let many = (0..101).fold(form(), |form, n| form.field(&format!("x-ignore-{n}"), ""));
    let mut other_boundary = form();
    other_boundary.headers.push(("content-type".to_owned(), "multipart/form-data; boundary=x".to_owned()));
    let forms = [
        (many, 400, "MaxPostPreDataLengthExceeded"),
        (form().field("x-ignore-me", &"v".repeat(21_000)), 400, "MaxPostPreDataLengthExceeded"),
        // Two media types: no form, and no credential.
        (other_boundary, 401, "AccessDenied"),
        (form().end(""), 400, "MalformedPOSTRequest"),
        (form().end("\r\n--BOUNDARY"), 400, "MalformedPOSTRequest"),
        (form().end("\n--BOUNDARY--\n"), 400, "MalformedPOSTRequest"),
        (form().end("\r\n--BOUNDARY--\r\nx"), 400, "MalformedPOSTRequest"),
        (
            form().end(
                "\r\n--BOUNDARY\r\nContent-Disposition: form-data; name=\"submit\"\r\n\r\nSend\r\n--BOUNDARY--\r\n",
            ),
            400,
            "MalformedPOSTRequest",
        ),
    ];
    for declared in [true, false] {
        let forms =
            forms.iter().map(|(form, status, code)| (PostForm { declared, ..form.clone() }, *status, *code)).collect();
        refused(&gateway, &recorder, forms).await;
    }
    // A large file is on its way when its end turns out to be missing.
    for end in ["", "\r\n--BOUNDARY\r\n", "\r\n--BOUNDARY--\r\nx"] {
        let posted = form().file(&pattern(3 * MIB)).end(end).send(&gateway).await;
        assert_eq!(posted.outcome(), (400, "MalformedPOSTRequest".into()), "{end:?}");
        assert!(recorder.nothing_committed(), "{end:?}");
    }
}

fn ranged(min: u64, max: u64) -> PostForm {
    let range: Value = json!(["content-length-range", min, max]);
    PostForm::signed(&[("key", "a/old")], &[json!({ "bucket": "bkt" }), json!({ "key": "a/old" }), range])
}

#[tokio::test]
async fn f11_sizes_are_those_of_policy_and_rule_and_what_is_refused_leaves_nothing() {
    let rules = "
  - { name: web, who: { keys: [web] }, where: bkt/a/, what: write, limits: { min_size: 10B, max_size: 6MiB }, content: { check_bytes: true } }";
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let gateway = with_key(store.setup(), rules).start().await;
        store.put("a/old", b"the old object").await;
        for (form, size, code) in [
            (ranged(0, 5 * MIB as u64), 5 * MIB + 1, "EntityTooLarge"),
            (ranged(0, 50 * MIB as u64), 6 * MIB + 1, "EntityTooLarge"),
            (ranged(0, 9), 9, "EntityTooSmall"),
            (ranged(1000, 2000), 999, "EntityTooSmall"),
        ] {
            for declared in [true, false] {
                let form = PostForm { declared, ..form.clone().file(&vec![b'x'; size]) };
                let posted = form.send(&gateway).await;
                assert_eq!(posted.outcome(), (400, code.to_owned()), "{kind:?} {size} {declared}");
                assert_eq!(store.read("a/old").await.unwrap(), b"the old object", "{kind:?} {size}");
            }
        }
        let fields = [("key", "a/old"), ("Content-Type", "image/png")];
        let conditions =
            [json!({ "bucket": "bkt" }), json!({ "key": "a/old" }), json!({ "content-type": "image/png" })];
        let no_png = PostForm::signed(&fields, &conditions).file(&pattern(MIB)).send(&gateway).await;
        assert_eq!(no_png.outcome(), (403, "AccessDenied".into()), "{kind:?}");
        assert_eq!(store.read("a/old").await.unwrap(), b"the old object", "{kind:?}");
        store.until_no_uploads().await;
    }
}

#[tokio::test]
async fn f12_a_browser_is_sent_only_where_the_signer_said() {
    let (recorder, gateway) = before_recorder(RULES).await;
    let to = |url: &str, condition: Value| {
        let conditions = [json!({ "bucket": "bkt" }), json!({ "key": "a/x" }), condition];
        PostForm::signed(&[("key", "a/x"), ("success_action_redirect", url)], &conditions)
    };
    let starts = |start: &str| json!(["starts-with", "$success_action_redirect", start]);
    let forms = vec![
        (to("https://evil.example/", starts("")), 403, "AccessDenied"),
        (to("https://app.example.evil/", starts("https://app.example")), 403, "AccessDenied"),
        (to("javascript:alert(1)", starts("javascript:alert(1)")), 400, "InvalidArgument"),
        (to("https://app.example/\r\nset-cookie: a=b", starts("https://app.example/")), 400, "InvalidArgument"),
        (to("//evil.example/", starts("")), 400, "InvalidArgument"),
    ];
    refused(&gateway, &recorder, forms).await;
    let moved = to("https://app.example/done", starts("https://app.example/")).send(&gateway).await;
    assert_eq!(moved.status, 303);
}

#[tokio::test]
async fn a_page_of_another_origin_can_read_why_its_form_was_refused() {
    let recorder = Recorder::start(Answer::ok()).await;
    let mut setup = with_key(Setup::before(&recorder), RULES);
    setup.bucket_settings = ", cors: [{ origins: https://app.example, methods: POST }]".to_owned();
    let gateway = setup.start().await;
    let form = PostForm::to("a/x").header("origin", "https://app.example");
    let posted = form.send(&gateway).await;
    assert_eq!((posted.status.as_u16(), posted.header("access-control-allow-origin")), (204, "https://app.example"));
    let refused = form.field("key", "b/x").send(&gateway).await;
    assert_eq!((refused.status.as_u16(), refused.header("access-control-allow-origin")), (403, "https://app.example"));
    let message = refused.element("Message");
    assert_eq!(
        message,
        "Invalid according to Policy: Policy Condition failed: [&quot;starts-with&quot;, &quot;$key&quot;, &quot;a/&quot;]"
    );
}

/// Fields of a form without end, byte by byte.
fn endless_fields() -> impl Iterator<Item = u8> {
    let begin = b"--x\r\nContent-Disposition: form-data; name=\"x-ignore-a\"\r\n\r\n";
    begin.iter().copied().chain(std::iter::repeat(b'v'))
}

#[tokio::test]
async fn f10_the_fields_of_a_form_have_the_time_of_a_head_whatever_the_protocol() {
    let recorder = Recorder::start(Answer::ok()).await;
    let authority = Authority::new();
    let setup = || with_key(Setup::before(&recorder), RULES).limits("{ timeouts: { head: 1s, body_idle: 1h } }");
    let (plain, tls) = (setup().start().await, setup().tls(&authority.vouch_for(&["127.0.0.1"])).start().await);
    let pace = Duration::from_millis(100);

    let (read, mut write) = TcpStream::connect(plain.address).await.unwrap().into_split();
    let head = "POST /bkt HTTP/1.1\r\nhost: gw\r\ncontent-type: multipart/form-data; boundary=x\r\ncontent-length: 9999\r\n\r\n";
    write.write_all(head.as_bytes()).await.unwrap();
    let mut read = read;
    let mut answer = Box::pin(raw::read_answer(&mut read));
    let slow = async {
        for byte in endless_fields() {
            write.write_all(&[byte]).await.unwrap();
            tokio::time::sleep(pace).await;
        }
    };
    let answer = tokio::select! { answer = &mut answer => answer, () = slow => unreachable!("it has no end") };
    assert_eq!(raw::status(&answer), 400, "{answer}");
    assert!(answer.contains("<Code>RequestTimeout</Code>"), "{answer}");

    let mut wire = Wire::connect(tls.address, &authority, &[]).await;
    let host = tls.address.to_string();
    let head = [
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", &host),
        (":path", "/bkt"),
        ("content-type", "multipart/form-data; boundary=x"),
    ];
    assert!(wire.send(&h2::frame(h2::HEADERS, h2::END_HEADERS, 1, &h2::block(&head))).await);
    let mut status = 0;
    for byte in endless_fields().take(200) {
        assert!(wire.send(&h2::frame(h2::DATA, 0, 1, &[byte])).await);
        if let Some(came) = wire.next(pace).await.filter(|came| came.kind == h2::HEADERS) {
            status = h2::status_in(&came.payload);
            break;
        }
    }
    assert_eq!(status, 400, "no answer after 20 s");
    assert!(recorder.is_silent());
}

#[tokio::test]
async fn a_client_that_waits_for_100_gets_it_and_hears_of_its_refusal() {
    let (recorder, gateway) = before_recorder(RULES).await;
    let form = PostForm::to("b/x").file(&pattern(3 * MIB));
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let (body, content_type) = (form.body(), form.content_type());
    let head = format!(
        "POST /bkt HTTP/1.1\r\nhost: gw\r\nexpect: 100-continue\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut interim = vec![0; raw::CONTINUE.len()];
    tokio::io::AsyncReadExt::read_exact(&mut stream, &mut interim).await.unwrap();
    assert_eq!(interim, raw::CONTINUE);
    stream.write_all(&body).await.expect("the rest of the form is read");
    let answer = raw::read_answer(&mut stream).await;
    assert_eq!(raw::status(&answer), 403, "{answer}");
    assert!(recorder.is_silent());
}

#[tokio::test]
async fn forms_that_boto3_signs_are_stored() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let gateway = with_key(store.setup(), RULES).start().await;
        let world = json!({
            "endpoint": format!("http://{}", gateway.address), "bucket": "bkt", "prefix": "a/",
            "access_key_id": KEY_ID, "secret_access_key": SECRET,
        });
        if python("forms.py", "forms", world).await {
            let stored = store.read("a/boto/photo of ü.bin").await;
            assert_eq!(stored.map(|bytes| bytes.len()), Some(3 * MIB), "{kind:?}");
        }
    }
}

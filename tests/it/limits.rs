//! The terms of a rule, from its text to what the store gets: sizes, types, names, headers.

use super::support::{Answer, Gateway, Recorder, Response, Setup, Store, StoreKind, eventually, raw};

/// A rule for tenant `a` with these terms.
fn rule(terms: &str) -> String {
    format!("\n  - {{ name: r, who: {{ tokens: [a] }}, where: bkt/a/, what: [read, write], {terms} }}")
}

async fn start(recorder: &Recorder, terms: &str) -> Gateway {
    Setup::before(recorder).rules(&rule(terms)).start().await
}

async fn put(gateway: &Gateway, key: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, String) {
    gateway.a.put(&format!("/bkt/a/{key}"), headers, body.to_vec()).await.outcome()
}

fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

fn stored() -> (u16, String) {
    (200, String::new())
}

#[tokio::test]
async fn h13_a_declared_size_beyond_the_limits_is_refused_before_the_store_hears_of_it() {
    let recorder = Recorder::start(Answer::ok()).await;
    let gateway = start(&recorder, "limits: { min_size: 10B, max_size: 100B }").await;
    let framed = |size: usize| {
        let declared = size.to_string();
        let body = [format!("{size:x}\r\n").as_bytes(), &vec![b'x'; size], b"\r\n0\r\n\r\n"].concat();
        (declared, if size == 0 { b"0\r\n\r\n".to_vec() } else { body })
    };
    for (size, expected) in [
        (0, refused(400, "EntityTooSmall")),
        (9, refused(400, "EntityTooSmall")),
        (10, stored()),
        (100, stored()),
        (101, refused(400, "EntityTooLarge")),
        (1_000_000, refused(400, "EntityTooLarge")),
    ] {
        let before = recorder.requests().len();
        assert_eq!(put(&gateway, "x", &[], &vec![b'x'; size]).await, expected, "{size}");
        // The framing does not count.
        let (declared, body) = framed(size);
        let streaming = ("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER");
        let answer = put(&gateway, "x", &[streaming, ("x-amz-decoded-content-length", &declared)], &body).await;
        assert_eq!(answer, expected, "{size} framed");
        let added = if expected == stored() { 2 } else { 0 };
        assert_eq!(recorder.requests().len() - before, added, "{size}");
    }
}

#[tokio::test]
async fn h13_an_undeclared_size_is_held_to_the_same_limits() {
    let recorder = Recorder::start(Answer::ok()).await;
    let gateway = start(&recorder, "limits: { min_size: 10B, max_size: 100B }").await;
    for (size, status) in [(0, 400), (9, 400), (10, 200), (100, 200), (101, 400), (5_000_000, 400)] {
        let head = format!(
            "PUT /bkt/a/x HTTP/1.1\r\nhost: gw\r\nauthorization: Bearer {}\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n",
            gateway.a.token
        );
        let data = if size == 0 { String::new() } else { format!("{size:x}\r\n{}\r\n", "x".repeat(size)) };
        let answer = raw::exchange(gateway.address, format!("{head}{data}0\r\n\r\n").as_bytes()).await;
        assert_eq!(raw::status(&answer), status, "{size}: {answer}");
        assert_eq!(answer.contains("<Code>EntityToo"), status == 400, "{size}: {answer}");
    }
    eventually("both are stored", || recorder.requests().iter().filter(|request| request.complete).count() == 2).await;
    assert_eq!(recorder.requests().len(), 2);
}

#[tokio::test]
async fn the_terms_of_the_most_specific_rule_count_and_no_others() {
    let recorder = Recorder::start(Answer::ok()).await;
    let rules = "
  - { name: wide, who: anyone, where: bkt, what: [read, write], limits: { max_size: 1KB } }
  - { name: deep, who: { tokens: [a] }, where: bkt/a/deep/, what: write, limits: { max_size: 10B }, headers: { set: { cache-control: no-store } } }
  - { name: reads, who: anyone, where: bkt/a/deep/er/, what: read, limits: { max_size: 1B } }";
    let gateway = Setup::before(&recorder).rules(rules).start().await;
    assert_eq!(put(&gateway, "x", &[], &[0; 1000]).await, stored());
    assert_eq!(put(&gateway, "deep/x", &[], &[0; 11]).await, refused(400, "EntityTooLarge"));
    assert_eq!(put(&gateway, "deep/er/x", &[], &[0; 10]).await, stored());
    assert_eq!(recorder.requests().pop().unwrap().header("cache-control"), "no-store");
    // The other caller is under the wide rule there.
    let other = gateway.b.put("/bkt/a/deep/x", &[], vec![0; 1000]).await;
    assert_eq!(other.outcome(), stored());
    assert_eq!(gateway.record(4).await.rule.as_deref(), Some("wide"));
}

#[tokio::test]
async fn h14_the_content_type_must_be_one_of_those_listed() {
    let recorder = Recorder::start(Answer::ok()).await;
    let gateway = start(&recorder, "content: { types: [image/*, application/pdf] }").await;
    for good in ["image/png", "IMAGE/PNG", "image/svg+xml", "application/pdf", "application/pdf; version=1.7"] {
        assert_eq!(put(&gateway, "x", &[("content-type", good)], b"x").await, stored(), "{good}");
        assert_eq!(recorder.requests().pop().unwrap().header("content-type"), good);
    }
    let before = recorder.requests().len();
    for wrong in
        ["text/html", "imagex/png", "application/pdfx", "application/octet-stream", "application/json; a=image/png"]
    {
        assert_eq!(put(&gateway, "x", &[("content-type", wrong)], b"x").await, refused(403, "AccessDenied"), "{wrong}");
    }
    for unreadable in ["image/png,text/html", "image/png; text/html", "image", "image/", "", "image/png, image/png"] {
        let answer = put(&gateway, "x", &[("content-type", unreadable)], b"x").await;
        assert_eq!(answer, refused(400, "InvalidArgument"), "{unreadable}");
    }
    let twice = [("content-type", "image/png"), ("content-type", "text/html")];
    assert_eq!(put(&gateway, "x", &twice, b"x").await, refused(400, "InvalidArgument"));
    assert_eq!(put(&gateway, "x", &[], b"x").await, refused(403, "AccessDenied"));
    assert_eq!(recorder.requests().len(), before);
    assert_eq!(gateway.a.get("/bkt/a/x").await.status, 200, "a read has no content type");
}

#[tokio::test]
async fn the_extension_must_be_one_of_those_listed() {
    let recorder = Recorder::start(Answer::ok()).await;
    let gateway = start(&recorder, "content: { extensions: [png, JPG] }").await;
    for good in ["x.png", "x.PNG", "x.exe.png", "y/x.jpg", ".png", "x.%70ng"] {
        assert_eq!(put(&gateway, good, &[], b"x").await, stored(), "{good}");
    }
    let before = recorder.requests().len();
    for wrong in ["x", "x.", "png", "x.png.exe", "x.pngx", "x.png/y", "x.png%20", "x.png%2Fy", "x.gif", "x.png/"] {
        assert_eq!(put(&gateway, wrong, &[], b"x").await, refused(403, "AccessDenied"), "{wrong}");
    }
    assert_eq!(recorder.requests().len(), before);
    assert_eq!(gateway.a.get("/bkt/a/x").await.status, 200);
}

#[tokio::test]
async fn h14_the_first_bytes_must_fit_the_declared_type() {
    let recorder = Recorder::start(Answer::ok()).await;
    let gateway = start(&recorder, "content: { check_bytes: true }").await;
    let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";
    for (declared, body) in [
        ("image/png", &png[..]),
        ("text/plain", b"text"),
        ("text/html", b"<html>"),
        ("application/octet-stream", b"<html>"),
        ("image/png", b""),
    ] {
        assert_eq!(put(&gateway, "x", &[("content-type", declared)], body).await, stored(), "{declared} {body:?}");
    }
    assert_eq!(put(&gateway, "x", &[], b"<html>").await, stored(), "nothing is declared");
    let before = recorder.requests().len();
    for (declared, body) in [
        ("image/png", &b"<html><script>"[..]),
        ("image/png", b"GIF89a......"),
        ("image/jpeg", png),
        ("text/plain", b"  <SCRIPT>"),
        ("text/plain", b"MZ\x90\0"),
        ("application/json", png),
        ("image/png", b"\x89"),
    ] {
        let answer = put(&gateway, "x", &[("content-type", declared)], body).await;
        assert_eq!(answer, refused(403, "AccessDenied"), "{declared} {body:?}");
        // In whatever pieces they come: byte by byte in chunks.
        let framed: String = body.iter().map(|byte| format!("1\r\n{}\r\n", char::from(*byte))).collect();
        let framed: Vec<u8> = framed.chars().map(|c| c as u32 as u8).chain(*b"0\r\n\r\n").collect();
        let headers = [
            ("content-type", declared),
            ("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
            ("x-amz-decoded-content-length", &body.len().to_string()),
        ];
        assert_eq!(put(&gateway, "x", &headers, &framed).await, refused(403, "AccessDenied"), "{declared} {body:?}");
    }
    assert_eq!(recorder.requests().len(), before);
}

#[tokio::test]
async fn h14_an_encoded_object_is_refused_where_its_bytes_are_checked() {
    let recorder = Recorder::start(Answer::ok()).await;
    let gateway = start(&recorder, "content: { check_bytes: true }").await;
    let streaming = [
        ("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
        ("x-amz-decoded-content-length", "1"),
        ("content-encoding", "aws-chunked"),
    ];
    assert_eq!(put(&gateway, "x", &streaming, b"1\r\nx\r\n0\r\n\r\n").await, stored());
    for good in ["identity", "Identity", ""] {
        assert_eq!(put(&gateway, "x", &[("content-encoding", good)], b"x").await, stored(), "{good}");
    }
    let before = recorder.requests().len();
    for wrong in ["gzip", "br", "x-own", "identity, gzip", "identity;q=1"] {
        let encoded = [("content-encoding", wrong)];
        assert_eq!(put(&gateway, "x", &encoded, b"x").await, refused(403, "AccessDenied"), "{wrong}");
        let create = gateway.a.send("POST", "/bkt/a/x?uploads", &encoded, "").await;
        assert_eq!(create.outcome(), refused(403, "AccessDenied"), "{wrong}");
    }
    let framed = [streaming[0], streaming[1], ("content-encoding", "gzip,aws-chunked")];
    let answer = put(&gateway, "x", &framed, b"1\r\nx\r\n0\r\n\r\n").await;
    assert_eq!(answer, refused(403, "AccessDenied"));
    assert_eq!(recorder.requests().len(), before);
    let unchecked = start(&recorder, "limits: {}").await;
    assert_eq!(put(&unchecked, "x", &[("content-encoding", "gzip")], b"x").await, stored());
}

#[tokio::test]
async fn runs_of_blanks_in_headers_are_stored_as_one_blank() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let gateway = store.setup().start().await;
        let headers = [("content-type", "text/plain;   charset=\"a  b\""), ("x-amz-meta-a", "a   b\t c")];
        let put = gateway.a.put("/bkt/a/blanks", &headers, "x").await;
        assert_eq!(put.status, 200, "{kind:?}: {}", put.text());
        let got = gateway.a.get("/bkt/a/blanks").await;
        assert_eq!((got.status.as_u16(), got.header("x-amz-meta-a")), (200, "a b c"), "{kind:?}");
        assert_eq!(got.header("content-type"), "text/plain; charset=\"a b\"", "{kind:?}");
    }
}

#[tokio::test]
async fn required_headers_must_be_there_with_their_value() {
    let recorder = Recorder::start(Answer::ok()).await;
    let terms =
        "headers: { require: { x-amz-meta-owner: null, x-amz-server-side-encryption: AES256, if-none-match: \"*\" } }";
    let gateway = start(&recorder, terms).await;
    let all = [("x-amz-meta-owner", "me"), ("x-amz-server-side-encryption", "AES256"), ("if-none-match", "*")];
    assert_eq!(put(&gateway, "x", &all, b"x").await, stored());
    let sent = recorder.only();
    for (name, value) in all {
        assert_eq!(sent.header(name), value);
    }
    for left_out in 0..all.len() {
        let some: Vec<_> =
            all.iter().enumerate().filter(|(at, _)| *at != left_out).map(|(_, header)| *header).collect();
        assert_eq!(put(&gateway, "x", &some, b"x").await, refused(403, "AccessDenied"), "{:?}", all[left_out]);
    }
    let other = [all[0], all[1], ("if-none-match", "\"etag\"")];
    assert_eq!(put(&gateway, "x", &other, b"x").await, refused(403, "AccessDenied"));
    assert_eq!(recorder.requests().len(), 1);
    assert_eq!(gateway.a.get("/bkt/a/x").await.status, 200, "a read needs none of them");
}

#[tokio::test]
async fn set_headers_replace_what_the_client_sent_on_writes_only() {
    let recorder = Recorder::start(Answer::ok()).await;
    let terms = "headers: { set: { x-amz-storage-class: STANDARD_IA, x-amz-meta-via: gateway, cache-control: no-store, content-type: text/plain } }";
    let gateway = start(&recorder, terms).await;
    let clients = [
        ("x-amz-meta-via", "client"),
        ("cache-control", "public"),
        ("content-type", "text/html"),
        ("x-amz-meta-own", "1"),
    ];
    for headers in [&[][..], &clients[..]] {
        assert_eq!(put(&gateway, "x", headers, b"x").await, stored());
        let sent = recorder.requests().pop().unwrap();
        for (name, value) in [
            ("x-amz-storage-class", "STANDARD_IA"),
            ("x-amz-meta-via", "gateway"),
            ("cache-control", "no-store"),
            ("content-type", "text/plain"),
        ] {
            assert_eq!(sent.header(name), value);
            assert_eq!(sent.head.to_ascii_lowercase().matches(&format!("\r\n{name}:")).count(), 1, "{}", sent.head);
        }
        // Signed, where S3 wants it signed.
        let signed = sent.header("authorization");
        for name in ["content-type", "x-amz-meta-via", "x-amz-storage-class"] {
            assert!(signed.contains(name), "{signed}");
        }
    }
    assert_eq!(recorder.requests().pop().unwrap().header("x-amz-meta-own"), "1");
    gateway.a.get("/bkt/a/x").await;
    assert!(!recorder.requests().pop().unwrap().head.contains("gateway"));
    // What the gateway may set, a client still may not send.
    let answer = put(&gateway, "x", &[("x-amz-storage-class", "GLACIER")], b"x").await;
    assert_eq!(answer, refused(403, "AccessDenied"));
}

#[tokio::test]
async fn d22_allowed_headers_pass_and_their_neighbours_do_not() {
    let recorder = Recorder::start(Answer::ok()).await;
    let gateway = start(&recorder, "headers: { allow: x-amz-storage-class }").await;
    assert_eq!(put(&gateway, "x", &[("x-amz-storage-class", "GLACIER")], b"x").await, stored());
    assert_eq!(recorder.only().header("x-amz-storage-class"), "GLACIER");
    for (name, value) in [
        ("x-amz-website-redirect-location", "https://evil"),
        ("x-amz-acl", "public-read"),
        ("x-amz-server-side-encryption", "aws:kms"),
    ] {
        assert_eq!(put(&gateway, "x", &[(name, value)], b"x").await, refused(403, "AccessDenied"), "{name}");
    }
    assert_eq!(recorder.requests().len(), 1);
}

#[tokio::test]
async fn g01_g02_responses_are_overridden_only_where_the_rule_says_so() {
    let recorder = Recorder::start(Answer::ok()).await;
    let plain = start(&recorder, "limits: {}").await;
    let allowed = start(&recorder, "response_overrides: true").await;
    let get = async |gateway: &Gateway, query: &str| -> Response { gateway.a.get(&format!("/bkt/a/x?{query}")).await };
    for name in ["type", "disposition", "encoding", "language"] {
        let query = format!("response-content-{name}=text/html");
        assert_eq!(get(&plain, &query).await.outcome(), refused(403, "AccessDenied"), "{name}");
        assert_eq!(get(&allowed, &query).await.status, 200, "{name}");
        let sent = recorder.requests().pop().unwrap().request_line();
        assert_eq!(sent, format!("GET /up-bkt/a/x?response-content-{name}=text%2Fhtml"));
    }
    let before = recorder.requests().len();
    for value in ["x%0d%0aSet-Cookie:%20a=b", "x%0ay", "x%0dy", "x%00", "x%7f", "%c2%85", "%E5%98%8A%0A"] {
        for name in ["response-content-disposition", "response-cache-control", "versionId", "partNumber"] {
            let answer = get(&allowed, &format!("{name}={value}")).await;
            assert_eq!(answer.status, 400, "{name}={value}: {}", answer.text());
        }
    }
    assert_eq!(recorder.requests().len(), before);
}

#[tokio::test]
async fn odd_keys_pass_byte_for_byte_only_where_the_bucket_says_so() {
    let recorder = Recorder::start(Answer::ok()).await;
    let mut setup = Setup::before(&recorder);
    setup.bucket_settings = ", odd_keys: pass".to_owned();
    let passing = setup.start().await;
    let refusing = Setup::before(&recorder).start().await;
    for (key, canonical) in [
        ("a/../b/secret", "a/../b/secret"),
        ("a/%2e%2e/b", "a/../b"),
        ("a/./x", "a/./x"),
        ("a//x", "a//x"),
        ("a/x//", "a/x//"),
        ("a/x%5cy", "a/x%5Cy"),
    ] {
        assert_eq!(passing.a.put(&format!("/bkt/{key}"), &[], "x").await.status, 200, "{key}");
        assert_eq!(recorder.requests().pop().unwrap().request_line(), format!("PUT /up-bkt/{canonical}"));
        let before = recorder.requests().len();
        assert_eq!(refusing.a.put(&format!("/bkt/{key}"), &[], "x").await.status, 400, "{key}");
        assert_eq!(recorder.requests().len(), before);
    }
    let before = recorder.requests().len();
    for (key, status) in [("/a/x", 403), ("../a/x", 403), ("a/x%00", 400), ("a/x%0a", 400), ("a/%ff", 400)] {
        assert_eq!(passing.a.put(&format!("/bkt/{key}"), &[], "x").await.status, status, "{key}");
    }
    assert_eq!(recorder.requests().len(), before);
}

#[tokio::test]
async fn e06_a_bucket_s_prefix_stands_before_every_key_and_counts() {
    let recorder = Recorder::start(Answer::ok()).await;
    let mut setup = Setup::before(&recorder);
    setup.bucket_settings = ", prefix: gw/inner/".to_owned();
    let gateway = setup.start().await;
    for method in ["GET", "PUT", "HEAD", "DELETE"] {
        assert_eq!(gateway.a.send(method, "/bkt/a/x", &[], "").await.status, 200, "{method}");
        assert_eq!(recorder.requests().pop().unwrap().request_line(), format!("{method} /up-bkt/gw/inner/a/x"));
    }
    let longest = format!("/bkt/a/{}", "x".repeat(1024 - "gw/inner/a/".len()));
    assert_eq!(gateway.a.get(&longest).await.status, 200);
    assert_eq!(gateway.a.get(&format!("{longest}x")).await.outcome(), refused(400, "KeyTooLongError"));
    assert_eq!(recorder.requests().len(), 5);
}

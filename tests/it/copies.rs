//! CopyObject and UploadPartCopy: the source is a target of its own, and a copy keeps the rule of its target.

use std::sync::Arc;

use super::hostile::Wire;
use super::support::recorder::response;
use super::support::{Answer, Client, Recorder, Response, Setup, Store, StoreKind, pattern};

async fn copy(client: &Client, to: &str, from: &str, more: &[(&str, &str)]) -> Response {
    let mut headers = vec![("x-amz-copy-source", from)];
    headers.extend(more);
    client.put(&format!("/bkt/{to}"), &headers, "").await
}

const REPLACE: (&str, &str) = ("x-amz-metadata-directive", "REPLACE");

#[tokio::test]
async fn objects_are_copied_with_their_metadata_or_with_new() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let gateway = store.setup().start().await;
        let body = pattern(100_000);
        let headers = [("content-type", "text/x-source"), ("x-amz-meta-note", "first")];
        assert_eq!(gateway.a.put("/bkt/a/sou%20rce+1%25", &headers, body.clone()).await.status, 200, "{kind:?}");
        for (to, from) in [("a/one", "/bkt/a/sou%20rce+1%25"), ("a/t%C3%BCo", "bkt%2Fa%2Fsou%20rce%2B1%25")] {
            let copied = copy(&gateway.a, to, from, &[("x-amz-meta-note", "ignored")]).await;
            assert_eq!(copied.status, 200, "{kind:?} {from}: {}", copied.text());
            assert!(copied.text().contains("<CopyObjectResult") && !copied.element("ETag").is_empty(), "{kind:?}");
            let got = gateway.a.get(&format!("/bkt/{to}")).await;
            assert!(got.body == body, "{kind:?}");
            let metadata = (got.header("content-type"), got.header("x-amz-meta-note"));
            assert_eq!(metadata, ("text/x-source", "first"), "{kind:?}");
        }
        // A key that reads differently when it is decoded twice.
        store.put("a/from%2Ehere", b"escaped").await;
        store.put("a/from.here", b"plain").await;
        assert_eq!(copy(&gateway.a, "a/x", "/bkt/a/from%252Ehere", &[]).await.status, 200, "{kind:?}");
        assert_eq!(store.read("a/x").await.as_deref(), Some(&b"escaped"[..]), "{kind:?}");
        store.remove("a/x").await;
        let replaced =
            copy(&gateway.a, "a/one", "/bkt/a/one", &[REPLACE, ("content-type", "text/x-new"), ("x-amz-meta-b", "2")])
                .await;
        assert_eq!(replaced.status, 200, "{kind:?}: {}", replaced.text());
        let got = gateway.a.get("/bkt/a/one").await;
        let metadata = (got.header("content-type"), got.header("x-amz-meta-note"), got.header("x-amz-meta-b"));
        assert_eq!((metadata, got.body == body), (("text/x-new", "", "2"), true), "{kind:?}");
        assert_eq!(copy(&gateway.a, "a/x", "/bkt/a/none", &[]).await.outcome(), (404, "NoSuchKey".into()), "{kind:?}");
        let etag = store.head("a/one").await.header("etag").to_owned();
        for condition in [("x-amz-copy-source-if-match", "\"other\""), ("x-amz-copy-source-if-none-match", &etag)] {
            let refused = copy(&gateway.a, "a/x", "/bkt/a/one", &[condition]).await;
            assert_eq!(refused.outcome(), (412, "PreconditionFailed".into()), "{kind:?} {condition:?}");
        }
        assert_eq!(store.read("a/x").await, None, "{kind:?}");
        assert!(gateway.records().iter().any(|record| record.source.as_deref() == Some("bkt/a/sou rce+1%")));
    }
}

#[tokio::test]
async fn parts_are_copied_whole_and_by_range() {
    const MIB: usize = 1 << 20;
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let gateway = store.setup().start().await;
        let body = pattern(12 * MIB);
        store.put("a/from here", &body).await;
        let created = gateway.a.send("POST", "/bkt/a/whole?uploads", &[], "").await;
        let id = created.element("UploadId");
        let mut list = String::new();
        for (number, range) in [(1, "bytes=5242880-12582911"), (2, "bytes=0-5242879")] {
            let target = format!("a/whole?partNumber={number}&uploadId={id}");
            let range = [("x-amz-copy-source-range", range)];
            let copied = copy(&gateway.a, &target, "/bkt/a/from%20here", &range).await;
            assert_eq!(copied.status, 200, "{kind:?}: {}", copied.text());
            assert!(copied.text().contains("<CopyPartResult"), "{kind:?}");
            let etag = copied.element("ETag");
            list.push_str(&format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"));
        }
        let target = format!("a/whole?partNumber=3&uploadId={id}");
        for (from, range, expected) in [
            ("/bkt/a/none", "bytes=0-9", (404, "NoSuchKey")),
            ("/bkt/a/from%20here", "bytes=0-12582912", (400, "InvalidArgument")),
            ("/bkt/a/from%20here", "bytes=9-0", (400, "InvalidArgument")),
            // RGW 16.2.15 reads another key then, and ends itself if that is not there (D05).
            ("/bkt/a/from%2520here", "bytes=0-9", (400, "InvalidArgument")),
        ] {
            let refused = copy(&gateway.a, &target, from, &[("x-amz-copy-source-range", range)]).await;
            assert_eq!(refused.outcome(), (expected.0, expected.1.to_owned()), "{kind:?} {from} {range}");
        }
        let foreign = copy(&gateway.b, &target, "/bkt/b/x", &[]).await;
        assert_eq!(foreign.outcome(), (403, "AccessDenied".into()), "{kind:?}");
        let document = format!("<CompleteMultipartUpload>{list}</CompleteMultipartUpload>");
        let done = gateway.a.send("POST", &format!("/bkt/a/whole?uploadId={id}"), &[], document).await;
        assert_eq!(done.status, 200, "{kind:?}: {}", done.text());
        let whole = [&body[5 * MIB..], &body[..5 * MIB]].concat();
        assert!(store.read("a/whole").await == Some(whole), "{kind:?}");
    }
}

#[tokio::test]
async fn d01_d02_the_source_of_a_copy_is_a_read_of_its_own() {
    let wire = Wire::start().await;
    for source in ["/bkt/b/secret", "bkt/b/secret", "other/x", "/up-bkt/a/own", "bkt%2Fb%2Fsecret"] {
        for line in ["PUT /bkt/a/x", "PUT /bkt/a/x?partNumber=1&uploadId=x"] {
            let reply = wire.once(line, &format!("x-amz-copy-source: {source}\r\ncontent-length: 0\r\n")).await;
            assert_eq!(reply.status, 403, "{line} {source}: {reply:?}");
            assert!(reply.text.contains("<Message>Access Denied</Message>"), "{line} {source}: {reply:?}");
        }
    }
    // D07: a version is a right of its own, in the source too.
    let reply = wire.once("PUT /bkt/a/x", "x-amz-copy-source: /bkt/a/y?versionId=1\r\ncontent-length: 0\r\n").await;
    assert_eq!(reply.status, 403, "{reply:?}");
    assert!(wire.recorder.is_silent());
}

#[tokio::test]
async fn d03_d04_d05_d09_a_source_without_one_reading_is_refused_before_the_store_hears_of_it() {
    let wire = Wire::start().await;
    let long = format!("bkt/a/{}", "x".repeat(20_000));
    for source in [
        "bkt/a/%2e%2e/b/secret",
        "bkt/a/..%2fb/secret",
        "//bkt/b/secret",
        "bkt/a/x?versionId=1?versionId=2",
        "bkt/a/x%00",
        "bkt/a/%c0%af",
        "bkt/a/x?acl",
        "arn:aws:s3:us-east-1:1:accesspoint/ap/object/b/secret",
        "s3://bkt/b/x",
        "http://evil/x",
        "",
        "/",
        "bkt",
        "bkt/",
        "/bkt//",
        &long,
        "bkt/a/y\r\nx-amz-copy-source: bkt/a/z",
    ] {
        for line in ["PUT /bkt/a/x", "PUT /bkt/a/x?partNumber=1&uploadId=x"] {
            let reply = wire.once(line, &format!("x-amz-copy-source: {source}\r\ncontent-length: 0\r\n")).await;
            assert_eq!(reply.status, 400, "{line} {source}: {reply:?}");
        }
    }
    for range in ["bytes=100-0", "bytes=0-", "bytes=-5", "bytes=0-18446744073709551616", "bytes=0-1,2-3"] {
        let headers =
            format!("x-amz-copy-source: bkt/a/y\r\nx-amz-copy-source-range: {range}\r\ncontent-length: 0\r\n");
        let reply = wire.once("PUT /bkt/a/x?partNumber=1&uploadId=x", &headers).await;
        assert_eq!(reply.status, 400, "{range}: {reply:?}");
    }
    // D06: a copy has no body, and its range belongs to a part.
    for more in ["content-length: 3\r\n", "x-amz-copy-source-range: bytes=0-1\r\ncontent-length: 0\r\n"] {
        let reply = wire.once("PUT /bkt/a/x", &format!("x-amz-copy-source: bkt/a/y\r\n{more}")).await;
        assert_eq!(reply.status, 400, "{more}: {reply:?}");
    }
    assert!(wire.recorder.is_silent());
}

/// A store with one object, which takes every copy.
fn store_of(headers: &'static str, body: &'static str, result: &'static str) -> Answer {
    Answer::By(Arc::new(move |head| {
        let length = body.len();
        if head.starts_with("HEAD") {
            Answer::Bytes(format!("HTTP/1.1 200 X\r\ncontent-length: {length}\r\netag: \"e1\"\r\n{headers}\r\n"))
        } else if head.starts_with("GET") {
            Answer::Bytes(response(206, "etag: \"e1\"\r\n", body))
        } else {
            Answer::Bytes(response(200, "content-type: application/xml\r\nx-amz-version-id: v2\r\n", result))
        }
    }))
}

const COPIED: &str =
    "<CopyObjectResult><LastModified>2026-01-01T00:00:00Z</LastModified><ETag>&quot;e2&quot;</ETag></CopyObjectResult>";

#[tokio::test]
async fn what_was_looked_at_is_what_is_copied_under_the_stores_names() {
    let recorder = Recorder::start(store_of("content-type: text/plain\r\n", "hello", COPIED)).await;
    let mut setup = Setup::before(&recorder);
    setup.bucket_settings = ", prefix: \"in side/\"".into();
    let gateway = setup.start().await;
    // `*` would undo the pin.
    let any = ("x-amz-copy-source-if-match", "*");
    let more = [("x-amz-tagging-directive", "COPY"), ("x-amz-meta-a", "1"), ("content-type", "text/html"), any];
    let copied = copy(&gateway.a, "a/x", "bkt/a/y%20z", &more).await;
    assert_eq!((copied.status.as_u16(), copied.header("x-amz-version-id")), (200, "v2"), "{}", copied.text());
    assert_eq!(copied.element("ETag"), "&quot;e2&quot;");
    let requests = recorder.requests();
    assert_eq!(requests.len(), 2, "{requests:?}");
    assert_eq!(requests[0].request_line(), "HEAD /up-bkt/in%20side/a/y%20z");
    assert_eq!(requests[1].request_line(), "PUT /up-bkt/in%20side/a/x");
    assert_eq!(requests[1].header("x-amz-copy-source"), "/up-bkt/in%20side/a/y%20z");
    assert_eq!(requests[0].header("if-match"), "*");
    assert_eq!(requests[1].header("x-amz-copy-source-if-match"), "\"e1\"");
    // The pin does not cover tags, and this caller may not write any.
    assert_eq!(requests[1].header("x-amz-tagging-directive"), "REPLACE");
    for name in ["x-amz-meta-a", "content-type"] {
        assert_eq!(requests[1].header(name), "", "metadata beside COPY is not the store's to interpret");
    }
}

#[tokio::test]
async fn d11_a_copy_keeps_the_rule_of_its_target() {
    let rules = "
  - { name: read, who: anyone, where: bkt/from/, what: [read] }
  - { name: small, who: anyone, where: bkt/small/, what: write, limits: { max_size: 4B } }
  - { name: images, who: anyone, where: bkt/images/, what: write, content: { types: image/*, extensions: png, check_bytes: true } }
  - { name: typed, who: anyone, where: bkt/typed/, what: write, content: { types: text/* } }
  - { name: noted, who: anyone, where: bkt/noted/, what: write, headers: { require: { x-amz-meta-note: null }, set: { cache-control: no-store } } }";
    let html = "content-type: text/html\r\n";
    for (headers, body, to, more, expected) in [
        (html, "hello", "small/x", vec![], (400, "EntityTooLarge")),
        (html, "hell", "small/x", vec![], (200, "")),
        (html, "<html>", "images/x.png", vec![], (403, "AccessDenied")),
        (html, "<html>", "images/x.png", vec![REPLACE, ("content-type", "image/png")], (403, "AccessDenied")),
        ("content-type: image/png\r\n", "<html>", "images/x.png", vec![], (403, "AccessDenied")),
        ("content-type: image/png\r\n", "\u{89}PNG", "images/x.exe", vec![], (403, "AccessDenied")),
        (html, "hello", "typed/x", vec![], (200, "")),
        (html, "hello", "noted/x", vec![], (403, "AccessDenied")),
        (html, "hello", "noted/x", vec![REPLACE, ("x-amz-meta-note", "n")], (200, "")),
        ("x-amz-meta-note: n\r\n", "hello", "noted/x", vec![], (200, "")),
        // D24: tags of the source are read there and written here.
        ("x-amz-tagging-count: 1\r\n", "x", "small/x", vec![], (403, "AccessDenied")),
        ("x-amz-tagging-count: 1\r\n", "x", "small/x", vec![("x-amz-tagging-directive", "REPLACE")], (200, "")),
    ] {
        let recorder = Recorder::start(store_of(headers, body, COPIED)).await;
        let gateway = Setup::before(&recorder).rules(rules).start().await;
        let answer = copy(&gateway.a, to, "bkt/from/y", &more).await;
        assert_eq!(answer.outcome(), (expected.0, expected.1.to_owned()), "{to} {more:?}: {}", answer.text());
        let puts: Vec<_> = recorder.requests().into_iter().filter(|sent| sent.head.starts_with("PUT")).collect();
        assert_eq!(puts.len(), usize::from(expected.0 == 200), "{to} {more:?}");
        if let Some(put) = puts.first().filter(|_| to.starts_with("typed")) {
            // The pin does not cover metadata: the store is told what was looked at.
            let sent = ["content-type", "x-amz-metadata-directive"].map(|name| put.header(name));
            assert_eq!(sent, ["text/html", "REPLACE"]);
        }
        if let Some(put) = puts.first().filter(|_| to.starts_with("noted")) {
            // The rule's header is part of the metadata, so the metadata goes along as a whole.
            let sent = ["cache-control", "x-amz-meta-note", "x-amz-metadata-directive"].map(|name| put.header(name));
            assert_eq!(sent, ["no-store", "n", "REPLACE"], "{more:?}");
        }
    }
}

#[tokio::test]
async fn d10_a_copy_between_stores_is_refused() {
    let recorder = Recorder::start(Answer::ok()).await;
    let second = format!(
        "\n  second:\n    endpoint: {}\n    region: us-east-1\n    credentials: {{ access_key_id: env:ACCESS, secret_access_key: env:SECRET }}",
        recorder.endpoint()
    );
    let mut setup = Setup::before(&recorder).upstream(&second);
    setup.bucket_settings = " }\n  far: { upstream: second, bucket: far".into();
    let rules = "\n  - { name: all, who: anyone, where: [bkt, far], what: [read, write] }";
    let gateway = setup.rules(rules).start().await;
    assert_eq!(copy(&gateway.a, "x", "far/y", &[]).await.outcome(), (501, "NotImplemented".into()));
    assert!(recorder.is_silent());
}

#[tokio::test]
async fn g04_an_error_inside_the_200_of_a_copy_is_an_error() {
    let error = "\n\n<Error><Code>InternalError</Code><Message>m</Message></Error>";
    let recorder = Recorder::start(store_of("", "hello", error)).await;
    let gateway = Setup::before(&recorder).start().await;
    assert_eq!(copy(&gateway.a, "a/x", "bkt/a/y", &[]).await.outcome(), (502, "BadGateway".into()));
    assert_eq!(gateway.record(1).await.code, Some("BadGateway"));
}

#[tokio::test]
async fn g04_a_copy_that_takes_long_begins_its_answer_and_fails_at_its_end() {
    for (result, code, outcome) in [
        (COPIED, "", countersign::audit::record::Outcome::Ok),
        ("<Error><Code>SlowDown</Code></Error>", "SlowDown", countersign::audit::record::Outcome::Refused),
    ] {
        let quick = store_of("", "hello", "");
        let recorder = Recorder::start(Answer::By(Arc::new(move |head| {
            if head.starts_with("PUT") {
                let first =
                    "HTTP/1.1 200 X\r\ncontent-type: application/xml\r\ntransfer-encoding: chunked\r\n\r\n1\r\n \r\n";
                Answer::InTwo(
                    first.into(),
                    std::time::Duration::from_secs(6),
                    format!("{:x}\r\n{result}\r\n0\r\n\r\n", result.len()),
                )
            } else {
                let Answer::By(answer) = &quick else { unreachable!("made above") };
                answer(head)
            }
        })))
        .await;
        let gateway = Setup::before(&recorder).start().await;
        let answer = copy(&gateway.a, "a/x", "bkt/a/y", &[]).await;
        assert_eq!(answer.outcome(), (200, code.to_owned()), "{}", answer.text());
        assert!(answer.text().starts_with("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<"), "{}", answer.text());
        let record = gateway.record(1).await;
        assert_eq!((record.outcome, record.upstream_status), (outcome, Some(200)));
        assert_eq!(record.code.unwrap_or_default(), code);
    }
}

//! Tags and attributes of objects: rights of their own, documents written anew in both directions.

use super::support::{Answer, Client, Recorder, Response, Setup, Store, StoreKind};

const TAGS: &str = "'s3:GetObjectTagging', 's3:PutObjectTagging', 's3:DeleteObjectTagging'";
const VERSION_TAGS: &str =
    "'s3:GetObjectVersionTagging', 's3:PutObjectVersionTagging', 's3:DeleteObjectVersionTagging'";

/// Token `a` with actions below `bkt/a/`; token `b` may read and write there.
fn rules(actions: &str) -> String {
    format!(
        "\n  - {{ name: own, who: {{ tokens: [a] }}, where: bkt/a/, what: ['s3:GetObject', write, delete, {actions}] }}\n  - {{ name: other, who: {{ tokens: [b] }}, where: bkt/a/, what: ['s3:GetObject', write, delete] }}"
    )
}

fn tagging(tags: &[(&str, &str)]) -> String {
    let tag = |(key, value): &(&str, &str)| format!("<Tag><Key>{key}</Key><Value>{value}</Value></Tag>");
    let tags: String = tags.iter().map(tag).collect();
    format!("<Tagging xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><TagSet>{tags}</TagSet></Tagging>")
}

async fn put_tags(client: &Client, target: &str, body: String) -> Response {
    let md5 = super::batch::md5(&body);
    client.put(target, &[("content-md5", &md5)], body).await
}

#[tokio::test]
async fn tags_go_in_come_out_and_go_away() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let gateway = store.setup().rules(&rules(TAGS)).start().await;
        gateway.a.put("/bkt/a/x", &[], "x").await;
        let put = put_tags(&gateway.a, "/bkt/a/x?tagging", tagging(&[("team", "red &#43; blue"), ("ü/:=", "")])).await;
        assert_eq!((put.status.as_u16(), put.body.len()), (200, 0), "{kind:?}: {}", put.text());
        let got = gateway.a.get("/bkt/a/x?tagging").await;
        let mut tags: Vec<_> = got.elements("Key").into_iter().zip(got.elements("Value")).collect();
        tags.sort();
        let expected = [("team".to_owned(), "red + blue".to_owned()), ("ü/:=".to_owned(), String::new())];
        assert_eq!(tags, expected, "{kind:?}: {}", got.text());
        assert_eq!(gateway.a.get("/bkt/a/x").await.body, b"x", "{kind:?}: the object is what it was");
        assert_eq!(gateway.a.delete("/bkt/a/x?tagging").await.status, 204, "{kind:?}");
        let empty = gateway.a.get("/bkt/a/x?tagging").await;
        assert_eq!((empty.status.as_u16(), empty.elements("Tag").len()), (200, 0), "{kind:?}: {}", empty.text());
        assert_eq!(gateway.a.get("/bkt/a/x").await.body, b"x", "{kind:?}: the object is still there");
        assert_eq!(gateway.a.get("/bkt/a/none?tagging").await.outcome(), (404, "NoSuchKey".into()), "{kind:?}");
    }
}

#[tokio::test]
async fn d07_tags_of_versions_are_apart() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        store.keep_versions().await;
        let plain = store.setup().rules(&rules(TAGS)).start().await;
        let versions = store.setup().rules(&rules(&format!("{TAGS}, {VERSION_TAGS}"))).start().await;
        let old = plain.a.put("/bkt/a/x", &[], "1").await.header("x-amz-version-id").to_owned();
        plain.a.put("/bkt/a/x", &[], "2").await;
        let target = format!("/bkt/a/x?tagging&versionId={old}");
        let denied = (403, "AccessDenied".to_owned());
        assert_eq!(plain.a.get(&target).await.outcome(), denied, "{kind:?}");
        assert_eq!(put_tags(&plain.a, &target, tagging(&[("k", "old")])).await.outcome(), denied, "{kind:?}");
        assert_eq!(plain.a.delete(&target).await.outcome(), denied, "{kind:?}");
        let put = put_tags(&versions.a, &target, tagging(&[("k", "old")])).await;
        assert_eq!(put.status, 200, "{kind:?}: {}", put.text());
        assert_eq!(versions.a.get(&target).await.elements("Value"), ["old"], "{kind:?}");
        assert!(plain.a.get("/bkt/a/x?tagging").await.elements("Value").is_empty(), "{kind:?}");
        assert_eq!(versions.a.delete(&target).await.status, 204, "{kind:?}");
        assert!(versions.a.get(&target).await.elements("Value").is_empty(), "{kind:?}");
    }
}

#[tokio::test]
async fn d24_tags_need_rights_of_their_own() {
    let recorder = Recorder::start(Answer::ok()).await;
    let gateway = Setup::before(&recorder).rules(&rules(TAGS)).start().await;
    let denied = (403, "AccessDenied".to_owned());
    for (client, target) in [(&gateway.b, "/bkt/a/x?tagging"), (&gateway.a, "/bkt/b/x?tagging")] {
        assert_eq!(client.get(target).await.outcome(), denied, "{target}");
        assert_eq!(put_tags(client, target, tagging(&[("k", "v")])).await.outcome(), denied, "{target}");
        assert_eq!(client.delete(target).await.outcome(), denied, "{target}");
    }
    assert!(recorder.is_silent());
}

#[tokio::test]
async fn d24_k27_tags_are_read_strictly_and_written_anew() {
    let recorder =
        Recorder::start(Answer::status(200, "x-amz-version-id: v1\r\nserver: inside\r\n", "<Inside/>")).await;
    let gateway = Setup::before(&recorder).rules(&rules(TAGS)).start().await;
    let many: Vec<_> = (0..11).map(|n| (format!("k{n}"), "v")).collect();
    let many: Vec<_> = many.iter().map(|(key, value)| (key.as_str(), *value)).collect();
    for (body, code) in [
        (tagging(&many), "InvalidTag"),
        (tagging(&[("k", "1"), ("k", "2")]), "InvalidTag"),
        (tagging(&[("aws:k", "1")]), "InvalidTag"),
        (tagging(&[("", "1")]), "InvalidTag"),
        (tagging(&[("k", &"v".repeat(257))]), "InvalidTag"),
        (tagging(&[("k", "&x;")]), "MalformedXML"),
        (tagging(&[("k\n", "v")]), "MalformedXML"),
        (format!("<!DOCTYPE a [<!ENTITY x \"y\">]>{}", tagging(&[("k", "v")])), "MalformedXML"),
        ("<Tagging>".repeat(5_000), "MalformedXML"),
        ("<Tagging/>".to_owned(), "MalformedXML"),
        (String::new(), "MalformedXML"),
        (tagging(&[("k", &"v".repeat(70_000))]), "MaxMessageLengthExceeded"),
    ] {
        let answer = put_tags(&gateway.a, "/bkt/a/x?tagging", body.clone()).await;
        assert_eq!(answer.outcome(), (400, code.to_owned()), "{body:.150}");
    }
    let unchecked = gateway.a.put("/bkt/a/x?tagging", &[], tagging(&[("k", "v")])).await;
    assert_eq!(unchecked.outcome(), (400, "InvalidRequest".into()));
    let other = [("content-md5", "XUFAKrxLKna5cZ2REBfFkg==")];
    let other = gateway.a.put("/bkt/a/x?tagging", &other, tagging(&[("k", "v")])).await;
    assert_eq!(other.outcome(), (400, "BadDigest".into()));
    assert!(recorder.is_silent());

    let put = put_tags(&gateway.a, "/bkt/a/x?tagging", format!("<!-- c -->{}", tagging(&[("k&#61;", "v")]))).await;
    assert_eq!((put.status.as_u16(), put.text(), put.header("x-amz-version-id")), (200, String::new(), "v1"));
    let [asked, sent] = <[_; 2]>::try_from(recorder.requests()).unwrap();
    assert_eq!(
        (asked.request_line(), sent.request_line()),
        ("GET /up-bkt/a/x?tagging=".into(), "PUT /up-bkt/a/x?tagging=".into())
    );
    let body = String::from_utf8(sent.body.clone()).unwrap();
    assert!(body.ends_with(&tagging(&[("k=", "v")])) && !body.contains("<!--"), "{body}");
    assert_eq!(sent.header("content-md5"), super::batch::md5(&body));
}

#[tokio::test]
async fn d20_tags_are_not_changed_at_a_store_that_does_not_know_them() {
    let recorder = Recorder::start(Answer::status(200, "etag: \"e\"\r\n", "the object")).await;
    let gateway = Setup::before(&recorder).rules(&rules(TAGS)).start().await;
    let target = "/bkt/a/x?tagging";
    for (answer, expected) in [
        (Answer::status(200, "etag: \"e\"\r\n", "the object"), (501, "NotImplemented".to_owned())),
        (Answer::error(503, "SlowDown"), (503, "SlowDown".to_owned())),
        (Answer::error(403, "AccessDenied"), (502, "BadGateway".to_owned())),
    ] {
        recorder.answer(answer);
        assert_eq!(gateway.a.delete(target).await.outcome(), expected);
        assert_eq!(put_tags(&gateway.a, target, tagging(&[("k", "v")])).await.outcome(), expected);
    }
    assert!(recorder.requests().iter().all(|request| request.head.starts_with("GET ")));
    // A store may say by an error that there are none yet.
    let changes = Answer::status(200, "", "");
    recorder.answer(Answer::Where("GET ", Box::new(Answer::error(404, "NoSuchTagSet")), Box::new(changes)));
    assert_eq!(gateway.a.delete(target).await.status, 204);
    assert_eq!(put_tags(&gateway.a, target, tagging(&[("k", "v")])).await.status, 200);
}

#[tokio::test]
async fn g07_answers_about_tags_are_written_anew() {
    let recorder = Recorder::start(Answer::ok()).await;
    let gateway = Setup::before(&recorder).rules(&rules(TAGS)).start().await;
    recorder.answer(Answer::status(
        200,
        "x-inside: 1\r\n",
        &format!("<?xml version=\"1.0\"?>{}", tagging(&[("k", "v")])),
    ));
    let got = gateway.a.get("/bkt/a/x?tagging").await;
    assert_eq!((got.elements("Key"), got.header("x-inside")), (vec!["k".to_owned()], ""), "{}", got.text());
    recorder.answer(Answer::error(400, "InvalidTag"));
    let refused = put_tags(&gateway.a, "/bkt/a/x?tagging", tagging(&[("k", "a&amp;b")])).await;
    assert_eq!(refused.outcome(), (400, "InvalidTag".into()), "SeaweedFS takes fewer characters than others");
    for answer in [
        "<Error><Code>InternalError</Code><Message>inside</Message></Error>".to_owned(),
        "<html>inside</html>".to_owned(),
        "<Tagging><Inside/></Tagging>".to_owned(),
        tagging(&[("k", &"inside".repeat(100_000))]),
        "<!DOCTYPE inside><Tagging><TagSet/></Tagging>".to_owned(),
    ] {
        recorder.answer(Answer::status(200, "", &answer));
        let got = gateway.a.get("/bkt/a/x?tagging").await;
        assert_eq!(got.outcome(), (502, "BadGateway".into()), "{answer:.100}");
        assert!(!got.text().contains("inside"), "{}", got.text());
    }
}

const ATTRIBUTES: (&str, &str) = ("x-amz-object-attributes", "ETag,ObjectSize,StorageClass");

#[tokio::test]
async fn attributes_are_answered_where_the_store_has_them() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let gateway = store.setup().rules(&rules("'s3:GetObjectAttributes'")).start().await;
        let etag = gateway.a.put("/bkt/a/x", &[], "hello").await.header("etag").trim_matches('"').to_owned();
        let got = gateway.a.send("GET", "/bkt/a/x?attributes", &[ATTRIBUTES], "").await;
        match kind {
            // RGW 16 does not know the operation and would give the object's bytes.
            StoreKind::Rgw => assert_eq!(got.outcome(), (501, "NotImplemented".into()), "{}", got.text()),
            _ => assert_eq!(
                (got.status.as_u16(), got.element("ETag"), got.element("ObjectSize")),
                (200, etag, "5".into()),
                "{kind:?}: {}",
                got.text()
            ),
        }
        assert!(!got.text().contains("hello"), "{kind:?}");
        let missing = gateway.a.send("GET", "/bkt/a/none?attributes", &[ATTRIBUTES], "").await;
        assert_eq!(missing.outcome(), (404, "NoSuchKey".into()), "{kind:?}");
    }
}

#[tokio::test]
async fn attributes_need_two_rights_and_a_list_that_is_understood() {
    let answer = "<GetObjectAttributesResponse><Inside>1</Inside><ETag>e</ETag><ObjectSize>5</ObjectSize></GetObjectAttributesResponse>";
    let recorder =
        Recorder::start(Answer::status(200, "last-modified: Sat, 21 Nov 2026 00:00:00 GMT\r\n", answer)).await;
    let gateway = Setup::before(&recorder).rules(&rules("'s3:GetObjectAttributes'")).start().await;
    let ask = async |client: &Client, target: &str, names: &str| {
        client.send("GET", target, &[("x-amz-object-attributes", names)], "").await
    };
    let denied = (403, "AccessDenied".to_owned());
    assert_eq!(ask(&gateway.b, "/bkt/a/x?attributes", "ETag").await.outcome(), denied);
    assert_eq!(ask(&gateway.a, "/bkt/b/x?attributes", "ETag").await.outcome(), denied);
    assert_eq!(ask(&gateway.a, "/bkt/a/x?attributes&versionId=1", "ETag").await.outcome(), denied);
    for names in ["", "etag", "ETag,Owner", "ETag,ETag"] {
        assert_eq!(
            ask(&gateway.a, "/bkt/a/x?attributes", names).await.outcome(),
            (400, "InvalidArgument".into()),
            "{names}"
        );
    }
    assert!(recorder.is_silent());
    let got = ask(&gateway.a, "/bkt/a/x?attributes", "ETag,ObjectSize").await;
    assert_eq!((got.status.as_u16(), got.element("ETag"), got.element("ObjectSize")), (200, "e".into(), "5".into()));
    assert!(!got.text().contains("Inside") && got.header("last-modified").contains("2026"), "{}", got.text());
    let sent = recorder.only();
    assert_eq!(
        (sent.request_line(), sent.header("x-amz-object-attributes")),
        ("GET /up-bkt/a/x?attributes=".into(), "ETag,ObjectSize".into())
    );
}

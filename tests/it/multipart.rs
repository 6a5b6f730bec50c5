//! Multipart uploads of clients: under sealed ids, held to the rule as a whole.

use super::support::{Answer, Client, Gateway, Recorder, Setup, Store, StoreKind, pattern};

const PART: usize = 5 << 20;

async fn create(client: &Client, key: &str, headers: &[(&str, &str)]) -> String {
    let created = client.send("POST", &format!("/bkt/{key}?uploads"), headers, "").await;
    assert_eq!(created.status, 200, "{}", created.text());
    assert_eq!((created.element("Bucket"), created.element("Key")), ("bkt".into(), key.into()));
    created.element("UploadId")
}

async fn put_part(client: &Client, key: &str, id: &str, number: u32, body: Vec<u8>) -> super::support::Response {
    client.put(&format!("/bkt/{key}?partNumber={number}&uploadId={id}"), &[], body).await
}

/// The list of parts as SDKs send it.
fn list_of_parts(parts: &[(u32, String)]) -> String {
    let part = |(number, etag): &(u32, String)| {
        format!("<Part><ETag>{}</ETag><PartNumber>{number}</PartNumber></Part>", etag.replace('"', "&quot;"))
    };
    let parts: String = parts.iter().map(part).collect();
    format!(
        "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{parts}</CompleteMultipartUpload>"
    )
}

async fn complete(client: &Client, key: &str, id: &str, parts: &[(u32, String)]) -> super::support::Response {
    client.send("POST", &format!("/bkt/{key}?uploadId={id}"), &[], list_of_parts(parts)).await
}

/// Uploads a body in parts of 5 MiB, and gives their numbers and ETags.
async fn upload(client: &Client, key: &str, id: &str, body: &[u8]) -> Vec<(u32, String)> {
    let mut parts = Vec::new();
    for (number, piece) in (1..).zip(body.chunks(PART)) {
        let put = put_part(client, key, id, number, piece.to_vec()).await;
        assert_eq!(put.status, 200, "{number}: {}", put.text());
        parts.push((number, put.header("etag").to_owned()));
    }
    parts
}

#[tokio::test]
async fn an_object_goes_up_in_parts_and_comes_back_whole() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let gateway = store.setup().start().await;
        let body = pattern(2 * PART + 1234);
        let id = create(&gateway.a, "a/large", &[("content-type", "text/x-large"), ("x-amz-meta-note", "n")]).await;
        let parts = upload(&gateway.a, "a/large", &id, &body).await;
        assert_eq!(store.read("a/large").await, None, "{kind:?}: nothing is visible before Complete");
        let listed = gateway.a.get(&format!("/bkt/a/large?uploadId={id}&max-parts=2")).await;
        assert_eq!(
            (listed.elements("PartNumber"), listed.element("IsTruncated")),
            (vec!["1".to_owned(), "2".to_owned()], "true".into()),
            "{kind:?}"
        );
        assert_eq!((listed.element("UploadId"), listed.element("Bucket")), (id.clone(), "bkt".into()), "{kind:?}");
        assert!(
            !listed.text().contains("Owner") && !listed.text().contains(&store.bucket),
            "{kind:?}: {}",
            listed.text()
        );
        let done = complete(&gateway.a, "a/large", &id, &parts).await;
        assert_eq!(
            (done.status.as_u16(), done.element("Bucket"), done.element("Key")),
            (200, "bkt".into(), "a/large".into()),
            "{kind:?}: {}",
            done.text()
        );
        assert!(!done.text().contains(&store.bucket), "{kind:?}");
        assert_eq!(done.element("Location"), "/bkt/a/large", "{kind:?}");
        let got = gateway.a.get("/bkt/a/large").await;
        assert!(got.body == body, "{kind:?}");
        assert_eq!((got.header("content-type"), got.header("x-amz-meta-note")), ("text/x-large", "n"), "{kind:?}");
    }
}

#[tokio::test]
async fn an_aborted_upload_leaves_nothing() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let gateway = store.setup().start().await;
        let id = create(&gateway.a, "a/gone", &[]).await;
        let parts = upload(&gateway.a, "a/gone", &id, &pattern(100)).await;
        assert_eq!(gateway.a.delete(&format!("/bkt/a/gone?uploadId={id}")).await.status, 204, "{kind:?}");
        // RGW 16 answers 500 to this.
        let expected =
            if kind == StoreKind::Rgw { (502, "BadGateway".to_owned()) } else { (404, "NoSuchUpload".to_owned()) };
        assert_eq!(complete(&gateway.a, "a/gone", &id, &parts).await.outcome(), expected, "{kind:?}");
        assert_eq!(store.read("a/gone").await, None, "{kind:?}");
        store.until_no_uploads().await;
    }
}

#[tokio::test]
async fn d18_an_upload_id_is_good_for_its_caller_and_key_only() {
    let Some(store) = Store::get(StoreKind::SeaweedFs).await else { return };
    let rules = "\n  - { name: all, who: anyone, where: bkt/a/, what: [read, write] }";
    let gateway = store.setup().rules(rules).start().await;
    let id = create(&gateway.a, "a/mine", &[]).await;
    let stores_own = store.uploads().await;
    assert!(!stores_own.is_empty() && !id.contains(&stores_own[0]));
    let refused = (404, "NoSuchUpload".to_owned());
    for (client, key, id) in [
        (&gateway.b, "a/mine", id.as_str()),
        (&gateway.a, "a/other", id.as_str()),
        (&gateway.a, "a/mine", stores_own[0].as_str()),
        (&gateway.a, "a/mine", "x"),
        (&gateway.a, "a/mine", ""),
    ] {
        assert_eq!(put_part(client, key, id, 1, pattern(10)).await.outcome(), refused, "{key} {id}");
        assert_eq!(client.get(&format!("/bkt/{key}?uploadId={id}")).await.outcome(), refused, "{key} {id}");
        assert_eq!(complete(client, key, id, &[(1, "e".into())]).await.outcome(), refused, "{key} {id}");
        assert_eq!(client.delete(&format!("/bkt/{key}?uploadId={id}")).await.outcome(), refused, "{key} {id}");
    }
    assert_eq!(put_part(&gateway.a, "a/mine", &id, 1, pattern(10)).await.status, 200);
}

async fn limited(store: &Store) -> Gateway {
    let rules = "\n  - { name: r, who: { tokens: [a] }, where: bkt, what: [read, write], limits: { min_size: 1KiB, max_size: 12MiB }, content: { types: [image/png, text/plain], check_bytes: true } }";
    store.setup().rules(rules).start().await
}

#[tokio::test]
async fn d19_the_sum_of_the_parts_is_held_to_the_rule() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let gateway = limited(&store).await;
        let text = [("content-type", "text/plain")];
        store.put("t/x", b"the old object").await;

        let id = create(&gateway.a, "t/x", &text).await;
        let parts = upload(&gateway.a, "t/x", &id, &vec![b'x'; 3 * PART]).await;
        assert_eq!(
            complete(&gateway.a, "t/x", &id, &parts).await.outcome(),
            (400, "EntityTooLarge".into()),
            "{kind:?}"
        );
        store.until_no_uploads().await;

        let id = create(&gateway.a, "t/x", &text).await;
        let parts = upload(&gateway.a, "t/x", &id, b"too little").await;
        assert_eq!(
            complete(&gateway.a, "t/x", &id, &parts).await.outcome(),
            (400, "EntityTooSmall".into()),
            "{kind:?}"
        );
        let forged = [(1, "\"00000000000000000000000000000000\"".to_owned())];
        assert_eq!(complete(&gateway.a, "t/x", &id, &forged).await.outcome(), (400, "InvalidPart".into()), "{kind:?}");
        assert_eq!(store.read("t/x").await.unwrap(), b"the old object", "{kind:?}");

        let put = put_part(&gateway.a, "t/x", &id, 2, vec![b'x'; 13 << 20]).await;
        assert_eq!(put.outcome(), (400, "EntityTooLarge".into()), "{kind:?}");
        let id = create(&gateway.a, "t/x", &text).await;
        let parts = upload(&gateway.a, "t/x", &id, &vec![b'x'; 2 * PART]).await;
        assert_eq!(complete(&gateway.a, "t/x", &id, &parts).await.status, 200, "{kind:?}");
        assert_eq!(store.read("t/x").await.unwrap().len(), 2 * PART, "{kind:?}");
    }
}

#[tokio::test]
async fn the_type_is_checked_at_creation_and_in_the_first_part() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let gateway = limited(&store).await;
        let refused = gateway.a.send("POST", "/bkt/t/y?uploads", &[("content-type", "text/html")], "").await;
        assert_eq!(refused.outcome(), (403, "AccessDenied".into()), "{kind:?}");
        let id = create(&gateway.a, "t/y", &[("content-type", "image/png")]).await;
        let html = [b"<html>".as_slice(), &vec![b' '; PART]].concat();
        assert_eq!(
            put_part(&gateway.a, "t/y", &id, 1, html.clone()).await.outcome(),
            (403, "AccessDenied".into()),
            "{kind:?}"
        );
        // Part 2 may hold anything, but no object begins with it.
        let put = put_part(&gateway.a, "t/y", &id, 2, html).await;
        let parts = [(2, put.header("etag").to_owned())];
        assert_eq!(complete(&gateway.a, "t/y", &id, &parts).await.outcome(), (400, "InvalidPart".into()), "{kind:?}");
        assert_eq!(store.read("t/y").await, None, "{kind:?}");
    }
}

#[tokio::test]
async fn l06_part_numbers_and_documents_are_read_strictly() {
    let recorder = Recorder::start(Answer::status(
        200,
        "",
        "<InitiateMultipartUploadResult><UploadId>up-1</UploadId></InitiateMultipartUploadResult>",
    ))
    .await;
    let gateway = Setup::before(&recorder).start().await;
    let id = create(&gateway.a, "a/x", &[]).await;
    for number in ["0", "10001", "-1", "1.0", "01", "%201", "x", "", "99999999999999999999"] {
        let put = gateway.a.put(&format!("/bkt/a/x?partNumber={number}&uploadId={id}"), &[], "part").await;
        assert_eq!(put.outcome(), (400, "InvalidArgument".into()), "{number}");
    }
    for document in
        ["", "<a/>", "<!DOCTYPE a><CompleteMultipartUpload/>", "<CompleteMultipartUpload/>", &"<a>".repeat(1000)]
    {
        let done = gateway.a.send("POST", &format!("/bkt/a/x?uploadId={id}"), &[], document.to_owned()).await;
        assert_eq!(done.outcome(), (400, "MalformedXML".into()), "{:.40}", document);
    }
    let done = gateway.a.send("POST", &format!("/bkt/a/x?uploadId={id}"), &[], " ".repeat(5 << 20)).await;
    assert_eq!(done.outcome(), (400, "MaxMessageLengthExceeded".into()));
    let unordered = list_of_parts(&[(2, "e".into()), (1, "e".into())]);
    let done = gateway.a.send("POST", &format!("/bkt/a/x?uploadId={id}"), &[], unordered).await;
    assert_eq!(done.outcome(), (400, "InvalidPartOrder".into()));
    assert_eq!(recorder.requests().len(), 1, "only the creation reached the store");
}

#[tokio::test]
async fn b18_h09_a_list_of_parts_is_held_to_its_digest_and_its_framing() {
    let recorder = Recorder::start(Answer::status(
        200,
        "",
        "<InitiateMultipartUploadResult><UploadId>up-1</UploadId></InitiateMultipartUploadResult>",
    ))
    .await;
    let gateway = Setup::before(&recorder).start().await;
    let target = format!("/bkt/a/x?uploadId={}", create(&gateway.a, "a/x", &[]).await);
    let list = list_of_parts(&[(1, "e".into())]);
    let framed = format!("{:x}\r\n{list}\r\n0\r\n\r\n", list.len());
    let length = list.len().to_string();
    let streaming = [
        ("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
        ("x-amz-decoded-content-length", length.as_str()),
    ];
    let wrong_hash = [("x-amz-content-sha256", "0000000000000000000000000000000000000000000000000000000000000000")];
    let refused = gateway.a.send("POST", &target, &wrong_hash, list.clone()).await;
    assert_eq!(refused.outcome(), (400, "XAmzContentSHA256Mismatch".into()));
    let refused = gateway.a.send("POST", &target, &[("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==")], list.clone()).await;
    assert_eq!(refused.outcome(), (400, "BadDigest".into()));
    let refused = gateway.a.send("POST", &target, &streaming, framed.replacen("0\r\n\r\n", "", 1)).await;
    assert_eq!(refused.outcome(), (400, "InvalidRequest".into()));
    assert_eq!(recorder.requests().len(), 1, "only the creation reached the store");

    // A checksum beside the list is that of the object.
    recorder.answer(Answer::status(
        200,
        "",
        "<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>",
    ));
    let of_the_object = gateway.a.send("POST", &target, &[("x-amz-checksum-crc32", "AAAAAA==")], list).await;
    let unframed = gateway.a.send("POST", &target, &streaming, framed).await;
    for done in [of_the_object, unframed] {
        assert_eq!(done.status, 200, "{}", done.text());
    }
}

#[tokio::test]
async fn g04_an_error_inside_a_success_is_an_error() {
    let recorder = Recorder::start(Answer::status(
        200,
        "",
        "<InitiateMultipartUploadResult><UploadId>up-1</UploadId></InitiateMultipartUploadResult>",
    ))
    .await;
    let gateway = Setup::before(&recorder).start().await;
    let id = create(&gateway.a, "a/x", &[]).await;
    recorder.answer(Answer::status(
        200,
        "",
        "  \n <?xml version=\"1.0\"?><Error><Code>InternalError</Code><Message>store-internal</Message></Error>",
    ));
    let done = complete(&gateway.a, "a/x", &id, &[(1, "e".into())]).await;
    assert_eq!(done.outcome(), (502, "BadGateway".into()));
    assert!(!done.text().contains("store-internal"));
    let sent = recorder.requests()[1].clone();
    assert_eq!(sent.request_line(), "POST /up-bkt/a/x?uploadId=up-1");
    assert_eq!(gateway.record(2).await.outcome.as_str(), "refused");
}

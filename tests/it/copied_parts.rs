//! UploadPartCopy where each part has its own verdict: the bytes of the source are what is looked at and what is stored.

use std::sync::Arc;

use super::support::recorder::response;
use super::support::{Answer, Client, Gateway, Recorder, Response, Setup, Store, StoreKind, pattern};

const PART: usize = 5 << 20;

/// The test file of virus scanners, in two halves, so that this file is none.
fn eicar() -> Vec<u8> {
    [r"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR", "-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"].concat().into_bytes()
}

async fn per_part(setup: Setup, more: &str) -> Gateway {
    let rules = format!(
        "\n  - {{ name: r, who: {{ tokens: [a], keys: [a] }}, where: bkt, what: [read, write], {more} inspect: {{ with: [av], multipart: per_part }} }}"
    );
    setup.top("inspectors: { av: { patterns: { sets: [eicar] } } }").rules(&rules).start().await
}

async fn create(client: &Client, key: &str, headers: &[(&str, &str)]) -> String {
    let created = client.send("POST", &format!("/bkt/{key}?uploads"), headers, "").await;
    assert_eq!(created.status, 200, "{}", created.text());
    created.element("UploadId")
}

async fn copy_part(client: &Client, key: &str, (number, id): (u32, &str), from: &str, range: &str) -> Response {
    let target = format!("/bkt/{key}?partNumber={number}&uploadId={id}");
    let mut headers = vec![("x-amz-copy-source", from)];
    if !range.is_empty() {
        headers.push(("x-amz-copy-source-range", range));
    }
    client.put(&target, &headers, "").await
}

async fn complete(client: &Client, key: &str, id: &str, etags: &[String]) -> Response {
    let part =
        |(number, etag): (u32, &String)| format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>");
    let list: String = (1..).zip(etags).map(part).collect();
    let document = format!("<CompleteMultipartUpload>{list}</CompleteMultipartUpload>");
    client.send("POST", &format!("/bkt/{key}?uploadId={id}"), &[], document).await
}

#[tokio::test]
async fn parts_are_copied_through_the_inspectors_whole_and_by_range() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let gateway = per_part(store.setup(), "").await;
        let body = pattern(12 << 20);
        store.put("from/x y", &body).await;
        let id = create(&gateway.a, "to/whole", &[]).await;
        let mut etags = Vec::new();
        for (number, range) in [(1, "bytes=5242880-12582911"), (2, "bytes=0-5242879"), (3, "")] {
            let copied = copy_part(&gateway.a, "to/whole", (number, &id), "/bkt/from/x%20y", range).await;
            assert_eq!(copied.status, 200, "{kind:?} {range}: {}", copied.text());
            assert!(copied.text().contains("<CopyPartResult") && copied.text().contains("<LastModified>2"), "{kind:?}");
            etags.push(copied.element("ETag"));
            let record = gateway.record(number as usize + 1).await;
            let found = &record.inspection.as_ref().unwrap()[0];
            let length = [0, 7_340_032, 5_242_880, body.len() as u64][number as usize];
            assert_eq!((found.verdict, found.bytes, record.operation), ("clean", length, Some("UploadPartCopy")));
        }
        let done = complete(&gateway.a, "to/whole", &id, &etags).await;
        assert_eq!(done.status, 200, "{kind:?}: {}", done.text());
        let whole = [&body[PART..], &body[..PART], &body[..]].concat();
        assert!(store.read("to/whole").await == Some(whole), "{kind:?}");
        // An object without a byte is looked at, too.
        assert_eq!(gateway.a.put("/bkt/from/empty", &[], "").await.status, 200);
        let id = create(&gateway.a, "to/empty", &[]).await;
        let copied = copy_part(&gateway.a, "to/empty", (1, &id), "/bkt/from/empty", "").await;
        assert_eq!(copied.status, 200, "{kind:?}: {}", copied.text());
        let done = complete(&gateway.a, "to/empty", &id, &[copied.element("ETag")]).await;
        assert_eq!((done.status.as_u16(), store.read("to/empty").await), (200, Some(Vec::new())), "{kind:?}");
    }
}

#[tokio::test]
async fn h12_a_part_that_is_copied_has_a_verdict_before_the_store_has_it() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let gateway = per_part(store.setup(), "").await;
        let object = [pattern(300_000), eicar(), pattern(300_000)].concat();
        store.put("from/bad", &object).await;
        let id = create(&gateway.a, "to/x", &[]).await;
        for (from, range) in [("/bkt/from/bad", ""), ("/bkt/from/bad", "bytes=299999-300068")] {
            let refused = copy_part(&gateway.a, "to/x", (1, &id), from, range).await;
            assert_eq!(refused.outcome(), (403, "ContentRejected".into()), "{kind:?} {range}: {}", refused.text());
        }
        let record = gateway.record(3).await;
        let told = (record.outcome.as_str(), record.inspection_action, record.inspection.as_ref().unwrap()[0].verdict);
        assert_eq!(told, ("refused", Some("refuse"), "matched"), "{kind:?}");
        let listed = gateway.a.get(&format!("/bkt/to/x?uploadId={id}")).await;
        assert_eq!(listed.elements("PartNumber"), [""; 0], "{kind:?}: {}", listed.text());
        // What lies beside it is another part.
        let clean = copy_part(&gateway.a, "to/x", (1, &id), "/bkt/from/bad", "bytes=0-300000").await;
        assert_eq!(clean.status, 200, "{kind:?}: {}", clean.text());
        let done = complete(&gateway.a, "to/x", &id, &[clean.element("ETag")]).await;
        assert_eq!(done.status, 200, "{kind:?}: {}", done.text());
        assert!(store.read("to/x").await.unwrap() == object[..300_001], "{kind:?}");
    }
}

#[tokio::test]
async fn d25_the_encoding_of_an_upload_is_told_of_its_parts() {
    let Some(store) = Store::get(StoreKind::SeaweedFs).await else { return };
    let gateway = per_part(store.setup(), "").await;
    store.put("from/x", b"what a reader takes for brotli").await;
    for (encoding, outcome) in [
        ("br", (403, "ContentNotScannable".to_owned())),
        ("gzip", (403, "ContentNotScannable".to_owned())),
        ("identity", (200, String::new())),
    ] {
        let id = create(&gateway.a, "to/x", &[("content-encoding", encoding)]).await;
        let target = format!("/bkt/to/x?partNumber=1&uploadId={id}");
        let uploaded = gateway.a.put(&target, &[], "what a reader takes for brotli").await;
        assert_eq!(uploaded.outcome(), outcome, "{encoding}");
        // What a part says of itself is not what a reader of the object is told.
        let other = gateway.a.put(&target, &[("content-encoding", "identity")], "what a reader takes for brotli").await;
        assert_eq!(other.outcome(), outcome, "{encoding}");
        let copied = copy_part(&gateway.a, "to/x", (1, &id), "/bkt/from/x", "").await;
        assert_eq!(copied.outcome(), outcome, "{encoding}");
    }
    let id = create(&gateway.a, "to/plain", &[]).await;
    let target = format!("/bkt/to/plain?partNumber=1&uploadId={id}");
    assert_eq!(gateway.a.put(&target, &[], "what a reader takes for text").await.status, 200);
}

#[tokio::test]
async fn d11_a_copied_part_keeps_the_terms_of_the_rule() {
    let Some(store) = Store::get(StoreKind::SeaweedFs).await else { return };
    let gateway =
        per_part(store.setup(), "limits: { max_size: 1MiB }, content: { types: image/png, check_bytes: true },").await;
    store.put("from/large", &pattern((1 << 20) + 1)).await;
    store.put("from/text", b"this is no picture").await;
    let png = [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec(), pattern(100)].concat();
    store.put("from/png", &png).await;
    let id = create(&gateway.a, "to/x", &[("content-type", "image/png")]).await;
    let copy = async |from: &str| copy_part(&gateway.a, "to/x", (1, &id), &format!("/bkt/from/{from}"), "").await;
    assert_eq!(copy("large").await.outcome(), (400, "EntityTooLarge".into()));
    assert_eq!(copy("text").await.outcome(), (403, "AccessDenied".into()), "its first bytes do not fit the type");
    assert_eq!(copy("none").await.outcome(), (404, "NoSuchKey".into()));
    assert_eq!(copy("png").await.status, 200);
}

/// A store with a source of 100,000 bytes, that says this when it is read.
fn store_that_says(get: String) -> Answer {
    const CREATED: &str = "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>";
    Answer::By(Arc::new(move |head| match head.split(' ').next() {
        Some("POST") => Answer::Bytes(response(200, "", CREATED)),
        // An answer to HEAD has the length of what is not there.
        Some("HEAD") => Answer::ThenClose("HTTP/1.1 200 X\r\netag: \"one\"\r\ncontent-length: 100000\r\n\r\n".into()),
        Some("GET") => Answer::ThenClose(get.clone()),
        _ => Answer::Bytes(response(200, "etag: \"part\"\r\n", "")),
    }))
}

#[tokio::test]
async fn h12_a_source_that_breaks_off_or_changes_is_no_part() {
    let said = |etag: &str, length: usize, sent: usize| {
        format!("HTTP/1.1 206 X\r\netag: \"{etag}\"\r\ncontent-length: {length}\r\n\r\n{}", "x".repeat(sent))
    };
    for (what, get, stored) in [
        ("as it is", said("one", 100_000, 100_000), true),
        ("breaks off", said("one", 100_000, 99_999), false),
        ("another", said("two", 100_000, 100_000), false),
        ("longer", said("one", 100_001, 100_001), false),
        ("refuses", response(412, "", "<Error><Code>PreconditionFailed</Code></Error>"), false),
    ] {
        let recorder = Recorder::start(store_that_says(get)).await;
        let gateway = per_part(Setup::before(&recorder), "").await;
        let id = create(&gateway.a, "to/x", &[]).await;
        let answer = copy_part(&gateway.a, "to/x", (1, &id), "/bkt/from/x", "").await;
        assert_eq!(answer.status == 200, stored, "{what}: {}", answer.text());
        let puts: Vec<_> = recorder.requests().into_iter().filter(|sent| sent.head.starts_with("PUT")).collect();
        assert_eq!(puts.iter().any(|put| put.complete), stored, "{what}: {puts:?}");
        if let Some(put) = puts.first().filter(|_| stored) {
            assert_eq!(put.request_line(), "PUT /up-bkt/to/x?partNumber=1&uploadId=u");
            assert_eq!(put.header("x-amz-copy-source"), "", "its bytes come from here");
        }
        let get = recorder.requests().into_iter().find(|sent| sent.head.starts_with("GET")).unwrap();
        assert_eq!((get.header("if-match"), get.header("range")), ("\"one\"".into(), "bytes=0-99999".into()));
    }
}

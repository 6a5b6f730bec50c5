//! ListMultipartUploads where uploads wait at hidden keys: they are shown under the keys that they are for.

use super::support::recorder::response;
use super::support::{Answer, Client, Gateway, Recorder, Response, Setup, Store, StoreKind};

async fn inspected(before: Setup) -> Gateway {
    let what =
        "[write, \"s3:ListBucketMultipartUploads\", \"s3:ListMultipartUploadParts\", \"s3:AbortMultipartUpload\"]";
    let rules = format!(
        "
  - {{ name: r, who: {{ tokens: [a] }}, where: [bkt/d/, bkt/e/], what: {what}, inspect: {{ with: [av] }} }}
  - {{ name: plain, who: {{ tokens: [a] }}, where: bkt/p/, what: {what} }}
  - {{ name: other, who: {{ tokens: [b] }}, where: bkt/e/, what: {what}, inspect: {{ with: [av] }} }}"
    );
    before.top("inspectors: { av: { patterns: { sets: [eicar] } } }").rules(&rules).start().await
}

async fn create(client: &Client, key: &str) -> String {
    let target = format!("/bkt/{}?uploads", countersign::base::encoding::encode_path(key));
    let created = client.send("POST", &target, &[], "").await;
    assert_eq!(created.status, 200, "{}", created.text());
    created.element("UploadId")
}

async fn list(client: &Client, query: &str) -> Response {
    let listed = client.get(&format!("/bkt?uploads{query}")).await;
    assert_eq!(listed.status, 200, "{}", listed.text());
    assert!(!listed.text().contains(".countersign/"), "{}", listed.text());
    listed
}

fn sorted(mut keys: Vec<String>) -> Vec<String> {
    keys.sort();
    keys
}

#[tokio::test]
async fn staged_uploads_are_listed_under_their_keys_and_can_be_aborted() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let gateway = inspected(store.setup()).await;
        let known = create(&gateway.a, "d/x y").await;
        for key in ["d/sub/z", "e/x", "p/plain"] {
            create(&gateway.a, key).await;
        }
        create(&gateway.b, "e/theirs").await;
        let put = gateway.a.put(&format!("/bkt/d/x%20y?partNumber=1&uploadId={known}"), &[], "part").await;
        assert_eq!(put.status, 200, "{kind:?}: {}", put.text());
        // Who may list a key sees its uploads, whoever began them.
        let all = ["d/sub/z", "d/x y", "e/theirs", "e/x", "p/plain"];
        let listed = list(&gateway.a, "").await;
        assert_eq!(sorted(listed.elements("Key")), all, "{kind:?}: {}", listed.text());
        assert_eq!(listed.elements("Initiated").len(), all.len(), "{kind:?}: {}", listed.text());
        assert_eq!(sorted(list(&gateway.b, "&prefix=e/").await.elements("Key")), all[2..4], "{kind:?}");
        assert_eq!(gateway.b.get("/bkt?uploads&prefix=d/").await.status, 403, "{kind:?}");
        assert_eq!(sorted(list(&gateway.a, "&prefix=d/").await.elements("Key")), all[..2], "{kind:?}");
        let grouped = list(&gateway.a, "&prefix=d/&delimiter=/").await;
        assert_eq!(
            (grouped.elements("Key"), grouped.elements("Prefix")),
            (vec!["d/x y".to_owned()], vec!["d/".to_owned(), "d/sub/".to_owned()]),
            "{kind:?}: {}",
            grouped.text()
        );
        // Page by page.
        let (mut keys, mut marker) = (Vec::new(), String::new());
        for _ in 0..all.len() {
            let page = list(&gateway.a, &format!("&max-uploads=1{marker}")).await;
            keys.extend(page.elements("Key"));
            assert_eq!(page.element("IsTruncated"), (keys.len() < all.len()).to_string(), "{kind:?}: {}", page.text());
            marker =
                format!("&key-marker={}", countersign::base::encoding::encode_query(&page.element("NextKeyMarker")));
        }
        assert_eq!(sorted(keys), all, "{kind:?}");
        // An id of a list is good for looking and for giving up, and not for adding.
        let only = list(&gateway.a, "&prefix=d/x").await;
        let (id, key) = (only.element("UploadId"), "/bkt/d/x%20y");
        let parts = gateway.a.get(&format!("{key}?uploadId={id}")).await;
        assert_eq!(parts.elements("PartNumber"), ["1"], "{kind:?}: {}", parts.text());
        let added = gateway.a.put(&format!("{key}?partNumber=2&uploadId={id}"), &[], "x").await;
        assert!(added.status.is_client_error(), "{kind:?}: {}", added.text());
        for (key, id) in listed.elements("Key").iter().zip(listed.elements("UploadId")) {
            let key = countersign::base::encoding::encode_path(key);
            let aborted = gateway.a.delete(&format!("/bkt/{key}?uploadId={id}")).await;
            assert_eq!(aborted.status, 204, "{kind:?} {key}: {}", aborted.text());
        }
        assert_eq!(list(&gateway.a, "").await.elements("Key"), [""; 0], "{kind:?}");
        store.until_no_uploads().await;
        assert_eq!(store.keys("").await, [""; 0], "{kind:?}: nothing hidden is left");
    }
}

/// A store with uploads under these keys: two at their own, one at a hidden key.
fn store_with_uploads(record: Answer) -> Answer {
    let upload = |key: &str| {
        format!(
            "<Upload><Key>{key}</Key><UploadId>{key}</UploadId><Initiated>2026-01-02T03:04:05.000Z</Initiated></Upload>"
        )
    };
    let list = move |keys: &[&str]| {
        let uploads: String = keys.iter().copied().map(upload).collect();
        let list = format!("<ListMultipartUploadsResult>{uploads}</ListMultipartUploadsResult>");
        Answer::Bytes(response(200, "content-type: application/xml\r\n", &list))
    };
    let (plain, none, hidden) = (list(&["p/1", "p/2"]), list(&[]), list(&[".countersign/staging/0a"]));
    Answer::By(std::sync::Arc::new(move |head| match head.lines().next().unwrap_or_default() {
        line if line.contains(".parts") => record.clone(),
        line if line.contains(".countersign") => hidden.clone(),
        line if line.contains("prefix=p%2F") => plain.clone(),
        _ => none.clone(),
    }))
}

#[tokio::test]
async fn hidden_uploads_are_asked_for_by_the_page_that_gets_to_them() {
    let recorder = Recorder::start(store_with_uploads(Answer::error(404, "NoSuchKey"))).await;
    let gateway = inspected(Setup::before(&recorder)).await;
    let asked = || recorder.requests().iter().filter(|request| request.head.contains(".countersign")).count();
    let first = list(&gateway.a, "&max-uploads=1").await;
    assert_eq!((first.elements("Key"), first.element("IsTruncated")), (vec!["p/1".to_owned()], "true".to_owned()));
    assert_eq!(asked(), 0);
    let marker = countersign::base::encoding::encode_query(&first.element("NextKeyMarker"));
    let last = list(&gateway.a, &format!("&max-uploads=1&key-marker={marker}")).await;
    assert_eq!((last.elements("Key"), last.element("IsTruncated")), (vec!["p/2".to_owned()], "false".to_owned()));
    assert_eq!(asked(), 2, "the list and the record, which is not there");
}

#[tokio::test]
async fn a_store_that_does_not_tell_what_an_upload_is_for_does_not_make_it_vanish() {
    for record in [Answer::error(503, "SlowDown"), Answer::error(403, "AccessDenied"), Answer::CloseAfter(0)] {
        let recorder = Recorder::start(store_with_uploads(record)).await;
        let gateway = inspected(Setup::before(&recorder)).await;
        assert_eq!(gateway.a.get("/bkt?uploads").await.outcome(), (502, "BadGateway".to_owned()));
    }
}

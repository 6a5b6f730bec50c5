//! Objects that wait at a hidden key for their verdict: multipart uploads, and what is marked or put into the quarantine.

use super::support::{Client, Gateway, Response, Store, StoreKind, pattern};

const PART: usize = 5 << 20;

/// The test file of virus scanners, in two halves, so that this file is none.
fn eicar() -> Vec<u8> {
    [r"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR", "-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"].concat().into_bytes()
}

/// Tenant a under inspection, with further keys of `inspect`.
async fn inspected(store: &Store, more: &str) -> Gateway {
    let rules = format!(
        "\n  - {{ name: r, who: {{ tokens: [a], keys: [a] }}, where: bkt, what: [read, write, list, delete, \"s3:PutObjectTagging\", \"s3:GetObjectTagging\", \"s3:AbortMultipartUpload\", \"s3:ListMultipartUploadParts\", \"s3:ListBucketVersions\", \"s3:ListBucketMultipartUploads\"], inspect: {{ with: [av]{more} }} }}"
    );
    store.setup().top("inspectors: { av: { patterns: { sets: [eicar] } } }").rules(&rules).start().await
}

async fn create(client: &Client, key: &str, headers: &[(&str, &str)]) -> String {
    let created = client.send("POST", &format!("/bkt/{key}?uploads"), headers, "").await;
    assert_eq!(created.status, 200, "{}", created.text());
    created.element("UploadId")
}

async fn upload(client: &Client, key: &str, id: &str, parts: &[Vec<u8>]) -> String {
    let mut list = String::new();
    for (number, part) in (1..).zip(parts) {
        let put = client.put(&format!("/bkt/{key}?partNumber={number}&uploadId={id}"), &[], part.clone()).await;
        assert_eq!(put.status, 200, "{number}: {}", put.text());
        let etag = put.header("etag").to_owned();
        list.push_str(&format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"));
    }
    format!("<CompleteMultipartUpload>{list}</CompleteMultipartUpload>")
}

async fn complete(client: &Client, key: &str, id: &str, list: &str, headers: &[(&str, &str)]) -> Response {
    client.send("POST", &format!("/bkt/{key}?uploadId={id}"), headers, list.to_owned()).await
}

/// An object in parts, all the way.
async fn put_in_parts(client: &Client, key: &str, parts: &[Vec<u8>], headers: &[(&str, &str)]) -> Response {
    let id = create(client, key, headers).await;
    let list = upload(client, key, &id, parts).await;
    complete(client, key, &id, &list, &[]).await
}

/// Every key of the store's bucket, hidden ones included.
async fn all_keys(store: &Store) -> Vec<String> {
    store.keys("").await
}

fn etag_of(parts: &[Vec<u8>]) -> String {
    use countersign::s3::checksum::RunningDigest;
    let md5 = |bytes: &[u8]| {
        let mut digest = RunningDigest::md5();
        digest.update(bytes);
        digest.finish(16)
    };
    let all: Vec<u8> = parts.iter().flat_map(|part| md5(part)).collect();
    format!("\"{}-{}\"", hex::encode(md5(&all)), parts.len())
}

#[tokio::test]
async fn a_clean_upload_in_parts_gets_to_its_place_as_it_was_sent() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let gateway = inspected(&store, "").await;
        let large = pattern(2 * PART + 1234);
        for (key, parts) in [
            ("d/three", large.chunks(PART).map(<[u8]>::to_vec).collect::<Vec<_>>()),
            ("d/one", vec![b"a single part".to_vec()]),
            ("d/odd sizes", vec![pattern(PART + 3), pattern(PART + 1), b"x".to_vec()]),
        ] {
            let key = &countersign::base::encoding::encode_path(key);
            let headers = [
                ("content-type", "text/x-large"),
                ("x-amz-meta-note", "n"),
                ("cache-control", "no-cache"),
                ("x-amz-tagging", "a=b&c=d%26"),
            ];
            let id = create(&gateway.a, key, &headers).await;
            let list = upload(&gateway.a, key, &id, &parts).await;
            assert_eq!(gateway.a.get(&format!("/bkt/{key}")).await.status, 404, "{kind:?}: hidden until the verdict");
            let listed = gateway.a.get(&format!("/bkt/{key}?uploadId={id}")).await;
            assert_eq!(listed.elements("PartNumber").len(), parts.len(), "{kind:?}: {}", listed.text());
            assert!(!listed.text().contains("countersign/"), "{kind:?}: {}", listed.text());
            let done = complete(&gateway.a, key, &id, &list, &[]).await;
            assert_eq!(done.status, 200, "{kind:?} {key}: {}", done.text());
            assert!(!done.text().contains("countersign") && !done.text().contains(&store.bucket), "{}", done.text());
            let etag = etag_of(&parts);
            assert_eq!(done.element("ETag").replace("&quot;", "\""), etag, "{kind:?} {key}");
            let got = gateway.a.get(&format!("/bkt/{key}")).await;
            assert!(got.body == parts.concat(), "{kind:?} {key}");
            assert_eq!(got.header("etag"), etag, "{kind:?} {key}");
            let seen = (got.header("content-type"), got.header("x-amz-meta-note"), got.header("cache-control"));
            assert_eq!(seen, ("text/x-large", "n", "no-cache"), "{kind:?}");
            // RGW 16 takes no tags with CreateMultipartUpload.
            if kind == StoreKind::SeaweedFs {
                let tags = gateway.a.get(&format!("/bkt/{key}?tagging")).await;
                assert_eq!(tags.elements("Value"), ["b", "d&amp;"], "{kind:?} {key}: {}", tags.text());
            }
            let again = complete(&gateway.a, key, &id, &list, &[]).await;
            assert_eq!(again.outcome().0, 404, "{kind:?}: {}", again.text());
        }
        assert_eq!(all_keys(&store).await, ["d/odd sizes", "d/one", "d/three"], "{kind:?}: nothing hidden is left");
        store.until_no_uploads().await;
    }
}

#[tokio::test]
async fn h12_what_is_found_across_two_parts_never_gets_to_its_place() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let gateway = inspected(&store, "").await;
        store.put("d/x", b"the old object").await;
        let eicar = eicar();
        let parts = [[&pattern(PART), &eicar[..30]].concat(), [&eicar[30..], &pattern(77)[..]].concat()];
        let refused = put_in_parts(&gateway.a, "d/x", &parts, &[]).await;
        assert_eq!(refused.outcome(), (403, "ContentRejected".into()), "{kind:?}: {}", refused.text());
        assert!(!refused.text().to_lowercase().contains("eicar"), "{}", refused.text());
        assert_eq!(store.read("d/x").await.unwrap(), b"the old object", "{kind:?}");
        assert_eq!(all_keys(&store).await, ["d/x"], "{kind:?}: nothing hidden is left");
        store.until_no_uploads().await;
        let record = gateway.record(4).await;
        let found = &record.inspection.as_ref().unwrap()[0];
        assert_eq!(
            (record.outcome.as_str(), found.verdict, record.inspection_action),
            ("refused", "matched", Some("refuse"))
        );
    }
}

//! Objects that wait at a hidden key for their verdict: multipart uploads, and what is marked or put into the quarantine.

use super::support::clamd::{Clamd, ClamdConf};
use super::support::parts::{complete, create, put_in_parts, upload};
use super::support::{Answer, Gateway, Recorder, Response, Setup, Store, StoreKind, pattern};

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
            assert_eq!(again.status, 200, "{kind:?}: its answer may have been lost: {}", again.text());
            assert_eq!(again.element("ETag").replace("&quot;", "\""), etag, "{kind:?} {key}");
            let other = list.replace(&format!("<PartNumber>{}<", parts.len()), "<PartNumber>99<");
            let again = complete(&gateway.a, key, &id, &other, &[]).await;
            assert_eq!(again.outcome().0, 404, "{kind:?}: another list is another request: {}", again.text());
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
        let id = create(&gateway.a, "d/x", &[]).await;
        let list = upload(&gateway.a, "d/x", &id, &parts).await;
        let refused = complete(&gateway.a, "d/x", &id, &list, &[]).await;
        assert_eq!(refused.outcome(), (403, "ContentRejected".into()), "{kind:?}: {}", refused.text());
        // SDKs make a 500 of an error behind a 200, and ask again.
        let again = complete(&gateway.a, "d/x", &id, &list, &[]).await;
        assert_eq!(again.outcome(), (403, "ContentRejected".into()), "{kind:?}: {}", again.text());
        let other = complete(&gateway.b, "d/x", &id, &list, &[]).await;
        assert_eq!(other.outcome(), (403, "AccessDenied".into()), "{kind:?}: nobody else's");
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

#[tokio::test]
async fn an_upload_that_no_scanner_could_look_at_is_looked_at_by_the_next_complete() {
    let Some(mut clamd) = Clamd::start(ClamdConf::default()).await else { return };
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let rules = "\n  - { name: r, who: { tokens: [a] }, where: bkt, what: [read, write, \"s3:AbortMultipartUpload\"], inspect: { with: [av] } }";
        let inspectors = format!(
            "inspectors: {{ av: {{ clamd: {{ addresses: \"{}\", probe: none }}, breaker: {{ failures: 0 }} }} }}",
            clamd.tcp()
        );
        let gateway = store.setup().top(&inspectors).rules(rules).start().await;
        let mut uploads = Vec::new();
        for (key, last) in [("d/good", b"clean".to_vec()), ("d/bad", eicar()), ("d/aborted", b"clean".to_vec())] {
            let id = create(&gateway.a, key, &[("x-amz-meta-n", "v")]).await;
            let parts = [pattern(PART), last];
            let list = upload(&gateway.a, key, &id, &parts).await;
            uploads.push((key, id, list, parts.concat()));
        }
        clamd.kill();
        for (key, id, list, _) in &uploads {
            for attempt in 0..2 {
                let failed = complete(&gateway.a, key, id, list, &[]).await;
                assert_eq!(failed.outcome(), (403, "InspectionFailed".into()), "{kind:?} {key} {attempt}");
            }
            assert_eq!(store.read(key).await, None, "{kind:?} {key}");
        }
        clamd.restart(ClamdConf::default()).await;
        // Those who ask again at once are told the same again.
        tokio::time::sleep(std::time::Duration::from_millis(5500)).await;
        let outcomes = [(200, String::new()), (403, "ContentRejected".to_owned())];
        for ((key, id, list, _), outcome) in uploads.iter().zip(outcomes) {
            for attempt in 0..2 {
                let done = complete(&gateway.a, key, id, list, &[]).await;
                assert_eq!(done.outcome(), outcome, "{kind:?} {key} {attempt}: {}", done.text());
            }
        }
        assert!(store.read("d/good").await.unwrap() == uploads[0].3, "{kind:?}");
        assert_eq!(store.head("d/good").await.header("x-amz-meta-n"), "v", "{kind:?}");
        let aborted = gateway.a.delete(&format!("/bkt/d/aborted?uploadId={}", uploads[2].1)).await;
        assert_eq!(aborted.status, 204, "{kind:?}: {}", aborted.text());
        assert_eq!(all_keys(&store).await, ["d/good"], "{kind:?}: nothing hidden is left");
    }
}

/// A relay before a store that lets everything through but requests that begin with one text and have not another in their target: those
/// it holds, with all that follows on their connection.
struct Gate {
    address: std::net::SocketAddr,
    held: std::sync::Arc<std::sync::atomic::AtomicUsize>,
}

impl Gate {
    async fn before(store: &Store, beginning: &str, without: &'static str) -> Self {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let held = std::sync::Arc::<std::sync::atomic::AtomicUsize>::default();
        let (target, beginning, count) = (store.address(), beginning.as_bytes().to_vec(), held.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let upstream = tokio::net::TcpStream::connect(target).await.unwrap();
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_store, mut to_store) = upstream.into_split();
                tokio::spawn(async move { tokio::io::copy(&mut from_store, &mut to_client).await });
                let (beginning, count) = (beginning.clone(), count.clone());
                tokio::spawn(async move {
                    let mut buffer = vec![0; 64 * 1024];
                    while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
                        // hyper writes the head of a request at once, and nothing of it behind a body.
                        let target = buffer[..read].split(|byte| *byte == b'\r').next().unwrap_or_default();
                        let is_other = target.windows(without.len()).any(|part| part == without.as_bytes());
                        if target.starts_with(&beginning) && !is_other {
                            count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                            return std::future::pending().await;
                        }
                        if to_store.write_all(&buffer[..read]).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { address, held }
    }

    async fn until_held(&self) {
        super::support::eventually("a request that is held", || {
            self.held.load(std::sync::atomic::Ordering::SeqCst) > 0
        })
        .await;
    }
}

/// Completes an upload through a gateway that ends when it sends such a request to the store, then through another one.
async fn survives_an_end_at(kind: StoreKind, beginning: impl Fn(&Store) -> String, without: &'static str) {
    let Some(store) = Store::get(kind).await else { return };
    let gate = Gate::before(&store, &beginning(&store), without).await;
    let behind_gate = Store { endpoint: format!("http://{}", gate.address), ..store.clone() };
    let first = inspected(&behind_gate, "").await;
    let parts = vec![pattern(PART), pattern(PART), b"end".to_vec()];
    let id = create(&first.a, "d/x", &[("content-type", "text/x-a"), ("x-amz-meta-n", "v")]).await;
    let list = upload(&first.a, "d/x", &id, &parts).await;
    let asks = tokio::spawn({
        let (client, id, list) = (first.a.clone(), id.clone(), list.clone());
        async move { complete(&client, "d/x", &id, &list, &[]).await }
    });
    gate.until_held().await;
    asks.abort();
    drop(first);
    assert_eq!(store.read("d/x").await, None, "{kind:?}: not at its place yet");
    assert!(!store.keys(".countersign/staging/").await.is_empty(), "{kind:?}: it waits");

    let second = inspected(&store, "").await;
    let other = complete(&second.b, "d/x", &id, &list, &[]).await;
    assert_eq!(other.status, 403, "{kind:?}: nobody else's");
    let done = complete(&second.a, "d/x", &id, &list, &[]).await;
    assert_eq!(done.status, 200, "{kind:?}: {}", done.text());
    let got = second.a.get("/bkt/d/x").await;
    assert!(got.body == parts.concat(), "{kind:?}");
    assert_eq!((got.header("etag"), got.header("x-amz-meta-n")), (etag_of(&parts).as_str(), "v"), "{kind:?}");
    assert_eq!(all_keys(&store).await, ["d/x"], "{kind:?}: nothing hidden is left");
    store.until_no_uploads().await;
}

#[tokio::test]
async fn a_gateway_that_ends_while_it_looks_is_taken_over_by_the_next() {
    for kind in StoreKind::REAL {
        let beginning = |store: &Store| format!("GET /{}/.countersign/staging/", store.bucket);
        survives_an_end_at(kind, beginning, "max-parts=").await;
    }
}

#[tokio::test]
async fn a_gateway_that_ends_while_it_copies_is_taken_over_by_the_next() {
    for kind in StoreKind::REAL {
        let beginning = |store: &Store| format!("PUT /{}/d/x?partNumber=", store.bucket);
        survives_an_end_at(kind, beginning, "no other").await;
    }
}

#[tokio::test]
async fn a_second_request_to_complete_waits_for_the_first() {
    let Some(store) = Store::get(StoreKind::Rgw).await else { return };
    let gateway = inspected(&store, "").await;
    let id = create(&gateway.a, "d/x", &[]).await;
    let list = upload(&gateway.a, "d/x", &id, &[pattern(PART), pattern(PART)]).await;
    let attempts = (0..5).map(|_| complete(&gateway.a, "d/x", &id, &list, &[]));
    for done in futures_util::future::join_all(attempts).await {
        assert_eq!(done.status, 200, "one that comes when everything is done is told the same: {}", done.text());
    }
    assert_eq!(all_keys(&store).await, ["d/x"]);
}

#[tokio::test]
async fn conditions_are_about_the_place_of_the_object() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        for (more, in_parts) in [("", true), (", matched: mark", true), (", matched: mark", false)] {
            let gateway = inspected(&store, more).await;
            store.put("d/x", b"the old object").await;
            let old = store.head("d/x").await.header("etag").to_owned();
            let attempt = async |condition: (&'static str, &str)| {
                if in_parts {
                    let id = create(&gateway.a, "d/x", &[]).await;
                    let list = upload(&gateway.a, "d/x", &id, &[b"the new object".to_vec()]).await;
                    let done = complete(&gateway.a, "d/x", &id, &list, &[condition]).await;
                    if done.status != 200 {
                        let aborted = gateway.a.delete(&format!("/bkt/d/x?uploadId={id}")).await;
                        assert_eq!(aborted.status, 204, "{kind:?}: {}", aborted.text());
                    }
                    done
                } else {
                    gateway.a.put("/bkt/d/x", &[condition], "the new object").await
                }
            };
            for condition in [("if-none-match", "*"), ("if-match", "\"00000000000000000000000000000000\"")] {
                let refused = attempt(condition).await;
                assert_eq!(refused.outcome(), (412, "PreconditionFailed".into()), "{kind:?} {more} {condition:?}");
                assert_eq!(store.read("d/x").await.unwrap(), b"the old object", "{kind:?} {more} {condition:?}");
            }
            let done = attempt(("if-match", &old)).await;
            assert_eq!(done.status, 200, "{kind:?} {more}: {}", done.text());
            assert_eq!(store.read("d/x").await.unwrap(), b"the new object", "{kind:?} {more}");
            assert_eq!(all_keys(&store).await, ["d/x"], "{kind:?} {more}");
            store.remove("d/x").await;
        }
    }
}

#[tokio::test]
async fn a_bucket_with_versions_gets_one_version() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        store.keep_versions().await;
        let gateway = inspected(&store, ", matched: mark").await;
        let done = put_in_parts(&gateway.a, "d/x", &[pattern(PART), b"end".to_vec()], &[]).await;
        assert_eq!(done.status, 200, "{kind:?}: {}", done.text());
        let put = gateway.a.put("/bkt/d/y", &[], "in one piece").await;
        assert_eq!(put.status, 200, "{kind:?}: {}", put.text());
        let listed = store.list("versions=").await;
        assert_eq!(listed.elements("Key"), ["d/x", "d/y"], "{kind:?}: {}", listed.text());
        let version = &listed.elements("VersionId")[1];
        // RGW 16 does not tell the version of a copy.
        let told = if kind == StoreKind::Rgw { "" } else { version };
        assert_eq!(put.header("x-amz-version-id"), told, "{kind:?}");
    }
}

#[tokio::test]
async fn a_rule_can_refuse_uploads_in_parts_or_look_at_each() {
    let Some(store) = Store::get(StoreKind::SeaweedFs).await else { return };
    let gateway = inspected(&store, ", multipart: deny").await;
    let denied = gateway.a.send("POST", "/bkt/d/x?uploads", &[], "").await;
    assert_eq!(denied.outcome(), (403, "AccessDenied".into()));
    let gateway = inspected(&store, ", multipart: per_part").await;
    let id = create(&gateway.a, "d/x", &[]).await;
    let refused = gateway.a.put(&format!("/bkt/d/x?partNumber=1&uploadId={id}"), &[], eicar()).await;
    assert_eq!(refused.outcome(), (403, "ContentRejected".into()));
    let list = upload(&gateway.a, "d/x", &id, &[b"clean".to_vec()]).await;
    assert_eq!(complete(&gateway.a, "d/x", &id, &list, &[]).await.status, 200);
    assert_eq!(store.read("d/x").await.unwrap(), b"clean");
    // An upload that was begun under other terms is not continued.
    let id = create(&gateway.a, "d/y", &[]).await;
    let staged = inspected(&store, "").await;
    let refused = staged.a.put(&format!("/bkt/d/y?partNumber=1&uploadId={id}"), &[], "x").await;
    assert_eq!(refused.outcome(), (404, "NoSuchUpload".into()));
}

#[tokio::test]
async fn the_length_of_a_staged_upload_is_held_to_the_rule() {
    let Some(store) = Store::get(StoreKind::SeaweedFs).await else { return };
    let rules = "\n  - { name: r, who: { tokens: [a] }, where: bkt, what: [read, write], limits: { max_size: 6MiB, min_size: 10B }, inspect: { with: [av] } }";
    let gateway = store.setup().top("inspectors: { av: { patterns: { sets: [eicar] } } }").rules(rules).start().await;
    for (parts, code) in
        [(vec![pattern(PART), pattern(PART)], "EntityTooLarge"), (vec![b"x".to_vec()], "EntityTooSmall")]
    {
        let done = put_in_parts(&gateway.a, "d/x", &parts, &[]).await;
        assert_eq!(done.outcome(), (400, code.to_owned()));
    }
    // What is too small can still grow: it is an upload that is listed.
    assert_eq!(store.keys("d/").await, Vec::<String>::new());
    assert_eq!(store.keys("").await.len(), 1);
}

/// What a store has at a key: bytes, and the marks of the gateway.
async fn marks(gateway: &Gateway, key: &str) -> (Vec<u8>, String, String) {
    let got = gateway.a.get(&format!("/bkt/{key}")).await;
    let tags = gateway.a.get(&format!("/bkt/{key}?tagging")).await;
    let mark = got.header("x-amz-meta-mark").to_owned();
    (got.body, tags.elements("Value").join(","), mark)
}

#[tokio::test]
async fn what_is_found_can_be_stored_with_a_mark() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let found = [b"before ".to_vec(), eicar()].concat();
        for mark in ["tag", "metadata"] {
            let more =
                if mark == "tag" { ", matched: mark" } else { ", matched: mark, mark: \"metadata:x-amz-meta-mark\"" };
            let gateway = inspected(&store, more).await;
            let expect = if mark == "tag" { ("matched", "") } else { ("", "matched") };
            for (way, body) in [("put", &found), ("parts", &found), ("chunked", &found), ("clean", &b"clean".to_vec())]
            {
                let key = format!("{mark}/{way}");
                let headers = [("content-type", "text/x-a"), ("x-amz-meta-own", "o")];
                let etag = match way {
                    "parts" => {
                        put_in_parts(&gateway.a, &key, std::slice::from_ref(body), &headers).await.element("ETag")
                    }
                    "chunked" => put_chunked(&gateway, &key, body).await.header("etag").to_owned(),
                    _ => {
                        let put = gateway.a.put(&format!("/bkt/{key}"), &headers, body.clone()).await;
                        assert_eq!(put.status, 200, "{kind:?} {key}: {}", put.text());
                        put.header("etag").to_owned()
                    }
                };
                let (bytes, tags, metadata) = marks(&gateway, &key).await;
                let expect = if way == "clean" { ("", "") } else { expect };
                assert!(bytes == *body, "{kind:?} {key}");
                assert_eq!((tags.as_str(), metadata.as_str()), expect, "{kind:?} {key}");
                let head = store.head(&key).await;
                assert_eq!(head.header("etag"), etag.replace("&quot;", "\""), "{kind:?} {key}");
                if way != "chunked" {
                    assert_eq!(
                        (head.header("content-type"), head.header("x-amz-meta-own")),
                        ("text/x-a", "o"),
                        "{kind:?} {key}"
                    );
                }
            }
        }
        assert_eq!(store.keys(".countersign/").await, Vec::<String>::new(), "{kind:?}");
        store.until_no_uploads().await;
    }
}

/// Without a declared length.
async fn put_chunked(gateway: &Gateway, key: &str, body: &[u8]) -> Response {
    use super::support::{Form, KeyClient, Transfer};
    let client =
        KeyClient::new(gateway.address, super::support::gateway::KEY_A, super::support::gateway::KEY_SECRETS[0].1);
    let put = client.send("PUT", &format!("/bkt/{key}"), &[], body, Form::Unsigned, Transfer::Chunked).await;
    assert!(put.status == 200 || put.status == 403, "{}", put.text());
    put
}

#[tokio::test]
async fn what_is_found_can_go_into_a_quarantine() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let Some(cell) = Store::get(kind).await else { continue };
        let rules = "\n  - { name: r, who: { tokens: [a], keys: [a] }, where: bkt, what: [read, write], inspect: { with: [av], matched: quarantine, quarantine: cell/kept/ } }";
        let mut setup = store.setup().top("inspectors: { av: { patterns: { sets: [eicar] } } }").rules(rules);
        setup.buckets.push(format!("cell: {{ upstream: store, bucket: {} }}", cell.bucket));
        let gateway = setup.start().await;
        let found = eicar();
        store.put("d/parts", b"the old object").await;
        let headers = [("content-type", "text/html"), ("x-amz-meta-own", "o")];
        let put = gateway.a.put("/bkt/d/put", &headers, found.clone()).await;
        let request_id = put.header("x-amz-request-id").to_owned();
        let parts = put_in_parts(&gateway.a, "d/parts", std::slice::from_ref(&found), &[]).await;
        let chunked = put_chunked(&gateway, "d/chunked", &found).await;
        for refused in [put, parts, chunked] {
            assert_eq!(refused.outcome(), (403, "ContentRejected".into()), "{kind:?}: {}", refused.text());
        }
        let clean = gateway.a.put("/bkt/d/clean", &[], "clean").await;
        assert_eq!(clean.status, 200, "{kind:?}: {}", clean.text());
        assert_eq!(all_keys(&store).await, ["d/clean", "d/parts"], "{kind:?}");
        assert_eq!(store.read("d/parts").await.unwrap(), b"the old object", "{kind:?}");
        let mut kept = cell.keys("kept/").await;
        kept.sort_by_key(|key| key.rsplit('/').next().map(str::to_owned));
        let ends: Vec<_> = kept.iter().map(|key| key.splitn(4, '/').nth(3).unwrap()).collect();
        assert_eq!(ends, ["bkt/d/chunked", "bkt/d/parts", "bkt/d/put"], "{kind:?}: {kept:?}");
        // The uploader knows its key and the id of its request; the rest of the name it cannot.
        let folder = kept[2].split('/').nth(2).unwrap().strip_prefix(&request_id).expect("the id of the request");
        assert_eq!(folder.len(), 33, "{kind:?}: {kept:?}");
        let head = cell.head(&kept[2]).await;
        assert_eq!(cell.read(&kept[2]).await.unwrap(), found, "{kind:?}");
        let seen = [
            "content-type",
            "x-amz-meta-countersign-verdict",
            "x-amz-meta-countersign-principal",
            "x-amz-meta-countersign-key",
            "x-amz-meta-own",
        ]
        .map(|name| head.header(name).to_owned());
        assert_eq!(seen, ["application/octet-stream", "matched", "token%3Aa", "d/put", ""], "{kind:?}");
        assert!(head.header("x-amz-meta-countersign-name").contains("eicar"), "{kind:?}");
        store.until_no_uploads().await;
        cell.until_no_uploads().await;
    }
}

#[tokio::test]
async fn what_goes_into_the_quarantine_is_removed_from_its_hidden_key_once() {
    let found = eicar();
    let head = Answer::Bytes(format!("HTTP/1.1 200 X\r\ncontent-length: {}\r\netag: \"e\"\r\n\r\n", found.len()));
    let copied = Answer::status(200, "", "<CopyObjectResult><ETag>\"e\"</ETag></CopyObjectResult>");
    let done = Answer::status(200, "etag: \"e\"\r\n", "");
    let answer = move |request: &str| match request {
        request if request.starts_with("HEAD ") => head.clone(),
        request if request.contains("x-amz-copy-source") => copied.clone(),
        _ => done.clone(),
    };
    let recorder = Recorder::start(Answer::By(std::sync::Arc::new(answer))).await;
    let rules = "\n  - { name: r, who: { tokens: [a] }, where: bkt, what: write, inspect: { with: [av], matched: quarantine, quarantine: cell/kept/ } }";
    let mut setup = Setup::before(&recorder).top("inspectors: { av: { patterns: { sets: [eicar] } } }").rules(rules);
    setup.buckets.push("cell: { upstream: store, bucket: up-cell }".to_owned());
    let gateway = setup.start().await;
    let refused = gateway.a.put("/bkt/d/put", &[], found).await;
    assert_eq!(refused.outcome(), (403, "ContentRejected".into()), "{}", refused.text());
    let lines: Vec<_> = recorder.requests().iter().map(|request| request.request_line()).collect();
    let removed: Vec<_> = lines.iter().filter(|line| line.starts_with("DELETE ")).collect();
    assert!(removed.len() == 2 && *removed[1] == format!("{}.parts", removed[0]), "{lines:?}");
}

#[tokio::test]
async fn d11_a_copy_into_an_inspected_place_is_looked_at() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let gateway = inspected(&store, "").await;
        store.put("from/bad", &eicar()).await;
        store.put("from/good", b"clean").await;
        store.put("to/x", b"the old object").await;
        let copy = async |from: &str, headers: &[(&str, &str)]| {
            let source = format!("/bkt/from/{from}");
            let mut all = vec![("x-amz-copy-source", source.as_str())];
            all.extend(headers);
            gateway.a.put("/bkt/to/x", &all, "").await
        };
        let refused = copy("bad", &[]).await;
        assert_eq!(refused.outcome(), (403, "ContentRejected".into()), "{kind:?}: {}", refused.text());
        assert_eq!(store.read("to/x").await.unwrap(), b"the old object", "{kind:?}");
        let replace = [("x-amz-metadata-directive", "REPLACE"), ("content-type", "text/x-new"), ("x-amz-meta-n", "v")];
        let copied = copy("good", &replace).await;
        assert_eq!(copied.status, 200, "{kind:?}: {}", copied.text());
        let got = gateway.a.get("/bkt/to/x").await;
        assert_eq!(got.body, b"clean", "{kind:?}");
        assert_eq!((got.header("content-type"), got.header("x-amz-meta-n")), ("text/x-new", "v"), "{kind:?}");
        assert_eq!(copied.element("ETag").replace("&quot;", "\""), got.header("etag"), "{kind:?}");
        // Parts of a staged upload are copied to where the others wait.
        let id = create(&gateway.a, "to/y", &[]).await;
        let target = format!("/bkt/to/y?partNumber=1&uploadId={id}");
        let part = gateway.a.put(&target, &[("x-amz-copy-source", "/bkt/from/bad")], "").await;
        assert_eq!(part.status, 200, "{kind:?}: {}", part.text());
        let list = format!(
            "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{}</ETag></Part></CompleteMultipartUpload>",
            part.element("ETag")
        );
        let refused = complete(&gateway.a, "to/y", &id, &list, &[]).await;
        assert_eq!(refused.outcome(), (403, "ContentRejected".into()), "{kind:?}: {}", refused.text());
        assert_eq!(all_keys(&store).await, ["from/bad", "from/good", "to/x"], "{kind:?}");
        store.until_no_uploads().await;
    }
}

#[tokio::test]
async fn nobody_reaches_a_hidden_key() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let hidden = ".countersign/staging/0a1b";
        store.put(hidden, b"hidden").await;
        store.put(".countersignx/y", b"another").await;
        store.put("z", b"plain").await;
        store.begin_upload(".countersign/staging/0c").await;
        let gateway = inspected(&store, "").await;
        let denied = (403, "AccessDenied".to_owned());
        for key in [hidden, ".countersign", ".countersign/", ".countersign/x", ".Countersign/staging/0a1b"] {
            assert_eq!(gateway.a.get(&format!("/bkt/{key}")).await.outcome(), denied, "{kind:?} {key}");
            assert_eq!(gateway.a.put(&format!("/bkt/{key}"), &[], "x").await.outcome(), denied, "{kind:?} {key}");
            assert_eq!(gateway.a.delete(&format!("/bkt/{key}")).await.outcome(), denied, "{kind:?} {key}");
            let source = format!("/bkt/{key}");
            let copied = gateway.a.put("/bkt/d/x", &[("x-amz-copy-source", &source)], "").await;
            assert_eq!(copied.outcome(), denied, "{kind:?} {key}");
            let batch = format!("<Delete><Object><Key>{key}</Key></Object></Delete>");
            let digest = super::support::key_client::digest(
                countersign::s3::checksum::ChecksumAlgorithm::Sha256,
                batch.as_bytes(),
            );
            let headers = [("x-amz-content-sha256", hex::encode(digest))];
            let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let deleted = gateway.a.send("POST", "/bkt?delete", &headers, batch.clone()).await;
            assert_eq!(deleted.status, 400, "{kind:?} {key}: {}", deleted.text());
        }
        assert_eq!(store.read(hidden).await.unwrap(), b"hidden", "{kind:?}");
        for query in [
            "list-type=2",
            "list-type=2&delimiter=/",
            "list-type=2&prefix=.c",
            "list-type=2&prefix=.countersign/",
            "list-type=2&max-keys=1",
            "list-type=2&delimiter=s",
            "",
            "delimiter=/",
            "versions",
            "versions&delimiter=/",
            "uploads",
            "uploads&delimiter=/",
            "uploads&prefix=.countersign/",
        ] {
            let listed = gateway.a.get(&format!("/bkt?{query}")).await;
            assert_eq!(listed.status, 200, "{kind:?} {query}: {}", listed.text());
            let text = listed
                .text()
                .replace("<Prefix>.countersign/</Prefix><MaxKeys>", "")
                .replace("<Prefix>.countersign/</Prefix><MaxUploads>", "");
            assert!(!text.contains(".countersign/") && !text.contains("0a1b"), "{kind:?} {query}: {text}");
            if query.starts_with("list-type=2") && !query.contains("prefix=.countersign/") {
                assert!(text.contains(".counters"), "{kind:?} {query}: {text}");
            }
        }
        store.remove(hidden).await;
    }
}

#[tokio::test]
async fn what_is_left_at_hidden_keys_is_swept() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        store.put(".countersign/staging/0a1b", b"left").await;
        store.put(".countersign/staging/0a1b.parts", b"left").await;
        store.put(".countersign/other", b"not a hidden object").await;
        store.put("d/x", b"of a client").await;
        store.begin_upload(".countersign/staging/0c").await;
        let theirs = store.begin_upload("d/y").await;
        let lasting = inspected(&store, "").await;
        let rules = "\n  - { name: r, who: { tokens: [a] }, where: bkt, what: write, inspect: { with: [av] } }";
        let setup = store.setup().top("inspectors: { av: { patterns: { sets: [eicar] } } }").rules(rules);
        let sweeping = setup.limits("{ staging: { keep_objects: 1s, keep_uploads: 1s } }").start().await;
        for _ in 0..200 {
            if all_keys(&store).await.len() == 2 && store.uploads().await.len() == 1 {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        assert_eq!(all_keys(&store).await, [".countersign/other", "d/x"], "{kind:?}");
        assert_eq!(store.uploads().await, [theirs], "{kind:?}");
        let metrics = sweeping.ask_admin("/metrics").await.text();
        assert!(metrics.contains("countersign_staging_swept_total 3"), "{kind:?}: {metrics}");
        assert!(lasting.ask_admin("/metrics").await.text().contains("countersign_staging_swept_total 0"), "{kind:?}");
    }
}

#[tokio::test]
async fn every_version_at_hidden_keys_is_swept_those_from_before_versions_too() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        store.put(".countersign/staging/0a1b", b"without version").await;
        store.keep_versions().await;
        store.put(".countersign/staging/0a1b", b"with one").await;
        store.put(".countersign/staging/0c2d.parts", b"left").await;
        let rules = "\n  - { name: r, who: { tokens: [a] }, where: bkt, what: write, inspect: { with: [av] } }";
        let setup = store.setup().top("inspectors: { av: { patterns: { sets: [eicar] } } }").rules(rules);
        let _sweeping = setup.limits("{ staging: { keep_objects: 1s, keep_uploads: 1s } }").start().await;
        let mut listed = Vec::new();
        for _ in 0..200 {
            listed = store.list("versions=").await.elements("Key");
            if listed.is_empty() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        assert_eq!(listed, Vec::<String>::new(), "{kind:?}: no version and no marker is left");
    }
}

#[tokio::test]
async fn a_form_under_a_quarantine_is_looked_at_before_it_gets_to_its_place() {
    use super::support::post::{KEY_ID, PostForm, SECRET};
    let Some(store) = Store::get(StoreKind::SeaweedFs).await else { return };
    let rules = "\n  - { name: r, who: { keys: [web] }, where: bkt/a/, what: [read, write], inspect: { with: [av], matched: quarantine, quarantine: bkt/kept/ } }";
    let setup = store.setup().top("inspectors: { av: { patterns: { sets: [eicar] } } }").rules(rules);
    let gateway = setup.access_key("web", KEY_ID, SECRET).start().await;
    let refused = PostForm::to("a/bad").file(&eicar()).send(&gateway).await;
    assert_eq!(refused.outcome(), (403, "ContentRejected".into()), "{}", refused.text());
    let taken = PostForm::to("a/good").file(b"clean").send(&gateway).await;
    assert_eq!(taken.status, 204, "{}", taken.text());
    let keys = all_keys(&store).await;
    assert!(keys.len() == 2 && keys[0] == "a/good" && keys[1].ends_with("/bkt/a/bad"), "{keys:?}");
}

#[tokio::test]
async fn checksums_of_parts_and_of_the_object_stay() {
    use countersign::s3::checksum::{ChecksumAlgorithm, to_base64};
    // RGW 16 knows no checksums.
    let Some(store) = Store::get(StoreKind::SeaweedFs).await else { return };
    let gateway = inspected(&store, "").await;
    let parts = [pattern(PART), b"end".to_vec()];
    let crc32 = |bytes: &[u8]| to_base64(&super::support::key_client::digest(ChecksumAlgorithm::Crc32, bytes));
    let id = create(&gateway.a, "d/x", &[("x-amz-checksum-algorithm", "CRC32")]).await;
    let mut list = String::new();
    for (number, part) in (1..).zip(&parts) {
        let target = format!("/bkt/d/x?partNumber={number}&uploadId={id}");
        let put = gateway.a.put(&target, &[("x-amz-checksum-crc32", &crc32(part))], part.clone()).await;
        assert_eq!(put.status, 200, "{}", put.text());
        list.push_str(&format!(
            "<Part><PartNumber>{number}</PartNumber><ETag>{}</ETag><ChecksumCRC32>{}</ChecksumCRC32></Part>",
            put.header("etag"),
            crc32(part)
        ));
    }
    let list = format!("<CompleteMultipartUpload>{list}</CompleteMultipartUpload>");
    let done = complete(&gateway.a, "d/x", &id, &list, &[]).await;
    assert_eq!(done.status, 200, "{}", done.text());
    let head = gateway.a.send("HEAD", "/bkt/d/x", &[("x-amz-checksum-mode", "ENABLED")], "").await;
    assert_eq!(head.header("etag"), etag_of(&parts));
    assert!(head.header("x-amz-checksum-crc32").ends_with("-2"), "{:?}", head.headers);
    assert_eq!(done.element("ChecksumCRC32"), head.header("x-amz-checksum-crc32"));
}

#[tokio::test]
async fn h12_no_reader_sees_an_infected_object_that_came_in_parts() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let gateway = inspected(&store, "").await;
        store.put("d/old", b"the old object").await;
        let stop = std::sync::Arc::<std::sync::atomic::AtomicBool>::default();
        let reader = tokio::spawn({
            let (store, stop) = (store.clone(), stop.clone());
            async move {
                let mut reads = 0;
                while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                    assert_eq!(store.read("d/old").await.unwrap(), b"the old object");
                    assert_eq!(store.read("d/new").await, None);
                    reads += 1;
                }
                reads
            }
        });
        let eicar = eicar();
        for round in 0..20 {
            let (key, at) = (if round % 2 == 0 { "d/old" } else { "d/new" }, round * 3 % eicar.len());
            let parts = [[&pattern(PART), &eicar[..at]].concat(), eicar[at..].to_vec()];
            let refused = put_in_parts(&gateway.a, key, &parts, &[]).await;
            assert_eq!(refused.outcome(), (403, "ContentRejected".into()), "{kind:?} {at}: {}", refused.text());
        }
        stop.store(true, std::sync::atomic::Ordering::SeqCst);
        assert!(reader.await.unwrap() > 0);
        assert_eq!(all_keys(&store).await, ["d/old"], "{kind:?}");
    }
}

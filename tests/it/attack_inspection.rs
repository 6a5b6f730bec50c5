//! Attacks on inspected uploads and downloads: what a hostile client tries with the pieces of several requests, and what stores make of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::{join, join_all};

use super::support::{Client, Gateway, Response, Store, StoreKind, pattern};

const PART: usize = 5 << 20;

/// The test file of virus scanners, in two halves, so that this file is none.
fn eicar() -> Vec<u8> {
    [r"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR", "-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"].concat().into_bytes()
}

const ALL: &str = "what: [read, write, list, delete, \"s3:PutObjectTagging\", \"s3:GetObjectTagging\", \"s3:AbortMultipartUpload\", \"s3:ListMultipartUploadParts\"]";

/// Tenants a and b with all of `bkt` under inspection, with further keys of `inspect`.
fn rules(more: &str) -> String {
    format!(
        "\n  - {{ name: r, who: {{ tokens: [a, b], keys: [a] }}, where: bkt, {ALL}, inspect: {{ with: [av]{more} }} }}"
    )
}

async fn inspected(store: &Store, more: &str, settings: &str) -> Gateway {
    let mut setup = store.setup().top("inspectors: { av: { patterns: { sets: [eicar] } } }").rules(&rules(more));
    setup.bucket_settings = settings.to_owned();
    setup.start().await
}

async fn create(client: &Client, key: &str) -> String {
    let created = client.send("POST", &format!("/bkt/{key}?uploads"), &[], "").await;
    assert_eq!(created.status, 200, "{}", created.text());
    created.element("UploadId")
}

async fn part(client: &Client, key: &str, id: &str, number: usize, body: Vec<u8>) -> Response {
    client.put(&format!("/bkt/{key}?partNumber={number}&uploadId={id}"), &[], body).await
}

fn list_of(parts: &[&Response]) -> String {
    let parts = (1..).zip(parts).map(|(number, part)| {
        format!("<Part><PartNumber>{number}</PartNumber><ETag>{}</ETag></Part>", part.header("etag"))
    });
    format!("<CompleteMultipartUpload>{}</CompleteMultipartUpload>", parts.collect::<String>())
}

async fn complete(client: &Client, key: &str, id: &str, list: &str) -> Response {
    client.send("POST", &format!("/bkt/{key}?uploadId={id}"), &[], list.to_owned()).await
}

fn holds_eicar(bytes: &[u8]) -> bool {
    memchr::memmem::find(bytes, &eicar()).is_some()
}

/// Reads a key past the gateway, again and again, until the end; nobody may ever see an infected byte there, nor nothing.
struct Watcher {
    stop: Arc<AtomicBool>,
    reads: tokio::task::JoinHandle<usize>,
}

impl Watcher {
    fn of(store: &Store, key: &'static str) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let (store, stopped) = (store.clone(), Arc::clone(&stop));
        let reads = tokio::spawn(async move {
            let mut reads = 0;
            while !stopped.load(Ordering::SeqCst) {
                let seen = store.read(key).await.expect("the object is always there");
                assert!(!holds_eicar(&seen));
                reads += 1;
            }
            reads
        });
        Self { stop, reads }
    }

    async fn end(self) {
        self.stop.store(true, Ordering::SeqCst);
        assert!(self.reads.await.unwrap() > 0);
    }
}

#[tokio::test]
async fn h12_no_order_of_complete_abort_and_new_parts_lets_an_infected_object_through() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let gateway = inspected(&store, "", "").await;
        let a = &gateway.a;
        store.put("d/x", b"the old object").await;
        let watcher = Watcher::of(&store, "d/x");
        for round in 0..16_u64 {
            let id = &create(a, "d/x").await;
            let eicar = eicar();
            let (first, second) = ([&pattern(PART), &eicar[..40]].concat(), eicar[40..].to_vec());
            let one = part(a, "d/x", id, 1, first).await;
            let clean = part(a, "d/x", id, 2, b"clean".to_vec()).await;
            let infected = if round % 2 == 0 { Some(part(a, "d/x", id, 2, second.clone()).await) } else { None };
            let list = list_of(&[&one, infected.as_ref().unwrap_or(&clean)]);
            let late = async |what: Response| (what.status.as_u16(), what.text());
            let after = |millis: u64| tokio::time::sleep(Duration::from_millis(millis));
            let tries = join_all([0, 0, round * 3].map(|wait| {
                let list = &list;
                async move {
                    after(wait).await;
                    late(complete(a, "d/x", id, list).await).await
                }
            }));
            let change = async {
                after(round * 2).await;
                let swapped = part(a, "d/x", id, 2, second.clone()).await;
                let again = list_of(&[&one, &swapped]);
                let more = late(complete(a, "d/x", id, &again).await).await;
                if round % 3 == 0 {
                    a.delete(&format!("/bkt/d/x?uploadId={id}")).await;
                }
                more
            };
            let (tries, more) = join(tries, change).await;
            for (status, text) in tries.into_iter().chain([more]) {
                let published = status == 200 && text.contains("CompleteMultipartUploadResult");
                assert!(!published || round % 2 == 1, "{kind:?} {round}: {text}");
            }
            a.delete(&format!("/bkt/d/x?uploadId={id}")).await;
        }
        watcher.end().await;
        assert_eq!(store.keys("").await, ["d/x"], "{kind:?}");
        store.until_no_uploads().await;
    }
}

#[tokio::test]
async fn d11_the_id_of_a_staged_upload_is_good_for_its_upload_alone() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let gateway = inspected(&store, "", "").await;
        let (a, b) = (&gateway.a, gateway.b.clone());
        store.put(".countersign/staging/0a1b", &eicar()).await;
        let id = create(a, "d/x").await;
        let one = part(a, "d/x", &id, 1, b"clean".to_vec()).await;
        let list = list_of(&[&one]);
        for (client, key) in [(a, "d/y"), (&b, "d/x")] {
            let put = part(client, key, &id, 1, eicar()).await;
            assert_eq!(put.outcome(), (404, "NoSuchUpload".into()), "{kind:?} {key}");
            let done = complete(client, key, &id, &list).await;
            assert_eq!(done.outcome(), (404, "NoSuchUpload".into()), "{kind:?} {key}");
            let gone = client.delete(&format!("/bkt/{key}?uploadId={id}")).await;
            assert_eq!(gone.outcome(), (404, "NoSuchUpload".into()), "{kind:?} {key}");
        }
        for source in [
            "/bkt/.countersign/staging/0a1b",
            "bkt/%2Ecountersign/staging/0a1b",
            "/bkt/.countersign%2Fstaging%2F0a1b",
            "/bkt/%252Ecountersign/staging/0a1b",
            "/bkt/./.countersign/staging/0a1b",
            "/bkt//.countersign/staging/0a1b",
        ] {
            let target = format!("/bkt/d/x?partNumber=1&uploadId={id}");
            let copied = a.put(&target, &[("x-amz-copy-source", source)], "").await;
            assert!(copied.status.is_client_error(), "{kind:?} {source}: {}", copied.text());
            let copied = a.put("/bkt/d/z", &[("x-amz-copy-source", source)], "").await;
            assert!(copied.status.is_client_error(), "{kind:?} {source}: {}", copied.text());
        }
        // Other terms decide now: what went up under the old ones was looked at in another way.
        let other = inspected(&store, ", matched: mark", "").await;
        let under_other =
            complete(&Client { token: other.a.token.clone(), ..other.a.clone() }, "d/x", &id, &list).await;
        assert_ne!(under_other.status, 200, "{kind:?}: {}", under_other.text());
        let done = complete(a, "d/x", &id, &list).await;
        assert_eq!(done.status, 200, "{kind:?}: {}", done.text());
        let put = part(a, "d/x", &id, 1, eicar()).await;
        assert_eq!(put.outcome(), (404, "NoSuchUpload".into()), "{kind:?}");
        let again = complete(a, "d/x", &id, &list).await;
        assert_eq!(
            (again.status, again.text()),
            (done.status, done.text()),
            "{kind:?}: the same answer, and nothing is done again"
        );
        assert_eq!(store.read("d/x").await.unwrap(), b"clean", "{kind:?}");
        assert_eq!(store.keys("").await, [".countersign/staging/0a1b", "d/x"], "{kind:?}");
    }
}

#[tokio::test]
async fn e01_no_spelling_reaches_a_hidden_key_even_where_odd_keys_pass() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        store.put(".countersign/staging/0a1b", b"hidden").await;
        store.put("plain", b"plain").await;
        let gateway = inspected(&store, "", ", odd_keys: pass").await;
        let a = &gateway.a;
        for key in [
            ".countersign/staging/0a1b",
            "%2ecountersign/staging/0a1b",
            "/.countersign/staging/0a1b",
            "./.countersign/staging/0a1b",
            "x/../.countersign/staging/0a1b",
            "x/%2e%2e/.countersign/staging/0a1b",
            ".countersign//staging/0a1b",
            ".countersign/./staging/0a1b",
            ".countersign%5cstaging%5c0a1b",
            ".countersign/x/../staging/0a1b",
            ".COUNTERSIGN/staging/0a1b",
            "..%2f.countersign/staging/0a1b",
        ] {
            let target = format!("/bkt/{key}");
            for (method, query) in [
                ("GET", ""),
                ("HEAD", ""),
                ("PUT", ""),
                ("DELETE", ""),
                ("GET", "?tagging"),
                ("PUT", "?tagging"),
                ("DELETE", "?tagging"),
                ("GET", "?attributes"),
                ("POST", "?uploads"),
            ] {
                let answer =
                    a.send(method, &format!("{target}{query}"), &[("x-amz-object-attributes", "ETag")], "").await;
                assert!(answer.status.is_client_error(), "{kind:?} {method} {key}{query}: {}", answer.text());
                assert!(!answer.text().contains("hidden"), "{kind:?} {method} {key}{query}: {}", answer.text());
            }
        }
        for start in [".", ".countersign/staging/0a1", ".countersign/staging/0a1b", "%2e", "/", ".c"] {
            for name in ["start-after", "marker", "prefix"] {
                let version = if name == "start-after" { "list-type=2&" } else { "" };
                let listed = a.get(&format!("/bkt?{version}{name}={start}&max-keys=2")).await;
                assert_eq!(listed.status, 200, "{kind:?} {name}={start}: {}", listed.text());
                assert!(!listed.text().contains("0a1b</Key>"), "{kind:?} {name}={start}: {}", listed.text());
                for token in ["NextMarker", "NextContinuationToken"] {
                    assert!(!listed.element(token).contains("countersign"), "{kind:?}: {}", listed.text());
                }
            }
        }
        assert_eq!(store.read(".countersign/staging/0a1b").await.unwrap(), b"hidden", "{kind:?}");
        assert_eq!(store.keys("").await, [".countersign/staging/0a1b", "plain"], "{kind:?}");
    }
}

#[tokio::test]
async fn h12_no_key_of_a_client_leads_out_of_the_quarantine() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let Some(cell) = Store::get(kind).await else { continue };
        let more = ", matched: quarantine, quarantine: cell/kept/";
        let mut setup = store.setup().top("inspectors: { av: { patterns: { sets: [eicar] } } }").rules(&rules(more));
        setup.bucket_settings = ", odd_keys: pass".to_owned();
        setup.buckets.push(format!("cell: {{ upstream: store, bucket: {}, odd_keys: pass }}", cell.bucket));
        let gateway = setup.start().await;
        cell.put("victim", b"of somebody else").await;
        let long = format!("{}/..x", "k".repeat(900));
        for key in [
            "a/../../../../../victim",
            "../../../../victim",
            "a//../../../../../../victim",
            "dir/",
            "a/..%5c..%5cvictim",
            &long,
        ] {
            let refused = gateway.a.put(&format!("/bkt/{key}"), &[], eicar()).await;
            assert_eq!(refused.outcome(), (403, "ContentRejected".into()), "{kind:?} {key}: {}", refused.text());
        }
        assert_eq!(cell.read("victim").await.unwrap(), b"of somebody else", "{kind:?}");
        let keys = cell.keys("").await;
        let kept = keys.iter().filter(|key| key.starts_with("kept/") && !key.contains("/../"));
        assert_eq!((keys.len(), kept.count()), (7, 6), "{kind:?}: {keys:?}");
        assert_eq!(store.keys("").await, Vec::<String>::new(), "{kind:?}");
    }
}

#[tokio::test]
async fn h12_a_client_cannot_say_the_mark_itself() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        for (mark, header) in [
            ("tag:verdict", ("x-amz-tagging", "verdict=clean&own=o")),
            ("metadata:x-amz-meta-verdict", ("x-amz-meta-verdict", "clean")),
        ] {
            let gateway = inspected(&store, &format!(", matched: mark, mark: \"{mark}\""), "").await;
            let put = gateway.a.put("/bkt/d/x", &[header], eicar()).await;
            assert_eq!(put.status, 200, "{kind:?} {mark}: {}", put.text());
            let tags = gateway.a.get("/bkt/d/x?tagging").await;
            let said =
                (tags.elements("Value").join(","), store.head("d/x").await.header("x-amz-meta-verdict").to_owned());
            let expect = if mark.starts_with("tag") { ("o,matched", "") } else { ("", "matched") };
            let mut values: Vec<_> = said.0.split(',').collect();
            values.sort_by_key(|value| value.len());
            assert_eq!((values.join(",").as_str(), said.1.as_str()), expect, "{kind:?} {mark}");
            // Metadata that the client writes anew comes with another look.
            let copy = [
                ("x-amz-copy-source", "/bkt/d/x"),
                ("x-amz-metadata-directive", "REPLACE"),
                ("x-amz-meta-verdict", "clean"),
            ];
            let copied = gateway.a.put("/bkt/d/x", &copy, "").await;
            assert_eq!(copied.status, 200, "{kind:?} {mark}: {}", copied.text());
            if mark.starts_with("metadata") {
                assert_eq!(store.head("d/x").await.header("x-amz-meta-verdict"), "matched", "{kind:?}");
            }
            store.remove("d/x").await;
        }
        assert_eq!(store.keys("").await, Vec::<String>::new(), "{kind:?}");
    }
}

#[tokio::test]
async fn of_many_uploads_for_a_free_key_one_gets_it() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        for more in ["", ", matched: mark"] {
            let gateway = inspected(&store, more, "").await;
            let mut lost = 0;
            for round in 0..6 {
                let key = format!("/bkt/d/{round}");
                let puts = (0..6).map(|number| gateway.a.put(&key, &[("if-none-match", "*")], vec![number; 100]));
                let taken = join_all(puts).await.into_iter().filter(|put| put.status == 200).count();
                lost += taken.saturating_sub(1);
                store.remove(&format!("d/{round}")).await;
            }
            assert_eq!(lost, 0, "{kind:?} `{more}`: so many of 30 replaced another");
        }
    }
}

#[tokio::test]
async fn g10_a_verdict_is_not_remembered_for_the_same_bytes_under_another_type() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let rules = "
  - { name: in, who: { tokens: [a] }, where: bkt/in/, what: read, inspect: { with: [types], uploads: false, downloads: {} } }
  - { name: behind, who: { tokens: [b] }, where: bkt/in/, what: [read, write] }";
        let gateway = store.setup().top("inspectors: { types: { file_type: {} } }").rules(rules).start().await;
        let put = gateway.b.put("/bkt/in/x", &[("content-type", "text/plain")], "only text").await;
        assert_eq!(put.status, 200, "{kind:?}: {}", put.text());
        tokio::time::sleep(Duration::from_millis(3100)).await;
        for _ in 0..2 {
            assert_eq!(gateway.a.get("/bkt/in/x").await.status, 200, "{kind:?}");
        }
        for headers in [("content-type", "image/png"), ("content-encoding", "br")] {
            let copy = [("x-amz-copy-source", "/bkt/in/x"), ("x-amz-metadata-directive", "REPLACE"), headers];
            let copied = gateway.b.put("/bkt/in/x", &copy, "").await;
            assert_eq!(copied.status, 200, "{kind:?}: {}", copied.text());
            for range in [&[][..], &[("range", "bytes=0-3")]] {
                let got = gateway.a.send("GET", "/bkt/in/x", range, "").await;
                assert_eq!(got.status, 403, "{kind:?} {headers:?} {range:?}");
            }
        }
    }
}

#[tokio::test]
async fn d25_two_headers_of_encodings_are_read_as_one() {
    use std::io::Write as _;
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let gateway = inspected(&store, "", "").await;
        let twice = gzip(&gzip(&eicar()));
        for (first, second) in [("gzip", "gzip"), ("identity", "br"), ("br", "identity"), ("", "br"), ("gzip", "x")] {
            let headers = [("content-encoding", first), ("content-encoding", second)];
            let put = gateway.a.put("/bkt/d/x", &headers, twice.clone()).await;
            assert!(put.status.is_client_error(), "{kind:?} {first} {second}: {}", put.text());
            let created = gateway.a.send("POST", "/bkt/d/x?uploads", &headers, "").await;
            if created.status != 200 {
                continue;
            }
            let id = created.element("UploadId");
            let one = part(&gateway.a, "d/x", &id, 1, twice.clone()).await;
            let done = complete(&gateway.a, "d/x", &id, &list_of(&[&one])).await;
            let stored = store.head("d/x").await;
            assert_ne!(done.status, 200, "{kind:?} {first} {second}: {:?} {}", stored.headers, done.text());
        }
        assert_eq!(store.keys("").await, Vec::<String>::new(), "{kind:?}");
    }
}

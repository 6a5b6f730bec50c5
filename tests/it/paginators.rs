//! boto3's paginators over 3,000 keys: the same names through the gateway as straight from the store, and none lost where it narrows.

use serde_json::{Value, json};

use super::boto::python;
use super::support::{Gateway, Store, StoreKind};

const LISTS: &str = "[s3:ListBucket, s3:ListBucketVersions, s3:ListBucketMultipartUploads]";

fn world(gateway: &Gateway, store: &Store, keys: &[String]) -> Value {
    json!({
        "endpoint": format!("http://{}", gateway.address), "token": gateway.a.token, "bucket": "bkt", "keys": keys,
        "store": { "endpoint": store.endpoint, "access_key": store.access_key, "secret_key": store.secret_key, "bucket": store.bucket },
    })
}

/// Rules that let the caller list these prefixes, but for those.
fn rules(allowed: &[&str], denied: &[&str]) -> String {
    let places = |prefixes: &[&str]| prefixes.iter().map(|p| format!("\"bkt/{p}\"")).collect::<Vec<_>>().join(", ");
    let mut rules = format!("\n  - {{ name: lists, who: anyone, where: [{}], what: {LISTS} }}", places(allowed));
    if !denied.is_empty() {
        rules +=
            &format!("\n  - {{ name: not, effect: deny, who: anyone, where: [{}], what: \"s3:*\" }}", places(denied));
    }
    rules
}

/// Keys in folders, and keys whose order by folders is another than that of their bytes (`d1-x` beside `d1/x`).
fn three_thousand() -> Vec<String> {
    let plain = (0..2000).map(|n| format!("a/plain/d{}/{n:04}", n % 7));
    let odd = (0..1000).map(|n| match n % 4 {
        0 => format!("a/odd/d{}/{n:04}", n % 5),
        1 => format!("a/odd/d{}-{n:04}", n % 5),
        2 => format!("a/odd/d{}.d/e/{n:04}", n % 5),
        _ => format!("a/odd/d{}0{n:04}", n % 5),
    });
    plain.chain(odd).collect()
}

#[tokio::test]
async fn boto3_lists_three_thousand_keys_as_straight_from_the_store() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let keys = three_thousand();
        store.put_all(&keys, b"x").await;
        let gateway = store.setup().rules(&rules(&["a/"], &[])).start().await;
        if !python("lists.py", "objects", world(&gateway, &store, &keys)).await {
            return;
        }
        let (allowed, denied) = (["a/plain/d1/", "a/plain/d4/", "a/odd/", "b/"], ["a/odd/d2/", "a/odd/d3.d/e/"]);
        let narrow = store.setup().rules(&rules(&allowed, &denied)).start().await;
        let mut world = world(&narrow, &store, &keys);
        world["allowed"] = json!(allowed);
        world["denied"] = json!(denied);
        world["operations"] = json!(["list_objects", "list_objects_v2"]);
        python("lists.py", "narrowed", world).await;
    }
}

#[tokio::test]
async fn boto3_lists_three_thousand_versions_as_straight_from_the_store() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        store.keep_versions().await;
        let keys: Vec<_> = (0..1450).map(|n| format!("a/d{}/{n:04}", n % 7)).collect();
        store.put_all(&keys, b"x").await;
        store.put_all(&keys, b"xy").await;
        for key in &keys[..100] {
            store.remove(key).await;
        }
        let gateway = store.setup().rules(&rules(&["a/"], &[])).start().await;
        if !python("lists.py", "versions", world(&gateway, &store, &keys)).await {
            return;
        }
    }
}

#[tokio::test]
async fn g09_every_list_is_xml_whatever_is_in_a_key() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        store.keep_versions().await;
        let plain = ["a/&<>\"'", "a/]]>", "a/</Key><injected>", "a/&amp;%41+ ü", "a/\u{d7ff}\u{10ffff}"];
        let odd = ["a/1\u{1}", "a/2\u{fffe}"];
        for key in plain.iter().chain(&odd) {
            store.put(key, b"x").await;
            // SeaweedFS fails on an upload of the odd ones.
            if kind == StoreKind::Rgw || plain.contains(key) {
                store.begin_upload(key).await;
            }
        }
        let all = [&plain[..], &odd].concat();
        // What SeaweedFS says itself in a list of versions.
        let replaced = [&plain[..], &["a/1\u{fffd}", "a/2\u{fffd}"]].concat();
        let seaweedfs = kind == StoreKind::SeaweedFs;
        let gateway = store.setup().rules(&rules(&["a/"], &[])).start().await;
        let mut world = world(&gateway, &store, &[]);
        world["keys"] = json!(all);
        world["versions"] = json!(if seaweedfs { &replaced } else { &all });
        world["uploads"] = json!(if seaweedfs { &plain[..] } else { &all });
        python("lists.py", "odd", world).await;
    }
}

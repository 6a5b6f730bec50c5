//! The feature `yara` through a whole gateway, on a real store. A binary of its own, because YARA-X is heavy to build: everything else is
//! tested without it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails here")]
#![allow(dead_code, unused_imports, reason = "most of the support is for the other tests")]

#[path = "it/scanners/objects.rs"]
mod objects;
#[path = "it/support/mod.rs"]
mod support;

use std::io::Write as _;
use std::time::{Duration, Instant};

use bytes::Bytes;
use objects::{encrypted_zip, gzip, zip};
use support::{Gateway, Setup, Store, StoreKind, pattern};
use tempfile::NamedTempFile;

/// Bytes that no block ends behind; see `BLOCK` in `src/inspect/yara/layers.rs`.
const BLOCK: usize = 256 << 10;
const EVIL: &[u8] = b"a-thing-that-nobody-wants";

const IN_BLOCKS: &str = "rule unwanted { strings: $a = \"a-thing-that-nobody-wants\" condition: $a }";
const AS_A_WHOLE: &str = "rule program { condition: uint16(0) == 0x5A4D and filesize > 100 }";

/// A gateway before a store, whose only rule for writing has objects matched.
async fn gateway(setup: Setup, rules: &str, keys: &str) -> (Gateway, NamedTempFile) {
    let mut file = NamedTempFile::with_suffix(".yar").unwrap();
    file.write_all(rules.as_bytes()).unwrap();
    let path = file.path().to_owned();
    let inspector = format!("inspectors: {{ malware: {{ yara: {{ files: \"{}\"{keys} }} }} }}", path.display());
    let mut setup = setup.top(&inspector).rules(
        "
  - { name: tenant-a, who: { tokens: [a], keys: [a] }, where: bkt/a/, what: [read, write, delete], inspect: { with: malware } }",
    );
    setup.files.push(path);
    (setup.start().await, file)
}

fn with(mut object: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    object[at..at + bytes.len()].copy_from_slice(bytes);
    object
}

#[tokio::test]
async fn h12_an_object_that_a_yara_rule_matches_is_never_stored() {
    let Some(store) = Store::get(StoreKind::SeaweedFs).await else { return };
    let (gateway, _file) = gateway(store.setup(), IN_BLOCKS, "").await;
    let clean = pattern(2 * BLOCK + 77);
    assert_eq!(gateway.a.put("/bkt/a/k", &[], clean.clone()).await.status, 200);
    for at in [0, BLOCK - 3, BLOCK, BLOCK + EVIL.len() - 1, 2 * BLOCK + 5, clean.len() - EVIL.len()] {
        let refused = gateway.a.put("/bkt/a/k", &[], with(clean.clone(), at, EVIL)).await;
        assert_eq!(refused.outcome(), (403, "ContentRejected".to_owned()), "at {at}");
        assert!(!refused.text().contains("unwanted") && !refused.text().contains("malware"), "{}", refused.text());
        let new = gateway.a.put("/bkt/a/new", &[], with(clean.clone(), at, EVIL)).await;
        assert_eq!(new.outcome(), (403, "ContentRejected".to_owned()), "at {at}");
    }
    assert_eq!(store.read("a/k").await, Some(clean));
    assert_eq!(store.read("a/new").await, None);
    let record = gateway.record(2).await;
    let finding = &record.inspection.as_ref().unwrap()[0];
    assert_eq!(format!("{finding:?}").matches("unwanted").count(), 1, "{finding:?}");
}

#[tokio::test]
async fn rules_that_need_whole_objects_get_them_up_to_a_size() {
    let Some(store) = Store::get(StoreKind::SeaweedFs).await else { return };
    let (gateway, _file) = gateway(store.setup(), AS_A_WHOLE, ", whole_up_to: 1MiB").await;
    let program = with(pattern(500_000), 0, b"MZ");
    assert_eq!(gateway.a.put("/bkt/a/program", &[], program.clone()).await.code(), "ContentRejected");
    assert_eq!(gateway.a.put("/bkt/a/short", &[], Bytes::from_static(b"MZ")).await.status, 200);
    assert_eq!(gateway.a.put("/bkt/a/text", &[], pattern(1 << 20)).await.status, 200);
    let larger = gateway.a.put("/bkt/a/larger", &[], pattern((1 << 20) + 1)).await;
    assert_eq!(larger.outcome(), (403, "ContentNotScannable".to_owned()));
    assert_eq!(store.keys("a/").await, ["a/short", "a/text"]);
}

#[tokio::test]
async fn h15_what_is_packed_is_matched_and_what_cannot_be_unpacked_is_not_stored() {
    let Some(store) = Store::get(StoreKind::SeaweedFs).await else { return };
    let (gateway, _file) = gateway(store.setup(), IN_BLOCKS, ", max_unpacked: 64MiB").await;
    let clean = pattern(2 * BLOCK + 77).to_vec();
    let evil = with(clean.clone(), 2 * BLOCK - 3, EVIL);
    let (rejected, not_scannable) = ((403, "ContentRejected"), (403, "ContentNotScannable"));
    let gzip_coded = [("content-encoding", "gzip")];
    for (what, headers, object, outcome) in [
        ("zip", &[][..], zip(&evil), rejected),
        ("gzip", &[], gzip(&evil), rejected),
        ("gzip in zip", &[], zip(&gzip(&evil)), rejected),
        ("gzip as an encoding", &gzip_coded, gzip(&evil), rejected),
        ("encrypted", &[], encrypted_zip(b"secret secret secret"), not_scannable),
        ("too deep", &[], gzip(&gzip(&gzip(b"deep"))), not_scannable),
        ("a bomb", &[], gzip(&vec![0; 80 << 20]), not_scannable),
        ("a bomb in a zip", &[], zip(&gzip(&vec![0; 80 << 20])), not_scannable),
        ("another encoding", &[("content-encoding", "br")], clean.clone(), not_scannable),
    ] {
        let begun = Instant::now();
        let refused = gateway.a.put("/bkt/a/x", headers, object).await;
        assert_eq!(refused.outcome(), (outcome.0, outcome.1.to_owned()), "{what}");
        assert!(begun.elapsed() < Duration::from_secs(30), "{what}");
    }
    assert_eq!(store.keys("a/x").await, [""; 0]);
    for (key, headers, object) in [("zip", &[][..], zip(&clean)), ("gzip", &gzip_coded, gzip(&clean))] {
        assert_eq!(gateway.a.put(&format!("/bkt/a/{key}"), headers, object).await.status, 200, "{key}");
    }
    assert_eq!(store.keys("a/").await, ["a/gzip", "a/zip"]);
}

#[tokio::test]
async fn with_unpack_false_archives_are_matched_as_they_are() {
    let Some(store) = Store::get(StoreKind::SeaweedFs).await else { return };
    let (gateway, _file) = gateway(store.setup(), IN_BLOCKS, ", unpack: false").await;
    for object in [gzip(&EVIL.repeat(100)), encrypted_zip(b"secret")] {
        assert_eq!(gateway.a.put("/bkt/a/x", &[], object).await.status, 200);
    }
    let encoded = gateway.a.put("/bkt/a/x", &[("content-encoding", "gzip")], gzip(b"x")).await;
    assert_eq!(encoded.outcome(), (403, "ContentNotScannable".to_owned()));
}

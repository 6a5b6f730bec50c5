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
use countersign::app::reload::ReloadError;
use objects::{encrypted_zip, gzip, zip};
use support::certs::write;
use support::parts::put_in_parts;
use support::{Gateway, Setup, Store, StoreKind, eventually, pattern};
use tempfile::NamedTempFile;

/// Bytes that no block ends behind; see `BLOCK` in `src/inspect/yara/layers.rs`.
const BLOCK: usize = 256 << 10;
const EVIL: &[u8] = b"a-thing-that-nobody-wants";

const IN_BLOCKS: &str = "rule unwanted { strings: $a = \"a-thing-that-nobody-wants\" condition: $a }";
const AS_A_WHOLE: &str = "rule program { condition: uint16(0) == 0x5A4D and filesize > 100 }";

/// A setup whose only rule for writing has objects matched, with these keys of the inspector.
fn matching(setup: Setup, yara: &str) -> Setup {
    setup.top(&format!("inspectors: {{ malware: {{ yara: {{ {yara} }} }} }}")).rules(
        "
  - { name: tenant-a, who: { tokens: [a], keys: [a] }, where: bkt/a/, what: [read, write, delete], inspect: { with: malware } }",
    )
}

/// A gateway of this setup with one rule file.
async fn gateway(setup: Setup, rules: &str, keys: &str) -> (Gateway, NamedTempFile) {
    let mut file = NamedTempFile::with_suffix(".yar").unwrap();
    file.write_all(rules.as_bytes()).unwrap();
    let path = file.path().to_owned();
    let mut setup = matching(setup, &format!("files: \"{}\"{keys}", path.display()));
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

#[tokio::test]
async fn h12_what_a_yara_rule_finds_across_two_parts_is_never_stored() {
    const PART: usize = 5 << 20;
    let Some(store) = Store::get(StoreKind::SeaweedFs).await else { return };
    let (gateway, _file) = gateway(store.setup(), IN_BLOCKS, "").await;
    let (first, second) = EVIL.split_at(10);
    let parts = [[&pattern(PART), first].concat(), [second, &pattern(77)].concat()];
    let refused = put_in_parts(&gateway.a, "a/x", &parts, &[]).await;
    assert_eq!(refused.outcome(), (403, "ContentRejected".to_owned()), "{}", refused.text());
    assert_eq!(store.keys("").await, [""; 0], "nor at a hidden key");
    let clean = [parts[0].clone(), pattern(77)];
    assert_eq!(put_in_parts(&gateway.a, "a/x", &clean, &[]).await.status, 200);
    assert!(store.read("a/x").await == Some(clean.concat()));
}

/// Rule files in a folder. Each finds the name of a bird, and is called like it.
struct Rules(tempfile::TempDir);

const BIRDS: [&str; 3] = ["Nightjar", "Skylark", "Wheatear"];

impl Rules {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// As keys of the inspector.
    fn keys(&self) -> String {
        format!("folder: \"{}\"", self.0.path().display())
    }

    fn path(&self, file: &str) -> std::path::PathBuf {
        self.0.path().join(file)
    }

    fn put(&self, file: &str, bird: &str) {
        write(&self.path(file), &format!("rule {bird} {{ strings: $a = \"{bird}\" condition: $a }}"));
    }

    fn remove(&self, file: &str) {
        std::fs::remove_file(self.path(file)).unwrap();
    }

    /// Those of the birds that are refused.
    async fn refused(gateway: &Gateway) -> Vec<&'static str> {
        let mut refused = Vec::new();
        for bird in BIRDS {
            let answer = gateway.a.put("/bkt/a/x", &[], bird).await;
            match answer.status.as_u16() {
                200 => {}
                _ => {
                    assert_eq!(answer.outcome(), (403, "ContentRejected".to_owned()));
                    refused.push(bird);
                }
            }
        }
        refused
    }
}

#[tokio::test]
async fn rules_that_change_count_from_the_reload_on_and_broken_ones_change_nothing() {
    let [nightjar, skylark, wheatear] = BIRDS;
    let Some(store) = Store::get(StoreKind::SeaweedFs).await else { return };
    let rules = Rules::new();
    rules.put("one.yar", nightjar);
    let world = matching(store.setup(), &rules.keys()).start_reloadable().await;
    let refused = async || Rules::refused(&world.gateway).await;
    let file = |name: &str| format!("file {}", rules.path(name).display());
    assert_eq!(refused().await, [nightjar]);

    rules.put("one.yar", skylark);
    assert_eq!(refused().await, [nightjar], "not loaded yet");
    assert_eq!(world.reload().await.unwrap().changed, [file("one.yar")]);
    assert_eq!(refused().await, [skylark]);

    rules.put("two.yara", nightjar);
    let folder = format!("folder {}", rules.path("").display());
    assert_eq!(world.reload().await.unwrap().changed, [file("two.yara"), folder.trim_end_matches('/').to_owned()]);
    assert_eq!(refused().await, [nightjar, skylark]);

    for (broken, problem) in [
        ("rule Wheatear { strings: $a = \"Wheatear\" condition: }", "three.yar:1"),
        ("rule Skylark { strings: $a = \"Wheatear\" condition: $a }", "duplicate rule"),
        ("import \"pe\" rule Wheatear { condition: pe.is_pe }", "pe"),
        ("rule Wheatear { condition: filesize < 100 }", "whole_up_to"),
    ] {
        write(&rules.path("three.yar"), broken);
        let Err(ReloadError::Problems(text)) = world.reload().await else { panic!("{broken} is loaded") };
        assert!(text.contains("three.yar") && text.contains(problem), "{broken}: {text}");
        assert_eq!(refused().await, [nightjar, skylark], "{broken}");
    }
    let ready = world.gateway.ask_admin("/readyz").await;
    assert!(ready.status == 200 && ready.text().contains("the old configuration serves"), "{}", ready.text());
    rules.put("three.yar", wheatear);
    world.reload().await.unwrap();
    assert_eq!(refused().await, BIRDS);

    rules.remove("one.yar");
    rules.remove("three.yar");
    world.reload().await.unwrap();
    assert_eq!(refused().await, [nightjar]);
    rules.remove("two.yara");
    let problem = world.reload().await.unwrap_err().to_string();
    assert!(problem.contains("holds no rule file"), "{problem}");
    assert_eq!(refused().await, [nightjar], "an empty folder is no set that finds nothing");
}

#[tokio::test]
async fn a_rule_file_that_is_added_is_loaded_by_itself() {
    let [nightjar, skylark, _] = BIRDS;
    let Some(store) = Store::get(StoreKind::SeaweedFs).await else { return };
    let rules = Rules::new();
    rules.put("one.yar", nightjar);
    let world = matching(store.setup(), &rules.keys()).start_watching(|folder| folder.join("countersign.yaml")).await;
    assert_eq!(Rules::refused(&world.gateway).await, [nightjar]);
    rules.put("two.yar", skylark);
    eventually("the file is loaded", || world.reloader.status().generation == 2).await;
    assert_eq!(Rules::refused(&world.gateway).await, [nightjar, skylark]);
}

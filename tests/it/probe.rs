//! `countersign probe-upstream` before real stores, and before some that only say so.

use super::support::process::run;
use super::support::{Answer, Recorder, Store, StoreKind};

/// Runs the command before a store: exit status, standard output, standard error.
async fn probe(endpoint: &str, access_key: &str, secret_key: &str, bucket: &str) -> (i32, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gw.yaml");
    let text = format!(
        "listen: [{{ address: 127.0.0.1:0 }}]\nupstreams:\n  store:\n    endpoint: {endpoint}\n    region: us-east-1\n    credentials: {{ access_key_id: env:ID, secret_access_key: env:SECRET }}\nbuckets: {{ bkt: {{}} }}\nclients: {{ tokens: [{{ name: ci, hash: env:HASH }}] }}\nrules: [{{ name: all, who: anyone, where: bkt, what: read }}]\n"
    );
    std::fs::write(&path, text).unwrap();
    let hash = format!("sha256:{}", "1".repeat(64));
    let env = [("ID", access_key), ("SECRET", secret_key), ("HASH", hash.as_str())];
    let config = path.display().to_string();
    let done = run(&["probe-upstream", "--config", config.as_str(), "--bucket", bucket], &env).await;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&done.stdout), text(&done.stderr));
    assert!(!out.contains(secret_key) && !err.contains(secret_key));
    (done.status.code().unwrap(), out, err)
}

/// The word before a line of the table.
fn word<'a>(out: &'a str, ability: &str) -> &'a str {
    let line = out.lines().find(|line| line.contains(ability)).unwrap_or_else(|| panic!("no {ability} in\n{out}"));
    line.split(' ').next().unwrap()
}

#[tokio::test]
async fn real_stores_are_found_to_be_what_they_are_and_left_as_they_were() {
    // What each does, in the order of the list of abilities below.
    let expected = [(StoreKind::SeaweedFs, ["yes", "yes", "yes"]), (StoreKind::Rgw, ["yes", "yes", "yes"])];
    for (kind, words) in expected {
        let Some(store) = Store::get(kind).await else { continue };
        store.put("kept", b"before").await;
        let (status, out, err) = probe(&store.endpoint, &store.access_key, &store.secret_key, &store.bucket).await;
        assert_eq!((status, err.as_str()), (0, ""), "{kind:?}\n{out}");
        for (ability, expected) in ["UNSIGNED-PAYLOAD)", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD)", "multipart"].iter().zip(words) {
            assert_eq!(word(&out, ability), expected, "{kind:?} {ability}\n{out}");
        }
        // RGW 16 is from before trailers.
        let trailers = word(&out, "STREAMING-UNSIGNED-PAYLOAD-TRAILER").to_ascii_lowercase();
        assert_eq!(trailers == "yes", kind == StoreKind::SeaweedFs, "{kind:?}\n{out}");
        assert!(out.contains("upstreams:\n  store:\n    payload: signed\n    checksum: "), "{kind:?}\n{out}");
        assert!(kind != StoreKind::Rgw || out.contains("    checksum: header\n"), "{out}");
        assert_eq!(store.keys("").await, ["kept"], "{kind:?}");
        assert_eq!(store.uploads().await, [""; 0], "{kind:?}");
        println!("{kind:?}\n{out}");
    }
}

#[tokio::test]
async fn a_store_that_says_yes_to_everything_is_not_believed() {
    let recorder = Recorder::start(Answer::ok()).await;
    let (status, out, err) = probe(&recorder.endpoint(), "ID", "a-secret-of-the-probe", "up-bkt").await;
    assert_eq!((status, err.as_str()), (1, ""), "{out}");
    let table = out.lines().take_while(|line| !line.is_empty());
    let believed: Vec<_> = table.filter(|line| line.starts_with("yes")).collect();
    assert_eq!(believed, [""; 0]);
    assert!(out.contains("No setting fits"), "{out}");
}

#[tokio::test]
async fn what_cannot_be_probed_is_said() {
    let recorder = Recorder::start(Answer::status(403, "", "<Error><Code>InvalidAccessKeyId</Code></Error>")).await;
    let (status, out, err) = probe(&recorder.endpoint(), "ID", "a-secret-of-the-probe", "up-bkt").await;
    assert_eq!((status, out.as_str()), (1, ""));
    assert!(err.contains("upstream `store`") && err.contains("403 InvalidAccessKeyId"), "{err}");
    let (status, _, err) = probe("http://127.0.0.1:1", "ID", "a-secret-of-the-probe", "up-bkt").await;
    assert_eq!(status, 1);
    assert!(err.contains("cannot connect"), "{err}");
}

//! `countersign probe-upstream` before real stores, and before some that only say so.

use std::sync::Arc;

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

/// The lines of the table that do not say `yes`, without the answers of the store.
fn lacking(out: &str) -> Vec<String> {
    let table = out.lines().take_while(|line| !line.is_empty());
    let lacking = table.filter(|line| !line.starts_with("yes "));
    let parts = |line: &str| {
        line.split("  ").map(str::trim).filter(|part| !part.is_empty()).take(2).collect::<Vec<_>>().join(" ")
    };
    lacking.map(parts).collect()
}

/// Ceph 16 is from before trailers and checksums.
const RGW_LACKS: [&str; 9] = [
    "no checksum trailer (STREAMING-UNSIGNED-PAYLOAD-TRAILER)",
    "no signed chunks with trailer (...-PAYLOAD-TRAILER)",
    "no upload without Content-Length",
    "NO x-amz-checksum-crc32 is checked",
    "NO x-amz-checksum-crc32c is checked",
    "NO x-amz-checksum-crc64nvme is checked",
    "NO x-amz-checksum-sha1 is checked",
    "NO x-amz-checksum-sha256 is checked",
    "NO GetObjectAttributes",
];

#[tokio::test]
async fn real_stores_are_found_to_be_what_they_are_and_left_as_they_were() {
    for (kind, lacks, settings) in [
        (
            StoreKind::SeaweedFs,
            &["no odd keys (a//b, a/./b, a/../b) byte for byte"][..],
            "payload: signed\n    checksum: trailer\n# This store does not keep odd keys",
        ),
        (StoreKind::Rgw, &RGW_LACKS, "payload: signed\n    checksum: header\n# This store keeps odd keys"),
    ] {
        let Some(store) = Store::get(kind).await else { continue };
        store.put("kept", b"before").await;
        let (status, out, err) = probe(&store.endpoint, &store.access_key, &store.secret_key, &store.bucket).await;
        assert_eq!((status, err.as_str()), (0, ""), "{kind:?}\n{out}");
        assert_eq!(lacking(&out), lacks, "{kind:?}\n{out}");
        assert!(out.contains("yes  payload that is not signed") && out.contains("yes  multipart uploads"), "{out}");
        assert!(out.contains(&format!("\nupstreams:\n  store:\n    {settings}")), "{kind:?}\n{out}");
        assert_eq!(store.keys("").await, ["kept"], "{kind:?}");
        assert_eq!(store.uploads().await, [""; 0], "{kind:?}");
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

/// The prefix of a list that a store is asked for, or an empty text.
fn prefix_asked_for(head: &str) -> String {
    let target = head.split(' ').nth(1).unwrap_or_default();
    let prefix = target.split(['?', '&']).find_map(|pair| pair.strip_prefix("prefix=")).unwrap_or_default();
    prefix.replace("%2F", "/")
}

#[tokio::test]
async fn what_a_store_lists_beside_the_objects_of_the_probe_is_never_removed() {
    // A store that takes no notice of the prefix, and one that makes a name of others out of a name of the probe.
    let lists = |head: &str| {
        let prefix = prefix_asked_for(head);
        let keys = ["payroll.db", "countersign-probe/of-others", "", &format!("{prefix}../../payroll.db")];
        let entries: String = keys.map(|key| format!("<Contents><Key>{key}</Key></Contents>")).concat();
        Answer::status(200, "etag: \"e\"\r\n", &format!("<ListBucketResult>{entries}</ListBucketResult>"))
    };
    let recorder = Recorder::start(Answer::By(Arc::new(lists))).await;
    let (_, out, err) = probe(&recorder.endpoint(), "ID", "a-secret-of-the-probe", "up-bkt").await;
    let lines: Vec<_> = recorder.requests().iter().map(|request| request.request_line()).collect();
    let (own, _) = lines[0].strip_prefix("PUT ").unwrap().split_once("0-plain").unwrap();
    assert!(own.starts_with("/up-bkt/countersign-probe/") && own.len() > 40, "{own}");
    let removed: Vec<_> = lines.iter().filter_map(|line| line.strip_prefix("DELETE ")).collect();
    assert!(removed.len() > 10, "{removed:?}");
    for target in removed {
        assert!(target.starts_with(own) && !target.contains("payroll"), "{target}");
    }
    assert!(!out.contains("payroll") && !err.contains("payroll"), "nobody is told to remove it: {out}{err}");
}

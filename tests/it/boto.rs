//! boto3 with a bearer token and with an access key of the gateway, in clear text and over TLS, where it frames its uploads with a trailing checksum.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::support::certs::Authority;
use super::support::store::{missing, tools};
use super::support::{Answer, Gateway, Recorder, Setup, Store, StoreKind};

const RULES: &str = "
  - { name: own, who: { tokens: [a], keys: [a] }, where: bkt/a/, what: [read, write, delete], limits: { max_size: 32MiB } }";

async fn boto(scenario: &'static str, world: Value) -> bool {
    python("boto.py", scenario, world).await
}

/// Runs a scenario of a program in `clients/`; panics with its output if something came out differently. False if boto3 is missing.
pub async fn python(program: &'static str, scenario: &'static str, world: Value) -> bool {
    let python = tools().join("venv/bin/python");
    if !python.exists() {
        missing("boto3");
        return false;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/clients").join(program);
    let run = move || {
        // Without the environment: it may name proxies, credentials and authorities.
        let mut child = Command::new(python)
            .args([script.as_os_str(), scenario.as_ref()])
            .env_clear()
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(world.to_string().as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{scenario}: {}", String::from_utf8_lossy(&output.stderr));
    };
    tokio::task::spawn_blocking(run).await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
    true
}

pub fn world(gateway: &Gateway, authority: Option<&Authority>) -> Value {
    let scheme = if authority.is_some() { "https" } else { "http" };
    let mut world = json!({
        "endpoint": format!("{scheme}://{}", gateway.address), "token": gateway.a.token, "bucket": "bkt", "prefix": "a/",
    });
    if let Some(authority) = authority {
        world["ca"] = json!(authority.file());
    }
    world
}

/// Runs a scenario before each real store, in clear text and over TLS.
async fn everywhere(scenario: &'static str) {
    everywhere_under(RULES, scenario).await;
}

async fn everywhere_under(rules: &str, scenario: &'static str) {
    let authority = Authority::new();
    let identity = authority.vouch_for(&["127.0.0.1"]);
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let clear = store.setup().rules(rules).start().await;
        boto(scenario, world(&clear, None)).await;
        let tls = store.setup().rules(rules).tls(&identity).start().await;
        boto(scenario, world(&tls, Some(&authority))).await;
        let records = tls.records();
        assert!(!records.is_empty() && records.iter().all(|record| record.tls), "{kind:?}");
    }
}

#[tokio::test]
async fn boto3_puts_gets_lists_and_deletes() {
    everywhere("objects").await;
}

#[tokio::test]
async fn g04_boto3_hears_of_a_late_refusal_what_it_was() {
    let Some(store) = Store::get(StoreKind::SeaweedFs).await else { return };
    // Connections are taken, and nothing ever comes back.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/scan", silent.local_addr().unwrap());
    let inspectors = format!("inspectors: {{ silent: {{ timeout: 6s, http: {{ url: \"{url}\" }} }} }}");
    let rules = "
  - { name: own, who: { tokens: [a] }, where: bkt/a/, what: [read, write], inspect: { with: [silent] } }";
    let gateway = store.setup().top(&inspectors).rules(rules).start().await;
    boto("late", world(&gateway, None)).await;
    let hidden = |key: &String| key.starts_with(".countersign/");
    let keys = store.keys("").await;
    assert!(!keys.is_empty() && keys.iter().all(hidden), "it waits for another look, out of sight: {keys:?}");
}

#[tokio::test]
async fn boto3_streams_large_files_with_every_checksum() {
    everywhere("uploads").await;
}

#[tokio::test]
async fn boto3_transfers_large_files_in_parts() {
    everywhere("transfers").await;
}

#[tokio::test]
async fn boto3_deletes_in_batches() {
    everywhere("batches").await;
}

#[tokio::test]
async fn boto3_tags_objects() {
    let rules = format!(
        "{RULES}\n  - {{ name: tags, who: {{ tokens: [a] }}, where: bkt/a/, what: ['s3:PutObjectTagging', 's3:DeleteObjectTagging'] }}"
    );
    everywhere_under(&rules, "tags").await;
}

#[tokio::test]
async fn boto3_is_told_why_it_was_refused_and_does_not_try_again() {
    everywhere("refusals").await;
}

#[tokio::test]
async fn boto3_frames_uploads_over_tls_and_the_store_gets_them_unframed() {
    let authority = Authority::new();
    let recorder = Recorder::start(Answer::ok()).await;
    let setup = Setup::before(&recorder).rules(RULES).upstream("payload: unsigned");
    let gateway = setup.tls(&authority.vouch_for(&["127.0.0.1"])).start().await;
    let mut world = world(&gateway, Some(&authority));
    world["key"] = json!("a/x");
    if !boto("one", world).await {
        return;
    }
    let sent = recorder.only();
    assert_eq!(sent.request_line(), "PUT /up-bkt/a/x");
    assert_eq!(sent.body, b"hello");
    for header in ["content-encoding", "transfer-encoding", "x-amz-trailer", "x-amz-checksum-crc32"] {
        assert_eq!(sent.header(header), "", "{header}");
    }
    assert_eq!(gateway.record(1).await.bytes_in, 46, "what the client sent was framed");
}

#[tokio::test]
async fn boto3_gives_up_when_the_store_is_gone() {
    let recorder = Recorder::start(Answer::ok()).await;
    let setup = Setup::before(&recorder).rules(RULES);
    drop(recorder);
    let gateway = setup.start().await;
    if boto("outage", world(&gateway, None)).await {
        assert_eq!(gateway.records().len(), 2 * 4, "each of two calls is made once and tried again three times");
    }
}

#[tokio::test]
async fn boto3_creates_configures_and_deletes_buckets_of_a_whole_store() {
    let authority = Authority::new();
    let identity = authority.vouch_for(&["127.0.0.1"]);
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let everything = "\n  - { name: all, who: { tokens: [a] }, where: \"*\", what: \"s3:*\" }";
        let setup = store.setup().whole_store().rules(everything);
        let clear = setup.clone().start().await;
        let tls = setup.tls(&identity).start().await;
        for (n, mut world) in [world(&clear, None), world(&tls, Some(&authority))].into_iter().enumerate() {
            world["store"] = json!(store.endpoint);
            world["access_key"] = json!(store.access_key);
            world["secret_key"] = json!(store.secret_key);
            world["name"] = json!(format!("{}-life-{n}", store.bucket));
            world["known"] = json!(known_settings(kind));
            // RGW 16 takes these for plain requests: `DELETE /B?encryption` removes the bucket. SeaweedFS has them.
            world["skip"] = match kind {
                StoreKind::Rgw => json!(["put encryption", "delete encryption", "put block", "delete block"]),
                _ => json!([]),
            };
            world["unknown"] = match kind {
                StoreKind::Rgw => json!([
                    "get no encryption",
                    "get encryption",
                    "get no block",
                    "get block",
                    "get ownership",
                    "get accelerate",
                    "list analytics",
                    "list inventory",
                ]),
                _ => json!([]),
            };
            world["keeps_full_buckets"] = json!(kind == StoreKind::Rgw);
            boto("administration", world).await;
        }
    }
}

/// What must have succeeded, and not failed in the same way twice.
fn known_settings(kind: StoreKind) -> Vec<&'static str> {
    let both = [
        "create",
        "put object acl",
        "put versioning",
        "put cors",
        "get cors",
        "delete cors",
        "put lifecycle",
        "get lifecycle",
        "get acl",
        "put acl",
        "listed",
        "delete",
        "put tagging",
        "get tagging",
        "delete tagging",
        "put policy",
        "get policy",
        "delete policy",
        "get logging",
        "get policy status",
    ];
    let of_one: &[&str] = match kind {
        StoreKind::Rgw => &["get versioning again", "get payment"],
        _ => &["get ownership"],
    };
    both.iter().chain(of_one).copied().collect()
}

//! The program itself: its commands, exit codes, what it writes where, and that no secret is in it.

use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::Value;

use super::support::certs::write;
use super::support::oidc::OwnIssuer;
use super::support::process::{Process, Served, run};
use super::support::{Answer, Client, Recorder, Setup, eventually};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn every_command_explains_itself() {
    for (arguments, words) in [
        (&["--help"][..], &["serve", "check", "explain", "schema", "reference", "token", "README.md"][..]),
        (&["serve", "--help"], &["--config <FILE>", "COUNTERSIGN_CONFIG", "SIGTERM", "EXIT STATUS"]),
        (&["check", "--help"], &["<FILE>", "every problem", "EXIT STATUS"]),
        (&["explain", "--help"], &["--as <PRINCIPAL>", "--do <OPERATION>", "--on <PLACE>", "--json", "EXIT STATUS"]),
        (&["schema", "--help"], &["2020-12", "countersign check"]),
        (&["reference", "--help"], &["config/reference.yaml", "default"]),
        (&["token", "--help"], &["secret", "hash", "Authorization: Bearer"]),
        (
            &["probe-upstream", "--help"],
            &["--upstream <NAME>", "--bucket <BUCKET>", "countersign-probe/", "EXIT STATUS"],
        ),
        (&["health", "--help"], &["--admin <URL>", "--live", "/readyz", "EXIT STATUS"]),
        #[cfg(feature = "demo")]
        (&["demo", "--help"], &["--tour", "--port <PORT>", "EXIT STATUS"]),
    ] {
        let done = run(arguments, &[]).await;
        let (out, err) = (text(&done.stdout), text(&done.stderr));
        assert_eq!((done.status.code(), err.as_str()), (Some(0), ""), "{arguments:?}");
        for word in words {
            assert!(out.contains(word), "{arguments:?} says nothing of {word}:\n{out}");
        }
        assert!(out.lines().all(|line| line.chars().count() <= 120), "{arguments:?} has lines that wrap:\n{out}");
    }
    let version = run(&["--version"], &[]).await;
    assert_eq!(text(&version.stdout), format!("countersign {}\n", env!("CARGO_PKG_VERSION")));
    for wrong in [&[][..], &["surve"], &["serve", "--confg", "x"], &["check"], &["serve"], &["token", "x"]] {
        let done = run(wrong, &[]).await;
        assert_eq!((done.status.code(), done.stdout.len()), (Some(2), 0), "{wrong:?}");
        assert!(text(&done.stderr).contains("Usage:"), "{wrong:?}: {}", text(&done.stderr));
    }
}

fn hash_of(secret: &str) -> String {
    format!("sha256:{}", hex::encode(digest(&SHA256, secret.as_bytes())))
}

#[tokio::test]
async fn access_key_prints_an_id_a_secret_and_the_lines_for_them() {
    let done = run(&["access-key", "etl-2.x"], &[]).await;
    let out = text(&done.stdout);
    assert_eq!((done.status.code(), done.stderr.len()), (Some(0), 0));
    let after = |label: &str| out.lines().find_map(|line| line.strip_prefix(label)).unwrap().trim().to_owned();
    let (id, secret) = (after("access key id:"), after("secret access key:"));
    assert_eq!((id.len(), secret.len()), (20, 40), "{out}");
    assert_eq!(out.matches(&secret).count(), 1, "the secret does not stand in the configuration:\n{out}");
    let lines = format!("    - name: etl-2.x\n      id: {id}\n      secret: env:COUNTERSIGN_KEY_ETL_2_X");
    assert!(out.contains(&lines), "{out}");
    assert_eq!(run(&["access-key", "no name"], &[]).await.status.code(), Some(1));
}

#[tokio::test]
async fn token_prints_a_secret_and_the_hash_that_belongs_to_it() {
    let mut secrets = Vec::new();
    for _ in 0..2 {
        let done = run(&["token"], &[]).await;
        let out = text(&done.stdout);
        assert_eq!((done.status.code(), done.stderr.len()), (Some(0), 0));
        let after = |label: &str| out.lines().find_map(|line| line.strip_prefix(label)).unwrap().trim().to_owned();
        let (secret, hash) = (after("secret:"), after("hash:"));
        assert!(secret.starts_with("csn_") && secret.len() == 47, "{secret}");
        assert_eq!(hash, hash_of(&secret));
        assert!(out.contains(&format!("hash: \"{hash}\"")), "what to put into the configuration:\n{out}");
        secrets.push((secret, hash));
    }
    assert_ne!(secrets[0], secrets[1]);

    let recorder = Recorder::start(Answer::ok()).await;
    let [(first, hash), (second, _)] = secrets.try_into().unwrap();
    let served = Served::start(&Setup::before(&recorder), "", &[("HASH_A", &hash)]).await;
    let client = |token: String| Client { token, ..served.a.clone() };
    assert_eq!(client(first).get("/bkt/a/x").await.status, 200);
    assert_eq!(client(second).get("/bkt/a/x").await.status, 401);
}

const CONFIG: &str = "listen:
  - address: 127.0.0.1:0
admin: { address: 127.0.0.1:0 }
upstreams:
  store:
    endpoint: http://127.0.0.1:1
    region: us-east-1
    credentials: { access_key_id: env:ID, secret_access_key: env:SECRET }
buckets:
  data: {}
clients:
  tokens:
    - { name: ci, hash: env:HASH }
rules:
  - { name: builds, who: { tokens: [ci] }, where: data/builds/, what: [read, write] }
";

/// Writes a configuration; gives its path.
fn file(folder: &Path, config: &str) -> String {
    let path = folder.join("countersign.yaml");
    write(&path, config);
    path.display().to_string()
}

/// What the references of `CONFIG` stand for.
fn references() -> Vec<(&'static str, String)> {
    let hash = hash_of("csn_some-long-and-random-text-of-a-token");
    vec![("ID", "STORE-KEY-ID".into()), ("SECRET", "store-secret-of-the-test".into()), ("HASH", hash)]
}

fn borrowed<'a>(env: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    env.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

#[tokio::test]
async fn check_says_that_a_good_file_is_good() {
    let (folder, env) = (tempfile::tempdir().unwrap(), references());
    let path = file(folder.path(), CONFIG);
    let done = run(&["check", &path], &borrowed(&env)).await;
    assert_eq!((done.status.code(), text(&done.stderr)), (Some(0), String::new()));
    assert_eq!(text(&done.stdout), format!("{path}: no problems (1 buckets, 1 rules, 1 upstreams)\n"));
}

#[tokio::test]
async fn check_names_what_is_risky_and_the_file_is_good_all_the_same() {
    let (folder, env) = (tempfile::tempdir().unwrap(), references());
    let risky = CONFIG
        .replace("- address: 127.0.0.1:0", "- address: 0.0.0.0:0")
        .replace("who: { tokens: [ci] }", "who: anyone");
    let path = file(folder.path(), &risky);
    let done = run(&["check", &path], &borrowed(&env)).await;
    assert_eq!((done.status.code(), text(&done.stderr)), (Some(0), String::new()));
    let out = text(&done.stdout);
    let (first, risks) = out.split_once('\n').unwrap();
    assert_eq!(first, format!("{path}: no problems (1 buckets, 1 rules, 1 upstreams)"));
    let keys: Vec<_> = risks.lines().map(|line| line.strip_prefix("risk: ").unwrap().split(": ").next()).collect();
    assert_eq!(keys, [Some("listen[0].tls"), Some("rules[builds].who")], "{out}");
}

#[tokio::test]
async fn the_level_of_the_log_takes_effect_with_a_reload() {
    let recorder = Recorder::start(Answer::ok()).await;
    let more = "reload: { watch: false }\nlog: { level: info }\n";
    let served = Served::start(&Setup::before(&recorder), more, &[]).await;
    let refused = async |number: usize| {
        assert_eq!(served.b.get("/bkt/a/x").await.status, 403);
        served.records(number).await;
        served.process.stderr.text().matches("request refused").count()
    };
    assert_eq!(refused(1).await, 0);
    served.reconfigure("level: info", "level: debug").await;
    assert_eq!(served.ask_admin("/readyz").await.text(), "ready\n", "nothing waits for a restart");
    assert_eq!(refused(2).await, 1);
    served.reconfigure("level: debug", "level: info").await;
    assert_eq!(refused(3).await, 1);
    served.reconfigure("{ level: info }", "{ format: text }").await;
    assert_eq!(served.ask_admin("/readyz").await.text(), "ready\nnote: waits for a restart: log.format\n");
    served.process.stderr.json();
}

#[tokio::test]
async fn of_many_requests_that_a_store_fails_the_log_tells_one_and_the_audit_all() {
    let recorder = Recorder::start(Answer::ok()).await;
    let mut setup = Setup::before(&recorder);
    setup.endpoint = "http://127.0.0.1:1".to_owned();
    let served = Served::start(&setup, "", &[]).await;
    for _ in 0..20 {
        assert!(served.a.get("/bkt/a/x").await.status.is_server_error());
    }
    assert!(served.records(20).await.iter().all(|record| record["reason"].is_string()));
    let log = served.process.stderr.json();
    let told: Vec<_> = log.iter().filter(|line| line["message"] == "request failed").collect();
    assert!((1..=2).contains(&told.len()), "one every ten seconds: {told:?}");
    assert_eq!((&told[0]["level"], &told[0]["held_back"]), (&Value::from("WARN"), &Value::from(0)));
}

#[tokio::test]
async fn a_store_that_fails_keeps_the_failures_of_another_one_not_out_of_the_log() {
    let recorder = Recorder::start(Answer::ok()).await;
    let mut setup = Setup::before(&recorder);
    setup.endpoint = "http://127.0.0.1:1".to_owned();
    setup.buckets.push("bkt2: { upstream: other, bucket: up-bkt }".to_owned());
    let setup = setup.rules("\n  - { name: all, who: { tokens: [a] }, where: [bkt, bkt2], what: read }");
    let other = "upstreams:\n  other: { endpoint: \"http://127.0.0.1:2\", region: us-east-1, credentials: { access_key_id: env:ACCESS, secret_access_key: env:SECRET } }\n";
    let served = Served::start_with(&setup, &setup.text().replacen("upstreams:\n", other, 1), &[]).await;
    for path in ["/bkt/x", "/bkt/x", "/bkt2/x", "/bkt2/x"] {
        assert!(served.a.get(path).await.status.is_server_error());
    }
    let log = served.process.stderr.json();
    let told = log.iter().filter(|line| line["message"] == "request failed").map(|line| line["upstream"].clone());
    assert_eq!(told.collect::<Vec<_>>(), ["store", "other"]);
}

#[tokio::test]
async fn check_and_serve_name_every_problem_with_its_line_and_what_was_meant() {
    let (folder, env) = (tempfile::tempdir().unwrap(), references());
    let broken = CONFIG
        .replace("- address:", "- adress:")
        .replace("region:", "regoin:")
        .replace("[ci] }", "[cj] }")
        .replace("env:SECRET", "secret-in-the-wrong-place");
    let path = file(folder.path(), &broken);
    for arguments in [["check", path.as_str()].as_slice(), &["serve", "--config", &path]] {
        let done = run(arguments, &borrowed(&env)).await;
        let problems = text(&done.stderr);
        assert_eq!((done.status.code(), done.stdout.len()), (Some(1), 0), "{arguments:?}");
        for (place, help) in [
            (":2:", "did you mean `address`?"),
            (":7:", "did you mean `region`?"),
            (":8:", "env:"),
            (":15:", "did you mean `ci`?"),
        ] {
            assert!(problems.contains(&format!("{path}{place}")), "{place}\n{problems}");
            assert!(problems.contains(help), "{help}\n{problems}");
        }
        assert!(problems.contains("4 problems"), "{problems}");
        assert!(!problems.contains("secret-in-the-wrong-place"), "{problems}");
    }
}

#[tokio::test]
async fn check_and_serve_refuse_what_a_file_refers_to_in_vain() {
    let (folder, env) = (tempfile::tempdir().unwrap(), references());
    let path = file(folder.path(), CONFIG);
    for missing in ["ID", "SECRET", "HASH"] {
        let rest: Vec<_> = env.iter().filter(|(name, _)| *name != missing).cloned().collect();
        let done = run(&["check", &path], &borrowed(&rest)).await;
        assert_eq!(done.status.code(), Some(1), "{missing}");
        assert!(text(&done.stderr).contains(missing), "{missing}: {}", text(&done.stderr));
    }
    let nowhere = folder.path().join("nowhere.yaml").display().to_string();
    for arguments in [["check", nowhere.as_str()].as_slice(), &["serve", "--config", &nowhere]] {
        let done = run(arguments, &borrowed(&env)).await;
        assert_eq!(done.status.code(), Some(1), "{arguments:?}");
        assert!(text(&done.stderr).contains("nowhere.yaml"), "{}", text(&done.stderr));
    }
    // L03: a file that everybody can read is no secret.
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "store-secret-of-the-test").unwrap();
    let path = file(folder.path(), &CONFIG.replace("env:SECRET", &format!("file:{}", secret.display())));
    let mode = |mode| {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(0o644);
    let done = run(&["check", &path], &borrowed(&env)).await;
    assert_eq!(done.status.code(), Some(1), "{}", text(&done.stderr));
    mode(0o600);
    assert_eq!(run(&["check", &path], &borrowed(&env)).await.status.code(), Some(0));
}

#[tokio::test]
async fn serve_ends_with_1_when_its_address_is_taken() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (folder, env) = (tempfile::tempdir().unwrap(), references());
    let address = taken.local_addr().unwrap().to_string();
    let path = file(folder.path(), &CONFIG.replacen("127.0.0.1:0", &address, 1));
    let done = run(&["serve", "--config", &path], &borrowed(&env)).await;
    assert_eq!((done.status.code(), done.stdout.len()), (Some(1), 0));
    assert!(text(&done.stderr).contains(&format!("cannot listen on {address}")), "{}", text(&done.stderr));
}

#[tokio::test]
async fn serve_writes_audit_records_and_the_log_apart_as_json_lines() {
    let recorder = Recorder::start(Answer::ok()).await;
    let mut served = Served::start(&Setup::before(&recorder), "log: { level: debug }\n", &[]).await;
    let put = served.a.put("/bkt/a/x", &[], "body").await;
    assert_eq!(put.status, 200);
    assert_eq!(served.b.get("/bkt/a/x").await.status, 403);
    assert_eq!(served.ask_admin("/readyz").await.status, 200);
    let records = served.records(2).await;
    assert_eq!(records[0]["request_id"], put.header("x-amz-request-id"));
    for (record, principal, operation, outcome, code) in [
        (&records[0], "token:a", "PutObject", "ok", Value::Null),
        (&records[1], "token:b", "GetObject", "refused", "AccessDenied".into()),
    ] {
        assert_eq!((&record["operation"], &record["outcome"]), (&operation.into(), &outcome.into()));
        assert_eq!((&record["principal"], &record["code"]), (&principal.into(), &code));
    }
    for line in served.process.stderr.json() {
        assert!(line["level"].is_string() && line["timestamp"].is_string() && line["message"].is_string(), "{line}");
    }
    assert!(served.process.stderr.text().contains("request refused"), "{}", served.process.stderr.text());
    served.process.signal("TERM");
    assert_eq!(served.process.end().await.code(), Some(0));
    assert_eq!(served.process.stdout.json().len(), 2, "the records were written, and nothing else");
}

#[tokio::test]
async fn serve_takes_its_file_from_the_environment_and_writes_where_it_is_told() {
    let recorder = Recorder::start(Answer::ok()).await;
    let folder = tempfile::tempdir().unwrap();
    let (audit, mut env) = (folder.path().join("audit.jsonl"), references());
    std::fs::write(&audit, "{\"earlier\":true}\n").unwrap();
    let config = CONFIG.replace("http://127.0.0.1:1", &recorder.endpoint());
    let config = format!("{config}audit: {{ file: {} }}\nlog: {{ format: text }}\n", audit.display());
    env.push(("COUNTERSIGN_CONFIG", file(folder.path(), &config)));
    let mut process = Process::start(&["serve"], &borrowed(&env));
    super::support::eventually("it serves", || process.stderr.text().contains("admin listener")).await;
    let log = process.stderr.text();
    assert!(!log.contains('{') && log.contains("INFO"), "{log}");
    let address = log.lines().find_map(|line| line.split_once("listening address=")).unwrap().1.trim().parse().unwrap();
    let client = Client { address, token: "csn_some-long-and-random-text-of-a-token".into() };
    assert_eq!(client.put("/data/builds/x", &[], "body").await.status, 200);
    process.signal("INT");
    assert_eq!(process.end().await.code(), Some(0));
    let records = std::fs::read_to_string(&audit).unwrap();
    let lines: Vec<_> = records.lines().collect();
    assert!(lines.len() == 2 && lines[0].contains("earlier") && lines[1].contains("PutObject"), "{records}");
    assert_eq!(process.stdout.text(), "");
}

#[tokio::test]
async fn an_audit_record_is_written_at_once_while_other_requests_keep_coming() {
    let recorder = Recorder::start(Answer::ok()).await;
    let served = Served::start(&Setup::before(&recorder), "", &[]).await;
    for number in 1..=40 {
        assert_eq!(served.a.get("/bkt/a/x").await.status, 200);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        let written = served.process.stdout.json().len();
        assert!(written + 10 >= number, "{written} records after {number} requests");
    }
}

#[tokio::test]
async fn a_full_disk_costs_audit_records_and_no_request() {
    let recorder = Recorder::start(Answer::ok()).await;
    let mut served = Served::start(
        &Setup::before(&recorder),
        "audit: { sinks: { disk: { file: { path: /dev/full }, queue: 16 } } }\n",
        &[],
    )
    .await;
    // Some are kept, as the disk could have room again; and who writes them is not waited for by anybody.
    let mut lost = 0;
    for _ in 0..2000 {
        assert_eq!(served.a.get("/bkt/a/x").await.status, 200);
        let metrics = served.ask_admin("/metrics").await.text();
        let count = metrics
            .lines()
            .find_map(|line| line.strip_prefix("countersign_audit_records_dropped_total{sink=\"disk\"} "));
        lost = count.unwrap_or_else(|| panic!("{metrics}")).parse::<u32>().unwrap();
        if lost > 0 {
            break;
        }
    }
    assert!(lost > 0, "no record was counted as lost");
    let stderr = || served.process.stderr.text();
    eventually("the log says so", || stderr().contains("audit records lost")).await;
    served.process.signal("TERM");
    assert_eq!(served.process.end().await.code(), Some(0));
}

#[tokio::test]
async fn k25_proxies_of_the_environment_are_not_used() {
    let (recorder, proxy) = (Recorder::start(Answer::ok()).await, Recorder::start(Answer::ok()).await);
    let own = OwnIssuer::start().await;
    let (endpoint, names) = (proxy.endpoint(), ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "ALL_PROXY"]);
    let env = names.map(|name| (name, endpoint.as_str()));
    let served = Served::start(&Setup::before(&recorder).issuers(&own.entry()), "", &env).await;
    assert_eq!(served.a.put("/bkt/a/x", &[("proxy", &endpoint)], "body").await.status, 200);
    for _ in 0..1000 {
        if served.ask_admin("/readyz").await.status == 200 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(served.ask_admin("/readyz").await.status, 200, "the keys of the issuer were fetched");
    assert_eq!(recorder.requests().len(), 1);
    assert!(proxy.is_silent(), "{:?}", proxy.requests());
}

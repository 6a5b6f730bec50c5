//! The operator's page: its JSON against a running gateway, and the page itself in a real Chromium.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use countersign::auth::app_token;
use countersign::inspect::patterns::eicar;
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::support::certs::write;
use super::support::gateway::KEY_SECRETS;
use super::support::process::Process;
use super::support::store::{missing, tools};
use super::support::{Answer, Client, Gateway, Recorder, Response, Setup, eventually};

const RULES: &str = "
  - { name: small-ones, who: { tokens: [a] }, where: bkt/a/small/, what: [read, write], limits: { max_size: 1KiB } }
  - { name: scanned, who: { tokens: [a] }, where: bkt/a/scanned/, what: [read, write], inspect: { with: words } }
  - { name: tenant-a, who: { tokens: [a] }, where: bkt/a/open/, what: [read, write, delete] }
  - { name: never-there, effect: deny, who: anyone, where: bkt/a/locked/, what: \"s3:*\" }";

/// Applications without a credential of their own.
const BESIDE: &str = "
  - { name: beside, who: { listeners: [orders, job] }, where: bkt/orders/, what: [read] }";

const INSPECTORS: &str = "inspectors: { words: { patterns: { sets: [eicar] } } }";

fn setup(recorder: &Recorder) -> Setup {
    Setup::before(recorder).rules(RULES).top(INSPECTORS)
}

/// As [`setup`], with a token for operators; the token.
fn protected(recorder: &Recorder, more: &str) -> (Setup, String) {
    let (secret, hash) = app_token::generate();
    let keys = format!("admin: {{ address: 127.0.0.1:0, tokens: [{{ name: ops, hash: \"{hash}\" }}]{more} }}");
    let mut setup = setup(recorder);
    setup.admin = keys;
    (setup, secret.expose().to_owned())
}

async fn ask(gateway: &Gateway, method: &str, path: &str, token: Option<&str>, body: &str) -> Response {
    ask_at(gateway.admin, method, path, token, body).await
}

async fn ask_at(address: SocketAddr, method: &str, path: &str, token: Option<&str>, body: &str) -> Response {
    let authorization = token.map(|token| format!("Bearer {token}"));
    let mut headers: Vec<_> = authorization.iter().map(|text| ("authorization", text.as_str())).collect();
    if method == "POST" {
        headers.extend([("content-type", "application/json"), ("x-countersign-console", "1")]);
    }
    let admin = Client { address, token: String::new() };
    admin.send_plain(method, path, &headers, body.to_owned()).await
}

async fn json(gateway: &Gateway, path: &str) -> Value {
    let answer = ask(gateway, "GET", path, None, "").await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, "application/json"), "{}", answer.text());
    serde_json::from_slice(&answer.body).unwrap()
}

/// One upload that is stored, one that is too large, one that matches, one that no rule allows and one that a rule denies.
async fn traffic(gateway: &Gateway) {
    assert_eq!(gateway.a.put("/bkt/a/open/fine", &[], "fine").await.status, 200);
    assert_eq!(gateway.a.put("/bkt/a/small/large", &[], vec![0; 2000]).await.code(), "EntityTooLarge");
    assert_eq!(gateway.a.put("/bkt/a/scanned/virus", &[], eicar()).await.code(), "ContentRejected");
    assert_eq!(gateway.a.get("/bkt/b/other").await.code(), "AccessDenied");
    assert_eq!(gateway.a.get("/bkt/a/locked/x").await.code(), "AccessDenied");
    gateway.record(5).await;
}

#[tokio::test]
async fn everything_the_page_shows_is_there_as_json() {
    let recorder = Recorder::start(Answer::ok()).await;
    let gateway = setup(&recorder).start().await;
    traffic(&gateway).await;

    let status = json(&gateway, "/api/status").await;
    assert_eq!(
        (&status["ready"], &status["draining"], &status["who"]),
        (&true.into(), &false.into(), &"loopback".into())
    );
    assert_eq!((&status["version"], &status["reload"]["generation"]), (&env!("CARGO_PKG_VERSION").into(), &1.into()));
    assert_eq!(status["listeners"], json!([{ "address": gateway.address.to_string(), "tls": false }]));

    let summary = json(&gateway, "/api/summary").await;
    let totals = &summary["totals"];
    assert_eq!((&totals["requests"], &totals["refused"]), (&5.into(), &4.into()), "{summary:#}");
    assert_eq!(totals["verdicts"], json!([{ "of": "words", "what": "matched", "count": 1 }]));
    let rules = summary["refusals_by_rule"].as_array().unwrap();
    let found = |rule: Value, code: &str| rules.contains(&json!({ "rule": rule, "code": code, "count": 1 }));
    assert!(found("small-ones".into(), "EntityTooLarge") && found("scanned".into(), "ContentRejected"), "{rules:#?}");
    assert!(found(Value::Null, "AccessDenied") && found("never-there".into(), "AccessDenied"), "{rules:#?}");

    let upstreams = json(&gateway, "/api/upstreams").await;
    assert_eq!((&upstreams[0]["name"], &upstreams[0]["has_credentials"]), (&"store".into(), &true.into()));
    assert!(recorder.endpoint().ends_with(upstreams[0]["endpoint"].as_str().unwrap().trim_start_matches("http://")));
    let inspectors = json(&gateway, "/api/inspectors").await;
    assert_eq!((&inspectors[0]["name"], &inspectors[0]["up"]), (&"words".into(), &true.into()));
}

#[tokio::test]
async fn a12_l01_the_configuration_is_shown_without_a_secret() {
    let recorder = Recorder::start(Answer::ok()).await;
    let gateway = setup(&recorder).start().await;
    let config = json(&gateway, "/api/config").await;
    assert_eq!(config["file"], "test.yaml");
    let text = config["text"].as_str().unwrap();
    assert!(text.contains("name: tenant-a") && text.contains("max_size: 1KiB"), "{text}");
    assert_eq!(config["principals"], json!(["token:a", "token:b", "key:a", "key:b"]));
    let mut all = text.to_owned();
    for path in ["/api/status", "/api/summary", "/api/upstreams", "/api/inspectors", "/", "/metrics"] {
        all += &ask(&gateway, "GET", path, None, "").await.text();
    }
    for secret in [
        "recorder-secret-access-key",
        "RECORDER-ACCESS-KEY",
        gateway.a.token.as_str(),
        "secret-of-access-key",
        "sha256:",
    ] {
        assert!(!all.contains(secret), "`{secret}` is shown");
    }
    assert!(!all.contains("env:"), "what stands in the environment is named: {all}");
}

#[tokio::test]
async fn explain_answers_about_the_configuration_in_use() {
    let recorder = Recorder::start(Answer::ok()).await;
    let gateway = setup(&recorder).start().await;
    let explain = async |question: Value| {
        let answer = ask(&gateway, "POST", "/api/explain", None, &question.to_string()).await;
        (answer.status.as_u16(), serde_json::from_slice::<Value>(&answer.body).unwrap())
    };
    let put = |key: &str, size: &str| json!({ "as": "token:a", "do": "PutObject", "on": format!("bkt/a/{key}"), "size": size });
    let (status, answer) = explain(put("small/x", "1KiB")).await;
    assert_eq!(
        (status, &answer["report"]["decision"], &answer["report"]["rule"]),
        (200, &"allowed".into(), &"small-ones".into())
    );
    assert!(answer["text"].as_str().unwrap().starts_with("ALLOWED by the rule `small-ones`"));
    let (_, answer) = explain(put("small/x", "2KiB")).await;
    assert_eq!(
        (&answer["report"]["decision"], &answer["report"]["refusal"]["code"]),
        (&"denied".into(), &"EntityTooLarge".into())
    );
    // What is said is what happens.
    assert_eq!(gateway.a.put("/bkt/a/small/x", &[], vec![0; 2048]).await.code(), "EntityTooLarge");
    for (question, problem) in [
        (json!({ "as": "token:nobody", "do": "PutObject", "on": "bkt/x" }), "as: there is no token `nobody`"),
        (json!({ "as": "token:a", "do": "Fly", "on": "bkt/x" }), "do: `Fly` is neither"),
        (json!({ "as": "token:a", "do": "PutObject", "on": "bkt/x", "colour": "red" }), "unknown field `colour`"),
        (json!({ "as": "token:a" }), "missing field `do`"),
        (json!([1]), "this is not a question"),
    ] {
        let (status, answer) = explain(question.clone()).await;
        assert_eq!(status, 400, "{question}");
        assert!(answer["error"].as_str().unwrap().contains(problem), "{answer}");
    }
    assert!(recorder.is_silent(), "a question is no request");
}

#[tokio::test]
async fn l14_tokens_protect_everything_but_health_and_metrics() {
    let recorder = Recorder::start(Answer::ok()).await;
    let (setup, token) = protected(&recorder, "");
    let gateway = setup.start().await;
    let paths =
        ["/api/status", "/api/summary", "/api/events", "/api/upstreams", "/api/inspectors", "/api/config", "/api/x"];
    for path in paths {
        assert_eq!(ask(&gateway, "GET", path, None, "").await.status, 401, "{path}");
        // A client's token opens nothing here.
        assert_eq!(ask(&gateway, "GET", path, Some(&gateway.a.token), "").await.status, 401, "{path}");
    }
    for path in ["/api/explain", "/api/reload"] {
        assert_eq!(ask(&gateway, "POST", path, None, "{}").await.status, 401, "{path}");
    }
    for path in ["/", "/healthz", "/readyz", "/metrics"] {
        assert_eq!(ask(&gateway, "GET", path, None, "").await.status, 200, "{path}");
    }
    assert_eq!(ask(&gateway, "GET", "/api/status", Some(&token), "").await.status, 200);
    for _ in 0..3 {
        assert_eq!(ask(&gateway, "GET", "/api/status", Some("csn_guess"), "").await.status, 401);
    }
    let refused = ask(&gateway, "GET", "/api/status", Some("csn_guess"), "").await;
    assert_eq!(refused.status, 429, "ten wrong ones came from this address");
    let status = ask(&gateway, "GET", "/api/status", Some(&token), "").await.status;
    assert_eq!(status, 200, "the operator is not kept out by whoever shares the address");
    assert!(refused.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds <= 7));
}

#[tokio::test]
async fn l14_a_good_token_opens_everything_and_wrong_ones_are_counted() {
    let recorder = Recorder::start(Answer::ok()).await;
    let (setup, token) = protected(&recorder, ", metrics: protected");
    let gateway = setup.start().await;
    for path in ["/api/status", "/api/summary", "/api/upstreams", "/api/inspectors", "/api/config", "/metrics"] {
        assert_eq!(ask(&gateway, "GET", path, Some(&token), "").await.status, 200, "{path}");
    }
    assert_eq!(ask(&gateway, "GET", "/metrics", None, "").await.status, 401);
    assert_eq!(ask(&gateway, "GET", "/api/status", Some("csn_wrong"), "").await.status, 401);
    let metrics = ask(&gateway, "GET", "/metrics", Some(&token), "").await.text();
    assert!(metrics.contains("countersign_admin_refused_total{reason=\"wrong_token\"} 1"), "{metrics}");
    // Nor does it open anything else.
    assert_eq!(gateway.client(&token).get("/bkt/a/open/x").await.status, 401);
}

#[tokio::test]
async fn l14_paths_and_methods_that_are_not_there() {
    let recorder = Recorder::start(Answer::ok()).await;
    let gateway = setup(&recorder).start().await;
    for (method, path, status) in [
        ("GET", "/api/", 404),
        ("GET", "/api/nothing", 404),
        ("POST", "/api/nothing", 404),
        ("GET", "/index.html", 404),
        ("GET", "/api/reload", 405),
        ("GET", "/api/explain", 405),
        ("POST", "/api/status", 405),
        ("HEAD", "/api/events", 405),
        ("DELETE", "/api/status", 405),
    ] {
        assert_eq!(ask(&gateway, method, path, None, "").await.status, status, "{method} {path}");
    }
    assert_eq!(ask(&gateway, "POST", "/api/reload", None, "[1]").await.status, 400);
    for path in ["/api/status", "/api/reload", "/api/events"] {
        assert_eq!(gateway.a.get(path).await.code(), "AccessDenied", "{path} of a data listener is a bucket");
    }
}

#[tokio::test]
async fn l05_a_reload_is_asked_for_here_and_takes_the_tokens_of_operators_along() {
    let recorder = Recorder::start(Answer::ok()).await;
    let ((first, first_hash), (second, second_hash)) = (app_token::generate(), app_token::generate());
    let (first, second) = (first.expose().to_owned(), second.expose().to_owned());
    let with_token = |hash: &str| {
        let mut setup = setup(&recorder).top("reload: { watch: false }");
        setup.admin = format!("admin: {{ address: 127.0.0.1:0, tokens: [{{ name: ops, hash: \"{hash}\" }}] }}");
        setup.text()
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("countersign.yaml");
    write(&file, &with_token(&first_hash));
    let (hash_a, hash_b) = (format!("sha256:{}", "a1".repeat(32)), format!("sha256:{}", "b2".repeat(32)));
    let mut env = vec![
        ("ACCESS", "RECORDER-ACCESS-KEY"),
        ("SECRET", "recorder-secret-access-key"),
        ("HASH_A", hash_a.as_str()),
        ("HASH_B", hash_b.as_str()),
    ];
    env.extend(KEY_SECRETS);
    let process = Process::start(&["serve", "--config", file.to_str().unwrap()], &env);
    let mut admin = None;
    eventually("it serves", || {
        let log = process.stderr.text();
        let line = log.lines().find(|line| line.contains("\"admin listener\"")).map(str::to_owned);
        let line = line.and_then(|line| serde_json::from_str::<Value>(&line).ok());
        admin = line.and_then(|line| line["address"].as_str().and_then(|text| text.parse::<SocketAddr>().ok()));
        admin.is_some()
    })
    .await;
    let admin = admin.unwrap();
    let reload = async |token: &str| {
        let answer = ask_at(admin, "POST", "/api/reload", Some(token), "{}").await;
        (answer.status.as_u16(), answer.text())
    };

    let (status, text) = reload(&first).await;
    assert_eq!(status, 200, "{text}");
    assert!(text.contains("\"generation\":1") && text.contains("\"changed\":[]"), "{text}");

    write(&file, &with_token(&second_hash));
    let (status, text) = reload(&first).await;
    assert_eq!(status, 200, "{text}");
    assert!(text.contains("\"generation\":2") && text.contains("admin.tokens"), "{text}");
    assert_eq!(reload(&first).await.0, 401, "the token was taken out of the file");

    write(&file, "rules: [");
    let (status, text) = reload(&second).await;
    assert!(status == 409 && text.contains("the configuration has problems"), "{text}");
    let answer = ask_at(admin, "GET", "/api/status", Some(&second), "").await;
    let status: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!((&status["ready"], &status["reload"]["generation"]), (&true.into(), &2.into()));
    assert!(status["notes"][0].as_str().unwrap().contains("failed, the old configuration serves"), "{status:#}");
    for secret in [first, second] {
        assert!(!process.stderr.text().contains(&secret));
    }
}

/// A page that watches: the connection, and its events so far.
struct Watcher {
    body: hyper::body::Incoming,
    _connection: tokio::task::JoinHandle<hyper::Result<()>>,
}

impl Watcher {
    async fn open(gateway: &Gateway) -> (u16, Self) {
        let stream = TcpStream::connect(gateway.admin).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        let request = http::Request::get("/api/events").header("host", gateway.admin.to_string());
        let request = request.body(http_body_util::Empty::<bytes::Bytes>::new()).unwrap();
        let (head, body) = sender.send_request(request).await.unwrap().into_parts();
        (head.status.as_u16(), Self { body, _connection: connection })
    }

    /// Reads until this is in the stream.
    async fn read_until(&mut self, what: &str) -> String {
        let mut text = String::new();
        let reading = async {
            while !text.contains(what) {
                let frame = self.body.frame().await.expect("the stream goes on").unwrap();
                text += std::str::from_utf8(&frame.into_data().unwrap()).unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(20), reading)
            .await
            .unwrap_or_else(|_| panic!("no `{what}` in the stream"));
        text
    }
}

#[tokio::test]
async fn watchers_see_what_was_and_what_comes_and_are_few() {
    let recorder = Recorder::start(Answer::ok()).await;
    let gateway = setup(&recorder).start().await;
    gateway.a.get("/bkt/a/open/before").await;
    gateway.record(1).await;
    let (status, mut watcher) = Watcher::open(&gateway).await;
    assert_eq!(status, 200);
    watcher.read_until("a/open/before").await;
    gateway.a.put("/bkt/a/small/large", &[], vec![0; 2000]).await;
    let text = watcher.read_until("EntityTooLarge").await;
    assert!(text.contains("\"rule\":\"small-ones\"") && text.contains("\"reason\":\""), "{text}");
    let mut more = Vec::new();
    for _ in 0..7 {
        more.push(Watcher::open(&gateway).await);
    }
    assert!(more.iter().all(|(status, _)| *status == 200));
    assert_eq!(Watcher::open(&gateway).await.0, 503, "eight watch already");
    drop(more);
    for _ in 0..500 {
        if Watcher::open(&gateway).await.0 == 200 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("who leaves makes no room");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_works_in_a_browser() {
    let node_modules = tools().join("node_modules/playwright-core");
    if let Some(path) = [node_modules.as_path(), Path::new("/usr/bin/chromium")].iter().find(|path| !path.exists()) {
        return missing(&path.display().to_string());
    }
    let recorder = Recorder::start(Answer::ok()).await;
    let home = tempfile::tempdir().unwrap();
    let socket = home.path().join("s3.sock");
    let gateway = setup(&recorder)
        .rules(&format!("{RULES}{BESIDE}"))
        .listen("{ address: 127.0.0.1:0, identity: { name: orders } }")
        .listen(&format!("{{ address: \"unix:{}\", mode: \"0600\", identity: {{ name: job }} }}", socket.display()))
        .start()
        .await;
    let (protected, token) = protected(&recorder, "");
    let protected = protected.start().await;
    traffic(&gateway).await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/clients/operators_page.mjs");
    let artefacts = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/artefacts");
    std::fs::create_dir_all(&artefacts).unwrap();
    let mut program = Command::new("timeout");
    program
        .args(["240".as_ref(), "node".as_ref(), script.as_os_str()])
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("HOME", home.path())
        .env("TOOLS", tools())
        .env("PAGE", format!("http://{}", gateway.admin))
        .env("GATEWAY", format!("http://{}", gateway.address))
        .env("CLIENT_TOKEN", &gateway.a.token)
        .env("BESIDE", format!("http://{}", gateway.addresses[1]))
        .env("SOCKET", &socket)
        .env("PROTECTED", format!("http://{}", protected.admin))
        .env("OPERATOR_TOKEN", &token)
        .env("ARTEFACTS", &artefacts)
        .stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || program.output().unwrap()).await.unwrap();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    let steps: BTreeMap<String, String> =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {log}"));
    let failed: Vec<_> = steps.iter().filter(|(_, result)| *result != "ok").collect();
    assert!(failed.is_empty() && steps.len() >= 12, "{failed:#?}\n{log}");
    for name in ["desktop-light", "desktop-dark", "phone-light", "phone-dark", "detail", "sign-in"] {
        let picture = artefacts.join(format!("operators-page-{name}.png"));
        assert!(std::fs::metadata(&picture).is_ok_and(|file| file.len() > 10_000), "{}", picture.display());
    }
}

//! What is in `deploy/observability` and what traces say, held against the program.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use countersign::telemetry::{ConnectionCounts, Metrics};

use super::support::clamd::{Server, free_port};
use super::support::process::Served;
use super::support::store::{missing, tools};
use super::support::{Answer, Recorder, Setup, eventually};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/observability")
}

fn read(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).unwrap()
}

/// What a program with one of everything has counted, in the text of its metrics; and what shows only where a scanner
/// tells its age, a listener has TLS and credentials have an end.
async fn all_metrics() -> String {
    let recorder = Recorder::start(Answer::ok()).await;
    let setup = Setup::before(&recorder).top("inspectors: { words: { patterns: { sets: [eicar] } } }");
    let served = Served::start(&setup, "", &[]).await;
    assert_eq!(served.a.get("/bkt/a/x").await.status, 200);
    assert_eq!(served.b.get("/bkt/a/x").await.status, 403);
    let metrics = Metrics::new().unwrap();
    metrics.inspections().announce("av");
    metrics.inspections().count("av", "clean", Duration::from_millis(1), 1);
    metrics.inspections().set_health("av", true, false, Some(Duration::from_secs(1)));
    metrics.listeners().set_certificate_expiry("admin", Some(2_000_000_000));
    metrics.credentials().announce("rack");
    metrics.credentials().set_times("rack", Some(Duration::from_secs(1)), Some(2_000_000_000));
    let shown = metrics.render(ConnectionCounts::default(), [("corp".to_owned(), Some(Duration::from_secs(1)))]);
    served.ask_admin("/metrics").await.text() + &shown
}

fn names_of(text: &str) -> BTreeSet<String> {
    let typed = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next().map(str::to_owned));
    typed.collect()
}

/// Names of metrics that a text uses. Words of PromQL and labels do not begin so.
fn used(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let names = words.filter(|word| word.starts_with("countersign_") || word.starts_with("process_"));
    let base = |name: &str| {
        let bucket = name.strip_suffix("_bucket").or(name.strip_suffix("_count")).or(name.strip_suffix("_sum"));
        bucket.unwrap_or(name).to_owned()
    };
    names.map(base).collect()
}

#[tokio::test]
async fn the_dashboard_and_the_rules_use_only_metrics_that_the_program_has() {
    let known = names_of(&all_metrics().await);
    for name in ["dashboard.json", "rules.yaml", "rules_test.yaml"] {
        let used = used(&read(name));
        assert!(used.len() > 10, "{name}: {used:?}");
        let unknown: Vec<_> = used.difference(&known).collect();
        assert!(unknown.is_empty(), "{name} uses {unknown:?}, the program has {known:?}");
    }
    let shown = used(&read("dashboard.json"));
    let own = known.iter().filter(|name| name.starts_with("countersign_")).cloned().collect::<BTreeSet<_>>();
    let left_out: Vec<_> = own.difference(&shown).map(String::as_str).collect();
    let wanted = [
        "countersign_connections_total",
        "countersign_inspector_breaker_open",
        "countersign_recalled_verdicts_total",
        "countersign_remembered_verdicts",
        "countersign_staging_swept_total",
    ];
    assert!(left_out.iter().all(|name| wanted.contains(name)), "the dashboard does not show {left_out:?}");
}

#[test]
fn every_panel_of_the_dashboard_has_its_place_and_its_data_source() {
    let dashboard: serde_json::Value = serde_json::from_str(&read("dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut taken = BTreeSet::new();
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert!(ids.len() == panels.len() && panels.len() > 30, "{ids:?}");
    for panel in panels {
        let place = |side: &str| panel["gridPos"][side].as_u64().unwrap();
        assert!(place("x") + place("w") <= 24, "{panel}");
        for (x, y) in (place("x")..place("x") + place("w"))
            .flat_map(|x| (place("y")..place("y") + place("h")).map(move |y| (x, y)))
        {
            assert!(taken.insert((x, y)), "{} lies on another panel", panel["title"]);
        }
        for target in panel["targets"].as_array().into_iter().flatten() {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{panel}");
            assert!(target["expr"].as_str().unwrap().contains("$instance"), "{target}");
        }
    }
}

#[tokio::test]
async fn promtool_finds_nothing_against_rules_and_metrics_and_every_alert_fires_for_what_is_ill() {
    if Command::new("promtool").arg("--version").output().is_err() {
        return missing("promtool");
    }
    for arguments in [["check", "rules", "rules.yaml"], ["test", "rules", "rules_test.yaml"]] {
        let done = Command::new("promtool").args(arguments).current_dir(folder()).output().unwrap();
        let said = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
        assert!(done.status.success(), "promtool {arguments:?}: {said}");
    }
    let rules = read("rules.yaml");
    let alerts: BTreeSet<_> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    let tests = read("rules_test.yaml");
    let tested: BTreeSet<_> = tests.lines().filter_map(|line| line.strip_prefix("  - name: ")).collect();
    assert_eq!(alerts, tested, "every alert has a test");
    let recorder = Recorder::start(Answer::ok()).await;
    let served = Served::start(&Setup::before(&recorder), "", &[]).await;
    assert_eq!(served.a.get("/bkt/a/x").await.status, 200);
    let metrics = served.ask_admin("/metrics").await.text();
    let mut lint = Command::new("promtool");
    let lint = lint.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut lint = lint.spawn().unwrap();
    lint.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
    let done = lint.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
    assert!(done.status.success() && said.trim().is_empty(), "promtool check metrics: {said}");
}

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

#[tokio::test]
async fn a_trace_goes_through_the_gateway_to_the_store_and_into_the_record() {
    let recorder = Recorder::start(Answer::ok()).await;
    let served =
        Served::start(&Setup::before(&recorder), "tracing: { accept: 127.0.0.0/8 }\nlog: { level: debug }\n", &[])
            .await;
    let parent = format!("00-{TRACE}-{PARENT}-01");
    let headers = [("traceparent", parent.as_str()), ("tracestate", "vendor=1")];
    assert_eq!(served.a.send("GET", "/bkt/a/x", &headers, "").await.status, 200);
    let asked = recorder.only();
    let told = asked.header("traceparent");
    assert!(told.starts_with(&format!("00-{TRACE}-")) && told.ends_with("-01") && !told.contains(PARENT), "{told}");
    assert_eq!(asked.header("tracestate"), "vendor=1");
    assert!(!asked.header("authorization").contains("traceparent"), "what is between may change it");
    assert_eq!(served.records(1).await[0]["trace_id"], TRACE);
    assert_eq!(served.b.send("GET", "/bkt/a/x", &headers, "").await.status, 403);
    assert_eq!(served.records(2).await[1]["trace_id"], TRACE);
    let log = served.process.stderr.text();
    assert!(log.lines().any(|line| line.contains("request refused") && line.contains(TRACE)), "{log}");
    for garbage in
        ["", "00-0", "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", format!("{parent}-x").as_str()]
    {
        let before = served.records(2).await.len();
        assert_eq!(served.a.send("GET", "/bkt/a/x", &[("traceparent", garbage)], "").await.status, 200);
        let begun = served.records(before + 1).await[before]["trace_id"].as_str().unwrap().to_owned();
        assert!(begun.len() == 32 && begun != TRACE, "{garbage}: {begun}");
    }
}

#[tokio::test]
async fn without_the_section_no_trace_of_a_client_is_looked_at() {
    let recorder = Recorder::start(Answer::ok()).await;
    let served = Served::start(&Setup::before(&recorder), "", &[]).await;
    let parent = format!("00-{TRACE}-{PARENT}-01");
    assert_eq!(served.a.send("GET", "/bkt/a/x", &[("traceparent", &parent)], "").await.status, 200);
    assert!(served.records(1).await[0].get("trace_id").is_none());
    assert_eq!(recorder.only().header("traceparent"), "");
}

/// Whether bytes are somewhere in others.
fn holds(all: &[u8], part: &[u8]) -> bool {
    all.windows(part.len()).any(|window| window == part)
}

/// A collector that writes what it is sent into the file; with its port.
#[cfg(feature = "otel")]
async fn collector(folder: &Path) -> (Server, u16, PathBuf) {
    let (port, file) = (free_port(), folder.join("spans"));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers/log_receiver.py");
    let arguments = [script.to_str().unwrap(), &port.to_string(), file.to_str().unwrap()];
    let server = Server::start(folder, "/usr/bin/python3", &arguments);
    eventually("it listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()).await;
    (server, port, file)
}

#[cfg(feature = "otel")]
#[tokio::test]
async fn spans_of_a_request_reach_the_collector_with_names_parents_and_attributes() {
    let folder = tempfile::tempdir().unwrap();
    let (_collector, port, file) = collector(folder.path()).await;
    let recorder = Recorder::start(Answer::ok()).await;
    let tracing =
        format!("tracing: {{ otlp: {{ endpoint: \"http://127.0.0.1:{port}/v1/traces\", one_in: 1000000 }} }}\n");
    let served = Served::start(&Setup::before(&recorder), &tracing, &[]).await;
    assert_eq!(served.a.get("/bkt/a/unsampled").await.status, 200);
    let parent = format!("00-{TRACE}-{PARENT}-01");
    assert_eq!(served.a.send("PUT", "/bkt/a/x", &[("traceparent", &parent)], "body").await.status, 200);
    // The collector writes them down before the gateway has its answer, and they may come in several requests.
    let metrics = metrics_with(&served, "countersign_trace_spans_sent_total 3\n").await;
    assert!(metrics.contains("countersign_trace_spans_dropped_total 0\n"), "{metrics}");
    let bytes = std::fs::read(&file).unwrap();
    assert!(holds(&bytes, b"S3/PutObject"));
    let ids = [TRACE, PARENT, &recorder.requests()[1].header("traceparent")[36..52]].map(|id| hex::decode(id).unwrap());
    for id in &ids {
        assert!(holds(&bytes, id), "{id:02x?} is not in {bytes:02x?}");
    }
    for text in [
        "countersign",
        "authenticate",
        "PUT",
        "rpc.method",
        "PutObject",
        "aws.s3.key",
        "a/x",
        "token:a",
        "server.address",
    ] {
        assert!(holds(&bytes, text.as_bytes()), "{text} is not in {}", String::from_utf8_lossy(&bytes));
    }
    assert!(!holds(&bytes, b"unsampled"), "one in a million new traces is sent");
    let heads = std::fs::read_to_string(file.with_extension("heads")).unwrap();
    assert!(heads.starts_with("/v1/traces application/x-protobuf None\n"), "{heads}");
}

/// The metrics, as soon as they have this line.
#[cfg(feature = "otel")]
async fn metrics_with(served: &Served, line: &str) -> String {
    let mut metrics = String::new();
    for _ in 0..1000 {
        metrics = served.ask_admin("/metrics").await.text();
        if metrics.contains(line) {
            return metrics;
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    panic!("30 s without the line {line} in {metrics}");
}

/// The threads of a process that send spans.
#[cfg(all(feature = "otel", target_os = "linux"))]
fn exporters(process: u32) -> Vec<PathBuf> {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).unwrap().flatten().map(|task| task.path());
    let is_one = |task: &PathBuf| std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "otlp");
    tasks.filter(is_one).collect()
}

#[cfg(all(feature = "otel", target_os = "linux"))]
#[tokio::test]
async fn an_exporter_goes_on_behind_a_reload_is_exchanged_with_its_settings_and_sends_the_last_spans_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let (_collector, port, file) = collector(folder.path()).await;
    let recorder = Recorder::start(Answer::ok()).await;
    let tracing = format!(
        "log: {{ level: info }}\ntracing: {{ otlp: {{ endpoint: \"http://127.0.0.1:{port}/v1/traces\", one_in: 1, timeout: 5s }} }}\n"
    );
    let mut served = Served::start(&Setup::before(&recorder), &tracing, &[]).await;
    let process = served.process.id();
    // A thread names itself when it runs.
    eventually("there is one", || exporters(process).len() == 1).await;
    let first = exporters(process);
    assert_eq!(served.a.get("/bkt/a/before-the-reload").await.status, 200);
    served.reconfigure("level: info", "level: debug").await;
    served.reconfigure("level: debug", "level: info").await;
    assert_eq!(exporters(process), first, "it goes on");
    assert_eq!(served.a.get("/bkt/a/behind-the-reload").await.status, 200);
    served.reconfigure("timeout: 5s", "timeout: 6s").await;
    eventually("another one has its place", || exporters(process).len() == 1 && exporters(process) != first).await;
    assert_eq!(served.a.get("/bkt/a/before-the-end").await.status, 200);
    served.process.signal("TERM");
    assert_eq!(served.process.end().await.code(), Some(0), "{}", served.process.stderr.text());
    let taken = std::fs::read(&file).unwrap();
    for key in ["before-the-reload", "behind-the-reload", "before-the-end"] {
        assert!(holds(&taken, key.as_bytes()), "{key} is not in {}", String::from_utf8_lossy(&taken));
    }
}

/// The agent of the collector, which PyPI's `rotel` carries.
fn rotel() -> Option<PathBuf> {
    let libraries = std::fs::read_dir(tools().join("venv/lib")).into_iter().flatten().flatten();
    let mut agents = libraries.map(|folder| folder.path().join("site-packages/rotel/rotel-agent"));
    agents.find(|agent| agent.exists())
}

/// What a span of the collector's log says under a heading, such as `Parent ID`.
fn said<'a>(span: &'a str, heading: &str) -> &'a str {
    let line = span.lines().find(|line| line.trim().starts_with(heading));
    line.and_then(|line| line.split_once(':')).map_or("", |(_, value)| value.trim())
}

#[cfg(feature = "otel")]
#[tokio::test]
async fn a_real_collector_understands_the_spans_of_a_request() {
    let Some(agent) = rotel() else { return missing("rotel") };
    let (folder, grpc, port) = (tempfile::tempdir().unwrap(), free_port(), free_port());
    let addresses = [format!("127.0.0.1:{grpc}"), format!("127.0.0.1:{port}")];
    let arguments = [
        "start",
        "--otlp-grpc-endpoint",
        &addresses[0],
        "--otlp-http-endpoint",
        &addresses[1],
        "--exporter",
        "blackhole",
        "--debug-log",
        "traces",
        "--debug-log-verbosity",
        "detailed",
    ];
    let _collector = Server::start(folder.path(), agent.to_str().unwrap(), &arguments);
    eventually("it listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()).await;
    let recorder = Recorder::start(Answer::ok()).await;
    let tracing = format!("tracing: {{ otlp: {{ endpoint: \"http://127.0.0.1:{port}/v1/traces\" }} }}\n");
    let setup = Setup::before(&recorder).top("inspectors: { words: { patterns: { sets: [eicar] } } }").rules(
        "\n  - { name: all, who: { tokens: [a] }, where: bkt/a/, what: [read, write], inspect: { with: words } }",
    );
    let served = Served::start(&setup, &tracing, &[]).await;
    let parent = format!("00-{TRACE}-{PARENT}-01");
    assert_eq!(served.a.send("PUT", "/bkt/a/x", &[("traceparent", &parent)], "body").await.status, 200);
    let log = || std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
    eventually("the collector has the span of the request", || {
        log().contains("http.response.status_code: Int(200)\n") && log().contains("S3/PutObject")
    })
    .await;
    let log = log();
    let spans: Vec<_> = log.split("Span #").skip(1).collect();
    let named =
        |name: &str| *spans.iter().find(|span| said(span, "Name") == name).unwrap_or_else(|| panic!("{name}: {log}"));
    let server = named("S3/PutObject");
    assert_eq!(
        [said(server, "Trace ID"), said(server, "Parent ID"), said(server, "Kind")],
        [TRACE, PARENT, "SPAN_KIND_SERVER"]
    );
    for attribute in [
        "rpc.method: Str(PutObject)",
        "aws.s3.key: Str(a/x)",
        "enduser.id: Str(token:a)",
        "countersign.rule: Str(all)",
        "http.response.status_code: Int(200)",
    ] {
        assert!(server.contains(attribute), "{attribute}: {server}");
    }
    for (name, kind, attribute) in [
        ("PUT", "SPAN_KIND_CLIENT", "countersign.upstream: Str(store)"),
        ("authenticate", "SPAN_KIND_INTERNAL", ""),
        ("inspect", "SPAN_KIND_INTERNAL", "countersign.verdict: Str(clean)"),
    ] {
        let span = named(name);
        assert_eq!(
            [said(span, "Trace ID"), said(span, "Parent ID"), said(span, "Kind")],
            [TRACE, said(server, "ID"), kind]
        );
        assert!(span.contains(attribute), "{attribute}: {span}");
    }
    assert_eq!(recorder.only().header("traceparent"), format!("00-{TRACE}-{}-01", said(named("PUT"), "ID")));
}

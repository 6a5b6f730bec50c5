//! What is in `deploy/`, tried: a real systemd, the real Helm engine, linters, schemas, real stores; and `countersign health`.
//!
//! Most of it is done by programs in `tests/tools/`, which also an operator can run; here stands what must come out.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::support::process::{Served, run};
use super::support::{Answer, Recorder, Setup};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A folder of the installed tools, or nothing if they are not there and need not be.
fn tools(witness: &str) -> Option<PathBuf> {
    let tools = std::env::var_os("COUNTERSIGN_TOOLS").map_or_else(|| root().join(".tools"), PathBuf::from);
    // Namespaces and other users are root's.
    if std::env::var_os("CI").is_none() && !std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0) {
        eprintln!("skipped: not root");
        return None;
    }
    if tools.join(witness).exists() {
        return Some(tools);
    }
    assert!(std::env::var_os("CI").is_none(), "{} is not there: run `make tools`", tools.join(witness).display());
    eprintln!("skipped: `make tools` installs {witness}");
    None
}

/// Runs a program of `tests/tools` with the Python that has what it needs; gives what it wrote.
async fn check(tool: &str, arguments: &[&str]) -> Option<String> {
    let tools = tools("venv-deploy/bin/hadolint")?;
    let mut command = Command::new(tools.join("venv-deploy/bin/python"));
    command.arg(root().join("tests/tools").join(tool)).args(arguments).current_dir(root());
    command.env("COUNTERSIGN", env!("CARGO_BIN_EXE_countersign")).env("COUNTERSIGN_TOOLS", &tools);
    let done = finish(command).await;
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{tool}: {}\n{text}{}", done.status, String::from_utf8_lossy(&done.stderr));
    Some(text)
}

async fn finish(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn health_tells_by_its_status_whether_a_gateway_is_ready() {
    let recorder = Recorder::start(Answer::ok()).await;
    let mut served = Served::start(&Setup::before(&recorder), "", &[]).await;
    let admin = format!("http://{}", served.admin);
    for (arguments, says) in [(&["--live"][..], "ok\n"), (&["--wait", "30"], "ready\n"), (&[], "ready\n")] {
        let mut all = vec!["health", "--admin", &admin];
        all.extend(arguments);
        let done = run(&all, &[]).await;
        assert_eq!((done.status.code(), text(&done.stdout).as_str()), (Some(0), says), "{}", text(&done.stderr));
    }
    let by_environment = run(&["health"], &[("COUNTERSIGN_ADMIN", &admin)]).await;
    assert_eq!(by_environment.status.code(), Some(0));
    served.process.signal("TERM");
    served.process.end().await;
    let gone = run(&["health", "--admin", &admin], &[]).await;
    assert_eq!(gone.status.code(), Some(1));
    assert!(text(&gone.stderr).contains("cannot be reached"), "{}", text(&gone.stderr));
}

#[tokio::test]
async fn health_is_not_deceived_by_what_is_no_admin_listener() {
    let asked = |answer: &'static [u8]| async move {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let admin = format!("http://{}", listener.local_addr().unwrap());
        let other = tokio::spawn(async move {
            use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = vec![0; 4096];
            let length = stream.read(&mut head).await.unwrap();
            assert!(head[..length].starts_with(b"GET /readyz HTTP/1.1\r\n"));
            stream.write_all(answer).await.unwrap();
            // With nothing to say it stays silent, as something that hangs does.
            if answer.is_empty() {
                std::future::pending::<()>().await;
            }
        });
        let done = run(&["health", "--admin", &admin, "--timeout", "1"], &[]).await;
        other.abort();
        (done.status.code(), text(&done.stdout), text(&done.stderr))
    };
    let (status, out, _) = asked(b"HTTP/1.1 503 Service Unavailable\r\n\r\nshutting down\n").await;
    assert_eq!((status, out.as_str()), (Some(1), "shutting down\n"));
    for (answer, why) in
        [(&b"SSH-2.0-OpenSSH_9.2\r\n"[..], "no head"), (b"HTTP/1.1 OK\r\n\r\n", "no status"), (b"", "does not answer")]
    {
        let (status, out, err) = asked(answer).await;
        assert_eq!((status, out.as_str()), (Some(1), ""), "{err}");
        assert!(err.contains(why), "{err}");
    }
    for wrong in ["https://127.0.0.1:9090", "http://127.0.0.1:9090/readyz", "127.0.0.1:9090"] {
        assert_eq!(run(&["health", "--admin", wrong], &[]).await.status.code(), Some(1), "{wrong}");
    }
}

#[tokio::test]
async fn the_unit_is_understood_by_systemd_and_lets_the_gateway_do_little() {
    let Some(_) = tools("venv-deploy/bin/hadolint") else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut units = Vec::new();
    for kind in ["", "sandbox"] {
        for file in std::fs::read_dir(root().join("deploy/systemd").join(kind)).unwrap() {
            let file = file.unwrap().path();
            if file.extension().is_some_and(|kind| kind == "service" || kind == "socket") {
                // Programs that are there, so that only the unit itself is looked at.
                let mut unit_text = std::fs::read_to_string(&file).unwrap();
                for program in ["/usr/local/bin/countersign", "/usr/local/bin/sandboxed"] {
                    unit_text = unit_text.replace(program, env!("CARGO_BIN_EXE_countersign"));
                }
                units.push(folder.path().join(file.file_name().unwrap()));
                std::fs::write(units.last().unwrap(), unit_text).unwrap();
            }
        }
    }
    assert_eq!(units.len(), 6, "{units:?}");
    let unit = folder.path().join("countersign.service");
    let mut command = Command::new("systemd-analyze");
    command.args(["verify", "--man=no"]).args(&units);
    let done = finish(command).await;
    assert_eq!((done.status.code(), text(&done.stderr)), (Some(0), String::new()));
    // 10 is a service without any limit, 0 one that can do nothing.
    let mut command = Command::new("systemd-analyze");
    command.args(["security", "--offline=yes", "--threshold=12", "--no-pager"]).arg(&unit);
    let done = finish(command).await;
    assert!(done.status.success(), "more exposed than 1.2:\n{}", text(&done.stdout));
}

/// Under a systemd that is the first process of a machine of its own, see `tests/tools/systemd.sh`.
#[tokio::test]
async fn the_words_of_the_readme_run_the_gateway_under_a_real_systemd() {
    let Some(tools) = tools("venv/bin/weed") else { return };
    let mut command = Command::new(root().join("tests/tools/systemd.sh"));
    command.arg(env!("CARGO_BIN_EXE_countersign")).arg(root().join("tests/tools/systemd_newcomer.sh"));
    let done = finish({
        command.arg(root()).arg(tools);
        command
    })
    .await;
    let out = text(&done.stdout);
    assert!(done.status.success(), "{out}\n{}", text(&done.stderr));
    let (out, sandbox) = out.split_once("\nthe unit keeps its promises\n").unwrap_or_else(|| panic!("{out}"));
    assert_a_sandbox_reaches_the_gateway_alone(sandbox);
    let after =
        |command: &str| out.split_once(&format!("\n++ {command}")).unwrap_or_else(|| panic!("{command}\n{out}")).1;
    // The two sides of a pipe are named in the order in which they begin.
    let answer = |command: &str| {
        let mut lines = after(command).lines().skip(1);
        lines.find(|line| !line.starts_with("++ ")).unwrap_or_default().to_owned()
    };
    assert_eq!(answer("countersign health"), "ready");
    assert_eq!(out.matches("\n# countersign\n").count(), 2, "before, and by the socket that systemd holds:\n{out}");
    assert_eq!(after("curl").matches("<Code>AccessDenied</Code>").count(), 2, "{out}");
    assert!(after("journalctl").contains("no problems (1 buckets, 1 rules, 1 upstreams)"), "{out}");
    let record: serde_json::Value = serde_json::from_str(&answer("tail -n 1")).unwrap();
    assert_eq!((&record["outcome"], &record["rule"]), (&"refused".into(), &"ci-builds".into()), "{record}");
    assert!(record["reason"].as_str().unwrap().contains("image/png"), "{record}");
    let explained = after("countersign explain").split("\n++ systemctl").next().unwrap();
    assert!(explained.contains("DENIED") && explained.contains("image/png"), "{explained}");
    let shown = explained.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
    let shown: serde_json::Value = serde_json::from_str(shown).unwrap();
    assert_eq!(shown["request_id"], record["request_id"], "the page shows the record of the file: {shown}");
}

fn assert_a_sandbox_reaches_the_gateway_alone(out: &str) {
    let by_the_readme = out.split("\n+ ip ").next().unwrap();
    for line in ["\nstored\n", "<Code>AccessDenied</Code>", "\nno way"] {
        assert!(by_the_readme.contains(line), "{line} in:\n{by_the_readme}");
    }
    let ways = |whose: &str| -> Vec<(bool, &str)> {
        let lines = out.lines().filter_map(|line| line.strip_prefix(whose)?.strip_prefix(", ")?.split_once(": "));
        lines.map(|(state, way)| (state == "open", way)).collect()
    };
    let (outside, inside) = (ways("outside"), ways("inside"));
    assert!(outside.len() == 13 && outside.iter().all(|(open, _)| *open), "the control: {outside:?}");
    assert_eq!(inside.len(), outside.len(), "{out}");
    let open: Vec<_> = inside.iter().filter(|(open, _)| *open).collect();
    assert_eq!(open, [&(true, "the socket of the gateway")], "{inside:?}");
    // A gateway that restarts makes requests of the sandbox wait, and fails none.
    assert!(out.contains(" 60 asked: 403\n") && out.contains("\nactive\n"), "{out}");
}

#[tokio::test]
async fn the_chart_and_the_manifests_are_what_kubernetes_and_the_gateway_understand() {
    let Some(out) = check("chart.py", &[]).await else { return };
    for line in [
        "chart with values.yaml: 6 objects",
        "wrong sets of values refused",
        "chart examples/sidecar: 3 objects",
        "deploy/kubernetes/base: 6 objects",
    ] {
        assert!(out.contains(line), "{line} in:\n{out}");
    }
}

#[tokio::test]
async fn the_words_of_the_readme_render_the_chart_with_values_of_ones_own() {
    let Some(tools) = tools("venv-deploy/bin/hadolint") else { return };
    let readme = std::fs::read_to_string(root().join("deploy/README.md")).unwrap();
    let section = readme.split_once("\n## In Kubernetes, with the chart\n").unwrap().1;
    let commands = section.split_once("```sh\n").unwrap().1.split_once("```").unwrap().0;
    // A tree as it is after a checkout, with what the first two commands make.
    let (made, commands) = commands.split_at(commands.find("cat >").unwrap());
    let says = |line: &str| made.lines().any(|found| found.starts_with(line));
    assert!(says("make tools ") && says("cargo build --release "), "{made}");
    let tree = tempfile::tempdir().unwrap();
    let mut copy = Command::new("cp");
    copy.args(["-r", "--parents", "deploy", "tests/tools"]).arg(tree.path()).current_dir(root());
    assert!(finish(copy).await.status.success());
    std::os::unix::fs::symlink(tools, tree.path().join(".tools")).unwrap();
    let built = tree.path().join("target/release");
    std::fs::create_dir_all(&built).unwrap();
    let render = async || {
        let mut command = Command::new("bash");
        command.args(["-euc", commands]).current_dir(tree.path()).env_remove("COUNTERSIGN");
        let done = finish(command).await;
        (done.status.success(), text(&done.stdout) + &text(&done.stderr))
    };
    let (rendered, said) = render().await;
    assert!(!rendered && said.contains("cargo build --release"), "nothing is built yet: {said}");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_countersign"), built.join("countersign")).unwrap();
    let (rendered, said) = render().await;
    assert!(rendered, "{said}");
    let rendered = std::fs::read_to_string(tree.path().join("target/rendered.yaml")).unwrap();
    for words in ["kind: Deployment", "https://minio.example.com", "s3-gateway: allowed"] {
        assert!(rendered.contains(words), "{words} in:\n{rendered}");
    }
}

#[tokio::test]
async fn the_image_has_nothing_but_the_gateway_and_runs_it_read_only_without_rights() {
    let Some(out) = check("dockerfile.py", &[]).await else { return };
    assert!(out.contains("served as 65532, read-only, without a shell"), "{out}");
}

#[tokio::test]
async fn the_words_of_the_readme_try_the_gateway_of_the_compose_file_before_its_store_and_scanner() {
    let Some(out) = check("compose.py", &[]).await else { return };
    assert!(out.contains("the stack: stored, read, a virus refused, another prefix refused"), "{out}");
}

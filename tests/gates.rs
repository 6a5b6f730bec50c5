//! Figures that do not depend on the machine: system calls and instructions of the gateway for given work, held to a budget.
//!
//! A binary of its own, because `cargo test` runs those one after another: beside other tests the gateway would wait more often, and
//! count more calls. `make test` builds what is measured, a release, and names it in COUNTERSIGN_GATE_BINARY; strace and valgrind
//! come from `tests/tools/install.sh`. Upstream and load are those of `make bench`. Goals and what holds them back: docs/PERFORMANCE.md.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

// Each is also used by the program of `make bench`, which needs more of them.
#[allow(dead_code)]
#[path = "../bench/src/load.rs"]
mod load;
#[path = "../bench/src/signature.rs"]
mod signature;
#[path = "../bench/src/sink.rs"]
mod sink;
#[allow(dead_code)]
#[path = "../bench/src/tls.rs"]
mod tls;
#[allow(dead_code)]
#[path = "../bench/src/wire.rs"]
mod wire;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use countersign::auth::app_token;
use load::{Target, Until};
use tokio::net::TcpListener;

const MIB: u64 = 1 << 20;
/// Under valgrind and on a busy machine a start takes a while.
const PATIENCE: Duration = Duration::from_secs(120);

/// What is counted.
#[derive(Clone, Copy, PartialEq)]
enum Count {
    SystemCalls,
    Instructions,
}

/// Some work: requests of one kind over so many connections.
#[derive(Clone, Copy)]
struct Work {
    method: &'static str,
    size: u64,
    connections: usize,
    tls: bool,
}

const GET: Work = Work { method: "GET", size: 1024, connections: 1, tls: false };
const PUT: Work = Work { method: "PUT", size: 4096, connections: 1, tls: false };

/// The optimised program, if there is one to measure.
fn program() -> Option<PathBuf> {
    let program = std::env::var_os("COUNTERSIGN_GATE_BINARY").map(PathBuf::from);
    if program.is_none() {
        let how = "COUNTERSIGN_GATE_BINARY is not set; `make test` builds the program and sets it";
        assert!(std::env::var_os("CI").is_none(), "{how}");
        eprintln!("NOT TESTED: {how}");
    }
    program
}

/// One measurement at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A gateway that is counted; killed when this is dropped.
struct Counted {
    child: Child,
    folder: tempfile::TempDir,
    count: Count,
    target: Target,
}

impl Drop for Counted {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Counted {
    async fn start(program: &Path, count: Count, work: Work) -> Self {
        let folder = tempfile::tempdir().unwrap();
        tls::write_certificates(folder.path()).unwrap();
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = upstream.local_addr().unwrap().port();
        tokio::spawn(sink::serve(upstream, work.tls.then(|| tls::server(folder.path()).unwrap())));
        let (token, hash) = app_token::generate();
        // Of files beside its configuration the gateway hears.
        std::fs::create_dir(folder.path().join("records")).unwrap();
        let config = folder.path().join("countersign.yaml");
        std::fs::write(&config, configuration(folder.path(), port, work.tls)).unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let child = command(program, count, folder.path())
            .args(["serve", "--config"])
            .arg(&config)
            .env_clear()
            .envs([("ACCESS", "GATE-ACCESS-KEY"), ("SECRET", signature::SECRET_ACCESS_KEY), ("HASH", &hash)])
            .env("TOKIO_WORKER_THREADS", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("strace and valgrind are installed by `make tools`: {error}"));
        let target = Target {
            address: "127.0.0.1:1".parse().unwrap(),
            tls: work.tls.then(|| tls::client(folder.path(), tls::Sessions::Resumed).unwrap()),
            method: work.method.to_owned(),
            path: format!("/bkt/team/{}", work.size),
            size: work.size,
            credential: format!("Authorization: Bearer {}\r\n", token.expose()),
        };
        let mut counted = Self { child, folder, count, target };
        counted.target.address = counted.address().await;
        counted
    }

    /// Waits for the line of the log that names the address.
    async fn address(&mut self) -> SocketAddr {
        self.eventually("it listens", |folder| {
            let log = std::fs::read_to_string(folder.join("log")).unwrap();
            let line = log.lines().find(|line| line.contains("\"listening\""))?;
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            Some(line["address"].as_str().unwrap().parse().unwrap())
        })
        .await
    }

    async fn eventually<T>(&mut self, what: &str, mut look: impl FnMut(&Path) -> Option<T>) -> T {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if let Some(found) = look(self.folder.path()) {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        panic!("did not happen: {what}\n{log}");
    }

    /// Ends it and reads what was counted from its start to its end.
    async fn finish(mut self) -> u64 {
        let told = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(told.success());
        let count = self.count;
        self.eventually("the count is written", |folder| {
            let text = std::fs::read_to_string(folder.join("count")).ok()?;
            match count {
                // The last line of strace: `100.00 seconds usecs/call CALLS [ERRORS] total`.
                Count::SystemCalls => {
                    let total = text.lines().find(|line| line.ends_with(" total"))?;
                    total.split_whitespace().nth(3)?.parse().ok()
                }
                Count::Instructions => text.lines().find_map(|line| line.strip_prefix("totals: "))?.trim().parse().ok(),
            }
        })
        .await
    }
}

fn command(program: &Path, count: Count, folder: &Path) -> Command {
    let file = folder.join("count");
    match count {
        Count::SystemCalls => {
            let mut command = Command::new("strace");
            // -D: the tracer is the child, so that a signal reaches the gateway.
            command.args(["-D", "-f", "-c", "-o"]).arg(file).arg("--").arg(program);
            command
        }
        Count::Instructions => {
            let mut command = Command::new("valgrind");
            command.args(["--tool=callgrind", "--quiet"]);
            command.arg(format!("--callgrind-out-file={}", file.display())).arg(program);
            command
        }
    }
}

/// A gateway that does its whole job: tokens, rules of both effects, audit, metrics. Uploads go on unsigned, as over https.
fn configuration(folder: &Path, port: u16, tls: bool) -> String {
    let folder = folder.display();
    let (scheme, listener, ca) = match tls {
        true => (
            "https",
            format!(", tls: {{ certificate: {folder}/server.pem, key: {folder}/server.key }}"),
            format!(", ca_file: {folder}/ca.pem"),
        ),
        false => ("http", String::new(), String::new()),
    };
    format!(
        "listen: [{{ address: 127.0.0.1:0{listener} }}]
admin: {{ address: 127.0.0.1:0 }}
audit: {{ file: {folder}/records/audit.jsonl }}
upstreams:
  store:
    {{ endpoint: \"{scheme}://127.0.0.1:{port}\", region: us-east-1, payload: unsigned, checksum: header{ca},
      credentials: {{ access_key_id: env:ACCESS, secret_access_key: env:SECRET }} }}
buckets:
  bkt: {{ upstream: store, bucket: up-bkt }}
clients:
  tokens: [{{ name: gate, hash: env:HASH, attributes: {{ team: [red] }} }}]
rules:
  - {{ name: no-archive, effect: deny, who: anyone, where: bkt/archive/, what: \"s3:*\" }}
  - {{ name: home, who: {{ tokens: [gate] }}, where: \"bkt/home/{{token}}/\", what: [read, write, delete] }}
  - {{ name: team, who: {{ tokens: [gate] }}, where: bkt/team/, what: [read, write, delete], limits: {{ max_size: 1GiB }} }}
"
    )
}

/// What one unit of work costs: the difference of a run of many and a run of few, so that start and end do not count.
async fn each(program: &Path, count: Count, work: Work, few: u64, many: u64) -> f64 {
    let mut totals = [0.0; 2];
    for (total, requests) in totals.iter_mut().zip([few, many]) {
        let counted = Counted::start(program, count, work).await;
        let outcome =
            load::requests(&counted.target, work.connections, Until::Requests(requests), false).await.unwrap();
        assert_eq!(outcome.requests, requests * work.connections as u64);
        *total = counted.finish().await as f64;
    }
    (totals[1] - totals[0]) / ((many - few) * work.connections as u64) as f64
}

/// Measures and compares; prints the figure, which goes into docs/PERFORMANCE.md.
async fn hold(what: &str, count: Count, work: Work, (few, many): (u64, u64), per: f64, budget: f64) {
    let Some(program) = program() else { return };
    // Other work on the machine only adds (a timer that fires, a wake-up for half a head), so the least of three counts.
    let mut figure = f64::MAX;
    for _ in 0..3 {
        figure = figure.min(each(&program, count, work, few, many).await * per);
        if figure <= budget {
            break;
        }
    }
    println!("{what}, {}: {figure:.1} (budget {budget})", work.method);
    assert!(figure <= budget, "{what}, {}: {figure:.1}, and at most {budget} are allowed", work.method);
    assert!(figure > 0.0, "nothing was counted");
}

#[tokio::test]
#[allow(clippy::await_holding_lock, reason = "each test has a runtime of its own")]
async fn gate_11_system_calls_of_a_lone_request() {
    let _alone = alone();
    // 6, and what is done by the clock: the slower the machine, the more of it for each request. A call too many is 1, or 0.5 if every
    // second request makes it.
    for work in [GET, PUT] {
        hold("system calls of a lone request", Count::SystemCalls, work, (100, 2100), 1.0, 6.4).await;
    }
}

#[tokio::test]
#[allow(clippy::await_holding_lock, reason = "each test has a runtime of its own")]
async fn gate_11_system_calls_of_a_request_among_32_connections() {
    let _alone = alone();
    for work in [GET, PUT] {
        let work = Work { connections: 32, ..work };
        hold("system calls of a request among 32 connections", Count::SystemCalls, work, (10, 60), 1.0, 4.5).await;
    }
}

#[tokio::test]
#[allow(clippy::await_holding_lock, reason = "each test has a runtime of its own")]
async fn gate_11_system_calls_per_gibibyte() {
    let _alone = alone();
    let large = Work { size: 128 * MIB, ..GET };
    for (work, budget) in [
        (large, 15_000.0),
        (Work { method: "PUT", ..large }, 15_000.0),
        (Work { tls: true, ..large }, 30_000.0),
        (Work { tls: true, method: "PUT", ..large }, 30_000.0),
    ] {
        let what = if work.tls { "system calls per GiB, https to https" } else { "system calls per GiB, http to http" };
        hold(what, Count::SystemCalls, work, (1, 3), 8.0, budget).await;
    }
}

#[tokio::test]
#[allow(clippy::await_holding_lock, reason = "each test has a runtime of its own")]
async fn gate_12_instructions_of_a_small_request() {
    let _alone = alone();
    // The goal is 70,000 for the GET (docs/PERFORMANCE.md, G12). This is what is reached and 4 %, because jemalloc tidies by the clock.
    for (work, budget) in [(GET, 114_500.0), (PUT, 132_000.0)] {
        hold("instructions of a small request", Count::Instructions, work, (200, 1200), 1.0, budget).await;
    }
}

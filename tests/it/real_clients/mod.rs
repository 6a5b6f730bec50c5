//! Real S3 clients, as their users run them, through the gateway: each of them before both real stores, in clear text and over TLS.
//!
//! The programs are in `clients/real/`; what they share, and what they are told, is in `world.py` there. `docs/CLIENTS.md` is written by
//! this test: `UPDATE=1 cargo test --features demo --test it real_clients`. Without it the test compares.

mod one_gateway;
mod rust;
mod table;
mod tap;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use serde_json::{Map, Value};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use self::tap::{Seen, Tap, Way};
use super::support::certs::{Authority, Identity};
use super::support::store::{missing, tools};
use super::support::{Gateway, Store, StoreKind};

/// Clients at a time. Each waits for a part of its life, and there are few cores.
const AT_A_TIME: usize = 3;
/// Nobody takes longer, on a machine that is shared with other tests.
const PROGRAM_SECS: &str = "240";

/// A program of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Program {
    /// Its prefix and its key.
    name: &'static str,
    runtime: Runtime,
    file: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Runtime {
    /// Python of an environment in `.tools`.
    Python(&'static str),
    Node,
    /// In this process.
    Rust,
}

const fn python(name: &'static str, environment: &'static str, file: &'static str) -> Program {
    Program { name, runtime: Runtime::Python(environment), file }
}

/// Slow ones first, so that the end is not one of them alone.
const PROGRAMS: &[Program] = &[
    python("aws-cli", "venv", "with_aws_cli.py"),
    python("s3cmd", "venv", "with_s3cmd.py"),
    python("restic", "venv", "with_restic.py"),
    python("pyarrow", "venv-data", "with_pyarrow.py"),
    python("s5cmd", "venv", "with_s5cmd.py"),
    python("rclone", "venv", "with_rclone.py"),
    python("boto3", "venv", "with_boto3.py"),
    python("boto3-old", "venv-old", "with_boto3.py"),
    python("s3fs", "venv-data", "with_s3fs.py"),
    python("deltalake", "venv-data", "with_deltalake.py"),
    python("duckdb", "venv-data", "with_duckdb.py"),
    Program { name: "javascript", runtime: Runtime::Node, file: "with_javascript.mjs" },
    python("polars", "venv-data", "with_polars.py"),
    python("minio", "venv", "with_minio.py"),
    python("obstore", "venv-data", "with_obstore.py"),
    Program { name: "chromium", runtime: Runtime::Node, file: "browser.mjs" },
    Program { name: "aws-sdk-rust", runtime: Runtime::Rust, file: "" },
];

/// A store and a transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    store: &'static str,
    tls: bool,
}

const PLACES: [(Place, StoreKind); 4] = [
    (Place { store: "SeaweedFS", tls: false }, StoreKind::SeaweedFs),
    (Place { store: "SeaweedFS", tls: true }, StoreKind::SeaweedFs),
    (Place { store: "RGW", tls: false }, StoreKind::Rgw),
    (Place { store: "RGW", tls: true }, StoreKind::Rgw),
];

/// The storage class is what s3cmd always sends.
const RULES: &str = "
  - { name: own, who: anyone, where: \"bkt/{key}/\", what: [read, write, delete], headers: { allow: [x-amz-storage-class] } }";

/// The origin of the page; it also comes from 127.0.0.1, which is another.
const CORS: &str = ", cors: [{ origins: [\"http://localhost:*\"], methods: [GET, PUT, POST, DELETE] }]";

/// As the gateway makes them: `+` and `/` are where clients that write secrets into URLs go wrong, so there are some here.
const SECRET: &str = "real/clients+secret0123456789abcdefghij+";

/// An access key id for each client.
fn key_of(program: &Program) -> String {
    let letters: String = program.name.to_uppercase().chars().map(|c| if c == '-' { '0' } else { c }).collect();
    format!("CSAK{letters:A<16}")
}

/// What came out of one program at one place.
#[derive(Debug)]
pub struct Outcome {
    client: String,
    version: String,
    /// `ok`, or what went wrong.
    steps: BTreeMap<String, String>,
    /// What its user reads of a refusal.
    told: String,
    seen: Seen,
}

/// What a client is told.
#[derive(Debug, Clone)]
pub struct World {
    endpoint: String,
    access_key: String,
    secret_key: String,
    bucket: String,
    prefix: String,
    forbidden: String,
    authority: Option<PathBuf>,
}

/// Whom clients trust over TLS, and the certificate of the gateways and of the taps.
struct Trust {
    authority: Authority,
    identity: Identity,
}

impl Trust {
    fn new() -> Self {
        let authority = Authority::new();
        let identity = authority.vouch_for(&["127.0.0.1"]);
        Self { authority, identity }
    }
}

/// All clients, and what came out everywhere.
pub type Outcomes = BTreeMap<&'static str, BTreeMap<Place, Outcome>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_client_works_and_is_told_why_it_is_refused() {
    let installed = ["venv-data", "venv-old", "node_modules/playwright-core"].map(|name| tools().join(name));
    let of_debian = ["chromium", "restic", "s3cmd"].map(|name| Path::new("/usr/bin").join(name));
    if let Some(path) = installed.iter().chain(&of_debian).find(|path| !path.exists()) {
        return missing(&path.display().to_string());
    }
    let only = std::env::var("CLIENTS").unwrap_or_default();
    let programs: Vec<Program> = PROGRAMS
        .iter()
        .copied()
        .filter(|program| only.is_empty() || only.split(' ').any(|name| name == program.name))
        .collect();
    let outcomes = outcomes(&programs).await;
    let failures = failures(&outcomes);
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    if programs.len() == PROGRAMS.len() {
        table::compare(&outcomes);
    }
}

/// Runs one program against an endpoint with a key; `None` if it is not installed. The steps that did not come out well.
pub async fn failures_at(
    name: &str,
    endpoint: String,
    (access_key, secret_key): (&str, &str),
    [bucket, prefix, forbidden]: [&str; 3],
) -> Option<BTreeMap<String, String>> {
    let program = *PROGRAMS.iter().find(|program| program.name == name).unwrap();
    if !tools().join("venv/bin/python").exists() {
        missing(name);
        return None;
    }
    let [access_key, secret_key, bucket, prefix, forbidden] =
        [access_key, secret_key, bucket, prefix, forbidden].map(str::to_owned);
    let world = World { endpoint, access_key, secret_key, bucket, prefix, forbidden, authority: None };
    let (report, log) = tokio::task::spawn_blocking(move || run(program, &world)).await.unwrap();
    let steps = Outcome::read(&report, program, Seen::default()).steps;
    assert!(steps.len() >= 6, "{log}");
    Some(steps.into_iter().filter(|(_, result)| result != "ok").collect())
}

/// What went wrong anywhere.
fn failures(outcomes: &Outcomes) -> Vec<String> {
    let mut failures = Vec::new();
    for (name, places) in outcomes {
        for (place, outcome) in places {
            let failed = outcome.steps.iter().filter(|(_, result)| *result != "ok");
            failures.extend(failed.map(|(step, result)| format!("{name}, {place:?}, {step}: {result}")));
        }
    }
    failures
}

async fn outcomes(programs: &[Program]) -> Outcomes {
    let trust = Arc::new(Trust::new());
    let places = Arc::new(Semaphore::new(AT_A_TIME));
    let mut jobs = JoinSet::new();
    for (place, kind) in PLACES {
        let Some(store) = Store::get(kind).await else { continue };
        let gateway = Arc::new(gateway(&store, place, &trust.identity).await);
        for &program in programs {
            let (gateway, trust, places) = (Arc::clone(&gateway), Arc::clone(&trust), Arc::clone(&places));
            jobs.spawn(async move {
                let _turn = places.acquire_owned().await.unwrap();
                (program.name, place, one(program, place, &gateway, &trust).await)
            });
        }
    }
    let mut outcomes = Outcomes::new();
    while let Some(done) = jobs.join_next().await {
        let (name, place, outcome) = done.unwrap();
        outcomes.entry(name).or_default().insert(place, outcome);
    }
    outcomes
}

/// A gateway with a key for each client, good for its own prefix.
async fn gateway(store: &Store, place: Place, identity: &Identity) -> Gateway {
    let mut setup = store.setup().rules(RULES);
    if place.tls {
        setup = setup.tls(identity);
    }
    setup.bucket_settings = CORS.to_owned();
    for program in PROGRAMS {
        setup = setup.access_key(program.name, &key_of(program), SECRET);
    }
    setup.start().await
}

async fn one(program: Program, place: Place, gateway: &Gateway, trust: &Trust) -> Outcome {
    // TLS is opened before one store, so that forms of uploads are seen, and passes sealed before the other, so that HTTP/2 is used.
    let way = match (place.tls, place.store) {
        (false, _) => Way::Clear,
        (true, "SeaweedFS") => Way::opened(&trust.authority, &trust.identity),
        (true, _) => Way::Sealed,
    };
    let tap = Tap::start(gateway.address, way).await;
    let world = World {
        endpoint: format!("{}://{}", if place.tls { "https" } else { "http" }, tap.address),
        authority: place.tls.then(|| trust.authority.file()),
        ..World::of(&program, format!("{}/", program.name), "elsewhere/x")
    };
    let begun = std::time::Instant::now();
    let (report, log) = match program.runtime {
        Runtime::Rust => (rust::run(&world).await, String::new()),
        _ => tokio::task::spawn_blocking(move || run(program, &world)).await.unwrap(),
    };
    eprintln!("{} {place:?}: {:.1} s", program.name, begun.elapsed().as_secs_f32());
    let outcome = Outcome::read(&report, program, tap.seen());
    eprintln!("{log}{} is told: {}", program.name, outcome.told);
    outcome
}

impl Outcome {
    fn read(report: &Value, program: Program, seen: Seen) -> Self {
        let text = |name: &str| report[name].as_str().unwrap_or_default().to_owned();
        let steps = report["steps"]
            .as_object()
            .cloned()
            .unwrap_or_else(|| Map::from_iter([("start".to_owned(), Value::from("did not report"))]));
        let steps = steps.into_iter().map(|(step, result)| (step, result.as_str().unwrap_or_default().to_owned()));
        let client = if report.is_null() { program.name.to_owned() } else { text("client") };
        Self { client, version: text("version"), steps: steps.collect(), told: text("told"), seen }
    }
}

/// Runs a program to its end; gives its report and what it logged.
fn run(program: Program, world: &World) -> (Value, String) {
    let folder = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/clients/real").join(program.file);
    let interpreter = match program.runtime {
        Runtime::Python(environment) => tools().join(environment).join("bin/python"),
        _ => PathBuf::from("node"),
    };
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", PROGRAM_SECS]).arg(interpreter).arg(script);
    // Without the environment: it may name proxies, credentials and authorities.
    command
        .env_clear()
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", folder.path())
        .env("LANG", "C.UTF-8")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("TOOLS", std::fs::canonicalize(tools()).unwrap())
        .envs(world.environment());
    let output = command.output().unwrap();
    let (stdout, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let report = stdout.lines().last().and_then(|line| serde_json::from_str(line).ok()).unwrap_or(Value::Null);
    (report, format!("{} {}: {log}", program.name, output.status))
}

impl World {
    /// That of a program with its own key; where the gateway is has to be said yet.
    fn of(program: &Program, prefix: String, forbidden: &str) -> Self {
        Self {
            endpoint: String::new(),
            access_key: key_of(program),
            secret_key: SECRET.to_owned(),
            bucket: "bkt".to_owned(),
            prefix,
            forbidden: forbidden.to_owned(),
            authority: None,
        }
    }

    /// The environment of a program, with the variables that clients know by themselves.
    fn environment(&self) -> Vec<(&'static str, String)> {
        let mut environment = vec![
            ("S3_ENDPOINT", self.endpoint.clone()),
            ("S3_BUCKET", self.bucket.clone()),
            ("S3_PREFIX", self.prefix.clone()),
            ("S3_FORBIDDEN", self.forbidden.clone()),
            ("AWS_ACCESS_KEY_ID", self.access_key.clone()),
            ("AWS_SECRET_ACCESS_KEY", self.secret_key.clone()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_DEFAULT_REGION", "us-east-1".to_owned()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ];
        if let Some(file) = &self.authority {
            let names = ["S3_CA", "AWS_CA_BUNDLE", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"];
            environment.extend(names.map(|name| (name, file.display().to_string())));
        }
        environment
    }
}

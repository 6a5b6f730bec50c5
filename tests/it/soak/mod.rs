//! Many random operations of several clients at once, through the real program, with faults on both of its sides.
//!
//! Then the faults end, and everything is counted: what the store holds against a model of what it may hold, the audit records against what
//! the clients sent and saw, and what the process still holds against what it held at the start. A short form runs with all tests;
//! `make soak` is the long one. The seed makes the operations and the faults of each client's connections; how they interleave it does not.

mod audit;
mod client;
mod faults;
mod form;
mod inspected;
mod leaks;
mod model;
mod parts;
pub mod random;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use self::audit::Audit;
use self::client::Worker;
use self::faults::{CLIENTS, FaultProxy, STORE};
use self::leaks::Reading;
use self::random::Random;
use super::support::process::Served;
use super::support::{Setup, Store, StoreKind};

/// Clients of each tenant.
const CLIENTS_EACH: u64 = 4;
/// What the memory may have grown by, however many requests there were. See docs/TESTING.md for what was measured.
const GROWTH_KIB: u64 = 64 * 1024;

/// How long, and which.
#[derive(Debug)]
struct Plan {
    kind: StoreKind,
    seed: u64,
    lasting: Duration,
    operations: u64,
}

/// A number of the environment.
fn number(name: &str) -> Option<u64> {
    Some(std::env::var(name).ok()?.parse().unwrap_or_else(|_| panic!("{name}: a number")))
}

/// The seed of the environment; another each time for a long form, the same for the short one.
fn seed(is_long: Option<u64>) -> u64 {
    let drawn = is_long.map(|_| std::hash::RandomState::new().hash_one("seed"));
    number("SOAK_SEED").or(drawn).unwrap_or(20_261_122)
}

impl Plan {
    /// The short form, unless the environment wants another.
    fn from_environment() -> Self {
        let lasting = number("SOAK_SECONDS");
        Self {
            kind: if std::env::var("SOAK_STORE").is_ok_and(|store| store == "rgw") {
                StoreKind::Rgw
            } else {
                StoreKind::SeaweedFs
            },
            seed: seed(lasting),
            lasting: Duration::from_secs(lasting.unwrap_or(8)),
            operations: number("SOAK_OPERATIONS").unwrap_or(u64::MAX),
        }
    }
}

/// What is wrong, by what it is wrong with.
#[derive(Default)]
struct Findings(BTreeMap<&'static str, Vec<String>>);

impl Findings {
    fn add(&mut self, about: &'static str, found: impl IntoIterator<Item = String>) {
        for text in found {
            self.0.entry(about).or_default().push(text);
        }
    }
}

impl std::fmt::Display for Findings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (about, found) in &self.0 {
            writeln!(f, "{about}: {} findings", found.len())?;
            // The first ones tell most; the others often follow from them.
            found.iter().take(6).try_for_each(|text| writeln!(f, "  {text}"))?;
        }
        Ok(())
    }
}

/// A gateway between two kinds of proxies.
struct World {
    store: Store,
    served: Served,
    /// The proxy that the gateway takes for its store.
    before_store: FaultProxy,
    untouched: BTreeMap<String, Vec<u8>>,
    at_start: Reading,
}

fn rules() -> String {
    let what = "[read, write, delete, tag]";
    let of = |tenant: char| {
        format!(
            "
  - {{ name: own-{tenant}, who: {{ tokens: [{tenant}] }}, where: bkt/{tenant}/, what: {what}, limits: {{ max_size: 32MiB }} }}
  - {{ name: small-{tenant}, who: {{ tokens: [{tenant}] }}, where: bkt/{tenant}/small/, what: {what}, limits: {{ max_size: {}B }} }}
  - {{ name: pictures-{tenant}, who: {{ tokens: [{tenant}] }}, where: bkt/{tenant}/pictures/, what: {what}, content: {{ types: [image/png], check_bytes: true }} }}",
            client::SMALL
        )
    };
    of('a') + &of('b')
}

impl World {
    async fn start(plan: &Plan) -> Option<Self> {
        let store = Store::get(plan.kind).await?;
        let address = store.endpoint.strip_prefix("http://").unwrap().parse().unwrap();
        let before_store = FaultProxy::start(address, STORE, Random::new(plan.seed, u64::MAX));
        let untouched: BTreeMap<_, _> =
            (0..4_usize).map(|n| (format!("c/untouched-{n}"), super::support::pattern(1000 * n + 1))).collect();
        for (key, body) in &untouched {
            store.put(key, body).await;
        }
        let endpoint = format!("http://{}", before_store.address);
        let setup = Setup::new(&endpoint, &store.access_key, &store.secret_key, &store.bucket)
            .rules(&rules())
            // One client takes all places in the end, to see that none is missing.
            .upstream("principal_share: 100")
            .upstream(&format!("max_connections: {}", leaks::CONNECTIONS))
            .upstream(&format!("unknown_length_uploads: {}", leaks::UNKNOWN_LENGTHS))
            .upstream(&format!(
                "timeouts: {{ connect: 1s, first_byte: 4s, idle: 3s, pool_idle: {}s }}",
                leaks::POOL_IDLE.as_secs()
            ))
            .limits("{ timeouts: { head: 6s, body_idle: 6s, linger: 2s }, body_rate_window: 5s }");
        let served = Served::start(&setup, "", &[]).await;
        assert_eq!(served.a.put("/bkt/a/warm", &[], "warm").await.status, 200);
        let at_start = Reading::of(&served);
        Some(Self { store, served, before_store, untouched, at_start })
    }

    /// Lets clients work until the time is up; gives what they know, and how often which fault struck before them.
    async fn work(&self, plan: &Plan) -> (Vec<Worker>, BTreeMap<&'static str, u64>) {
        let (end, count) = (Instant::now() + plan.lasting, Arc::new(AtomicU64::new(0)));
        let (mut running, mut proxies) = (tokio::task::JoinSet::new(), Vec::new());
        for number in 0..2 * CLIENTS_EACH {
            let (tenants, token) =
                if number % 2 == 0 { (('a', 'b'), &self.served.a.token) } else { (('b', 'a'), &self.served.b.token) };
            let proxy = FaultProxy::start(self.served.a.address, CLIENTS, Random::new(plan.seed, 1000 + number));
            let mut worker = Worker::new(number, plan.seed, proxy.address, tenants, token);
            proxies.push(proxy);
            let (count, most) = (Arc::clone(&count), plan.operations);
            running.spawn(async move {
                while Instant::now() < end && count.fetch_add(1, Ordering::Relaxed) < most {
                    worker.act().await;
                }
                worker.wire.hang_up();
                worker
            });
        }
        let all = || proxies.iter().chain([&self.before_store]);
        all().for_each(FaultProxy::storm);
        let workers = running.join_all().await;
        all().for_each(FaultProxy::calm);
        let mut struck = BTreeMap::new();
        for (fault, times) in proxies.iter().flat_map(FaultProxy::struck) {
            *struck.entry(fault).or_default() += times;
        }
        (workers, struck)
    }

    /// Everything that is in the bucket, byte for byte.
    async fn check_objects(&self, workers: &[Worker], written: &BTreeSet<&str>) -> Vec<String> {
        let mut complaints = Vec::new();
        let listed = all_keys(&self.store).await;
        let mut missing: BTreeSet<&String> = workers.iter().flat_map(|worker| worker.keys.names()).collect();
        let mut untouched = self.untouched.clone();
        for key in &listed {
            let Some(found) = self.store.read(key).await else {
                complaints.push(format!("{key} is listed and cannot be read"));
                continue;
            };
            if let Some(body) = untouched.remove(key) {
                if body != found {
                    complaints.push(format!("{key} was touched"));
                }
                continue;
            }
            if key.starts_with("a/warm") {
                continue;
            }
            missing.remove(key);
            if !written.contains(key.as_str()) {
                complaints.push(format!("no record allows that {key} was written"));
            }
            match workers.iter().find(|worker| worker.keys.names().any(|name| name == key)) {
                Some(worker) => complaints.extend(worker.keys.complaint(key, Some(&found))),
                None => complaints.push(format!(
                    "{key} was never stored as far as its client knows; refused: {}",
                    model::is_refused(&found)
                )),
            }
        }
        for key in missing {
            complaints.extend(workers.iter().find_map(|worker| {
                worker.keys.names().any(|name| name == key).then(|| worker.keys.complaint(key, None))?
            }));
        }
        complaints.extend(untouched.keys().map(|key| format!("{key} is gone")));
        complaints
    }

    /// Multipart uploads that nobody can have left. Those that may be there are told with the reason.
    async fn check_uploads(&self, workers: &[Worker], audit: &Audit<'_>) -> Vec<String> {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let open: BTreeSet<_> =
                self.store.list("max-uploads=1000&uploads=").await.elements("Key").into_iter().collect();
            let left = |key: &&String| !workers.iter().any(|worker| worker.may_be_open.contains(*key));
            let by_gateway: Vec<_> = open.iter().filter(left).collect();
            let explained = |key: &&String| workers.iter().any(|worker| worker.given_up.contains(*key));
            let (known, unknown): (Vec<&String>, Vec<&String>) = by_gateway.iter().copied().partition(explained);
            // The gateway removes the parts of a refused upload behind its answer.
            if unknown.is_empty() || Instant::now() > end {
                println!(
                    "  uploads left: {} by clients, {} by the gateway",
                    open.len() - by_gateway.len(),
                    known.len()
                );
                known.iter().for_each(|key| println!("    {key}: {:?}", audit.story_of(key)));
                return unknown
                    .iter()
                    .map(|key| format!("the upload of {key} was left: {:?}", audit.story_of(key)))
                    .collect();
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}

/// Every key of a bucket.
async fn all_keys(store: &Store) -> BTreeSet<String> {
    let (mut keys, mut token) = (BTreeSet::new(), String::new());
    loop {
        let more = countersign::base::encoding::encode_query(&token);
        let query =
            if token.is_empty() { "list-type=2".to_owned() } else { format!("continuation-token={more}&list-type=2") };
        let page = store.list(&query).await;
        assert_eq!(page.status, 200, "{}", page.text());
        keys.extend(page.elements("Key"));
        token = page.element("NextContinuationToken");
        if page.element("IsTruncated") != "true" || token.is_empty() {
            return keys;
        }
    }
}

/// Stops the program; gives its audit records and what is wrong with its log.
async fn stop(served: &mut Served) -> (Vec<serde_json::Value>, Vec<String>) {
    served.process.signal("TERM");
    let status = served.process.end().await;
    let mut complaints = Vec::new();
    if !status.success() {
        complaints.push(format!("the gateway ended with {status}"));
    }
    let log = served.process.stderr.text();
    let kept = log.lines().filter(|line| line.contains("kept parts")).count();
    println!("  log: {} lines, {kept} of them of parts that were kept", log.lines().count());
    let bad =
        |line: &&str| line.contains("panicked") || line.contains("\"ERROR\"") || line.contains("audit records lost");
    complaints.extend(log.lines().filter(bad).map(|line| format!("log: {line}")));
    (served.process.stdout.json(), complaints)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_operations_under_faults_leave_what_was_acknowledged_and_nothing_else() {
    let plan = Plan::from_environment();
    let Some(mut world) = World::start(&plan).await else { return };
    println!("soak: {plan:?}; repeat with SOAK_SEED={}", plan.seed);
    let (mut workers, struck) = world.work(&plan).await;
    println!("  faults at clients: {struck:?}\n  faults at the store: {:?}", world.before_store.struck());

    let mut findings = Findings::default();
    findings.add("answers", workers.iter_mut().flat_map(|worker| std::mem::take(&mut worker.complaints)));
    findings.add("requests", leaks::until_idle(&world.served).await.err());
    let settled = leaks::until_few_connections(&world.served, &world.before_store, world.at_start).await;
    findings.add("connections", settled.err());
    let at_end = Reading::of(&world.served);
    findings.add("places", leaks::check_places(&world.served).await.err());
    findings.add("requests", leaks::until_idle(&world.served).await.err());
    let counted = leaks::metric(&world.served, "countersign_requests_total").await;
    println!("  process: at the start {}, at the end {at_end}", world.at_start);
    let grown = at_end.resident_kib.saturating_sub(world.at_start.resident_kib);
    findings.add("memory", (grown > GROWTH_KIB).then(|| format!("it grew by {grown} KiB")));

    let (records, of_log) = stop(&mut world.served).await;
    findings.add("log", of_log);
    let differs = records.len().to_string() != counted.to_string();
    findings.add("audit", differs.then(|| format!("{counted} requests are counted, {} are recorded", records.len())));
    let is_ours = |record: &&serde_json::Value| !record["key"].as_str().is_some_and(|key| key.starts_with("a/warm"));
    let ours: Vec<_> = records.iter().filter(is_ours).cloned().collect();
    let audit = Audit::new(&ours);
    let journal: Vec<_> = workers.iter_mut().flat_map(|worker| std::mem::take(&mut worker.wire.journal)).collect();
    findings.add("audit", audit.complaints(&journal));
    findings.add("objects", world.check_objects(&workers, &audit.written()).await);
    findings.add("uploads", world.check_uploads(&workers, &audit).await);
    println!(
        "  requests: {} sent, {} answered, {} recorded: {:?}",
        journal.len(),
        journal.iter().filter(|sent| sent.whole).count(),
        ours.len(),
        audit.outcomes()
    );
    assert!(findings.0.is_empty(), "SOAK_SEED={}:\n{findings}", plan.seed);
}

//! Many random uploads under inspection, while the connections to the scanners and to the store fail in every way: nothing is stored that was
//! not looked at as a whole and found clean, whatever becomes of the upload.
//!
//! Connections are late, slow, stalled, cut and refused, and bits are changed: in the answers of scanners, but not in the objects they are
//! sent. A changed bit can hide what is in an object, and a scanner that has honestly found nothing cannot be contradicted: that is what TLS,
//! or a scanner on the same machine, is for. For the same reason no bits are changed where objects are read back from the store to be looked
//! at: multipart uploads. So towards RGW, which verifies what is signed, bits are changed in both directions, and there are no parts; towards
//! SeaweedFS, which stores a body that does not fit its signed hash, there are parts, and all other faults.
//!
//! Some uploads have several parts, and what is found in them lies across the end of one.
//!
//! A short form runs with all tests, `make soak` runs it ten thousand times. The clients' own connections are sound, so that every answer is
//! known: the other soak is about them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::super::support::clamd::{Clamd, ClamdConf};
use super::super::support::hook::Hook;
use super::super::support::icap::CIcap;
use super::super::support::infected::{eicar, infected, is_infected};
use super::super::support::process::Served;
use super::super::support::{Setup, Store, StoreKind};
use super::faults::{FaultProxy, Weather};
use super::form::Form;
use super::leaks;
use super::model::{Content, Keys};
use super::random::Random;
use super::wire::{Ask, Payload, Seen, Wire};
use super::{Findings, number};
use countersign::base::encoding::encode_path;

const KIB: usize = 1024;
/// The smallest part that is not the last.
const PART: usize = 5 * KIB * KIB;
/// Of what is larger than this c-icap sends back what it has seen, while it reads.
const SENT_BACK: u64 = 2 * (KIB * KIB) as u64;
/// Folders, and who looks at what is written there.
const FOLDERS: [(&str, &[&str]); 5] = [
    ("patterns", &["eicar"]),
    ("clamd", &["clam"]),
    ("hook", &["hook"]),
    ("icap", &["icap"]),
    ("all", &["clam", "eicar", "hook", "icap"]),
];
const UPLOADERS: u64 = 16;
/// Keys that an uploader uses at a time.
const LIVE: usize = 12;
/// Looks of each inspector at a time: fewer than uploaders, so that there is a queue.
const SCANS: usize = 10;
/// Uploads of the short form.
const SHORT: u64 = 400;
/// How long a run may take, however long the faults last: a thousandth of this each, and as long again for the rest.
const PATIENCE: Duration = Duration::from_secs(120);

/// Faults between the gateway and its scanners, of which each look has a connection.
const SCANNER: Weather =
    Weather { percent: 50, later: 5, reach: 96 * KIB, stall: Duration::from_millis(2_000), flips: [0, 60] };
/// Faults between the gateway and its store.
const STORE: Weather =
    Weather { percent: 60, later: 40, reach: 96 * KIB, stall: Duration::from_millis(1_500), flips: [0; 2] };

/// How many uploads, and which.
#[derive(Debug)]
struct Plan {
    kind: StoreKind,
    seed: u64,
    uploads: u64,
}

impl Plan {
    fn weather(&self) -> Weather {
        if self.kind == StoreKind::Rgw { Weather { flips: [30, 30], ..STORE } } else { STORE }
    }

    /// Uploads that come in parts, of a hundred. Not where bits change: such an object is read back from the store to be looked at.
    fn in_parts(&self) -> usize {
        if self.kind == StoreKind::Rgw { 0 } else { 15 }
    }
}

/// What is known of an upload.
#[derive(Debug, Clone)]
struct Sent {
    folder: usize,
    length: u64,
    is_infected: bool,
    status: u16,
    request_id: String,
}

/// How an upload comes.
#[derive(Debug, Clone, Copy)]
struct Shape {
    /// 0: as a whole.
    parts: usize,
    length: usize,
}

struct World {
    store: Store,
    served: Served,
    /// To the store, and to the three scanners.
    proxies: [FaultProxy; 4],
    _scanners: (Clamd, Hook, CIcap),
    left: AtomicU64,
    over: AtomicBool,
    /// Every key that was ever used.
    names: Mutex<Vec<String>>,
}

fn inspectors([clamd, hook, icap]: [&str; 3]) -> String {
    let load = format!(
        "max_scans: {SCANS}, principal_share: 100, timeout: 1s, queue_timeout: 2s, breaker: {{ failures: 12, pause: 300ms }}"
    );
    format!(
        "inspectors:
  eicar: {{ patterns: {{ sets: [eicar] }}, {load} }}
  clam: {{ clamd: {{ addresses: \"tcp://{clamd}\", probe: none }}, {load} }}
  hook: {{ http: {{ url: \"http://{hook}/\" }}, {load} }}
  icap: {{ icap: {{ url: \"icap://{icap}/avscan\", probe: none }}, {load} }}"
    )
}

fn rules() -> String {
    let rule = |(folder, with): &(&str, &[&str])| {
        let with = with.join(", ");
        format!(
            "\n  - {{ name: {folder}, who: {{ tokens: [a, b] }}, where: bkt/{folder}/, what: [read, write], inspect: {{ with: [{with}] }} }}"
        )
    };
    FOLDERS.iter().map(rule).collect()
}

impl World {
    async fn start(plan: &Plan) -> Option<Self> {
        let (store, hook) = (Store::get(plan.kind).await?, Hook::start().await);
        let clamd = Clamd::start(ClamdConf::default()).await?;
        let icap = CIcap::start(&clamd, "25M").await?;
        let proxy = |target, weather, purpose| FaultProxy::start(target, weather, Random::new(plan.seed, purpose));
        let proxies = [
            proxy(store.address(), plan.weather(), 1000),
            proxy(clamd.socket_address(), SCANNER, 1001),
            proxy(hook.address, SCANNER, 1002),
            proxy(icap.address(), SCANNER, 1003),
        ];
        let [before_store, scanners @ ..] = proxies.each_ref().map(|proxy| proxy.address.to_string());
        let setup = Setup::new(&format!("http://{before_store}"), &store.access_key, &store.secret_key, &store.bucket)
            .rules(&rules())
            .top(&inspectors(scanners.each_ref().map(String::as_str)))
            .upstream(&format!("unknown_length_uploads: {UPLOADERS}"))
            .upstream("timeouts: { connect: 500ms, first_byte: 1500ms, idle: 1s, pool_idle: 2s }")
            .limits("{ timeouts: { head: 6s, body_idle: 6s, linger: 2s } }");
        let served = Served::start(&setup, "", &[]).await;
        let (left, names) = (AtomicU64::new(plan.uploads), Mutex::default());
        Some(Self { store, served, proxies, _scanners: (clamd, hook, icap), left, over: AtomicBool::new(false), names })
    }

    fn take_one(&self) -> bool {
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    /// Reads keys at the store all the while.
    async fn watch(self: Arc<Self>, mut random: Random) -> (u64, Vec<String>) {
        let (mut reads, mut complaints) = (0, Vec::new());
        while !self.over.load(Ordering::Relaxed) {
            let name = {
                let names = self.names.lock().unwrap();
                // The latest are those that something happens to.
                let recent = names.len().saturating_sub(LIVE * UPLOADERS as usize);
                (!names.is_empty()).then(|| names[random.between(recent, names.len() - 1)].clone())
            };
            let Some(name) = name else {
                tokio::task::yield_now().await;
                continue;
            };
            let body = self.store.read(&name).await.unwrap_or_default();
            reads += 1;
            if is_infected(&body[..body.len().min(200)]) {
                complaints.push(format!("{name} held an infected object"));
            }
        }
        (reads, complaints)
    }

    /// Waits until the faults are over for the gateway, too: every rule lets clean objects through.
    async fn until_well(&self) -> Vec<String> {
        let end = Instant::now() + Duration::from_secs(30);
        let mut complaints = Vec::new();
        for (folder, _) in FOLDERS {
            loop {
                let answer = self.served.a.put(&format!("/bkt/{folder}/warm"), &[], "warm").await;
                if answer.status == 200 {
                    break;
                }
                if Instant::now() > end {
                    complaints.push(format!("{folder} after the storm: {:?}", answer.outcome()));
                    break;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        complaints
    }

    async fn check_idle(&self) -> Vec<String> {
        let mut complaints: Vec<_> = leaks::until_idle(&self.served).await.err().into_iter().collect();
        for name in ["countersign_inspection_running", "countersign_inspection_waiting"] {
            let value = leaks::metric(&self.served, name).await;
            if value != 0.0 {
                complaints.push(format!("{name} is {value} when nothing is under way"));
            }
        }
        complaints
    }
}

/// What became of an upload, as far as its answer tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Done,
    /// Something was found in it.
    Rejected,
    /// It could not be looked at.
    Failed,
    /// It did not come to that.
    NotSent,
    /// The path failed: it happened or not.
    Unclear,
    /// Nothing that may be answered.
    Wrong,
}

impl Told {
    fn by(seen: &Seen) -> Self {
        let Seen::Whole(answer) = seen else { return Self::Unclear };
        match (answer.status.as_u16(), answer.code().as_str()) {
            (200, "") => Self::Done,
            (_, "ContentRejected") => Self::Rejected,
            (_, "InspectionFailed") => Self::Failed,
            (500 | 501, _) | (_, "ContentNotScannable") => Self::Wrong,
            _ => Self::Unclear,
        }
    }
}

/// One client, which alone writes its keys.
struct Uploader {
    wire: Wire,
    random: Random,
    number: u64,
    uploads: u64,
    /// Uploads that come in parts, of a hundred.
    in_parts: usize,
    keys: Keys,
    live: Vec<(usize, String)>,
    /// By the number of the upload, which clean bodies begin with.
    sent: BTreeMap<u64, Sent>,
    outcomes: BTreeMap<String, u64>,
    complaints: Vec<String>,
}

impl Uploader {
    fn new(world: &World, plan: &Plan, number: u64) -> Self {
        let (tenant, client) = if number.is_multiple_of(2) { ('a', &world.served.a) } else { ('b', &world.served.b) };
        let wire = Wire::new(tenant, client.address, &client.token);
        let mut uploader = Self {
            wire,
            random: Random::new(plan.seed, number),
            number,
            uploads: 0,
            in_parts: plan.in_parts(),
            keys: Keys::default(),
            live: Vec::new(),
            sent: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            complaints: Vec::new(),
        };
        uploader.live = (0..LIVE).map(|place| uploader.new_key(world, place)).collect();
        uploader
    }

    fn new_key(&mut self, world: &World, place: usize) -> (usize, String) {
        let folder = place % FOLDERS.len();
        let key = format!("{}/w{}-{place}-{}", FOLDERS[folder].0, self.number, self.uploads);
        world.names.lock().unwrap().push(key.clone());
        (folder, key)
    }

    async fn work(mut self, world: Arc<World>) -> Self {
        while world.take_one() {
            let place = self.random.below(LIVE);
            self.uploads += 1;
            if self.random.percent(30) {
                self.wire.hang_up();
            }
            let certain = if self.random.percent(50) {
                self.upload_infected(&world, place).await
            } else {
                self.upload_clean(place).await
            };
            // A write whose answer was lost may arrive behind a later one.
            if !certain || self.random.percent(10) {
                self.live[place] = self.new_key(&world, place);
            }
        }
        self.wire.hang_up();
        self
    }

    fn shape(&mut self) -> Shape {
        let most = if self.random.percent(3) { 1024 * KIB } else { 64 * KIB };
        let last = eicar().len() + self.random.magnitude(most);
        let parts = match self.in_parts > 0 && self.random.percent(self.in_parts) {
            true if self.random.percent(20) => self.random.between(2, 3),
            true => 1,
            false => 0,
        };
        Shape { parts, length: parts.saturating_sub(1) * PART + last }
    }

    /// Returns whether it is known what the key holds now.
    async fn upload_clean(&mut self, place: usize) -> bool {
        let shape = self.shape();
        let content = Content::of(self.upload_number(), shape.length);
        let (folder, key) = self.live[place].clone();
        let is_sent_back = content.len() as u64 > SENT_BACK && FOLDERS[folder].1.contains(&"icap");
        match self.send(place, shape, content.bytes(), false).await {
            Told::Done => self.keys.is(&key, Some(content)),
            // A scanner failed: it was broken off, and what was there before is still there.
            Told::Failed | Told::NotSent => {}
            // A bit that changes in what a scanner sends back is an object that the scanner has changed.
            Told::Rejected if is_sent_back => {}
            Told::Unclear => {
                self.keys.may_be(&key, Some(content));
                return false;
            }
            Told::Rejected | Told::Wrong => self.complain(&format!("a clean upload to {key}")),
        }
        true
    }

    async fn upload_infected(&mut self, world: &World, place: usize) -> bool {
        let shape = self.shape();
        let Shape { parts, length } = shape;
        let at = match parts {
            2.. => self.random.between(1, parts - 1) * PART - self.random.between(1, eicar().len() - 1),
            _ if self.random.percent(50) => length,
            _ => self.random.below(length),
        };
        let key = self.live[place].1.clone();
        let told = self.send(place, shape, infected(length, at), true).await;
        if matches!(told, Told::Done | Told::Wrong) {
            self.complain(&format!("an infected upload to {key}"));
        }
        let found = world.store.read(&key).await;
        if let Some(complaint) = self.keys.complaint(&key, found.as_deref()) {
            self.complain(&format!("after an infected upload {complaint}"));
        }
        true
    }

    fn upload_number(&self) -> u64 {
        self.number << 32 | self.uploads
    }

    async fn send(&mut self, place: usize, shape: Shape, body: Vec<u8>, is_infected: bool) -> Told {
        let (folder, key) = self.live[place].clone();
        let length = body.len() as u64;
        let (kind, seen) = match shape.parts {
            0 => {
                let (headers, payload) = Form::any(&mut self.random).send(body, &mut self.random);
                ("whole", Some(self.ask("PutObject", "PUT", &key, "", headers, payload).await))
            }
            1 => ("in one part", self.send_in_parts(&key, &body).await),
            _ => ("in parts", self.send_in_parts(&key, &body).await),
        };
        let Some(seen) = seen else {
            *self.outcomes.entry(format!("{kind} not sent")).or_default() += 1;
            return Told::NotSent;
        };
        let told = self.wire.journal.last().expect("what was just sent");
        let (status, request_id) = (told.status.unwrap_or_default(), told.request_id.clone().unwrap_or_default());
        let what = if is_infected { "infected" } else { "clean" };
        let outcome = format!("{kind} {what} {status} {}", told.code.as_deref().unwrap_or_default());
        *self.outcomes.entry(outcome).or_default() += 1;
        self.sent.insert(self.upload_number(), Sent { folder, length, is_infected, status, request_id });
        Told::by(&seen)
    }

    /// The parts, and their completion; `None` if it did not come to that.
    async fn send_in_parts(&mut self, key: &str, body: &[u8]) -> Option<Seen> {
        let begun = self.ask("CreateMultipartUpload", "POST", key, "?uploads", Vec::new(), Vec::new()).await;
        let Seen::Whole(begun) = begun else { return None };
        let id = Some(begun.element("UploadId")).filter(|id| !id.is_empty())?;
        let mut list = String::new();
        for (number, part) in (1..).zip(body.chunks(PART)) {
            let etag = self.send_part(key, &format!("?partNumber={number}&uploadId={id}"), part).await?;
            list += &format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>");
        }
        let document = format!("<CompleteMultipartUpload>{list}</CompleteMultipartUpload>").into_bytes();
        let query = format!("?uploadId={id}");
        Some(self.ask("CompleteMultipartUpload", "POST", key, &query, Vec::new(), document).await)
    }

    /// Its ETag, as it is written into the list. Tried again as clients do, or of several parts one would nearly always fail.
    async fn send_part(&mut self, key: &str, query: &str, part: &[u8]) -> Option<String> {
        for _ in 0..3 {
            let (headers, payload) = Form::declared(&mut self.random).send(part.to_vec(), &mut self.random);
            let Seen::Whole(answer) = self.ask("UploadPart", "PUT", key, query, headers, payload).await else {
                continue;
            };
            let etag = answer.header("etag").replace('"', "&quot;");
            if !etag.is_empty() {
                return Some(etag);
            }
        }
        None
    }

    async fn ask(
        &mut self,
        operation: &'static str,
        method: &'static str,
        key: &str,
        query: &str,
        headers: Vec<(&'static str, String)>,
        payload: impl Into<Payload>,
    ) -> Seen {
        let target = format!("/bkt/{}{query}", encode_path(key));
        let key = Some(key.to_owned());
        self.wire.send(Ask { operation, method, target, key, headers, payload: payload.into() }).await
    }

    fn complain(&mut self, text: &str) {
        self.complaints.push(format!("client {}: {text}", self.number));
    }
}

/// Whether every inspector that must look at an upload has looked at all of it, and found nothing.
fn is_proven_clean(sent: &Sent, record: &Value) -> bool {
    let empty = Vec::new();
    let findings = record["inspection"].as_array().unwrap_or(&empty);
    let clean = |finding: &&Value| finding["verdict"] == "clean" && finding["bytes"] == sent.length;
    let by: BTreeSet<_> = findings.iter().filter(clean).filter_map(|finding| finding["inspector"].as_str()).collect();
    by == FOLDERS[sent.folder].1.iter().copied().collect()
}

/// Holds the audit records against what the uploaders sent, and both against what the store holds.
async fn check(world: &World, uploaders: &[Uploader], records: &[Value], findings: &mut Findings) {
    let by_id: BTreeMap<_, _> =
        records.iter().filter_map(|record| Some((record["request_id"].as_str()?, record))).collect();
    let sent: BTreeMap<_, _> = uploaders.iter().flat_map(|uploader| &uploader.sent).collect();
    for (number, sent) in &sent {
        let Some(record) = by_id.get(sent.request_id.as_str()) else {
            findings.add("audit", sent.status.ne(&0).then(|| format!("no record of upload {number}: {sent:?}")));
            continue;
        };
        let stored = record["outcome"] == "ok";
        let lies = record["inspection"]
            .as_array()
            .is_some_and(|all| all.iter().any(|one| one["verdict"] == "clean" && one["bytes"] == sent.length));
        let wrong = (stored && !is_proven_clean(sent, record)) || (sent.is_infected && (stored || lies));
        findings.add("audit", wrong.then(|| format!("{sent:?}, recorded: {record}")));
    }
    for name in uploaders.iter().flat_map(|uploader| uploader.keys.names()) {
        let keys = &uploaders.iter().find(|uploader| uploader.keys.names().any(|known| known == name)).unwrap().keys;
        let found = world.store.read(name).await;
        findings.add("objects", keys.complaint(name, found.as_deref()));
        let Some(number) = found.as_ref().and_then(|body| body.first_chunk()).map(|first| u64::from_be_bytes(*first))
        else {
            continue;
        };
        // Its answer may have been lost. That it was looked at must be written down all the same.
        let unproven = match sent.get(&number) {
            Some(sent) => match by_id.get(sent.request_id.as_str()) {
                Some(record) => !is_proven_clean(sent, record),
                None => !records.iter().any(|record| record["key"] == **name && is_proven_clean(sent, record)),
            },
            None => true,
        };
        findings.add("objects", unproven.then(|| format!("{name} holds upload {number:x}, which nobody found clean")));
    }
    let known: BTreeSet<_> = uploaders.iter().flat_map(|uploader| uploader.keys.names()).collect();
    for key in super::all_keys(&world.store).await {
        // What was put aside and could not be removed is swept some day; nobody can read it.
        let aside = key.starts_with(".countersign/");
        let unknown = !known.contains(&key) && !key.ends_with("/warm") && !aside;
        findings.add("objects", unknown.then(|| format!("{key} was never stored as far as its client knows")));
    }
}

async fn run(plan: Plan) {
    let Some(world) = World::start(&plan).await.map(Arc::new) else { return };
    println!("inspected soak: {plan:?}; repeat with SOAK_SEED={}", plan.seed);
    let mut findings = Findings::default();
    findings.add("start", world.until_well().await);
    let (start, mut running) = (Instant::now(), JoinSet::new());
    for number in 0..UPLOADERS {
        running.spawn(Uploader::new(&world, &plan, number).work(Arc::clone(&world)));
    }
    let watching = tokio::spawn(Arc::clone(&world).watch(Random::new(plan.seed, 2000)));
    world.proxies.iter().for_each(FaultProxy::storm_now);
    let patience = PATIENCE + PATIENCE / 1000 * u32::try_from(plan.uploads).unwrap();
    let uploaders = tokio::time::timeout(patience, running.join_all()).await.expect("uploads end");
    world.proxies.iter().for_each(FaultProxy::calm);
    let seconds = start.elapsed().as_secs_f64();

    findings.add("end", world.until_well().await);
    world.over.store(true, Ordering::Relaxed);
    let (reads, seen) = watching.await.unwrap();
    findings.add("seen at the store", seen);
    findings.add("idle", world.check_idle().await);
    findings.add("answers", uploaders.iter().flat_map(|uploader| uploader.complaints.clone()));
    let mut outcomes: BTreeMap<&str, u64> = BTreeMap::new();
    for (outcome, count) in uploaders.iter().flat_map(|uploader| &uploader.outcomes) {
        *outcomes.entry(outcome).or_default() += count;
    }
    let struck = world.proxies.each_ref().map(FaultProxy::struck);
    let Some(mut world) = Arc::into_inner(world) else { panic!("everybody has ended") };
    let (records, of_log) = super::stop(&mut world.served).await;
    findings.add("log", of_log);
    check(&world, &uploaders, &records, &mut findings).await;

    let total: u64 = uploaders.iter().map(|uploader| uploader.uploads).sum();
    println!(
        "  {total} uploads in {seconds:.1} s ({:.0} a second), {reads} reads beside them: {outcomes:?}",
        total as f64 / seconds
    );
    for (what, struck) in ["store", "clamd", "hook", "icap"].iter().zip(&struck) {
        println!("  faults towards {what}: {struck:?}");
        findings.add("faults", struck.is_empty().then(|| format!("none towards {what}")));
    }
    assert!(findings.0.is_empty(), "SOAK_SEED={}:\n{findings}", plan.seed);
    assert_eq!(total, plan.uploads);
    let count = |outcome: &str| outcomes.get(outcome).copied().unwrap_or_default();
    for outcome in ["whole clean 200 ", "whole clean 403 InspectionFailed", "whole infected 403 ContentRejected"] {
        assert!(count(outcome) > plan.uploads / 100, "of {total} uploads only {} ended so: {outcome}", count(outcome));
    }
}

/// The short form, unless the environment wants another.
fn plan(kind: StoreKind) -> Plan {
    let uploads = number("SOAK_INSPECTED");
    Plan { kind, seed: super::seed(uploads), uploads: uploads.unwrap_or(SHORT) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_fails_seaweedfs_gets_nothing_that_was_not_found_clean() {
    run(plan(StoreKind::SeaweedFs)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_fails_rgw_gets_nothing_that_was_not_found_clean() {
    run(plan(StoreKind::Rgw)).await;
}

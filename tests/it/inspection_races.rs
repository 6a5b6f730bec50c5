//! Readers race with uploads in which something is found: at every moment each key holds what it held before, and nothing else.
//!
//! A thousand infected uploads a store, in every form that clients have, over keys that hold an object and over new ones; some are looked at by the
//! gateway itself, which may break them off in the middle, some by clamd, which comes to its verdict behind the last byte. Readers ask for the
//! very keys that are being uploaded, the store itself and through the gateway.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::StatusCode;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use super::soak::random::Random;
use super::support::certs::Authority;
use super::support::clamd::{Clamd, ClamdConf};
use super::support::infected::{eicar, infected, is_infected};
use super::support::post::{self, PostForm};
use super::support::{Client, Form, Gateway, KeyClient, Response, Setup, Store, StoreKind, Transfer, pattern};

const ID: &str = "CSAKRACINGUPLOADS000";
const SECRET: &str = "the-secret-of-the-uploads-that-race-with-readers";
const INFECTED: usize = 1000;
/// One of so many is clean, in the same forms: a gateway that refuses everything does not pass.
const CLEAN_EVERY: usize = 20;
const UPLOADS: usize = 1053;
const _: () = assert!(UPLOADS - UPLOADS.div_ceil(CLEAN_EVERY) == INFECTED);
const UPLOADERS: u64 = 6;
const READERS: u64 = 12;
/// Keys in each folder that hold an object.
const OLD: usize = 25;
const LARGEST: usize = 300 * 1024;
/// One of so many comes in two parts, with what is found in it across their border.
const PARTS_EVERY: usize = 100;
const PART: usize = 5 << 20;
/// Looked at by the gateway itself, and by clamd.
const FOLDERS: [&str; 2] = ["a/patterns", "a/clamd"];

fn rules() -> String {
    "
  - { name: patterns, who: { tokens: [a], keys: [a, races, web] }, where: bkt/a/patterns/, what: [read, write], inspect: { with: eicar } }
  - { name: clamd, who: { tokens: [a], keys: [a, races, web] }, where: bkt/a/clamd/, what: [read, write], inspect: { with: clam } }"
        .to_owned()
}

/// How an upload comes.
#[derive(Debug, Clone, Copy)]
enum Way {
    Token,
    Presigned,
    Signed(Form, Transfer),
    Http2(Form, Transfer),
    Post { chunked: bool },
    Parts,
}

impl Way {
    fn any(random: &mut Random) -> Self {
        let form = *random.choose(&Form::all());
        let transfer = *random.choose(&Transfer::ALL);
        match random.below(10) {
            0 => Self::Token,
            1 => Self::Presigned,
            2..6 => Self::Signed(form, transfer),
            6..8 => Self::Http2(form, transfer),
            _ => Self::Post { chunked: random.percent(50) },
        }
    }
}

/// A store, two gateways before it, and what every key holds.
struct World {
    store: Store,
    plain: Gateway,
    /// For HTTP/2.
    sealed: Gateway,
    authority: Authority,
    _scanner: Clamd,
    /// What the keys hold that were there before. No other key may ever hold anything, but those of clean uploads.
    old: BTreeMap<String, Vec<u8>>,
    /// Keys that are uploaded to at this moment.
    hot: Mutex<Vec<String>>,
    next: AtomicUsize,
    over: AtomicBool,
    reads: AtomicU64,
    /// Reads of keys that were uploaded to when the read began or ended.
    racing: AtomicU64,
    complaints: Mutex<Vec<String>>,
}

impl World {
    async fn start(kind: StoreKind) -> Option<Arc<Self>> {
        let store = Store::get(kind).await?;
        let scanner = Clamd::start(ClamdConf::default()).await?;
        let inspectors = format!(
            "inspectors: {{ eicar: {{ patterns: {{ sets: [eicar] }} }}, clam: {{ clamd: {{ addresses: \"{}\", probe: none }} }} }}",
            scanner.tcp()
        );
        let with = |setup: Setup| {
            let setup = setup.rules(&rules()).top(&inspectors).upstream("unknown_length_uploads: 64");
            setup.access_key("races", ID, SECRET).access_key("web", post::KEY_ID, post::SECRET)
        };
        let authority = Authority::new();
        let identity = authority.vouch_for(&["127.0.0.1"]);
        let plain = with(store.setup()).start().await;
        let sealed = with(store.setup().tls(&identity)).start().await;
        let mut old = BTreeMap::new();
        for folder in FOLDERS {
            for number in 0..OLD {
                let (key, body) = (format!("{folder}/old-{number}"), pattern(1 + number * 12_000));
                store.put(&key, &body).await;
                old.insert(key, body);
            }
        }
        Some(Arc::new(Self {
            store,
            plain,
            sealed,
            authority,
            _scanner: scanner,
            old,
            hot: Mutex::default(),
            next: AtomicUsize::new(0),
            over: AtomicBool::new(false),
            reads: AtomicU64::new(0),
            racing: AtomicU64::new(0),
            complaints: Mutex::default(),
        }))
    }

    fn complain(&self, what: String) {
        self.complaints.lock().unwrap().push(what);
    }

    /// Uploads until all are done.
    async fn upload(self: Arc<Self>, mut random: Random) {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= UPLOADS {
                return;
            }
            let folder = *random.choose(&FOLDERS);
            let in_parts = number % PARTS_EVERY < 2;
            let (length, way) = match in_parts {
                true => (PART + LARGEST, Way::Parts),
                false => (eicar().len() + random.magnitude(LARGEST), Way::any(&mut random)),
            };
            if number.is_multiple_of(CLEAN_EVERY) {
                self.upload_clean(&format!("{folder}/clean-{number}"), &pattern(length), way).await;
                continue;
            }
            let key = match random.percent(50) {
                true => format!("{folder}/old-{}", random.below(OLD)),
                false => format!("{folder}/new-{number}"),
            };
            // Behind everything more often than elsewhere: there it is decided last.
            let at = match random.percent(50) {
                _ if in_parts => PART - random.between(1, eicar().len() - 1),
                true => length,
                false => random.below(length),
            };
            self.hot.lock().unwrap().push(key.clone());
            let answer = self.send(&key, &infected(length, at), way).await;
            let mut hot = self.hot.lock().unwrap();
            let position = hot.iter().position(|name| *name == key).unwrap();
            hot.swap_remove(position);
            drop(hot);
            // An answer that took long has begun with 200 when the verdict comes.
            let refused = answer.code() == "ContentRejected" && (answer.status == 403 || in_parts);
            if !refused {
                self.complain(format!("{key} {way:?}: {} {}", answer.status, answer.text()));
            }
        }
    }

    async fn upload_clean(&self, key: &str, body: &[u8], way: Way) {
        let answer = self.send(key, body, way).await;
        let stored = self.store.read(key).await;
        if !answer.status.is_success() || stored.as_deref() != Some(body) {
            let stored = stored.map(|stored| stored.len());
            self.complain(format!("{key} {way:?}: {} {}, {stored:?} bytes stored", answer.status, answer.text()));
        }
    }

    async fn send(&self, key: &str, body: &[u8], way: Way) -> Response {
        let target = format!("/bkt/{key}");
        let signed = |gateway: &Gateway, form| {
            let client = KeyClient::new(gateway.address, ID, SECRET);
            let signed = client.sign("PUT", &target, &[], body, form);
            (client, signed)
        };
        match way {
            Way::Token => self.plain.a.put(&target, &[], body.to_vec()).await,
            Way::Presigned => {
                let request = self.plain.key_a.presign("PUT", &target, &[], 60);
                self.plain.key_a.send(&request, body.to_vec()).await
            }
            Way::Signed(form, transfer) => {
                let (client, signed) = signed(&self.plain, form);
                client.send_signed(&signed, transfer).await
            }
            Way::Http2(form, transfer) => {
                let (client, signed) = signed(&self.sealed, form);
                let connector = TlsConnector::from(Arc::new(self.authority.client(&["h2"])));
                let stream = TcpStream::connect(self.sealed.address).await.unwrap();
                let stream = connector.connect(ServerName::try_from("127.0.0.1").unwrap(), stream).await.unwrap();
                client.send_over(stream, true, &signed, transfer).await
            }
            Way::Post { chunked } => {
                let form = PostForm::to(key).file(body);
                let form = if chunked { form.chunked() } else { form };
                form.send(&self.plain).await
            }
            Way::Parts => self.send_in_parts(&target, body).await,
        }
    }

    async fn send_in_parts(&self, target: &str, body: &[u8]) -> Response {
        let client = &self.plain.a;
        let begun = client.send("POST", &format!("{target}?uploads"), &[], "").await;
        let (id, mut list) = (begun.element("UploadId"), String::new());
        for (number, part) in (1..).zip(body.chunks(PART)) {
            let stored = client.put(&format!("{target}?partNumber={number}&uploadId={id}"), &[], part.to_vec()).await;
            let etag = stored.header("etag").replace('"', "&quot;");
            list += &format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>");
        }
        let document = format!("<CompleteMultipartUpload>{list}</CompleteMultipartUpload>");
        client.send("POST", &format!("{target}?uploadId={id}"), &[], document).await
    }

    /// Reads keys that are being uploaded, until all uploads are done.
    async fn read(self: Arc<Self>, through: Option<Client>, mut random: Random) {
        while !self.over.load(Ordering::Relaxed) {
            let (key, was_hot) = self.key_to_read(&mut random);
            let answer = match &through {
                Some(client) => client.get(&format!("/bkt/{key}")).await,
                None => self.store.answer(&key).await,
            };
            let is_hot = self.hot.lock().unwrap().contains(&key);
            self.reads.fetch_add(1, Ordering::Relaxed);
            self.racing.fetch_add(u64::from(was_hot || is_hot), Ordering::Relaxed);
            if let Some(complaint) = self.complaint(&key, &answer) {
                let reader = if through.is_some() { "through the gateway" } else { "at the store" };
                self.complain(format!("{key} read {reader}: {complaint}"));
            }
        }
    }

    fn key_to_read(&self, random: &mut Random) -> (String, bool) {
        let hot = self.hot.lock().unwrap();
        if !hot.is_empty() {
            return (random.choose(&hot).clone(), true);
        }
        drop(hot);
        (format!("{}/old-{}", random.choose(&FOLDERS), random.below(OLD)), false)
    }

    fn complaint(&self, key: &str, answer: &Response) -> Option<String> {
        match self.old.get(key) {
            Some(old) if answer.status == StatusCode::OK && answer.body == *old => None,
            None if answer.status == StatusCode::NOT_FOUND => None,
            _ if is_infected(&answer.body) => Some(format!("{} with infected bytes", answer.status)),
            Some(_) => Some(format!("{} with {} bytes: the old object is lost", answer.status, answer.body.len())),
            None => Some(format!("{} for an object that is not there: {}", answer.status, answer.text())),
        }
    }

    /// Looks through lists, until all uploads are done.
    async fn list(self: Arc<Self>) {
        while !self.over.load(Ordering::Relaxed) {
            for folder in FOLDERS {
                let keys = self.store.keys(&format!("{folder}/new-")).await;
                if !keys.is_empty() {
                    self.complain(format!("listed while they are uploaded: {keys:?}"));
                }
            }
        }
    }

    /// Every key, once more in peace.
    async fn check_all(&self) {
        for key in self.old.keys() {
            if let Some(complaint) = self.complaint(key, &self.store.answer(key).await) {
                self.complain(format!("{key} in the end: {complaint}"));
            }
        }
        for folder in FOLDERS {
            let keys = self.store.keys(&format!("{folder}/")).await;
            let known = |key: &&String| self.old.contains_key(*key) || key.starts_with(&format!("{folder}/clean-"));
            let others: Vec<_> = keys.iter().filter(|key| !known(key)).collect();
            if !others.is_empty() {
                self.complain(format!("stored: {others:?}"));
            }
        }
        // The gateway removes what it has put aside behind its answers.
        self.store.until_no_uploads().await;
        for _ in 0..100 {
            if self.store.keys(".countersign/").await.is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.complain(format!("left aside: {:?}", self.store.keys(".countersign/").await));
    }
}

async fn race(kind: StoreKind) {
    let Some(world) = World::start(kind).await else { return };
    let start = std::time::Instant::now();
    let (mut uploads, mut readers) = (JoinSet::new(), JoinSet::new());
    for number in 0..UPLOADERS {
        uploads.spawn(Arc::clone(&world).upload(Random::new(20_261_122, number)));
    }
    for number in 0..READERS {
        let through = number.is_multiple_of(2).then(|| world.plain.a.clone());
        readers.spawn(Arc::clone(&world).read(through, Random::new(20_261_122, 100 + number)));
    }
    readers.spawn(Arc::clone(&world).list());
    while let Some(done) = uploads.join_next().await {
        done.unwrap();
    }
    world.over.store(true, Ordering::Relaxed);
    while let Some(done) = readers.join_next().await {
        done.unwrap();
    }
    world.check_all().await;

    let (reads, racing) = (world.reads.load(Ordering::Relaxed), world.racing.load(Ordering::Relaxed));
    println!(
        "{kind:?}: {UPLOADS} uploads, {reads} reads, {racing} of them of a key under upload, {:?}",
        start.elapsed()
    );
    let complaints = world.complaints.lock().unwrap();
    assert!(
        complaints.is_empty(),
        "{kind:?}: {} complaints, {:#?}",
        complaints.len(),
        &complaints[..complaints.len().min(8)]
    );
    assert!(racing >= UPLOADS as u64, "{kind:?}: only {racing} reads of a key while it was uploaded");
    let rejected =
        |gateway: &Gateway| gateway.records().iter().filter(|record| record.code == Some("ContentRejected")).count();
    let rejected = rejected(&world.plain) + rejected(&world.sealed);
    assert_eq!(rejected, INFECTED, "{kind:?}: one record for each refused upload");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h12_readers_of_seaweedfs_never_see_an_infected_byte_or_lose_the_old_object() {
    race(StoreKind::SeaweedFs).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h12_readers_of_rgw_never_see_an_infected_byte_or_lose_the_old_object() {
    race(StoreKind::Rgw).await;
}

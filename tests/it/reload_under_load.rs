//! Ten reloads under load: rules, tokens and certificates change, and nobody notices but those whom the new rules concern.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use countersign::app::reload::Cause;
use countersign::auth::app_token;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use super::support::certs::{Authority, provider, write};
use super::support::{Answer, Recorder, Reloadable, Setup, eventually, pattern};

const RELOADS: usize = 10;
/// Between two reloads at least.
const REQUESTS: usize = 300;
const WORKERS: usize = 6;

/// What is asked. The number is that of the generation that answers.
#[derive(Debug, Clone, Copy)]
enum Question {
    /// Always allowed.
    Read,
    /// Allowed by odd generations.
    Write,
    /// The token is known to even generations.
    ReadAsC,
}

impl Question {
    const ALL: [Self; 3] = [Self::Read, Self::Write, Self::ReadAsC];

    fn expected(self, generation: usize) -> u16 {
        match self {
            Self::Write if generation.is_multiple_of(2) => 403,
            Self::ReadAsC if !generation.is_multiple_of(2) => 401,
            Self::Read | Self::Write | Self::ReadAsC => 200,
        }
    }
}

/// Which generations may answer now.
#[derive(Default)]
struct Progress {
    /// The newest that may be in use.
    newest: AtomicUsize,
    /// The oldest that may be in use for a request that begins.
    oldest: AtomicUsize,
    answered: AtomicUsize,
    /// Answers that could come from one generation only.
    certain: AtomicUsize,
    ended: AtomicBool,
}

struct Worker {
    progress: Arc<Progress>,
    connector: TlsConnector,
    address: std::net::SocketAddr,
    tokens: [String; 2],
    body: Bytes,
}

impl Worker {
    async fn connect(&self) -> SendRequest<Full<Bytes>> {
        let stream = TcpStream::connect(self.address).await.expect("a connection");
        let stream = self.connector.connect("127.0.0.1".try_into().unwrap(), stream).await.expect("a handshake");
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    async fn ask(&self, sender: &mut SendRequest<Full<Bytes>>, question: Question) {
        let [a, c] = &self.tokens;
        let (method, token, body) = match question {
            Question::Read => ("GET", a, Bytes::new()),
            Question::Write => ("PUT", a, self.body.clone()),
            Question::ReadAsC => ("GET", c, Bytes::new()),
        };
        let request = Request::builder().method(method).uri("/bkt/a/x").header("host", "gw");
        let request = request.header("authorization", format!("Bearer {token}")).body(Full::new(body)).unwrap();
        let oldest = self.progress.oldest.load(Ordering::SeqCst);
        let answer = sender.send_request(request).await.unwrap_or_else(|error| panic!("{question:?}: {error}"));
        let status = answer.status().as_u16();
        let read = answer.into_body().collect().await;
        read.unwrap_or_else(|error| panic!("{question:?}: {error}"));
        let newest = self.progress.newest.load(Ordering::SeqCst);
        let possible: BTreeSet<u16> = (oldest..=newest).map(|generation| question.expected(generation)).collect();
        assert!(possible.contains(&status), "{question:?} got {status} between generations {oldest} and {newest}");
        self.progress.answered.fetch_add(1, Ordering::SeqCst);
        self.progress.certain.fetch_add(usize::from(oldest == newest), Ordering::SeqCst);
    }

    /// Asks until the end, on one connection as long as it lasts or on a new one each time.
    async fn work(self, number: usize) {
        let stays = number.is_multiple_of(2);
        let mut sender = self.connect().await;
        for question in Question::ALL.into_iter().cycle().skip(number) {
            if self.progress.ended.load(Ordering::SeqCst) {
                return;
            }
            // A refused upload ends its connection.
            if !stays || sender.is_closed() || sender.ready().await.is_err() {
                sender = self.connect().await;
            }
            self.ask(&mut sender, question).await;
        }
    }
}

/// Trusts both authorities, as a client does while one takes the place of the other.
fn connector(authorities: &[&Authority]) -> TlsConnector {
    let mut roots = rustls::RootCertStore::empty();
    for authority in authorities {
        let pem = std::fs::read(authority.file()).unwrap();
        roots.add(rustls_pki_types::pem::PemObject::from_pem_slice(&pem).unwrap()).unwrap();
    }
    let config = rustls::ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

/// The configuration of a generation.
fn rules_of(generation: usize) -> String {
    let write = if generation.is_multiple_of(2) { "" } else { ", write" };
    format!("  - {{ name: tenant-a, who: {{ tokens: [a, c] }}, where: bkt/a/, what: [read{write}] }}")
}

async fn start(authority: &Authority, recorder: &Recorder) -> (Reloadable, Arc<Progress>) {
    let world = Setup::before(recorder)
        .tls(&authority.vouch_for(&["127.0.0.1"]))
        .rules("\n  - { name: tenant-a, who: { tokens: [a] }, where: bkt/a/, what: [read, write] }")
        .start_reloadable()
        .await;
    world.variables.set("HASH_C", &app_token::generate().1);
    write(&world.file, &world.edited("  tokens:", "  tokens:\n    - { name: c, hash: env:HASH_C }"));
    write(
        &world.file,
        &world.edited("  - { name: tenant-a, who: { tokens: [a] }, where: bkt/a/, what: [read, write] }", &rules_of(1)),
    );
    assert_eq!(world.reload().await.unwrap().generation, 2);
    let progress = Progress::default();
    progress.newest.store(1, Ordering::SeqCst);
    progress.oldest.store(1, Ordering::SeqCst);
    (world, Arc::new(progress))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ten_reloads_under_load_fail_no_request_but_those_that_the_new_rules_refuse() {
    let recorder = Recorder::start(Answer::ok()).await;
    let authorities = [Authority::new(), Authority::new()];
    let (world, progress) = start(&authorities[0], &recorder).await;
    let certificate = world.text().split("certificate: ").nth(1).unwrap().split(',').next().unwrap().to_owned();
    let key = certificate.replace(".crt", ".key");
    let (token_c, hash_c) = app_token::generate();
    let mut workers = JoinSet::new();
    for number in 0..WORKERS {
        let worker = Worker {
            progress: Arc::clone(&progress),
            connector: connector(&[&authorities[0], &authorities[1]]),
            address: world.gateway.address,
            tokens: [world.gateway.a.token.clone(), token_c.expose().to_owned()],
            body: pattern(3000).into(),
        };
        workers.spawn(worker.work(number));
    }
    for generation in 2..=RELOADS + 1 {
        let wanted = progress.answered.load(Ordering::SeqCst) + REQUESTS;
        eventually("requests are answered", || {
            assert_eq!(workers.len(), WORKERS);
            assert!(workers.try_join_next().is_none(), "a worker failed");
            progress.answered.load(Ordering::SeqCst) >= wanted
        })
        .await;
        let other = if generation.is_multiple_of(2) { hash_c.clone() } else { app_token::generate().1 };
        world.variables.set("HASH_C", &other);
        write(&world.file, &world.edited(&rules_of(generation - 1), &rules_of(generation)));
        let renewed = authorities[generation % 2].vouch_for(&["127.0.0.1"]);
        write(certificate.as_ref(), &std::fs::read_to_string(&renewed.certificate).unwrap());
        write(key.as_ref(), &std::fs::read_to_string(&renewed.key).unwrap());
        progress.newest.store(generation, Ordering::SeqCst);
        let report = world.reloader.reload(Cause::Admin).await.unwrap();
        progress.oldest.store(generation, Ordering::SeqCst);
        assert_eq!(report.generation as usize, generation + 1);
        assert!(report.changed.iter().any(|changed| changed.ends_with(".crt")), "{:?}", report.changed);
    }
    let wanted = progress.answered.load(Ordering::SeqCst) + REQUESTS;
    eventually("requests are answered", || progress.answered.load(Ordering::SeqCst) >= wanted).await;
    progress.ended.store(true, Ordering::SeqCst);
    while let Some(worker) = workers.join_next().await {
        worker.expect("no worker met a failure");
    }
    let (answered, certain) = (progress.answered.load(Ordering::SeqCst), progress.certain.load(Ordering::SeqCst));
    assert!(answered > RELOADS * REQUESTS && certain * 2 > answered, "{answered} answers, {certain} of them certain");
    let records = || world.gateway.records().len();
    eventually("each request has its record", || records() >= answered).await;
    assert_eq!(records(), answered);
    println!("{answered} requests answered, {certain} of them by the only generation that could be");
}

//! The real program under attack, measured: its memory, and the latency of a client that does nothing wrong meanwhile.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::certs::Authority;
use super::h2_wire::Wire;
use super::process::Served;
use super::{Answer, Recorder, Setup};

/// A gateway with TLS as a process of its own, before a recorder.
pub struct Field {
    pub served: Served,
    pub recorder: Recorder,
    pub authority: Authority,
    host: String,
    bearer: String,
}

/// What an attack has cost.
pub struct Report {
    name: String,
    grown: u64,
    worst: Duration,
}

/// No client waits so long on a machine that is shared with other tests; without an attack it waits some milliseconds.
const LONGEST: Duration = Duration::from_secs(10);
/// So many requests of the good client, the last of them after an attack that is over quickly.
const LEAST_REQUESTS: usize = 20;

impl Field {
    /// Starts a gateway before a store that answers so.
    pub async fn start(answer: Answer) -> Self {
        Self::with(answer, |setup| setup).await
    }

    /// The same, with more in its setup.
    pub async fn with(answer: Answer, more: impl FnOnce(Setup) -> Setup) -> Self {
        let recorder = Recorder::start(answer).await;
        let authority = Authority::new();
        let identity = authority.vouch_for(&["127.0.0.1"]);
        let setup = more(Setup::before(&recorder).tls(&identity));
        let served = Served::start(&setup, "", &[]).await;
        let (host, bearer) = (served.a.address.to_string(), format!("Bearer {}", served.a.token));
        Self { served, recorder, authority, host, bearer }
    }

    /// An HTTP/2 connection of which every byte is ours.
    pub async fn wire(&self, settings: &[(u16, u32)]) -> Wire {
        Wire::connect(self.served.a.address, &self.authority, settings).await
    }

    /// The fields of a good GET.
    pub fn get<'a>(&'a self, path: &'a str) -> Vec<(&'a str, &'a str)> {
        self.head("GET", path)
    }

    /// The fields of a good PUT of so many bytes.
    pub fn put<'a>(&'a self, path: &'a str, length: &'a str) -> Vec<(&'a str, &'a str)> {
        let mut fields = self.head("PUT", path);
        fields.push(("content-length", length));
        fields
    }

    fn head<'a>(&'a self, method: &'a str, path: &'a str) -> Vec<(&'a str, &'a str)> {
        let pseudo = [(":method", method), (":scheme", "https"), (":authority", &self.host), (":path", path)];
        pseudo.into_iter().chain([("authorization", self.bearer.as_str())]).collect()
    }

    /// A number of kilobytes out of the state of the process.
    pub fn kib(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.served.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Open descriptors of the process.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.served.process.id())).unwrap().count()
    }

    /// Runs an attack while a good client asks again and again. Prints a row of the table of figures.
    pub async fn under(&self, name: &str, attack: impl Future<Output = ()>) -> Report {
        let mut good = self.good_client().await;
        for _ in 0..20 {
            self.ask(&mut good).await;
        }
        let before = self.kib("VmHWM");
        let (mut worst, mut requests) = (Duration::ZERO, 0);
        let ended = std::cell::Cell::new(false);
        let asking = async {
            while !ended.get() || requests < LEAST_REQUESTS {
                let start = Instant::now();
                self.ask(&mut good).await;
                worst = worst.max(start.elapsed());
                requests += 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::join!(
            async {
                attack.await;
                ended.set(true);
            },
            asking
        );
        // Whatever is still on its way has arrived when a new client is served.
        let start = Instant::now();
        let mut last = self.good_client().await;
        self.ask(&mut last).await;
        worst = worst.max(start.elapsed());
        let grown = self.kib("VmHWM").saturating_sub(before) * 1024;
        println!(
            "| {name} | {:.1} MiB | {} ms in {requests} requests |",
            grown as f64 / (1 << 20) as f64,
            worst.as_millis()
        );
        Report { name: name.to_owned(), grown, worst }
    }

    async fn good_client(&self) -> http1::SendRequest<Empty<Bytes>> {
        let stream = TcpStream::connect(self.served.a.address).await.unwrap();
        let config = Arc::new(self.authority.client(&["http/1.1"]));
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let stream = TlsConnector::from(config).connect(name, stream).await.unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    async fn ask(&self, sender: &mut http1::SendRequest<Empty<Bytes>>) {
        let request = Request::get("/bkt/b/good").header("host", &self.host);
        // Another tenant than the attacker: one principal never holds all places of a store.
        let request = request.header("authorization", format!("Bearer {}", self.served.b.token));
        sender.ready().await.unwrap();
        let answer = sender.send_request(request.body(Empty::new()).unwrap()).await.unwrap();
        assert!(answer.status() == 200 || answer.status() == 504, "{}", answer.status());
        answer.into_body().collect().await.unwrap();
    }
}

impl Report {
    /// Fails if the gateway took more memory than this, or if the good client was not served meanwhile.
    pub fn costs_at_most(&self, bytes: u64) {
        let Self { name, grown, worst } = self;
        assert!(*grown <= bytes, "{name}: {grown} bytes");
        assert!(*worst < LONGEST, "{name}: the good client waited {worst:?}");
    }
}

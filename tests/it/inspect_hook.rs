//! A program of the operator as inspector, through a whole gateway: its verdict decides before the store has the object.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::support::{Answer, Gateway, Recorder, Setup, Store, StoreKind, eventually, pattern};

const EVIL: &[u8] = b"a-thing-that-nobody-wants";

/// A scanner that somebody wrote: it looks for [`EVIL`], and behaves badly when the key says so.
struct Scanner {
    port: u16,
    /// Bytes of each body, and whether it came whole.
    bodies: Arc<Mutex<Vec<(usize, bool)>>>,
}

impl Scanner {
    async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let bodies = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&bodies);
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let seen = Arc::clone(&seen);
                let serve = service_fn(move |request| scan(request, Arc::clone(&seen)));
                tokio::spawn(
                    async move { drop(http1::Builder::new().serve_connection(TokioIo::new(socket), serve).await) },
                );
            }
        });
        Self { port, bodies }
    }

    /// A gateway that asks it about everything that tenant `a` writes.
    async fn gateway(&self, setup: Setup, keys: &str) -> Gateway {
        let inspector = format!(
            "inspectors: {{ own: {{ timeout: 1s, http: {{ url: \"http://127.0.0.1:{}/scan\"{keys} }} }} }}",
            self.port
        );
        let rules = "
  - { name: tenant-a, who: { tokens: [a], keys: [a] }, where: bkt/a/, what: [read, write, delete], inspect: { with: own } }";
        setup.top(&inspector).rules(rules).start().await
    }
}

async fn scan(
    request: Request<Incoming>,
    seen: Arc<Mutex<Vec<(usize, bool)>>>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let subject = request.headers().get("countersign-subject").map(|value| value.as_bytes().to_vec());
    let mut body = request.into_body();
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => bytes.extend_from_slice(frame.data_ref().unwrap()),
            Err(error) => {
                seen.lock().unwrap().push((bytes.len(), false));
                return Err(error);
            }
        }
    }
    seen.lock().unwrap().push((bytes.len(), true));
    let told = match subject {
        Some(subject) => countersign::auth::strict_json::base64url(std::str::from_utf8(&subject).unwrap()).unwrap(),
        None => bytes.clone(),
    };
    let told: serde_json::Value = serde_json::from_slice(&told).unwrap();
    let key = told["key"].as_str().unwrap().to_owned();
    if key.ends_with("stall") {
        std::future::pending::<()>().await;
    }
    let found = bytes.windows(EVIL.len()).any(|window| window == EVIL) || key.ends_with(".exe");
    let answer = match key.as_str() {
        "a/nonsense" => "all good",
        "a/encrypted" => r#"{"verdict":"not_scannable","reason":"encrypted"}"#,
        _ if found => r#"{"verdict":"matched","name":"Evil.Thing"}"#,
        _ => r#"{"verdict":"clean"}"#,
    };
    Ok(Response::builder().header("content-type", "application/json").body(Full::from(answer)).unwrap())
}

#[tokio::test]
async fn h12_the_verdict_of_a_hook_decides_before_an_object_is_stored() {
    let Some(store) = Store::get(StoreKind::SeaweedFs).await else { return };
    let scanner = Scanner::start().await;
    let gateway = scanner.gateway(store.setup(), "").await;
    let clean = pattern(1 << 20);
    let infected = [clean.clone(), EVIL.to_vec()].concat();
    assert_eq!(gateway.a.put("/bkt/a/k", &[], clean.clone()).await.status, 200);
    assert_eq!(gateway.a.put("/bkt/a/empty", &[], Bytes::new()).await.status, 200);
    for (key, code) in
        [("k", "ContentRejected"), ("nonsense", "InspectionFailed"), ("encrypted", "ContentNotScannable")]
    {
        let body = if key == "k" { infected.clone() } else { clean.clone() };
        let refused = gateway.a.put(&format!("/bkt/a/{key}"), &[], body).await;
        assert_eq!(refused.outcome(), (403, code.to_owned()), "{key}");
        assert!(!refused.text().contains("Evil"), "{}", refused.text());
    }
    assert_eq!(store.read("a/k").await, Some(clean));
    assert_eq!(store.keys("a/").await, ["a/empty", "a/k"]);
    let record = gateway.record(3).await;
    assert!(format!("{:?}", record.inspection).contains("Evil.Thing"), "{record:?}");
}

#[tokio::test]
async fn h12_a_hook_that_stalls_or_is_gone_stores_nothing() {
    let recorder = Recorder::start(Answer::ok()).await;
    let scanner = Scanner::start().await;
    let gateway = scanner.gateway(Setup::before(&recorder), "").await;
    let refused = gateway.a.put("/bkt/a/stall", &[], pattern(300_000)).await;
    assert_eq!(refused.outcome(), (403, "InspectionFailed".to_owned()));
    let gone = Scanner { port: 1, bodies: Arc::default() }.gateway(Setup::before(&recorder), "").await;
    let refused = gone.a.put("/bkt/a/k", &[], pattern(300_000)).await;
    assert_eq!(refused.outcome(), (403, "InspectionFailed".to_owned()));
    assert!(recorder.requests().iter().all(|request| !request.complete), "an object without a verdict was stored");
}

#[tokio::test]
async fn h12_an_upload_that_breaks_off_is_no_whole_object_to_a_hook() {
    let recorder = Recorder::start(Answer::ok()).await;
    let scanner = Scanner::start().await;
    let gateway = scanner.gateway(Setup::before(&recorder), "").await;
    let headers = format!(
        "PUT /bkt/a/k HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\ncontent-length: 300000\r\n\r\n",
        gateway.address, gateway.a.token
    );
    let sent = [headers.into_bytes(), pattern(299_999)].concat();
    let mut socket = tokio::net::TcpStream::connect(gateway.address).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut socket, &sent).await.unwrap();
    drop(socket);
    let bodies = Arc::clone(&scanner.bodies);
    eventually("the end of the request to the hook", || !bodies.lock().unwrap().is_empty()).await;
    assert!(!bodies.lock().unwrap()[0].1, "the hook took it for whole");
    gateway.record(1).await;
    assert!(recorder.requests().iter().all(|request| !request.complete));
}

#[tokio::test]
async fn a_hook_can_decide_by_the_metadata_alone() {
    let Some(store) = Store::get(StoreKind::SeaweedFs).await else { return };
    let scanner = Scanner::start().await;
    let gateway = scanner.gateway(store.setup(), ", send: metadata").await;
    assert_eq!(gateway.a.put("/bkt/a/tool.exe", &[], pattern(100_000)).await.code(), "ContentRejected");
    assert_eq!(gateway.a.put("/bkt/a/tool.txt", &[], pattern(100_000)).await.status, 200);
    assert_eq!(store.keys("a/").await, ["a/tool.txt"]);
    assert!(scanner.bodies.lock().unwrap().iter().all(|(bytes, whole)| *whole && *bytes < 1000));
    assert!(tokio::time::timeout(Duration::from_secs(10), gateway.stop()).await.is_ok());
}

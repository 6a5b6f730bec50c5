//! An issuer on a port of this machine that counts requests and misbehaves when told to.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::NamedTempFile;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// What the issuer sends.
#[derive(Clone)]
pub(super) enum Answer {
    /// 200 with this body.
    Json(String),
    /// These bytes, then the end of the connection.
    Raw(Vec<u8>),
    /// This head, then zeros for ever.
    Endless(&'static str),
    /// This head, then one byte every few milliseconds.
    Drip(&'static str),
    /// Nothing, but the connection stays open.
    Silence,
}

type Behaviour = dyn Fn(&str) -> Answer + Send + Sync;

pub(super) struct Idp {
    pub(super) port: u16,
    requests: watch::Receiver<Vec<String>>,
    behaviour: Arc<Mutex<Arc<Behaviour>>>,
    sent_bytes: Arc<AtomicUsize>,
    _accepting: JoinSet<()>,
}

pub(super) fn status(line: &str, headers: &str) -> Answer {
    Answer::Raw(format!("HTTP/1.1 {line}\r\ncontent-length: 0\r\n{headers}\r\n").into_bytes())
}

impl Idp {
    /// An issuer in clear text. `behaviour` gets the request target.
    pub(super) async fn start(behaviour: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Self {
        Self::start_with(None, behaviour).await
    }

    /// An issuer with a certificate for 127.0.0.1, and the file of its authority.
    pub(super) async fn start_tls(behaviour: impl Fn(&str) -> Answer + Send + Sync + 'static) -> (Self, NamedTempFile) {
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let names = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let chain = vec![names.signed_by(&key, &authority).unwrap().der().clone()];
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let ca_file = NamedTempFile::new().unwrap();
        std::fs::write(ca_file.path(), authority.pem()).unwrap();
        (Self::start_with(Some(TlsAcceptor::from(Arc::new(config))), behaviour).await, ca_file)
    }

    async fn start_with(tls: Option<TlsAcceptor>, behaviour: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let behaviour: Arc<Mutex<Arc<Behaviour>>> = Arc::new(Mutex::new(Arc::new(behaviour)));
        let (recorder, requests) = watch::channel(Vec::new());
        let recorder = Arc::new(recorder);
        let sent_bytes = Arc::new(AtomicUsize::new(0));
        let mut accepting = JoinSet::new();
        let (behaviour_of_server, sent) = (Arc::clone(&behaviour), Arc::clone(&sent_bytes));
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let (tls, recorder) = (tls.clone(), Arc::clone(&recorder));
                let (behaviour, sent) = (Arc::clone(&behaviour_of_server), Arc::clone(&sent));
                connections.spawn(async move {
                    match tls {
                        None => serve(socket, &recorder, &behaviour, &sent).await,
                        Some(acceptor) => match acceptor.accept(socket).await {
                            Ok(stream) => serve(stream, &recorder, &behaviour, &sent).await,
                            Err(_) => recorder.send_modify(|heads| heads.push("TLS failed".to_owned())),
                        },
                    }
                });
            }
        });
        Self { port, requests, behaviour, sent_bytes, _accepting: accepting }
    }

    pub(super) fn behave(&self, behaviour: impl Fn(&str) -> Answer + Send + Sync + 'static) {
        *self.behaviour.lock().unwrap() = Arc::new(behaviour);
    }

    /// `http://127.0.0.1:PORT` and this path.
    pub(super) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Heads of the requests so far.
    pub(super) fn requests(&self) -> Vec<String> {
        self.requests.borrow().clone()
    }

    /// Waits until there were so many requests.
    pub(super) async fn saw(&self, count: usize) {
        let mut requests = self.requests.clone();
        let wait = requests.wait_for(|heads| heads.len() >= count);
        drop(tokio::time::timeout(Duration::from_secs(10), wait).await.expect("requests within the deadline").unwrap());
    }

    /// Body bytes that endless answers got rid of.
    pub(super) fn sent_bytes(&self) -> usize {
        self.sent_bytes.load(Ordering::SeqCst)
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    recorder: &watch::Sender<Vec<String>>,
    behaviour: &Mutex<Arc<Behaviour>>,
    sent: &AtomicUsize,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let target = head.split(' ').nth(1).unwrap().to_owned();
    let behaviour = Arc::clone(&behaviour.lock().unwrap());
    let answer = behaviour(&target);
    recorder.send_modify(|heads| heads.push(head));
    // A client that has seen enough closes the connection; that is its right.
    drop(send(&mut stream, answer, sent).await);
}

async fn send(stream: &mut (impl AsyncWrite + Unpin), answer: Answer, sent: &AtomicUsize) -> std::io::Result<()> {
    match answer {
        Answer::Json(body) => {
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).await?;
            stream.shutdown().await
        }
        Answer::Raw(bytes) => {
            stream.write_all(&bytes).await?;
            stream.shutdown().await
        }
        Answer::Endless(head) => {
            stream.write_all(head.as_bytes()).await?;
            loop {
                sent.fetch_add(stream.write(&[b'0'; 8192]).await?, Ordering::SeqCst);
            }
        }
        Answer::Drip(head) => {
            stream.write_all(head.as_bytes()).await?;
            loop {
                stream.write_all(b" ").await?;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        Answer::Silence => std::future::pending().await,
    }
}

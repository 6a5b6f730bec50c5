//! The stores: SeaweedFS and Ceph RGW as processes, s3s-fs inside the test process. Each is started once for the whole run.
//!
//! Asked directly, past the gateway, with requests signed by the `aws-sigv4` crate: an opinion of its own on signatures.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings, UriPathNormalizationMode,
    sign,
};
use aws_sigv4::sign::v4;

use super::gateway::Setup;
use super::{Client, Response};

/// Which store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreKind {
    SeaweedFs,
    Rgw,
    S3sFs,
}

impl StoreKind {
    /// The two real stores.
    pub const REAL: [Self; 2] = [Self::SeaweedFs, Self::Rgw];
    /// All of them.
    pub const ALL: [Self; 3] = [Self::SeaweedFs, Self::Rgw, Self::S3sFs];
}

/// A store, and a bucket in it that belongs to one test.
#[derive(Debug, Clone)]
pub struct Store {
    pub kind: StoreKind,
    pub endpoint: String,
    pub access_key: String,
    pub secret_key: String,
    pub bucket: String,
}

/// How to reach a started store.
#[derive(Debug, Clone)]
struct Running {
    endpoint: String,
    access_key: String,
    secret_key: String,
}

static BUCKETS: AtomicUsize = AtomicUsize::new(0);

impl Store {
    /// The store of this kind, with a new bucket. `None` if its programs are missing, which is an error in CI.
    pub async fn get(kind: StoreKind) -> Option<Self> {
        let running = tokio::task::spawn_blocking(move || match kind {
            StoreKind::SeaweedFs => process("seaweedfs.sh"),
            StoreKind::Rgw => process("radosgw.sh"),
            StoreKind::S3sFs => Some(in_process()),
        })
        .await
        .unwrap()?;
        let bucket = format!("test-{}-{}", std::process::id(), BUCKETS.fetch_add(1, Ordering::Relaxed));
        let Running { endpoint, access_key, secret_key } = running;
        let store = Self { kind, endpoint, access_key, secret_key, bucket };
        let made = store.send("PUT", "", "", b"").await;
        assert!(made.status.is_success(), "{kind:?} makes a bucket: {} {}", made.status, made.text());
        Some(store)
    }

    /// Two tenants before this store.
    pub fn setup(&self) -> Setup {
        Setup::new(&self.endpoint, &self.access_key, &self.secret_key, &self.bucket)
    }

    /// Stores an object directly.
    pub async fn put(&self, key: &str, body: &[u8]) {
        let stored = self.send("PUT", key, "", body).await;
        assert!(stored.status.is_success(), "{:?} stores {key}: {}", self.kind, stored.text());
    }

    /// Reads an object directly; `None` if there is none.
    pub async fn read(&self, key: &str) -> Option<Vec<u8>> {
        let found = self.send("GET", key, "", b"").await;
        found.status.is_success().then_some(found.body)
    }

    /// The answer to a read, whatever it is.
    pub async fn answer(&self, key: &str) -> Response {
        self.send("GET", key, "", b"").await
    }

    /// The head of an object.
    pub async fn head(&self, key: &str) -> Response {
        self.send("HEAD", key, "", b"").await
    }

    /// Removes an object directly.
    pub async fn remove(&self, key: &str) {
        self.send("DELETE", key, "", b"").await;
    }

    /// The keys under a prefix.
    pub async fn keys(&self, prefix: &str) -> Vec<String> {
        let query = format!("list-type=2&prefix={}", countersign::base::encoding::encode_query(prefix));
        self.send("GET", "", &query, b"").await.elements("Key")
    }

    /// Lets the bucket keep versions.
    pub async fn keep_versions(&self) {
        let document = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
        let done = self.send("PUT", "", "versioning=", document).await;
        assert!(done.status.is_success(), "{:?} keeps versions: {}", self.kind, done.text());
    }

    /// Asks for a list directly.
    pub async fn list(&self, query: &str) -> Response {
        self.send("GET", "", query, b"").await
    }

    /// Begins a multipart upload directly, and gives its id.
    pub async fn begin_upload(&self, key: &str) -> String {
        let begun = self.send("POST", key, "uploads=", b"").await;
        assert!(begun.status.is_success(), "{:?} begins {key}: {}", self.kind, begun.text());
        begun.element("UploadId")
    }

    /// Stores many objects directly, some at a time.
    pub async fn put_all(&self, keys: &[String], body: &'static [u8]) {
        let mut running = tokio::task::JoinSet::new();
        for key in keys {
            if running.len() == 8 {
                running.join_next().await.unwrap().unwrap();
            }
            let (store, key) = (self.clone(), key.clone());
            running.spawn(async move { store.put(&key, body).await });
        }
        while let Some(done) = running.join_next().await {
            done.unwrap();
        }
    }

    /// Upload ids of multipart uploads that are neither completed nor aborted.
    pub async fn uploads(&self) -> Vec<String> {
        let listed = self.send("GET", "", "uploads=", b"").await;
        assert!(listed.status.is_success(), "{:?} lists uploads: {}", self.kind, listed.text());
        listed.elements("UploadId")
    }

    /// Waits until no multipart upload is left; panics after ten seconds.
    pub async fn until_no_uploads(&self) {
        for _ in 0..200 {
            if self.uploads().await.is_empty() {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("{:?} still has uploads: {:?}", self.kind, self.uploads().await);
    }

    /// Where it listens.
    pub fn address(&self) -> std::net::SocketAddr {
        self.endpoint.strip_prefix("http://").unwrap().parse().unwrap()
    }

    /// Sends a signed request directly.
    pub async fn send(&self, method: &str, key: &str, query: &str, body: &[u8]) -> Response {
        self.send_with(method, key, query, &[], body).await
    }

    /// As [`Store::send`], with further headers, which are signed too.
    pub async fn send_with(
        &self,
        method: &str,
        key: &str,
        query: &str,
        more: &[(&str, &str)],
        body: &[u8],
    ) -> Response {
        let path = format!(
            "/{}{}{}",
            self.bucket,
            if key.is_empty() { "" } else { "/" },
            countersign::base::encoding::encode_path(key)
        );
        let target = if query.is_empty() { path } else { format!("{path}?{query}") };
        let uri = format!("{}{target}", self.endpoint);
        let identity = Credentials::new(&self.access_key, &self.secret_key, None, None, "test").into();
        let mut settings = SigningSettings::default();
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        #[expect(clippy::disallowed_methods, reason = "the store checks it against its own clock")]
        let time = SystemTime::now();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region("us-east-1")
            .name("s3")
            .time(time)
            .settings(settings)
            .build()
            .unwrap()
            .into();
        let request = SignableRequest::new(method, &uri, more.iter().copied(), SignableBody::Bytes(body)).unwrap();
        let (instructions, _) = sign(request, &params).unwrap().into_parts();
        let headers: Vec<(&str, &str)> = instructions.headers().chain(more.iter().copied()).collect();
        let client = Client { address: self.address(), token: String::new() };
        client.send_plain(method, &target, &headers, body.to_vec()).await
    }
}

/// Folder with what `tests/tools/install.sh` installed.
pub fn tools() -> PathBuf {
    std::env::var_os("COUNTERSIGN_TOOLS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools"), PathBuf::from)
}

/// Whether a part of the tests may be left out: only where nobody relies on the result.
pub fn missing(what: &str) {
    assert!(std::env::var_os("CI").is_none(), "{what} is missing; `make tools` installs it");
    eprintln!("NOT TESTED: {what} is missing; `make tools` installs it");
}

fn process(script: &'static str) -> Option<Running> {
    static SEAWEEDFS: OnceLock<Option<(Running, Child)>> = OnceLock::new();
    static RGW: OnceLock<Option<(Running, Child)>> = OnceLock::new();
    let (slot, present) = match script {
        "seaweedfs.sh" => (&SEAWEEDFS, tools().join("venv").exists()),
        _ => (&RGW, Path::new("/usr/bin/radosgw").exists()),
    };
    slot.get_or_init(|| {
        if !present {
            missing(script);
            return None;
        }
        let (ready, child) = start_server(
            Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers").join(script)),
            script,
        );
        let text = |name: &str| ready[name].as_str().unwrap().to_owned();
        Some((
            Running { endpoint: text("endpoint"), access_key: text("access_key"), secret_key: text("secret_key") },
            child,
        ))
    })
    .as_ref()
    .map(|(running, _)| running.clone())
}

/// Starts a server script in a folder of its own and waits for its `ready {…}` line. It ends when the test process ends, because its
/// standard input does.
pub fn start_server(mut command: Command, name: &str) -> (serde_json::Value, Child) {
    let folder =
        std::env::temp_dir().join(format!("countersign-test-{}-{}", std::process::id(), name.replace('.', "-")));
    std::fs::create_dir_all(&folder).unwrap();
    let mut child =
        command.arg(&folder).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the server script starts");
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let ready = lines
        .find_map(|line| line.ok()?.strip_prefix("ready ").map(str::to_owned))
        .unwrap_or_else(|| panic!("{name} did not get ready"));
    (serde_json::from_str(&ready).unwrap(), child)
}

/// s3s-fs on a thread of its own, since each test has its own runtime.
fn in_process() -> Running {
    static STORE: OnceLock<Running> = OnceLock::new();
    STORE
        .get_or_init(|| {
            let (send, receive) = std::sync::mpsc::channel();
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let folder = tempfile::tempdir().unwrap();
                    let files = s3s_fs::FileSystem::new(folder.path()).unwrap();
                    let mut builder = s3s::service::S3ServiceBuilder::new(files);
                    builder.set_auth(s3s::auth::SimpleAuth::from_single("S3SFSACCESS", "s3sfs-secret-access-key"));
                    let service = builder.build();
                    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                    send.send(listener.local_addr().unwrap()).unwrap();
                    while let Ok((stream, _)) = listener.accept().await {
                        let service = service.clone();
                        tokio::spawn(
                            hyper::server::conn::http1::Builder::new()
                                .serve_connection(hyper_util::rt::TokioIo::new(stream), service),
                        );
                    }
                });
            });
            let endpoint = format!("http://{}", receive.recv().unwrap());
            Running { endpoint, access_key: "S3SFSACCESS".into(), secret_key: "s3sfs-secret-access-key".into() }
        })
        .clone()
}

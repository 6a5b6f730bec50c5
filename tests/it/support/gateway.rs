//! A gateway in the test's own process, from a real configuration text, on free ports.

use std::net::SocketAddr;
use std::sync::Arc;

use countersign::app::App;
use countersign::audit::Record;
use countersign::audit::sink::InMemory;
use countersign::auth::app_token;
use countersign::config::{MapReferences, load_text};
use countersign::telemetry::Metrics;
use tokio::sync::oneshot;

use super::{Client, SignedClient};

/// Two tenants: token and access key `a` may do everything below `bkt/a/`, `b` below `bkt/b/`, neither anything else.
pub const TWO_TENANTS: &str = "
  - { name: tenant-a, who: { tokens: [a], keys: [a] }, where: bkt/a/, what: [read, write, delete] }
  - { name: tenant-b, who: { tokens: [b], keys: [b] }, where: bkt/b/, what: [read, write, delete] }";

/// Access key ids of the two tenants.
pub const KEY_A: &str = "CSAKTENANTA000000000";
const KEY_B: &str = "CSAKTENANTB000000000";

/// Their secrets, under the names that the configuration of a [`Setup`] has for them.
pub const KEY_SECRETS: [(&str, &str); 2] =
    [("KEY_A", "b1d0-secret-of-access-key-a"), ("KEY_B", "7f3e-secret-of-access-key-b")];

/// What a gateway is to be started with. The fields are YAML, put into a whole configuration.
#[derive(Clone)]
pub struct Setup {
    /// Endpoint of the store.
    pub endpoint: String,
    /// Its credentials.
    pub access_key: String,
    pub secret_key: String,
    /// Bucket there that the public bucket `bkt` stands for.
    pub bucket: String,
    /// Credentials of the upstream, as a YAML mapping.
    pub credentials: String,
    /// Files that the configuration is told to exist.
    pub files: Vec<std::path::PathBuf>,
    /// Further settings of the upstream, one per line.
    pub upstream: Vec<String>,
    /// Further settings of the bucket, as `, key: value`.
    pub bucket_settings: String,
    /// Further buckets, one per line.
    pub buckets: Vec<String>,
    /// Further keys of the file, one per line.
    pub top: Vec<String>,
    /// The list of rules.
    pub rules: String,
    /// Access keys besides those of the tenants: name, id and secret.
    pub access_keys: Vec<[String; 3]>,
    /// Issuers, as a YAML list; empty for none.
    pub issuers: String,
    /// Client certificates, as a YAML list; empty for none.
    pub certificates: String,
    /// What signed requests must keep to, as a YAML flow mapping.
    pub signing: String,
    /// The section `limits`.
    pub limits: String,
    /// The key `admin` of the file.
    pub admin: String,
    /// TLS of the data listener, as a YAML mapping.
    pub tls: Option<String>,
    /// Further settings of the data listener, as `, key: value`.
    pub listener: String,
    /// Further listeners, as YAML mappings.
    pub listeners: Vec<String>,
}

impl Setup {
    /// Two tenants before a store.
    pub fn new(endpoint: &str, access_key: &str, secret_key: &str, bucket: &str) -> Self {
        Self {
            endpoint: endpoint.to_owned(),
            access_key: access_key.to_owned(),
            secret_key: secret_key.to_owned(),
            bucket: bucket.to_owned(),
            credentials: "{ access_key_id: env:ACCESS, secret_access_key: env:SECRET }".to_owned(),
            files: Vec::new(),
            upstream: Vec::new(),
            bucket_settings: String::new(),
            buckets: Vec::new(),
            top: Vec::new(),
            rules: TWO_TENANTS.to_owned(),
            access_keys: Vec::new(),
            issuers: String::new(),
            certificates: String::new(),
            signing: "{}".to_owned(),
            limits: String::new(),
            admin: "admin: { address: 127.0.0.1:0 }".to_owned(),
            tls: None,
            listener: String::new(),
            listeners: Vec::new(),
        }
    }

    /// Two tenants before a recorder.
    pub fn before(recorder: &super::Recorder) -> Self {
        Self::new(&recorder.endpoint(), "RECORDER-ACCESS-KEY", "recorder-secret-access-key", "up-bkt")
    }

    /// With other rules.
    pub fn rules(mut self, rules: &str) -> Self {
        self.rules = rules.to_owned();
        self
    }

    /// With a further setting of the upstream.
    pub fn upstream(mut self, setting: &str) -> Self {
        self.upstream.push(setting.to_owned());
        self
    }

    /// With every other bucket of the store under its own name.
    pub fn whole_store(mut self) -> Self {
        self.buckets.push("\"*\": { upstream: store }".to_owned());
        self
    }

    /// With a further key of the file.
    pub fn top(mut self, line: &str) -> Self {
        self.top.push(line.to_owned());
        self
    }

    /// With the section `limits`, as a YAML flow mapping.
    pub fn limits(mut self, limits: &str) -> Self {
        self.limits = format!("limits: {limits}");
        self
    }

    /// With a key for clients that sign.
    pub fn access_key(mut self, name: &str, id: &str, secret: &str) -> Self {
        self.access_keys.push([name, id, secret].map(str::to_owned));
        self
    }

    /// With issuers, as a YAML list.
    pub fn issuers(mut self, issuers: &str) -> Self {
        self.issuers = issuers.to_owned();
        self
    }

    /// With other settings for signed requests, as a YAML flow mapping.
    pub fn signing(mut self, signing: &str) -> Self {
        self.signing = signing.to_owned();
        self
    }

    /// With further settings of the listener, as `key: value`.
    pub fn listener(mut self, settings: &str) -> Self {
        self.listener = format!(", {settings}");
        self
    }

    /// With a further listener, as a YAML mapping.
    pub fn listen(mut self, listener: &str) -> Self {
        self.listeners.push(listener.to_owned());
        self
    }

    /// The configuration as a file would hold it.
    pub fn text(&self) -> String {
        let tls = self.tls.as_ref().map(|tls| format!(", tls: {tls}")).unwrap_or_default();
        let more = &self.listener;
        let listeners: String = self.listeners.iter().map(|listener| format!(", {listener}")).collect();
        let upstream: String = self.upstream.iter().map(|setting| format!("    {setting}\n")).collect();
        let keys = self.access_keys.iter().enumerate();
        let keys = keys.map(|(n, [name, id, _])| format!("    - {{ name: {name}, id: {id}, secret: env:KEY_{n} }}\n"));
        let keys: String = keys.collect();
        let issuers = if self.issuers.is_empty() { String::new() } else { format!("  issuers:{}\n", self.issuers) };
        let issuers = match self.certificates.as_str() {
            "" => issuers,
            certificates => format!("{issuers}  certificates:{certificates}\n"),
        };
        let buckets: String = self.buckets.iter().map(|bucket| format!("  {bucket}\n")).collect();
        let admin = &self.admin;
        let top: String = self.top.iter().map(|line| format!("{line}\n")).collect();
        format!(
            "{top}listen: [{{ address: 127.0.0.1:0{tls}{more} }}{listeners}]\n{admin}\nupstreams:\n  store:\n    endpoint: {}\n    region: us-east-1\n    credentials: {}\n{upstream}buckets:\n  bkt: {{ upstream: store, bucket: {}{} }}\n{buckets}clients:\n  tokens:\n    - {{ name: a, hash: env:HASH_A }}\n    - {{ name: b, hash: env:HASH_B }}\n  access_keys:\n    - {{ name: a, id: {KEY_A}, secret: env:KEY_A }}\n    - {{ name: b, id: {KEY_B}, secret: env:KEY_B }}\n{keys}  signing: {}\n{issuers}rules:{}\n{}\n",
            self.endpoint, self.credentials, self.bucket, self.bucket_settings, self.signing, self.rules, self.limits
        )
    }

    /// Starts the gateway.
    pub async fn start(self) -> Gateway {
        let (token_a, hash_a) = app_token::generate();
        let (token_b, hash_b) = app_token::generate();
        let env = [
            ("ACCESS", self.access_key.clone()),
            ("SECRET", self.secret_key.clone()),
            ("HASH_A", hash_a),
            ("HASH_B", hash_b),
        ];
        let keys = self.access_keys.iter().enumerate().map(|(n, [_, _, secret])| (format!("KEY_{n}"), secret.clone()));
        let references = MapReferences {
            env: env
                .into_iter()
                .chain(KEY_SECRETS.map(|(name, secret)| (name, secret.to_owned())))
                .map(|(name, value)| (name.to_owned(), value))
                .chain(keys)
                .collect(),
            files: self.files.iter().map(|path| (path.clone(), content_of(path))).collect(),
        };
        let text = self.text();
        let config = load_text("test.yaml", &text, &references).unwrap_or_else(|problems| panic!("{problems}\n{text}"));
        let (audit, metrics) = (Arc::new(InMemory::default()), Metrics::new().unwrap());
        let app = App::with_sink(config, metrics, Arc::clone(&audit) as _).expect("the gateway starts");
        let addresses = app.addresses().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(app.run(async { drop(stopped.await) }));
        let client = |token: &str| Client { address: addresses.data[0], token: token.to_owned() };
        Gateway {
            address: addresses.data[0],
            addresses: addresses.data.clone(),
            admin: addresses.admin,
            a: client(token_a.expose()),
            b: client(token_b.expose()),
            key_a: SignedClient::new(addresses.data[0], KEY_A, KEY_SECRETS[0].1),
            key_b: SignedClient::new(addresses.data[0], KEY_B, KEY_SECRETS[1].1),
            audit,
            stop: Some(stop),
            serving,
        }
    }
}

/// A running gateway; it ends when this is dropped.
pub struct Gateway {
    pub address: SocketAddr,
    /// All data listeners on IP addresses.
    pub addresses: Vec<SocketAddr>,
    pub admin: SocketAddr,
    /// Client with the token of tenant `a`.
    pub a: Client,
    /// Client with the token of tenant `b`.
    pub b: Client,
    /// Client with the access key of tenant `a`.
    pub key_a: SignedClient,
    /// Client with the access key of tenant `b`.
    pub key_b: SignedClient,
    audit: Arc<InMemory>,
    stop: Option<oneshot::Sender<()>>,
    serving: tokio::task::JoinHandle<()>,
}

impl Gateway {
    /// A client with another token.
    pub fn client(&self, token: &str) -> Client {
        Client { address: self.address, token: token.to_owned() }
    }

    /// Audit records so far.
    pub fn records(&self) -> Vec<Record> {
        self.audit.records()
    }

    /// Waits until there are so many audit records, and gives the last one.
    pub async fn record(&self, count: usize) -> Record {
        super::eventually("an audit record", || self.audit.records().len() >= count).await;
        self.audit.records()[count - 1].clone()
    }

    /// Asks the admin listener.
    pub async fn ask_admin(&self, path: &str) -> super::Response {
        Client { address: self.admin, token: String::new() }.send_plain("GET", path, &[], "").await
    }

    /// Stops gracefully, as SIGTERM does.
    pub async fn stop(mut self) {
        self.stop.take();
        (&mut self.serving).await.unwrap();
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// What a configuration finds in a file: for one that is not there a word, so that tests can name files of credentials.
fn content_of(path: &std::path::Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|_| "in-the-file".to_owned())
}

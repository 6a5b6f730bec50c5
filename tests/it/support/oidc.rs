//! Identity providers: a real one (npm oidc-provider) as a process, and an issuer whose key the test holds, for tokens that no
//! provider would sign.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::store::{missing, start_server, tools};
use super::{Answer, Client, Gateway, Recorder};

/// What the provider's access tokens are for.
pub const AUDIENCE: &str = "urn:s3-gateway";

/// A running provider. Its clients `uploader` and `reader` have the claims `sub` (their name), `tenant` (`tenant-` and their name) and
/// `groups` (`app` and their name).
#[derive(Clone)]
pub struct Oidc {
    /// Its `iss`.
    pub issuer: String,
    address: SocketAddr,
}

static PROVIDERS: AtomicUsize = AtomicUsize::new(0);

impl Oidc {
    /// The provider of the whole run, for tests that change nothing in it. `None` if its programs are missing, which is an error in CI.
    pub async fn shared() -> Option<Self> {
        static SHARED: OnceLock<Option<(Oidc, Child)>> = OnceLock::new();
        let get = || SHARED.get_or_init(start).as_ref().map(|(provider, _)| provider.clone());
        tokio::task::spawn_blocking(get).await.unwrap()
    }

    /// A provider of this test alone. It ends with the returned process handle.
    pub async fn own() -> Option<(Self, Child)> {
        tokio::task::spawn_blocking(start).await.unwrap()
    }

    /// An issuer entry of the configuration, with the attributes `tenant` and `groups`; `more` are further keys, each with a comma
    /// before it.
    pub fn entry(&self, name: &str, algorithms: &str, more: &str) -> String {
        format!(
            "\n    - {{ name: {name}, issuer: \"{}\", audience: \"{AUDIENCE}\", algorithms: [{algorithms}], attributes: {{ tenant: tenant, groups: groups }}{more} }}",
            self.issuer
        )
    }

    /// An access token by client_credentials, as a program gets it.
    pub async fn access_token(&self, client: &str) -> String {
        let credential = STANDARD.encode(format!("{client}:{client}-secret"));
        let headers = [
            ("authorization", format!("Basic {credential}")),
            ("content-type", "application/x-www-form-urlencoded".to_owned()),
        ];
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = self.client().send_plain("POST", "/token", &headers, "grant_type=client_credentials").await;
        text(&json_of(&answer), "access_token")
    }

    /// A token with these claims over the usual ones (`null` removes one), signed by the provider's key for `alg=` in `query`.
    /// See `tests/servers/oidc.mjs`.
    pub async fn mint(&self, query: &str, claims: Value) -> String {
        text(&self.control(&format!("mint?{query}"), &claims.to_string()).await, "access_token")
    }

    /// A token with a changed head: `header` is merged into it (`null` removes).
    pub async fn mint_with_header(&self, query: &str, header: Value) -> String {
        let header = countersign::base::encoding::encode_query(&header.to_string());
        self.mint(&format!("{query}&header={header}"), json!({})).await
    }

    /// One of the switches of `tests/servers/oidc.mjs`.
    pub async fn switch(&self, what: &str) -> Value {
        self.control(what, "").await
    }

    /// How often `discovery` or `jwks` was asked.
    pub async fn asked(&self, what: &str) -> u64 {
        self.switch("stats").await[what].as_u64().unwrap()
    }

    /// The published key set.
    pub async fn key_set(&self) -> Value {
        json_of(&self.client().send_plain("GET", "/jwks", &[], "").await)
    }

    async fn control(&self, what: &str, body: &str) -> Value {
        json_of(&self.client().send_plain("POST", &format!("/test/{what}"), &[], body.to_owned()).await)
    }

    fn client(&self) -> Client {
        Client { address: self.address, token: String::new() }
    }
}

fn json_of(answer: &super::Response) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text());
    serde_json::from_slice(&answer.body).unwrap()
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}")).to_owned()
}

fn start() -> Option<(Oidc, Child)> {
    if !tools().join("node_modules/oidc-provider").exists() {
        missing("oidc-provider");
        return None;
    }
    let mut command = Command::new("node");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers/oidc.mjs")).env("COUNTERSIGN_TOOLS", tools());
    let name = format!("oidc-{}", PROVIDERS.fetch_add(1, Ordering::Relaxed));
    let (ready, process) = start_server(command, &name);
    let issuer = text(&ready, "issuer");
    let address = issuer.strip_prefix("http://").unwrap().parse().unwrap();
    Some((Oidc { issuer, address }, process))
}

/// Waits until `/readyz` says 200, which means that the keys of every required issuer are there.
pub async fn until_ready(gateway: &Gateway) {
    for _ in 0..1000 {
        if gateway.ask_admin("/readyz").await.status == 200 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("not ready within 10 s: {}", gateway.ask_admin("/readyz").await.text());
}

/// An issuer with one ES256 key, which signs whatever it is told to.
pub struct OwnIssuer {
    key: EcdsaKeyPair,
    keys: Recorder,
}

impl OwnIssuer {
    /// Its `iss`.
    pub const NAME: &str = "https://own.example";

    /// Publishes a new key.
    pub async fn start() -> Self {
        let key = new_key();
        let document = json!({ "keys": [public_key(&key, "own-1")] }).to_string();
        let keys = Recorder::start(Answer::status(200, "content-type: application/json\r\n", &document)).await;
        Self { key, keys }
    }

    /// Its entry in the configuration.
    pub fn entry(&self) -> String {
        format!(
            "\n    - {{ name: own, issuer: \"{}\", audience: \"{AUDIENCE}\", algorithms: [ES256], keys: {{ url: \"{}/jwks\" }} }}",
            Self::NAME,
            self.keys.endpoint()
        )
    }

    /// Claims that are accepted.
    pub fn claims() -> Value {
        json!({ "iss": Self::NAME, "aud": AUDIENCE, "sub": "somebody", "exp": 4_000_000_000_u64 })
    }

    /// A token with the usual head and this claim set, byte for byte.
    pub fn token(&self, claims: impl AsRef<[u8]>) -> String {
        self.token_of(r#"{"alg":"ES256","typ":"at+jwt","kid":"own-1"}"#, claims)
    }

    /// A token of this head and this claim set, byte for byte.
    pub fn token_of(&self, head: &str, claims: impl AsRef<[u8]>) -> String {
        self.sign(&format!("{}.{}", encode(head), encode(claims)))
    }

    /// What stands before the last dot, with its signature.
    pub fn sign(&self, input: &str) -> String {
        sign(&self.key, input)
    }
}

/// A P-256 key that nobody published.
pub fn new_key() -> EcdsaKeyPair {
    EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()
}

/// The JWK of a key.
pub fn public_key(key: &EcdsaKeyPair, kid: &str) -> Value {
    let point = key.public_key().as_ref();
    json!({ "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": kid, "x": encode(&point[1..33]), "y": encode(&point[33..]) })
}

/// The signing input with its ES256 signature.
pub fn sign(key: &EcdsaKeyPair, input: &str) -> String {
    let signature = key.sign(&SystemRandom::new(), input.as_bytes()).unwrap();
    format!("{input}.{}", encode(signature))
}

/// base64url without padding.
pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

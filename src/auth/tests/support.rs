//! Keys, tokens and settings for tests. Tokens are signed with `aws-lc-rs` directly, so that a test can write any header and
//! payload and does not share an encoder with the code under test.

use std::net::IpAddr;
use std::sync::LazyLock;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    self, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
    RsaEncoding,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde_json::{Map, Value, json};
use tempfile::NamedTempFile;

use crate::auth::jwt::Issuers;
use crate::auth::{AuthError, CacheTimes, Caller, IssuerSettings, KeySource};
use crate::base::{Clock, UtcInstant};

/// The time of the test clock, in seconds since 1970: 2026-11-22T12:00:00Z.
pub(super) const NOW: i64 = 1_795_348_800;

pub(super) const ISSUER: &str = "https://idp.example";

pub(super) const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));

pub(super) static RSA: LazyLock<TestKey> = LazyLock::new(TestKey::rsa);
pub(super) static P256: LazyLock<TestKey> = LazyLock::new(TestKey::p256);
pub(super) static P384: LazyLock<TestKey> =
    LazyLock::new(|| TestKey::Ec(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap()));
pub(super) static ED: LazyLock<TestKey> = LazyLock::new(|| TestKey::Ed(Ed25519KeyPair::generate().unwrap()));

pub(super) enum TestKey {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

pub(super) fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl TestKey {
    pub(super) fn rsa() -> Self {
        Self::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())
    }

    pub(super) fn p256() -> Self {
        Self::Ec(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    /// The public key as JWK, without `alg` and `use`.
    pub(super) fn jwk(&self, kid: &str) -> Value {
        match self {
            Self::Rsa(pair) => {
                let key = pair.public_key();
                let (n, e) = (key.modulus(), key.exponent());
                let number = |bytes: &[u8]| base64url(bytes);
                json!({"kty": "RSA", "kid": kid, "n": number(n.big_endian_without_leading_zero()), "e": number(e.big_endian_without_leading_zero())})
            }
            Self::Ec(pair) => {
                let point = pair.public_key().as_ref();
                let (x, y) = point[1..].split_at(point.len() / 2);
                let curve = if x.len() == 32 { "P-256" } else { "P-384" };
                json!({"kty": "EC", "kid": kid, "crv": curve, "x": base64url(x), "y": base64url(y)})
            }
            Self::Ed(pair) => json!({"kty": "OKP", "kid": kid, "crv": "Ed25519", "x": base64url(pair.public_key())}),
        }
    }

    /// The signature of `message`. An algorithm that is not this key's is signed with the next best one that is.
    pub(super) fn sign(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(pair) => {
                let encoding: &'static dyn RsaEncoding = match algorithm {
                    "RS384" => &signature::RSA_PKCS1_SHA384,
                    "RS512" => &signature::RSA_PKCS1_SHA512,
                    "PS256" => &signature::RSA_PSS_SHA256,
                    "PS384" => &signature::RSA_PSS_SHA384,
                    "PS512" => &signature::RSA_PSS_SHA512,
                    _ => &signature::RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(encoding, &random, message, &mut signature).unwrap();
                signature
            }
            Self::Ec(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Self::Ed(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }
}

/// A token to be: an ordinary one, until a test changes it.
#[derive(Clone)]
pub(super) struct Token {
    header: Map<String, Value>,
    claims: Map<String, Value>,
}

impl Token {
    /// An RS256 token of the key `k1` for `alice`, valid for five minutes around now.
    pub(super) fn new() -> Self {
        let object = |value: Value| value.as_object().unwrap().clone();
        Self {
            header: object(json!({"alg": "RS256", "kid": "k1", "typ": "JWT"})),
            claims: object(json!({"iss": ISSUER, "aud": "s3", "sub": "alice", "exp": NOW + 300, "iat": NOW - 10})),
        }
    }

    pub(super) fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header.insert(name.to_owned(), value.into());
        self
    }

    pub(super) fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(name.to_owned(), value.into());
        self
    }

    pub(super) fn without_header(mut self, name: &str) -> Self {
        self.header.remove(name);
        self
    }

    pub(super) fn without_claim(mut self, name: &str) -> Self {
        self.claims.remove(name);
        self
    }

    pub(super) fn header_text(&self) -> String {
        Value::from(self.header.clone()).to_string()
    }

    pub(super) fn claims_text(&self) -> String {
        Value::from(self.claims.clone()).to_string()
    }

    pub(super) fn sign(&self, key: &TestKey) -> String {
        let algorithm = self.header.get("alg").and_then(Value::as_str).unwrap_or_default();
        sign_text(key, algorithm, &self.header_text(), &self.claims_text())
    }
}

/// A token of any header and payload text.
pub(super) fn sign_text(key: &TestKey, algorithm: &str, header: &str, payload: &str) -> String {
    sign_encoded(key, algorithm, &base64url(header), &base64url(payload))
}

/// A token of header and payload as they stand.
pub(super) fn sign_encoded(key: &TestKey, algorithm: &str, header: &str, payload: &str) -> String {
    let signed = format!("{header}.{payload}");
    let signature = base64url(key.sign(algorithm, signed.as_bytes()));
    format!("{signed}.{signature}")
}

/// Settings of an issuer named `corp` that allow every asymmetric algorithm; keys come from nowhere yet.
pub(super) fn settings() -> IssuerSettings {
    use Algorithm::{ES256, ES384, EdDSA, PS256, RS256, RS384, RS512};
    IssuerSettings {
        name: "corp".to_owned(),
        issuer: ISSUER.to_owned(),
        audiences: vec!["s3".to_owned()],
        algorithms: vec![RS256, RS384, RS512, PS256, ES256, ES384, EdDSA],
        keys: KeySource::Discovery,
        jwks_hosts: Vec::new(),
        jwks_token: None,
        ca_file: None,
        required: true,
        token_types: Vec::new(),
        required_claims: Default::default(),
        principal_claim: "sub".to_owned(),
        attributes: Default::default(),
        leeway: Duration::ZERO,
    }
}

pub(super) fn jwks(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

/// The settings with a key file of this content. The file may be deleted once the issuers were made.
pub(super) fn with_keys(settings: IssuerSettings, keys: &[Value]) -> (IssuerSettings, NamedTempFile) {
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), jwks(keys)).unwrap();
    (IssuerSettings { keys: KeySource::File(file.path().to_owned()), ..settings }, file)
}

/// One issuer with these settings and keys.
pub(super) fn issuer(settings: IssuerSettings, keys: &[Value]) -> Issuers {
    let (settings, _file) = with_keys(settings, keys);
    Issuers::new(vec![settings], CacheTimes::default()).unwrap()
}

/// The usual issuer with the usual key `k1`.
pub(super) fn usual() -> Issuers {
    issuer(settings(), &[RSA.jwk("k1")])
}

pub(super) fn authenticate(issuers: &Issuers, token: &str) -> Result<Caller, AuthError> {
    issuers.authenticate(token, ADDRESS, UtcInstant::from_second(NOW).unwrap())
}

/// The principal of an accepted token, or the refusal.
pub(super) fn principal(issuers: &Issuers, token: &str) -> Result<String, AuthError> {
    authenticate(issuers, token).map(|caller| caller.principal().to_string())
}

/// What [`principal`] gives for an accepted token of [`Token::new`].
pub(super) fn alice() -> Result<String, AuthError> {
    Ok("corp:alice".to_owned())
}

/// A clock that stands still.
pub(super) struct TestClock;

impl Clock for TestClock {
    fn now(&self) -> UtcInstant {
        UtcInstant::from_second(NOW).unwrap()
    }
}

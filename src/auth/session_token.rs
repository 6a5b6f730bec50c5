//! Sealed session tokens: short-lived access keys that no process has to remember.
//!
//! A token is `csn1.KEY.SALT.SEALED`: the id of a ring key, 16 random bytes, and the claims of the session sealed with AES-256-GCM. The
//! sealing key is made for each token alone, out of the ring key and the salt: random nonces under one key are good for 2^32 tokens, and a
//! ring key that nobody rotates would see more; with a key for each token there is nothing to count. The secret access key is made out of the
//! same two and stands nowhere; the access key id is the beginning of the salt, so that it goes with one token only.
//!
//! Says nothing of whether the issuer is still there: see `sessions`. Source: AWS STS API reference, `Credentials`.

use aws_lc_rs::{hmac, rand};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::auth::Attributes;
use crate::auth::access_keys::BASE32;
use crate::base::{Sealer, Secret};

/// What every session token begins with. A JWT has exactly two dots, so none is taken for the other.
pub const PREFIX: &str = "csn1.";

/// Longest session token. Servers and proxies take 8 KiB of a request head as a rule, and a presigned URL has the token in it.
pub const MAX_TOKEN_BYTES: usize = 4096;

/// What an access key id of a session begins with; 16 characters follow, as AWS has it.
const KEY_ID_PREFIX: &str = "CSIA";
const SALT_BYTES: usize = 16;
/// AWS's have 40 characters, of which programs may have made a rule.
const SECRET_CHARACTERS: usize = 40;

/// What a session is: the principal of a JWT, with its attributes, until an instant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionClaims {
    /// The principal, as in audit records.
    pub principal: String,
    /// Digest of the settings of the issuer when the session began.
    pub settings: String,
    /// Algorithm of the JWT's signature.
    pub algorithm: String,
    /// Key of the issuer that signed it.
    pub kid: Option<String>,
    /// Thumbprint of that key.
    pub thumbprint: String,
    /// Attributes for rules.
    pub attributes: Attributes,
    /// Seconds since 1970.
    pub issued: i64,
    /// Seconds since 1970; the session is over from then on.
    pub expires: i64,
}

/// The three texts that a client gets.
#[derive(Debug, Clone)]
pub struct SealedSession {
    /// `CSIA` and 16 characters of `A-Z2-7`.
    pub access_key_id: String,
    /// 40 characters.
    pub secret_access_key: Secret,
    /// The sealed token.
    pub session_token: Secret,
}

/// Why there is no session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SessionFault {
    /// Sessions are not configured.
    #[error("sessions are not configured")]
    Disabled,
    /// Changed, of another gateway, under a key that is no longer in the ring, or with another access key id.
    #[error("not a session token of this gateway and access key")]
    NotOurs,
    /// The claims of the JWT make a token longer than it may be.
    #[error("the claims make a session token of more than {MAX_TOKEN_BYTES} bytes")]
    TooLarge,
    /// The issuer is not configured any more, or not as it was.
    #[error("the issuer of the session is no longer configured as it was")]
    IssuerChanged,
    /// The random source failed.
    #[error("no random bytes")]
    NoRandom,
}

/// The keys that seal and open session tokens; the first seals.
#[derive(Debug)]
pub struct KeyRing(Vec<RingKey>);

/// One key of the ring.
#[derive(Debug, Clone)]
pub struct RingKey {
    /// Its name, which stands in tokens.
    pub id: String,
    /// At least 32 characters, random.
    pub secret: Secret,
}

/// Whether a text is meant to be a session token.
pub fn looks_like_session_token(text: &str) -> bool {
    text.starts_with(PREFIX)
}

impl KeyRing {
    /// A ring of these keys; with none, one that is made now and dies with the process.
    ///
    /// # Panics
    /// If the operating system gives no random bytes.
    pub fn new(mut keys: Vec<RingKey>) -> Self {
        if keys.is_empty() {
            let mut random = zeroize::Zeroizing::new([0_u8; 32]);
            rand::fill(random.as_mut()).expect("the system's random source cannot be missing");
            keys.push(RingKey {
                id: "process".to_owned(),
                secret: Secret::new(URL_SAFE_NO_PAD.encode(random.as_ref())),
            });
        }
        Self(keys)
    }

    /// Makes the keys of a session.
    ///
    /// # Errors
    /// [`SessionFault::TooLarge`] or [`SessionFault::NoRandom`].
    pub fn seal(&self, claims: &SessionClaims) -> Result<SealedSession, SessionFault> {
        let mut salt = [0; SALT_BYTES];
        rand::fill(&mut salt).map_err(|_| SessionFault::NoRandom)?;
        let key = self.0.first().ok_or(SessionFault::Disabled)?;
        let access_key_id = access_key_id(&salt);
        let text = serde_json::to_string(claims).map_err(|_| SessionFault::TooLarge)?;
        let salt = URL_SAFE_NO_PAD.encode(salt);
        let sealed = key.sealer(&salt).seal(&access_key_id, &text).ok_or(SessionFault::NoRandom)?;
        let token = format!("{PREFIX}{}.{salt}.{sealed}", key.id);
        if token.len() > MAX_TOKEN_BYTES {
            return Err(SessionFault::TooLarge);
        }
        Ok(SealedSession {
            access_key_id,
            secret_access_key: key.secret_access_key(&salt),
            session_token: Secret::new(token),
        })
    }

    /// The claims of a session token and the secret that goes with it. Whether its time is over is for the caller to see.
    ///
    /// # Errors
    /// [`SessionFault::NotOurs`], whatever is wrong.
    pub fn open(&self, token: &str, access_key_id: &str) -> Result<(SessionClaims, Secret), SessionFault> {
        let parts = Some(token).filter(|token| token.len() <= MAX_TOKEN_BYTES).and_then(take_apart);
        let (id, salt, sealed) = parts.ok_or(SessionFault::NotOurs)?;
        let key = self.0.iter().find(|key| key.id == id).ok_or(SessionFault::NotOurs)?;
        let mut bytes = [0; SALT_BYTES];
        let read = URL_SAFE_NO_PAD.decode_slice(salt, &mut bytes);
        if read != Ok(SALT_BYTES) || self::access_key_id(&bytes) != access_key_id {
            return Err(SessionFault::NotOurs);
        }
        let text = key.sealer(salt).open(access_key_id, sealed).ok_or(SessionFault::NotOurs)?;
        let claims = serde_json::from_str(&text).map_err(|_| SessionFault::NotOurs)?;
        Ok((claims, key.secret_access_key(salt)))
    }
}

/// Key id, salt and sealed claims. A key id may have dots in it, the others have none.
fn take_apart(token: &str) -> Option<(&str, &str, &str)> {
    let (rest, sealed) = token.strip_prefix(PREFIX)?.rsplit_once('.')?;
    let (id, salt) = rest.rsplit_once('.')?;
    Some((id, salt, sealed))
}

impl RingKey {
    /// The sealing key of one token.
    fn sealer(&self, salt: &str) -> Sealer {
        Sealer::derive(&self.secret, &format!("countersign session token 1 {salt}"))
    }

    fn secret_access_key(&self, salt: &str) -> Secret {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.secret.expose().as_bytes());
        let secret = hmac::sign(&key, format!("countersign session secret 1 {salt}").as_bytes());
        let mut text = URL_SAFE_NO_PAD.encode(secret.as_ref());
        text.truncate(SECRET_CHARACTERS);
        Secret::new(text)
    }
}

/// 80 bits of the salt in base32 (RFC 4648) behind the prefix.
fn access_key_id(salt: &[u8; SALT_BYTES]) -> String {
    let bits = salt[..10].iter().fold(0_u128, |bits, byte| bits << 8 | u128::from(*byte));
    let digits = (0..16).map(|position| char::from(BASE32[(bits >> (75 - 5 * position)) as usize & 31]));
    KEY_ID_PREFIX.chars().chain(digits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: &str, secret: &str) -> RingKey {
        RingKey { id: id.to_owned(), secret: Secret::new(secret) }
    }

    fn claims() -> SessionClaims {
        SessionClaims {
            principal: "corp:alice".to_owned(),
            settings: "x".repeat(22),
            thumbprint: "t".repeat(43),
            algorithm: "RS256".to_owned(),
            kid: Some("k1".to_owned()),
            attributes: [("groups".to_owned(), vec!["dev".to_owned(), "ops".to_owned()])].into(),
            issued: 1_795_348_800,
            expires: 1_795_352_400,
        }
    }

    #[test]
    fn a_session_opens_with_its_own_access_key_id_and_gives_its_secret() {
        let ring = KeyRing::new(vec![key("2026.11", "a secret of the ring")]);
        let made = ring.seal(&claims()).unwrap();
        let (opened, secret) = ring.open(made.session_token.expose(), &made.access_key_id).unwrap();
        assert_eq!((opened, secret.expose()), (claims(), made.secret_access_key.expose()));
        assert!(made.access_key_id.len() == 20 && made.access_key_id.starts_with("CSIA"), "{}", made.access_key_id);
        assert!(made.access_key_id.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()));
        assert_eq!(secret.expose().len(), SECRET_CHARACTERS);
        assert!(made.session_token.expose().len() < 1024, "{}", made.session_token.expose().len());
        assert!(!made.session_token.expose().contains(secret.expose()));
        let other = ring.seal(&claims()).unwrap();
        assert_ne!(other.access_key_id, made.access_key_id);
        assert_ne!(other.secret_access_key.expose(), made.secret_access_key.expose());
        assert_eq!(ring.open(made.session_token.expose(), &other.access_key_id).map(drop), Err(SessionFault::NotOurs));
    }

    #[test]
    fn a_changed_token_opens_nowhere() {
        let ring = KeyRing::new(vec![key("k", "a secret of the ring")]);
        let made = ring.seal(&claims()).unwrap();
        let token = made.session_token.expose();
        for at in 0..token.len() {
            let mut changed = token.as_bytes().to_vec();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(ring.open(&changed, &made.access_key_id).map(drop), Err(SessionFault::NotOurs), "{at}");
        }
        for text in ["", "csn1.", "csn1.k", "csn1.k.", "csn1.k..", "csn1...", "a.b.c", &token[..token.len() - 1]] {
            assert_eq!(ring.open(text, &made.access_key_id).map(drop), Err(SessionFault::NotOurs), "{text}");
        }
    }

    #[test]
    fn the_first_key_seals_and_all_open_until_they_are_removed() {
        let (old, new) = (key("old", "the old secret"), key("new", "the new secret"));
        let before = KeyRing::new(vec![old.clone()]).seal(&claims()).unwrap();
        let rotated = KeyRing::new(vec![new.clone(), old]);
        let after = rotated.seal(&claims()).unwrap();
        assert!(after.session_token.expose().starts_with("csn1.new."));
        for session in [&before, &after] {
            assert!(rotated.open(session.session_token.expose(), &session.access_key_id).is_ok());
        }
        let without = KeyRing::new(vec![new]);
        assert!(without.open(after.session_token.expose(), &after.access_key_id).is_ok());
        assert_eq!(
            without.open(before.session_token.expose(), &before.access_key_id).map(drop),
            Err(SessionFault::NotOurs)
        );
        let same_name = KeyRing::new(vec![key("old", "another secret")]);
        assert_eq!(
            same_name.open(before.session_token.expose(), &before.access_key_id).map(drop),
            Err(SessionFault::NotOurs)
        );
    }

    #[test]
    fn without_keys_each_ring_has_one_of_its_own() {
        let (one, other) = (KeyRing::new(Vec::new()), KeyRing::new(Vec::new()));
        let made = one.seal(&claims()).unwrap();
        assert!(one.open(made.session_token.expose(), &made.access_key_id).is_ok());
        assert_eq!(other.open(made.session_token.expose(), &made.access_key_id).map(drop), Err(SessionFault::NotOurs));
    }

    #[test]
    fn claims_that_make_a_token_of_more_than_four_kib_are_refused() {
        let ring = KeyRing::new(Vec::new());
        let with = |bytes: usize| SessionClaims {
            attributes: [("groups".to_owned(), vec!["g".repeat(bytes)])].into(),
            ..claims()
        };
        assert!(ring.seal(&with(2700)).unwrap().session_token.expose().len() <= MAX_TOKEN_BYTES);
        assert_eq!(ring.seal(&with(3000)).map(drop), Err(SessionFault::TooLarge));
    }

    #[test]
    fn an_access_key_id_is_base32_of_the_salt() {
        assert_eq!(access_key_id(&[0; 16]), "CSIAAAAAAAAAAAAAAAAA");
        assert_eq!(access_key_id(&[0xff; 16]), "CSIA7777777777777777");
        // RFC 4648 §10: "foobar".
        let mut salt = [0; 16];
        salt[..6].copy_from_slice(b"foobar");
        assert!(access_key_id(&salt).starts_with("CSIAMZXW6YTBO"));
    }
}

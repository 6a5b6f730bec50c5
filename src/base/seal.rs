//! Small texts that a client carries for us and can neither read nor change: AES-256-GCM under a key derived from a secret.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::base::Secret;

/// Seals and opens texts.
pub struct Sealer {
    key: RandomizedNonceKey,
    former: Vec<RandomizedNonceKey>,
}

impl Sealer {
    /// A sealer for one purpose. Two processes with the same secret open each other's texts.
    pub fn derive(secret: &Secret, purpose: &str) -> Self {
        Self { key: derive_key(secret, purpose), former: Vec::new() }
    }

    /// The same sealer, which opens what other secrets sealed for this purpose too.
    #[must_use]
    pub fn also_opening(self, secrets: &[Secret], purpose: &str) -> Self {
        let former = secrets.iter().map(|secret| derive_key(secret, purpose)).collect();
        Self { former, ..self }
    }

    /// Seals a text; it opens only with the same `context`. `None` if the random source fails.
    pub fn seal(&self, context: &str, text: &str) -> Option<String> {
        let mut sealed = text.as_bytes().to_vec();
        let nonce = self.key.seal_in_place_append_tag(Aad::from(context.as_bytes()), &mut sealed).ok()?;
        sealed.extend_from_slice(nonce.as_ref());
        Some(URL_SAFE_NO_PAD.encode(sealed))
    }

    /// Opens a sealed text; `None` if it is not one, was changed, or belongs to another context.
    pub fn open(&self, context: &str, sealed: &str) -> Option<String> {
        let bytes = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        std::iter::once(&self.key).chain(&self.former).find_map(|key| open_with(key, context, bytes.clone()))
    }
}

fn derive_key(secret: &Secret, purpose: &str) -> RandomizedNonceKey {
    let key = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes()), purpose.as_bytes());
    RandomizedNonceKey::new(&AES_256_GCM, key.as_ref()).expect("HMAC-SHA256 gives the 32 bytes of an AES-256 key")
}

fn open_with(key: &RandomizedNonceKey, context: &str, mut bytes: Vec<u8>) -> Option<String> {
    let nonce_at = bytes.len().checked_sub(NONCE_LEN)?;
    let nonce = Nonce::try_assume_unique_for_key(&bytes.split_off(nonce_at)).ok()?;
    let opened = key.open_in_place(nonce, Aad::from(context.as_bytes()), &mut bytes).ok()?;
    String::from_utf8(opened.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_text_opens_only_unchanged_in_its_context_under_its_secret() {
        let sealer = Sealer::derive(&Secret::new("s"), "test");
        let sealed = sealer.seal("alice", "text").unwrap();
        assert_eq!(sealer.open("alice", &sealed).as_deref(), Some("text"));
        assert_eq!(sealer.open("bob", &sealed), None);
        assert_eq!(Sealer::derive(&Secret::new("t"), "test").open("alice", &sealed), None);
        assert_eq!(Sealer::derive(&Secret::new("s"), "other").open("alice", &sealed), None);
        let mut changed = sealed.clone().into_bytes();
        changed[0] ^= 1;
        assert_eq!(sealer.open("alice", std::str::from_utf8(&changed).unwrap()), None);
        for text in ["", "x", "AAAA", "!!"] {
            assert_eq!(sealer.open("alice", text), None);
        }
    }

    #[test]
    fn former_secrets_open_and_do_not_seal() {
        let (old, new) = (Secret::new("old"), Secret::new("new"));
        let sealed = Sealer::derive(&old, "test").seal("alice", "text").unwrap();
        let both = Sealer::derive(&new, "test").also_opening(std::slice::from_ref(&old), "test");
        assert_eq!(both.open("alice", &sealed).as_deref(), Some("text"));
        assert_eq!(both.open("bob", &sealed), None);
        assert_eq!(Sealer::derive(&old, "test").open("alice", &both.seal("alice", "text").unwrap()), None);
        let other = Sealer::derive(&new, "test").also_opening(std::slice::from_ref(&old), "other");
        assert_eq!(other.open("alice", &sealed), None);
    }
}

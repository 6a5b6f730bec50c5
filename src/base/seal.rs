//! Small texts that a client carries for us and can neither read nor change: AES-256-GCM under a key derived from a secret.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::base::Secret;

/// Seals and opens texts.
pub struct Sealer(RandomizedNonceKey);

impl Sealer {
    /// A sealer for one purpose. Two processes with the same secret open each other's texts.
    pub fn derive(secret: &Secret, purpose: &str) -> Self {
        let key = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes()), purpose.as_bytes());
        Self(
            RandomizedNonceKey::new(&AES_256_GCM, key.as_ref())
                .expect("HMAC-SHA256 gives the 32 bytes of an AES-256 key"),
        )
    }

    /// Seals a text; it opens only with the same `context`. `None` if the random source fails.
    pub fn seal(&self, context: &str, text: &str) -> Option<String> {
        let mut sealed = text.as_bytes().to_vec();
        let nonce = self.0.seal_in_place_append_tag(Aad::from(context.as_bytes()), &mut sealed).ok()?;
        sealed.extend_from_slice(nonce.as_ref());
        Some(URL_SAFE_NO_PAD.encode(sealed))
    }

    /// Opens a sealed text; `None` if it is not one, was changed, or belongs to another context.
    pub fn open(&self, context: &str, sealed: &str) -> Option<String> {
        let mut bytes = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let nonce_at = bytes.len().checked_sub(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(&bytes.split_off(nonce_at)).ok()?;
        let opened = self.0.open_in_place(nonce, Aad::from(context.as_bytes()), &mut bytes).ok()?;
        String::from_utf8(opened.to_vec()).ok()
    }
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
}

//! Signing keys: derived once a day for each credential and region, kept in a small cache.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::hmac;
use aws_sigv4::sign::v4::generate_signing_key;
use lru::LruCache;
use subtle::ConstantTimeEq;

use crate::base::encoding::hex_sha256;
use crate::base::{Secret, UtcInstant, clock};

/// The service name in every scope.
pub const SERVICE: &str = "s3";

/// A request's date in both forms of SigV4.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AmzDate {
    /// `YYYYMMDD'T'HHMMSS'Z'`, the value of `x-amz-date`.
    pub timestamp: String,
    instant: UtcInstant,
}

impl AmzDate {
    /// The date of an instant, cut to whole seconds.
    pub fn new(instant: UtcInstant) -> Self {
        Self { timestamp: clock::iso8601_basic(instant), instant }
    }

    /// Reads `YYYYMMDD'T'HHMMSS'Z'`, and nothing else.
    pub fn parse(text: &str) -> Option<Self> {
        let well_formed = text.len() == 16
            && text.bytes().enumerate().all(|(position, byte)| match position {
                8 => byte == b'T',
                15 => byte == b'Z',
                _ => byte.is_ascii_digit(),
            });
        let date = Self::new(text.parse().ok().filter(|_| well_formed)?);
        // A second 60 is read as 59, and what was signed is the text.
        (date.timestamp == text).then_some(date)
    }

    /// The instant, in whole seconds.
    pub fn instant(&self) -> UtcInstant {
        self.instant
    }

    /// `YYYYMMDD`, as in the scope.
    pub fn day(&self) -> &str {
        &self.timestamp[..8]
    }

    /// The instant, as the `aws-sigv4` crate takes it.
    pub fn system_time(&self) -> std::time::SystemTime {
        self.instant.into()
    }
}

/// A derived key, good for one day, one region and one service.
#[derive(Clone)]
pub struct SigningKey(Arc<Derived>);

struct Derived {
    key: hmac::Key,
    scope: String,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("scope", &self.0.scope).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// Derives the key for the service `s3`: four HMACs.
    pub fn derive(secret_access_key: &Secret, region: &str, date: &AmzDate) -> Self {
        Self::derive_for(SERVICE, secret_access_key, region, date)
    }

    /// Derives the key for a service.
    pub fn derive_for(service: &str, secret_access_key: &Secret, region: &str, date: &AmzDate) -> Self {
        let derived = generate_signing_key(secret_access_key.expose(), date.system_time(), region, service);
        Self(Arc::new(Derived {
            key: hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()),
            scope: format!("{}/{region}/{service}/aws4_request", date.day()),
        }))
    }

    /// `day/region/service/aws4_request`.
    pub fn scope(&self) -> &str {
        &self.0.scope
    }

    /// Whether a text is the signature of a string to sign, in lower-case hex. Takes as long for every text of this length.
    pub fn verifies(&self, string_to_sign: &str, signature: &str) -> bool {
        self.sign(string_to_sign).as_bytes().ct_eq(signature.as_bytes()).into()
    }

    /// The signature of a string to sign, in hex.
    pub fn sign(&self, string_to_sign: &str) -> String {
        let tag = hmac::sign(&self.0.key, string_to_sign.as_bytes());
        hex_sha256(tag.as_ref().try_into().expect("HMAC-SHA256 has 32 bytes"))
    }
}

/// Derived keys by access key id, region and day. Bounded; a secret that changes under the same id is noticed.
pub struct KeyCache(Mutex<LruCache<String, (Secret, SigningKey)>>);

impl std::fmt::Debug for KeyCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyCache")
    }
}

impl KeyCache {
    /// An empty cache for so many keys.
    pub fn new(capacity: NonZeroUsize) -> Self {
        Self(Mutex::new(LruCache::new(capacity)))
    }

    /// How many keys there are, for tests of who gets in.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The key of `s3` for a credential on the day of `date`, derived and kept if it is not known yet.
    pub fn get(&self, access_key_id: &str, secret: &str, region: &str, date: &AmzDate) -> SigningKey {
        self.find(access_key_id, secret, region, date).unwrap_or_else(|| {
            let secret = Secret::new(secret);
            let key = SigningKey::derive(&secret, region, date);
            self.keep(access_key_id, secret, region, date, key.clone());
            key
        })
    }

    /// The key of `s3` for a credential on the day of `date`, if it is known.
    pub fn find(&self, access_key_id: &str, secret: &str, region: &str, date: &AmzDate) -> Option<SigningKey> {
        let place = place(access_key_id, region, date);
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, key) = keys.get(&place).filter(|(known, _)| known.expose() == secret)?;
        Some(key.clone())
    }

    /// Keeps a key of `s3` that was derived for such a credential.
    pub fn keep(&self, access_key_id: &str, secret: Secret, region: &str, date: &AmzDate, key: SigningKey) {
        let place = place(access_key_id, region, date);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).put(place, (secret, key));
    }
}

/// One text, because it is made for each request. None of the three can hold a line feed.
fn place(access_key_id: &str, region: &str, date: &AmzDate) -> String {
    [access_key_id, region, date.day()].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_key_is_found_for_its_own_secret_region_and_day_only() {
        let cache = KeyCache::new(NonZeroUsize::new(8).unwrap());
        let [date, other_day] =
            ["2026-11-22T12:00:00Z", "2026-11-23T12:00:00Z"].map(|text| AmzDate::new(text.parse().unwrap()));
        let secret = Secret::new("s3cret");
        let key = SigningKey::derive(&secret, "eu", &date);
        assert!(cache.find("AK", "s3cret", "eu", &date).is_none());
        cache.keep("AK", secret, "eu", &date, key.clone());
        assert_eq!(cache.find("AK", "s3cret", "eu", &date).unwrap().sign("x"), key.sign("x"));
        for (id, secret, region, date) in [
            ("AL", "s3cret", "eu", &date),
            ("AK", "changed", "eu", &date),
            ("AK", "s3cret", "us", &date),
            ("AK", "s3cret", "eu", &other_day),
        ] {
            assert!(cache.find(id, secret, region, date).is_none(), "{id} {secret} {region}");
        }
        assert_ne!(cache.get("AK", "changed", "eu", &date).sign("x"), key.sign("x"));
        assert_eq!(cache.len(), 1, "a changed secret takes the place of the old one");
    }
}

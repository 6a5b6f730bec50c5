//! Signing keys: derived once a day for each credential and region, kept in a small cache.

use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::hmac;
use aws_sigv4::sign::v4::generate_signing_key;
use lru::LruCache;

use crate::base::{Secret, UtcInstant};

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
        Self { timestamp: instant.strftime("%Y%m%dT%H%M%SZ").to_string(), instant }
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

/// A derived key, good for one day, one region and the service `s3`.
#[derive(Clone)]
pub struct SigningKey {
    key: hmac::Key,
    scope: String,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("scope", &self.scope).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// Derives the key: four HMACs.
    pub fn derive(secret_access_key: &Secret, region: &str, date: &AmzDate) -> Self {
        let derived = generate_signing_key(secret_access_key.expose(), date.system_time(), region, SERVICE);
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()),
            scope: format!("{}/{region}/{SERVICE}/aws4_request", date.day()),
        }
    }

    /// `day/region/s3/aws4_request`.
    pub fn scope(&self) -> &str {
        &self.scope
    }

    /// The signature of a string to sign, in hex.
    pub fn sign(&self, string_to_sign: &str) -> String {
        hex::encode(hmac::sign(&self.key, string_to_sign.as_bytes()))
    }
}

/// Derived keys by access key id, region and day. Bounded; a secret that changes under the same id is noticed.
pub struct KeyCache(Mutex<LruCache<CacheKey, (Secret, SigningKey)>>);

#[derive(PartialEq, Eq, Hash)]
struct CacheKey {
    access_key_id: String,
    region: String,
    day: String,
}

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

    /// The key for a credential on the day of `date`, derived if it is not known yet.
    pub fn get(&self, access_key_id: &str, secret: &Secret, region: &str, date: &AmzDate) -> SigningKey {
        let cache_key = CacheKey { access_key_id: access_key_id.into(), region: region.into(), day: date.day().into() };
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match keys.get(&cache_key) {
            Some((known, key)) if known.expose() == secret.expose() => key.clone(),
            _ => {
                let key = SigningKey::derive(secret, region, date);
                keys.put(cache_key, (secret.clone(), key.clone()));
                key
            }
        }
    }
}

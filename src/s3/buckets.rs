//! The public bucket names that exist, and what each stands for upstream.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::RouteId;

/// One public bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// Name that clients use.
    pub name: String,
    /// Upstream that stores it.
    pub route: RouteId,
    /// Name of the bucket there.
    pub upstream_bucket: String,
    /// Put before every key; empty or ends with `/`.
    pub upstream_prefix: String,
    /// What happens to keys that stores normalise differently.
    pub odd_keys: OddKeys,
}

/// What happens to keys with `.` or `..` segments, empty segments, a leading slash, a backslash or control characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OddKeys {
    /// Refused: two spellings could reach one object, and a rule would see only one of them.
    #[default]
    Refuse,
    /// Passed on as they are. Only for stores that keep keys byte for byte. Control characters stay refused.
    Pass,
}

/// Every public bucket by name.
#[derive(Debug, Clone, Default)]
pub struct Buckets(BTreeMap<String, Arc<Bucket>>);

impl Buckets {
    /// Collects buckets; a later one of the same name would replace an earlier one, so `config` refuses that.
    pub fn new(buckets: impl IntoIterator<Item = Bucket>) -> Self {
        Self(buckets.into_iter().map(|bucket| (bucket.name.clone(), Arc::new(bucket))).collect())
    }

    /// The bucket of exactly this name.
    pub fn get(&self, name: &str) -> Option<&Arc<Bucket>> {
        self.0.get(name)
    }

    /// Every bucket, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Bucket>> {
        self.0.values()
    }
}

//! The public bucket names that exist, and what each stands for upstream.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::base::RouteId;
use crate::s3::addressing::Domains;

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
    /// Whether it is there by the pass-through mapping: the same name at the store, no prefix.
    pub passed_through: bool,
}

/// The pass-through mapping: every valid bucket name that is not configured is the same name at one store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassThrough {
    /// Upstream that stores the buckets.
    pub route: RouteId,
    /// What happens to keys that stores normalise differently.
    pub odd_keys: OddKeys,
    /// Buckets of the store that configured buckets lie in. Under their own name they do not exist here, because one object would have
    /// two names, and a rule for one of them would not hold for the other.
    pub hidden: BTreeSet<String>,
}

/// What happens to keys with `.` or `..` segments, empty segments, a leading slash or a backslash. Control characters are always refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OddKeys {
    /// Refused: two spellings could reach one object, and a rule would see only one of them.
    #[default]
    Refuse,
    /// Passed on as they are. Only for stores that keep keys byte for byte.
    Pass,
}

/// Every public bucket by name, and how clients can address them.
#[derive(Debug, Clone, Default)]
pub struct Buckets {
    configured: BTreeMap<String, Arc<Bucket>>,
    pass_through: Option<PassThrough>,
    domains: Domains,
}

impl Buckets {
    /// Collects buckets; a later one of the same name would replace an earlier one, so `config` refuses that.
    pub fn new(buckets: impl IntoIterator<Item = Bucket>) -> Self {
        let configured = buckets.into_iter().map(|bucket| (bucket.name.clone(), Arc::new(bucket))).collect();
        Self { configured, pass_through: None, domains: Domains::default() }
    }

    /// With a pass-through mapping for every other name.
    #[must_use]
    pub fn with_pass_through(mut self, pass_through: Option<PassThrough>) -> Self {
        self.pass_through = pass_through;
        self
    }

    /// With domains before which a host name can name the bucket.
    #[must_use]
    pub fn with_domains(mut self, domains: Domains) -> Self {
        self.domains = domains;
        self
    }

    /// Domains before which a host name can name the bucket.
    pub fn domains(&self) -> &Domains {
        &self.domains
    }

    /// The bucket of exactly this name: configured, or passed through if the name is one that S3 takes.
    pub fn get(&self, name: &str) -> Option<Arc<Bucket>> {
        let configured = self.configured.get(name).cloned();
        configured.or_else(|| self.pass_through.as_ref()?.bucket(name).map(Arc::new))
    }

    /// Every configured bucket, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Bucket>> {
        self.configured.values()
    }

    /// The pass-through mapping, if there is one.
    pub fn pass_through(&self) -> Option<&PassThrough> {
        self.pass_through.as_ref()
    }
}

impl PassThrough {
    /// What stands for all buckets of the mapping in the place of a rule.
    pub const ANY: &str = "*";

    /// Whether the mapping has a bucket of this name, if the store has it.
    pub fn takes(&self, name: &str) -> bool {
        is_bucket_name(name) && !is_reserved(name) && !self.hidden.contains(name)
    }

    /// The bucket of a name, if the mapping takes it. Nothing else makes a URL out of a name that a client chose.
    fn bucket(&self, name: &str) -> Option<Bucket> {
        self.takes(name).then(|| Bucket {
            name: name.to_owned(),
            route: self.route,
            upstream_bucket: name.to_owned(),
            upstream_prefix: String::new(),
            odd_keys: self.odd_keys,
            passed_through: true,
        })
    }
}

/// S3 user guide, "General purpose bucket naming rules", without the reserved prefixes and suffixes that only AWS knows.
pub fn is_bucket_name(name: &str) -> bool {
    let ends = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = name.as_bytes();
    (3..=63).contains(&bytes.len())
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(b))
        && ends(bytes.first())
        && ends(bytes.last())
        && !name.contains("..")
        && name.parse::<std::net::Ipv4Addr>().is_err()
}

/// Names that AWS keeps for other things than buckets: an alias of an access point is a second name of a bucket. Same source.
fn is_reserved(name: &str) -> bool {
    ["xn--", "sthree-", "amzn-s3-demo-"].iter().any(|start| name.starts_with(start))
        || ["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"].iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets() -> Buckets {
        let bucket = Bucket {
            name: "team".into(),
            route: RouteId(1),
            upstream_bucket: "corp-team".into(),
            upstream_prefix: "gw/".into(),
            odd_keys: OddKeys::Pass,
            passed_through: false,
        };
        let hidden = BTreeSet::from(["corp-team".to_owned()]);
        Buckets::new([bucket]).with_pass_through(Some(PassThrough {
            route: RouteId(0),
            odd_keys: OddKeys::Refuse,
            hidden,
        }))
    }

    #[test]
    fn a_name_that_is_not_configured_is_the_same_name_at_the_store() {
        let found = buckets().get("any.other-1").unwrap();
        assert_eq!((found.upstream_bucket.as_str(), found.upstream_prefix.as_str()), ("any.other-1", ""));
        assert!(found.passed_through && found.route == RouteId(0));
        let configured = buckets().get("team").unwrap();
        assert!(!configured.passed_through && configured.upstream_bucket == "corp-team");
        assert_eq!(buckets().with_pass_through(None).get("any.other-1"), None);
    }

    #[test]
    fn e08_names_that_s3_does_not_take_are_no_buckets_even_under_the_pass_through() {
        let long = "b".repeat(64);
        for name in [
            "",
            ".",
            "..",
            "ab",
            "BKT",
            "Bkt",
            "bkt.",
            ".bkt",
            "-bkt",
            "bkt-",
            "a..b",
            "a_b",
            "a/b",
            "a b",
            "a:b",
            "bkt\u{0}",
            "192.168.0.1",
            "arn:aws:s3:::x",
            ".minio.sys",
            "xn--abc",
            "ap-x-s3alias",
            "x.mrap",
            "x--ol-s3",
            "x--x-s3",
            "bücket",
            "tenant$bkt",
            &long,
            "*",
        ] {
            assert_eq!(buckets().get(name), None, "{name}");
        }
    }

    #[test]
    fn a_bucket_of_the_store_that_a_configured_one_lies_in_has_no_second_name() {
        assert_eq!(buckets().get("corp-team"), None);
    }
}

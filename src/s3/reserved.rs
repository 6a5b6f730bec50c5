//! The part of a store's bucket that is the gateway's own: objects that wait there for their verdict.
//!
//! It lies at the root of the store's bucket, beside whatever prefix a public bucket is mapped to, under names that no client can reach:
//! every key of a client goes through [`ObjectKey::check`](crate::s3::ObjectKey::check), which refuses these, and lists leave them out.

/// The first segment of every hidden key. The segment alone is reserved too: an object of that name would stand in the way of a folder.
pub const ROOT: &str = ".countersign";

/// What hidden keys begin with.
pub const STAGING_PREFIX: &str = ".countersign/staging/";

/// Whether a key below a prefix, both in upstream terms, lies in the reserved part, for any store: some read `\` as a slash, drop empty
/// segments, follow `..`, or do not tell capitals.
pub fn is_reserved(prefix: &str, key: &str) -> bool {
    let mut path: Vec<&str> = Vec::new();
    for segment in [prefix, key].into_iter().flat_map(|text| text.split(['/', '\\'])) {
        match segment {
            "" | "." => {}
            ".." => drop(path.pop()),
            name => path.push(name),
        }
    }
    path.first().is_some_and(|first| first.eq_ignore_ascii_case(ROOT))
}

/// The key of an object that waits for its verdict, in upstream terms.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StagingKey(String);

impl StagingKey {
    /// The key of an identifier: letters, digits and `-` only, at most 64 bytes.
    pub fn new(id: &str) -> Option<Self> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        ((1..=64).contains(&id.len()) && id.bytes().all(plain)).then(|| Self(format!("{STAGING_PREFIX}{id}")))
    }

    /// A hidden key out of a list of the store; `None` for every other name.
    pub fn listed(key: &str) -> Option<Self> {
        let id = key.strip_prefix(STAGING_PREFIX)?;
        match id.strip_suffix(Self::PARTS) {
            Some(id) => Self::new(id).map(|key| key.parts()),
            None => Self::new(id),
        }
    }

    const PARTS: &str = ".parts";

    /// Where the sizes of its parts are written down.
    #[must_use]
    pub fn parts(&self) -> Self {
        Self(format!("{}{}", self.0, Self::PARTS))
    }

    /// The key in upstream terms.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The identifier.
    pub fn id(&self) -> &str {
        self.0.strip_prefix(STAGING_PREFIX).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_spelling_of_a_hidden_key_is_a_key_of_a_client() {
        for key in [
            ".countersign",
            ".countersign/",
            ".countersign/staging/x",
            ".countersign/other",
            "/.countersign/x",
            "//.countersign/x",
            ".\\.countersign\\x",
            "a/../.countersign/x",
            "../.countersign/x",
            ".Countersign/x",
            "./.countersign",
        ] {
            assert!(is_reserved("", key), "{key}");
        }
        assert!(is_reserved("gw/", "../.countersign/x") && is_reserved(".countersign/", "x"));
        for key in ["a", "countersign/x", ".countersignx/y", "a/.countersign/x", ".countersign-x", "", ".."] {
            assert!(!is_reserved("", key), "{key}");
        }
        assert!(!is_reserved("gw/", ".countersign/x") && !is_reserved("gw/", "a/../.countersign"));
    }

    #[test]
    fn hidden_keys_come_from_plain_identifiers_only() {
        let key = StagingKey::new("0a-F").unwrap();
        assert_eq!((key.as_str(), key.id()), (".countersign/staging/0a-F", "0a-F"));
        assert_eq!(StagingKey::listed(key.as_str()), Some(key.clone()));
        assert_eq!(StagingKey::listed(key.parts().as_str()), Some(key.parts()));
        for id in ["", "a/b", "..", "a.b", "a b", &"x".repeat(65)] {
            assert_eq!(StagingKey::new(id), None, "{id}");
        }
        for key in ["x", ".countersign/staging/", ".countersign/staging/a/b", ".countersign/staging/.parts"] {
            assert_eq!(StagingKey::listed(key), None, "{key}");
        }
    }
}

//! IAM action names and sets of them.

use crate::s3::operation::ACTIONS;

/// One IAM action of S3, such as `s3:PutObject`. Only names of [`ACTIONS`] exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Action(&'static str);

impl Action {
    /// The action of this exact name, if the S3 model has it.
    pub fn named(name: &str) -> Option<Self> {
        ACTIONS.iter().find(|known| **known == name).map(|known| Self(known))
    }

    /// The name, `s3:` included.
    pub fn as_str(self) -> &'static str {
        self.0
    }
}

/// A set of IAM actions, as one rule names it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ActionSet(Vec<&'static str>);

/// Short names for sets that people mean. Documented in `docs/RULES.md`.
pub const GROUPS: &[(&str, &[&str])] = &[
    (
        "read",
        &["s3:GetObject", "s3:GetObjectAttributes", "s3:GetObjectTagging", "s3:ListBucket", "s3:GetBucketLocation"],
    ),
    ("list", &["s3:ListBucket", "s3:GetBucketLocation"]),
    ("write", &["s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts", "s3:GetBucketLocation"]),
    ("delete", &["s3:DeleteObject"]),
    ("tag", &["s3:GetObjectTagging", "s3:PutObjectTagging", "s3:DeleteObjectTagging"]),
    (
        "read-versions",
        &[
            "s3:GetObjectVersion",
            "s3:GetObjectVersionAttributes",
            "s3:GetObjectVersionTagging",
            "s3:ListBucketVersions",
        ],
    ),
];

impl ActionSet {
    /// Adds what `word` names: an action (`s3:GetObject`), a pattern (`s3:Get*`, `s3:*`) or a group (`read`).
    ///
    /// Returns `false`, and adds nothing, if it names nothing.
    pub fn add(&mut self, word: &str) -> bool {
        let before = self.0.len();
        let found = match word.strip_suffix('*') {
            Some(start) if start.starts_with("s3:") => {
                let matching: Vec<_> = ACTIONS.iter().copied().filter(|name| name.starts_with(start)).collect();
                self.0.extend(&matching);
                !matching.is_empty()
            }
            Some(_) => false,
            None => {
                let group = GROUPS.iter().find(|(name, _)| *name == word).map(|(_, actions)| *actions);
                let single = Action::named(word).map(|action| vec![action.as_str()]);
                let actions = group.map(<[_]>::to_vec).or(single).unwrap_or_default();
                self.0.extend(&actions);
                !actions.is_empty()
            }
        };
        debug_assert!(found || self.0.len() == before);
        self.0.sort_unstable();
        self.0.dedup();
        found
    }

    /// Whether the set holds the action of this name.
    pub fn contains(&self, action: &str) -> bool {
        match self.0.len() {
            // Nearly every set: names differ in their lengths already, which is quicker to see than their order.
            0..=16 => self.0.contains(&action),
            _ => self.0.binary_search(&action).is_ok(),
        }
    }

    /// Whether the set holds nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The actions in order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.0.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_names_an_action_a_pattern_or_a_group() {
        let mut set = ActionSet::default();
        assert!(set.add("s3:PutObject") && set.add("s3:GetObjectT*") && set.add("delete"));
        assert!(set.contains("s3:PutObject") && set.contains("s3:GetObjectTagging") && set.contains("s3:DeleteObject"));
        assert!(!set.contains("s3:GetObject"));
    }

    #[test]
    fn a_word_that_names_nothing_is_not_added() {
        for word in ["", "*", "s3:", "s3:putobject", "PutObject", "s3:Putt*", "everything", "ec2:*"] {
            let mut set = ActionSet::default();
            assert!(!set.add(word), "{word}");
            assert!(set.is_empty(), "{word}");
        }
    }

    #[test]
    fn d07_d24_versions_and_tags_are_in_no_other_group() {
        let of = |words: &[&str]| {
            let mut set = ActionSet::default();
            assert!(words.iter().all(|word| set.add(word)));
            set
        };
        let ordinary = of(&["read", "list", "write", "delete"]);
        assert!(ordinary.iter().all(|action| !action.contains("Version") && !action.contains("PutObjectTagging")));
        assert!(of(&["tag"]).contains("s3:PutObjectTagging") && of(&["read-versions"]).contains("s3:GetObjectVersion"));
        assert!(!of(&["read-versions", "tag"]).iter().any(|action| action == "s3:DeleteObjectVersion"));
    }

    #[test]
    fn every_group_holds_known_actions_only() {
        for (group, actions) in GROUPS {
            for action in *actions {
                assert!(Action::named(action).is_some(), "{group}: {action}");
            }
        }
    }
}

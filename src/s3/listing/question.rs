//! What a store is asked: one page of the names below a prefix.

use serde::{Deserialize, Serialize};

use crate::s3::listing::ListKind;

/// Where a page of a store begins, in the store's own words. It may name keys that a caller must not see.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Mark {
    /// A continuation token or a key.
    pub name: String,
    /// A version or upload.
    pub id: Option<String>,
}

/// One request for a page, in public terms but for the mark.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// Which list.
    pub kind: ListKind,
    /// Every name must begin with this.
    pub prefix: &'a str,
    /// Only names after this one; without effect beside a mark.
    pub start_after: Option<&'a str>,
    /// Where the page begins.
    pub mark: Option<&'a Mark>,
    /// What groups names.
    pub delimiter: Option<&'a str>,
    /// Most names.
    pub max_keys: u32,
}

impl Question<'_> {
    /// The query, with what stands before every key at the store.
    ///
    /// Objects are asked for in `encoding-type=url`, so that every key survives XML. The other lists are not: SeaweedFS 4.48 says `url` and
    /// does not encode uploads, RGW 16 encodes them and does not say so, and neither encodes `NextKeyMarker`, which S3 does. A marker of a
    /// client is never sent for uploads: SeaweedFS takes it for the only key that is wanted. Nor is a delimiter, which SeaweedFS ignores,
    /// and for which RGW leaves out the groups.
    pub fn parameters(&self, upstream_prefix: &str) -> Vec<(&'static str, String)> {
        let (max_name, _) = self.kind.words().max;
        let mut query =
            vec![("prefix", format!("{upstream_prefix}{}", self.prefix)), (max_name, self.max_keys.to_string())];
        let start_after = || self.start_after.map(|key| format!("{upstream_prefix}{key}"));
        let mark = self.mark.map(|mark| mark.name.clone());
        let id = self.mark.and_then(|mark| mark.id.clone());
        match self.kind {
            ListKind::Objects | ListKind::ObjectsV2 => {
                query.extend([("list-type", "2".to_owned()), ("encoding-type", "url".to_owned())]);
                match mark {
                    Some(token) => query.push(("continuation-token", token)),
                    None => query.extend(start_after().map(|key| ("start-after", key))),
                }
            }
            ListKind::Versions => {
                query.push(("versions", String::new()));
                query.extend(mark.or_else(start_after).map(|key| ("key-marker", key)));
                query.extend(id.map(|id| ("version-id-marker", id)));
            }
            ListKind::Uploads => {
                query.push(("uploads", String::new()));
                query.extend(mark.filter(|key| !key.is_empty()).map(|key| ("key-marker", key)));
                query.extend(id.map(|id| ("upload-id-marker", id)));
            }
        }
        if self.kind != ListKind::Uploads {
            query.extend(self.delimiter.map(|delimiter| ("delimiter", delimiter.to_owned())));
        }
        query
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(kind: ListKind, mark: Option<(&str, Option<&str>)>) -> Vec<String> {
        let mark = mark.map(|(name, id)| Mark { name: name.to_owned(), id: id.map(str::to_owned) });
        let question = Question {
            kind,
            prefix: "a/",
            start_after: Some("a/1"),
            mark: mark.as_ref(),
            delimiter: Some("/"),
            max_keys: 7,
        };
        let mut query: Vec<_> =
            question.parameters("gw/").into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        query.sort_unstable();
        query
    }

    #[test]
    fn objects_are_always_asked_for_in_the_second_form() {
        for kind in [ListKind::Objects, ListKind::ObjectsV2] {
            let common = ["delimiter=/", "encoding-type=url", "list-type=2", "max-keys=7", "prefix=gw/a/"];
            assert_eq!(asked(kind, None), [&common[..], &["start-after=gw/a/1"]].concat());
            let mut with_token = [&common[..], &["continuation-token=t"]].concat();
            with_token.sort_unstable();
            assert_eq!(asked(kind, Some(("t", None))), with_token);
        }
    }

    #[test]
    fn versions_go_on_behind_a_key_or_a_version() {
        let common = ["max-keys=7", "prefix=gw/a/"];
        let before = |key: &'static str| [&["delimiter=/", key][..], &common].concat();
        assert_eq!(asked(ListKind::Versions, None), [&before("key-marker=gw/a/1")[..], &["versions="]].concat());
        assert_eq!(
            asked(ListKind::Versions, Some(("gw/a/x", Some("v")))),
            [&before("key-marker=gw/a/x")[..], &["version-id-marker=v", "versions="]].concat()
        );
    }

    #[test]
    fn uploads_are_asked_for_without_delimiter_and_only_with_the_stores_own_marker() {
        assert_eq!(asked(ListKind::Uploads, None), ["max-uploads=7", "prefix=gw/a/", "uploads="]);
        assert_eq!(
            asked(ListKind::Uploads, Some(("", Some("u")))),
            ["max-uploads=7", "prefix=gw/a/", "upload-id-marker=u", "uploads="]
        );
        assert_eq!(
            asked(ListKind::Uploads, Some(("gw/a/x", Some("u")))),
            ["key-marker=gw/a/x", "max-uploads=7", "prefix=gw/a/", "upload-id-marker=u", "uploads="]
        );
    }
}

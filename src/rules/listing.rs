//! Narrows a listing to what the caller may list.
//!
//! The store is asked once for each permitted prefix, never for more: a key that the caller may not see cannot show up in a page,
//! a count or a continuation token. Keys under denied prefixes inside a permitted one are stepped over by `listing`.

use crate::base::RuleId;
use crate::s3::listing::ListRequest;

/// What a caller may list of one bucket, by rule.
#[derive(Debug, Default)]
pub struct ListRights {
    /// Prefixes that a rule allows to list.
    pub allowed: Vec<(String, RuleId)>,
    /// Prefixes that a rule denies.
    pub denied: Vec<(String, RuleId)>,
}

/// The permitted part of one listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListScope {
    /// The rule that decided (of the first part).
    pub rule: RuleId,
    /// What was asked for.
    pub request: ListRequest,
    /// What may be asked of the store, in order of the keys; never empty, no part inside another.
    pub parts: Vec<ListPart>,
    /// Prefixes whose keys are taken out of the answer.
    pub denied: Vec<String>,
}

/// One listing that may be asked of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListPart {
    /// Every key in it begins with this.
    pub prefix: String,
    /// If set, everything in the part falls into this one group, because the delimiter lies inside the permitted prefix. The store
    /// is asked only whether there is a key at all.
    pub group: Option<String>,
}

impl ListRights {
    /// Cuts the rights down to a request.
    ///
    /// # Errors
    /// The denying rule, or `None` if no rule allows any of what was asked for.
    pub fn narrow(self, request: &ListRequest) -> Result<ListScope, Option<RuleId>> {
        let asked = request.prefix.as_str();
        if let Some((_, rule)) = self.denied.iter().find(|(prefix, _)| asked.starts_with(prefix.as_str())) {
            return Err(Some(rule.clone()));
        }
        let mut parts: Vec<(String, RuleId)> = Vec::new();
        for (allowed, rule) in self.allowed {
            if asked.starts_with(&allowed) {
                parts.push((asked.to_owned(), rule));
            } else if allowed.starts_with(asked) {
                parts.push((allowed, rule));
            }
        }
        parts.retain(|(prefix, _)| !self.denied.iter().any(|(denied, _)| prefix.starts_with(denied.as_str())));
        parts.sort_by(|(a, _), (b, _)| a.cmp(b));
        // In this order a prefix stands right before everything that it covers.
        parts.dedup_by(|(later, _), (kept, _)| later.starts_with(kept.as_str()));
        let Some((_, rule)) = parts.first() else { return Err(None) };
        let rule = rule.clone();
        let parts =
            parts.into_iter().map(|(prefix, _)| ListPart { group: request.group_of(&prefix), prefix }).collect();
        let denied = self.denied.into_iter().map(|(prefix, _)| prefix).collect();
        Ok(ListScope { rule, request: request.clone(), parts, denied })
    }
}

/// Which of the keys below a prefix lie behind a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behind<'a> {
    /// All of them.
    All,
    /// Those that the store has behind this name, which is below the prefix. Stores differ in their order, so the store decides.
    Name(&'a str),
    /// None.
    Nothing,
}

/// Which of the keys below a prefix lie behind a name. Whether the name exists, or may be seen, has no part in it.
pub fn behind<'a>(prefix: &str, name: Option<&'a str>) -> Behind<'a> {
    match name {
        None => Behind::All,
        Some(name) if name.starts_with(prefix) => Behind::Name(name),
        Some(name) if name < prefix => Behind::All,
        Some(_) => Behind::Nothing,
    }
}

impl ListScope {
    /// The denied prefix that a name lies under, if any.
    pub fn denied_prefix_of(&self, name: &str) -> Option<&str> {
        self.denied.iter().map(String::as_str).find(|denied| name.starts_with(denied))
    }

    /// Whether a denied prefix lies under this one.
    pub fn hides_some_of(&self, prefix: &str) -> bool {
        self.denied.iter().any(|denied| denied.starts_with(prefix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn narrow(
        allowed: &[&str],
        denied: &[&str],
        prefix: &str,
        delimiter: Option<&str>,
    ) -> Option<Vec<(String, Option<String>)>> {
        let with_rule = |prefixes: &[&str]| prefixes.iter().map(|p| ((*p).to_owned(), RuleId::new("r"))).collect();
        let rights = ListRights { allowed: with_rule(allowed), denied: with_rule(denied) };
        let request = ListRequest {
            prefix: prefix.into(),
            delimiter: delimiter.map(str::to_owned),
            max_keys: 10,
            ..ListRequest::default()
        };
        let scope = rights.narrow(&request).ok()?;
        Some(scope.parts.into_iter().map(|part| (part.prefix, part.group)).collect())
    }

    fn plain(prefixes: &[&str]) -> Option<Vec<(String, Option<String>)>> {
        Some(prefixes.iter().map(|p| ((*p).to_owned(), None)).collect())
    }

    #[test]
    fn a_listing_inside_the_right_is_left_alone() {
        assert_eq!(narrow(&["a/"], &[], "a/b", None), plain(&["a/b"]));
        assert_eq!(narrow(&[""], &[], "", Some("/")), plain(&[""]));
    }

    #[test]
    fn d16_a_wider_listing_becomes_one_for_each_permitted_prefix() {
        assert_eq!(narrow(&["b/", "a/", "a/x/"], &[], "", None), plain(&["a/", "b/"]));
        assert_eq!(narrow(&["a/"], &[], "a", None), plain(&["a/"]));
        assert_eq!(narrow(&["a/"], &[], "b", None), None);
        assert_eq!(narrow(&[], &[], "", None), None);
    }

    #[test]
    fn a_delimiter_inside_the_permitted_prefix_makes_one_group() {
        let parts = narrow(&["home/alice/", "pub/"], &[], "", Some("/")).unwrap();
        assert_eq!(parts, [("home/alice/".into(), Some("home/".into())), ("pub/".into(), Some("pub/".into()))]);
        assert_eq!(narrow(&["home/alice/"], &[], "home/", Some("/")).unwrap()[0].1.as_deref(), Some("home/alice/"));
        assert_eq!(narrow(&["home/alice/"], &[], "home/alice/", Some("/")), plain(&["home/alice/"]));
    }

    #[test]
    fn d16_a_name_is_only_a_lower_bound_on_what_is_permitted() {
        for name in ["a/z", "b", "b-", ""] {
            assert_eq!(behind("b/", Some(name)), Behind::All, "{name}");
        }
        for name in ["b/", "b/x", "b/\u{10ffff}"] {
            assert_eq!(behind("b/", Some(name)), Behind::Name(name), "{name}");
        }
        for name in ["b0", "c", "secret/x"] {
            assert_eq!(behind("b/", Some(name)), Behind::Nothing, "{name}");
        }
        assert_eq!(behind("b/", None), Behind::All);
    }

    #[test]
    fn a_denied_prefix_is_never_listed() {
        assert_eq!(narrow(&["a/"], &["a/secret/"], "a/secret/x", None), None);
        assert_eq!(narrow(&["a/", "b/"], &["b/"], "", None), plain(&["a/"]));
        let rights = ListRights {
            allowed: vec![("a/".into(), RuleId::new("r"))],
            denied: vec![("a/secret/".into(), RuleId::new("d"))],
        };
        let scope = rights.narrow(&ListRequest { max_keys: 10, ..ListRequest::default() }).unwrap();
        assert_eq!(scope.denied_prefix_of("a/secret/2"), Some("a/secret/"));
        assert_eq!(scope.denied_prefix_of("a/1"), None);
        assert!(scope.hides_some_of("a/") && scope.hides_some_of("a/sec") && !scope.hides_some_of("a/open/"));
    }
}

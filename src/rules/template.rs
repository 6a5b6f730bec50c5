//! Key prefixes with attribute parts: `home/{sub}/`.
//!
//! Attributes are put in after parsing and never read as patterns. A value that is not a plain name makes the place match
//! nothing, so that a subject such as `../b` or `a/b` cannot leave its prefix.

use std::collections::BTreeSet;

use crate::auth::Attributes;

/// A prefix of object keys, with `{attribute}` parts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PrefixTemplate(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Attribute(String),
}

/// Why a prefix template could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// `{` without `}`, or the reverse.
    #[error("`{0}` has an unbalanced brace")]
    Unbalanced(String),
    /// `{}` or a name with other characters than letters, digits, `_`, `-`, `:` and `.`.
    #[error("`{{{0}}}` is not an attribute name")]
    BadName(String),
}

impl PrefixTemplate {
    /// Reads a prefix such as `teams/{team}/inbox/`.
    ///
    /// # Errors
    /// [`TemplateError`] if a brace is left open or a name is not one.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let unbalanced = || TemplateError::Unbalanced(text.to_owned());
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find(['{', '}']) {
            let (literal, tail) = rest.split_at(open);
            let tail = tail.strip_prefix('{').ok_or_else(unbalanced)?;
            let (name, after) = tail.split_once('}').ok_or_else(unbalanced)?;
            let plain = |c: char| c.is_ascii_alphanumeric() || "_-:.".contains(c);
            if name.is_empty() || !name.chars().all(plain) {
                return Err(TemplateError::BadName(name.to_owned()));
            }
            if !literal.is_empty() {
                parts.push(Part::Literal(literal.to_owned()));
            }
            parts.push(Part::Attribute(name.to_owned()));
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(rest.to_owned()));
        }
        Ok(Self(parts))
    }

    /// The attribute names in it.
    pub fn attributes(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Attribute(name) => Some(name.as_str()),
            Part::Literal(_) => None,
        })
    }

    /// Whether the template is the empty prefix.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text of the template, as written.
    pub fn text(&self) -> String {
        self.0
            .iter()
            .map(|part| match part {
                Part::Literal(text) => text.clone(),
                Part::Attribute(name) => format!("{{{name}}}"),
            })
            .collect()
    }

    /// Whether the template could stand for this prefix or a beginning of it, whoever the caller is. For templates with at most one
    /// attribute in a segment.
    pub fn could_cover(&self, prefix: &str) -> bool {
        let mut segments = prefix.split_inclusive('/');
        let fits = |wanted: &str, segment: &str| match wanted.split_once('{') {
            None => segment == wanted,
            Some((before, rest)) => {
                let after = rest.split_once('}').map_or("", |(_, after)| after);
                let value = segment.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
                value.is_some_and(is_plain_name)
            }
        };
        self.text().split_inclusive('/').all(|wanted| segments.next().is_some_and(|segment| fits(wanted, segment)))
    }

    /// The first [`MAX_PREFIXES`] prefixes the template stands for, for a caller with these attributes. For allowing only: what is cut
    /// off here would be missing from a denial.
    pub fn render(&self, attributes: &Attributes) -> Vec<String> {
        self.render_up_to(attributes, MAX_PREFIXES)
    }

    /// Every prefix the template stands for, for a caller with these attributes.
    ///
    /// An attribute with several values (groups) gives several prefixes; a missing one, or one without a plain value, gives
    /// none. What a caller can have is bounded by the size of its token.
    pub fn render_all(&self, attributes: &Attributes) -> Vec<String> {
        self.render_up_to(attributes, usize::MAX)
    }

    fn render_up_to(&self, attributes: &Attributes, limit: usize) -> Vec<String> {
        let mut prefixes = vec![String::new()];
        for part in &self.0 {
            prefixes = match part {
                Part::Literal(text) => prefixes.into_iter().map(|prefix| prefix + text).collect(),
                Part::Attribute(name) => plain_values(attributes, name)
                    .flat_map(|value| prefixes.iter().map(move |prefix| format!("{prefix}{value}")))
                    .take(limit)
                    .collect(),
            };
        }
        prefixes
    }

    /// Length in bytes of the longest prefix the template stands for that the key begins with, whatever their number.
    ///
    /// Returns `None` if there is none: as with [`render_all`](Self::render_all), a missing attribute or a value that is not a plain
    /// name stands for nothing. The work is bounded by the key's length times the caller's values.
    pub fn covers(&self, attributes: &Attributes, key: &str) -> Option<usize> {
        match self.0.as_slice() {
            [] => return Some(0),
            [Part::Literal(text)] => return key.starts_with(text.as_str()).then_some(text.len()),
            // Most rules are about another folder, which their first word tells.
            [Part::Literal(text), ..] if !key.starts_with(text.as_str()) => return None,
            _ => {}
        }
        // Where in the key the parts so far may end. More than one place only if values begin with one another.
        let mut ends = BTreeSet::from([0]);
        for part in &self.0 {
            let after = |text: &str| {
                let fits = ends.iter().filter(|end| key[**end..].starts_with(text));
                fits.map(|end| end + text.len()).collect::<Vec<_>>()
            };
            ends = match part {
                Part::Literal(text) => after(text).into_iter().collect(),
                Part::Attribute(name) => plain_values(attributes, name).flat_map(|value| after(value)).collect(),
            };
        }
        ends.last().copied()
    }
}

fn plain_values<'a>(attributes: &'a Attributes, name: &str) -> impl Iterator<Item = &'a String> {
    attributes.get(name).into_iter().flatten().filter(|value| is_plain_name(value))
}

/// Most prefixes of one allowing place that a listing looks into. A caller with more groups than this sees the first ones only; keys are
/// matched without a bound.
pub const MAX_PREFIXES: usize = 256;

/// Whether an attribute value may stand in a key prefix: 1 to 128 letters, digits, `-`, `_`, `.`, `@`, `+`, `=`, `,`, `:` or `|`,
/// and not `.` or `..`. Excludes `/`, `%`, `*`, braces and everything outside ASCII, so that a value is one path segment.
pub fn is_plain_name(value: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.@+=,:|".contains(&b);
    (1..=128).contains(&value.len()) && value.bytes().all(plain) && value != "." && value != ".."
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn attributes(name: &str, values: &[&str]) -> Attributes {
        Attributes::from([(name.to_owned(), values.iter().map(|v| (*v).to_owned()).collect())])
    }

    #[test]
    fn attributes_are_put_in_once_per_value() {
        let template = PrefixTemplate::parse("teams/{groups}/inbox/").unwrap();
        assert_eq!(template.render(&attributes("groups", &["red", "blue"])), ["teams/red/inbox/", "teams/blue/inbox/"]);
    }

    #[test]
    fn i15_values_that_are_not_plain_names_match_nothing() {
        let template = PrefixTemplate::parse("u/{sub}/").unwrap();
        let long = "a".repeat(129);
        for value in ["../b", "a/b", "", "*", "%2f", "{x}", "..", ".", "é", "a\\b", "a b", "a\u{0}", long.as_str()] {
            assert!(template.render(&attributes("sub", &[value])).is_empty(), "{value:?}");
        }
        assert!(template.render(&Attributes::new()).is_empty());
        assert_eq!(template.render(&attributes("sub", &["auth0|62f-9"])), ["u/auth0|62f-9/"]);
    }

    #[test]
    fn values_behind_the_cap_still_cover_keys() {
        let template = PrefixTemplate::parse("teams/{groups}/").unwrap();
        let values: Vec<String> = (0..300).map(|n| format!("g{n}")).collect();
        let attributes = Attributes::from([("groups".to_owned(), values)]);
        assert_eq!(template.render(&attributes).len(), MAX_PREFIXES);
        assert_eq!(template.render_all(&attributes).len(), 300);
        assert_eq!(template.covers(&attributes, "teams/g299/x"), Some("teams/g299/".len()));
        assert_eq!(template.covers(&attributes, "teams/g300/x"), None);
        assert_eq!(template.covers(&attributes, "teams/g299"), None);
    }

    #[test]
    fn i15_keys_are_covered_by_plain_names_only() {
        let template = PrefixTemplate::parse("u/{sub}/").unwrap();
        for (value, key) in [("../b", "u/../b/x"), ("a/b", "u/a/b/x"), ("", "u//x"), ("..", "u/../x"), ("é", "u/é/x")]
        {
            assert_eq!(template.covers(&attributes("sub", &[value]), key), None, "{value:?}");
        }
        assert_eq!(template.covers(&Attributes::new(), "u/a/x"), None);
        assert_eq!(template.covers(&attributes("sub", &["a"]), "u/a/é"), Some(4));
        assert_eq!(PrefixTemplate::default().covers(&Attributes::new(), "x"), Some(0));
    }

    #[test]
    fn what_some_caller_could_reach_is_told_without_a_caller() {
        let covers = |template: &str, prefix: &str| PrefixTemplate::parse(template).unwrap().could_cover(prefix);
        for (template, prefix) in [
            ("", ""),
            ("", "kept/"),
            ("kept/", "kept/"),
            ("a/", "a/kept/"),
            ("{sub}/", "kept/"),
            ("a/{sub}/", "a/kept/of/"),
            ("t-{team}-x/", "t-red-x/kept/"),
        ] {
            assert!(covers(template, prefix), "{template} {prefix}");
        }
        for (template, prefix) in [
            ("kept/", ""),
            ("a/", "kept/"),
            ("kept/a/", "kept/"),
            ("{sub}/", ""),
            ("a/{sub}/", "a/"),
            ("a/{sub}/", "kept/b/"),
            ("t-{team}-x/", "t-x/"),
            ("{sub}/", "no plain name/"),
        ] {
            assert!(!covers(template, prefix), "{template} {prefix}");
        }
    }

    proptest! {
        #[test]
        fn covers_agrees_with_the_rendered_prefixes(
            template in "(a|b|/|é|\\{s\\}|\\{g\\}){0,5}",
            sub in "[ab./]{0,2}",
            groups in proptest::collection::vec("[ab./é]{0,2}", 0..4),
            key in "[ab./é]{0,8}",
        ) {
            let template = PrefixTemplate::parse(&template).unwrap();
            let attributes = Attributes::from([("s".to_owned(), vec![sub]), ("g".to_owned(), groups)]);
            let rendered = template.render_all(&attributes);
            let expected = rendered.iter().filter(|prefix| key.starts_with(prefix.as_str())).map(String::len).max();
            prop_assert_eq!(template.covers(&attributes, &key), expected);
        }
    }

    #[test]
    fn broken_templates_are_refused_with_the_reason() {
        assert_eq!(PrefixTemplate::parse("a/{sub"), Err(TemplateError::Unbalanced("a/{sub".into())));
        assert_eq!(PrefixTemplate::parse("a/}"), Err(TemplateError::Unbalanced("a/}".into())));
        assert_eq!(PrefixTemplate::parse("a/{}/"), Err(TemplateError::BadName(String::new())));
        assert_eq!(PrefixTemplate::parse("a/{a b}"), Err(TemplateError::BadName("a b".into())));
    }
}

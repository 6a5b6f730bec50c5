//! Key prefixes with attribute parts: `home/{sub}/`.
//!
//! Attributes are put in after parsing and never read as patterns. A value that is not a plain name makes the place match
//! nothing, so that a subject such as `../b` or `a/b` cannot leave its prefix.

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

    /// Every prefix the template stands for, for a caller with these attributes.
    ///
    /// An attribute with several values (groups) gives several prefixes; a missing one, or one without a plain value, gives
    /// none. The number of prefixes is bounded by [`MAX_PREFIXES`].
    pub fn render(&self, attributes: &Attributes) -> Vec<String> {
        let mut prefixes = vec![String::new()];
        for part in &self.0 {
            prefixes = match part {
                Part::Literal(text) => prefixes.into_iter().map(|prefix| prefix + text).collect(),
                Part::Attribute(name) => {
                    let values = attributes.get(name).map_or(&[][..], Vec::as_slice);
                    let plain = values.iter().filter(|value| is_plain_name(value));
                    plain
                        .flat_map(|value| prefixes.iter().map(move |prefix| format!("{prefix}{value}")))
                        .take(MAX_PREFIXES)
                        .collect()
                }
            };
        }
        prefixes
    }
}

/// Most prefixes that one place of a rule stands for. A caller with more groups than this sees the first ones only.
pub const MAX_PREFIXES: usize = 256;

/// Whether an attribute value may stand in a key prefix: 1 to 128 letters, digits, `-`, `_`, `.`, `@`, `+`, `=`, `,`, `:` or `|`,
/// and not `.` or `..`. Excludes `/`, `%`, `*`, braces and everything outside ASCII, so that a value is one path segment.
pub fn is_plain_name(value: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.@+=,:|".contains(&b);
    (1..=128).contains(&value.len()) && value.bytes().all(plain) && value != "." && value != ".."
}

#[cfg(test)]
mod tests {
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
    fn broken_templates_are_refused_with_the_reason() {
        assert_eq!(PrefixTemplate::parse("a/{sub"), Err(TemplateError::Unbalanced("a/{sub".into())));
        assert_eq!(PrefixTemplate::parse("a/}"), Err(TemplateError::Unbalanced("a/}".into())));
        assert_eq!(PrefixTemplate::parse("a/{}/"), Err(TemplateError::BadName(String::new())));
        assert_eq!(PrefixTemplate::parse("a/{a b}"), Err(TemplateError::BadName("a b".into())));
    }
}

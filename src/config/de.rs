//! Turns the tree of a file into plain structs and collects everything that does not fit.
//!
//! Serde stops at the first error, so each error is recorded, its value is marked as broken (it then counts as not written), and
//! the tree is read again until nothing is left to complain about. Only texts made here reach the user, and they name kinds of
//! values, never a value: it may be a secret.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Expected, MapAccess, SeqAccess, Unexpected, Visitor};
use serde::forward_to_deserialize_any;

use super::node::{Key, Node, Value};
use super::path::{Path, Step};
use super::problem::Problem;
use super::suggest::{did_you_mean, listed};

/// After so many, the file is not a configuration, and reading it again for each would take long.
const MAX_FLAWS: usize = 100;

/// Reads the tree as a `T`, which must have a default for everything. Problems are added; what has one counts as not written.
/// If nothing can be made of the file, its root is marked as broken.
pub fn read<T: DeserializeOwned + Default>(root: &mut Node, problems: &mut Vec<Problem>) -> T {
    for _ in 0..MAX_FLAWS {
        match T::deserialize(NodeReader(root)) {
            Ok(value) => return value,
            Err(mut flaw) => {
                flaw.steps.reverse();
                let (value_mark, key_mark) = root.break_at(&flaw.steps);
                let mark = key_mark.filter(|_| flaw.unknown_key).unwrap_or(value_mark);
                // The name of an unknown key may be a secret without its key; the message shows it if it is harmless.
                let known = flaw.steps.len() - usize::from(flaw.unknown_key);
                let path = flaw.steps.into_iter().take(known).collect::<Path>();
                problems.push(Problem {
                    mark,
                    path,
                    message: flaw.message,
                    help: flaw.help,
                    hide_value: flaw.unknown_key,
                });
            }
        }
        if root.broken {
            return T::default();
        }
    }
    // What is left was not read, so nothing can be said about what is missing.
    root.broken = true;
    T::default()
}

const FORMS: &str = "config/README.md shows the form of every key";

/// One thing that does not fit, with the way to it from the inside out.
#[derive(Debug)]
struct Flaw {
    steps: Vec<Step>,
    message: String,
    help: String,
    unknown_key: bool,
    /// What a visitor wanted instead, until it is known what it got.
    wanted: Option<String>,
}

impl Flaw {
    fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { steps: Vec::new(), message: message.into(), help: help.into(), unknown_key: false, wanted: None }
    }

    fn expected(what: &str, found: &Value) -> Self {
        let help = match found {
            Value::Null => "give the key a value, or remove it",
            Value::Number(_) | Value::Bool(_) | Value::Text(_) | Value::List(_) | Value::Map(_) => FORMS,
        };
        Self::new(format!("expected {what}, found {}", found.kind()), help)
    }

    fn wanted(expected: &dyn Expected) -> Self {
        Self { wanted: Some(expected.to_string()), ..Self::new("this value does not fit", FORMS) }
    }

    fn found(mut self, value: &Value) -> Self {
        match self.wanted.take() {
            Some(wanted) => Self { steps: self.steps, ..Self::expected(&wanted, value) },
            None => self,
        }
    }

    fn inside(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Flaw {}

impl serde::de::Error for Flaw {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string(), FORMS)
    }

    // `unexpected` may hold the value.
    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::wanted(expected)
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::wanted(expected)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let known = expected.iter().copied();
        let help = format!("{}write one of {}", did_you_mean(variant, known.clone()), listed(known));
        let message = if is_harmless(variant) {
            format!("`{variant}` is not known here")
        } else {
            "this word is not known here".to_owned()
        };
        Self::new(message, help)
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let message = if is_harmless(field) { format!("unknown key `{field}`") } else { "unknown key".to_owned() };
        let known = expected.iter().copied();
        let help = format!("{}allowed keys: {}", did_you_mean(field, known.clone()), listed(known));
        Self { unknown_key: true, ..Self::new(message, help) }
    }
}

/// Whether a word can be shown: somebody may have put a secret where a word is expected.
fn is_harmless(word: &str) -> bool {
    word.len() <= 32 && word.chars().all(|c| c.is_ascii_lowercase() || "_- ".contains(c))
}

/// A serde deserializer over a value of the tree.
#[derive(Clone, Copy)]
struct NodeReader<'a>(&'a Node);

impl<'a> NodeReader<'a> {
    fn list<'de, V: Visitor<'de>>(items: &'a [Node], visitor: V) -> Result<V::Value, Flaw> {
        visitor.visit_seq(Items { items: items.iter().enumerate() })
    }

    fn map<'de, V: Visitor<'de>>(entries: &'a [(Key, Node)], visitor: V) -> Result<V::Value, Flaw> {
        visitor.visit_map(Entries { entries: entries.iter(), current: None })
    }

    fn whole_number<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Flaw> {
        let number = match &self.0.value {
            Value::Number(text) if text.bytes().all(|b| b.is_ascii_digit()) => text.parse().ok(),
            _ => None,
        };
        let help = "write digits only, without quotes, sign, point or unit";
        let refused = || Flaw::new(format!("expected a whole number, found {}", self.0.value.kind()), help);
        visitor.visit_u64(number.ok_or_else(refused)?)
    }
}

impl<'de> Deserializer<'de> for NodeReader<'_> {
    type Error = Flaw;

    /// For the forms of `forms.rs`: text is given for numbers too.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Flaw> {
        let read = match &self.0.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(yes) => visitor.visit_bool(*yes),
            Value::Number(text) | Value::Text(text) => visitor.visit_str(text),
            Value::List(items) => Self::list(items, visitor),
            Value::Map(entries) => Self::map(entries, visitor),
        };
        read.map_err(|flaw| flaw.found(&self.0.value))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Flaw> {
        match &self.0.value {
            Value::Bool(yes) => visitor.visit_bool(*yes),
            other => Err(Flaw::expected("`true` or `false`", other)),
        }
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Flaw> {
        self.whole_number(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Flaw> {
        match &self.0.value {
            Value::Number(text) | Value::Text(text) => visitor.visit_str(text),
            Value::Bool(yes) => visitor.visit_str(if *yes { "true" } else { "false" }),
            other => Err(Flaw::expected("text", other)),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Flaw> {
        self.deserialize_str(visitor)
    }

    /// A key without a value is a mistake and not the same as a missing key: `tokens:` must not mean "any token".
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Flaw> {
        visitor.visit_some(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Flaw> {
        match &self.0.value {
            Value::List(items) => Self::list(items, visitor),
            other => Err(Flaw::expected("a list", other)),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Flaw> {
        match &self.0.value {
            Value::Map(entries) => Self::map(entries, visitor),
            other => Err(Flaw::expected("a mapping", other)),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Flaw> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        words: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Flaw> {
        match &self.0.value {
            Value::Text(word) => visitor.visit_enum(StrDeserializer::new(word)),
            other => Err(Flaw::expected(&format!("one of {}", listed(words.iter().copied())), other)),
        }
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u128 f32 f64 char bytes byte_buf unit unit_struct newtype_struct
        tuple tuple_struct identifier ignored_any
    }
}

/// The items of a list that are not broken.
struct Items<'a> {
    items: std::iter::Enumerate<std::slice::Iter<'a, Node>>,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Flaw;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Flaw> {
        match self.items.find(|(_, item)| !item.broken) {
            Some((position, item)) => {
                seed.deserialize(NodeReader(item)).map(Some).map_err(|flaw| flaw.inside(Step::Item(position)))
            }
            None => Ok(None),
        }
    }
}

/// The entries of a mapping that are not broken.
struct Entries<'a> {
    entries: std::slice::Iter<'a, (Key, Node)>,
    current: Option<&'a (Key, Node)>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Flaw;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Flaw> {
        self.current = self.entries.find(|(_, node)| !node.broken);
        let Some((key, _)) = self.current else { return Ok(None) };
        let name: StrDeserializer<'_, Flaw> = StrDeserializer::new(&key.name);
        seed.deserialize(name).map(Some).map_err(|flaw| flaw.inside(Step::Key(key.name.clone())))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Flaw> {
        let (key, node) = self.current.expect("serde asks for a value only after its key");
        seed.deserialize(NodeReader(node)).map_err(|flaw| flaw.inside(Step::Key(key.name.clone())))
    }
}

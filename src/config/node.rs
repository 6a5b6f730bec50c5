//! The file as a tree whose values know where they stand.
//!
//! `serde_yaml` (serde-saphyr) has no tree of its own; its `Spanned` wrapper tells the place of each value while it
//! deserialises, and that is what the tree is made of. A number keeps the text it was written as, so that `010` is not `8`.
//! Duplicate keys are collected here instead of ending the parse, so that they are reported together with everything else.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_yaml::{Location, MessageFormatter, Spanned};

use super::path::{Path, Step};

/// A place in the text: line and column counted from 1 (in characters), and how much of the line it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Line, from 1; 0 if there is none.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Characters to underline, at least 1.
    pub width: usize,
}

impl Mark {
    /// The first character of the file.
    pub const START: Self = Self { line: 1, column: 1, width: 1 };
    /// No place in the text.
    pub const NOWHERE: Self = Self { line: 0, column: 0, width: 1 };
}

/// One value of the file.
#[derive(Debug)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// Where it stands.
    pub mark: Mark,
    /// A problem was reported for it, so it counts as not written.
    pub broken: bool,
}

/// What a value is.
#[derive(Debug)]
pub enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, as it was written.
    Number(String),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A mapping, in the order of the file; keys may repeat.
    Map(Vec<(Key, Node)>),
}

/// One key of a mapping.
#[derive(Debug)]
pub struct Key {
    /// The key.
    pub name: String,
    /// Where it stands.
    pub mark: Mark,
}

/// Why a text is not YAML.
#[derive(Debug)]
pub struct SyntaxError {
    /// Where the parser gave up.
    pub mark: Mark,
    /// Its words.
    pub message: String,
}

impl Value {
    /// What the value is, in the words of the problem texts.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "`true` or `false`",
            Self::Number(_) => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

impl Node {
    /// Reads a YAML document.
    ///
    /// # Errors
    /// [`SyntaxError`] if it is not one, or uses merge keys (`<<`) or tags of its own (`!x`), which would hide what a rule says.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let options = serde_yaml::options! {
            duplicate_keys: serde_yaml::options::DuplicateKeyPolicy::PassThrough,
            merge_keys: serde_yaml::options::MergeKeyPolicy::Error,
            non_finite_float_policy: serde_yaml::options::NonFiniteFloatPolicy::AsString,
            strict_booleans: true,
            strict_indentation: true,
            reject_unsupported_tags: true,
            with_snippet: false,
            emit_comments: false,
        };
        let tree: Tree = serde_yaml::from_str_with_options(text, options).map_err(|error| {
            let mark = error.location().map_or(Mark::START, |location| mark_of(location, 1));
            SyntaxError { mark, message: serde_yaml::UserMessageFormatter.format_message(&error).into_owned() }
        })?;
        Ok(tree.into_node(text))
    }

    /// The value at a path and the key it stands under. Broken items of lists are not counted, as nobody saw them.
    fn find(&self, steps: &[Step]) -> (Option<&Self>, Option<Mark>) {
        let mut node = self;
        let mut key = None;
        for step in steps {
            let next = match (&node.value, step) {
                (Value::Map(entries), Step::Key(name)) => {
                    entries.iter().find(|(key, _)| key.name == *name).map(|(key, node)| (node, Some(key.mark)))
                }
                (Value::List(items), Step::Item(position)) => {
                    items.iter().filter(|item| !item.broken).nth(*position).map(|item| (item, None))
                }
                _ => None,
            };
            match next {
                Some((found, mark)) => (node, key) = (found, mark),
                None => return (None, key),
            }
        }
        (Some(node), key)
    }

    /// The value at a path.
    pub fn get(&self, path: &Path) -> Option<&Self> {
        self.find(path.steps()).0
    }

    /// Where to point for a path: at a plain value, at the key of a list or mapping, or at the nearest thing above that exists.
    pub fn mark_of(&self, path: &Path) -> Mark {
        let steps = path.steps();
        for length in (0..=steps.len()).rev() {
            if let (Some(node), key) = self.find(&steps[..length]) {
                return match (&node.value, key) {
                    (Value::List(_) | Value::Map(_) | Value::Null, Some(key)) => key,
                    _ => node.mark,
                };
            }
        }
        self.mark
    }

    /// Where to point for the key of a path; at the value if it has none.
    pub fn mark_of_key(&self, path: &Path) -> Mark {
        self.find(path.steps()).1.unwrap_or_else(|| self.mark_of(path))
    }

    /// The same path with the positions of list items as they stand in the file, broken ones counted.
    pub fn as_written(&self, path: &Path) -> Path {
        let mut node = Some(self);
        let step_as_written = |step: &Step| {
            let (written, next) = match (node.map(|node| &node.value), step) {
                (Some(Value::Map(entries)), Step::Key(name)) => {
                    (step.clone(), entries.iter().find(|(key, _)| key.name == *name).map(|(_, node)| node))
                }
                (Some(Value::List(items)), Step::Item(position)) => {
                    match items.iter().enumerate().filter(|(_, item)| !item.broken).nth(*position) {
                        Some((written, item)) => (Step::Item(written), Some(item)),
                        None => (step.clone(), None),
                    }
                }
                _ => (step.clone(), None),
            };
            node = next;
            written
        };
        path.steps().iter().map(step_as_written).collect()
    }

    /// The keys of the mapping at a path for which a problem was reported.
    pub fn broken_keys(&self, path: &Path) -> Vec<&str> {
        match self.get(path).map(|node| &node.value) {
            Some(Value::Map(entries)) => {
                entries.iter().filter(|(_, node)| node.broken).map(|(key, _)| key.name.as_str()).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Whether the list at a path has an item for which a problem was reported, or is broken itself.
    pub fn has_broken_items(&self, path: &Path) -> bool {
        self.get(path).is_some_and(|node| match &node.value {
            Value::List(items) => node.broken || items.iter().any(|item| item.broken),
            _ => node.broken,
        })
    }

    /// Marks the value at a path as broken and tells where it and its key stand. Broken items count here, as `de` saw them all.
    pub fn break_at(&mut self, steps: &[Step]) -> (Mark, Option<Mark>) {
        let mut node = self;
        let mut key_mark = None;
        for step in steps {
            let next = match (&mut node.value, step) {
                (Value::Map(entries), Step::Key(name)) => entries
                    .iter_mut()
                    .find(|(key, node)| key.name == *name && !node.broken)
                    .map(|(key, node)| (node, Some(key.mark))),
                (Value::List(items), Step::Item(position)) => items.get_mut(*position).map(|item| (item, None)),
                _ => None,
            };
            // `de` made the steps while walking this tree, so every one exists; stopping early would only widen what is broken.
            let Some((found, mark)) = next else { break };
            (node, key_mark) = (found, mark);
        }
        node.broken = true;
        (node.mark, key_mark)
    }

    /// Marks every repeated key as broken and returns where it stands, its path, and the line of the first one.
    pub fn take_repeated_keys(&mut self) -> Vec<(Mark, Path, usize)> {
        let mut found = Vec::new();
        self.collect_repeated(&Path::top(), &mut found);
        found
    }

    fn collect_repeated(&mut self, path: &Path, found: &mut Vec<(Mark, Path, usize)>) {
        match &mut self.value {
            Value::List(items) => {
                for (position, item) in items.iter_mut().enumerate() {
                    item.collect_repeated(&path.item(position), found);
                }
            }
            Value::Map(entries) => {
                let mut first_lines = std::collections::HashMap::new();
                for (key, node) in entries {
                    let inner = path.key(&key.name);
                    match first_lines.get(&key.name) {
                        Some(line) => {
                            node.broken = true;
                            found.push((key.mark, inner, *line));
                        }
                        None => {
                            first_lines.insert(key.name.clone(), key.mark.line);
                            node.collect_repeated(&inner, found);
                        }
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) => {}
        }
    }
}

fn mark_of(location: Location, width: usize) -> Mark {
    let small = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    Mark { line: small(location.line()), column: small(location.column()), width: width.max(1) }
}

/// What the parser gives: values with both ends of their span, before marks are made of them.
struct Tree(Spanned<Branch>);

enum Branch {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Tree>),
    Map(Vec<(Spanned<String>, Tree)>),
}

impl Tree {
    fn into_node(self, source: &str) -> Node {
        let Spanned { value, defined, .. } = self.0;
        let written = source_text(defined, source);
        let one_line = written.filter(|text| !text.contains('\n')).map_or(1, |text| text.chars().count());
        let (value, width) = match value {
            Branch::Null => (Value::Null, one_line),
            Branch::Bool(yes) => (Value::Bool(yes), one_line),
            Branch::Number(parsed) => (Value::Number(written.map_or(parsed, |text| text.trim().to_owned())), one_line),
            Branch::Text(text) => (Value::Text(text), one_line),
            Branch::List(items) => (Value::List(items.into_iter().map(|item| item.into_node(source)).collect()), 1),
            Branch::Map(entries) => {
                (Value::Map(entries.into_iter().map(|entry| into_entry(entry, source)).collect()), 1)
            }
        };
        Node { value, mark: mark_of(defined, width), broken: false }
    }
}

fn into_entry((key, tree): (Spanned<String>, Tree), source: &str) -> (Key, Node) {
    let width =
        source_text(key.defined, source).filter(|text| !text.contains('\n')).map_or(1, |text| text.chars().count());
    (Key { name: key.value, mark: mark_of(key.defined, width) }, tree.into_node(source))
}

/// The text that a span covers.
fn source_text(location: Location, source: &str) -> Option<&str> {
    let start = usize::try_from(location.span().byte_offset()?).ok()?;
    let length = usize::try_from(location.span().byte_len()?).ok()?;
    source.get(start..start.checked_add(length)?)
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Spanned::deserialize(deserializer).map(Self)
    }
}

impl<'de> Deserialize<'de> for Branch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BranchVisitor)
    }
}

struct BranchVisitor;

impl<'de> Visitor<'de> for BranchVisitor {
    type Value = Branch;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Branch, E> {
        Ok(Branch::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Branch, E> {
        Ok(Branch::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Branch, E> {
        Ok(Branch::Number(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Branch, E> {
        Ok(Branch::Number(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Branch, E> {
        Ok(Branch::Number(value.to_string()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Branch, E> {
        Ok(Branch::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Branch, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Branch::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Branch, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Branch::Map(entries))
    }
}

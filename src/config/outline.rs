//! Which keys differ between two versions of a file, and which of them wait for a restart.
//!
//! Compares what is written, not what it means: a key that is written with its default is a change.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::digest::{SHA256, digest};

use super::node::{Node, Value};

/// When a change of a key takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// With the next reload.
    Reload,
    /// At the next start.
    Restart,
}

/// When changes take effect, by path; `[]` stands for an item of a list. Of several that fit the longest counts.
const EFFECTS: &[(&str, Effect)] = &[
    // Sockets are bound once.
    ("listen", Effect::Restart),
    ("listen[].tls", Effect::Reload),
    ("listen[].identity", Effect::Reload),
    ("listen[].proxy_protocol", Effect::Reload),
    ("listen[].forwarded", Effect::Reload),
    ("domains", Effect::Reload),
    ("admin", Effect::Reload),
    ("admin.address", Effect::Restart),
    ("upstreams", Effect::Reload),
    ("buckets", Effect::Reload),
    ("clients", Effect::Reload),
    ("sts", Effect::Reload),
    ("inspectors", Effect::Reload),
    ("rules", Effect::Reload),
    ("limits", Effect::Reload),
    // Bodies in flight hold parts of it.
    ("limits.buffers", Effect::Restart),
    // Writers have files open, and threads.
    ("audit", Effect::Restart),
    ("audit.wait", Effect::Reload),
    ("tracing", Effect::Reload),
    ("log", Effect::Reload),
    // Whatever reads the log has begun to read it in one format.
    ("log.format", Effect::Restart),
    ("reload", Effect::Reload),
];

/// When a change of the key at this path takes effect; `None` if nobody has said it.
pub fn effect(path: &str) -> Option<Effect> {
    let covers = |start: &str| {
        let rest = path.strip_prefix(start);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    let fitting = EFFECTS.iter().filter(|(start, _)| covers(start));
    fitting.max_by_key(|(start, _)| start.len()).map(|(_, effect)| *effect)
}

/// The values of a file by path, as digests: somebody may have written a secret into it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outline(BTreeMap<String, Leaf>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Leaf {
    /// The path without positions of items, for [`effect`].
    key: String,
    /// What a person is told: the first two keys of the path.
    shown: String,
    digest: Vec<u8>,
}

impl Outline {
    /// That of a file.
    pub(super) fn new(root: &Node) -> Self {
        let mut leaves = BTreeMap::new();
        collect(root, &Steps::default(), &mut leaves);
        Self(leaves)
    }

    /// Keys that differ, by their first two names.
    pub fn changes(&self, newer: &Self) -> BTreeSet<String> {
        self.differing(newer).map(|leaf| leaf.shown.clone()).collect()
    }

    /// Keys that differ and wait for a restart.
    pub fn needs_restart(&self, newer: &Self) -> BTreeSet<String> {
        let waits = |leaf: &&Leaf| effect(&leaf.key) != Some(Effect::Reload);
        self.differing(newer).filter(waits).map(|leaf| leaf.key.replace("[]", "")).collect()
    }

    fn differing<'a>(&'a self, newer: &'a Self) -> impl Iterator<Item = &'a Leaf> {
        let gone = self.0.iter().filter(|(path, leaf)| newer.0.get(*path) != Some(leaf));
        let come = newer.0.iter().filter(|(path, leaf)| self.0.get(*path) != Some(leaf));
        gone.chain(come).map(|(_, leaf)| leaf)
    }
}

/// The way to a value, in three forms.
#[derive(Debug, Clone, Default)]
struct Steps {
    path: String,
    key: String,
    shown: String,
    depth: usize,
}

impl Steps {
    fn named(&self, name: &str) -> Self {
        let dot = if self.path.is_empty() { "" } else { "." };
        let mut next = self.clone();
        next.path += &format!("{dot}{name:?}");
        next.key += &format!("{dot}{name}");
        if self.depth < 2 {
            next.shown += &format!("{dot}{name}");
        }
        next.depth += 1;
        next
    }

    fn item(&self, position: usize) -> Self {
        let mut next = self.clone();
        next.path += &format!("[{position}]");
        next.key += "[]";
        // What is in a list is told as the list.
        next.depth = 2;
        next
    }
}

fn collect(node: &Node, at: &Steps, leaves: &mut BTreeMap<String, Leaf>) {
    let text = match &node.value {
        Value::List(items) if !items.is_empty() => {
            return items.iter().enumerate().for_each(|(position, item)| collect(item, &at.item(position), leaves));
        }
        Value::Map(entries) if !entries.is_empty() => {
            return entries.iter().for_each(|(key, value)| collect(value, &at.named(&key.name), leaves));
        }
        Value::List(_) => "[]".to_owned(),
        Value::Map(_) => "{}".to_owned(),
        Value::Null => "null".to_owned(),
        Value::Bool(yes) => format!("bool {yes}"),
        Value::Number(number) => format!("number {number}"),
        Value::Text(text) => format!("text {text}"),
    };
    let digest = digest(&SHA256, text.as_bytes()).as_ref().to_vec();
    leaves.insert(at.path.clone(), Leaf { key: at.key.clone(), shown: at.shown.clone(), digest });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outline(text: &str) -> Outline {
        Outline::new(&Node::parse(text).unwrap())
    }

    fn told(before: &str, after: &str) -> (Vec<String>, Vec<String>) {
        let (before, after) = (outline(before), outline(after));
        (before.changes(&after).into_iter().collect(), before.needs_restart(&after).into_iter().collect())
    }

    #[test]
    fn changes_are_told_by_their_first_keys_and_those_that_wait_in_full() {
        let before = "{ listen: [{ address: a, tls: { key: k } }], rules: [{ name: x }], limits: { buffers: 1, timeouts: { head: 1 } } }";
        for (from, to, changed, waits) in [
            ("key: k", "key: other", "listen", None),
            ("address: a", "address: b", "listen", Some("listen.address")),
            ("name: x", "name: y", "rules", None),
            ("{ name: x }", "{ name: x }, { name: y }", "rules", None),
            ("rules: [{ name: x }]", "rules: []", "rules", None),
            ("buffers: 1", "buffers: 2", "limits.buffers", Some("limits.buffers")),
            ("head: 1", "head: \"1\"", "limits.timeouts", None),
            ("rules:", "log: { level: info }, rules:", "log.level", None),
            ("rules:", "log: { format: json }, rules:", "log.format", Some("log.format")),
            ("rules:", "audit: { wait: 1s }, rules:", "audit.wait", None),
            ("rules:", "audit: { file: a }, rules:", "audit.file", Some("audit.file")),
        ] {
            let after = before.replace(from, to);
            assert_ne!(after, before);
            let expected = (vec![changed.to_owned()], waits.map(str::to_owned).into_iter().collect());
            assert_eq!(told(before, &after), expected, "{after}");
        }
        assert_eq!(told(before, &format!("# a comment\n{before}")), (vec![], vec![]));
    }

    #[test]
    fn the_longest_path_says_when_a_change_takes_effect() {
        assert_eq!(effect("listen[].address"), Some(Effect::Restart));
        assert_eq!(effect("listen[].tls.key"), Some(Effect::Reload));
        assert_eq!(effect("limits.buffers"), Some(Effect::Restart));
        assert_eq!(effect("limits.buffers_of_another"), Some(Effect::Reload));
        assert_eq!(effect("listening"), None);
    }
}

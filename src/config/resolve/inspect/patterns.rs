//! `patterns` of an inspector.

use std::collections::BTreeMap;

use super::super::super::path::Path;
use super::super::super::raw_inspect::RawPatterns;
use super::super::super::suggest::did_you_mean;
use super::super::clients::{check_texts, text_path};
use super::super::desk::Desk;
use super::super::values::{absolute, check_name, count};
use super::unpack::unpack;
use crate::inspect::patterns::matcher::MAX_MATCH;
use crate::inspect::patterns::{BuiltIn, Settings, check_regex};

/// Most lines of a list.
const MAX_LINES: usize = 100_000;
/// Most bytes of one.
const MAX_LIST: usize = 4 << 20;

/// Its settings; `None` if a problem was reported.
pub fn resolve(desk: &mut Desk<'_>, path: &Path, raw: &RawPatterns) -> Option<Settings> {
    let nothing = raw.sets.is_none() && raw.literals.is_none() && raw.regexes.is_none() && raw.files.is_none();
    if nothing && !desk.is_blurred(path) {
        desk.report(path, "there are no patterns", "write `sets: [eicar]`, or `literals`, `regexes` or `files`");
        return None;
    }
    let sets = sets(desk, &path.key("sets"), raw);
    let literals = named(desk, &path.key("literals"), raw.literals.as_ref(), literal);
    let regexes = named(desk, &path.key("regexes"), raw.regexes.as_ref(), |desk, path, text| match check_regex(text) {
        Ok(_) => Some(text.to_owned()),
        Err(error) => {
            desk.report(path, error.to_string(), error.help());
            None
        }
    });
    let unpack = unpack(desk, path, raw.into());
    let lists = named(desk, &path.key("files"), raw.files.as_ref(), list);
    Some(Settings {
        sets: sets?,
        literals: literals?,
        regexes: regexes?,
        lists: lists?,
        ignore_case: raw.ignore_case.unwrap_or(false),
        count: count(desk, &path.key("count"), raw.count, 1, 1..=1000),
        unpack,
    })
}

fn sets(desk: &mut Desk<'_>, path: &Path, raw: &RawPatterns) -> Option<Vec<BuiltIn>> {
    let Some(written) = &raw.sets else { return Some(Vec::new()) };
    let names = BuiltIn::ALL.map(BuiltIn::as_str);
    check_texts(desk, path, written, "name a set, or remove `sets`");
    let mut sets = Vec::new();
    for (position, name) in written.texts().iter().enumerate() {
        match BuiltIn::named(name) {
            Some(set) if sets.contains(&set) => {
                desk.report(&text_path(path, written, position), "this set is named twice", "remove one");
            }
            Some(set) => sets.push(set),
            None if name.is_empty() => {}
            None => {
                let help = format!("{}there are {}", did_you_mean(name, names), names.join(", "));
                desk.report(&text_path(path, written, position), format!("there is no set `{name}`"), help);
            }
        }
    }
    (sets.len() == written.texts().len()).then_some(sets)
}

/// A mapping of names to values; `None` if one has a problem.
fn named<T>(
    desk: &mut Desk<'_>,
    path: &Path,
    raw: Option<&BTreeMap<String, String>>,
    read: impl Fn(&mut Desk<'_>, &Path, &str) -> Option<T>,
) -> Option<Vec<(String, T)>> {
    let values = raw.into_iter().flatten().map(|(name, text)| {
        let path = path.key(name);
        let good_name = check_name(desk, &path, name);
        let value = read(desk, &path, text);
        value.filter(|_| good_name).map(|value| (name.clone(), value))
    });
    // All of them are read, so that all problems are told.
    values.collect::<Vec<_>>().into_iter().collect()
}

fn literal(desk: &mut Desk<'_>, path: &Path, text: &str) -> Option<String> {
    if (1..=MAX_MATCH).contains(&text.len()) {
        return Some(text.to_owned());
    }
    desk.report(path, format!("a literal of {} bytes", text.len()), format!("write 1 to {MAX_MATCH} bytes"));
    None
}

fn list(desk: &mut Desk<'_>, path: &Path, text: &str) -> Option<Vec<String>> {
    let file = absolute(desk, path, text)?;
    let content = desk.read_file(path, &file)?;
    let lines: Vec<String> = content.lines().map(str::to_owned).collect();
    let longest = lines.iter().map(String::len).max().unwrap_or(0);
    if content.len() > MAX_LIST || lines.len() > MAX_LINES || longest > MAX_MATCH {
        let help = format!("at most {MAX_LINES} lines, {MAX_LIST} bytes in all, and {MAX_MATCH} bytes a line");
        desk.report(path, "the list is too large", help);
        return None;
    }
    if longest == 0 {
        desk.report(path, "there is no literal in the file", "write one a line");
        return None;
    }
    Some(lines)
}

//! `yara` of an inspector.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::thread::available_parallelism;
use std::time::Duration;

use super::super::super::forms::OneOrMany;
use super::super::super::path::Path;
use super::super::super::raw_inspect::RawYara;
use super::super::clients::{check_texts, text_path};
use super::super::desk::Desk;
use super::super::values::{absolute, count, duration, size};
use super::unpack::unpack;
use crate::inspect::yara::{IS_BUILT_IN, RuleSet, Settings, Source};

const HELP: &str = "name rule files under `files`, or a folder with them under `folder`";

/// Largest object that is held as a whole.
const MAX_WHOLE: u64 = 256 << 20;

/// Its settings; `None` if a problem was reported.
pub fn resolve(desk: &mut Desk<'_>, path: &Path, raw: &RawYara) -> Option<Settings> {
    if !IS_BUILT_IN {
        let help = "build countersign with `cargo build --release --features yara`";
        desk.report_key(path, "this build of countersign cannot match rules of YARA", help);
        return None;
    }
    let size_path = path.key("whole_up_to");
    let whole_up_to = raw.whole_up_to.as_ref().map(|text| size(desk, &size_path, Some(text), MAX_WHOLE, 1..=MAX_WHOLE));
    let processors = available_parallelism().map_or(1, usize::from);
    let threads = count(desk, &path.key("threads"), raw.threads, processors, 1..=256);
    let deadline_path = path.key("deadline");
    let range = Duration::from_secs(1)..=Duration::from_secs(3600);
    let deadline = duration(desk, &deadline_path, raw.deadline.as_ref(), Duration::from_secs(30), range);
    let ignore_tags = raw.ignore_tags.as_ref().map(OneOrMany::texts).unwrap_or_default().to_vec();
    if let Some(tags) = &raw.ignore_tags {
        check_texts(desk, &path.key("ignore_tags"), tags, "name a tag of rules, or remove `ignore_tags`");
    }
    let unpack = unpack(desk, path, raw.into());
    let rules = rules(desk, path, raw, whole_up_to)?;
    Some(Settings { rules, ignore_tags, threads, deadline, unpack })
}

fn rules(desk: &mut Desk<'_>, path: &Path, raw: &RawYara, whole_up_to: Option<u64>) -> Option<RuleSet> {
    let mut found = files(desk, path, raw)?;
    found.extend(folder(desk, path, raw)?);
    if found.is_empty() {
        // An empty list was reported already.
        if raw.files.is_none() && !desk.is_blurred(path) {
            desk.report(path, "there is no rule file", HELP);
        }
        return None;
    }
    let mut sources = Vec::new();
    for (place, file) in &found {
        let text = desk.read_file(place, file);
        sources.push(text.map(|text| Source { origin: file.display().to_string(), text }));
    }
    let sources: Vec<Source> = sources.into_iter().collect::<Option<_>>()?;
    match RuleSet::compile(&sources, whole_up_to) {
        Ok(rules) => Some(rules),
        Err(problems) => {
            for problem in problems {
                let place = found.get(problem.source).map_or(path, |(place, _)| place);
                desk.report(place, problem.message, problem.help);
            }
            None
        }
    }
}

fn files(desk: &mut Desk<'_>, path: &Path, raw: &RawYara) -> Option<Vec<(Path, PathBuf)>> {
    let path = path.key("files");
    let Some(texts) = &raw.files else { return Some(Vec::new()) };
    check_texts(desk, &path, texts, HELP);
    let mut files = Vec::new();
    for (position, text) in texts.texts().iter().enumerate() {
        let place = text_path(&path, texts, position);
        files.push((place.clone(), absolute(desk, &place, text)?));
    }
    Some(files)
}

fn folder(desk: &mut Desk<'_>, path: &Path, raw: &RawYara) -> Option<Vec<(Path, PathBuf)>> {
    let path = path.key("folder");
    let Some(text) = &raw.folder else { return Some(Vec::new()) };
    let folder = absolute(desk, &path, text)?;
    let is_rule_file = |file: &PathBuf| {
        let ends = |end: &str| file.extension() == Some(OsStr::new(end));
        let is_hidden = file.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        (ends("yar") || ends("yara")) && !is_hidden
    };
    let mut files: Vec<PathBuf> = desk.list_folder(&path, &folder)?.into_iter().filter(is_rule_file).collect();
    files.sort();
    if files.is_empty() {
        let help = "put rule files there; their names end with `.yar` or `.yara`";
        desk.report(&path, format!("{} holds no rule file", folder.display()), help);
        return None;
    }
    Some(files.into_iter().map(|file| (path.clone(), file)).collect())
}

//! What the compiler does not check: layering, file sizes, module heads, and invariants that are written as absences.
//!
//! The rank table is the one of `docs/ARCHITECTURE.md`; a test compares the two.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Modules by rank. A module may name modules of a lower rank and itself; equal rank means strangers.
const RANKS: &[&[&str]] = &[
    &["base", "flow", "breaker", "upkeep"],
    &["sigv4", "telemetry", "dial", "bounded", "arrival"],
    &["s3", "inspect", "post"],
    &["audit", "auth", "cors"],
    &["rules"],
    &["limits"],
    &["body"],
    &["sign"],
    &["upstream"],
    &["respond"],
    &["administration", "documents", "downloads", "explain", "listing", "multipart", "probe", "sts"],
    &["gateway", "console"],
    &["edge"],
    &["config"],
    &["app"],
    &["demo"],
    &["cli"],
];

/// Production lines a file may have. One more is a reason to look for two things in it.
const MAX_LINES: usize = 500;

struct Source {
    path: PathBuf,
    module: String,
    /// Without comments and without test modules.
    code: String,
    text: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Test files beside the code: `x_tests.rs`, `tests.rs`, and everything in a folder `tests`.
fn is_test_file(path: &Path) -> bool {
    let stem = path.file_stem().unwrap().to_string_lossy();
    stem == "tests" || stem.ends_with("_tests") || path.components().any(|part| part.as_os_str() == "tests")
}

fn sources() -> Vec<Source> {
    let src = root().join("src");
    files("src", "rs")
        .into_iter()
        .filter(|path| !is_test_file(path.strip_prefix(&src).unwrap()))
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let first = path
                .strip_prefix(&src)
                .unwrap()
                .components()
                .next()
                .unwrap()
                .as_os_str()
                .to_string_lossy()
                .into_owned();
            Source { module: first.trim_end_matches(".rs").to_owned(), code: production_code(&text), text, path }
        })
        .collect()
}

/// The text up to the test module, without comments.
fn production_code(text: &str) -> String {
    let end = text.find("\n#[cfg(test)]\n").unwrap_or(text.len());
    text[..end].lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// Every top-level module that a piece of code names by `crate::`, also inside braces.
fn named_modules(code: &str) -> BTreeSet<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut names = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            None => drop(names.insert(word(rest))),
            Some(list) => {
                let mut depth = 0;
                let mut at_start = true;
                for (index, character) in list.char_indices() {
                    match character {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => at_start = true,
                        _ if at_start && character.is_alphanumeric() => {
                            names.insert(word(&list[index..]));
                            at_start = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    names
}

fn rank(module: &str) -> Option<usize> {
    RANKS.iter().position(|modules| modules.contains(&module))
}

#[test]
fn modules_name_lower_ranks_only() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| !matches!(source.module.as_str(), "main" | "lib")) {
        let own = rank(&source.module).unwrap_or_else(|| panic!("the module {} has no rank", source.module));
        for named in named_modules(&source.code) {
            let Some(other) = rank(&named) else {
                panic!("{} names the unknown module {named}", source.path.display())
            };
            if named != source.module && other >= own {
                wrong.push(format!("{} names {named}", source.path.strip_prefix(root()).unwrap().display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_scan_finds_names_in_every_form() {
    let code = "use crate::base::X;\nuse crate::{auth::{A, B}, s3, rules::Rule};\nlet y = crate::sign::z();";
    let found: Vec<_> = named_modules(code).into_iter().collect();
    assert_eq!(found, ["auth", "base", "rules", "s3", "sign"]);
    assert_eq!(production_code("a // crate::x\n#[cfg(test)]\nmod tests { use crate::edge; }"), "a ");
}

#[test]
fn the_architecture_page_has_the_same_ranks() {
    let page = fs::read_to_string(root().join("docs/ARCHITECTURE.md")).unwrap();
    for (rank, modules) in RANKS.iter().enumerate() {
        for module in *modules {
            let row = page
                .lines()
                .find(|line| line.starts_with(&format!("| {rank} |")) && line.contains(&format!("`{module}`")));
            assert!(row.is_some(), "docs/ARCHITECTURE.md lacks a row `| {rank} | … `{module}` …`");
        }
    }
}

#[test]
fn files_are_of_readable_size_and_say_what_they_are_for() {
    for source in sources() {
        let lines = source.code.lines().count();
        let generated = source.text.starts_with("//! Generated");
        assert!(generated || lines <= MAX_LINES, "{} has {lines} production lines", source.path.display());
        assert!(source.text.starts_with("//!"), "{} does not say what it is for", source.path.display());
    }
}

/// Files whose path below `src` begins with one of these.
fn below(source: &Source, folders: &[&str]) -> bool {
    let path = source.path.strip_prefix(root().join("src")).unwrap().to_string_lossy().into_owned();
    folders.iter().any(|folder| path.starts_with(folder))
}

#[test]
fn parsing_and_deciding_neither_wait_nor_read_a_clock() {
    let pure = [
        "s3/",
        "sigv4/",
        "rules/",
        "limits/",
        "inspect/file_type",
        "base/encoding",
        "base/ids",
        "base/secret",
        "base/units",
    ];
    let stages = [
        "body/chunk_",
        "body/digest_check",
        "body/form_decode",
        "body/holdback",
        "body/inspect_tap",
        "body/length_guard",
        "body/type_check",
    ];
    for source in sources().iter().filter(|source| below(source, &pure) || below(source, &stages)) {
        for word in [".await", "async fn", "Instant::now", "SystemTime::now", "Timestamp::now", "tokio::"] {
            assert!(!source.code.contains(word), "{} has `{word}`", source.path.display());
        }
    }
}

#[test]
fn l11_only_one_place_each_reads_the_clock_dials_and_collects_bodies() {
    for source in sources() {
        let has = |words: &[&str]| words.iter().any(|word| source.code.contains(word));
        assert!(
            !has(&["Timestamp::now", "SystemTime::now"]) || below(&source, &["base/clock"]),
            "{} reads the clock",
            source.path.display()
        );
        assert!(
            !has(&["TcpStream::connect", "TcpSocket::new", "UnixStream::connect"])
                // A probe is a process of its own, without a runtime.
                || below(&source, &["dial/", "demo/", "cli/health"]),
            "{} dials",
            source.path.display()
        );
        assert!(
            !has(&[".collect().await", "to_bytes().await"]) || below(&source, &["bounded", "demo/"]),
            "{} collects a body",
            source.path.display()
        );
        assert!(!source.code.contains("use super::*"), "{} hides what it names", source.path.display());
    }
}

#[test]
fn only_the_composition_root_and_the_commands_know_the_configuration() {
    for source in sources().iter().filter(|source| named_modules(&source.code).contains("config")) {
        assert!(below(source, &["config/", "app", "cli", "demo/"]), "{} names config", source.path.display());
    }
}

#[test]
fn callers_that_nobody_authenticated_are_for_explain_only() {
    for source in sources().iter().filter(|source| !below(source, &["auth/", "explain/"])) {
        assert!(!source.code.contains("hypothetical"), "{} names a hypothetical caller", source.path.display());
    }
}

#[test]
fn tests_listen_on_free_ports_and_none_is_left_out() {
    for path in files("tests", "rs").into_iter().chain(files("src", "rs")) {
        let text = fs::read_to_string(&path).unwrap();
        if path.ends_with("tests/tidy.rs") {
            continue;
        }
        assert!(!text.contains("#[ignore"), "{} leaves a test out", path.display());
        let fixed = text.split("bind(\"127.0.0.1:").skip(1).any(|rest| !rest.starts_with("0\""));
        assert!(!fixed, "{} binds a fixed port", path.display());
    }
}

/// Sections of the threat catalogue whose every case must be in `docs/THREATS.md`, with their last numbers.
const THREATS: [(char, u32, u32); 10] = [
    ('A', 1, 16),
    ('B', 1, 22),
    ('C', 1, 8),
    ('D', 1, 30),
    ('E', 1, 13),
    ('F', 1, 14),
    ('G', 1, 12),
    ('H', 1, 19),
    ('K', 1, 27),
    ('L', 1, 14),
];

/// Every id that a cell names, ranges such as `K01–K03` included.
fn threat_ids(cell: &str) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    for word in cell.split_whitespace() {
        let mut ends = word.split('–').map(|id| {
            id.split_at_checked(1).and_then(|(section, number)| Some((section, number.parse::<u32>().ok()?)))
        });
        let (Some(Some((section, first))), last) = (ends.next(), ends.next()) else { continue };
        let last = last.flatten().map_or(first, |(_, last)| last);
        ids.extend((first..=last).map(|number| format!("{section}{number:02}")));
    }
    ids
}

#[test]
fn the_page_of_threats_has_every_case_and_names_tests_that_exist() {
    let page = fs::read_to_string(root().join("docs/THREATS.md")).unwrap();
    let sources: String = files("tests", "rs")
        .into_iter()
        .chain(files("src", "rs"))
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let mut found = BTreeSet::new();
    for row in page.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        found.extend(threat_ids(cells[0]));
        let [_, _, tests] = cells[..] else { continue };
        for name in tests.split('`').skip(1).step_by(2) {
            let is_name =
                name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_') && name.contains('_');
            assert!(
                !is_name || sources.contains(&format!("fn {name}(")),
                "docs/THREATS.md names the test `{name}`, which does not exist"
            );
        }
    }
    let wanted =
        THREATS.into_iter().flat_map(|(section, first, last)| (first..=last).map(move |n| format!("{section}{n:02}")));
    let missing: Vec<String> = wanted.filter(|id| !found.contains(id)).collect();
    assert!(missing.is_empty(), "docs/THREATS.md lacks {missing:?}");
}

#[test]
fn ids_of_threats_are_found_in_lists_and_ranges() {
    let ids: Vec<String> = threat_ids("D01–D03 K12 A16 (second half), L08").into_iter().collect();
    assert_eq!(ids, ["A16", "D01", "D02", "D03", "K12", "L08"]);
}

#[test]
fn no_file_holds_a_path_of_somebodys_machine() {
    let texts = ["src", "tests", "docs", "config"]
        .into_iter()
        .flat_map(|folder| ["rs", "md", "yaml", "sh", "py", "mjs"].map(|ext| files(folder, ext)))
        .flatten();
    for path in texts.chain(["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "Makefile"].map(|name| root().join(name)))
    {
        let text = fs::read_to_string(&path).unwrap_or_default();
        for (start, end) in [("/wo", "rk/"), ("/ro", "ot/")] {
            let machine = format!("{start}{end}");
            let used = text.lines().any(|line| line.contains(&machine));
            assert!(!used, "{} holds `{machine}`", path.display());
        }
    }
}

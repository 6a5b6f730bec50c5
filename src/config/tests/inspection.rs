//! `inspectors` and `inspect` of rules: what becomes of every key, and of mistakes. Each kind of inspector has its own rows elsewhere.

use std::time::Duration;

use super::{Config, assert_problems, edited, load, references};
use crate::inspect::{
    Action, Actions, DownloadTerms, InspectionTerms, InspectorId, LoadSettings, Mark, MultipartInspection,
    QuarantinePlace, Ranges,
};

fn loaded(text: &str) -> Config {
    load(text).unwrap_or_else(|problems| panic!("{problems}\nin\n{text}"))
}

/// Stands before the rules.
const WORDS: &str = "inspectors: { words: { patterns: { sets: eicar } } }\nrules:";
/// Stands for the place of a rule.
const RULE: &str = "where: team-data/builds/\n    inspect: { with: words }";
const LOADED: &str = "inspectors:
  words:
    patterns: { literals: { bad: some words } }
    max_scans: 3
    max_waiting: 0
    principal_share: 100
    queue_timeout: 1s
    timeout: 2s
    breaker: { failures: 0, pause: 1s }
    required: false
";
const EVERY_KEY: &str = "with: [words], uploads: true, matched: quarantine, not_scannable: mark, error: allow, quarantine: team-data/quarantine/, mark: metadata:x-amz-meta-Verdict, multipart: deny, downloads: { hold: 2MiB, ranges: refuse }";

#[test]
fn every_key_of_inspection_can_be_written() {
    let rule = RULE.replacen("with: words", EVERY_KEY, 1);
    let words = edited("rules:", &format!("{LOADED}rules:")).replace("where: team-data/builds/", &rule);
    let config = loaded(&words);
    let words = &config.inspectors[0];
    assert_eq!((words.name.as_str(), words.required), ("words", false));
    let load = LoadSettings {
        max_scans: 3,
        max_waiting: 0,
        principal_share: 100,
        queue_timeout: Duration::from_secs(1),
        timeout: Duration::from_secs(2),
        breaker_failures: 0,
        breaker_pause: Duration::from_secs(1),
    };
    assert_eq!(words.load, load);
    let expected = InspectionTerms {
        inspectors: vec![InspectorId(0)],
        names: vec!["words".to_owned()],
        uploads: true,
        actions: Actions { matched: Action::Quarantine, not_scannable: Action::Mark, error: Action::Allow },
        quarantine: Some(QuarantinePlace { bucket: "team-data".to_owned(), prefix: "quarantine/".to_owned() }),
        mark: Mark::Metadata("x-amz-meta-verdict".parse().unwrap()),
        multipart: MultipartInspection::Deny,
        downloads: Some(DownloadTerms { hold: 2 << 20, ranges: Ranges::Refuse, scan_up_to: 1 << 30 }),
    };
    assert_eq!(config.rules[0].terms.inspection.as_deref(), Some(&expected));
}

#[test]
fn h12_inspection_refuses_all_but_clean_if_nothing_else_is_said() {
    let config = loaded(&edited("rules:", WORDS).replace("where: team-data/builds/", RULE));
    let load = LoadSettings {
        max_scans: 16,
        max_waiting: 128,
        principal_share: 50,
        queue_timeout: Duration::from_secs(10),
        timeout: Duration::from_secs(60),
        breaker_failures: 10,
        breaker_pause: Duration::from_secs(5),
    };
    assert_eq!((config.inspectors[0].load, config.inspectors[0].required), (load, true));
    let terms = config.rules[0].terms.inspection.as_deref().unwrap();
    assert_eq!((terms.actions, terms.uploads, terms.downloads), (Actions::default(), true, None));
    assert_eq!((terms.multipart, &terms.mark), (MultipartInspection::Staged, &Mark::Tag("countersign-verdict".into())));
    assert!(!terms.needs_staging() && terms.quarantine.is_none());
}

#[test]
fn inspectors_with_mistakes() {
    let inspectors = |keys: &str| edited("rules:", &format!("inspectors: {{ {keys} }}\nrules:"));
    for (keys, expected) in [
        ("a: {}", &[(21, "not said what this inspector looks for", "write one of `patterns`")][..]),
        ("a: { patterns: { sets: eicar }, http: {} }", &[(21, "more than one kind", "can name several")]),
        ("\"a b\": { patterns: { sets: eicar } }", &[(21, "cannot be a name", "")]),
        ("a: { patterns: { sets: eicar }, max_scans: 0 }", &[(21, "0 is out of range", "1 to 10000")]),
        ("a: { patterns: { sets: eicar }, principal_share: 101 }", &[(21, "101 is out of range", "1 to 100")]),
        ("a: { patterns: { sets: eicar }, timeout: 0s }", &[(21, "`0s` is out of range", "")]),
        ("a: { patterns: { sets: eicar }, queue_timeout: 25h }", &[(21, "`25h` is out of range", "")]),
        ("a: { pattern: {} }", &[(21, "unknown key `pattern`", "did you mean `patterns`?")]),
    ] {
        assert_problems(&inspectors(keys), &references(), expected);
    }
}

#[test]
fn a_quarantine_is_out_of_reach_of_the_rule_whoever_the_caller_is() {
    let rule = |place: &str, quarantine: &str| {
        let inspect = format!(
            "where: [team-data/x/, \"{place}\"]\n    inspect: {{ with: words, matched: quarantine, quarantine: {quarantine} }}"
        );
        edited("rules:", WORDS).replacen("where: team-data/builds/", &inspect, 1)
    };
    for (place, quarantine) in [
        ("team-data", "team-data"),
        ("team-data", "team-data/kept/"),
        ("team-data/{team}/", "team-data/kept/"),
        ("team-data/a/{team}/", "team-data/a/kept/deep/"),
        ("team-data/kept/{team}/", "team-data/kept/"),
    ] {
        assert_problems(
            &rule(place, quarantine),
            &references(),
            &[(26, "lies in a place of the rule", "another bucket")],
        );
    }
    for (place, quarantine) in [
        ("team-data/a/", "team-data/kept/"),
        ("team-data/a/{team}/", "team-data/kept/"),
        ("team-data/a/", "team-data/"),
        ("team-data/kept/a/", "team-data/kept/"),
    ] {
        loaded(&rule(place, quarantine));
    }
}

#[test]
fn inspection_of_a_rule_with_mistakes() {
    let inspector = edited("rules:", WORDS);
    let rule = |keys: &str| inspector.replacen("where: team-data/builds/", &RULE.replacen("with: words", keys, 1), 1);
    for (keys, expected) in [
        ("", &[(26, "the key `with` is missing", "with: [antivirus]")][..]),
        ("with: []", &[(26, "the list is empty", "name an inspector")]),
        ("with: word", &[(26, "there is no inspector `word`", "did you mean `words`?")]),
        ("with: [words, words]", &[(26, "named twice", "remove one")]),
        ("with: words, uploads: false", &[(26, "nothing is inspected", "downloads: {}")]),
        ("with: words, matched: delete", &[(26, "`delete`", "")]),
        ("with: words, matched: quarantine", &[(26, "the key `quarantine` is missing", "bucket/prefix/")]),
        ("with: words, quarantine: team-data/q/", &[(26, "no verdict leads to the quarantine", "remove it")]),
        ("with: words, error: quarantine, quarantine: nowhere/", &[(26, "there is no bucket `nowhere`", "")]),
        ("with: words, error: quarantine, quarantine: team-data/q", &[(26, "must end with `/`", "")]),
        (
            "with: words, error: quarantine, quarantine: team-data/builds/q/",
            &[(26, "lies in a place of the rule, `team-data/builds/`", "outside of the rule's `where`")],
        ),
        ("with: words, error: quarantine, quarantine: team-data/builds/", &[(26, "lies in a place of the rule", "")]),
        ("with: words, mark: a-tag", &[(26, "this is not a mark", "tag:NAME")]),
        ("with: words, mark: 'metadata:verdict'", &[(26, "this is not a mark", "x-amz-meta-NAME")]),
        ("with: words, downloads: { hold: 65MiB }", &[(26, "`65MiB` is out of range", "64MiB")]),
    ] {
        assert_problems(&rule(keys), &references(), expected);
    }
}

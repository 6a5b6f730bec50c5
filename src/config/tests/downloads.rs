//! Inspected downloads: what a rule wants of them, and what they may cost.

use std::time::Duration;

use super::super::load_text;
use super::good::{EVERYTHING, loaded};
use super::{assert_problems, edited, references};
use crate::inspect::{DownloadTerms, InspectionLimits, MemorySettings, Ranges};

const INSPECTORS: &str = "inspectors: { dlp: { patterns: { sets: [eicar] } } }\nrules:\n";

/// A rule that inspects downloads so.
fn rule(downloads: &str) -> String {
    let rule = format!(
        "{INSPECTORS}  - {{ name: in, who: {{ tokens: [ci] }}, where: team-data/in/, what: [read], inspect: {{ with: dlp, downloads: {{ {downloads} }} }} }}\n"
    );
    edited("rules:\n", &rule)
}

#[test]
fn downloads_are_held_and_scanned_for_ranges_unless_it_is_said() {
    let terms = |downloads: &str| {
        let config = loaded(&rule(downloads));
        config.rules[0].terms.inspection.as_ref().and_then(|terms| terms.downloads)
    };
    let defaults = DownloadTerms { hold: 1 << 20, ranges: Ranges::Scan, scan_up_to: 1 << 30 };
    assert_eq!(terms(""), Some(defaults));
    let written = DownloadTerms { hold: 0, ranges: Ranges::Refuse, scan_up_to: 5 << 40 };
    assert_eq!(terms("hold: 0B, ranges: refuse, scan_up_to: 5TiB"), Some(written));
    let memory = MemorySettings { verdicts: 50_000, lifetime: Duration::from_secs(3600) };
    assert_eq!(loaded(&rule("")).inspection, InspectionLimits { held: 64 << 20, memory });
}

#[test]
fn what_inspected_downloads_may_cost_can_be_written() {
    let memory = MemorySettings { verdicts: 7, lifetime: Duration::from_secs(7200) };
    assert!(EVERYTHING.contains("inspection: { held: 1GiB, verdicts: 7, remember: 2h }"));
    let text = edited("rules:", "limits: { inspection: { held: 1GiB, verdicts: 7, remember: 2h } }\nrules:");
    let config = load_text("test.yaml", &text, &references()).unwrap();
    assert_eq!(config.inspection, InspectionLimits { held: 1 << 30, memory });
}

#[test]
fn downloads_with_mistakes() {
    for (downloads, expected) in [
        ("hold: 65MiB", &[(23, "`65MiB` is out of range", "64")][..]),
        ("range: scan", &[(23, "unknown key `range`", "did you mean `ranges`?")]),
        ("ranges: none", &[(23, "`none`", "")]),
        ("scan_up_to: 6TiB", &[(23, "`6TiB` is out of range", "")]),
    ] {
        assert_problems(&rule(downloads), &references(), expected);
    }
    for (limits, expected) in [
        ("held: 65GiB", &[(21, "`65GiB` is out of range", "")][..]),
        ("verdicts: 10000001", &[(21, "10000001 is out of range", "")]),
        ("remember: 500ms", &[(21, "`500ms` is out of range", "1s to 24h")]),
        ("remember: 25h", &[(21, "`25h` is out of range", "")]),
    ] {
        let text = edited("rules:", &format!("limits: {{ inspection: {{ {limits} }} }}\nrules:"));
        assert_problems(&text, &references(), expected);
    }
}

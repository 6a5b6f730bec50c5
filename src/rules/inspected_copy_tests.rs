use super::tests::{buckets, call, caller, rule, token};
use super::*;
use crate::inspect::{Action, Actions, DownloadTerms, InspectorId, Mark, MultipartInspection, Ranges};

fn inspecting(mut settings: RuleSettings, inspectors: &[usize], uploads: bool, downloads: bool) -> RuleSettings {
    let ways = DownloadTerms { hold: 1, ranges: Ranges::Scan, scan_up_to: 1 };
    settings.terms.inspection = Some(Arc::new(InspectionTerms {
        inspectors: inspectors.iter().copied().map(InspectorId).collect(),
        names: inspectors.iter().map(ToString::to_string).collect(),
        uploads,
        actions: Actions::default(),
        quarantine: None,
        mark: Mark::Tag("t".into()),
        multipart: MultipartInspection::Staged,
        downloads: downloads.then_some(ways),
    }));
    settings
}

fn letting_matches_pass(mut settings: RuleSettings) -> RuleSettings {
    let terms = settings.terms.inspection.take().unwrap();
    let actions = Actions { matched: Action::Allow, ..terms.actions };
    settings.terms.inspection = Some(Arc::new(InspectionTerms { actions, ..(*terms).clone() }));
    settings
}

fn allow(name: &str, place: &str, words: &[&str]) -> RuleSettings {
    rule(name, Effect::Allow, token("a"), &[place], words)
}

/// Whether `a` may copy from a place whose reads are inspected by 0 and 1 to one under these rules.
fn copies(target: Vec<RuleSettings>) -> Result<(), Denied> {
    let mut rules = vec![inspecting(allow("from", "bkt/from/", &["read"]), &[0, 1], false, true)];
    rules.extend(target);
    let rules = RuleSet::new(rules);
    let copy = |target: &str| {
        let call = call("PUT", target, &[("x-amz-copy-source", "/bkt/from/x")]);
        rules.authorise(caller("a"), call, &buckets()).map(drop)
    };
    let whole = copy("/bkt/to/x");
    let part = copy("/bkt/to/x?partNumber=1&uploadId=u");
    assert_eq!(whole, part);
    whole
}

#[test]
fn a_copy_does_not_lead_past_the_inspection_of_its_source() {
    let to = |words: &[&str]| allow("to", "bkt/to/", words);
    let both: &[&str] = &["read", "write"];
    let refused = Err(Denied::Uninspected { rule: RuleId::new("from"), action: "s3:PutObject" });
    assert_eq!(copies(vec![to(both)]), refused);
    assert_eq!(copies(vec![to(&["write"])]), refused, "somebody else may read it there");
    assert_eq!(copies(vec![inspecting(to(both), &[0], true, false)]), refused, "one of two looks");
    assert_eq!(copies(vec![letting_matches_pass(inspecting(to(both), &[1, 0], true, false))]), refused);
    assert_eq!(copies(vec![inspecting(to(both), &[2, 1, 0], true, false)]), Ok(()));
    assert_eq!(copies(vec![inspecting(to(both), &[1, 0], false, true)]), Ok(()), "it is inspected when it is read");
    assert_eq!(copies(vec![inspecting(to(both), &[1], false, true)]), refused);
    let versions = allow("versions", "bkt/to/", &["s3:GetObjectVersion"]);
    let reads = inspecting(to(&["s3:GetObject", "write"]), &[1, 0], false, true);
    assert_eq!(copies(vec![reads, versions]), refused, "and would be read as a version");
}

#[test]
fn what_is_not_inspected_when_it_is_read_may_be_copied_anywhere() {
    let from = inspecting(allow("from", "bkt/from/", &["read"]), &[0], true, false);
    let rules = RuleSet::new(vec![from, allow("to", "bkt/to/", &["write"])]);
    let call = call("PUT", "/bkt/to/x", &[("x-amz-copy-source", "/bkt/from/x")]);
    assert!(rules.authorise(caller("a"), call, &buckets()).is_ok());
}

#[test]
fn no_torrent_is_given_out_of_what_is_inspected() {
    let torrent = |inspected| {
        let reads = allow("reads", "*/", &["s3:GetObject"]);
        let reads = if inspected { inspecting(reads, &[0], false, true) } else { reads };
        let rules = RuleSet::new(vec![reads, allow("torrents", "*/", &["s3:GetObjectTorrent"])]);
        rules.authorise(caller("a"), call("GET", "/store-bucket/x?torrent", &[]), &buckets()).map(drop)
    };
    assert_eq!(torrent(false), Ok(()));
    let refused = Denied::Uninspected { rule: RuleId::new("reads"), action: "s3:GetObjectTorrent" };
    assert_eq!(torrent(true), Err(refused));
}

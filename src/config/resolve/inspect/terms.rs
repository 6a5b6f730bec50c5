//! `inspect` of a rule.

use http::HeaderName;

use super::super::super::path::Path;
use super::super::super::raw_inspect::{RawAction, RawDownloads, RawInspect, RawMultipart, RawRanges};
use super::super::super::suggest::did_you_mean;
use super::super::clients::{check_texts, text_path};
use super::super::desk::Desk;
use super::super::rules::World;
use super::super::values::size;
use crate::inspect::{
    Action, Actions, DownloadTerms, InspectionTerms, InspectorId, Mark, MultipartInspection, QuarantinePlace, Ranges,
};
use crate::rules::settings::Place;

/// Largest object held in memory for a verdict.
const MAX_HOLD: u64 = 64 << 20;
const DEFAULT_HOLD: u64 = 1 << 20;
/// Largest object of S3.
const MAX_OBJECT: u64 = 5 << 40;

/// What a rule wants inspected; `None` if a problem was reported.
pub fn inspection(desk: &mut Desk<'_>, path: &Path, raw: &RawInspect, world: &World<'_>) -> Option<InspectionTerms> {
    let with = desk.required(path, "with", raw.with.as_ref(), "name the inspectors that look: with: [antivirus]")?;
    let with_path = path.key("with");
    check_texts(desk, &with_path, with, "name an inspector, or remove `inspect`");
    let mut inspectors = Vec::new();
    for (position, name) in with.texts().iter().enumerate() {
        match world.inspectors.iter().position(|known| known == name) {
            Some(found) if inspectors.contains(&InspectorId(found)) => {
                desk.report(&text_path(&with_path, with, position), "this inspector is named twice", "remove one");
            }
            Some(found) => inspectors.push(InspectorId(found)),
            None if name.is_empty() => {}
            None => {
                let help = format!(
                    "{}define it under `inspectors`, or remove it",
                    did_you_mean(name, world.inspectors.iter().copied())
                );
                desk.report(&text_path(&with_path, with, position), format!("there is no inspector `{name}`"), help);
            }
        }
    }
    let actions =
        Actions { matched: action(raw.matched), not_scannable: action(raw.not_scannable), error: action(raw.error) };
    let quarantine = quarantine(desk, path, raw, actions, world);
    let keeps_bad = [actions.matched, actions.not_scannable, actions.error];
    if raw.multipart == Some(RawMultipart::PerPart)
        && keeps_bad.iter().any(|action| matches!(action, Action::Mark | Action::Quarantine))
    {
        let help = "write `multipart: staged`, or let the verdicts lead to `refuse` or `allow`";
        desk.report(&path.key("multipart"), "a part alone cannot be marked or put into a quarantine", help);
    }
    let mark = mark(desk, &path.key("mark"), raw.mark.as_deref());
    let downloads = raw.downloads.as_ref().map(|raw| downloads(desk, &path.key("downloads"), raw));
    let uploads = raw.uploads.unwrap_or(true);
    if !uploads && downloads.is_none() && !desk.is_blurred(path) {
        desk.report(path, "nothing is inspected here", "write `downloads: {}`, or remove `uploads: false`");
    }
    Some(InspectionTerms {
        names: inspectors.iter().map(|id| world.inspectors[id.0].to_owned()).collect(),
        inspectors,
        uploads,
        actions,
        quarantine,
        mark: mark?,
        multipart: match raw.multipart {
            Some(RawMultipart::Staged) | None => MultipartInspection::Staged,
            Some(RawMultipart::PerPart) => MultipartInspection::PerPart,
            Some(RawMultipart::Deny) => MultipartInspection::Deny,
        },
        downloads,
    })
}

fn action(raw: Option<RawAction>) -> Action {
    match raw {
        Some(RawAction::Allow) => Action::Allow,
        Some(RawAction::Mark) => Action::Mark,
        Some(RawAction::Quarantine) => Action::Quarantine,
        Some(RawAction::Refuse) | None => Action::Refuse,
    }
}

fn quarantine(
    desk: &mut Desk<'_>,
    path: &Path,
    raw: &RawInspect,
    actions: Actions,
    world: &World<'_>,
) -> Option<QuarantinePlace> {
    let used = [actions.matched, actions.not_scannable, actions.error].contains(&Action::Quarantine);
    let path_of_place = path.key("quarantine");
    const HELP: &str = "write `quarantine: bucket/prefix/`, with a bucket of this file";
    let Some(text) = raw.quarantine.as_deref() else {
        if used && !desk.is_excused(path, "quarantine") {
            desk.report(path, "the key `quarantine` is missing", HELP);
        }
        return None;
    };
    if !used {
        desk.report_key(
            &path_of_place,
            "no verdict leads to the quarantine",
            "write `matched: quarantine`, or remove it",
        );
    }
    let (bucket, prefix) = text.split_once('/').unwrap_or((text, ""));
    if !world.bucket_names.contains(bucket) || bucket == "*" {
        let help = format!("{}{HELP}", did_you_mean(bucket, world.bucket_names.iter().copied()));
        desk.report(&path_of_place, format!("there is no bucket `{bucket}`"), help);
        return None;
    }
    if !prefix.is_empty() && (!prefix.ends_with('/') || prefix.starts_with('/') || prefix.len() > 256) {
        desk.report(
            &path_of_place,
            "the prefix must end with `/`, not begin with it, and have at most 256 bytes",
            HELP,
        );
        return None;
    }
    Some(QuarantinePlace { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
}

/// Objects get into the quarantine by a copy inside one store, and those whom the rule allows do not get at them there.
pub fn check_quarantine(
    desk: &mut Desk<'_>,
    path: &Path,
    terms: &InspectionTerms,
    places: &[Place],
    world: &World<'_>,
) {
    let Some(quarantine) = &terms.quarantine else { return };
    let holds = |place: &&Place| place.bucket == quarantine.bucket && place.prefix.could_cover(&quarantine.of_a_day());
    if let Some(place) = places.iter().find(holds) {
        let problem = format!(
            "the quarantine lies in a place of the rule, `{}/{}`: who uploads could read there what was refused, or replace it",
            place.bucket,
            place.prefix.text()
        );
        desk.report(&path.key("quarantine"), problem, "name another bucket, or a prefix outside of the rule's `where`");
    }
    let configured = |name: &str| world.buckets.iter().find(|bucket| bucket.name == name).map(|bucket| bucket.route);
    let Some(store) = configured(&quarantine.bucket) else { return };
    let store_of = |place: &Place| configured(&place.bucket).or(world.pass_through.map(|mapping| mapping.route));
    if let Some(place) = places.iter().find(|place| store_of(place).is_some_and(|route| route != store)) {
        let problem = format!("`{}` is at another store than the quarantine", place.bucket);
        desk.report(
            &path.key("quarantine"),
            problem,
            "name a bucket of the same upstream, or write a rule for each store",
        );
    }
}

fn mark(desk: &mut Desk<'_>, path: &Path, text: Option<&str>) -> Option<Mark> {
    let text = text.unwrap_or("tag:countersign-verdict");
    let is_word = |name: &str| {
        (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    let mark = match text.split_once(':') {
        Some(("tag", name)) if is_word(name) => Some(Mark::Tag(name.to_owned())),
        Some(("metadata", name)) if name.starts_with("x-amz-meta-") && is_word(name) => {
            HeaderName::from_bytes(name.to_ascii_lowercase().as_bytes()).ok().map(Mark::Metadata)
        }
        _ => None,
    };
    if mark.is_none() {
        let help = "write `tag:NAME` or `metadata:x-amz-meta-NAME`, with letters, digits, `-`, `_` and `.`";
        desk.report(path, "this is not a mark", help);
    }
    mark
}

fn downloads(desk: &mut Desk<'_>, path: &Path, raw: &RawDownloads) -> DownloadTerms {
    DownloadTerms {
        hold: size(desk, &path.key("hold"), raw.hold.as_ref(), DEFAULT_HOLD, 0..=MAX_HOLD),
        ranges: match raw.ranges {
            Some(RawRanges::Scan) | None => Ranges::Scan,
            Some(RawRanges::Refuse) => Ranges::Refuse,
        },
        scan_up_to: size(desk, &path.key("scan_up_to"), raw.scan_up_to.as_ref(), 1 << 30, 0..=MAX_OBJECT),
    }
}

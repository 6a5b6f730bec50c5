//! `inspectors`, and `inspect` of rules.

mod clamd;
mod file_type;
mod http;
mod icap;
mod limits;
mod patterns;
mod terms;
mod unpack;
mod yara;

use std::time::Duration;

pub use limits::limits;
pub use terms::{check_quarantine, inspection};

use super::super::path::Path;
use super::super::raw::RawConfig;
use super::super::raw_inspect::{RawInspector, RawStaging};
use super::desk::Desk;
use super::upstreams::breaker;
use super::values::{ANY_TIMEOUT, check_name, count, duration};
use crate::inspect::{InspectorSettings, KindSettings, LoadSettings};
use crate::multipart::staged::sweep::SweepSettings;

/// The inspectors of the file, in the order of their names; `None` for each that has a problem.
pub fn inspectors(desk: &mut Desk<'_>, raw: &RawConfig) -> Vec<Option<InspectorSettings>> {
    let path = Path::top().key("inspectors");
    raw.inspectors.iter().flatten().map(|(name, raw)| inspector(desk, &path.key(name), name, raw)).collect()
}

/// How long hidden objects are kept.
pub fn sweeping(desk: &mut Desk<'_>, raw: &RawStaging) -> SweepSettings {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let path = Path::top().key("limits").key("staging");
    let range = Duration::from_secs(1)..=30 * DAY;
    SweepSettings {
        objects: duration(desk, &path.key("keep_objects"), raw.keep_objects.as_ref(), DAY, range.clone()),
        uploads: duration(desk, &path.key("keep_uploads"), raw.keep_uploads.as_ref(), 7 * DAY, range),
    }
}

fn inspector(desk: &mut Desk<'_>, path: &Path, name: &str, raw: &RawInspector) -> Option<InspectorSettings> {
    let good_name = check_name(desk, path, name);
    let kind = kind(desk, path, raw);
    let load = load(desk, path, raw);
    good_name.then_some(())?;
    Some(InspectorSettings { name: name.to_owned(), kind: kind?, load, required: raw.required.unwrap_or(true) })
}

fn kind(desk: &mut Desk<'_>, path: &Path, raw: &RawInspector) -> Option<KindSettings> {
    const HELP: &str = "write one of `patterns`, `file_type`, `clamd`, `icap`, `yara` and `http` into each inspector; a rule can name several inspectors";
    let written = [
        raw.patterns.is_some(),
        raw.file_type.is_some(),
        raw.clamd.is_some(),
        raw.icap.is_some(),
        raw.yara.is_some(),
        raw.http.is_some(),
    ];
    match written.into_iter().filter(|written| *written).count() {
        1 => {}
        0 if desk.is_blurred(path) => return None,
        0 => {
            desk.report(path, "it is not said what this inspector looks for", HELP);
            return None;
        }
        _ => {
            desk.report(path, "this inspector looks for more than one kind of thing", HELP);
            return None;
        }
    }
    let patterns = raw.patterns.as_ref().map(|raw| patterns::resolve(desk, &path.key("patterns"), raw));
    let file_type = raw.file_type.as_ref().map(|raw| file_type::resolve(desk, &path.key("file_type"), raw));
    let clamd = raw.clamd.as_ref().map(|raw| clamd::resolve(desk, &path.key("clamd"), raw));
    let icap = raw.icap.as_ref().map(|raw| icap::resolve(desk, &path.key("icap"), raw));
    let yara = raw.yara.as_ref().map(|raw| yara::resolve(desk, &path.key("yara"), raw));
    let http = raw.http.as_ref().map(|raw| http::resolve(desk, &path.key("http"), raw));
    let kinds = [
        patterns.flatten().map(KindSettings::Patterns),
        file_type.flatten().map(KindSettings::FileType),
        clamd.flatten().map(KindSettings::Clamd),
        icap.flatten().map(KindSettings::Icap),
        yara.flatten().map(KindSettings::Yara),
        http.flatten().map(KindSettings::Http),
    ];
    kinds.into_iter().flatten().next()
}

fn load(desk: &mut Desk<'_>, path: &Path, raw: &RawInspector) -> LoadSettings {
    let breaker = breaker(desk, &path.key("breaker"), &raw.breaker);
    let (queue, timeout) = (path.key("queue_timeout"), path.key("timeout"));
    LoadSettings {
        max_scans: count(desk, &path.key("max_scans"), raw.max_scans, 16, 1..=10_000),
        max_waiting: count(desk, &path.key("max_waiting"), raw.max_waiting, 128, 0..=100_000),
        principal_share: count(desk, &path.key("principal_share"), raw.principal_share, 50, 1..=100),
        queue_timeout: duration(desk, &queue, raw.queue_timeout.as_ref(), Duration::from_secs(10), ANY_TIMEOUT),
        timeout: duration(desk, &timeout, raw.timeout.as_ref(), Duration::from_secs(60), ANY_TIMEOUT),
        breaker_failures: breaker.failures,
        breaker_pause: breaker.pause,
    }
}

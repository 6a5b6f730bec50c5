//! `http` of an inspector.

use super::super::super::path::Path;
use super::super::super::raw_inspect::RawHttp;
use super::super::desk::Desk;
use crate::inspect::hook::Settings;

/// Its settings; `None` if a problem was reported.
pub fn resolve(_desk: &mut Desk<'_>, _path: &Path, _raw: &RawHttp) -> Option<Settings> {
    Some(Settings::default())
}

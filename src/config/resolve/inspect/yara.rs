//! `yara` of an inspector.

use super::super::super::path::Path;
use super::super::super::raw_inspect::RawYara;
use super::super::desk::Desk;
use crate::inspect::yara::Settings;

/// Its settings; `None` if a problem was reported.
pub fn resolve(_desk: &mut Desk<'_>, _path: &Path, _raw: &RawYara) -> Option<Settings> {
    Some(Settings::default())
}

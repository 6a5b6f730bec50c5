//! How far archives are read through: keys that `patterns` and `yara` have alike.

use super::super::super::path::Path;
use super::super::super::raw_inspect::{RawPatterns, RawYara};
use super::super::desk::Desk;
use super::super::values::{count, size};
use crate::inspect::unpack::Limits;

/// The keys as they are written.
pub struct Written<'a> {
    unpack: Option<bool>,
    max_unpacked: Option<&'a String>,
    max_depth: Option<u64>,
    max_entries: Option<u64>,
}

impl<'a> From<&'a RawPatterns> for Written<'a> {
    fn from(raw: &'a RawPatterns) -> Self {
        let RawPatterns { unpack, max_unpacked, max_depth, max_entries, .. } = raw;
        let max_unpacked = max_unpacked.as_ref();
        Self { unpack: *unpack, max_unpacked, max_depth: *max_depth, max_entries: *max_entries }
    }
}

impl<'a> From<&'a RawYara> for Written<'a> {
    fn from(raw: &'a RawYara) -> Self {
        let RawYara { unpack, max_unpacked, max_depth, max_entries, .. } = raw;
        let max_unpacked = max_unpacked.as_ref();
        Self { unpack: *unpack, max_unpacked, max_depth: *max_depth, max_entries: *max_entries }
    }
}

/// The limits; `None` if nothing is unpacked.
pub fn unpack(desk: &mut Desk<'_>, path: &Path, written: Written<'_>) -> Option<Limits> {
    let limits = Limits {
        bytes: size(desk, &path.key("max_unpacked"), written.max_unpacked, 1 << 30, 1 << 20..=1 << 40),
        depth: count(desk, &path.key("max_depth"), written.max_depth, 2, 1..=8),
        entries: count(desk, &path.key("max_entries"), written.max_entries, 10_000, 1..=1_000_000),
    };
    written.unpack.unwrap_or(true).then_some(limits)
}

//! `limits.inspection`.

use std::time::Duration;

use super::super::super::path::Path;
use super::super::super::raw_inspect::RawInspectionLimits;
use super::super::desk::Desk;
use super::super::values::{count, duration, size};
use crate::inspect::{InspectionLimits, MemorySettings};

/// What inspected downloads may cost.
pub fn limits(desk: &mut Desk<'_>, raw: &RawInspectionLimits) -> InspectionLimits {
    let path = Path::top().key("limits").key("inspection");
    let (hour, day) = (Duration::from_secs(3600), Duration::from_secs(24 * 3600));
    let remember = path.key("remember");
    InspectionLimits {
        held: size(desk, &path.key("held"), raw.held.as_ref(), 64 << 20, 0..=64 << 30),
        memory: MemorySettings {
            verdicts: count(desk, &path.key("verdicts"), raw.verdicts, 50_000, 0..=10_000_000),
            lifetime: duration(desk, &remember, raw.remember.as_ref(), hour, Duration::from_secs(1)..=day),
        },
    }
}

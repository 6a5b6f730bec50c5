//! How often the program panicked. For the whole process, because the hook that counts is.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::{IntCounter, Registry};

static PANICS: AtomicU64 = AtomicU64::new(0);

/// One more.
pub fn count() {
    PANICS.fetch_add(1, Ordering::Relaxed);
}

/// Registers the metric.
///
/// # Errors
/// If two metrics had the same name, which a test excludes.
pub(super) fn register(registry: &Registry) -> Result<IntCounter, prometheus::Error> {
    let panics = IntCounter::new(
        "countersign_panics_total",
        "Panics: faults of the program that ended a request or an attempt.",
    )?;
    registry.register(Box::new(panics.clone()))?;
    Ok(panics)
}

/// Brings the metric up to date.
pub(super) fn catch_up(panics: &IntCounter) {
    let now = PANICS.load(Ordering::Relaxed);
    panics.inc_by(now.saturating_sub(panics.get()));
}

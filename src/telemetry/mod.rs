//! Names of metrics and what they mean. Labels are bounded: no key, no principal, no token ever becomes one.

pub mod admin;
pub mod inspections;
pub mod metrics;
pub mod panics;
pub mod reloads;
pub mod totals;

pub use admin::AdminMetrics;
pub use inspections::InspectionMetrics;
pub use metrics::{ConnectionCounts, Metrics};
pub use reloads::ReloadMetrics;
pub use totals::{Count, Totals};

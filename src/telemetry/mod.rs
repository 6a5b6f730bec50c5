//! Names of metrics and what they mean, and traces. Labels are bounded: no key, no principal, no token ever becomes one.

pub mod admin;
pub mod audits;
pub mod inspections;
pub mod metrics;
pub mod panics;
pub mod reloads;
pub mod seldom;
pub mod spans;
pub mod totals;
pub mod trace;

pub use admin::AdminMetrics;
pub use audits::{AuditMetrics, SinkMetrics};
pub use inspections::InspectionMetrics;
pub use metrics::{ConnectionCounts, Metrics};
pub use reloads::ReloadMetrics;
pub use seldom::Seldom;
pub use spans::SpanMetrics;
pub use totals::{Count, Totals};

//! Names of metrics and what they mean, and traces. Labels are bounded: no key, no principal, no token ever becomes one.

pub mod admin;
pub mod audits;
pub mod credentials;
pub mod inspections;
pub mod listeners;
pub mod metrics;
pub mod panics;
pub mod reloads;
pub mod requests;
pub mod seldom;
pub mod spans;
pub mod stores;
pub mod totals;
pub mod trace;

pub use admin::AdminMetrics;
pub use audits::{AuditMetrics, SinkMetrics};
pub use credentials::CredentialMetrics;
pub use inspections::InspectionMetrics;
pub use listeners::{ConnectionCounts, ListenerMetrics};
pub use metrics::Metrics;
pub use reloads::ReloadMetrics;
pub use requests::RequestMetrics;
pub use seldom::Seldom;
pub use spans::SpanMetrics;
pub use stores::StoreMetrics;
pub use totals::{Count, Totals};

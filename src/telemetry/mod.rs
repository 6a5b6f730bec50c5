//! Names of metrics and what they mean. Labels are bounded: no key, no principal, no token ever becomes one.

pub mod credentials;
pub mod inspections;
pub mod metrics;

pub use credentials::CredentialMetrics;
pub use inspections::InspectionMetrics;
pub use metrics::{ConnectionCounts, Metrics};

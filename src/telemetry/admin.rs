//! The metrics of the admin listener.

use prometheus::{IntCounterVec, Opts, Registry};

/// What is counted of the admin listener.
#[derive(Debug, Clone)]
pub struct AdminMetrics {
    refused: IntCounterVec,
}

impl AdminMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// If two metrics had the same name, which a test excludes.
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let refused = IntCounterVec::new(
            Opts::new(
                "countersign_admin_refused_total",
                "Requests and connections that the admin listener did not let through.",
            ),
            &["reason"],
        )?;
        // Alerts want the series before somebody tries.
        for reason in ["wrong_token", "too_many", "crowded"] {
            refused.with_label_values(&[reason]);
        }
        registry.register(Box::new(refused.clone()))?;
        Ok(Self { refused })
    }

    /// A request was not let through, or a connection made room for another; `reason` is a fixed word.
    pub fn refused(&self, reason: &'static str) {
        self.refused.with_label_values(&[reason]).inc();
    }
}

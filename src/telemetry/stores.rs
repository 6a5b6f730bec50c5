//! The metrics of stores. Their names are those of the configuration, so there are few.

use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, IntCounterVec, IntGaugeVec, Opts, Registry};

use crate::telemetry::metrics::{SECONDS, catch_up};

/// What is counted of stores.
#[derive(Debug, Clone)]
pub struct StoreMetrics {
    first_byte: Histogram,
    requests: IntGaugeVec,
    resting: IntGaugeVec,
    trips: IntCounterVec,
}

impl StoreMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// If two metrics had the same name, which a test excludes.
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            first_byte: Histogram::with_opts(
                HistogramOpts::new(
                    "countersign_upstream_first_byte_seconds",
                    "From sending a request to the head of the store's answer.",
                )
                .buckets(SECONDS.to_vec()),
            )?,
            requests: IntGaugeVec::new(
                Opts::new("countersign_upstream_requests", "Requests to a store that hold or wait for a connection."),
                &["upstream", "state"],
            )?,
            resting: IntGaugeVec::new(
                Opts::new("countersign_upstream_resting", "1 while a store is not asked after failures in a row."),
                &["upstream"],
            )?,
            trips: IntCounterVec::new(
                Opts::new(
                    "countersign_upstream_trips_total",
                    "How often a store was no longer asked after failures in a row.",
                ),
                &["upstream"],
            )?,
        };
        registry.register(Box::new(metrics.first_byte.clone()))?;
        registry.register(Box::new(metrics.requests.clone()))?;
        registry.register(Box::new(metrics.resting.clone()))?;
        registry.register(Box::new(metrics.trips.clone()))?;
        Ok(metrics)
    }

    /// A store answered.
    pub fn answered(&self, first_byte: Duration) {
        self.first_byte.observe(first_byte.as_secs_f64());
    }

    /// How a store is doing now; `trips` is counted since the start.
    pub fn set(&self, name: &str, in_flight: usize, waiting: usize, resting: bool, trips: u64) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.requests.with_label_values(&[name, "in_flight"]).set(number(in_flight));
        self.requests.with_label_values(&[name, "waiting"]).set(number(waiting));
        self.resting.with_label_values(&[name]).set(i64::from(resting));
        catch_up(&self.trips.with_label_values(&[name]), trips);
    }

    /// There is no store of this name any more, or it is counted anew.
    pub fn forget(&self, name: &str) {
        // An error means that it was never there.
        for state in ["in_flight", "waiting"] {
            drop(self.requests.remove_label_values(&[name, state]));
        }
        drop(self.resting.remove_label_values(&[name]));
        drop(self.trips.remove_label_values(&[name]));
    }
}

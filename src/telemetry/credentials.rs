//! The metrics of the gateway's own credentials at its stores.

use std::time::Duration;

use prometheus::{GaugeVec, IntCounterVec, IntGaugeVec, Opts, Registry};

/// What is counted of the credentials of upstreams.
#[derive(Debug, Clone)]
pub struct CredentialMetrics {
    age: GaugeVec,
    expiry: IntGaugeVec,
    refreshes: IntCounterVec,
}

impl CredentialMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// If two metrics had the same name, which a test excludes.
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            age: GaugeVec::new(
                Opts::new(
                    "countersign_upstream_credentials_age_seconds",
                    "Time since the credentials of a store were loaded last; +Inf if they never were.",
                ),
                &["upstream"],
            )?,
            expiry: IntGaugeVec::new(
                Opts::new(
                    "countersign_upstream_credentials_expiry_timestamp_seconds",
                    "When the credentials of a store end, in seconds since 1970; absent if they have no end.",
                ),
                &["upstream"],
            )?,
            refreshes: IntCounterVec::new(
                Opts::new(
                    "countersign_upstream_credentials_refreshes_total",
                    "Attempts to load the credentials of a store again; result is ok or error.",
                ),
                &["upstream", "result"],
            )?,
        };
        registry.register(Box::new(metrics.age.clone()))?;
        registry.register(Box::new(metrics.expiry.clone()))?;
        registry.register(Box::new(metrics.refreshes.clone()))?;
        Ok(metrics)
    }

    /// There is an upstream of this name whose credentials are renewed: both results are counted from zero.
    pub fn announce(&self, upstream: &str) {
        for result in ["ok", "error"] {
            self.refreshes.with_label_values(&[upstream, result]);
        }
    }

    /// Credentials were loaded again, or could not be.
    pub fn count(&self, upstream: &str, is_loaded: bool) {
        self.refreshes.with_label_values(&[upstream, if is_loaded { "ok" } else { "error" }]).inc();
    }

    /// How old the credentials of an upstream are, `None` if there are none, and when they end in seconds since 1970, if they do.
    pub fn set_times(&self, upstream: &str, age: Option<Duration>, expiry: Option<i64>) {
        self.age.with_label_values(&[upstream]).set(age.map_or(f64::INFINITY, |age| age.as_secs_f64()));
        match expiry {
            Some(expiry) => self.expiry.with_label_values(&[upstream]).set(expiry),
            // An error would say that there was none.
            None => drop(self.expiry.remove_label_values(&[upstream])),
        }
    }
}

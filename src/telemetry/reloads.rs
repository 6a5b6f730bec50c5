//! The metrics of reloads.

use prometheus::{Gauge, IntCounterVec, IntGauge, Opts, Registry};

/// What is counted of reloads.
#[derive(Debug, Clone)]
pub struct ReloadMetrics {
    reloads: IntCounterVec,
    successful: IntGauge,
    timestamp: Gauge,
    generation: IntGauge,
}

/// What became of a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Another configuration serves.
    Loaded,
    /// Nothing had changed.
    Unchanged,
    /// The old configuration goes on.
    Failed,
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Loaded => "loaded",
            Self::Unchanged => "unchanged",
            Self::Failed => "failed",
        }
    }
}

impl ReloadMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// If two metrics had the same name, which a test excludes.
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            reloads: IntCounterVec::new(
                Opts::new("countersign_config_reloads_total", "Reloads of the configuration since the start."),
                &["result"],
            )?,
            successful: IntGauge::new(
                "countersign_config_last_reload_successful",
                "1 if the configuration that was read last is the one that serves.",
            )?,
            timestamp: Gauge::new(
                "countersign_config_last_reload_timestamp_seconds",
                "When the configuration that serves was loaded, in seconds since 1970.",
            )?,
            generation: IntGauge::new(
                "countersign_config_generation",
                "Number of the configuration that serves; the first is 1.",
            )?,
        };
        for outcome in [Outcome::Loaded, Outcome::Unchanged, Outcome::Failed] {
            metrics.reloads.with_label_values(&[outcome.as_str()]);
        }
        registry.register(Box::new(metrics.reloads.clone()))?;
        registry.register(Box::new(metrics.successful.clone()))?;
        registry.register(Box::new(metrics.timestamp.clone()))?;
        registry.register(Box::new(metrics.generation.clone()))?;
        Ok(metrics)
    }

    /// A reload came to this.
    pub fn count(&self, outcome: Outcome) {
        self.reloads.with_label_values(&[outcome.as_str()]).inc();
        self.successful.set(i64::from(outcome != Outcome::Failed));
    }

    /// The configuration of this number serves, loaded so many seconds after the beginning of 1970.
    pub fn serves(&self, generation: u64, loaded: i64) {
        self.successful.set(1);
        self.generation.set(i64::try_from(generation).unwrap_or(i64::MAX));
        self.timestamp.set(loaded as f64);
    }
}

//! The metrics of audit sinks. Their names are those of the configuration, so there are few.

use prometheus::core::Collector;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

/// What is counted of audit sinks.
#[derive(Debug, Clone)]
pub struct AuditMetrics {
    dropped: IntCounterVec,
    written: IntCounterVec,
    failures: IntCounterVec,
    queued: IntGaugeVec,
    failing: IntGaugeVec,
    waited: IntCounter,
}

/// The counters of one sink.
#[derive(Debug, Clone)]
pub struct SinkMetrics {
    /// Records lost.
    pub dropped: IntCounter,
    /// Records given to where they go.
    pub written: IntCounter,
    /// Attempts that failed.
    pub failures: IntCounter,
    /// Records that wait.
    pub queued: IntGauge,
    /// 1 while the last attempt failed.
    pub failing: IntGauge,
}

impl AuditMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// If two metrics had the same name, which a test excludes.
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str| IntCounterVec::new(Opts::new(name, help), &["sink"]);
        let gauge = |name: &str, help: &str| IntGaugeVec::new(Opts::new(name, help), &["sink"]);
        let metrics = Self {
            dropped: counter(
                "countersign_audit_records_dropped_total",
                "Audit records lost because the queue of the sink was full or the process ended.",
            )?,
            written: counter("countersign_audit_records_written_total", "Audit records given to where they go.")?,
            failures: counter(
                "countersign_audit_delivery_failures_total",
                "Attempts to write audit records that failed; they are repeated.",
            )?,
            queued: gauge("countersign_audit_records_queued", "Audit records that wait to be written.")?,
            failing: gauge("countersign_audit_sink_failing", "1 while the last attempt to write to the sink failed.")?,
            waited: IntCounter::new(
                "countersign_audit_waits_total",
                "Requests that had to wait for room at a sink with `when_full: block`.",
            )?,
        };
        registry.register(Box::new(metrics.dropped.clone()))?;
        registry.register(Box::new(metrics.written.clone()))?;
        registry.register(Box::new(metrics.failures.clone()))?;
        registry.register(Box::new(metrics.queued.clone()))?;
        registry.register(Box::new(metrics.failing.clone()))?;
        registry.register(Box::new(metrics.waited.clone()))?;
        Ok(metrics)
    }

    /// The counters of a sink, which are shown from now on.
    pub fn of(&self, sink: &str) -> SinkMetrics {
        SinkMetrics {
            dropped: self.dropped.with_label_values(&[sink]),
            written: self.written.with_label_values(&[sink]),
            failures: self.failures.with_label_values(&[sink]),
            queued: self.queued.with_label_values(&[sink]),
            failing: self.failing.with_label_values(&[sink]),
        }
    }

    /// Records lost, at all sinks together.
    pub(super) fn lost(&self) -> u64 {
        let families = self.dropped.collect();
        let metrics = families.iter().flat_map(|family| family.get_metric());
        metrics.map(|metric| metric.get_counter().get_value() as u64).sum()
    }

    /// A request had to wait.
    pub fn waited(&self) {
        self.waited.inc();
    }
}

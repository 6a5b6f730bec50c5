//! The metrics of spans.

use prometheus::{IntCounter, Registry};

/// What is counted of spans.
#[derive(Debug, Clone)]
pub struct SpanMetrics {
    sent: IntCounter,
    dropped: IntCounter,
}

impl SpanMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// If two metrics had the same name, which a test excludes.
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            sent: IntCounter::new("countersign_trace_spans_sent_total", "Spans that the collector has taken.")?,
            dropped: IntCounter::new(
                "countersign_trace_spans_dropped_total",
                "Spans lost because the queue was full or the collector did not take them.",
            )?,
        };
        registry.register(Box::new(metrics.sent.clone()))?;
        registry.register(Box::new(metrics.dropped.clone()))?;
        Ok(metrics)
    }

    /// So many were taken.
    pub fn sent(&self, spans: usize) {
        self.sent.inc_by(spans as u64);
    }

    /// So many were lost.
    pub fn dropped(&self, spans: usize) {
        self.dropped.inc_by(spans as u64);
    }
}

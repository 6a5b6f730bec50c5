//! The metrics of clients' requests.

use std::time::Duration;

use prometheus::{HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use crate::telemetry::metrics::SECONDS;

/// What is counted of requests.
#[derive(Debug, Clone)]
pub struct RequestMetrics {
    pub(super) ended: IntCounterVec,
    pub(super) refusals: IntCounterVec,
    pub(super) bytes_in: IntCounter,
    pub(super) bytes_out: IntCounter,
    pub(super) in_flight: IntGauge,
    duration: HistogramVec,
}

impl RequestMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// If two metrics had the same name, which a test excludes.
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counters = |name: &str, help: &str, labels: &[&str]| IntCounterVec::new(Opts::new(name, help), labels);
        let bytes = counters(
            "countersign_body_bytes_total",
            "Body bytes taken from (in) and given to (out) clients.",
            &["direction"],
        )?;
        let metrics = Self {
            ended: counters(
                "countersign_requests_total",
                "Requests by S3 operation and outcome.",
                &["operation", "outcome"],
            )?,
            refusals: counters(
                "countersign_refusals_total",
                "Refused requests by kind and S3 error code.",
                &["kind", "code"],
            )?,
            bytes_in: bytes.with_label_values(&["in"]),
            bytes_out: bytes.with_label_values(&["out"]),
            in_flight: IntGauge::new("countersign_requests_in_flight", "Requests whose answer is not finished.")?,
            duration: HistogramVec::new(
                HistogramOpts::new(
                    "countersign_request_duration_seconds",
                    "From the head of a request to the last byte of its answer.",
                )
                .buckets(SECONDS.to_vec()),
                &["operation"],
            )?,
        };
        registry.register(Box::new(metrics.ended.clone()))?;
        registry.register(Box::new(metrics.refusals.clone()))?;
        registry.register(Box::new(bytes))?;
        registry.register(Box::new(metrics.in_flight.clone()))?;
        registry.register(Box::new(metrics.duration.clone()))?;
        Ok(metrics)
    }

    /// A request begins.
    pub fn started(&self) {
        self.in_flight.inc();
    }

    /// A request is over; `operation` and `outcome` are fixed words.
    pub fn ended(&self, operation: &str, outcome: &str, duration: Duration, bytes_in: u64, bytes_out: u64) {
        self.in_flight.dec();
        self.ended.with_label_values(&[operation, outcome]).inc();
        self.duration.with_label_values(&[operation]).observe(duration.as_secs_f64());
        self.bytes_in.inc_by(bytes_in);
        self.bytes_out.inc_by(bytes_out);
    }

    /// A request was refused; `kind` and `code` are fixed words.
    pub fn refused(&self, kind: &str, code: &str) {
        self.refusals.with_label_values(&[kind, code]).inc();
    }
}

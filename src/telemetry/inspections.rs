//! The metrics of inspectors. Their names are those of the configuration, so there are few.

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{
    GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

use crate::telemetry::trace;

/// What is counted of inspectors.
#[derive(Debug, Clone)]
pub struct InspectionMetrics {
    verdicts: IntCounterVec,
    seconds: HistogramVec,
    bytes: IntCounterVec,
    running: IntGaugeVec,
    waiting: IntGaugeVec,
    up: IntGaugeVec,
    breaker_open: IntGaugeVec,
    signatures_age: GaugeVec,
    remembered: IntGauge,
    recalled: IntCounter,
    swept: IntCounter,
}

/// Buckets from a pattern in a small object to a scanner of archives, in seconds.
const SECONDS: &[f64] =
    &[0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

/// The states of verdicts.
const VERDICTS: [&str; 4] = ["clean", "matched", "not_scannable", "error"];

impl InspectionMetrics {
    /// The counters of verdicts, by inspector and verdict.
    pub(super) fn verdicts(&self) -> Vec<MetricFamily> {
        self.verdicts.collect()
    }

    /// Registers them.
    ///
    /// # Errors
    /// If two metrics had the same name, which a test excludes.
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str| IntGaugeVec::new(Opts::new(name, help), &["inspector"]);
        let seconds = HistogramOpts::new(
            "countersign_inspection_seconds",
            "From the first byte an inspector was given to its verdict; the client's and the store's time is in it.",
        );
        let metrics = Self {
            verdicts: IntCounterVec::new(
                Opts::new("countersign_inspections_total", "Verdicts of inspectors."),
                &["inspector", "verdict"],
            )?,
            seconds: HistogramVec::new(seconds.buckets(SECONDS.to_vec()), &["inspector"])?,
            bytes: IntCounterVec::new(
                Opts::new("countersign_inspected_bytes_total", "Bytes given to inspectors that came to a verdict."),
                &["inspector"],
            )?,
            running: gauge("countersign_inspection_running", "Objects that an inspector looks at now.")?,
            waiting: gauge("countersign_inspection_waiting", "Requests that wait for a place at an inspector.")?,
            up: gauge("countersign_inspector_up", "1 if the inspector could work when it was asked last.")?,
            breaker_open: gauge(
                "countersign_inspector_breaker_open",
                "1 while an inspector is not asked after failures in a row.",
            )?,
            swept: IntCounter::new(
                "countersign_staging_swept_total",
                "Objects and uploads that were left at hidden keys and removed.",
            )?,
            signatures_age: GaugeVec::new(
                Opts::new(
                    "countersign_inspector_signatures_age_seconds",
                    "Time since the signatures of a scanner were made, if it tells.",
                ),
                &["inspector"],
            )?,
            remembered: IntGauge::new(
                "countersign_remembered_verdicts",
                "Verdicts about objects of stores that are remembered.",
            )?,
            recalled: IntCounter::new(
                "countersign_recalled_verdicts_total",
                "Reads that were answered by a remembered verdict.",
            )?,
        };
        registry.register(Box::new(metrics.remembered.clone()))?;
        registry.register(Box::new(metrics.recalled.clone()))?;
        registry.register(Box::new(metrics.verdicts.clone()))?;
        registry.register(Box::new(metrics.seconds.clone()))?;
        registry.register(Box::new(metrics.bytes.clone()))?;
        registry.register(Box::new(metrics.running.clone()))?;
        registry.register(Box::new(metrics.waiting.clone()))?;
        registry.register(Box::new(metrics.up.clone()))?;
        registry.register(Box::new(metrics.breaker_open.clone()))?;
        registry.register(Box::new(metrics.signatures_age.clone()))?;
        registry.register(Box::new(metrics.swept.clone()))?;
        Ok(metrics)
    }

    /// There is an inspector of this name: its verdicts are counted from zero, so that the first of a kind is seen as an increase.
    pub fn announce(&self, inspector: &str) {
        for verdict in VERDICTS {
            self.verdicts.with_label_values(&[inspector, verdict]);
        }
    }

    /// There is no inspector of this name any more. What was counted of it stays.
    pub fn forget(&self, inspector: &str) {
        for gauge in [&self.running, &self.waiting, &self.up, &self.breaker_open] {
            // An error means that it was never there.
            drop(gauge.remove_label_values(&[inspector]));
        }
        drop(self.signatures_age.remove_label_values(&[inspector]));
    }

    /// Verdicts are remembered anew, and how often one was is counted from zero.
    pub fn forget_memory(&self) {
        self.recalled.reset();
    }

    /// An inspector came to a verdict, one of the fixed words, about so many bytes.
    pub fn count(&self, inspector: &str, verdict: &'static str, time: Duration, bytes: u64) {
        self.verdicts.with_label_values(&[inspector, verdict]).inc();
        self.seconds.with_label_values(&[inspector]).observe(time.as_secs_f64());
        self.bytes.with_label_values(&[inspector]).inc_by(bytes);
        trace::note("inspect", time, || {
            vec![
                ("countersign.inspector", inspector.into()),
                ("countersign.verdict", verdict.into()),
                ("countersign.inspected_bytes", bytes.into()),
            ]
        });
    }

    /// So many things were left at hidden keys, and were removed.
    pub fn count_swept(&self, removed: usize) {
        self.swept.inc_by(removed as u64);
    }

    /// How many looks of an inspector there are now, and how many requests wait for one.
    pub fn set_load(&self, inspector: &str, running: usize, waiting: usize) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.running.with_label_values(&[inspector]).set(number(running));
        self.waiting.with_label_values(&[inspector]).set(number(waiting));
    }

    /// How many verdicts are remembered, and how often one was since the start.
    pub fn set_memory(&self, verdicts: usize, recalled: u64) {
        self.remembered.set(i64::try_from(verdicts).unwrap_or(i64::MAX));
        self.recalled.inc_by(recalled.saturating_sub(self.recalled.get()));
    }

    /// How an inspector is doing now.
    pub fn set_health(&self, inspector: &str, up: bool, breaker_open: bool, signatures_age: Option<Duration>) {
        self.up.with_label_values(&[inspector]).set(i64::from(up));
        self.breaker_open.with_label_values(&[inspector]).set(i64::from(breaker_open));
        if let Some(age) = signatures_age {
            self.signatures_age.with_label_values(&[inspector]).set(age.as_secs_f64());
        }
    }
}

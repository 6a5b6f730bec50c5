//! What the metrics have counted, in the words of the operator's page.

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use serde::Serialize;

use crate::telemetry::Metrics;

/// Counters since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Requests that have ended.
    pub requests: u64,
    /// Of these, answered with an error.
    pub refused: u64,
    /// Body bytes taken from clients.
    pub bytes_in: u64,
    /// Body bytes given to clients.
    pub bytes_out: u64,
    /// Requests whose answer is not finished.
    pub in_flight: i64,
    /// Audit records that were lost.
    pub audit_dropped: u64,
    /// Requests by operation and outcome.
    pub operations: Vec<Count>,
    /// Refusals by kind and S3 error code.
    pub refusals: Vec<Count>,
    /// Verdicts by inspector and word.
    pub verdicts: Vec<Count>,
}

/// One counter: what it counts, in two words, and how often that was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Count {
    /// Operation, kind or inspector.
    pub of: String,
    /// Outcome, code or verdict.
    pub what: String,
    /// Since the start.
    pub count: u64,
}

impl Metrics {
    /// What was counted until now.
    pub fn totals(&self) -> Totals {
        let operations = counts(&self.requests().ended.collect(), "operation", "outcome");
        Totals {
            requests: operations.iter().map(|each| each.count).sum(),
            refused: operations.iter().filter(|each| each.what == "refused").map(|each| each.count).sum(),
            bytes_in: self.requests().bytes_in.get(),
            bytes_out: self.requests().bytes_out.get(),
            in_flight: self.requests().in_flight.get(),
            audit_dropped: self.audits().lost(),
            operations,
            refusals: counts(&self.requests().refusals.collect(), "kind", "code"),
            verdicts: counts(&self.inspections().verdicts(), "inspector", "verdict"),
        }
    }
}

fn counts(families: &[MetricFamily], first: &str, second: &str) -> Vec<Count> {
    let mut all = Vec::new();
    for metric in families.iter().flat_map(MetricFamily::get_metric) {
        let label = |name: &str| {
            let found = metric.get_label().iter().find(|label| label.name() == name);
            found.map(|label| label.value().to_owned()).unwrap_or_default()
        };
        let count = metric.get_counter().get_value() as u64;
        if count > 0 {
            all.push(Count { of: label(first), what: label(second), count });
        }
    }
    all.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| (&a.of, &a.what).cmp(&(&b.of, &b.what))));
    all
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn totals_are_those_of_the_metrics() {
        let metrics = Metrics::new().unwrap();
        for outcome in ["ok", "refused", "ok"] {
            metrics.requests().started();
            metrics.requests().ended("PutObject", outcome, Duration::from_millis(1), 10, 1);
        }
        metrics.requests().refused("denied", "AccessDenied");
        metrics.inspections().count("av", "matched", Duration::from_millis(1), 68);
        let totals = metrics.totals();
        assert_eq!((totals.requests, totals.refused, totals.bytes_in, totals.bytes_out), (3, 1, 30, 3));
        let count = |of: &str, what: &str, count| Count { of: of.to_owned(), what: what.to_owned(), count };
        assert_eq!(totals.operations, [count("PutObject", "ok", 2), count("PutObject", "refused", 1)]);
        assert_eq!(totals.refusals, [count("denied", "AccessDenied", 1)]);
        assert_eq!(totals.verdicts, [count("av", "matched", 1)]);
    }
}

//! The metrics of the gateway, in Prometheus text form.

use std::time::Duration;

use prometheus::{
    GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

use crate::telemetry::admin::AdminMetrics;
use crate::telemetry::audits::AuditMetrics;
use crate::telemetry::inspections::InspectionMetrics;
use crate::telemetry::panics;
use crate::telemetry::reloads::ReloadMetrics;
use crate::telemetry::spans::SpanMetrics;

/// Every metric of the gateway, registered once.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    pub(super) requests: IntCounterVec,
    pub(super) refusals: IntCounterVec,
    bytes: IntCounterVec,
    pub(super) bytes_in: IntCounter,
    pub(super) bytes_out: IntCounter,
    duration: HistogramVec,
    upstream_first_byte: Histogram,
    pub(super) in_flight: IntGauge,
    jwks_age: GaugeVec,
    connections_open: IntGauge,
    connections: IntCounter,
    handshakes_failed: IntCounter,
    connections_stalled: IntCounter,
    unreadable_heads: IntCounter,
    upstream_requests: IntGaugeVec,
    upstream_resting: IntGaugeVec,
    upstream_trips: IntCounterVec,
    limited: IntCounter,
    limit_accounts: IntGauge,
    inspections: InspectionMetrics,
    admin: AdminMetrics,
    audits: AuditMetrics,
    spans: SpanMetrics,
    panics: IntCounter,
    reloads: ReloadMetrics,
}

/// What the edge has counted since the start.
#[derive(Debug, Clone, Copy, Default)]
pub struct ConnectionCounts {
    /// Open now.
    pub open: u64,
    /// Accepted.
    pub accepted: u64,
    /// TLS handshakes that failed or took too long.
    pub handshakes_failed: u64,
    /// Cut because the client did not take its bytes.
    pub stalled: u64,
    /// HTTP/1.1 heads that could not be read.
    pub unreadable: u64,
}

/// Buckets from a cached small object to a slow large one, in seconds.
const SECONDS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

impl Metrics {
    /// Registers every metric.
    ///
    /// # Errors
    /// If two metrics had the same name, which a test excludes.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let counters = |name: &str, help: &str, labels: &[&str]| IntCounterVec::new(Opts::new(name, help), labels);
        let bytes = counters(
            "countersign_body_bytes_total",
            "Body bytes taken from (in) and given to (out) clients.",
            &["direction"],
        )?;
        let metrics = Self {
            requests: counters(
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
            bytes,
            duration: HistogramVec::new(
                HistogramOpts::new(
                    "countersign_request_duration_seconds",
                    "From the head of a request to the last byte of its answer.",
                )
                .buckets(SECONDS.to_vec()),
                &["operation"],
            )?,
            upstream_first_byte: Histogram::with_opts(
                HistogramOpts::new(
                    "countersign_upstream_first_byte_seconds",
                    "From sending a request to the head of the store's answer.",
                )
                .buckets(SECONDS.to_vec()),
            )?,
            in_flight: IntGauge::new("countersign_requests_in_flight", "Requests whose answer is not finished.")?,
            jwks_age: GaugeVec::new(
                Opts::new("countersign_jwks_age_seconds", "Time since the key set of an issuer was last fetched."),
                &["issuer"],
            )?,
            connections_open: IntGauge::new("countersign_connections_open", "Client connections that are open.")?,
            connections: IntCounter::new("countersign_connections_total", "Client connections accepted.")?,
            handshakes_failed: IntCounter::new(
                "countersign_tls_handshakes_failed_total",
                "TLS handshakes that failed or took too long.",
            )?,
            connections_stalled: IntCounter::new(
                "countersign_connections_stalled_total",
                "Client connections cut because the client did not take its bytes.",
            )?,
            unreadable_heads: IntCounter::new(
                "countersign_unreadable_heads_total",
                "HTTP/1.1 request heads that could not be read; they have no audit record.",
            )?,
            upstream_requests: IntGaugeVec::new(
                Opts::new("countersign_upstream_requests", "Requests to a store that hold or wait for a connection."),
                &["upstream", "state"],
            )?,
            upstream_resting: IntGaugeVec::new(
                Opts::new("countersign_upstream_resting", "1 while a store is not asked after failures in a row."),
                &["upstream"],
            )?,
            upstream_trips: counters(
                "countersign_upstream_trips_total",
                "How often a store was no longer asked after failures in a row.",
                &["upstream"],
            )?,
            limited: IntCounter::new(
                "countersign_limited_total",
                "Requests refused for a rate, for too many at a time, or for the share of a principal.",
            )?,
            limit_accounts: IntGauge::new(
                "countersign_limit_accounts",
                "Principals and addresses whose rates are remembered.",
            )?,
            inspections: InspectionMetrics::register(&registry)?,
            admin: AdminMetrics::register(&registry)?,
            audits: AuditMetrics::register(&registry)?,
            spans: SpanMetrics::register(&registry)?,
            panics: panics::register(&registry)?,
            reloads: ReloadMetrics::register(&registry)?,
            registry,
        };
        let registry = &metrics.registry;
        registry.register(Box::new(metrics.requests.clone()))?;
        registry.register(Box::new(metrics.refusals.clone()))?;
        registry.register(Box::new(metrics.bytes.clone()))?;
        registry.register(Box::new(metrics.duration.clone()))?;
        registry.register(Box::new(metrics.upstream_first_byte.clone()))?;
        registry.register(Box::new(metrics.in_flight.clone()))?;
        registry.register(Box::new(metrics.jwks_age.clone()))?;
        registry.register(Box::new(metrics.connections_open.clone()))?;
        registry.register(Box::new(metrics.connections.clone()))?;
        registry.register(Box::new(metrics.handshakes_failed.clone()))?;
        registry.register(Box::new(metrics.connections_stalled.clone()))?;
        registry.register(Box::new(metrics.unreadable_heads.clone()))?;
        registry.register(Box::new(metrics.upstream_requests.clone()))?;
        registry.register(Box::new(metrics.upstream_resting.clone()))?;
        registry.register(Box::new(metrics.upstream_trips.clone()))?;
        registry.register(Box::new(metrics.limited.clone()))?;
        registry.register(Box::new(metrics.limit_accounts.clone()))?;
        #[cfg(target_os = "linux")]
        registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        Ok(metrics)
    }

    /// A request begins.
    pub fn request_started(&self) {
        self.in_flight.inc();
    }

    /// A request is over; `operation` and `outcome` are fixed words.
    pub fn request_ended(&self, operation: &str, outcome: &str, duration: Duration, bytes_in: u64, bytes_out: u64) {
        self.in_flight.dec();
        self.requests.with_label_values(&[operation, outcome]).inc();
        self.duration.with_label_values(&[operation]).observe(duration.as_secs_f64());
        self.bytes_in.inc_by(bytes_in);
        self.bytes_out.inc_by(bytes_out);
    }

    /// A request was refused; `kind` and `code` are fixed words.
    pub fn refused(&self, kind: &str, code: &str) {
        self.refusals.with_label_values(&[kind, code]).inc();
    }

    /// A store answered.
    pub fn upstream_answered(&self, first_byte: Duration) {
        self.upstream_first_byte.observe(first_byte.as_secs_f64());
    }

    /// What is counted of spans.
    pub fn spans(&self) -> &SpanMetrics {
        &self.spans
    }

    /// What is counted of audit sinks.
    pub fn audits(&self) -> &AuditMetrics {
        &self.audits
    }

    /// How a store is doing now; `trips` is counted since the start.
    pub fn set_upstream(&self, name: &str, in_flight: usize, waiting: usize, resting: bool, trips: u64) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.upstream_requests.with_label_values(&[name, "in_flight"]).set(number(in_flight));
        self.upstream_requests.with_label_values(&[name, "waiting"]).set(number(waiting));
        self.upstream_resting.with_label_values(&[name]).set(i64::from(resting));
        catch_up(&self.upstream_trips.with_label_values(&[name]), trips);
    }

    /// What is counted of the admin listener.
    pub fn admin(&self) -> &AdminMetrics {
        &self.admin
    }

    /// There is no store of this name any more, or it is counted anew.
    pub fn forget_upstream(&self, name: &str) {
        // An error means that it was never there.
        for state in ["in_flight", "waiting"] {
            drop(self.upstream_requests.remove_label_values(&[name, state]));
        }
        drop(self.upstream_resting.remove_label_values(&[name]));
        drop(self.upstream_trips.remove_label_values(&[name]));
    }

    /// There is no issuer of this name any more.
    pub fn forget_issuer(&self, name: &str) {
        drop(self.jwks_age.remove_label_values(&[name]));
    }

    /// What is counted of reloads.
    pub fn reloads(&self) -> &ReloadMetrics {
        &self.reloads
    }

    /// What is counted of inspectors.
    pub fn inspections(&self) -> &InspectionMetrics {
        &self.inspections
    }

    /// What the limits keep now, and what they have refused since the start.
    pub fn set_limits(&self, accounts: usize, refused: u64) {
        self.limit_accounts.set(i64::try_from(accounts).unwrap_or(i64::MAX));
        catch_up(&self.limited, refused);
    }

    /// The exposition text; `connections` and `jwks_ages`, by issuer name, are taken now.
    pub fn render(
        &self,
        connections: ConnectionCounts,
        jwks_ages: impl IntoIterator<Item = (String, Option<Duration>)>,
    ) -> String {
        self.connections_open.set(i64::try_from(connections.open).unwrap_or(i64::MAX));
        catch_up(&self.connections, connections.accepted);
        catch_up(&self.handshakes_failed, connections.handshakes_failed);
        catch_up(&self.connections_stalled, connections.stalled);
        catch_up(&self.unreadable_heads, connections.unreadable);
        panics::catch_up(&self.panics);
        for (issuer, age) in jwks_ages {
            let age = age.map_or(f64::INFINITY, |age| age.as_secs_f64());
            self.jwks_age.with_label_values(&[issuer.as_str()]).set(age);
        }
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default()
    }
}

/// Brings a counter to what another part has counted.
fn catch_up(counter: &IntCounter, count: u64) {
    counter.inc_by(count.saturating_sub(counter.get()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_rendered_under_its_name() {
        let metrics = Metrics::new().unwrap();
        metrics.request_started();
        metrics.request_ended("PutObject", "ok", Duration::from_millis(3), 10, 0);
        metrics.refused("denied", "AccessDenied");
        metrics.set_upstream("rack", 3, 2, true, 4);
        metrics.set_limits(6, 5);
        metrics.inspections().announce("av");
        metrics.inspections().count("av", "matched", Duration::from_millis(3), 68);
        metrics.inspections().set_load("av", 2, 1);
        metrics.inspections().set_memory(9, 8);
        metrics.inspections().set_health("av", true, false, Some(Duration::from_secs(60)));
        let text = metrics.render(
            ConnectionCounts { open: 2, accepted: 7, unreadable: 3, ..ConnectionCounts::default() },
            [("corp".to_owned(), Some(Duration::from_secs(5)))],
        );
        for line in [
            "countersign_requests_total{operation=\"PutObject\",outcome=\"ok\"} 1",
            "countersign_refusals_total{code=\"AccessDenied\",kind=\"denied\"} 1",
            "countersign_body_bytes_total{direction=\"in\"} 10",
            "countersign_requests_in_flight 0",
            "countersign_jwks_age_seconds{issuer=\"corp\"} 5",
            "countersign_connections_open 2",
            "countersign_connections_total 7",
            "countersign_unreadable_heads_total 3",
            "countersign_upstream_requests{state=\"in_flight\",upstream=\"rack\"} 3",
            "countersign_upstream_requests{state=\"waiting\",upstream=\"rack\"} 2",
            "countersign_upstream_resting{upstream=\"rack\"} 1",
            "countersign_upstream_trips_total{upstream=\"rack\"} 4",
            "countersign_limited_total 5",
            "countersign_remembered_verdicts 9",
            "countersign_recalled_verdicts_total 8",
            "countersign_limit_accounts 6",
            "countersign_inspections_total{inspector=\"av\",verdict=\"matched\"} 1",
            "countersign_inspections_total{inspector=\"av\",verdict=\"clean\"} 0",
            "countersign_inspection_seconds_count{inspector=\"av\"} 1",
            "countersign_inspected_bytes_total{inspector=\"av\"} 68",
            "countersign_inspection_running{inspector=\"av\"} 2",
            "countersign_inspection_waiting{inspector=\"av\"} 1",
            "countersign_inspector_up{inspector=\"av\"} 1",
            "countersign_inspector_breaker_open{inspector=\"av\"} 0",
            "countersign_inspector_signatures_age_seconds{inspector=\"av\"} 60",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}

//! The metrics of the gateway, in Prometheus text form.

use std::time::Duration;

use prometheus::{GaugeVec, IntCounter, IntGauge, Opts, Registry, TextEncoder};

use crate::telemetry::admin::AdminMetrics;
use crate::telemetry::audits::AuditMetrics;
use crate::telemetry::credentials::CredentialMetrics;
use crate::telemetry::inspections::InspectionMetrics;
use crate::telemetry::listeners::{ConnectionCounts, ListenerMetrics};
use crate::telemetry::panics;
use crate::telemetry::reloads::ReloadMetrics;
use crate::telemetry::requests::RequestMetrics;
use crate::telemetry::spans::SpanMetrics;
use crate::telemetry::stores::StoreMetrics;

/// Every metric of the gateway, registered once.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    requests: RequestMetrics,
    listeners: ListenerMetrics,
    stores: StoreMetrics,
    credentials: CredentialMetrics,
    jwks_age: GaugeVec,
    limited: IntCounter,
    limit_accounts: IntGauge,
    inspections: InspectionMetrics,
    audits: AuditMetrics,
    spans: SpanMetrics,
    admin: AdminMetrics,
    reloads: ReloadMetrics,
    panics: IntCounter,
}

/// Buckets from a cached small object to a slow large one, in seconds.
pub(super) const SECONDS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

impl Metrics {
    /// Registers every metric.
    ///
    /// # Errors
    /// If two metrics had the same name, which a test excludes.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let metrics = Self {
            requests: RequestMetrics::register(&registry)?,
            listeners: ListenerMetrics::register(&registry)?,
            stores: StoreMetrics::register(&registry)?,
            credentials: CredentialMetrics::register(&registry)?,
            jwks_age: GaugeVec::new(
                Opts::new("countersign_jwks_age_seconds", "Time since the key set of an issuer was last fetched."),
                &["issuer"],
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
            audits: AuditMetrics::register(&registry)?,
            spans: SpanMetrics::register(&registry)?,
            admin: AdminMetrics::register(&registry)?,
            reloads: ReloadMetrics::register(&registry)?,
            panics: panics::register(&registry)?,
            registry,
        };
        let registry = &metrics.registry;
        registry.register(Box::new(metrics.jwks_age.clone()))?;
        registry.register(Box::new(metrics.limited.clone()))?;
        registry.register(Box::new(metrics.limit_accounts.clone()))?;
        #[cfg(target_os = "linux")]
        registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        Ok(metrics)
    }

    /// What is counted of requests.
    pub fn requests(&self) -> &RequestMetrics {
        &self.requests
    }

    /// What is counted of listeners and their connections.
    pub fn listeners(&self) -> &ListenerMetrics {
        &self.listeners
    }

    /// What is counted of stores.
    pub fn stores(&self) -> &StoreMetrics {
        &self.stores
    }

    /// What is counted of the credentials of upstreams.
    pub fn credentials(&self) -> &CredentialMetrics {
        &self.credentials
    }

    /// What is counted of inspectors.
    pub fn inspections(&self) -> &InspectionMetrics {
        &self.inspections
    }

    /// What is counted of audit sinks.
    pub fn audits(&self) -> &AuditMetrics {
        &self.audits
    }

    /// What is counted of spans.
    pub fn spans(&self) -> &SpanMetrics {
        &self.spans
    }

    /// What is counted of the admin listener.
    pub fn admin(&self) -> &AdminMetrics {
        &self.admin
    }

    /// What is counted of reloads.
    pub fn reloads(&self) -> &ReloadMetrics {
        &self.reloads
    }

    /// There is no issuer of this name any more.
    pub fn forget_issuer(&self, name: &str) {
        // An error means that it was never there.
        drop(self.jwks_age.remove_label_values(&[name]));
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
        self.listeners.set_connections(connections);
        panics::catch_up(&self.panics);
        for (issuer, age) in jwks_ages {
            let age = age.map_or(f64::INFINITY, |age| age.as_secs_f64());
            self.jwks_age.with_label_values(&[issuer.as_str()]).set(age);
        }
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default()
    }
}

/// Brings a counter to what another part has counted.
pub(super) fn catch_up(counter: &IntCounter, count: u64) {
    counter.inc_by(count.saturating_sub(counter.get()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_rendered_under_its_name() {
        let metrics = Metrics::new().unwrap();
        metrics.requests().started();
        metrics.requests().ended("PutObject", "ok", Duration::from_millis(3), 10, 0);
        metrics.requests().refused("denied", "AccessDenied");
        metrics.stores().set("rack", 3, 2, true, 4);
        metrics.set_limits(6, 5);
        metrics.inspections().announce("av");
        metrics.inspections().count("av", "matched", Duration::from_millis(3), 68);
        metrics.inspections().set_load("av", 2, 1);
        metrics.inspections().set_memory(9, 8);
        metrics.inspections().set_health("av", true, false, Some(Duration::from_secs(60)));
        metrics.listeners().set_certificate_expiry("[::]:8443", Some(1_900_000_000));
        metrics.credentials().announce("rack");
        metrics.credentials().count("rack", true);
        metrics.credentials().set_times("rack", Some(Duration::from_secs(9)), Some(1_800_000_000));
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
            "countersign_tls_certificate_expiry_timestamp_seconds{listener=\"[::]:8443\"} 1900000000",
            "countersign_upstream_requests{state=\"in_flight\",upstream=\"rack\"} 3",
            "countersign_upstream_requests{state=\"waiting\",upstream=\"rack\"} 2",
            "countersign_upstream_resting{upstream=\"rack\"} 1",
            "countersign_upstream_trips_total{upstream=\"rack\"} 4",
            "countersign_upstream_credentials_age_seconds{upstream=\"rack\"} 9",
            "countersign_upstream_credentials_expiry_timestamp_seconds{upstream=\"rack\"} 1800000000",
            "countersign_upstream_credentials_refreshes_total{result=\"ok\",upstream=\"rack\"} 1",
            "countersign_upstream_credentials_refreshes_total{result=\"error\",upstream=\"rack\"} 0",
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

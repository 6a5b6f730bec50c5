//! The metrics of listeners and their connections. A listener is named by its address in the configuration, so there are few.

use prometheus::{IntCounter, IntGauge, IntGaugeVec, Opts, Registry};

use crate::telemetry::metrics::catch_up;

/// What is counted of listeners.
#[derive(Debug, Clone)]
pub struct ListenerMetrics {
    open: IntGauge,
    accepted: IntCounter,
    handshakes_failed: IntCounter,
    stalled: IntCounter,
    unreadable: IntCounter,
    certificate_expiry: IntGaugeVec,
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

impl ListenerMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// If two metrics had the same name, which a test excludes.
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            open: IntGauge::new("countersign_connections_open", "Client connections that are open.")?,
            accepted: IntCounter::new("countersign_connections_total", "Client connections accepted.")?,
            handshakes_failed: IntCounter::new(
                "countersign_tls_handshakes_failed_total",
                "TLS handshakes that failed or took too long.",
            )?,
            stalled: IntCounter::new(
                "countersign_connections_stalled_total",
                "Client connections cut because the client did not take its bytes.",
            )?,
            unreadable: IntCounter::new(
                "countersign_unreadable_heads_total",
                "HTTP/1.1 request heads that could not be read; they have no audit record.",
            )?,
            certificate_expiry: IntGaugeVec::new(
                Opts::new(
                    "countersign_tls_certificate_expiry_timestamp_seconds",
                    "When the certificate of a TLS listener ends, in seconds since 1970; listener is its address, or admin.",
                ),
                &["listener"],
            )?,
        };
        registry.register(Box::new(metrics.open.clone()))?;
        registry.register(Box::new(metrics.accepted.clone()))?;
        registry.register(Box::new(metrics.handshakes_failed.clone()))?;
        registry.register(Box::new(metrics.stalled.clone()))?;
        registry.register(Box::new(metrics.unreadable.clone()))?;
        registry.register(Box::new(metrics.certificate_expiry.clone()))?;
        Ok(metrics)
    }

    /// What the edge has counted since the start.
    pub fn set_connections(&self, counts: ConnectionCounts) {
        self.open.set(i64::try_from(counts.open).unwrap_or(i64::MAX));
        catch_up(&self.accepted, counts.accepted);
        catch_up(&self.handshakes_failed, counts.handshakes_failed);
        catch_up(&self.stalled, counts.stalled);
        catch_up(&self.unreadable, counts.unreadable);
    }

    /// When the certificate of a listener ends, in seconds since 1970; `None` if it cannot be read.
    pub fn set_certificate_expiry(&self, listener: &str, expiry: Option<i64>) {
        match expiry {
            Some(expiry) => self.certificate_expiry.with_label_values(&[listener]).set(expiry),
            // An error would say that there was none.
            None => drop(self.certificate_expiry.remove_label_values(&[listener])),
        }
    }
}

//! What the admin listener tells about a running gateway.

use std::sync::Arc;

use super::live::Live;
use super::reload::Reloader;
use crate::edge::{AdminState, Monitor};
use crate::telemetry::{ConnectionCounts, Metrics};

/// What the admin listener tells.
pub(super) struct State {
    pub(super) live: Arc<Live>,
    pub(super) metrics: Metrics,
    pub(super) monitor: Monitor,
    pub(super) reloader: Reloader,
}

impl AdminState for State {
    fn not_ready(&self) -> Vec<String> {
        let generation = self.live.current();
        let stores = generation.credentials.iter().filter(|store| store.current().is_none());
        let credentials =
            stores.map(|store| format!("credentials of upstream `{}` could not be loaded", store.upstream()));
        let keys = generation.gateway.authenticators.missing_keys();
        let inspectors = generation.gateway.inspectors.states().filter_map(|state| state.not_ready);
        credentials
            .chain(inspectors)
            .chain(keys.into_iter().map(|issuer| format!("the key set of issuer `{issuer}` could not be loaded")))
            .collect()
    }

    fn notes(&self) -> Vec<String> {
        let status = self.reloader.status();
        let failed = status.last_error.map(|(at, why)| {
            let first_line = why.lines().next().unwrap_or_default();
            format!("the reload at {at} failed, the old configuration serves: {first_line}")
        });
        let waiting = status.needs_restart;
        let waiting = (!waiting.is_empty()).then(|| format!("waits for a restart: {}", waiting.join(", ")));
        failed.into_iter().chain(waiting).collect()
    }

    fn metrics(&self) -> String {
        let generation = self.live.current();
        let gateway = &generation.gateway;
        let connections = ConnectionCounts {
            open: self.monitor.open_connections(),
            accepted: self.monitor.accepted_connections(),
            handshakes_failed: self.monitor.failed_handshakes(),
            stalled: self.monitor.stalled_connections(),
            unreadable: self.monitor.unreadable_heads(),
        };
        for state in gateway.upstreams.states() {
            self.metrics.set_upstream(state.name, state.in_flight, state.waiting, state.resting, state.trips);
        }
        for state in gateway.inspectors.states() {
            self.metrics.inspections().set_load(state.name, state.running, state.waiting);
            self.metrics.inspections().set_health(state.name, state.up, state.resting, state.signatures_age);
        }
        let verdicts = &gateway.verdicts;
        self.metrics.inspections().set_memory(verdicts.verdicts(), verdicts.recalled());
        self.metrics.set_limits(gateway.limiter.accounts(), gateway.limiter.refused());
        self.metrics.render(connections, gateway.authenticators.key_ages())
    }
}

//! What the admin listener tells about a running gateway.

use std::sync::Arc;

use super::live::Live;
use crate::edge::{AdminState, Monitor};
use crate::sign::Unusable;
use crate::telemetry::{ConnectionCounts, Metrics};

/// What the admin listener tells.
pub(super) struct State {
    pub(super) live: Arc<Live>,
    pub(super) metrics: Metrics,
    pub(super) monitor: Monitor,
}

impl AdminState for State {
    fn not_ready(&self) -> Vec<String> {
        let generation = self.live.current();
        let credentials = generation.credentials.iter().filter_map(|store| {
            let problem = match store.trouble()? {
                Unusable::Missing => "could not be loaded",
                Unusable::Expired => "have expired and could not be renewed",
            };
            Some(format!("credentials of upstream `{}` {problem}", store.upstream()))
        });
        let keys = generation.gateway.authenticators.missing_keys();
        let inspectors = generation.gateway.inspectors.states().filter_map(|state| state.not_ready);
        credentials
            .chain(inspectors)
            .chain(keys.into_iter().map(|issuer| format!("the key set of issuer `{issuer}` could not be loaded")))
            .collect()
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
        for store in &generation.credentials {
            let (age, expiry) = store.times().unzip();
            let expiry = expiry.flatten().map(|expiry| expiry.as_second());
            self.metrics.credentials().set_times(store.upstream(), age, expiry);
        }
        let verdicts = &gateway.verdicts;
        self.metrics.inspections().set_memory(verdicts.verdicts(), verdicts.recalled());
        self.metrics.set_limits(gateway.limiter.accounts(), gateway.limiter.refused());
        self.metrics.render(connections, gateway.authenticators.key_ages())
    }
}

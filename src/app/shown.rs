//! What of a configuration the operator's page shows and asks.

use std::sync::Arc;

use crate::config::{Config, Source};
use crate::console::ConfigView;
use crate::edge::{Access, ListenAddress, ListenerSettings};
use crate::explain::Facts;
use crate::upstream::UpstreamSettings;

/// What is kept of a configuration for the operator's page.
pub(super) struct Shown {
    /// Who may see it.
    pub(super) access: Arc<Access>,
    /// What decides about requests.
    pub(super) facts: Facts,
    /// The stores, in the order of the configuration.
    pub(super) upstreams: Vec<Place>,
    /// Of each data listener on an IP address, whether it speaks TLS.
    pub(super) with_tls: Vec<bool>,
    source: Source,
}

/// Where a store is.
pub(super) struct Place {
    pub(super) endpoint: String,
    pub(super) region: String,
}

impl Shown {
    pub(super) fn of(config: &Config) -> Self {
        Self {
            access: Arc::clone(&config.edge.admin_access),
            facts: Facts { auth: config.auth.clone(), buckets: config.buckets.clone(), rules: config.rules.clone() },
            upstreams: config.upstreams.iter().map(place).collect(),
            with_tls: config.edge.listeners.iter().filter_map(tls_of_tcp).collect(),
            source: config.source.clone(),
        }
    }

    pub(super) fn config(&self) -> ConfigView {
        let auth = &self.facts.auth;
        let tokens = auth.tokens.iter().map(|token| format!("token:{}", token.name));
        let keys = auth.access_keys.iter().map(|key| format!("key:{}", key.name));
        let listeners = auth.listeners.iter().map(|listener| format!("listener:{}", listener.name));
        let issuers = auth.issuers.iter().map(|issuer| format!("issuer:{}:", issuer.name));
        ConfigView {
            file: self.source.name.clone(),
            digest: self.source.digest.clone(),
            text: self.source.text.clone(),
            principals: tokens.chain(keys).chain(listeners).chain(issuers).collect(),
            buckets: self.facts.buckets.iter().map(|bucket| bucket.name.clone()).collect(),
        }
    }
}

fn tls_of_tcp(listener: &ListenerSettings) -> Option<bool> {
    matches!(listener.address, ListenAddress::Tcp(_)).then_some(listener.tls.is_some())
}

fn place(upstream: &UpstreamSettings) -> Place {
    let scheme = if upstream.tls { "https" } else { "http" };
    let host = if upstream.host.contains(':') { format!("[{}]", upstream.host) } else { upstream.host.clone() };
    Place { endpoint: format!("{scheme}://{host}:{}", upstream.port), region: upstream.region.clone() }
}

//! What the operator's page shows of a configuration.

use crate::base::authority::bracketed;
use crate::config::Config;
use crate::console::ConfigView;
use crate::edge::{ListenAddress, ListenerSettings};
use crate::explain::Facts;
use crate::upstream::UpstreamSettings;

/// What decides about requests.
pub(super) fn facts(config: &Config) -> Facts {
    Facts { auth: config.auth.clone(), buckets: config.buckets.clone(), rules: config.rules.clone() }
}

/// The file, and whom and what a question to the rules can be about.
pub(super) fn file(config: &Config) -> ConfigView {
    let auth = &config.auth;
    let tokens = auth.tokens.iter().map(|token| format!("token:{}", token.name));
    let keys = auth.access_keys.iter().map(|key| format!("key:{}", key.name));
    let listeners = auth.listeners.iter().map(|listener| format!("listener:{}", listener.name));
    let certificates = auth.certificates.iter().map(|entry| format!("certificate:{}", entry.name));
    let issuers = auth.issuers.iter().map(|issuer| format!("issuer:{}:", issuer.name));
    ConfigView {
        file: config.source.name.clone(),
        digest: config.source.digest.clone(),
        text: config.source.text.clone(),
        principals: tokens.chain(keys).chain(listeners).chain(certificates).chain(issuers).collect(),
        buckets: config.buckets.iter().map(|bucket| bucket.name.clone()).collect(),
    }
}

/// Of each data listener on an IP address, whether it speaks TLS.
pub(super) fn with_tls(config: &Config) -> impl Iterator<Item = bool> {
    let tcp = |listener: &ListenerSettings| {
        matches!(listener.address, ListenAddress::Tcp(_)).then_some(listener.tls.is_some())
    };
    config.edge.listeners.iter().filter_map(tcp)
}

/// The address of a store.
pub(super) fn endpoint(upstream: &UpstreamSettings) -> String {
    let scheme = if upstream.tls { "https" } else { "http" };
    format!("{scheme}://{}:{}", bracketed(&upstream.host), upstream.port)
}

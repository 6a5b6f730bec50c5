//! One configuration at work: the gateway that it made, and what keeps it fresh.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use tokio::task::JoinSet;

use crate::audit::{AuditSink, Auditor};
use crate::auth::Authenticators;
use crate::base::{Clock, SystemClock};
use crate::body::{BodyLimits, LingerLimits};
use crate::config::Config;
use crate::downloads::held::HeldBytes;
use crate::edge::ConnectionLimits;
use crate::flow::Budget;
use crate::gateway::Gateway;
use crate::inspect::{Inspectors, Memory};
use crate::limits::{Limiter, StoreShares};
use crate::multipart::staged::Staging;
use crate::multipart::staged::sweep::{self, SweepSettings, Sweeper};
use crate::rules::RuleSet;
use crate::sign::{CredentialStore, Route, Signer};
use crate::telemetry::Metrics;
use crate::upstream::{Addressing, ChecksumMode, PayloadMode, UpstreamSettings, Upstreams};

/// What outlives every configuration.
pub(super) struct Lasting {
    pub(super) metrics: Metrics,
    pub(super) sink: Arc<dyn AuditSink>,
    pub(super) budget: Arc<Budget>,
}

/// A gateway and the credentials of its stores.
pub(super) struct Generation {
    pub(super) gateway: Gateway,
    pub(super) credentials: Vec<Arc<CredentialStore>>,
    sweeping: SweepSettings,
}

impl Generation {
    /// Builds everything that a configuration names but its listeners. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// The first part that cannot be built, named as the configuration names it.
    pub(super) fn build(config: Config, lasting: &Lasting) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let credentials: Vec<_> = config
            .upstreams
            .iter()
            .map(|upstream| Arc::new(CredentialStore::new(&upstream.name, upstream.credentials.clone())))
            .collect();
        if config.auth.sessions.as_ref().is_some_and(|sessions| sessions.keys.is_empty()) {
            tracing::warn!("sts.keys is empty: sessions end with this process, and no other replica accepts them");
        }
        let routes =
            config.upstreams.iter().zip(&credentials).map(|(upstream, store)| route(upstream, store)).collect();
        let shares: Vec<_> = config.upstreams.iter().map(store_shares).collect();
        let limiter = Limiter::new(config.limits, &config.rules, &shares, Instant::now());
        let inspectors = Arc::new(Inspectors::new(config.inspectors, &lasting.metrics)?);
        let staged = sweep::places(&config.rules, &config.buckets);
        let gateway = Gateway {
            authenticators: Authenticators::new(config.auth, Arc::clone(&clock)).context("clients")?,
            sts: config.sts,
            buckets: config.buckets,
            cors: config.cors,
            rules: RuleSet::new(config.rules),
            limiter: Arc::new(limiter),
            signer: Arc::new(Signer::new(routes, Arc::clone(&clock))),
            verdicts: Memory::new(config.inspection.memory),
            held: HeldBytes::new(config.inspection.held),
            staging: Arc::new(Staging::new(Arc::clone(&inspectors), staged)),
            inspectors,
            upstreams: Arc::new(Upstreams::new(config.upstreams, &lasting.budget).context("upstreams")?),
            body_limits: body_limits(&config.edge.limits),
            auditor: Auditor::new(Arc::clone(&lasting.sink), lasting.metrics.clone(), Arc::clone(&clock)),
            since: clock.now(),
        };
        Ok(Self { gateway, credentials, sweeping: config.sweeping })
    }

    /// Starts what keeps it fresh: health of inspectors, key sets, credentials, hidden objects. All end when the result is dropped.
    pub(super) fn start(&self, metrics: &Metrics) -> Upkeep {
        let mut tasks = JoinSet::new();
        for store in &self.credentials {
            tasks.spawn(Arc::clone(store).keep_fresh(metrics.credentials().clone()));
        }
        let sweeper = Sweeper {
            staging: Arc::clone(&self.gateway.staging),
            signer: Arc::clone(&self.gateway.signer),
            upstreams: Arc::clone(&self.gateway.upstreams),
            settings: self.sweeping,
            metrics: metrics.clone(),
        };
        tasks.spawn(sweeper.run());
        Upkeep {
            _checkups: Box::new(self.gateway.inspectors.start()),
            _key_sets: Box::new(self.gateway.authenticators.start()),
            _tasks: tasks,
        }
    }
}

/// The tasks of a generation.
pub(super) struct Upkeep {
    _checkups: Box<dyn Send>,
    _key_sets: Box<dyn Send>,
    _tasks: JoinSet<()>,
}

/// An upstream as the signer sees it.
pub fn route(upstream: &UpstreamSettings, credentials: &Arc<CredentialStore>) -> Route {
    let host = if upstream.host.contains(':') { format!("[{}]", upstream.host) } else { upstream.host.clone() };
    let default_port = if upstream.tls { 443 } else { 80 };
    Route {
        name: upstream.name.clone(),
        authority: if upstream.port == default_port { host } else { format!("{host}:{}", upstream.port) },
        region: upstream.region.clone(),
        virtual_host: upstream.addressing == Addressing::VirtualHost,
        signed_payload: upstream.payload == PayloadMode::Signed,
        trailers: upstream.checksum == ChecksumMode::Trailer,
        credentials: Arc::clone(credentials),
    }
}

fn store_shares(upstream: &UpstreamSettings) -> StoreShares {
    StoreShares {
        connections: upstream.max_connections,
        unknown_length_uploads: upstream.unknown_length_uploads,
        percent: upstream.principal_share,
    }
}

fn body_limits(limits: &ConnectionLimits) -> BodyLimits {
    BodyLimits {
        idle: limits.body_idle_timeout,
        min_rate: limits.min_body_rate,
        rate_window: limits.body_rate_window,
        linger: LingerLimits { bytes: limits.linger_bytes, time: limits.linger_timeout },
    }
}

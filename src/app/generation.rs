//! One configuration at work: the gateway that it made, and what keeps it fresh.
//!
//! A generation that follows another one takes over what would be the same, and everything that counts what clients have taken: a reload
//! costs nobody a connection, and gives nobody a rate, a place or a verdict anew.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::Context;
use tokio::task::JoinSet;

use super::tracer::tracer;
use crate::audit::{AuditSink, Auditor};
use crate::auth::Authenticators;
use crate::base::authority::authority_of;
use crate::base::{Clock, RouteId, SystemClock};
use crate::body::{BodyLimits, LingerLimits};
use crate::config::{Config, OtlpSettings};
use crate::downloads::held::HeldBytes;
use crate::edge::ConnectionLimits;
use crate::flow::Budget;
use crate::gateway::Gateway;
use crate::inspect::{InspectorSettings, Inspectors, Memory};
use crate::limits::{Limiter, StoreShares};
use crate::multipart::staged::Staging;
use crate::multipart::staged::sweep::{self, Sweeper};
use crate::rules::RuleSet;
use crate::sign::{CredentialStore, Route, Signer, Unusable};
use crate::telemetry::Metrics;
use crate::telemetry::trace::SpanSink;
use crate::upkeep::forever;
use crate::upstream::{Addressing, ChecksumMode, PayloadMode, UpstreamSettings, Upstreams};

/// What outlives every configuration.
#[derive(Clone)]
pub(super) struct Lasting {
    pub(super) metrics: Metrics,
    pub(super) sink: Arc<dyn AuditSink>,
    pub(super) budget: Arc<Budget>,
}

/// A gateway and the credentials of its stores.
pub(super) struct Generation {
    pub(super) gateway: Gateway,
    pub(super) credentials: Vec<Arc<CredentialStore>>,
    pub(super) config: Config,
    /// Parts that a reload brought and that were not ready once since then.
    newcomers: Mutex<BTreeSet<Part>>,
}

/// A part of the configuration that may not be ready.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Upstream(String),
    Inspector(String),
    Issuer(String),
}

/// What is not ready.
#[derive(Debug, Default)]
pub(super) struct Readiness {
    /// Why requests should not be sent here.
    pub(super) blocking: Vec<String>,
    /// The same of parts that the last reload brought: who sends no more requests because of them would make a reload an outage.
    pub(super) notes: Vec<String>,
}

/// The generation before, and which files hold something else since it was made.
#[derive(Clone, Copy)]
pub(super) struct Previous<'a> {
    pub(super) generation: &'a Generation,
    pub(super) changed: &'a BTreeSet<PathBuf>,
}

impl Previous<'_> {
    /// Who is told of spans, if the same collector is to be told in the same way.
    pub(super) fn span_sink(&self, otlp: &OtlpSettings) -> Option<Arc<dyn SpanSink>> {
        let before = self.generation.config.tracing.as_ref()?.otlp.as_ref()?;
        let is_same = before.post == otlp.post && otlp.post.ca_file.as_ref().is_none_or(|file| !self.is_stale(file));
        self.generation.gateway.tracer.as_ref().filter(|_| is_same)?.sink.clone()
    }

    fn is_stale(&self, file: &Path) -> bool {
        self.changed.contains(file)
    }

    fn upstreams(&self) -> &[UpstreamSettings] {
        &self.generation.config.upstreams
    }

    /// Whether every store is still there under its name: else a name could have come to stand for another one.
    fn has_same_stores(&self, upstreams: &[UpstreamSettings]) -> bool {
        self.upstreams().iter().all(|old| position(upstreams, old).is_some())
    }

    fn is_same_inspector(&self, settings: &InspectorSettings) -> bool {
        self.generation.config.inspectors.contains(settings)
            && settings.kind.ca_file().is_none_or(|file| !self.is_stale(file))
    }
}

fn position(upstreams: &[UpstreamSettings], wanted: &UpstreamSettings) -> Option<RouteId> {
    upstreams.iter().position(|upstream| upstream.is_store_of(wanted)).map(RouteId)
}

/// Where a store of one list is in another.
fn counterpart(route: RouteId, of: &[UpstreamSettings], among: &[UpstreamSettings]) -> Option<RouteId> {
    position(among, of.get(route.0)?)
}

impl Generation {
    /// Builds everything that a configuration names but its listeners, out of nothing or after a previous one. Must be called inside a tokio
    /// runtime; blocks.
    ///
    /// # Errors
    /// The first part that cannot be built, named as the configuration names it.
    pub(super) fn build(config: Config, lasting: &Lasting, previous: Option<Previous<'_>>) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let before = previous.map(|previous| &previous.generation.gateway);
        let credentials: Vec<_> =
            config.upstreams.iter().map(|upstream| credential_store(upstream, previous)).collect();
        let routes =
            config.upstreams.iter().zip(&credentials).map(|(upstream, store)| route(upstream, store)).collect();
        let inspectors = Arc::new(inspectors(&config, lasting, previous)?);
        let authenticators = match before {
            Some(before) => Authenticators::after(&before.authenticators, config.auth.clone(), Arc::clone(&clock)),
            None => Authenticators::new(config.auth.clone(), Arc::clone(&clock)),
        };
        let gateway = Gateway {
            authenticators: authenticators.context("clients")?,
            sts: config.sts.clone(),
            buckets: config.buckets.clone(),
            cors: config.cors.clone(),
            limiter: Arc::new(limiter(&config, previous)),
            signer: Arc::new(Signer::new(routes, Arc::clone(&clock))),
            verdicts: memory(&config, previous),
            held: match before.filter(|before| before.held.limit() == config.inspection.held) {
                Some(before) => before.held.clone(),
                None => HeldBytes::new(config.inspection.held),
            },
            staging: Arc::new(staging(&config, &inspectors, previous)),
            rules: RuleSet::new(config.rules.clone()),
            inspectors,
            upstreams: Arc::new(upstreams(&config, lasting, previous)?),
            body_limits: body_limits(&config.edge.limits),
            auditor: Auditor::new(
                Arc::clone(&lasting.sink),
                config.audit.wait,
                lasting.metrics.clone(),
                Arc::clone(&clock),
            ),
            tracer: config.tracing.as_ref().map(|tracing| tracer(tracing, lasting, previous)).transpose()?,
            since: clock.now(),
        };
        Ok(Self { gateway, credentials, config, newcomers: Mutex::default() })
    }

    /// Starts what keeps it fresh: health of inspectors, key sets, credentials, hidden objects. All end when the result is dropped.
    pub(super) fn start(&self, metrics: &Metrics) -> Upkeep {
        let mut tasks = JoinSet::new();
        for store in &self.credentials {
            let (store, counts) = (Arc::clone(store), metrics.credentials().clone());
            tasks.spawn(forever("credentials", move || Arc::clone(&store).keep_fresh(counts.clone())));
        }
        let sweeper = Sweeper {
            staging: Arc::clone(&self.gateway.staging),
            signer: Arc::clone(&self.gateway.signer),
            upstreams: Arc::clone(&self.gateway.upstreams),
            settings: self.config.sweeping,
            metrics: metrics.clone(),
        };
        tasks.spawn(forever("sweeper", move || sweeper.clone().run()));
        Upkeep {
            _checkups: Box::new(self.gateway.inspectors.start()),
            _key_sets: Box::new(self.gateway.authenticators.start()),
            _tasks: tasks,
        }
    }

    /// What is not ready now.
    pub(super) fn readiness(&self) -> Readiness {
        let (mut readiness, not_ready) = (Readiness::default(), self.not_ready());
        let mut newcomers = self.newcomers.lock().unwrap_or_else(PoisonError::into_inner);
        // One that was ready once is like all others from then on.
        newcomers.retain(|part| not_ready.iter().any(|(other, _)| other == part));
        for (part, why) in not_ready {
            match newcomers.contains(&part) {
                true => readiness.notes.push(format!("{why}; it is new since the last reload")),
                false => readiness.blocking.push(why),
            }
        }
        readiness.blocking.extend(self.gateway.auditor.not_ready());
        readiness
    }

    /// Notes what is not ready now and does not keep the previous one from being ready: that is what the reload brought. Tells whether
    /// there is any.
    pub(super) fn note_newcomers(&self, previous: &Self) -> bool {
        let before: BTreeSet<_> = previous.readiness_blockers();
        let new = self.not_ready().into_iter().map(|(part, _)| part).filter(|part| !before.contains(part)).collect();
        let mut newcomers = self.newcomers.lock().unwrap_or_else(PoisonError::into_inner);
        *newcomers = new;
        !newcomers.is_empty()
    }

    fn readiness_blockers(&self) -> BTreeSet<Part> {
        let newcomers = self.newcomers.lock().unwrap_or_else(PoisonError::into_inner);
        self.not_ready().into_iter().map(|(part, _)| part).filter(|part| !newcomers.contains(part)).collect()
    }

    fn not_ready(&self) -> Vec<(Part, String)> {
        let credentials = self.credentials.iter().filter_map(|store| {
            let problem = match store.trouble()? {
                Unusable::Missing => "could not be loaded",
                Unusable::Expired => "have expired and could not be renewed",
            };
            let name = store.upstream();
            Some((Part::Upstream(name.to_owned()), format!("credentials of upstream `{name}` {problem}")))
        });
        let states = self.gateway.inspectors.states();
        let inspectors = states.filter_map(|state| Some((Part::Inspector(state.name.to_owned()), state.not_ready?)));
        let issuers = self.gateway.authenticators.missing_keys().into_iter().map(|issuer| {
            let why = format!("the key set of issuer `{issuer}` could not be loaded");
            (Part::Issuer(issuer), why)
        });
        credentials.chain(inspectors).chain(issuers).collect()
    }

    /// Takes what is no longer there, or is counted anew, off the metrics.
    pub(super) fn tidy_metrics(&self, previous: &Self, metrics: &Metrics) {
        for old in &previous.config.upstreams {
            if !self.config.upstreams.iter().any(|new| new.connects_like(old)) {
                metrics.stores().forget(&old.name);
            }
            if !self.config.upstreams.iter().any(|new| new.name == old.name) {
                metrics.credentials().forget(&old.name);
            }
        }
        for old in &previous.config.inspectors {
            if !self.config.inspectors.iter().any(|new| new.name == old.name) {
                metrics.inspections().forget(&old.name);
            }
        }
        for old in &previous.config.auth.issuers {
            if !self.config.auth.issuers.iter().any(|new| new.name == old.name) {
                metrics.forget_issuer(&old.name);
            }
        }
        if !Arc::ptr_eq(&self.gateway.verdicts, &previous.gateway.verdicts) {
            metrics.inspections().forget_memory();
        }
    }
}

/// The tasks of a generation.
pub(super) struct Upkeep {
    _checkups: Box<dyn Send>,
    _key_sets: Box<dyn Send>,
    _tasks: JoinSet<()>,
}

/// The credentials of a store: those in use, looked up again, if they come from the same place.
fn credential_store(upstream: &UpstreamSettings, previous: Option<Previous<'_>>) -> Arc<CredentialStore> {
    let before = previous.map(|previous| previous.generation).and_then(|generation| {
        let mut all = generation.config.upstreams.iter().zip(&generation.credentials);
        all.find(|(old, _)| old.is_store_of(upstream))
    });
    match before {
        Some((old, store)) if old.credentials == upstream.credentials => {
            store.look_again();
            Arc::clone(store)
        }
        before => {
            let store = CredentialStore::new(&upstream.name, upstream.credentials.clone());
            if let Some((_, before)) = before {
                store.inherit(before);
            }
            Arc::new(store)
        }
    }
}

fn inspectors(config: &Config, lasting: &Lasting, previous: Option<Previous<'_>>) -> anyhow::Result<Inspectors> {
    let settings = config.inspectors.clone();
    Ok(match previous {
        None => Inspectors::new(settings, &lasting.metrics)?,
        Some(previous) => {
            let before = &previous.generation.gateway.inspectors;
            Inspectors::after(settings, &lasting.metrics, before, |settings| previous.is_same_inspector(settings))?
        }
    })
}

fn upstreams(config: &Config, lasting: &Lasting, previous: Option<Previous<'_>>) -> anyhow::Result<Upstreams> {
    let settings = config.upstreams.clone();
    let made = match previous {
        None => Upstreams::new(settings, &lasting.budget),
        Some(previous) => {
            let before = &previous.generation.gateway.upstreams;
            Upstreams::after(settings, &lasting.budget, before, |file| previous.is_stale(file))
        }
    };
    made.context("upstreams")
}

fn limiter(config: &Config, previous: Option<Previous<'_>>) -> Limiter {
    let shares: Vec<_> = config.upstreams.iter().map(store_shares).collect();
    let limiter = Limiter::new(config.limits.clone(), &config.rules, &shares, Instant::now());
    match previous {
        None => limiter,
        Some(previous) => {
            let before = |route| counterpart(route, &config.upstreams, previous.upstreams());
            limiter.after(&previous.generation.gateway.limiter, before)
        }
    }
}

fn memory(config: &Config, previous: Option<Previous<'_>>) -> Arc<Memory> {
    let kept = previous.filter(|previous| {
        previous.generation.config.inspection.memory == config.inspection.memory
            && previous.has_same_stores(&config.upstreams)
    });
    match kept {
        Some(previous) => Arc::clone(&previous.generation.gateway.verdicts),
        None => Memory::new(config.inspection.memory),
    }
}

fn staging(config: &Config, inspectors: &Arc<Inspectors>, previous: Option<Previous<'_>>) -> Staging {
    let staging = Staging::new(Arc::clone(inspectors), sweep::places(&config.rules, &config.buckets));
    match previous {
        None => staging,
        Some(previous) => {
            let moved = |route| counterpart(route, previous.upstreams(), &config.upstreams);
            staging.after(&previous.generation.gateway.staging, moved)
        }
    }
}

/// An upstream as the signer sees it.
pub fn route(upstream: &UpstreamSettings, credentials: &Arc<CredentialStore>) -> Route {
    Route {
        name: upstream.name.clone(),
        authority: authority_of(&upstream.host, upstream.port, upstream.tls),
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
        head: limits.head_timeout,
        idle: limits.body_idle_timeout,
        min_rate: limits.min_body_rate,
        rate_window: limits.body_rate_window,
        linger: LingerLimits { bytes: limits.linger_bytes, time: limits.linger_timeout },
    }
}

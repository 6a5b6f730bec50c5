//! Puts the gateway together out of a configuration, and runs it until it is told to stop.

use std::fs::OpenOptions;
use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::arrival::{Arrival, UnreadableHead};
use crate::audit::{AuditSink, Auditor, JsonLines};
use crate::auth::Authenticators;
use crate::base::{Clock, SystemClock};
use crate::body::{BodyLimits, LingerLimits};
use crate::config::{AuditTarget, Config, LogFormat, LogSettings};
use crate::downloads::held::HeldBytes;
use crate::edge::{AdminState, ConnectionLimits, Edge, Handler, Monitor};
use crate::flow::Budget;
use crate::gateway::Gateway;
use crate::inspect::{Inspectors, Memory};
use crate::limits::{Limiter, StoreShares};
use crate::multipart::staged::Staging;
use crate::multipart::staged::sweep::{self, SweepSettings, Sweeper};
use crate::respond::{AnswerBody, Reply};
use crate::rules::RuleSet;
use crate::sign::{CredentialStore, Route, Signer};
use crate::telemetry::{ConnectionCounts, Metrics};
use crate::upstream::{Addressing, ChecksumMode, PayloadMode, UpstreamSettings, Upstreams};

/// A gateway whose addresses are bound and whose parts are ready, not serving yet.
pub struct App {
    edge: Edge,
    gateway: Arc<Gateway>,
    credentials: Vec<Arc<CredentialStore>>,
    metrics: Metrics,
    sweeping: SweepSettings,
}

impl App {
    /// Builds everything a configuration names and binds its addresses. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// The first part that cannot be built, named as the configuration names it.
    pub fn build(config: Config) -> anyhow::Result<Self> {
        let metrics = Metrics::new()?;
        let sink = open_audit(&config.audit, &metrics)?;
        Self::with_sink(config, metrics, sink)
    }

    /// As [`App::build`], with audit records going to `sink`.
    ///
    /// # Errors
    /// As [`App::build`].
    pub fn with_sink(config: Config, metrics: Metrics, sink: Arc<dyn AuditSink>) -> anyhow::Result<Self> {
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
        let budget = Budget::new(config.edge.limits.buffer_bytes);
        let inspectors = Arc::new(Inspectors::new(config.inspectors, &metrics)?);
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
            upstreams: Arc::new(Upstreams::new(config.upstreams, &budget).context("upstreams")?),
            body_limits: body_limits(&config.edge.limits),
            auditor: Auditor::new(sink, metrics.clone(), Arc::clone(&clock)),
            since: clock.now(),
        };
        let edge = Edge::bind(config.edge, budget)?;
        Ok(Self { edge, gateway: Arc::new(gateway), credentials, metrics, sweeping: config.sweeping })
    }

    /// Where it listens.
    pub fn addresses(&self) -> &crate::edge::Addresses {
        self.edge.addresses()
    }

    /// Serves until `shutdown` completes and the connections are drained.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let _checkups = self.gateway.inspectors.start();
        let _refresh_keys = self.gateway.authenticators.start();
        let mut refresh_credentials = tokio::task::JoinSet::new();
        for store in &self.credentials {
            refresh_credentials.spawn(Arc::clone(store).keep_fresh());
        }
        let sweeper = Sweeper {
            staging: Arc::clone(&self.gateway.staging),
            signer: Arc::clone(&self.gateway.signer),
            upstreams: Arc::clone(&self.gateway.upstreams),
            settings: self.sweeping,
            metrics: self.metrics.clone(),
        };
        let _sweep = Task(tokio::spawn(sweeper.run()));
        let state = State {
            gateway: Arc::clone(&self.gateway),
            credentials: self.credentials,
            metrics: self.metrics,
            monitor: self.edge.monitor(),
        };
        let _beat = Task(tokio::spawn(beat()));
        let staging = Arc::clone(&self.gateway.staging);
        let report = self.edge.run(Serve(self.gateway), Arc::new(state), shutdown).await;
        // Objects without a client any more. One that is left is found at its hidden key when its client completes it again.
        if tokio::time::timeout(STAGING_DRAIN, staging.drained()).await.is_err() {
            tracing::warn!("staged objects were still on their way");
        }
        tracing::info!(?report, "stopped");
    }
}

/// Keeps an alarm of the runtime always near.
///
/// Tokio's timer wakes the thread that waits for sockets whenever an alarm is set before all others: two system calls, in turn for the
/// head timeout of the client and the answer timeout of the store, for each request of a gateway that is not busy.
async fn beat() {
    let mut beats = tokio::time::interval(BEAT);
    loop {
        beats.tick().await;
    }
}

/// How long inspected uploads are waited for whose requests have ended.
const STAGING_DRAIN: Duration = Duration::from_secs(20);

/// Below every alarm that is set for each request.
const BEAT: Duration = Duration::from_millis(400);

/// A task that ends when this is dropped.
struct Task(tokio::task::JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
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

fn open_audit(target: &AuditTarget, metrics: &Metrics) -> anyhow::Result<Arc<dyn AuditSink>> {
    let out: Box<dyn Write + Send> = match target {
        AuditTarget::Stdout => Box::new(std::io::stdout()),
        AuditTarget::File(path) => {
            let file = OpenOptions::new().append(true).create(true).open(path);
            Box::new(file.with_context(|| format!("cannot open the audit file {}", path.display()))?)
        }
    };
    Ok(Arc::new(JsonLines::start(out, metrics.clone()).context("cannot start the audit writer")?))
}

/// The gateway as the edge sees it.
#[derive(Clone)]
struct Serve(Arc<Gateway>);

impl Handler for Serve {
    type Body = AnswerBody;

    fn handle(&self, arrival: Arrival) -> impl Future<Output = Reply> + Send {
        let gateway = Arc::clone(&self.0);
        async move { gateway.serve(arrival).await }
    }

    fn unreadable(&self, head: UnreadableHead) {
        self.0.auditor.record_unreadable(&head);
    }
}

/// What the admin listener tells.
struct State {
    gateway: Arc<Gateway>,
    credentials: Vec<Arc<CredentialStore>>,
    metrics: Metrics,
    monitor: Monitor,
}

impl AdminState for State {
    fn not_ready(&self) -> Vec<String> {
        let stores = self.credentials.iter().filter(|store| store.current().is_none());
        let credentials =
            stores.map(|store| format!("credentials of upstream `{}` could not be loaded", store.upstream()));
        let keys = self.gateway.authenticators.missing_keys();
        let inspectors = self.gateway.inspectors.states().filter_map(|state| state.not_ready);
        credentials
            .chain(inspectors)
            .chain(keys.into_iter().map(|issuer| format!("the key set of issuer `{issuer}` could not be loaded")))
            .collect()
    }

    fn metrics(&self) -> String {
        let connections = ConnectionCounts {
            open: self.monitor.open_connections(),
            accepted: self.monitor.accepted_connections(),
            handshakes_failed: self.monitor.failed_handshakes(),
            stalled: self.monitor.stalled_connections(),
            unreadable: self.monitor.unreadable_heads(),
        };
        for state in self.gateway.upstreams.states() {
            self.metrics.set_upstream(state.name, state.in_flight, state.waiting, state.resting, state.trips);
        }
        for state in self.gateway.inspectors.states() {
            self.metrics.inspections().set_load(state.name, state.running, state.waiting);
            self.metrics.inspections().set_health(state.name, state.up, state.resting, state.signatures_age);
        }
        let verdicts = &self.gateway.verdicts;
        self.metrics.inspections().set_memory(verdicts.verdicts(), verdicts.recalled());
        self.metrics.set_limits(self.gateway.limiter.accounts(), self.gateway.limiter.refused());
        self.metrics.render(connections, self.gateway.authenticators.key_ages())
    }
}

/// Starts the log on standard error: text for a person at a terminal, JSON lines otherwise.
///
/// Only this crate's own events are shown below `warn`: at lower levels the libraries print whole requests, credentials included.
pub fn start_log(settings: LogSettings) {
    let filter = EnvFilter::new(format!("warn,countersign={}", settings.level.as_str()));
    let on_terminal = std::io::stderr().is_terminal();
    // Colours in a file or in the journal are only noise; https://no-color.org.
    let colours = on_terminal && std::env::var_os("NO_COLOR").is_none_or(|wish| wish.is_empty());
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr);
    let json = match settings.format {
        LogFormat::Auto => !on_terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let started =
        if json { builder.json().flatten_event(true).try_init() } else { builder.with_target(false).try_init() };
    if let Err(error) = started {
        eprintln!("countersign: the log was started before: {error}");
    }
}

/// Completes at SIGTERM or SIGINT.
///
/// # Errors
/// If the signals cannot be watched.
pub fn termination() -> std::io::Result<impl Future<Output = ()>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping: no new connections, waiting for requests in flight");
    })
}

/// Runs a gateway until a signal ends it.
///
/// # Errors
/// As [`App::build`].
pub fn serve(config: Config) -> anyhow::Result<()> {
    start_log(config.log);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let app = App::build(config)?;
        let shutdown = termination()?;
        for address in &app.addresses().data {
            tracing::info!(%address, "listening");
        }
        tracing::info!(address = %app.addresses().admin, "admin listener");
        // On a worker, where the sockets are watched: the thread that blocks here would have to be woken for each connection.
        tokio::spawn(app.run(shutdown)).await?;
        anyhow::Ok(())
    })?;
    // Name resolution may still hold a blocking thread.
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(())
}

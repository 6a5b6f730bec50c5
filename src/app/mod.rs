//! Puts the gateway together out of a configuration, and runs it until it is told to stop.

mod admin;
mod audit;
mod banner;
mod descriptors;
mod generation;
mod live;
mod log;
mod notify;
#[cfg(feature = "otel")]
mod otlp;
mod panics;
pub mod reload;
mod shown;
mod signals;
mod tracer;
mod watch;

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use futures_util::FutureExt;

use crate::audit::{AuditSink, Fanout};
use crate::config::{Config, SystemReferences};
use crate::console::{Console, Recent};
use crate::edge::{DrainReport, Edge, Inherited};
use crate::flow::Budget;
use crate::telemetry::Metrics;
use crate::upkeep::forever;

use generation::{Generation, Lasting};
use live::{Live, Serve};
use reload::{Origin, Reloader};

pub use banner::risks;
pub use generation::route;
pub use log::start_log;
pub use signals::{Ending, termination};

/// A gateway whose addresses are bound and whose parts are ready, not serving yet.
pub struct App {
    edge: Edge<Serve>,
    live: Arc<Live>,
    lasting: Lasting,
    reloader: Reloader,
    recent: Arc<Recent>,
}

impl App {
    /// Builds everything a configuration names and binds its addresses. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// The first part that cannot be built, named as the configuration names it.
    pub fn build(config: Config) -> anyhow::Result<Self> {
        Self::build_with(config, None, Inherited::none())
    }

    /// As [`App::build`], with sockets that the service manager has bound, and for a configuration that can be loaded again if it has an
    /// origin.
    fn build_with(config: Config, origin: Option<Origin>, inherited: Inherited) -> anyhow::Result<Self> {
        let metrics = Metrics::new()?;
        let sink = audit::open_audit(&config.audit, &metrics)?;
        Self::assemble(config, origin, metrics, sink, inherited)
    }

    /// As [`App::build`], with audit records going to `sink`.
    ///
    /// # Errors
    /// As [`App::build`].
    pub fn with_sink(config: Config, metrics: Metrics, sink: Arc<dyn AuditSink>) -> anyhow::Result<Self> {
        Self::with_origin(config, None, metrics, sink)
    }

    /// As [`App::with_sink`], for a configuration that can be loaded again if it has an origin.
    ///
    /// # Errors
    /// As [`App::build`].
    pub fn with_origin(
        config: Config,
        origin: Option<Origin>,
        metrics: Metrics,
        sink: Arc<dyn AuditSink>,
    ) -> anyhow::Result<Self> {
        Self::assemble(config, origin, metrics, sink, Inherited::none())
    }

    fn assemble(
        config: Config,
        origin: Option<Origin>,
        metrics: Metrics,
        sink: Arc<dyn AuditSink>,
        inherited: Inherited,
    ) -> anyhow::Result<Self> {
        let recent = Arc::new(Recent::default());
        let sink = Arc::new(Fanout::new(vec![sink, Arc::clone(&recent) as _]));
        let lasting = Lasting { metrics, sink, budget: Budget::new(config.edge.limits.buffer_bytes) };
        let edge_settings = config.edge.clone();
        let first = Arc::new(Generation::build(config, &lasting, None)?);
        let edge = Edge::bind(edge_settings, Serve(Arc::clone(&first)), Arc::clone(&lasting.budget), inherited)?;
        let live = Arc::new(Live::new(first));
        let reloader = Reloader::new(Arc::clone(&live), lasting.clone(), edge.control(), origin);
        Ok(Self { edge, live, lasting, reloader, recent })
    }

    /// Where it listens.
    pub fn addresses(&self) -> &crate::edge::Addresses {
        self.edge.addresses()
    }

    /// Reloads its configuration.
    pub fn reloader(&self) -> Reloader {
        self.reloader.clone()
    }

    /// Serves until `shutdown` completes and the connections are drained.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        self.run_until(shutdown, std::future::pending()).await;
    }

    /// As [`App::run`], without waiting any longer when `at_once` completes behind `shutdown`.
    pub async fn run_until(self, shutdown: impl Future<Output = ()>, at_once: impl Future<Output = ()>) -> DrainReport {
        let Self { edge, live, lasting, reloader, recent } = self;
        let _upkeep = reloader.start();
        let watched = reloader.clone();
        let _watch = Task(tokio::spawn(forever("watch over files", move || watch::follow(watched.clone()))));
        let control = edge.control();
        reloader.observe(Arc::new(notify::reload));
        let state = Arc::new(admin::State {
            live: Arc::clone(&live),
            metrics: lasting.metrics,
            monitor: edge.monitor(),
            reloader,
            console: Console::new(recent),
            addresses: edge.addresses().clone(),
            control: control.clone(),
        });
        let sink = lasting.sink;
        let _history = Task(tokio::spawn(Arc::clone(&state).keep_history()));
        let _beat = Task(tokio::spawn(beat()));
        let _told = Task(tokio::spawn(notify::keep_told(Arc::clone(&state) as _)));
        let shutdown =
            shutdown.inspect(|()| notify::stopping(control.longest_end() + STAGING_DRAIN + AUDIT_DRAIN + SLACK));
        let at_once = at_once.shared();
        notify::ready();
        let report = edge.run(state, shutdown, at_once.clone()).await;
        // That of the last configuration has what all before it had on its way.
        let staging = Arc::clone(&live.current().gateway.staging);
        // Objects without a client any more. One that is left is found at its hidden key when its client completes it again.
        tokio::select! {
            () = staging.drained() => {}
            () = tokio::time::sleep(STAGING_DRAIN) => tracing::warn!("staged objects were still on their way"),
            () = at_once.clone() => tracing::warn!("not waiting for staged objects on their way"),
        }
        let spans = live.current().gateway.tracer.as_ref().and_then(|tracer| tracer.sink.clone());
        if let Some(spans) = spans.filter(|_| !report.at_once) {
            tokio::select! {
                _ = tokio::task::spawn_blocking(move || spans.close()) => {}
                () = at_once.clone() => {}
            }
        }
        // Whatever still holds the sink: the last records are written, or said to be lost.
        close(sink, at_once).await;
        tracing::info!(?report, "stopped");
        report
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

/// How long records are waited for that nobody takes.
const AUDIT_DRAIN: Duration = Duration::from_secs(5);

/// What the end may take beside the steps that have a time.
const SLACK: Duration = Duration::from_secs(5);

/// Closes all sinks of the audit together. When `at_once` completes, or has, nobody is waited for any more.
async fn close(sink: Arc<dyn AuditSink>, at_once: impl Future<Output = ()>) {
    sink.end_by(Instant::now() + AUDIT_DRAIN);
    let closing = Arc::clone(&sink);
    let mut closed = tokio::task::spawn_blocking(move || closing.close());
    let outcome = tokio::select! {
        biased;
        () = at_once => {
            sink.end_by(Instant::now());
            closed.await
        }
        outcome = &mut closed => outcome,
    };
    if outcome.is_err() {
        tracing::error!("closing the audit panicked");
    }
}

/// Below every alarm that is set for each request.
const BEAT: Duration = Duration::from_millis(400);

/// A task that ends when this is dropped.
struct Task(tokio::task::JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Runs a gateway with the configuration of a file until a signal ends it. Gives the exit status of the process.
///
/// # Errors
/// Every problem of the configuration; as [`App::build`].
pub fn serve(file: &Path) -> anyhow::Result<u8> {
    let (config, origin) = Origin::read(file, Arc::new(SystemReferences))
        .map_err(|problems| anyhow::anyhow!("the configuration has problems\n\n{problems}"))?;
    start_log(config.log);
    panics::install_hook();
    banner::tell(&config, file, descriptors::raise_limit());
    // Before there are threads: it changes the environment.
    let inherited = Inherited::take()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let status = runtime.block_on(async {
        let app = App::build_with(config, Some(origin), inherited)?;
        let signals = signals::two_signals()?;
        let _hangups = Task(tokio::spawn(signals::at_hangups(app.reloader())?));
        for address in &app.addresses().data {
            tracing::info!(%address, "listening");
        }
        tracing::info!(address = %app.addresses().admin, "admin listener");
        // Whoever waits for the second signal keeps what it was.
        let hurried_by = Arc::new(OnceLock::new());
        let second = Arc::clone(&hurried_by);
        let at_once = async move {
            match signals.second.await {
                Ok(signal) => drop(second.set(signal)),
                Err(_) => std::future::pending().await,
            }
        };
        // On a worker, where the sockets are watched: the thread that blocks here would have to be woken for each connection.
        tokio::spawn(app.run_until(signals.first.map(drop), at_once)).await?;
        anyhow::Ok(hurried_by.get().map_or(0, |signal: &Ending| signal.exit_status()))
    })?;
    // Name resolution may still hold a blocking thread.
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(status)
}

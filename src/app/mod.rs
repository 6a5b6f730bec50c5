//! Puts the gateway together out of a configuration, and runs it until it is told to stop.

mod admin;
mod audit;
mod generation;
mod live;
mod log;
pub mod reload;
mod shown;
mod signals;

use std::sync::Arc;
use std::time::Duration;

use crate::audit::{AuditSink, Fanout};
use crate::config::Config;
use crate::console::{Console, Recent};
use crate::edge::Edge;
use crate::flow::Budget;
use crate::telemetry::Metrics;

use generation::{Generation, Lasting};
use live::{Live, Serve};
use reload::Reloader;

pub use generation::route;
pub use log::start_log;
pub use signals::termination;

/// A gateway whose addresses are bound and whose parts are ready, not serving yet.
pub struct App {
    edge: Edge,
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
        let metrics = Metrics::new()?;
        let sink = audit::open_audit(&config.audit, &metrics)?;
        Self::with_sink(config, metrics, sink)
    }

    /// As [`App::build`], with audit records going to `sink`.
    ///
    /// # Errors
    /// As [`App::build`].
    pub fn with_sink(config: Config, metrics: Metrics, sink: Arc<dyn AuditSink>) -> anyhow::Result<Self> {
        let recent = Arc::new(Recent::default());
        let sink = Arc::new(Fanout::new(vec![sink, Arc::clone(&recent) as _]));
        let lasting = Lasting { metrics, sink, budget: Budget::new(config.edge.limits.buffer_bytes) };
        let edge_settings = config.edge.clone();
        let first = Generation::build(config, &lasting)?;
        let edge = Edge::bind(edge_settings, Arc::clone(&lasting.budget))?;
        let reloader = Reloader::new(first.gateway.since);
        Ok(Self { edge, live: Arc::new(Live::new(first)), lasting, reloader, recent })
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
        let Self { edge, live, lasting, reloader, recent } = self;
        let _upkeep = live.current().start(&lasting.metrics);
        let state = Arc::new(admin::State {
            live: Arc::clone(&live),
            metrics: lasting.metrics,
            monitor: edge.monitor(),
            reloader,
            console: Console::new(recent),
            addresses: edge.addresses().clone(),
        });
        let _history = Task(tokio::spawn(Arc::clone(&state).keep_history()));
        let _beat = Task(tokio::spawn(beat()));
        let staging = Arc::clone(&live.current().gateway.staging);
        let report = edge.run(Serve(live), state, shutdown).await;
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

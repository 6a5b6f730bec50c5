//! Accepts connections and hands each request to the gateway.
//!
//! Bounds what a connection may cost before anybody knows who it is: slots, handshake and head times, head sizes,
//! streams, and the rate at which a client takes its answer. Says of each head whether it can be read in two ways.
//! Does not know S3 or the rules; authenticates nobody.

use std::error::Error;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use crate::arrival::{Arrival, UnreadableHead};
use crate::flow::Budget;

mod admin;
mod body;
mod connection;
mod control;
mod drain;
pub mod framing;
mod listener;
mod monitor;
mod rate_guard;
mod service;
pub mod settings;
mod streams;
mod tls;
mod wire_guard;

pub use admin::AdminState;
pub use control::{Control, Prepared};
pub use drain::DrainReport;
pub use monitor::Monitor;
pub use settings::{ConnectionLimits, ListenerSettings, Settings, TlsSettings};
pub use tls::TlsError;

use control::Tuning;
use listener::{Accepted, Listeners};
use service::Service;
use tls::Tls;

/// What answers requests.
pub trait Handler: Clone + Send + Sync + 'static {
    /// Body of the answers.
    type Body: http_body::Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static;

    /// Answers one request. Dropped when the client goes away, and when the drain deadline passes.
    ///
    /// A panic becomes `500 InternalError` for this request only.
    fn handle(&self, arrival: Arrival) -> impl Future<Output = http::Response<Self::Body>> + Send;

    /// Takes note of an HTTP/1.1 head that could not be read. Its connection has ended.
    fn unreadable(&self, head: UnreadableHead);
}

/// Why the edge could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// There is no data listener to serve.
    #[error("no listener is configured")]
    NoListener,
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Address {
        /// As configured.
        address: SocketAddr,
        /// What the operating system says.
        source: io::Error,
    },
    /// Certificate or key of a listener cannot be used.
    #[error("TLS of listener {address}: {source}")]
    Tls {
        /// As configured.
        address: SocketAddr,
        /// Which file, and what about it.
        source: Box<TlsError>,
    },
}

/// All listening sockets, bound; nothing is accepted before [`Edge::run`].
#[derive(Debug)]
pub struct Edge {
    control: Control,
    tuning: watch::Receiver<Tuning>,
    budget: Arc<Budget>,
    listeners: Vec<(TcpListener, Option<Arc<Tls>>)>,
    admin: TcpListener,
    addresses: Addresses,
    monitor: Monitor,
}

/// Where the edge really listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// Data listeners, in the order of the settings.
    pub data: Vec<SocketAddr>,
    /// Admin listener.
    pub admin: SocketAddr,
}

impl Edge {
    /// Reads certificates and binds all addresses; `budget` is what the bodies of all connections share. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`BindError`] for the first listener that cannot be set up; nothing stays bound then.
    pub fn bind(settings: Settings, budget: Arc<Budget>) -> Result<Self, BindError> {
        if settings.listeners.is_empty() {
            return Err(BindError::NoListener);
        }
        let bind = |address: SocketAddr| {
            let listener = listener::listen(address, &settings.limits);
            let bound = listener.and_then(|listener| listener.local_addr().map(|at| (listener, at)));
            bound.map_err(|source| BindError::Address { address, source })
        };
        let mut listeners = Vec::new();
        let mut data = Vec::new();
        for ListenerSettings { address, tls } in &settings.listeners {
            let tls = tls.as_ref().map(Tls::load).transpose();
            let tls =
                tls.map_err(|source| BindError::Tls { address: *address, source: Box::new(source) })?.map(Arc::new);
            let (listener, at) = bind(*address)?;
            listeners.push((listener, tls));
            data.push(at);
        }
        let (admin, admin_at) = bind(settings.admin)?;
        let addresses = Addresses { data, admin: admin_at };
        let (tuner, tuning) = watch::channel(Tuning::of(&settings));
        let bound =
            settings.listeners.iter().zip(&listeners).map(|(settings, (_, tls))| (settings.address, tls.clone()));
        let control = Control { listeners: bound.collect(), tuning: Arc::new(tuner) };
        Ok(Self { control, tuning, budget, listeners, admin, addresses, monitor: Monitor::default() })
    }

    /// Real addresses, which differ from the settings for port 0.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Counters of this edge.
    pub fn monitor(&self) -> Monitor {
        self.monitor.clone()
    }

    /// Replaces certificates while the edge runs.
    pub fn certificates(&self) -> Certificates {
        Certificates(self.listeners.iter().filter_map(|(_, tls)| tls.clone()).collect())
    }

    /// Changes it while it runs.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Serves until `shutdown` completes, then drains: no new connections, requests in flight may finish until
    /// the drain timeout, `/readyz` answers 503 meanwhile. Dropping the future cuts everything.
    pub async fn run<H: Handler>(
        self,
        handler: H,
        admin_state: Arc<dyn AdminState>,
        shutdown: impl Future<Output = ()>,
    ) -> DrainReport {
        let Self { mut tuning, budget, listeners, admin, monitor, control, .. } = self;
        let (stop, stopped) = drain::stop_signal();
        // In a set, because a set cuts its tasks when it is dropped.
        let mut admin_task = JoinSet::new();
        admin_task.spawn(admin::serve(admin, admin_state, stopped.clone()));

        let limits = Arc::clone(&tuning.borrow_and_update().limits);
        let mut slots = Slots::new(limits.max_connections);
        let mut service = Arc::new(Service { handler, limits: ConnectionLimits::clone(&limits), budget });
        let mut listeners = Listeners::new(listeners);
        let mut connections = JoinSet::new();
        let mut shutdown = pin!(shutdown);
        loop {
            let (accepted, slot) = tokio::select! {
                biased;
                () = &mut shutdown => break,
                Ok(()) = tuning.changed() => {
                    let limits = Arc::clone(&tuning.borrow_and_update().limits);
                    slots.resize(limits.max_connections);
                    listeners.set_options(&limits);
                    let (handler, budget) = (service.handler.clone(), Arc::clone(&service.budget));
                    service = Arc::new(Service { handler, limits: ConnectionLimits::clone(&limits), budget });
                    continue;
                }
                Some(next) = next_with_slot(&mut listeners, &mut slots) => next,
            };
            drain::reap(&mut connections);
            let (service, stopped, monitor) = (service.clone(), stopped.clone(), monitor.clone());
            connections.spawn(async move {
                let _open = (slot, monitor.opened());
                connection::serve(accepted, service, stopped, monitor).await;
            });
        }
        drop(listeners);
        stop.request();
        let drain_timeout = tuning.borrow().drain_timeout;
        // Kept until here, so that there is somebody to tell of changes.
        drop(control);
        drain::drain(connections, drain_timeout).await
    }
}

/// The places for connections, whose number can change.
#[derive(Debug)]
struct Slots {
    free: Arc<Semaphore>,
    limit: usize,
    /// Places that are still held and count no more when they come back.
    surplus: usize,
}

impl Slots {
    fn new(limit: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(limit)), limit, surplus: 0 }
    }

    fn resize(&mut self, limit: usize) {
        if limit >= self.limit {
            let more = limit - self.limit;
            let kept = more.min(self.surplus);
            self.surplus -= kept;
            self.free.add_permits(more - kept);
        } else {
            let fewer = self.limit - limit;
            self.surplus += fewer - self.free.forget_permits(fewer);
        }
        self.limit = limit;
    }

    async fn take(&mut self) -> Option<OwnedSemaphorePermit> {
        loop {
            let slot = Arc::clone(&self.free).acquire_owned().await.ok()?;
            if self.surplus == 0 {
                return Some(slot);
            }
            self.surplus -= 1;
            slot.forget();
        }
    }
}

/// Takes a slot, then a connection for it. `None` if there are no slots any more, which never happens.
async fn next_with_slot(listeners: &mut Listeners, slots: &mut Slots) -> Option<(Accepted, OwnedSemaphorePermit)> {
    let slot = slots.take().await?;
    Some((listener::next_connection(listeners).await, slot))
}

/// The certificates of all TLS listeners; cheap to clone.
#[derive(Debug, Clone)]
pub struct Certificates(Arc<[Arc<Tls>]>);

impl Certificates {
    /// Reads all files again and uses them for later connections. Blocks for as long as reading takes.
    ///
    /// # Errors
    /// [`TlsError`] of the first listener whose files cannot be used; then nothing changes anywhere.
    pub fn reload(&self) -> Result<(), TlsError> {
        let configs: Vec<_> = self.0.iter().map(|tls| tls.read_again()).collect::<Result<_, _>>()?;
        for (tls, config) in self.0.iter().zip(configs) {
            tls.replace(config);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

//! Accepts connections and hands each request to the gateway.
//!
//! Bounds what a connection may cost before anybody knows who it is: slots, handshake and head times, head sizes,
//! streams, and the rate at which a client takes its answer. Says of each head whether it can be read in two ways.
//! Does not know S3 or the rules; authenticates nobody.

use std::error::Error;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::FutureExt;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::arrival::{Arrival, UnreadableHead};
use crate::flow::Budget;

mod admin;
mod body;
mod certificate;
mod connection;
mod control;
mod detach;
mod door;
mod drain;
mod forwarded;
pub mod framing;
mod inherited;
mod listener;
mod monitor;
mod peer;
pub mod proxy_header;
mod rate_guard;
mod service;
pub mod settings;
mod stream;
mod streams;
mod tls;
mod unix;
mod wire_guard;

pub use admin::{Access, AdminBody, AdminRequest, AdminState, AdminToken, MetricsAccess};
pub use control::{Control, Prepared};
pub use drain::DrainReport;
pub use inherited::{Inherited, InheritedError};
pub use monitor::Monitor;
pub use settings::{
    ClientTlsSettings, ConnectionLimits, ForwardedHeader, ForwardedSettings, ListenAddress, ListenerSettings, Settings,
    TlsSettings, UnixSettings,
};
pub use tls::TlsError;

use control::Tuning;
use door::Door;
use listener::{Listener, Manner, Socket};
use tls::{Purpose, Tls};

/// What answers requests: all that one configuration says, because a reload exchanges it.
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
        address: ListenAddress,
        /// What the operating system says.
        source: io::Error,
    },
    /// A socket that was handed over cannot be used.
    #[error(transparent)]
    Inherited(#[from] InheritedError),
    /// Certificate or key of a listener cannot be used.
    #[error("TLS of listener {address}: {source}")]
    Tls {
        /// As configured.
        address: ListenAddress,
        /// Which file, and what about it.
        source: Box<TlsError>,
    },
}

/// All listening sockets, bound; nothing is accepted before [`Edge::run`].
#[derive(Debug)]
pub struct Edge<H> {
    control: Control<H>,
    tuning: watch::Receiver<Tuning>,
    budget: Arc<Budget>,
    listeners: Vec<Listener<H>>,
    admin: Listener<()>,
    addresses: Addresses,
    monitor: Monitor,
}

/// Where the edge really listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// Data listeners on IP addresses, in the order of the settings.
    pub data: Vec<SocketAddr>,
    /// Data listeners on Unix sockets, in the order of the settings.
    pub sockets: Vec<PathBuf>,
    /// Admin listener.
    pub admin: SocketAddr,
}

impl<H: Handler> Edge<H> {
    /// Reads certificates and binds all addresses that were not handed over bound; `handler` gets the requests, `budget` is what the bodies of
    /// all connections share. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`BindError`] for the first listener that cannot be set up; nothing stays bound then.
    pub fn bind(
        settings: Settings,
        handler: H,
        budget: Arc<Budget>,
        mut inherited: Inherited,
    ) -> Result<Self, BindError> {
        if settings.listeners.is_empty() {
            return Err(BindError::NoListener);
        }
        let mut listeners = Vec::new();
        for listener in &settings.listeners {
            listeners.push(bind_listener(listener, &settings.limits, &handler, &mut inherited)?);
        }
        let admin_tls = load_tls(settings.admin_tls.as_ref(), Purpose::Admin, &ListenAddress::Tcp(settings.admin))?;
        let admin = inherited.tcp(settings.admin, &settings.limits).transpose();
        let admin = admin.unwrap_or_else(|| listener::listen(settings.admin, &settings.limits));
        let admin = admin.and_then(|admin| admin.local_addr().map(|at| (admin, at)));
        let (admin, admin_at) =
            admin.map_err(|source| BindError::Address { address: ListenAddress::Tcp(settings.admin), source })?;
        inherited.all_used()?;
        let (mut data, mut sockets) = (Vec::new(), Vec::new());
        for (Listener { socket, .. }, ListenerSettings { address, .. }) in listeners.iter().zip(&settings.listeners) {
            match socket {
                Socket::Tcp(listener) => data.push(
                    listener.local_addr().map_err(|source| BindError::Address { address: address.clone(), source })?,
                ),
                Socket::Unix(socket) => sockets.extend(socket.path().map(PathBuf::from)),
            }
        }
        let addresses = Addresses { data, sockets, admin: admin_at };
        let (tuner, tuning) = watch::channel(Tuning::of(&settings));
        let bound = settings.listeners.iter().zip(&listeners);
        let bound = bound.map(|(settings, listener)| (settings.address.clone(), Arc::clone(&listener.manner)));
        let admin = Listener::tcp(admin, admin_tls);
        let control = Control { listeners: bound.collect(), admin: Arc::clone(&admin.manner), tuning: Arc::new(tuner) };
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

    /// Changes it while it runs.
    pub fn control(&self) -> Control<H> {
        self.control.clone()
    }

    /// Serves until `shutdown` completes, then ends as `drain` describes. `at_once` cuts what is left then; nobody asks it earlier.
    /// Dropping the future cuts everything.
    pub async fn run(
        self,
        admin_state: Arc<dyn AdminState>,
        shutdown: impl Future<Output = ()>,
        at_once: impl Future<Output = ()>,
    ) -> DrainReport {
        // The control is kept to the end, so that there is somebody to tell of changes.
        let Self { tuning, budget, listeners, admin, monitor, control: _control, .. } = self;
        let (signal, stop) = drain::stop_signal();
        // In a set, because a set cuts its tasks when it is dropped.
        let mut admin_task = JoinSet::new();
        admin_task.spawn(admin::serve(admin, admin_state, stop.clone()));

        let mut door = Door::new(listeners, budget, tuning, stop, monitor);
        door.let_in_until(shutdown).await;
        signal.leave();
        // Asked by three, of whom any may see it complete.
        let at_once = at_once.shared();
        let drain_delay = door.tuning().drain_delay;
        door.let_in_until(async {
            tokio::select! {
                () = sleep(drain_delay) => {}
                () = at_once.clone() => {}
            }
        })
        .await;
        let drain_timeout = door.tuning().drain_timeout;
        drain::drain(door.close(), &signal, drain_timeout, at_once).await
    }
}

/// Reads what a listener needs, and binds it.
fn bind_listener<H: Handler>(
    settings: &ListenerSettings,
    limits: &ConnectionLimits,
    handler: &H,
    inherited: &mut Inherited,
) -> Result<Listener<H>, BindError> {
    let address = || settings.address.clone();
    let tls = load_tls(settings.tls.as_ref(), Purpose::Data, &settings.address)?;
    let socket = inherited.socket(&settings.address, limits).transpose();
    let socket = socket.unwrap_or_else(|| Socket::bind(&settings.address, limits));
    let socket = socket.map_err(|source| BindError::Address { address: address(), source })?;
    let manner = Manner::of(settings, tls, handler.clone());
    Ok(Listener { socket, manner: Arc::new(ArcSwap::from_pointee(manner)) })
}

/// Reads the files of TLS, if there is any.
fn load_tls(
    settings: Option<&TlsSettings>,
    purpose: Purpose,
    address: &ListenAddress,
) -> Result<Option<Arc<Tls>>, BindError> {
    let tls = settings.map(|settings| Tls::load(settings, purpose)).transpose();
    let tls = tls.map_err(|source| BindError::Tls { address: address.clone(), source: Box::new(source) })?;
    Ok(tls.map(Arc::new))
}

#[cfg(test)]
mod tests;

//! Connections to one store: opened on need, kept while idle, taken newest first.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::dial::{DialError, Dialer, KeepReading};
use crate::flow::{Budget, MeteredReads, Paced};
use crate::sign::OutboundBody;

/// Unsent bytes that the kernel takes of a connection. Without it the kernel takes megabytes of an upload before it shows that the store
/// takes nothing, and by then the buffers have grown.
#[cfg(target_os = "linux")]
const MAX_UNSENT_BYTES: u32 = 256 * 1024;

/// Why a connection could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No TCP or TLS connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The socket does not take an option.
    #[error("the socket does not take an option: {0}")]
    Socket(#[from] std::io::Error),
    /// No HTTP on it.
    #[error("HTTP could not be started on the connection: {0}")]
    Http(#[from] hyper::Error),
}

/// A connection to a store. Dropping it closes the connection at once, whatever is in flight.
#[derive(Debug)]
pub struct Connection {
    sender: SendRequest<Paced<OutboundBody>>,
    task: AbortHandle,
    reused: bool,
}

impl Connection {
    /// Opens a connection; `budget` is what the bodies of all connections share.
    ///
    /// # Errors
    /// [`OpenError`] if there is none in time.
    pub async fn open(dialer: &Dialer, budget: Arc<Budget>) -> Result<Self, OpenError> {
        let mut stream = dialer.connect().await?;
        // Whatever is dropped unfinished must end in a reset: a FIN between head and body is, to SeaweedFS 4.48, an empty object.
        let socket = SockRef::from(stream.socket());
        socket.set_linger(Some(Duration::ZERO))?;
        #[cfg(target_os = "linux")]
        socket.set_tcp_notsent_lowat(MAX_UNSENT_BYTES)?;
        stream.set_budget(Arc::clone(&budget));
        let stream = MeteredReads::new(KeepReading::new(stream), budget);
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let task = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "upstream connection ended");
            }
        });
        Ok(Self { sender, task: task.abort_handle(), reused: false })
    }

    /// Sends requests on it.
    pub fn sender(&mut self) -> &mut SendRequest<Paced<OutboundBody>> {
        &mut self.sender
    }

    /// Whether it has carried a request before: then the store may just be closing it.
    pub fn is_reused(&self) -> bool {
        self.reused
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Idle connections of one store.
#[derive(Debug)]
pub struct Pool {
    idle: Mutex<Vec<(Connection, Instant)>>,
    idle_timeout: Duration,
}

impl Pool {
    /// A pool that keeps a connection for so long.
    pub fn new(idle_timeout: Duration) -> Self {
        Self { idle: Mutex::default(), idle_timeout }
    }

    /// The connection used last, if one is still good `now`.
    pub async fn take(&self, now: Instant) -> Option<Connection> {
        loop {
            let (mut connection, since) = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
            if now.saturating_duration_since(since) >= self.idle_timeout || connection.sender.is_closed() {
                continue;
            }
            if connection.sender.is_ready() {
                connection.reused = true;
                return Some(connection);
            }
            // Right after an answer the connection task may not have run yet.
            let ready = tokio::time::timeout(Duration::from_millis(50), connection.sender.ready()).await;
            if matches!(ready, Ok(Ok(()))) {
                connection.reused = true;
                return Some(connection);
            }
        }
    }

    /// Takes back a connection whose answer was read to its end.
    pub fn put(&self, connection: Connection) {
        let now = Instant::now();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        // They stand in the order in which they came back, so those that are over stand in front; what the store has closed behind them is
        // passed over when it is taken. To look at all would cost a request as many looks as there are idle connections.
        let is_over = |(connection, since): &&(Connection, Instant)| {
            now.saturating_duration_since(*since) >= self.idle_timeout || connection.sender.is_closed()
        };
        let over = idle.iter().take_while(is_over).count();
        idle.drain(..over);
        idle.push((connection, now));
    }
}

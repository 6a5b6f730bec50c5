//! One clamd: how to reach it, and what is known of it.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use super::Settings;
use super::address::Address;
use super::answer::{MAX_ANSWER_BYTES, printable};
use super::probe::{self, Probed};
use crate::dial::{AddressPolicy, DialError, Dialer, Settings as DialSettings, local};

/// Its limits may have been changed without a new version of anything.
const PROBE_EVERY: Duration = Duration::from_secs(3600);

/// A connection to clamd.
pub type Wire = Box<dyn Duplex>;

/// What can be read and written.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// One clamd.
#[derive(Debug)]
pub struct Scanner {
    address: Address,
    dialer: Option<Dialer>,
    connect_timeout: Duration,
    failed: AtomicBool,
    known: Mutex<Known>,
    probing: tokio::sync::Mutex<()>,
}

/// What it said of itself, and what became of the probe under that version.
#[derive(Debug, Default)]
struct Known {
    version: String,
    probed: Probed,
    /// When; `None` if not yet.
    at: Option<Instant>,
}

impl Known {
    /// Whether the probe need not be repeated. One that found clamd unfit is, because its operator may have set that right.
    fn is_good_for(&self, version: &str) -> bool {
        let is_fresh = self.at.is_some_and(|at| at.elapsed() < PROBE_EVERY);
        is_fresh && self.version == version && self.probed.unfit.is_none()
    }
}

/// A clamd that answers.
#[derive(Debug)]
pub struct Examined {
    /// What it says to VERSION.
    pub version: String,
    /// What its operator should know.
    pub warnings: Vec<String>,
}

impl Scanner {
    /// The clamd at an address.
    ///
    /// # Errors
    /// [`DialError::BadHost`].
    pub fn new(address: &Address, connect_timeout: Duration) -> Result<Self, DialError> {
        let dialer = match address {
            Address::Unix(_) => None,
            Address::Tcp { host, port } => Some(Dialer::new(DialSettings {
                host: host.clone(),
                port: *port,
                tls: false,
                ca_file: None,
                connect_timeout,
                addresses: AddressPolicy::Any,
            })?),
        };
        Ok(Self {
            address: address.clone(),
            dialer,
            connect_timeout,
            failed: AtomicBool::new(false),
            known: Mutex::default(),
            probing: tokio::sync::Mutex::default(),
        })
    }

    /// Whether it failed when it was last asked.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Notes whether it failed.
    pub fn set_failed(&self, failed: bool) {
        self.failed.store(failed, Ordering::Relaxed);
    }

    /// Why its word cannot be trusted, if the probe found that.
    pub fn unfit(&self) -> Option<String> {
        self.known().probed.unfit.as_ref().map(|problem| format!("{}: {problem}", self.address))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection on which the chunks of a stream may follow.
    ///
    /// # Errors
    /// Why there is none, in words.
    pub async fn begin(&self) -> Result<Wire, String> {
        let mut wire = self.connect().await?;
        wire.write_all(b"zINSTREAM\0").await.map_err(|error| self.failure(&error))?;
        Ok(wire)
    }

    /// Asks for its version, and probes its limits if that is new.
    ///
    /// # Errors
    /// Why there is no answer, in words.
    pub async fn examine(self: &Arc<Self>, settings: &Settings) -> Result<Examined, String> {
        let late = || format!("{} did not answer within {} ms", self.address, self.connect_timeout.as_millis());
        let version = timeout(self.connect_timeout, self.version()).await.map_err(|_| late())??;
        // Who failed may have been started anew, with other limits.
        if self.has_failed() {
            self.known().at = None;
        }
        if !self.known().is_good_for(&version) {
            let probing = Arc::clone(self).probe(version.clone(), settings.clone());
            // A task, because a large object may take longer than the question after its health is waited for.
            tokio::spawn(probing).await.map_err(|error| error.to_string())??;
        }
        let warnings = self.known().probed.warnings.iter().map(|text| format!("{}: {text}", self.address)).collect();
        Ok(Examined { version, warnings })
    }

    async fn probe(self: Arc<Self>, version: String, settings: Settings) -> Result<(), String> {
        let _one_at_a_time = self.probing.lock().await;
        if !self.known().is_good_for(&version) {
            let probed = probe::probe(&self, &settings).await?;
            *self.known() = Known { version, probed, at: Some(Instant::now()) };
        }
        Ok(())
    }

    async fn version(&self) -> Result<String, String> {
        let mut wire = self.connect().await?;
        wire.write_all(b"zVERSION\0").await.map_err(|error| self.failure(&error))?;
        let mut answer = Vec::new();
        let limit = MAX_ANSWER_BYTES as u64;
        wire.take(limit).read_to_end(&mut answer).await.map_err(|error| self.failure(&error))?;
        match answer.strip_suffix(b"\0") {
            Some(version) if version.starts_with(b"ClamAV ") => Ok(printable(version)),
            _ => Err(format!("{} is not a clamd: it answered `{}`", self.address, printable(&answer))),
        }
    }

    async fn connect(&self) -> Result<Wire, String> {
        match (&self.address, &self.dialer) {
            (Address::Unix(path), _) => match local::connect(path, self.connect_timeout).await {
                Ok(stream) => Ok(Box::new(stream)),
                Err(error) => Err(self.failure(&error)),
            },
            (_, Some(dialer)) => match dialer.connect().await {
                Ok(stream) => Ok(Box::new(stream)),
                Err(error) => Err(format!("{}: {error}", self.address)),
            },
            (_, None) => Err(format!("{} cannot be dialled", self.address)),
        }
    }

    fn failure(&self, error: &io::Error) -> String {
        format!("{}: {error}", self.address)
    }
}

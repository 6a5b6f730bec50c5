//! One clamd: how to reach it, and what is known of it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::Settings;
use super::address::Address;
use super::answer::{MAX_ANSWER_BYTES, printable};
use super::conversation::{self, Ended};
use crate::dial::{AddressPolicy, DialError, Dialer, Settings as DialSettings, local};
use crate::inspect::content::channel;
use crate::inspect::trial::{Advice, Answering, OnTrial, Seen, Trial, Trials};

const ADVICE: Advice = Advice {
    size: "set StreamMaxLength <= MaxFileSize <= MaxScanSize in its clamd.conf, and max_size here to the first of them",
    archives: "set `AlertExceedsMax yes` in its clamd.conf",
    encrypted: "set `AlertEncrypted yes` in its clamd.conf",
};

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
    trials: Arc<Trials>,
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
            trials: Arc::default(),
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

    /// Whether it must be tried before it is asked.
    pub fn is_untried(&self, settings: &Settings) -> bool {
        self.trials.is_untried(settings.probe)
    }

    /// It could not be reached: nothing is known of it any more.
    pub fn forget(&self) {
        self.trials.forget();
    }

    /// It failed at an object: it is to be tried again soon.
    pub fn doubt(&self) {
        self.trials.doubt();
    }

    /// It stood still for as long as anybody waits: it is asked last, and to be tried again soon.
    pub fn note_stall(&self) {
        self.doubt();
        self.set_failed(true);
    }

    /// That its trial takes long, in words.
    pub fn untried(&self) -> String {
        format!("{} is still being tried", self.address)
    }

    /// Why its word cannot be trusted, if that was found out.
    pub fn unfit(&self) -> Option<String> {
        self.trials.unfit().map(|problem| format!("{} {problem}", self.address))
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
        let version = timeout(self.connect_timeout, self.version()).await.map_err(|_| late()).flatten();
        let version = version.inspect_err(|_| self.forget())?;
        let scanner = Arc::clone(self);
        let warnings = self.trials.of_version(&version, scanner, (settings.probe, settings.max_size, ADVICE)).await?;
        let warnings = warnings.into_iter().map(|text| format!("{} {text}", self.address)).collect();
        Ok(Examined { version, warnings })
    }

    /// Finds out whether one that failed has verdicts again. VERSION does not tell: clamd answers that while all of its threads are stuck.
    ///
    /// # Errors
    /// Why it stays the one that is asked last, in words.
    pub async fn recover(&self) -> Result<(), String> {
        if !self.has_failed() {
            return Ok(());
        }
        let shown = timeout(self.connect_timeout, self.show(Trial::small())).await;
        let late =
            |_| format!("{} has no verdict on one byte in {} ms", self.address, self.connect_timeout.as_millis());
        shown.map_err(late).flatten()?;
        self.set_failed(false);
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

impl OnTrial for Scanner {
    fn show(&self, trial: Trial) -> Answering<'_> {
        Box::pin(async move {
            let wire = self.begin().await?;
            let (feed, mut content) = channel();
            let stream = conversation::stream(wire, &mut content, u64::MAX);
            // The answer may come before the end of the object, and nobody feeds it then.
            let ended = tokio::select! {
                ended = stream => ended,
                ended = async { trial.feed(feed).await; std::future::pending().await } => ended,
            };
            match ended {
                Ended::Clean => Ok(Seen::Clean),
                Ended::OverItsLimit => Ok(Seen::TooLarge),
                Ended::Failed(reason) => Err(format!("{}: {reason}", self.address)),
                Ended::Found(_) | Ended::OverOurLimit | Ended::BrokenOff => Ok(Seen::NotClean),
            }
        })
    }
}

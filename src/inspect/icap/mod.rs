//! Asks an ICAP server (RFC 3507): uploads as REQMOD, downloads as RESPMOD, each on a connection of its own.
//!
//! Clean is only what the server has seen to its last byte and would pass on as it is: `204`, or a `200` with the same bytes. A server that
//! does not want to see all of an object, by its type or size, has not looked at it. A connection for each object, because an answer can
//! then belong to no other, and none fails because the server had closed a connection that was kept.
//! Source: RFC 3507, draft-stecher-icap-subid; what c-icap 0.5 really does is in `tests/it/scanners/icap.rs`.

mod address;
pub mod answer;
mod exchange;
pub mod head;
pub mod options;
mod request;
mod source;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

pub use address::{Address, AddressError};

pub use crate::inspect::trial::Probe;

use crate::dial::{AddressPolicy, Dialer, Settings as DialSettings};
use crate::inspect::content::channel;
use crate::inspect::outside::{named, too_large, unsent};
use crate::inspect::trial::{Advice, Answering, OnTrial, Seen, Trial, Trials};
use crate::inspect::{BuildError, Checkup, Content, Direction, Health, Inspector, Look, Regards, Subject, Verdict};
use answer::Found;
use exchange::{Ended, Question};
use options::Options;
use request::Method;
use source::Source;

/// What it is configured with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The service.
    pub url: Address,
    /// PEM file of certificate authorities, instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Largest object that is sent.
    pub max_size: u64,
    /// Longest time to connect, and to answer OPTIONS.
    pub connect_timeout: Duration,
    /// Beginnings of names that mean "could not be looked at" instead of "something was found".
    pub not_scannable: Vec<String>,
    /// Whether an object is clean that the server does not want to see as a whole.
    pub trust_preview: bool,
    /// Whether the server is told the type that the client declared.
    pub send_type: bool,
    /// What is found out about the limits of the scanner behind the server.
    pub probe: Probe,
}

/// Names for objects that were not looked at as a whole, of scanners behind ICAP servers: those of clamd.
pub const NOT_SCANNABLE: [&str; 2] = crate::inspect::clamd::NOT_SCANNABLE;

/// The inspector.
#[derive(Debug)]
struct Icap {
    settings: Settings,
    dialer: Dialer,
    known: Mutex<Option<Known>>,
    trials: Arc<Trials>,
}

const ADVICE: Advice = Advice {
    size: "raise the limits of the server and of the scanner behind it (c-icap: virus_scan.MaxObjectSize; clamd: MaxFileSize), or set a smaller max_size here",
    archives: "let the scanner behind it report what exceeds its limits (clamd: `AlertExceedsMax yes`)",
    encrypted: "let the scanner behind it report what is encrypted (clamd: `AlertEncrypted yes`)",
};

/// What the server said last, and the places for connections that it allows.
#[derive(Debug, Clone)]
struct Known {
    options: Options,
    until: Instant,
    places: Option<Arc<Semaphore>>,
}

/// Makes the inspector of this name.
///
/// # Errors
/// [`BuildError`] if the address cannot be dialled, or the certificate authorities cannot be used.
pub fn build(name: &str, settings: &Settings) -> Result<Arc<dyn Inspector>, BuildError> {
    let Address { tls, host, port, .. } = &settings.url;
    let dialer = Dialer::new(DialSettings {
        host: host.clone(),
        port: *port,
        tls: *tls,
        ca_file: settings.ca_file.clone(),
        connect_timeout: settings.connect_timeout,
        addresses: AddressPolicy::Any,
    });
    let dialer = dialer.map_err(|error| BuildError { inspector: name.to_owned(), problem: error.to_string() })?;
    Ok(Arc::new(Icap { settings: settings.clone(), dialer, known: Mutex::default(), trials: Arc::default() }))
}

impl Inspector for Icap {
    fn look(self: Arc<Self>, subject: Arc<Subject>, content: Content) -> Look {
        Box::pin(async move { self.ask(&subject, content).await })
    }

    fn check(self: Arc<Self>) -> Checkup {
        Box::pin(async move { self.health().await })
    }

    /// A trial or a question for the options needs a connection too.
    fn max_looks(&self) -> Option<usize> {
        let most = self.known().as_ref().and_then(|known| known.options.max_connections);
        most.map(|most| most.saturating_sub(1).max(1))
    }

    /// The server gets bucket and key, in a request or a response, and has rules of its own.
    fn regards(&self) -> Regards {
        Regards::Place
    }

    fn digest(&self) -> String {
        let Settings { url, ca_file, max_size, connect_timeout: _, not_scannable, trust_preview, send_type, probe } =
            &self.settings;
        format!("icap {url} {ca_file:?} {max_size} {not_scannable:?} {trust_preview} {send_type} {probe:?}")
    }
}

impl Icap {
    async fn ask(self: &Arc<Self>, subject: &Subject, mut content: Content) -> Verdict {
        let Settings { url, max_size, probe, .. } = &self.settings;
        if let Some(verdict) = unsent(subject, *max_size) {
            return verdict;
        }
        if self.trials.is_untried(*probe)
            && let Err(problem) = Arc::clone(self).health().await
        {
            return Verdict::error(problem);
        }
        if let Some(problem) = self.trials.unfit() {
            return Verdict::error(format!("{url} {problem}"));
        }
        let _stalled = content.on_given_up(|| self.trials.doubt());
        let ended = match self.exchange(subject, &mut content).await {
            Ok(ended) => ended,
            Err(reason) => {
                // It may come back with other limits.
                self.trials.forget();
                Ended::Failed(reason)
            }
        };
        if matches!(ended, Ended::Failed(_)) {
            self.trials.doubt();
        }
        self.verdict(ended, content).await
    }

    async fn exchange(&self, subject: &Subject, content: &mut Content) -> Result<Ended, String> {
        let Settings { url, max_size, send_type, .. } = &self.settings;
        let known = self.known_or_asked().await?;
        let _place = place(&known).await?;
        let stream = self.dialer.connect().await.map_err(|problem| problem.to_string())?;
        let method = match (subject.direction, known.options.reqmod, known.options.respmod) {
            (Direction::Upload, true, _) | (Direction::Download, true, false) => Method::Reqmod,
            (Direction::Upload, false, _) | (Direction::Download, ..) => Method::Respmod,
        };
        let preview = known.options.preview;
        let head = request::head(url, method, subject, *send_type, preview);
        let question = Question { head, method, preview, max_size: *max_size };
        let (ended, tag) = exchange::ask(stream, &question, content).await;
        if tag.is_some_and(|tag| tag != known.options.istag) {
            // Its signatures or its configuration have changed: it is asked for its options again.
            // What is kept is the count of its connections.
            if let Some(known) = &mut *self.known() {
                known.until = Instant::now();
            }
        }
        Ok(ended)
    }

    async fn verdict(&self, ended: Ended, mut content: Content) -> Verdict {
        match ended {
            Ended::Clean => Verdict::Clean,
            Ended::Previewed if self.settings.trust_preview => loop {
                match content.next().await {
                    Ok(Some(_)) => {}
                    Ok(None) => return Verdict::Clean,
                    Err(broken) => return Verdict::error(broken.to_string()),
                }
            },
            Ended::Previewed => {
                Verdict::not_scannable("the ICAP server did not want to see more than a preview; see trust_preview")
            }
            Ended::Unseen => Verdict::not_scannable("the ICAP server answered before it had seen all of it"),
            Ended::Found(Found::Container(name)) => Verdict::not_scannable(name),
            Ended::Found(Found::Threat(name)) => named(name, &self.settings.not_scannable),
            Ended::OverLimit => too_large(self.settings.max_size),
            Ended::Failed(reason) => Verdict::error(format!("{}: {reason}", self.settings.url)),
            Ended::BrokenOff => Verdict::error("the object broke off"),
        }
    }

    async fn health(self: Arc<Self>) -> Result<Health, String> {
        let Settings { url, probe, max_size, .. } = &self.settings;
        let named = |problem: String| format!("{url}: {problem}");
        let Options { service, istag, reqmod, respmod, .. } = self.ask_options().await.map_err(named)?.options;
        let version = format!("{service} {istag}").trim().to_owned();
        let scanner = Arc::clone(&self);
        let found = self.trials.of_version(&version, scanner, (*probe, *max_size, ADVICE)).await.map_err(named)?;
        if let Some(problem) = self.trials.unfit() {
            return Err(format!("{url} {problem}"));
        }
        let mut warnings: Vec<String> = found.into_iter().map(|text| format!("{url} {text}")).collect();
        if !(reqmod && respmod) {
            let offered = if reqmod { "REQMOD" } else { "RESPMOD" };
            warnings.push(format!("{url} offers {offered} only, which is used both ways"));
        }
        Ok(Health { version, signatures_made: None, warnings })
    }

    fn known(&self) -> MutexGuard<'_, Option<Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn known_or_asked(&self) -> Result<Known, String> {
        let known = self.known().clone().filter(|known| Instant::now() < known.until);
        match known {
            Some(known) => Ok(known),
            None => self.ask_options().await,
        }
    }

    async fn ask_options(&self) -> Result<Known, String> {
        let limit = self.settings.connect_timeout;
        let late = |_| format!("no answer to OPTIONS in {} ms", limit.as_millis());
        let options = timeout(limit, self.options()).await.map_err(late)??;
        let mut known = self.known();
        // Places that are taken must stay taken.
        let kept = known.take().filter(|known| known.options.max_connections == options.max_connections);
        let places = match kept {
            Some(kept) => kept.places,
            None => options.max_connections.map(|most| Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)))),
        };
        Ok(known.insert(Known { until: Instant::now() + options.ttl, options, places }).clone())
    }

    async fn options(&self) -> Result<Options, String> {
        let mut stream = self.dialer.connect().await.map_err(|error| error.to_string())?;
        let question = request::options(&self.settings.url);
        stream.write_all(question.as_bytes()).await.map_err(|error| error.to_string())?;
        stream.flush().await.map_err(|error| error.to_string())?;
        let head = Source::new(stream).head().await?;
        match head.status("ICAP/1.0").map_err(|error| error.to_string())? {
            200 => Options::read(&head),
            status => Err(exchange::failure(status)),
        }
    }
}

/// A place for a connection, if the server limits them.
async fn place(known: &Known) -> Result<Option<OwnedSemaphorePermit>, String> {
    match &known.places {
        None => Ok(None),
        Some(places) => Arc::clone(places).acquire_owned().await.map(Some).map_err(|error| error.to_string()),
    }
}

impl OnTrial for Icap {
    fn show(&self, trial: Trial) -> Answering<'_> {
        Box::pin(async move {
            // Some servers know limits for what is declared only, some for the rest only; and some break off what they do not want, which
            // is no verdict and so no danger.
            let declared = self.show_once(trial.clone(), Some(trial.length())).await;
            if declared == Ok(Seen::Clean) {
                return declared;
            }
            match (declared, self.show_once(trial, None).await) {
                (Ok(declared), Err(_)) => Ok(declared),
                (_, undeclared) => undeclared,
            }
        })
    }
}

impl Icap {
    async fn show_once(&self, trial: Trial, length: Option<u64>) -> Result<Seen, String> {
        let (feed, mut content) = channel();
        let subject = Subject {
            request_id: String::new(),
            principal: String::new(),
            bucket: "countersign".to_owned(),
            key: "trial".to_owned(),
            media_type: None,
            content_encoding: None,
            length,
            direction: Direction::Upload,
        };
        // The answer may come before the end of the object, and nobody feeds it then.
        let ended = tokio::select! {
            ended = self.exchange(&subject, &mut content) => ended?,
            ended = async { trial.feed(feed).await; std::future::pending().await } => ended,
        };
        match ended {
            // Whether an early answer is seen to be early is chance: it may cross the last bytes. And who lets this pass by its length lets
            // something pass whose length it does not know.
            Ended::Clean | Ended::Unseen | Ended::Previewed => Ok(Seen::Clean),
            Ended::Failed(reason) => Err(reason),
            Ended::Found(_) | Ended::OverLimit | Ended::BrokenOff => Ok(Seen::NotClean),
        }
    }
}

//! Asks clamd, the daemon of ClamAV: each object is one INSTREAM conversation on a connection of its own.
//!
//! Fails closed: only a complete `stream: OK` after the last byte is clean. A connection for each object, because an answer can then
//! belong to no other object; on the same machine it costs less than 0.1 ms. An address that fails, or stands still, is tried after the
//! others until it has a verdict again; a look that has begun stays where it is.
//! Source: clamd(8); what clamd 1.4 really does is in `tests/it/scanners.rs`.

mod address;
pub mod answer;
mod conversation;
mod scanner;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

pub use address::{Address, AddressError};

pub use crate::inspect::trial::Probe;

use crate::inspect::outside::{named, too_large, unsent};
use crate::inspect::{BuildError, Checkup, Content, Health, Inspector, Look, Subject, Verdict};
use conversation::Ended;
use scanner::{Examined, Scanner};

/// How long the others wait for one that is being tried. Its trial, which may take minutes, goes on by itself.
const OTHERS_WAIT: Duration = Duration::from_secs(5);

/// What it is configured with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where clamd listens; the first that works is asked.
    pub addresses: Vec<Address>,
    /// Largest object that is sent: not more than clamd's own limits.
    pub max_size: u64,
    /// Longest time to connect to one address, and to get an answer to a question about its health.
    pub connect_timeout: Duration,
    /// Beginnings of names that mean "could not be looked at" instead of "something was found".
    pub not_scannable: Vec<String>,
    /// What is found out about the limits of clamd.
    pub probe: Probe,
}

/// Names of clamd's own for objects that it did not look at as a whole.
pub const NOT_SCANNABLE: [&str; 2] = ["Heuristics.Limits.Exceeded", "Heuristics.Encrypted."];

/// The inspector.
#[derive(Debug)]
struct Clamd {
    scanners: Vec<Arc<Scanner>>,
    settings: Settings,
}

/// Makes the inspector of this name.
///
/// # Errors
/// [`BuildError`] if there is no address, or one that cannot be dialled.
pub fn build(name: &str, settings: &Settings) -> Result<Arc<dyn Inspector>, BuildError> {
    let error = |problem: String| BuildError { inspector: name.to_owned(), problem };
    let made = settings.addresses.iter().map(|address| Scanner::new(address, settings.connect_timeout).map(Arc::new));
    let scanners: Vec<_> = made.collect::<Result<_, _>>().map_err(|problem| error(problem.to_string()))?;
    if scanners.is_empty() {
        return Err(error("there is no address".to_owned()));
    }
    Ok(Arc::new(Clamd { scanners, settings: settings.clone() }))
}

impl Inspector for Clamd {
    fn look(self: Arc<Self>, subject: Arc<Subject>, content: Content) -> Look {
        Box::pin(async move { self.ask(&subject, content).await })
    }

    fn check(self: Arc<Self>) -> Checkup {
        Box::pin(async move { self.health().await })
    }

    fn digest(&self) -> String {
        let Settings { addresses, max_size, connect_timeout: _, not_scannable, probe } = &self.settings;
        format!("clamd {addresses:?} {max_size} {not_scannable:?} {probe:?}")
    }
}

impl Clamd {
    async fn ask(&self, subject: &Subject, mut content: Content) -> Verdict {
        let max_size = self.settings.max_size;
        if let Some(verdict) = unsent(subject, max_size) {
            return verdict;
        }
        let (scanner, wire) = match self.begin(&content).await {
            Ok(begun) => begun,
            Err(reason) => return Verdict::error(reason),
        };
        let _stalled = content.on_given_up(|| scanner.note_stall());
        let ended = conversation::stream(wire, &mut content, max_size).await;
        match &ended {
            Ended::Clean | Ended::Found(_) | Ended::OverItsLimit => scanner.set_failed(false),
            Ended::Failed(_) => {
                // It gives up after its ReadTimeout when a client is slow: then another would fare no better.
                scanner.doubt();
                if !content.is_awaited() {
                    scanner.set_failed(true);
                }
            }
            Ended::OverOurLimit | Ended::BrokenOff => {}
        }
        self.verdict(ended)
    }

    /// A connection on which the object may begin, to the first address that gives one.
    async fn begin(&self, content: &Content) -> Result<(&Scanner, scanner::Wire), String> {
        let (fine, failed): (Vec<_>, Vec<_>) = self.scanners.iter().partition(|scanner| !scanner.has_failed());
        let mut problems = Vec::new();
        for scanner in fine.into_iter().chain(failed) {
            // A trial may take longer than anybody waits.
            let _stalled = content.on_given_up(|| scanner.note_stall());
            if scanner.is_untried(&self.settings)
                && let Err(problem) = scanner.examine(&self.settings).await
            {
                scanner.set_failed(true);
                problems.push(problem);
                continue;
            }
            if let Some(problem) = scanner.unfit() {
                problems.push(problem);
                continue;
            }
            match scanner.begin().await {
                Ok(wire) => return Ok((scanner, wire)),
                Err(problem) => {
                    scanner.set_failed(true);
                    scanner.forget();
                    problems.push(problem);
                }
            }
        }
        Err(problems.join("; "))
    }

    fn verdict(&self, ended: Ended) -> Verdict {
        match ended {
            Ended::Clean => Verdict::Clean,
            Ended::Found(name) => named(name, &self.settings.not_scannable),
            Ended::OverOurLimit => too_large(self.settings.max_size),
            Ended::OverItsLimit => Verdict::not_scannable("larger than clamd's StreamMaxLength"),
            Ended::Failed(reason) => Verdict::error(reason),
            Ended::BrokenOff => Verdict::error("the object broke off"),
        }
    }

    /// It can work if one of the addresses can: what is wrong with the others is worth a warning.
    async fn health(&self) -> Result<Health, String> {
        let asked = join_all(self.scanners.iter().map(|scanner| self.examine(scanner))).await;
        let mut health = Health::default();
        let (mut versions, mut problems) = (Vec::new(), Vec::new());
        for examined in asked {
            match examined {
                Ok(found) => {
                    health.warnings.extend(found.warnings);
                    // The oldest signatures count: any of the addresses may be the one that is asked.
                    let made = answer::signatures_made(&found.version);
                    health.signatures_made = health.signatures_made.into_iter().chain(made).min();
                    if !versions.contains(&found.version) {
                        versions.push(found.version);
                    }
                }
                Err(problem) => problems.push(problem),
            }
        }
        if versions.is_empty() {
            return Err(problems.join("; "));
        }
        health.version = versions.join(", ");
        health.warnings.extend(problems);
        Ok(health)
    }

    /// What one of the addresses says, if it can be asked.
    async fn examine(&self, scanner: &Arc<Scanner>) -> Result<Examined, String> {
        let asked = scanner.examine(&self.settings);
        let found = match self.scanners.len() {
            1 => asked.await,
            _ => timeout(OTHERS_WAIT, asked).await.unwrap_or_else(|_| Err(scanner.untried())),
        };
        let mut found = found.inspect_err(|_| scanner.set_failed(true))?;
        if let Some(problem) = scanner.unfit() {
            return Err(problem);
        }
        // No reason not to be ready: what keeps it busy may be objects of a client.
        found.warnings.extend(scanner.recover().await.err());
        Ok(found)
    }
}

//! What one thread does: it keeps scanners, which cannot move between threads, and matches one block of one object after the other.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use yara_x::{Rules, ScanError, ScanResults, Scanner, blocks};

use crate::inspect::Verdict;
use crate::inspect::yara::Settings;

/// Most matches of one pattern in one object that are counted. YARA-X goes through all of them with every block.
const MAX_MATCHES: usize = 10_000;

/// Scanners that a thread keeps for the next objects.
const MAX_IDLE: usize = 16;

/// A job, and who waits for the thread to come to it.
#[derive(Debug)]
pub(super) struct Order {
    /// Is told when the job begins; when nobody listens any more, it is left out.
    pub(super) begin: Option<oneshot::Sender<()>>,
    /// What to do.
    pub(super) job: Job,
}

/// Something for a thread to do.
#[derive(Debug)]
pub(super) enum Job {
    /// Match a block of an object.
    Block {
        /// Which object.
        look: u64,
        /// Of the time for it.
        spent: Spent,
        /// Where the block begins in it.
        base: usize,
        /// The block.
        bytes: Vec<u8>,
        /// Gets the block back, or the verdict if there is one already.
        back: oneshot::Sender<Result<Vec<u8>, Verdict>>,
    },
    /// Match the last block, which may be the only one, and come to a verdict.
    Last {
        /// Which object.
        look: u64,
        /// Of the time for it.
        spent: Spent,
        /// Where the block begins in it.
        base: usize,
        /// The block.
        bytes: Vec<u8>,
        /// Gets the verdict.
        back: oneshot::Sender<Verdict>,
    },
    /// Match a whole object.
    Whole {
        /// Of the time for it.
        spent: Spent,
        /// The object.
        bytes: Vec<u8>,
        /// Gets the verdict.
        back: oneshot::Sender<Verdict>,
    },
    /// Forget an object that broke off.
    Forget {
        /// Which object.
        look: u64,
    },
}

/// What was spent of the time for an object, in microseconds; shared by all that is packed in it.
#[derive(Debug, Clone, Default)]
pub(super) struct Spent(Arc<AtomicU64>);

impl Spent {
    /// What is left of a time, if there is any.
    fn left_of(&self, deadline: Duration) -> Result<Duration, Fault> {
        let spent = Duration::from_micros(self.0.load(Ordering::Relaxed));
        deadline.checked_sub(spent).filter(|left| !left.is_zero()).ok_or(Fault::Late)
    }

    fn add(&self, time: Duration) {
        self.0.fetch_add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// The objects of one thread.
struct Worker<'r> {
    settings: &'r Settings,
    rules: &'r Rules,
    running: HashMap<u64, Running<'r>>,
    idle: Vec<blocks::Scanner<'r>>,
    whole: Option<Scanner<'r>>,
}

/// An object that is matched block by block.
struct Running<'r> {
    scanner: blocks::Scanner<'r>,
    spent: Spent,
}

/// Why there is no result. The scanner is not used again.
enum Fault {
    Late,
    Failed(String),
}

/// Works until nobody can send a job any more; `running` tells how many objects have been begun.
pub(super) fn work(settings: &Settings, jobs: &mpsc::Receiver<Order>, running: &AtomicUsize) {
    let rules = settings.rules.rules();
    let mut worker = Worker { settings, rules, running: HashMap::new(), idle: Vec::new(), whole: None };
    for Order { begin, job } in jobs {
        if begin.is_none_or(|begin| begin.send(()).is_ok()) {
            worker.take(job, running);
        }
    }
}

impl<'r> Worker<'r> {
    fn take(&mut self, job: Job, running: &AtomicUsize) {
        let count = |worker: &Self| running.store(worker.running.len(), Ordering::Release);
        // Whoever waited may be gone; then nobody wants to know.
        match job {
            Job::Block { look, spent, base, bytes, back } => {
                let answer = match self.block(look, &spent, base, &bytes) {
                    Ok(()) => Ok(bytes),
                    Err(fault) => Err(self.give_up(look, fault)),
                };
                count(self);
                drop(back.send(answer));
            }
            Job::Last { look, spent, base, bytes, back } => {
                let verdict = match self.last(look, &spent, base, &bytes) {
                    Ok(verdict) => verdict,
                    Err(fault) => self.give_up(look, fault),
                };
                count(self);
                drop(back.send(verdict));
            }
            Job::Whole { spent, bytes, back } => drop(back.send(self.whole(&spent, &bytes))),
            Job::Forget { look } => {
                self.running.remove(&look);
                count(self);
            }
        }
    }

    fn give_up(&mut self, look: u64, fault: Fault) -> Verdict {
        self.running.remove(&look);
        self.verdict_of(fault)
    }

    fn verdict_of(&self, fault: Fault) -> Verdict {
        match fault {
            Fault::Late => {
                let seconds = self.settings.deadline.as_secs();
                Verdict::not_scannable(format!(
                    "matching it takes more than {seconds} s, the deadline of this inspector"
                ))
            }
            Fault::Failed(reason) => Verdict::error(reason),
        }
    }

    fn block(&mut self, look: u64, spent: &Spent, base: usize, bytes: &[u8]) -> Result<(), Fault> {
        let deadline = self.settings.deadline;
        let running = match self.running.entry(look) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                let scanner = self.idle.pop().unwrap_or_else(|| block_scanner(self.rules));
                entry.insert(Running { scanner, spent: spent.clone() })
            }
        };
        running.timed(deadline, |scanner| scanner.scan(base, bytes).map(drop))
    }

    fn last(&mut self, look: u64, spent: &Spent, base: usize, bytes: &[u8]) -> Result<Verdict, Fault> {
        self.block(look, spent, base, bytes)?;
        let Some(mut running) = self.running.remove(&look) else {
            return Err(Fault::Failed("the scanner is not there".to_owned()));
        };
        let settings = self.settings;
        let verdict = running.timed(settings.deadline, |scanner| {
            scanner.finish().map(|results| verdict(&results, &settings.ignore_tags))
        })?;
        if self.idle.len() < MAX_IDLE {
            self.idle.push(running.scanner);
        }
        Ok(verdict)
    }

    fn whole(&mut self, spent: &Spent, bytes: &[u8]) -> Verdict {
        let settings = self.settings;
        let left = match spent.left_of(settings.deadline) {
            Ok(left) => left,
            Err(fault) => return self.verdict_of(fault),
        };
        let mut scanner = self.whole.take().unwrap_or_else(|| whole_scanner(self.rules));
        scanner.set_timeout(left);
        let began = Instant::now();
        let scanned = guarded(|| scanner.scan(bytes).map(|results| verdict(&results, &settings.ignore_tags)));
        spent.add(began.elapsed());
        match scanned {
            Ok(verdict) => {
                self.whole = Some(scanner);
                verdict
            }
            Err(fault) => self.verdict_of(fault),
        }
    }
}

impl<'r> Running<'r> {
    /// Runs one step within what is left of the time for the object. YARA-X knows a limit for each step only.
    fn timed<T>(
        &mut self,
        deadline: Duration,
        step: impl FnOnce(&mut blocks::Scanner<'r>) -> Result<T, ScanError>,
    ) -> Result<T, Fault> {
        let left = self.spent.left_of(deadline)?;
        let began = Instant::now();
        self.scanner.set_timeout(left);
        let scanner = &mut self.scanner;
        let done = guarded(|| step(scanner));
        self.spent.add(began.elapsed());
        done
    }
}

/// A defect of the scanner must not end the thread, which other objects wait for.
fn guarded<T>(step: impl FnOnce() -> Result<T, ScanError>) -> Result<T, Fault> {
    match catch_unwind(AssertUnwindSafe(step)) {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(ScanError::Timeout)) => Err(Fault::Late),
        Ok(Err(error)) => Err(Fault::Failed(error.to_string())),
        Err(_) => Err(Fault::Failed("the scanner panicked".to_owned())),
    }
}

fn block_scanner(rules: &Rules) -> blocks::Scanner<'_> {
    let mut scanner = blocks::Scanner::new(rules);
    scanner.max_matches_per_pattern(MAX_MATCHES).fast_scan(true);
    scanner
}

fn whole_scanner(rules: &Rules) -> Scanner<'_> {
    let mut scanner = Scanner::new(rules);
    scanner.max_matches_per_pattern(MAX_MATCHES).fast_scan(true);
    scanner
}

/// The first rule that matched and counts. Private rules are not among the results.
fn verdict(results: &ScanResults<'_, '_>, ignored: &[String]) -> Verdict {
    let counts =
        |rule: &yara_x::Rule<'_, '_>| !rule.tags().any(|tag| ignored.iter().any(|word| word == tag.identifier()));
    results.matching_rules().find(counts).map_or(Verdict::Clean, |rule| Verdict::matched(rule.identifier()))
}

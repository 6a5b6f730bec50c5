//! Finds out what a virus scanner lets pass unseen, by showing it what it must not call clean.
//!
//! Over its limits a scanner calls everything clean, unless it is told not to (clamd: `AlertExceedsMax yes`), and none tells these limits.
//! Four objects do: the EICAR test file alone (are its signatures known at all?), at the beginning of the largest object that is sent, a few
//! kilobytes that unpack to more than any limit, and an encrypted archive. Shown at the start, with every new version, and once an hour.

use std::io::{self, Write};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::time::{Instant, timeout};

use crate::inspect::content::Feed;

/// The EICAR test file, each byte one higher: virus scanners shall not take this program for it.
const EICAR_SHIFTED: &[u8; 68] = br#"Y6P"Q&ABQ\5]Q[Y65)Q_*8DD*8~%FJDBS.TUBOEBSE.BOUJWJSVT.UFTU.GJMF"%I,I+"#;
const BLOCK: usize = 512;
/// Padding goes out in pieces of this size.
const PIECE: u64 = 64 * 1024;
/// Zeros in one member of the archive, and how many members: more than 2 GiB, which no limit of clamd exceeds.
const MEMBER: usize = 1 << 20;
const MEMBERS: usize = 2100;
/// One stored member "a" of 20 bytes that is marked as encrypted.
const ENCRYPTED_ZIP: &[u8] =
    b"PK\x03\x04\x14\0\x01\0\0\0\0\0\x21\0\xd0\x9e\xf8\x2d\x14\0\0\0\x08\0\0\0\x01\0\0\0axxxxxxxxxxxxxxxxxxxx\
PK\x01\x02\x14\0\x14\0\x01\0\0\0\0\0\x21\0\xd0\x9e\xf8\x2d\x14\0\0\0\x08\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0a\
PK\x05\x06\0\0\0\0\x01\0\x01\0\x2f\0\0\0\x33\0\0\0\0\0";
/// All four; the large one takes clamd about 10 ms for each MiB.
const TIMEOUT: Duration = Duration::from_secs(120);

/// The limits of a scanner may be changed without a new version of anything.
const TRIAL_EVERY: Duration = Duration::from_secs(3600);
/// As long it is not tried again after a failure that may have been a client's doing.
const DOUBTED_EVERY: Duration = Duration::from_secs(60);

/// What is found out about the limits of a scanner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Probe {
    /// Nothing.
    None,
    /// An object of the largest size must be looked at; archives over its limits and encrypted ones are worth a warning.
    #[default]
    Basic,
    /// All of it must be as it should.
    Strict,
}

/// What the scanner says of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// It is clean.
    Clean,
    /// It is too large.
    TooLarge,
    /// Something is wrong with it.
    NotClean,
}

/// An object to be shown: some bytes, and zeros behind them.
#[derive(Debug, Clone)]
pub struct Trial {
    object: Bytes,
    zeros: u64,
}

/// The answer of a scanner to a trial.
pub type Answering<'a> = Pin<Box<dyn Future<Output = Result<Seen, String>> + Send + 'a>>;

/// A scanner that can be shown something.
pub trait OnTrial: Send + Sync {
    /// Shows it an object.
    fn show(&self, trial: Trial) -> Answering<'_>;
}

/// What its operator can do, as the second half of a sentence about the scanner.
#[derive(Debug, Clone, Copy)]
pub struct Advice {
    /// Objects of the largest size are called clean unseen.
    pub size: &'static str,
    /// Archives that unpack to more than its limits are.
    pub archives: &'static str,
    /// Encrypted archives are.
    pub encrypted: &'static str,
}

/// What is known of one scanner.
#[derive(Debug, Default)]
pub struct Trials {
    known: Mutex<Known>,
    running: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Known {
    version: String,
    /// When; `None` if not yet.
    at: Option<Instant>,
    unfit: Option<String>,
    warnings: Vec<String>,
    doubted: bool,
}

impl Known {
    /// Whether it need not be found out again. What made a scanner unfit is, because its operator may have set that right.
    fn is_good_for(&self, version: &str) -> bool {
        let is_fresh = self.at.is_some_and(|at| at.elapsed() < if self.doubted { DOUBTED_EVERY } else { TRIAL_EVERY });
        is_fresh && self.version == version && self.unfit.is_none()
    }
}

impl Trials {
    /// Why no verdict of the scanner counts.
    pub fn unfit(&self) -> Option<String> {
        self.known().unfit.clone()
    }

    /// Whether nothing is known that a verdict could be trusted for: it must be tried before it is asked.
    pub fn is_untried(&self, probe: Probe) -> bool {
        probe != Probe::None && self.known().at.is_none()
    }

    /// It was not there, so it may have been started anew, with other limits: nothing is known any more.
    pub fn forget(&self) {
        self.known().at = None;
    }

    /// It failed at an object, for which there are many reasons: what is known counts until it was tried again, which is soon.
    pub fn doubt(&self) {
        self.known().doubted = true;
    }

    /// Finds out what is not known of this version yet, and gives the warnings. Who was fit is tried beside the work that it does.
    ///
    /// # Errors
    /// Why there was no verdict, in words.
    pub async fn of_version(
        self: &Arc<Self>,
        version: &str,
        scanner: Arc<dyn OnTrial>,
        plan: (Probe, u64, Advice),
    ) -> Result<Vec<String>, String> {
        if plan.0 == Probe::None {
            return Ok(Vec::new());
        }
        let (is_good, was_fit) = {
            let known = self.known();
            (known.is_good_for(version), known.at.is_some() && known.unfit.is_none())
        };
        // A task, because it shall go on when nobody waits for it any more.
        let run = || tokio::spawn(Arc::clone(self).run(version.to_owned(), scanner, plan, Instant::now()));
        if !is_good && !was_fit {
            run().await.map_err(|error| error.to_string())??;
        } else if !is_good && self.running.try_lock().is_ok() {
            drop(run());
        }
        Ok(self.known().warnings.clone())
    }

    async fn run(
        self: Arc<Self>,
        version: String,
        scanner: Arc<dyn OnTrial>,
        plan: (Probe, u64, Advice),
        asked: Instant,
    ) -> Result<(), String> {
        let _one_at_a_time = self.running.lock().await;
        let is_done = {
            let known = self.known();
            known.is_good_for(&version) || known.at.is_some_and(|at| at >= asked)
        };
        if is_done {
            return Ok(());
        }
        let late = |_| "its limits could not be tried in time".to_owned();
        let found = timeout(TIMEOUT, try_all(&*scanner, plan)).await.map_err(late).flatten();
        // Who cannot be tried is not trusted, whatever was known of it before.
        let (unfit, warnings) = match &found {
            Ok((unfit, warnings)) => (unfit.clone(), warnings.clone()),
            Err(reason) => (Some(format!("could not be tried: {reason}")), Vec::new()),
        };
        *self.known() = Known { version, at: Some(Instant::now()), unfit, warnings, doubted: false };
        found.map(drop)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn try_all(
    scanner: &dyn OnTrial,
    (probe, max_size, advice): (Probe, u64, Advice),
) -> Result<(Option<String>, Vec<String>), String> {
    let (mut unfit, mut warnings) = (None, Vec::new());
    let alone = |object: Bytes| Trial { object, zeros: 0 };
    if scanner.show(alone(Bytes::from(eicar()))).await? == Seen::Clean {
        warnings.push("does not know the EICAR test file, so its limits cannot be tried".to_owned());
    } else {
        match scanner.show(largest(max_size)).await {
            Ok(Seen::Clean) => unfit = Some(format!("calls objects of max_size clean unseen; {}", advice.size)),
            Ok(Seen::TooLarge) => warnings.push(format!("does not take objects of max_size; {}", advice.size)),
            Ok(Seen::NotClean) => {}
            // Who breaks off this one may let pass one that is a little smaller.
            Err(reason) => unfit = Some(format!("has no verdict on an object of max_size ({reason}); {}", advice.size)),
        }
    }
    let bomb = tokio::task::spawn_blocking(bomb).await.map_err(io::Error::from).flatten();
    let bomb = bomb.map_err(|error| error.to_string())?;
    for (object, what, advice) in [
        (Bytes::from(bomb), "archives that unpack to more than its limits", advice.archives),
        (Bytes::from_static(ENCRYPTED_ZIP), "encrypted archives", advice.encrypted),
    ] {
        if scanner.show(alone(object)).await? == Seen::Clean {
            let problem = format!("calls {what} clean; {advice}");
            if probe == Probe::Strict {
                unfit.get_or_insert_with(|| problem.clone());
            }
            warnings.push(problem);
        }
    }
    Ok((unfit, warnings))
}

impl Trial {
    /// One byte, for which nothing has to be read but its answer.
    pub fn small() -> Self {
        Self { object: Bytes::from_static(b"x"), zeros: 0 }
    }

    /// Its bytes.
    pub fn length(&self) -> u64 {
        self.object.len() as u64 + self.zeros
    }

    /// Puts it in. The inspector need not take all of it.
    pub async fn feed(self, feed: Feed) {
        static ZEROS: [u8; PIECE as usize] = [0; PIECE as usize];
        let zeros = self.zeros;
        let padding = (0..zeros.div_ceil(PIECE)).map(move |piece| {
            let length = (zeros - piece * PIECE).min(PIECE);
            Bytes::from_static(&ZEROS[..usize::try_from(length).expect("at most a piece")])
        });
        feed.all(std::iter::once(self.object).chain(padding)).await;
    }
}

fn eicar() -> Vec<u8> {
    EICAR_SHIFTED.iter().map(|byte| byte - 1).collect()
}

/// The beginning of a tar archive with the test file in it, and how many zeros make it as large as the largest object. An archive, because
/// some signature databases know the test file only as a whole; its rest, zeros, is the end of a tar archive.
fn largest(max_size: u64) -> Trial {
    let file = eicar();
    let mut head = [0; BLOCK];
    let size = format!("{:011o}\0", file.len());
    for (at, text) in [
        (0, "eicar.com"),
        (100, "0000644\0"),
        (108, "0000000\0"),
        (116, "0000000\0"),
        (124, size.as_str()),
        (136, "00000000000\0"),
        (148, "        "),
        (156, "0"),
        (257, "ustar\x0000"),
    ] {
        head[at..at + text.len()].copy_from_slice(text.as_bytes());
    }
    let sum: u32 = head.iter().map(|byte| u32::from(*byte)).sum();
    head[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let archive = [&head[..], &file].concat();
    let zeros = max_size.saturating_sub(archive.len() as u64);
    Trial { object: Bytes::from(archive), zeros }
}

/// A few kilobytes that unpack to two megabytes that unpack to two gigabytes of zeros. clamd stops at its limit: 0.1 s.
fn bomb() -> io::Result<Vec<u8>> {
    let gzip = |bytes: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes)?;
        encoder.finish()
    };
    let member = gzip(&vec![0; MEMBER])?;
    gzip(&member.repeat(MEMBERS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_file_is_the_one_that_everybody_knows() {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &eicar());
        assert_eq!(hex::encode(digest), "275a021bbfb6489e54d471899f7db9d1663fc695ec2fe2a2c4538aabf651fd0f");
    }

    #[test]
    fn the_largest_object_has_the_largest_size() {
        assert_eq!(largest(1 << 20).length(), 1 << 20);
        assert_eq!(largest(10).zeros, 0);
    }

    /// Says this to all it is shown.
    #[derive(Default)]
    struct Saying {
        answer: Mutex<Option<Result<Seen, String>>>,
        shown: std::sync::atomic::AtomicUsize,
    }

    impl OnTrial for Saying {
        fn show(&self, _trial: Trial) -> Answering<'_> {
            self.shown.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let answer = self.answer.lock().unwrap().clone().unwrap();
            Box::pin(std::future::ready(answer))
        }
    }

    #[tokio::test]
    async fn h13_a_scanner_counts_only_after_it_was_tried_and_not_when_that_failed() {
        let (trials, scanner) = (Arc::new(Trials::default()), Arc::new(Saying::default()));
        let advice = Advice { size: "s", archives: "a", encrypted: "e" };
        let asked = |answer: Result<Seen, String>| {
            *scanner.answer.lock().unwrap() = Some(answer);
            trials.of_version("1", Arc::clone(&scanner) as _, (Probe::Basic, 4096, advice))
        };
        assert!(trials.is_untried(Probe::Basic) && !trials.is_untried(Probe::None));
        assert_eq!(asked(Err("gone".into())).await, Err("gone".to_owned()));
        assert_eq!(trials.unfit().as_deref(), Some("could not be tried: gone"));
        assert_eq!(asked(Ok(Seen::NotClean)).await, Ok(Vec::new()), "it is tried again at once");
        assert!(!trials.is_untried(Probe::Basic) && trials.unfit().is_none());
        trials.doubt();
        assert!(!trials.is_untried(Probe::Basic), "a client can make it fail, but not make it untrusted");
        let shown = || scanner.shown.load(std::sync::atomic::Ordering::Relaxed);
        let before = shown();
        asked(Ok(Seen::NotClean)).await.unwrap();
        assert_eq!(shown(), before, "nor make it busy with trials");
        trials.forget();
        assert!(trials.is_untried(Probe::Basic));
        assert!(asked(Err("gone".into())).await.is_err());
        assert!(trials.unfit().is_some());
    }

    #[test]
    fn the_archives_are_small() {
        assert_eq!(ENCRYPTED_ZIP.len(), 30 + 1 + 20 + 46 + 1 + 22);
        assert!(bomb().unwrap().len() < 16 * 1024);
    }
}

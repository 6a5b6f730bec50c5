//! Lines to a file that is put aside when it is large or old, by the gateway itself or by something else.
//!
//! The file is opened anew when what stands at its path is another one, so that `logrotate` may move it at any time; between two lines
//! only, so that no line is divided.
//!
//! A file that cannot be put aside is written on to: a record in a file that is too long is worth more than one that is nowhere.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;

use super::stream::Pending;
use super::{Outlet, OutletError};
use crate::audit::settings::{FileSettings, Rotation};
use crate::base::clock::system_time;
use crate::base::{Clock, SystemClock, clock};
use crate::telemetry::Seldom;

/// Names and keys of objects are in it: not for every user of the machine.
const MODE: u32 = 0o640;

/// The time in the name of a file that was put aside, with 0 for every digit.
const TIME_SHAPE: &str = "00000000T000000.000Z";
/// How the names of files that were put aside end: as they were written, compressed, and on the way there.
const PLAIN: &str = "";
const COMPRESSED: &str = ".gz";
const UNFINISHED: &str = ".gz.part";

/// How long a file that could not be put aside, or opened anew, is written on to before that is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// A file that is put aside.
pub(super) struct RotatingFile {
    settings: FileSettings,
    file: File,
    /// Bytes in it, as far as it is a regular file.
    length: u64,
    begun: SystemTime,
    pending: Pending,
    tidier: Option<Tidier>,
    /// When to try again what has failed.
    retry: Option<Instant>,
    troubles: u64,
    warnings: Seldom,
}

impl RotatingFile {
    /// Opens the file, at its end if it exists. What a process before left half done beside it is taken up.
    pub(super) fn open(settings: FileSettings) -> io::Result<Self> {
        let (file, metadata) = open(&settings.path)?;
        let length = metadata.len();
        // A file that was begun before the process goes on being as old as it is. Without a date of birth, the last write counts.
        let begun = if length == 0 { system_time() } else { born(&metadata) };
        let (pending, warnings) = (Pending::default(), Seldom::default());
        let mut opened =
            Self { settings, file, length, begun, pending, tidier: None, retry: None, troubles: 0, warnings };
        opened.tidy();
        Ok(opened)
    }

    /// Whether another file, or none, stands at the path.
    fn was_moved(&self) -> bool {
        let Ok(ours) = self.file.metadata() else { return false };
        match std::fs::metadata(&self.settings.path) {
            Ok(there) => (there.dev(), there.ino()) != (ours.dev(), ours.ino()),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }

    fn open_again(&mut self) -> io::Result<()> {
        let (file, metadata) = open(&self.settings.path)?;
        (self.file, self.length) = (file, metadata.len());
        self.begun = if self.length == 0 { system_time() } else { born(&metadata) };
        Ok(())
    }

    fn is_due(&self, rotation: &Rotation, more: u64) -> bool {
        let too_long = rotation.size.is_some_and(|limit| self.length + more > limit);
        let age = system_time().duration_since(self.begun).unwrap_or(Duration::ZERO);
        self.length > 0 && (too_long || rotation.every.is_some_and(|every| age >= every))
    }

    /// Opens a file that was moved anew, and puts one aside that is due. What fails is tried again later, as long as the open file is
    /// one that somebody can find.
    fn renew(&mut self, more: u64) -> io::Result<()> {
        let is_gone = self.file.metadata().is_ok_and(|ours| ours.nlink() == 0);
        if !is_gone && self.retry.is_some_and(|due| Instant::now() < due) {
            return Ok(());
        }
        self.retry = None;
        let moved = if self.was_moved() { self.open_again() } else { Ok(()) };
        let renewed = moved.and_then(|()| match &self.settings.rotation {
            Some(rotation) if self.is_due(rotation, more) => self.rotate(),
            _ => Ok(()),
        });
        match renewed {
            // A file without a name: what is written to it is lost, so it is kept until there is another.
            Err(error) if is_gone => Err(error),
            Err(error) => {
                self.retry = Some(Instant::now() + RETRY);
                self.troubles += 1;
                if let Some(held_back) = self.warnings.now() {
                    let file = self.settings.path.display();
                    tracing::error!(%error, %file, held_back, "cannot put the audit file aside; writing on to it");
                }
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn rotate(&mut self) -> io::Result<()> {
        let aside = name_aside(&self.settings.path)?;
        std::fs::rename(&self.settings.path, &aside)?;
        self.open_again()?;
        self.tidy();
        Ok(())
    }

    /// Sees to what was put aside, in a thread of its own if that may take long.
    fn tidy(&mut self) {
        let Some(rotation) = &self.settings.rotation else { return };
        if !rotation.compress {
            tidy(&self.settings.path, rotation);
            return;
        }
        if self.tidier.is_none() {
            match Tidier::start(self.settings.path.clone(), rotation.clone()) {
                Ok(tidier) => self.tidier = Some(tidier),
                Err(error) => {
                    self.troubles += 1;
                    tracing::warn!(%error, "cannot start to compress audit files; they stay as they are");
                }
            }
        }
        if let Some(tidier) = &self.tidier {
            tidier.ask();
        }
    }
}

/// A thread that sees to what was put aside, so that no record waits for it.
struct Tidier {
    /// None when it is to end.
    asked: Option<SyncSender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Tidier {
    fn start(path: PathBuf, rotation: Rotation) -> io::Result<Self> {
        let (asked, asks) = sync_channel(1);
        let work = move || asks.iter().for_each(|()| tidy(&path, &rotation));
        let thread = std::thread::Builder::new().name("audit-gzip".to_owned()).spawn(work)?;
        Ok(Self { asked: Some(asked), thread: Some(thread) })
    }

    /// Goes over the files once more. Where that is due already, it is enough.
    fn ask(&self) {
        if let Some(asked) = &self.asked {
            asked.try_send(()).ok();
        }
    }
}

impl Drop for Tidier {
    /// Waits for it.
    fn drop(&mut self) {
        self.asked = None;
        if let Some(Err(_)) = self.thread.take().map(std::thread::JoinHandle::join) {
            tracing::error!("compressing an audit file panicked");
        }
    }
}

impl Outlet for RotatingFile {
    fn deliver(&mut self, batch: &[Bytes]) -> Result<u64, OutletError> {
        let bytes: u64 = batch.iter().map(|line| line.len() as u64).sum();
        // In the middle of a line the file stays, whatever happened to its name.
        if !self.pending.is_begun() {
            self.renew(bytes)?;
        }
        self.pending.write(batch, &mut self.file)?;
        self.length += bytes;
        Ok(0)
    }

    fn reopen(&mut self) {
        if !self.pending.is_begun()
            && let Err(error) = self.open_again()
        {
            tracing::error!(%error, file = %self.settings.path.display(), "cannot open the audit file again; writing on to the old one");
        }
    }

    fn take_troubles(&mut self) -> u64 {
        std::mem::take(&mut self.troubles)
    }
}

fn open(path: &Path) -> io::Result<(File, Metadata)> {
    let file = OpenOptions::new().append(true).create(true).mode(MODE).open(path)?;
    let metadata = file.metadata()?;
    Ok((file, metadata))
}

fn born(metadata: &Metadata) -> SystemTime {
    metadata.created().or_else(|_| metadata.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// A name beside the file that nothing has: `audit.jsonl.20261122T084556.883Z`, so that names are in the order of time.
fn name_aside(path: &Path) -> io::Result<PathBuf> {
    let time = clock::rfc3339_millis(SystemClock.now()).replace(['-', ':'], "");
    let name = with_suffix(path, &format!(".{time}"));
    // Within the same millisecond names go on from the last one, which the first may be gone already.
    let same = put_aside(path, &[PLAIN, COMPRESSED])?.into_iter().filter_map(|found| {
        let rest = found.to_str()?.strip_prefix(name.to_str()?)?.trim_end_matches(COMPRESSED);
        Some(rest.strip_prefix('-').map_or(0, |number| number.parse().unwrap_or(0)))
    });
    Ok(match same.max() {
        None => name,
        Some(number) => with_suffix(&name, &format!("-{:03}", number + 1_u32)),
    })
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Replaces a file by its compressed form, which has its name only when it is complete.
fn compress(path: &Path) -> io::Result<()> {
    let (unfinished, finished) = (with_suffix(path, UNFINISHED), with_suffix(path, COMPRESSED));
    let mut plain = File::open(path)?;
    let out = OpenOptions::new().write(true).create(true).truncate(false).mode(MODE).open(&unfinished)?;
    // A second process at the same file would otherwise put its beginning in the place of what is complete here.
    out.try_lock()?;
    out.set_len(0)?;
    let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::default());
    io::copy(&mut plain, &mut encoder)?;
    let locked = encoder.finish()?;
    locked.sync_all()?;
    std::fs::rename(&unfinished, &finished)?;
    std::fs::remove_file(path)
}

/// Removes the oldest of the files that were put aside, and compresses the others, if they are to be. Those that a killed process left are
/// among them, and what it had not finished is begun again. Only names that this program gives are touched.
fn tidy(path: &Path, rotation: &Rotation) {
    let found = |endings: &[&str]| {
        let mut found = put_aside(path, endings).unwrap_or_else(|error| {
            tracing::warn!(%error, file = %path.display(), "cannot look for old audit files");
            Vec::new()
        });
        found.sort();
        found
    };
    for unfinished in found(&[UNFINISHED]) {
        // Another process may be at it.
        if File::open(&unfinished).is_ok_and(|file| file.try_lock().is_ok()) {
            remove(&unfinished);
        }
    }
    let aside = found(&[PLAIN, COMPRESSED]);
    for old in &aside[..aside.len().saturating_sub(rotation.keep)] {
        if remove(old) {
            tracing::info!(file = %old.display(), "old audit file removed");
        }
    }
    if rotation.compress {
        for aside in found(&[PLAIN]) {
            if let Err(error) = compress(&aside) {
                tracing::warn!(%error, file = %aside.display(), "cannot compress the audit file; it stays as it is");
            }
        }
    }
}

fn remove(path: &Path) -> bool {
    let removed = std::fs::remove_file(path);
    if let Err(error) = &removed {
        tracing::warn!(%error, file = %path.display(), "cannot remove an old audit file");
    }
    removed.is_ok()
}

/// The files that were put aside whose names end so, in no order.
fn put_aside(path: &Path, endings: &[&str]) -> io::Result<Vec<PathBuf>> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Ok(Vec::new());
    };
    let is_wanted = |found: &str| {
        let rest = found.strip_prefix(name).and_then(|rest| rest.strip_prefix('.'));
        rest.and_then(|rest| rest.split_at_checked(TIME_SHAPE.len())).is_some_and(|(time, rest)| {
            let shape = time.bytes().map(|byte| if byte.is_ascii_digit() { b'0' } else { byte });
            let ending = rest.strip_prefix('-').map(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()));
            shape.eq(TIME_SHAPE.bytes()) && endings.contains(&ending.unwrap_or(rest))
        })
    };
    let entries = std::fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    Ok(entries.into_iter().filter(|e| e.file_name().to_str().is_some_and(is_wanted)).map(|e| e.path()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(folder: &Path, rotation: Option<Rotation>) -> FileSettings {
        FileSettings { path: folder.join("audit.jsonl"), rotation }
    }

    fn rotation(size: Option<u64>, every: Option<Duration>, keep: usize, compress: bool) -> Option<Rotation> {
        Some(Rotation { size, every, keep, compress })
    }

    fn line(text: &str) -> Bytes {
        Bytes::from(format!("{text}\n"))
    }

    /// Everything that was written, the oldest first.
    fn read_all(folder: &Path) -> String {
        let mut aside = put_aside(&folder.join("audit.jsonl"), &[PLAIN, COMPRESSED]).unwrap();
        aside.sort();
        let mut text = String::new();
        for path in aside {
            let bytes = std::fs::read(&path).unwrap();
            match path.extension().is_some_and(|extension| extension == "gz") {
                true => {
                    assert!(io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&bytes[..]), &mut text).is_ok())
                }
                false => text.push_str(std::str::from_utf8(&bytes).unwrap()),
            }
        }
        text + &std::fs::read_to_string(folder.join("audit.jsonl")).unwrap()
    }

    #[test]
    fn a_file_is_put_aside_before_it_is_too_long_and_the_oldest_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let stranger = folder.path().join("audit.jsonl.bak");
        std::fs::write(&stranger, "not ours").unwrap();
        let mut file = RotatingFile::open(settings(folder.path(), rotation(Some(12), None, 2, false))).unwrap();
        for number in 0..10 {
            file.deliver(&[line(&format!("{number:05}")), line("x")]).unwrap();
        }
        assert_eq!(read_all(folder.path()), "00007\nx\n00008\nx\n00009\nx\n");
        assert!(stranger.exists(), "a file that is not ours is left alone");
        let mode = std::fs::metadata(folder.path().join("audit.jsonl")).unwrap().mode() & 0o777;
        assert_eq!(mode & 0o007, 0, "{mode:o}");
    }

    #[test]
    fn a_file_is_put_aside_when_it_is_old_and_compressed_if_so_wished() {
        let folder = tempfile::tempdir().unwrap();
        let every = Some(Duration::from_secs(3600));
        let mut file = RotatingFile::open(settings(folder.path(), rotation(None, every, 5, true))).unwrap();
        file.deliver(&[line("old")]).unwrap();
        file.begun = system_time() - Duration::from_secs(3600);
        file.deliver(&[line("new")]).unwrap();
        drop(file);
        let aside = put_aside(&folder.path().join("audit.jsonl"), &[PLAIN, COMPRESSED]).unwrap();
        assert!(aside.len() == 1 && aside[0].extension().unwrap() == "gz", "{aside:?}");
        assert_eq!(read_all(folder.path()), "old\nnew\n");
    }

    #[test]
    fn what_another_process_is_compressing_is_left_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let aside = folder.path().join("audit.jsonl.20261122T084556.883Z");
        std::fs::write(&aside, "old\n").unwrap();
        let unfinished = with_suffix(&aside, UNFINISHED);
        std::fs::write(&unfinished, "half").unwrap();
        let others = File::open(&unfinished).unwrap();
        others.try_lock().unwrap();
        let begin = || drop(RotatingFile::open(settings(folder.path(), rotation(Some(12), None, 5, true))).unwrap());
        begin();
        assert_eq!(std::fs::read_to_string(&unfinished).unwrap(), "half");
        assert_eq!(std::fs::read_to_string(&aside).unwrap(), "old\n");
        drop(others);
        begin();
        assert!(!unfinished.exists() && !aside.exists() && with_suffix(&aside, COMPRESSED).exists());
    }

    #[test]
    fn what_a_killed_process_left_half_done_is_taken_up_at_the_start() {
        for compress in [true, false] {
            let folder = tempfile::tempdir().unwrap();
            let at = |name: &str| folder.path().join(name);
            let (aside, stranger) = ("audit.jsonl.20261122T084556.883Z-001", "audit.jsonl.20261122.gz.part");
            for name in [aside, stranger] {
                std::fs::write(at(name), "old\n").unwrap();
            }
            std::fs::write(at(&format!("{aside}.gz.part")), "half").unwrap();
            drop(RotatingFile::open(settings(folder.path(), rotation(Some(12), None, 5, compress))).unwrap());
            assert!(!at(&format!("{aside}.gz.part")).exists(), "worth nothing");
            assert_eq!((at(aside).exists(), at(&format!("{aside}.gz")).exists()), (!compress, compress));
            assert_eq!(read_all(folder.path()), "old\n");
            assert!(at(stranger).exists(), "a file that is not ours is left alone");
        }
    }

    #[test]
    fn l10_a_file_that_cannot_be_put_aside_is_written_on_to_and_put_aside_when_it_can_be() {
        let folder = tempfile::tempdir().unwrap();
        // The name is possible, but not with a time behind it: root too is refused then.
        let path = folder.path().join("a".repeat(250));
        let settings = FileSettings { path: path.clone(), rotation: rotation(Some(12), None, 2, false) };
        let mut file = RotatingFile::open(settings).unwrap();
        for number in 0..4 {
            file.deliver(&[line(&format!("{number:05}")), line("x")]).unwrap();
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "00000\nx\n00001\nx\n00002\nx\n00003\nx\n");
        assert_eq!(file.take_troubles(), 1, "not tried for each batch");
        let short = folder.path().join("audit.jsonl");
        std::fs::rename(&path, &short).unwrap();
        file.settings.path = short;
        file.retry = Some(Instant::now());
        file.deliver(&[line("new")]).unwrap();
        assert_eq!(file.take_troubles(), 0);
        assert_eq!(read_all(folder.path()), text.clone() + "new\n");
        assert_eq!(std::fs::read_to_string(folder.path().join("audit.jsonl")).unwrap(), "new\n");
    }

    #[test]
    fn l10_a_file_that_is_gone_and_cannot_be_opened_anew_takes_no_record() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = RotatingFile::open(settings(folder.path(), None)).unwrap();
        std::fs::remove_file(folder.path().join("audit.jsonl")).unwrap();
        std::fs::create_dir(folder.path().join("audit.jsonl")).unwrap();
        assert!(file.deliver(&[line("one")]).is_err());
        std::fs::remove_dir(folder.path().join("audit.jsonl")).unwrap();
        file.deliver(&[line("one")]).unwrap();
        assert_eq!(read_all(folder.path()), "one\n");
    }

    #[test]
    fn a_file_that_something_else_has_moved_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = RotatingFile::open(settings(folder.path(), None)).unwrap();
        file.deliver(&[line("one")]).unwrap();
        let (path, moved) = (folder.path().join("audit.jsonl"), folder.path().join("audit.jsonl.1"));
        std::fs::rename(&path, &moved).unwrap();
        file.deliver(&[line("two")]).unwrap();
        let read = |path: &Path| std::fs::read_to_string(path).unwrap();
        assert_eq!((read(&moved).as_str(), read(&path).as_str()), ("one\n", "two\n"));
        std::fs::write(folder.path().join("other"), "").unwrap();
        std::fs::rename(folder.path().join("other"), &path).unwrap();
        file.deliver(&[line("three")]).unwrap();
        assert_eq!(read(&path), "three\n");
    }
}

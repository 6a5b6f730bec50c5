//! Lines to a file that is put aside when it is large or old, by the gateway itself or by something else.
//!
//! The file is opened anew when what stands at its path is another one, so that `logrotate` may move it at any time; between two lines
//! only, so that no line is divided.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::stream::Pending;
use super::{Outlet, OutletError};
use crate::audit::settings::{FileSettings, Rotation};
use crate::base::clock::system_time;
use crate::base::{Clock, SystemClock, clock};

/// Names and keys of objects are in it: not for every user of the machine.
const MODE: u32 = 0o640;

/// A file that is put aside.
pub(super) struct RotatingFile {
    settings: FileSettings,
    file: File,
    /// Bytes in it, as far as it is a regular file.
    length: u64,
    begun: SystemTime,
    pending: Pending,
    compressing: Option<std::thread::JoinHandle<()>>,
}

impl RotatingFile {
    /// Opens the file, at its end if it exists.
    pub(super) fn open(settings: FileSettings) -> io::Result<Self> {
        let (file, metadata) = open(&settings.path)?;
        let length = metadata.len();
        // A file that was begun before the process goes on being as old as it is. Without a date of birth, the last write counts.
        let begun = if length == 0 { system_time() } else { born(&metadata) };
        Ok(Self { settings, file, length, begun, pending: Pending::default(), compressing: None })
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

    fn rotate(&mut self, rotation: &Rotation) -> io::Result<()> {
        let aside = name_aside(&self.settings.path)?;
        std::fs::rename(&self.settings.path, &aside)?;
        self.open_again()?;
        if rotation.compress {
            self.wait_for_compression();
            let (path, keep) = (self.settings.path.clone(), rotation.keep);
            let compress = move || {
                if let Err(error) = compress(&aside) {
                    tracing::warn!(%error, file = %aside.display(), "cannot compress the audit file; it stays as it is");
                }
                remove_old(&path, keep);
            };
            self.compressing = Some(std::thread::Builder::new().name("audit-gzip".to_owned()).spawn(compress)?);
        } else {
            remove_old(&self.settings.path, rotation.keep);
        }
        Ok(())
    }

    fn wait_for_compression(&mut self) {
        if let Some(Err(_)) = self.compressing.take().map(std::thread::JoinHandle::join) {
            tracing::error!("compressing an audit file panicked");
        }
    }
}

impl Outlet for RotatingFile {
    fn deliver(&mut self, batch: &[Bytes]) -> Result<u64, OutletError> {
        let bytes: u64 = batch.iter().map(|line| line.len() as u64).sum();
        // In the middle of a line the file stays, whatever happened to its name.
        if !self.pending.is_begun() {
            if self.was_moved() {
                self.open_again()?;
            }
            if let Some(rotation) = self.settings.rotation.clone()
                && self.is_due(&rotation, bytes)
            {
                self.rotate(&rotation)?;
            }
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
}

impl Drop for RotatingFile {
    fn drop(&mut self) {
        self.wait_for_compression();
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
    let same = put_aside(path)?.into_iter().filter_map(|found| {
        let rest = found.to_str()?.strip_prefix(name.to_str()?)?.trim_end_matches(".gz");
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
    let (unfinished, finished) = (with_suffix(path, ".gz.part"), with_suffix(path, ".gz"));
    let out = OpenOptions::new().write(true).create(true).truncate(true).mode(MODE).open(&unfinished)?;
    let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::default());
    io::copy(&mut File::open(path)?, &mut encoder)?;
    encoder.finish()?.sync_all()?;
    std::fs::rename(&unfinished, &finished)?;
    std::fs::remove_file(path)
}

/// Removes the oldest of the files that were put aside. Only names that this program gives are touched.
fn remove_old(path: &Path, keep: usize) {
    let mut aside = match put_aside(path) {
        Ok(aside) => aside,
        Err(error) => {
            tracing::warn!(%error, file = %path.display(), "cannot look for old audit files");
            return;
        }
    };
    aside.sort();
    let surplus = aside.len().saturating_sub(keep);
    for old in aside.into_iter().take(surplus) {
        match std::fs::remove_file(&old) {
            Ok(()) => tracing::info!(file = %old.display(), "old audit file removed"),
            Err(error) => tracing::warn!(%error, file = %old.display(), "cannot remove an old audit file"),
        }
    }
}

/// The files that were put aside, in no order.
fn put_aside(path: &Path) -> io::Result<Vec<PathBuf>> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Ok(Vec::new());
    };
    let is_ours = |found: &str| {
        let rest = found.strip_prefix(name).and_then(|rest| rest.strip_prefix('.'));
        let rest = rest.map(|rest| rest.strip_suffix(".gz").unwrap_or(rest));
        rest.is_some_and(|rest| {
            let (time, number) = rest.split_once('-').unwrap_or((rest, "0"));
            let shape: Vec<_> = time.bytes().map(|byte| if byte.is_ascii_digit() { b'0' } else { byte }).collect();
            shape == b"00000000T000000.000Z" && number.bytes().all(|byte| byte.is_ascii_digit())
        })
    };
    let entries = std::fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    Ok(entries.into_iter().filter(|entry| entry.file_name().to_str().is_some_and(is_ours)).map(|e| e.path()).collect())
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
        let mut aside = put_aside(&folder.join("audit.jsonl")).unwrap();
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
        let aside = put_aside(&folder.path().join("audit.jsonl")).unwrap();
        assert!(aside.len() == 1 && aside[0].extension().unwrap() == "gz", "{aside:?}");
        assert_eq!(read_all(folder.path()), "old\nnew\n");
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

//! What a configuration was made of: every file, folder and variable that was read, so that it can be told whether one has changed.
//!
//! Keeps digests and no values, because some of them are secrets.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};

use super::load::References;

type Digest = [u8; SHA256_OUTPUT_LEN];

/// Something that was read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Thing {
    /// The text of a file.
    File(PathBuf),
    /// The names in a folder.
    Folder(PathBuf),
    /// Who may read a file.
    Permissions(PathBuf),
    /// A variable of the environment.
    Variable(String),
}

impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Folder(path) => write!(f, "folder {}", path.display()),
            Self::Permissions(path) => write!(f, "permissions of {}", path.display()),
            Self::Variable(name) => write!(f, "variable {name}"),
        }
    }
}

/// Everything that was read, and what it held; a failure to read it counts as something that it held.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reads(BTreeMap<Thing, Digest>);

impl Reads {
    /// Whether everything holds what it held when it was read. Reads all of it.
    pub fn are_current(&self, references: &dyn References) -> bool {
        self.0.iter().all(|(thing, before)| now(thing, references) == *before)
    }

    /// The files and folders.
    pub fn paths(&self) -> BTreeSet<&Path> {
        let path = |thing| match thing {
            &Thing::File(ref path) | &Thing::Folder(ref path) | &Thing::Permissions(ref path) => Some(path.as_path()),
            Thing::Variable(_) => None,
        };
        self.0.keys().filter_map(path).collect()
    }

    /// What holds something else in `newer`, is new there, or is no longer needed.
    pub fn changes(&self, newer: &Self) -> BTreeSet<Thing> {
        let all = self.0.keys().chain(newer.0.keys());
        all.filter(|thing| self.0.get(thing) != newer.0.get(thing)).cloned().collect()
    }
}

/// References that note what is asked of them.
pub struct Recording<'a> {
    inner: &'a dyn References,
    reads: Mutex<Reads>,
}

impl<'a> Recording<'a> {
    /// Notes what is asked of `inner`.
    pub fn new(inner: &'a dyn References) -> Self {
        Self { inner, reads: Mutex::default() }
    }

    /// What was asked so far.
    pub fn into_reads(self) -> Reads {
        self.reads.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, thing: Thing, held: Digest) {
        self.reads.lock().unwrap_or_else(PoisonError::into_inner).0.insert(thing, held);
    }
}

impl References for Recording<'_> {
    fn env(&self, name: &str) -> Option<String> {
        let value = self.inner.env(name);
        self.note(Thing::Variable(name.to_owned()), of_variable(value.as_deref()));
        value
    }

    fn read(&self, path: &Path) -> io::Result<String> {
        let text = self.inner.read(path);
        self.note(Thing::File(path.to_owned()), of_file(&text));
        text
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        let names = self.inner.list(folder);
        self.note(Thing::Folder(folder.to_owned()), of_folder(&names));
        names
    }

    fn is_world_readable(&self, path: &Path) -> io::Result<bool> {
        let answer = self.inner.is_world_readable(path);
        self.note(Thing::Permissions(path.to_owned()), of_permissions(&answer));
        answer
    }
}

fn now(thing: &Thing, references: &dyn References) -> Digest {
    match thing {
        Thing::File(path) => of_file(&references.read(path)),
        Thing::Folder(path) => of_folder(&references.list(path)),
        Thing::Permissions(path) => of_permissions(&references.is_world_readable(path)),
        Thing::Variable(name) => of_variable(references.env(name).as_deref()),
    }
}

fn of_variable(value: Option<&str>) -> Digest {
    value.map_or_else(|| sha256(b"absent"), |value| held(value.as_bytes()))
}

fn of_file(text: &io::Result<String>) -> Digest {
    text.as_ref().map_or_else(failed, |text| held(text.as_bytes()))
}

fn of_folder(names: &io::Result<Vec<PathBuf>>) -> Digest {
    let of_names = |names: &Vec<PathBuf>| {
        let sorted: BTreeSet<_> = names.iter().collect();
        held(format!("{sorted:?}").as_bytes())
    };
    names.as_ref().map_or_else(failed, of_names)
}

fn of_permissions(answer: &io::Result<bool>) -> Digest {
    answer.as_ref().map_or_else(failed, |yes| held(&[u8::from(*yes)]))
}

fn failed(error: &io::Error) -> Digest {
    sha256(format!("failed {:?}", error.kind()).as_bytes())
}

fn held(value: &[u8]) -> Digest {
    sha256(&[b"held ", value].concat())
}

fn sha256(bytes: &[u8]) -> Digest {
    let mut out = [0; SHA256_OUTPUT_LEN];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}

#[cfg(test)]
mod tests {
    use super::super::MapReferences;
    use super::*;

    fn references(file: Option<&str>, variable: Option<&str>) -> MapReferences {
        MapReferences {
            env: variable.map(|value| ("V".to_owned(), value.to_owned())).into_iter().collect(),
            files: file.map(|text| ("/d/f".into(), text.to_owned())).into_iter().collect(),
        }
    }

    fn reads(references: &MapReferences) -> Reads {
        let recording = Recording::new(references);
        drop((recording.env("V"), recording.read(Path::new("/d/f")), recording.list(Path::new("/d"))));
        drop(recording.is_world_readable(Path::new("/d/f")));
        recording.into_reads()
    }

    #[test]
    fn what_was_read_is_current_until_it_holds_something_else() {
        let before = references(Some("a"), Some("x"));
        let read = reads(&before);
        assert!(read.are_current(&before));
        for other in [
            references(Some("b"), Some("x")),
            references(None, Some("x")),
            references(Some("a"), Some("y")),
            references(Some("a"), None),
        ] {
            assert!(!read.are_current(&other));
        }
        // A file that cannot be read is not one that holds the word for it.
        assert_ne!(reads(&references(None, None)), reads(&references(Some("failed NotFound"), Some("absent"))));
    }

    #[test]
    fn changes_are_named_and_paths_are_all_that_can_be_watched() {
        let (before, after) = (reads(&references(Some("a"), Some("x"))), reads(&references(Some("b"), Some("x"))));
        let changes: Vec<_> = before.changes(&after).iter().map(ToString::to_string).collect();
        assert_eq!(changes, ["file /d/f"]);
        assert_eq!(before.changes(&before), BTreeSet::new());
        assert_eq!(before.paths().into_iter().collect::<Vec<_>>(), [Path::new("/d"), Path::new("/d/f")]);
    }
}

//! Where problems are collected while the file is resolved, and where what it refers to is read.

use std::path::{Path as FilePath, PathBuf};

use super::super::load::References;
use super::super::node::{Node, Value};
use super::super::path::Path;
use super::super::problem::Problem;
use super::super::suggest::nearest;

/// Collects problems and finds the line of each.
pub struct Desk<'a> {
    root: &'a Node,
    references: &'a dyn References,
    problems: Vec<Problem>,
}

/// A value that stands elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// `env:NAME`.
    Env(String),
    /// `file:/path`.
    File(PathBuf),
}

impl<'a> Desk<'a> {
    /// A desk for the file of this tree, with the problems found so far.
    pub fn new(root: &'a Node, references: &'a dyn References, problems: Vec<Problem>) -> Self {
        Self { root, references, problems }
    }

    /// Everything that was reported.
    pub fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    /// Whether nothing was reported.
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }

    /// An environment variable that is not a reference of the file but a default, such as `HOME`.
    pub fn env(&self, name: &str) -> Option<String> {
        self.references.env(name)
    }

    /// Adds a problem with the value at a path.
    pub fn report(&mut self, path: &Path, message: impl Into<String>, help: impl Into<String>) {
        let (mark, path) = (self.root.mark_of(path), self.root.as_written(path));
        self.problems.push(Problem { mark, path, message: message.into(), help: help.into(), hide_value: false });
    }

    /// Adds a problem with the key at a path.
    pub fn report_key(&mut self, path: &Path, message: impl Into<String>, help: impl Into<String>) {
        let (mark, path) = (self.root.mark_of_key(path), self.root.as_written(path));
        self.problems.push(Problem { mark, path, message: message.into(), help: help.into(), hide_value: false });
    }

    /// The value of a key that must be there; reports it if it is not, unless its problem was reported already.
    pub fn required<T>(&mut self, parent: &Path, key: &str, value: Option<T>, help: &str) -> Option<T> {
        if value.is_none() && !self.is_excused(parent, key) {
            self.report(parent, format!("the key `{key}` is missing"), help);
        }
        value
    }

    /// Whether a missing key is missing because of a problem that was reported: its value, or a key that was meant to be it.
    pub fn is_excused(&self, parent: &Path, key: &str) -> bool {
        let broken = self.root.broken_keys(parent);
        broken.contains(&key)
            || broken.iter().any(|name| nearest(name, [key]).is_some())
            || self.root.get(parent).is_some_and(|node| node.broken)
    }

    /// Whether something in the list or mapping at a path has a problem, so that it cannot be said what it holds.
    pub fn is_blurred(&self, path: &Path) -> bool {
        self.root.has_broken_items(path) || !self.root.broken_keys(path).is_empty()
    }

    /// Whether the key was written at all.
    pub fn is_written(&self, path: &Path) -> bool {
        self.root.get(path).is_some_and(|node| !matches!(node.value, Value::Null))
    }

    /// Reads `env:NAME` or `file:/path`. Anything else gives `None`, unreported.
    pub fn as_reference(text: &str) -> Option<Reference> {
        text.strip_prefix("env:")
            .map(|name| Reference::Env(name.to_owned()))
            .or_else(|| text.strip_prefix("file:").map(|path| Reference::File(PathBuf::from(path))))
    }

    /// Reads a reference to a secret; anything else is reported.
    pub fn secret_reference(&mut self, path: &Path, text: &str) -> Option<Reference> {
        let found = Self::as_reference(text);
        if found.is_none() {
            self.report(
                path,
                "a secret must not stand in the file",
                "write env:NAME or file:/path, and put the value there; treat the one written here as known",
            );
        }
        found
    }

    /// What a reference stands for, without the white space around it. Never empty.
    pub fn fetch(&mut self, path: &Path, reference: &Reference, is_secret: bool) -> Option<String> {
        let value = match reference {
            Reference::Env(name) => self.fetch_env(path, name)?,
            Reference::File(file) if is_secret => self.read_secret_file(path, file)?,
            Reference::File(file) => self.read_file(path, file)?,
        };
        let value = value.trim();
        if value.is_empty() {
            self.report(path, "the value it refers to is empty", "set it before the gateway starts");
            return None;
        }
        Some(value.to_owned())
    }

    fn fetch_env(&mut self, path: &Path, name: &str) -> Option<String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || name.len() > 128 || !name.chars().all(plain) {
            self.report(
                path,
                "what follows `env:` is not the name of a variable",
                "write a name of letters, digits and `_`, such as env:STORE_SECRET_ACCESS_KEY",
            );
            return None;
        }
        let value = self.references.env(name);
        if value.is_none() {
            self.report(
                path,
                format!("the environment variable {name} is not set"),
                "set it for the process that runs the gateway, or refer to a file with file:/path",
            );
        }
        value
    }

    /// The text of a file that is named by an absolute path.
    pub fn read_file(&mut self, path: &Path, file: &FilePath) -> Option<String> {
        if !file.is_absolute() {
            self.report(
                path,
                "the path is not absolute",
                "begin it with `/`; what a relative path means depends on where the gateway is started",
            );
            return None;
        }
        match self.references.read(file) {
            Ok(text) => Some(text),
            Err(error) => {
                let help = "check the path, and that the user who runs the gateway can read the file";
                self.report(path, format!("{} cannot be read: {error}", file.display()), help);
                None
            }
        }
    }

    /// The files of a folder that is named by an absolute path.
    pub fn list_folder(&mut self, path: &Path, folder: &FilePath) -> Option<Vec<PathBuf>> {
        self.references
            .list(folder)
            .map_err(|error| {
                let help = "check the path, and that the user who runs the gateway can read the folder";
                self.report(path, format!("{} cannot be read: {error}", folder.display()), help);
            })
            .ok()
    }

    /// The same for a file with a secret, which only some users may read.
    pub fn read_secret_file(&mut self, path: &Path, file: &FilePath) -> Option<String> {
        let text = self.read_file(path, file)?;
        match self.references.is_world_readable(file) {
            Ok(false) => Some(text),
            Ok(true) => {
                let help =
                    format!("chmod 0400 or 0440 {} and give it to the user or group of the gateway", file.display());
                self.report(path, format!("{} can be read by every user of this machine", file.display()), help);
                None
            }
            Err(error) => {
                self.report(
                    path,
                    format!("the permissions of {} cannot be read: {error}", file.display()),
                    "check the path",
                );
                None
            }
        }
    }
}

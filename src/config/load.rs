//! Reads a configuration file and what it refers to: environment variables, secret files, certificates.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path as FilePath, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};

use super::de;
use super::node::{Mark, Node, SyntaxError, Value};
use super::outline::Outline;
use super::path::Path;
use super::problem::{Problem, Problems};
use super::raw::RawConfig;
use super::reads::{Reads, Recording};
use super::resolve::{self, Desk};
use super::{Config, Source, mask};

/// Where the things that a configuration refers to are read from.
pub trait References {
    /// The value of an environment variable.
    fn env(&self, name: &str) -> Option<String>;

    /// The text of a file.
    ///
    /// # Errors
    /// Whatever keeps the file from being read as UTF-8 text.
    fn read(&self, path: &FilePath) -> io::Result<String>;

    /// The files of a folder, in no order.
    ///
    /// # Errors
    /// Whatever keeps the folder from being read.
    fn list(&self, folder: &FilePath) -> io::Result<Vec<PathBuf>>;

    /// Whether every user of the machine can read the file. References that are no files of the machine say `false`.
    ///
    /// # Errors
    /// Whatever keeps the file's permissions from being read.
    fn is_world_readable(&self, path: &FilePath) -> io::Result<bool> {
        let _ = path;
        Ok(false)
    }
}

/// The environment and the file system of the process.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemReferences;

/// Far more than any configuration or certificate bundle; stops a mistaken `/dev/zero`.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

impl References for SystemReferences {
    fn env(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn read(&self, path: &FilePath) -> io::Result<String> {
        let mut text = String::new();
        let length = std::fs::File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
        if length as u64 > MAX_FILE_BYTES {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the file is larger than 16 MiB"));
        }
        Ok(text)
    }

    fn list(&self, folder: &FilePath) -> io::Result<Vec<PathBuf>> {
        std::fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect()
    }

    #[cfg(unix)]
    fn is_world_readable(&self, path: &FilePath) -> io::Result<bool> {
        use std::os::unix::fs::PermissionsExt as _;
        Ok(std::fs::metadata(path)?.permissions().mode() & 0o004 != 0)
    }
}

/// References that are given instead of read: for `countersign demo` and tests.
#[derive(Clone, Default)]
pub struct MapReferences {
    /// Environment variables.
    pub env: BTreeMap<String, String>,
    /// Files, none of them readable by everybody.
    pub files: BTreeMap<PathBuf, String>,
}

impl References for MapReferences {
    fn env(&self, name: &str) -> Option<String> {
        self.env.get(name).cloned()
    }

    fn read(&self, path: &FilePath) -> io::Result<String> {
        self.files.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn list(&self, folder: &FilePath) -> io::Result<Vec<PathBuf>> {
        Ok(self.files.keys().filter(|path| path.parent() == Some(folder)).cloned().collect())
    }
}

/// Reads and resolves a configuration file.
///
/// # Errors
/// [`Problems`] with everything that is wrong with it, not only the first thing.
pub fn load_file(path: &FilePath, references: &dyn References) -> Result<Config, Problems> {
    load(path, references).map(|loaded| loaded.config)
}

/// A configuration, and what is needed to say what changed when it is loaded again.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What is written in the file.
    pub outline: Outline,
    /// SHA-256 of the file, in hex.
    pub digest: String,
}

/// As [`load_file`], with all that was read for it, also if it has problems.
pub fn load_recorded(path: &FilePath, references: &dyn References) -> (Result<Loaded, Problems>, Reads) {
    let recording = Recording::new(references);
    let loaded = load(path, &recording);
    (loaded, recording.into_reads())
}

fn load(path: &FilePath, references: &dyn References) -> Result<Loaded, Problems> {
    let name = path.display().to_string();
    let help = "give the path of a configuration file that this user can read";
    let text =
        references.read(path).map_err(|error| Problems::unreadable(&name, format!("cannot be read: {error}"), help))?;
    let (config, outline) = load_tree(&name, &text, references)?;
    let digest = hex::encode(digest(&SHA256, text.as_bytes()));
    Ok(Loaded { config, outline, digest })
}

/// Resolves the text of a configuration file; `name` stands for the file in problems.
///
/// # Errors
/// [`Problems`] with everything that is wrong with it, not only the first thing.
pub fn load_text(name: &str, text: &str, references: &dyn References) -> Result<Config, Problems> {
    load_tree(name, text, references).map(|(config, _)| config)
}

fn load_tree(name: &str, text: &str, references: &dyn References) -> Result<(Config, Outline), Problems> {
    let fail = |problems| Problems::new(name, text, problems);
    let mut root = Node::parse(text).map_err(|error| fail(vec![not_yaml(text, error)]))?;
    if matches!(root.value, Value::Null) {
        return Err(fail(vec![problem(root.mark, "the file is empty", "start from config/countersign.yaml")]));
    }
    let mut problems: Vec<Problem> = root.take_repeated_keys().into_iter().map(repeated_key).collect();
    let raw: RawConfig = de::read(&mut root, &mut problems);
    if root.broken {
        return Err(fail(problems));
    }
    let mut desk = Desk::new(&root, references, problems);
    let config = resolve::resolve(&raw, &mut desk).map(|config| Config { source: shown(name, text), ..config });
    let problems = desk.into_problems();
    match config {
        Some(config) if problems.is_empty() => Ok((config, Outline::new(&root))),
        _ => Err(fail(problems)),
    }
}

fn shown(name: &str, text: &str) -> Source {
    let digest = hex::encode(digest(&SHA256, text.as_bytes()));
    Source { name: name.to_owned(), digest, text: mask::masked_lines(text).join("\n") }
}

fn problem(mark: Mark, message: impl Into<String>, help: &str) -> Problem {
    Problem { mark, path: Path::top(), message: message.into(), help: help.to_owned(), hide_value: false }
}

fn not_yaml(text: &str, error: SyntaxError) -> Problem {
    let help = "YAML is indented with blanks, has a blank after each `:`, and needs quotes around text with `{`, `[`, `*`, `#` or `: ` in it";
    // The parser's words may quote the line, which may hold a secret.
    let line = error.mark.line.saturating_sub(1);
    let is_shown = mask::masked_lines(text).get(line).map(String::as_str) == text.lines().nth(line);
    let message = if is_shown { format!("not valid YAML: {}", error.message) } else { "not valid YAML".to_owned() };
    problem(error.mark, message, help)
}

fn repeated_key((mark, path, first_line): (Mark, Path, usize)) -> Problem {
    let message = format!("this key is there already, in line {first_line}");
    Problem {
        mark,
        path,
        message,
        help: "keep one of the two; the second would silently replace the first".to_owned(),
        hide_value: true,
    }
}

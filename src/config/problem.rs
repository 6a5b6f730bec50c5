//! What is wrong with a configuration file, and how it is shown.

use std::collections::BTreeMap;
use std::fmt;

use super::mask::{hide_value_at, masked_lines};
use super::node::Mark;
use super::path::Path;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where in the file.
    pub mark: Mark,
    /// Which value.
    pub path: Path,
    /// What is wrong. Never holds the value of a secret.
    pub message: String,
    /// What to do.
    pub help: String,
    /// Whether the value must not be shown, because nobody knows what it is.
    pub hide_value: bool,
}

impl Problem {
    /// Line in the file, from 1; 0 if the file could not be read.
    pub fn line(&self) -> usize {
        self.mark.line
    }

    /// Column in characters, from 1; 0 if the file could not be read.
    pub fn column(&self) -> usize {
        self.mark.column
    }
}

/// Everything that is wrong with one file. Shown, it is a text for people: each problem with its line, and what to do.
#[derive(Debug, Clone)]
pub struct Problems {
    file: String,
    problems: Vec<Problem>,
    lines: BTreeMap<usize, String>,
}

impl Problems {
    /// The problems of a file, put in the order of its lines; `text` is what the file says.
    pub fn new(file: &str, text: &str, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| (problem.mark.line, problem.mark.column));
        problems.dedup_by(|a, b| a == b);
        let wanted: Vec<usize> = problems.iter().map(Problem::line).collect();
        let lines = masked_lines(text).into_iter().enumerate().map(|(at, line)| (at + 1, line));
        Self { file: file.to_owned(), problems, lines: lines.filter(|(number, _)| wanted.contains(number)).collect() }
    }

    /// The one problem that a file cannot be read.
    pub fn unreadable(file: &str, message: String, help: &str) -> Self {
        let problem =
            Problem { mark: Mark::NOWHERE, path: Path::top(), message, help: help.to_owned(), hide_value: false };
        Self { file: file.to_owned(), problems: vec![problem], lines: BTreeMap::new() }
    }

    /// The problems, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter()
    }

    /// The name of the file.
    pub fn file(&self) -> &str {
        &self.file
    }

    fn write_problem(&self, f: &mut fmt::Formatter<'_>, problem: &Problem) -> fmt::Result {
        let Mark { line, column, width } = problem.mark;
        match line {
            0 => write!(f, "{}: ", self.file)?,
            _ => write!(f, "{}:{line}:{column}: ", self.file)?,
        }
        match problem.path.steps() {
            [] => writeln!(f, "{}", plain(&problem.message))?,
            _ => writeln!(f, "{}: {}", problem.path, plain(&problem.message))?,
        }
        if let Some(text) = self.lines.get(&line) {
            let text = if problem.hide_value { hide_value_at(text, column) } else { text.clone() };
            write_snippet(f, line, &text, column, width)?;
        }
        writeln!(f, "  help: {}", plain(&problem.help))
    }
}

/// Messages quote words of the file, and the text goes to a terminal.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Longest part of a line that is shown.
const MAX_SHOWN: usize = 120;

/// The line with a caret under the problem. A hidden value may have made the line shorter than the problem's column.
fn write_snippet(f: &mut fmt::Formatter<'_>, number: usize, text: &str, column: usize, width: usize) -> fmt::Result {
    let length = text.chars().count();
    if length == 0 {
        return Ok(());
    }
    let caret = column.saturating_sub(1).min(length - 1);
    let skipped = caret.saturating_sub(MAX_SHOWN / 2) / (MAX_SHOWN / 2) * (MAX_SHOWN / 2);
    let shown: String = text.chars().skip(skipped).take(MAX_SHOWN).collect();
    let shown_length = shown.chars().count();
    let carets = "^".repeat(width.min(shown_length.saturating_sub(caret - skipped)).max(1));
    let margin = number.to_string();
    writeln!(f, "  {margin} | {shown}")?;
    writeln!(f, "  {:margin$} | {:indent$}{carets}", "", "", margin = margin.len(), indent = caret - skipped)
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            self.write_problem(f, problem)?;
        }
        let noun = if self.problems.len() == 1 { "problem" } else { "problems" };
        write!(f, "{} {noun} in {}", self.problems.len(), self.file)
    }
}

impl std::error::Error for Problems {}

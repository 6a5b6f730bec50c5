//! Compiles rule files, and decides how objects have to be shown to them.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use yara_x::errors::CompileError;
use yara_x::{Compiler, Rules, SourceCode};

use crate::inspect::yara::needs::{MAX_OVERLAP, Needs};
use crate::inspect::yara::{RuleProblem, Source};

/// Most problems that are reported of one file: the first explain the rest.
const MAX_PROBLEMS: usize = 5;

/// Compiled rules. Cheap to clone.
#[derive(Clone)]
pub struct RuleSet(Arc<Inner>);

struct Inner {
    rules: Rules,
    way: Way,
    digest: String,
}

/// How objects are shown to the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Block by block; each block begins with so many of the last bytes of the one before it.
    Blocks {
        /// The longest match, at most [`MAX_OVERLAP`].
        overlap: usize,
    },
    /// As a whole.
    Whole {
        /// Size of the largest object that is looked at.
        up_to: u64,
    },
}

impl RuleSet {
    /// Compiles rule files. With `whole_up_to`, objects are held whole up to this size if a rule needs it.
    ///
    /// # Errors
    /// [`RuleProblem`] for everything that is wrong with the files, and for each rule that needs whole objects without `whole_up_to`.
    pub fn compile(sources: &[Source], whole_up_to: Option<u64>) -> Result<Self, Vec<RuleProblem>> {
        let mut compiler = Compiler::new();
        // An `include` would read files that nobody configured, and that no digest covers.
        compiler.enable_includes(false);
        let mut problems = Vec::new();
        let mut needs = Needs::default();
        let mut digest = Context::new(&SHA256);
        for (position, source) in sources.iter().enumerate() {
            let known = compiler.errors().len();
            // The errors are all kept by the compiler.
            drop(compiler.add_source(SourceCode::from(source.text.as_str()).with_origin(&source.origin)).map(drop));
            problems.extend(problems_of(position, source, &compiler.errors()[known..]));
            needs.add(position, source);
            digest.update(&(source.text.len() as u64).to_be_bytes());
            digest.update(source.text.as_bytes());
        }
        let way = match whole_up_to {
            _ if needs.whole.is_empty() => Way::Blocks { overlap: needs.overlap.min(MAX_OVERLAP) },
            Some(up_to) => Way::Whole { up_to },
            None => {
                if problems.is_empty() {
                    problems.extend(needs.whole.iter().take(MAX_PROBLEMS).map(|reason| reason.to_problem(sources)));
                }
                Way::Whole { up_to: 0 }
            }
        };
        if !problems.is_empty() {
            return Err(problems);
        }
        digest.update(format!("{way:?} {}", yara_x::VERSION).as_bytes());
        Ok(Self(Arc::new(Inner { rules: compiler.build(), way, digest: hex::encode(digest.finish()) })))
    }

    /// The rules.
    pub(super) fn rules(&self) -> &Rules {
        &self.0.rules
    }

    /// How objects are shown to them.
    pub(super) fn way(&self) -> Way {
        self.0.way
    }

    /// How many share it.
    #[cfg(test)]
    pub(super) fn holders(&self) -> usize {
        Arc::strong_count(&self.0)
    }

    /// 64 hex digits that change with every byte of the files.
    pub(super) fn digest(&self) -> &str {
        &self.0.digest
    }
}

impl PartialEq for RuleSet {
    fn eq(&self, other: &Self) -> bool {
        self.0.digest == other.0.digest
    }
}

impl Eq for RuleSet {}

impl fmt::Debug for RuleSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RuleSet").field("way", &self.0.way).field("digest", &self.0.digest).finish_non_exhaustive()
    }
}

/// The problems of one file. What uses a module that is not there is not told beside that.
fn problems_of(position: usize, source: &Source, errors: &[CompileError]) -> Vec<RuleProblem> {
    let is_module = |error: &&CompileError| matches!(error, CompileError::UnknownModule(_));
    let modules = errors.iter().any(|error| is_module(&error));
    let told = errors.iter().filter(|error| !modules || is_module(error)).take(MAX_PROBLEMS);
    told.map(|error| problem(position, source, error)).collect()
}

fn problem(position: usize, source: &Source, error: &CompileError) -> RuleProblem {
    let label = error.labels().next();
    let line = label.as_ref().map_or(1, |label| line_at(&source.text, label.span().start()));
    let detail = label.map(|label| label.text().to_owned()).filter(|text| !text.is_empty());
    let mut message = format!("{}:{line}: {}", source.origin, error.title());
    if let Some(detail) = detail {
        message = format!("{message}: {detail}");
    }
    let help = match error {
        CompileError::UnknownModule(_) => {
            "modules (`pe`, `elf`, `hash`, `math`, …) are not built in; remove the import and the rules that use it"
        }
        CompileError::IncludeNotAllowed(_) => "name the included file under `files` too, or put it into the `folder`",
        _ => "correct the rule file; `yr check FILE` of YARA-X shows more",
    };
    RuleProblem { source: position, message, help: help.to_owned() }
}

/// The line of a position in a text, counted from 1.
pub(super) fn line_at(text: &str, position: usize) -> usize {
    text.bytes().take(position).filter(|byte| *byte == b'\n').count() + 1
}

//! What rules need to see of an object at once.
//!
//! In blocks YARA-X finds no match that does not lie in one block, leaves `filesize` and functions such as `uint16` undefined, so that
//! a rule with them silently never matches, and takes the ends of a block for the ends of the object. What can be bounded is bounded by
//! the overlap of the blocks; everything else needs the whole object. Read off the syntax tree; in doubt the answer is "whole".
//! Source: limitations in the documentation of `yara_x::blocks::Scanner` 1.22, and its `re` module for how far expressions reach.

use regex_syntax::hir::{Class, Hir, HirKind};
use yara_x_parser::ast::dfs::{DFSEvent, DFSIter};
use yara_x_parser::ast::{AST, Expr, HexSubPattern, HexToken, Pattern, PatternModifiers, Regexp, Rule, WithSpan};

use crate::inspect::yara::compile::line_at;
use crate::inspect::yara::{RuleProblem, Source};

/// Longest overlap of two blocks. A pattern that can match more bytes needs the whole object.
pub(super) const MAX_OVERLAP: usize = 64 << 10;

/// How far YARA-X follows an expression: 4096 steps forwards and backwards from an atom, of two bytes each where it is `wide`.
/// Only what it splits into parts, at gaps of any bytes, goes further.
const EXPRESSION_REACH: usize = 2 * 2 * 4096 + 256;

/// The shortest bytes that are held over for any rule.
const MIN_OVERLAP: usize = 16;

/// What a set of rules needs.
#[derive(Debug)]
pub(super) struct Needs {
    /// Bytes of the longest match of all patterns that have one.
    pub(super) overlap: usize,
    /// What needs whole objects.
    pub(super) whole: Vec<Reason>,
}

/// One use of something that needs the whole object.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reason {
    source: usize,
    line: usize,
    rule: String,
    what: String,
}

impl Default for Needs {
    fn default() -> Self {
        Self { overlap: MIN_OVERLAP, whole: Vec::new() }
    }
}

impl Needs {
    /// Adds those of a file.
    pub(super) fn add(&mut self, position: usize, source: &Source) {
        for rule in AST::from(source.text.as_str()).rules() {
            let mut reasons = Vec::new();
            for pattern in rule.patterns.iter().flatten() {
                match reach(pattern) {
                    Ok(bytes) => self.overlap = self.overlap.max(bytes),
                    Err(what) => reasons.push((pattern.identifier().span().start(), what)),
                }
            }
            condition_needs(rule, &mut reasons);
            let rule_name = rule.identifier.name;
            self.whole.extend(reasons.into_iter().map(|(at, what)| Reason {
                source: position,
                line: line_at(&source.text, at),
                rule: rule_name.to_owned(),
                what,
            }));
        }
    }
}

impl Reason {
    /// As a problem of the file.
    pub(super) fn to_problem(&self, sources: &[Source]) -> RuleProblem {
        let Self { source, line, rule, what } = self;
        let origin = sources.get(*source).map_or("", |source| source.origin.as_str());
        RuleProblem {
            source: *source,
            message: format!("{origin}:{line}: rule `{rule}`: {what} cannot be told of an object in parts"),
            help: "write `whole_up_to: 8MiB`: then objects are held in memory up to this size, and larger ones are not scannable; or \
                   write the rule without it"
                .to_owned(),
        }
    }
}

/// What the condition of a rule uses.
fn condition_needs(rule: &Rule<'_>, reasons: &mut Vec<(usize, String)>) {
    for event in DFSIter::new(&rule.condition) {
        let DFSEvent::Enter(expression) = event else { continue };
        let what = match expression {
            Expr::Filesize { .. } => "`filesize`".to_owned(),
            Expr::Entrypoint { .. } => "`entrypoint`".to_owned(),
            Expr::FuncCall(call) => format!("`{}`", call.identifier.name),
            _ => continue,
        };
        reasons.push((expression.span().start(), what));
    }
}

/// Bytes of the longest match of a pattern, at most [`MAX_OVERLAP`].
///
/// # Errors
/// What in it needs the whole object.
fn reach(pattern: &Pattern<'_>) -> Result<usize, String> {
    let name = pattern.identifier().name;
    let modifiers = pattern.modifiers();
    // A block ends in the middle of words.
    if modifiers.fullword().is_some() {
        return Err(format!("`fullword` of `{name}`"));
    }
    let plain = match pattern {
        Pattern::Text(text) => Some(text.text.value.len()),
        Pattern::Hex(hex) => longest_hex(&hex.sub_patterns),
        Pattern::Regexp(regexp) => longest_match(&regexp.regexp).map_err(|what| format!("{what} in `{name}`"))?,
    };
    plain
        .map(|bytes| widened(bytes, modifiers))
        .filter(|bytes| *bytes <= MAX_OVERLAP)
        .ok_or_else(|| format!("a match of `{name}`, which can be longer than {} KiB,", MAX_OVERLAP >> 10))
}

fn widened(bytes: usize, modifiers: &PatternModifiers<'_>) -> usize {
    let base64 = modifiers.base64().is_some() || modifiers.base64wide().is_some();
    let bytes = if base64 { bytes.saturating_mul(2).saturating_add(4) } else { bytes };
    let wide = modifiers.wide().is_some() || modifiers.base64wide().is_some();
    if wide { bytes.saturating_mul(2) } else { bytes }
}

/// `None` without a bound.
fn longest_hex(pattern: &HexSubPattern) -> Option<usize> {
    pattern.iter().try_fold(0_usize, |sum, token| {
        let bytes = match token {
            HexToken::Byte(_) | HexToken::NotByte(_) => 1,
            HexToken::Jump(jump) => jump.end? as usize,
            HexToken::Alternative(alternative) => {
                let lengths: Option<Vec<usize>> = alternative.alternatives.iter().map(longest_hex).collect();
                lengths?.into_iter().max().unwrap_or(0)
            }
        };
        sum.checked_add(bytes)
    })
}

/// `None` if a match has no bound that counts.
///
/// # Errors
/// What in the expression looks at the ends of the object.
fn longest_match(regexp: &Regexp<'_>) -> Result<Option<usize>, &'static str> {
    let parsed = regex_syntax::ParserBuilder::new()
        .unicode(false)
        .utf8(false)
        .case_insensitive(regexp.case_insensitive)
        .dot_matches_new_line(regexp.dot_matches_new_line)
        .build()
        .parse(regexp.src);
    // YARA-X reads some expressions that this parser does not.
    let Ok(hir) = parsed else { return Ok(None) };
    if !hir.properties().look_set().is_empty() {
        return Err("`^`, `$`, `\\b` or `\\B`");
    }
    let longest = hir.properties().maximum_len();
    if longest.is_some_and(|bytes| bytes <= EXPRESSION_REACH) {
        return Ok(longest);
    }
    Ok(if has_long_gap(&hir) { longest } else { Some(EXPRESSION_REACH) })
}

/// Whether any byte may be repeated so often that YARA-X may split the expression there.
fn has_long_gap(hir: &Hir) -> bool {
    match hir.kind() {
        HirKind::Repetition(repetition) => {
            let long = repetition.max.is_none_or(|max| max > 100);
            (long && is_any_byte(&repetition.sub)) || has_long_gap(&repetition.sub)
        }
        HirKind::Capture(capture) => has_long_gap(&capture.sub),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => parts.iter().any(has_long_gap),
        HirKind::Empty | HirKind::Literal(_) | HirKind::Class(_) | HirKind::Look(_) => false,
    }
}

fn is_any_byte(hir: &Hir) -> bool {
    let mut bytes = [false; 256];
    mark_single_bytes(hir, &mut bytes);
    bytes.iter().all(|marked| *marked)
}

/// Marks every byte that alone is a match. Marks all in doubt.
fn mark_single_bytes(hir: &Hir, bytes: &mut [bool; 256]) {
    match hir.kind() {
        HirKind::Class(Class::Bytes(class)) => {
            let ranges = class.iter().map(|range| usize::from(range.start())..=usize::from(range.end()));
            ranges.for_each(|range| bytes[range].fill(true));
        }
        HirKind::Class(Class::Unicode(_)) => bytes.fill(true),
        HirKind::Literal(literal) => literal.0.first().into_iter().for_each(|byte| bytes[usize::from(*byte)] = true),
        HirKind::Capture(capture) => mark_single_bytes(&capture.sub, bytes),
        HirKind::Alternation(parts) => parts.iter().for_each(|part| mark_single_bytes(part, bytes)),
        HirKind::Repetition(repetition) => mark_single_bytes(&repetition.sub, bytes),
        HirKind::Empty | HirKind::Look(_) | HirKind::Concat(_) => {}
    }
}

//! Searches a stream for patterns, so that the outcome is the same for every way to cut it into pieces.
//!
//! A match may begin at a position only when all bytes it can depend on are there: as many as the longest match, and one more for
//! the borders of words and lines. So positions are decided in order, and those at the end of a piece wait for the next. Between pieces
//! are kept the undecided bytes and the one before them. Pieces are searched where they lie; only their borders are copied.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use aho_corasick::{AhoCorasick, MatchKind, packed};
use regex_automata::meta;
use regex_automata::nfa::thompson::NFA;
use regex_automata::util::look::{Look, LookSet};
use regex_automata::util::syntax;
use regex_automata::{Input, meta::Regex};

use super::{Settings, cards};

/// Most bytes a match may have. What is kept of a stream is under four times this.
pub const MAX_MATCH: usize = 4096;
/// Small pieces are put together up to this, so that one byte at a time costs no more than many.
const COALESCED: usize = 4096;
/// Bytes that one thread may spend on the states of all expressions together.
const STATES: usize = 2 << 20;

/// Why a pattern cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// The expression is wrong.
    #[error("the expression cannot be read: {0}")]
    Syntax(String),
    /// Its matches have no bound.
    #[error("the expression has no longest match")]
    Unbounded,
    /// They may be too long.
    #[error("the expression can match {0} bytes, at most {MAX_MATCH} are possible")]
    TooLong(usize),
    /// It matches nothing at all.
    #[error("the expression matches an empty text, so everywhere")]
    Empty,
    /// It asks for the begin or the end of the object.
    #[error("the expression asks for the begin or end of the whole object")]
    Anchored,
    /// It asks for borders of words of other scripts than ASCII.
    #[error("the expression asks for borders of Unicode words")]
    UnicodeWords,
    /// All together need too much.
    #[error("the patterns together are too large: {0}")]
    TooLarge(String),
}

impl PatternError {
    /// What to do.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Syntax(_) => {
                "the syntax is that of the Rust crate regex, without Unicode classes; put the text in single quotes"
            }
            Self::Unbounded | Self::TooLong(_) => "write an upper bound in place of `*`, `+` and `{1,}`: `{1,200}`",
            Self::Empty => "write a lower bound: `{1,200}`",
            Self::Anchored => "`(?m)` before it makes `^` and `$` the borders of lines",
            Self::UnicodeWords => "leave out `(?u)`; borders of ASCII words are meant by `\\b` alone",
            Self::TooLarge(_) => "write fewer, or smaller bounds",
        }
    }
}

fn syntax() -> syntax::Config {
    syntax::Config::new().unicode(false).utf8(false)
}

/// Whether an expression can be used, and the length of its longest match.
///
/// # Errors
/// [`PatternError`] with what is wrong.
pub fn check_regex(pattern: &str) -> Result<usize, PatternError> {
    let hir =
        syntax::parse_with(pattern, &syntax()).map_err(|error| PatternError::Syntax(last_line(&error.to_string())))?;
    let longest = hir.properties().maximum_len();
    let shortest = hir.properties().minimum_len();
    let longest = longest.ok_or(PatternError::Unbounded)?;
    if longest > MAX_MATCH {
        return Err(PatternError::TooLong(longest));
    }
    if shortest.is_none_or(|shortest| shortest == 0) {
        return Err(PatternError::Empty);
    }
    let compiler = NFA::config().nfa_size_limit(Some(STATES));
    let nfa = NFA::compiler().configure(compiler).build_from_hir(&hir);
    let looks: LookSet = nfa.map_err(|error| PatternError::TooLarge(error.to_string()))?.look_set_any();
    if looks.contains(Look::Start) || looks.contains(Look::End) {
        return Err(PatternError::Anchored);
    }
    if looks.contains_word_unicode() {
        return Err(PatternError::UnicodeWords);
    }
    Ok(longest)
}

/// The errors of the parser show the expression over several lines and say at the end what is wrong.
fn last_line(text: &str) -> String {
    text.lines().last().unwrap_or(text).trim_start_matches("error: ").to_owned()
}

/// Literals up to which Teddy is faster than an automaton with its own guess at what is rare: 1.0 against 0.1 GiB/s for the private keys on
/// random bytes.
const FEW: usize = 32;

/// Patterns, compiled.
#[derive(Debug)]
pub struct Matcher {
    engines: Vec<Engine>,
    names: Vec<String>,
    /// Bytes from the first of a match to the last it can depend on, and one more.
    reach: usize,
    count: usize,
    hashing: RandomState,
}

/// A match by its place.
#[derive(Debug, Clone, Copy)]
struct Hit {
    start: usize,
    end: usize,
    name: usize,
}

#[derive(Debug)]
enum Engine {
    /// By pattern the index of its name.
    Literals(AhoCorasick, Vec<usize>),
    /// The same for a few with case: Teddy, which compares many positions at a time.
    Few(Box<packed::Searcher>, Vec<usize>),
    /// Likewise; the expressions have indices one after the other, from this.
    Regexes(Box<Regex>, usize),
    /// Likewise, the schemes.
    Cards(usize),
}

impl Engine {
    /// The leftmost match that begins at `from` or behind it.
    fn find(&self, text: &[u8], from: usize) -> Option<Hit> {
        if from >= text.len() {
            return None;
        }
        match self {
            Self::Literals(automaton, names) => {
                let input = aho_corasick::Input::new(text).span(from..text.len());
                let found = automaton.find(input)?;
                Some(Hit { start: found.start(), end: found.end(), name: names[found.pattern().as_usize()] })
            }
            Self::Few(searcher, names) => {
                let found = searcher.find_in(text, aho_corasick::Span::from(from..text.len()))?;
                Some(Hit { start: found.start(), end: found.end(), name: names[found.pattern().as_usize()] })
            }
            Self::Regexes(regex, first_name) => {
                let found = regex.search(&Input::new(text).span(from..text.len()))?;
                Some(Hit { start: found.start(), end: found.end(), name: first_name + found.pattern().as_usize() })
            }
            Self::Cards(first_name) => {
                let card = cards::find(text, from)?;
                Some(Hit { start: card.start, end: card.end, name: first_name + card.scheme })
            }
        }
    }
}

/// Literals on their way into an automaton.
#[derive(Default)]
struct Literals {
    texts: Vec<Vec<u8>>,
    names: Vec<usize>,
}

impl Literals {
    fn compile(self, ignore_case: bool) -> Result<Option<Engine>, PatternError> {
        if self.texts.is_empty() {
            return Ok(None);
        }
        if !ignore_case && (2..=FEW).contains(&self.texts.len()) {
            let mut builder = packed::Config::new().match_kind(packed::MatchKind::LeftmostFirst).builder();
            if let Some(searcher) = builder.extend(&self.texts).build() {
                return Ok(Some(Engine::Few(Box::new(searcher), self.names)));
            }
        }
        let mut builder = AhoCorasick::builder();
        builder.match_kind(MatchKind::LeftmostFirst).ascii_case_insensitive(ignore_case);
        let automaton = builder.build(&self.texts).map_err(|error| PatternError::TooLarge(error.to_string()))?;
        Ok(Some(Engine::Literals(automaton, self.names)))
    }
}

impl Matcher {
    /// Compiles the patterns.
    ///
    /// # Errors
    /// [`PatternError`] for an expression that cannot be used, or if all together are too large.
    pub fn new(settings: &Settings) -> Result<Self, PatternError> {
        let mut names = Vec::new();
        let mut name = |text: String| {
            names.push(text);
            names.len() - 1
        };
        let (mut exact, mut own) = (Literals::default(), Literals::default());
        for set in &settings.sets {
            for (pattern, bytes) in set.literals() {
                exact.names.push(name(format!("{}.{pattern}", set.as_str())));
                exact.texts.push(bytes);
            }
        }
        let lines = settings.lists.iter().flat_map(|(list, lines)| {
            let numbered = lines.iter().enumerate().filter(|(_, line)| !line.is_empty());
            numbered.map(move |(number, line)| (format!("files.{list}.{}", number + 1), line))
        });
        let literals = settings.literals.iter().map(|(pattern, text)| (format!("literals.{pattern}"), text));
        let kept = if settings.ignore_case { &mut own } else { &mut exact };
        for (pattern, text) in literals.chain(lines).filter(|(_, text)| !text.is_empty()) {
            kept.names.push(name(pattern));
            kept.texts.push(text.as_bytes().to_vec());
        }
        let built_in = settings.sets.iter().flat_map(|set| {
            set.regexes().iter().map(|(pattern, regex)| (format!("{}.{pattern}", set.as_str()), *regex))
        });
        let regexes: Vec<(String, &str)> = built_in
            .chain(settings.regexes.iter().map(|(pattern, regex)| (format!("regexes.{pattern}"), regex.as_str())))
            .collect();
        let mut longest = exact.texts.iter().chain(&own.texts).map(Vec::len).max().unwrap_or(0);
        for (_, regex) in &regexes {
            longest = longest.max(check_regex(regex)?);
        }
        let mut engines: Vec<Engine> = [exact.compile(false)?, own.compile(true)?].into_iter().flatten().collect();
        if !regexes.is_empty() {
            let expressions: Vec<&str> = regexes.iter().map(|(_, regex)| *regex).collect();
            let indices: Vec<usize> = regexes.into_iter().map(|(pattern, _)| name(pattern)).collect();
            engines.push(Engine::Regexes(Box::new(compile(&expressions)?), indices[0]));
        }
        if settings.sets.contains(&super::BuiltIn::CardNumbers) {
            let indices = cards::SCHEMES.map(|scheme| name(format!("card-numbers.{scheme}")));
            engines.push(Engine::Cards(indices[0]));
            longest = longest.max(cards::LONGEST);
        }
        Ok(Self { engines, names, reach: longest + 1, count: settings.count.max(1), hashing: RandomState::new() })
    }

    /// A search of one object.
    pub fn stream(self: &Arc<Self>) -> Stream {
        Stream {
            matcher: Arc::clone(self),
            kept: Vec::new(),
            kept_at: 0,
            decided: 0,
            resume: [0; ENGINES],
            counted_to: 0,
        }
    }
}

fn compile(expressions: &[&str]) -> Result<Regex, PatternError> {
    let config = meta::Config::new()
        .utf8_empty(false)
        .nfa_size_limit(Some(4 * STATES))
        .hybrid_cache_capacity(STATES)
        .which_captures(regex_automata::nfa::thompson::WhichCaptures::Implicit);
    let mut builder = Regex::builder();
    builder.configure(config).syntax(syntax());
    builder.build_many(expressions).map_err(|error| PatternError::TooLarge(error.to_string()))
}

/// Literals as they are, literals without case, expressions, cards.
const ENGINES: usize = 4;

/// The search of one object.
#[derive(Debug)]
pub struct Stream {
    matcher: Arc<Matcher>,
    /// Bytes whose positions are not all decided, and the one before them.
    kept: Vec<u8>,
    /// Where they begin in the object.
    kept_at: usize,
    /// No match is to be found that begins before this.
    decided: usize,
    /// Where each engine goes on behind its last match.
    resume: [usize; ENGINES],
    /// End of the last match that counted: what overlaps with it does not.
    counted_to: usize,
}

/// The matches that counted in an object and in what is packed in it. Empty if one is enough.
#[derive(Debug, Default)]
pub struct Seen(HashSet<u64>);

impl Stream {
    /// Takes the next bytes; the name of a pattern as soon as enough was found. Nothing is to be fed after that.
    pub fn feed(&mut self, piece: &[u8], seen: &mut Seen) -> Option<&str> {
        let reach = self.matcher.reach;
        if self.kept.len() + piece.len() <= COALESCED + 2 * reach {
            self.kept.extend_from_slice(piece);
            return None;
        }
        let piece_at = self.kept_at + self.kept.len();
        let mut text = std::mem::take(&mut self.kept);
        if !text.is_empty() {
            // Decide about what was kept, and about the first position of the piece, which has its byte before it only here.
            let seam = text.len();
            text.extend_from_slice(&piece[..piece.len().min(reach + 1)]);
            let found = self.decide(&text, self.kept_at, (seam + 1).min(text.len().saturating_sub(reach)), seen);
            if found.is_some() {
                return found.map(|name| self.matcher.names[name].as_str());
            }
        }
        if self.decided > piece_at || piece_at == 0 {
            let found = self.decide(piece, piece_at, piece.len().saturating_sub(reach), seen);
            if found.is_some() {
                return found.map(|name| self.matcher.names[name].as_str());
            }
            self.keep(text, piece, piece_at);
        } else {
            // The piece is shorter than the reach: all of it was put behind what was kept.
            let kept_at = self.kept_at;
            let begin = self.decided.saturating_sub(1).max(kept_at) - kept_at;
            text.drain(..begin);
            self.kept = text;
            self.kept_at = kept_at + begin;
        }
        None
    }

    /// What is still found when no more bytes come.
    pub fn finish(mut self, seen: &mut Seen) -> Option<String> {
        let text = std::mem::take(&mut self.kept);
        let found = self.decide(&text, self.kept_at, text.len(), seen);
        found.map(|name| self.matcher.names[name].clone())
    }

    /// Keeps the undecided bytes of a piece, in the memory of those before.
    fn keep(&mut self, mut memory: Vec<u8>, piece: &[u8], piece_at: usize) {
        let begin = self.decided.saturating_sub(1).max(piece_at);
        memory.clear();
        memory.extend_from_slice(&piece[begin - piece_at..]);
        self.kept = memory;
        self.kept_at = begin;
    }

    /// Looks at all positions of a text, which lies at `text_at` of the object, up to its position `limit`.
    fn decide(&mut self, text: &[u8], text_at: usize, limit: usize, seen: &mut Seen) -> Option<usize> {
        let matcher = Arc::clone(&self.matcher);
        let from = self.decided.max(text_at) - text_at;
        if limit <= from {
            return None;
        }
        let next = |engine: usize, resume: usize| {
            let begin = resume.saturating_sub(text_at).max(from);
            matcher.engines.get(engine)?.find(text, begin).filter(|hit| hit.start < limit)
        };
        let mut hits: [Option<Hit>; ENGINES] = std::array::from_fn(|engine| next(engine, self.resume[engine]));
        // The leftmost of all engines; of those that begin together the one of the first pattern.
        while let Some((engine, hit)) = hits
            .iter()
            .enumerate()
            .filter_map(|(engine, hit)| hit.map(|hit| (engine, hit)))
            .min_by_key(|(_, hit)| (hit.start, hit.name))
        {
            let end = text_at + hit.end;
            if text_at + hit.start >= self.counted_to && self.count(&text[hit.start..hit.end], seen) {
                return Some(hit.name);
            }
            if text_at + hit.start >= self.counted_to {
                self.counted_to = end;
            }
            self.resume[engine] = end;
            hits[engine] = next(engine, end);
        }
        self.decided = text_at + limit;
        None
    }

    /// Counts a match, unless the same text did count before; whether it was the last one needed.
    fn count(&self, matched: &[u8], seen: &mut Seen) -> bool {
        if self.matcher.count == 1 {
            return true;
        }
        seen.0.insert(self.matcher.hashing.hash_one(matched));
        seen.0.len() >= self.matcher.count
    }
}

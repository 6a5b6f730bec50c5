//! What the inspectors of the gateway's own process cost beside the libraries they are made of: GiB that pass in a second of CPU.
//!
//! An inspector gets an object as an upload brings it, in pieces, through its `look`, with all that belongs to it: the channel, the seams
//! between pieces. The library gets the same object as one text, and is only asked whether anything is in it. Both take turns, in the same
//! process; a ratio is made within a round. YARA-X is measured by `make bench-yara`: it is too heavy to build for this.

use std::sync::Arc;

use bytes::Bytes;
use countersign::inspect::patterns::BuiltIn;
use countersign::inspect::unpack::Limits;
use countersign::inspect::{Direction, Inspector, Subject, Verdict, content, patterns};
use regex_automata::meta;
use regex_automata::util::syntax;

use super::{Result, say};

const MIB: usize = 1 << 20;

/// Seconds of processor time that are measured at least: the kernel counts them in ticks of 4 ms here, and one object takes two ticks.
const AT_LEAST: f64 = 0.5;

/// As the configuration has it unless it says otherwise: what looks like no archive is watched for the end of one.
const UNPACK: Option<Limits> = Some(Limits { bytes: 1 << 30, depth: 2, entries: 10_000 });

/// An inspector, and the library alone.
struct Pair {
    name: String,
    inspector: Arc<dyn Inspector>,
    /// Whether anything is found in a text.
    library: Box<dyn Fn(&[u8]) -> bool>,
}

/// Measures every pair so many times with an object of so many MiB that comes in pieces of so many KiB: TLS brings 64, an upload in clear
/// text that flows 256 and more. Prints a line of JSON for each.
pub fn measure(rounds: usize, mebibytes: usize, piece: usize) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    for (what, object) in [("text", text(mebibytes * MIB)), ("random bytes", random(mebibytes * MIB))] {
        let pieces: Vec<Bytes> = object.chunks(piece << 10).map(|piece| object.slice_ref(piece)).collect();
        for Pair { name, inspector, library } in pairs()? {
            let (mut ours, mut alone) = (Vec::new(), Vec::new());
            for _ in 0..rounds {
                ours.push(gib_per_second(mebibytes, || {
                    let (feed, content) = content::channel();
                    let look = Arc::clone(&inspector).look(Arc::new(subject(object.len())), content);
                    let both = async { tokio::join!(feed.all(pieces.iter().cloned()), look).1 };
                    let is_clean = runtime.block_on(both) == Verdict::Clean;
                    if is_clean { Ok(()) } else { Err(format!("{name} finds something in {what}").into()) }
                })?);
                alone.push(gib_per_second(mebibytes, || {
                    let found = library(&object);
                    if found { Err(format!("{name}: the library finds something in {what}").into()) } else { Ok(()) }
                })?);
            }
            say(&format!("{{\"name\": \"{name}, {what}, {piece} KiB\", \"ours\": {ours:?}, \"library\": {alone:?}}}"))?;
        }
    }
    Ok(())
}

/// How fast objects of so many MiB are looked at; as many of them as it takes.
fn gib_per_second(mebibytes: usize, mut look: impl FnMut() -> Result<()>) -> Result<f64> {
    let before = cpu_seconds()?;
    let mut looks = 0.0;
    loop {
        look()?;
        looks += 1.0;
        let spent = cpu_seconds()? - before;
        if spent >= AT_LEAST {
            return Ok(looks * mebibytes as f64 / 1024.0 / spent);
        }
    }
}

fn pairs() -> Result<Vec<Pair>> {
    let mut pairs = vec![
        literals("1 literal", vec!["COUNTERSIGN-BENCH-MARKER".to_owned()])?,
        literals(
            "1,000 literals",
            (0..1000).map(|number| format!("marker-{:08x}", number * 0x9e37_79b1_u64)).collect(),
        )?,
        regexes()?,
    ];
    for set in BuiltIn::ALL {
        pairs.push(built_in(set)?);
    }
    Ok(pairs)
}

/// Numbers of cards, as near as an expression comes to them: it knows neither issuers nor check digits.
const CARDS: &str = r"\b[0-9](?:[ -]?[0-9]){12,18}\b";

/// A set that is built in, beside its literals in an automaton and its expressions in another.
fn built_in(set: BuiltIn) -> Result<Pair> {
    let texts: Vec<Vec<u8>> = set.literals().into_iter().map(|(_, text)| text).collect();
    let kind = aho_corasick::MatchKind::LeftmostFirst;
    let automaton = aho_corasick::AhoCorasick::builder().match_kind(kind).build(&texts)?;
    let expressions: Vec<&str> = match set {
        BuiltIn::CardNumbers => vec![CARDS],
        _ => set.regexes().iter().map(|(_, expression)| *expression).collect(),
    };
    let regex = regex(&expressions)?;
    let settings = patterns::Settings { sets: vec![set], count: 1, unpack: UNPACK, ..patterns::Settings::default() };
    let (has_texts, has_expressions) = (!texts.is_empty(), !expressions.is_empty());
    Ok(Pair {
        name: format!("patterns, `{}`", set.as_str()),
        inspector: patterns::build("bench", &settings)?,
        library: Box::new(move |text| {
            (has_texts && automaton.is_match(text)) || (has_expressions && regex.is_match(text))
        }),
    })
}

/// The expressions alone, over bytes as the inspector takes them.
fn regex(expressions: &[&str]) -> Result<meta::Regex> {
    let syntax = syntax::Config::new().unicode(false).utf8(false);
    let config = meta::Config::new().utf8_empty(false).hybrid_cache_capacity(2 << 20);
    Ok(meta::Regex::builder().configure(config).syntax(syntax).build_many(expressions)?)
}

fn literals(name: &str, texts: Vec<String>) -> Result<Pair> {
    let automaton =
        aho_corasick::AhoCorasick::builder().match_kind(aho_corasick::MatchKind::LeftmostFirst).build(&texts)?;
    let literals = texts.into_iter().enumerate().map(|(number, text)| (number.to_string(), text)).collect();
    let settings = patterns::Settings { literals, count: 1, unpack: UNPACK, ..patterns::Settings::default() };
    let (name, inspector) = (format!("patterns, {name}"), patterns::build("bench", &settings)?);
    Ok(Pair { name, inspector, library: Box::new(move |text| automaton.is_match(text)) })
}

fn regexes() -> Result<Pair> {
    // Such as a list against leaks has: a prefix and a length.
    let expressions = [
        r"\bAKIA[0-9A-Z]{16}\b",
        r"\bghp_[0-9A-Za-z]{36}\b",
        r"\bxox[abp]-[0-9]{10,13}-[0-9A-Za-z-]{20,80}",
        r"(?i)\bconfidential[ -]{1,3}do not (?:copy|forward)\b",
        r"\bDE[0-9]{2}(?: ?[0-9]{4}){4} ?[0-9]{2}\b",
    ];
    let regex = regex(&expressions)?;
    let regexes =
        expressions.iter().enumerate().map(|(number, text)| (number.to_string(), (*text).to_owned())).collect();
    let settings = patterns::Settings { regexes, count: 1, unpack: UNPACK, ..patterns::Settings::default() };
    let inspector = patterns::build("bench", &settings)?;
    Ok(Pair {
        name: "patterns, 5 expressions".to_owned(),
        inspector,
        library: Box::new(move |text| regex.is_match(text)),
    })
}

fn subject(length: usize) -> Subject {
    Subject {
        request_id: "bench".into(),
        principal: "token:bench".into(),
        bucket: "bkt".into(),
        key: "key".into(),
        media_type: None,
        content_encoding: None,
        length: Some(length as u64),
        direction: Direction::Upload,
    }
}

/// Lines as of a log: words, numbers, blanks, in which nothing repeats exactly.
fn text(length: usize) -> Bytes {
    let words = [
        "request", "from", "client", "GET", "status", "bucket", "upstream", "took", "bytes", "the", "and", "Key",
        "error", "xml",
    ];
    let (mut text, mut state) = (Vec::with_capacity(length + 64), 1_u64);
    while text.len() < length {
        state = next(state);
        text.extend_from_slice(words[(state >> 33) as usize % words.len()].as_bytes());
        text.push(if state % 11 == 0 { b'\n' } else { b' ' });
        if state % 5 == 0 {
            text.extend_from_slice((state >> 40).to_string().as_bytes());
            text.push(b' ');
        }
    }
    text.truncate(length);
    text.into()
}

fn random(length: usize) -> Bytes {
    let mut state = 2_u64;
    let words = std::iter::repeat_with(|| {
        state = next(state);
        (state ^ (state >> 29)).to_le_bytes()
    });
    let mut bytes: Vec<u8> = words.take(length / 8 + 1).flatten().collect();
    bytes.truncate(length);
    bytes.into()
}

fn next(state: u64) -> u64 {
    state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407)
}

/// What the kernel counted for every thread of this process.
fn cpu_seconds() -> Result<f64> {
    let mut nanoseconds = 0;
    for task in std::fs::read_dir("/proc/self/task")? {
        let counted = std::fs::read_to_string(task?.path().join("schedstat"))?;
        nanoseconds += counted.split(' ').next().unwrap_or_default().parse::<u64>()?;
    }
    Ok(nanoseconds as f64 / 1e9)
}

//! What scanners outside of this process have in common: how objects are sent to them, and what is said without asking.

use std::time::Duration;

use crate::inspect::{Subject, Verdict};

/// Largest chunk that is sent. A chunk larger than clamd's StreamMaxLength is refused whole, whatever came before it.
pub(super) const MAX_CHUNK: usize = 256 * 1024;

/// How long to look for an answer after a scanner stopped reading. It is there already, or never comes.
pub(super) const LAST_WORDS: Duration = Duration::from_secs(2);

/// What is said of an object of which nothing is sent, because it could not be looked at as a whole.
pub(super) fn unsent(subject: &Subject, max_size: u64) -> Option<Verdict> {
    if !subject.is_plain_or_gzip() {
        let coding = subject.content_encoding.as_deref().unwrap_or_default();
        return Some(Verdict::not_scannable(format!("scanners do not decode content-encoding {coding}")));
    }
    subject.length.is_some_and(|length| length > max_size).then(|| too_large(max_size))
}

/// Of an object that is larger than what is sent.
pub(super) fn too_large(max_size: u64) -> Verdict {
    Verdict::not_scannable(format!("larger than {max_size} bytes, the max_size of this inspector"))
}

/// What a name means that a scanner gives: something was found, or, with one of these beginnings, it could not look.
pub(super) fn named(name: String, not_scannable: &[String]) -> Verdict {
    let is_excuse = not_scannable.iter().any(|begin| name.starts_with(begin));
    if is_excuse { Verdict::not_scannable(name) } else { Verdict::matched(name) }
}

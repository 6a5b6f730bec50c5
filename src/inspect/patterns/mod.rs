//! Matches literals and regular expressions in this process: no server is asked.
//!
//! What is found does not depend on how the object was cut into pieces ([`matcher`]). Every pattern has a longest match, so that the
//! bytes kept between two pieces have a bound. Names of matches are `set.pattern`; the matched bytes themselves are shown to nobody.

mod built_in;
mod cards;
pub mod matcher;

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;

pub use built_in::{BuiltIn, eicar};
pub use matcher::{PatternError, check_regex};

use crate::inspect::{BuildError, Content, Inspector, Look, Subject, Verdict};
use matcher::{Matcher, Stream};

/// Bytes searched before other tasks get their turn: some 0.3 ms of the slowest patterns.
const SLICE: usize = 256 * 1024;

/// What it is configured with.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Sets that are built in.
    pub sets: Vec<BuiltIn>,
    /// Name and text of each literal.
    pub literals: Vec<(String, String)>,
    /// Name and expression.
    pub regexes: Vec<(String, String)>,
    /// Name of each list and its lines; empty lines do not count as literals.
    pub lists: Vec<(String, Vec<String>)>,
    /// Whether `literals` and `lists` match in upper and lower case (ASCII) alike.
    pub ignore_case: bool,
    /// How many different matches it takes; at least 1.
    pub count: usize,
}

/// Makes the inspector of this name.
///
/// # Errors
/// [`BuildError`] if the patterns cannot be compiled together; single mistakes are found when the configuration is read.
pub fn build(name: &str, settings: &Settings) -> Result<Arc<dyn Inspector>, BuildError> {
    let failed = |error: PatternError| BuildError { inspector: name.to_owned(), problem: error.to_string() };
    let matcher = Matcher::new(settings).map_err(failed)?;
    Ok(Arc::new(Patterns { matcher: Arc::new(matcher), digest: digest_of(settings) }))
}

/// The built-in sets come with the release, so its version is a part.
fn digest_of(settings: &Settings) -> String {
    let all = format!("patterns {} {settings:?}", env!("CARGO_PKG_VERSION"));
    hex::encode(digest(&SHA256, all.as_bytes()))
}

#[derive(Debug)]
struct Patterns {
    matcher: Arc<Matcher>,
    digest: String,
}

impl Inspector for Patterns {
    fn look(self: Arc<Self>, subject: Arc<Subject>, mut content: Content) -> Look {
        Box::pin(async move {
            if subject.is_encoded() {
                return Verdict::not_scannable("the content is encoded, and patterns do not decode it");
            }
            let mut stream = self.matcher.stream();
            loop {
                match content.next().await {
                    Ok(Some(bytes)) => {
                        if let Some(found) = search(&mut stream, bytes).await {
                            return Verdict::matched(found);
                        }
                    }
                    Ok(None) => break,
                    Err(broken_off) => return Verdict::error(broken_off.to_string()),
                }
            }
            stream.finish().map_or(Verdict::Clean, Verdict::matched)
        })
    }

    fn digest(&self) -> String {
        self.digest.clone()
    }
}

/// Searches one piece, however large, without keeping the other tasks of the thread waiting.
async fn search(stream: &mut Stream, bytes: Bytes) -> Option<String> {
    for (number, slice) in bytes.chunks(SLICE).enumerate() {
        if number > 0 {
            tokio::task::yield_now().await;
        }
        if let Some(found) = stream.feed(slice) {
            return Some(found.to_owned());
        }
    }
    None
}

#[cfg(test)]
mod tests;

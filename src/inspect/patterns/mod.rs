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

use crate::inspect::unpack::{Attempt, Limits, Sink, UnpackError};
use crate::inspect::{BuildError, Content, Inspector, Look, Subject, Verdict};
use matcher::{Matcher, Seen, Stream};

/// Bytes searched before other tasks get their turn: some 0.3 ms of the slowest patterns.
const SLICE: usize = 256 * 1024;

/// What it is configured with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
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
    /// How far archives and encodings are read through, if they are.
    pub unpack: Option<Limits>,
}

/// Makes the inspector of this name.
///
/// # Errors
/// [`BuildError`] if the patterns cannot be compiled together; single mistakes are found when the configuration is read.
pub fn build(name: &str, settings: &Settings) -> Result<Arc<dyn Inspector>, BuildError> {
    let failed = |error: PatternError| BuildError { inspector: name.to_owned(), problem: error.to_string() };
    let matcher = Matcher::new(settings).map_err(failed)?;
    Ok(Arc::new(Patterns { matcher: Arc::new(matcher), unpack: settings.unpack, digest: digest_of(settings) }))
}

/// The built-in sets come with the release, so its version is a part.
fn digest_of(settings: &Settings) -> String {
    let all = format!("patterns {} {settings:?}", env!("CARGO_PKG_VERSION"));
    hex::encode(digest(&SHA256, all.as_bytes()))
}

#[derive(Debug)]
struct Patterns {
    matcher: Arc<Matcher>,
    unpack: Option<Limits>,
    digest: String,
}

impl Inspector for Patterns {
    fn look(self: Arc<Self>, subject: Arc<Subject>, mut content: Content) -> Look {
        Box::pin(async move {
            let attempt = match Attempt::new(self.unpack, &subject) {
                Ok(attempt) => attempt,
                Err(reason) => return Verdict::not_scannable(reason),
            };
            let mut search = Search::new(&self.matcher, attempt);
            loop {
                match content.next().await {
                    Ok(Some(bytes)) => {
                        if !search.feed(bytes).await {
                            break;
                        }
                    }
                    Ok(None) => break,
                    Err(broken_off) => return Verdict::error(broken_off.to_string()),
                }
            }
            match search.finish().await {
                (Some(name), _) => Verdict::matched(name),
                (None, Some(error)) => Verdict::not_scannable(error.to_string()),
                (None, None) => Verdict::Clean,
            }
        })
    }

    fn digest(&self) -> String {
        self.digest.clone()
    }
}

/// The search of one object, and of what is packed in it.
pub(super) struct Search {
    layers: Layers,
    unpacking: Attempt,
}

impl Search {
    pub(super) fn new(matcher: &Arc<Matcher>, unpacking: Attempt) -> Self {
        Self { layers: Layers::new(matcher), unpacking }
    }

    /// Searches one piece, however large, without keeping the other tasks of the thread waiting. False if enough was found.
    pub(super) async fn feed(&mut self, bytes: Bytes) -> bool {
        for (number, slice) in bytes.chunks(SLICE).enumerate() {
            if number > 0 {
                tokio::task::yield_now().await;
            }
            if !self.layers.feed(0, slice) || !self.unpacking.feed(slice, &mut self.layers).await {
                return false;
            }
        }
        true
    }

    /// What was found, and why not everything was seen.
    pub(super) async fn finish(mut self) -> (Option<String>, Option<UnpackError>) {
        if self.layers.found.is_none() {
            self.unpacking.finish(&mut self.layers).await;
        }
        (self.layers.finish(), self.unpacking.into_failure())
    }
}

/// A stream for the object, and one for what is being unpacked in each layer.
struct Layers {
    matcher: Arc<Matcher>,
    streams: Vec<Option<Stream>>,
    seen: Seen,
    found: Option<String>,
}

impl Layers {
    fn new(matcher: &Arc<Matcher>) -> Self {
        Self { matcher: Arc::clone(matcher), streams: Vec::new(), seen: Seen::default(), found: None }
    }

    fn feed(&mut self, layer: usize, bytes: &[u8]) -> bool {
        if self.streams.len() <= layer {
            self.streams.resize_with(layer + 1, || None);
        }
        let stream = self.streams[layer].get_or_insert_with(|| self.matcher.stream());
        self.found = stream.feed(bytes, &mut self.seen).map(str::to_owned);
        self.found.is_none()
    }

    fn end(&mut self, layer: usize) -> bool {
        if let Some(stream) = self.streams.get_mut(layer).and_then(Option::take) {
            self.found = stream.finish(&mut self.seen);
        }
        self.found.is_none()
    }

    /// Ends all layers, the innermost first; those that were not complete as well.
    fn finish(&mut self) -> Option<String> {
        for layer in (0..self.streams.len()).rev() {
            if self.found.is_none() {
                self.end(layer);
            }
        }
        self.found.take()
    }
}

impl Sink for Layers {
    async fn bytes(&mut self, layer: usize, bytes: &[u8]) -> bool {
        self.feed(layer, bytes)
    }

    async fn end(&mut self, layer: usize) -> bool {
        Layers::end(self, layer)
    }
}

#[cfg(test)]
mod tests;

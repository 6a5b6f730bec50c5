//! The object, and the objects that come out of it: each is matched by itself, in blocks or as a whole.

use crate::inspect::Verdict;
use crate::inspect::unpack::Sink;
use crate::inspect::yara::compile::Way;
use crate::inspect::yara::pool::Seat;

/// New bytes in each block. Matching is not faster with more; with less the overlap costs more.
pub(super) const BLOCK: usize = 256 << 10;

/// A stream for the object, and one for what is being unpacked in each layer.
pub(super) struct Layers {
    seat: Seat,
    way: Way,
    streams: Vec<Stream>,
    /// What is known: a match, or why something was not matched.
    verdict: Verdict,
}

/// One object on its way to the thread that matches it.
enum Stream {
    /// Nothing of it has come.
    Idle,
    Blocks {
        seat: Seat,
        overlap: usize,
        block: Vec<u8>,
        base: usize,
    },
    Whole {
        seat: Seat,
        up_to: u64,
        bytes: Vec<u8>,
        /// Most bytes that it may come to have.
        limit: usize,
    },
    /// It has its verdict; what still comes of it is of no interest.
    Over,
}

impl Layers {
    /// For an object of this length, if that was declared; `seat` is the place of all its layers.
    pub(super) fn new(seat: Seat, way: Way, length: Option<u64>) -> Self {
        let object = Stream::of(seat.beside(), way, length);
        let mut layers = Self { seat, way, streams: vec![object], verdict: Verdict::Clean };
        if let (Way::Whole { up_to }, Some(length)) = (way, length)
            && length > up_to
        {
            layers.end_with(0, too_large(up_to));
        }
        layers
    }

    /// Takes bytes of a layer. False if no more bytes of any layer can change the verdict.
    pub(super) async fn feed(&mut self, layer: usize, bytes: &[u8]) -> bool {
        if self.streams.len() <= layer {
            self.streams.resize_with(layer + 1, || Stream::Idle);
        }
        let stream = &mut self.streams[layer];
        if matches!(stream, Stream::Idle) {
            *stream = Stream::of(self.seat.beside(), self.way, None);
        }
        if let Err(verdict) = stream.feed(bytes).await {
            self.end_with(layer, verdict);
        }
        self.goes_on()
    }

    async fn end(&mut self, layer: usize) -> bool {
        if let Some(stream) = self.streams.get_mut(layer) {
            let verdict = std::mem::replace(stream, Stream::Idle).finish().await;
            self.note(verdict);
        }
        self.goes_on()
    }

    /// Ends all layers, the innermost first; those that were not complete as well.
    pub(super) async fn finish(mut self) -> Verdict {
        for layer in (0..self.streams.len()).rev() {
            if !matches!(self.verdict, Verdict::Matched { .. }) {
                self.end(layer).await;
            }
        }
        self.verdict
    }

    /// What is known so far.
    pub(super) fn into_verdict(self) -> Verdict {
        self.verdict
    }

    fn end_with(&mut self, layer: usize, verdict: Verdict) {
        self.streams[layer] = Stream::Over;
        self.note(verdict);
    }

    /// A match says more than why something was not matched.
    fn note(&mut self, verdict: Verdict) {
        if self.verdict == Verdict::Clean || matches!(verdict, Verdict::Matched { .. }) {
            self.verdict = verdict;
        }
    }

    /// An object that cannot be matched itself is not looked into either: what is in it would not make it scannable.
    pub(super) fn goes_on(&self) -> bool {
        !matches!(self.verdict, Verdict::Matched { .. }) && !matches!(self.streams[0], Stream::Over)
    }
}

impl Sink for Layers {
    async fn bytes(&mut self, layer: usize, bytes: &[u8]) -> bool {
        self.feed(layer, bytes).await
    }

    async fn end(&mut self, layer: usize) -> bool {
        Layers::end(self, layer).await
    }
}

impl Stream {
    fn of(seat: Seat, way: Way, length: Option<u64>) -> Self {
        match way {
            Way::Blocks { overlap } => Self::Blocks { seat, overlap, block: Vec::new(), base: 0 },
            Way::Whole { up_to } => {
                let limit = usize::try_from(length.unwrap_or(up_to)).unwrap_or(usize::MAX);
                Self::Whole { seat, up_to, bytes: Vec::new(), limit }
            }
        }
    }

    /// Takes more of the object.
    ///
    /// # Errors
    /// The verdict, if there is one already.
    async fn feed(&mut self, mut rest: &[u8]) -> Result<(), Verdict> {
        match self {
            Self::Idle | Self::Over => Ok(()),
            Self::Whole { up_to, bytes, limit, .. } => {
                if (bytes.len() + rest.len()) as u64 > *up_to {
                    return Err(too_large(*up_to));
                }
                grow(bytes, rest.len(), *limit);
                bytes.extend_from_slice(rest);
                Ok(())
            }
            Self::Blocks { seat, overlap, block, base } => {
                let full = BLOCK + *overlap;
                while !rest.is_empty() {
                    // A full block waits here for more, so that the last one is never without new bytes.
                    if block.len() == full {
                        *block = seat.block(*base, std::mem::take(block)).await?;
                        let cut = block.len() - *overlap;
                        block.copy_within(cut.., 0);
                        block.truncate(*overlap);
                        *base += cut;
                    }
                    let (now, later) = rest.split_at(rest.len().min(full - block.len()));
                    grow(block, now.len(), full);
                    block.extend_from_slice(now);
                    rest = later;
                }
                Ok(())
            }
        }
    }

    async fn finish(self) -> Verdict {
        match self {
            Self::Idle | Self::Over => Verdict::Clean,
            Self::Blocks { seat, block, base, .. } => seat.last(base, block).await,
            Self::Whole { seat, bytes, .. } => seat.whole(bytes).await,
        }
    }
}

fn too_large(up_to: u64) -> Verdict {
    Verdict::not_scannable(format!("larger than {up_to} bytes, up to which objects are held for its rules"))
}

/// Makes room for more bytes: twice as much as before, but not more than will ever be needed.
fn grow(bytes: &mut Vec<u8>, more: usize, limit: usize) {
    if bytes.capacity() - bytes.len() < more {
        let wanted = (bytes.len() * 2).max(bytes.len() + more).min(limit.max(bytes.len() + more));
        bytes.reserve_exact(wanted - bytes.len());
    }
}

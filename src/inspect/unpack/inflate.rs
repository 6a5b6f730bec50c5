//! Deflate (RFC 1951): a piece in, a bounded piece out.

use flate2::{Decompress, FlushDecompress, Status};

use super::{Layer, Sink, Spent, Stop, UnpackError};

/// Bytes that come out at a time.
const OUTPUT: usize = 16 * 1024;

/// A deflated object inside an archive.
#[derive(Debug)]
pub(super) struct Inflate {
    state: Decompress,
    output: Vec<u8>,
}

impl Inflate {
    pub(super) fn new() -> Self {
        Self { state: Decompress::new(false), output: vec![0; OUTPUT] }
    }

    /// Compressed bytes taken so far.
    pub(super) fn taken(&self) -> u64 {
        self.state.total_in()
    }

    /// Bytes that came out so far.
    pub(super) fn given(&self) -> u64 {
        self.state.total_out()
    }

    pub(super) fn reset(&mut self) {
        self.state.reset(false);
    }

    /// Takes input until it is used up (false) or the compressed data end (true), and gives everything to the object inside.
    pub(super) async fn feed<S: Sink>(
        &mut self,
        input: &mut &[u8],
        inner: &mut Layer,
        layer: usize,
        spent: &mut Spent,
        sink: &mut S,
    ) -> Result<bool, Stop> {
        loop {
            let (taken, given) = (self.taken(), self.given());
            let status = self.state.decompress(input, &mut self.output, FlushDecompress::None);
            let status = status.map_err(|_| UnpackError::Broken("the compressed data make no sense"))?;
            let taken = usize::try_from(self.taken() - taken).expect("at most the input");
            let given = usize::try_from(self.given() - given).expect("at most the buffer");
            *input = &input[taken..];
            if given > 0 {
                spent.add_output(given)?;
                let output = &self.output[..given];
                if !sink.bytes(layer, output).await {
                    return Err(Stop::Enough);
                }
                inner.feed(output, spent, sink).await?;
                spent.breathe().await;
            }
            match status {
                Status::StreamEnd => return Ok(true),
                _ if input.is_empty() && given < OUTPUT => return Ok(false),
                _ if taken == 0 && given == 0 => {
                    return Err(UnpackError::Broken("the compressed data make no sense").into());
                }
                _ => {}
            }
        }
    }
}

/// Tells the sink and the object inside that it is complete.
pub(super) async fn end<S: Sink>(inner: &mut Layer, layer: usize, spent: &mut Spent, sink: &mut S) -> Result<(), Stop> {
    inner.finish(spent, sink).await?;
    if sink.end(layer).await { Ok(()) } else { Err(Stop::Enough) }
}

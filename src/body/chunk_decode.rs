//! Takes `aws-chunked` framing off an upload: `size[;extensions]CRLF data CRLF … 0 CRLF [trailer CRLF] CRLF`.
//!
//! Unsigned chunks only. The one trailer that is read is the checksum that the head announced; it is compared, never merged into
//! headers. Source: S3 API reference, "Protocol" of `STREAMING-UNSIGNED-PAYLOAD-TRAILER`.

use bytes::{Buf, Bytes, BytesMut};

use crate::body::digest_check::Trailing;
use crate::body::{Emit, Fault, Stage};
use crate::s3::ChecksumAlgorithm;

/// Longest chunk line. Real ones have up to 8 hex digits, and a signature of 80 bytes when signed.
const MAX_LINE: usize = 1024;
/// Longest trailer block. A real one is a checksum, under 100 bytes.
const MAX_TRAILER: usize = 1024;
/// Chunks smaller than this, but the last, may come so often before the upload is refused as abuse.
const SMALL_CHUNK: u64 = 1024;
/// S3 wants 8 KiB at least; SDKs that flush a stream send a few small ones.
const MAX_SMALL_CHUNKS: u32 = 10_000;

/// The decoder, in one of the places a framed body can be in.
#[derive(Debug)]
pub struct ChunkDecode {
    place: Place,
    line: BytesMut,
    announced: Option<(ChecksumAlgorithm, Trailing)>,
    trailer_bytes: usize,
    small_chunks: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Size,
    Data(u64),
    DataEnd,
    Trailer,
    Done,
}

impl ChunkDecode {
    /// A decoder; `announced` is the checksum of `x-amz-trailer` and where its value is put.
    pub fn new(announced: Option<(ChecksumAlgorithm, Trailing)>) -> Self {
        Self { place: Place::Size, line: BytesMut::new(), announced, trailer_bytes: 0, small_chunks: 0 }
    }

    /// Moves bytes up to the next CRLF into `line`; true if the line is complete. LF alone is not a line end.
    fn read_line(&mut self, input: &mut Bytes, limit: usize) -> Result<bool, Fault> {
        while input.has_remaining() {
            let byte = input.get_u8();
            if byte == b'\n' {
                if self.line.last() != Some(&b'\r') {
                    return Err(Fault::Chunk("a line does not end with CRLF"));
                }
                self.line.truncate(self.line.len() - 1);
                return Ok(true);
            }
            if self.line.last() == Some(&b'\r') {
                return Err(Fault::Chunk("a line has a bare CR"));
            }
            if self.line.len() == limit {
                return Err(Fault::Chunk("a line is too long"));
            }
            self.line.extend_from_slice(&[byte]);
        }
        Ok(false)
    }

    fn end_of_size_line(&mut self) -> Result<(), Fault> {
        let line = self.line.split();
        let digits = line.as_ref().split(|byte| *byte == b';').next().unwrap_or_default();
        // 15 digits are 2^60 - 1: beyond every object, and no overflow.
        let valid = (1..=15).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit);
        let text = std::str::from_utf8(digits)
            .ok()
            .filter(|_| valid)
            .ok_or(Fault::Chunk("a chunk size is not hexadecimal"))?;
        let size = u64::from_str_radix(text, 16).map_err(|_| Fault::Chunk("a chunk size is not hexadecimal"))?;
        if size > 0 && size < SMALL_CHUNK {
            self.small_chunks += 1;
            if self.small_chunks > MAX_SMALL_CHUNKS {
                return Err(Fault::Chunk("too many small chunks"));
            }
        }
        self.place = if size == 0 { Place::Trailer } else { Place::Data(size) };
        Ok(())
    }

    fn end_of_trailer_line(&mut self) -> Result<(), Fault> {
        let line = self.line.split();
        if line.is_empty() {
            self.place = Place::Done;
            return Ok(());
        }
        self.trailer_bytes += line.len();
        if self.trailer_bytes > MAX_TRAILER {
            return Err(Fault::Chunk("the trailer is too long"));
        }
        let text = std::str::from_utf8(&line).map_err(|_| Fault::Chunk("the trailer is not text"))?;
        let (name, value) = text.split_once(':').ok_or(Fault::Chunk("a trailer line has no colon"))?;
        let Some((algorithm, slot)) = &self.announced else {
            return Err(Fault::Chunk("a trailer was not announced"));
        };
        if !name.eq_ignore_ascii_case(algorithm.header().as_str()) {
            return Err(Fault::Chunk("a trailer was not announced"));
        }
        let value = algorithm.parse_value(value.trim()).ok_or(Fault::Chunk("the trailing checksum is not one"))?;
        slot.set(value).map_err(|_| Fault::Chunk("the trailing checksum appears twice"))
    }

    fn step(&mut self, input: &mut Bytes, emit: &mut Emit<'_>) -> Result<(), Fault> {
        match self.place {
            Place::Size => {
                if self.read_line(input, MAX_LINE)? {
                    self.end_of_size_line()?;
                }
            }
            Place::Data(left) => {
                let take = left.min(input.len() as u64);
                let data = input.split_to(usize::try_from(take).expect("at most the length of the input"));
                self.place = if take == left { Place::DataEnd } else { Place::Data(left - take) };
                emit(data)?;
            }
            Place::DataEnd => {
                if self.read_line(input, 1)? {
                    if !self.line.is_empty() {
                        return Err(Fault::Chunk("a chunk is longer than its size"));
                    }
                    self.place = Place::Size;
                }
            }
            Place::Trailer => {
                if self.read_line(input, MAX_TRAILER)? {
                    self.end_of_trailer_line()?;
                }
            }
            Place::Done => return Err(Fault::Chunk("bytes after the last chunk")),
        }
        Ok(())
    }
}

impl Stage for ChunkDecode {
    fn push(&mut self, mut input: Bytes, emit: &mut Emit<'_>) -> Result<(), Fault> {
        while input.has_remaining() {
            self.step(&mut input, emit)?;
        }
        Ok(())
    }

    fn finish(&mut self, _: &mut Emit<'_>) -> Result<(), Fault> {
        match (&self.announced, self.place) {
            (_, Place::Size | Place::Data(_) | Place::DataEnd | Place::Trailer) => {
                Err(Fault::Chunk("the last chunk is missing"))
            }
            (Some((_, slot)), Place::Done) if slot.get().is_none() => {
                Err(Fault::Chunk("the announced trailer is missing"))
            }
            (_, Place::Done) => Ok(()),
        }
    }
}

//! Takes `aws-chunked` framing off an upload: `size[;extensions]CRLF data CRLF … 0 CRLF [trailer CRLF] CRLF`.
//!
//! Signed chunks are held to their signatures by [`ChunkVerify`]; an extension of an unsigned one means nothing. The one trailer that is
//! read is the checksum that the head announced; it is compared, never merged into headers. What real clients do beside the grammar:
//! minio-go ends a trailer with LF CRLF, and the JavaScript SDK leaves out the last CRLF if there is no trailer.
//! Source: S3 API reference, "Protocol" of `STREAMING-UNSIGNED-PAYLOAD-TRAILER`.

use bytes::{Buf, Bytes, BytesMut};

use crate::body::chunk_verify::ChunkVerify;
use crate::body::digest_check::Trailing;
use crate::body::{Emit, Fault, Stage};
use crate::s3::ChecksumAlgorithm;
use crate::sigv4::ChunkCheck;

/// Longest chunk line. Real ones have up to 8 hex digits, and a signature of 80 bytes when signed.
const MAX_LINE: usize = 1024;
/// Longest trailer block. A real one is a checksum and a signature, under 200 bytes.
const MAX_TRAILER: usize = 1024;
/// Chunks smaller than this, but the last, may come so often before the upload is refused as abuse.
const SMALL_CHUNK: u64 = 1024;
/// The same for signed chunks: each costs a signature, and S3 takes none that is smaller but the last.
const SMALL_SIGNED_CHUNK: u64 = 8 * 1024;
/// S3 wants 8 KiB at least; SDKs that flush a stream send a few small ones.
const MAX_SMALL_CHUNKS: u32 = 10_000;

/// What may stand around the name and the value of a trailer (RFC 9110 §5.5). Nothing stands around a signature.
const BLANKS: [char; 2] = [' ', '\t'];

/// The decoder, in one of the places a framed body can be in.
#[derive(Debug)]
pub struct ChunkDecode {
    place: Place,
    line: BytesMut,
    verify: Option<ChunkVerify>,
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
    /// Behind a trailer line that ended with LF alone: CRLF must follow.
    TrailerEnd,
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LineEnd {
    Crlf,
    Lf,
}

impl ChunkDecode {
    /// A decoder; `announced` is the checksum of `x-amz-trailer` and where its value is put. With a `check` every chunk, and the
    /// trailer, must have its signature.
    pub fn new(announced: Option<(ChecksumAlgorithm, Trailing)>, check: Option<ChunkCheck>) -> Self {
        let verify = check.map(ChunkVerify::new);
        Self { place: Place::Size, line: BytesMut::new(), verify, announced, trailer_bytes: 0, small_chunks: 0 }
    }

    /// Moves bytes up to the next LF into `line`, without the line end; gives it if the line is complete.
    fn read_line(&mut self, input: &mut Bytes, limit: usize) -> Result<Option<LineEnd>, Fault> {
        while input.has_remaining() {
            let byte = input.get_u8();
            let after_cr = self.line.last() == Some(&b'\r');
            if byte == b'\n' {
                self.line.truncate(self.line.len() - usize::from(after_cr));
                return Ok(Some(if after_cr { LineEnd::Crlf } else { LineEnd::Lf }));
            }
            if after_cr {
                return Err(Fault::Chunk("a line has a bare CR"));
            }
            if self.line.len() == limit {
                return Err(Fault::Chunk("a line is too long"));
            }
            self.line.extend_from_slice(&[byte]);
        }
        Ok(None)
    }

    /// The same where LF alone is not a line end. True if the line is complete.
    fn read_crlf_line(&mut self, input: &mut Bytes, limit: usize) -> Result<bool, Fault> {
        match self.read_line(input, limit)? {
            None => Ok(false),
            Some(LineEnd::Crlf) => Ok(true),
            Some(LineEnd::Lf) => Err(Fault::Chunk("a line does not end with CRLF")),
        }
    }

    fn end_of_size_line(&mut self) -> Result<(), Fault> {
        let line = self.line.split();
        let (digits, extension) = line.split_at(memchr::memchr(b';', &line).unwrap_or(line.len()));
        // 15 digits are 2^60 - 1: beyond every object, and no overflow.
        let valid = (1..=15).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit);
        let text = std::str::from_utf8(digits)
            .ok()
            .filter(|_| valid)
            .ok_or(Fault::Chunk("a chunk size is not hexadecimal"))?;
        let size = u64::from_str_radix(text, 16).map_err(|_| Fault::Chunk("a chunk size is not hexadecimal"))?;
        self.count_small_chunk(size)?;
        if let Some(verify) = &mut self.verify {
            verify.begin(extension)?;
            if size == 0 {
                verify.end()?;
            }
        }
        self.place = if size == 0 { Place::Trailer } else { Place::Data(size) };
        Ok(())
    }

    fn count_small_chunk(&mut self, size: u64) -> Result<(), Fault> {
        let small = if self.verify.is_some() { SMALL_SIGNED_CHUNK } else { SMALL_CHUNK };
        if size > 0 && size < small {
            self.small_chunks += 1;
            if self.small_chunks > MAX_SMALL_CHUNKS {
                return Err(Fault::Chunk("too many small chunks"));
            }
        }
        Ok(())
    }

    fn end_of_trailer_line(&mut self, end: LineEnd) -> Result<(), Fault> {
        let line = self.line.split();
        if line.is_empty() {
            let ends = end == LineEnd::Crlf;
            self.place = Place::Done;
            return if ends { Ok(()) } else { Err(Fault::Chunk("a line does not end with CRLF")) };
        }
        self.trailer_bytes += line.len();
        if self.trailer_bytes > MAX_TRAILER {
            return Err(Fault::Chunk("the trailer is too long"));
        }
        if end == LineEnd::Lf {
            self.place = Place::TrailerEnd;
        }
        let text = std::str::from_utf8(&line).map_err(|_| Fault::Chunk("the trailer is not text"))?;
        let (name, value) = text.split_once(':').ok_or(Fault::Chunk("a trailer line has no colon"))?;
        self.take_trailer(&name.trim_matches(BLANKS).to_ascii_lowercase(), value)
    }

    fn take_trailer(&mut self, name: &str, value: &str) -> Result<(), Fault> {
        let text = value.trim_matches(BLANKS);
        let Some((algorithm, slot)) = &self.announced else {
            return Err(Fault::Chunk("a trailer was not announced"));
        };
        match &mut self.verify {
            Some(verify) if name == "x-amz-trailer-signature" => return verify.trailer_signature(value),
            Some(verify) => verify.trailer_field(name, text)?,
            None => {}
        }
        if name != algorithm.header_name() {
            return Err(Fault::Chunk("a trailer was not announced"));
        }
        let value = algorithm.parse_value(text).ok_or(Fault::Chunk("the trailing checksum is not one"))?;
        slot.set(value).map_err(|_| Fault::Chunk("the trailing checksum appears twice"))
    }

    /// Data of a chunk goes on as it comes; only its last piece waits for the signature.
    fn take_data(&mut self, left: u64, input: &mut Bytes, emit: &mut Emit<'_>) -> Result<(), Fault> {
        let take = left.min(input.len() as u64);
        let data = input.split_to(usize::try_from(take).expect("at most the length of the input"));
        self.place = if take == left { Place::DataEnd } else { Place::Data(left - take) };
        if let Some(verify) = &mut self.verify {
            verify.update(&data);
            if take == left {
                verify.end()?;
            }
        }
        emit(data)
    }

    fn step(&mut self, input: &mut Bytes, emit: &mut Emit<'_>) -> Result<(), Fault> {
        match self.place {
            Place::Size => {
                if self.read_crlf_line(input, MAX_LINE)? {
                    self.end_of_size_line()?;
                }
            }
            Place::Data(left) => self.take_data(left, input, emit)?,
            Place::DataEnd => {
                if self.read_crlf_line(input, 1)? {
                    if !self.line.is_empty() {
                        return Err(Fault::Chunk("a chunk is longer than its size"));
                    }
                    self.place = Place::Size;
                }
            }
            Place::Trailer => {
                if let Some(end) = self.read_line(input, MAX_TRAILER)? {
                    self.end_of_trailer_line(end)?;
                }
            }
            Place::TrailerEnd => {
                if self.read_crlf_line(input, 1)? {
                    if !self.line.is_empty() {
                        return Err(Fault::Chunk("a line does not end with CRLF"));
                    }
                    self.place = Place::Trailer;
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
        match self.place {
            Place::Size | Place::Data(_) | Place::DataEnd => return Err(Fault::Chunk("the last chunk is missing")),
            // Without the last CRLF it is clear all the same that this is the end: HTTP says so too.
            Place::Trailer if self.line.is_empty() => {}
            Place::Trailer | Place::TrailerEnd => return Err(Fault::Chunk("the trailer is cut off")),
            Place::Done => {}
        }
        let Some((_, slot)) = &self.announced else { return Ok(()) };
        if let Some(verify) = &self.verify {
            verify.trailer_end()?;
        }
        slot.get().map(|_| ()).ok_or(Fault::Chunk("the announced trailer is missing"))
    }
}

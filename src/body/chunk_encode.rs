//! Puts `aws-chunked` framing on an upload for the store: signed chunks, an unsigned or signed checksum trailer.
//!
//! Every chunk but the last has [`CHUNK`] bytes, so the framed length is known before the first byte. Pieces pass through without
//! being copied; signed chunks wait until their hash is complete.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::body::{Emit, Fault, Stage};
use crate::s3::checksum::{ChecksumAlgorithm, RunningDigest, to_base64};
use crate::sigv4::ChunkSigner;
use crate::sigv4::chunk::EMPTY_SHA256;

/// Object bytes in a chunk. Bounds what a signed upload keeps in memory; stores want 8 KiB at least.
pub const CHUNK: u64 = 64 * 1024;

/// Pieces smaller than this are copied together: a chunk is then at most 64 pieces of which no two neighbours are small.
const SMALL_PIECE: usize = 2 * 1024;

/// Length of `chunk-signature=` and 64 hex digits, with the semicolon before.
const SIGNATURE_EXTENSION: u64 = 1 + 16 + 64;

/// Which framing, decided before the request is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Framer {
    /// Whether chunks are signed.
    pub signed: bool,
    /// Checksum in the trailer.
    pub trailer: Option<ChecksumAlgorithm>,
}

impl Framer {
    /// The value of `x-amz-content-sha256` for this framing.
    pub fn content_sha256(self) -> &'static str {
        match (self.signed, self.trailer.is_some()) {
            (true, true) => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
            (true, false) => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
            (false, _) => "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        }
    }

    /// Length of the body for an object of `length` bytes.
    pub fn framed_length(self, length: u64) -> u64 {
        let extension = if self.signed { SIGNATURE_EXTENSION } else { 0 };
        let chunk = |size: u64| hex_digits(size) + extension + 2 + size + 2;
        let (full, rest) = (length / CHUNK, length % CHUNK);
        let data = full * chunk(CHUNK) + if rest > 0 { chunk(rest) } else { 0 };
        let trailer = self.trailer.map_or(0, |algorithm| {
            let value = (algorithm.value_length().div_ceil(3) * 4) as u64;
            let signature = if self.signed { "x-amz-trailer-signature:".len() as u64 + 64 + 2 } else { 0 };
            algorithm.header().as_str().len() as u64 + 1 + value + 2 + signature
        });
        data + 1 + extension + 2 + trailer + 2
    }
}

fn hex_digits(size: u64) -> u64 {
    u64::from((64 - size.max(1).leading_zeros()).div_ceil(4))
}

/// The stage that frames.
#[derive(Debug)]
pub struct ChunkEncode {
    signer: Option<ChunkSigner>,
    trailer: Option<(ChecksumAlgorithm, Option<RunningDigest>)>,
    sha256: RunningDigest,
    pieces: VecDeque<Bytes>,
    gathered: u64,
    /// Ends the chunk before. It goes out with the line of the next one: fewer pieces, and so fewer writes.
    line_end: &'static str,
}

impl ChunkEncode {
    /// Frames with signed chunks if there is a signer, and a checksum trailer if an algorithm is given.
    pub fn new(signer: Option<ChunkSigner>, trailer: Option<ChecksumAlgorithm>) -> Self {
        Self {
            signer,
            trailer: trailer.map(|algorithm| (algorithm, Some(RunningDigest::new(algorithm)))),
            sha256: RunningDigest::new(ChecksumAlgorithm::Sha256),
            pieces: VecDeque::new(),
            gathered: 0,
            line_end: "",
        }
    }

    fn gather(&mut self, piece: Bytes) {
        if let Some((_, Some(digest))) = &mut self.trailer {
            digest.update(&piece);
        }
        if self.signer.is_some() {
            self.sha256.update(&piece);
        }
        self.gathered += piece.len() as u64;
        // Small pieces are copied together: one entry a byte would cost more than the chunk.
        match self.pieces.back_mut() {
            Some(last) if piece.len() < SMALL_PIECE && last.len() < SMALL_PIECE => {
                *last = [last.as_ref(), piece.as_ref()].concat().into();
            }
            _ => self.pieces.push_back(piece),
        }
    }

    fn emit_chunk(&mut self, emit: &mut Emit<'_>) -> Result<(), Fault> {
        let extension = match &mut self.signer {
            Some(signer) => {
                let digest = std::mem::replace(&mut self.sha256, RunningDigest::new(ChecksumAlgorithm::Sha256));
                format!(";chunk-signature={}", signer.sign_chunk(&hex::encode(digest.finish(32))))
            }
            None => String::new(),
        };
        emit(Bytes::from(format!("{}{:x}{extension}\r\n", self.line_end, self.gathered)))?;
        self.line_end = "\r\n";
        self.gathered = 0;
        while let Some(piece) = self.pieces.pop_front() {
            emit(piece)?;
        }
        Ok(())
    }

    fn end(&mut self) -> String {
        let mut end = format!("{}0", self.line_end);
        if let Some(signer) = &mut self.signer {
            end.extend([";chunk-signature=", signer.sign_chunk(EMPTY_SHA256)]);
        }
        end.push_str("\r\n");
        if let Some((algorithm, digest)) = &mut self.trailer {
            let value =
                digest.take().map(|digest| to_base64(&digest.finish(algorithm.value_length()))).unwrap_or_default();
            let line = format!("{}:{value}", algorithm.header());
            end.extend([&line, "\r\n"]);
            if let Some(signer) = &mut self.signer {
                end.extend(["x-amz-trailer-signature:", signer.sign_trailer(&format!("{line}\n")), "\r\n"]);
            }
        }
        end.push_str("\r\n");
        end
    }
}

impl Stage for ChunkEncode {
    fn push(&mut self, mut input: Bytes, emit: &mut Emit<'_>) -> Result<(), Fault> {
        while !input.is_empty() {
            let room = usize::try_from(CHUNK - self.gathered).expect("a chunk fits into memory");
            let piece = input.split_to(room.min(input.len()));
            self.gather(piece);
            if self.gathered == CHUNK {
                self.emit_chunk(emit)?;
            }
        }
        Ok(())
    }

    fn finish(&mut self, emit: &mut Emit<'_>) -> Result<(), Fault> {
        if self.gathered > 0 {
            self.emit_chunk(emit)?;
        }
        emit(Bytes::from(self.end()))
    }
}

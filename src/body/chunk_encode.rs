//! Puts `aws-chunked` framing on an upload for the store: signed chunks, an unsigned or signed checksum trailer.
//!
//! Every chunk but the last has the same size, so the framed length is known before the first byte. Pieces pass through without being
//! copied. A signed chunk waits until its hash is complete; the line of an unsigned one says only its size, and goes out before its bytes.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::body::digest_check::Trailing;
use crate::body::{DigestKind, Emit, Fault, Stage};
use crate::s3::checksum::{ChecksumAlgorithm, RunningDigest, to_base64};
use crate::sigv4::ChunkSigner;
use crate::sigv4::chunk::EMPTY_SHA256;

/// Object bytes in a signed chunk. Bounds what a signed upload keeps in memory; stores want 8 KiB at least.
pub const SIGNED_CHUNK: u64 = 64 * 1024;
/// Object bytes in an unsigned chunk, of which nothing is kept: what boto3 sends. Smaller ones cut the pieces, and so the writes, in two.
pub const UNSIGNED_CHUNK: u64 = 1024 * 1024;

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
        let (largest, extension) = if self.signed { (SIGNED_CHUNK, SIGNATURE_EXTENSION) } else { (UNSIGNED_CHUNK, 0) };
        let chunk = |size: u64| hex_digits(size) + extension + 2 + size + 2;
        let (full, rest) = (length / largest, length % largest);
        let data = full * chunk(largest) + if rest > 0 { chunk(rest) } else { 0 };
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

/// Where the value of the trailer comes from.
#[derive(Debug)]
enum Checksum {
    Computed(Option<RunningDigest>),
    /// By a stage before, over the same bytes. It ends before this one, or the upload fails.
    Verified(Trailing),
}

impl Checksum {
    fn value(&mut self, length: usize) -> Option<Vec<u8>> {
        match self {
            Self::Computed(digest) => digest.take().map(|digest| digest.finish(length)),
            Self::Verified(value) => value.get().cloned(),
        }
    }
}

/// The stage that frames.
#[derive(Debug)]
pub struct ChunkEncode {
    signer: Option<ChunkSigner>,
    trailer: Option<(ChecksumAlgorithm, Checksum)>,
    sha256: RunningDigest,
    /// Of a signed chunk that is not complete.
    pieces: VecDeque<Bytes>,
    gathered: u64,
    length: u64,
    /// Object bytes for which no unsigned chunk has begun.
    left: u64,
    /// Bytes to come of the unsigned chunk that has begun.
    open: u64,
    /// Ends the chunk before. It goes out with the line of the next one: fewer pieces, and so fewer writes.
    line_end: &'static str,
}

impl ChunkEncode {
    /// Frames an object of `length` bytes, with signed chunks if there is a signer, and a checksum trailer if an algorithm is given.
    pub fn new(signer: Option<ChunkSigner>, trailer: Option<ChecksumAlgorithm>, length: u64) -> Self {
        Self {
            signer,
            trailer: trailer.map(|algorithm| (algorithm, Checksum::Computed(Some(RunningDigest::new(algorithm))))),
            sha256: RunningDigest::new(ChecksumAlgorithm::Sha256),
            pieces: VecDeque::new(),
            gathered: 0,
            length,
            left: length,
            open: 0,
            line_end: "",
        }
    }

    /// Takes the checksum of the trailer from a stage that verifies it, if there is one. To be called before the first byte.
    pub fn share_checksum(&mut self, verifies: impl FnOnce(ChecksumAlgorithm) -> Option<Trailing>) {
        if let Some((algorithm, checksum)) = &mut self.trailer
            && let Some(verified) = verifies(*algorithm)
        {
            *checksum = Checksum::Verified(verified);
        }
    }

    fn gather(&mut self, piece: Bytes) {
        self.sha256.update(&piece);
        self.gathered += piece.len() as u64;
        // Small pieces are copied together: one entry a byte would cost more than the chunk.
        match self.pieces.back_mut() {
            Some(last) if piece.len() < SMALL_PIECE && last.len() < SMALL_PIECE => {
                *last = [last.as_ref(), piece.as_ref()].concat().into();
            }
            _ => self.pieces.push_back(piece),
        }
    }

    fn emit_line(&mut self, size: u64, extension: &str, emit: &mut Emit<'_>) -> Result<(), Fault> {
        let line_end = std::mem::replace(&mut self.line_end, "\r\n");
        emit(Bytes::from(format!("{line_end}{size:x}{extension}\r\n")))
    }

    fn emit_signed(&mut self, emit: &mut Emit<'_>) -> Result<(), Fault> {
        let digest = std::mem::replace(&mut self.sha256, RunningDigest::new(ChecksumAlgorithm::Sha256));
        let Some(signer) = &mut self.signer else { return Ok(()) };
        let extension = format!(";chunk-signature={}", signer.sign_chunk(&hex::encode(digest.finish(32))));
        let size = std::mem::take(&mut self.gathered);
        self.emit_line(size, &extension, emit)?;
        while let Some(piece) = self.pieces.pop_front() {
            emit(piece)?;
        }
        Ok(())
    }

    /// Takes of the input what belongs to one signed chunk, and gives the chunk out if it is complete.
    fn push_signed(&mut self, input: &mut Bytes, emit: &mut Emit<'_>) -> Result<(), Fault> {
        let room = usize::try_from(SIGNED_CHUNK - self.gathered).expect("a chunk fits into memory");
        self.gather(input.split_to(room.min(input.len())));
        if self.gathered == SIGNED_CHUNK { self.emit_signed(emit) } else { Ok(()) }
    }

    /// Passes of the input what belongs to one unsigned chunk.
    fn push_unsigned(&mut self, input: &mut Bytes, emit: &mut Emit<'_>) -> Result<(), Fault> {
        if self.open == 0 {
            let size = self.left.min(UNSIGNED_CHUNK);
            // The length was judged before; this only keeps a chunk of no bytes, which would be the end, from going out.
            if size == 0 {
                return Err(Fault::Overrun { expected: self.length });
            }
            self.emit_line(size, "", emit)?;
            (self.open, self.left) = (size, self.left - size);
        }
        let room = usize::try_from(self.open).expect("a chunk fits into memory");
        let piece = input.split_to(room.min(input.len()));
        self.open -= piece.len() as u64;
        emit(piece)
    }

    fn end(&mut self) -> Result<String, Fault> {
        let mut end = format!("{}0", self.line_end);
        if let Some(signer) = &mut self.signer {
            end.extend([";chunk-signature=", signer.sign_chunk(EMPTY_SHA256)]);
        }
        end.push_str("\r\n");
        if let Some((algorithm, checksum)) = &mut self.trailer {
            let missing = Fault::BadDigest(DigestKind::Checksum(*algorithm));
            let value = checksum.value(algorithm.value_length()).ok_or(missing)?;
            let line = format!("{}:{}", algorithm.header(), to_base64(&value));
            end.extend([&line, "\r\n"]);
            if let Some(signer) = &mut self.signer {
                end.extend(["x-amz-trailer-signature:", signer.sign_trailer(&format!("{line}\n")), "\r\n"]);
            }
        }
        end.push_str("\r\n");
        Ok(end)
    }
}

impl Stage for ChunkEncode {
    fn push(&mut self, mut input: Bytes, emit: &mut Emit<'_>) -> Result<(), Fault> {
        if let Some((_, Checksum::Computed(Some(digest)))) = &mut self.trailer {
            digest.update(&input);
        }
        while !input.is_empty() {
            match self.signer {
                Some(_) => self.push_signed(&mut input, emit)?,
                None => self.push_unsigned(&mut input, emit)?,
            }
        }
        Ok(())
    }

    fn finish(&mut self, emit: &mut Emit<'_>) -> Result<(), Fault> {
        if self.gathered > 0 {
            self.emit_signed(emit)?;
        }
        let missing = self.open + self.left;
        if self.signer.is_none() && missing > 0 {
            return Err(Fault::Incomplete { expected: self.length, seen: self.length - missing });
        }
        emit(Bytes::from(self.end()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::digest_check::DigestCheck;
    use crate::body::{finish_through, push_through};

    const ALGORITHM: ChecksumAlgorithm = ChecksumAlgorithm::Crc32;
    /// CRC-32 of `hello`.
    const VALUE: [u8; 4] = [0x36, 0x10, 0xa6, 0x86];

    /// What goes out for `hello` that was declared with a value, through a check and a frame that shares its checksum.
    fn framed(declared: &[u8]) -> Result<String, Fault> {
        let declared_there = Trailing::default();
        declared_there.set(declared.to_vec()).unwrap();
        let check = DigestCheck::trailing(ALGORITHM, declared_there);
        let mut encode = ChunkEncode::new(None, Some(ALGORITHM), 5);
        encode.share_checksum(|algorithm| check.verifies(algorithm));
        assert!(matches!(encode.trailer, Some((_, Checksum::Verified(_)))), "nothing is computed twice");
        let mut stages: Vec<Box<dyn Stage>> = vec![Box::new(check), Box::new(encode)];
        let mut out = Vec::new();
        let mut emit = |bytes: Bytes| {
            out.extend_from_slice(&bytes);
            Ok(())
        };
        push_through(&mut stages, Bytes::from_static(b"hello"), &mut emit)?;
        finish_through(&mut stages, &mut emit)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_checksum_that_was_verified_is_sent_on_and_a_wrong_one_sends_nothing() {
        let expected = "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n";
        assert_eq!(framed(&VALUE).as_deref(), Ok(expected));
        let wrong = Fault::BadDigest(DigestKind::Checksum(ALGORITHM));
        assert_eq!(framed(&[0; 4]), Err(wrong));
    }

    #[test]
    fn a_checksum_that_nobody_has_verified_ends_the_upload_before_its_trailer() {
        let mut encode = ChunkEncode::new(None, Some(ALGORITHM), 5);
        encode.share_checksum(|_| Some(Trailing::default()));
        let mut out = 0;
        let mut emit = |bytes: Bytes| {
            out += bytes.len();
            Ok(())
        };
        encode.push(Bytes::from_static(b"hello"), &mut emit).unwrap();
        assert_eq!(encode.finish(&mut emit), Err(Fault::BadDigest(DigestKind::Checksum(ALGORITHM))));
        assert_eq!(out, "5\r\nhello".len());
    }

    #[test]
    fn a_checksum_of_another_algorithm_is_computed() {
        let check = DigestCheck::checksum(ChecksumAlgorithm::Sha1, vec![0; 20]);
        let mut encode = ChunkEncode::new(None, Some(ALGORITHM), 5);
        encode.share_checksum(|algorithm| check.verifies(algorithm));
        assert!(matches!(encode.trailer, Some((_, Checksum::Computed(Some(_))))));
    }
}

//! The bytes of an upload on their way from the client to the store.
//!
//! A chain of small [`Stage`]s that take bytes and give bytes, without I/O and without a clock; [`UploadBody`] drives them from one HTTP
//! body to the other, past the inspectors if there are any. The last stage before the wire form keeps the end back until every check behind
//! it has passed: an S3 store shows an object only when the whole declared length has arrived, so a failed check leaves nothing behind.

pub mod chunk_decode;
pub mod chunk_encode;
pub mod chunk_verify;
pub mod digest_check;
pub mod form_decode;
pub mod holdback;
pub mod inspect_tap;
pub mod length_guard;
pub mod linger;
pub mod pause;
pub mod source;
pub mod throttle;
pub mod type_check;
pub mod upload;
pub mod watch;

use std::sync::Arc;

use bytes::Bytes;

use self::digest_check::Trailing;
use crate::inspect::Outcome;
use crate::inspect::file_type::TypeMismatch;
use crate::s3::ChecksumAlgorithm;

pub use chunk_encode::{ChunkEncode, Framer};
pub use inspect_tap::Destination;
pub use linger::{LingerLimits, linger};
pub use source::{Source, StoreSource};
pub use throttle::Throttle;
pub use upload::{BodyLimits, BodyPlan, UploadBody};
pub use watch::UploadWatch;

/// Where a stage puts its output.
pub type Emit<'a> = dyn FnMut(Bytes) -> Result<(), Fault> + 'a;

/// A step of an upload: bytes in, bytes out, the same output for every split of the input.
pub trait Stage: Send {
    /// Takes the next bytes; never empty.
    ///
    /// # Errors
    /// [`Fault`] ends the upload: nothing more is forwarded and the store never sees the end.
    fn push(&mut self, input: Bytes, emit: &mut Emit<'_>) -> Result<(), Fault>;

    /// Takes the end of the body.
    ///
    /// # Errors
    /// [`Fault`] as above; this is where late checks fail.
    fn finish(&mut self, emit: &mut Emit<'_>) -> Result<(), Fault>;

    /// Where the value of a checksum stands from the end on, if this stage verifies it over all bytes.
    fn verifies(&self, _: ChecksumAlgorithm) -> Option<Trailing> {
        None
    }
}

/// Why an upload was broken off.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The body ended before its declared length.
    #[error("the body ended after {seen} of {expected} bytes")]
    Incomplete {
        /// Declared bytes.
        expected: u64,
        /// Bytes that came.
        seen: u64,
    },
    /// The body went on after its declared length.
    #[error("the body is longer than the declared {expected} bytes")]
    Overrun {
        /// Declared bytes.
        expected: u64,
    },
    /// The object is larger than the rule allows.
    #[error("the object is larger than {max} bytes")]
    TooLarge {
        /// Most bytes allowed.
        max: u64,
    },
    /// The object is smaller than the rule allows.
    #[error("the object is smaller than {min} bytes")]
    TooSmall {
        /// Fewest bytes allowed.
        min: u64,
    },
    /// A declared digest does not fit.
    #[error("the declared {0} does not fit the body")]
    BadDigest(DigestKind),
    /// The first bytes do not fit the declared type.
    #[error(transparent)]
    Type(#[from] TypeMismatch),
    /// The `aws-chunked` framing is broken.
    #[error("aws-chunked framing: {0}")]
    Chunk(&'static str),
    /// A browser form does not end as it should.
    #[error("the form is not well-formed: {0}")]
    Form(&'static str),
    /// A signature of the `aws-chunked` framing is missing or does not fit.
    #[error("{0}")]
    ChunkSignature(&'static str),
    /// The client went away, or broke HTTP framing.
    #[error("the client broke off the upload")]
    ClientGone,
    /// The store broke off an object that is read there to be stored again.
    #[error("the store broke off the source of the copy")]
    SourceGone,
    /// The client sent nothing for too long.
    #[error("no byte of the body for {seconds} s")]
    ClientIdle {
        /// The limit.
        seconds: u64,
    },
    /// The fields of a form did not come in time. Nobody is known by then.
    #[error("the fields of the form did not arrive within {seconds} s")]
    FieldsLate {
        /// The limit.
        seconds: u64,
    },
    /// The client sent too slowly.
    #[error("less than {min_rate} bytes per second of the body")]
    ClientSlow {
        /// The limit.
        min_rate: u64,
    },
    /// The inspectors' verdicts do not let the object through.
    #[error("{0}")]
    Inspection(Arc<Outcome>),
    /// The store answered early, so the rest of the body is of no use.
    #[error("the store answered before the end of the body")]
    Superseded,
}

/// What a digest was declared as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DigestKind {
    /// `Content-MD5`.
    ContentMd5,
    /// `x-amz-content-sha256`.
    ContentSha256,
    /// `x-amz-checksum-*`, as header or trailer.
    Checksum(ChecksumAlgorithm),
}

impl std::fmt::Display for DigestKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ContentMd5 => f.write_str("Content-MD5"),
            Self::ContentSha256 => f.write_str("x-amz-content-sha256"),
            Self::Checksum(algorithm) => f.write_str(algorithm.header().as_str()),
        }
    }
}

/// Runs bytes through a chain of stages into `out`.
pub(crate) fn push_through(stages: &mut [Box<dyn Stage>], input: Bytes, out: &mut Emit<'_>) -> Result<(), Fault> {
    match stages.split_first_mut() {
        None => out(input),
        Some((first, rest)) => first.push(input, &mut |bytes| push_through(rest, bytes, out)),
    }
}

/// Ends a chain of stages: each is finished after everything the one before it gave out at its end went through.
pub(crate) fn finish_through(stages: &mut [Box<dyn Stage>], out: &mut Emit<'_>) -> Result<(), Fault> {
    let mut stages = stages;
    while let Some((first, rest)) = stages.split_first_mut() {
        first.finish(&mut |bytes| push_through(rest, bytes, out))?;
        stages = rest;
    }
    Ok(())
}

#[cfg(test)]
#[path = "stage_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "signed_chunk_tests.rs"]
mod signed_chunk_tests;

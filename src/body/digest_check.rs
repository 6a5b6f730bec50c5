//! Compares an object with the digests its client declared.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use subtle::ConstantTimeEq;

use crate::body::{DigestKind, Emit, Fault, Stage};
use crate::s3::checksum::{ChecksumAlgorithm, RunningDigest};

/// A value that is known only at the end of the body, filled in by the stage that reads or verifies it there.
pub type Trailing = Arc<OnceLock<Vec<u8>>>;

/// One declared digest.
#[derive(Debug)]
pub struct DigestCheck {
    kind: DigestKind,
    digest: Option<RunningDigest>,
    expected: Expected,
    verified: Trailing,
}

#[derive(Debug)]
enum Expected {
    Declared(Vec<u8>),
    Trailing(Trailing),
}

impl DigestCheck {
    /// Checks an `x-amz-checksum-*` given in the head.
    pub fn checksum(algorithm: ChecksumAlgorithm, value: Vec<u8>) -> Self {
        Self::new(DigestKind::Checksum(algorithm), RunningDigest::new(algorithm), Expected::Declared(value))
    }

    /// Checks an `x-amz-checksum-*` that stands behind the body.
    pub fn trailing(algorithm: ChecksumAlgorithm, value: Trailing) -> Self {
        Self::new(DigestKind::Checksum(algorithm), RunningDigest::new(algorithm), Expected::Trailing(value))
    }

    /// Checks an `x-amz-content-sha256`.
    pub fn content_sha256(value: [u8; 32]) -> Self {
        let digest = RunningDigest::new(ChecksumAlgorithm::Sha256);
        Self::new(DigestKind::ContentSha256, digest, Expected::Declared(value.to_vec()))
    }

    /// Checks a `Content-MD5`.
    pub fn content_md5(value: Vec<u8>) -> Self {
        Self::new(DigestKind::ContentMd5, RunningDigest::md5(), Expected::Declared(value))
    }

    fn new(kind: DigestKind, digest: RunningDigest, expected: Expected) -> Self {
        Self { kind, digest: Some(digest), expected, verified: Trailing::default() }
    }
}

impl Stage for DigestCheck {
    fn push(&mut self, input: Bytes, emit: &mut Emit<'_>) -> Result<(), Fault> {
        if let Some(digest) = &mut self.digest {
            digest.update(&input);
        }
        emit(input)
    }

    fn finish(&mut self, _: &mut Emit<'_>) -> Result<(), Fault> {
        let expected = match &self.expected {
            Expected::Declared(value) => Some(value.as_slice()),
            Expected::Trailing(value) => value.get().map(Vec::as_slice),
        };
        let fits = match (expected, self.digest.take()) {
            (Some(expected), Some(digest)) => bool::from(digest.finish(expected.len()).ct_eq(expected)),
            _ => false,
        };
        match expected.filter(|_| fits) {
            Some(value) => self.verified.set(value.to_vec()).map_err(|_| Fault::BadDigest(self.kind)),
            None => Err(Fault::BadDigest(self.kind)),
        }
    }

    fn verifies(&self, algorithm: ChecksumAlgorithm) -> Option<Trailing> {
        (self.kind == DigestKind::Checksum(algorithm)).then(|| Arc::clone(&self.verified))
    }
}

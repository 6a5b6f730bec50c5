//! Holds the chunks of a signed upload, and the trailer behind them, to the chain of signatures that its request began.
//!
//! Each signature covers the one before it, so a chunk that is altered, moved, doubled or left out breaks the chain. Data of a chunk goes
//! on while its hash runs, because a client may make chunks of any size; what keeps the object from the store until the last signature has
//! been verified is the holdback at the end of the chain of stages.
//! Source: AWS reference, "Signature calculations: transferring payload in multiple chunks" and "… with trailing headers".

use subtle::ConstantTimeEq;

use crate::body::Fault;
use crate::s3::checksum::{ChecksumAlgorithm, RunningDigest};
use crate::sigv4::ChunkCheck;

/// Digits of a signature.
const DIGITS: usize = 64;

/// The chain, at the chunk under way.
#[derive(Debug)]
pub struct ChunkVerify {
    check: ChunkCheck,
    /// Of the data of the chunk under way, so far.
    sha256: RunningDigest,
    /// Signature of the chunk under way, as the client gives it.
    claimed: [u8; DIGITS],
    /// The trailer as it is signed.
    trailer: String,
    trailer_fits: bool,
}

impl ChunkVerify {
    /// The beginning of the chain.
    pub fn new(check: ChunkCheck) -> Self {
        Self { check, sha256: sha256(), claimed: [0; DIGITS], trailer: String::new(), trailer_fits: false }
    }

    /// Takes what stands behind the size in the line of a chunk, with the semicolon: the signature and nothing else.
    ///
    /// # Errors
    /// [`Fault::ChunkSignature`] if it is not 64 digits in lower case.
    pub fn begin(&mut self, extension: &[u8]) -> Result<(), Fault> {
        let digits = extension.strip_prefix(b";chunk-signature=").and_then(|digits| digits.try_into().ok());
        self.claimed = digits.ok_or(Fault::ChunkSignature("a chunk has no signature"))?;
        Ok(())
    }

    /// Takes the next data of the chunk.
    pub fn update(&mut self, data: &[u8]) {
        if let ChunkCheck::Chain(_) = self.check {
            self.sha256.update(data);
        }
    }

    /// Takes the end of the chunk's data.
    ///
    /// # Errors
    /// [`Fault::ChunkSignature`] if its signature does not fit.
    pub fn end(&mut self) -> Result<(), Fault> {
        let fits = match &mut self.check {
            ChunkCheck::Chain(signer) => {
                let hash = std::mem::replace(&mut self.sha256, sha256()).finish(32);
                signer.sign_chunk(&hex::encode(hash)).as_bytes().ct_eq(&self.claimed).into()
            }
            ChunkCheck::Form => is_signature(&self.claimed),
        };
        if fits { Ok(()) } else { Err(Fault::ChunkSignature("the signature of a chunk does not fit")) }
    }

    /// Takes one field of the trailer, name in lower case, value without blanks around it.
    ///
    /// # Errors
    /// [`Fault::ChunkSignature`] if the signature came before it.
    pub fn trailer_field(&mut self, name: &str, value: &str) -> Result<(), Fault> {
        if self.trailer_fits {
            return Err(Fault::ChunkSignature("a trailer stands behind the signature"));
        }
        self.trailer.extend([name, ":", value, "\n"]);
        Ok(())
    }

    /// Takes the signature of the trailer.
    ///
    /// # Errors
    /// [`Fault::ChunkSignature`] if it does not fit, or came before.
    pub fn trailer_signature(&mut self, claimed: &str) -> Result<(), Fault> {
        if self.trailer_fits {
            return Err(Fault::ChunkSignature("the trailer is signed twice"));
        }
        self.trailer_fits = match &mut self.check {
            ChunkCheck::Chain(signer) => signer.sign_trailer(&self.trailer).as_bytes().ct_eq(claimed.as_bytes()).into(),
            ChunkCheck::Form => is_signature(claimed.as_bytes()),
        };
        if self.trailer_fits { Ok(()) } else { Err(Fault::ChunkSignature("the signature of the trailer does not fit")) }
    }

    /// Takes the end of a body with a trailer.
    ///
    /// # Errors
    /// [`Fault::ChunkSignature`] if no signature of the trailer came.
    pub fn trailer_end(&self) -> Result<(), Fault> {
        if self.trailer_fits { Ok(()) } else { Err(Fault::ChunkSignature("the trailer has no signature")) }
    }
}

/// Whether a text has the form of a signature.
fn is_signature(text: &[u8]) -> bool {
    text.len() == DIGITS && text.iter().all(|byte| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'))
}

fn sha256() -> RunningDigest {
    RunningDigest::new(ChecksumAlgorithm::Sha256)
}

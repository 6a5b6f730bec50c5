//! Signatures of `aws-chunked` chunks and of the trailer behind them.
//!
//! Source: AWS reference, "Signature calculations: transferring payload in multiple chunks" and "… with trailing headers".

use aws_lc_rs::digest;

use crate::sigv4::key::{AmzDate, SigningKey};

/// SHA-256 of nothing, in hex.
pub const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// Signs the chunks of one request, each with the signature before it.
#[derive(Clone)]
pub struct ChunkSigner {
    key: SigningKey,
    timestamp: String,
    previous: String,
}

// The chain begins with the signature of the request, which opens what it was made for.
impl std::fmt::Debug for ChunkSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChunkSigner").field("key", &self.key).finish_non_exhaustive()
    }
}

/// What the signatures in the framing of a body are held to.
#[derive(Debug, Clone)]
pub enum ChunkCheck {
    /// The chain that the signature of the request began.
    Chain(ChunkSigner),
    /// Their form alone: they are made with a placeholder, and something else than a signature has said who the caller is.
    Form,
}

impl ChunkSigner {
    /// Starts the chain with the signature of the request itself.
    pub fn new(key: SigningKey, date: &AmzDate, seed: String) -> Self {
        Self { key, timestamp: date.timestamp.clone(), previous: seed }
    }

    /// The signature of the next chunk; `sha256` is the hex hash of its data ([`EMPTY_SHA256`] for the last one).
    pub fn sign_chunk(&mut self, sha256: &str) -> &str {
        let scope = self.key.scope();
        let text = format!(
            "AWS4-HMAC-SHA256-PAYLOAD\n{}\n{scope}\n{}\n{EMPTY_SHA256}\n{sha256}",
            self.timestamp, self.previous
        );
        self.previous = self.key.sign(&text);
        &self.previous
    }

    /// The signature of the trailer, given as `name:value\n`.
    pub fn sign_trailer(&mut self, trailer: &str) -> &str {
        let hash = hex::encode(digest::digest(&digest::SHA256, trailer.as_bytes()));
        let text =
            format!("AWS4-HMAC-SHA256-TRAILER\n{}\n{}\n{}\n{hash}", self.timestamp, self.key.scope(), self.previous);
        self.previous = self.key.sign(&text);
        &self.previous
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Secret;

    /// The worked example of the AWS reference: 65,536 and 1,024 bytes of `a`, 24 May 2013.
    #[test]
    fn the_published_chunk_signatures_come_out() {
        let date = AmzDate::new("2013-05-24T00:00:00Z".parse().unwrap());
        let key = SigningKey::derive(&Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"), "us-east-1", &date);
        let seed = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9";
        let mut signer = ChunkSigner::new(key, &date, seed.to_owned());
        let sha256 = |length: usize| hex::encode(digest::digest(&digest::SHA256, &vec![b'a'; length]));
        assert_eq!(
            signer.sign_chunk(&sha256(65536)),
            "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"
        );
        assert_eq!(
            signer.sign_chunk(&sha256(1024)),
            "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"
        );
        assert_eq!(signer.sign_chunk(EMPTY_SHA256), "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9");
    }

    /// The worked example with a trailing CRC-32C.
    #[test]
    fn the_published_trailer_signature_comes_out() {
        let date = AmzDate::new("2013-05-24T00:00:00Z".parse().unwrap());
        let key = SigningKey::derive(&Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"), "us-east-1", &date);
        let last = "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992";
        let mut signer = ChunkSigner::new(key, &date, last.to_owned());
        let signature = signer.sign_trailer("x-amz-checksum-crc32c:sOO8/Q==\n");
        assert_eq!(signature, "d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435");
    }
}

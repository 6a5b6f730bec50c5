//! Checksums of object bytes: names on the wire, values, running digests.
//!
//! Source: S3 user guide, "Checking object integrity": values travel as base64 of the big-endian bytes.

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderName;
use md5::Digest as _;

/// A checksum algorithm that S3 takes in `x-amz-checksum-*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChecksumAlgorithm {
    /// CRC-32 (ISO-HDLC).
    Crc32,
    /// CRC-32C (Castagnoli).
    Crc32c,
    /// CRC-64/NVME.
    Crc64Nvme,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
}

impl ChecksumAlgorithm {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Crc32, Self::Crc32c, Self::Crc64Nvme, Self::Sha1, Self::Sha256];

    /// Name of the header, or trailer, that carries a value.
    pub fn header_name(self) -> &'static str {
        match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Self::Sha1 => "x-amz-checksum-sha1",
            Self::Sha256 => "x-amz-checksum-sha256",
        }
    }

    /// The same as a header name.
    pub fn header(self) -> HeaderName {
        HeaderName::from_static(self.header_name())
    }

    /// The algorithm of a header or trailer name, in any case.
    pub fn of_header(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.header().as_str().eq_ignore_ascii_case(name))
    }

    /// Length of a value in bytes.
    pub fn value_length(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64Nvme => 8,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    /// Reads a value from its base64 form; `None` if it is not one of the right length.
    pub fn parse_value(self, text: &str) -> Option<Vec<u8>> {
        let value = STANDARD.decode(text).ok()?;
        (value.len() == self.value_length()).then_some(value)
    }
}

/// A digest that grows with the bytes of a body.
pub enum RunningDigest {
    /// One of the three CRCs.
    Crc(Box<crc_fast::Digest>),
    /// SHA-1 or SHA-256.
    Sha(digest::Context),
    /// MD5, for `Content-MD5`.
    Md5(md5::Md5),
}

impl RunningDigest {
    /// Starts a digest of the algorithm.
    pub fn new(algorithm: ChecksumAlgorithm) -> Self {
        let crc = |algorithm| Self::Crc(Box::new(crc_fast::Digest::new(algorithm)));
        match algorithm {
            ChecksumAlgorithm::Crc32 => crc(crc_fast::CrcAlgorithm::Crc32IsoHdlc),
            ChecksumAlgorithm::Crc32c => crc(crc_fast::CrcAlgorithm::Crc32Iscsi),
            ChecksumAlgorithm::Crc64Nvme => crc(crc_fast::CrcAlgorithm::Crc64Nvme),
            ChecksumAlgorithm::Sha1 => Self::Sha(digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY)),
            ChecksumAlgorithm::Sha256 => Self::Sha(digest::Context::new(&digest::SHA256)),
        }
    }

    /// Starts an MD5.
    pub fn md5() -> Self {
        Self::Md5(md5::Md5::new())
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Crc(digest) => digest.update(bytes),
            Self::Sha(context) => context.update(bytes),
            Self::Md5(digest) => digest.update(bytes),
        }
    }

    /// The value over everything taken, big-endian; CRC-32 values have four bytes.
    pub fn finish(self, value_length: usize) -> Vec<u8> {
        match self {
            Self::Crc(digest) => digest.finalize().to_be_bytes()[8 - value_length.min(8)..].to_vec(),
            Self::Sha(context) => context.finish().as_ref().to_vec(),
            Self::Md5(digest) => digest.finalize().to_vec(),
        }
    }
}

impl std::fmt::Debug for RunningDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Crc(_) => "RunningDigest::Crc",
            Self::Sha(_) => "RunningDigest::Sha",
            Self::Md5(_) => "RunningDigest::Md5",
        })
    }
}

/// The base64 form of a value.
pub fn to_base64(value: &[u8]) -> String {
    STANDARD.encode(value)
}

/// Reads a `Content-MD5` value; `None` if it is not base64 of 16 bytes.
pub fn parse_md5(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok().filter(|value| value.len() == 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check values of the algorithms over `123456789`: CRC catalogue of reveng, FIPS 180-4.
    #[test]
    fn every_algorithm_gives_its_published_check_value() {
        let expected = [
            (ChecksumAlgorithm::Crc32, "cbf43926"),
            (ChecksumAlgorithm::Crc32c, "e3069283"),
            (ChecksumAlgorithm::Crc64Nvme, "ae8b14860a799888"),
            (ChecksumAlgorithm::Sha1, "f7c3bc1d808e04732adf679965ccc34ca7ae3441"),
            (ChecksumAlgorithm::Sha256, "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225"),
        ];
        for (algorithm, hex_value) in expected {
            for split in 0..9 {
                let mut digest = RunningDigest::new(algorithm);
                digest.update(&b"123456789"[..split]);
                digest.update(&b"123456789"[split..]);
                assert_eq!(hex::encode(digest.finish(algorithm.value_length())), hex_value, "{algorithm:?}");
            }
        }
        let mut md5 = RunningDigest::md5();
        md5.update(b"123456789");
        assert_eq!(hex::encode(md5.finish(16)), "25f9e794323b453885f5181f1b624d0b");
    }

    #[test]
    fn values_must_be_base64_of_the_right_length() {
        assert!(ChecksumAlgorithm::Crc32.parse_value("y/Q5Jg==").is_some());
        for text in ["", "y/Q5Jg", "y/Q5Jg=", "y/Q5", "!!!!!!==", "y/Q5JgAA"] {
            assert!(ChecksumAlgorithm::Crc32.parse_value(text).is_none(), "{text}");
        }
        assert!(parse_md5("JfnnlDI7RTiF9RgfG2JNCw==").is_some());
        assert!(parse_md5("JfnnlDI7RTiF9RgfG2JN").is_none());
    }
}

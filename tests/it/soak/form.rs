//! The forms in which a client sends a body.

use bytes::Bytes;
use countersign::s3::ChecksumAlgorithm;
use countersign::s3::checksum::{RunningDigest, to_base64};

use super::random::Random;
use super::wire::Payload;

/// How a body is sent.
#[derive(Debug, Clone, Copy)]
pub enum Form {
    Plain,
    Md5,
    Crc32,
    Sha256,
    /// `aws-chunked` with a checksum behind the body.
    Trailer,
    UnknownLength,
}

/// Headers and body.
type Sent = (Vec<(&'static str, String)>, Payload);

impl Form {
    const ALL: [Self; 6] = [Self::Plain, Self::Md5, Self::Crc32, Self::Sha256, Self::Trailer, Self::UnknownLength];

    pub fn any(random: &mut Random) -> Self {
        *random.choose(&Self::ALL)
    }

    pub fn with_digest(random: &mut Random) -> Self {
        *random.choose(&Self::ALL[1..5])
    }

    /// With a length.
    pub fn declared(random: &mut Random) -> Self {
        *random.choose(&Self::ALL[..5])
    }

    pub fn send(self, body: Vec<u8>, random: &mut Random) -> Sent {
        let digested = body.clone();
        self.send_with(body, &digested, random)
    }

    /// With the digest of another body.
    pub fn send_spoilt(self, body: Vec<u8>, random: &mut Random) -> Sent {
        let digested = [body.as_slice(), b"?"].concat();
        self.send_with(body, &digested, random)
    }

    fn send_with(self, body: Vec<u8>, digested: &[u8], random: &mut Random) -> Sent {
        match self {
            Self::Plain => (Vec::new(), body.into()),
            Self::Md5 => (vec![("content-md5", md5(digested))], body.into()),
            Self::Crc32 => (checked(digested), body.into()),
            Self::Sha256 => {
                let sum = digest(RunningDigest::new(ChecksumAlgorithm::Sha256), digested, 32);
                (vec![("x-amz-content-sha256", hex::encode(sum))], body.into())
            }
            Self::Trailer => {
                let headers = vec![
                    ("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER".to_owned()),
                    ("x-amz-decoded-content-length", body.len().to_string()),
                    ("x-amz-trailer", "x-amz-checksum-crc32".to_owned()),
                    ("content-encoding", "aws-chunked".to_owned()),
                ];
                (headers, framed(&body, &crc32(digested), random).into())
            }
            Self::UnknownLength => {
                let size = random.between(1024, 256 * 1024);
                (Vec::new(), Payload::Chunked(body.chunks(size).map(Bytes::copy_from_slice).collect()))
            }
        }
    }
}

fn framed(body: &[u8], checksum: &str, random: &mut Random) -> Vec<u8> {
    let size = random.between(1024, 128 * 1024);
    let mut framed = Vec::with_capacity(body.len() + 1024);
    for chunk in body.chunks(size) {
        framed.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        framed.extend_from_slice(chunk);
        framed.extend_from_slice(b"\r\n");
    }
    framed.extend_from_slice(format!("0\r\nx-amz-checksum-crc32:{checksum}\r\n\r\n").as_bytes());
    framed
}

/// The header that says what a body is.
pub fn checked(body: &[u8]) -> Vec<(&'static str, String)> {
    vec![("x-amz-checksum-crc32", crc32(body))]
}

fn crc32(body: &[u8]) -> String {
    to_base64(&digest(RunningDigest::new(ChecksumAlgorithm::Crc32), body, 4))
}

fn md5(body: &[u8]) -> String {
    to_base64(&digest(RunningDigest::md5(), body, 16))
}

fn digest(mut running: RunningDigest, body: &[u8], length: usize) -> Vec<u8> {
    running.update(body);
    running.finish(length)
}

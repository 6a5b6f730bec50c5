//! In which form the bytes of an upload go to the store, and how their integrity is carried on.

use std::borrow::Cow;

use crate::body::Framer;
use crate::s3::{BodyFraming, ChecksumAlgorithm, UploadHead};
use crate::sign::route::Route;
use crate::sigv4::chunk::EMPTY_SHA256;
use crate::sigv4::content_sha256::UNSIGNED_PAYLOAD;

/// The form of one upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayloadPlan {
    /// No bytes.
    Empty,
    /// Plain bytes; TLS, and the client's own checksum header if it sent one, protect them.
    Unsigned,
    /// Plain bytes under a SHA-256 that the client declared and that gateway and store both verify.
    Sha256([u8; 32]),
    /// `aws-chunked`: signed chunks, a checksum trailer, or both.
    Framed(Framer),
}

impl PayloadPlan {
    /// Chooses the form for an upload of `length` bytes.
    pub fn choose(route: &Route, upload: &UploadHead, length: u64) -> Self {
        if length == 0 {
            return Self::Empty;
        }
        // However the client names it: the store checks it too, and the gateway hashes the bytes once.
        if let Some(sha256) = upload.declared_sha256() {
            return Self::Sha256(sha256);
        }
        let declared_trailer = match upload.framing {
            BodyFraming::AwsChunked { trailer, .. } => trailer,
            BodyFraming::Plain => None,
        };
        let wants_trailer = route.trailers && upload.checksum.is_none();
        let trailer = wants_trailer.then(|| declared_trailer.unwrap_or(ChecksumAlgorithm::Crc64Nvme));
        if trailer.is_none() && !route.signed_payload {
            return Self::Unsigned;
        }
        Self::Framed(Framer { signed: route.signed_payload, trailer })
    }

    /// The value of `x-amz-content-sha256`.
    pub fn content_sha256(&self) -> Cow<'static, str> {
        match self {
            Self::Empty => Cow::Borrowed(EMPTY_SHA256),
            Self::Unsigned => Cow::Borrowed(UNSIGNED_PAYLOAD),
            Self::Sha256(digest) => Cow::Owned(hex::encode(digest)),
            Self::Framed(framer) => Cow::Borrowed(framer.content_sha256()),
        }
    }

    /// Length of the HTTP body for an object of `length` bytes.
    pub fn body_length(&self, length: u64) -> u64 {
        match self {
            Self::Empty | Self::Unsigned | Self::Sha256(_) => length,
            Self::Framed(framer) => framer.framed_length(length),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::sign::credentials::CredentialStore;

    fn route(signed_payload: bool, trailers: bool) -> Route {
        Route {
            name: "store".into(),
            authority: "store".into(),
            region: "r".into(),
            virtual_host: false,
            signed_payload,
            trailers,
            credentials: Arc::new(CredentialStore::fixed("a", "s")),
        }
    }

    fn upload() -> UploadHead {
        UploadHead::plain(Some(5))
    }

    #[test]
    fn the_clients_own_digests_are_carried_on_and_missing_ones_are_added() {
        let with_sha = UploadHead { sha256: Some([7; 32]), ..upload() };
        let with_checksum = UploadHead { checksum: Some((ChecksumAlgorithm::Crc32, vec![0; 4])), ..upload() };
        let with_sha_checksum = UploadHead { checksum: Some((ChecksumAlgorithm::Sha256, vec![7; 32])), ..upload() };
        let with = |trailer, signed| UploadHead { framing: BodyFraming::AwsChunked { trailer, signed }, ..upload() };
        let with_trailer = with(Some(ChecksumAlgorithm::Crc32c), false);
        let with_signed_trailer = with(Some(ChecksumAlgorithm::Sha1), true);
        let with_signed_chunks = with(None, true);
        let framed = |signed, trailer| PayloadPlan::Framed(Framer { signed, trailer });
        let cases = [
            (route(false, true), upload(), framed(false, Some(ChecksumAlgorithm::Crc64Nvme))),
            (route(false, true), with_trailer.clone(), framed(false, Some(ChecksumAlgorithm::Crc32c))),
            (route(false, true), with_checksum.clone(), PayloadPlan::Unsigned),
            (route(false, false), upload(), PayloadPlan::Unsigned),
            (route(true, false), upload(), framed(true, None)),
            (route(true, false), with_checksum, framed(true, None)),
            (route(true, true), with_trailer, framed(true, Some(ChecksumAlgorithm::Crc32c))),
            (route(true, true), with_sha, PayloadPlan::Sha256([7; 32])),
            (route(true, false), with_sha_checksum, PayloadPlan::Sha256([7; 32])),
            (route(false, true), with_signed_trailer.clone(), framed(false, Some(ChecksumAlgorithm::Sha1))),
            (route(false, false), with_signed_trailer, PayloadPlan::Unsigned),
            (route(true, false), with_signed_chunks.clone(), framed(true, None)),
            (route(false, true), with_signed_chunks, framed(false, Some(ChecksumAlgorithm::Crc64Nvme))),
        ];
        for (route, upload, expected) in cases {
            assert_eq!(PayloadPlan::choose(&route, &upload, 5), expected);
        }
        assert_eq!(PayloadPlan::choose(&route(true, true), &upload(), 0), PayloadPlan::Empty);
    }
}

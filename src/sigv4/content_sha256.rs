//! The words of `x-amz-content-sha256`: what a signature covers of the body, and how the body is framed.
//!
//! Read in one place, since the check of the signature and the reader of the body must agree about every text (H03).
//! Source: AWS reference, "Signature calculations for the Authorization header", "Transferring payload in multiple chunks".

/// `UNSIGNED-PAYLOAD`.
pub const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";

/// What `x-amz-content-sha256` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentSha256 {
    /// `UNSIGNED-PAYLOAD`: the body is plain and no signature covers it.
    Unsigned,
    /// 64 hex digits: the SHA-256 of a plain body.
    Digest([u8; 32]),
    /// `STREAMING-UNSIGNED-PAYLOAD-TRAILER`: chunks without signatures, perhaps a checksum behind them.
    UnsignedTrailer,
    /// `STREAMING-AWS4-HMAC-SHA256-PAYLOAD`: chunks, each with its signature.
    SignedChunks,
    /// `STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER`: the same with a signed checksum behind them.
    SignedTrailer,
}

impl ContentSha256 {
    /// Reads a value; `None` for every other text. Words in capital letters only, digits in either.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            UNSIGNED_PAYLOAD => Some(Self::Unsigned),
            "STREAMING-UNSIGNED-PAYLOAD-TRAILER" => Some(Self::UnsignedTrailer),
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" => Some(Self::SignedChunks),
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => Some(Self::SignedTrailer),
            _ => {
                let mut digest = [0; 32];
                hex::decode_to_slice(text, &mut digest).ok().map(|()| Self::Digest(digest))
            }
        }
    }

    /// Whether the body is under the signature.
    pub fn covers_body(self) -> bool {
        !matches!(self, Self::Unsigned | Self::UnsignedTrailer)
    }

    /// Whether the chunks of the body have signatures of their own.
    pub fn has_signed_chunks(self) -> bool {
        matches!(self, Self::SignedChunks | Self::SignedTrailer)
    }

    /// Whether the body is framed in chunks.
    pub fn is_streaming(self) -> bool {
        matches!(self, Self::UnsignedTrailer | Self::SignedChunks | Self::SignedTrailer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h03_every_word_says_one_thing_of_the_body() {
        let digest = "00ff".repeat(16);
        for (text, covers, signed_chunks, streaming) in [
            (digest.as_str(), true, false, false),
            (&digest.to_uppercase(), true, false, false),
            ("UNSIGNED-PAYLOAD", false, false, false),
            ("STREAMING-UNSIGNED-PAYLOAD-TRAILER", false, false, true),
            ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", true, true, true),
            ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", true, true, true),
        ] {
            let says = ContentSha256::parse(text).unwrap_or_else(|| panic!("{text}"));
            let said = (says.covers_body(), says.has_signed_chunks(), says.is_streaming());
            assert_eq!(said, (covers, signed_chunks, streaming), "{text}");
        }
        assert_eq!(ContentSha256::parse(&digest), Some(ContentSha256::Digest([0, 255].repeat(16).try_into().unwrap())));
    }

    #[test]
    fn h03_every_other_text_says_nothing() {
        let long = "0".repeat(65);
        let words = ["unsigned-payload", "UNSIGNED-PAYLOAD ", "STREAMING-", "STREAMING-UNSIGNED-PAYLOAD"];
        let others = ["", "x", &long, &long[2..], "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", &"g".repeat(64)];
        for text in words.into_iter().chain(others) {
            assert_eq!(ContentSha256::parse(text), None, "{text}");
        }
    }
}

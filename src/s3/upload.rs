//! What the head of an upload says of the bytes that follow: length, framing, digests, media type.
//!
//! The parser of the body is chosen by `x-amz-content-sha256` alone, never by `Content-Encoding` (H03).

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Version};

use crate::s3::checksum::{ChecksumAlgorithm, parse_md5};
use crate::sigv4::ContentSha256;

/// What the head of an upload says of its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadHead {
    /// Length of the object in bytes, framing excluded; `None` if the client did not say.
    pub length: Option<u64>,
    /// How the object is wrapped in the HTTP body.
    pub framing: BodyFraming,
    /// Declared SHA-256 of the object.
    pub sha256: Option<[u8; 32]>,
    /// Declared MD5 of the object.
    pub md5: Option<Vec<u8>>,
    /// Declared checksum of the object.
    pub checksum: Option<(ChecksumAlgorithm, Vec<u8>)>,
    /// Declared media type.
    pub media_type: Option<MediaType>,
    /// `Content-Encoding` without `aws-chunked`, which is framing and not a property of the object.
    pub content_encoding: Option<String>,
}

/// How the object is wrapped in the HTTP body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyFraming {
    /// The body is the object.
    Plain,
    /// `STREAMING-…`: chunks, then perhaps the checksum that `x-amz-trailer` announced.
    AwsChunked {
        /// The announced checksum.
        trailer: Option<ChecksumAlgorithm>,
        /// Whether every chunk, and the trailer, has a signature (`STREAMING-AWS4-HMAC-SHA256-PAYLOAD`, `…-TRAILER`).
        signed: bool,
    },
}

/// A media type as declared: lower case, without parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaType(String);

impl MediaType {
    /// Reads one `type/subtype`, with parameters or without.
    ///
    /// Returns `None` for anything that two readers could take differently: a comma, a second type, characters outside RFC 9110
    /// tokens.
    pub fn parse(text: &str) -> Option<Self> {
        let (essence, parameters) = text.split_once(';').unwrap_or((text, ""));
        let (kind, subtype) = essence.trim().split_once('/')?;
        let token = |text: &str| !text.is_empty() && text.bytes().all(is_token_byte);
        let single = !parameters.contains(',') && parameters.split(';').all(|p| p.trim().is_empty() || p.contains('='));
        (token(kind) && token(subtype) && single).then(|| Self(format!("{kind}/{subtype}").to_ascii_lowercase()))
    }

    /// `type/subtype` in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Why the head of an upload was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UploadError {
    /// A length that is not a decimal number, or appears twice.
    #[error("`{0}` is not a length")]
    BadLength(HeaderName),
    /// Longer than any S3 object.
    #[error("{0} bytes are more than an object can have")]
    TooLong(u64),
    /// `aws-chunked` without the length of the object.
    #[error("x-amz-decoded-content-length is missing")]
    NoDecodedLength,
    /// The length of the object is given for a body that is not framed.
    #[error("x-amz-decoded-content-length goes with a STREAMING x-amz-content-sha256 only")]
    UnexpectedDecodedLength,
    /// `x-amz-content-sha256` is neither a hash nor a known word.
    #[error("x-amz-content-sha256 is neither 64 hex digits nor a known word")]
    BadContentSha256,
    /// Chunk signatures, which only a SigV4 caller can make.
    #[error("signed chunks need a SigV4 signed request")]
    SignedChunks,
    /// A checksum or MD5 that is not base64 of the right length.
    #[error("`{0}` is not a digest")]
    BadDigest(HeaderName),
    /// More than one `x-amz-checksum-*`, or a header and a trailer.
    #[error("more than one x-amz-checksum is given")]
    SeveralChecksums,
    /// `x-amz-trailer` names something that is not one checksum.
    #[error("x-amz-trailer must name one x-amz-checksum header")]
    BadTrailer,
    /// `Content-Type` has no single reading.
    #[error("Content-Type is not one media type")]
    BadContentType,
    /// `Content-Encoding` says `aws-chunked` but `x-amz-content-sha256` does not.
    #[error("Content-Encoding says aws-chunked but x-amz-content-sha256 does not")]
    FramingContradiction,
    /// A transfer coding other than `chunked`.
    #[error("the transfer coding is not `chunked`")]
    BadTransferEncoding,
}

/// Largest object of S3, 5 TiB. Also keeps every sum of lengths far from overflow.
const MAX_OBJECT_BYTES: u64 = 5 << 40;

impl UploadHead {
    /// Plain bytes of which nothing is declared but perhaps their length.
    pub fn plain(length: Option<u64>) -> Self {
        Self {
            length,
            framing: BodyFraming::Plain,
            sha256: None,
            md5: None,
            checksum: None,
            media_type: None,
            content_encoding: None,
        }
    }

    /// Reads the headers of an upload.
    ///
    /// # Errors
    /// [`UploadError`] for the first thing that cannot be read or contradicts another.
    pub fn parse(headers: &HeaderMap, version: Version) -> Result<Self, UploadError> {
        check_transfer_encoding(headers)?;
        let payload = parse_payload(headers)?;
        let trailer = parse_trailer(headers)?;
        let (framing, sha256) = match (payload, trailer) {
            (ContentSha256::Unsigned, None) => (BodyFraming::Plain, None),
            (ContentSha256::Digest(digest), None) => (BodyFraming::Plain, Some(digest)),
            (ContentSha256::UnsignedTrailer, trailer) => (BodyFraming::AwsChunked { trailer, signed: false }, None),
            (ContentSha256::SignedChunks, None) | (ContentSha256::SignedTrailer, Some(_)) => {
                (BodyFraming::AwsChunked { trailer, signed: true }, None)
            }
            (ContentSha256::Unsigned | ContentSha256::Digest(_) | ContentSha256::SignedChunks, Some(_))
            | (ContentSha256::SignedTrailer, None) => return Err(UploadError::BadTrailer),
        };
        let plain = framing == BodyFraming::Plain;
        let decoded = parse_length(headers, &HeaderName::from_static("x-amz-decoded-content-length"))?;
        let length = match (plain, decoded) {
            (true, None) => parse_length(headers, &CONTENT_LENGTH)?.or(empty_by_framing(headers, version)),
            (true, Some(_)) => return Err(UploadError::UnexpectedDecodedLength),
            (false, None) => return Err(UploadError::NoDecodedLength),
            (false, Some(length)) => Some(length),
        };
        let checksum = parse_checksum(headers)?;
        if checksum.is_some() && trailer.is_some() {
            return Err(UploadError::SeveralChecksums);
        }
        let md5 = parse_header(headers, &HeaderName::from_static("content-md5"), parse_md5)?;
        let content_encoding = parse_content_encoding(headers, plain)?;
        Ok(Self { length, framing, sha256, md5, checksum, media_type: parse_media_type(headers)?, content_encoding })
    }

    /// Whether every chunk of the body has a signature.
    pub fn has_signed_chunks(&self) -> bool {
        matches!(self.framing, BodyFraming::AwsChunked { signed: true, .. })
    }

    /// The SHA-256 of the object, if the head tells it, as `x-amz-content-sha256` or as `x-amz-checksum-sha256`.
    pub fn declared_sha256(&self) -> Option<[u8; 32]> {
        let checksum = || match &self.checksum {
            Some((ChecksumAlgorithm::Sha256, value)) => value.as_slice().try_into().ok(),
            _ => None,
        };
        self.sha256.or_else(checksum)
    }
}

fn text(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or("\u{fffd}")
}

fn parse_header<T>(
    headers: &HeaderMap,
    name: &HeaderName,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, UploadError> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => parse(text(value)).map(Some).ok_or_else(|| UploadError::BadDigest(name.clone())),
        (Some(_), Some(_)) => Err(UploadError::BadDigest(name.clone())),
    }
}

fn check_transfer_encoding(headers: &HeaderMap) -> Result<(), UploadError> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
        _ => Err(UploadError::BadTransferEncoding),
    }
}

fn parse_length(headers: &HeaderMap, name: &HeaderName) -> Result<Option<u64>, UploadError> {
    let bad = || UploadError::BadLength(name.clone());
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) if value.as_bytes().iter().all(u8::is_ascii_digit) => match text(value).parse::<u64>() {
            Ok(length) if length > MAX_OBJECT_BYTES => Err(UploadError::TooLong(length)),
            Ok(length) => Ok(Some(length)),
            Err(_) => Err(bad()),
        },
        _ => Err(bad()),
    }
}

fn parse_payload(headers: &HeaderMap) -> Result<ContentSha256, UploadError> {
    let mut values = headers.get_all("x-amz-content-sha256").iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(ContentSha256::Unsigned),
        (Some(value), None) => ContentSha256::parse(text(value)).ok_or(UploadError::BadContentSha256),
        (Some(_), Some(_)) => Err(UploadError::BadContentSha256),
    }
}

fn parse_trailer(headers: &HeaderMap) -> Result<Option<ChecksumAlgorithm>, UploadError> {
    let mut values = headers.get_all("x-amz-trailer").iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => {
            ChecksumAlgorithm::of_header(text(value).trim()).map(Some).ok_or(UploadError::BadTrailer)
        }
        (Some(_), Some(_)) => Err(UploadError::BadTrailer),
    }
}

fn parse_checksum(headers: &HeaderMap) -> Result<Option<(ChecksumAlgorithm, Vec<u8>)>, UploadError> {
    let mut found = None;
    for algorithm in ChecksumAlgorithm::ALL {
        let name = algorithm.header();
        let value = parse_header(headers, &name, |text| algorithm.parse_value(text))?;
        if let Some(value) = value
            && found.replace((algorithm, value)).is_some()
        {
            return Err(UploadError::SeveralChecksums);
        }
    }
    Ok(found)
}

fn parse_media_type(headers: &HeaderMap) -> Result<Option<MediaType>, UploadError> {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => MediaType::parse(text(value)).map(Some).ok_or(UploadError::BadContentType),
        (Some(_), Some(_)) => Err(UploadError::BadContentType),
    }
}

/// An HTTP/1 request without any length has no body (RFC 9112 §6.3); an HTTP/2 request may still have one.
fn empty_by_framing(headers: &HeaderMap, version: Version) -> Option<u64> {
    (version <= Version::HTTP_11 && !headers.contains_key(TRANSFER_ENCODING)).then_some(0)
}

/// Removes `aws-chunked`: a store that keeps it as metadata would serve an encoding nobody can decode.
fn parse_content_encoding(headers: &HeaderMap, plain: bool) -> Result<Option<String>, UploadError> {
    let codings: Vec<&str> = headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .flat_map(|value| text(value).split(','))
        .map(str::trim)
        .filter(|coding| !coding.is_empty())
        .collect();
    let kept: Vec<&str> =
        codings.iter().copied().filter(|coding| !coding.eq_ignore_ascii_case("aws-chunked")).collect();
    if plain && kept.len() != codings.len() {
        return Err(UploadError::FramingContradiction);
    }
    Ok((!kept.is_empty()).then(|| kept.join(",")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(headers: &[(&str, &str)]) -> Result<UploadHead, UploadError> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        UploadHead::parse(&map, Version::HTTP_11)
    }

    const STREAMING: (&str, &str) = ("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER");

    #[test]
    fn a_plain_upload_has_the_length_of_its_body() {
        let head = parse(&[("content-length", "5"), ("content-type", "Text/Plain; charset=utf-8")]).unwrap();
        assert_eq!((head.length, head.framing), (Some(5), BodyFraming::Plain));
        assert_eq!(head.media_type.unwrap().as_str(), "text/plain");
        assert_eq!(parse(&[("transfer-encoding", "chunked")]).unwrap().length, None);
        assert_eq!(parse(&[]).unwrap().length, Some(0));
        assert_eq!(UploadHead::parse(&HeaderMap::new(), Version::HTTP_2).unwrap().length, None);
    }

    #[test]
    fn an_aws_chunked_upload_has_the_decoded_length() {
        let head = parse(&[
            STREAMING,
            ("content-length", "99"),
            ("x-amz-decoded-content-length", "5"),
            ("x-amz-trailer", "x-amz-checksum-crc32"),
            ("content-encoding", "aws-chunked,gzip"),
        ])
        .unwrap();
        assert_eq!(head.length, Some(5));
        assert_eq!(head.framing, BodyFraming::AwsChunked { trailer: Some(ChecksumAlgorithm::Crc32), signed: false });
        assert_eq!(head.content_encoding.as_deref(), Some("gzip"));
    }

    #[test]
    fn h03_framing_is_chosen_by_content_sha256_and_contradictions_are_refused() {
        let sha = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(
            parse(&[("content-encoding", "aws-chunked"), ("content-length", "5")]),
            Err(UploadError::FramingContradiction)
        );
        assert_eq!(
            parse(&[("x-amz-content-sha256", sha), ("content-encoding", "gzip, aws-chunked")]),
            Err(UploadError::FramingContradiction)
        );
        assert_eq!(
            parse(&[("x-amz-content-sha256", sha), ("x-amz-trailer", "x-amz-checksum-crc32")]),
            Err(UploadError::BadTrailer)
        );
        for bad in ["", "abc", "e3b0", "unsigned-payload", "STREAMING-UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256"] {
            assert_eq!(parse(&[("x-amz-content-sha256", bad)]), Err(UploadError::BadContentSha256), "{bad}");
        }
    }

    #[test]
    fn signed_chunks_come_with_a_trailer_or_without_as_the_word_says() {
        let (plain, trailer) = ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER");
        let length = ("x-amz-decoded-content-length", "5");
        let announced = ("x-amz-trailer", "x-amz-checksum-sha1");
        let framing = |headers: &[(&str, &str)]| parse(headers).map(|head| head.framing);
        assert_eq!(
            framing(&[("x-amz-content-sha256", plain), length]),
            Ok(BodyFraming::AwsChunked { trailer: None, signed: true })
        );
        assert_eq!(
            framing(&[("x-amz-content-sha256", trailer), length, announced]),
            Ok(BodyFraming::AwsChunked { trailer: Some(ChecksumAlgorithm::Sha1), signed: true })
        );
        assert_eq!(framing(&[("x-amz-content-sha256", plain), length, announced]), Err(UploadError::BadTrailer));
        assert_eq!(framing(&[("x-amz-content-sha256", trailer), length]), Err(UploadError::BadTrailer));
        for word in [plain, trailer] {
            let trailer = (word == trailer).then_some(announced);
            let without_length: Vec<_> = [("x-amz-content-sha256", word)].into_iter().chain(trailer).collect();
            assert_eq!(framing(&without_length), Err(UploadError::NoDecodedLength), "{word}");
        }
    }

    #[test]
    fn h04_lengths_are_plain_decimal_numbers() {
        assert_eq!(parse(&[STREAMING]), Err(UploadError::NoDecodedLength));
        assert_eq!(
            parse(&[("x-amz-decoded-content-length", "5"), ("content-length", "5")]),
            Err(UploadError::UnexpectedDecodedLength)
        );
        for bad in ["+5", "-1", "5, 5", " ", "0x5", "18446744073709551616", ""] {
            assert!(
                matches!(parse(&[STREAMING, ("x-amz-decoded-content-length", bad)]), Err(UploadError::BadLength(_))),
                "{bad}"
            );
        }
    }

    #[test]
    fn lengths_beyond_every_object_are_refused() {
        for bytes in ["5497558138881", "18446744073709551613", "18421446067330597163"] {
            assert!(matches!(parse(&[("content-length", bytes)]), Err(UploadError::TooLong(_))), "{bytes}");
            assert!(
                matches!(parse(&[STREAMING, ("x-amz-decoded-content-length", bytes)]), Err(UploadError::TooLong(_))),
                "{bytes}"
            );
        }
        assert_eq!(parse(&[("content-length", "5497558138880")]).unwrap().length, Some(5 << 40));
    }

    #[test]
    fn digests_must_be_readable_and_single() {
        assert!(matches!(parse(&[("content-md5", "AAAA")]), Err(UploadError::BadDigest(_))));
        assert!(matches!(parse(&[("x-amz-checksum-sha256", "x")]), Err(UploadError::BadDigest(_))));
        assert_eq!(
            parse(&[("x-amz-checksum-crc32", "AAAAAA=="), ("x-amz-checksum-crc32c", "AAAAAA==")]),
            Err(UploadError::SeveralChecksums)
        );
        assert_eq!(
            parse(&[STREAMING, ("x-amz-decoded-content-length", "1"), ("x-amz-trailer", "content-length")]),
            Err(UploadError::BadTrailer)
        );
    }

    #[test]
    fn h14_a_content_type_with_two_readings_is_refused() {
        for bad in [
            "image/png,text/html",
            "image/png; text/html",
            "",
            "image",
            "image/",
            "/png",
            "image/p ng",
            "image/png;a=b,c",
        ] {
            assert_eq!(parse(&[("content-type", bad)]), Err(UploadError::BadContentType), "{bad}");
        }
        assert_eq!(parse(&[("content-type", "a/b"), ("content-type", "a/b")]), Err(UploadError::BadContentType));
    }
}

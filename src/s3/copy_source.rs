//! `x-amz-copy-source`: the object that a copy reads, a target of its own beside the one it writes.
//!
//! Read once: the last literal `?versionId=` splits off the version, then everything is percent-decoded one time (`+` stays `+`), then
//! the same key rules hold as for a request path. What goes to the store is written anew.
//! Source: S3 API reference, CopyObject and UploadPartCopy.

use std::sync::Arc;

use http::HeaderMap;

use crate::s3::buckets::{Bucket, Buckets};
use crate::s3::identify::IdentifyError;
use crate::s3::names::{ObjectKey, decode_once};
use crate::sigv4::canonical::collapse_blanks;

/// Name of the header with the source.
pub const HEADER: &str = "x-amz-copy-source";
/// Name of the header with the bytes of the source that become a part.
const RANGE_HEADER: &str = "x-amz-copy-source-range";
/// A bucket name, a key of 1,024 bytes with each byte escaped as three, and a version id.
const MAX_BYTES: usize = 4 * 1024;
/// AWS has version ids of 32 characters and says "up to 1,024".
const MAX_VERSION_BYTES: usize = 1024;

/// What a copy reads, in public terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopySource {
    /// Its bucket.
    pub bucket: Arc<Bucket>,
    /// Its key.
    pub key: ObjectKey,
    /// The version, if one is named.
    pub version_id: Option<String>,
    /// First and last byte that become a part, counted from 0; `None` is the whole object.
    pub range: Option<(u64, u64)>,
}

/// Why a copy source was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CopySourceError {
    /// The header stands twice, is too long or is not plain text, or has several blanks where a signature has one.
    #[error("x-amz-copy-source must be one header of plain text, at most {MAX_BYTES} bytes, with blanks written %20")]
    Header,
    /// A broken percent escape, or bytes that are not UTF-8.
    #[error("x-amz-copy-source has a broken percent escape or is not UTF-8")]
    BadEscape,
    /// Not `bucket/key`.
    #[error("x-amz-copy-source must be `bucket/key`, with `?versionId=` behind it if a version is meant")]
    Form,
    /// A question mark that is not the one of `?versionId=`: it could belong to the key or begin a query.
    #[error("x-amz-copy-source has a question mark in the key, which must be written %3F")]
    QuestionMark,
    /// An empty or impossible version id.
    #[error("x-amz-copy-source names an impossible version")]
    Version,
    /// Not `bytes=first-last`.
    #[error("x-amz-copy-source-range must be `bytes=first-last`, first not above last")]
    Range,
}

impl CopySource {
    /// Reads the source of a copy out of the headers of its request.
    ///
    /// # Errors
    /// [`IdentifyError`] if the source has no reading, or more than one, or its bucket is not one of the gateway's.
    pub fn parse(headers: &HeaderMap, buckets: &Buckets) -> Result<Self, IdentifyError> {
        let text = single(headers, HEADER)?.ok_or(CopySourceError::Form)?;
        let range = single(headers, RANGE_HEADER)?.map(parse_range).transpose()?;
        let (path, version) = match text.rsplit_once("?versionId=") {
            Some((path, version)) => (path, Some(parse_version(version)?)),
            None => (text, None),
        };
        if path.contains('?') {
            return Err(CopySourceError::QuestionMark.into());
        }
        let decoded = decode_once(path).ok_or(CopySourceError::BadEscape)?;
        let (bucket, key) =
            decoded.strip_prefix('/').unwrap_or(&decoded).split_once('/').ok_or(CopySourceError::Form)?;
        if !is_plain_name(bucket) {
            return Err(CopySourceError::Form.into());
        }
        let bucket = buckets.get(bucket).ok_or_else(|| IdentifyError::UnknownBucket(bucket.to_owned()))?;
        match ObjectKey::check(key.to_owned(), &bucket.upstream_prefix, bucket.odd_keys) {
            Ok(key) => Ok(Self { bucket, key, version_id: version, range }),
            Err(error) => Err(IdentifyError::Within(bucket, Box::new(error.into()))),
        }
    }
}

fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, CopySourceError> {
    let mut values = headers.get_all(name).iter();
    let (first, second) = (values.next(), values.next());
    let Some(value) = first else { return Ok(None) };
    if second.is_some() || value.len() > MAX_BYTES {
        return Err(CopySourceError::Header);
    }
    let text = value.to_str().map_err(|_| CopySourceError::Header)?;
    // A signature covers the value with every run of blanks as one, so a run would be a key that nobody signed. A tab would pass
    // `to_str`; keys refuse control characters, this refuses them for version and range.
    if text.bytes().any(|byte| byte.is_ascii_control()) || collapse_blanks(text) != text {
        return Err(CopySourceError::Header);
    }
    Ok(Some(text))
}

/// Whether a name could be a bucket at all: ARNs, URLs and access points are not `bucket/key` (D04).
fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

fn parse_version(text: &str) -> Result<String, CopySourceError> {
    let version = decode_once(text).ok_or(CopySourceError::BadEscape)?;
    let possible = !version.is_empty()
        && version.len() <= MAX_VERSION_BYTES
        && version.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+=".contains(&byte));
    if possible { Ok(version) } else { Err(CopySourceError::Version) }
}

fn parse_range(text: &str) -> Result<(u64, u64), CopySourceError> {
    let (first, last) =
        text.strip_prefix("bytes=").and_then(|range| range.split_once('-')).ok_or(CopySourceError::Range)?;
    let number = |digits: &str| {
        let plain = (1..=20).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse::<u64>().ok().filter(|_| plain).ok_or(CopySourceError::Range)
    };
    let (first, last) = (number(first)?, number(last)?);
    // The last byte of the largest object there is, so that lengths cannot wrap.
    if first <= last && last < u64::MAX { Ok((first, last)) } else { Err(CopySourceError::Range) }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;
    use crate::base::RouteId;
    use crate::s3::buckets::OddKeys;
    use crate::s3::names::KeyError;

    fn buckets() -> Buckets {
        let bucket = |name: &str| Bucket {
            name: name.to_owned(),
            route: RouteId(0),
            upstream_bucket: "up".into(),
            upstream_prefix: String::new(),
            odd_keys: OddKeys::Refuse,
            passed_through: false,
        };
        Buckets::new([bucket("bkt")])
    }

    fn read(headers: &[(&str, &str)]) -> Result<CopySource, IdentifyError> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        CopySource::parse(&map, &buckets())
    }

    fn key(source: &str) -> Result<(String, Option<String>), IdentifyError> {
        read(&[(HEADER, source)]).map(|source| (source.key.as_str().to_owned(), source.version_id))
    }

    #[test]
    fn every_spelling_of_sdks_names_one_key() {
        for source in ["/bkt/a/x y", "bkt/a/x%20y", "bkt%2Fa%2Fx%20y", "%2Fbkt/a/x y"] {
            assert_eq!(key(source).unwrap(), ("a/x y".into(), None), "{source}");
        }
        assert_eq!(key("bkt/a/x+y").unwrap().0, "a/x+y");
        assert_eq!(key("bkt/a/%C3%BC").unwrap().0, "a/ü");
        assert_eq!(key("bkt/a/100%25").unwrap().0, "a/100%");
        assert_eq!(key("bkt/a/x?versionId=v.1_2").unwrap(), ("a/x".into(), Some("v.1_2".into())));
        assert_eq!(key("bkt/a/x%3FversionId=1").unwrap(), ("a/x?versionId=1".into(), None));
        assert_eq!(key("bkt/a/x?versionId=null").unwrap().1.as_deref(), Some("null"));
    }

    #[test]
    fn d03_a_source_is_decoded_once_and_keeps_the_key_rules() {
        assert_eq!(key("bkt/a/%252e%252e/b").unwrap().0, "a/%2e%2e/b");
        for source in ["bkt/a/%2e%2e/b/secret", "bkt/a/..%2fb/secret", "bkt/a/../b", "bkt/a/x%3FversionId=1/../../b"] {
            let Err(IdentifyError::Within(_, error)) = key(source) else { panic!("{source}") };
            assert_eq!(*error, IdentifyError::Key(KeyError::DotSegment), "{source}");
        }
        for source in ["bkt/a/x%00", "bkt/a/x%0d%0a"] {
            let Err(IdentifyError::Within(_, error)) = key(source) else { panic!("{source}") };
            assert_eq!(*error, IdentifyError::Key(KeyError::Control), "{source}");
        }
        for (source, expected) in [
            ("bkt/a/x?versionId=1?versionId=2", CopySourceError::QuestionMark),
            ("bkt/a/x?versionId=1/../../b", CopySourceError::Version),
            ("bkt/a/x?acl", CopySourceError::QuestionMark),
            ("bkt/a/x?versionId=", CopySourceError::Version),
            ("bkt/a/x?versionId=%0a", CopySourceError::Version),
            ("bkt/a/x?versionId=1&acl", CopySourceError::Version),
            ("bkt/a/%zz", CopySourceError::BadEscape),
            ("bkt/a/%c0%af", CopySourceError::BadEscape),
            ("//bkt/b/secret", CopySourceError::Form),
        ] {
            assert_eq!(key(source), Err(expected.into()), "{source}");
        }
    }

    #[test]
    fn b05_d03_a_source_is_what_a_signature_covers_to_the_blank() {
        assert_eq!(key("bkt/a b").unwrap().0, "a b");
        assert_eq!(key("bkt/a%20%20b").unwrap().0, "a  b");
        for source in ["bkt/a  b", " bkt/a", "bkt/a ", "bkt/a\tb"] {
            assert_eq!(key(source), Err(CopySourceError::Header.into()), "{source:?}");
        }
    }

    #[test]
    fn d04_d05_only_a_bucket_and_a_key_are_a_source() {
        for source in ["", "/", "bkt", "/bkt", "s3://bkt/b/x", "http://evil/x", "?versionId=1"] {
            assert_eq!(key(source), Err(CopySourceError::Form.into()), "{source:?}");
        }
        let arn = "arn:aws:s3:us-east-1:1:accesspoint/ap/object/b/secret";
        assert_eq!(key(arn), Err(CopySourceError::Form.into()));
        for source in ["bkt/", "/bkt/"] {
            let Err(IdentifyError::Within(_, error)) = key(source) else { panic!("{source}") };
            assert_eq!(*error, IdentifyError::Key(KeyError::Empty));
        }
        let Err(IdentifyError::Within(_, error)) = key("/bkt//") else { panic!() };
        assert_eq!(*error, IdentifyError::Key(KeyError::LeadingSlash));
        assert_eq!(key("other/x"), Err(IdentifyError::UnknownBucket("other".into())));
        assert_eq!(key(&format!("bkt/{}", "x".repeat(20_000))), Err(CopySourceError::Header.into()));
        assert_eq!(read(&[(HEADER, "bkt/a"), (HEADER, "bkt/a")]), Err(CopySourceError::Header.into()));
        assert_eq!(read(&[]), Err(CopySourceError::Form.into()));
    }

    #[test]
    fn d09_a_source_range_is_one_plain_range() {
        let range = |text: &str| read(&[(HEADER, "bkt/a"), (RANGE_HEADER, text)]).map(|source| source.range);
        assert_eq!(range("bytes=0-0").unwrap(), Some((0, 0)));
        assert_eq!(range("bytes=5-5242884").unwrap(), Some((5, 5_242_884)));
        for text in [
            "bytes=100-0",
            "bytes=0-",
            "bytes=-5",
            "bytes=0-18446744073709551615",
            "bytes=0-18446744073709551616",
            "bytes=0-1,3-4",
            "bytes=+0-1",
            "bytes= 0-1",
            "0-1",
            "Bytes=0-1",
            "",
        ] {
            assert_eq!(range(text), Err(CopySourceError::Range.into()), "{text:?}");
        }
    }
}

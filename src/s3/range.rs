//! Which part of an object a read asks for: `Range`, `If-Range` and `partNumber`, read strictly.
//!
//! RFC 9110 lets a server ignore a range it does not understand, and stores differ in what they ignore. A client of the gateway gets an
//! answer to what it asked for, or is told that it was not understood.

use http::HeaderMap;
use http::header::{IF_RANGE, RANGE};

use crate::s3::complete_upload::{MAX_PARTS, parse_part_number};

/// Why a read was not understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// Not one range of bytes. S3 has no answers of several ranges, which would also multiply the work of a store.
    #[error("the Range header must be one range of bytes, such as bytes=0-99, bytes=100- or bytes=-100")]
    NotOne,
    /// Not the number of a part.
    #[error("partNumber must be a number from 1 to {MAX_PARTS}")]
    PartNumber,
    /// Two parts at once.
    #[error("Range and partNumber cannot be given together")]
    Both,
}

/// Checks what part of an object a read asks for; `headers` are those for the store.
///
/// # Errors
/// [`RangeError`] for what is not understood.
pub fn check(headers: &HeaderMap, part_number: Option<&str>) -> Result<(), RangeError> {
    if part_number.is_some_and(|number| parse_part_number(number).is_none()) {
        return Err(RangeError::PartNumber);
    }
    let Some(range) = headers.get(RANGE) else { return Ok(()) };
    if part_number.is_some() {
        return Err(RangeError::Both);
    }
    if range.to_str().is_ok_and(is_one_range) { Ok(()) } else { Err(RangeError::NotOne) }
}

/// A range that counts only for one state of the object cannot be carried over: no store need know `If-Range`. The whole object is always
/// a right answer to it (RFC 9110 §13.1.5), a part of another state never.
pub fn drop_conditional(received: &HeaderMap, for_store: &mut HeaderMap) {
    if received.contains_key(IF_RANGE) {
        for_store.remove(RANGE);
    }
}

/// `bytes=first-last`, `bytes=first-` or `bytes=-length` (RFC 9110 §14.1.2).
fn is_one_range(text: &str) -> bool {
    let Some((first, last)) = text.strip_prefix("bytes=").and_then(|range| range.split_once('-')) else { return false };
    match (number(first), number(last)) {
        (Some(first), Some(last)) => first <= last,
        (Some(_), None) => last.is_empty(),
        (None, Some(_)) => first.is_empty(),
        (None, None) => false,
    }
}

/// A decimal number that no 64-bit reader can take for another.
fn number(text: &str) -> Option<u64> {
    let plain = (1..=18).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| plain)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn g10_only_one_plain_range_is_understood() {
        for range in ["bytes=0-0", "bytes=0-", "bytes=5-9", "bytes=-5", "bytes=-0", "bytes=100-999999999999999999"] {
            assert!(is_one_range(range), "{range}");
        }
        let bomb = format!("bytes={}", vec!["0-"; 1000].join(","));
        for range in [
            "bytes=5-2",
            "bytes=-",
            "bytes=",
            "bytes",
            "",
            "0-5",
            "Bytes=0-5",
            "items=0-5",
            "bytes=0-1,2-3",
            "bytes=0-1,",
            "bytes= 0-1",
            "bytes=0 - 1",
            "bytes=+0-1",
            "bytes=0--1",
            "bytes=a-b",
            "bytes=0x0-0x5",
            "bytes=0-18446744073709551616",
            &bomb,
        ] {
            assert!(!is_one_range(range), "{range:.60}");
        }
    }

    #[test]
    fn g10_part_numbers_are_strict_and_exclude_ranges() {
        let mut headers = HeaderMap::new();
        for number in ["1", "10000"] {
            assert_eq!(check(&headers, Some(number)), Ok(()), "{number}");
        }
        for number in ["0", "10001", "-1", "01", "+1", "1.0", "", "x", " 1"] {
            assert_eq!(check(&headers, Some(number)), Err(RangeError::PartNumber), "{number}");
        }
        headers.insert(RANGE, HeaderValue::from_static("bytes=0-1"));
        assert_eq!((check(&headers, None), check(&headers, Some("1"))), (Ok(()), Err(RangeError::Both)));
        headers.insert(RANGE, HeaderValue::from_static("bytes=0-1,3-4"));
        assert_eq!(check(&headers, None), Err(RangeError::NotOne));
    }

    #[test]
    fn a_conditional_range_asks_for_the_whole_object() {
        let mut received = HeaderMap::new();
        received.insert(RANGE, HeaderValue::from_static("bytes=0-1"));
        let mut for_store = received.clone();
        drop_conditional(&received, &mut for_store);
        assert!(for_store.contains_key(RANGE));
        received.insert(IF_RANGE, HeaderValue::from_static("\"e\""));
        drop_conditional(&received, &mut for_store);
        assert!(for_store.is_empty());
    }
}

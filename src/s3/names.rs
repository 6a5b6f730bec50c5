//! Object keys: decoded once, checked once.
//!
//! Stores normalise odd keys differently: one turns `a\b` into `a/b`, another drops a leading slash. A rule that reads the key as
//! sent would then guard another object than the store touches, so such keys are refused unless a bucket says otherwise.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use crate::s3::buckets::OddKeys;
use crate::s3::reserved::is_reserved;

/// Longest key in bytes, as S3 has it; after a bucket's upstream prefix was put before it.
pub const MAX_KEY_BYTES: usize = 1024;

/// An object key in public terms: percent-decoded once, valid UTF-8, checked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey(String);

/// Why a key was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No bytes.
    #[error("the key is empty")]
    Empty,
    /// More bytes than S3 allows, the upstream prefix included.
    #[error("the key has {length} bytes, at most {limit} are allowed here")]
    TooLong {
        /// Bytes of the key.
        length: usize,
        /// Bytes that the bucket's upstream prefix leaves of [`MAX_KEY_BYTES`].
        limit: usize,
    },
    /// A segment `.` or `..`.
    #[error("the key has a `.` or `..` segment")]
    DotSegment,
    /// Two slashes in a row.
    #[error("the key has an empty segment")]
    EmptySegment,
    /// A slash at the start.
    #[error("the key begins with a slash")]
    LeadingSlash,
    /// A backslash, which some stores read as a slash.
    #[error("the key has a backslash")]
    Backslash,
    /// A control character.
    #[error("the key has a control character")]
    Control,
    /// In the part of the store's bucket that is the gateway's own.
    #[error("keys that begin with `.countersign/` are reserved")]
    Reserved,
}

impl ObjectKey {
    /// Checks a decoded key. Control characters are refused whatever `odd` says: neither logs nor list XML can carry them.
    ///
    /// # Errors
    /// [`KeyError`] with the first thing wrong.
    pub fn check(key: String, upstream_prefix: &str, odd: OddKeys) -> Result<Self, KeyError> {
        let (length, limit) = (key.len(), MAX_KEY_BYTES.saturating_sub(upstream_prefix.len()));
        if key.is_empty() {
            return Err(KeyError::Empty);
        }
        if length > limit {
            return Err(KeyError::TooLong { length, limit });
        }
        check_text(&key, odd)?;
        // No ordinary key has a dot at the start of a segment.
        if !is_ordinary(key.as_bytes()) && is_reserved(upstream_prefix, &key) {
            return Err(KeyError::Reserved);
        }
        Ok(Self(key))
    }

    /// The key.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Checks a key, or the prefix of keys in a listing, for everything but its length.
///
/// # Errors
/// [`KeyError`] with the first thing wrong.
pub fn check_text(text: &str, odd: OddKeys) -> Result<(), KeyError> {
    if is_ordinary(text.as_bytes()) {
        return Ok(());
    }
    if text.chars().any(char::is_control) {
        return Err(KeyError::Control);
    }
    if odd == OddKeys::Pass {
        return Ok(());
    }
    if text.contains('\\') {
        return Err(KeyError::Backslash);
    }
    if text.starts_with('/') {
        return Err(KeyError::LeadingSlash);
    }
    if text.contains("//") {
        return Err(KeyError::EmptySegment);
    }
    if text.split('/').any(|segment| segment == "." || segment == "..") {
        return Err(KeyError::DotSegment);
    }
    Ok(())
}

/// Whether there is nothing to look for in a key, as in most: printable ASCII without a backslash, no two slashes in a row, and no slash or
/// dot at the start or around another.
fn is_ordinary(key: &[u8]) -> bool {
    let plain = key.iter().fold(true, |plain, byte| plain & matches!(byte, b' '..=b'[' | b']'..=b'~'));
    let mut before = b'/';
    plain
        && key.iter().all(|byte| {
            let fits = before != b'/' || !matches!(byte, b'/' | b'.');
            before = *byte;
            fits
        })
}

/// Decodes percent escapes once. `None` if an escape is broken or the result is not UTF-8.
pub fn decode_once(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    if memchr::memchr(b'%', bytes).is_none() {
        return Some(text.to_owned());
    }
    let is_hex = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_hexdigit);
    let broken = bytes.iter().enumerate().any(|(at, byte)| *byte == b'%' && !(is_hex(at + 1) && is_hex(at + 2)));
    if broken {
        return None;
    }
    percent_decode_str(text).decode_utf8().ok().map(Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(key: &str, odd: OddKeys) -> Result<ObjectKey, KeyError> {
        ObjectKey::check(key.to_owned(), "gw/", odd)
    }

    #[test]
    fn e07_ordinary_keys_are_kept_byte_for_byte() {
        for key in
            ["a", "a/x.", "a/x ", "a/x/", "a/CON", "a/x:y", "a/..b", "a/.b", "a...", "é/日本", "a+b", "%2e", "．．/b"]
        {
            assert_eq!(check(key, OddKeys::Refuse).map(|k| k.as_str().to_owned()), Ok(key.to_owned()));
        }
    }

    #[test]
    fn keys_that_stores_normalise_are_refused_unless_the_bucket_passes_them() {
        let odd = [
            ("a/../b", KeyError::DotSegment),
            ("..", KeyError::DotSegment),
            ("./a", KeyError::DotSegment),
            ("a/.", KeyError::DotSegment),
            ("a//b", KeyError::EmptySegment),
            ("a//", KeyError::EmptySegment),
            ("/a", KeyError::LeadingSlash),
            ("a\\b", KeyError::Backslash),
        ];
        for (key, error) in odd {
            assert_eq!(check(key, OddKeys::Refuse), Err(error), "{key}");
            assert!(check(key, OddKeys::Pass).is_ok(), "{key}");
        }
    }

    proptest! {
        #[test]
        fn a_key_without_anything_odd_is_taken_at_once_and_rightly(key in "(a|/|\\.|\\\\|\x01|é|\u{85}| ){0,6}") {
            let slow = key.chars().any(char::is_control)
                || key.contains('\\')
                || key.starts_with('/')
                || key.contains("//")
                || key.split('/').any(|segment| segment == "." || segment == "..");
            prop_assert_eq!(check_text(&key, OddKeys::Refuse).is_err(), slow);
            prop_assert!(!is_ordinary(key.as_bytes()) || !slow);
        }
    }

    #[test]
    fn e02_control_characters_are_always_refused() {
        for key in ["a\0", "a\nb", "a\r", "a\u{7f}", "a\u{1b}", "a\u{85}"] {
            assert_eq!(check(key, OddKeys::Refuse), Err(KeyError::Control), "{key:?}");
            assert_eq!(check(key, OddKeys::Pass), Err(KeyError::Control), "{key:?}");
        }
    }

    #[test]
    fn e06_the_length_counts_bytes_with_the_upstream_prefix() {
        assert!(check(&"k".repeat(1021), OddKeys::Refuse).is_ok());
        assert_eq!(check(&"k".repeat(1022), OddKeys::Refuse), Err(KeyError::TooLong { length: 1022, limit: 1021 }));
        assert!(check(&"日".repeat(341), OddKeys::Refuse).is_err());
        assert_eq!(check("", OddKeys::Pass), Err(KeyError::Empty));
    }

    #[test]
    fn escapes_are_decoded_exactly_once() {
        assert_eq!(decode_once("a%2Fb%20c%25"), Some("a/b c%".to_owned()));
        assert_eq!(decode_once("%252e%252e"), Some("%2e%2e".to_owned()));
        assert_eq!(decode_once("a+b"), Some("a+b".to_owned()));
        for text in ["%", "%2", "%zz", "%c0%af", "%ff", "a%"] {
            assert_eq!(decode_once(text), None, "{text}");
        }
    }
}

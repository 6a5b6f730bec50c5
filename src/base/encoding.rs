//! Percent-encoding as SigV4 wants it: upper-case hex, everything encoded but the unreserved characters.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, percent_encode, utf8_percent_encode};

const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
const UNRESERVED_AND_SLASH: &AsciiSet = &UNRESERVED.remove(b'/');

/// The canonical form of a key in a path: each byte outside `A-Za-z0-9-_.~/` as `%XX`.
pub fn encode_path(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED_AND_SLASH).collect()
}

/// Adds the canonical form of a key to a path, see [`encode_path`].
pub fn push_path(path: &mut String, text: &str) {
    path.extend(utf8_percent_encode(text, UNRESERVED_AND_SLASH));
}

/// The canonical form of a query name or value: each byte outside `A-Za-z0-9-_.~` as `%XX`.
pub fn encode_query(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED).collect()
}

/// The canonical form of a path as it was received: decoded once, encoded again. Slashes stay what they are.
pub fn recode_path(raw: &str) -> Cow<'_, str> {
    recode(raw, UNRESERVED_AND_SLASH, |byte| is_unreserved(byte) || byte == b'/')
}

/// The canonical form of a query name or value as it was received. A `+` is a blank, as for everything that reads queries here.
pub fn recode_query(raw: &str) -> Cow<'_, str> {
    match raw.contains('+') {
        true => Cow::Owned(recode(&raw.replace('+', "%20"), UNRESERVED, is_unreserved).into_owned()),
        false => recode(raw, UNRESERVED, is_unreserved),
    }
}

fn recode<'a>(raw: &'a str, set: &'static AsciiSet, is_plain: impl Fn(u8) -> bool) -> Cow<'a, str> {
    // Nearly every name and most keys are what they should be.
    if raw.bytes().all(is_plain) {
        return Cow::Borrowed(raw);
    }
    let decoded: Cow<'_, [u8]> = percent_decode(raw.as_bytes()).into();
    Cow::Owned(percent_encode(&decoded, set).collect())
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~')
}

/// A SHA-256 in lower-case hex. `hex::encode` goes character by character, and each request has five of these.
pub fn hex_sha256(digest: &[u8; 32]) -> String {
    let mut digits = [0; 64];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(digest) {
        pair[0] = b"0123456789abcdef"[usize::from(byte >> 4)];
        pair[1] = b"0123456789abcdef"[usize::from(byte & 15)];
    }
    str::from_utf8(&digits).expect("hex digits").to_owned()
}

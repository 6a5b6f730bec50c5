//! Percent-encoding as SigV4 wants it: upper-case hex, everything encoded but the unreserved characters.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
const UNRESERVED_AND_SLASH: &AsciiSet = &UNRESERVED.remove(b'/');

/// The canonical form of a key in a path: each byte outside `A-Za-z0-9-_.~/` as `%XX`.
pub fn encode_path(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED_AND_SLASH).collect()
}

/// The canonical form of a query name or value: each byte outside `A-Za-z0-9-_.~` as `%XX`.
pub fn encode_query(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED).collect()
}

/// A SHA-256 in lower-case hex. `hex::encode` goes character by character, and each request has five of these.
pub fn hex_sha256(digest: &[u8; 32]) -> String {
    let mut digits = vec![0; 64];
    hex::encode_to_slice(digest, &mut digits).expect("64 digits for 32 bytes");
    String::from_utf8(digits).expect("hex digits")
}

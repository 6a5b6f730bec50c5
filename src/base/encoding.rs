//! Percent-encoding as SigV4 wants it: upper-case hex, everything encoded but the unreserved characters.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
const UNRESERVED_AND_SLASH: &AsciiSet = &UNRESERVED.remove(b'/');

/// The canonical form of a key in a path: each byte outside `A-Za-z0-9-_.~/` as `%XX`.
pub fn encode_path(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED_AND_SLASH).to_string()
}

/// The canonical form of a query name or value: each byte outside `A-Za-z0-9-_.~` as `%XX`.
pub fn encode_query(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED).to_string()
}

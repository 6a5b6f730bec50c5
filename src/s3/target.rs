//! The request target: bucket, key and query, read once from the raw bytes.
//!
//! What is decoded here is what rules read, what is signed upstream and what is logged; nothing is derived from the raw target a
//! second time. A byte that RFC 3986 does not allow in a target is refused, not repaired.

use crate::s3::names::decode_once;

/// Bucket, key and query of a request, decoded once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// First path segment; empty for `/`.
    pub bucket: String,
    /// Rest of the path after the bucket's slash; `None` if there is none or it is empty.
    pub key: Option<String>,
    /// Query parameters in the order sent; names are unique.
    pub query: Vec<(String, String)>,
}

/// Why a target could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// The path does not begin with a slash (`*`, an authority).
    #[error("the path must begin with a slash")]
    NoPath,
    /// A byte that must be percent-encoded.
    #[error("the target has a byte that must be percent-encoded")]
    IllegalByte,
    /// A broken percent escape, or bytes that are not UTF-8.
    #[error("the target has a broken percent escape or is not UTF-8")]
    BadEscape,
    /// A control character in a query parameter.
    #[error("the query has a control character")]
    Control,
    /// A query parameter without a name (`&&`, `=x`).
    #[error("the query has a parameter without a name")]
    NamelessParameter,
    /// The same parameter twice.
    #[error("the query parameter `{0}` appears twice")]
    DuplicateParameter(String),
    /// More parameters than any S3 operation has.
    #[error("the query has more than {MAX_PARAMETERS} parameters")]
    TooManyParameters,
}

/// No S3 operation has more than 12 parameters; a presigned URL adds 7.
const MAX_PARAMETERS: usize = 64;

impl Target {
    /// Reads the raw path and query of a path-style request.
    ///
    /// # Errors
    /// [`TargetError`] if there are two ways to read it, or none.
    pub fn parse(path: &str, query: Option<&str>) -> Result<Self, TargetError> {
        let rest = plain_path(path)?;
        let (bucket, key) = rest.split_once('/').map_or((rest, ""), |(bucket, key)| (bucket, key));
        Self::of(decode(bucket)?, key, query)
    }

    /// Reads the raw path and query of a request that names its bucket elsewhere: the whole path is the key.
    ///
    /// # Errors
    /// As [`Target::parse`].
    pub fn parse_in(bucket: String, path: &str, query: Option<&str>) -> Result<Self, TargetError> {
        Self::of(bucket, plain_path(path)?, query)
    }

    fn of(bucket: String, key: &str, query: Option<&str>) -> Result<Self, TargetError> {
        let key = if key.is_empty() { None } else { Some(decode(key)?) };
        Ok(Self { bucket, key, query: parse_query(query.unwrap_or_default())? })
    }
}

/// A path without its first slash, if it has no other bytes than a path may have.
fn plain_path(path: &str) -> Result<&str, TargetError> {
    let rest = path.strip_prefix('/').ok_or(TargetError::NoPath)?;
    let plain = rest.bytes().all(|byte| is_path_byte(byte) || byte == b'/');
    if plain { Ok(rest) } else { Err(TargetError::IllegalByte) }
}

fn decode(text: &str) -> Result<String, TargetError> {
    decode_once(text).ok_or(TargetError::BadEscape)
}

/// Reads a query string: `+` is a space, escapes are decoded once.
///
/// # Errors
/// [`TargetError`] as for a whole target.
pub fn parse_query(query: &str) -> Result<Vec<(String, String)>, TargetError> {
    if query.is_empty() {
        return Ok(Vec::new());
    }
    if !query.bytes().all(|byte| is_path_byte(byte) || byte == b'/' || byte == b'?') {
        return Err(TargetError::IllegalByte);
    }
    let decode = |text: &str| decode_once(&text.replace('+', "%20")).ok_or(TargetError::BadEscape);
    let mut parameters: Vec<(String, String)> = Vec::new();
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (decode(name)?, decode(value)?);
        // No parameter of S3 has any, and stores put some into headers of their answers (CVE-2020-1760, CVE-2021-3524).
        if name.chars().chain(value.chars()).any(char::is_control) {
            return Err(TargetError::Control);
        }
        if name.is_empty() {
            return Err(TargetError::NamelessParameter);
        }
        if parameters.iter().any(|(known, _)| *known == name) {
            return Err(TargetError::DuplicateParameter(name));
        }
        if parameters.len() == MAX_PARAMETERS {
            return Err(TargetError::TooManyParameters);
        }
        parameters.push((name, value));
    }
    Ok(parameters)
}

/// `pchar` of RFC 3986 §3.3, without checking that escapes are whole.
fn is_path_byte(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&'..=b',' | b';' | b'=' | b':' | b'@' | b'%')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(target: &str) -> Result<Target, TargetError> {
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        Target::parse(path, query)
    }

    fn path(target: &str) -> (String, Option<String>) {
        let target = parse(target).unwrap();
        (target.bucket, target.key)
    }

    #[test]
    fn the_first_segment_is_the_bucket_and_the_rest_is_the_key() {
        assert_eq!(path("/"), (String::new(), None));
        assert_eq!(path("/bkt"), ("bkt".into(), None));
        assert_eq!(path("/bkt/"), ("bkt".into(), None));
        assert_eq!(path("/bkt/a/b%20c+d"), ("bkt".into(), Some("a/b c+d".into())));
    }

    #[test]
    fn b03_slashes_are_never_collapsed() {
        assert_eq!(path("/bkt//a/x"), ("bkt".into(), Some("/a/x".into())));
        assert_eq!(path("///bkt/a"), (String::new(), Some("/bkt/a".into())));
        assert_eq!(path("/bkt/a//x/"), ("bkt".into(), Some("a//x/".into())));
    }

    #[test]
    fn e01_escapes_are_decoded_once_and_dots_are_left_for_the_key_check() {
        assert_eq!(path("/bkt/a/%2e%2e/b").1.unwrap(), "a/../b");
        assert_eq!(path("/bkt/a/%252e%252e/b").1.unwrap(), "a/%2e%2e/b");
        assert_eq!(parse("/bkt/a/..%c0%af"), Err(TargetError::BadEscape));
        assert_eq!(parse("/bkt/%zz"), Err(TargetError::BadEscape));
    }

    #[test]
    fn bytes_that_a_target_cannot_hold_are_refused() {
        for target in ["/bkt/a\\b", "/bkt/a\"b", "/bkt/{x}", "/bkt/a|b", "/bkt/[a]", "/bkt/é", "/bkt/a b"] {
            assert_eq!(parse(target), Err(TargetError::IllegalByte), "{target}");
        }
        assert_eq!(parse("*"), Err(TargetError::NoPath));
        assert_eq!(parse("bkt:443"), Err(TargetError::NoPath));
    }

    #[test]
    fn query_parameters_are_decoded_as_a_form() {
        assert_eq!(
            parse_query("prefix=a+b%2Bc&acl").unwrap(),
            [("prefix".into(), "a b+c".into()), ("acl".into(), String::new())]
        );
    }

    #[test]
    fn g02_control_characters_in_a_query_are_refused() {
        for query in ["x=a%0d%0ab", "x=%0a", "x%0d=1", "x=%00", "x=%7f", "x=%C2%85"] {
            assert_eq!(parse_query(query), Err(TargetError::Control), "{query}");
        }
        assert!(parse_query("x=%E5%98%8A").is_ok());
    }

    #[test]
    fn d16_doubtful_queries_are_refused() {
        assert_eq!(parse("/b?prefix=a&prefix=b"), Err(TargetError::DuplicateParameter("prefix".into())));
        assert_eq!(parse("/b?prefix=a&p%72efix=b"), Err(TargetError::DuplicateParameter("prefix".into())));
        for query in ["/b?&acl", "/b?acl&", "/b?=x", "/b?a&&b"] {
            assert_eq!(parse(query), Err(TargetError::NamelessParameter), "{query}");
        }
        let many: Vec<_> = (0..65).map(|n| format!("p{n}=")).collect();
        assert_eq!(parse_query(&many.join("&")), Err(TargetError::TooManyParameters));
    }
}

//! The canonical form of a request as it was received: what a client's signature must cover.
//!
//! Made of the raw target and the headers of the wire. Path and query are decoded once and encoded again, as S3 does, and nothing is
//! normalised: no slash collapses, no dot vanishes. So the form that is verified says the same as what the rules read.
//! Source: AWS reference, "Create a signed AWS API request"; vectors: AWS' signing test suite.

use std::borrow::Cow;

use aws_lc_rs::digest;
use http::{HeaderMap, HeaderName};

use crate::base::encoding::{hex_sha256, recode_path, recode_query};
use crate::sigv4::authorization::{ALGORITHM, SignedHeaders};
use crate::sigv4::key::AmzDate;
use crate::sigv4::presign::SIGNATURE;

/// A request as it came off the wire.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    /// HTTP method.
    pub method: &'a str,
    /// Path, not decoded.
    pub path: &'a str,
    /// Query, not decoded, without the question mark.
    pub query: &'a str,
    /// `Host` or `:authority`.
    pub host: &'a str,
    /// The headers; that of the host is not looked at.
    pub headers: &'a HeaderMap,
}

/// A signed header that the request does not have: something on the way has taken it out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the signed header `{0}` is not in the request")]
pub struct HeaderGone(pub HeaderName);

impl Received<'_> {
    /// The SHA-256 of the canonical request, in hex. `payload` is what stands for the body in it.
    ///
    /// A parameter `X-Amz-Signature` is left out: only a presigned URL has one, and it cannot cover itself.
    ///
    /// # Errors
    /// [`HeaderGone`].
    pub fn canonical_hash(&self, signed: &SignedHeaders, payload: &str) -> Result<String, HeaderGone> {
        let mut context = digest::Context::new(&digest::SHA256);
        self.write_canonical(signed, payload, |piece| context.update(piece))?;
        Ok(hex_sha256(context.finish().as_ref().try_into().expect("SHA-256 has 32 bytes")))
    }

    fn write_canonical(
        &self,
        signed: &SignedHeaders,
        payload: &str,
        mut write: impl FnMut(&[u8]),
    ) -> Result<(), HeaderGone> {
        write(self.method.as_bytes());
        write(b"\n");
        write(recode_path(self.path).as_bytes());
        write(b"\n");
        for (position, (name, value)) in self.canonical_pairs().iter().enumerate() {
            let separator = if position == 0 { "" } else { "&" };
            [separator, name.as_ref(), "=", value.as_ref()].iter().for_each(|piece| write(piece.as_bytes()));
        }
        write(b"\n");
        for name in signed.names() {
            write(name.as_bytes());
            write(b":");
            self.write_values(name, &mut write)?;
            write(b"\n");
        }
        write(b"\n");
        write(signed.as_str().as_bytes());
        write(b"\n");
        write(payload.as_bytes());
        Ok(())
    }

    fn canonical_pairs(&self) -> Vec<(Cow<'_, str>, Cow<'_, str>)> {
        if self.query.is_empty() {
            return Vec::new();
        }
        let pairs = self.query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let pairs = pairs.map(|(name, value)| (recode_query(name), recode_query(value)));
        let mut pairs: Vec<_> = pairs.filter(|(name, _)| name != SIGNATURE).collect();
        pairs.sort_unstable();
        pairs
    }

    /// The values of one header, with commas between those of repeated lines.
    fn write_values(&self, name: &str, write: &mut impl FnMut(&[u8])) -> Result<(), HeaderGone> {
        if name == "host" {
            write(self.host.as_bytes());
            return Ok(());
        }
        for (position, value) in self.headers.get_all(name).iter().enumerate() {
            if position > 0 {
                write(b",");
            }
            write(&without_blanks(value.as_bytes()));
        }
        if self.headers.contains_key(name) {
            return Ok(());
        }
        Err(HeaderGone(HeaderName::from_bytes(name.as_bytes()).unwrap_or(http::header::HOST)))
    }
}

/// The text of which a signature is the HMAC; `hash` is that of the canonical request.
pub fn string_to_sign(date: &AmzDate, scope: &str, hash: &str) -> String {
    [ALGORITHM, "\n", &date.timestamp, "\n", scope, "\n", hash].concat()
}

/// As [`collapse_blanks`](crate::sigv4::canonical::collapse_blanks), for values that need not be text.
fn without_blanks(value: &[u8]) -> Cow<'_, [u8]> {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let single = |pair: &[u8]| !(is_blank(&pair[0]) && is_blank(&pair[1]));
    let ends = [value.first(), value.last()].into_iter().flatten();
    if value.windows(2).all(single) && !value.contains(&b'\t') && !ends.into_iter().any(is_blank) {
        return Cow::Borrowed(value);
    }
    let words: Vec<&[u8]> = value.split(is_blank).filter(|word| !word.is_empty()).collect();
    Cow::Owned(words.join(&b' '))
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;

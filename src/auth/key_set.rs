//! The keys of one issuer, read from a JWKS document, and which of them may check a given token.
//!
//! Keys are chosen by comparing text in memory; nothing in a token can name a file or a URL. `jsonwebtoken` does the signature,
//! but not the selection: its own conversion from JWK ignores `use`, `key_ops`, `alg` and `crv`, and makes an HMAC key of an
//! `oct` entry. Source: RFC 7517, RFC 7518 §6, RFC 8037.

use std::collections::HashMap;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::{Map, Value};

use crate::auth::error::KeyMisfit;
use crate::auth::strict_json;

/// Far more keys than an issuer needs, few enough to look through for every token.
pub(in crate::auth) const MAX_KEYS: usize = 100;

// Below 2048 bits RSA is no longer safe; above 8192 the cryptographic library refuses to verify.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// Longest accepted key id in bytes.
pub(in crate::auth) const MAX_KID_BYTES: usize = 256;

/// Usable keys of one document.
#[derive(Debug, Default)]
pub(in crate::auth) struct KeySet {
    keys: Vec<VerifyingKey>,
    skipped: usize,
}

/// A public key that may verify signatures.
#[derive(Debug)]
pub(in crate::auth) struct VerifyingKey {
    kid: Option<String>,
    kind: KeyKind,
    algorithm: Option<Algorithm>,
    key: DecodingKey,
    thumbprint: Thumbprint,
}

/// The SHA-256 thumbprint of a public key, whatever it is called and for whatever else its entry says. Source: RFC 7638.
pub(in crate::auth) type Thumbprint = [u8; 32];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeyKind {
    Rsa,
    P256,
    P384,
    Ed25519,
}

/// Why a document is not a key set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeySetFault {
    /// Not strict JSON with an array `keys`.
    #[error("not a JWKS document")]
    Syntax,
    /// Too many keys.
    #[error("more than {MAX_KEYS} keys")]
    TooManyKeys,
}

/// Why no key is given out for a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::auth) enum NoKey {
    /// The set has none; a newer set might.
    Unknown,
    /// The set has one that must not be used.
    Unsuitable(KeyMisfit),
}

impl KeySet {
    /// Reads a JWKS document. Keys that cannot be used are left out, so that an odd one does not take the others with it.
    ///
    /// # Errors
    /// [`KeySetFault`] if the document as a whole is not usable.
    pub(in crate::auth) fn parse(document: &[u8]) -> Result<Self, KeySetFault> {
        let document = strict_json::object(document).ok_or(KeySetFault::Syntax)?;
        let entries = document.get("keys").and_then(Value::as_array).ok_or(KeySetFault::Syntax)?;
        if entries.len() > MAX_KEYS {
            return Err(KeySetFault::TooManyKeys);
        }
        let mut kids: HashMap<&str, usize> = HashMap::new();
        for kid in entries.iter().filter_map(|entry| entry.get("kid")?.as_str()) {
            *kids.entry(kid).or_default() += 1;
        }
        // Two keys of one name: nobody can tell which one the issuer means, so neither counts.
        let unique = |key: &VerifyingKey| key.kid.as_deref().is_none_or(|kid| kids.get(kid) == Some(&1));
        let keys: Vec<_> =
            entries.iter().filter_map(|entry| VerifyingKey::parse(entry.as_object()?)).filter(unique).collect();
        let skipped = entries.len() - keys.len();
        Ok(Self { keys, skipped })
    }

    /// Number of usable keys.
    pub(in crate::auth) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether no token could be checked.
    pub(in crate::auth) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Number of keys in the document that were left out.
    pub(in crate::auth) fn skipped(&self) -> usize {
        self.skipped
    }

    /// The key for a token: the one its `kid` names, or, if it names none, the only one that fits its algorithm.
    ///
    /// # Errors
    /// [`NoKey`].
    pub(in crate::auth) fn select(&self, algorithm: Algorithm, kid: Option<&str>) -> Result<&VerifyingKey, NoKey> {
        if let Some(kid) = kid {
            let key = self.keys.iter().find(|key| key.kid.as_deref() == Some(kid)).ok_or(NoKey::Unknown)?;
            return if key.fits(algorithm) { Ok(key) } else { Err(NoKey::Unsuitable(KeyMisfit::Algorithm)) };
        }
        let mut fitting = self.keys.iter().filter(|key| key.fits(algorithm));
        match (fitting.next(), fitting.next()) {
            (None, _) => Err(NoKey::Unknown),
            (Some(key), None) => Ok(key),
            (Some(_), Some(_)) => Err(NoKey::Unsuitable(KeyMisfit::Ambiguous)),
        }
    }
}

impl VerifyingKey {
    /// Whether `signature` (base64url) over `message` is by this key. False for anything that is not a signature too.
    pub(in crate::auth) fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &str) -> bool {
        self.fits(algorithm) && jsonwebtoken::crypto::verify(signature, message, &self.key, algorithm).unwrap_or(false)
    }

    /// What tells this key from every other.
    pub(in crate::auth) fn thumbprint(&self) -> Thumbprint {
        self.thumbprint
    }

    fn fits(&self, algorithm: Algorithm) -> bool {
        self.algorithm.is_none_or(|own| own == algorithm) && kind_for(algorithm) == Some(self.kind)
    }

    fn parse(entry: &Map<String, Value>) -> Option<Self> {
        // A private key that was published by mistake can be used by anybody.
        if entry.contains_key("d") || !may_verify(entry) {
            return None;
        }
        let text = |name: &str| entry.get(name)?.as_str();
        let kid = match entry.get("kid") {
            None => None,
            Some(Value::String(kid)) if !kid.is_empty() && kid.len() <= MAX_KID_BYTES => Some(kid.clone()),
            Some(_) => return None,
        };
        let algorithm = match entry.get("alg") {
            None => None,
            Some(Value::String(name)) => Some(Algorithm::from_str(name).ok()?),
            Some(_) => return None,
        };
        let (kind, key) = match (text("kty")?, text("crv")) {
            ("RSA", _) => (KeyKind::Rsa, rsa_key(text("n")?, text("e")?)?),
            ("EC", Some("P-256")) => (KeyKind::P256, ec_key(text("x")?, text("y")?, 32)?),
            ("EC", Some("P-384")) => (KeyKind::P384, ec_key(text("x")?, text("y")?, 48)?),
            ("OKP", Some("Ed25519")) => (KeyKind::Ed25519, ed25519_key(text("x")?)?),
            _ => return None,
        };
        let thumbprint = thumbprint(kind, text)?;
        Some(Self { kid, kind, algorithm, key, thumbprint })
    }
}

/// The members that make up the key, in the order and spelling of RFC 7638 §3. Their values are base64url, so nothing has to be escaped, and
/// each has one text, but for the leading zeros that numbers may have.
fn thumbprint<'a>(kind: KeyKind, text: impl Fn(&str) -> Option<&'a str>) -> Option<Thumbprint> {
    let without_zeros = |name| Some(URL_SAFE_NO_PAD.encode(number(text(name)?)?));
    let point = |curve| Some(format!(r#"{{"crv":"{curve}","kty":"EC","x":"{}","y":"{}"}}"#, text("x")?, text("y")?));
    let members = match kind {
        KeyKind::Rsa => format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, without_zeros("e")?, without_zeros("n")?),
        KeyKind::P256 => point("P-256")?,
        KeyKind::P384 => point("P-384")?,
        KeyKind::Ed25519 => format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, text("x")?),
    };
    digest(&SHA256, members.as_bytes()).as_ref().try_into().ok()
}

/// Whether `use` and `key_ops` leave room for verifying.
fn may_verify(entry: &Map<String, Value>) -> bool {
    let for_signatures = match entry.get("use") {
        None => true,
        Some(purpose) => purpose == "sig",
    };
    let for_verifying = match entry.get("key_ops") {
        None => true,
        Some(Value::Array(operations)) => operations.iter().any(|operation| operation == "verify"),
        Some(_) => false,
    };
    for_signatures && for_verifying
}

fn kind_for(algorithm: Algorithm) -> Option<KeyKind> {
    match algorithm {
        Algorithm::RS256
        | Algorithm::RS384
        | Algorithm::RS512
        | Algorithm::PS256
        | Algorithm::PS384
        | Algorithm::PS512 => Some(KeyKind::Rsa),
        Algorithm::ES256 => Some(KeyKind::P256),
        Algorithm::ES384 => Some(KeyKind::P384),
        Algorithm::EdDSA => Some(KeyKind::Ed25519),
        // HMAC: whoever could check a token could make one. The enum is open, so anything new is refused as well.
        _ => None,
    }
}

/// Whether a key that everybody may know can verify signatures of this algorithm.
pub(in crate::auth) fn is_asymmetric(algorithm: Algorithm) -> bool {
    kind_for(algorithm).is_some()
}

fn rsa_key(modulus: &str, exponent: &str) -> Option<DecodingKey> {
    let modulus = number(modulus)?;
    let exponent = number(exponent)?;
    let bits = modulus.len() * 8 - modulus.first()?.leading_zeros() as usize;
    let odd = |bytes: &[u8]| bytes.last().is_some_and(|low| low & 1 == 1);
    // An exponent of 1 makes every message its own signature; an even one is none.
    let sound = RSA_BITS.contains(&bits) && odd(&modulus) && odd(&exponent) && exponent != [1];
    sound.then(|| DecodingKey::from_rsa_raw_components(&modulus, &exponent))
}

/// A base64url number without its leading zero bytes.
fn number(text: &str) -> Option<Vec<u8>> {
    let bytes = strict_json::base64url(text)?;
    let start = bytes.iter().position(|&byte| byte != 0)?;
    Some(bytes[start..].to_vec())
}

fn ec_key(x: &str, y: &str, coordinate_bytes: usize) -> Option<DecodingKey> {
    let (x, y) = (strict_json::base64url(x)?, strict_json::base64url(y)?);
    if x.len() != coordinate_bytes || y.len() != coordinate_bytes {
        return None;
    }
    // SEC 1 §2.3.3, uncompressed. Whether the point is on the curve is checked with each signature.
    Some(DecodingKey::from_ec_der(&[&[4], x.as_slice(), y.as_slice()].concat()))
}

fn ed25519_key(x: &str) -> Option<DecodingKey> {
    let point: [u8; 32] = strict_json::base64url(x)?.try_into().ok()?;
    (!is_small_order(&point)).then(|| DecodingKey::from_ed_der(&point))
}

/// Whether an Ed25519 point is one of the eight for which a signature of any message can be written down.
///
/// The library accepts them. The list is the one of libsodium (`ge25519_has_small_order`), without regard to the sign.
fn is_small_order(point: &[u8; 32]) -> bool {
    const ORDER_8: [[u8; 32]; 2] = [
        *b"\x26\xe8\x95\x8f\xc2\xb2\x27\xb0\x45\xc3\xf4\x89\xf2\xef\x98\xf0\xd5\xdf\xac\x05\xd3\xc6\x33\x39\xb1\x38\x02\x88\x6d\x53\xfc\x05",
        *b"\xc7\x17\x6a\x70\x3d\x4d\xd8\x4f\xba\x3c\x0b\x76\x0d\x10\x67\x0f\x2a\x20\x53\xfa\x2c\x39\xcc\xc6\x4e\xc7\xfd\x77\x92\xac\x03\x7a",
    ];
    let mut y = *point;
    y[31] &= 0x7f;
    // y = 0 and 1, and the same two and -1 written as p - 1, p and p + 1.
    let near_zero = matches!(y[0], 0 | 1) && y[1..].iter().all(|&byte| byte == 0);
    let near_prime = matches!(y[0], 0xec..=0xee) && y[1..31].iter().all(|&byte| byte == 0xff) && y[31] == 0x7f;
    near_zero || near_prime || ORDER_8.contains(&y)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn thumbprint(entry: Value) -> String {
        URL_SAFE_NO_PAD.encode(VerifyingKey::parse(entry.as_object().unwrap()).unwrap().thumbprint())
    }

    #[test]
    fn a_thumbprint_is_that_of_rfc_7638_and_of_the_key_alone() {
        // RFC 7638 §3.1.
        let modulus = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
        let expected = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs";
        let entry = json!({"kty": "RSA", "n": modulus, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"});
        assert_eq!(thumbprint(entry), expected);
        let padded = URL_SAFE_NO_PAD.encode([&[0; 3], &*URL_SAFE_NO_PAD.decode(modulus).unwrap()].concat());
        assert_eq!(thumbprint(json!({"kty": "RSA", "n": padded, "e": "AAEAAQ", "use": "sig"})), expected);
        let coordinate = |byte: u8| URL_SAFE_NO_PAD.encode([byte; 32]);
        let (x, y) = (coordinate(1), coordinate(2));
        let point = thumbprint(json!({"kty": "EC", "crv": "P-256", "x": x, "y": y}));
        assert_ne!(point, thumbprint(json!({"kty": "EC", "crv": "P-256", "x": y, "y": x})));
        assert_ne!(
            thumbprint(json!({"kty": "OKP", "crv": "Ed25519", "x": x})),
            thumbprint(json!({"kty": "OKP", "crv": "Ed25519", "x": y}))
        );
    }
}

//! `application/x-www-form-urlencoded`, read strictly: every name once, every escape whole, nothing between the pairs.
//!
//! Source: WHATWG URL §5; what it forgives (broken escapes, empty pairs, bytes that are no UTF-8) is refused here.

use percent_encoding::percent_decode;

/// Far more than any action has.
const MAX_PAIRS: usize = 32;

/// Why a form is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// A pair without name or `=`, a broken escape, or bytes that are no text.
    #[error("the parameters are not a form")]
    Malformed,
    /// A name appears twice: one reader could go by the first, another by the second.
    #[error("a parameter appears twice")]
    Doubled,
    /// Too many parameters.
    #[error("more than {MAX_PAIRS} parameters")]
    TooMany,
}

/// The parameters of a form, each name once.
#[derive(Clone, PartialEq, Eq)]
pub struct Form(Vec<(String, String)>);

// A value may be a token.
impl std::fmt::Debug for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

impl Form {
    /// Reads a form.
    ///
    /// # Errors
    /// [`FormError`].
    pub fn parse(form: &[u8]) -> Result<Self, FormError> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for pair in form.split(|byte| *byte == b'&') {
            let split = pair.iter().position(|byte| *byte == b'=').ok_or(FormError::Malformed)?;
            let (name, value) = (decode(&pair[..split])?, decode(&pair[split + 1..])?);
            if name.is_empty() {
                return Err(FormError::Malformed);
            }
            if pairs.iter().any(|(other, _)| *other == name) {
                return Err(FormError::Doubled);
            }
            if pairs.len() == MAX_PAIRS {
                return Err(FormError::TooMany);
            }
            pairs.push((name, value));
        }
        Ok(Self(pairs))
    }

    /// The value of a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }
}

/// One name or value: `+` is a blank, `%XX` a byte.
fn decode(text: &[u8]) -> Result<String, FormError> {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| *byte == b'%') {
        if !matches!(rest.get(at + 1..at + 3), Some(digits) if digits.iter().all(u8::is_ascii_hexdigit)) {
            return Err(FormError::Malformed);
        }
        rest = &rest[at + 3..];
    }
    let blanks: Vec<u8> = text.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    let decoded = percent_decode(&blanks).decode_utf8().map_err(|_| FormError::Malformed)?;
    if decoded.chars().any(char::is_control) {
        return Err(FormError::Malformed);
    }
    Ok(decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(form: &str) -> Result<Vec<(String, String)>, FormError> {
        Form::parse(form.as_bytes()).map(|form| form.0)
    }

    #[test]
    fn a_form_is_read_once_decoded() {
        let owned = |pairs: &[(&str, &str)]| pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        for (form, expected) in [
            ("a=1&b=2", owned(&[("a", "1"), ("b", "2")])),
            ("a=", owned(&[("a", "")])),
            ("a=b=c", owned(&[("a", "b=c")])),
            ("%61=x+y%2Bz%2520", owned(&[("a", "x y+z%20")])),
            ("a=%C3%BC", owned(&[("a", "ü")])),
        ] {
            assert_eq!(pairs(form), Ok(expected), "{form}");
        }
    }

    #[test]
    fn what_has_two_readings_is_no_form() {
        for form in ["", "&", "a=1&", "&a=1", "a=1&&b=2", "a", "=1", "a=%", "a=%4", "a=%zz", "a=%FF", "a=%00", "a=1\n"]
        {
            assert_eq!(pairs(form), Err(FormError::Malformed), "{form:?}");
        }
        for form in ["a=1&a=1", "a=1&b=2&a=3", "a=1&%61=2"] {
            assert_eq!(pairs(form), Err(FormError::Doubled), "{form}");
        }
        let many: Vec<String> = (0..33).map(|number| format!("n{number}=x")).collect();
        assert_eq!(pairs(&many.join("&")), Err(FormError::TooMany));
        assert!(pairs(&many[1..].join("&")).is_ok());
    }

    #[test]
    fn a_form_shows_no_values() {
        let form = Form::parse(b"WebIdentityToken=secret-token").unwrap();
        assert_eq!(format!("{form:?}"), "[\"WebIdentityToken\"]");
    }
}

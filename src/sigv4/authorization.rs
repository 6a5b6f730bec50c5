//! What a client says of its signature: the credential, the headers that are signed, the signature.
//!
//! Reads forms, and knows nothing of keys. What has two readings is refused: a field twice, a name that is not in lower case, a list that
//! is not in order. Source: AWS reference, "Signature calculations for the Authorization header".

use crate::sigv4::key::SERVICE;

/// The word before the fields of the header, and the value of `X-Amz-Algorithm`.
pub const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// Longest `Authorization` header. A real one has 250 bytes and, with 20 headers that are signed, twice as many.
const MAX_HEADER_BYTES: usize = 8192;

/// Longest access key id; those of AWS have at most 128 characters.
const MAX_KEY_ID_BYTES: usize = 128;

/// Most headers that can be signed; HTTP/1.1 takes no more here.
const MAX_SIGNED_HEADERS: usize = 100;

/// Why the form of a signed request cannot be read. Holds nothing that the client sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FormFault {
    /// Longer than any that is meant.
    #[error("it is too long")]
    TooLong,
    /// Not `Credential`, `SignedHeaders` and `Signature`, each of them once, with commas between them.
    #[error("it needs Credential, SignedHeaders and Signature, each of them once")]
    Fields,
    /// The credential is not `id/YYYYMMDD/region/service/aws4_request`.
    #[error("the credential must be ACCESS-KEY-ID/YYYYMMDD/REGION/s3/aws4_request")]
    Credential,
    /// The scope is for another service.
    #[error("the credential must be scoped to the service s3")]
    Service,
    /// The list of signed headers is empty, unsorted, has a name twice, or has no `host`.
    #[error("SignedHeaders must be a sorted list of lower-case names with host in it")]
    SignedHeaders,
    /// A parameter of a presigned URL is missing.
    #[error(
        "the query must have X-Amz-Algorithm, X-Amz-Credential, X-Amz-Date, X-Amz-Expires, X-Amz-SignedHeaders and X-Amz-Signature"
    )]
    Missing,
    /// A parameter of a presigned URL twice, or one that begins like them and stands for no header.
    #[error("a parameter of the query stands there twice or for no header")]
    Parameter,
    /// Another algorithm.
    #[error("X-Amz-Algorithm only supports AWS4-HMAC-SHA256")]
    Algorithm,
    /// A date that is not `YYYYMMDDTHHMMSSZ`.
    #[error("X-Amz-Date must be in the ISO8601 form YYYYMMDDTHHMMSSZ")]
    Date,
    /// A time that is not a number of seconds from 1 to a week.
    #[error("X-Amz-Expires must be a number of seconds from 1 to 604800")]
    Expires,
    /// The query has a value for a header that the request has too, with another value.
    #[error("the query and a header of the request contradict each other")]
    Contradiction,
}

/// An access key id with the scope of a signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// Whose key it claims to be.
    pub access_key_id: String,
    /// `YYYYMMDD`.
    pub day: String,
    /// Region of the scope.
    pub region: String,
    /// Service of the scope.
    pub service: String,
}

/// The names of the headers that a signature covers: lower case, sorted, each once, `host` among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedHeaders(String);

/// What a request says of its own signature.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedHead {
    /// Whose it claims to be, and for what.
    pub credential: Credential,
    /// What it claims to cover.
    pub signed_headers: SignedHeaders,
    /// The signature, as sent: if it is none, it does not verify.
    pub signature: String,
}

// The signature opens what it was made for until its time is over.
impl std::fmt::Debug for SignedHead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("SignedHead");
        shown
            .field("credential", &self.credential)
            .field("signed_headers", &self.signed_headers)
            .finish_non_exhaustive()
    }
}

impl SignedHead {
    /// Reads what stands behind the word `AWS4-HMAC-SHA256` in an `Authorization` header. Fields may come in any order.
    ///
    /// # Errors
    /// [`FormFault`].
    pub fn parse(fields: &str) -> Result<Self, FormFault> {
        if fields.len() > MAX_HEADER_BYTES {
            return Err(FormFault::TooLong);
        }
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        // Some clients leave out the blank after a comma; only the comma is required.
        for field in fields.split(',') {
            let (name, value) = field.trim_matches([' ', '\t']).split_once('=').ok_or(FormFault::Fields)?;
            let place = match name {
                "Credential" => &mut credential,
                "SignedHeaders" => &mut signed_headers,
                "Signature" => &mut signature,
                _ => return Err(FormFault::Fields),
            };
            if place.replace(value).is_some() {
                return Err(FormFault::Fields);
            }
        }
        let (Some(credential), Some(signed_headers), Some(signature)) = (credential, signed_headers, signature) else {
            return Err(FormFault::Fields);
        };
        Ok(Self {
            credential: Credential::parse(credential)?,
            signed_headers: SignedHeaders::parse(signed_headers)?,
            signature: signature.to_owned(),
        })
    }
}

impl Credential {
    /// Reads `id/YYYYMMDD/region/service/aws4_request`.
    ///
    /// # Errors
    /// [`FormFault::Credential`].
    pub fn parse(text: &str) -> Result<Self, FormFault> {
        let mut parts = text.split('/');
        let mut next = || parts.next().ok_or(FormFault::Credential);
        let (id, day, region, service, end) = (next()?, next()?, next()?, next()?, next()?);
        let is_word = |text: &str, longest: usize| {
            (1..=longest).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        };
        let good = parts.next().is_none()
            && is_word(id, MAX_KEY_ID_BYTES)
            && day.len() == 8
            && day.bytes().all(|b| b.is_ascii_digit())
            && is_word(region, 64)
            && is_word(service, 64)
            && end == "aws4_request";
        if !good {
            return Err(FormFault::Credential);
        }
        let [access_key_id, day, region, service] = [id, day, region, service].map(str::to_owned);
        Ok(Self { access_key_id, day, region, service })
    }

    /// Refuses a scope of another service than S3.
    ///
    /// # Errors
    /// [`FormFault::Service`].
    pub fn check_service(&self) -> Result<(), FormFault> {
        if self.service == SERVICE { Ok(()) } else { Err(FormFault::Service) }
    }
}

impl SignedHeaders {
    /// Reads `host;x-amz-date`.
    ///
    /// # Errors
    /// [`FormFault::SignedHeaders`] if it is empty, not sorted, has a name twice or not in lower case, more than 100, or no `host`.
    pub fn parse(text: &str) -> Result<Self, FormFault> {
        let is_name = |name: &str| !name.is_empty() && name.bytes().all(is_lower_token_byte);
        let mut before = "";
        let mut good = true;
        let mut count = 0;
        for name in text.split(';') {
            good &= is_name(name) && before < name;
            before = name;
            count += 1;
        }
        let names = Self(text.to_owned());
        let good = good && count <= MAX_SIGNED_HEADERS && names.covers("host");
        if good { Ok(names) } else { Err(FormFault::SignedHeaders) }
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.split(';')
    }

    /// Whether the signature covers a header; `name` in lower case.
    pub fn covers(&self, name: &str) -> bool {
        self.names().any(|signed| signed == name)
    }

    /// As it was sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `tchar` of RFC 9110 §5.6.2, without capital letters.
fn is_lower_token_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREDENTIAL: &str = "Credential=AK/20261122/eu-1/s3/aws4_request";

    fn credential(text: &str) -> Result<(), FormFault> {
        Credential::parse(text).map(|_| ())
    }

    #[test]
    fn b20_the_three_fields_are_read_in_any_order_with_and_without_blanks() {
        let expected = SignedHead {
            credential: Credential {
                access_key_id: "AK".to_owned(),
                day: "20261122".to_owned(),
                region: "eu-1".to_owned(),
                service: "s3".to_owned(),
            },
            signed_headers: SignedHeaders("host;x-amz-date".to_owned()),
            signature: "00ff".to_owned(),
        };
        for text in [
            format!("{CREDENTIAL}, SignedHeaders=host;x-amz-date, Signature=00ff"),
            format!("{CREDENTIAL},SignedHeaders=host;x-amz-date,Signature=00ff"),
            format!("  Signature=00ff ,\t{CREDENTIAL} , SignedHeaders=host;x-amz-date "),
        ] {
            assert_eq!(SignedHead::parse(&text).as_ref(), Ok(&expected), "{text}");
        }
    }

    #[test]
    fn b20_fields_that_are_doubled_missing_or_unknown_are_refused() {
        let whole = format!("{CREDENTIAL}, SignedHeaders=host, Signature=00");
        assert!(SignedHead::parse(&whole).is_ok());
        for text in [
            "".to_owned(),
            CREDENTIAL.to_owned(),
            format!("{CREDENTIAL}, SignedHeaders=host"),
            format!("{whole}, Signature=00"),
            format!("{whole}, Signature=11"),
            format!("{CREDENTIAL}, {whole}"),
            format!("{whole},"),
            format!("{whole}, X=1"),
            format!("{CREDENTIAL} SignedHeaders=host Signature=00"),
            format!("{CREDENTIAL}, signedheaders=host, Signature=00"),
            format!("{CREDENTIAL}; SignedHeaders=host; Signature=00"),
        ] {
            assert_eq!(SignedHead::parse(&text), Err(FormFault::Fields), "{text}");
        }
        let long = format!("{whole}{}", " ".repeat(8192));
        assert_eq!(SignedHead::parse(&long), Err(FormFault::TooLong));
    }

    #[test]
    fn b06_b20_a_credential_has_five_plain_parts() {
        assert_eq!(credential("AK/20261122/eu-1/s3/aws4_request"), Ok(()));
        assert_eq!(credential(&format!("{}/20261122/eu/s3/aws4_request", "a".repeat(128))), Ok(()));
        for text in [
            "",
            "AK",
            "AK/20261122/eu/s3",
            "/20261122/eu/s3/aws4_request",
            "A/K/20261122/eu/s3/aws4_request",
            "AK/20261122/eu/s3/aws4_request/",
            "AK//eu/s3/aws4_request",
            "AK/2026112/eu/s3/aws4_request",
            "AK/2026112x/eu/s3/aws4_request",
            "AK/20261122//s3/aws4_request",
            "AK/20261122/eu//aws4_request",
            "AK/20261122/eu/s3/aws5_request",
            "AK/20261122/eu/s3/AWS4_REQUEST",
            "A=K/20261122/eu/s3/aws4_request",
            "A%2FK/20261122/eu/s3/aws4_request",
            "A\0K/20261122/eu/s3/aws4_request",
            "É/20261122/eu/s3/aws4_request",
            "AK/20261122/e\nu/s3/aws4_request",
            &format!("{}/20261122/eu/s3/aws4_request", "a".repeat(129)),
        ] {
            assert_eq!(credential(text), Err(FormFault::Credential), "{text:?}");
        }
        let service = |text: &str| Credential::parse(text).unwrap().check_service();
        assert_eq!(service("AK/20261122/eu/s3/aws4_request"), Ok(()));
        for other in ["s3express", "iam", "S3", "sts"] {
            assert_eq!(service(&format!("AK/20261122/eu/{other}/aws4_request")), Err(FormFault::Service), "{other}");
        }
    }

    #[test]
    fn b11_signed_headers_are_sorted_lower_case_names_with_the_host() {
        let many = |count: usize| (0..count - 1).map(|n| format!("a{n:03};")).collect::<String>() + "host";
        for text in ["host", "content-type;host;x-amz-date", &many(100)] {
            assert_eq!(SignedHeaders::parse(text).map(|names| names.0), Ok(text.to_owned()));
        }
        for text in [
            "",
            ";",
            "x-amz-date",
            "hosts",
            "host;",
            ";host",
            "host;;x-amz-date",
            "host;host",
            "x-amz-date;host",
            "Host",
            "host;X-amz-date",
            "host;x amz",
            "host,x-amz-date",
            "host;é",
            &many(101),
        ] {
            assert_eq!(SignedHeaders::parse(text), Err(FormFault::SignedHeaders), "{text:?}");
        }
    }
}

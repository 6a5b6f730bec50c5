//! A presigned URL: the parameters that are its signature, those that stand for headers, and the rest.
//!
//! Names are compared as AWS writes them; whether anything in a query looks like a credential was decided before, without regard to case,
//! and one of these names in another case is refused. Source: AWS reference, "Authenticating requests: using query parameters".

use std::borrow::Cow;
use std::time::Duration;

use percent_encoding::percent_decode_str;

use crate::sigv4::authorization::{ALGORITHM, Credential, FormFault, SignedHead, SignedHeaders};
use crate::sigv4::key::AmzDate;

/// The parameter that is not part of what is signed.
pub const SIGNATURE: &str = "X-Amz-Signature";

/// Longest life of a presigned URL in seconds: a week, as in S3.
const MAX_EXPIRES: u64 = 7 * 24 * 3600;

/// Most parameters of a query, as for every request.
const MAX_PARAMETERS: usize = 64;

/// What a presigned URL says of itself.
#[derive(Clone, PartialEq, Eq)]
pub struct PresignedQuery {
    /// Credential, signed headers, signature.
    pub signed: SignedHead,
    /// From when it is good.
    pub date: AmzDate,
    /// For how long.
    pub expires: Duration,
    /// `X-Amz-Security-Token`.
    pub session_token: Option<String>,
    /// Values that stand here for headers of the request: SDKs put `x-amz-*` headers into the query. Names in lower case, each once.
    pub headers: Vec<(String, String)>,
    /// The parameters that are none of the signature's, as they were sent.
    pub rest: String,
}

// Without the session token, and without values: one may be the key that a customer encrypts with.
impl std::fmt::Debug for PresignedQuery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("PresignedQuery");
        shown.field("signed", &self.signed).field("date", &self.date).field("expires", &self.expires);
        shown.finish_non_exhaustive()
    }
}

impl PresignedQuery {
    /// Reads a raw query.
    ///
    /// # Errors
    /// [`FormFault`].
    pub fn parse(query: &str) -> Result<Self, FormFault> {
        let mut own: [Option<String>; 7] = Default::default();
        let mut headers: Vec<(String, String)> = Vec::new();
        let mut rest = String::with_capacity(query.len());
        for (position, pair) in query.split('&').enumerate() {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decoded(name)?;
            if let Some(place) = OWN.iter().position(|own| *own == name) {
                if own[place].replace(decoded(value)?.into_owned()).is_some() {
                    return Err(FormFault::Parameter);
                }
            } else if let Some(name) = header_name(&name) {
                // The same word in another case would be a second reading of the credential.
                if OWN.iter().any(|own| own.eq_ignore_ascii_case(&name)) {
                    return Err(FormFault::Parameter);
                }
                if headers.iter().any(|(known, _)| *known == name) {
                    return Err(FormFault::Parameter);
                }
                headers.push((name, decoded(value)?.into_owned()));
            } else {
                let separator = if rest.is_empty() { "" } else { "&" };
                rest.extend([separator, pair]);
            }
            if position >= MAX_PARAMETERS {
                return Err(FormFault::TooLong);
            }
        }
        let [algorithm, credential, date, expires, signed_headers, signature, session_token] = own;
        let (Some(algorithm), Some(credential), Some(date), Some(expires), Some(signed_headers), Some(signature)) =
            (algorithm, credential, date, expires, signed_headers, signature)
        else {
            return Err(FormFault::Missing);
        };
        if algorithm != ALGORITHM {
            return Err(FormFault::Algorithm);
        }
        let signed = SignedHead {
            credential: Credential::parse(&credential)?,
            signed_headers: SignedHeaders::parse(&signed_headers)?,
            signature,
        };
        let date = AmzDate::parse(&date).ok_or(FormFault::Date)?;
        Ok(Self { signed, date, expires: seconds(&expires)?, session_token, headers, rest })
    }
}

/// The parameters of the signature, in the order in which `parse` takes them apart.
const OWN: [&str; 7] = [
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    SIGNATURE,
    "X-Amz-Security-Token",
];

/// The header that a parameter stands for: one whose name begins with `x-amz-`, in any case.
fn header_name(name: &str) -> Option<String> {
    let name = name.to_ascii_lowercase();
    name.starts_with("x-amz-").then_some(name)
}

/// Decoded as every reader of queries here does it.
fn decoded(text: &str) -> Result<Cow<'_, str>, FormFault> {
    if !text.contains('+') {
        return percent_decode_str(text).decode_utf8().map_err(|_| FormFault::Parameter);
    }
    let text = text.replace('+', " ");
    let decoded = percent_decode_str(&text).decode_utf8().map_err(|_| FormFault::Parameter)?;
    Ok(Cow::Owned(decoded.into_owned()))
}

fn seconds(text: &str) -> Result<Duration, FormFault> {
    let plain = !text.is_empty() && text.len() <= 6 && text.bytes().all(|b| b.is_ascii_digit());
    let seconds = text.parse().ok().filter(|seconds| plain && (1..=MAX_EXPIRES).contains(seconds));
    seconds.map(Duration::from_secs).ok_or(FormFault::Expires)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREDENTIAL: &str = "X-Amz-Credential=AK%2F20261122%2Feu%2Fs3%2Faws4_request";
    const SIX: [&str; 6] = [
        "X-Amz-Algorithm=AWS4-HMAC-SHA256",
        CREDENTIAL,
        "X-Amz-Date=20261122T120000Z",
        "X-Amz-Expires=60",
        "X-Amz-SignedHeaders=host",
        "X-Amz-Signature=00ff",
    ];

    fn with(replaced: &str, by: &str) -> Result<PresignedQuery, FormFault> {
        let pairs = SIX.map(|pair| if pair.starts_with(&format!("{replaced}=")) { by } else { pair });
        let pairs: Vec<_> = pairs.into_iter().filter(|pair| !pair.is_empty()).collect();
        PresignedQuery::parse(&pairs.join("&"))
    }

    #[test]
    fn b15_parameters_are_read_in_any_order_and_the_rest_is_left() {
        let mut pairs = SIX.to_vec();
        pairs.extend(["versionId=1", "x-amz-meta-a=b%20c", "X-Amz-Security-Token=t%2B", "acl"]);
        pairs.reverse();
        let query = PresignedQuery::parse(&pairs.join("&")).unwrap();
        assert_eq!(query.signed.credential.access_key_id, "AK");
        assert_eq!((query.signed.signature.as_str(), query.signed.signed_headers.as_str()), ("00ff", "host"));
        assert_eq!((query.date.timestamp.as_str(), query.expires.as_secs()), ("20261122T120000Z", 60));
        assert_eq!(query.session_token.as_deref(), Some("t+"));
        assert_eq!(query.headers, [("x-amz-meta-a".to_owned(), "b c".to_owned())]);
        assert_eq!(query.rest, "acl&versionId=1");
    }

    #[test]
    fn b15_a_parameter_twice_or_in_another_case_is_refused() {
        for pair in SIX {
            let name = pair.split('=').next().unwrap();
            let doubled = PresignedQuery::parse(&format!("{}&{pair}", SIX.join("&")));
            assert_eq!(doubled, Err(FormFault::Parameter), "{name}");
            assert_eq!(with(name, ""), Err(FormFault::Missing), "{name}");
            assert_eq!(with(name, &pair.to_ascii_lowercase()), Err(FormFault::Parameter), "{name}");
            let beside = PresignedQuery::parse(&format!("{}&{}", SIX.join("&"), pair.to_ascii_uppercase()));
            assert_eq!(beside, Err(FormFault::Parameter), "{name}");
        }
        let token = PresignedQuery::parse(&format!("{}&x-amz-security-token=t", SIX.join("&")));
        assert_eq!(token, Err(FormFault::Parameter));
        let twice = format!("{}&x-amz-acl=private&X-Amz-Acl=public-read", SIX.join("&"));
        assert_eq!(PresignedQuery::parse(&twice), Err(FormFault::Parameter));
    }

    #[test]
    fn b14_the_life_of_a_url_is_a_plain_number_of_seconds_up_to_a_week() {
        for (text, seconds) in [("1", 1), ("60", 60), ("604800", 604_800), ("000060", 60)] {
            let query = with("X-Amz-Expires", &format!("X-Amz-Expires={text}")).unwrap();
            assert_eq!(query.expires.as_secs(), seconds, "{text}");
        }
        for text in [
            "",
            "0",
            "-1",
            "abc",
            "1e3",
            "%2060",
            "+60",
            "60.0",
            "604801",
            "2147483648",
            "9223372036854775808",
            "18446744073709551616",
        ] {
            let refused = with("X-Amz-Expires", &format!("X-Amz-Expires={text}"));
            assert_eq!(refused, Err(FormFault::Expires), "{text}");
        }
    }

    #[test]
    fn b08_dates_and_algorithm_have_one_form() {
        for date in ["", "2026-11-22T12:00:00Z", "20261122T120000", "20261122T120060Z", "20261322T120000Z", "20261122"]
        {
            assert_eq!(with("X-Amz-Date", &format!("X-Amz-Date={date}")), Err(FormFault::Date), "{date}");
        }
        for algorithm in ["", "aws4-hmac-sha256", "AWS4-ECDSA-P256-SHA256"] {
            let refused = with("X-Amz-Algorithm", &format!("X-Amz-Algorithm={algorithm}"));
            assert_eq!(refused, Err(FormFault::Algorithm), "{algorithm}");
        }
    }

    #[test]
    fn b20_what_is_not_text_or_too_much_is_refused() {
        assert_eq!(with("X-Amz-Signature", "X-Amz-Signature=%ff"), Err(FormFault::Parameter));
        let many: String = (0..65).map(|n| format!("&p{n}=")).collect();
        assert_eq!(PresignedQuery::parse(&(SIX.join("&") + &many)), Err(FormFault::TooLong));
        assert_eq!(PresignedQuery::parse(""), Err(FormFault::Missing));
    }
}

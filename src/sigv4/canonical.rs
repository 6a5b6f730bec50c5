//! The canonical request and its signature.

use std::borrow::Cow;

use aws_lc_rs::digest;

use crate::base::encoding::{encode_query, hex_sha256};
use crate::sigv4::key::{AmzDate, SigningKey};

/// A request as it is signed. Path and query are already in canonical form, and are sent in this form.
#[derive(Debug)]
pub struct CanonicalRequest<'a> {
    /// HTTP method.
    pub method: &'a str,
    /// Percent-encoded path.
    pub path: &'a str,
    /// Percent-encoded query, sorted by name; see [`canonical_query`].
    pub query: &'a str,
    /// Headers to sign: lower-case names, sorted; values are brought into the form of [`collapse_blanks`]. Must hold `host`,
    /// `x-amz-date` and `x-amz-content-sha256`.
    pub headers: &'a [(&'a str, &'a str)],
    /// Value of `x-amz-content-sha256`.
    pub payload: &'a str,
}

/// What a signature adds to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// Value of the `Authorization` header.
    pub authorization: String,
    /// The signature alone: the seed of chunk signatures.
    pub signature: String,
}

/// Signs a request.
pub fn sign_request(request: &CanonicalRequest<'_>, access_key_id: &str, key: &SigningKey, date: &AmzDate) -> Signed {
    let mut names = String::with_capacity(256);
    for (name, _) in request.headers {
        let separator = if names.is_empty() { "" } else { ";" };
        names.extend([separator, name]);
    }
    let canonical = canonical_request(request, &names);
    let hash = digest::digest(&digest::SHA256, canonical.as_bytes());
    let hash = hex_sha256(hash.as_ref().try_into().expect("SHA-256 has 32 bytes"));
    let scope = key.scope();
    let signature = key.sign(&["AWS4-HMAC-SHA256\n", &date.timestamp, "\n", scope, "\n", &hash].concat());
    let authorization = [
        "AWS4-HMAC-SHA256 Credential=",
        access_key_id,
        "/",
        scope,
        ", SignedHeaders=",
        &names,
        ", Signature=",
        &signature,
    ];
    Signed { authorization: authorization.concat(), signature }
}

fn canonical_request(request: &CanonicalRequest<'_>, names: &str) -> String {
    let mut canonical = String::with_capacity(1024);
    canonical.extend([request.method, "\n", request.path, "\n", request.query, "\n"]);
    for (name, value) in request.headers {
        canonical.extend([name, ":", collapse_blanks(value).as_ref(), "\n"]);
    }
    canonical.extend(["\n", names, "\n", request.payload]);
    canonical
}

/// The canonical query of decoded parameters: encoded, sorted by encoded name then value, `=` always present.
pub fn canonical_query<'a>(parameters: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut pairs: Vec<_> =
        parameters.into_iter().map(|(name, value)| (encode_query(name), encode_query(value))).collect();
    pairs.sort_unstable();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

/// A header value in canonical form: no blanks around it, one blank for every run of blanks and tabs inside.
///
/// Signers disagree about tabs: AWS SDKs keep them, stores written in Go read them as blanks. A value that is sent in this form is
/// read in one way.
pub fn collapse_blanks(value: &str) -> Cow<'_, str> {
    if memchr::memchr2(b' ', b'\t', value.as_bytes()).is_none() {
        return Cow::Borrowed(value);
    }
    let blank = |byte: u8| byte == b' ' || byte == b'\t';
    let mut before = b' ';
    let single = value.bytes().all(|byte| {
        let fits = byte != b'\t' && !(blank(byte) && blank(before));
        before = byte;
        fits
    });
    // Nearly every value is what it should be.
    if single && (value.is_empty() || before != b' ') {
        return Cow::Borrowed(value);
    }
    let words: Vec<&str> = value.split([' ', '\t']).filter(|word| !word.is_empty()).collect();
    Cow::Owned(words.join(" "))
}

#[cfg(test)]
mod tests {
    use aws_credential_types::Credentials;
    use aws_sigv4::http_request::{
        PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
        UriPathNormalizationMode, sign,
    };
    use aws_sigv4::sign::v4;
    use proptest::prelude::*;

    use super::*;
    use crate::base::Secret;

    const ACCESS: &str = "AKIDEXAMPLE";
    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

    fn oracle(method: &str, uri: &str, headers: &[(&str, &str)], payload: &str, date: &AmzDate) -> String {
        let identity = Credentials::new(ACCESS, SECRET, None, None, "test").into();
        let mut settings = SigningSettings::default();
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        let time = date.system_time();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region("eu-central-1")
            .name("s3")
            .time(time)
            .settings(settings)
            .build()
            .unwrap()
            .into();
        let body = SignableBody::Precomputed(payload.to_owned());
        let request = SignableRequest::new(method, uri, headers.iter().copied(), body).unwrap();
        sign(request, &params).unwrap().signature().to_owned()
    }

    fn ours(method: &str, path: &str, query: &str, extra: &[(&str, &str)], payload: &str, date: &AmzDate) -> String {
        let mut headers = vec![
            ("host", "s3.example:9000"),
            ("x-amz-content-sha256", payload),
            ("x-amz-date", date.timestamp.as_str()),
        ];
        headers.extend(extra);
        headers.sort_unstable();
        let key = SigningKey::derive(&Secret::new(SECRET), "eu-central-1", date);
        sign_request(&CanonicalRequest { method, path, query, headers: &headers, payload }, ACCESS, &key, date)
            .signature
    }

    proptest! {
        #[test]
        fn the_aws_sigv4_crate_agrees(
            segments in proptest::collection::vec("[ -~é日]{1,8}", 1..4),
            parameters in proptest::collection::btree_map("[a-zA-Z0-9-]{1,8}", "[ -~é]{0,8}", 0..4),
            meta in "[ -~]{0,12}",
            seconds in 0i64..4_000_000_000,
        ) {
            let date = AmzDate::new(jiff::Timestamp::from_second(seconds).unwrap());
            let path = format!("/{}", segments.iter().map(|s| crate::base::encoding::encode_path(s)).collect::<Vec<_>>().join("/"));
            let query = canonical_query(parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())));
            let uri = format!("http://s3.example:9000{path}{}{query}", if query.is_empty() { "" } else { "?" });
            let extra = [("x-amz-meta-a", meta.as_str())];
            let expected = oracle("PUT", &uri, &extra, "UNSIGNED-PAYLOAD", &date);
            prop_assert_eq!(ours("PUT", &path, &query, &extra, "UNSIGNED-PAYLOAD", &date), expected);
        }

        #[test]
        fn the_aws_sigv4_crate_agrees_on_values_with_blanks_and_tabs_as_they_are_sent(meta in "[ \t]{0,2}([!-~]{1,2}[ \t]{0,3}){0,4}") {
            let date = AmzDate::new(jiff::Timestamp::from_second(1_700_000_000).unwrap());
            let sent = collapse_blanks(&meta);
            let expected = oracle("PUT", "http://s3.example:9000/b/k", &[("x-amz-meta-a", &sent)], "UNSIGNED-PAYLOAD", &date);
            // The form before and the form that is sent have one signature.
            for form in [meta.as_str(), sent.as_ref()] {
                prop_assert_eq!(&ours("PUT", "/b/k", "", &[("x-amz-meta-a", form)], "UNSIGNED-PAYLOAD", &date), &expected);
            }
        }
    }
}

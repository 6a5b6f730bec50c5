//! Oracles: AWS' own vectors, and the `aws-sigv4` crate as the signer of requests that are verified here.

use aws_credential_types::Credentials;
use aws_lc_rs::digest::{SHA256, digest};
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SignatureLocation, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use http::{HeaderValue, Request};
use proptest::prelude::*;

use super::*;
use crate::base::Secret;
use crate::sigv4::{PresignedQuery, SignedHead, SigningKey};

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// A request out of the vectors.
struct Vector {
    name: String,
    method: String,
    target: String,
    headers: HeaderMap,
    body: String,
}

fn vectors() -> Vec<Vector> {
    let text = include_str!("aws_signing_vectors.txt");
    text.split("\n=== ").skip(1).map(vector).collect()
}

fn vector(text: &str) -> Vector {
    let (name, request) = text.split_once('\n').unwrap();
    let (head, body) = request.split_once("\n\n").unwrap_or((request, ""));
    let mut lines = head.lines();
    let mut words = lines.next().unwrap().split(' ');
    let (method, target) = (words.next().unwrap().to_owned(), words.next().unwrap().to_owned());
    let mut headers = HeaderMap::new();
    for (name, value) in lines.map(|line| line.split_once(':').unwrap()) {
        let name = HeaderName::from_bytes(name.to_ascii_lowercase().as_bytes()).unwrap();
        headers.append(name, HeaderValue::from_bytes(value.trim().as_bytes()).unwrap());
    }
    Vector { name: name.to_owned(), method, target, headers, body: body.trim_end_matches('\n').to_owned() }
}

impl Vector {
    fn received(&self) -> Received<'_> {
        let (path, query) = self.target.split_once('?').unwrap_or((&self.target, ""));
        let host = self.headers["host"].to_str().unwrap();
        Received { method: &self.method, path, query, host, headers: &self.headers }
    }

    /// What the request says of its signature, and its date.
    fn signed(&self) -> (SignedHead, AmzDate) {
        if let Some(authorization) = self.headers.get("authorization") {
            let fields = authorization.to_str().unwrap().strip_prefix("AWS4-HMAC-SHA256 ").unwrap();
            let date = self.headers["x-amz-date"].to_str().unwrap();
            return (SignedHead::parse(fields).unwrap(), AmzDate::parse(date).unwrap());
        }
        let query = PresignedQuery::parse(self.received().query).unwrap();
        (query.signed, query.date)
    }
}

fn verifies(request: &Received<'_>, signed: &SignedHead, date: &AmzDate, payload: &str) -> bool {
    let Ok(hash) = request.canonical_hash(&signed.signed_headers, payload) else { return false };
    let credential = &signed.credential;
    let key = SigningKey::derive_for(&credential.service, &Secret::new(SECRET), &credential.region, date);
    key.verifies(&string_to_sign(date, key.scope(), &hash), &signed.signature)
}

#[test]
fn b01_b05_the_published_signatures_verify_and_changed_requests_do_not() {
    let vectors = vectors();
    assert!(vectors.len() > 50, "{}", vectors.len());
    for vector in vectors {
        let (signed, date) = vector.signed();
        let body = hex::encode(digest(&SHA256, vector.body.as_bytes()));
        let payload = vector.headers.get("x-amz-content-sha256").map_or(body.as_str(), |value| value.to_str().unwrap());
        let request = vector.received();
        assert!(verifies(&request, &signed, &date, payload), "{}", vector.name);
        let longer = format!("{}&x=1", request.query);
        for changed in [
            Received { method: "DELETE", ..request },
            Received { path: "/other", ..request },
            Received { host: "example.com", ..request },
            Received { query: &longer, ..request },
        ] {
            assert!(!verifies(&changed, &signed, &date, payload), "{}", vector.name);
        }
        assert!(!verifies(&request, &signed, &date, "UNSIGNED-PAYLOAD"), "{}", vector.name);
    }
}

/// Signs with AWS' own crate as for S3; gives back the request as it would be sent.
fn signed_by_aws(method: &str, uri: &str, headers: &[(&str, &str)], date: &AmzDate, presigned: bool) -> Request<()> {
    let identity = Credentials::new("AKIDEXAMPLE", SECRET, None, None, "test").into();
    let mut settings = SigningSettings::default();
    settings.percent_encoding_mode = PercentEncodingMode::Single;
    settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    if presigned {
        settings.signature_location = SignatureLocation::QueryParams;
        settings.expires_in = Some(std::time::Duration::from_secs(60));
        settings.payload_checksum_kind = PayloadChecksumKind::NoHeader;
    }
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region("eu-central-1")
        .name("s3")
        .time(date.system_time())
        .settings(settings)
        .build()
        .unwrap()
        .into();
    let signable = SignableRequest::new(method, uri, headers.iter().copied(), SignableBody::UnsignedPayload).unwrap();
    let (instructions, _) = sign(signable, &params).unwrap().into_parts();
    let mut request = Request::builder().method(method).uri(uri).header("host", "s3.example:9000");
    for (name, value) in headers {
        request = request.header(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    let mut request = request.body(()).unwrap();
    instructions.apply_to_request_http1x(&mut request);
    request
}

fn accepts(request: &Request<()>, presigned: bool) -> bool {
    let query = request.uri().query().unwrap_or_default();
    let received = Received {
        method: request.method().as_str(),
        path: request.uri().path(),
        query,
        host: "s3.example:9000",
        headers: request.headers(),
    };
    let (signed, date) = if presigned {
        let query = PresignedQuery::parse(query).unwrap();
        (query.signed, query.date)
    } else {
        let fields = request.headers()["authorization"].to_str().unwrap().strip_prefix("AWS4-HMAC-SHA256 ").unwrap();
        let date = request.headers()["x-amz-date"].to_str().unwrap();
        (SignedHead::parse(fields).unwrap(), AmzDate::parse(date).unwrap())
    };
    verifies(&received, &signed, &date, "UNSIGNED-PAYLOAD")
}

/// Percent-encodes as S3 clients do, and some bytes more than needed.
fn encoded(text: &str, more: u8) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' if byte % 16 != more % 16 => {
                char::from(byte).to_string()
            }
            _ if byte % 2 == 0 => format!("%{byte:02x}"),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

proptest! {
    #[test]
    fn b02_b04_b21_requests_that_the_aws_sigv4_crate_signs_verify(
        segments in proptest::collection::vec("[ -~é日]{1,8}", 1..4),
        parameters in proptest::collection::btree_map("[a-z-]{1,8}", "[ -~é]{0,8}", 0..4),
        meta in "[!-~]{1,3}( {0,3}[!-~]{1,3}){0,3}",
        seconds in 0i64..4_000_000_000,
        presigned in any::<bool>(),
    ) {
        let date = AmzDate::new(jiff::Timestamp::from_second(seconds).unwrap());
        let path: Vec<_> = segments.iter().map(|segment| crate::base::encoding::encode_path(segment)).collect();
        let query: Vec<_> = parameters.iter().map(|(name, value)| format!("{}={}", encoded(name, 16), encoded(value, 16))).collect();
        let uri = format!("http://s3.example:9000/{}?{}", path.join("/"), query.join("&"));
        let headers = [("x-amz-meta-a", meta.as_str()), ("content-length", "5"), ("x-amz-acl", "private")];
        let request = signed_by_aws("PUT", &uri, &headers, &date, presigned);
        prop_assert!(accepts(&request, presigned), "{} {:?}", request.uri(), request.headers());
    }

    #[test]
    fn b04_every_encoding_of_a_target_has_one_canonical_form(
        segments in proptest::collection::vec("[ -~é日]{1,8}", 1..4),
        parameters in proptest::collection::btree_map("[ -~]{1,8}", "[ -~é]{0,8}", 0..4),
        more in any::<u8>(),
    ) {
        let headers = HeaderMap::new();
        let signed = SignedHeaders::parse("host").unwrap();
        let hash = |more: u8, reverse: bool| {
            let path: Vec<_> = segments.iter().map(|segment| encoded(segment, more)).collect();
            let mut query: Vec<_> =
                parameters.iter().map(|(name, value)| format!("{}={}", encoded(name, more), encoded(value, more))).collect();
            if reverse {
                query.reverse();
            }
            let (path, query) = (path.join("/"), query.join("&"));
            Received { method: "GET", path: &path, query: &query, host: "h", headers: &headers }.canonical_hash(&signed, "").unwrap()
        };
        prop_assert_eq!(hash(16, false), hash(more, true));
    }

    #[test]
    fn values_are_collapsed_as_those_that_are_sent(value in "[ \t]{0,2}([!-~]{1,2}[ \t]{0,3}){0,4}") {
        let expected = crate::sigv4::canonical::collapse_blanks(&value);
        let collapsed = without_blanks(value.as_bytes());
        prop_assert_eq!(collapsed.as_ref(), expected.as_bytes());
    }
}

#[test]
fn b03_b15_what_is_signed_is_told_from_everything_like_it() {
    let headers = HeaderMap::new();
    let signed = SignedHeaders::parse("host").unwrap();
    let hash = |target: &str| {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Received { method: "GET", path, query, host: "h", headers: &headers }.canonical_hash(&signed, "").unwrap()
    };
    let different = [
        "/b/a/x",
        "/b//a/x",
        "//b/a/x",
        "/b/a/x/",
        "/b/a/./x",
        "/b/a/%252e/x",
        "/b/a/../a/x",
        "/b/a/x?acl",
        "/b/a/x?acl=1",
        "/b/a/x?acl&acl",
        "/b/a/x?ACL",
        "/b/a/x?x-amz-signature=0",
        "/b/a/x?a=b%26c",
        "/b/a/x?a=b&c",
    ];
    for (position, one) in different.iter().enumerate() {
        assert!(different[position + 1..].iter().all(|other| hash(one) != hash(other)), "{one}");
    }
    // E05: `+` is a blank in a query and a plus in a path.
    assert_eq!(hash("/b?prefix=a+b"), hash("/b?prefix=a%20b"));
    assert_ne!(hash("/b?prefix=a+b"), hash("/b?prefix=a%2Bb"));
    assert_eq!(hash("/b/a+b"), hash("/b/a%2Bb"));
    assert_eq!(hash("/b?acl&X-Amz-Signature=00"), hash("/b?acl="));
}

#[test]
fn b11_a_signed_header_that_is_not_there_is_named() {
    let headers = HeaderMap::new();
    let signed = SignedHeaders::parse("host;x-amz-meta-a").unwrap();
    let request = Received { method: "GET", path: "/", query: "", host: "h", headers: &headers };
    let gone = request.canonical_hash(&signed, "").unwrap_err();
    assert_eq!(gone.to_string(), "the signed header `x-amz-meta-a` is not in the request");
}

/// Method, path, query, headers, `SignedHeaders`, payload, signature.
type Example<'a> = (&'a str, &'a str, &'a str, &'a [(&'a str, &'a str)], &'a str, &'a str, &'a str);

/// The worked examples of the S3 API reference, 24 May 2013: GET with a range, PUT, and a list, signed in the header; a presigned GET.
#[test]
fn b01_the_worked_examples_of_the_s3_reference_verify() {
    const S3_SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    let empty = crate::sigv4::chunk::EMPTY_SHA256;
    let date = AmzDate::parse("20130524T000000Z").unwrap();
    let key = SigningKey::derive(&Secret::new(S3_SECRET), "us-east-1", &date);
    let put = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072";
    let presigned = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&\
                     X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";
    let cases: [Example<'_>; 4] = [
        (
            "GET",
            "/test.txt",
            "",
            &[("range", "bytes=0-9"), ("x-amz-content-sha256", empty), ("x-amz-date", "20130524T000000Z")],
            "host;range;x-amz-content-sha256;x-amz-date",
            empty,
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            "PUT",
            "/test$file.text",
            "",
            &[
                ("date", "Fri, 24 May 2013 00:00:00 GMT"),
                ("x-amz-content-sha256", put),
                ("x-amz-date", "20130524T000000Z"),
                ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            ],
            "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
            put,
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
        (
            "GET",
            "/",
            "max-keys=2&prefix=J",
            &[("x-amz-content-sha256", empty), ("x-amz-date", "20130524T000000Z")],
            "host;x-amz-content-sha256;x-amz-date",
            empty,
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
        (
            "GET",
            "/test.txt",
            presigned,
            &[],
            "host",
            "UNSIGNED-PAYLOAD",
            "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404",
        ),
    ];
    for (method, path, query, sent, names, payload, signature) in cases {
        let headers: HeaderMap =
            sent.iter().map(|(n, v)| (HeaderName::from_bytes(n.as_bytes()).unwrap(), v.parse().unwrap())).collect();
        let request = Received { method, path, query, host: "examplebucket.s3.amazonaws.com", headers: &headers };
        let hash = request.canonical_hash(&SignedHeaders::parse(names).unwrap(), payload).unwrap();
        assert!(key.verifies(&string_to_sign(&date, key.scope(), &hash), signature), "{method} {path}?{query}");
    }
}

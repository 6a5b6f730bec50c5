//! Which headers of a store's answer reach the client.

use http::header::{CACHE_CONTROL, VARY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderName, HeaderValue};

/// Headers of HTTP that describe the object.
fn is_of_the_object(name: &str) -> bool {
    matches!(
        name,
        "accept-ranges"
            | "cache-control"
            | "content-disposition"
            | "content-encoding"
            | "content-language"
            | "content-length"
            | "content-range"
            | "content-type"
            | "etag"
            | "expires"
            | "last-modified"
    )
}

/// `x-amz-*` headers that describe the object, or a setting that was asked for; in order. Everything else of that family describes the
/// gateway's account or the store's inside.
const PASSED_AMZ: &[&str] = &[
    "x-amz-archive-status",
    "x-amz-checksum-crc32",
    "x-amz-checksum-crc32c",
    "x-amz-checksum-crc64nvme",
    "x-amz-checksum-sha1",
    "x-amz-checksum-sha256",
    "x-amz-checksum-type",
    "x-amz-delete-marker",
    "x-amz-expiration",
    "x-amz-missing-meta",
    "x-amz-mp-parts-count",
    "x-amz-object-lock-legal-hold",
    "x-amz-object-lock-mode",
    "x-amz-object-lock-retain-until-date",
    "x-amz-object-size",
    "x-amz-restore",
    "x-amz-server-side-encryption",
    "x-amz-storage-class",
    "x-amz-tagging-count",
    "x-amz-transition-default-minimum-object-size",
    "x-amz-version-id",
];

/// The headers for the client out of a store's headers. A value that is not visible ASCII is left out: clients read it differently.
pub fn for_client(upstream: &HeaderMap) -> HeaderMap {
    into_client(upstream.clone())
}

/// As [`for_client`], with headers that nobody else needs.
pub fn into_client(upstream: HeaderMap) -> HeaderMap {
    let passes = |name: &HeaderName| match name.as_str().strip_prefix("x-amz-") {
        Some(amz) => amz.starts_with("meta-") || PASSED_AMZ.binary_search(&name.as_str()).is_ok(),
        None => is_of_the_object(name.as_str()),
    };
    // With room for what an answer gets besides, so that the map need not grow.
    let mut passed = HeaderMap::with_capacity(upstream.keys_len() + 4);
    let mut current = None;
    for (name, value) in upstream {
        // Further values of a header come without its name. The last one stands.
        if name.is_some() {
            current = name.filter(passes);
        }
        if let Some(name) = current.as_ref().filter(|_| value.to_str().is_ok()) {
            passed.insert(name.clone(), value);
        }
    }
    passed
}

/// What an answer with an object's bytes or properties gets besides: no type guessing by browsers, no shared caching across callers.
pub fn protect_object(headers: &mut HeaderMap) {
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("private"));
    headers.insert(VARY, HeaderValue::from_static("Authorization"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_are_not_plain_text_are_left_out() {
        let mut upstream = HeaderMap::new();
        for (name, value) in [("x-amz-meta-a", &b"\xc3\xa9"[..]), ("x-amz-meta-b", b"\x80"), ("x-amz-meta-c", b"c\td")]
        {
            upstream.insert(HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap());
        }
        let passed = for_client(&upstream);
        assert_eq!((passed.len(), &passed["x-amz-meta-c"]), (1, &HeaderValue::from_static("c\td")));
    }

    #[test]
    fn the_names_are_in_order() {
        assert!(PASSED_AMZ.is_sorted());
    }

    #[test]
    fn g07_only_headers_of_the_object_pass() {
        let mut upstream = HeaderMap::new();
        for name in [
            "etag",
            "x-amz-meta-a",
            "x-amz-version-id",
            "server",
            "set-cookie",
            "x-amz-id-2",
            "x-amz-request-id",
            "alt-svc",
            "via",
            "connection",
            "strict-transport-security",
            "access-control-allow-origin",
            "x-amz-bucket-region",
            "location",
            "x-rgw-object-type",
            "x-amz-server-side-encryption-aws-kms-key-id",
        ] {
            upstream.insert(HeaderName::from_static(name), HeaderValue::from_static("v"));
        }
        let mut names: Vec<_> = for_client(&upstream).keys().map(|name| name.as_str().to_owned()).collect();
        names.sort();
        assert_eq!(names, ["etag", "x-amz-meta-a", "x-amz-version-id"]);
    }
}

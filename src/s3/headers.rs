//! What becomes of each request header: passed on, needing a right of its own, refused, or dropped.
//!
//! The model says which headers an operation knows; this table says what they mean for a gateway whose own credential may do more
//! than the caller. A header that begins with `x-amz-` and stands in neither is refused: it could mean something to the store.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::s3::checksum::ChecksumAlgorithm;
use crate::s3::operation::{Level, Operation, OperationSpec};
use crate::s3::serving::carries_document;
use crate::sigv4::canonical::collapse_blanks;

/// What becomes of one header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// Goes to the store as it is.
    Pass,
    /// Goes to the store if the caller also has this IAM action on the key.
    NeedsAction(&'static str),
    /// Goes to the store if the deciding rule lists it under `headers.allow`.
    NeedsAllow,
    /// Said nothing the gateway passes on; it makes its own or none.
    Drop,
    /// The request is refused.
    Refuse,
}

/// `x-amz-*` headers that say how the request was signed or framed: read by the gateway, never passed on.
const OWN: &[&str] = &[
    "x-amz-content-sha256",
    "x-amz-date",
    "x-amz-decoded-content-length",
    "x-amz-trailer",
    "x-amz-user-agent",
    "x-amz-api-version",
    "x-amz-sdk-checksum-algorithm",
    // A bearer caller has no session with the store. The gateway sets its own token.
    "x-amz-security-token",
];

/// What becomes of a request header of the operation; `name` in lower case.
pub fn disposition(spec: &OperationSpec, name: &str, value: &HeaderValue) -> Disposition {
    let known = spec.headers.binary_search(&name).is_ok();
    let is_digest = || name == "content-md5" || ChecksumAlgorithm::of_header(name).is_some();
    if spec.has_checked_document() && is_digest() {
        return Disposition::Drop;
    }
    if !name.starts_with("x-amz-") {
        return if known { Disposition::Pass } else { Disposition::Drop };
    }
    if OWN.contains(&name) {
        return Disposition::Drop;
    }
    if let Some(meta) = name.strip_prefix("x-amz-meta-") {
        let takes_metadata = spec.headers.contains(&"x-amz-meta-*");
        // Vendors keep internal state in metadata of these names (CVE-2026-34204), or unpack the object because of one
        // (CVE-2026-40344): with paths out of an archive that no rule has seen.
        let vendor =
            ["x-minio-", "x-amz-", "snowball-", "minio-snowball-"].iter().any(|prefix| meta.starts_with(prefix));
        return if takes_metadata && !meta.is_empty() && !vendor { Disposition::Pass } else { Disposition::Refuse };
    }
    if carries_document(spec) && ChecksumAlgorithm::of_header(name).is_some() {
        // Clients may send one with every document; it is verified here, and the store gets a digest of the gateway.
        return Disposition::Drop;
    }
    if !known {
        return Disposition::Refuse;
    }
    match spec.operation {
        // What the operation is there to set, under its own action.
        Operation::PutBucketAcl | Operation::PutObjectAcl if is_acl(name) => Disposition::Pass,
        _ if spec.level == Level::Bucket => bucket_amz(name, value),
        _ => known_amz(name, value),
    }
}

/// Whether a header sets an access control list.
pub fn is_acl(name: &str) -> bool {
    name == "x-amz-acl" || name.starts_with("x-amz-grant-")
}

/// Headers of an operation on a bucket as a whole.
fn bucket_amz(name: &str, value: &HeaderValue) -> Disposition {
    match name {
        "x-amz-acl" if value == "private" => Disposition::Drop,
        _ if is_acl(name) => Disposition::NeedsAction("s3:PutBucketAcl"),
        "x-amz-bucket-object-lock-enabled" => Disposition::NeedsAction("s3:PutBucketObjectLockConfiguration"),
        "x-amz-object-ownership" => Disposition::NeedsAction("s3:PutBucketOwnershipControls"),
        "x-amz-transition-default-minimum-object-size" => Disposition::Pass,
        _ => known_amz(name, value),
    }
}

fn known_amz(name: &str, value: &HeaderValue) -> Disposition {
    match name {
        "x-amz-checksum-mode" | "x-amz-object-attributes" | "x-amz-max-parts" | "x-amz-part-number-marker" => {
            Disposition::Pass
        }
        // Read into `CopySource`, a target of its own, and written anew.
        "x-amz-copy-source" | "x-amz-copy-source-range" => Disposition::Drop,
        "x-amz-copy-source-if-match"
        | "x-amz-copy-source-if-none-match"
        | "x-amz-copy-source-if-modified-since"
        | "x-amz-copy-source-if-unmodified-since" => Disposition::Pass,
        "x-amz-metadata-directive" | "x-amz-tagging-directive" if value == "COPY" || value == "REPLACE" => {
            Disposition::Pass
        }
        "x-amz-metadata-directive" | "x-amz-tagging-directive" => Disposition::Refuse,
        "x-amz-tagging" => Disposition::NeedsAction("s3:PutObjectTagging"),
        // The canned ACL that every object has anyway; rclone and s3cmd send it by default.
        "x-amz-acl" if value == "private" => Disposition::Drop,
        "x-amz-acl" => Disposition::NeedsAction("s3:PutObjectAcl"),
        "x-amz-object-lock-mode" | "x-amz-object-lock-retain-until-date" => {
            Disposition::NeedsAction("s3:PutObjectRetention")
        }
        "x-amz-object-lock-legal-hold" => Disposition::NeedsAction("s3:PutObjectLegalHold"),
        "x-amz-bypass-governance-retention" => Disposition::NeedsAction("s3:BypassGovernanceRetention"),
        // Encryption with the store's own key costs nothing and weakens nothing.
        "x-amz-server-side-encryption" if value == "AES256" => Disposition::Pass,
        // A pin on an account, a payer or a second factor that the gateway cannot carry over to its own account.
        "x-amz-expected-bucket-owner" | "x-amz-source-expected-bucket-owner" | "x-amz-request-payer" | "x-amz-mfa" => {
            Disposition::Refuse
        }
        _ if name.starts_with("x-amz-grant-") => Disposition::NeedsAction("s3:PutObjectAcl"),
        "x-amz-checksum-algorithm" | "x-amz-checksum-type" => Disposition::Pass,
        // Values of other algorithms could not be verified here, and would be believed there.
        _ if name.starts_with("x-amz-checksum-") => match ChecksumAlgorithm::of_header(name) {
            Some(_) => Disposition::Pass,
            None => Disposition::Refuse,
        },
        // An append adds to an object whose size no rule sees.
        "x-amz-write-offset-bytes" => Disposition::Refuse,
        _ => Disposition::NeedsAllow,
    }
}

/// Headers of one request, sorted by what becomes of them.
#[derive(Debug, Clone, Default)]
pub struct SortedHeaders {
    /// Headers for the store.
    pub pass: HeaderMap,
    /// IAM actions that some of them need besides the operation's own, with the header that asks for it.
    pub needs_actions: Vec<(&'static str, HeaderName)>,
    /// Those of `pass` that the deciding rule must list.
    pub needs_allow: Vec<HeaderName>,
}

/// Why the headers of a request were not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// An `x-amz-*` header the operation does not know, or that cannot be carried over.
    #[error("the header `{0}` is not accepted for this operation")]
    Refused(HeaderName),
    /// The same header twice where one value is expected.
    #[error("the header `{0}` appears twice")]
    Duplicate(HeaderName),
    /// `Connection` names a header that belongs to the message.
    #[error("the Connection header names `{0}`")]
    ConnectionNamed(String),
    /// User metadata larger than S3 takes.
    #[error("user metadata has {0} bytes, at most {MAX_METADATA_BYTES} are allowed")]
    MetadataTooLarge(usize),
    /// A value with bytes outside visible ASCII, blank and tab.
    #[error("the header `{0}` has a value that is not plain text")]
    NotText(HeaderName),
}

/// Largest user metadata, names and values together. Source: S3 user guide, "Working with object metadata".
const MAX_METADATA_BYTES: usize = 2 * 1024;

impl SortedHeaders {
    /// Sorts the headers of a request for the operation. Values pass as SigV4 signs them, see [`collapse_blanks`].
    ///
    /// # Errors
    /// [`HeaderError`] for the first header that is not accepted.
    pub fn sort(spec: &OperationSpec, headers: &HeaderMap) -> Result<Self, HeaderError> {
        check_connection(headers)?;
        let mut sorted = Self::default();
        let mut metadata_bytes = 0;
        for (name, value) in headers {
            match disposition(spec, name.as_str(), value) {
                Disposition::Drop => continue,
                Disposition::Refuse => return Err(HeaderError::Refused(name.clone())),
                Disposition::Pass => {}
                Disposition::NeedsAction(action) => sorted.needs_actions.push((action, name.clone())),
                Disposition::NeedsAllow => sorted.needs_allow.push(name.clone()),
            }
            let value = canonical_value(name, value)?;
            if let Some(meta) = name.as_str().strip_prefix("x-amz-meta-") {
                metadata_bytes += meta.len() + value.len();
            }
            if sorted.pass.insert(name.clone(), value).is_some() {
                return Err(HeaderError::Duplicate(name.clone()));
            }
        }
        if metadata_bytes > MAX_METADATA_BYTES {
            return Err(HeaderError::MetadataTooLarge(metadata_bytes));
        }
        Ok(sorted)
    }

    /// Lets the deciding rule say about these headers too, as far as the operation has them.
    pub fn need_allow(&mut self, names: &[HeaderName]) {
        self.needs_allow.extend(names.iter().filter(|name| self.pass.contains_key(*name)).cloned());
    }
}

/// The value in the form that is signed for the store: rules read, and the store gets, what the signature covers.
fn canonical_value(name: &HeaderName, value: &HeaderValue) -> Result<HeaderValue, HeaderError> {
    let not_text = || HeaderError::NotText(name.clone());
    let text = value.to_str().map_err(|_| not_text())?;
    HeaderValue::from_str(&collapse_blanks(text)).map_err(|_| not_text())
}

/// `Connection` may name hop-by-hop headers only: naming another one would make it vanish on one of two hops (K16).
///
/// # Errors
/// [`HeaderError::ConnectionNamed`], or [`HeaderError::NotText`].
pub fn check_connection(headers: &HeaderMap) -> Result<(), HeaderError> {
    const HOP_BY_HOP: &[&str] = &["close", "keep-alive", "te", "upgrade", "proxy-connection", "http2-settings"];
    for value in headers.get_all(http::header::CONNECTION) {
        let text = value.to_str().map_err(|_| HeaderError::NotText(http::header::CONNECTION))?;
        let mut names = text.split(',').map(|name| name.trim().to_ascii_lowercase()).filter(|name| !name.is_empty());
        if let Some(named) = names.find(|name| !HOP_BY_HOP.contains(&name.as_str())) {
            return Err(HeaderError::ConnectionNamed(named));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::Operation;

    fn sort(operation: Operation, headers: &[(&str, &str)]) -> Result<SortedHeaders, HeaderError> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        SortedHeaders::sort(operation.spec(), &map)
    }

    #[test]
    fn headers_of_the_object_pass_and_others_are_dropped() {
        let sorted = sort(
            Operation::PutObject,
            &[
                ("content-type", "text/plain"),
                ("x-amz-meta-a", "1"),
                ("x-amz-checksum-crc32", "AAAAAA=="),
                ("user-agent", "x"),
                ("cookie", "c"),
                ("x-minio-source-mtime", "1"),
            ],
        )
        .unwrap();
        let names: Vec<_> = sorted.pass.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["content-type", "x-amz-meta-a", "x-amz-checksum-crc32"]);
        assert!(sorted.needs_allow.is_empty() && sorted.needs_actions.is_empty());
    }

    #[test]
    fn d22_d24_headers_with_consequences_need_a_right_of_their_own() {
        let needs = |name: &str, value: &str| sort(Operation::PutObject, &[(name, value)]).unwrap();
        assert_eq!(needs("x-amz-acl", "public-read").needs_actions[0].0, "s3:PutObjectAcl");
        assert_eq!(needs("x-amz-grant-read", "uri=x").needs_actions[0].0, "s3:PutObjectAcl");
        assert_eq!(needs("x-amz-tagging", "a=b").needs_actions[0].0, "s3:PutObjectTagging");
        assert_eq!(needs("x-amz-website-redirect-location", "/x").needs_allow[0], "x-amz-website-redirect-location");
        assert_eq!(needs("x-amz-server-side-encryption", "aws:kms").needs_allow[0], "x-amz-server-side-encryption");
        assert!(needs("x-amz-acl", "private").pass.is_empty());
    }

    #[test]
    fn a03_d06_d27_headers_that_the_operation_does_not_know_are_refused() {
        for (operation, name) in [
            (Operation::GetObject, "x-amz-copy-source"),
            (Operation::PutObject, "x-amz-copy-source-range"),
            (Operation::PutObject, "x-amz-replication-status"),
            (Operation::PutObject, "x-amz-meta-"),
            (Operation::PutObject, "x-amz-meta-x-minio-internal"),
            (Operation::PutObject, "x-amz-meta-snowball-auto-extract"),
            (Operation::CreateMultipartUpload, "x-amz-meta-minio-snowball-prefix"),
            (Operation::GetObject, "x-amz-meta-a"),
            (Operation::PutObject, "x-amz-checksum-sha512"),
            (Operation::PutObject, "x-amz-checksum-md5"),
            (Operation::PutObject, "x-amz-write-offset-bytes"),
            (Operation::PutObject, "x-amz-expected-bucket-owner"),
            (Operation::PutObject, "x-amz-request-payer"),
        ] {
            assert!(matches!(sort(operation, &[(name, "x")]), Err(HeaderError::Refused(_))), "{name}");
        }
    }

    #[test]
    fn k16_connection_must_not_name_headers_of_the_message() {
        for value in ["close, x-amz-content-sha256", "authorization", "x-amz-copy-source, host", "content-length"] {
            assert!(
                matches!(sort(Operation::PutObject, &[("connection", value)]), Err(HeaderError::ConnectionNamed(_))),
                "{value}"
            );
        }
        assert!(sort(Operation::PutObject, &[("connection", "Keep-Alive, TE")]).is_ok());
    }

    #[test]
    fn inner_runs_of_blanks_pass_as_one_blank() {
        for (sent, passed) in [
            ("a   b\t c", "a b c"),
            ("\ta \t", "a"),
            ("text/plain;   charset=\"a  b\"", "text/plain; charset=\"a b\""),
            ("a b", "a b"),
            (" \t ", ""),
        ] {
            let sorted = sort(Operation::PutObject, &[("x-amz-meta-a", sent)]).unwrap();
            assert_eq!(sorted.pass["x-amz-meta-a"], passed, "{sent:?}");
        }
        let blanks = format!("a{}b", " ".repeat(4096));
        assert!(sort(Operation::PutObject, &[("x-amz-meta-a", &blanks)]).is_ok(), "counted as it is stored");
    }

    #[test]
    fn repeated_headers_and_large_metadata_are_refused() {
        assert!(matches!(
            sort(Operation::PutObject, &[("content-type", "a/b"), ("content-type", "c/d")]),
            Err(HeaderError::Duplicate(_))
        ));
        let large = "m".repeat(2048);
        assert_eq!(
            sort(Operation::PutObject, &[("x-amz-meta-a", &large)]).unwrap_err(),
            HeaderError::MetadataTooLarge(2049)
        );
    }
}

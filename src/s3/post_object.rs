//! What the fields of a browser form say of the object it uploads, and of the answer it wants.
//!
//! Fields become headers of a PutObject, by name and not by chance: a field `content-length` or `host` never does. Which of these headers
//! are accepted is decided where those of every request are. Source: S3 API reference, "POST Object".

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::base::encoding::encode_query;
use crate::s3::post_form::FormFields;
use crate::s3::tagging::{self, TaggingError};

/// Fields that become the header of the same name.
const HEADERS: &[&str] = &[
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-md5",
    "content-type",
    "expires",
];

/// Fields of the `x-amz-` family that show the credential, and are checked as such.
pub const SIGNING: &[&str] =
    &["x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-security-token", "x-amz-signature"];

/// Fields of the `x-amz-` family that would say how the body is framed; the form does.
const FRAMING: &[&str] = &["x-amz-content-sha256", "x-amz-decoded-content-length", "x-amz-trailer"];

/// What a form asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostObject {
    /// The key, not checked yet.
    pub key: String,
    /// Headers of the PutObject that the form stands for.
    pub headers: HeaderMap,
    /// The answer to a success.
    pub success: Success,
}

/// How a success is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Success {
    /// `204`, or `200`, without a body.
    Empty(u16),
    /// `201` with a document.
    Created,
    /// `303` to a page.
    Redirect(RedirectUrl),
}

/// Why the fields of a form were not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PostObjectError {
    /// No key.
    #[error("the form has no field `key` before the file")]
    NoKey,
    /// `${filename}` without a file name.
    #[error("the key has ${{filename}} in it and the file has no name")]
    NoFilename,
    /// Another bucket than that of the URL.
    #[error("the field `bucket` is not the bucket of the URL")]
    Bucket,
    /// A field that cannot be carried over, or not with this value.
    #[error("the field `{0}` is not accepted, or not with this value")]
    Field(String),
    /// Two fields that mean the same.
    #[error("the fields `{0}` and `{1}` exclude each other")]
    Both(&'static str, &'static str),
    /// The tags cannot be read.
    #[error(transparent)]
    Tagging(#[from] TaggingError),
}

impl PostObject {
    /// Puts the name of the file into the key: what the policy, the rules and the store see is the result.
    ///
    /// # Errors
    /// [`PostObjectError::NoKey`] or [`PostObjectError::NoFilename`].
    pub fn name_file(fields: &mut FormFields) -> Result<(), PostObjectError> {
        const FILENAME: &str = "${filename}";
        let key = fields.get("key").filter(|key| !key.is_empty()).ok_or(PostObjectError::NoKey)?;
        if key.contains(FILENAME) {
            if fields.filename().is_empty() {
                return Err(PostObjectError::NoFilename);
            }
            let named = key.replace(FILENAME, fields.filename());
            fields.replace("key", named);
        }
        Ok(())
    }

    /// Reads what the fields say of an upload to a bucket.
    ///
    /// # Errors
    /// [`PostObjectError`] for the first field that is not accepted.
    pub fn read(fields: &FormFields, bucket: &str) -> Result<Self, PostObjectError> {
        let key = fields.get("key").ok_or(PostObjectError::NoKey)?.to_owned();
        if fields.get("bucket").is_some_and(|named| named != bucket) {
            return Err(PostObjectError::Bucket);
        }
        let mut headers = HeaderMap::new();
        for (name, value) in fields.all() {
            if let Some((header, value)) = header(name, value)? {
                let text = HeaderValue::from_str(&value).map_err(|_| PostObjectError::Field(name.clone()))?;
                headers.insert(header, text);
            }
        }
        for (short, header) in [("acl", "x-amz-acl"), ("tagging", "x-amz-tagging")] {
            if fields.get(short).is_some() && fields.get(header).is_some() {
                return Err(PostObjectError::Both(short, header));
            }
        }
        Ok(Self { key, headers, success: success(fields)? })
    }
}

/// The header that a field stands for. Fields that stand for none are left: the policy covers them, and they mean nothing here.
fn header(name: &str, value: &str) -> Result<Option<(HeaderName, String)>, PostObjectError> {
    let refused = || PostObjectError::Field(name.to_owned());
    let named = |name: &str| HeaderName::from_bytes(name.as_bytes()).map_err(|_| refused());
    match name {
        "acl" => Ok(Some((named("x-amz-acl")?, value.to_owned()))),
        "tagging" => {
            let tags = tagging::parse(value.as_bytes())?;
            let pairs = tags.iter().map(|(key, value)| format!("{}={}", encode_query(key), encode_query(value)));
            Ok(Some((named("x-amz-tagging")?, pairs.collect::<Vec<_>>().join("&"))))
        }
        // An older name of success_action_redirect, which would be forgotten silently.
        "redirect" => Err(refused()),
        _ if FRAMING.contains(&name) => Err(refused()),
        _ if SIGNING.contains(&name) => Ok(None),
        _ if HEADERS.contains(&name) || name.starts_with("x-amz-") => Ok(Some((named(name)?, value.to_owned()))),
        _ => Ok(None),
    }
}

fn success(fields: &FormFields) -> Result<Success, PostObjectError> {
    let refused = |name: &str| PostObjectError::Field(name.to_owned());
    let status = match fields.get("success_action_status") {
        None | Some("204") => Success::Empty(204),
        Some("200") => Success::Empty(200),
        Some("201") => Success::Created,
        Some(_) => return Err(refused("success_action_status")),
    };
    match fields.get("success_action_redirect") {
        None => Ok(status),
        Some(url) => RedirectUrl::parse(url).map(Success::Redirect).ok_or_else(|| refused("success_action_redirect")),
    }
}

/// A page that a browser is sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedirectUrl {
    url: String,
    origin_bytes: usize,
}

impl RedirectUrl {
    /// Reads an absolute URL of the web, without user information and fragment. Its host is what stands up to the first `/` or `?`, for
    /// every reader.
    pub fn parse(url: &str) -> Option<Self> {
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
        let authority = &rest[..rest.find(['/', '?']).unwrap_or(rest.len())];
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-.:[]".contains(&b);
        let good_path = rest.bytes().all(|b| b.is_ascii_graphic() && !b"\"#<>\\^`{|}".contains(&b));
        let good = good_path && authority.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[');
        let origin_bytes = url.len() - rest.len() + authority.len();
        (good && authority.bytes().all(plain)).then(|| Self { url: url.to_owned(), origin_bytes })
    }

    /// Whether a condition that the URL begins with `start` leaves no choice of the host.
    pub fn host_is_fixed_by(&self, start: &str) -> bool {
        start.len() > self.origin_bytes
    }

    /// The URL with what was uploaded in its query.
    pub fn with_upload(&self, bucket: &str, key: &str, etag: &str) -> String {
        let [bucket, key, etag] = [bucket, key, etag].map(encode_query);
        let separator = if self.url.contains('?') { '&' } else { '?' };
        format!("{}{separator}bucket={bucket}&key={key}&etag={etag}", self.url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(fields: &[(&str, &str)]) -> Result<PostObject, PostObjectError> {
        let mut form = FormFields::for_test(&[&[("key", "a/${filename}")], fields].concat(), "p.png");
        PostObject::name_file(&mut form)?;
        PostObject::read(&form, "bkt")
    }

    fn refused(name: &str) -> Result<PostObject, PostObjectError> {
        Err(PostObjectError::Field(name.to_owned()))
    }

    #[test]
    fn fields_become_the_headers_of_an_upload() {
        let tags = "<Tagging><TagSet><Tag><Key>a b</Key><Value>1&amp;2</Value></Tag></TagSet></Tagging>";
        let object = read(&[
            ("bucket", "bkt"),
            ("content-type", "image/png"),
            ("acl", "public-read"),
            ("tagging", tags),
            ("x-amz-meta-a", "1"),
            ("x-amz-date", "20261122T000000Z"),
            ("x-amz-signature", "00"),
            ("policy", "p"),
            ("x-ignore-me", "x"),
            ("submit", "Send"),
            ("content-length", "5"),
            ("host", "evil"),
            ("authorization", "Bearer x"),
            ("transfer-encoding", "chunked"),
        ])
        .unwrap();
        let headers: Vec<_> =
            object.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        let expected = [
            ("content-type", "image/png"),
            ("x-amz-acl", "public-read"),
            ("x-amz-tagging", "a%20b=1%262"),
            ("x-amz-meta-a", "1"),
        ];
        assert_eq!((object.key.as_str(), headers.as_slice()), ("a/p.png", &expected[..]));
        assert_eq!(object.success, Success::Empty(204));
    }

    #[test]
    fn d30_fields_with_two_meanings_are_refused() {
        assert_eq!(read(&[("bucket", "other")]), Err(PostObjectError::Bucket));
        assert_eq!(
            read(&[("acl", "private"), ("x-amz-acl", "public-read")]),
            Err(PostObjectError::Both("acl", "x-amz-acl"))
        );
        for name in ["x-amz-content-sha256", "x-amz-decoded-content-length", "x-amz-trailer", "redirect"] {
            assert_eq!(read(&[(name, "x")]), refused(name));
        }
        for (name, value) in [("x-amz-meta-a", "1\r\nx: y"), ("x-amz-meta-é", "1"), ("cache-control", "\n")] {
            assert_eq!(read(&[(name, value)]), refused(name));
        }
        assert!(matches!(read(&[("tagging", "a=b")]), Err(PostObjectError::Tagging(_))));
    }

    #[test]
    fn f03_the_name_of_the_file_is_put_in_once() {
        let named = |key: &str, filename: &str| {
            let mut form = FormFields::for_test(&[("key", key)], filename);
            PostObject::name_file(&mut form).map(|()| form.get("key").unwrap_or_default().to_owned())
        };
        assert_eq!(named("a/${filename}", "${filename}"), Ok("a/${filename}".to_owned()));
        assert_eq!(named("a/x", ""), Ok("a/x".to_owned()));
        assert_eq!(named("a/${filename}", ""), Err(PostObjectError::NoFilename));
        assert_eq!(named("", "p"), Err(PostObjectError::NoKey));
        assert_eq!(PostObject::name_file(&mut FormFields::for_test(&[], "p")), Err(PostObjectError::NoKey));
    }

    #[test]
    fn the_answer_is_chosen_by_the_form() {
        let success = |fields: &[(&str, &str)]| read(fields).map(|object| object.success);
        assert_eq!(success(&[("success_action_status", "200")]), Ok(Success::Empty(200)));
        assert_eq!(success(&[("success_action_status", "201")]), Ok(Success::Created));
        for status in ["", "100", "301", "204 ", "+201"] {
            assert_eq!(read(&[("success_action_status", status)]), refused("success_action_status"), "{status}");
        }
    }

    #[test]
    fn f12_a_redirect_goes_to_a_page_of_the_web_whose_host_has_one_reading() {
        for url in [
            "javascript:alert(1)",
            "//evil.example",
            "/done",
            "https:evil.example",
            "https://",
            "https:///evil.example",
            "https://app.example@evil.example/",
            "https://app.example\\@evil.example/",
            "https://app.example#@evil.example/",
            "https://app.example/\r\nset-cookie: a=b",
            "https://app.example/ x",
            "HTTPS://app.example/",
            "ftp://app.example/",
            "",
        ] {
            assert_eq!(RedirectUrl::parse(url), None, "{url}");
        }
        let url = |url: &str| RedirectUrl::parse(url).unwrap();
        assert_eq!(
            url("https://app.example/done").with_upload("bkt", "a/é&b", "\"e\""),
            "https://app.example/done?bucket=bkt&key=a%2F%C3%A9%26b&etag=%22e%22"
        );
        assert_eq!(
            url("http://[::1]:8080?a=b").with_upload("b", "k", "e"),
            "http://[::1]:8080?a=b&bucket=b&key=k&etag=e"
        );
    }

    #[test]
    fn f12_the_host_of_a_redirect_is_fixed_by_what_goes_beyond_it() {
        let url = RedirectUrl::parse("https://app.example/done").unwrap();
        assert!(url.host_is_fixed_by("https://app.example/") && url.host_is_fixed_by("https://app.example/done"));
        for start in ["", "https://", "https://app.exam", "https://app.example"] {
            assert!(!url.host_is_fixed_by(start), "{start}");
        }
    }
}

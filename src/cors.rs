//! Cross-origin resource sharing: which pages of other origins a browser lets talk to a bucket, and what of an answer they may read.
//!
//! Decides by origin, method and header names alone. It grants nothing: a request that a browser sends still needs its credential and a
//! rule. Credentials of the browser itself (cookies, client certificates) are never invited, so `Access-Control-Allow-Credentials` is
//! never sent. Source: Fetch standard, "CORS protocol"; S3 user guide, "Elements of a CORS configuration".

use std::collections::BTreeMap;
use std::time::Duration;

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::s3::addressing::locate_path;
use crate::s3::{Buckets, PassThrough};

/// What a script may read of every answer it gets, besides what the Fetch standard lets through and what a rule adds.
const EXPOSED: &str = "accept-ranges, content-encoding, content-range, etag, location, retry-after, x-amz-bucket-region, \
     x-amz-checksum-crc32, x-amz-checksum-crc32c, x-amz-checksum-crc64nvme, x-amz-checksum-sha1, x-amz-checksum-sha256, \
     x-amz-checksum-type, x-amz-delete-marker, x-amz-mp-parts-count, x-amz-request-id, x-amz-version-id";

/// Which origins a pattern stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginPattern(Pattern);

/// Which header names a pattern stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderPattern(Pattern);

/// A text with at most one `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    Exact(String),
    Around(String, String),
}

/// Why a text is no pattern of origins or header names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// More than one `*`.
    #[error("there is more than one `*`")]
    Stars,
    /// Not what a browser would send as an origin.
    #[error("this is not an origin")]
    Origin,
    /// A `*` that takes in domains of others.
    #[error("the `*` would also stand for domains of others")]
    Open,
    /// Not a header name.
    #[error("this is not a header name")]
    Header,
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, PatternError> {
        match text.split_once('*') {
            None => Ok(Self::Exact(text.to_owned())),
            Some((_, after)) if after.contains('*') => Err(PatternError::Stars),
            Some((before, after)) => Ok(Self::Around(before.to_owned(), after.to_owned())),
        }
    }

    /// Whether a text fits, if `stands` takes what it has in the place of the `*`.
    fn matches(&self, text: &str, stands: impl Fn(&str) -> bool) -> bool {
        match self {
            Self::Exact(exact) => exact == text,
            Self::Around(before, after) => text
                .strip_prefix(before.as_str())
                .and_then(|rest| rest.strip_suffix(after.as_str()))
                .is_some_and(stands),
        }
    }
}

impl OriginPattern {
    /// Reads `*`, `null`, or `scheme://host[:port]` in lower case with at most one `*` in it.
    ///
    /// # Errors
    /// [`PatternError`]. A `*` must not begin in the middle of a label (`https://*example.com` is `https://evilexample.com` too), nor end a
    /// host name that goes on elsewhere (`https://example.*`).
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let pattern = Pattern::parse(text)?;
        if matches!(text, "*" | "null") {
            return Ok(Self(pattern));
        }
        let (scheme, authority) = text.split_once("://").ok_or(PatternError::Origin)?;
        let good_scheme = scheme.starts_with(|c: char| c.is_ascii_lowercase())
            && scheme.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b));
        if !good_scheme || authority.is_empty() || !authority.bytes().all(|b| b == b'*' || is_authority_byte(b)) {
            return Err(PatternError::Origin);
        }
        let open = match authority.split_once('*') {
            None => false,
            Some((before, "")) => !(before.is_empty() || before.ends_with(':')),
            Some((before, after)) => !(after.starts_with(['.', '-']) || (before.is_empty() && after.starts_with(':'))),
        };
        if open { Err(PatternError::Open) } else { Ok(Self(pattern)) }
    }

    /// Whether every origin is meant.
    fn is_any(&self) -> bool {
        self.0 == Pattern::Around(String::new(), String::new())
    }

    /// `null` is the origin of sandboxed frames and local files, whoever wrote them, so no `*` stands for it.
    fn matches(&self, origin: &str) -> bool {
        let any = self.is_any();
        self.0.matches(origin, |part| {
            origin != "null" && !part.is_empty() && part.bytes().all(|b| is_authority_byte(b) || (any && b == b'/'))
        })
    }
}

fn is_authority_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._:[]".contains(&byte)
}

impl HeaderPattern {
    /// Reads a header name with at most one `*` in it.
    ///
    /// # Errors
    /// [`PatternError`] if it is none.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let text = text.to_ascii_lowercase();
        let pattern = Pattern::parse(&text)?;
        // `*` is a character of header names.
        HeaderName::try_from(text).map_err(|_| PatternError::Header)?;
        Ok(Self(pattern))
    }

    fn matches(&self, name: &HeaderName) -> bool {
        self.0.matches(name.as_str(), |_| true)
    }
}

/// One rule of a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorsRule {
    /// Origins of the pages.
    pub origins: Vec<OriginPattern>,
    /// Methods they may use.
    pub methods: Vec<Method>,
    /// Headers they may send.
    pub headers: Vec<HeaderPattern>,
    /// Headers of the answer they may read, besides those that every page may.
    pub expose: Vec<HeaderName>,
    /// How long a browser may remember the answer to a preflight request.
    pub max_age: Duration,
}

impl CorsRule {
    fn takes(&self, origin: &str, method: &str) -> bool {
        self.methods.iter().any(|allowed| allowed == method)
            && self.origins.iter().any(|allowed| allowed.matches(origin))
    }

    /// What the browser is told of an origin that the rule takes: the origin itself only where it is listed.
    fn allowed_origin(&self, origin: &HeaderValue) -> HeaderValue {
        let any = self.origins.iter().any(OriginPattern::is_any) && origin != "null";
        if any { HeaderValue::from_static("*") } else { origin.clone() }
    }

    fn exposed(&self) -> HeaderValue {
        let mut names = EXPOSED.to_owned();
        for name in &self.expose {
            names.push_str(", ");
            names.push_str(name.as_str());
        }
        HeaderValue::try_from(names).unwrap_or(HeaderValue::from_static(EXPOSED))
    }
}

/// The rules of all buckets by public name; [`PassThrough::ANY`] stands for every bucket of that mapping.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CorsRules(BTreeMap<String, Vec<CorsRule>>);

/// What a browser asks before it sends a request of a page from elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preflight {
    origin: HeaderValue,
    method: String,
    headers: Vec<HeaderName>,
}

/// Why a preflight request was refused. The browser is told the same for each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CorsError {
    /// A header of it is there twice, or cannot be read.
    #[error("a preflight request with a `{0}` that has no single reading")]
    Unreadable(HeaderName),
    /// It came with a body.
    #[error("a preflight request with a body")]
    Body,
    /// No bucket of that name, or one without rules.
    #[error("no CORS rules for the bucket")]
    NoRules,
    /// No rule has origin, method and headers.
    #[error("no CORS rule of the bucket has origin, method and headers of the request")]
    NotAllowed,
}

impl Preflight {
    /// Reads a preflight request; `None` if it is none: `OPTIONS` with `Origin` and `Access-Control-Request-Method`.
    pub fn of(head: &Parts) -> Option<Result<Self, CorsError>> {
        let has = |name: &HeaderName| head.headers.contains_key(name);
        let is_one = head.method == Method::OPTIONS && has(&ORIGIN) && has(&ACCESS_CONTROL_REQUEST_METHOD);
        is_one.then(|| Self::read(&head.headers))
    }

    fn read(headers: &HeaderMap) -> Result<Self, CorsError> {
        let only = |name: HeaderName| only_value(headers, &name).ok_or(CorsError::Unreadable(name));
        let origin = only(ORIGIN)?.clone();
        let method = only(ACCESS_CONTROL_REQUEST_METHOD)?.to_str().unwrap_or_default().to_owned();
        let mut asked = Vec::new();
        if headers.contains_key(ACCESS_CONTROL_REQUEST_HEADERS) {
            let unreadable = || CorsError::Unreadable(ACCESS_CONTROL_REQUEST_HEADERS);
            let names = only(ACCESS_CONTROL_REQUEST_HEADERS)?.to_str().map_err(|_| unreadable())?;
            for name in names.split(',').map(str::trim).filter(|name| !name.is_empty()) {
                asked.push(HeaderName::from_bytes(name.as_bytes()).map_err(|_| unreadable())?);
            }
        }
        Ok(Self { origin, method, headers: asked })
    }
}

fn only_value<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Some(value),
        _ => None,
    }
}

impl CorsRules {
    /// Takes rules by public bucket name.
    pub fn new(rules: impl IntoIterator<Item = (String, Vec<CorsRule>)>) -> Self {
        Self(rules.into_iter().filter(|(_, rules)| !rules.is_empty()).collect())
    }

    fn of_bucket(&self, name: &str, buckets: &Buckets) -> &[CorsRule] {
        let passed_through = || buckets.get(name).is_some_and(|bucket| bucket.passed_through);
        let found = match self.0.get(name) {
            Some(rules) if name != PassThrough::ANY => Some(rules),
            _ => self.0.get(PassThrough::ANY).filter(|_| passed_through()),
        };
        found.map_or(&[], Vec::as_slice)
    }

    /// The headers of the answer to a preflight request about a bucket.
    ///
    /// # Errors
    /// [`CorsError`] if no rule has everything that was asked for, or there is no such bucket.
    pub fn preflight(&self, bucket: &str, buckets: &Buckets, asked: &Preflight) -> Result<HeaderMap, CorsError> {
        let rules = self.of_bucket(bucket, buckets);
        if rules.is_empty() {
            return Err(CorsError::NoRules);
        }
        let origin = asked.origin.to_str().map_err(|_| CorsError::Unreadable(ORIGIN))?;
        let takes_headers =
            |rule: &CorsRule| asked.headers.iter().all(|name| rule.headers.iter().any(|pattern| pattern.matches(name)));
        let rule = rules
            .iter()
            .find(|rule| rule.takes(origin, &asked.method) && takes_headers(rule))
            .ok_or(CorsError::NotAllowed)?;
        let mut headers = HeaderMap::new();
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, rule.allowed_origin(&asked.origin));
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, listed(rule.methods.iter().map(Method::as_str)));
        if !asked.headers.is_empty() {
            // By name, because `*` would not stand for `Authorization`.
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, listed(asked.headers.iter().map(HeaderName::as_str)));
        }
        headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from(rule.max_age.as_secs()));
        let varies = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers";
        headers.insert(VARY, HeaderValue::from_static(varies));
        Ok(headers)
    }

    /// Puts onto an answer, a refusal too, what the page that asked may know of it.
    pub fn decorate(&self, head: &Parts, buckets: &Buckets, answer: &mut HeaderMap) {
        if self.0.is_empty() || head.method == Method::OPTIONS {
            return;
        }
        let Ok(target) = locate_path(head, buckets.domains()) else { return };
        let rules = self.of_bucket(&target.bucket, buckets);
        if rules.is_empty() {
            return;
        }
        // Also on an answer to nobody's page: a cache must not give it to one.
        answer.append(VARY, HeaderValue::from_static("Origin"));
        let Some(sent) = only_value(&head.headers, &ORIGIN) else { return };
        let Ok(origin) = sent.to_str() else { return };
        if let Some(rule) = rules.iter().find(|rule| rule.takes(origin, head.method.as_str())) {
            answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, rule.allowed_origin(sent));
            answer.insert(ACCESS_CONTROL_EXPOSE_HEADERS, rule.exposed());
        }
    }
}

fn listed<'a>(words: impl Iterator<Item = &'a str>) -> HeaderValue {
    let text = words.collect::<Vec<_>>().join(", ");
    HeaderValue::try_from(text).expect("methods and header names are visible ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::RouteId;
    use crate::s3::{Bucket, OddKeys};

    fn origin(pattern: &str, origin: &str) -> bool {
        OriginPattern::parse(pattern).unwrap().matches(origin)
    }

    #[test]
    fn g08_an_origin_must_be_listed_and_a_star_stays_within_its_place() {
        for (pattern, taken, others) in [
            (
                "https://app.example.com",
                &["https://app.example.com"][..],
                &[
                    "http://app.example.com",
                    "https://app.example.com:8443",
                    "https://app.example.com.evil",
                    "https://APP.example.com",
                    "https://app.example.com/",
                    "null",
                    "",
                ][..],
            ),
            (
                "https://*.example.com",
                &["https://a.example.com", "https://a.b.example.com"],
                &[
                    "https://example.com",
                    "https://.example.com",
                    "https://evil.org/.example.com",
                    "https://evil.org#.example.com",
                    "https://evil.org?.example.com",
                    "https://u@evil.org\\.example.com",
                    "https://evilexample.com",
                    "https://a.example.com.evil",
                    "null",
                ],
            ),
            (
                "http://localhost:*",
                &["http://localhost:5173"],
                &["http://localhost", "http://localhost:", "https://localhost:1"],
            ),
            ("https://*-team.example.app", &["https://x-team.example.app"], &["https://team.example.app"]),
            ("https://*", &["https://anything.example"], &["http://anything.example", "https://"]),
            ("*", &["https://anything.example", "http://x:1"], &["null"]),
            ("null", &["null"], &["https://null", ""]),
        ] {
            for sent in taken {
                assert!(origin(pattern, sent), "{pattern} {sent}");
            }
            for sent in others {
                assert!(!origin(pattern, sent), "{pattern} {sent}");
            }
        }
    }

    #[test]
    fn patterns_that_are_no_origins_or_take_in_others_are_refused() {
        for (text, error) in [
            ("https://*.*.example.com", PatternError::Stars),
            ("app.example.com", PatternError::Origin),
            ("https://app.example.com/", PatternError::Origin),
            ("https://App.example.com", PatternError::Origin),
            ("https://", PatternError::Origin),
            ("http*://app.example.com", PatternError::Origin),
            ("", PatternError::Origin),
            ("https://a b", PatternError::Origin),
            ("https://*example.com", PatternError::Open),
            ("https://example.*", PatternError::Open),
            ("https://example.com*", PatternError::Open),
            ("https://example.*:8443", PatternError::Open),
        ] {
            assert_eq!(OriginPattern::parse(text), Err(error), "{text}");
        }
        for text in ["x y", "a:b", "", "x\u{e9}"] {
            assert_eq!(HeaderPattern::parse(text), Err(PatternError::Header), "{text}");
        }
        assert_eq!(HeaderPattern::parse("*-*"), Err(PatternError::Stars));
    }

    fn rules(origins: &[&str]) -> CorsRules {
        let rule = CorsRule {
            origins: origins.iter().map(|text| OriginPattern::parse(text).unwrap()).collect(),
            methods: vec![Method::GET, Method::PUT],
            headers: ["Content-Type", "x-amz-*"].iter().map(|text| HeaderPattern::parse(text).unwrap()).collect(),
            expose: vec![HeaderName::from_static("x-amz-meta-a")],
            max_age: Duration::from_secs(60),
        };
        CorsRules::new([("bkt".to_owned(), vec![rule])])
    }

    fn buckets() -> Buckets {
        Buckets::new(["bkt", "plain"].map(|name| Bucket {
            name: name.to_owned(),
            route: RouteId(0),
            upstream_bucket: name.to_owned(),
            upstream_prefix: String::new(),
            odd_keys: OddKeys::Refuse,
            passed_through: false,
        }))
    }

    fn head(method: &str, target: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::builder().method(method).uri(target).header("host", "gw");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn ask(bucket: &str, sent: &[(&str, &str)]) -> Result<HeaderMap, CorsError> {
        let asked = Preflight::of(&head("OPTIONS", "/bkt/x", sent)).expect("a preflight request")?;
        rules(&["https://app.example"]).preflight(bucket, &buckets(), &asked)
    }

    const APP: (&str, &str) = ("origin", "https://app.example");
    const PUT: (&str, &str) = ("access-control-request-method", "PUT");

    #[test]
    fn g08_a_preflight_request_is_allowed_whole_or_not_at_all() {
        let names = ("access-control-request-headers", "content-type,X-Amz-Meta-A, x-amz-date");
        let allowed = ask("bkt", &[APP, PUT, names]).unwrap();
        assert_eq!(allowed[ACCESS_CONTROL_ALLOW_ORIGIN], "https://app.example");
        assert_eq!(allowed[ACCESS_CONTROL_ALLOW_METHODS], "GET, PUT");
        assert_eq!(allowed[ACCESS_CONTROL_ALLOW_HEADERS], "content-type, x-amz-meta-a, x-amz-date");
        assert_eq!(allowed[ACCESS_CONTROL_MAX_AGE], "60");
        assert!(!allowed.contains_key("access-control-allow-credentials"));
        for sent in [
            [("origin", "https://evil.example"), PUT, names],
            [("origin", "null"), PUT, names],
            [APP, ("access-control-request-method", "DELETE"), names],
            [APP, ("access-control-request-method", "put"), names],
            [APP, PUT, ("access-control-request-headers", "content-type, authorization")],
        ] {
            assert_eq!(ask("bkt", &sent), Err(CorsError::NotAllowed), "{sent:?}");
        }
        assert_eq!(ask("plain", &[APP, PUT]), Err(CorsError::NoRules));
        assert_eq!(ask("none", &[APP, PUT]), Err(CorsError::NoRules));
        assert_eq!(ask("*", &[APP, PUT]), Err(CorsError::NoRules));
    }

    #[test]
    fn a_preflight_request_with_two_readings_is_refused() {
        let twice = ("origin", "https://evil.example");
        assert_eq!(ask("bkt", &[APP, twice, PUT]), Err(CorsError::Unreadable(ORIGIN)));
        let broken = ("access-control-request-headers", "content type");
        assert_eq!(ask("bkt", &[APP, PUT, broken]), Err(CorsError::Unreadable(ACCESS_CONTROL_REQUEST_HEADERS)));
        for (method, sent) in [("OPTIONS", vec![APP]), ("OPTIONS", vec![PUT]), ("GET", vec![APP, PUT])] {
            assert_eq!(Preflight::of(&head(method, "/bkt/x", &sent)), None, "{method} {sent:?}");
        }
    }

    fn decorated(rules: &CorsRules, method: &str, target: &str, sent: &[(&str, &str)]) -> HeaderMap {
        let mut answer = HeaderMap::new();
        answer.insert(VARY, HeaderValue::from_static("Authorization"));
        rules.decorate(&head(method, target, sent), &buckets(), &mut answer);
        answer
    }

    fn varies(answer: &HeaderMap) -> Vec<&HeaderValue> {
        answer.get_all(VARY).iter().collect()
    }

    #[test]
    fn every_vary_line_of_an_answer_is_kept() {
        let mut answer = HeaderMap::new();
        for line in ["Accept-Encoding", "Authorization, Accept"] {
            answer.append(VARY, HeaderValue::from_static(line));
        }
        rules(&["*"]).decorate(&head("GET", "/bkt/x", &[APP]), &buckets(), &mut answer);
        assert_eq!(varies(&answer), ["Accept-Encoding", "Authorization, Accept", "Origin"]);
    }

    #[test]
    fn g08_an_answer_names_the_origin_only_if_it_is_listed() {
        let listed = rules(&["https://app.example", "https://*.example"]);
        let answer = decorated(&listed, "GET", "/bkt/x", &[APP]);
        assert_eq!(answer[ACCESS_CONTROL_ALLOW_ORIGIN], "https://app.example");
        assert_eq!(varies(&answer), ["Authorization", "Origin"]);
        let exposed = answer[ACCESS_CONTROL_EXPOSE_HEADERS].to_str().unwrap();
        for name in ["etag", "x-amz-request-id", "x-amz-checksum-sha256", "content-range", "x-amz-meta-a"] {
            assert!(exposed.split(", ").any(|exposed| exposed == name), "{name}");
        }
        for (method, target, sent) in [
            ("GET", "/bkt/x", vec![("origin", "https://evil.org")]),
            ("GET", "/bkt/x", vec![("origin", "null")]),
            ("DELETE", "/bkt/x", vec![APP]),
            ("GET", "/bkt/x", vec![APP, ("origin", "https://evil.org")]),
            ("GET", "/bkt/x", vec![]),
        ] {
            let answer = decorated(&listed, method, target, &sent);
            assert_eq!(varies(&answer), ["Authorization", "Origin"], "{sent:?}");
            assert_eq!(answer.keys().collect::<Vec<_>>(), [VARY], "{sent:?}");
        }
        for target in ["/plain/x", "/none/x", "/"] {
            assert_eq!(varies(&decorated(&listed, "GET", target, &[APP])), ["Authorization"], "{target}");
        }
        let any = decorated(&rules(&["*"]), "PUT", "/bkt/x", &[APP]);
        assert_eq!(any[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        let null = decorated(&rules(&["*", "null"]), "PUT", "/bkt/x", &[("origin", "null")]);
        assert_eq!(null[ACCESS_CONTROL_ALLOW_ORIGIN], "null");
    }
}

//! What a request asks of STS.
//!
//! A parameter that is not understood is refused, a session policy above all: leaving it out would give keys that may do more than was
//! asked for. Of `RoleArn` and `RoleSessionName`, which the client makes up, nothing becomes an attribute.

use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, Method};

use crate::base::Secret;
use crate::s3::addressing::{Domains, locate_path};
use crate::sts::VERSION;
use crate::sts::error::StsError;
use crate::sts::form::Form;

/// Where the parameters of a request are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carried {
    /// In its body.
    Body,
    /// In its query.
    Query,
}

/// What is asked.
#[derive(Debug, Clone)]
pub enum StsAction {
    /// Keys for the holder of a JWT.
    AssumeRoleWithWebIdentity(AssumeRole),
    /// Who the caller is.
    GetCallerIdentity,
}

/// The actions, before their parameters are read.
#[derive(Clone, Copy)]
enum ActionName {
    AssumeRoleWithWebIdentity,
    GetCallerIdentity,
}

impl ActionName {
    fn parse(name: &str) -> Result<Self, StsError> {
        match name {
            "AssumeRoleWithWebIdentity" => Ok(Self::AssumeRoleWithWebIdentity),
            "GetCallerIdentity" => Ok(Self::GetCallerIdentity),
            _ => Err(StsError::UnknownAction),
        }
    }

    /// Parameters besides those that every action has.
    fn parameters(self) -> &'static [&'static str] {
        match self {
            Self::AssumeRoleWithWebIdentity => &["RoleArn", "RoleSessionName", "WebIdentityToken", "DurationSeconds"],
            Self::GetCallerIdentity => &[],
        }
    }
}

/// The parameters of AssumeRoleWithWebIdentity.
#[derive(Debug, Clone)]
pub struct AssumeRole {
    /// `RoleArn`.
    pub role: String,
    /// The JWT.
    pub token: Secret,
    /// How long the keys should last, 15 minutes to 12 hours.
    pub duration: Option<Duration>,
}

/// What AWS takes for `DurationSeconds`.
const DURATIONS: std::ops::RangeInclusive<u64> = 900..=43_200;

impl Carried {
    /// Whether a request is one for STS: to `/` of no bucket, as a POST of a form, or as a GET with the parameter `Action`. S3 has neither.
    pub fn recognise(head: &Parts, domains: &Domains) -> Option<Self> {
        if head.uri.path() != "/" {
            return None;
        }
        let query = head.uri.query().unwrap_or_default();
        let carried = match head.method {
            Method::POST if is_form(&head.headers) => Self::Body,
            Method::GET if query.split('&').any(|pair| pair.starts_with("Action=")) => Self::Query,
            _ => return None,
        };
        // The root of a bucket is that of a virtual host.
        locate_path(head, domains).ok().filter(|target| target.bucket.is_empty()).map(|_| carried)
    }
}

fn is_form(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return false };
    let kind = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

impl StsAction {
    /// The name, also in audit records.
    pub fn name(&self) -> &'static str {
        match self {
            Self::AssumeRoleWithWebIdentity(_) => "AssumeRoleWithWebIdentity",
            Self::GetCallerIdentity => "GetCallerIdentity",
        }
    }

    /// Reads the parameters of a request.
    ///
    /// # Errors
    /// [`StsError`] with the first that is not right.
    pub fn parse(form: &[u8]) -> Result<Self, StsError> {
        let form = Form::parse(form)?;
        let action = ActionName::parse(form.get("Action").ok_or(StsError::NoAction)?)?;
        if form.get("Version") != Some(VERSION) {
            return Err(StsError::Version);
        }
        let unknown = |name: &&str| !["Action", "Version"].contains(name) && !action.parameters().contains(name);
        match form.names().find(unknown) {
            Some(name) if name == "Policy" || name.starts_with("PolicyArns") => return Err(StsError::SessionPolicy),
            Some(_) => return Err(StsError::UnknownParameter),
            None => {}
        }
        match action {
            ActionName::AssumeRoleWithWebIdentity => AssumeRole::read(&form).map(Self::AssumeRoleWithWebIdentity),
            ActionName::GetCallerIdentity => Ok(Self::GetCallerIdentity),
        }
    }
}

impl AssumeRole {
    fn read(form: &Form) -> Result<Self, StsError> {
        let required = |name: &'static str| form.get(name).ok_or(StsError::Missing(name));
        let role = required("RoleArn")?;
        if !(20..=2048).contains(&role.len()) || !role.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(StsError::Value("RoleArn"));
        }
        if !is_session_name(required("RoleSessionName")?) {
            return Err(StsError::Value("RoleSessionName"));
        }
        let token = required("WebIdentityToken")?;
        if !(4..=crate::auth::claim::MAX_TOKEN_BYTES).contains(&token.len()) {
            return Err(StsError::Value("WebIdentityToken"));
        }
        let duration = form.get("DurationSeconds").map(seconds).transpose()?;
        Ok(Self { role: role.to_owned(), token: Secret::new(token), duration })
    }
}

/// 2 to 64 characters of `A-Za-z0-9_+=,.@-`, as AWS has it.
fn is_session_name(name: &str) -> bool {
    (2..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte))
}

fn seconds(text: &str) -> Result<Duration, StsError> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|number| digits && DURATIONS.contains(number));
    number.map(Duration::from_secs).ok_or(StsError::Value("DurationSeconds"))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    const GOOD: &str = "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fx&RoleSessionName=pod-1&WebIdentityToken=a.b.c";

    fn parse(form: &str) -> Result<StsAction, StsError> {
        StsAction::parse(form.as_bytes())
    }

    fn error(form: &str) -> StsError {
        parse(form).expect_err(form)
    }

    #[test]
    fn what_sdks_send_is_understood() {
        let StsAction::AssumeRoleWithWebIdentity(asked) = parse(GOOD).unwrap() else { panic!() };
        assert_eq!((asked.token.expose(), asked.duration), ("a.b.c", None));
        let StsAction::AssumeRoleWithWebIdentity(asked) = parse(&format!("{GOOD}&DurationSeconds=900")).unwrap() else {
            panic!()
        };
        assert_eq!(asked.duration, Some(Duration::from_secs(900)));
        let identity = parse("Action=GetCallerIdentity&Version=2011-06-15").unwrap();
        assert_eq!(identity.name(), "GetCallerIdentity");
    }

    #[test]
    fn a13_a_session_policy_is_refused_and_never_left_out() {
        for more in ["Policy=%7B%7D", "Policy=", "PolicyArns.member.1.arn=arn%3Aaws%3Aiam%3A%3Aaws%3Apolicy%2FX"] {
            assert_eq!(error(&format!("{GOOD}&{more}")), StsError::SessionPolicy, "{more}");
        }
    }

    #[test]
    fn every_other_form_is_refused() {
        for (form, expected) in [
            ("Version=2011-06-15", StsError::NoAction),
            ("Action=AssumeRole&Version=2011-06-15", StsError::UnknownAction),
            ("Action=getcalleridentity&Version=2011-06-15", StsError::UnknownAction),
            ("Action=GetCallerIdentity", StsError::Version),
            ("Action=GetCallerIdentity&Version=2010-05-08", StsError::Version),
            ("Action=GetCallerIdentity&Version=2011-06-15&RoleArn=x", StsError::UnknownParameter),
            ("Action=AssumeRoleWithWebIdentity&Version=2011-06-15", StsError::Missing("RoleArn")),
        ] {
            assert_eq!(error(form), expected, "{form}");
        }
        assert_eq!(error(&format!("{GOOD}&ProviderId=www.amazon.com")), StsError::UnknownParameter);
        for (from, to, name) in [
            ("RoleArn=arn%3Aaws", "RoleArn=a%20b", "RoleArn"),
            ("arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fx", "arn:short", "RoleArn"),
            ("pod-1", "p", "RoleSessionName"),
            ("pod-1", "p%2F1", "RoleSessionName"),
            ("a.b.c", "abc", "WebIdentityToken"),
        ] {
            assert_eq!(error(&GOOD.replace(from, to)), StsError::Value(name), "{from} {to}");
        }
        for duration in ["899", "43201", "", "-900", "+900", "9e2", "3600.0", "99999999999999999999"] {
            let form = format!("{GOOD}&DurationSeconds={}", duration.replace('+', "%2B"));
            assert_eq!(error(&form), StsError::Value("DurationSeconds"), "{duration}");
        }
        for name in ["RoleArn", "RoleSessionName", "WebIdentityToken"] {
            assert_eq!(error(&GOOD.replace(&format!("{name}="), "Other=")), StsError::UnknownParameter, "{name}");
        }
    }

    #[test]
    fn only_requests_that_s3_does_not_have_are_for_sts() {
        let domains = Domains::new(["s3.example.com".to_owned()]);
        let recognised = |method: &str, target: &str, host: &str, content_type: &str| {
            let request = Request::builder().method(method).uri(target).header("host", host);
            let (head, ()) = request.header("content-type", content_type).body(()).unwrap().into_parts();
            Carried::recognise(&head, &domains)
        };
        let form = "application/x-www-form-urlencoded";
        for content_type in
            [form, "application/x-www-form-urlencoded; charset=utf-8", "Application/X-WWW-Form-URLencoded"]
        {
            assert_eq!(recognised("POST", "/", "s3.example.com", content_type), Some(Carried::Body), "{content_type}");
        }
        assert_eq!(recognised("POST", "/", "10.0.0.1:8080", form), Some(Carried::Body));
        assert_eq!(recognised("GET", "/?Action=GetCallerIdentity", "a", ""), Some(Carried::Query));
        assert_eq!(recognised("GET", "/?Version=1&Action=x", "a", ""), Some(Carried::Query));
        for (method, target, host, content_type) in [
            ("POST", "/", "bkt.s3.example.com", form),
            ("GET", "/?Action=x", "bkt.s3.example.com", ""),
            ("POST", "/bkt", "s3.example.com", form),
            ("POST", "/", "s3.example.com", "multipart/form-data; boundary=x"),
            ("POST", "/", "s3.example.com", ""),
            ("PUT", "/", "s3.example.com", form),
            ("GET", "/", "s3.example.com", form),
            ("GET", "/?prefix=Action%3D", "s3.example.com", ""),
            ("GET", "/bkt?Action=x", "s3.example.com", ""),
        ] {
            assert_eq!(recognised(method, target, host, content_type), None, "{method} {target} {host} {content_type}");
        }
    }
}

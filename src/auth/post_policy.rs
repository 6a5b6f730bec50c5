//! The credential of a browser form: a policy that somebody with an access key has signed, for somebody without one.
//!
//! The signature covers the base64 text exactly as it came. Then the policy says which fields the form may have: every field must be
//! covered by a condition and every condition must hold, the bucket of the URL included. An absent or empty policy allows nothing.
//! Source: S3 API reference, "Authenticating requests in browser-based uploads using POST" and "POST policy".

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::auth::access_keys::{AccessKeys, printable_id};
use crate::auth::error::{AuthError, CredentialKind};
use crate::auth::sigv4::SignatureCheck;
use crate::auth::{Caller, strict_json};
use crate::base::UtcInstant;
use crate::sigv4::authorization::ALGORITHM;
use crate::sigv4::{AmzDate, Credential};

/// Fields that no condition has to cover, besides those that begin with `x-ignore-`.
const EXEMPT: &[&str] = &["policy", "x-amz-signature", "file"];

/// Fields of a form: names in lower case, and values.
pub type Fields<'a> = &'a [(String, String)];

/// Why the policy of a form does not let it through.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// A field of the credential is missing, or cannot be read.
    #[error("the field `{0}` is missing or malformed")]
    Field(&'static str),
    /// The policy is not a document of its kind.
    #[error("the policy cannot be read: {0}")]
    Document(&'static str),
    /// Its time is over.
    #[error("Policy expired")]
    Expired,
    /// A condition does not hold.
    #[error("Policy Condition failed: {0}")]
    Condition(String),
    /// A field that no condition is about.
    #[error("Extra input fields: {0}")]
    Uncovered(String),
}

/// What a form shows: a policy, and who has signed it.
pub(in crate::auth) struct SignedPolicy<'a> {
    /// Base64, exactly as it came.
    pub(in crate::auth) policy: &'a str,
    pub(in crate::auth) credential: Credential,
    pub(in crate::auth) date: AmzDate,
    pub(in crate::auth) session_token: Option<&'a str>,
    pub(in crate::auth) signature: &'a str,
}

fn get<'a>(fields: Fields<'a>, name: &str) -> Option<&'a str> {
    fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

impl<'a> SignedPolicy<'a> {
    fn read(fields: Fields<'a>) -> Result<Self, AuthError> {
        let has = |name: &str| get(fields, name).is_some();
        let (v2, v4) = (has("awsaccesskeyid") || has("signature"), has("x-amz-signature") || has("x-amz-credential"));
        match (v2, v4) {
            (true, true) => return Err(AuthError::Several),
            (true, false) => return Err(AuthError::Unsupported(CredentialKind::FormV2)),
            (false, false) => return Err(AuthError::Missing),
            (false, true) => {}
        }
        let field = |name: &'static str| get(fields, name).ok_or(PolicyError::Field(name));
        if field("x-amz-algorithm")? != ALGORITHM {
            return Err(PolicyError::Field("x-amz-algorithm").into());
        }
        let date = AmzDate::parse(field("x-amz-date")?).ok_or(PolicyError::Field("x-amz-date"))?;
        let credential = Credential::parse(field("x-amz-credential")?)
            .ok()
            .filter(|credential| credential.check_service().is_ok())
            .ok_or(PolicyError::Field("x-amz-credential"))?;
        let (policy, signature) = (field("policy")?, field("x-amz-signature")?);
        Ok(Self { policy, credential, date, session_token: get(fields, "x-amz-security-token"), signature })
    }
}

/// The access key id that a form names, for the audit record: nobody has shown anything yet.
pub fn access_key_id(fields: Fields<'_>) -> Option<String> {
    let credential = Credential::parse(get(fields, "x-amz-credential")?).ok()?;
    printable_id(&credential.access_key_id).map(str::to_owned)
}

/// Checks who has signed the policy of a form, and that its time is not over.
///
/// # Errors
/// [`AuthError`]: as for every signed request, or [`AuthError::Policy`].
pub(in crate::auth) fn authenticate(
    fields: Fields<'_>,
    keys: &AccessKeys,
    signatures: &SignatureCheck,
    now: UtcInstant,
    address: IpAddr,
) -> Result<(Caller, PostPolicy), AuthError> {
    let signed = SignedPolicy::read(fields)?;
    let holder = signatures.policy(&signed, keys, now)?;
    let policy = PostPolicy::parse(signed.policy)?;
    // Else whoever has the form could date it anew, and it would outlive the longest life of what is signed in advance.
    if !policy.fixes("x-amz-date", |start| AmzDate::parse(start).is_some()) {
        return Err(PolicyError::Document("none of its conditions says exactly what x-amz-date is").into());
    }
    if now >= policy.expiration {
        return Err(PolicyError::Expired.into());
    }
    Ok((holder.caller(address), policy))
}

/// A policy whose signature was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostPolicy {
    expiration: UtcInstant,
    conditions: Vec<Condition>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Condition {
    Equal(String, String),
    StartsWith(String, String),
    Length(LengthRange),
}

/// Bytes that the file may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LengthRange {
    /// Fewest.
    pub min: u64,
    /// Most.
    pub max: Option<u64>,
}

impl PostPolicy {
    /// Reads a policy as the field has it: strict base64 of strict JSON.
    ///
    /// # Errors
    /// [`PolicyError::Document`] for anything that is not exactly an expiration and conditions.
    pub fn parse(base64: &str) -> Result<Self, PolicyError> {
        let text = STANDARD.decode(base64).map_err(|_| PolicyError::Document("it is not base64"))?;
        let mut document = strict_json::object(&text).ok_or(PolicyError::Document("it is not a strict JSON object"))?;
        let expiration = document.remove("expiration");
        let expiration = expiration.as_ref().and_then(Value::as_str).and_then(instant);
        let expiration = expiration.ok_or(PolicyError::Document("its expiration is no time in UTC"))?;
        let Some(Value::Array(conditions)) = document.remove("conditions") else {
            return Err(PolicyError::Document("it has no list of conditions"));
        };
        if !document.is_empty() {
            return Err(PolicyError::Document("it has something besides expiration and conditions"));
        }
        let conditions = conditions.iter().map(Condition::parse).collect::<Option<Vec<_>>>();
        Ok(Self { expiration, conditions: conditions.ok_or(PolicyError::Document("a condition is not understood"))? })
    }

    /// Holds a form to the policy: every condition must hold, and every field, and the bucket, must be in one. Returns how long the file
    /// may be.
    ///
    /// # Errors
    /// [`PolicyError::Condition`] or [`PolicyError::Uncovered`].
    pub fn check(&self, fields: Fields<'_>, bucket: &str) -> Result<LengthRange, PolicyError> {
        let value = |name: &str| if name == "bucket" { bucket } else { get(fields, name).unwrap_or_default() };
        let mut range = LengthRange { min: 0, max: None };
        for condition in &self.conditions {
            let holds = match condition {
                Condition::Equal(name, wanted) => value(name) == wanted,
                Condition::StartsWith(name, start) => value(name).starts_with(start.as_str()),
                Condition::Length(LengthRange { min, max }) => {
                    range.min = range.min.max(*min);
                    range.max = range.max.into_iter().chain(*max).min();
                    true
                }
            };
            if !holds {
                return Err(PolicyError::Condition(condition.describe()));
            }
        }
        let names = fields.iter().map(|(name, _)| name.as_str()).chain(["bucket", "key"]);
        let mut uncovered = names.filter(|name| !is_exempt(name) && !self.covers(name));
        match uncovered.next() {
            Some(name) => Err(PolicyError::Uncovered(name.to_owned())),
            None => Ok(range),
        }
    }

    fn covers(&self, name: &str) -> bool {
        self.conditions.iter().any(|condition| condition.name() == Some(name))
    }

    /// Whether one of the conditions on a field fixes it: says exactly what it is, or that it begins with something that is enough.
    pub fn fixes(&self, name: &str, enough: impl Fn(&str) -> bool) -> bool {
        self.conditions.iter().any(|condition| match condition {
            Condition::Equal(known, _) => known == name,
            Condition::StartsWith(known, start) => known == name && enough(start),
            Condition::Length(_) => false,
        })
    }
}

fn is_exempt(name: &str) -> bool {
    EXEMPT.contains(&name) || name.starts_with("x-ignore-")
}

impl Condition {
    /// `{"name": "value"}`, `["eq" | "starts-with", "$name", "value"]` or `["content-length-range", min, max]`.
    fn parse(value: &Value) -> Option<Self> {
        match value {
            Value::Object(pair) if pair.len() == 1 => {
                let (name, value) = pair.iter().next()?;
                Some(Self::Equal(field_name(name)?, value.as_str()?.to_owned()))
            }
            Value::Array(items) => {
                let [kind, first, second] = items.as_slice() else { return None };
                match kind.as_str()? {
                    "content-length-range" => {
                        let (min, max) = (first.as_u64()?, second.as_u64()?);
                        (min <= max).then_some(Self::Length(LengthRange { min, max: Some(max) }))
                    }
                    "eq" => Some(Self::Equal(variable(first)?, second.as_str()?.to_owned())),
                    "starts-with" => Some(Self::StartsWith(variable(first)?, second.as_str()?.to_owned())),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    fn name(&self) -> Option<&str> {
        match self {
            Self::Equal(name, _) | Self::StartsWith(name, _) => Some(name),
            Self::Length(_) => None,
        }
    }

    /// As S3 shows it to the client, who has sent it. It also gets into the audit record, so a session token and a key of the client do
    /// not.
    fn describe(&self) -> String {
        let is_secret = |name: &str| name == "x-amz-security-token" || name.ends_with("-customer-key");
        let shown = |name: &str, value: &str| if is_secret(name) { "…".to_owned() } else { value.to_owned() };
        match self {
            Self::Equal(name, value) => format!("[\"eq\", \"${name}\", \"{}\"]", shown(name, value)),
            Self::StartsWith(name, value) => format!("[\"starts-with\", \"${name}\", \"{}\"]", shown(name, value)),
            Self::Length(_) => "[\"content-length-range\"]".to_owned(),
        }
    }
}

fn variable(value: &Value) -> Option<String> {
    field_name(value.as_str()?.strip_prefix('$')?)
}

/// Names of fields do not depend on case.
fn field_name(name: &str) -> Option<String> {
    (!name.is_empty() && !name.starts_with('$')).then(|| name.to_ascii_lowercase())
}

/// `2026-11-22T12:00:00Z`, also with a fraction of the second. No other zone and no other form.
fn instant(text: &str) -> Option<UtcInstant> {
    let bytes = text.as_bytes();
    let plain = bytes.len() >= 20 && bytes[10] == b'T' && text.ends_with('Z');
    let plain = plain && text.bytes().all(|b| b.is_ascii_digit() || b"-:.TZ".contains(&b));
    text.parse().ok().filter(|_| plain)
}

#[cfg(test)]
#[path = "post_policy_tests.rs"]
mod tests;

//! What the claims of a verified token say, and whether the issuer's settings accept it.
//!
//! A claim that the settings name must be readable: one of an unexpected type refuses the token, because leaving out an
//! attribute could make a deny rule miss its match.

use std::net::IpAddr;

use jiff::SignedDuration;
use serde_json::{Map, Number, Value};

use super::{ISSUER, SUBJECT};
use crate::auth::error::{AuthError, ClaimFault, InvalidReason};
use crate::auth::settings::IssuerSettings;
use crate::auth::{Attributes, Caller, Scheme};
use crate::base::{PrincipalId, UtcInstant};

/// Longest principal name in bytes; OpenID Connect allows 255 characters.
pub(in crate::auth) const MAX_PRINCIPAL_BYTES: usize = 256;

// From here on neighbouring whole numbers have the same `f64`, so two persons could share a value.
const EXACT_FLOAT_LIMIT: f64 = 9_007_199_254_740_992.0;

/// The claims of a token whose signature was verified.
pub(super) struct Claims(Map<String, Value>);

/// A refused claim, before the issuer's name is known.
struct Refused<'c>(&'c str, ClaimFault);

impl Claims {
    /// To be called only after the signature was verified.
    pub(super) fn from_verified(payload: Map<String, Value>) -> Self {
        Self(payload)
    }

    /// The caller that the claims describe.
    ///
    /// # Errors
    /// [`InvalidReason::Claim`]; [`AuthError::Expired`] only if everything else is right.
    pub(super) fn into_caller(
        self,
        settings: &IssuerSettings,
        address: IpAddr,
        now: UtcInstant,
    ) -> Result<Caller, AuthError> {
        let (principal, attributes, expires) = self.read(settings, now).map_err(|Refused(claim, fault)| {
            let issuer = settings.name.clone();
            AuthError::Invalid(InvalidReason::Claim { issuer, claim: claim.to_owned(), fault })
        })?;
        if now.duration_since(expires) >= signed(settings.leeway) {
            return Err(AuthError::Expired);
        }
        let principal = PrincipalId::new(format!("{}:{principal}", settings.name));
        Ok(Caller::new(principal, Scheme::Jwt, settings.name.clone(), attributes, address, Some(expires)))
    }

    /// Everything but expiry.
    fn read<'c>(
        &self,
        settings: &'c IssuerSettings,
        now: UtcInstant,
    ) -> Result<(String, Attributes, UtcInstant), Refused<'c>> {
        self.check_audience(&settings.audiences)?;
        let expires = self.time("exp")?.ok_or(Refused("exp", ClaimFault::Missing))?;
        for claim in ["nbf", "iat"] {
            if self.time(claim)?.is_some_and(|time| time.duration_since(now) > signed(settings.leeway)) {
                return Err(Refused(claim, ClaimFault::Future));
            }
        }
        for (claim, accepted) in &settings.required_claims {
            let values = self.values(claim)?.ok_or(Refused(claim, ClaimFault::Missing))?;
            if !accepted.is_empty() && !values.iter().any(|value| accepted.contains(value)) {
                return Err(Refused(claim, ClaimFault::Value));
            }
        }
        Ok((self.principal(&settings.principal_claim)?, self.attributes(settings)?, expires))
    }

    /// One of the token's audiences must be one of ours, whole and letter for letter.
    fn check_audience<'c>(&self, accepted: &[String]) -> Result<(), Refused<'c>> {
        let refused = |fault| Err(Refused("aud", fault));
        let ours = |value: &Value| value.as_str().is_some_and(|audience| accepted.iter().any(|one| one == audience));
        let matched = match self.0.get("aud") {
            None => return refused(ClaimFault::Missing),
            Some(value @ Value::String(_)) => ours(value),
            Some(Value::Array(values)) if values.iter().all(Value::is_string) => values.iter().any(ours),
            Some(_) => return refused(ClaimFault::Type),
        };
        if matched { Ok(()) } else { refused(ClaimFault::Value) }
    }

    /// A `NumericDate`: seconds since 1970, possibly with a fraction.
    fn time<'c>(&self, claim: &'c str) -> Result<Option<UtcInstant>, Refused<'c>> {
        match self.0.get(claim) {
            None => Ok(None),
            Some(Value::Number(number)) => instant(number).map(Some).ok_or(Refused(claim, ClaimFault::Time)),
            Some(_) => Err(Refused(claim, ClaimFault::Type)),
        }
    }

    /// The value of a claim: of the one with this name, or of what a JSON Pointer (RFC 6901) leads to, which begins with `/`.
    ///
    /// Pointers lead through objects only. What they meet instead makes the claim unusable; a part that is missing makes it absent.
    fn find<'c>(&self, claim: &'c str) -> Result<Option<&Value>, Refused<'c>> {
        let Some(pointer) = claim.strip_prefix('/') else { return Ok(self.0.get(claim)) };
        let mut parts = pointer.split('/').map(|part| part.replace("~1", "/").replace("~0", "~"));
        let mut found = parts.next().and_then(|part| self.0.get(&part));
        for part in parts {
            found = match found {
                None | Some(Value::Null) => return Ok(None),
                Some(Value::Object(inner)) => inner.get(&part),
                Some(_) => return Err(Refused(claim, ClaimFault::Type)),
            };
        }
        Ok(found)
    }

    fn principal<'c>(&self, claim: &'c str) -> Result<String, Refused<'c>> {
        let name = match self.find(claim)? {
            None => return Err(Refused(claim, ClaimFault::Missing)),
            Some(Value::String(name)) => name,
            Some(_) => return Err(Refused(claim, ClaimFault::Type)),
        };
        if name.is_empty() || name.len() > MAX_PRINCIPAL_BYTES || name.chars().any(char::is_control) {
            return Err(Refused(claim, ClaimFault::Text));
        }
        Ok(name.clone())
    }

    fn attributes<'c>(&self, settings: &'c IssuerSettings) -> Result<Attributes, Refused<'c>> {
        let mut attributes = Attributes::from([(ISSUER.to_owned(), vec![settings.name.clone()])]);
        if let Some(subject) = self.values(SUBJECT)? {
            attributes.insert(SUBJECT.to_owned(), subject);
        }
        for (attribute, claim) in &settings.attributes {
            if let Some(values) = self.values(claim)? {
                attributes.insert(attribute.clone(), values);
            }
        }
        Ok(attributes)
    }

    /// The values of a claim as texts; `None` if it is absent or `null`.
    ///
    /// Texts, numbers, booleans and arrays of texts have values. `scope` and `scp` are split at spaces (RFC 8693 §4.2).
    fn values<'c>(&self, claim: &'c str) -> Result<Option<Vec<String>>, Refused<'c>> {
        let values = match self.find(claim)? {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::String(text)) if matches!(claim, "scope" | "scp") => {
                text.split(' ').filter(|scope| !scope.is_empty()).map(str::to_owned).collect()
            }
            Some(Value::String(text)) => vec![text.clone()],
            Some(Value::Bool(flag)) => vec![flag.to_string()],
            Some(Value::Number(number)) => vec![exact_text(number).ok_or(Refused(claim, ClaimFault::Type))?],
            Some(Value::Array(items)) => {
                let texts: Option<Vec<String>> = items.iter().map(|item| item.as_str().map(str::to_owned)).collect();
                texts.ok_or(Refused(claim, ClaimFault::Type))?
            }
            Some(Value::Object(_)) => return Err(Refused(claim, ClaimFault::Type)),
        };
        // They end up in logs and headers.
        if values.iter().any(|value| value.chars().any(char::is_control)) {
            return Err(Refused(claim, ClaimFault::Text));
        }
        Ok(Some(values))
    }
}

/// `None` if the number is negative, not finite, or after the year 9999.
fn instant(number: &Number) -> Option<UtcInstant> {
    if let Some(seconds) = number.as_u64() {
        return UtcInstant::from_second(i64::try_from(seconds).ok()?).ok();
    }
    let seconds = number.as_f64().filter(|seconds| (0.0..EXACT_FLOAT_LIMIT).contains(seconds))?;
    // Fractions only lose precision here; what is left over of a whole number fits exactly.
    let nanos = (seconds.fract() * 1e9) as i32;
    UtcInstant::new(seconds.trunc() as i64, nanos).ok()
}

/// The number as text, if different numbers cannot get the same one.
fn exact_text(number: &Number) -> Option<String> {
    if number.is_i64() || number.is_u64() {
        return Some(number.to_string());
    }
    number.as_f64().filter(|float| float.abs() < EXACT_FLOAT_LIMIT).map(|float| float.to_string())
}

/// `leeway` is at most a minute, so the conversion is exact.
fn signed(leeway: std::time::Duration) -> SignedDuration {
    SignedDuration::try_from(leeway).unwrap_or(SignedDuration::ZERO)
}

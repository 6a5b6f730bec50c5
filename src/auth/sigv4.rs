//! Requests signed with SigV4, in the header or in the query of a presigned URL: from a claim to a caller.
//!
//! The signature covers what it says it covers, so the rest is about what it does not cover: an `x-amz-*` header that is not signed ends
//! the request, since it could turn one operation into another (GHSA-xm99-m3gq-83g8), and headers that say how a body is read count only
//! if they are signed. Forms and canonical requests are those of [`crate::sigv4`].

use std::num::NonZeroUsize;

use aws_lc_rs::digest;
use http::header::{DATE, HOST};
use http::request::Parts;
use http::{HeaderMap, HeaderName};

use crate::arrival::ConnectionFacts;
use crate::auth::access_keys::{AccessKeys, KeyHolder};
use crate::auth::error::{AuthError, SignatureError};
use crate::auth::jwt::looks_like_jwt;
use crate::auth::post_policy::SignedPolicy;
use crate::auth::settings::{SigningSettings, UnsignedPayload};
use crate::auth::{Authenticated, PresignedRequest, Scheme, presigned};
use crate::base::encoding::hex_sha256;
use crate::base::{Secret, UtcInstant};
use crate::sigv4::content_sha256::UNSIGNED_PAYLOAD;
use crate::sigv4::key::SERVICE;
use crate::sigv4::{
    AmzDate, ChunkCheck, ChunkSigner, ContentSha256, Credential, FormFault, KeyCache, PresignedQuery, Received,
    SignedHead, SigningKey, string_to_sign,
};

const CONTENT_SHA256: HeaderName = HeaderName::from_static("x-amz-content-sha256");
const AMZ_DATE: HeaderName = HeaderName::from_static("x-amz-date");
const SECURITY_TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

/// `x-amz-*` headers that may come unsigned: the first two stand in the text that is signed anyway, the third means nothing.
const MAY_BE_UNSIGNED: [&str; 3] = ["x-amz-content-sha256", "x-amz-date", "x-amz-user-agent"];

/// Derived keys that are kept: one for each access key, region and day.
const CACHED_KEYS: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");

/// Verifies requests that are signed with SigV4.
#[derive(Debug)]
pub(in crate::auth) struct SignatureCheck {
    settings: SigningSettings,
    derived: KeyCache,
    /// What is computed with when there is no such key, so that the work is the same.
    nobody: Secret,
}

/// Who has signed if the signature fits.
struct Candidate {
    holder: Result<KeyHolder, AuthError>,
    key: SigningKey,
    /// Whether the key was derived for this request and is good for the next ones.
    worth_keeping: bool,
}

/// Which key a signature claims to be made with, and when.
#[derive(Clone, Copy)]
pub(in crate::auth) struct Claimed<'a> {
    pub(in crate::auth) signed: &'a SignedHead,
    pub(in crate::auth) date: &'a AmzDate,
    pub(in crate::auth) session_token: Option<&'a str>,
    /// Service of the scope.
    pub(in crate::auth) service: &'static str,
    /// What stands for the body in the canonical request.
    pub(in crate::auth) payload: &'a str,
}

/// `x-amz-content-sha256` as it was sent, since it stands so in what is signed, and what it says.
#[derive(Debug, Clone, Copy)]
pub(in crate::auth) struct Payload<'a> {
    pub(in crate::auth) text: &'a str,
    pub(in crate::auth) says: ContentSha256,
}

impl<'a> Payload<'a> {
    /// Where nothing is said.
    pub(in crate::auth) const UNSIGNED: Self = Self { text: UNSIGNED_PAYLOAD, says: ContentSha256::Unsigned };

    pub(in crate::auth) fn parse(text: &'a str) -> Result<Self, SignatureError> {
        let says = ContentSha256::parse(text).ok_or(SignatureError::PayloadHash)?;
        Ok(Self { text, says })
    }
}

impl SignatureCheck {
    pub(in crate::auth) fn new(settings: SigningSettings) -> Self {
        Self { settings, derived: KeyCache::new(CACHED_KEYS), nobody: Secret::new("nobody knows this, nor has to") }
    }

    /// How many derived keys are kept.
    #[cfg(test)]
    pub(in crate::auth) fn cached_keys(&self) -> usize {
        self.derived.len()
    }

    /// Checks a request that is signed in its `Authorization` header.
    ///
    /// # Errors
    /// [`AuthError::Signature`], and those of [`AccessKeys::find`].
    pub(in crate::auth) fn header(
        &self,
        signed: &SignedHead,
        head: &Parts,
        connection: &ConnectionFacts,
        keys: &AccessKeys,
        now: UtcInstant,
    ) -> Result<Authenticated, AuthError> {
        let payload = content_sha256(&head.headers)?.ok_or(SignatureError::NoPayloadHash)?;
        let date = request_date(&head.headers)?;
        self.check_scope(&signed.credential, &date, SignatureError::Header)?;
        self.check_skew(&date, now)?;
        let session_token = only_text(&head.headers, &SECURITY_TOKEN, SignatureError::Token)?;
        let claimed = Claimed { signed, date: &date, session_token, service: SERVICE, payload: payload.text };
        let (holder, key) = self.verify(claimed, head, keys, now)?;
        check_all_signed(&head.headers, signed)?;
        self.check_payload(payload.says, &head.headers, connection)?;
        let signed_chunks = payload.says.has_signed_chunks();
        let chunks = signed_chunks.then(|| ChunkCheck::Chain(ChunkSigner::new(key, &date, signed.signature.clone())));
        let caller = holder.caller(connection.peer.ip()).signing_body(payload.says.covers_body());
        Ok(Authenticated { caller, chunks, presigned: None })
    }

    /// Checks a presigned URL.
    ///
    /// # Errors
    /// As [`Self::header`].
    pub(in crate::auth) fn presigned(
        &self,
        query: &PresignedQuery,
        head: &Parts,
        connection: &ConnectionFacts,
        keys: &AccessKeys,
        now: UtcInstant,
    ) -> Result<Authenticated, AuthError> {
        let signed = &query.signed;
        self.check_scope(&signed.credential, &query.date, SignatureError::Query)?;
        self.check_life(query, now)?;
        let payload = presigned::payload(query, &head.headers)?;
        let session_token = query.session_token.as_deref();
        check_handed_out(session_token)?;
        // Nobody would read it: the key would be looked up without the token that was signed with it (B17).
        if head.headers.contains_key(SECURITY_TOKEN) {
            return Err(SignatureError::Token.into());
        }
        let claimed = Claimed { signed, date: &query.date, session_token, service: SERVICE, payload: payload.text };
        let (holder, _) = self.verify(claimed, head, keys, now)?;
        check_all_signed(&head.headers, signed)?;
        let request = presigned::without_credential(query, head)?;
        let caller = holder.caller(connection.peer.ip()).signing_body(payload.says.covers_body());
        Ok(Authenticated { caller, chunks: None, presigned: Some(request) })
    }

    /// What the chunks of a body are held to whose request is signed with a placeholder.
    ///
    /// # Errors
    /// [`SignatureError::PayloadHash`].
    pub(in crate::auth) fn placeholder_chunks(&self, head: &Parts) -> Result<Option<ChunkCheck>, SignatureError> {
        let payload = content_sha256(&head.headers)?;
        Ok(payload.filter(|payload| payload.says.has_signed_chunks()).map(|_| ChunkCheck::Form))
    }

    /// The request that a URL stands for which is presigned with a placeholder. Its life is what the application wanted, so it is kept.
    ///
    /// # Errors
    /// As [`Self::presigned`], but for those of the signature itself.
    pub(in crate::auth) fn placeholder_url(
        &self,
        query: &PresignedQuery,
        head: &Parts,
        now: UtcInstant,
    ) -> Result<PresignedRequest, SignatureError> {
        self.check_life(query, now)?;
        presigned::payload(query, &head.headers)?;
        presigned::without_credential(query, head)
    }

    /// Checks a request for another service than S3, signed in its header, whose whole body is here.
    ///
    /// Any region will do: SDKs have one of their own for such services, and what is signed is for this gateway by its host.
    ///
    /// # Errors
    /// As [`Self::header`].
    pub(in crate::auth) fn whole(
        &self,
        signed: &SignedHead,
        head: &Parts,
        (service, body): (&'static str, &[u8]),
        keys: &AccessKeys,
        now: UtcInstant,
    ) -> Result<KeyHolder, AuthError> {
        let digest = digest::digest(&digest::SHA256, body);
        let payload = hex_sha256(digest.as_ref().try_into().expect("SHA-256 has 32 bytes"));
        // SDKs send the header to S3 only; what it says has to be true all the same.
        let named = only_text(&head.headers, &CONTENT_SHA256, SignatureError::PayloadHash)?;
        if named.is_some_and(|named| !named.eq_ignore_ascii_case(&payload)) {
            return Err(SignatureError::PayloadHash.into());
        }
        let date = request_date(&head.headers)?;
        if signed.credential.service != service {
            return Err(SignatureError::Header(FormFault::Service).into());
        }
        if signed.credential.day != date.day() {
            return Err(SignatureError::OtherDay.into());
        }
        self.check_skew(&date, now)?;
        let session_token = only_text(&head.headers, &SECURITY_TOKEN, SignatureError::Token)?;
        let claimed = Claimed { signed, date: &date, session_token, service, payload: &payload };
        let (holder, _) = self.verify(claimed, head, keys, now)?;
        check_all_signed(&head.headers, signed)?;
        Ok(holder)
    }

    /// Finds the key and checks the signature with it. Takes no less time for a key that there is not.
    ///
    /// # Errors
    /// Those of [`AccessKeys::find`], [`SignatureError::Mismatch`] and those of a host without one reading.
    fn verify(
        &self,
        claimed: Claimed<'_>,
        head: &Parts,
        keys: &AccessKeys,
        now: UtcInstant,
    ) -> Result<(KeyHolder, SigningKey), AuthError> {
        let Claimed { signed, date, session_token, service, payload } = claimed;
        let candidate = self.candidate(&signed.credential, service, date, session_token, keys, now);
        let host = match &self.settings.host {
            Some(host) => host.as_str(),
            None => signed_host(head)?,
        };
        let (path, query) = (head.uri.path(), head.uri.query().unwrap_or_default());
        let received = Received { method: head.method.as_str(), path, query, host, headers: &head.headers };
        let hash = received.canonical_hash(&signed.signed_headers, payload);
        let hash = hash.map_err(|gone| SignatureError::HeaderGone(gone.0))?;
        let text = string_to_sign(date, candidate.key.scope(), &hash);
        self.accept(candidate, &text, &signed.signature, &signed.credential, date)
    }

    /// Checks who has signed the policy of a browser form, as its text came. The form is good for as long as a presigned URL may be.
    ///
    /// # Errors
    /// As [`Self::presigned`].
    pub(in crate::auth) fn policy(
        &self,
        signed: &SignedPolicy<'_>,
        keys: &AccessKeys,
        now: UtcInstant,
    ) -> Result<KeyHolder, AuthError> {
        self.check_scope(&signed.credential, &signed.date, SignatureError::Query)?;
        check_handed_out(signed.session_token)?;
        let age = now.duration_since(signed.date.instant());
        if age.is_negative() {
            self.check_skew(&signed.date, now)?;
        } else if age.unsigned_abs() >= self.settings.presigned_expiry {
            return Err(SignatureError::Over.into());
        }
        let candidate = self.candidate(&signed.credential, SERVICE, &signed.date, signed.session_token, keys, now);
        let accepted = self.accept(candidate, signed.policy, signed.signature, &signed.credential, &signed.date);
        accepted.map(|(holder, _)| holder)
    }

    /// Whose key a credential claims to be, and the derived key to compare with. Without such a key it is nobody's.
    fn candidate(
        &self,
        credential: &Credential,
        service: &'static str,
        date: &AmzDate,
        session_token: Option<&str>,
        keys: &AccessKeys,
        now: UtcInstant,
    ) -> Candidate {
        let Credential { access_key_id, region, .. } = credential;
        let holder = keys.find(access_key_id, session_token, now);
        let secret = holder.as_ref().map_or(&self.nobody, |holder| &holder.secret);
        // A JWT comes under any id and, as a rule, soon in a newer edition: it would only push out the keys of others.
        let lasting = service == SERVICE && holder.as_ref().is_ok_and(|holder| holder.scheme != Scheme::Jwt);
        let known = lasting.then(|| self.derived.find(access_key_id, secret.expose(), region, date)).flatten();
        let worth_keeping = lasting && known.is_none();
        let key = known.unwrap_or_else(|| SigningKey::derive_for(service, secret, region, date));
        // In the words of signed requests, not those of bearer tokens.
        let holder = holder.map_err(|error| match error {
            AuthError::Expired => SignatureError::KeyExpired.into(),
            other => other,
        });
        Candidate { holder, key, worth_keeping }
    }

    /// The holder, if the signature of the text is theirs. Only then the key gets into the cache: strangers could fill it otherwise, with
    /// any region where every one is accepted.
    fn accept(
        &self,
        candidate: Candidate,
        text: &str,
        signature: &str,
        credential: &Credential,
        date: &AmzDate,
    ) -> Result<(KeyHolder, SigningKey), AuthError> {
        let Candidate { holder, key, worth_keeping } = candidate;
        let fits = key.verifies(text, signature);
        let holder = holder?;
        if !fits {
            return Err(SignatureError::Mismatch.into());
        }
        if worth_keeping {
            let Credential { access_key_id, region, .. } = credential;
            self.derived.keep(access_key_id, holder.secret.clone(), region, date, key.clone());
        }
        Ok((holder, key))
    }

    /// The scope must be of the day of the request, a region of ours and S3.
    fn check_scope(
        &self,
        credential: &Credential,
        date: &AmzDate,
        form: impl Fn(FormFault) -> SignatureError,
    ) -> Result<(), SignatureError> {
        credential.check_service().map_err(form)?;
        if credential.day != date.day() {
            return Err(SignatureError::OtherDay);
        }
        match self.settings.regions.first() {
            Some(expected) if !self.settings.regions.contains(&credential.region) => {
                Err(SignatureError::Region { expected: expected.clone() })
            }
            _ => Ok(()),
        }
    }

    fn check_skew(&self, date: &AmzDate, now: UtcInstant) -> Result<(), SignatureError> {
        let skew = now.duration_since(date.instant());
        let limit = self.settings.clock_skew;
        if skew.unsigned_abs() > limit {
            return Err(SignatureError::Skewed { skew_secs: skew.as_secs(), limit_secs: limit.as_secs() });
        }
        Ok(())
    }

    /// A URL is good from its date, give or take the skew of clocks, to its end.
    fn check_life(&self, query: &PresignedQuery, now: UtcInstant) -> Result<(), SignatureError> {
        let limit = self.settings.presigned_expiry;
        if query.expires > limit {
            return Err(SignatureError::LivesTooLong { limit_secs: limit.as_secs() });
        }
        let age = now.duration_since(query.date.instant());
        if age.is_negative() && age.unsigned_abs() > self.settings.clock_skew {
            return Err(SignatureError::NotYet);
        }
        // Both are far from any overflow: a duration of a week, and one between two instants.
        if !age.is_negative() && age.unsigned_abs() >= query.expires { Err(SignatureError::Over) } else { Ok(()) }
    }

    /// In clear text somebody on the way could put another body under a signature that covers none.
    fn check_payload(
        &self,
        payload: ContentSha256,
        headers: &HeaderMap,
        connection: &ConnectionFacts,
    ) -> Result<(), SignatureError> {
        let safe = match self.settings.unsigned_payload {
            UnsignedPayload::Anywhere => true,
            UnsignedPayload::Loopback => connection.tls || connection.reach.is_local(),
            UnsignedPayload::Tls => connection.tls,
        };
        // Where no body is expected, one that somebody adds is refused later.
        let has_body = headers.contains_key(http::header::TRANSFER_ENCODING)
            || headers.get(http::header::CONTENT_LENGTH).is_some_and(|length| length != "0");
        if payload.covers_body() || safe || !has_body { Ok(()) } else { Err(SignatureError::UnsignedPayload) }
    }
}

/// A JWT is the secret as well: whoever is given such a URL or form could sign anything.
fn check_handed_out(session_token: Option<&str>) -> Result<(), SignatureError> {
    if session_token.is_some_and(looks_like_jwt) { Err(SignatureError::JwtHandedOut) } else { Ok(()) }
}

/// Every `x-amz-*` header must be signed but for [`MAY_BE_UNSIGNED`].
fn check_all_signed(headers: &HeaderMap, signed: &SignedHead) -> Result<(), SignatureError> {
    let unsigned = headers.keys().find(|name| {
        let name = name.as_str();
        name.starts_with("x-amz-") && !MAY_BE_UNSIGNED.contains(&name) && !signed.signed_headers.covers(name)
    });
    unsigned.map_or(Ok(()), |name| Err(SignatureError::NotSigned(name.clone())))
}

/// `x-amz-content-sha256`, if it is a hash or one of the words for bodies without one.
pub(in crate::auth) fn content_sha256(headers: &HeaderMap) -> Result<Option<Payload<'_>>, SignatureError> {
    only_text(headers, &CONTENT_SHA256, SignatureError::PayloadHash)?.map(Payload::parse).transpose()
}

/// The one value of a header.
fn only_text<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
    otherwise: SignatureError,
) -> Result<Option<&'a str>, SignatureError> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| otherwise),
        (Some(_), Some(_)) => Err(otherwise),
    }
}

/// `x-amz-date` if there is one, else `Date`. Whichever it is stands in the text that is signed.
fn request_date(headers: &HeaderMap) -> Result<AmzDate, SignatureError> {
    if let Some(text) = only_text(headers, &AMZ_DATE, SignatureError::Date)? {
        return AmzDate::parse(text).ok_or(SignatureError::Date);
    }
    let text = only_text(headers, &DATE, SignatureError::Date)?.ok_or(SignatureError::Date)?;
    let internet_date = || jiff::fmt::rfc2822::parse(text).ok().map(|date| AmzDate::new(date.timestamp()));
    AmzDate::parse(text).or_else(internet_date).ok_or(SignatureError::Date)
}

/// The host as the client signed it, with its port and in its spelling. Several, or two that differ, have no single reading.
fn signed_host(head: &Parts) -> Result<&str, SignatureError> {
    let named = only_text(&head.headers, &HOST, SignatureError::Host)?;
    let target = head.uri.authority().map(http::uri::Authority::as_str);
    match (named, target) {
        (Some(named), Some(target)) if !named.eq_ignore_ascii_case(target) => Err(SignatureError::Host),
        (Some(host), _) | (None, Some(host)) => Ok(host),
        (None, None) => Err(SignatureError::Host),
    }
}

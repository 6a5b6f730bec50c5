//! Sessions: from a JWT to access keys for a while, and from such keys back to the principal of that JWT.
//!
//! A session is never wider than its JWT: same principal, same attributes, over at the latest with it, and over at once when the issuer is
//! configured otherwise or no longer has the key that signed (A13). What the principal may do is for the rules to say, at each request.
//! The JWT itself can also stand in the place of a session token, beside any access key id and with the JWT as the secret.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;

use crate::auth::access_keys::KeyHolder;
use crate::auth::claim::MAX_TOKEN_BYTES;
use crate::auth::error::{AuthError, InvalidReason};
use crate::auth::jwt::Issuers;
use crate::auth::session_token::{KeyRing, SealedSession, SessionClaims};
use crate::auth::{Caller, Scheme, SessionSettings};
use crate::base::{PrincipalId, Secret, UtcInstant};

/// Gives out sessions and recognises them.
#[derive(Debug)]
pub(in crate::auth) struct Sessions {
    ring: Arc<KeyRing>,
    /// Whether the keys were made by this process, because none are configured.
    own_keys: bool,
    lifetime: SignedDuration,
}

/// A session that has begun.
#[derive(Debug)]
pub struct Session {
    /// What the client signs with.
    pub keys: SealedSession,
    /// The session is over from here on.
    pub expires: UtcInstant,
    /// Whose it is.
    pub caller: Caller,
    /// The `iss` of the JWT.
    pub provider: String,
}

impl Sessions {
    /// Takes the settings as the configuration has checked them.
    pub(in crate::auth) fn new(settings: SessionSettings) -> Self {
        let SessionSettings { keys, lifetime } = settings;
        let lifetime = SignedDuration::try_from(lifetime).unwrap_or(SignedDuration::ZERO);
        Self { own_keys: keys.is_empty(), ring: Arc::new(KeyRing::new(keys)), lifetime }
    }

    /// The same with the keys that the process has made before, if it needs such keys now and has them.
    #[must_use]
    pub(in crate::auth) fn after(mut self, previous: Option<&Self>) -> Self {
        if let Some(previous) = previous.filter(|previous| self.own_keys && previous.own_keys) {
            self.ring = Arc::clone(&previous.ring);
        }
        self
    }

    /// Begins a session for the principal of a JWT, for at most `asked`, the configured lifetime, and the time the JWT has left.
    ///
    /// # Errors
    /// Those of a JWT that is presented as a bearer token; [`InvalidReason::Session`].
    pub(in crate::auth) fn begin(
        &self,
        issuers: &Issuers,
        jwt: &Secret,
        asked: Option<Duration>,
        address: IpAddr,
        now: UtcInstant,
    ) -> Result<Session, AuthError> {
        let (caller, origin) = issuers.authenticate_for_session(jwt.expose(), address, now)?;
        let asked = asked.and_then(|asked| SignedDuration::try_from(asked).ok()).unwrap_or(self.lifetime);
        let longest = now.as_second().saturating_add(asked.min(self.lifetime).as_secs());
        // Without the leeway that a bearer token has: a session is not what makes a token last longer.
        let expires = caller.expires().map_or(longest, |expires| expires.as_second().min(longest));
        if expires <= now.as_second() {
            return Err(AuthError::Expired);
        }
        let claims = SessionClaims {
            principal: caller.principal().as_str().to_owned(),
            settings: origin.settings,
            algorithm: origin.algorithm,
            kid: origin.kid,
            thumbprint: origin.thumbprint,
            attributes: caller.attributes().clone(),
            issued: now.as_second(),
            expires,
        };
        let keys = self.ring.seal(&claims).map_err(InvalidReason::from).map_err(AuthError::Invalid)?;
        let expires = UtcInstant::from_second(expires).map_err(|_| AuthError::Expired)?;
        Ok(Session { keys, expires, caller, provider: origin.provider })
    }

    /// Whose session this is, if it still is one.
    ///
    /// # Errors
    /// [`InvalidReason::Session`], [`AuthError::Expired`], and what [`Issuers::still_vouches`] gives.
    pub(in crate::auth) fn find(
        &self,
        issuers: &Issuers,
        access_key_id: &str,
        session_token: &str,
        now: UtcInstant,
    ) -> Result<KeyHolder, AuthError> {
        let opened = self.ring.open(session_token, access_key_id);
        let (claims, secret) = opened.map_err(InvalidReason::from).map_err(AuthError::Invalid)?;
        let SessionClaims { settings, algorithm, thumbprint, .. } = &claims;
        let vouching = issuers.still_vouches(settings, algorithm, claims.kid.as_deref(), thumbprint)?;
        let source_name = vouching.to_owned();
        // A lifetime that was made shorter since then holds for this session as well.
        let longest = claims.issued.saturating_add(self.lifetime.as_secs());
        let expires = UtcInstant::from_second(claims.expires.min(longest)).map_err(|_| AuthError::Expired)?;
        if now >= expires {
            return Err(AuthError::Expired);
        }
        Ok(KeyHolder {
            secret,
            principal: PrincipalId::new(claims.principal),
            scheme: Scheme::Session,
            source_name,
            attributes: Arc::new(claims.attributes),
            expires: Some(expires),
        })
    }
}

/// The principal of a JWT that stands in the place of a session token. The JWT is the secret too, so that a signature binds.
///
/// # Errors
/// Those of a JWT that is presented as a bearer token.
pub(in crate::auth) fn holder_of_jwt(issuers: &Issuers, jwt: &str, now: UtcInstant) -> Result<KeyHolder, AuthError> {
    if jwt.len() > MAX_TOKEN_BYTES {
        return Err(AuthError::Invalid(InvalidReason::TooLarge { limit_bytes: MAX_TOKEN_BYTES }));
    }
    // The address is put in once the signature is checked: `KeyHolder::caller`.
    let caller = issuers.authenticate(jwt, IpAddr::from([0, 0, 0, 0]), now)?;
    Ok(KeyHolder {
        secret: Secret::new(jwt),
        principal: caller.principal().clone(),
        scheme: Scheme::Jwt,
        source_name: caller.source_name().to_owned(),
        attributes: Arc::new(caller.attributes().clone()),
        expires: caller.expires(),
    })
}

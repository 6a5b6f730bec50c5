//! Access keys: the one place where an access key id, and the session token beside it, becomes a secret and a caller.
//!
//! Knows nothing of requests and signatures; see `sigv4`.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::auth::app_token::SECRET_PREFIX;
use crate::auth::error::{AuthError, SetupError, SignatureError};
use crate::auth::jwt::{Issuers, looks_like_jwt};
use crate::auth::names::Names;
use crate::auth::session_token::looks_like_session_token;
use crate::auth::sessions::{self, Sessions};
use crate::auth::settings::AccessKeySettings;
use crate::auth::{Attributes, Caller, Scheme, SessionFault};
use crate::base::{PrincipalId, Secret, UtcInstant};

/// Attribute with the key's name.
pub(in crate::auth) const NAME_ATTRIBUTE: &str = "key";

/// Access key ids of the gateway start with this, so that people tell them from those of a store.
const ID_PREFIX: &str = "CSAK";

/// The characters behind the prefix of an id. Source: RFC 4648 §6.
pub(in crate::auth) const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// An access key id as it may be written down: not if it is an app token that somebody has taken for one.
pub(in crate::auth) fn printable_id(id: &str) -> Option<&str> {
    (!id.starts_with(SECRET_PREFIX)).then_some(id)
}

/// Everything that an access key id can stand for.
#[derive(Debug)]
pub(in crate::auth) struct AccessKeys {
    configured: HashMap<String, KeyHolder>,
    issuers: Arc<Issuers>,
    sessions: Option<Arc<Sessions>>,
}

/// Whom a key belongs to, before anybody has shown that they know its secret.
#[derive(Debug, Clone)]
pub(in crate::auth) struct KeyHolder {
    /// Secret access key.
    pub(in crate::auth) secret: Secret,
    /// Who it is.
    pub(in crate::auth) principal: PrincipalId,
    /// How it will have been proven.
    pub(in crate::auth) scheme: Scheme,
    /// Configured name of the key or issuer.
    pub(in crate::auth) source_name: String,
    /// For rules and prefix templates.
    pub(in crate::auth) attributes: Arc<Attributes>,
    /// When the key ends, if it does.
    pub(in crate::auth) expires: Option<UtcInstant>,
}

impl AccessKeys {
    /// Indexes the configured keys.
    ///
    /// # Errors
    /// The [`SetupError`]s of access keys.
    pub(in crate::auth) fn new(settings: Vec<AccessKeySettings>) -> Result<Self, SetupError> {
        let mut names = Names::default();
        let mut configured = HashMap::with_capacity(settings.len());
        for AccessKeySettings { name, id, secret, expires, mut attributes } in settings {
            names.take(&name, NAME_ATTRIBUTE, &mut attributes)?;
            if secret.expose().is_empty() {
                return Err(SetupError::EmptySecret { name });
            }
            let holder = KeyHolder {
                secret,
                principal: PrincipalId::new(format!("key:{name}")),
                scheme: Scheme::AccessKey,
                source_name: name.clone(),
                attributes: attributes.into(),
                expires,
            };
            if let Some(earlier) = configured.insert(id, holder) {
                return Err(SetupError::DuplicateKeyId { first: earlier.source_name, second: name });
            }
        }
        Ok(Self { configured, issuers: Arc::default(), sessions: None })
    }

    /// With keys that a session token says the secret and the principal of: sealed tokens of sessions, and JWTs of these issuers.
    pub(in crate::auth) fn with_issuers(self, issuers: Arc<Issuers>, sessions: Option<Arc<Sessions>>) -> Self {
        Self { issuers, sessions, ..self }
    }

    /// Looks up a key that is good at this moment. Whoever sent the id has shown nothing yet.
    ///
    /// # Errors
    /// [`SignatureError::UnknownKey`]; [`SignatureError::Token`] for a session token that does not go with the key;
    /// [`AuthError::Expired`]; of a session token or JWT, those of a bearer token.
    pub(in crate::auth) fn find(
        &self,
        access_key_id: &str,
        session_token: Option<&str>,
        now: UtcInstant,
    ) -> Result<KeyHolder, AuthError> {
        match session_token {
            Some(token) if looks_like_session_token(token) => {
                let disabled = AuthError::Invalid(SessionFault::Disabled.into());
                let sessions = self.sessions.as_ref().ok_or(disabled)?;
                return sessions.find(&self.issuers, access_key_id, token, now);
            }
            // Beside an id of the configuration it would be unclear whose request it is.
            Some(token) if looks_like_jwt(token) && !self.configured.contains_key(access_key_id) => {
                return sessions::holder_of_jwt(&self.issuers, token, now);
            }
            _ => {}
        }
        let holder = self.configured.get(access_key_id).ok_or(SignatureError::UnknownKey)?;
        // A key of the configuration has no session, so a token beside it belongs to something else.
        if session_token.is_some() {
            return Err(SignatureError::Token.into());
        }
        if holder.expires.is_some_and(|expires| now >= expires) {
            return Err(AuthError::Expired);
        }
        Ok(holder.clone())
    }
}

impl KeyHolder {
    /// The caller, once a signature has shown that it knows the secret.
    pub(in crate::auth) fn caller(self, address: IpAddr) -> Caller {
        Caller::new(self.principal, self.scheme, self.source_name, self.attributes, address, self.expires)
    }
}

/// A new access key id and its secret: 20 capital letters and digits, and 40 characters of base64url from 30 random bytes.
///
/// # Panics
/// If the operating system gives no random bytes.
pub fn generate() -> (String, Secret) {
    let mut random = zeroize::Zeroizing::new([0_u8; 46]);
    rand::fill(random.as_mut()).expect("the system's random source cannot be missing");
    let (for_id, for_secret) = random.split_at(16);
    let id = for_id.iter().map(|byte| char::from(BASE32[usize::from(byte & 31)]));
    let id = ID_PREFIX.chars().chain(id).collect();
    let mut secret = zeroize::Zeroizing::new(String::with_capacity(40));
    URL_SAFE_NO_PAD.encode_string(for_secret, &mut secret);
    (id, Secret::new(std::mem::take(&mut *secret)))
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    fn settings(name: &str, id: &str) -> AccessKeySettings {
        AccessKeySettings {
            name: name.to_owned(),
            id: id.to_owned(),
            secret: Secret::new("s3cret"),
            expires: None,
            attributes: Attributes::new(),
        }
    }

    fn now() -> UtcInstant {
        "2026-11-22T12:00:00Z".parse().unwrap()
    }

    fn refusal(keys: &AccessKeys, id: &str, token: Option<&str>, now: UtcInstant) -> AuthError {
        keys.find(id, token, now).unwrap_err()
    }

    #[test]
    fn a15_a_known_key_gives_its_configured_principal() {
        let attributes = Attributes::from([("team".to_owned(), vec!["red".to_owned()])]);
        let keys = AccessKeys::new(vec![AccessKeySettings { attributes, ..settings("etl", "CSAK1") }]).unwrap();
        let holder = keys.find("CSAK1", None, now()).unwrap();
        assert_eq!(holder.secret.expose(), "s3cret");
        let caller = holder.caller(IpAddr::from([192, 0, 2, 1]));
        assert_eq!((caller.principal().as_str(), caller.source_name()), ("key:etl", "etl"));
        assert_eq!(caller.scheme(), Scheme::AccessKey);
        assert_eq!(
            (&caller.attributes()["team"][..], &caller.attributes()["key"][..]),
            (&["red".to_owned()][..], &["etl".to_owned()][..])
        );
        assert_eq!(caller.attributes().len(), 2);
    }

    #[test]
    fn b20_an_id_is_known_as_it_is_written_and_in_no_other_way() {
        let keys = AccessKeys::new(vec![settings("etl", "CSAK1")]).unwrap();
        for id in ["", "CSAK", "csak1", "CSAK11", "CSAK1\0", "etl", "CSAK1 "] {
            assert_eq!(refusal(&keys, id, None, now()), SignatureError::UnknownKey.into(), "{id:?}");
        }
    }

    #[test]
    fn l01_an_app_token_in_the_place_of_an_access_key_id_is_not_written_down() {
        assert_eq!(printable_id("CSAK1"), Some("CSAK1"));
        assert_eq!(printable_id(crate::auth::app_token::generate().0.expose()), None);
    }

    #[test]
    fn b17_a_session_token_beside_a_key_that_has_none_is_refused() {
        let keys = AccessKeys::new(vec![settings("etl", "CSAK1")]).unwrap();
        for token in ["", "x"] {
            assert_eq!(refusal(&keys, "CSAK1", Some(token), now()), SignatureError::Token.into());
        }
    }

    #[test]
    fn a_key_is_refused_from_its_expiry_on() {
        let keys =
            AccessKeys::new(vec![AccessKeySettings { expires: Some(now()), ..settings("etl", "CSAK1") }]).unwrap();
        let before = keys.find("CSAK1", None, now() - SignedDuration::from_nanos(1)).unwrap();
        assert_eq!(before.expires, Some(now()));
        assert_eq!(refusal(&keys, "CSAK1", None, now()), AuthError::Expired);
    }

    #[test]
    fn a14_keys_that_cannot_be_meant_are_refused() {
        let set_up = |keys: Vec<AccessKeySettings>| AccessKeys::new(keys).unwrap_err();
        let empty = AccessKeySettings { secret: Secret::new(""), ..settings("a", "x") };
        assert!(matches!(set_up(vec![empty]), SetupError::EmptySecret { .. }));
        assert!(matches!(set_up(vec![settings("a:b", "x")]), SetupError::BadName { .. }));
        assert!(matches!(set_up(vec![settings("a", "x"), settings("a", "y")]), SetupError::DuplicateName { .. }));
        assert!(matches!(set_up(vec![settings("a", "x"), settings("b", "x")]), SetupError::DuplicateKeyId { .. }));
        let attributes = Attributes::from([("key".to_owned(), vec!["root".to_owned()])]);
        let reserved = set_up(vec![AccessKeySettings { attributes, ..settings("a", "x") }]);
        assert!(matches!(reserved, SetupError::ReservedAttribute { .. }));
    }

    #[test]
    fn i18_generated_keys_are_long_and_random() {
        let (id, secret) = generate();
        assert_eq!((id.len(), secret.expose().len()), (20, 40));
        assert!(id.starts_with("CSAK") && id.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()), "{id}");
        assert_eq!(URL_SAFE_NO_PAD.decode(secret.expose()).unwrap().len(), 30);
        let (other_id, other_secret) = generate();
        assert_ne!(other_id, id);
        assert_ne!(other_secret.expose(), secret.expose());
    }
}

//! App tokens: random secrets of which only the SHA-256 is configured.
//!
//! A plain hash is enough because the secret is random: there is nothing to guess. It is not enough for chosen passwords,
//! so `countersign token` makes the secrets.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use aws_lc_rs::digest::SHA256;
use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq;

use crate::auth::error::{AuthError, InvalidReason, SetupError};
use crate::auth::names::Names;
use crate::auth::{Attributes, Caller, Scheme, TokenSettings};
use crate::base::{PrincipalId, Secret, UtcInstant};

/// Attribute with the token's name.
pub(in crate::auth) const NAME_ATTRIBUTE: &str = "token";

/// Secrets start with this, so that scanners of repositories and logs find them.
pub(in crate::auth) const SECRET_PREFIX: &str = "csn_";

/// Compared with when no token was found, so that the work is the same.
const NO_DIGEST: [u8; 32] = [0; 32];

/// All configured app tokens by digest.
#[derive(Debug)]
pub(in crate::auth) struct AppTokens(HashMap<[u8; 32], AppToken>);

#[derive(Debug)]
struct AppToken {
    principal: PrincipalId,
    name: String,
    digest: [u8; 32],
    expires: Option<UtcInstant>,
    attributes: Arc<Attributes>,
}

/// A new app token: the secret for its user, and the text `sha256:HEX` for the configuration.
///
/// The secret is `csn_` and 43 characters of base64url from 32 random bytes.
///
/// # Panics
/// If the operating system gives no random bytes.
pub fn generate() -> (Secret, String) {
    let mut random = zeroize::Zeroizing::new([0_u8; 32]);
    rand::fill(random.as_mut()).expect("the system's random source cannot be missing");
    let mut secret = zeroize::Zeroizing::new(String::with_capacity(SECRET_PREFIX.len() + 43));
    secret.push_str(SECRET_PREFIX);
    URL_SAFE_NO_PAD.encode_string(random.as_ref(), &mut secret);
    let configured = format!("sha256:{}", hex::encode(digest(&secret)));
    (Secret::new(std::mem::take(&mut *secret)), configured)
}

/// SHA-256 of a secret, as it is configured and looked up.
pub fn digest(secret: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(aws_lc_rs::digest::digest(&SHA256, secret.as_bytes()).as_ref());
    bytes
}

impl AppTokens {
    /// Indexes the configured tokens.
    ///
    /// # Errors
    /// The [`SetupError`]s of tokens.
    pub(in crate::auth) fn new(settings: Vec<TokenSettings>) -> Result<Self, SetupError> {
        let mut names = Names::default();
        let mut tokens: HashMap<[u8; 32], AppToken> = HashMap::with_capacity(settings.len());
        for TokenSettings { name, digest: wanted, expires, mut attributes } in settings {
            names.take(&name, NAME_ATTRIBUTE, &mut attributes)?;
            if wanted == digest("") {
                return Err(SetupError::EmptySecret { name });
            }
            let principal = PrincipalId::new(format!("token:{name}"));
            let token = AppToken { principal, name, digest: wanted, expires, attributes: attributes.into() };
            if let Some(earlier) = tokens.insert(wanted, token) {
                let second = tokens.remove(&wanted).map(|token| token.name).unwrap_or_default();
                return Err(SetupError::DuplicateSecret { first: earlier.name, second });
            }
        }
        Ok(Self(tokens))
    }

    /// Checks a presented secret.
    ///
    /// # Errors
    /// [`InvalidReason::UnknownToken`], or [`AuthError::Expired`] for a known token whose time is over.
    pub(in crate::auth) fn authenticate(
        &self,
        secret: &Secret,
        address: IpAddr,
        now: UtcInstant,
    ) -> Result<Caller, AuthError> {
        let presented = digest(secret.expose());
        let found = self.0.get(&presented);
        // The map's own comparison stops at the first difference. It shows nothing usable, because nobody can choose digests,
        // but a comparison of secrets has to be constant in time without such an argument.
        let same: bool = found.map_or(&NO_DIGEST, |token| &token.digest).ct_eq(&presented).into();
        match found {
            Some(token) if same => token.caller(address, now),
            _ => Err(AuthError::Invalid(InvalidReason::UnknownToken)),
        }
    }
}

impl AppToken {
    fn caller(&self, address: IpAddr, now: UtcInstant) -> Result<Caller, AuthError> {
        if self.expires.is_some_and(|expires| now >= expires) {
            return Err(AuthError::Expired);
        }
        let (principal, attributes) = (self.principal.clone(), Arc::clone(&self.attributes));
        Ok(Caller::new(principal, Scheme::AppToken, self.name.clone(), attributes, address, self.expires))
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    fn settings(name: &str, secret: &str) -> TokenSettings {
        TokenSettings { name: name.to_owned(), digest: digest(secret), expires: None, attributes: Attributes::new() }
    }

    fn authenticate(tokens: &AppTokens, secret: &str, now: UtcInstant) -> Result<Caller, AuthError> {
        tokens.authenticate(&Secret::new(secret), IpAddr::from([192, 0, 2, 1]), now)
    }

    fn now() -> UtcInstant {
        "2026-11-22T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn a15_a_known_token_gives_its_configured_principal() {
        let attributes = Attributes::from([("team".to_owned(), vec!["red".to_owned(), "blue".to_owned()])]);
        let tokens =
            AppTokens::new(vec![TokenSettings { attributes, ..settings("ci", "s3cret") }, settings("other", "0ther")])
                .unwrap();
        let caller = authenticate(&tokens, "s3cret", now()).unwrap();
        assert_eq!(caller.principal().as_str(), "token:ci");
        assert_eq!(caller.scheme(), Scheme::AppToken);
        assert_eq!(caller.source_name(), "ci");
        assert_eq!(caller.attributes()["team"], ["red", "blue"]);
        assert_eq!(caller.attributes()["token"], ["ci"]);
        assert_eq!(caller.attributes().len(), 2);
        assert_eq!(caller.address(), IpAddr::from([192, 0, 2, 1]));
        assert_eq!(caller.expires(), None);
    }

    #[test]
    fn a10_every_unknown_token_is_refused_alike() {
        let tokens = AppTokens::new(vec![settings("ci", "s3cret")]).unwrap();
        let hex_digest = hex::encode(digest("s3cret"));
        for secret in ["", "s3cre", "s3cret ", "S3cret", "s3cret\0", "ci", &hex_digest] {
            let refused = authenticate(&tokens, secret, now()).unwrap_err();
            assert_eq!(refused, AuthError::Invalid(InvalidReason::UnknownToken), "{secret}");
        }
        let nothing = AppTokens::new(Vec::new()).unwrap();
        assert!(authenticate(&nothing, "s3cret", now()).is_err());
    }

    #[test]
    fn a_token_is_refused_from_its_expiry_on() {
        let expires = Some(now());
        let tokens = AppTokens::new(vec![TokenSettings { expires, ..settings("ci", "s3cret") }]).unwrap();
        let before = authenticate(&tokens, "s3cret", now() - SignedDuration::from_nanos(1)).unwrap();
        assert_eq!(before.expires(), expires);
        assert_eq!(authenticate(&tokens, "s3cret", now()).unwrap_err(), AuthError::Expired);
    }

    #[test]
    fn a14_settings_that_cannot_be_meant_are_refused() {
        let set_up = |tokens: Vec<TokenSettings>| AppTokens::new(tokens).unwrap_err();
        assert!(matches!(set_up(vec![settings("ci", "")]), SetupError::EmptySecret { .. }));
        assert!(matches!(set_up(vec![settings("", "x")]), SetupError::BadName { .. }));
        assert!(matches!(set_up(vec![settings("a:b", "x")]), SetupError::BadName { .. }));
        assert!(matches!(set_up(vec![settings("a", "x"), settings("a", "y")]), SetupError::DuplicateName { .. }));
        let same_secret = set_up(vec![settings("a", "x"), settings("b", "x")]);
        assert!(matches!(same_secret, SetupError::DuplicateSecret { first, second } if first == "a" && second == "b"));
        let attributes = Attributes::from([("token".to_owned(), vec!["root".to_owned()])]);
        let reserved = set_up(vec![TokenSettings { attributes, ..settings("a", "x") }]);
        assert!(matches!(reserved, SetupError::ReservedAttribute { .. }));
    }

    #[test]
    fn i18_generated_secrets_are_long_random_and_match_their_digest() {
        let (secret, configured) = generate();
        let random = secret.expose().strip_prefix("csn_").unwrap();
        assert_eq!(random.len(), 43);
        assert_eq!(URL_SAFE_NO_PAD.decode(random).unwrap().len(), 32);
        assert_eq!(configured, format!("sha256:{}", hex::encode(digest(secret.expose()))));
        assert_ne!(generate().0.expose(), secret.expose());
        // FIPS 180-2, "abc".
        assert_eq!(hex::encode(digest("abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}

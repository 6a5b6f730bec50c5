//! JWTs of configured issuers.
//!
//! The unverified `iss` only selects an issuer; signature, algorithm, key, type and claims are then all judged by that issuer's
//! settings. Only signed three-part tokens exist here: no encryption, no `none`, no keys inside the token. Headers that carry or
//! point to a key (`jwk`, `jku`, `x5u`, `x5c`) are not looked at.
//! Source: RFC 7515, RFC 7519, RFC 8725 (best current practices), RFC 9068 (`at+jwt`).

pub(in crate::auth) mod claims;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::SHA256;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde_json::{Map, Value};

use crate::auth::error::{AuthError, InvalidReason, JwtFault, KeyMisfit, SetupError};
use crate::auth::jwks::{CacheTimes, KeyCache};
use crate::auth::key_fetch::{self, IssuerKeys};
use crate::auth::key_set::{self, KeySet, MAX_KID_BYTES, NoKey, Thumbprint, VerifyingKey};
use crate::auth::session_token::SessionFault;
use crate::auth::settings::{IssuerSettings, KeySource};
use crate::auth::{Caller, strict_json};
use crate::base::UtcInstant;

use claims::Claims;

/// Clocks of servers differ by seconds; more would only lengthen the life of stolen tokens.
const MAX_LEEWAY: Duration = Duration::from_secs(60);

/// Attribute that is always the `sub` claim.
pub(in crate::auth) const SUBJECT: &str = "sub";
/// Attribute that names the configured issuer; config lets no claim be mapped to it.
pub(in crate::auth) const ISSUER: &str = "issuer";

/// Names that belong to callers of another kind: as an issuer's name they would begin principals as theirs begin (`token:NAME`), as
/// attributes they would let claims pass for a name of these.
const RESERVED: [&str; 4] = ["token", "key", "listener", "certificate"];

/// What SPIFFE ids begin with, which are principals as they are.
const SPIFFE: &str = "spiffe";

/// All configured issuers by their `iss` value.
#[derive(Debug, Default)]
pub(in crate::auth) struct Issuers(HashMap<String, Arc<Issuer>>);

/// One configured issuer with its keys.
#[derive(Debug)]
pub(in crate::auth) struct Issuer {
    settings: IssuerSettings,
    /// Of those settings that decide which tokens are accepted, and as whom.
    fingerprint: String,
    keys: KeyCache,
    source: IssuerKeys,
}

/// What a session goes on depending on: the issuer as it is configured, and the key that signed the JWT.
#[derive(Debug)]
pub(in crate::auth) struct Origin {
    /// The `iss` of the JWT.
    pub(in crate::auth) provider: String,
    /// See [`Issuers::still_vouches`].
    pub(in crate::auth) settings: String,
    /// As `alg` has it.
    pub(in crate::auth) algorithm: String,
    /// As `kid` has it.
    pub(in crate::auth) kid: Option<String>,
    /// Of the key, in base64url: a name can come to stand for another key, and not every key has one.
    pub(in crate::auth) thumbprint: String,
}

/// Whether a text has the three parts of a signed JWT.
pub(in crate::auth) fn looks_like_jwt(token: &str) -> bool {
    token.bytes().filter(|&byte| byte == b'.').count() == 2
}

impl Issuers {
    /// Prepares the configured issuers. Key files are read here; nothing is fetched.
    ///
    /// # Errors
    /// The [`SetupError`]s of issuers.
    pub(in crate::auth) fn new(settings: Vec<IssuerSettings>, times: CacheTimes) -> Result<Self, SetupError> {
        let mut issuers: HashMap<String, Arc<Issuer>> = HashMap::with_capacity(settings.len());
        for settings in settings {
            if issuers.values().any(|other| other.settings.name == settings.name) {
                return Err(SetupError::DuplicateName { name: settings.name });
            }
            if let Some(other) = issuers.get(&settings.issuer) {
                let (first, second) = (other.settings.name.clone(), settings.name);
                return Err(SetupError::DuplicateIssuer { first, second });
            }
            issuers.insert(settings.issuer.clone(), Arc::new(Issuer::new(settings, times)?));
        }
        Ok(Self(issuers))
    }

    /// Checks a token.
    ///
    /// # Errors
    /// [`AuthError::Invalid`], [`AuthError::Expired`] or [`AuthError::KeysUnavailable`].
    pub(in crate::auth) fn authenticate(
        &self,
        token: &str,
        address: IpAddr,
        now: UtcInstant,
    ) -> Result<Caller, AuthError> {
        let (issuer, token) = self.find(token)?;
        let (claims, _) = issuer.verify(token)?;
        claims.into_caller(&issuer.settings, address, now)
    }

    /// As [`Self::authenticate`], with what a session that is made of the token goes on depending on.
    ///
    /// # Errors
    /// As [`Self::authenticate`].
    pub(in crate::auth) fn authenticate_for_session(
        &self,
        token: &str,
        address: IpAddr,
        now: UtcInstant,
    ) -> Result<(Caller, Origin), AuthError> {
        let (issuer, token) = self.find(token)?;
        let algorithm = format!("{:?}", token.header.algorithm.unwrap_or_default());
        let kid = token.header.kid.clone();
        let (claims, thumbprint) = issuer.verify(token)?;
        let caller = claims.into_caller(&issuer.settings, address, now)?;
        let (settings, provider) = (issuer.fingerprint.clone(), issuer.settings.issuer.clone());
        let thumbprint = URL_SAFE_NO_PAD.encode(thumbprint);
        Ok((caller, Origin { provider, settings, algorithm, kid, thumbprint }))
    }

    /// The issuer that a token without signature claims to be from.
    fn find<'t>(&self, token: &'t str) -> Result<(&Issuer, UnverifiedToken<'t>), AuthError> {
        let token = UnverifiedToken::parse(token).map_err(|fault| AuthError::Invalid(InvalidReason::NotAJwt(fault)))?;
        let issuer = token.issuer().and_then(|name| self.0.get(name));
        Ok((issuer.ok_or(AuthError::Invalid(InvalidReason::UnknownIssuer))?, token))
    }

    /// The configured name of the issuer with these settings, if it still has the key: a session ends with what its JWT depended on.
    ///
    /// # Errors
    /// [`SessionFault::IssuerChanged`], [`InvalidReason::UnknownKey`], [`InvalidReason::UnsuitableKey`] or
    /// [`AuthError::KeysUnavailable`].
    pub(in crate::auth) fn still_vouches(
        &self,
        settings: &str,
        algorithm: &str,
        kid: Option<&str>,
        thumbprint: &str,
    ) -> Result<&str, AuthError> {
        let changed = AuthError::Invalid(InvalidReason::Session(SessionFault::IssuerChanged));
        let issuer = self.0.values().find(|issuer| issuer.fingerprint == settings).ok_or(changed.clone())?;
        let algorithm = Algorithm::from_str(algorithm).map_err(|_| changed)?;
        let is_the_same = |key: &VerifyingKey| URL_SAFE_NO_PAD.encode(key.thumbprint()) == thumbprint;
        match issuer.key_for(algorithm, kid, is_the_same)? {
            true => Ok(issuer.name()),
            false => Err(AuthError::Invalid(InvalidReason::UnknownKey { issuer: issuer.name().to_owned() })),
        }
    }

    /// All issuers, in no order.
    pub(in crate::auth) fn iter(&self) -> impl Iterator<Item = &Arc<Issuer>> {
        self.0.values()
    }

    /// Takes over the keys of issuers that are configured alike in `other`. Those of files were read just now.
    pub(in crate::auth) fn adopt_keys(&self, other: &Self) {
        for issuer in self.iter() {
            let same = other.0.get(&issuer.settings.issuer).filter(|old| old.has_source_of(issuer));
            let is_fetched = !matches!(issuer.settings.keys, KeySource::File(_));
            if let Some(old) = same.filter(|_| is_fetched) {
                issuer.keys.adopt(&old.keys);
            }
        }
    }
}

impl Issuer {
    fn new(settings: IssuerSettings, times: CacheTimes) -> Result<Self, SetupError> {
        check(&settings)?;
        let keys = KeyCache::new(&settings.name, times);
        if let KeySource::File(path) = &settings.keys {
            let read = key_fetch::read_file(path).and_then(|document| Ok(KeySet::parse(&document)?));
            let bad_file = |problem| SetupError::KeyFile { name: settings.name.clone(), path: path.clone(), problem };
            keys.store(read.map_err(bad_file)?);
        }
        let source = IssuerKeys::new(&settings, times.fetch_limit)?;
        Ok(Self { fingerprint: fingerprint(&settings), settings, keys, source })
    }

    /// Configured name.
    pub(in crate::auth) fn name(&self) -> &str {
        &self.settings.name
    }

    /// Whether readiness waits for its keys.
    pub(in crate::auth) fn required(&self) -> bool {
        self.settings.required
    }

    /// Its key cache.
    pub(in crate::auth) fn keys(&self) -> &KeyCache {
        &self.keys
    }

    /// Keeps its keys fresh, for ever.
    pub(in crate::auth) async fn keep_fresh(&self) {
        self.keys.keep_fresh(&self.source).await;
    }

    fn has_source_of(&self, other: &Self) -> bool {
        let source = |issuer: &Self| {
            let settings = &issuer.settings;
            (settings.issuer.clone(), settings.keys.clone(), settings.jwks_hosts.clone(), settings.ca_file.clone())
        };
        source(self) == source(other)
    }

    /// The claims of a token that this issuer has signed, with an allowed algorithm, as an accepted type of token; and which key it was.
    fn verify(&self, token: UnverifiedToken<'_>) -> Result<(Claims, Thumbprint), AuthError> {
        let issuer = || self.settings.name.clone();
        let algorithm = token.header.algorithm.filter(|used| self.settings.algorithms.contains(used));
        let algorithm =
            algorithm.ok_or_else(|| AuthError::Invalid(InvalidReason::AlgorithmNotAllowed { issuer: issuer() }))?;
        if !self.accepts_type(token.header.token_type.as_deref()) {
            return Err(AuthError::Invalid(InvalidReason::WrongTokenType { issuer: issuer() }));
        }
        let signed_by = |key: &VerifyingKey| {
            key.verifies(algorithm, token.signed.as_bytes(), token.signature).then(|| key.thumbprint())
        };
        let key = self.key_for(algorithm, token.header.kid.as_deref(), signed_by)?;
        let key = key.ok_or_else(|| AuthError::Invalid(InvalidReason::BadSignature { issuer: issuer() }))?;
        Ok((Claims::from_verified(token.payload), key))
    }

    /// Asks the key that is to be used for such a token.
    fn key_for<T>(
        &self,
        algorithm: Algorithm,
        kid: Option<&str>,
        ask: impl FnOnce(&VerifyingKey) -> T,
    ) -> Result<T, AuthError> {
        let Some(held) = self.keys.keys() else {
            self.keys.wish();
            return Err(AuthError::KeysUnavailable { issuer: self.settings.name.clone() });
        };
        held.keys.select(algorithm, kid).map(ask).map_err(|no_key| self.without_key(no_key))
    }

    fn without_key(&self, no_key: NoKey) -> AuthError {
        let issuer = self.settings.name.clone();
        AuthError::Invalid(match no_key {
            NoKey::Unknown => {
                self.keys.wish();
                InvalidReason::UnknownKey { issuer }
            }
            NoKey::Unsuitable(fault @ (KeyMisfit::Algorithm | KeyMisfit::Ambiguous)) => {
                InvalidReason::UnsuitableKey { issuer, fault }
            }
        })
    }

    fn accepts_type(&self, token_type: Option<&str>) -> bool {
        let accepted = &self.settings.token_types;
        match token_type {
            None => accepted.is_empty(),
            Some(name) if accepted.is_empty() => matches!(name, "jwt" | "at+jwt"),
            Some(name) => accepted.iter().any(|one| one == name),
        }
    }
}

/// A digest of the settings that decide which tokens are accepted and what they say. Where keys are trusted from counts too.
fn fingerprint(settings: &IssuerSettings) -> String {
    let IssuerSettings {
        name,
        issuer,
        audiences,
        algorithms,
        keys,
        token_types,
        required_claims,
        principal_claim,
        attributes,
        jwks_hosts: _,
        jwks_token: _,
        ca_file: _,
        required: _,
        leeway: _,
    } = settings;
    let algorithms: Vec<String> = algorithms.iter().map(|algorithm| format!("{algorithm:?}")).collect();
    let keys = match keys {
        KeySource::Discovery => "discovery".to_owned(),
        KeySource::Url(url) => format!("url {url}"),
        KeySource::File(path) => format!("file {}", path.display()),
    };
    let all = serde_json::json!([
        name,
        issuer,
        audiences,
        algorithms,
        keys,
        token_types,
        required_claims,
        principal_claim,
        attributes
    ]);
    let digest = aws_lc_rs::digest::digest(&SHA256, all.to_string().as_bytes());
    URL_SAFE_NO_PAD.encode(&digest.as_ref()[..16])
}

/// Checks what does not need the network.
fn check(settings: &IssuerSettings) -> Result<(), SetupError> {
    let name = || settings.name.clone();
    if !super::names::is_plain(&settings.name) || RESERVED.contains(&settings.name.as_str()) || settings.name == SPIFFE
    {
        return Err(SetupError::BadName { name: name() });
    }
    let empty = |field| Err(SetupError::Empty { name: name(), field });
    if settings.issuer.is_empty() {
        return empty("issuer");
    }
    // An empty value would be matched by a token that names nobody.
    if settings.audiences.is_empty() || settings.audiences.iter().any(String::is_empty) {
        return empty("audiences");
    }
    if settings.algorithms.is_empty() {
        return empty("algorithms");
    }
    if settings.principal_claim.is_empty() {
        return empty("principal_claim");
    }
    if let Some(&algorithm) = settings.algorithms.iter().find(|&&algorithm| !key_set::is_asymmetric(algorithm)) {
        return Err(SetupError::SymmetricAlgorithm { name: name(), algorithm });
    }
    if settings.leeway > MAX_LEEWAY {
        return Err(SetupError::Leeway { name: name(), leeway: settings.leeway, limit: MAX_LEEWAY });
    }
    check_attributes(&settings.attributes)
        .map_err(|attribute| SetupError::ReservedAttribute { name: name(), attribute: attribute.to_owned() })
}

fn check_attributes(attributes: &BTreeMap<String, String>) -> Result<(), &str> {
    for (attribute, claim) in attributes {
        if RESERVED.contains(&attribute.as_str()) || attribute == ISSUER || (attribute == SUBJECT && claim != SUBJECT) {
            return Err(attribute);
        }
    }
    Ok(())
}

/// A token whose form is right. Nothing in it is known to be true.
struct UnverifiedToken<'t> {
    header: Header,
    payload: Map<String, Value>,
    signed: &'t str,
    signature: &'t str,
}

/// What is read from a token's header.
struct Header {
    /// `None` if it is not an algorithm we know.
    algorithm: Option<Algorithm>,
    kid: Option<String>,
    /// Lower case, without `application/`.
    token_type: Option<String>,
}

impl<'t> UnverifiedToken<'t> {
    fn parse(token: &'t str) -> Result<Self, JwtFault> {
        let (signed, signature) = token.rsplit_once('.').ok_or(JwtFault::Parts)?;
        let (header, payload) = signed.split_once('.').ok_or(JwtFault::Parts)?;
        if payload.contains('.') || [header, payload, signature].contains(&"") {
            return Err(JwtFault::Parts);
        }
        let decode = |part| strict_json::base64url(part).ok_or(JwtFault::Encoding);
        decode(signature)?;
        let object = |part| strict_json::object(&decode(part)?).ok_or(JwtFault::Json);
        Ok(Self { header: Header::read(&object(header)?)?, payload: object(payload)?, signed, signature })
    }

    /// The issuer that the token claims to be from.
    fn issuer(&self) -> Option<&str> {
        self.payload.get("iss")?.as_str()
    }
}

impl Header {
    fn read(header: &Map<String, Value>) -> Result<Self, JwtFault> {
        if ["crit", "zip", "b64"].iter().any(|name| header.contains_key(*name)) {
            return Err(JwtFault::Extension);
        }
        let text = |name: &str| match header.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str())),
            Some(_) => Err(JwtFault::Header),
        };
        let algorithm = text("alg")?.ok_or(JwtFault::Header)?;
        let kid = text("kid")?;
        if kid.is_some_and(|kid| kid.is_empty() || kid.len() > MAX_KID_BYTES) {
            return Err(JwtFault::Header);
        }
        let token_type = text("typ")?.map(|name| {
            let name = name.to_ascii_lowercase();
            name.strip_prefix("application/").map(str::to_owned).unwrap_or(name)
        });
        Ok(Self { algorithm: Algorithm::from_str(algorithm).ok(), kid: kid.map(str::to_owned), token_type })
    }
}

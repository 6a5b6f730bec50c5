//! Who is asking: turns the credential that a request shows into a [`Caller`].
//!
//! One decision point for every way in, with no "fell through" value: [`Authenticators::authenticate`] gives a caller or
//! an [`AuthError`]. Knows nothing of rules or upstreams.

pub mod access_keys;
pub mod app_token;
pub mod caller;
pub mod certificates;
pub mod claim;
pub mod error;
pub mod hypothetical;
pub mod jwks;
pub mod jwt;
mod key_fetch;
mod key_set;
mod listeners;
mod names;
pub mod post_policy;
mod presigned;
pub mod session_token;
mod sessions;
pub mod settings;
mod sigv4;
pub mod strict_json;

pub use caller::{Attributes, Caller, Scheme};
pub use claim::Claim;
pub use error::{
    AuthError, CertificateFault, ClaimFault, CredentialKind, InvalidReason, JwtFault, KeyMisfit, SetupError,
    SignatureError, UrlFault,
};
pub use jwks::CacheTimes;
pub use key_fetch::KeyFetchError;
pub use key_set::KeySetFault;
pub use post_policy::{LengthRange, PolicyError, PostPolicy};
pub use presigned::{PresignedRequest, REPRESENTATION};
pub use session_token::{RingKey, SessionFault};
pub use sessions::Session;
pub use settings::{
    AccessKeySettings, CertificateMatch, CertificateSettings, IssuerSettings, KeySource, ListenerIdentity,
    SessionSettings, Settings, SigningSettings, TokenSettings, UnsignedPayload,
};

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use http::request::Parts;
use tokio::task::JoinSet;

use crate::arrival::{ConnectionFacts, Vouched};
use crate::base::{Clock, Secret, UtcInstant};
use crate::sigv4::{ChunkCheck, FormFault};
use crate::upkeep::forever;
use access_keys::AccessKeys;
use app_token::AppTokens;
use certificates::Certificates;
use jwt::Issuers;
use listeners::Listeners;
use sessions::Sessions;
use sigv4::SignatureCheck;

/// Everything that can authenticate a request.
pub struct Authenticators {
    tokens: AppTokens,
    keys: AccessKeys,
    signatures: SignatureCheck,
    listeners: Listeners,
    certificates: Certificates,
    issuers: Arc<Issuers>,
    sessions: Option<Arc<Sessions>>,
    clock: Arc<dyn Clock>,
}

/// Who was authenticated, and what the credential says of the rest of the request.
#[derive(Debug)]
pub struct Authenticated {
    /// Who asks.
    pub caller: Caller,
    /// Checks the chunks of the body: there if the request was signed in its header, with `x-amz-content-sha256` for signed chunks.
    pub chunks: Option<ChunkCheck>,
    /// The request that a presigned URL stands for; later stages read this instead.
    pub presigned: Option<PresignedRequest>,
}

/// The tasks that keep key sets fresh. Dropping them ends them.
#[must_use = "the tasks end when this is dropped"]
#[derive(Debug)]
pub struct RefreshTasks(#[expect(dead_code, reason = "kept for its Drop")] JoinSet<()>);

impl Authenticators {
    /// Prepares everything configured. Reads files (keys, certificate authorities); fetches nothing, see [`Self::start`].
    ///
    /// # Errors
    /// [`SetupError`], also if nothing is configured that could authenticate anybody.
    pub fn new(settings: Settings, clock: Arc<dyn Clock>) -> Result<Self, SetupError> {
        Self::with_times(settings, clock, CacheTimes::default())
    }

    /// As [`Self::new`], with other times for the key caches.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_times(settings: Settings, clock: Arc<dyn Clock>, times: CacheTimes) -> Result<Self, SetupError> {
        Self::build(settings, clock, times, None)
    }

    /// As [`Self::new`], with what another configuration has fetched or made and this one needs too: key sets of the same source, and the
    /// keys of sessions that are not configured.
    ///
    /// # Errors
    /// The [`SetupError`]s of tokens and issuers.
    pub fn after(previous: &Self, settings: Settings, clock: Arc<dyn Clock>) -> Result<Self, SetupError> {
        let next = Self::build(settings, clock, CacheTimes::default(), previous.sessions.as_deref())?;
        next.adopt_keys(previous);
        Ok(next)
    }

    fn build(
        settings: Settings,
        clock: Arc<dyn Clock>,
        times: CacheTimes,
        sessions_before: Option<&Sessions>,
    ) -> Result<Self, SetupError> {
        let Settings { tokens, issuers, access_keys, listeners, certificates, signing, sessions } = settings;
        let vouched = !listeners.is_empty() || !certificates.is_empty();
        if tokens.is_empty() && issuers.is_empty() && access_keys.is_empty() && !vouched {
            return Err(SetupError::Nothing);
        }
        let (tokens, keys) = (AppTokens::new(tokens)?, AccessKeys::new(access_keys)?);
        let sessions = sessions.map(|settings| Arc::new(Sessions::new(settings).after(sessions_before)));
        let issuers = Arc::new(Issuers::new(issuers, times)?);
        let keys = keys.with_issuers(Arc::clone(&issuers), sessions.clone());
        let (listeners, certificates) = (Listeners::new(listeners)?, Certificates::new(certificates)?);
        let signatures = SignatureCheck::new(signing);
        Ok(Self { tokens, keys, signatures, listeners, certificates, issuers, sessions, clock })
    }

    /// Checks the credential of a request that came in over `connection`.
    ///
    /// Never waits for the network: what is needed from there is kept by [`Self::start`].
    ///
    /// # Errors
    /// [`AuthError::Invalid`], [`AuthError::Signature`], [`AuthError::Expired`] or [`AuthError::KeysUnavailable`].
    pub async fn authenticate(
        &self,
        claim: Claim,
        head: &Parts,
        connection: &ConnectionFacts,
    ) -> Result<Authenticated, AuthError> {
        let now = self.clock.now();
        match claim {
            Claim::Bearer(secret) => {
                let caller = self.bearer(&secret, connection.peer.ip(), now)?;
                Ok(Authenticated { caller, chunks: None, presigned: None })
            }
            Claim::SigV4Header(signed) => self.signatures.header(&signed, head, connection, &self.keys, now),
            Claim::Presigned(query) => self.signatures.presigned(&query, head, connection, &self.keys, now),
            Claim::Vouched { by, shown } => {
                let caller = self.vouched(&by, shown.as_deref(), head, connection)?;
                let chunks = self.signatures.placeholder_chunks(head)?;
                let presigned = match shown.as_deref() {
                    Some(Claim::Presigned(query)) => Some(self.signatures.placeholder_url(query, head, now)?),
                    _ => None,
                };
                // A presigned URL covers no chunks; without a credential beside it the words for them mean nothing.
                let chunks = chunks.filter(|_| matches!(shown.as_deref(), Some(Claim::SigV4Header(_))));
                Ok(Authenticated { caller, chunks, presigned })
            }
        }
    }

    /// Whom the connection vouches for, if what the request shows besides is nothing but a placeholder.
    fn vouched(
        &self,
        by: &Vouched,
        shown: Option<&Claim>,
        head: &Parts,
        connection: &ConnectionFacts,
    ) -> Result<Caller, AuthError> {
        // It would be the token of a session, or a JWT.
        if head.headers.contains_key("x-amz-security-token") {
            return Err(AuthError::BesideConnection);
        }
        match by {
            Vouched::Listener(name) => self.listeners.authenticate(name, shown, connection.peer.ip()),
            Vouched::Certificate(certificate) => {
                self.certificates.authenticate(certificate, connection.peer.ip(), self.clock.now())
            }
        }
    }

    /// Checks who has signed the policy of a browser form. What the policy says of the form is for [`PostPolicy::check`].
    ///
    /// # Errors
    /// As [`Self::authenticate`], or [`AuthError::Policy`].
    pub fn authenticate_form(
        &self,
        fields: post_policy::Fields<'_>,
        address: IpAddr,
    ) -> Result<(Caller, PostPolicy), AuthError> {
        post_policy::authenticate(fields, &self.keys, &self.signatures, self.clock.now(), address)
    }

    /// Checks the credential of a request whose body was read already, and that is for `service` instead of S3.
    ///
    /// # Errors
    /// As [`Self::authenticate`].
    pub fn authenticate_whole(
        &self,
        claim: Claim,
        head: &Parts,
        body: &[u8],
        service: &'static str,
        connection: &ConnectionFacts,
    ) -> Result<Caller, AuthError> {
        let (address, now) = (connection.peer.ip(), self.clock.now());
        match claim {
            Claim::Bearer(secret) => self.bearer(&secret, address, now),
            Claim::SigV4Header(signed) => self
                .signatures
                .whole(&signed, head, (service, body), &self.keys, now)
                .map(|holder| holder.caller(address)),
            Claim::Presigned(_) => Err(SignatureError::Header(FormFault::Missing).into()),
            Claim::Vouched { by, shown } => self.vouched(&by, shown.as_deref(), head, connection),
        }
    }

    /// Begins a session for the principal of a JWT that came from `address`.
    ///
    /// # Errors
    /// Those of a bearer token, and [`InvalidReason::Session`].
    pub fn begin_session(
        &self,
        jwt: &Secret,
        lifetime: Option<Duration>,
        address: IpAddr,
    ) -> Result<Session, AuthError> {
        let disabled = AuthError::Invalid(SessionFault::Disabled.into());
        let sessions = self.sessions.as_ref().ok_or(disabled)?;
        sessions.begin(&self.issuers, jwt, lifetime, address, self.clock.now())
    }

    /// An app token may look like anything, so it is looked up first. A secret of ours never verifies a JWT, nor the reverse.
    fn bearer(&self, secret: &Secret, address: IpAddr, now: UtcInstant) -> Result<Caller, AuthError> {
        match self.tokens.authenticate(secret, address, now) {
            Err(AuthError::Invalid(InvalidReason::UnknownToken)) if jwt::looks_like_jwt(secret.expose()) => {
                self.issuers.authenticate(secret.expose(), address, now)
            }
            result => result,
        }
    }

    /// Starts fetching key sets, at once and then again and again. To be called once, inside a tokio runtime.
    pub fn start(&self) -> RefreshTasks {
        let mut tasks = JoinSet::new();
        for issuer in self.issuers.iter() {
            let issuer = Arc::clone(issuer);
            tasks.spawn(forever("key set", move || {
                let issuer = Arc::clone(&issuer);
                async move { issuer.keep_fresh().await }
            }));
        }
        RefreshTasks(tasks)
    }

    /// Waits until the first fetch for every issuer has ended, in success or failure. Bounded by the time limit of fetches
    /// once [`Self::start`] was called; waits for ever otherwise.
    pub async fn first_fetches(&self) {
        join_all(self.issuers.iter().map(|issuer| issuer.keys().first_fetch())).await;
    }

    /// Takes over the keys that `old` has for issuers whose keys come from the same place, so that a reload while an issuer is
    /// down refuses nobody. To be called before [`Self::start`].
    pub fn adopt_keys(&self, old: &Self) {
        self.issuers.adopt_keys(&old.issuers);
    }

    /// Names of required issuers without usable keys, sorted. The gateway is not ready while there are any.
    pub fn missing_keys(&self) -> Vec<String> {
        let missing = self.issuers.iter().filter(|issuer| issuer.required() && issuer.keys().keys().is_none());
        let mut names: Vec<_> = missing.map(|issuer| issuer.name().to_owned()).collect();
        names.sort();
        names
    }

    /// For each issuer its name and the time since its key set was last fetched successfully, sorted by name.
    pub fn key_ages(&self) -> Vec<(String, Option<Duration>)> {
        let mut ages: Vec<_> =
            self.issuers.iter().map(|issuer| (issuer.name().to_owned(), issuer.keys().age())).collect();
        ages.sort();
        ages
    }
}

impl fmt::Debug for Authenticators {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticators").field("key_ages", &self.key_ages()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

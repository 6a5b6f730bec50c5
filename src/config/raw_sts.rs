//! The keys of the file about STS and the sessions it begins; see `raw` for the rest.

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;

/// AssumeRoleWithWebIdentity and GetCallerIdentity of AWS STS, on the listeners of S3: SDKs in a pod get keys for its service account
/// token. See `docs/STS.md`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawSts {
    /// Whether requests for STS are answered; default false. Then no keys that were given out before are accepted either.
    pub enabled: Option<bool>,
    /// Longest session, `15m` to `12h`; default `1h`. None lasts longer than the JWT it came from.
    pub lifetime: Option<String>,
    /// What seals the tokens of sessions. The first key seals, all open: to rotate, put a new one before the old, and remove the old one
    /// after `lifetime`. Default: a key that is made at the start; then sessions end with the process, and no replica knows them.
    pub keys: Option<Vec<RawSessionKey>>,
    /// Accepted values of `RoleArn`, letter for letter; default any. What a session may do is said by the rules, not by its role.
    pub roles: Option<Vec<String>>,
}

/// A key that seals session tokens.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawSessionKey {
    /// Name of the key, which stands in the tokens: 1 to 64 letters, digits, `.`, `_`, `-`. Required, unique.
    pub id: Option<String>,
    /// At least 32 random characters: `env:NAME` or `file:/path`. A file must not be readable by every user of the machine. Required.
    pub secret: Option<String>,
}

// Somebody may have written a secret here instead of a reference.
impl fmt::Debug for RawSessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawSessionKey").field("id", &self.id).finish_non_exhaustive()
    }
}

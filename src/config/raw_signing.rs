//! The keys of the file about access keys and signed requests; see `raw` for the rest.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;

use super::forms::OneOrMany;

/// One access key of the gateway's own, for clients that sign with SigV4.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawAccessKey {
    /// Name in rules and audit records: 1 to 64 letters, digits, `.`, `_`, `-`. Required, unique. The principal is `key:NAME`.
    pub name: Option<String>,
    /// Access key id, as clients send it: 3 to 128 letters, digits, `-`, `_`, `.`. Required, unique.
    pub id: Option<String>,
    /// Secret access key, at least 20 characters: `env:NAME` or `file:/path`. A file must not be readable by every user of the machine.
    /// Required.
    pub secret: Option<String>,
    /// The key is refused from this instant on, such as `2027-01-01T00:00:00Z`; default never.
    pub expires: Option<String>,
    /// Attributes for rules and for `{name}` in prefixes: name → value or list of values. `key` (the key's name) is always there.
    pub attributes: BTreeMap<String, OneOrMany>,
}

// Somebody may have written a secret here instead of a reference.
impl fmt::Debug for RawAccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawAccessKey").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What requests that are signed with SigV4 must keep to.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawSigning {
    /// Accepted regions of the signature, one or a list, or `"*"` for any; default: those of the upstreams, and `us-east-1`. Clients that
    /// sign for another are told the first.
    pub regions: Option<OneOrMany>,
    /// Most that the clock of a client may differ, `1s` to `15m`; default `15m`.
    pub clock_skew: Option<String>,
    /// Longest life of a presigned URL or a form, `1s` to `168h`; default `168h`.
    pub presigned_expiry: Option<String>,
    /// Where a body may come that the signature in the header does not cover (`UNSIGNED-PAYLOAD`, unsigned chunks): `tls`, `loopback`
    /// (default: also in clear text from an address of this machine) or `anywhere`. Presigned URLs never cover a body.
    pub unsigned_payload: Option<RawUnsignedPayload>,
    /// The host that clients sign, with its port if they send one; default: the one they send. Only for a proxy that sends another in
    /// `Host`; not together with `domains`, which need the host to be signed. `X-Forwarded-Host` is never read.
    pub host: Option<String>,
}

/// Where a body may come that the signature does not cover.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RawUnsignedPayload {
    /// Over TLS.
    Tls,
    /// Over TLS, and from a loopback address.
    Loopback,
    /// Anywhere.
    Anywhere,
}

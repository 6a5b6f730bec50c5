//! The admin listener, as the configuration file has it.
//!
//! Part of the user manual that `raw` is.

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;

use super::forms::OneOrMany;

/// The admin listener: health, metrics and the operator's page. See `docs/CONSOLE.md`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawAdmin {
    /// IP address and port; default `127.0.0.1:9090`. Another than a loopback address needs `tokens` or `tls.client_ca`.
    pub address: Option<String>,
    /// Serve HTTPS here. Without it: clear text, in which a token can be read on the way.
    pub tls: Option<RawAdminTls>,
    /// Tokens of operators. Without them and without `tls.client_ca` the page is for everybody who connects from the same machine; with
    /// one of the two nobody gets further than `/healthz`, `/readyz` and `/metrics` without.
    pub tokens: Option<Vec<RawAdminToken>>,
    /// Host names, one or a list, under which this listener is asked besides `localhost` and IP addresses. Requests for other names are
    /// refused, because a page of another site can give its own name any address. Without port.
    pub hosts: Option<OneOrMany>,
    /// Who may read `/metrics`: `open` (default), everybody who reaches the listener, or `protected`, whoever may see the page.
    pub metrics: Option<RawMetricsAccess>,
}

/// Certificate and key of the admin listener.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawAdminTls {
    /// PEM file with the certificate chain, the server's own certificate first. Absolute path. Required.
    pub certificate: Option<String>,
    /// PEM file with the private key. Absolute path; must not be readable by every user of the machine. Required.
    pub key: Option<String>,
    /// PEM file with the authorities whose client certificates open the page. Absolute path. Every certificate of theirs does, so give
    /// operators an authority of their own.
    pub client_ca: Option<String>,
    /// PEM files with lists of revoked certificates (CRLs), one or several; default none. With one, every certificate of a chain must be under
    /// a list, and no list may be over its time, or clients that show a certificate are refused. Absolute paths. Only with `client_ca`.
    pub crls: Option<OneOrMany>,
}

/// One token of an operator.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawAdminToken {
    /// Name in the log: 1 to 64 letters, digits, `.`, `_`, `-`. Required, unique.
    pub name: Option<String>,
    /// SHA-256 of the token: `sha256:` and 64 hex digits, or a reference (`env:NAME`, `file:/path`) to such a text. Made by
    /// `countersign token`; not the token of a client. Required.
    pub hash: Option<String>,
    /// The token is refused from this instant on, such as `2027-01-01T00:00:00Z`; default never.
    pub expires: Option<String>,
}

// `hash` may hold a token that somebody mistook for its hash.
impl fmt::Debug for RawAdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawAdminToken").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Who may read the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RawMetricsAccess {
    /// Everybody who reaches the listener.
    Open,
    /// Whoever may see the page.
    Protected,
}

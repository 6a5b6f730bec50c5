//! The keys of listeners, and of who is known by the connection alone. See `docs/IDENTITY.md`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::forms::OneOrMany;
use super::raw::RawTls;

/// One address that serves clients.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawListener {
    /// IP address and port, such as `127.0.0.1:8080`, `0.0.0.0:8443` or `[::]:8443`; port 0 takes a free one. Or a Unix socket,
    /// `unix:/run/countersign/s3.sock`, of at most 90 bytes. Required.
    pub address: Option<String>,
    /// Serve HTTPS here. Without it: clear-text HTTP/1.1, for loopback or behind something that terminates TLS, because app tokens
    /// and JWTs can be read on the way.
    pub tls: Option<RawTls>,
    /// Permissions of a Unix socket, in octal digits such as `"0660"`; default `"0600"`. Who may write may connect.
    pub mode: Option<String>,
    /// Every request that arrives here is of this principal, whoever sent it: for the one application beside a sidecar. Loopback addresses
    /// and Unix sockets only. Default: requests must show a credential.
    pub identity: Option<RawIdentity>,
}

/// Who everybody is that reaches a listener.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawIdentity {
    /// Name in rules and audit records: 1 to 64 letters, digits, `.`, `_`, `-`. Required, unique.
    pub name: Option<String>,
    /// Access key id that SDKs are given, since they sign whether they have a key or not, with any secret; default `countersign`. Every
    /// other credential is refused here.
    pub placeholder: Option<String>,
    /// Attributes for rules and for `{name}` in prefixes: name → value or list of values. `listener` (the name) is always there.
    pub attributes: BTreeMap<String, OneOrMany>,
}

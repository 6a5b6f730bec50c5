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
    /// Proxies that begin each connection with a header of the PROXY protocol (version 1 or 2), which says for whom they speak. Nobody else
    /// may connect then. IP addresses only.
    pub proxy_protocol: Option<RawProxies>,
    /// Proxies that say in a header of each request for whom they speak; of everybody else the header means nothing. IP addresses only.
    pub forwarded: Option<RawForwarded>,
}

/// Certificates of clients, on an HTTPS listener.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawClientTls {
    /// PEM file with the authorities that sign certificates of clients. Absolute path. Required.
    pub ca: Option<String>,
    /// PEM files with lists of revoked certificates (CRLs); default none. With one, every certificate of a chain must be under a list, and
    /// no list may be over its time, or clients are refused. Absolute paths.
    pub crls: Option<OneOrMany>,
    /// Whether a client without certificate is refused in the handshake; default true.
    pub require: Option<bool>,
    /// Whether the certificate says who the caller is, by `clients.certificates`; default false: it only opens the door, and requests show a
    /// credential as elsewhere.
    pub identity: Option<bool>,
}

/// Proxies that speak the PROXY protocol.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawProxies {
    /// Networks or addresses of the proxies, such as `10.0.0.0/24`. Required.
    pub from: Option<OneOrMany>,
}

/// Proxies that are believed in a header.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawForwarded {
    /// Networks or addresses of the proxies, such as `10.0.0.0/24`. Required.
    pub from: Option<OneOrMany>,
    /// The header: `x-forwarded-for` (default) or `forwarded` (RFC 7239). It is read from its end, past these proxies.
    pub header: Option<RawForwardedHeader>,
}

/// A header in which proxies name the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RawForwardedHeader {
    /// `X-Forwarded-For`.
    XForwardedFor,
    /// `Forwarded`.
    Forwarded,
}

/// Client certificates that are known, on listeners with `tls.client.identity`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawCertificate {
    /// Name in rules and audit records: 1 to 64 letters, digits, `.`, `_`, `-`. Required, unique.
    pub name: Option<String>,
    /// Which certificates: one of the keys in it. Required.
    #[serde(rename = "match")]
    pub matches: Option<RawCertificateMatch>,
    /// Attributes for rules and for `{name}` in prefixes: name → value or list of values. `certificate` (the name) is always there.
    pub attributes: BTreeMap<String, OneOrMany>,
}

/// Which certificates an entry is about: exactly one key. A certificate that fits two entries is refused.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawCertificateMatch {
    /// The whole subject as RFC 4514 writes it, such as `CN=etl,O=Example` (`openssl x509 -noout -subject -nameopt RFC2253`).
    pub subject: Option<String>,
    /// A DNS name of the subject alternative name.
    pub dns: Option<String>,
    /// A URI of the subject alternative name.
    pub uri: Option<String>,
    /// SPIFFE ids; the principal is the id itself.
    pub spiffe: Option<RawSpiffe>,
}

/// SPIFFE ids of a trust domain.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawSpiffe {
    /// Name of the trust domain, such as `example.org`. It is the attribute `trust_domain`. Required.
    pub trust_domain: Option<String>,
    /// Path of the id. A segment in braces stands for any one, and is an attribute: `/ns/{namespace}/sa/{service_account}`. Required.
    pub path: Option<String>,
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

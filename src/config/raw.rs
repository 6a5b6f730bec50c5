//! The configuration file as it is written: the user manual of every key.
//!
//! Plain data. Everything may be left out here; `resolve` says what is required, what a key means when it is missing, and what
//! does not fit together. Unknown keys are refused. Sizes and durations are texts with a unit (`10MiB`, `30s`), counts are whole
//! numbers. Changes take effect with a reload; `outline` names the keys that wait for a restart.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;

use super::forms::{HeaderWish, OneOrMany, RawKeys, RawWho};
use super::raw_admin::RawAdmin;
use super::raw_audit::RawAudit;
use super::raw_cors::RawCorsRule;
use super::raw_identity::{RawCertificate, RawClientTls, RawListener};
use super::raw_inspect::{RawInspect, RawInspectionLimits, RawInspector, RawStaging};
use super::raw_output::RawLog;
use super::raw_reload::RawReload;
use super::raw_signing::{RawAccessKey, RawSigning};
use super::raw_sts::RawSts;
use super::raw_tracing::RawTracing;

/// The whole file.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawConfig {
    /// Addresses that serve clients. Required, at least one.
    pub listen: Option<Vec<RawListener>>,
    /// Domains of the gateway, such as `s3.example.com`: a request to `bucket.s3.example.com` is about that bucket, and its whole path is
    /// the key. Names in lower case without port; none may lie inside another. Default none: the bucket is the first segment of the
    /// path, as it is for every other host. Not together with `clients.signing.host`.
    pub domains: Option<OneOrMany>,
    /// Health, metrics and the operator's page.
    pub admin: RawAdmin,
    /// The S3 stores behind the gateway, by a name of your choice. Required, at least one.
    pub upstreams: Option<BTreeMap<String, RawUpstream>>,
    /// The buckets that clients see, by the name that clients use. Required, at least one. The name `"*"` puts the gateway before a whole
    /// store: every bucket name that is not listed here is the same name there.
    pub buckets: Option<BTreeMap<String, RawBucket>>,
    /// Who can authenticate: at least one token, access key or issuer, unless a listener has an identity.
    pub clients: RawClients,
    /// Whether clients may change a JWT for access keys that last a while.
    pub sts: RawSts,
    /// What looks into the bytes of objects, by a name of your choice; rules say where. Default: none. See `docs/INSPECTION.md`.
    pub inspectors: Option<BTreeMap<String, RawInspector>>,
    /// What callers may do. Required: without a rule everything is refused. A deny beats every allow.
    pub rules: Option<Vec<RawRule>>,
    /// What a connection may cost, and what a caller may do at a time. Every key has a default.
    pub limits: RawLimits,
    /// Where the audit records go.
    pub audit: RawAudit,
    /// Traces of requests. Default: they have none.
    pub tracing: Option<RawTracing>,
    /// What the log shows.
    pub log: RawLog,
    /// When this file is read again. What a reload does: `docs/RELOAD.md`.
    pub reload: RawReload,
}

/// Certificate and key of an HTTPS listener.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawTls {
    /// PEM file with the certificate chain, the server's own certificate first. Absolute path. Required.
    pub certificate: Option<String>,
    /// PEM file with the private key. Absolute path; must not be readable by every user of the machine. Required.
    pub key: Option<String>,
    /// Ask clients for a certificate. Default: they are not asked.
    pub client: Option<RawClientTls>,
}

/// One S3 store.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawUpstream {
    /// `https://host` or `http://host`, with `:port` if it is not 443 or 80; no path. May be a reference (`env:NAME`). Required.
    pub endpoint: Option<String>,
    /// Region that requests are signed for, such as `eu-central-1`; other stores have their own word (`garage`, `us-east-1`). Required.
    pub region: Option<String>,
    /// How the store wants a bucket named: `path` (`https://host/bucket/key`, the default) or `virtual-host`
    /// (`https://bucket.host/key`).
    pub addressing: Option<RawAddressing>,
    /// PEM file with the certificate authorities to trust for this store, instead of the system's. Absolute path. `https` only.
    pub ca_file: Option<String>,
    /// The credential the gateway signs with. Required.
    pub credentials: Option<RawCredentials>,
    /// How the signature covers the bytes of an object: `unsigned` (TLS protects them; the default over `https`) or `signed` (a
    /// SHA-256 of every byte; the default over `http`). `unsigned` over `http` is accepted for a loopback address only.
    pub payload: Option<RawPayload>,
    /// How a checksum of an object reaches the store: `trailer` (the client's own as a header, else one computed by the gateway
    /// after the bytes; the default over `https`) or `header` (only what the client declared; the default over `http`, and for stores
    /// that know no trailers, such as Ceph before version 19).
    pub checksum: Option<RawChecksum>,
    /// Most requests to this store at a time, 1 to 100000; default 512. More wait for `timeouts.connect`, then get `SlowDown`.
    pub max_connections: Option<u64>,
    /// Most requests that wait so, 0 to 100000; default 128. More get `SlowDown` at once.
    pub max_waiting: Option<u64>,
    /// The part of `max_connections` and of `unknown_length_uploads` that one principal may hold, in percent, 1 to 100; default 50. It is
    /// rounded up, and at least one place.
    pub principal_share: Option<u64>,
    /// Uploads of unknown length (chunked, no `Content-Length`) to this store at a time, 0 to 1000; default 4. Each keeps up to 8 MiB in
    /// memory and becomes a multipart upload there if it is longer. More get `SlowDown`; 0 refuses all with `MissingContentLength`, as
    /// S3 itself does.
    pub unknown_length_uploads: Option<u64>,
    /// When to stop asking this store for a while.
    pub breaker: RawBreaker,
    /// Time limits towards this store.
    pub timeouts: RawUpstreamTimeouts,
}

/// When to stop asking a store for a while: its clients are told `ServiceUnavailable` at once.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawBreaker {
    /// Failures in a row after which the store is not asked, 0 to 100000; default 10. 0 asks it always. Counted are: no connection, no
    /// answer or progress in time, and 502, 503 or 504 with a document that is no XML, as proxies send; any other answer ends the row.
    pub failures: Option<u64>,
    /// How long until one request is let through to see whether the store answers again, `100ms` to `1h`; default `5s`.
    pub pause: Option<String>,
}

/// How a bucket is named in a request to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RawAddressing {
    /// `https://host/bucket/key`.
    Path,
    /// `https://bucket.host/key`.
    VirtualHost,
}

/// How the signature covers the bytes of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RawPayload {
    /// Not at all; TLS protects them.
    Unsigned,
    /// By a SHA-256 of every byte.
    Signed,
}

/// How a checksum of an object reaches the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RawChecksum {
    /// As a header if the client declared one, else as a trailer.
    Trailer,
    /// As a header if the client declared one, else not at all.
    Header,
}

/// The credential of a store: either the two (or three) values by reference, or a profile of an AWS credentials file.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawCredentials {
    /// Access key id: `env:NAME` or `file:/path`.
    pub access_key_id: Option<String>,
    /// Secret access key: `env:NAME` or `file:/path`. If all values are files, they are read again every minute, so that they can be
    /// rotated. A file must not be readable by every user of the machine.
    pub secret_access_key: Option<String>,
    /// Session token of temporary credentials: `env:NAME` or `file:/path`.
    pub session_token: Option<String>,
    /// Section of an AWS credentials file, instead of the values above; default `default` if `file` is given. Read again every minute.
    pub profile: Option<String>,
    /// That file; default `$AWS_SHARED_CREDENTIALS_FILE`, else `~/.aws/credentials`. Absolute path, or one that begins with `~/`.
    pub file: Option<String>,
}

// Somebody may have written a secret here instead of a reference.
impl fmt::Debug for RawCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RawCredentials(…)")
    }
}

/// Time limits towards a store.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawUpstreamTimeouts {
    /// DNS, TCP and TLS together, and waiting for a free connection; default `5s`.
    pub connect: Option<String>,
    /// From the last byte of a request to the head of its answer; default `60s`.
    pub first_byte: Option<String>,
    /// Without any progress in a body, in either direction; default `60s`.
    pub idle: Option<String>,
    /// How long an unused connection is kept; default `8s`. Keep it below the store's own limit.
    pub pool_idle: Option<String>,
}

/// One bucket that clients see.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawBucket {
    /// Name of the upstream that stores it. May be left out if there is only one.
    pub upstream: Option<String>,
    /// Name of the bucket there; default: the same name. Not for `"*"`.
    pub bucket: Option<String>,
    /// Put before every key on the way to the store, such as `gw/`; default none. Ends with `/`. Clients never see it. Not for
    /// `"*"`.
    pub prefix: Option<String>,
    /// Keys with `.` or `..` segments, empty segments, a leading slash or a backslash: `refuse` (default) or `pass`. Stores read such
    /// keys differently; pass them only to a store that keeps keys byte for byte.
    pub odd_keys: Option<RawOddKeys>,
    /// Which pages of other origins a browser lets talk to the bucket; the first rule that fits counts. Default: none.
    pub cors: Option<Vec<RawCorsRule>>,
}

/// What happens to keys that stores read differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RawOddKeys {
    /// Refused.
    Refuse,
    /// Passed on as they are.
    Pass,
}

/// Who can authenticate.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawClients {
    /// App tokens: long random texts that programs present. `countersign token` makes one.
    pub tokens: Option<Vec<RawToken>>,
    /// Access keys: for S3 clients that sign with SigV4, in the header or as presigned URLs. `countersign access-key NAME` makes one.
    pub access_keys: Option<Vec<RawAccessKey>>,
    /// Client certificates, by name. Needs a listener with `tls.client.identity`.
    pub certificates: Option<Vec<RawCertificate>>,
    /// Issuers of JWTs: identity providers, CI systems, Kubernetes.
    pub issuers: Option<Vec<RawIssuer>>,
    /// What signed requests must keep to. Every key has a default.
    pub signing: RawSigning,
}

/// One app token.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawToken {
    /// Name in rules and audit records: 1 to 64 letters, digits, `.`, `_`, `-`. Required, unique.
    pub name: Option<String>,
    /// SHA-256 of the token: `sha256:` and 64 hex digits, or a reference (`env:NAME`, `file:/path`) to such a text. Required.
    pub hash: Option<String>,
    /// The token is refused from this instant on, such as `2027-01-01T00:00:00Z`; default never.
    pub expires: Option<String>,
    /// Attributes for rules and for `{name}` in prefixes: name → value or list of values. `token` (the token's name) is always there.
    pub attributes: BTreeMap<String, OneOrMany>,
}

// `hash` may hold a token that somebody mistook for its hash.
impl fmt::Debug for RawToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawToken").field("name", &self.name).finish_non_exhaustive()
    }
}

/// One issuer of JWTs.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawIssuer {
    /// Name in rules and audit records: 1 to 64 letters, digits, `.`, `_`, `-`, but not `token` or `key`. Required, unique.
    pub name: Option<String>,
    /// The exact `iss` value of its tokens, an `https` URL. Required, unique.
    pub issuer: Option<String>,
    /// Accepted `aud` values, one or a list; a token must carry one of them. Required.
    pub audience: Option<OneOrMany>,
    /// Accepted signature algorithms out of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA. Required.
    pub algorithms: Option<Vec<String>>,
    /// Where its keys are: `discovery` (default: `{issuer}/.well-known/openid-configuration`), `{ url: https://… }` or `{ file: /path }`
    /// with a JWKS document.
    pub keys: Option<RawKeys>,
    /// File with a token that is shown where `keys.url` is fetched, such as the one that Kubernetes gives to a pod: its API server answers
    /// nobody else. Read again for each fetch, and sent to that URL alone. Absolute path. Needs `keys: { url: … }`.
    pub jwks_token_file: Option<String>,
    /// Hosts besides the issuer's own that the discovery document may send us to for the keys; default none. Google needs
    /// `www.googleapis.com`.
    pub jwks_hosts: Option<Vec<String>>,
    /// PEM file with the certificate authorities to trust when fetching keys, instead of the system's. Absolute path.
    pub ca_file: Option<String>,
    /// Whether `/readyz` waits until the keys of this issuer were read once; default true.
    pub required: Option<bool>,
    /// Accepted `typ` values of the token head, such as `at+jwt`; default: `JWT`, `at+jwt` or none.
    pub token_types: Option<Vec<String>>,
    /// Claims that must be there with this value, or one of these: Cognito's access tokens need `token_use: access`.
    pub required_claims: BTreeMap<String, OneOrMany>,
    /// Claim that names the principal in audit records; default `sub`.
    pub principal: Option<String>,
    /// Attributes for rules and for `{name}` in prefixes: attribute name → claim name. `sub` and `issuer` are always there.
    /// A claim inside others is written as a JSON Pointer, which begins with `/`: `/kubernetes.io/namespace`.
    pub attributes: BTreeMap<String, String>,
    /// Tolerated clock difference, at most `60s`; default `30s`.
    pub leeway: Option<String>,
}

/// The place of a JWKS document.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawKeyPlace {
    /// An `https` URL.
    pub url: Option<String>,
    /// A file. Absolute path.
    pub file: Option<String>,
}

/// One rule.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawRule {
    /// Name in decisions and audit records: 1 to 64 letters, digits, `.`, `_`, `-`. Required, unique.
    pub name: Option<String>,
    /// `allow` (default) or `deny`. A deny beats every allow; what no rule allows is refused.
    pub effect: Option<RawEffect>,
    /// Whom the rule is about: conditions, or the word `anyone` for every authenticated caller. Required.
    pub who: Option<RawWho>,
    /// What it is about: `bucket`, or `bucket/prefix/`. A prefix covers every key below it and may have attribute parts
    /// (`home/{sub}/`), at most one in a segment. A caller without that attribute is not covered. `"*"` and `"*/prefix/"` are every bucket
    /// of the pass-through mapping (`buckets: { "*": … }`), and none that is configured by name. Required.
    #[serde(rename = "where")]
    pub places: Option<OneOrMany>,
    /// Actions: `read`, `list`, `write`, `delete`, `tag`, `read-versions`, an IAM action (`s3:PutObject`) or a pattern (`s3:Get*`). Required.
    pub what: Option<OneOrMany>,
    /// Sizes of written objects, and how much may be done at a time. Allow rules only, as is everything below.
    pub limits: Option<RawSizes>,
    /// Kinds of written objects.
    pub content: Option<RawContent>,
    /// What looks into the bytes, and what is done when it finds something; default: nothing looks.
    pub inspect: Option<RawInspect>,
    /// Headers of writes.
    pub headers: Option<RawHeaders>,
    /// Whether a read may choose the headers of its answer (`response-content-type` and its like); default false.
    pub response_overrides: Option<bool>,
}

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RawEffect {
    /// Permit.
    Allow,
    /// Refuse, whatever other rules say.
    Deny,
}

/// Conditions on the caller. Every key given must hold; within a list one match is enough. `tokens`, `keys`, `issuers`, `listeners` and
/// `certificates` are one list.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawConditions {
    /// Names of app tokens.
    pub tokens: Option<OneOrMany>,
    /// Names of access keys.
    pub keys: Option<OneOrMany>,
    /// Names of issuers: every principal of theirs.
    pub issuers: Option<OneOrMany>,
    /// Names of identities of listeners.
    pub listeners: Option<OneOrMany>,
    /// Names of client certificates.
    pub certificates: Option<OneOrMany>,
    /// Values of the attribute `groups`; short for `attributes: { groups: … }`.
    pub groups: Option<OneOrMany>,
    /// Attribute name → accepted value or values.
    pub attributes: BTreeMap<String, OneOrMany>,
    /// Networks or addresses the request comes from, such as `10.0.0.0/8` or `2001:db8::1`.
    pub networks: Option<OneOrMany>,
}

/// Sizes of written objects, and how much may be done at a time under the rule.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawSizes {
    /// Smallest object; default `0`.
    pub min_size: Option<String>,
    /// Largest object, at most `5TiB`; default: what the store takes.
    pub max_size: Option<String>,
    /// What each principal may do at a time in requests that this rule decides, beside the limits of the whole file.
    pub per_principal: Option<RawRates>,
    /// What all principals together may do at a time in requests that this rule decides.
    pub together: Option<RawRates>,
}

/// How much may be done at a time. What is left out is not limited. Beyond a number of requests, or far behind a number of bytes, a
/// request gets `SlowDown`; bodies under way are slowed down.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawRates {
    /// Requests in a second, 1 to 1000000.
    pub request_rate: Option<u64>,
    /// Requests at once after a pause, 1 to 1000000; default: those of one second. Needs `request_rate`.
    pub request_burst: Option<u64>,
    /// Bytes of bodies in a second from clients, `64KiB` to `1TiB`.
    pub upload_rate: Option<String>,
    /// Bytes of bodies in a second to clients, `64KiB` to `1TiB`.
    pub download_rate: Option<String>,
    /// Requests whose answer is not finished, 1 to 1000000.
    pub requests_in_flight: Option<u64>,
}

/// Kinds of written objects.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawContent {
    /// Accepted media types: `image/png`, or `image/*` for a family; default any.
    pub types: Option<OneOrMany>,
    /// Accepted file name extensions without the dot: `png`; default any.
    pub extensions: Option<OneOrMany>,
    /// Whether the first bytes must fit the declared media type; default false.
    pub check_bytes: Option<bool>,
    /// Whether the signature of an upload must cover its bytes, by a hash or chunk by chunk; default false. App tokens, JWTs and presigned
    /// URLs without a hash cannot write then.
    pub signed_payload: Option<bool>,
}

/// Headers of writes.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawHeaders {
    /// Headers that a write must carry: name → the exact value, or `null` for any value.
    pub require: BTreeMap<String, HeaderWish>,
    /// Headers the gateway puts on a write, whatever the client sent: name → value.
    pub set: BTreeMap<String, String>,
    /// Headers that a client may send although they are refused by default, such as `x-amz-storage-class`.
    pub allow: Option<OneOrMany>,
}

/// What a connection may cost, and what a caller may do at a time. Reasons for the defaults: `docs/DEFAULTS.md`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawLimits {
    /// Client connections at a time, 1 to 1000000; default 4096. More wait in the backlog.
    pub max_connections: Option<u64>,
    /// Time limits towards clients.
    pub timeouts: RawTimeouts,
    /// Largest request head, `8KiB` to `256KiB`; default `32KiB`.
    pub max_head: Option<String>,
    /// Most header fields of a request, 16 to 1000; default 100.
    pub max_headers: Option<u64>,
    /// Longest request target (path and query), `2KiB` to `64KiB` and not above `max_head`; default `8KiB`.
    pub max_target: Option<String>,
    /// Lowest rate of a body per second, averaged over `body_rate_window`, `1B` to `1GiB`; default `1KiB`.
    pub min_body_rate: Option<String>,
    /// Time over which that rate is averaged, `1s` to `1h`; default `30s`.
    pub body_rate_window: Option<String>,
    /// Bytes of a refused upload that are still read, so that the client sees the refusal and not a reset, `0` to `1GiB`; default `4MiB`.
    pub linger: Option<String>,
    /// Bytes of bodies that all connections together may hold beyond 8 KiB for each end, `0B` to `64GiB`; default `16MiB`.
    pub buffers: Option<String>,
    /// HTTP/2 streams at a time on one connection, 1 to 10000; default 100.
    pub http2_max_streams: Option<u64>,
    /// What inspected downloads may cost, all together.
    pub inspection: RawInspectionLimits,
    /// What each principal may do at a time, whatever rule decides; default: no limit.
    pub per_principal: Option<RawRates>,
    /// Failed authentications of one address (of one /64 in IPv6) that are answered as such; more get `SlowDown`. A good credential is
    /// never refused for them.
    pub failed_authentications: RawFailures,
    /// How long uploads that wait for the verdict of inspectors are kept at hidden keys; what is older is removed.
    pub staging: RawStaging,
}

/// How many failed authentications of one address are answered as such.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawFailures {
    /// In a second, 0 to 1000000; default 100. 0 means: all of them, none is counted.
    pub rate: Option<u64>,
    /// At once after a pause, 1 to 1000000; default 10000.
    pub burst: Option<u64>,
}

/// Time limits towards clients; `1ms` to `24h` each.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawTimeouts {
    /// TLS handshake; default `10s`.
    pub handshake: Option<String>,
    /// A complete request head, waiting for the next request included; default `30s`.
    pub head: Option<String>,
    /// Without one byte of a body, from a client or to it; default `60s`.
    pub body_idle: Option<String>,
    /// How long connections are still let in after SIGTERM while `/readyz` says 503, for load balancers to notice; `0s` to `1h`; default
    /// `0s`. In Kubernetes `5s`.
    pub drain_delay: Option<String>,
    /// How long requests may go on after that; default `30s`.
    pub drain: Option<String>,
    /// How long the rest of a refused upload is still read; default `5s`.
    pub linger: Option<String>,
}

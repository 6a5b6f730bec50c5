//! `icap` of an inspector.

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::forms::OneOrMany;
use super::RawProbe;

/// A service of an ICAP server (RFC 3507).
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawIcap {
    /// The service, such as `icaps://scanner.example.com:11344/avscan`; `icap://` without TLS. Ports 1344 and 11344 if none is written. Required.
    pub url: Option<String>,
    /// PEM file of certificate authorities for `icaps`, such as `/etc/countersign/ca.pem`, instead of the system's.
    pub ca_file: Option<String>,
    /// Largest object that is sent, `1KiB` to `1TiB`; default `25MiB`. Must not be more than the server and the scanner behind it look at:
    /// many call larger objects clean. Larger ones are `not_scannable`.
    pub max_size: Option<String>,
    /// Longest time to connect, and to answer OPTIONS; default `2s`.
    pub connect_timeout: Option<String>,
    /// Beginnings of names that mean `not_scannable` instead of `matched`; default `[Heuristics.Limits.Exceeded, Heuristics.Encrypted.]`.
    pub not_scannable: Option<OneOrMany>,
    /// Whether an object is clean if the server does not want to see all of it, because of its type or after a preview; default false:
    /// then it is `not_scannable`.
    pub trust_preview: Option<bool>,
    /// Whether the server is told the media type that the client declared; default false: every object is `application/octet-stream`, so
    /// that no client can make the server skip its object by type.
    pub send_type: Option<bool>,
    /// What is found out about the limits of server and scanner: `basic` (default), `strict` or `none`, as for `clamd`.
    pub probe: Option<RawProbe>,
}

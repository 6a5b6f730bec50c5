//! `tracing` of the configuration file. Part of the user manual that `raw` is.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::forms::OneOrMany;

/// Traces (W3C Trace Context). Without this section requests have none, and headers of clients about them are not looked at.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawTracing {
    /// Whose `traceparent` is continued: `any` (default), `none`, or networks such as `10.0.0.0/8`. For others a new trace is begun. It is
    /// a name in records and spans; nothing is decided by it.
    pub accept: Option<OneOrMany>,
    /// Whether stores get a `traceparent`, with a span of their own; default true. It is not covered by the signature, so that what is
    /// between may change it.
    pub propagate: Option<bool>,
    /// Where spans are sent by OTLP. Without it none are. Needs a build with the feature `otel`.
    pub otlp: Option<RawOtlp>,
}

/// A collector of spans that speaks OTLP over HTTP, in protobuf.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawOtlp {
    /// Its address with the path, such as `http://127.0.0.1:4318/v1/traces`. Required.
    pub endpoint: Option<String>,
    /// Headers of every request, such as `authorization`; the values as `env:NAME` or `file:/path`.
    pub headers: BTreeMap<String, String>,
    /// PEM file of the certificate authorities to trust instead of the system's.
    pub ca_file: Option<String>,
    /// Longest time of one request; default `10s`.
    pub timeout: Option<String>,
    /// Of so many new traces one is sent, 1 to 1000000; default 1: all. A trace that is continued is sent if its beginner says so.
    pub one_in: Option<u64>,
}

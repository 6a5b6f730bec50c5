//! `audit` of the configuration file. Part of the user manual that `raw` is.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

/// Where the audit records go: `file`, or any number of `sinks`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawAudit {
    /// File for one JSON object a line, or `-` for standard output (default). Absolute path.
    pub file: Option<String>,
    /// Several places instead of `file`, each under a name of its own, which is in metrics and log.
    pub sinks: Option<BTreeMap<String, RawSink>>,
    /// How long a request waits for room at a sink with `when_full: block` before it is refused; default `5s`.
    pub wait: Option<String>,
}

/// One sink: exactly one of `stdout`, `file`, `syslog` and `http`, and what all of them have.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawSink {
    /// Standard output, if true.
    pub stdout: Option<bool>,
    /// A file, which the gateway can put aside itself.
    pub file: Option<RawFileSink>,
    /// A syslog server (RFC 5424).
    pub syslog: Option<RawSyslogSink>,
    /// A server that gets batches of lines by POST.
    pub http: Option<RawHttpSink>,
    /// `json` (default) or `s3-server-access-log`, the format of S3, which says less.
    pub format: Option<RawLineFormat>,
    /// Most records that wait to be written, 16 to 1000000; default 8192.
    pub queue: Option<u64>,
    /// What happens when so many wait: `drop` (default: further records are lost and counted) or `block` (none is lost, requests wait and
    /// are then refused; with it `queue` bounds the requests under way as well).
    pub when_full: Option<RawWhenFull>,
}

/// A file of audit records.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawFileSink {
    /// Appended to; made with mode 0640 if it does not exist. Absolute path. Required.
    pub path: Option<String>,
    /// When the gateway puts the file aside, as `PATH.20261122T084556.883Z`. Without it something else may: a file that was moved is
    /// begun anew.
    pub rotate: Option<RawRotation>,
}

/// When a file is put aside: at least one of `size` and `every`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawRotation {
    /// Before it would get longer, 64KiB to 1TiB.
    pub size: Option<String>,
    /// When it is so old, `1m` to `8760h`.
    pub every: Option<String>,
    /// Files that are kept beside the one that is written, 1 to 10000; default 14.
    pub keep: Option<u64>,
    /// Whether files that were put aside are compressed with gzip; default false.
    pub compress: Option<bool>,
}

/// A syslog server.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawSyslogSink {
    /// `unix:/dev/log`, `udp://host:514`, `tcp://host:601` or `tls://host:6514`. Required. Over the first two a record must fit into a
    /// datagram, and over all of them what the server had not read when it went away is lost unnoticed: syslog has no answers.
    pub address: Option<String>,
    /// `auth`, `authpriv`, `daemon`, `user` or `local0` (default) to `local7`.
    pub facility: Option<String>,
    /// PEM file of the certificate authorities to trust instead of the system's. Only with `tls://`.
    pub ca_file: Option<String>,
}

/// A server that gets batches of lines by POST. A batch that is not answered with a status of success is sent again, so that it may come
/// twice.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawHttpSink {
    /// Where the batches go, such as `https://logs.example.com/ingest`. Redirects are not followed. Required.
    pub url: Option<String>,
    /// Headers of every request, such as `authorization`; the values as `env:NAME` or `file:/path`.
    pub headers: BTreeMap<String, String>,
    /// PEM file of the certificate authorities to trust instead of the system's.
    pub ca_file: Option<String>,
    /// Most records of one batch, 1 to 10000; default 500. A batch ends at 1 MiB in any case.
    pub batch: Option<u64>,
    /// How long the first record of a batch waits for others; default `1s`.
    pub batch_wait: Option<String>,
    /// Longest time of one request; default `10s`.
    pub timeout: Option<String>,
}

/// What a line looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RawLineFormat {
    /// One JSON object.
    Json,
    /// The format of S3 server access logs.
    S3ServerAccessLog,
}

/// What happens when the queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawWhenFull {
    /// Further records are lost and counted.
    Drop,
    /// Requests wait.
    Block,
}

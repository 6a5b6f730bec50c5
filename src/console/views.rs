//! What the page is told, under the names that the JSON has.

use serde::Serialize;

/// How the gateway is.
#[derive(Debug, Serialize)]
pub struct Status {
    /// Version of the program.
    pub version: &'static str,
    /// What it was built with.
    pub features: Vec<&'static str>,
    /// When it started, RFC 3339.
    pub started: String,
    /// Seconds since then.
    pub uptime_s: u64,
    /// Whether requests should be sent here.
    pub ready: bool,
    /// Why not.
    pub not_ready: Vec<String>,
    /// What an operator should know although it is ready.
    pub notes: Vec<String>,
    /// Whether it was told to stop and finishes what is in flight.
    pub draining: bool,
    /// Where clients connect.
    pub listeners: Vec<ListenerView>,
    /// Client connections that are open.
    pub connections_open: u64,
    /// Requests whose answer is not finished.
    pub requests_in_flight: i64,
    /// Which configuration is in use, and how the last reload went.
    pub reload: serde_json::Value,
    /// Who is told all this.
    pub who: String,
}

/// One data listener.
#[derive(Debug, Serialize)]
pub struct ListenerView {
    /// Where it listens.
    pub address: String,
    /// Whether it speaks TLS.
    pub tls: bool,
}

/// One store.
#[derive(Debug, Serialize)]
pub struct UpstreamView {
    /// Its name.
    pub name: String,
    /// Its address.
    pub endpoint: String,
    /// Region that requests are signed for.
    pub region: String,
    /// Whether there are credentials for it.
    pub has_credentials: bool,
    /// Requests that hold a connection.
    pub in_flight: usize,
    /// Requests that wait for one.
    pub waiting: usize,
    /// Whether it is not asked after failures in a row.
    pub resting: bool,
    /// How often that happened.
    pub trips: u64,
}

/// One inspector.
#[derive(Debug, Serialize)]
pub struct InspectorView {
    /// Its name.
    pub name: String,
    /// Looks under way.
    pub running: usize,
    /// Requests that wait for one to end.
    pub waiting: usize,
    /// Whether it could work when it was asked last.
    pub up: bool,
    /// Whether it is not asked after failures in a row.
    pub resting: bool,
    /// Age of its signatures in seconds, if it tells.
    pub signatures_age_s: Option<u64>,
}

/// The configuration in use.
#[derive(Debug, Serialize)]
pub struct ConfigView {
    /// Name of the file.
    pub file: String,
    /// SHA-256 of the file in hex.
    pub digest: String,
    /// Its text, with `…` for whatever may be secret.
    pub text: String,
    /// Whom a question to the rules can be about, as `explain` writes it.
    pub principals: Vec<String>,
    /// Public names of buckets.
    pub buckets: Vec<String>,
}

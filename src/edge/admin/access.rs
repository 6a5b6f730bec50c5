//! Who may ask the admin listener, as configured.

use crate::base::UtcInstant;

/// Who may ask for more than health.
///
/// With neither tokens nor client certificates that is whoever connects from the same machine; with one of them everybody has to show it,
/// because a proxy or a forwarded port makes callers from anywhere come from the same machine.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// Tokens of operators.
    pub tokens: Vec<AdminToken>,
    /// Whether a client certificate opens the gate.
    pub client_certificates: bool,
    /// Host names, in lower case, under which the listener is asked besides `localhost` and IP addresses.
    pub hosts: Vec<String>,
    /// Who may read the metrics.
    pub metrics: MetricsAccess,
}

/// Who may read the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MetricsAccess {
    /// Everybody who reaches the listener.
    #[default]
    Open,
    /// Whoever may see the page.
    Protected,
}

/// A token of an operator.
#[derive(Debug, Clone)]
pub struct AdminToken {
    /// Its name, for the log.
    pub name: String,
    /// SHA-256 of the secret.
    pub digest: [u8; 32],
    /// From when on it is refused.
    pub expires: Option<UtcInstant>,
}

impl Access {
    /// Whether somebody has to show who they are.
    pub fn wants_credentials(&self) -> bool {
        self.client_certificates || !self.tokens.is_empty()
    }
}

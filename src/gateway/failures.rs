//! What the log says of requests that were not carried out. Every one of them is in the audit, with its reason; the log is for what an
//! operator must act on, and a store that is down must not fill it.

use crate::base::RequestId;
use crate::respond::{Refusal, RefusalKind};
use crate::telemetry::Seldom;

/// Writes errors to the log, once each.
#[derive(Debug, Default)]
pub struct FailureLog {
    /// Of requests that a store failed.
    stores: Seldom,
}

impl FailureLog {
    /// What the operator must act on is louder than what a client did. Of many requests that stores fail one is told in a while, with the
    /// number of those that were not.
    pub(super) fn note(&self, refusal: &Refusal, request_id: &RequestId, trace_id: Option<&str>) {
        let (code, kind, reason) = (refusal.code.as_str(), refusal.kind.as_str(), refusal.reason.as_str());
        match refusal.kind {
            RefusalKind::Internal => tracing::error!(%request_id, trace_id, code, kind, reason, "request failed"),
            RefusalKind::Upstream if refusal.status.is_server_error() => match self.stores.now() {
                Some(held_back) => {
                    tracing::warn!(%request_id, trace_id, code, kind, reason, held_back, "request failed");
                }
                None => tracing::debug!(%request_id, trace_id, code, kind, reason, "request failed"),
            },
            _ => tracing::debug!(%request_id, trace_id, code, kind, reason, "request refused"),
        }
    }
}

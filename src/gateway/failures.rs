//! What the log says of requests that were not carried out. Every one of them is in the audit, with its reason; the log is for what an
//! operator must act on, and a store that is down must not fill it, nor keep another one out of it.

use crate::base::RequestId;
use crate::respond::{Refusal, RefusalKind};
use crate::upstream::Upstream;

/// Writes an error to the log, once.
///
/// What the operator must act on is louder than what a client did. Of many requests that one store fails one is told in a while, with the
/// number of those that were not.
pub(super) fn note(refusal: &Refusal, request_id: &RequestId, trace_id: Option<&str>, store: Option<&Upstream>) {
    let (code, kind, reason) = (refusal.code.as_str(), refusal.kind.as_str(), refusal.reason.as_str());
    match (refusal.kind, store) {
        (RefusalKind::Internal, _) => tracing::error!(%request_id, trace_id, code, kind, reason, "request failed"),
        (RefusalKind::Upstream, Some(store)) if refusal.status.is_server_error() => {
            let upstream = store.name();
            match store.tell_of_failure() {
                Some(held_back) => {
                    tracing::warn!(%request_id, trace_id, code, kind, upstream, reason, held_back, "request failed");
                }
                None => tracing::debug!(%request_id, trace_id, code, kind, upstream, reason, "request failed"),
            }
        }
        _ => tracing::debug!(%request_id, trace_id, code, kind, reason, "request refused"),
    }
}

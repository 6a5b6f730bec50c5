//! What only browsers send: preflight requests.

use http::request::Parts;
use hyper::body::Incoming;

use super::{Gateway, check_framing};
use crate::arrival::Framing;
use crate::audit::Ticket;
use crate::audit::record::Decision;
use crate::cors::{CorsError, Preflight};
use crate::respond::{Refusal, Reply, local};
use crate::s3::IdentifyError;
use crate::s3::addressing::locate_path;

impl Gateway {
    /// Answers a preflight request, which carries no credential and reaches no store. A bucket that is not there is like one without
    /// rules.
    pub(super) fn preflight(
        &self,
        asked: Result<Preflight, CorsError>,
        head: &Parts,
        framing: Framing,
        body: Option<&Incoming>,
        ticket: &mut Ticket,
    ) -> Result<Reply, Refusal> {
        check_framing(framing)?;
        let target = locate_path(head, self.buckets.domains()).map_err(IdentifyError::from)?;
        let bucket = Some(target.bucket.as_str()).filter(|bucket| !bucket.is_empty());
        ticket.note_unidentified(Some("Preflight"), bucket, target.key.as_deref());
        let has_body = body.is_some_and(|body| !http_body::Body::is_end_stream(body));
        let answered = if has_body { Err(CorsError::Body) } else { asked };
        let headers = answered
            .and_then(|asked| self.cors.preflight(&target.bucket, &self.buckets, &asked))
            .inspect_err(|_| ticket.note_decision(Decision::Deny, None))?;
        ticket.note_decision(Decision::Allow, None);
        let mut reply = local::empty();
        reply.headers_mut().extend(headers);
        Ok(reply)
    }
}

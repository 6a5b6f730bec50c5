//! The story of an STS request, which shares a listener with S3 and nothing else: read the form, know the caller, answer.

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::request::Parts;
use hyper::body::Incoming;
use std::time::Duration;
use tokio::time::Instant;

use super::{Gateway, Remains};
use crate::arrival::ConnectionFacts;
use crate::audit::Ticket;
use crate::auth::{AuthError, Claim};
use crate::bounded::{self, CollectError};
use crate::respond::Reply;
use crate::sts::{AssumeRole, Carried, MAX_FORM_BYTES, StsAction, StsError, StsSettings, answer};

/// Within this the whole form has to arrive. It comes from somebody unknown, and is kept in memory until then.
const FORM_TIMEOUT: Duration = Duration::from_secs(10);

impl Gateway {
    /// Whether a request is one for STS, if that is configured.
    pub(super) fn asks_sts(&self, head: &Parts) -> Option<(&StsSettings, Carried)> {
        let settings = self.sts.as_ref()?;
        Some((settings, Carried::recognise(head, self.buckets.domains())?))
    }

    /// Answers a request for STS, refusals included: they have an XML of their own.
    pub(super) async fn answer_sts(
        &self,
        (settings, carried): (&StsSettings, Carried),
        head: &Parts,
        connection: ConnectionFacts,
        remains: &mut Remains,
        ticket: &mut Ticket,
    ) -> Reply {
        let request_id = ticket.request_id().to_owned();
        let mut action = None;
        let outcome = async {
            let form = match carried {
                Carried::Query => Bytes::from(form_in_query(head, remains)?),
                Carried::Body => form_in_body(head, remains, ticket).await?,
            };
            let asked = StsAction::parse(&form)?;
            action = Some(asked.name());
            ticket.note_operation(asked.name());
            match asked {
                StsAction::AssumeRoleWithWebIdentity(asked) => {
                    self.assume_role(&asked, settings, head, connection, ticket)
                }
                StsAction::GetCallerIdentity => self.caller_identity(head, &form, carried, connection, ticket),
            }
        };
        match outcome.await {
            Ok(reply) => reply,
            Err(error) => {
                let told = error.told(action);
                tracing::debug!(%request_id, code = told.code, kind = told.kind.as_str(), reason = %error, "request refused");
                ticket.note_refusal(told.kind.as_str(), told.code, error.to_string());
                let unread = remains.unread.take().is_some_and(|body| !http_body::Body::is_end_stream(&body));
                let close = unread || matches!(error, StsError::TooLong | StsError::NoBody);
                answer::refusal(&error, &told, &request_id, close && head.version < http::Version::HTTP_2)
            }
        }
    }

    /// AssumeRoleWithWebIdentity: the token is the credential, so there is no other.
    fn assume_role(
        &self,
        asked: &AssumeRole,
        settings: &StsSettings,
        head: &Parts,
        connection: ConnectionFacts,
        ticket: &mut Ticket,
    ) -> Result<Reply, StsError> {
        if head.headers.contains_key(AUTHORIZATION) {
            return Err(StsError::Signed);
        }
        let session = self.authenticators.begin_session(&asked.token, asked.duration, connection.peer.ip());
        let session = session.map_err(|error| self.note_failure(error, connection))?;
        ticket.note_caller(session.caller.principal(), session.caller.scheme().as_str());
        settings.admit(&asked.role)?;
        Ok(answer::keys(&session, ticket.request_id()))
    }

    /// GetCallerIdentity: signed for the service `sts`, with any credential that S3 requests may have.
    fn caller_identity(
        &self,
        head: &Parts,
        form: &[u8],
        carried: Carried,
        connection: ConnectionFacts,
        ticket: &mut Ticket,
    ) -> Result<Reply, StsError> {
        let body = if carried == Carried::Body { form } else { b"" };
        let known = Claim::parse(head)
            .inspect(|claim| claim.access_key_id().into_iter().for_each(|id| ticket.note_access_key(id)))
            .and_then(|claim| self.authenticators.authenticate_whole(claim, head, body, "sts", connection));
        let caller = known.map_err(|error| self.note_failure(error, connection))?;
        ticket.note_caller(caller.principal(), caller.scheme().as_str());
        Ok(answer::identity(&caller, ticket.request_id()))
    }

    /// Counts a failed authentication for the address, as far as it is its own.
    fn note_failure(&self, error: AuthError, connection: ConnectionFacts) -> StsError {
        if !error.counts_as_failure() {
            return error.into();
        }
        match self.limiter.note_failed_authentication(connection.peer.ip(), Instant::now().into_std()) {
            Ok(()) => error.into(),
            Err(limited) => StsError::Limited { limited, cause: error },
        }
    }
}

fn form_in_query(head: &Parts, remains: &Remains) -> Result<Vec<u8>, StsError> {
    if remains.unread.as_ref().is_some_and(|body| !http_body::Body::is_end_stream(body)) {
        return Err(StsError::TwoPlaces);
    }
    Ok(head.uri.query().unwrap_or_default().as_bytes().to_vec())
}

async fn form_in_body(head: &Parts, remains: &mut Remains, ticket: &mut Ticket) -> Result<Bytes, StsError> {
    if head.uri.query().is_some() {
        return Err(StsError::TwoPlaces);
    }
    let body = remains.unread.take().ok_or(StsError::NoBody)?;
    if http_body::Body::size_hint(&body).lower() > MAX_FORM_BYTES as u64 {
        remains.unread = Some(body);
        return Err(StsError::TooLong);
    }
    let form = match tokio::time::timeout(FORM_TIMEOUT, bounded::collect::<Incoming>(body, MAX_FORM_BYTES)).await {
        Ok(Ok(form)) => form,
        Ok(Err(CollectError::TooLong(_))) => return Err(StsError::TooLong),
        Ok(Err(CollectError::Body(_))) | Err(_) => return Err(StsError::NoBody),
    };
    let length = form.len() as u64;
    ticket.note_upload(std::sync::Arc::new(move || length));
    Ok(form)
}

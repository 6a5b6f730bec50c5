//! The story of an STS request, which shares a listener with S3 and nothing else: read the form, know the caller, answer.

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::request::Parts;
use std::time::Duration;
use tokio::time::Instant;

use super::{Gateway, Remains};
use crate::arrival::ConnectionFacts;
use crate::audit::Ticket;
use crate::audit::record::Decision;
use crate::auth::{AuthError, Caller, Claim};
use crate::bounded::{self, CollectError};
use crate::respond::Reply;
use crate::sts::{AssumeRole, Carried, MAX_FORM_BYTES, StsAction, StsError, StsSettings, answer};

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
        connection: &ConnectionFacts,
        remains: &mut Remains,
        ticket: &mut Ticket,
    ) -> Reply {
        let request_id = ticket.request_id().to_owned();
        let mut action = None;
        let outcome = async {
            let form = match carried {
                Carried::Query => Bytes::from(form_in_query(head, remains)?),
                Carried::Body => form_in_body(head, self.body_limits.head, remains, ticket).await?,
            };
            let asked = StsAction::parse(&form)?;
            action = Some(asked.name());
            ticket.note_operation(asked.name());
            match asked {
                StsAction::AssumeRoleWithWebIdentity(asked) => {
                    self.assume_role(&asked, settings, head, connection, remains, ticket).await
                }
                StsAction::GetCallerIdentity => {
                    let body = if carried == Carried::Body { &form[..] } else { b"" };
                    self.caller_identity(head, body, connection, remains, ticket).await
                }
            }
        };
        match outcome.await {
            Ok(reply) => reply,
            Err(error) => {
                let told = error.told(action);
                tracing::debug!(%request_id, code = told.code, kind = told.kind.as_str(), reason = %error, "request refused");
                ticket.note_refusal(told.kind.as_str(), told.code, error.to_string());
                let close = self.end_body(remains, head) || matches!(error, StsError::NoBody);
                answer::refusal(&error, &told, &request_id, close && head.version < http::Version::HTTP_2)
            }
        }
    }

    /// AssumeRoleWithWebIdentity: the token is the credential, so there is no other.
    async fn assume_role(
        &self,
        asked: &AssumeRole,
        settings: &StsSettings,
        head: &Parts,
        connection: &ConnectionFacts,
        remains: &mut Remains,
        ticket: &mut Ticket,
    ) -> Result<Reply, StsError> {
        if connection.vouched.is_some() {
            return Err(self.note_failure(AuthError::BesideConnection, connection));
        }
        if head.headers.contains_key(AUTHORIZATION) {
            return Err(StsError::Signed);
        }
        let session = self.authenticators.begin_session(&asked.token, asked.duration, connection.peer.ip());
        let session = session.map_err(|error| self.note_failure(error, connection))?;
        self.admit_to_sts(&session.caller, remains, ticket).await?;
        settings.admit(&asked.role).inspect_err(|_| ticket.note_decision(Decision::Deny, None))?;
        // Records of what the keys are used for have this id: here is who got them, and when.
        ticket.note_access_key(&session.keys.access_key_id);
        ticket.note_decision(Decision::Allow, None);
        Ok(answer::keys(&session, ticket.request_id()))
    }

    /// GetCallerIdentity: signed for the service `sts`, with any credential that S3 requests may have.
    async fn caller_identity(
        &self,
        head: &Parts,
        body: &[u8],
        connection: &ConnectionFacts,
        remains: &mut Remains,
        ticket: &mut Ticket,
    ) -> Result<Reply, StsError> {
        let known = Claim::of(head, connection)
            .inspect(|claim| claim.access_key_id().into_iter().for_each(|id| ticket.note_access_key(id)))
            .and_then(|claim| self.authenticators.authenticate_whole(claim, head, body, "sts", connection));
        let caller = known.map_err(|error| self.note_failure(error, connection))?;
        self.admit_to_sts(&caller, remains, ticket).await?;
        ticket.note_decision(Decision::Allow, None);
        Ok(answer::identity(&caller, ticket.request_id()))
    }

    /// Lets a known caller pass, within the limits that hold for every principal: here is no rule that has some.
    async fn admit_to_sts(&self, caller: &Caller, remains: &mut Remains, ticket: &mut Ticket) -> Result<(), StsError> {
        ticket.note_caller(caller.principal(), caller.scheme().as_str());
        self.make_room(ticket).await.map_err(|error| StsError::NoRoom(error.to_string()))?;
        remains.passage = Some(self.limiter.enter_without_rule(caller.principal(), Instant::now().into_std())?);
        Ok(())
    }

    /// Counts a failed authentication for the address, as far as it is its own.
    fn note_failure(&self, error: AuthError, connection: &ConnectionFacts) -> StsError {
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

/// Reads a form. All of it has to arrive within the time that a client has for a head.
async fn form_in_body(
    head: &Parts,
    patience: Duration,
    remains: &mut Remains,
    ticket: &mut Ticket,
) -> Result<Bytes, StsError> {
    if head.uri.query().is_some() {
        return Err(StsError::TwoPlaces);
    }
    let body = remains.unread.as_mut().ok_or(StsError::NoBody)?;
    if http_body::Body::size_hint(body).lower() > MAX_FORM_BYTES as u64 {
        return Err(StsError::TooLong);
    }
    // From the first poll on a client that waits for 100 has got it.
    remains.polled = true;
    let form = match tokio::time::timeout(patience, bounded::collect(body, MAX_FORM_BYTES)).await {
        Ok(Ok(form)) => form,
        Ok(Err(CollectError::TooLong(_))) => return Err(StsError::TooLong),
        Ok(Err(CollectError::Body(_))) | Err(_) => return Err(StsError::NoBody),
    };
    let length = form.len() as u64;
    ticket.note_upload(std::sync::Arc::new(move || length));
    Ok(form)
}

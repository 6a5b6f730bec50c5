//! Objects that are looked at when they are read.
//!
//! A whole object passes the inspectors on its way: a small one is held until the verdict, a large one is cut before its end. A part of an
//! object says nothing about the rest, so the whole one is looked at first and then the part is asked for again, of the same state. What was
//! found is remembered for that state of the object ([`State`]); while one reader looks, the others wait for it. Where another object could
//! have the same state, nothing is remembered, and a part is cut out of the very bytes that are looked at.
//!
//! The store's answer decides what it is about, not the request: a verdict is asked for the state that its head names, and nothing of its body
//! goes on before that.

pub mod held;
mod state;

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE};
use http::response::Parts;
use http::{HeaderName, Method, StatusCode};

use crate::audit::Ticket;
use crate::inspect::{
    Circumstances, Direction, DownloadTerms, Flight, Inspection, InspectionTerms, Inspectors, KnownBy, Memory,
    ObjectId, Outcome, Ranges, Subject, Turn,
};
use crate::limits::{Admission, declared_type};
use crate::respond::body::Source;
use crate::respond::store_answer::bad_answer;
use crate::respond::withheld::{InspectedBody, Withheld, gives_out, hold, look_through, note_on};
use crate::respond::{Refusal, RefusalKind, Reply, relay};
use crate::s3::{Bucket, S3Call, S3ErrorCode};
use crate::sign::{Outbound, Signer};
use crate::upstream::{ReplyBody, UpstreamReply, Upstreams};

use held::{HeldBytes, NoRoom};
use state::{Extent, State, extent, window};

/// How often a read begins anew because the object changed meanwhile.
const ATTEMPTS: usize = 4;

/// Parameters that override what inspectors are told of an object.
const OVERRIDES: [&str; 2] = ["response-content-type", "response-content-encoding"];

/// What reads one object under inspection.
pub struct Reader<'a> {
    /// Signs the requests.
    pub signer: &'a Signer,
    /// Sends them.
    pub upstreams: &'a Upstreams,
    /// The admitted read.
    pub admission: &'a Admission,
    /// Where it goes.
    pub bucket: &'a Bucket,
    /// Who looks.
    pub inspectors: &'a Inspectors,
    /// What was found before.
    pub memory: &'a Arc<Memory>,
    /// Room for what is held.
    pub held: &'a HeldBytes,
    /// What the rule wants.
    pub terms: &'a InspectionTerms,
    /// How it wants it.
    pub ways: DownloadTerms,
}

/// Why a part of an object is not given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum NoPart {
    #[error("only whole objects are given out here")]
    Refused,
    #[error("the object has {length} bytes and was not inspected yet; up to {limit} it would be for a part of it")]
    TooLarge { length: u64, limit: u64 },
}

impl Reader<'_> {
    /// GetObject.
    ///
    /// # Errors
    /// [`Refusal`] if the object is not given out, or the store fails.
    pub async fn get(&self, ticket: &mut Ticket) -> Result<Reply, Refusal> {
        for _ in 0..ATTEMPTS {
            let outbound = self.signer.prepare(self.admission, self.bucket, &self.call().query, None)?;
            let reply = self.send(outbound, ticket).await?;
            if !reply.head.status.is_success() {
                // Without a byte of the object: 304 has none, an error becomes a text of our own.
                return relay::relay(reply, self.call(), self.region()).await;
            }
            let state = State::of(&reply.head);
            match extent(&reply.head, self.call().parameter("partNumber").is_some()) {
                Extent::Whole if !self.overrides() => return self.whole(reply, state, ticket).await,
                Extent::Whole | Extent::Part => {
                    if let Some(reply) = self.part(reply, state, ticket).await? {
                        return Ok(reply);
                    }
                }
                Extent::Unclear => return Err(bad_answer(&"an answer of success that does not say which part it is")),
            }
        }
        let message = "The object changes all the time. Try again.";
        Err(Refusal::new(
            S3ErrorCode::SlowDown,
            RefusalKind::Upstream,
            message,
            "the object changed while it was looked at",
        ))
    }

    /// Gives a whole object out, past the inspectors if need be.
    async fn whole(&self, reply: UpstreamReply, state: Option<State>, ticket: &mut Ticket) -> Result<Reply, Refusal> {
        let object = state.as_ref().and_then(|state| self.id(state));
        let length = state.and_then(|state| state.length).filter(|length| *length <= self.ways.hold);
        let Some(length) = length.filter(|length| *length <= self.held.limit()) else {
            // Not waited for: a large object is looked at as slowly as its reader takes it.
            if let Some(outcome) = object.and_then(|object| self.memory.recall(&object)) {
                return self.known(reply, &outcome, ticket);
            }
            let inspection = self.open(&reply.head, &reply.body, ticket).await?;
            let remember = object.map(|object| (Arc::clone(self.memory), object));
            let mut body = InspectedBody::new(reply.body, inspection, remember);
            body.prime(ticket).await.map_err(withheld)?;
            return Ok(relay::compose(reply.head, Source::Inspected(Box::new(body)), self.call(), self.region()));
        };
        let flight = match object {
            None => None,
            Some(object) => match self.memory.turn(object, self.principal()).await {
                Turn::Known(outcome) => return self.known(reply, &outcome, ticket),
                Turn::GivenUp => return Err(given_up()),
                Turn::Mine(flight) => Some(flight),
            },
        };
        let UpstreamReply { head, body, .. } = reply;
        let (bytes, outcome) = landed(flight, self.hold(&head, body, 0..length, ticket).await)?;
        note_on(ticket, &outcome, false);
        if !gives_out(&outcome) {
            return Err(outcome.as_ref().into());
        }
        Ok(relay::compose(head, Source::Full(bytes), self.call(), self.region()))
    }

    /// Takes these bytes of an object into memory, and waits for its verdict.
    async fn hold(
        &self,
        head: &Parts,
        body: ReplyBody,
        window: Range<u64>,
        ticket: &Ticket,
    ) -> Result<(Bytes, Arc<Outcome>), Refusal> {
        // The inspectors first: whoever waits for them must not take the room of objects that others look at.
        let inspection = self.open(head, &body, ticket).await?;
        let length = window.end - window.start;
        let place = self.held.take(self.principal(), length).await?;
        let (bytes, outcome) = hold(body, inspection, window).await.map_err(|error| broke_off(&error))?;
        Ok((place.keep(bytes), outcome))
    }

    /// Gives a part of an object out, or one whose headers are overridden, when the whole object has a verdict. `None` if the object changed
    /// meanwhile.
    async fn part(
        &self,
        reply: UpstreamReply,
        state: Option<State>,
        ticket: &mut Ticket,
    ) -> Result<Option<Reply>, Refusal> {
        let state = state.ok_or_else(|| bad_answer(&"a part of an object without its ETag"))?;
        if let Some(outcome) = self.id(&state).and_then(|object| self.memory.recall(&object)) {
            return self.known(reply, &outcome, ticket).map(Some);
        }
        if self.ways.ranges == Ranges::Refuse && !self.overrides() {
            return Err(NoPart::Refused.into());
        }
        let asked = reply.head;
        drop(reply.body);
        let state = match state.length {
            Some(_) => state,
            None => match self.look_up(&state, ticket).await? {
                Some(state) => state,
                None => return Ok(None),
            },
        };
        if let Some(length) = state.length.filter(|length| *length > self.ways.scan_up_to) {
            return Err(NoPart::TooLarge { length, limit: self.ways.scan_up_to }.into());
        }
        let Some(object) = self.id(&state) else {
            // It may change and look the same, so what is looked at need not be what a second request brings. Either that has an end, or
            // there must be no second request.
            let Some(settles_in) = state.settles_in else { return self.cut_out(&asked, &state, ticket).await };
            tokio::time::sleep(settles_in).await;
            return Ok(None);
        };
        let (outcome, remembered) = match self.memory.turn(object, self.principal()).await {
            Turn::Known(outcome) => (outcome, true),
            Turn::GivenUp => return Err(given_up()),
            Turn::Mine(flight) => match self.look(&state, ticket).await {
                Ok(Some(outcome)) => {
                    flight.land(&outcome);
                    (outcome, false)
                }
                Ok(None) => return Ok(None),
                Err(refusal) => {
                    flight.give_up();
                    return Err(refusal);
                }
            },
        };
        note_on(ticket, &outcome, remembered);
        if !gives_out(&outcome) {
            return Err(outcome.as_ref().into());
        }
        ticket.forget_upstream();
        let outbound = self.signer.prepare_pinned(self.admission, self.bucket, &state.etag)?;
        let reply = self.send(outbound, ticket).await?;
        if reply.head.status == StatusCode::PRECONDITION_FAILED || !is_of(&reply, &state) {
            return Ok(None);
        }
        relay::relay(reply, self.call(), self.region()).await.map(Some)
    }

    /// Gives a part out of the whole object while that is looked at. `None` if it changed. `asked` is the head of the part.
    async fn cut_out(&self, asked: &Parts, state: &State, ticket: &mut Ticket) -> Result<Option<Reply>, Refusal> {
        let Some(reply) = self.fetch(Method::GET, state, ticket).await? else { return Ok(None) };
        if !is_of(&reply, state) || extent(&reply.head, false) != Extent::Whole {
            return Ok(None);
        }
        let window = state.length.and_then(|length| window(asked, length));
        let window = window.ok_or_else(|| bad_answer(&"a part that is not in the object"))?;
        let wanted = window.end - window.start;
        let UpstreamReply { head, body, .. } = reply;
        if wanted > self.ways.hold.min(self.held.limit()) {
            let inspection = self.open(&head, &body, ticket).await?;
            let mut body = InspectedBody::new(body, inspection, None).only(window);
            body.prime(ticket).await.map_err(withheld)?;
            let head = part_head(head, asked, self.call());
            return Ok(Some(relay::compose(head, Source::Inspected(Box::new(body)), self.call(), self.region())));
        }
        let (bytes, outcome) = self.hold(&head, body, window, ticket).await?;
        note_on(ticket, &outcome, false);
        if !gives_out(&outcome) {
            return Err(outcome.as_ref().into());
        }
        if bytes.len() as u64 != wanted {
            return Err(bad_answer(&"an object that is shorter than its parts"));
        }
        Ok(Some(relay::compose(part_head(head, asked, self.call()), Source::Full(bytes), self.call(), self.region())))
    }

    /// Asks for the length of an object in this state. `None` if it changed.
    async fn look_up(&self, state: &State, ticket: &mut Ticket) -> Result<Option<State>, Refusal> {
        let reply = self.fetch(Method::HEAD, state, ticket).await?;
        let found = reply.filter(|reply| is_of(reply, state)).and_then(|reply| State::of(&reply.head));
        match found {
            Some(found) if found.length.is_none() => Err(bad_answer(&"an object without its length")),
            found => Ok(found),
        }
    }

    /// Reads an object in this state through the inspectors. `None` if it changed.
    async fn look(&self, state: &State, ticket: &mut Ticket) -> Result<Option<Arc<Outcome>>, Refusal> {
        let Some(reply) = self.fetch(Method::GET, state, ticket).await? else { return Ok(None) };
        if !is_of(&reply, state) || extent(&reply.head, false) != Extent::Whole {
            return Ok(None);
        }
        let inspection = self.open(&reply.head, &reply.body, ticket).await?;
        look_through(reply.body, inspection).await.map(Some).map_err(|error| broke_off(&error))
    }

    /// Asks for the whole object in this state. `None` if it changed.
    async fn fetch(
        &self,
        method: Method,
        state: &State,
        ticket: &mut Ticket,
    ) -> Result<Option<UpstreamReply>, Refusal> {
        ticket.forget_upstream();
        let outbound = self.signer.prepare_whole(method, self.admission, self.bucket, &state.etag)?;
        let reply = self.send(outbound, ticket).await?;
        match reply.head.status {
            StatusCode::PRECONDITION_FAILED => Ok(None),
            status if status.is_success() => Ok(Some(reply)),
            _ => Err(relay::read_error(reply, self.call()).await),
        }
    }

    /// Gives an object out, or not, by what is remembered of it.
    fn known(&self, reply: UpstreamReply, outcome: &Outcome, ticket: &mut Ticket) -> Result<Reply, Refusal> {
        note_on(ticket, outcome, true);
        if !gives_out(outcome) {
            return Err(outcome.into());
        }
        let body = Source::Store(Box::new(reply.body));
        Ok(relay::compose(reply.head, body, self.call(), self.region()))
    }

    async fn open(&self, head: &Parts, body: &ReplyBody, ticket: &Ticket) -> Result<Inspection, Refusal> {
        let permit = self.admission.permit();
        let encoding = head.headers.get(CONTENT_ENCODING).and_then(|value| value.to_str().ok());
        let subject = Subject {
            request_id: ticket.request_id().to_owned(),
            principal: permit.caller().principal().as_str().to_owned(),
            bucket: self.bucket.name.clone(),
            key: self.key().to_owned(),
            media_type: declared_type(&head.headers),
            content_encoding: encoding.map(str::to_owned),
            length: http_body::Body::size_hint(body).exact(),
            direction: Direction::Download,
        };
        Ok(self.inspectors.open(self.terms, subject).await?)
    }

    /// What the verdict about a state is remembered by; `None` if another object could have the same.
    fn id(&self, state: &State) -> Option<ObjectId> {
        Some(ObjectId::new(&KnownBy {
            upstream: &self.signer.route(self.bucket.route).name,
            bucket: &self.bucket.upstream_bucket,
            key: &format!("{}{}", self.bucket.upstream_prefix, self.key()),
            etag: state.etag.to_str().ok()?,
            version_id: state.version_id.as_deref(),
            last_modified: state.last_modified.as_deref(),
            length: state.length.filter(|_| state.is_settled())?,
            digest: &self.inspectors.version_digest(
                self.terms,
                &Circumstances {
                    principal: self.admission.permit().caller().principal().as_str(),
                    bucket: &self.bucket.name,
                    key: self.key(),
                    direction: Direction::Download,
                },
            ),
        }))
    }

    async fn send(&self, outbound: Outbound, ticket: &mut Ticket) -> Result<UpstreamReply, Refusal> {
        let reply = self.upstreams.send(outbound).await?;
        ticket.note_upstream(&reply.upstream, reply.head.status.as_u16(), reply.first_byte);
        Ok(reply)
    }

    fn call(&self) -> &S3Call {
        self.admission.permit().call()
    }

    fn principal(&self) -> &str {
        self.admission.permit().caller().principal().as_str()
    }

    fn key(&self) -> &str {
        self.call().resource.key().map_or("", |key| key.as_str())
    }

    fn region(&self) -> &str {
        &self.signer.route(self.bucket.route).region
    }

    /// Whether the answer has headers of the client's choice that inspectors go by.
    fn overrides(&self) -> bool {
        OVERRIDES.iter().any(|name| self.call().parameter(name).is_some())
    }
}

/// The head of a part that is cut out of a whole object: what was looked at says what the object is, what was asked for says which part it
/// is, and has the headers of the client's choice.
fn part_head(mut whole: Parts, asked: &Parts, call: &S3Call) -> Parts {
    const PARTS: HeaderName = HeaderName::from_static("x-amz-mp-parts-count");
    whole.status = asked.status;
    let overridden =
        call.query.iter().filter_map(|(name, _)| HeaderName::try_from(name.strip_prefix("response-")?).ok());
    for name in [CONTENT_RANGE, CONTENT_LENGTH, PARTS].into_iter().chain(overridden) {
        match asked.headers.get(&name) {
            Some(value) => drop(whole.headers.insert(name, value.clone())),
            None => drop(whole.headers.remove(name)),
        }
    }
    whole
}

/// Tells those who wait what a look came to.
fn landed(
    flight: Option<Flight>,
    looked: Result<(Bytes, Arc<Outcome>), Refusal>,
) -> Result<(Bytes, Arc<Outcome>), Refusal> {
    match (flight, &looked) {
        (Some(flight), Ok((_, outcome))) => flight.land(outcome),
        (Some(flight), Err(_)) => flight.give_up(),
        (None, _) => {}
    }
    looked
}

/// Whether an answer of success is about this state. Stores that overlook `If-Match` are found out here.
fn is_of(reply: &UpstreamReply, state: &State) -> bool {
    !reply.head.status.is_success() || State::of(&reply.head).is_some_and(|found| found.is(state))
}

impl From<NoRoom> for Refusal {
    fn from(error: NoRoom) -> Self {
        let message = "Too many objects are inspected at a time. Try again, more slowly.";
        Self::new(S3ErrorCode::SlowDown, RefusalKind::Limited, message, error)
    }
}

impl From<NoPart> for Refusal {
    fn from(error: NoPart) -> Self {
        let message = match error {
            NoPart::Refused => {
                "The object was not inspected yet, and parts of it are not given out before. Read it as a whole."
            }
            NoPart::TooLarge { .. } => {
                "The object was not inspected yet, and is too large to be inspected for a part of it. Read it as a whole."
            }
        };
        Self::new(S3ErrorCode::AccessDenied, RefusalKind::Blocked, message, error)
    }
}

fn given_up() -> Refusal {
    let message = "The object could not be inspected at the moment. Try again.";
    Refusal::new(S3ErrorCode::SlowDown, RefusalKind::Limited, message, "another request looked at it, and gave up")
}

fn withheld(why: Withheld) -> Refusal {
    match why {
        Withheld::Store(error) => broke_off(&error),
        Withheld::Rejected(outcome) => outcome.as_ref().into(),
    }
}

fn broke_off(error: &dyn std::fmt::Display) -> Refusal {
    Refusal::new(S3ErrorCode::BadGateway, RefusalKind::Upstream, "The store broke off the object. Try again.", error)
}

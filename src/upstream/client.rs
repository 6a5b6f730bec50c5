//! Sends a request: takes a connection, watches the upload, waits for the head of the answer.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, Request};
use hyper::Response;
use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, MissedTickBehavior, timeout_at};

use crate::base::RouteId;
use crate::body::{Fault, UploadWatch};
use crate::breaker::Breaker;
use crate::dial::{self, AddressPolicy, DialError, Dialer};
use crate::flow::{Budget, Paced};
use crate::sign::{Outbound, OutboundBody};
use crate::telemetry::Seldom;
use crate::telemetry::trace::Call;
use crate::upstream::error::UpstreamError;
use crate::upstream::pool::{Connection, Pool};
use crate::upstream::repeat::Repeat;
use crate::upstream::reply::{Lease, ReplyBody, UpstreamReply};
use crate::upstream::settings::UpstreamSettings;
use crate::upstream::slots::Slots;

/// How long a store may work on a copy or put an upload together before its answer begins. S3 takes minutes for the largest.
const LONG_WORK: Duration = Duration::from_secs(600);
/// How often a running upload is looked at.
const TICK: Duration = Duration::from_millis(500);

/// Every upstream, by [`RouteId`].
#[derive(Debug)]
pub struct Upstreams(Vec<Arc<Upstream>>);

impl Upstreams {
    /// Upstreams in the order of their identifiers; `budget` is what the bodies of all connections share.
    ///
    /// # Errors
    /// [`DialError`] if an upstream's certificate authorities cannot be read.
    pub fn new(settings: Vec<UpstreamSettings>, budget: &Arc<Budget>) -> Result<Self, DialError> {
        settings
            .into_iter()
            .map(|settings| Upstream::new(settings, Arc::clone(budget)).map(Arc::new))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The same stores as [`Self::new`] makes, but those that `previous` has and that would work alike, with their connections, queues and
    /// breakers. `is_stale` tells of a file whether it holds something else than at that time.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn after(
        settings: Vec<UpstreamSettings>,
        budget: &Arc<Budget>,
        previous: &Self,
        is_stale: impl Fn(&std::path::Path) -> bool,
    ) -> Result<Self, DialError> {
        let upstream = |settings: UpstreamSettings| {
            let trusts_alike = settings.ca_file.as_deref().is_none_or(|file| !is_stale(file));
            let same = previous.0.iter().find(|old| trusts_alike && old.settings.connects_like(&settings));
            same.map_or_else(|| Upstream::new(settings, Arc::clone(budget)).map(Arc::new), |old| Ok(Arc::clone(old)))
        };
        settings.into_iter().map(upstream).collect::<Result<_, _>>().map(Self)
    }

    /// The upstream of an identifier.
    pub fn get(&self, route: RouteId) -> &Upstream {
        &self.0[route.0]
    }

    /// How each upstream is doing.
    pub fn states(&self) -> impl Iterator<Item = UpstreamState<'_>> {
        self.0.iter().map(|upstream| upstream.state())
    }

    /// Sends a request to its upstream.
    ///
    /// # Errors
    /// [`UpstreamError`] if there is no answer.
    pub async fn send(&self, outbound: Outbound) -> Result<UpstreamReply, UpstreamError> {
        let upstream = self.get(outbound.route());
        match Call::begin() {
            None => upstream.send(outbound).await,
            Some(call) => Box::pin(upstream.send_traced(outbound, call)).await,
        }
    }
}

/// How an upstream is doing, for metrics.
#[derive(Debug, Clone, Copy)]
pub struct UpstreamState<'a> {
    /// Its name.
    pub name: &'a str,
    /// Whether it is not asked after failures in a row.
    pub resting: bool,
    /// How often that happened.
    pub trips: u64,
    /// Requests that hold a connection.
    pub in_flight: usize,
    /// Requests that wait for one.
    pub waiting: usize,
}

/// One store.
#[derive(Debug)]
pub struct Upstream {
    settings: UpstreamSettings,
    /// That of the settings, shared with each answer.
    name: Arc<str>,
    dialer: Dialer,
    budget: Arc<Budget>,
    pool: Arc<Pool>,
    slots: Slots,
    breaker: Breaker,
    unknown_length_slots: Arc<Semaphore>,
    /// Of requests that it failed.
    failures: Seldom,
}

impl Upstream {
    /// A store without connections yet.
    ///
    /// # Errors
    /// [`DialError`] if its certificate authorities cannot be read.
    pub fn new(settings: UpstreamSettings, budget: Arc<Budget>) -> Result<Self, DialError> {
        let dialer = Dialer::new(dial::Settings {
            host: settings.host.clone(),
            port: settings.port,
            tls: settings.tls,
            ca_file: settings.ca_file.clone(),
            connect_timeout: settings.connect_timeout,
            addresses: AddressPolicy::Any,
        })?;
        let pool = Arc::new(Pool::new(settings.pool_idle_timeout));
        let slots = Slots::new(settings.max_connections, settings.max_waiting, settings.connect_timeout);
        let breaker = Breaker::new(settings.breaker);
        let unknown_length_slots = Arc::new(Semaphore::new(settings.unknown_length_uploads));
        let (failures, name) = (Seldom::default(), settings.name.as_str().into());
        Ok(Self { settings, name, dialer, budget, pool, slots, breaker, unknown_length_slots, failures })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether to tell the operator now that it failed a request; then how many that was not done of.
    pub fn tell_of_failure(&self) -> Option<u64> {
        self.failures.now()
    }

    /// A place among the uploads of unknown length, each of which keeps a part in memory. `None` if all are taken.
    pub fn try_unknown_length_slot(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.unknown_length_slots).try_acquire_owned().ok()
    }

    /// Most uploads of unknown length at a time.
    pub fn unknown_length_uploads(&self) -> usize {
        self.settings.unknown_length_uploads
    }

    fn state(&self) -> UpstreamState<'_> {
        UpstreamState {
            name: &self.settings.name,
            resting: self.breaker.is_open(),
            trips: self.breaker.trips(),
            in_flight: self.slots.taken(),
            waiting: self.slots.waiting(),
        }
    }

    /// As [`Upstream::send`], as a part of a trace that the store is told of. Its span ends with the head of the answer.
    async fn send_traced(&self, mut outbound: Outbound, call: Call) -> Result<UpstreamReply, UpstreamError> {
        if let Some((parent, state)) = call.headers() {
            outbound.add_trace(parent, state);
        }
        let method = outbound.method().clone();
        let outcome = self.send(outbound).await;
        let attributes = || {
            let mut attributes = vec![
                ("http.request.method", method.as_str().into()),
                ("server.address", self.settings.host.as_str().into()),
                ("server.port", u64::from(self.settings.port).into()),
                ("countersign.upstream", self.settings.name.as_str().into()),
            ];
            if let Ok(reply) = &outcome {
                attributes.push(("http.response.status_code", u64::from(reply.head.status.as_u16()).into()));
            }
            attributes
        };
        // To a client every status from 400 on is an error; what the caller makes of it is another matter.
        let error = match &outcome {
            Ok(reply) => reply.head.status.as_u16().checked_sub(400).map(|_| reply.head.status.to_string()),
            Err(error) => Some(error.to_string()),
        };
        call.end(method.as_str(), attributes, error);
        outcome
    }

    async fn send(&self, outbound: Outbound) -> Result<UpstreamReply, UpstreamError> {
        // A store that is not asked has perhaps no free slot either: no reason to wait for one.
        self.breaker.check(std::time::Instant::now).map_err(|wait| self.resting(wait))?;
        let slot = self.take_slot().await?;
        self.breaker.admit(std::time::Instant::now).map_err(|wait| self.resting(wait))?;
        let takes_long = outbound.takes_long();
        let outcome = self.send_on(outbound, slot).await;
        // How long a copy takes is the client's choice of an object, and says nothing about the store.
        if !(takes_long && matches!(outcome, Err(UpstreamError::NoAnswer { .. }))) {
            self.note_health(&outcome);
        }
        outcome
    }

    /// Tells the breaker what a request says about the store, if it says anything. Failures are what only the store or the way to it can
    /// have caused: no connection, no answer in time, no progress in time, an error of something before the store. Any answer of the store
    /// itself is one; what a client can cause counts as neither.
    fn note_health(&self, outcome: &Result<UpstreamReply, UpstreamError>) {
        use UpstreamError as Error;
        let upstream = self.settings.name.as_str();
        match outcome {
            Ok(reply) if !is_foreign_error(&reply.head) => {
                if self.breaker.note_answer() {
                    tracing::info!(upstream, "the store answers again");
                }
            }
            Ok(_) | Err(Error::Connect { .. } | Error::NoAnswer { .. } | Error::Stalled { .. }) => {
                if self.breaker.note_failure(Instant::now().into_std()) {
                    tracing::warn!(upstream, "the store fails again and again; only probes go there until it answers");
                }
            }
            // A request of a client may have made it close the connection; the other two never reached it.
            Err(Error::Broken { .. } | Error::Upload(_) | Error::Busy { .. } | Error::Resting { .. }) => {}
        }
    }

    async fn send_on(&self, outbound: Outbound, slot: OwnedSemaphorePermit) -> Result<UpstreamReply, UpstreamError> {
        let watch = outbound.watch().cloned();
        let credentials = Arc::clone(outbound.credentials());
        let started = Instant::now();
        let patience = if outbound.takes_long() { LONG_WORK } else { self.settings.first_byte_timeout };
        let (carries_body, request) = self.pace(outbound);
        let (response, connection) = self.exchange(request, watch.as_deref(), started, patience).await?;
        let whole = self.settle(&response, watch.as_deref()).await?;
        // A store that refuses a body may never read it, or read it as the next request: then the answers would no longer fit the requests.
        let read_whole = whole && (response.status().is_success() || !carries_body);
        let reusable = read_whole && is_framed_once(response.headers());
        let (head, incoming) = response.into_parts();
        let lease = Lease::new(connection, Arc::clone(&self.pool), slot, reusable);
        let body = ReplyBody::new(incoming, lease, self.settings.idle_timeout);
        let (upstream, first_byte) = (Arc::clone(&self.name), started.elapsed());
        Ok(UpstreamReply { head, body, upstream, credentials, first_byte })
    }

    /// Puts the body under the budget; tells whether there is one.
    fn pace(&self, outbound: Outbound) -> (bool, Box<Request<Paced<OutboundBody>>>) {
        let request = outbound.into_request();
        let carries_body = !matches!(request.body(), OutboundBody::Empty);
        (carries_body, Box::new(request.map(|body| Paced::new(body, Arc::clone(&self.budget)))))
    }

    async fn take_slot(&self) -> Result<OwnedSemaphorePermit, UpstreamError> {
        self.slots.take().await.ok_or_else(|| UpstreamError::Busy {
            upstream: self.settings.name.clone(),
            limit: self.settings.max_connections,
            waiting: self.slots.waiting(),
        })
    }

    fn resting(&self, wait: Duration) -> UpstreamError {
        UpstreamError::Resting { upstream: self.settings.name.clone(), wait }
    }

    /// Sends until a connection takes the request. Tries again only on a connection that the store was just closing: with what hyper gives
    /// back, of which nothing was sent, or with a request that does no harm twice.
    async fn exchange(
        &self,
        request: Box<Request<Paced<OutboundBody>>>,
        watch: Option<&UploadWatch>,
        started: Instant,
        patience: Duration,
    ) -> Result<(Response<Incoming>, Connection), UpstreamError> {
        let (mut request, mut now) = (request, started);
        loop {
            let mut connection = match self.pool.take(now).await {
                Some(connection) => connection,
                // Boxed, so that the upload that follows does not carry the room for it.
                None => {
                    let opened = Box::pin(self.open()).await?;
                    now = Instant::now();
                    opened
                }
            };
            // A new connection was not closed before the request came, so that nothing is sent twice on it.
            let again = if connection.is_reused() { Repeat::of(&request) } else { None };
            // Pinned here, because it has room for a whole request, and would be copied from function to function.
            let sending = pin!(connection.sender().try_send_request(*request));
            let outcome = match watch {
                Some(watch) => self.watch_upload(sending, watch).await?,
                None => timeout_at(now + patience, sending).await.map_err(|_| self.no_answer(patience))?,
            };
            let mut refused = match outcome {
                Ok(response) => return Ok((response, connection)),
                Err(refused) => refused,
            };
            *request = match (refused.take_message(), again) {
                (Some(unsent), _) if connection.is_reused() => unsent,
                (None, Some(again)) => again.into_request(&self.budget),
                _ => return Err(self.broken(refused.into_error(), watch)),
            };
            now = Instant::now();
        }
    }

    async fn open(&self) -> Result<Connection, UpstreamError> {
        let opened = Connection::open(&self.dialer, Arc::clone(&self.budget)).await;
        opened.map_err(|source| UpstreamError::Connect { upstream: self.settings.name.clone(), source })
    }

    fn broken(&self, source: hyper::Error, watch: Option<&UploadWatch>) -> UpstreamError {
        match watch.and_then(UploadWatch::fault) {
            Some(fault) if *fault != Fault::Superseded => UpstreamError::Upload(fault.clone()),
            _ => UpstreamError::Broken { upstream: self.settings.name.clone(), source },
        }
    }

    /// Waits for the answer to an upload. The store has its time for an answer from the last byte on; until then it must keep taking
    /// bytes whenever there are some.
    async fn watch_upload<T>(&self, sending: impl Future<Output = T>, watch: &UploadWatch) -> Result<T, UpstreamError> {
        tokio::pin!(sending);
        // Not `interval`, whose first tick is an alarm before all others: it would wake the thread that waits for sockets.
        let mut tick = tokio::time::interval_at(Instant::now() + TICK, TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut steps, mut since) = (watch.steps(), Instant::now());
        loop {
            tokio::select! {
                biased;
                outcome = &mut sending => return Ok(outcome),
                _ = tick.tick() => {}
            }
            if watch.steps() != steps || (watch.is_waiting_for_others() && !watch.is_complete()) {
                (steps, since) = (watch.steps(), Instant::now());
            } else if watch.is_complete() && since.elapsed() >= self.settings.first_byte_timeout {
                return Err(self.no_answer(self.settings.first_byte_timeout));
            } else if !watch.is_complete() && since.elapsed() >= self.settings.idle_timeout {
                return Err(self.stalled());
            }
        }
    }

    /// Brings an upload to its end after the head of the answer came. Returns whether the store gets everything.
    ///
    /// A refusal makes the rest of the body pointless. A success before the end is odd, but counts only if the rest goes through.
    async fn settle(&self, response: &Response<Incoming>, watch: Option<&UploadWatch>) -> Result<bool, UpstreamError> {
        let Some(watch) = watch else { return Ok(true) };
        if watch.is_complete() {
            return Ok(true);
        }
        if !response.status().is_success() {
            watch.supersede();
            return Ok(false);
        }
        self.watch_upload(watch.ended(), watch).await?;
        match watch.fault() {
            Some(fault) => Err(UpstreamError::Upload(fault.clone())),
            // Kept, because closing it would take back what the store has not read yet.
            None => Ok(true),
        }
    }

    fn no_answer(&self, patience: Duration) -> UpstreamError {
        UpstreamError::NoAnswer { upstream: self.settings.name.clone(), seconds: patience.as_secs() }
    }

    fn stalled(&self) -> UpstreamError {
        UpstreamError::Stalled { upstream: self.settings.name.clone(), seconds: self.settings.idle_timeout.as_secs() }
    }
}

/// Whether something before the store answered in its place: a proxy's error with a page for people, not an S3 error document. Without a
/// type nothing can be told. A 500 is left out: one client's request may provoke it.
fn is_foreign_error(head: &http::response::Parts) -> bool {
    let is_xml =
        |value: &http::HeaderValue| value.as_bytes().to_ascii_lowercase().windows(3).any(|part| part == b"xml");
    let content_type = head.headers.get(http::header::CONTENT_TYPE);
    matches!(head.status.as_u16(), 502..=504) && content_type.is_some_and(|value| !is_xml(value))
}

/// Whether the end of an answer has one reading. hyper takes `Transfer-Encoding: chunked` twice for once, and a length beside it for
/// nothing; a proxy on the way may see the answer end elsewhere, and send us the rest of it as the next one (G06).
fn is_framed_once(headers: &HeaderMap) -> bool {
    let lengths = headers.get_all(CONTENT_LENGTH).iter().count();
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => lengths <= 1,
        (Some(coding), None) => lengths == 0 && coding.as_bytes().eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => false,
    }
}

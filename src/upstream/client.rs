//! Sends a request: takes a connection, watches the upload, waits for the head of the answer.

use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::Response;
use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, MissedTickBehavior};

use crate::base::RouteId;
use crate::body::{Fault, UploadWatch};
use crate::dial::{self, AddressPolicy, DialError, Dialer};
use crate::sign::{Outbound, OutboundBody};
use crate::upstream::error::UpstreamError;
use crate::upstream::pool::{Connection, Pool};
use crate::upstream::reply::{Lease, ReplyBody, UpstreamReply};
use crate::upstream::settings::UpstreamSettings;

/// How often a running upload is looked at.
const TICK: Duration = Duration::from_millis(500);

/// Every upstream, by [`RouteId`].
#[derive(Debug)]
pub struct Upstreams(Vec<Upstream>);

impl Upstreams {
    /// Upstreams in the order of their identifiers.
    ///
    /// # Errors
    /// [`DialError`] if an upstream's certificate authorities cannot be read.
    pub fn new(settings: Vec<UpstreamSettings>) -> Result<Self, DialError> {
        settings.into_iter().map(Upstream::new).collect::<Result<_, _>>().map(Self)
    }

    /// The upstream of an identifier.
    pub fn get(&self, route: RouteId) -> &Upstream {
        &self.0[route.0]
    }

    /// Sends a request to its upstream.
    ///
    /// # Errors
    /// [`UpstreamError`] if there is no answer.
    pub async fn send(&self, outbound: Outbound) -> Result<UpstreamReply, UpstreamError> {
        self.get(outbound.route()).send(outbound).await
    }
}

/// One store.
#[derive(Debug)]
pub struct Upstream {
    settings: UpstreamSettings,
    dialer: Dialer,
    pool: Arc<Pool>,
    slots: Arc<Semaphore>,
    unknown_length_slots: Arc<Semaphore>,
}

impl Upstream {
    /// A store without connections yet.
    ///
    /// # Errors
    /// [`DialError`] if its certificate authorities cannot be read.
    pub fn new(settings: UpstreamSettings) -> Result<Self, DialError> {
        let dialer = Dialer::new(dial::Settings {
            host: settings.host.clone(),
            port: settings.port,
            tls: settings.tls,
            ca_file: settings.ca_file.clone(),
            connect_timeout: settings.connect_timeout,
            addresses: AddressPolicy::Any,
        })?;
        let pool = Arc::new(Pool::new(settings.pool_idle_timeout));
        let slots = Arc::new(Semaphore::new(settings.max_connections));
        let unknown_length_slots = Arc::new(Semaphore::new(settings.unknown_length_uploads));
        Ok(Self { settings, dialer, pool, slots, unknown_length_slots })
    }

    /// A place among the uploads of unknown length, each of which keeps a part in memory. `None` if all are taken.
    pub fn try_unknown_length_slot(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.unknown_length_slots).try_acquire_owned().ok()
    }

    /// Most uploads of unknown length at a time.
    pub fn unknown_length_uploads(&self) -> usize {
        self.settings.unknown_length_uploads
    }

    async fn send(&self, outbound: Outbound) -> Result<UpstreamReply, UpstreamError> {
        let slot = self.take_slot().await?;
        let watch = outbound.watch().cloned();
        let started = Instant::now();
        let request = outbound.into_request();
        let carries_body = !matches!(request.body(), OutboundBody::Empty);
        let (response, connection) = self.exchange(request, watch.as_deref()).await?;
        let whole = self.settle(&response, watch.as_deref()).await?;
        // A store that refuses a body may never read it, or read it as the next request: then the answers would no longer fit the requests.
        let reusable = whole && (response.status().is_success() || !carries_body);
        let (head, incoming) = response.into_parts();
        let lease = Lease::new(connection, Arc::clone(&self.pool), slot, reusable);
        let body = ReplyBody::new(incoming, lease, self.settings.idle_timeout);
        Ok(UpstreamReply { head, body, upstream: self.settings.name.clone(), first_byte: started.elapsed() })
    }

    async fn take_slot(&self) -> Result<OwnedSemaphorePermit, UpstreamError> {
        let busy =
            || UpstreamError::Busy { upstream: self.settings.name.clone(), limit: self.settings.max_connections };
        let slot = tokio::time::timeout(self.settings.connect_timeout, Arc::clone(&self.slots).acquire_owned()).await;
        slot.map_err(|_| busy())?.map_err(|_| busy())
    }

    /// Sends until a connection takes the request. Tries again only when nothing of the request can have reached the store: hyper gives
    /// the request back, or it had no body and met a connection that the store was just closing.
    async fn exchange(
        &self,
        request: Request<OutboundBody>,
        watch: Option<&UploadWatch>,
    ) -> Result<(Response<Incoming>, Connection), UpstreamError> {
        let mut request = request;
        loop {
            let mut connection = match self.pool.take().await {
                Some(connection) => connection,
                None => self.open().await?,
            };
            let again = repeatable(&request);
            let sending = connection.sender().try_send_request(request);
            let outcome = match watch {
                Some(watch) => self.watch_upload(sending, watch).await?,
                None => self.within_first_byte(sending).await?,
            };
            let mut refused = match outcome {
                Ok(response) => return Ok((response, connection)),
                Err(refused) => refused,
            };
            request = match (refused.take_message(), again) {
                (Some(unsent), _) if connection.is_reused() => unsent,
                (None, Some(again)) if connection.is_reused() => again,
                _ => return Err(self.broken(refused.into_error(), watch)),
            };
        }
    }

    async fn open(&self) -> Result<Connection, UpstreamError> {
        // Boxed, because it is rare, and every request is as large as its largest part.
        let opened = Box::pin(Connection::open(&self.dialer)).await;
        opened.map_err(|source| UpstreamError::Connect { upstream: self.settings.name.clone(), source })
    }

    fn broken(&self, source: hyper::Error, watch: Option<&UploadWatch>) -> UpstreamError {
        match watch.and_then(UploadWatch::fault) {
            Some(fault) if *fault != Fault::Superseded => UpstreamError::Upload(fault.clone()),
            _ => UpstreamError::Broken { upstream: self.settings.name.clone(), source },
        }
    }

    async fn within_first_byte<T>(&self, sending: impl Future<Output = T>) -> Result<T, UpstreamError> {
        tokio::time::timeout(self.settings.first_byte_timeout, sending).await.map_err(|_| self.no_answer())
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
            if watch.steps() != steps || (watch.is_waiting_for_client() && !watch.is_complete()) {
                (steps, since) = (watch.steps(), Instant::now());
            } else if watch.is_complete() && since.elapsed() >= self.settings.first_byte_timeout {
                return Err(self.no_answer());
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

    fn no_answer(&self) -> UpstreamError {
        UpstreamError::NoAnswer {
            upstream: self.settings.name.clone(),
            seconds: self.settings.first_byte_timeout.as_secs(),
        }
    }

    fn stalled(&self) -> UpstreamError {
        UpstreamError::Stalled { upstream: self.settings.name.clone(), seconds: self.settings.idle_timeout.as_secs() }
    }
}

/// A second copy of a request, if repeating it does no harm: GET, HEAD and DELETE find what the first one left, and a part that is in
/// memory replaces itself. A POST is never repeated, nor a body that streams.
fn repeatable(request: &Request<OutboundBody>) -> Option<Request<OutboundBody>> {
    let body = match request.body() {
        OutboundBody::Empty => OutboundBody::Empty,
        OutboundBody::Buffered(pieces) => OutboundBody::Buffered(pieces.clone()),
        OutboundBody::Upload(_) => return None,
    };
    let empty_put = request.method() == http::Method::PUT && matches!(body, OutboundBody::Empty);
    if request.method() == http::Method::POST || empty_put {
        return None;
    }
    let mut copy = Request::new(body);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}

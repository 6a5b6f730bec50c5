//! Objects that wait at a hidden key until the inspectors have seen them whole.
//!
//! The parts of a multipart upload come in any order and no single one says what the object is, so they go to a hidden key in the same
//! bucket of the store. When the upload is completed the object is put together there, read through the inspectors, and copied to its
//! place by the store itself. What a client puts in one piece waits there too if its verdict decides where it goes, or with which mark.
//! The hidden object is the only state: a gateway that is started anew goes on where another one ended.
//! Why so: docs/decisions/0013-staged-uploads.md.

mod complete;
mod copy;
mod ended;
mod hidden;
mod listed;
mod look;
mod places;
mod publish;
mod put;
mod quarantine;
pub mod sweep;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use http::HeaderMap;
use tokio::sync::{OwnedMutexGuard, watch};

use self::ended::Ended;
use self::hidden::Hidden;
use self::places::Places;
use crate::base::RouteId;
use crate::inspect::{Inspectors, MultipartInspection, Outcome};
use crate::multipart::Carrier;
use crate::multipart::calls::client;
use crate::respond::late::{Finished, UpstreamNote};
use crate::respond::{Refusal, RefusalKind};
use crate::rules::{Permit, StagedUpload, UploadSeal};
use crate::s3::{Bucket, S3ErrorCode, StagingKey};
use crate::sign::staged::kept_headers;

pub use complete::complete;
pub use copy::copy;
pub use hidden::StoredPart;
pub use listed::open_uploads;
pub use places::Seat;
pub(in crate::multipart) use publish::checksums_of;
pub use put::{begin_put, finish_put};

/// Most buckets of stores that the sweeper remembers.
const MAX_BUCKETS: usize = 10_000;

/// Longest headers of an object that its upload id carries.
const MAX_KEPT_BYTES: usize = 2 * 1024;

/// What the way from a hidden key to its end came to.
#[derive(Debug, Clone)]
struct Done {
    /// The headers for the client and the document, or why there is none.
    outcome: Result<(HeaderMap, String), Refusal>,
    inspection: Option<Arc<Outcome>>,
    upstream: Option<UpstreamNote>,
}

impl Done {
    /// Whether there is an answer for those who ask the same again. After a failure of the store the next attempt goes on instead.
    fn is_final(&self) -> bool {
        let is_final =
            |refusal: &Refusal| refusal.kind == RefusalKind::Blocked || refusal.code == S3ErrorCode::EntityTooLarge;
        self.outcome.as_ref().map_or_else(is_final, |_| true)
    }

    /// Whether it was refused because an inspector failed. The hidden object is still there for another look.
    fn is_undecided(&self) -> bool {
        self.inspection.as_ref().is_some_and(|outcome| outcome.is_undecided())
    }
}

impl From<Done> for Finished {
    fn from(done: Done) -> Self {
        Self { outcome: done.outcome, upstream: done.upstream, inspection: done.inspection }
    }
}

/// Whose turn it is at places, by upstream and path there.
type Turns = HashMap<(RouteId, String), Arc<tokio::sync::Mutex<()>>>;

/// Everything that is on its way from a hidden key.
pub struct Staging {
    inspectors: Arc<Inspectors>,
    /// The buckets of stores that may hold hidden objects, by upstream and name there.
    buckets: Mutex<HashMap<(RouteId, String), Arc<Bucket>>>,
    /// The upstreams that give copied parts other digests than those had that came in.
    other_digests: Mutex<HashSet<RouteId>>,
    // What follows outlives a configuration: what is on its way under one is seen by requests under the next.
    running: Arc<Mutex<HashMap<StagingKey, Running>>>,
    /// The places for which a condition is being asked or relied on.
    conditional: Arc<Mutex<Turns>>,
    ended: Arc<Mutex<Ended>>,
    /// What the uploads are for that were listed.
    keys: Arc<Mutex<listed::Keys>>,
    places: Arc<Places>,
}

/// What waits for an object on its way.
type Seen = watch::Receiver<Option<Done>>;

/// An object on its way, as others find it.
struct Running {
    asked: Option<Vec<u8>>,
    seen: Seen,
}

/// What is to be brought on its way, for whom.
struct Way {
    key: StagingKey,
    request_id: String,
    principal: String,
    /// A digest of the request, if the client may repeat it for the same hidden object.
    asked: Option<Vec<u8>>,
    /// A place that was taken before.
    seat: Option<Seat>,
}

impl Staging {
    /// Nothing is on its way yet; rules want objects staged in these buckets.
    pub fn new(inspectors: Arc<Inspectors>, buckets: impl IntoIterator<Item = Arc<Bucket>>) -> Self {
        let staging = Self {
            inspectors,
            buckets: Mutex::default(),
            other_digests: Mutex::default(),
            running: Arc::default(),
            conditional: Arc::default(),
            ended: Arc::default(),
            keys: Arc::new(Mutex::new(listed::no_keys())),
            places: Arc::default(),
        };
        buckets.into_iter().for_each(|bucket| staging.note(&bucket));
        staging
    }

    /// Those who look at what is on its way.
    pub(super) fn inspectors(&self) -> &Inspectors {
        &self.inspectors
    }

    /// The same with all that is on its way under another configuration, and what was learnt of its stores. `moved` tells where a store of
    /// that configuration is in this one.
    #[must_use]
    pub fn after(mut self, previous: &Self, moved: impl Fn(RouteId) -> Option<RouteId>) -> Self {
        self.running = Arc::clone(&previous.running);
        self.ended = Arc::clone(&previous.ended);
        self.keys = Arc::clone(&previous.keys);
        self.places = Arc::clone(&previous.places);
        let learnt = previous.other_digests.lock().unwrap_or_else(PoisonError::into_inner);
        self.other_digests = Mutex::new(learnt.iter().filter_map(|route| moved(*route)).collect());
        let seen: Vec<_> = previous.buckets.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        for bucket in &seen {
            if let Some(route) = moved(bucket.route) {
                self.note(&Arc::new(Bucket { route, ..Bucket::clone(bucket) }));
            }
        }
        // The turns are by number of the store.
        if seen.iter().all(|bucket| moved(bucket.route) == Some(bucket.route)) {
            self.conditional = Arc::clone(&previous.conditional);
        }
        self
    }

    /// Remembers a bucket for the sweeper: which ones the pass-through mapping has is not in the configuration.
    fn note(&self, bucket: &Arc<Bucket>) {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let place = (bucket.route, bucket.upstream_bucket.clone());
        if buckets.len() < MAX_BUCKETS || buckets.contains_key(&place) {
            buckets.insert(place, Arc::clone(bucket));
        }
    }

    fn note_other_digests(&self, upstream: RouteId) {
        self.other_digests.lock().unwrap_or_else(PoisonError::into_inner).insert(upstream);
    }

    fn keeps_digests(&self, upstream: RouteId) -> bool {
        !self.other_digests.lock().unwrap_or_else(PoisonError::into_inner).contains(&upstream)
    }

    /// Waits until no other copy that has a condition goes to this place. Between the question whether a condition holds and the copy that
    /// relies on it, another one would make it false; stores that forget conditions of a copy would not notice.
    async fn alone_at(&self, upstream: RouteId, path: String) -> OwnedMutexGuard<()> {
        let turn = {
            let mut places = self.conditional.lock().unwrap_or_else(PoisonError::into_inner);
            places.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(places.entry((upstream, path)).or_default())
        };
        turn.lock_owned().await
    }

    /// Waits until nothing is on its way any more.
    pub async fn drained(&self) {
        self.places.all_free().await;
    }

    /// A digest of what the rule of an upload wants inspected; `None` if nothing. What was looked at under one is not completed under another.
    pub(super) fn digest_of(&self, permit: &Permit) -> Option<String> {
        let terms = permit.terms().inspection.as_ref().filter(|terms| terms.uploads)?;
        Some(self.inspectors.upload_digest(terms))
    }

    /// Brings an object on its way, in a task of its own: a client that goes away does not end it. The same request for the same object waits
    /// for the first, and a while later gets the same answer.
    fn run(self: &Arc<Self>, way: Way, work: impl Future<Output = Done> + Send + 'static) -> Result<Seen, Refusal> {
        let Way { key, request_id, principal, asked, seat } = way;
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        match running.get(&key) {
            Some(other) if other.asked != asked => {
                let message = "The upload is being completed with other parts.";
                return Err(client(S3ErrorCode::InvalidPart, message));
            }
            Some(same) => return Ok(same.seen.clone()),
            None => {}
        }
        if let Some(done) = asked.as_ref().and_then(|asked| self.recall(&key, asked)) {
            return Ok(watch::channel(Some(done)).1);
        }
        let seat = seat.map_or_else(|| self.places.take(&principal), Ok)?;
        let (told, seen) = watch::channel(None);
        running.insert(key.clone(), Running { asked: asked.clone(), seen: seen.clone() });
        let entry = Entry { staging: Arc::clone(self), key, _seat: seat };
        tokio::spawn(async move {
            let done = work.await;
            if let Err(refusal) = &done.outcome {
                tracing::debug!(request_id, key = entry.key.as_str(), reason = %refusal.reason, "a staged object did not get to its place");
            }
            let key = entry.key.clone();
            if let Some(asked) = asked.filter(|_| done.is_final()) {
                // Before it is not on its way any more: whoever asks finds it in one place or the other.
                let mut ended = entry.staging.ended.lock().unwrap_or_else(PoisonError::into_inner);
                ended.keep(key.clone(), asked, done.clone(), Instant::now());
            }
            drop(entry);
            if told.receiver_count() == 0 {
                let verdict = done.inspection.as_ref().map(ToString::to_string).unwrap_or_default();
                let stored = done.outcome.is_ok();
                tracing::info!(
                    request_id,
                    key = key.as_str(),
                    stored,
                    verdict,
                    "a staged object came to its end after its client had gone"
                );
            }
            told.send_replace(Some(done));
        });
        Ok(seen)
    }

    /// What the same request came to before. The store is not asked again.
    fn recall(&self, key: &StagingKey, asked: &[u8]) -> Option<Done> {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.recall(key, asked, Instant::now()).map(|done| Done { upstream: None, ..done })
    }
}

/// An object on its way; it is no more when this is dropped, a panic included.
struct Entry {
    staging: Arc<Staging>,
    key: StagingKey,
    _seat: Seat,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.staging.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

async fn wait(mut seen: Seen) -> Finished {
    let done = seen.wait_for(Option::is_some).await.ok().and_then(|done| done.clone());
    done.map_or_else(
        || Finished { outcome: Err(internal("a staged object was lost")), upstream: None, inspection: None },
        Finished::from,
    )
}

/// How a new multipart upload begins: at a hidden key, if the rule wants its objects looked at as a whole.
///
/// # Errors
/// [`Refusal`] if the rule takes no multipart uploads, or a header cannot be kept until the end.
pub fn begin(carrier: &Carrier) -> Result<Option<StagedUpload>, Refusal> {
    let inspection = carrier.admission.terms().inspection.as_ref().filter(|terms| terms.uploads);
    match inspection.map(|terms| terms.multipart) {
        None | Some(MultipartInspection::PerPart) => Ok(None),
        Some(MultipartInspection::Deny) => {
            let message = "Uploads in parts are not accepted here. Upload the object in one piece.";
            Err(Refusal::new(
                S3ErrorCode::AccessDenied,
                RefusalKind::Denied,
                message,
                "the rule denies multipart uploads",
            ))
        }
        Some(MultipartInspection::Staged) => {
            carrier.staging.note(&carrier.bucket);
            Ok(Some(StagedUpload { id: new_id(), headers: kept(kept_headers(&carrier.admission)?)? }))
        }
    }
}

/// Writes down what a hidden upload is for, so that it can be listed under its key.
///
/// # Errors
/// [`Refusal`] if the store does not take it.
pub async fn note_key(carrier: &Carrier) -> Result<(), Refusal> {
    match carrier.hidden {
        Some(_) => Hidden::of(carrier)?.note(&hidden::Record::default()).await,
        None => Ok(()),
    }
}

/// Removes the object of an upload that is given up after it was put together. Tells whether there was one.
///
/// # Errors
/// [`Refusal`] if the store does not tell.
pub async fn forget(carrier: &Carrier) -> Result<bool, Refusal> {
    if carrier.hidden.is_none() {
        return Ok(false);
    }
    let hidden = Hidden::of(carrier)?;
    let found = hidden.head().await?;
    // Without an object there may still be the record of its parts. What is not there must not be removed: that would make a marker.
    hidden.remove(found.as_ref()).await;
    Ok(found.is_some())
}

/// Names nothing: who learns of a hidden key, from the store's own log, learns nothing of the object.
fn new_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// The headers that an object gets at its final place alone, or there once more, in the form that a seal carries.
fn kept(headers: HeaderMap) -> Result<Vec<(String, String)>, Refusal> {
    if headers.keys().any(|name| name.as_str().contains("-customer-")) {
        let message = "An object that is inspected cannot be encrypted with a key of the client.";
        return Err(client(S3ErrorCode::InvalidRequest, message));
    }
    let text = |value: &http::HeaderValue| value.to_str().unwrap_or_default().to_owned();
    let kept: Vec<_> = headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
    if kept.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > MAX_KEPT_BYTES {
        return Err(client(S3ErrorCode::InvalidRequest, "The headers about access and retention are too long."));
    }
    Ok(kept)
}

impl Carrier {
    fn principal(&self) -> &str {
        self.admission.permit().caller().principal().as_str()
    }

    /// The same for a new hidden key.
    fn with_hidden_key(&self) -> Self {
        self.staging.note(&self.bucket);
        Self { hidden: StagingKey::new(&new_id()), ..self.clone() }
    }

    /// The same for the hidden key of an upload, if it has one.
    ///
    /// # Errors
    /// [`Refusal`] if its name is none that the gateway gives.
    pub(super) fn for_upload(&self, seal: &UploadSeal) -> Result<Self, Refusal> {
        let hidden = match &seal.staging {
            Some(staged) => {
                Some(StagingKey::new(&staged.id).ok_or_else(|| internal("a sealed hidden key that is none"))?)
            }
            None => None,
        };
        Ok(Self { hidden, ..self.clone() })
    }
}

fn internal(reason: &str) -> Refusal {
    Refusal::new(S3ErrorCode::InternalError, RefusalKind::Internal, "The gateway failed.", reason)
}

//! Objects that wait at a hidden key until the inspectors have seen them whole.
//!
//! The parts of a multipart upload come in any order and no single one says what the object is, so they go to a hidden key in the same
//! bucket of the store. When the upload is completed the object is put together there, read through the inspectors, and copied to its
//! place by the store itself. What a client puts in one piece waits there too if its verdict decides where it goes, or with which mark.
//! The hidden object is the only state: a gateway that is started anew goes on where another one ended.
//! Why so: docs/decisions/0013-staged-uploads.md.

mod complete;
mod copy;
mod hidden;
mod look;
mod publish;
mod put;
mod quarantine;
pub mod sweep;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use http::HeaderMap;
use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, Semaphore, watch};

use self::hidden::{Found, Hidden};
use crate::base::RouteId;
use crate::inspect::{Inspectors, MultipartInspection, Outcome};
use crate::multipart::Carrier;
use crate::multipart::calls::client;
use crate::respond::late::{Finished, UpstreamNote};
use crate::respond::{Refusal, RefusalKind};
use crate::rules::{StagedUpload, UploadSeal};
use crate::s3::{Bucket, S3ErrorCode, StagingKey};
use crate::sign::staged::kept_headers;

pub use complete::complete;
pub use copy::copy;
pub use hidden::StoredPart;
pub use put::{begin_put, finish_put};

/// Most objects that are brought from their hidden key to their place at a time. Each holds one piece of its object and a few connections,
/// and goes on without its client.
const MAX_RUNNING: usize = 256;
/// Most of them of one principal: they go on without its requests, so nothing else bounds them.
const MAX_OF_PRINCIPAL: usize = MAX_RUNNING / 2;

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
    running: Mutex<HashMap<StagingKey, Running>>,
    /// The places for which a condition is being asked or relied on.
    conditional: Mutex<Turns>,
    places: Arc<Semaphore>,
}

/// An object on its way, as others see it.
struct Running {
    principal: String,
    seen: watch::Receiver<Option<Done>>,
}

impl Staging {
    /// Nothing is on its way yet; rules want objects staged in these buckets.
    pub fn new(inspectors: Arc<Inspectors>, buckets: impl IntoIterator<Item = Arc<Bucket>>) -> Self {
        let staging = Self {
            inspectors,
            buckets: Mutex::default(),
            other_digests: Mutex::default(),
            running: Mutex::default(),
            conditional: Mutex::default(),
            places: Arc::new(Semaphore::new(MAX_RUNNING)),
        };
        buckets.into_iter().for_each(|bucket| staging.note(&bucket));
        staging
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
        let all = u32::try_from(MAX_RUNNING).unwrap_or(u32::MAX);
        drop(self.places.acquire_many(all).await);
    }

    /// Brings an object on its way, in a task of its own: a client that goes away does not end it. A second request for the same object waits
    /// for the first.
    fn run(
        self: &Arc<Self>,
        key: &StagingKey,
        principal: &str,
        request_id: &str,
        work: impl Future<Output = Done> + Send + 'static,
    ) -> Result<watch::Receiver<Option<Done>>, Refusal> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(other) = running.get(key) {
            return Ok(other.seen.clone());
        }
        if running.values().filter(|other| other.principal == principal).count() >= MAX_OF_PRINCIPAL {
            return Err(too_many());
        }
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| too_many())?;
        let (told, seen) = watch::channel(None);
        running.insert(key.clone(), Running { principal: principal.to_owned(), seen: seen.clone() });
        let entry = Entry { staging: Arc::clone(self), key: key.clone(), _place: place };
        let request_id = request_id.to_owned();
        tokio::spawn(async move {
            let done = work.await;
            if let Err(refusal) = &done.outcome {
                tracing::debug!(request_id, key = entry.key.as_str(), reason = %refusal.reason, "a staged object did not get to its place");
            }
            let key = entry.key.clone();
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
}

/// An object on its way; it is no more when this is dropped, a panic included.
struct Entry {
    staging: Arc<Staging>,
    key: StagingKey,
    _place: OwnedSemaphorePermit,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.staging.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

async fn wait(mut seen: watch::Receiver<Option<Done>>) -> Finished {
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
    hidden.remove(found.as_ref().is_none_or(Found::has_version)).await;
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
    /// Who asked for it.
    fn principal(&self) -> String {
        self.admission.permit().caller().principal().as_str().to_owned()
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

fn too_many() -> Refusal {
    let message = "Too many inspected uploads are being completed. Try again.";
    let reason = format!("{MAX_RUNNING} staged objects are on their way, or {MAX_OF_PRINCIPAL} of the principal");
    Refusal::new(S3ErrorCode::SlowDown, RefusalKind::Limited, message, reason)
}

fn internal(reason: &str) -> Refusal {
    Refusal::new(S3ErrorCode::InternalError, RefusalKind::Internal, "The gateway failed.", reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Metrics;

    #[tokio::test]
    async fn l08_one_principal_leaves_places_for_what_others_complete() {
        let inspectors = Inspectors::new(Vec::new(), &Metrics::new().unwrap()).unwrap();
        let staging = Arc::new(Staging::new(Arc::new(inspectors), []));
        let run = |number: usize, principal: &str| {
            let key = StagingKey::new(&format!("{principal}-{number}")).unwrap();
            staging.run(&key, principal, "r", std::future::pending()).map(drop).map_err(|refusal| refusal.code)
        };
        for number in 0..MAX_OF_PRINCIPAL {
            run(number, "a").unwrap();
        }
        assert_eq!(run(MAX_OF_PRINCIPAL, "a"), Err(S3ErrorCode::SlowDown));
        assert_eq!(run(0, "a"), Ok(()), "who asks again waits for the first");
        assert_eq!(run(0, "b"), Ok(()));
    }
}

//! The uploads that wait at hidden keys, as ListMultipartUploads shows them: under the keys that they are for.
//!
//! A store lists them under their hidden keys, and keeps nothing else of an upload that it tells. So the key is written down, sealed, when
//! an upload begins; it is read once and remembered.

use std::num::NonZeroUsize;
use std::sync::PoisonError;

use futures_util::StreamExt;
use futures_util::stream;
use http::StatusCode;
use lru::LruCache;

use super::Staging;
use super::hidden::Record;
use crate::bounded;
use crate::multipart::MAX_ANSWER_BYTES;
use crate::respond::store_answer::bad_answer;
use crate::respond::{Refusal, RefusalKind};
use crate::s3::listing::{ListEntry, ListKind, ListPage, Mark};
use crate::s3::reserved::STAGING_PREFIX;
use crate::s3::{Bucket, S3ErrorCode, StagingKey};
use crate::sign::{Place, Signer, StagedRequest};
use crate::upstream::Upstreams;

/// Most pages of 1,000 uploads that are looked through.
const MAX_PAGES: usize = 10;
/// Most records that are read at a time.
const AT_A_TIME: usize = 8;
/// Most keys that are remembered.
const MAX_KEYS: NonZeroUsize = NonZeroUsize::new(10_000).expect("not zero");

/// What the hidden uploads are for, in upstream terms.
pub(super) type Keys = LruCache<StagingKey, String>;

/// None are remembered yet.
pub(super) fn no_keys() -> Keys {
    // Not `new`, which would take the room for all of them at once.
    LruCache::sparse(MAX_KEYS)
}

/// The hidden uploads of a bucket, each under the key that it is for and with the store's own id, and the identifiers of their hidden keys.
/// Those whose key is not known, or lies outside of the bucket, are left out.
///
/// # Errors
/// [`Refusal`] if the store does not tell what there is or what one is for, or there are too many.
pub async fn open_uploads(
    staging: &Staging,
    signer: &Signer,
    upstreams: &Upstreams,
    bucket: &Bucket,
) -> Result<Vec<(ListEntry, String)>, Refusal> {
    if !staging.may_hold(bucket) {
        return Ok(Vec::new());
    }
    let listed = all(signer, upstreams, bucket).await?;
    let known = listed.into_iter().filter_map(|entry| Some((StagingKey::listed(&entry.key)?, entry)));
    let named = stream::iter(known).map(|(hidden, entry)| async move {
        let key = match staging.key_of(&hidden) {
            Some(key) => Some(key),
            None => {
                let key = Record::key_of(signer, upstreams, bucket, &hidden).await?;
                key.inspect(|key| staging.remember_key(&hidden, key))
            }
        };
        let key = key.as_deref().and_then(|key| key.strip_prefix(&bucket.upstream_prefix)).map(str::to_owned);
        Ok::<_, Refusal>(key.map(|key| (ListEntry { key, ..entry }, hidden.id().to_owned())))
    });
    let mut named = std::pin::pin!(named.buffered(AT_A_TIME));
    let mut uploads = Vec::new();
    while let Some(upload) = named.next().await {
        uploads.extend(upload?);
    }
    Ok(uploads)
}

async fn all(signer: &Signer, upstreams: &Upstreams, bucket: &Bucket) -> Result<Vec<ListEntry>, Refusal> {
    let (mut entries, mut mark) = (Vec::new(), None::<Mark>);
    for _ in 0..MAX_PAGES {
        let mut query = vec![("uploads", ""), ("prefix", STAGING_PREFIX)];
        if let Some(mark) = &mark {
            query.push(("key-marker", &mark.name));
            query.extend(mark.id.as_deref().map(|id| ("upload-id-marker", id)));
        }
        let request = StagedRequest { query: &query, ..StagedRequest::default() };
        let reply = upstreams.send(signer.prepare_staged(Place::Staging(bucket), request)?).await?;
        if reply.head.status != StatusCode::OK {
            return Err(bad_answer(&format!("{} to a list of uploads", reply.head.status)));
        }
        let document = bounded::collect(reply.body, MAX_ANSWER_BYTES).await.map_err(|error| bad_answer(&error))?;
        let text = std::str::from_utf8(&document).map_err(|error| bad_answer(&error))?;
        let mut page = ListPage::parse(ListKind::Uploads, text, "").map_err(|error| bad_answer(&error))?;
        entries.append(&mut page.entries);
        match page.next {
            Some(next) if mark.as_ref() != Some(&next) => mark = Some(next),
            _ => return Ok(entries),
        }
    }
    let message = "There are too many uploads to list. Complete or abort some.";
    let reason = format!("more than {MAX_PAGES} pages of uploads at hidden keys");
    Err(Refusal::new(S3ErrorCode::SlowDown, RefusalKind::Limited, message, reason))
}

impl Staging {
    /// Whether objects of a bucket may wait at hidden keys.
    fn may_hold(&self, bucket: &Bucket) -> bool {
        let buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.contains_key(&(bucket.route, bucket.upstream_bucket.clone()))
    }

    fn key_of(&self, hidden: &StagingKey) -> Option<String> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).get(hidden).cloned()
    }

    fn remember_key(&self, hidden: &StagingKey, key: &str) {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).put(hidden.clone(), key.to_owned());
    }
}

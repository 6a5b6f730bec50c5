//! Removes what was left at hidden keys: uploads that nobody completed, objects whose way broke off and was never taken up again.
//!
//! Only age counts, and an object is as old as the youngest thing of its upload, so any number of gateways may sweep the same bucket.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use http::{Method, StatusCode};

use super::Staging;
use super::hidden::Record;
use crate::base::{Clock, SystemClock, UtcInstant};
use crate::bounded;
use crate::multipart::MAX_ANSWER_BYTES;
use crate::rules::RuleSettings;
use crate::s3::listing::{ListEntry, ListKind, ListPage, Mark};
use crate::s3::reserved::STAGING_PREFIX;
use crate::s3::{Bucket, Buckets, StagingKey};
use crate::sign::{Place, Signer, StagedRequest};
use crate::telemetry::Metrics;
use crate::upstream::Upstreams;

/// Longest time between two sweeps.
const INTERVAL: Duration = Duration::from_secs(3600);
/// Longest time from the start to the first: a program that ends again and again does not keep the store busy with lists.
const FIRST: Duration = Duration::from_secs(60);
/// Most pages of 1,000 names that are looked at of one bucket at a time; the rest is for the next sweep.
const MAX_PAGES: usize = 20;

/// How long things are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SweepSettings {
    /// A hidden object.
    pub objects: Duration,
    /// A multipart upload of one.
    pub uploads: Duration,
}

/// Sweeps a minute after the start and then every hour, or as often as things are kept if that is shorter.
pub struct Sweeper {
    /// Knows the buckets, and what is on its way.
    pub staging: Arc<Staging>,
    /// Signs the requests.
    pub signer: Arc<Signer>,
    /// Sends them.
    pub upstreams: Arc<Upstreams>,
    /// How long things are kept.
    pub settings: SweepSettings,
    /// Counts what was removed.
    pub metrics: Metrics,
}

/// The configured buckets in which rules want objects staged.
pub fn places(rules: &[RuleSettings], buckets: &Buckets) -> Vec<Arc<Bucket>> {
    let stages = |rule: &&RuleSettings| rule.terms.inspection.as_ref().is_some_and(|terms| terms.uploads);
    let named = rules.iter().filter(stages).flat_map(|rule| &rule.places);
    named.filter_map(|place| buckets.iter().find(|bucket| bucket.name == place.bucket)).cloned().collect()
}

impl Sweeper {
    /// Sweeps until the task ends.
    pub async fn run(self) {
        let interval = self.settings.objects.min(self.settings.uploads).min(INTERVAL);
        tokio::time::sleep(interval.min(FIRST)).await;
        loop {
            let buckets: Vec<_> =
                self.staging.buckets.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
            for bucket in buckets {
                self.sweep(&bucket).await;
            }
            tokio::time::sleep(interval).await;
        }
    }

    async fn sweep(&self, bucket: &Bucket) {
        let now = SystemClock.now();
        match (self.sweep_objects(bucket, now).await, self.sweep_uploads(bucket, now).await) {
            (Ok(0), Ok(0)) => {}
            (Ok(objects), Ok(uploads)) => {
                tracing::info!(bucket = %bucket.upstream_bucket, objects, uploads, "removed what was left at hidden keys");
            }
            (objects, uploads) => {
                let reason = [objects.err(), uploads.err()].into_iter().flatten().collect::<Vec<_>>().join("; ");
                tracing::warn!(bucket = %bucket.upstream_bucket, reason, "hidden keys could not be swept");
            }
        }
    }

    async fn sweep_objects(&self, bucket: &Bucket, now: UtcInstant) -> Result<usize, String> {
        let entries = self.list(bucket, ListKind::Versions).await?;
        let found: Vec<_> = entries.iter().filter_map(|entry| Some((StagingKey::listed(&entry.key)?, entry))).collect();
        let mut youngest: HashMap<&str, UtcInstant> = HashMap::new();
        for (key, entry) in &found {
            // Without a date it is as young as can be.
            let time = time_of(entry, "LastModified").unwrap_or(now);
            let known = youngest.entry(upload_of(key)).or_insert(time);
            *known = time.max(*known);
        }
        let mut removed = 0;
        for (key, entry) in &found {
            let old = youngest.get(upload_of(key)).is_some_and(|time| is_older(*time, now, self.settings.objects));
            if !old || self.is_under_way(key) {
                continue;
            }
            if let Some(record) = Record::read(&self.signer, &self.upstreams, bucket, key).await
                && let Some(copy) = record.copy
            {
                copy.abort(&self.signer, &self.upstreams, bucket).await;
            }
            // In a bucket without versions the one version has this name.
            let version = entry.id.as_deref().filter(|version| *version != "null");
            let query: Vec<_> = version.map(|version| ("versionId", version)).into_iter().collect();
            self.remove(bucket, key, &query).await?;
            removed += 1;
        }
        self.metrics.inspections().count_swept(removed);
        Ok(removed)
    }

    async fn sweep_uploads(&self, bucket: &Bucket, now: UtcInstant) -> Result<usize, String> {
        let mut removed = 0;
        for entry in self.list(bucket, ListKind::Uploads).await? {
            let (Some(key), Some(id)) = (StagingKey::listed(&entry.key), &entry.id) else { continue };
            let begun = time_of(&entry, "Initiated").unwrap_or(now);
            if is_older(begun, now, self.settings.uploads) && !self.is_under_way(&key) {
                self.remove(bucket, &key, &[("uploadId", id)]).await?;
                removed += 1;
            }
        }
        self.metrics.inspections().count_swept(removed);
        Ok(removed)
    }

    fn is_under_way(&self, key: &StagingKey) -> bool {
        let running = self.staging.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.keys().any(|running| running.id() == upload_of(key))
    }

    async fn list(&self, bucket: &Bucket, kind: ListKind) -> Result<Vec<ListEntry>, String> {
        let (list, name_marker, id_marker) = match kind {
            ListKind::Uploads => ("uploads", "key-marker", "upload-id-marker"),
            _ => ("versions", "key-marker", "version-id-marker"),
        };
        let (mut entries, mut mark) = (Vec::new(), None::<Mark>);
        for _ in 0..MAX_PAGES {
            let mut query = vec![(list, ""), ("prefix", STAGING_PREFIX)];
            if let Some(mark) = &mark {
                query.push((name_marker, &mark.name));
                query.extend(mark.id.as_deref().map(|id| (id_marker, id)));
            }
            let request = StagedRequest { query: &query, ..StagedRequest::default() };
            let text = self.ask(Place::Staging(bucket), request).await?;
            let mut page = ListPage::parse(kind, &text, "").map_err(|error| error.to_string())?;
            entries.append(&mut page.entries);
            match page.next {
                Some(next) if mark.as_ref() != Some(&next) => mark = Some(next),
                _ => break,
            }
        }
        Ok(entries)
    }

    async fn remove(&self, bucket: &Bucket, key: &StagingKey, query: &[(&str, &str)]) -> Result<(), String> {
        let request = StagedRequest { method: Method::DELETE, query, ..StagedRequest::default() };
        let outbound =
            self.signer.prepare_staged(Place::Hidden(bucket, key), request).map_err(|error| error.to_string())?;
        let reply = self.upstreams.send(outbound).await.map_err(|error| error.to_string())?;
        match reply.head.status {
            // Another gateway was there first.
            StatusCode::NOT_FOUND => Ok(()),
            status if status.is_success() => Ok(()),
            status => Err(format!("the store answered {status} to the removal of {}", key.as_str())),
        }
    }

    async fn ask(&self, place: Place<'_>, request: StagedRequest<'_>) -> Result<String, String> {
        let outbound = self.signer.prepare_staged(place, request).map_err(|error| error.to_string())?;
        let reply = self.upstreams.send(outbound).await.map_err(|error| error.to_string())?;
        if reply.head.status != StatusCode::OK {
            return Err(format!("the store answered {} to a list", reply.head.status));
        }
        let document = bounded::collect(reply.body, MAX_ANSWER_BYTES).await.map_err(|error| error.to_string())?;
        String::from_utf8(document.to_vec()).map_err(|error| error.to_string())
    }
}

/// What the object and the record of its parts have in common.
fn upload_of(key: &StagingKey) -> &str {
    key.id().split('.').next().unwrap_or_default()
}

fn time_of(entry: &ListEntry, property: &str) -> Option<UtcInstant> {
    entry.properties.iter().find(|(name, _)| *name == property)?.1.parse().ok()
}

fn is_older(time: UtcInstant, now: UtcInstant, age: Duration) -> bool {
    now.duration_since(time) >= jiff::SignedDuration::try_from(age).unwrap_or(jiff::SignedDuration::MAX)
}

//! Removes what was left at hidden keys: uploads that nobody completed, objects whose way broke off and was never taken up again.
//!
//! Only age counts, and an object is as old as the youngest thing of its upload, so any number of gateways may sweep the same bucket.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use http::{Method, StatusCode};

use super::Staging;
use super::hidden::{Record, has_versions, version_of};
use crate::base::{Clock, RouteId, SystemClock, UtcInstant};
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
/// Most pages of 1,000 names that are looked at of one bucket at a time; the next sweep goes on behind them.
const MAX_PAGES: usize = 20;

/// How long things are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SweepSettings {
    /// A hidden object.
    pub objects: Duration,
    /// A multipart upload of one.
    pub uploads: Duration,
}

/// Where the next sweep of a bucket begins; at the beginning, if the last one got to the end.
#[derive(Default)]
struct Marks {
    objects: Option<Mark>,
    uploads: Option<Mark>,
}

/// What came of removals. One that fails does not keep the others.
#[derive(Default)]
struct Swept {
    removed: usize,
    failed: usize,
    first_error: Option<String>,
}

impl Swept {
    fn note(&mut self, removal: Result<(), String>) {
        match removal {
            Ok(()) => self.removed += 1,
            Err(error) => {
                self.failed += 1;
                self.first_error.get_or_insert(error);
            }
        }
    }

    fn error(&self) -> Option<String> {
        let first = self.first_error.as_ref()?;
        Some(format!("{} removals failed, the first because {first}", self.failed))
    }
}

/// Sweeps a minute after the start and then every hour, or as often as things are kept if that is shorter.
#[derive(Clone)]
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
        let mut marks: HashMap<(RouteId, String), Marks> = HashMap::new();
        loop {
            let buckets: Vec<_> =
                self.staging.buckets.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
            for bucket in buckets {
                let place = (bucket.route, bucket.upstream_bucket.clone());
                self.sweep(&bucket, marks.entry(place).or_default()).await;
            }
            tokio::time::sleep(interval).await;
        }
    }

    async fn sweep(&self, bucket: &Bucket, marks: &mut Marks) {
        let now = SystemClock.now();
        let objects = self.sweep_objects(bucket, now, &mut marks.objects).await;
        let uploads = self.sweep_uploads(bucket, now, &mut marks.uploads).await;
        let removed = [&objects, &uploads].map(|swept| swept.as_ref().map_or(0, |swept| swept.removed));
        if removed != [0, 0] {
            let [objects, uploads] = removed;
            tracing::info!(bucket = %bucket.upstream_bucket, objects, uploads, "removed what was left at hidden keys");
        }
        let error = |swept: Result<Swept, String>| swept.map_or_else(Some, |swept| swept.error());
        let errors: Vec<_> = [objects, uploads].into_iter().filter_map(error).collect();
        if !errors.is_empty() {
            let reason = errors.join("; ");
            tracing::warn!(bucket = %bucket.upstream_bucket, reason, "hidden keys could not be swept");
        }
    }

    async fn sweep_objects(&self, bucket: &Bucket, now: UtcInstant, mark: &mut Option<Mark>) -> Result<Swept, String> {
        let mut entries = self.list(bucket, ListKind::Versions, mark).await?;
        leave_last(&mut entries, mark);
        let versions = has_versions(&entries);
        let found: Vec<_> = entries.iter().filter_map(|entry| Some((StagingKey::listed(&entry.key)?, entry))).collect();
        let mut youngest: HashMap<&str, UtcInstant> = HashMap::new();
        for (key, entry) in &found {
            // Without a date it is as young as can be.
            let time = time_of(entry, "LastModified").unwrap_or(now);
            let known = youngest.entry(upload_of(key)).or_insert(time);
            *known = time.max(*known);
        }
        // A record without an object is that of an upload, which is listed by it.
        let is_record = |key: &StagingKey| key.id() != upload_of(key);
        let objects: HashSet<&str> =
            found.iter().filter(|(key, _)| !is_record(key)).map(|(key, _)| upload_of(key)).collect();
        let mut swept = Swept::default();
        for (key, entry) in &found {
            let SweepSettings { objects: age, uploads } = self.settings;
            let age = if objects.contains(upload_of(key)) { age } else { age.max(uploads) };
            let old = youngest.get(upload_of(key)).is_some_and(|time| is_older(*time, now, age));
            if !old || self.is_under_way(key) {
                continue;
            }
            if let Some(record) = Record::read(&self.signer, &self.upstreams, bucket, key).await
                && let Some(copy) = record.copy
            {
                copy.abort(&self.signer, &self.upstreams, bucket).await;
            }
            let version = version_of(entry, versions);
            let query: Vec<_> = version.map(|version| ("versionId", version)).into_iter().collect();
            swept.note(self.remove(bucket, key, &query).await);
        }
        self.metrics.inspections().count_swept(swept.removed);
        Ok(swept)
    }

    async fn sweep_uploads(&self, bucket: &Bucket, now: UtcInstant, mark: &mut Option<Mark>) -> Result<Swept, String> {
        let mut swept = Swept::default();
        for entry in self.list(bucket, ListKind::Uploads, mark).await? {
            let (Some(key), Some(id)) = (StagingKey::listed(&entry.key), &entry.id) else { continue };
            let begun = time_of(&entry, "Initiated").unwrap_or(now);
            if is_older(begun, now, self.settings.uploads) && !self.is_under_way(&key) {
                swept.note(self.remove(bucket, &key, &[("uploadId", id)]).await);
            }
        }
        self.metrics.inspections().count_swept(swept.removed);
        Ok(swept)
    }

    fn is_under_way(&self, key: &StagingKey) -> bool {
        let running = self.staging.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.keys().any(|running| running.id() == upload_of(key))
    }

    /// Some pages from a mark on. Leaves the mark of the next ones; none at the end, and after an error.
    async fn list(&self, bucket: &Bucket, kind: ListKind, from: &mut Option<Mark>) -> Result<Vec<ListEntry>, String> {
        let (list, name_marker, id_marker) = match kind {
            ListKind::Uploads => ("uploads", "key-marker", "upload-id-marker"),
            _ => ("versions", "key-marker", "version-id-marker"),
        };
        let (mut entries, mut mark) = (Vec::new(), from.take());
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
                _ => return Ok(entries),
            }
        }
        *from = mark;
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

/// Leaves the last upload to the next sweep if the list goes on: only all of an upload tells how old it is.
fn leave_last(entries: &mut Vec<ListEntry>, mark: &mut Option<Mark>) {
    let upload = |entry: &ListEntry| StagingKey::listed(&entry.key).map(|key| upload_of(&key).to_owned());
    let (true, Some(last)) = (mark.is_some(), entries.last().and_then(upload)) else { return };
    if let Some(before) = entries.iter().rposition(|entry| upload(entry).as_ref() != Some(&last)) {
        *mark = Some(Mark { name: entries[before].key.clone(), id: None });
        entries.truncate(before + 1);
    }
}

fn time_of(entry: &ListEntry, property: &str) -> Option<UtcInstant> {
    entry.properties.iter().find(|(name, _)| *name == property)?.1.parse().ok()
}

fn is_older(time: UtcInstant, now: UtcInstant, age: Duration) -> bool {
    now.duration_since(time) >= jiff::SignedDuration::try_from(age).unwrap_or(jiff::SignedDuration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(names: &[&str]) -> Vec<ListEntry> {
        let entry = |name: &&str| ListEntry { key: format!("{STAGING_PREFIX}{name}"), ..ListEntry::default() };
        names.iter().map(entry).collect()
    }

    #[test]
    fn an_upload_at_the_end_of_what_was_listed_is_left_to_the_next_sweep() {
        let more = Some(Mark { name: format!("{STAGING_PREFIX}b"), id: None });
        let (mut listed, mut mark) = (entries(&["a", "a.parts", "b"]), more.clone());
        leave_last(&mut listed, &mut mark);
        assert_eq!(listed, entries(&["a", "a.parts"]));
        assert_eq!(mark.unwrap().name, format!("{STAGING_PREFIX}a.parts"));
        let (mut listed, mut mark) = (entries(&["a", "a.parts", "b"]), None);
        leave_last(&mut listed, &mut mark);
        assert_eq!((listed.len(), mark), (3, None), "all was listed");
        let (mut listed, mut mark) = (entries(&["b", "b"]), more.clone());
        leave_last(&mut listed, &mut mark);
        assert_eq!((listed.len(), mark), (2, more), "it goes on");
    }

    #[test]
    fn a_removal_that_fails_is_told_and_the_others_are_counted() {
        let mut swept = Swept::default();
        swept.note(Err("of a lock".to_owned()));
        swept.note(Ok(()));
        swept.note(Err("of another".to_owned()));
        assert_eq!(swept.removed, 1);
        assert_eq!(swept.error().unwrap(), "2 removals failed, the first because of a lock");
    }

    #[test]
    fn the_version_null_is_named_where_there_are_others_or_markers() {
        let null = ListEntry { element: "Version", id: Some("null".to_owned()), ..ListEntry::default() };
        let marker = ListEntry { element: "DeleteMarker", ..null.clone() };
        let other = ListEntry { id: Some("v1".to_owned()), ..null.clone() };
        assert_eq!(version_of(&null, has_versions(std::slice::from_ref(&null))), None);
        assert_eq!(version_of(&null, has_versions(&[null.clone(), marker])), Some("null"));
        assert_eq!(version_of(&null, has_versions(&[null.clone(), other])), Some("null"));
    }
}

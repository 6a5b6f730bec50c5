//! The last audit records, and how often each rule refused; a sink beside the others.
//!
//! The lines are those of the audit, shared with its other sinks. Adding one costs every request a lock that is nearly never waited for,
//! and wakes nobody unless somebody watches.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use lru::LruCache;
use serde::Serialize;
use tokio::sync::Notify;

use crate::audit::{AuditSink, Entry, Outcome, Record};

/// Lines that are kept.
const MAX_LINES: usize = 256;
/// What they may hold together.
const MAX_BYTES: usize = 1024 * 1024;
/// A longer line is that of a batch delete, and is kept without its objects.
const MAX_LINE_BYTES: usize = 16 * 1024;
/// Pairs of a rule and a code that are counted by themselves. A configuration has fewer; those that came one after the other may have more.
const MAX_REFUSALS: usize = 1024;

/// The last records.
#[derive(Debug, Default)]
pub struct Recent {
    lines: Mutex<Lines>,
    refusals: Mutex<Counted>,
    watchers: AtomicUsize,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Lines {
    ring: VecDeque<Bytes>,
    bytes: usize,
    /// Number of the line that comes next; the first is 0.
    next: u64,
}

/// Refusals by rule and code.
#[derive(Debug)]
struct Counted {
    pairs: LruCache<(Option<String>, &'static str), u64>,
    /// Those of pairs that had to make room.
    others: u64,
}

impl Default for Counted {
    fn default() -> Self {
        // The bound is kept where one is counted, because what makes room is not forgotten.
        Self { pairs: LruCache::unbounded(), others: 0 }
    }
}

/// Lines for a watcher.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Batch {
    /// Number of the first of them.
    pub(super) first: u64,
    /// Lines before it that the watcher has missed.
    pub(super) missed: u64,
    pub(super) lines: Vec<Bytes>,
}

/// How often a rule refused for a reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusals {
    /// The rule that decided; `None` if none did.
    pub rule: Option<String>,
    /// S3 error code.
    pub code: &'static str,
    /// How often since the start, or since it is counted by itself again.
    pub count: u64,
}

impl Recent {
    /// Refusals since the start by rule and code, the most frequent first, and how many there were besides.
    pub fn refusals(&self) -> (Vec<Refusals>, u64) {
        let refusals = lock(&self.refusals);
        let pairs = refusals.pairs.iter();
        let mut all: Vec<_> =
            pairs.map(|((rule, code), count)| Refusals { rule: rule.clone(), code, count: *count }).collect();
        all.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| (&a.rule, a.code).cmp(&(&b.rule, b.code))));
        (all, refusals.others)
    }

    /// The lines from number `from` on; `None` if there is none yet.
    pub(super) fn since(&self, from: u64) -> Option<Batch> {
        let lines = lock(&self.lines);
        let oldest = lines.next - lines.ring.len() as u64;
        let first = from.max(oldest);
        let skipped = usize::try_from(first - oldest).unwrap_or(usize::MAX);
        let found: Vec<_> = lines.ring.iter().skip(skipped).cloned().collect();
        (!found.is_empty()).then(|| Batch { first, missed: first - from, lines: found })
    }

    /// Number of the oldest line that is there.
    pub(super) fn oldest(&self) -> u64 {
        let lines = lock(&self.lines);
        lines.next - lines.ring.len() as u64
    }

    /// Told when there are new lines, as long as somebody is counted as watching.
    pub(super) fn wake(&self) -> &Notify {
        &self.wake
    }

    /// How many watch.
    pub(super) fn watchers(&self) -> &AtomicUsize {
        &self.watchers
    }

    fn count_refusal(&self, record: &Record) {
        let Some(code) = record.code else { return };
        let mut refusals = lock(&self.refusals);
        *refusals.pairs.get_or_insert_mut((record.rule.clone(), code), || 0) += 1;
        if refusals.pairs.len() > MAX_REFUSALS {
            // Whose last refusal is the longest ago: most likely a rule that is no more.
            refusals.others += refusals.pairs.pop_lru().map_or(0, |(_, count)| count);
        }
    }
}

impl AuditSink for Recent {
    fn accept(&self, entry: &Entry<'_>) {
        let Some(mut line) = entry.json() else { return };
        if line.len() > MAX_LINE_BYTES {
            let short = Record { batch: None, inspection: None, ..entry.record().clone() };
            let Some(shorter) = Entry::new(&short).json() else { return };
            line = shorter;
        }
        {
            let mut lines = lock(&self.lines);
            lines.bytes += line.len();
            lines.ring.push_back(line);
            lines.next += 1;
            while lines.ring.len() > MAX_LINES || lines.bytes > MAX_BYTES {
                let Some(oldest) = lines.ring.pop_front() else { break };
                lines.bytes -= oldest.len();
            }
        }
        if entry.record().outcome == Outcome::Refused {
            self.count_refusal(entry.record());
        }
        if self.watchers.load(Ordering::Relaxed) > 0 {
            self.wake.notify_waiters();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::batch::{BatchRecord, ObjectRecord};

    fn record(key: &str) -> Record {
        Record { key: Some(key.to_owned()), ..Record::default() }
    }

    fn accept(recent: &Recent, record: &Record) {
        recent.accept(&Entry::new(record));
    }

    #[test]
    fn the_last_lines_are_kept_and_a_watcher_learns_how_many_it_missed() {
        let recent = Recent::default();
        assert_eq!(recent.since(0), None);
        for number in 0..300 {
            accept(&recent, &record(&format!("key-{number}")));
        }
        let batch = recent.since(10).unwrap();
        assert_eq!((batch.first, batch.missed, batch.lines.len()), (44, 34, 256));
        assert!(batch.lines[0].windows(6).any(|part| part == b"key-44"));
        assert_eq!(recent.since(299).unwrap().lines.len(), 1);
        assert_eq!(recent.since(300), None);
    }

    #[test]
    fn long_lines_do_not_fill_the_memory() {
        let recent = Recent::default();
        let object = ObjectRecord { key: "k".repeat(1000), version_id: None, result: "denied", because: None };
        let batch = BatchRecord { asked: 100, objects: vec![object; 100], ..BatchRecord::default() };
        accept(&recent, &Record { batch: Some(Box::new(batch)), ..record("of-a-batch") });
        let line = recent.since(0).unwrap().lines.remove(0);
        assert!(line.len() < 1024 && line.windows(10).any(|part| part == b"of-a-batch"), "{line:?}");
        for _ in 0..256 {
            accept(&recent, &record(&"x".repeat(15_000)));
        }
        assert!(lock(&recent.lines).bytes <= MAX_BYTES);
    }

    fn refused(rule: Option<&str>, code: &'static str) -> Record {
        let rule = rule.map(str::to_owned);
        Record { rule, code: Some(code), outcome: Outcome::Refused, ..Record::default() }
    }

    #[test]
    fn refusals_are_counted_by_rule_and_code() {
        let recent = Recent::default();
        for record in [
            refused(None, "AccessDenied"),
            refused(Some("small"), "EntityTooLarge"),
            refused(None, "AccessDenied"),
            Record::default(),
        ] {
            accept(&recent, &record);
        }
        let (pairs, others) = recent.refusals();
        let counted: Vec<_> = pairs.into_iter().map(|each| (each.rule, each.code, each.count)).collect();
        assert_eq!(counted, [(None, "AccessDenied", 2), (Some("small".to_owned()), "EntityTooLarge", 1)]);
        assert_eq!(others, 0);
    }

    #[test]
    fn of_more_pairs_than_are_kept_each_refusal_is_counted_and_the_newest_are_named() {
        let recent = Recent::default();
        for number in 0..1500 {
            accept(&recent, &refused(Some(&format!("rule-{number}")), "AccessDenied"));
            accept(&recent, &refused(None, "AccessDenied"));
        }
        let (pairs, others) = recent.refusals();
        assert_eq!(pairs.len(), MAX_REFUSALS);
        assert_eq!((pairs[0].rule.as_deref(), pairs[0].count), (None, 1500), "one that still comes is kept");
        assert!(pairs.iter().any(|each| each.rule.as_deref() == Some("rule-1499")));
        assert_eq!(pairs.iter().map(|each| each.count).sum::<u64>() + others, 3000, "none is left out");
    }
}

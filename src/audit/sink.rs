//! Where audit records go.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::audit::entry::Entry;
use crate::audit::record::Record;
use crate::audit::room::Room;

/// Takes records without ever holding up the data path.
pub trait AuditSink: Send + Sync + 'static {
    /// Takes one record. One that wants its line of JSON asks the entry for it, which all sinks share.
    fn accept(&self, entry: &Entry<'_>);

    /// Opens again what may have been moved, such as a file that was put aside.
    fn reopen(&self) {}

    /// Says when the process ends at the latest. May be said again, for an earlier time.
    fn end_by(&self, _deadline: Instant) {}

    /// Writes what is queued, as far as it is taken in time: the process ends. Blocks until [`AuditSink::end_by`], or for 5 s if that was
    /// not said; a delivery under way is not waited for. What comes later is lost.
    fn close(&self) {}

    /// The queues in which a request must have a place before it begins.
    fn rooms(&self) -> Vec<Room> {
        Vec::new()
    }

    /// Whether records need [`crate::audit::record::WebFacts`].
    fn wants_web_facts(&self) -> bool {
        false
    }
}

/// Gives every record to several sinks.
pub struct Fanout(Vec<Arc<dyn AuditSink>>);

impl Fanout {
    /// A sink that gives each record to these, in their order.
    pub fn new(sinks: Vec<Arc<dyn AuditSink>>) -> Self {
        Self(sinks)
    }
}

impl AuditSink for Fanout {
    fn accept(&self, entry: &Entry<'_>) {
        self.0.iter().for_each(|sink| sink.accept(entry));
    }

    fn reopen(&self) {
        self.0.iter().for_each(|sink| sink.reopen());
    }

    fn end_by(&self, deadline: Instant) {
        self.0.iter().for_each(|sink| sink.end_by(deadline));
    }

    fn close(&self) {
        self.0.iter().for_each(|sink| sink.close());
    }

    fn rooms(&self) -> Vec<Room> {
        self.0.iter().flat_map(|sink| sink.rooms()).collect()
    }

    fn wants_web_facts(&self) -> bool {
        self.0.iter().any(|sink| sink.wants_web_facts())
    }
}

/// Keeps records in memory, for tests.
#[derive(Debug, Default)]
pub struct InMemory(Mutex<Vec<Record>>);

impl InMemory {
    /// Everything recorded so far.
    pub fn records(&self) -> Vec<Record> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl AuditSink for InMemory {
    fn accept(&self, entry: &Entry<'_>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(entry.record().clone());
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn each_of_several_sinks_gets_the_record_and_the_same_line() {
        struct Ring(Mutex<Vec<Bytes>>);
        impl AuditSink for Ring {
            fn accept(&self, entry: &Entry<'_>) {
                self.0.lock().unwrap().extend(entry.json());
            }
        }
        let rings = [(); 2].map(|()| Arc::new(Ring(Mutex::default())));
        let records = Arc::new(InMemory::default());
        let sinks = rings.iter().map(|ring| Arc::clone(ring) as Arc<dyn AuditSink>);
        let all = Fanout::new(sinks.chain([Arc::clone(&records) as _]).collect());
        let record = Record { request_id: "7".into(), ..Record::default() };
        all.accept(&Entry::new(&record));
        assert_eq!(records.records()[0].request_id, "7");
        let lines = rings.map(|ring| ring.0.lock().unwrap().remove(0));
        assert!(lines[0].starts_with(b"{\"time\":\"\",\"request_id\":\"7\""), "{:?}", lines[0]);
        assert_eq!(lines[0].as_ptr(), lines[1].as_ptr(), "rendered once");
    }
}

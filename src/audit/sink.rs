//! Where audit records go.

use std::io::{BufWriter, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::audit::entry::Entry;
use crate::audit::record::Record;
use crate::telemetry::Metrics;

/// Takes records without ever holding up the data path.
pub trait AuditSink: Send + Sync + 'static {
    /// Takes one record. One that wants its line of JSON asks the entry for it, which all sinks share.
    fn accept(&self, entry: &Entry<'_>);
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
}

/// Records that may wait for a slow disk or pipe. At about 600 bytes each under 5 MiB.
const QUEUE: usize = 8192;

/// How long a record waits for others before it is written: this much may be missing after a crash.
const FLUSH_AFTER: Duration = Duration::from_millis(100);

/// How long the writer sleeps after it has written. While it sleeps nobody has to wake it: waking costs each request two system calls,
/// and a third to write its record alone.
const NAP: Duration = Duration::from_millis(50);

/// What is kept while the disk or pipe takes nothing; over it records are lost.
const BUFFER_BYTES: usize = 64 * 1024;

/// JSON, one record a line, written by a thread of its own.
///
/// A record is written at once if none was written just before, and within 100 ms. When the writer cannot keep up and the queue is full, or
/// writing fails, records are lost, counted in `countersign_audit_records_dropped_total` and logged. Dropping the sink writes what is queued.
pub struct JsonLines {
    queue: Option<SyncSender<Line>>,
    writer: Option<JoinHandle<()>>,
    metrics: Metrics,
}

impl JsonLines {
    /// Starts the writer.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(out: impl Write + Send + 'static, metrics: Metrics) -> std::io::Result<Self> {
        let (queue, records) = sync_channel(QUEUE);
        let lines = Lines::new(out, metrics.clone());
        let writer = std::thread::Builder::new().name("audit".to_owned()).spawn(move || write_all(&records, lines))?;
        Ok(Self { queue: Some(queue), writer: Some(writer), metrics })
    }
}

fn write_all(records: &Receiver<Line>, mut lines: Lines<impl Write>) {
    loop {
        // With nothing left to write there is nothing to wake up for.
        let next = match lines.unflushed {
            0 => records.recv().map_err(|_| RecvTimeoutError::Disconnected),
            _ => records.recv_timeout(FLUSH_AFTER),
        };
        match next {
            Ok(line) => {
                let due = Instant::now() + FLUSH_AFTER;
                lines.write(&line);
                while Instant::now() < due
                    && let Ok(line) = records.try_recv()
                {
                    lines.write(&line);
                }
                lines.flush();
                std::thread::sleep(NAP);
            }
            // What could not be written before may be by now.
            Err(RecvTimeoutError::Timeout) => lines.flush(),
            Err(RecvTimeoutError::Disconnected) => return lines.end(),
        }
    }
}

/// Whole lines on their way out. A line leaves the buffer only as far as it was taken, so that one of which the disk took a half
/// is continued, not begun anew.
struct Lines<W: Write> {
    buffer: BufWriter<W>,
    /// Records in the buffer, at most.
    unflushed: u64,
    metrics: Metrics,
}

impl<W: Write> Lines<W> {
    fn new(out: W, metrics: Metrics) -> Self {
        Self { buffer: BufWriter::with_capacity(BUFFER_BYTES, out), unflushed: 0, metrics }
    }

    fn write(&mut self, line: &Line) {
        match self.buffer.write_all(&line.bytes) {
            Ok(()) => self.unflushed += 1,
            Err(error) => {
                self.metrics.audit_dropped();
                tracing::error!(%error, request_id = %line.request_id, "audit record lost: it cannot be written");
            }
        }
    }

    fn flush(&mut self) {
        match self.buffer.flush() {
            Ok(()) => self.unflushed = 0,
            Err(error) => tracing::error!(%error, "cannot write the audit log; trying again"),
        }
    }

    /// Flushes for the last time; what is left is lost.
    fn end(mut self) {
        self.flush();
        for _ in 0..self.unflushed {
            self.metrics.audit_dropped();
        }
    }
}

impl AuditSink for JsonLines {
    fn accept(&self, entry: &Entry<'_>) {
        let Some(queue) = &self.queue else { return };
        let request_id = &entry.record().request_id;
        let Some(bytes) = entry.json() else {
            self.metrics.audit_dropped();
            return tracing::error!(%request_id, "audit record lost: it cannot be written");
        };
        match queue.try_send(Line { request_id: request_id.clone(), bytes }) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.metrics.audit_dropped();
                tracing::error!(%request_id, "audit record lost: the sink cannot keep up");
            }
        }
    }
}

impl Drop for JsonLines {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(Err(_)) = self.writer.take().map(JoinHandle::join) {
            tracing::error!("the audit writer panicked");
        }
    }
}

/// A record as it will be written.
struct Line {
    request_id: String,
    bytes: Bytes,
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
    use std::io;

    use super::*;
    use crate::telemetry::ConnectionCounts;

    /// A file that takes `room` more bytes, then fails.
    #[derive(Clone)]
    struct Disk(Arc<Mutex<(Vec<u8>, usize)>>);

    impl Disk {
        fn with_room(bytes: usize) -> Self {
            Self(Arc::new(Mutex::new((Vec::new(), bytes))))
        }

        fn lines(&self) -> Vec<String> {
            String::from_utf8(self.0.lock().unwrap().0.clone()).unwrap().lines().map(str::to_owned).collect()
        }
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (taken, room) = &mut *self.0.lock().unwrap();
            let count = bytes.len().min(*room);
            if count == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            taken.extend_from_slice(&bytes[..count]);
            *room -= count;
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn record(n: usize) -> Record {
        Record { request_id: n.to_string(), ..Record::default() }
    }

    fn dropped(metrics: &Metrics) -> String {
        let text = metrics.render(ConnectionCounts::default(), []);
        let line = text.lines().find_map(|line| line.strip_prefix("countersign_audit_records_dropped_total "));
        line.unwrap().to_owned()
    }

    #[test]
    fn l10_a_record_is_written_while_others_keep_coming() {
        let disk = Disk::with_room(usize::MAX);
        let sink = JsonLines::start(disk.clone(), Metrics::new().unwrap()).unwrap();
        let mut sent = 0;
        let start = Instant::now();
        while disk.lines().is_empty() && start.elapsed() < Duration::from_millis(500) {
            sink.accept(&Entry::new(&record(sent)));
            sent += 1;
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(!disk.lines().is_empty(), "{sent} records, none of them written");
        drop(sink);
        assert_eq!(disk.lines().len(), sent);
    }

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
        all.accept(&Entry::new(&record(7)));
        assert_eq!(records.records()[0].request_id, "7");
        let lines = rings.map(|ring| ring.0.lock().unwrap().remove(0));
        assert!(lines[0].starts_with(b"{\"time\":\"\",\"request_id\":\"7\""), "{:?}", lines[0]);
        assert_eq!(lines[0].as_ptr(), lines[1].as_ptr(), "rendered once");
    }

    #[test]
    fn l10_a_line_of_which_half_was_written_is_continued() {
        let disk = Disk::with_room(10);
        let metrics = Metrics::new().unwrap();
        let mut lines = Lines::new(disk.clone(), metrics.clone());
        let line = |n: usize| {
            let record = record(n);
            Line { request_id: n.to_string(), bytes: Entry::new(&record).json().unwrap() }
        };
        lines.write(&line(0));
        lines.flush();
        assert_eq!(disk.lines()[0].len(), 10);
        disk.0.lock().unwrap().1 = usize::MAX;
        lines.write(&line(1));
        lines.end();
        let ids: Vec<_> =
            disk.lines().iter().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()).collect();
        assert_eq!((&ids[0]["request_id"], &ids[1]["request_id"]), (&"0".into(), &"1".into()));
        assert_eq!(dropped(&metrics), "0");
    }

    #[test]
    fn l10_every_record_that_cannot_be_written_is_counted() {
        let metrics = Metrics::new().unwrap();
        let sink = JsonLines::start(Disk::with_room(0), metrics.clone()).unwrap();
        for n in 0..1000 {
            sink.accept(&Entry::new(&record(n)));
        }
        drop(sink);
        assert_eq!(dropped(&metrics), "1000");
    }
}

//! Where audit records go.

use std::io::Write;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::audit::record::Record;
use crate::telemetry::Metrics;

/// Takes records without ever holding up the data path.
pub trait AuditSink: Send + Sync + 'static {
    /// Takes one record.
    fn accept(&self, record: Record);
}

/// Records that may wait for a slow disk or pipe. At about 600 bytes each under 5 MiB.
const QUEUE: usize = 8192;

/// JSON, one record a line, written by a thread of its own.
///
/// When the writer cannot keep up and the queue is full, records are lost, counted in `countersign_audit_records_dropped_total` and
/// logged. Dropping the sink writes what is queued.
pub struct JsonLines {
    queue: Option<SyncSender<Record>>,
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
        let writer = std::thread::Builder::new().name("audit".to_owned()).spawn(move || write_all(&records, out))?;
        Ok(Self { queue: Some(queue), writer: Some(writer), metrics })
    }
}

fn write_all(records: &Receiver<Record>, mut out: impl Write) {
    let mut buffer = std::io::BufWriter::with_capacity(64 * 1024, &mut out);
    while let Some(record) = next(records, &mut buffer) {
        let written = serde_json::to_writer(&mut buffer, &record).map_err(std::io::Error::from);
        if let Err(error) = written.and_then(|()| buffer.write_all(b"\n")) {
            tracing::error!(%error, "cannot write the audit record");
        }
    }
}

/// The next record; what was written before is flushed if there is none yet, so that nobody waits for records, and many at once
/// are written together.
fn next(records: &Receiver<Record>, buffer: &mut impl Write) -> Option<Record> {
    records.try_recv().ok().or_else(|| {
        flush(buffer);
        records.recv().ok()
    })
}

fn flush(buffer: &mut impl Write) {
    if let Err(error) = buffer.flush() {
        tracing::error!(%error, "cannot write the audit log");
    }
}

impl AuditSink for JsonLines {
    fn accept(&self, record: Record) {
        let Some(queue) = &self.queue else { return };
        match queue.try_send(record) {
            Ok(()) => {}
            Err(TrySendError::Full(record) | TrySendError::Disconnected(record)) => {
                self.metrics.audit_dropped();
                tracing::error!(request_id = %record.request_id, "audit record lost: the sink cannot keep up");
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
    fn accept(&self, record: Record) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(record);
    }
}

//! A sink with a queue of bounded length, and a thread of its own that empties it.
//!
//! What cannot be given away is kept and tried again, with growing pauses. While that goes on the queue fills; what happens then is the
//! operator's choice ([`WhenFull`]). Nothing is lost without being counted in `countersign_audit_records_dropped_total` and logged.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::audit::entry::Entry;
use crate::audit::outlet::{self, Gathering, Head, Outlet, OutletError};
use crate::audit::room::Room;
use crate::audit::settings::{LineFormat, OutletSettings, SinkSettings, WhenFull};
use crate::audit::sink::AuditSink;
use crate::telemetry::{Metrics, Seldom, SinkMetrics};

/// How long the writer sleeps after it has written. While it sleeps nobody has to wake it: waking costs each request two system calls,
/// and a third to write its record alone.
const NAP: Duration = Duration::from_millis(50);
/// Pauses between attempts.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long a sink that does not take its records is tried when the process ends.
const FAREWELL: Duration = Duration::from_secs(5);
/// How much longer a writer is waited for. One that is in the middle of a delivery is left to itself then.
const GRACE: Duration = Duration::from_millis(300);

/// A queue and who empties it. Closing or dropping it writes what is queued.
pub struct QueuedSink {
    format: LineFormat,
    head: Option<Head>,
    queue: SyncSender<Bytes>,
    room: Option<Room>,
    writer: Mutex<Option<JoinHandle<()>>>,
    shared: Arc<Shared>,
}

/// What the data path and the writer both see.
struct Shared {
    name: String,
    metrics: SinkMetrics,
    losses: Seldom,
    failures: Seldom,
    reopen: AtomicBool,
    /// When the process ends at the latest; `None` while it does not.
    end: Mutex<Option<Instant>>,
    /// Whether nobody waits for the writer any more, and what it had left was counted.
    abandoned: AtomicBool,
}

impl QueuedSink {
    /// Opens what is behind it and starts the writer.
    ///
    /// # Errors
    /// What cannot be opened, for the operator.
    pub fn start(settings: &SinkSettings, metrics: &Metrics) -> Result<Self, String> {
        let (outlet, gathering) = outlet::open(settings)?;
        Self::with_outlet(settings, outlet, gathering, metrics)
    }

    fn with_outlet(
        settings: &SinkSettings,
        outlet: Box<dyn Outlet>,
        gathering: Gathering,
        metrics: &Metrics,
    ) -> Result<Self, String> {
        let (queue, lines) = sync_channel(settings.queue);
        let room = (settings.when_full == WhenFull::Block).then(|| Room::new(&settings.name, settings.queue));
        let shared = Arc::new(Shared {
            name: settings.name.clone(),
            metrics: metrics.audits().of(&settings.name),
            losses: Seldom::default(),
            failures: Seldom::default(),
            reopen: AtomicBool::new(false),
            end: Mutex::new(None),
            abandoned: AtomicBool::new(false),
        });
        let writer = Writer {
            lines,
            outlet,
            gathering,
            room: room.clone(),
            shared: Arc::clone(&shared),
            given_up: 0,
            ended: false,
        };
        let thread = std::thread::Builder::new().name("audit".to_owned()).spawn(move || writer.run());
        let thread = thread.map_err(|error| format!("cannot start the audit writer: {error}"))?;
        let head = match &settings.outlet {
            OutletSettings::Syslog(syslog) => Some(Head::new(syslog.facility)),
            _ => None,
        };
        Ok(Self { format: settings.format, head, queue, room, writer: Mutex::new(Some(thread)), shared })
    }
}

impl AuditSink for QueuedSink {
    fn accept(&self, entry: &Entry<'_>) {
        // A request that never did anything has taken no place.
        if let Some(room) = &self.room
            && !entry.has_places()
            && !room.take_late()
        {
            return self.shared.lost(1, "the queue is full");
        }
        if let Err(why) = self.enqueue(entry) {
            // Whoever writes a record gives its place back, and nobody will write this one.
            if let Some(room) = &self.room {
                room.give_back(1);
            }
            self.shared.lost(1, why);
        }
    }

    fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Relaxed);
    }

    fn end_by(&self, deadline: Instant) {
        self.shared.end_by(deadline);
    }

    fn close(&self) {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(writer) = writer else { return };
        self.shared.end_by(Instant::now() + FAREWELL);
        // An empty line is the end. There is room for it soon: the writer goes on, or gives up.
        let mut is_told = false;
        while !writer.is_finished() {
            is_told = is_told || !matches!(self.queue.try_send(Bytes::new()), Err(TrySendError::Full(_)));
            if self.shared.end().is_some_and(|end| end + GRACE <= Instant::now()) {
                return self.shared.abandon();
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        if writer.join().is_err() {
            tracing::error!(sink = %self.shared.name, "the audit writer panicked");
        }
    }

    fn rooms(&self) -> Vec<Room> {
        self.room.clone().into_iter().collect()
    }

    fn wants_web_facts(&self) -> bool {
        self.format == LineFormat::AccessLog
    }
}

impl QueuedSink {
    /// Puts the line of a record into the queue.
    fn enqueue(&self, entry: &Entry<'_>) -> Result<(), &'static str> {
        let mut line = entry.line(self.format).ok_or("it cannot be written")?;
        if let Some(head) = &self.head {
            line = head.message(entry.record(), &line);
        }
        // Counted before, so that the writer never takes off what was not put on.
        self.shared.metrics.queued.inc();
        self.queue.try_send(line).map_err(|error| {
            self.shared.metrics.queued.dec();
            match error {
                TrySendError::Full(_) => "the queue is full",
                TrySendError::Disconnected(_) => "the writer has ended",
            }
        })
    }
}

impl Drop for QueuedSink {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    /// Sets the end, or makes it an earlier one.
    fn end_by(&self, deadline: Instant) {
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        *end = Some(end.map_or(deadline, |end| end.min(deadline)));
    }

    fn end(&self) -> Option<Instant> {
        *self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts what is left as lost, since nobody waits for the writer any more.
    fn abandon(&self) {
        self.abandoned.store(true, Ordering::Relaxed);
        let records = u64::try_from(self.metrics.queued.get()).unwrap_or_default();
        self.metrics.dropped.inc_by(records);
        if records == 0 {
            // All are written, and files are compressed still: the next process goes on with that.
            return tracing::warn!(sink = %self.name, "the audit sink is not waited for any longer; no record is lost");
        }
        tracing::error!(sink = %self.name, records, "audit records lost: the process ends in the middle of a delivery");
    }

    fn lost(&self, records: u64, why: &'static str) {
        self.metrics.dropped.inc_by(records);
        if let Some(held_back) = self.losses.now() {
            let records = records + held_back;
            tracing::error!(sink = %self.name, records, why, "audit records lost");
        }
    }
}

/// Empties the queue.
struct Writer {
    lines: Receiver<Bytes>,
    outlet: Box<dyn Outlet>,
    gathering: Gathering,
    room: Option<Room>,
    shared: Arc<Shared>,
    /// Records that were given up then.
    given_up: u64,
    /// Whether the last line has come.
    ended: bool,
}

impl Writer {
    fn run(mut self) {
        let (mut batch, mut is_full) = (Vec::new(), false);
        // With nothing to write there is nothing to wake up for.
        while !self.ended
            && let Ok(first) = self.lines.recv()
        {
            if first.is_empty() {
                break;
            }
            batch.push(first);
            if !is_full {
                self.sleep_until(Instant::now() + self.gathering.wait);
            }
            is_full = self.gather(&mut batch);
            if self.shared.reopen.swap(false, Ordering::Relaxed) {
                self.outlet.reopen();
            }
            self.give_away(&batch);
            batch.clear();
            if !is_full && !self.is_closing() {
                std::thread::sleep(NAP);
            }
        }
        // Of requests that ended behind the end.
        let late = self.lines.try_iter().filter(|line| !line.is_empty()).count();
        self.shared.metrics.queued.sub(late as i64);
        self.give_up(late as u64);
        if self.given_up > 0 && !self.shared.abandoned.load(Ordering::Relaxed) {
            tracing::error!(sink = %self.shared.name, records = self.given_up, "audit records lost: the process ends");
        }
    }

    /// Adds what is queued; whether that was more than fits.
    fn gather(&mut self, batch: &mut Vec<Bytes>) -> bool {
        let mut bytes = batch[0].len();
        while batch.len() < self.gathering.lines && bytes < self.gathering.bytes {
            let Ok(line) = self.lines.try_recv() else { return false };
            if line.is_empty() {
                self.ended = true;
                return false;
            }
            bytes += line.len();
            batch.push(line);
        }
        true
    }

    /// Tries until the batch is taken, or the process ends without that it ever is.
    fn give_away(&mut self, batch: &[Bytes]) {
        let records = batch.len() as u64;
        let (mut pause, mut was_tried) = (FIRST_PAUSE, false);
        loop {
            // Each batch is tried once, until one was given up: what only has to be written is written also when nobody waits.
            let is_late = self.shared.end().is_some_and(|end| end <= Instant::now());
            if is_late && (was_tried || self.given_up > 0) {
                self.give_up(records);
                break;
            }
            was_tried = true;
            let delivered = self.outlet.deliver(batch);
            self.shared.metrics.failures.inc_by(self.outlet.take_troubles());
            match delivered {
                Ok(left_out) => {
                    self.note_delivery(records, left_out);
                    break;
                }
                Err(error) => self.note_failure(&error),
            }
            match self.is_closing() {
                true => std::thread::sleep(FIRST_PAUSE),
                false => self.sleep_until(Instant::now() + pause),
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        self.shared.metrics.queued.sub(batch.len() as i64);
        if let Some(room) = &self.room {
            room.give_back(batch.len());
        }
    }

    fn give_up(&mut self, records: u64) {
        self.given_up += records;
        if !self.shared.abandoned.load(Ordering::Relaxed) {
            self.shared.metrics.dropped.inc_by(records);
        }
    }

    fn note_delivery(&self, records: u64, left_out: u64) {
        if self.shared.metrics.failing.get() != 0 {
            tracing::info!(sink = %self.shared.name, "audit records can be written again");
        }
        self.shared.metrics.failing.set(0);
        self.shared.metrics.written.inc_by(records - left_out);
        if left_out > 0 {
            self.shared.lost(left_out, "too long");
        }
    }

    fn note_failure(&self, error: &OutletError) {
        self.shared.metrics.failing.set(1);
        self.shared.metrics.failures.inc();
        if let Some(held_back) = self.shared.failures.now() {
            tracing::error!(sink = %self.shared.name, %error, held_back, "audit records cannot be written; trying again");
        }
    }

    /// Sleeps, but not past the moment at which the process wants to end.
    fn sleep_until(&self, due: Instant) {
        while !self.is_closing() && Instant::now() < due {
            std::thread::sleep(NAP.min(due.saturating_duration_since(Instant::now())));
        }
    }

    fn is_closing(&self) -> bool {
        self.shared.end().is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::mpsc;

    use super::*;
    use crate::audit::record::Record;
    use crate::audit::room::Places;

    /// An outlet that takes as many batches as it was allowed to, and remembers their lines.
    struct Gate {
        allowed: mpsc::Receiver<()>,
        taken: Arc<Mutex<Vec<Bytes>>>,
    }

    impl Outlet for Gate {
        fn deliver(&mut self, batch: &[Bytes]) -> Result<u64, OutletError> {
            self.allowed.try_recv().map_err(|_| OutletError("not yet".to_owned()))?;
            self.taken.lock().unwrap().extend_from_slice(batch);
            Ok(0)
        }
    }

    const ONE_BY_ONE: Gathering = Gathering { lines: 1, bytes: 1, wait: Duration::ZERO };

    fn settings(queue: usize, when_full: WhenFull) -> SinkSettings {
        let outlet = OutletSettings::Stdout;
        SinkSettings { name: "test".to_owned(), outlet, format: LineFormat::Json, queue, when_full }
    }

    fn record(n: usize) -> Record {
        Record { request_id: n.to_string(), ..Record::default() }
    }

    fn eventually(what: &str, condition: impl Fn() -> bool) {
        let start = Instant::now();
        while !condition() {
            assert!(start.elapsed() < Duration::from_secs(20), "did not happen: {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn l10_every_record_that_does_not_fit_is_counted_and_the_others_are_kept_for_better_times() {
        let (metrics, taken) = (Metrics::new().unwrap(), Arc::new(Mutex::default()));
        let (allow, allowed) = mpsc::channel();
        let outlet = Box::new(Gate { allowed, taken: Arc::clone(&taken) });
        let sink = QueuedSink::with_outlet(&settings(16, WhenFull::Drop), outlet, ONE_BY_ONE, &metrics).unwrap();
        let counts = metrics.audits().of("test");
        sink.accept(&Entry::new(&record(0)));
        eventually("the first one failed", || counts.failures.get() > 0 && counts.failing.get() == 1);
        for n in 1..100 {
            sink.accept(&Entry::new(&record(n)));
        }
        assert_eq!((counts.dropped.get(), counts.queued.get(), counts.written.get()), (83, 17, 0));
        for _ in 0..17 {
            allow.send(()).unwrap();
        }
        eventually("all are written", || counts.written.get() == 17);
        assert_eq!((counts.queued.get(), counts.failing.get()), (0, 0));
        let ids: Vec<_> = taken.lock().unwrap().iter().map(id_of).collect();
        assert_eq!(ids, (0..17).map(|n| n.to_string()).collect::<Vec<_>>());
    }

    fn id_of(line: &Bytes) -> String {
        serde_json::from_slice::<serde_json::Value>(line).unwrap()["request_id"].as_str().unwrap().to_owned()
    }

    #[test]
    fn l10_what_cannot_be_written_at_the_end_of_the_process_is_counted() {
        let metrics = Metrics::new().unwrap();
        let outlet = Box::new(Gate { allowed: mpsc::channel().1, taken: Arc::default() });
        let sink = QueuedSink::with_outlet(&settings(100, WhenFull::Drop), outlet, ONE_BY_ONE, &metrics).unwrap();
        for n in 0..30 {
            sink.accept(&Entry::new(&record(n)));
        }
        drop(sink);
        assert_eq!(metrics.audits().of("test").dropped.get(), 30);
    }

    #[tokio::test]
    async fn l10_under_block_a_place_is_taken_before_the_request_and_free_again_when_its_record_is_written() {
        let metrics = Metrics::new().unwrap();
        let (allow, allowed) = mpsc::channel();
        let outlet = Box::new(Gate { allowed, taken: Arc::default() });
        let sink = QueuedSink::with_outlet(&settings(16, WhenFull::Block), outlet, ONE_BY_ONE, &metrics).unwrap();
        let (rooms, counts) = (sink.rooms(), metrics.audits().of("test"));
        let take = || Places::take(&rooms, Duration::from_millis(50), metrics.audits());
        for n in 0..16 {
            let places = take().await.unwrap();
            sink.accept(&Entry::new(&record(n)).with_places(places.are_taken()));
            places.hand_over();
        }
        assert_eq!(rooms[0].is_full(), Some("test"));
        let refused = take().await.unwrap_err();
        assert_eq!(refused.to_string(), "the audit sink `test` had no room for 50 ms");
        sink.accept(&Entry::new(&record(16)));
        assert_eq!(counts.dropped.get(), 1, "the record of a request that was refused for the lack of room");
        allow.send(()).unwrap();
        eventually("one is written", || counts.written.get() == 1);
        drop(take().await.expect("its place is free, and a place that was not used is given back"));
        assert_eq!(rooms[0].is_full(), None);
        for _ in 0..15 {
            allow.send(()).unwrap();
        }
        drop(sink);
        assert_eq!((counts.written.get(), counts.dropped.get()), (16, 1));
    }

    #[test]
    fn l10_under_block_a_place_is_given_back_when_the_record_cannot_be_queued() {
        struct Broken;
        impl Outlet for Broken {
            fn deliver(&mut self, _: &[Bytes]) -> Result<u64, OutletError> {
                panic!("as a fault of the program would")
            }
        }
        let metrics = Metrics::new().unwrap();
        let sink =
            QueuedSink::with_outlet(&settings(4, WhenFull::Block), Box::new(Broken), ONE_BY_ONE, &metrics).unwrap();
        let room = sink.rooms().remove(0);
        sink.accept(&Entry::new(&record(0)));
        let has_ended = || sink.writer.lock().unwrap().as_ref().unwrap().is_finished();
        eventually("the writer panics", has_ended);
        for n in 1..20 {
            assert!(room.take_late(), "the place of record {n}");
            sink.accept(&Entry::new(&record(n)).with_places(true));
        }
        assert_eq!(metrics.audits().of("test").dropped.get(), 19);
    }

    /// An outlet whose server takes a connection and then says nothing.
    struct Dead(Duration);

    impl Outlet for Dead {
        fn deliver(&mut self, _: &[Bytes]) -> Result<u64, OutletError> {
            std::thread::sleep(self.0);
            Err(OutletError("no answer".to_owned()))
        }
    }

    #[test]
    fn l10_dead_sinks_are_waited_for_together_and_not_longer_than_the_end() {
        let metrics = Metrics::new().unwrap();
        let sinks: Vec<_> = (0..3)
            .map(|_| {
                let dead = Box::new(Dead(Duration::from_secs(20)));
                let sink = QueuedSink::with_outlet(&settings(4, WhenFull::Drop), dead, ONE_BY_ONE, &metrics).unwrap();
                sink.accept(&Entry::new(&record(0)));
                Arc::new(sink) as Arc<dyn AuditSink>
            })
            .collect();
        let all = crate::audit::Fanout::new(sinks);
        let start = Instant::now();
        all.end_by(start + Duration::from_millis(200));
        all.close();
        assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
        assert!(metrics.audits().of("test").dropped.get() >= 3);
    }

    /// An outlet that takes everything, and long to end.
    struct Lingering;

    impl Outlet for Lingering {
        fn deliver(&mut self, _: &[Bytes]) -> Result<u64, OutletError> {
            Ok(0)
        }
    }

    impl Drop for Lingering {
        fn drop(&mut self) {
            std::thread::sleep(GRACE * 4);
        }
    }

    #[test]
    fn l10_what_is_written_is_not_lost_though_the_sink_takes_long_to_end() {
        for (outlet, lost) in [(Box::new(Lingering) as Box<dyn Outlet>, 0), (Box::new(Dead(GRACE * 4)), 1)] {
            let metrics = Metrics::new().unwrap();
            let sink = QueuedSink::with_outlet(&settings(4, WhenFull::Drop), outlet, ONE_BY_ONE, &metrics).unwrap();
            sink.accept(&Entry::new(&record(0)));
            sink.end_by(Instant::now());
            sink.close();
            assert!(sink.shared.abandoned.load(Ordering::Relaxed));
            assert_eq!(metrics.audits().of("test").dropped.get(), lost);
        }
    }

    /// A file that takes `room` more bytes, then fails.
    #[derive(Clone)]
    struct Disk(Arc<Mutex<(Vec<u8>, usize)>>);

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

    #[test]
    fn l10_a_line_of_which_half_was_written_is_continued() {
        let disk = Disk(Arc::new(Mutex::new((Vec::new(), 10))));
        let metrics = Metrics::new().unwrap();
        let outlet = Box::new(crate::audit::outlet::Stream::new(disk.clone()));
        let sink = QueuedSink::with_outlet(&settings(16, WhenFull::Drop), outlet, ONE_BY_ONE, &metrics).unwrap();
        sink.accept(&Entry::new(&record(0)));
        eventually("the disk is full", || metrics.audits().of("test").failures.get() > 0);
        assert_eq!(disk.0.lock().unwrap().0.len(), 10);
        disk.0.lock().unwrap().1 = usize::MAX;
        sink.accept(&Entry::new(&record(1)));
        drop(sink);
        let text = String::from_utf8(disk.0.lock().unwrap().0.clone()).unwrap();
        let ids: Vec<_> = text.lines().map(|line| id_of(&Bytes::from(line.to_owned()))).collect();
        assert_eq!(ids, ["0", "1"]);
        assert_eq!(metrics.audits().of("test").dropped.get(), 0);
    }

    #[test]
    fn l10_a_record_is_written_while_others_keep_coming() {
        let disk = Disk(Arc::new(Mutex::new((Vec::new(), usize::MAX))));
        let outlet = Box::new(crate::audit::outlet::Stream::new(disk.clone()));
        let many = Gathering { lines: 1000, bytes: 1 << 20, wait: Duration::ZERO };
        let settings = settings(8192, WhenFull::Drop);
        let sink = QueuedSink::with_outlet(&settings, outlet, many, &Metrics::new().unwrap()).unwrap();
        let (mut sent, start) = (0, Instant::now());
        let written = || disk.0.lock().unwrap().0.iter().filter(|byte| **byte == b'\n').count();
        while written() == 0 && start.elapsed() < Duration::from_millis(500) {
            sink.accept(&Entry::new(&record(sent)));
            sent += 1;
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(written() > 0, "{sent} records, none of them written");
        drop(sink);
        assert_eq!(written(), sent);
    }
}

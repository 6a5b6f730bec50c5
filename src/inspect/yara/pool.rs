//! The threads of an inspector, and the way to them.
//!
//! Threads of their own, because matching blocks a thread for long and a scanner must stay where it was made. They are not waited for
//! when the program ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::inspect::Verdict;
use crate::inspect::yara::Settings;
use crate::inspect::yara::worker::{Job, Order, Spent, work};

/// The threads. Each ends when the pool and all its looks are gone.
#[derive(Debug)]
pub(super) struct Pool {
    threads: Vec<Arc<Thread>>,
    next_look: Arc<AtomicU64>,
    longest_wait: Duration,
}

#[derive(Debug)]
struct Thread {
    jobs: mpsc::Sender<Order>,
    looks: AtomicUsize,
    /// Objects whose scanner the thread keeps.
    #[cfg_attr(not(test), expect(dead_code, reason = "read by tests"))]
    running: Arc<AtomicUsize>,
}

/// One object's place at one thread. It has one job there at most.
#[derive(Debug)]
pub(super) struct Seat {
    thread: Arc<Thread>,
    look: u64,
    has_begun: bool,
    longest_wait: Duration,
    next_look: Arc<AtomicU64>,
    /// Of the time for the object and all that is packed in it.
    spent: Spent,
}

impl Pool {
    /// Starts the threads.
    ///
    /// # Errors
    /// What the operating system says.
    pub(super) fn start(settings: &Settings) -> std::io::Result<Self> {
        let threads = (0..settings.threads.max(1)).map(|_| Thread::start(settings.clone()).map(Arc::new));
        let threads = threads.collect::<Result<_, _>>()?;
        Ok(Self { threads, next_look: Arc::default(), longest_wait: settings.deadline })
    }

    /// A place at the thread with the fewest objects.
    pub(super) fn seat(&self) -> Seat {
        let idlest = self.threads.iter().min_by_key(|thread| thread.looks.load(Ordering::Relaxed));
        let thread = Arc::clone(idlest.expect("there is at least one thread"));
        thread.looks.fetch_add(1, Ordering::Relaxed);
        let look = self.next_look.fetch_add(1, Ordering::Relaxed);
        let next_look = Arc::clone(&self.next_look);
        Seat { thread, look, has_begun: false, longest_wait: self.longest_wait, next_look, spent: Spent::default() }
    }
}

#[cfg(test)]
impl Pool {
    /// Objects whose scanners are kept.
    pub(super) fn running(&self) -> usize {
        self.threads.iter().map(|thread| thread.running.load(Ordering::Acquire)).sum()
    }
}

impl Thread {
    fn start(settings: Settings) -> std::io::Result<Self> {
        // Without a bound of its own: every look waits for its job before it sends another.
        let (sender, jobs) = mpsc::channel();
        let running = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&running);
        std::thread::Builder::new().name("yara".to_owned()).spawn(move || work(&settings, &jobs, &counted))?;
        Ok(Self { jobs: sender, looks: AtomicUsize::new(0), running })
    }
}

impl Seat {
    /// A place at the same thread for something that is packed in the same object: both together have the time of one.
    pub(super) fn beside(&self) -> Self {
        self.thread.looks.fetch_add(1, Ordering::Relaxed);
        Self {
            thread: Arc::clone(&self.thread),
            look: self.next_look.fetch_add(1, Ordering::Relaxed),
            has_begun: false,
            longest_wait: self.longest_wait,
            next_look: Arc::clone(&self.next_look),
            spent: self.spent.clone(),
        }
    }

    /// Matches a block that is not the last, and gives its memory back.
    ///
    /// # Errors
    /// The verdict, if there is one already.
    pub(super) async fn block(&mut self, base: usize, bytes: Vec<u8>) -> Result<Vec<u8>, Verdict> {
        self.has_begun = true;
        let (look, spent) = (self.look, self.spent.clone());
        self.ask(|back| Job::Block { look, spent, base, bytes, back }).await.unwrap_or_else(Err)
    }

    /// Matches the last block.
    pub(super) async fn last(mut self, base: usize, bytes: Vec<u8>) -> Verdict {
        let (look, spent) = (self.look, self.spent.clone());
        self.has_begun = true;
        let verdict = self.ask(|back| Job::Last { look, spent, base, bytes, back }).await;
        // Else the thread may not have come to it.
        self.has_begun = verdict.is_err();
        verdict.unwrap_or_else(|verdict| verdict)
    }

    /// Matches a whole object.
    pub(super) async fn whole(self, bytes: Vec<u8>) -> Verdict {
        let spent = self.spent.clone();
        self.ask(|back| Job::Whole { spent, bytes, back }).await.unwrap_or_else(|verdict| verdict)
    }

    async fn ask<T>(&self, job: impl FnOnce(oneshot::Sender<T>) -> Job) -> Result<T, Verdict> {
        let gone = || Verdict::error("the thread that matches is gone");
        let (back, answer) = oneshot::channel();
        let (begin, begun) = oneshot::channel();
        self.thread.jobs.send(Order { begin: Some(begin), job: job(back) }).map_err(|_| gone())?;
        // Another object has the thread. That says nothing of this one, and it is no failure.
        let busy = |_| Verdict::not_scannable("all threads are busy with objects that take long to match");
        tokio::time::timeout(self.longest_wait, begun).await.map_err(busy)?.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.thread.looks.fetch_sub(1, Ordering::Relaxed);
        if self.has_begun {
            drop(self.thread.jobs.send(Order { begin: None, job: Job::Forget { look: self.look } }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn l08_who_waits_too_long_behind_another_object_is_told_so_and_its_job_is_left_out() {
        let (jobs, waiting) = mpsc::channel();
        let thread = Arc::new(Thread { jobs, looks: AtomicUsize::new(1), running: Arc::default() });
        let longest_wait = Duration::from_millis(10);
        let (next_look, spent) = (Arc::default(), Spent::default());
        let seat = Seat { thread, look: 7, has_begun: false, longest_wait, next_look, spent };
        let verdict = seat.last(0, b"object".to_vec()).await;
        assert!(matches!(verdict, Verdict::NotScannable { .. }), "{verdict:?}");
        let order = waiting.try_recv().unwrap();
        assert!(order.begin.unwrap().send(()).is_err(), "nobody waits for it");
        assert!(matches!(waiting.try_recv().unwrap().job, Job::Forget { look: 7 }));
    }
}

//! What others may know of an upload while it runs: how far it is, whether it is over, what broke it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::Waker;

use tokio::sync::Notify;

use crate::body::Fault;
use crate::inspect::Outcome;

/// Shared view of one upload. The body writes it; the sender, the answer and the audit record read it.
#[derive(Debug, Default)]
pub struct UploadWatch {
    client_bytes: AtomicU64,
    steps: AtomicU64,
    waiting_for_others: AtomicBool,
    complete: AtomicBool,
    completed: Notify,
    superseded: AtomicBool,
    fault: OnceLock<Fault>,
    outcome: OnceLock<Arc<Outcome>>,
    waker: Mutex<Option<Waker>>,
}

impl UploadWatch {
    /// Bytes of the HTTP body taken from the client, framing included.
    pub fn client_bytes(&self) -> u64 {
        self.client_bytes.load(Ordering::Relaxed)
    }

    /// A number that grows whenever the store takes something or the client is asked for more.
    pub fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }

    /// Whether the next step is the client's or an inspector's; otherwise it is the store's.
    pub fn is_waiting_for_others(&self) -> bool {
        self.waiting_for_others.load(Ordering::Relaxed)
    }

    /// Whether every byte was handed over after all checks.
    pub fn is_complete(&self) -> bool {
        self.complete.load(Ordering::Acquire)
    }

    /// Waits until the upload is complete or broken.
    pub async fn ended(&self) {
        loop {
            let notified = self.completed.notified();
            if self.is_complete() || self.fault.get().is_some() {
                return;
            }
            notified.await;
        }
    }

    /// What broke the upload, if something did.
    pub fn fault(&self) -> Option<&Fault> {
        self.fault.get()
    }

    /// What the inspectors of the object came to, once they did.
    pub fn outcome(&self) -> Option<&Arc<Outcome>> {
        self.outcome.get()
    }

    /// Makes the body end with [`Fault::Superseded`] when it is asked next: the store has already answered.
    pub fn supersede(&self) {
        self.superseded.store(true, Ordering::Release);
        if let Some(waker) = self.waker.lock().unwrap_or_else(PoisonError::into_inner).take() {
            waker.wake();
        }
    }

    pub(super) fn is_superseded(&self) -> bool {
        self.superseded.load(Ordering::Acquire)
    }

    pub(super) fn count(&self, bytes: usize) {
        self.client_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn step(&self, waiting_for_others: bool) {
        self.steps.fetch_add(1, Ordering::Relaxed);
        self.waiting_for_others.store(waiting_for_others, Ordering::Relaxed);
    }

    pub(super) fn remember(&self, waker: &Waker) {
        *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(waker.clone());
    }

    pub(super) fn set_outcome(&self, outcome: Arc<Outcome>) {
        // There is one inspection of an upload, and it has one outcome.
        let _first = self.outcome.set(outcome);
    }

    pub(super) fn set_complete(&self) {
        self.complete.store(true, Ordering::Release);
        self.completed.notify_waiters();
    }

    pub(super) fn set_fault(&self, fault: Fault) {
        // The first fault is the cause; what follows from it is of no interest.
        let _first = self.fault.set(fault);
        self.completed.notify_waiters();
    }
}

//! What others may know of an upload while it runs: how far it is, whether it is over, what broke it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::task::Waker;

use tokio::sync::Notify;

use crate::body::Fault;

/// Shared view of one upload. The body writes it; the sender, the answer and the audit record read it.
#[derive(Debug, Default)]
pub struct UploadWatch {
    client_bytes: AtomicU64,
    steps: AtomicU64,
    waiting_for_client: AtomicBool,
    complete: AtomicBool,
    completed: Notify,
    superseded: AtomicBool,
    fault: OnceLock<Fault>,
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

    /// Whether the next step is the client's; otherwise it is the store's.
    pub fn is_waiting_for_client(&self) -> bool {
        self.waiting_for_client.load(Ordering::Relaxed)
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

    pub(super) fn step(&self, waiting_for_client: bool) {
        self.steps.fetch_add(1, Ordering::Relaxed);
        self.waiting_for_client.store(waiting_for_client, Ordering::Relaxed);
    }

    pub(super) fn remember(&self, waker: &Waker) {
        *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(waker.clone());
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

//! Lets connections in, as many as there are places for, and has them served.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use futures_util::FutureExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use super::Handler;
use super::connection;
use super::control::Tuning;
use super::drain::{self, Stop};
use super::listener::{self, Accepted, Listener, Listeners};
use super::monitor::Monitor;
use super::service::Service;
use super::settings::ConnectionLimits;
use crate::flow::Budget;

/// The listeners, and the connections that came in by them.
pub(super) struct Door<H> {
    listeners: Listeners<H>,
    tuning: watch::Receiver<Tuning>,
    slots: Slots,
    service: Arc<Service>,
    stop: Stop,
    monitor: Monitor,
    connections: JoinSet<()>,
}

impl<H: Handler> Door<H> {
    pub(super) fn new(
        listeners: Vec<Listener<H>>,
        budget: Arc<Budget>,
        mut tuning: watch::Receiver<Tuning>,
        stop: Stop,
        monitor: Monitor,
    ) -> Self {
        let limits = Arc::clone(&tuning.borrow_and_update().limits);
        let slots = Slots::new(limits.max_connections);
        let service = Arc::new(Service { limits: ConnectionLimits::clone(&limits), budget, stop: stop.clone() });
        let listeners = Listeners::new(listeners);
        Self { listeners, tuning, slots, service, stop, monitor, connections: JoinSet::new() }
    }

    /// What holds now.
    pub(super) fn tuning(&self) -> Tuning {
        self.tuning.borrow().clone()
    }

    /// Until `end` completes.
    pub(super) async fn let_in_until(&mut self, end: impl Future<Output = ()>) {
        let mut end = pin!(end);
        loop {
            let (accepted, slot) = tokio::select! {
                biased;
                () = &mut end => return,
                Ok(()) = self.tuning.changed() => {
                    self.tune();
                    continue;
                }
                Some(next) = next_with_slot(&mut self.listeners, &mut self.slots) => next,
            };
            self.serve(accepted, slot);
        }
    }

    /// Serves connections that come from now on under other limits.
    fn tune(&mut self) {
        let limits = Arc::clone(&self.tuning.borrow_and_update().limits);
        self.slots.resize(limits.max_connections);
        self.listeners.set_options(&limits);
        let Service { budget, stop, .. } = &*self.service;
        self.service = Arc::new(Service {
            limits: ConnectionLimits::clone(&limits),
            budget: Arc::clone(budget),
            stop: stop.clone(),
        });
    }

    /// Lets in who waits already, as far as there is room, and closes.
    pub(super) fn close(mut self) -> JoinSet<()> {
        while let Some(Some((accepted, slot))) = next_with_slot(&mut self.listeners, &mut self.slots).now_or_never() {
            self.serve(accepted, slot);
        }
        self.connections
    }

    fn serve(&mut self, accepted: Accepted<H>, slot: OwnedSemaphorePermit) {
        drain::reap(&mut self.connections);
        let (service, stop, monitor) = (Arc::clone(&self.service), self.stop.clone(), self.monitor.clone());
        self.connections.spawn(async move {
            let _open = (slot, monitor.opened());
            connection::serve(accepted, service, stop, monitor).await;
        });
    }
}

/// Takes a slot, then a connection for it. `None` if there are no slots any more, which never happens.
async fn next_with_slot<H>(
    listeners: &mut Listeners<H>,
    slots: &mut Slots,
) -> Option<(Accepted<H>, OwnedSemaphorePermit)> {
    let slot = slots.take().await?;
    Some((listener::next_connection(listeners).await, slot))
}

/// The places for connections, whose number can change.
#[derive(Debug)]
struct Slots {
    free: Arc<Semaphore>,
    limit: usize,
    /// Places that are still held and count no more when they come back.
    surplus: usize,
}

impl Slots {
    fn new(limit: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(limit)), limit, surplus: 0 }
    }

    fn resize(&mut self, limit: usize) {
        if limit >= self.limit {
            let more = limit - self.limit;
            let kept = more.min(self.surplus);
            self.surplus -= kept;
            self.free.add_permits(more - kept);
        } else {
            let fewer = self.limit - limit;
            self.surplus += fewer - self.free.forget_permits(fewer);
        }
        self.limit = limit;
    }

    async fn take(&mut self) -> Option<OwnedSemaphorePermit> {
        loop {
            let slot = Arc::clone(&self.free).acquire_owned().await.ok()?;
            if self.surplus == 0 {
                return Some(slot);
            }
            self.surplus -= 1;
            slot.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn places_can_be_more_or_fewer_while_some_are_held() {
        let mut slots = Slots::new(3);
        let mut held: Vec<_> = (0..3).filter_map(|_| slots.take().now_or_never().flatten()).collect();
        assert_eq!(held.len(), 3);
        slots.resize(1);
        held.pop();
        held.pop();
        assert!(slots.take().now_or_never().is_none(), "one is held, and one may be");
        held.pop();
        held.extend(slots.take().now_or_never().flatten());
        assert!(held.len() == 1 && slots.take().now_or_never().is_none());
        // More again before the surplus came back, and some on top.
        slots.resize(4);
        held.extend((0..3).filter_map(|_| slots.take().now_or_never().flatten()));
        assert!(held.len() == 4 && slots.take().now_or_never().is_none());
        slots.resize(2);
        slots.resize(3);
        held.pop();
        assert!(slots.take().now_or_never().is_none());
        held.pop();
        assert!(slots.take().now_or_never().is_some());
    }
}

//! The end of the service, in steps: leaving, closed, stopped, cut.
//!
//! While the gateway is *leaving* it serves as before, but says so: `/readyz` is 503, and each HTTP/1.1 answer closes its connection, so
//! that whoever keeps connections goes elsewhere without losing a request. Then its listeners are *closed*. What is on its way gets a
//! moment, and connections are told to *stop*: idle ones end, HTTP/2 gets GOAWAY, requests in flight go on. What is left at the deadline
//! is *cut*: an upload that is cut never had its end, so nothing of it is stored.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};

/// How long connections without a request are kept after the listeners are closed: a request that was sent before the client could know,
/// on a connection just made or kept, still arrives. Longer than most round trips, too short to be noticed by who waits for the end.
const ON_ITS_WAY: Duration = Duration::from_millis(500);
/// How often the log tells what is waited for.
const REMINDER: Duration = Duration::from_secs(5);

/// Tells all connections how far the end has come.
#[derive(Debug)]
pub(super) struct StopSignal {
    leaving: Arc<AtomicBool>,
    stop: watch::Sender<bool>,
}

/// What a connection listens to.
#[derive(Debug, Clone)]
pub(super) struct Stop {
    leaving: Arc<AtomicBool>,
    stopped: watch::Receiver<bool>,
}

/// A signal and its first listener.
pub(super) fn stop_signal() -> (StopSignal, Stop) {
    let (stop, stopped) = watch::channel(false);
    let leaving = Arc::new(AtomicBool::new(false));
    (StopSignal { leaving: Arc::clone(&leaving), stop }, Stop { leaving, stopped })
}

impl StopSignal {
    /// From now on answers close their connections, and readiness is gone.
    pub(super) fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    /// From now on connections end as soon as they have nothing in flight.
    pub(super) fn request(&self) {
        self.leave();
        self.stop.send_replace(true);
    }
}

impl Stop {
    /// Whether the end has begun. Asked for each answer, so it is one load.
    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

    /// Waits for the signal to stop; its end counts as the signal.
    pub(super) async fn requested(&mut self) {
        let _stopped_either_way = self.stopped.wait_for(|stop| *stop).await.is_ok();
    }
}

/// How the service ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DrainReport {
    /// Connections that were open when the listeners were closed.
    pub open: usize,
    /// Of these, connections that were cut, because the deadline came first or somebody did not want to wait.
    pub cut: usize,
    /// Whether somebody did not want to wait.
    pub at_once: bool,
}

/// Waits for the connections for as long as `deadline` allows and `at_once` does not complete, then cuts the rest. No new ones come.
pub(super) async fn drain(
    mut connections: JoinSet<()>,
    signal: &StopSignal,
    deadline: Duration,
    at_once: impl Future<Output = ()> + Clone,
) -> DrainReport {
    reap(&mut connections);
    let open = connections.len();
    if open > 0 {
        tracing::info!(connections = open, deadline_s = deadline.as_secs_f64(), "listeners closed, draining");
    }
    let closed = Instant::now();
    let deadline = closed + deadline;
    let mut hurried = wait(&mut connections, deadline.min(closed + ON_ITS_WAY), at_once.clone()).await;
    signal.request();
    if !hurried {
        hurried = wait(&mut connections, deadline, at_once).await;
    }
    let cut = connections.len();
    if cut > 0 {
        tracing::warn!(connections = cut, at_once = hurried, "cut with their requests; no upload among them is stored");
    }
    connections.shutdown().await;
    DrainReport { open, cut, at_once: hurried }
}

/// Waits until all connections have ended, until `end`, or until somebody wants it at once, which is what it tells.
async fn wait(connections: &mut JoinSet<()>, end: Instant, at_once: impl Future<Output = ()>) -> bool {
    let mut reminder = interval_at(Instant::now() + REMINDER, REMINDER);
    reminder.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut end, mut at_once) = (pin!(sleep_until(end)), pin!(at_once));
    loop {
        tokio::select! {
            biased;
            () = &mut at_once => return true,
            ended = connections.join_next() => if ended.is_none() { return false },
            () = &mut end => return false,
            _ = reminder.tick() => tracing::info!(connections = connections.len(), "still draining"),
        }
    }
}

/// Forgets connections that have ended.
pub(super) fn reap(connections: &mut JoinSet<()>) {
    // A panic outside the handler, in a body for instance, has ended its connection and was logged by the panic hook.
    while connections.try_join_next().is_some() {}
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test]
    async fn connections_are_told_to_stop_a_moment_after_nobody_is_let_in() {
        let (signal, stop) = stop_signal();
        let mut connections = JoinSet::new();
        let mut told = stop.clone();
        connections.spawn(async move { told.requested().await });
        let closed = Instant::now();
        let report = drain(connections, &signal, Duration::from_secs(20), pending()).await;
        assert_eq!(report, DrainReport { open: 1, cut: 0, at_once: false });
        assert!(closed.elapsed() >= ON_ITS_WAY);
        assert!(stop.is_leaving());
    }

    #[tokio::test]
    async fn that_moment_is_not_longer_than_the_deadline() {
        let (signal, _stop) = stop_signal();
        let mut connections = JoinSet::new();
        connections.spawn(pending());
        let closed = Instant::now();
        let report = drain(connections, &signal, Duration::from_millis(10), pending()).await;
        assert_eq!(report, DrainReport { open: 1, cut: 1, at_once: false });
        assert!(closed.elapsed() < ON_ITS_WAY);
    }

    #[tokio::test]
    async fn nobody_is_waited_for_when_nobody_is_there() {
        let (signal, _stop) = stop_signal();
        let closed = Instant::now();
        let report = drain(JoinSet::new(), &signal, Duration::from_secs(20), pending()).await;
        assert_eq!(report, DrainReport::default());
        assert!(closed.elapsed() < ON_ITS_WAY);
    }
}

//! The end of the service: requests in flight may finish, until the deadline.
//!
//! Connections have been told to stop when this is called; it waits, and cuts what is left.

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Tells all connections to stop.
#[derive(Debug)]
pub(super) struct StopSignal(watch::Sender<bool>);

/// What a connection listens to.
#[derive(Debug, Clone)]
pub(super) struct Stop(watch::Receiver<bool>);

/// A signal and its first listener.
pub(super) fn stop_signal() -> (StopSignal, Stop) {
    let (sender, receiver) = watch::channel(false);
    (StopSignal(sender), Stop(receiver))
}

impl StopSignal {
    pub(super) fn request(&self) {
        self.0.send_replace(true);
    }
}

impl Stop {
    pub(super) fn is_requested(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits for the signal; its end counts as the signal.
    pub(super) async fn requested(&mut self) {
        let _stopped_either_way = self.0.wait_for(|stop| *stop).await.is_ok();
    }
}

/// How the service ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DrainReport {
    /// Connections that were open when the service was told to stop.
    pub open: usize,
    /// Of these, connections that were cut because the deadline came first.
    pub cut: usize,
}

/// Waits for the connections for as long as `deadline` allows, then cuts the rest.
pub(super) async fn drain(mut connections: JoinSet<()>, deadline: Duration) -> DrainReport {
    reap(&mut connections);
    let open = connections.len();
    let all_ended = async { while connections.join_next().await.is_some() {} };
    let cut = match timeout(deadline, all_ended).await {
        Ok(()) => 0,
        Err(_elapsed) => connections.len(),
    };
    connections.shutdown().await;
    DrainReport { open, cut }
}

/// Forgets connections that have ended.
pub(super) fn reap(connections: &mut JoinSet<()>) {
    // A panic outside the handler, in a body for instance, has ended its connection and was printed by the panic hook.
    while connections.try_join_next().is_some() {}
}

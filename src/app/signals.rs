//! The signals that end the gateway, and the one that has it read its configuration again.

use tokio::signal::unix::{SignalKind, signal};

use super::reload::{Cause, Reloader};

/// Reloads at each SIGHUP.
///
/// # Errors
/// If the signal cannot be watched.
pub(super) fn at_hangups(reloader: Reloader) -> std::io::Result<impl Future<Output = ()>> {
    let mut hangups = signal(SignalKind::hangup())?;
    Ok(async move {
        while hangups.recv().await.is_some() {
            // What came of it is in the log already.
            drop(reloader.reload(Cause::Signal).await);
        }
    })
}

/// Completes at SIGTERM or SIGINT.
///
/// # Errors
/// If the signals cannot be watched.
pub fn termination() -> std::io::Result<impl Future<Output = ()>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping: no new connections, waiting for requests in flight");
    })
}

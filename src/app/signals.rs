//! The signals that end the gateway.

use tokio::signal::unix::{SignalKind, signal};

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

//! The signals that end the gateway, the first by asking, a second without waiting; and the one that has it read its configuration again.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

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
pub fn termination() -> io::Result<impl Future<Output = ()>> {
    let mut signals = Signals::watch()?;
    Ok(async move {
        signals.next().await;
    })
}

/// A signal that ends the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// SIGTERM, of a service manager.
    Terminate,
    /// SIGINT, of Ctrl-C.
    Interrupt,
}

impl Ending {
    /// The exit status that shells give a program which this signal ended: 128 and its number.
    pub fn exit_status(self) -> u8 {
        match self {
            Self::Interrupt => 128 + 2,
            Self::Terminate => 128 + 15,
        }
    }
}

/// The first signal and the second one.
pub(super) struct TwoSignals {
    /// Asks for an orderly end.
    pub(super) first: oneshot::Receiver<Ending>,
    /// Wants it at once.
    pub(super) second: oneshot::Receiver<Ending>,
}

/// Waits for signals in a task of its own, so that the second one is seen whatever the first has begun.
///
/// # Errors
/// If the signals cannot be watched.
pub(super) fn two_signals() -> io::Result<TwoSignals> {
    let mut signals = Signals::watch()?;
    let ((tell_first, first), (tell_second, second)) = (oneshot::channel(), oneshot::channel());
    tokio::spawn(async move {
        let signal = signals.next().await;
        tracing::info!(?signal, "stopping; a second signal does not wait");
        // Nobody listens any more if it has ended by itself.
        tell_first.send(signal).ok();
        let signal = signals.next().await;
        tracing::warn!(?signal, "second signal: not waiting any longer");
        tell_second.send(signal).ok();
    });
    Ok(TwoSignals { first, second })
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn watch() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> Ending {
        tokio::select! {
            _ = self.terminate.recv() => Ending::Terminate,
            _ = self.interrupt.recv() => Ending::Interrupt,
        }
    }
}

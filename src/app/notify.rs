//! What the service manager is told: systemd's notification protocol, by the socket that `NOTIFY_SOCKET` names.
//!
//! `READY=1` is sent when the listeners are bound, not when `/readyz` says so. Readiness waits for others (an identity provider, a scanner,
//! credentials), and for them a restart is no remedy, which is what a unit gets whose start takes too long. From then on connections are
//! accepted, `STATUS=` says what is missing, and load balancers ask `/readyz`.
//! Source: `sd_notify(3)`, `systemd.service(5)`.

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;

use super::reload::Moment;
use crate::edge::AdminState;

/// How often the status is compared with what was told.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// The listeners are bound.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// A reload begins or ends, for `Type=notify-reload`.
pub(super) fn reload(moment: Moment) {
    match (moment, NotifyState::monotonic_usec_now()) {
        (Moment::Begins, Ok(now)) => tell(&[NotifyState::Reloading, now]),
        (Moment::Begins, Err(error)) => tracing::warn!(%error, "cannot read the monotonic clock"),
        (Moment::Ended, _) => tell(&[NotifyState::Ready]),
    }
}

/// The end begins and takes at most so long, whatever `TimeoutStopSec` says.
pub(super) fn stopping(at_most: Duration) {
    // Written out: `NotifyState::ExtendTimeoutUsec` has 32 bits, which are 71 minutes, and systemd takes 64.
    let extended = format!("EXTEND_TIMEOUT_USEC={}", at_most.as_micros());
    tell(&[NotifyState::Stopping, NotifyState::Status("shutting down"), NotifyState::Custom(&extended)]);
}

/// Keeps the status true, and the watchdog fed if there is one. Never ends.
pub(super) async fn keep_told(state: Arc<dyn AdminState>) {
    if !is_listening() {
        return std::future::pending().await;
    }
    let watchdog = sd_notify::watchdog_enabled();
    // A watchdog is fed twice in its time, as systemd recommends.
    let pause = watchdog.map_or(STATUS_INTERVAL, |limit| STATUS_INTERVAL.min(limit / 2));
    let mut told = None;
    loop {
        // By way of the scheduler and the timer: if either stands still, the watchdog is not fed.
        tokio::spawn(std::future::ready(())).await.ok();
        if watchdog.is_some() {
            tell(&[NotifyState::Watchdog]);
        }
        let status = status(&state.not_ready());
        if told.as_ref() != Some(&status) {
            tell(&[NotifyState::Status(&status)]);
            told = Some(status);
        }
        tokio::time::sleep(pause).await;
    }
}

fn status(not_ready: &[String]) -> String {
    match not_ready {
        [] => "ready".to_owned(),
        // The protocol has a line for each value.
        reasons => format!("serving, not ready: {}", reasons.join("; ").replace('\n', " ")),
    }
}

fn is_listening() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

/// Does nothing if nobody wants to know.
fn tell(what: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(what) {
        tracing::warn!(%error, "cannot tell the service manager");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_one_line_with_every_reason() {
        assert_eq!(status(&[]), "ready");
        let reasons = ["no key set for issuer `corp`".to_owned(), "clamd:\ndown".to_owned()];
        assert_eq!(status(&reasons), "serving, not ready: no key set for issuer `corp`; clamd: down");
    }
}

//! Opens the sinks of the audit.

use std::sync::{Arc, Weak};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use crate::audit::settings::OutletSettings;
use crate::audit::{AuditSettings, AuditSink, Fanout, QueuedSink};
use crate::telemetry::Metrics;

/// Opens what the configuration names. Must be called inside a tokio runtime.
///
/// # Errors
/// If a file cannot be opened, certificate authorities cannot be used, or a writer cannot be started.
pub(super) fn open_audit(settings: &AuditSettings, metrics: &Metrics) -> anyhow::Result<Arc<dyn AuditSink>> {
    let open = |sink| {
        let opened = QueuedSink::start(sink, metrics).map_err(anyhow::Error::msg);
        opened.map(|sink| Arc::new(sink) as Arc<dyn AuditSink>).with_context(|| format!("audit sink `{}`", sink.name))
    };
    let mut sinks = settings.sinks.iter().map(open).collect::<anyhow::Result<Vec<_>>>()?;
    let all = match sinks.len() {
        1 => sinks.remove(0),
        _ => Arc::new(Fanout::new(sinks)),
    };
    if settings.sinks.iter().any(|sink| matches!(sink.outlet, OutletSettings::File(_))) {
        reopen_on_hangup(Arc::downgrade(&all))?;
    }
    Ok(all)
}

/// Opens the files again at SIGHUP, as `logrotate` asks for it. A file that was moved is noticed without.
fn reopen_on_hangup(sink: Weak<dyn AuditSink>) -> anyhow::Result<()> {
    let mut hangups = signal(SignalKind::hangup()).context("cannot watch for SIGHUP")?;
    tokio::spawn(async move {
        while hangups.recv().await.is_some() {
            let Some(sink) = sink.upgrade() else { return };
            sink.reopen();
        }
    });
    Ok(())
}

//! Opens the sink of the audit.

use std::fs::OpenOptions;
use std::io::Write;
use std::sync::Arc;

use anyhow::Context;

use crate::audit::{AuditSink, JsonLines};
use crate::config::AuditTarget;
use crate::telemetry::Metrics;

/// Opens what the configuration names.
///
/// # Errors
/// If the file cannot be opened, or the writer not started.
pub(super) fn open_audit(target: &AuditTarget, metrics: &Metrics) -> anyhow::Result<Arc<dyn AuditSink>> {
    let out: Box<dyn Write + Send> = match target {
        AuditTarget::Stdout => Box::new(std::io::stdout()),
        AuditTarget::File(path) => {
            let file = OpenOptions::new().append(true).create(true).open(path);
            Box::new(file.with_context(|| format!("cannot open the audit file {}", path.display()))?)
        }
    };
    Ok(Arc::new(JsonLines::start(out, metrics.clone()).context("cannot start the audit writer")?))
}

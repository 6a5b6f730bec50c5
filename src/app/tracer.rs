//! Puts together who begins traces, and who is told of spans.

use std::sync::Arc;

use super::generation::{Lasting, Previous};
use crate::config::{AcceptTraces, TracingSettings};
use crate::telemetry::trace::{Accepts, Tracer};
use crate::telemetry::{Metrics, trace};

/// The tracer of a configuration, with the exporter of the one before if that sends to the same place.
///
/// # Errors
/// If certificate authorities cannot be used, or the exporter cannot be started.
pub(super) fn tracer(
    settings: &TracingSettings,
    lasting: &Lasting,
    previous: Option<Previous<'_>>,
) -> anyhow::Result<Tracer> {
    let accepts: Accepts = match settings.accept.clone() {
        AcceptTraces::Any => Arc::new(|_| true),
        AcceptTraces::None => Arc::new(|_| false),
        AcceptTraces::From(networks) => {
            Arc::new(move |peer| networks.iter().any(|network| network.contains(&peer.to_canonical())))
        }
    };
    let (sample, sink) = match &settings.otlp {
        Some(otlp) => {
            let same = previous.and_then(|previous| previous.span_sink(otlp));
            (otlp.sample, Some(same.map_or_else(|| exporter(otlp, &lasting.metrics), Ok)?))
        }
        // Nobody is told, so no trace is marked as one that is.
        None => (0.0, None),
    };
    Ok(Tracer { accepts, propagate: settings.propagate, sample, sink })
}

#[cfg(feature = "otel")]
fn exporter(otlp: &crate::config::OtlpSettings, metrics: &Metrics) -> anyhow::Result<Arc<dyn trace::SpanSink>> {
    use anyhow::Context;
    Ok(Arc::new(super::otlp::Exporter::start(&otlp.post, metrics).context("tracing.otlp")?))
}

#[cfg(not(feature = "otel"))]
fn exporter(_: &crate::config::OtlpSettings, _: &Metrics) -> anyhow::Result<Arc<dyn trace::SpanSink>> {
    anyhow::bail!("this build sends no spans")
}

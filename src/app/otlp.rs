//! Sends spans to a collector by OTLP, in a thread of its own, behind a queue of bounded length.
//!
//! Spans are for looking, not for proving: what does not fit into the queue, or is not taken when it is sent, is lost and counted in
//! `countersign_trace_spans_dropped_total`. The encoding is that of `opentelemetry-otlp`; connections are our own.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, SpanExporter as OtlpExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter, SpanLinks};

use crate::post::{PostError, PostSettings, Poster};
use crate::telemetry::trace::{FinishedTrace, Kind, Span, SpanSink, Value};
use crate::telemetry::{Metrics, Seldom};

/// Traces that may wait. Of a few spans each, a few MiB.
const QUEUE: usize = 2048;
/// Most spans of one request to the collector.
const MAX_SPANS: usize = 512;
/// How long the first trace of a batch waits for others.
const GATHER: Duration = Duration::from_secs(1);
/// How long the end of the process waits for the last spans.
const FAREWELL: Duration = Duration::from_secs(2);

/// What the thread is given.
enum Message {
    Trace(FinishedTrace),
    /// Nothing comes behind it.
    End,
}

/// Takes finished traces. Dropped without [`SpanSink::close`], as by a reload, it sends what it has without anybody waiting for it.
pub(super) struct Exporter {
    queue: SyncSender<Message>,
    ended: Mutex<Receiver<()>>,
    metrics: Metrics,
}

impl Exporter {
    /// Starts the thread. Nothing is sent before the first span.
    ///
    /// # Errors
    /// What cannot be used, without the value of a header.
    pub(super) fn start(settings: &PostSettings, metrics: &Metrics) -> anyhow::Result<Self> {
        let poster = Poster::new(settings, "application/x-protobuf").map_err(anyhow::Error::msg)?;
        let mut exporter = OtlpExporter::builder()
            .with_http()
            .with_http_client(Posting(poster))
            .with_protocol(Protocol::HttpBinary)
            // What is posted goes where `poster` says.
            .with_endpoint("http://collector.invalid/v1/traces")
            .with_timeout(settings.timeout)
            .build()?;
        let version = env!("CARGO_PKG_VERSION");
        exporter.set_resource(
            &Resource::builder_empty()
                .with_attribute(KeyValue::new("service.name", "countersign"))
                .with_attribute(KeyValue::new("service.version", version))
                .build(),
        );
        let ((queue, traces), (end, ended)) = (sync_channel(QUEUE), sync_channel(1));
        let sender = Sender { traces, exporter, metrics: metrics.clone(), failures: Seldom::default() };
        std::thread::Builder::new().name("otlp".to_owned()).spawn(move || {
            sender.run();
            // Nobody may wait for it any more.
            let _unheard = end.try_send(());
        })?;
        Ok(Self { queue, ended: Mutex::new(ended), metrics: metrics.clone() })
    }
}

impl SpanSink for Exporter {
    fn accept(&self, trace: FinishedTrace) {
        let count = trace.spans.len();
        if self.queue.try_send(Message::Trace(trace)).is_err() {
            self.metrics.spans().dropped(count);
        }
    }

    fn close(&self) {
        // With a full queue the thread does not hear of the end, and what is in it is waited for in vain.
        let told = self.queue.try_send(Message::End);
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_err() || ended.recv_timeout(FAREWELL).is_err() {
            tracing::warn!("spans were still on their way to the collector");
        }
    }
}

/// Empties the queue.
struct Sender {
    traces: Receiver<Message>,
    exporter: OtlpExporter,
    metrics: Metrics,
    failures: Seldom,
}

impl Sender {
    fn run(self) {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return tracing::error!(%error, "no spans are sent: the exporter has no runtime"),
        };
        let mut spans = Vec::new();
        while let Ok(Message::Trace(first)) = self.traces.recv() {
            spans.extend(spans_of(first));
            let is_last = self.gather(&mut spans);
            let count = spans.len();
            match runtime.block_on(self.exporter.export(std::mem::take(&mut spans))) {
                Ok(()) => self.metrics.spans().sent(count),
                Err(error) => {
                    self.metrics.spans().dropped(count);
                    if let Some(held_back) = self.failures.now() {
                        tracing::warn!(%error, spans = count, held_back, "spans lost: the collector did not take them");
                    }
                }
            }
            if is_last {
                return;
            }
        }
    }

    /// Adds what comes until the batch is full, the first trace has waited long enough, or nothing more will come, which it tells.
    fn gather(&self, spans: &mut Vec<SpanData>) -> bool {
        let due = Instant::now() + GATHER;
        while spans.len() < MAX_SPANS {
            match self.traces.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(Message::Trace(trace)) => spans.extend(spans_of(trace)),
                Err(RecvTimeoutError::Timeout) => return false,
                Ok(Message::End) | Err(RecvTimeoutError::Disconnected) => return true,
            }
        }
        false
    }
}

fn spans_of(trace: FinishedTrace) -> impl Iterator<Item = SpanData> {
    let id = TraceId::from_bytes(trace.trace.0);
    trace.spans.into_iter().map(move |span| span_data(id, span))
}

fn span_data(trace: TraceId, span: Span) -> SpanData {
    let id = SpanId::from_bytes(span.id.0);
    let attribute = |(name, value)| match value {
        Value::Text(text) => KeyValue::new(name, text),
        Value::Number(number) => KeyValue::new(name, number),
    };
    SpanData {
        span_context: SpanContext::new(trace, id, TraceFlags::SAMPLED, false, TraceState::NONE),
        parent_span_id: span.parent.map_or(SpanId::INVALID, |parent| SpanId::from_bytes(parent.0)),
        parent_span_is_remote: span.parent_is_remote && span.parent.is_some(),
        span_kind: match span.kind {
            Kind::Server => SpanKind::Server,
            Kind::Client => SpanKind::Client,
            Kind::Internal => SpanKind::Internal,
        },
        name: span.name.into(),
        start_time: span.start,
        end_time: span.end,
        attributes: span.attributes.into_iter().map(attribute).collect(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: span.error.map_or(Status::Unset, Status::error),
        instrumentation_scope: InstrumentationScope::builder("countersign").build(),
    }
}

/// The posts of the exporter over connections of ours.
struct Posting(Poster);

impl fmt::Debug for Posting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Posting")
    }
}

impl HttpClient for Posting {
    fn send_bytes<'a, 'b>(
        &'a self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async move {
            match self.0.post(request.into_body()).await {
                Ok(answer) => Ok(Response::new(answer)),
                Err(PostError::Status(status)) => {
                    let mut response = Response::new(Bytes::new());
                    *response.status_mut() = status;
                    Ok(response)
                }
                Err(error) => Err(error.into()),
            }
        })
    }
}

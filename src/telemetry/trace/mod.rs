//! Traces: where a request comes from (W3C Trace Context), what it did, and who is told.
//!
//! Nothing here is trusted: ids of clients are names in audit records and spans, and nothing is decided by them. Without `tracing` in the
//! configuration no request has a trace, and each question here is one look at an empty place.

mod context;
mod span;

use std::future::Future;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::base::clock::system_time;

pub use context::{SpanId, TraceId, TraceParent};
pub use span::{Attribute, FinishedTrace, Kind, Span, SpanSink, Value};

/// Names of the two headers.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// What tracing systems add for each other.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Most spans of one request; a listing may ask a store hundreds of times.
const MAX_SPANS: usize = 64;

/// Whose trace contexts are continued.
pub type Accepts = Arc<dyn Fn(IpAddr) -> bool + Send + Sync>;

/// Begins the traces of requests.
#[derive(Clone)]
pub struct Tracer {
    /// Whose trace contexts are continued; for others a new trace is begun.
    pub accepts: Accepts,
    /// Whether stores are told.
    pub propagate: bool,
    /// The part of new traces whose spans are told, 0 to 1. Those that are continued follow the decision of their beginner.
    pub sample: f64,
    /// Who is told of spans, if anybody is.
    pub sink: Option<Arc<dyn SpanSink>>,
}

/// The trace of one request, while it is under way.
pub struct RequestTrace {
    trace: TraceId,
    span: SpanId,
    parent: Option<SpanId>,
    state: Option<HeaderValue>,
    sampled: bool,
    propagate: bool,
    begun: SystemTime,
    sink: Option<Arc<dyn SpanSink>>,
    spans: Mutex<Vec<Span>>,
}

tokio::task_local! {
    static CURRENT: Arc<RequestTrace>;
}

impl Tracer {
    /// The trace of a request with this head, from this address.
    pub fn begin(&self, headers: &HeaderMap, peer: IpAddr) -> Arc<RequestTrace> {
        let parent = if (self.accepts)(peer) { TraceParent::of(headers) } else { None };
        let state = parent.as_ref().and_then(|_| context::state_of(headers));
        let (trace, sampled) = match &parent {
            Some(parent) => (parent.trace, parent.sampled),
            None => {
                let trace = TraceId::random();
                (trace, trace.is_within(self.sample))
            }
        };
        Arc::new(RequestTrace {
            trace,
            span: SpanId::random(),
            parent: parent.map(|parent| parent.span),
            state,
            sampled,
            propagate: self.propagate,
            begun: system_time(),
            sink: self.sink.clone().filter(|_| sampled),
            spans: Mutex::default(),
        })
    }
}

impl RequestTrace {
    /// The id of the trace, 32 hexadecimal digits.
    pub fn id(&self) -> String {
        self.trace.to_string()
    }

    /// Runs something as a part of this trace.
    pub fn scope<F: Future>(self: &Arc<Self>, work: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(Arc::clone(self), work)
    }

    /// Ends it with the span of the request itself, and tells the sink.
    pub fn finish(&self, name: String, attributes: Vec<Attribute>, error: Option<String>) {
        let Some(sink) = &self.sink else { return };
        let mut spans = std::mem::take(&mut *self.spans.lock().unwrap_or_else(PoisonError::into_inner));
        spans.push(Span {
            id: self.span,
            parent: self.parent,
            parent_is_remote: true,
            kind: Kind::Server,
            name,
            start: self.begun,
            end: system_time(),
            attributes,
            error,
        });
        sink.accept(FinishedTrace { trace: self.trace, spans });
    }

    fn add(&self, span: Span) {
        let mut spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        if spans.len() < MAX_SPANS {
            spans.push(span);
        }
    }

    fn span(&self, id: SpanId, kind: Kind, name: String, took: Duration) -> Span {
        let end = system_time();
        let start = end.checked_sub(took).unwrap_or(end);
        let parent = Some(self.span);
        Span { id, parent, parent_is_remote: false, kind, name, start, end, attributes: Vec::new(), error: None }
    }
}

/// Notes that something of the current request, if it is traced, took so long until now.
pub fn note(name: &'static str, took: Duration, attributes: impl FnOnce() -> Vec<Attribute>) {
    let note = |trace: &Arc<RequestTrace>| {
        if trace.sink.is_some() {
            let span = trace.span(SpanId::random(), Kind::Internal, name.to_owned(), took);
            trace.add(Span { attributes: attributes(), ..span });
        }
    };
    // Outside a request, or in one without a trace, there is nothing to note.
    let _outside = CURRENT.try_with(note);
}

/// The time, if the current request is traced for somebody: what there is no use for is not measured.
pub fn clock() -> Option<Instant> {
    let is_told = |trace: &Arc<RequestTrace>| trace.sink.is_some().then(Instant::now);
    CURRENT.try_with(is_told).ok().flatten()
}

/// A request to a store, as a part of the current trace.
pub struct Call {
    trace: Arc<RequestTrace>,
    id: SpanId,
    begun: Instant,
}

impl Call {
    /// Begins one, if the current request has a trace.
    pub fn begin() -> Option<Self> {
        let trace = CURRENT.try_with(Arc::clone).ok()?;
        Some(Self { trace, id: SpanId::random(), begun: Instant::now() })
    }

    /// The headers that tell the store, if it is told.
    pub fn headers(&self) -> Option<(HeaderValue, Option<HeaderValue>)> {
        let RequestTrace { trace, sampled, state, propagate, .. } = &*self.trace;
        let parent = TraceParent { trace: *trace, span: self.id, sampled: *sampled };
        propagate.then(|| (parent.header(), state.clone()))
    }

    /// Notes its end: what was asked, and the status or the error that came of it.
    pub fn end(self, name: &str, attributes: impl FnOnce() -> Vec<Attribute>, error: Option<String>) {
        if self.trace.sink.is_some() {
            let span = self.trace.span(self.id, Kind::Client, name.to_owned(), self.begun.elapsed());
            self.trace.add(Span { attributes: attributes(), error, ..span });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Kept(Mutex<Vec<FinishedTrace>>);

    impl SpanSink for Kept {
        fn accept(&self, trace: FinishedTrace) {
            self.0.lock().unwrap().push(trace);
        }
    }

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn tracer(sample: f64, sink: &Arc<Kept>) -> Tracer {
        let sink = Some(Arc::clone(sink) as Arc<dyn SpanSink>);
        Tracer { accepts: Arc::new(|peer| peer.is_loopback()), propagate: true, sample, sink }
    }

    fn headers(parent: &'static str) -> HeaderMap {
        [(TRACEPARENT, HeaderValue::from_static(parent)), (TRACESTATE, HeaderValue::from_static("a=1,b=2"))]
            .into_iter()
            .collect()
    }

    #[tokio::test]
    async fn the_spans_of_a_request_are_told_with_their_parents() {
        let kept = Arc::new(Kept::default());
        let trace = tracer(0.0, &kept).begin(&headers(PARENT), [127, 0, 0, 1].into());
        let told = trace
            .scope(async {
                note("authenticate", Duration::from_millis(3), Vec::new);
                let call = Call::begin().unwrap();
                let told = call.headers().unwrap();
                call.end("PUT", Vec::new, Some("504".to_owned()));
                told
            })
            .await;
        trace.finish("S3/PutObject".to_owned(), Vec::new(), None);
        let finished = kept.0.lock().unwrap().remove(0);
        assert_eq!(finished.trace.to_string(), "0af7651916cd43dd8448eb211c80319c");
        let [own, call, server] = &finished.spans[..] else { panic!("{finished:?}") };
        assert_eq!((server.kind, server.parent.unwrap().to_string().as_str()), (Kind::Server, "b7ad6b7169203331"));
        assert_eq!(
            (own.kind, own.parent, call.kind, call.parent),
            (Kind::Internal, Some(server.id), Kind::Client, Some(server.id))
        );
        assert!(own.end.duration_since(own.start).unwrap() >= Duration::from_millis(3));
        assert_eq!((call.error.as_deref(), told.1.unwrap().to_str().unwrap()), (Some("504"), "a=1,b=2"));
        let expected = format!("00-0af7651916cd43dd8448eb211c80319c-{}-01", call.id);
        assert_eq!(told.0.to_str().unwrap(), expected);
    }

    #[tokio::test]
    async fn a_context_of_somebody_else_begins_a_new_trace_and_the_ratio_decides() {
        let kept = Arc::new(Kept::default());
        let stranger = tracer(0.0, &kept).begin(&headers(PARENT), [192, 0, 2, 1].into());
        assert_ne!(stranger.id(), "0af7651916cd43dd8448eb211c80319c");
        stranger.scope(async { note("x", Duration::ZERO, Vec::new) }).await;
        stranger.finish(String::new(), Vec::new(), None);
        assert!(kept.0.lock().unwrap().is_empty(), "none of the new traces is told");
        tracer(1.0, &kept).begin(&HeaderMap::new(), [127, 0, 0, 1].into()).finish(String::new(), Vec::new(), None);
        assert_eq!(kept.0.lock().unwrap().len(), 1);
        assert!(Call::begin().is_none(), "outside a request there is no trace");
    }

    #[test]
    fn the_decision_of_the_beginner_is_followed() {
        let kept = Arc::new(Kept::default());
        let unsampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
        let trace = tracer(1.0, &kept).begin(&headers(unsampled), [127, 0, 0, 1].into());
        trace.finish(String::new(), Vec::new(), None);
        assert!(kept.0.lock().unwrap().is_empty());
    }
}

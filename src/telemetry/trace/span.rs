//! What a span is, to whoever is told of it.

use std::time::SystemTime;

use super::context::{SpanId, TraceId};

/// Takes finished traces without ever holding up the data path.
pub trait SpanSink: Send + Sync + 'static {
    /// Takes the spans of one request.
    fn accept(&self, trace: FinishedTrace);

    /// Sends what it has, at the end of the process, and waits for that for a bounded time. May block.
    fn close(&self) {}
}

/// All spans of one request; the last is that of the request itself.
#[derive(Debug, Clone)]
pub struct FinishedTrace {
    /// Their trace.
    pub trace: TraceId,
    /// At least one.
    pub spans: Vec<Span>,
}

/// Something that took time.
#[derive(Debug, Clone)]
pub struct Span {
    /// Its own id.
    pub id: SpanId,
    /// What it is a part of.
    pub parent: Option<SpanId>,
    /// Whether that is a span of the client.
    pub parent_is_remote: bool,
    /// Its role.
    pub kind: Kind,
    /// Its name; one of few.
    pub name: String,
    /// When it began.
    pub start: SystemTime,
    /// When it ended.
    pub end: SystemTime,
    /// More about it.
    pub attributes: Vec<Attribute>,
    /// What failed, if it did.
    pub error: Option<String>,
}

/// A name of the semantic conventions of OpenTelemetry, or one of our own, and its value.
pub type Attribute = (&'static str, Value);

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(String),
    /// A number.
    Number(i64),
}

/// The role of a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A request of a client.
    Server,
    /// A request to a store.
    Client,
    /// Work of the gateway itself.
    Internal,
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

//! A signed request, ready to be sent once.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, Method, Request};
use http_body::{Body, Frame, SizeHint};

use crate::base::RouteId;
use crate::body::{Fault, UploadBody, UploadWatch};
use crate::sign::credentials::CredentialStore;
use crate::telemetry::trace::{TRACEPARENT, TRACESTATE};

/// Where a signed request goes, and whose credentials it was signed with.
#[derive(Debug, Clone)]
pub(in crate::sign) struct Destination {
    pub(in crate::sign) route: RouteId,
    pub(in crate::sign) credentials: Arc<CredentialStore>,
}

/// A signed, complete request. Only `sign` makes one; sending consumes it.
#[derive(Debug)]
pub struct Outbound {
    destination: Destination,
    watch: Option<Arc<UploadWatch>>,
    /// Behind a pointer, because it is handed on through several futures.
    request: Box<Request<OutboundBody>>,
    takes_long: bool,
}

/// Body of a request to a store.
#[derive(Debug)]
pub enum OutboundBody {
    /// Nothing.
    Empty,
    /// The bytes of an object.
    Upload(Box<UploadBody>),
    /// A document or a part that is in memory.
    Buffered(VecDeque<Bytes>),
}

impl Outbound {
    pub(in crate::sign) fn empty(request: Request<Destination>) -> Self {
        Self::new(request, OutboundBody::Empty, None)
    }

    pub(in crate::sign) fn upload(request: Request<Destination>, body: Box<UploadBody>) -> Self {
        let watch = Arc::clone(body.watch());
        Self::new(request, OutboundBody::Upload(body), Some(watch))
    }

    pub(in crate::sign) fn buffered(request: Request<Destination>, pieces: VecDeque<Bytes>) -> Self {
        Self::new(request, OutboundBody::Buffered(pieces), None)
    }

    fn new(request: Request<Destination>, body: OutboundBody, watch: Option<Arc<UploadWatch>>) -> Self {
        let (head, destination) = request.into_parts();
        Self { destination, watch, request: Box::new(Request::from_parts(head, body)), takes_long: false }
    }

    /// Adds the trace that it is a part of. The only headers that the signature does not cover: what is between the gateway and the store may
    /// put a span of its own there, and stores decide nothing by them.
    pub fn add_trace(&mut self, parent: HeaderValue, state: Option<HeaderValue>) {
        let headers = self.request.headers_mut();
        headers.insert(TRACEPARENT, parent);
        if let Some(state) = state {
            headers.insert(TRACESTATE, state);
        }
    }

    /// The method of the request.
    pub fn method(&self) -> &Method {
        self.request.method()
    }

    /// Marks a request that a store may work on for minutes before it answers: a copy, the end of a multipart upload.
    #[must_use]
    pub fn taking_long(self) -> Self {
        Self { takes_long: true, ..self }
    }

    /// Whether the store may work on it for minutes.
    pub fn takes_long(&self) -> bool {
        self.takes_long
    }

    /// The upstream it goes to.
    pub fn route(&self) -> RouteId {
        self.destination.route
    }

    /// Where the credentials come from that it was signed with.
    pub fn credentials(&self) -> &Arc<CredentialStore> {
        &self.destination.credentials
    }

    /// The view of its upload, if it carries one.
    pub fn watch(&self) -> Option<&Arc<UploadWatch>> {
        self.watch.as_ref()
    }

    /// The request itself.
    pub fn into_request(self) -> Request<OutboundBody> {
        *self.request
    }
}

impl Body for OutboundBody {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Upload(body) => Pin::new(body.as_mut()).poll_frame(context),
            Self::Buffered(pieces) => Poll::Ready(pieces.pop_front().map(|piece| Ok(Frame::data(piece)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Upload(body) => body.is_end_stream(),
            Self::Buffered(pieces) => pieces.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Upload(body) => body.size_hint(),
            Self::Buffered(pieces) => SizeHint::with_exact(pieces.iter().map(|piece| piece.len() as u64).sum()),
        }
    }
}

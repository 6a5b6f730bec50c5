//! The body of an answer, and the ticket that closes with it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::audit::Ticket;
use crate::body::Throttle;
use crate::limits::Passage;
use crate::limits::meter::Direction;
use crate::respond::late::LateBody;
use crate::respond::refusal::Refusal;
use crate::respond::withheld::{InspectedBody, Withheld};
use crate::upstream::ReplyBody;

/// What is given of bytes in memory at a time, so that rates are kept.
const PIECE: usize = 64 * 1024;

/// What goes to the client.
pub type Reply = http::Response<AnswerBody>;

/// The body of an answer. Its ticket closes when the last byte was taken, or when it is dropped before; what the caller holds of its
/// limits comes back with it.
pub struct AnswerBody {
    source: Source,
    ticket: Option<Box<Ticket>>,
    throttle: Option<Throttle>,
    passage: Option<Passage>,
}

/// Where the bytes come from.
pub enum Source {
    /// A document of our own, or an object that was held.
    Full(Bytes),
    /// The store, frame by frame.
    Store(Box<ReplyBody>),
    /// A document that a store takes long for.
    Late(Box<LateBody>),
    /// The store, past inspectors.
    Inspected(Box<InspectedBody>),
}

impl AnswerBody {
    /// A body without a ticket yet.
    pub fn new(source: Source) -> Self {
        Self { source, ticket: None, throttle: None, passage: None }
    }

    /// Hands over the ticket, to be closed at the end.
    #[must_use]
    pub fn with_ticket(mut self, mut ticket: Box<Ticket>) -> Self {
        // hyper never polls an empty body, so its end is now.
        if self.is_end_stream() {
            ticket.finished();
        } else {
            self.ticket = Some(ticket);
        }
        self
    }

    /// Keeps what the caller holds of its limits until the end, and holds the body to its rate.
    #[must_use]
    pub fn with_passage(mut self, passage: Option<Passage>) -> Self {
        if !self.is_end_stream() {
            self.throttle = passage.as_ref().and_then(|passage| passage.meter(Direction::Download)).map(Throttle::new);
            self.passage = passage;
        }
        self
    }

    fn note_end(&mut self, result: Result<(), &Withheld>) {
        self.passage = None;
        if let Some(mut ticket) = self.ticket.take() {
            match result {
                Ok(()) => ticket.finished(),
                Err(Withheld::Store(error)) => ticket.failed(error.to_string()),
                Err(Withheld::Rejected(outcome)) => {
                    let refusal = Refusal::from(outcome.as_ref());
                    ticket.note_refusal(refusal.kind.as_str(), refusal.code.as_str(), refusal.reason);
                    ticket.finished();
                }
            }
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Withheld;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Withheld>>> {
        let this = &mut *self;
        if let Some(throttle) = &mut this.throttle {
            ready!(throttle.poll_ready(context));
        }
        let frame = match &mut this.source {
            Source::Full(bytes) if bytes.is_empty() => None,
            Source::Full(bytes) => Some(Ok(Frame::data(bytes.split_to(bytes.len().min(PIECE))))),
            Source::Store(body) => {
                ready!(Pin::new(body.as_mut()).poll_frame(context)).map(|frame| frame.map_err(Withheld::Store))
            }
            Source::Inspected(body) => {
                let piece = ready!(body.poll_piece(context, this.ticket.as_deref_mut()));
                piece.map(|piece| piece.map(Frame::data))
            }
            Source::Late(late) => {
                let text = ready!(late.poll_text(context, this.ticket.as_deref_mut()));
                text.map(|text| Ok(Frame::data(text)))
            }
        };
        match &frame {
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, Bytes::len);
                if let Some(throttle) = &this.throttle {
                    throttle.charge(length);
                }
                if let Some(ticket) = &mut this.ticket {
                    ticket.count_out(length);
                }
                if this.source_ended() {
                    this.note_end(Ok(()));
                }
            }
            Some(Err(error)) => this.note_end(Err(error)),
            None => this.note_end(Ok(())),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.source_ended()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Store(body) => body.size_hint(),
            Source::Late(_) => SizeHint::default(),
            Source::Inspected(body) => body.size_hint(),
        }
    }
}

impl AnswerBody {
    fn source_ended(&self) -> bool {
        match &self.source {
            Source::Full(bytes) => bytes.is_empty(),
            Source::Store(body) => body.is_end_stream(),
            Source::Late(late) => late.is_end(),
            Source::Inspected(body) => body.is_end(),
        }
    }
}

impl std::fmt::Debug for AnswerBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AnswerBody")
    }
}

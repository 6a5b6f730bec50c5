//! An object on its way to a client, or to nobody, while inspectors look at it.
//!
//! The verdict comes after the last byte, so the end of the object is kept back until it is there: all of a small object ([`hold`]), the
//! last [`KEPT_BACK`] bytes of a large one ([`InspectedBody`]). A client that gets less than the declared length has no object.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::{Body, SizeHint};

use crate::audit::Ticket;
use crate::inspect::{Action, Inspection, Memory, ObjectId, Outcome};
use crate::respond::inspected;
use crate::upstream::ReplyBody;
use crate::upstream::reply::ReplyError;

/// The end of a streamed object that waits for the verdict: without it an archive has no directory and a document no end.
pub const KEPT_BACK: usize = 64 * 1024;
/// Smaller pieces are copied together, because each keeps the whole buffer it was read into.
const SMALL_PIECE: usize = 4 * 1024;

/// Whether a reader gets an object of this outcome. A mark is for objects that are stored.
pub fn gives_out(outcome: &Outcome) -> bool {
    match outcome.action {
        Action::Allow | Action::Mark => true,
        Action::Quarantine | Action::Refuse => false,
    }
}

/// Writes down what was found in an object that is read, now or when it was looked at before.
pub fn note_on(ticket: &mut Ticket, outcome: &Outcome, remembered: bool) {
    let mut note = inspected::note_of(outcome);
    note.action = if gives_out(outcome) { outcome.action } else { Action::Refuse }.as_str();
    for finding in note.findings.iter_mut().filter(|_| remembered) {
        finding.remembered = true;
    }
    ticket.note_inspection(note);
}

/// Why the end of an object was not given out.
#[derive(Debug, thiserror::Error)]
pub enum Withheld {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] ReplyError),
    /// The inspectors, or what the rule makes of what they said.
    #[error("the object was withheld: {0}")]
    Rejected(Arc<Outcome>),
}

/// Moves an object past its inspectors.
struct Pump {
    source: ReplyBody,
    inspection: Inspection,
    ended: bool,
}

impl Pump {
    /// The next piece, which the inspectors have been given; `None` behind the last one, or as soon as there is an outcome that needs no more.
    fn poll_piece(
        &mut self,
        context: &mut Context<'_>,
        is_enough: fn(&Outcome) -> bool,
    ) -> Poll<Result<Option<Bytes>, ReplyError>> {
        loop {
            if self.ended || ready!(self.inspection.poll_step(context)).is_some_and(|outcome| is_enough(&outcome)) {
                return Poll::Ready(Ok(None));
            }
            match ready!(Pin::new(&mut self.source).poll_frame(context)) {
                Some(frame) => {
                    let Ok(piece) = frame?.into_data() else { continue };
                    if !piece.is_empty() {
                        self.inspection.push(&piece);
                        return Poll::Ready(Ok(Some(piece)));
                    }
                }
                None => {
                    self.inspection.end();
                    self.ended = true;
                }
            }
        }
    }

    /// Looks at everything, or until there is enough, and gives each piece to `take`.
    async fn run(
        mut self,
        is_enough: fn(&Outcome) -> bool,
        mut take: impl FnMut(&Bytes),
    ) -> Result<Arc<Outcome>, ReplyError> {
        while let Some(piece) = poll_fn(|context| self.poll_piece(context, is_enough)).await? {
            take(&piece);
        }
        Ok(poll_fn(|context| self.inspection.poll_outcome(context)).await)
    }
}

/// An object of this outcome is not given out, so nobody needs its other bytes.
fn withholds(outcome: &Outcome) -> bool {
    !gives_out(outcome)
}

/// Reads an object to its verdict, which may come before its end. The store's connection enforces the declared length of the object.
///
/// # Errors
/// [`ReplyError`] if it broke off: then there is no verdict.
pub async fn look_through(source: ReplyBody, inspection: Inspection) -> Result<Arc<Outcome>, ReplyError> {
    Pump { source, inspection, ended: false }.run(|_| true, |_| {}).await
}

/// Reads an object to its verdict, and keeps the bytes of a window. The store's connection enforces the declared length of the object.
///
/// # Errors
/// [`ReplyError`] if it broke off: then there is no verdict.
pub async fn hold(
    source: ReplyBody,
    inspection: Inspection,
    window: Range<u64>,
) -> Result<(Vec<u8>, Arc<Outcome>), ReplyError> {
    // In one piece of its own: pieces of a store may keep buffers many times their size.
    let mut held = Vec::with_capacity(usize::try_from(window.end - window.start).unwrap_or_default());
    let mut window = Window::new(window);
    let take = |piece: &Bytes| held.extend_from_slice(&window.cut(piece));
    let outcome = Pump { source, inspection, ended: false }.run(withholds, take).await?;
    Ok((held, outcome))
}

/// The bytes of an object that somebody asked for, out of all that come.
#[derive(Debug)]
struct Window {
    wanted: Range<u64>,
    passed: u64,
}

impl Window {
    fn new(wanted: Range<u64>) -> Self {
        Self { wanted, passed: 0 }
    }

    /// What of the next piece is wanted.
    fn cut(&mut self, piece: &Bytes) -> Bytes {
        let begin = self.passed;
        self.passed += piece.len() as u64;
        // Within the piece, so it fits where the piece does.
        let at = |place: u64| usize::try_from(place.clamp(begin, self.passed) - begin).unwrap_or(piece.len());
        piece.slice(at(self.wanted.start)..at(self.wanted.end))
    }
}

/// An object that is given out while it is looked at, but for its end.
pub struct InspectedBody {
    /// `None` when the verdict is there.
    pump: Option<Pump>,
    /// What may go out already.
    first: Option<Bytes>,
    tail: Tail,
    length: SizeHint,
    /// Which bytes go out, if not all.
    window: Option<Window>,
    /// Where the verdict is remembered.
    remember: Option<(Arc<Memory>, ObjectId)>,
}

impl InspectedBody {
    /// Nothing is read yet.
    pub fn new(source: ReplyBody, inspection: Inspection, remember: Option<(Arc<Memory>, ObjectId)>) -> Self {
        let length = source.size_hint();
        let pump = Some(Pump { source, inspection, ended: false });
        Self { pump, first: None, tail: Tail::default(), length, window: None, remember }
    }

    /// Nothing is read yet; of what will be, only these bytes go out.
    #[must_use]
    pub fn only(mut self, window: Range<u64>) -> Self {
        self.length = SizeHint::with_exact(window.end - window.start);
        self.window = Some(Window::new(window));
        self
    }

    /// Waits for the first piece for the client, so that what is found until then becomes a clean answer.
    ///
    /// # Errors
    /// [`Withheld`] if nothing goes out.
    pub async fn prime(&mut self, ticket: &mut Ticket) -> Result<(), Withheld> {
        let first = poll_fn(|context| self.poll_piece(context, Some(ticket))).await.transpose()?;
        if let Some(pump) = &mut self.pump {
            // Until what came so far was taken, so that what is found in the beginning is found now.
            poll_fn(|context| pump.inspection.poll_ready(context)).await;
            if let Some(outcome) = pump.inspection.outcome_now().filter(|outcome| !gives_out(outcome)).cloned() {
                self.pump = None;
                self.settle(&outcome, Some(ticket));
                return Err(Withheld::Rejected(outcome));
            }
        }
        self.first = first;
        Ok(())
    }

    /// The next piece for the client.
    pub fn poll_piece(
        &mut self,
        context: &mut Context<'_>,
        ticket: Option<&mut Ticket>,
    ) -> Poll<Option<Result<Bytes, Withheld>>> {
        if let Some(piece) = self.first.take() {
            return Poll::Ready(Some(Ok(piece)));
        }
        while let Some(pump) = &mut self.pump {
            if let Some(piece) = self.tail.spare() {
                return Poll::Ready(Some(Ok(piece)));
            }
            match ready!(pump.poll_piece(context, withholds)) {
                Ok(Some(piece)) => match &mut self.window {
                    Some(window) => self.tail.push(window.cut(&piece)),
                    None => self.tail.push(piece),
                },
                Ok(None) => {
                    let outcome = ready!(pump.inspection.poll_outcome(context));
                    self.pump = None;
                    self.settle(&outcome, ticket);
                    if !gives_out(&outcome) {
                        self.tail = Tail::default();
                        return Poll::Ready(Some(Err(Withheld::Rejected(outcome))));
                    }
                    break;
                }
                Err(error) => {
                    self.pump = None;
                    self.tail = Tail::default();
                    return Poll::Ready(Some(Err(error.into())));
                }
            }
        }
        Poll::Ready(self.tail.pop().map(Ok))
    }

    fn settle(&mut self, outcome: &Arc<Outcome>, ticket: Option<&mut Ticket>) {
        if let Some((memory, object)) = self.remember.take() {
            memory.keep(object, outcome);
        }
        if let Some(ticket) = ticket {
            note_on(ticket, outcome, false);
        }
    }

    /// Whether everything was given.
    pub fn is_end(&self) -> bool {
        self.pump.is_none() && self.first.is_none() && self.tail.is_empty()
    }

    /// How much it is in all, as the store declared it.
    pub fn size_hint(&self) -> SizeHint {
        self.length
    }
}

/// The last bytes that came: [`KEPT_BACK`] of them, and one piece.
#[derive(Debug, Default)]
struct Tail {
    pieces: VecDeque<Bytes>,
    small: BytesMut,
    length: usize,
}

impl Tail {
    fn push(&mut self, piece: Bytes) {
        if piece.is_empty() {
            return;
        }
        self.length += piece.len();
        if piece.len() < SMALL_PIECE {
            self.small.extend_from_slice(&piece);
            if self.small.len() < SMALL_PIECE {
                return;
            }
        }
        self.close_small();
        if piece.len() >= SMALL_PIECE {
            self.pieces.push_back(piece);
        }
    }

    /// The first piece, if [`KEPT_BACK`] bytes stay behind it.
    fn spare(&mut self) -> Option<Bytes> {
        let first = self.pieces.front()?;
        (self.length - first.len() >= KEPT_BACK).then(|| self.pop()).flatten()
    }

    fn pop(&mut self) -> Option<Bytes> {
        if self.pieces.is_empty() {
            self.close_small();
        }
        let out = self.pieces.pop_front()?;
        self.length -= out.len();
        Some(out)
    }

    fn close_small(&mut self) {
        if !self.small.is_empty() {
            self.pieces.push_back(self.small.split().freeze());
        }
    }

    fn is_empty(&self) -> bool {
        self.length == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_window_is_the_same_however_the_object_is_cut() {
        let object: Vec<u8> = (0..100).collect();
        for (wanted, pieces) in
            [(0..0, 7), (0..100, 7), (10..11, 1), (13..42, 5), (13..42, 100), (99..100, 3), (0..1, 100)]
        {
            let mut window = Window::new(wanted.clone());
            let got: Vec<u8> =
                object.chunks(pieces).flat_map(|piece| window.cut(&Bytes::copy_from_slice(piece))).collect();
            assert_eq!(got, (wanted.start as u8..wanted.end as u8).collect::<Vec<_>>(), "{wanted:?} {pieces}");
        }
    }

    proptest! {
        #[test]
        fn the_last_bytes_stay_whatever_the_pieces_are(lengths in proptest::collection::vec(1_usize..40_000, 0..40)) {
            let mut next = 0_u8;
            let mut pieces = lengths.iter().map(|length| {
                (0..*length).map(|_| { next = next.wrapping_mul(13).wrapping_add(7); next }).collect::<Vec<u8>>()
            });
            let (mut tail, mut all, mut out) = (Tail::default(), Vec::new(), Vec::new());
            for piece in pieces.by_ref() {
                all.extend_from_slice(&piece);
                tail.push(piece.into());
                while let Some(piece) = tail.spare() {
                    out.extend_from_slice(&piece);
                }
                prop_assert!(all.len() - out.len() >= KEPT_BACK.min(all.len()));
                prop_assert!(all.len() - out.len() <= KEPT_BACK + 40_000, "no more than that and one piece");
                prop_assert_eq!(tail.length, all.len() - out.len());
            }
            while let Some(piece) = tail.pop() {
                out.extend_from_slice(&piece);
            }
            prop_assert!(out == all && tail.is_empty());
        }
    }
}

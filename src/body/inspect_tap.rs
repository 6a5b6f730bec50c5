//! Lets inspectors see an object that passes, and holds its end back until their verdict.
//!
//! Stands behind all checks, so that what is looked at is what would be stored, and has the end of the upload in its hands: the held bytes
//! go out when the verdicts are there, not before.
//!
//! Small pieces that come one behind the other are joined first: a client may send every byte in a chunk of its own, and each piece costs
//! a scanner a chunk, and the network a packet.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::body::holdback::Holdback;
use crate::body::pause::Pause;
use crate::body::{Emit, Fault, Stage};
use crate::inspect::{Action, Inspection, Outcome};

/// Smaller pieces than this are joined.
const SMALL: usize = 4 * 1024;
/// So many bytes are shown at once.
const JOINED: usize = 16 * 1024;
/// How long small pieces wait for others. Not until nothing is ready: of HTTP/1.1 that is so behind every chunk.
const JOIN_TIME: Duration = Duration::from_millis(10);

/// Where the bytes of an inspected upload go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// To the key of the object: nothing goes through that is not allowed as it is.
    Final,
    /// To a hidden key, from where it is moved according to the outcome: only what is refused does not go through.
    Staging,
}

impl Destination {
    /// Whether an object with this outcome may be stored here.
    pub fn takes(self, action: Action) -> bool {
        match self {
            Self::Final => action == Action::Allow,
            Self::Staging => action != Action::Refuse,
        }
    }
}

/// The inspectors of an upload, and the end of it.
#[derive(Debug)]
pub struct InspectTap {
    inspection: Inspection,
    destination: Destination,
    /// What passed every check and was shown to nobody yet.
    unseen: VecDeque<Bytes>,
    /// Small pieces behind these.
    joined: BytesMut,
    /// How long they wait.
    pause: Pause,
    holdback: Holdback,
    at: At,
}

/// How far the upload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// More may come.
    Body,
    /// Everything has come.
    End,
    /// The inspectors know that everything has come.
    Verdict,
}

impl InspectTap {
    /// Shows an upload to inspectors.
    pub fn new(inspection: Inspection, destination: Destination) -> Self {
        Self {
            inspection,
            destination,
            unseen: VecDeque::new(),
            joined: BytesMut::new(),
            pause: Pause::new(JOIN_TIME),
            holdback: Holdback::default(),
            at: At::Body,
        }
    }

    /// Takes bytes that passed every check.
    pub fn take(&mut self, bytes: Bytes) {
        if bytes.len() < SMALL {
            self.joined.extend_from_slice(&bytes);
            if self.joined.len() >= JOINED {
                self.pass_joined();
            }
        } else {
            self.pass_joined();
            self.unseen.push_back(bytes);
        }
    }

    /// There are no more.
    pub fn end(&mut self) {
        self.pass_joined();
        self.at = At::End;
    }

    /// To be asked while there is nothing to take. Ready when small pieces have waited long enough, and can be shown now.
    pub fn poll_joined(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.joined.is_empty() {
            return Poll::Pending;
        }
        // The looks go on meanwhile, and no small piece waits when they are over.
        if !matches!(self.inspection.poll_step(context), Poll::Ready(Some(_))) {
            ready!(self.pause.poll_over(context));
        }
        self.pass_joined();
        Poll::Ready(())
    }

    fn pass_joined(&mut self) {
        self.pause.call_off();
        if !self.joined.is_empty() {
            self.unseen.push_back(self.joined.split().freeze());
        }
    }

    /// Whether everything has come, so that only the verdicts are waited for.
    pub fn has_ended(&self) -> bool {
        self.at != At::Body
    }

    /// Shows the inspectors what they may see, and emits what may go out. Ready with `None` when they can take more; with the outcome when
    /// that was the end.
    pub fn poll(
        &mut self,
        context: &mut Context<'_>,
        emit: &mut Emit<'_>,
    ) -> Poll<Result<Option<Arc<Outcome>>, Fault>> {
        if self.unseen.is_empty() && !self.joined.is_empty() {
            return Poll::Ready(Ok(None));
        }
        loop {
            let outcome = ready!(self.inspection.poll_step(context));
            if let Some(outcome) = outcome.as_ref().filter(|outcome| !self.destination.takes(outcome.action)) {
                return Poll::Ready(Err(Fault::Inspection(Arc::clone(outcome))));
            }
            match (self.unseen.pop_front(), self.at, outcome) {
                (Some(bytes), ..) => {
                    self.inspection.push(&bytes);
                    self.holdback.push(bytes, emit)?;
                }
                (None, At::Body, _) => return Poll::Ready(Ok(None)),
                (None, At::End, _) => {
                    self.inspection.end();
                    self.at = At::Verdict;
                }
                (None, At::Verdict, Some(outcome)) => {
                    self.holdback.finish(emit)?;
                    return Poll::Ready(Ok(Some(outcome)));
                }
                (None, At::Verdict, None) => return Poll::Pending,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::inspect::scripted::{LOAD, Script, Scripted, inspectors, subject, terms};
    use crate::inspect::{Actions, Verdict};

    /// A piece that goes its way alone.
    static ONE: [u8; SMALL] = [b'1'; SMALL];

    /// What becomes of an object whose inspector says this a moment after it has seen the end.
    async fn after_a_moment(verdict: Verdict) -> (Result<Option<Arc<Outcome>>, Fault>, Vec<Bytes>) {
        let late = Scripted::new(Script::AMomentAfterTheEnd(verdict));
        let terms = terms(1, Actions::default());
        let inspection = inspectors(&[&late], LOAD).open(&terms, subject("a")).await.unwrap();
        let mut tap = InspectTap::new(inspection, Destination::Final);
        tap.take(Bytes::from_static(&ONE));
        tap.take(Bytes::from_static(b"two"));
        tap.end();
        let mut emitted = Vec::new();
        let mut emit = |bytes| {
            emitted.push(bytes);
            Ok(())
        };
        let polled = std::future::poll_fn(|context| tap.poll(context, &mut emit)).await;
        (polled, emitted)
    }

    // Found by `make soak`: of 10,000 uploads one was stored whose refusal came between two questions in one poll.
    #[tokio::test]
    async fn h12_a_refusal_between_two_questions_is_obeyed() {
        let (polled, emitted) = after_a_moment(Verdict::matched("x")).await;
        assert!(matches!(polled, Err(Fault::Inspection(_))), "{polled:?}");
        assert_eq!(emitted, [&ONE[..]], "the last piece stays");
    }

    #[tokio::test]
    async fn what_was_held_goes_out_after_a_clean_verdict() {
        let (polled, emitted) = after_a_moment(Verdict::Clean).await;
        assert_eq!(polled.unwrap().unwrap().action, Action::Allow);
        assert_eq!(emitted, [&ONE[..], b"two"]);
    }

    #[tokio::test]
    async fn h16_small_pieces_are_shown_together_and_in_their_order() {
        let clean = Scripted::new(Script::AtEnd(Verdict::Clean));
        let inspection = inspectors(&[&clean], LOAD).open(&terms(1, Actions::default()), subject("a")).await.unwrap();
        let mut tap = InspectTap::new(inspection, Destination::Final);
        let object: Vec<u8> = (0..100_000_u32).map(|at| (at % 251) as u8).collect();
        let mut emitted = Vec::new();
        let mut emit = |bytes| {
            emitted.push(bytes);
            Ok(())
        };
        // Single bytes, then a large piece, then single bytes: as a client that wants to cost much would send them.
        for piece in object[..40_000].chunks(1).chain([&object[40_000..60_000]]).chain(object[60_000..].chunks(1)) {
            tap.take(Bytes::copy_from_slice(piece));
            assert!(std::future::poll_fn(|context| tap.poll(context, &mut emit)).await.unwrap().is_none());
        }
        tap.end();
        assert!(std::future::poll_fn(|context| tap.poll(context, &mut emit)).await.unwrap().is_some());
        assert!(emitted.concat() == object && *clean.seen.lock().unwrap() == object);
        let lengths: Vec<_> = emitted.iter().map(Bytes::len).collect();
        assert!(lengths.len() <= 14, "two of each of seven that were shown: {lengths:?}");
    }

    #[tokio::test]
    async fn a_small_piece_waits_for_others_but_not_for_long() {
        let clean = Scripted::new(Script::AtEnd(Verdict::Clean));
        let inspection = inspectors(&[&clean], LOAD).open(&terms(1, Actions::default()), subject("a")).await.unwrap();
        let mut tap = InspectTap::new(inspection, Destination::Final);
        let mut emit = |_| Ok(());
        tap.take(Bytes::from_static(b"a"));
        assert!(std::future::poll_fn(|context| tap.poll(context, &mut emit)).await.unwrap().is_none());
        assert!(clean.seen.lock().unwrap().is_empty());
        std::future::poll_fn(|context| tap.poll_joined(context)).await;
        assert!(std::future::poll_fn(|context| tap.poll(context, &mut emit)).await.unwrap().is_none());
        assert_eq!(*clean.seen.lock().unwrap(), b"a");
        assert!(std::future::poll_fn(|context| tap.poll_joined(context)).now_or_never().is_none(), "nothing waits");
    }
}

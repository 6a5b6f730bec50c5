//! Lets inspectors see an object that passes, and holds its end back until their verdict.
//!
//! Stands behind all checks, so that what is looked at is what would be stored, and has the end of the upload in its hands: the held bytes
//! go out when the verdicts are there, not before.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use crate::body::holdback::Holdback;
use crate::body::{Emit, Fault, Stage};
use crate::inspect::{Action, Inspection, Outcome};

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
        Self { inspection, destination, unseen: VecDeque::new(), holdback: Holdback::default(), at: At::Body }
    }

    /// Takes bytes that passed every check.
    pub fn take(&mut self, bytes: Bytes) {
        self.unseen.push_back(bytes);
    }

    /// There are no more.
    pub fn end(&mut self) {
        self.at = At::End;
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
    use super::*;
    use crate::inspect::scripted::{LOAD, Script, Scripted, inspectors, subject, terms};
    use crate::inspect::{Actions, Verdict};

    /// What becomes of an object whose inspector says this a moment after it has seen the end.
    async fn after_a_moment(verdict: Verdict) -> (Result<Option<Arc<Outcome>>, Fault>, Vec<Bytes>) {
        let late = Scripted::new(Script::AMomentAfterTheEnd(verdict));
        let terms = terms(1, Actions::default());
        let inspection = inspectors(&[&late], LOAD).open(&terms, subject("a")).await.unwrap();
        let mut tap = InspectTap::new(inspection, Destination::Final);
        tap.take(Bytes::from_static(b"one"));
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
        assert_eq!(emitted, ["one"], "the last piece stays");
    }

    #[tokio::test]
    async fn what_was_held_goes_out_after_a_clean_verdict() {
        let (polled, emitted) = after_a_moment(Verdict::Clean).await;
        assert_eq!(polled.unwrap().unwrap().action, Action::Allow);
        assert_eq!(emitted, ["one", "two"]);
    }
}

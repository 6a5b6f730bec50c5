//! What staged uploads came to, for clients that ask again: SDKs repeat a Complete whose answer was an error behind a `200`, or got lost, and
//! by then the upload is gone.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::Done;
use crate::s3::StagingKey;

/// How long an outcome is kept: longer than SDKs try.
const KEPT: Duration = Duration::from_secs(15 * 60);
/// How long that no inspector could look. SDKs try again within two seconds when a refusal comes behind the blanks of a long wait, and are
/// to be told at once, by a 403, after which they stop; who tries later has another look.
const KEPT_UNDECIDED: Duration = Duration::from_secs(5);
/// Most outcomes; beyond that the oldest are forgotten. Each takes one or two KiB.
const MAX: usize = 10_000;

/// The outcomes, each with a digest of what was asked. Only who holds the sealed upload id learns the key, so it is the same caller.
#[derive(Default)]
pub(super) struct Ended {
    order: VecDeque<(Instant, StagingKey)>,
    /// Until when, what was asked, and what that came to.
    known: HashMap<StagingKey, (Instant, Vec<u8>, Done)>,
}

impl Ended {
    /// The outcome of the same request before.
    pub fn recall(&self, key: &StagingKey, asked: &[u8], now: Instant) -> Option<Done> {
        let (until, known, done) = self.known.get(key)?;
        (known == asked && now < *until).then(|| done.clone())
    }

    /// Keeps an outcome.
    pub fn keep(&mut self, key: StagingKey, asked: Vec<u8>, done: Done, now: Instant) {
        let is_old = |since: Instant| now.saturating_duration_since(since) >= KEPT;
        while self.order.len() >= MAX || self.order.front().is_some_and(|(since, _)| is_old(*since)) {
            if let Some((_, oldest)) = self.order.pop_front() {
                self.known.remove(&oldest);
            }
        }
        let until = now + if done.is_undecided() { KEPT_UNDECIDED } else { KEPT };
        if self.known.insert(key.clone(), (until, asked, done)).is_none() {
            self.order.push_back((now, key));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::HeaderMap;

    use super::*;
    use crate::body::Fault;
    use crate::inspect::{Action, Outcome, VerdictState};
    use crate::respond::Refusal;

    fn key(id: usize) -> StagingKey {
        StagingKey::new(&id.to_string()).unwrap()
    }

    fn done() -> Done {
        Done { outcome: Ok((HeaderMap::new(), "document".to_owned())), inspection: None, upstream: None }
    }

    #[test]
    fn an_outcome_is_told_again_to_the_same_question_for_a_while() {
        let (mut ended, now) = (Ended::default(), Instant::now());
        ended.keep(key(1), vec![1], done(), now);
        assert!(ended.recall(&key(1), &[1], now).is_some());
        assert!(ended.recall(&key(1), &[2], now).is_none(), "another list of parts");
        assert!(ended.recall(&key(2), &[1], now).is_none());
        assert!(ended.recall(&key(1), &[1], now + KEPT).is_none());
        ended.keep(key(2), vec![1], done(), now + KEPT);
        assert_eq!((ended.order.len(), ended.known.len()), (1, 1), "what is old is forgotten");
    }

    #[test]
    fn what_no_inspector_could_look_at_is_looked_at_again_soon() {
        let failed = Outcome { action: Action::Refuse, state: VerdictState::Error, findings: Vec::new() };
        let refusal = Refusal::from(Fault::Inspection(Arc::new(failed.clone())));
        let undecided = Done { outcome: Err(refusal), inspection: Some(Arc::new(failed)), upstream: None };
        let (mut ended, now) = (Ended::default(), Instant::now());
        ended.keep(key(1), vec![1], undecided, now);
        assert!(ended.recall(&key(1), &[1], now + KEPT_UNDECIDED / 2).is_some(), "a client that tries by itself");
        assert!(ended.recall(&key(1), &[1], now + KEPT_UNDECIDED).is_none());
        ended.keep(key(1), vec![1], done(), now + KEPT_UNDECIDED);
        assert!(ended.recall(&key(1), &[1], now + KEPT).is_some());
    }

    #[test]
    fn outcomes_are_bounded_and_the_oldest_goes_first() {
        let (mut ended, now) = (Ended::default(), Instant::now());
        for id in 0..MAX + 5 {
            ended.keep(key(id), Vec::new(), done(), now);
        }
        assert_eq!((ended.order.len(), ended.known.len()), (MAX, MAX));
        assert!(ended.recall(&key(4), &[], now).is_none() && ended.recall(&key(5), &[], now).is_some());
    }
}

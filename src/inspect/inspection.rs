//! All looks at one object: gives each piece to every inspector, waits for their verdicts, and knows what these lead to.
//!
//! Polled by whoever moves the bytes, so no task is spawned for an object, and nothing is read ahead of the slowest inspector. Dropping it
//! breaks the looks off.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, Sleep};

use crate::inspect::queue::Place;
use crate::inspect::registry::Station;
use crate::inspect::{Action, Actions, Content, Feed, Finding, Look, Subject, Verdict, VerdictState, content};

/// How late a deadline may be noticed.
const LATE: Duration = Duration::from_secs(1);

/// All looks at one object.
#[derive(Debug)]
pub struct Inspection {
    looks: Vec<OneLook>,
    actions: Actions,
    ended: bool,
    outcome: Option<Arc<Outcome>>,
}

/// What the looks at an object came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What becomes of the object: the hardest of what the verdicts lead to.
    pub action: Action,
    /// The state that led to it; of several, what is known before what is not: matched, not scannable, error, clean.
    pub state: VerdictState,
    /// The verdicts, in the order of the configuration; without those that were not waited for.
    pub findings: Vec<Finding>,
}

impl Outcome {
    /// What findings lead to.
    pub fn of(findings: Vec<Finding>, actions: Actions) -> Self {
        let led = findings
            .iter()
            .map(|finding| finding.verdict.state())
            .map(|state| (actions.of(state), weight(state), state));
        let (action, _, state) = led.max().unwrap_or((Action::Allow, 0, VerdictState::Clean));
        Self { action, state, findings }
    }

    /// Whether the object was refused because an inspector failed, not for what it is: another look may come to something else.
    pub fn is_undecided(&self) -> bool {
        self.action == Action::Refuse && self.state == VerdictState::Error
    }

    /// The finding that led to the action, if there is any.
    pub fn cause(&self) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.verdict.state() == self.state)
    }
}

impl std::fmt::Display for Outcome {
    /// For the operator.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Some(Finding { inspector, verdict, .. }) = self.cause() else { return f.write_str("nothing was found") };
        match verdict {
            Verdict::Clean => write!(f, "inspector `{inspector}` found nothing"),
            Verdict::Matched { name } => write!(f, "inspector `{inspector}` found {name}"),
            Verdict::NotScannable { reason } => write!(f, "inspector `{inspector}` cannot look at it: {reason}"),
            Verdict::Error { reason } => write!(f, "inspector `{inspector}` failed: {reason}"),
        }
    }
}

fn weight(state: VerdictState) -> u8 {
    match state {
        VerdictState::Clean => 0,
        VerdictState::Error => 1,
        VerdictState::NotScannable => 2,
        VerdictState::Matched => 3,
    }
}

impl Inspection {
    pub(super) fn new(looks: Vec<OneLook>, actions: Actions) -> Self {
        let mut inspection = Self { looks, actions, ended: false, outcome: None };
        inspection.conclude();
        inspection
    }

    /// Drives the looks. Ready when the next piece may be pushed, or nobody waits for one any more.
    pub fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.drive(context);
        if self.outcome.is_some() || self.looks.iter().all(OneLook::is_ready) { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Drives the looks, and says how to go on: with the outcome, if no further byte can change it; with `None` when the next piece may be
    /// pushed, or the end. Whoever asks again in the same moment may get another answer, so each is to be obeyed.
    pub fn poll_step(&mut self, context: &mut Context<'_>) -> Poll<Option<Arc<Outcome>>> {
        self.poll_ready(context).map(|()| self.outcome.clone())
    }

    /// Gives every inspector the next piece; to be called when ready. They share its memory.
    pub fn push(&mut self, bytes: &Bytes) {
        self.looks.iter_mut().for_each(|look| look.push(bytes));
    }

    /// Says that the last byte was pushed; to be called when ready.
    pub fn end(&mut self) {
        self.ended = true;
        self.looks.iter_mut().for_each(OneLook::end);
    }

    /// Ready with what the looks came to: behind the end, or as soon as no further byte can change it.
    pub fn poll_outcome(&mut self, context: &mut Context<'_>) -> Poll<Arc<Outcome>> {
        self.drive(context);
        self.outcome.clone().map_or(Poll::Pending, Poll::Ready)
    }

    /// What the looks came to, if they did.
    pub fn outcome_now(&self) -> Option<&Arc<Outcome>> {
        self.outcome.as_ref()
    }

    fn drive(&mut self, context: &mut Context<'_>) {
        if self.outcome.is_none() {
            self.looks.iter_mut().for_each(|look| look.poll(context));
            self.conclude();
        }
    }

    /// Comes to an outcome when every verdict is there, or one of them refuses the object: nothing can be harder than that.
    fn conclude(&mut self) {
        let mut findings = self.looks.iter().filter_map(|look| look.finding.as_ref());
        let refused = findings.any(|finding| self.actions.of(finding.verdict.state()) == Action::Refuse);
        if self.outcome.is_some() || !(refused || self.looks.iter().all(|look| look.finding.is_some())) {
            return;
        }
        // Dropping the looks closes what they had open, and gives their places back.
        let findings = std::mem::take(&mut self.looks).into_iter().filter_map(|look| look.finding).collect();
        self.outcome = Some(Arc::new(Outcome::of(findings, self.actions)));
    }
}

/// The look of one inspector at one object.
pub(super) struct OneLook {
    station: Arc<Station>,
    /// `None` once there is a verdict.
    work: Option<Work>,
    finding: Option<Finding>,
    bytes: u64,
    began: Option<Instant>,
}

struct Work {
    look: Look,
    feed: Feed,
    ended: bool,
    is_ready: bool,
    patience: Patience,
    #[expect(dead_code, reason = "kept for its Drop")]
    place: Place,
}

impl OneLook {
    /// Begins a look. Nothing happens before it is polled.
    pub(super) fn begin(station: &Arc<Station>, subject: &Arc<Subject>, place: Place) -> Self {
        let (feed, content): (Feed, Content) = content::channel();
        let work = Work {
            look: Arc::clone(&station.inspector).look(Arc::clone(subject), content),
            feed,
            ended: false,
            is_ready: false,
            patience: Patience::new(station.load.timeout),
            place,
        };
        Self { station: Arc::clone(station), work: Some(work), finding: None, bytes: 0, began: None }
    }

    /// A look that does not take place.
    pub(super) fn decided(station: &Arc<Station>, verdict: Verdict) -> Self {
        let mut look = Self { station: Arc::clone(station), work: None, finding: None, bytes: 0, began: None };
        look.settle(verdict);
        look
    }

    fn is_ready(&self) -> bool {
        self.work.as_ref().is_none_or(|work| work.is_ready)
    }

    fn push(&mut self, bytes: &Bytes) {
        if let Some(work) = &mut self.work {
            self.began.get_or_insert_with(Instant::now);
            self.bytes += bytes.len() as u64;
            work.is_ready = false;
            work.feed.push(bytes.clone());
        }
    }

    fn end(&mut self) {
        if let Some(work) = &mut self.work {
            self.began.get_or_insert_with(Instant::now);
            work.ended = true;
            work.is_ready = false;
            work.feed.end();
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) {
        let Some(work) = &mut self.work else { return };
        if let Poll::Ready(verdict) = work.look.as_mut().poll(context) {
            // A scanner that waits for a slow client, or a slow store, loses patience in the end: that is not its failure.
            let is_ours = work.feed.is_awaited() && verdict.state() == VerdictState::Error;
            let verdict = match verdict {
                Verdict::Clean if !work.ended => Verdict::error("it came to a verdict before the end of the object"),
                verdict => verdict,
            };
            self.work = None;
            if !is_ours {
                self.station.note_health(&verdict);
            }
            self.settle(verdict);
            return;
        }
        work.is_ready = !work.ended && work.feed.poll_ready(context).is_ready();
        if work.is_ready {
            work.patience.rest();
            return;
        }
        if work.patience.poll_exhausted(context).is_ready() {
            let what = if work.ended { "verdict" } else { "progress" };
            let verdict = Verdict::error(format!("no {what} in {} s", work.patience.limit.as_secs_f64()));
            work.feed.give_up();
            self.work = None;
            self.station.note_health(&verdict);
            self.settle(verdict);
        }
    }

    fn settle(&mut self, verdict: Verdict) {
        let time = self.began.map_or(Duration::ZERO, |began| began.elapsed());
        let inspector = self.station.name.clone();
        let finding = Finding { inspector, verdict, bytes: self.bytes, time, remembered: false };
        self.station.count(&finding);
        self.finding = Some(finding);
    }
}

impl std::fmt::Debug for OneLook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OneLook")
            .field("inspector", &self.station.name)
            .field("finding", &self.finding)
            .finish_non_exhaustive()
    }
}

/// How long an inspector is waited for. An alarm is set only when there is something to wait for.
struct Patience {
    limit: Duration,
    /// How late a deadline may be noticed. Later than that nobody moved the bytes when it passed: a store that takes nothing, not a slow
    /// inspector.
    late: Duration,
    alarm: Option<Pin<Box<Sleep>>>,
    since: Option<Instant>,
    polled: Instant,
}

impl Patience {
    fn new(limit: Duration) -> Self {
        Self { limit, late: LATE, alarm: None, since: None, polled: Instant::now() }
    }

    /// The inspector is not waited for now.
    fn rest(&mut self) {
        self.since = None;
    }

    /// Ready when it was waited for too long.
    fn poll_exhausted(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let now = Instant::now();
        // Whoever moves the bytes was away when the time passed: only now the inspector gets to run again.
        let was_away =
            self.since.is_some_and(|since| now > since + self.limit + self.late) && now > self.polled + self.late;
        self.polled = now;
        if self.since.is_none() || was_away {
            self.since = Some(now);
            let deadline = now + self.limit;
            match &mut self.alarm {
                Some(alarm) => alarm.as_mut().reset(deadline),
                None => self.alarm = Some(Box::pin(tokio::time::sleep_until(deadline))),
            }
        }
        match &mut self.alarm {
            Some(alarm) => alarm.as_mut().poll(context),
            None => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use proptest::prelude::*;

    use super::*;
    use crate::inspect::registry::tests::{LOAD, Script, Scripted, inspectors, show, subject, terms};

    const PIECES: [&str; 4] = ["one", "two", "three", "four"];

    async fn open(scripted: &[&Arc<Scripted>], actions: Actions) -> Inspection {
        inspectors(scripted, LOAD).open(&terms(scripted.len(), actions), subject("a")).await.unwrap()
    }

    async fn ready(inspection: &mut Inspection) {
        std::future::poll_fn(|context| inspection.poll_ready(context)).await;
    }

    #[tokio::test]
    async fn every_inspector_sees_every_byte_in_order() {
        let scripted = [Scripted::new(Script::AtEnd(Verdict::Clean)), Scripted::new(Script::AtEnd(Verdict::Clean))];
        let outcome = show(open(&[&scripted[0], &scripted[1]], Actions::default()).await, &PIECES).await;
        assert_eq!((outcome.action, outcome.state, outcome.findings.len()), (Action::Allow, VerdictState::Clean, 2));
        assert_eq!(outcome.findings[1].bytes, 15);
        assert!(scripted.iter().all(|inspector| *inspector.seen.lock().unwrap() == b"onetwothreefour"));
    }

    #[tokio::test]
    async fn an_empty_object_is_inspected_too() {
        let matched = Scripted::new(Script::AtEnd(Verdict::matched("empty")));
        let outcome = show(open(&[&matched], Actions::default()).await, &[]).await;
        assert_eq!((outcome.action, outcome.state), (Action::Refuse, VerdictState::Matched));
    }

    #[tokio::test]
    async fn h12_the_first_refusal_ends_all_looks() {
        let (early, slow) = (Scripted::new(Script::After(3, Verdict::matched("x"))), Scripted::new(Script::NoVerdict));
        let mut inspection = open(&[&early, &slow], Actions::default()).await;
        ready(&mut inspection).await;
        inspection.push(&Bytes::from_static(b"one"));
        ready(&mut inspection).await;
        let outcome = inspection.outcome_now().expect("no further byte can change it");
        assert_eq!((outcome.action, outcome.findings.len()), (Action::Refuse, 1));
        assert_eq!(*slow.broken_off.lock().unwrap(), 1, "the other was broken off");
        assert_eq!(*slow.given_up.lock().unwrap(), 0, "and not for what it did");
    }

    #[tokio::test]
    async fn h12_what_is_allowed_all_the_same_does_not_end_the_looks_of_others() {
        let (failing, late) =
            (Scripted::new(Script::After(3, Verdict::error("x"))), Scripted::new(Script::AtEnd(Verdict::matched("y"))));
        let actions = Actions { error: Action::Allow, ..Actions::default() };
        let outcome = show(open(&[&failing, &late], actions).await, &PIECES).await;
        assert_eq!((outcome.action, outcome.state), (Action::Refuse, VerdictState::Matched));
        assert_eq!(outcome.to_string(), "inspector `i1` found y");
    }

    #[tokio::test]
    async fn h12_an_inspector_that_takes_nothing_has_failed_after_its_time() {
        for (script, what) in [(Script::HangAfter(3), "progress"), (Script::NoVerdict, "verdict")] {
            let hanging = Scripted::new(script);
            let start = Instant::now();
            let outcome = show(open(&[&hanging], Actions::default()).await, &PIECES).await;
            assert_eq!((outcome.action, outcome.state), (Action::Refuse, VerdictState::Error));
            assert_eq!(outcome.to_string(), format!("inspector `i0` failed: no {what} in 0.05 s"));
            assert!(start.elapsed() >= LOAD.timeout && outcome.findings[0].time >= LOAD.timeout);
            assert_eq!((*hanging.broken_off.lock().unwrap(), *hanging.given_up.lock().unwrap()), (1, 1));
        }
    }

    #[tokio::test]
    async fn time_in_which_nobody_moves_the_bytes_is_not_the_inspectors() {
        let limit = Duration::from_millis(20);
        let mut patience = Patience { late: limit, ..Patience::new(limit) };
        assert!(std::future::poll_fn(|context| patience.poll_exhausted(context)).now_or_never().is_none());
        // A store takes nothing for a long time, so the body is not polled.
        std::thread::sleep(limit * 10);
        assert!(std::future::poll_fn(|context| patience.poll_exhausted(context)).now_or_never().is_none());
        let start = Instant::now();
        std::future::poll_fn(|context| patience.poll_exhausted(context)).await;
        assert!(start.elapsed() >= limit / 2);
    }

    #[tokio::test]
    async fn a_client_that_pauses_does_not_make_the_inspector_late() {
        let clean = Scripted::new(Script::AtEnd(Verdict::Clean));
        let mut inspection = open(&[&clean], Actions::default()).await;
        for piece in PIECES {
            ready(&mut inspection).await;
            inspection.push(&Bytes::from_static(piece.as_bytes()));
            ready(&mut inspection).await;
            tokio::time::sleep(LOAD.timeout * 2).await;
        }
        ready(&mut inspection).await;
        inspection.end();
        assert_eq!(std::future::poll_fn(|context| inspection.poll_outcome(context)).await.action, Action::Allow);
    }

    #[tokio::test]
    async fn h12_clean_before_the_end_is_no_verdict() {
        let hasty = Scripted::new(Script::After(3, Verdict::Clean));
        let outcome = show(open(&[&hasty], Actions::default()).await, &PIECES).await;
        assert_eq!((outcome.action, outcome.state), (Action::Refuse, VerdictState::Error));
    }

    #[tokio::test]
    async fn an_upload_that_breaks_off_breaks_the_looks_off() {
        let clean = Scripted::new(Script::AtEnd(Verdict::Clean));
        let registry = inspectors(&[&clean], LOAD);
        let mut inspection = registry.open(&terms(1, Actions::default()), subject("a")).await.unwrap();
        ready(&mut inspection).await;
        inspection.push(&Bytes::from_static(b"one"));
        ready(&mut inspection).await;
        drop(inspection);
        assert_eq!((*clean.broken_off.lock().unwrap(), registry.states().next().unwrap().running), (1, 0));
        assert_eq!(*clean.given_up.lock().unwrap(), 0, "nothing is wrong with the inspector");
    }

    fn finding(verdict: Verdict) -> Finding {
        Finding { inspector: "i".into(), verdict, bytes: 0, time: Duration::ZERO, remembered: false }
    }

    proptest! {
        #[test]
        fn h12_the_hardest_action_counts_and_its_state_is_named(
            verdicts in proptest::collection::vec(0_usize..4, 1..5),
            actions in (0_usize..4, 0_usize..4, 0_usize..4),
        ) {
            let all = [Action::Allow, Action::Mark, Action::Quarantine, Action::Refuse];
            let actions = Actions { matched: all[actions.0], not_scannable: all[actions.1], error: all[actions.2] };
            let verdict = |kind: &usize| match kind {
                0 => Verdict::Clean,
                1 => Verdict::matched("x"),
                2 => Verdict::not_scannable("y"),
                _ => Verdict::error("z"),
            };
            let outcome = Outcome::of(verdicts.iter().map(verdict).map(finding).collect(), actions);
            let led = |finding: &Finding| actions.of(finding.verdict.state());
            prop_assert!(outcome.findings.iter().all(|finding| led(finding) <= outcome.action));
            prop_assert_eq!(actions.of(outcome.state), outcome.action);
            prop_assert_eq!(outcome.cause().map(led), Some(outcome.action));
        }
    }
}

//! All looks at one object: gives each piece to every inspector, waits for their verdicts, and knows what these lead to.
//!
//! Polled by whoever moves the bytes, so no task is spawned for an object, and nothing is read ahead of the slowest inspector. Dropping it
//! breaks the looks off.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, Sleep};

use std::sync::Arc;

use crate::inspect::queue::Place;
use crate::inspect::registry::Station;
use crate::inspect::{Action, Actions, Content, Feed, Finding, Look, Subject, Verdict, VerdictState, content};

/// How late a deadline may be noticed. Later than that nobody moved the bytes when it passed: a store that takes nothing, not a slow inspector.
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
            patience: Patience { limit: station.load.timeout, alarm: None, since: None, polled: Instant::now() },
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
            let verdict = match verdict {
                Verdict::Clean if !work.ended => Verdict::error("it came to a verdict before the end of the object"),
                verdict => verdict,
            };
            self.work = None;
            self.station.note_health(&verdict);
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
    alarm: Option<Pin<Box<Sleep>>>,
    since: Option<Instant>,
    polled: Instant,
}

impl Patience {
    /// The inspector is not waited for now.
    fn rest(&mut self) {
        self.since = None;
    }

    /// Ready when it was waited for too long.
    fn poll_exhausted(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let now = Instant::now();
        // Whoever moves the bytes was away when the time passed: only now the inspector gets to run again.
        let was_away = self.since.is_some_and(|since| now > since + self.limit + LATE && now > self.polled + LATE);
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

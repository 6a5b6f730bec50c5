//! Inspectors whose behaviour is scripted, and what a registry of them does.

use std::sync::Mutex;

use bytes::Bytes;
use futures_util::FutureExt;

use super::*;
use crate::inspect::{
    Actions, Checkup, Content, Direction, InspectorId, Look, Mark, MultipartInspection, Outcome, VerdictState,
};

/// What a scripted inspector does with an object.
#[derive(Debug, Clone)]
pub(crate) enum Script {
    /// Reads all of it, then says this.
    AtEnd(Verdict),
    /// The same, but is not ready when it is polled first behind the end.
    AMomentAfterTheEnd(Verdict),
    /// Says this when it has seen so many bytes.
    After(usize, Verdict),
    /// Takes so many bytes and then nothing any more, without a word.
    HangAfter(usize),
    /// Takes everything and has no verdict.
    NoVerdict,
    /// Fails when it has waited so long for the next piece.
    Impatient(Duration),
}

/// An inspector that follows a script and remembers what it saw.
#[derive(Debug)]
pub(crate) struct Scripted {
    script: Script,
    pub(crate) seen: Arc<Mutex<Vec<u8>>>,
    /// Looks that broke off.
    pub(crate) broken_off: Arc<Mutex<usize>>,
    /// Those of them that were given up.
    pub(crate) given_up: Arc<Mutex<usize>>,
    health: Mutex<Result<Health, String>>,
    max_looks: Mutex<Option<usize>>,
    regards: Mutex<Regards>,
}

/// Notices that its look was dropped before its end.
struct Notice(Arc<Mutex<usize>>, bool);

impl Drop for Notice {
    fn drop(&mut self) {
        *self.0.lock().unwrap() += usize::from(!self.1);
    }
}

impl Scripted {
    pub(crate) fn new(script: Script) -> Arc<Self> {
        let health = Mutex::new(Ok(Health { version: "1".into(), ..Health::default() }));
        Arc::new(Self {
            script,
            seen: Arc::default(),
            broken_off: Arc::default(),
            given_up: Arc::default(),
            health,
            max_looks: Mutex::default(),
            regards: Mutex::new(Regards::Object),
        })
    }
}

impl Inspector for Scripted {
    fn look(self: Arc<Self>, _subject: Arc<Subject>, mut content: Content) -> Look {
        Box::pin(async move {
            let mut notice = Notice(Arc::clone(&self.broken_off), false);
            let _given_up = content.on_given_up(|| *self.given_up.lock().unwrap() += 1);
            let mut length = 0;
            loop {
                match &self.script {
                    Script::After(bytes, verdict) if length >= *bytes => {
                        notice.1 = true;
                        return verdict.clone();
                    }
                    Script::HangAfter(bytes) if length >= *bytes => std::future::pending().await,
                    _ => {}
                }
                let next = match &self.script {
                    Script::Impatient(limit) => match tokio::time::timeout(*limit, content.next()).await {
                        Ok(next) => next,
                        Err(_) => {
                            notice.1 = true;
                            return Verdict::error("it waited too long");
                        }
                    },
                    _ => content.next().await,
                };
                match next {
                    Ok(Some(bytes)) => {
                        length += bytes.len();
                        self.seen.lock().unwrap().extend_from_slice(&bytes);
                    }
                    Ok(None) if matches!(self.script, Script::NoVerdict) => std::future::pending().await,
                    Ok(None) => break,
                    Err(_) => std::future::pending().await,
                }
            }
            notice.1 = true;
            match &self.script {
                Script::AtEnd(verdict) => verdict.clone(),
                Script::AMomentAfterTheEnd(verdict) => {
                    tokio::task::yield_now().await;
                    verdict.clone()
                }
                _ => Verdict::Clean,
            }
        })
    }

    fn check(self: Arc<Self>) -> Checkup {
        Box::pin(std::future::ready(self.health.lock().unwrap().clone()))
    }

    fn max_looks(&self) -> Option<usize> {
        *self.max_looks.lock().unwrap()
    }

    fn regards(&self) -> Regards {
        *self.regards.lock().unwrap()
    }

    fn digest(&self) -> String {
        format!("{:?}", self.script)
    }
}

const CIRCUMSTANCES: Circumstances<'static> =
    Circumstances { principal: "p", bucket: "b", key: "k", direction: Direction::Download };

pub(crate) const LOAD: LoadSettings = LoadSettings {
    max_scans: 2,
    max_waiting: 2,
    principal_share: 100,
    queue_timeout: Duration::from_millis(50),
    timeout: Duration::from_millis(50),
    breaker_failures: 3,
    breaker_pause: Duration::from_millis(50),
};

/// Inspectors with these scripts, named `i0`, `i1` and so on.
pub(crate) fn inspectors(scripted: &[&Arc<Scripted>], load: LoadSettings) -> Inspectors {
    let metrics = Metrics::new().unwrap();
    let station = |(number, inspector): (usize, &&Arc<Scripted>)| {
        let inspector: Arc<dyn Inspector> = Arc::clone(*inspector) as _;
        Arc::new(Station::new(format!("i{number}"), inspector, load, true, &metrics))
    };
    Inspectors(scripted.iter().enumerate().map(station).collect())
}

/// All of so many inspectors.
pub(crate) fn terms(inspectors: usize, actions: Actions) -> InspectionTerms {
    InspectionTerms {
        inspectors: (0..inspectors).rev().map(InspectorId).collect(),
        names: Vec::new(),
        uploads: true,
        actions,
        quarantine: None,
        mark: Mark::Tag("verdict".into()),
        multipart: MultipartInspection::Staged,
        downloads: None,
    }
}

pub(crate) fn subject(principal: &str) -> Subject {
    Subject {
        request_id: "r".into(),
        principal: principal.into(),
        bucket: "b".into(),
        key: "k".into(),
        media_type: None,
        content_encoding: None,
        length: None,
        direction: Direction::Upload,
    }
}

/// Shows an object in pieces and waits for the outcome.
pub(crate) async fn show(mut inspection: Inspection, pieces: &[&'static str]) -> Arc<Outcome> {
    for piece in pieces {
        std::future::poll_fn(|context| inspection.poll_ready(context)).await;
        if inspection.outcome_now().is_some() {
            break;
        }
        inspection.push(&Bytes::from_static(piece.as_bytes()));
    }
    std::future::poll_fn(|context| inspection.poll_ready(context)).await;
    inspection.end();
    std::future::poll_fn(|context| inspection.poll_outcome(context)).await
}

/// Waits for something that tasks do.
async fn until(done: impl Fn() -> bool) {
    let waiting = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("in time");
}

async fn outcome_of(inspectors: &Inspectors, count: usize) -> Arc<Outcome> {
    show(inspectors.open(&terms(count, Actions::default()), subject("a")).await.unwrap(), &["abc"]).await
}

#[tokio::test]
async fn l08_a_hanging_inspector_takes_its_places_and_no_others() {
    let (hanging, clean) = (Scripted::new(Script::NoVerdict), Scripted::new(Script::AtEnd(Verdict::Clean)));
    let inspectors = inspectors(&[&hanging, &clean], LOAD);
    let only = |id| InspectionTerms { inspectors: vec![InspectorId(id)], ..terms(0, Actions::default()) };
    let held = [
        inspectors.open(&only(0), subject("a")).await.unwrap(),
        inspectors.open(&only(0), subject("a")).await.unwrap(),
    ];
    let third = only(0);
    let waiting = inspectors.open(&third, subject("a"));
    tokio::pin!(waiting);
    assert!((&mut waiting).now_or_never().is_none());
    for _ in 0..10 {
        let free = inspectors.open(&only(1), subject("a")).now_or_never().expect("it waits for nobody").unwrap();
        assert_eq!(show(free, &["abc"]).await.action, Action::Allow);
    }
    let states: Vec<_> = inspectors.states().map(|state| (state.running, state.waiting)).collect();
    assert_eq!(states, [(2, 1), (0, 0)]);
    let busy = waiting.await.unwrap_err();
    assert_eq!((busy.inspector.as_str(), busy.why.as_str()), ("i0", "no place in 0.05 s"));
    drop(held);
    assert!(inspectors.open(&only(0), subject("a")).now_or_never().is_some());
}

#[tokio::test]
async fn l08_requests_from_before_and_behind_a_reload_that_changes_the_order_do_not_wait_for_each_other() {
    let clean = [0, 1, 2].map(|_| Scripted::new(Script::AtEnd(Verdict::Clean)));
    let load = LoadSettings { max_scans: 1, queue_timeout: Duration::from_secs(60), ..LOAD };
    let before = inspectors(&clean.each_ref(), load);
    let after = Inspectors(before.0.iter().rev().map(Arc::clone).collect());
    let only = |id| InspectionTerms { inspectors: vec![InspectorId(id)], ..terms(0, Actions::default()) };
    // Both wait for the one in the middle. Whoever holds the first of the other's order by then would never get the last.
    let middle = before.open(&only(1), subject("a")).await.unwrap();
    let (of_one, of_other) = (terms(3, Actions::default()), terms(3, Actions::default()));
    let (one, other) = (before.open(&of_one, subject("b")), after.open(&of_other, subject("c")));
    tokio::pin!(one, other);
    assert!((&mut one).now_or_never().is_none() && (&mut other).now_or_never().is_none());
    drop(middle);
    let looked_at = (&mut one).now_or_never().expect("nobody keeps it waiting").unwrap();
    let outcome = show(looked_at, &["abc"]).await;
    let names: Vec<_> = outcome.findings.iter().map(|finding| finding.inspector.as_str()).collect();
    assert_eq!(names, ["i0", "i1", "i2"]);
    let outcome = show((&mut other).now_or_never().expect("it is its turn").unwrap(), &["abc"]).await;
    let names: Vec<_> = outcome.findings.iter().map(|finding| finding.inspector.as_str()).collect();
    assert_eq!(names, ["i2", "i1", "i0"], "told in the order of its configuration");
}

#[tokio::test]
async fn places_come_back_with_the_verdict_and_not_only_with_the_end_of_the_upload() {
    let matched = Scripted::new(Script::After(1, Verdict::matched("x")));
    let inspectors = inspectors(&[&matched], LOAD);
    let mut inspection = inspectors.open(&terms(1, Actions::default()), subject("a")).await.unwrap();
    std::future::poll_fn(|context| inspection.poll_ready(context)).await;
    inspection.push(&Bytes::from_static(b"a"));
    assert_eq!(inspectors.states().next().unwrap().running, 1);
    let outcome = std::future::poll_fn(|context| inspection.poll_outcome(context)).await;
    assert_eq!((outcome.action, inspectors.states().next().unwrap().running), (Action::Refuse, 0));
}

#[tokio::test]
async fn h12_an_inspector_that_fails_again_and_again_is_not_asked_and_the_rule_decides_at_once() {
    let failing = Scripted::new(Script::AtEnd(Verdict::error("down")));
    let inspectors = inspectors(&[&failing], LOAD);
    for _ in 0..3 {
        assert!(!inspectors.states().next().unwrap().resting);
        assert_eq!(outcome_of(&inspectors, 1).await.state, VerdictState::Error);
    }
    assert!(inspectors.states().next().unwrap().resting);
    let seen = failing.seen.lock().unwrap().len();
    let inspection = inspectors.open(&terms(1, Actions::default()), subject("a")).await.unwrap();
    let outcome = inspection.outcome_now().expect("before the first byte");
    assert_eq!((outcome.action, outcome.state), (Action::Refuse, VerdictState::Error));
    let lenient = Actions { error: Action::Allow, ..Actions::default() };
    let allowed = show(inspectors.open(&terms(1, lenient), subject("a")).await.unwrap(), &["abc"]).await;
    assert_eq!((allowed.action, allowed.state), (Action::Allow, VerdictState::Error));
    assert_eq!(failing.seen.lock().unwrap().len(), seen, "it saw nothing of either");
    tokio::time::sleep(LOAD.breaker_pause).await;
    outcome_of(&inspectors, 1).await;
    assert_eq!(failing.seen.lock().unwrap().len(), seen + 3, "the probe");
}

#[tokio::test]
async fn l08_slow_clients_do_not_make_an_inspector_fail_for_others() {
    let impatient = Scripted::new(Script::Impatient(Duration::from_millis(1)));
    let inspectors = inspectors(&[&impatient], LOAD);
    for _ in 0..10 {
        let mut slow = inspectors.open(&terms(1, Actions::default()), subject("a")).await.unwrap();
        std::future::poll_fn(|context| slow.poll_ready(context)).await;
        slow.push(&Bytes::from_static(b"abc"));
        let outcome = std::future::poll_fn(|context| slow.poll_outcome(context)).await;
        assert_eq!((outcome.action, outcome.state), (Action::Refuse, VerdictState::Error));
    }
    assert!(!inspectors.states().next().unwrap().resting);
}

#[tokio::test]
async fn an_inspector_that_cannot_serve_as_many_as_are_configured_is_not_asked_by_more() {
    let clean = Scripted::new(Script::AtEnd(Verdict::Clean));
    let inspectors = inspectors(&[&clean], LOAD);
    *clean.max_looks.lock().unwrap() = Some(1);
    let held = inspectors.open(&terms(1, Actions::default()), subject("a")).await.unwrap();
    let busy = inspectors.open(&terms(1, Actions::default()), subject("b")).await.unwrap_err();
    assert_eq!(busy.why, "no place in 0.05 s");
    *clean.max_looks.lock().unwrap() = None;
    assert!(inspectors.open(&terms(1, Actions::default()), subject("b")).now_or_never().is_some());
    drop(held);
}

#[tokio::test]
async fn matches_and_objects_that_cannot_be_scanned_do_not_count_as_failures() {
    for verdict in [Verdict::matched("x"), Verdict::not_scannable("too large")] {
        let inspectors = inspectors(&[&Scripted::new(Script::AtEnd(verdict))], LOAD);
        for _ in 0..10 {
            outcome_of(&inspectors, 1).await;
        }
        assert!(!inspectors.states().next().unwrap().resting);
    }
}

#[tokio::test]
async fn l14_a_required_inspector_is_ready_when_it_can_work_and_says_why_not() {
    let inspector = Scripted::new(Script::NoVerdict);
    let inspectors = inspectors(&[&inspector], LOAD);
    let state = || inspectors.states().next().unwrap();
    assert_eq!(state().not_ready.as_deref(), Some("the inspector `i0` cannot work: it was not asked yet"));
    let before = inspectors.version_digest(&terms(1, Actions::default()), &CIRCUMSTANCES);
    let _checkups = inspectors.start_every(Duration::from_millis(1));
    until(|| state().up).await;
    assert_eq!((state().not_ready, state().up), (None, true));
    let after = inspectors.version_digest(&terms(1, Actions::default()), &CIRCUMSTANCES);
    assert_ne!(before, after, "a verdict is as old as the signatures");
    *inspector.health.lock().unwrap() = Err("connection refused".into());
    until(|| !state().up).await;
    assert_eq!(state().not_ready.as_deref(), Some("the inspector `i0` cannot work: connection refused"));
}

#[test]
fn the_digest_depends_on_all_that_a_verdict_depends_on() {
    let (a, b) = (Scripted::new(Script::NoVerdict), Scripted::new(Script::AtEnd(Verdict::Clean)));
    let lenient = Actions { error: Action::Allow, ..Actions::default() };
    let digests = [
        inspectors(&[&a], LOAD).version_digest(&terms(1, Actions::default()), &CIRCUMSTANCES),
        inspectors(&[&b], LOAD).version_digest(&terms(1, Actions::default()), &CIRCUMSTANCES),
        inspectors(&[&a, &b], LOAD).version_digest(&terms(2, Actions::default()), &CIRCUMSTANCES),
        inspectors(&[&b, &a], LOAD).version_digest(&terms(2, Actions::default()), &CIRCUMSTANCES),
        inspectors(&[&a], LOAD).version_digest(&terms(1, lenient), &CIRCUMSTANCES),
    ];
    let distinct: std::collections::BTreeSet<_> = digests.iter().collect();
    assert_eq!(distinct.len(), digests.len());
    assert_eq!(digests[0], inspectors(&[&a], LOAD).version_digest(&terms(1, Actions::default()), &CIRCUMSTANCES));
}

#[test]
fn a_verdict_counts_only_under_the_circumstances_that_it_may_depend_on() {
    let inspector = Scripted::new(Script::NoVerdict);
    let inspectors = inspectors(&[&inspector], LOAD);
    let of = |circumstances| inspectors.version_digest(&terms(1, Actions::default()), &circumstances);
    let others = [
        Circumstances { principal: "q", ..CIRCUMSTANCES },
        Circumstances { bucket: "c", ..CIRCUMSTANCES },
        Circumstances { key: "l", ..CIRCUMSTANCES },
        Circumstances { direction: Direction::Upload, ..CIRCUMSTANCES },
    ];
    for (regards, differ) in
        [(Regards::Object, [false; 4]), (Regards::Place, [false, true, true, true]), (Regards::Reader, [true; 4])]
    {
        *inspector.regards.lock().unwrap() = regards;
        assert_eq!(others.map(|other| of(other) != of(CIRCUMSTANCES)), differ, "{regards:?}");
    }
}

#[tokio::test]
async fn parts_looked_at_under_other_patterns_have_another_digest_but_new_signatures_end_no_upload() {
    let (a, b) = (Scripted::new(Script::NoVerdict), Scripted::new(Script::AtEnd(Verdict::Clean)));
    let lenient = Actions { error: Action::Allow, ..Actions::default() };
    let of = |scripted: &Arc<Scripted>, actions, multipart| {
        inspectors(&[scripted], LOAD).upload_digest(&InspectionTerms { multipart, ..terms(1, actions) })
    };
    let (strict, per_part, staged) = (Actions::default(), MultipartInspection::PerPart, MultipartInspection::Staged);
    assert_eq!(of(&a, strict, per_part), of(&a, strict, per_part));
    assert_ne!(of(&a, strict, per_part), of(&b, strict, per_part), "each part has its own verdict");
    assert_eq!(of(&a, strict, staged), of(&b, strict, staged), "the whole is looked at in the end");
    assert_ne!(of(&a, strict, staged), of(&a, lenient, staged));
    assert_ne!(of(&a, strict, staged), of(&a, strict, per_part));
    let inspectors = inspectors(&[&a], LOAD);
    let terms = InspectionTerms { multipart: per_part, ..terms(1, strict) };
    let before = inspectors.upload_digest(&terms);
    let _checkups = inspectors.start_every(Duration::from_millis(1));
    until(|| inspectors.states().next().unwrap().up).await;
    assert_eq!(before, inspectors.upload_digest(&terms));
}

//! All inspectors of a configuration: how much each may be asked, how it is doing, and the way to a look at an object.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::base::{Clock, SystemClock};
use crate::breaker::{Breaker, BreakerSettings};
use crate::inspect::inspection::{Inspection, OneLook};
use crate::inspect::queue::{NoPlace, Queue};
use crate::inspect::{
    Action, BuildError, Circumstances, Finding, Health, InspectionTerms, Inspector, InspectorSettings, KindSettings,
    LoadSettings, Mark, MultipartInspection, Regards, Subject, Verdict, clamd, hook, icap, kinds, patterns, yara,
};
use crate::telemetry::Metrics;
use crate::upkeep::forever;

/// Time between two questions whether an inspector can work.
const CHECKUP_INTERVAL: Duration = Duration::from_secs(15);
/// How long the answer is waited for. Inspectors have shorter limits of their own for what they ask; a scanner that is tried before it is
/// used may need two minutes.
const CHECKUP_TIMEOUT: Duration = Duration::from_secs(150);

/// The inspectors, in the order of [`InspectorId`](crate::inspect::InspectorId).
#[derive(Debug)]
pub struct Inspectors(Vec<Arc<Station>>);

/// One inspector and what is kept about it.
#[derive(Debug)]
pub(super) struct Station {
    pub(super) name: String,
    pub(super) inspector: Arc<dyn Inspector>,
    pub(super) load: LoadSettings,
    required: bool,
    queue: Arc<Queue>,
    breaker: Breaker,
    standing: Mutex<Standing>,
    /// What the scanner said of itself last, also while it says nothing: what it found before counts until it is known to know more.
    version: Mutex<String>,
    metrics: Metrics,
}

/// What the last question whether it can work came to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    /// There was none yet.
    Unknown,
    /// It can.
    Up(Health),
    /// It cannot, and why.
    Down(String),
}

/// Too many looks are under way: the request should come again later.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("inspector `{inspector}` is busy: {why}")]
pub struct Busy {
    /// Name of the inspector.
    pub inspector: String,
    /// What was exceeded, for the operator.
    pub why: String,
}

/// How an inspector is doing, for metrics and readiness.
#[derive(Debug, Clone, PartialEq)]
pub struct InspectorState<'a> {
    /// Its name.
    pub name: &'a str,
    /// Looks under way.
    pub running: usize,
    /// Requests that wait for one to end.
    pub waiting: usize,
    /// Whether it could work when it was asked last.
    pub up: bool,
    /// Whether it is not asked after failures in a row.
    pub resting: bool,
    /// Age of its signatures, if it tells.
    pub signatures_age: Option<Duration>,
    /// Why the gateway is not ready, if the inspector is required and cannot work.
    pub not_ready: Option<String>,
}

/// The tasks that ask the inspectors how they are. They end when this is dropped.
#[derive(Debug)]
pub struct Checkups(#[expect(dead_code, reason = "kept for its Drop")] JoinSet<()>);

impl Inspectors {
    /// Makes the inspectors. Reads files, connects to nothing.
    ///
    /// # Errors
    /// [`BuildError`] for the first that cannot be made.
    pub fn new(settings: Vec<InspectorSettings>, metrics: &Metrics) -> Result<Self, BuildError> {
        settings.into_iter().map(|settings| Station::build(settings, metrics)).collect::<Result<_, _>>().map(Self)
    }

    /// As [`Self::new`], but an inspector that `previous` has and that is configured `alike` goes on as it is: its places and its queue,
    /// its breaker, what is known of its health and its limits.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn after(
        settings: Vec<InspectorSettings>,
        metrics: &Metrics,
        previous: &Self,
        alike: impl Fn(&InspectorSettings) -> bool,
    ) -> Result<Self, BuildError> {
        let station = |settings: InspectorSettings| {
            let same = previous.0.iter().find(|station| station.name == settings.name && alike(&settings));
            match same {
                Some(station) => Ok(Arc::clone(station)),
                None => Station::build(settings, metrics),
            }
        };
        settings.into_iter().map(station).collect::<Result<_, _>>().map(Self)
    }

    /// Begins the looks that a rule wants at one object, as soon as there is a place at every inspector.
    ///
    /// Places are taken in the order of the names of inspectors, so that two requests never wait for each other. Not in the order of the
    /// configuration: a reload may change that, while the inspectors and the requests of both live on. One that rests after failures is not
    /// waited for: it has failed, and if the rule refuses that, the outcome is there before the first byte.
    ///
    /// # Errors
    /// [`Busy`] if there is no place in time.
    pub async fn open(&self, terms: &InspectionTerms, subject: Subject) -> Result<Inspection, Busy> {
        let stations = self.stations(terms);
        let resting = |station: &&Arc<Station>| station.breaker.check(now).is_err();
        if terms.actions.error == Action::Refuse
            && let Some(station) = stations.iter().copied().find(resting)
        {
            return Ok(Inspection::new(vec![OneLook::decided(station, not_asked())], terms.actions));
        }
        let subject = Arc::new(subject);
        let mut by_name: Vec<_> = stations.into_iter().enumerate().collect();
        by_name.sort_unstable_by(|(_, one), (_, other)| one.name.cmp(&other.name));
        let mut looks = Vec::with_capacity(by_name.len());
        for (rank, station) in by_name {
            looks.push((rank, station.begin(&subject).await?));
        }
        looks.sort_unstable_by_key(|(rank, _)| *rank);
        Ok(Inspection::new(looks.into_iter().map(|(_, look)| look).collect(), terms.actions))
    }

    /// What a verdict under these terms depends on: what the inspectors are configured with, the versions of scanners and signatures, what
    /// verdicts lead to, and those circumstances that an inspector regards. 64 hex digits.
    pub fn version_digest(&self, terms: &InspectionTerms, circumstances: &Circumstances<'_>) -> String {
        let mut context = digest::Context::new(&digest::SHA256);
        let mut add = |text: &str| {
            context.update(&(text.len() as u64).to_be_bytes());
            context.update(text.as_bytes());
        };
        for station in self.stations(terms) {
            add(&station.name);
            add(&station.inspector.digest());
            add(&station.version());
            let Circumstances { principal, bucket, key, direction } = *circumstances;
            let regarded: &[&str] = match station.inspector.regards() {
                Regards::Object => &[],
                Regards::Place => &[direction.as_str(), bucket, key],
                Regards::Reader => &[direction.as_str(), bucket, key, principal],
            };
            regarded.iter().for_each(|text| add(text));
        }
        for action in [terms.actions.matched, terms.actions.not_scannable, terms.actions.error] {
            add(action.as_str());
        }
        hex::encode(context.finish())
    }

    /// What parts of an upload are looked at under, as 32 hex digits: what verdicts lead to and, where each part has its own verdict, what
    /// the inspectors are configured with. Not the versions of scanners: a new set of signatures ends no upload.
    pub fn upload_digest(&self, terms: &InspectionTerms) -> String {
        let mut context = digest::Context::new(&digest::SHA256);
        let mut add = |text: &str| {
            context.update(&(text.len() as u64).to_be_bytes());
            context.update(text.as_bytes());
        };
        add(terms.multipart.as_str());
        for action in [terms.actions.matched, terms.actions.not_scannable, terms.actions.error] {
            add(action.as_str());
        }
        let (kind, name) = match &terms.mark {
            Mark::Tag(name) => ("tag", name.as_str()),
            Mark::Metadata(name) => ("metadata", name.as_str()),
        };
        let place = terms.quarantine.as_ref().map_or(("", ""), |place| (place.bucket.as_str(), place.prefix.as_str()));
        [kind, name, place.0, place.1].into_iter().for_each(&mut add);
        for station in self.stations(terms) {
            add(&station.name);
            // A staged object is looked at as a whole in the end, by whoever looks then.
            if terms.multipart == MultipartInspection::PerPart {
                add(&station.inspector.digest());
            }
        }
        hex::encode(&context.finish().as_ref()[..16])
    }

    /// How each inspector is doing.
    pub fn states(&self) -> impl Iterator<Item = InspectorState<'_>> {
        self.0.iter().map(|station| station.state())
    }

    /// Starts asking the inspectors whether they can work. Must be called inside a tokio runtime.
    pub fn start(&self) -> Checkups {
        self.start_every(CHECKUP_INTERVAL)
    }

    fn start_every(&self, interval: Duration) -> Checkups {
        let mut tasks = JoinSet::new();
        for station in &self.0 {
            let station = Arc::clone(station);
            tasks.spawn(forever("check-up of an inspector", move || Arc::clone(&station).check_on(interval)));
        }
        Checkups(tasks)
    }

    /// The inspectors of a rule in the order of the configuration.
    fn stations(&self, terms: &InspectionTerms) -> Vec<&Arc<Station>> {
        let mut ids = terms.inspectors.clone();
        ids.sort_unstable();
        ids.into_iter().map(|id| &self.0[id.0]).collect()
    }
}

/// Makes one inspector.
///
/// # Errors
/// [`BuildError`] if its files, or what it was configured with, cannot be used.
pub fn build(name: &str, kind: &KindSettings) -> Result<Arc<dyn Inspector>, BuildError> {
    match kind {
        KindSettings::Clamd(settings) => clamd::build(name, settings),
        KindSettings::Icap(settings) => icap::build(name, settings),
        KindSettings::Patterns(settings) => patterns::build(name, settings),
        KindSettings::Yara(settings) => yara::build(name, settings),
        KindSettings::FileType(settings) => kinds::build(name, settings),
        KindSettings::Http(settings) => hook::build(name, settings),
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

fn not_asked() -> Verdict {
    Verdict::error("it is not asked, because it failed again and again")
}

impl Station {
    fn build(settings: InspectorSettings, metrics: &Metrics) -> Result<Arc<Self>, BuildError> {
        let InspectorSettings { name, kind, load, required } = settings;
        let inspector = build(&name, &kind)?;
        Ok(Arc::new(Self::new(name, inspector, load, required, metrics)))
    }

    fn new(name: String, inspector: Arc<dyn Inspector>, load: LoadSettings, required: bool, metrics: &Metrics) -> Self {
        metrics.inspections().announce(&name);
        Self {
            inspector,
            required,
            queue: Queue::new(load.max_scans, load.max_waiting, load.principal_share, load.queue_timeout),
            breaker: Breaker::new(BreakerSettings { failures: load.breaker_failures, pause: load.breaker_pause }),
            standing: Mutex::new(Standing::Unknown),
            version: Mutex::default(),
            metrics: metrics.clone(),
            name,
            load,
        }
    }

    async fn begin(self: &Arc<Self>, subject: &Arc<Subject>) -> Result<OneLook, Busy> {
        if self.breaker.check(now).is_err() {
            return Ok(OneLook::decided(self, not_asked()));
        }
        self.queue.limit(self.inspector.max_looks());
        let place = self.queue.take(&subject.principal).await.map_err(|error| self.busy(error))?;
        match self.breaker.admit(now) {
            Ok(()) => Ok(OneLook::begin(self, subject, place)),
            Err(_) => Ok(OneLook::decided(self, not_asked())),
        }
    }

    fn busy(&self, error: NoPlace) -> Busy {
        let LoadSettings { max_scans, principal_share, queue_timeout, .. } = self.load;
        let max_scans = self.inspector.max_looks().map_or(max_scans, |most| most.min(max_scans));
        let why = match error {
            NoPlace::Full => {
                let waiting = self.queue.waiting();
                format!(
                    "{waiting} requests wait for {max_scans} places, or {principal_share} % of them are the principal's own"
                )
            }
            NoPlace::Late => format!("no place in {} s", queue_timeout.as_secs_f64()),
        };
        Busy { inspector: self.name.clone(), why }
    }

    /// Tells the breaker what a verdict says about the inspector.
    pub(super) fn note_health(&self, verdict: &Verdict) {
        let inspector = self.name.as_str();
        if let Verdict::Error { reason } = verdict {
            if self.breaker.note_failure(now()) {
                tracing::warn!(
                    inspector,
                    reason,
                    "the inspector fails again and again; only probes go there until it has a verdict"
                );
            }
        } else if self.breaker.note_answer() {
            tracing::info!(inspector, "the inspector has verdicts again");
        }
    }

    /// Counts a verdict.
    pub(super) fn count(&self, finding: &Finding) {
        self.metrics.inspections().count(&self.name, finding.verdict.state().as_str(), finding.time, finding.bytes);
    }

    async fn check_on(self: Arc<Self>, interval: Duration) {
        let mut warned = Vec::new();
        // Another configuration has asked it.
        if let Standing::Up(health) = self.standing().clone() {
            warned = health.warnings;
        }
        if *self.standing() != Standing::Unknown {
            tokio::time::sleep(interval).await;
        }
        loop {
            let checkup = tokio::time::timeout(CHECKUP_TIMEOUT, Arc::clone(&self.inspector).check()).await;
            let standing = match checkup {
                Ok(Ok(health)) => Standing::Up(health),
                Ok(Err(reason)) => Standing::Down(reason),
                Err(_) => Standing::Down(format!("no answer in {} s", CHECKUP_TIMEOUT.as_secs())),
            };
            self.note_standing(standing, &mut warned);
            tokio::time::sleep(interval).await;
        }
    }

    /// Keeps what a question came to, and logs what is new.
    fn note_standing(&self, standing: Standing, warned: &mut Vec<String>) {
        let inspector = self.name.as_str();
        let before = std::mem::replace(&mut *self.standing(), standing.clone());
        match (&before, &standing) {
            (Standing::Up(before), Standing::Up(health)) if before.version == health.version => {}
            (_, Standing::Up(health)) => tracing::info!(inspector, version = health.version, "the inspector can work"),
            (Standing::Down(_), _) => {}
            (_, Standing::Down(reason)) => tracing::warn!(inspector, reason, "the inspector cannot work"),
            (_, Standing::Unknown) => {}
        }
        if let Standing::Up(health) = standing {
            self.version.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&health.version);
            for warning in health.warnings.iter().filter(|warning| !warned.contains(warning)) {
                tracing::warn!(inspector, "{warning}");
            }
            *warned = health.warnings;
        }
    }

    fn standing(&self) -> std::sync::MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn version(&self) -> String {
        self.version.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn state(&self) -> InspectorState<'_> {
        let standing = self.standing().clone();
        let problem = match &standing {
            Standing::Up(_) => None,
            Standing::Unknown => Some("it was not asked yet".to_owned()),
            Standing::Down(reason) => Some(reason.clone()),
        };
        let signatures_age = match &standing {
            Standing::Up(Health { signatures_made: Some(made), .. }) => {
                let now = u64::try_from(SystemClock.now().as_second()).unwrap_or_default();
                Some(Duration::from_secs(now.saturating_sub(*made)))
            }
            _ => None,
        };
        InspectorState {
            name: &self.name,
            running: self.queue.taken(),
            waiting: self.queue.waiting(),
            up: problem.is_none(),
            resting: self.breaker.is_open(),
            signatures_age,
            not_ready: problem
                .filter(|_| self.required)
                .map(|why| format!("the inspector `{}` cannot work: {why}", self.name)),
        }
    }
}

#[cfg(test)]
#[path = "registry_tests.rs"]
pub(crate) mod tests;

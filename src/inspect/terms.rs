//! What a rule wants inspected, and what each verdict leads to.

use http::HeaderName;

use crate::inspect::verdict::VerdictState;

/// An inspector by its position in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InspectorId(pub usize);

/// `inspect` of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InspectionTerms {
    /// Who looks; never empty, each once.
    pub inspectors: Vec<InspectorId>,
    /// Their names, in the same order.
    pub names: Vec<String>,
    /// Whether written objects are looked at.
    pub uploads: bool,
    /// What the verdicts lead to.
    pub actions: Actions,
    /// Where refused objects are kept; there if an action is [`Action::Quarantine`].
    pub quarantine: Option<QuarantinePlace>,
    /// How an object is marked that is stored all the same.
    pub mark: Mark,
    /// What happens to multipart uploads.
    pub multipart: MultipartInspection,
    /// Whether and how objects are looked at when they are read.
    pub downloads: Option<DownloadTerms>,
}

impl InspectionTerms {
    /// Whether an object must be stored apart until its verdict: its final place, or its head, depends on it.
    pub fn needs_staging(&self) -> bool {
        self.uploads
            && VerdictState::BAD
                .into_iter()
                .any(|state| matches!(self.actions.of(state), Action::Mark | Action::Quarantine))
    }

    /// Whether under these terms everything is looked at that the others look at, and nothing is let pass that they keep back.
    pub fn cover(&self, others: &Self) -> bool {
        let passes = |terms: &Self, state| matches!(terms.actions.of(state), Action::Allow | Action::Mark);
        others.inspectors.iter().all(|inspector| self.inspectors.contains(inspector))
            && VerdictState::BAD.into_iter().all(|state| passes(others, state) || !passes(self, state))
    }
}

/// What each state but clean leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Actions {
    /// Something was found.
    pub matched: Action,
    /// It could not be looked at as a whole.
    pub not_scannable: Action,
    /// The inspector failed.
    pub error: Action,
}

impl Actions {
    /// What a state leads to. Clean objects are always allowed.
    pub fn of(self, state: VerdictState) -> Action {
        match state {
            VerdictState::Clean => Action::Allow,
            VerdictState::Matched => self.matched,
            VerdictState::NotScannable => self.not_scannable,
            VerdictState::Error => self.error,
        }
    }
}

impl Default for Actions {
    /// Everything but clean is refused.
    fn default() -> Self {
        Self { matched: Action::Refuse, not_scannable: Action::Refuse, error: Action::Refuse }
    }
}

impl VerdictState {
    /// The states that a rule decides about.
    pub const BAD: [Self; 3] = [Self::Matched, Self::NotScannable, Self::Error];
}

/// What becomes of an object, the mildest first: of several inspectors' actions the last in this order counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Stored, or given out, as if nothing had been found.
    Allow,
    /// Stored with a mark. Of a download: as [`Action::Allow`].
    Mark,
    /// Stored in the quarantine instead of its place; the client gets the error. Of a download: as [`Action::Refuse`].
    Quarantine,
    /// Not stored, or not given out.
    Refuse,
}

impl Action {
    /// The word in the configuration and in audit records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Mark => "mark",
            Self::Quarantine => "quarantine",
            Self::Refuse => "refuse",
        }
    }
}

/// Where refused objects are kept: a public bucket of the same store, and a prefix in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuarantinePlace {
    /// Public bucket name.
    pub bucket: String,
    /// Prefix; empty, or ends with `/`.
    pub prefix: String,
}

impl QuarantinePlace {
    /// The prefix of all that was kept on some day. Whoever may get at that, gets at what was kept.
    pub fn of_a_day(&self) -> String {
        format!("{}2026-11-23/", self.prefix)
    }
}

/// How an object is marked; the value is the state of the worst verdict ([`VerdictState::as_str`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mark {
    /// An object tag of this key.
    Tag(String),
    /// A metadata header (`x-amz-meta-…`).
    Metadata(HeaderName),
}

/// What happens to multipart uploads under inspection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MultipartInspection {
    /// Parts go to a hidden key; at the end the whole object is looked at, then copied to its place.
    #[default]
    Staged,
    /// Each part is looked at by itself. What lies across the border of two parts is not found.
    PerPart,
    /// There are none.
    Deny,
}

impl MultipartInspection {
    /// The word in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Staged => "staged",
            Self::PerPart => "per_part",
            Self::Deny => "deny",
        }
    }
}

/// How objects are looked at when they are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DownloadTerms {
    /// Objects up to this many bytes are held in memory until the verdict; larger ones are cut before their last bytes.
    pub hold: u64,
    /// What happens to a request for a part of an object.
    pub ranges: Ranges,
    /// Objects up to this many bytes are looked at for a request for a part of them.
    pub scan_up_to: u64,
}

/// What happens to a request for a part of an object that has no verdict yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ranges {
    /// The whole object is looked at first.
    #[default]
    Scan,
    /// It is refused.
    Refuse,
}

//! The answer of `explain`, as text for people and as JSON.

use std::fmt::{self, Display, Formatter};

use serde::Serialize;

use super::question::{Question, Wanted};
use super::terms::TermsView;
use crate::auth::Attributes;
use crate::base::RuleId;
use crate::respond::Refusal;
use crate::rules::explain::{Considered, Miss, Standing, Trace};
use crate::rules::{Denied, Effect, RuleSettings, Scope};

/// Everything that is printed. The field names are those of the JSON.
#[derive(Debug, Serialize)]
pub struct Report {
    decision: Word,
    rule: Option<String>,
    refusal: Option<RefusalView>,
    caller: CallerView,
    operation: Option<&'static str>,
    on: Option<String>,
    rights: Vec<TraceView>,
    terms: Option<TermsView>,
    listing: Option<ListingView>,
    buckets: Option<Vec<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Word {
    Allowed,
    Denied,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Verb {
    Allow,
    Deny,
}

#[derive(Debug, Serialize)]
struct RefusalView {
    status: u16,
    code: &'static str,
    reason: String,
}

#[derive(Debug, Serialize)]
struct CallerView {
    principal: String,
    scheme: &'static str,
    attributes: Attributes,
    address: String,
    expires: Option<String>,
}

/// One right that is needed, and every rule beside it.
#[derive(Debug, Serialize)]
struct TraceView {
    action: &'static str,
    on: String,
    decision: Word,
    rule: Option<String>,
    rules: Vec<RuleView>,
}

#[derive(Debug, Serialize)]
struct RuleView {
    rule: String,
    effect: Verb,
    standing: StandingView,
    /// What the rule covers of the question.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    prefixes: Vec<String>,
    /// Why it does not match.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    misses: Vec<MissView>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum StandingView {
    /// Its word is the decision.
    Decides,
    /// Would decide if those before it were not there.
    Next,
    /// Allows, but a deny beats it.
    Overruled,
    /// Has a part in a listing.
    Takes,
    /// Does not match.
    Misses,
}

#[derive(Debug, Serialize)]
struct MissView {
    condition: &'static str,
    reason: String,
}

/// Terms of the deciding rule, named as in the configuration.
#[derive(Debug, Serialize)]
struct ListingView {
    permitted: Vec<PartView>,
    denied: Vec<String>,
}

#[derive(Debug, Serialize)]
struct PartView {
    prefix: String,
    group: Option<String>,
}

impl Report {
    /// The frame for the answer to a question: denied until something else is concluded.
    pub(super) fn new(question: &Question) -> Self {
        let caller = &question.caller;
        let operation = match question.wanted {
            Wanted::Operation(spec) => Some(spec.name),
            Wanted::Right(_) => None,
        };
        Self {
            decision: Word::Denied,
            rule: None,
            refusal: None,
            caller: CallerView {
                principal: caller.principal().to_string(),
                scheme: caller.scheme().as_str(),
                attributes: caller.attributes().clone(),
                address: caller.address().to_string(),
                expires: caller.expires().map(|instant| instant.to_string()),
            },
            operation,
            on: question.place.as_ref().map(super::question::Place::text),
            rights: Vec::new(),
            terms: None,
            listing: None,
            buckets: None,
        }
    }

    /// Adds what the rules say to one question.
    pub(super) fn add(&mut self, trace: Trace) {
        self.rights.push(TraceView::of(trace));
    }

    /// Whether this question has been answered already.
    pub(super) fn has(&self, trace: &Trace) -> bool {
        self.rights.iter().any(|view| view.action == trace.action && view.on == trace.place)
    }

    /// Notes the terms of the rule that the rules decided on.
    pub(super) fn note_terms(&mut self, rule: Option<&RuleSettings>) {
        if let Some(rule) = rule {
            self.rule = Some(rule.name.clone());
            self.terms = Some(TermsView::of(&rule.terms));
        }
    }

    /// Notes how much of what was asked for is permitted.
    pub(super) fn note_scope(&mut self, scope: &Scope) {
        match scope {
            Scope::Listing(scope) => {
                let part = |part: &crate::rules::listing::ListPart| PartView {
                    prefix: part.prefix.clone(),
                    group: part.group.clone(),
                };
                // Elsewhere a denied prefix has nothing to take.
                let takes = |denied: &&String| scope.parts.iter().any(|part| denied.starts_with(&part.prefix));
                self.listing = Some(ListingView {
                    permitted: scope.parts.iter().map(part).collect(),
                    denied: scope.denied.iter().filter(takes).cloned().collect(),
                });
            }
            Scope::Buckets(buckets) => {
                self.buckets = Some(buckets.iter().map(|bucket| bucket.name.clone()).collect());
            }
            // Of a batch only the bucket is asked about here; each of its keys is a question of its own.
            Scope::Whole | Scope::Batch(_) => {}
        }
    }

    /// Ends the report with the decision.
    pub(super) fn conclude(&mut self, decided: Result<RuleId, Refusal>) {
        match decided {
            Ok(rule) => (self.decision, self.rule) = (Word::Allowed, Some(rule.to_string())),
            Err(refusal) => {
                let denied = self.rights.iter().find(|right| right.decision == Word::Denied);
                self.rule = self.rule.take().or_else(|| denied.and_then(|right| right.rule.clone()));
                self.refusal = Some(RefusalView {
                    status: refusal.status.as_u16(),
                    code: refusal.code.as_str(),
                    reason: refusal.reason,
                });
            }
        }
    }

    /// Whether the gateway would carry the request out.
    pub fn is_allowed(&self) -> bool {
        self.decision == Word::Allowed
    }
}

impl Verb {
    fn of(effect: Effect) -> Self {
        match effect {
            Effect::Allow => Self::Allow,
            Effect::Deny => Self::Deny,
        }
    }
}

impl TraceView {
    fn of(trace: Trace) -> Self {
        let mut views: Vec<RuleView> = Vec::with_capacity(trace.rules.len());
        for considered in trace.rules {
            let standing = standing(&considered, &views, trace.is_listing);
            let (prefixes, misses) = match considered.standing {
                Standing::Matches(prefixes) => (prefixes, Vec::new()),
                Standing::Misses(misses) => (Vec::new(), misses.into_iter().map(MissView::of).collect()),
            };
            let effect = Verb::of(considered.effect);
            views.push(RuleView { rule: considered.rule.to_string(), effect, standing, prefixes, misses });
        }
        let (decision, rule) = match trace.verdict {
            Ok(rule) => (Word::Allowed, Some(rule)),
            Err(Denied::ByRule { rule, .. }) => (Word::Denied, Some(rule)),
            Err(_) => (Word::Denied, None),
        };
        let rule = rule.map(|rule| rule.to_string());
        Self { action: trace.action, on: trace.place, decision, rule, rules: views }
    }
}

/// What a rule's place in the order means; `before` are those that stand before it.
fn standing(considered: &Considered, before: &[RuleView], is_listing: bool) -> StandingView {
    match &considered.standing {
        Standing::Misses(_) => StandingView::Misses,
        Standing::Matches(_) if is_listing => StandingView::Takes,
        Standing::Matches(_) if before.is_empty() => StandingView::Decides,
        Standing::Matches(_) if considered.effect == Effect::Allow && before[0].effect == Verb::Deny => {
            StandingView::Overruled
        }
        Standing::Matches(_) => StandingView::Next,
    }
}

impl MissView {
    fn of(miss: Miss) -> Self {
        let (condition, reason) = match miss {
            Miss::Client(clients) => ("who", format!("is for {}", clients.join(", "))),
            Miss::Attribute(name, values) => {
                ("who", format!("wants the attribute {name} to be {}", values.join(" or ")))
            }
            Miss::Network(networks) => ("who", format!("is for addresses in {}", networks.join(", "))),
            Miss::Action => ("what", "does not name the action".to_owned()),
            Miss::Place(places) => ("where", format!("is about {}", places.join(", "))),
            Miss::PlaceAttribute(name) => {
                ("where", format!("needs the attribute {name}, of which the caller has no value fit for a prefix"))
            }
        };
        Self { condition, reason }
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match (&self.refusal, &self.rule) {
            (Some(RefusalView { status, code, reason }), _) => writeln!(f, "DENIED: {reason} ({status} {code})")?,
            (None, Some(rule)) => writeln!(f, "ALLOWED by the rule `{rule}`")?,
            (None, None) => writeln!(f, "DENIED")?,
        }
        let CallerView { principal, scheme, attributes, address, expires } = &self.caller;
        let attributes: Vec<_> =
            attributes.iter().map(|(name, values)| format!("{name}={}", values.join(","))).collect();
        let expires = expires.as_ref().map(|instant| format!(", until {instant}")).unwrap_or_default();
        writeln!(f, "\ncaller:  {principal} ({scheme}: {}), from {address}{expires}", attributes.join(" "))?;
        if let Some(operation) = self.operation {
            let on = self.on.as_ref().map(|on| format!(" on {on}")).unwrap_or_default();
            writeln!(f, "request: {operation}{on}")?;
        }
        self.rights.iter().try_for_each(|right| right.fmt(f))?;
        self.fmt_scope(f)?;
        let Some(terms) = &self.terms else { return Ok(()) };
        writeln!(f, "\nterms of `{}`, for what an operation has of them:", self.rule.as_deref().unwrap_or_default())?;
        let lines = terms.lines();
        if lines.is_empty() {
            writeln!(f, "  none")?;
        }
        lines.iter().try_for_each(|(name, value)| writeln!(f, "  {name:<20} {value}"))
    }
}

impl Report {
    fn fmt_scope(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(ListingView { permitted, denied }) = &self.listing {
            writeln!(f, "\nthe listing shows:")?;
            for PartView { prefix, group } in permitted {
                let group = group.as_ref().map(|group| format!(", as the group `{group}`")).unwrap_or_default();
                writeln!(f, "  {}{group}", place(prefix))?;
            }
            for prefix in denied {
                writeln!(f, "  but nothing of {}", place(prefix))?;
            }
        }
        match self.buckets.as_deref() {
            None => Ok(()),
            Some([]) => writeln!(f, "\nthe list of buckets is empty"),
            Some(buckets) => writeln!(f, "\nthe list of buckets shows: {}", buckets.join(", ")),
        }
    }
}

impl Display for TraceView {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let verdict = match (&self.rule, self.decision) {
            (Some(rule), Word::Allowed) => format!("allowed by `{rule}`"),
            (Some(rule), Word::Denied) => format!("denied by `{rule}`"),
            (None, _) => "no rule allows it".to_owned(),
        };
        writeln!(f, "\n{} on {}: {verdict}", self.action, self.on)?;
        self.rules.iter().try_for_each(|view| view.fmt(f))
    }
}

impl Display for RuleView {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let effect = match self.effect {
            Verb::Allow => "allow",
            Verb::Deny => "deny ",
        };
        let prefixes = self.prefixes.iter().map(|prefix| place(prefix)).collect::<Vec<_>>().join(", ");
        let says = match (self.standing, self.effect) {
            (StandingView::Decides, _) => format!("decides, with {prefixes}"),
            (StandingView::Next, _) => format!("would decide next, with {prefixes}"),
            (StandingView::Overruled, _) => format!("has no say against a deny, with {prefixes}"),
            (StandingView::Takes, Verb::Allow) => format!("gives {prefixes}"),
            (StandingView::Takes, Verb::Deny) => format!("takes {prefixes}"),
            (StandingView::Misses, _) => {
                let reasons: Vec<_> =
                    self.misses.iter().map(|miss| format!("{}: {}", miss.condition, miss.reason)).collect();
                format!("does not match; {}", reasons.join("; "))
            }
        };
        writeln!(f, "  {effect} `{}` {says}", self.rule)
    }
}

/// A prefix in a sentence.
fn place(prefix: &str) -> String {
    if prefix.is_empty() { "the whole bucket".to_owned() } else { format!("`{prefix}`") }
}

//! The decision: explicit deny, else the most specific allow, else no.
//!
//! A rule matches when its conditions on the caller hold, it names the action, and one of its places covers the key. Among the
//! rules that allow, the one with the longest matching prefix decides and its terms apply; between equals the first in the file.

pub mod explain;

use std::sync::Arc;

use http::HeaderName;

use crate::auth::{Caller, Scheme};
use crate::base::RuleId;
use crate::inspect::InspectionTerms;
use crate::rules::batch::BatchScope;
use crate::rules::listing::{ListRights, ListScope};
use crate::rules::permit::{Permit, Scope};
use crate::rules::settings::{Client, Effect, RuleSettings, Terms, Who};
use crate::rules::template::PrefixTemplate;
use crate::s3::listing::{ListError, ListKind, ListRequest};
use crate::s3::serving::{Serving, plain_action, serving};
use crate::s3::{Bucket, Buckets, CopySource, Operation, PassThrough, Resource, S3Call};

/// All rules of one configuration.
#[derive(Debug)]
pub struct RuleSet {
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    id: RuleId,
    settings: RuleSettings,
    terms: Arc<Terms>,
}

/// Why the rules did not permit a call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// A rule denies it.
    #[error("rule `{rule}` denies {action}")]
    ByRule {
        /// The denying rule.
        rule: RuleId,
        /// The action that was asked for.
        action: &'static str,
    },
    /// No rule allows it.
    #[error("no rule allows {action}")]
    NoRule {
        /// The action that was asked for.
        action: &'static str,
    },
    /// The deciding rule does not accept a header.
    #[error("rule `{rule}` does not list the header `{header}` under headers.allow")]
    Header {
        /// The deciding rule.
        rule: RuleId,
        /// The header.
        header: HeaderName,
    },
    /// The deciding rule does not let the answer's headers be overridden.
    #[error("rule `{rule}` does not set response_overrides, which `{parameter}` needs")]
    ResponseOverride {
        /// The deciding rule.
        rule: RuleId,
        /// The query parameter.
        parameter: String,
    },
    /// What is read is inspected under a rule, and the operation would pass that by.
    #[error("rule `{rule}` inspects what is read, and {action} would give it out uninspected")]
    Uninspected {
        /// The rule that decides about the read.
        rule: RuleId,
        /// The action that was asked for.
        action: &'static str,
    },
    /// List parameters that cannot be read.
    #[error(transparent)]
    List(#[from] ListError),
}

/// What a rule is asked about.
#[derive(Debug, Clone, Copy)]
enum Place<'a> {
    /// One key of a bucket.
    Key(&'a Bucket, &'a str),
    /// Something about a bucket that touches no key: any allowed prefix in it is enough, only a denial of the whole bucket counts.
    Bucket(&'a Bucket),
    /// A bucket with all its keys: only an allow of the whole bucket is enough. Of a change any denied prefix in it is a part.
    Whole(&'a Bucket, Touch),
}

/// What is done to a bucket as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Touch {
    /// It is looked at.
    Read,
    /// It is changed.
    Change,
}

impl RuleSet {
    /// Prepares the rules for evaluation.
    pub fn new(rules: Vec<RuleSettings>) -> Self {
        let prepare = |settings: RuleSettings| Rule {
            id: RuleId::new(&settings.name),
            terms: Arc::new(settings.terms.clone()),
            settings,
        };
        Self { rules: rules.into_iter().map(prepare).collect() }
    }

    /// Decides about a call and everything it touches.
    ///
    /// # Errors
    /// [`Denied`] with the rule, or the lack of one, that decided.
    pub fn authorise(&self, caller: Caller, call: S3Call, buckets: &Buckets) -> Result<Permit, Denied> {
        let action = required_action(&call);
        let (rule, scope) = match (&call.resource, ListKind::of(call.operation)) {
            (Resource::Service, _) => (self.visible_rule(), Scope::Buckets(self.visible_buckets(&caller, buckets))),
            (Resource::Bucket(bucket), Some(kind)) => {
                let scope = self.list_scope(&caller, bucket, kind, &call)?;
                (scope.rule.clone(), Scope::Listing(scope))
            }
            (Resource::Bucket(bucket), None) if call.operation == Operation::DeleteObjects => {
                let scope = self.batch_scope(&caller, bucket, &call)?;
                (scope.rule().cloned().unwrap_or_else(nothing_permitted), Scope::Batch(scope))
            }
            (Resource::Bucket(bucket), None) => (
                self.decide_all(&caller, bucket_place(bucket, call.operation), &call, action)?.id.clone(),
                Scope::Whole,
            ),
            (Resource::Object(bucket, key), _) => {
                let source = call.source.as_ref();
                let read = source.map(|source| self.decide(&caller, source_place(source), source_action(source)));
                let read = read.transpose()?;
                let place = Place::Key(bucket, key.as_str());
                let rule = self.decide_all(&caller, place, &call, action)?;
                self.check_inspected(&caller, read, (rule, place), &call)?;
                (rule.id.clone(), Scope::Whole)
            }
        };
        let terms = self.terms_of(&rule);
        check_terms(&rule, &terms, &call)?;
        let may_copy_tags = self.may_copy_tags(&caller, &call);
        Ok(Permit::new(caller, call, rule, terms, scope).with_tag_copying(may_copy_tags))
    }

    /// Refuses what would give out bytes past the inspection of reads: a torrent, and a copy (its source was read under `read`) to where it
    /// is neither looked at when it is written nor when this caller reads it.
    fn check_inspected(
        &self,
        caller: &Caller,
        read: Option<&Rule>,
        (target, place): (&Rule, Place<'_>),
        call: &S3Call,
    ) -> Result<(), Denied> {
        let read_there = |action| self.decide(caller, place, action);
        let plain = || read_there("s3:GetObject").ok();
        let (read, is_torrent) = match call.operation {
            Operation::GetObjectTorrent => (plain(), true),
            _ => (read, false),
        };
        let Some((rule, wanted)) = read.and_then(|rule| Some((rule, rule.inspects_reads()?))) else { return Ok(()) };
        let is_looked_at = |rule: &Rule| rule.inspects_reads().is_some_and(|terms| terms.cover(wanted));
        let written = target.terms.inspection.as_ref().is_some_and(|terms| terms.uploads && terms.cover(wanted));
        let covered = written
            || (plain().is_some_and(is_looked_at) && read_there("s3:GetObjectVersion").map_or(true, is_looked_at));
        if covered && !is_torrent {
            return Ok(());
        }
        Err(Denied::Uninspected { rule: rule.id.clone(), action: required_action(call) })
    }

    /// Whether a copy may take the tags of its source along: whoever may not read them there and write them here would do both by it.
    fn may_copy_tags(&self, caller: &Caller, call: &S3Call) -> bool {
        let (Some(source), Resource::Object(bucket, key)) = (&call.source, &call.resource) else { return false };
        let read = if source.version_id.is_some() { "s3:GetObjectVersionTagging" } else { "s3:GetObjectTagging" };
        self.decide(caller, source_place(source), read).is_ok()
            && self.decide(caller, Place::Key(bucket, key.as_str()), "s3:PutObjectTagging").is_ok()
    }

    /// Decides about the action of a call, and before it about those that its headers or the store's habits make it need.
    fn decide_all<'a>(
        &'a self,
        caller: &'a Caller,
        place: Place<'_>,
        call: &S3Call,
        action: &'static str,
    ) -> Result<&'a Rule, Denied> {
        for extra in extra_actions(call) {
            self.decide(caller, place, extra)?;
        }
        self.decide(caller, place, action)
    }

    fn decide<'a>(&'a self, caller: &'a Caller, place: Place<'_>, action: &'static str) -> Result<&'a Rule, Denied> {
        decide_among(self.matching(caller, action), caller, place, action)
    }

    /// Whether the body of a DeleteObjects is worth reading: the caller may delete something in the bucket.
    ///
    /// # Errors
    /// [`Denied`] if nothing that the body could say would be permitted.
    pub fn admit_batch(&self, caller: &Caller, bucket: &Bucket) -> Result<(), Denied> {
        let may = |action| self.decide(caller, Place::Bucket(bucket), action).map(|_| ());
        may(DELETE).or_else(|denied| may(DELETE_VERSION).map_err(|_| denied))
    }

    /// Decides about each object of a DeleteObjects: for the right to delete it, and for what the headers need besides.
    fn batch_scope(&self, caller: &Caller, bucket: &Bucket, call: &S3Call) -> Result<BatchScope, Denied> {
        let request = call.batch.as_ref().ok_or(Denied::NoRule { action: DELETE })?;
        self.admit_batch(caller, bucket)?;
        // Looked up once: a request has up to a thousand objects.
        let rules_for = |action| (action, self.matching(caller, action).collect::<Vec<_>>());
        let (plain, versioned) = (rules_for(DELETE), rules_for(DELETE_VERSION));
        let extras: Vec<_> = extra_actions(call).map(rules_for).collect();
        Ok(BatchScope::decide(request, |object| {
            let place = Place::Key(bucket, object.key.as_str());
            let decide = |(action, rules): &(&'static str, Vec<&Rule>)| {
                decide_among(rules.iter().copied(), caller, place, action).map(|rule| rule.id.clone())
            };
            extras.iter().try_for_each(|extra| decide(extra).map(drop))?;
            decide(if object.version_id.is_some() { &versioned } else { &plain })
        }))
    }

    fn matching<'a>(&'a self, caller: &'a Caller, action: &'a str) -> impl Iterator<Item = &'a Rule> {
        self.rules
            .iter()
            .filter(move |rule| rule.settings.actions.contains(action) && who_matches(&rule.settings.who, caller))
    }

    /// What the caller may list of a bucket, cut down to what was asked for.
    fn list_scope(&self, caller: &Caller, bucket: &Bucket, kind: ListKind, call: &S3Call) -> Result<ListScope, Denied> {
        let action = required_action(call);
        let mut rights = ListRights::default();
        for rule in self.matching(caller, action) {
            let prefixes = rule.prefixes_in(caller, bucket);
            match rule.settings.effect {
                Effect::Deny => rights.denied.extend(prefixes.into_iter().map(|prefix| (prefix, rule.id.clone()))),
                Effect::Allow => rights.allowed.extend(prefixes.into_iter().map(|prefix| (prefix, rule.id.clone()))),
            }
        }
        if rights.allowed.is_empty() {
            // Before the parameters are read: what is wrong with them is for those who may list.
            return Err(Denied::NoRule { action });
        }
        rights.narrow(&ListRequest::parse(kind, call)?).map_err(|denying| match denying {
            Some(rule) => Denied::ByRule { rule, action },
            None => Denied::NoRule { action },
        })
    }

    /// The buckets in which some rule allows the caller something.
    fn visible_buckets(&self, caller: &Caller, buckets: &Buckets) -> Vec<Arc<Bucket>> {
        buckets.iter().filter(|bucket| self.shows(caller, bucket)).cloned().collect()
    }

    /// Whether some rule allows the caller something in a bucket that none denies. Others must not learn that it exists.
    pub fn shows(&self, caller: &Caller, bucket: &Bucket) -> bool {
        let about_caller = |effect| {
            self.rules
                .iter()
                .filter(move |rule| rule.settings.effect == effect && who_matches(&rule.settings.who, caller))
        };
        let denials: Vec<_> = about_caller(Effect::Deny)
            .map(|rule| (&rule.settings.actions, rule.prefixes_in(caller, bucket)))
            .filter(|(_, prefixes)| !prefixes.is_empty())
            .collect();
        let denied = |prefix: &str, action: &str| {
            denials.iter().any(|(actions, denied)| {
                actions.contains(action) && denied.iter().any(|denied| prefix.starts_with(denied.as_str()))
            })
        };
        about_caller(Effect::Allow).any(|rule| {
            let prefixes = rule.prefixes_in(caller, bucket);
            prefixes.iter().any(|prefix| rule.settings.actions.iter().any(|action| !denied(prefix, action)))
        })
    }

    /// Whether a caller may see any bucket of the pass-through mapping, so that it is worth asking the store which there are.
    pub fn may_show_passed_through(&self, caller: &Caller, buckets: &Buckets) -> bool {
        let is_one =
            |name: &str| name == PassThrough::ANY || buckets.get(name).is_some_and(|bucket| bucket.passed_through);
        let allows = |rule: &&Rule| rule.settings.effect == Effect::Allow && who_matches(&rule.settings.who, caller);
        self.rules.iter().filter(allows).any(|rule| rule.settings.places.iter().any(|place| is_one(&place.bucket)))
    }

    /// ListBuckets needs no rule: it shows what the rules already allow.
    fn visible_rule(&self) -> RuleId {
        RuleId::new("(visible buckets)")
    }

    fn terms_of(&self, id: &RuleId) -> Arc<Terms> {
        self.rules.iter().find(|rule| rule.id == *id).map(|rule| Arc::clone(&rule.terms)).unwrap_or_default()
    }
}

impl Rule {
    /// What it wants of objects that are read, if they are to be inspected.
    fn inspects_reads(&self) -> Option<&InspectionTerms> {
        self.terms.inspection.as_deref().filter(|terms| terms.downloads.is_some())
    }

    fn templates_in(&self, bucket: &Bucket) -> impl Iterator<Item = &PrefixTemplate> {
        let is_about = |name: &str| name == bucket.name || (bucket.passed_through && name == PassThrough::ANY);
        self.settings.places.iter().filter(move |place| is_about(&place.bucket)).map(|place| &place.prefix)
    }

    /// The prefixes of the bucket that the rule is about, for this caller: all that it denies, or the first that it allows.
    fn prefixes_in(&self, caller: &Caller, bucket: &Bucket) -> Vec<String> {
        let render = match self.settings.effect {
            Effect::Deny => PrefixTemplate::render_all,
            Effect::Allow => PrefixTemplate::render,
        };
        self.templates_in(bucket).flat_map(|template| render(template, caller.attributes())).collect()
    }

    /// Length of the longest prefix of the rule that covers the place.
    fn matched_length(&self, caller: &Caller, place: Place<'_>) -> Option<usize> {
        match (place, self.settings.effect) {
            (Place::Key(bucket, key), _) => {
                self.templates_in(bucket).filter_map(|template| template.covers(caller.attributes(), key)).max()
            }
            (Place::Whole(bucket, Touch::Change), Effect::Deny) => {
                (!self.prefixes_in(caller, bucket).is_empty()).then_some(0)
            }
            (Place::Bucket(bucket), Effect::Deny) | (Place::Whole(bucket, _), _) => {
                self.templates_in(bucket).any(PrefixTemplate::is_empty).then_some(0)
            }
            (Place::Bucket(bucket), Effect::Allow) => self.prefixes_in(caller, bucket).iter().map(String::len).max(),
        }
    }
}

const DELETE: &str = "s3:DeleteObject";
const DELETE_VERSION: &str = "s3:DeleteObjectVersion";

/// The IAM action of a call; naming a version is a right of its own (D07).
fn required_action(call: &S3Call) -> &'static str {
    match (call.operation, call.parameter("versionId").is_some()) {
        (Operation::GetObject | Operation::HeadObject, true) => "s3:GetObjectVersion",
        (Operation::GetObjectAttributes, true) => "s3:GetObjectVersionAttributes",
        (Operation::GetObjectTagging, true) => "s3:GetObjectVersionTagging",
        (Operation::PutObjectTagging, true) => "s3:PutObjectVersionTagging",
        (Operation::DeleteObjectTagging, true) => "s3:DeleteObjectVersionTagging",
        (Operation::DeleteObject, true) => DELETE_VERSION,
        (Operation::GetObjectAcl, true) => "s3:GetObjectVersionAcl",
        (Operation::PutObjectAcl, true) => "s3:PutObjectVersionAcl",
        (operation, _) => operation.spec().action,
    }
}

/// The bucket as an operation on it means it.
fn bucket_place(bucket: &Bucket, operation: Operation) -> Place<'_> {
    match serving(operation) {
        Serving::Bucket(_) => Place::Whole(bucket, touch(operation)),
        Serving::Own | Serving::Key(_) | Serving::Not(_) => Place::Bucket(bucket),
    }
}

fn touch(operation: Operation) -> Touch {
    if operation.spec().method == "GET" { Touch::Read } else { Touch::Change }
}

fn source_place(source: &CopySource) -> Place<'_> {
    Place::Key(&source.bucket, source.key.as_str())
}

/// Reading the source of a copy is a read of its own.
fn source_action(source: &CopySource) -> &'static str {
    if source.version_id.is_some() { "s3:GetObjectVersion" } else { "s3:GetObject" }
}

/// What a call needs besides: headers with consequences of their own, the object itself where S3 wants its right too, and
/// the plain request that a store may carry out instead.
fn extra_actions(call: &S3Call) -> impl Iterator<Item = &'static str> + '_ {
    let object = match (call.operation, call.parameter("versionId").is_some()) {
        (Operation::GetObjectAttributes, false) => Some("s3:GetObject"),
        (Operation::GetObjectAttributes, true) => Some("s3:GetObjectVersion"),
        _ => None,
    };
    let plain = plain_action(call.operation.spec(), call.parameter("versionId").is_some());
    call.headers.needs_actions.iter().map(|(action, _)| *action).chain(object).chain(plain)
}

/// Stands in the permit of a batch of which nothing is permitted. It still has an answer: an error for each object.
fn nothing_permitted() -> RuleId {
    RuleId::new("(no object permitted)")
}

fn decide_among<'a>(
    rules: impl Iterator<Item = &'a Rule>,
    caller: &Caller,
    place: Place<'_>,
    action: &'static str,
) -> Result<&'a Rule, Denied> {
    let mut best: Option<(usize, &Rule)> = None;
    for rule in rules {
        let Some(length) = rule.matched_length(caller, place) else { continue };
        match rule.settings.effect {
            Effect::Deny => return Err(Denied::ByRule { rule: rule.id.clone(), action }),
            Effect::Allow if best.is_none_or(|(longest, _)| length > longest) => best = Some((length, rule)),
            Effect::Allow => {}
        }
    }
    best.map(|(_, rule)| rule).ok_or(Denied::NoRule { action })
}

fn check_terms(rule: &RuleId, terms: &Terms, call: &S3Call) -> Result<(), Denied> {
    if let Some(header) = call.headers.needs_allow.iter().find(|header| !terms.allow_headers.contains(header)) {
        return Err(Denied::Header { rule: rule.clone(), header: header.clone() });
    }
    let override_parameter = call.query.iter().map(|(name, _)| name).find(|name| name.starts_with("response-"));
    match override_parameter {
        Some(parameter) if !terms.response_overrides => {
            Err(Denied::ResponseOverride { rule: rule.clone(), parameter: parameter.clone() })
        }
        _ => Ok(()),
    }
}

fn who_matches(who: &Who, caller: &Caller) -> bool {
    client_matches(who, caller)
        && who.attributes.iter().all(|condition| attribute_matches(condition, caller))
        && network_matches(who, caller)
}

fn client_matches(who: &Who, caller: &Caller) -> bool {
    let is_caller = |client: &Client| match client {
        Client::Token(name) => caller.scheme() == Scheme::AppToken && caller.source_name() == name,
        Client::Key(name) => caller.scheme() == Scheme::AccessKey && caller.source_name() == name,
        Client::Issuer(name) => {
            matches!(caller.scheme(), Scheme::Jwt | Scheme::Session) && caller.source_name() == name
        }
        Client::Listener(name) => caller.scheme() == Scheme::Listener && caller.source_name() == name,
        Client::Certificate(name) => caller.scheme() == Scheme::Certificate && caller.source_name() == name,
    };
    who.clients.is_empty() || who.clients.iter().any(is_caller)
}

fn attribute_matches((name, accepted): &(String, Vec<String>), caller: &Caller) -> bool {
    caller.attributes().get(name).is_some_and(|values| values.iter().any(|value| accepted.contains(value)))
}

fn network_matches(who: &Who, caller: &Caller) -> bool {
    // An IPv4 client of an IPv6 listener shows as ::ffff:a.b.c.d; rules are written for a.b.c.d.
    let address = caller.address().to_canonical();
    who.networks.is_empty() || who.networks.iter().any(|network| network.contains(&address))
}

#[cfg(test)]
#[path = "evaluate_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "inspected_copy_tests.rs"]
mod inspected_copy_tests;

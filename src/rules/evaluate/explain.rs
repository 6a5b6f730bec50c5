//! Why the rules decide as they do: every rule beside one question, in the order of the decision.
//!
//! Decides nothing itself. What a rule says to a call is asked of the same functions that [`RuleSet::authorise`] asks, which is why this
//! lives inside `evaluate`; a property test holds the two together.

use crate::auth::Caller;
use crate::base::RuleId;
use crate::rules::evaluate::{
    Denied, Place, Rule, RuleSet, Touch, attribute_matches, bucket_place, client_matches, extra_actions,
    network_matches, required_action, source_action,
};
use crate::rules::listing::ListRights;
use crate::rules::settings::{Client, Effect};
use crate::s3::listing::ListRequest;
use crate::s3::{Bucket, Operation, Resource, S3Call};

/// What one action is asked about.
#[derive(Debug, Clone, Copy)]
pub enum Asked<'a> {
    /// One key of a bucket.
    Key(&'a Bucket, &'a str),
    /// Something about a bucket that touches no key.
    Bucket(&'a Bucket),
    /// A bucket with all its keys.
    Whole(&'a Bucket, Touch),
    /// A listing of the keys that begin with a prefix.
    Listing(&'a Bucket, &'a str),
}

/// Every rule beside one question.
#[derive(Debug, Clone)]
pub struct Trace {
    /// The IAM action that was asked for.
    pub action: &'static str,
    /// Where, in public terms: `bucket`, or `bucket/key`, or `bucket/prefix` for a listing.
    pub place: String,
    /// Whether it is a listing, which is narrowed and not just allowed or denied.
    pub is_listing: bool,
    /// The rule that allows it, or why none does.
    pub verdict: Result<RuleId, Denied>,
    /// All rules: denies that match, allows that match (the one that decides first), then the others, those that miss least first.
    pub rules: Vec<Considered>,
}

/// One rule beside a question.
#[derive(Debug, Clone)]
pub struct Considered {
    /// The rule.
    pub rule: RuleId,
    /// What it does.
    pub effect: Effect,
    /// Whether it has a say.
    pub standing: Standing,
}

/// Whether a rule has a say in a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Every condition holds. The prefixes of the rule that cover the key (the longest), or that it has in the bucket.
    Matches(Vec<String>),
    /// These conditions do not hold.
    Misses(Vec<Miss>),
}

/// A condition of a rule that does not hold, in the words of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Miss {
    /// `who`: another client; those that the rule names.
    Client(Vec<String>),
    /// `who`: the caller has none of these values of the attribute.
    Attribute(String, Vec<String>),
    /// `who`: the address is in none of these networks.
    Network(Vec<String>),
    /// `what`: the action is not among those of the rule.
    Action,
    /// `where`: other places; those of the rule.
    Place(Vec<String>),
    /// `where`: the place has a part for this attribute, of which the caller has no plain value.
    PlaceAttribute(String),
}

impl RuleSet {
    /// What the rules say to each question that a call puts to them: the rights its headers need, then its own. In
    /// [`RuleSet::authorise`] all of them must be allowed. Empty for a call that needs no rule.
    pub fn trace_call(&self, caller: &Caller, call: &S3Call) -> Vec<Trace> {
        let action = required_action(call);
        match &call.resource {
            Resource::Service => Vec::new(),
            Resource::Bucket(bucket) if is_listing(call.operation) => {
                vec![self.trace(caller, action, Asked::Listing(bucket, call.parameter("prefix").unwrap_or_default()))]
            }
            Resource::Bucket(bucket) => {
                let asked = match bucket_place(bucket, call.operation) {
                    Place::Whole(bucket, touch) => Asked::Whole(bucket, touch),
                    Place::Bucket(_) | Place::Key(..) => Asked::Bucket(bucket),
                };
                extra_actions(call).chain([action]).map(|action| self.trace(caller, action, asked)).collect()
            }
            Resource::Object(bucket, key) => {
                let ask = |action| self.trace(caller, action, Asked::Key(bucket, key.as_str()));
                let source = call.source.as_ref().map(|source| {
                    self.trace(caller, source_action(source), Asked::Key(&source.bucket, source.key.as_str()))
                });
                extra_actions(call).map(ask).chain(source).chain([ask(action)]).collect()
            }
        }
    }

    /// What every rule says to one question.
    pub fn trace(&self, caller: &Caller, action: &'static str, asked: Asked<'_>) -> Trace {
        let consider = |rule: &Rule| Considered {
            rule: rule.id.clone(),
            effect: rule.settings.effect,
            standing: rule.standing(caller, action, asked),
        };
        let mut rules: Vec<Considered> = self.rules.iter().map(consider).collect();
        let verdict = match asked {
            Asked::Key(bucket, key) => self.verdict(caller, action, Place::Key(bucket, key)),
            Asked::Bucket(bucket) => self.verdict(caller, action, Place::Bucket(bucket)),
            Asked::Whole(bucket, touch) => self.verdict(caller, action, Place::Whole(bucket, touch)),
            Asked::Listing(bucket, prefix) => self.list_verdict(caller, action, bucket, prefix),
        };
        rules.sort_by_key(Considered::turn);
        Trace { action, place: asked.text(), is_listing: matches!(asked, Asked::Listing(..)), verdict, rules }
    }

    fn verdict(&self, caller: &Caller, action: &'static str, place: Place<'_>) -> Result<RuleId, Denied> {
        self.decide(caller, place, action).map(|rule| rule.id.clone())
    }

    /// As `list_scope`, without the other parameters of a request.
    fn list_verdict(
        &self,
        caller: &Caller,
        action: &'static str,
        bucket: &Bucket,
        prefix: &str,
    ) -> Result<RuleId, Denied> {
        let mut rights = ListRights::default();
        for rule in self.matching(caller, action) {
            let side = match rule.settings.effect {
                Effect::Deny => &mut rights.denied,
                Effect::Allow => &mut rights.allowed,
            };
            side.extend(rule.prefixes_in(caller, bucket).into_iter().map(|prefix| (prefix, rule.id.clone())));
        }
        if rights.allowed.is_empty() {
            return Err(Denied::NoRule { action });
        }
        let narrowed = rights.narrow(&ListRequest { prefix: prefix.to_owned(), ..ListRequest::default() });
        narrowed.map(|scope| scope.rule).map_err(|denying| match denying {
            Some(rule) => Denied::ByRule { rule, action },
            None => Denied::NoRule { action },
        })
    }
}

/// Operations whose answer is cut down to what the caller may list.
pub fn is_listing(operation: Operation) -> bool {
    matches!(
        operation,
        Operation::ListObjects
            | Operation::ListObjectsV2
            | Operation::ListObjectVersions
            | Operation::ListMultipartUploads
    )
}

impl Asked<'_> {
    fn bucket(&self) -> &Bucket {
        match self {
            Self::Key(bucket, _) | Self::Bucket(bucket) | Self::Whole(bucket, _) | Self::Listing(bucket, _) => bucket,
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Bucket(bucket) | Self::Whole(bucket, _) => bucket.name.clone(),
            Self::Key(bucket, rest) | Self::Listing(bucket, rest) => format!("{}/{rest}", bucket.name),
        }
    }
}

impl Rule {
    fn standing(&self, caller: &Caller, action: &str, asked: Asked<'_>) -> Standing {
        let mut misses = self.who_misses(caller);
        if !self.settings.actions.contains(action) {
            misses.push(Miss::Action);
        }
        match (self.prefixes_for(caller, asked), misses.is_empty()) {
            (Some(prefixes), true) => return Standing::Matches(prefixes),
            (Some(_), false) => {}
            (None, _) => misses.push(self.place_miss(caller, asked.bucket())),
        }
        Standing::Misses(misses)
    }

    fn who_misses(&self, caller: &Caller) -> Vec<Miss> {
        let who = &self.settings.who;
        let mut misses = Vec::new();
        if !client_matches(who, caller) {
            let name = |client: &Client| match client {
                Client::Token(name) => format!("token {name}"),
                Client::Key(name) => format!("key {name}"),
                Client::Issuer(name) => format!("issuer {name}"),
                Client::Listener(name) => format!("listener {name}"),
                Client::Certificate(name) => format!("certificate {name}"),
            };
            misses.push(Miss::Client(who.clients.iter().map(name).collect()));
        }
        for condition in who.attributes.iter().filter(|condition| !attribute_matches(condition, caller)) {
            misses.push(Miss::Attribute(condition.0.clone(), condition.1.clone()));
        }
        if !network_matches(who, caller) {
            misses.push(Miss::Network(who.networks.iter().map(ToString::to_string).collect()));
        }
        misses
    }

    /// The prefixes by which the rule covers what is asked about, if it does.
    fn prefixes_for(&self, caller: &Caller, asked: Asked<'_>) -> Option<Vec<String>> {
        match asked {
            Asked::Key(bucket, key) => {
                let length = self.matched_length(caller, Place::Key(bucket, key))?;
                Some(vec![key[..length].to_owned()])
            }
            Asked::Bucket(bucket) | Asked::Whole(bucket, _) => {
                let place = match asked {
                    Asked::Whole(bucket, touch) => Place::Whole(bucket, touch),
                    _ => Place::Bucket(bucket),
                };
                let length = self.matched_length(caller, place)?;
                let mut prefixes = self.prefixes_in(caller, bucket);
                // The one that counts in the decision first.
                prefixes.sort_by_key(|prefix| prefix.len() != length);
                Some(prefixes)
            }
            Asked::Listing(bucket, asked) => {
                let within = |prefix: &String| asked.starts_with(prefix.as_str()) || prefix.starts_with(asked);
                let prefixes: Vec<_> = self.prefixes_in(caller, bucket).into_iter().filter(within).collect();
                (!prefixes.is_empty()).then_some(prefixes)
            }
        }
    }

    /// Which attribute keeps the rule from covering anything of the bucket, or what it covers instead.
    fn place_miss(&self, caller: &Caller, bucket: &Bucket) -> Miss {
        let mut templates = self.templates_in(bucket).peekable();
        if templates.peek().is_some() && self.prefixes_in(caller, bucket).is_empty() {
            let has = |name: &&str| {
                let values = caller.attributes().get(*name);
                values.is_some_and(|values| values.iter().any(|value| crate::rules::template::is_plain_name(value)))
            };
            let missing = templates.find_map(|template| template.attributes().find(|name| !has(name)));
            if let Some(name) = missing {
                return Miss::PlaceAttribute(name.to_owned());
            }
        }
        let text = |place: &crate::rules::settings::Place| match place.prefix.text() {
            prefix if prefix.is_empty() => place.bucket.clone(),
            prefix => format!("{}/{prefix}", place.bucket),
        };
        Miss::Place(self.settings.places.iter().map(text).collect())
    }
}

impl Considered {
    /// When the rule has its turn: denies, then the longest prefix, then the fewest misses; the order of the file between equals.
    fn turn(&self) -> (u8, std::cmp::Reverse<usize>, usize) {
        match (&self.standing, self.effect) {
            (Standing::Matches(_), Effect::Deny) => (0, std::cmp::Reverse(0), 0),
            (Standing::Matches(prefixes), Effect::Allow) => {
                (1, std::cmp::Reverse(prefixes.first().map_or(0, String::len)), 0)
            }
            (Standing::Misses(misses), _) => (2, std::cmp::Reverse(0), misses.len()),
        }
    }
}

#[cfg(test)]
#[path = "explain_tests.rs"]
mod tests;

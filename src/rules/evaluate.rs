//! The decision: explicit deny, else the most specific allow, else no.
//!
//! A rule matches when its conditions on the caller hold, it names the action, and one of its places covers the key. Among the
//! rules that allow, the one with the longest matching prefix decides and its terms apply; between equals the first in the file.

use std::sync::Arc;

use http::HeaderName;

use crate::auth::{Caller, Scheme};
use crate::base::RuleId;
use crate::rules::listing::{ListRights, ListScope};
use crate::rules::permit::{Permit, Scope};
use crate::rules::settings::{Client, Effect, RuleSettings, Terms, Who};
use crate::rules::template::PrefixTemplate;
use crate::s3::listing::{ListError, ListRequest};
use crate::s3::{Bucket, Buckets, Operation, Resource, S3Call};

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
    /// List parameters that cannot be read.
    #[error(transparent)]
    List(#[from] ListError),
}

/// What a rule is asked about.
#[derive(Debug, Clone, Copy)]
enum Place<'a> {
    /// One key of a bucket.
    Key(&'a Bucket, &'a str),
    /// A bucket as a whole: any allowed prefix in it is enough, only a denial of the whole bucket counts.
    Bucket(&'a Bucket),
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
        let (rule, scope) = match (&call.resource, call.operation) {
            (Resource::Service, _) => (self.visible_rule(), Scope::Buckets(self.visible_buckets(&caller, buckets))),
            (Resource::Bucket(bucket), Operation::ListObjectsV2) => {
                let scope = self.list_scope(&caller, bucket, &call)?;
                (scope.rule.clone(), Scope::Listing(scope))
            }
            (Resource::Bucket(bucket), _) => {
                (self.decide(&caller, Place::Bucket(bucket), action)?.id.clone(), Scope::Whole)
            }
            (Resource::Object(bucket, key), _) => {
                let place = Place::Key(bucket, key.as_str());
                for (extra, _) in &call.headers.needs_actions {
                    self.decide(&caller, place, extra)?;
                }
                (self.decide(&caller, place, action)?.id.clone(), Scope::Whole)
            }
        };
        let terms = self.terms_of(&rule);
        check_terms(&rule, &terms, &call)?;
        Ok(Permit::new(caller, call, rule, terms, scope))
    }

    fn decide<'a>(&'a self, caller: &'a Caller, place: Place<'_>, action: &'static str) -> Result<&'a Rule, Denied> {
        let mut best: Option<(usize, &Rule)> = None;
        for rule in self.matching(caller, action) {
            let Some(length) = rule.matched_length(caller, place) else { continue };
            match rule.settings.effect {
                Effect::Deny => return Err(Denied::ByRule { rule: rule.id.clone(), action }),
                Effect::Allow if best.is_none_or(|(longest, _)| length > longest) => best = Some((length, rule)),
                Effect::Allow => {}
            }
        }
        best.map(|(_, rule)| rule).ok_or(Denied::NoRule { action })
    }

    fn matching<'a>(&'a self, caller: &'a Caller, action: &'a str) -> impl Iterator<Item = &'a Rule> {
        self.rules
            .iter()
            .filter(move |rule| rule.settings.actions.contains(action) && who_matches(&rule.settings.who, caller))
    }

    /// What the caller may list of a bucket, cut down to what was asked for.
    fn list_scope(&self, caller: &Caller, bucket: &Bucket, call: &S3Call) -> Result<ListScope, Denied> {
        const ACTION: &str = "s3:ListBucket";
        let mut rights = ListRights::default();
        for rule in self.matching(caller, ACTION) {
            let prefixes = rule.prefixes_in(caller, bucket);
            match rule.settings.effect {
                Effect::Deny => rights.denied.extend(prefixes.into_iter().map(|prefix| (prefix, rule.id.clone()))),
                Effect::Allow => rights.allowed.extend(prefixes.into_iter().map(|prefix| (prefix, rule.id.clone()))),
            }
        }
        if rights.allowed.is_empty() {
            // Before the parameters are read: what is wrong with them is for those who may list.
            return Err(Denied::NoRule { action: ACTION });
        }
        rights.narrow(&ListRequest::parse(call)?).map_err(|denying| match denying {
            Some(rule) => Denied::ByRule { rule, action: ACTION },
            None => Denied::NoRule { action: ACTION },
        })
    }

    /// The buckets in which some rule allows the caller something.
    fn visible_buckets(&self, caller: &Caller, buckets: &Buckets) -> Vec<Arc<Bucket>> {
        buckets.iter().filter(|bucket| self.shows(caller, bucket)).cloned().collect()
    }

    /// Whether some rule allows the caller something in a bucket. Others must not learn that it exists.
    pub fn shows(&self, caller: &Caller, bucket: &Bucket) -> bool {
        self.rules
            .iter()
            .filter(|rule| rule.settings.effect == Effect::Allow && who_matches(&rule.settings.who, caller))
            .any(|rule| !rule.prefixes_in(caller, bucket).is_empty())
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
    fn templates_in(&self, bucket: &Bucket) -> impl Iterator<Item = &PrefixTemplate> {
        self.settings.places.iter().filter(|place| place.bucket == bucket.name).map(|place| &place.prefix)
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
            (Place::Bucket(bucket), Effect::Deny) => {
                self.templates_in(bucket).any(PrefixTemplate::is_empty).then_some(0)
            }
            (Place::Bucket(bucket), Effect::Allow) => self.prefixes_in(caller, bucket).iter().map(String::len).max(),
        }
    }
}

/// The IAM action of a call; naming a version is a right of its own (D07).
fn required_action(call: &S3Call) -> &'static str {
    match (call.operation, call.parameter("versionId").is_some()) {
        (Operation::GetObject | Operation::HeadObject, true) => "s3:GetObjectVersion",
        (Operation::DeleteObject, true) => "s3:DeleteObjectVersion",
        (operation, _) => operation.spec().action,
    }
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
    let client_matches = |client: &Client| match client {
        Client::Token(name) => caller.scheme() == Scheme::AppToken && caller.source_name() == name,
        Client::Issuer(name) => caller.scheme() == Scheme::Jwt && caller.source_name() == name,
    };
    let has_one = |(name, accepted): &(String, Vec<String>)| {
        caller.attributes().get(name).is_some_and(|values| values.iter().any(|value| accepted.contains(value)))
    };
    // An IPv4 client of an IPv6 listener shows as ::ffff:a.b.c.d; rules are written for a.b.c.d.
    let address = caller.address().to_canonical();
    (who.clients.is_empty() || who.clients.iter().any(client_matches))
        && who.attributes.iter().all(has_one)
        && (who.networks.is_empty() || who.networks.iter().any(|network| network.contains(&address)))
}

#[cfg(test)]
#[path = "evaluate_tests.rs"]
mod tests;

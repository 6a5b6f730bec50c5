//! The permit: evidence that the rules said yes, with everything later stages need of the decision.

use std::sync::Arc;

use crate::auth::Caller;
use crate::base::RuleId;
use crate::rules::batch::BatchScope;
use crate::rules::listing::ListScope;
use crate::rules::settings::Terms;
use crate::s3::{Bucket, S3Call};

/// A permitted call. Only `rules` makes one, and each later stage asks for it or for what was made of it.
///
/// Behind one pointer, because it is handed from stage to stage, and each future on the way has room for it.
#[derive(Debug)]
pub struct Permit(Box<Granted>);

#[derive(Debug)]
struct Granted {
    caller: Caller,
    call: S3Call,
    rule: RuleId,
    terms: Arc<Terms>,
    scope: Scope,
    may_copy_tags: bool,
}

/// How much of what the call names is permitted.
#[derive(Debug, Clone)]
pub enum Scope {
    /// The key or bucket as named.
    Whole,
    /// Parts of a listing.
    Listing(ListScope),
    /// Some of the objects of a DeleteObjects.
    Batch(BatchScope),
    /// These buckets of the list of buckets.
    Buckets(Vec<Arc<Bucket>>),
}

impl Permit {
    pub(in crate::rules) fn new(caller: Caller, call: S3Call, rule: RuleId, terms: Arc<Terms>, scope: Scope) -> Self {
        Self(Box::new(Granted { caller, call, rule, terms, scope, may_copy_tags: false }))
    }

    pub(in crate::rules) fn with_tag_copying(mut self, may_copy_tags: bool) -> Self {
        self.0.may_copy_tags = may_copy_tags;
        self
    }

    /// Whether a copy may take the tags of its source along.
    pub fn may_copy_tags(&self) -> bool {
        self.0.may_copy_tags
    }

    /// Who is permitted.
    pub fn caller(&self) -> &Caller {
        &self.0.caller
    }

    /// What is permitted.
    pub fn call(&self) -> &S3Call {
        &self.0.call
    }

    /// The rule that decided.
    pub fn rule(&self) -> &RuleId {
        &self.0.rule
    }

    /// Every rule that permits a part of the call, each once: several for a batch, [`Permit::rule`] for all others.
    pub fn rules(&self) -> Vec<&RuleId> {
        match self.scope() {
            Scope::Batch(scope) => scope.rules(),
            Scope::Whole | Scope::Listing(_) | Scope::Buckets(_) => vec![self.rule()],
        }
    }

    /// What the request must keep to.
    pub fn terms(&self) -> &Arc<Terms> {
        &self.0.terms
    }

    /// How much of what the call names is permitted.
    pub fn scope(&self) -> &Scope {
        &self.0.scope
    }
}

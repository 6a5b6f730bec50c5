//! The verdict on every object of a DeleteObjects, each decided on its own.

use std::sync::Arc;

use crate::base::RuleId;
use crate::rules::evaluate::Denied;
use crate::s3::{DeleteRequest, ObjectVersion};

/// What may be deleted of what was asked for. Only `rules` makes one, and only what it permits is written into the request to the store.
#[derive(Debug, Clone)]
pub struct BatchScope {
    request: Arc<DeleteRequest>,
    /// One for each object, in their order.
    verdicts: Vec<Result<RuleId, Denied>>,
}

impl BatchScope {
    pub(in crate::rules) fn decide(
        request: &Arc<DeleteRequest>,
        decide: impl FnMut(&ObjectVersion) -> Result<RuleId, Denied>,
    ) -> Self {
        Self { request: Arc::clone(request), verdicts: request.objects.iter().map(decide).collect() }
    }

    /// Every object with its verdict, in the order of the request.
    pub fn verdicts(&self) -> impl Iterator<Item = (&ObjectVersion, &Result<RuleId, Denied>)> {
        self.request.objects.iter().zip(&self.verdicts)
    }

    /// The objects that may be deleted.
    pub fn permitted(&self) -> impl Iterator<Item = &ObjectVersion> {
        self.verdicts().filter(|(_, verdict)| verdict.is_ok()).map(|(object, _)| object)
    }

    /// The rule of the first object that may be deleted, if any may.
    pub fn rule(&self) -> Option<&RuleId> {
        self.verdicts.iter().find_map(|verdict| verdict.as_ref().ok())
    }

    /// The rules that permit something, each once.
    pub fn rules(&self) -> Vec<&RuleId> {
        let mut rules: Vec<_> = self.verdicts.iter().filter_map(|verdict| verdict.as_ref().ok()).collect();
        rules.sort_by_key(|rule| rule.as_str());
        rules.dedup();
        rules
    }

    /// Why the first object that may not be deleted may not.
    pub fn denial(&self) -> Option<&Denied> {
        self.verdicts.iter().find_map(|verdict| verdict.as_ref().err())
    }

    /// Whether the answer leaves out what was deleted.
    pub fn quiet(&self) -> bool {
        self.request.quiet
    }
}

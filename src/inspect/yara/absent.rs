//! What stands for rules in a build without the feature `yara`: nothing.

use std::sync::Arc;

use crate::inspect::Inspector;
use crate::inspect::yara::{RuleProblem, Settings, Source};

/// Compiled rules. There are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleSet {}

impl RuleSet {
    /// Compiles nothing.
    ///
    /// # Errors
    /// [`RuleProblem`], always.
    pub fn compile(_sources: &[Source], _whole_up_to: Option<u64>) -> Result<Self, Vec<RuleProblem>> {
        let message = "this build of countersign has no YARA".to_owned();
        Err(vec![RuleProblem { source: 0, message, help: "build it with `--features yara`".to_owned() }])
    }
}

/// Starts nothing: there are no rules.
pub(super) fn start(settings: &Settings) -> std::io::Result<Arc<dyn Inspector>> {
    match settings.rules {}
}

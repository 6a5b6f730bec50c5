//! What a caller may do: pure decisions over caller, call and rules. No sockets, no clock, no raw paths.

pub mod action;
pub mod evaluate;
pub mod listing;
pub mod permit;
pub mod settings;
pub mod template;
pub mod upload_seal;

pub use action::{Action, ActionSet};
pub use evaluate::{Denied, RuleSet};
pub use listing::ListScope;
pub use permit::{Permit, Scope};
pub use settings::{Effect, Rates, RequestRate, RuleSettings, Terms};
pub use upload_seal::{SealError, UploadSeal};

//! What a caller may do: pure decisions over caller, call and rules. No sockets, no clock, no raw paths.

pub mod action;
pub mod batch;
pub mod evaluate;
pub mod listing;
pub mod permit;
pub mod settings;
pub mod template;
pub mod upload_seal;

pub use action::{Action, ActionSet};
pub use batch::BatchScope;
pub use evaluate::explain;
pub use evaluate::{Denied, RuleSet};
pub use listing::{ListPart, ListScope};
pub use permit::{Permit, Scope};
pub use settings::{Effect, Rates, RequestRate, RuleSettings, Terms};
pub use upload_seal::{SealError, StagedUpload, UploadSeal};

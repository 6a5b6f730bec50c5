//! The gateway's own credentials at its stores: where they come from, and which are in use.
//!
//! `source` reads what lies on this machine; `platform`, `sts` and `process` ask others, in builds with the feature `aws-chain`. Whatever the
//! source, one `store` for each upstream holds the credentials in use and has a task that renews them: see `pace` for when.

#[cfg(feature = "aws-chain")]
mod client;
mod pace;
#[cfg(feature = "aws-chain")]
mod platform;
#[cfg(feature = "aws-chain")]
mod process;
mod sealing;
pub mod settings;
mod source;
mod store;
#[cfg(feature = "aws-chain")]
mod sts;

pub use settings::{
    AssumeRole, Assumed, CredentialSettings, CredentialSource, Platform, PlatformKind, StsEndpoint, WebIdentity,
};
pub use source::CredentialError;
pub use store::{CredentialStore, Unusable};

/// Whether this build can ask platforms and STS for credentials.
pub const HAS_PLATFORM: bool = cfg!(feature = "aws-chain");

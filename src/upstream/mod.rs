//! Sends a signed request to its store and hands back the answer.
//!
//! Knows neither callers nor rules: it takes an [`Outbound`](crate::sign::Outbound) and nothing else. Redirects are not followed; what
//! an answer means is for `respond`.

pub mod client;
pub mod error;
pub mod pool;
mod repeat;
pub mod reply;
pub mod settings;
pub mod slots;

pub use crate::breaker::BreakerSettings;
pub use client::{Upstream, UpstreamState, Upstreams};
pub use error::UpstreamError;
pub use reply::{ReplyBody, UpstreamReply};
pub use settings::{Addressing, ChecksumMode, CredentialSettings, PayloadMode, UpstreamSettings};

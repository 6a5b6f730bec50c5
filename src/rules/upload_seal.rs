//! The upload id that a client of a multipart upload holds: what was permitted at its creation, provable later without any state.
//!
//! Sealed for the principal, the bucket and the key, so that it is good for nothing else; it carries the store's own upload id, the rule
//! that decided and the declared media type, by which the first bytes are checked when they come.

use serde::{Deserialize, Serialize};

use crate::base::Sealer;
use crate::rules::permit::Permit;

/// What a sealed upload id says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadSeal {
    /// The store's upload id.
    pub upload_id: String,
    /// Name of the rule that permitted the creation.
    pub rule: String,
    /// Media type declared at the creation.
    pub media_type: Option<String>,
}

/// Why an upload id was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Not one of the gateway's, or of another principal, bucket or key.
    #[error("the upload id is not one of this caller for this key")]
    Foreign,
    /// The rules have changed: another rule decides now.
    #[error("another rule decides about this key than at the creation of the upload")]
    OtherRule,
}

impl UploadSeal {
    /// Seals for the caller and key of a permit. `None` if the random source fails.
    pub fn seal(&self, sealer: &Sealer, permit: &Permit) -> Option<String> {
        sealer.seal(&context(permit), &serde_json::to_string(self).ok()?)
    }

    /// Opens an upload id that came with a permitted call.
    ///
    /// # Errors
    /// [`SealError`] if it was not made for this caller, key and rule.
    pub fn open(sealed: &str, sealer: &Sealer, permit: &Permit) -> Result<Self, SealError> {
        let text = sealer.open(&context(permit), sealed).ok_or(SealError::Foreign)?;
        let seal: Self = serde_json::from_str(&text).map_err(|_| SealError::Foreign)?;
        if seal.rule == permit.rule().as_str() { Ok(seal) } else { Err(SealError::OtherRule) }
    }
}

fn context(permit: &Permit) -> String {
    let resource = &permit.call().resource;
    let bucket = resource.bucket().map_or("", |bucket| bucket.name.as_str());
    let key = resource.key().map_or("", |key| key.as_str());
    // Keys and principals hold no line feed, so no two contexts read the same.
    format!("{}\n{bucket}\n{key}", permit.caller().principal())
}

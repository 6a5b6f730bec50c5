//! The upload id that a client of a multipart upload holds: what was permitted at its creation, provable later without any state.
//!
//! Sealed for the principal, the bucket and the key, so that it is good for nothing else; it carries the store's own upload id, the rule
//! that decided and the declared media type, by which the first bytes are checked when they come.
//!
//! An id that a caller found in ListMultipartUploads is sealed as well, without a rule: who began that upload, and what was checked then, is
//! not known. It is good for removing the upload and for looking at its parts, where the rules allow these, and never for adding to it.

use serde::{Deserialize, Serialize};

use crate::auth::Caller;
use crate::base::Sealer;
use crate::rules::permit::Permit;
use crate::s3::Bucket;

/// What a sealed upload id says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadSeal {
    /// The store's upload id.
    pub upload_id: String,
    /// Name of the rule that permitted the creation; `None` if the id comes from a list.
    pub rule: Option<String>,
    /// Media type declared at the creation.
    pub media_type: Option<String>,
    /// `Content-Encoding` declared at the creation, where each part has its own verdict: parts do not say it themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_encoding: Option<String>,
    /// What the rule wanted inspected, as a digest; `None` if nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inspection: Option<String>,
    /// Where the parts go until their verdict; `None` if they go to the key itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staging: Option<StagedUpload>,
}

/// An upload that waits at a hidden key for its verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedUpload {
    /// Identifier of the hidden key.
    pub id: String,
    /// Headers of the object that must not stand, or would not last, at the hidden key.
    pub headers: Vec<(String, String)>,
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
    /// From a list, and asked to add to the upload.
    #[error("the upload id comes from a list of uploads")]
    Listed,
}

impl UploadSeal {
    /// What the key of these seals is derived for.
    pub const PURPOSE: &str = "countersign upload id v1";

    /// Seals for the caller and key of a permit. `None` if the random source fails.
    pub fn seal(&self, sealer: &Sealer, permit: &Permit) -> Option<String> {
        sealer.seal(&context_of(permit), &serde_json::to_string(self).ok()?)
    }

    /// Seals an id that a caller found in a list; `hidden` is the identifier of the hidden key that its parts wait at, if they do. `None` if the
    /// random source fails.
    pub fn seal_listed(
        (upload_id, hidden): (&str, Option<&str>),
        sealer: &Sealer,
        caller: &Caller,
        bucket: &Bucket,
        key: &str,
    ) -> Option<String> {
        let staging = hidden.map(|id| StagedUpload { id: id.to_owned(), headers: Vec::new() });
        let seal = Self {
            upload_id: upload_id.to_owned(),
            rule: None,
            media_type: None,
            content_encoding: None,
            inspection: None,
            staging,
        };
        sealer.seal(&context(caller, &bucket.name, key), &serde_json::to_string(&seal).ok()?)
    }

    /// Opens the id of an upload that the caller began, for a permitted call. `inspection` is the digest of what its rule wants inspected now.
    ///
    /// # Errors
    /// [`SealError`] if it was not made for this caller, key and rule, or comes from a list.
    pub fn open(sealed: &str, sealer: &Sealer, permit: &Permit, inspection: Option<String>) -> Result<Self, SealError> {
        let seal = Self::open_any(sealed, sealer, permit, inspection)?;
        if seal.rule.is_some() { Ok(seal) } else { Err(SealError::Listed) }
    }

    /// Opens an upload id that may come from a list, for a permitted call that adds nothing to the upload.
    ///
    /// # Errors
    /// [`SealError`] if it was not made for this caller, key and rule.
    pub fn open_any(
        sealed: &str,
        sealer: &Sealer,
        permit: &Permit,
        inspection: Option<String>,
    ) -> Result<Self, SealError> {
        let text = sealer.open(&context_of(permit), sealed).ok_or(SealError::Foreign)?;
        let seal: Self = serde_json::from_str(&text).map_err(|_| SealError::Foreign)?;
        match &seal.rule {
            // Parts that went up under other terms were not looked at as these want it.
            Some(rule) if rule != permit.rule().as_str() || seal.inspection != inspection => Err(SealError::OtherRule),
            _ => Ok(seal),
        }
    }
}

fn context_of(permit: &Permit) -> String {
    let resource = &permit.call().resource;
    let bucket = resource.bucket().map_or("", |bucket| bucket.name.as_str());
    context(permit.caller(), bucket, resource.key().map_or("", |key| key.as_str()))
}

fn context(caller: &Caller, bucket: &str, key: &str) -> String {
    // Principals and names of buckets hold no line feed, so no two contexts read the same.
    format!("{}\n{bucket}\n{key}", caller.principal())
}

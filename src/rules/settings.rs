//! What `rules` is configured with, resolved and validated by `config`.

use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use ipnet::IpNet;

use crate::inspect::InspectionTerms;
use crate::rules::action::ActionSet;
use crate::rules::template::PrefixTemplate;

/// One rule: who, where, what, and what follows.
#[derive(Debug, Clone)]
pub struct RuleSettings {
    /// Unique name; every decision names it.
    pub name: String,
    /// Allow or deny.
    pub effect: Effect,
    /// Whom the rule is about.
    pub who: Who,
    /// Places the rule is about; never empty.
    pub places: Vec<Place>,
    /// IAM actions the rule is about; never empty.
    pub actions: ActionSet,
    /// What an allowed request must keep to, and what is done to it. Unused by deny rules.
    pub terms: Terms,
}

/// What a rule does with a request it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Permits the request under the rule's terms.
    Allow,
    /// Refuses the request whatever other rules say.
    Deny,
}

/// Conditions on the caller. Every condition given must hold; within a list one match is enough.
#[derive(Debug, Clone, Default)]
pub struct Who {
    /// Names of app tokens, access keys, issuers, listeners and certificates; empty means any authenticated caller.
    pub clients: Vec<Client>,
    /// Attribute name → accepted values; the caller must have one of them for each name.
    pub attributes: Vec<(String, Vec<String>)>,
    /// Networks the request may come from; empty means any.
    pub networks: Vec<IpNet>,
}

/// A configured client that a rule names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Client {
    /// The app token of this name.
    Token(String),
    /// The access key of this name.
    Key(String),
    /// Any principal of the issuer of this name.
    Issuer(String),
    /// Whoever reaches the listener with the identity of this name.
    Listener(String),
    /// Any holder of a client certificate that fits the entry of this name.
    Certificate(String),
}

/// A public bucket and the keys in it that start with a prefix.
#[derive(Debug, Clone)]
pub struct Place {
    /// Public bucket name; [`PassThrough::ANY`](crate::s3::PassThrough::ANY) for every bucket of the pass-through mapping.
    pub bucket: String,
    /// Prefix, possibly with `{attribute}` parts. Empty means every key of the bucket.
    pub prefix: PrefixTemplate,
}

/// Terms of a permit.
#[derive(Debug, Clone, Default)]
pub struct Terms {
    /// Smallest object in bytes that may be written.
    pub min_size: u64,
    /// Largest object in bytes that may be written; `None` leaves it to the store.
    pub max_size: Option<u64>,
    /// Accepted media types of written objects (`image/*`, `application/pdf`), lower case; empty accepts any.
    pub content_types: Vec<String>,
    /// Accepted file name extensions of written keys, lower case, without dot; empty accepts any.
    pub extensions: Vec<String>,
    /// Whether the first bytes must fit the declared media type.
    pub check_bytes: bool,
    /// Whether the signature of an upload must cover its bytes.
    pub signed_payload: bool,
    /// What looks into the bytes, and what its verdicts lead to.
    pub inspection: Option<Arc<InspectionTerms>>,
    /// Headers that a write must carry, with the exact value if one is given.
    pub require_headers: Vec<(HeaderName, Option<HeaderValue>)>,
    /// Headers that replace whatever the client sent on a write.
    pub set_headers: Vec<(HeaderName, HeaderValue)>,
    /// Request headers that are refused unless listed here (`x-amz-storage-class`, …).
    pub allow_headers: Vec<HeaderName>,
    /// Whether a read may override response headers (`response-content-type`, …).
    pub response_overrides: bool,
    /// How much each principal may do under this rule.
    pub rates_per_principal: Rates,
    /// How much all principals together may do under this rule.
    pub rates_together: Rates,
}

impl Terms {
    /// Whether they want something of the metadata of a written object.
    pub fn look_at_metadata(&self) -> bool {
        !self.content_types.is_empty() || self.check_bytes || !self.require_headers.is_empty()
    }
}

/// How much may be done at a time. `None` leaves it open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rates {
    /// Requests in a second.
    pub requests: Option<RequestRate>,
    /// Bytes of bodies in a second from clients.
    pub upload: Option<NonZeroU64>,
    /// Bytes of bodies in a second to clients.
    pub download: Option<NonZeroU64>,
    /// Requests whose answer is not finished.
    pub in_flight: Option<u32>,
}

impl Rates {
    /// Whether nothing is limited.
    pub fn is_open(&self) -> bool {
        *self == Self::default()
    }
}

/// A number of requests in a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestRate {
    /// On average.
    pub per_second: NonZeroU32,
    /// At once, after a pause.
    pub burst: NonZeroU32,
}

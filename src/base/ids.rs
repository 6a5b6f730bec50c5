//! Names of things that appear in decisions, logs and audit records.

use std::fmt;
use std::sync::Arc;

/// Who was authenticated, as it stands in logs: `token:ci` or `corp:alice` (issuer name, then subject).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PrincipalId(Arc<str>);

/// The `name` of a rule in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RuleId(Arc<str>);

/// Position of an upstream in the resolved configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteId(pub usize);

/// Identifies one request in the answer (`x-amz-request-id`), the log and the audit record.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// A new identifier: 32 upper-case hex digits that sort by time (UUID version 7).
    pub fn generate() -> Self {
        let mut digits = uuid::Uuid::now_v7().simple().to_string();
        digits.make_ascii_uppercase();
        Self(digits.into())
    }
}

macro_rules! text_id {
    ($($name:ident),+) => {$(
        impl $name {
            /// Takes the text as it is.
            pub fn new(text: impl AsRef<str>) -> Self {
                Self(Arc::from(text.as_ref()))
            }

            /// The text of the identifier.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )+};
}

text_id!(PrincipalId, RuleId, RequestId);

//! The operations of S3 as data: what tells them apart, what they may carry, which right they need.

use std::sync::LazyLock;

pub use super::operation_table::{ACTIONS, Operation};

use super::operation_table::TABLE;

/// What is known of one operation. Source: the public S3 model; rights: AWS service authorization reference.
#[derive(Debug)]
pub struct OperationSpec {
    /// The operation described.
    pub operation: Operation,
    /// Its name in the S3 API reference.
    pub name: &'static str,
    /// HTTP method.
    pub method: &'static str,
    /// What the target names.
    pub level: Level,
    /// Query keys that must be there, some with a fixed value.
    pub required_query: &'static [(&'static str, Option<&'static str>)],
    /// Query keys that may be there.
    pub optional_query: &'static [&'static str],
    /// Headers whose presence tells the operation from another one (`x-amz-copy-source`).
    pub required_headers: &'static [&'static str],
    /// Every request header the operation knows, lower case; `x-amz-meta-*` stands for a family.
    pub headers: &'static [&'static str],
    /// IAM action it needs.
    pub action: &'static str,
    /// What its request body is.
    pub body: Body,
    /// An older name of another operation with the same request; never identified.
    pub shadowed: bool,
}

/// What the target of a request names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Level {
    /// No bucket: `/`.
    Service,
    /// A bucket and no key.
    Bucket,
    /// A bucket and a key.
    Object,
}

/// What the request body of an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Body {
    /// Nothing.
    None,
    /// The bytes of an object or part.
    Object,
    /// An XML document, or another small structure.
    Xml,
}

impl OperationSpec {
    /// Whether digests in the head are of an XML body, which the gateway reads and writes anew. S3 wants one of them there.
    pub fn has_checked_document(&self) -> bool {
        self.body == Body::Xml && self.headers.contains(&"x-amz-sdk-checksum-algorithm")
    }
}

impl Operation {
    /// What is known of the operation.
    pub fn spec(self) -> &'static OperationSpec {
        &TABLE[self as usize]
    }

    /// Its name in the S3 API reference, such as `PutObject`.
    pub fn name(self) -> &'static str {
        self.spec().name
    }

    /// Every operation.
    pub fn all() -> impl Iterator<Item = &'static OperationSpec> {
        TABLE.iter()
    }

    /// The operations of a method on a level, without the older names. Every request asks, so they are sorted once.
    pub fn on(level: Level, method: &str) -> &'static [&'static OperationSpec] {
        static GROUPS: LazyLock<Vec<Vec<&'static OperationSpec>>> = LazyLock::new(|| {
            let mut groups: Vec<Vec<&'static OperationSpec>> = Vec::new();
            for spec in Operation::all().filter(|spec| !spec.shadowed) {
                match groups.iter_mut().find(|group| (group[0].level, group[0].method) == (spec.level, spec.method)) {
                    Some(group) => group.push(spec),
                    None => groups.push(vec![spec]),
                }
            }
            groups
        });
        GROUPS.iter().find(|group| group[0].level == level && group[0].method == method).map_or(&[], Vec::as_slice)
    }
}

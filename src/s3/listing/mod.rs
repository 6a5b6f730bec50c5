//! The lists of a bucket: what a client asks for, what a store is asked, and the pages it answers with.
//!
//! Everything here is in plain, decoded text. `ListObjects` and `ListObjectsV2` differ in words only; a store is asked in the second form
//! for both.

pub mod page;
pub mod question;
pub mod request;

pub use page::{ListEntry, ListPage, Listed, PageError};
pub use question::{Mark, Question};
pub use request::{ListError, ListRequest};

use crate::s3::Operation;

/// Most names in one page, as S3 has it.
pub const MAX_KEYS: u32 = 1000;

/// Which list of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ListKind {
    /// ListObjects, the older form: pages follow a `marker`.
    Objects,
    /// ListObjectsV2: pages follow a `continuation-token`.
    #[default]
    ObjectsV2,
    /// ListObjectVersions: versions and delete markers.
    Versions,
    /// ListMultipartUploads: uploads that are neither completed nor aborted.
    Uploads,
}

/// Words of one list in requests and answers.
#[derive(Debug)]
pub(in crate::s3) struct Words {
    /// The document.
    pub root: &'static str,
    /// Elements that stand for one name each.
    pub entries: &'static [&'static str],
    /// What tells entries of one key apart.
    pub id: Option<&'static str>,
    /// The parameter for the most names, and its element.
    pub max: (&'static str, &'static str),
    /// The parameter that continues a page, its element, and the element for the next page.
    pub marker: (&'static str, &'static str, &'static str),
    /// The element for the id where the next page begins.
    pub next_id: Option<&'static str>,
}

impl ListKind {
    /// The list that an operation asks for, if it does.
    pub fn of(operation: Operation) -> Option<Self> {
        match operation {
            Operation::ListObjects => Some(Self::Objects),
            Operation::ListObjectsV2 => Some(Self::ObjectsV2),
            Operation::ListObjectVersions => Some(Self::Versions),
            Operation::ListMultipartUploads => Some(Self::Uploads),
            _ => None,
        }
    }

    /// A word for it that no other has.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Objects => "objects",
            Self::ObjectsV2 => "objects-v2",
            Self::Versions => "versions",
            Self::Uploads => "uploads",
        }
    }

    pub(in crate::s3) fn words(self) -> &'static Words {
        const OBJECTS: Words = Words {
            root: "ListBucketResult",
            entries: &["Contents"],
            id: None,
            max: ("max-keys", "MaxKeys"),
            marker: ("marker", "Marker", "NextMarker"),
            next_id: None,
        };
        const OBJECTS_V2: Words =
            Words { marker: ("continuation-token", "ContinuationToken", "NextContinuationToken"), ..OBJECTS };
        const KEY_MARKER: (&str, &str, &str) = ("key-marker", "KeyMarker", "NextKeyMarker");
        const VERSIONS: Words = Words {
            root: "ListVersionsResult",
            entries: &["Version", "DeleteMarker"],
            id: Some("VersionId"),
            marker: KEY_MARKER,
            next_id: Some("NextVersionIdMarker"),
            ..OBJECTS
        };
        const UPLOADS: Words = Words {
            root: "ListMultipartUploadsResult",
            entries: &["Upload"],
            id: Some("UploadId"),
            max: ("max-uploads", "MaxUploads"),
            marker: KEY_MARKER,
            next_id: Some("NextUploadIdMarker"),
        };
        match self {
            Self::Objects => &OBJECTS,
            Self::ObjectsV2 => &OBJECTS_V2,
            Self::Versions => &VERSIONS,
            Self::Uploads => &UPLOADS,
        }
    }
}

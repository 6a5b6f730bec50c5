//! The body of DeleteObjects: which keys and versions are to go.
//!
//! One decoded string for each key is what the rules decide about and what is written into the body for the store. Source: S3 API
//! reference, DeleteObjects.

use std::collections::BTreeMap;

use crate::s3::buckets::Bucket;
use crate::s3::document::{self, DocumentError};
use crate::s3::names::{KeyError, MAX_KEY_BYTES, ObjectKey};
use crate::s3::xml::{Element, XmlWriter};

/// Largest body read, as S3 has it: 1,000 keys of 1,024 bytes fit, if not every byte is escaped.
pub const MAX_DOCUMENT_BYTES: u64 = 2 * 1024 * 1024;

/// Most objects in one request, as S3 has it.
pub const MAX_OBJECTS: usize = 1000;

/// Longest version identifier, as S3 has it.
const MAX_VERSION_BYTES: usize = 1024;
/// Longest condition; an ETag or a date.
const MAX_CONDITION_BYTES: usize = 256;

/// What is to be deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteRequest {
    /// 1 to 1,000 objects, each key and version once, in the order of the request.
    pub objects: Vec<ObjectVersion>,
    /// Whether the answer leaves out what was deleted.
    pub quiet: bool,
}

/// One object of a DeleteObjects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectVersion {
    /// In public terms.
    pub key: ObjectKey,
    /// The version to delete for good; without, the object gets a delete marker in a versioned bucket.
    pub version_id: Option<String>,
    /// Conditions, such as `ETag`, that the store checks.
    pub conditions: Vec<(&'static str, String)>,
}

/// Why the body was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeleteError {
    /// Not a document of this form.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// No object, or more than S3 takes.
    #[error("a request deletes 1 to {MAX_OBJECTS} objects")]
    Count,
    /// A key that is not acceptable.
    #[error("{0}")]
    Key(#[from] KeyError),
    /// The same key and version twice, under different conditions.
    #[error("a key stands twice with different conditions")]
    Doubled,
}

/// What S3 compares before it deletes.
const CONDITIONS: [&str; 3] = ["ETag", "LastModifiedTime", "Size"];

/// Reads the body of a DeleteObjects in a bucket.
///
/// # Errors
/// [`DeleteError`] for the first thing with two readings, or none.
pub fn parse(body: &[u8], bucket: &Bucket) -> Result<DeleteRequest, DeleteError> {
    let root = document::root(body, "Delete")?;
    let (mut objects, mut quiet) = (Vec::new(), None);
    for child in document::children(&root)? {
        match child.name.as_str() {
            "Object" if objects.len() == MAX_OBJECTS => return Err(DeleteError::Count),
            "Object" => objects.push(parse_object(child, bucket)?),
            "Quiet" => {
                let value = match document::text(child, "Quiet", 5)?.trim() {
                    "true" => true,
                    "false" => false,
                    _ => return Err(DocumentError::element("Quiet").into()),
                };
                document::once(&mut quiet, value, "Quiet")?;
            }
            other => return Err(DocumentError::element(other).into()),
        }
    }
    if objects.is_empty() {
        return Err(DeleteError::Count);
    }
    Ok(DeleteRequest { objects: without_repetitions(objects)?, quiet: quiet.unwrap_or(false) })
}

fn parse_object(element: &Element, bucket: &Bucket) -> Result<ObjectVersion, DeleteError> {
    let (mut key, mut version_id, mut conditions) = (None, None, Vec::new());
    for child in document::children(element)? {
        match child.name.as_str() {
            "Key" => {
                // Longer ones are told apart by the check of the key, which names the limit.
                let text = document::text(child, "Key", 4 * MAX_KEY_BYTES)?.to_owned();
                let checked = ObjectKey::check(text, &bucket.upstream_prefix, bucket.odd_keys)?;
                document::once(&mut key, checked, "Key")?;
            }
            "VersionId" => {
                let text = document::text(child, "VersionId", MAX_VERSION_BYTES)?;
                // Empty: no version for one reader, a version of this name for another. They are different rights.
                if text.trim().is_empty() {
                    return Err(DocumentError::Text("VersionId").into());
                }
                document::once(&mut version_id, text.to_owned(), "VersionId")?;
            }
            name => {
                let known = CONDITIONS.into_iter().find(|known| *known == name);
                let known = known.ok_or_else(|| DocumentError::element(name))?;
                let text = document::text(child, known, MAX_CONDITION_BYTES)?.trim();
                if text.is_empty() || conditions.iter().any(|(name, _)| *name == known) {
                    return Err(DocumentError::element(name).into());
                }
                conditions.push((known, text.to_owned()));
            }
        }
    }
    let key = key.ok_or_else(|| DocumentError::element("Key"))?;
    Ok(ObjectVersion { key, version_id, conditions })
}

/// Deleting twice what is gone changes nothing, so the same object counts once.
fn without_repetitions(objects: Vec<ObjectVersion>) -> Result<Vec<ObjectVersion>, DeleteError> {
    let mut first_at: BTreeMap<(ObjectKey, Option<String>), usize> = BTreeMap::new();
    let mut kept: Vec<ObjectVersion> = Vec::with_capacity(objects.len());
    for object in objects {
        match first_at.get(&(object.key.clone(), object.version_id.clone())) {
            None => {
                first_at.insert((object.key.clone(), object.version_id.clone()), kept.len());
                kept.push(object);
            }
            Some(first) if kept[*first] == object => {}
            Some(_) => return Err(DeleteError::Doubled),
        }
    }
    Ok(kept)
}

/// Writes the body for the store, under the bucket's prefix there. Never quiet: the gateway wants to know what became of each key.
pub fn render<'a>(objects: impl Iterator<Item = &'a ObjectVersion>, upstream_prefix: &str) -> String {
    let mut xml = XmlWriter::new("Delete", true);
    for object in objects {
        xml.open("Object").text("Key", &format!("{upstream_prefix}{}", object.key.as_str()));
        if let Some(version_id) = &object.version_id {
            xml.text("VersionId", version_id);
        }
        for (name, value) in &object.conditions {
            xml.text(name, value);
        }
        xml.close();
    }
    xml.text("Quiet", "false");
    xml.finish()
}

#[cfg(test)]
#[path = "delete_objects_tests.rs"]
mod tests;

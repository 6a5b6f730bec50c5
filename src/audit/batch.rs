//! What an audit record says of a request about many objects.

use serde::Serialize;

use crate::s3::ObjectVersion;

/// Most memory of the list in one record. Thousands of records may wait for a slow disk.
const MAX_LIST_BYTES: usize = 16 * 1024;
/// What an object takes beside its texts.
const OBJECT_BYTES: usize = size_of::<ObjectRecord>();

/// The objects of a DeleteObjects, by what became of them.
#[derive(Debug, Clone, Default, Serialize)]
pub struct BatchRecord {
    /// Objects in the request.
    pub asked: usize,
    /// Deleted, as the store says.
    pub deleted: usize,
    /// Refused by the rules, never asked of the store.
    pub denied: usize,
    /// Not deleted, as the store says.
    pub failed: usize,
    /// Asked of the store, which did not say what became of them.
    pub unknown: usize,
    /// Each of them, those that were not deleted first, as far as the record has room.
    pub objects: Vec<ObjectRecord>,
    /// Objects that did not fit into the list.
    pub left_out: usize,
}

/// One of the objects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ObjectRecord {
    /// Public key.
    pub key: String,
    /// Version asked for.
    pub version_id: Option<String>,
    /// `deleted`, `denied`, `failed` or `unknown`.
    pub result: &'static str,
    /// The rule that denied it, or the store's error code.
    pub because: Option<String>,
}

/// What became of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// The store says it is deleted.
    Deleted,
    /// The rules refused it; by a rule, or for the lack of one.
    Denied(Option<String>),
    /// The store refused it, with this code.
    Failed(&'static str),
    /// The store was asked and has not said.
    Unknown,
}

impl BatchRecord {
    /// Counts and lists objects.
    pub fn collect<'a>(objects: impl Iterator<Item = (&'a ObjectVersion, Fate)>) -> Self {
        let mut record = Self::default();
        let (mut spared, mut deleted) = (Vec::new(), Vec::new());
        for (object, fate) in objects {
            record.asked += 1;
            let (count, list, result, because) = match fate {
                Fate::Deleted => (&mut record.deleted, &mut deleted, "deleted", None),
                Fate::Denied(rule) => (&mut record.denied, &mut spared, "denied", rule),
                Fate::Failed(code) => (&mut record.failed, &mut spared, "failed", Some(code.to_owned())),
                Fate::Unknown => (&mut record.unknown, &mut spared, "unknown", None),
            };
            *count += 1;
            list.push((object, result, because));
        }
        let mut room = MAX_LIST_BYTES;
        for (object, result, because) in spared.into_iter().chain(deleted) {
            let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
            let bytes = OBJECT_BYTES + object.key.as_str().len() + length(&object.version_id) + length(&because);
            if bytes > room {
                // Of those that follow a shorter one could fit; the list would then be neither the first nor all of them.
                room = 0;
                record.left_out += 1;
                continue;
            }
            room -= bytes;
            let (key, version_id) = (object.key.as_str().to_owned(), object.version_id.clone());
            record.objects.push(ObjectRecord { key, version_id, result, because });
        }
        record
    }

    /// Whether everything that was asked for was done.
    pub fn is_complete(&self) -> bool {
        self.deleted == self.asked
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::{ObjectKey, OddKeys};

    fn object(key: String) -> ObjectVersion {
        let key = ObjectKey::check(key, "", OddKeys::Refuse).unwrap();
        ObjectVersion { key, version_id: None, conditions: Vec::new() }
    }

    #[test]
    fn e12_objects_that_were_not_deleted_come_first_and_the_list_is_bounded() {
        let objects: Vec<_> = (0..1000).map(|n| object(format!("{n:0>100}"))).collect();
        let fate = |n| match n {
            900 => Fate::Denied(Some("lock".into())),
            901 => Fate::Failed("NoSuchVersion"),
            902 => Fate::Unknown,
            _ => Fate::Deleted,
        };
        let record = BatchRecord::collect(objects.iter().enumerate().map(|(n, object)| (object, fate(n))));
        assert_eq!((record.asked, record.deleted, record.denied, record.failed, record.unknown), (1000, 997, 1, 1, 1));
        assert_eq!((record.objects.len(), record.left_out, record.is_complete()), (87, 913, false));
        let first: Vec<_> = record.objects.iter().take(4).map(|o| (o.result, o.because.as_deref())).collect();
        let expected =
            [("denied", Some("lock")), ("failed", Some("NoSuchVersion")), ("unknown", None), ("deleted", None)];
        assert_eq!(first, expected);
    }
}

//! What each key may hold. An operation whose answer was lost happened or not: both are acceptable, and nothing else is.

use std::collections::BTreeMap;

/// Bytes of which each kibibyte says which upload it is from, and its place there.
const BLOCK: usize = 1024;
/// What a body begins with, and repeats in each block, that must never be stored.
pub const REFUSED: &[u8] = b"MUST-NOT-BE-STORED";

/// A part of the body of an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Segment {
    upload: u64,
    from: usize,
    to: usize,
}

/// What an object consists of; its bytes are made when they are needed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content(Vec<Segment>);

impl Content {
    /// The body of an upload; every upload has its own number.
    pub fn of(upload: u64, length: usize) -> Self {
        Self(vec![Segment { upload, from: 0, to: length }])
    }

    /// Several, one behind the other.
    pub fn concat(parts: &[Self]) -> Self {
        Self(parts.iter().flat_map(|part| part.0.iter().cloned()).collect())
    }

    pub fn len(&self) -> usize {
        self.0.iter().map(|segment| segment.to - segment.from).sum()
    }

    /// The bytes from one place up to another, which is not included.
    pub fn slice(&self, mut from: usize, to: usize) -> Self {
        let (mut left, mut slice) = (to - from, Vec::new());
        for segment in &self.0 {
            let length = segment.to - segment.from;
            if from >= length {
                from -= length;
                continue;
            }
            let taken = left.min(length - from);
            slice.push(Segment { upload: segment.upload, from: segment.from + from, to: segment.from + from + taken });
            (left, from) = (left - taken, 0);
        }
        slice.retain(|segment| segment.from < segment.to);
        Self(slice)
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len());
        for segment in &self.0 {
            let body = body(&segment.upload.to_be_bytes(), segment.to);
            bytes.extend_from_slice(&body[segment.from..]);
        }
        bytes
    }
}

/// A body that every stage must refuse.
pub fn refused_body(length: usize) -> Vec<u8> {
    body(REFUSED, length)
}

fn body(stamp: &[u8], length: usize) -> Vec<u8> {
    let filling = super::super::support::pattern(BLOCK);
    let mut bytes = Vec::with_capacity(length + BLOCK);
    for block in 0..=length / BLOCK {
        let start = bytes.len();
        bytes.extend_from_slice(&filling);
        bytes[start..start + stamp.len()].copy_from_slice(stamp);
        bytes[start + stamp.len()..start + stamp.len() + 8].copy_from_slice(&block.to_be_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// What a key holds; `None` is no object.
pub type State = Option<Content>;

/// The keys of one client. It is the only one that writes them.
#[derive(Debug, Default)]
pub struct Keys(BTreeMap<String, Vec<State>>);

impl Keys {
    /// After an acknowledged operation.
    pub fn is(&mut self, key: &str, state: State) {
        self.0.insert(key.to_owned(), vec![state]);
    }

    /// After an operation whose answer was lost.
    pub fn may_be(&mut self, key: &str, state: State) {
        let acceptable = self.0.entry(key.to_owned()).or_insert_with(|| vec![None]);
        if !acceptable.contains(&state) {
            acceptable.push(state);
        }
    }

    /// What a key may hold.
    pub fn acceptable(&self, key: &str) -> &[State] {
        self.0.get(key).map_or(&[None], Vec::as_slice)
    }

    /// What a key holds for certain.
    pub fn certain(&self, key: &str) -> Option<&Content> {
        match self.acceptable(key) {
            [Some(content)] => Some(content),
            _ => None,
        }
    }

    /// Every key that was ever written, or may have been.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }

    /// What is wrong with a key that holds these bytes.
    pub fn complaint(&self, key: &str, found: Option<&[u8]>) -> Option<String> {
        let acceptable = self.acceptable(key);
        let fits = |state: &State| match (state, found) {
            (None, None) => true,
            (Some(content), Some(bytes)) => content.len() == bytes.len() && content.bytes() == bytes,
            _ => false,
        };
        if acceptable.iter().any(fits) {
            return None;
        }
        let what = match found {
            None => "nothing".to_owned(),
            Some(bytes) if is_refused(bytes) => "what was refused".to_owned(),
            Some(bytes) => format!("{} bytes beginning {:?}", bytes.len(), &bytes[..bytes.len().min(16)]),
        };
        Some(format!("{key} holds {what}, acceptable is {acceptable:?}"))
    }
}

/// Whether something of a body that had to be refused is in these bytes.
pub fn is_refused(bytes: &[u8]) -> bool {
    bytes.chunks(BLOCK).any(|block| block.starts_with(REFUSED)) || bytes.windows(REFUSED.len()).any(|w| w == REFUSED)
}

#[test]
fn a_model_takes_one_of_the_acceptable_bodies_and_nothing_else() {
    let mut keys = Keys::default();
    let (old, new) = (Content::of(1, 3000), Content::of(2, 3000));
    keys.is("k", Some(old.clone()));
    assert_eq!(keys.complaint("k", Some(&old.bytes())), None);
    assert!(keys.complaint("k", None).is_some() && keys.complaint("k", Some(&new.bytes())).is_some());
    keys.may_be("k", Some(new.clone()));
    let mixed = Content::concat(&[old.slice(0, 1024), new.slice(1024, 3000)]);
    assert_eq!(keys.complaint("k", Some(&new.bytes())), None);
    assert!(keys.complaint("k", Some(&mixed.bytes())).is_some() && keys.complaint("k", None).is_some());
    assert!(keys.complaint("other", Some(&old.bytes())).is_some() && keys.complaint("other", None).is_none());
}

#[test]
fn a_slice_of_a_content_has_the_bytes_of_that_place() {
    let whole = Content::concat(&[Content::of(1, 1500), Content::of(2, 10), Content::of(3, 5000)]);
    let bytes = whole.bytes();
    for (from, to) in [(0, 0), (0, 1500), (1400, 1600), (1505, 1506), (0, 6510), (2000, 6510)] {
        assert_eq!(whole.slice(from, to).bytes(), bytes[from..to], "{from} to {to}");
    }
    assert!(is_refused(&refused_body(30)) && !is_refused(&bytes));
}

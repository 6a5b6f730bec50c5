//! Looks for the end of a zip archive in a stream.
//!
//! Programs find a zip by its end record, so a file that begins as an image or a document can be one as well. The record stands in the last
//! 22 bytes, or before a comment of up to 65535. Of what it says programs trust the size of the directory, which lies before it: its place,
//! the numbers of disks and even the number of entries they overlook. With a locator before it they go by numbers of 64 bits elsewhere.

use memchr::memmem;

const MAGIC: &[u8] = b"PK\x05\x06";
const LENGTH: usize = 22;
const LOCATOR: &[u8] = b"PK\x06\x07";
const LOCATOR_LENGTH: usize = 20;
/// The smallest entry of a directory.
const SMALLEST: u32 = 46;
/// Bytes kept: one fewer than would make a record with a locator.
const KEPT: usize = LOCATOR_LENGTH + LENGTH - 1;
const LONGEST_COMMENT: u64 = 65_535;
/// No further from the end of an object than this begins what makes it a zip.
const FURTHEST: u64 = (LOCATOR_LENGTH + LENGTH) as u64 + LONGEST_COMMENT;

/// Watches a stream for end records.
#[derive(Debug)]
pub(in crate::inspect) struct EndOfZip {
    /// Where the object ends, if that is known: what lies before its last bytes is not searched then.
    length: Option<u64>,
    /// The last bytes.
    kept: Vec<u8>,
    /// Bytes seen.
    position: u64,
    /// Where the last record began.
    found: Option<u64>,
}

impl EndOfZip {
    /// For an object of this length, where it is known.
    pub(in crate::inspect) fn new(length: Option<u64>) -> Self {
        Self { length, kept: Vec::new(), position: 0, found: None }
    }

    /// Takes the next bytes.
    pub(in crate::inspect) fn feed(&mut self, bytes: &[u8]) {
        let end = self.position + bytes.len() as u64;
        if self.length.is_some_and(|length| end + FURTHEST <= length) {
            self.position = end;
            return;
        }
        let kept = self.kept.len();
        self.kept.extend_from_slice(&bytes[..bytes.len().min(KEPT)]);
        let seam = std::mem::take(&mut self.kept);
        self.search(&seam, self.position - kept as u64);
        self.search(bytes, self.position);
        self.position = end;
        self.kept = if bytes.len() > KEPT { bytes[bytes.len() - KEPT..].to_vec() } else { seam };
        let surplus = self.kept.len().saturating_sub(KEPT);
        self.kept.drain(..surplus);
    }

    /// Whether a zip could end here. So it could if the length was wrong: then not all that counts was searched.
    pub(in crate::inspect) fn finish(&self) -> bool {
        let is_shorter = self.length.is_some_and(|length| self.position < length);
        is_shorter || self.found.is_some_and(|found| self.position - found <= LENGTH as u64 + LONGEST_COMMENT)
    }

    fn search(&mut self, bytes: &[u8], at: u64) {
        for place in memmem::find_iter(bytes, MAGIC) {
            let Some(record) = bytes.get(place..place + LENGTH) else { break };
            let size = u32::from_le_bytes([record[12], record[13], record[14], record[15]]);
            let has_directory = (SMALLEST..u32::MAX).contains(&size) && u64::from(size) <= at + place as u64;
            // What begins in these bytes and not in the ones before is searched together with them, too.
            let before = bytes[..place].last_chunk::<LOCATOR_LENGTH>();
            let plausible =
                has_directory || size == u32::MAX || before.is_some_and(|before| before.starts_with(LOCATOR));
            if plausible {
                self.found = self.found.max(Some(at + place as u64));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: &[u8] = b"PK\x05\x06\x07\0\x07\0\0\0\0\0\x2e\0\0\0....\0\0";

    /// The same with and without its length.
    fn found(object: &[u8], piece: usize) -> bool {
        let [unknown, known] = [None, Some(object.len() as u64)].map(|length| {
            let mut end = EndOfZip::new(length);
            object.chunks(piece).for_each(|bytes| end.feed(bytes));
            end.finish()
        });
        assert_eq!(unknown, known, "{piece}");
        known
    }

    #[test]
    fn h14_the_end_of_a_zip_is_found_in_every_split() {
        for behind in [0, 1, 21, 65_535] {
            let object = [&[b'x'; 100][..], RECORD, &vec![b'y'; behind]].concat();
            for piece in [1, 2, 3, 5, 21, 22, 23, 100, 110, 70_000] {
                assert!(found(&object, piece), "{behind} {piece}");
            }
        }
    }

    #[test]
    fn h15_with_a_locator_the_record_may_say_anything() {
        let locator = [LOCATOR, &[0; 16]].concat();
        for (before, behind) in [(0, 0), (100, 0), (100, 50)] {
            let object = [&vec![b'x'; before][..], &locator, MAGIC, &[0; 18], &vec![b'y'; behind]].concat();
            for piece in [1, 3, 19, 20, 21, 22, 41, 42, 43, 120, 121, 1000] {
                assert!(found(&object, piece), "{before} {behind} {piece}");
            }
        }
    }

    #[test]
    fn h15_a_length_that_is_wrong_hides_no_zip() {
        let object = [&[b'x'; 100][..], RECORD].concat();
        for said in [1, 100, object.len() as u64 + 1, 1 << 20] {
            for piece in [1, 50, 1000] {
                let mut end = EndOfZip::new(Some(said));
                object.chunks(piece).for_each(|bytes| end.feed(bytes));
                assert!(end.finish(), "{said} {piece}");
            }
        }
    }

    #[test]
    fn what_stands_further_away_or_is_no_record_is_not() {
        let far = [RECORD, &[b'y'; 65_536]].concat();
        let far = [&[b'x'; 100][..], &far].concat();
        let empty = [&RECORD[..8], &[0; 14]].concat();
        let cut = [&[b'x'; 100][..], &RECORD[..21]].concat();
        for object in [&far[..], &empty, RECORD, &cut, b"PK\x05\x06 is what a zip ends with, at some length"] {
            assert!(!found(object, 7));
            assert!(!found(object, 1 << 20));
        }
    }
}

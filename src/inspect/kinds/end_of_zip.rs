//! Looks for the end of a zip archive in a stream.
//!
//! Programs find a zip by its end record, so a file that begins as an image or a document can be one as well. The record stands in the last
//! 22 bytes, or before a comment of up to 65535.

use memchr::memmem;

const MAGIC: &[u8] = b"PK\x05\x06";
const LENGTH: usize = 22;
const LONGEST_COMMENT: u64 = 65_535;

/// Watches a stream for end records.
#[derive(Debug, Default)]
pub(super) struct EndOfZip {
    /// The last bytes, fewer than a record has.
    kept: Vec<u8>,
    /// Bytes seen.
    position: u64,
    /// Where the last record began.
    found: Option<u64>,
}

impl EndOfZip {
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        let kept = self.kept.len();
        self.kept.extend_from_slice(&bytes[..bytes.len().min(LENGTH - 1)]);
        let seam = std::mem::take(&mut self.kept);
        self.search(&seam, self.position - kept as u64);
        self.search(bytes, self.position);
        self.position += bytes.len() as u64;
        self.kept = if bytes.len() >= LENGTH { bytes[bytes.len() - (LENGTH - 1)..].to_vec() } else { seam };
        let surplus = self.kept.len().saturating_sub(LENGTH - 1);
        self.kept.drain(..surplus);
    }

    /// Whether a zip could end here.
    pub(super) fn finish(&self) -> bool {
        self.found.is_some_and(|found| self.position - found <= LENGTH as u64 + LONGEST_COMMENT)
    }

    fn search(&mut self, bytes: &[u8], at: u64) {
        for place in memmem::find_iter(bytes, MAGIC) {
            let Some(record) = bytes.get(place..place + LENGTH) else { break };
            // The numbers of disks are 0, and something is in it; so the four letters alone are no record.
            let plausible = record[4..8] == [0; 4] && record[8..12] != [0; 4];
            if plausible {
                self.found = self.found.max(Some(at + place as u64));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: &[u8] = b"PK\x05\x06\0\0\0\0\x01\0\x01\0....\0\0\0\0\0\0";

    fn found(object: &[u8], piece: usize) -> bool {
        let mut end = EndOfZip::default();
        object.chunks(piece).for_each(|bytes| end.feed(bytes));
        end.finish()
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
    fn what_stands_further_away_or_is_no_record_is_not() {
        let far = [RECORD, &[b'y'; 65_536]].concat();
        let empty = [&RECORD[..8], &[0; 14]].concat();
        for object in [&far[..], &empty, &RECORD[..21], b"PK\x05\x06 is what a zip ends with"] {
            assert!(!found(object, 7));
            assert!(!found(object, 1 << 20));
        }
    }
}

//! What the headers of a zip say of an entry, and the numbers in them.

use super::UnpackError;

/// An entry, as a header has it.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Entry {
    pub(super) at: u64,
    pub(super) flags: u16,
    pub(super) method: u16,
    pub(super) packed: u64,
    pub(super) unpacked: u64,
    pub(super) name_length: usize,
    pub(super) extra_length: usize,
    pub(super) comment_length: usize,
}

/// Little-endian numbers of headers; the places are inside, since the whole header was gathered.
pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 4].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// In a header: the number stands in the extra field.
pub(super) const UNSIZED: u64 = 0xffff_ffff;

impl Entry {
    /// Takes sizes and place from the extra field, where they are too large for the header.
    pub(super) fn widen(&mut self, fields: &[u8]) -> Result<(), UnpackError> {
        const MISSING: UnpackError = UnpackError::Broken("a size of 64 bits is missing");
        if ![self.packed, self.unpacked, self.at].contains(&UNSIZED) {
            return Ok(());
        }
        let mut extra = &fields[self.name_length..self.name_length + self.extra_length];
        while let [a, b, c, d, rest @ ..] = extra {
            let length = usize::from(u16::from_le_bytes([*c, *d]));
            let (field, rest) = rest.split_at_checked(length).ok_or(MISSING)?;
            extra = rest;
            if [*a, *b] != [1, 0] {
                continue;
            }
            let mut numbers = field.chunks_exact(8).map(|bytes| u64_at(bytes, 0));
            for value in
                [&mut self.unpacked, &mut self.packed, &mut self.at].into_iter().filter(|value| **value == UNSIZED)
            {
                *value = numbers.next().ok_or(MISSING)?;
            }
            return Ok(());
        }
        Err(MISSING)
    }
}

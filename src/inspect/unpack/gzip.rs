//! gzip (RFC 1952): members one after the other are one object.
//!
//! Zeros behind a member are padding, and another member may follow them. Programs differ in what they make of anything else there: it is
//! refused.

use super::inflate::{Inflate, end};
use super::{Layer, Sink, Spent, Stop, UnpackError};

#[derive(Debug)]
pub(super) struct Gzip {
    inner: Layer,
    inflate: Inflate,
    part: Part,
    /// Bytes of a part of known length.
    gathered: Vec<u8>,
    /// Flags of the header that are still to be read.
    flags: u8,
    members: u32,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Head,
    ExtraLength,
    Skip(usize),
    Text,
    Body,
    Trailer,
}

const HAS_CRC: u8 = 2;
const HAS_EXTRA: u8 = 4;
const HAS_NAME: u8 = 8;
const HAS_COMMENT: u8 = 16;

impl Gzip {
    pub(super) fn new(inner: Layer) -> Self {
        Self { inner, inflate: Inflate::new(), part: Part::Head, gathered: Vec::new(), flags: 0, members: 0 }
    }

    pub(super) async fn feed<S: Sink>(
        &mut self,
        mut input: &[u8],
        spent: &mut Spent,
        sink: &mut S,
    ) -> Result<(), Stop> {
        while !input.is_empty() {
            match self.part {
                Part::Head => {
                    if self.is_between() {
                        let zeros = input.iter().take_while(|byte| **byte == 0).count();
                        input = &input[zeros..];
                    }
                    if self.gather(&mut input, 10) {
                        self.read_head(spent)?;
                    }
                }
                Part::ExtraLength => {
                    if self.gather(&mut input, 2) {
                        let length = usize::from(u16::from_le_bytes([self.gathered[0], self.gathered[1]]));
                        self.gathered.clear();
                        self.part = Part::Skip(length);
                        self.skipped();
                    }
                }
                Part::Skip(left) => {
                    let taken = left.min(input.len());
                    input = &input[taken..];
                    self.part = Part::Skip(left - taken);
                    self.skipped();
                }
                Part::Text => match memchr::memchr(0, input) {
                    Some(zero) => {
                        input = &input[zero + 1..];
                        self.next_of_head();
                    }
                    None => input = &[],
                },
                Part::Body => {
                    let layer = self.inner.depth;
                    if self.inflate.feed(&mut input, &mut self.inner, layer, spent, sink).await? {
                        self.part = Part::Trailer;
                    }
                }
                Part::Trailer => {
                    if self.gather(&mut input, 8) {
                        self.gathered.clear();
                        self.part = Part::Head;
                    }
                }
            }
        }
        Ok(())
    }

    pub(super) async fn finish<S: Sink>(&mut self, spent: &mut Spent, sink: &mut S) -> Result<(), Stop> {
        if !self.is_between() {
            return Err(UnpackError::Broken("it ends too early").into());
        }
        let layer = self.inner.depth;
        end(&mut self.inner, layer, spent, sink).await
    }

    /// Whether a member has ended, and nothing of another is there.
    fn is_between(&self) -> bool {
        self.part == Part::Head && self.members > 0 && self.gathered.is_empty()
    }

    /// Whether so many bytes are there.
    fn gather(&mut self, input: &mut &[u8], wanted: usize) -> bool {
        let taken = input.len().min(wanted - self.gathered.len());
        self.gathered.extend_from_slice(&input[..taken]);
        *input = &input[taken..];
        self.gathered.len() == wanted
    }

    fn read_head(&mut self, spent: &mut Spent) -> Result<(), UnpackError> {
        let is_member = self.gathered.starts_with(b"\x1f\x8b\x08") && self.gathered[3] & 0xe0 == 0;
        self.flags = self.gathered[3];
        self.gathered.clear();
        match (is_member, self.members) {
            (true, _) => {}
            (false, 0) => return Err(UnpackError::Broken("it does not begin like gzip")),
            (false, _) => return Err(UnpackError::Broken("something else stands behind what is packed")),
        }
        spent.add_entry()?;
        self.members += 1;
        self.inflate.reset();
        self.next_of_head();
        Ok(())
    }

    fn skipped(&mut self) {
        if self.part == Part::Skip(0) {
            self.next_of_head();
        }
    }

    /// The next optional part of the header, in the order in which they stand.
    fn next_of_head(&mut self) {
        for (flag, part) in [
            (HAS_EXTRA, Part::ExtraLength),
            (HAS_NAME, Part::Text),
            (HAS_COMMENT, Part::Text),
            (HAS_CRC, Part::Skip(2)),
        ] {
            if self.flags & flag != 0 {
                self.flags &= !flag;
                self.part = part;
                return;
            }
        }
        self.part = Part::Body;
    }
}

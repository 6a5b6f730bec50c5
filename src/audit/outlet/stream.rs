//! Lines to something that is written to: standard output, a file that is never put aside.

use std::io::Write;

use bytes::Bytes;

use super::{Outlet, OutletError};

/// Whole lines on their way out. A batch of which a half was taken is continued there, not begun anew.
pub(in crate::audit) struct Stream<W> {
    out: W,
    pending: Pending,
}

/// The bytes of one batch, and how many of them were taken.
#[derive(Default)]
pub(super) struct Pending {
    bytes: Vec<u8>,
    taken: usize,
}

impl<W: Write> Stream<W> {
    /// Nothing written yet.
    pub(in crate::audit) fn new(out: W) -> Self {
        Self { out, pending: Pending::default() }
    }
}

impl<W: Write + Send> Outlet for Stream<W> {
    fn deliver(&mut self, batch: &[Bytes]) -> Result<u64, OutletError> {
        self.pending.write(batch, &mut self.out)?;
        Ok(0)
    }
}

impl Pending {
    /// Writes a batch, or what is left of it.
    pub(super) fn write(&mut self, batch: &[Bytes], out: &mut impl Write) -> std::io::Result<()> {
        if self.bytes.is_empty() {
            batch.iter().for_each(|line| self.bytes.extend_from_slice(line));
        }
        while self.taken < self.bytes.len() {
            match out.write(&self.bytes[self.taken..]) {
                Ok(0) => return Err(std::io::ErrorKind::WriteZero.into()),
                Ok(count) => self.taken += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        out.flush()?;
        self.bytes.clear();
        self.taken = 0;
        Ok(())
    }

    /// Whether a batch was begun and not ended.
    pub(super) fn is_begun(&self) -> bool {
        self.taken > 0
    }
}

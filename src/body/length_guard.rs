//! Holds an object to its declared length and to the limits of the rule.

use bytes::Bytes;

use crate::body::{Emit, Fault, Stage};

/// Counts the bytes of an object.
#[derive(Debug)]
pub struct LengthGuard {
    declared: Option<u64>,
    min: u64,
    max: Option<u64>,
    seen: u64,
}

impl LengthGuard {
    /// A guard for an object of the declared length, if there is one, between `min` and `max` bytes.
    pub fn new(declared: Option<u64>, min: u64, max: Option<u64>) -> Self {
        Self { declared, min, max, seen: 0 }
    }
}

impl Stage for LengthGuard {
    fn push(&mut self, input: Bytes, emit: &mut Emit<'_>) -> Result<(), Fault> {
        self.seen = self.seen.saturating_add(input.len() as u64);
        // Before the bytes go on: hyper silently cuts a body that is longer than its Content-Length.
        if let Some(expected) = self.declared.filter(|declared| self.seen > *declared) {
            return Err(Fault::Overrun { expected });
        }
        if let Some(max) = self.max.filter(|max| self.seen > *max) {
            return Err(Fault::TooLarge { max });
        }
        emit(input)
    }

    fn finish(&mut self, _: &mut Emit<'_>) -> Result<(), Fault> {
        match self.declared {
            Some(expected) if self.seen < expected => Err(Fault::Incomplete { expected, seen: self.seen }),
            _ if self.seen < self.min => Err(Fault::TooSmall { min: self.min }),
            _ => Ok(()),
        }
    }
}

//! Keeps the last bytes of an upload until every check before it in the chain has passed.
//!
//! This is the commit point. An S3 store shows an object only after the whole declared length arrived, so one byte kept back is
//! enough; keeping the last piece as it came costs no copy. Does not decide anything itself: a stage that fails never gets here.
//! Source: S3 API reference, PutObject; probed by `tests/it/commit_point.rs`.

use bytes::Bytes;

use crate::body::{Emit, Fault, Stage};

/// Gives each piece on when the next one has come, and the last one at the end.
#[derive(Debug, Default)]
pub struct Holdback {
    held: Option<Bytes>,
}

impl Stage for Holdback {
    fn push(&mut self, input: Bytes, emit: &mut Emit<'_>) -> Result<(), Fault> {
        match self.held.replace(input) {
            Some(former) => emit(former),
            None => Ok(()),
        }
    }

    fn finish(&mut self, emit: &mut Emit<'_>) -> Result<(), Fault> {
        match self.held.take() {
            Some(last) => emit(last),
            None => Ok(()),
        }
    }
}

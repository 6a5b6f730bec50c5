//! Keeps the end of an upload until every check before it in the chain has passed.
//!
//! This is the commit point. An S3 store shows an object only after the whole declared length arrived, so one byte kept back is
//! enough. Does not decide anything itself: a stage that fails never gets here.
//! Source: S3 API reference, PutObject; probed by `tests/it/commit_point.rs`.

use bytes::Bytes;

use crate::body::{Emit, Fault, Stage};

/// Pieces up to this size are kept whole: cutting a byte off would double their number.
const KEPT_WHOLE: usize = 4 * 1024;

/// Keeps the first piece whole until the second comes, so that an upload of one piece has passed every check before the store hears of it.
/// Of later pieces it keeps a copy of the last byte: a whole one would lie here for as long as the store takes nothing.
#[derive(Debug, Default)]
pub struct Holdback {
    held: Option<Bytes>,
}

impl Stage for Holdback {
    fn push(&mut self, mut input: Bytes, emit: &mut Emit<'_>) -> Result<(), Fault> {
        let Some(former) = self.held.take() else {
            self.held = Some(input);
            return Ok(());
        };
        emit(former)?;
        if input.len() > KEPT_WHOLE {
            // Copied, because a slice keeps the whole allocation.
            self.held = Some(Bytes::copy_from_slice(&input.split_off(input.len() - 1)));
            return emit(input);
        }
        self.held = Some(input);
        Ok(())
    }

    fn finish(&mut self, emit: &mut Emit<'_>) -> Result<(), Fault> {
        match self.held.take() {
            Some(last) => emit(last),
            None => Ok(()),
        }
    }
}

//! Unpacking that may fail without ending the look: what cannot be unpacked is still looked at as it is.

use super::{Limits, Sink, Stop, UnpackError, Unpacker};
use crate::inspect::Subject;

/// Unpacks an object for as long as that goes.
///
/// A match says more than that not everything was seen, and what an object comes to must not depend on which of the two comes first: so
/// the reason is kept, and told at the end.
pub struct Attempt {
    /// None if nothing is unpacked, or nothing any more.
    unpacker: Option<Unpacker>,
    failed: Option<UnpackError>,
}

impl Attempt {
    /// For one object; without limits nothing is unpacked.
    ///
    /// # Errors
    /// Why its bytes cannot be looked at: they are encoded, and not unpacked.
    pub fn new(limits: Option<Limits>, subject: &Subject) -> Result<Self, String> {
        let unpacker = match limits {
            None if subject.is_encoded() => return Err("the content is encoded, and is not unpacked".to_owned()),
            None => None,
            Some(limits) => {
                let unpacker = Unpacker::new(limits, subject.content_encoding.as_deref(), subject.length);
                Some(unpacker.map_err(|error| error.to_string())?)
            }
        };
        Ok(Self::with(unpacker))
    }

    /// With an unpacker, or without.
    pub fn with(unpacker: Option<Unpacker>) -> Self {
        Self { unpacker, failed: None }
    }

    /// Takes the next bytes of the object. False if the sink has seen enough.
    pub async fn feed<S: Sink>(&mut self, piece: &[u8], sink: &mut S) -> bool {
        let Some(unpacker) = &mut self.unpacker else { return true };
        let outcome = unpacker.feed(piece, sink).await;
        self.note(outcome)
    }

    /// Says that the object is complete.
    pub async fn finish<S: Sink>(&mut self, sink: &mut S) {
        if let Some(unpacker) = self.unpacker.take() {
            let outcome = unpacker.finish(sink).await;
            self.note(outcome);
        }
    }

    /// Why not everything was seen.
    pub fn into_failure(self) -> Option<UnpackError> {
        self.failed
    }

    fn note(&mut self, outcome: Result<(), Stop>) -> bool {
        match outcome {
            Ok(()) => true,
            Err(Stop::Enough) => false,
            Err(Stop::Failed(error)) => {
                self.unpacker = None;
                self.failed = Some(error);
                true
            }
        }
    }
}

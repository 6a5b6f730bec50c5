//! Keeps the first bytes of an object until they were compared with its declared type.

use bytes::{Bytes, BytesMut};

use crate::body::{Emit, Fault, Stage};
use crate::inspect::file_type::{self, WINDOW};

/// The comparison, done once enough bytes are there.
#[derive(Debug)]
pub struct TypeCheck {
    declared: Option<String>,
    first: BytesMut,
    done: bool,
}

impl TypeCheck {
    /// Checks against a declared media type.
    pub fn new(declared: Option<String>) -> Self {
        Self { declared, first: BytesMut::new(), done: false }
    }

    fn decide(&mut self, emit: &mut Emit<'_>) -> Result<(), Fault> {
        let first = self.first.split().freeze();
        file_type::check(self.declared.as_deref(), &first[..first.len().min(WINDOW)])?;
        self.done = true;
        if first.is_empty() { Ok(()) } else { emit(first) }
    }
}

impl Stage for TypeCheck {
    fn push(&mut self, input: Bytes, emit: &mut Emit<'_>) -> Result<(), Fault> {
        if self.done {
            return emit(input);
        }
        if self.first.is_empty() && input.len() >= WINDOW {
            // The usual case: one frame holds the window, so nothing is copied.
            file_type::check(self.declared.as_deref(), &input[..WINDOW])?;
            self.done = true;
            return emit(input);
        }
        self.first.extend_from_slice(&input);
        if self.first.len() >= WINDOW { self.decide(emit) } else { Ok(()) }
    }

    fn finish(&mut self, emit: &mut Emit<'_>) -> Result<(), Fault> {
        if self.done { Ok(()) } else { self.decide(emit) }
    }
}

//! What to look for in the bytes of an object.

pub mod file_type;

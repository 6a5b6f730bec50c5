//! One record for each request, written when the last byte of the answer leaves or the connection dies.
//!
//! Knows no stage: it gets names and numbers. A record never holds a credential, a header value or a query.

mod access_log;
pub mod batch;
pub mod entry;
mod line;
mod outlet;
pub mod queued;
pub mod record;
pub mod room;
pub mod settings;
pub mod sink;
mod spans;
pub mod ticket;

pub use entry::Entry;
pub use queued::QueuedSink;
pub use record::{Decision, Outcome, Record};
pub use room::NoRoom;
pub use settings::AuditSettings;
pub use sink::{AuditSink, Fanout};
pub use ticket::{Auditor, Ticket};

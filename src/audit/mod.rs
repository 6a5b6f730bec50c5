//! One record for each request, written when the last byte of the answer leaves or the connection dies.
//!
//! Knows no stage: it gets names and numbers. A record never holds a credential, a header value or a query.

pub mod batch;
pub mod entry;
mod line;
pub mod record;
pub mod sink;
pub mod ticket;

pub use entry::Entry;
pub use record::{Decision, Outcome, Record};
pub use sink::{AuditSink, Fanout, JsonLines};
pub use ticket::{Auditor, Ticket};

//! How much of a body the process holds while it passes: little when the other side stands, much when it flows.
//!
//! hyper sizes its read buffer after what a read gives it, and queues for writing what a body hands out. So both ends are
//! bounded from outside: [`MeteredReads`] decides how much one read gives, [`Paced`] how much lies in the queue, and
//! [`Budget`] keeps the sum of all connections below a ceiling. Decides nothing about requests; knows no S3.
//! Why so: `docs/decisions/0009-buffers-under-one-budget.md`.

mod budget;
mod growth;
mod paced;
mod read_ahead;
mod reads;

pub use budget::{Budget, LEAST, MOST};
pub use paced::Paced;
pub use read_ahead::{Collect, ReadAhead, SendQueue};
pub use reads::MeteredReads;

//! What the client gets: the store's answer through an allow-list, an answer of our own, or a refusal.

pub mod body;
mod browser_refusal;
pub mod headers;
pub mod inspected;
pub mod late;
pub mod local;
pub mod posted;
pub mod refusal;
pub mod relay;
mod signatures;
pub mod store_answer;
pub mod withheld;

pub use body::{AnswerBody, Reply};
pub use refusal::{Refusal, RefusalKind};

//! The wall clock as a seam, so that expiry and signatures can be tested at any instant.
//!
//! Time-outs do not come from here: they use tokio's monotonic clock.

/// An instant of UTC wall-clock time.
pub type UtcInstant = jiff::Timestamp;

/// Tells the current wall-clock time.
pub trait Clock: Send + Sync + 'static {
    /// The current instant of UTC.
    fn now(&self) -> UtcInstant;
}

/// The clock of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> UtcInstant {
        jiff::Timestamp::now()
    }
}

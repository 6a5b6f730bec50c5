//! A short wait that begins when it is first asked about, and can be called off.
//!
//! Apart from the stages that wait, since these know no clock.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

/// A wait of one length, again and again.
#[derive(Debug)]
pub struct Pause {
    length: Duration,
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Pause {
    /// Of this length; it has not begun.
    pub fn new(length: Duration) -> Self {
        Self { length, alarm: None }
    }

    /// Ready when it is over; the next question begins another.
    pub fn poll_over(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let length = self.length;
        ready!(self.alarm.get_or_insert_with(|| Box::pin(sleep(length))).as_mut().poll(context));
        self.call_off();
        Poll::Ready(())
    }

    /// Nothing waits any more.
    pub fn call_off(&mut self) {
        self.alarm = None;
    }
}

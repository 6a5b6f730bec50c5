//! Holds a body to its rate: waits before the next piece, never in the middle of one, and never for bytes that have passed already.
//!
//! Not a stage: stages know no clock. Whoever pulls the body asks here first; a wait is the gateway's own and must count neither as the
//! client's nor as the store's slowness.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, Sleep};

use crate::limits::Meter;

/// Makes one body keep the rates of its meter.
#[derive(Debug)]
pub struct Throttle {
    meter: Meter,
    alarm: Option<Pin<Box<Sleep>>>,
    waiting: bool,
}

impl Throttle {
    /// Nothing is waited for yet.
    pub fn new(meter: Meter) -> Self {
        Self { meter, alarm: None, waiting: false }
    }

    /// Ready when the next piece may pass.
    pub fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some(alarm) = self.alarm.as_mut().filter(|_| self.waiting) {
                ready!(alarm.as_mut().poll(context));
                self.waiting = false;
            }
            let now = Instant::now();
            let wait = self.meter.wait(now.into_std());
            if wait.is_zero() {
                return Poll::Ready(());
            }
            // Another body of the same account may have passed bytes meanwhile.
            self.waiting = true;
            match &mut self.alarm {
                Some(alarm) => alarm.as_mut().reset(now + wait),
                None => self.alarm = Some(Box::pin(tokio::time::sleep_until(now + wait))),
            }
        }
    }

    /// Counts a piece that has passed.
    pub fn charge(&self, bytes: usize) {
        self.meter.charge(bytes, Instant::now().into_std());
    }
}

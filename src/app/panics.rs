//! What becomes of a panic: one line in the log, one more in the metric.
//!
//! Whom it ends is decided where it happens: a request, a connection, an attempt of a background task (`upkeep`), or, in the accept loop,
//! the program.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::{PanicHookInfo, set_hook};

use crate::telemetry::panics;

/// Has panics counted and logged, in place of the lines that the standard library prints.
pub(super) fn install_hook() {
    set_hook(Box::new(|panic| {
        panics::count();
        let thread = std::thread::current();
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        let backtrace = Backtrace::capture();
        let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
        tracing::error!(location, thread = thread.name(), text = text(panic), backtrace, "panic");
    }));
}

/// The text of the panic if it is one that stands in the source. A text made at run time can hold what a client sent.
fn text<'a>(panic: &'a PanicHookInfo<'_>) -> &'a str {
    panic.payload().downcast_ref::<&'static str>().copied().unwrap_or("(text withheld: it may hold data of a request)")
}

//! What becomes of a panic: one line in the log, one more in the metric.
//!
//! Whom it ends is decided where it happens: a request, a connection, an attempt of a background task (`upkeep`), or, in the accept loop,
//! the program.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::set_hook;

use crate::telemetry::panics;

/// Has panics counted and logged, in place of the lines that the standard library prints.
pub(super) fn install_hook() {
    set_hook(Box::new(|panic| {
        panics::count();
        let thread = std::thread::current();
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        let backtrace = Backtrace::capture();
        let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
        tracing::error!(location, thread = thread.name(), text = text(panic.payload()), backtrace, "panic");
    }));
}

/// The text of the panic if it is one that stands in the source. A text made at run time can hold what a client sent.
fn text(payload: &dyn Any) -> &'static str {
    payload.downcast_ref::<&'static str>().copied().unwrap_or("(text withheld: it may hold data of a request)")
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::app::start_log;
    use crate::config::{LogFormat, LogLevel, LogSettings};

    const CHILD: &str = "COUNTERSIGN_TEST_PANICS_HERE";

    /// What [`l07_a_panic_is_logged_with_its_place_and_without_what_it_was_about`] runs as a process of its own: hook and log are for a
    /// whole process.
    #[test]
    fn a_process_that_panics() {
        if std::env::var_os(CHILD).is_none() {
            return;
        }
        start_log(LogSettings { level: LogLevel::Info, format: LogFormat::Json });
        install_hook();
        let secret = std::hint::black_box("of-a-request");
        std::thread::spawn(move || panic!("cannot go on with {secret}")).join().unwrap_err();
        std::thread::spawn(|| panic!("stands in the source")).join().unwrap_err();
        let metrics = crate::telemetry::Metrics::new().unwrap().render(Default::default(), []);
        eprintln!("{}", metrics.lines().find(|line| line.starts_with("countersign_panics_total")).unwrap());
    }

    #[test]
    fn l07_a_panic_is_logged_with_its_place_and_without_what_it_was_about() {
        let name = "app::panics::tests::a_process_that_panics";
        let mut command = Command::new(std::env::current_exe().unwrap());
        let run = command
            .args(["--exact", name, "--nocapture"])
            .env(CHILD, "1")
            .env_remove("RUST_BACKTRACE")
            .output()
            .unwrap();
        let log = String::from_utf8(run.stderr).unwrap();
        assert!(run.status.success(), "{log}");
        assert!(!log.contains("of-a-request"), "{log}");
        let events = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let panics: Vec<_> = events.filter(|event| event["message"] == "panic").collect();
        let texts: Vec<_> = panics.iter().map(|event| event["text"].as_str().unwrap()).collect();
        assert_eq!(texts, ["(text withheld: it may hold data of a request)", "stands in the source"], "{log}");
        for event in &panics {
            assert_eq!(event["level"], "ERROR");
            assert!(event["location"].as_str().unwrap().starts_with("src/app/panics.rs:"), "{event}");
        }
        assert!(log.contains("countersign_panics_total 2"), "{log}");
    }
}

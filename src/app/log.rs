//! The log on standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{LogFormat, LogSettings};

/// Starts the log on standard error: text for a person at a terminal, JSON lines otherwise.
///
/// Only this crate's own events are shown below `warn`: at lower levels the libraries print whole requests, credentials included.
pub fn start_log(settings: LogSettings) {
    let filter = EnvFilter::new(format!("warn,countersign={}", settings.level.as_str()));
    let on_terminal = std::io::stderr().is_terminal();
    // Colours in a file or in the journal are only noise; https://no-color.org.
    let colours = on_terminal && std::env::var_os("NO_COLOR").is_none_or(|wish| wish.is_empty());
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr);
    let json = match settings.format {
        LogFormat::Auto => !on_terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let started =
        if json { builder.json().flatten_event(true).try_init() } else { builder.with_target(false).try_init() };
    if let Err(error) = started {
        eprintln!("countersign: the log was started before: {error}");
    }
}

//! The log on standard error.

use std::io::IsTerminal;
use std::sync::OnceLock;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use crate::config::{LogFormat, LogLevel, LogSettings};

/// What changes the level of the log; the log is one for the process, and so is this.
static LEVEL: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Starts the log on standard error: text for a person at a terminal, JSON lines otherwise.
pub fn start_log(settings: LogSettings) {
    let (level, handle) = reload::Layer::new(filter(settings.level));
    let on_terminal = std::io::stderr().is_terminal();
    // Colours in a file or in the journal are only noise; https://no-color.org.
    let colours = on_terminal && std::env::var_os("NO_COLOR").is_none_or(|wish| wish.is_empty());
    let lines = fmt::layer().with_ansi(colours).with_writer(std::io::stderr);
    let json = match settings.format {
        LogFormat::Auto => !on_terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let lines = if json { lines.json().flatten_event(true).boxed() } else { lines.with_target(false).boxed() };
    match tracing_subscriber::registry().with(level).with(lines).try_init() {
        Ok(()) => drop(LEVEL.set(handle)),
        Err(error) => eprintln!("countersign: the log was started before: {error}"),
    }
}

/// Changes the level of a log that [`start_log`] has started; without one nothing happens.
pub(super) fn set_level(level: LogLevel) {
    if let Some(handle) = LEVEL.get()
        && let Err(error) = handle.reload(filter(level))
    {
        tracing::error!(%error, "the level of the log cannot be changed");
    }
}

/// Only this crate's own events are shown below `warn`: at lower levels the libraries print whole requests, credentials included.
fn filter(level: LogLevel) -> EnvFilter {
    EnvFilter::new(format!("warn,countersign={}", level.as_str()))
}

//! What is behind the queue of a sink: a stream, a file, a syslog server, a server that is posted to.

mod file;
mod http;
mod stream;
mod syslog;

use std::time::Duration;

use bytes::Bytes;

use crate::audit::settings::{OutletSettings, SinkSettings};

#[cfg(test)]
pub(in crate::audit) use stream::Stream;
pub(super) use syslog::Head;

/// Takes batches of lines, in a thread of its own.
pub(super) trait Outlet: Send {
    /// Gives a batch away. After an error the same batch comes again: what was taken of it must not be written twice, as far as the
    /// outlet can know. Returns the number of lines that can never be taken and were left out.
    fn deliver(&mut self, batch: &[Bytes]) -> Result<u64, OutletError>;

    /// Opens again what may have been moved.
    fn reopen(&mut self) {}

    /// What failed since this was asked last, without that a batch was refused for it.
    fn take_troubles(&mut self) -> u64 {
        0
    }
}

/// Why a batch was not taken. The text is for the operator.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct OutletError(pub(super) String);

impl From<std::io::Error> for OutletError {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}

/// How lines are gathered into batches.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gathering {
    /// Most lines.
    pub(super) lines: usize,
    /// Most bytes, but for the last line.
    pub(super) bytes: usize,
    /// How long the first line waits for others.
    pub(super) wait: Duration,
}

/// For outlets that take lines one by one.
const PROMPT: Gathering = Gathering { lines: 1024, bytes: 256 * 1024, wait: Duration::ZERO };

/// Longest body of a post.
const MAX_POST_BYTES: usize = 1024 * 1024;

/// Opens the outlet of a sink.
///
/// # Errors
/// What cannot be opened or used, for the operator.
pub(super) fn open(settings: &SinkSettings) -> Result<(Box<dyn Outlet>, Gathering), String> {
    Ok(match &settings.outlet {
        OutletSettings::Stdout => (Box::new(stream::Stream::new(std::io::stdout())), PROMPT),
        OutletSettings::File(file) => {
            let opened = file::RotatingFile::open(file.clone());
            let opened = opened.map_err(|error| format!("cannot open the audit file {}: {error}", file.path.display()));
            (Box::new(opened?), PROMPT)
        }
        OutletSettings::Syslog(syslog) => (syslog::open(&syslog.address)?, PROMPT),
        OutletSettings::Http(http) => {
            let gathering = Gathering { lines: http.records, bytes: MAX_POST_BYTES, wait: http.wait };
            (Box::new(http::Posts::new(&http.post, settings.format)?), gathering)
        }
    })
}

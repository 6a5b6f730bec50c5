//! Sockets of this machine that have a path instead of an address.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::time::timeout;

/// Connects to a Unix socket.
///
/// # Errors
/// What the operating system said, or `TimedOut`.
pub async fn connect(path: &Path, within: Duration) -> io::Result<UnixStream> {
    timeout(within, UnixStream::connect(path)).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

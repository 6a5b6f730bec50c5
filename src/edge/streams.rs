//! The streams of one HTTP/2 connection: whether there are any, and whether a client leaves one standing.
//!
//! A client that keeps a stream's window closed costs us a response body, an upstream connection and its slot,
//! while the socket itself is never blocked, so `rate_guard` sees nothing. What can be seen is that hyper does
//! not ask the body for its next frame. Each body therefore notes when it was last asked.
//! Does not end anything: `connection` asks [`Streams::judge`] from time to time and closes the connection.
//! Source: `docs/THREATS.md` K12, K13.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// What is open on one connection. Shared by the connection and its response bodies.
#[derive(Debug)]
pub(super) struct Streams(Mutex<Open>);

#[derive(Debug)]
struct Open {
    /// For every stream, since when the client has not taken its last frame.
    streams: HashMap<u64, Option<Instant>>,
    next_key: u64,
    /// When the last stream ended, or the connection began. Of no meaning while streams are open.
    idle_since: Instant,
}

/// What a look at the connection shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judgement {
    /// Streams are open and move, or the last one ended not long ago.
    Busy,
    /// No stream for this long.
    Idle(Duration),
    /// The client has taken nothing of a stream for this long.
    Stalled(Duration),
}

impl Streams {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(Open { streams: HashMap::new(), next_key: 0, idle_since: Instant::now() })))
    }

    /// Registers a stream until the result is dropped.
    pub(super) fn open(self: &Arc<Self>) -> OpenStream {
        let mut open = self.lock();
        let key = open.next_key;
        open.next_key += 1;
        open.streams.insert(key, None);
        OpenStream { streams: self.clone(), key }
    }

    /// Compares with the limits: `idle_limit` without a stream, `stall_limit` without a byte taken.
    pub(super) fn judge(&self, now: Instant, idle_limit: Duration, stall_limit: Duration) -> Judgement {
        let open = self.lock();
        if open.streams.is_empty() {
            let idle = now.saturating_duration_since(open.idle_since);
            return if idle >= idle_limit { Judgement::Idle(idle) } else { Judgement::Busy };
        }
        let longest = open.streams.values().flatten().min().map(|since| now.saturating_duration_since(*since));
        match longest {
            Some(stalled) if stalled >= stall_limit => Judgement::Stalled(stalled),
            _ => Judgement::Busy,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        // Every change is a single assignment, so a panic elsewhere leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One open stream; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct OpenStream {
    streams: Arc<Streams>,
    key: u64,
}

impl OpenStream {
    /// A frame was handed over; from now on the client is waited for.
    pub(super) fn wait_for_client(&self) {
        self.streams.lock().streams.insert(self.key, Some(Instant::now()));
    }

    /// The next frame is asked for: the client has made room.
    pub(super) fn client_took(&self) {
        self.streams.lock().streams.insert(self.key, None);
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let mut open = self.streams.lock();
        open.streams.remove(&self.key);
        open.idle_since = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::from_secs(10);
    const STALL: Duration = Duration::from_secs(30);

    #[test]
    fn a_connection_without_streams_becomes_idle() {
        let streams = Streams::new();
        let start = Instant::now();
        assert_eq!(streams.judge(start, IDLE, STALL), Judgement::Busy);
        assert!(matches!(streams.judge(start + IDLE, IDLE, STALL), Judgement::Idle(_)));
        let stream = streams.open();
        assert_eq!(streams.judge(start + 100 * IDLE, IDLE, STALL), Judgement::Busy);
        drop(stream);
        assert!(matches!(streams.judge(Instant::now() + IDLE, IDLE, STALL), Judgement::Idle(_)));
    }

    #[test]
    fn idle_time_begins_with_the_end_of_the_last_stream() {
        let streams = Streams::new();
        let stream = streams.open();
        let born = Instant::now();
        while Instant::now() == born {}
        drop(stream);
        assert_eq!(streams.judge(born + IDLE, IDLE, STALL), Judgement::Busy);
    }

    #[test]
    fn one_stream_that_stands_is_found_among_others_that_move() {
        let streams = Streams::new();
        let (moving, standing) = (streams.open(), streams.open());
        moving.wait_for_client();
        standing.wait_for_client();
        moving.client_took();
        let later = Instant::now() + STALL;
        assert!(matches!(streams.judge(later, IDLE, STALL), Judgement::Stalled(_)));
        standing.client_took();
        assert_eq!(streams.judge(later, IDLE, STALL), Judgement::Busy);
    }
}

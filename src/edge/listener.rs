//! Sockets that accept connections, and an accept loop that nothing a client or the kernel does can end.
//!
//! All listeners are polled by one task, which takes a connection slot before it accepts: when all slots are
//! taken, connections wait in the kernel's backlog. Socket options are set on the listening socket; Linux gives
//! them to every accepted one.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use super::settings::ConnectionLimits;
use super::tls::Tls;

/// Connections that wait in the kernel; it cuts this to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;
/// A client that is gone without a word is found after 60 s + 6 × 10 s.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 6;
/// Unsent bytes that the kernel takes of a connection. Without it the kernel takes megabytes (`tcp_wmem`), and a
/// slow reader would show as progress only every few of them. 512 KiB cost nothing measurable on clear-text
/// downloads; 256 KiB cost 40 % more CPU.
const MAX_UNSENT_BYTES: u32 = 512 * 1024;
/// Beyond the idle timeout, so that the guard with the better explanation comes first.
const UNACKNOWLEDGED_SLACK: Duration = Duration::from_secs(10);
/// Pause after accept failed for want of something (descriptors, memory), doubled up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A connection just accepted.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) stream: TcpStream,
    pub(super) peer: SocketAddr,
    /// What the listener wants the connection to begin with.
    pub(super) tls: Option<Arc<Tls>>,
}

/// Something that connections come from; a seam, because a test cannot make the kernel run out of descriptors.
pub(super) trait Accept {
    /// What is accepted.
    type Connection;
    /// The next connection, or why there is none.
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Self::Connection>>;
}

/// Several listening sockets, asked in turn.
#[derive(Debug)]
pub(super) struct Listeners {
    all: Vec<(TcpListener, Option<Arc<Tls>>)>,
    next: usize,
}

impl Listeners {
    pub(super) fn new(all: Vec<(TcpListener, Option<Arc<Tls>>)>) -> Self {
        Self { all, next: 0 }
    }

    /// Gives later connections the options that fit other limits.
    pub(super) fn set_options(&self, limits: &ConnectionLimits) {
        for (listener, _) in &self.all {
            if let Err(error) = set_connection_options(&SockRef::from(listener), limits) {
                tracing::warn!(%error, "the options of a listening socket cannot be changed");
            }
        }
    }
}

impl Accept for Listeners {
    type Connection = Accepted;

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        // Starts behind the last one that gave something, so that a busy listener does not hide the others.
        for offset in 0..self.all.len() {
            let index = (self.next + offset) % self.all.len();
            let (listener, tls) = &self.all[index];
            if let Poll::Ready(outcome) = listener.poll_accept(cx) {
                self.next = index + 1;
                return Poll::Ready(outcome.map(|(stream, peer)| Accepted {
                    stream,
                    // An IPv4 client of a dual-stack socket has its IPv4 address, which is what rules are written for.
                    peer: SocketAddr::new(peer.ip().to_canonical(), peer.port()),
                    tls: tls.clone(),
                }));
            }
        }
        Poll::Pending
    }
}

/// Waits for the next connection. Errors are logged and outlived.
pub(super) async fn next_connection<A: Accept>(listeners: &mut A) -> A::Connection {
    let mut pause = FIRST_PAUSE;
    loop {
        match poll_fn(|cx| listeners.poll_accept(cx)).await {
            Ok(connection) => return connection,
            Err(error) if concerns_one_connection(&error) => {
                tracing::debug!(%error, "connection ended before it was accepted");
            }
            Err(error) => {
                // Asking again at once would spin: the connection stays in the backlog until it can be accepted.
                tracing::warn!(%error, pause_ms = pause.as_millis() as u64, "cannot accept connections");
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// Errors that `accept` reports about the connection it has just taken out of the backlog.
fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | HostUnreachable | NetworkUnreachable
    )
}

/// Opens a listening socket. Must be called inside a tokio runtime.
pub(super) fn listen(address: SocketAddr, limits: &ConnectionLimits) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restarted gateway must not wait for the old connections' TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    set_connection_options(&SockRef::from(&socket), limits)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn set_connection_options(socket: &SockRef<'_>, limits: &ConnectionLimits) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL);
    socket.set_tcp_keepalive(&keepalive.with_retries(KEEPALIVE_PROBES))?;
    #[cfg(target_os = "linux")]
    {
        socket.set_tcp_user_timeout(Some(limits.body_idle_timeout + UNACKNOWLEDGED_SLACK))?;
        socket.set_tcp_notsent_lowat(MAX_UNSENT_BYTES)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use tokio::time::Instant;

    use super::*;
    use crate::edge::tests::limits;

    #[tokio::test]
    async fn accepted_sockets_have_the_options_of_the_listening_one() {
        let mut limits = limits();
        limits.body_idle_timeout = Duration::from_secs(50);
        let listener = listen("127.0.0.1:0".parse().unwrap(), &limits).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let socket = SockRef::from(&accepted);
        assert!(socket.tcp_nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEPALIVE_IDLE);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_secs(60)));
        assert_eq!(socket.tcp_notsent_lowat().unwrap(), MAX_UNSENT_BYTES);
    }

    /// Errors, then connections named by numbers.
    struct Script(VecDeque<io::Result<u32>>);

    impl Accept for Script {
        type Connection = u32;

        fn poll_accept(&mut self, _: &mut Context<'_>) -> Poll<io::Result<u32>> {
            self.0.pop_front().map_or(Poll::Pending, Poll::Ready)
        }
    }

    #[tokio::test]
    async fn want_of_descriptors_pauses_the_loop_and_does_not_end_it() {
        const EMFILE: i32 = 24;
        let emfile = || Err(io::Error::from_raw_os_error(EMFILE));
        let mut script = Script(VecDeque::from([emfile(), emfile(), emfile(), Ok(7)]));
        let start = Instant::now();
        assert_eq!(next_connection(&mut script).await, 7);
        assert!(start.elapsed() >= FIRST_PAUSE * (1 + 2 + 4));
    }

    #[tokio::test]
    async fn a_connection_that_is_gone_already_does_not_delay_the_next() {
        let gone = || Err(io::ErrorKind::ConnectionAborted.into());
        let mut script = Script((0..1000).map(|_| gone()).chain([Ok(7)]).collect());
        let start = Instant::now();
        assert_eq!(next_connection(&mut script).await, 7);
        assert!(start.elapsed() < Duration::from_secs(5));
    }

    #[tokio::test]
    async fn a_busy_listener_does_not_hide_another() {
        let address = "127.0.0.1:0".parse().unwrap();
        let (busy, quiet) = (listen(address, &limits()).unwrap(), listen(address, &limits()).unwrap());
        let (busy_at, quiet_at) = (busy.local_addr().unwrap(), quiet.local_addr().unwrap());
        let mut clients = Vec::new();
        for at in [busy_at, busy_at, busy_at, quiet_at] {
            clients.push(TcpStream::connect(at).await.unwrap());
        }
        let mut listeners = Listeners::new(vec![(busy, None), (quiet, None)]);
        let mut reached = Vec::new();
        for _ in 0..2 {
            reached.push(next_connection(&mut listeners).await.stream.local_addr().unwrap());
        }
        assert!(reached.contains(&quiet_at), "{reached:?}");
    }
}

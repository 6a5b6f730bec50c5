//! Sockets that accept connections, and an accept loop that nothing a client or the kernel does can end.
//!
//! All listeners are polled by one task, which takes a connection slot before it accepts: when all slots are
//! taken, connections wait in the kernel's backlog. Socket options are set on the listening socket; Linux gives
//! them to every accepted one.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use arc_swap::ArcSwap;
use ipnet::IpNet;
use socket2::{Domain, Protocol, SockRef, TcpKeepalive, Type};
use tokio::net::TcpListener;
use tokio::time::sleep;

use super::peer::Peer;
use super::settings::{ConnectionLimits, ForwardedSettings, ListenAddress, ListenerSettings};
use super::stream::Stream;
use super::tls::Tls;
use super::unix::UnixSocket;
use crate::arrival::{ConnectionFacts, Lapse, Vouched};

/// Connections that wait in the kernel; it cuts this to `net.core.somaxconn`.
pub(super) const BACKLOG: i32 = 4096;
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
pub(super) struct Accepted<H> {
    pub(super) stream: Stream,
    pub(super) facts: ConnectionFacts,
    /// What the listener wants of it, which can change.
    pub(super) manner: Exchanged<H>,
}

/// What a listener wants of its connections, and who answers them. Together, so that nobody is judged by one configuration and answered by
/// another.
#[derive(Debug, Clone)]
pub(super) struct Manner<H> {
    /// Whom it hands requests to.
    pub(super) handler: H,
    /// What it speaks.
    pub(super) tls: Option<Arc<Tls>>,
    /// Who everybody is that reaches it.
    pub(super) identity: Option<Arc<Vouched>>,
    /// Proxies that begin each connection with a PROXY protocol header. If there are any, nobody else may connect.
    pub(super) proxies: Vec<IpNet>,
    /// Proxies that say in a header for whom they speak.
    pub(super) forwarded: Option<ForwardedSettings>,
}

/// The manner of a listener that stays; a reload exchanges it for all of its connections.
pub(super) type Exchanged<H> = Arc<ArcSwap<Manner<H>>>;

impl<H> Manner<H> {
    pub(super) fn of(settings: &ListenerSettings, tls: Option<Arc<Tls>>, handler: H) -> Self {
        Self {
            handler,
            tls,
            identity: settings.identity.clone().map(|name| Arc::new(Vouched::Listener(name))),
            proxies: settings.proxies.clone(),
            forwarded: settings.forwarded.clone(),
        }
    }

    /// The same with whom it hands requests to.
    pub(super) fn answered_by<A>(self, handler: A) -> Manner<A> {
        let Self { handler: _, tls, identity, proxies, forwarded } = self;
        Manner { handler, tls, identity, proxies, forwarded }
    }

    /// The name of its identity.
    pub(super) fn name(&self) -> Option<&str> {
        match self.identity.as_deref()? {
            Vouched::Listener(name) => Some(name),
            Vouched::Certificate(_) => None,
        }
    }

    /// Why a client is served no more that TLS has let in before, if so.
    pub(super) fn lapse_of(&self, peer: Option<&Peer>) -> Option<Lapse> {
        match (peer?, &self.tls) {
            (peer, Some(tls)) => peer.check(tls),
            // No reload takes TLS away from a listener.
            (_, None) => Some(Lapse::Refused),
        }
    }

    /// Whether a connection is wanted that this proxy has begun with a PROXY header, or that has none.
    pub(super) fn lets_in(&self, proxy: Option<IpAddr>) -> bool {
        match proxy {
            Some(proxy) => self.proxies.iter().any(|network| network.contains(&proxy)),
            None => self.proxies.is_empty(),
        }
    }
}

/// A socket that listens.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpListener),
    Unix(UnixSocket),
}

impl Socket {
    /// Opens a socket. Must be called inside a tokio runtime.
    pub(super) fn bind(address: &ListenAddress, limits: &ConnectionLimits) -> io::Result<Self> {
        match address {
            ListenAddress::Tcp(address) => listen(*address, limits).map(Self::Tcp),
            ListenAddress::Unix(settings) => UnixSocket::bind(settings).map(Self::Unix),
        }
    }

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Stream, ConnectionFacts)>> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = ready!(listener.poll_accept(cx))?;
                // An IPv4 client of a dual-stack socket has its IPv4 address, which is what rules are written for.
                let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                Poll::Ready(Ok((Stream::Tcp(stream), ConnectionFacts::tcp(peer, false))))
            }
            Self::Unix(socket) => {
                let stream = ready!(socket.poll_accept(cx))?;
                Poll::Ready(Ok((Stream::Unix(stream), ConnectionFacts::unix(false))))
            }
        }
    }
}

/// A socket and what it wants of its connections.
#[derive(Debug)]
pub(super) struct Listener<H> {
    pub(super) socket: Socket,
    pub(super) manner: Exchanged<H>,
}

/// Something that connections come from; a seam, because a test cannot make the kernel run out of descriptors.
pub(super) trait Accept {
    /// What is accepted.
    type Connection;
    /// The next connection, or why there is none.
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Self::Connection>>;
}

impl Listener<()> {
    /// A listener that believes nobody and knows nobody, whose requests are answered elsewhere.
    pub(super) fn tcp(listener: TcpListener, tls: Option<Arc<Tls>>) -> Self {
        let manner = Manner { handler: (), tls, identity: None, proxies: Vec::new(), forwarded: None };
        Self { socket: Socket::Tcp(listener), manner: Arc::new(ArcSwap::from_pointee(manner)) }
    }
}

/// Several listening sockets, asked in turn.
#[derive(Debug)]
pub(super) struct Listeners<H> {
    all: Vec<Listener<H>>,
    next: usize,
}

impl<H> Listeners<H> {
    pub(super) fn new(all: Vec<Listener<H>>) -> Self {
        Self { all, next: 0 }
    }

    /// Gives later connections the options that fit other limits.
    pub(super) fn set_options(&self, limits: &ConnectionLimits) {
        for listener in &self.all {
            let Socket::Tcp(socket) = &listener.socket else { continue };
            if let Err(error) = set_connection_options(&SockRef::from(socket), limits) {
                tracing::warn!(%error, "the options of a listening socket cannot be changed");
            }
        }
    }
}

impl<H> Accept for Listeners<H> {
    type Connection = Accepted<H>;

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Accepted<H>>> {
        // Starts behind the last one that gave something, so that a busy listener does not hide the others.
        for offset in 0..self.all.len() {
            let index = (self.next + offset) % self.all.len();
            let Listener { socket, manner } = &self.all[index];
            if let Poll::Ready(outcome) = socket.poll_accept(cx) {
                self.next = index + 1;
                return Poll::Ready(outcome.map(|(stream, facts)| {
                    let (tls, manner) = (manner.load().tls.is_some(), Arc::clone(manner));
                    Accepted { stream, facts: ConnectionFacts { tls, ..facts }, manner }
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
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restarted gateway must not wait for the old connections' TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    set_connection_options(&SockRef::from(&socket), limits)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Takes a listening socket that somebody else has bound. Must be called inside a tokio runtime.
pub(super) fn adopt(bound: std::net::TcpListener, limits: &ConnectionLimits) -> io::Result<TcpListener> {
    set_connection_options(&SockRef::from(&bound), limits)?;
    TcpListener::from_std(bound)
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

    use tokio::net::TcpStream;
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
        let mut listeners = Listeners::new(vec![Listener::tcp(busy, None), Listener::tcp(quiet, None)]);
        let mut reached = Vec::new();
        for _ in 0..2 {
            let Stream::Tcp(stream) = next_connection(&mut listeners).await.stream else { panic!("not TCP") };
            reached.push(stream.local_addr().unwrap());
        }
        assert!(reached.contains(&quiet_at), "{reached:?}");
    }
}

//! Listening sockets that the service manager has bound already and hands over: socket activation.
//!
//! A socket is used by the listener of the configuration that has its address, so one file serves with and without activation. One that
//! no listener wants ends the start: it would take connections that nobody ever accepts. The manager keeps the sockets while the gateway
//! restarts, so clients wait for the new one instead of being refused.
//! Source: `sd_listen_fds(3)`, `systemd.socket(5)`.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use listenfd::ListenFd;
use socket2::SockRef;
use tokio::net::TcpListener;

use super::listener::{self, Socket};
use super::settings::{ConnectionLimits, ListenAddress};
use super::unix::UnixSocket;

/// Sockets that were handed over and are not used yet.
#[derive(Debug, Default)]
pub struct Inherited {
    tcp: Vec<(SocketAddr, StdListener)>,
    unix: Vec<(PathBuf, UnixListener)>,
}

/// A socket that was handed over cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InheritedError {
    /// Neither TCP nor a Unix stream socket with a path, or it does not listen.
    #[error(
        "socket {position} of {count} that the service manager handed over (LISTEN_FDS) does not listen on TCP or at a path: {source}"
    )]
    Unusable {
        /// Its position, from 1.
        position: usize,
        /// How many there are.
        count: usize,
        /// What the operating system says.
        source: io::Error,
    },
    /// No listener of the configuration has these addresses.
    #[error("the service manager handed over sockets that no listener of the configuration names: {}", .0.join(", "))]
    Unwanted(Vec<String>),
}

impl Inherited {
    /// No socket was handed over.
    pub fn none() -> Self {
        Self::default()
    }

    /// Takes what `LISTEN_FDS` announces, once. To be called before there are threads.
    ///
    /// # Errors
    /// [`InheritedError::Unusable`] for the first that is no listening socket.
    pub fn take() -> Result<Self, InheritedError> {
        let mut handed = ListenFd::from_env();
        let count = handed.len();
        let mut inherited = Self::none();
        for position in 0..count {
            inherited.add(&mut handed, position).map_err(|source| InheritedError::Unusable {
                position: position + 1,
                count,
                source,
            })?;
        }
        Ok(inherited)
    }

    fn add(&mut self, handed: &mut ListenFd, position: usize) -> io::Result<()> {
        // Asking for the wrong kind leaves a socket where it is.
        if let Ok(Some(socket)) = handed.take_unix_listener(position) {
            check_listens(&SockRef::from(&socket))?;
            let address = socket.local_addr()?;
            let path = address.as_pathname().ok_or_else(|| io::Error::other("a Unix socket without a path"))?;
            self.unix.push((path.to_owned(), socket));
            return Ok(());
        }
        if let Some(socket) = handed.take_tcp_listener(position)? {
            check_listens(&SockRef::from(&socket))?;
            self.tcp.push((socket.local_addr()?, socket));
        }
        Ok(())
    }

    /// The socket of a listener, if it was handed over. Must be called inside a tokio runtime.
    pub(super) fn socket(&mut self, address: &ListenAddress, limits: &ConnectionLimits) -> io::Result<Option<Socket>> {
        match address {
            ListenAddress::Tcp(address) => Ok(self.tcp(*address, limits)?.map(Socket::Tcp)),
            ListenAddress::Unix(settings) => {
                let found = self.unix.iter().position(|(at, _)| *at == settings.path);
                let socket = found.map(|found| self.unix.swap_remove(found).1);
                Ok(socket.map(UnixSocket::handed_over).transpose()?.map(Socket::Unix))
            }
        }
    }

    /// The TCP socket of this address, if it was handed over. Must be called inside a tokio runtime.
    pub(super) fn tcp(&mut self, address: SocketAddr, limits: &ConnectionLimits) -> io::Result<Option<TcpListener>> {
        let Some(found) = self.tcp.iter().position(|(at, _)| *at == address) else { return Ok(None) };
        let (_, socket) = self.tcp.swap_remove(found);
        socket.set_nonblocking(true)?;
        listener::adopt(socket, limits).map(Some)
    }

    /// Says which sockets nobody wanted.
    ///
    /// # Errors
    /// [`InheritedError::Unwanted`] if there are any.
    pub(super) fn all_used(self) -> Result<(), InheritedError> {
        let tcp = self.tcp.iter().map(|(address, _)| address.to_string());
        let unix = self.unix.iter().map(|(path, _)| format!("unix:{}", path.display()));
        let unwanted: Vec<_> = tcp.chain(unix).collect();
        if unwanted.is_empty() { Ok(()) } else { Err(InheritedError::Unwanted(unwanted)) }
    }
}

/// A socket that was bound only, or is connected, would fail at the first accept, and then for ever.
fn check_listens(socket: &SockRef<'_>) -> io::Result<()> {
    if socket.is_listener()? { Ok(()) } else { Err(io::Error::other("the socket does not listen")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::settings::UnixSettings;
    use crate::edge::tests::limits;

    fn with(address: &str) -> (Inherited, SocketAddr) {
        let socket = StdListener::bind(address).unwrap();
        let at = socket.local_addr().unwrap();
        (Inherited { tcp: vec![(at, socket)], unix: Vec::new() }, at)
    }

    #[tokio::test]
    async fn a_socket_goes_to_the_listener_of_its_address_once() {
        let (mut inherited, at) = with("127.0.0.1:0");
        assert!(inherited.tcp(SocketAddr::new(at.ip(), at.port() ^ 1), &limits()).unwrap().is_none());
        assert_eq!(inherited.tcp(at, &limits()).unwrap().unwrap().local_addr().unwrap(), at);
        assert!(inherited.tcp(at, &limits()).unwrap().is_none());
        assert!(inherited.all_used().is_ok());
    }

    #[tokio::test]
    async fn a_unix_socket_is_found_by_its_path_and_its_file_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gw.sock");
        let mut inherited =
            Inherited { tcp: Vec::new(), unix: vec![(path.clone(), UnixListener::bind(&path).unwrap())] };
        let at = |path: PathBuf| ListenAddress::Unix(UnixSettings { path, mode: 0o600 });
        assert!(inherited.socket(&at(folder.path().join("other.sock")), &limits()).unwrap().is_none());
        let socket = inherited.socket(&at(path.clone()), &limits()).unwrap();
        assert!(matches!(socket, Some(Socket::Unix(_))));
        assert!(inherited.all_used().is_ok());
        drop(socket);
        assert!(path.exists());
    }

    #[test]
    fn a_socket_that_nobody_wants_is_named() {
        let (inherited, at) = with("127.0.0.1:0");
        let error = inherited.all_used().unwrap_err().to_string();
        assert!(error.contains(&at.to_string()), "{error}");
    }

    #[test]
    fn a_socket_that_does_not_listen_is_refused() {
        let bound = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        bound.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        assert!(check_listens(&SockRef::from(&bound)).is_err());
        assert!(check_listens(&SockRef::from(&StdListener::bind("127.0.0.1:0").unwrap())).is_ok());
    }
}

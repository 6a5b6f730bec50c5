//! Datagram sockets, for what is told without an answer.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

/// A connected datagram socket. Sending may wait as long as was said.
#[derive(Debug)]
pub enum Datagrams {
    /// Of this machine, with a path.
    Local(UnixDatagram),
    /// UDP.
    Udp(UdpSocket),
}

impl Datagrams {
    /// A socket that sends to a Unix socket.
    ///
    /// # Errors
    /// What the operating system said.
    pub fn local(path: &Path, within: Duration) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(path)?;
        socket.set_write_timeout(Some(within))?;
        Ok(Self::Local(socket))
    }

    /// A socket that sends to the first address of a host. Blocks for the name server.
    ///
    /// # Errors
    /// What the resolver or the operating system said.
    pub fn udp(host: &str, port: u16) -> io::Result<Self> {
        let target = (host, port).to_socket_addrs()?.next().ok_or(io::ErrorKind::NotFound)?;
        let any: SocketAddr = match target {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any)?;
        socket.connect(target)?;
        Ok(Self::Udp(socket))
    }

    /// Sends one datagram.
    ///
    /// # Errors
    /// What the operating system said, which for UDP may be about an earlier one.
    pub fn send(&self, datagram: &[u8]) -> io::Result<()> {
        match self {
            Self::Local(socket) => socket.send(datagram).map(drop),
            Self::Udp(socket) => socket.send(datagram).map(drop),
        }
    }
}

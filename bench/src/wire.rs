//! A stream in clear text or TLS that can read heads, throw bytes away cheaply and send more bytes than fit into memory.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

/// What bodies are made of.
static PIECE: [u8; 256 * 1024] = [0x5a; 256 * 1024];
/// `MSG_TRUNC` of Linux: a TCP socket drops what it would have given.
const MSG_TRUNC: i32 = 0x20;
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// One connection and what was read of it beyond the last message.
pub struct Wire {
    stream: Stream,
    buffer: Vec<u8>,
    scratch: Vec<MaybeUninit<u8>>,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Wire {
    /// A connection in clear text.
    pub fn plain(stream: TcpStream) -> Self {
        Self::new(Stream::Plain(stream))
    }

    /// A connection in TLS.
    pub fn tls(stream: TlsStream<TcpStream>) -> Self {
        Self::new(Stream::Tls(Box::new(stream)))
    }

    /// How TLS began, `none` in clear text: its version, and whether a session was resumed.
    pub fn beginning(&self) -> String {
        let Stream::Tls(stream) = &self.stream else { return "none".into() };
        let (_, tls) = stream.get_ref();
        match (tls.protocol_version(), tls.handshake_kind()) {
            (Some(version), Some(kind)) => format!("{version:?} {kind:?}"),
            _ => "none".into(),
        }
    }

    fn new(stream: Stream) -> Self {
        Self { stream, buffer: Vec::with_capacity(4096), scratch: Vec::new() }
    }

    /// Reads a head up to its empty line, which is included. `None` if the connection ended before its first byte.
    pub async fn read_head(&mut self) -> io::Result<Option<String>> {
        let mut looked_at = 0;
        loop {
            if let Some(at) = self.buffer[looked_at..].windows(4).position(|window| window == b"\r\n\r\n") {
                let head: Vec<u8> = self.buffer.drain(..looked_at + at + 4).collect();
                return String::from_utf8(head).map(Some).map_err(io::Error::other);
            }
            looked_at = self.buffer.len().saturating_sub(3);
            let read = match &mut self.stream {
                Stream::Plain(stream) => stream.read_buf(&mut self.buffer).await?,
                Stream::Tls(stream) => stream.read_buf(&mut self.buffer).await?,
            };
            if read == 0 {
                return if self.buffer.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
            if looked_at > MAX_HEAD_BYTES {
                return Err(io::Error::other("head too long"));
            }
        }
    }

    /// Throws away so many bytes.
    pub async fn discard(&mut self, bytes: u64) -> io::Result<()> {
        let buffered = bytes.min(self.buffer.len() as u64);
        self.buffer.drain(..buffered as usize);
        let mut left = bytes - buffered;
        if left > 0 && self.scratch.is_empty() {
            self.scratch = vec![MaybeUninit::uninit(); 512 * 1024];
        }
        while left > 0 {
            let most = left.min(self.scratch.len() as u64) as usize;
            let read = match &mut self.stream {
                Stream::Plain(stream) => {
                    let room = &mut self.scratch[..most];
                    let take = || SockRef::from(&*stream).recv_with_flags(room, MSG_TRUNC);
                    // A closure that is called again must borrow anew.
                    let mut take = take;
                    stream.async_io(Interest::READABLE, &mut take).await?
                }
                Stream::Tls(stream) => {
                    let mut room = tokio::io::ReadBuf::uninit(&mut self.scratch[..most]);
                    std::future::poll_fn(|context| {
                        tokio::io::AsyncRead::poll_read(std::pin::Pin::new(stream.as_mut()), context, &mut room)
                    })
                    .await?;
                    room.filled().len()
                }
            };
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            left -= read as u64;
        }
        Ok(())
    }

    /// Sends a head and a body of so many bytes, the first of them together.
    pub async fn send(&mut self, head: &[u8], bytes: u64) -> io::Result<()> {
        let mut left = bytes;
        let first = &PIECE[..left.min(PIECE.len() as u64) as usize];
        let mut sent = self.write_vectored(&[IoSlice::new(head), IoSlice::new(first)]).await?;
        while sent < head.len() {
            sent += self.write(&head[sent..]).await?;
        }
        left -= (sent - head.len()) as u64;
        while left > 0 {
            left -= self.write(&PIECE[..left.min(PIECE.len() as u64) as usize]).await? as u64;
        }
        self.flush().await
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.stream {
            Stream::Plain(stream) => stream.write(bytes).await,
            Stream::Tls(stream) => stream.write(bytes).await,
        }
    }

    async fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match &mut self.stream {
            Stream::Plain(stream) => stream.write_vectored(slices).await,
            Stream::Tls(stream) => stream.write_vectored(slices).await,
        }
    }

    async fn flush(&mut self) -> io::Result<()> {
        match &mut self.stream {
            Stream::Plain(_) => Ok(()),
            Stream::Tls(stream) => stream.flush().await,
        }
    }
}

/// The value of a field of a head; `name` in lower case.
pub fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let fields = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
    fields.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// The declared length of the body behind a head.
pub fn length(head: &str) -> u64 {
    field(head, "content-length").and_then(|value| value.parse().ok()).unwrap_or(0)
}

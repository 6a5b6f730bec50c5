//! HTTP/2 frames by hand, for sequences that no client library sends. Header blocks use no compression unless a test writes it itself.

use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::certs::Authority;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// One frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header block of literal fields without indexing (RFC 7541 §6.2.2), names and values as given.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            push_length(&mut block, text.len());
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// A length as an HPACK integer with a prefix of seven bits, not Huffman-coded.
pub fn push_length(block: &mut Vec<u8>, length: usize) {
    if length < 127 {
        block.push(length as u8);
        return;
    }
    block.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        block.push(rest as u8 | 128);
        rest >>= 7;
    }
    block.push(rest as u8);
}

/// A connection of which every byte is ours.
pub struct Wire {
    pub read: ReadHalf<TlsStream<TcpStream>>,
    pub write: WriteHalf<TlsStream<TcpStream>>,
}

/// A frame that came.
#[derive(Debug, Clone)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Wire {
    /// Connects, says hello with these settings, and does not wait for an answer.
    pub async fn connect(address: std::net::SocketAddr, authority: &Authority, settings: &[(u16, u32)]) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let config = Arc::new(authority.client(&["h2"]));
        let stream = TlsConnector::from(config).connect(name, stream).await.unwrap();
        let (read, mut write) = tokio::io::split(stream);
        let payload: Vec<u8> = settings
            .iter()
            .flat_map(|(name, value)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat())
            .collect();
        let hello = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(SETTINGS, 0, 0, &payload)].concat();
        write.write_all(&hello).await.unwrap();
        Self { read, write }
    }

    /// Writes; whether the gateway still takes bytes.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        let written = tokio::time::timeout(Duration::from_secs(5), async {
            self.write.write_all(bytes).await?;
            self.write.flush().await
        });
        matches!(written.await, Ok(Ok(())))
    }

    /// The next frame; `None` at the end, or after so much silence.
    pub async fn next(&mut self, patience: Duration) -> Option<Frame> {
        let mut head = [0; 9];
        tokio::time::timeout(patience, self.read.read_exact(&mut head)).await.ok()?.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        tokio::time::timeout(patience, self.read.read_exact(&mut payload)).await.ok()?.ok()?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// Everything until the end or a second of silence; settings are confirmed on the way by nobody.
    pub async fn rest(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next(Duration::from_secs(1)).await {
            frames.push(frame);
        }
        frames
    }

    /// Reads and forgets in the background, so that nothing that is written has to wait for our reading.
    pub fn forget_answers(self) -> (WriteHalf<TlsStream<TcpStream>>, tokio::task::JoinHandle<Vec<u8>>) {
        let Self { mut read, write } = self;
        let reading = tokio::spawn(async move {
            let (mut last, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
            while let Ok(length) = read.read(&mut buffer).await {
                if length == 0 {
                    break;
                }
                last = buffer[..length].to_vec();
            }
            last
        });
        (write, reading)
    }
}

/// Status of an answer in its header block: `:status` is an indexed field of the static table, or a literal with its index.
pub fn status_in(block: &[u8]) -> u16 {
    const STATIC: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    match block {
        // A change of the table's size stands before.
        [update, rest @ ..] if update & 0xe0 == 0x20 => status_in(rest),
        [index, ..] if (0x88..=0x8e).contains(index) => STATIC[usize::from(index - 0x88)],
        // Three digits, Huffman-coded into two bytes or plain.
        [0x48 | 0x08 | 0x18, 0x03, digits @ ..] => std::str::from_utf8(&digits[..3]).unwrap().parse().unwrap(),
        [0x48 | 0x08 | 0x18, 0x82, first, second, ..] => huffman_digits(u16::from_be_bytes([*first, *second])),
        _ => 0,
    }
}

/// Digits 0 to 2 have five bits in the Huffman code of HPACK, 3 to 9 have six.
fn huffman_digits(bits: u16) -> u16 {
    let (mut at, mut number) = (16, 0);
    for _ in 0..3 {
        let five = (u32::from(bits) >> (at - 5)) & 31;
        let digit = if five < 3 {
            at -= 5;
            five
        } else {
            at -= 6;
            ((u32::from(bits) >> at) & 63) - 0x19 + 3
        };
        number = number * 10 + digit;
    }
    number as u16
}

//! Reads what an ICAP server sends: heads with a limit, and chunked bodies that are measured and not kept.

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::head::{Head, MAX_HEAD_BYTES};

/// Read at a time; what is read and not used yet is not much more.
const READ_BYTES: usize = 8 * 1024;
/// Longest line with the size of a chunk, extensions included.
const MAX_CHUNK_LINE: usize = 256;

/// A connection as it is read.
#[derive(Debug)]
pub struct Source<R> {
    reader: R,
    buffer: BytesMut,
}

/// The length of bytes, and a checksum that tells whether other bytes are the same.
///
/// A CRC is enough: it is compared with what the server itself sends, whose word on the object counts anyway.
#[derive(Clone)]
pub struct Measure {
    length: u64,
    crc: Box<crc_fast::Digest>,
}

impl Measure {
    /// That of nothing.
    pub fn new() -> Self {
        Self { length: 0, crc: Box::new(crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Nvme)) }
    }

    /// Adds bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        self.length = self.length.saturating_add(bytes.len() as u64);
        self.crc.update(bytes);
    }

    /// Bytes so far.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Whether both are of the same bytes.
    pub fn is_same(&self, other: &Self) -> bool {
        self.length == other.length && self.crc.finalize() == other.crc.finalize()
    }
}

impl<R: AsyncRead + Unpin> Source<R> {
    /// Reads from here.
    pub fn new(reader: R) -> Self {
        Self { reader, buffer: BytesMut::new() }
    }

    /// The next head, to its empty line.
    ///
    /// # Errors
    /// Why there is none, in words.
    pub async fn head(&mut self) -> Result<Head, String> {
        let mut searched = 0_usize;
        loop {
            if let Some(at) = memchr::memmem::find(&self.buffer[searched..], b"\r\n\r\n") {
                let head = self.buffer.split_to(searched + at + 4);
                return Head::parse(&head).map_err(|error| error.to_string());
            }
            if self.buffer.len() > MAX_HEAD_BYTES {
                return Err("its answer has a head without end".to_owned());
            }
            searched = self.buffer.len().saturating_sub(3);
            self.more().await?;
        }
    }

    /// So many bytes. The caller has limited their number.
    ///
    /// # Errors
    /// Why they are not there, in words.
    pub async fn exact(&mut self, length: usize) -> Result<BytesMut, String> {
        while self.buffer.len() < length {
            self.more().await?;
        }
        Ok(self.buffer.split_to(length))
    }

    /// Reads a chunked body to its end.
    ///
    /// # Errors
    /// Why it has none, in words.
    pub async fn body(&mut self) -> Result<Measure, String> {
        let mut measure = Measure::new();
        loop {
            let line = self.line(MAX_CHUNK_LINE).await?;
            let mut left = chunk_size(&line).ok_or("its answer has a broken chunk")?;
            if left == 0 {
                break;
            }
            while left > 0 {
                if self.buffer.is_empty() {
                    self.more().await?;
                }
                let here = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
                measure.add(&self.buffer.split_to(here));
                left -= here as u64;
            }
            if !self.line(2).await?.is_empty() {
                return Err("its answer has a broken chunk".to_owned());
            }
        }
        // Trailer fields, of which none means anything here.
        let mut trailer = 0;
        loop {
            let line = self.line(MAX_HEAD_BYTES).await?;
            trailer += line.len();
            match line.is_empty() {
                true => return Ok(measure),
                false if trailer > MAX_HEAD_BYTES => return Err("its answer has a trailer without end".to_owned()),
                false => {}
            }
        }
    }

    /// The next line, without its end.
    async fn line(&mut self, limit: usize) -> Result<BytesMut, String> {
        loop {
            if let Some(at) = memchr::memmem::find(&self.buffer, b"\r\n") {
                let line = self.buffer.split_to(at + 2);
                return if at <= limit { Ok(line[..at].into()) } else { Err("its answer has a long line".to_owned()) };
            }
            if self.buffer.len() > limit + 2 {
                return Err("its answer has a long line".to_owned());
            }
            self.more().await?;
        }
    }

    async fn more(&mut self) -> Result<(), String> {
        self.buffer.reserve(READ_BYTES);
        match self.reader.read_buf(&mut self.buffer).await {
            Ok(0) => Err("it closed the connection without a whole answer".to_owned()),
            Ok(_) => Ok(()),
            Err(error) => Err(format!("no answer: {error}")),
        }
    }
}

/// The size of a chunk: hexadecimal digits, perhaps an extension behind them.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(line).ok()?;
    let digits = text.split(';').next().unwrap_or_default().trim_end_matches([' ', '\t']);
    let good = (1..=16).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    good.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn body(bytes: &[u8]) -> Result<u64, String> {
        Source::new(bytes).body().await.map(|measure| measure.length())
    }

    #[tokio::test]
    async fn chunked_bodies_are_measured() {
        let mut whole = Measure::new();
        whole.add(b"hello world");
        let read = Source::new(&b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nA: b\r\n\r\n"[..]).body().await.unwrap();
        assert!(read.is_same(&whole));
        let other = Source::new(&b"b\r\nhello_world\r\n0\r\n\r\n"[..]).body().await.unwrap();
        assert!(!other.is_same(&whole) && other.length() == whole.length());
        assert_eq!(body(b"0\r\n\r\n").await, Ok(0));
    }

    #[tokio::test]
    async fn anything_else_is_no_body() {
        for bytes in [
            &b""[..],
            b"0\r\n",
            b"5\r\nhello\r\n",
            b"5\r\nhello0\r\n\r\n",
            b"5\r\nhel",
            b"x\r\n",
            b"\r\n",
            b"-1\r\n",
            b"11111111111111111\r\n",
        ] {
            assert!(body(bytes).await.is_err(), "{}", String::from_utf8_lossy(bytes));
        }
        assert!(body(&[b'1'; 1000]).await.is_err());
    }

    #[tokio::test]
    async fn a_head_without_end_is_given_up() {
        assert!(Source::new(&[b'x'; 64 * 1024][..]).head().await.is_err());
        let mut source = Source::new(&b"ICAP/1.0 100 Continue\r\n\r\nICAP/1.0 204 x\r\n\r\n"[..]);
        assert_eq!(source.head().await.unwrap().status("ICAP/1.0"), Ok(100));
        assert_eq!(source.head().await.unwrap().status("ICAP/1.0"), Ok(204));
        assert!(source.head().await.is_err());
    }
}

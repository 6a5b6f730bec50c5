//! A TCP relay before the gateway that changes no byte and writes down how a client frames what it uploads.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::support::certs::{Authority, Identity};

/// How deep the tap looks.
#[derive(Clone)]
pub enum Way {
    /// The connection is clear text.
    Clear,
    /// TLS ends here and begins again: what is inside can be read. HTTP/1.1 alone.
    Opened(TlsAcceptor, TlsConnector),
    /// TLS passes untouched, and with it HTTP/2: only whether the client offers it can be seen.
    Sealed,
}

impl Way {
    /// Ends TLS and begins it again.
    pub fn opened(authority: &Authority, identity: &Identity) -> Self {
        let mut server = identity.server();
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self::Opened(Arc::new(server).into(), Arc::new(authority.client(&["http/1.1"])).into())
    }
}

/// What was seen of one client.
#[derive(Debug, Default)]
pub struct Seen {
    /// Forms of its uploads.
    pub uploads: BTreeSet<String>,
    /// Whether it offers HTTP/2.
    pub offers_h2: bool,
}

/// A running relay; it ends when this is dropped.
pub struct Tap {
    pub address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    serving: tokio::task::JoinHandle<()>,
}

impl Tap {
    /// Starts before a gateway.
    pub async fn start(gateway: SocketAddr, way: Way) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let shared = Arc::clone(&seen);
        let serving = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (way, seen) = (way.clone(), Arc::clone(&shared));
                // An error is the end of a connection, which both sides see.
                tokio::spawn(async move { relay(client, gateway, way, &seen).await.ok() });
            }
        });
        Self { address, seen, serving }
    }

    /// What was seen so far.
    pub fn seen(&self) -> Seen {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn relay(client: TcpStream, gateway: SocketAddr, way: Way, seen: &Mutex<Seen>) -> io::Result<()> {
    let server = TcpStream::connect(gateway).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    match way {
        Way::Clear => both(client, server, seen, true).await,
        Way::Sealed => both(client, server, seen, false).await,
        Way::Opened(acceptor, connector) => {
            let client = acceptor.accept(client).await?;
            let name = ServerName::try_from("127.0.0.1").expect("an address is a name");
            both(client, connector.connect(name, server).await?, seen, true).await
        }
    }
}

async fn both<C, S>(client: C, server: S, seen: &Mutex<Seen>, readable: bool) -> io::Result<()>
where
    C: AsyncRead + AsyncWrite,
    S: AsyncRead + AsyncWrite,
{
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_server, mut to_server) = tokio::io::split(server);
    let up = async {
        let mut heads = Heads::default();
        let mut buffer = vec![0; 64 << 10];
        loop {
            let length = from_client.read(&mut buffer).await?;
            if length == 0 {
                return to_server.shutdown().await;
            }
            let piece = &buffer[..length];
            if readable {
                let forms = heads.push(piece).iter().filter_map(|head| upload_form(head)).collect::<Vec<_>>();
                seen.lock().unwrap().uploads.extend(forms);
            } else if offers_h2(piece) {
                seen.lock().unwrap().offers_h2 = true;
            }
            to_server.write_all(piece).await?;
            // TLS keeps what the socket did not take at once.
            to_server.flush().await?;
        }
    };
    let down = async {
        tokio::io::copy(&mut from_server, &mut to_client).await?;
        to_client.shutdown().await
    };
    tokio::try_join!(up, down).map(drop)
}

/// Whether a piece is the beginning of TLS and offers HTTP/2. The two lengths tell the extension from random bytes of the handshake.
fn offers_h2(piece: &[u8]) -> bool {
    let is_offer = |bytes: &[u8]| match bytes {
        [0, 16, 0, extension, 0, list, 2, b'h', b'2'] => u16::from(*extension) == u16::from(*list) + 2,
        _ => false,
    };
    piece.first() == Some(&0x16) && piece.windows(9).any(is_offer)
}

/// Finds the heads of the requests on one connection.
#[derive(Default)]
struct Heads {
    reading: Reading,
    /// A head or a line that is not complete yet.
    partial: Vec<u8>,
}

#[derive(Default)]
enum Reading {
    #[default]
    Head,
    /// So many bytes of a body.
    Body(usize),
    /// The line with the size of a chunk.
    ChunkSize,
    /// So many bytes of a chunk and the line end behind it.
    Chunk(usize),
    /// Lines behind the last chunk, up to an empty one.
    Trailer,
}

impl Heads {
    /// The heads that are complete with this piece.
    fn push(&mut self, mut piece: &[u8]) -> Vec<String> {
        let mut heads = Vec::new();
        while let Some((&byte, rest)) = piece.split_first() {
            if let Reading::Body(left) | Reading::Chunk(left) = &mut self.reading {
                let passed = piece.len().min(*left);
                *left -= passed;
                piece = &piece[passed..];
                if *left == 0 {
                    let next =
                        if matches!(self.reading, Reading::Body(_)) { Reading::Head } else { Reading::ChunkSize };
                    self.reading = next;
                }
                continue;
            }
            piece = rest;
            self.partial.push(byte);
            self.line_end(&mut heads);
        }
        heads
    }

    fn line_end(&mut self, heads: &mut Vec<String>) {
        let complete = match self.reading {
            Reading::Head => self.partial.ends_with(b"\r\n\r\n"),
            _ => self.partial.ends_with(b"\r\n"),
        };
        if !complete {
            return;
        }
        let text = String::from_utf8_lossy(&std::mem::take(&mut self.partial)).into_owned();
        self.reading = match self.reading {
            Reading::Head => {
                let next = match (header(&text, "transfer-encoding"), header(&text, "content-length")) {
                    (Some(_), _) => Reading::ChunkSize,
                    (None, Some(length)) if length != "0" => Reading::Body(length.parse().unwrap_or(0)),
                    _ => Reading::Head,
                };
                heads.push(text);
                next
            }
            Reading::ChunkSize => match usize::from_str_radix(text.trim(), 16).unwrap_or(0) {
                0 => Reading::Trailer,
                size => Reading::Chunk(size + 2),
            },
            _ if text == "\r\n" => Reading::Head,
            _ => Reading::Trailer,
        };
    }
}

fn header(head: &str, name: &str) -> Option<String> {
    head.lines().skip(1).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })
}

/// How an upload is framed and covered; `None` for other requests, and for what a program other than a browser does with a URL that was
/// signed in advance.
fn upload_form(head: &str) -> Option<String> {
    if header(head, "content-type").is_some_and(|media_type| media_type.starts_with("multipart/form-data")) {
        return Some("POST form".to_owned());
    }
    let target = head.strip_prefix("PUT ")?.lines().next()?;
    let framed = header(head, "transfer-encoding").is_some();
    let empty = !framed && header(head, "content-length").is_none_or(|length| length == "0");
    if empty || target.contains("X-Amz-Signature=") {
        return (!empty && header(head, "origin").is_some()).then(|| "signed URL".to_owned());
    }
    let hash = header(head, "x-amz-content-sha256").unwrap_or_else(|| "no hash".to_owned());
    let mut words = vec![if hash.len() == 64 { "SHA-256".to_owned() } else { hash }];
    let named = |header: &str| header.trim_start_matches("x-amz-checksum-").to_owned();
    words.extend(header(head, "x-amz-trailer").map(|trailer| format!("{} trailer", named(&trailer))));
    let checksums = head.lines().filter_map(|line| Some(line.split_once(':')?.0.to_ascii_lowercase()));
    words.extend(
        checksums.filter(|name| name.starts_with("x-amz-checksum-")).map(|name| format!("{} header", named(&name))),
    );
    words.extend(header(head, "content-md5").map(|_| "Content-MD5".to_owned()));
    words.extend(framed.then(|| "chunked".to_owned()));
    words.extend(header(head, "expect").map(|_| "Expect".to_owned()));
    Some(words.join(", "))
}

#[test]
fn heads_are_found_between_bodies_however_the_bytes_come() {
    let bytes = b"PUT /a HTTP/1.1\r\nContent-Length: 20\r\nX-Amz-Content-Sha256: UNSIGNED-PAYLOAD\r\n\r\nPUT /no HTTP/1.1\r\n\r\n\
        PUT /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\nx-amz-trailer: x-amz-checksum-crc32\r\n\r\n5\r\nPUT /\r\n0\r\nt: 1\r\n\r\n\
        GET /c HTTP/1.1\r\n\r\n";
    for size in [1, 7, bytes.len()] {
        let mut heads = Heads::default();
        let found: Vec<String> = bytes.chunks(size).flat_map(|piece| heads.push(piece)).collect();
        let lines: Vec<&str> = found.iter().map(|head| head.lines().next().unwrap()).collect();
        assert_eq!(lines, ["PUT /a HTTP/1.1", "PUT /b HTTP/1.1", "GET /c HTTP/1.1"], "{size}");
        let forms: Vec<String> = found.iter().filter_map(|head| upload_form(head)).collect();
        assert_eq!(forms, ["UNSIGNED-PAYLOAD", "no hash, crc32 trailer, chunked"], "{size}");
    }
}

#[test]
fn an_offer_of_http2_is_not_found_in_random_bytes() {
    let offer = b"\x16\x03\x01..\x00\x10\x00\x0e\x00\x0c\x02h2\x08http/1.1";
    assert!(offers_h2(offer));
    assert!(!offers_h2(&offer[1..]), "not the beginning of TLS");
    assert!(!offers_h2(b"\x16\x03\x01..\x00\x10\x00\x0b\x00\x09\x08http/1.1"), "HTTP/1.1 alone");
    assert!(!offers_h2(b"\x16\x03\x01..\x02h2"), "by chance");
}

//! Bytes on a socket, for requests that no client library would send.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Sends bytes and reads until the gateway closes or is silent for a second. Returns everything that came.
pub async fn exchange(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The gateway may refuse and close before it has read everything.
    let _may_be_refused = stream.write_all(request).await;
    read_all(&mut stream).await
}

/// Reads until the end or a second of silence.
pub async fn read_all(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let mut buffer = [0; 16 * 1024];
    while let Ok(Ok(length)) = tokio::time::timeout(Duration::from_secs(1), stream.read(&mut buffer)).await {
        if length == 0 {
            break;
        }
        answer.extend_from_slice(&buffer[..length]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// The status of the first answer in a text; 0 if there is none.
pub fn status(answer: &str) -> u16 {
    answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// What a client that expects it is sent before its body is read.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Reads one answer with a declared length, or what comes until the connection ends; waits up to 30 seconds. Interim answers are left
/// out.
pub async fn read_answer(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut answer = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    let read = async {
        while !is_whole(&answer) {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(length) => answer.extend_from_slice(&buffer[..length]),
            }
            if let Some(rest) = answer.strip_prefix(CONTINUE) {
                answer = rest.to_vec();
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), read).await.expect("an answer, or the end of the connection");
    String::from_utf8_lossy(&answer).into_owned()
}

fn is_whole(answer: &[u8]) -> bool {
    let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    length.is_some_and(|length| answer.len() >= end + 4 + length)
}

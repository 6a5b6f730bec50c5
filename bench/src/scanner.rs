//! A stand-in for clamd, where the gateway is measured and not the scanner: it takes objects as fast as it can and finds nothing. And the
//! shortest possible client of clamd, to know what a scan costs by itself.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// What it does with an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Takes it, and says behind its end that it is clean.
    Takes,
    /// Takes it, and never comes to a verdict.
    Silent,
    /// Takes nothing of it.
    Stuck,
}

/// Serves a listener for ever.
pub async fn serve(listener: TcpListener, manner: Manner) {
    while let Ok((stream, _)) = listener.accept().await {
        // However a connection ends, its end is the client's affair.
        tokio::spawn(async move { drop(converse(stream, manner).await) });
    }
}

async fn converse(stream: TcpStream, manner: Manner) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::with_capacity(256 * 1024, stream);
    let mut command = Vec::new();
    stream.read_until(0, &mut command).await?;
    let answer: &[u8] = match command.as_slice() {
        b"zPING\0" => b"PONG\0",
        b"zVERSION\0" => b"ClamAV 1.4.6\0",
        b"zINSTREAM\0" if manner == Manner::Stuck => std::future::pending().await,
        b"zINSTREAM\0" => {
            discard(&mut stream).await?;
            if manner == Manner::Silent {
                std::future::pending::<()>().await;
            }
            b"stream: OK\0"
        }
        _ => b"UNKNOWN COMMAND\0",
    };
    stream.write_all(answer).await
}

/// Reads chunks, each behind its length, up to the empty one.
async fn discard(stream: &mut BufReader<TcpStream>) -> io::Result<()> {
    loop {
        let mut left = stream.read_u32().await? as usize;
        if left == 0 {
            return Ok(());
        }
        while left > 0 {
            let here = stream.fill_buf().await?.len().min(left);
            if here == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            stream.consume(here);
            left -= here;
        }
    }
}

/// Lets clamd scan these bytes again and again for so long, and gives the times.
pub async fn scans(address: SocketAddr, object: &[u8], limit: Duration) -> io::Result<Vec<Duration>> {
    let (start, mut times) = (Instant::now(), Vec::new());
    while start.elapsed() < limit {
        times.push(scan(address, object).await?);
    }
    Ok(times)
}

/// How long clamd takes for these bytes, connection included.
async fn scan(address: SocketAddr, object: &[u8]) -> io::Result<Duration> {
    let start = Instant::now();
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let length = u32::try_from(object.len()).map_err(io::Error::other)?;
    let whole = [b"zINSTREAM\0", &length.to_be_bytes()[..], object, &[0; 4]].concat();
    stream.write_all(&whole).await?;
    let mut answer = Vec::new();
    BufReader::new(stream).read_until(0, &mut answer).await?;
    if answer != b"stream: OK\0" {
        return Err(io::Error::other(String::from_utf8_lossy(&answer).into_owned()));
    }
    Ok(start.elapsed())
}

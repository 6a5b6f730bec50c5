//! A TCP proxy with one fault, the same for all of its connections. See `soak/faults.rs` for one with many, drawn by chance.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What goes wrong.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// Nothing: that a test can tell the fault from the proxy.
    None,
    /// Every piece of the answer is late, and comes byte by byte.
    Slow(Duration),
    /// After so many bytes of the question: a reset.
    Reset(usize),
    /// After so many bytes of the question: nothing more is read, nothing answered, the connection stays.
    Stall(usize),
    /// After so many bytes of the question: the end of the stream.
    Close(usize),
    /// The answer ends after so many bytes.
    ShortAnswer(usize),
    /// A bit of this byte of the answer is flipped.
    FlipAnswer(usize),
    /// A bit of this byte of the question is flipped.
    FlipQuestion(usize),
    /// After so many bytes of the question this is answered, and the connection closed.
    Say(usize, &'static [u8]),
}

/// A running proxy; it ends when this is dropped.
pub struct FaultProxy {
    pub address: SocketAddr,
    serving: tokio::task::JoinHandle<()>,
}

impl FaultProxy {
    /// Starts in front of a server.
    pub async fn start(target: SocketAddr, fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            let mut relays = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                relays.spawn(relay(client, target, fault));
            }
        });
        Self { address, serving }
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn relay(mut client: TcpStream, target: SocketAddr, fault: Fault) {
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    let (mut asked, mut answered) = (0_usize, 0_usize);
    let (mut question, mut answer) = (vec![0; 16 * 1024], vec![0; 16 * 1024]);
    loop {
        tokio::select! {
            read = client.read(&mut question) => {
                let Ok(read @ 1..) = read else { break };
                let piece = &mut question[..read];
                match fault {
                    Fault::FlipQuestion(at) if (asked..asked + read).contains(&at) => piece[at - asked] ^= 1,
                    Fault::Reset(after) if asked + read >= after => {
                        socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
                        return;
                    }
                    Fault::Stall(after) if asked + read >= after => return std::future::pending().await,
                    Fault::Close(after) if asked + read >= after => return,
                    Fault::Say(after, words) if asked + read >= after => {
                        drop(client.write_all(words).await);
                        drop(client.shutdown().await);
                        // What is sent meanwhile is read away, or it would be a reset.
                        while matches!(client.read(&mut question).await, Ok(1..)) {}
                        return;
                    }
                    _ => {}
                }
                asked += read;
                if server.write_all(&question[..read]).await.is_err() {
                    break;
                }
            }
            read = server.read(&mut answer) => {
                let Ok(read @ 1..) = read else { break };
                let piece = &mut answer[..read];
                match fault {
                    Fault::FlipAnswer(at) if (answered..answered + read).contains(&at) => piece[at - answered] ^= 1,
                    Fault::ShortAnswer(length) if answered + read >= length => {
                        drop(client.write_all(&piece[..length - answered]).await);
                        return;
                    }
                    Fault::Slow(late) => {
                        for byte in piece.iter() {
                            tokio::time::sleep(late).await;
                            drop(client.write_all(&[*byte]).await);
                        }
                        answered += read;
                        continue;
                    }
                    _ => {}
                }
                answered += read;
                if client.write_all(&answer[..read]).await.is_err() {
                    break;
                }
            }
        }
    }
}

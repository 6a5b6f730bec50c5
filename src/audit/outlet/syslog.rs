//! Lines as messages of syslog (RFC 5424): by datagram to this machine or over UDP, with octet counting over TCP and TLS.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;
use tokio::time::timeout;

use super::http::runtime;
use super::{Outlet, OutletError};
use crate::audit::record::{Outcome, Record};
use crate::audit::settings::SyslogAddress;
use crate::dial::datagram::Datagrams;
use crate::dial::{AddressPolicy, Dialer, Settings, Stream};

/// Longest time to connect, and for one batch.
const PATIENCE: Duration = Duration::from_secs(10);
/// `EMSGSIZE` of Linux: a datagram that is longer than the socket takes.
const TOO_LONG: i32 = 90;

/// What stands before the line in each message.
#[derive(Debug, Clone)]
pub(in crate::audit) struct Head {
    facility: u8,
    sender: String,
}

impl Head {
    /// For messages of this process and facility.
    pub(in crate::audit) fn new(facility: u8) -> Self {
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let host: String = name.trim().chars().filter(char::is_ascii_graphic).take(255).collect();
        let host = if host.is_empty() { "-" } else { &host };
        Self { facility, sender: format!("{host} countersign {} audit -", std::process::id()) }
    }

    /// The message of a record: its line without the line feed, behind priority, time, host and program.
    pub(in crate::audit) fn message(&self, record: &Record, line: &[u8]) -> Bytes {
        let severity = match record.outcome {
            Outcome::Failed => 3,
            Outcome::Refused | Outcome::Partial => 5,
            Outcome::Ok | Outcome::Aborted => 6,
        };
        let head = format!("<{}>1 {} {} ", u16::from(self.facility) * 8 + severity, record.time, self.sender);
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        [head.as_bytes(), line].concat().into()
    }
}

/// Opens the outlet for an address. Nothing is connected yet: a server that is down now may be up later.
pub(super) fn open(address: &SyslogAddress) -> Result<Box<dyn Outlet>, String> {
    let dialer = |host: &str, port, tls, ca_file| {
        Dialer::new(Settings {
            host: host.to_owned(),
            port,
            tls,
            ca_file,
            connect_timeout: PATIENCE,
            addresses: AddressPolicy::Any,
        })
        .map_err(|error| error.to_string())
    };
    let target = match address {
        SyslogAddress::Local(path) => Target::Local(path.clone()),
        SyslogAddress::Udp(host, port) => Target::Udp(host.clone(), *port),
        SyslogAddress::Tcp(host, port) => return Ok(Counted::boxed(dialer(host, *port, false, None)?)),
        SyslogAddress::Tls { host, port, ca_file } => {
            return Ok(Counted::boxed(dialer(host, *port, true, ca_file.clone())?));
        }
    };
    Ok(Box::new(Messages { target, socket: None, sent: 0, left_out: 0 }))
}

enum Target {
    Local(PathBuf),
    Udp(String, u16),
}

/// One message a datagram.
struct Messages {
    target: Target,
    socket: Option<Datagrams>,
    /// Lines of the batch that were sent or left out.
    sent: usize,
    left_out: u64,
}

impl Messages {
    fn socket(&mut self) -> io::Result<&Datagrams> {
        if self.socket.is_none() {
            self.socket = Some(match &self.target {
                Target::Local(path) => Datagrams::local(path, PATIENCE)?,
                Target::Udp(host, port) => Datagrams::udp(host, *port)?,
            });
        }
        Ok(self.socket.as_ref().expect("made above"))
    }
}

impl Outlet for Messages {
    fn deliver(&mut self, batch: &[Bytes]) -> Result<u64, OutletError> {
        for line in &batch[self.sent..] {
            match self.socket()?.send(line) {
                Ok(()) => {}
                Err(error) if error.raw_os_error() == Some(TOO_LONG) => {
                    // Counted and said by who sends, not each time: clients choose how long their keys are.
                    self.left_out += 1;
                }
                Err(error) => {
                    // The server may have made its socket anew.
                    self.socket = None;
                    return Err(error.into());
                }
            }
            self.sent += 1;
        }
        self.sent = 0;
        Ok(std::mem::take(&mut self.left_out))
    }
}

/// Messages with their length before them, over a connection that is kept.
struct Counted {
    dialer: Dialer,
    runtime: Option<Runtime>,
    connection: Option<Stream>,
}

impl Counted {
    fn boxed(dialer: Dialer) -> Box<dyn Outlet> {
        Box::new(Self { dialer, runtime: None, connection: None })
    }
}

impl Outlet for Counted {
    fn deliver(&mut self, batch: &[Bytes]) -> Result<u64, OutletError> {
        let runtime = runtime(&mut self.runtime)?;
        let frames: Vec<u8> =
            batch.iter().flat_map(|line| [format!("{} ", line.len()).as_bytes(), line].concat()).collect();
        let (dialer, kept) = (&self.dialer, self.connection.take());
        let sent = runtime.block_on(async {
            let mut stream = match kept {
                Some(stream) => stream,
                None => dialer.connect().await.map_err(|error| OutletError(error.to_string()))?,
            };
            timeout(PATIENCE, send(&mut stream, &frames))
                .await
                .map_err(|_| OutletError(format!("the server took nothing for {} s", PATIENCE.as_secs())))??;
            Ok::<_, OutletError>(stream)
        });
        self.connection = Some(sent?);
        Ok(0)
    }
}

/// Syslog has no answers: what a server that went away had not read yet is lost without a word. That it went away shows before a batch,
/// because it never sends anything but the end.
async fn send(stream: &mut Stream, frames: &[u8]) -> io::Result<()> {
    let mut nothing = [0; 64];
    if let Ok(read) = timeout(Duration::from_millis(1), stream.read(&mut nothing)).await
        && read? == 0
    {
        return Err(io::ErrorKind::ConnectionReset.into());
    }
    stream.write_all(frames).await?;
    stream.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_the_head_of_rfc_5424_and_the_line_on_one_line() {
        let record = Record {
            time: "2026-11-22T08:45:56.883Z".into(),
            outcome: Outcome::Refused,
            key: Some("a\nb".into()),
            ..Record::default()
        };
        let line = crate::audit::Entry::new(&record).json().unwrap();
        let message = Head::new(16).message(&record, &line);
        let text = std::str::from_utf8(&message).unwrap();
        let (head, json) = text.split_once(" audit - ").unwrap();
        let words: Vec<_> = head.split(' ').collect();
        assert_eq!((words[0], words[1], words[3]), ("<133>1", "2026-11-22T08:45:56.883Z", "countersign"));
        assert_eq!(words.len(), 5, "{head}");
        assert!(json.starts_with('{') && json.ends_with('}') && !text.contains('\n'), "{text}");
    }
}

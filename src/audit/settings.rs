//! What the sinks are configured with.

use std::path::PathBuf;
use std::time::Duration;

use crate::post::PostSettings;

/// Records that may wait for a slow disk or server. At about 600 bytes each under 5 MiB.
pub const DEFAULT_QUEUE: usize = 8192;
/// How long a request waits for room.
pub const DEFAULT_WAIT: Duration = Duration::from_secs(5);

/// Where audit records go.
#[derive(Debug, Clone)]
pub struct AuditSettings {
    /// At least one.
    pub sinks: Vec<SinkSettings>,
    /// How long a request waits for room at a sink that holds requests up.
    pub wait: Duration,
}

impl AuditSettings {
    /// One file, which the gateway does not put aside.
    pub fn file(path: PathBuf) -> Self {
        Self::one("file", OutletSettings::File(FileSettings { path, rotation: None }))
    }

    /// Standard output.
    pub fn stdout() -> Self {
        Self::one("stdout", OutletSettings::Stdout)
    }

    fn one(name: &str, outlet: OutletSettings) -> Self {
        let sink = SinkSettings {
            name: name.to_owned(),
            outlet,
            format: LineFormat::Json,
            queue: DEFAULT_QUEUE,
            when_full: WhenFull::Drop,
        };
        Self { sinks: vec![sink], wait: DEFAULT_WAIT }
    }
}

/// One sink.
#[derive(Debug, Clone)]
pub struct SinkSettings {
    /// Its name in metrics and log.
    pub name: String,
    /// Where the lines go.
    pub outlet: OutletSettings,
    /// What a line looks like.
    pub format: LineFormat,
    /// Records that may wait for it.
    pub queue: usize,
    /// What happens when as many wait.
    pub when_full: WhenFull,
}

/// What happens to the records of a sink whose queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenFull {
    /// They are lost and counted; requests go on.
    #[default]
    Drop,
    /// None is lost: new requests wait for room, and are refused if there is none in time.
    Block,
}

/// What a line looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LineFormat {
    /// One JSON object.
    #[default]
    Json,
    /// The S3 server access log format.
    AccessLog,
}

/// Where lines go.
#[derive(Debug, Clone)]
pub enum OutletSettings {
    /// Standard output.
    Stdout,
    /// A file.
    File(FileSettings),
    /// A syslog server.
    Syslog(SyslogSettings),
    /// Batches of lines by HTTP.
    Http(HttpSettings),
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSettings {
    /// Appended to.
    pub path: PathBuf,
    /// When it is put aside; `None` if something else sees to that.
    pub rotation: Option<Rotation>,
}

/// When a file is put aside, and how many are kept. At least one of size and age is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    /// Before it gets longer than this.
    pub size: Option<u64>,
    /// When it is so old.
    pub every: Option<Duration>,
    /// Files that are kept beside the one that is written.
    pub keep: usize,
    /// Whether they are compressed with gzip.
    pub compress: bool,
}

/// A syslog server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyslogSettings {
    /// Where it is.
    pub address: SyslogAddress,
    /// Code of the facility, 0 to 23 (RFC 5424).
    pub facility: u8,
}

/// Where a syslog server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SyslogAddress {
    /// A datagram socket of this machine, such as `/dev/log`.
    Local(PathBuf),
    /// One message a datagram (RFC 5426).
    Udp(String, u16),
    /// Octet counting (RFC 6587).
    Tcp(String, u16),
    /// The same over TLS (RFC 5425).
    Tls {
        /// Host.
        host: String,
        /// Port.
        port: u16,
        /// PEM file of certificate authorities, instead of the system's.
        ca_file: Option<PathBuf>,
    },
}

/// Batches of lines by HTTP.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// Where to.
    pub post: PostSettings,
    /// Most records of a batch.
    pub records: usize,
    /// How long the first record of a batch waits for others.
    pub wait: Duration,
}

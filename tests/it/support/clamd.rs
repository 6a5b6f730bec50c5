//! clamd with a signature database made here: EICAR, and a marker of our own. Started for one test, in a folder of its own.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::store::missing;

/// What `clamd.conf` says.
#[derive(Debug, Clone)]
pub struct ClamdConf {
    pub stream_max: &'static str,
    pub file_max: &'static str,
    pub scan_max: &'static str,
    /// `AlertExceedsMax` and `AlertEncrypted`.
    pub alerts: bool,
    /// More lines.
    pub more: &'static str,
}

impl Default for ClamdConf {
    fn default() -> Self {
        Self { stream_max: "25M", file_max: "25M", scan_max: "100M", alerts: true, more: "" }
    }
}

/// A running clamd.
pub struct Clamd {
    folder: TempDir,
    port: u16,
    process: Option<Server>,
}

/// A server process; it ends when this is dropped.
pub struct Server {
    child: Child,
    pid: String,
}

impl Clamd {
    /// Starts one; `None` if its program is missing, which is an error in CI.
    pub async fn start(conf: ClamdConf) -> Option<Self> {
        if !Path::new("/usr/sbin/clamd").exists() {
            missing("clamd");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("db");
        std::fs::create_dir_all(&database).unwrap();
        let signature = |name: &str, bytes: &[u8]| format!("{name}:0:*:{}\n", hex::encode(bytes));
        let signatures = [signature("Local.Eicar.Body", &eicar()), signature("Local.Marker", MARKER)].concat();
        std::fs::write(database.join("local.ndb"), signatures).unwrap();
        let mut clamd = Self { folder, port: 0, process: None };
        // A port can be taken between our look and the bind.
        for _ in 0..3 {
            clamd.port = free_port();
            clamd.configure(&conf);
            if clamd.begin().await {
                return Some(clamd);
            }
        }
        panic!("clamd does not start: {}", std::fs::read_to_string(clamd.path("log")).unwrap_or_default());
    }

    /// Its address over TCP.
    pub fn tcp(&self) -> String {
        format!("tcp://127.0.0.1:{}", self.port)
    }

    /// Its TCP port.
    pub fn socket_address(&self) -> std::net::SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// Its address on this machine.
    pub fn unix(&self) -> String {
        format!("unix:{}", self.socket().display())
    }

    /// Its Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.path("clamd.sock")
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it again on the same addresses, with another configuration.
    pub async fn restart(&mut self, conf: ClamdConf) {
        self.kill();
        self.configure(&conf);
        assert!(self.begin().await, "clamd starts again");
    }

    /// Sends it a signal: `STOP` and `CONT`.
    pub fn signal(&self, name: &str) {
        self.process.as_ref().expect("it runs").signal(name);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn configure(&self, conf: &ClamdConf) {
        let folder = self.folder.path().display();
        let ClamdConf { stream_max, file_max, scan_max, alerts, more } = conf;
        let alerts = if *alerts { "yes" } else { "no" };
        let port = self.port;
        let text = format!(
            "DatabaseDirectory {folder}/db\nLocalSocket {folder}/clamd.sock\nFixStaleSocket yes\nTCPSocket {port}\n\
             TCPAddr 127.0.0.1\nTemporaryDirectory {folder}\nForeground yes\nSelfCheck 0\nMaxThreads 4\n\
             StreamMaxLength {stream_max}\nMaxFileSize {file_max}\nMaxScanSize {scan_max}\n\
             AlertExceedsMax {alerts}\nAlertEncrypted {alerts}\n{more}\n"
        );
        std::fs::write(self.path("clamd.conf"), text).unwrap();
    }

    async fn begin(&mut self) -> bool {
        let conf = format!("--config-file={}", self.path("clamd.conf").display());
        self.process = Some(Server::start(self.folder.path(), "/usr/sbin/clamd", &[&conf]));
        let deadline = Instant::now() + Duration::from_secs(60);
        while Instant::now() < deadline {
            if answers(self.port, b"zPING\0", b"PONG").await {
                return true;
            }
            if !self.process.as_ref().expect("started").is_alive() {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        false
    }
}

impl Server {
    /// Starts a program in a folder; its output is in the file `log` there.
    pub fn start(folder: &Path, program: &str, arguments: &[&str]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers/child.sh");
        let mut child = Command::new(script)
            .arg(program)
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server script starts");
        let mut first = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
        let pid = first.trim().strip_prefix("pid ").expect("the script says its pid").to_owned();
        Self { child, pid }
    }

    /// Sends the program a signal.
    pub fn signal(&self, name: &str) {
        assert!(Command::new("kill").args(["-s", name, &self.pid]).status().unwrap().success(), "kill -s {name}");
    }

    /// Whether the program still runs.
    pub fn is_alive(&self) -> bool {
        Command::new("kill").args(["-0", &self.pid]).stderr(Stdio::null()).status().unwrap().success()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // All of its processes. That there are none any more is what we want.
        let group = format!("-{}", self.pid);
        drop(Command::new("kill").args(["-s", "KILL", "--", &group]).stderr(Stdio::null()).status());
        drop(self.child.stdin.take());
        self.child.wait().unwrap();
        // On a busy machine a killed process still answers for a moment.
        let begun = std::time::Instant::now();
        while is_there(&group) && begun.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Whether a process of the group is still there.
fn is_there(group: &str) -> bool {
    Command::new("kill")
        .args(["-s", "0", "--", group])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Whether a server on this machine answers something that contains this.
pub async fn answers(port: u16, question: &[u8], wanted: &[u8]) -> bool {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let exchange = async {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(question).await?;
        let mut answer = vec![0; 1024];
        let read = stream.read(&mut answer).await?;
        std::io::Result::Ok(answer[..read].windows(wanted.len()).any(|window| window == wanted))
    };
    tokio::time::timeout(Duration::from_secs(2), exchange).await.is_ok_and(|answered| answered.unwrap_or(false))
}

/// A port below the range that the kernel hands out by itself: tests open thousands of sockets between our look and the server's bind.
pub fn free_port() -> u16 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    loop {
        let random = RandomState::new().build_hasher().finish();
        let port = 15_000 + u16::try_from(random % 17_000).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// What the second signature finds.
pub const MARKER: &[u8] = b"COUNTERSIGN-TEST-MARKER-7f3a";

/// The EICAR test file, put together here so that no file of ours is itself a hit.
pub fn eicar() -> Vec<u8> {
    [br"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD".as_slice(), b"-ANTIVIRUS-TEST-FILE!$H+H*"].concat()
}

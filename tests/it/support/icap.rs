//! ICAP servers: c-icap with virus_scan before a clamd, and one that answers as told.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::certs::Identity;
use super::clamd::{Clamd, Server, answers, free_port};
use super::store::missing;

/// A running c-icap.
pub struct CIcap {
    port: u16,
    tls_port: Option<u16>,
    _process: Server,
    _folder: TempDir,
}

impl CIcap {
    /// Starts one before a clamd; `None` if its program is missing, which is an error in CI.
    pub async fn start(clamd: &Clamd, max_object: &str) -> Option<Self> {
        Self::start_as(clamd, max_object, None).await
    }

    /// Starts one that listens for TLS, too.
    pub async fn start_with_tls(clamd: &Clamd, identity: &Identity) -> Option<Self> {
        Self::start_as(clamd, "25M", Some(identity)).await
    }

    async fn start_as(clamd: &Clamd, max_object: &str, identity: Option<&Identity>) -> Option<Self> {
        let module = modules().filter(|_| Path::new("/usr/bin/c-icap").exists());
        let Some(modules) = module else {
            missing("c-icap");
            return None;
        };
        // A port can be taken between our look and the bind.
        for _ in 0..3 {
            let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
            let at = folder.path().display();
            let socket = clamd.socket();
            let socket = socket.display();
            let tls_port = identity.map(|_| free_port());
            let tls = identity.zip(tls_port).map_or_else(String::new, |(Identity { certificate, key }, port)| {
                format!("TlsPort 127.0.0.1:{port} cert={} key={}\n", certificate.display(), key.display())
            });
            let text = format!(
                "PidFile {at}/pid\nCommandsSocket {at}/ctl\nPort 127.0.0.1:{port}\n{tls}ServerAdmin a@b\nServerName test\nTmpDir {at}\n\
                 MaxMemObject 131072\nTimeout 30\nStartServers 1\nMaxServers 2\nMinSpareThreads 2\nMaxSpareThreads 16\n\
                 ThreadsPerChild 16\nPipelining on\nModulesDir {modules}\nServicesDir {modules}\n\
                 TemplateDir /usr/share/c_icap/templates/\nTemplateDefaultLanguage en\nLoadMagicFile /etc/c-icap/c-icap.magic\n\
                 RemoteProxyUsers off\nServerLog {at}/server.log\nAccessLog {at}/access.log\nService echo srv_echo.so\n\
                 Module common clamd_mod.so\nclamd_mod.ClamdSocket {socket}\nService antivirus_module virus_scan.so\n\
                 ServiceAlias avscan virus_scan?allow204=on&sizelimit=off&mode=simple\n\
                 virus_scan.ScanFileTypes TEXT DATA EXECUTABLE ARCHIVE GIF JPEG MSOFFICE\nvirus_scan.SendPercentData 0\n\
                 virus_scan.StartSendPercentDataAfter 2M\nvirus_scan.MaxObjectSize {max_object}\nvirus_scan.PassOnError off\n\
                 virus_scan.DefaultEngine clamd\n"
            );
            let conf = folder.path().join("c-icap.conf");
            std::fs::write(&conf, text).unwrap();
            let process = Server::start(folder.path(), "/usr/bin/c-icap", &["-N", "-f", conf.to_str().unwrap()]);
            let question = format!("OPTIONS icap://127.0.0.1:{port}/avscan ICAP/1.0\r\nHost: 127.0.0.1\r\n\r\n");
            let deadline = Instant::now() + Duration::from_secs(20);
            while Instant::now() < deadline && process.is_alive() {
                if answers(port, question.as_bytes(), b"ICAP/1.0 200").await {
                    return Some(Self { port, tls_port, _process: process, _folder: folder });
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        panic!("c-icap does not start");
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// Where it listens for TLS.
    pub fn tls_port(&self) -> u16 {
        self.tls_port.expect("it was started with TLS")
    }

    /// One of its services: `avscan`, `virus_scan`, `echo`.
    pub fn service(&self, name: &str) -> String {
        format!("icap://{}/{name}", self.address())
    }
}

/// Where Debian keeps its modules.
fn modules() -> Option<String> {
    let lib = std::fs::read_dir("/usr/lib").ok()?;
    let mut folders = lib.flatten().map(|entry| entry.path().join("c_icap"));
    let found = folders.find(|folder| folder.join("virus_scan.so").exists())?;
    Some(found.display().to_string())
}

/// When the server answers, and what.
#[derive(Debug, Clone, Copy)]
pub enum Reply {
    /// When it has read all, asking for what is behind the preview.
    AtEnd(&'static str),
    /// When it has read the preview.
    AtPreview(&'static str),
    /// When it has read the heads.
    AtOnce(&'static str),
    /// When it has read all it sends this head, and the body as it came.
    Echo(&'static str),
    /// The same, with one byte changed.
    Forge(&'static str),
}

/// A server that answers as told; it ends when this is dropped.
pub struct FakeIcap {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    serving: tokio::task::JoinHandle<()>,
}

struct Shared {
    /// The fields that it says to OPTIONS, and its answer to an object.
    says: Mutex<(&'static str, Reply)>,
    options_asked: AtomicUsize,
    /// Heads and bodies of the objects that it was asked about.
    seen: Mutex<Vec<(String, Vec<u8>)>>,
}

impl FakeIcap {
    /// Starts one that says these fields to OPTIONS.
    pub async fn start(options: &'static str, reply: Reply) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let says = Mutex::new((options, reply));
        let shared = Arc::new(Shared { says, options_asked: AtomicUsize::new(0), seen: Mutex::default() });
        let into = Arc::clone(&shared);
        let serving = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let into = Arc::clone(&into);
                connections.spawn(async move {
                    // Whoever asks may be gone before the end.
                    drop(serve(stream, &into).await);
                });
            }
        });
        Self { address, shared, serving }
    }

    /// From the next connection on it says something else.
    pub fn say(&self, options: &'static str, reply: Reply) {
        *self.shared.says.lock().unwrap() = (options, reply);
    }

    /// How often it was asked for its options.
    pub fn options_asked(&self) -> usize {
        self.shared.options_asked.load(Ordering::Relaxed)
    }

    /// The service.
    pub fn url(&self) -> String {
        format!("icap://{}/scan", self.address)
    }

    /// The heads and the body of the only object that was asked about.
    pub fn only(&self) -> (String, Vec<u8>) {
        let seen = self.shared.seen.lock().unwrap();
        assert_eq!(seen.len(), 1, "{seen:?}");
        seen[0].clone()
    }

    /// The heads of the object that it was asked about last.
    pub fn last_head(&self) -> String {
        self.shared.seen.lock().unwrap().last().expect("it was asked").0.clone()
    }
}

impl Drop for FakeIcap {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let ((options, reply), seen) = (*shared.says.lock().unwrap(), &shared.seen);
    let mut buffer = Vec::new();
    let head = until(&mut stream, &mut buffer, b"\r\n\r\n").await?;
    if head.starts_with("OPTIONS ") {
        shared.options_asked.fetch_add(1, Ordering::Relaxed);
        let answer = format!("ICAP/1.0 200 OK\r\n{options}\r\nEncapsulated: null-body=0\r\n\r\n");
        return stream.write_all(answer.as_bytes()).await;
    }
    let mut http = until(&mut stream, &mut buffer, b"\r\n\r\n").await?;
    if head.starts_with("RESPMOD ") {
        http += &until(&mut stream, &mut buffer, b"\r\n\r\n").await?;
    }
    let position = {
        let mut seen = seen.lock().unwrap();
        seen.push((head.clone() + &http, Vec::new()));
        seen.len() - 1
    };
    if let Reply::AtOnce(answer) = reply {
        stream.write_all(answer.as_bytes()).await?;
        let mut rest = [0; 4096];
        while matches!(stream.read(&mut rest).await, Ok(1..)) {}
        return Ok(());
    }
    let (mut body, is_all) = chunks(&mut stream, &mut buffer).await?;
    seen.lock().unwrap()[position].1.clone_from(&body);
    if head.contains("\r\nPreview: ") && !is_all {
        if let Reply::AtPreview(answer) = reply {
            return stream.write_all(answer.as_bytes()).await;
        }
        stream.write_all(b"ICAP/1.0 100 Continue\r\n\r\n").await?;
        body.extend(chunks(&mut stream, &mut buffer).await?.0);
        seen.lock().unwrap()[position].1.clone_from(&body);
    }
    match reply {
        Reply::AtEnd(answer) | Reply::AtPreview(answer) | Reply::AtOnce(answer) => {
            stream.write_all(answer.as_bytes()).await
        }
        Reply::Echo(answer) | Reply::Forge(answer) => {
            if matches!(reply, Reply::Forge(_)) {
                body[0] ^= 1;
            }
            let chunk = format!("{answer}{:X}\r\n", body.len());
            stream.write_all(&[chunk.as_bytes(), &body, b"\r\n0\r\n\r\n"].concat()).await
        }
    }
}

async fn until(stream: &mut TcpStream, buffer: &mut Vec<u8>, end: &[u8]) -> std::io::Result<String> {
    loop {
        if let Some(at) = buffer.windows(end.len()).position(|window| window == end) {
            let found: Vec<u8> = buffer.drain(..at + end.len()).collect();
            return Ok(String::from_utf8_lossy(&found).into_owned());
        }
        if stream.read_buf(buffer).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// The bytes of chunks to the empty one, and whether that says that it is the end of the object.
async fn chunks(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<(Vec<u8>, bool)> {
    let mut body = Vec::new();
    loop {
        let line = until(stream, buffer, b"\r\n").await?;
        let size = usize::from_str_radix(line.trim().split(';').next().unwrap(), 16).unwrap();
        while buffer.len() < size + 2 {
            if stream.read_buf(buffer).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
        body.extend(buffer.drain(..size));
        buffer.drain(..2);
        if size == 0 {
            return Ok((body, line.contains("ieof")));
        }
    }
}

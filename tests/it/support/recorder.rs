//! A store that writes down every request and answers as told: the judge of what reached the store, and in what form.
//!
//! A fake, because no real store breaks off, stalls or lies on demand.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;

/// Bytes the kernel may take of a connection before the recorder reads them.
const RECEIVE_BUFFER: u32 = 1 << 20;

/// One request as it arrived.
#[derive(Debug, Clone, Default)]
pub struct Recorded {
    /// Request line and headers, as sent.
    pub head: String,
    /// Body bytes that came.
    pub body: Vec<u8>,
    /// Whether the declared length arrived in full: only then would a store have kept it.
    pub complete: bool,
    /// Whether the connection was reset in the middle of the body. A store can take a plain end for the end of the object.
    pub reset: bool,
}

impl Recorded {
    /// The value of a header, or an empty text.
    pub fn header(&self, name: &str) -> String {
        let matching = |line: &&str| line.split(':').next().is_some_and(|found| found.eq_ignore_ascii_case(name));
        self.head
            .lines()
            .skip(1)
            .find(matching)
            .and_then(|line| line.split_once(':'))
            .map(|(_, value)| value.trim().to_owned())
            .unwrap_or_default()
    }

    /// Method and target.
    pub fn request_line(&self) -> String {
        self.head.lines().next().unwrap_or_default().trim_end_matches(" HTTP/1.1").to_owned()
    }
}

/// How the store answers.
#[derive(Clone)]
pub enum Answer {
    /// Reads the request, then answers with these bytes.
    Bytes(String),
    /// Answers with these bytes as soon as the head is there, then reads on.
    Early(String),
    /// Answers early, then neither reads nor closes.
    EarlyThenStall(String),
    /// Answers early, then closes without reading.
    EarlyThenClose(String),
    /// Reads so many bytes of the body, then closes.
    CloseAfter(usize),
    /// Reads nothing of the body and never answers.
    Stall,
    /// Answers in the first way where the head contains a text, else in the second.
    Where(&'static str, Box<Answer>, Box<Answer>),
    /// Reads the request and never answers.
    Silence,
    /// Reads the request, answers and closes, as at the end of an idle time.
    ThenClose(String),
    /// The same, but closes only when the next request has begun to arrive.
    ThenCloseOnReuse(String),
    /// Reads the request, sends the first bytes, and the others so much later.
    InTwo(String, std::time::Duration, String),
    /// Chosen by the head of the request.
    By(Arc<dyn Fn(&str) -> Answer + Send + Sync>),
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "Bytes({bytes})"),
            Self::Early(bytes) => write!(f, "Early({bytes})"),
            Self::EarlyThenStall(bytes) => write!(f, "EarlyThenStall({bytes})"),
            Self::EarlyThenClose(bytes) => write!(f, "EarlyThenClose({bytes})"),
            Self::CloseAfter(bytes) => write!(f, "CloseAfter({bytes})"),
            Self::ThenClose(bytes) => write!(f, "ThenClose({bytes})"),
            Self::ThenCloseOnReuse(bytes) => write!(f, "ThenCloseOnReuse({bytes})"),
            Self::Stall | Self::Silence | Self::InTwo(..) | Self::By(_) | Self::Where(..) => f.write_str("an answer"),
        }
    }
}

impl Answer {
    /// A well-formed answer with a body.
    pub fn status(status: u16, headers: &str, body: &str) -> Self {
        Self::Bytes(response(status, headers, body))
    }

    /// An S3 error document.
    pub fn error(status: u16, code: &str) -> Self {
        Self::status(
            status,
            "content-type: application/xml\r\n",
            &format!(
                "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>store-internal-message</Message><HostId>store-host-id</HostId></Error>"
            ),
        )
    }

    /// Takes nothing of any PUT, and answers everything else with an empty success.
    pub fn stall_puts() -> Self {
        Self::Where("PUT ", Box::new(Self::Stall), Box::new(Self::ok()))
    }

    /// An empty success.
    pub fn ok() -> Self {
        Self::status(200, "etag: \"e\"\r\n", "")
    }
}

/// The bytes of an answer.
pub fn response(status: u16, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len())
}

/// A running recorder.
pub struct Recorder {
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<Recorded>>>,
    answer: Arc<Mutex<Answer>>,
    connections: Arc<Connections>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Connections {
    accepted: AtomicUsize,
    ended: AtomicUsize,
}

impl Recorder {
    /// Starts a store that answers so.
    pub async fn start(answer: Answer) -> Self {
        let listener = listen();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let answer = Arc::new(Mutex::new(answer));
        let connections = Arc::new(Connections::default());
        let (log, how, count) = (Arc::clone(&requests), Arc::clone(&answer), Arc::clone(&connections));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (log, how, count) = (Arc::clone(&log), Arc::clone(&how), Arc::clone(&count));
                count.accepted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    serve(stream, log, how).await;
                    count.ended.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, requests, answer, connections, task }
    }

    /// Its endpoint.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers differently from now on.
    pub fn answer(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    /// Everything that arrived so far.
    pub fn requests(&self) -> Vec<Recorded> {
        self.requests.lock().unwrap().clone()
    }

    /// The only request that arrived.
    pub fn only(&self) -> Recorded {
        let requests = self.requests();
        assert_eq!(requests.len(), 1, "{requests:?}");
        requests[0].clone()
    }

    /// Connections accepted so far.
    pub fn accepted(&self) -> usize {
        self.connections.accepted.load(Ordering::SeqCst)
    }

    /// Connections that have not ended yet.
    pub fn open(&self) -> usize {
        self.accepted() - self.connections.ended.load(Ordering::SeqCst)
    }

    /// Whether nothing arrived.
    pub fn is_silent(&self) -> bool {
        self.requests().is_empty()
    }

    /// Whether no request arrived that a store would have acted on as a write.
    pub fn nothing_committed(&self) -> bool {
        self.requests()
            .iter()
            .all(|request| !request.complete || request.head.starts_with("GET") || request.head.starts_with("HEAD"))
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A listener whose connections take few bytes that nobody reads: left to itself, the kernel lets a connection that has
/// been read from take up to 32 MiB more.
fn listen() -> TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(RECEIVE_BUFFER).unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    socket.listen(1024).unwrap()
}

async fn serve(mut stream: TcpStream, log: Arc<Mutex<Vec<Recorded>>>, how: Arc<Mutex<Answer>>) {
    let mut rest = Vec::new();
    let mut reused = false;
    loop {
        let Some(head) = read_head(&mut stream, &mut rest).await else { return };
        let index = {
            let mut log = log.lock().unwrap();
            log.push(Recorded { head, ..Recorded::default() });
            log.len() - 1
        };
        let mut answer = how.lock().unwrap().clone();
        loop {
            let head = &log.lock().unwrap()[index].head;
            answer = match answer {
                Answer::By(choose) => choose(head),
                Answer::Where(text, then, otherwise) => *if head.contains(text) { then } else { otherwise },
                chosen => {
                    answer = chosen;
                    break;
                }
            };
        }
        if matches!(answer, Answer::ThenCloseOnReuse(_)) && std::mem::replace(&mut reused, true) {
            return;
        }
        if !act(&mut stream, &mut rest, &log, index, answer).await {
            return;
        }
    }
}

async fn act(
    stream: &mut TcpStream,
    rest: &mut Vec<u8>,
    log: &Arc<Mutex<Vec<Recorded>>>,
    index: usize,
    answer: Answer,
) -> bool {
    match answer {
        Answer::Bytes(bytes) | Answer::ThenCloseOnReuse(bytes) => {
            read_body(stream, rest, log, index, usize::MAX).await;
            stream.write_all(bytes.as_bytes()).await.is_ok()
        }
        Answer::Early(bytes) => {
            let sent = stream.write_all(bytes.as_bytes()).await.is_ok();
            read_body(stream, rest, log, index, usize::MAX).await;
            sent
        }
        Answer::EarlyThenStall(bytes) => {
            drop(stream.write_all(bytes.as_bytes()).await);
            std::future::pending().await
        }
        Answer::EarlyThenClose(bytes) => {
            drop(stream.write_all(bytes.as_bytes()).await);
            false
        }
        Answer::CloseAfter(bytes) => {
            read_body(stream, rest, log, index, bytes).await;
            false
        }
        Answer::InTwo(first, pause, rest_of_it) => {
            read_body(stream, rest, log, index, usize::MAX).await;
            drop(stream.write_all(first.as_bytes()).await);
            tokio::time::sleep(pause).await;
            stream.write_all(rest_of_it.as_bytes()).await.is_ok()
        }
        Answer::By(_) => unreachable!("chosen by the caller"),
        Answer::Stall => std::future::pending().await,
        Answer::Where(..) => unreachable!("resolved before"),
        Answer::Silence => {
            read_body(stream, rest, log, index, usize::MAX).await;
            while stream.read(&mut [0; 1024]).await.is_ok_and(|length| length > 0) {}
            false
        }
        Answer::ThenClose(bytes) => {
            read_body(stream, rest, log, index, usize::MAX).await;
            drop(stream.write_all(bytes.as_bytes()).await);
            false
        }
    }
}

async fn read_head(stream: &mut TcpStream, rest: &mut Vec<u8>) -> Option<String> {
    let mut buffer = [0; 16 * 1024];
    loop {
        if let Some(end) = rest.windows(4).position(|window| window == b"\r\n\r\n") {
            let head: Vec<u8> = rest.drain(..end + 4).collect();
            return Some(String::from_utf8_lossy(&head).trim_end().to_owned());
        }
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return None,
            Ok(length) => rest.extend_from_slice(&buffer[..length]),
        }
    }
}

async fn read_body(
    stream: &mut TcpStream,
    rest: &mut Vec<u8>,
    log: &Arc<Mutex<Vec<Recorded>>>,
    index: usize,
    limit: usize,
) {
    let declared: usize = log.lock().unwrap()[index].header("content-length").parse().unwrap_or(0);
    let wanted = declared.min(limit);
    let mut buffer = vec![0; 64 * 1024];
    let first: Vec<u8> = rest.drain(..rest.len().min(wanted)).collect();
    let mut seen = first.len();
    log.lock().unwrap()[index].body = first;
    while seen < wanted {
        let room = buffer.len().min(wanted - seen);
        match stream.read(&mut buffer[..room]).await {
            Ok(0) => break,
            Err(_) => {
                log.lock().unwrap()[index].reset = true;
                break;
            }
            Ok(length) => {
                log.lock().unwrap()[index].body.extend_from_slice(&buffer[..length]);
                seen += length;
            }
        }
    }
    log.lock().unwrap()[index].complete = seen == declared;
}

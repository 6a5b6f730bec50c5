//! An edge that runs, a handler that tells what it sees, and a client that sends raw bytes.

use std::convert::Infallible;
use std::fmt::Debug;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Method, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full, StreamBody};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::arrival::{Arrival, Framing, UnreadableHead, Vouched};
use crate::edge::tls::Tls;
use crate::edge::{
    Access, Addresses, AdminBody, AdminRequest, AdminState, BindError, ConnectionLimits, Control, DrainReport, Edge,
    Handler, Inherited, ListenAddress, ListenerSettings, Monitor, Settings, TlsSettings,
};
use crate::flow::Budget;

/// Nothing in these tests takes this long unless it hangs.
const DEADLINE: Duration = Duration::from_secs(20);

/// Limits that no test meets by accident.
pub(in crate::edge) fn limits() -> ConnectionLimits {
    ConnectionLimits {
        max_connections: 100,
        handshake_timeout: Duration::from_secs(15),
        head_timeout: Duration::from_secs(15),
        max_head_bytes: 16 * 1024,
        max_headers: 50,
        max_target_bytes: 1024,
        body_idle_timeout: Duration::from_secs(15),
        min_body_rate: 1,
        body_rate_window: Duration::from_secs(15),
        linger_bytes: 4 << 20,
        linger_timeout: Duration::from_secs(15),
        buffer_bytes: 16 << 20,
        h2_max_streams: 16,
    }
}

/// Waits for something that must come.
pub(super) async fn soon<T>(what: &str, event: impl Future<Output = T>) -> T {
    timeout(DEADLINE, event).await.unwrap_or_else(|_| panic!("{what} did not happen"))
}

/// What happened at the handler.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A request arrived: method, target, framing.
    Arrived(Method, String, Framing),
    /// Its body was read to the end, or ended in an error.
    BodyRead(Result<usize, ()>),
    /// The body of the answer, or the handler itself, was dropped before its end.
    Dropped,
    /// A head could not be read; whether it was too large.
    Unreadable(bool),
}

/// Answers by path: `/who` (address and name of the client, as the edge has them), `/whose` (that name and the one of the configuration),
/// `/panic`, `/panic-late` (in the body of the answer), `/refuse` (does not read), `/endless`, `/wait` (until told), `/switch`; else reads and echoes.
#[derive(Debug, Clone)]
pub(super) struct Probe {
    events: mpsc::UnboundedSender<Event>,
    go_on: Arc<Notify>,
    /// What it was made of.
    configuration: Arc<str>,
}

impl Handler for Probe {
    type Body = ProbeBody;

    async fn handle(&self, arrival: Arrival) -> Response<ProbeBody> {
        let Arrival { head, framing, body, connection, .. } = arrival;
        let path = head.uri.path().to_owned();
        self.tell(Event::Arrived(head.method.clone(), head.uri.to_string(), framing));
        if let Framing::Oversized(_) = framing {
            return answer(StatusCode::PAYLOAD_TOO_LARGE, "oversized");
        }
        if framing != Framing::Clear && path != "/switch" && head.method != Method::CONNECT {
            return answer(StatusCode::BAD_REQUEST, "ambiguous");
        }
        match path.as_str() {
            "/panic" => panic!("as the test asked"),
            "/panic-late" => Response::new(ProbeBody::Panics(Some(Bytes::from_static(b"so far")))),
            "/refuse" => answer(StatusCode::FORBIDDEN, "refused"),
            "/who" | "/whose" => {
                let name = match connection.vouched.as_deref() {
                    None => "nobody",
                    Some(Vouched::Listener(name)) => name,
                    Some(Vouched::Certificate(certificate)) => &certificate.subject,
                };
                let told = match path.as_str() {
                    "/who" => format!("{} {name}", connection.peer.ip()),
                    _ => format!("{name} {}", self.configuration),
                };
                Response::new(ProbeBody::Text(Some(told.into())))
            }
            "/switch" => answer(StatusCode::SWITCHING_PROTOCOLS, ""),
            "/endless" => Response::new(ProbeBody::Endless { _teller: DropTeller::new(self) }),
            "/wait" => {
                let teller = DropTeller::new(self);
                self.go_on.notified().await;
                teller.defuse();
                answer(StatusCode::OK, "waited")
            }
            _ => {
                let body = body.collect().await.map(|body| body.to_bytes());
                self.tell(Event::BodyRead(body.as_ref().map(Bytes::len).map_err(|_| ())));
                let mut response = answer(StatusCode::OK, "");
                *response.body_mut() = ProbeBody::Text(body.ok());
                response
            }
        }
    }

    fn unreadable(&self, head: UnreadableHead) {
        self.tell(Event::Unreadable(head.too_large));
    }
}

impl Probe {
    /// One whose events nobody hears.
    pub(super) fn unheard() -> Self {
        Self { events: mpsc::unbounded_channel().0, go_on: Arc::default(), configuration: Arc::default() }
    }

    /// The same of another configuration.
    pub(super) fn of(&self, configuration: &Arc<str>) -> Self {
        Self { configuration: Arc::clone(configuration), ..self.clone() }
    }

    fn tell(&self, event: Event) {
        // The test may have ended before its last connection.
        self.events.send(event).ok();
    }
}

fn answer(status: StatusCode, text: &'static str) -> Response<ProbeBody> {
    let mut response = Response::new(ProbeBody::Text(Some(text.into())));
    *response.status_mut() = status;
    response
}

/// Body of the test handler.
pub(super) enum ProbeBody {
    Text(Option<Bytes>),
    /// One frame, then a panic.
    Panics(Option<Bytes>),
    Endless {
        /// Tells when hyper gives up.
        _teller: DropTeller,
    },
}

impl Body for ProbeBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(match self.get_mut() {
            Self::Text(text) => text.take().map(|text| Ok(Frame::data(text))),
            Self::Panics(first) => Some(Ok(Frame::data(first.take().expect("as the test asked")))),
            Self::Endless { .. } => Some(Ok(Frame::data(Bytes::from_static(&[b'x'; 64 * 1024])))),
        })
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Text(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Text(text) => SizeHint::with_exact(text.as_ref().map_or(0, Bytes::len) as u64),
            Self::Panics(_) | Self::Endless { .. } => SizeHint::default(),
        }
    }
}

/// Tells when it is dropped, unless defused.
pub(super) struct DropTeller(Option<Probe>);

impl DropTeller {
    fn new(probe: &Probe) -> Self {
        Self(Some(probe.clone()))
    }

    fn defuse(mut self) {
        self.0 = None;
    }
}

impl Drop for DropTeller {
    fn drop(&mut self) {
        if let Some(probe) = &self.0 {
            probe.tell(Event::Dropped);
        }
    }
}

/// Readiness and metrics as the test sets them.
#[derive(Debug, Default)]
pub(super) struct Admin {
    pub(super) not_ready: Vec<String>,
    pub(super) access: Arc<Access>,
    pub(super) refused: Arc<Mutex<Vec<&'static str>>>,
    /// `/api/events` tells something at each notice, without an end.
    pub(super) watched: Option<Arc<Notify>>,
}

impl AdminState for Admin {
    fn not_ready(&self) -> Vec<String> {
        self.not_ready.clone()
    }

    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    fn metrics(&self) -> String {
        "countersign_up 1\n".to_owned()
    }

    fn access(&self) -> Arc<Access> {
        Arc::clone(&self.access)
    }

    fn console(&self, request: AdminRequest) -> BoxFuture<'_, Response<AdminBody>> {
        if let Some(notice) = self.watched.clone().filter(|_| request.path == "/api/events") {
            let events = futures_util::stream::unfold(notice, |notice| async move {
                notice.notified().await;
                Some((Ok(Frame::data(Bytes::from_static(b"data: x\n\n"))), notice))
            });
            return Box::pin(std::future::ready(Response::new(StreamBody::new(events).boxed_unsync())));
        }
        let told = format!("{} {} by {}", request.method, request.path, request.who);
        Box::pin(std::future::ready(Response::new(Full::new(told.into()).boxed_unsync())))
    }

    fn refused(&self, reason: &'static str) {
        self.refused.lock().unwrap().push(reason);
    }
}

/// A running edge.
pub(super) struct World {
    pub(super) addresses: Addresses,
    pub(super) monitor: Monitor,
    pub(super) certificates: Certificates,
    events: mpsc::UnboundedReceiver<Event>,
    go_on: Arc<Notify>,
    stop: Option<oneshot::Sender<()>>,
    at_once: Option<oneshot::Sender<()>>,
    running: JoinHandle<DrainReport>,
}

/// The files of TLS, read again as by a reload that changes nothing else.
pub(super) struct Certificates {
    control: Control<Probe>,
    settings: Settings,
    /// Whom the edge was started with.
    pub(super) probe: Probe,
}

impl Certificates {
    pub(super) fn reload(&self) -> Result<(), BindError> {
        self.reload_with(|_| {})
    }

    /// The same with other settings than at the start.
    pub(super) fn reload_with(&self, change: impl FnOnce(&mut Settings)) -> Result<(), BindError> {
        let mut settings = self.settings.clone();
        change(&mut settings);
        self.exchange(&settings, true, &self.probe)
    }

    /// What the first listener and the admin listener have read for TLS.
    pub(super) fn in_use(&self) -> [Weak<Tls>; 2] {
        let weak = |tls: &Option<Arc<Tls>>| tls.as_ref().map(Arc::downgrade).unwrap_or_default();
        let (_, first) = &self.control.listeners[0];
        [weak(&first.load().tls), weak(&self.control.admin.load().tls)]
    }

    /// The same for the identity of the first listener and another handler, without reading files.
    pub(super) fn identify(&self, identity: &str, probe: &Probe) {
        let mut settings = self.settings.clone();
        settings.listeners[0].identity = Some(identity.to_owned());
        self.exchange(&settings, false, probe).unwrap();
    }

    fn exchange(&self, settings: &Settings, read_files: bool, probe: &Probe) -> Result<(), BindError> {
        self.control.prepare(settings, read_files).map(|prepared| self.control.apply(prepared, probe))
    }
}

impl World {
    /// One clear-text listener.
    pub(super) async fn start(limits: ConnectionLimits) -> Self {
        Self::start_with(settings(limits, None), Admin::default()).await
    }

    /// One TLS listener.
    pub(super) async fn start_tls(limits: ConnectionLimits, tls: TlsSettings) -> Self {
        Self::start_with(settings(limits, Some(tls)), Admin::default()).await
    }

    pub(super) async fn start_with(settings: Settings, admin: Admin) -> Self {
        let (events, received) = mpsc::unbounded_channel();
        let probe = Probe { events, go_on: Arc::default(), configuration: Arc::default() };
        let edge = Edge::bind(settings.clone(), probe.clone(), Budget::new(16 << 20), Inherited::none()).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let (at_once, hurried) = oneshot::channel::<()>();
        let told = |told: oneshot::Receiver<()>| async {
            if told.await.is_err() {
                std::future::pending().await
            }
        };
        let go_on = probe.go_on.clone();
        Self {
            addresses: edge.addresses().clone(),
            monitor: edge.monitor(),
            certificates: Certificates { control: edge.control(), settings, probe },
            events: received,
            go_on,
            stop: Some(stop),
            at_once: Some(at_once),
            running: tokio::spawn(edge.run(Arc::new(admin), told(stopped), told(hurried))),
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.addresses.data[0]
    }

    pub(super) async fn connect(&self) -> RawClient {
        RawClient(TcpStream::connect(self.address()).await.unwrap())
    }

    /// The next event at the handler.
    pub(super) async fn event(&mut self) -> Event {
        soon("event at the handler", self.events.recv()).await.unwrap()
    }

    /// The events so far.
    pub(super) fn events_so_far(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.events.try_recv().ok()).collect()
    }

    /// Waits until a GET for this target arrives.
    pub(super) async fn arrival_of(&mut self, target: &str) {
        let expected = Event::Arrived(Method::GET, target.to_owned(), Framing::Clear);
        assert_eq!(self.event().await, expected);
    }

    /// Lets one `/wait` go on.
    pub(super) fn go_on(&self) {
        self.go_on.notify_one();
    }

    pub(super) fn request_stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// As a second signal does.
    pub(super) fn hurry(&mut self) {
        self.at_once.take().unwrap().send(()).unwrap();
    }

    /// Waits for the end after [`World::request_stop`].
    pub(super) async fn end(self) -> DrainReport {
        soon("end of the edge", self.running).await.unwrap()
    }
}

pub(super) fn settings(limits: ConnectionLimits, tls: Option<TlsSettings>) -> Settings {
    let free_port = SocketAddr::from(([127, 0, 0, 1], 0));
    Settings {
        listeners: vec![ListenerSettings::new(ListenAddress::Tcp(free_port), tls)],
        admin: free_port,
        admin_tls: None,
        admin_access: Arc::default(),
        limits,
        drain_delay: Duration::ZERO,
        drain_timeout: Duration::from_secs(15),
    }
}

/// A client that sends bytes as they are.
pub(super) struct RawClient(pub(super) TcpStream);

impl RawClient {
    pub(super) async fn to(address: SocketAddr) -> Self {
        Self(TcpStream::connect(address).await.unwrap())
    }

    pub(super) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Everything until the server closes.
    pub(super) async fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        soon("end of the connection", self.0.read_to_end(&mut rest)).await.unwrap();
        String::from_utf8_lossy(&rest).into_owned()
    }

    /// One answer with Content-Length: its head and body.
    pub(super) async fn response(&mut self) -> (String, String) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(soon("head of an answer", self.0.read_u8()).await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        soon("body of an answer", self.0.read_exact(&mut body)).await.unwrap();
        (head, String::from_utf8(body).unwrap())
    }
}

//! A TCP proxy that spoils connections: late, slow, byte by byte, stalled, cut with FIN or RST, refused, or with a bit that is not what was sent.
//!
//! What happens to a connection is drawn from the seed, in the order of the connections. Storms and quiet stretches follow one another; in
//! quiet nothing is spoilt, and stalls end.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::random::Random;

const MIB: usize = 1 << 20;

/// What happens to the bytes of one direction.
#[derive(Debug, Clone, Copy)]
enum Fault {
    None,
    /// Every piece is late.
    Delay(Duration),
    /// So many bytes a second.
    Throttle(usize),
    /// The first so many bytes one by one.
    Trickle(usize),
    /// Nothing moves for a time.
    Stall {
        after: usize,
        lasting: Duration,
    },
    /// The end, with a reset or without.
    Cut {
        after: usize,
        reset: bool,
    },
    /// A bit of the byte at this place is another.
    Flip {
        at: usize,
        bit: usize,
    },
}

/// How often connections are spoilt.
#[derive(Debug, Clone, Copy)]
pub struct Weather {
    /// Connections with a fault, of a hundred.
    pub percent: usize,
    /// Pieces, of a thousand, behind which a connection without a fault gets one: connections to the store live long.
    pub later: usize,
    /// Bytes after which a connection is stalled or cut, at most.
    pub reach: usize,
    /// The longest stall.
    pub stall: Duration,
    /// Faults that are a wrong bit, of a hundred, on the way to the server and on the way back.
    pub flips: [usize; 2],
}

/// A running proxy; it ends when this is dropped.
pub struct FaultProxy {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    serving: tokio::task::JoinHandle<()>,
}

struct Shared {
    target: SocketAddr,
    weather: Weather,
    over: AtomicBool,
    /// Ends the stretch in which the faults have not begun.
    begin: Notify,
    quiet: AtomicBool,
    open: AtomicUsize,
    struck: Mutex<BTreeMap<&'static str, u64>>,
}

impl FaultProxy {
    /// Starts in front of a server, without faults yet.
    pub fn start(target: SocketAddr, weather: Weather, random: Random) -> Self {
        let (reserved, address) = reserve();
        let shared = Arc::new(Shared {
            target,
            weather,
            over: AtomicBool::new(true),
            begin: Notify::new(),
            quiet: AtomicBool::new(true),
            open: AtomicUsize::new(0),
            struck: Mutex::default(),
        });
        let serving = tokio::spawn(serve(Arc::clone(&shared), reserved, address, random));
        Self { address, shared, serving }
    }

    /// Lets the faults begin.
    pub fn storm(&self) {
        self.shared.over.store(false, Ordering::SeqCst);
    }

    /// Lets them begin at once, with a storm.
    pub fn storm_now(&self) {
        self.storm();
        self.shared.begin.notify_one();
    }

    /// Ends all faults for good.
    pub fn calm(&self) {
        self.shared.over.store(true, Ordering::SeqCst);
        self.shared.quiet.store(true, Ordering::SeqCst);
    }

    /// Connections that are open now.
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// How often which fault struck.
    pub fn struck(&self) -> BTreeMap<&'static str, u64> {
        self.shared.struck.lock().unwrap().clone()
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// A port that stays ours while nobody listens on it, so that connections to it are refused.
fn reserve() -> (Socket, SocketAddr) {
    let socket = bound("127.0.0.1:0".parse().unwrap());
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

fn bound(address: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_reuse_port(true).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket
}

fn listen(address: SocketAddr) -> TcpListener {
    let socket = bound(address);
    socket.listen(1024).unwrap();
    TcpListener::from_std(socket.into()).unwrap()
}

async fn serve(shared: Arc<Shared>, _reserved: Socket, address: SocketAddr, mut random: Random) {
    let mut connections = tokio::task::JoinSet::new();
    let (mut listener, mut begins) = (listen(address), false);
    loop {
        let storm = !shared.over.load(Ordering::SeqCst) && (std::mem::take(&mut begins) || random.percent(80));
        if storm && random.percent(20) {
            // Nobody listens: connections are refused.
            shared.note("refused for a while");
            drop(listener);
            sleep(Duration::from_millis(random.between(50, 800) as u64)).await;
            listener = listen(address);
        }
        shared.quiet.store(!storm, Ordering::SeqCst);
        let end = Instant::now() + Duration::from_millis(random.between(1_000, 4_000) as u64);
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = shared.begin.notified() => {
                    begins = true;
                    break;
                }
                () = tokio::time::sleep_until(end) => break,
            };
            let Ok((client, _)) = accepted else { break };
            let plan = if storm { shared.weather.plan(&mut random) } else { [Fault::None; 2] };
            connections.spawn(carry(client, plan, random.fork(), Arc::clone(&shared)));
            while connections.try_join_next().is_some() {}
        }
    }
}

impl Weather {
    fn plan(self, random: &mut Random) -> [Fault; 2] {
        if !random.percent(self.percent) {
            return [Fault::None; 2];
        }
        let direction = random.below(2);
        let mut faults = [Fault::None; 2];
        faults[direction] = self.fault(direction, random, 0);
        faults
    }

    /// A fault of a connection on which so many bytes were moved in this direction: 0 is that to the server.
    fn fault(self, direction: usize, random: &mut Random, moved: usize) -> Fault {
        if self.flips[direction] > 0 && random.percent(self.flips[direction]) {
            // Answers are short: nearer than other faults.
            return Fault::Flip { at: moved + random.magnitude(self.reach / 16), bit: random.below(8) };
        }
        let after = moved + random.magnitude(self.reach);
        match random.below(10) {
            0 => Fault::Delay(Duration::from_millis(random.between(1, 60) as u64)),
            1 => Fault::Throttle(random.between(32, 512) * 1024),
            2 => Fault::Trickle(moved + random.between(50, 600)),
            3 | 4 => {
                let longest = usize::try_from(self.stall.as_millis()).unwrap();
                Fault::Stall { after, lasting: Duration::from_millis(random.between(50, longest) as u64) }
            }
            _ => Fault::Cut { after, reset: random.percent(50) },
        }
    }
}

impl Shared {
    fn note(&self, fault: &'static str) {
        *self.struck.lock().unwrap().entry(fault).or_default() += 1;
    }

    fn is_quiet(&self) -> bool {
        self.quiet.load(Ordering::SeqCst)
    }
}

/// Counts a connection while it is there.
struct Counted<'a>(&'a AtomicUsize);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn carry(mut client: TcpStream, [up, down]: [Fault; 2], mut random: Random, shared: Arc<Shared>) {
    shared.open.fetch_add(1, Ordering::SeqCst);
    let _counted = Counted(&shared.open);
    let Ok(mut server) = TcpStream::connect(shared.target).await else {
        reset(&client);
        return;
    };
    // A trickle is to be one of segments, too.
    for stream in [&client, &server] {
        stream.set_nodelay(true).unwrap();
    }
    let ended = {
        let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
        let up = Pump { direction: 0, fault: up, random: random.fork(), shared: &shared };
        let down = Pump { direction: 1, fault: down, random: random.fork(), shared: &shared };
        tokio::try_join!(up.run(from_client, to_server), down.run(from_server, to_client))
    };
    if ended.is_err_and(|end| end == End::Reset) {
        reset(&client);
        reset(&server);
    }
}

/// Lets a connection end with a reset when it is dropped.
fn reset(stream: &TcpStream) {
    // It may be gone already.
    drop(SockRef::from(stream).set_linger(Some(Duration::ZERO)));
}

/// How a connection ends before both sides have ended it.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Close,
    Reset,
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        Self::Reset
    }
}

struct Pump<'a> {
    direction: usize,
    fault: Fault,
    random: Random,
    shared: &'a Shared,
}

impl Pump<'_> {
    async fn run(mut self, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> Result<(), End> {
        let (mut buffer, mut moved) = (vec![0; 32 * 1024], 0);
        self.note_slowness();
        loop {
            let length = from.read(&mut buffer).await?;
            if length == 0 {
                to.shutdown().await?;
                return Ok(());
            }
            self.pass(&buffer[..length], moved, &mut to).await?;
            moved += length;
        }
    }

    fn note_slowness(&self) {
        match self.fault {
            Fault::Delay(_) => self.shared.note("delayed"),
            Fault::Throttle(_) => self.shared.note("throttled"),
            Fault::Trickle(_) => self.shared.note("byte by byte"),
            Fault::None | Fault::Stall { .. } | Fault::Cut { .. } | Fault::Flip { .. } => {}
        }
    }

    /// Passes a piece on, before which so many bytes were moved.
    async fn pass(&mut self, piece: &[u8], moved: usize, to: &mut WriteHalf<'_>) -> Result<(), End> {
        if self.shared.is_quiet() {
            return Ok(to.write_all(piece).await?);
        }
        if matches!(self.fault, Fault::None) && self.random.below(1000) < self.shared.weather.later {
            self.fault = self.shared.weather.fault(self.direction, &mut self.random, moved);
            self.note_slowness();
        }
        match self.fault {
            Fault::None => to.write_all(piece).await?,
            Fault::Delay(late) => {
                sleep(late).await;
                to.write_all(piece).await?;
            }
            Fault::Throttle(rate) => {
                to.write_all(piece).await?;
                let micros = piece.len() as u64 * 1_000_000 / rate as u64;
                self.hold(Duration::from_micros(micros)).await;
            }
            Fault::Trickle(bytes) => {
                let (single, rest) = piece.split_at(piece.len().min(bytes.saturating_sub(moved)));
                for byte in single {
                    to.write_all(&[*byte]).await?;
                    tokio::task::yield_now().await;
                }
                to.write_all(rest).await?;
            }
            Fault::Stall { after, lasting } if moved + piece.len() > after => {
                let (before, rest) = piece.split_at(after.saturating_sub(moved));
                to.write_all(before).await?;
                self.shared.note("stalled");
                self.fault = Fault::None;
                self.hold(lasting).await;
                to.write_all(rest).await?;
            }
            Fault::Cut { after, reset } if moved + piece.len() > after => {
                to.write_all(&piece[..after.saturating_sub(moved)]).await?;
                self.shared.note(if reset { "cut by RST" } else { "cut by FIN" });
                return Err(if reset { End::Reset } else { End::Close });
            }
            Fault::Flip { at, bit } if (moved..moved + piece.len()).contains(&at) => {
                let mut piece = piece.to_vec();
                piece[at - moved] ^= 1 << bit;
                self.shared.note("wrong bits");
                self.fault = Fault::None;
                to.write_all(&piece).await?;
            }
            Fault::Stall { .. } | Fault::Cut { .. } | Fault::Flip { .. } => to.write_all(piece).await?,
        }
        Ok(())
    }

    /// Waits, but not longer than the storm.
    async fn hold(&self, lasting: Duration) {
        let end = Instant::now() + lasting;
        while Instant::now() < end && !self.shared.is_quiet() {
            sleep(Duration::from_millis(20).min(end - Instant::now())).await;
        }
    }
}

/// Faults between clients and the gateway: many, as each client is alone with its own.
pub const CLIENTS: Weather =
    Weather { percent: 70, later: 5, reach: MIB, stall: Duration::from_millis(7_000), flips: [0; 2] };
/// Faults between the gateway and the store: fewer, as a request may need several.
pub const STORE: Weather =
    Weather { percent: 45, later: 10, reach: 2 * MIB, stall: Duration::from_millis(4_000), flips: [0; 2] };

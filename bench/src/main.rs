//! The two ends of a measurement in one process: the upstream behind the proxies, and the clients before them. And the floor, a proxy
//! that does nothing.
//!
//! Driven by `bench/bench.py` over standard input, a command a line. It never sleeps while it measures: a process that is asleep has to
//! be woken by the one that writes to it, and a slow proxy would pay for that more often than a fast one. Peers on other machines do
//! not cost a proxy anything either.

mod floor;
#[cfg(feature = "inspect")]
mod inspect;
mod load;
mod scanner;
mod signature;
mod sink;
mod tls;
mod wire;

use std::cell::Cell;
use std::collections::HashMap;
use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use load::{Outcome, Stall, Target, Until};
use scanner::Manner;
use tls::Sessions;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::LocalSet;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["certificates", folder] => tls::write_certificates(Path::new(folder)),
        ["peers", folder] => runtime.block_on(LocalSet::new().run_until(peers(Path::new(folder)))),
        ["floor", listen, upstream] => runtime.block_on(LocalSet::new().run_until(floor(listen, upstream))),
        #[cfg(feature = "inspect")]
        ["inspect", rounds, mebibytes, piece] => {
            inspect::measure(rounds.parse()?, mebibytes.parse()?, piece.parse()?)
        }
        _ => Err("usage: countersign-bench certificates FOLDER | peers FOLDER | floor LISTEN UPSTREAM | inspect ROUNDS MIB PIECE-KIB (feature `inspect`)".into()),
    }
}

async fn floor(listen: &str, upstream: &str) -> Result<()> {
    floor::serve(TcpListener::bind(listen).await?, upstream.parse()?).await;
    Ok(())
}

/// Runs the upstream, and whatever standard input tells, until it ends.
async fn peers(folder: &Path) -> Result<()> {
    let (plain, sealed) = (TcpListener::bind("127.0.0.1:0").await?, TcpListener::bind("127.0.0.1:0").await?);
    let scanner = TcpListener::bind("127.0.0.1:0").await?;
    let [plain_port, sealed_port, scanner_port] =
        [&plain, &sealed, &scanner].map(|listener| listener.local_addr().map(|address| address.port()));
    say(&format!("{{\"plain\": {}, \"sealed\": {}, \"scanner\": {}}}", plain_port?, sealed_port?, scanner_port?))?;
    tokio::spawn(scanner::serve(scanner, Manner::Takes));
    tokio::spawn(sink::serve(plain, None));
    tokio::spawn(sink::serve(sealed, Some(tls::server(folder)?)));
    let mut driver = Driver::listen();
    let client = |sessions| tls::client(folder, sessions);
    let (resumed, fresh, old) = (client(Sessions::Resumed)?, client(Sessions::Fresh)?, client(Sessions::Tls12)?);
    while let Some(line) = driver.lines.recv().await {
        let options = Options::read(&line);
        let target = Target {
            address: options.get("address")?.parse()?,
            tls: match options.get("tls")? {
                "no" => None,
                "resumed" => Some(resumed.clone()),
                "fresh" => Some(fresh.clone()),
                "1.2" => Some(old.clone()),
                other => return Err(format!("no such TLS: {other}").into()),
            },
            method: options.get("method")?.to_owned(),
            path: options.get("path")?.to_owned(),
            size: options.number("size")?,
            credential: String::from_utf8(hex::decode(options.get("credential")?)?)?,
        };
        driver.awake.set(options.get("kind")? != "stalled");
        driver.run(&options, &target).await?;
        driver.awake.set(false);
    }
    Ok(())
}

/// A command as `name=value` words.
struct Options(HashMap<String, String>);

impl Options {
    fn read(line: &str) -> Self {
        let words = line.split_whitespace().filter_map(|word| word.split_once('='));
        Self(words.map(|(name, value)| (name.into(), value.into())).collect())
    }

    fn get(&self, name: &str) -> Result<&str> {
        self.0.get(name).map(String::as_str).ok_or_else(|| format!("{name}=… is missing").into())
    }

    fn number<T: std::str::FromStr<Err: Error + 'static>>(&self, name: &str) -> Result<T> {
        self.get(name)?.parse().map_err(Into::into)
    }
}

/// The driver at the other end of standard input and output.
struct Driver {
    lines: UnboundedReceiver<String>,
    awake: Rc<Cell<bool>>,
}

impl Driver {
    fn listen() -> Self {
        let (sender, lines) = unbounded_channel();
        std::thread::spawn(move || {
            for line in std::io::stdin().lines().map_while(std::result::Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let awake = Rc::new(Cell::new(false));
        tokio::task::spawn_local(stay_awake(Rc::clone(&awake)));
        Self { lines, awake }
    }

    /// Tells that everything is in place, and waits for the word.
    async fn go(&mut self) -> Result<()> {
        say("ready")?;
        self.lines.recv().await.map(drop).ok_or_else(|| "the driver is gone".into())
    }

    async fn run(&mut self, options: &Options, target: &Target) -> Result<()> {
        let seconds = || options.number("seconds").map(Duration::from_secs_f64);
        let connections = options.number("connections")?;
        let outcome = match options.get("kind")? {
            "many" => {
                // Connections upstream, caches and the allocator are to be warm.
                load::requests(target, connections, Until::Requests(20), false).await?;
                self.go().await?;
                load::requests(target, connections, Until::Elapsed(seconds()?), false).await?
            }
            "lone" => {
                load::requests(target, 1, Until::Requests(50), false).await?;
                self.go().await?;
                load::requests(target, 1, Until::Elapsed(seconds()?), true).await?
            }
            "counted" => {
                self.go().await?;
                load::requests(target, connections, Until::Requests(options.number("requests")?), false).await?
            }
            "connections" => {
                load::new_connections(target, connections, Duration::from_millis(50)).await?;
                self.go().await?;
                load::new_connections(target, connections, seconds()?).await?
            }
            "scans" => {
                let object = vec![0x5a; usize::try_from(target.size)?];
                scanner::scans(target.address, &object, Duration::from_millis(50)).await?;
                self.go().await?;
                let latencies = scanner::scans(target.address, &object, seconds()?).await?;
                Outcome { requests: latencies.len() as u64, elapsed: seconds()?, latencies, ..Outcome::default() }
            }
            "stalled" => return self.stall(options, target, connections).await,
            other => return Err(format!("no such kind of load: {other}").into()),
        };
        report(outcome)
    }

    /// Lets transfers stall; a fifth of them first.
    async fn stall(&mut self, options: &Options, target: &Target, connections: usize) -> Result<()> {
        let how = match options.get("stall")? {
            "upstream" => Stall::Upstream,
            "sender" => Stall::Sender,
            "reader" => Stall::Reader,
            other => return Err(format!("no such stall: {other}").into()),
        };
        let mut transfers = load::stalled(target, connections / 5, how).await?;
        self.go().await?;
        transfers.extend(load::stalled(target, connections - transfers.len(), how).await?);
        self.go().await?;
        say(&format!("{{\"stalled\": {}}}", transfers.len()))
    }
}

async fn stay_awake(awake: Rc<Cell<bool>>) {
    loop {
        match awake.get() {
            true => tokio::task::yield_now().await,
            false => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
}

fn say(line: &str) -> Result<()> {
    println!("{line}");
    std::io::stdout().flush().map_err(Into::into)
}

fn report(mut outcome: Outcome) -> Result<()> {
    outcome.latencies.sort_unstable();
    let micros = |fraction: f64| {
        let index = (outcome.latencies.len() as f64 * fraction) as usize;
        outcome.latencies.get(index).map_or(0.0, |latency| latency.as_secs_f64() * 1e6)
    };
    say(&format!(
        "{{\"requests\": {}, \"beginning\": \"{}\", \"seconds\": {:.6}, \"p50\": {:.1}, \"p99\": {:.1}}}",
        outcome.requests,
        outcome.beginning,
        outcome.elapsed.as_secs_f64(),
        micros(0.5),
        micros(0.99)
    ))
}

//! The two ends of a measurement: `sink` is the upstream, `load` the clients, `certificates` what TLS needs.
//!
//! Driven by `bench/bench.py`: a load prints `ready`, waits for a line on standard input, and prints what it came to as JSON.

mod load;
mod signature;
mod sink;
mod tls;
mod wire;

use std::collections::HashMap;
use std::error::Error;
use std::io::{BufRead, Write};
use std::path::Path;
use std::time::Duration;

use load::{Outcome, Stall, Target, Until};
use tokio::net::TcpListener;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().unwrap_or_default();
    let options: HashMap<String, String> = arguments
        .filter_map(|argument| {
            argument.strip_prefix("--")?.split_once('=').map(|(name, value)| (name.into(), value.into()))
        })
        .collect();
    let options = Options(options);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match command.as_str() {
        "certificates" => tls::write_certificates(Path::new(options.get("folder")?)),
        "sink" => runtime.block_on(sink(&options)),
        "load" => runtime.block_on(load(&options)),
        _ => Err("usage: countersign-bench certificates|sink|load --NAME=VALUE...".into()),
    }
}

/// The command line as `--name=value`.
struct Options(HashMap<String, String>);

impl Options {
    fn get(&self, name: &str) -> Result<&str> {
        self.0.get(name).map(String::as_str).ok_or_else(|| format!("--{name}=… is missing").into())
    }

    fn number<T: std::str::FromStr<Err: Error + 'static>>(&self, name: &str) -> Result<T> {
        self.get(name)?.parse().map_err(Into::into)
    }
}

async fn sink(options: &Options) -> Result<()> {
    let folder = Path::new(options.get("folder")?);
    let (plain, sealed) = (TcpListener::bind("127.0.0.1:0").await?, TcpListener::bind("127.0.0.1:0").await?);
    println!("{{\"plain\": {}, \"sealed\": {}}}", plain.local_addr()?.port(), sealed.local_addr()?.port());
    std::io::stdout().flush()?;
    let acceptor = tls::server(folder)?;
    tokio::join!(sink::serve(plain, None), sink::serve(sealed, Some(acceptor)));
    Ok(())
}

async fn load(options: &Options) -> Result<()> {
    let tls = match options.get("tls") {
        Ok(folder) => Some(tls::client(Path::new(folder))?),
        Err(_) => None,
    };
    let target = Target {
        address: options.get("address")?.parse()?,
        tls,
        method: options.get("method")?.to_owned(),
        path: options.get("path")?.to_owned(),
        size: options.number("size")?,
        token: options.get("token")?.to_owned(),
    };
    let seconds = || options.number("seconds").map(Duration::from_secs_f64);
    match options.get("kind")? {
        "many" => {
            let connections = options.number("connections")?;
            // Connections upstream, caches and the allocator are to be warm.
            load::requests(&target, connections, Until::Requests(20), false).await?;
            wait_for_go()?;
            report(load::requests(&target, connections, Until::Elapsed(seconds()?), false).await?)
        }
        "lone" => {
            load::requests(&target, 1, Until::Requests(50), false).await?;
            wait_for_go()?;
            report(load::requests(&target, 1, Until::Elapsed(seconds()?), true).await?)
        }
        "counted" => {
            let (connections, count) = (options.number("connections")?, options.number("requests")?);
            wait_for_go()?;
            report(load::requests(&target, connections, Until::Requests(count), false).await?)
        }
        "connections" => {
            load::new_connections(&target, 4, Duration::from_millis(50)).await?;
            wait_for_go()?;
            report(load::new_connections(&target, 4, seconds()?).await?)
        }
        "stalled" => {
            let how = match options.get("stall")? {
                "upstream" => Stall::Upstream,
                "sender" => Stall::Sender,
                "reader" => Stall::Reader,
                other => return Err(format!("no such stall: {other}").into()),
            };
            let transfers = load::stalled(&target, options.number("connections")?, how).await?;
            println!("{{\"stalled\": {}}}", transfers.len());
            wait_for_go()
        }
        other => Err(format!("no such kind of load: {other}").into()),
    }
}

/// Tells the driver that everything is in place, and waits for its word.
fn wait_for_go() -> Result<()> {
    println!("ready");
    std::io::stdout().flush()?;
    std::io::stdin().lock().read_line(&mut String::new())?;
    Ok(())
}

fn report(mut outcome: Outcome) -> Result<()> {
    outcome.latencies.sort_unstable();
    let micros = |fraction: f64| {
        let index = (outcome.latencies.len() as f64 * fraction) as usize;
        outcome.latencies.get(index).map_or(0.0, |latency| latency.as_secs_f64() * 1e6)
    };
    println!(
        "{{\"requests\": {}, \"seconds\": {:.6}, \"p50\": {:.1}, \"p99\": {:.1}}}",
        outcome.requests,
        outcome.elapsed.as_secs_f64(),
        micros(0.5),
        micros(0.99)
    );
    Ok(())
}

//! `countersign health`: asks the admin listener of a running gateway whether it is ready, for probes in places without a shell or curl.
//!
//! Blocking and without a runtime, because it runs every few seconds. Speaks clear text: the probe and the gateway share a machine or a pod.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use http::Uri;

/// A list of reasons is far shorter; more is no admin listener.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Between two questions with `--wait`.
const PAUSE: Duration = Duration::from_millis(500);

/// What is asked.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Where the admin listener is.
    #[arg(long, value_name = "URL", env = "COUNTERSIGN_ADMIN", default_value = "http://127.0.0.1:9090")]
    admin: Uri,
    /// Ask whether the process serves at all (/healthz), and not whether it is ready (/readyz).
    #[arg(long)]
    live: bool,
    /// Seconds that the answer may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
    timeout: u64,
    /// Ask again every half second for so many seconds until it is ready: for scripts, after a start.
    #[arg(long, value_name = "SECONDS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=3600))]
    wait: u64,
}

/// Asks, and prints the answer.
///
/// # Errors
/// If nobody answers in time, or not as an admin listener does.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let path = if arguments.live { "/healthz" } else { "/readyz" };
    let patience = Instant::now() + Duration::from_secs(arguments.wait);
    let answer = loop {
        let answer = ask(&arguments.admin, path, Duration::from_secs(arguments.timeout));
        let ready = answer.as_ref().is_ok_and(|answer| answer.status == 200);
        if ready || Instant::now() + PAUSE > patience {
            break answer.with_context(|| format!("admin listener {}", arguments.admin))?;
        }
        std::thread::sleep(PAUSE);
    };
    super::print(&answer.body)?;
    Ok(if answer.status == 200 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

struct Answer {
    status: u16,
    body: String,
}

fn ask(admin: &Uri, path: &str, timeout: Duration) -> anyhow::Result<Answer> {
    let end = Instant::now() + timeout;
    let plain = admin.scheme_str() == Some("http") && matches!(admin.path(), "" | "/") && admin.query().is_none();
    ensure!(plain, "write it as http://127.0.0.1:9090");
    let authority = admin.authority().context("it has no host")?;
    let host = authority.host().trim_matches(['[', ']']);
    let mut stream = connect(host, authority.port_u16().unwrap_or(80), end)?;
    stream.set_write_timeout(Some(left(end)?))?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).context("it does not listen")?;
    parse(&read(stream, end)?)
}

fn connect(host: &str, port: u16, end: Instant) -> anyhow::Result<TcpStream> {
    let mut last = None;
    for address in (host, port).to_socket_addrs().context("its name cannot be resolved")? {
        match TcpStream::connect_timeout(&address, left(end)?) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some(error),
        }
    }
    match last {
        Some(error) => Err(error).context("it cannot be reached"),
        None => bail!("its name has no address"),
    }
}

/// Everything until the other side closes.
fn read(mut stream: TcpStream, end: Instant) -> anyhow::Result<String> {
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    loop {
        stream.set_read_timeout(Some(left(end)?))?;
        let length = stream.read(&mut piece).context("it does not answer")?;
        answer.extend_from_slice(&piece[..length]);
        ensure!(answer.len() <= MAX_ANSWER_BYTES, "it is no admin listener: its answer is too long");
        if length == 0 {
            return String::from_utf8(answer).context("it is no admin listener: its answer is no text");
        }
    }
}

fn left(end: Instant) -> anyhow::Result<Duration> {
    let left = end.saturating_duration_since(Instant::now());
    ensure!(!left.is_zero(), "it does not answer in time");
    Ok(left)
}

fn parse(answer: &str) -> anyhow::Result<Answer> {
    let (head, body) = answer.split_once("\r\n\r\n").context("it is no admin listener: its answer has no head")?;
    let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(|digits| digits.parse().ok());
    Ok(Answer { status: status.context("it is no admin listener: its answer has no status")?, body: body.to_owned() })
}

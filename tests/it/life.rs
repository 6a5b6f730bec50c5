//! How the program begins and ends, before real stores and real service managers: nothing half is stored, and no request is lost that began.

use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use super::support::clamd::Server;
use super::support::oidc::OwnIssuer;
use super::support::process::{Process, Served};
use super::support::restart::{Lasting, free_address};
use super::support::store::missing;
use super::support::{Answer, Client, Recorder, Response, Setup, SignedClient, Store, StoreKind, eventually, pattern};

const DEADLINE: Duration = Duration::from_secs(30);

/// What a client saw of its request.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    /// No connection.
    NoConnection,
    /// The connection ended without a byte of an answer.
    Nothing,
    /// A whole answer: its status and its body.
    Answer(u16, Vec<u8>),
    /// The beginning of an answer.
    Half(String),
}

impl Seen {
    fn of(bytes: &[u8]) -> Self {
        if bytes.is_empty() {
            return Self::Nothing;
        }
        let half = || Self::Half(String::from_utf8_lossy(&bytes[..bytes.len().min(300)]).into_owned());
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return half() };
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let body = &bytes[end + 4..];
        match length.unwrap_or(0) == body.len() {
            true => Self::Answer(head[9..12].parse().unwrap(), body.to_vec()),
            false => half(),
        }
    }
}

fn head(method: &str, key: &str, token: &str, length: usize) -> String {
    format!(
        "{method} /bkt/{key} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    )
}

/// Sends a request on a connection of its own, the second half of its body when told to go on.
async fn send(client: &Client, method: &str, key: &str, body: &[u8], mut go_on: watch::Receiver<bool>) -> Seen {
    let Ok(mut stream) = TcpStream::connect(client.address).await else { return Seen::NoConnection };
    let half = body.len() / 2;
    let mut answer = Vec::new();
    // If the other side has closed, what it said before is still there to be read.
    let sent: io::Result<()> = async {
        stream.write_all(head(method, key, &client.token, body.len()).as_bytes()).await?;
        stream.write_all(&body[..half]).await?;
        go_on.wait_for(|go| *go).await.map_err(io::Error::other)?;
        stream.write_all(&body[half..]).await
    }
    .await;
    drop(sent);
    drop(stream.read_to_end(&mut answer).await);
    Seen::of(&answer)
}

/// A signal to go on that was given already.
fn at_once() -> watch::Receiver<bool> {
    watch::channel(true).1
}

async fn until_not_ready(served: &Served) {
    let begun = Instant::now();
    loop {
        let readiness = served.ask_admin("/readyz").await;
        if readiness.status == 503 {
            return assert!(readiness.text().contains("shutting down"), "{}", readiness.text());
        }
        assert!(begun.elapsed() < DEADLINE, "still ready");
    }
}

async fn until_nobody_is_let_in(address: SocketAddr) {
    let begun = Instant::now();
    while TcpStream::connect(address).await.is_ok() {
        assert!(begun.elapsed() < DEADLINE, "new connections are accepted");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until so many requests are under way.
async fn until_in_flight(served: &Served, count: usize) {
    let begun = Instant::now();
    loop {
        let metrics = served.ask_admin("/metrics").await.text();
        let line = metrics.lines().find_map(|line| line.strip_prefix("countersign_requests_in_flight "));
        if line.is_some_and(|value| value.parse::<usize>().unwrap() >= count) {
            return;
        }
        assert!(begun.elapsed() < DEADLINE, "in flight: {line:?} of {count}");
    }
}

#[tokio::test]
async fn readiness_is_gone_while_clients_are_still_let_in_and_then_they_are_not() {
    let recorder = Recorder::start(Answer::ok()).await;
    let setup = Setup::before(&recorder).limits("{ timeouts: { drain_delay: 4s } }");
    let mut served = Served::start(&setup, "", &[]).await;
    let told = Instant::now();
    served.process.signal("TERM");
    until_not_ready(&served).await;
    let answer = served.a.get("/bkt/a/x").await;
    assert_eq!((answer.status.as_u16(), answer.header("connection")), (200, "close"));
    until_nobody_is_let_in(served.a.address).await;
    assert!(told.elapsed() >= Duration::from_secs(4), "{:?}", told.elapsed());
    assert_eq!(served.process.end().await.code(), Some(0));
}

#[tokio::test]
async fn a_second_signal_ends_at_once_with_its_exit_status_and_stores_nothing() {
    for (first, second, status) in [("TERM", "TERM", 143), ("TERM", "INT", 130)] {
        let recorder = Recorder::start(Answer::ok()).await;
        let setup = Setup::before(&recorder)
            .upstream("payload: unsigned")
            .limits("{ timeouts: { drain_delay: 1h, drain: 1h } }");
        let mut served = Served::start(&setup, "", &[]).await;
        let mut stream = TcpStream::connect(served.a.address).await.unwrap();
        stream.write_all(head("PUT", "a/x", &served.a.token, 1_000_000).as_bytes()).await.unwrap();
        stream.write_all(&[7; 500_000]).await.unwrap();
        let begun = || recorder.requests().first().is_some_and(|request| !request.body.is_empty());
        eventually("the store sees a part of the upload", begun).await;
        served.process.signal(first);
        until_not_ready(&served).await;
        served.process.signal(second);
        assert_eq!(served.process.end().await.code(), Some(status), "{}", served.process.stderr.text());
        assert!(recorder.nothing_committed());
        let records = served.process.stdout.json();
        assert_eq!(records.len(), 1, "{records:?}");
        assert_eq!(records[0]["outcome"], "aborted");
        let log = served.process.stderr.text();
        assert!(log.contains("second signal") && log.contains("cut: 1") && log.contains("at_once: true"), "{log}");
    }
}

#[tokio::test]
async fn a_drain_under_load_finishes_what_began_and_begins_nothing_more() {
    const UPLOADS: usize = 140;
    const DOWNLOADS: usize = 60;
    let Some(store) = Store::get(StoreKind::SeaweedFs).await else { return };
    let large = pattern(2 << 20);
    store.put("a/large", &large).await;
    let mut served = Served::start(&store.setup(), "", &[]).await;
    let client = served.a.clone();
    let (go, going) = watch::channel(false);

    let mut uploads = JoinSet::new();
    for number in 0..UPLOADS {
        let (client, going) = (client.clone(), going.clone());
        uploads.spawn(async move {
            let body = pattern(150_000 + number);
            (number, send(&client, "PUT", &format!("a/slow-{number}"), &body, going).await)
        });
    }
    let mut downloads = JoinSet::new();
    for _ in 0..DOWNLOADS {
        let (client, mut going) = (client.clone(), going.clone());
        downloads.spawn(async move {
            let mut stream = TcpStream::connect(client.address).await.unwrap();
            stream.write_all(head("GET", "a/large", &client.token, 0).as_bytes()).await.unwrap();
            let mut answer = vec![0; 1000];
            stream.read_exact(&mut answer).await.unwrap();
            going.wait_for(|go| *go).await.unwrap();
            drop(stream.read_to_end(&mut answer).await);
            Seen::of(&answer)
        });
    }
    until_in_flight(&served, UPLOADS + DOWNLOADS).await;
    // And those who come and go all the time, until nobody lets them in.
    let mut others = JoinSet::new();
    for who in 0..6 {
        let client = client.clone();
        others.spawn(async move {
            let mut seen = Vec::new();
            for number in 0_usize.. {
                let key = format!("a/quick-{who}-{number}");
                let outcome = send(&client, "PUT", &key, &pattern(20_000 + number), at_once()).await;
                let over = outcome == Seen::NoConnection;
                seen.push((key, 20_000 + number, outcome));
                if over {
                    break;
                }
            }
            seen
        });
    }
    eventually("some of them were served", || served.process.stdout.text().contains("a/quick-")).await;

    served.process.signal("TERM");
    until_nobody_is_let_in(served.a.address).await;
    assert!(!served.process.has_ended());
    go.send(true).unwrap();
    while let Some(done) = uploads.join_next().await {
        let (number, seen) = done.unwrap();
        assert!(matches!(seen, Seen::Answer(200, _)), "{number}: {seen:?}");
        let stored = store.read(&format!("a/slow-{number}")).await;
        assert!(stored == Some(pattern(150_000 + number)), "{number}: {:?} bytes", stored.map(|bytes| bytes.len()));
    }
    while let Some(done) = downloads.join_next().await {
        assert!(done.unwrap() == Seen::Answer(200, large.clone()), "a download is not whole");
    }
    let (mut served_quickly, mut turned_away) = (0, 0);
    while let Some(done) = others.join_next().await {
        for (key, length, seen) in done.unwrap() {
            let stored = store.read(&key).await;
            match seen {
                Seen::Answer(200, _) => {
                    served_quickly += 1;
                    assert!(stored == Some(pattern(length)), "{key} was acknowledged");
                }
                Seen::NoConnection | Seen::Nothing => {
                    turned_away += 1;
                    assert!(stored.is_none(), "{key} was stored without a word");
                }
                other => panic!("{key}: {other:?}"),
            }
        }
    }
    assert!(served_quickly > 0 && turned_away >= 6, "{served_quickly} served, {turned_away} turned away");
    assert_eq!(served.process.end().await.code(), Some(0), "{}", served.process.stderr.text());
    let log = served.process.stderr.text();
    assert!(log.contains("cut: 0") && log.contains("draining"), "{log}");
    let records = served.process.stdout.json();
    let aborted: Vec<_> = records.iter().filter(|record| record["outcome"] != "ok").collect();
    assert!(aborted.is_empty(), "{aborted:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_manager_is_told_when_it_serves_how_it_is_that_it_lives_and_that_it_ends() {
    let recorder = Recorder::start(Answer::ok()).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let setup = Setup::before(&recorder).limits("{ timeouts: { drain_delay: 2s, drain: 2h } }");
    let env = [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "400000")];
    let mut served = Served::start(&setup, "", &env).await;
    let mut said = Vec::new();
    let mut hear = |line: &str, times: usize| {
        while said.iter().filter(|said| *said == line).count() < times {
            let mut message = [0; 4096];
            let length = socket.recv(&mut message).unwrap_or_else(|error| panic!("{line}: {error}; heard {said:?}"));
            said.extend(String::from_utf8_lossy(&message[..length]).lines().map(str::to_owned));
        }
    };
    tokio::task::block_in_place(|| {
        hear("READY=1", 1);
        hear("STATUS=ready", 1);
        let begun = Instant::now();
        hear("WATCHDOG=1", 4);
        assert!(begun.elapsed() < Duration::from_secs(10), "fed too seldom: {:?}", begun.elapsed());
    });
    served.process.signal("HUP");
    tokio::task::block_in_place(|| {
        hear("RELOADING=1", 1);
        hear("READY=1", 2);
    });
    served.process.signal("TERM");
    tokio::task::block_in_place(|| {
        hear("STOPPING=1", 1);
        hear("STATUS=shutting down", 1);
        // Delay, drain, objects that wait to be copied, records of the audit, and some more: more microseconds than 32 bits can say.
        hear("EXTEND_TIMEOUT_USEC=7232000000", 1);
    });
    let reloading = said.iter().position(|said| said == "RELOADING=1").unwrap();
    assert!(said[reloading + 1].starts_with("MONOTONIC_USEC="), "{said:?}");
    assert_eq!(served.process.end().await.code(), Some(0));
}

/// `systemd-socket-activate` listens, and starts the program at the first connection.
fn activated(
    listen: &[&str],
    configuration: &str,
    recorder_setup: &Setup,
    hash: &str,
) -> Option<(Process, tempfile::TempDir)> {
    let program = "/usr/bin/systemd-socket-activate";
    if !Path::new(program).exists() {
        missing("systemd-socket-activate");
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("countersign.yaml");
    super::support::certs::write(&file, configuration);
    let mut command = Command::new(program);
    for address in listen {
        command.args(["-l", address]);
    }
    let env = [("ACCESS", &*recorder_setup.access_key), ("SECRET", &*recorder_setup.secret_key), ("HASH_A", hash)];
    let keys = super::support::gateway::KEY_SECRETS;
    let (_, other) = countersign::auth::app_token::generate();
    for (name, value) in env.into_iter().chain([("HASH_B", other.as_str())]).chain(keys) {
        command.arg("-E").arg(format!("{name}={value}"));
    }
    command.arg(env!("CARGO_BIN_EXE_countersign")).args(["serve", "--config", file.to_str().unwrap()]);
    Some((Process::spawn(command), folder))
}

#[tokio::test]
async fn sockets_that_the_service_manager_has_bound_are_served_and_a_request_waits_for_the_start() {
    let recorder = Recorder::start(Answer::ok()).await;
    let lasting = Lasting::new(Setup::before(&recorder));
    let listen = lasting.address.to_string();
    let Some((mut process, _folder)) = activated(&[&listen], lasting.configuration(), lasting.setup(), lasting.hash())
    else {
        return;
    };
    eventually("systemd-socket-activate listens", || std::net::TcpStream::connect(lasting.address).is_ok()).await;
    // The program is started by the connection just made, and cannot bind the address a second time.
    let answer = lasting.client().get("/bkt/a/x").await;
    assert_eq!(answer.status, 200, "{}", process.stderr.text());
    process.signal("TERM");
    assert_eq!(process.end().await.code(), Some(0), "{}", process.stderr.text());
}

#[tokio::test]
async fn a_socket_that_no_listener_names_ends_the_start() {
    let recorder = Recorder::start(Answer::ok()).await;
    let lasting = Lasting::new(Setup::before(&recorder));
    let other = free_address().to_string();
    let Some((mut process, _folder)) = activated(&[&other], lasting.configuration(), lasting.setup(), lasting.hash())
    else {
        return;
    };
    eventually("systemd-socket-activate listens", || std::net::TcpStream::connect(&other).is_ok()).await;
    assert_eq!(process.end().await.code(), Some(1));
    let said = process.stderr.text();
    assert!(said.contains("no listener of the configuration names") && said.contains(&other), "{said}");
}

#[tokio::test]
async fn the_log_begins_with_what_runs_here_and_what_is_risky() {
    let recorder = Recorder::start(Answer::ok()).await;
    let rules = "\n  - { name: all, who: anyone, where: bkt/a/, what: [read, write] }";
    let setup = Setup::before(&recorder).rules(rules);
    let served = Served::start(&setup, "", &[]).await;
    let events = served.process.stderr.json();
    let message = |event: &serde_json::Value| event["message"].as_str().unwrap_or_default().to_owned();
    let version = format!("countersign {}", env!("CARGO_PKG_VERSION"));
    assert!(events.iter().any(|event| message(event).starts_with(&version)), "{events:?}");
    let risk = events.iter().find(|event| event["key"] == "rules[all].who").expect("the risk is told");
    assert_eq!((risk["level"].as_str(), message(risk).starts_with("risk: ")), (Some("WARN"), true), "{risk}");
}

fn parts_of(number: usize) -> [Vec<u8>; 2] {
    [pattern((5 << 20) + number), pattern(1000 + number)]
}

/// Begins an upload in parts at one client, sends its parts to others in turn, and gives its id and the list to complete it with.
async fn upload_parts(clients: &[Client], key: &str, parts: &[Vec<u8>]) -> (String, String) {
    let created = clients[0].send("POST", &format!("/bkt/{key}?uploads"), &[], "").await;
    assert_eq!(created.status, 200, "{}", created.text());
    let id = created.element("UploadId");
    let mut list = String::new();
    for ((number, part), client) in (1..).zip(parts).zip(clients.iter().cycle().skip(1)) {
        let put = client.put(&format!("/bkt/{key}?partNumber={number}&uploadId={id}"), &[], part.clone()).await;
        assert_eq!(put.status, 200, "{number}: {}", put.text());
        list.push_str(&format!("<Part><PartNumber>{number}</PartNumber><ETag>{}</ETag></Part>", put.header("etag")));
    }
    (id, format!("<CompleteMultipartUpload>{list}</CompleteMultipartUpload>"))
}

async fn complete(client: &Client, key: &str, id: &str, list: &str) -> Response {
    client.send("POST", &format!("/bkt/{key}?uploadId={id}"), &[], list.to_owned()).await
}

#[tokio::test]
async fn after_kill_9_the_store_has_nothing_half_and_retries_at_the_restarted_gateway_succeed() {
    const UPLOADS: usize = 40;
    const STAGED: usize = 4;
    let Some(store) = Store::get(StoreKind::SeaweedFs).await else { return };
    let rules = "
  - { name: plain, who: { tokens: [a] }, where: bkt/a/, what: [read, write] }
  - { name: staged, who: { tokens: [a] }, where: bkt/staged/, what: [read, write], inspect: { with: [words] } }";
    let inspectors = "inspectors: { words: { patterns: { literals: { word: nobody-has-this-word } } } }";
    let lasting = Lasting::new(store.setup().rules(rules).top(inspectors));
    let mut served = lasting.start().await;
    let client = lasting.client();
    let old = pattern(30_000);
    for number in 0..UPLOADS / 2 {
        store.put(&format!("a/{number}"), &old).await;
    }
    let mut staged = Vec::new();
    for number in 0..STAGED {
        let clients = [client.clone()];
        staged.push(upload_parts(&clients, &format!("staged/{number}"), &parts_of(number)).await);
    }
    let (_go, going) = watch::channel(false);
    let mut uploads = JoinSet::new();
    for number in 0..UPLOADS {
        let (client, going) = (client.clone(), going.clone());
        uploads.spawn(
            async move { send(&client, "PUT", &format!("a/{number}"), &pattern(200_000 + number), going).await },
        );
    }
    until_in_flight(&served, UPLOADS).await;
    let first_done = Arc::new(Notify::new());
    let mut completes = JoinSet::new();
    for (number, (id, list)) in staged.iter().enumerate() {
        let target = format!("staged/{number}?uploadId={id}");
        let (client, list, first_done) = (client.clone(), list.clone(), Arc::clone(&first_done));
        completes.spawn(async move {
            drop(send(&client, "POST", &target, list.as_bytes(), at_once()).await);
            first_done.notify_one();
        });
    }
    // In the middle of the others.
    tokio::time::timeout(DEADLINE, first_done.notified()).await.unwrap();
    served.process.signal("KILL");
    assert_eq!(served.process.end().await.code(), None);
    uploads.shutdown().await;
    completes.shutdown().await;

    for number in 0..UPLOADS {
        let expected = (number < UPLOADS / 2).then(|| old.clone());
        assert!(store.read(&format!("a/{number}")).await == expected, "a/{number} is neither old nor absent");
    }
    for number in 0..STAGED {
        let found = store.read(&format!("staged/{number}")).await;
        assert!(found.is_none() || found == Some(parts_of(number).concat()), "staged/{number} is half");
    }
    let served = lasting.start().await;
    for number in 0..UPLOADS {
        let (key, body) = (format!("a/{number}"), pattern(200_000 + number));
        assert_eq!(client.put(&format!("/bkt/{key}"), &[], body.clone()).await.status, 200);
        assert!(store.read(&key).await == Some(body), "{key}");
    }
    for (number, (id, list)) in staged.iter().enumerate() {
        let key = format!("staged/{number}");
        let answer = complete(&client, &key, id, list).await;
        let text = answer.text();
        let done = answer.status == 200 && text.contains("CompleteMultipartUploadResult");
        // It was completed, and the answer was lost: nobody remembers the id, and the object is there.
        let was_done = text.contains("NoSuchUpload");
        assert!(done || was_done, "{key}: {} {text}", answer.status);
        assert!(store.read(&key).await == Some(parts_of(number).concat()), "{key} after {text}");
    }
    drop(served);
}

/// haproxy with the configuration of `deploy/`, before two gateways; but it tries nothing twice, so that only what it is told in time keeps
/// requests from failing.
fn haproxy(gateways: [&Lasting; 2], folder: &Path) -> Option<(Server, SocketAddr)> {
    if !Path::new("/usr/sbin/haproxy").exists() {
        missing("haproxy");
        return None;
    }
    let front = free_address();
    let [one, two] = gateways;
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/haproxy/haproxy.cfg");
    let mut configuration = std::fs::read_to_string(file).unwrap();
    for (line, replaced) in [
        ("retries 3", "retries 0"),
        ("retry-on conn-failure", "retry-on none"),
        ("option redispatch 1", "no option redispatch"),
    ] {
        assert!(configuration.contains(line), "{line}");
        configuration = configuration.replace(line, replaced);
    }
    let file = folder.join("haproxy.cfg");
    std::fs::write(&file, configuration).unwrap();
    let mut arguments = Vec::new();
    for (name, value) in [
        ("FRONT", front),
        ("GATEWAY_1", one.address),
        ("GATEWAY_1_ADMIN", one.admin),
        ("GATEWAY_2", two.address),
        ("GATEWAY_2_ADMIN", two.admin),
    ] {
        arguments.push(format!("{name}={value}"));
    }
    arguments.extend(["/usr/sbin/haproxy", "-db", "-f"].map(str::to_owned));
    arguments.push(file.to_str().unwrap().to_owned());
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Some((Server::start(folder, "env", &arguments), front))
}

/// Uploads and reads back through an address until told to stop. Every failure is told.
async fn keep_working(client: Client, who: usize, over: Arc<AtomicBool>, done: Arc<AtomicU64>) -> Vec<String> {
    let mut complaints = Vec::new();
    for number in 0_usize.. {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let (key, body) = (format!("a/roll-{who}-{number}"), pattern(40_000 + number));
        for (method, sent, expected) in [("PUT", &body[..], &[][..]), ("GET", &[], &body[..])] {
            let seen = send(&client, method, &key, sent, at_once()).await;
            if seen != Seen::Answer(200, expected.to_vec()) {
                let brief = match seen {
                    Seen::Answer(status, body) => {
                        format!("{status} {}", String::from_utf8_lossy(&body[..body.len().min(300)]))
                    }
                    other => format!("{other:?}"),
                };
                complaints.push(format!("{method} {key}: {brief}"));
            }
        }
        done.fetch_add(1, Ordering::Relaxed);
    }
    complaints
}

#[tokio::test]
async fn two_gateways_behind_haproxy_are_restarted_in_turn_and_no_request_fails() {
    let Some(store) = Store::get(StoreKind::SeaweedFs).await else { return };
    let issuer = OwnIssuer::start().await;
    let rules = "
  - { name: a, who: { tokens: [a] }, where: bkt/a/, what: [read, write] }
  - { name: home, who: { issuers: [own] }, where: \"bkt/home/{sub}/\", what: [read, write] }";
    let setup = store
        .setup()
        .rules(rules)
        .issuers(&issuer.entry())
        .top("sts: { enabled: true, keys: [{ id: one, secret: env:SESSION_KEY }] }")
        .limits("{ timeouts: { drain_delay: 4s } }");
    let one = Lasting::new(setup).env("SESSION_KEY", "a-secret-of-more-than-32-characters-for-tests");
    let two = one.sibling();
    let folder = tempfile::tempdir().unwrap();
    let mut running = [one.start().await, two.start().await];
    let Some((proxy, front)) = haproxy([&one, &two], folder.path()) else { return };
    let client = one.client_at(front);
    let begun = Instant::now();
    while send(&client, "PUT", "a/first", b"first", at_once()).await != Seen::Answer(200, Vec::new()) {
        let log = std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
        assert!(begun.elapsed() < DEADLINE && proxy.is_alive(), "{log}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    let (over, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut workers = JoinSet::new();
    for who in 0..6 {
        workers.spawn(keep_working(client.clone(), who, Arc::clone(&over), Arc::clone(&done)));
    }
    // Begun at one, continued at both, completed at the other.
    let parts = parts_of(7);
    let (id, list) = upload_parts(&[one.client(), two.client()], "a/in-parts", &parts).await;
    let keys = session(&one, &issuer).await;

    for (number, gateway) in [&one, &two].into_iter().enumerate() {
        running[number].process.signal("TERM");
        assert_eq!(running[number].process.end().await.code(), Some(0), "{}", running[number].process.stderr.text());
        running[number] = gateway.start().await;
        let restarted = &running[number];
        let serves = || restarted.process.stdout.text().contains("a/roll-");
        eventually("the restarted gateway gets requests", serves).await;
    }
    let completed = complete(&two.client(), "a/in-parts", &id, &list).await;
    assert!(completed.text().contains("CompleteMultipartUploadResult"), "{}", completed.text());
    assert!(store.read("a/in-parts").await == Some(parts.concat()));
    for address in [one.address, two.address, front] {
        let session = SignedClient { address, ..keys.clone() };
        let put = session.ask("PUT", "/bkt/home/somebody/x", &[], b"mine").await;
        assert_eq!(put.status, 200, "a session of one gateway, before two restarts: {}", put.text());
    }

    over.store(true, Ordering::Relaxed);
    let mut complaints = Vec::new();
    while let Some(worker) = workers.join_next().await {
        complaints.extend(worker.unwrap());
    }
    let done = done.load(Ordering::Relaxed);
    assert!(complaints.is_empty() && done > 50, "{done} uploads, {}: {complaints:#?}", complaints.len());
}

/// Keys of a session that one gateway gave out.
async fn session(gateway: &Lasting, issuer: &OwnIssuer) -> SignedClient {
    let begun = Instant::now();
    while gateway.ask_admin("/readyz").await.status != 200 {
        assert!(begun.elapsed() < DEADLINE, "not ready");
    }
    let token = issuer.token(OwnIssuer::claims().to_string());
    let target = format!(
        "/?Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A000000000000%3Arole%2Fs3&RoleSessionName=pod-1&WebIdentityToken={token}"
    );
    let answer = gateway.client().send_plain("GET", &target, &[], "").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let element = |name| answer.element(name);
    let keys = SignedClient::new(gateway.address, &element("AccessKeyId"), &element("SecretAccessKey"));
    SignedClient { session_token: Some(element("SessionToken")), ..keys }
}

#[test]
fn the_outcome_of_a_request_is_read_from_its_bytes() {
    assert_eq!(Seen::of(b""), Seen::Nothing);
    assert_eq!(Seen::of(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"), Seen::Answer(200, b"ok".to_vec()));
    assert!(matches!(Seen::of(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok"), Seen::Half(_)));
    assert!(matches!(Seen::of(b"HTTP/1.1 200 OK\r\nconte"), Seen::Half(_)));
}

//! Many bad clients at once: slow ones, ones that send heads beyond every measure, ones that leave. What it costs the gateway, and what a
//! good client sees of it. The figures are in `docs/THREATS.md`; floods of HTTP/2 are in `http2_abuse.rs`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::hostile::Wire;
use super::support::field::Field;
use super::support::recorder::response;
use super::support::{Answer, Recorder, Setup, eventually, raw};

const MIB: u64 = 1 << 20;

/// TLS connections, so many at a time that the machine is not the bottleneck.
async fn connections(field: &Field, count: usize) -> Vec<TlsStream<TcpStream>> {
    let connector = TlsConnector::from(Arc::new(field.authority.client(&["http/1.1"])));
    let mut open = Vec::new();
    while open.len() < count {
        let mut some = JoinSet::new();
        for _ in 0..(count - open.len()).min(50) {
            let (connector, address) = (connector.clone(), field.served.a.address);
            some.spawn(async move {
                let stream = TcpStream::connect(address).await.unwrap();
                connector.connect(ServerName::try_from("127.0.0.1").unwrap(), stream).await.unwrap()
            });
        }
        open.extend(some.join_all().await);
    }
    open
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k13_two_thousand_slow_connections_do_not_stop_a_good_client() {
    let large = Answer::Bytes(response(200, "etag: \"e\"\r\n", &"x".repeat(3 << 20)));
    let answer = Answer::Where("/a/large ", Box::new(large), Box::new(Answer::ok()));
    let limits = "{ timeouts: { handshake: 8s, head: 8s, body_idle: 8s }, body_rate_window: 8s }";
    let field = Field::with(answer, |setup| setup.limits(limits)).await;
    let descriptors = field.descriptors();
    let token = &field.served.a.token;
    let mut held: Vec<Box<dyn std::any::Any + Send>> = Vec::new();
    let report = field
        .under("2,000 slow connections: handshakes, heads, bodies, readers", async {
            for n in 0..800 {
                let mut stream = TcpStream::connect(field.served.a.address).await.unwrap();
                if n % 2 == 0 {
                    stream.write_all(b"\x16\x03\x01\x02\x00\x01").await.unwrap();
                }
                held.push(Box::new(stream));
            }
            for (n, mut stream) in connections(&field, 1200).await.into_iter().enumerate() {
                let request = match n % 8 {
                    0 | 4 | 5 => String::new(),
                    1 | 6 => "GET /bkt/a/x HTTP/1.1\r\nhos".to_owned(),
                    2 | 7 => format!("PUT /bkt/a/x HTTP/1.1\r\nhost: gw\r\nauthorization: Bearer {token}\r\ncontent-length: 1000000\r\n\r\nx"),
                    _ => format!("GET /bkt/a/large HTTP/1.1\r\nhost: gw\r\nauthorization: Bearer {token}\r\n\r\n"),
                };
                // Some were cut by then.
                let _may_be_cut = stream.write_all(request.as_bytes()).await;
                let _may_be_cut = stream.flush().await;
                held.push(Box::new(stream));
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
        })
        .await;
    // All are cut by the gateway; its descriptors come back though no client has closed anything.
    let start = Instant::now();
    while field.descriptors() > descriptors + 20 {
        assert!(start.elapsed() < Duration::from_secs(40), "{} descriptors", field.descriptors());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    eventually("the store is free again", || field.recorder.open() <= 20).await;
    report.costs_at_most(400 * MIB);
    drop(held);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k22_clients_that_leave_again_and_again_leave_nothing_behind() {
    const ROUNDS: usize = 1000;
    let part = "x".repeat(200_000);
    let long = Answer::Bytes(format!("HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n{part}"));
    let silent = Answer::Where("/a/silent ", Box::new(Answer::Silence), Box::new(Answer::ok()));
    let answer = Answer::Where("/a/long ", Box::new(long), Box::new(silent));
    let field = Field::with(answer, |setup| setup.upstream("max_connections: 8")).await;
    let token = &field.served.a.token;
    let head = |line: &str| format!("{line} HTTP/1.1\r\nhost: gw\r\nauthorization: Bearer {token}\r\n");
    let kinds = [
        head("PUT /bkt/a/x") + "content-length: 10000000\r\n\r\n" + &part,
        head("PUT /bkt/a/silent") + "content-length: 5\r\n\r\nhello",
        head("GET /bkt/a/silent") + "\r\n",
        head("GET /bkt/a/long") + "\r\n",
        head("GET /bkt/a/x") + "x-amz-me",
    ];
    // Once round, so that every pool and buffer is there.
    leave(&field, &kinds, 50).await;
    let (descriptors, resident) = (field.descriptors(), field.kib("VmRSS"));
    let report = field
        .under(&format!("{ROUNDS} clients that leave in the middle"), async {
            leave(&field, &kinds, ROUNDS).await;
        })
        .await;
    eventually("descriptors come back", || field.descriptors() <= descriptors + 8).await;
    eventually("the store is free again", || field.recorder.open() <= 8).await;
    let grown = field.kib("VmRSS").saturating_sub(resident);
    assert!(grown < 16 * 1024, "{grown} KiB more than before");
    report.costs_at_most(32 * MIB);
    let left = field.recorder.requests().iter().filter(|request| request.head.starts_with("PUT /up-bkt/a/x ")).count();
    assert!(left > 0, "uploads had begun");
    assert!(
        !field.recorder.requests().iter().any(|request| request.complete && request.head.contains("PUT /up-bkt/a/x "))
    );
}

async fn leave(field: &Field, kinds: &[String], rounds: usize) {
    for batch in 0..rounds / 25 {
        let mut streams = connections(field, 25).await;
        for (n, stream) in streams.iter_mut().enumerate() {
            let _may_be_cut = stream.write_all(kinds[n % kinds.len()].as_bytes()).await;
            let _may_be_cut = stream.flush().await;
        }
        // Some leave before the gateway has read, some after it has answered.
        if batch % 2 == 0 {
            let mut first = [0; 1];
            let answered = tokio::time::timeout(Duration::from_millis(100), streams[3].read(&mut first)).await;
            drop(answered);
        }
        for stream in streams {
            if batch % 3 == 0 {
                socket2::SockRef::from(stream.get_ref().0).set_linger(Some(Duration::ZERO)).unwrap();
            }
            drop(stream);
        }
    }
}

#[tokio::test]
async fn k15_heads_beyond_every_measure_are_refused_at_once() {
    let wire = Wire::start().await;
    let lines = |count: usize, line: &dyn Fn(usize) -> String| (0..count).map(line).collect::<String>();
    let query = |count: usize| lines(count, &|n| format!("&p{n}=1"));
    for (name, line, fields, statuses) in [
        ("101 fields", "GET /bkt/a/x".to_owned(), lines(101, &|n| format!("x-{n}: y\r\n")), [431, 431]),
        ("one field of 64 KB", "GET /bkt/a/x".to_owned(), format!("x: {}\r\n", "y".repeat(64_000)), [431, 431]),
        (
            "a head of 1 MB",
            "GET /bkt/a/x".to_owned(),
            lines(10_000, &|n| format!("x-{n}: {}\r\n", "y".repeat(90))),
            [431, 431],
        ),
        (
            "10,000 fields of metadata",
            "PUT /bkt/a/x".to_owned(),
            lines(10_000, &|n| format!("x-amz-meta-{n}: y\r\n")),
            [431, 431],
        ),
        ("a target of 16 KB", format!("GET /bkt/a/{}", "x".repeat(16_000)), String::new(), [414, 414]),
        ("a target of 1 MB", format!("GET /bkt/a/{}", "x".repeat(1_000_000)), String::new(), [431, 414]),
        ("10,000 parameters", format!("GET /bkt/a/x?{}", &query(10_000)[1..]), String::new(), [431, 414]),
        ("700 parameters", format!("GET /bkt/a/x?{}", &query(700)[1..]), String::new(), [400, 400]),
        (
            "90 fields of metadata over 2 KB",
            "PUT /bkt/a/x".to_owned(),
            lines(90, &|n| format!("x-amz-meta-{n}: {}\r\n", "y".repeat(30))),
            [400, 400],
        ),
    ] {
        let start = Instant::now();
        let reply = wire.once(&line, &format!("content-length: 0\r\n{fields}")).await;
        assert!(statuses.contains(&reply.status), "{name}: {reply:?}");
        assert!(start.elapsed() < Duration::from_secs(5), "{name}: {:?}", start.elapsed());
    }
    assert!(wire.recorder.is_silent());
}

#[tokio::test]
async fn k08_chunk_extensions_are_bounded() {
    let wire = Wire::start().await;
    let head = wire.head("PUT /bkt/a/x", "transfer-encoding: chunked\r\n");
    let many = "1;x\r\na\r\n".repeat(1_000_000) + "0\r\n\r\n";
    let one = format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(16 << 20));
    let quoted = "1;x=\"\r\n\"\r\na\r\n0\r\n\r\n".to_owned();
    for (name, body) in [("a million of one byte", many), ("one of 16 MB", one), ("one with a line end", quoted)] {
        let (mut reader, mut writer) = TcpStream::connect(wire.gateway.address).await.unwrap().into_split();
        let request = head.clone() + &body;
        let writing = tokio::spawn(async move {
            let _may_be_cut = writer.write_all(request.as_bytes()).await;
            let _may_be_cut = writer.shutdown().await;
            writer
        });
        let answer = raw::read_answer(&mut reader).await;
        writing.abort();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{name}: {answer}");
        assert!(wire.recorder.nothing_committed(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h16_bytes_that_come_one_by_one_cost_little_and_arrive_whole() {
    const COUNT: usize = 300_000;
    let field = Field::start(Answer::ok()).await;
    let token = &field.served.a.token;
    let report = field
        .under("an upload in 300,000 HTTP chunks of one byte", async {
            let mut stream = connections(&field, 1).await.pop().unwrap();
            let head = format!("PUT /bkt/a/x HTTP/1.1\r\nhost: gw\r\nauthorization: Bearer {token}\r\ntransfer-encoding: chunked\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.write_all("1\r\na\r\n".repeat(COUNT).as_bytes()).await.unwrap();
            stream.write_all(b"0\r\n\r\n").await.unwrap();
            stream.flush().await.unwrap();
            assert_eq!(raw::status(&raw::read_answer(&mut stream).await), 200);
        })
        .await;
    let stored = field.recorder.requests().into_iter().find(|request| request.head.starts_with("PUT")).unwrap();
    assert!(stored.complete && stored.body == vec![b'a'; COUNT], "{}", stored.head);
    report.costs_at_most(24 * MIB);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a10_wrong_credentials_by_the_thousand_do_not_stop_a_good_client() {
    let field = Field::start(Answer::ok()).await;
    let report = field
        .under("20,000 requests with wrong tokens on 20 connections", async {
            let mut all = JoinSet::new();
            for mut stream in connections(&field, 20).await {
                all.spawn(async move {
                    let one = "GET /bkt/a/x HTTP/1.1\r\nhost: gw\r\nauthorization: Bearer csn_wrong\r\n\r\n";
                    let (mut read, mut write) = tokio::io::split(&mut stream);
                    let reading = async {
                        let (mut seen, mut buffer) = (0, vec![0; 64 * 1024]);
                        while seen < 1000 {
                            let length = read.read(&mut buffer).await.unwrap();
                            assert!(length > 0, "the connection goes on");
                            seen += String::from_utf8_lossy(&buffer[..length]).matches("</Error>").count();
                        }
                    };
                    let writing = async {
                        for _ in 0..100 {
                            write.write_all(one.repeat(10).as_bytes()).await.unwrap();
                            write.flush().await.unwrap();
                        }
                    };
                    tokio::join!(reading, writing);
                });
            }
            all.join_all().await;
        })
        .await;
    assert!(field.recorder.requests().iter().all(|request| request.head.contains("/b/good ")));
    report.costs_at_most(24 * MIB);
}

#[tokio::test]
async fn e12_no_name_writes_a_line_of_its_own_into_log_or_audit() {
    let recorder = Recorder::start(Answer::error(500, "InternalError")).await;
    let served =
        super::support::process::Served::start(&Setup::before(&recorder), "log: { level: trace, format: json }\n", &[])
            .await;
    let keys = [
        "a/%0a2026-01-01T00:00:00Z%20INFO%20admin%20logged%20in",
        "a/%0d%0a%7B%22outcome%22:%22ok%22%7D",
        "a/%1b[2J",
        "a/$(reboot)",
        "a/%7B%22x%22:",
        "a/%22,%22principal%22:%22root%22,%22",
        "a/%e2%80%ae",
        "a/%c2%85x",
        &format!("a/{}", "x".repeat(1000)),
    ];
    let buckets = ["%0aINFO%20admin", "x%22,%22rule%22:%22all"];
    let paths = keys.iter().map(|key| format!("/bkt/{key}")).chain(buckets.iter().map(|name| format!("/{name}/k")));
    let mut count = 0;
    for path in paths {
        let query = ["", "?x=%0aINFO", "?%0aINFO=x"];
        for target in query.map(|query| format!("{path}{query}")) {
            served.a.get(&target).await;
            count += 1;
        }
    }
    // `records` reads every line as JSON of its own.
    let records = served.records(count).await;
    assert_eq!(records.len(), count);
    assert!(records.iter().all(|record| record["principal"] == "token:a"), "no field is overwritten");
    let log = served.process.stderr.text();
    for line in log.lines() {
        let entry: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        assert!(entry["level"].is_string() && !line.contains('\u{1b}'), "{line:?}");
    }
    let metrics = served.ask_admin("/metrics").await.text();
    assert!(["reboot", "logged", "INFO", "rule\""].iter().all(|of_a_name| !metrics.contains(of_a_name)), "{metrics}");
}

//! L10: audit records reach every sink, whatever becomes of disks and servers, and what is lost is counted.
//!
//! The program as it is installed, a receiver of Python's standard library, rsyslog, and a TLS server of this file.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::support::certs::{Authority, Identity};
use super::support::clamd::{Server, free_port};
use super::support::process::Served;
use super::support::store::missing;
use super::support::{Answer, Recorder, Setup, eventually};

/// A server for batches; see the script.
struct Receiver {
    folder: tempfile::TempDir,
    port: u16,
    server: Option<Server>,
}

impl Receiver {
    /// One that is not there yet.
    fn down() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), port: free_port(), server: None }
    }

    async fn up(&mut self, words: &[&str]) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers/log_receiver.py");
        let (port, file) = (self.port.to_string(), self.file());
        let mut arguments = vec![script.to_str().unwrap(), &port, file.to_str().unwrap()];
        arguments.extend(words);
        self.server = None;
        self.server = Some(Server::start(self.folder.path(), "/usr/bin/python3", &arguments));
        let port = self.port;
        eventually("it listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()).await;
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("taken")
    }

    fn sink(&self, more: &str) -> String {
        let port = self.port;
        format!(
            "{{ http: {{ url: \"http://127.0.0.1:{port}/in\", batch: 10, batch_wait: 20ms, timeout: 500ms }}{more} }}"
        )
    }

    /// The ids of the records that it has taken.
    fn ids(&self) -> Vec<String> {
        ids(&std::fs::read_to_string(self.file()).unwrap_or_default())
    }
}

fn ids(lines: &str) -> Vec<String> {
    let id = |line: &str| {
        let record: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        record["request_id"].as_str().unwrap().to_owned()
    };
    lines.lines().map(id).collect()
}

/// A gateway before a store that takes everything, with such sinks.
async fn serve(sinks: &str) -> (Recorder, Served) {
    let recorder = Recorder::start(Answer::ok()).await;
    let served = Served::start(&Setup::before(&recorder), &format!("audit: {sinks}\n"), &[]).await;
    (recorder, served)
}

async fn count_of(served: &Served, metric: &str) -> u64 {
    let text = served.ask_admin("/metrics").await.text();
    let line = text.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(' ').map(str::to_owned));
    line.unwrap_or_else(|| panic!("{metric} is not in {text}")).parse().unwrap()
}

/// Ends it and waits for what it still writes.
async fn end(served: &mut Served) {
    served.process.signal("TERM");
    assert_eq!(served.process.end().await.code(), Some(0), "{}", served.process.stderr.text());
}

#[tokio::test]
async fn l10_a_server_that_fails_hangs_and_answers_garbage_costs_no_record() {
    let mut receiver = Receiver::down();
    receiver.up(&["503", "garbage", "hang", "302", "cut"]).await;
    let sinks = format!("{{ sinks: {{ logs: {} }} }}", receiver.sink(", when_full: block"));
    let (_recorder, mut served) = serve(&sinks).await;
    let mut sent = BTreeSet::new();
    for number in 0..60 {
        let put = served.a.put(&format!("/bkt/a/{number}"), &[], "body").await;
        assert_eq!(put.status, 200);
        sent.insert(put.header("x-amz-request-id").to_owned());
    }
    eventually("all records arrived", || receiver.ids().len() >= 60).await;
    assert_eq!(receiver.ids().into_iter().collect::<BTreeSet<_>>(), sent);
    assert_eq!(count_of(&served, "countersign_audit_records_dropped_total{sink=\"logs\"}").await, 0);
    assert_eq!(count_of(&served, "countersign_audit_delivery_failures_total{sink=\"logs\"}").await, 5);
    assert_eq!(count_of(&served, "countersign_audit_sink_failing{sink=\"logs\"}").await, 0);
    let heads = std::fs::read_to_string(receiver.file().with_extension("heads")).unwrap();
    assert!(heads.starts_with("/in application/x-ndjson None\n"), "{heads}");
    end(&mut served).await;
    assert!(served.process.stderr.text().contains("audit records cannot be written; trying again"));
}

#[tokio::test]
async fn l10_under_drop_a_server_that_is_down_costs_counted_records_and_no_request() {
    let receiver = Receiver::down();
    let sinks = format!("{{ sinks: {{ logs: {}, copy: {{ stdout: true }} }} }}", receiver.sink(", queue: 16"));
    let (_recorder, mut served) = serve(&sinks).await;
    for _ in 0..60 {
        assert_eq!(served.a.get("/bkt/a/x").await.status, 200);
    }
    assert_eq!(served.ask_admin("/readyz").await.status, 200);
    let lost = count_of(&served, "countersign_audit_records_dropped_total{sink=\"logs\"}").await;
    let kept = count_of(&served, "countersign_audit_records_queued{sink=\"logs\"}").await;
    assert!(lost >= 60 - 16 - 10 && lost + kept == 60, "{lost} lost, {kept} kept");
    served.records(60).await;
    end(&mut served).await;
    let log = served.process.stderr.text();
    assert!(log.contains("audit records lost") && log.contains("the process ends"), "{log}");
    assert_eq!(served.process.stdout.json().len(), 60, "the other sink has all of them");
}

#[tokio::test]
async fn l10_under_block_requests_wait_and_are_refused_before_anything_is_done_and_no_record_is_lost() {
    let mut receiver = Receiver::down();
    let sinks = format!("{{ wait: 300ms, sinks: {{ logs: {} }} }}", receiver.sink(", queue: 16, when_full: block"));
    let (recorder, mut served) = serve(&sinks).await;
    let mut answered = BTreeSet::new();
    for _ in 0..16 {
        let got = served.a.put("/bkt/a/x", &[], "body").await;
        assert_eq!(got.status, 200);
        answered.insert(got.header("x-amz-request-id").to_owned());
    }
    let asked = recorder.requests().len();
    let refused = served.a.put("/bkt/a/x", &[], "body").await;
    assert_eq!((refused.outcome(), refused.header("retry-after")), ((503, "ServiceUnavailable".to_owned()), "2"));
    assert_eq!(recorder.requests().len(), asked, "the store heard nothing of it");
    let ready = served.ask_admin("/readyz").await;
    assert_eq!(ready.status, 503);
    assert!(ready.text().contains("the audit sink `logs` has no room"), "{}", ready.text());
    assert_eq!(count_of(&served, "countersign_audit_records_dropped_total{sink=\"logs\"}").await, 1);
    receiver.up(&[]).await;
    eventually("the records arrive", || receiver.ids().len() >= 16).await;
    let again = served.a.put("/bkt/a/x", &[], "body").await;
    assert_eq!(again.status, 200);
    answered.insert(again.header("x-amz-request-id").to_owned());
    eventually("so does the last", || receiver.ids().len() >= 17).await;
    assert_eq!(receiver.ids().into_iter().collect::<BTreeSet<_>>(), answered);
    assert_eq!(served.ask_admin("/readyz").await.status, 200);
    end(&mut served).await;
}

#[tokio::test]
async fn l10_how_long_requests_wait_for_room_takes_effect_with_a_reload() {
    let receiver = Receiver::down();
    let sinks = format!("{{ wait: 1h, sinks: {{ logs: {} }} }}", receiver.sink(", queue: 16, when_full: block"));
    let (_recorder, served) = serve(&sinks).await;
    for _ in 0..16 {
        assert_eq!(served.a.get("/bkt/a/x").await.status, 200);
    }
    served.reconfigure("wait: 1h", "wait: 100ms").await;
    assert_eq!(served.a.get("/bkt/a/x").await.outcome(), (503, "ServiceUnavailable".to_owned()));
    assert!(!served.process.stderr.text().contains("wait for a restart"));
}

/// Forms of browsers, of whose bodies no byte comes.
#[tokio::test]
async fn a10_under_block_strangers_with_half_sent_forms_hold_no_place_of_the_audit() {
    let mut receiver = Receiver::down();
    receiver.up(&[]).await;
    let sinks = format!("{{ wait: 300ms, sinks: {{ logs: {} }} }}", receiver.sink(", queue: 16, when_full: block"));
    let (_recorder, mut served) = serve(&sinks).await;
    let mut strangers = Vec::new();
    for _ in 0..40 {
        let mut stream = tokio::net::TcpStream::connect(served.a.address).await.unwrap();
        let head = "POST /bkt HTTP/1.1\r\nhost: localhost\r\ncontent-type: multipart/form-data; boundary=x\r\ncontent-length: 500\r\n\r\n";
        tokio::io::AsyncWriteExt::write_all(&mut stream, head.as_bytes()).await.unwrap();
        strangers.push(stream);
    }
    // Fewer than there are places, because the sink may take them all together a moment later.
    for _ in 0..10 {
        assert_eq!(served.a.put("/bkt/a/x", &[], "body").await.status, 200);
        let ready = served.ask_admin("/readyz").await;
        assert_eq!(ready.status, 200, "{}", ready.text());
    }
    assert_eq!(count_of(&served, "countersign_audit_waits_total").await, 0, "nobody had to wait");
    drop(strangers);
    end(&mut served).await;
}

/// While the sink takes nothing too: records of strangers fill half of the queue, and no more.
#[tokio::test]
async fn a10_under_block_records_of_strangers_leave_half_of_the_queue_to_callers() {
    let receiver = Receiver::down();
    let sinks = format!("{{ wait: 300ms, sinks: {{ logs: {} }} }}", receiver.sink(", queue: 16, when_full: block"));
    let (_recorder, served) = serve(&sinks).await;
    let stranger = super::support::Client { address: served.a.address, token: "unknown".to_owned() };
    for _ in 0..40 {
        assert_ne!(stranger.get("/bkt/a/x").await.status, 200);
    }
    assert_eq!(served.ask_admin("/readyz").await.status, 200);
    for _ in 0..8 {
        assert_eq!(served.a.get("/bkt/a/x").await.status, 200);
    }
    assert_eq!(count_of(&served, "countersign_audit_records_dropped_total{sink=\"logs\"}").await, 32);
}

/// A preflight request is answered for nobody, and its record is kept like those of callers, or it is not answered.
#[tokio::test]
async fn l10_under_block_no_preflight_request_is_answered_without_a_record() {
    let mut receiver = Receiver::down();
    let sinks = format!("{{ wait: 300ms, sinks: {{ logs: {} }} }}", receiver.sink(", queue: 16, when_full: block"));
    let recorder = Recorder::start(Answer::ok()).await;
    let mut setup = Setup::before(&recorder);
    setup.bucket_settings = ", cors: [{ origins: https://app.example, methods: PUT }]".to_owned();
    let mut served = Served::start(&setup, &format!("audit: {sinks}\n"), &[]).await;
    let asked = [("origin", "https://app.example"), ("access-control-request-method", "PUT")];
    let (mut answered, mut refused) = (BTreeSet::new(), 0);
    for _ in 0..20 {
        let answer = served.a.send_plain("OPTIONS", "/bkt/a/x", &asked, "").await;
        match answer.status.as_u16() {
            200 => drop(answered.insert(answer.header("x-amz-request-id").to_owned())),
            503 => refused += 1,
            other => panic!("{other}"),
        }
    }
    assert_eq!((answered.len(), refused), (8, 12), "half of the queue is kept for callers");
    assert_eq!(served.ask_admin("/readyz").await.status, 200);
    let put = served.a.put("/bkt/a/x", &[], "body").await;
    assert_eq!(put.status, 200);
    answered.insert(put.header("x-amz-request-id").to_owned());
    receiver.up(&[]).await;
    eventually("the records arrive", || receiver.ids().len() >= 9).await;
    assert_eq!(receiver.ids().into_iter().collect::<BTreeSet<_>>(), answered);
    end(&mut served).await;
}

/// The text of a file and of all that were put aside from it, and how many these are.
fn rotated(folder: &Path) -> (String, usize) {
    let (mut text, mut aside) = (String::new(), 0);
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        aside += usize::from(path.file_name().unwrap() != "audit.jsonl");
        if path.extension().is_some_and(|extension| extension == "gz") {
            std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&bytes[..]), &mut text).unwrap();
        } else {
            text.push_str(&String::from_utf8(bytes).unwrap());
        }
    }
    (text, aside)
}

#[tokio::test]
async fn l10_files_that_are_put_aside_under_load_have_each_record_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let rotate = "rotate: { size: 64KiB, keep: 1000, compress: true }";
    let sinks = format!("{{ sinks: {{ disk: {{ file: {{ path: {}, {rotate} }} }} }} }}", path.display());
    let (_recorder, mut served) = serve(&sinks).await;
    let clients = (0..8).map(|_| {
        let client = served.a.clone();
        tokio::spawn(async move {
            let mut ids = Vec::new();
            for _ in 0..100 {
                let got = client.get("/bkt/a/x").await;
                assert_eq!(got.status, 200);
                ids.push(got.header("x-amz-request-id").to_owned());
            }
            ids
        })
    });
    let clients: Vec<_> = clients.collect();
    // What logrotate does meanwhile.
    eventually("the file has something", || path.metadata().is_ok_and(|file| file.len() > 0)).await;
    drop(std::fs::rename(&path, folder.path().join("audit.jsonl.old")));
    served.process.signal("HUP");
    let mut sent = Vec::new();
    for client in clients {
        sent.extend(client.await.unwrap());
    }
    end(&mut served).await;
    let (text, aside) = rotated(folder.path());
    let (mut written, mut sent) = (ids(&text), sent);
    written.sort();
    sent.sort();
    assert_eq!(written, sent);
    assert!(aside > 3, "{aside} files were put aside");
}

/// rsyslog with one input of each kind; it writes what it gets to a file.
async fn rsyslog(folder: &Path, port: u16) -> Option<Server> {
    if !Path::new("/usr/sbin/rsyslogd").exists() {
        missing("rsyslogd");
        return None;
    }
    let shown = folder.display();
    let conf = format!(
        "global(workDirectory=\"{shown}\")
module(load=\"imtcp\")
module(load=\"imudp\")
module(load=\"imuxsock\" SysSock.Use=\"off\")
input(type=\"imtcp\" address=\"127.0.0.1\" port=\"{port}\")
input(type=\"imudp\" address=\"127.0.0.1\" port=\"{port}\")
input(type=\"imuxsock\" socket=\"{shown}/log.sock\" useSpecialParser=\"off\" parseHostname=\"on\")
template(name=\"t\" type=\"string\" string=\"%inputname% %syslogfacility-text%.%syslogseverity-text% %app-name% %msgid% %msg%\\n\")
action(type=\"omfile\" file=\"{shown}/messages\" template=\"t\")
"
    );
    std::fs::write(folder.join("rsyslog.conf"), conf).unwrap();
    let (conf, pid) = (folder.join("rsyslog.conf"), folder.join("pid"));
    let arguments = ["-n", "-f", conf.to_str().unwrap(), "-i", pid.to_str().unwrap()];
    let server = Server::start(folder, "/usr/sbin/rsyslogd", &arguments);
    eventually("rsyslog listens", || {
        assert!(server.is_alive(), "{}", std::fs::read_to_string(folder.join("log")).unwrap());
        folder.join("log.sock").exists() && std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
    })
    .await;
    Some(server)
}

#[tokio::test]
async fn l10_rsyslog_gets_every_record_over_tcp_udp_and_its_socket() {
    let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
    let Some(_server) = rsyslog(folder.path(), port).await else { return };
    let sinks = format!(
        "{{ sinks: {{ tcp: {{ syslog: {{ address: \"tcp://127.0.0.1:{port}\", facility: local3 }} }},
    udp: {{ syslog: {{ address: \"udp://127.0.0.1:{port}\" }} }},
    local: {{ syslog: {{ address: \"unix:{}/log.sock\", facility: authpriv }} }} }} }}",
        folder.path().display()
    );
    let (_recorder, mut served) = serve(&sinks).await;
    for number in 0..20 {
        let status = served.a.get(&format!("/bkt/a/%0A%3C34%3E1%20%22x%22%20{number}")).await.status;
        assert!(status == 200 || status == 400, "{status}");
        assert_eq!(served.b.get("/bkt/a/x").await.status, 403);
    }
    let messages = || std::fs::read_to_string(folder.path().join("messages")).unwrap_or_default();
    eventually("every message is there", || messages().lines().count() >= 120).await;
    end(&mut served).await;
    let text = messages();
    assert_eq!(text.lines().count(), 120, "{text}");
    for (start, input) in [("imtcp local3.", "tcp"), ("imudp local0.", "udp"), ("imuxsock authpriv.", "local")] {
        let lines: Vec<_> = text.lines().filter_map(|line| line.strip_prefix(start)).collect();
        assert_eq!(lines.len(), 40, "{input}: {text}");
        assert_eq!(lines.iter().filter(|line| line.starts_with("notice countersign audit ")).count() % 20, 0);
        let json = lines.iter().map(|line| &line[line.find('{').unwrap()..]).collect::<Vec<_>>().join("\n");
        assert_eq!(ids(&json).into_iter().collect::<BTreeSet<_>>().len(), 40);
    }
}

/// A server of syslog over TLS, and what it was told.
async fn tls_server(identity: &Identity) -> (u16, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, acceptor) = (listener.local_addr().unwrap().port(), TlsAcceptor::from(Arc::new(identity.server())));
    let told = Arc::new(Mutex::new(Vec::new()));
    let all = Arc::clone(&told);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut piece = [0; 4096];
            while let Ok(length @ 1..) = stream.read(&mut piece).await {
                all.lock().unwrap().extend_from_slice(&piece[..length]);
            }
        }
    });
    (port, told)
}

/// Messages with the count of their octets before them (RFC 5425 §4.3); what is there in part is left out.
fn messages(mut bytes: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    while let Some(blank) = bytes.iter().position(|byte| *byte == b' ') {
        let length: usize = std::str::from_utf8(&bytes[..blank]).unwrap().parse().unwrap();
        let Some(message) = bytes.get(blank + 1..blank + 1 + length) else { break };
        found.push(String::from_utf8(message.to_vec()).unwrap());
        bytes = &bytes[blank + 1 + length..];
    }
    found
}

#[tokio::test]
async fn l10_syslog_over_tls_tells_every_record_to_the_server_that_it_trusts_and_nothing_to_another() {
    let (known, stranger) = (Authority::new(), Authority::new());
    let (port, told) = tls_server(&known.vouch_for(&["127.0.0.1"])).await;
    let (other_port, told_to_other) = tls_server(&stranger.vouch_for(&["127.0.0.1"])).await;
    let sink = |port: u16| {
        let ca = known.file();
        format!("{{ syslog: {{ address: \"tls://127.0.0.1:{port}\", ca_file: {} }} }}", ca.display())
    };
    let (_recorder, served) =
        serve(&format!("{{ sinks: {{ good: {}, bad: {} }} }}", sink(port), sink(other_port))).await;
    for _ in 0..20 {
        assert_eq!(served.a.get("/bkt/a/x").await.status, 200);
        assert_eq!(served.b.get("/bkt/a/x").await.status, 403);
    }
    eventually("every message is there", || messages(&told.lock().unwrap()).len() >= 40).await;
    let messages = messages(&told.lock().unwrap());
    assert!(messages.iter().all(|message| message.starts_with("<134>1 ") || message.starts_with("<133>1 ")));
    let json = messages.iter().map(|message| &message[message.find('{').unwrap()..]).collect::<Vec<_>>().join("\n");
    assert_eq!((messages.len(), ids(&json).into_iter().collect::<BTreeSet<_>>().len()), (40, 40));
    while count_of(&served, "countersign_audit_sink_failing{sink=\"bad\"}").await == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(told_to_other.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn l01_access_log_lines_have_no_signature_and_no_token() {
    let (_recorder, mut served) = serve("{ sinks: { log: { stdout: true, format: s3-server-access-log } } }").await;
    let agent = "curl/8 \"quoted\" \u{e9}";
    let target = "/bkt/a/x?versionId=3&X-Amz-Signature=deadbeef&X-Amz-Security-Token=s3cr3t";
    assert_eq!(
        served.a.send("GET", target, &[("user-agent", agent), ("referer", "http://p/?a b")], "").await.status,
        400
    );
    assert_eq!(served.a.get("/bkt/a/x").await.status, 200);
    end(&mut served).await;
    let text = served.process.stdout.text();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(!text.contains("deadbeef") && !text.contains("s3cr3t") && !text.contains("Bearer"), "{text}");
    assert!(lines[0].contains(" \"GET /bkt/a/x HTTP/1.1\" 400 InvalidArgument "), "{text}");
    assert!(lines[0].contains(" \"http://p/?a%20b\" \"curl/8 %22quoted%22 %C3%A9\" 3 "), "{text}");
    assert!(
        lines[1].contains(" token:a ") && lines[1].contains(" REST.GET.OBJECT a/x \"GET /bkt/a/x HTTP/1.1\" 200 - ")
    );
}

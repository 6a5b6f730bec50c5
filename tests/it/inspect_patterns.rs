//! Patterns and types of files through the gateway, and `countersign scan` on files: what lies packed in an object, what an archive bomb
//! costs, and files of two types.

use std::io::Write as _;
use std::process::Output;
use std::time::{Duration, Instant};

use countersign::audit::Record;
use countersign::auth::app_token;
use countersign::inspect::patterns::eicar;
use flate2::Compression;
use serde_json::Value;

use super::support::process::{run, run_on_a_terminal};
use super::support::{Answer, Gateway, Recorder, Setup, Store, StoreKind};

const INSPECTORS: &str = "inspectors:
  words: { patterns: { sets: [eicar, card-numbers], max_unpacked: 64MiB } }
  types: { file_type: { deny: [executables, encrypted-archives] } }";
const RULES: &str = "
  - { name: words, who: { tokens: [a] }, where: bkt/a/, what: [read, write, delete], inspect: { with: words } }
  - { name: types, who: { tokens: [a] }, where: bkt/b/, what: [read, write, delete], inspect: { with: types } }";

fn looking(setup: Setup) -> Setup {
    setup.rules(RULES).top(INSPECTORS)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A zip of one deflated entry; the flag 1 says that it is encrypted.
fn zip(name: &str, content: &[u8], flags: u8) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(content).unwrap();
    let packed = encoder.finish().unwrap();
    let sizes = [packed.len() as u32, content.len() as u32].map(u32::to_le_bytes).concat();
    let head = [&[20, 0, flags, 0, 8][..], &[0; 9], &sizes, &[name.len() as u8, 0, 0, 0]].concat();
    let local = [b"PK\x03\x04", &head[..], name.as_bytes(), &packed].concat();
    let directory = [b"PK\x01\x02\x14\0", &head[..], &[0; 14], name.as_bytes()].concat();
    let places = [directory.len() as u32, local.len() as u32].map(u32::to_le_bytes).concat();
    [&local[..], &directory, b"PK\x05\x06\0\0\0\0\x01\0\x01\0", &places, b"\0\0"].concat()
}

/// What the inspector said of the last upload.
async fn said(gateway: &Gateway, count: usize) -> (&'static str, String) {
    let Record { inspection, .. } = gateway.record(count).await;
    let finding = &inspection.unwrap()[0];
    (finding.verdict, finding.name.clone().or(finding.reason.clone()).unwrap_or_default())
}

#[tokio::test]
async fn h15_what_is_packed_in_an_object_is_found_and_leaves_nothing_behind() {
    let far = [&vec![b' '; 30 << 20][..], eicar().as_bytes()].concat();
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let gateway = looking(store.setup()).start().await;
        store.put("a/old", b"old").await;
        for (number, (what, encoding, object)) in [
            ("plain", None, eicar().into_bytes()),
            ("behind 30 MiB", None, far.clone()),
            ("gzip", None, gzip(eicar().as_bytes())),
            ("encoding", Some("gzip"), gzip(eicar().as_bytes())),
            ("zip", None, zip("a.txt", eicar().as_bytes(), 0)),
            ("zip in gzip", None, gzip(&zip("a.txt", eicar().as_bytes(), 0))),
        ]
        .into_iter()
        .enumerate()
        {
            let headers: Vec<(&str, &str)> = encoding.map(|coding| ("content-encoding", coding)).into_iter().collect();
            let answer = gateway.a.put("/bkt/a/old", &headers, object).await;
            assert_eq!(answer.outcome(), (403, "ContentRejected".to_owned()), "{kind:?} {what}");
            assert_eq!(said(&gateway, number + 1).await, ("matched", "eicar.test-file".to_owned()), "{kind:?} {what}");
        }
        assert_eq!(store.read("a/old").await.as_deref(), Some(&b"old"[..]), "{kind:?}");
        let clean = zip("a.txt", &far[..1 << 20], 0);
        assert_eq!(gateway.a.put("/bkt/a/new", &[], clean.clone()).await.status, 200, "{kind:?}");
        assert_eq!(store.keys("").await, ["a/new", "a/old"], "{kind:?}");
    }
}

#[tokio::test]
async fn h15_bombs_and_what_cannot_be_unpacked_are_refused_in_bounded_time() {
    let recorder = Recorder::start(Answer::ok()).await;
    let gateway = looking(Setup::before(&recorder)).start().await;
    let zeros = gzip(&vec![0; 32 << 20]);
    let headers = |coding: &'static str| if coding.is_empty() { vec![] } else { vec![("content-encoding", coding)] };
    for (number, (what, coding, object)) in [
        ("a bomb of 32 MiB in 32 KiB", "", zeros.clone()),
        ("the same as an encoding", "gzip", zeros.clone()),
        ("a bomb in an archive", "", zip("zeros.gz", &zeros, 0)),
        ("a bomb of many members", "", zeros.repeat(40)),
        ("encrypted", "", zip("a.txt", b"hello", 1)),
        ("too deep", "", gzip(&gzip(&gzip(b"hello")))),
        ("cut short", "", zip("a.txt", b"hello", 0)[..50].to_vec()),
        ("something behind", "", [zip("a.txt", b"hello", 0), zip("b.txt", b"hello", 0)].concat()),
        ("not known", "br", b"hello".to_vec()),
        ("not known", "zstd", b"hello".to_vec()),
        ("not known", "", b"7z\xbc\xaf\x27\x1c............".to_vec()),
    ]
    .into_iter()
    .enumerate()
    {
        let begun = Instant::now();
        let answer = gateway.a.put("/bkt/a/x", &headers(coding), object).await;
        assert_eq!(answer.outcome(), (403, "ContentNotScannable".to_owned()), "{what}");
        assert!(begun.elapsed() < Duration::from_secs(20), "{what}");
        assert_eq!(said(&gateway, number + 1).await.0, "not_scannable", "{what}");
    }
    assert!(recorder.nothing_committed());
}

#[tokio::test]
async fn h14_files_of_two_types_are_refused_and_so_is_what_is_denied() {
    let recorder = Recorder::start(Answer::ok()).await;
    let gateway = looking(Setup::before(&recorder)).start().await;
    let (gif, jar) = (b"GIF89a\x01\0\x01\0".to_vec(), zip("A.class", b"\xca\xfe\xba\xbe", 0));
    let wide: Vec<u8> = "\u{feff}<html><script>".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (number, (what, key, media_type, object)) in [
        ("polyglot.zip", "x.gif", "image/gif", [gif.clone(), vec![b'.'; 200_000], jar].concat()),
        ("polyglot.pdf", "x.gif", "image/gif", [&gif[..], b"\n%PDF-1.4\n"].concat()),
        ("polyglot.html", "x.png", "image/png", [&b"\x89PNG\r\n\x1a\n\0\0"[..], b"<html><script>"].concat()),
        ("not-declared.markup", "x.txt", "text/plain", wide),
        ("executables", "x.bin", "application/octet-stream", b"MZ\x90\0\x03".to_vec()),
        ("executables", "x.exe", "application/octet-stream", b"plain".to_vec()),
        ("encrypted-archives", "x.zip", "application/zip", zip("a.txt", b"hello", 1)),
        ("wrong-extension.image/gif", "x.jpg", "image/gif", gif.clone()),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = gateway.a.put(&format!("/bkt/b/{key}"), &[("content-type", media_type)], object).await;
        assert_eq!(answer.outcome(), (403, "ContentRejected".to_owned()), "{what}");
        assert_eq!(said(&gateway, number + 1).await, ("matched", format!("file_type.{what}")));
    }
    assert!(recorder.nothing_committed());
    let fitting = gateway.a.put("/bkt/b/x.gif", &[("content-type", "image/gif")], gif).await;
    assert_eq!(fitting.status, 200, "{}", fitting.text());
}

/// Files to scan, and a configuration.
struct Desk {
    folder: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let setup = looking(Setup::new("http://127.0.0.1:9", "id", "secret", "bucket"));
        let rule =
            "  - { name: lenient, who: anyone, where: bkt/c/, what: write, inspect: { with: words, matched: allow } }";
        let text = setup.text() + rule;
        std::fs::write(folder.path().join("gw.yaml"), text).unwrap();
        for (name, bytes) in [("bad.zip", zip("a.txt", eicar().as_bytes(), 0)), ("good.txt", b"hello".to_vec())] {
            std::fs::write(folder.path().join(name), bytes).unwrap();
        }
        Self { folder }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// The credentials that the configuration names.
    fn credentials() -> [(&'static str, String); 6] {
        let secret = "a-secret-that-opens-nothing-at-all-000000".to_owned();
        [
            ("ACCESS", "id".to_owned()),
            ("SECRET", secret.clone()),
            ("KEY_A", secret),
            ("KEY_B", "another-one-that-opens-nothing-at-all".to_owned()),
            ("HASH_A", app_token::generate().1),
            ("HASH_B", app_token::generate().1),
        ]
    }

    async fn scan(&self, arguments: &[&str]) -> Output {
        let (config, credentials) = (self.path("gw.yaml"), Self::credentials());
        let env = credentials.each_ref().map(|(name, value)| (*name, value.as_str()));
        run(&[&["scan", "--config", &config], arguments].concat(), &env).await
    }

    async fn scan_on_a_terminal(&self, arguments: &[&str]) -> Option<Output> {
        let (config, credentials) = (self.path("gw.yaml"), Self::credentials());
        let env = credentials.each_ref().map(|(name, value)| (*name, value.as_str()));
        run_on_a_terminal(&[&["scan", "--config", &config], arguments].concat(), &env).await
    }
}

#[tokio::test]
async fn scan_says_what_the_rule_would_do_with_files() {
    let desk = Desk::new();
    let (bad, good) = (desk.path("bad.zip"), desk.path("good.txt"));
    let text = |output: &Output| String::from_utf8_lossy(&output.stdout).into_owned();
    for (arguments, status, expected) in [
        (&["--rule", "words", &good][..], 0, "good.txt: clean, allowed\n  words: clean (5 bytes,"),
        (&["--rule", "words", &good, &bad], 1, "bad.zip: refused\n  words: matched eicar.test-file ("),
        (&["--rule", "lenient", &bad], 0, "bad.zip: allowed all the same\n"),
        (&["--inspector", "words", &bad], 1, "bad.zip: refused\n"),
        (
            &["--inspector", "types", "--type", "image/png", &good],
            1,
            "matched file_type.not-declared.of no such format",
        ),
        (&["--rule", "types", &good], 0, "good.txt: clean, allowed\n  types: clean"),
    ] {
        let output = desk.scan(arguments).await;
        assert_eq!(output.status.code(), Some(status), "{arguments:?} {output:?}");
        assert!(text(&output).contains(expected), "{arguments:?}: {}", text(&output));
        assert!(output.stderr.is_empty(), "no bar where there is no terminal: {output:?}");
    }
    let json = desk.scan(&["--rule", "words", "--json", &bad, &good]).await;
    let lines: Vec<Value> = text(&json).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!((&lines[0]["action"], &lines[0]["state"]), (&Value::from("refuse"), &Value::from("matched")));
    assert_eq!(lines[0]["inspection"][0]["name"], "eicar.test-file");
    assert_eq!(
        (&lines[1]["action"], &lines[1]["inspection"][0]["verdict"]),
        (&Value::from("allow"), &Value::from("clean"))
    );
}

#[tokio::test]
async fn scan_counts_the_bytes_of_a_file_where_there_is_a_terminal() {
    let desk = Desk::new();
    let large = desk.path("large.txt");
    std::fs::write(&large, vec![b'x'; 1 << 20]).unwrap();
    let Some(output) = desk.scan_on_a_terminal(&["--rule", "words", &large]).await else { return };
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("large.txt: clean, allowed"), "{text:?}");
    // Its first pieces are drawn however fast they come.
    assert!(text.contains("KiB/1.00 MiB"), "{text:?}");
    let (_, report) = text.rsplit_once("/1.00 MiB").unwrap();
    assert!(report.contains("\r\u{1b}[2K"), "the bar is wiped away before the report: {text:?}");
}

#[tokio::test]
async fn scan_says_what_it_cannot_do_by_another_status() {
    let desk = Desk::new();
    let (good, missing, folder) = (desk.path("good.txt"), desk.path("missing"), desk.path(""));
    for (arguments, expected) in [
        (&["--rule", "words", &missing, &good][..], "missing: cannot be opened"),
        (&["--rule", "words", &folder], "is a folder"),
        (&["--rule", "nobody", &good], "there is no rule `nobody`"),
        (&["--inspector", "nobody", &good], "there is no inspector `nobody`"),
        (&[&good], "--rule <NAME>"),
    ] {
        let output = desk.scan(arguments).await;
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?} {error}");
        assert!(error.contains(expected), "{arguments:?}: {error}");
    }
    let uninspected = run(&["scan", "--config", "/nowhere/gw.yaml", "--rule", "words", &good], &[]).await;
    assert_eq!(uninspected.status.code(), Some(2), "{uninspected:?}");
}

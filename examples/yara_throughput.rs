//! What the YARA inspector costs beside the library alone: GiB for each second of processor time, on bytes of three kinds.
//!
//! `cargo run --release --features yara --example yara_throughput`; one line of JSON for each kind, for `make bench` and for people.

#![allow(clippy::unwrap_used, reason = "a program for measuring; a failure ends it")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use countersign::inspect::unpack::Limits;
use countersign::inspect::yara::{RuleSet, Settings, Source, build};
use countersign::inspect::{Direction, Inspector, Subject, Verdict, content};

const MIB: usize = 1 << 20;
/// What a connection hands over at a time.
const PIECE: usize = 64 << 10;
/// A block as somebody would choose it for the library alone.
const LIBRARY_BLOCK: usize = MIB;

fn main() {
    let bytes = std::env::args().nth(1).and_then(|text| text.parse::<usize>().ok()).unwrap_or(1024) * MIB;
    let sources = [Source { origin: "rules.yar".to_owned(), text: rules() }];
    let rules = RuleSet::compile(&sources, None).unwrap();
    // As the configuration has it unless it says otherwise.
    let unpack = Some(Limits { bytes: 1 << 30, depth: 2, entries: 10_000 });
    let settings = Settings { rules, ignore_tags: Vec::new(), threads: 1, deadline: Duration::from_secs(3600), unpack };
    let inspector = build("rules", &settings).unwrap();
    let alone = yara_x::compile(sources[0].text.as_str()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for (kind, sample) in [("random", random()), ("zeros", vec![0; MIB]), ("text", text())] {
        // Once each before it counts: both make their scanners then.
        runtime.block_on(look(&inspector, &sample, MIB));
        library(&alone, &sample, MIB);
        let ours = gib_per_second(bytes, || runtime.block_on(look(&inspector, &sample, bytes)));
        let theirs = gib_per_second(bytes, || library(&alone, &sample, bytes));
        println!(
            "{{\"bytes\": \"{kind}\", \"inspector\": {ours:.3}, \"library\": {theirs:.3}, \"share\": {:.3}}}",
            ours / theirs
        );
    }
}

/// Texts, words and expressions as rule files have them, none of which is in the samples.
fn rules() -> String {
    let mut rules = String::from(
        r#"
rule eicar { strings: $a = "X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*" condition: $a }
rule dropper { strings: $a = "URLDownloadToFileA" $b = "WinExec" nocase $c = "cmd.exe /c" wide ascii condition: 2 of them }
rule shellcode { strings: $a = { FC E8 ?? 00 00 00 60 89 E5 31 D2 64 8B 52 30 } $b = { 90 90 90 90 [4-16] CD 80 } condition: any of them }
rule key { strings: $a = /AKIA[0-9A-Z]{16}/ $b = /-----BEGIN (RSA|EC) PRIVATE KEY-----/ condition: any of them }
"#,
    );
    for number in 0..500 {
        rules.push_str(&format!(
            "rule r{number} {{ strings: $a = \"marker-of-family-{number:04}\" $b = {{ DE AD {:02X} {:02X} BE EF }} condition: any of them }}\n",
            number / 256,
            number % 256
        ));
    }
    rules
}

fn random() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..MIB).map(|_| next()).collect()
}

fn text() -> Vec<u8> {
    let line = b"2026-11-22T15:00:00Z INFO worker took job 4711 of queue builds and finished it after 1250 ms without errors\n";
    line.iter().copied().cycle().take(MIB).collect()
}

async fn look(inspector: &Arc<dyn Inspector>, sample: &[u8], bytes: usize) {
    let subject = Subject {
        request_id: "1".to_owned(),
        principal: "bench".to_owned(),
        bucket: "bench".to_owned(),
        key: "object".to_owned(),
        media_type: None,
        content_encoding: None,
        length: Some(bytes as u64),
        direction: Direction::Upload,
    };
    let (feed, content) = content::channel();
    let pieces: Vec<Bytes> = sample.chunks(PIECE).map(Bytes::copy_from_slice).collect();
    let looking = Arc::clone(inspector).look(Arc::new(subject), content);
    let feeding = feed.all(pieces.into_iter().cycle().take(bytes / PIECE));
    let (verdict, ()) = tokio::join!(looking, feeding);
    assert_eq!(verdict, Verdict::Clean);
}

fn library(rules: &yara_x::Rules, sample: &[u8], bytes: usize) {
    let mut scanner = yara_x::blocks::Scanner::new(rules);
    for block in 0..bytes / LIBRARY_BLOCK {
        scanner.scan(block * LIBRARY_BLOCK, sample).unwrap();
    }
    assert_eq!(scanner.finish().unwrap().matching_rules().len(), 0);
}

fn gib_per_second(bytes: usize, run: impl FnOnce()) -> f64 {
    let before = cpu_seconds();
    run();
    bytes as f64 / (1 << 30) as f64 / (cpu_seconds() - before)
}

/// Processor time of this process: user and system, in ticks of a hundredth of a second.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks: f64 = fields[11..13].iter().map(|field| field.parse::<f64>().unwrap()).sum();
    ticks / 100.0
}

//! The fuzz targets, short: over their corpora, and over mutations of them that are the same every time. `make fuzz` runs them for long.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

#[path = "../fuzz/targets.rs"]
mod targets;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// What a target gets at most, so that all of them are over in time on a slow machine.
const LONGEST: Duration = Duration::from_secs(2);
const MUTATIONS: usize = 4000;

/// xorshift64*: the same numbers every time, on every machine.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

/// Bytes that mean something to some parser.
const WORDS: &[&[u8]] = &[
    b"\0",
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b"%",
    b"%2e",
    b"%00",
    b"..",
    b"/",
    b"//",
    b"&",
    b"=",
    b"+",
    b"?",
    b"<",
    b">",
    b"<![CDATA[",
    b"]]>",
    b"&#x0;",
    b"&amp;",
    b"\"",
    b"{",
    b"}",
    b":",
    b",",
    b";",
    b"*",
    b"\xff",
    b"\xc3\xa9",
    b"0",
    b"-1",
    b"18446744073709551616",
    b"[",
    b"]",
    b"\\",
    b"#",
    b"@",
];

/// One to four small changes; sometimes the end of another input is put behind the beginning of this one.
fn mutate(seeds: &[Vec<u8>], numbers: &mut Numbers) -> Vec<u8> {
    let mut data = seeds[numbers.below(seeds.len())].clone();
    for _ in 0..=numbers.below(4) {
        let at = numbers.below(data.len() + 1);
        match numbers.below(6) {
            0 if at < data.len() => data[at] = numbers.next() as u8,
            1 if at < data.len() => drop(data.drain(at..(at + 1 + numbers.below(8)).min(data.len()))),
            2 => drop(data.splice(at..at, WORDS[numbers.below(WORDS.len())].iter().copied())),
            3 => {
                let end = (at + numbers.below(32)).min(data.len());
                let again = data[at..end].to_vec();
                data.splice(at..at, again);
            }
            4 => {
                let other = &seeds[numbers.below(seeds.len())];
                data.truncate(at);
                data.extend_from_slice(&other[numbers.below(other.len() + 1)..]);
            }
            _ => data.truncate(at),
        }
    }
    data
}

#[test]
fn l07_the_corpus_and_its_mutations_break_no_parser() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (name, target) in targets::TARGETS {
        let mut files: Vec<_> = fs::read_dir(root.join(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let seeds: Vec<Vec<u8>> = files.iter().map(|path| fs::read(path).unwrap()).collect();
        assert!(seeds.len() >= 4, "{name} has a corpus");
        let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
        let start = Instant::now();
        for number in 0..seeds.len() + MUTATIONS {
            let data = match seeds.get(number) {
                Some(seed) => seed.clone(),
                None if start.elapsed() > LONGEST => break,
                None => mutate(&seeds, &mut numbers),
            };
            let outcome = std::panic::catch_unwind(|| target(&data));
            assert!(outcome.is_ok(), "{name} breaks on {:?}", String::from_utf8_lossy(&data));
        }
    }
}

#[test]
fn every_corpus_has_its_target() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for entry in fs::read_dir(root).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        assert!(targets::TARGETS.iter().any(|(known, _)| *known == name), "no target reads fuzz/corpus/{name}");
    }
}

#[test]
fn a_target_that_breaks_is_seen() {
    let broken: fn(&[u8]) = |data| assert!(data.len() < 3);
    assert!(std::panic::catch_unwind(|| broken(b"abc")).is_err() && std::panic::catch_unwind(|| broken(b"ab")).is_ok());
}

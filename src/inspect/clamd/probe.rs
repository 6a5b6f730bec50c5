//! Finds out what clamd lets pass unseen, by sending it what it must not call clean.
//!
//! Over its MaxFileSize or MaxScanSize clamd says `OK` to everything, unless `AlertExceedsMax yes` is set. It does not tell these limits,
//! but four objects do: the EICAR test file alone (are its signatures known at all?), at the beginning of the largest object that is sent,
//! a few kilobytes that unpack to more than any limit, and an encrypted archive.

use std::io::{self, Write};
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::time::timeout;

use super::conversation::{self, Ended};
use super::scanner::Scanner;
use super::{Probe, Settings};
use crate::inspect::content::channel;

/// The EICAR test file, each byte one higher: virus scanners shall not take this program for it.
const EICAR_SHIFTED: &[u8; 68] = br#"Y6P"Q&ABQ\5]Q[Y65)Q_*8DD*8~%FJDBS.TUBOEBSE.BOUJWJSVT.UFTU.GJMF"%I,I+"#;
const BLOCK: usize = 512;
/// Padding goes out in pieces of this size.
const PIECE: u64 = 64 * 1024;
/// Zeros in one member of the archive, and how many members: more than 2 GiB, which no limit of clamd exceeds.
const MEMBER: usize = 1 << 20;
const MEMBERS: usize = 2100;
/// One stored member "a" of 20 bytes that is marked as encrypted.
const ENCRYPTED_ZIP: &[u8] =
    b"PK\x03\x04\x14\0\x01\0\0\0\0\0\x21\0\xd0\x9e\xf8\x2d\x14\0\0\0\x08\0\0\0\x01\0\0\0axxxxxxxxxxxxxxxxxxxx\
PK\x01\x02\x14\0\x14\0\x01\0\0\0\0\0\x21\0\xd0\x9e\xf8\x2d\x14\0\0\0\x08\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0a\
PK\x05\x06\0\0\0\0\x01\0\x01\0\x2f\0\0\0\x33\0\0\0\0\0";
/// All four; the large one takes clamd about 10 ms for each MiB.
const TIMEOUT: Duration = Duration::from_secs(120);

const SIZE_PROBLEM: &str = "calls objects of max_size clean without looking at them; set StreamMaxLength <= MaxFileSize <= MaxScanSize in its clamd.conf, or a smaller max_size here";
const ARCHIVES: &str =
    "calls archives clean that unpack to more than its limits; set `AlertExceedsMax yes` in its clamd.conf";
const ENCRYPTED: &str = "calls encrypted archives clean; set `AlertEncrypted yes` in its clamd.conf";
const NO_EICAR: &str = "does not know the EICAR test file, so its limits cannot be checked";
const SMALL_STREAMS: &str = "takes less than max_size: its StreamMaxLength is smaller";

/// What was found out.
#[derive(Debug, Default)]
pub struct Probed {
    /// Why no verdict of it counts.
    pub unfit: Option<String>,
    /// What its operator should know.
    pub warnings: Vec<String>,
}

/// Sends what must not be called clean.
///
/// # Errors
/// Why there was no verdict, in words.
pub async fn probe(scanner: &Scanner, settings: &Settings) -> Result<Probed, String> {
    if settings.probe == Probe::None {
        return Ok(Probed::default());
    }
    let examination = examination(scanner, settings);
    timeout(TIMEOUT, examination).await.map_err(|_| "the limits could not be probed in time".to_owned())?
}

async fn examination(scanner: &Scanner, settings: &Settings) -> Result<Probed, String> {
    let mut probed = Probed::default();
    let eicar = Bytes::from(eicar());
    if ask(scanner, eicar, 0).await? == Ended::Clean {
        probed.warnings.push(NO_EICAR.to_owned());
    } else {
        let (archive, padding) = largest(settings.max_size);
        match ask(scanner, archive, padding).await? {
            Ended::Clean => probed.unfit = Some(SIZE_PROBLEM.to_owned()),
            Ended::OverItsLimit => probed.warnings.push(SMALL_STREAMS.to_owned()),
            _ => {}
        }
    }
    let bomb = tokio::task::spawn_blocking(bomb).await.map_err(io::Error::from).flatten();
    let bomb = bomb.map_err(|error| error.to_string())?;
    for (object, problem) in [(Bytes::from(bomb), ARCHIVES), (Bytes::from_static(ENCRYPTED_ZIP), ENCRYPTED)] {
        if ask(scanner, object, 0).await? == Ended::Clean {
            let unfit = settings.probe == Probe::Strict && probed.unfit.is_none();
            probed.unfit = if unfit { Some(problem.to_owned()) } else { probed.unfit };
            probed.warnings.push(problem.to_owned());
        }
    }
    Ok(probed)
}

/// Sends an object and zeros behind it.
async fn ask(scanner: &Scanner, object: Bytes, zeros: u64) -> Result<Ended, String> {
    static ZEROS: [u8; PIECE as usize] = [0; PIECE as usize];
    let wire = scanner.begin().await?;
    let padding = (0..zeros.div_ceil(PIECE)).map(|piece| {
        let length = (zeros - piece * PIECE).min(PIECE);
        Bytes::from_static(&ZEROS[..usize::try_from(length).expect("at most a piece")])
    });
    let (feed, mut content) = channel();
    let feeding = feed.all(std::iter::once(object).chain(padding));
    // The end of the feed may come later than the answer: clamd need not take all of it.
    let ended = tokio::select! {
        biased;
        ended = conversation::stream(wire, &mut content, u64::MAX) => ended,
        ended = async { feeding.await; std::future::pending().await } => ended,
    };
    match ended {
        Ended::Failed(reason) => Err(reason),
        ended => Ok(ended),
    }
}

fn eicar() -> Vec<u8> {
    EICAR_SHIFTED.iter().map(|byte| byte - 1).collect()
}

/// The beginning of a tar archive with the test file in it, and how many zeros make it as large as the largest object. An archive, because
/// some signature databases know the test file only as a whole; its rest, zeros, is the end of a tar archive.
fn largest(max_size: u64) -> (Bytes, u64) {
    let file = eicar();
    let mut head = [0; BLOCK];
    let size = format!("{:011o}\0", file.len());
    for (at, text) in [
        (0, "eicar.com"),
        (100, "0000644\0"),
        (108, "0000000\0"),
        (116, "0000000\0"),
        (124, size.as_str()),
        (136, "00000000000\0"),
        (148, "        "),
        (156, "0"),
        (257, "ustar\x0000"),
    ] {
        head[at..at + text.len()].copy_from_slice(text.as_bytes());
    }
    let sum: u32 = head.iter().map(|byte| u32::from(*byte)).sum();
    head[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let archive = [&head[..], &file].concat();
    let zeros = max_size.saturating_sub(archive.len() as u64);
    (Bytes::from(archive), zeros)
}

/// A few kilobytes that unpack to two megabytes that unpack to two gigabytes of zeros. clamd stops at its limit: 0.1 s.
fn bomb() -> io::Result<Vec<u8>> {
    let gzip = |bytes: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes)?;
        encoder.finish()
    };
    let member = gzip(&vec![0; MEMBER])?;
    gzip(&member.repeat(MEMBERS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_file_is_the_one_that_everybody_knows() {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &eicar());
        assert_eq!(hex::encode(digest), "275a021bbfb6489e54d471899f7db9d1663fc695ec2fe2a2c4538aabf651fd0f");
    }

    #[test]
    fn the_largest_object_has_the_largest_size() {
        let (archive, zeros) = largest(1 << 20);
        assert_eq!(archive.len() as u64 + zeros, 1 << 20);
        assert_eq!(largest(10).1, 0);
    }

    #[test]
    fn the_archives_are_small() {
        assert_eq!(ENCRYPTED_ZIP.len(), 30 + 1 + 20 + 46 + 1 + 22);
        assert!(bomb().unwrap().len() < 16 * 1024);
    }
}

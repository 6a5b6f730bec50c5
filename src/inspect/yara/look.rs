//! One look: collects blocks, or the whole object, and has them matched.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};

use crate::inspect::yara::Settings;
use crate::inspect::yara::compile::Way;
use crate::inspect::yara::pool::{Pool, Seat};
use crate::inspect::{Checkup, Content, Health, Inspector, Look, Subject, Verdict};

/// New bytes in each block. Matching is not faster with more; with less the overlap costs more.
pub(super) const BLOCK: usize = 256 << 10;

/// An inspector with its rules and threads.
#[derive(Debug)]
struct Yara {
    pool: Pool,
    way: Way,
    version: String,
    digest: String,
}

/// Starts the threads of an inspector.
///
/// # Errors
/// What the operating system says.
pub(super) fn start(settings: &Settings) -> std::io::Result<Arc<dyn Inspector>> {
    let rules = &settings.rules;
    let configured = format!("yara {} {:?} {:?}", rules.digest(), settings.ignore_tags, settings.deadline);
    Ok(Arc::new(Yara {
        pool: Pool::start(settings)?,
        way: rules.way(),
        version: format!("YARA-X {}, {} rules", yara_x::VERSION, rules.rules().iter().len()),
        digest: hex::encode(digest(&SHA256, configured.as_bytes())),
    }))
}

impl Inspector for Yara {
    fn look(self: Arc<Self>, subject: Arc<Subject>, content: Content) -> Look {
        Box::pin(async move {
            if subject.is_encoded() {
                return Verdict::not_scannable("its content encoding is not decoded");
            }
            let seat = self.pool.seat();
            match self.way {
                Way::Blocks { overlap } => in_blocks(seat, overlap, content).await,
                Way::Whole { up_to } => as_a_whole(seat, up_to, subject.length, content).await,
            }
        })
    }

    fn check(self: Arc<Self>) -> Checkup {
        Box::pin(async move { Ok(Health { version: self.version.clone(), ..Health::default() }) })
    }

    fn digest(&self) -> String {
        self.digest.clone()
    }
}

async fn in_blocks(mut seat: Seat, overlap: usize, mut content: Content) -> Verdict {
    let full = BLOCK + overlap;
    let mut block: Vec<u8> = Vec::new();
    let mut base = 0;
    loop {
        let piece = match content.next().await {
            Ok(Some(piece)) => piece,
            Ok(None) => return seat.last(base, block).await,
            Err(broken_off) => return Verdict::error(broken_off.to_string()),
        };
        let mut rest = &piece[..];
        while !rest.is_empty() {
            // A full block waits here for more, so that the last one is never without new bytes.
            if block.len() == full {
                block = match seat.block(base, block).await {
                    Ok(block) => block,
                    Err(verdict) => return verdict,
                };
                let cut = block.len() - overlap;
                block.copy_within(cut.., 0);
                block.truncate(overlap);
                base += cut;
            }
            let (now, later) = rest.split_at(rest.len().min(full - block.len()));
            grow(&mut block, now.len(), full);
            block.extend_from_slice(now);
            rest = later;
        }
    }
}

async fn as_a_whole(seat: Seat, up_to: u64, length: Option<u64>, mut content: Content) -> Verdict {
    let too_large =
        || Verdict::not_scannable(format!("larger than {up_to} bytes, up to which objects are held for its rules"));
    if length.is_some_and(|length| length > up_to) {
        return too_large();
    }
    let limit = usize::try_from(length.unwrap_or(up_to)).unwrap_or(usize::MAX);
    let mut object: Vec<u8> = Vec::new();
    loop {
        match content.next().await {
            Ok(Some(piece)) if (object.len() + piece.len()) as u64 > up_to => return too_large(),
            Ok(Some(piece)) => {
                grow(&mut object, piece.len(), limit);
                object.extend_from_slice(&piece);
            }
            Ok(None) => return seat.whole(object).await,
            Err(broken_off) => return Verdict::error(broken_off.to_string()),
        }
    }
}

/// Makes room for more bytes: twice as much as before, but not more than will ever be needed.
fn grow(bytes: &mut Vec<u8>, more: usize, limit: usize) {
    if bytes.capacity() - bytes.len() < more {
        let wanted = (bytes.len() * 2).max(bytes.len() + more).min(limit.max(bytes.len() + more));
        bytes.reserve_exact(wanted - bytes.len());
    }
}

//! One look: the object and what is packed in it go through the layers, block by block or as a whole.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};

use crate::inspect::unpack::{Attempt, Limits};
use crate::inspect::yara::Settings;
use crate::inspect::yara::compile::Way;
use crate::inspect::yara::layers::{BLOCK, Layers};
use crate::inspect::yara::pool::Pool;
use crate::inspect::{Checkup, Content, Health, Inspector, Look, Subject, Verdict};

/// An inspector with its rules and threads.
#[derive(Debug)]
struct Yara {
    pool: Pool,
    way: Way,
    unpack: Option<Limits>,
    version: String,
    digest: String,
}

/// Starts the threads of an inspector.
///
/// # Errors
/// What the operating system says.
pub(super) fn start(settings: &Settings) -> std::io::Result<Arc<dyn Inspector>> {
    let Settings { rules, ignore_tags, deadline, unpack, threads: _ } = settings;
    let configured = format!("yara {} {ignore_tags:?} {deadline:?} {unpack:?}", rules.digest());
    Ok(Arc::new(Yara {
        pool: Pool::start(settings)?,
        way: rules.way(),
        unpack: *unpack,
        version: format!("YARA-X {}, {} rules", yara_x::VERSION, rules.rules().iter().len()),
        digest: hex::encode(digest(&SHA256, configured.as_bytes())),
    }))
}

impl Inspector for Yara {
    fn look(self: Arc<Self>, subject: Arc<Subject>, content: Content) -> Look {
        Box::pin(async move {
            match Attempt::new(self.unpack, &subject) {
                Ok(unpacking) => {
                    let layers = Layers::new(self.pool.seat(), self.way, subject.length);
                    look_through(layers, unpacking, content).await
                }
                Err(reason) => Verdict::not_scannable(reason),
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

/// Looks at all bytes, and at what comes out of them.
async fn look_through(mut layers: Layers, mut unpacking: Attempt, mut content: Content) -> Verdict {
    while layers.goes_on() {
        let piece = match content.next().await {
            Ok(Some(piece)) => piece,
            Ok(None) => return end(layers, unpacking).await,
            Err(broken_off) => return Verdict::error(broken_off.to_string()),
        };
        for (number, slice) in piece.chunks(BLOCK).enumerate() {
            if number > 0 {
                tokio::task::yield_now().await;
            }
            if !layers.feed(0, slice).await || !unpacking.feed(slice, &mut layers).await {
                break;
            }
        }
    }
    layers.into_verdict()
}

async fn end(mut layers: Layers, mut unpacking: Attempt) -> Verdict {
    unpacking.finish(&mut layers).await;
    let failure = unpacking.into_failure();
    match layers.finish().await {
        Verdict::Clean => failure.map_or(Verdict::Clean, |error| Verdict::not_scannable(error.to_string())),
        verdict => verdict,
    }
}

//! Scanners outside of the process, as inspectors: the real ones, and ones that misbehave.

mod clamd;
mod example;
mod icap;
pub(super) mod objects;
mod over_tls;
mod through;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use countersign::inspect::content::channel;
use countersign::inspect::{Direction, Inspector, Subject, Verdict};

/// An upload of which nothing is declared.
fn subject() -> Subject {
    Subject {
        request_id: "request-1".to_owned(),
        principal: "token:ci".to_owned(),
        bucket: "team-data".to_owned(),
        key: "builds/a b\r\nX-Evil: 1".to_owned(),
        media_type: Some("application/octet-stream".to_owned()),
        content_encoding: None,
        length: None,
        direction: Direction::Upload,
    }
}

/// Lets it look at an object in these pieces.
async fn look_at(inspector: &Arc<dyn Inspector>, subject: Subject, pieces: Vec<Bytes>) -> Verdict {
    let (feed, content) = channel();
    let look = Arc::clone(inspector).look(Arc::new(subject), content);
    let both = async { tokio::join!(feed.all(pieces), look).1 };
    tokio::time::timeout(Duration::from_secs(120), both).await.expect("a verdict in time")
}

/// Lets it look at an object of undeclared length that comes in pieces of 64 KiB.
async fn look(inspector: &Arc<dyn Inspector>, object: &[u8]) -> Verdict {
    look_at(inspector, subject(), pieces(object, 64 * 1024)).await
}

/// Lets it look at the beginning of an object whose end does not come. Whatever it says then was said too early.
async fn look_at_beginning(inspector: &Arc<dyn Inspector>, object: &[u8]) -> Verdict {
    let (mut feed, content) = channel();
    let looking = tokio::spawn(Arc::clone(inspector).look(Arc::new(subject()), content));
    for piece in pieces(object, 64 * 1024) {
        std::future::poll_fn(|context| feed.poll_ready(context)).await;
        feed.push(piece);
    }
    let verdict = tokio::time::timeout(Duration::from_secs(20), looking).await.expect("a verdict in time").unwrap();
    drop(feed);
    verdict
}

fn pieces(object: &[u8], size: usize) -> Vec<Bytes> {
    object.chunks(size).map(Bytes::copy_from_slice).collect()
}

/// Whether it is an error, and why.
fn reason(verdict: &Verdict) -> &str {
    match verdict {
        Verdict::Error { reason } => reason,
        other => panic!("not an error: {other:?}"),
    }
}

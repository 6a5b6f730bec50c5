//! The stream of records (server-sent events), for a bounded number of watchers.
//!
//! Each watcher reads the ring at its own pace. One that does not keep up is told how many records it missed; one that takes nothing is cut
//! by the edge. So a watcher costs the data path nothing but being woken, at most ten times a second.
//! Source: HTML standard, server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::time::{sleep, timeout};

use super::ConsoleBody;
use super::recent::{Batch, Recent};

/// Pages that may watch at a time.
const MAX_WATCHERS: usize = 8;
/// What is sent when nothing happens, so that both sides learn of a connection that is gone.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// How long records are collected before they are sent together.
const NAP: Duration = Duration::from_millis(100);

/// The records that are there, and all that come; `None` if there are too many watchers.
pub(super) fn watch(recent: &Arc<Recent>) -> Option<ConsoleBody> {
    let watcher = Watcher::begin(recent)?;
    let frames = stream::unfold(watcher, |mut watcher| async move {
        let text = watcher.next().await;
        Some((Ok::<_, Infallible>(Frame::data(Bytes::from(text))), watcher))
    });
    Some(StreamBody::new(frames).boxed_unsync())
}

struct Watcher {
    recent: Arc<Recent>,
    next: u64,
    has_begun: bool,
}

impl Watcher {
    fn begin(recent: &Arc<Recent>) -> Option<Self> {
        let more = |count: usize| (count < MAX_WATCHERS).then_some(count + 1);
        recent.watchers().fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Self { recent: Arc::clone(recent), next: recent.oldest(), has_begun: false })
    }

    /// The next piece of the stream.
    async fn next(&mut self) -> Vec<u8> {
        if !self.has_begun {
            self.has_begun = true;
            // Something at once, so that the page knows that it is connected.
            let mut text = b": connected\n\n".to_vec();
            self.take(&mut text);
            return text;
        }
        let mut text = Vec::new();
        loop {
            {
                let recent = Arc::clone(&self.recent);
                let mut woken = std::pin::pin!(recent.wake().notified());
                // Before looking, or a record between looking and waiting would be seen only with the one after it.
                woken.as_mut().enable();
                if self.take(&mut text) {
                    return text;
                }
                if timeout(HEARTBEAT, woken).await.is_err() {
                    return b": nothing new\n\n".to_vec();
                }
            }
            sleep(NAP).await;
        }
    }

    fn take(&mut self, text: &mut Vec<u8>) -> bool {
        let Some(Batch { first, missed, lines }) = self.recent.since(self.next) else { return false };
        if missed > 0 {
            text.extend_from_slice(format!("event: missed\ndata: {missed}\n\n").as_bytes());
        }
        self.next = first + lines.len() as u64;
        for (line, number) in lines.iter().zip(first..) {
            text.extend_from_slice(format!("id: {number}\ndata: ").as_bytes());
            // One line: JSON has no line feed but the one at its end.
            text.extend_from_slice(line.trim_ascii_end());
            text.extend_from_slice(b"\n\n");
        }
        true
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.recent.watchers().fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{AuditSink, Entry, Record};

    async fn next(body: &mut ConsoleBody) -> String {
        let frame = timeout(Duration::from_secs(20), body.frame()).await.expect("a frame in time").unwrap().unwrap();
        String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap()
    }

    fn happen(recent: &Recent, key: &str) {
        let record = Record { key: Some(key.to_owned()), ..Record::default() };
        recent.accept(&Entry::new(&record));
    }

    #[tokio::test]
    async fn a_watcher_gets_what_was_and_what_comes() {
        let recent = Arc::new(Recent::default());
        happen(&recent, "before");
        let mut body = watch(&recent).unwrap();
        let text = next(&mut body).await;
        assert!(text.starts_with(": connected\n\nid: 0\ndata: {") && text.contains("before"), "{text}");
        happen(&recent, "line\nfeed");
        let text = next(&mut body).await;
        assert!(text.starts_with("id: 1\ndata: {") && text.ends_with("}\n\n"), "{text}");
        assert_eq!(text.lines().count(), 3, "a key cannot end its event: {text}");
    }

    #[tokio::test]
    async fn a_watcher_that_does_not_keep_up_learns_what_it_missed() {
        let recent = Arc::new(Recent::default());
        let mut body = watch(&recent).unwrap();
        assert_eq!(next(&mut body).await, ": connected\n\n");
        (0..400).for_each(|_| happen(&recent, "x"));
        let text = next(&mut body).await;
        assert!(text.starts_with("event: missed\ndata: 144\n\nid: 144\n"), "{}", &text[..80]);
        assert_eq!(text.matches("data: {").count(), 256);
    }

    #[tokio::test]
    async fn watchers_are_few_and_one_that_leaves_makes_room() {
        let recent = Arc::new(Recent::default());
        let mut all: Vec<_> = (0..MAX_WATCHERS).map(|_| watch(&recent).unwrap()).collect();
        assert!(watch(&recent).is_none());
        all.pop();
        assert!(watch(&recent).is_some());
    }
}

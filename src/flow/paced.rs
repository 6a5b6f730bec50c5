//! A body that hands out its next frame only when hyper has written enough of the former ones.
//!
//! hyper queues up to 408 KiB or 16 frames of a body for a peer that takes nothing. Here each frame carries an owner that
//! notes when hyper drops it, which is when its last byte is written; until then the body is not asked for more.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http_body::{Body, Frame, SizeHint};

use super::budget::Budget;
use super::growth::Growth;

/// Frames below this size are not counted: hyper queues 16 at most, and a small request should not pay.
const UNCOUNTED: usize = 4 * 1024;
/// What may lie in the queue before the body is asked again. With 64 KiB each chunk of a framed upload went out by itself, four times the
/// writes; more than this would only join writes that are large already.
const ENOUGH: usize = 256 * 1024;

/// A body, paced.
#[derive(Debug)]
pub struct Paced<B> {
    inner: B,
    queue: Arc<Queue>,
    growth: Growth,
    gated: bool,
}

/// What hyper has been given and has not written.
#[derive(Debug)]
struct Queue {
    bytes: AtomicUsize,
    waker: AtomicWaker,
    budget: Arc<Budget>,
}

/// A frame in the queue.
struct Queued {
    data: Bytes,
    queue: Arc<Queue>,
}

impl Queued {
    fn put(data: Bytes, queue: &Arc<Queue>) -> Bytes {
        queue.bytes.fetch_add(data.len(), Ordering::AcqRel);
        queue.budget.take(data.len());
        Bytes::from_owner(Self { data, queue: Arc::clone(queue) })
    }
}

impl AsRef<[u8]> for Queued {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        self.queue.bytes.fetch_sub(self.data.len(), Ordering::AcqRel);
        self.queue.budget.give_back(self.data.len());
        self.queue.waker.wake();
    }
}

impl<B> Paced<B> {
    /// A body that waits for its former frames to be written.
    pub fn new(inner: B, budget: Arc<Budget>) -> Self {
        let queue = Arc::new(Queue { bytes: AtomicUsize::new(0), waker: AtomicWaker::new(), budget });
        Self { inner, queue, growth: Growth::default(), gated: true }
    }

    /// Counts, and never waits: for a writer that takes only what it can send.
    pub fn set_ungated(&mut self) {
        self.gated = false;
    }

    /// The body itself.
    pub fn inner(&self) -> &B {
        &self.inner
    }

    /// Pending while enough lies in the queue. Never pending with an empty queue, so something always wakes it.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.gated || self.queue.bytes.load(Ordering::Acquire) == 0 {
            self.growth.taken(Instant::now);
            return Poll::Ready(());
        }
        let enough = self.growth.step(self.queue.budget.allowance()).min(ENOUGH);
        if self.queue.bytes.load(Ordering::Acquire) >= enough {
            self.queue.waker.register(cx.waker());
            // It may have been written between the look above and the line above.
            if self.queue.bytes.load(Ordering::Acquire) >= enough {
                self.growth.wait_for_taker(Instant::now);
                return Poll::Pending;
            }
        }
        self.growth.taken(Instant::now);
        Poll::Ready(())
    }
}

impl<B> Body for Paced<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        ready!(this.poll_room(cx));
        let frame = ready!(Pin::new(&mut this.inner).poll_frame(cx));
        Poll::Ready(frame.map(|frame| {
            frame.map(|frame| {
                if frame.data_ref().is_none_or(|data| data.len() < UNCOUNTED) {
                    return frame;
                }
                this.growth.moved(frame.data_ref().map_or(0, Bytes::len));
                frame.map_data(|data| Queued::put(data, &this.queue))
            })
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::convert::Infallible;

    use futures_util::FutureExt;
    use http_body_util::BodyExt;
    use proptest::prelude::*;

    use super::*;
    use crate::flow::LEAST;

    struct Pieces(VecDeque<Bytes>);

    impl Pieces {
        fn of(count: usize, length: usize) -> Self {
            Self((0..count).map(|number| Bytes::from(vec![number as u8; length])).collect())
        }
    }

    impl Body for Pieces {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
        }

        fn is_end_stream(&self) -> bool {
            self.0.is_empty()
        }
    }

    fn next(body: &mut Paced<Pieces>) -> Option<Bytes> {
        body.frame().now_or_never().map(|frame| frame.unwrap().unwrap().into_data().unwrap())
    }

    #[test]
    fn the_next_frame_comes_when_the_former_is_written_whatever_pieces_it_was_cut_into() {
        let budget = Budget::new(1 << 20);
        let mut body = Paced::new(Pieces::of(3, 2 * LEAST), Arc::clone(&budget));
        let mut first = next(&mut body).unwrap();
        assert_eq!(budget.held(), 2 * LEAST);
        assert!(next(&mut body).is_none());
        let second_half = first.split_off(LEAST);
        drop(first);
        assert!(next(&mut body).is_none(), "a part of it is unwritten");
        drop(second_half);
        assert_eq!(budget.held(), 0);
        assert!(next(&mut body).is_some());
    }

    #[test]
    fn what_waits_is_woken_by_the_write() {
        let mut body = Paced::new(Pieces::of(2, 2 * LEAST), Budget::new(1 << 20));
        let first = next(&mut body).unwrap();
        let woken = Arc::new(Woken::default());
        let waker = Arc::clone(&woken).into();
        assert!(Pin::new(&mut body).poll_frame(&mut Context::from_waker(&waker)).is_pending());
        assert_eq!(woken.0.load(Ordering::Relaxed), 0);
        drop(first);
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
    }

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl std::task::Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn small_frames_are_not_counted_and_an_ungated_body_does_not_wait() {
        let budget = Budget::new(1 << 20);
        let mut small = Paced::new(Pieces::of(5, UNCOUNTED - 1), Arc::clone(&budget));
        let kept: Vec<_> = (0..5).map(|_| next(&mut small).unwrap()).collect();
        assert_eq!((kept.len(), budget.held()), (5, 0));
        let mut ungated = Paced::new(Pieces::of(5, LEAST), Arc::clone(&budget));
        ungated.set_ungated();
        let kept: Vec<_> = (0..5).map(|_| next(&mut ungated).unwrap()).collect();
        assert_eq!((kept.len(), budget.held()), (5, 5 * LEAST));
    }

    proptest! {
        #[test]
        fn a_writer_that_stalls_at_random_gets_every_byte_in_order(
            lengths in prop::collection::vec(1..300_000_usize, 1..40),
            keeps in prop::collection::vec(0..20_usize, 1..40),
            ceiling in 0..1_000_000_usize,
        ) {
            let budget = Budget::new(ceiling);
            let pieces: VecDeque<_> = lengths.iter().enumerate().map(|(n, length)| Bytes::from(vec![n as u8; *length])).collect();
            let expected = pieces.iter().fold(Vec::new(), |mut all, piece| { all.extend_from_slice(piece); all });
            let mut body = Paced::new(Pieces(pieces), Arc::clone(&budget));
            let (mut queue, mut written) = (VecDeque::new(), Vec::new());
            let mut keeps = keeps.iter().cycle();
            while written.len() < expected.len() {
                // Like hyper: asks for frames until there is none or its queue is full, then writes some of them.
                while queue.len() < 16 && !body.is_end_stream() {
                    match next(&mut body) {
                        Some(frame) => queue.push_back(frame),
                        None => break,
                    }
                }
                prop_assert!(!queue.is_empty(), "nothing to write, and nothing comes");
                let largest = queue.iter().map(Bytes::len).max().unwrap_or(0);
                prop_assert!(queue.iter().map(Bytes::len).sum::<usize>() < ENOUGH + largest + 16 * UNCOUNTED);
                let keep = *keeps.next().unwrap();
                while queue.len() > keep.min(queue.len() - 1) {
                    let frame: Bytes = queue.pop_front().unwrap();
                    written.extend_from_slice(&frame);
                    if queue.is_empty() { break; }
                }
            }
            prop_assert_eq!(written, expected);
            drop(queue);
            drop(body);
            prop_assert_eq!(budget.held(), 0);
        }
    }
}

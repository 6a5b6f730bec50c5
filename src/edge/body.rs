//! The body of every answer: the handler's, or a short one of the edge itself.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::streams::OpenStream;
use crate::flow::{Budget, Paced};

/// Largest piece given to HTTP/2 at once. h2 keeps what it was given until the client makes room, so this bounds
/// the memory of a stream whose client does not; and the client has to take this much per idle time to stay.
const LARGEST_H2_PIECE: usize = 32 * 1024;

/// What hyper sends.
#[derive(Debug)]
pub(super) struct EdgeBody<B> {
    source: Source<B>,
    /// HTTP/2 only: reports that the client is waited for.
    stream: Option<OpenStream>,
    /// HTTP/2 only: rest of a frame that was too large to be given at once.
    rest: Bytes,
}

#[derive(Debug)]
enum Source<B> {
    Own(Option<Bytes>),
    Handler(Paced<Pin<Box<B>>>),
}

impl<B> EdgeBody<B> {
    pub(super) fn own(text: impl Into<Bytes>) -> Self {
        Self::new(Source::Own(Some(text.into()).filter(|text: &Bytes| !text.is_empty())))
    }

    pub(super) fn handler(body: B, budget: Arc<Budget>) -> Self {
        Self::new(Source::Handler(Paced::new(Box::pin(body), budget)))
    }

    fn new(source: Source<B>) -> Self {
        Self { source, stream: None, rest: Bytes::new() }
    }

    /// Ties the body to its HTTP/2 stream.
    pub(super) fn on_stream(mut self, stream: OpenStream) -> Self {
        self.stream = Some(stream);
        // h2 asks for a frame when the client has made room for it, and `streams` takes being asked for that.
        if let Source::Handler(body) = &mut self.source {
            body.set_ungated();
        }
        self
    }
}

impl<B> Body for EdgeBody<B>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>>,
{
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.get_mut();
        if let Some(stream) = &this.stream {
            stream.client_took();
        }
        let frame = match &mut this.source {
            _ if !this.rest.is_empty() => Some(Ok(Frame::data(std::mem::take(&mut this.rest)))),
            Source::Own(text) => text.take().map(|text| Ok(Frame::data(text))),
            Source::Handler(body) => ready!(Pin::new(body).poll_frame(cx)).map(|frame| frame.map_err(Into::into)),
        };
        let Some(stream) = &this.stream else {
            return Poll::Ready(frame);
        };
        stream.wait_for_client();
        Poll::Ready(match frame {
            Some(Ok(frame)) if frame.data_ref().is_some_and(|data| data.len() > LARGEST_H2_PIECE) => {
                let piece = frame.into_data().ok().map(|mut data| {
                    this.rest = data.split_off(LARGEST_H2_PIECE);
                    data
                });
                piece.map(|piece| Ok(Frame::data(piece)))
            }
            frame => frame,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
            && match &self.source {
                Source::Own(text) => text.is_none(),
                Source::Handler(body) => body.is_end_stream(),
            }
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = match &self.source {
            Source::Own(text) => SizeHint::with_exact(text.as_ref().map_or(0, Bytes::len) as u64),
            Source::Handler(body) => body.size_hint(),
        };
        let rest = self.rest.len() as u64;
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint.set_lower(hint.lower().saturating_add(rest));
        hint
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::time::Duration;

    use futures_util::FutureExt;
    use http_body_util::{BodyExt, Full};
    use tokio::time::Instant;

    use super::*;
    use crate::edge::streams::{Judgement, Streams};

    #[tokio::test]
    async fn large_frames_reach_http2_in_pieces_and_unchanged() {
        let content: Bytes = (0..100_000_u32).map(|n| n as u8).collect();
        let mut body = EdgeBody::handler(Full::new(content.clone()), Budget::new(0)).on_stream(Streams::new().open());
        let mut received = Vec::new();
        while !body.is_end_stream() {
            assert_eq!(body.size_hint().exact(), Some((content.len() - received.len()) as u64));
            let data = body.frame().await.unwrap().unwrap().into_data().unwrap();
            assert!(data.len() <= LARGEST_H2_PIECE);
            received.extend_from_slice(&data);
        }
        assert_eq!(received, content);
    }

    /// One frame, then nothing for ever.
    struct ThinkingHandler(Option<Bytes>);

    impl Body for ThinkingHandler {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            self.0.take().map_or(Poll::Pending, |data| Poll::Ready(Some(Ok(Frame::data(data)))))
        }
    }

    #[tokio::test]
    async fn the_client_is_waited_for_after_a_frame_and_not_while_the_handler_thinks() {
        const LIMIT: Duration = Duration::from_secs(10);
        let streams = Streams::new();
        let stalled =
            |streams: &Streams| matches!(streams.judge(Instant::now() + LIMIT, LIMIT, LIMIT), Judgement::Stalled(_));
        let mut body = EdgeBody::handler(ThinkingHandler(Some("x".into())), Budget::new(0)).on_stream(streams.open());
        assert!(!stalled(&streams), "nothing was given yet");
        body.frame().await.unwrap().unwrap();
        assert!(stalled(&streams), "the frame was given");
        assert!(body.frame().now_or_never().is_none());
        assert!(!stalled(&streams), "the handler has nothing");
    }

    #[tokio::test]
    async fn http1_gets_frames_as_they_are() {
        let mut body = EdgeBody::handler(Full::new(Bytes::from(vec![7; 100_000])), Budget::new(0));
        let frame = body.frame().await.unwrap().unwrap();
        assert_eq!(frame.data_ref().map(Bytes::len), Some(100_000));
    }
}

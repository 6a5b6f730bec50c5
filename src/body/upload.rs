//! The story of one upload: client body → stages → inspectors, if there are any → store body.
//!
//! Pulled by the HTTP client of the store's side, so a slow store slows the client and nothing piles up: in memory are one piece from
//! the client, the piece held back, and one chunk while it is signed.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use crate::body::chunk_decode::ChunkDecode;
use crate::body::digest_check::{DigestCheck, Trailing};
use crate::body::form_decode::FormDecode;
use crate::body::holdback::Holdback;
use crate::body::inspect_tap::{Destination, InspectTap};
use crate::body::length_guard::LengthGuard;
use crate::body::type_check::TypeCheck;
use crate::body::{
    ChunkEncode, Fault, LingerLimits, Source, Stage, StoreSource, Throttle, UploadWatch, finish_through, push_through,
};
use crate::inspect::Inspection;
use crate::limits::BodyTerms;
use crate::s3::upload::UploadError;
use crate::s3::{BodyFraming, ChecksumAlgorithm, UploadHead};
use crate::sigv4::ChunkCheck;

/// Limits on how a client sends a body.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimits {
    /// Longest time for what is read of a body before anybody is known.
    pub head: Duration,
    /// Longest time without one byte.
    pub idle: Duration,
    /// Lowest average rate in bytes per second, over `rate_window` of waiting.
    pub min_rate: u64,
    /// Time of waiting over which the rate is measured.
    pub rate_window: Duration,
    /// What is still read after a refusal.
    pub linger: LingerLimits,
}

/// What the head of an upload says of its bytes, and what the signatures of its chunks must fit: exactly if it says that they are signed.
#[derive(Debug)]
pub struct BodyPlan<'a> {
    head: &'a UploadHead,
    chunks: Option<ChunkCheck>,
}

impl<'a> BodyPlan<'a> {
    /// Pairs a head with the chain of signatures that the signature of its request began, if there is one.
    ///
    /// # Errors
    /// [`UploadError`] if one is there without the other: nobody could tell whether the chunks are the caller's.
    pub fn new(head: &'a UploadHead, chunks: Option<ChunkCheck>) -> Result<Self, UploadError> {
        match (head.has_signed_chunks(), &chunks) {
            (true, None) => Err(UploadError::SignedChunks),
            (false, Some(_)) => Err(UploadError::FramingContradiction),
            (true, Some(_)) | (false, None) => Ok(Self { head, chunks }),
        }
    }
}

/// The body of an upload towards the store.
pub struct UploadBody {
    source: Option<Source>,
    /// What was read of the body before it was known to be an upload.
    first: Bytes,
    stages: Vec<Box<dyn Stage>>,
    /// Checked bytes of the object, released by the last stage.
    checked: VecDeque<Bytes>,
    /// All checks have passed, inspections among them, and everything is in `checked` or further.
    ended: bool,
    /// The store's framing; apart from the stages, since it is known only after the first bytes were checked.
    encode: Option<ChunkEncode>,
    /// Those who look at what passed the stages; then the holdback is there and not among these.
    tap: Option<Box<InspectTap>>,
    /// Bytes as they go out.
    ready: VecDeque<Bytes>,
    failed: Option<Fault>,
    length: Option<u64>,
    patience: Patience,
    throttle: Option<Throttle>,
    limits: BodyLimits,
    watch: Arc<UploadWatch>,
}

impl UploadBody {
    /// Chooses the stages for an upload and what it must keep to. Nothing is read yet.
    pub fn attach(plan: BodyPlan<'_>, terms: BodyTerms, source: Source, limits: BodyLimits) -> Self {
        let length = plan.head.length;
        let stages = choose_stages(plan, terms);
        Self {
            source: Some(source),
            first: Bytes::new(),
            stages,
            checked: VecDeque::new(),
            ended: false,
            encode: None,
            tap: None,
            ready: VecDeque::new(),
            failed: None,
            length,
            patience: Patience::new(limits),
            throttle: None,
            limits,
            watch: Arc::default(),
        }
    }

    /// The upload of bytes that the store gives, plain and of declared length. Nothing is read yet.
    pub fn of_store(head: &UploadHead, terms: BodyTerms, source: StoreSource) -> Self {
        // Limits for clients: none of them is waited for.
        let linger = LingerLimits { bytes: 0, time: Duration::ZERO };
        let zero = Duration::ZERO;
        let limits = BodyLimits { head: zero, idle: zero, min_rate: 0, rate_window: Duration::MAX, linger };
        Self::attach(BodyPlan { head, chunks: None }, terms, Source::Store(source), limits)
    }

    /// Takes the upload out of a browser form, of which `taken` bytes before the file and the `first` ones of it were read.
    pub fn begin_in_form(&mut self, decode: FormDecode, first: Bytes, taken: usize) {
        self.watch.count(taken);
        self.stages.insert(0, Box::new(decode));
        self.first = first;
    }

    /// Lets inspectors see the object. To be called before anything is read.
    pub fn inspect(&mut self, inspection: Inspection, destination: Destination) {
        let _holdback = self.stages.pop();
        self.tap = Some(Box::new(InspectTap::new(inspection, destination)));
    }

    /// Declared length of the object in bytes.
    pub fn object_length(&self) -> Option<u64> {
        self.length
    }

    /// The shared view of this upload.
    pub fn watch(&self) -> &Arc<UploadWatch> {
        &self.watch
    }

    /// Holds what comes from the client to a rate.
    pub fn throttle(&mut self, throttle: Throttle) {
        self.throttle = Some(throttle);
    }

    /// Puts the store's framing around the object. A checksum for its trailer that is verified here anyway is not computed again.
    pub fn frame(&mut self, mut encode: ChunkEncode) {
        encode.share_checksum(|algorithm| self.stages.iter().find_map(|stage| stage.verifies(algorithm)));
        self.encode = Some(encode);
    }

    /// Reads until the first checked byte can follow the head at once, or everything has come: an upload of one piece has passed every
    /// check before the store hears of it. And no store sees a head alone: SeaweedFS 4.48 makes an empty object of one.
    ///
    /// # Errors
    /// [`Fault`] if a check has already failed.
    pub async fn prime(&mut self) -> Result<(), Fault> {
        std::future::poll_fn(|context| {
            loop {
                if self.is_drained() {
                    // hyper does not ask a body for its end when there is nothing in it.
                    self.watch.set_complete();
                }
                if self.ended || !self.checked.is_empty() {
                    return Poll::Ready(Ok(()));
                }
                if let Err(fault) = ready!(self.poll_more(context)) {
                    return Poll::Ready(Err(fault));
                }
            }
        })
        .await
    }

    /// The next checked bytes of the object, for an upload that is not forwarded as one body. `None` after all checks have passed.
    ///
    /// # Errors
    /// [`Fault`] if a check has failed.
    pub async fn next_checked(&mut self) -> Result<Option<Bytes>, Fault> {
        std::future::poll_fn(|context| {
            loop {
                if let Some(bytes) = self.checked.pop_front() {
                    return Poll::Ready(Ok(Some(bytes)));
                }
                if self.ended {
                    self.watch.set_complete();
                    return Poll::Ready(Ok(None));
                }
                if let Err(fault) = ready!(self.poll_more(context)) {
                    return Poll::Ready(Err(fault));
                }
            }
        })
        .await
    }

    /// Takes one step: at the inspectors' end while they have something to look at, else at the client's.
    fn poll_more(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        if self.tap.is_some() && !ready!(self.poll_tap(context))? {
            return Poll::Ready(Ok(()));
        }
        self.poll_source(context)
    }

    /// Takes one step at the inspectors' end. Ready with whether the client is to be asked for more now.
    fn poll_tap(&mut self, context: &mut Context<'_>) -> Poll<Result<bool, Fault>> {
        let Some(tap) = &mut self.tap else { return Poll::Ready(Ok(true)) };
        let checked = &mut self.checked;
        let polled = tap.poll(context, &mut |bytes| {
            checked.push_back(bytes);
            Ok(())
        });
        match polled {
            Poll::Ready(Ok(None)) => Poll::Ready(Ok(self.checked.is_empty())),
            Poll::Ready(Ok(Some(outcome))) => {
                self.watch.set_outcome(outcome);
                self.ended = true;
                self.tap = None;
                Poll::Ready(Ok(false))
            }
            Poll::Ready(Err(fault)) => Poll::Ready(Err(self.fail(fault))),
            // What was released before may go out in the meantime.
            Poll::Pending if !self.checked.is_empty() => Poll::Ready(Ok(false)),
            Poll::Pending => {
                self.watch.step(true);
                self.poll_superseded(context).map(|fault| Err(self.fail(fault)))
            }
        }
    }

    /// Takes one step at the client's end: a piece through the stages, or the end.
    fn poll_source(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        let Some(source) = &mut self.source else { return Poll::Ready(Ok(())) };
        if !self.first.is_empty() {
            let first = std::mem::take(&mut self.first);
            return Poll::Ready(self.take(first).map_err(|fault| self.fail(fault)));
        }
        self.watch.step(true);
        // Counts as waiting for the client, so the store is not taken for slow; the client's patience has not begun.
        if self.throttle.as_mut().is_some_and(|throttle| throttle.poll_ready(context).is_pending()) {
            return self.poll_idle(context);
        }
        let frame = match source.poll_frame(context) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                let idle = self.poll_idle(context);
                if idle.is_ready() || !self.source.as_ref().is_some_and(Source::is_client) {
                    return idle;
                }
                return self.patience.poll_exhausted(context).map(|fault| Err(self.fail(fault)));
            }
        };
        self.watch.step(false);
        let result = match frame {
            Some(Ok(frame)) => frame.into_data().map_or(Ok(()), |data| self.take(data)),
            Some(Err(fault)) => Err(fault),
            None => self.finish(),
        };
        Poll::Ready(result.map_err(|fault| self.fail(fault)))
    }

    /// What there is to do while the client has nothing, or may send nothing.
    fn poll_idle(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        if let Poll::Ready(fault) = self.poll_superseded(context) {
            return Poll::Ready(Err(self.fail(fault)));
        }
        self.tap.as_mut().map_or(Poll::Pending, |tap| tap.poll_joined(context)).map(Ok)
    }

    /// To be asked before waiting for anything: ready if the store has already answered.
    fn poll_superseded(&self, context: &mut Context<'_>) -> Poll<Fault> {
        self.watch.remember(context.waker());
        // It may have been said between our last look and the line above.
        if self.watch.is_superseded() { Poll::Ready(Fault::Superseded) } else { Poll::Pending }
    }

    fn take(&mut self, data: Bytes) -> Result<(), Fault> {
        self.watch.count(data.len());
        if let Some(throttle) = &self.throttle {
            throttle.charge(data.len());
        }
        self.patience.progress(data.len())?;
        if data.is_empty() {
            return Ok(());
        }
        let (checked, tap) = (&mut self.checked, &mut self.tap);
        push_through(&mut self.stages, data, &mut |bytes| {
            match tap {
                None => checked.push_back(bytes),
                Some(tap) => tap.take(bytes),
            }
            Ok(())
        })
    }

    fn finish(&mut self) -> Result<(), Fault> {
        let (checked, tap) = (&mut self.checked, &mut self.tap);
        finish_through(&mut self.stages, &mut |bytes| {
            match tap {
                None => checked.push_back(bytes),
                Some(tap) => tap.take(bytes),
            }
            Ok(())
        })?;
        match tap {
            None => self.ended = true,
            Some(tap) => tap.end(),
        }
        self.source = None;
        Ok(())
    }

    /// Brings checked bytes, or the end of the framing, into the form that goes out. False if there is nothing to bring.
    fn advance(&mut self) -> Result<bool, Fault> {
        let ready = &mut self.ready;
        let mut emit = |bytes| {
            ready.push_back(bytes);
            Ok(())
        };
        match (self.checked.pop_front(), &mut self.encode) {
            (Some(bytes), Some(encode)) => encode.push(bytes, &mut emit)?,
            (Some(bytes), None) => emit(bytes)?,
            (None, Some(encode)) if self.ended => {
                encode.finish(&mut emit)?;
                self.encode = None;
            }
            (None, _) => return Ok(false),
        }
        Ok(true)
    }

    fn is_drained(&self) -> bool {
        self.ended && self.encode.is_none() && self.checked.is_empty() && self.ready.is_empty()
    }

    /// From here on only the fault comes out, whatever was already released.
    fn fail(&mut self, fault: Fault) -> Fault {
        self.ready.clear();
        self.checked.clear();
        // Closes what the looks have open.
        self.tap = None;
        if let Fault::Inspection(outcome) = &fault {
            self.watch.set_outcome(Arc::clone(outcome));
        }
        self.failed = Some(fault.clone());
        self.watch.set_fault(fault.clone());
        fault
    }
}

pub(in crate::body) fn choose_stages(plan: BodyPlan<'_>, terms: BodyTerms) -> Vec<Box<dyn Stage>> {
    let BodyPlan { head, chunks } = plan;
    let mut stages: Vec<Box<dyn Stage>> = Vec::with_capacity(8);
    let mut digests: Vec<Box<dyn Stage>> = Vec::new();
    if let BodyFraming::AwsChunked { trailer, .. } = head.framing {
        let announced = trailer.map(|algorithm| (algorithm, Trailing::default()));
        digests.extend(
            announced.iter().map(|(algorithm, slot)| boxed(DigestCheck::trailing(*algorithm, Arc::clone(slot)))),
        );
        stages.push(Box::new(ChunkDecode::new(announced, chunks)));
    }
    stages.push(Box::new(LengthGuard::new(head.length, terms.min_size, terms.max_size)));
    if let Some((algorithm, value)) = &head.checksum {
        // Declared as x-amz-content-sha256 too, it is checked once.
        if head.sha256.is_none_or(|sha256| *algorithm != ChecksumAlgorithm::Sha256 || *value != sha256) {
            digests.push(boxed(DigestCheck::checksum(*algorithm, value.clone())));
        }
    }
    if let Some(value) = &head.md5 {
        digests.push(boxed(DigestCheck::content_md5(value.clone())));
    }
    if let Some(value) = head.sha256 {
        digests.push(boxed(DigestCheck::content_sha256(value)));
    }
    stages.append(&mut digests);
    if let Some(declared) = terms.check_type {
        stages.push(Box::new(TypeCheck::new(declared)));
    }
    stages.push(Box::new(Holdback::default()));
    stages
}

fn boxed(stage: impl Stage + 'static) -> Box<dyn Stage> {
    Box::new(stage)
}

impl Body for UploadBody {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let this = &mut *self;
        this.watch.step(false);
        loop {
            if let Some(fault) = &this.failed {
                return Poll::Ready(Some(Err(fault.clone())));
            }
            if this.watch.is_superseded() && !this.watch.is_complete() {
                this.fail(Fault::Superseded);
                continue;
            }
            if let Some(bytes) = this.ready.pop_front() {
                // hyper asks for nothing behind the last declared byte, so this is the last moment to notice the end.
                if this.is_drained() {
                    this.watch.set_complete();
                }
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            match this.advance() {
                Ok(true) => continue,
                Ok(false) => {}
                Err(fault) => return Poll::Ready(Some(Err(this.fail(fault)))),
            }
            if this.ended {
                this.watch.set_complete();
                return Poll::Ready(None);
            }
            if let Err(fault) = ready!(this.poll_more(context)) {
                return Poll::Ready(Some(Err(fault)));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_drained()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

impl Drop for UploadBody {
    fn drop(&mut self) {
        if !self.watch.is_complete() {
            self.watch.set_fault(Fault::Superseded);
        }
        if let Some(source) = self.source.take() {
            source.leave(self.limits.linger);
        }
    }
}

impl std::fmt::Debug for UploadBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UploadBody").field("length", &self.length).field("ended", &self.ended).finish_non_exhaustive()
    }
}

/// How long a client is waited for. Only time spent waiting for the client counts, not time the store takes.
struct Patience {
    limits: BodyLimits,
    idle: Option<Pin<Box<Sleep>>>,
    waiting_since: Option<Instant>,
    waited: Duration,
    bytes: u64,
}

impl Patience {
    fn new(limits: BodyLimits) -> Self {
        Self { limits, idle: None, waiting_since: None, waited: Duration::ZERO, bytes: 0 }
    }

    /// Ready with a fault when nothing came for too long.
    fn poll_exhausted(&mut self, context: &mut Context<'_>) -> Poll<Fault> {
        let now = Instant::now();
        if self.waiting_since.is_none() {
            self.waiting_since = Some(now);
            let deadline = now + self.limits.idle;
            match &mut self.idle {
                Some(idle) => idle.as_mut().reset(deadline),
                None => self.idle = Some(Box::pin(tokio::time::sleep_until(deadline))),
            }
        }
        let idle = self.idle.as_mut().expect("set a few lines above");
        ready!(idle.as_mut().poll(context));
        Poll::Ready(Fault::ClientIdle { seconds: self.limits.idle.as_secs() })
    }

    /// Notes bytes that came.
    fn progress(&mut self, bytes: usize) -> Result<(), Fault> {
        self.bytes += bytes as u64;
        if let Some(since) = self.waiting_since.take() {
            self.waited += since.elapsed();
        }
        if self.waited < self.limits.rate_window {
            return Ok(());
        }
        let least = self.limits.min_rate.saturating_mul(self.waited.as_secs());
        let (bytes, _) = (std::mem::take(&mut self.bytes), std::mem::take(&mut self.waited));
        if bytes < least { Err(Fault::ClientSlow { min_rate: self.limits.min_rate }) } else { Ok(()) }
    }
}

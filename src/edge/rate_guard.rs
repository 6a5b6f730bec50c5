//! Ends connections whose client takes our bytes too slowly.
//!
//! Only time counts during which we have bytes and the client does not take them: a slow upstream or a handler
//! that thinks never makes a client guilty. Sits directly on the TCP socket, under TLS, where "does not take"
//! means that the kernel's send buffer is full. What a client sends too slowly is measured where bodies are read.
//! Source: `docs/THREATS.md` K13.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::settings::ConnectionLimits;

/// How slowly a client may take bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// Longest time without one byte.
    pub(super) idle_timeout: Duration,
    /// Lowest rate in bytes per second of waiting.
    pub(super) min_rate: u64,
    /// Waiting time over which the rate is measured.
    pub(super) window: Duration,
}

impl Pace {
    pub(super) fn of(limits: &ConnectionLimits) -> Self {
        Self { idle_timeout: limits.body_idle_timeout, min_rate: limits.min_body_rate, window: limits.body_rate_window }
    }

    fn bytes_per_window(&self) -> u64 {
        (self.window.as_secs_f64() * self.min_rate as f64) as u64
    }
}

/// Why a client was too slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum TooSlow {
    /// It took nothing at all.
    #[error("client took no byte for {} s", .0.as_secs())]
    Idle(Duration),
    /// It took something, but too little.
    #[error("client took fewer than {0} bytes per second")]
    Rate(u64),
}

/// Adds up waiting time and bytes. No clock and no I/O of its own.
#[derive(Debug, Default)]
struct Meter {
    waiting_since: Option<Instant>,
    /// Waiting time of the current window that is over.
    waited: Duration,
    /// Bytes taken in the current window.
    bytes: u64,
}

impl Meter {
    /// The client takes no byte at `now`. Returns when to look again.
    fn wait(&mut self, now: Instant, pace: &Pace) -> Result<Instant, TooSlow> {
        let since = *self.waiting_since.get_or_insert(now);
        let waiting = now.saturating_duration_since(since);
        if waiting >= pace.idle_timeout {
            return Err(TooSlow::Idle(pace.idle_timeout));
        }
        self.judge_window(waiting, pace)?;
        let window_left = pace.window.saturating_sub(self.waited + waiting);
        Ok(now + window_left.min(pace.idle_timeout - waiting))
    }

    /// The client took bytes. `now` is asked for only if it had been waited for.
    fn take(&mut self, bytes: usize, pace: &Pace, now: impl FnOnce() -> Instant) -> Result<(), TooSlow> {
        self.bytes += bytes as u64;
        if let Some(since) = self.waiting_since.take() {
            self.waited += now().saturating_duration_since(since);
            self.judge_window(Duration::ZERO, pace)?;
        }
        Ok(())
    }

    /// At the end of a window: enough bytes begin a new one, too few are an error.
    fn judge_window(&mut self, waiting: Duration, pace: &Pace) -> Result<(), TooSlow> {
        if self.waited + waiting < pace.window {
            return Ok(());
        }
        if self.bytes < pace.bytes_per_window() {
            return Err(TooSlow::Rate(pace.min_rate));
        }
        // A wait under way counts for the new window from its own beginning: at most one idle time too strict.
        *self = Self { waiting_since: self.waiting_since, waited: Duration::ZERO, bytes: 0 };
        Ok(())
    }
}

/// The TCP stream, failing with [`io::ErrorKind::TimedOut`] when its client is too slow.
#[derive(Debug)]
pub(super) struct RateGuard<IO> {
    inner: IO,
    pace: Pace,
    meter: Meter,
    /// Made when the client is waited for the first time; most connections never need it.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl<IO> RateGuard<IO> {
    pub(super) fn new(inner: IO, pace: Pace) -> Self {
        Self { inner, pace, meter: Meter::default(), alarm: None }
    }

    /// Accounts for the outcome of one write, and turns waiting for too long into an error.
    fn account(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(bytes)) => {
                self.meter.take(bytes, &self.pace, Instant::now).map_err(timed_out)?;
                Poll::Ready(Ok(bytes))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => loop {
                let look_again = self.meter.wait(Instant::now(), &self.pace).map_err(timed_out)?;
                let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(look_again)));
                // An alarm that rings too early costs one look; setting it anew at every wait would cost more.
                if alarm.is_elapsed() || alarm.deadline() > look_again {
                    alarm.as_mut().reset(look_again);
                }
                ready!(alarm.as_mut().poll(cx));
            },
        }
    }
}

fn timed_out(reason: TooSlow) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, reason)
}

/// Whether a connection ended because its client was too slow.
pub(super) fn is_too_slow(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if inner.is_some_and(|inner| inner.is::<TooSlow>()) {
            return true;
        }
        next = error.source();
    }
    false
}

impl<IO: AsyncRead + Unpin> AsyncRead for RateGuard<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for RateGuard<IO> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.inner).poll_write(cx, buf);
        this.account(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.inner).poll_write_vectored(cx, bufs);
        this.account(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    // A TCP socket has nothing to flush and shuts down without waiting, so neither is measured.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const PACE: Pace = Pace { idle_timeout: Duration::from_secs(30), min_rate: 100, window: Duration::from_secs(60) };

    /// Plays alternating waits (seconds) and takes (bytes); returns the first verdict against the client.
    fn play(steps: &[(u64, usize)]) -> Result<(), TooSlow> {
        let mut meter = Meter::default();
        let mut now = Instant::now();
        for &(seconds, bytes) in steps {
            meter.wait(now, &PACE)?;
            now += Duration::from_secs(seconds);
            meter.wait(now, &PACE)?;
            meter.take(bytes, &PACE, || now)?;
        }
        Ok(())
    }

    #[test]
    fn a_client_that_takes_nothing_is_too_slow_after_the_idle_time() {
        assert_eq!(play(&[(29, 1)]), Ok(()));
        assert_eq!(play(&[(30, 1)]), Err(TooSlow::Idle(PACE.idle_timeout)));
    }

    #[test]
    fn a_client_that_takes_a_byte_now_and_then_is_too_slow_after_the_window() {
        assert_eq!(play(&[(20, 1), (20, 1), (19, 1)]), Ok(()));
        assert_eq!(play(&[(20, 1), (20, 1), (20, 1)]), Err(TooSlow::Rate(100)));
        assert_eq!(play(&[(20, 2000), (20, 2000), (20, 2000)]), Err(TooSlow::Rate(100)), "last take comes too late");
        assert_eq!(play(&[(20, 3000), (20, 3000), (20, 0)]), Ok(()));
    }

    #[test]
    fn a_good_start_does_not_pay_for_a_slow_rest() {
        let fast_start = (1, 1 << 30);
        let slow_rest = (20, 1);
        assert_eq!(play(&[fast_start, slow_rest, slow_rest, slow_rest]), Ok(()));
        let steps = [fast_start, slow_rest, slow_rest, slow_rest, slow_rest, slow_rest, slow_rest];
        assert_eq!(play(&steps), Err(TooSlow::Rate(100)));
    }

    /// Writes without end to a reader that takes `bytes` every 10 ms; returns what ended it.
    async fn verdict_on_reader_of(bytes: usize, pace: Pace) -> Option<TooSlow> {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let mut guarded = RateGuard::new(ours, pace);
        let reader = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_millis(10));
            let mut taken = vec![0; bytes];
            while bytes == 0 || theirs.read_exact(&mut taken).await.is_ok() {
                ticks.tick().await;
            }
        });
        // A task of its own, so that nothing but the guard's alarm wakes it.
        let mut writer = tokio::spawn(async move {
            loop {
                if let Err(error) = guarded.write_all(&[0; 64]).await {
                    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
                    assert!(is_too_slow(&error));
                    return error.get_ref().and_then(|reason| reason.downcast_ref()).copied();
                }
            }
        });
        let verdict = tokio::time::timeout(Duration::from_secs(1), &mut writer).await;
        writer.abort();
        reader.abort();
        verdict.map_or(None, |ended| ended.unwrap())
    }

    #[tokio::test]
    async fn an_alarm_that_rang_is_set_again() {
        let pace = Pace { idle_timeout: Duration::from_millis(50), min_rate: 0, window: Duration::from_secs(600) };
        let (ours, mut theirs) = tokio::io::duplex(64);
        let mut guarded = RateGuard::new(ours, pace);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut write = |guarded: &mut RateGuard<_>| Pin::new(guarded).poll_write(&mut cx, &[0; 64]);
        assert!(write(&mut guarded).is_ready());
        assert!(write(&mut guarded).is_pending());
        let first = guarded.alarm.as_ref().unwrap().deadline();
        sleep_until(first).await;
        theirs.read_exact(&mut [0; 1]).await.unwrap();
        assert!(write(&mut guarded).is_ready());
        assert!(write(&mut guarded).is_pending());
        assert!(guarded.alarm.as_ref().unwrap().deadline() > first);
    }

    #[tokio::test]
    async fn writing_ends_when_the_reader_stands_or_creeps_and_only_then() {
        let (short, long) = (Duration::from_millis(400), Duration::from_secs(600));
        let idle = Pace { idle_timeout: short, min_rate: 0, window: long };
        assert_eq!(verdict_on_reader_of(0, idle).await, Some(TooSlow::Idle(short)));
        assert_eq!(verdict_on_reader_of(1, idle).await, None);
        let rate = Pace { idle_timeout: long, min_rate: 500, window: short };
        assert_eq!(verdict_on_reader_of(0, rate).await, Some(TooSlow::Rate(500)));
        assert_eq!(verdict_on_reader_of(1, rate).await, Some(TooSlow::Rate(500)));
        assert_eq!(verdict_on_reader_of(64, rate).await, None);
    }

    #[test]
    fn time_in_which_nobody_waits_for_the_client_does_not_count() {
        let mut meter = Meter::default();
        let start = Instant::now();
        meter.take(1, &PACE, || start).unwrap();
        meter.take(1, &PACE, || start + Duration::from_secs(3600)).unwrap();
        assert_eq!(meter.waited, Duration::ZERO);
        assert!(meter.wait(start + Duration::from_secs(7200), &PACE).is_ok());
    }
}

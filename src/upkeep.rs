//! Keeps a background task going that must not end: one that refreshes, asks or cleans up again and again.
//!
//! A panic in it ends one attempt, not the task: what it keeps fresh would grow old without a word. It begins anew after a pause, which
//! grows while it panics again and again. The panic itself is logged and counted by the panic hook.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::{Instant, sleep};

/// Pause before the second attempt; doubled for each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Runs the task, and begins it anew whenever it panics. A task that returns has ended, and that is all.
pub async fn forever<F: Future<Output = ()>>(task: &'static str, begin: impl FnMut() -> F) {
    forever_after(FIRST_PAUSE, task, begin).await;
}

async fn forever_after<F: Future<Output = ()>>(
    first_pause: Duration,
    task: &'static str,
    mut begin: impl FnMut() -> F,
) {
    let mut pause = first_pause;
    loop {
        let begun = Instant::now();
        // What it shares with others it shares by locks, which outlive a panic, or by atomic values.
        let attempt = AssertUnwindSafe(async { begin().await }).catch_unwind().await;
        if attempt.is_ok() {
            return;
        }
        if begun.elapsed() > LONGEST_PAUSE {
            pause = first_pause;
        }
        tracing::error!(
            task,
            pause_s = pause.as_secs_f64(),
            "a background task panicked; it begins anew after a pause"
        );
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    const PAUSE: Duration = Duration::from_millis(5);

    #[tokio::test]
    async fn a_task_that_panics_begins_anew_after_growing_pauses() {
        let begun = AtomicU32::new(0);
        let start = Instant::now();
        forever_after(PAUSE, "test", || {
            let attempt = begun.fetch_add(1, Ordering::Relaxed);
            async move {
                tokio::task::yield_now().await;
                assert!(attempt == 3, "as the test asked");
            }
        })
        .await;
        assert_eq!(begun.load(Ordering::Relaxed), 4);
        assert!(start.elapsed() >= PAUSE * (1 + 2 + 4));
    }

    #[tokio::test]
    async fn a_panic_before_the_first_await_is_outlived_too() {
        let mut begun = 0;
        forever_after(PAUSE, "test", || {
            begun += 1;
            assert!(begun == 2, "as the test asked");
            std::future::ready(())
        })
        .await;
        assert_eq!(begun, 2);
    }
}

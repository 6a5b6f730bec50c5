//! What concerns buckets as a whole: their settings, small documents about keys, and the list of a whole store's buckets.

pub mod forward;
pub mod list_buckets;

use std::time::Duration;

use bytes::Bytes;

use crate::respond::{Refusal, store_answer};
use crate::upstream::ReplyBody;

/// Largest answer read. 10,000 buckets take about 2 MB, a lifecycle configuration of 1,000 rules 200 KB.
const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;
/// Longest time for it behind its head.
const ANSWER_TIME: Duration = Duration::from_secs(60);

async fn collect_answer(body: ReplyBody) -> Result<Bytes, Refusal> {
    store_answer::collect(body, MAX_ANSWER_BYTES, ANSWER_TIME).await
}

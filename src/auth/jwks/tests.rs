use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use tokio::time::timeout;

use super::*;
use crate::auth::key_fetch::KeyFetchError;

const DEADLINE: Duration = Duration::from_secs(10);

fn times(cool_down: Duration) -> CacheTimes {
    CacheTimes { cool_down, refresh_every: Duration::from_secs(3600), ..CacheTimes::default() }
}

/// A key set with one key of this name.
fn key_set(kid: &str) -> KeySet {
    let coordinate = "A".repeat(43);
    let key = json!({"kty": "EC", "crv": "P-256", "kid": kid, "x": coordinate, "y": coordinate});
    KeySet::parse(json!({"keys": [key]}).to_string().as_bytes()).unwrap()
}

fn has(cache: &KeyCache, kid: &str) -> bool {
    cache.keys().is_some_and(|held| held.keys.select(jsonwebtoken::Algorithm::ES256, Some(kid)).is_ok())
}

/// Gives prepared answers, then failures, and notes when it was asked.
struct Script {
    answers: Mutex<VecDeque<Option<&'static str>>>,
    takes: Duration,
    fetches: watch::Sender<Vec<(Instant, Instant)>>,
    busy: AtomicBool,
}

impl Script {
    fn new(answers: &[Option<&'static str>]) -> Self {
        let answers = Mutex::new(answers.iter().copied().collect());
        Self { answers, takes: Duration::ZERO, fetches: watch::channel(Vec::new()).0, busy: AtomicBool::new(false) }
    }

    /// Waits until so many fetches have ended.
    async fn ended(&self, count: usize) {
        let mut fetches = self.fetches.subscribe();
        drop(timeout(DEADLINE, fetches.wait_for(|list| list.len() >= count)).await.unwrap().unwrap());
    }
}

impl KeySetSource for Arc<Script> {
    async fn fetch(&self) -> Result<KeySet, KeyFetchError> {
        assert!(!self.busy.swap(true, Ordering::SeqCst), "two fetches at a time");
        let began = Instant::now();
        tokio::time::sleep(self.takes).await;
        let answer = self.answers.lock().unwrap().pop_front().flatten();
        self.busy.store(false, Ordering::SeqCst);
        self.fetches.send_modify(|list| list.push((began, Instant::now())));
        answer.map(key_set).ok_or(KeyFetchError::TooLarge)
    }
}

fn keep_fresh(cache: &Arc<KeyCache>, script: &Arc<Script>) -> tokio::task::JoinHandle<()> {
    let (cache, script) = (Arc::clone(cache), Arc::clone(script));
    tokio::spawn(async move { cache.keep_fresh(&script).await })
}

#[tokio::test]
async fn i10_fetches_keep_the_cool_down_whatever_is_wished() {
    let cool_down = Duration::from_millis(60);
    let cache = Arc::new(KeyCache::new("corp", times(cool_down)));
    let answers = [Some("a"), None, None, Some("b"), None, None];
    let script = Arc::new(Script { takes: Duration::from_millis(10), ..Script::new(&answers) });
    let task = keep_fresh(&cache, &script);
    let wishes = {
        let cache = Arc::clone(&cache);
        tokio::spawn(async move {
            loop {
                cache.wish();
                tokio::task::yield_now().await;
            }
        })
    };
    script.ended(6).await;
    wishes.abort();
    task.abort();
    let fetches = script.fetches.borrow().clone();
    for pair in fetches.windows(2) {
        let ((_, ended), (began, _)) = (pair[0], pair[1]);
        assert!(began - ended >= cool_down, "{:?}", began - ended);
    }
}

#[tokio::test]
async fn a_wish_brings_the_next_fetch_forward_and_counts_once() {
    let cache = Arc::new(KeyCache::new("corp", times(Duration::from_millis(10))));
    let script = Arc::new(Script::new(&[Some("a"), Some("b"), Some("c")]));
    let task = keep_fresh(&cache, &script);
    script.ended(1).await;
    assert!(timeout(Duration::from_millis(100), script.ended(2)).await.is_err(), "nobody wished for it");
    for _ in 0..100 {
        cache.wish();
    }
    script.ended(2).await;
    assert!(timeout(Duration::from_millis(100), script.ended(3)).await.is_err(), "a hundred wishes, one fetch");
    cache.wish();
    script.ended(3).await;
    task.abort();
}

#[tokio::test]
async fn failures_keep_the_old_keys_and_successes_replace_them() {
    let cool_down = Duration::from_millis(5);
    let cache = Arc::new(KeyCache::new("corp", times(cool_down)));
    let script = Arc::new(Script::new(&[Some("a"), None, None]));
    let task = keep_fresh(&cache, &script);
    script.ended(1).await;
    cache.wish();
    script.ended(4).await; // after a failure the next try follows by itself
    assert!(has(&cache, "a"));
    task.abort();

    cache.store(key_set("b"));
    assert!(has(&cache, "b") && !has(&cache, "a"));
    cache.store(KeySet::default());
    assert!(cache.keys().is_none());
    assert!(cache.age().is_some());
}

#[tokio::test]
async fn the_first_fetch_is_over_when_it_failed() {
    let cache = Arc::new(KeyCache::new("corp", times(DEADLINE)));
    assert!(timeout(Duration::from_millis(20), cache.first_fetch()).await.is_err(), "not begun");
    let script = Arc::new(Script::new(&[None]));
    let task = keep_fresh(&cache, &script);
    timeout(DEADLINE, cache.first_fetch()).await.unwrap();
    timeout(DEADLINE, cache.first_fetch()).await.unwrap();
    assert!(cache.keys().is_none() && cache.age().is_none());
    task.abort();
}

#[test]
fn i10_keys_have_a_last_day() {
    let limit = Duration::from_secs(60);
    let cache = KeyCache::new("corp", CacheTimes { max_stale: limit, ..CacheTimes::default() });
    let ago = |age: Duration| Instant::now().checked_sub(age).unwrap();
    cache.store_fetched(key_set("a"), ago(limit - Duration::from_secs(5)));
    assert!(has(&cache, "a"));
    cache.store_fetched(key_set("a"), ago(limit));
    assert!(cache.keys().is_none());
}

#[test]
fn adopted_keys_keep_their_age() {
    let times = CacheTimes::default();
    let (old, new) = (KeyCache::new("corp", times), KeyCache::new("corp", times));
    old.store_fetched(key_set("a"), Instant::now().checked_sub(Duration::from_secs(100)).unwrap());
    new.adopt(&old);
    assert!(has(&new, "a"));
    assert!(new.age().unwrap() >= Duration::from_secs(100));
}

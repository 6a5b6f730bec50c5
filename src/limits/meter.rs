//! Bytes of one body, counted against every account they belong to.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::limits::accounts::Account;
use crate::limits::rate::{Bucket, Nanos};

/// Debt that is not waited for: at full speed the pieces of a body come in bunches.
const GRACE: Duration = Duration::from_millis(100);

/// Which way the bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client.
    Upload,
    /// To the client.
    Download,
}

impl Direction {
    pub(in crate::limits) fn bucket(self, account: &Account) -> &Bucket {
        match self {
            Self::Upload => &account.upload,
            Self::Download => &account.download,
        }
    }
}

impl std::fmt::Display for Direction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Upload => "uploads",
            Self::Download => "downloads",
        })
    }
}

/// Counts the bytes of one body in one direction, and says how long to wait for the next ones.
#[derive(Debug, Clone)]
pub struct Meter {
    direction: Direction,
    accounts: Vec<(Arc<Account>, NonZeroU64)>,
    since: Instant,
}

impl Meter {
    /// Counts against these accounts, with the bytes per second of each. `None` if there are none.
    pub(in crate::limits) fn new(
        direction: Direction,
        accounts: Vec<(Arc<Account>, NonZeroU64)>,
        since: Instant,
    ) -> Option<Self> {
        (!accounts.is_empty()).then_some(Self { direction, accounts, since })
    }

    /// Counts bytes that have passed.
    pub fn charge(&self, bytes: usize, now: Instant) {
        for (account, per_second) in &self.accounts {
            self.direction.bucket(account).charge(bytes as u64, per_second.get(), nanos(self.since, now));
        }
    }

    /// How long to wait before more bytes may pass; zero for not at all.
    pub fn wait(&self, now: Instant) -> Duration {
        let now = nanos(self.since, now);
        let debts = self.accounts.iter().map(|(account, _)| self.direction.bucket(account).debt(now));
        debts.max().unwrap_or_default().saturating_sub(GRACE)
    }
}

/// Nanoseconds from one instant to another.
pub(in crate::limits) fn nanos(since: Instant, now: Instant) -> Nanos {
    u64::try_from(now.saturating_duration_since(since).as_nanos()).unwrap_or(u64::MAX)
}

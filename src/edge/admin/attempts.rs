//! How often an address may show a wrong token.
//!
//! Tokens cannot be guessed; this keeps a program that tries from filling the log, and an operator who reads it from overlooking that one
//! tries. A right token is never limited, or whoever shares an operator's address could keep the operator out; nor are other addresses.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::base::network_of;

/// Wrong tokens in a row.
const BURST: u32 = 10;
/// Time after which one more is allowed.
const REFILL: Duration = Duration::from_secs(6);
/// Addresses that are remembered; of more, the one that was seen least recently is forgotten.
const MAX_ADDRESSES: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Attempts(Mutex<HashMap<IpAddr, Failures>>);

#[derive(Debug)]
struct Failures {
    count: u32,
    /// When one of them is next forgiven.
    since: Instant,
}

impl Attempts {
    /// How long the address has to wait before a wrong token is looked into again; `None` if it is now.
    pub(super) fn must_wait(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let failures = all.get_mut(&network_of(address))?;
        failures.forgive(now);
        (failures.count >= BURST).then(|| REFILL.saturating_sub(now.saturating_duration_since(failures.since)))
    }

    /// Notes a wrong token.
    pub(super) fn failed(&self, address: IpAddr, now: Instant) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let address = network_of(address);
        if all.len() >= MAX_ADDRESSES && !all.contains_key(&address) {
            let oldest = all.iter().min_by_key(|(_, failures)| failures.since).map(|(address, _)| *address);
            oldest.and_then(|address| all.remove(&address));
        }
        let failures = all.entry(address).or_insert(Failures { count: 0, since: now });
        failures.forgive(now);
        failures.count += 1;
    }
}

impl Failures {
    fn forgive(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.since).as_secs() / REFILL.as_secs();
        let forgiven = u32::try_from(passed).unwrap_or(u32::MAX);
        match self.count.checked_sub(forgiven) {
            Some(left) if left > 0 => (self.count, self.since) = (left, self.since + REFILL * forgiven),
            _ => (self.count, self.since) = (0, now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn ten_wrong_tokens_then_one_in_six_seconds() {
        let (attempts, start) = (Attempts::default(), Instant::now());
        for _ in 0..BURST {
            assert_eq!(attempts.must_wait(HERE, start), None);
            attempts.failed(HERE, start);
        }
        assert_eq!(attempts.must_wait(HERE, start), Some(REFILL));
        assert_eq!(attempts.must_wait("127.0.0.2".parse().unwrap(), start), None, "another address");
        let later = start + REFILL;
        assert_eq!(attempts.must_wait(HERE, later), None);
        attempts.failed(HERE, later);
        assert_eq!(attempts.must_wait(HERE, later), Some(REFILL));
        assert_eq!(attempts.must_wait(HERE, later + REFILL * 11), None);
    }

    #[test]
    fn the_addresses_of_one_network_count_together_and_not_more_are_kept_than_there_is_room() {
        let (attempts, start) = (Attempts::default(), Instant::now());
        for host in 1..=10_u128 {
            attempts.failed(std::net::Ipv6Addr::from_bits((0x2001_0db8 << 96) | host).into(), start);
        }
        assert!(attempts.must_wait("2001:db8::ffff".parse().unwrap(), start).is_some());
        for network in 0..5000_u32 {
            attempts.failed(std::net::Ipv4Addr::from_bits(network).into(), start + Duration::from_millis(1));
        }
        assert_eq!(attempts.0.lock().unwrap().len(), MAX_ADDRESSES);
    }
}

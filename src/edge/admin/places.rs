//! The places for connections of the admin listener. When all are taken, somebody who only waits loses theirs to the newcomer.
//!
//! Nobody waits in the backlog behind silent connections, or whoever can reach the listener could hold up probes until an orchestrator
//! restarts the gateway. The place is taken from the address that holds the most of them, so one address that floods displaces itself;
//! there from the connection that has waited longest for its client: in its handshake, for its first head or for its next. One whose request
//! is being answered keeps its place. Not simply the one without any request: a request is sent easily, and the probe itself begins without.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::attempts::network;

/// How long a connection is left in its place at least: enough to send a head that is ready, and with 256 places a bound of 5,120 newcomers a
/// second for what a flood may cost. A whole backlog of others passes in less than a second.
const STAY: Duration = Duration::from_millis(50);

/// All places; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Places(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limit: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    by: HashMap<u64, Holder>,
    /// The number of the next.
    next: u64,
}

#[derive(Debug)]
struct Holder {
    network: IpAddr,
    /// Since when its client is waited for; `None` while it is answered.
    waiting: Option<Instant>,
    lost: Arc<Notify>,
}

/// A place, free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    number: u64,
    places: Places,
    lost: Arc<Notify>,
    is_of_another: bool,
}

impl Places {
    pub(super) fn new(limit: usize) -> Self {
        Self(Arc::new(Shared { limit, taken: Mutex::default() }))
    }

    /// A place for a connection from this address.
    ///
    /// # Errors
    /// How long to wait before asking again, if nobody can be displaced yet.
    pub(super) fn take(&self, address: IpAddr, now: Instant) -> Result<Place, Duration> {
        let (network, mut taken) = (network(address), self.taken());
        let is_full = taken.by.len() >= self.0.limit;
        if is_full {
            let (number, since) = taken.longest_waiting(network).ok_or(STAY)?;
            let waited = now.saturating_duration_since(since);
            if waited < STAY {
                return Err(STAY - waited);
            }
            if let Some(holder) = taken.by.remove(&number) {
                holder.lost.notify_one();
            }
        }
        let (number, lost) = (taken.next, Arc::new(Notify::new()));
        taken.next += 1;
        taken.by.insert(number, Holder { network, waiting: Some(now), lost: Arc::clone(&lost) });
        Ok(Place { number, places: self.clone(), lost, is_of_another: is_full })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// Who makes room for somebody from this network.
    fn longest_waiting(&self, newcomer: IpAddr) -> Option<(u64, Instant)> {
        let mut held = HashMap::from([(newcomer, 1_usize)]);
        for holder in self.by.values() {
            *held.entry(holder.network).or_default() += 1;
        }
        let waiting = self.by.iter().filter_map(|(number, holder)| {
            let held = held.get(&holder.network).copied().unwrap_or_default();
            holder.waiting.map(|since| (Reverse(held), since, *number))
        });
        waiting.min().map(|(_, since, number)| (number, since))
    }
}

impl Place {
    /// Whether somebody was displaced for it.
    pub(super) fn is_of_another(&self) -> bool {
        self.is_of_another
    }

    /// Completes when the place went to somebody else.
    pub(super) async fn is_lost(&self) {
        self.lost.notified().await;
    }

    /// A request has come; the place is kept until the result is dropped.
    pub(super) fn busy(self: &Arc<Self>) -> Busy {
        self.set_waiting(None);
        Busy(Arc::clone(self))
    }

    fn set_waiting(&self, since: Option<Instant>) {
        if let Some(holder) = self.places.taken().by.get_mut(&self.number) {
            holder.waiting = since;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken().by.remove(&self.number);
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct Busy(Arc<Place>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.set_waiting(Some(Instant::now()));
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const FLOODER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 9));
    const PROBE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn is_lost(place: &Place) -> bool {
        place.is_lost().now_or_never().is_some()
    }

    #[test]
    fn whoever_holds_most_loses_the_place_that_has_waited_longest() {
        let (places, start) = (Places::new(4), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        let probe = places.take(PROBE, at(0)).unwrap();
        let flood: Vec<_> = (1..4).map(|millis| places.take(FLOODER, at(millis)).unwrap()).collect();
        assert!(!probe.is_of_another() && !flood[2].is_of_another(), "there was room");
        let next = places.take(FLOODER, at(100)).unwrap();
        assert!(next.is_of_another() && is_lost(&flood[0]));
        let other = places.take(PROBE, at(100)).unwrap();
        assert!(is_lost(&flood[1]) && !is_lost(&flood[2]));
        // Two of each: the newcomer counts.
        let third = places.take(FLOODER, at(100)).unwrap();
        assert!(is_lost(&flood[2]) && !is_lost(&next) && !is_lost(&probe) && !is_lost(&other));
        drop(third);
        assert!(!places.take(FLOODER, at(100)).unwrap().is_of_another(), "a place that was given back");
    }

    #[test]
    fn everybody_has_a_moment_and_whoever_is_answered_keeps_the_place() {
        let (places, start) = (Places::new(2), Instant::now());
        let answered = Arc::new(places.take(PROBE, start).unwrap());
        let busy = answered.busy();
        let other = Arc::new(places.take(PROBE, start).unwrap());
        let early = start + Duration::from_millis(5);
        assert_eq!(places.take(PROBE, early).unwrap_err(), STAY - Duration::from_millis(5));
        let displaced = other.busy();
        assert_eq!(places.take(PROBE, start + STAY * 9).unwrap_err(), STAY, "both are answered");
        drop(displaced);
        let later = Instant::now() + STAY;
        let newcomer = places.take(PROBE, later).unwrap();
        assert!(is_lost(&other) && !is_lost(&answered));
        drop(busy);
        drop((other, newcomer));
        assert!(!places.take(PROBE, later).unwrap().is_of_another());
    }

    #[test]
    fn the_addresses_of_one_network_count_together() {
        let (places, start) = (Places::new(3), Instant::now());
        let probe = places.take(PROBE, start).unwrap();
        let many = |host: u128| std::net::Ipv6Addr::from_bits((0x2001_0db8 << 96) | host).into();
        let flood: Vec<_> = (1..3).map(|host| places.take(many(host), start).unwrap()).collect();
        let _next = places.take(many(3), start + STAY).unwrap();
        assert!(is_lost(&flood[0]) && !is_lost(&probe));
    }
}

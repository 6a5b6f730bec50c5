//! The places for connections of the admin listener. When all are taken, somebody loses theirs to the newcomer.
//!
//! Nobody waits in the backlog behind others, or whoever can reach the listener could hold up probes until an orchestrator restarts the
//! gateway. The place is taken from the address that holds the most of them, so one address that floods displaces itself; there first from
//! a connection that has asked before, then from the one that is silent for longest. A stranger's request keeps no place, since requests are
//! sent easily: only what is answered to somebody who was identified does, up to the end of its body.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::sync::Notify;

use super::AdminBody;
use crate::base::network_of;

/// How long a connection is left in its place at least until it has asked, when somebody of another network comes: enough to send a head that
/// is ready.
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
    state: State,
    /// Since when it is in this state.
    since: Instant,
    lost: Arc<Notify>,
}

/// In the order in which connections of one network lose their places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    /// It has asked, so it had its moment. One that asks all the time is as good as one that asked once.
    Asked,
    /// In its handshake, or before the end of its first head.
    New,
    /// Answered to somebody who was identified. Displaced only where there are no others.
    Served,
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
        let (network, mut taken) = (network_of(address), self.taken());
        let is_full = taken.by.len() >= self.0.limit;
        if is_full && let Some((number, wait)) = taken.next_to_go(network, now) {
            if !wait.is_zero() {
                return Err(wait);
            }
            if let Some(holder) = taken.by.remove(&number) {
                holder.lost.notify_one();
            }
        }
        let (number, lost) = (taken.next, Arc::new(Notify::new()));
        taken.next += 1;
        taken.by.insert(number, Holder { network, state: State::New, since: now, lost: Arc::clone(&lost) });
        Ok(Place { number, places: self.clone(), lost, is_of_another: is_full })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// Who makes room for somebody from this network, and how long it still stays.
    fn next_to_go(&self, newcomer: IpAddr, now: Instant) -> Option<(u64, Duration)> {
        let mut held = HashMap::from([(newcomer, 1_usize)]);
        for holder in self.by.values() {
            *held.entry(holder.network).or_default() += 1;
        }
        let order = |(number, holder): &(&u64, &Holder)| {
            let held = held.get(&holder.network).copied().unwrap_or_default();
            (holder.state == State::Served, Reverse(held), holder.state, holder.since, **number)
        };
        let (number, holder) = self.by.iter().min_by_key(order)?;
        // A network that floods pays by itself: its newcomers do not hold up those of others behind them in the backlog.
        let stays = holder.state != State::Asked && holder.network != newcomer;
        Some((*number, if stays { (holder.since + STAY).saturating_duration_since(now) } else { Duration::ZERO }))
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

    /// A request has come.
    pub(super) fn asked(&self) {
        self.set(State::Asked);
    }

    /// Somebody who was identified is answered; the place is kept until the result is dropped.
    pub(super) fn serve(self: &Arc<Self>) -> Served {
        self.set(State::Served);
        Served(Arc::clone(self))
    }

    fn set(&self, state: State) {
        if let Some(holder) = self.places.taken().by.get_mut(&self.number) {
            (holder.state, holder.since) = (state, Instant::now());
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken().by.remove(&self.number);
    }
}

/// An answer to somebody who was identified.
#[derive(Debug)]
pub(super) struct Served(Arc<Place>);

impl Served {
    /// The body, which keeps the place until it is sent.
    pub(super) fn until_sent(self, body: AdminBody) -> AdminBody {
        KeepingBody { body, _served: self }.boxed_unsync()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.0.asked();
    }
}

struct KeepingBody {
    body: AdminBody,
    _served: Served,
}

impl Body for KeepingBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
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
    fn everybody_has_a_moment_when_others_come_and_none_after_having_asked() {
        let (places, start) = (Places::new(2), Instant::now());
        let (silent, asking) = (places.take(PROBE, start).unwrap(), places.take(PROBE, start).unwrap());
        let early = start + Duration::from_millis(5);
        assert_eq!(places.take(FLOODER, early).unwrap_err(), STAY - Duration::from_millis(5));
        asking.asked();
        let newcomer = places.take(FLOODER, early).unwrap();
        assert!(is_lost(&asking) && !is_lost(&silent));
        // Whoever holds most does not wait for itself, nor does it let others wait.
        let next = places.take(FLOODER, early).unwrap();
        assert!(is_lost(&newcomer) && !is_lost(&silent) && next.is_of_another());
    }

    #[test]
    fn one_that_keeps_asking_goes_before_one_that_has_not_asked_yet() {
        let (places, start) = (Places::new(3), Instant::now());
        let asking: Vec<_> = (0..2).map(|_| places.take(PROBE, start).unwrap()).collect();
        let probe = places.take(PROBE, start).unwrap();
        for place in &asking {
            place.asked();
        }
        let _next = places.take(PROBE, start + STAY * 9).unwrap();
        assert!(is_lost(&asking[0]) && !is_lost(&asking[1]) && !is_lost(&probe));
    }

    #[test]
    fn what_is_answered_to_somebody_known_goes_last_and_when_nothing_else_is_left() {
        let (places, start) = (Places::new(2), Instant::now());
        let operator = Arc::new(places.take(PROBE, start).unwrap());
        let body = operator.serve().until_sent(http_body_util::Full::new(Bytes::from_static(b"x")).boxed_unsync());
        assert_eq!(body.size_hint().exact(), Some(1));
        let other = Arc::new(places.take(FLOODER, start).unwrap());
        let next = Arc::new(places.take(PROBE, start + STAY).unwrap());
        assert!(is_lost(&other) && !is_lost(&operator), "although the operator's address holds more");
        let held = next.serve();
        let later = Instant::now() + STAY;
        let _newcomer = places.take(FLOODER, later).unwrap();
        assert!(is_lost(&operator) && !is_lost(&next), "nobody ever waits for an answer to end");
        drop(body);
        drop(held);
        assert_eq!(places.taken().by.len(), 2);
    }

    #[test]
    fn the_addresses_of_one_network_count_together() {
        let (places, start) = (Places::new(3), Instant::now());
        let probe = places.take(PROBE, start).unwrap();
        let many = |host: u128| std::net::Ipv6Addr::from_bits((0x2001_0db8 << 96) | host).into();
        let flood: Vec<_> = (1..3).map(|host| places.take(many(host), start).unwrap()).collect();
        let _next = places.take(many(3), start).unwrap();
        assert!(is_lost(&flood[0]) && !is_lost(&probe));
    }
}

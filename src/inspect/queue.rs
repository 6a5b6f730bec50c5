//! The places for looks of one inspector, and the queue before them: bounded in length and in time, and fair between principals.
//!
//! Principals take turns, so that one with many requests does not make the others wait for all of them, and each holds only its share of
//! the places and of the queue. The requests of one principal come in their order.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_channel::oneshot;

/// The places of one inspector.
#[derive(Debug)]
pub struct Queue {
    max_waiting: usize,
    /// Most places, and most waiting requests, of one principal.
    share: Share,
    longest_wait: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct Share {
    places: usize,
    waiting: usize,
}

#[derive(Debug)]
struct State {
    places: usize,
    /// The places that count now: these, or fewer.
    open: usize,
    taken: usize,
    held: HashMap<String, usize>,
    /// Those who wait, by principal; none of the lines is empty.
    lines: HashMap<String, VecDeque<Turn>>,
    /// The principals of the lines, the next one first.
    order: VecDeque<String>,
    waiting: usize,
    last_number: u64,
}

#[derive(Debug)]
struct Turn {
    number: u64,
    granted: oneshot::Sender<()>,
}

/// One place; given back when it is dropped.
#[derive(Debug)]
pub struct Place {
    queue: Arc<Queue>,
    principal: String,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoPlace {
    /// As many wait as may, of all or of this principal.
    Full,
    /// The turn did not come in time.
    Late,
}

/// One in the queue; leaves it when dropped.
struct Waiting {
    queue: Arc<Queue>,
    principal: String,
    number: u64,
    claimed: bool,
}

impl Queue {
    /// So many places, a queue of this length and time, and the part of both that one principal may hold, in percent, at least one.
    pub fn new(places: usize, max_waiting: usize, percent: u8, longest_wait: Duration) -> Arc<Self> {
        let share = |of: usize| of.saturating_mul(usize::from(percent)).div_ceil(100).max(1);
        let state = State {
            places,
            open: places,
            taken: 0,
            held: HashMap::new(),
            lines: HashMap::new(),
            order: VecDeque::new(),
            waiting: 0,
            last_number: 0,
        };
        let share = Share { places: share(places), waiting: share(max_waiting) };
        Arc::new(Self { max_waiting, share, longest_wait, state: Mutex::new(state) })
    }

    /// Takes a place for a principal.
    ///
    /// # Errors
    /// [`NoPlace`] if there is none in time, or too many wait for one already.
    pub async fn take(self: &Arc<Self>, principal: &str) -> Result<Place, NoPlace> {
        let (waiting, turn) = {
            let mut state = self.lock();
            if state.may_have(principal, self.share.places) {
                state.give(principal);
                return Ok(self.place(principal));
            }
            let line = state.lines.get(principal).map_or(0, VecDeque::len);
            if state.waiting >= self.max_waiting || line >= self.share.waiting {
                return Err(NoPlace::Full);
            }
            let (number, turn) = state.join(principal);
            (Waiting { queue: Arc::clone(self), principal: principal.to_owned(), number, claimed: false }, turn)
        };
        match tokio::time::timeout(self.longest_wait, turn).await {
            Ok(Ok(())) => Ok(waiting.claim()),
            Ok(Err(_)) | Err(_) => Err(NoPlace::Late),
        }
    }

    /// Gives no more than so many places from now on, if it has more. Those that are taken stay taken.
    pub fn limit(&self, most: Option<usize>) {
        let mut state = self.lock();
        let open = most.map_or(state.places, |most| most.clamp(1, state.places.max(1)));
        let is_more = open > state.open;
        state.open = open;
        if is_more {
            state.serve(self.share.places);
        }
    }

    /// Places that are taken.
    pub fn taken(&self) -> usize {
        self.lock().taken
    }

    /// Requests that wait for a place.
    pub fn waiting(&self) -> usize {
        self.lock().waiting
    }

    fn place(self: &Arc<Self>, principal: &str) -> Place {
        Place { queue: Arc::clone(self), principal: principal.to_owned() }
    }

    fn give_back(&self, principal: &str) {
        let mut state = self.lock();
        state.take_back(principal);
        state.serve(self.share.places);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// While a place is free, all who wait have their share: so nobody is overtaken here but by those.
    fn may_have(&self, principal: &str, share: usize) -> bool {
        self.taken < self.open && self.held.get(principal).is_none_or(|held| *held < share)
    }

    fn give(&mut self, principal: &str) {
        self.taken += 1;
        *self.held.entry(principal.to_owned()).or_default() += 1;
    }

    fn take_back(&mut self, principal: &str) {
        self.taken -= 1;
        if let Some(held) = self.held.get_mut(principal) {
            *held -= 1;
            if *held == 0 {
                self.held.remove(principal);
            }
        }
    }

    fn join(&mut self, principal: &str) -> (u64, oneshot::Receiver<()>) {
        let (granted, turn) = oneshot::channel();
        self.last_number += 1;
        self.waiting += 1;
        let line = self.lines.entry(principal.to_owned()).or_default();
        if line.is_empty() {
            self.order.push_back(principal.to_owned());
        }
        line.push_back(Turn { number: self.last_number, granted });
        (self.last_number, turn)
    }

    /// Takes one out of its line. False if it is not there any more, because its turn has come.
    fn leave(&mut self, principal: &str, number: u64) -> bool {
        let Some(line) = self.lines.get_mut(principal) else { return false };
        let Some(position) = line.iter().position(|turn| turn.number == number) else { return false };
        line.remove(position);
        self.waiting -= 1;
        if line.is_empty() {
            self.lines.remove(principal);
            self.order.retain(|other| other != principal);
        }
        true
    }

    /// Gives the free places to those whose turn it is. Who was served goes to the end of the order; who has its share is passed over and
    /// stays where it is.
    fn serve(&mut self, share: usize) {
        while let Some(next) = self.order.iter().position(|principal| self.may_have(principal, share)) {
            let Some(principal) = self.order.remove(next) else { return };
            let Some(line) = self.lines.get_mut(&principal) else { return };
            let Some(turn) = line.pop_front() else { return };
            if line.is_empty() {
                self.lines.remove(&principal);
            } else {
                self.order.push_back(principal.clone());
            }
            self.waiting -= 1;
            self.give(&principal);
            // Who has left in this moment finds itself out of the line, and gives the place back.
            let _left = turn.granted.send(());
        }
    }
}

impl Waiting {
    fn claim(mut self) -> Place {
        self.claimed = true;
        self.queue.place(&self.principal)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.claimed {
            return;
        }
        let mut state = self.queue.lock();
        if !state.leave(&self.principal, self.number) {
            state.take_back(&self.principal);
            state.serve(self.queue.share.places);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.queue.give_back(&self.principal);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;

    use futures_util::FutureExt;
    use proptest::prelude::*;

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    type Taking = Pin<Box<dyn Future<Output = Result<Place, NoPlace>>>>;

    fn taking(queue: &Arc<Queue>, principal: &'static str) -> Taking {
        let queue = Arc::clone(queue);
        let mut taking: Taking = Box::pin(async move { queue.take(principal).await });
        if let Some(done) = (&mut taking).now_or_never() {
            return Box::pin(std::future::ready(done));
        }
        taking
    }

    /// Whose turn has come, of those who wait.
    fn served(waiting: &mut Vec<(&'static str, Taking)>) -> Vec<(&'static str, Place)> {
        let mut served = Vec::new();
        waiting.retain_mut(|(name, taking)| match taking.now_or_never() {
            Some(place) => {
                served.push((*name, place.unwrap()));
                false
            }
            None => true,
        });
        served
    }

    #[tokio::test]
    async fn l08_principals_take_turns_and_each_comes_in_its_order() {
        let queue = Queue::new(1, 100, 100, LONG);
        let mut place = taking(&queue, "a").await.unwrap();
        let names = ["a", "a", "a", "b", "c", "b"];
        let mut waiting: Vec<_> = names.iter().map(|name| (*name, taking(&queue, name))).collect();
        assert_eq!((queue.taken(), queue.waiting()), (1, 6));
        let mut order = Vec::new();
        while !waiting.is_empty() {
            drop(place);
            let mut next = served(&mut waiting);
            assert_eq!(next.len(), 1);
            let (name, next) = next.remove(0);
            order.push(name);
            place = next;
        }
        assert_eq!(order.join(""), "abcaba");
        drop(place);
        assert_eq!((queue.taken(), queue.waiting()), (0, 0));
    }

    #[tokio::test]
    async fn l08_a_principal_never_holds_more_than_its_share_though_places_are_free() {
        let queue = Queue::new(4, 100, 50, LONG);
        let held = [taking(&queue, "a").await.unwrap(), taking(&queue, "a").await.unwrap()];
        let mut waiting = vec![("a", taking(&queue, "a"))];
        assert!(served(&mut waiting).is_empty(), "two of four are half");
        let other = taking(&queue, "b").now_or_never().unwrap().unwrap();
        assert!(served(&mut waiting).is_empty(), "a place of another is of no use to it");
        drop(other);
        assert!(served(&mut waiting).is_empty());
        drop(held);
        assert_eq!(served(&mut waiting).len(), 1);
    }

    #[tokio::test]
    async fn l08_the_queue_is_bounded_for_all_and_for_each() {
        let queue = Queue::new(1, 4, 50, LONG);
        let _place = taking(&queue, "a").await.unwrap();
        let mut waiting = vec![("a", taking(&queue, "a")), ("a", taking(&queue, "a"))];
        assert_eq!(queue.take("a").await.unwrap_err(), NoPlace::Full, "two of four are half");
        waiting.extend([("b", taking(&queue, "b")), ("b", taking(&queue, "b"))]);
        assert_eq!(queue.take("c").await.unwrap_err(), NoPlace::Full, "four are all");
        drop(waiting.remove(0));
        assert!(queue.take("c").now_or_never().is_none(), "who leaves makes room");
        assert_eq!(queue.waiting(), 3, "and so does who asked and did not wait");
    }

    #[tokio::test]
    async fn nobody_waits_longer_than_allowed_and_who_is_late_leaves_no_trace() {
        let queue = Queue::new(1, 4, 100, Duration::from_millis(20));
        let place = taking(&queue, "a").await.unwrap();
        let start = tokio::time::Instant::now();
        assert_eq!(queue.take("b").await.unwrap_err(), NoPlace::Late);
        assert!(start.elapsed() >= Duration::from_millis(20));
        assert_eq!(queue.waiting(), 0);
        drop(place);
        assert!(queue.take("b").now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_place_that_came_to_one_who_has_just_left_goes_to_the_next() {
        let queue = Queue::new(1, 4, 100, LONG);
        let place = taking(&queue, "a").await.unwrap();
        let (first, mut second) = (taking(&queue, "b"), taking(&queue, "c"));
        drop(place);
        drop(first);
        assert!((&mut second).now_or_never().is_some());
        drop(second);
        assert_eq!((queue.taken(), queue.waiting()), (0, 0));
    }

    proptest! {
        #[test]
        fn l08_no_place_is_lost_or_given_twice_whatever_happens(story in proptest::collection::vec((0_usize..4, 0_u8..3), 0..200)) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let _inside = runtime.enter();
            let queue = Queue::new(3, 20, 60, LONG);
            let names = ["a", "b", "c", "d"];
            let mut held: Vec<(&str, Place)> = Vec::new();
            let mut waiting: Vec<(&'static str, Taking)> = Vec::new();
            for (who, what) in story {
                match what {
                    0 if waiting.len() < 20 && waiting.iter().filter(|(name, _)| *name == names[who]).count() < 12 => waiting.push((names[who], taking(&queue, names[who]))),
                    1 if !held.is_empty() => drop(held.remove(who % held.len())),
                    2 if !waiting.is_empty() => drop(waiting.remove(who % waiting.len())),
                    _ => {}
                }
                held.extend(served(&mut waiting));
                prop_assert_eq!((queue.taken(), queue.waiting()), (held.len(), waiting.len()));
                let of = |name: &str| held.iter().filter(|(holder, _)| *holder == name).count();
                prop_assert!(names.iter().all(|name| of(name) <= 2));
                let starved = waiting.iter().any(|(name, _)| of(name) < 2);
                prop_assert!(held.len() == 3 || !starved, "a place is free and somebody waits for it");
            }
            drop((held, waiting));
            prop_assert_eq!((queue.taken(), queue.waiting()), (0, 0));
            prop_assert!(queue.state.lock().unwrap().held.is_empty() && queue.state.lock().unwrap().order.is_empty());
        }
    }
}

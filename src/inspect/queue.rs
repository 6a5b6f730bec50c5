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
    free: usize,
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
            free: places,
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

    /// Places that are taken.
    pub fn taken(&self) -> usize {
        let state = self.lock();
        state.places - state.free
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
        self.free > 0 && self.held.get(principal).is_none_or(|held| *held < share)
    }

    fn give(&mut self, principal: &str) {
        self.free -= 1;
        *self.held.entry(principal.to_owned()).or_default() += 1;
    }

    fn take_back(&mut self, principal: &str) {
        self.free += 1;
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

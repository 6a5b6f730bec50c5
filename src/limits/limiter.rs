//! Holds callers to how much they may do at a time: requests in a second and in flight, bytes in a second, places at a store.
//!
//! Asked after the rules have permitted a call (of STS: once the caller is known), so a refused credential or a denied request costs no
//! account. What was granted is a [`Passage`], which is kept until the last byte of the answer is gone. Bytes are not refused but waited
//! for (`body::Throttle`); only who asks for more with a large debt is refused. Without limits nothing is looked up.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::base::{PrincipalId, RouteId, RuleId, network_of};
use crate::limits::accounts::{Account, Accounts, InFlight};
use crate::limits::meter::{Direction, Meter, nanos};
use crate::limits::rate::Nanos;
use crate::limits::shares::{Share, Shares};
use crate::rules::{Effect, Permit, Rates, RequestRate, RuleSettings};

/// Most accounts of principals, and as many of addresses: with the longest names about 25 MB.
const MAX_ACCOUNTS: usize = 65_536;

/// A body that is behind its rate by more makes the next request wait at the client's place, not at ours.
const MAX_DEBT: Duration = Duration::from_secs(5);

/// What the limiter is configured with.
#[derive(Debug, Clone, Default)]
pub struct LimitSettings {
    /// How much each principal may do, whatever rule permits it.
    pub per_principal: Rates,
    /// Failed authentications of one address; `None` does not count them.
    pub failed_authentications: Option<RequestRate>,
}

/// The places at one store, of which a principal may hold a part.
#[derive(Debug, Clone, Copy)]
pub struct StoreShares {
    /// Requests at a time.
    pub connections: usize,
    /// Uploads of unknown length at a time.
    pub unknown_length_uploads: usize,
    /// The part of one principal, in percent.
    pub percent: usize,
}

/// Whose limit it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// Every principal's own.
    Principal,
    /// Every principal's own under a rule.
    PrincipalUnder(RuleId),
    /// That of all principals together under a rule.
    Rule(RuleId),
}

/// Why a permitted call is not carried out now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Limited {
    /// Too many requests in a short time.
    #[error("more than {per_second} requests in a second {whose}")]
    Requests {
        /// Whose limit.
        whose: Whose,
        /// The limit.
        per_second: u32,
        /// Time until the next one is admitted.
        wait: Duration,
    },
    /// Too many requests at a time.
    #[error("{limit} requests in flight {whose}")]
    InFlight {
        /// Whose limit.
        whose: Whose,
        /// The limit.
        limit: u32,
    },
    /// Bodies under way are far behind their rate.
    #[error("{direction} {whose} are {} s behind their rate", .debt.as_secs())]
    Bytes {
        /// Whose limit.
        whose: Whose,
        /// Which way.
        direction: Direction,
        /// Time until everything is made up for.
        debt: Duration,
    },
    /// The principal holds its share of the requests to a store.
    #[error("the principal has {limit} requests at the store, which is its share")]
    Share {
        /// The limit.
        limit: usize,
    },
    /// The principal holds its share of the uploads of unknown length.
    #[error("the principal has {limit} uploads of unknown length at the store, which is its share")]
    UnknownLengthShare {
        /// The limit.
        limit: usize,
    },
    /// Too many credentials from one address were not accepted.
    #[error("too many failed authentications from this address")]
    FailedAuthentications {
        /// Time until the next one is answered otherwise.
        wait: Duration,
    },
}

impl Limited {
    /// When to try again, in whole seconds, at least one.
    pub fn retry_after(&self) -> u64 {
        let wait = match self {
            Self::Requests { wait, .. } | Self::FailedAuthentications { wait } => *wait,
            Self::Bytes { debt, .. } => debt.saturating_sub(MAX_DEBT),
            Self::InFlight { .. } | Self::Share { .. } | Self::UnknownLengthShare { .. } => Duration::ZERO,
        };
        u64::try_from(wait.as_nanos().div_ceil(1_000_000_000)).unwrap_or(u64::MAX).max(1)
    }
}

impl std::fmt::Display for Whose {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Principal => f.write_str("of the principal"),
            Self::PrincipalUnder(rule) => write!(f, "of the principal under rule `{rule}`"),
            Self::Rule(rule) => write!(f, "of all principals under rule `{rule}`"),
        }
    }
}

/// One limit for each principal. The overflow account is for principals without one of their own.
#[derive(Debug)]
struct Each {
    scope: usize,
    rates: Rates,
    overflow: Arc<Account>,
}

impl Each {
    fn new(scope: usize, rates: Rates) -> Option<Self> {
        (!rates.is_open()).then(|| Self { scope, rates, overflow: Arc::default() })
    }

    fn take_over(&mut self, old: &Self) {
        self.scope = old.scope;
        self.overflow = Arc::clone(&old.overflow);
    }
}

/// The limits of one rule.
#[derive(Debug)]
struct RuleLimits {
    each: Option<Each>,
    together: Option<(Rates, Arc<Account>)>,
}

impl RuleLimits {
    fn take_over(&mut self, old: Option<&Self>, free_scope: &mut usize) {
        if let Some(each) = &mut self.each {
            match old.and_then(|old| old.each.as_ref()) {
                Some(old) => each.take_over(old),
                None => {
                    each.scope = *free_scope;
                    *free_scope += 1;
                }
            }
        }
        let together = old.and_then(|old| old.together.as_ref());
        if let (Some((_, account)), Some((_, old))) = (&mut self.together, together) {
            *account = Arc::clone(old);
        }
    }
}

/// The shares in one store.
#[derive(Debug)]
struct StoreLimits {
    connections: Option<Arc<Shares>>,
    unknown_length: Option<Arc<Shares>>,
}

impl StoreLimits {
    /// A share of another size is counted anew: the places it is a part of are new too.
    fn take_over(&mut self, old: Option<&Self>) {
        let same = |new: &mut Option<Arc<Shares>>, old: Option<&Arc<Shares>>| {
            if let (Some(shares), Some(old)) = (new, old)
                && shares.limit() == old.limit()
            {
                *shares = Arc::clone(old);
            }
        };
        same(&mut self.connections, old.and_then(|old| old.connections.as_ref()));
        same(&mut self.unknown_length, old.and_then(|old| old.unknown_length.as_ref()));
    }
}

/// Holds callers to their limits.
#[derive(Debug)]
pub struct Limiter {
    since: Instant,
    principals: Arc<Accounts<(usize, PrincipalId)>>,
    everywhere: Option<Each>,
    rules: HashMap<RuleId, RuleLimits>,
    /// The first number that no rule has as its scope, in this configuration or one before.
    free_scope: usize,
    stores: Vec<StoreLimits>,
    addresses: Arc<Accounts<IpAddr>>,
    failures: Option<(RequestRate, Arc<Account>)>,
    refused: Arc<AtomicU64>,
}

impl Limiter {
    /// A limiter for these rules, and stores in the order of [`RouteId`]; `now` is where its time begins.
    pub fn new(settings: LimitSettings, rules: &[RuleSettings], stores: &[StoreShares], now: Instant) -> Self {
        let shares = |store: &StoreShares| StoreLimits {
            connections: Shares::new(store.connections, store.percent),
            unknown_length: Shares::new(store.unknown_length_uploads, store.percent),
        };
        Self {
            since: now,
            principals: Arc::new(Accounts::new(MAX_ACCOUNTS)),
            everywhere: Each::new(0, settings.per_principal),
            rules: (1..).zip(rules).filter_map(|(scope, rule)| rule_limits(scope, rule)).collect(),
            free_scope: rules.len() + 1,
            stores: stores.iter().map(shares).collect(),
            addresses: Arc::new(Accounts::new(MAX_ACCOUNTS)),
            failures: settings.failed_authentications.map(|rate| (rate, Arc::default())),
            refused: Arc::default(),
        }
    }

    /// The same with all that was taken under another configuration: under rules of the same name, and at stores that `before` finds there.
    /// Nobody gets a rate or a place anew because the configuration was loaded again.
    #[must_use]
    pub fn after(mut self, previous: &Self, before: impl Fn(RouteId) -> Option<RouteId>) -> Self {
        self.since = previous.since;
        self.principals = Arc::clone(&previous.principals);
        self.addresses = Arc::clone(&previous.addresses);
        self.refused = Arc::clone(&previous.refused);
        if let (Some(each), Some(old)) = (&mut self.everywhere, &previous.everywhere) {
            each.take_over(old);
        }
        if let (Some((_, overflow)), Some((_, old))) = (&mut self.failures, &previous.failures) {
            *overflow = Arc::clone(old);
        }
        self.free_scope = previous.free_scope;
        for (rule, limits) in &mut self.rules {
            limits.take_over(previous.rules.get(rule), &mut self.free_scope);
        }
        for (number, store) in self.stores.iter_mut().enumerate() {
            let old = before(RouteId(number)).and_then(|route| previous.stores.get(route.0));
            store.take_over(old);
        }
        self
    }

    /// Lets a permitted call to a store pass, if its caller is within every limit. What it takes comes back when the passage is dropped.
    ///
    /// # Errors
    /// [`Limited`] with a limit that is reached. Nothing is taken then.
    pub fn enter(&self, permit: &Permit, store: Option<RouteId>, now: Instant) -> Result<Passage, Limited> {
        self.try_enter(permit, store, nanos(self.since, now)).inspect_err(|_| self.count_refused())
    }

    fn try_enter(&self, permit: &Permit, store: Option<RouteId>, now: Nanos) -> Result<Passage, Limited> {
        let principal = permit.caller().principal();
        let share = match store {
            Some(route) => self.share(route, principal)?,
            None => None,
        };
        let mut held = Vec::new();
        if let Some(each) = &self.everywhere {
            held.push(self.held(each, Whose::Principal, principal, now));
        }
        let rules = if self.rules.is_empty() { Vec::new() } else { permit.rules() };
        for rule in rules {
            let Some(limits) = self.rules.get(rule) else { continue };
            if let Some(each) = &limits.each {
                held.push(self.held(each, Whose::PrincipalUnder(rule.clone()), principal, now));
            }
            if let Some((rates, account)) = &limits.together {
                held.push(Held::new(Whose::Rule(rule.clone()), *rates, Arc::clone(account)));
            }
        }
        let direction = if permit.call().upload.is_some() { Direction::Upload } else { Direction::Download };
        for held in &mut held {
            held.enter(direction, now)?;
        }
        take_requests(&held, now)?;
        Ok(Passage { held, since: self.since, _share: share })
    }

    /// Lets a caller pass who asks for what no rule permits and no store has: only what holds for every principal counts, and no bytes.
    ///
    /// # Errors
    /// [`Limited`] with a limit that is reached. Nothing is taken then.
    pub fn enter_without_rule(&self, principal: &PrincipalId, now: Instant) -> Result<Passage, Limited> {
        let now = nanos(self.since, now);
        let each = self.everywhere.iter();
        let mut held: Vec<_> = each.map(|each| self.held(each, Whose::Principal, principal, now)).collect();
        let entered = held.iter_mut().try_for_each(Held::take_place).and_then(|()| take_requests(&held, now));
        entered.inspect_err(|_| self.count_refused())?;
        Ok(Passage { held, since: self.since, _share: None })
    }

    fn held(&self, each: &Each, whose: Whose, principal: &PrincipalId, now: Nanos) -> Held {
        let account = self.principals.of(&(each.scope, principal.clone()), now);
        Held::new(whose, each.rates, account.unwrap_or_else(|| Arc::clone(&each.overflow)))
    }

    fn share(&self, route: RouteId, principal: &PrincipalId) -> Result<Option<Share>, Limited> {
        let shares = self.stores.get(route.0).and_then(|store| store.connections.as_ref());
        shares.map(|shares| shares.take(principal).ok_or(Limited::Share { limit: shares.limit() })).transpose()
    }

    /// A place among the uploads of unknown length for the caller of a call. `None` where nobody is counted.
    ///
    /// # Errors
    /// [`Limited`] if the caller holds its share.
    pub fn unknown_length_share(&self, route: RouteId, permit: &Permit) -> Result<Option<Share>, Limited> {
        let shares = self.stores.get(route.0).and_then(|store| store.unknown_length.as_ref());
        let share = shares.map(|shares| {
            shares.take(permit.caller().principal()).ok_or(Limited::UnknownLengthShare { limit: shares.limit() })
        });
        share.transpose().inspect_err(|_| self.count_refused())
    }

    /// Counts a credential that was not accepted. A credential that is good is never refused for others of the same address: behind a
    /// proxy all clients have one.
    ///
    /// # Errors
    /// [`Limited`] if there were too many from this address.
    pub fn note_failed_authentication(&self, address: IpAddr, now: Instant) -> Result<(), Limited> {
        let Some((rate, overflow)) = &self.failures else { return Ok(()) };
        let now = nanos(self.since, now);
        let account = self.addresses.of(&network_of(address), now).unwrap_or_else(|| Arc::clone(overflow));
        account.requests.take(*rate, now).map_err(|wait| {
            self.count_refused();
            Limited::FailedAuthentications { wait }
        })
    }

    /// Requests refused for a limit so far.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Accounts kept, of principals and addresses.
    pub fn accounts(&self) -> usize {
        self.principals.len() + self.addresses.len()
    }

    fn count_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }
}

fn rule_limits(scope: usize, rule: &RuleSettings) -> Option<(RuleId, RuleLimits)> {
    let (each, together) = (rule.terms.rates_per_principal, rule.terms.rates_together);
    let limited = rule.effect == Effect::Allow && !(each.is_open() && together.is_open());
    limited.then(|| {
        let together = (!together.is_open()).then(|| (together, Arc::default()));
        (RuleId::new(&rule.name), RuleLimits { each: Each::new(scope, each), together })
    })
}

/// A request of one account that finds no budget gives back what it took from the others.
fn take_requests(held: &[Held], now: Nanos) -> Result<(), Limited> {
    for (position, one) in held.iter().enumerate() {
        let Some(rate) = one.rates.requests else { continue };
        if let Err(wait) = one.account.requests.take(rate, now) {
            for taken in &held[..position] {
                taken.rates.requests.iter().for_each(|rate| taken.account.requests.put_back(*rate));
            }
            return Err(Limited::Requests { whose: one.whose.clone(), per_second: rate.per_second.get(), wait });
        }
    }
    Ok(())
}

/// What a passage holds of one account.
#[derive(Debug)]
struct Held {
    whose: Whose,
    rates: Rates,
    account: Arc<Account>,
    in_flight: Option<InFlight>,
}

impl Held {
    fn new(whose: Whose, rates: Rates, account: Arc<Account>) -> Self {
        Self { whose, rates, account, in_flight: None }
    }

    fn enter(&mut self, direction: Direction, now: Nanos) -> Result<(), Limited> {
        let debt = direction.bucket(&self.account).debt(now);
        if self.bytes_per_second(direction).is_some() && debt > MAX_DEBT {
            return Err(Limited::Bytes { whose: self.whose.clone(), direction, debt });
        }
        self.take_place()
    }

    fn take_place(&mut self) -> Result<(), Limited> {
        if let Some(limit) = self.rates.in_flight {
            let entered = self.account.enter(limit);
            self.in_flight = Some(entered.ok_or_else(|| Limited::InFlight { whose: self.whose.clone(), limit })?);
        }
        Ok(())
    }

    fn bytes_per_second(&self, direction: Direction) -> Option<std::num::NonZeroU64> {
        match direction {
            Direction::Upload => self.rates.upload,
            Direction::Download => self.rates.download,
        }
    }
}

/// A call within its limits. Its places come back when this is dropped, with the end of the answer or before.
#[derive(Debug)]
pub struct Passage {
    held: Vec<Held>,
    since: Instant,
    _share: Option<Share>,
}

impl Passage {
    /// Counts the bytes of a body. `None` if no rate is set.
    pub fn meter(&self, direction: Direction) -> Option<Meter> {
        let limited =
            self.held.iter().filter_map(|held| Some((Arc::clone(&held.account), held.bytes_per_second(direction)?)));
        Meter::new(direction, limited.collect(), self.since)
    }
}

#[cfg(test)]
#[path = "limiter_tests.rs"]
mod tests;

use std::num::{NonZeroU32, NonZeroU64};

use super::*;
use crate::auth::{Caller, Scheme};
use crate::rules::settings::{Place, Terms, Who};
use crate::rules::template::PrefixTemplate;
use crate::rules::{ActionSet, RuleSet};
use crate::s3::{Bucket, Buckets, OddKeys, identify};

const NO_SHARES: StoreShares = StoreShares { connections: 512, unknown_length_uploads: 4, percent: 100 };

fn buckets() -> Buckets {
    Buckets::new(["bkt".to_owned()].map(|name| Bucket {
        upstream_bucket: name.clone(),
        name,
        route: RouteId(0),
        upstream_prefix: String::new(),
        odd_keys: OddKeys::Refuse,
        passed_through: false,
    }))
}

fn rule(name: &str, prefix: &str, terms: Terms) -> RuleSettings {
    let mut actions = ActionSet::default();
    assert!(actions.add("s3:*"));
    let place = Place { bucket: "bkt".to_owned(), prefix: PrefixTemplate::parse(prefix).unwrap() };
    RuleSettings {
        name: name.to_owned(),
        effect: Effect::Allow,
        who: Who::default(),
        places: vec![place],
        actions,
        terms,
    }
}

fn permit(rules: &[RuleSettings], principal: &str, method: &str, target: &str) -> Permit {
    let caller = Caller::for_test(Scheme::AppToken, principal, &[]);
    let head = http::Request::builder().method(method).uri(target).header("host", "gw").header("content-length", "0");
    let call = identify(&head.body(()).unwrap().into_parts().0, &buckets()).unwrap();
    RuleSet::new(rules.to_vec()).authorise(caller, call, &buckets()).unwrap()
}

fn requests(per_second: u32, burst: u32) -> Option<RequestRate> {
    Some(RequestRate { per_second: NonZeroU32::new(per_second).unwrap(), burst: NonZeroU32::new(burst).unwrap() })
}

struct World {
    rules: Vec<RuleSettings>,
    limiter: Limiter,
    start: Instant,
}

impl World {
    fn new(per_principal: Rates, terms: Terms) -> Self {
        Self::with_shares(per_principal, terms, NO_SHARES)
    }

    fn with_shares(per_principal: Rates, terms: Terms, shares: StoreShares) -> Self {
        let rules = vec![rule("plain", "", Terms::default()), rule("limited", "l/", terms)];
        let settings = LimitSettings { per_principal, failed_authentications: requests(1, 3) };
        let start = Instant::now();
        Self { limiter: Limiter::new(settings, &rules, &[shares], start), rules, start }
    }

    fn get(&self, principal: &str, target: &str) -> Result<Passage, Limited> {
        self.at(0, principal, "GET", target)
    }

    fn at(&self, millis: u64, principal: &str, method: &str, target: &str) -> Result<Passage, Limited> {
        let now = self.start + Duration::from_millis(millis);
        let permit = permit(&self.rules, principal, method, target);
        let store = permit.call().resource.bucket().map(|bucket| bucket.route);
        self.limiter.enter(&permit, store, now)
    }
}

#[test]
fn l08_one_principal_s_requests_do_not_count_for_another() {
    let world = World::new(Rates { requests: requests(10, 2), ..Rates::default() }, Terms::default());
    assert!(world.get("a", "/bkt/x").is_ok() && world.get("a", "/bkt/y").is_ok());
    let refused = world.get("a", "/bkt/z").unwrap_err();
    let wait = Duration::from_millis(100);
    assert_eq!(refused, Limited::Requests { whose: Whose::Principal, per_second: 10, wait });
    assert_eq!(refused.retry_after(), 1, "whole seconds, at least one");
    assert!(world.get("b", "/bkt/x").is_ok());
    assert!(world.at(100, "a", "GET", "/bkt/z").is_ok());
    assert_eq!((world.limiter.refused(), world.limiter.accounts()), (1, 2));
}

#[test]
fn a_rule_limits_each_principal_and_all_together() {
    let terms = Terms {
        rates_per_principal: Rates { requests: requests(1, 2), ..Rates::default() },
        rates_together: Rates { requests: requests(1, 3), ..Rates::default() },
        ..Terms::default()
    };
    let world = World::new(Rates::default(), terms);
    let rule = || RuleId::new("limited");
    let whose = |refused: Limited| match refused {
        Limited::Requests { whose, .. } => whose,
        other => panic!("{other:?}"),
    };
    assert!(world.get("a", "/bkt/l/1").is_ok() && world.get("a", "/bkt/l/2").is_ok());
    assert_eq!(whose(world.get("a", "/bkt/l/3").unwrap_err()), Whose::PrincipalUnder(rule()));
    assert!(world.get("b", "/bkt/l/1").is_ok());
    assert_eq!(whose(world.get("b", "/bkt/l/2").unwrap_err()), Whose::Rule(rule()));
    assert_eq!(whose(world.get("c", "/bkt/l/2").unwrap_err()), Whose::Rule(rule()));
    for _ in 0..100 {
        assert!(world.get("a", "/bkt/other").is_ok(), "another rule permits it");
    }
    // What the rule refused was given back to the principal: a second later there is one for all, and `b` has one left.
    assert!(world.at(1000, "b", "GET", "/bkt/l/3").is_ok());
}

#[test]
fn k22_places_in_flight_come_back_with_the_passage() {
    let world = World::new(Rates { in_flight: Some(2), ..Rates::default() }, Terms::default());
    let first = world.get("a", "/bkt/x").unwrap();
    let second = world.get("a", "/bkt/x").unwrap();
    let refused = world.get("a", "/bkt/x").unwrap_err();
    assert_eq!(refused, Limited::InFlight { whose: Whose::Principal, limit: 2 });
    assert_eq!(refused.retry_after(), 1);
    assert!(world.get("b", "/bkt/x").is_ok());
    drop(first);
    for _ in 0..1000 {
        drop(world.get("a", "/bkt/x").unwrap());
    }
    drop(second);
    assert!(world.get("a", "/bkt/x").is_ok());
}

#[test]
fn a_request_refused_for_one_limit_takes_nothing_of_another() {
    let rates = Rates { requests: requests(1, 1), in_flight: Some(1), ..Rates::default() };
    let together = Rates { in_flight: Some(1), ..Rates::default() };
    let world = World::new(rates, Terms { rates_together: together, ..Terms::default() });
    let other = world.get("other", "/bkt/l/x").unwrap();
    for _ in 0..10 {
        assert!(matches!(world.get("a", "/bkt/l/x"), Err(Limited::InFlight { whose: Whose::Rule(_), .. })));
    }
    drop(other);
    assert!(world.get("a", "/bkt/l/x").is_ok(), "neither its request nor its place was used up");
}

#[test]
fn bytes_are_waited_for_and_a_large_debt_refuses_the_next_request() {
    let bytes = NonZeroU64::new(1000);
    let world = World::new(Rates { upload: bytes, download: bytes, ..Rates::default() }, Terms::default());
    let passage = world.at(0, "a", "PUT", "/bkt/x").unwrap();
    let meter = passage.meter(Direction::Upload).unwrap();
    assert_eq!(meter.wait(world.start), Duration::ZERO);
    meter.charge(5_100, world.start);
    assert_eq!(meter.wait(world.start), Duration::from_secs(5));
    let refused = world.at(0, "a", "PUT", "/bkt/y").unwrap_err();
    assert!(matches!(refused, Limited::Bytes { direction: Direction::Upload, .. }), "{refused:?}");
    assert_eq!(refused.retry_after(), 1);
    assert!(world.at(100, "a", "PUT", "/bkt/y").is_ok());
    assert!(world.at(0, "a", "GET", "/bkt/y").is_ok(), "a download is not behind");
    assert!(world.at(0, "b", "PUT", "/bkt/y").is_ok());
    assert!(world.get("a", "/bkt/x").unwrap().meter(Direction::Download).is_some());
}

#[test]
fn without_limits_nothing_is_kept() {
    let world = World::new(Rates::default(), Terms::default());
    for number in 0..1000 {
        let passage = world.get(&format!("p{number}"), "/bkt/l/x").unwrap();
        assert!(passage.meter(Direction::Upload).is_none() && passage.held.is_empty());
    }
    assert_eq!(world.limiter.accounts(), 0);
}

#[test]
fn l08_one_principal_holds_its_share_of_a_store_at_most() {
    let shares = StoreShares { connections: 4, unknown_length_uploads: 3, percent: 50 };
    let world = World::with_shares(Rates::default(), Terms::default(), shares);
    let held = [world.get("a", "/bkt/x").unwrap(), world.get("a", "/bkt/x").unwrap()];
    assert_eq!(world.get("a", "/bkt/x").unwrap_err(), Limited::Share { limit: 2 });
    assert!(world.get("b", "/bkt/x").is_ok());
    drop(held);
    let upload = permit(&world.rules, "a", "PUT", "/bkt/x");
    let share = || world.limiter.unknown_length_share(RouteId(0), &upload);
    let held = [share().unwrap(), share().unwrap()];
    assert_eq!(share().unwrap_err(), Limited::UnknownLengthShare { limit: 2 });
    drop(held);
    assert!(share().is_ok());
}

#[test]
fn a10_failed_authentications_count_for_their_network_only() {
    let world = World::new(Rates::default(), Terms::default());
    let fail = |address: &str| world.limiter.note_failed_authentication(address.parse().unwrap(), world.start);
    for address in ["192.0.2.1", "192.0.2.2", "2001:db8::1"] {
        assert!((0..3).all(|_| fail(address).is_ok()), "{address}");
        assert!(matches!(fail(address), Err(Limited::FailedAuthentications { .. })), "{address}");
    }
    assert!(fail("2001:db8::ffff:1").is_err(), "one host has a whole /64");
    assert!(fail("::ffff:192.0.2.1").is_err(), "the same address, written as version 6");
    assert!(fail("2001:db8:0:1::1").is_ok());
    assert_eq!(world.limiter.accounts(), 4);
}

#[test]
fn l08_what_no_rule_permits_counts_for_its_principal_with_everything_else() {
    let rates = Rates { requests: requests(1, 3), in_flight: Some(2), ..Rates::default() };
    let world = World::new(rates, Terms::default());
    let enter = |source: &str| {
        let caller = Caller::for_test(Scheme::AppToken, source, &[]);
        world.limiter.enter_without_rule(caller.principal(), world.start)
    };
    let (first, _second) = (enter("a").unwrap(), world.get("a", "/bkt/x").unwrap());
    assert_eq!(enter("a").unwrap_err(), Limited::InFlight { whose: Whose::Principal, limit: 2 });
    drop(first);
    drop(enter("a").unwrap());
    let limited =
        |refused: Limited| matches!(refused, Limited::Requests { whose: Whose::Principal, per_second: 1, .. });
    assert!(limited(enter("a").unwrap_err()) && limited(world.get("a", "/bkt/x").unwrap_err()));
    assert!(enter("b").is_ok());
    assert_eq!(world.limiter.refused(), 3);
    let open = World::new(Rates::default(), Terms::default());
    assert!(open.limiter.enter_without_rule(&PrincipalId::new("a"), open.start).is_ok());
    assert_eq!(open.limiter.accounts(), 0, "without a limit nothing is kept");
}

#[test]
fn l08_what_was_taken_is_taken_under_the_next_configuration_too() {
    let each = Rates { requests: requests(1, 2), ..Rates::default() };
    let together = Rates { in_flight: Some(1), ..Rates::default() };
    let terms = Terms { rates_per_principal: each, rates_together: together, ..Terms::default() };
    let shares = StoreShares { connections: 4, unknown_length_uploads: 3, percent: 50 };
    let everywhere = Rates { requests: requests(1, 9), ..Rates::default() };
    let mut world = World::with_shares(everywhere, terms.clone(), shares);
    let held = world.get("a", "/bkt/l/x").unwrap();
    let plain = world.get("a", "/bkt/x").unwrap();
    let fail = |limiter: &Limiter| limiter.note_failed_authentication("192.0.2.1".parse().unwrap(), world.start);
    assert!((0..3).all(|_| fail(&world.limiter).is_ok()));

    // Another rule stands before them, and another store.
    let rules =
        vec![rule("new", "n/", terms.clone()), rule("limited", "l/", terms), rule("plain", "", Terms::default())];
    let settings = LimitSettings { per_principal: everywhere, failed_authentications: requests(1, 3) };
    let later = world.start + Duration::from_millis(1);
    let before = |route: RouteId| (route.0 == 1).then_some(RouteId(0));
    let limiter = Limiter::new(settings, &rules, &[NO_SHARES, shares], later).after(&world.limiter, before);
    assert!(fail(&limiter).is_err());
    let enter = |limiter: &Limiter, target: &str| {
        limiter.enter(&permit(&rules, "a", "GET", target), Some(RouteId(1)), later).map(drop)
    };
    assert_eq!(enter(&limiter, "/bkt/x"), Err(Limited::Share { limit: 2 }), "both places at the store");
    drop(plain);
    let limited = Whose::Rule(RuleId::new("limited"));
    assert_eq!(enter(&limiter, "/bkt/l/x"), Err(Limited::InFlight { whose: limited, limit: 1 }));
    drop(held);
    assert_eq!(enter(&limiter, "/bkt/l/x"), Ok(()), "the place came back");
    let Err(Limited::Requests { whose, .. }) = enter(&limiter, "/bkt/l/x") else { panic!("the burst is two") };
    assert_eq!(whose, Whose::PrincipalUnder(RuleId::new("limited")));
    assert_eq!(enter(&limiter, "/bkt/n/x"), Ok(()), "the new rule is not taken for one that was there");
    assert_eq!(limiter.refused(), 4, "counted since the start");
    world.limiter = limiter;
    assert!(world.at(60_000, "a", "GET", "/bkt/l/x").is_ok());
}

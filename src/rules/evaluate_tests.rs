use proptest::prelude::*;

use super::*;
use crate::base::RouteId;
use crate::rules::action::ActionSet;
use crate::rules::settings::Place as RulePlace;
use crate::s3::{OddKeys, identify};

fn buckets() -> Buckets {
    Buckets::new(["bkt", "other"].map(|name| Bucket {
        name: name.to_owned(),
        route: RouteId(0),
        upstream_bucket: name.to_owned(),
        upstream_prefix: String::new(),
        odd_keys: OddKeys::Refuse,
    }))
}

fn rule(name: &str, effect: Effect, who: Who, places: &[&str], words: &[&str]) -> RuleSettings {
    let mut actions = ActionSet::default();
    assert!(words.iter().all(|word| actions.add(word)));
    let place = |text: &&str| {
        let (bucket, prefix) = text.split_once('/').unwrap();
        RulePlace { bucket: bucket.to_owned(), prefix: PrefixTemplate::parse(prefix).unwrap() }
    };
    RuleSettings {
        name: name.to_owned(),
        effect,
        who,
        places: places.iter().map(place).collect(),
        actions,
        terms: Terms::default(),
    }
}

fn token(name: &str) -> Who {
    Who { clients: vec![Client::Token(name.to_owned())], ..Who::default() }
}

fn caller(name: &str) -> Caller {
    Caller::for_test(Scheme::AppToken, name, &[("sub", &[name]), ("groups", &["dev", "ops"])])
}

fn call(method: &str, target: &str, headers: &[(&str, &str)]) -> S3Call {
    let mut request = http::Request::builder().method(method).uri(target).header("host", "gw");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    identify(&request.body(()).unwrap().into_parts().0, &buckets()).unwrap()
}

fn decide(rules: Vec<RuleSettings>, who: &str, method: &str, target: &str) -> Result<String, Denied> {
    let permit = RuleSet::new(rules).authorise(caller(who), call(method, target, &[]), &buckets())?;
    Ok(permit.rule().to_string())
}

#[test]
fn without_a_rule_nothing_is_allowed() {
    assert_eq!(decide(vec![], "a", "GET", "/bkt/a/x"), Err(Denied::NoRule { action: "s3:GetObject" }));
    let rules = || vec![rule("a-only", Effect::Allow, token("a"), &["bkt/a/"], &["read"])];
    assert_eq!(decide(rules(), "a", "GET", "/bkt/a/x").unwrap(), "a-only");
    assert!(decide(rules(), "b", "GET", "/bkt/a/x").is_err());
    assert!(decide(rules(), "a", "PUT", "/bkt/a/x").is_err());
    assert!(decide(rules(), "a", "GET", "/other/a/x").is_err());
}

#[test]
fn e04_a_prefix_ends_at_its_slash_and_is_case_sensitive() {
    let rules = || vec![rule("r", Effect::Allow, token("a"), &["bkt/a/"], &["read"])];
    for key in ["a", "ab/x", "A/x"] {
        assert!(decide(rules(), "a", "GET", &format!("/bkt/{key}")).is_err(), "{key}");
    }
    assert!(decide(rules(), "a", "GET", "/bkt/a%2fx").is_ok());
}

#[test]
fn an_explicit_deny_wins_over_every_allow() {
    let rules = || {
        vec![
            rule("all", Effect::Allow, Who::default(), &["bkt/"], &["s3:*"]),
            rule("lock", Effect::Deny, Who::default(), &["bkt/a/locked/"], &["write", "delete"]),
        ]
    };
    let denied = Denied::ByRule { rule: RuleId::new("lock"), action: "s3:PutObject" };
    assert_eq!(decide(rules(), "a", "PUT", "/bkt/a/locked/x"), Err(denied));
    assert_eq!(decide(rules(), "a", "GET", "/bkt/a/locked/x").unwrap(), "all");
    assert_eq!(decide(rules(), "a", "HEAD", "/bkt").unwrap(), "all");
}

#[test]
fn the_most_specific_allow_decides() {
    let rules = vec![
        rule("wide", Effect::Allow, Who::default(), &["bkt/"], &["read"]),
        rule("narrow", Effect::Allow, Who::default(), &["bkt/a/b/"], &["read"]),
    ];
    let set = RuleSet::new(rules);
    let rule_for =
        |target: &str| set.authorise(caller("a"), call("GET", target, &[]), &buckets()).unwrap().rule().to_string();
    assert_eq!((rule_for("/bkt/a/x"), rule_for("/bkt/a/b/x")), ("wide".into(), "narrow".into()));
}

#[test]
fn templates_take_the_callers_attributes() {
    let rules =
        || vec![rule("home", Effect::Allow, Who::default(), &["bkt/home/{sub}/", "bkt/teams/{groups}/"], &["read"])];
    assert!(decide(rules(), "alice", "GET", "/bkt/home/alice/x").is_ok());
    assert!(decide(rules(), "alice", "GET", "/bkt/home/bob/x").is_err());
    assert!(decide(rules(), "alice", "GET", "/bkt/teams/ops/x").is_ok());
    assert!(decide(rules(), "../b", "GET", "/bkt/home/b/x").is_err());
}

#[test]
fn a_deny_holds_for_the_last_of_many_groups() {
    let groups: Vec<String> = (0..300).map(|n| format!("g{n}")).collect();
    let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
    let caller = || Caller::for_test(Scheme::AppToken, "a", &[("groups", &groups)]);
    let set = RuleSet::new(vec![
        rule("all", Effect::Allow, Who::default(), &["bkt/"], &["read"]),
        rule("own-locked", Effect::Deny, Who::default(), &["bkt/{groups}/locked/"], &["read"]),
    ]);
    let ask = |target: &str| set.authorise(caller(), call("GET", target, &[]), &buckets());
    for group in ["g0", "g299"] {
        let denied = |action| Some(Denied::ByRule { rule: RuleId::new("own-locked"), action });
        assert_eq!(ask(&format!("/bkt/{group}/locked/x")).err(), denied("s3:GetObject"), "{group}");
        assert!(ask(&format!("/bkt/{group}/open/x")).is_ok());
        let listing = format!("/bkt?list-type=2&prefix={group}/locked/");
        assert_eq!(ask(&listing).err(), denied("s3:ListBucket"), "{group}");
    }
    assert!(ask("/bkt/g300/locked/x").is_ok());
    let permit = ask("/bkt?list-type=2").unwrap();
    let Scope::Listing(scope) = permit.scope() else { panic!("{:?}", permit.scope()) };
    assert_eq!(scope.denied_prefix_of("g299/locked/x"), Some("g299/locked/"));
}

#[test]
fn attributes_and_networks_must_all_hold() {
    let who = |group: &str, network: &str| Who {
        attributes: vec![("groups".into(), vec![group.into()])],
        networks: vec![network.parse().unwrap()],
        ..Who::default()
    };
    let allowed =
        |who: Who| decide(vec![rule("r", Effect::Allow, who, &["bkt/"], &["read"])], "a", "GET", "/bkt/x").is_ok();
    assert!(allowed(who("dev", "127.0.0.0/8")));
    assert!(!allowed(who("admins", "127.0.0.0/8")));
    assert!(!allowed(who("dev", "10.0.0.0/8")));
}

#[test]
fn d07_d24_versions_and_tags_need_rights_of_their_own() {
    let rules = || vec![rule("rw", Effect::Allow, Who::default(), &["bkt/"], &["read", "write", "delete"])];
    assert_eq!(
        decide(rules(), "a", "GET", "/bkt/x?versionId=1"),
        Err(Denied::NoRule { action: "s3:GetObjectVersion" })
    );
    assert_eq!(
        decide(rules(), "a", "DELETE", "/bkt/x?versionId=1"),
        Err(Denied::NoRule { action: "s3:DeleteObjectVersion" })
    );
    let set = RuleSet::new(rules());
    let with = |name: &str| {
        set.authorise(caller("a"), call("PUT", "/bkt/x", &[(name, "v"), ("content-length", "1")]), &buckets())
    };
    assert_eq!(with("x-amz-tagging").unwrap_err(), Denied::NoRule { action: "s3:PutObjectTagging" });
    assert_eq!(with("x-amz-acl").unwrap_err(), Denied::NoRule { action: "s3:PutObjectAcl" });
    assert!(matches!(with("x-amz-storage-class").unwrap_err(), Denied::Header { .. }));
}

#[test]
fn g01_response_overrides_need_the_rules_consent() {
    let mut allowed = rule("r", Effect::Allow, Who::default(), &["bkt/"], &["read"]);
    let target = "/bkt/x?response-content-type=text/html";
    assert!(matches!(decide(vec![allowed.clone()], "a", "GET", target), Err(Denied::ResponseOverride { .. })));
    allowed.terms.response_overrides = true;
    assert!(decide(vec![allowed], "a", "GET", target).is_ok());
}

#[test]
fn d17_the_list_of_buckets_shows_what_the_rules_allow() {
    let set = RuleSet::new(vec![rule("r", Effect::Allow, token("a"), &["other/x/"], &["read"])]);
    let visible = |who: &str| {
        let permit = set.authorise(caller(who), call("GET", "/", &[]), &buckets()).unwrap();
        match permit.scope() {
            Scope::Buckets(buckets) => buckets.iter().map(|bucket| bucket.name.clone()).collect::<Vec<_>>(),
            scope => panic!("{scope:?}"),
        }
    };
    assert_eq!((visible("a"), visible("b")), (vec!["other".to_owned()], vec![]));
}

/// Rules out of a few places, actions and callers, so that they meet each other and the calls.
fn some_rule(effect: Effect) -> impl Strategy<Value = RuleSettings> {
    let places =
        prop::sample::subsequence(vec!["bkt/", "bkt/a/", "bkt/a/b/", "bkt/{sub}/", "bkt/{groups}/x/", "other/"], 1..3);
    let words = prop::sample::subsequence(
        vec!["read", "write", "delete", "list", "s3:*", "s3:Get*", "s3:GetObjectVersion", "s3:PutObjectTagging"],
        1..3,
    );
    let who = prop::sample::select(vec![Some("a"), Some("b"), None]);
    (places, words, who, 0u32..1_000_000).prop_map(move |(places, words, who, number)| {
        rule(&format!("r{number}"), effect, who.map(token).unwrap_or_default(), &places, &words)
    })
}

fn some_call() -> impl Strategy<Value = S3Call> {
    let targets = vec![
        "/bkt/a/x",
        "/bkt/a/b/x",
        "/bkt/b/x",
        "/bkt/dev/x/y",
        "/bkt/ops/x/y",
        "/bkt/x",
        "/other/a/x",
        "/bkt/a/x?versionId=1",
        "/bkt",
        "/bkt?location",
        "/bkt?list-type=2",
        "/bkt?list-type=2&prefix=a/",
        "/bkt?list-type=2&prefix=a/b/c",
        "/bkt?list-type=2&prefix=de",
        "/",
    ];
    (prop::sample::select(vec!["GET", "HEAD", "PUT", "DELETE"]), prop::sample::select(targets), any::<bool>())
        .prop_filter_map("not a served request", |(method, target, tagged)| {
            let request = http::Request::builder().method(method).uri(target).header("host", "gw");
            let request = if method == "PUT" { request.header("content-length", "1") } else { request };
            let request = if tagged && method == "PUT" { request.header("x-amz-tagging", "a=b") } else { request };
            identify(&request.body(()).unwrap().into_parts().0, &buckets()).ok()
        })
}

/// The keys of a few that a permit lets the caller see or touch.
fn reach(rules: &[RuleSettings], who: &str, call: &S3Call) -> Vec<String> {
    let Ok(permit) = RuleSet::new(rules.to_vec()).authorise(caller(who), call.clone(), &buckets()) else {
        return Vec::new();
    };
    match permit.scope() {
        Scope::Listing(scope) => ["a/x", "a/b/x", "a/b/c", "b/x", "dev/x/y", "ops/x/y", "x"]
            .into_iter()
            .filter(|key| {
                scope.parts.iter().any(|part| key.starts_with(&part.prefix)) && scope.denied_prefix_of(key).is_none()
            })
            .map(str::to_owned)
            .collect(),
        Scope::Buckets(shown) => shown.iter().map(|bucket| bucket.name.clone()).collect(),
        _ => vec!["the call".to_owned()],
    }
}

proptest! {
    #[test]
    fn d20_a_deny_more_never_allows_more(
        rules in prop::collection::vec(prop_oneof![3 => some_rule(Effect::Allow), 1 => some_rule(Effect::Deny)], 0..6),
        deny in some_rule(Effect::Deny),
        at in any::<prop::sample::Index>(),
        who in prop::sample::select(vec!["a", "b"]),
        call in some_call(),
    ) {
        let before = reach(&rules, who, &call);
        let mut more = rules.clone();
        more.insert(at.index(rules.len() + 1), deny);
        for reached in reach(&more, who, &call) {
            prop_assert!(before.contains(&reached), "{} is reached with the deny only", reached);
        }
    }

    #[test]
    fn an_allow_less_never_allows_more(
        rules in prop::collection::vec(prop_oneof![3 => some_rule(Effect::Allow), 1 => some_rule(Effect::Deny)], 1..6),
        without in any::<prop::sample::Index>(),
        who in prop::sample::select(vec!["a", "b"]),
        call in some_call(),
    ) {
        let before = reach(&rules, who, &call);
        let mut less = rules.clone();
        if less[without.index(rules.len())].effect == Effect::Allow {
            less.remove(without.index(rules.len()));
            for reached in reach(&less, who, &call) {
                prop_assert!(before.contains(&reached), "{} is reached without the allow only", reached);
            }
        }
    }
}

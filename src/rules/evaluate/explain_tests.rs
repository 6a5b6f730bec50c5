use proptest::prelude::*;

use super::super::tests::{buckets, call, caller, rule, token};
use super::*;
use crate::rules::settings::{RuleSettings, Who};

fn names(trace: &Trace) -> Vec<&str> {
    trace.rules.iter().map(|considered| considered.rule.as_str()).collect()
}

fn misses<'a>(trace: &'a Trace, name: &str) -> &'a [Miss] {
    match &trace.rules.iter().find(|considered| considered.rule.as_str() == name).unwrap().standing {
        Standing::Misses(misses) => misses,
        Standing::Matches(prefixes) => panic!("{name} matches {prefixes:?}"),
    }
}

fn traced(rules: Vec<RuleSettings>, method: &str, target: &str, headers: &[(&str, &str)]) -> Vec<Trace> {
    RuleSet::new(rules).trace_call(&caller("a"), &call(method, target, headers))
}

#[test]
fn rules_stand_in_the_order_of_the_decision() {
    let [trace] = &traced(
        vec![
            rule("foreign", Effect::Allow, token("b"), &["other/"], &["delete"]),
            rule("nearly", Effect::Allow, token("b"), &["bkt/"], &["read"]),
            rule("wide", Effect::Allow, Who::default(), &["bkt/"], &["read"]),
            rule("narrow", Effect::Allow, token("a"), &["bkt/home/{sub}/"], &["read"]),
            rule("wide-too", Effect::Allow, Who::default(), &["bkt/"], &["read"]),
            rule("lock", Effect::Deny, Who::default(), &["bkt/home/a/"], &["read"]),
        ],
        "GET",
        "/bkt/home/a/x",
        &[],
    )[..] else {
        panic!("one question")
    };
    assert_eq!(names(trace), ["lock", "narrow", "wide", "wide-too", "nearly", "foreign"]);
    assert_eq!(trace.rules[1].standing, Standing::Matches(vec!["home/a/".to_owned()]));
    assert_eq!(trace.verdict, Err(Denied::ByRule { rule: RuleId::new("lock"), action: "s3:GetObject" }));
    assert_eq!((trace.action, trace.place.as_str()), ("s3:GetObject", "bkt/home/a/x"));
}

#[test]
fn a_rule_that_does_not_match_says_why() {
    let who = Who {
        attributes: vec![("groups".to_owned(), vec!["admins".to_owned()])],
        networks: vec!["10.0.0.0/8".parse().unwrap()],
        ..token("b")
    };
    let [trace] = &traced(
        vec![
            rule("r", Effect::Allow, who, &["bkt/b/", "other/"], &["delete"]),
            rule("team", Effect::Allow, Who::default(), &["bkt/{team}/"], &["read"]),
        ],
        "GET",
        "/bkt/a/x",
        &[],
    )[..] else {
        panic!("one question")
    };
    assert_eq!(
        misses(trace, "r"),
        [
            Miss::Client(vec!["token b".to_owned()]),
            Miss::Attribute("groups".to_owned(), vec!["admins".to_owned()]),
            Miss::Network(vec!["10.0.0.0/8".to_owned()]),
            Miss::Action,
            Miss::Place(vec!["bkt/b/".to_owned(), "other".to_owned()]),
        ]
    );
    assert_eq!(misses(trace, "team"), [Miss::PlaceAttribute("team".to_owned())]);
    assert_eq!(trace.verdict, Err(Denied::NoRule { action: "s3:GetObject" }));
}

#[test]
fn rights_that_headers_need_are_questions_of_their_own() {
    let rules = || vec![rule("rw", Effect::Allow, Who::default(), &["bkt/"], &["write"])];
    let traces = traced(rules(), "PUT", "/bkt/x", &[("x-amz-tagging", "a=b"), ("content-length", "1")]);
    let actions: Vec<_> = traces.iter().map(|trace| (trace.action, trace.verdict.is_ok())).collect();
    assert_eq!(actions, [("s3:PutObjectTagging", false), ("s3:PutObject", true)]);
    assert!(traced(rules(), "GET", "/", &[]).is_empty(), "ListBuckets needs no rule");
}

#[test]
fn a_listing_shows_the_prefixes_of_each_rule() {
    let rules = vec![
        rule("mine", Effect::Allow, Who::default(), &["bkt/home/{sub}/", "bkt/pub/"], &["list"]),
        rule("elsewhere", Effect::Allow, Who::default(), &["bkt/x/"], &["list"]),
        rule("hidden", Effect::Deny, Who::default(), &["bkt/home/a/.keys/"], &["list"]),
    ];
    let [trace] = &traced(rules, "GET", "/bkt?list-type=2&prefix=home/", &[])[..] else { panic!("one question") };
    assert_eq!((names(trace), trace.is_listing), (vec!["hidden", "mine", "elsewhere"], true));
    assert_eq!(trace.rules[1].standing, Standing::Matches(vec!["home/a/".to_owned()]));
    assert_eq!(trace.verdict, Ok(RuleId::new("mine")));
}

/// What the order of the rules says, without asking `decide`.
fn read_off(trace: &Trace) -> Result<RuleId, Denied> {
    let first = trace.rules.first().filter(|first| matches!(first.standing, Standing::Matches(_)));
    match first {
        None => Err(Denied::NoRule { action: trace.action }),
        Some(Considered { rule, effect: Effect::Deny, .. }) => {
            Err(Denied::ByRule { rule: rule.clone(), action: trace.action })
        }
        Some(Considered { rule, effect: Effect::Allow, .. }) => Ok(rule.clone()),
    }
}

fn any_who() -> impl Strategy<Value = Who> {
    let attribute = |name: &str, value: &str| vec![(name.to_owned(), vec![value.to_owned()])];
    prop_oneof![
        3 => Just(Who::default()),
        2 => Just(token("a")),
        1 => Just(token("b")),
        1 => Just(Who { attributes: attribute("groups", "dev"), ..Who::default() }),
        1 => Just(Who { attributes: attribute("groups", "admins"), ..Who::default() }),
        1 => Just(Who { networks: vec!["127.0.0.0/8".parse().unwrap()], ..token("a") }),
        1 => Just(Who { networks: vec!["10.0.0.0/8".parse().unwrap()], ..Who::default() }),
    ]
}

fn any_rules() -> impl Strategy<Value = Vec<RuleSettings>> {
    let places = ["bkt/", "bkt/a/", "bkt/a/b/", "bkt/home/{sub}/", "bkt/{groups}/", "bkt/{nothing}/", "other/a/"];
    let words = ["read", "list", "write", "delete", "s3:*", "s3:GetObject*", "s3:PutObjectTagging", "s3:PutObject"];
    let one = (
        prop::bool::weighted(0.25),
        any_who(),
        prop::sample::subsequence(places.to_vec(), 1..3),
        prop::sample::subsequence(words.to_vec(), 1..3),
    );
    prop::collection::vec(one, 0..7).prop_map(|rules| {
        let numbered = rules.into_iter().enumerate();
        numbered
            .map(|(number, (deny, who, places, words))| {
                let effect = if deny { Effect::Deny } else { Effect::Allow };
                rule(&format!("r{number}"), effect, who, &places, &words)
            })
            .collect()
    })
}

fn any_call() -> impl Strategy<Value = S3Call> {
    let key = prop::sample::select(vec!["x", "a/x", "a/b/x", "home/a/x", "home/b/x", "dev/x", "ops/x"]);
    let prefix = prop::sample::select(vec!["", "a/", "a/b/c", "home/", "home/a/", "dev", "zz/"]);
    let bucket = prop::sample::select(vec!["bkt", "other"]);
    let on_key = prop::sample::select(vec![
        ("GET", "", vec![]),
        ("HEAD", "", vec![]),
        ("DELETE", "", vec![]),
        ("GET", "?versionId=1", vec![]),
        ("PUT", "", vec![("content-length", "1")]),
        ("PUT", "", vec![("content-length", "1"), ("x-amz-tagging", "a=b"), ("x-amz-acl", "public-read")]),
    ]);
    prop_oneof![
        4 => (bucket.clone(), key, on_key).prop_map(|(bucket, key, (method, query, headers))| {
            call(method, &format!("/{bucket}/{key}{query}"), &headers)
        }),
        1 => (bucket.clone(), prop::sample::select(vec![("HEAD", ""), ("GET", "?location")]))
            .prop_map(|(bucket, (method, query))| call(method, &format!("/{bucket}{query}"), &[])),
        1 => (bucket, prefix).prop_map(|(bucket, prefix)| {
            call("GET", &format!("/{bucket}?list-type=2&delimiter=/&prefix={prefix}"), &[])
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn the_trace_says_what_authorise_decides(rules in any_rules(), call in any_call()) {
        let set = RuleSet::new(rules);
        let traces = set.trace_call(&caller("a"), &call);
        for trace in traces.iter().filter(|trace| !trace.is_listing) {
            prop_assert_eq!(read_off(trace), trace.verdict.clone());
        }
        let said = match traces.iter().find_map(|trace| trace.verdict.clone().err()) {
            Some(denied) => Err(denied),
            None => traces.last().unwrap().verdict.clone(),
        };
        let decided = set.authorise(caller("a"), call, &buckets()).map(|permit| permit.rule().clone());
        prop_assert_eq!(said, decided);
    }
}

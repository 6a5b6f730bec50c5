use proptest::prelude::*;

use super::*;
use crate::base::RouteId;
use crate::rules::action::ActionSet;
use crate::rules::settings::Place as RulePlace;
use crate::s3::{OddKeys, identify};

pub(super) fn buckets() -> Buckets {
    Buckets::new(["bkt", "other"].map(|name| Bucket {
        name: name.to_owned(),
        route: RouteId(0),
        upstream_bucket: name.to_owned(),
        upstream_prefix: String::new(),
        odd_keys: OddKeys::Refuse,
        passed_through: false,
    }))
    .with_pass_through(Some(PassThrough {
        route: RouteId(0),
        odd_keys: OddKeys::Refuse,
        hidden: ["store-side".to_owned()].into(),
    }))
}

pub(super) fn rule(name: &str, effect: Effect, who: Who, places: &[&str], words: &[&str]) -> RuleSettings {
    let mut actions = ActionSet::default();
    assert!(words.iter().all(|word| actions.add(word)));
    let place = |text: &&str| {
        let (bucket, prefix) = text.split_once('/').unwrap_or((text, ""));
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

pub(super) fn token(name: &str) -> Who {
    Who { clients: vec![Client::Token(name.to_owned())], ..Who::default() }
}

pub(super) fn caller(name: &str) -> Caller {
    Caller::for_test(Scheme::AppToken, name, &[("sub", &[name]), ("groups", &["dev", "ops"])])
}

pub(super) fn call(method: &str, target: &str, headers: &[(&str, &str)]) -> S3Call {
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

/// A call whose batch has these objects.
fn batch_call(headers: &[(&str, &str)], objects: &[(&str, Option<&str>)]) -> S3Call {
    let mut all = vec![("content-length", "1"), ("content-md5", "XUFAKrxLKna5cZ2REBfFkg==")];
    all.extend(headers);
    let object = |(key, version): &(&str, Option<&str>)| crate::s3::ObjectVersion {
        key: crate::s3::ObjectKey::check((*key).to_owned(), "", OddKeys::Refuse).unwrap(),
        version_id: version.map(str::to_owned),
        conditions: Vec::new(),
    };
    let objects = objects.iter().map(object).collect();
    let batch = Some(Arc::new(crate::s3::DeleteRequest { objects, quiet: false }));
    S3Call { batch, ..call("POST", "/bkt?delete", &all) }
}

fn permitted(rules: Vec<RuleSettings>, call: S3Call) -> Result<Vec<String>, Denied> {
    let permit = RuleSet::new(rules).authorise(caller("a"), call, &buckets())?;
    let Scope::Batch(scope) = permit.scope() else { panic!("{:?}", permit.scope()) };
    Ok(scope.permitted().map(|object| object.key.as_str().to_owned()).collect())
}

#[test]
fn d12_every_object_of_a_batch_is_decided_on_its_own() {
    let rules = || {
        vec![
            rule("own", Effect::Allow, token("a"), &["bkt/a/"], &["delete"]),
            rule("lock", Effect::Deny, Who::default(), &["bkt/a/locked/"], &["s3:Delete*"]),
            rule("versions", Effect::Allow, token("a"), &["bkt/v/"], &["s3:DeleteObjectVersion"]),
        ]
    };
    let objects = [
        ("a/1", None),
        ("b/secret", None),
        ("a/locked/2", None),
        ("a/3", Some("1")),
        ("v/4", Some("1")),
        ("v/5", None),
        ("ab/6", None),
    ];
    assert_eq!(permitted(rules(), batch_call(&[], &objects)).unwrap(), ["a/1", "v/4"]);
    let set = RuleSet::new(rules());
    let permit = set.authorise(caller("a"), batch_call(&[], &[("b/1", None)]), &buckets()).unwrap();
    assert_eq!(permit.rule().as_str(), "(no object permitted)");
}

#[test]
fn d12_a_batch_is_refused_whole_if_nothing_in_the_bucket_may_be_deleted() {
    let reader = || vec![rule("r", Effect::Allow, Who::default(), &["bkt/"], &["read", "write"])];
    let denied = Denied::NoRule { action: "s3:DeleteObject" };
    assert_eq!(permitted(reader(), batch_call(&[], &[("a", None)])), Err(denied.clone()));
    let bkt = buckets().get("bkt").unwrap();
    assert_eq!(RuleSet::new(reader()).admit_batch(&caller("a"), &bkt), Err(denied));
    let versions = || vec![rule("v", Effect::Allow, token("a"), &["bkt/v/"], &["s3:DeleteObjectVersion"])];
    assert_eq!(RuleSet::new(versions()).admit_batch(&caller("a"), &bkt), Ok(()));
    assert!(RuleSet::new(versions()).admit_batch(&caller("b"), &bkt).is_err());
    // Without its body there is nothing to decide about.
    let unread = S3Call { batch: None, ..batch_call(&[], &[("v/1", None)]) };
    assert!(permitted(versions(), unread).is_err());
}

#[test]
fn d15_bypassing_retention_needs_its_right_for_every_object() {
    let rules = vec![
        rule("delete", Effect::Allow, token("a"), &["bkt/"], &["delete"]),
        rule("bypass", Effect::Allow, token("a"), &["bkt/b/"], &["s3:BypassGovernanceRetention"]),
    ];
    let bypass = [("x-amz-bypass-governance-retention", "true")];
    let objects = [("a/1", None), ("b/2", None)];
    assert_eq!(permitted(rules.clone(), batch_call(&bypass, &objects)).unwrap(), ["b/2"]);
    assert_eq!(permitted(rules, batch_call(&[], &objects)).unwrap(), ["a/1", "b/2"]);
}

#[test]
fn d07_tags_and_attributes_of_a_version_need_rights_of_their_own() {
    let all = |words: &[&str]| vec![rule("r", Effect::Allow, Who::default(), &["bkt/"], words)];
    let needs = |words: &[&str], method: &str, target: &str| {
        let headers = [("content-md5", "XUFAKrxLKna5cZ2REBfFkg=="), ("x-amz-object-attributes", "ETag")];
        let headers = if target.contains("attributes") { &headers[1..] } else { &headers[..1] };
        RuleSet::new(all(words)).authorise(caller("a"), call(method, target, headers), &buckets()).err()
    };
    let plain = ["s3:GetObject", "s3:GetObjectTagging", "s3:PutObjectTagging", "s3:DeleteObjectTagging"];
    for (method, target, action) in [
        ("GET", "/bkt/x?tagging&versionId=1", "s3:GetObjectVersionTagging"),
        ("PUT", "/bkt/x?tagging&versionId=1", "s3:PutObjectVersionTagging"),
        ("DELETE", "/bkt/x?tagging&versionId=1", "s3:DeleteObjectVersionTagging"),
        ("GET", "/bkt/x?attributes", "s3:GetObjectAttributes"),
        ("GET", "/bkt/x?attributes&versionId=1", "s3:GetObjectVersion"),
    ] {
        assert_eq!(needs(&plain, method, target), Some(Denied::NoRule { action }), "{method} {target}");
    }
    assert_eq!(needs(&plain, "PUT", "/bkt/x?tagging"), None);
    let object = Denied::NoRule { action: "s3:GetObject" };
    assert_eq!(needs(&["s3:GetObjectAttributes"], "GET", "/bkt/x?attributes"), Some(object));
    assert_eq!(needs(&["read"], "GET", "/bkt/x?attributes"), None);
    let versions = ["s3:GetObjectVersion", "s3:GetObjectVersionAttributes"];
    assert_eq!(needs(&versions, "GET", "/bkt/x?attributes&versionId=1"), None);
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

#[test]
fn a_rule_for_every_bucket_is_about_those_that_are_not_configured() {
    let rules = || {
        vec![
            rule("all", Effect::Allow, token("a"), &["*/pub/"], &["read"]),
            rule("one", Effect::Allow, token("a"), &["mine/"], &["read"]),
            rule("not", Effect::Deny, token("a"), &["theirs"], &["s3:*"]),
        ]
    };
    assert_eq!(decide(rules(), "a", "GET", "/any/pub/x").unwrap(), "all");
    assert_eq!(decide(rules(), "a", "GET", "/mine/pub/x").unwrap(), "all", "the longer prefix");
    assert_eq!(decide(rules(), "a", "GET", "/mine/x").unwrap(), "one");
    for target in ["/any/x", "/bkt/pub/x", "/other/pub/x", "/theirs/pub/x"] {
        assert!(decide(rules(), "a", "GET", target).is_err(), "{target}");
    }
    let set = RuleSet::new(rules());
    let shows = |name: &str| set.shows(&caller("a"), &buckets().get(name).unwrap());
    assert!(shows("any") && shows("mine") && !shows("theirs") && !shows("bkt"));
    assert!(set.may_show_passed_through(&caller("a"), &buckets()));
    assert!(!set.may_show_passed_through(&caller("b"), &buckets()));
}

#[test]
fn what_is_denied_everywhere_does_not_show() {
    let shows = |deny: &str, what: &str| {
        let rules = vec![
            rule("allow", Effect::Allow, token("a"), &["bkt/a/"], &["s3:GetObject", "s3:PutObject"]),
            rule("deny", Effect::Deny, token("a"), &[deny], &[what]),
        ];
        RuleSet::new(rules).shows(&caller("a"), &buckets().get("bkt").unwrap())
    };
    assert!(!shows("bkt", "s3:*") && !shows("bkt/a/", "s3:*"));
    assert!(shows("bkt", "s3:Get*") && shows("bkt/a/b/", "s3:*") && shows("other", "s3:*"));
}

#[test]
fn an_operation_on_a_bucket_as_a_whole_needs_the_whole_bucket() {
    let allow = |place: &str, what: &str| vec![rule("allow", Effect::Allow, token("a"), &[place], &[what])];
    let versioning = |rules: Vec<RuleSettings>| decide(rules, "a", "GET", "/bkt?versioning");
    assert_eq!(versioning(allow("bkt", "s3:GetBucketVersioning")).unwrap(), "allow");
    assert_eq!(versioning(allow("bkt", "s3:Get*")).unwrap(), "allow");
    for (place, what) in [("bkt/a/", "s3:*"), ("bkt", "read"), ("other", "s3:*"), ("*", "s3:*")] {
        assert!(versioning(allow(place, what)).is_err(), "{place} {what}");
    }
    assert!(decide(allow("*", "s3:*"), "a", "PUT", "/new-one").is_ok());
    assert!(decide(allow("*/a/", "s3:*"), "a", "PUT", "/new-one").is_err());
}

#[test]
fn a_change_of_a_bucket_is_denied_by_a_denial_of_any_part_of_it() {
    let with_deny = |place: &str, what: &str, method: &str, target: &str| {
        let rules = vec![
            rule("allow", Effect::Allow, token("a"), &["bkt"], &["s3:*"]),
            rule("deny", Effect::Deny, token("a"), &[place], &[what]),
        ];
        decide(rules, "a", method, target)
    };
    assert!(with_deny("bkt/kept/", "s3:*", "PUT", "/bkt?lifecycle").is_err());
    assert!(with_deny("bkt/kept/", "s3:*", "GET", "/bkt?lifecycle").is_ok());
    assert!(with_deny("bkt", "s3:*", "GET", "/bkt?lifecycle").is_err());
    assert!(with_deny("bkt/kept/", "s3:Get*", "PUT", "/bkt?lifecycle").is_ok());
    assert!(with_deny("other/kept/", "s3:*", "PUT", "/bkt?lifecycle").is_ok());
    assert!(with_deny("bkt/{groups}/", "s3:*", "PUT", "/bkt?lifecycle").is_err());
    assert!(with_deny("bkt/{nobody-has-it}/", "s3:*", "PUT", "/bkt?lifecycle").is_ok());
}

#[test]
fn d20_a_sub_resource_needs_the_right_to_the_plain_request_too() {
    let with = |what: &[&str], method: &str, target: &str| {
        decide(vec![rule("r", Effect::Allow, token("a"), &["bkt"], what)], "a", method, target)
    };
    for (own, plain, method, target) in [
        ("s3:PutBucketTagging", "s3:DeleteBucket", "DELETE", "/bkt?tagging"),
        ("s3:PutBucketTagging", "s3:CreateBucket", "PUT", "/bkt?tagging"),
        ("s3:GetObjectAcl", "s3:GetObject", "GET", "/bkt/a/x?acl"),
        ("s3:GetObjectVersionAcl", "s3:GetObjectVersion", "GET", "/bkt/a/x?acl&versionId=1"),
        ("s3:PutObjectRetention", "s3:PutObject", "PUT", "/bkt/a/x?retention"),
    ] {
        assert!(with(&[own, plain], method, target).is_ok(), "{method} {target}");
        assert!(with(&[own], method, target).is_err(), "{method} {target}");
        assert!(with(&[plain], method, target).is_err(), "{method} {target}");
    }
    assert!(with(&["s3:RestoreObject"], "POST", "/bkt/a/x?restore").is_ok());
}

#[test]
fn d22_headers_of_a_new_bucket_need_their_own_rights() {
    let create = |what: &[&str], header: (&str, &str)| {
        let rules = RuleSet::new(vec![rule("r", Effect::Allow, token("a"), &["*"], what)]);
        rules.authorise(caller("a"), call("PUT", "/new-one", &[header]), &buckets()).map(drop)
    };
    for (header, right) in [
        (("x-amz-acl", "public-read"), "s3:PutBucketAcl"),
        (("x-amz-grant-read", "uri=x"), "s3:PutBucketAcl"),
        (("x-amz-bucket-object-lock-enabled", "true"), "s3:PutBucketObjectLockConfiguration"),
        (("x-amz-object-ownership", "ObjectWriter"), "s3:PutBucketOwnershipControls"),
    ] {
        assert_eq!(create(&["s3:CreateBucket"], header), Err(Denied::NoRule { action: right }), "{header:?}");
        assert_eq!(create(&["s3:CreateBucket", right], header), Ok(()), "{header:?}");
    }
    assert_eq!(create(&["s3:CreateBucket"], ("x-amz-acl", "private")), Ok(()));
    assert!(matches!(create(&["s3:*"], ("x-amz-bucket-namespace", "account-regional")), Err(Denied::Header { .. })));
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

use super::*;
use crate::auth::error::SignatureError;
use crate::auth::settings::AccessKeySettings;
use crate::auth::{Attributes, SigningSettings};
use crate::base::Secret;
use crate::sigv4::SigningKey;

const POLICY: &str = r#"{"expiration": "2026-11-22T13:00:00.000Z", "conditions": [{"bucket": "bkt"}, ["starts-with", "$key", "a/"], {"x-amz-algorithm": "AWS4-HMAC-SHA256"}, {"x-amz-credential": "CSAK1/20261122/eu/s3/aws4_request"}, {"x-amz-date": "20261122T120000Z"}]}"#;

fn now() -> UtcInstant {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

fn keys() -> AccessKeys {
    AccessKeys::new(vec![AccessKeySettings {
        name: "web".to_owned(),
        id: "CSAK1".to_owned(),
        secret: Secret::new("s3cret"),
        expires: None,
        attributes: Attributes::new(),
    }])
    .unwrap()
}

fn signatures() -> SignatureCheck {
    SignatureCheck::new(SigningSettings { regions: vec!["eu".to_owned()], ..SigningSettings::default() })
}

fn sign(policy: &str, region: &str, timestamp: &str) -> String {
    SigningKey::derive(&Secret::new("s3cret"), region, &AmzDate::parse(timestamp).unwrap()).sign(policy)
}

/// The fields of a form with this policy, signed at a time.
fn form(policy: &str, timestamp: &str) -> Vec<(String, String)> {
    let encoded = STANDARD.encode(policy);
    let credential = format!("CSAK1/{}/eu/s3/aws4_request", &timestamp[..8]);
    let signature = sign(&encoded, "eu", timestamp);
    [
        ("key", "a/x"),
        ("x-amz-algorithm", "AWS4-HMAC-SHA256"),
        ("x-amz-credential", &credential),
        ("x-amz-date", timestamp),
        ("policy", &encoded),
        ("x-amz-signature", &signature),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}

fn with(fields: &[(String, String)], name: &str, value: &str) -> Vec<(String, String)> {
    let mut fields = fields.to_vec();
    match fields.iter_mut().find(|(known, _)| known == name) {
        Some((_, old)) => *old = value.to_owned(),
        None => fields.push((name.to_owned(), value.to_owned())),
    }
    fields
}

fn check(fields: Fields<'_>) -> Result<(), AuthError> {
    check_at(fields, now())
}

fn check_at(fields: Fields<'_>, now: UtcInstant) -> Result<(), AuthError> {
    let address = IpAddr::from([192, 0, 2, 1]);
    let (caller, policy) = authenticate(fields, &keys(), &signatures(), now, address)?;
    assert_eq!((caller.principal().as_str(), caller.address()), ("key:web", address));
    policy.check(fields, "bkt")?;
    Ok(())
}

#[test]
fn f01_a_signed_form_that_keeps_to_its_policy_is_let_through() {
    assert_eq!(check(&form(POLICY, "20261122T120000Z")), Ok(()));
}

#[test]
fn b14_the_policy_says_when_it_was_signed() {
    let date = r#"{"x-amz-date": "20261122T120000Z"}"#;
    let with_date = |condition: &str| form(&POLICY.replace(date, condition), "20261122T120000Z");
    for open in [
        r#"["starts-with", "$x-amz-date", ""]"#,
        r#"["starts-with", "$x-amz-date", "2026"]"#,
        r#"["starts-with", "$x-amz-date", "20261122T120000"]"#,
        r#"{"x-ignore-date": "20261122T120000Z"}"#,
    ] {
        let refused = check(&with_date(open));
        assert!(matches!(refused, Err(AuthError::Policy(PolicyError::Document(_)))), "{open}: {refused:?}");
    }
    for fixed in [
        r#"["eq", "$x-amz-date", "20261122T120000Z"]"#,
        r#"["starts-with", "$X-Amz-Date", "20261122T120000Z"]"#,
        r#"["starts-with", "$x-amz-date", ""], {"x-amz-date": "20261122T120000Z"}"#,
    ] {
        assert_eq!(check(&with_date(fixed)), Ok(()), "{fixed}");
    }
}

#[test]
fn f05_what_was_signed_is_the_policy_exactly_as_it_came() {
    let good = form(POLICY, "20261122T120000Z");
    let value = |name: &str| get(&good, name).unwrap().to_owned();
    for (name, changed) in [
        ("policy", value("policy").trim_end_matches('=').to_owned()),
        ("policy", value("policy") + "\n"),
        ("policy", STANDARD.encode(POLICY.replace("a/", "b/"))),
        ("policy", String::new()),
        ("x-amz-signature", value("x-amz-signature").to_uppercase()),
        ("x-amz-signature", "0".repeat(64)),
        ("x-amz-signature", String::new()),
        ("x-amz-signature", value("x-amz-signature")[..63].to_owned()),
    ] {
        assert_eq!(check(&with(&good, name, &changed)), Err(SignatureError::Mismatch.into()), "{name} {changed}");
    }
    for (name, changed) in [
        ("x-amz-algorithm", "AWS4-HMAC-SHA1"),
        ("x-amz-algorithm", ""),
        ("x-amz-date", "20261122T120001"),
        ("x-amz-date", "2026-11-22T12:00:00Z"),
        ("x-amz-date", "20261122T250000Z"),
    ] {
        assert_eq!(
            check(&with(&good, name, changed)),
            Err(PolicyError::Field(field_of(name)).into()),
            "{name} {changed}"
        );
    }
    // The date is not signed with SigV4 forms; the policy's condition on it is.
    let other_time = with(&good, "x-amz-date", "20261122T120001Z");
    assert!(matches!(check(&other_time), Err(AuthError::Policy(PolicyError::Condition(_)))));
}

#[test]
fn f05_the_scope_names_day_region_and_service() {
    let good = form(POLICY, "20261122T120000Z");
    for credential in [
        "CSAK1/20261122/eu/iam/aws4_request",
        "CSAK1/20261122/eu/s3/aws5_request",
        "CSAK1/20261122/eu/s3/aws4_request/x",
        "CSAK1/x/20261122/eu/s3/aws4_request",
        "CSAK1",
    ] {
        let refused = check(&with(&good, "x-amz-credential", credential));
        assert_eq!(refused, Err(PolicyError::Field("x-amz-credential").into()), "{credential}");
    }
    let other_region = with(&good, "x-amz-credential", "CSAK1/20261122/us/s3/aws4_request");
    assert_eq!(check(&other_region), Err(SignatureError::Region { expected: "eu".to_owned() }.into()));
    let other_day = with(&good, "x-amz-credential", "CSAK1/20261121/eu/s3/aws4_request");
    assert_eq!(check(&other_day), Err(SignatureError::OtherDay.into()));
    let unknown = with(&good, "x-amz-credential", "CSAK2/20261122/eu/s3/aws4_request");
    assert_eq!(check(&unknown), Err(SignatureError::UnknownKey.into()));
    assert_eq!(check(&with(&good, "x-amz-security-token", "t")), Err(SignatureError::Token.into()));
    // It would be the secret of everybody who has the page.
    assert_eq!(check(&with(&good, "x-amz-security-token", "e30.e30.c2ln")), Err(SignatureError::JwtHandedOut.into()));
}

#[test]
fn f05_forms_without_a_signature_or_with_an_old_one_are_refused() {
    let good = form(POLICY, "20261122T120000Z");
    let without =
        |names: &[&str]| good.iter().filter(|(name, _)| !names.contains(&name.as_str())).cloned().collect::<Vec<_>>();
    assert_eq!(check(&without(&["x-amz-signature", "x-amz-credential"])), Err(AuthError::Missing));
    for name in ["x-amz-signature", "x-amz-credential", "x-amz-date", "x-amz-algorithm", "policy"] {
        assert_eq!(check(&without(&[name])), Err(PolicyError::Field(field_of(name)).into()), "{name}");
    }
    let old = with(&without(&["x-amz-signature", "x-amz-credential"]), "awsaccesskeyid", "CSAK1");
    assert_eq!(check(&old), Err(AuthError::Unsupported(CredentialKind::FormV2)));
    assert_eq!(check(&with(&good, "signature", "x")), Err(AuthError::Several));
}

/// The name as the error has it.
fn field_of(name: &str) -> &'static str {
    ["x-amz-signature", "x-amz-credential", "x-amz-date", "x-amz-algorithm", "policy"]
        .into_iter()
        .find(|known| *known == name)
        .unwrap()
}

#[test]
fn b07_a_form_is_good_from_its_signing_to_its_expiration() {
    let good = form(POLICY, "20261122T120000Z");
    let at = |text: &str| check_at(&good, text.parse().unwrap());
    assert_eq!(at("2026-11-22T12:59:59.999Z"), Ok(()));
    assert_eq!(at("2026-11-22T13:00:00Z"), Err(PolicyError::Expired.into()));
    assert_eq!(at("2026-11-22T11:46:00Z"), Ok(()));
    assert_eq!(at("2026-11-22T11:44:00Z"), Err(SignatureError::Skewed { skew_secs: -960, limit_secs: 900 }.into()));
    let long = form(&POLICY.replace("2026-11-22T13", "2036-11-22T13"), "20261122T120000Z");
    let at = |text: &str| check_at(&long, text.parse().unwrap());
    assert_eq!(at("2026-11-29T11:59:59.999Z"), Ok(()));
    assert_eq!(at("2026-11-29T12:00:00Z"), Err(SignatureError::Over.into()), "as a presigned URL");
}

fn parse(policy: &str) -> Result<PostPolicy, PolicyError> {
    PostPolicy::parse(&STANDARD.encode(policy))
}

fn policy(conditions: &str) -> Result<PostPolicy, PolicyError> {
    parse(&format!("{{\"expiration\": \"2026-11-22T13:00:00Z\", \"conditions\": {conditions}}}"))
}

#[test]
fn f08_a_policy_is_an_expiration_and_conditions() {
    assert!(policy("[]").is_ok());
    for text in [
        "",
        "{}",
        "[]",
        r#"{"conditions": []}"#,
        r#"{"expiration": "2026-11-22T13:00:00Z"}"#,
        r#"{"expiration": "2026-11-22T13:00:00Z", "conditions": {}}"#,
        r#"{"expiration": "2026-11-22T13:00:00Z", "conditions": null}"#,
        r#"{"expiration": "2026-11-22T13:00:00Z", "conditions": [], "x": 1}"#,
        r#"{"expiration": "2026-11-22T13:00:00Z", "conditions": [], "conditions": []}"#,
        r#"{"expiration": 1795352400, "conditions": []}"#,
    ] {
        assert!(matches!(parse(text), Err(PolicyError::Document(_))), "{text}");
    }
    for time in [
        "",
        "2026-11-22",
        "2026-11-22T13:00:00",
        "2026-11-22T13:00:00+00:00",
        "2026-11-22 13:00:00Z",
        "2026-11-22t13:00:00z",
        "20261122T130000Z",
        "99999-01-01T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-11-22T13:00:00[UTC]Z",
    ] {
        let text = format!("{{\"expiration\": \"{time}\", \"conditions\": []}}");
        assert!(matches!(parse(&text), Err(PolicyError::Document(_))), "{time}");
    }
    for base64 in ["e30", "e30= ", "e30=\n", "e3-=", "e31=", "*"] {
        assert!(matches!(PostPolicy::parse(base64), Err(PolicyError::Document(_))), "{base64}");
    }
    let deep = policy(&format!("{}{}", "[".repeat(10_000), "]".repeat(10_000)));
    assert!(matches!(deep, Err(PolicyError::Document(_))));
}

#[test]
fn f14_a_condition_has_one_of_three_forms() {
    for condition in [
        "null",
        "[]",
        "{}",
        "\"eq\"",
        r#"{"acl": "private", "key": "x"}"#,
        r#"{"acl": 1}"#,
        r#"{"acl": null}"#,
        r#"{"": "x"}"#,
        r#"{"$key": "x"}"#,
        r#"{"key": ["x"]}"#,
        r#"["eq", "$key"]"#,
        r#"["eq", "key", "x"]"#,
        r#"["eq", "$", "x"]"#,
        r#"["eq", "$key", "x", "y"]"#,
        r#"["eq", "$key", 1]"#,
        r#"["EQ", "$key", "x"]"#,
        r#"["matches", "$key", "x"]"#,
        r#"[["eq", "$key", "x"]]"#,
        r#"[null, null, null]"#,
    ] {
        let refused = policy(&format!("[{condition}]"));
        assert_eq!(refused, Err(PolicyError::Document("a condition is not understood")), "{condition}");
    }
}

#[test]
fn f09_a_range_of_lengths_is_two_whole_numbers() {
    let range = |text: &str| policy(&format!("[{{\"bucket\": \"b\"}}, {{\"key\": \"k\"}}, {text}]"));
    for text in ["-1, 5", "5, 4", "0, 18446744073709551616", "0, 1.5", "0, 1e3", "\"0\", \"5\"", "null, 5", "0"] {
        let refused = range(&format!("[\"content-length-range\", {text}]"));
        assert_eq!(refused, Err(PolicyError::Document("a condition is not understood")), "{text}");
    }
    let fields = [("key".to_owned(), "k".to_owned())];
    let bytes = |text: &str| range(text).unwrap().check(&fields, "b").map(|range| (range.min, range.max));
    assert_eq!(bytes(r#"["content-length-range", 0, 18446744073709551615]"#), Ok((0, Some(u64::MAX))));
    // F02: the strictest of two.
    assert_eq!(bytes(r#"["content-length-range", 2, 9], ["content-length-range", 1, 5]"#), Ok((2, Some(5))));
    assert_eq!(bytes(r#"{"key": "k"}"#), Ok((0, None)));
}

#[test]
fn f01_every_condition_holds_and_every_field_is_in_one() {
    let rules = r#"[{"bucket": "bkt"}, ["starts-with", "$Key", "a/"], ["starts-with", "$Content-Type", "image/"], {"acl": "private"}, ["starts-with", "$x-amz-meta-any", ""]]"#;
    let policy = policy(rules).unwrap();
    let good: Vec<(String, String)> = [
        ("key", "a/x"),
        ("content-type", "image/png"),
        ("acl", "private"),
        ("x-ignore-this", "1"),
        ("policy", "p"),
        ("x-amz-signature", "s"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec();
    assert!(policy.check(&good, "bkt").is_ok());
    assert!(policy.check(&with(&good, "x-amz-meta-any", "thing"), "bkt").is_ok());
    for (name, value) in
        [("key", "b/x"), ("key", "A/x"), ("content-type", "text/html"), ("content-type", ""), ("acl", "public-read")]
    {
        assert!(
            matches!(policy.check(&with(&good, name, value), "bkt"), Err(PolicyError::Condition(_))),
            "{name} {value}"
        );
    }
    for name in
        ["x-amz-meta-other", "tagging", "success_action_status", "success_action_redirect", "submit", "xx-ignore-a"]
    {
        let extra = with(&good, name, "x");
        assert_eq!(policy.check(&extra, "bkt"), Err(PolicyError::Uncovered(name.to_owned())), "{name}");
    }
    // D30: whatever a field says, the bucket is that of the URL.
    assert!(matches!(policy.check(&with(&good, "bucket", "bkt"), "other"), Err(PolicyError::Condition(_))));
    let missing: Vec<_> = good.iter().filter(|(name, _)| name != "acl").cloned().collect();
    assert_eq!(
        policy.check(&missing, "bkt"),
        Err(PolicyError::Condition("[\"eq\", \"$acl\", \"private\"]".to_owned()))
    );
}

#[test]
fn l01_a_session_token_is_not_told_in_an_error() {
    for condition in [
        r#"{"x-amz-security-token": "s3cret-token"}"#,
        r#"["starts-with", "$X-Amz-Security-Token", "s3cret"]"#,
        r#"{"x-amz-server-side-encryption-customer-key": "s3cret-key"}"#,
    ] {
        let refused = policy(&format!("[{condition}]")).unwrap().check(&[], "bkt").unwrap_err();
        assert!(matches!(refused, PolicyError::Condition(_)) && !refused.to_string().contains("s3cret"), "{refused}");
    }
}

#[test]
fn f02_of_two_conditions_on_a_field_both_must_hold() {
    let policy = policy(r#"[{"bucket": "bkt"}, ["eq", "$key", "a/1"], ["eq", "$key", "b/1"]]"#).unwrap();
    for key in ["a/1", "b/1"] {
        let fields = [("key".to_owned(), key.to_owned())];
        assert!(matches!(policy.check(&fields, "bkt"), Err(PolicyError::Condition(_))), "{key}");
    }
}

#[test]
fn d30_a_policy_must_say_something_of_bucket_and_key() {
    let fields = [("key".to_owned(), "k".to_owned())];
    let check = |conditions: &str| policy(conditions).unwrap().check(&fields, "bkt");
    assert_eq!(check("[]"), Err(PolicyError::Uncovered("key".to_owned())));
    assert_eq!(check(r#"[{"key": "k"}]"#), Err(PolicyError::Uncovered("bucket".to_owned())));
    assert_eq!(
        policy(r#"[{"bucket": "bkt"}]"#).unwrap().check(&[], "bkt"),
        Err(PolicyError::Uncovered("key".to_owned()))
    );
    assert!(check(r#"[{"key": "k"}, ["starts-with", "$bucket", ""]]"#).is_ok());
}

#[test]
fn f12_a_field_is_fixed_by_an_equal_condition_or_a_long_enough_start() {
    let policy = policy(r#"[["starts-with", "$a", "https://x/"], {"b": "y"}, ["starts-with", "$c", ""]]"#).unwrap();
    let long = |start: &str| start.len() > 9;
    assert!(policy.fixes("a", long) && policy.fixes("b", long));
    assert!(!policy.fixes("c", long) && !policy.fixes("d", long) && !policy.fixes("a", |_| false));
}

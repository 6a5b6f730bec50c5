//! What the claims of a well-signed token must say, and what they become.

use std::collections::BTreeMap;
use std::time::Duration;

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use super::support::*;
use crate::auth::jwt::Issuers;
use crate::auth::{AuthError, CacheTimes, ClaimFault, InvalidReason, IssuerSettings, SetupError};

fn refused(claim: &str, fault: ClaimFault) -> Result<String, AuthError> {
    Err(AuthError::Invalid(InvalidReason::Claim { issuer: "corp".to_owned(), claim: claim.to_owned(), fault }))
}

fn with(change: impl FnOnce(&mut IssuerSettings)) -> Issuers {
    let mut settings = settings();
    change(&mut settings);
    issuer(settings, &[RSA.jwk("k1")])
}

fn text_map<V: Clone>(pairs: &[(&str, V)]) -> BTreeMap<String, V> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

/// A token whose claim `name` is this JSON text, which `serde_json` might not write.
fn with_raw_claim(name: &str, json: &str) -> String {
    let claims = Token::new().without_claim(name).claims_text();
    let claims = format!("{},\"{name}\":{json}}}", claims.strip_suffix('}').unwrap());
    sign_text(&RSA, "RS256", &Token::new().header_text(), &claims)
}

#[test]
fn i06_a_token_is_valid_until_its_expiry() {
    let until = |exp: i64| principal(&usual(), &Token::new().claim("exp", exp).sign(&RSA));
    assert_eq!(until(NOW + 1), alice());
    assert_eq!(until(NOW), Err(AuthError::Expired));
    assert_eq!(until(NOW - 1), Err(AuthError::Expired));
    assert_eq!(until(0), Err(AuthError::Expired));
}

#[test]
fn i06_leeway_lengthens_and_is_at_most_a_minute() {
    let lenient = with(|settings| settings.leeway = Duration::from_secs(60));
    let token = |claim: &str, time: i64| principal(&lenient, &Token::new().claim(claim, time).sign(&RSA));
    assert_eq!(token("exp", NOW - 59), alice());
    assert_eq!(token("exp", NOW - 60), Err(AuthError::Expired));
    assert_eq!(token("nbf", NOW + 60), alice());
    assert_eq!(token("nbf", NOW + 61), refused("nbf", ClaimFault::Future));
    assert_eq!(token("iat", NOW + 60), alice());
    assert_eq!(token("iat", NOW + 61), refused("iat", ClaimFault::Future));
    let settings = IssuerSettings { leeway: Duration::from_secs(61), ..settings() };
    assert!(matches!(Issuers::new(vec![settings], CacheTimes::default()), Err(SetupError::Leeway { .. })));
}

#[test]
fn i06_times_are_numbers_in_range() {
    for (json, fault) in [
        ("\"99999999999\"", ClaimFault::Type),
        ("null", ClaimFault::Type),
        ("true", ClaimFault::Type),
        ("[1800000000]", ClaimFault::Type),
        ("{}", ClaimFault::Type),
        ("-1", ClaimFault::Time),
        ("-0.5", ClaimFault::Time),
        ("1e308", ClaimFault::Time),
        ("9223372036854775807", ClaimFault::Time),
        ("9223372036854775808", ClaimFault::Time),
        ("18446744073709551615", ClaimFault::Time),
        ("18446744073709551616", ClaimFault::Time),
        ("300000000000", ClaimFault::Time), // the year 11476
        ("3e11", ClaimFault::Time),
    ] {
        for claim in ["exp", "nbf", "iat"] {
            assert_eq!(principal(&usual(), &with_raw_claim(claim, json)), refused(claim, fault), "{claim}: {json}");
        }
    }
    for json in ["1e999", "NaN", "Infinity", "01"] {
        let result = principal(&usual(), &with_raw_claim("exp", json));
        assert!(matches!(result, Err(AuthError::Invalid(InvalidReason::NotAJwt(_)))), "{json}");
    }
    let missing = Token::new().without_claim("exp").sign(&RSA);
    assert_eq!(principal(&usual(), &missing), refused("exp", ClaimFault::Missing));
}

#[test]
fn i06_times_may_have_fractions() {
    assert_eq!(principal(&usual(), &with_raw_claim("exp", &format!("{NOW}.5"))), alice());
    assert_eq!(principal(&usual(), &with_raw_claim("exp", &format!("{NOW}.0"))), Err(AuthError::Expired));
    assert_eq!(principal(&usual(), &with_raw_claim("exp", "2.5e9")), alice());
    assert_eq!(principal(&usual(), &with_raw_claim("nbf", &format!("{NOW}.25"))), refused("nbf", ClaimFault::Future));
    assert_eq!(principal(&usual(), &with_raw_claim("nbf", &format!("{}.75", NOW - 1))), alice());
}

#[test]
fn i06_tokens_from_the_future_are_refused() {
    for claim in ["nbf", "iat"] {
        let token = |time: i64| principal(&usual(), &Token::new().claim(claim, time).sign(&RSA));
        assert_eq!(token(NOW), alice(), "{claim}");
        assert_eq!(token(NOW + 1), refused(claim, ClaimFault::Future), "{claim}");
        assert_eq!(principal(&usual(), &Token::new().without_claim(claim).sign(&RSA)), alice(), "{claim} is optional");
    }
}

#[test]
fn i06_expired_is_said_only_of_an_otherwise_valid_token() {
    let expired = Token::new().claim("exp", NOW - 1000);
    assert_eq!(principal(&usual(), &expired.sign(&RSA)), Err(AuthError::Expired));
    for token in [
        expired.sign(&TestKey::rsa()),
        expired.clone().claim("aud", "other").sign(&RSA),
        expired.clone().without_claim("sub").sign(&RSA),
        expired.clone().claim("nbf", NOW + 1000).sign(&RSA),
        expired.clone().header("typ", "logout+jwt").sign(&RSA),
    ] {
        assert!(matches!(principal(&usual(), &token), Err(AuthError::Invalid(_))));
    }
}

#[test]
fn i08_one_audience_must_be_ours_whole() {
    let issuers = with(|settings| settings.audiences = vec!["s3".to_owned(), "https://s3.example/".to_owned()]);
    let for_audience = |aud: Value| principal(&issuers, &Token::new().claim("aud", aud).sign(&RSA));
    for aud in [json!("s3"), json!(["s3"]), json!(["other", "s3"]), json!("https://s3.example/"), json!(["s3", "s3"])] {
        assert_eq!(for_audience(aud.clone()), alice(), "{aud}");
    }
    for aud in [
        json!("s"),
        json!("s3x"),
        json!("S3"),
        json!("*"),
        json!(""),
        json!(" s3"),
        json!("s3 other"),
        json!("s3,other"),
        json!("https://s3.example"),
        json!([]),
        json!(["other"]),
        json!([""]),
    ] {
        assert_eq!(for_audience(aud.clone()), refused("aud", ClaimFault::Value), "{aud}");
    }
    for aud in [json!(null), json!(3), json!({"s3": true}), json!(["s3", 1]), json!([["s3"]])] {
        assert_eq!(for_audience(aud.clone()), refused("aud", ClaimFault::Type), "{aud}");
    }
    let missing = Token::new().without_claim("aud").claim("azp", "s3").claim("client_id", "s3");
    assert_eq!(principal(&issuers, &missing.sign(&RSA)), refused("aud", ClaimFault::Missing));
}

#[test]
fn i08_required_claims_tell_token_types_apart() {
    let issuers = with(|settings| {
        settings.required_claims = text_map(&[
            ("token_use", vec!["access".to_owned()]),
            ("scope", vec!["s3:read".to_owned(), "s3:write".to_owned()]),
            ("tenant", vec![]),
        ]);
    });
    let good = Token::new().claim("token_use", "access").claim("scope", "openid s3:write").claim("tenant", "t1");
    assert_eq!(principal(&issuers, &good.sign(&RSA)), alice());
    assert_eq!(principal(&issuers, &good.clone().claim("scope", json!(["s3:read"])).sign(&RSA)), alice());
    for (claim, value, fault) in [
        ("token_use", json!("id"), ClaimFault::Value),
        ("token_use", json!("access id"), ClaimFault::Value),
        ("token_use", json!("Access"), ClaimFault::Value),
        ("token_use", json!([]), ClaimFault::Value),
        ("token_use", json!(null), ClaimFault::Missing),
        ("token_use", json!({}), ClaimFault::Type),
        ("scope", json!("s3:reader openid"), ClaimFault::Value),
        ("scope", json!(""), ClaimFault::Value),
        ("tenant", json!(null), ClaimFault::Missing),
    ] {
        let token = good.clone().claim(claim, value.clone()).sign(&RSA);
        assert_eq!(principal(&issuers, &token), refused(claim, fault), "{claim}: {value}");
    }
    assert_eq!(
        principal(&issuers, &good.clone().without_claim("tenant").sign(&RSA)),
        refused("tenant", ClaimFault::Missing)
    );
}

#[test]
fn i15_the_principal_is_a_short_text_without_control_characters() {
    for (subject, fault) in [
        (json!(""), ClaimFault::Text),
        (json!("a".repeat(257)), ClaimFault::Text),
        (json!("a\nb"), ClaimFault::Text),
        (json!("a\u{0}"), ClaimFault::Text),
        (json!("a\u{85}b"), ClaimFault::Text),
        (json!("\u{7f}"), ClaimFault::Text),
        (json!(7), ClaimFault::Type),
        (json!(null), ClaimFault::Type),
        (json!(["alice"]), ClaimFault::Type),
    ] {
        let token = Token::new().claim("sub", subject.clone()).sign(&RSA);
        assert_eq!(principal(&usual(), &token), refused("sub", fault), "{subject}");
    }
    assert_eq!(principal(&usual(), &Token::new().without_claim("sub").sign(&RSA)), refused("sub", ClaimFault::Missing));
    // What a subject may do inside a prefix is for the rules; here it is only a name.
    for subject in ["../b", "a/b", "*", "%2f", "{x}", "é", &"a".repeat(256)] {
        let token = Token::new().claim("sub", subject).sign(&RSA);
        assert_eq!(principal(&usual(), &token), Ok(format!("corp:{subject}")));
    }
}

#[test]
fn another_claim_can_name_the_principal() {
    let issuers = with(|settings| settings.principal_claim = "email".to_owned());
    let caller = authenticate(&issuers, &Token::new().claim("email", "a@example.com").sign(&RSA)).unwrap();
    assert_eq!(caller.principal().as_str(), "corp:a@example.com");
    assert_eq!(caller.attributes()["sub"], ["alice"]);
    assert_eq!(principal(&issuers, &Token::new().sign(&RSA)), refused("email", ClaimFault::Missing));
    for text in ["", "a\n@example.com", &"a".repeat(257)] {
        let token = Token::new().claim("email", text).sign(&RSA);
        assert_eq!(principal(&issuers, &token), refused("email", ClaimFault::Text), "{text:?}");
    }
}

#[test]
fn i15_named_claims_become_attributes() {
    let issuers = with(|settings| {
        let names = [
            ("groups", "cognito:groups"),
            ("team", "team"),
            ("level", "level"),
            ("vip", "vip"),
            ("scopes", "scope"),
            ("scp", "scp"),
            ("list", "list"),
            ("absent", "absent"),
            ("void", "void"),
            ("big", "big"),
            ("part", "part"),
        ];
        settings.attributes = names.map(|(attribute, claim)| (attribute.to_owned(), claim.to_owned())).into();
    });
    let token = Token::new()
        .claim("cognito:groups", json!(["admin", "s3 users"]))
        .claim("team", "red blue")
        .claim("level", -3)
        .claim("vip", true)
        .claim("scope", "openid  s3:read ")
        .claim("scp", json!(["a b", "c"]))
        .claim("list", json!([]))
        .claim("void", Value::Null)
        .claim("big", u64::MAX)
        .claim("part", 1.5)
        .claim("unnamed", "x");
    let caller = authenticate(&issuers, &token.sign(&RSA)).unwrap();
    let expected: &[(&str, &[&str])] = &[
        ("big", &["18446744073709551615"]),
        ("groups", &["admin", "s3 users"]),
        ("issuer", &["corp"]),
        ("level", &["-3"]),
        ("list", &[]),
        ("part", &["1.5"]),
        ("scopes", &["openid", "s3:read"]),
        ("scp", &["a b", "c"]),
        ("sub", &["alice"]),
        ("team", &["red blue"]),
        ("vip", &["true"]),
    ];
    let expected: BTreeMap<String, Vec<String>> = expected
        .iter()
        .map(|(name, values)| ((*name).to_owned(), values.iter().map(|value| (*value).to_owned()).collect()))
        .collect();
    assert_eq!(caller.attributes(), &expected);
}

#[test]
fn i15_a_named_claim_that_cannot_be_read_refuses_the_token() {
    let issuers = with(|settings| settings.attributes = text_map(&[("groups", "groups".to_owned())]));
    for (json, fault) in [
        ("{\"admin\":true}", ClaimFault::Type),
        ("[1,2]", ClaimFault::Type),
        ("[\"a\",null]", ClaimFault::Type),
        ("[[\"a\"]]", ClaimFault::Type),
        ("18446744073709551616", ClaimFault::Type), // equal to its neighbours as f64
        ("-9223372036854775809", ClaimFault::Type),
        ("1e300", ClaimFault::Type),
        ("\"a\\u0000\"", ClaimFault::Text),
        ("[\"a\\nb\"]", ClaimFault::Text),
    ] {
        assert_eq!(principal(&issuers, &with_raw_claim("groups", json)), refused("groups", fault), "{json}");
    }
    assert_eq!(principal(&usual(), &with_raw_claim("groups", "{\"admin\":true}")), alice(), "not named: not read");
}

#[test]
fn a14_issuers_that_cannot_be_meant_are_refused() {
    let set_up = |change: &dyn Fn(&mut IssuerSettings)| {
        let mut settings = settings();
        settings.issuer = "http://127.0.0.1:1".to_owned();
        change(&mut settings);
        Issuers::new(vec![settings], CacheTimes::default()).err()
    };
    assert!(set_up(&|_| ()).is_none());
    assert!(matches!(set_up(&|s| s.audiences.clear()), Some(SetupError::Empty { field: "audiences", .. })));
    assert!(matches!(set_up(&|s| s.audiences.push(String::new())), Some(SetupError::Empty { field: "audiences", .. })));
    assert!(matches!(set_up(&|s| s.algorithms.clear()), Some(SetupError::Empty { field: "algorithms", .. })));
    assert!(matches!(set_up(&|s| s.issuer.clear()), Some(SetupError::Empty { field: "issuer", .. })));
    assert!(matches!(set_up(&|s| s.principal_claim.clear()), Some(SetupError::Empty { .. })));
    assert!(matches!(set_up(&|s| s.algorithms.push(Algorithm::HS256)), Some(SetupError::SymmetricAlgorithm { .. })));
    for name in ["", "token", "a:b", "a b", "a\n"] {
        assert!(matches!(set_up(&|s| s.name = name.to_owned()), Some(SetupError::BadName { .. })), "{name:?}");
    }
    for attribute in ["sub", "token"] {
        let reserved = set_up(&|s| s.attributes = text_map(&[(attribute, "email".to_owned())]));
        assert!(matches!(reserved, Some(SetupError::ReservedAttribute { .. })), "{attribute}");
    }
    assert!(set_up(&|s| s.attributes = text_map(&[("sub", "sub".to_owned())])).is_none());

    let two = |change: &dyn Fn(&mut IssuerSettings)| {
        let (first, _file1) = with_keys(settings(), &[]);
        let (mut second, _file2) = with_keys(settings(), &[]);
        change(&mut second);
        Issuers::new(vec![first, second], CacheTimes::default()).err()
    };
    assert!(matches!(two(&|s| s.issuer = "other".to_owned()), Some(SetupError::DuplicateName { .. })));
    assert!(matches!(two(&|s| s.name = "other".to_owned()), Some(SetupError::DuplicateIssuer { .. })));
}

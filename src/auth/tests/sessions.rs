//! Sessions against the JWTs they came from: never wider, never longer, and over when these would be refused.

use std::time::Duration;

use jiff::SignedDuration;
use jsonwebtoken::Algorithm;

use super::support::*;
use crate::auth::access_keys::{AccessKeys, KeyHolder};
use crate::auth::jwt::Issuers;
use crate::auth::sessions::{Session, Sessions};
use crate::auth::{
    AuthError, CacheTimes, InvalidReason, IssuerSettings, RingKey, Scheme, SessionFault, SessionSettings,
};
use crate::base::{Secret, UtcInstant};

fn at(seconds: i64) -> UtcInstant {
    UtcInstant::from_second(NOW + seconds).unwrap()
}

fn sessions_of(lifetime: u64) -> Sessions {
    let keys = vec![RingKey { id: "k".to_owned(), secret: Secret::new("a secret of the ring, 32 characters") }];
    Sessions::new(SessionSettings { keys, lifetime: Duration::from_secs(lifetime) })
}

/// A gateway with one issuer, whose keys and settings can be changed between two starts.
struct Stage {
    settings: IssuerSettings,
    file: tempfile::NamedTempFile,
}

impl Stage {
    fn new() -> Self {
        let attributes = [("groups".to_owned(), "groups".to_owned())].into();
        let (settings, file) = with_keys(IssuerSettings { attributes, ..settings() }, &[RSA.jwk("k1")]);
        Self { settings, file }
    }

    fn issuers(&self) -> Issuers {
        Issuers::new(vec![self.settings.clone()], CacheTimes::default()).unwrap()
    }

    /// After a start with other settings.
    fn changed(&self, change: impl FnOnce(&mut IssuerSettings)) -> Issuers {
        let mut settings = self.settings.clone();
        change(&mut settings);
        Issuers::new(vec![settings], CacheTimes::default()).unwrap()
    }

    fn begin(&self, token: &Token, asked: Option<u64>) -> Result<Session, AuthError> {
        let (jwt, asked) = (Secret::new(token.sign(&RSA)), asked.map(Duration::from_secs));
        sessions_of(3600).begin(&self.issuers(), &jwt, asked, ADDRESS, at(0))
    }
}

fn long_token() -> Token {
    Token::new().claim("exp", NOW + 100_000).claim("groups", vec!["dev", "ops"])
}

fn find(issuers: &Issuers, session: &Session, now: UtcInstant) -> Result<KeyHolder, AuthError> {
    let token = session.keys.session_token.expose();
    sessions_of(3600).find(issuers, &session.keys.access_key_id, token, now)
}

fn refused(issuers: &Issuers, session: &Session) -> AuthError {
    find(issuers, session, at(0)).unwrap_err()
}

#[test]
fn a13_a_session_is_the_principal_of_its_jwt_and_no_more() {
    let stage = Stage::new();
    let session = stage.begin(&long_token(), None).unwrap();
    let bearer = authenticate(&stage.issuers(), &long_token().sign(&RSA)).unwrap();
    let holder = find(&stage.issuers(), &session, at(10)).unwrap();
    assert_eq!(holder.secret.expose(), session.keys.secret_access_key.expose());
    let caller = holder.caller(ADDRESS);
    assert_eq!((caller.principal(), caller.source_name()), (bearer.principal(), bearer.source_name()));
    assert_eq!((caller.attributes(), caller.scheme()), (bearer.attributes(), Scheme::Session));
    assert_eq!((caller.expires(), session.expires), (Some(at(3600)), at(3600)));
    assert_eq!(session.provider, ISSUER);
}

#[test]
fn sessions_under_keys_of_the_process_outlive_a_reload_and_others_depend_on_the_ring() {
    let stage = Stage::new();
    let lifetime = Duration::from_secs(3600);
    let own = || Sessions::new(SessionSettings { keys: Vec::new(), lifetime });
    let first = own();
    let jwt = Secret::new(long_token().sign(&RSA));
    let session = first.begin(&stage.issuers(), &jwt, None, ADDRESS, at(0)).unwrap();
    let (id, token) = (&session.keys.access_key_id, session.keys.session_token.expose());
    let known = |sessions: &Sessions| sessions.find(&stage.issuers(), id, token, at(1)).is_ok();
    assert!(known(&first) && known(&own().after(Some(&first))));
    assert!(!known(&own()) && !known(&own().after(None)));
    let configured = sessions_of(3600);
    assert!(!known(&sessions_of(3600).after(Some(&first))), "keys are configured now");
    assert!(!known(&own().after(Some(&configured))), "keys that are no longer configured are no longer good");
}

#[test]
fn a13_a_session_ends_with_its_jwt_at_the_latest() {
    let stage = Stage::new();
    for (left, asked, lasts) in [
        (100_000, None, 3600),
        (100_000, Some(900), 900),
        (100_000, Some(43_200), 3600),
        (1000, None, 1000),
        (1000, Some(900), 900),
        (600, Some(900), 600),
        (1, None, 1),
    ] {
        let session = stage.begin(&Token::new().claim("exp", NOW + left), asked).unwrap();
        assert_eq!(session.expires, at(lasts), "{left} {asked:?}");
        let last = session.expires - SignedDuration::from_nanos(1);
        assert!(find(&stage.issuers(), &session, last).is_ok(), "{left} {asked:?}");
        assert_eq!(find(&stage.issuers(), &session, session.expires).map(drop), Err(AuthError::Expired), "{left}");
    }
}

#[test]
fn a13_the_leeway_for_a_jwt_makes_no_session() {
    let mut stage = Stage::new();
    stage.settings.leeway = Duration::from_secs(60);
    let expired = Token::new().claim("exp", NOW - 5);
    assert_eq!(principal(&stage.issuers(), &expired.sign(&RSA)), alice());
    assert_eq!(stage.begin(&expired, None).map(drop), Err(AuthError::Expired));
}

#[test]
fn a13_a_session_ends_when_its_issuer_is_configured_otherwise() {
    let stage = Stage::new();
    let session = stage.begin(&long_token(), None).unwrap();
    assert!(find(&stage.changed(|_| ()), &session, at(0)).is_ok(), "the same again");
    assert!(find(&stage.changed(|settings| settings.required = false), &session, at(0)).is_ok(), "of no importance");
    let gone = Issuers::new(Vec::new(), CacheTimes::default()).unwrap();
    let other_issuers = [
        ("removed", gone),
        ("name", stage.changed(|settings| settings.name = "other".to_owned())),
        ("issuer", stage.changed(|settings| settings.issuer = "https://other.example".to_owned())),
        ("audience", stage.changed(|settings| settings.audiences = vec!["other".to_owned()])),
        (
            "claims",
            stage.changed(|settings| drop(settings.required_claims.insert("a".to_owned(), vec!["b".to_owned()]))),
        ),
        ("attributes", stage.changed(|settings| settings.attributes.clear())),
        ("principal", stage.changed(|settings| settings.principal_claim = "email".to_owned())),
        ("algorithms", stage.changed(|settings| settings.algorithms = vec![Algorithm::PS256])),
    ];
    for (what, issuers) in &other_issuers {
        assert_eq!(refused(issuers, &session), AuthError::Invalid(SessionFault::IssuerChanged.into()), "{what}");
    }
}

#[test]
fn a13_a_session_ends_with_the_key_that_signed_its_jwt() {
    let stage = Stage::new();
    let session = stage.begin(&long_token(), None).unwrap();
    std::fs::write(stage.file.path(), jwks(&[RSA.jwk("k2")])).unwrap();
    let unknown = InvalidReason::UnknownKey { issuer: "corp".to_owned() };
    assert_eq!(refused(&stage.issuers(), &session), AuthError::Invalid(unknown));
}

#[test]
fn a13_a_session_ends_with_its_key_even_if_another_has_its_name_or_there_are_no_names() {
    let nameless = |key: &TestKey| {
        let mut jwk = key.jwk("k1");
        jwk.as_object_mut().unwrap().remove("kid");
        jwk
    };
    let other = TestKey::rsa();
    for (token, own, others) in [
        (long_token(), RSA.jwk("k1"), other.jwk("k1")),
        (long_token().without_header("kid"), nameless(&RSA), nameless(&other)),
    ] {
        let stage = Stage::new();
        std::fs::write(stage.file.path(), jwks(std::slice::from_ref(&own))).unwrap();
        let session = stage.begin(&token, None).unwrap();
        let described =
            own.as_object().unwrap().clone().into_iter().chain([("use".to_owned(), "sig".into())]).collect();
        std::fs::write(stage.file.path(), jwks(&[serde_json::Value::Object(described)])).unwrap();
        assert!(find(&stage.issuers(), &session, at(0)).is_ok(), "the same key, told of in other words");
        std::fs::write(stage.file.path(), jwks(&[others])).unwrap();
        let unknown = InvalidReason::UnknownKey { issuer: "corp".to_owned() };
        assert_eq!(refused(&stage.issuers(), &session), AuthError::Invalid(unknown));
    }
}

#[test]
fn a13_a_shorter_lifetime_holds_for_sessions_that_have_begun() {
    let stage = Stage::new();
    let session = stage.begin(&long_token(), None).unwrap();
    let find = |now| {
        let token = session.keys.session_token.expose();
        sessions_of(900).find(&stage.issuers(), &session.keys.access_key_id, token, now).map(|holder| holder.expires)
    };
    assert_eq!(find(at(899)), Ok(Some(at(900))));
    assert_eq!(find(at(900)), Err(AuthError::Expired));
}

#[test]
fn what_a_bearer_token_is_refused_for_makes_no_session() {
    let stage = Stage::new();
    for (token, what) in [
        (Token::new().claim("iss", "https://other.example"), "issuer"),
        (Token::new().claim("aud", "other"), "audience"),
        (Token::new().header("alg", "none"), "algorithm"),
        (Token::new().header("kid", "k9"), "key"),
        (Token::new().claim("exp", NOW - 1), "expired"),
        (Token::new().claim("nbf", NOW + 100), "not yet"),
        (Token::new().without_claim("sub"), "nobody"),
    ] {
        let bearer = authenticate(&stage.issuers(), &token.sign(&RSA)).map(drop);
        assert_eq!(stage.begin(&token, None).map(drop), bearer, "{what}");
        assert!(bearer.is_err(), "{what}");
    }
    let forged =
        sessions_of(3600).begin(&stage.issuers(), &Secret::new(long_token().sign(&P256)), None, ADDRESS, at(0));
    assert!(matches!(forged, Err(AuthError::Invalid(InvalidReason::BadSignature { .. }))));
}

#[test]
fn claims_that_fit_no_session_token_make_no_session() {
    let stage = Stage::new();
    let many: Vec<String> = (0..500).map(|number| format!("group-{number}")).collect();
    let refused = stage.begin(&Token::new().claim("groups", many), None).map(drop);
    assert_eq!(refused, Err(AuthError::Invalid(SessionFault::TooLarge.into())));
    let usual: Vec<String> = (0..30).map(|number| format!("group-{number}")).collect();
    let session = stage.begin(&Token::new().claim("groups", usual), None).unwrap();
    assert!(session.keys.session_token.expose().len() < 2048, "{}", session.keys.session_token.expose().len());
}

/// The keys of a gateway with this stage's issuer, with sessions or without.
fn keys(stage: &Stage, sessions: Option<Sessions>) -> AccessKeys {
    AccessKeys::new(Vec::new()).unwrap().with_issuers(stage.issuers().into(), sessions.map(Into::into))
}

#[test]
fn the_keys_of_a_session_are_found_by_both_of_their_names() {
    let stage = Stage::new();
    let (session, other) = (stage.begin(&long_token(), None).unwrap(), stage.begin(&long_token(), None).unwrap());
    let with = keys(&stage, Some(sessions_of(3600)));
    let (id, token) = (session.keys.access_key_id.as_str(), session.keys.session_token.expose());
    let found = with.find(id, Some(token), at(0)).unwrap();
    assert_eq!(found.secret.expose(), session.keys.secret_access_key.expose());
    let not_ours = AuthError::Invalid(SessionFault::NotOurs.into());
    assert_eq!(with.find(&other.keys.access_key_id, Some(token), at(0)).map(drop), Err(not_ours.clone()));
    assert_eq!(with.find("", Some(token), at(0)).map(drop), Err(not_ours));
    assert!(with.find(id, None, at(0)).is_err(), "the token is a part of the credential");
    let without = keys(&stage, None).find(id, Some(token), at(0)).map(drop);
    assert_eq!(without, Err(AuthError::Invalid(SessionFault::Disabled.into())));
}

#[test]
fn a_jwt_in_the_place_of_a_session_token_is_judged_as_a_bearer_token() {
    let stage = Stage::new();
    for sessions in [None, Some(sessions_of(3600))] {
        let keys = keys(&stage, sessions);
        let jwt = long_token().sign(&RSA);
        let holder = keys.find("jwt", Some(&jwt), at(0)).unwrap();
        assert_eq!(holder.secret.expose(), jwt, "without the token nobody can sign");
        let caller = holder.caller(ADDRESS);
        let bearer = authenticate(&stage.issuers(), &jwt).unwrap();
        assert_eq!((caller.principal(), caller.scheme()), (bearer.principal(), Scheme::Jwt));
        assert_eq!((caller.attributes(), caller.expires()), (bearer.attributes(), bearer.expires()));
        let forged = long_token().sign(&P256);
        assert!(matches!(
            keys.find("jwt", Some(&forged), at(0)),
            Err(AuthError::Invalid(InvalidReason::BadSignature { .. }))
        ));
        let long = long_token().claim("more", "x".repeat(8192)).sign(&RSA);
        let too_large = AuthError::Invalid(InvalidReason::TooLarge { limit_bytes: 8192 });
        assert_eq!(keys.find("jwt", Some(&long), at(0)).map(drop), Err(too_large));
        let expired = Token::new().claim("exp", NOW - 1).sign(&RSA);
        assert_eq!(keys.find("jwt", Some(&expired), at(0)).map(drop), Err(AuthError::Expired));
    }
}

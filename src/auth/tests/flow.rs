//! Authentication as the gateway calls it, with issuers that change keys or fall silent.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use futures_util::future::join_all;
use serde_json::json;
use tokio::time::{Instant, timeout};

use super::idp::{Answer, Idp, status};
use super::support::*;
use crate::arrival::ConnectionFacts;
use crate::auth::{
    AuthError, Authenticators, CacheTimes, Caller, Claim, InvalidReason, IssuerSettings, KeySource, Settings,
    SetupError, TokenSettings, app_token,
};
use crate::base::Secret;

const DEADLINE: Duration = Duration::from_secs(10);

/// Times for tests: fetches follow each other quickly, keys do not age.
fn quick() -> CacheTimes {
    let short = Duration::from_millis(20);
    CacheTimes {
        refresh_every: Duration::from_secs(3600),
        cool_down: short,
        fetch_limit: Duration::from_millis(300),
        ..CacheTimes::default()
    }
}

fn set_up(tokens: Vec<TokenSettings>, issuers: Vec<IssuerSettings>, times: CacheTimes) -> Authenticators {
    Authenticators::with_times(Settings { tokens, issuers, ..Settings::default() }, Arc::new(TestClock), times).unwrap()
}

fn app_token(name: &str, secret: &str) -> TokenSettings {
    TokenSettings {
        name: name.to_owned(),
        digest: app_token::digest(secret),
        expires: None,
        attributes: Default::default(),
    }
}

fn from_url(idp: &Idp) -> IssuerSettings {
    IssuerSettings { keys: KeySource::Url(idp.url("/keys")), ..settings() }
}

async fn present(authenticators: &Authenticators, token: &str) -> Result<Caller, AuthError> {
    let (head, ()) = http::Request::new(()).into_parts();
    let connection = ConnectionFacts::tcp((ADDRESS, 1).into(), true);
    let claim = Claim::Bearer(Secret::new(token));
    authenticators.authenticate(claim, &head, &connection).await.map(|authenticated| authenticated.caller)
}

async fn principal(authenticators: &Authenticators, token: &str) -> Result<String, AuthError> {
    present(authenticators, token).await.map(|caller| caller.principal().to_string())
}

fn unavailable() -> Result<String, AuthError> {
    Err(AuthError::KeysUnavailable { issuer: "corp".to_owned() })
}

fn unknown_key() -> Result<String, AuthError> {
    Err(AuthError::Invalid(InvalidReason::UnknownKey { issuer: "corp".to_owned() }))
}

/// Presents the token until it is answered so.
async fn until(authenticators: &Authenticators, token: &str, wanted: &Result<String, AuthError>) {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let result = principal(authenticators, token).await;
        if result == *wanted {
            return;
        }
        assert!(Instant::now() < deadline, "still {result:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[test]
fn a14_nothing_configured_is_refused() {
    let result = Authenticators::new(Settings::default(), Arc::new(TestClock));
    assert!(matches!(result, Err(SetupError::Nothing)));
}

#[tokio::test]
async fn app_tokens_and_jwts_are_told_apart() {
    let (issuer, _file) = with_keys(settings(), &[RSA.jwk("k1")]);
    let authenticators = set_up(vec![app_token("ci", "csn_x"), app_token("dots", "a.b.c")], vec![issuer], quick());
    assert_eq!(principal(&authenticators, "csn_x").await, Ok("token:ci".to_owned()));
    assert_eq!(principal(&authenticators, "a.b.c").await, Ok("token:dots".to_owned()));
    assert_eq!(principal(&authenticators, &Token::new().sign(&RSA)).await, alice());
    for unknown in ["csn_y", "a.b", "a.b.c.d"] {
        let refused = Err(AuthError::Invalid(InvalidReason::UnknownToken));
        assert_eq!(principal(&authenticators, unknown).await, refused, "{unknown}");
    }
    assert!(matches!(principal(&authenticators, "a.b.d").await, Err(AuthError::Invalid(InvalidReason::NotAJwt(_)))));
    let only_tokens = set_up(vec![app_token("ci", "csn_x")], vec![], quick());
    assert!(matches!(principal(&only_tokens, &Token::new().sign(&RSA)).await, Err(AuthError::Invalid(_))));
}

#[tokio::test]
async fn i14_a_jwt_signed_with_an_app_token_is_refused() {
    let (issuer, _file) = with_keys(settings(), &[RSA.jwk("k1")]);
    let authenticators = set_up(vec![app_token("ci", "csn_x")], vec![issuer], quick());
    let token = Token::new().header("alg", "HS256").without_header("kid");
    let signed = format!("{}.{}", base64url(token.header_text()), base64url(token.claims_text()));
    for secret in
        [b"csn_x".to_vec(), app_token::digest("csn_x").to_vec(), hex::encode(app_token::digest("csn_x")).into_bytes()]
    {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), signed.as_bytes());
        let result = principal(&authenticators, &format!("{signed}.{}", base64url(tag))).await;
        assert!(matches!(result, Err(AuthError::Invalid(InvalidReason::AlgorithmNotAllowed { .. }))), "{result:?}");
    }
}

#[tokio::test]
async fn keys_are_missing_until_the_first_fetch() {
    let idp = Idp::start(|_| Answer::Json(jwks(&[RSA.jwk("k1")]))).await;
    let optional = IssuerSettings {
        name: "optional".to_owned(),
        issuer: "optional".to_owned(),
        required: false,
        keys: KeySource::Url("http://127.0.0.1:1/".to_owned()),
        ..settings()
    };
    let authenticators = set_up(vec![], vec![from_url(&idp), optional], quick());
    let token = Token::new().sign(&RSA);
    assert_eq!(principal(&authenticators, &token).await, unavailable());
    assert_eq!(authenticators.missing_keys(), ["corp"]);
    assert_eq!(authenticators.key_ages(), [("corp".to_owned(), None), ("optional".to_owned(), None)]);

    let _tasks = authenticators.start();
    timeout(DEADLINE, authenticators.first_fetches()).await.unwrap();
    assert_eq!(principal(&authenticators, &token).await, alice());
    assert_eq!(authenticators.missing_keys(), [""; 0]);
    assert!(authenticators.key_ages()[0].1.is_some_and(|age| age < DEADLINE));
    assert_eq!(authenticators.key_ages()[1].1, None);
}

#[tokio::test]
async fn i10_ten_thousand_unknown_keys_cause_no_fetch_within_the_cool_down() {
    let idp = Idp::start(|_| Answer::Json(jwks(&[RSA.jwk("k1"), P256.jwk("k2")]))).await;
    let authenticators = Arc::new(set_up(vec![], vec![from_url(&idp)], CacheTimes::default()));
    let _tasks = authenticators.start();
    timeout(DEADLINE, authenticators.first_fetches()).await.unwrap();

    let attackers = (0..10).map(|attacker| {
        let authenticators = Arc::clone(&authenticators);
        tokio::spawn(async move {
            for n in 0..1000 {
                let token = Token::new().header("kid", format!("{attacker}-{n}")).sign(&P256);
                assert_eq!(principal(&authenticators, &token).await, unknown_key());
            }
        })
    });
    // Far below the cool-down: nobody waited for a fetch.
    let results = timeout(Duration::from_secs(20), join_all(attackers)).await.unwrap();
    assert!(results.into_iter().all(|result| result.is_ok()));
    assert_eq!(principal(&authenticators, &Token::new().sign(&RSA)).await, alice());
    assert_eq!(idp.requests().len(), 1);
}

#[tokio::test]
async fn i10_known_keys_work_while_the_issuer_fails() {
    let idp = Idp::start(|_| Answer::Json(jwks(&[RSA.jwk("k1")]))).await;
    let authenticators = set_up(vec![], vec![from_url(&idp)], quick());
    let _tasks = authenticators.start();
    timeout(DEADLINE, authenticators.first_fetches()).await.unwrap();
    let (known, unknown) = (Token::new().sign(&RSA), Token::new().header("kid", "new").sign(&RSA));
    for answer in [Answer::Silence, status("500 Oops", ""), Answer::Json("{}".to_owned()), Answer::Raw(Vec::new())] {
        idp.behave(move |_| answer.clone());
        let before = idp.requests().len();
        assert_eq!(principal(&authenticators, &unknown).await, unknown_key());
        idp.saw(before + 2).await; // two failed fetches, at least one of them complete
        assert_eq!(principal(&authenticators, &known).await, alice());
    }
}

#[tokio::test]
async fn i16_new_keys_arrive_and_withdrawn_ones_go() {
    let idp = Idp::start(|_| Answer::Json(jwks(&[RSA.jwk("k1")]))).await;
    let authenticators = set_up(vec![], vec![from_url(&idp)], quick());
    let _tasks = authenticators.start();
    timeout(DEADLINE, authenticators.first_fetches()).await.unwrap();
    let old = Token::new().sign(&RSA);
    let new = Token::new().header("alg", "ES256").header("kid", "k2").sign(&P256);
    assert_eq!(principal(&authenticators, &old).await, alice());
    assert_eq!(principal(&authenticators, &new).await, unknown_key(), "answered at once");
    idp.behave(|_| Answer::Json(jwks(&[RSA.jwk("k1"), P256.jwk("k2")])));
    until(&authenticators, &new, &alice()).await;
    assert_eq!(principal(&authenticators, &old).await, alice());
    idp.behave(|_| Answer::Json(jwks(&[P256.jwk("k2")])));
    let elsewhere = Token::new().header("kid", "k3").sign(&RSA);
    assert_eq!(principal(&authenticators, &elsewhere).await, unknown_key(), "makes it look");
    until(&authenticators, &old, &unknown_key()).await;
    assert_eq!(principal(&authenticators, &new).await, alice());
    idp.behave(|_| Answer::Json(jwks(&[])));
    assert_eq!(principal(&authenticators, &elsewhere).await, unknown_key(), "makes it look again");
    until(&authenticators, &new, &unavailable()).await;
    assert_eq!(authenticators.missing_keys(), ["corp"]);
}

#[tokio::test]
async fn i10_keys_that_are_too_old_are_not_used() {
    let idp = Idp::start(|_| Answer::Json(jwks(&[RSA.jwk("k1")]))).await;
    let times =
        CacheTimes { max_stale: Duration::from_millis(500), refresh_every: Duration::from_millis(20), ..quick() };
    let authenticators = set_up(vec![], vec![from_url(&idp)], times);
    let _tasks = authenticators.start();
    let token = Token::new().sign(&RSA);
    until(&authenticators, &token, &alice()).await;
    idp.behave(|_| status("500 Oops", ""));
    until(&authenticators, &token, &unavailable()).await;
    assert!(authenticators.key_ages()[0].1.is_some_and(|age| age > Duration::from_millis(500)));
    assert_eq!(authenticators.missing_keys(), ["corp"]);
    idp.behave(|_| Answer::Json(jwks(&[RSA.jwk("k1")])));
    until(&authenticators, &token, &alice()).await;
}

#[tokio::test]
async fn i04_places_of_keys_in_a_token_are_not_visited() {
    let idp = Idp::start(|_| Answer::Json(jwks(&[RSA.jwk("k1")]))).await;
    let recorder = Idp::start(|_| Answer::Json(jwks(&[RSA.jwk("evil")]))).await;
    let authenticators = set_up(vec![], vec![from_url(&idp)], quick());
    let _tasks = authenticators.start();
    timeout(DEADLINE, authenticators.first_fetches()).await.unwrap();
    let token = Token::new()
        .header("kid", "evil")
        .header("jku", recorder.url("/jwks"))
        .header("x5u", recorder.url("/cert"))
        .claim("iss_hint", recorder.url("/"));
    assert_eq!(principal(&authenticators, &token.sign(&RSA)).await, unknown_key());
    assert!(principal(&authenticators, &token.claim("iss", recorder.url("")).sign(&RSA)).await.is_err());
    idp.saw(2).await; // the fetch that the unknown key wished for
    assert_eq!(recorder.requests().len(), 0);
}

#[tokio::test]
async fn dropping_the_tasks_ends_fetching() {
    let idp = Idp::start(|_| Answer::Json(jwks(&[RSA.jwk("k1")]))).await;
    let times = CacheTimes { refresh_every: Duration::from_millis(1), cool_down: Duration::from_millis(1), ..quick() };
    let authenticators = set_up(vec![], vec![from_url(&idp)], times);
    let tasks = authenticators.start();
    idp.saw(3).await;
    drop(tasks);
    // One request may be on its way.
    let seen = idp.requests().len();
    assert!(timeout(Duration::from_millis(200), idp.saw(seen + 2)).await.is_err());
}

#[tokio::test]
async fn a_reload_keeps_the_keys_of_the_same_source_only() {
    let idp = Idp::start(|_| Answer::Json(jwks(&[RSA.jwk("k1")]))).await;
    let old = set_up(vec![], vec![from_url(&idp)], quick());
    let tasks = old.start();
    timeout(DEADLINE, old.first_fetches()).await.unwrap();
    drop(tasks);
    let token = Token::new().sign(&RSA);
    let reloaded = |change: &dyn Fn(&mut IssuerSettings)| {
        let mut settings = from_url(&idp);
        change(&mut settings);
        let new = set_up(vec![], vec![settings], quick());
        new.adopt_keys(&old);
        new
    };
    let audiences = reloaded(&|settings| settings.audiences.push("other".to_owned()));
    assert_eq!(principal(&audiences, &token).await, alice());
    let source = reloaded(&|settings| settings.keys = KeySource::Url(idp.url("/other")));
    assert_eq!(principal(&source, &token).await, unavailable());
    let hosts = reloaded(&|settings| settings.jwks_hosts.push("a".to_owned()));
    assert_eq!(principal(&hosts, &token).await, unavailable());
    let issuer = reloaded(&|settings| settings.issuer = "https://other.example".to_owned());
    let other = Token::new().claim("iss", "https://other.example").sign(&RSA);
    assert_eq!(principal(&issuer, &other).await, unavailable());
}

#[tokio::test]
async fn a_reload_fetches_nothing_before_its_time_but_asks_again_at_once_if_the_last_fetch_failed() {
    let idp = Idp::start(|_| Answer::Json(jwks(&[RSA.jwk("k1")]))).await;
    let old = set_up(vec![], vec![from_url(&idp)], quick());
    let tasks = old.start();
    timeout(DEADLINE, old.first_fetches()).await.unwrap();
    drop(tasks);
    idp.behave(|_| status("500 Oops", ""));
    let new = set_up(vec![], vec![from_url(&idp)], quick());
    new.adopt_keys(&old);
    let tasks = new.start();
    timeout(DEADLINE, new.first_fetches()).await.unwrap();
    assert!(timeout(Duration::from_millis(200), idp.saw(2)).await.is_err(), "{}", idp.requests().len());
    assert_eq!(principal(&new, &Token::new().sign(&RSA)).await, alice());
    // An unknown key may still wish for a fetch, which fails here.
    assert_eq!(principal(&new, &Token::new().header("kid", "k2").sign(&RSA)).await, unknown_key());
    // The third comes when the second has failed.
    timeout(DEADLINE, idp.saw(3)).await.unwrap();
    drop(tasks);
    let seen = idp.requests().len();
    let third = set_up(vec![], vec![from_url(&idp)], quick());
    third.adopt_keys(&new);
    let _tasks = third.start();
    timeout(DEADLINE, idp.saw(seen + 1)).await.unwrap();
    assert_eq!(principal(&third, &Token::new().sign(&RSA)).await, alice(), "the old keys are good meanwhile");
}

#[tokio::test]
async fn errors_and_debug_output_hold_no_token_material() {
    let (issuer, _file) = with_keys(
        IssuerSettings { attributes: [("groups".to_owned(), "groups".to_owned())].into(), ..settings() },
        &[RSA.jwk("k1")],
    );
    let authenticators = set_up(vec![app_token("ci", "csn_x")], vec![issuer], quick());
    let token = Token::new().claim("marker", "MARKER");
    for text in [
        "MARKER".to_owned(),
        "MARKER.MARKER.MARKER".to_owned(),
        token.clone().header("alg", "MARKER").sign(&RSA),
        token.clone().header("typ", "MARKER").sign(&RSA),
        token.clone().header("kid", "MARKER").sign(&RSA),
        token.clone().header("crit", json!(["MARKER"])).sign(&RSA),
        token.clone().claim("iss", "MARKER").sign(&RSA),
        token.clone().claim("aud", "MARKER").sign(&RSA),
        token.clone().claim("sub", "MARKER\n").sign(&RSA),
        token.clone().claim("groups", json!({"MARKER": 1})).sign(&RSA),
        token.clone().claim("exp", "MARKER").sign(&RSA),
        token.sign(&P256),
    ] {
        let error = present(&authenticators, &text).await.unwrap_err();
        let output = format!("{error} {error:?} {authenticators:?}");
        assert!(!output.contains("MARKER"), "{output}");
        let signature = text.rsplit('.').next().unwrap();
        assert!(!output.contains(signature), "{output}");
    }
}

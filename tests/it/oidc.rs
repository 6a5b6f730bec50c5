//! Access tokens of a real identity provider: what they open, with which algorithms, and what happens when the provider changes its keys,
//! is slow, or is gone.

use std::time::{Duration, Instant};

use serde_json::json;

use super::support::oidc::until_ready;
use super::support::{Answer, Client, Gateway, Oidc, Recorder, Setup, Store, StoreKind, pattern};

/// Everybody has a prefix of their own, tenants and groups have theirs.
const RULES: &str = "
  - { name: home, who: { issuers: [idp] }, where: \"bkt/home/{sub}/\", what: [read, write, delete] }
  - { name: tenants, who: { issuers: [idp] }, where: \"bkt/tenants/{tenant}/\", what: [read, write] }
  - { name: teams, who: { issuers: [idp] }, where: \"bkt/teams/{groups}/\", what: [read, write] }
  - { name: readers, who: { issuers: [idp], groups: [reader] }, where: bkt/home/, what: read }
  - { name: programs, who: { tokens: [a] }, where: bkt/a/, what: [read, write] }";

async fn ready_gateway(setup: Setup, provider: &Oidc) -> Gateway {
    let entry = provider.entry("idp", "RS256", "");
    let gateway = setup.rules(RULES).issuers(&entry).start().await;
    until_ready(&gateway).await;
    gateway
}

#[tokio::test]
async fn an_access_token_opens_its_own_prefixes_and_nothing_else() {
    let Some(provider) = Oidc::shared().await else { return };
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        for key in ["home/reader/theirs", "teams/reader/theirs", "tenants/tenant-reader/theirs", "elsewhere"] {
            store.put(key, b"theirs").await;
        }
        let gateway = ready_gateway(store.setup(), &provider).await;
        let uploader = gateway.client(&provider.access_token("uploader").await);
        for key in ["home/uploader/x", "tenants/tenant-uploader/x", "teams/app/x", "teams/uploader/x"] {
            let body = pattern(70_000 + key.len());
            let put = uploader.put(&format!("/bkt/{key}"), &[], body.clone()).await;
            assert_eq!(put.status, 200, "{kind:?} {key}: {}", put.text());
            assert_eq!(store.read(key).await.as_deref(), Some(body.as_slice()), "{kind:?} {key}");
            assert_eq!(uploader.get(&format!("/bkt/{key}")).await.body, body, "{kind:?} {key}");
        }
        for key in [
            "home/reader/theirs",
            "home/uploaderx/x",
            "home/uploader",
            "home/x",
            "home//x",
            "teams/reader/theirs",
            "tenants/tenant-reader/theirs",
            "a/x",
            "elsewhere",
        ] {
            let target = format!("/bkt/{key}");
            assert!(matches!(uploader.get(&target).await.status.as_u16(), 400 | 403), "{kind:?} {key}");
            assert!(matches!(uploader.put(&target, &[], "mine").await.status.as_u16(), 400 | 403), "{kind:?} {key}");
        }
        assert_eq!(store.read("home/reader/theirs").await.unwrap(), b"theirs", "{kind:?}");
        let listed = uploader.get("/bkt?list-type=2").await.elements("Key");
        let own = ["home/uploader/x", "teams/app/x", "teams/uploader/x", "tenants/tenant-uploader/x"];
        assert_eq!(listed, own, "{kind:?}");
        // A rule for a group: the other client may look, and change nothing.
        let reader = gateway.client(&provider.access_token("reader").await);
        assert_eq!(reader.get("/bkt/home/uploader/x").await.status, 200, "{kind:?}");
        assert_eq!(reader.put("/bkt/home/uploader/x", &[], "mine").await.outcome(), (403, "AccessDenied".into()));
        assert_eq!(reader.delete("/bkt/home/uploader/x").await.status, 403, "{kind:?}");
    }
}

#[tokio::test]
async fn the_audit_names_the_issuer_and_the_subject() {
    let Some(provider) = Oidc::shared().await else { return };
    let recorder = Recorder::start(Answer::ok()).await;
    let gateway = ready_gateway(Setup::before(&recorder), &provider).await;
    let uploader = gateway.client(&provider.access_token("uploader").await);
    assert_eq!(uploader.put("/bkt/home/uploader/x", &[], "body").await.status, 200);
    let record = gateway.record(1).await;
    assert_eq!(
        (record.principal.as_deref(), record.scheme, record.rule.as_deref()),
        (Some("idp:uploader"), Some("jwt"), Some("home"))
    );
    // Somebody who is not known has no name, whatever the token says.
    let forged = provider.mint("foreign=1", json!({ "sub": "uploader" })).await;
    assert_eq!(gateway.client(&forged).get("/bkt/home/uploader/x").await.status, 401);
    let record = gateway.record(2).await;
    assert_eq!((record.principal, record.scheme, record.decision), (None, None, None));
    assert_eq!(recorder.requests().len(), 1);
    assert!(!recorder.only().head.contains(&uploader.token), "the token went to the store");
}

#[tokio::test]
async fn i03_an_algorithm_is_accepted_when_it_is_listed_and_refused_when_not() {
    const PUBLISHED: [&str; 5] = ["RS256", "PS256", "ES256", "ES384", "EdDSA"];
    let Some(provider) = Oidc::shared().await else { return };
    let recorder = Recorder::start(Answer::ok()).await;
    let mut tokens = Vec::new();
    for algorithm in PUBLISHED {
        tokens.push((algorithm, provider.mint(&format!("alg={algorithm}"), json!({})).await));
    }
    for listed in PUBLISHED {
        let gateway = Setup::before(&recorder).rules(RULES).issuers(&provider.entry("idp", listed, "")).start().await;
        until_ready(&gateway).await;
        for (algorithm, token) in &tokens {
            let answer = gateway.client(token).get("/bkt/home/uploader/x").await;
            let expected = if *algorithm == listed { 200 } else { 401 };
            assert_eq!(answer.status, expected, "{algorithm} where {listed} is listed: {}", answer.text());
        }
    }
    assert_eq!(recorder.requests().len(), PUBLISHED.len());
}

#[tokio::test]
async fn i03_a_listed_algorithm_is_refused_with_a_key_that_is_for_another() {
    let Some(provider) = Oidc::shared().await else { return };
    let recorder = Recorder::start(Answer::ok()).await;
    let all = "RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA";
    let gateway = Setup::before(&recorder).rules(RULES).issuers(&provider.entry("idp", all, "")).start().await;
    until_ready(&gateway).await;
    // Rightly signed with the published RSA key, which says that it is for RS256 (or PS256) alone.
    for algorithm in ["RS384", "RS512", "PS384", "PS512"] {
        let token = provider.mint(&format!("alg={algorithm}"), json!({})).await;
        assert_eq!(gateway.client(&token).get("/bkt/home/uploader/x").await.status, 401, "{algorithm}");
    }
    // Says one algorithm, is signed by another.
    for algorithm in ["PS256", "RS384", "ES256", "EdDSA"] {
        let token = provider.mint_with_header("alg=RS256", json!({ "alg": algorithm })).await;
        assert_eq!(gateway.client(&token).get("/bkt/home/uploader/x").await.status, 401, "{algorithm}");
    }
    assert!(recorder.is_silent());
    let token = provider.mint("alg=RS256", json!({})).await;
    assert_eq!(gateway.client(&token).get("/bkt/home/uploader/x").await.status, 200);
}

#[tokio::test]
async fn readiness_waits_for_the_keys_of_required_issuers_and_requests_do_not() {
    let Some((provider, _process)) = Oidc::own().await else { return };
    let token = provider.access_token("uploader").await;
    provider.switch("slow?ms=2000").await;
    let recorder = Recorder::start(Answer::ok()).await;
    let entry = provider.entry("idp", "RS256", "");
    let gateway = Setup::before(&recorder).rules(RULES).issuers(&entry).start().await;
    let optional = Setup::before(&recorder)
        .rules(RULES)
        .issuers(&provider.entry("idp", "RS256", ", required: false"))
        .start()
        .await;

    let readiness = gateway.ask_admin("/readyz").await;
    assert_eq!((readiness.status.as_u16(), readiness.text().contains("`idp`")), (503, true), "{}", readiness.text());
    assert_eq!(optional.ask_admin("/readyz").await.status, 200);
    assert_eq!(gateway.ask_admin("/healthz").await.status, 200);
    let unknown = gateway.client(&token).get("/bkt/home/uploader/x").await;
    assert_eq!(unknown.outcome(), (503, "ServiceUnavailable".into()));
    assert_eq!((unknown.header("retry-after"), unknown.header("www-authenticate")), ("2", ""));
    assert_eq!(gateway.a.get("/bkt/a/x").await.status, 200, "app tokens need no keys");
    assert_eq!(gateway.ask_admin("/readyz").await.status, 503, "requests waited for the provider");
    assert_eq!(key_age(&gateway).await, f64::INFINITY, "an alert for old keys must fire here too");

    until_ready(&gateway).await;
    assert_eq!(gateway.client(&token).get("/bkt/home/uploader/x").await.status, 200);
    let age = key_age(&gateway).await;
    assert!((0.0..60.0).contains(&age), "{age}");
}

async fn key_age(gateway: &Gateway) -> f64 {
    let metrics = gateway.ask_admin("/metrics").await.text();
    let age = metrics.lines().find_map(|line| line.strip_prefix("countersign_jwks_age_seconds{issuer=\"idp\"} "));
    age.unwrap_or_else(|| panic!("{metrics}")).parse().unwrap()
}

#[tokio::test]
async fn known_keys_go_on_working_while_the_provider_is_slow_or_down() {
    let Some((provider, process)) = Oidc::own().await else { return };
    let recorder = Recorder::start(Answer::ok()).await;
    let gateway = ready_gateway(Setup::before(&recorder), &provider).await;
    let known = gateway.client(&provider.access_token("uploader").await);
    let unknown = gateway.client(&provider.mint("kid=not-published", json!({})).await);
    for switch in ["slow?ms=60000", "down"] {
        provider.switch(switch).await;
        assert_answered_at_once(&known, &unknown, switch).await;
    }
    let mut process = process;
    process.kill().unwrap();
    process.wait().unwrap();
    assert_answered_at_once(&known, &unknown, "gone").await;
}

async fn assert_answered_at_once(known: &Client, unknown: &Client, state: &str) {
    let asked = Instant::now();
    assert_eq!(known.get("/bkt/home/uploader/x").await.status, 200, "{state}");
    assert_eq!(unknown.get("/bkt/home/uploader/x").await.outcome(), (401, "InvalidToken".into()), "{state}");
    // A loaded machine is slow, but not as slow as the provider.
    assert!(asked.elapsed() < Duration::from_secs(10), "{state}: {:?}", asked.elapsed());
}

/// The cool-down between two fetches, which no configuration changes.
const COOL_DOWN: Duration = Duration::from_secs(30);

/// Two stories that have to wait out the same half minute, told side by side.
#[tokio::test]
async fn i10_unknown_keys_cause_one_fetch_per_cool_down_and_no_more() {
    let (Some(rotated), Some(broken)) = (Oidc::own().await, Oidc::own().await) else { return };
    tokio::join!(new_keys_replace_old_ones(&rotated.0), a_failed_fetch_leaves_the_old_keys(&broken.0));
}

async fn new_keys_replace_old_ones(provider: &Oidc) {
    let recorder = Recorder::start(Answer::ok()).await;
    let gateway = ready_gateway(Setup::before(&recorder), provider).await;
    let fetched = Instant::now();
    let old = gateway.client(&provider.access_token("uploader").await);
    provider.switch("rotate").await;
    provider.switch("drop-old").await;
    let new = gateway.client(&provider.access_token("uploader").await);
    assert_eq!(old.get("/bkt/home/uploader/x").await.status, 200, "nobody knows yet that the key was withdrawn");
    flood(&gateway, provider).await;
    assert!(fetched.elapsed() < COOL_DOWN, "the flood took too long to tell anything: {:?}", fetched.elapsed());
    assert_eq!((provider.asked("jwks").await, provider.asked("discovery").await), (1, 1));

    let mut answered = 0;
    while new.get("/bkt/home/uploader/x").await.status != 200 {
        answered += 1;
        assert!(fetched.elapsed() < COOL_DOWN + Duration::from_secs(10), "the new key is not picked up");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(answered > 100, "the new key was waited for");
    assert!(fetched.elapsed() >= COOL_DOWN - Duration::from_secs(1), "{:?}", fetched.elapsed());
    assert_eq!(old.get("/bkt/home/uploader/x").await.outcome(), (401, "InvalidToken".into()), "the key was withdrawn");
    assert_eq!((provider.asked("jwks").await, provider.asked("discovery").await), (2, 2));
}

/// Many tokens with keys that nobody knows, at the same time. Each is answered at once.
async fn flood(gateway: &Gateway, provider: &Oidc) {
    let good = provider.mint("", json!({})).await;
    let (_, rest) = good.split_once('.').unwrap();
    let rest = std::sync::Arc::new(rest.to_owned());
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..10 {
        let (gateway, rest) = (gateway.a.clone(), std::sync::Arc::clone(&rest));
        clients.spawn(async move {
            for number in 0..100 {
                let head = json!({ "alg": "RS256", "typ": "at+jwt", "kid": format!("random-{client}-{number}") });
                let head = super::support::oidc::encode(head.to_string());
                let forged = Client { token: format!("{head}.{rest}"), ..gateway.clone() };
                assert_eq!(forged.get("/bkt/home/uploader/x").await.outcome(), (401, "InvalidToken".into()));
            }
        });
    }
    while let Some(done) = clients.join_next().await {
        done.unwrap();
    }
}

async fn a_failed_fetch_leaves_the_old_keys(provider: &Oidc) {
    let recorder = Recorder::start(Answer::ok()).await;
    let gateway = ready_gateway(Setup::before(&recorder), provider).await;
    let known = gateway.client(&provider.access_token("uploader").await);
    let unknown = gateway.client(&provider.mint("kid=not-published", json!({})).await);
    provider.switch("down").await;
    let started = Instant::now();
    while provider.asked("discovery").await < 2 {
        assert_answered_at_once(&known, &unknown, "before the fetch that fails").await;
        assert!(started.elapsed() < COOL_DOWN + Duration::from_secs(10), "no second fetch");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    for _ in 0..20 {
        assert_answered_at_once(&known, &unknown, "after the fetch that failed").await;
    }
    assert_eq!(gateway.ask_admin("/readyz").await.status, 200, "the old keys are good for a day");
    assert_eq!(provider.asked("discovery").await, 2, "a failed fetch has its cool-down too");
}

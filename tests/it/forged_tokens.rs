//! Tokens that nobody should accept, through the whole gateway: each is refused with 401 in the same words, and the store hears nothing.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::support::oidc::{AUDIENCE, OwnIssuer, encode, new_key, public_key, sign, until_ready};
use super::support::{Answer, Gateway, Oidc, Recorder, Setup};

/// Whoever is authenticated may do everything here.
const TARGET: &str = "/bkt/a/x";
const RULES: &str = "
  - { name: all, who: anyone, where: bkt, what: [read, write, delete] }";

/// A gateway that believes a real provider and an issuer whose key the test holds.
struct World {
    provider: Oidc,
    own: OwnIssuer,
    recorder: Recorder,
    gateway: Gateway,
    /// What a refused client reads, without its request id.
    refusal: String,
}

impl World {
    /// `None` if the provider is missing.
    async fn start() -> Option<Self> {
        Self::with("RS256, ES256", "").await
    }

    async fn with(algorithms: &str, more: &str) -> Option<Self> {
        let provider = Oidc::shared().await?;
        let (own, recorder) = (OwnIssuer::start().await, Recorder::start(Answer::ok()).await);
        let issuers = provider.entry("idp", algorithms, more) + &own.entry();
        let gateway = Setup::before(&recorder).rules(RULES).issuers(&issuers).start().await;
        until_ready(&gateway).await;
        let mut world = Self { provider, own, recorder, gateway, refusal: String::new() };
        world.refusal = world.refused("csn_nobody").await;
        Some(world)
    }

    /// The answer to a refused token, without its request id.
    async fn refused(&self, token: &str) -> String {
        let answer = self.gateway.client(token).get(TARGET).await;
        assert_eq!(answer.outcome(), (401, "InvalidToken".into()), "{token}");
        assert_eq!(
            answer.header("www-authenticate"),
            "Bearer realm=\"countersign\", error=\"invalid_token\"",
            "{token}"
        );
        answer.text().replace(&answer.element("RequestId"), "ID")
    }

    /// Refuses each of the named tokens in the words for any unknown one.
    async fn refuses(&self, tokens: impl IntoIterator<Item = (&str, String)>) {
        for (name, token) in tokens {
            assert_eq!(self.refused(&token).await, self.refusal, "{name}: {token}");
        }
        assert!(self.recorder.is_silent(), "{:?}", self.recorder.requests());
    }

    /// The neighbours that are accepted; to be called last, as the store is not silent any more.
    async fn accepts(&self, tokens: impl IntoIterator<Item = (&str, String)>) {
        for (name, token) in tokens {
            let answer = self.gateway.client(&token).get(TARGET).await;
            assert_eq!(answer.status, 200, "{name}: {} {token}", answer.text());
        }
    }

    async fn genuine(&self) -> String {
        self.provider.mint("", json!({})).await
    }

    async fn with_header(&self, header: Value) -> String {
        self.provider.mint_with_header("", header).await
    }

    async fn with_claims(&self, claims: Value) -> String {
        self.provider.mint("", claims).await
    }
}

/// Usual claims of the own issuer, changed; `null` removes one.
fn own_claims(changes: Value) -> String {
    let mut claims = OwnIssuer::claims();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => claims.as_object_mut().unwrap().remove(name),
            value => claims.as_object_mut().unwrap().insert(name.clone(), value.clone()),
        };
    }
    claims.to_string()
}

#[tokio::test]
async fn i01_tokens_without_a_signature_are_refused() {
    let Some(world) = World::start().await else { return };
    let genuine = world.genuine().await;
    let (signed, signature) = genuine.rsplit_once('.').unwrap();
    let (_, payload) = signed.split_once('.').unwrap();
    for algorithm in ["none", "None", "NONE", "nOnE", "", "HS256"] {
        let head = encode(json!({ "alg": algorithm, "typ": "at+jwt", "kid": "rs256-1" }).to_string());
        world
            .refuses([
                ("no signature", format!("{head}.{payload}.")),
                ("the signature of another head", format!("{head}.{payload}.{signature}")),
                ("two parts", format!("{head}.{payload}")),
                ("zero bytes", format!("{head}.{payload}.{}", encode([0; 64]))),
            ])
            .await;
    }
    world
        .refuses([
            ("by the provider", world.provider.mint("alg=none", json!({})).await),
            ("signature cut off", format!("{signed}.")),
            ("two parts", signed.to_owned()),
            ("a fourth part", format!("{genuine}.")),
            ("a fourth part with something in it", format!("{genuine}.{signature}")),
            ("an empty part in front", format!(".{genuine}")),
            ("no algorithm", world.with_header(json!({ "alg": null })).await),
            ("an algorithm that is no text", world.with_header(json!({ "alg": ["RS256"] })).await),
            ("another signature of the same key", {
                let other = world.with_claims(json!({ "sub": "reader" })).await;
                format!("{signed}.{}", other.rsplit_once('.').unwrap().1)
            }),
        ])
        .await;
    world.accepts([("genuine", genuine)]).await;
}

#[tokio::test]
async fn i02_a_public_key_or_a_shared_secret_is_no_hmac_key() {
    let Some(world) = World::with("RS256, ES256, ES384, EdDSA, PS256", "").await else { return };
    let keys = world.provider.key_set().await;
    let rsa = keys["keys"].as_array().unwrap().iter().find(|key| key["kid"] == "rs256-1").unwrap().clone();
    let modulus = rsa["n"].as_str().unwrap();
    let signed_with = |secret: &[u8]| {
        let claims =
            json!({ "iss": world.provider.issuer, "aud": AUDIENCE, "sub": "uploader", "exp": 4_000_000_000_u64 });
        let head = json!({ "alg": "HS256", "typ": "at+jwt", "kid": "rs256-1" });
        let input = format!("{}.{}", encode(head.to_string()), encode(claims.to_string()));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), input.as_bytes());
        format!("{input}.{}", encode(tag))
    };
    world
        .refuses([
            ("the public key as PEM", world.provider.mint("alg=HS256", json!({})).await),
            ("the modulus", signed_with(&URL_SAFE_NO_PAD.decode(modulus).unwrap())),
            ("the modulus as text", signed_with(modulus.as_bytes())),
            ("the JWK", signed_with(rsa.to_string().as_bytes())),
            ("the provider's client secret", signed_with(b"uploader-secret")),
            // I14: secrets of the gateway are for one use only.
            ("an app token", signed_with(world.gateway.a.token.as_bytes())),
            ("the store's secret", signed_with(b"recorder-secret-access-key")),
            ("nothing", signed_with(b"")),
        ])
        .await;
    world.accepts([("genuine", world.genuine().await)]).await;
}

#[tokio::test]
async fn i04_keys_and_places_of_keys_inside_a_token_are_not_looked_at() {
    let Some(world) = World::start().await else { return };
    let attacker = new_key();
    let attackers_keys = json!({ "keys": [public_key(&attacker, "es256-1")] }).to_string();
    let elsewhere = Recorder::start(Answer::status(200, "content-type: application/json\r\n", &attackers_keys)).await;
    let place = format!("{}/jwks", elsewhere.endpoint());
    let claims = json!({ "iss": world.provider.issuer, "aud": AUDIENCE, "sub": "uploader", "exp": 4_000_000_000_u64 });
    let mut heads = vec![
        json!({ "jwk": public_key(&attacker, "es256-1") }),
        json!({ "jku": place, "kid": "es256-1" }),
        json!({ "x5u": place }),
        json!({ "x5c": [STANDARD.encode("certificate")], "x5t": "AA" }),
    ];
    for kid in ["es256-1", "es256-9", place.as_str()] {
        heads.push(json!({ "jwk": public_key(&attacker, kid), "jku": place, "x5u": place, "kid": kid }));
    }
    for head in heads {
        let mut full = json!({ "alg": "ES256", "typ": "at+jwt" });
        full.as_object_mut().unwrap().extend(head.as_object().unwrap().clone());
        let input = format!("{}.{}", encode(full.to_string()), encode(claims.to_string()));
        world.refuses([(full.to_string().as_str(), sign(&attacker, &input))]).await;
    }
    // These change how a token is to be read, so not knowing them is not enough.
    world
        .refuses([
            ("crit", world.with_header(json!({ "crit": ["b64"], "b64": false })).await),
            ("crit of a known word", world.with_header(json!({ "crit": ["exp"] })).await),
            ("crit, empty", world.with_header(json!({ "crit": [] })).await),
            ("b64", world.with_header(json!({ "b64": true })).await),
            ("zip", world.with_header(json!({ "zip": "DEF" })).await),
        ])
        .await;
    world
        .accepts([
            ("a genuine one with a place", world.with_header(json!({ "jku": place, "x5u": place })).await),
            ("a genuine one with a key", world.with_header(json!({ "jwk": public_key(&attacker, "rs256-1") })).await),
        ])
        .await;
    assert!(elsewhere.is_silent(), "a token sent us somewhere: {:?}", elsewhere.requests());
}

#[tokio::test]
async fn i05_a_key_id_is_compared_and_nothing_else() {
    let Some(world) = World::start().await else { return };
    for kid in [
        json!("../../../../dev/null"),
        json!("' OR 1=1 --"),
        json!("rs256-1\u{0}"),
        json!("rs256-1 "),
        json!("RS256-1"),
        json!("rs256-9"),
        json!("ps256-1"),
        json!("es256-1"),
        json!(""),
        json!(1),
        json!(0),
        json!({ "kid": "rs256-1" }),
        json!(["rs256-1"]),
        json!(true),
        json!("k".repeat(257)),
        json!("k".repeat(4096)),
    ] {
        let token = world.with_header(json!({ "kid": kid })).await;
        world.refuses([(kid.to_string().as_str(), token)]).await;
    }
    // One key fits, so nothing is ambiguous without a name. With two it is: see the next test.
    world.accepts([("no kid", world.with_header(json!({ "kid": null })).await)]).await;
}

#[tokio::test]
async fn i05_a_token_without_key_id_is_refused_where_two_keys_fit() {
    let Some((provider, _process)) = Oidc::own().await else { return };
    provider.switch("rotate").await;
    let recorder = Recorder::start(Answer::ok()).await;
    let gateway = Setup::before(&recorder).rules(RULES).issuers(&provider.entry("idp", "RS256", "")).start().await;
    until_ready(&gateway).await;
    let unnamed = provider.mint_with_header("", json!({ "kid": null })).await;
    assert_eq!(gateway.client(&unnamed).get(TARGET).await.outcome(), (401, "InvalidToken".into()));
    assert!(recorder.is_silent());
    assert_eq!(gateway.client(&provider.mint("", json!({})).await).get(TARGET).await.status, 200);
}

#[tokio::test]
async fn i06_times_are_numbers_and_say_that_the_token_is_valid_now() {
    let Some(world) = World::start().await else { return };
    let now = jiff::Timestamp::now().as_second();
    let far = 4_000_000_000_u64;
    for claims in [
        json!({ "exp": "99999999999" }),
        json!({ "exp": null }),
        json!({ "exp": [far] }),
        json!({ "exp": { "at": far } }),
        json!({ "exp": true }),
        json!({ "exp": -1 }),
        json!({ "exp": 1e308 }),
        json!({ "exp": 9_223_372_036_854_775_808_u64 }),
        json!({ "nbf": "0" }),
        json!({ "nbf": now + 3600 }),
        json!({ "nbf": now + 61 }),
        json!({ "nbf": -1 }),
        json!({ "iat": now + 3600 }),
        json!({ "iat": "now" }),
    ] {
        world.refuses([(claims.to_string().as_str(), world.with_claims(claims.clone()).await)]).await;
    }
    let nulls = [r#""exp":null"#, r#""exp":NaN"#, r#""exp":1e999"#, r#""exp":4000000000,"nbf":null"#];
    for times in nulls {
        let claims = format!(r#"{{"iss":"{}","aud":"{AUDIENCE}","sub":"somebody",{times}}}"#, OwnIssuer::NAME);
        world.refuses([(times, world.own.token(claims))]).await;
    }
    // Whoever holds a genuine token may know that its time is over; who does not, may not.
    for ago in [61, 3600, now] {
        let answer = world.gateway.client(&world.with_claims(json!({ "exp": now - ago })).await).get(TARGET).await;
        assert_eq!(answer.outcome(), (401, "ExpiredToken".into()), "{ago}");
        assert!(answer.header("www-authenticate").contains("expired"), "{ago}");
        let forged = world.provider.mint("foreign=1", json!({ "exp": now - ago })).await;
        world.refuses([("expired and forged", forged)]).await;
    }
    world
        .accepts([
            ("a fraction", world.with_claims(json!({ "exp": now as f64 + 60.5 })).await),
            ("nbf in the past", world.with_claims(json!({ "nbf": now - 5, "iat": now - 5 })).await),
            ("a clock a little behind", world.with_claims(json!({ "exp": now - 5 })).await),
            ("far in the future", world.with_claims(json!({ "exp": far })).await),
        ])
        .await;
}

#[tokio::test]
async fn i07_the_issuer_is_one_exact_text_and_its_keys_are_its_own() {
    let (Some(world), Some((other, _process))) = (World::start().await, Oidc::own().await) else { return };
    let url = world.provider.issuer.clone();
    let port = url.rsplit(':').next().unwrap();
    let mut claims: Vec<_> = [
        format!("{url}/"),
        format!("{url} "),
        url.to_uppercase(),
        url.replace("http:", "HTTP:"),
        url.replace("http:", "https:"),
        url.replace("127.0.0.1", "localhost"),
        url.replace("127.0.0.1", "127.0.0.1."),
        format!("http://127.1:{port}"),
        format!("{url}/.well-known/openid-configuration"),
        format!("{url}\u{0}"),
        url.replace('1', "\u{ff11}"),
        "idp".to_owned(),
        String::new(),
        OwnIssuer::NAME.to_owned(),
    ]
    .into_iter()
    .map(|name| json!({ "iss": name }))
    .collect();
    claims.extend([
        json!({ "iss": [url] }),
        json!({ "iss": null }),
        json!({ "iss": 1 }),
        json!({ "iss": { "url": url } }),
    ]);
    for claims in claims {
        world.refuses([(claims.to_string().as_str(), world.with_claims(claims.clone()).await)]).await;
    }
    // The other provider's key has the same name.
    world
        .refuses([
            ("of an issuer that is not configured", other.mint("", json!({})).await),
            ("another issuer's key in the name of this one", other.mint("", json!({ "iss": url })).await),
            ("a configured issuer's key in the name of another", world.own.token(own_claims(json!({ "iss": url })))),
            ("the same with the other's key id", {
                let head = r#"{"alg":"ES256","typ":"at+jwt","kid":"es256-1"}"#;
                world.own.token_of(head, own_claims(json!({ "iss": url })))
            }),
        ])
        .await;
    world.accepts([("idp", world.genuine().await), ("own", world.own.token(own_claims(json!({}))))]).await;
}

#[tokio::test]
async fn i08_a_token_is_for_us_and_is_an_access_token() {
    let more = ", token_types: [at+jwt], required_claims: { client_id: [uploader, reader] }";
    let Some(world) = World::with("RS256", more).await else { return };
    for claims in [
        json!({ "aud": null }),
        json!({ "aud": "" }),
        json!({ "aud": [] }),
        json!({ "aud": "urn:s3-gateway2" }),
        json!({ "aud": "urn:s3" }),
        json!({ "aud": "URN:S3-GATEWAY" }),
        json!({ "aud": "*" }),
        json!({ "aud": ["another-app"] }),
        json!({ "aud": ["urn:s3-gateway other"] }),
        json!({ "aud": { "urn:s3-gateway": true } }),
        json!({ "aud": [AUDIENCE, 1] }),
        json!({ "aud": null, "azp": AUDIENCE }),
        json!({ "client_id": null }),
        json!({ "client_id": "another-app" }),
        json!({ "client_id": ["another-app"] }),
    ] {
        world.refuses([(claims.to_string().as_str(), world.with_claims(claims.clone()).await)]).await;
    }
    for token_type in
        [json!("JWT"), json!("id+jwt"), json!("logout+jwt"), json!(null), json!(""), json!(1), json!("at+jwt2")]
    {
        let token = world.with_header(json!({ "typ": token_type })).await;
        world.refuses([(token_type.to_string().as_str(), token)]).await;
    }
    world
        .accepts([
            ("ours among others", world.with_claims(json!({ "aud": ["another-app", AUDIENCE] })).await),
            ("the long form of the type", world.with_header(json!({ "typ": "application/at+jwt" })).await),
            ("in other letters", world.with_header(json!({ "typ": "AT+JWT" })).await),
        ])
        .await;
}

#[tokio::test]
async fn i13_a_token_has_one_reading_however_it_is_signed() {
    let Some(world) = World::start().await else { return };
    let (own, good) = (&world.own, own_claims(json!({})));
    let with = |more: &str| good.replacen('{', &format!("{{{more},"), 1);
    let head = r#"{"alg":"ES256","typ":"at+jwt","kid":"own-1"}"#;
    let padded_head =
        ["", " "].map(|blank| URL_SAFE.encode(format!("{head}{blank}"))).into_iter().find(|text| text.ends_with('='));
    let other_alphabet = STANDARD.encode(with(r#""x":"\u00ff??>>~~""#)).trim_end_matches('=').to_owned();
    assert!(other_alphabet.contains(['+', '/']), "{other_alphabet}");
    world
        .refuses([
            ("sub twice", own.token(with(r#""sub":"other""#))),
            ("sub twice in other letters", own.token(with(r#""s\u0075b":"other""#))),
            ("a name twice, deep inside", own.token(with(r#""x":{"y":[{"z":1,"z":2}]}"#))),
            ("alg twice", own.token_of(r#"{"alg":"none","alg":"ES256","kid":"own-1"}"#, &good)),
            ("not UTF-8", own.token([good.replacen('{', r#"{"x":""#, 1).as_bytes(), b"\xff\"}"].concat())),
            ("2500 deep", own.token(with(&format!(r#""x":{}{}"#, "[".repeat(2500), "]".repeat(2500))))),
            ("17 deep", own.token(with(&format!(r#""x":{}{}"#, "[".repeat(16), "]".repeat(16))))),
            ("claims that are no object", own.token("[]")),
            ("claims that are nothing", own.token("")),
            ("something after the claims", own.token(format!("{good}{{}}"))),
            ("a byte order mark", own.token(format!("\u{feff}{good}"))),
            ("a head that is no object", own.token_of("\"ES256\"", &good)),
            ("the other alphabet", own.sign(&format!("{}.{other_alphabet}", encode(head)))),
            ("padding behind the signature", format!("{}==", own.token(&good))),
            ("a control character in the subject", own.token(own_claims(json!({ "sub": "a\nb" })))),
            ("an empty subject", own.token(own_claims(json!({ "sub": "" })))),
            ("no subject", own.token(own_claims(json!({ "sub": null })))),
            ("a subject that is a list", own.token(own_claims(json!({ "sub": ["a"] })))),
            ("a subject of 1 kB", own.token(own_claims(json!({ "sub": "s".repeat(1024) })))),
            ("longer than 8 KiB", own.token(with(&format!(r#""x":"{}""#, "x".repeat(8 << 10))))),
        ])
        .await;
    // Not even the form of a bearer token, so the client may read that much.
    assert!(
        world.refused(&own.sign(&format!("{}.{}", padded_head.unwrap(), encode(&good)))).await.contains("not be read")
    );
    assert!(world.recorder.is_silent());
    world
        .accepts([
            ("as it should be", own.token(&good)),
            ("in another order, with blanks", own.token(with(r#" "x" : [ 1.5e3, null ] "#))),
            ("16 deep", own.token(with(&format!(r#""x":{}{}"#, "[".repeat(15), "]".repeat(15))))),
            ("just below 8 KiB", own.token(with(&format!(r#""x":"{}""#, "x".repeat(5800))))),
        ])
        .await;
}

#[tokio::test]
async fn i15_a_subject_never_leaves_its_prefix() {
    let own = OwnIssuer::start().await;
    let recorder = Recorder::start(Answer::ok()).await;
    let rules = "
  - { name: home, who: { issuers: [own] }, where: \"bkt/u/{sub}/\", what: [read, write, delete] }";
    let gateway = Setup::before(&recorder).rules(rules).issuers(&own.entry()).start().await;
    until_ready(&gateway).await;
    let long = "s".repeat(200);
    for subject in
        ["../b", "a/b", "b/", "/b", "..", ".", "*", "%2f", "%2e%2e", "{sub}", "{x}", "b\\", "ü", "b b", &long]
    {
        let caller = gateway.client(&own.token(own_claims(json!({ "sub": subject }))));
        let raw = countersign::base::encoding::encode_path(subject);
        let own_place = format!("/bkt/u/{raw}/x");
        for target in [&*own_place, "/bkt/u/b/x", "/bkt/b/x", "/bkt/u/*/x", "/bkt/u//x", "/bkt/u/x", "/bkt/x"] {
            for method in ["GET", "PUT", "DELETE"] {
                let refused = caller.send(method, target, &[], "").await;
                assert!(
                    matches!(refused.status.as_u16(), 400 | 403),
                    "{subject:?} {method} {target}: {}",
                    refused.text()
                );
            }
        }
        assert_eq!(caller.get("/bkt?list-type=2").await.status, 403, "{subject:?}");
    }
    assert!(recorder.is_silent(), "{:?}", recorder.requests());
    for subject in ["b", "auth0|62f-9", "ann@example.com", "a.b", "CN=x,OU=y"] {
        let caller = gateway.client(&own.token(own_claims(json!({ "sub": subject }))));
        let raw = countersign::base::encoding::encode_path(subject);
        assert_eq!(caller.get(&format!("/bkt/u/{raw}/x")).await.status, 200, "{subject}");
        assert_eq!(caller.get("/bkt/u/other/x").await.status, 403, "{subject}");
    }
}

#[tokio::test]
async fn i17_a_token_anywhere_but_in_the_authorization_header_is_not_seen() {
    let Some(world) = World::start().await else { return };
    let (nobody, token) = (world.gateway.client(""), world.genuine().await);
    for name in ["access_token", "token", "jwt", "id_token", "authorization", "Authorization", "bearer"] {
        let refused = nobody.send_plain("GET", &format!("{TARGET}?{name}={token}"), &[], "").await;
        assert_eq!(refused.outcome(), (401, "AccessDenied".into()), "{name}");
        assert_eq!(refused.header("www-authenticate"), "Bearer realm=\"countersign\"", "{name}");
    }
    let cookie = format!("access_token={token}; token={token}; Authorization=Bearer {token}");
    let bearer = format!("Bearer {token}");
    for (name, value) in [
        ("cookie", cookie.as_str()),
        ("proxy-authorization", &bearer),
        ("x-authorization", &bearer),
        ("x-forwarded-authorization", &bearer),
        ("x-amz-security-token", &token),
        ("x-access-token", &token),
        ("x-jwt-assertion", &token),
        // A15: what only a verified credential may say.
        ("x-forwarded-user", "uploader"),
        ("jwt-sub", "uploader"),
    ] {
        let refused = nobody.send_plain("GET", TARGET, &[(name, value)], "").await;
        assert_eq!(refused.outcome(), (401, "AccessDenied".into()), "{name}");
    }
    assert!(world.recorder.is_silent());
    world.accepts([("in its place", token)]).await;
}

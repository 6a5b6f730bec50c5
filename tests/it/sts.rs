//! STS: keys for the holder of a JWT, and what they open. SDKs as a pod has them: `AWS_ROLE_ARN`, `AWS_WEB_IDENTITY_TOKEN_FILE`.

use std::io::Write;
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings, UriPathNormalizationMode,
    sign,
};
use aws_sigv4::sign::v4;
use countersign::audit::record::Decision;
use serde_json::{Value, json};

use super::boto::python;
use super::support::certs::Authority;
use super::support::oidc::{AUDIENCE, OwnIssuer, until_ready};
use super::support::{Answer, Gateway, Oidc, Recorder, Response, Setup, Store, StoreKind};

const ROLE: &str = "arn:aws:iam::000000000000:role/s3";

const IDP_RULES: &str = "
  - { name: home, who: { issuers: [idp] }, where: \"bkt/home/{sub}/\", what: [read, write, delete] }";

const OWN_RULES: &str = "
  - { name: home, who: { issuers: [own] }, where: \"bkt/home/{sub}/\", what: [read, write, delete] }";

pub const ENABLED: &str = "sts: { enabled: true }";

fn form(token: &str, more: &str) -> String {
    format!(
        "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn={}&RoleSessionName=pod-1&WebIdentityToken={token}{more}",
        countersign::base::encoding::encode_query(ROLE)
    )
}

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded; charset=utf-8");

/// Keys of a session, or what stands in their place.
struct Keys {
    id: String,
    secret: String,
    token: Option<String>,
}

impl Keys {
    /// Those of an answer.
    fn of(answer: &Response) -> Self {
        assert_eq!(answer.status, 200, "{}", answer.text());
        let element = |name| answer.element(name);
        Self { id: element("AccessKeyId"), secret: element("SecretAccessKey"), token: Some(element("SessionToken")) }
    }

    /// Sends a request that the `aws-sigv4` crate has signed for a service.
    async fn send(&self, gateway: &Gateway, service: &str, method: &str, target: &str, body: &str) -> Response {
        self.send_with(gateway, service, method, target, body, body).await
    }

    /// As [`Self::send`], with another body than was signed.
    async fn send_with(
        &self,
        gateway: &Gateway,
        service: &str,
        method: &str,
        target: &str,
        signed: &str,
        body: &str,
    ) -> Response {
        let identity = Credentials::new(&self.id, &self.secret, self.token.clone(), None, "test").into();
        let mut settings = SigningSettings::default();
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        // As SDKs do it: the hash is in a header for S3 only.
        if service == "s3" {
            settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        }
        #[expect(clippy::disallowed_methods, reason = "the gateway checks it against its own clock")]
        let time = SystemTime::now();
        let builder = v4::SigningParams::builder().identity(&identity).region("us-east-1").name(service);
        let params = builder.time(time).settings(settings).build().unwrap().into();
        let uri = format!("http://{}{target}", gateway.address);
        let form = [FORM];
        let unsigned = if method == "POST" { form.iter() } else { [].iter() };
        let signable = SignableBody::Bytes(signed.as_bytes());
        let request = SignableRequest::new(method, &uri, unsigned.clone().copied(), signable).unwrap();
        let (instructions, _) = sign(request, &params).unwrap().into_parts();
        let headers: Vec<(&str, &str)> = instructions.headers().chain(unsigned.copied()).collect();
        gateway.client("").send_plain(method, target, &headers, body.to_owned()).await
    }
}

async fn post(gateway: &Gateway, form: &str) -> Response {
    gateway.client("").send_plain("POST", "/", &[FORM], form.to_owned()).await
}

/// A gateway before a recorder, with an issuer whose key the test holds.
async fn own_gateway(recorder: &Recorder, issuer: &OwnIssuer, sts: &str) -> Gateway {
    let gateway = Setup::before(recorder).rules(OWN_RULES).issuers(&issuer.entry()).top(sts).start().await;
    until_ready(&gateway).await;
    gateway
}

#[tokio::test]
async fn a_jwt_is_changed_for_keys_in_both_forms_of_the_request() {
    let (recorder, issuer) = (Recorder::start(Answer::ok()).await, OwnIssuer::start().await);
    let gateway = own_gateway(&recorder, &issuer, ENABLED).await;
    let token = issuer.token(OwnIssuer::claims().to_string());
    let posted = post(&gateway, &form(&token, "")).await;
    let asked = gateway.client("").send_plain("GET", &format!("/?{}", form(&token, "")), &[], "").await;
    for answer in [&posted, &asked] {
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!((answer.header("content-type"), answer.header("cache-control")), ("text/xml", "no-store"));
        assert!(answer.text().contains(
            "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleWithWebIdentityResult>"
        ));
        assert_eq!(answer.element("SubjectFromWebIdentityToken"), "somebody");
        assert_eq!(answer.element("Provider"), OwnIssuer::NAME);
        assert_eq!(answer.element("Arn"), "arn:aws:sts::000000000000:assumed-role/own/own:somebody");
        assert!(answer.element("AccessKeyId").starts_with("CSIA") && answer.element("AccessKeyId").len() == 20);
        assert_eq!(answer.element("SecretAccessKey").len(), 40);
        let expires: jiff::Timestamp = answer.element("Expiration").parse().unwrap();
        let left = expires.duration_since(jiff::Timestamp::now()).as_secs();
        assert!((3590..=3600).contains(&left), "{left}");
        assert_eq!(answer.element("RequestId"), answer.header("x-amz-request-id"));
    }
    let record = gateway.record(1).await;
    assert_eq!(
        (record.operation, record.principal.as_deref()),
        (Some("AssumeRoleWithWebIdentity"), Some("own:somebody"))
    );
    assert_eq!((record.scheme, record.status, record.bytes_in > 0), (Some("jwt"), Some(200), true));
    assert_eq!(record.decision, Some(Decision::Allow));
    // Whoever finds the id in a later record finds here who began the session.
    assert_eq!(record.access_key_id, Some(posted.element("AccessKeyId")));
    assert_eq!(gateway.record(2).await.access_key_id, Some(asked.element("AccessKeyId")));
    let metrics = gateway.ask_admin("/metrics").await.text();
    let counted = "countersign_requests_total{operation=\"AssumeRoleWithWebIdentity\",outcome=\"ok\"} 2";
    assert!(metrics.contains(counted), "{metrics}");
    assert!(recorder.is_silent());
}

/// What is wrong, the form, further headers, and what comes of it.
type Case<'a> = (&'a str, &'a str, Vec<(&'a str, &'a str)>, (u16, &'a str));

#[tokio::test]
async fn forged_and_expired_tokens_get_the_errors_that_sdks_know() {
    let (recorder, issuer) = (Recorder::start(Answer::ok()).await, OwnIssuer::start().await);
    let gateway =
        own_gateway(&recorder, &issuer, "sts: { enabled: true, roles: [\"arn:aws:iam::000000000000:role/s3\"] }").await;
    let mut claims = OwnIssuer::claims();
    let good = issuer.token(claims.to_string());
    let stranger = OwnIssuer::start().await.token(claims.to_string());
    claims["exp"] = json!(1_000_000_000);
    let expired = issuer.token(claims.to_string());
    let signed = ("authorization", "AWS4-HMAC-SHA256 Credential=x");
    let other_role = form(&good, "").replace("role%2Fs3", "role%2Fs4");
    let cases: [Case<'_>; 15] = [
        ("forged", &form(&stranger, ""), vec![], (400, "InvalidIdentityToken")),
        ("no JWT", &form("csn_0123456789", ""), vec![], (400, "InvalidIdentityToken")),
        ("an app token", &form(&gateway.a.token, ""), vec![], (400, "InvalidIdentityToken")),
        ("expired", &form(&expired, ""), vec![], (400, "ExpiredTokenException")),
        ("a policy", &form(&good, "&Policy=%7B%7D"), vec![], (400, "MalformedPolicyDocument")),
        ("another role", &other_role, vec![], (403, "AccessDenied")),
        ("unknown parameter", &form(&good, "&Tags.member.1.Key=x"), vec![], (400, "ValidationError")),
        ("too long", &form(&good, "&DurationSeconds=43201"), vec![], (400, "ValidationError")),
        ("twice", &form(&good, "&RoleArn=x"), vec![], (400, "MalformedQueryString")),
        ("signed too", &form(&good, ""), vec![signed], (400, "ValidationError")),
        ("no action", "Version=2011-06-15", vec![], (400, "MissingAction")),
        ("action", "Action=GetSessionToken&Version=2011-06-15", vec![], (400, "InvalidAction")),
        ("version", "Action=GetCallerIdentity&Version=1", vec![], (400, "NoSuchVersion")),
        ("nobody", "Action=GetCallerIdentity&Version=2011-06-15", vec![], (403, "MissingAuthenticationToken")),
        ("empty", "", vec![], (400, "MalformedQueryString")),
    ];
    for (number, (what, form, more, (status, code))) in cases.iter().enumerate() {
        let headers: Vec<_> = [FORM].into_iter().chain(more.iter().copied()).collect();
        let answer = gateway.client("").send_plain("POST", "/", &headers, (*form).to_owned()).await;
        assert_eq!(answer.outcome(), (*status, (*code).to_owned()), "{what}: {}", answer.text());
        assert!(
            answer.text().contains(
                "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type>"
            )
        );
        assert_eq!(answer.element("RequestId"), answer.header("x-amz-request-id"), "{what}");
        let record = gateway.record(number + 1).await;
        assert_eq!((record.status, record.code), (Some(*status), Some(*code)), "{what}");
        let denied = (*what == "another role").then_some(Decision::Deny);
        assert_eq!((record.decision, record.access_key_id), (denied, None), "{what}");
        let record = gateway.record(number + 1).await;
        for secret in [&good, &stranger, &expired] {
            assert!(!format!("{record:?}").contains(&secret[..40]), "{what}: {record:?}");
        }
    }
    let two = gateway.client("").send_plain("POST", "/?Action=x", &[FORM], form(&good, "")).await;
    assert_eq!(two.outcome(), (400, "MalformedQueryString".into()));
    let long = format!("{}&Policy={}", form(&good, ""), "x".repeat(32 * 1024));
    assert_eq!(post(&gateway, &long).await.outcome(), (400, "ValidationError".into()));
    assert!(recorder.is_silent());
}

#[tokio::test]
async fn a10_failed_exchanges_are_counted_as_failed_authentications() {
    let (recorder, issuer) = (Recorder::start(Answer::ok()).await, OwnIssuer::start().await);
    let setup = Setup::before(&recorder).rules(OWN_RULES).issuers(&issuer.entry()).top(ENABLED);
    let gateway = setup.limits("{ failed_authentications: { rate: 1, burst: 3 } }").start().await;
    until_ready(&gateway).await;
    let forged = OwnIssuer::start().await.token(OwnIssuer::claims().to_string());
    let mut codes = Vec::new();
    for _ in 0..6 {
        codes.push(post(&gateway, &form(&forged, "")).await.outcome());
    }
    assert_eq!(codes[0], (400, "InvalidIdentityToken".into()));
    assert!(codes.contains(&(503, "Throttling".into())), "{codes:?}");
    let good = issuer.token(OwnIssuer::claims().to_string());
    assert_eq!(post(&gateway, &form(&good, "")).await.status, 200, "a good token is never refused for them");
}

#[tokio::test]
async fn l08_the_request_rate_of_a_principal_holds_for_sts() {
    let (recorder, issuer) = (Recorder::start(Answer::ok()).await, OwnIssuer::start().await);
    let setup = Setup::before(&recorder).rules(OWN_RULES).issuers(&issuer.entry()).top(ENABLED);
    let gateway = setup.limits("{ per_principal: { request_rate: 1, request_burst: 5 } }").start().await;
    until_ready(&gateway).await;
    let token = issuer.token(OwnIssuer::claims().to_string());
    let mut other = OwnIssuer::claims();
    other["sub"] = json!("another");
    let keys = Keys::of(&post(&gateway, &form(&token, "")).await);
    let exchange = form(&token, "");
    let exchanges = futures_util::future::join_all((0..12).map(|_| post(&gateway, &exchange)));
    let questions = futures_util::future::join_all((0..12).map(|_| keys.send(&gateway, "sts", "POST", "/", IDENTITY)));
    let (mut answers, asked) = tokio::join!(exchanges, questions);
    let objects = keys.send(&gateway, "s3", "GET", "/bkt/home/somebody/x", "").await;
    answers.extend(asked);
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status != 200).collect();
    assert!(refused.len() >= 12, "of 24, with a burst of 5: {}", refused.len());
    for answer in &refused {
        assert_eq!(answer.outcome(), (503, "Throttling".into()), "{}", answer.text());
        assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 1 && !answer.text().contains("AccessKeyId"));
    }
    assert_eq!(objects.outcome(), (503, "SlowDown".into()), "it is one rate for all that a principal asks");
    let others = issuer.token(other.to_string());
    assert_eq!(post(&gateway, &form(&others, "")).await.status, 200, "another principal has its own");
    assert!(recorder.is_silent());
}

#[tokio::test]
async fn without_sts_the_request_is_one_for_s3_that_is_refused() {
    let (recorder, issuer) = (Recorder::start(Answer::ok()).await, OwnIssuer::start().await);
    for sts in ["", "sts: { enabled: false }"] {
        let gateway = own_gateway(&recorder, &issuer, sts).await;
        let token = issuer.token(OwnIssuer::claims().to_string());
        let answer = post(&gateway, &form(&token, "")).await;
        assert_eq!(answer.outcome(), (401, "AccessDenied".into()), "{sts}");
    }
    assert!(recorder.is_silent());
}

#[tokio::test]
async fn requests_of_buckets_are_not_taken_for_sts() {
    let (recorder, issuer) = (Recorder::start(Answer::ok()).await, OwnIssuer::start().await);
    let setup = Setup::before(&recorder).rules(OWN_RULES).issuers(&issuer.entry()).top(ENABLED);
    let gateway = setup.top("domains: s3.example.com").start().await;
    until_ready(&gateway).await;
    let token = issuer.token(OwnIssuer::claims().to_string());
    let ask = async |host: &str, target: &str| {
        let headers = [("host", host), FORM];
        gateway.client("").send_plain("POST", target, &headers, form(&token, "")).await
    };
    assert_eq!(ask("s3.example.com", "/").await.status, 200);
    assert_eq!(ask("sts.example.com", "/").await.status, 200);
    for (host, target) in [("bkt.s3.example.com", "/"), ("sts.s3.example.com", "/"), ("s3.example.com", "/bkt")] {
        let answer = ask(host, target).await;
        assert_eq!(answer.outcome(), (401, "AccessDenied".into()), "{host} {target}");
        assert!(answer.text().contains("<Resource>"), "an answer of S3: {}", answer.text());
    }
    assert!(recorder.is_silent());
}

const IDENTITY: &str = "Action=GetCallerIdentity&Version=2011-06-15";

#[tokio::test]
async fn keys_of_a_session_open_what_the_rules_allow_its_principal() {
    let (recorder, issuer) = (Recorder::start(Answer::ok()).await, OwnIssuer::start().await);
    let gateway = own_gateway(&recorder, &issuer, ENABLED).await;
    let keys = Keys::of(&post(&gateway, &form(&issuer.token(OwnIssuer::claims().to_string()), "")).await);
    let put = keys.send(&gateway, "s3", "PUT", "/bkt/home/somebody/x", "body").await;
    assert_eq!(put.status, 200, "{}", put.text());
    let record = gateway.record(2).await;
    assert_eq!((record.principal.as_deref(), record.scheme), (Some("own:somebody"), Some("session")));
    assert_eq!((record.access_key_id.as_deref(), record.rule.as_deref()), (Some(keys.id.as_str()), Some("home")));
    assert_eq!(recorder.requests().len(), 1);
    let head = recorder.only().head;
    assert!(!head.contains(&keys.id) && !head.contains("csn1.") && !head.contains("x-amz-security-token"), "{head}");
    let other = keys.send(&gateway, "s3", "PUT", "/bkt/home/other/x", "body").await;
    assert_eq!(other.outcome(), (403, "AccessDenied".into()));
    assert_eq!(recorder.requests().len(), 1);
}

#[tokio::test]
async fn a13_what_is_not_wholly_a_session_of_this_gateway_opens_nothing() {
    let (recorder, issuer) = (Recorder::start(Answer::ok()).await, OwnIssuer::start().await);
    let gateway = own_gateway(&recorder, &issuer, ENABLED).await;
    let elsewhere = own_gateway(&recorder, &issuer, ENABLED).await;
    let jwt = issuer.token(OwnIssuer::claims().to_string());
    let (one, two) =
        (Keys::of(&post(&gateway, &form(&jwt, "")).await), Keys::of(&post(&gateway, &form(&jwt, "")).await));
    let foreign = Keys::of(&post(&elsewhere, &form(&jwt, "")).await);
    let keys = |id: &str, secret: &str, token: Option<&str>| Keys {
        id: id.to_owned(),
        secret: secret.to_owned(),
        token: token.map(str::to_owned),
    };
    let token = one.token.as_deref().unwrap();
    // Not the last character, which may be an `A` already.
    let middle = token.len() / 2;
    let other = if token.as_bytes()[middle] == b'A' { "B" } else { "A" };
    let changed = format!("{}{other}{}", &token[..middle], &token[middle + 1..]);
    for (what, keys, expected) in [
        ("another secret", keys(&one.id, &two.secret, Some(token)), (403, "SignatureDoesNotMatch")),
        ("another id", keys(&two.id, &one.secret, Some(token)), (401, "InvalidToken")),
        ("another token", keys(&one.id, &one.secret, two.token.as_deref()), (401, "InvalidToken")),
        ("no token", keys(&one.id, &one.secret, None), (403, "InvalidAccessKeyId")),
        ("a changed token", keys(&one.id, &one.secret, Some(&changed)), (401, "InvalidToken")),
        ("of another gateway", foreign, (401, "InvalidToken")),
        ("a token that is none", keys(&one.id, &one.secret, Some("csn1.x")), (401, "InvalidToken")),
    ] {
        let answer = keys.send(&gateway, "s3", "GET", "/bkt/home/somebody/x", "").await;
        assert_eq!(answer.outcome(), (expected.0, expected.1.to_owned()), "{what}: {}", answer.text());
    }
    let bearer = gateway.client(token).get("/bkt/home/somebody/x").await;
    assert_eq!(bearer.outcome(), (401, "InvalidToken".into()), "a session token alone is no credential");
    assert!(recorder.is_silent());
    assert_eq!(one.send(&gateway, "s3", "GET", "/bkt/home/somebody/x", "").await.status, 200);
}

#[tokio::test]
async fn get_caller_identity_tells_who_signed() {
    let (recorder, issuer) = (Recorder::start(Answer::ok()).await, OwnIssuer::start().await);
    let gateway = own_gateway(&recorder, &issuer, ENABLED).await;
    let keys = Keys::of(&post(&gateway, &form(&issuer.token(OwnIssuer::claims().to_string()), "")).await);
    let posted = keys.send(&gateway, "sts", "POST", "/", IDENTITY).await;
    let asked = keys.send(&gateway, "sts", "GET", &format!("/?{IDENTITY}"), "").await;
    for answer in [&posted, &asked] {
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.text().contains(
            "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>"
        ));
        assert_eq!(answer.element("Arn"), "arn:aws:sts::000000000000:assumed-role/own/own:somebody");
        assert_eq!(
            (answer.element("UserId"), answer.element("Account")),
            ("own:somebody".into(), "000000000000".into())
        );
    }
    let record = gateway.record(2).await;
    assert_eq!((record.operation, record.scheme), (Some("GetCallerIdentity"), Some("session")));
    assert_eq!((record.decision, record.access_key_id.as_ref()), (Some(Decision::Allow), Some(&keys.id)));
    for (what, answer, expected) in [
        ("signed for S3", keys.send(&gateway, "s3", "POST", "/", IDENTITY).await, (403, "SignatureDoesNotMatch")),
        (
            "another body",
            keys.send_with(&gateway, "sts", "POST", "/", &format!("{IDENTITY}&a=b"), IDENTITY).await,
            (403, "SignatureDoesNotMatch"),
        ),
        (
            "another key",
            Keys { id: "CSIA".to_owned(), ..keys_like(&keys) }.send(&gateway, "sts", "POST", "/", IDENTITY).await,
            (403, "InvalidClientTokenId"),
        ),
        (
            "another secret",
            Keys { secret: "x".to_owned(), ..keys_like(&keys) }.send(&gateway, "sts", "POST", "/", IDENTITY).await,
            (403, "SignatureDoesNotMatch"),
        ),
    ] {
        assert_eq!(answer.outcome(), (expected.0, expected.1.to_owned()), "{what}: {}", answer.text());
    }
    let for_s3 = keys.send(&gateway, "sts", "GET", "/bkt/home/somebody/x", "").await;
    assert_ne!(for_s3.status, 200, "a signature for STS opens no object");
    assert!(recorder.is_silent());
}

fn keys_like(keys: &Keys) -> Keys {
    Keys { id: keys.id.clone(), secret: keys.secret.clone(), token: keys.token.clone() }
}

/// A key for the ring of several gateways, in a file.
fn ring_key() -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"a key for the ring of several gateways").unwrap();
    file
}

#[tokio::test]
async fn a13_a_session_is_judged_by_what_is_configured_when_it_is_used() {
    let (recorder, issuer, ring) = (Recorder::start(Answer::ok()).await, OwnIssuer::start().await, ring_key());
    let path = ring.path();
    let start = async |rules: &str, entry: &str, key: &str| {
        let sts = format!("sts: {{ enabled: true, keys: [{{ id: {key}, secret: \"file:{}\" }}] }}", path.display());
        let mut setup = Setup::before(&recorder).rules(rules).issuers(entry).top(&sts);
        setup.files.push(path.to_owned());
        let gateway = setup.start().await;
        until_ready(&gateway).await;
        gateway
    };
    let (entry, ask) = (issuer.entry(), "/bkt/home/somebody/x");
    let first = start(OWN_RULES, &entry, "k1").await;
    let keys = Keys::of(&post(&first, &form(&issuer.token(OwnIssuer::claims().to_string()), "")).await);
    drop(first);

    let replica = start(OWN_RULES, &entry, "k1").await;
    assert_eq!(keys.send(&replica, "s3", "GET", ask, "").await.status, 200);
    assert_eq!(keys.send(&replica, "s3", "PUT", ask, "x").await.status, 200);

    let narrowed = start(&OWN_RULES.replace("[read, write, delete]", "read"), &entry, "k1").await;
    assert_eq!(keys.send(&narrowed, "s3", "GET", ask, "").await.status, 200);
    assert_eq!(keys.send(&narrowed, "s3", "PUT", ask, "x").await.outcome(), (403, "AccessDenied".into()));

    let before = recorder.requests().len();
    let renamed = entry.replace("name: own,", "name: other,");
    for (what, rules, entry, key) in [
        ("the issuer is gone", OWN_RULES.replace("[own]", "[other]"), renamed, "k1"),
        ("it is for another audience", OWN_RULES.to_owned(), entry.replace(AUDIENCE, "urn:other"), "k1"),
        ("the key is gone", OWN_RULES.to_owned(), entry.clone(), "k2"),
    ] {
        let gateway = start(&rules, &entry, key).await;
        let answer = keys.send(&gateway, "s3", "GET", ask, "").await;
        assert_eq!(answer.outcome(), (401, "InvalidToken".into()), "{what}: {}", answer.text());
        let identity = keys.send(&gateway, "sts", "POST", "/", IDENTITY).await;
        assert_eq!(identity.outcome(), (403, "InvalidClientTokenId".into()), "{what}");
    }
    let off = Setup::before(&recorder).rules(OWN_RULES).issuers(&entry).start().await;
    assert_eq!(keys.send(&off, "s3", "GET", ask, "").await.outcome(), (401, "InvalidToken".into()), "STS is off");
    assert_eq!(recorder.requests().len(), before);
}

#[tokio::test]
async fn a_jwt_as_session_token_is_a_credential_only_with_its_signature() {
    let (recorder, issuer) = (Recorder::start(Answer::ok()).await, OwnIssuer::start().await);
    // Needs no STS.
    let gateway = own_gateway(&recorder, &issuer, "").await;
    let jwt = issuer.token(OwnIssuer::claims().to_string());
    let stranger = OwnIssuer::start().await.token(OwnIssuer::claims().to_string());
    let keys = |secret: &str, token: &str| Keys {
        id: "jwt".to_owned(),
        secret: secret.to_owned(),
        token: Some(token.to_owned()),
    };
    for (what, keys) in
        [("forged", keys(&stranger, &stranger)), ("another secret", keys("secret", &jwt)), ("empty", keys("", &jwt))]
    {
        let answer = keys.send(&gateway, "s3", "PUT", "/bkt/home/somebody/x", "x").await;
        assert!(matches!(answer.status.as_u16(), 401 | 403), "{what}: {}", answer.text());
    }
    assert!(recorder.is_silent());
    let own = keys(&jwt, &jwt);
    assert_eq!(own.send(&gateway, "s3", "PUT", "/bkt/home/somebody/x", "x").await.status, 200);
    let record = gateway.record(4).await;
    assert_eq!((record.principal.as_deref(), record.scheme), (Some("own:somebody"), Some("jwt")));
    assert!(!recorder.only().head.contains(&jwt), "the token went to the store");
    let other = own.send(&gateway, "s3", "PUT", "/bkt/home/other/x", "x").await;
    assert_eq!(other.outcome(), (403, "AccessDenied".into()));
}

/// The tokens that a pod shows, by the names that its program knows them by.
pub async fn tokens_of(provider: &Oidc) -> [(&'static str, String); 4] {
    [
        ("token", provider.access_token("uploader").await),
        ("second", provider.access_token("reader").await),
        ("forged", OwnIssuer::start().await.token(OwnIssuer::claims().to_string())),
        ("expired", provider.mint("", json!({ "exp": 1_000_000_000 })).await),
    ]
}

/// What a pod has: a token in a file, a role, two endpoints.
pub fn pod(gateway: &Gateway, authority: Option<&Authority>, tokens: &[(&str, &str)]) -> Value {
    let scheme = if authority.is_some() { "https" } else { "http" };
    let mut world = json!({
        "endpoint": format!("{scheme}://{}", gateway.address), "role": ROLE, "bucket": "bkt", "region": "us-east-1",
    });
    for (name, token) in tokens {
        world[*name] = json!(token);
    }
    if let Some(authority) = authority {
        world["ca"] = json!(authority.file());
    }
    world
}

#[tokio::test]
async fn unmodified_boto3_in_a_pod_works_with_its_token_file() {
    let Some(provider) = Oidc::shared().await else { return };
    let authority = Authority::new();
    let identity = authority.vouch_for(&["127.0.0.1"]);
    let tokens = tokens_of(&provider).await;
    let tokens = tokens.each_ref().map(|(name, token)| (*name, token.as_str()));
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        for tls in [None, Some(&authority)] {
            let setup = store.setup().rules(IDP_RULES).issuers(&provider.entry("idp", "RS256", "")).top(ENABLED);
            let setup = if tls.is_some() { setup.tls(&identity) } else { setup };
            let gateway = setup.start().await;
            until_ready(&gateway).await;
            if !python("sts.py", "pod", pod(&gateway, tls, &tokens)).await {
                return;
            }
            python("sts.py", "jwt_as_session_token", pod(&gateway, tls, &tokens)).await;
            let records = gateway.records();
            let exchanges: Vec<_> =
                records.iter().filter(|record| record.operation == Some("AssumeRoleWithWebIdentity")).collect();
            assert!(exchanges.iter().filter(|record| record.status == Some(200)).count() >= 3, "{kind:?}: refreshed");
            let with =
                |scheme| records.iter().filter(|record| record.scheme == Some(scheme) && record.key.is_some()).count();
            assert!(with("session") >= 8 && with("jwt") >= 2, "{kind:?} {} {}", with("session"), with("jwt"));
            assert_eq!(store.read("home/uploader/x").await.as_deref(), Some(&b"hello"[..]), "{kind:?}");
        }
    }
}

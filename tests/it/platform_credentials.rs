//! Credentials of the platform: what is asked, what is signed with the answer, and what happens when there is none.
#![cfg(feature = "aws-chain")]

use std::process::Command;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tokio::io::{AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use super::sts::ENABLED;
use super::support::oidc::{OwnIssuer, until_ready};
use super::support::platform::{GARBLED, Keys, Mood, Platform, TokenFile, is_signed_with};
use super::support::process::{Served, run};
use super::support::raw::{read_answer, status};
use super::support::store::missing;
use super::support::{Answer, Gateway, Oidc, Recorder, Setup, Store, StoreKind, eventually, pattern};

const ROLE: &str = "arn:aws:iam::123456789012:role/s3-gateway";

/// Two tenants before a recorder, with these credentials.
fn setup(store: &Recorder, credentials: &str) -> Setup {
    Setup { credentials: credentials.to_owned(), ..Setup::before(store) }
}

fn imds(platform: &Platform) -> String {
    format!("{{ platform: {{ source: imds, imds_endpoint: \"{}\" }} }}", platform.endpoint())
}

/// Asserts that the last request at the store is signed with keys of this number.
fn assert_signed_with(store: &Recorder, number: u64) {
    let request = store.requests().pop().unwrap();
    let keys = Keys::number(number);
    assert_eq!(Keys::of(&request).id, keys.id);
    assert_eq!(request.header("x-amz-security-token"), keys.token);
    assert!(request.header("authorization").contains("x-amz-security-token"), "the token is signed");
    assert!(is_signed_with(&request, "s3", "us-east-1", &keys.secret), "{}", request.head);
    assert!(!is_signed_with(&request, "s3", "us-east-1", "another"), "the judge can say no");
}

async fn metric(gateway: &Gateway, name: &str) -> Option<f64> {
    value(&gateway.ask_admin("/metrics").await.text(), name)
}

fn value(metrics: &str, name: &str) -> Option<f64> {
    metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

#[tokio::test]
async fn an_instance_signs_with_the_keys_of_its_role() {
    let (platform, store) = (Platform::imds().await, Recorder::start(Answer::ok()).await);
    let gateway = setup(&store, &imds(&platform)).start().await;
    until_ready(&gateway).await;
    let answer = gateway.a.get("/bkt/a/x").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_signed_with(&store, 1);
    assert!(answer.headers.values().all(|value| !value.to_str().unwrap_or_default().contains("t0ken")));
    let asked: Vec<String> = platform.recorder.requests().iter().map(|request| request.request_line()).collect();
    let role = "GET /latest/meta-data/iam/security-credentials/";
    assert_eq!(asked, ["PUT /latest/api/token", role, &format!("{role}gateway-role")], "version 2 and nothing else");
    let age = metric(&gateway, "countersign_upstream_credentials_age_seconds{upstream=\"store\"}").await.unwrap();
    assert!((0.0..60.0).contains(&age), "{age}");
    let end = metric(&gateway, "countersign_upstream_credentials_expiry_timestamp_seconds{upstream=\"store\"}").await;
    assert!(end.is_some_and(|end| end > 1e9));
    let done = "countersign_upstream_credentials_refreshes_total{result=\"ok\",upstream=\"store\"}";
    assert_eq!(metric(&gateway, done).await, Some(1.0));
}

#[tokio::test]
async fn l12_keys_are_renewed_ahead_of_their_end_and_nobody_notices() {
    let (platform, store) = (Platform::imds().await, Recorder::start(Answer::ok()).await);
    platform.life(Duration::from_secs(3));
    let gateway = setup(&store, &imds(&platform)).start().await;
    until_ready(&gateway).await;
    while platform.given() < 3 {
        assert_eq!(gateway.a.get("/bkt/a/x").await.status, 200);
        assert_eq!(gateway.ask_admin("/readyz").await.status, 200);
    }
    let seen: std::collections::BTreeSet<String> =
        store.requests().iter().map(|request| Keys::of(request).id).collect();
    assert!(seen.len() >= 2, "{seen:?}");
    for request in store.requests().iter().rev().take(20) {
        assert!(is_signed_with(request, "s3", "us-east-1", &Keys::of(request).secret));
    }
}

#[tokio::test]
async fn l12_old_keys_are_kept_to_their_end_then_nothing_is_signed_and_it_recovers_by_itself() {
    let moods = [Mood::Failing, Mood::Garbled, Mood::Empty, Mood::Stale];
    let outages =
        ["imds", "pod-identity", "web-identity"].into_iter().flat_map(|source| moods.map(|mood| outage(source, mood)));
    join_all(outages).await;
}

/// A platform that gave keys, and then answers in this mood until after their end.
async fn outage(source: &str, mood: Mood) {
    let (store, token) = (Recorder::start(Answer::ok()).await, TokenFile::new("eyJ.a.jwt"));
    let platform = match source {
        "imds" => Platform::imds().await,
        "pod-identity" => Platform::container(&token.path).await,
        _ => Platform::sts("AssumeRoleWithWebIdentity").await,
    };
    platform.life(Duration::from_secs(9));
    let endpoint = platform.endpoint();
    let url = format!("{endpoint}/v1/credentials");
    let env = [
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint.as_str()),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", url.as_str()),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token.text()),
        ("AWS_ROLE_ARN", ROLE),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.text()),
        ("AWS_REGION", "eu-central-1"),
        ("AWS_ENDPOINT_URL_STS", endpoint.as_str()),
    ];
    let gateway = served(&store, &format!("{{ platform: {{ source: {source} }} }}"), &env).await;
    platform.mood(mood);
    let failed = "countersign_upstream_credentials_refreshes_total{result=\"error\",upstream=\"store\"}";
    while value(&gateway.ask_admin("/metrics").await.text(), failed) == Some(0.0) {
        let answer = gateway.a.get("/bkt/a/x").await;
        assert_eq!(answer.status, 200, "{source}, {mood:?}: before their end: {}", answer.text());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let ready = loop {
        let ready = gateway.ask_admin("/readyz").await;
        if ready.status != 200 {
            break ready.text();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(ready.contains("credentials of upstream `store` have expired"), "{source}, {mood:?}: {ready}");
    let before = store.requests().len();
    let answer = gateway.a.get("/bkt/a/x").await;
    assert_eq!(answer.outcome(), (503, "ServiceUnavailable".to_owned()), "{source}, {mood:?}");
    assert_eq!(gateway.a.put("/bkt/a/x", &[], "body").await.status, 503);
    assert_eq!(store.requests().len(), before, "{source}, {mood:?}: nothing is signed with dead keys");
    let log = gateway.process.stderr.text();
    assert!(!log.contains(GARBLED) && !log.contains("s3cr3t") && !log.contains("eyJ"), "{log}");
    platform.mood(Mood::Good);
    platform.life(Duration::from_secs(3600));
    until_served(&gateway).await;
    assert_eq!(gateway.a.get("/bkt/a/x").await.status, 200);
    assert_signed_with(&store, platform.given());
}

#[tokio::test]
async fn without_keys_at_the_start_it_is_not_ready_and_waits_for_them() {
    let (platform, store) = (Platform::imds().await, Recorder::start(Answer::ok()).await);
    platform.mood(Mood::Silent);
    let gateway = setup(&store, &imds(&platform)).start().await;
    eventually("the platform is asked", || !platform.recorder.is_silent()).await;
    let ready = gateway.ask_admin("/readyz").await;
    assert_eq!(ready.status, 503);
    assert!(ready.text().contains("credentials of upstream `store` could not be loaded"), "{}", ready.text());
    assert_eq!(gateway.a.get("/bkt/a/x").await.outcome(), (503, "ServiceUnavailable".to_owned()));
    platform.mood(Mood::Good);
    until_ready(&gateway).await;
    assert_eq!(gateway.a.get("/bkt/a/x").await.status, 200);
    assert_eq!(store.requests().len(), 1);
}

#[tokio::test]
async fn l12_a_store_that_says_they_have_expired_is_listened_to_once() {
    let (platform, store) = (Platform::imds().await, Recorder::start(Answer::error(400, "ExpiredToken")).await);
    let gateway = setup(&store, &imds(&platform)).start().await;
    until_ready(&gateway).await;
    assert_eq!(platform.given(), 1);
    assert_eq!(gateway.a.get("/bkt/a/x").await.outcome(), (502, "BadGateway".to_owned()));
    eventually("they are loaded again", || platform.given() == 2).await;
    for _ in 0..20 {
        assert_eq!(gateway.a.get("/bkt/a/x").await.status, 502);
    }
    assert_eq!(platform.given(), 2, "not for each request");
    store.answer(Answer::ok());
    assert_eq!(gateway.a.get("/bkt/a/x").await.status, 200);
    assert_signed_with(&store, 2);
}

/// The real program, since the environment is one of a whole process.
async fn served(store: &Recorder, credentials: &str, env: &[(&str, &str)]) -> Served {
    let served = Served::start(&setup(store, credentials), "", env).await;
    until_served(&served).await;
    served
}

async fn until_served(served: &Served) {
    for _ in 0..1500 {
        if served.ask_admin("/readyz").await.status == 200 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("not ready: {}\n{}", served.ask_admin("/readyz").await.text(), served.process.stderr.text());
}

#[tokio::test]
async fn a_container_is_given_keys_for_the_token_that_stands_in_its_file_then() {
    let store = Recorder::start(Answer::ok()).await;
    let token = TokenFile::new("first-token");
    let platform = Platform::container(&token.path).await;
    platform.life(Duration::from_secs(3));
    let url = format!("{}/v1/credentials", platform.endpoint());
    let env = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", url.as_str()),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token.text()),
    ];
    for source in ["pod-identity", "ecs", "default-chain"] {
        let served = served(&store, &format!("{{ platform: {{ source: {source} }} }}"), &env).await;
        assert_eq!(served.a.get("/bkt/a/x").await.status, 200, "{source}");
        let first = platform.given();
        token.write(&format!("token-after-{source}"));
        eventually("the new token is used", || platform.given() > first + 1).await;
        let asked = platform.recorder.requests().pop().unwrap();
        assert_eq!(asked.header("authorization"), format!("token-after-{source}"));
        assert_eq!(served.a.get("/bkt/a/x").await.status, 200, "{source}");
        assert!(Keys::of(&store.requests().pop().unwrap()).id >= Keys::number(first + 1).id, "{source}");
        let log = served.process.stderr.text();
        assert!(!log.contains("s3cr3t") && !log.contains("t0ken") && !log.contains("token-after"), "{log}");
    }
}

/// Set where the test runs that is alone in a network of its own.
const OWN_NETWORK: &str = "COUNTERSIGN_TEST_OWN_NETWORK";

/// Runs a test of this program once more, in a network of its own, where it can have the address of the agents of ECS.
async fn in_own_network(test: &str) {
    let own = [
        "--map-root-user",
        "--net",
        "sh",
        "-c",
        "ip link set lo up && ip address add 169.254.170.2/32 dev lo && exec \"$@\"",
        "sh",
    ];
    if !Command::new("unshare").args(own).arg("true").status().is_ok_and(|status| status.success()) {
        return missing("unshare, ip or the right to a network of one's own");
    }
    let mut again = Command::new("unshare");
    again.args(own).arg(std::env::current_exe().unwrap()).args(["--exact", test, "--nocapture"]).env(OWN_NETWORK, "1");
    let done = tokio::task::spawn_blocking(move || again.output().unwrap()).await.unwrap();
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success() && out.contains("1 passed"), "{out}{err}");
}

#[tokio::test]
async fn a_task_of_ecs_asks_the_agent_at_its_own_address_for_the_path_it_was_given() {
    if std::env::var_os(OWN_NETWORK).is_none() {
        let own = "platform_credentials::a_task_of_ecs_asks_the_agent_at_its_own_address_for_the_path_it_was_given";
        return in_own_network(own).await;
    }
    // On EC2 and Fargate nothing is shown: the path is the secret.
    let (store, no_token) = (Recorder::start(Answer::ok()).await, TokenFile::new(""));
    let platform = Platform::container(&no_token.path).await;
    let (agent, stand_in) = (TcpListener::bind("169.254.170.2:80").await.unwrap(), platform.recorder.address);
    let _agent = tokio::spawn(async move {
        while let Ok((mut task, _)) = agent.accept().await {
            let mut stand_in = TcpStream::connect(stand_in).await.unwrap();
            tokio::spawn(async move { copy_bidirectional(&mut task, &mut stand_in).await });
        }
    });
    let env = [("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v1/credentials")];
    for source in ["ecs", "default-chain"] {
        let served = served(&store, &format!("{{ platform: {{ source: {source} }} }}"), &env).await;
        assert_eq!(served.a.get("/bkt/a/x").await.status, 200, "{source}");
        assert_signed_with(&store, platform.given());
    }
    assert_eq!(platform.recorder.requests()[0].header("host"), "169.254.170.2");
}

#[tokio::test]
async fn proxies_and_endpoints_of_the_environment_get_neither_keys_nor_tokens() {
    let (platform, store) = (Platform::imds().await, Recorder::start(Answer::ok()).await);
    let trap = Recorder::start(Answer::ok()).await;
    let trap_url = trap.endpoint();
    let names =
        ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "AWS_ENDPOINT_URL"];
    let mut env: Vec<(&str, &str)> = names.iter().map(|name| (*name, trap_url.as_str())).collect();
    let metadata = platform.endpoint();
    env.push(("AWS_EC2_METADATA_SERVICE_ENDPOINT", &metadata));
    let by_env = served(&store, "{ platform: { source: imds } }", &env).await;
    assert_eq!(by_env.a.get("/bkt/a/x").await.status, 200);
    assert_signed_with(&store, 1);
    let (sts, token) = (Platform::sts("AssumeRoleWithWebIdentity").await, TokenFile::new("eyJ.a.jwt\n"));
    let credentials = format!(
        "{{ platform: {{ source: web-identity, role_arn: \"{ROLE}\", token_file: \"{}\", sts_endpoint: \"{}\" }} }}",
        token.text(),
        sts.endpoint()
    );
    let identified = served(&store, &credentials, &env).await;
    assert_eq!(identified.a.get("/bkt/a/x").await.status, 200);
    assert_signed_with(&store, 1);
    assert!(trap.is_silent(), "{:?}", trap.requests());
}

#[tokio::test]
async fn a_pod_changes_its_token_for_keys_of_a_role() {
    let store = Recorder::start(Answer::ok()).await;
    let (sts, token) = (Platform::sts("AssumeRoleWithWebIdentity").await, TokenFile::new("eyJ.first.jwt\n"));
    sts.life(Duration::from_secs(3));
    let endpoint = sts.endpoint();
    // As the webhook of EKS sets them.
    let env = [
        ("AWS_ROLE_ARN", ROLE),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.text()),
        ("AWS_ROLE_SESSION_NAME", "pod-7"),
        ("AWS_REGION", "eu-central-1"),
        ("AWS_ENDPOINT_URL_STS", endpoint.as_str()),
    ];
    for source in ["web-identity", "default-chain"] {
        token.write("eyJ.first.jwt\n");
        let served = served(&store, &format!("{{ platform: {{ source: {source} }} }}"), &env).await;
        let form = String::from_utf8(sts.recorder.requests().pop().unwrap().body).unwrap();
        let role = countersign::base::encoding::encode_query(ROLE);
        for part in [
            "Action=AssumeRoleWithWebIdentity",
            "Version=2011-06-15",
            &format!("RoleArn={role}"),
            "RoleSessionName=pod-7",
            "WebIdentityToken=eyJ.first.jwt",
        ] {
            assert!(form.split('&').any(|found| found == part), "{source}: {part} in {form}");
        }
        assert_eq!(sts.recorder.requests().pop().unwrap().header("authorization"), "", "nothing to sign with");
        assert_eq!(served.a.get("/bkt/a/x").await.status, 200);
        token.write("eyJ.second.jwt");
        let asked = || String::from_utf8(sts.recorder.requests().pop().unwrap().body).unwrap();
        eventually("the rotated token is used", || asked().contains("WebIdentityToken=eyJ.second.jwt")).await;
        sts.mood(Mood::Refusing);
        eventually("the refusal is told", || served.process.stderr.text().contains("InvalidIdentityToken")).await;
        let log = served.process.stderr.text();
        assert!(!log.contains("eyJ") && !log.contains("s3cr3t"), "{log}");
        sts.mood(Mood::Good);
    }
}

#[tokio::test]
async fn a_role_of_another_account_is_assumed_as_was_agreed() {
    let store = Recorder::start(Answer::ok()).await;
    let sts = Platform::sts("AssumeRole").await;
    let credentials = |base: &str| {
        format!(
            "{{ {base}, assume_role: {{ role_arn: \"{ROLE}\", external_id: \"agreed/7\", session_name: gw-1, duration: 30m, tags: {{ team: red }}, session_policy: '{{ \"Statement\": {{ \"Action\": \"s3:GetObject\", \"Effect\": \"Allow\", \"Resource\": \"*\" }} }}', sts_endpoint: \"{}\", region: eu-central-1 }} }}",
            sts.endpoint()
        )
    };
    let gateway = setup(&store, &credentials("access_key_id: env:ACCESS, secret_access_key: env:SECRET")).start().await;
    until_ready(&gateway).await;
    let asked = sts.recorder.only();
    let form = String::from_utf8(asked.body.clone()).unwrap();
    let encode = countersign::base::encoding::encode_query;
    let policy = r#"{"Statement":{"Action":"s3:GetObject","Effect":"Allow","Resource":"*"}}"#;
    for (name, value) in [
        ("Action", "AssumeRole"),
        ("RoleArn", ROLE),
        ("RoleSessionName", "gw-1"),
        ("ExternalId", "agreed/7"),
        ("DurationSeconds", "1800"),
        ("Policy", policy),
        ("Tags.member.1.Key", "team"),
        ("Tags.member.1.Value", "red"),
    ] {
        let part = format!("{name}={}", encode(value));
        assert!(form.split('&').any(|found| found == part), "{part} in {form}");
    }
    assert!(is_signed_with(&asked, "sts", "eu-central-1", "recorder-secret-access-key"), "{}", asked.head);
    assert!(!is_signed_with(&asked, "sts", "eu-central-1", "another"));
    assert_eq!(gateway.a.get("/bkt/a/x").await.status, 200);
    assert_signed_with(&store, 1);
    // Over keys that have an end themselves: STS is asked with them and their token.
    let platform = Platform::imds().await;
    let base = format!("platform: {{ source: imds, imds_endpoint: \"{}\" }}", platform.endpoint());
    let chained = setup(&store, &credentials(&base)).start().await;
    until_ready(&chained).await;
    let asked = sts.recorder.requests().pop().unwrap();
    assert_eq!(asked.header("x-amz-security-token"), Keys::number(1).token);
    assert!(is_signed_with(&asked, "sts", "eu-central-1", &Keys::number(1).secret));
    assert_eq!(chained.a.get("/bkt/a/x").await.status, 200);
    assert_signed_with(&store, 2);
}

#[tokio::test]
async fn environment_profile_and_program_give_keys_too() {
    let store = Recorder::start(Answer::ok()).await;
    let keys = Keys::number(7);
    let folder = tempfile::tempdir().unwrap();
    let (file, printed) = (folder.path().join("credentials"), folder.path().join("printed"));
    std::fs::write(
        &file,
        format!(
            "[gw]\naws_access_key_id = {}\naws_secret_access_key = {}\naws_session_token = {}\n",
            keys.id, keys.secret, keys.token
        ),
    )
    .unwrap();
    let json =
        json!({ "Version": 1, "AccessKeyId": keys.id, "SecretAccessKey": keys.secret, "SessionToken": keys.token });
    std::fs::write(&printed, json.to_string()).unwrap();
    let program = format!("{{ platform: {{ source: process, command: [/bin/cat, {}] }} }}", printed.display());
    let of_env = [
        ("AWS_ACCESS_KEY_ID", keys.id.as_str()),
        ("AWS_SECRET_ACCESS_KEY", keys.secret.as_str()),
        ("AWS_SESSION_TOKEN", keys.token.as_str()),
    ];
    let of_files = [("AWS_SHARED_CREDENTIALS_FILE", file.to_str().unwrap()), ("AWS_CONFIG_FILE", "/nowhere")];
    let by_name = [of_files[0], of_files[1], ("AWS_PROFILE", "gw")];
    for (credentials, env) in [
        ("{ platform: { source: environment } }", &of_env[..]),
        ("{ platform: { source: default-chain } }", &of_env[..]),
        ("{ platform: { source: profile, profile: gw } }", &of_files[..]),
        ("{ platform: { source: profile } }", &by_name[..]),
        ("{ platform: { source: default-chain } }", &by_name[..]),
        (program.as_str(), &[]),
    ] {
        let served = served(&store, credentials, env).await;
        assert_eq!(served.a.get("/bkt/a/x").await.status, 200, "{credentials}");
        assert_signed_with(&store, 7);
    }
}

#[tokio::test]
async fn what_a_garbled_answer_holds_is_in_no_log() {
    let (platform, store) = (Platform::imds().await, Recorder::start(Answer::ok()).await);
    for mood in [Mood::Garbled, Mood::Failing] {
        platform.mood(mood);
        let served = Served::start(&setup(&store, &imds(&platform)), "\nlog: { level: debug }\n", &[]).await;
        let told = || served.process.stderr.text().matches("cannot load upstream credentials").count();
        eventually("the failure is told twice", || told() >= 2).await;
        let log = served.process.stderr.text();
        assert!(!log.contains(GARBLED), "{log}");
        assert!(log.contains("the platform") && log.contains("security-credentials/gateway-role: status"), "{log}");
    }
}

#[tokio::test]
async fn check_needs_nobody_and_probe_upstream_waits_for_the_keys() {
    let platform = Platform::imds().await;
    let store = Recorder::start(Answer::error(403, "AccessDenied")).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gw.yaml");
    std::fs::write(&file, setup(&store, &imds(&platform)).text()).unwrap();
    let hash = format!("sha256:{}", "1".repeat(64));
    let (hash_b, key) = (format!("sha256:{}", "2".repeat(64)), "k".repeat(40));
    let env = [
        ("HASH_A", hash.as_str()),
        ("HASH_B", hash_b.as_str()),
        ("KEY_A", key.as_str()),
        ("KEY_B", "other-key-of-a-client-0000"),
    ];
    let config = file.to_str().unwrap();
    let checked = run(&["check", config], &env).await;
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    assert!(platform.recorder.is_silent());
    platform.mood(Mood::Failing);
    let arguments = ["probe-upstream", "--config", config, "--bucket", "up-bkt"];
    let watching = async {
        eventually("the platform is asked", || !platform.recorder.is_silent()).await;
        platform.mood(Mood::Good);
    };
    let (probed, ()) = tokio::join!(run(&arguments, &env), watching);
    assert!(!store.is_silent(), "{}", String::from_utf8_lossy(&probed.stderr));
    let request = store.requests().swap_remove(0);
    assert_eq!(request.header("x-amz-security-token"), Keys::number(1).token);
}

/// A gateway before a store that gives keys for tokens of an issuer, for everything below `home/` and the name in the token.
async fn central(store: &Store, issuers: &str, name: &str) -> Gateway {
    let rules = format!(
        "\n  - {{ name: home, who: {{ issuers: [{name}] }}, where: \"bkt/home/{{sub}}/\", what: [read, write, delete] }}"
    );
    let gateway = store.setup().rules(&rules).issuers(issuers).top(ENABLED).start().await;
    until_ready(&gateway).await;
    gateway
}

/// A sidecar before that gateway, whose clients know nothing of tokens and keys.
fn sidecar(central: &Gateway, credentials: &str, home: &str) -> Setup {
    let mut setup = Setup::new(&format!("http://{}", central.address), "none", "none", "bkt");
    setup.credentials = credentials.to_owned();
    setup.bucket_settings = format!(", prefix: home/{home}/");
    setup
}

#[tokio::test]
async fn a_sidecar_signs_with_the_keys_that_the_central_gateway_gives_for_its_token() {
    let Some(provider) = Oidc::shared().await else { return };
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let central = central(&store, &provider.entry("idp", "RS256", ""), "idp").await;
        let token = TokenFile::new(&provider.access_token("uploader").await);
        let endpoint = format!("http://{}", central.address);
        let env = [
            ("AWS_ROLE_ARN", ROLE),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", token.text()),
            ("AWS_ENDPOINT_URL_STS", endpoint.as_str()),
        ];
        let setup = sidecar(&central, "{ platform: { source: web-identity, region: us-east-1 } }", "uploader");
        let sidecar = Served::start(&setup, "", &env).await;
        let body = pattern(300_000);
        let stored = loop {
            let stored = sidecar.a.put("/bkt/a/x", &[], body.clone()).await;
            if stored.status != 503 {
                break stored;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        assert_eq!(stored.status, 200, "{kind:?}: {}", stored.text());
        assert_eq!(store.read("home/uploader/a/x").await.unwrap(), body, "{kind:?}");
        assert_eq!(sidecar.a.get("/bkt/a/x").await.body, body);
        let listed = sidecar.a.get("/bkt?list-type=2&prefix=a/").await;
        assert_eq!(listed.elements("Key"), ["a/x"], "{kind:?}: {}", listed.text());
        // The central gateway knows who it is, and holds it to its own rules.
        let record = central.records().into_iter().find(|record| record.operation == Some("PutObject")).unwrap();
        assert_eq!((record.principal.as_deref(), record.scheme), (Some("idp:uploader"), Some("session")));
        let log = sidecar.process.stderr.text();
        assert!(!log.contains("eyJ") && !log.contains("cannot load"), "{log}");
    }
}

/// When the keys end that a gateway signs with now, in seconds since 1970.
async fn end_of_keys(gateway: &Gateway) -> f64 {
    let name = "countersign_upstream_credentials_expiry_timestamp_seconds{upstream=\"store\"}";
    metric(gateway, name).await.unwrap()
}

fn now() -> f64 {
    countersign::base::Clock::now(&countersign::base::SystemClock).as_millisecond() as f64 / 1000.0
}

#[tokio::test]
async fn l12_keys_that_end_in_mid_upload_end_neither_the_upload_nor_a_multipart_upload() {
    let issuer = OwnIssuer::start().await;
    let fresh = |seconds: f64| {
        let mut claims = OwnIssuer::claims();
        claims["exp"] = json!((now() + seconds) as u64);
        issuer.token(claims.to_string())
    };
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let central = central(&store, &issuer.entry(), "own").await;
        let token = TokenFile::new(&fresh(7.0));
        let credentials = format!(
            "{{ platform: {{ source: web-identity, role_arn: \"{ROLE}\", token_file: \"{}\", sts_endpoint: \"http://{}\" }} }}",
            token.text(),
            central.address
        );
        let sidecar = sidecar(&central, &credentials, "somebody").start().await;
        until_ready(&sidecar).await;
        // What the platform does: the token in the file is always good for some seconds.
        let pass = async |until: f64| {
            while now() < until {
                token.write(&fresh(7.0));
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        let body = pattern(2_000_000);
        let end = end_of_keys(&sidecar).await;
        assert!(end - now() < 10.0, "they end soon");
        let mut upload = TcpStream::connect(sidecar.address).await.unwrap();
        let head = format!(
            "PUT /bkt/a/slow HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\r\n",
            sidecar.a.token,
            body.len()
        );
        upload.write_all(head.as_bytes()).await.unwrap();
        upload.write_all(&body[..1_000_000]).await.unwrap();
        let begun = sidecar.a.send("POST", "/bkt/a/parts?uploads", &[], "").await;
        let id = countersign::base::encoding::encode_query(&begun.element("UploadId"));
        let part = |number: u32| format!("/bkt/a/parts?partNumber={number}&uploadId={id}");
        let first = pattern(5 << 20);
        let one = sidecar.a.put(&part(1), &[], first.clone()).await;
        assert_eq!(one.status, 200, "{kind:?}: {}", one.text());
        pass(end + 1.5).await;
        upload.write_all(&body[1_000_000..]).await.unwrap();
        let answer = read_answer(&mut upload).await;
        assert_eq!(status(&answer), 200, "{kind:?}: {answer}");
        assert_eq!(store.read("home/somebody/a/slow").await.unwrap(), body, "{kind:?}");
        let two = sidecar.a.put(&part(2), &[], "the end").await;
        assert_eq!(two.status, 200, "{kind:?}: {}", two.text());
        let list = format!(
            "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{}</ETag></Part><Part><PartNumber>2</PartNumber><ETag>{}</ETag></Part></CompleteMultipartUpload>",
            one.header("etag"),
            two.header("etag")
        );
        let done = sidecar.a.send("POST", &format!("/bkt/a/parts?uploadId={id}"), &[], list).await;
        assert_eq!(done.status, 200, "{kind:?}: {}", done.text());
        assert_eq!(store.read("home/somebody/a/parts").await.unwrap(), [&first[..], b"the end"].concat(), "{kind:?}");
        let used: std::collections::BTreeSet<_> = central
            .records()
            .into_iter()
            .filter(|record| record.key.is_some())
            .map(|record| record.access_key_id)
            .collect();
        assert!(used.len() >= 2, "{kind:?}: with the keys before and after");
    }
}

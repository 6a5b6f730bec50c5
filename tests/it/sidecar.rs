//! Listeners that say who the caller is: a sidecar beside one application, on a loopback address or a Unix socket, and its SDK unchanged.

use std::path::Path;

use tokio::net::UnixStream;

use super::real_clients;
use super::support::certs::write;
use super::support::gateway::{KEY_A, KEY_SECRETS};
use super::support::key_client::{Form, KeyClient, Transfer};
use super::support::{Answer, Client, Gateway, Recorder, Response, Setup, SignedClient, Store, StoreKind, pattern};

/// What an application is given instead of a key.
const PLACEHOLDER: (&str, &str) = ("countersign", "any-secret-will-do");

/// The application may do everything below `bkt/app/`, and nothing elsewhere.
const RULES: &str = "
  - { name: app, who: { listeners: [app] }, where: \"bkt/{area}/\", what: [read, write, delete] }
  - { name: tenant-a, who: { tokens: [a], keys: [a] }, where: bkt/, what: [read, write, delete] }";

/// A listener for credentials, and one for the application.
fn beside(setup: Setup) -> Setup {
    setup.rules(RULES).listen("{ address: 127.0.0.1:0, identity: { name: app, attributes: { area: app } } }")
}

/// A client of the application's listener.
fn sdk(gateway: &Gateway) -> SignedClient {
    SignedClient::new(gateway.addresses[1], PLACEHOLDER.0, PLACEHOLDER.1)
}

async fn programs(name: &'static str) {
    let Some(store) = Store::get(StoreKind::SeaweedFs).await else { return };
    let gateway = beside(store.setup()).start().await;
    let endpoint = format!("http://{}", gateway.addresses[1]);
    let place = ["bkt", "app/", "elsewhere/x"];
    let Some(failures) = real_clients::failures_at(name, endpoint, PLACEHOLDER, place).await else { return };
    assert!(failures.is_empty(), "{failures:?}");
    let records = gateway.records();
    assert!(!records.is_empty());
    for record in records {
        assert_eq!(
            (record.principal.as_deref(), record.scheme),
            (Some("listener:app"), Some("listener")),
            "{record:?}"
        );
    }
    assert_eq!(store.keys("elsewhere/").await, Vec::<String>::new());
}

#[tokio::test]
async fn boto3_needs_no_key_beside_a_sidecar() {
    programs("boto3").await;
}

#[tokio::test]
async fn aws_cli_needs_no_key_beside_a_sidecar() {
    programs("aws-cli").await;
}

#[tokio::test]
async fn a15_a_listener_whose_name_is_gone_wants_credentials_until_the_restart() {
    let recorder = Recorder::start(Answer::ok()).await;
    let world = beside(Setup::before(&recorder)).start_reloadable().await;
    let application = sdk(&world.gateway);
    let tenant = Client { address: application.address, token: world.gateway.a.token.clone() };
    assert_eq!(application.ask("GET", "/bkt/app/x", &[], b"").await.status, 200);
    assert_eq!(tenant.send("GET", "/bkt/app/x", &[], "").await.status, 400, "a credential beside that of the listener");

    let before = std::fs::read_to_string(&world.file).unwrap();
    let moved = before.replace("127.0.0.1:0, identity: { name: app", "127.0.0.1:1, identity: { name: batch");
    write(&world.file, &moved.replace("listeners: [app]", "listeners: [batch]"));
    assert_eq!(world.reload().await.unwrap().needs_restart, ["listen.address"]);
    assert_eq!(application.ask("GET", "/bkt/app/x", &[], b"").await.status, 403);
    assert_eq!(tenant.send("GET", "/bkt/app/x", &[], "").await.status, 200, "it is a listener like others");

    write(&world.file, &before);
    assert_eq!(world.reload().await.unwrap().needs_restart, Vec::<String>::new());
    assert_eq!(application.ask("GET", "/bkt/app/x", &[], b"").await.status, 200);
}

#[tokio::test]
async fn a05_a_credential_beside_that_of_the_listener_is_refused() {
    let recorder = Recorder::start(Answer::ok()).await;
    let gateway = beside(Setup::before(&recorder)).start().await;
    let address = gateway.addresses[1];
    let plain = Client { address, token: String::new() };
    let token = format!("Bearer {}", gateway.a.token);
    let jwt = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.eA";
    let key = |id: &str| SignedClient { address, ..SignedClient::new(address, id, KEY_SECRETS[0].1) };
    let mut session = sdk(&gateway);
    session.session_token = Some(jwt.to_owned());
    let answers = [
        ("a token", plain.send_plain("GET", "/bkt/app/x", &[("authorization", &token)], "").await),
        ("a wrong token", plain.send_plain("GET", "/bkt/app/x", &[("authorization", "Bearer x")], "").await),
        ("a key", key(KEY_A).ask("GET", "/bkt/app/x", &[], b"").await),
        ("a key of a store", key("AKIAIOSFODNN7EXAMPLE").ask("GET", "/bkt/app/x", &[], b"").await),
        ("a URL of a key", session_less(&key(KEY_A)).await),
        ("a session", session.ask("GET", "/bkt/app/x", &[], b"").await),
        ("a URL of a session", session_less(&session).await),
        (
            "a token of a session alone",
            plain.send_plain("GET", "/bkt/app/x", &[("x-amz-security-token", jwt)], "").await,
        ),
        ("two placeholders", {
            let url = sdk(&gateway).presign("GET", "/bkt/app/x", &[], 60);
            let header = sdk(&gateway).sign("GET", "/bkt/app/x", &[], b"").headers;
            let header = header.into_iter().find(|(name, _)| name == "authorization").unwrap().1;
            sdk(&gateway).send(&url.with("authorization", &header), "").await
        }),
    ];
    for (what, answer) in &answers {
        assert_eq!(answer.outcome(), (400, "InvalidArgument".to_owned()), "{what}: {}", answer.text());
    }
    for kind in ["Basic eDp5", "AWS AKID:sig", "AWS4-ECDSA-P256-SHA256 Credential=x"] {
        let answer = plain.send_plain("GET", "/bkt/app/x", &[("authorization", kind)], "").await;
        assert_eq!(answer.outcome(), (501, "NotImplemented".to_owned()), "{kind}");
    }
    assert!(recorder.is_silent());
    // The rejected neighbours: the same with the placeholder, and with nothing at all.
    assert_eq!(sdk(&gateway).ask("GET", "/bkt/app/x", &[], b"").await.status, 200);
    assert_eq!(plain.send_plain("GET", "/bkt/app/x", &[], "").await.status, 200);
    for sent in recorder.requests() {
        assert!(!sent.head.contains(PLACEHOLDER.0) && !sent.head.contains(jwt), "{}", sent.head);
    }
}

async fn session_less(client: &SignedClient) -> Response {
    client.send(&client.presign("GET", "/bkt/app/x", &[], 60), "").await
}

#[tokio::test]
async fn a05_the_placeholder_is_nothing_where_credentials_are_wanted() {
    let recorder = Recorder::start(Answer::ok()).await;
    let gateway = beside(Setup::before(&recorder)).start().await;
    let stranger = SignedClient::new(gateway.addresses[0], PLACEHOLDER.0, PLACEHOLDER.1);
    let refused = stranger.ask("GET", "/bkt/app/x", &[], b"").await;
    assert_eq!(refused.outcome(), (403, "InvalidAccessKeyId".to_owned()));
    let anonymous = Client { address: gateway.addresses[0], token: String::new() };
    assert_eq!(anonymous.send_plain("GET", "/bkt/app/x", &[], "").await.status, 401);
    assert!(recorder.is_silent());
}

#[tokio::test]
async fn h03_what_an_sdk_signs_with_a_placeholder_is_read_as_it_is_framed() {
    let Some(store) = Store::get(StoreKind::SeaweedFs).await else { return };
    let gateway = beside(store.setup()).start().await;
    let client = KeyClient::new(gateway.addresses[1], PLACEHOLDER.0, PLACEHOLDER.1);
    let object = pattern(50_000);
    for (n, form) in Form::all().into_iter().enumerate() {
        let target = format!("/bkt/app/{n}");
        let put = client.send("PUT", &target, &[], &object, form, Transfer::Length).await;
        assert_eq!(put.status, 200, "{form:?}: {}", put.text());
        assert!(store.read(&format!("app/{n}")).await.as_deref() == Some(&object[..]), "{form:?}");
    }
    let url = sdk(&gateway).presign("PUT", "/bkt/app/url", &[], 60);
    assert_eq!(sdk(&gateway).send(&url, object.clone()).await.status, 200);
    assert!(store.read("app/url").await.as_deref() == Some(&object[..]));
}

#[tokio::test]
async fn h03_a_body_that_does_not_keep_what_its_head_says_is_not_stored() {
    let Some(store) = Store::get(StoreKind::SeaweedFs).await else { return };
    let gateway = beside(store.setup()).start().await;
    let client = KeyClient::new(gateway.addresses[1], PLACEHOLDER.0, PLACEHOLDER.1);
    let object = pattern(50_000);
    let sign = |form| client.sign("PUT", "/bkt/app/x", &[], &object, form);
    let mut hash = sign(Form::Hash);
    hash.chunks[0][5] ^= 1;
    let mut bare = sign(Form::SignedChunks);
    bare.chunks[1] = [b"2000\r\n".as_slice(), &object[..8192], b"\r\n"].concat();
    let mut odd = sign(Form::SignedChunks);
    let at = odd.chunks[1].iter().position(|byte| *byte == b'=').unwrap() + 1;
    odd.chunks[1][at] = b'g';
    let mut short = sign(Form::SignedChunks);
    short.chunks.pop();
    let crc = countersign::s3::checksum::ChecksumAlgorithm::Crc32;
    let mut trailer = sign(Form::SignedTrailer(crc));
    trailer.chunks[2][4000] ^= 1;
    for (what, signed, code) in [
        ("another hash", hash, "XAmzContentSHA256Mismatch"),
        ("a chunk without signature", bare, "SignatureDoesNotMatch"),
        ("a signature that is none", odd, "SignatureDoesNotMatch"),
        ("a chunk is missing", short, "IncompleteBody"),
        ("another checksum", trailer, "BadDigest"),
    ] {
        let refused = client.send_signed(&signed, Transfer::Length).await;
        assert_eq!(refused.code(), code, "{what}: {}", refused.text());
        assert_eq!(store.read("app/x").await, None, "{what}");
    }
    // Without a credential the words for signed chunks mean nothing.
    let mut unsigned = sign(Form::SignedChunks);
    unsigned.headers.retain(|(name, _)| name != "authorization");
    assert_eq!(client.send_signed(&unsigned, Transfer::Length).await.code(), "NotImplemented");
    assert_eq!(store.read("app/x").await, None);
}

#[tokio::test]
async fn a_presigned_url_of_a_placeholder_ends_when_the_application_said() {
    let recorder = Recorder::start(Answer::ok()).await;
    let gateway = beside(Setup::before(&recorder)).start().await;
    let mut early = sdk(&gateway);
    early.age = 100;
    let over = early.send(&early.presign("GET", "/bkt/app/x", &[], 60), "").await;
    assert_eq!(over.code(), "AccessDenied", "{}", over.text());
    assert!(recorder.is_silent());
    let good = early.send(&early.presign("GET", "/bkt/app/x", &[], 600), "").await;
    assert_eq!(good.status, 200, "{}", good.text());
    assert_eq!(recorder.only().request_line(), "GET /up-bkt/app/x");
}

#[tokio::test]
async fn a15_a_page_in_a_browser_of_the_same_machine_is_not_the_application() {
    let recorder = Recorder::start(Answer::ok()).await;
    let mut setup = beside(Setup::before(&recorder));
    setup.bucket_settings =
        ", cors: [{ origins: [\"https://app.example.com\"], methods: [GET, PUT, POST] }]".to_owned();
    let gateway = setup.start().await;
    let page = Client { address: gateway.addresses[1], token: String::new() };
    let port = gateway.addresses[1].port();
    let rebound = format!("rebound.attacker.example:{port}");
    for headers in [
        [("origin", "https://app.example.com"), ("x-x", "x")],
        [("origin", "null"), ("sec-fetch-site", "none")],
        [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")],
        [("sec-fetch-site", "same-origin"), ("x-x", "x")],
        [("host", rebound.as_str()), ("x-x", "x")],
    ] {
        for method in ["GET", "PUT", "DELETE"] {
            let answer = page.send_plain(method, "/bkt/app/x", &headers, "").await;
            assert_eq!(answer.outcome(), (403, "AccessDenied".to_owned()), "{method} {headers:?}");
        }
    }
    let form = "--b\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\napp/x\r\n--b\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nx\r\n--b--\r\n";
    let posted = page.send_plain("POST", "/bkt", &[("content-type", "multipart/form-data; boundary=b")], form).await;
    assert_eq!(posted.outcome(), (400, "InvalidArgument".to_owned()), "a form is signed by somebody");
    assert!(recorder.is_silent());
    let host = format!("localhost:{port}");
    assert_eq!(page.send_plain("GET", "/bkt/app/x", &[("host", &host)], "").await.status, 200);
}

#[tokio::test]
async fn a13_keys_of_a_session_are_not_begun_at_a_listener_that_knows_its_caller() {
    let recorder = Recorder::start(Answer::ok()).await;
    let issuer = "\n    - { name: idp, issuer: https://idp.example.com/, audience: s3, algorithms: [RS256], keys: { url: \"http://127.0.0.1:1/\" } }";
    let gateway = beside(Setup::before(&recorder)).issuers(issuer).top("sts: { enabled: true }").start().await;
    let client = Client { address: gateway.addresses[1], token: String::new() };
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let role = "RoleArn=arn%3Aaws%3Aiam%3A%3A000000000000%3Arole%2Fx";
    let begin = format!(
        "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&{role}&RoleSessionName=x&WebIdentityToken=eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.eA"
    );
    let refused = client.send_plain("POST", "/", &form, begin).await;
    assert_eq!((refused.status.as_u16(), refused.element("SessionToken")), (400, String::new()), "{}", refused.text());
    let who = client.send_plain("POST", "/", &form, "Action=GetCallerIdentity&Version=2011-06-15").await;
    assert_eq!((who.status.as_u16(), who.element("UserId").as_str()), (200, "listener:app"), "{}", who.text());
}

/// A gateway whose application has a Unix socket.
async fn on_a_socket(setup: Setup, path: &Path) -> Gateway {
    let listener = format!(
        "{{ address: \"unix:{}\", mode: \"0666\", identity: {{ name: app, attributes: {{ area: app }} }} }}",
        path.display()
    );
    setup.rules(RULES).listen(&listener).start().await
}

#[tokio::test]
async fn an_application_uses_a_unix_socket_as_it_would_use_an_address() {
    let Some(store) = Store::get(StoreKind::SeaweedFs).await else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s3.sock");
    let gateway = on_a_socket(store.setup(), &path).await;
    let client = KeyClient::new(gateway.address, PLACEHOLDER.0, PLACEHOLDER.1);
    let ask = async |method: &str, target: &str, object: &[u8], form: Form| {
        let stream = UnixStream::connect(&path).await.unwrap();
        client.send_over(stream, false, &client.sign(method, target, &[], object, form), Transfer::Length).await
    };
    let object = pattern(3 << 20);
    assert_eq!(ask("PUT", "/bkt/app/x", &object, Form::SignedChunks).await.status, 200);
    assert!(ask("GET", "/bkt/app/x", b"", Form::Hash).await.body == object);
    assert_eq!(ask("PUT", "/bkt/other/x", b"x", Form::Hash).await.outcome(), (403, "AccessDenied".to_owned()));
    let record = gateway.record(3).await;
    assert_eq!((record.client.as_str(), record.principal.as_deref()), ("unix", Some("listener:app")));
    gateway.stop().await;
    assert!(!path.exists(), "the socket goes with the gateway");
}

#[tokio::test]
async fn a_unix_socket_without_identity_wants_a_credential() {
    let recorder = Recorder::start(Answer::ok()).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s3.sock");
    let listener = format!("{{ address: \"unix:{}\" }}", path.display());
    let gateway = Setup::before(&recorder).listen(&listener).start().await;
    let ask = async |id: &str, secret: &str| {
        let client = KeyClient::new(gateway.address, id, secret);
        let signed = client.sign("GET", "/bkt/a/x", &[], b"", Form::Unsigned);
        client.send_over(UnixStream::connect(&path).await.unwrap(), false, &signed, Transfer::Length).await.status
    };
    assert_eq!(ask(PLACEHOLDER.0, PLACEHOLDER.1).await, 403);
    assert!(recorder.is_silent());
    assert_eq!(ask(KEY_A, KEY_SECRETS[0].1).await, 200);
}

/// The rules and inspectors of `config/examples/egress.yaml`, with its buckets at a store of the tests.
fn sandbox(store: &Store) -> Setup {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples/egress.yaml");
    let example = std::fs::read_to_string(example).unwrap();
    let section = |name: &str| {
        let (_, rest) = example.split_once(&format!("\n{name}:\n")).unwrap();
        let end = rest.find("\n\n").filter(|_| name != "rules").or_else(|| rest.find("\nlimits:")).unwrap();
        rest[..end].to_owned()
    };
    let mut setup = store.setup().rules(&format!("\n{}", section("rules")));
    // No bucket may lie inside another.
    setup.bucket_settings = ", prefix: elsewhere/".to_owned();
    for name in ["datasets", "results"] {
        setup.buckets.push(format!("{name}: {{ upstream: store, bucket: {}, prefix: {name}/ }}", store.bucket));
    }
    setup
        .top(&format!("inspectors:\n{}", section("inspectors")))
        .listen("{ address: 127.0.0.1:0, identity: { name: sandbox, placeholder: sandbox-has-no-key } }")
}

#[tokio::test]
async fn d12_a_sandbox_reaches_its_buckets_prefixes_and_operations_and_nothing_else() {
    let Some(store) = Store::get(StoreKind::SeaweedFs).await else { return };
    for key in ["datasets/public/x", "datasets/private/x", "results/sandbox/old", "elsewhere/x"] {
        store.put(key, b"hello").await;
    }
    let gateway = sandbox(&store).start().await;
    let agent = SignedClient::new(gateway.addresses[1], "sandbox-has-no-key", "x");
    assert_eq!(agent.ask("GET", "/datasets/public/x", &[], b"").await.body, b"hello");
    assert_eq!(agent.ask("PUT", "/results/sandbox/new", &[], b"a result").await.status, 200);
    for (method, target) in [
        ("GET", "/datasets/private/x"),
        ("GET", "/datasets/public/../private/x"),
        ("GET", "/datasets/public/%2e%2e/private/x"),
        ("GET", "/results/sandbox/old"),
        ("PUT", "/datasets/public/x"),
        ("PUT", "/results/x"),
        ("DELETE", "/results/sandbox/old"),
        ("DELETE", "/datasets/public/x"),
        ("GET", "/datasets?list-type=2&prefix=public/"),
        ("GET", "/results?list-type=2"),
        ("GET", "/elsewhere/x"),
        ("GET", "/bkt/x"),
        ("PUT", "/a-new-bucket"),
        ("GET", "/datasets?policy"),
        ("PUT", "/results/sandbox/old?acl"),
    ] {
        let answer = agent.ask(method, target, &[], b"").await;
        let refused = matches!(answer.status.as_u16(), 400 | 403 | 501);
        assert!(refused, "{method} {target}: {} {}", answer.status, answer.text());
    }
    let copy = [("x-amz-copy-source", "/datasets/private/x")];
    assert_eq!(agent.ask("PUT", "/results/sandbox/copy", &copy, b"").await.status, 403);
    // In two pieces, so that no scanner of repositories takes this file for one that has a key.
    let key = ["-----BEGIN OPENSSH ", "PRIVATE KEY-----\nb3BlbnNzaC1rZXk\n-----END OPENSSH PRIVATE KEY-----"].concat();
    let leak = agent.ask("PUT", "/results/sandbox/leak", &[], key.as_bytes()).await;
    assert_eq!(leak.outcome(), (403, "ContentRejected".to_owned()), "{}", leak.text());
    assert_eq!(store.keys("results/").await, ["results/sandbox/new", "results/sandbox/old"]);
    assert_eq!(store.read("results/sandbox/old").await.as_deref(), Some(&b"hello"[..]));
}

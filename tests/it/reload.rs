//! Reloads: what takes effect, what goes on as it was, and what happens to a configuration that cannot be used.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use countersign::app::reload::{Moment, ReloadError};
use countersign::auth::app_token;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::support::certs::{Authority, Identity, write};
use super::support::parts::{complete, create, upload};
use super::support::process::Served;
use super::support::{Answer, Recorder, Reloadable, Setup, Store, StoreKind, eventually};

/// Nobody may write any more.
const NO_WRITES: (&str, &str) = ("where: bkt/a/, what: [read, write, delete]", "where: bkt/a/, what: [read]");

async fn before(recorder: &Recorder) -> Reloadable {
    Setup::before(recorder).start_reloadable().await
}

async fn status(world: &Reloadable, method: &str) -> u16 {
    world.gateway.a.send(method, "/bkt/a/x", &[], "").await.status.as_u16()
}

#[tokio::test]
async fn a_rule_takes_effect_with_the_reload_and_not_before() {
    let recorder = Recorder::start(Answer::ok()).await;
    let world = before(&recorder).await;
    write(&world.file, &world.edited(NO_WRITES.0, NO_WRITES.1));
    assert_eq!(status(&world, "PUT").await, 200);
    let report = world.reload().await.unwrap();
    assert_eq!((report.generation, report.changed, report.needs_restart), (2, vec!["rules".to_owned()], vec![]));
    assert_eq!((status(&world, "PUT").await, status(&world, "GET").await), (403, 200));
    assert_eq!(world.metric("countersign_config_generation").await, 2.0);
    assert_eq!(world.metric("countersign_config_reloads_total{result=\"loaded\"}").await, 1.0);
}

#[tokio::test]
async fn without_a_change_nothing_is_loaded() {
    let recorder = Recorder::start(Answer::ok()).await;
    let world = before(&recorder).await;
    let report = world.reload().await.unwrap();
    assert_eq!((report.generation, report.changed), (1, vec![]));
    let digest = world.reloader.status().digest;
    write(&world.file, &format!("# a comment\n{}", world.text()));
    assert_eq!(world.reload().await.unwrap().generation, 1);
    assert_ne!(world.reloader.status().digest, digest, "it is that of the file");
    assert_eq!(world.metric("countersign_config_reloads_total{result=\"unchanged\"}").await, 2.0);
}

#[tokio::test]
async fn tokens_and_access_keys_come_and_go() {
    let recorder = Recorder::start(Answer::ok()).await;
    let world = before(&recorder).await;
    let (token, hash) = app_token::generate();
    let newcomer = world.gateway.client(token.expose());
    assert_eq!(newcomer.get("/bkt/a/x").await.status, 401);
    world.variables.set("HASH_C", &hash);
    let added = "  tokens:\n    - { name: c, hash: env:HASH_C }";
    write(&world.file, &world.edited("  tokens:", added));
    let report = world.change("tokens: [a], keys: [a]", "tokens: [a, c], keys: [a]").await.unwrap();
    assert_eq!(report.changed, ["clients.tokens", "rules", "variable HASH_C"]);
    assert_eq!(newcomer.get("/bkt/a/x").await.status, 200);

    // Another secret under the same name: the old one is nothing any more.
    world.variables.set("HASH_C", &app_token::generate().1);
    assert_eq!(world.reload().await.unwrap().changed, ["variable HASH_C"]);
    assert_eq!(newcomer.get("/bkt/a/x").await.status, 401);

    assert_eq!(world.gateway.key_a.ask("GET", "/bkt/a/x", &[], b"").await.status, 200);
    world.variables.set("KEY_A", "another-secret-of-access-key-a");
    world.reload().await.unwrap();
    assert_eq!(
        world.gateway.key_a.ask("GET", "/bkt/a/x", &[], b"").await.outcome(),
        (403, "SignatureDoesNotMatch".into())
    );
    assert_eq!(world.gateway.key_b.ask("GET", "/bkt/b/x", &[], b"").await.status, 200);
}

#[tokio::test]
async fn an_inspector_that_is_added_looks_from_then_on() {
    let recorder = Recorder::start(Answer::ok()).await;
    let world = before(&recorder).await;
    let put = || world.gateway.a.put("/bkt/a/x", &[], "this is Nightjar");
    assert_eq!(put().await.status, 200);
    let words = world.put_file("words", "Nightjar\n");
    let inspectors =
        format!("inspectors:\n  words: {{ patterns: {{ files: {{ list: {} }} }} }}\nrules:", words.display());
    write(&world.file, &world.edited("rules:", &inspectors));
    world
        .change(
            "where: bkt/a/, what: [read, write, delete]",
            "where: bkt/a/, what: [read, write], inspect: { with: words }",
        )
        .await
        .unwrap();
    assert_eq!(put().await.status, 403);
    // A list that it refers to is a part of it.
    world.put_file("words", "Skylark\n");
    assert_eq!(world.reload().await.unwrap().changed, [format!("file {}", words.display())]);
    assert_eq!(put().await.status, 200);
}

#[tokio::test]
async fn l12_rotated_credentials_of_a_store_are_in_use_at_once() {
    let recorder = Recorder::start(Answer::ok()).await;
    let keys = tempfile::tempdir().unwrap();
    let (id, secret) = (keys.path().join("id"), keys.path().join("secret"));
    write(&id, "THE-FIRST-ID");
    write(&secret, "the-first-secret");
    let mut setup = Setup::before(&recorder);
    setup.credentials =
        format!("{{ access_key_id: file:{}, secret_access_key: file:{} }}", id.display(), secret.display());
    let world = setup.start_reloadable().await;
    assert_eq!(status(&world, "GET").await, 200);
    write(&id, "THE-SECOND-ID");
    world.reload().await.unwrap();
    assert_eq!(status(&world, "GET").await, 200);
    let sent = recorder.requests();
    let signed_by = |number: usize| sent[number].header("authorization");
    assert!(signed_by(0).contains("Credential=THE-FIRST-ID/"), "{}", signed_by(0));
    assert!(signed_by(1).contains("Credential=THE-SECOND-ID/"), "{}", signed_by(1));
    assert_eq!(recorder.accepted(), 1, "and on the same connection");
}

#[tokio::test]
async fn nothing_is_counted_of_the_credentials_of_a_store_that_is_no_more() {
    let recorder = Recorder::start(Answer::ok()).await;
    let world = before(&recorder).await;
    let [id, secret] = [("id", "ID"), ("secret", "S")].map(|(name, text)| world.put_file(name, text));
    let credentials =
        format!("{{ access_key_id: file:{}, secret_access_key: file:{} }}", id.display(), secret.display());
    let other = format!(
        "upstreams:\n  other: {{ endpoint: {}, region: us-east-1, credentials: {credentials} }}\n",
        recorder.endpoint()
    );
    let shown = async || {
        let text = world.gateway.ask_admin("/metrics").await.text();
        let of_other = text.lines().filter(|line| line.contains("upstream=\"other\""));
        of_other.filter(|line| line.starts_with("countersign_upstream_credentials")).count()
    };
    world.change("upstreams:\n", &other).await.unwrap();
    // The task that renews them announces its counters when it runs for the first time.
    for _ in 0..1000 {
        if shown().await == 3 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(shown().await, 3, "their age, and what came of loading them again");
    world.change(&other, "upstreams:\n").await.unwrap();
    assert_eq!(shown().await, 0);
    assert!(world.metric("countersign_upstream_credentials_age_seconds{upstream=\"store\"}").await >= 0.0);
}

/// Whether a TLS client that trusts an authority gets through.
async fn trusts(world: &Reloadable, authority: &Authority) -> bool {
    let stream = TcpStream::connect(world.gateway.address).await.unwrap();
    let connector = TlsConnector::from(Arc::new(authority.client(&["http/1.1"])));
    connector.connect("127.0.0.1".try_into().unwrap(), stream).await.is_ok()
}

#[tokio::test]
async fn certificates_are_exchanged_also_for_other_files_and_half_a_pair_changes_nothing() {
    let recorder = Recorder::start(Answer::ok()).await;
    let (first, second, third) = (Authority::new(), Authority::new(), Authority::new());
    let identity = first.vouch_for(&["127.0.0.1"]);
    let world = Setup::before(&recorder).tls(&identity).start_reloadable().await;
    assert!(trusts(&world, &first).await);

    let renewed = second.vouch_for(&["127.0.0.1"]);
    std::fs::copy(&renewed.certificate, &identity.certificate).unwrap();
    let failed = world.reload().await.unwrap_err().to_string();
    assert!(failed.contains("do not belong together") || failed.contains("key"), "{failed}");
    assert!(trusts(&world, &first).await && !trusts(&world, &second).await, "the key is missing yet");
    std::fs::copy(&renewed.key, &identity.key).unwrap();
    world.reload().await.unwrap();
    assert!(trusts(&world, &second).await && !trusts(&world, &first).await);

    let elsewhere = third.vouch_for(&["127.0.0.1"]);
    let named = |identity: &Identity| {
        format!("certificate: {}, key: {}", identity.certificate.display(), identity.key.display())
    };
    let report = world.change(&named(&identity), &named(&elsewhere)).await.unwrap();
    assert_eq!(report.needs_restart, Vec::<String>::new());
    assert!(trusts(&world, &third).await && !trusts(&world, &second).await);
}

#[tokio::test]
async fn the_metrics_tell_when_the_certificate_ends_that_clients_are_shown() {
    let recorder = Recorder::start(Answer::ok()).await;
    let authority = Authority::new();
    let identity = authority.vouch_for_time(&["127.0.0.1"], (2020, 2040));
    let world = Setup::before(&recorder).tls(&identity).start_reloadable().await;
    let ends =
        async || world.metric("countersign_tls_certificate_expiry_timestamp_seconds{listener=\"127.0.0.1:0\"}").await;
    assert_eq!(ends().await, 2_208_988_800.0);
    let renewed = authority.vouch_for_time(&["127.0.0.1"], (2021, 2041));
    std::fs::copy(&renewed.certificate, &identity.certificate).unwrap();
    world.reload().await.unwrap_err();
    assert_eq!(ends().await, 2_208_988_800.0, "the key is missing yet");
    std::fs::copy(&renewed.key, &identity.key).unwrap();
    world.reload().await.unwrap();
    assert_eq!(ends().await, 2_240_611_200.0);
}

#[tokio::test]
async fn k23_certificates_are_renewed_also_where_another_change_waits_for_a_restart() {
    let recorder = Recorder::start(Answer::ok()).await;
    let (first, second) = (Authority::new(), Authority::new());
    let identity = first.vouch_for(&["127.0.0.1"]);
    let world = Setup::before(&recorder).tls(&identity).start_reloadable().await;
    let report = world.change("127.0.0.1:0", "127.0.0.2:0").await.unwrap();
    assert!(report.needs_restart.iter().any(|key| key.contains("listen")), "{:?}", report.needs_restart);
    let renewed = second.vouch_for(&["127.0.0.1"]);
    std::fs::copy(&renewed.certificate, &identity.certificate).unwrap();
    std::fs::copy(&renewed.key, &identity.key).unwrap();
    world.reload().await.unwrap();
    assert!(trusts(&world, &second).await && !trusts(&world, &first).await);
}

#[tokio::test]
async fn a_store_is_believed_by_the_authority_that_the_file_holds_now() {
    let recorder = Recorder::start(Answer::ok()).await;
    let (first, second) = (Authority::new(), Authority::new());
    let served = second.vouch_for(&["127.0.0.1"]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (acceptor, store) = (TlsAcceptor::from(Arc::new(served.server())), recorder.address);
    let front = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut client) = acceptor.accept(stream).await else { return };
                let mut store = TcpStream::connect(store).await.unwrap();
                drop(tokio::io::copy_bidirectional(&mut client, &mut store).await);
            });
        }
    });
    let mut setup = Setup::before(&recorder).store_authority(&first);
    setup.endpoint = format!("https://127.0.0.1:{port}");
    let world = setup.start_reloadable().await;
    assert_eq!(status(&world, "GET").await, 502);
    std::fs::copy(second.file(), first.file()).unwrap();
    world.reload().await.unwrap();
    assert_eq!(status(&world, "GET").await, 200);
    front.abort();
}

#[tokio::test]
async fn a_configuration_with_problems_changes_nothing_and_everybody_is_told() {
    let recorder = Recorder::start(Answer::ok()).await;
    let world = before(&recorder).await;
    let good = world.text();
    for (from, to, said) in [
        ("region: us-east-1", "regoin: us-east-1", "unknown key `regoin`"),
        ("where: bkt/b/", "where: nowhere/b/", "there is no bucket `nowhere`"),
        ("hash: env:HASH_A", "hash: env:ABSENT", "ABSENT is not set"),
        ("listen:", "listen: [", "not valid YAML"),
    ] {
        let text = good.replacen(from, to, 1).replacen(NO_WRITES.0, NO_WRITES.1, 1);
        write(&world.file, &text);
        let Err(ReloadError::Problems(problems)) = world.reload().await else { panic!("{said}") };
        assert!(problems.contains(said), "{problems}");
        assert_eq!(status(&world, "PUT").await, 200, "{said}: the old rules hold");
        let ready = world.gateway.ask_admin("/readyz").await;
        let text = ready.text();
        assert!(ready.status == 200 && text.starts_with("ready\nnote: the reload at "), "{text}");
        assert!(text.contains("failed, the old configuration serves: "), "{text}");
        let (at, why) = world.reloader.status().last_error.unwrap();
        assert!(at.ends_with('Z') && why.contains(said), "{at} {why}");
        assert_eq!(world.metric("countersign_config_last_reload_successful").await, 0.0);
        assert_eq!(world.metric("countersign_config_generation").await, 1.0);
    }
    write(&world.file, &good);
    assert_eq!(world.reload().await.unwrap().generation, 1, "the file is as it was");
    assert_eq!(world.gateway.ask_admin("/readyz").await.text(), "ready\n");
    assert_eq!(world.metric("countersign_config_last_reload_successful").await, 1.0);
    assert_eq!(world.metric("countersign_config_reloads_total{result=\"failed\"}").await, 4.0);
}

#[tokio::test]
async fn keys_that_wait_for_a_restart_are_named_until_they_are_as_at_the_start() {
    let recorder = Recorder::start(Answer::ok()).await;
    let world = before(&recorder).await;
    let good = world.text();
    let address = "listen: [{ address: 127.0.0.1:0 }";
    write(
        &world.file,
        &format!("{}\nlog: {{ format: text }}\n", world.edited(address, "listen: [{ address: 127.0.0.2:0 }")),
    );
    let report = world.change(NO_WRITES.0, NO_WRITES.1).await.unwrap();
    assert_eq!(report.needs_restart, ["listen.address", "log.format"]);
    assert_eq!(status(&world, "PUT").await, 403, "all else is in use");
    let ready = world.gateway.ask_admin("/readyz").await;
    assert_eq!(
        (ready.status.as_u16(), ready.text()),
        (200, "ready\nnote: waits for a restart: listen.address, log.format\n".into())
    );
    // A later reload of something else does not make it forgotten.
    let report = world.change("what: [read]", "what: [read, write]").await.unwrap();
    assert_eq!(report.needs_restart, ["listen.address", "log.format"]);
    write(&world.file, &good);
    assert_eq!(world.reload().await.unwrap().needs_restart, Vec::<String>::new());
    assert_eq!(world.gateway.ask_admin("/readyz").await.text(), "ready\n");
}

#[tokio::test]
async fn a_listener_that_is_to_have_tls_waits_for_a_restart_and_says_so() {
    let recorder = Recorder::start(Answer::ok()).await;
    let world = before(&recorder).await;
    let authority = Authority::new();
    let identity = authority.vouch_for(&["127.0.0.1"]);
    let tls = format!(
        "address: 127.0.0.1:0, tls: {{ certificate: {}, key: {} }} }}]",
        identity.certificate.display(),
        identity.key.display()
    );
    let report = world.change("address: 127.0.0.1:0 }]", &tls).await.unwrap();
    assert_eq!(report.needs_restart, ["listen.tls"]);
    assert_eq!(status(&world, "GET").await, 200, "in clear text as before");
}

#[tokio::test]
async fn an_admin_listener_that_is_to_have_tls_waits_for_a_restart_and_says_so() {
    let recorder = Recorder::start(Answer::ok()).await;
    let world = before(&recorder).await;
    let authority = Authority::new();
    let identity = authority.vouch_for(&["127.0.0.1"]);
    let (certificate, key) = (identity.certificate.display(), identity.key.display());
    let tls = format!("admin: {{ address: 127.0.0.1:0, tls: {{ certificate: {certificate}, key: {key} }} }}");
    let report = world.change("admin: { address: 127.0.0.1:0 }", &tls).await.unwrap();
    assert_eq!(report.needs_restart, ["admin.tls"]);
    let ready = world.gateway.ask_admin("/readyz").await.text();
    assert_eq!(ready, "ready\nnote: waits for a restart: admin.tls\n", "in clear text as before");
    let report = world.change(&tls, "admin: { address: 127.0.0.1:0 }").await.unwrap();
    assert_eq!(report.needs_restart, Vec::<String>::new());
}

#[tokio::test]
async fn an_upload_in_flight_ends_under_the_rules_that_it_began_under() {
    let recorder = Recorder::start(Answer::ok()).await;
    let world = Setup::before(&recorder).upstream("payload: unsigned").start_reloadable().await;
    let mut stream = TcpStream::connect(world.gateway.address).await.unwrap();
    let head = format!(
        "PUT /bkt/a/x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Length: 1000000\r\n\r\n",
        world.gateway.a.token
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&[7; 500_000]).await.unwrap();
    eventually("the store sees a part of the upload", || {
        recorder.requests().first().is_some_and(|request| !request.body.is_empty())
    })
    .await;
    world.change(NO_WRITES.0, NO_WRITES.1).await.unwrap();
    stream.write_all(&[7; 500_000]).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    assert!(recorder.only().complete);
    // The next one on the same connection is under the new ones.
    stream.write_all(head.replace("1000000", "0").as_bytes()).await.unwrap();
    let mut rest = Vec::new();
    while !String::from_utf8_lossy(&rest).contains("HTTP/1.1 403") {
        assert!(stream.read_buf(&mut rest).await.unwrap() > 0, "{}", String::from_utf8_lossy(&rest));
    }
}

#[tokio::test]
async fn connections_to_a_store_go_on_unless_it_is_another_store() {
    let (recorder, other) = (Recorder::start(Answer::ok()).await, Recorder::start(Answer::ok()).await);
    let world = before(&recorder).await;
    for (from, to) in [NO_WRITES, ("what: [read]", "what: [read, list]"), ("region: us-east-1", "region: eu-north-1")] {
        assert_eq!(status(&world, "GET").await, 200);
        world.change(from, to).await.unwrap();
    }
    assert_eq!((status(&world, "GET").await, recorder.accepted()), (200, 1));
    assert!(recorder.requests()[3].header("authorization").contains("/eu-north-1/s3/"), "signed as it is now");
    world.change(&recorder.endpoint(), &other.endpoint()).await.unwrap();
    assert_eq!((status(&world, "GET").await, recorder.accepted(), other.accepted()), (200, 1, 1));
    eventually("what nobody needs is closed", || recorder.open() == 0).await;
}

#[tokio::test]
async fn a_store_that_rests_still_rests_behind_a_reload() {
    let recorder = Recorder::start(Answer::CloseAfter(0)).await;
    let world = Setup::before(&recorder).upstream("breaker: { failures: 2, pause: 1h }").start_reloadable().await;
    recorder.answer(Answer::status(502, "content-type: text/html\r\n", "proxy"));
    for _ in 0..2 {
        status(&world, "GET").await;
    }
    let seen = recorder.requests().len();
    world.change(NO_WRITES.0, NO_WRITES.1).await.unwrap();
    assert_eq!(status(&world, "GET").await, 503);
    assert_eq!(recorder.requests().len(), seen, "it is not asked");
    assert_eq!(world.metric("countersign_upstream_trips_total{upstream=\"store\"}").await, 1.0);
}

#[tokio::test]
async fn l08_a_reload_gives_nobody_a_rate_or_a_place_anew() {
    let recorder = Recorder::start(Answer::ok()).await;
    let rules = "
  - { name: tenant-b, who: { tokens: [b] }, where: bkt/b/, what: read, limits: { per_principal: { request_rate: 1, request_burst: 2 } } }
  - { name: tenant-a, who: { tokens: [a] }, where: bkt/a/, what: read, limits: { together: { requests_in_flight: 1 } } }";
    let world = Setup::before(&recorder).rules(rules).start_reloadable().await;
    for _ in 0..2 {
        assert_eq!(world.gateway.b.get("/bkt/b/x").await.status, 200);
    }
    recorder.answer(Answer::Silence);
    let (a, seen) = (world.gateway.a.clone(), recorder.requests().len());
    let hanging = tokio::spawn(async move { a.get("/bkt/a/x").await });
    eventually("the store has the request", || recorder.requests().len() > seen).await;
    recorder.answer(Answer::ok());
    // The rules change their places, too.
    let first = "  - { name: first, who: { tokens: [a] }, where: bkt/c/, what: read, limits: { per_principal: { request_rate: 9 } } }\n";
    world.change("  - { name: tenant-b", &format!("{first}  - {{ name: tenant-b")).await.unwrap();
    assert_eq!(world.gateway.b.get("/bkt/b/x").await.outcome(), (503, "SlowDown".into()));
    assert_eq!(world.gateway.a.get("/bkt/a/x").await.outcome(), (503, "SlowDown".into()));
    assert_eq!(world.gateway.a.get("/bkt/c/x").await.status, 200);
    hanging.abort();
    assert!(hanging.await.unwrap_err().is_cancelled());
    for _ in 0..3000 {
        if world.gateway.a.get("/bkt/a/x").await.status == 200 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the place does not come back to those who are counted now");
}

#[tokio::test]
async fn an_upload_in_parts_goes_on_under_the_next_configuration_wherever_its_store_stands_there() {
    let Some(store) = Store::get(StoreKind::SeaweedFs).await else { return };
    let rules = "
  - { name: r, who: { tokens: [a] }, where: bkt, what: [read, write], inspect: { with: [av] } }";
    let inspectors = "inspectors: { av: { patterns: { sets: [eicar] } } }";
    let world = store.setup().top(inspectors).rules(rules).start_reloadable().await;
    let a = &world.gateway.a;
    let id = create(a, "d/x", &[]).await;
    let list = upload(a, "d/x", &id, &[b"a single part".to_vec()]).await;
    // Its name comes first, so the number of the other one is another.
    let credentials = "{ access_key_id: env:ACCESS, secret_access_key: env:SECRET }";
    let first =
        format!("  a-store: {{ endpoint: \"http://192.0.2.1\", region: r, credentials: {credentials} }}\n  store:");
    world.change("  store:", &first).await.unwrap();
    let done = complete(a, "d/x", &id, &list, &[]).await;
    assert_eq!(done.status, 200, "{}", done.text());
    assert_eq!(a.get("/bkt/d/x").await.text(), "a single part");
    world.change("what: [read, write]", "what: [read, write, list]").await.unwrap();
    let again = complete(a, "d/x", &id, &list, &[]).await;
    assert_eq!(again.status, 200, "its answer may have been lost: {}", again.text());
}

fn issuer(keys: &str) -> String {
    format!(
        "issuers: [{{ name: idp, issuer: \"https://idp.example\", audience: s3, algorithms: [ES256], keys: {{ url: {keys} }} }}]\nrules:"
    )
}

#[tokio::test]
async fn an_issuer_whose_keys_cannot_be_had_is_loaded_and_keeps_nobody_out() {
    let (recorder, keys) = (Recorder::start(Answer::ok()).await, Recorder::start(Answer::status(500, "", "")).await);
    let world = before(&recorder).await;
    let added = format!("  {}", issuer(&format!("{}/keys", keys.endpoint())));
    let revoked = world.edited("rules:", &added).replacen(NO_WRITES.0, NO_WRITES.1, 1);
    write(&world.file, &revoked);
    world.reload().await.unwrap();
    assert_eq!(status(&world, "PUT").await, 403, "what was taken away does not wait for a key server");
    let ready = world.gateway.ask_admin("/readyz").await;
    let note = "note: the key set of issuer `idp` could not be loaded; it is new since the last reload";
    assert!(ready.status == 200 && ready.text().contains(note), "{}", ready.text());
}

#[tokio::test]
async fn keys_that_were_fetched_are_not_fetched_again() {
    let recorder = Recorder::start(Answer::ok()).await;
    let key = "{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"k\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\",\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}";
    let keys = Recorder::start(Answer::status(200, "", &format!("{{\"keys\":[{key}]}}"))).await;
    let setup = Setup::before(&recorder).issuers(&format!(
        " [{{ name: idp, issuer: \"https://idp.example\", audience: s3, algorithms: [ES256], keys: {{ url: {}/keys }} }}]",
        keys.endpoint()
    ));
    let world = setup.start_reloadable().await;
    for _ in 0..3000 {
        if world.gateway.ask_admin("/readyz").await.status == 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    keys.answer(Answer::status(500, "", ""));
    world.change(NO_WRITES.0, NO_WRITES.1).await.unwrap();
    assert_eq!(world.gateway.ask_admin("/readyz").await.text(), "ready\n");
    assert_eq!(keys.requests().len(), 1, "{:?}", keys.requests());
}

#[tokio::test]
async fn limits_of_connections_hold_for_those_that_come_later() {
    let recorder = Recorder::start(Answer::ok()).await;
    let world = Setup::before(&recorder).limits("{ max_connections: 10, max_headers: 100 }").start_reloadable().await;
    let headers: Vec<_> = (0..30).map(|number| format!("x-amz-meta-{number}")).collect();
    let headers: Vec<_> = headers.iter().map(|name| (name.as_str(), "v")).collect();
    let put = || world.gateway.a.put("/bkt/a/x", &headers, "");
    assert_eq!(put().await.status, 200);
    let mut open = Vec::new();
    for _ in 0..4 {
        open.push(TcpStream::connect(world.gateway.address).await.unwrap());
    }
    let connections = "countersign_connections_open";
    while world.metric(connections).await < 4.0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    world.change("max_connections: 10, max_headers: 100", "max_connections: 2, max_headers: 16").await.unwrap();
    // Four are open and two may be: the next waits until three of them are gone.
    let waiting = put();
    tokio::pin!(waiting);
    for _ in 0..2 {
        open.pop();
        assert!(
            tokio::time::timeout(Duration::from_millis(200), &mut waiting).await.is_err(),
            "{} are open",
            open.len()
        );
    }
    open.pop();
    let refused = tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap().status.as_u16();
    assert!(matches!(refused, 400 | 431), "too many headers: {refused}");
    world.change("max_connections: 2, max_headers: 16", "max_connections: 20, max_headers: 100").await.unwrap();
    for _ in 0..10 {
        open.push(TcpStream::connect(world.gateway.address).await.unwrap());
    }
    assert_eq!(tokio::time::timeout(Duration::from_secs(20), put()).await.unwrap().status, 200);
}

#[tokio::test]
async fn observers_hear_of_the_beginning_and_of_the_end_whatever_comes_of_it() {
    let recorder = Recorder::start(Answer::ok()).await;
    let world = before(&recorder).await;
    let heard = Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = Arc::clone(&heard);
    world.reloader.observe(Arc::new(move |moment| log.lock().unwrap().push(moment)));
    world.reload().await.unwrap();
    world.change("region: us-east-1", "regoin: us-east-1").await.unwrap_err();
    assert_eq!(*heard.lock().unwrap(), [Moment::Begins, Moment::Ended, Moment::Begins, Moment::Ended]);
}

#[tokio::test]
async fn reloads_that_are_asked_for_together_come_one_after_the_other() {
    let recorder = Recorder::start(Answer::ok()).await;
    let world = before(&recorder).await;
    write(&world.file, &world.edited(NO_WRITES.0, NO_WRITES.1));
    let asked: Vec<_> = (0..5).map(|_| world.reload()).collect();
    let reports = futures_util::future::join_all(asked).await;
    let generations: Vec<_> = reports.into_iter().map(|report| report.unwrap().generation).collect();
    assert_eq!(generations, [2; 5], "the first loads it, the others find nothing");
}

async fn until_writes_are_refused(world: &Reloadable, how: &str) {
    for _ in 0..3000 {
        if status(world, "PUT").await == 403 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{how}: nothing happened in 30 s; {:?}", world.reloader.status());
}

/// Writes beside the file and renames, as editors do.
fn rename_over(file: &Path, text: &str) {
    let new = file.with_extension("new");
    write(&new, text);
    std::fs::rename(new, file).unwrap();
}

#[tokio::test]
async fn a_file_that_changes_is_loaded_by_itself_however_it_is_written() {
    for (how, change) in [("in its place", write as fn(&Path, &str)), ("renamed", rename_over)] {
        let recorder = Recorder::start(Answer::ok()).await;
        let world = Setup::before(&recorder).start_watching(|folder| folder.join("countersign.yaml")).await;
        assert_eq!(status(&world, "PUT").await, 200, "{how}");
        change(&world.file, &world.edited("region: us-east-1", "regoin: us-east-1"));
        eventually("the mistake is seen", || world.reloader.status().last_error.is_some()).await;
        let good = world.text().replace("regoin", "region");
        change(&world.file, &good.replacen(NO_WRITES.0, NO_WRITES.1, 1));
        until_writes_are_refused(&world, how).await;
        assert_eq!((world.reloader.status().generation, world.reloader.status().last_error), (2, None), "{how}");
    }
}

#[tokio::test]
async fn a_config_map_is_followed_through_the_link_that_kubelet_exchanges() {
    let recorder = Recorder::start(Answer::ok()).await;
    // As kubelet lays it out: file → ..data/file, ..data → a folder with the time in its name.
    let lay_out = |folder: &Path| {
        std::fs::create_dir(folder.join("..2026_11_22_1")).unwrap();
        std::os::unix::fs::symlink("..2026_11_22_1", folder.join("..data")).unwrap();
        std::os::unix::fs::symlink("..data/countersign.yaml", folder.join("countersign.yaml")).unwrap();
        folder.join("countersign.yaml")
    };
    let world = Setup::before(&recorder).start_watching(lay_out).await;
    for (number, (from, to)) in [(2, NO_WRITES), (3, ("what: [read]", "what: [read, write]"))] {
        let text = world.edited(from, to);
        let (folder, name) = (world.folder.path(), format!("..2026_11_22_{number}"));
        std::fs::create_dir(folder.join(&name)).unwrap();
        write(&folder.join(&name).join("countersign.yaml"), &text);
        std::os::unix::fs::symlink(&name, folder.join("..data_tmp")).unwrap();
        std::fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
        std::fs::remove_dir_all(folder.join(format!("..2026_11_22_{}", number - 1))).unwrap();
        eventually("the exchange is seen", || world.reloader.status().generation == number).await;
    }
    assert_eq!(status(&world, "PUT").await, 200);
}

#[tokio::test]
async fn a_file_that_is_referred_to_is_followed() {
    let recorder = Recorder::start(Answer::ok()).await;
    let secrets = tempfile::tempdir().unwrap();
    let hash = secrets.path().join("hash");
    let (token, first) = app_token::generate();
    write(&hash, &first);
    let rules = "
  - { name: tenant-a, who: { tokens: [a] }, where: bkt/a/, what: [read, write, delete] }";
    let world = Setup::before(&recorder).rules(rules).start_watching(|folder| folder.join("countersign.yaml")).await;
    write(&world.file, &world.edited("hash: env:HASH_A", &format!("hash: file:{}", hash.display())));
    let client = world.gateway.client(token.expose());
    eventually("the file is loaded", || world.reloader.status().generation == 2).await;
    assert_eq!(client.get("/bkt/a/x").await.status, 200);
    rename_over(&hash, &app_token::generate().1);
    eventually("the other hash is loaded", || world.reloader.status().generation == 3).await;
    assert_eq!(client.get("/bkt/a/x").await.status, 401);
}

#[tokio::test]
async fn sighup_loads_the_file_again_and_a_hundred_of_them_leave_nothing_behind() {
    let recorder = Recorder::start(Answer::ok()).await;
    let keys = tempfile::tempdir().unwrap();
    let secret = keys.path().join("secret");
    write(&secret, "a-secret-number-0");
    let authority = Authority::new();
    let mut setup = Setup::before(&recorder).tls(&authority.vouch_for(&["127.0.0.1"]));
    setup.credentials = format!("{{ access_key_id: env:ACCESS, secret_access_key: file:{} }}", secret.display());
    // The last listener is the one that the clients know.
    let text = setup.text().replacen("}]\nadmin", "}, { address: 127.0.0.1:0 }]\nadmin", 1);
    let served = Served::start_with(&setup, &format!("{text}reload: {{ watch: false }}\n"), &[]).await;
    let generation = async || {
        let text = served.ask_admin("/metrics").await.text();
        let line = text.lines().find(|line| line.starts_with("countersign_config_generation ")).unwrap().to_owned();
        line.rsplit(' ').next().unwrap().parse::<usize>().unwrap()
    };
    let measure = || {
        let proc = format!("/proc/{}", served.process.id());
        let status = std::fs::read_to_string(format!("{proc}/status")).unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap().trim().to_owned();
        let kib: u64 = resident.split(' ').next().unwrap().parse().unwrap();
        (kib, std::fs::read_dir(format!("{proc}/fd")).unwrap().count())
    };
    let reload = async |number: usize| {
        write(&secret, &format!("a-secret-number-{number}"));
        served.process.signal("HUP");
        for _ in 0..3000 {
            if generation().await == number + 1 {
                return assert_eq!(served.a.get("/bkt/a/x").await.status, 200, "{number}");
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("reload {number}: {}", served.process.stderr.text());
    };
    for number in 1..=20 {
        reload(number).await;
    }
    let (before, descriptors) = measure();
    for number in 21..=120 {
        reload(number).await;
    }
    let (after, descriptors_after) = measure();
    assert!(descriptors_after <= descriptors + 3, "{descriptors} descriptors, then {descriptors_after}");
    assert!(after <= before + 8 * 1024, "{before} KiB, then {after}");
    let log = served.process.stderr.text();
    assert!(!log.contains("a-secret-number") && log.contains("another configuration serves"), "{log}");
}

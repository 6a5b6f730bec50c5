//! TLS towards stores: only a store that the configured authority vouches for, by the right name and in its time, hears anything.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::support::certs::{Authority, Identity};
use super::support::store::{missing, start_server, tools};
use super::support::{Answer, Recorder, Setup, Store, StoreKind, pattern};

/// TLS in front of a store in clear text; gives its port.
async fn front(identity: &Identity, store: &str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = TlsAcceptor::from(Arc::new(identity.server()));
    let store = store.strip_prefix("http://").unwrap().to_owned();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, store) = (acceptor.clone(), store.clone());
            tokio::spawn(async move {
                let Ok(mut client) = acceptor.accept(stream).await else { return };
                let mut store = TcpStream::connect(store).await.unwrap();
                // However it ends, both ends close with this task.
                drop(tokio::io::copy_bidirectional(&mut client, &mut store).await);
            });
        }
    });
    port
}

#[tokio::test]
async fn k24_a_store_is_believed_for_its_name_its_authority_and_its_time() {
    let (trusted, stranger) = (Authority::new(), Authority::new());
    let recorder = Recorder::start(Answer::ok()).await;
    let right = trusted.vouch_for(&["127.0.0.1"]);
    for (name, identity) in [
        ("another authority", stranger.vouch_for(&["127.0.0.1"])),
        ("another name", trusted.vouch_for(&["s3.example.com"])),
        ("another address", trusted.vouch_for(&["127.0.0.2"])),
        ("its address as a name", trusted.vouch_for_name("127.0.0.1")),
        ("expired", trusted.vouch_for_time(&["127.0.0.1"], (2020, 2021))),
        ("not yet valid", trusted.vouch_for_time(&["127.0.0.1"], (2999, 3000))),
        ("self-signed", stranger.as_a_server()),
    ] {
        let port = front(&identity, &recorder.endpoint()).await;
        let mut setup = Setup::before(&recorder).store_authority(&trusted);
        setup.endpoint = format!("https://127.0.0.1:{port}");
        let gateway = setup.start().await;
        assert_eq!(gateway.a.get("/bkt/a/x").await.outcome(), (502, "BadGateway".into()), "{name}");
        let put = gateway.a.put("/bkt/a/x", &[], pattern(1 << 20)).await;
        assert_eq!(put.outcome(), (502, "BadGateway".into()), "{name}");
        assert!(!put.text().to_lowercase().contains("certificate"), "{name}: {}", put.text());
        let reason = gateway.record(2).await.reason.unwrap_or_default();
        assert!(reason.contains("certificate"), "the operator reads why: {name}: {reason}");
    }
    assert!(recorder.is_silent(), "{:?}", recorder.requests());
    let port = front(&right, &recorder.endpoint()).await;
    let mut setup = Setup::before(&recorder).store_authority(&trusted);
    setup.endpoint = format!("https://127.0.0.1:{port}");
    let gateway = setup.start().await;
    assert_eq!(gateway.a.put("/bkt/a/x", &[], "body").await.status, 200);
    let sent = recorder.only();
    assert_eq!(sent.header("x-amz-content-sha256"), "STREAMING-UNSIGNED-PAYLOAD-TRAILER");
    assert_eq!(sent.header("host"), format!("127.0.0.1:{port}"));
}

#[tokio::test]
async fn k24_a_store_in_clear_text_is_not_spoken_to_in_tls_nor_the_reverse() {
    let authority = Authority::new();
    let recorder = Recorder::start(Answer::ok()).await;
    let mut setup = Setup::before(&recorder).store_authority(&authority);
    setup.endpoint = recorder.endpoint().replace("http:", "https:");
    let gateway = setup.start().await;
    let put = tokio::time::timeout(std::time::Duration::from_secs(10), gateway.a.put("/bkt/a/x", &[], "body"));
    assert!(matches!(put.await.unwrap().status.as_u16(), 502 | 504));
    assert!(recorder.requests().iter().all(|request| !request.head.contains("AWS4-HMAC-SHA256")), "a downgrade");

    let port = front(&authority.vouch_for(&["127.0.0.1"]), &recorder.endpoint()).await;
    let mut setup = Setup::before(&recorder);
    setup.endpoint = format!("http://127.0.0.1:{port}");
    assert_eq!(setup.start().await.a.put("/bkt/a/x", &[], "body").await.outcome(), (502, "BadGateway".into()));
}

#[tokio::test]
async fn objects_reach_real_stores_over_tls_in_every_payload_form() {
    let authority = Authority::new();
    let identity = authority.vouch_for(&["127.0.0.1"]);
    for (kind, forms) in [
        (
            StoreKind::SeaweedFs,
            &["payload: unsigned, checksum: trailer", "payload: unsigned, checksum: header", "payload: signed"][..],
        ),
        // It knows no trailers.
        (StoreKind::Rgw, &["payload: unsigned, checksum: header", "payload: signed, checksum: header"]),
        (
            StoreKind::S3sFs,
            &["payload: unsigned, checksum: trailer", "payload: unsigned, checksum: header", "payload: signed"],
        ),
    ] {
        let Some(store) = Store::get(kind).await else { continue };
        let port = front(&identity, &store.endpoint).await;
        for form in forms {
            let mut setup = store.setup().store_authority(&authority);
            setup.endpoint = format!("https://127.0.0.1:{port}");
            for setting in form.split(", ") {
                setup = setup.upstream(setting);
            }
            let gateway = setup.start().await;
            for size in [0, 1, 10 << 20] {
                let body = pattern(size);
                let put = gateway.a.put("/bkt/a/x", &[], body.clone()).await;
                assert_eq!(put.status, 200, "{kind:?} {form} {size}: {}", put.text());
                assert!(store.read("a/x").await.unwrap() == body, "{kind:?} {form} {size}");
                assert!(gateway.a.get("/bkt/a/x").await.body == body, "{kind:?} {form} {size}");
            }
        }
    }
}

#[tokio::test]
async fn seaweedfs_with_its_own_tls_takes_what_the_defaults_send() {
    if !tools().join("venv/bin/weed").exists() {
        return missing("seaweedfs");
    }
    let authority = Authority::new();
    let identity = authority.vouch_for(&["127.0.0.1"]);
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers/seaweedfs.sh"));
    command.env("S3_CERT", &identity.certificate).env("S3_TLS_KEY", &identity.key);
    let start = move || start_server(command, "seaweedfs-tls");
    let (ready, _process) = tokio::task::spawn_blocking(start).await.unwrap();
    let text = |name: &str| ready[name].as_str().unwrap().to_owned();
    let store = Store {
        kind: StoreKind::SeaweedFs,
        endpoint: text("endpoint"),
        access_key: text("access_key"),
        secret_key: text("secret_key"),
        bucket: "over-tls".to_owned(),
    };
    store.put("", b"").await;
    let mut setup = store.setup().store_authority(&authority);
    setup.endpoint = text("https_endpoint");
    let gateway = setup.start().await;
    let body = pattern((10 << 20) + 5);
    let put = gateway.a.put("/bkt/a/x", &[("x-amz-checksum-crc32c", &crc32c(&body))], body.clone()).await;
    assert_eq!(put.status, 200, "{}", put.text());
    assert_eq!(gateway.a.put("/bkt/a/y", &[], body.clone()).await.status, 200);
    assert!(store.read("a/x").await.unwrap() == body && store.read("a/y").await.unwrap() == body);
    assert!(gateway.a.get("/bkt/a/x").await.body == body);
}

fn crc32c(bytes: &[u8]) -> String {
    use base64::Engine as _;
    let sum = u32::try_from(crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes)).unwrap();
    base64::engine::general_purpose::STANDARD.encode(sum.to_be_bytes())
}

//! Uploads through a gateway that asks real scanners, before real stores: what is not clean is nowhere.

use std::time::Duration;

use super::super::support::clamd::{Clamd, ClamdConf, eicar};
use super::super::support::icap::CIcap;
use super::super::support::{Answer, Client, Gateway, Recorder, Setup, SlowClamd, Store, StoreKind, pattern};
use super::objects::{encrypted_zip, gzip, zip};

const RULES: &str = "
  - { name: looked-at, who: { tokens: [a], keys: [a] }, where: bkt/a/, what: [read, write, delete], inspect: { with: antivirus, multipart: per_part } }";

async fn gateway(store: &Store, inspector: &str) -> Gateway {
    let inspectors =
        format!("inspectors: {{ antivirus: {{ {inspector}, timeout: 10s, breaker: {{ failures: 0 }} }} }}");
    let gateway = store.setup().rules(RULES).top(&inspectors).start().await;
    until_ready(&gateway, 200).await;
    gateway
}

/// Waits for what `/readyz` says; the inspectors are asked every fifteen seconds.
async fn until_ready(gateway: &Gateway, status: u16) {
    let waiting = async {
        while gateway.ask_admin("/readyz").await.status != status {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(40), waiting)
        .await
        .unwrap_or_else(|_| panic!("/readyz never says {status}"));
}

async fn judge(store: &Store, gateway: &Gateway, scanner: &str) {
    let client = &gateway.a;
    store.put("a/old", b"old").await;
    let mut records = 0;
    for (what, object, code) in [
        ("the test file", eicar(), "ContentRejected"),
        ("behind 3 MiB", [pattern(3 << 20), eicar()].concat(), "ContentRejected"),
        ("in the middle", [pattern(300_000), eicar(), pattern(300_000)].concat(), "ContentRejected"),
        ("zip", zip(&eicar()), "ContentRejected"),
        ("gzip", gzip(&eicar()), "ContentRejected"),
        ("encrypted", encrypted_zip(&eicar()), "ContentNotScannable"),
        ("too large", pattern((20 << 20) + 1), "ContentNotScannable"),
    ] {
        for key in ["a/old", "a/new"] {
            let refused = client.put(&format!("/bkt/{key}"), &[], object.clone()).await;
            records += 1;
            assert_eq!(refused.outcome(), (403, code.to_owned()), "{scanner} {what}: {}", refused.text());
            assert!(!refused.text().contains("Eicar") && !refused.text().contains("127.0.0.1"), "{}", refused.text());
            let record = gateway.record(records).await;
            let finding = &record.inspection.as_ref().unwrap()[0];
            let expected = if code == "ContentRejected" { "matched" } else { "not_scannable" };
            assert_eq!((finding.inspector.as_str(), finding.verdict), ("antivirus", expected), "{scanner} {what}");
        }
        assert_eq!(store.read("a/old").await.as_deref(), Some(&b"old"[..]), "{scanner} {what}");
        assert_eq!(store.keys("").await, ["a/old"], "{scanner} {what}");
    }
    for object in [Vec::new(), b"hello".to_vec(), pattern(3 << 20), gzip(b"hello")] {
        let stored = client.put("/bkt/a/old", &[], object.clone()).await;
        assert!(stored.status.is_success(), "{scanner} {} bytes: {}", object.len(), stored.text());
        assert!(store.read("a/old").await.unwrap() == object, "{scanner} {} bytes", object.len());
    }
    let brotli = client.put("/bkt/a/new", &[("content-encoding", "br")], b"x".to_vec()).await;
    assert_eq!(brotli.outcome(), (403, "ContentNotScannable".to_owned()), "{scanner}");
}

async fn is_an_error(store: &Store, client: &Client, scanner: &str) {
    for object in [b"hello".to_vec(), eicar(), pattern(3 << 20)] {
        let refused = client.put("/bkt/a/new", &[], object).await;
        assert_eq!(refused.outcome(), (403, "InspectionFailed".to_owned()), "{scanner}: {}", refused.text());
        assert!(!refused.text().contains("127.0.0.1"), "{scanner}: {}", refused.text());
    }
    assert_eq!(store.keys("a/new").await, [""; 0], "{scanner}");
}

#[tokio::test]
async fn h12_what_clamd_or_an_icap_server_does_not_call_clean_is_nowhere() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { return };
        let Some(mut clamd) = Clamd::start(ClamdConf::default()).await else { return };
        let Some(icap) = CIcap::start(&clamd, "25M").await else { return };
        for inspector in [
            format!("clamd: {{ addresses: \"{}\", max_size: 20MiB, probe: strict }}", clamd.unix()),
            format!("icap: {{ url: \"{}\", max_size: 20MiB, probe: strict }}", icap.service("avscan")),
        ] {
            let scanner = format!("{kind:?} {}", &inspector[..5]);
            let gateway = gateway(&store, &inspector).await;
            judge(&store, &gateway, &scanner).await;
            store.remove("a/old").await;
            clamd.kill();
            is_an_error(&store, &gateway.a, &scanner).await;
            clamd.restart(ClamdConf::default()).await;
            let stored = gateway.a.put("/bkt/a/old", &[], b"again".to_vec()).await;
            assert!(stored.status.is_success(), "{scanner}: {}", stored.text());
        }
    }
}

#[tokio::test]
async fn one_upload_is_lost_to_a_clamd_that_stands_still_if_there_is_another() {
    let Some(clamd) = Clamd::start(ClamdConf::default()).await else { return };
    let (recorder, slow) = (Recorder::start(Answer::ok()).await, SlowClamd::start().await);
    let inspectors = format!(
        "inspectors: {{ antivirus: {{ clamd: {{ addresses: [\"tcp://{}\", \"{}\"], probe: none }}, timeout: 500ms }} }}",
        slow.address,
        clamd.tcp()
    );
    let gateway = Setup::before(&recorder).rules(RULES).top(&inspectors).start().await;
    let lost = gateway.a.put("/bkt/a/x", &[], b"hello".to_vec()).await;
    assert_eq!(lost.outcome(), (403, "InspectionFailed".to_owned()));
    for _ in 0..3 {
        assert_eq!(gateway.a.put("/bkt/a/x", &[], b"hello".to_vec()).await.status, 200);
        assert_eq!(gateway.a.put("/bkt/a/x", &[], eicar()).await.outcome(), (403, "ContentRejected".to_owned()));
    }
}

#[tokio::test]
async fn a_gateway_whose_clamd_stands_still_or_lets_things_pass_unseen_is_not_ready() {
    let Some(store) = Store::get(StoreKind::SeaweedFs).await else { return };
    let Some(mut clamd) = Clamd::start(ClamdConf::default()).await else { return };
    let inspector = format!("clamd: {{ addresses: \"{}\", connect_timeout: 500ms }}", clamd.tcp());
    let gateway = gateway(&store, &inspector).await;
    clamd.signal("STOP");
    // A look that began is given up after its time limit; its upload is nowhere.
    is_an_error(&store, &gateway.a, "stopped").await;
    until_ready(&gateway, 503).await;
    clamd.signal("CONT");
    clamd.restart(ClamdConf { file_max: "1M", alerts: false, ..ClamdConf::default() }).await;
    let problem = async {
        while !gateway.ask_admin("/readyz").await.text().contains("MaxFileSize") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(40), problem).await.expect("/readyz says what to do");
    is_an_error(&store, &gateway.a, "silent").await;
}

//! Scanners behind TLS: c-icap's own (OpenSSL), and a hook in Python. Who they are is checked before anything is sent.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use countersign::inspect::hook::{self, Shown};
use countersign::inspect::{Inspector, Verdict, icap};

use super::super::support::certs::{Authority, Identity};
use super::super::support::clamd::{Clamd, ClamdConf, Server, eicar};
use super::super::support::icap::CIcap;
use super::super::support::store::{missing, tools};
use super::super::support::{eventually, pattern};
use super::{look_at, pieces, reason, subject};

/// Whom an inspector believes, and what becomes of that.
fn believers(authority: &Authority) -> [(&'static str, Option<PathBuf>, bool); 3] {
    // The other one stays until the end: its file is read when the inspector is made.
    let other = Box::leak(Box::new(Authority::new()));
    [
        ("its authority", Some(authority.file()), true),
        ("another authority", Some(other.file()), false),
        ("those of the system", None, false),
    ]
}

async fn judge(inspector: &Arc<dyn Inspector>, who: &str, good: bool, name: &str) {
    for (object, verdict) in [
        (pattern(300_000), Verdict::Clean),
        ([pattern(300_000), eicar()].concat(), Verdict::matched(name)),
        (eicar(), Verdict::matched(name)),
    ] {
        let subject = countersign::inspect::Subject { length: Some(object.len() as u64), ..subject() };
        let said = look_at(inspector, subject, pieces(&object, 65536)).await;
        match good {
            true => assert_eq!(said, verdict, "{who}: {} bytes", object.len()),
            false => assert!(reason(&said).contains("certificate"), "{who}: {said:?}"),
        }
    }
    let checked = Arc::clone(inspector).check().await;
    assert_eq!(checked.is_ok(), good, "{who}: {checked:?}");
}

#[tokio::test]
async fn k24_an_icap_server_behind_tls_is_asked_only_if_its_certificate_is_good() {
    let Some(clamd) = Clamd::start(ClamdConf::default()).await else { return };
    let authority = Authority::new();
    let identity = authority.vouch_for(&["127.0.0.1"]);
    let Some(server) = CIcap::start_with_tls(&clamd, &identity).await else { return };
    let asking = |host: &str, ca_file: Option<PathBuf>| {
        let settings = icap::Settings {
            url: format!("icaps://{host}:{}/avscan", server.tls_port()).parse().unwrap(),
            ca_file,
            max_size: 25 << 20,
            connect_timeout: Duration::from_secs(5),
            not_scannable: Vec::new(),
            trust_preview: false,
            send_type: false,
            probe: icap::Probe::None,
        };
        icap::build("scanner", &settings).unwrap()
    };
    for (who, ca_file, good) in believers(&authority) {
        judge(&asking("127.0.0.1", ca_file), who, good, "Local.Eicar.Body.UNOFFICIAL").await;
    }
    judge(&asking("localhost", Some(authority.file())), "another name", false, "").await;
}

#[tokio::test]
async fn k24_a_hook_behind_tls_is_asked_only_if_its_certificate_is_good() {
    let python = tools().join("venv/bin/python");
    if !python.exists() {
        return missing("Python");
    }
    let authority = Authority::new();
    let Identity { certificate, key } = authority.vouch_for(&["127.0.0.1"]);
    let folder = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers/hook.py");
    let arguments = [&script, &certificate, &key].map(|path| path.to_str().unwrap());
    let _server = Server::start(folder.path(), python.to_str().unwrap(), &arguments);
    let port = || std::fs::read_to_string(folder.path().join("port")).ok()?.trim().parse::<u16>().ok();
    eventually("the hook listens", || port().is_some()).await;
    let asking = |host: &str, ca_file: Option<PathBuf>| {
        let settings = hook::Settings {
            tls: true,
            host: host.to_owned(),
            port: port().unwrap(),
            path: "/scan".parse().unwrap(),
            ca_file,
            send: Shown::Body,
            headers: Vec::new(),
            max_size: None,
        };
        hook::build("own", &settings).unwrap()
    };
    for (who, ca_file, good) in believers(&authority) {
        judge(&asking("127.0.0.1", ca_file), who, good, "Eicar").await;
    }
    judge(&asking("localhost", Some(authority.file())), "another name", false, "").await;
}

//! ICAP servers: c-icap as it is, and what servers may say.

use std::sync::Arc;
use std::time::Duration;

use countersign::inspect::icap::{NOT_SCANNABLE, Probe, Settings, build};
use countersign::inspect::{Direction, Inspector, Verdict};

use super::super::support::clamd::{Clamd, ClamdConf, eicar};
use super::super::support::fault_proxy::{Fault, FaultProxy};
use super::super::support::icap::{CIcap, FakeIcap, Reply};
use super::super::support::pattern;
use super::objects::{encrypted_zip, gzip, zip};
use super::{look, look_at, look_at_beginning, pieces, reason, subject};

const FOUND: &str = "Local.Eicar.Body.UNOFFICIAL";
const OPTIONS: &str = "Methods: REQMOD, RESPMOD\r\nISTag: \"one\"\r\nAllow: 204";

fn settings(url: &str) -> Settings {
    Settings {
        url: url.parse().unwrap(),
        ca_file: None,
        max_size: 25 << 20,
        connect_timeout: Duration::from_secs(5),
        not_scannable: NOT_SCANNABLE.map(str::to_owned).to_vec(),
        trust_preview: false,
        send_type: false,
        probe: Probe::None,
    }
}

fn asking(url: &str) -> Arc<dyn Inspector> {
    build("scanner", &settings(url)).unwrap()
}

/// Asks a server that says this about an object.
async fn said(options: &'static str, reply: Reply, object: &[u8]) -> Verdict {
    let server = FakeIcap::start(options, reply).await;
    look(&asking(&server.url()), object).await
}

fn not_scannable(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::NotScannable { .. })
}

#[tokio::test]
async fn what_c_icap_knows_is_found_in_both_directions() {
    let Some(clamd) = Clamd::start(ClamdConf::default()).await else { return };
    let Some(server) = CIcap::start(&clamd, "25M").await else { return };
    for service in ["avscan", "virus_scan"] {
        let inspector = asking(&server.service(service));
        for direction in [Direction::Upload, Direction::Download] {
            let mut subject = subject();
            subject.direction = direction;
            for object in [Vec::new(), b"hello".to_vec(), pattern(1024), vec![b'c'; 50_000], zip(b"hello")] {
                let verdict = look_at(&inspector, subject.clone(), pieces(&object, 65536)).await;
                assert_eq!(verdict, Verdict::Clean, "{service} {direction:?} {} bytes", object.len());
            }
            let behind = |bytes: usize| [vec![b'c'; bytes], eicar()].concat();
            for object in
                [eicar(), behind(956), behind(1024), behind(50_000), behind(1 << 20), zip(&eicar()), gzip(&eicar())]
            {
                let verdict = look_at(&inspector, subject.clone(), pieces(&object, 65536)).await;
                assert_eq!(verdict, Verdict::matched(FOUND), "{service} {direction:?} {} bytes", object.len());
            }
        }
        // Of what is larger virus_scan sends a part back while it reads, and can then only break off.
        let large = [vec![b'c'; 3 << 20], eicar()].concat();
        let verdict = look(&inspector, &large).await;
        assert!(matches!(verdict, Verdict::Matched { .. }), "{service}: {verdict:?}");
        assert_eq!(look(&inspector, &large[..3 << 20]).await, Verdict::Clean, "{service}");
        let encrypted = look(&inspector, &encrypted_zip(&eicar())).await;
        assert_eq!(encrypted, Verdict::not_scannable("Heuristics.Encrypted.Zip"));
        let health = inspector.check().await.unwrap();
        assert!(health.version.contains("C-ICAP") && health.warnings.is_empty(), "{health:?}");
    }
}

#[tokio::test]
async fn h13_what_lies_behind_30_mib_is_found_when_the_limits_are_larger() {
    let conf = ClamdConf { stream_max: "40M", file_max: "40M", ..ClamdConf::default() };
    let Some(clamd) = Clamd::start(conf).await else { return };
    let Some(server) = CIcap::start(&clamd, "40M").await else { return };
    let infected = [vec![b'c'; 30 << 20], eicar()].concat();
    for service in ["avscan", "virus_scan"] {
        let settings = Settings { max_size: 40 << 20, ..settings(&server.service(service)) };
        let inspector = build("scanner", &settings).unwrap();
        // virus_scan has sent a part back by then, and can only break off.
        let verdict = look(&inspector, &infected).await;
        assert!(matches!(verdict, Verdict::Matched { .. }), "{service}: {verdict:?}");
        assert_eq!(look(&inspector, &infected[..30 << 20]).await, Verdict::Clean, "{service}");
    }
}

#[tokio::test]
async fn h12_a_match_across_the_end_of_the_preview_is_found() {
    let Some(clamd) = Clamd::start(ClamdConf::default()).await else { return };
    let Some(server) = CIcap::start(&clamd, "25M").await else { return };
    let inspector = asking(&server.service("avscan"));
    for before in (1024 - 69)..=1025 {
        let object = [vec![b'c'; before], eicar(), vec![b'c'; 700]].concat();
        for size in [65536, 100] {
            assert_eq!(
                look_at(&inspector, subject(), pieces(&object, size)).await,
                Verdict::matched(FOUND),
                "{before}"
            );
        }
    }
}

#[tokio::test]
async fn h13_what_c_icap_lets_pass_for_its_size_is_not_scannable() {
    let Some(clamd) = Clamd::start(ClamdConf::default()).await else { return };
    let Some(server) = CIcap::start(&clamd, "1M").await else { return };
    let infected = [eicar(), vec![b'c'; 2 << 20]].concat();
    // It says 204 to it, or sends it back, or breaks off, as it comes: so that is found out beforehand, and the server is not used.
    let probing =
        build("scanner", &Settings { probe: Probe::Basic, ..settings(&server.service("virus_scan")) }).unwrap();
    let problem = Arc::clone(&probing).check().await.unwrap_err();
    assert!(problem.contains("MaxObjectSize"), "{problem}");
    assert!(reason(&look(&probing, b"small").await).contains("MaxObjectSize"));
    let within = Settings { probe: Probe::Strict, max_size: 512 << 10, ..settings(&server.service("virus_scan")) };
    let within = build("scanner", &within).unwrap();
    assert_eq!(Arc::clone(&within).check().await.unwrap().warnings, [""; 0]);
    assert_eq!(look(&within, b"small").await, Verdict::Clean);
    let mut declared = subject();
    declared.length = Some(infected.len() as u64);
    // And of what is larger than we send nothing is sent.
    let small = build("scanner", &Settings { max_size: 1 << 20, ..settings("icap://127.0.0.1:1/x") }).unwrap();
    assert!(not_scannable(&look_at(&small, declared, pieces(&infected, 65536)).await));
    let small = build("scanner", &Settings { max_size: 1 << 20, ..settings(&server.service("virus_scan")) }).unwrap();
    let verdict = look(&small, &infected).await;
    assert!(not_scannable(&verdict), "{verdict:?}");
}

#[tokio::test]
async fn h12_without_its_scanner_without_the_service_or_without_itself_c_icap_is_an_error() {
    let Some(mut clamd) = Clamd::start(ClamdConf::default()).await else { return };
    let Some(server) = CIcap::start(&clamd, "25M").await else { return };
    let nosuch = asking(&server.service("nosuch"));
    assert!(reason(&look(&nosuch, b"hello").await).contains("no such service (404)"));
    assert!(nosuch.check().await.unwrap_err().contains("/nosuch: there is no such service"));
    assert_eq!(look(&asking(&server.service("echo")), b"hello").await, Verdict::Clean);
    let inspector = asking(&server.service("avscan"));
    assert_eq!(look(&inspector, b"hello").await, Verdict::Clean);
    clamd.kill();
    for object in [b"hello".to_vec(), vec![b'c'; 50_000], eicar()] {
        assert!(reason(&look(&inspector, &object).await).contains("(500)"));
    }
    clamd.restart(ClamdConf::default()).await;
    assert_eq!(look(&inspector, b"hello").await, Verdict::Clean);
    drop(server);
    reason(&look(&inspector, b"hello").await);
    inspector.check().await.unwrap_err();
}

#[tokio::test]
async fn h12_no_fault_between_gateway_and_c_icap_makes_an_object_clean() {
    let Some(clamd) = Clamd::start(ClamdConf::default()).await else { return };
    let Some(server) = CIcap::start(&clamd, "25M").await else { return };
    let infected = [vec![b'c'; 100_000], eicar(), vec![b'c'; 100_000]].concat();
    let at = |proxy: &FaultProxy| {
        let settings = settings(&format!("icap://{}/avscan", proxy.address));
        build("scanner", &Settings { connect_timeout: Duration::from_secs(2), ..settings }).unwrap()
    };
    for fault in [Fault::None, Fault::Slow(Duration::from_millis(1))] {
        let proxy = FaultProxy::start(server.address(), fault).await;
        assert_eq!(look(&at(&proxy), &infected).await, Verdict::matched(FOUND), "{fault:?}");
        assert_eq!(look(&at(&proxy), b"hello").await, Verdict::Clean, "{fault:?}");
    }
    let mut faults = Vec::new();
    // The first strike OPTIONS too, the others the object only.
    for after in [1, 100, 400, 1500, 50_000, 200_000] {
        faults.extend([Fault::Reset(after), Fault::Close(after), Fault::Stall(after)]);
        for words in [
            &b"ICAP/1.0 204 Unmodified\r\n\r\n"[..],
            b"ICAP/1.0 204 Unmodified\r\n",
            b"ICAP/1.0 100 Continue\r\n\r\nICAP/1.0 204 Unmodified\r\n\r\n",
            b"ICAP/1.0 200 OK\r\nEncapsulated: null-body=0\r\n\r\n",
            b"ICAP/1.0 200 OK\r\nEncapsulated: req-hdr=0, null-body=18\r\n\r\nPUT / HTTP/1.1\r\n\r\n",
            b"ICAP/1.0 200 OK\r\nEncapsulated: req-hdr=0, req-body=18\r\n\r\nPUT / HTTP/1.1\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 204 No Content\r\n\r\n",
            b"\0\0\0\0",
        ] {
            let proxy = FaultProxy::start(server.address(), Fault::Say(after, words)).await;
            let verdict = look_at_beginning(&at(&proxy), &infected).await;
            assert_ne!(verdict, Verdict::Clean, "{after} {words:?}");
        }
    }
    faults.extend((0..300).step_by(7).map(Fault::FlipAnswer));
    faults.extend((0..300).step_by(7).map(Fault::ShortAnswer));
    // The heads, chunk sizes of the preview included; in the object itself nobody could tell.
    faults.extend((0..480).step_by(9).map(Fault::FlipQuestion));
    let mut running = tokio::task::JoinSet::new();
    for fault in faults {
        let proxy = FaultProxy::start(server.address(), fault).await;
        let (infected, inspector) = (infected.clone(), at(&proxy));
        running.spawn(async move {
            let looked = tokio::time::timeout(Duration::from_secs(5), look(&inspector, &infected)).await;
            drop(proxy);
            assert_ne!(looked, Ok(Verdict::Clean), "{fault:?}");
        });
        if running.len() >= 12 {
            running.join_next().await.unwrap().unwrap();
        }
    }
    while let Some(done) = running.join_next().await {
        done.unwrap();
    }
}

#[tokio::test]
async fn previews_of_every_size_carry_the_object() {
    for (options, preview) in [
        ("Methods: REQMOD\r\nPreview: 0", Some(0)),
        ("Methods: REQMOD\r\nPreview: 1024", Some(1024)),
        ("Methods: REQMOD\r\nPreview: 4096", Some(4096)),
        ("Methods: REQMOD", None),
    ] {
        for length in [0, 1, 1023, 1024, 1025, 4095, 4096, 4097, 300_000] {
            for size in [700, 65536] {
                let server = FakeIcap::start(options, Reply::AtEnd("ICAP/1.0 204 Unmodified\r\n\r\n")).await;
                let object = pattern(length);
                let verdict = look_at(&asking(&server.url()), subject(), pieces(&object, size)).await;
                assert_eq!(verdict, Verdict::Clean, "{preview:?} {length}");
                let (head, body) = server.only();
                assert!(body == object, "{preview:?} {length}: {} bytes arrived", body.len());
                let said = head.lines().find_map(|line| line.strip_prefix("Preview: ")?.parse().ok());
                assert_eq!(said, preview, "{head}");
            }
        }
    }
}

#[tokio::test]
async fn an_answer_before_the_server_has_seen_all_is_never_clean() {
    const UNMODIFIED: &str = "ICAP/1.0 204 Unmodified\r\n\r\n";
    const WITH_PREVIEW: &str = "Methods: REQMOD\r\nPreview: 1024";
    let object = pattern(100_000);
    for (options, reply) in [
        (OPTIONS, Reply::AtOnce(UNMODIFIED)),
        (WITH_PREVIEW, Reply::AtOnce(UNMODIFIED)),
        (WITH_PREVIEW, Reply::AtPreview(UNMODIFIED)),
    ] {
        let verdict = said(options, reply, &object).await;
        assert!(not_scannable(&verdict), "{reply:?}: {verdict:?}");
    }
    // Unless the operator trusts what the server decides by the preview, and then only that.
    for (options, reply, clean) in
        [(WITH_PREVIEW, Reply::AtPreview(UNMODIFIED), true), (OPTIONS, Reply::AtOnce(UNMODIFIED), false)]
    {
        let server = FakeIcap::start(options, reply).await;
        let trusting = build("scanner", &Settings { trust_preview: true, ..settings(&server.url()) }).unwrap();
        assert_eq!(look(&trusting, &object).await == Verdict::Clean, clean, "{reply:?}");
    }
    // A block is one at any time.
    const BLOCKED: &str = "ICAP/1.0 200 OK\r\nX-Infection-Found: Type=0; Resolution=2; Threat=Early;\r\n\
                           Encapsulated: res-hdr=0, null-body=26\r\n\r\nHTTP/1.1 403 Forbidden\r\n\r\n";
    for (options, reply) in [
        (OPTIONS, Reply::AtOnce(BLOCKED)),
        (WITH_PREVIEW, Reply::AtOnce(BLOCKED)),
        (WITH_PREVIEW, Reply::AtPreview(BLOCKED)),
        (WITH_PREVIEW, Reply::AtEnd(BLOCKED)),
    ] {
        assert_eq!(said(options, reply, &object).await, Verdict::matched("Early"), "{reply:?}");
    }
}

#[tokio::test]
async fn an_object_that_comes_back_as_it_was_is_clean_and_any_other_is_not() {
    const REQUEST: &str =
        "ICAP/1.0 200 OK\r\nEncapsulated: req-hdr=0, req-body=25\r\n\r\nPUT /x HTTP/1.1\r\nA: b\r\n\r\n";
    const RESPONSE: &str = "ICAP/1.0 200 OK\r\nEncapsulated: res-hdr=0, res-body=19\r\n\r\nHTTP/1.1 200 OK\r\n\r\n";
    const PAGE: &str = "ICAP/1.0 200 OK\r\nEncapsulated: res-hdr=0, res-body=21\r\n\r\nHTTP/1.1 403 No..\r\n\r\n";
    let object = pattern(100_000);
    assert_eq!(said("Methods: REQMOD", Reply::Echo(REQUEST), &object).await, Verdict::Clean);
    assert_eq!(said("Methods: RESPMOD", Reply::Echo(RESPONSE), &object).await, Verdict::Clean);
    let modified = Verdict::matched("modified by the ICAP server");
    assert_eq!(said("Methods: REQMOD", Reply::Forge(REQUEST), &object).await, modified);
    assert_eq!(said("Methods: RESPMOD", Reply::Forge(RESPONSE), &object).await, modified);
    assert_eq!(
        said("Methods: RESPMOD", Reply::Echo(PAGE), &object).await,
        Verdict::matched("blocked by the ICAP server (HTTP 403)")
    );
    assert_eq!(
        said("Methods: REQMOD", Reply::Echo(RESPONSE), &object).await,
        Verdict::matched("blocked by the ICAP server (HTTP 200)")
    );
    reason(&said("Methods: RESPMOD", Reply::Echo(REQUEST), &object).await);
}

#[tokio::test]
async fn what_is_no_answer_is_an_error() {
    for answer in [
        "",
        "ICAP/1.0 204 Unmodified\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "ICAP/1.0 200 OK\r\n\r\n",
        "ICAP/1.0 200 OK\r\nEncapsulated: nonsense\r\n\r\n",
        "ICAP/1.0 200 OK\r\nEncapsulated: null-body=0\r\n\r\n",
        "ICAP/1.0 200 OK\r\nEncapsulated: req-hdr=0, req-body=18\r\n\r\nPUT / HTTP/1.1\r\n\r\n",
        "ICAP/1.0 200 OK\r\nEncapsulated: req-hdr=0, req-body=18\r\n\r\nPUT / HTTP/1.1\r\n\r\nx\r\n",
        "ICAP/1.0 200 OK\r\nEncapsulated: res-hdr=0, null-body=10\r\n\r\nnonsense\r\n",
        "ICAP/1.0 206 Partial\r\nEncapsulated: null-body=0\r\n\r\n",
        "ICAP/1.0 100 Continue\r\n\r\nICAP/1.0 204 Unmodified\r\n\r\n",
        "ICAP/1.0 400 Bad\r\n\r\n",
        "ICAP/1.0 405 No\r\n\r\n",
        "ICAP/1.0 408 Late\r\n\r\n",
        "ICAP/1.0 500 Oops\r\n\r\n",
        "ICAP/1.0 503 Busy\r\n\r\n",
    ] {
        reason(&said(OPTIONS, Reply::AtEnd(answer), b"hello").await);
    }
    for options in ["Methods: GET", "Preview: x\r\nMethods: REQMOD", "A: \u{1}"] {
        reason(&said(options, Reply::AtEnd("ICAP/1.0 204 Unmodified\r\n\r\n"), b"hello").await);
    }
}

#[tokio::test]
async fn e12_the_key_reaches_the_server_as_data() {
    let server = FakeIcap::start(OPTIONS, Reply::AtEnd("ICAP/1.0 204 Unmodified\r\n\r\n")).await;
    assert_eq!(look(&asking(&server.url()), b"hello").await, Verdict::Clean);
    let (head, body) = server.only();
    assert!(head.contains("/team-data/builds/a%20b%0D%0AX-Evil%3A%201 HTTP/1.1\r\n"), "{head}");
    assert!(!head.to_ascii_lowercase().contains("\nx-evil"), "{head}");
    assert_eq!(body, b"hello");
}

#[tokio::test]
async fn a_server_that_allows_one_connection_gets_one_at_a_time() {
    const ONE: &str = "Methods: REQMOD\r\nMax-Connections: 1";
    let server = FakeIcap::start(ONE, Reply::AtEnd("ICAP/1.0 204 Unmodified\r\n\r\n")).await;
    let inspector = asking(&server.url());
    inspector.clone().check().await.unwrap();
    let (mut feed, content) = countersign::inspect::content::channel();
    let first = tokio::spawn(Arc::clone(&inspector).look(Arc::new(subject()), content));
    for _ in 0..3 {
        std::future::poll_fn(|context| feed.poll_ready(context)).await;
        feed.push(bytes::Bytes::from_static(b"hello"));
    }
    let mut second = Box::pin(look(&inspector, b"hello"));
    assert!(tokio::time::timeout(Duration::from_millis(200), &mut second).await.is_err());
    feed.all([]).await;
    assert_eq!(first.await.unwrap(), Verdict::Clean);
    assert_eq!(second.await, Verdict::Clean);
}

#[tokio::test]
async fn a_server_whose_tag_changes_is_asked_for_its_options_again_and_then_not_any_more() {
    const NEW: &str = "Methods: REQMOD\r\nISTag: \"two\"\r\nPreview: 4";
    let clean = async |inspector: &Arc<dyn Inspector>| assert_eq!(look(inspector, b"hello").await, Verdict::Clean);
    let server = FakeIcap::start(OPTIONS, Reply::AtEnd("ICAP/1.0 204 Unmodified\r\nISTag: \"one\"\r\n\r\n")).await;
    let inspector = asking(&server.url());
    for _ in 0..3 {
        clean(&inspector).await;
        assert_eq!(server.options_asked(), 1);
    }
    server.say(NEW, Reply::AtEnd("ICAP/1.0 204 Unmodified\r\nISTag: two\r\n\r\n"));
    clean(&inspector).await;
    assert!(!server.last_head().contains("Preview"), "the new tag is seen in this answer");
    for _ in 0..3 {
        clean(&inspector).await;
        assert_eq!(server.options_asked(), 2);
        assert!(server.last_head().contains("\r\nPreview: 4\r\n"), "{}", server.last_head());
    }
    // Verdicts are as old as the version that the check-up tells.
    assert_eq!(inspector.check().await.unwrap().version, "two");
}

#[tokio::test]
async fn h15_an_encoding_that_is_declared_hides_nothing_from_c_icap() {
    let Some(clamd) = Clamd::start(ClamdConf::default()).await else { return };
    let Some(server) = CIcap::start(&clamd, "25M").await else { return };
    let inspector = asking(&server.service("virus_scan"));
    let behind = [vec![b'c'; 50_000], eicar()].concat();
    let padded = [gzip(b"hello"), vec![0; 600], gzip(&eicar())].concat();
    for coding in ["gzip", "GZIP", "x-gzip", "gzip, gzip", "gzip, identity", "identity"] {
        for direction in [Direction::Upload, Direction::Download] {
            for (what, object) in [
                ("not encoded at all", eicar()),
                ("not encoded, and longer", behind.clone()),
                ("encoded", gzip(&eicar())),
                ("encoded, and longer", gzip(&behind)),
                ("twice", gzip(&gzip(&eicar()))),
                ("two members", [gzip(b"hello"), gzip(&eicar())].concat()),
                ("cut", gzip(&behind)[..gzip(&behind).len() - 4].to_vec()),
                ("bytes behind", [gzip(b"hello"), eicar()].concat()),
                ("padded", padded.clone()),
            ] {
                let mut subject = subject();
                subject.direction = direction;
                subject.content_encoding = Some(coding.to_owned());
                let verdict = look_at(&inspector, subject, pieces(&object, 65536)).await;
                assert!(matches!(verdict, Verdict::Matched { .. }), "{coding} {direction:?} {what}: {verdict:?}");
            }
        }
    }
}

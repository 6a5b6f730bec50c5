//! clamd: what it finds, what it cannot look at, and that nothing but a complete `OK` is clean.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use countersign::inspect::clamd::{NOT_SCANNABLE, Probe, Settings, build};
use countersign::inspect::content::channel;
use countersign::inspect::{Inspector, Verdict};

use super::super::support::clamd::{Clamd, ClamdConf, MARKER, eicar};
use super::super::support::fault_proxy::{Fault, FaultProxy};
use super::super::support::{SlowClamd, eventually, pattern};
use super::objects::{encrypted_zip, gzip, zip};
use super::{look, look_at, look_at_beginning, pieces, reason, subject};

const FOUND: &str = "Local.Eicar.Body.UNOFFICIAL";

fn settings(addresses: &[&str]) -> Settings {
    Settings {
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        max_size: 25 << 20,
        connect_timeout: Duration::from_secs(2),
        not_scannable: NOT_SCANNABLE.map(str::to_owned).to_vec(),
        probe: Probe::None,
    }
}

fn asking(settings: &Settings) -> Arc<dyn Inspector> {
    build("antivirus", settings).unwrap()
}

fn at(address: SocketAddr) -> Arc<dyn Inspector> {
    asking(&settings(&[&format!("tcp://{address}")]))
}

/// An address of this machine where nobody listens.
async fn nobody() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("tcp://{}", listener.local_addr().unwrap())
}

#[tokio::test]
async fn what_clamd_knows_is_found_plain_and_packed_over_both_kinds_of_sockets() {
    let Some(clamd) = Clamd::start(ClamdConf::default()).await else { return };
    for address in [clamd.tcp(), clamd.unix()] {
        let inspector = asking(&settings(&[&address]));
        for object in [Vec::new(), b"hello".to_vec(), pattern(300_000), zip(b"hello"), gzip(b"hello")] {
            assert_eq!(look(&inspector, &object).await, Verdict::Clean, "{} bytes", object.len());
        }
        let behind = |bytes: usize| [pattern(bytes), eicar()].concat();
        for object in [eicar(), zip(&eicar()), gzip(&eicar()), behind(300_000), behind(20 << 20), gzip(&zip(&eicar()))]
        {
            assert_eq!(look(&inspector, &object).await, Verdict::matched(FOUND), "{} bytes", object.len());
        }
        let marked = [pattern(1000), MARKER.to_vec()].concat();
        assert_eq!(look(&inspector, &marked).await, Verdict::matched("Local.Marker.UNOFFICIAL"));
    }
}

#[tokio::test]
async fn h13_what_lies_behind_30_mib_is_found_when_the_limits_are_larger() {
    let conf = ClamdConf { stream_max: "40M", file_max: "40M", ..ClamdConf::default() };
    let Some(clamd) = Clamd::start(conf).await else { return };
    let inspector = asking(&Settings { max_size: 40 << 20, ..settings(&[&clamd.unix()]) });
    let infected = [pattern(30 << 20), eicar()].concat();
    assert_eq!(look(&inspector, &infected).await, Verdict::matched(FOUND));
    assert_eq!(look(&inspector, &infected[..infected.len() - 1]).await, Verdict::Clean);
}

#[tokio::test]
async fn h12_a_match_across_any_border_of_pieces_or_chunks_is_found() {
    let Some(clamd) = Clamd::start(ClamdConf::default()).await else { return };
    let inspector = asking(&settings(&[&clamd.unix()]));
    for cut in 1..eicar().len() {
        let object = [pattern(1000), eicar(), pattern(1000)].concat();
        let (first, second) = object.split_at(1000 + cut);
        let halves = vec![Bytes::copy_from_slice(first), Bytes::copy_from_slice(second)];
        assert_eq!(look_at(&inspector, subject(), halves).await, Verdict::matched(FOUND), "cut at {cut}");
    }
    assert_eq!(look_at(&inspector, subject(), pieces(&eicar(), 1)).await, Verdict::matched(FOUND));
    // A piece larger than a chunk is sent in several.
    for before in (256 * 1024 - 68)..=(256 * 1024) {
        let object = [pattern(before), eicar(), pattern(500)].concat();
        assert_eq!(look_at(&inspector, subject(), vec![object.into()]).await, Verdict::matched(FOUND), "{before}");
    }
}

#[tokio::test]
async fn h13_an_object_larger_than_the_scanner_takes_is_not_scannable() {
    let Some(clamd) = Clamd::start(ClamdConf { stream_max: "1M", ..ClamdConf::default() }).await else { return };
    let small = Settings { max_size: 1 << 20, ..settings(&[&clamd.tcp()]) };
    let not_scannable = |verdict: &Verdict| matches!(verdict, Verdict::NotScannable { .. });
    // Declared: nobody is asked, not even whether he is there.
    let unheard = asking(&Settings { addresses: vec![nobody().await.parse().unwrap()], ..small.clone() });
    let mut declared = subject();
    declared.length = Some((1 << 20) + 1);
    assert!(not_scannable(&look_at(&unheard, declared, pieces(&pattern((1 << 20) + 1), 65536)).await));
    // Undeclared: as soon as it is crossed, by our limit or by clamd's.
    let strict = asking(&small);
    assert_eq!(look(&strict, &pattern(1 << 20)).await, Verdict::Clean);
    assert!(not_scannable(&look(&strict, &pattern((1 << 20) + 1)).await));
    let lax = asking(&settings(&[&clamd.tcp()]));
    for object in [pattern((1 << 20) + 1), [pattern(3 << 20), eicar()].concat(), pattern(20 << 20)] {
        let verdict = look(&lax, &object).await;
        assert!(not_scannable(&verdict), "{verdict:?}");
    }
    // And it is said at the start.
    let checked = asking(&Settings { probe: Probe::Basic, ..settings(&[&clamd.tcp()]) }).check().await.unwrap();
    assert!(checked.warnings.iter().any(|warning| warning.contains("StreamMaxLength")), "{checked:?}");
}

#[tokio::test]
async fn a_clamd_that_calls_large_objects_clean_unseen_is_not_used() {
    let silent = ClamdConf { file_max: "1M", alerts: false, ..ClamdConf::default() };
    let Some(mut clamd) = Clamd::start(silent.clone()).await else { return };
    let infected = [eicar(), pattern(3 << 20)].concat();
    // This is what it does: the virus is at the very beginning.
    let trusting = asking(&settings(&[&clamd.tcp()]));
    assert_eq!(look(&trusting, &infected).await, Verdict::Clean);
    assert_eq!(trusting.check().await.unwrap().warnings, [""; 0]);
    // And this is why it is probed.
    let probing = asking(&Settings { probe: Probe::Basic, ..settings(&[&clamd.tcp()]) });
    let problem = Arc::clone(&probing).check().await.unwrap_err();
    assert!(problem.contains("MaxFileSize"), "{problem}");
    assert!(reason(&look(&probing, b"small").await).contains("MaxFileSize"));
    // What it takes is within what it looks at: used. Archives that unpack to more are worth a warning.
    let within = asking(&Settings { max_size: 1 << 20, probe: Probe::Basic, ..settings(&[&clamd.tcp()]) });
    let health = Arc::clone(&within).check().await.unwrap();
    assert!(health.version.starts_with("ClamAV "), "{health:?}");
    let warned = |word: &str| health.warnings.iter().any(|warning| warning.contains(word));
    assert!(warned("AlertExceedsMax") && warned("AlertEncrypted"), "{health:?}");
    assert_eq!(look(&within, b"small").await, Verdict::Clean);
    // Or not used either, if the operator wants that.
    let strict = asking(&Settings { max_size: 1 << 20, probe: Probe::Strict, ..settings(&[&clamd.tcp()]) });
    assert!(Arc::clone(&strict).check().await.unwrap_err().contains("AlertExceedsMax"));
    // Set right and started again, it is used.
    clamd.restart(ClamdConf::default()).await;
    for (inspector, object) in [(probing, infected), (strict, eicar())] {
        assert_eq!(Arc::clone(&inspector).check().await.unwrap().warnings, [""; 0]);
        assert_eq!(look(&inspector, &object).await, Verdict::matched(FOUND));
    }
}

#[tokio::test]
async fn h13_a_clamd_is_not_asked_before_it_was_tried() {
    let silent = ClamdConf { file_max: "1M", alerts: false, ..ClamdConf::default() };
    let Some(mut clamd) = Clamd::start(silent.clone()).await else { return };
    let infected = [eicar(), pattern(3 << 20)].concat();
    // Nobody has asked for its health yet.
    let probing = asking(&Settings { probe: Probe::Basic, ..settings(&[&clamd.tcp()]) });
    assert!(reason(&look(&probing, &infected).await).contains("MaxFileSize"));
    clamd.restart(ClamdConf::default()).await;
    let probing = asking(&Settings { probe: Probe::Basic, ..settings(&[&clamd.tcp()]) });
    assert_eq!(look(&probing, b"small").await, Verdict::Clean);
    // It was away, and came back with other limits.
    clamd.kill();
    assert!(matches!(look(&probing, b"small").await, Verdict::Error { .. }));
    clamd.restart(silent).await;
    assert!(reason(&look(&probing, &infected).await).contains("MaxFileSize"));
}

#[tokio::test]
async fn a_scan_size_below_the_object_size_is_found_out_as_well() {
    let silent = ClamdConf { scan_max: "1M", alerts: false, ..ClamdConf::default() };
    let Some(clamd) = Clamd::start(silent).await else { return };
    let inspector = asking(&Settings { probe: Probe::Basic, ..settings(&[&clamd.tcp()]) });
    assert!(Arc::clone(&inspector).check().await.unwrap_err().contains("MaxScanSize"));
}

#[tokio::test]
async fn h15_what_clamd_did_not_look_at_as_a_whole_is_not_scannable() {
    let conf = ClamdConf { file_max: "1M", scan_max: "2M", ..ClamdConf::default() };
    let Some(clamd) = Clamd::start(conf).await else { return };
    let inspector = asking(&settings(&[&clamd.tcp()]));
    let nested = (0..3).fold([vec![0; 64 << 20], eicar()].concat(), |inner, _| gzip(&inner));
    for (what, object, name) in [
        ("larger than MaxFileSize", [eicar(), pattern(3 << 20)].concat(), "Heuristics.Limits.Exceeded.MaxFileSize"),
        ("a bomb", nested, "Heuristics.Limits.Exceeded.MaxFileSize"),
        ("encrypted", encrypted_zip(&eicar()), "Heuristics.Encrypted.Zip"),
    ] {
        assert_eq!(look(&inspector, &object).await, Verdict::not_scannable(name), "{what}");
    }
    // The operator may see it differently.
    let names = vec!["Heuristics.Limits.".to_owned()];
    let inspector = asking(&Settings { not_scannable: names, ..settings(&[&clamd.tcp()]) });
    assert_eq!(look(&inspector, &encrypted_zip(b"x")).await, Verdict::matched("Heuristics.Encrypted.Zip"));
}

#[tokio::test]
async fn encodings_that_clamd_does_not_decode_are_not_scannable() {
    let Some(clamd) = Clamd::start(ClamdConf::default()).await else { return };
    let inspector = asking(&settings(&[&clamd.tcp()]));
    for (coding, scannable) in [
        ("gzip", true),
        ("identity", true),
        ("X-GZIP, identity", true),
        ("br", false),
        ("zstd", false),
        ("deflate", false),
        ("gzip, br", false),
        ("snappy", false),
    ] {
        let mut subject = subject();
        subject.content_encoding = Some(coding.to_owned());
        let verdict = look_at(&inspector, subject, pieces(&gzip(&eicar()), 65536)).await;
        let as_expected = if scannable {
            verdict == Verdict::matched(FOUND)
        } else {
            matches!(verdict, Verdict::NotScannable { .. })
        };
        assert!(as_expected, "{coding}: {verdict:?}");
    }
}

#[tokio::test]
async fn of_two_addresses_the_one_that_works_is_asked() {
    let Some(mut clamd) = Clamd::start(ClamdConf::default()).await else { return };
    let dead = nobody().await;
    let inspector = asking(&settings(&[&dead, &clamd.tcp(), "unix:/nonexistent/clamd.ctl"]));
    for _ in 0..3 {
        assert_eq!(look(&inspector, &eicar()).await, Verdict::matched(FOUND));
    }
    let health = Arc::clone(&inspector).check().await.unwrap();
    assert_eq!(health.warnings.len(), 2, "{health:?}");
    assert!(health.warnings[0].contains(&dead), "{health:?}");
    clamd.kill();
    assert!(reason(&look(&inspector, b"hello").await).contains(&dead));
    let problem = Arc::clone(&inspector).check().await.unwrap_err();
    assert!(problem.contains(&dead) && problem.contains("/nonexistent/clamd.ctl"), "{problem}");
    // It is asked again as soon as it is there.
    clamd.restart(ClamdConf::default()).await;
    assert_eq!(look(&inspector, &eicar()).await, Verdict::matched(FOUND));
}

/// Begins a look at a small object; it is there as a whole, and `given_up` says whether that look ends for lack of a verdict.
async fn end_a_look(inspector: &Arc<dyn Inspector>, slow: &SlowClamd, given_up: bool) {
    let (mut feed, content) = channel();
    let looking = tokio::spawn(Arc::clone(inspector).look(Arc::new(subject()), content));
    for piece in [Some("an object"), None] {
        std::future::poll_fn(|context| feed.poll_ready(context)).await;
        match piece {
            Some(piece) => feed.push(Bytes::from(piece)),
            None => feed.end(),
        }
    }
    let left = slow.left();
    eventually("all of the object is there", || slow.waiting() == 1).await;
    if given_up {
        feed.give_up();
    }
    looking.abort();
    assert!(looking.await.unwrap_err().is_cancelled());
    eventually("the look ends", || slow.left() == left + 1 && slow.waiting() == 0).await;
}

#[tokio::test]
async fn a_clamd_without_verdicts_is_asked_last_until_it_has_some() {
    let Some(clamd) = Clamd::start(ClamdConf::default()).await else { return };
    let slow = SlowClamd::start().await;
    let addresses = [format!("tcp://{}", slow.address), clamd.tcp()];
    let quick =
        Settings { connect_timeout: Duration::from_millis(300), ..settings(&addresses.each_ref().map(String::as_str)) };
    let inspector = asking(&quick);
    // A client that goes away says nothing of the scanner.
    end_a_look(&inspector, &slow, false).await;
    assert_eq!(Arc::clone(&inspector).check().await.unwrap().warnings, [""; 0]);
    end_a_look(&inspector, &slow, true).await;
    assert_eq!(look(&inspector, &eicar()).await, Verdict::matched(FOUND), "the other is asked");
    // It says its version as before, and that is no verdict.
    let health = Arc::clone(&inspector).check().await.unwrap();
    assert!(matches!(&health.warnings[..], [warning] if warning.contains(&addresses[0])), "{health:?}");
    assert_eq!(look(&inspector, &eicar()).await, Verdict::matched(FOUND), "the other is still asked");
    slow.speak();
    assert_eq!(Arc::clone(&inspector).check().await.unwrap().warnings, [""; 0]);
    // It calls everything clean.
    assert_eq!(look(&inspector, &eicar()).await, Verdict::Clean, "the first is asked again");
}

#[tokio::test]
async fn of_two_clamds_the_one_with_the_right_limits_is_asked() {
    let silent = ClamdConf { file_max: "1M", alerts: false, ..ClamdConf::default() };
    let Some(lax) = Clamd::start(silent).await else { return };
    let Some(fit) = Clamd::start(ClamdConf::default()).await else { return };
    let infected = [eicar(), pattern(3 << 20)].concat();
    let inspector = asking(&Settings { probe: Probe::Basic, ..settings(&[&lax.tcp(), &fit.tcp()]) });
    let health = Arc::clone(&inspector).check().await.expect("one of them can work");
    let told = |warning: &String| warning.contains(&lax.tcp()) && warning.contains("MaxFileSize");
    assert!(health.warnings.iter().any(told), "{health:?}");
    assert_eq!(look(&inspector, &infected).await, Verdict::matched(FOUND));
}

#[tokio::test]
async fn of_two_clamds_one_that_was_stuck_from_the_start_keeps_nobody_waiting() {
    let Some(clamd) = Clamd::start(ClamdConf::default()).await else { return };
    let stuck = SlowClamd::start().await;
    let addresses = [format!("tcp://{}", stuck.address), clamd.tcp()];
    let addresses = addresses.each_ref().map(String::as_str);
    let inspector = asking(&Settings { probe: Probe::Basic, ..settings(&addresses) });
    let checked = tokio::time::timeout(std::time::Duration::from_secs(30), Arc::clone(&inspector).check());
    let health = checked.await.expect("not as long as a trial").expect("one of them can work");
    assert!(health.warnings.iter().any(|warning| warning.contains("is still being tried")), "{health:?}");
    assert_eq!(look(&inspector, &eicar()).await, Verdict::matched(FOUND));
}

#[tokio::test]
async fn h12_a_clamd_that_dies_in_the_middle_is_an_error_and_the_next_object_goes_on() {
    let Some(mut clamd) = Clamd::start(ClamdConf::default()).await else { return };
    let inspector = asking(&settings(&[&clamd.tcp()]));
    let (mut feed, content) = channel();
    let look_running = tokio::spawn(Arc::clone(&inspector).look(Arc::new(subject()), content));
    for _ in 0..50 {
        std::future::poll_fn(|context| feed.poll_ready(context)).await;
        feed.push(Bytes::from(pattern(65536)));
    }
    clamd.kill();
    feed.all(pieces(&pattern(1 << 20), 65536)).await;
    reason(&look_running.await.unwrap());
    reason(&look(&inspector, b"hello").await);
    clamd.restart(ClamdConf::default()).await;
    assert_eq!(look(&inspector, b"hello").await, Verdict::Clean);
}

#[tokio::test]
async fn h12_a_clamd_that_stands_still_says_nothing_and_is_not_healthy() {
    let Some(clamd) = Clamd::start(ClamdConf::default()).await else { return };
    let quick = Settings { connect_timeout: Duration::from_millis(300), ..settings(&[&clamd.tcp()]) };
    let inspector = asking(&quick);
    clamd.signal("STOP");
    assert!(Arc::clone(&inspector).check().await.unwrap_err().contains("did not answer"));
    let (feed, content) = channel();
    let mut looking = Arc::clone(&inspector).look(Arc::new(subject()), content);
    let fed = tokio::spawn(feed.all(pieces(&eicar(), 65536)));
    let waited = tokio::time::timeout(Duration::from_millis(300), &mut looking).await;
    assert!(waited.is_err(), "a verdict of nobody: {waited:?}");
    clamd.signal("CONT");
    assert_eq!(looking.await, Verdict::matched(FOUND));
    fed.await.unwrap();
    Arc::clone(&inspector).check().await.unwrap();
}

#[tokio::test]
async fn h12_no_fault_between_gateway_and_clamd_makes_an_object_clean() {
    let Some(clamd) = Clamd::start(ClamdConf::default()).await else { return };
    let infected = [pattern(200_000), eicar(), pattern(200_000)].concat();
    let proxied = |fault| FaultProxy::start(clamd.socket_address(), fault);
    for fault in [Fault::None, Fault::Slow(Duration::from_millis(1))] {
        let proxy = proxied(fault).await;
        assert_eq!(look(&at(proxy.address), &infected).await, Verdict::matched(FOUND), "{fault:?}");
        assert_eq!(look(&at(proxy.address), b"hello").await, Verdict::Clean, "{fault:?}");
    }
    let mut faults = Vec::new();
    for after in [1, 9, 12, 14, 70_000, 400_000] {
        faults.extend([Fault::Reset(after), Fault::Close(after)]);
        for words in [
            &b"stream: OK\0"[..],
            b"stream: OK",
            b"INSTREAM size limit exceeded. ERROR\0",
            b"COMMAND READ TIMED OUT\n",
            b"\0",
            b"stream: OK\0stream: OK\0",
            b"\xff\xfe",
        ] {
            let proxy = proxied(Fault::Say(after, words)).await;
            let verdict = look_at_beginning(&at(proxy.address), &infected).await;
            assert_ne!(verdict, Verdict::Clean, "{after} {words:?}");
        }
    }
    // The command and the first length.
    faults.extend((0..14).map(Fault::FlipQuestion));
    faults.extend((0..38).map(Fault::FlipAnswer));
    faults.extend((0..37).map(Fault::ShortAnswer));
    let mut running = tokio::task::JoinSet::new();
    for fault in faults {
        let proxy = proxied(fault).await;
        let infected = infected.clone();
        running.spawn(async move {
            let inspector = at(proxy.address);
            let looked = tokio::time::timeout(Duration::from_secs(5), look(&inspector, &infected)).await;
            // A length that became too long lets clamd wait: that is the affair of the time limit outside.
            assert_ne!(looked, Ok(Verdict::Clean), "{fault:?}");
        });
    }
    while let Some(done) = running.join_next().await {
        done.unwrap();
    }
    // A clean object is not clean either if its answer was.
    for fault in (0..11).map(Fault::FlipAnswer).chain((0..11).map(Fault::ShortAnswer)) {
        let proxy = proxied(fault).await;
        reason(&look(&at(proxy.address), b"hello").await);
    }
    let proxy = proxied(Fault::Say(70_000, b"INSTREAM size limit exceeded. ERROR\0")).await;
    let verdict = look_at_beginning(&at(proxy.address), &infected).await;
    assert!(matches!(verdict, Verdict::NotScannable { .. }), "{verdict:?}");
}

#[tokio::test]
async fn what_is_no_clamd_is_not_healthy() {
    let Some(clamd) = Clamd::start(ClamdConf::default()).await else { return };
    for words in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b"ClamAV 1.4.6", b"\0", b""] {
        let proxy = FaultProxy::start(clamd.socket_address(), Fault::Say(1, words)).await;
        let problem = at(proxy.address).check().await.unwrap_err();
        assert!(problem.contains("is not a clamd"), "{problem}");
    }
}

//! What an inspector rejects is nowhere: every form of upload, real stores, racing readers; and what inspection does to those who wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::primitives::ByteStream;
use countersign::audit::Record;
use countersign::s3::checksum::ChecksumAlgorithm;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

use super::boto::{python, world};
use super::support::certs::Authority;
use super::support::post::{self, PostForm};
use super::support::recorder::response;
use super::support::{
    Answer, Form, Gateway, KeyClient, Recorder, Response, Setup, SlowClamd, Store, StoreKind, Transfer, eventually,
    pattern, raw,
};

const MIB: usize = 1 << 20;
/// What the inspector looks for.
const MARKER: &[u8] = b"countersign-forbidden-words-7f3a";
const INSPECTORS: &str =
    "inspectors: { words: { patterns: { literals: { bad: countersign-forbidden-words-7f3a } }, timeout: 20s } }";
/// Below `a/` everything is looked at, below `b/` nothing.
const RULES: &str = "
  - { name: looked-at, who: { tokens: [a], keys: [a, forms] }, where: bkt/a/, what: [read, write, delete], inspect: { with: words, multipart: per_part } }
  - { name: free, who: { tokens: [a, b], keys: [a] }, where: bkt/b/, what: [read, write, delete] }";
const REJECTED: (u16, &str) = (403, "ContentRejected");

const FORMS: [Form; 5] = [
    Form::Hash,
    Form::Unsigned,
    Form::UnsignedChunks(Some(ChecksumAlgorithm::Crc32)),
    Form::SignedChunks,
    Form::SignedTrailer(ChecksumAlgorithm::Crc64Nvme),
];

fn looking(setup: Setup) -> Setup {
    setup.rules(RULES).top(INSPECTORS).access_key("forms", post::KEY_ID, post::SECRET)
}

fn key_client(gateway: &Gateway) -> KeyClient {
    KeyClient::new(gateway.address, post::KEY_ID, post::SECRET)
}

/// An object with the marker at its start, in its middle and as its last bytes.
fn bad_objects(size: usize) -> Vec<(&'static str, Vec<u8>)> {
    let last = size - MARKER.len();
    let put = |at: usize| {
        let mut object = pattern(size);
        object[at..at + MARKER.len()].copy_from_slice(MARKER);
        object
    };
    vec![("first", put(0)), ("middle", put(last / 2)), ("last", put(last))]
}

fn assert_rejected(record: &Record, case: &str) {
    let finding = &record.inspection.as_ref().unwrap_or_else(|| panic!("{case}: {record:?}"))[0];
    assert_eq!((finding.inspector.as_str(), finding.verdict), ("words", "matched"), "{case}");
    assert_eq!(finding.name.as_deref(), Some("literals.bad"), "{case}");
    assert_eq!((record.inspection_action, record.code), (Some("refuse"), Some("ContentRejected")), "{case}");
}

/// Sends an object that is rejected and one that is not: the one is nowhere, the other is stored as it is.
async fn judge(
    store: &Store,
    gateway: &Gateway,
    case: &str,
    size: usize,
    send: impl AsyncFn(&'static str, Vec<u8>) -> Response,
) {
    store.put("a/old", b"old").await;
    for (place, object) in bad_objects(size) {
        for key in ["a/old", "a/new"] {
            let case = format!("{case} {size} {place} {key}");
            let before = gateway.records().len();
            let answer = send(key, object.clone()).await;
            assert_eq!(answer.outcome(), (REJECTED.0, REJECTED.1.to_owned()), "{case}");
            let text = answer.text();
            assert!(!text.contains("bad") && !text.contains("words"), "{case}: {text}");
            assert_rejected(&gateway.record(before + 1).await, &case);
        }
        assert_eq!(store.read("a/old").await.as_deref(), Some(b"old".as_slice()), "{case} {size} {place}");
        assert_eq!(store.keys("").await, ["a/old"], "{case} {size} {place}");
    }
    let object = pattern(size);
    let before = gateway.records().len();
    let stored = send("a/old", object.clone()).await;
    assert!(stored.status.is_success(), "{case} {size}: {}", stored.text());
    assert!(store.read("a/old").await.unwrap() == object, "{case} {size}");
    let record = gateway.record(before + 1).await;
    let finding = &record.inspection.as_ref().unwrap()[0];
    assert_eq!((finding.verdict, finding.bytes, finding.name.as_deref()), ("clean", size as u64, None), "{case}");
    assert_eq!(record.inspection_action, Some("allow"), "{case}");
}

#[tokio::test]
async fn h12_no_form_of_a_signed_upload_stores_what_is_rejected() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let gateway = looking(store.setup()).start().await;
        let client = key_client(&gateway);
        for (form, transfer) in FORMS.into_iter().flat_map(|form| Transfer::ALL.map(|way| (form, way))) {
            let send = async |key: &'static str, object: Vec<u8>| {
                client.send("PUT", &format!("/bkt/{key}"), &[], &object, form, transfer).await
            };
            for size in [40, 300_000] {
                judge(&store, &gateway, &format!("{kind:?} {form:?} {transfer:?}"), size, send).await;
            }
        }
    }
}

#[tokio::test]
async fn h12_neither_http2_nor_a_presigned_url_nor_a_token_stores_what_is_rejected() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let authority = Authority::new();
        let identity = authority.vouch_for(&["127.0.0.1"]);
        let over_tls = looking(store.setup().tls(&identity)).start().await;
        for transfer in Transfer::ALL {
            let send = async |key: &'static str, object: Vec<u8>| {
                let connector = TlsConnector::from(Arc::new(authority.client(&["h2"])));
                let stream = TcpStream::connect(over_tls.address).await.unwrap();
                let stream = connector.connect(ServerName::try_from("127.0.0.1").unwrap(), stream).await.unwrap();
                let client = key_client(&over_tls);
                let form = Form::UnsignedChunks(Some(ChecksumAlgorithm::Crc32));
                let signed = client.sign("PUT", &format!("/bkt/{key}"), &[], &object, form);
                client.send_over(stream, true, &signed, transfer).await
            };
            judge(&store, &over_tls, &format!("{kind:?} HTTP/2 {transfer:?}"), 300_000, send).await;
        }
        let gateway = looking(store.setup()).start().await;
        let presigned = async |key: &'static str, object: Vec<u8>| {
            let url = gateway.key_a.presign("PUT", &format!("/bkt/{key}"), &[], 60);
            gateway.key_a.send(&url, object).await
        };
        judge(&store, &gateway, &format!("{kind:?} presigned"), 300_000, presigned).await;
        let token = async |key: &'static str, object: Vec<u8>| gateway.a.put(&format!("/bkt/{key}"), &[], object).await;
        judge(&store, &gateway, &format!("{kind:?} token"), 300_000, token).await;
    }
}

#[tokio::test]
async fn h12_no_browser_form_stores_what_is_rejected() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let gateway = looking(store.setup()).start().await;
        for declared in [true, false] {
            let send = async |key: &'static str, object: Vec<u8>| {
                let form = PostForm::to(key).file(&object);
                if declared { form.send(&gateway).await } else { form.chunked().send(&gateway).await }
            };
            judge(&store, &gateway, &format!("{kind:?} form, declared: {declared}"), 300_000, send).await;
        }
    }
}

#[tokio::test]
async fn h12_an_upload_of_unknown_length_in_several_parts_leaves_nothing_of_what_is_rejected() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let gateway = looking(store.setup()).start().await;
        let client = key_client(&gateway);
        let send = async |key: &'static str, object: Vec<u8>| {
            client.send("PUT", &format!("/bkt/{key}"), &[], &object, Form::Unsigned, Transfer::Chunked).await
        };
        judge(&store, &gateway, &format!("{kind:?}"), 18 * MIB + 1, send).await;
        store.until_no_uploads().await;
    }
}

#[tokio::test]
async fn h12_a_part_is_looked_at_by_itself_if_the_rule_says_so() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let gateway = looking(store.setup()).start().await;
        let create = gateway.a.send("POST", "/bkt/a/x?uploads", &[], "").await;
        let id = create.element("UploadId");
        for (place, object) in bad_objects(300_000) {
            let answer = gateway.a.put(&format!("/bkt/a/x?partNumber=1&uploadId={id}"), &[], object).await;
            assert_eq!(answer.outcome(), (REJECTED.0, REJECTED.1.to_owned()), "{kind:?} {place}");
        }
        let list = gateway.a.get(&format!("/bkt/a/x?uploadId={id}")).await;
        assert!(list.status == 200 && !list.text().contains("<Part>"), "{kind:?}: {}", list.text());
        let clean = gateway.a.put(&format!("/bkt/a/x?partNumber=1&uploadId={id}"), &[], pattern(300_000)).await;
        assert_eq!(clean.status, 200, "{kind:?}: {}", clean.text());
    }
}

#[tokio::test]
async fn h12_a_store_that_has_taken_most_of_a_rejected_upload_never_gets_its_end() {
    let recorder = Recorder::start(Answer::ok()).await;
    let gateway = looking(Setup::before(&recorder)).start().await;
    for (number, (place, object)) in bad_objects(2 * MIB).into_iter().enumerate() {
        let answer = gateway.a.put("/bkt/a/x", &[], object).await;
        assert_eq!(answer.outcome(), (REJECTED.0, REJECTED.1.to_owned()), "{place}");
        assert!(recorder.nothing_committed(), "{place}");
        // The connection in whose middle the upload broke off carries nothing any more.
        eventually("the connections end", || recorder.open() == 0).await;
        let begun = recorder.requests();
        assert!(begun.iter().all(|request| request.reset), "{place}");
        assert_eq!(begun.len(), number, "the first bytes are held until the inspectors have taken them: {place}");
    }
    let small = gateway.a.put("/bkt/a/x", &[], MARKER).await;
    assert_eq!(small.outcome(), (REJECTED.0, REJECTED.1.to_owned()));
    assert_eq!(recorder.requests().len(), 2, "of a small object the store hears nothing");
}

#[tokio::test]
async fn an_object_that_no_rule_wants_looked_at_is_not() {
    let recorder = Recorder::start(Answer::ok()).await;
    let gateway = looking(Setup::before(&recorder)).start().await;
    assert_eq!(gateway.a.put("/bkt/b/x", &[], MARKER).await.status, 200);
    let record = gateway.record(1).await;
    assert_eq!((record.inspection, record.inspection_action), (None, None));
}

#[tokio::test]
async fn the_rule_says_what_a_verdict_leads_to() {
    let recorder = Recorder::start(Answer::ok()).await;
    let rules = RULES.replace("with: words,", "with: words, matched: allow,");
    let plain = Setup::before(&recorder).upstream("payload: unsigned").upstream("checksum: header");
    let gateway = looking(plain).rules(&rules).start().await;
    assert_eq!(gateway.a.put("/bkt/a/x", &[], MARKER).await.status, 200);
    assert_eq!(recorder.only().body, MARKER);
    let record = gateway.record(1).await;
    let finding = &record.inspection.as_ref().unwrap()[0];
    assert_eq!((finding.verdict, record.inspection_action, record.code), ("matched", Some("allow"), None));
}

#[tokio::test]
async fn h12_readers_never_see_a_byte_of_a_rejected_object() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let gateway = looking(store.setup()).start().await;
        store.put("a/old", b"old").await;
        let done = Arc::new(AtomicBool::new(false));
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let (store, done) = (store.clone(), Arc::clone(&done));
                tokio::spawn(async move {
                    let mut reads = 0;
                    while !done.load(Ordering::Relaxed) {
                        assert_eq!(store.read("a/old").await.as_deref(), Some(b"old".as_slice()));
                        assert_eq!(store.read("a/new").await, None);
                        reads += 1;
                    }
                    reads
                })
            })
            .collect();
        for (number, (_, object)) in (0..10).flat_map(|_| bad_objects(300_000)).enumerate() {
            let key = ["a/old", "a/new"][number % 2];
            let answer = gateway.a.put(&format!("/bkt/{key}"), &[], object).await;
            assert_eq!(answer.outcome(), (REJECTED.0, REJECTED.1.to_owned()), "{kind:?}");
        }
        done.store(true, Ordering::Relaxed);
        for reader in readers {
            assert!(reader.await.unwrap() > 0, "{kind:?}");
        }
    }
}

#[tokio::test]
async fn a_rejected_upload_is_not_tried_again_by_boto3() {
    let recorder = Recorder::start(Answer::ok()).await;
    let gateway = looking(Setup::before(&recorder)).start().await;
    if python("boto.py", "rejected", world(&gateway, None)).await {
        assert_eq!(gateway.records().len(), 1);
        assert!(recorder.is_silent());
    }
}

#[tokio::test]
async fn a_rejected_upload_is_not_tried_again_by_the_aws_sdk() {
    let recorder = Recorder::start(Answer::ok()).await;
    let gateway = looking(Setup::before(&recorder)).start().await;
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(format!("http://{}", gateway.address))
        .force_path_style(true)
        .credentials_provider(Credentials::new(post::KEY_ID, post::SECRET, None, None, "test"));
    let client = aws_sdk_s3::Client::from_conf(config.build());
    let put = client.put_object().bucket("bkt").key("a/x").body(ByteStream::from_static(MARKER)).send().await;
    let error = put.unwrap_err().into_service_error();
    assert_eq!(error.code(), Some("ContentRejected"));
    assert_eq!(gateway.records().len(), 1);
    assert!(recorder.is_silent());
}

/// Begins an upload and leaves it in its middle.
async fn begin(gateway: &Gateway, token: &str, key: &str) -> TcpStream {
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let head = format!(
        "PUT /bkt/{key} HTTP/1.1\r\nhost: gw\r\nauthorization: Bearer {token}\r\ncontent-length: 100\r\nexpect: 100-continue\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

async fn running(gateway: &Gateway, what: &str) -> u64 {
    let text = gateway.ask_admin("/metrics").await.text();
    let line = format!("countersign_inspection_{what}{{inspector=\"words\"}} ");
    text.lines().find_map(|text| text.strip_prefix(&line)).unwrap_or_else(|| panic!("{text}")).parse().unwrap()
}

async fn until_running(gateway: &Gateway, what: &str, count: u64) {
    let start = Instant::now();
    while running(gateway, what).await != count {
        assert!(start.elapsed() < Duration::from_secs(30), "{count} {what}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn l08_who_finds_no_place_at_an_inspector_is_told_to_come_later_and_nobody_else_is_held_up() {
    let recorder = Recorder::start(Answer::ok()).await;
    let queue = "max_scans: 1, max_waiting: 1, queue_timeout: 300ms, timeout: 20s";
    let gateway = looking(Setup::before(&recorder));
    let gateway = Setup { top: vec![INSPECTORS.replace("timeout: 20s", queue)], ..gateway }.start().await;
    let slow = begin(&gateway, &gateway.a.token, "a/slow").await;
    until_running(&gateway, "running", 1).await;
    // The second waits for its turn in vain; the third does not even get to wait.
    let mut second = begin(&gateway, &gateway.a.token, "a/second").await;
    until_running(&gateway, "waiting", 1).await;
    let third = gateway.a.put("/bkt/a/third", &[], "x").await;
    assert_eq!(third.outcome(), (503, "SlowDown".into()));
    assert_eq!(third.header("retry-after"), "2");
    assert_eq!(gateway.a.put("/bkt/b/free", &[], "x").await.status, 200, "what needs no inspector");
    assert_eq!(gateway.a.get("/bkt/a/read").await.status, 200, "what needs none under the same rule");
    // Refused by its head: no `100 Continue` came before.
    let answer = raw::read_all(&mut second).await;
    assert_eq!(raw::status(&answer), 503, "{answer}");
    drop(slow);
    until_running(&gateway, "running", 0).await;
    assert_eq!(gateway.a.put("/bkt/a/later", &[], "x").await.status, 200);
    assert!(recorder.requests().iter().all(|request| !request.head.contains("second")));
}

#[tokio::test]
async fn the_place_of_an_upload_comes_free_when_its_client_leaves() {
    let recorder = Recorder::start(Answer::ok()).await;
    let gateway = looking(Setup::before(&recorder)).start().await;
    let mut slow = begin(&gateway, &gateway.a.token, "a/slow").await;
    let mut interim = vec![0; raw::CONTINUE.len()];
    slow.read_exact(&mut interim).await.unwrap();
    assert_eq!(interim, raw::CONTINUE, "it has its place");
    slow.write_all(b"some bytes").await.unwrap();
    until_running(&gateway, "running", 1).await;
    drop(slow);
    until_running(&gateway, "running", 0).await;
    assert!(recorder.nothing_committed());
}

#[tokio::test]
async fn verdicts_bytes_and_times_are_counted() {
    let recorder = Recorder::start(Answer::ok()).await;
    let gateway = looking(Setup::before(&recorder)).start().await;
    gateway.a.put("/bkt/a/x", &[], MARKER).await;
    gateway.a.put("/bkt/a/x", &[], "clean").await;
    gateway.a.put("/bkt/a/x", &[], "").await;
    let text = gateway.ask_admin("/metrics").await.text();
    for line in [
        "countersign_inspections_total{inspector=\"words\",verdict=\"matched\"} 1",
        "countersign_inspections_total{inspector=\"words\",verdict=\"clean\"} 2",
        "countersign_inspections_total{inspector=\"words\",verdict=\"error\"} 0",
        "countersign_inspection_seconds_count{inspector=\"words\"} 3",
        "countersign_inspected_bytes_total{inspector=\"words\"} 37",
        "countersign_inspector_up{inspector=\"words\"} 1",
        "countersign_inspector_breaker_open{inspector=\"words\"} 0",
        "countersign_refusals_total{code=\"ContentRejected\",kind=\"blocked\"} 1",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert_eq!(gateway.ask_admin("/readyz").await.status, 200);
}

/// Before a recorder, with a clamd whose verdicts the test gives.
async fn before_slow_clamd(
    recorder: &Recorder,
    clamd: &SlowClamd,
    keys: &str,
    setup: impl Fn(Setup) -> Setup,
) -> Gateway {
    let setup = setup(looking(Setup::before(recorder)));
    Setup { top: vec![clamd.inspector(keys)], ..setup }.start().await
}

#[tokio::test]
async fn h12_a_slow_verdict_is_waited_for_and_blames_neither_the_store_nor_the_client() {
    let (recorder, clamd) = (Recorder::start(Answer::ok()).await, SlowClamd::start().await);
    // Far shorter than the verdict takes; `watch_upload` looks every half second.
    let hasty = |setup: Setup| {
        let setup = setup.upstream("timeouts: { idle: 200ms, first_byte: 5s }");
        setup.limits("{ timeouts: { body_idle: 200ms }, body_rate_window: 1s, min_body_rate: 1MiB }")
    };
    let gateway = before_slow_clamd(&recorder, &clamd, "timeout: 60s", hasty).await;
    let committed = || recorder.requests().iter().filter(|request| request.complete).count();
    for (number, transfer) in Transfer::ALL.into_iter().enumerate() {
        let client = key_client(&gateway);
        let object = pattern(2 * MIB);
        let put = client.send("PUT", "/bkt/a/x", &[], &object, Form::Unsigned, transfer);
        let speak = async {
            eventually("all of the object is there", || clamd.waiting() == 1).await;
            // The subject of the test: time passes, and nobody gives up.
            tokio::time::sleep(Duration::from_millis(1500)).await;
            assert_eq!(committed(), number, "{transfer:?}");
            clamd.speak();
        };
        let (answer, ()) = tokio::join!(put, speak);
        assert_eq!(answer.status, 200, "{transfer:?}: {}", answer.text());
        assert_eq!(committed(), number + 1, "{transfer:?}");
        clamd.be_silent();
    }
}

#[tokio::test]
async fn h12_an_inspector_that_hangs_fails_its_uploads_and_hinders_no_others() {
    let (recorder, clamd) = (Recorder::start(Answer::ok()).await, SlowClamd::start().await);
    let keys = "timeout: 500ms, breaker: { failures: 2, pause: 1h }";
    let gateway = before_slow_clamd(&recorder, &clamd, keys, |setup| setup).await;
    let hangs = gateway.a.put("/bkt/a/x", &[], pattern(MIB));
    let others = async {
        eventually("all of the object is there", || clamd.waiting() == 1).await;
        for _ in 0..20 {
            assert_eq!(gateway.a.put("/bkt/b/x", &[], "x").await.status, 200);
            assert_eq!(gateway.a.get("/bkt/a/x").await.status, 200);
        }
    };
    let (hung, ()) = tokio::join!(hangs, others);
    assert_eq!(hung.outcome(), (403, "InspectionFailed".into()));
    assert!(!hung.text().contains("clamd") && !hung.text().contains("127.0.0.1"), "{}", hung.text());
    assert!(recorder.requests().iter().all(|request| !request.complete || !request.head.starts_with("PUT /up-bkt/a/")));
    eventually("the scanner is left", || clamd.left() == 1).await;
    assert_eq!(gateway.a.put("/bkt/a/x", &[], "x").await.outcome(), (403, "InspectionFailed".into()));
    // From now on it is not asked, and the client is not asked for its body.
    let mut stream = begin(&gateway, &gateway.a.token, "a/x").await;
    let answer = raw::read_all(&mut stream).await;
    assert!(raw::status(&answer) == 403 && answer.contains("<Code>InspectionFailed</Code>"), "{answer}");
    assert_eq!(clamd.waiting() + clamd.left(), 2);
    let last = gateway.records().last().cloned().unwrap();
    let finding = &last.inspection.as_ref().unwrap()[0];
    assert_eq!((finding.verdict, finding.bytes, last.bytes_in), ("error", 0, 0));
    assert_eq!(finding.reason.as_deref(), Some("it is not asked, because it failed again and again"));
}

#[tokio::test]
async fn h16_bytes_that_come_one_by_one_reach_a_scanner_in_few_pieces() {
    const COUNT: usize = 100_000;
    let (recorder, clamd) = (Recorder::start(Answer::ok()).await, SlowClamd::start().await);
    let gateway = before_slow_clamd(&recorder, &clamd, "timeout: 60s", |setup| setup).await;
    clamd.speak();
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let token = &gateway.a.token;
    let head = format!(
        "PUT /bkt/a/x HTTP/1.1\r\nhost: gw\r\nauthorization: Bearer {token}\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all("1\r\na\r\n".repeat(COUNT).as_bytes()).await.unwrap();
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    let answer = raw::read_answer(&mut stream).await;
    assert_eq!(raw::status(&answer), 200, "{answer}");
    let stored = recorder.requests().into_iter().find(|request| request.head.starts_with("PUT")).unwrap();
    assert!(stored.complete && stored.body == vec![b'a'; COUNT], "{}", stored.head);
    // 7 of 16 KiB, and one whenever nothing came for 10 ms.
    assert!((1..COUNT / 100).contains(&clamd.chunks()), "{}", clamd.chunks());
}

#[tokio::test]
async fn h17_a_store_that_answers_early_is_heard_while_a_verdict_is_waited_for() {
    let clamd = SlowClamd::start().await;
    let store = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let setup = Setup::new(
        &format!("http://{}", store.local_addr().unwrap()),
        "STORE-ACCESS-KEY",
        "the-secret-of-the-store",
        "up-bkt",
    );
    let gateway = Setup { top: vec![clamd.inspector("timeout: 1h")], ..looking(setup) }.start().await;
    let upload = gateway.a.put("/bkt/a/x", &[], pattern(2 * MIB));
    let answers = async {
        let (mut stream, _) = store.accept().await.unwrap();
        let mut taken = vec![0; 64 * 1024];
        // The store takes what there is; it lacks the end when only the verdict is waited for.
        while clamd.waiting() == 0 {
            let read = tokio::time::timeout(Duration::from_millis(10), stream.read(&mut taken)).await;
            assert!(!matches!(read, Ok(Ok(0) | Err(_))), "the upload goes on");
        }
        stream.write_all(response(507, "", "").as_bytes()).await.unwrap();
        stream
    };
    let both = async { tokio::join!(upload, answers) };
    let (answer, _stream) = tokio::time::timeout(Duration::from_secs(30), both).await.expect("long before the verdict");
    assert_eq!(answer.outcome(), (502, "BadGateway".into()));
    eventually("the scanner is left", || clamd.left() == 1).await;
}

#[tokio::test]
async fn h12_a_client_that_leaves_before_the_verdict_leaves_nothing() {
    let (recorder, clamd) = (Recorder::start(Answer::ok()).await, SlowClamd::start().await);
    let gateway = before_slow_clamd(&recorder, &clamd, "timeout: 1h", |setup| setup).await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let head = format!(
        "PUT /bkt/a/x HTTP/1.1\r\nhost: gw\r\nauthorization: Bearer {}\r\ncontent-length: {MIB}\r\n\r\n",
        gateway.a.token
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&pattern(MIB)).await.unwrap();
    eventually("all of the object is there", || clamd.waiting() == 1).await;
    drop(stream);
    eventually("the scanner is left", || clamd.left() == 1).await;
    clamd.speak();
    until_running(&gateway, "running", 0).await;
    assert!(recorder.nothing_committed());
}

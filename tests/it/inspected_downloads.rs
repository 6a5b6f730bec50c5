//! Objects that are looked at when they are read: small ones held, large ones cut, parts only of what was looked at as a whole.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

use super::support::certs::Authority;
use super::support::icap::{FakeIcap, Reply};
use super::support::recorder::Recorded;
use super::support::{Answer, Gateway, Recorder, Response, Setup, Store, StoreKind, pattern};

/// What must not be given out.
const EVIL: &[u8] = b"EVIL-OBJECT";

const INSPECTORS: &str = "inspectors: { words: { patterns: { literals: { evil: EVIL-OBJECT } } } }";

/// Objects up to 64 KiB are held.
const RULES: &str = "
  - { name: own, who: { tokens: [a] }, where: bkt/in/, what: [read, write, delete, 's3:GetObjectVersion'], inspect: { with: [words], uploads: false, downloads: { hold: 64KiB } } }
  - { name: both, who: { tokens: [a] }, where: bkt/both/, what: [read, write], inspect: { with: [words], downloads: {} } }
  - { name: plain, who: { tokens: [a] }, where: bkt/plain/, what: [read, write] }
  - { name: whole, who: { tokens: [a] }, where: bkt/whole/, what: [read, write], inspect: { with: [words], uploads: false, downloads: { ranges: refuse } } }
  - { name: small, who: { tokens: [a] }, where: bkt/small/, what: [read, write], inspect: { with: [words], uploads: false, downloads: { scan_up_to: 100KiB } } }
  - { name: marks, who: { tokens: [a] }, where: bkt/marks/, what: [read, write], inspect: { with: [words], uploads: false, matched: mark, downloads: {} } }
  - { name: links, who: { tokens: [b] }, where: bkt/in/, what: 's3:GetObject', response_overrides: true, inspect: { with: [words], uploads: false, downloads: {} } }";

fn setup(setup: Setup) -> Setup {
    setup.top(INSPECTORS).rules(RULES)
}

async fn before(kind: StoreKind) -> Option<(Store, Gateway)> {
    let store = Store::get(kind).await?;
    let gateway = setup(store.setup()).start().await;
    Some((store, gateway))
}

/// An object of a length, with the evil bytes behind so many others.
fn evil(length: usize, at: usize) -> Vec<u8> {
    let mut body = pattern(length);
    body[at..at + EVIL.len()].copy_from_slice(EVIL);
    body
}

async fn get(gateway: &Gateway, target: &str, headers: &[(&str, &str)]) -> Response {
    gateway.a.send("GET", target, headers, "").await
}

/// What a client got of an answer that may break off.
struct Got {
    declared: usize,
    body: Vec<u8>,
    whole: bool,
}

async fn get_what_comes(gateway: &Gateway, target: &str) -> Got {
    get_what_comes_of(gateway, target, None).await
}

/// The same of a range.
async fn get_what_comes_of(gateway: &Gateway, target: &str, range: Option<&str>) -> Got {
    let stream = TcpStream::connect(gateway.address).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::get(target)
        .header("host", gateway.address.to_string())
        .header("authorization", format!("Bearer {}", gateway.a.token));
    let request = range.iter().fold(request, |request, range| request.header("range", *range));
    let answer = sender.send_request(request.body(Empty::<Bytes>::new()).unwrap()).await.expect("a head");
    assert_eq!(answer.status(), if range.is_some() { 206 } else { 200 }, "{target}");
    let declared = answer.headers()["content-length"].to_str().unwrap().parse().unwrap();
    let (mut body, mut got, mut whole) = (answer.into_body(), Vec::new(), true);
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => got.extend_from_slice(&frame.into_data().unwrap()),
            Err(_) => whole = false,
        }
    }
    connection.abort();
    Got { declared, body: got, whole }
}

/// Waits until the store's times tell a later change of an object from this one.
async fn settle(store: &Store, key: &str) {
    let seconds = |text: &str| jiff::fmt::rfc2822::parse(text).unwrap().timestamp().as_second();
    for _ in 0..1000 {
        let head = store.head(key).await;
        if seconds(head.header("date")) - seconds(head.header("last-modified")) >= 2 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the clock of the store stands still");
}

/// Verdicts so far.
async fn inspections(gateway: &Gateway) -> u64 {
    let metrics = gateway.ask_admin("/metrics").await.text();
    let lines = metrics.lines().filter(|line| line.starts_with("countersign_inspections_total{"));
    lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
}

fn rejected() -> (u16, String) {
    (403, "ContentRejected".to_owned())
}

#[tokio::test]
async fn h12_of_a_small_object_no_byte_is_given_out_before_its_verdict() {
    for kind in StoreKind::REAL {
        let Some((store, gateway)) = before(kind).await else { continue };
        for (name, at) in [("first", 0), ("middle", 20_000), ("last", 65_536 - EVIL.len())] {
            store.put(&format!("in/{name}"), &evil(65_536, at)).await;
            let got = get(&gateway, &format!("/bkt/in/{name}"), &[]).await;
            assert_eq!(got.outcome(), rejected(), "{kind:?} {name}");
            assert!(got.body.len() < 1000 && !got.text().contains("EVIL"), "{kind:?}: {}", got.text());
            assert_eq!(got.header("etag"), "", "{kind:?}: nothing of the object");
        }
        let record = gateway.record(3).await;
        assert_eq!((record.outcome.as_str(), record.code), ("refused", Some("ContentRejected")));
        let finding = &record.inspection.as_ref().unwrap()[0];
        assert_eq!((finding.verdict, finding.name.as_deref()), ("matched", Some("literals.evil")), "{kind:?}");
        assert_eq!((record.inspection_action, record.bytes_out < 1000), (Some("refuse"), true));
        for length in [0, 1, 1000, 65_536] {
            let body = pattern(length);
            let put = gateway.a.put("/bkt/in/clean", &[("content-length", &length.to_string())], body.clone()).await;
            assert_eq!(put.status, 200, "{kind:?} {length}: {}", put.text());
            let got = get(&gateway, "/bkt/in/clean", &[]).await;
            assert_eq!((got.status.as_u16(), got.body == body), (200, true), "{kind:?} {length}");
            assert_eq!(got.header("content-length"), length.to_string(), "{kind:?}");
            assert_eq!(got.header("etag"), store.head("in/clean").await.header("etag"), "{kind:?}");
        }
        store.put("marks/evil", &evil(1000, 500)).await;
        let got = get(&gateway, "/bkt/marks/evil", &[]).await;
        assert_eq!(
            (got.status.as_u16(), got.body.len()),
            (200, 1000),
            "{kind:?}: a mark is for objects that are stored"
        );
        store.put("plain/evil", &evil(1000, 500)).await;
        assert_eq!(get(&gateway, "/bkt/plain/evil", &[]).await.status, 200, "{kind:?}: other rules inspect nothing");
    }
}

#[tokio::test]
async fn h12_a_large_object_is_cut_before_its_end() {
    const LENGTH: usize = 3 << 20;
    for kind in StoreKind::REAL {
        let Some((store, gateway)) = before(kind).await else { continue };
        for (name, at) in [("middle", LENGTH / 2), ("late", LENGTH - 70_000), ("last", LENGTH - EVIL.len())] {
            let body = evil(LENGTH, at);
            store.put(&format!("in/{name}"), &body).await;
            let got = get_what_comes(&gateway, &format!("/bkt/in/{name}")).await;
            assert_eq!((got.declared, got.whole), (LENGTH, false), "{kind:?} {name}");
            assert!(got.body.len() <= LENGTH - 65_536, "{kind:?} {name}: {} bytes", got.body.len());
            assert!(body.starts_with(&got.body), "{kind:?} {name}");
        }
        let record = gateway.record(3).await;
        assert_eq!((record.outcome.as_str(), record.status), ("refused", Some(200)), "{kind:?}");
        assert_eq!((record.code, record.inspection_action), (Some("ContentRejected"), Some("refuse")), "{kind:?}");
        assert_eq!(record.inspection.unwrap()[0].name.as_deref(), Some("literals.evil"));
        store.put("in/start", &evil(LENGTH, 10)).await;
        let early = get(&gateway, "/bkt/in/start", &[]).await;
        assert_eq!(early.outcome(), rejected(), "{kind:?}: found before anything was given out");
        for length in [65_537, 131_072, 131_073, LENGTH] {
            let body = pattern(length);
            store.put("in/clean", &body).await;
            let got = get_what_comes(&gateway, "/bkt/in/clean").await;
            assert_eq!((got.declared, got.whole), (length, true), "{kind:?} {length}");
            assert!(got.body == body, "{kind:?} {length}");
        }
    }
}

#[tokio::test]
async fn g10_a_part_is_given_out_only_if_the_whole_object_is() {
    for kind in StoreKind::REAL {
        let Some((store, gateway)) = before(kind).await else { continue };
        let clean = pattern(200_000);
        store.put("in/clean", &clean).await;
        store.put("in/evil", &evil(200_000, 150_000)).await;
        for range in ["bytes=0-99", "bytes=10-", "bytes=-100", "bytes=0-", "bytes=0-199998", "bytes=0-999999999"] {
            let got = get(&gateway, "/bkt/in/evil", &[("range", range)]).await;
            assert_eq!(got.outcome(), rejected(), "{kind:?} {range}");
            let got = get(&gateway, "/bkt/in/clean", &[("range", range)]).await;
            let straight = store.head("in/clean").await;
            assert_eq!(got.status, 206, "{kind:?} {range}: {}", got.text());
            assert_eq!(got.header("etag"), straight.header("etag"), "{kind:?} {range}");
            let first = match range {
                "bytes=10-" => 10,
                "bytes=-100" => 199_900,
                _ => 0,
            };
            assert!(clean[first..].starts_with(&got.body) && !got.body.is_empty(), "{kind:?} {range}");
        }
        assert!(inspections(&gateway).await <= 4, "{kind:?}: one for each object, and one for each while it is new");
        let got = get(&gateway, "/bkt/in/clean", &[("range", "bytes=200000-")]).await;
        assert_eq!(got.outcome(), (416, "InvalidRange".into()), "{kind:?}");
        let number = get(&gateway, "/bkt/in/evil?partNumber=1", &[]).await;
        assert_eq!(number.outcome(), rejected(), "{kind:?}");
        let number = get(&gateway, "/bkt/in/clean?partNumber=1", &[]).await;
        assert_eq!((number.status.is_success(), number.body == clean), (true, true), "{kind:?}");
        let link = "response-content-type=text/plain&response-content-encoding=identity";
        let got = gateway.b.get(&format!("/bkt/in/evil?{link}")).await;
        assert_eq!(got.outcome(), rejected(), "{kind:?}");
        let got = gateway.b.get(&format!("/bkt/in/clean?{link}")).await;
        assert_eq!((got.status.as_u16(), got.header("content-type")), (200, "text/plain"), "{kind:?}");
        assert!(got.body == clean, "{kind:?}");
    }
}

#[tokio::test]
async fn what_gives_out_no_byte_is_not_inspected() {
    for kind in StoreKind::REAL {
        let Some((store, gateway)) = before(kind).await else { continue };
        store.put("in/evil", &evil(1000, 1)).await;
        let etag = store.head("in/evil").await.header("etag").to_owned();
        assert_eq!(gateway.a.send("HEAD", "/bkt/in/evil", &[], "").await.status, 200, "{kind:?}");
        let unchanged = get(&gateway, "/bkt/in/evil", &[("if-none-match", &etag)]).await;
        assert_eq!((unchanged.status.as_u16(), unchanged.body.len()), (304, 0), "{kind:?}");
        let other = get(&gateway, "/bkt/in/evil", &[("if-match", "\"x\"")]).await;
        assert_eq!(other.outcome(), (412, "PreconditionFailed".into()), "{kind:?}");
        assert_eq!(get(&gateway, "/bkt/in/missing", &[]).await.outcome(), (404, "NoSuchKey".into()), "{kind:?}");
        assert_eq!(inspections(&gateway).await, 0, "{kind:?}");
    }
}

#[tokio::test]
async fn a_verdict_is_remembered_until_the_object_changes() {
    for kind in StoreKind::REAL {
        let Some((store, gateway)) = before(kind).await else { continue };
        for (key, body) in [("in/small", pattern(1000)), ("in/large", pattern(300_000))] {
            let target = format!("/bkt/{key}");
            store.put(key, &body).await;
            settle(&store, key).await;
            let before = inspections(&gateway).await;
            for turn in 0..3 {
                assert!(get(&gateway, &target, &[]).await.body == body, "{kind:?} {key} {turn}");
            }
            let part = get(&gateway, &target, &[("range", "bytes=1-3")]).await;
            assert_eq!((part.status.as_u16(), &part.body[..]), (206, &body[1..4]), "{kind:?} {key}");
            assert_eq!(inspections(&gateway).await, before + 1, "{kind:?} {key}");
            let remembered = gateway.records().last().unwrap().inspection.clone().unwrap();
            assert!(remembered[0].remembered && remembered[0].verdict == "clean", "{kind:?} {key}");
            // The same length, and perhaps in the same second as the last read.
            let mut changed = body.clone();
            changed[100..100 + EVIL.len()].copy_from_slice(EVIL);
            store.put(key, &changed).await;
            for range in ["bytes=1-3", "bytes=0-"] {
                assert_eq!(get(&gateway, &target, &[("range", range)]).await.outcome(), rejected(), "{kind:?} {key}");
            }
            settle(&store, key).await;
            assert_eq!(get(&gateway, &target, &[]).await.outcome(), rejected(), "{kind:?} {key}");
            let before = inspections(&gateway).await;
            for range in ["bytes=0-", "bytes=1-3"] {
                assert_eq!(get(&gateway, &target, &[("range", range)]).await.outcome(), rejected(), "{kind:?} {key}");
            }
            assert_eq!(inspections(&gateway).await, before, "{kind:?} {key}: a refusal is remembered too");
        }
    }
}

#[tokio::test]
async fn a_version_is_known_at_once_and_each_has_its_own_verdict() {
    for kind in StoreKind::REAL {
        let Some((store, gateway)) = before(kind).await else { continue };
        store.keep_versions().await;
        store.put("in/v", &pattern(1000)).await;
        let clean = store.head("in/v").await.header("x-amz-version-id").to_owned();
        for _ in 0..2 {
            assert_eq!(get(&gateway, "/bkt/in/v", &[]).await.status, 200, "{kind:?}");
        }
        assert_eq!(inspections(&gateway).await, 1, "{kind:?}");
        store.put("in/v", &evil(1000, 7)).await;
        assert_eq!(get(&gateway, "/bkt/in/v", &[]).await.outcome(), rejected(), "{kind:?}");
        let old = get(&gateway, &format!("/bkt/in/v?versionId={clean}"), &[("range", "bytes=0-9")]).await;
        assert_eq!((old.status.as_u16(), &old.body[..]), (206, &pattern(1000)[..10]), "{kind:?}");
        assert_eq!(inspections(&gateway).await, 2, "{kind:?}");
        // What was looked at when it was written is known to its readers.
        assert_eq!(gateway.a.put("/bkt/both/v", &[], "new").await.status, 200, "{kind:?}");
        assert_eq!(inspections(&gateway).await, 3, "{kind:?}");
        for range in ["bytes=0-", "bytes=1-1"] {
            assert_eq!(get(&gateway, "/bkt/both/v", &[("range", range)]).await.status, 206, "{kind:?}");
        }
        assert_eq!(inspections(&gateway).await, 3, "{kind:?}");
    }
}

#[tokio::test]
async fn many_readers_at_the_same_time_cost_one_inspection() {
    for kind in StoreKind::REAL {
        let Some((store, gateway)) = before(kind).await else { continue };
        let body = pattern(50_000);
        for key in ["in/whole", "in/part", "in/both"] {
            store.put(key, &body).await;
            settle(&store, key).await;
        }
        for (turn, key) in (1..).zip(["in/whole", "in/part", "in/both"]) {
            let target = &format!("/bkt/{key}");
            let reads = (0..50).map(async |reader| match (key, reader % 2) {
                ("in/whole", _) | ("in/both", 0) => get(&gateway, target, &[]).await.body == body,
                _ => get(&gateway, target, &[("range", "bytes=5-9")]).await.body == body[5..10],
            });
            assert!(join_all(reads).await.into_iter().all(|right| right), "{kind:?} {key}");
            assert_eq!(inspections(&gateway).await, turn, "{kind:?} {key}");
        }
    }
}

#[tokio::test]
async fn parts_are_refused_where_they_are_not_wanted_or_cost_too_much() {
    for kind in StoreKind::REAL {
        let Some((store, gateway)) = before(kind).await else { continue };
        let body = pattern(200_000);
        for place in ["whole", "small"] {
            let key = format!("{place}/o");
            let target = format!("/bkt/{key}");
            store.put(&key, &body).await;
            settle(&store, &key).await;
            let refused = get(&gateway, &target, &[("range", "bytes=0-9")]).await;
            assert_eq!(refused.outcome(), (403, "AccessDenied".into()), "{kind:?} {place}");
            assert!(refused.text().contains("Read it as a whole."), "{}", refused.text());
            assert_eq!(inspections(&gateway).await, u64::from(place == "small"), "{kind:?} {place}");
            assert!(get(&gateway, &target, &[]).await.body == body, "{kind:?} {place}");
            let part = get(&gateway, &target, &[("range", "bytes=0-9")]).await;
            assert_eq!((part.status.as_u16(), &part.body[..]), (206, &body[..10]), "{kind:?} {place}: looked at now");
        }
    }
}

/// An answer with an object in it, changed so many seconds before.
fn object(status: u16, etag: &str, age: i64, headers: &str, body: &str) -> Answer {
    let date = |instant: jiff::Timestamp| instant.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let now = jiff::Timestamp::now();
    let changed = now - jiff::SignedDuration::from_secs(age);
    let headers = format!("etag: \"{etag}\"\r\ndate: {}\r\nlast-modified: {}\r\n{headers}", date(now), date(changed));
    Answer::status(status, &headers, body)
}

const EVIL_TEXT: &str = "0EVIL-OBJECT";
const GOOD_TEXT: &str = "0GOOD-OBJECT";

#[tokio::test]
async fn an_object_with_the_digest_of_another_is_not_taken_for_it() {
    let recorder = Recorder::start(object(200, "same", 0, "", GOOD_TEXT)).await;
    let gateway = setup(Setup::before(&recorder)).start().await;
    assert_eq!(get(&gateway, "/bkt/in/o", &[]).await.text(), GOOD_TEXT);
    recorder.answer(object(200, "same", 0, "", EVIL_TEXT));
    assert_eq!(get(&gateway, "/bkt/in/o", &[]).await.outcome(), rejected(), "changed in the second of the first read");
    recorder.answer(object(200, "same", 100, "", GOOD_TEXT));
    assert_eq!(get(&gateway, "/bkt/in/o", &[]).await.text(), GOOD_TEXT);
    recorder.answer(object(200, "same", 50, "", EVIL_TEXT));
    assert_eq!(get(&gateway, "/bkt/in/o", &[]).await.outcome(), rejected(), "changed later");
    recorder.answer(object(200, "same", 100, "", GOOD_TEXT));
    for key in ["in/p", "in/o2"] {
        assert_eq!(get(&gateway, &format!("/bkt/{key}"), &[]).await.status, 200);
    }
    assert_eq!(inspections(&gateway).await, 6, "every object has its own verdict");
}

/// An object of parts as Amazon S3 dates it: to the beginning of its upload, however long ago that is.
fn of_parts(part: &str, whole: &str) -> Answer {
    let range = format!("content-range: bytes 1-4/{}\r\n", whole.len());
    parts_of(object(206, "same-2", 100, &range, part), object(200, "same-2", 100, "", whole))
}

#[tokio::test]
async fn an_object_of_parts_is_looked_at_with_every_read_without_versions() {
    let recorder = Recorder::start(of_parts("GOOD", GOOD_TEXT)).await;
    let gateway = setup(Setup::before(&recorder)).start().await;
    assert_eq!(get(&gateway, "/bkt/in/o", &[]).await.text(), GOOD_TEXT);
    recorder.answer(of_parts("EVIL", EVIL_TEXT));
    let range = [("range", "bytes=1-4")];
    assert_eq!(get(&gateway, "/bkt/in/o", &[]).await.outcome(), rejected(), "completed later, dated back");
    assert_eq!(get(&gateway, "/bkt/in/o", &range).await.outcome(), rejected());
    // The part is one of the object that was looked at, whatever the store gives out as the part.
    recorder.answer(of_parts("EVIL", GOOD_TEXT));
    let part = get(&gateway, "/bkt/in/o", &range).await;
    assert_eq!((part.status.as_u16(), part.text().as_str()), (206, "GOOD"));
    assert_eq!((part.header("content-range"), part.header("content-length")), ("bytes 1-4/12", "4"));
    assert_eq!(inspections(&gateway).await, 4, "nothing is remembered");
}

#[tokio::test]
async fn a_large_part_of_an_object_of_parts_is_cut_like_a_large_object() {
    const LENGTH: usize = 1 << 20;
    let part = |last: usize| format!("content-range: bytes 100-{last}/{LENGTH}\r\n");
    let answer = |last: usize, body: &[u8]| {
        let whole = String::from_utf8(body.to_vec()).unwrap();
        let declared = object(206, "same-2", 100, &part(last), &whole[100..=last]);
        parts_of(declared, object(200, "same-2", 100, "", &whole))
    };
    let clean: Vec<u8> = (0..LENGTH).map(|at| b'a' + (at % 23) as u8).collect();
    let mut evil = clean.clone();
    evil[LENGTH - EVIL.len()..].copy_from_slice(EVIL);
    let recorder = Recorder::start(answer(600_000, &clean)).await;
    let gateway = setup(Setup::before(&recorder)).start().await;
    let range = [("range", "bytes=100-600000")];
    assert!(get(&gateway, "/bkt/in/o", &range).await.body == clean[100..=600_000]);
    recorder.answer(answer(600_000, &evil));
    let got = get_what_comes_of(&gateway, "/bkt/in/o", Some(range[0].1)).await;
    assert_eq!((got.declared, got.whole), (599_901, false), "the evil bytes lie outside the part, but in the object");
    assert!(got.body.len() <= 599_901 - 65_536 && clean[100..].starts_with(&got.body), "{}", got.body.len());
    recorder.answer(answer(50_000, &evil));
    let small = get(&gateway, "/bkt/in/o", &[("range", "bytes=100-50000")]).await;
    assert_eq!(small.outcome(), rejected(), "no byte of what fits into `hold`");
}

#[tokio::test]
async fn g10_a_part_of_an_object_of_parts_is_cut_out_of_what_is_looked_at() {
    for kind in StoreKind::REAL {
        let Some((store, gateway)) = before(kind).await else { continue };
        let part = 5 << 20;
        let parts = |body: &[u8]| body.chunks(part).map(<[u8]>::to_vec).collect::<Vec<_>>();
        for (name, body) in [("clean", pattern(part + 100_000)), ("evil", evil(part + 100_000, part + 50_000))] {
            let put = super::support::parts::put_in_parts(&gateway.a, &format!("in/{name}"), &parts(&body), &[]).await;
            assert_eq!(put.status, 200, "{kind:?} {name}: {}", put.text());
            settle(&store, &format!("in/{name}")).await;
            for (range, first, last) in [("bytes=0-9", 0, 9), ("bytes=5242870-5242899", 5_242_870, 5_242_899)] {
                let got = get(&gateway, &format!("/bkt/in/{name}"), &[("range", range)]).await;
                if name == "evil" {
                    assert_eq!(got.outcome(), rejected(), "{kind:?} {range}");
                    continue;
                }
                assert_eq!((got.status.as_u16(), got.body == body[first..=last]), (206, true), "{kind:?} {range}");
                assert_eq!(got.header("content-range"), format!("bytes {first}-{last}/{}", body.len()), "{kind:?}");
            }
            let large = format!("bytes=1000-{}", part + 10);
            let got = get_what_comes_of(&gateway, &format!("/bkt/in/{name}"), Some(&large)).await;
            assert_eq!((got.declared, got.whole), (part - 989, name == "clean"), "{kind:?} {name}");
            assert!(body[1000..].starts_with(&got.body), "{kind:?} {name}");
        }
        let first = get(&gateway, "/bkt/in/clean?partNumber=1", &[]).await;
        assert!(first.status.is_success() && first.body.len() >= part, "{kind:?}: {}", first.status);
        assert_eq!(inspections(&gateway).await, 7, "{kind:?}: one for each read");
    }
}

/// What was asked about objects; the gateway looks after its hidden keys besides.
fn reads(recorder: &Recorder) -> Vec<Recorded> {
    recorder.requests().into_iter().filter(|request| request.request_line().contains("/in/")).collect()
}

/// Answers a part to who asks for one, and a whole object to who does not.
fn parts_of(part: Answer, whole: Answer) -> Answer {
    Answer::Where("range: bytes", Box::new(part), Box::new(whole))
}

#[tokio::test]
async fn what_was_looked_at_is_what_is_given_out() {
    let part = |etag, text| object(206, etag, 100, "content-range: bytes 1-4/12\r\n", text);
    for (name, answer) in [
        ("a store that overlooks conditions", parts_of(part("e", "EVIL"), object(200, "f", 100, "", GOOD_TEXT))),
        ("another length", parts_of(part("e", "EVIL"), object(200, "e", 100, "", "0GOOD-OBJECT-1"))),
        ("another time", parts_of(part("e", "EVIL"), object(200, "e", 99, "", GOOD_TEXT))),
        ("a part for the whole", part("e", "EVIL")),
        ("it changed", parts_of(part("e", "EVIL"), Answer::error(412, "PreconditionFailed"))),
    ] {
        let recorder = Recorder::start(answer).await;
        let gateway = setup(Setup::before(&recorder)).start().await;
        let got = get(&gateway, "/bkt/in/o", &[("range", "bytes=1-4")]).await;
        assert_eq!(got.outcome(), (503, "SlowDown".into()), "{name}");
    }
    let recorder = Recorder::start(parts_of(part("e", "GOOD"), object(200, "e", 100, "", GOOD_TEXT))).await;
    let gateway = setup(Setup::before(&recorder)).start().await;
    let conditions = [("range", "bytes=1-4"), ("if-none-match", "\"x\""), ("x-amz-checksum-mode", "ENABLED")];
    assert_eq!(get(&gateway, "/bkt/in/o", &conditions).await.text(), "GOOD");
    let requests = reads(&recorder);
    let [asked, whole, pinned] = &requests[..] else { panic!("{requests:?}") };
    assert_eq!((asked.header("if-none-match"), asked.header("if-match")), ("\"x\"".into(), String::new()));
    assert_eq!((whole.header("range"), whole.header("if-match")), (String::new(), "\"e\"".into()));
    assert_eq!((pinned.header("range"), pinned.header("if-match")), ("bytes=1-4".into(), "\"e\"".into()));
    assert_eq!(
        (pinned.header("if-none-match"), pinned.header("x-amz-checksum-mode")),
        (String::new(), "ENABLED".into())
    );
}

#[tokio::test]
async fn an_answer_that_does_not_say_what_it_is_is_not_passed_on() {
    for (name, answer) in [
        ("no range", object(206, "e", 100, "", "EVIL")),
        ("several ranges", object(206, "e", 100, "content-type: multipart/byteranges; boundary=x\r\n", "--x")),
        ("another success", object(203, "e", 100, "", GOOD_TEXT)),
        ("no ETag", Answer::status(206, "content-range: bytes 1-4/12\r\n", "GOOD")),
    ] {
        let recorder = Recorder::start(answer).await;
        let gateway = setup(Setup::before(&recorder)).start().await;
        let got = get(&gateway, "/bkt/in/o", &[("range", "bytes=1-4")]).await;
        assert_eq!(got.outcome(), (502, "BadGateway".into()), "{name}");
    }
}

#[tokio::test]
async fn what_breaks_off_has_no_verdict_and_is_not_given_out() {
    let head = |length: usize| format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\netag: \"e\"\r\n\r\n{GOOD_TEXT}");
    let recorder = Recorder::start(Answer::ThenClose(head(100))).await;
    let gateway = setup(Setup::before(&recorder)).start().await;
    let held = get(&gateway, "/bkt/in/o", &[]).await;
    assert_eq!(held.outcome(), (502, "BadGateway".into()));
    let text = format!("{}{}", head(300_000), "x".repeat(150_000));
    recorder.answer(Answer::ThenClose(text));
    let cut = get_what_comes(&gateway, "/bkt/in/o").await;
    assert!(!cut.whole && cut.body.len() < 100_000, "{}", cut.body.len());
    assert_eq!(gateway.record(2).await.outcome.as_str(), "failed");
    assert_eq!(inspections(&gateway).await, 0);
}

#[tokio::test]
async fn d25_what_is_encoded_is_not_given_out_unseen() {
    let recorder = Recorder::start(object(200, "e", 100, "content-encoding: br\r\n", GOOD_TEXT)).await;
    let gateway = setup(Setup::before(&recorder)).start().await;
    let got = get(&gateway, "/bkt/in/o", &[]).await;
    assert_eq!(got.outcome(), (403, "ContentNotScannable".into()));
    recorder.answer(object(200, "e", 90, "content-encoding: identity\r\n", GOOD_TEXT));
    assert_eq!(get(&gateway, "/bkt/in/o", &[]).await.text(), GOOD_TEXT);
}

#[tokio::test]
async fn headers_of_the_client_s_choice_do_not_mislead_inspectors() {
    let encoded = object(200, "e", 100, "content-encoding: br\r\n", GOOD_TEXT);
    let overridden = object(200, "e", 100, "content-encoding: identity\r\n", GOOD_TEXT);
    let recorder = Recorder::start(Answer::Where("response-content", Box::new(overridden), Box::new(encoded))).await;
    let gateway = setup(Setup::before(&recorder)).start().await;
    let not_scannable = (403, "ContentNotScannable".to_owned());
    let link = gateway.b.get("/bkt/in/o?response-content-encoding=identity").await;
    assert_eq!(link.outcome(), not_scannable, "it is encoded, whatever the client calls it");
    assert_eq!(gateway.b.get("/bkt/in/o").await.outcome(), not_scannable, "nor is the verdict remembered wrong");
    let name = "response-content-disposition=attachment";
    assert_eq!(gateway.b.get(&format!("/bkt/in/p?{name}")).await.status, 200, "this one says nothing of the bytes");
    assert_eq!(recorder.requests().iter().filter(|request| request.request_line().contains("/in/p")).count(), 1);
}

#[tokio::test]
async fn all_that_is_held_at_a_time_is_bounded() {
    let Some(store) = Store::get(StoreKind::SeaweedFs).await else { return };
    let gateway = setup(store.setup()).limits("{ inspection: { held: 100KiB, verdicts: 0 } }").start().await;
    let body = pattern(60_000);
    store.put("in/o", &body).await;
    let reads = (0..20).map(async |_| get(&gateway, "/bkt/in/o", &[]).await.body == body);
    assert!(join_all(reads).await.into_iter().all(|right| right), "one waits for the other");
    // Larger than all the room: not held, so it is cut.
    let gateway = setup(store.setup()).limits("{ inspection: { held: 10KiB } }").start().await;
    store.put("in/evil", &evil(60_000, 59_000)).await;
    assert_eq!(
        get(&gateway, "/bkt/in/evil", &[]).await.outcome(),
        rejected(),
        "all of it is the end that is kept back"
    );
    assert!(get(&gateway, "/bkt/in/o", &[]).await.body == body);
}

/// A connection of HTTP/2 to a gateway that serves TLS.
async fn over_http2(gateway: &Gateway, authority: &Authority) -> http2::SendRequest<Empty<Bytes>> {
    let stream = TcpStream::connect(gateway.address).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let stream = TlsConnector::from(Arc::new(authority.client(&["h2"]))).connect(name, stream).await.unwrap();
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// Status, bytes, and whether that was all.
async fn get_over_http2(
    sender: &mut http2::SendRequest<Empty<Bytes>>,
    gateway: &Gateway,
    target: &str,
    headers: &[(&str, &str)],
) -> (u16, Vec<u8>, bool) {
    let mut request = Request::get(format!("https://{}{target}", gateway.address))
        .header("authorization", format!("Bearer {}", gateway.a.token));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = sender.send_request(request.body(Empty::new()).unwrap()).await.expect("a head");
    let (status, mut body, mut got) = (answer.status().as_u16(), answer.into_body(), Vec::new());
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return (status, got, false) };
        got.extend(frame.into_data().into_iter().flatten());
    }
    (status, got, true)
}

#[tokio::test]
async fn h12_over_http2_a_cut_object_is_a_stream_that_is_reset() {
    const LENGTH: usize = 1 << 20;
    let Some(store) = Store::get(StoreKind::SeaweedFs).await else { return };
    let authority = Authority::new();
    let gateway = setup(store.setup()).tls(&authority.vouch_for(&["127.0.0.1"])).start().await;
    let mut sender = over_http2(&gateway, &authority).await;
    store.put("in/evil", &evil(LENGTH, LENGTH - 20)).await;
    let clean = pattern(LENGTH);
    store.put("in/clean", &clean).await;
    store.put("in/small", &evil(1000, 20)).await;
    for _ in 0..2 {
        let (status, got, whole) = get_over_http2(&mut sender, &gateway, "/bkt/in/evil", &[]).await;
        assert_eq!((status, whole, got.len() <= LENGTH - 65_536), (200, false, true), "{}", got.len());
        let (status, got, whole) = get_over_http2(&mut sender, &gateway, "/bkt/in/clean", &[]).await;
        assert!((status, whole) == (200, true) && got == clean, "on the same connection");
        let (status, _, whole) = get_over_http2(&mut sender, &gateway, "/bkt/in/small", &[]).await;
        assert_eq!((status, whole), (403, true));
    }
}

#[tokio::test]
async fn d25_what_only_the_client_can_decrypt_is_looked_at_with_its_key() {
    const PREFIX: &str = "x-amz-server-side-encryption-customer-";
    let part = object(206, "e", 100, "content-range: bytes 1-4/12\r\n", "GOOD");
    let recorder = Recorder::start(parts_of(part, object(200, "e", 100, "", GOOD_TEXT))).await;
    let authority = Authority::new();
    let rules = format!(
        "
  - {{ name: own, who: {{ tokens: [a] }}, where: bkt/in/, what: read, headers: {{ allow: [{PREFIX}algorithm, {PREFIX}key, {PREFIX}key-md5] }}, inspect: {{ with: words, uploads: false, downloads: {{}} }} }}"
    );
    let setup = Setup::before(&recorder).top(INSPECTORS).rules(&rules);
    let gateway = setup.tls(&authority.vouch_for(&["127.0.0.1"])).start().await;
    let mut sender = over_http2(&gateway, &authority).await;
    let names = ["algorithm", "key", "key-md5"].map(|name| format!("{PREFIX}{name}"));
    let mut headers: Vec<_> = names.iter().map(|name| (name.as_str(), "AES256")).collect();
    headers.push(("range", "bytes=1-4"));
    let (status, got, _) = get_over_http2(&mut sender, &gateway, "/bkt/in/o", &headers).await;
    assert_eq!((status, &got[..]), (206, &b"GOOD"[..]));
    let requests = reads(&recorder);
    assert_eq!(requests.len(), 3);
    for name in &names {
        assert!(requests.iter().all(|request| request.header(name) == "AES256"), "{name}");
    }
}

/// A scanner whose signatures change: how it answers to `VERSION` and to an object. `None`: it closes every connection.
type Signatures = Arc<Mutex<Option<(&'static str, &'static str)>>>;

/// Serves the protocol of clamd.
async fn serve_scanner(listener: TcpListener, signatures: Signatures) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let signatures = Arc::clone(&signatures);
        tokio::spawn(async move {
            let Some((version, answer)) = *signatures.lock().unwrap() else { return io::Result::Ok(()) };
            let mut command = Vec::new();
            while command.last() != Some(&0) {
                command.push(stream.read_u8().await?);
            }
            if command == b"zINSTREAM\0" {
                loop {
                    let length = stream.read_u32().await?;
                    if length == 0 {
                        break;
                    }
                    stream.read_exact(&mut vec![0; length as usize]).await?;
                }
                stream.write_all(format!("stream: {answer}\0").as_bytes()).await
            } else {
                stream.write_all(format!("ClamAV {version}\0").as_bytes()).await
            }
        });
    }
}

#[tokio::test]
async fn new_signatures_look_again_and_a_dead_scanner_forgets_nothing() {
    let Some(store) = Store::get(StoreKind::SeaweedFs).await else { return };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let signatures = Arc::new(Mutex::new(Some(("1.4/1/x", "OK"))));
    let scanner = tokio::spawn(serve_scanner(listener, Arc::clone(&signatures)));
    let inspectors =
        format!("inspectors: {{ words: {{ clamd: {{ addresses: 'tcp://127.0.0.1:{port}', probe: none }} }} }}");
    let gateway = store.setup().top(&inspectors).rules(RULES).start().await;
    while gateway.ask_admin("/readyz").await.status != 200 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for key in ["in/known", "in/other"] {
        store.put(key, b"object").await;
        settle(&store, key).await;
    }
    assert_eq!(get(&gateway, "/bkt/in/known", &[]).await.status, 200);
    *signatures.lock().unwrap() = None;
    let other = get(&gateway, "/bkt/in/other", &[]).await;
    assert_eq!(other.outcome(), (403, "InspectionFailed".into()));
    let down =
        async || gateway.ask_admin("/metrics").await.text().contains("countersign_inspector_up{inspector=\"words\"} 0");
    wait_for("the scanner is known to be down", down).await;
    assert_eq!(get(&gateway, "/bkt/in/known", &[]).await.status, 200, "what it found before still counts");
    *signatures.lock().unwrap() = Some(("1.4/2/x", "New.Signature FOUND"));
    let refused = async || get(&gateway, "/bkt/in/known", &[]).await.outcome() == rejected();
    wait_for("the new signatures are known", refused).await;
    scanner.abort();
}

#[tokio::test]
async fn another_tag_of_an_icap_server_looks_again() {
    const BLOCKED: &str = "ICAP/1.0 200 OK\r\nISTag: \"two\"\r\nX-Infection-Found: Type=0; Resolution=2; Threat=New;\r\n\
                           Encapsulated: res-hdr=0, null-body=26\r\n\r\nHTTP/1.1 403 Forbidden\r\n\r\n";
    let Some(store) = Store::get(StoreKind::SeaweedFs).await else { return };
    let unmodified = Reply::AtEnd("ICAP/1.0 204 Unmodified\r\nISTag: \"one\"\r\n\r\n");
    let server = FakeIcap::start("Methods: RESPMOD\r\nISTag: \"one\"", unmodified).await;
    let inspectors = format!("inspectors: {{ words: {{ icap: {{ url: '{}', probe: none }} }} }}", server.url());
    let gateway = store.setup().top(&inspectors).rules(RULES).start().await;
    // A verdict under no version yet would not count under the first.
    while gateway.ask_admin("/readyz").await.status != 200 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    store.put("in/known", b"object").await;
    settle(&store, "in/known").await;
    for _ in 0..3 {
        assert_eq!(get(&gateway, "/bkt/in/known", &[]).await.status, 200);
        assert_eq!(inspections(&gateway).await, 1);
    }
    server.say("Methods: RESPMOD\r\nISTag: \"two\"", Reply::AtEnd(BLOCKED));
    let refused = async || get(&gateway, "/bkt/in/known", &[]).await.outcome() == rejected();
    wait_for("the new tag is known", refused).await;
    assert_eq!(inspections(&gateway).await, 2);
}

/// Waits until something holds that is asked about every 30 s or more often.
async fn wait_for(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..600 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("did not happen within 60 s: {what}");
}

//! DeleteObjects: each object is decided on its own, only what is permitted reaches the store, and the answer is in public terms.

use countersign::audit::record::{Decision, Outcome};
use countersign::s3::ChecksumAlgorithm;
use countersign::s3::checksum::{RunningDigest, to_base64};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::support::{Answer, Client, Gateway, Recorder, Response, Setup, Store, StoreKind, raw};

const RULES: &str = "
  - { name: own, who: { tokens: [a] }, where: bkt/a/, what: [read, write, delete, 's3:GetObjectVersion'] }
  - { name: locked, effect: deny, who: anyone, where: bkt/a/locked/, what: ['s3:Delete*'] }
  - { name: versions, who: { tokens: [a] }, where: bkt/a/v/, what: ['s3:DeleteObjectVersion'] }
  - { name: reader, who: { tokens: [b] }, where: bkt/, what: [read, write] }";

pub(super) fn md5(body: &str) -> String {
    let mut digest = RunningDigest::md5();
    digest.update(body.as_bytes());
    to_base64(&digest.finish(16))
}

fn crc32(body: &str) -> String {
    let mut digest = RunningDigest::new(ChecksumAlgorithm::Crc32);
    digest.update(body.as_bytes());
    to_base64(&digest.finish(4))
}

fn object(key: &str) -> String {
    format!("<Object><Key>{key}</Key></Object>")
}

fn version(key: &str, version_id: &str) -> String {
    format!("<Object><Key>{key}</Key><VersionId>{version_id}</VersionId></Object>")
}

/// A document as boto3 writes it.
fn document(inside: &str) -> String {
    format!("<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{inside}</Delete>")
}

/// Sends a document as boto3 does.
async fn delete(client: &Client, inside: &str) -> Response {
    post(client, document(inside)).await
}

async fn post(client: &Client, body: String) -> Response {
    let checksum = crc32(&body);
    let headers = [("x-amz-checksum-crc32", checksum.as_str()), ("x-amz-sdk-checksum-algorithm", "CRC32")];
    client.send("POST", "/bkt?delete", &headers, body).await
}

/// Texts of an element inside all elements of another name.
fn inside(answer: &Response, outer: &str, inner: &str) -> Vec<String> {
    let part = |text: &String| text.split(&format!("<{inner}>")).nth(1)?.split('<').next().map(str::to_owned);
    answer.elements(outer).iter().filter_map(part).collect()
}

async fn before(recorder: &Recorder) -> Gateway {
    Setup::before(recorder).rules(RULES).start().await
}

fn deleted(keys: &[&str]) -> Answer {
    let result = |key: &&str| format!("<Deleted><Key>{key}</Key></Deleted>");
    let results: String = keys.iter().map(result).collect();
    Answer::status(200, "", &format!("<?xml version=\"1.0\"?><DeleteResult>{results}</DeleteResult>"))
}

#[tokio::test]
async fn d12_a_batch_deletes_what_is_permitted_and_nothing_else() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let mut setup = store.setup().rules(RULES);
        setup.bucket_settings = ", prefix: gw/".to_owned();
        let gateway = setup.start().await;
        let keys =
            ["gw/a/1", "gw/a/ blanks ", "gw/a/&amp;<>\"'", "gw/a/ü", "gw/a/locked/1", "gw/b/secret", "a/1", "b/secret"];
        for key in keys {
            store.put(key, b"x").await;
        }
        let answer = delete(
            &gateway.a,
            &["a/1", "b/secret", "a/ blanks ", "a/&amp;amp;&lt;&gt;\"'", "a/ü", "a/locked/1", "a/missing"]
                .map(object)
                .concat(),
        )
        .await;
        assert_eq!(answer.status, 200, "{kind:?}: {}", answer.text());
        assert_eq!(
            inside(&answer, "Deleted", "Key"),
            ["a/1", "a/ blanks ", "a/&amp;amp;&lt;&gt;&quot;&apos;", "a/ü", "a/missing"],
            "{kind:?}: {}",
            answer.text()
        );
        assert_eq!(inside(&answer, "Error", "Key"), ["b/secret", "a/locked/1"], "{kind:?}");
        assert_eq!(answer.elements("Code"), ["AccessDenied", "AccessDenied"], "{kind:?}");
        assert!(!answer.text().contains("gw/"), "{kind:?}: {}", answer.text());
        assert_eq!(store.keys("").await, ["a/1", "b/secret", "gw/a/locked/1", "gw/b/secret"], "{kind:?}");
        let record = gateway.record(1).await;
        assert_eq!((record.outcome, record.status, record.code), (Outcome::Partial, Some(200), None), "{kind:?}");
    }
}

#[tokio::test]
async fn d14_a_thousand_long_keys_are_one_request() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let gateway = store.setup().rules(RULES).start().await;
        // SeaweedFS keeps a segment as the name of a file, of at most 255 bytes.
        let key = |n: usize| format!("a/{n:0>250}/{n:0>250}/{n:0>250}");
        for n in [0, 500, 999] {
            store.put(&key(n), b"x").await;
        }
        let answer = delete(&gateway.a, &(0..1000).map(|n| object(&key(n))).collect::<String>()).await;
        assert_eq!((answer.status.as_u16(), answer.elements("Deleted").len()), (200, 1000), "{kind:?}");
        assert!(answer.elements("Key").into_iter().eq((0..1000).map(key)), "{kind:?}: in the order of the request");
        assert!(store.keys("").await.is_empty(), "{kind:?}");
        let record = gateway.record(1).await;
        let batch = record.batch.unwrap();
        assert_eq!((record.outcome, batch.deleted, batch.left_out > 900), (Outcome::Ok, 1000, true), "{kind:?}");
    }
}

#[tokio::test]
async fn d07_versions_in_a_batch_need_their_own_right() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        store.keep_versions().await;
        let gateway = store.setup().rules(RULES).start().await;
        let put = async |key: &str| {
            gateway.a.put(&format!("/bkt/{key}"), &[], key.to_owned()).await.header("x-amz-version-id").to_owned()
        };
        let (kept, gone) = (put("a/1").await, put("a/v/1").await);
        assert!(!kept.is_empty() && !gone.is_empty(), "{kind:?}");
        let answer = delete(&gateway.a, &(version("a/1", &kept) + &version("a/v/1", &gone) + &object("a/1"))).await;
        assert_eq!(inside(&answer, "Deleted", "Key"), ["a/v/1", "a/1"], "{kind:?}: {}", answer.text());
        assert_eq!(inside(&answer, "Deleted", "VersionId"), [gone.as_str()], "{kind:?}");
        assert_eq!(inside(&answer, "Deleted", "DeleteMarker"), ["true"], "{kind:?}: {}", answer.text());
        assert_eq!(inside(&answer, "Error", "VersionId"), [kept.as_str()], "{kind:?}: {}", answer.text());
        let read = async |key: &str, id: &str| gateway.a.get(&format!("/bkt/{key}?versionId={id}")).await.status;
        assert_eq!((read("a/1", &kept).await, read("a/v/1", &gone).await.as_u16()), (200.try_into().unwrap(), 404));
        assert_eq!(gateway.a.get("/bkt/a/1").await.outcome(), (404, "NoSuchKey".into()), "{kind:?}");
    }
}

#[tokio::test]
async fn d12_the_store_gets_a_new_body_with_permitted_objects_only() {
    let recorder = Recorder::start(deleted(&["gw/a/2", "gw/a/v/3"])).await;
    let mut setup = Setup::before(&recorder).rules(RULES);
    setup.bucket_settings = ", prefix: gw/".to_owned();
    let gateway = setup.start().await;
    let inside_document = "<!-- c --><Quiet>true</Quiet>".to_owned()
        + &object("b/secret")
        + &object("a/&#50;")
        + &version("a/v/3", "v&lt;1")
        + &version("a/4", "v2");
    let answer = delete(&gateway.a, &inside_document).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(inside(&answer, "Error", "Key"), ["b/secret", "a/4"], "{}", answer.text());
    assert!(answer.elements("Deleted").is_empty(), "quiet leaves out what was deleted: {}", answer.text());
    let sent = recorder.only();
    let body = String::from_utf8(sent.body.clone()).unwrap();
    assert_eq!(sent.request_line(), "POST /up-bkt?delete=");
    assert_eq!(
        body,
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
         <Object><Key>gw/a/2</Key></Object><Object><Key>gw/a/v/3</Key><VersionId>v&lt;1</VersionId></Object>\
         <Quiet>false</Quiet></Delete>"
    );
    assert_eq!(sent.header("content-md5"), md5(&body));
    assert_eq!(sent.header("x-amz-content-sha256").len(), 64);
    for header in ["x-amz-checksum-crc32", "x-amz-sdk-checksum-algorithm", "x-amz-bypass-governance-retention"] {
        assert_eq!(sent.header(header), "", "{header}");
    }
    for signed in ["content-md5", "x-amz-content-sha256"] {
        assert!(sent.header("authorization").contains(signed), "{}", sent.header("authorization"));
    }
}

#[tokio::test]
async fn d12_if_nothing_is_permitted_the_store_is_not_asked() {
    let recorder = Recorder::start(Answer::ok()).await;
    let gateway = before(&recorder).await;
    let answer = delete(&gateway.a, &(object("b/1") + &object("a/locked/2") + "<Quiet>true</Quiet>")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.elements("Code"), ["AccessDenied", "AccessDenied"], "{}", answer.text());
    assert_eq!(answer.elements("Message"), ["Access Denied", "Access Denied"], "nothing tells the two apart");
    let record = gateway.record(1).await;
    assert_eq!(
        (record.outcome, record.decision, record.code),
        (Outcome::Refused, Some(Decision::Deny), Some("AccessDenied"))
    );
    assert!(recorder.is_silent());
}

#[tokio::test]
async fn d12_a_caller_who_may_delete_nothing_is_refused_before_the_body() {
    let recorder = Recorder::start(Answer::ok()).await;
    let gateway = before(&recorder).await;
    let request = |path: &str, token: &str| {
        format!(
            "POST {path}?delete HTTP/1.1\r\nhost: gw\r\nauthorization: Bearer {token}\r\nexpect: 100-continue\r\ncontent-length: 100\r\ncontent-md5: XUFAKrxLKna5cZ2REBfFkg==\r\n\r\n"
        )
    };
    for path in ["/bkt", "/nowhere"] {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        stream.write_all(request(path, &gateway.b.token).as_bytes()).await.unwrap();
        let answer = raw::read_all(&mut stream).await;
        assert_eq!(raw::status(&answer), 403, "no 100 Continue: {answer}");
        assert!(answer.contains("<Code>AccessDenied</Code>"), "{answer}");
    }
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(request("/bkt", &gateway.a.token).as_bytes()).await.unwrap();
    assert!(raw::read_all(&mut stream).await.as_bytes().starts_with(raw::CONTINUE), "a caller who may is asked for it");
    let record = gateway.record(1).await;
    assert_eq!((record.operation, record.decision, record.bytes_in), (Some("DeleteObjects"), Some(Decision::Deny), 0));
    assert!(recorder.is_silent());
}

#[tokio::test]
async fn d12_an_answer_about_other_keys_is_a_fault_of_the_store() {
    let recorder = Recorder::start(Answer::ok()).await;
    let gateway = before(&recorder).await;
    let error = "<Error><Key>a/1</Key><Code>InternalError</Code><Message>inside</Message></Error>";
    for answer in [
        deleted(&["a/1", "b/secret"]),
        deleted(&["a/1", "a/1"]),
        deleted(&["up-bkt/a/1"]),
        Answer::status(200, "", &format!("<DeleteResult>{error}<Deleted><Key>a/1</Key></Deleted></DeleteResult>")),
        Answer::status(200, "", "<ListBucketResult/>"),
        Answer::status(200, "", "not XML"),
        Answer::status(200, "", &"x".repeat(9 << 20)),
        Answer::status(204, "", ""),
        Answer::status(200, "", "<Error><Code>InternalError</Code><Message>inside</Message></Error>"),
        Answer::error(403, "AccessDenied"),
    ] {
        recorder.answer(answer.clone());
        let got = delete(&gateway.a, &object("a/1")).await;
        assert_eq!(got.outcome(), (502, "BadGateway".into()), "{:.200}", format!("{answer:?}"));
        assert!(!got.text().contains("inside") && !got.text().contains("up-bkt"), "{}", got.text());
    }
    let record = gateway.record(1).await;
    assert_eq!((record.outcome, record.batch.unwrap().unknown), (Outcome::Refused, 1));
}

#[tokio::test]
async fn errors_of_the_store_for_one_object_are_told_in_public_terms() {
    let error = |key: &str, code: &str| {
        format!("<Error><Key>{key}</Key><Code>{code}</Code><Message>inside up-bkt</Message></Error>")
    };
    let results =
        error("a/1", "NoSuchVersion") + &error("a/2", "SignatureDoesNotMatch") + &error("a/3", "AccessDenied");
    let recorder = Recorder::start(Answer::status(200, "", &format!("<DeleteResult>{results}</DeleteResult>"))).await;
    let gateway = before(&recorder).await;
    let answer = delete(&gateway.a, &["a/1", "a/2", "a/3", "a/4"].map(object).concat()).await;
    assert_eq!(answer.elements("Code"), ["NoSuchVersion", "InternalError", "AccessDenied", "InternalError"]);
    assert!(!answer.text().contains("inside"), "{}", answer.text());
    let batch = gateway.record(1).await.batch.unwrap();
    assert_eq!((batch.asked, batch.deleted, batch.failed), (4, 0, 4));
}

#[tokio::test]
async fn d13_k27_documents_with_two_readings_never_reach_the_store() {
    let recorder = Recorder::start(deleted(&["a/1"])).await;
    let gateway = before(&recorder).await;
    for body in [
        document(&object("a/1").replace("<Object>", "<Object Key=\"b/secret\">")),
        document("<Object><Key>a/1</Key><Key>b/secret</Key></Object>"),
        document("<Object><Key>a/1</Key><x:Key>b/secret</x:Key></Object>"),
        document("<Object><Key>a/1<Key>b/secret</Key></Key></Object>"),
        document("<Object><Key>a<![CDATA[/../]]>b/secret</Key></Object>"),
        document("<Object><Key>a&#47;..&#47;b/secret</Key></Object>"),
        document("<Object><Key>a/1\n</Key></Object>"),
        document("<Object><Key>a/1&#x0;</Key></Object>"),
        document("<Object><Key>a/1</Key><Other/></Object>"),
        document(&(object("a/1") + "<Quiet>true</Quiet><Quiet>false</Quiet>")),
        document(""),
        document(&object("a/1")) + &document(&object("b/secret")),
        format!("<?xml version=\"1.0\" encoding=\"UTF-16\"?>{}", document(&object("a/1"))),
        format!("<!DOCTYPE Delete [<!ENTITY k \"b/secret\">]>{}", document("<Object><Key>&k;</Key></Object>")),
        format!("<!DOCTYPE Delete SYSTEM \"http://{}/\">{}", recorder.address, document(&object("a/1"))),
        "<Delete>".repeat(100_000),
        document(&format!("<Object {}/>", "a='b' ".repeat(100_000))),
        document(&"<Object/>".repeat(100_000)),
        document(&(0..1001).map(|n| object(&format!("a/{n}"))).collect::<String>()),
        String::new(),
    ] {
        let answer = post(&gateway.a, body.clone()).await;
        assert_eq!(answer.outcome(), (400, "MalformedXML".into()), "{body:.120}");
    }
    assert!(recorder.is_silent());
    let accepted = post(&gateway.a, format!("\u{feff}{}", document(&object("a<![CDATA[/]]>1")))).await;
    assert_eq!(inside(&accepted, "Deleted", "Key"), ["a/1"], "{}", accepted.text());
}

#[tokio::test]
async fn d14_length_digest_and_framing_are_checked() {
    let recorder = Recorder::start(deleted(&["a/1"])).await;
    let gateway = before(&recorder).await;
    let body = document(&object("a/1"));
    let send = async |headers: &[(&str, &str)], body: &str| {
        gateway.a.send("POST", "/bkt?delete", headers, body.to_owned()).await
    };
    let (md5, crc32) = (md5(&body), crc32(&body));
    for (headers, status, code) in [
        (&[][..], 400, "InvalidRequest"),
        (&[("content-md5", "XUFAKrxLKna5cZ2REBfFkg==")], 400, "BadDigest"),
        (&[("content-md5", "x")], 400, "InvalidDigest"),
        (&[("x-amz-checksum-crc32", "AAAAAA==")], 400, "BadDigest"),
        (&[("x-amz-checksum-crc32", "AAAAAA=="), ("content-md5", &md5)], 400, "BadDigest"),
        (&[("x-amz-content-sha256", &"0".repeat(64))], 400, "XAmzContentSHA256Mismatch"),
        (&[("content-md5", &md5), ("content-encoding", "gzip")], 400, "InvalidArgument"),
        (&[("content-md5", &md5), ("x-amz-mfa", "1 2")], 400, "InvalidArgument"),
    ] {
        assert_eq!(send(headers, &body).await.outcome(), (status, code.to_owned()), "{headers:?}");
    }
    let long = document(&(object("a/1") + &" ".repeat(3 << 20)));
    let digest = [("x-amz-checksum-crc32", "AAAAAA==")];
    assert_eq!(send(&digest, &long).await.outcome(), (400, "MaxMessageLengthExceeded".into()));
    let chunk = "a".repeat(1 << 16);
    let chunks = format!("{:x}\r\n{chunk}\r\n", chunk.len()).repeat(40);
    let endless = format!(
        "POST /bkt?delete HTTP/1.1\r\nhost: gw\r\nauthorization: Bearer {}\r\nx-amz-checksum-crc32: AAAAAA==\r\ntransfer-encoding: chunked\r\n\r\n{chunks}",
        gateway.a.token
    );
    let answer = raw::exchange(gateway.address, endless.as_bytes()).await;
    assert!(answer.contains("MaxMessageLengthExceeded"), "{answer}");
    assert!(recorder.is_silent());

    let framed = format!("{:x}\r\n{body}\r\n0\r\nx-amz-checksum-crc32:{crc32}\r\n\r\n", body.len());
    let length = body.len().to_string();
    let trailer = [
        ("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
        ("x-amz-decoded-content-length", length.as_str()),
        ("x-amz-trailer", "x-amz-checksum-crc32"),
        ("content-encoding", "aws-chunked"),
    ];
    assert_eq!(send(&trailer, &framed).await.status, 200);
    assert_eq!(send(&[("content-md5", &md5)], &body).await.status, 200);
    assert_eq!(send(&trailer, &framed.replace(&crc32, "AAAAAA==")).await.outcome(), (400, "BadDigest".into()));
    let chunked = format!(
        "POST /bkt?delete HTTP/1.1\r\nhost: gw\r\nauthorization: Bearer {}\r\ncontent-md5: {md5}\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        gateway.a.token,
        body.len()
    );
    // Twice on one connection, which is left in order behind each.
    let answers = raw::exchange(gateway.address, chunked.repeat(2).as_bytes()).await;
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2, "{answers}");
    assert_eq!(recorder.requests().len(), 4);
}

#[tokio::test]
async fn d15_bypassing_retention_needs_its_right_and_is_carried_on_with_it() {
    let recorder = Recorder::start(deleted(&["a/v/1"])).await;
    let rules = RULES.to_owned()
        + "\n  - { name: bypass, who: { tokens: [a] }, where: bkt/a/v/, what: ['s3:BypassGovernanceRetention'] }";
    let gateway = Setup::before(&recorder).rules(&rules).start().await;
    let body = document(&(version("a/v/1", "1") + &object("a/2")));
    let md5 = md5(&body);
    let headers = [("content-md5", md5.as_str()), ("x-amz-bypass-governance-retention", "true")];
    let answer = gateway.a.send("POST", "/bkt?delete", &headers, body).await;
    assert_eq!(inside(&answer, "Error", "Key"), ["a/2"], "{}", answer.text());
    let sent = recorder.only();
    assert_eq!(sent.header("x-amz-bypass-governance-retention"), "true");
    assert!(
        !String::from_utf8(sent.body).unwrap().contains("a/2"),
        "without the right on it, it is not deleted at all"
    );
}

#[tokio::test]
async fn e12_the_audit_record_names_every_object_and_its_fate() {
    let recorder = Recorder::start(deleted(&["a/1", "a/{\"x\":1}"])).await;
    let gateway = before(&recorder).await;
    let answer =
        delete(&gateway.a, &["a/1", "b/$(reboot)", "a/{\"x\":1}", "a/locked/\u{202e}"].map(object).concat()).await;
    assert_eq!(answer.elements("Deleted").len(), 2, "{}", answer.text());
    let record = gateway.record(1).await;
    assert_eq!((record.operation, record.bucket.as_deref()), (Some("DeleteObjects"), Some("bkt")));
    assert_eq!(
        (record.outcome, record.decision, record.rule.as_deref()),
        (Outcome::Partial, Some(Decision::Allow), Some("own"))
    );
    let line: serde_json::Value = serde_json::from_str(&serde_json::to_string(&record).unwrap()).unwrap();
    let object = |key: &str, result: &str, because: Option<&str>| serde_json::json!({ "key": key, "version_id": null, "result": result, "because": because });
    assert_eq!(
        line["batch"],
        serde_json::json!({
            "asked": 4, "deleted": 2, "denied": 2, "failed": 0, "unknown": 0, "left_out": 0,
            "objects": [
                object("b/$(reboot)", "denied", None),
                object("a/locked/\u{202e}", "denied", Some("locked")),
                object("a/1", "deleted", None),
                object("a/{\"x\":1}", "deleted", None),
            ],
        })
    );
    let metrics = gateway.ask_admin("/metrics").await.text();
    assert!(metrics.contains("operation=\"DeleteObjects\",outcome=\"partial\"") && !metrics.contains("reboot"));
    gateway.a.delete("/bkt/a/1").await;
    let other = serde_json::to_string(&gateway.record(2).await).unwrap();
    assert!(!other.contains("batch"), "{other}");
}

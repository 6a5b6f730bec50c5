//! Every form in which a client with an access key can send an object: signed or not, framed or not, with and without a length.

use std::sync::Arc;

use countersign::s3::checksum::{ChecksumAlgorithm, to_base64};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::support::certs::Authority;
use super::support::key_client::{Signed, digest};
use super::support::{Answer, Form, Gateway, KeyClient, Recorder, Setup, Store, StoreKind, Transfer, pattern, raw};

const ID: &str = "CSAKTENANTA";
const SECRET: &str = "the-secret-of-the-access-key-of-tenant-a";
const RULES: &str = "
  - { name: tenant-a, who: { keys: [forms] }, where: bkt/a/, what: [read, write, delete] }";

/// Around what SDKs make chunks of, and one that takes several pieces of every buffer on the way.
const SIZES: [usize; 6] = [0, 1, (64 << 10) - 1, 64 << 10, 200_000, 5 << 20];

/// How the gateway sends to a store: whole, or with one of the others.
const ROUTES: [(StoreKind, &[&str]); 5] = [
    (StoreKind::SeaweedFs, &[]),
    (StoreKind::SeaweedFs, &["payload: unsigned", "checksum: trailer"]),
    (StoreKind::Rgw, &[]),
    (StoreKind::Rgw, &["payload: unsigned", "checksum: header"]),
    (StoreKind::S3sFs, &[]),
];

async fn start(setup: Setup, upstream: &[&str]) -> (Gateway, KeyClient) {
    let setup = upstream.iter().fold(setup, |setup, setting| setup.upstream(setting));
    let gateway = setup.rules(RULES).access_key("forms", ID, SECRET).start().await;
    let client = KeyClient::new(gateway.address, ID, SECRET);
    (gateway, client)
}

/// What is sent of a size. The largest in the forms that differ in more than the algorithm, and in chunks as SDKs make them.
fn forms_of(size: usize) -> Vec<Form> {
    let mut forms = Form::all();
    if size > 1 << 20 {
        let only = [ChecksumAlgorithm::Crc32, ChecksumAlgorithm::Sha256];
        forms.retain(|form| match form {
            Form::UnsignedChunks(Some(algorithm)) | Form::SignedTrailer(algorithm) => only.contains(algorithm),
            _ => true,
        });
    }
    forms
}

/// The signer of these tests is believed because stores take what it signs.
#[tokio::test]
async fn stores_take_what_the_client_of_the_tests_signs() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let client = KeyClient::new(store.address(), &store.access_key, &store.secret_key);
        for form in Form::all() {
            // RGW 16 knows no trailers, and SeaweedFS no chunks that have neither signatures nor a trailer.
            let knows = match kind {
                StoreKind::Rgw => !form.is_framed() || form == Form::SignedChunks,
                _ => form != Form::UnsignedChunks(None),
            };
            if !knows {
                continue;
            }
            let object = pattern(100_000);
            let put = client.send("PUT", &format!("/{}/x", store.bucket), &[], &object, form, Transfer::Length).await;
            assert_eq!(put.status, 200, "{kind:?} {form:?}: {}", put.text());
            assert!(store.read("x").await.unwrap() == object, "{kind:?} {form:?}");
        }
    }
}

#[tokio::test]
async fn h07_h10_an_object_arrives_whole_in_every_form() {
    for (kind, upstream) in ROUTES {
        let Some(store) = Store::get(kind).await else { continue };
        let (_gateway, mut client) = start(store.setup(), upstream).await;
        for size in SIZES {
            let object = pattern(size);
            client.chunk = if size > 1 << 20 { 1 << 20 } else { 64 << 10 };
            for (form, transfer) in forms_of(size).into_iter().flat_map(|form| Transfer::ALL.map(|way| (form, way))) {
                let case = format!("{kind:?} {upstream:?} {form:?} {transfer:?} {size}");
                let put = client.send("PUT", "/bkt/a/x", &[("x-amz-meta-n", "1")], &object, form, transfer).await;
                assert_eq!(put.status, 200, "{case}: {}", put.text());
                assert!(store.read("a/x").await.unwrap() == object, "{case}");
                let head = store.head("a/x").await;
                assert_eq!((head.header("content-encoding"), head.header("x-amz-meta-n")), ("", "1"), "{case}");
                store.remove("a/x").await;
            }
        }
    }
}

#[tokio::test]
async fn h07_h10_a_part_arrives_whole_in_every_form() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let (_gateway, client) = start(store.setup(), &[]).await;
        let simple = async |method: &str, target: &str, body: &[u8]| {
            client.send(method, target, &[], body, Form::Hash, Transfer::Length).await
        };
        for (form, transfer) in Form::all().into_iter().flat_map(|form| Transfer::ALL.map(|way| (form, way))) {
            let case = format!("{kind:?} {form:?} {transfer:?}");
            let id = simple("POST", "/bkt/a/x?uploads=", b"").await.element("UploadId");
            let object = pattern(100_001);
            let part = format!("/bkt/a/x?partNumber=1&uploadId={id}");
            let put = client.send("PUT", &part, &[], &object, form, transfer).await;
            if !form.is_framed() && transfer == Transfer::Chunked {
                assert_eq!(put.outcome(), (411, "MissingContentLength".into()), "{case}");
                assert_eq!(simple("DELETE", &format!("/bkt/a/x?uploadId={id}"), b"").await.status, 204, "{case}");
                continue;
            }
            assert_eq!(put.status, 200, "{case}: {}", put.text());
            let list = format!(
                "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{}</ETag></Part></CompleteMultipartUpload>",
                put.header("etag")
            );
            let done =
                client.send("POST", &format!("/bkt/a/x?uploadId={id}"), &[], list.as_bytes(), form, transfer).await;
            assert_eq!(done.status, 200, "{case}: {}", done.text());
            assert!(store.read("a/x").await.unwrap() == object, "{case}");
            store.remove("a/x").await;
        }
    }
}

#[tokio::test]
async fn h07_every_form_comes_over_http2_too() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let authority = Authority::new();
        let identity = authority.vouch_for(&["127.0.0.1"]);
        let (gateway, client) = start(store.setup().tls(&identity), &[]).await;
        let object = pattern(100_000);
        for (form, transfer) in Form::all().into_iter().flat_map(|form| Transfer::ALL.map(|way| (form, way))) {
            let case = format!("{kind:?} {form:?} {transfer:?}");
            let connector = TlsConnector::from(Arc::new(authority.client(&["h2"])));
            let stream = TcpStream::connect(gateway.address).await.unwrap();
            let stream = connector.connect(ServerName::try_from("127.0.0.1").unwrap(), stream).await.unwrap();
            let signed = client.sign("PUT", "/bkt/a/x", &[], &object, form);
            let put = client.send_over(stream, true, &signed, transfer).await;
            assert_eq!(put.status, 200, "{case}: {}", put.text());
            assert!(store.read("a/x").await.unwrap() == object, "{case}");
            store.remove("a/x").await;
        }
    }
}

/// Replaces a text that stands once.
fn replaced(bytes: &[u8], old: &str, new: &str) -> Vec<u8> {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    assert_eq!(text.matches(old).count(), 1, "{old} in {text}");
    text.replace(old, new).into_bytes()
}

/// The same request with another body, in every way that somebody between client and gateway can think of; and what is answered.
fn forgeries(client: &KeyClient, object: &[u8], form: Form) -> Vec<(&'static str, Signed, (u16, &'static str))> {
    const MISMATCH: (u16, &str) = (403, "SignatureDoesNotMatch");
    let signed = client.sign("PUT", "/bkt/a/x", &[], object, form);
    let other = client.sign("PUT", "/bkt/a/other", &[], object, form);
    let unsigned = client.sign("PUT", "/bkt/a/x", &[], object, Form::UnsignedChunks(None));
    let mut all = Vec::new();
    let mut add = |name, outcome, change: &dyn Fn(&mut Signed)| {
        let mut forged = signed.clone();
        change(&mut forged);
        assert_ne!(forged.body(), signed.body(), "{name}");
        all.push((name, forged, outcome));
    };
    let last = signed.chunks.len() - 1;
    add("altered", MISMATCH, &|forged| forged.chunks[3][4000] ^= 1);
    add("the last altered", MISMATCH, &|forged| forged.chunks[last][90] ^= 1);
    add("reordered", MISMATCH, &|forged| forged.chunks.swap(2, 3));
    add("doubled", MISMATCH, &|forged| forged.chunks.insert(2, signed.chunks[1].clone()));
    add("dropped", MISMATCH, &|forged| drop(forged.chunks.remove(4)));
    add("the last dropped", MISMATCH, &|forged| drop(forged.chunks.pop()));
    add("all dropped", MISMATCH, &|forged| forged.chunks.clear());
    add("spliced", MISMATCH, &|forged| forged.chunks[5] = other.chunks[5].clone());
    add("another body", MISMATCH, &|forged| {
        (forged.chunks, forged.end) = (other.chunks.clone(), other.end.clone());
    });
    add("another end", MISMATCH, &|forged| forged.end = other.end.clone());
    add("unsigned chunks", MISMATCH, &|forged| {
        (forged.chunks, forged.end) = (unsigned.chunks.clone(), unsigned.end.clone());
    });
    add("an unsigned end", MISMATCH, &|forged| forged.end = unsigned.end.clone());
    add("no framing", (400, "InvalidRequest"), &|forged| {
        (forged.chunks, forged.end) = (vec![object.to_vec()], Vec::new());
    });
    add("no end", (400, "InvalidRequest"), &|forged| forged.end.clear());
    add("bytes behind", (400, "InvalidRequest"), &|forged| forged.end.extend(b"0\r\n\r\n"));
    if let Form::SignedTrailer(algorithm) = form {
        let name = algorithm.header_name();
        add("the trailer altered", MISMATCH, &|forged| {
            forged.end = replaced(&signed.end, &to_base64(&digest(algorithm, object)), "AAAAAA==");
        });
        add("no trailer", MISMATCH, &|forged| {
            let (first, _) = std::str::from_utf8(&signed.end).unwrap().split_once(name).unwrap();
            forged.end = [first, "\r\n"].concat().into_bytes();
        });
        add("no trailer signature", MISMATCH, &|forged| {
            let (first, _) = std::str::from_utf8(&signed.end).unwrap().split_once("x-amz-trailer-signature").unwrap();
            forged.end = [first, "\r\n"].concat().into_bytes();
        });
        add("one more trailer", (400, "InvalidRequest"), &|forged| {
            forged.end = replaced(&signed.end, "x-amz-trailer-signature", "x-amz-meta-a:1\r\nx-amz-trailer-signature");
        });
    }
    all
}

/// Forms whose body is signed in parts.
const SIGNED: [Form; 2] = [Form::SignedChunks, Form::SignedTrailer(ChecksumAlgorithm::Crc32c)];

#[tokio::test]
async fn c06_h01_h02_h08_no_store_is_told_the_end_of_a_forged_body() {
    let recorder = Recorder::start(Answer::ok()).await;
    let (_gateway, client) = start(Setup::before(&recorder), &[]).await;
    let object = pattern(100_000);
    let committed = || recorder.requests().iter().filter(|request| request.complete).count();
    let cases = SIGNED.into_iter().flat_map(|form| Transfer::ALL.map(|way| (form, way)));
    for (number, (form, transfer)) in cases.enumerate() {
        for (name, forged, (status, code)) in forgeries(&client, &object, form) {
            let answer = client.send_signed(&forged, transfer).await;
            assert_eq!(answer.outcome(), (status, code.to_owned()), "{form:?} {transfer:?}: {name}");
            assert_eq!(committed(), number, "{form:?} {transfer:?}: {name}");
        }
        // The same as it was signed arrives.
        let put = client.send("PUT", "/bkt/a/x", &[], &object, form, transfer).await;
        assert_eq!((put.status.as_u16(), committed()), (200, number + 1), "{form:?} {transfer:?}: {}", put.text());
    }
}

#[tokio::test]
async fn c06_h01_h02_h08_a_forged_body_leaves_nothing_in_real_stores() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let (_gateway, client) = start(store.setup(), &[]).await;
        let object = pattern(100_000);
        store.put("a/other", b"old").await;
        for (form, transfer) in SIGNED.into_iter().flat_map(|form| Transfer::ALL.map(|way| (form, way))) {
            for (name, forged, (status, code)) in forgeries(&client, &object, form) {
                let answer = client.send_signed(&forged, transfer).await;
                assert_eq!(answer.outcome(), (status, code.to_owned()), "{kind:?} {form:?} {transfer:?}: {name}");
            }
            // The head of one request with the body of another is a forgery of both.
            let mut overwrite = client.sign("PUT", "/bkt/a/other", &[], &object, form);
            overwrite.chunks = client.sign("PUT", "/bkt/a/x", &[], &object, form).chunks;
            let answer = client.send_signed(&overwrite, transfer).await;
            assert_eq!(answer.outcome(), (403, "SignatureDoesNotMatch".into()), "{kind:?} {form:?} {transfer:?}");
        }
        assert_eq!(store.read("a/x").await, None, "{kind:?}");
        assert_eq!(store.read("a/other").await.as_deref(), Some(b"old".as_slice()), "{kind:?}");
        assert_eq!(store.keys("").await, ["a/other"], "{kind:?}");
    }
}

#[tokio::test]
async fn h03_what_the_signature_says_of_the_body_chooses_how_it_is_read() {
    let recorder = Recorder::start(Answer::ok()).await;
    let (_gateway, client) = start(Setup::before(&recorder), &["payload: unsigned", "checksum: header"]).await;
    let object = pattern(30_000);
    let plain = client.sign("PUT", "/bkt/a/x", &[], &object, Form::Hash);
    let framed = client.sign("PUT", "/bkt/a/x", &[], &object, Form::SignedChunks);
    let mut framed_under_a_hash = plain.clone();
    (framed_under_a_hash.chunks, framed_under_a_hash.end) = (framed.chunks.clone(), framed.end.clone());
    let answer = client.send_signed(&framed_under_a_hash, Transfer::Length).await;
    assert_eq!(answer.outcome(), (400, "XAmzContentSHA256Mismatch".into()));
    // Somebody on the way adds, or takes away, a word that the signature of this client does not cover.
    let mut coded = plain;
    coded.headers.push(("content-encoding".to_owned(), "aws-chunked".to_owned()));
    assert_eq!(client.send_signed(&coded, Transfer::Length).await.outcome(), (400, "InvalidArgument".into()));
    // A word that the signature covers is missed.
    let mut stripped = framed;
    stripped.headers.retain(|(name, _)| name != "content-encoding");
    assert_eq!(client.send_signed(&stripped, Transfer::Length).await.outcome(), (403, "SignatureDoesNotMatch".into()));
    assert!(recorder.nothing_committed());
}

#[tokio::test]
async fn h10_chunks_without_the_length_of_the_object_are_refused_before_the_store_hears_of_them() {
    let recorder = Recorder::start(Answer::ok()).await;
    let gateway = Setup::before(&recorder).start().await;
    let head = format!(
        "PUT /bkt/a/x HTTP/1.1\r\nhost: gw\r\nauthorization: Bearer {}\r\ntransfer-encoding: chunked\r\n\
         x-amz-content-sha256: STREAMING-UNSIGNED-PAYLOAD-TRAILER\r\n",
        gateway.a.token
    );
    let body = "f\r\n5\r\nhello\r\n0\r\n\r\n\r\n0\r\n\r\n";
    let answer = raw::exchange(gateway.address, format!("{head}\r\n{body}").as_bytes()).await;
    assert!(raw::status(&answer) == 411 && answer.contains("MissingContentLength"), "{answer}");
    assert!(recorder.is_silent());
    let answer =
        raw::exchange(gateway.address, format!("{head}x-amz-decoded-content-length: 5\r\n\r\n{body}").as_bytes()).await;
    assert_eq!(raw::status(&answer), 200, "{answer}");
}

/// What reaches a store is the gateway's own, whatever the client's form: here a plain body, which every store knows.
#[tokio::test]
async fn every_form_reaches_a_store_without_trailers_as_a_plain_body() {
    let recorder = Recorder::start(Answer::ok()).await;
    let (_gateway, client) = start(Setup::before(&recorder), &["payload: unsigned", "checksum: header"]).await;
    let object = pattern(100_000);
    for (number, form) in Form::all().into_iter().filter(|form| *form != Form::Hash).enumerate() {
        let put = client.send("PUT", "/bkt/a/x", &[], &object, form, Transfer::Length).await;
        assert_eq!(put.status, 200, "{form:?}: {}", put.text());
        let sent = recorder.requests()[number].clone();
        assert!(sent.complete && sent.body == object, "{form:?}");
        assert_eq!(sent.header("x-amz-content-sha256"), "UNSIGNED-PAYLOAD", "{form:?}");
        assert!(sent.header("authorization").contains("Credential=RECORDER-ACCESS-KEY/"), "{form:?}");
        for name in ["content-encoding", "x-amz-trailer", "x-amz-decoded-content-length", "transfer-encoding"] {
            assert_eq!(sent.header(name), "", "{form:?} {name}");
        }
    }
}

/// A checksum in the head goes on in the head, one behind the body in a trailer of the gateway's own.
#[tokio::test]
async fn h07_the_clients_checksum_goes_on_to_a_store_that_checks_it() {
    let recorder = Recorder::start(Answer::ok()).await;
    let (_gateway, client) = start(Setup::before(&recorder), &["payload: unsigned", "checksum: trailer"]).await;
    let object = pattern(100_000);
    for (number, algorithm) in ChecksumAlgorithm::ALL.into_iter().enumerate() {
        let value = to_base64(&digest(algorithm, &object));
        let checksum = [(algorithm.header_name(), value.as_str())];
        let in_head = client.send("PUT", "/bkt/a/x", &checksum, &object, Form::SignedChunks, Transfer::Length).await;
        let form = Form::SignedTrailer(algorithm);
        let behind = client.send("PUT", "/bkt/a/x", &[], &object, form, Transfer::Chunked).await;
        assert_eq!((in_head.status.as_u16(), behind.status.as_u16()), (200, 200), "{algorithm:?}");
        let (in_head, behind) = (&recorder.requests()[2 * number], &recorder.requests()[2 * number + 1]);
        assert!(in_head.body == object && in_head.header(algorithm.header_name()) == value, "{algorithm:?}");
        assert_eq!(behind.header("x-amz-trailer"), algorithm.header_name());
        let end = format!("0\r\n{}:{value}\r\n\r\n", algorithm.header_name());
        assert!(behind.complete && behind.body.ends_with(end.as_bytes()), "{algorithm:?}");
    }
}

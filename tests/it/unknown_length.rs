//! Uploads whose length the client does not declare: stored whole, held to the same limits, and gone without trace when refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::support::{Answer, Client, Recorder, Response, Setup, Store, StoreKind, eventually, pattern, raw};

const MIB: usize = 1 << 20;

/// Sends a body with `Transfer-Encoding: chunked`, in pieces of 100 kB.
async fn put_chunked(client: &Client, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
    let stream = TcpStream::connect(client.address).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let pieces: Vec<_> =
        body.chunks(100_000).map(|piece| Ok::<_, std::io::Error>(Frame::data(Bytes::copy_from_slice(piece)))).collect();
    let mut request = Request::builder().method("PUT").uri(target).header("host", client.address.to_string());
    request = request.header("authorization", format!("Bearer {}", client.token));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = StreamBody::new(futures_util::stream::iter(pieces));
    let response = sender.send_request(request.body(body).unwrap()).await.unwrap();
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes().to_vec();
    connection.abort();
    Response { status: head.status, headers: head.headers, body }
}

#[tokio::test]
async fn objects_of_every_size_are_stored_whole() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let gateway = store.setup().start().await;
        for size in [0, 1, 8 * MIB - 1, 8 * MIB, 8 * MIB + 1, 20 * MIB] {
            let body = pattern(size);
            let headers = [("content-type", "text/x-test"), ("x-amz-meta-note", "n")];
            let put = put_chunked(&gateway.a, "/bkt/a/stream", &headers, &body).await;
            assert_eq!(put.status, 200, "{kind:?} {size}: {}", put.text());
            let got = gateway.a.get("/bkt/a/stream").await;
            assert!(got.body == body, "{kind:?} {size}");
            assert_eq!(
                (got.header("etag"), got.header("content-type"), got.header("x-amz-meta-note")),
                (put.header("etag"), "text/x-test", "n")
            );
        }
        assert!(store.uploads().await.is_empty(), "{kind:?}");
    }
}

#[tokio::test]
async fn h13_refused_ones_leave_neither_object_nor_parts() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let rules = "\n  - { name: r, who: { tokens: [a] }, where: bkt, what: [read, write], limits: { min_size: 10B, max_size: 12MiB }, content: { types: [image/png, text/plain], check_bytes: true } }";
        let gateway = store.setup().rules(rules).start().await;
        store.put("old", b"the old object").await;
        let large = pattern(20 * MIB);
        let text = vec![b'x'; 9 * MIB];
        for (headers, body, expected) in [
            (vec![("content-type", "text/plain")], &vec![b'x'; 20 * MIB], (400, "EntityTooLarge")),
            (vec![("content-type", "text/plain")], &b"short".to_vec(), (400, "EntityTooSmall")),
            (
                vec![("content-type", "text/plain"), ("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==")],
                &text,
                (400, "BadDigest"),
            ),
            (vec![("content-type", "text/plain"), ("x-amz-checksum-crc32", "AAAAAA==")], &text, (400, "BadDigest")),
            (vec![("content-type", "image/png")], &large, (403, "AccessDenied")),
        ] {
            let put = put_chunked(&gateway.a, "/bkt/old", &headers, body).await;
            assert_eq!(put.outcome(), (expected.0, expected.1.to_owned()), "{kind:?} {headers:?}");
            assert_eq!(store.read("old").await.unwrap(), b"the old object", "{kind:?} {headers:?}");
        }
        store.until_no_uploads().await;
    }
}

#[tokio::test]
async fn a_client_that_breaks_off_leaves_nothing() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let gateway = store.setup().start().await;
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        let head = format!(
            "PUT /bkt/a/cut HTTP/1.1\r\nhost: gw\r\nauthorization: Bearer {}\r\ntransfer-encoding: chunked\r\n\r\n",
            gateway.a.token
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let piece = vec![b'x'; MIB];
        for _ in 0..20 {
            stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).await.unwrap();
            stream.write_all(&piece).await.unwrap();
            stream.write_all(b"\r\n").await.unwrap();
        }
        drop(stream);
        gateway.record(1).await;
        store.until_no_uploads().await;
        assert_eq!(store.read("a/cut").await, None, "{kind:?}");
    }
}

#[tokio::test]
async fn h13_parts_are_removed_though_the_store_fails_at_first() {
    let failures = Arc::new(AtomicUsize::new(1));
    let left = Arc::clone(&failures);
    let begun = "<InitiateMultipartUploadResult><UploadId>id</UploadId></InitiateMultipartUploadResult>";
    let answer = move |head: &str| match head.split(' ').next() {
        Some("POST") => Answer::status(200, "", begun),
        Some("DELETE") if left.load(Ordering::SeqCst) > 0 => {
            left.fetch_sub(1, Ordering::SeqCst);
            Answer::error(503, "SlowDown")
        }
        Some("DELETE") => Answer::status(204, "", ""),
        _ => Answer::error(500, "InternalError"),
    };
    let recorder = Recorder::start(Answer::By(Arc::new(answer))).await;
    let gateway = Setup::before(&recorder).start().await;
    let refused = put_chunked(&gateway.a, "/bkt/a/x", &[], &pattern(9 * MIB)).await;
    assert_eq!(refused.outcome(), (502, "BadGateway".into()));
    let removals = || recorder.requests().iter().filter(|request| request.request_line().starts_with("DELETE")).count();
    eventually("a second attempt", || removals() == 2).await;
}

#[tokio::test]
async fn conditions_hold_for_parts_too() {
    let Some(store) = Store::get(StoreKind::SeaweedFs).await else { return };
    let gateway = store.setup().start().await;
    store.put("a/there", b"old").await;
    for body in [pattern(100), pattern(9 * MIB)] {
        let put = put_chunked(&gateway.a, "/bkt/a/there", &[("if-none-match", "*")], &body).await;
        assert_eq!(put.outcome(), (412, "PreconditionFailed".into()));
        assert_eq!(store.read("a/there").await.unwrap(), b"old");
    }
    store.until_no_uploads().await;
}

#[tokio::test]
async fn h10_they_are_refused_before_the_body_where_no_place_is_left() {
    let recorder = Recorder::start(Answer::ok()).await;
    let none = Setup::before(&recorder).upstream("unknown_length_uploads: 0").start().await;
    let request = |token: &str| {
        format!(
            "PUT /bkt/a/x HTTP/1.1\r\nhost: gw\r\nauthorization: Bearer {token}\r\ntransfer-encoding: chunked\r\nexpect: 100-continue\r\n\r\n"
        )
    };
    let answer = raw::exchange(none.address, request(&none.a.token).as_bytes()).await;
    assert_eq!(raw::status(&answer), 411, "{answer}");
    assert!(answer.contains("MissingContentLength"));

    let one = Setup::before(&recorder).upstream("unknown_length_uploads: 1").start().await;
    let mut first = TcpStream::connect(one.address).await.unwrap();
    first.write_all(request(&one.a.token).replace("expect: 100-continue\r\n", "").as_bytes()).await.unwrap();
    first.write_all(b"5\r\nhello\r\n").await.unwrap();
    let mut second = String::new();
    for _ in 0..100 {
        // Until the first one has its place, the second may get it.
        second = raw::exchange(one.address, request(&one.a.token).as_bytes()).await;
        if raw::status(&second) == 503 {
            break;
        }
    }
    assert!(raw::status(&second) == 503 && second.contains("SlowDown") && second.contains("retry-after"), "{second}");
    first.write_all(b"0\r\n\r\n").await.unwrap();
    eventually("the first upload at the store", || {
        recorder.requests().iter().any(|request| request.complete && request.body == b"hello")
    })
    .await;
}

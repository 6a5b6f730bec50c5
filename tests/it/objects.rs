//! Objects go through the gateway and come back, on every store.

use super::support::{Answer, Recorder, Setup, Store, StoreKind, pattern};

/// Keys that encode, sort or read oddly, all of them legal (B02, E05, E07).
const KEYS: &[&str] = &[
    "a/plain.txt",
    "a/with blank",
    "a/100%",
    "a/+plus+",
    "a/~!*'()",
    "a/@:$,;=&",
    "a/ü/日本",
    "a/%2F",
    "a/trailing.",
    "a/q?x=y",
    "a/h#f",
    "a/[x]{y}|^`",
    "a/\"<>",
    "a/.hidden",
];

fn target(key: &str) -> String {
    format!("/bkt/{}", countersign::base::encoding::encode_path(key))
}

#[tokio::test]
async fn objects_go_in_and_come_out_under_the_same_key() {
    for kind in StoreKind::ALL {
        let Some(store) = Store::get(kind).await else { continue };
        let gateway = store.setup().start().await;
        for key in KEYS {
            let body = pattern(1000 + key.len());
            let put = gateway
                .a
                .put(&target(key), &[("content-type", "text/x-test"), ("x-amz-meta-note", "n 1")], body.clone())
                .await;
            assert_eq!(put.status, 200, "{kind:?} {key}: {}", put.text());
            assert!(!put.header("etag").is_empty() && !put.header("x-amz-request-id").is_empty());
            assert_eq!(store.read(key).await.as_deref(), Some(body.as_slice()), "{kind:?} {key}");
            let got = gateway.a.get(&target(key)).await;
            assert_eq!(
                (got.status.as_u16(), got.header("content-type"), got.header("x-amz-meta-note")),
                (200, "text/x-test", "n 1"),
                "{kind:?} {key}"
            );
            assert_eq!(got.body, body, "{kind:?} {key}");
            let head = gateway.a.send("HEAD", &target(key), &[], "").await;
            assert_eq!(
                (head.status.as_u16(), head.header("content-length"), head.body.len()),
                (200, body.len().to_string().as_str(), 0),
                "{kind:?} {key}"
            );
            assert_eq!(gateway.a.delete(&target(key)).await.status, 204, "{kind:?} {key}");
            assert_eq!(gateway.a.get(&target(key)).await.outcome(), (404, "NoSuchKey".into()), "{kind:?} {key}");
        }
    }
}

#[tokio::test]
async fn sizes_from_nothing_to_many_frames_arrive_whole() {
    for kind in StoreKind::ALL {
        let Some(store) = Store::get(kind).await else { continue };
        let gateway = store.setup().start().await;
        for size in [0, 1, 65_535, 65_536, 65_537, 1 << 20, (20 << 20) + 7] {
            let body = pattern(size);
            let put = gateway.a.put("/bkt/a/sized", &[], body.clone()).await;
            assert_eq!(put.status, 200, "{kind:?} {size}: {}", put.text());
            assert_eq!(gateway.a.get("/bkt/a/sized").await.body, body, "{kind:?} {size}");
        }
    }
}

#[tokio::test]
async fn every_upload_form_of_a_bearer_client_is_understood() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let gateway = store.setup().start().await;
        // `hello`, with every checksum S3 knows; values by an independent implementation (Python's zlib and hashlib, awscrt).
        let sha256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
        for header in [
            ("x-amz-checksum-crc32", "NhCmhg=="),
            ("x-amz-checksum-crc32c", "mnG7TA=="),
            ("x-amz-checksum-crc64nvme", "M3eFcAZSQlc="),
            ("x-amz-checksum-sha1", "qvTGHdzF6KLavt4PO0gs2a6pQ00="),
            ("x-amz-checksum-sha256", "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ="),
            ("content-md5", "XUFAKrxLKna5cZ2REBfFkg=="),
            ("x-amz-content-sha256", sha256),
            ("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
        ] {
            let put = gateway.a.put("/bkt/a/form", &[header], "hello").await;
            assert_eq!(put.status, 200, "{kind:?} {header:?}: {}", put.text());
            assert_eq!(store.read("a/form").await.unwrap(), b"hello");
        }
        let framed = "5\r\nhello\r\n0\r\nx-amz-checksum-crc32c:mnG7TA==\r\n\r\n";
        let headers = [
            ("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
            ("x-amz-decoded-content-length", "5"),
            ("x-amz-trailer", "x-amz-checksum-crc32c"),
            ("content-encoding", "aws-chunked"),
        ];
        let put = gateway.a.put("/bkt/a/framed", &headers, framed).await;
        assert_eq!(put.status, 200, "{kind:?}: {}", put.text());
        let got = gateway.a.get("/bkt/a/framed").await;
        assert_eq!((got.body.as_slice(), got.header("content-encoding")), (&b"hello"[..], ""), "{kind:?}");
    }
}

#[tokio::test]
async fn ranges_and_conditions_pass_through() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let gateway = store.setup().start().await;
        let etag = gateway.a.put("/bkt/a/r", &[], "0123456789").await.header("etag").to_owned();
        let with = |name: &'static str, value: String| {
            let client = gateway.a.clone();
            async move { client.send("GET", "/bkt/a/r", &[(name, value.as_str())], "").await }
        };
        let part = with("range", "bytes=2-4".into()).await;
        assert_eq!(
            (part.status.as_u16(), part.body.as_slice(), part.header("content-range")),
            (206, &b"234"[..], "bytes 2-4/10"),
            "{kind:?}"
        );
        assert_eq!(with("range", "bytes=100-".into()).await.outcome(), (416, "InvalidRange".into()), "{kind:?}");
        let unchanged = with("if-none-match", etag.clone()).await;
        assert_eq!((unchanged.status.as_u16(), unchanged.body.len()), (304, 0), "{kind:?}");
        assert_eq!(
            with("if-match", "\"other\"".into()).await.outcome(),
            (412, "PreconditionFailed".into()),
            "{kind:?}"
        );
        let only_new = gateway.a.put("/bkt/a/r", &[("if-none-match", "*")], "new").await;
        assert_eq!(only_new.outcome(), (412, "PreconditionFailed".into()), "{kind:?}");
        assert_eq!(store.read("a/r").await.unwrap(), b"0123456789", "{kind:?}");
    }
}

#[tokio::test]
async fn buckets_answer_in_public_terms() {
    for kind in StoreKind::ALL {
        let Some(store) = Store::get(kind).await else { continue };
        let gateway = store.setup().start().await;
        let head = gateway.a.send("HEAD", "/bkt", &[], "").await;
        assert_eq!((head.status.as_u16(), head.header("x-amz-bucket-region")), (200, "us-east-1"), "{kind:?}");
        let location = gateway.a.get("/bkt?location").await;
        assert!(
            location.status == 200 && location.text().contains("<LocationConstraint"),
            "{kind:?}: {}",
            location.text()
        );
        assert_eq!(gateway.a.get("/").await.elements("Name"), ["bkt"], "{kind:?}");
        assert!(!gateway.a.get("/").await.text().contains(&store.bucket), "{kind:?}");
    }
}

#[tokio::test]
async fn the_list_of_buckets_is_filtered_and_paged() {
    let recorder = Recorder::start(Answer::ok()).await;
    let gateway = Setup::before(&recorder).start().await;
    let names = async |query: &str| gateway.a.get(&format!("/{query}")).await.elements("Name");
    assert_eq!(names("?prefix=bk&max-buckets=1&bucket-region=us-east-1").await, ["bkt"]);
    for query in ["?prefix=x", "?bucket-region=eu-west-1", "?continuation-token=bkt"] {
        assert!(names(query).await.is_empty(), "{query}");
    }
    for query in ["?max-buckets=0", "?max-buckets=x", "?max-buckets=10001"] {
        assert_eq!(gateway.a.get(&format!("/{query}")).await.outcome(), (400, "InvalidArgument".into()), "{query}");
    }
    assert!(recorder.is_silent());
}

#[tokio::test]
async fn a_store_is_addressed_by_virtual_host_too() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let mut setup = store.setup().upstream("addressing: virtual-host");
        setup.endpoint = store.endpoint.replace("127.0.0.1", "localhost");
        let gateway = setup.start().await;
        assert_eq!(gateway.a.put("/bkt/a/x%20y", &[], "body").await.status, 200, "{kind:?}");
        assert_eq!(store.read("a/x y").await.unwrap(), b"body", "{kind:?}");
        assert_eq!(gateway.a.get("/bkt/a/x%20y").await.body, b"body", "{kind:?}");
        assert_eq!(gateway.a.get("/bkt?list-type=2").await.elements("Key"), ["a/x y"], "{kind:?}");
    }
}

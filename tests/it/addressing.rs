//! The bucket in the host name: which hosts say it, which are refused, and that no host gets into a request of the gateway.

use super::hostile::Wire;
use super::support::{Answer, Recorder, Setup, Store, StoreKind};

const RULES: &str = "
  - { name: own, who: { tokens: [a] }, where: bkt, what: [read, write, delete] }
  - { name: dotted, who: { tokens: [a] }, where: my.data, what: [read, write] }";

async fn with_domains() -> Wire {
    let recorder = Recorder::start(Answer::ok()).await;
    let mut setup = Setup::before(&recorder).rules(RULES).top("domains: [gw.example, s3.corp]");
    setup.buckets.push("my.data: { upstream: store, bucket: up-data }".to_owned());
    Wire { gateway: setup.start().await, recorder }
}

impl Wire {
    /// A GET with these fields instead of a `Host`.
    async fn to(&self, target: &str, fields: &str) -> super::hostile::Reply {
        let token = &self.gateway.a.token;
        self.ask(format!("GET {target} HTTP/1.1\r\n{fields}authorization: Bearer {token}\r\nconnection: close\r\n\r\n"))
            .await
    }
}

#[tokio::test]
async fn e09_the_host_decides_whether_it_or_the_path_names_the_bucket() {
    let wire = with_domains().await;
    for (host, target, sent) in [
        ("bkt.gw.example", "/a/x", "GET /up-bkt/a/x"),
        ("BKT.Gw.Example", "/a/x", "GET /up-bkt/a/x"),
        ("bkt.gw.example:8443", "/a/x", "GET /up-bkt/a/x"),
        ("bkt.s3.corp", "/a/x", "GET /up-bkt/a/x"),
        ("bkt.gw.example", "/bkt/a/x", "GET /up-bkt/bkt/a/x"),
        ("bkt.gw.example", "/my.data/x", "GET /up-bkt/my.data/x"),
        ("my.data.gw.example", "/x", "GET /up-data/x"),
        ("gw.example", "/bkt/a/x", "GET /up-bkt/a/x"),
        ("bkt.gw.example.evil", "/bkt/a/x", "GET /up-bkt/a/x"),
        ("evil-gw.example", "/bkt/a/x", "GET /up-bkt/a/x"),
        ("my.data.other", "/bkt/a/x", "GET /up-bkt/a/x"),
    ] {
        let reply = wire.to(target, &format!("host: {host}\r\n")).await;
        assert_eq!(reply.status, 200, "{host} {target}: {reply:?}");
        let request = wire.recorder.requests().pop().unwrap();
        assert_eq!(request.request_line(), sent, "{host}");
        assert_eq!(request.header("host"), wire.recorder.address.to_string(), "{host}");
    }
    let record = wire.gateway.record(7).await;
    assert_eq!((record.bucket.as_deref(), record.key.as_deref()), (Some("my.data"), Some("x")));
}

#[tokio::test]
async fn e09_a_host_that_cannot_be_read_or_names_no_bucket_is_refused() {
    let wire = with_domains().await;
    for fields in [
        "host: bkt.gw.example.\r\n",
        "host: gw.example:99999\r\n",
        "host: bkt.gw.example:\r\n",
        "host:\r\n",
        "",
        "host: gw.example\r\nhost: bkt.gw.example\r\n",
        "host: bkt.gw.example\r\nhost: bkt.gw.example\r\n",
        "host: x@bkt.gw.example\r\n",
        "host: bkt.gw.example/\r\n",
        "host: bkt.gw.example#\r\n",
        "host: bkt .gw.example\r\n",
        "host: bkt\t.gw.example\r\n",
        "host: .gw.example\r\n",
        "host: bkt..gw.example\r\n",
        "host: bkt%2egw.example\r\n",
    ] {
        let reply = wire.to("/a/x", fields).await;
        assert_eq!(reply.status, 400, "{fields:?}: {reply:?}");
    }
    // E08: a bucket that does not exist, whatever stands in the path.
    for host in [
        "other.gw.example",
        "a.bkt.gw.example",
        "bkt.gw.example.gw.example",
        "..gw.example",
        "-.gw.example",
        "up-bkt.gw.example",
    ] {
        let reply = wire.to("/bkt/a/x", &format!("host: {host}\r\n")).await;
        assert!(matches!(reply.status, 400 | 403), "{host}: {reply:?}");
    }
    assert!(wire.recorder.is_silent());
    let record = wire.gateway.records().pop().unwrap();
    assert_eq!((record.bucket.as_deref(), record.key.as_deref()), (Some("up-bkt"), Some("bkt/a/x")));
}

#[tokio::test]
async fn e10_no_host_gets_into_a_request_of_the_gateway_or_into_an_answer() {
    let wire = with_domains().await;
    for fields in [
        "host: 169.254.169.254\r\n",
        "host: localhost:9000\r\n",
        "host: gw.example\r\nx-forwarded-host: evil.example\r\nx-original-url: /up-bkt/b/secret\r\nx-rewrite-url: /up-bkt/b/secret\r\nforwarded: host=evil.example\r\n",
    ] {
        let reply = wire.to("/bkt/a/x", fields).await;
        assert_eq!(reply.status, 200, "{fields:?}: {reply:?}");
        let sent = wire.recorder.requests().pop().unwrap();
        assert_eq!(sent.request_line(), "GET /up-bkt/a/x");
        assert_eq!(sent.header("host"), wire.recorder.address.to_string());
        for word in ["evil", "169.254", "localhost:9000", "secret"] {
            assert!(!sent.head.contains(word) && !reply.text.contains(word), "{word}: {}", sent.head);
        }
    }
    // An absolute target says the host too, and must agree.
    for (target, host, status) in [
        ("http://bkt.gw.example/a/x", "bkt.gw.example", 200),
        ("http://bkt.gw.example/a/x", "gw.example", 400),
        ("http://169.254.169.254/bkt/a/x", "gw.example", 400),
    ] {
        assert_eq!(wire.to(target, &format!("host: {host}\r\n")).await.status, status, "{target} {host}");
    }
}

#[tokio::test]
async fn both_styles_reach_the_same_objects_of_a_real_store() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let setup = store.setup().top("domains: gw.example");
        let gateway = setup
            .rules("\n  - { name: own, who: { tokens: [a] }, where: bkt, what: [read, write, delete] }")
            .start()
            .await;
        let host = [("host", "bkt.gw.example")];
        assert_eq!(gateway.a.put("/k/x", &host, "hello").await.status, 200, "{kind:?}");
        assert_eq!(gateway.a.get("/bkt/k/x").await.text(), "hello", "{kind:?}");
        let listed = gateway.a.send("GET", "/?list-type=2", &host, "").await;
        assert_eq!(
            (listed.elements("Key"), listed.element("Name")),
            (vec!["k/x".to_owned()], "bkt".to_owned()),
            "{kind:?}"
        );
        assert_eq!(gateway.a.send("HEAD", "/", &host, "").await.status, 200, "{kind:?}");
        let created = gateway.a.send("POST", "/k/large?uploads", &host, "").await;
        assert_eq!(
            (created.element("Bucket"), created.element("Key")),
            ("bkt".to_owned(), "k/large".to_owned()),
            "{kind:?}"
        );
        assert_eq!(gateway.a.send("DELETE", "/k/x", &host, "").await.status, 204, "{kind:?}");
        assert_eq!(store.read("k/x").await, None, "{kind:?}");
    }
}

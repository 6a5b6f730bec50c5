//! curl, as a person at a terminal or a script uses it: what it uploads, downloads, and does not send when it is refused.

use std::path::PathBuf;
use std::process::Command;

use super::support::certs::Authority;
use super::support::store::missing;
use super::support::{Answer, Gateway, Recorder, Setup, Store, StoreKind, pattern};

const KEYS: &[&str] = &[
    "a/plain.txt",
    "a/with blank",
    "a/100%",
    "a/+plus+",
    "a/~!*'()",
    "a/@:$,;=&",
    "a/ü/日本",
    "a/%2F",
    "a/q?x=y",
    "a/h#f",
    "a/[x]{y}|^`",
];

/// A folder with a file, and curl with a token and an address.
struct Curl {
    folder: tempfile::TempDir,
    base: String,
    arguments: Vec<String>,
}

/// What curl did.
#[derive(Debug)]
struct Done {
    status: u16,
    /// Body bytes that curl sent.
    sent: u64,
    /// `1.1` or `2`.
    version: String,
    body: Vec<u8>,
    /// What `-v` tells.
    log: String,
    exit: i32,
}

impl Curl {
    /// `None` if curl is missing.
    fn new(gateway: &Gateway, token: &str, authority: Option<&Authority>) -> Option<Self> {
        if Command::new("curl").arg("--version").output().is_err() {
            missing("curl");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let mut arguments = vec!["-H".to_owned(), format!("Authorization: Bearer {token}")];
        let scheme = match authority {
            None => "http",
            Some(authority) => {
                arguments.extend(["--cacert".to_owned(), authority.file().display().to_string()]);
                "https"
            }
        };
        Some(Self { folder, base: format!("{scheme}://{}", gateway.address), arguments })
    }

    /// A file to upload.
    fn file(&self, content: &[u8]) -> String {
        let path = self.path("file");
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs curl for a target.
    async fn run(&self, target: &str, arguments: &[&str]) -> Done {
        let mut command = Command::new("curl");
        let written = r"%{http_code} %{size_upload} %{http_version}";
        command
            .args(["-sSv", "--noproxy", "*", "--max-time", "60", "--path-as-is", "--globoff", "-w", written, "-o"])
            .arg(self.path("answer"))
            .args(&self.arguments)
            .args(arguments)
            .arg(format!("{}{target}", self.base));
        drop(std::fs::remove_file(self.path("answer")));
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        let written = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut fields = written.split(' ');
        let mut next = || fields.next().unwrap_or_default().to_owned();
        Done {
            status: next().parse().unwrap_or(0),
            sent: next().parse().unwrap_or(0),
            version: next(),
            body: std::fs::read(self.path("answer")).unwrap_or_default(),
            log,
            exit: output.status.code().unwrap_or(-1),
        }
    }
}

impl Done {
    fn code(&self) -> String {
        let text = String::from_utf8_lossy(&self.body).into_owned();
        text.split("<Code>").nth(1).and_then(|rest| rest.split("</Code>").next()).unwrap_or_default().to_owned()
    }

    fn was_invited(&self) -> bool {
        self.log.contains("100 Continue")
    }
}

fn target(key: &str) -> String {
    format!("/bkt/{}", countersign::base::encoding::encode_path(key))
}

#[tokio::test]
async fn curl_uploads_downloads_and_deletes_in_clear_text_and_over_tls() {
    let authority = Authority::new();
    let identity = authority.vouch_for(&["127.0.0.1"]);
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let clear = store.setup().start().await;
        let tls = store.setup().tls(&identity).start().await;
        for (gateway, authority, arguments, version) in [
            (&clear, None, vec![], "1.1"),
            (&tls, Some(&authority), vec![], "2"),
            (&tls, Some(&authority), vec!["--http1.1"], "1.1"),
        ] {
            let Some(mut curl) = Curl::new(gateway, &gateway.a.token, authority) else { return };
            curl.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
            let what = format!("{kind:?} {version} {authority}", authority = authority.is_some());
            everything(&curl, &store, version, &what).await;
        }
    }
}

async fn everything(curl: &Curl, store: &Store, version: &str, what: &str) {
    for key in KEYS {
        let body = pattern(3000 + key.len());
        let put = curl.run(&target(key), &["-T", &curl.file(&body)]).await;
        assert_eq!((put.status, put.exit, put.version.as_str()), (200, 0, version), "{what} {key}: {put:?}");
        assert_eq!(store.read(key).await.as_deref(), Some(body.as_slice()), "{what} {key}");
        let got = curl.run(&target(key), &[]).await;
        assert!(got.status == 200 && got.body == body, "{what} {key}: {}", got.log);
    }
    let large = pattern((20 << 20) + 7);
    let file = curl.file(&large);
    let from_file = format!("@{file}");
    for (form, arguments) in [
        ("-T", vec!["-T", file.as_str()]),
        ("--data-binary", vec!["-X", "PUT", "--data-binary", from_file.as_str(), "-H", "Content-Type: image/x-test"]),
        ("chunked", vec!["-T", file.as_str(), "-H", "Transfer-Encoding: chunked"]),
    ] {
        store.remove("a/large").await;
        let put = curl.run("/bkt/a/large", &arguments).await;
        assert_eq!((put.status, put.exit), (200, 0), "{what} {form}: {} {}", put.code(), put.log);
        let got = curl.run("/bkt/a/large", &[]).await;
        assert!(got.status == 200 && got.body == large, "{what} {form}: {}", got.log);
    }
    let part = curl.run("/bkt/a/large", &["-r", "1000-1999"]).await;
    assert!(part.status == 206 && part.body == large[1000..2000], "{what}: {}", part.log);
    let end = curl.run("/bkt/a/large", &["-r", "-100"]).await;
    assert!(end.status == 206 && end.body == large[large.len() - 100..], "{what}: {}", end.log);
    assert_eq!(curl.run("/bkt/a/large", &["-r", "30000000-"]).await.status, 416, "{what}");
    let head = curl.run("/bkt/a/large", &["-I"]).await;
    assert!(head.status == 200 && head.log.to_lowercase().contains("content-length: 20971527"), "{what}: {}", head.log);
    let listed = curl.run("/bkt?list-type=2&prefix=a/large", &[]).await;
    assert!(String::from_utf8_lossy(&listed.body).contains("<Key>a/large</Key>"), "{what}: {listed:?}");
    assert_eq!(curl.run("/bkt/a/large", &["-X", "DELETE"]).await.status, 204, "{what}");
    let gone = curl.run("/bkt/a/large", &["--fail"]).await;
    assert_eq!((gone.status, gone.exit), (404, 22), "{what}");
    assert!(store.read("a/large").await.is_none(), "{what}");
}

const SMALL_OBJECTS: &str = "
  - { name: small, who: { tokens: [a] }, where: bkt/a/, what: [read, write], limits: { max_size: 32MiB }, content: { types: [image/png] } }";

#[tokio::test]
async fn k18_a_refused_upload_is_not_sent() {
    let recorder = Recorder::start(Answer::ok()).await;
    let gateway = Setup::before(&recorder).rules(SMALL_OBJECTS).upstream("payload: unsigned").start().await;
    let Some(curl) = Curl::new(&gateway, &gateway.a.token, None) else { return };
    let stranger = Curl::new(&gateway, "csn_nobody", None).unwrap();
    let large = curl.file(&pattern(40 << 20));
    let small = stranger.file(&pattern(20 << 20));
    let png = "Content-Type: image/png";
    for (caller, key, file, media_type, status, code) in [
        (&stranger, "a/x", &small, png, 401, "InvalidToken"),
        (&curl, "b/x", &small, png, 403, "AccessDenied"),
        (&curl, "a/x", &large, png, 400, "EntityTooLarge"),
        (&curl, "a/x", &small, "Content-Type: text/html", 403, "AccessDenied"),
        (&curl, "a/x?annotation&annotationName=n", &small, png, 501, "NotImplemented"),
        (&curl, "a/../x", &small, png, 400, "InvalidURI"),
    ] {
        let refused = caller.run(&format!("/bkt/{key}"), &["-T", file, "-H", media_type]).await;
        assert!(refused.log.contains("Expect: 100-continue"), "curl did not ask: {}", refused.log);
        assert_eq!((refused.status, refused.code().as_str()), (status, code), "{key}: {}", refused.log);
        assert!(!refused.was_invited() && refused.sent == 0, "{key}: {refused:?}");
    }
    assert!(recorder.is_silent(), "{:?}", recorder.requests());
    let allowed = curl.run("/bkt/a/x", &["-T", &small, "-H", png]).await;
    assert_eq!((allowed.status, allowed.sent, allowed.was_invited()), (200, 20 << 20, true), "{}", allowed.log);
    assert_eq!(recorder.only().body.len(), 20 << 20);
}

#[tokio::test]
async fn k20_a_client_that_does_not_ask_first_gets_to_see_the_refusal_too() {
    let authority = Authority::new();
    let recorder = Recorder::start(Answer::ok()).await;
    let clear = Setup::before(&recorder).rules(SMALL_OBJECTS).start().await;
    let tls = Setup::before(&recorder).rules(SMALL_OBJECTS).tls(&authority.vouch_for(&["127.0.0.1"])).start().await;
    for (gateway, authority, version) in
        [(&clear, None, "--http1.1"), (&tls, Some(&authority), "--http1.1"), (&tls, Some(&authority), "--http2")]
    {
        let Some(curl) = Curl::new(gateway, &gateway.a.token, authority) else { return };
        let file = curl.file(&pattern(64 << 20));
        for attempt in 0..10 {
            for (key, expected) in [("b/x", (403, "AccessDenied")), ("a/x", (400, "EntityTooLarge"))] {
                let arguments = ["-T", &file, "-H", "Expect:", "-H", "Content-Type: image/png", version];
                let refused = curl.run(&format!("/bkt/{key}"), &arguments).await;
                assert_eq!(
                    (refused.status, refused.code().as_str()),
                    expected,
                    "{attempt} {key} {version} {}",
                    refused.log
                );
                assert!(refused.sent < 64 << 20, "{attempt} {key} {version}: everything was sent");
            }
        }
    }
    assert!(recorder.is_silent());
}

//! Requests that one party has signed, in the hands of another: what of them can be changed, and where else they can be sent.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::support::raw::{read_answer, status};
use super::support::recorder::Recorded;
use super::support::signed::SignedRequest;
use super::support::{Answer, Gateway, Recorder, Setup};

/// The same numbers in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

/// What readers of requests have taken for something else than it is.
const PIECES: [&str; 34] = [
    "a",
    "Z",
    "0",
    "%2F",
    "%2f",
    "%00",
    "%0a",
    "%41",
    "%",
    "+",
    "%20",
    "/",
    "//",
    "/../",
    "/./",
    "?",
    "&",
    "&&",
    "=",
    "&acl",
    "&versionId=2",
    "&x-amz-acl=public-read",
    "&X-Amz-Signature=0",
    "&x-amz-signature=0",
    ";",
    "%3F",
    "%26",
    "%3d",
    "#",
    ",",
    "\t",
    " ",
    "~",
    "*",
];

/// Headers that would change what a request means.
const ADDED: [(&str, &str); 16] = [
    ("x-amz-copy-source", "/bkt/b/secret"),
    ("x-amz-copy-source-range", "bytes=0-1"),
    ("x-amz-acl", "public-read"),
    ("X-Amz-Tagging", "a=2"),
    ("x-amz-meta-b", "1"),
    ("x-amz-security-token", "t"),
    ("x-amz-user-agent", "other"),
    ("x-amz-date", "20261122T000000Z"),
    ("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
    ("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
    ("x-amz-trailer", "x-amz-checksum-crc32"),
    ("x-amz-decoded-content-length", "1"),
    ("transfer-encoding", "chunked"),
    ("connection", "x-amz-date"),
    ("host", "other.example"),
    ("x-forwarded-host", "other.example"),
];

fn changed_text(dice: &mut Dice, text: &str, from: usize) -> String {
    let at = from + dice.below(text.len() - from + 1);
    let (before, after) = text.split_at(at);
    match dice.below(4) {
        0 => [before, dice.one(&PIECES), after].concat(),
        1 => [before, dice.one(&PIECES), after.get(1..).unwrap_or_default()].concat(),
        2 => [before, after.get(1..).unwrap_or_default()].concat(),
        // The same byte, written as an escape.
        _ => match after.bytes().next() {
            Some(byte) => format!("{before}%{byte:02X}{}", &after[1..]),
            None => text.to_owned(),
        },
    }
}

fn changed(dice: &mut Dice, mut request: SignedRequest) -> SignedRequest {
    match dice.below(8) {
        0..=3 => request.target = changed_text(dice, &request.target, 1),
        4 if !request.headers.is_empty() => {
            let at = dice.below(request.headers.len());
            request.headers[at].1 = changed_text(dice, &request.headers[at].1, 0);
        }
        5 if !request.headers.is_empty() => {
            let at = dice.below(request.headers.len());
            let again = request.headers[at].clone();
            match dice.below(2) {
                0 => request.headers.insert(at, again),
                _ => drop(request.headers.remove(at)),
            }
        }
        6 => request.method = dice.one(&["GET", "HEAD", "PUT", "POST", "DELETE"]).to_owned(),
        _ => {
            let (name, value) = dice.one(&ADDED);
            let at = dice.below(request.headers.len() + 1);
            request.headers.insert(at, (name.to_owned(), value.to_owned()));
        }
    }
    request
}

async fn send(gateway: &Gateway, request: &SignedRequest, body: &str) -> u16 {
    let SignedRequest { method, target, headers } = request;
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", gateway.address);
    if !body.is_empty() {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    headers.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    // The gateway may refuse and close before it has read everything.
    let _may_be_refused = stream.write_all(format!("{head}\r\n{body}").as_bytes()).await;
    status(&read_answer(&mut stream).await)
}

/// What the store was asked for, without what the gateway's own signature makes of it.
fn asked(recorded: &Recorded) -> Vec<String> {
    let own = |line: &&str| {
        let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
        !["authorization", "x-amz-date"].contains(&name.as_str())
    };
    let mut lines: Vec<String> = recorded.head.lines().filter(own).map(str::to_owned).collect();
    lines[1..].sort();
    lines
}

#[tokio::test]
async fn b04_b15_c02_a_changed_signed_request_asks_the_store_for_the_same_or_for_nothing() {
    const RULES: &str = "
  - { name: a, who: { keys: [a] }, where: bkt/, what: [read, write, delete, \"s3:PutObjectTagging\", \"s3:PutObjectAcl\", \"s3:GetObjectVersion\"] }";
    let recorder = Recorder::start(Answer::ok()).await;
    let gateway = Setup::before(&recorder).rules(RULES).start().await;
    let key = &gateway.key_a;
    let headers = [("content-type", "image/png"), ("x-amz-meta-a", "v 1"), ("x-amz-tagging", "a=1&b=2")];
    let get = "/bkt/a/x%20y%2Bz?versionId=a%2Bb";
    let requests = [
        (key.sign("GET", get, &[("x-amz-checksum-mode", "ENABLED")], b""), ""),
        (key.presign("GET", get, &[], 600), ""),
        (key.sign("PUT", "/bkt/a/k~%281%29.png", &headers, b"hello"), "hello"),
        (key.presign("PUT", "/bkt/a/k~%281%29.png?x-amz-meta-b=c%20d", &headers, 600), "hello"),
        (key.sign("DELETE", "/bkt/a/x", &[], b""), ""),
        (key.presign("DELETE", "/bkt/a/x", &[], 600), ""),
    ];
    let mut dice = Dice(0x5eed_0004);
    let mut unchanged = 0;
    for (request, body) in requests {
        let before = recorder.requests().len();
        assert_eq!(send(&gateway, &request, body).await, 200, "{request:?}");
        let expected: Vec<_> = recorder.requests()[before..].iter().map(asked).collect();
        for _ in 0..250 {
            let other = changed(&mut dice, request.clone());
            let before = recorder.requests().len();
            let status = send(&gateway, &other, body).await;
            let got: Vec<_> = recorder.requests()[before..].iter().map(asked).collect();
            assert!(got.is_empty() || got == expected, "{other:?}\n{got:?}\n{expected:?}");
            assert!(status < 500 || status == 501, "{status} {other:?}");
            unchanged += usize::from(!got.is_empty());
        }
    }
    // Another spelling of the same target is the same request, and so is one with a header of no meaning.
    assert!(unchanged > 20, "only {unchanged} were understood at all");
}

#[tokio::test]
async fn e09_b10_a_presigned_url_is_good_for_the_bucket_of_the_host_that_was_signed() {
    const RULES: &str = "
  - { name: own, who: { keys: [a] }, where: [bkt, my.data], what: [read, write, delete] }";
    let recorder = Recorder::start(Answer::ok()).await;
    let mut setup = Setup::before(&recorder).rules(RULES).top("domains: gw.example");
    setup.buckets.push("my.data: { upstream: store, bucket: up-data }".to_owned());
    let gateway = setup.start().await;
    for (host, target, sent) in
        [("bkt.gw.example", "/a/x", "GET /up-bkt/a/x"), ("gw.example", "/bkt/a/x", "GET /up-bkt/a/x")]
    {
        let url = gateway.key_a.presign("GET", target, &[("host", host)], 60);
        let before = recorder.requests().len();
        assert_eq!(gateway.key_a.send(&url, "").await.status, 200, "{host}");
        assert_eq!(recorder.requests()[before..].iter().map(Recorded::request_line).collect::<Vec<_>>(), [sent]);
        for other in ["my.data.gw.example", "gw.example:443", "bkt.gw.example:80", "elsewhere.example"] {
            let mut moved = url.clone();
            moved.headers = vec![("host".to_owned(), other.to_owned())];
            let answer = gateway.key_a.send(&moved, "").await;
            assert_eq!(answer.outcome(), (403, "SignatureDoesNotMatch".into()), "{host} {other}");
        }
        assert_eq!(recorder.requests().len(), before + 1);
    }
}

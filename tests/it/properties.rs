//! Properties of the whole gateway, over random requests: the store never hears of what is not permitted, and what it hears means the same
//! as what was asked.

use countersign::base::RouteId;
use countersign::s3::{Bucket, Buckets, OddKeys, S3Call, identify};
use percent_encoding::percent_decode_str;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use super::hostile::Wire;
use super::support::recorder::Recorded;
use super::support::{Answer, Recorder, Setup};

/// One request, as text.
#[derive(Debug, Clone)]
struct Asked {
    method: String,
    target: String,
    fields: String,
    body: String,
}

fn one_of(texts: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::sample::select(texts).prop_map(str::to_owned)
}

fn several(texts: &'static [&'static str], most: usize) -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(one_of(texts), 0..=most)
}

const METHODS: &[&str] = &["GET", "GET", "PUT", "PUT", "HEAD", "DELETE", "POST", "POST", "OPTIONS", "PATCH"];
const BUCKETS: &[&str] =
    &["/bkt", "/bkt", "/bkt", "/bkt", "/other", "/up-bkt", "", "/BKT", "/%62kt", "//bkt", "/bkt%2fa"];
const KEY_PIECES: &[&str] = &[
    "a/",
    "a/",
    "a/",
    "b/",
    "x",
    "locked/",
    "secret",
    "..",
    ".",
    "%2e%2e",
    "%2e%2e%2f",
    "%2f",
    "//",
    "%5c",
    "+",
    "%20",
    "%00",
    "%C3%A9",
    "%252e",
    ";",
    "?",
    "a%2f",
    "%61/",
    "A/",
];
const PARAMETERS: &[&str] = &[
    "list-type=2",
    "list-type=2",
    "list-type=1",
    "prefix=a/",
    "prefix=b/",
    "prefix=",
    "prefix=a",
    "prefix=a/locked/",
    "prefix=a%2F..%2Fb",
    "delimiter=/",
    "start-after=b/",
    "marker=b/",
    "key-marker=b/",
    "max-keys=5",
    "continuation-token=x",
    "versions",
    "uploads",
    "uploadId=x",
    "partNumber=1",
    "versionId=1",
    "delete",
    "tagging",
    "acl",
    "policy",
    "attributes",
    "location",
    "x-id=GetObject",
    "response-content-type=text/html",
    "x-amz-copy-source=/bkt/b/secret",
    "encoding-type=url",
    "restore",
    "select&select-type=2",
    "jwt=x",
    "unknown",
    "prefix=a/&prefix=b/",
];
const FIELDS: &[&str] = &[
    "x-amz-copy-source: /bkt/b/secret\r\n",
    "x-amz-copy-source: /bkt/a/x\r\n",
    "x-amz-copy-source: bkt%2Fb%2Fsecret\r\n",
    "x-amz-copy-source: /bkt/a/..%2fb/secret\r\n",
    "x-amz-copy-source: /up-bkt/a/x\r\n",
    "x-amz-copy-source: /other/a/x\r\n",
    "x-amz-copy-source-range: bytes=0-1\r\n",
    "x-amz-acl: public-read\r\n",
    "x-amz-tagging: a=b\r\n",
    "range: bytes=0-1\r\n",
    "if-none-match: *\r\n",
    "x-amz-object-attributes: ETag\r\n",
    "x-amz-bypass-governance-retention: true\r\n",
    "x-original-url: /bkt/b/x\r\n",
    "x-http-method-override: DELETE\r\n",
    "connection: x-amz-copy-source\r\n",
    "x-amz-meta-a: b\r\n",
    "content-type: image/png\r\n",
    "x-amz-mfa: 1\r\n",
];
const BODIES: &[&str] = &[
    "",
    "",
    "hello",
    "<Delete><Object><Key>a/1</Key></Object><Object><Key>b/secret</Key></Object></Delete>",
    "<Delete><Object><Key>a/1</Key></Object><Object><Key>a/locked/1</Key></Object></Delete>",
    "<Delete><Object><Key>a/1</Key><Key>b/2</Key></Object></Delete>",
    "<Delete><Object><Key>a/&#46;./b/2</Key></Object></Delete>",
    "<Tagging><TagSet><Tag><Key>k</Key><Value>v</Value></Tag></TagSet></Tagging>",
    "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>e</ETag></Part></CompleteMultipartUpload>",
];

/// None mostly, so that a request has a chance to be permitted; then one, then two.
fn few(texts: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    prop_oneof![6 => Just(Vec::new()), 3 => several(texts, 1), 1 => several(texts, 2)]
}

fn requests() -> impl Strategy<Value = Asked> {
    const WHOLE_TARGETS: &[&str] = &[
        "/bkt/a/x",
        "/bkt/a/y/z",
        "/bkt/a/locked/x",
        "/bkt/b/x",
        "/bkt/a%2Fx",
        "/bkt?list-type=2&prefix=a/",
        "/bkt?list-type=2&prefix=a/l",
        "/bkt?list-type=2&prefix=",
        "/bkt?list-type=2&delimiter=/",
        "/bkt?prefix=a/",
        "/bkt?versions&prefix=a/",
        "/bkt?uploads&prefix=a/",
        "/bkt?delete",
        "/bkt/a/x?tagging",
        "/bkt/a/x?uploads",
        "/bkt/a/x?attributes",
        "/bkt/a/x?versionId=1",
    ];
    let built = (one_of(BUCKETS), several(KEY_PIECES, 4), few(PARAMETERS)).prop_map(|(bucket, key, parameters)| {
        let key = if key.is_empty() { String::new() } else { format!("/{}", key.concat()) };
        let query = if parameters.is_empty() { String::new() } else { format!("?{}", parameters.join("&")) };
        format!("{bucket}{key}{query}")
    });
    let whole = (one_of(WHOLE_TARGETS), few(PARAMETERS)).prop_map(|(target, parameters)| {
        let between = if target.contains('?') { "&" } else { "?" };
        parameters.iter().fold(target, |target, parameter| format!("{target}{between}{parameter}"))
    });
    let target = prop_oneof![2 => built, 3 => whole];
    (one_of(METHODS), target, few(FIELDS), one_of(BODIES)).prop_map(|(method, target, fields, body)| {
        let body = if matches!(method.as_str(), "PUT" | "POST") { body } else { String::new() };
        Asked { method, target, fields: fields.concat(), body }
    })
}

/// Whether tenant `a` may have this asked: everything below `a/` but `a/locked/`, and nothing else.
fn is_permitted(key: &str) -> bool {
    key.starts_with("a/") && !key.starts_with("a/locked/") && !key.split('/').any(|segment| segment == "..")
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8().unwrap().into_owned()
}

/// What a request to the store touches that tenant `a` has no right to.
fn trespass(request: &Recorded) -> Option<String> {
    let line = request.request_line();
    let (method, target) = line.split_once(' ')?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let Some(rest) = path.strip_prefix("/up-bkt") else { return Some(format!("another bucket: {path}")) };
    let key = decoded(rest.strip_prefix('/').unwrap_or(rest));
    let parameter = |name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(known, _)| *known == name).map(|(_, value)| decoded(value))
    };
    let source = request.header("x-amz-copy-source");
    if !source.is_empty() {
        let source = decoded(source.trim_start_matches('/').split('?').next().unwrap_or_default());
        let permitted = source.strip_prefix("up-bkt/").is_some_and(is_permitted);
        if !permitted {
            return Some(format!("the source {source}"));
        }
    }
    if !key.is_empty() {
        return (!is_permitted(&key)).then_some(format!("the key {key}"));
    }
    let body = String::from_utf8_lossy(&request.body);
    let of_batch = |tag: &str| {
        body.split(tag).skip(1).map(|rest| rest.split('<').next().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    match method {
        "HEAD" => None,
        "GET" => {
            let prefix = parameter("prefix").unwrap_or_default();
            let inside = prefix.starts_with("a/") && !prefix.starts_with("a/locked/");
            (!inside).then_some(format!("a listing of {prefix:?}"))
        }
        "POST" if query.split('&').any(|pair| pair == "delete" || pair == "delete=") => {
            of_batch("<Key>").into_iter().find(|key| !is_permitted(key)).map(|key| format!("the key {key} in a batch"))
        }
        _ => Some(format!("{method} of the bucket")),
    }
}

/// Runs a property with a small number of cases and the same cases every time.
fn hold<T: std::fmt::Debug>(
    cases: u32,
    strategy: impl Strategy<Value = T>,
    property: impl Fn(T) -> Result<(), TestCaseError>,
) {
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    let rng = proptest::test_runner::TestRng::deterministic_rng(config.rng_algorithm);
    TestRunner::new_with_rng(config, rng).run(&strategy, property).unwrap();
}

#[test]
fn d01_no_request_reaches_the_store_whose_targets_are_not_all_permitted() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let rules = "
  - { name: own, who: { tokens: [a] }, where: bkt/a/, what: [\"s3:*\"], response_overrides: true, headers: { allow: [x-amz-storage-class] } }
  - { name: locked, effect: deny, who: anyone, where: bkt/a/locked/, what: [\"s3:*\"] }
  - { name: others, who: { tokens: [b] }, where: bkt/b/, what: [\"s3:*\"] }";
    let wire = runtime.block_on(Wire::with_rules(rules));
    hold(1500, requests(), |asked| {
        runtime.block_on(async {
            let before = wire.recorder.requests().len();
            let fields = format!("connection: close\r\ncontent-length: {}\r\n{}", asked.body.len(), asked.fields);
            let reply = wire.ask(wire.head(&format!("{} {}", asked.method, asked.target), &fields) + &asked.body).await;
            prop_assert!(reply.closed && reply.answers().len() <= 1, "{reply:?}");
            for request in &wire.recorder.requests()[before..] {
                prop_assert_eq!(trespass(request), None, "{:?}", request);
            }
            Ok(())
        })
    });
    let heard = wire.recorder.requests().len();
    assert!(heard > 50, "{heard} requests reached the store: too few to prove anything");
}

#[test]
fn d01_the_judge_of_the_property_sees_trespasses() {
    let request = |head: &str, body: &str| Recorded { head: head.to_owned(), body: body.into(), ..Recorded::default() };
    for (head, body) in [
        ("GET /up-bkt/b/x HTTP/1.1", ""),
        ("GET /up-bkt/a/locked/x HTTP/1.1", ""),
        ("GET /up-bkt/a/../b HTTP/1.1", ""),
        ("GET /bkt/a/x HTTP/1.1", ""),
        ("GET /up-bkt?list-type=2 HTTP/1.1", ""),
        ("GET /up-bkt?list-type=2&prefix=b%2F HTTP/1.1", ""),
        ("PUT /up-bkt HTTP/1.1", ""),
        ("PUT /up-bkt/a/x HTTP/1.1\r\nx-amz-copy-source: /up-bkt/b/secret", ""),
        ("PUT /up-bkt/a/x HTTP/1.1\r\nx-amz-copy-source: up-bkt%2Fb%2Fsecret", ""),
        ("POST /up-bkt?delete= HTTP/1.1", "<Key>a/1</Key><Key>b/1</Key>"),
    ] {
        assert!(trespass(&request(head, body)).is_some(), "{head}");
    }
    assert_eq!(trespass(&request("GET /up-bkt?list-type=2&prefix=a%2F HTTP/1.1", "")), None);
    assert_eq!(trespass(&request("PUT /up-bkt/a/x HTTP/1.1\r\nx-amz-copy-source: /up-bkt/a/y", "")), None);
}

fn bucket(name: &str, prefix: &str) -> Buckets {
    Buckets::new([Bucket {
        name: name.to_owned(),
        route: RouteId(0),
        upstream_bucket: name.to_owned(),
        upstream_prefix: prefix.to_owned(),
        odd_keys: OddKeys::Refuse,
        passed_through: false,
    }])
}

/// Understands a head that is given as text, as the gateway would.
fn understood(head: &str, name: &str, prefix: &str) -> Option<S3Call> {
    let mut lines = head.lines();
    let mut words = lines.next()?.split(' ');
    let mut request = http::Request::builder().method(words.next()?).uri(words.next()?);
    for line in lines.filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':')?;
        request = request.header(name, value.trim());
    }
    identify(&request.body(()).ok()?.into_parts().0, &bucket(name, prefix)).ok()
}

/// Keys with every kind of character, percent-encoded here and there.
fn encoded_keys() -> impl Strategy<Value = String> {
    let key = prop_oneof!["[a-z0-9/+ %&=?#;:@~!$'()*,.-]{1,30}", "\\PC{1,20}"];
    (key, any::<u64>()).prop_map(|(key, which)| {
        key.bytes()
            .enumerate()
            .map(|(at, byte)| match byte {
                b'a'..=b'z' | b'0'..=b'9' | b'/' | b'-' | b'.' | b'~' | b'+' | b'!' | b'*'
                    if which >> (at % 64) & 1 == 0 =>
                {
                    char::from(byte).to_string()
                }
                _ if which >> (at % 63) & 1 == 0 => format!("%{byte:02x}"),
                _ => format!("%{byte:02X}"),
            })
            .collect()
    })
}

#[test]
fn e01_what_is_sent_to_the_store_means_the_same_call() {
    const QUERIES: &[&str] =
        &["", "?versionId=a+b%2Bc", "?response-content-disposition=a%20b%26c%3Dd", "?partNumber=7&x-id=GetObject"];
    const FIELDS: &[&str] = &[
        "",
        "x-amz-meta-a: b  c\r\n",
        "content-type: text/plain; a=\"b c\"\r\n",
        "cache-control: no-store\r\n",
        "x-amz-tagging: a=b%20c\r\n",
    ];
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let rules = "
  - { name: own, who: { tokens: [a] }, where: bkt, what: [\"s3:*\"], response_overrides: true }";
    let wire = runtime.block_on(async {
        let recorder = Recorder::start(Answer::ok()).await;
        let mut setup =
            Setup::before(&recorder).rules(rules).upstream("payload: unsigned").upstream("checksum: header");
        setup.bucket_settings = ", prefix: gw/".to_owned();
        Wire { gateway: setup.start().await, recorder }
    });
    let requests = (
        one_of(&["GET", "HEAD", "PUT", "DELETE"]),
        encoded_keys(),
        one_of(QUERIES),
        one_of(FIELDS),
        one_of(&["", "hello"]),
    );
    let same = std::cell::Cell::new(0);
    hold(700, requests, |(method, key, query, fields, body)| {
        let (query, body) = match method.as_str() {
            "PUT" => (String::new(), body),
            "DELETE" => (if query.contains("versionId") { query } else { String::new() }, String::new()),
            _ => (query, String::new()),
        };
        let fields = format!("content-length: {}\r\nconnection: close\r\n{fields}", body.len());
        let head = wire.head(&format!("{method} /bkt/{key}{query}"), &fields);
        let Some(asked) = understood(&head, "bkt", "gw/") else { return Ok(()) };
        let reply = runtime.block_on(wire.ask(head + &body));
        prop_assert_eq!(reply.status, 200, "{:?}", reply);
        let sent = wire.recorder.requests().pop().unwrap();
        let Some(heard) = understood(&sent.head, "up-bkt", "") else {
            return Err(TestCaseError::fail(format!("the store cannot read {}", sent.head)));
        };
        prop_assert_eq!(asked.operation, heard.operation);
        let key_of = |call: &S3Call| call.resource.key().map(|key| key.as_str().to_owned());
        prop_assert_eq!(key_of(&asked).map(|key| format!("gw/{key}")), key_of(&heard));
        let sorted = |call: &S3Call| {
            let mut query = call.query.clone();
            query.sort();
            query
        };
        prop_assert_eq!(sorted(&asked), sorted(&heard));
        for (name, value) in &asked.headers.pass {
            prop_assert_eq!(Some(value), heard.headers.pass.get(name), "{}", name);
        }
        let length = |call: &S3Call| call.upload.as_ref().map(|upload| upload.length);
        prop_assert_eq!(length(&asked), length(&heard));
        same.set(same.get() + 1);
        Ok(())
    });
    assert!(same.get() > 200, "{} requests were sent: too few to prove anything", same.get());
}

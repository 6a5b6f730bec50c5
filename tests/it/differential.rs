//! The same signed request twice: straight at a store and through the gateway. Whatever the store takes directly it takes through the gateway,
//! and both are told the same.
//!
//! The requests are made from a table of operations, every form of an upload, and keys that are hard to write down. What the gateway refuses on purpose,
//! and what it does for a store that cannot, is in `explained`; an explanation that explains nothing fails the test.

use std::collections::BTreeSet;

use countersign::base::encoding::{encode_path, encode_query};
use countersign::s3::checksum::{ChecksumAlgorithm, to_base64};

use super::support::key_client::digest;
use super::support::{Form, Gateway, KeyClient, Response, Store, StoreKind, Transfer, pattern};

const RULES: &str = "
  - { name: all, who: { keys: [key] }, where: bkt, what: [\"s3:*\"], response_overrides: true }";
const SECRET: &str = "secret/of+the/differential0runner0000000";

const KEYS: [&str; 22] = [
    "plain.txt",
    "with blank",
    " leading",
    "trailing ",
    "100%",
    "%2F",
    "%41",
    "+plus+",
    "~tilde",
    "!'()*",
    "@:$,;=&",
    "ü/日本",
    "e\u{301}",
    "deep/a/b/c/d/e/f/g/h",
    "q?x=y",
    "h#f",
    "[x]{y}|^`",
    "\"<>&'",
    "a..b/..c",
    "-",
    "_.-~",
    "\u{1F600}",
];

/// One side: where it is, and how its bucket is called there.
struct Side {
    client: KeyClient,
    bucket: String,
}

/// A request without the bucket.
struct Call<'a> {
    name: String,
    method: &'static str,
    /// Key and query as they are sent.
    target: String,
    headers: Vec<(&'a str, String)>,
    body: Vec<u8>,
    form: Form,
    transfer: Transfer,
}

impl<'a> Call<'a> {
    fn new(name: &str, method: &'static str, key: &str, query: &str) -> Self {
        let question = if query.is_empty() { String::new() } else { format!("?{query}") };
        let target =
            format!("{}{question}", if key.is_empty() { String::new() } else { format!("/{}", encode_path(key)) });
        let (name, headers, body) = (format!("{name} {key}"), Vec::new(), Vec::new());
        Self { name, method, target, headers, body, form: Form::Hash, transfer: Transfer::Length }
    }

    fn header(mut self, name: &'a str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    fn body(mut self, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self
    }

    fn form(mut self, form: Form, transfer: Transfer) -> Self {
        self.name = format!("{} {form:?} {transfer:?}", self.name);
        (self.form, self.transfer) = (form, transfer);
        self
    }
}

impl Side {
    async fn ask(&self, call: &Call<'_>) -> Response {
        let copy = call.headers.iter().map(|(name, value)| (*name, value.replace("{bucket}", &self.bucket)));
        let headers: Vec<(&str, String)> = copy.collect();
        let mut headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        if call.body.is_empty() && call.method == "PUT" && !call.form.is_framed() {
            // hyper leaves it out, and RGW wants it.
            headers.push(("content-length", "0"));
        }
        let target = format!("/{}{}", self.bucket, call.target);
        self.client.send(call.method, &target, &headers, &call.body, call.form, call.transfer).await
    }
}

/// What of an answer must be the same.
const HEADERS: [&str; 17] = [
    "etag",
    "content-length",
    "content-type",
    "content-encoding",
    "content-disposition",
    "content-language",
    "content-range",
    "accept-ranges",
    "expires",
    "x-amz-meta-n",
    "x-amz-meta-text",
    "x-amz-tagging-count",
    "x-amz-checksum-crc32",
    "x-amz-checksum-crc32c",
    "x-amz-checksum-crc64nvme",
    "x-amz-checksum-sha1",
    "x-amz-checksum-sha256",
];

/// What of two answers differs; empty if nothing does. Of a refusal the status and the code count, its words are the gateway's own.
fn differences(call: &Call<'_>, straight: &Response, through: &Response, bucket: &str) -> Vec<String> {
    if straight.status != through.status {
        return vec![format!("status {} {} → {} {}", straight.status, straight.code(), through.status, through.code())];
    }
    if !straight.status.is_success() {
        let (left, right) = (straight.code(), through.code());
        return if left == right { vec![] } else { vec![format!("code {left} → {right}")] };
    }
    let document = straight.body.starts_with(b"<");
    // A document is written anew, so its length is another.
    let mut found: Vec<String> = HEADERS
        .into_iter()
        .filter(|name| !(document && ["content-length", "content-type", "accept-ranges"].contains(name)))
        .filter(|name| straight.header(name) != through.header(name))
        .map(|name| format!("{name}: {} → {}", straight.header(name), through.header(name)))
        .collect();
    if document {
        for name in ["Key", "Size", "ETag", "KeyCount", "IsTruncated", "Prefix", "Value", "Code", "PartNumber"] {
            let own = |answer: &Response| {
                answer.elements(name).iter().map(|text| plain(text).replace(bucket, "bkt")).collect::<Vec<_>>()
            };
            if own(straight) != own(through) {
                found.push(format!("<{name}>: {:?} → {:?}", own(straight), own(through)));
            }
        }
    } else if straight.body != through.body && call.method != "HEAD" {
        found.push(format!("body: {} bytes → {} bytes", straight.body.len(), through.body.len()));
    }
    found
}

/// The text that is meant: some write a quotation mark as a name, some as a number.
fn plain(text: &str) -> String {
    let ways = [
        ("&#34;", "\""),
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&apos;", "'"),
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&amp;", "&"),
    ];
    ways.into_iter().fold(text.to_owned(), |text, (way, character)| text.replace(way, character))
}

/// Whether a store cannot do by itself what the gateway does for it.
fn is_beyond(kind: StoreKind, call: &Call<'_>) -> bool {
    match kind {
        // RGW 16 knows neither trailers nor bodies without a length, nor chunks of nothing.
        StoreKind::Rgw => {
            let signed_chunks = call.form == Form::SignedChunks && !call.body.is_empty();
            call.transfer == Transfer::Chunked || (call.form.is_framed() && !signed_chunks)
        }
        // SeaweedFS knows no chunks without signature and trailer.
        _ => call.form == Form::UnsignedChunks(None),
    }
}

/// The life of one key: in this order, because each call finds what the one before left.
fn life_of(key: &str) -> Vec<Call<'static>> {
    let object = pattern(1000 + key.len());
    let tags = b"<Tagging><TagSet><Tag><Key>k</Key><Value>v 1</Value></Tag></TagSet></Tagging>";
    let copied = format!("copy of {key}");
    vec![
        Call::new("get nothing", "GET", key, ""),
        Call::new("head nothing", "HEAD", key, ""),
        Call::new("put", "PUT", key, "")
            .body(&object)
            .header("content-type", "text/x-test")
            .header("x-amz-meta-n", "1"),
        Call::new("get", "GET", key, ""),
        Call::new("head", "HEAD", key, ""),
        Call::new("range", "GET", key, "").header("range", "bytes=10-99"),
        Call::new("end", "GET", key, "").header("range", "bytes=-7"),
        Call::new("range beyond", "GET", key, "").header("range", "bytes=5000-"),
        Call::new("if it is another", "GET", key, "").header("if-match", "\"00000000000000000000000000000000\""),
        Call::new("if it is not this", "GET", key, "").header("if-none-match", "*"),
        Call::new("another type", "GET", key, "response-content-type=text%2Fplain&response-cache-control=no-cache"),
        Call::new("put if there is none", "PUT", key, "").body(b"other").header("if-none-match", "*"),
        Call::new("tag", "PUT", key, "tagging=").body(tags),
        Call::new("tags", "GET", key, "tagging="),
        Call::new("untag", "DELETE", key, "tagging="),
        Call::new("list", "GET", "", &format!("list-type=2&prefix={}", encode_query(key))),
        Call::new("list the old way", "GET", "", &format!("prefix={}&max-keys=2", encode_query(key))),
        Call::new("copy", "PUT", &copied, "").header("x-amz-copy-source", &format!("/{{bucket}}/{}", encode_path(key))),
        Call::new("get the copy", "GET", &copied, ""),
        Call::new("delete the copy", "DELETE", &copied, ""),
        Call::new("put nothing", "PUT", key, ""),
        Call::new("get nothing of it", "GET", key, ""),
        Call::new("delete", "DELETE", key, ""),
        Call::new("delete again", "DELETE", key, ""),
        Call::new("get what is gone", "GET", key, ""),
    ]
}

/// Uploads of every form, with what is read back.
fn uploads() -> Vec<Call<'static>> {
    let mut calls = Vec::new();
    for form in Form::all() {
        for transfer in Transfer::ALL {
            for (size, object) in [0, 1, 8192, 70_001].map(|size| (size, pattern(size))) {
                let key = format!("forms/{size}");
                let put = Call::new("upload", "PUT", &key, "").body(&object).form(form, transfer);
                calls.push(put.header("x-amz-meta-n", "1").header("content-type", "text/x-test"));
                calls.push(Call::new(&format!("back {form:?} {transfer:?}"), "GET", &key, ""));
                calls.push(Call::new("remove", "DELETE", &key, ""));
            }
        }
    }
    for algorithm in ChecksumAlgorithm::ALL {
        let (object, key) = (pattern(5000), format!("sums/{}", algorithm.header_name()));
        let sum = to_base64(&digest(algorithm, &object));
        calls.push(Call::new("upload with a sum", "PUT", &key, "").body(&object).header(algorithm.header_name(), &sum));
        calls.push(Call::new("its sum", "GET", &key, "").header("x-amz-checksum-mode", "ENABLED"));
        calls.push(Call::new("its sum alone", "HEAD", &key, "").header("x-amz-checksum-mode", "ENABLED"));
    }
    calls
}

/// A difference that is meant: the beginning of the call's name, a part of the difference, and why.
fn explained(kind: StoreKind) -> &'static [(&'static str, &'static str, &'static str)] {
    const FRAMING: (&str, &str, &str) = (
        "back ",
        "content-encoding: aws-chunked → ",
        "the store keeps the framing of the upload for a property of the object",
    );
    match kind {
        StoreKind::Rgw => &[FRAMING, ("tag ", "content-type: application/xml → ", "RGW names a type for no body")],
        _ => &[
            FRAMING,
            (
                "upload",
                "x-amz-checksum-",
                "a checksum behind the body is verified by the gateway, the store does not hear of it",
            ),
        ],
    }
}

async fn compare(kind: StoreKind) {
    let Some(store) = Store::get(kind).await else { return };
    let setup = store.setup().rules(RULES).access_key("key", "CSAKDIFFERENTIALRUN0", SECRET);
    let gateway: Gateway = setup.start().await;
    let direct = Store::get(kind).await.expect("it was there a moment ago");
    let straight = Side {
        client: KeyClient::new(direct.address(), &direct.access_key, &direct.secret_key),
        bucket: direct.bucket.clone(),
    };
    let through =
        Side { client: KeyClient::new(gateway.address, "CSAKDIFFERENTIALRUN0", SECRET), bucket: "bkt".to_owned() };
    let (mut unexplained, mut used, mut passed) = (Vec::new(), BTreeSet::new(), 0_usize);
    for call in KEYS.iter().flat_map(|key| life_of(key)).chain(uploads()) {
        let through = through.ask(&call).await;
        if is_beyond(kind, &call) {
            // The store has to hold the same afterwards, or the next call differs.
            let plain = Call { form: Form::Hash, transfer: Transfer::Length, ..call };
            let straight = straight.ask(&plain).await;
            unexplained.extend(
                differences(&plain, &straight, &through, &direct.bucket)
                    .iter()
                    .map(|what| format!("{}: {what}", plain.name)),
            );
            continue;
        }
        let straight = straight.ask(&call).await;
        passed += usize::from(straight.status.is_success());
        for difference in differences(&call, &straight, &through, &direct.bucket) {
            let reason = explained(kind)
                .iter()
                .position(|(name, part, _)| call.name.starts_with(name) && difference.contains(part));
            match reason {
                Some(reason) => drop(used.insert(reason)),
                None => unexplained.push(format!("{}: {difference}", call.name)),
            }
        }
    }
    assert!(unexplained.is_empty(), "{kind:?}, directly → through:\n{}", unexplained.join("\n"));
    assert_eq!(used.len(), explained(kind).len(), "{kind:?}: some explanations explain nothing: {used:?}");
    assert!(passed > 400, "{kind:?} took {passed} requests only");
}

#[tokio::test]
async fn what_passes_straight_at_seaweedfs_passes_through_the_gateway() {
    compare(StoreKind::SeaweedFs).await;
}

#[tokio::test]
async fn what_passes_straight_at_ceph_rgw_passes_through_the_gateway() {
    compare(StoreKind::Rgw).await;
}

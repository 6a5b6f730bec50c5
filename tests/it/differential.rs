//! The same signed request, once straight to a store and once through the gateway: what passes there passes here, and reads the same.
//!
//! Operations times forms of the body times odd keys. Status, error code, the headers that describe objects and every element of every
//! document are compared; names of buckets, upload ids and dates stand for themselves. A difference fails the test unless [`EXPLAINED`]
//! has it with a reason, and so does an explanation of nothing. Texts of errors are not compared.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use countersign::base::encoding::{encode_path, encode_query};
use countersign::s3::checksum::{ChecksumAlgorithm, to_base64};
use countersign::s3::xml::Element;

use super::support::key_client::digest;
use super::support::{Form, KeyClient, Response, Store, StoreKind, Transfer, pattern};

const ID: &str = "CSAKDIFFERENCE";
const SECRET: &str = "the-secret-of-the-access-key-that-compares";
const RULES: &str = "
  - { name: all, who: { keys: [compare] }, where: bkt, what: \"s3:*\", response_overrides: true }";

/// Keys that encode, sort or read oddly (B02, B03, E05, E07).
const KEYS: &[&str] = &[
    "plain.txt",
    "folder/plain.txt",
    "deep/a/b/c/d/e/f/g/h",
    "with blank",
    " leading",
    "trailing ",
    "100%",
    "+plus+",
    "~!*'()",
    "@:$,;=&",
    "ü/日本",
    "e\u{301}",
    "%2F",
    "%41",
    "test%2Ftext",
    "trailing.",
    "a..b/..c",
    "q?x=y",
    "h#f",
    "[x]{y}|^`",
    "\"<>&'",
    ".hidden",
    "-",
    "_.-~",
    "a=b&c=d",
    "\u{1F600}",
    "CAPITALS",
    "0",
];

/// A difference that is meant, or is the store's own.
struct Explained {
    /// `None`: every store.
    store: Option<StoreKind>,
    /// What the name of the step begins with.
    step: &'static str,
    /// What the name of the field begins with.
    field: &'static str,
    /// Whether only a field is meant that the store does not have straight.
    added: bool,
    #[expect(dead_code, reason = "for those who read the table")]
    why: &'static str,
}

const fn explain(
    store: Option<StoreKind>,
    step: &'static str,
    field: &'static str,
    added: bool,
    why: &'static str,
) -> Explained {
    Explained { store, step, field, added, why }
}

const SEAWEEDFS: Option<StoreKind> = Some(StoreKind::SeaweedFs);
const RGW: Option<StoreKind> = Some(StoreKind::Rgw);

const EXPLAINED: &[Explained] = &[
    explain(None, "", "header x-amz-meta-note", false, "SigV4 makes one blank of several; so does the gateway"),
    explain(None, "", "header content-encoding", false, "stores keep `aws-chunked`, which is no coding of the object"),
    explain(
        SEAWEEDFS,
        "",
        "header x-amz-checksum-crc64nvme",
        true,
        "the store checks what the client let nobody check",
    ),
    explain(None, "ListObjects", "ListBucketResult/Contents/Owner", false, "the owner is the account of the gateway"),
    explain(
        None,
        "ListObjects encoded",
        "ListBucketResult/Prefix",
        false,
        "S3 encodes the prefix too, the stores do not",
    ),
    explain(RGW, "ListObjects", "ListBucketResult/Contents/Type", false, "not of S3; lists are written anew"),
    explain(RGW, "ListParts", "ListPartsResult/Owner", false, "the owner is the account of the gateway"),
    explain(
        SEAWEEDFS,
        "ListParts",
        "ListPartsResult/MaxParts",
        false,
        "S3 gives 1000 parts at a time, SeaweedFS 10000",
    ),
    explain(None, "CompleteMultipartUpload", "CompleteMultipartUploadResult/Location", false, "not a URL of the store"),
    explain(RGW, "PutObjectTagging", "header content-type", false, "of no bytes"),
    explain(RGW, "GetObjectAttributes", "", false, "RGW 16 does not know it and gives the object; the gateway says so"),
    explain(RGW, "PutObject wrong", "", false, "RGW 16 looks at no checksum, the gateway does"),
    explain(RGW, "CopyObject if-match other", "", false, "RGW 16 overlooks the condition, the gateway keeps it"),
];

/// One end that the requests are sent to.
struct Side {
    client: KeyClient,
    bucket: String,
    /// Upload id and ETag of the last answer that had one.
    upload: String,
    etag: String,
}

/// What an answer says, field by field.
type Told = BTreeMap<String, String>;

impl Side {
    fn fill(&self, text: &str) -> String {
        text.replace("{bucket}", &self.bucket).replace("{upload}", &self.upload).replace("{etag}", &self.etag)
    }

    async fn call(&mut self, call: &Call<'_>) -> Told {
        let target = self.fill(&format!("/{{bucket}}{}", call.target));
        let headers: Vec<(&str, String)> = call.headers.iter().map(|(name, value)| (*name, self.fill(value))).collect();
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let object = match std::str::from_utf8(call.object) {
            Ok(text) => self.fill(text).into_bytes(),
            Err(_) => call.object.to_vec(),
        };
        let answer = self.client.send(call.method, &target, &headers, &object, call.form, call.transfer).await;
        if !answer.element("UploadId").is_empty() {
            self.upload = answer.element("UploadId");
        }
        if !answer.header("etag").is_empty() {
            self.etag = answer.header("etag").to_owned();
        }
        self.read(&answer)
    }

    fn read(&self, answer: &Response) -> Told {
        let mut told = Told::from([("status".to_owned(), answer.status.as_u16().to_string())]);
        if !answer.status.is_success() {
            told.insert("code".to_owned(), answer.code());
            told.insert("etag".to_owned(), answer.header("etag").to_owned());
            return told;
        }
        for name in answer.headers.keys() {
            let name = name.as_str();
            let value = match name {
                "last-modified" => "a date".to_owned(),
                // Not a word of the store: nothing shared may keep what one caller was given.
                "cache-control" if answer.header(name) == "private" => continue,
                "accept-ranges" if answer.header("etag").is_empty() || answer.text().starts_with("<?xml") => continue,
                // Of a document that names its bucket and has ids.
                "content-length" if answer.text().starts_with("<?xml") => continue,
                "etag"
                | "content-length"
                | "content-type"
                | "content-range"
                | "content-encoding"
                | "content-language"
                | "content-disposition"
                | "cache-control"
                | "expires"
                | "accept-ranges" => answer.header(name).to_owned(),
                _ if name.starts_with("x-amz-meta-") || name.starts_with("x-amz-checksum-") => {
                    answer.header(name).to_owned()
                }
                "x-amz-mp-parts-count" | "x-amz-tagging-count" | "x-amz-storage-class" | "x-amz-delete-marker" => {
                    answer.header(name).to_owned()
                }
                _ => continue,
            };
            told.insert(format!("header {name}"), value);
        }
        match Element::parse(&answer.text()) {
            Ok(root) if !root.text_of("EncodingType").is_empty() => {
                told.insert("encoding".to_owned(), root.text_of("EncodingType").to_owned());
                self.flatten(&root, &root.name, &mut told);
            }
            Ok(root) => self.flatten(&root, &root.name, &mut told),
            Err(_) => drop(told.insert("body".to_owned(), format!("{:?}", bytes_of(&answer.body)))),
        }
        told
    }

    /// Every element with a text, under its path.
    fn flatten(&self, element: &Element, path: &str, told: &mut Told) {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        let mut children: Vec<&Element> = element.children.iter().collect();
        if element.name == "DeleteResult" {
            // Stores choose an order of their own.
            children.sort_by_key(|deleted| deleted.text_of("Key"));
        }
        for child in children {
            let count = counts.entry(child.name.as_str()).or_default();
            let path = format!("{path}/{}[{count}]", child.name);
            *count += 1;
            self.flatten(child, &path, told);
        }
        if element.children.is_empty() {
            let value = match element.name.as_str() {
                "LastModified" | "Initiated" => "a date".to_owned(),
                "UploadId" | "VersionId" => "an id".to_owned(),
                // There are several ways to encode one key.
                "Key" if told.get("encoding").is_some() => {
                    let spaced = element.text.replace('+', " ");
                    percent_encoding::percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
                }
                _ => element.text.replace(&self.bucket, "BUCKET").replace(&self.upload, "UPLOAD"),
            };
            told.insert(path.to_owned(), value);
        }
    }
}

/// Small bodies as they are, large ones by their length and digest.
fn bytes_of(body: &[u8]) -> String {
    if body.len() < 100 {
        return String::from_utf8_lossy(body).into_owned();
    }
    format!("{} bytes, {}", body.len(), hex::encode(digest(ChecksumAlgorithm::Sha256, body)))
}

/// A request; `{bucket}`, `{upload}` and `{etag}` are those of the side that it is sent to.
#[derive(Clone, Copy)]
struct Call<'a> {
    step: &'static str,
    method: &'static str,
    target: &'a str,
    headers: &'a [(&'a str, &'a str)],
    object: &'a [u8],
    form: Form,
    transfer: Transfer,
}

impl Call<'_> {
    /// The same in the form that every store knows.
    fn plain(self) -> Self {
        Self { form: Form::Hash, transfer: Transfer::Length, ..self }
    }
}

/// Both ends, and what they told differently.
struct Pair {
    kind: StoreKind,
    direct: Side,
    through: Side,
    used: Vec<bool>,
    differences: String,
    calls: usize,
    /// Whether the form under way is one that the gateway takes and the store does not.
    form_is_unknown: bool,
}

impl Pair {
    /// Sends a call to both ends.
    async fn call(&mut self, case: &str, call: Call<'_>) {
        // A store is not asked again for a form that it does not know: the object would not be the same.
        let straight = if self.form_is_unknown { call.plain() } else { call };
        let (direct, through) = (self.direct.call(&straight).await, self.through.call(&call).await);
        self.compare(case, call.step, &direct, &through);
    }

    /// Sends the first upload in a form. If the store does not know it and the gateway does, the store gets it plain.
    async fn upload_first(&mut self, case: &str, call: Call<'_>) {
        self.form_is_unknown = false;
        let (mut direct, through) = (self.direct.call(&call).await, self.through.call(&call).await);
        let odd_form = call.form.is_framed() || call.transfer == Transfer::Chunked;
        if odd_form && direct["status"] != "200" && through["status"] == "200" {
            self.form_is_unknown = true;
            direct = self.direct.call(&call.plain()).await;
        }
        self.compare(case, call.step, &direct, &through);
    }

    fn compare(&mut self, case: &str, step: &str, direct: &Told, through: &Told) {
        self.calls += 1;
        for name in direct.keys().chain(through.keys().filter(|name| !direct.contains_key(*name))) {
            let (direct, through) = (direct.get(name), through.get(name));
            if direct == through {
                continue;
            }
            let field = without_indices(name);
            let fits = |explained: &Explained| {
                explained.store.is_none_or(|store| store == self.kind)
                    && step.starts_with(explained.step)
                    && field.starts_with(explained.field)
                    && (direct.is_none() || !explained.added)
            };
            match EXPLAINED.iter().position(fits) {
                Some(place) => self.used[place] = true,
                None => {
                    let _infallible = writeln!(
                        self.differences,
                        "{:?}: {step} of {case}: {field}: {direct:?} straight, {through:?} through the gateway",
                        self.kind
                    );
                }
            }
        }
    }

    /// A request without a body.
    async fn ask(
        &mut self,
        case: &str,
        step: &'static str,
        method: &'static str,
        target: &str,
        headers: &[(&str, &str)],
    ) {
        let (form, transfer) = (Form::Hash, Transfer::Length);
        self.call(case, Call { step, method, target, headers, object: b"", form, transfer }).await;
    }

    /// A request with a small document.
    async fn tell(&mut self, case: &str, step: &'static str, method: &'static str, target: &str, document: &str) {
        let (form, transfer) = (Form::Hash, Transfer::Length);
        let md5 = md5_of(document);
        // What the document is filled with differs, so its digest is that of `x-amz-content-sha256` unless S3 wants another.
        let headers: &[(&str, &str)] = if document.contains('{') { &[] } else { &[("content-md5", &md5)] };
        self.call(case, Call { step, method, target, headers, object: document.as_bytes(), form, transfer }).await;
    }
}

fn md5_of(document: &str) -> String {
    let mut md5 = countersign::s3::checksum::RunningDigest::md5();
    md5.update(document.as_bytes());
    to_base64(&md5.finish(16))
}

fn without_indices(field: &str) -> String {
    field.split('[').map(|part| part.split_once(']').map_or(part, |(_, rest)| rest)).collect()
}

/// An object's life under a key; in a form of the body, which is then the name of the case, what depends on it.
async fn live(pair: &mut Pair, case: &str, key: &str, form: Form, transfer: Transfer) {
    let path = format!("/{}", encode_path(key));
    let object = pattern(70_000);
    let headers = [
        ("content-type", "text/x-test"),
        ("cache-control", "max-age=60"),
        ("content-disposition", "attachment; filename=\"x y\""),
        ("content-language", "de"),
        ("x-amz-meta-note", "one  two"),
    ];
    let put = |step, headers| Call { step, method: "PUT", target: &path, headers, object: &object, form, transfer };
    pair.upload_first(case, put("PutObject", &headers)).await;
    pair.call(case, put("PutObject if-none-match", &[("if-none-match", "*")])).await;
    if case != key {
        // The rest has nothing to do with the form.
        pair.ask(case, "HeadObject checksum", "HEAD", &path, &[("x-amz-checksum-mode", "ENABLED")]).await;
        pair.ask(case, "GetObject", "GET", &path, &[]).await;
        multipart(pair, case, &path, form, transfer).await;
        for object in [&b""[..], b"x"] {
            pair.upload_first(case, Call { object, ..put("PutObject small", &[]) }).await;
            pair.ask(case, "GetObject small", "GET", &path, &[("x-amz-checksum-mode", "ENABLED")]).await;
        }
        return pair.ask(case, "DeleteObject", "DELETE", &path, &[]).await;
    }
    read(pair, case, &path).await;
    let tags = "<Tagging><TagSet><Tag><Key>k</Key><Value>v w</Value></Tag></TagSet></Tagging>";
    pair.tell(case, "PutObjectTagging", "PUT", &format!("{path}?tagging="), tags).await;
    pair.ask(case, "GetObjectTagging", "GET", &format!("{path}?tagging="), &[]).await;
    pair.ask(case, "DeleteObjectTagging", "DELETE", &format!("{path}?tagging="), &[]).await;
    copy(pair, case, key, &path).await;
    multipart(pair, case, &path, form, transfer).await;
    let prefix = encode_query(key);
    for (step, list) in [
        ("ListObjects V2", "list-type=2"),
        ("ListObjects encoded", "encoding-type=url&list-type=2"),
        ("ListObjects groups", "delimiter=%2F"),
        ("ListObjects one", "max-keys=1"),
    ] {
        pair.ask(case, step, "GET", &format!("?{list}&prefix={prefix}"), &[]).await;
    }
    pair.ask(case, "DeleteObject", "DELETE", &path, &[]).await;
    pair.ask(case, "GetObject gone", "GET", &path, &[]).await;
    pair.ask(case, "HeadObject gone", "HEAD", &path, &[]).await;
    pair.ask(case, "DeleteObject gone", "DELETE", &path, &[]).await;
}

async fn read(pair: &mut Pair, case: &str, path: &str) {
    for (step, method, headers) in [
        ("HeadObject", "HEAD", &[][..]),
        ("HeadObject checksum", "HEAD", &[("x-amz-checksum-mode", "ENABLED")]),
        ("HeadObject if-none-match", "HEAD", &[("if-none-match", "{etag}")]),
        ("GetObject", "GET", &[]),
        ("GetObject checksum", "GET", &[("x-amz-checksum-mode", "ENABLED")]),
        ("GetObject range", "GET", &[("range", "bytes=10-19")]),
        ("GetObject range open", "GET", &[("range", "bytes=69990-")]),
        ("GetObject range suffix", "GET", &[("range", "bytes=-10")]),
        ("GetObject range outside", "GET", &[("range", "bytes=70000-")]),
        ("GetObject if-match", "GET", &[("if-match", "{etag}")]),
        ("GetObject if-match other", "GET", &[("if-match", "\"other\"")]),
        ("GetObject if-none-match", "GET", &[("if-none-match", "{etag}")]),
        ("GetObject if-modified-since", "GET", &[("if-modified-since", "Fri, 01 Jan 2100 00:00:00 GMT")]),
        ("GetObject if-unmodified-since", "GET", &[("if-unmodified-since", "Fri, 01 Jan 2010 00:00:00 GMT")]),
    ] {
        pair.ask(case, step, method, path, headers).await;
    }
    let overridden = format!("{path}?response-content-type=text%2Fplain&response-cache-control=no-store");
    pair.ask(case, "GetObject override", "GET", &overridden, &[]).await;
    let attributes = [("x-amz-object-attributes", "ETag,ObjectSize")];
    pair.ask(case, "GetObjectAttributes", "GET", &format!("{path}?attributes="), &attributes).await;
}

async fn copy(pair: &mut Pair, case: &str, key: &str, path: &str) {
    let source = format!("/{{bucket}}/{}", encode_path(key));
    let to = format!("{path}-copy");
    for (step, headers) in [
        ("CopyObject", &[][..]),
        ("CopyObject replace", &[("x-amz-metadata-directive", "REPLACE"), ("x-amz-meta-new", "1")]),
    ] {
        let headers = [&[("x-amz-copy-source", source.as_str())], headers].concat();
        pair.ask(case, step, "PUT", &to, &headers).await;
        pair.ask(case, "HeadObject copy", "HEAD", &to, &[]).await;
    }
    let other = [("x-amz-copy-source", source.as_str()), ("x-amz-copy-source-if-match", "\"other\"")];
    pair.ask(case, "CopyObject if-match other", "PUT", &to, &other).await;
    let gone = [("x-amz-copy-source", "/{bucket}/gone")];
    pair.ask(case, "CopyObject gone", "PUT", &to, &gone).await;
    let xml = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
    let list =
        format!("<Delete><Object><Key>{}-copy</Key></Object><Object><Key>gone</Key></Object></Delete>", xml(key));
    pair.tell(case, "DeleteObjects", "POST", "?delete=", &list).await;
    pair.ask(case, "HeadObject deleted", "HEAD", &to, &[]).await;
}

async fn multipart(pair: &mut Pair, case: &str, path: &str, form: Form, transfer: Transfer) {
    let to = format!("{path}-parts");
    let begin = format!("{to}?uploads=");
    pair.ask(case, "CreateMultipartUpload", "POST", &begin, &[("content-type", "text/x-parts")]).await;
    let part = format!("{to}?partNumber=1&uploadId={{upload}}");
    // A part needs a length, as S3 has it; see `payload_forms`.
    let transfer = if form.is_framed() { transfer } else { Transfer::Length };
    let object = pattern(90_000);
    let (headers, step) = (&[][..], "UploadPart");
    pair.call(case, Call { step, method: "PUT", target: &part, headers, object: &object, form, transfer }).await;
    let upload = format!("{to}?uploadId={{upload}}");
    let list =
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>";
    pair.ask(case, "ListParts", "GET", &upload, &[]).await;
    pair.tell(case, "CompleteMultipartUpload", "POST", &upload, list).await;
    for (step, method, target, headers) in [
        ("HeadObject parts", "HEAD", &to, &[][..]),
        ("GetObject parts", "GET", &to, &[("range", "bytes=89990-89999")]),
        ("DeleteObject parts", "DELETE", &to, &[]),
        ("CreateMultipartUpload again", "POST", &begin, &[]),
        ("AbortMultipartUpload", "DELETE", &upload, &[]),
        ("ListParts gone", "GET", &upload, &[]),
    ] {
        pair.ask(case, step, method, target, headers).await;
    }
}

/// A checksum in the head, of some bytes and of none.
async fn checksums(pair: &mut Pair) {
    for (algorithm, object) in ChecksumAlgorithm::ALL.into_iter().flat_map(|way| [(way, &b"hello"[..]), (way, b"")]) {
        let case = format!("{algorithm:?} of {} bytes", object.len());
        let value = to_base64(&digest(algorithm, object));
        let (headers, form, transfer) = ([(algorithm.header_name(), value.as_str())], Form::Hash, Transfer::Length);
        let put = Call { step: "PutObject", method: "PUT", target: "/sum", headers: &headers, object, form, transfer };
        pair.form_is_unknown = false;
        pair.call(&case, put).await;
        let wrong = to_base64(&digest(algorithm, b"other"));
        let wrong = [(algorithm.header_name(), wrong.as_str())];
        pair.call(&case, Call { step: "PutObject wrong", target: "/wrong", headers: &wrong, ..put }).await;
        for (step, method) in [("HeadObject checksum", "HEAD"), ("GetObject checksum", "GET")] {
            pair.ask(&case, step, method, "/sum", &[("x-amz-checksum-mode", "ENABLED")]).await;
        }
        pair.ask(&case, "DeleteObject", "DELETE", "/sum", &[]).await;
    }
}

async fn compare(kind: StoreKind) {
    let (Some(store), Some(behind)) = (Store::get(kind).await, Store::get(kind).await) else { return };
    let mut setup = behind.setup().rules(RULES).access_key("compare", ID, SECRET);
    setup.bucket_settings = ", odd_keys: pass".to_owned();
    if kind == StoreKind::SeaweedFs {
        setup = setup.upstream("payload: unsigned").upstream("checksum: trailer");
    }
    let gateway = setup.start().await;
    let side = |client, bucket: &str| Side {
        client,
        bucket: bucket.to_owned(),
        upload: "no upload".into(),
        etag: "no tag".into(),
    };
    let mut pair = Pair {
        kind,
        direct: side(KeyClient::new(store.address(), &store.access_key, &store.secret_key), &store.bucket),
        through: side(KeyClient::new(gateway.address, ID, SECRET), "bkt"),
        used: vec![false; EXPLAINED.len()],
        differences: String::new(),
        calls: 0,
        form_is_unknown: false,
    };
    for key in KEYS {
        live(&mut pair, key, key, Form::Hash, Transfer::Length).await;
    }
    for (form, transfer) in Form::all().into_iter().flat_map(|form| Transfer::ALL.map(|way| (form, way))) {
        live(&mut pair, &format!("{form:?} {transfer:?}"), "form", form, transfer).await;
    }
    checksums(&mut pair).await;
    let unused = EXPLAINED
        .iter()
        .zip(&pair.used)
        .filter(|(explained, used)| !**used && explained.store.is_none_or(|store| store == kind));
    for (explained, _) in unused {
        let _infallible = writeln!(pair.differences, "nothing to explain: {} {}", explained.step, explained.field);
    }
    assert!(pair.differences.is_empty(), "{} requests:\n{}", pair.calls, pair.differences);
}

#[tokio::test]
async fn b02_what_passes_seaweedfs_passes_through_the_gateway() {
    compare(StoreKind::SeaweedFs).await;
}

#[tokio::test]
async fn b02_what_passes_ceph_rgw_passes_through_the_gateway() {
    compare(StoreKind::Rgw).await;
}
